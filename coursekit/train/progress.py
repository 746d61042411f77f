"""The progress bar of a training run."""

from tqdm.auto import tqdm


class ProgressBar(tqdm):
    """A bar of tqdm that leaves nothing in a notebook once it is closed, and the last it said after a failure.

    A notebook saves the widgets of tqdm as they were last drawn, and opens them again as an error.
    """

    _shown = None  # the display that holds the widget

    def display(self, *args: object, check_delay: bool = True, **kwargs: object) -> None:
        """Draw the bar; `check_delay` is False where tqdm draws it before it is due."""
        if not hasattr(self, "container"):  # a console
            super().display(*args, **kwargs)
            return
        super().display(*args, check_delay=False, **kwargs)
        if check_delay and self._shown is None:
            from IPython.display import display

            self._shown = display(self.container, display_id=True)

    def close(self) -> None:
        """Take the bar away; where it did not come to its end, its text stays."""
        failed = self.total is not None and self.n < self.total
        super().close()
        if self._shown is not None:
            self._shown.update({"text/plain": str(self) if failed else ""}, raw=True)
