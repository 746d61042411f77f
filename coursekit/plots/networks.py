"""A dense network as a drawing."""

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from coursekit.plots.axes import new_axes


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
    ax = ax or new_axes(figsize=(7.2, 3.8) if parameters else (5.2, 2.6))
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
