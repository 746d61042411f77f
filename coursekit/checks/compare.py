"""Compare what an attempt gave with what was expected, fairly, and say in words what differs."""

import math
import numbers
import reprlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

# How close counts as equal, (relative, absolute), by the coarser of the two types; other types count as float32
TOLERANCE = {
    torch.float64: (1e-7, 1e-7),
    torch.float32: (1e-4, 1e-6),
    torch.float16: (1e-2, 1e-3),
    torch.bfloat16: (2e-2, 1e-2),
}
_SHOWN_IN_FULL = 60  # elements of a tensor
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120


@dataclass(frozen=True)
class Difference:
    """What is wrong with a value: a sentence, and the two sides as text.

    All are made when they are asked for: most differences are found only to tell that there is one.
    """

    words: Callable[[], str]
    given: object
    wanted: object
    names: tuple[str, ...] = ()  # of the entries that led here

    @property
    def sentence(self) -> str:
        """What differs."""
        return ": ".join([*self.names, self.words()])

    @property
    def yours(self) -> str:
        """The value that came out, as text."""
        return self._shown(self.given)

    @property
    def expected(self) -> str:
        """The value that was expected, as text."""
        return self._shown(self.wanted)

    def _shown(self, value: object) -> str:
        text = show(value)
        for name in reversed(self.names):
            text = labelled(name, text)
        return text

    def of(self, name: str) -> "Difference":
        """Return the same for the entry `name` of a tuple or dict."""
        return replace(self, names=(name, *self.names))


def difference(yours: object, expected: object, names: tuple[str, ...] = ()) -> Difference | None:
    """Return how `yours` differs from `expected`, None where they agree.

    Numbers and tensors agree if shapes are equal and values within the tolerance of the coarser type, whatever
    their integer, boolean or float type; nan agrees with nan. Tuples and lists, dicts and their entries agree if
    all entries do; `names` are the names of a tuple's entries. A 0-dimensional tensor is a number.
    """
    if isinstance(expected, tuple | list):
        return _difference_of_sequences(yours, expected, names)
    if isinstance(expected, dict):
        if not isinstance(yours, dict):
            return Difference(lambda: _kind(yours, "another result"), yours, expected)
        if yours.keys() != expected.keys():
            return Difference(lambda: _keys(yours, expected), yours, expected)
        for key, value in expected.items():
            if found := difference(yours[key], value):
                return found.of(key)
        return None
    if isinstance(expected, Tensor | numbers.Number):
        return _difference_of_numbers(yours, expected)
    if _agree(yours, expected):
        return None
    return Difference(lambda: f"{show(yours)} instead of {show(expected)}.", yours, expected)


def _agree(yours: object, expected: object) -> bool:
    """Return whether two values are equal; an array, which a wrong answer may return, equals arrays alone."""
    if isinstance(yours, np.ndarray) or isinstance(expected, np.ndarray):
        return type(yours) is type(expected) and np.array_equal(yours, expected)
    return yours == expected


def _keys(yours: dict, expected: dict) -> str:
    missing = [repr(key) for key in expected if key not in yours]
    extra = [repr(key) for key in yours if key not in expected]
    sentences = [f"The entry {', '.join(missing)} is missing."] if missing else []
    return " ".join(sentences + ([f"The entry {', '.join(extra)} is not expected."] if extra else []))


def _difference_of_sequences(yours, expected, names) -> Difference | None:
    only_numbers = not any(getattr(one, "ndim", 0) for one in expected)
    if only_numbers and isinstance(yours, Tensor) and yours.ndim == 1:
        yours = list(yours)  # numbers side by side in a tensor are as good
    if not isinstance(yours, tuple | list):
        asked = f"a {type(expected).__name__} of {len(expected)}"
        return Difference(lambda: _kind(yours, asked), yours, expected)
    if len(yours) != len(expected):
        words = f"{len(yours)} values came back, {len(expected)} are expected."
        return Difference(lambda: words, yours, expected)
    for number, (one, other) in enumerate(zip(yours, expected, strict=True)):
        name = names[number] if names else f"value {number + 1} of {len(expected)}"
        if found := difference(one, other):
            return found.of(name)
    return None


def _difference_of_numbers(yours, expected) -> Difference | None:
    wanted = torch.as_tensor(expected).detach()
    asked = "a number" if wanted.ndim == 0 else f"a tensor of shape {tuple(wanted.shape)}"

    def differ(words: Callable[[], str]) -> Difference:
        return Difference(words, yours, expected)

    if isinstance(yours, np.ndarray) and yours.ndim == wanted.ndim == 0:
        yours = yours.item()
    if isinstance(yours, numbers.Number) and not isinstance(yours, complex) and wanted.ndim == 0:
        given = torch.tensor(float(yours), dtype=torch.float64)
    elif isinstance(yours, Tensor):
        given = yours.detach()
    else:
        return differ(lambda: _kind(yours, asked))
    if given.device != wanted.device:
        return differ(lambda: f"It is on the device {given.device}, the input on {wanted.device}.")
    # what is expected is complex where the solution with a change in it makes it so
    if given.is_complex() or wanted.is_complex():
        return differ(lambda: "It is complex.")
    if given.shape != wanted.shape:
        return differ(lambda: f"The shape is {tuple(given.shape)}, expected is {tuple(wanted.shape)}.")
    relative, absolute = max(
        TOLERANCE.get(dtype, TOLERANCE[torch.float32]) for dtype in (given.dtype, wanted.dtype)
    )
    given, wanted = given.to_dense().double(), wanted.double()
    off = ~torch.isclose(given, wanted, rtol=relative, atol=absolute, equal_nan=True)
    if not off.any():
        return None
    if given.ndim == 0:
        return differ(lambda: "{} instead of {}.".format(*digits(yours, expected)))
    return differ(lambda: _where(given, wanted, off))


