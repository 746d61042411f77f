"""The random generators that decide how training goes on: those of the process and those of the loaders."""

from collections.abc import Iterable
from typing import Any

import torch

from coursekit import runtime


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
