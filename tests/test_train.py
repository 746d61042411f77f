import copy
import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from tqdm import notebook

from coursekit import train
from coursekit.data import Split
from coursekit.train import loop


def identity_classifier() -> nn.Module:
    """A model whose logits are its inputs (N, 2)."""
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.eye(2)
    return model


def batch(logits, labels):
    return torch.tensor(logits), torch.tensor(labels)


def two_blobs(count: int = 60) -> Split:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 2
    return Split(torch.randn(count, 2, generator=generator) + 3 * y.unsqueeze(1), y)


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


class Level(nn.Module):
    """One number `w`; as an objective `pull` draws it towards y."""

    def __init__(self, w: float = 0.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))

    def forward(self, x):
        return self.w * x


def pull(model, x, y):
    return {"loss": (model(x) - y).square().mean()}


def constant(y: float) -> list:
    return [(torch.ones(1), torch.tensor([y]))]


# Averages --------------------------------------------------------------------------------------------------


def test_accuracy_counts_examples_not_batches():
    three_right, one_wrong = batch([[1.0, 0.0]] * 3, [0, 0, 0]), batch([[1.0, 0.0]], [1])
    score = train.evaluate(identity_classifier(), [three_right, one_wrong])["accuracy"]
    assert score == 0.75  # the mean of batch means would be 0.5


def test_loss_is_the_cross_entropy_over_all_examples():
    split = two_blobs(10)
    model = small_net()
    expected = F.cross_entropy(model(split.x), split.y).item()
    assert train.evaluate(model, split.batches(3))["loss"] == pytest.approx(expected, rel=1e-6)


def test_training_averages_count_examples_too():
    model = identity_classifier()
    history = train.fit(
        model,
        [batch([[1.0, 0.0]] * 3, [0, 0, 0]), batch([[1.0, 0.0]], [1])],
        epochs=1,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0),  # nothing moves
    )
    assert history.train["accuracy"] == [0.75]


def test_evaluate_leaves_weights_buffers_and_gradients_alone():
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    before = copy.deepcopy(model.state_dict())
    first = train.evaluate(model, two_blobs().batches(7))
    assert train.evaluate(model, two_blobs().batches(7)) == first  # no dropout
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())


# The loop --------------------------------------------------------------------------------------------------


