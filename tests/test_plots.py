from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from coursekit import plots
from coursekit.train import History

CLASSES = ["cat", "dog", "owl"]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def drawn(figure) -> list:
    """The axes of a grid that hold a picture."""
    return [ax for ax in figure.axes if ax.images]


def five_epochs() -> History:
    history = History()
    for train, valid in [(1.0, 0.9), (0.5, 0.6), (0.25, 0.5), (0.1, 0.55), (0.05, 0.7)]:
        history.append(
            {"loss": train, "accuracy": 1 - train}, {"loss": valid, "accuracy": 1 - valid}, 1e-3, 1.0
        )
    return history


@pytest.mark.parametrize("shape", [(7, 28, 28), (7, 1, 28, 28), (7, 3, 28, 28)])
def test_pictures_draws_every_image_under_its_title(shape):
    figure = plots.pictures(torch.rand(shape), [f"no. {i}" for i in range(7)], columns=4)
    assert [ax.get_title() for ax in drawn(figure)] == [f"no. {i}" for i in range(7)]


def test_pictures_draws_what_it_was_given_on_a_fixed_scale():
    images = torch.rand(3, 4, 4)
    for ax, image in zip(drawn(plots.pictures(images)), images, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), image)
        assert ax.images[0].get_clim() == (0, 1)  # a faint digit stays faint


@pytest.mark.parametrize(
    ("images", "titles", "words"),
    [
        (torch.rand(4, 784), None, r"`images` must be .* not \(4, 784\)"),
        (torch.rand(0, 28, 28), None, "`images` is empty"),
        (torch.rand(2, 28, 28), ["one"], "1 `titles` for 2 `images`"),
    ],
)
def test_pictures_explains_what_it_cannot_draw(images, titles, words):
    with pytest.raises(ValueError, match=words):
        plots.pictures(images, titles)


def test_weights_share_one_scale_with_zero_in_the_middle():
    limits = {
        ax.images[0].get_clim() for ax in drawn(plots.weights(torch.tensor([[0.1, -2, 0, 0], [1, 0, 0, 0]])))
    }
    assert limits == {(-2, 2)}


def test_weights_must_be_square_pictures():
    with pytest.raises(ValueError, match=r"\(units, side²\).*not \(3, 10\)"):
        plots.weights(torch.rand(3, 10))


def test_most_confident_mistakes_come_surest_first():
    probabilities = torch.tensor([[0.6, 0.4, 0.0], [0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0]])
    labels = torch.tensor([1, 1, 0, 2])  # wrong, wrong, wrong, right
    figure = plots.most_confident_mistakes(torch.rand(4, 8, 8), labels, probabilities, CLASSES, count=2)
    assert [ax.get_title() for ax in drawn(figure)] == ["cat, 90.0%\ntrue: dog", "dog, 80.0%\ntrue: cat"]


def test_no_mistakes_is_said_not_drawn():
    with pytest.raises(ValueError, match="no mistake to show"):
        plots.most_confident_mistakes(torch.rand(3, 8, 8), torch.arange(3), torch.eye(3), CLASSES)


def test_history_is_solid_for_training_dashed_for_validation_on_a_log_axis():
    ax = plots.history(five_epochs())
    training, validation = ax.lines[:2]
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert list(training.get_xdata()) == [1, 2, 3, 4, 5]
    assert list(validation.get_ydata()) == [0.9, 0.6, 0.5, 0.55, 0.7]
    assert ax.get_yscale() == "log"
    assert "best epoch: 3" in [text.get_text() for text in ax.get_legend().texts]


def test_history_of_a_loss_below_zero_is_drawn_on_a_linear_axis():
    history = History()
    history.append({"loss": -1.0}, {}, 1e-3, 1.0)
    assert plots.history(history).get_yscale() == "linear"


def test_history_without_epochs_says_so():
    with pytest.raises(ValueError, match=r"`record` has no epochs.*train first"):
        plots.history(History())


def test_history_names_what_it_has():
    with pytest.raises(ValueError, match="`name` must be one of 'loss', 'accuracy', not 'f1'"):
        plots.history(five_epochs(), "f1")


