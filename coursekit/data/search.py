"""Where the data are looked for, and in which order.

A data set is looked for in this order, and the first intact copy is used:

1. the folder named by `$COURSEKIT_DATA`, in torchvision's layout (`MNIST/raw/train-images-idx3-ubyte.gz`, …);
2. this user's cache;
3. system folders (Debian's package dataset-fashion-mnist);
4. a download through torchvision, into the cache.

Every file is compared with the SHA-256 of its unpacked contents before it is read.
"""

import contextlib
import gzip
import hashlib
import os
import warnings
import zlib
from pathlib import Path

import numpy as np
import platformdirs

from coursekit.data.download import download
from coursekit.data.idx import IdxDataset, read_idx
from coursekit.data.splits import Splits

SOURCES = ("auto", "full", "sample")
_LARGEST_FILE = 47_040_016  # bytes, unpacked: the training images of MNIST


def checked_source(function: str, source: str | None) -> str:
    """Return the source asked for by the argument, else by `$COURSEKIT_SOURCE`, else "auto"; ValueError if unknown."""
    source = source or os.environ.get("COURSEKIT_SOURCE") or "auto"
    if source not in SOURCES:
        raise ValueError(
            f"{function}: `source` must be one of {', '.join(map(repr, SOURCES))}, not {source!r}"
        )
    return source


def cache_folder() -> Path:
    """Return where this user's copies are kept, wherever the operating system puts such things."""
    return platformdirs.user_cache_path("coursekit", appauthor=False)


def find(dataset: IdxDataset) -> tuple[dict[str, np.ndarray], str]:
    """Return the data set's arrays by file name and where they were found; else no arrays and the reason."""
    given = os.environ.get("COURSEKIT_DATA")
    if given:
        if not Path(given).is_dir():
            raise ValueError(f"$COURSEKIT_DATA names {given!r}, which is no folder: correct it or unset it")
        if files := _read_folder(Path(given) / dataset.name / "raw", dataset):
            return files, "$COURSEKIT_DATA"
    cached = cache_folder() / dataset.name / "raw"
    if files := _read_folder(cached, dataset, ours=True):
        return files, "this user's cache"
    if dataset.system_folder and (files := _read_folder(dataset.system_folder, dataset)):
        return files, "a system package"
    problem = download(dataset.name, cached)
    if not problem and (files := _read_folder(cached, dataset, ours=True)):
        return files, "a download, now in this user's cache"
    return {}, problem or "the downloaded files could not be read back"


def _read_folder(folder: Path, dataset: IdxDataset, *, ours: bool = False) -> dict[str, np.ndarray]:
    """Return the four arrays of an intact copy in `folder`, or {}. A damaged file of ours is set aside."""
    arrays = {}
    for file, digest in dataset.digests.items():
        path = next((p for p in (folder / f"{file}.gz", folder / file) if p.is_file()), None)
        if path is None:
            return {}
        contents = verified(path, digest, ours=ours)
        if contents is None:
            return {}
        arrays[file] = read_idx(contents)
    return arrays


def verified(path: Path, digest: str, *, ours: bool) -> bytes | None:
    """Return the unpacked contents of `path` if their SHA-256 is `digest`; else warn and return None."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            contents = file.read(_LARGEST_FILE + 1)  # a small file can unpack to more than the memory holds
    except (OSError, EOFError, zlib.error):
        contents = b""
    if hashlib.sha256(contents).hexdigest() == digest:
        return contents
    if ours:
        aside = path.with_name(path.name + ".damaged")
        with contextlib.suppress(OSError):  # a cache that cannot be written keeps it, unused
            path.replace(aside)
        warnings.warn(f"{path} is damaged: set aside as {aside.name}, to be replaced", stacklevel=2)
    else:
        warnings.warn(
            f"{path} is damaged or another version (wrong checksum) and is not used: replace it", stacklevel=2
        )
    return None


# Messages ----------------------------------------------------------------------------------------------


def announce(name: str, splits: Splits, origin: str) -> Splits:
    """Print the sizes of the splits and where they came from; return them."""
    sizes = " · ".join(f"{len(getattr(splits, part)):,} {part}" for part in ("train", "valid", "test"))
    print(f"{name}: {sizes}, from {origin}")
    return splits


def not_found(name: str, problem: str) -> str:
    """Return the sentence for a data set that cannot be had."""
    return (
        f"{name} is in none of the places searched, and {problem}. "
        f"To get it, go online once, or set COURSEKIT_DATA to a folder with {name}/raw/*.gz"
    )
