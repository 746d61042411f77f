"""What marking leaves: a table of marks, a page for each student, and one for the class."""

import csv
import hashlib
import html
import io
import re
from collections import Counter
from pathlib import Path

from coursekit.files import atomic_write
from coursekit.teaching import commands
from coursekit.teaching.marking.marker import UNCONFIRMED, Marked, Marks

_STYLE = (
    "<!doctype html><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em .2em 0;text-align:left;vertical-align:top}"
    "section{margin:1.2em 0}.note{color:#555}</style>"
)
_STATUSES = ("correct", UNCONFIRMED, "wrong", "raised", "stopped", "not attempted", "missing")


def table(all_marks: list[Marks], exercises: list[str]) -> str:
    """Return the marks as CSV, a row for each student."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["student", "id", "file", "points", "of", *exercises, "message", "protection"])
    for marks in all_marks:
        of_exercise = {one.exercise: one.status for one in marks.marked}
        said = [f"{one.exercise}: {_first_line(one)}" for one in marks.marked if _first_line(one)]
        row = [
            marks.student, marks.identity, marks.file, "" if marks.reason else marks.points, len(exercises),
            *(of_exercise.get(name, "") for name in exercises), marks.reason or " | ".join(said), marks.protection,
        ]  # fmt: skip
        writer.writerow(map(commands.inert, row))
    return text.getvalue()


def _first_line(one: Marked) -> str:
    """Return what to say of an answer that is not plainly right."""
    message = "" if one.status == "correct" else one.message.split("\n")[0]
    return " ".join(filter(None, [message, one.note]))


def write(all_marks: list[Marks], exercises: list[str], title: str, folder: Path) -> None:
    """Write the pages: index.html for the class, and one for each student."""
    pages = {page_of(marks): marks for marks in all_marks}
    for name, marks in pages.items():
        _write(folder / name, _of_student(marks, title))
    _write(folder / "index.html", _of_class(pages, exercises, title))


def page_of(marks: Marks) -> str:
    """Return the name of a student's page, one that every file system takes and nobody else has."""
    told_apart = hashlib.sha256(f"{marks.student}\0{marks.file}".encode("utf-8", "replace")).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', marks.student)[:40]}_{told_apart}.html"


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "replace"))  # what a student wrote may hold half a character


def _of_student(marks: Marks, title: str) -> str:
    heading = f"<h1>{html.escape(marks.student)}</h1><p>{html.escape(title)}"
    if marks.reason:
        return (
            f"{_STYLE}{heading}</p><p>Not marked: {html.escape(marks.file)} {html.escape(marks.reason)}.</p>"
        )
    parts = [_STYLE, heading, f": {marks.points} of {len(marks.marked)} exercises are right.</p>"]
    for one in marks.marked:
        parts.append(f"<section>{one.verdict._repr_html_()}")
        remarks = [one.note] if one.note else []
        if one.status not in ("correct", "wrong", "raised", "not attempted"):
            remarks.insert(0, one.status.capitalize() + ".")
        parts.append(f"<div class='note'>{html.escape(' '.join(remarks))}</div></section>")
    return "".join(parts)


def _of_class(pages: dict[str, Marks], exercises: list[str], title: str) -> str:
    marked = [marks for marks in pages.values() if not marks.reason]
    parts = [
        _STYLE, f"<h1>{html.escape(title)}</h1><p>{len(pages)} handed in, {len(marked)} marked.</p>",
        "<h2>Points</h2>", _histogram([marks.points for marks in marked], len(exercises)), "<h2>Exercises</h2>",
        _table(["exercise", *_STATUSES], [_counts(name, marked) for name in exercises]), "<h2>Mistakes</h2>",
        _table(["students", "exercise", "what they were told"], _mistakes(marked)), "<h2>Students</h2>",
    ]  # fmt: skip
    rows = [
        f"<tr><td><a href='{name}'>{html.escape(marks.student)}</a></td>"
        f"<td>{html.escape(marks.reason) or marks.points}</td></tr>"
        for name, marks in pages.items()
    ]
    return "".join(parts) + f"<table>{''.join(rows)}</table>"


def _counts(exercise: str, marked: list[Marks]) -> list[object]:
    statuses = Counter(one.status for marks in marked for one in marks.marked if one.exercise == exercise)
    return [exercise, *(statuses[status] or "" for status in _STATUSES)]


def _mistakes(marked: list[Marks]) -> list[list[object]]:
    said = Counter(
        (one.exercise, one.message.split("\n")[0])
        for marks in marked
        for one in marks.marked
        if one.status in ("wrong", "raised", "stopped")
    )
    return [[count, exercise, message] for (exercise, message), count in said.most_common(40)]


def _table(head: list[str], rows: list[list[object]]) -> str:
    lines = [("th", head), *(("td", row) for row in rows)]
    cells = ("".join(f"<{tag}>{html.escape(str(one))}</{tag}>" for one in row) for tag, row in lines)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _histogram(points: list[int], most: int) -> str:
    """Return a drawing of how many students have how many points."""
    counts, wide, high = Counter(points), 32, 120
    top = max(counts.values(), default=1)
    bars = []
    for value in range(most + 1):
        x, height = value * wide, high * counts[value] / top
        bars.append(
            f"<rect x='{x}' y='{high - height + 20:.1f}' width='{wide - 4}' height='{height:.1f}' fill='#3b75af'/>"
            f"<text x='{x + wide / 2 - 2}' y='{high + 38}' text-anchor='middle'>{value}</text>"
        )
        if counts[value]:
            bars.append(
                f"<text x='{x + wide / 2 - 2}' y='{high - height + 15:.1f}' text-anchor='middle'>{counts[value]}</text>"
            )
    label = ", ".join(f"{counts[value]} with {value}" for value in sorted(counts)) or "nobody"
    size = f"width='{(most + 1) * wide}' height='{high + 45}'"
    return f"<svg role='img' aria-label='Students by points: {label}' {size} font-size='13'>{''.join(bars)}</svg>"
