"""What an exercise answers: verdicts that show themselves, as HTML in notebooks, as text elsewhere.

Colours come from the notebook's theme, light or dark; what matters is said by a symbol and a word as well.
"""

import html
import re
import sys
import textwrap
from dataclasses import dataclass, field, replace

SYMBOLS = {"correct": "✓", "wrong": "✗", "raised": "!", "not attempted": "○"}
_PLAIN = str.maketrans(
    {"✓": "+", "✗": "x", "○": "o", "●": "#", "◐": "/", "·": "-", "−": "-", "…": "...", "⁻": "-"}
)
_EDGES = {"correct": "#2e9e5b", "wrong": "#d1495b", "raised": "#d98a1f", "not attempted": "#8a8a8a"}
_WIDTH = 100
_CELL = (
    "text-align:left;vertical-align:top;padding:.1em 1em .1em 0;line-height:1.4;color:inherit;background:none"
)
_CODE = "margin:0;padding:0;line-height:1.4;font-size:inherit;color:inherit;background:none"


class ExerciseError(AssertionError):
    """Raised in strict mode by every verdict that is not "correct"."""


class UnknownExerciseError(AttributeError):
    """Raised for a name that no exercise has. A notebook shows its message, without frames of ours above it."""

    def _render_traceback_(self) -> list[str]:  # asked for by IPython
        return [f"AttributeError: {self}"]


@dataclass(frozen=True)
class Verdict:
    """The answer to one attempt: a `status` of SYMBOLS, a `message` in which `code` is quoted, and what shows it.

    `shown` holds pairs of a label ("input", "yours", "expected", "your line", …) and the text beside it. `remarks` are
    those parts of the message of a correct answer that say what might be better.

    In a notebook it is displayed at once, so that it shows also where the cell goes on; at the end of that cell it is
    then not shown again.
    """

    exercise: str
    status: str
    message: str
    shown: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    _shown_in: int | None = field(default=None, compare=False, repr=False)  # the number of the cell's run

    def shown_now(self) -> "Verdict":
        """Display the verdict if this is a notebook, and return it."""
        if (run := _cell_run()) is None:
            return self
        self._ipython_display_()
        return replace(self, _shown_in=run)

    def _ipython_display_(self) -> None:  # asked for by IPython
        if self._shown_in is None or self._shown_in != _cell_run():
            from IPython.display import display

            display({"text/plain": repr(self), "text/html": self._repr_html_()}, raw=True)

    def with_line(self, line: str) -> "Verdict":
        """Return the verdict with one more line to its message, the same without one."""
        return replace(self, message=f"{self.message}\n{line}") if line else self

    def __repr__(self) -> str:
        lines = [f"{SYMBOLS[self.status]} {self.exercise} · {self.status}"]
        for paragraph in self.message.splitlines():
            lines += textwrap.wrap(paragraph, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        width = max((len(label) for label, _ in self.shown), default=0)
        for label, text in self.shown:
            first, *rest = text.splitlines() or [""]
            lines.append(f"  {label:{width}}  {first}")
            lines += [" " * (width + 4) + line for line in rest]
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        message = "".join(f"<div>{marked(line)}</div>" for line in self.message.splitlines())
        rows = "".join(
            f"<tr style='background:none'>{cell(label)}"
            f"<td style='{_CELL}'><pre style='{_CODE}'>{html.escape(text)}</pre></td></tr>"
            for label, text in self.shown
        )
        table = f"<table style='margin:.4em 0 0;background:none'>{rows}</table>" if rows else ""
        heading = f"<b>{SYMBOLS[self.status]} {html.escape(self.exercise)} · {self.status}</b>"
        edge = f"border-left:4px solid {_EDGES[self.status]};padding:.3em .9em;max-width:56em"
        return f"<div style='{edge}'>{heading}{message}{table}</div>"


def printable(text: str) -> str:
    """Return a text as it is where standard output can print it, else with plain characters for its signs."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    return text


def cell(text: str, tag: str = "td") -> str:
    """Return a cell of an HTML table in a notebook."""
    return f"<{tag} style='{_CELL}'>{html.escape(text)}</{tag}>"


def _cell_run() -> int | None:
    """Return the number of the cell that is being run, None where this is no notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell.execution_count if shell is not None and hasattr(shell, "kernel") else None


def marked(text: str) -> str:
    """Escape for HTML, with `quoted` parts set as code and *starred* ones in italics."""
    code = rf"<code style='{_CODE};white-space:nowrap'>\1</code>"
    escaped = re.sub(r"`([^`]+)`", code, html.escape(text, quote=False))
    return re.sub(r"(?<![\w*])\*(\S[^*<>]*)(?<=\S)\*(?![\w*])", r"<i>\1</i>", escaped)
