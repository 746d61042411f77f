"""Which lessons are tested in all their forms today: those touched in the last six hours, and a fifth of the others.

What was touched before has had a run of its own.
"""

import ast
import json
import subprocess
from datetime import date

from coursekit.teaching import catalogue
from coursekit.teaching.catalogue import REPOSITORY, Lesson


def todays(day: date) -> list[Lesson]:
    """Return the lessons touched in the last six hours, by git, and those whose turn it is, one day in five."""
    their_turn = day.toordinal() % 5
    return [lesson for lesson in catalogue.lessons() if is_touched(lesson) or lesson.number % 5 == their_turn]


def is_touched(lesson: Lesson) -> bool:
    """Return whether what runs of a lesson, or the tests of its exercises, differ from what they were six hours ago.

    Of the notebook that is its code, of its exercises what they define, without the mistakes they know: these and the
    text run in no form. Outputs do not count either: a change of the package that makes lessons stale touches none.
    """
    before = _git("rev-list", "-1", "--before=6 hours ago", "HEAD").strip()
    number = lesson.stem[:2]
    notebook = lesson.path.relative_to(REPOSITORY).as_posix()
    parts = {
        notebook: _cells,
        f"coursekit/exercises/lesson{number}.py": _definitions,
        f"tests/exercises/test_lesson{number}.py": str,
    }
    return not before or any(
        part(_git("show", f"{before}:{name}")) != part(_text(name)) for name, part in parts.items()
    )


def _cells(notebook: str) -> list:
    """Return what runs of a notebook: source and tags of its code cells."""
    cells = json.loads(notebook)["cells"] if notebook else []
    return [("".join(cell["source"]), cell["metadata"]) for cell in cells if cell["cell_type"] == "code"]


def _definitions(module: str) -> list[str]:
    """Return what a module of exercises defines: functions and classes, except for mistakes, which are named `_`."""
    defined = [node for node in ast.parse(module).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [ast.unparse(node) for node in defined if node.name != "_"]


def _text(name: str) -> str:
    path = REPOSITORY / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _git(*arguments: str) -> str:
    """Return what git says, "" where it has nothing to say: no such commit or file, or no repository."""
    command = ["git", "-c", "safe.directory=*", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, encoding="utf-8").stdout