def test_confusion_matrix_writes_counts_and_leaves_the_diagonal_unshaded():
    ax = plots.confusion_matrix(np.array([[8, 2, 0], [0, 5, 5], [1, 0, 9]]), CLASSES)
    assert texts(ax) == ["8", "2", "5", "5", "1", "9"]
    shade = ax.images[0].get_array()
    assert shade[1, 2] == 0.5  # half of the dogs
    assert np.isnan(np.ma.filled(shade, np.nan).diagonal()).all()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")


def test_confusion_matrix_must_match_the_classes():
    with pytest.raises(ValueError, match=r"`counts` \(2, 2\) must be a square of the 3 `classes`"):
        plots.confusion_matrix(np.eye(2), CLASSES)


def test_reliability_compares_confidence_with_accuracy():
    # twenty predictions at 0.8, half of them right; twenty at 0.9, all right
    probabilities = torch.tensor([[0.8, 0.2]] * 20 + [[0.9, 0.1]] * 20)
    labels = torch.tensor([0] * 10 + [1] * 10 + [0] * 20)
    ax = plots.reliability(labels, probabilities)
    points = ax.containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(points, [[0.8, 0.5], [0.9, 1.0]], atol=1e-6)
    assert "calibration error 20.0%" in ax.get_legend().texts[1].get_text()  # (0.3 + 0.1) / 2


def test_roc_gives_the_area_of_every_class():
    # class 0: three of the four pairs (positive, negative) are in the right order; class 1 is the mirror image
    score = torch.tensor([0.9, 0.4, 0.6, 0.1])
    ax = plots.roc(torch.tensor([0, 0, 1, 1]), torch.stack([score, 1 - score], dim=1), ["cat", "dog"])
    assert [text.get_text() for text in ax.get_legend().texts][:2] == ["cat: AUC 0.750", "dog: AUC 0.750"]


def test_roc_needs_every_class():
    with pytest.raises(ValueError, match="missing: owl"):
        plots.roc(torch.tensor([0, 1]), torch.rand(2, 3), CLASSES)


def test_decision_regions_show_the_models_answer():
    class RightHalf(nn.Module):
        def forward(self, x):
            return torch.stack([-x[:, 0], x[:, 0]], dim=1)

    x = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    ax = plots.decision_regions(RightHalf(), x, torch.tensor([0, 1]), points=10)
    regions = ax.images[0].get_array()
    assert (regions[:, :5] == 0).all()
    assert (regions[:, 5:] == 1).all()
    markers = {collection.get_paths()[0].vertices.shape for collection in ax.collections}
    assert len(markers) == 2  # classes differ in shape, not in colour alone


def test_decision_regions_need_points_of_the_plane():
    with pytest.raises(ValueError, match=r"points of the plane \(N, 2\), not \(5, 3\)"):
        plots.decision_regions(nn.Linear(3, 2), torch.rand(5, 3), torch.zeros(5))


def test_jet_draws_its_particles_and_no_padding():
    particles = torch.tensor([[0.5, 0.1, -0.2], [0.25, 0.0, 0.3], [0.0, 0.0, 0.0]])
    (dots,) = plots.jet(particles).collections
    np.testing.assert_allclose(dots.get_offsets(), particles[:2, 1:])
    large, small = dots.get_sizes()
    assert large == pytest.approx(2 * small)


@pytest.mark.parametrize(
    ("particles", "words"),
    [
        (torch.rand(4, 30, 3), r"must be \(n, 3\): z, Δy, Δφ, not \(4, 30, 3\)"),
        (torch.zeros(30, 3), "holds no particle"),
    ],
)
def test_jet_explains_what_it_cannot_draw(particles, words):
    with pytest.raises(ValueError, match=words):
        plots.jet(particles)


def test_network_draws_an_edge_for_every_weight():
    ax = plots.network([3, 2, 1])
    assert len(ax.lines) == 3 * 2 + 2 * 1
    assert len(ax.texts) == 3 + 2 + 1


