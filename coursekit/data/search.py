"""Where the data are looked for, and in which order.

A data set is looked for in this order, and the first intact copy is used:

1. the folder named by `$COURSEKIT_DATA`, in torchvision's layout (`MNIST/raw/train-images-idx3-ubyte.gz`, …);
   the folder may also be the `MNIST` or the `raw` of that layout;
2. this user's cache;
3. the folder `share/coursekit` of this Python environment, which all its users share;
4. system folders (Debian's package dataset-fashion-mnist);
5. a download through torchvision, into the cache.

Every file is compared with the SHA-256 of its unpacked contents before it is read.
"""

import contextlib
import gzip
import hashlib
import os
import stat
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import platformdirs

from coursekit.data.download import download
from coursekit.data.idx import IdxDataset, read_idx
from coursekit.data.problems import NotFoundError, PlaceError
from coursekit.data.splits import Splits
from coursekit.files import user_folder

SOURCES = ("auto", "full", "sample")
_GIVEN, _CACHED = "$COURSEKIT_DATA", "this user's cache"
_ENVIRONMENT, _SYSTEM = "this Python environment", "a system package"
_LARGEST_FILE = 47_040_016  # bytes, unpacked: the training images of MNIST


def checked_source(function: str, source: str | None) -> str:
    """Return the source asked for by the argument, else by `$COURSEKIT_SOURCE`, else "auto"; ValueError if unknown."""
    source = source or os.environ.get("COURSEKIT_SOURCE") or "auto"
    if source not in SOURCES:
        raise ValueError(
            f"{function}: `source` must be one of {', '.join(map(repr, SOURCES))}, not {source!r}"
        )
    return source


def find(dataset: IdxDataset) -> tuple[dict[str, np.ndarray], str]:
    """Return the data set's arrays by file name, and where they were found.

    Raises NotFoundError where they cannot be had, ValueError where `$COURSEKIT_DATA` names no folder.
    """
    places = {
        _GIVEN: _read_given,
        _CACHED: _read_cached,
        _ENVIRONMENT: _read_environment,
        _SYSTEM: _read_system,
        "a download, now in this user's cache": _read_downloaded,
    }
    problems = []
    for place, read in places.items():
        try:
            if files := read(dataset):
                return files, place
        except PlaceError as problem:
            problems.append(problem)
        except PermissionError as error:
            remedy = "get access to that folder and to those above it"
            problems.append(PlaceError(f"{place} cannot be read: {error.strerror}", remedy))
    raise _not_found(dataset.name, problems)


# Places ------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Return where this user's copies are kept, wherever the operating system puts such things.

    Raises PlaceError for a user without a home folder.
    """
    if folder := user_folder(platformdirs.user_cache_path):
        return folder
    raise PlaceError("this user has no home folder for a cache", "set HOME to a folder of your own")


def _read_given(dataset: IdxDataset) -> dict[str, np.ndarray]:
    """Return the arrays in the folder that `$COURSEKIT_DATA` names; {} if it names none."""
    given = os.environ.get("COURSEKIT_DATA")
    if not given:
        return {}
    folder = Path(os.path.expanduser(given))
    if not stat.S_ISDIR(_mode(folder)):
        raise ValueError(f"$COURSEKIT_DATA names {given!r}, which is no folder: correct it or unset it")
    raw = _raw_folder(folder, dataset)
    if missing := [file for file in dataset.digests if not _path(raw, file)]:
        names = " and ".join((raw / f"{file}.gz").relative_to(folder).as_posix() for file in missing)
        raise PlaceError(f"{_GIVEN} was searched and lacks {names}", f"add what {_GIVEN} lacks")
    return _read_folder(raw, dataset, place=_GIVEN)


def _raw_folder(folder: Path, dataset: IdxDataset) -> Path:
    """Return which folder in the one that the user named, or itself, holds files of the data set.

    Raises PlaceError if there is none. Where the name of the folder does not tell, the training labels do: all data
    sets in MNIST's format have files of the same names.
    """
    named, right = (folder / dataset.name / "raw", folder / dataset.name), f"{dataset.name}/raw"
    remedy = f"let COURSEKIT_DATA name the folder that contains {right}"
    for raw in (*named, folder / "raw", folder):
        if any(_path(raw, file) for file in dataset.digests):
            if raw in named or _has_labels_of(dataset, raw):
                return raw
            raise PlaceError(
                f"{_GIVEN} was searched and its files are damaged or not those of {dataset.name}", remedy
            )
    raise PlaceError(f"{_GIVEN} was searched and has no {right}/*.gz", remedy)


def _has_labels_of(dataset: IdxDataset, raw: Path) -> bool:
    file = "train-labels-idx1-ubyte"
    path = _path(raw, file)
    with contextlib.suppress(PermissionError):  # told where the file is read for good
        return path is None or _digest(_unpacked(path)) == dataset.digests[file]
    return True


def _read_cached(dataset: IdxDataset) -> dict[str, np.ndarray]:
    return _read_folder(_cache(dataset), dataset, place=_CACHED)


def _cache(dataset: IdxDataset) -> Path:
    """Return this user's folder for the data set; raises PlaceError where it is out of reach."""
    folder = cache_folder()
    try:
        is_file(folder / dataset.name / "raw" / "any")
    except PermissionError as error:
        reason = f"the cache {folder} cannot be entered: {error.strerror}"
        raise PlaceError(reason, "get access to that folder or let HOME name your own") from error
    return folder / dataset.name / "raw"


