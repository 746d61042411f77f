"""Confirm a verdict where none of the attempt's code runs: evidence is made beside it, and judged elsewhere.

Lessons don't use this; who marks the notebooks of others does.
"""

import hashlib
import math

import numpy as np
import torch
from torch import Tensor, nn

from coursekit.checks.base import Exercise
from coursekit.checks.compare import difference
from coursekit.checks.functions import CodeExercise
from coursekit.checks.isolation import captured_output, pinned
from coursekit.checks.models import ModelExercise
from coursekit.checks.questions import Quiz
from coursekit.checks.runs import Outcome

_SIMPLE = (bool, int, float, complex, torch.dtype)
_PLAIN_LAYERS = {layer.__name__: layer for layer in (nn.ReLU, nn.Flatten, nn.Identity, nn.Dropout)}
_FEW, _MANY = 1000, 2**26  # numbers: of fewer no bits are made, of more no tensor
_WIDEST, _DEEPEST = 4096, 100  # of a network that is rebuilt: what it takes to run it has to stay small


def evidence(exercise: Exercise, given: tuple, named: dict) -> object:
    """Return what the verdict on an attempt rests on, as numbers, texts and tensors that can be sent elsewhere.

    For code, what it does on every test input; for a question, the answers; for a trained network, its weights if its
    layers are the plainest, else what it returned for everything that the check gave it. None where there is no such
    data.
    """
    if isinstance(exercise, Quiz):
        return {"given": plain(given), "named": plain(named)}
    if exercise._misuse(given, named):
        return None
    if isinstance(exercise, CodeExercise):
        with pinned():
            if exercise._unfit(given):
                return None
            return [
                {"value": plain(one.value), "changed": one.changed, "failed": one.error is not None}
                for one in exercise.inputs.outcomes(given)
            ]
    if not any(map(callable, given)):  # weights, not a network
        return {"given": plain(given)}
    if (layers := _layers(given[0])) and _is_small(layers):
        return {"layers": layers}
    recorder = _Recorder(given[0])
    return {"calls": recorder.calls} if exercise.verdict((recorder,), {}).status == "correct" else None


def borne_out(exercise: Exercise, found: object) -> bool | None:
    """Return whether evidence is that of a right attempt; None where that can't be told without running it.

    Which network made the outputs can't be told from outside, only that a check to which they are given finds them
    right.
    """
    if isinstance(exercise, Quiz):
        return exercise.verdict(tuple(found["given"]), found["named"]).status == "correct"
    if isinstance(exercise, CodeExercise):
        with pinned(), captured_output():
            return _same_outcomes(exercise, found)
    return _right_network(exercise, found)


def plain(value: object) -> object:
    """Return a value made of numbers, texts and tensors alone; of anything else, a text with its type.

    Tensors come without gradients, and hold no more memory than their numbers take.
    """
    if isinstance(value, Tensor):
        return value.detach().to_dense().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str):
        return str(value)  # also of a class of its own
    if isinstance(value, dict):
        return {
            key if isinstance(key, (*_SIMPLE, str)) else repr(key): plain(one) for key, one in value.items()
        }
    if isinstance(value, tuple | list):
        return (tuple if isinstance(value, tuple) else list)(map(plain, value))
    return value if value is None or type(value) in _SIMPLE else f"a value of type {type(value).__name__}"


def _same_outcomes(exercise: CodeExercise, found: list[dict]) -> bool | None:
    expected = exercise.inputs.outcomes(exercise._given(exercise.reference))
    if any(difference(plain(right.value), right.value) for right in expected):
        return None
    return len(found) == len(expected) and all(
        not one["failed"] and Outcome(one["value"], changed=one["changed"]).is_right(right)
        for one, right in zip(found, expected, strict=True)
    )


def _right_network(exercise: ModelExercise, found: dict | None) -> bool | None:
    if found is None:
        return None
    if "given" in found:
        return exercise.verdict(tuple(found["given"]), {}).status == "correct"
    if "layers" in found:
        if not _is_small(found["layers"]):
            return False
        return exercise.verdict((nn.Sequential(*map(_layer, found["layers"])),), {}).status == "correct"
    replayer = _Replayer(found["calls"])
    right = exercise.verdict((replayer,), {}).status == "correct"
    return None if replayer.lost else right


def _layers(net: object) -> list[tuple]:
    """Return the layers of a network by their names and numbers; [] where some do more than these say."""
    found = []
    for layer in net if type(net) is nn.Sequential else ():
        if layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
            return []
        if type(layer) is nn.Linear:
            found.append(("Linear", plain(layer.weight), plain(layer.bias)))
        elif type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) != (1, -1):
            return []
        elif type(layer) in _PLAIN_LAYERS.values():
            found.append((type(layer).__name__,))
        elif inner := _layers(layer):
            found += inner
        else:
            return []
    return found


def _is_small(layers: list[tuple]) -> bool:
    weights = [one[1] for one in layers if one[0] == "Linear"]
    return len(layers) <= _DEEPEST and max((max(one.shape) for one in weights), default=0) <= _WIDEST


def _layer(said: tuple) -> nn.Module:
    if said[0] != "Linear":
        return _PLAIN_LAYERS[said[0]]()
    _, weight, bias = said
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    layer.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return layer


class _Recorder(nn.Module):
    """An attempt, and what it returned at each call."""

    def __init__(self, attempt: object) -> None:
        super().__init__()
        self.attempt, self.calls = attempt, []

    def forward(self, *given: object) -> object:
        asked = _fingerprint(given)
        returned = self.attempt(*given)
        self.calls.append((asked, _packed(plain(returned))))
        return returned


class _Replayer(nn.Module):
    """What returns the same as an attempt did, as long as it is called in the same way; then it is `lost`."""

    def __init__(self, calls: list[tuple]) -> None:
        super().__init__()
        self.calls, self.lost = iter(calls), False

    def forward(self, *given: object) -> object:
        asked, returned = next(self.calls, ("", None))
        if self.lost or asked != _fingerprint(given):
            self.lost = True
            raise RuntimeError("called in another way")
        return _unpacked(returned, given[0].device)


def _fingerprint(given: tuple) -> str:
    found = hashlib.sha256()
    for one in given:
        numbers = one.detach().cpu().contiguous().numpy() if isinstance(one, Tensor) else repr(one).encode()
        found.update(f"{getattr(one, 'shape', '')}".encode())
        found.update(numbers)
    return found.hexdigest()


def _packed(value: object) -> object:
    """Return plain data with large tensors of zeros and ones, such as spikes, as bits."""
    if isinstance(value, tuple | list):
        return tuple(map(_packed, value))
    if (
        not isinstance(value, Tensor)
        or not _FEW < value.numel() < _MANY
        or ((value != 0) & (value != 1)).any()
    ):
        return value
    bits = torch.from_numpy(np.packbits(value.bool().numpy()))
    return {"bits": bits, "shape": tuple(value.shape), "dtype": value.dtype}


def _unpacked(value: object, device: torch.device) -> object:
    if isinstance(value, tuple | list):
        return tuple(_unpacked(one, device) for one in value)
    if isinstance(value, dict) and "bits" in value:
        count = math.prod(value["shape"])
        if count > min(_MANY, 8 * value["bits"].numel()):
            raise ValueError("more numbers than bits")
        numbers = np.unpackbits(value["bits"].numpy(), count=count)
        value = torch.from_numpy(numbers).to(value["dtype"]).view(value["shape"])
    return value.to(device) if isinstance(value, Tensor) else value
