"""The axes that figures are drawn into."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def new_axes(figsize: tuple[float, float] | None = None) -> Axes:
    """Return the axes of a new figure."""
    return plt.subplots(figsize=figsize)[1]


def bare_grid(count: int, columns: int, *, title_lines: int = 0) -> tuple[Figure, np.ndarray]:
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
