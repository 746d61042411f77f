"""What a classifier answers, how often it is right, and how sure it is."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from torch import Tensor, nn

from coursekit.plots.axes import new_axes


def confusion_matrix(counts: Tensor | np.ndarray, classes: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Return a confusion matrix (C, C) of counts, truth in rows; shade is the fraction of the row's examples.

    Only the mistakes are shaded: the diagonal, hundreds of times larger, would drown them.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"confusion_matrix: `counts` {counts.shape} must be a square of the {len(classes)} `classes`"
        )
    ax = ax or new_axes(figsize=(5.8, 5.2))
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
    ax = ax or new_axes(figsize=(4.8, 4.4))
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
    ax = ax or new_axes(figsize=(5.0, 4.4))
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


def decision_regions(
    model: nn.Module, x: Tensor, y: Tensor, *, points: int = 200, ax: Axes | None = None
) -> Axes:
    """Return the regions of the plane that a model assigns to each class, with the examples on top.

    `model` maps (N, 2) to logits (N, C); `x` (N, 2) and `y` (N,) are the examples, one marker shape a class.
    Puts the model in eval mode.
    """
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"decision_regions: `x` must be points of the plane (N, 2), not {tuple(x.shape)}")
    ax = ax or new_axes(figsize=(4.2, 4.2))
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
    ax = ax or new_axes(figsize=(4.2, 4.2))
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
