"""A figure with sliders."""

from collections.abc import Callable

import matplotlib.pyplot as plt
from IPython.display import display
from ipywidgets import VBox, interactive
from matplotlib.figure import Figure


def explore(draw: Callable[..., Figure], **sliders: object) -> None:
    """Show in a notebook the figure that `draw(**values)` returns, and a slider for each of its arguments.

    `sliders` holds (from, to, step) for every argument, or what else `ipywidgets.interactive` takes; the values to
    begin with are the defaults of `draw`. The figure is an output by itself, so a saved notebook keeps the last one
    drawn, where sliders without their kernel are an error.
    """
    # unless by hand, `interactive` draws on every move as well, for an output that nobody sees
    *controls, _button, _output = interactive(draw, {"manual": True}, **sliders).children

    def figure() -> Figure:
        drawn = draw(**{control.description: control.value for control in controls})
        plt.close(drawn)  # or the cell would show it a second time
        return drawn

    shown = display(figure(), display_id=True)
    for control in controls:
        control.observe(lambda _: shown.update(figure()), names="value")
    display(VBox(controls))
