"""What an exercise answers: verdicts and reports that show themselves, as HTML in notebooks, as text elsewhere.

Colours come from the notebook's theme, light or dark; what matters is said by a symbol and a word as well.
"""

import html
import re
import textwrap
from dataclasses import dataclass

SYMBOLS = {"correct": "✓", "wrong": "✗", "raised": "!", "not attempted": "○"}
_EDGES = {"correct": "#2e9e5b", "wrong": "#d1495b", "raised": "#d98a1f", "not attempted": "#8a8a8a"}
_WIDTH = 100


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
    """

    exercise: str
    status: str
    message: str
    shown: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [f"{SYMBOLS[self.status]} {self.exercise} · {self.status}"]
        for paragraph in self.message.splitlines():
            lines += textwrap.wrap(paragraph, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        width = max((len(label) for label, _ in self.shown), default=0)
        for label, text in self.shown:
            first, *rest = text.splitlines() or [""]
            lines.append(f"  {label:{width}}  {first}")
            lines += [" " * (width + 4) + line for line in rest]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        message = "".join(f"<div>{_marked(line)}</div>" for line in self.message.splitlines())
        rows = "".join(
            f"<tr>{_cell(label)}<td style='text-align:left'><pre style='margin:0;color:inherit;background:none'>"
            f"{html.escape(text)}</pre></td></tr>"
            for label, text in self.shown
        )
        table = f"<table style='margin:.4em 0 0;background:none'>{rows}</table>" if rows else ""
        heading = f"<b>{SYMBOLS[self.status]} {html.escape(self.exercise)} · {self.status}</b>"
        edge = f"border-left:4px solid {_EDGES[self.status]};padding:.3em .9em;max-width:56em"
        return f"<div style='{edge}'>{heading}{message}{table}</div>"


@dataclass(frozen=True)
class Report:
    """The state of a lesson's exercises: rows of name, status, number of tries, number of hints taken."""

    title: str
    rows: tuple[tuple[str, str, int, int], ...]

    def _summary(self) -> str:
        correct = sum(status == "correct" for _, status, *_ in self.rows)
        return f"{self.title}: {correct} of {len(self.rows)} correct"

    def __repr__(self) -> str:
        width = max(len(name) for name, *_ in self.rows)
        lines = [
            f"{SYMBOLS[status]} {name:{width}}  {status:13}  tries {tries}, hints {hints}"
            for name, status, tries, hints in self.rows
        ]
        return "\n".join([self._summary(), *lines])

    def _repr_html_(self) -> str:
        head = "".join(_cell(title, tag="th") for title in ("exercise", "verdict", "tries", "hints"))
        rows = "".join(
            f"<tr>{_cell(name)}{_cell(f'{SYMBOLS[status]} {status}')}{_cell(str(tries))}{_cell(str(hints))}</tr>"
            for name, status, tries, hints in self.rows
        )
        return f"<b>{html.escape(self._summary())}</b><table style='background:none'><tr>{head}</tr>{rows}</table>"


def _marked(text: str) -> str:
    """Escape for HTML, with `quoted` parts set as code."""
    return re.sub(
        r"`([^`]+)`", r"<code style='color:inherit;background:none'>\1</code>", html.escape(text, quote=False)
    )


def _cell(text: str, tag: str = "td") -> str:
    style = "text-align:left;vertical-align:top;padding:.1em 1em .1em 0;color:inherit;background:none"
    return f"<{tag} style='{style}'>{html.escape(text)}</{tag}>"
