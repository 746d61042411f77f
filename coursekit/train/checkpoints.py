"""The state of a training run in a file: written whole, read with care, never mistaken for another run's.

A checkpoint holds all that decides how training goes on: weights, optimizer, scheduler, random generators, history and
best weights, and a description of the run it belongs to. It is a zip archive as `torch.save` makes it. The one
before the last is kept beside it, as `run.pt.previous`.
"""

import io
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from coursekit.files import atomic_write
from coursekit.train import parallel
from coursekit.train.descriptions import Description, compare, describe_groups
from coursekit.train.messages import warn

_VERSION = 2
_ENTRIES = {"version", "run", "state"}


class NoCheckpoint:
    """What keeps a run that is saved nowhere."""

    def load(self, epochs: int) -> None:
        """Return None: there is nothing to go on from."""

    def save(self, state: dict[str, Any]) -> None:
        """Do nothing."""

    def how_to_go_on(self, remaining: int) -> str:
        """Say how a run that was stopped is trained further."""
        return (
            f"Another fit with epochs={remaining} trains further; with a `checkpoint`, the same call would."
        )


class Checkpoint:
    """The file at `path` in which the run of a `description` is kept between its epochs.

    Raises TypeError or OSError for a path that cannot be written, TypeError if a `state` like this could be written but
    not be read back.
    """

    def __init__(self, path: str | Path, description: Description, state: dict[str, Any]) -> None:
        self.path = _checked(path)
        self.description = description
        _check_storable(_packed(description, state))

    def load(self, epochs: int) -> dict[str, Any] | None:
        """Return the state in the file, on the CPU, and say how far it got; None if there is no file.

        A damaged file is set aside, with a warning, and the one before it is used. Raises ValueError for a file that is
        no checkpoint, belongs to another run, saying in what they differ, or holds more than `epochs`; it is left as
        it is.
        """
        if not self.path.exists():
            return None
        stored = _read_or_previous(self.path)
        _check_same(self.path, stored, self.description)
        done = len(stored["state"]["history"]["seconds"])
        if done > epochs:
            raise ValueError(
                f"fit: `epochs` is {epochs}, but {self.path} holds {done}: ask for more, or delete the file to start "
                "afresh"
            )
        print(f"{self.path}: going on after epoch {done} of {epochs}; delete the file to start afresh")
        before, now = stored["state"].get("processes", 1), parallel.processes()
        if before != now:
            print(
                f"{self.path}: trained by {before} process{'es' * (before > 1)} so far, by {now} from here on. Sums "
                "are rounded in another order, dropout draws other masks; data, their order and settings are the same"
            )
        return stored["state"]

    def save(self, state: dict[str, Any]) -> None:
        """Write the file in one step; the one that was there is kept as `….previous`. Warns if it cannot be written."""
        packed = _packed(self.description, state)
        try:
            with atomic_write(self.path, keep=_previous(self.path)) as file:
                file.write(packed.getbuffer())
        except OSError as error:
            warn(
                f"{self.path} could not be saved ({error.strerror}). Training goes on; what was saved before is intact"
            )

    def how_to_go_on(self, remaining: int) -> str:
        """Say how a run that was stopped is trained further."""
        return "The same call goes on from there."


def _checked(path: str | Path) -> Path:
    """Return `path` as a Path if a checkpoint can be written there."""
    if not isinstance(path, str | Path):
        raise TypeError(f"fit: `checkpoint` must be the name of a file such as 'run.pt', not {path!r}")
    path = Path(path).expanduser()
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"fit: `checkpoint` {str(path)!r} lies in a folder that does not exist: make it first (in Colab, mount "
            "the drive first: from google.colab import drive; drive.mount('/content/drive'))"
        )
    if path.is_dir():
        raise IsADirectoryError(f"fit: `checkpoint` {str(path)!r} is a folder: name a file in it")
    return path


def _check_storable(packed: io.BytesIO) -> None:
    try:
        torch.load(packed, weights_only=True)
    except pickle.UnpicklingError as error:
        raise TypeError(
            "fit: `checkpoint` stores numbers and names only, and the state of this model, optimizer or scheduler "
            f"holds something else: {str(error).splitlines()[-1]}"
        ) from None


# Reading -----------------------------------------------------------------------------------------------


def _read_or_previous(path: Path) -> dict[str, Any]:
    try:
        return _read(path)
    except _DamagedError as problem:
        return _read_previous(path, problem)


def _read_previous(path: Path, problem: Exception) -> dict[str, Any]:
    try:
        stored = _read(_previous(path))
    except (_DamagedError, FileNotFoundError):
        raise ValueError(
            f"{path} cannot be read ({problem}), nor can a copy before it: {_start_afresh(path)}"
        ) from None
    aside = path.with_name(path.name + ".damaged")
    path.replace(aside)
    shutil.copyfile(_previous(path), path)
    warn(f"{path} is damaged ({problem}): set aside as {aside.name}, the one before is used")
    return stored


class _DamagedError(Exception):
    """The file is not what was written."""


def _packed(run: Description, state: dict[str, Any]) -> io.BytesIO:
    packed = io.BytesIO()
    torch.save({"version": _VERSION, "run": run, "state": state}, packed)
    packed.seek(0)
    return packed


def _read(path: Path) -> dict[str, Any]:
    """Return the entries of a checkpoint; nothing in the file is executed, and no more memory taken than its size."""
    try:
        _check_archive(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, _DamagedError):
        raise
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} asks for objects other than numbers and names, which could run code as they are read. It is no "
            "checkpoint of fit and is refused"
        ) from None
    except Exception as error:  # whatever a cut or forged file makes of the two readers
        raise _DamagedError(" ".join(str(error).split())[:80]) from None
    if not isinstance(stored, dict) or set(stored) != _ENTRIES:
        raise ValueError(f"{path} is no checkpoint of fit, and is left as it is: choose another name")
    if stored["version"] != _VERSION:
        raise ValueError(
            f"{path} has format {stored['version']!r}, this coursekit reads {_VERSION}: {_start_afresh(path)}"
        )
    return stored


def _check_archive(path: Path) -> None:
    """Raise _DamagedError unless the file is a zip archive, not compressed, with the right checksums."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise _DamagedError("it is compressed, as fit writes none")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise _DamagedError("its parts are said to be larger than the whole")
        if broken := archive.testzip():  # torch.load compares no checksums
            raise _DamagedError(f"the checksum of {broken} is wrong")


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _check_same(path: Path, stored: dict[str, Any], asked: Description) -> None:
    left = describe_groups(stored["state"]["optimizer"]["param_groups"])
    differences, unknown = compare(stored["run"], asked, left)
    if differences:
        raise ValueError(
            f"{path} belongs to another run and is left as it is. They differ in\n"
            + "\n".join(differences)
            + f"\nGive this run another file; or, {_start_afresh(path)}"
        )
    if unknown:
        warn(f"{path}: what cannot be compared is taken to be the same: {'; '.join(unknown)}")


def _start_afresh(path: Path) -> str:
    return f"to start afresh, delete {path}"
