"""Write the solved form of a lesson, for teachers and for the tests.

python -m coursekit.teaching.solve notebooks/03_dnn_mnist.ipynb -o solved
"""

import argparse
import copy
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from coursekit.teaching import catalogue, commands
from coursekit.teaching.catalogue import Lesson


def solved(lesson: Lesson) -> NotebookNode:
    """Return a copy of a lesson's notebook, without outputs, in which every exercise's cell holds the solution.

    An exercise's cell names it in its metadata, `exercise`. Where a student has overwritten it, the cell of the
    course's own notebook is put back, solved. Raises ValueError for a cell that names no exercise of the lesson.
    """
    notebook = copy.deepcopy(lesson.notebook)
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code":
            continue
        cell.outputs, cell.execution_count = [], None
        if name := cell.metadata.get("exercise"):
            if name not in lesson.exercises:
                raise ValueError(
                    f"solve: {lesson.path.name}, cell {number} is for the exercise {name!r}, and {lesson.module} has "
                    "no such exercise"
                )
            cell.source = _solved_cell(lesson, number, name)
    return notebook


def _solved_cell(lesson: Lesson, number: int, name: str) -> str:
    exercise = lesson.exercises[name]
    try:
        return exercise.solve(lesson.notebook.cells[number - 1].source)
    except (SyntaxError, ValueError) as problem:  # not as it was handed out
        for original in catalogue.lessons():
            for cell in original.notebook.cells if original.number == lesson.number else ():
                if (
                    cell.metadata.get("exercise") == name
                    and cell.source != lesson.notebook.cells[number - 1].source
                ):
                    return exercise.solve(cell.source)
        raise ValueError(f"solve: {lesson.path.name}, cell {number}, exercise {name!r}: {problem}") from None


def solve(paths: list[Path], destination: Path) -> None:
    """Write the solved form of lessons into a folder; ValueError for one that is missing or would be overwritten."""
    commands.check_writable("solve", "destination", destination)
    for path in paths:
        target = destination / path.name
        if not path.is_file():
            raise ValueError(f"solve: there is no notebook {str(path)!r}")
        if target.resolve() == path.resolve():
            raise ValueError(f"solve: {str(path)!r} would be overwritten: choose another folder")
        nbformat.write(solved(Lesson(path)), target)
        print(f"Wrote {target}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.teaching.solve", description=__doc__.splitlines()[0]
    )
    parser.add_argument("lessons", type=Path, nargs="+", metavar="LESSON", help="a lesson's notebook")
    parser.add_argument("-o", "--destination", type=Path, required=True, help="folder to write to")
    options = parser.parse_args(arguments)
    return commands.run(lambda: solve(options.lessons, options.destination))


if __name__ == "__main__":
    sys.exit(main())
