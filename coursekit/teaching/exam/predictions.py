"""Files of predictions: how they are written, read and checked."""

import csv
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from coursekit.files import atomic_write

KINDS = (".csv", ".npz")
LARGEST = 20_000_000  # bytes, packed or unpacked


def problems(ids: np.ndarray, probability: np.ndarray, expected: np.ndarray) -> list[str]:
    """Return what is wrong with predictions, a line each: one probability for every expected id, in their order."""
    found = []
    missing, unknown = np.setdiff1d(expected, ids), np.setdiff1d(ids, expected)
    if len(missing):
        found.append(f"{len(missing)} of {len(expected)} rows are missing, the first with id {missing[0]}")
    if len(unknown):
        found.append(f"{len(unknown)} ids are not in the test data, the first is {unknown[0]}")
    if len(np.unique(ids)) < len(ids):
        found.append(f"{len(ids) - len(np.unique(ids))} ids stand there more than once")
    if not found and not np.array_equal(ids, expected):
        found.append("the rows are not in the order of test.npz")
    if not np.isfinite(probability).all():
        found.append(f"{(~np.isfinite(probability)).sum()} probabilities are nan or infinite")
    elif len(probability) and (probability.min() < 0 or probability.max() > 1):
        low, high = probability.min(), probability.max()
        found.append(f"probabilities must lie between 0 and 1, but go from {low:.3g} to {high:.3g}")
    elif len(np.unique(probability)) == 1:
        found.append("all probabilities are the same")
    elif np.isin(probability, [0, 1]).all():
        found.append("these are labels, only 0 and 1: hand in the probability of a photon")
    return found


def write(path: Path, ids: np.ndarray, probability: np.ndarray) -> None:
    """Write predictions as CSV, in one step."""
    lines = [f"{number},{value:.8g}" for number, value in zip(ids, probability, strict=True)]
    with atomic_write(path) as file:
        file.write("\n".join(["id,probability", *lines, ""]).encode())


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return ids (N,) and probabilities (N,) of a file, .csv or .npz; ValueError for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return parsed(path.name, file.read(LARGEST + 1))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from error


def parsed(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return ids (N,) and probabilities (N,) of a file's content; ValueError for what cannot be read."""
    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST // 10**6} MB are too many for predictions")
    return _from_npz(content) if name.endswith(".npz") else _from_csv(content)


def _from_npz(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise ValueError("unpacks to more than predictions need")
        with np.load(io.BytesIO(content)) as arrays:
            if not {"id", "probability"} <= set(arrays.files):
                raise ValueError(f"needs the arrays id and probability, but holds {', '.join(arrays.files)}")
            ids, probability = arrays["id"], arrays["probability"]
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, RuntimeError, MemoryError) as error:
        raise ValueError("is no npz file") from error
    if ids.ndim != 1 or ids.shape != probability.shape or ids.dtype.kind not in "iu":
        raise ValueError("id must hold integers (N,), probability as many numbers (N,)")
    if probability.dtype.kind not in "fiub":
        raise ValueError("probability must hold numbers")
    return ids.astype(np.int64), probability.astype(np.float64)


def _from_csv(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError("is no CSV file in UTF-8") from error
    if not rows or [name.strip() for name in rows[0]] != ["id", "probability"]:
        raise ValueError("must begin with the line id,probability")
    ids, probability = [], []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        try:
            one, value = row
            ids.append(int(one))
            probability.append(float(value or "nan"))
        except ValueError:
            raise ValueError(f"line {number} is no id and probability: {','.join(row)[:60]!r}") from None
    try:
        return np.array(ids, dtype=np.int64), np.array(probability)
    except OverflowError:
        raise ValueError("holds ids too large for any test data") from None
