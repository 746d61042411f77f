"""Marks for what schools use: a grading worksheet of Moodle, or a gradebook of Canvas, filled in.

The school exports the table. Its columns of marks and comments are filled in, everything else stays as it was, and the
school imports it.
"""

import codecs
import csv
import html
import io
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from coursekit.teaching.marking.marker import Marks

Row = list[str]
_LINE = 200  # letters of what is said of an answer
_OURS = re.compile(r"\d+ of \d+ exercises are right\.")


@dataclass
class Table:
    """A table that a school exported: its rows below the header, and where in them what is filled in belongs."""

    header: Row
    rows: list[Row]
    encoding: str
    separator: str
    newline: str
    grade: int  # the column
    comment: int | None
    school: "_Moodle | _Canvas"

    def fill(self, all_marks: list[Marks], most: int, *, scale: bool) -> list[str]:
        """Fill marks into their rows and return sentences on what the teacher should know.

        A mark is the number of exercises that are right; with `scale`, the same fraction of the table's maximum as it
        is of `most`, the number of exercises. Raises ValueError for a table without a maximum that is to be scaled to.
        """
        filled, maxima = set(), set()
        unknown, left, replaced = [], [], []
        for marks in all_marks:
            found = self._rows_of(marks)
            if len(found) != 1 or found[0] in filled:
                unknown.append(
                    marks.student if not found else f"{marks.student} (a row that fits others, too)"
                )
                continue
            filled.add(found[0])
            row = self.rows[found[0]]
            maxima.add(self.school.maximum(row))
            if reason := "not marked" if marks.reason else self.school.closed(row, self.grade):
                left.append(f"{marks.student} ({reason})")
                continue
            before, grade = row[self.grade], self._grade(row, marks, most, scale=scale)
            if before.strip() and _as_number(before) != _as_number(grade):
                replaced.append(f"{marks.student} ({before} → {grade})")
            row[self.grade] = grade
            if self.comment is not None and (not row[self.comment].strip() or _OURS.match(row[self.comment])):
                row[self.comment] = comment(marks)
        without = [
            self.school.name(row)
            for number, row in enumerate(self.rows)
            if number not in filled and self.school.is_awaited(row)
        ]
        said = {
            "In the table, and nothing handed in": without,
            "Handed in, and in no row of the table": unknown,
            "Left as it was": left,
            "Marks that replace others": replaced,
        }
        sentences = [f"{words}: {', '.join(names)}." for words, names in said.items() if names]
        if not scale and maxima - {None, float(most)}:
            listed = " and ".join(f"{one:g}" for one in sorted(maxima - {None}))
            sentences.append(
                f"The maximum in the table is {listed}, that of the marks {most}: --scale turns one into the other."
            )
        return sentences

    def content(self) -> bytes:
        """Return the table as a file, in the encoding and with the separator that it had."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self.separator, lineterminator=self.newline)
        writer.writerows([self.header, *self.rows])
        return text.getvalue().encode(self.encoding, "replace")

    def _rows_of(self, marks: Marks) -> list[int]:
        students = [(number, row) for number, row in enumerate(self.rows) if self.school.is_student(row)]
        if marks.identity:
            return [number for number, row in students if self.school.identity(row) == marks.identity]
        return [number for number, row in students if _normal(marks.student) in self.school.names(row)]

    def _grade(self, row: Row, marks: Marks, most: int, *, scale: bool) -> str:
        maximum = self.school.maximum(row)
        if scale and maximum is None:
            raise ValueError(
                "mark: the table has no maximum that marks could be scaled to: leave out --scale"
            )
        points = marks.points * maximum / most if scale else marks.points
        return f"{points:.2f}".rstrip("0").rstrip(".").replace(".", self.school.decimal(row))


def read(path: Path, *, assignment: str, title: str) -> Table:
    """Return a table of Moodle or Canvas. Raises ValueError for what is none, or no table of this assignment.

    Canvas has a column for every assignment: `assignment` names it, by title or number; without it, the title of the
    lesson has to stand in the name of one column only.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"mark: the table {str(path)!r} can't be read ({error.strerror})") from error
    text, encoding = _decoded(content, path)
    for separator in ",;\t":
        header, *rows = _parsed(text, separator)
        names = [name.strip().casefold() for name in header]
        for school in (_Moodle, _Canvas):
            if school.asked <= set(names):
                rows = [[*row, *[""] * (len(header) - len(row))] if row else row for row in rows]
                made = school(names, rows)
                grade, said = made.columns(header, assignment, title)
                newline = "\r\n" if "\r\n" in text else "\n"
                return Table(header, rows, encoding, separator, newline, grade, said, made)
    raise ValueError(
        f"mark: {path.name} is neither a grading worksheet of Moodle, with the columns Identifier and Grade (set "
        "Moodle to English to export and import it), nor a gradebook of Canvas, with Student, ID and Section"
    )


def comment(marks: Marks) -> str:
    """Return what a student is told in a few lines, as HTML: how many are right, which mistakes, and what is left."""
    said, others = [f"{marks.points} of {len(marks.marked)} exercises are right."], defaultdict(list)
    for one in marks.marked:
        if one.status in ("wrong", "raised", "stopped"):
            said.append(f"{one.exercise}: {_first_line(one.message) or one.status}")
        elif one.status != "correct":
            others[one.status].append(one.exercise)
    said += [f"{status.capitalize()}: {', '.join(names)}." for status, names in others.items()]
    return "<br>".join(map(html.escape, said))


