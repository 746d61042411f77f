"""Spikes, and the membranes that fire them."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from coursekit.plots.axes import new_axes


def raster(spikes: Tensor, *, ax: Axes | None = None, color: str = "C0") -> Axes:
    """Return the spikes (T, units) of a layer: a row for each unit, a tick in the time step of each spike.

    Whatever is not 0 is drawn; events of −1 in another colour. Raises ValueError for other shapes.
    """
    if spikes.ndim != 2:
        raise ValueError(
            f"raster: `spikes` must be (T, units), time first, not {tuple(spikes.shape)}: choose an example"
        )
    ax = ax or new_axes(figsize=(6.4, 2.6))
    spikes = spikes.detach().cpu()
    for sign, shade in ((1, color), (-1, "C1")):
        times, units = (spikes * sign > 0).nonzero(as_tuple=True)
        ax.vlines(times, units - 0.4, units + 0.4, color=shade, linewidth=1.2)
    ax.set(
        xlabel="time step",
        ylabel="unit",
        xlim=(-0.5, len(spikes) - 0.5),
        ylim=(-0.5, spikes.shape[1] - 0.5),
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(False)
    return ax


def membrane(u: Tensor, spikes: Tensor, threshold: float, *, ax: Axes | None = None) -> Axes:
    """Return the membrane u (T,) of one neuron as a line, its threshold dotted, and a bar above it for each spike (T,).

    Raises ValueError unless both are (T,).
    """
    if u.ndim != 1 or u.shape != spikes.shape:
        raise ValueError(
            f"membrane: `u` {tuple(u.shape)} and `spikes` {tuple(spikes.shape)} must both be (T,): choose one neuron"
        )
    ax = ax or new_axes(figsize=(6.4, 2.2))
    u, spikes = u.detach().cpu(), spikes.detach().cpu()
    top = max(float(u.max()), threshold)
    height = 0.25 * max(top - min(float(u.min()), 0.0), 1e-9)
    ax.plot(u, ".-", color="C0", markersize=4, linewidth=1, label="membrane")
    ax.axhline(threshold, color="0.3", linestyle=":", linewidth=1, label="threshold")
    ax.vlines(
        spikes.nonzero()[:, 0], top + 0.2 * height, top + height, color="C1", linewidth=2, label="spike"
    )
    ax.set(xlabel="time step", ylabel="$U$")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return ax
