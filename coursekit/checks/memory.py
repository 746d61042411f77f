"""What a student has reached, remembered from kernel to kernel in a file on the student's own machine.

The file is `progress.json` in this user's data folder, or in the folder that `$COURSEKIT_PROGRESS` names. With
COURSEKIT_PROGRESS=off, and in strict mode, which is for marking and testing, nothing is read and nothing written. News
are merged into the file under a lock, in one step, so that kernels at work at the same time lose nothing. Whatever is
in the way costs one line, never a verdict. To begin afresh, delete the file.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import platformdirs
from filelock import FileLock

from coursekit.checks.verdicts import printable
from coursekit.files import atomic_write, user_folder

_COURSE, _VERSION = "deep-learning-notebooks", 1
_NAME = "progress.json"
_LOCK_LIMIT_S = 2
_said: set[str] = set()


class _ObstacleError(Exception):
    """Nothing can be kept, for a reason told in words."""


class _DamagedError(Exception):
    """The file is no longer what we have written."""


@dataclass(frozen=True)
class Reached:
    """How far a student is with an exercise.

    The last verdict and its day, the day of the first correct one, the tries, and how many of the hints were taken.
    """

    last: str = ""
    on: date | None = None
    solved: date | None = None
    tries: int = 0
    hints: int = 0

    @classmethod
    def today(cls, status: str, *, tries: int, hints: int) -> "Reached":
        """Return what a verdict of today has added."""
        day = date.today()
        return cls(status, day, day if status == "correct" else None, tries, hints)

    def after(self, earlier: "Reached") -> "Reached":
        """Return the sum of what was reached earlier and what this one adds to it."""
        return Reached(
            last=self.last or earlier.last,
            on=self.on or earlier.on,
            solved=min(filter(None, (self.solved, earlier.solved)), default=None),
            tries=self.tries + earlier.tries,
            hints=max(self.hints, earlier.hints),
        )


def remembered() -> dict[str, dict[str, Reached]]:
    """Return what was reached in any kernel, by the title of the lesson and the name of the exercise; never raises."""
    try:
        if (folder := _folder()) is None:
            return {}
        try:
            contents = _parsed(folder / _NAME)
        except _DamagedError:
            with _alone(folder):
                contents = _mended(folder / _NAME)
        return {
            lesson: {name: _unpacked(one) for name, one in exercises.items()}
            for lesson, exercises in contents["lessons"].items()
        }
    except Exception as error:
        _say_once(error)
        return {}


def keep(lesson: str, exercise: str, news: Reached) -> bool:
    """Add news to the file; return False where they could not be written and are to be handed over again.

    Never raises, and says what is in the way in one line, once.
    """
    try:
        if (folder := _folder()) is not None:
            # a folder above the one that was named is not made: it would take the place of a drive yet to be mounted
            folder.mkdir(parents=not os.environ.get("COURSEKIT_PROGRESS"), exist_ok=True)
            with _alone(folder):
                contents = _mended(folder / _NAME)
                entries = contents["lessons"].setdefault(lesson, {})
                before = entries.get(exercise, {})
                entries[exercise] = before | _packed(news.after(_unpacked(before)))
                with atomic_write(folder / _NAME) as file:
                    file.write(json.dumps(contents, indent=1, ensure_ascii=False).encode())
        return True
    except Exception as error:
        _say_once(error)
        return False


def whereabouts() -> str:
    """Return in words where progress is kept, and how to keep it where the machine goes with the session."""
    try:
        folder = _folder()
    except Exception as error:
        return f"Progress is not kept: {error}"
    if folder is None:
        return "Progress is not kept: COURSEKIT_PROGRESS is off, or this is strict mode."
    if _in_colab() and not os.environ.get("COURSEKIT_PROGRESS"):
        return (
            "Kept on this machine until Colab ends the session; nothing is sent anywhere. To keep it, mount your "
            "Drive and run `%env COURSEKIT_PROGRESS=/content/drive/MyDrive/coursekit` before the first exercise."
        )
    return f"Kept in {_shown(folder / _NAME)}; nothing is sent anywhere."


# The file ------------------------------------------------------------------------------------------------------


def _folder() -> Path | None:
    """Return the folder of the file, None if nothing is to be kept; raises _ObstacleError without a home."""
    named = os.environ.get("COURSEKIT_PROGRESS", "")
    if named.lower() == "off" or os.environ.get("COURSEKIT_STRICT") == "1":
        return None
    folder = Path(named).expanduser() if named else user_folder(platformdirs.user_data_path)
    if folder is None:
        raise _ObstacleError("this user has no home folder: let COURSEKIT_PROGRESS name a folder.")
    return folder.absolute()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other kernels from the file in the block, if the file system has locks."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(NotImplementedError):
            lock = FileLock(folder / f"{_NAME}.lock", timeout=_LOCK_LIMIT_S)
            stack.enter_context(lock.acquire(poll_interval=0.01))
        yield


def _mended(path: Path) -> dict:
    """Return the contents of the file; a damaged one is set aside, so that they are empty."""
    try:
        return _parsed(path)
    except _DamagedError:
        aside = path.with_name(f"{path.stem}.damaged-{datetime.now():%Y-%m-%d-%H%M%S}{path.suffix}")
        path.replace(aside)
        print(printable(f"{_shown(path)} was damaged: set aside as {aside.name}. Progress is counted anew."))
        return _parsed(path)


def _parsed(path: Path) -> dict:
    """Return the contents of the file, without lessons where there is none.

    Raises _DamagedError, or _ObstacleError for the file of a newer version or of another program.
    """
    try:
        contents = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {"course": _COURSE, "version": _VERSION, "lessons": {}}
    except (ValueError, RecursionError) as error:
        raise _DamagedError from error
    if not isinstance(contents, dict) or contents.get("course") != _COURSE:
        raise _ObstacleError(
            f"{_shown(path)} is not this course's, and stays as it is: let COURSEKIT_PROGRESS name another folder."
        )
    try:
        if contents["version"] > _VERSION:
            raise _ObstacleError(
                f"{_shown(path)} was written by a newer version of the course, and stays as it is: update the course, "
                "or let COURSEKIT_PROGRESS name another folder."
            )
        for exercises in contents["lessons"].values():
            for entry in exercises.values():
                _unpacked(entry)
    except _ObstacleError:
        raise
    except Exception as error:  # whatever stands there in place of numbers and days
        raise _DamagedError from error
    return contents


def _packed(reached: Reached) -> dict[str, str | int]:
    """Return an entry of the file; what is empty is left out."""
    return {name: str(one) if isinstance(one, date) else one for name, one in vars(reached).items() if one}


def _unpacked(entry: dict) -> Reached:
    """Return an entry of the file, of which a newer course may have more; ValueError or TypeError for any other."""
    days = {name: date.fromisoformat(entry[name]) for name in ("on", "solved") if name in entry}
    return Reached(
        last=str(entry.get("last", "")),
        tries=int(entry.get("tries", 0)),
        hints=int(entry.get("hints", 0)),
        **days,
    )


# Lines ---------------------------------------------------------------------------------------------------------


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        place, why = _shown(_folder()), error.strerror or error
        mount = " In Colab, mount your Drive first." if _in_colab() else ""
        return f"{place} cannot be used ({why}). COURSEKIT_PROGRESS can name another folder.{mount}"
    return str(error) if isinstance(error, _ObstacleError) else f"{type(error).__name__}: {error}"


def _say_once(error: Exception) -> None:
    with contextlib.suppress(Exception):  # a line less is better than a verdict less
        line = printable(f"Progress is not kept: {_reason(error)}")
        if line not in _said:
            _said.add(line)
            print(line)


def _shown(path: Path) -> str:
    """Return a path without the name of the user, who may hand the notebook in."""
    with contextlib.suppress(RuntimeError, ValueError):
        return str("~" / path.relative_to(Path.home()))
    return str(path)


def _in_colab() -> bool:
    return "google.colab" in sys.modules