def _read_environment(dataset: IdxDataset) -> dict[str, np.ndarray]:
    folder = Path(sys.prefix, "share", "coursekit", dataset.name, "raw")
    return _read_folder(folder, dataset, place=_ENVIRONMENT)


def _read_system(dataset: IdxDataset) -> dict[str, np.ndarray]:
    if not dataset.system_folder:
        return {}
    return _read_folder(dataset.system_folder, dataset, place=_SYSTEM)


def _read_downloaded(dataset: IdxDataset) -> dict[str, np.ndarray]:
    download(dataset.name, _cache(dataset))
    if files := _read_cached(dataset):
        return files
    raise PlaceError("the downloaded files could not be read back", "try again")


# Files -------------------------------------------------------------------------------------------------


def is_file(path: Path) -> bool:
    """Return whether there is such a file; raises PermissionError where a folder above it may not be entered.

    `Path.is_file` hides that from Python 3.14 on.
    """
    return stat.S_ISREG(_mode(path))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except PermissionError:
        raise
    except OSError:
        return 0


def _path(folder: Path, file: str) -> Path | None:
    """Return where an IDX file lies in the folder, packed or not; None if it does not."""
    return next((path for path in (folder / f"{file}.gz", folder / file) if is_file(path)), None)


def _read_folder(folder: Path, dataset: IdxDataset, *, place: str) -> dict[str, np.ndarray]:
    """Return the four arrays of an intact copy in `folder`, {} where a file is missing."""
    arrays = {}
    for file, digest in dataset.digests.items():
        path = _path(folder, file)
        if path is None:
            return {}
        arrays[file] = read_idx(verified(path, digest, place=place))
    return arrays


def verified(path: Path, digest: str, *, place: str = _CACHED) -> bytes:
    """Return the unpacked contents of `path` if their SHA-256 is `digest`; else warn and raise PlaceError.

    A damaged file in this user's cache is set aside.
    """
    try:
        contents = _unpacked(path)
    except PermissionError as error:
        warnings.warn(
            f"{path} cannot be used because you may not read it: give yourself read permission", stacklevel=2
        )
        raise PlaceError(f"{path.name} in {place} may not be read", f"make {path.name} readable") from error
    if _digest(contents) == digest:
        return contents
    reason = f"{path.name} in {place} is damaged"
    if place == _CACHED:
        _set_aside(path)
        raise PlaceError(reason, remedy="")  # a download replaces it
    warnings.warn(
        f"{path} is damaged or another version (wrong checksum) and is not used: replace it", stacklevel=2
    )
    raise PlaceError(reason, f"replace {path.name}")


def _unpacked(path: Path) -> bytes:
    """Return the contents of a file, packed or not; b"" of one that is damaged."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            return file.read(_LARGEST_FILE + 1)  # a small file can unpack to more than the memory holds
    except PermissionError:
        raise
    except (OSError, EOFError, zlib.error):
        return b""


def _digest(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def _set_aside(path: Path) -> None:
    aside = path.with_name(path.name + ".damaged")
    with contextlib.suppress(OSError):  # a cache that cannot be written keeps it, unused
        path.replace(aside)
    warnings.warn(f"{path} is damaged: set aside as {aside.name}, to be replaced", stacklevel=3)


# Messages ----------------------------------------------------------------------------------------------


def announce(name: str, splits: Splits, origin: str) -> Splits:
    """Print the sizes of the splits and where they came from; return them."""
    sizes = " · ".join(f"{len(getattr(splits, part)):,} {part}" for part in ("train", "valid", "test"))
    print(f"{name}: {sizes}, from {origin}")
    return splits


def _not_found(name: str, problems: list[PlaceError]) -> NotFoundError:
    """Return the error for a data set that no place has: what went wrong, in order, and the nearest remedy first."""
    remedies = [problem.remedy for problem in reversed(problems) if problem.remedy]
    if not os.environ.get("COURSEKIT_DATA"):
        remedies.append(f"set COURSEKIT_DATA to a folder with {name}/raw/*.gz")
    reasons = [str(problem) for problem in problems]
    return NotFoundError(name, ", and ".join(dict.fromkeys(reasons)), ", or ".join(dict.fromkeys(remedies)))
