"""Images in MNIST's format: four IDX files, and the splits made of them."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from coursekit.data.splits import Split, Splits, split_random

_VALID_OF_FULL = 5_000


@dataclass(frozen=True)
class IdxDataset:
    """A data set in MNIST's format.

    `name` is that of torchvision's class, `digests` the SHA-256 of the four unpacked files by their names (packed,
    they vary with the packer), `system_folder` a place where a package of the operating system puts them.
    """

    name: str
    digests: dict[str, str]
    system_folder: Path | None = None


def read_idx(contents: bytes) -> np.ndarray:
    """Return the uint8 array of an IDX file: two zero bytes, type 8, number of dimensions, sizes, values.

    Raises ValueError if the header is another, or promises more or fewer values than there are.
    """
    if len(contents) < 4 or contents[:3] != b"\0\0\x08" or len(contents) < 4 + 4 * contents[3]:
        raise ValueError(f"this is no IDX file of bytes: it begins with {contents[:4]!r}")
    start = 4 + 4 * contents[3]
    shape = np.frombuffer(contents[4:start], ">u4").tolist()
    if math.prod(shape) != len(contents) - start:
        raise ValueError(
            f"the IDX header promises {shape}, {math.prod(shape):,} values; {len(contents) - start:,} follow"
        )
    return np.frombuffer(contents, np.uint8, offset=start).reshape(shape)


def full_splits(files: dict[str, np.ndarray], classes: tuple[str, ...]) -> Splits:
    """Return 55,000 train and 5,000 valid images of the training files, and the test images of the others."""
    images, labels = files["train-images-idx3-ubyte"], files["train-labels-idx1-ubyte"]
    order = split_random().permutation(len(labels))
    return Splits(
        train=image_split(images, labels, order[_VALID_OF_FULL:]),
        valid=image_split(images, labels, order[:_VALID_OF_FULL]),
        test=image_split(files["t10k-images-idx3-ubyte"], files["t10k-labels-idx1-ubyte"], slice(None)),
        classes=classes,
        source="full",
    )


def image_split(images: np.ndarray, labels: np.ndarray, rows: np.ndarray | slice) -> Split:
    """Return the images of some rows as float32 from 0 to 1, shape (N, 1, 28, 28), and their labels as int64."""
    x = np.divide(images[rows], 255, dtype=np.float32)[:, None]  # (N, 28, 28) -> (N, 1, 28, 28)
    return Split(torch.from_numpy(x), torch.from_numpy(labels[rows].astype(np.int64)))
