"""Confirm a verdict where none of the attempt's code runs: evidence is made beside it, and judged elsewhere.

Lessons don't use this; who marks the notebooks of others does.
"""

import numpy as np
import torch
from torch import Tensor

from coursekit.checks import time_limit
from coursekit.checks.base import Exercise
from coursekit.checks.compare import difference
from coursekit.checks.functions import CodeExercise
from coursekit.checks.isolation import captured_output, pinned
from coursekit.checks.models import BATCH, LIMIT_S, ModelExercise
from coursekit.checks.questions import Quiz
from coursekit.checks.runs import Outcome

_SIMPLE = (bool, int, float, complex, torch.dtype)


def evidence(exercise: Exercise, given: tuple, named: dict) -> object:
    """Return what the verdict on an attempt rests on, as numbers, texts and tensors that can be sent elsewhere.

    For code, what it does on every test input; for a trained network, its outputs; for a question, the answers. None
    where the exercise has no such data, or the attempt is none that could be run.
    """
    if isinstance(exercise, Quiz):
        return {"given": plain(given), "named": plain(named)}
    if exercise._misuse(given, named) or _judges_more_than_outputs(exercise):
        return None
    with pinned():
        if exercise._unfit(given):
            return None
        if isinstance(exercise, CodeExercise):
            return [
                {"value": plain(one.value), "changed": one.changed, "failed": one.error is not None}
                for one in exercise.inputs.outcomes(given)
            ]
        model = exercise._as_network(*given).eval().cpu()
        with captured_output(), time_limit.time_limit(LIMIT_S), torch.no_grad():
            return [plain(model(x)) for x in exercise.held_out().x.split(BATCH)]


def borne_out(exercise: Exercise, found: object) -> bool | None:
    """Return whether evidence is that of a right attempt; None where that can't be told without running it.

    Which network made the outputs can't be told from outside, only whether they reach the floors.
    """
    if isinstance(exercise, Quiz):
        return exercise.verdict(tuple(found["given"]), found["named"]).status == "correct"
    if _judges_more_than_outputs(exercise):
        return None
    with pinned(), captured_output():
        return (
            _same_outcomes(exercise, found)
            if isinstance(exercise, CodeExercise)
            else _reached(exercise, found)
        )


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


def _reached(exercise: ModelExercise, found: list[Tensor]) -> bool:
    split = exercise.held_out()
    for outputs, x in zip(found, split.x.split(BATCH), strict=True):
        if exercise._unfit_outputs(outputs, x, split):
            return False
    outputs = torch.cat(found)
    return bool(outputs.isfinite().all()) and exercise._reached(outputs, split)[0]


def _judges_more_than_outputs(exercise: Exercise) -> bool:
    own = type(exercise)
    return isinstance(exercise, ModelExercise) and (own._judge, own._verdict_on) != (
        ModelExercise._judge,
        ModelExercise._verdict_on,
    )
