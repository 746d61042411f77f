"""What a run is made of, in words, so that a checkpoint is never mistaken for another run's."""

import re
from collections.abc import Iterable
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from coursekit.data import Batches
from coursekit.train.run import Run

# What schedulers change as they go, in an optimizer and in themselves; the rest says how the run was set up.
_CHANGES = {
    "params", "lr", "initial_lr", "max_lr", "min_lr", "momentum", "betas", "base_momentum", "max_momentum",
    "last_epoch", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i", "foreach", "fused", "capturable",
}  # fmt: skip


def describe_run(run: Run) -> dict[str, str]:
    """Return what a run is made of, in words: two calls of fit with the same description continue each other.

    It does not hold the number of epochs, so that a run can be made longer, nor the initial weights, since a
    kernel that starts again need not draw the same.
    """
    return {
        "model": _describe_model(run.model),
        "training data": _describe_batches(run.train),
        "validation data": _describe_batches(run.valid),
        "objective": getattr(run.objective, "__qualname__", type(run.objective).__qualname__),
        "optimizer": _describe_optimizer(run.optimizer),
        "scheduler": _describe_scheduler(run.scheduler),
        "patience": str(run.patience),
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