def test_fit_is_the_loop_written_by_hand():
    split, by_hand, by_fit = two_blobs(), small_net(), small_net()
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-3)
    torch.manual_seed(1)
    for _ in range(3):
        for x, y in split.batches(16, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(by_hand(x), y).backward()
            optimizer.step()

    torch.manual_seed(1)
    train.fit(by_fit, split.batches(16, shuffle=True), split.batches(60), epochs=3)

    for ours, theirs in zip(by_hand.parameters(), by_fit.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_dataloader_gives_the_same_history_as_batches():
    split, ours, theirs = two_blobs(), small_net(), small_net()
    first = train.fit(ours, split.batches(16), epochs=2)
    second = train.fit(theirs, DataLoader(TensorDataset(split.x, split.y), batch_size=16), epochs=2)
    assert first.train == second.train


class Stream(IterableDataset):
    """Six examples, one after the other, of which nobody knows how many they are."""

    def __iter__(self):
        return zip(two_blobs(6).x, two_blobs(6).y, strict=True)


def test_a_stream_of_unknown_length_gives_the_same_history_as_batches():
    ours, theirs = small_net(), small_net()
    first = train.fit(ours, two_blobs(6).batches(4), epochs=2)
    second = train.fit(
        theirs, DataLoader(Stream(), batch_size=4), DataLoader(Stream(), batch_size=4), epochs=2
    )
    assert first.train == second.train


def test_integers_of_numpy_are_integers():
    batches = two_blobs(10).batches(np.int64(4), shuffle=True)
    assert (
        [len(x) for x, _ in batches] == [len(x) for x, _ in two_blobs(10).batches(np.int64(4))] == [4, 4, 2]
    )
    history = train.fit(small_net(), batches, batches, epochs=np.int64(2), patience=np.int32(5))
    assert len(history) == 2


def test_fit_learns():
    split, model = two_blobs(), small_net()
    train.fit(model, split.batches(16, shuffle=True), epochs=60)
    assert train.evaluate(model, split.batches(60))["accuracy"] > 0.9


def test_fit_trains_in_train_mode_and_ends_in_eval_mode():
    modes = []
    model = small_net()
    model.register_forward_hook(lambda module, *_: modes.append(module.training))
    train.fit(model, two_blobs().batches(60), two_blobs().batches(60), epochs=2)
    assert modes == [True, False, True, False]
    assert not model.training


def test_any_objective_is_averaged_under_its_own_names():
    def objective(model, x, y):
        error = (model(x) - y).square().mean()
        return {"loss": 2 * error, "error": error}

    history = train.fit(Level(), constant(3.0), constant(3.0), epochs=1, objective=objective)
    assert history.train == {"loss": [18.0], "error": [9.0]}
    assert set(history.valid) == {"loss", "error"}


def test_a_used_up_iterator_is_reported():
    batches = iter(two_blobs().batches(16))
    with pytest.raises(ValueError, match=r"`train` yielded no examples.*used up"):
        train.fit(small_net(), batches, epochs=2)


def test_history_tells_itself_in_one_line():
    history = train.fit(small_net(), two_blobs().batches(16), two_blobs().batches(60), epochs=3)
    assert len(history) == 3
    for words in ("3 epochs in", "train loss", "valid loss", "accuracy"):
        assert words in repr(history)
    assert "\n" not in repr(history)
    assert repr(train.History()) == "History of 0 epochs"


def test_history_tells_the_best_epoch_with_its_values():
    history = train.History()
    for loss in (3.0, 1.0, 2.0):
        history.append({"loss": 0.5}, {"loss": loss}, lr=0.1, seconds=1.0)
    assert (
        repr(history)
        == "3 epochs in 3.0 s · train loss 0.5000 · valid loss 2.0000 · best epoch 2: valid loss 1.0000"
    )


# Early stopping and schedules ------------------------------------------------------------------------------


def test_early_stopping_puts_back_the_best_weights():
    # each step moves w by 1 towards 100: the validation loss (w - 3)² is lowest after epoch 3
    def unit_step(model, x, y):
        return {"loss": (y - model(x)).abs().mean()}

    model = Level()
    history = train.fit(
        model, constant(100.0), constant(3.0), epochs=50, objective=unit_step, patience=4,
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
    )  # fmt: skip
    assert history.valid["loss"] == [2, 1, 0, 1, 2, 3, 4]
    assert (history.best_epoch, len(history)) == (3, 3 + 4)
    assert model.w.item() == 3


def test_patience_counts_from_the_last_improvement():
    levels = iter([5.0, 4.0, 6.0, 3.0, 6.0, 6.0, 6.0])

    def scripted(model, x, y):
        loss = (model(x) * 0).sum()
        return {"loss": loss if model.training else loss + next(levels)}

    history = train.fit(Level(), constant(0.0), constant(0.0), epochs=7, objective=scripted, patience=2)
    assert history.valid["loss"] == [5, 4, 6, 3, 6, 6]


def test_early_stopping_leaves_no_bar_in_the_colour_of_failures(monkeypatch):
    bars = []

    class Kept(notebook.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            bars.append(self)

    monkeypatch.setattr(loop, "ProgressBar", Kept)
    history = train.fit(Level(), constant(100.0), constant(-1.0), epochs=50, objective=pull, patience=2)
    (bar,) = bars
    assert bar.n == len(history) < 50
    assert bar.container.children[1].bar_style != "danger"


def test_without_patience_the_last_weights_stay():
    model = Level()
    train.fit(
        model, constant(100.0), constant(0.0), epochs=3, objective=pull,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
    )  # fmt: skip
    assert model.w.item() > 1  # ever farther from what validation would like


def test_schedules_step_once_an_epoch():
    optimizer = torch.optim.SGD((model := small_net()).parameters(), lr=1.0)
    history = train.fit(
        model,
        two_blobs().batches(16),
        epochs=4,
        optimizer=optimizer,
        scheduler=StepLR(optimizer, 2, gamma=0.1),
    )
    assert history.lr == pytest.approx([1, 1, 0.1, 0.1])


def test_one_cycle_steps_with_every_batch():
    optimizer = torch.optim.SGD((model := small_net()).parameters(), lr=0.1)
    batches = two_blobs().batches(16)  # 4 batches an epoch
    schedule = OneCycleLR(optimizer, max_lr=1.0, total_steps=8)
    train.fit(model, batches, epochs=2, optimizer=optimizer, scheduler=schedule)
    assert schedule.last_epoch == 8


def test_plateau_follows_the_validation_loss():
    model = Level(5.0)  # the training loss falls towards 0, the validation loss rises from the start
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    history = train.fit(
        model, constant(0.0), constant(5.0), epochs=4, objective=pull, optimizer=optimizer,
        scheduler=ReduceLROnPlateau(optimizer, factor=0.5, patience=0),
    )  # fmt: skip
    assert history.lr == pytest.approx([0.01, 0.01, 0.005, 0.0025])


def stand_still(model, x, y):
    return {"loss": 25 + 0 * model(x).sum()}


@pytest.mark.parametrize(
    ("objective", "lr"), [(pull, [0.01, 0.01, 0.01, 0.01]), (stand_still, [0.01, 0.01, 0.005, 0.0025])]
)
def test_plateau_without_validation_follows_the_training_loss(objective, lr):
    model = Level(5.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    history = train.fit(
        model, constant(0.0), epochs=4, objective=objective, optimizer=optimizer,
        scheduler=ReduceLROnPlateau(optimizer, factor=0.5, patience=0),
    )  # fmt: skip
    assert history.lr == pytest.approx(lr)


def test_a_learning_rate_that_is_a_tensor_is_recorded_as_it_was_in_each_epoch():
    model = Level(5.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.5))
    history = train.fit(
        model, constant(0.0), epochs=3, objective=pull, optimizer=optimizer,
        scheduler=StepLR(optimizer, 1, gamma=0.5),
    )  # fmt: skip
    assert history.lr == [0.5, 0.25, 0.125]


# A loss that is no number ----------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_loss_that_is_no_number_stops_with_epoch_and_batch(poison):
    split = two_blobs()
    split.x[37] = poison  # batch 3 of size 16
    with pytest.raises(FloatingPointError, match=r"loss became nan in epoch 1, batch 3;"):
        train.fit(small_net(), split.batches(16), epochs=5)


def test_loss_that_explodes_later_is_dated():
    model = Level(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e10)
    with pytest.raises(FloatingPointError, match=r"epoch [2-9], batch 1"):
        train.fit(model, constant(0.0), epochs=20, objective=pull, optimizer=optimizer)


def test_validation_loss_that_is_no_number_stops_too():
    poisoned = two_blobs()
    poisoned.x[5] = math.nan
    with pytest.raises(FloatingPointError, match="validation loss is nan in epoch 1"):
        train.fit(small_net(), two_blobs().batches(16), poisoned.batches(60), epochs=3, patience=2)


# Errors that say what to do --------------------------------------------------------------------------------

GOOD = batch([[1.0, 0.0], [0.0, 1.0]], [0, 1])


@pytest.mark.parametrize(
    ("batches", "error", "words"),
    [
        ([(GOOD[0], torch.tensor([0, 2]))], ValueError, r"2 outputs.*between 0 and 1.*from 0 to 2"),
        ([(GOOD[0], torch.tensor([-1, 0]))], ValueError, "from -1 to 0"),
        ([(GOOD[0], GOOD[1].float())], TypeError, r"integer class numbers, not \(2,\) float32.*y.long"),
        ([(GOOD[0], F.one_hot(GOOD[1]))], ValueError, r"shape \(2,\).*not \(2, 2\); one-hot"),
        ([(torch.zeros(2, 3), GOOD[1])], ValueError, r"x \(2, 3\) float32.*the first one the batch"),
        ([(GOOD[0].double(), GOOD[1])], ValueError, r"x \(2, 2\) float64.*float32"),
        ([], ValueError, "`train` yielded no examples"),
        ([GOOD[0]], TypeError, r"pair of tensors \(x, y\), not \(2, 2\) float32"),
        ([(GOOD[0].numpy(), GOOD[1])], TypeError, r"pair of tensors"),
        (two_blobs(), TypeError, r"not .*Split.*\.batches\(128\)"),
        ([(GOOD[0].to("meta"), GOOD[1].to("meta"))], ValueError, r"model is on cpu, the batches on meta"),
    ],
)
def test_batches_that_cannot_be_trained_on_are_explained(batches, error, words):
    with pytest.raises(error, match=words):
        train.fit(identity_classifier(), batches, epochs=1)


def test_model_on_another_device_is_named():
    with pytest.raises(ValueError, match="the model is on meta, the batches on cpu"):
        train.evaluate(identity_classifier().to("meta"), [GOOD])


def test_model_in_pieces_is_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).to("meta"))
    with pytest.raises(ValueError, match=r"several devices, \['cpu', 'meta'\]"):
        train.evaluate(model, [GOOD])


def test_model_without_parameters_is_named():
    with pytest.raises(ValueError, match="ReLU has no parameters"):
        train.evaluate(nn.ReLU(), [GOOD])


def test_logits_of_a_wrong_shape_are_explained():
    with pytest.raises(ValueError, match=r"logits \(N, C\), not \(2, 2, 1\)"):
        train.evaluate(nn.Sequential(nn.Linear(2, 2), nn.Unflatten(1, (2, 1))), [GOOD])


@pytest.mark.parametrize(
    "result", [3.0, {"error": torch.tensor(1.0)}, {"loss": torch.ones(2)}, {"loss": 1.0}]
)
def test_objective_must_return_a_scalar_loss(result):
    with pytest.raises(TypeError, match="dict of scalar tensors with an entry 'loss'"):
        train.evaluate(identity_classifier(), [GOOD], objective=lambda *_: result)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"epochs": 0}, ValueError, "`epochs` must be an integer of at least 1, not 0"),
        ({"epochs": 2.5}, ValueError, "not 2.5"),
        ({"epochs": None}, ValueError, "not None"),
        ({"epochs": np.int64(0)}, ValueError, "not .*0"),
        ({"epochs": 1, "patience": 3}, ValueError, "`patience` watches the validation loss.*`valid`"),
        (
            {"epochs": 1, "optimizer": "adam"},
            TypeError,
            "`optimizer` must be a torch.optim.Optimizer.*not 'adam'",
        ),
        (
            {"epochs": 1, "scheduler": StepLR(torch.optim.SGD(small_net().parameters(), lr=1), 1)},
            ValueError,
            "`scheduler` belongs to another optimizer",
        ),
    ],
)
def test_settings_that_make_no_sense_are_explained(settings, error, words):
    with pytest.raises(error, match=words):
        train.fit(identity_classifier(), [GOOD], **settings)


