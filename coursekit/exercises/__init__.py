"""Exercises that check themselves, a module for each lesson: `from coursekit.exercises import lesson03 as ex`."""

import importlib.util
from types import ModuleType

from coursekit.checks import pinned


def __getattr__(name: str) -> ModuleType:
    """Import a lesson's exercises under the defaults of a fresh kernel, so that all get the same test inputs."""
    module = f"{__name__}.{name}"
    if importlib.util.find_spec(module) is None:
        raise AttributeError(f"there are no exercises {name!r}")
    with pinned():
        return importlib.import_module(module)
