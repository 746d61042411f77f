"""Examples in three parts and in minibatches, as tensors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_SEED = 20260801  # the split is part of the data set: the same for everyone, whatever the lesson's seed


@dataclass(frozen=True)
class Split:
    """Examples `x` (N, ...) and their labels `y` (N, ...), resident on one device.

    Raises TypeError unless both are tensors, ValueError unless there is one label for each example.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        for name, value in (("x", self.x), ("y", self.y)):
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"Split: `{name}` must be a torch.Tensor, not {type(value).__name__}: torch.as_tensor converts"
                )
        if self.x.shape[:1] != self.y.shape[:1]:
            raise ValueError(
                f"Split: `x` {tuple(self.x.shape)} and `y` {tuple(self.y.shape)} must have the same first dimension: "
                "one label for each example"
            )
        if self.x.device != self.y.device:
            raise ValueError(
                f"Split: `x` is on {self.x.device} but `y` on {self.y.device}: move one with .to(device)"
            )

    def __repr__(self) -> str:
        return f"Split(x {tuple(self.x.shape)}, y {tuple(self.y.shape)})"

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device | str) -> "Split":
        """Return the same split on another device."""
        return Split(self.x.to(device), self.y.to(device))

    def batches(self, size: int, *, shuffle: bool = False) -> "Batches":
        """Return minibatches of `size` examples; the last one is shorter where N is no multiple of it."""
        return Batches(self, size, shuffle)


@dataclass(frozen=True)
class Batches:
    """The minibatches of a split as (x, y) pairs; iterate again and again, len() is their number, as with a DataLoader.

    The tensors are already on their device, so a batch costs one indexing operation instead of a Python
    call per image. With `shuffle`, every pass draws a new order from torch's global generator on the CPU,
    so that the order is the same on every device.
    """

    split: Split
    size: int
    shuffle: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int | np.integer):
            raise TypeError(f"batches: `size` must be an integer such as 128, not {self.size!r}")
        if self.size < 1:
            raise ValueError(f"batches: `size` must be at least 1 example, not {self.size}")
        object.__setattr__(self, "size", int(self.size))  # torch takes no integer of NumPy's

    def __len__(self) -> int:
        return -(-len(self.split) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = self.split.x, self.split.y
        if not self.shuffle:
            yield from zip(x.split(self.size), y.split(self.size), strict=True)
            return
        order = torch.randperm(len(x)).to(x.device)
        for rows in order.split(self.size):
            yield x.index_select(0, rows), y.index_select(0, rows)  # twice as fast as x[rows] on a CPU


@dataclass(frozen=True)
class Splits:
    """A data set in three parts: `train` to fit, `valid` to choose, `test` to be looked at once.

    `classes` names the labels in order; `source` is "full" or "sample".
    """

    train: Split
    valid: Split
    test: Split
    classes: tuple[str, ...]
    source: str

    def to(self, device: torch.device | str) -> "Splits":
        """Return the same splits on another device."""
        return Splits(
            self.train.to(device), self.valid.to(device), self.test.to(device), self.classes, self.source
        )


def split_random() -> np.random.RandomState:
    """Return the generator that splits a data set: the same at every call, on every machine."""
    return np.random.RandomState(_SEED)  # its stream is frozen for good, whatever NumPy's release


def splits_by_group(
    x: np.ndarray, y: np.ndarray, group: np.ndarray, *, classes: tuple[str, ...], source: str
) -> Splits:
    """Return 60 % of the groups as train, 15 % as valid, 25 % as test; all rows of a group (N,) are in one part."""
    random = split_random()
    groups = random.permutation(np.unique(group))
    test, valid, train = (
        random.permutation(np.flatnonzero(np.isin(group, part)))
        for part in np.split(groups, [len(groups) * 25 // 100, len(groups) * 40 // 100])
    )
    parts = [
        Split(torch.from_numpy(x[rows]), torch.from_numpy(y[rows].astype(np.int64)))
        for rows in (train, valid, test)
    ]
    return Splits(*parts, classes=classes, source=source)
