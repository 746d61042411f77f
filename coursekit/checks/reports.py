"""The table that closes a lesson: what this kernel has done, and what was reached in others before."""

import html
from dataclasses import dataclass, field
from datetime import date

from coursekit.checks.memory import Reached
from coursekit.checks.verdicts import SYMBOLS, cell, marked, printable


@dataclass(frozen=True)
class Report:
    """The state of a lesson's exercises: rows of name, status, number of tries, number of hints taken in this kernel.

    `reached` is what is remembered of this and other kernels, by the name of the exercise, and `note` says where.
    Without them the report shows this kernel alone.
    """

    title: str
    rows: tuple[tuple[str, str, int, int], ...]
    reached: dict[str, Reached] = field(default_factory=dict)
    note: str = ""

    def __repr__(self) -> str:
        table = [(name, *self._verdict(name, status), *more) for name, status, *more in self._counted()]
        names, verdicts = (max(len(row[column]) for row in table) for column in (0, 2))
        lines = [
            f"{symbol} {name:{names}}  {verdict:{max(verdicts, 13)}}  tries {tries}, hints {hints}"
            for name, symbol, verdict, tries, hints in table
        ]
        return printable("\n".join(filter(None, [self._summary(), *lines, self.note])))

    def _repr_html_(self) -> str:
        head = "".join(cell(title, tag="th") for title in ("exercise", "verdict", "tries", "hints"))
        rows = "".join(
            f"<tr>{cell(name)}{cell(' '.join(self._verdict(name, status)))}{cell(tries)}{cell(hints)}</tr>"
            for name, status, tries, hints in self._counted()
        )
        last = f"<div>{marked(self.note)}</div>" if self.note else ""
        table = f"<table style='background:none'><tr>{head}</tr>{rows}</table>"
        return f"<b>{html.escape(self._summary())}</b>{table}{last}"

    def _summary(self) -> str:
        correct = sum(status == "correct" for _, status, *_ in self.rows)
        solved = sum(
            status == "correct" or self._of(name).solved is not None for name, status, *_ in self.rows
        )
        if solved == correct:
            return f"{self.title}: {correct} of {len(self.rows)} correct"
        return f"{self.title}: {solved} of {len(self.rows)} solved, {correct} correct in this kernel"

    def _of(self, name: str) -> Reached:
        return self.reached.get(name, Reached())

    def _verdict(self, name: str, status: str) -> tuple[str, str]:
        """Return symbol and words for an exercise: of this kernel, else of the best that was reached before."""
        before = self._of(name)
        if status == "not attempted":
            if before.solved:
                return SYMBOLS["correct"], f"solved {in_words(before.solved)}"
            if before.on and before.last in SYMBOLS:
                return SYMBOLS[before.last], f"{before.last} {in_words(before.on)}"
        elif before.solved and status != "correct":
            return SYMBOLS[status], f"{status} (solved {in_words(before.solved)})"
        elif before.solved and before.solved != date.today():
            return SYMBOLS[status], f"{status} (first {in_words(before.solved)})"
        return SYMBOLS[status], status

    def _counted(self) -> list[tuple[str, str, str, str]]:
        """Return the rows with tries and hints in words: those of this kernel, and of all where that is more."""
        return [
            (name, status, _with_all(tries, self._of(name).tries), _with_all(hints, self._of(name).hints))
            for name, status, tries, hints in self.rows
        ]


def in_words(day: date) -> str:
    """Return a day as in "solved on 12 November", with its year where that is not this one."""
    today = date.today()
    if day == today:
        return "today"
    return f"on {day.day} {day:%B}" + (f" {day.year}" if day.year != today.year else "")


def _with_all(here: int, in_all: int) -> str:
    return f"{here} ({in_all} in all)" if in_all > here else str(here)
