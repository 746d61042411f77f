"""Which lessons are tested in all their forms today: those touched in the last six hours, and a fifth of the others.

What was touched before has had a run of its own.
"""

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
    """Return whether a lesson's code, its exercises or their tests differ from what they were six hours ago.

    Text does not count, for it runs in no form; nor do outputs: a change of the package that makes lessons stale
    touches none of them.
    """
    before = _git("rev-list", "-1", "--before=6 hours ago", "HEAD").strip()
    number = lesson.stem[:2]
    notebook = lesson.path.relative_to(REPOSITORY).as_posix()
    files = [f"coursekit/exercises/lesson{number}.py", f"tests/exercises/test_lesson{number}.py"]
    return not before or (
        _cells(_git("show", f"{before}:{notebook}")) != _cells(lesson.path.read_text(encoding="utf-8"))
        or any(_git("show", f"{before}:{name}") != _text(name) for name in files)
    )


def _cells(notebook: str) -> list:
    """Return what runs of a notebook: source and tags of its code cells."""
    cells = json.loads(notebook)["cells"] if notebook else []
    return [("".join(cell["source"]), cell["metadata"]) for cell in cells if cell["cell_type"] == "code"]


def _text(name: str) -> str:
    path = REPOSITORY / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _git(*arguments: str) -> str:
    """Return what git says, "" where it has nothing to say: no such commit or file, or no repository."""
    command = ["git", "-c", "safe.directory=*", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, encoding="utf-8").stdout
