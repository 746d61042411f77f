"""How far a student is with the course: a row of dots for every lesson, one for each exercise.

In a notebook: `from coursekit import progress`, then `progress.overview()`. In a shell: python -m coursekit.progress
"""

import html
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from coursekit.checks import Reached, in_words, printable, remembered, whereabouts

_LEGEND = {"●": "solved", "◐": "tried", "○": "not yet"}
_FRESH = "To begin afresh, delete the file."
_TITLE = re.compile(r'"""The exercises of lesson \d+, (.+): solutions')
# How a module of exercises makes them. To import all of them takes seconds, which nobody waits for to see some dots.
_MADE = re.compile(
    r"""^@(?:lesson\.exercise|lesson\.trained_model)\b.*?^(?:def|class)\ (\w+)
    | ^\w+\ =\ lesson\.(?:quiz|prediction)\(\s*"(\w+)"
    | ^lesson\.add\((\w+)\)""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)

_DISC = "display:inline-block;box-sizing:border-box;width:.85em;height:.85em;border-radius:50%"
_FILLS = {  # full, half and empty, for those who see no difference between the colours
    "●": "border:2px solid #2e9e5b;background:#2e9e5b",
    "◐": "border:2px solid #d98a1f;background:linear-gradient(90deg,#d98a1f 50%,transparent 50%)",
    "○": "border:2px solid #8a8a8a",
}
_ROW = "display:flex;flex-wrap:wrap;align-items:center;gap:.15em .9em;margin:.3em 0;line-height:1.4"


@dataclass(frozen=True)
class Row:
    """A lesson's exercises, in order, with what was reached in each."""

    lesson: str
    title: str
    reached: dict[str, Reached]

    @property
    def solved(self) -> int:
        """The number of exercises solved."""
        return sum(one.solved is not None for one in self.reached.values())

    @property
    def state(self) -> str:
        """How far the lesson is, in words."""
        if not any(one.on for one in self.reached.values()):
            return f"0 of {len(self.reached)}, not begun"
        return f"{self.solved} of {len(self.reached)} solved"

    def __str__(self) -> str:
        return "".join(map(_symbol, self.reached.values()))

    def dots(self) -> str:
        """Return the row of dots as HTML, with the words for a screen reader, and each exercise's below the mouse."""
        discs = "".join(
            f"<span title='{html.escape(_told(name, one))}' style='{_DISC};{_FILLS[_symbol(one)]}'></span>"
            for name, one in self.reached.items()
        )
        row = "display:inline-flex;gap:.25em;vertical-align:middle"
        return f"<span role='img' aria-label='{self.lesson}: {self.state}' style='{row}'>{discs}</span>"


@dataclass(frozen=True)
class Overview:
    """The rows of all lessons, and in words where they come from. It shows itself, as HTML in notebooks."""

    rows: tuple[Row, ...]
    whereabouts: str

    def __repr__(self) -> str:
        cells = [(row.lesson, str(row), row.state) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join([*map(str.ljust, texts, widths), row.title])
            for texts, row in zip(cells, self.rows, strict=True)
        ]
        legend = " · ".join(f"{symbol} {word}" for symbol, word in _LEGEND.items())
        return printable("\n".join([self.summary, "", *lines, "", legend, self.whereabouts]))

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<div style='{_ROW}'><span style='flex:0 0 24em'>{row.lesson.removeprefix('Lesson ')} · "
            f"{html.escape(row.title)}</span><span style='flex:0 0 18em'>{row.dots()}</span>"
            f"<span>{row.state}</span></div>"
            for row in self.rows
        )
        legend = "".join(
            f"<span><span style='{_DISC};{_FILLS[symbol]}'></span> {word}</span>"
            for symbol, word in _LEGEND.items()
        )
        last = f"<div style='{_ROW}'>{legend}</div><div>{html.escape(self.whereabouts)}</div>"
        return f"<b>{self.summary}</b>{rows}{last}"

    @property
    def summary(self) -> str:
        """The number of exercises solved in all lessons, of how many."""
        solved, there = sum(row.solved for row in self.rows), sum(len(row.reached) for row in self.rows)
        return f"{solved} of {there} exercises solved"


def overview() -> Overview:
    """Return how far the student is with every lesson, those not begun included, as remembered on this machine."""
    before = remembered()
    rows = tuple(
        Row(lesson, title, {name: before.get(lesson, {}).get(name, Reached()) for name in names})
        for lesson, (title, names) in lessons().items()
    )
    return Overview(rows, f"{whereabouts()} {_FRESH}" if before else whereabouts())


@cache
def lessons() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the lessons in order, each by its name with its title and the names of its exercises."""
    found = {}
    for file in sorted(resources.files("coursekit.exercises").iterdir(), key=lambda file: file.name):
        if number := re.fullmatch(r"lesson(\d\d)\.py", file.name):
            source = file.read_text(encoding="utf-8")
            names = tuple(next(filter(None, made.groups())) for made in _MADE.finditer(source))
            found[f"Lesson {int(number[1])}"] = _TITLE.match(source)[1], names
    return found


def _symbol(one: Reached) -> str:
    return "●" if one.solved else "◐" if one.on else "○"


def _told(name: str, one: Reached) -> str:
    if one.solved:
        return f"{name}: solved {in_words(one.solved)}"
    return f"{name}: {one.last} {in_words(one.on)}" if one.on else f"{name}: not yet"


if __name__ == "__main__":
    print(overview())
