"""The state of a training run in a file: written whole, read with care, never mistaken for another run's.

A checkpoint holds all that decides how training goes on: weights, optimizer, scheduler, random generators, history and
best weights, and a description of the run it belongs to. It is a zip archive as `torch.save` makes it. The one
before the last is kept beside it, as `run.pt.previous`.
"""

import io
import pickle
import re
import shutil
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from coursekit import runtime
from coursekit.data import Batches
from coursekit.files import atomic_write

_VERSION = 1
_ENTRIES = {"version", "run", "state"}
# What schedulers change as they go, in an optimizer and in themselves; the rest says how the run was set up.
_CHANGES = {
    "params", "lr", "initial_lr", "max_lr", "min_lr", "momentum", "betas", "base_momentum", "max_momentum",
    "last_epoch", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i", "foreach", "fused", "capturable",
}  # fmt: skip


def check_path(path: str | Path) -> Path:
    """Return `path` as a Path if a checkpoint can be written there; else raise TypeError or OSError before training."""
    if not isinstance(path, str | Path):
        raise TypeError(f"fit: `checkpoint` must be the name of a file such as 'run.pt', not {path!r}")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"fit: `checkpoint` {str(path)!r} lies in a folder that does not exist: make it first (in Colab, mount "
            "the drive first: from google.colab import drive; drive.mount('/content/drive'))"
        )
    if path.is_dir():
        raise IsADirectoryError(f"fit: `checkpoint` {str(path)!r} is a folder: name a file in it")
    return path


# Writing and reading -----------------------------------------------------------------------------------


def save(path: Path, run: dict[str, str], state: dict[str, Any]) -> None:
    """Put a checkpoint at `path` in one step; the one that was there is kept as `….previous`. Raises OSError."""
    packed = _packed(run, state)
    with atomic_write(path, keep=_previous(path)) as file:
        file.write(packed.getbuffer())


def check_storable(run: dict[str, str], state: dict[str, Any]) -> None:
    """Raise TypeError if a checkpoint of this state could be written but not be read back."""
    try:
        torch.load(_packed(run, state), weights_only=True)
    except pickle.UnpicklingError as error:
        raise TypeError(
            "fit: `checkpoint` stores numbers and names only, and the state of this model, optimizer or scheduler "
            f"holds something else: {str(error).splitlines()[-1]}"
        ) from None


def load(path: Path, run: dict[str, str]) -> dict[str, Any] | None:
    """Return the state stored at `path` for this `run`, on the CPU, or None if there is no file.

    A damaged file is set aside, with a warning, and the one before it is used. Raises ValueError for a file that is no
    checkpoint or belongs to another run, saying in what they differ; it is left as it is.
    """
    if not path.exists():
        return None
    try:
        stored = _read(path)
    except _DamagedError as problem:
        stored = _read_previous(path, problem)
    _check_same(path, stored["run"], run)
    return stored["state"]


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
    warnings.warn(
        f"{path} is damaged ({problem}): set aside as {aside.name}, the one before is used", stacklevel=4
    )
    return stored


class _DamagedError(Exception):
    """The file is not what was written."""


def _packed(run: dict[str, str], state: dict[str, Any]) -> io.BytesIO:
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


def _check_same(path: Path, stored: dict[str, str], asked: dict[str, str]) -> None:
    differences = [
        "- {}: {} there, {} here".format(
            name, *_difference(stored.get(name, "none"), asked.get(name, "none"))
        )
        for name in {**stored, **asked}
        if stored.get(name) != asked.get(name)
    ]
    if differences:
        raise ValueError(
            f"{path} belongs to another run and is left as it is. They differ in\n"
            + "\n".join(differences)
            + f"\nGive this run another file; or, {_start_afresh(path)}"
        )


def _difference(there: str, here: str) -> tuple[str, str]:
    """Return the first lines in which two descriptions differ."""
    rows = ([*there.splitlines(), "nothing"], [*here.splitlines(), "nothing"])
    return next((a.strip(), b.strip()) for a, b in zip(*rows, strict=False) if a != b)


def _start_afresh(path: Path) -> str:
    return f"to start afresh, delete {path}"


# Which run it is ---------------------------------------------------------------------------------------


def describe_run(model, train, valid, objective, optimizer, scheduler, patience) -> dict[str, str]:
    """Return what a run is made of, in words: two calls of fit with the same description continue each other.

    It does not hold the number of epochs, so that a run can be made longer, nor the initial weights, since a
    kernel that starts again need not draw the same.
    """
    return {
        "model": _describe_model(model),
        "training data": _describe_batches(train),
        "validation data": _describe_batches(valid),
        "objective": getattr(objective, "__qualname__", type(objective).__qualname__),
        "optimizer": _describe_optimizer(optimizer),
        "scheduler": _describe_scheduler(scheduler),
        "patience": str(patience),
    }


def _describe_model(model: nn.Module) -> str:
    shapes = [
        f"{name} {tuple(value.shape)} {value.dtype}"
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    ]
    return "\n".join([re.sub(r" at 0x\w+", "", repr(model)), *shapes])


def _describe_batches(batches: Iterable | None) -> str:
    if isinstance(batches, Batches):
        x, y = (part.cpu().contiguous() for part in (batches.split.x, batches.split.y))
        order = "shuffled" if batches.shuffle else "in order"
        return (
            f"x {tuple(x.shape)} and y {tuple(y.shape)} with checksum {_checksum(x):08x}{_checksum(y):08x}, "
            f"batches of {batches.size} {order}"
        )
    if isinstance(batches, DataLoader):
        order = type(batches.sampler).__name__
        return f"DataLoader of {_length(batches.dataset)} examples, batches of {batches.batch_size}, {order}"
    return "None" if batches is None else f"{type(batches).__name__} of {_length(batches)} batches"


def _checksum(values: Tensor) -> int:
    return crc32(values.view(torch.uint8).numpy() if values.numel() else b"")


def _length(sized: object) -> object:
    return len(sized) if hasattr(sized, "__len__") else "unknown many"


def _describe_optimizer(optimizer: torch.optim.Optimizer) -> str:
    how = ("foreach", "fused", "capturable")  # how it is computed, not what
    settings = {name: value for name, value in optimizer.defaults.items() if name not in how}
    groups = [(len(group["params"]), _settled(group)) for group in optimizer.param_groups]
    return f"{type(optimizer).__name__} {settings}, groups {groups}"


def _describe_scheduler(scheduler: LRScheduler | ReduceLROnPlateau | None) -> str:
    return "None" if scheduler is None else f"{type(scheduler).__name__} {_settled(scheduler.state_dict())}"


def _settled(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [_settled(entry) if isinstance(entry, dict) else entry for entry in value]
        if isinstance(value, list)
        else value
        for name, value in settings.items()
        if name not in _CHANGES and not (name.startswith("_") and name != "_schedulers")
    }


# Random generators -------------------------------------------------------------------------------------


def random_state(loaders: Iterable[object] = ()) -> dict[str, Any]:
    """Return the state of all generators of this process, and of the loaders' own."""
    return runtime.random_state() | {"loaders": [generator.get_state() for generator in _generators(loaders)]}


def set_random_state(state: dict[str, Any], loaders: Iterable[object] = ()) -> None:
    """Put all generators back; those of devices that this machine lacks are left out."""
    runtime.set_random_state(state)
    for generator, value in zip(_generators(loaders), state["loaders"], strict=False):
        generator.set_state(value)


def _generators(loaders: Iterable[object]) -> list[torch.Generator]:
    found = [getattr(loader, "generator", None) for loader in loaders]
    return [generator for generator in found if isinstance(generator, torch.Generator)]
