"""Write the solved form of a lesson, for teachers and for the tests.

python -m coursekit.solve notebooks/03_dnn_mnist.ipynb -o solved
"""

import argparse
import copy
import importlib
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from coursekit.lessons import check_writable


def solved(notebook: NotebookNode, lesson: str) -> NotebookNode:
    """Return a copy of the notebook, without outputs, in which every exercise's cell holds the solution.

    An exercise's cell names it in its metadata, `exercise`; `lesson` is the name of the lesson's file, its first two
    digits that of its module. Raises ValueError for a cell that its exercise cannot solve, or that names none.
    """
    module = f"coursekit.exercises.lesson{lesson[:2]}"
    try:
        exercises = importlib.import_module(module).lesson.exercises
    except ModuleNotFoundError as error:
        raise ValueError(f"solve: {lesson!r} has no exercises, there is no module {module}") from error
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs, cell.execution_count = [], None
        if name := cell.metadata.get("exercise"):
            if name not in exercises:
                raise ValueError(f"solve: {lesson!r} has a cell for {name!r}, {module} no such exercise")
            cell.source = exercises[name].solve(cell.source)
    return notebook


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.solve", description="Write lessons with their exercises solved."
    )
    parser.add_argument("lessons", type=Path, nargs="+", metavar="LESSON", help="a lesson's notebook")
    parser.add_argument("-o", "--destination", type=Path, required=True, help="folder to write to")
    options = parser.parse_args(arguments)
    try:
        check_writable("solve", "destination", options.destination)
        for path in options.lessons:
            destination = options.destination / path.name
            if not path.is_file():
                raise ValueError(f"solve: there is no notebook {str(path)!r}")
            if destination.resolve() == path.resolve():
                raise ValueError(f"solve: {str(path)!r} would be overwritten: choose another folder")
            nbformat.write(solved(nbformat.read(path, as_version=4), path.stem), destination)
            print(f"Wrote {destination}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