@pytest.mark.parametrize("call", [functools.partial(train.fit, epochs=1), train.evaluate])
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Level, r"`model` is the class Level, not a network of it: make one, Level\(\.\.\.\)"),
        (F.relu, "`model` must be a torch.nn.Module, not function"),
        (torch.ones(3), r"`model` must be a torch.nn.Module, not \(3,\) float32"),
    ],
)
def test_what_is_no_network_is_named(call, model, words):
    with pytest.raises(TypeError, match=words):
        call(model, [GOOD])


@pytest.mark.parametrize("call", [functools.partial(train.fit, epochs=1), train.evaluate])
@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (
            nn.CrossEntropyLoss(),
            r'return {"loss": nn.CrossEntropyLoss\(\)\(model\(x\), y\)}.*leave `objective` out',
        ),
        (nn.CrossEntropyLoss, r"nn.CrossEntropyLoss\(\)\(model\(x\), y\)"),
        (nn.TripletMarginLoss(), r"nn.TripletMarginLoss\(\)\(model\(x\), y\)"),
        (F.cross_entropy, r"F.cross_entropy\(model\(x\), y\)"),
        (functools.partial(F.cross_entropy, label_smoothing=0.1), r"F.cross_entropy\(model\(x\), y\)"),
        (F.mse_loss, r"F.mse_loss\(model\(x\), y\)}$"),
        (lambda logits, y: {}, r"is called with \(model, x, y\), which <lambda> does not take"),
        ("mse", "must be a function .* not str 'mse'"),
    ],
)
def test_a_loss_is_no_objective_and_is_shown_to_be_made_one(call, objective, words):
    with pytest.raises(TypeError, match=f"(?s)`objective`.*{words}"):
        call(identity_classifier(), [GOOD], objective=objective)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.5, r"entry 'error' is float 0\.5: leave out \.item\(\)"),
        (np.float32(0.5), r"entry 'error' is .*: leave out \.item\(\)"),
        (torch.ones(2), r"entry 'error' is \(2,\) float32: average over the batch with \.mean\(\)"),
    ],
)
def test_every_entry_of_an_objective_must_be_a_scalar_tensor(value, words):
    with pytest.raises(TypeError, match=words):
        train.evaluate(
            Level(), constant(1.0), objective=lambda *_: {"loss": torch.tensor(1.0), "error": value}
        )


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_labels_of_any_integer_type_are_class_numbers(dtype):
    x, y = GOOD
    assert train.evaluate(identity_classifier(), [(x, y.to(dtype))]) == train.evaluate(
        identity_classifier(), [GOOD]
    )
    history = train.fit(identity_classifier(), [(x, y.to(dtype))], epochs=1)
    assert history.train["accuracy"] == [1.0]


