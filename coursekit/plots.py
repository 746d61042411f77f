"""The figures of the course. Each takes `ax` and returns it, or returns a Figure where it is a grid.

Nothing is shown, except by `explore`, or saved: a notebook shows what its cell ends on (end the line with `;` to keep
the returned object itself from being printed). Colours are Okabe and Ito's, and never the only carrier of meaning.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from ipywidgets import VBox, interactive
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from coursekit.train import History

DIVERGING = "RdBu_r"  # blue below zero, red above


def pictures(
    images: Tensor,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 10,
    value_range: tuple[float, float] = (0, 1),
) -> Figure:
    """Return a grid of pictures (N, H, W), (N, 1, H, W) or (N, 3, H, W), dark ink on white, with titles above.

    `value_range` gives the values drawn as white and black.
    """
    images = _as_pictures("pictures", images)
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"pictures: {len(titles)} `titles` for {len(images)} `images`: give one per picture")
    figure, axes = _grid(
        len(images), columns, title_lines=0 if titles is None else 1 + max(t.count("\n") for t in titles)
    )
    for ax, image, title in zip(axes, images, titles or [""] * len(images), strict=True):
        ax.imshow(image, vmin=value_range[0], vmax=value_range[1])
        ax.set_title(title, fontsize=9)
    return figure


def weights(weight: Tensor, *, side: int | None = None, columns: int = 8) -> Figure:
    """Return each row of a weight matrix (H, side²) as a picture: red adds to the unit's sum, blue takes away.

    All pictures share one colour scale, symmetric about zero.
    """
    side = side or math.isqrt(weight.shape[-1])
    if weight.ndim != 2 or weight.shape[1] != side * side:
        raise ValueError(
            f"weights: `weight` must be (units, side²) such as (16, 784), not {tuple(weight.shape)}"
        )
    rows = weight.detach().cpu().unflatten(1, (side, side))
    limit = float(rows.abs().max())
    figure, axes = _grid(len(rows), columns)
    for ax, row in zip(axes, rows, strict=True):
        drawn = ax.imshow(row, cmap=DIVERGING, vmin=-limit, vmax=limit)
    figure.colorbar(drawn, ax=axes, label="weight", fraction=0.04, pad=0.02)
    return figure


def most_confident_mistakes(
    images: Tensor, labels: Tensor, probabilities: Tensor, classes: Sequence[str], *, count: int = 12
) -> Figure:
    """Return the wrongly classified pictures of which the model was surest, surest first.

    `probabilities` (N, C) are the model's, `labels` (N,) the truth. Raises ValueError if there is no mistake.
    """
    confidence, predicted = probabilities.detach().cpu().max(dim=1)
    labels, images = labels.cpu(), images.cpu()
    wrong = (predicted != labels).nonzero().squeeze(1)
    if not len(wrong):
        raise ValueError(
            "most_confident_mistakes: every prediction agrees with `labels`; there is no mistake to show"
        )
    worst = wrong[confidence[wrong].argsort(descending=True)][:count]
    sure = [f"{confidence[i]:.1%}" if confidence[i] < 0.9995 else "> 99.9%" for i in worst]
    titles = [
        f"{classes[predicted[i]]}, {how}\ntrue: {classes[labels[i]]}"
        for i, how in zip(worst, sure, strict=True)
    ]
    return pictures(images[worst], titles, columns=6)


def history(
    record: History, name: str = "loss", *, label: str = "mean cross-entropy (nats)", ax: Axes | None = None
) -> Axes:
    """Return the curves of one entry of a history: training solid, validation dashed; losses on a log axis."""
    if not len(record):
        raise ValueError(
            "history: `record` has no epochs, so there is no curve to draw: train first, with train.fit"
        )
    if name not in record.train:
        raise ValueError(f"history: `name` must be one of {', '.join(map(repr, record.train))}, not {name!r}")
    ax = ax or _axes()
    epochs = range(1, len(record) + 1)
    ax.plot(epochs, record.train[name], "o-", color="C0", markersize=3, label="training")
    if name in record.valid:
        ax.plot(epochs, record.valid[name], "s--", color="C1", markersize=3, label="validation")
        ax.axvline(
            record.best_epoch,
            color="0.5",
            linewidth=1,
            linestyle=":",
            label=f"best epoch: {record.best_epoch}",
        )
    if name == "loss" and min(record.train[name]) > 0:
        ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel=label)
    ax.legend()
    return ax


def confusion_matrix(counts: Tensor | np.ndarray, classes: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Return a confusion matrix (C, C) of counts, truth in rows; shade is the fraction of the row's examples.

    Only the mistakes are shaded: the diagonal, hundreds of times larger, would drown them.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"confusion_matrix: `counts` {counts.shape} must be a square of the {len(classes)} `classes`"
        )
    ax = ax or _axes(figsize=(5.8, 5.2))
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mistakes = np.where(np.eye(len(classes), dtype=bool), np.nan, fractions)
    drawn = ax.imshow(mistakes, cmap="Oranges", vmin=0)
    dark = np.nanmax(mistakes) * 0.6
    for row, column in np.ndindex(counts.shape):
        if counts[row, column]:
            ax.text(
                column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8.5,
                color="white" if mistakes[row, column] > dark else "black",
                weight="bold" if row == column else "normal",
            )  # fmt: skip
    ax.set(xticks=range(len(classes)), yticks=range(len(classes)), xticklabels=classes, yticklabels=classes)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.grid(False)
    ax.figure.colorbar(drawn, ax=ax, label="fraction of the true class", format="{x:.1%}", fraction=0.045)
    return ax


def reliability(labels: Tensor, probabilities: Tensor, *, bins: int = 10, ax: Axes | None = None) -> Axes:
    """Return the reliability diagram of a classifier: accuracy against its confidence, in bins of equal width.

    A model whose probabilities are honest lies on the diagonal; the bars give ± one binomial standard error, the
    legend the expected calibration error (Guo et al., "On calibration of modern neural networks", ICML 2017).
    Bins with fewer than 10 examples are left out of the plot, not of the error.
    """
    confidence, predicted = probabilities.detach().cpu().max(dim=1)
    right = (predicted == labels.cpu()).double()
    ax = ax or _axes(figsize=(4.8, 4.4))
    points, error = [], 0.0
    which = (confidence * bins).long().clamp(max=bins - 1)
    for index in which.unique():
        inside = which == index
        count, accuracy, mean = (
            int(inside.sum()),
            float(right[inside].mean()),
            float(confidence[inside].mean()),
        )
        error += count / len(right) * abs(accuracy - mean)
        if count >= 10:
            points.append((mean, accuracy, math.sqrt(max(accuracy * (1 - accuracy), 0.25 / count) / count)))
    ax.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1, label="honest")
    mean, accuracy, spread = np.array(points).reshape(-1, 3).T
    ax.errorbar(
        mean,
        accuracy,
        spread,
        fmt="o-",
        color="C0",
        capsize=2,
        label=f"model (calibration error {error:.1%})",
    )
    ax.set(
        xlabel="confidence: largest probability",
        ylabel="accuracy: fraction right",
        xlim=(0, 1.02),
        ylim=(0, 1.05),
    )
    ax.set_aspect("equal")
    ax.legend(loc="upper left")
    return ax


def roc(labels: Tensor, probabilities: Tensor, classes: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Return the ROC curve of each class against all others, with the area under it (AUC) in the legend.

    `probabilities` (N, C) are the model's, `labels` (N,) the truth; every class must occur among them.
    """
    from sklearn.metrics import auc, roc_curve  # a second to import: only where it is used

    labels, probabilities = labels.cpu().numpy(), probabilities.detach().cpu().numpy()
    missing = [name for number, name in enumerate(classes) if number not in labels]
    if probabilities.shape != (len(labels), len(classes)) or missing:
        raise ValueError(
            f"roc: `probabilities` {probabilities.shape} must be ({len(labels)}, {len(classes)}), a column for each "
            f"of the `classes`, and `labels` must hold every class; missing: {', '.join(missing) or 'none'}"
        )
    ax = ax or _axes(figsize=(5.0, 4.4))
    for number, (name, style) in enumerate(
        zip(classes, itertools.cycle(["-", "--", "-.", ":"]), strict=False)
    ):
        false_positives, true_positives, _ = roc_curve(labels == number, probabilities[:, number])
        area = auc(false_positives, true_positives)
        ax.plot(false_positives, true_positives, style, color=f"C{number}", label=f"{name}: AUC {area:.3f}")
    ax.plot([0, 1], [0, 1], color="0.5", linewidth=1, linestyle=":", label="guessing: AUC 0.5")
    ax.set(
        xlabel="false positives: fraction of all others taken for it", ylabel="true positives: fraction found"
    )
    ax.legend(loc="lower right")
    return ax


