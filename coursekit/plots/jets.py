"""A jet as its particles."""

from matplotlib.axes import Axes
from torch import Tensor

from coursekit.plots.axes import new_axes


def jet(particles: Tensor, *, ax: Axes | None = None, color: str = "C0") -> Axes:
    """Return the particles (n, 3) of one jet in the plane of Δy and Δφ, each a disc whose area grows with its momentum.

    A row is z, Δy, Δφ, as in `data.jet_particles`; rows with z = 0 are padding. ValueError if none is a particle.
    """
    if particles.ndim != 2 or particles.shape[1] != 3:
        raise ValueError(f"jet: `particles` must be (n, 3): z, Δy, Δφ, not {tuple(particles.shape)}")
    z, dy, dphi = particles[particles[:, 0] > 0].detach().cpu().T
    if not len(z):
        raise ValueError("jet: `particles` holds no particle: z is 0 in every row")
    ax = ax or new_axes(figsize=(3.6, 3.6))
    ax.scatter(dy, dphi, s=600 * z, color=color, alpha=0.5, edgecolor=color)
    ax.set(
        xlabel="$\\Delta y$",
        ylabel="$\\Delta\\varphi$ (rad)",
        xlim=(-0.9, 0.9),
        ylim=(-0.9, 0.9),
        aspect="equal",
    )
    return ax