def test_an_optimizer_of_another_model_is_an_error():
    optimizer = torch.optim.Adam(small_net().parameters())  # the model was built again, the optimizer was not
    with pytest.raises(
        ValueError, match=r"`optimizer` holds 4 parameters and none .* trained.*Adam\(model.parameters"
    ):
        train.fit(small_net(), two_blobs().batches(16), epochs=1, optimizer=optimizer)


def test_an_optimizer_of_which_a_part_is_another_models_is_a_warning():
    model = small_net()
    optimizer = torch.optim.Adam([*model[0].parameters(), *small_net()[2].parameters()])
    with pytest.warns(UserWarning, match="2 of the 4 parameters in `optimizer` do not belong") as told:
        train.fit(model, two_blobs().batches(16), epochs=1, optimizer=optimizer)
    assert told[0].filename == __file__


def test_an_optimizer_that_needs_a_closure_is_an_error():
    optimizer = torch.optim.LBFGS((model := small_net()).parameters())
    with pytest.raises(ValueError, match=r"`optimizer` LBFGS .*closure.*: take another"):
        train.fit(model, two_blobs().batches(16), epochs=1, optimizer=optimizer)


@pytest.mark.parametrize("given", [True, False])
def test_a_model_with_nothing_but_frozen_parameters_is_an_error(given):
    model = small_net().requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters()) if given else None
    with pytest.raises(ValueError, match=r"all parameters in `optimizer` are frozen.*requires_grad_\(True\)"):
        train.fit(model, two_blobs().batches(16), epochs=1, optimizer=optimizer)


