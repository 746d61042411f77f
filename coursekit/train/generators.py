"""The random generators that decide how training goes on: those of the process and those of the data."""

import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from coursekit import runtime
from coursekit.train.messages import warn

_NOT_KEPT = np.random.Generator | np.random.RandomState | random.Random


def random_state(loaders: Iterable[object] = ()) -> dict[str, Any]:
    """Return the state of all generators of this process, and of the loaders' own."""
    return runtime.random_state() | {"loaders": [generator.get_state() for generator in own(loaders)]}


def set_random_state(state: dict[str, Any], loaders: Iterable[object] = ()) -> None:
    """Put all generators back; those of devices that this machine lacks are left out."""
    runtime.set_random_state(state)
    for generator, value in zip(own(loaders), state["loaders"], strict=False):
        generator.set_state(value)


def own(loaders: Iterable[object]) -> list[torch.Generator]:
    """Return the generators of torch's that loaders, their samplers and their data sets hold, each once."""
    found = [value for loader in loaders for _, value in _held(loader) if isinstance(value, torch.Generator)]
    return list({id(generator): generator for generator in found}.values())


def warn_of_those_lost(loaders: Iterable[object]) -> None:
    """Warn, naming them, of generators that no checkpoint keeps."""
    for loader in loaders:
        lost = sorted(
            {type(holder).__name__ for holder, value in _held(loader) if isinstance(value, _NOT_KEPT)}
        )
        if getattr(loader, "persistent_workers", False):
            warn(
                "fit: the random generators of persistent workers are in no checkpoint: a run that is continued draws "
                "other numbers in them. With persistent_workers=False it draws the same"
            )
        if lost:
            warn(
                f"fit: {' and '.join(lost)} draws from a generator of its own that is in no checkpoint: a run that is "
                "continued draws other numbers. Draw from a torch.Generator, which is kept, or from the global "
                "generators of torch, NumPy or Python"
            )


def _held(loader: object) -> Iterator[tuple[object, object]]:
    """Yield what a loader, its samplers and its data sets hold, with who holds it."""
    waiting, seen = [loader], set()
    while waiting:
        holder = waiting.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        for name, value in getattr(holder, "__dict__", {}).items():
            yield holder, value
            if name in ("sampler", "batch_sampler", "dataset"):
                waiting.append(value)
            if name == "datasets":
                waiting += value
