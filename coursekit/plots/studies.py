"""The trials of a search over settings."""

import math
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from coursekit.plots.axes import new_axes

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def trials(study: "optuna.Study", *, label: str = "validation loss (nats)", ax: Axes | None = None) -> Axes:
    """Return the finished trials of an Optuna study: a learning curve each, on a log axis if all values are positive.

    The curves are what the trials reported, epoch by epoch, counted from 1: `trial.report(loss, epoch)`. Trials that
    were pruned are grey and dashed, complete ones thin, the best is thick. If no trial reported anything, the value of
    each complete trial is drawn over its number, with the best so far as a line. Trials that failed, or that are still
    running, are left out. Raises ValueError for a study with nothing to draw.
    """
    finished = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]
    complete = [trial for trial in finished if trial.state.name == "COMPLETE"]
    reported = [trial for trial in finished if trial.intermediate_values]
    if not reported and not complete:
        raise ValueError(
            f"trials: none of the {len(study.trials)} trials of `study` has finished with a value or reported one, so "
            "there is nothing to draw: run some first, with studies.work"
        )
    better = min if study.direction.name == "MINIMIZE" else max
    ax = ax or new_axes()
    if reported:
        best = better(complete, key=lambda trial: trial.value, default=None)
        shown = _curves(ax, reported, best)
    else:
        shown = _values(ax, complete, better)
    if all(value > 0 for value in shown if math.isfinite(value)):
        ax.set_yscale("log")
    ax.set(xlabel="epoch" if reported else "trial", ylabel=label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1))  # above: curves are everywhere
    return ax


def _curves(ax: Axes, reported: "list[FrozenTrial]", best: "FrozenTrial | None") -> list[float]:
    """Draw what each trial reported; return all values."""
    pruned = [trial for trial in reported if trial.state.name == "PRUNED"]
    complete = [trial for trial in reported if trial.state.name == "COMPLETE"]
    of_best = [trial for trial in complete if trial.number == best.number]
    for group, name, style in (
        (pruned, f"{len(pruned)} stopped early", {"color": "0.6", "linestyle": "--", "linewidth": 1}),
        (complete, f"{len(complete)} finished", {"color": "C0", "linewidth": 1}),
        (of_best, f"the best, trial {best and best.number}", {"color": "C2", "linewidth": 3}),
    ):
        for position, trial in enumerate(group):
            epochs, values = zip(*sorted(trial.intermediate_values.items()), strict=True)
            ax.plot(epochs, values, marker=".", markersize=4, label=None if position else name, **style)
    return [value for trial in reported for value in trial.intermediate_values.values()]


def _values(ax: Axes, complete: "list[FrozenTrial]", better: Callable) -> list[float]:
    """Draw the value of each trial, and the best so far; return all values."""
    numbers, values = [trial.number for trial in complete], [trial.value for trial in complete]
    ax.plot(numbers, values, "o", color="C0", markersize=4, label=f"{len(complete)} finished")
    ax.step(numbers, list(accumulate(values, better)), where="post", color="C2", label="the best so far")
    return values
