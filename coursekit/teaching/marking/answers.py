"""What of a submission is marked: the cells of the exercises, and what of the course's own notebook they need."""

import ast
import functools
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from coursekit.checks import Exercise, Quiz
from coursekit.teaching import catalogue, cell_names
from coursekit.teaching.marking import handed_in

LONGEST = 20_000  # letters of an answer; to parse much longer ones might end the marker's own process
RECORD = "handed_in"  # what `ex.softmax(...)` is called in a cell that is marked


@dataclass
class Answer:
    """A student's answer to one exercise: the code to run, or no code and why; what the teacher should know of it."""

    exercise: str
    number: int  # of the cell in the course's notebook
    code: str = ""
    status: str = ""  # where there is no code
    note: str = ""
    support: list[int] = field(default_factory=list)  # cells of the course's notebook that run before it


class Course:
    """The course's own notebook of a lesson: where its exercises are, and what they need."""

    def __init__(self, number: str) -> None:
        """Read the lesson; ValueError for a number that none has."""
        selected = catalogue.select(number)
        if len(selected) != 1:
            raise ValueError("mark: name one lesson, as in --lesson 03")
        (self.lesson,) = selected
        self.cells = cell_names.cells(self.lesson)
        self.of_exercise = {cell.exercise: cell for cell in self.cells if cell.exercise}
        self.sources = {cell.number: cell.source for cell in self.cells}
        self.own = {cell.source for cell in self.cells if not cell.exercise}

    @functools.cached_property
    def prepared(self) -> list[int]:
        """The cells that the solutions need and that rest on no answer: they are run once for all submissions."""
        given = set()
        for name, cell in self.of_exercise.items():
            needs = cell_names.names(self.lesson.exercises[name].solve(cell.source))[1]
            given |= {one.number for one in self.support(needs, cell.number)}
        taken = {name for cell in self.of_exercise.values() for name in cell.binds}
        rest, cells = set(), [cell for cell in self.cells if cell.number in given]
        for cell in cells:  # in order: what needs an answer, or another cell that does
            if cell.needs & taken or "or_solution" in cell.source:
                rest.add(cell.number)
                taken |= cell.binds
        return [cell.number for cell in cells if cell.number not in rest]

    def support(self, needs: set[str], before: int) -> list[cell_names.Cell]:
        """Return the cells that have to run before code that needs some names, at the place of a cell."""
        return cell_names.supporting(self.cells, needs, before)

    @functools.cached_property
    def version(self) -> str:
        """A hash of what marks depend on: the notebook, its exercises, the checks, and how they are marked."""
        here = Path(__file__).parents[2]
        files = [self.lesson.path, here / "exercises" / f"{self.lesson.module.split('.')[-1]}.py"]
        files += [
            path
            for room in ("checks", "data", "teaching/marking")
            for path in sorted((here / room).rglob("*.py"))
        ]
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def read(content: bytes, course: Course) -> list[tuple[str, str]]:
    """Return the code cells of a submitted notebook: the exercise that each names, or "", and its code.

    Raises ValueError, with the reason, for what is no notebook of this lesson.
    """
    cells = [
        (str(cell.get("metadata", {}).get("exercise", "")), cell.source)
        for cell in handed_in.code_cells(content)
    ]
    imported = {
        int(number)
        for _, source in cells
        for number in re.findall(r"coursekit\.exercises import lesson(\d\d)", source)
    }
    if imported and course.lesson.number not in imported:
        raise ValueError(f"is a notebook of lesson {min(imported):02}")
    if not any(
        name in course.of_exercise or any(_calls(source, exercise) for exercise in course.of_exercise)
        for name, source in cells
    ):
        raise ValueError(f"holds no exercise of lesson {course.lesson.number:02}")
    return cells


def answers(cells: list[tuple[str, str]], course: Course) -> list[Answer]:
    """Return the answers in the code cells of a submission, one for every exercise of the lesson, in order."""
    return [_answer(cells, course, name) for name in course.of_exercise]


def _answer(cells: list[tuple[str, str]], course: Course, name: str) -> Answer:
    original = course.of_exercise[name]
    exercise = course.lesson.exercises[name]
    answer = Answer(name, original.number)
    labelled = [source for label, source in cells if label == name]
    unlabelled = [source for label, source in cells if not label and source not in course.own]
    own = [*labelled, *unlabelled]
    defining = [source for source in own if not isinstance(exercise, Quiz) and _defines(source, name)]
    calling = [source for source in own if _calls(source, name)]
    candidates = [*labelled, *defining, *calling]
    if not candidates:
        answer.status, answer.note = "missing", "No cell of this exercise is in the notebook."
        return answer
    written = [source for source in dict.fromkeys(candidates) if source.strip() != original.source.strip()]
    if not written:
        answer.status = "not attempted"
        return answer
    best = [source for source in written if source in defining] or [
        source for source in written if source in calling
    ]
    if len((best or written)[-1]) > LONGEST:
        answer.status, answer.note = "stopped", f"It is longer than {LONGEST:,} letters."
        return answer
    answer.code = (best or written)[-1]
    if len(best or written) > 1:
        answer.note = f"{len(best or written)} different cells answer it; the last one was marked."
    elif answer.code not in labelled:
        answer.note = "Its cell is a new one, found by the name in it."
    _complete(answer, original, exercise)
    try:
        needs = cell_names.names(answer.code)[1]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        needs = original.needs  # it will fail in the same way where it is run
    answer.support = [
        cell.number for cell in course.support(needs, original.number) if cell.number not in course.prepared
    ]
    return answer


def _complete(answer: Answer, original: cell_names.Cell, exercise: Exercise) -> None:
    """Let the call of the check, the student's or else that of the course's cell, hand over its arguments."""
    if not _calls(answer.code, answer.exercise):
        tail = [node for node in original.tree.body if not hasattr(node, "body")]
        call = "\n".join(map(ast.unparse, tail))
        defined = re.findall(r"^(?:def|class) (\w+)", answer.code, re.MULTILINE)
        if not isinstance(exercise, Quiz) and len(defined) == 1 and defined[0] != answer.exercise:
            call = re.sub(rf"(?<!\.)\b{answer.exercise}\b", defined[0], call)
            answer.note = answer.note or f"The answer is called `{defined[0]}`."
        answer.code = f"{answer.code}\n\n{call}"
    answer.code = re.sub(rf"\bex\.{answer.exercise}\(", f"{RECORD}(", answer.code)


def _calls(source: str, name: str) -> bool:
    return bool(re.search(rf"\bex\.{name}\(", source))


def _defines(source: str, name: str) -> bool:
    return bool(re.search(rf"^(?:async )?(?:def|class) {name}\b|^{name} *=", source, re.MULTILINE))