@torch.no_grad()
def decision_regions(
    model: nn.Module, x: Tensor, y: Tensor, *, points: int = 200, ax: Axes | None = None
) -> Axes:
    """Return the regions of the plane that a model assigns to each class, with the examples on top.

    `model` maps (N, 2) to logits (N, C); `x` (N, 2) and `y` (N,) are the examples, one marker shape a class.
    Puts the model in eval mode.
    """
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"decision_regions: `x` must be points of the plane (N, 2), not {tuple(x.shape)}")
    ax = ax or _axes(figsize=(4.2, 4.2))
    model.eval()
    margin = 0.1 * (x.max(dim=0).values - x.min(dim=0).values)
    (left, bottom), (right, top) = (
        (x.min(dim=0).values - margin).tolist(),
        (x.max(dim=0).values + margin).tolist(),
    )
    grid_x, grid_y = torch.meshgrid(
        torch.linspace(left, right, points), torch.linspace(bottom, top, points), indexing="xy"
    )
    grid = torch.stack([grid_x.flatten(), grid_y.flatten()], dim=1).to(x.device)  # (points², 2)
    logits = model(grid)
    regions = logits.argmax(dim=1).unflatten(0, (points, points)).cpu()
    colours = [to_rgb(f"C{index}") for index in range(logits.shape[1])]
    ax.imshow(
        regions, extent=(left, right, bottom, top), origin="lower", alpha=0.25, aspect="auto", interpolation="nearest",
        cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5,
    )  # fmt: skip
    scatter_classes(x, y, ax=ax)
    return ax