def test_network_shows_values_parameters_and_gradients_where_they_belong():
    layers = [(torch.tensor([[1.0, -2.0]]), torch.tensor([0.5]))]
    slopes = [(torch.tensor([[3.0, 6.0]]), torch.tensor([-1.5]))]
    ax = plots.network(
        [2, 1], values=[torch.tensor([4.0, 5.0]), torch.tensor([7.0])], parameters=layers, gradients=slopes
    )
    place = {text.get_text(): text.get_position() for text in ax.texts}
    assert set(place) == {"4", "5", "7", "1", "-2", "+0.5", "3", "6", "-1.5"}
    assert place["1"][1] > place["-2"][1]  # the weight of the first input is on the upper edge
    assert place["1"][0] < place["3"][0]  # its gradient is nearer to the unit
    assert place["+0.5"][1] > place["7"][1] > place["-1.5"][1]


def test_more_classes_than_markers_are_refused():
    with pytest.raises(ValueError, match="holds 10 classes, but only 7 markers"):
        plots.scatter_classes(torch.rand(10, 2), torch.arange(10))


def test_network_too_large_to_draw_is_refused():
    with pytest.raises(ValueError, match="at most 12 units"):
        plots.network([784, 10])


@pytest.mark.parametrize(
    "plot",
    [
        lambda ax: plots.history(five_epochs(), ax=ax),
        lambda ax: plots.confusion_matrix(np.eye(3), CLASSES, ax=ax),
        lambda ax: plots.reliability(torch.zeros(20).long(), torch.tensor([[0.8, 0.2]] * 20), ax=ax),
        lambda ax: plots.roc(torch.arange(3), torch.eye(3), CLASSES, ax=ax),
        lambda ax: plots.decision_regions(nn.Linear(2, 2), torch.rand(5, 2), torch.zeros(5).long(), ax=ax),
        lambda ax: plots.scatter_classes(torch.rand(5, 2), torch.zeros(5).long(), ax=ax),
        lambda ax: plots.jet(torch.rand(5, 3), ax=ax),
    ],
)
def test_plots_draw_into_the_axes_they_are_given_and_label_them(plot):
    _, given = plt.subplots()
    ax = plot(given)
    assert ax is given
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def ticks(ax) -> set[tuple[float, float]]:
    """Time step and unit of every tick of a raster."""
    return {
        (float(segment[0][0]), float(segment[:, 1].mean().round(6)))
        for lines in ax.collections
        for segment in lines.get_segments()
    }


def test_raster_has_a_tick_for_every_spike():
    spikes = torch.zeros(6, 3)
    spikes[[0, 2, 5], [0, 2, 1]] = torch.tensor([1.0, -1.0, 1.0])
    ax = plots.raster(spikes)
    assert ticks(ax) == {(0, 0), (2, 2), (5, 1)}
    positive, negative = ax.collections
    assert len(positive.get_segments()) == 2
    assert len(negative.get_segments()) == 1
    assert not np.array_equal(positive.get_colors(), negative.get_colors())


def test_raster_says_that_time_comes_first():
    with pytest.raises(ValueError, match=r"`spikes` must be \(T, units\), time first, not \(6, 2, 3\)"):
        plots.raster(torch.zeros(6, 2, 3))


def test_membrane_shows_line_threshold_and_spikes():
    u = torch.tensor([0.6, 0.9, 1.05, 0.125])
    ax = plots.membrane(u, torch.tensor([0.0, 0.0, 1.0, 0.0]), 1.0)
    line, threshold = ax.lines
    np.testing.assert_array_equal(line.get_ydata(), u)
    assert set(threshold.get_ydata()) == {1.0}
    (bars,) = ax.collections
    ((low, high),) = bars.get_segments()
    assert low[0] == high[0] == 2
    assert low[1] > u.max()


def test_membrane_of_a_layer_is_refused():
    with pytest.raises(ValueError, match=r"`u` \(4, 2\) and `spikes` \(4, 2\) must both be \(T,\)"):
        plots.membrane(torch.zeros(4, 2), torch.zeros(4, 2), 1.0)


def test_a_slider_that_moves_draws_its_figure_once(monkeypatch):
    shown, drawn = [], []

    def display(what, **_):
        shown.append(what)
        return SimpleNamespace(update=shown.append)

    def draw(slope=1.0):
        drawn.append(slope)
        return plt.figure()

    monkeypatch.setattr("coursekit.plots.sliders.display", display)
    plots.explore(draw, slope=(0.0, 2.0))
    _, box = shown
    (slider,) = box.children
    slider.value = 1.5
    assert drawn == [1.0, 1.5]
    assert len(shown) == 3
    assert plt.get_fignums() == []