def digits(yours: object, expected: object) -> tuple[str, str]:
    """Return two numbers as text, floats with as many digits as it takes to tell them apart, at least six."""
    sides = [one.item() if isinstance(one, Tensor) else one for one in (yours, expected)]
    texts = [
        tuple(f"{one:.{count}g}" if isinstance(one, float) else str(one) for one in sides)
        for count in range(6, 18)
    ]
    return next((pair for pair in texts if pair[0] != pair[1]), texts[0])


def _kind(yours: object, asked: str) -> str:
    if yours is None:
        return f"None came back instead of {asked}: is a `return` missing?"
    if isinstance(yours, np.ndarray | np.generic):
        return f"A NumPy array came back instead of {asked}: stay with tensors, or convert with `torch.as_tensor`."
    return f"A value of type {type(yours).__name__} came back instead of {asked}."


def _where(given: Tensor, wanted: Tensor, off: Tensor) -> str:
    distance = (given - wanted).abs().where(off, torch.zeros(())).nan_to_num(nan=math.inf)
    index = [int(i) for i in np.unravel_index(int(distance.argmax()), given.shape)]
    value, target = digits(given[tuple(index)].item(), wanted[tuple(index)].item())
    count = (
        "The number differs"
        if off.numel() == 1
        else f"{int(off.sum())} of {off.numel()} numbers differ, most"
    )
    return f"{count} at {index}: {value} instead of {target}."


def remarks(yours: list[object], expected: list[object]) -> list[str]:
    """Return a sentence, or none, on types that are right in their numbers but will get in the way later.

    The lists hold what came out for the test inputs; all of it agrees.
    """
    pairs = list(dict.fromkeys(_types(yours, expected)))
    given, wanted = {one for one, _ in pairs}, {other for _, other in pairs}
    if not pairs:
        return []
    if len(given) == 1 < len(wanted):
        return [
            f"A remark: the result is always {_name(given.pop())}. Keep the type of the input: `dtype=x.dtype`."
        ]
    one, other = pairs[0]
    keep = " Keep the type of the input." if one.is_floating_point and other.is_floating_point else ""
    return [f"A remark: the result is {_name(one)} where {_name(other)} would fit better.{keep}"]


def _types(yours: object, expected: object) -> Iterator[tuple[torch.dtype, torch.dtype]]:
    """Yield the types of yours and expected wherever they differ, all the way down."""
    if isinstance(yours, tuple | list) and isinstance(expected, tuple | list):
        for one, other in zip(yours, expected, strict=False):
            yield from _types(one, other)
    elif isinstance(yours, dict) and isinstance(expected, dict):
        for key in expected.keys() & yours.keys():
            yield from _types(yours[key], expected[key])
    elif isinstance(yours, Tensor) and isinstance(expected, Tensor) and yours.dtype != expected.dtype:
        is_mask = not yours.is_floating_point() and expected.is_floating_point()
        if not is_mask:  # True and False do for 1 and 0
            yield yours.dtype, expected.dtype


def same(before: object, after: object) -> bool:
    """Return whether an argument is as it was before the call: exactly, all the way down."""
    if type(before) is not type(after):
        return False
    if isinstance(before, Tensor):
        kind = [(one.shape, one.dtype, one.device, one.requires_grad) for one in (before, after)]
        return kind[0] == kind[1] and bool(_equal(before, after))
    if isinstance(before, nn.Module):
        return _mode(before) == _mode(after) and same(dict(before.state_dict()), dict(after.state_dict()))
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(same(before[key], after[key]) for key in before)
    if isinstance(before, tuple | list):
        return len(before) == len(after) and all(map(same, before, after))
    return before == after


def _mode(model: nn.Module) -> list[bool]:
    """Return which modules are in training mode, and which parameters record gradients."""
    return [one.training for one in model.modules()] + [one.requires_grad for one in model.parameters()]


def _equal(before: Tensor, after: Tensor) -> bool:
    return torch.allclose(before.double(), after.double(), rtol=0, atol=0, equal_nan=True)


def size(value: object) -> int:
    """Return how many numbers a value holds, all the way down; of a text, its letters."""
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, dict):
        return sum(map(size, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(size, value))
    return len(value) if isinstance(value, str) else 1


def labelled(name: str, text: str, joint: str = ": ") -> str:
    """Return text of several lines behind a name, its lines aligned."""
    return f"{name}{joint}" + text.replace("\n", "\n" + " " * len(f"{name}{joint}"))


def show(value: object) -> str:
    """Return a value as text: small tensors in full, large ones by shape, others in short."""
    if isinstance(value, Tensor):
        small = value.numel() <= _SHOWN_IN_FULL
        return str(value.detach()) if small else f"{_name(value.dtype)} tensor {tuple(value.shape)}"
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        inside = ", ".join(map(show, value))
        return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
    return _short.repr(value.item() if isinstance(value, np.generic) else value)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
