"""Put a lesson into a course of nbgrader, to be released from there.

python -m coursekit.teaching.release course101 --lesson 03
"""

import argparse
import sys
from pathlib import Path

from coursekit.files import atomic_write
from coursekit.teaching import catalogue, commands


def release(course: Path, number: str) -> Path:
    """Write a lesson to release/NAME/NAME.ipynb below a course's folder, as it is handed out, and return the path.

    What is there is replaced. Raises ValueError for a folder that isn't there, and for no lesson or several.
    """
    if not course.is_dir():
        raise ValueError(
            f"release: there is no folder {str(course)!r}: make the course first, by `nbgrader quickstart`"
        )
    selected = catalogue.select(number)
    if len(selected) != 1:
        raise ValueError("release: name one lesson, as in --lesson 03")
    (lesson,) = selected
    path = course / "release" / lesson.stem / lesson.path.name
    commands.check_writable("release", "course", path.parent)
    with atomic_write(path) as file:
        file.write(lesson.path.read_bytes())
    return path


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.teaching.release", description=__doc__.splitlines()[0]
    )
    parser.add_argument("course", type=Path, help="the folder of the course, with nbgrader_config.py in it")
    parser.add_argument("--lesson", required=True, help="the lesson's number")
    options = parser.parse_args(arguments)
    return commands.run(lambda: _command(options))


def _command(options: argparse.Namespace) -> None:
    path = release(options.course, options.lesson)
    print(f"Wrote {path}. In {options.course}: nbgrader release_assignment {path.stem}")


if __name__ == "__main__":
    sys.exit(main())
