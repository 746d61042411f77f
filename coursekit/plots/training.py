"""The curves of a training run."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from coursekit.plots.axes import new_axes
from coursekit.train import History


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
    ax = ax or new_axes()
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