def scatter_classes(x: Tensor, y: Tensor, *, ax: Axes | None = None) -> Axes:
    """Return a scatter plot of points (N, 2), one colour and one marker shape for each class of `y` (N,).

    Raises ValueError for more than 7 classes: there are no more shapes that one can tell apart.
    """
    markers, labels = "os^Dv*P", y.unique().tolist()
    if len(labels) > len(markers):
        raise ValueError(
            f"scatter_classes: `y` holds {len(labels)} classes, but only {len(markers)} markers can be told apart: "
            "draw the digits themselves, or some of the classes"
        )
    ax = ax or _axes(figsize=(4.2, 4.2))
    x, y = x.cpu(), y.cpu()
    for label, marker in zip(labels, markers, strict=False):
        of_class = x[y == label]
        ax.scatter(
            of_class[:, 0],
            of_class[:, 1],
            s=12,
            color=f"C{label}",
            marker=marker,
            edgecolors="white",
            linewidths=0.3,
        )
    ax.set(xlabel="$x_1$", ylabel="$x_2$")
    ax.grid(False)
    return ax


def network(
    sizes: Sequence[int],
    *,
    values: Sequence[Tensor] | None = None,
    parameters: Sequence[tuple[Tensor, Tensor]] | None = None,
    gradients: Sequence[tuple[Tensor, Tensor]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Return a drawing of a dense network with `sizes` units per layer, input on the left, an edge per weight.

    `values`, a tensor for each layer, are written into the units in place of their symbols. `parameters`, a pair
    (weight, bias) for each layer after the input, are written on the edges and above the units; `gradients`, pairs like
    these, on the same edges nearer to their ends, and below the units, in orange and slanted.
    """
    if len(sizes) < 2 or max(sizes) > 12:
        raise ValueError(
            f"network: `sizes` must be two or more layers of at most 12 units to be drawn, not {list(sizes)}"
        )
    ax = ax or _axes(figsize=(7.2, 3.8) if parameters else (5.2, 2.6))
    heights = [((size - 1) / 2 - np.arange(size)).tolist() for size in sizes]
    for layer, (left, right) in enumerate(itertools.pairwise(heights)):
        for start, end in itertools.product(left, right):
            ax.plot([layer, layer + 1], [start, end], color="0.7", linewidth=1, zorder=1)
    symbols = ["x", *["h"] * (len(sizes) - 2), r"\hat y"]
    for layer, (units, symbol) in enumerate(zip(heights, symbols, strict=True)):
        ax.scatter(
            [layer] * len(units), units, s=650, color="white", edgecolors=f"C{[0, 2, 3][min(layer, 2)]}", linewidths=2,
            zorder=2,
        )  # fmt: skip
        for number, height in enumerate(units):
            index = f"_{{{number + 1}}}" if len(units) > 1 else ""
            inside = f"${symbol}{index}$" if values is None else f"{values[layer][number]:.4g}"
            ax.text(layer, height, inside, ha="center", va="center", zorder=3)
    _numbers(ax, heights, parameters or [], along=0.25, beside=0.3, form="+.4g", color="black")
    _numbers(ax, heights, gradients or [], along=0.77, beside=-0.3, form=".4g", color="C1", style="italic")
    ax.margins(0.15, 0.2)
    ax.set_axis_off()
    return ax


def _numbers(
    ax: Axes, heights: list[list[float]], pairs: Sequence, *, along: float, beside: float, form: str, **how
) -> None:
    """Write pairs (weight, bias) on the edges of a network, `along` of the way, and `beside` the units."""
    write = partial(ax.text, ha="center", va="center", fontsize=9, **how)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    for layer, (weight, bias) in enumerate(pairs):
        units, inputs = heights[layer + 1], heights[layer]
        for (end, to), (start, of) in itertools.product(enumerate(units), enumerate(inputs)):
            place = layer + along, of + along * (to - of)
            write(*place, f"{weight[end, start]:.4g}", bbox=box, zorder=2)
        for end, to in enumerate(units):
            write(layer + 1, to + beside, f"{bias[end]:{form}}", zorder=3)


def explore(draw: Callable[..., Figure], **sliders: object) -> None:
    """Show in a notebook the figure that `draw(**values)` returns, and a slider for each of its arguments.

    `sliders` holds (from, to, step) for every argument, or what else `ipywidgets.interactive` takes; the values to
    begin with are the defaults of `draw`. The figure is an output by itself, so a saved notebook keeps the last one
    drawn, where sliders without their kernel are an error.
    """
    *controls, _ = interactive(draw, **sliders).children

    def figure() -> Figure:
        drawn = draw(**{control.description: control.value for control in controls})
        plt.close(drawn)  # or the cell would show it a second time
        return drawn

    shown = display(figure(), display_id=True)
    for control in controls:
        control.observe(lambda _: shown.update(figure()), names="value")
    display(VBox(controls))


def _axes(figsize: tuple[float, float] | None = None) -> Axes:
    return plt.subplots(figsize=figsize)[1]


def _grid(count: int, columns: int, *, title_lines: int = 0) -> tuple[Figure, np.ndarray]:
    """Return a figure with `count` bare axes in rows of `columns`, each about as large at any count."""
    columns = min(columns, count)
    rows = -(-count // columns)
    width = 9.0 / max(columns, 6)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, (width + 0.19 * title_lines) * rows), squeeze=False
    )
    axes = axes.flatten()
    for ax in axes[count:]:
        ax.set_axis_off()
    for ax in axes[:count]:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color="0.85")  # a frame shows where a picture ends
    return figure, axes[:count]


def _as_pictures(function: str, images: Tensor) -> np.ndarray:
    """Return images as (N, H, W) or (N, H, W, 3) for imshow."""
    images = images.detach().cpu()
    if images.ndim == 4 and images.shape[1] == 1:
        images = images.squeeze(1)
    elif images.ndim == 4 and images.shape[1] == 3:
        images = images.permute(0, 2, 3, 1)
    elif images.ndim != 3:
        raise ValueError(
            f"{function}: `images` must be (N, H, W), (N, 1, H, W) or (N, 3, H, W), not {tuple(images.shape)}"
        )
    if not len(images):
        raise ValueError(f"{function}: `images` is empty, shape {tuple(images.shape)}")
    return images.numpy()