def test_a_model_with_some_frozen_parameters_is_trained():
    model = small_net()
    model[0].requires_grad_(False)
    frozen, free = model[0].weight.clone(), model[2].weight.clone()
    train.fit(model, two_blobs().batches(16), epochs=1)
    assert torch.equal(model[0].weight, frozen)
    assert not torch.equal(model[2].weight, free)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_training_without_gradients_is_an_error(context):
    with context(), pytest.raises(RuntimeError, match=rf"gradients are switched off.*{context.__name__}"):
        train.fit(small_net(), two_blobs().batches(16), epochs=1)


def test_a_loss_that_depends_on_no_parameter_is_an_error():
    def detached(model, x, y):
        return {"loss": model(x).detach().square().mean()}

    with pytest.raises(ValueError, match=r"loss does not depend on any parameter.*\.detach\(\)"):
        train.fit(small_net(), two_blobs().batches(16), epochs=1, objective=detached)


def test_a_lazy_layer_must_have_seen_a_batch():
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(ValueError, match=r"'1.weight' of `model` has no size .*LazyLinear.*model\(x\[:2\]\)"):
        train.fit(model, two_blobs().batches(16), epochs=1)
    model(two_blobs().x[:2])
    train.fit(model, two_blobs().batches(16), epochs=1)


def test_a_batch_of_one_with_batch_normalization_is_explained():
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with pytest.raises(
        ValueError, match=r"batch of x \(1, 2\) float32 is too small .*leave 1.*drop_last=True"
    ):
        train.fit(model, two_blobs(33).batches(16), epochs=1)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@needs_cuda
def test_batches_of_a_dataloader_follow_the_model_to_the_gpu():
    split, model = two_blobs(), small_net().to("cuda")
    history = train.fit(model, DataLoader(TensorDataset(split.x, split.y), batch_size=16), epochs=1)
    assert math.isfinite(history.train["loss"][0])


@needs_cuda
def test_model_left_on_the_cpu_is_named():
    with pytest.raises(ValueError, match=r"the model is on cpu, the batches on cuda:0.*model.to\('cuda:0'\)"):
        train.fit(small_net(), two_blobs().to("cuda").batches(16), epochs=1)