def _first_line(message: str) -> str:
    first = message.split("\n")[0]
    return first if len(first) <= _LINE else f"{first[:_LINE]} …"


class _School:
    def __init__(self, names: list[str], rows: list[Row]) -> None:
        self._names = names

    def _of(self, row: Row, name: str) -> str:
        return row[self._names.index(name)] if name in self._names else ""


class _Moodle(_School):
    """The grading worksheet of an assignment; its importer takes the columns by these names."""

    asked = frozenset({"identifier", "grade"})

    def columns(self, header: Row, assignment: str, title: str) -> tuple[int, int | None]:
        """Return the columns of the mark and of the comment, None where there are no comments."""
        comments = "feedback comments"
        return self._names.index("grade"), self._names.index(comments) if comments in self._names else None

    def identity(self, row: Row) -> str:
        """Return the number in "Participant 12345", which the folders of submissions hold as well."""
        return re.search(r"\d*$", self._of(row, "identifier").strip())[0]

    def name(self, row: Row) -> str:
        """Return the student's name; in an anonymous assignment, "Participant 12345"."""
        return self._of(row, "full name") or self._of(row, "identifier")

    def names(self, row: Row) -> set[str]:
        """Return what else a student might be called."""
        return _normal_names(self.name(row), self._of(row, "email address"), self._of(row, "id number"))

    def is_student(self, row: Row) -> bool:
        """Return whether a row is that of a student."""
        return bool(row)

    is_awaited = is_student

    def maximum(self, row: Row) -> float | None:
        """Return the highest mark there is."""
        return _as_number(self._of(row, "maximum grade"))

    def decimal(self, row: Row) -> str:
        """Return the decimal mark."""
        return "," if "," in self._of(row, "maximum grade") else "."

    def closed(self, row: Row, grade: int) -> str:
        """Return why nothing may be filled into a row, "" if it may."""
        changeable = self._of(row, "grade can be changed").strip().casefold()
        return "its grade can't be changed" if changeable == "no" else ""


class _Canvas(_School):
    """The gradebook of a course, with a column for each assignment and a row of their maxima."""

    asked = frozenset({"id", "section"})

    def __init__(self, names: list[str], rows: list[Row]) -> None:
        super().__init__(names, rows)
        self._column = 0
        self._possible = next((row for row in rows if row and "Points Possible" in row[0]), [""] * len(names))

    def columns(self, header: Row, assignment: str, title: str) -> tuple[int, None]:
        """Return the column of the assignment. Raises ValueError where it can't be told."""
        found = {
            name: number
            for number, name in enumerate(header)
            if re.search(r" \(\d+\)$", name) and _as_number(self._possible[number]) is not None
        }
        if assignment:
            wanted = assignment.casefold()
            there = [
                number
                for name, number in found.items()
                if wanted in (name.casefold(), *name.casefold().removesuffix(")").rsplit(" (", 1))
            ]
        else:
            there = [number for name, number in found.items() if title.casefold() in name.casefold()]
        if len(there) != 1:
            raise ValueError(
                f"mark: {len(there) or 'no'} columns of the gradebook are called {assignment or title!r}: name one "
                f"with --assignment; there are {', '.join(found) or 'none'}"
            )
        self._column = there[0]
        return there[0], None

    def identity(self, row: Row) -> str:
        """Return the number of the user, which the names of submissions hold as well."""
        return self._of(row, "id").strip()

    def name(self, row: Row) -> str:
        """Return the student's name."""
        return self._of(row, "student") or f"{self._of(row, 'lastname')}, {self._of(row, 'firstname')}"

    def names(self, row: Row) -> set[str]:
        """Return what else a student might be called."""
        last, _, first = self.name(row).partition(",")
        return _normal_names(
            self.name(row), f"{first} {last}", self._of(row, "sis user id"), self._of(row, "sis login id")
        )

    def is_student(self, row: Row) -> bool:
        """Return whether a row is that of a student."""
        return bool(row) and self.identity(row).isdigit()

    def is_awaited(self, row: Row) -> bool:
        """Return whether a row is that of a student who should hand something in, not of the teacher's test student."""
        return self.is_student(row) and _normal(self.name(row)) != "studenttest"

    def maximum(self, row: Row) -> float | None:
        """Return the highest mark there is."""
        return _as_number(self._possible[self._column])

    def decimal(self, row: Row) -> str:
        """Return the decimal mark."""
        return "," if "," in self._possible[self._column] else "."

    def closed(self, row: Row, grade: int) -> str:
        """Return why nothing may be filled into a row, "" if it may."""
        return {"EX": "excused", "N/A": "not assigned to them"}.get(row[grade].strip(), "")


def _decoded(content: bytes, path: Path) -> tuple[str, str]:
    """Return a file's text, and the encoding that makes it again."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16"), "utf-16"
    for encoding in ("utf-8-sig" if content.startswith(codecs.BOM_UTF8) else "utf-8", "cp1252"):
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    raise ValueError(f"mark: {path.name} is no text in UTF-8: export it again")


def _parsed(text: str, separator: str) -> list[Row]:
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator)) or [[]]
    except csv.Error:  # such as a cell of a megabyte
        return [[]]


def _normal(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _normal_names(*names: str) -> set[str]:
    """Return names as they are compared; of an address also what stands before the @."""
    return {_normal(one) for name in names for one in (name, name.split("@")[0])} - {""}


def _as_number(text: str) -> float | None:
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        return None
