"""Images, weights as images, and the images that a model gets wrong."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from coursekit.plots.axes import bare_grid

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
    figure, axes = bare_grid(
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
    figure, axes = bare_grid(len(rows), columns)
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
