"""Warnings that point at the learner's line, and values in a few words."""

import sys
import warnings

from torch import Tensor


def warn(message: str) -> None:
    """Warn as if by the line that called into this package, so that every caller sees it once."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals["__name__"].startswith("coursekit."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def describe(value: object) -> str:
    """Return a value in a few words: tensors by shape and type, dicts entry by entry."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {describe(entry)}" for name, entry in value.items()) + "}"
    kind, shown = type(value).__name__, " ".join(repr(value).split())
    return (shown if shown.startswith(kind) else f"{kind} {shown}")[:60]
