"""The exercises of lesson 14, Spiking networks: solutions, classic mistakes, hints."""

import contextlib
import io
import math
import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import data, runtime
from coursekit.checks import ExerciseSet, ModelExercise, NamedFunction, Question, difference, normal, show

lesson = ExerciseSet("Lesson 14")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# What several exercises need ----------------------------------------------------------------------------------


def _leaving_out_default(attempt, *case):
    """What an attempt returns, called without the threshold where that is 1, its default."""
    return attempt(*case[:-1]) if case[-1] == 1.0 else attempt(*case)


def _all_but_spiking(value):
    """What puts `value` where a drive does not pass the threshold."""
    return lambda result, drive, threshold: torch.where(drive > threshold, result, value)


_infinite_if_silent, _zero_if_silent = _all_but_spiking(math.inf), _all_but_spiking(0.0)


def _first_spike(
    ratio=lambda drive, threshold: drive / (drive - threshold),
    log=torch.log,
    scale=lambda t, tau: tau * t,
    silent=_infinite_if_silent,
):
    """The time of the first spike, with what can go wrong as arguments."""

    def attempt(drive, tau, threshold=1.0):
        return silent(scale(log(ratio(drive, threshold)), tau), drive, threshold)

    return attempt


def _coded_type(numbers):
    """The type of a tensor in words; all integers count as one."""
    if numbers.is_floating_point():
        return str(numbers.dtype).removeprefix("torch.")
    return "True and False" if numbers.dtype == torch.bool else "integers"


def _coded(name, result):
    """A result with its type, by name; what is no tensor as it is."""
    return (
        {name: result, "type of its numbers": _coded_type(result)} if isinstance(result, Tensor) else result
    )


# Section 1: one neuron ----------------------------------------------------------------------------------------


@lesson.exercise(
    observe=lambda attempt, drive, tau, threshold: _leaving_out_default(attempt, drive, tau, threshold),
    cases={
        "RI = 2": (torch.tensor([2.0]), 10.0, 1.0),
        "too weak": (torch.tensor([0.9]), 10.0, 1.0),
        "one at the threshold": (torch.tensor([1.0, 3.0]), 5.0, 1.0),
        "no drive, and negative ones": (torch.tensor([0.0, 1.5, -2.0, -0.5]), 8.0, 1.0),
        "six drives": (torch.tensor([4.0, 0.5, 1.2, 10.0, 0.99, 2.5]), 20.0, 1.0),
        "strong drives": (torch.tensor([20.0, 50.0, 8.0]), 15.0, 1.0),
        "a low threshold": (torch.tensor([0.5, 0.25, 0.9, 3.0, -0.3]), 10.0, 0.4),
        "a high threshold": (torch.tensor([1.5, 2.5, 2.0, 6.0]), 12.0, 2.0),
        "float64 numbers": (torch.tensor([1.1, 0.2, 7.0], dtype=torch.float64), 6.0, 1.0),
    },
    hints=[
        "From U = 0 the membrane follows U(t) = RI (1 − e^(−t/τ)). When is it θ?",
        "e^(−t/τ) = 1 − θ/RI, so t = τ ln(RI / (RI − θ)). What comes out where RI is not above θ?",
        "`t = tau * torch.log(drive / (drive - threshold))`, then `torch.where(drive > threshold, t, math.inf)`.",
    ],
)
def first_spike_time(drive, tau, threshold=1.0):
    """Return the time (N,) of the first spike for constant drives RI (N,), in tau's unit; infinite if there is none.

    τ·U′ = −U + RI from U = 0, with a spike when U reaches the threshold; a drive at the threshold never fires.
    """
    t = tau * torch.log(drive / (drive - threshold))
    return torch.where(drive > threshold, t, math.inf)


def _as_computed(result, drive, threshold):
    return result


def _no_nan(**instead):
    return lambda result, drive, threshold: torch.nan_to_num(result, **instead)


_BY_REST = {"ratio": lambda drive, threshold: 1 - threshold / drive, "log": lambda x: -x.log()}


def _from_simulation(dt, before=0):
    """The time at which a simulation with Euler steps of `dt` first has U at the threshold or above."""

    def attempt(drive, tau, threshold=1.0):
        steps = torch.ceil(torch.log1p(-threshold / drive.double()) / math.log1p(-dt / tau))
        return torch.where(drive > threshold, dt * (steps - before), math.inf).to(drive)

    return attempt


def _one_by_one(reaches, time=lambda RI, tau, threshold: tau * math.log(RI / (RI - threshold))):
    def attempt(drive, tau, threshold=1.0):
        return torch.tensor(
            [time(RI, tau, threshold) if reaches(RI, threshold) else math.inf for RI in drive.tolist()]
        )

    return attempt


_SPIKE_RATIOS = {
    "RI is missing in the logarithm, which takes the ratio RI / (RI − θ).": {
        "ratio": lambda drive, threshold: drive - threshold
    },
}
_SPIKE_SCALES = {
    "τ is missing: the logarithm is a pure number, t/τ. Multiply it by `tau`.": {"scale": lambda t, tau: t},
    "The logarithm is t/τ, and it is divided by τ here. Multiply it by `tau`.": {
        "scale": lambda t, tau: t / tau
    },
}
_SPIKE_AT_ONCE = (
    "A drive that does not pass the threshold gets the time 0 here, as if it fired at once. Put "
    "`math.inf` there."
)
_SPIKE_SILENCES = {
    _SPIKE_AT_ONCE: {"silent": _all_but_spiking(0.0)},
}
first_spike_time.slips(_first_spike, _SPIKE_RATIOS, _SPIKE_SCALES, _SPIKE_SILENCES)
first_spike_time.mistakes(
    {
        "The ratio is upside down, so the time comes out negative. RI is larger than RI − θ: take "
        "`drive / (drive - threshold)`.": [
            {"drive / (drive - threshold)": "(drive - threshold) / drive"},
            lambda drive, tau, threshold=1.0: tau * torch.log((drive - threshold) / drive),
        ],
        "The logarithm is not the natural one. The time follows from e^(−t/τ), which takes `torch.log`.": [
            _first_spike(log=torch.log10),
            _first_spike(log=torch.log2),
        ],
        "From e^(−t/τ) = 1 − θ/RI follows t = τ ln(RI / (RI − θ)), with a natural logarithm. Here the "
        "ratio goes into exp, or stands alone.": [_first_spike(log=torch.exp), _first_spike(log=lambda x: x)],
        "A drive that does not pass the threshold gets −1 or nan here. Its first spike never comes: put `math.inf` "
        "there.": [
            _first_spike(silent=_all_but_spiking(-1.0)),
            _first_spike(silent=_all_but_spiking(math.nan)),
        ],
        "Drives that are too weak do not all get `math.inf` here: the logarithm gives nan for some, −inf or a "
        "negative time for others. Ask for the drive: `torch.where(drive > threshold, t, math.inf)`.": [
            _first_spike(silent=lambda t, drive, threshold: torch.where(t.isnan(), math.inf, t)),
            _first_spike(silent=_no_nan(nan=math.inf, posinf=math.inf)),
            *(
                _first_spike(silent=silent, **form)
                for form in ({}, _BY_REST)
                for silent in (
                    _as_computed,
                    lambda t, drive, threshold: torch.where(t < 0, math.inf, t),
                    _no_nan(nan=math.inf),
                    _no_nan(),
                )
            ),
            _first_spike(
                ratio=lambda drive, threshold: drive / (drive - threshold).clamp(min=0), silent=_as_computed
            ),
            *(
                _first_spike(ratio=ratio, silent=_as_computed)
                for least in (1e-12, 1e-10, 1e-9, 1e-8, 1e-6)
                for ratio in (
                    lambda drive, threshold, least=least: drive / (drive - threshold).clamp(min=least),
                    lambda drive, threshold, least=least: 1 / (1 - threshold / drive).clamp(min=least),
                )
            ),
        ],
        "A negative drive gives no nan but a negative time. Ask for the drive: `torch.where(drive > threshold, t, "
        "math.inf)`.": [
            _first_spike(silent=lambda t, drive, threshold: torch.where(t.isnan(), math.inf, t), **_BY_REST)
        ],
        _SPIKE_AT_ONCE: [
            _first_spike(silent=lambda t, drive, threshold: torch.where(drive < threshold, 0, t))
        ],
        "Something else than RI / (RI − θ) goes into the logarithm. U(t) = RI (1 − e^(−t/τ)) reaches θ where "
        "e^(−t/τ) = 1 − θ/RI: solve for t.": [
            _first_spike(ratio=ratio)
            for ratio in (
                lambda drive, threshold: threshold / (drive - threshold),
                lambda drive, threshold: threshold / (threshold - drive),
                lambda drive, threshold: drive / threshold,
                lambda drive, threshold: threshold / drive,
                lambda drive, threshold: 1 / (drive - threshold),
                lambda drive, threshold: drive,
            )
        ],
        "With an absolute value every drive gets a time, also those that never reach the threshold. Leave "
        "it out, and put `math.inf` where RI is not above θ.": [
            _first_spike(log=lambda x: x.abs().log(), silent=_as_computed),
            _first_spike(
                ratio=lambda drive, threshold: drive / (drive - threshold).abs(), silent=_as_computed
            ),
            _first_spike(log=lambda x: x.log().abs(), silent=_as_computed),
        ],
        "The threshold is taken as 1, whatever it is. Use `threshold` in the ratio and in the comparison.": [
            lambda drive, tau, threshold=1.0: first_spike_time.reference(drive, tau),
            {"(drive - threshold)": "(drive - 1)"},
            {"drive > threshold": "drive > 1"},
        ],
        "This is a neuron without a leak: it reaches θ after τ θ/RI. With the leak, U(t) = RI (1 − "
        "e^(−t/τ)), which takes longer.": [
            lambda drive, tau, threshold=1.0: torch.where(
                drive > threshold, tau * threshold / drive, math.inf
            ),
            lambda drive, tau, threshold=1.0: torch.where(drive > 0, tau * threshold / drive, math.inf),
        ],
        "Only the drives that fire come back, so the times no longer belong to their neurons. Keep all N: "
        "`torch.where(drive > threshold, t, math.inf)`.": lambda drive, tau, threshold=1.0: (
            first_spike_time.reference(drive[drive > threshold], tau, threshold)
        ),
        "A single time came back, that of the neuron which fires first. Return one for each of the N neurons.": (
            lambda drive, tau, threshold=1.0: first_spike_time.reference(drive, tau, threshold).min()
        ),
        "`if` gives one answer for all, but each of the N drives needs its own. Use "
        "`torch.where(drive > threshold, t, math.inf)`.": [
            lambda drive, tau, threshold=1.0: (
                tau * torch.log(drive / (drive - threshold))
                if drive > threshold
                else torch.full_like(drive, math.inf)
            ),
            lambda drive, tau, threshold=1.0: (
                torch.tensor(math.inf)
                if (drive <= threshold).any()
                else tau * torch.log(drive / (drive - threshold))
            ),
            lambda drive, tau, threshold=1.0: (
                torch.full_like(drive, math.inf)
                if (drive <= threshold).any()
                else tau * torch.log(drive / (drive - threshold))
            ),
        ],
        "At RI = θ this divides by 0. There the membrane creeps towards θ and never gets there: the time is infinite "
        "for `drive <= threshold`.": [
            _one_by_one(lambda drive, threshold: drive >= threshold),
            _one_by_one(
                lambda drive, threshold: not drive < threshold,
                lambda RI, tau, threshold: -tau * math.log(1 - threshold / RI),
            ),
        ],
        "`math.log` takes a single number above 0, and RI − θ is negative for a weak drive. `torch.log` takes the "
        "whole tensor; or go through the drives, and ask of each whether it is above θ.": [
            _one_by_one(lambda RI, threshold: True),
            _one_by_one(
                lambda RI, threshold: True, lambda RI, tau, threshold: -tau * math.log(1 - threshold / RI)
            ),
            lambda drive, tau, threshold=1.0: tau * math.log(drive / (drive - threshold)),
        ],
        "A list came back. Make a tensor of it, `torch.tensor(times)`, or compute with the whole tensor at once.": [
            lambda drive, tau, threshold=1.0: first_spike_time.reference(drive, tau, threshold).tolist()
        ],
        "These are times of a simulation: they come in steps of dt, and Euler's method adds an error of "
        "its own. Solve U(t) = RI (1 − e^(−t/τ)) = θ for t.": [
            _from_simulation(dt, before) for dt in (0.1, 0.01, 0.001, 1.0) for before in (0, 1)
        ],
    }
)
first_spike_time.pairs_of_slips(
    _first_spike,
    {
        "The ratio is upside down.": {"ratio": lambda drive, threshold: (drive - threshold) / drive},
        "RI is missing in the logarithm.": {"ratio": lambda drive, threshold: drive - threshold},
        "The logarithm is not the natural one.": {"log": torch.log10},
    },
    {
        "τ is missing: multiply by it.": {"scale": lambda t, tau: t},
        "Weak drives need `math.inf`, not 0.": {"silent": _all_but_spiking(0.0)},
    },
)
first_spike_time.pairs_of_slips(
    _first_spike,
    {"τ is missing: multiply by it.": {"scale": lambda t, tau: t}},
    {
        "Weak drives need `math.inf`, not what the formula gives.": {"silent": _as_computed},
        "Weak drives need `math.inf`, not 0.": {"silent": _all_but_spiking(0.0)},
    },
)


# Section 2: a layer -------------------------------------------------------------------------------------------


def _stepping(slope):
    """A step whose gradient is that of an arctan."""

    def spike(v):
        soft = torch.atan(math.pi * slope * v) / math.pi
        return (v > 0).to(v.dtype) + (soft - soft.detach())

    return spike


_ARCTAN = NamedFunction("a step with the gradient of an arctan", _stepping(1.0))
_STEEP = NamedFunction("a step with the gradient of a steeper arctan", _stepping(2.5))
_HARD = NamedFunction("a step without gradient", lambda v: (v > 0).to(v.dtype))
_GRADIENT = "gradient of a weighted sum with respect to current"


def _currents(*shape, seed, mean=0.5, dtype=torch.float32):
    return mean + 0.6 * normal(*shape, seed=seed, dtype=dtype)


def _lif_gradient(attempt, current, *others):
    """The gradient of a weighted sum of spikes and membrane with respect to the current; 0 where none is recorded."""
    leaf = current.clone().requires_grad_()
    results = attempt(leaf.clone(), *others)
    total = sum(
        (normal(*one.shape, seed=seed, dtype=current.dtype) * one).sum() for seed, one in enumerate(results)
    )
    if not total.requires_grad:
        return torch.zeros_like(current)
    return torch.autograd.grad(total, leaf, materialize_grads=True)[0]


_LIF_EXPECTED = {}  # by case: what the solution gives, and its gradient


def _spikes_membrane_and_gradient(attempt, current, beta, threshold, spike):
    """What comes back; where it is right the gradient is that of the attempt, elsewhere that of the solution."""
    before = current.clone()
    result = attempt(current, beta, threshold, spike)
    if not isinstance(result, tuple | list) or len(result) != 2:
        return result
    case = before, beta, threshold, spike
    key = (*before.shape, before.numpy().tobytes(), *case[1:])
    if key not in _LIF_EXPECTED:
        _LIF_EXPECTED[key] = lif_layer.reference(*case), _lif_gradient(lif_layer.reference, *case)
    right, gradient = _LIF_EXPECTED[key]
    return {
        "spikes": result[0],
        "membrane": result[1],
        _GRADIENT: gradient if difference(tuple(result), right) else _lif_gradient(attempt, *case),
    }


@lesson.exercise(
    observe=_spikes_membrane_and_gradient,
    cases={
        "seven steps of 0.6": (torch.full((7, 1, 1), 0.6), 0.5, 1.0, _ARCTAN),
        "a single step": (torch.tensor([[[0.5, 1.5, -0.4], [2.5, 0.2, 1.2]]]), 0.9, 1.0, _ARCTAN),
        "exactly at the threshold": (
            torch.tensor([0.5, 0.75, 0.25, 1.0, 0.5]).reshape(5, 1, 1),
            0.5,
            1.0,
            _ARCTAN,
        ),
        "ordinary currents": (_currents(6, 2, 3, seed=10), 0.8, 1.0, _ARCTAN),
        "no leak, β = 1": (_currents(5, 3, 2, seed=20, mean=0.3), 1.0, 1.0, _ARCTAN),
        "no memory, β = 0": (_currents(4, 2, 5, seed=30, mean=0.8), 0.0, 1.0, _ARCTAN),
        "a low threshold": (_currents(7, 2, 4, seed=40, mean=0.2), 0.7, 0.4, _STEEP),
        "as many examples as steps": (_currents(4, 4, 2, seed=50), 0.9, 1.5, _ARCTAN),
        "all sizes equal": (_currents(3, 3, 3, seed=60, mean=0.7), 0.6, 1.0, _STEEP),
        "so strong that it fires at every step": (3 + 0.2 * normal(4, 1, 3, seed=70), 0.5, 1.0, _ARCTAN),
        "spikes without a gradient": (_currents(5, 2, 2, seed=80), 0.75, 1.0, _HARD),
        "float64 numbers": (_currents(3, 4, 2, seed=91, dtype=torch.float64), 0.85, 0.8, _ARCTAN),
    },
    hints=[
        "Loop over the time steps, `for now in current`. What does a step need of the one before?",
        "U and S start as zeros of shape (N, units). In each step first U, from the old U and the old S, "
        "then S from the new U; the S in the reset is `S.detach()`.",
        "`U = beta * U + now - threshold * S.detach()`, then `S = spike(U - threshold)`. Collect both in lists and "
        "`torch.stack` them.",
    ],
)
def lif_layer(current, beta, threshold, spike):
    """Return spikes and membrane, each (T, N, units), of leaky integrate-and-fire neurons with current (T, N, units).

    U[t] = beta·U[t−1] + current[t] − threshold·S[t−1] and S[t] = spike(U[t] − threshold), from U = 0 and S = 0.
    `spike` returns 1 where its argument is above 0, else 0, and has a gradient of its own. The reset, the last
    term, carries no gradient.
    """
    U = S = torch.zeros_like(current[0])
    spikes, membrane = [], []
    for now in current:
        U = beta * U + now - threshold * S.detach()
        S = spike(U - threshold)
        spikes.append(S)
        membrane.append(U)
    return torch.stack(spikes), torch.stack(membrane)


def _stacked(spikes, membrane):
    return torch.stack(spikes), torch.stack(membrane)


def _lif(
    steps=lambda current: current.unbind(0),
    start=lambda inputs: torch.zeros_like(inputs[0]),
    before=lambda U, S, threshold: U,
    charge=lambda U, now, beta: beta * U + now,
    reset=lambda V, S, threshold: V - threshold * S.detach(),
    fire=lambda spike, U, threshold: spike(U - threshold),
    after=lambda U, S, threshold: U,
    joined=_stacked,
):
    """The loop over the steps, with what can go wrong as arguments; `after` is what is stored and carried on."""

    def attempt(current, beta, threshold, spike):
        inputs = steps(current)
        U, S = start(inputs), torch.zeros_like(inputs[0])
        spikes, membrane = [], []
        for now in inputs:
            U = reset(charge(before(U, S, threshold), now, beta), S, threshold)
            S = fire(spike, U, threshold)
            U = after(U, S, threshold)
            spikes.append(S)
            membrane.append(U)
        return joined(spikes, membrane)

    return attempt


def _no_reset(V, S, threshold):
    return V


def _lowered(U, S, threshold):
    return U - threshold * S.detach()


def _lowered_recording(U, S, threshold):
    return U - threshold * S


def _emptied(U, S, threshold):
    return U * (1 - S.detach())


def _by_hand(spike, U, threshold):
    return (U - threshold > 0).to(U.dtype)


def _not_recorded(current, beta, threshold, spike):
    with torch.no_grad():
        return lif_layer.reference(current, beta, threshold, spike)


def _batch_first(current):
    return current.unbind(1)


def _two_current_starts(current, beta, threshold, spike):
    """The first current is the first membrane, and the loop begins with the second; the first step cannot fire."""
    U, S = current[0], torch.zeros_like(current[0])
    spikes, membrane = [S], [U]
    for now in current[1:]:
        U = beta * U + now - threshold * S.detach()
        S = spike(U - threshold)
        spikes.append(S)
        membrane.append(U)
    return torch.stack(spikes), torch.stack(membrane)


def _over_examples(dim):
    """The loop over the batch, from zeros of the right shape (N, units)."""

    def attempt(current, beta, threshold, spike):
        U = S = torch.zeros(current.shape[1:], dtype=current.dtype)
        spikes, membrane = [], []
        for now in current.unbind(1):
            U = beta * U + now - threshold * S.detach()
            S = spike(U - threshold)
            spikes.append(S)
            membrane.append(U)
        return torch.stack(spikes, dim), torch.stack(membrane, dim)

    return attempt


_CHARGES = {
    "The leak is missing: of the old membrane only beta·U is left in the next step.": {
        "charge": lambda U, now, beta: U + now
    },
}
_RESETS = {
    "The reset is missing: after a spike the next step subtracts the threshold, `- threshold * S.detach()`.": {
        "reset": _no_reset
    },
}
_FIRINGS = {
    "`spike` gets U itself, so every positive membrane fires. It compares its argument with 0: give it `U "
    "- threshold`.": {"fire": lambda spike, U, threshold: spike(U)},
    "A membrane exactly at the threshold fires here. `spike` decides, and it takes only what is above 0: "
    "`spike(U - threshold)`, which has the gradient, too.": {
        "fire": lambda spike, U, threshold: (U - threshold >= 0).to(U.dtype)
    },
}
lif_layer.slips(_lif, _CHARGES, _RESETS, _FIRINGS)
lif_layer.mistakes(
    {
        "The current is multiplied by β, or by 1 − β. It enters as it is, and only the old membrane leaks: "
        "`beta * U + now`.": [
            _lif(charge=lambda U, now, beta: beta * (U + now)),
            _lif(charge=lambda U, now, beta: beta * U + (1 - beta) * now),
            _lif(charge=lambda U, now, beta: (1 - beta) * U + beta * now),
        ],
        "S starts as a number, and a number has no `.detach()`. Start both U and S as "
        "`torch.zeros_like(current[0])`.": {"U = S = torch.zeros_like(current[0])": "U = S = 0"},
        "The numbers are right, but a gradient flows through the reset, which should carry none. Detach "
        "the spikes there: `threshold * S.detach()`.": [{"S.detach()": "S"}],
        "The numbers are right, but no gradient flows back through the spikes. Make them with `spike(U - "
        "threshold)`, and detach them in the reset only.": [
            _lif(fire=_by_hand),
            *(
                _lif(fire=lambda spike, U, threshold, at_0=at_0: torch.heaviside(U - threshold, at_0(U)))
                for at_0 in (lambda U: torch.zeros(1), lambda U: torch.tensor(0.0), lambda U: U.new_zeros(1))
            ),
            {"spike(U - threshold)": "spike(U - threshold).detach()"},
            _lif(fire=lambda spike, U, threshold: spike((U - threshold).detach())),
        ],
        "The numbers are right, but no gradient reaches the earlier currents, or none of them at all: something is "
        "detached on the way. Detach S in the reset, and nothing else.": [
            {"beta * U": "beta * U.detach()"},
            _lif(before=lambda U, S, threshold: U.detach(), reset=lambda V, S, threshold: V - threshold * S),
            _not_recorded,
            lambda current, *others: lif_layer.reference(current.detach(), *others),
        ],
        "The reset leaks here: β multiplies U − θ·S. In this neuron the whole threshold comes off, outside of the "
        "product with β: `beta * U + now - threshold * S.detach()`.": [
            _lif(before=_lowered, reset=_no_reset),
            _lif(before=_lowered_recording, reset=_no_reset),
        ],
        "The membrane is lowered in the step of the spike itself. Store and carry on U as it fired; the reset is a "
        "term of the next step, −θ·S[t−1].": [
            _lif(after=_lowered, reset=_no_reset),
            _lif(after=_lowered_recording, reset=_no_reset),
        ],
        "After a spike the membrane is set to 0, so what lay above the threshold is lost. Here the reset subtracts: "
        "`- threshold * S.detach()` in the next step.": [
            _lif(before=_emptied, reset=_no_reset),
            _lif(after=_emptied, reset=_no_reset),
            _lif(reset=_emptied),
            _lif(before=lambda U, S, threshold: U * (1 - S), reset=_no_reset),
            _lif(after=lambda U, S, threshold: U * (1 - S), reset=_no_reset),
        ],
        "The loop runs over the batch, axis 1. Time is axis 0: `for now in current`, or `current[t]` for t in "
        "`range(len(current))`.": [
            _lif(steps=_batch_first),
            _lif(
                steps=_batch_first,
                joined=lambda spikes, membrane: (torch.stack(spikes, dim=1), torch.stack(membrane, dim=1)),
            ),
            _over_examples(0),
            _over_examples(1),
        ],
        "The stacked steps are not on axis 0 here, where time belongs: `torch.stack(spikes)`, without `dim`.": [
            _lif(joined=lambda spikes, membrane, join=join: (join(spikes), join(membrane)))
            for join in (
                lambda steps: torch.stack(steps, dim=1),
                lambda steps: torch.stack(steps, dim=2),
                lambda steps: torch.stack(steps, dim=-1),
                lambda steps: torch.cat(steps, dim=1),
            )
        ],
        "`cat` joins along the batch; `torch.stack` makes the axis of time.": _lif(
            joined=lambda spikes, membrane: (torch.cat(spikes), torch.cat(membrane))
        ),
        "Two lists came back. `torch.stack(spikes)` and `torch.stack(membrane)` make tensors (T, N, units) of them.": (
            _lif(joined=lambda spikes, membrane: (spikes, membrane))
        ),
        "The threshold is taken as 1: use `threshold` in `spike(U - threshold)` and in the reset.": [
            {"spike(U - threshold)": "spike(U - 1)"},
            {"threshold * S.detach()": "S.detach()"},
            {"spike(U - threshold)": "spike(U - 1)", "threshold * S.detach()": "S.detach()"},
        ],
        "The reset takes off 1, whatever the threshold, and is not detached: `- threshold * S.detach()`.": {
            "threshold * S.detach()": "S"
        },
        "The argument is `U - threshold`, without dividing, or the slope changes.": {
            "U - threshold)": "U / threshold - 1)"
        },
        "The reset comes one step late, from S[t−2]. A spike of step t − 1 takes the threshold off in step t: keep S "
        "from one step to the next.": {"S.detach()": "(spikes[-2] if len(spikes) > 1 else 0 * S).detach()"},
        "Only one of the two came back, or a single tensor of both. Return a pair, spikes and membrane.": [
            _lif(joined=lambda spikes, membrane: torch.stack(spikes)),
            _lif(joined=lambda spikes, membrane: torch.stack(membrane)),
            _lif(joined=lambda spikes, membrane: torch.stack([torch.stack(spikes), torch.stack(membrane)])),
        ],
        "The membrane of the last step appears at every step: one tensor was changed in place and stored "
        "again and again. Make a new U in each step.": _lif(
            joined=lambda spikes, membrane: (torch.stack(spikes), torch.stack([membrane[-1]] * len(membrane)))
        ),
        "The membrane starts with the first current, though it should start from 0. Begin with "
        "`torch.zeros_like(current[0])`, and let the loop bring in all currents.": [
            {"U = S = torch.zeros_like(current[0])": "U, S = current[0], torch.zeros_like(current[0])"},
            _two_current_starts,
            _lif(start=lambda inputs: inputs[0], steps=lambda current: current.unbind(0)[1:]),
        ],
        "The two have changed places: return the spikes first, then the membrane.": {
            "torch.stack(spikes), torch.stack(membrane)": "torch.stack(membrane), torch.stack(spikes)"
        },
        "Two slips. The order: return the spikes first, then the membrane. And `spike` needs `U - threshold`.": {
            "torch.stack(spikes), torch.stack(membrane)": "torch.stack(membrane), torch.stack(spikes)",
            "U - threshold)": "U)",
        },
        "Each step takes the current of the step before, and the last current is lost. Step t takes `current[t]`, "
        "and only U and S come from step t − 1.": _lif(
            steps=lambda current: [torch.zeros_like(current[0]), *current[:-1]]
        ),
        "`if` asks for one answer about all neurons, but each has its own. `spike(U - threshold)` answers for all at "
        "once, and has the gradient.": _lif(
            fire=lambda spike, U, threshold: torch.ones_like(U) if U - threshold > 0 else torch.zeros_like(U)
        ),
    }
)
lif_layer.pairs_of_slips(
    _lif,
    {
        "The leak is missing.": {"charge": lambda U, now, beta: U + now},
        "The current should not be multiplied by β.": {"charge": lambda U, now, beta: beta * (U + now)},
        "The current should not be multiplied by 1 − β.": {
            "charge": lambda U, now, beta: beta * U + (1 - beta) * now
        },
    },
    {
        "The reset is missing.": {"reset": _no_reset},
        "The reset should subtract the threshold, not set U to 0.": {"before": _emptied, "reset": _no_reset},
        "The reset belongs in the next step, outside of what is stored.": {
            "after": _lowered,
            "reset": _no_reset,
        },
        "`spike` needs `U - threshold`.": {"fire": lambda spike, U, threshold: spike(U)},
    },
)
lif_layer.pairs_of_slips(
    _lif,
    {"The spikes are made by hand, without a gradient: use `spike`.": {"fire": _by_hand}},
    {"U is detached from step to step.": {"before": lambda U, S, threshold: U.detach()}},
)


# Section 3: a rate code ---------------------------------------------------------------------------------------


_RATE_DRAWS = 2_400  # steps that are judged for each entry, over all calls
_RATE_LAWS = [  # the chance of a spike for numbers x: the right one first
    lambda x, steps: x,
    lambda x, steps: x**2,
    lambda x, steps: x / steps,
    lambda x, steps: x / 2,
    lambda x, steps: (2 * x).clamp(max=1),
    lambda x, steps: x.sqrt(),
    lambda x, steps: (x > 0.5).double(),
    lambda x, steps: (x > 0).double(),
    lambda x, steps: 1 - x,
    lambda x, steps: torch.sigmoid(x),
    lambda x, steps: torch.special.ndtr(x),
    lambda x, steps: torch.special.ndtr(-x),
    lambda x, steps: torch.full_like(x, 0.5),
]


def _rate_named(rates, x, steps, draws):
    """The rates of the law that explains those found, the right one before others; else rounded ones."""
    fitting = []
    for law in _RATE_LAWS:
        chance = law(x, steps)
        if ((rates - chance).abs() <= 6 * (chance * (1 - chance) / draws).sqrt() + 1e-9).all():
            fitting.append(chance)
    if fitting and fitting[0] is x:
        return x
    return min(
        fitting, key=lambda chance: (rates - chance).square().sum(), default=rates.mul(10).round() / 10
    )


def _rate_values(spikes, x):
    """Which numbers there are, in words."""
    if ((spikes == 0) | (spikes == 1)).all():
        return "0 and 1"
    if (spikes == x).all():
        return "x itself"
    return "0 and x" if ((spikes == 0) | (spikes == x)).all() else "others than 0 and 1"


def _rate_facts(attempt, x, steps):
    """What can be seen of the spikes of several calls: random numbers themselves cannot be compared."""
    x_before, first = x.clone(), attempt(x, steps)
    if isinstance(first, list | tuple | np.ndarray):
        return type(first)() if not isinstance(first, np.ndarray) else np.zeros(0)
    if not isinstance(first, Tensor):
        return first
    p = x_before.double()
    facts = {
        "shape": f"{(steps, *x_before.shape)}",
        "type of its numbers": _coded_type(x_before),
        "its numbers": "0 and 1",
        "firing rate of each entry": p,
        "draws of different steps": "independent",
        "axes of x along which the draws are shared": "none",
        "the number of spikes": "varies",
        "a second call gives": "other spikes",
    }
    if first.shape != (steps, *x_before.shape):
        return facts | {"shape": f"{tuple(first.shape)}"}
    calls = min(24, _RATE_DRAWS // steps)
    spikes = torch.stack([first] + [attempt(x_before.clone(), steps) for _ in range(calls - 1)]).double()
    facts |= {"type of its numbers": _coded_type(first), "its numbers": _rate_values(spikes, p)}
    if facts["its numbers"] != "0 and 1":
        return facts
    return facts | _rate_seen(spikes, p, steps)


def _rate_seen(spikes, p, steps):
    """What can be seen of zeros and ones (calls, steps, …)."""
    draws, rates = len(spikes) * steps, spikes.mean(dim=(0, 1))
    by_chance = (p > 0) & (p < 1)
    if not by_chance.any():
        return {"firing rate of each entry": _rate_named(rates, p, steps, draws)}
    repeated = bool((spikes == spikes[:1]).all())
    facts = {"a second call gives": "the same spikes" if repeated else "other spikes"}
    if (spikes == spikes[:, :1]).all():
        return (
            facts
            | {"draws of different steps": "the same"}
            | ({"firing rate of each entry": rates} if repeated else {})
        )
    draws = steps if repeated else draws
    limit, off = 6 / draws**0.5, spikes - rates
    spread = off.square().mean(dim=(0, 1)).clamp(min=1e-9)
    later = [(off[:, lag:] * off[:, :-lag]).mean(dim=(0, 1)) / spread for lag in (1, 2)]
    shared = []
    for axis in range(p.ndim):
        if (n := p.shape[axis]) > 1:
            one, other = (off.narrow(axis + 2, start, n - 1) for start in (0, 1))
            norm = spread.narrow(axis, 0, n - 1) * spread.narrow(axis, 1, n - 1)
            if ((one * other).mean(dim=(0, 1)).abs() > limit * norm.sqrt()).any():
                shared.append(str(axis))
    surplus = (spikes.sum(dim=1) - p * steps)[:, by_chance].abs().max()
    return facts | {
        "firing rate of each entry": _rate_named(rates, p, steps, draws),
        "draws of different steps": "dependent" if torch.stack(later).abs().max() > limit else "independent",
        "axes of x along which the draws are shared": ", ".join(shared) or "none",
        "the number of spikes": "x · steps in every call" if surplus <= 1 else "varies",
    }


@lesson.exercise(
    observe=_rate_facts,
    cases={
        "black and white, three steps": (torch.tensor([0.0, 1.0]), 3),
        "one step": (torch.tensor([1.0, 0.0, 1.0]), 1),
        "as many steps as entries": (torch.tensor([0.0, 1.0, 1.0, 0.0]), 4),
        "a single number": (torch.tensor(0.3), 600),
        "grey values": (torch.tensor([0.1, 0.35, 0.6, 0.9]), 600),
        "two rows of three": (torch.tensor([[0.4, 0.45, 0.3], [0.35, 0.55, 0.4]]), 600),
        "one row": (torch.tensor([[0.2, 0.3, 0.25, 0.7, 0.8]]), 800),
        "images": (torch.tensor([[[[0.3, 0.4], [0.45, 0.35]]], [[[0.4, 0.3], [0.25, 0.4]]]]), 600),
        "float64": (torch.tensor([0.0, 0.15, 0.8, 1.0], dtype=torch.float64), 600),
    },
    hints=[
        "A number r drawn evenly from [0, 1) is below x with probability x.",
        "Each step and each entry of x needs a draw of its own: how many numbers are these, and in which shape?",
        "`torch.rand(steps, *x.shape) < x` is True with chance x. Bring it into the dtype of x.",
    ],
)
def rate_code(x, steps):
    """Return random spikes (steps, *x.shape), zeros and ones in the dtype of x: at every step, x is the chance of a 1.

    x in [0, 1] may have any shape. The draws of different steps, and of different entries of x, are independent.
    """
    return (torch.rand(steps, *x.shape, dtype=x.dtype, device=x.device) < x).to(x.dtype)


def _rate(
    draw=lambda x, steps: torch.rand(steps, *x.shape),
    fires=lambda r, x: r < x,
    joined=lambda spikes, x: spikes.to(x.dtype),
):
    """Random spikes, with what can go wrong as arguments."""
    return lambda x, steps: joined(fires(draw(x, steps), x), x)


def _rate_seeded(x, steps):
    torch.manual_seed(42)
    return torch.rand(steps, *x.shape)


def _rate_evenly(x, steps):
    t = torch.arange(1, steps + 1, dtype=x.dtype).reshape(-1, *[1] * x.ndim)
    return ((t * x).floor() - ((t - 1) * x).floor()).to(x.dtype)


def _rate_first_steps(x, steps):
    t = torch.arange(steps).reshape(-1, *[1] * x.ndim)
    return (t < (x * steps).round()).to(x.dtype)


def _rate_exact_number(x, steps):
    places = torch.rand(steps, *x.shape).argsort(dim=0)
    return (places < (x * steps).round()).to(x.dtype)


_RATE_DRAWN = {
    "All entries of x share one draw at each step, so they fire together. Give each entry its own: "
    "`torch.rand(steps, *x.shape)`.": {"draw": lambda x, steps: torch.rand(steps, *[1] * x.ndim)},
}
_RATE_FIRES = {
    "The chance of a spike is 1 − x here, so dark entries fire often. A draw r from [0, 1) gives a spike where "
    "`r < x`.": {"fires": lambda r, x: r > x},
    "The chance of a spike is x² here: x comes in twice. Compare each draw with x once, `torch.rand(…) < x`.": {
        "fires": lambda r, x: r < x * x
    },
    "The chance of a spike is x / steps here. It is x at every step: do not divide by `steps`.": {
        "draw": lambda x, steps: torch.rand(steps, *x.shape) * steps
    },
}
_RATE_JOINED = {
    "The result is always float32. Bring the spikes into the dtype of x: `.to(x.dtype)`.": {
        "joined": lambda spikes, x: spikes.float()
    },
    "A spike has the height x here, and it is 1 for every entry. x is only the chance: leave out the product with "
    "x.": {"joined": lambda spikes, x: spikes * x},
}
rate_code.slips(_rate, _RATE_DRAWN, _RATE_FIRES, _RATE_JOINED)
rate_code.mistakes(
    {
        "Every step repeats the same draw, so a spike comes at all steps or at none. Draw anew for each step: "
        "`torch.rand(steps, *x.shape)`.": [
            lambda x, steps: torch.bernoulli(x).expand(steps, *x.shape),
            _rate(lambda x, steps: torch.rand_like(x).expand(steps, *x.shape)),
            lambda x, steps: (torch.rand(()) < x).to(x.dtype).expand(steps, *x.shape),
            lambda x, steps: torch.bernoulli(x).repeat(steps, 1),
        ],
        "The chance of a spike is 1 − x here, so dark entries fire often. A draw r from [0, 1) gives a spike where "
        "`r < x`.": [{"< x": "> x"}, _rate(fires=lambda r, x: r < 1 - x)],
        "These are not spikes in the dtype of x: the result holds True and False, or integers. Convert it: "
        "`.to(x.dtype)`.": [
            {".to(x.dtype)": ""},
            _rate(joined=lambda spikes, x: spikes.int()),
        ],
        "`torch.randn` draws normal numbers, which are not below x with chance x. Use `torch.rand`, even in [0, 1).": [
            _rate(lambda x, steps: torch.randn(steps, *x.shape)),
            _rate(lambda x, steps: torch.randn(steps, *x.shape), lambda r, x: r > x),
        ],
        "Each entry of x is rounded to 0 or 1, without chance. At every step draw a number from [0, 1), and fire where "
        "it is below x.": [
            lambda x, steps: (x > 0.5).to(x.dtype).expand(steps, *x.shape),
            lambda x, steps: x.round().expand(steps, *x.shape),
        ],
        "This is x itself at every step. x is the chance of a spike: compare it with random numbers, "
        "`torch.rand(steps, *x.shape) < x`.": lambda x, steps: x.expand(steps, *x.shape),
        "The result is not a train of zeros and ones. Compare draws with x, `torch.rand(…) < x`, and return what comes "
        "out as 0 and 1.": [
            lambda x, steps: torch.rand(steps, *x.shape, dtype=x.dtype),
            lambda x, steps: torch.rand(steps, *x.shape, dtype=x.dtype) * x,
            lambda x, steps: x - torch.rand(steps, *x.shape, dtype=x.dtype),
            lambda x, steps: torch.poisson(x.expand(steps, *x.shape)) + 2,
        ],
        "The chance of a spike is ½ for every entry: x does not come in. Compare draws with x, "
        "`torch.rand(…) < x`.": [
            lambda x, steps: torch.randint(0, 2, (steps, *x.shape)).to(x.dtype),
            _rate(fires=lambda r, x: r < 0.5),
        ],
        "x · steps spikes come in a fixed pattern, the same at every call. Leave it to chance, step by step: "
        "`torch.rand(steps, *x.shape) < x`.": [_rate_evenly, _rate_first_steps],
        "There are exactly x · steps spikes at every call, so the steps depend on each other. Draw for each step on "
        "its own, and let the number vary.": _rate_exact_number,
        "The random generator is seeded inside the function, so every call gives the same spikes. Leave the seed to "
        "the caller.": [
            _rate(_rate_seeded),
            _rate(
                lambda x, steps: torch.rand(steps, *x.shape, generator=torch.Generator().manual_seed(0)),
            ),
        ],
        "Time is the last axis here. Put it first: `torch.rand(steps, *x.shape)`.": [
            lambda x, steps: (torch.rand(*x.shape, steps) < x.unsqueeze(-1)).to(x.dtype),
            _rate(lambda x, steps: torch.rand(*x.shape, steps)),
        ],
        "The axis of time is missing: the result has the shape of x. Return the spikes of all steps, (steps, "
        "*x.shape).": [
            lambda x, steps: torch.bernoulli(x),
            lambda x, steps: rate_code.reference(x, steps).mean(dim=0),
        ],
        "The draws do not fit every shape of x. Each step and each entry needs one of its own: `torch.rand(steps, "
        "*x.shape)`.": [
            _rate(lambda x, steps: torch.rand(steps)),
            _rate(lambda x, steps: torch.rand(steps, 1)),
            _rate(lambda x, steps: torch.rand(steps, len(x))),
            _rate(lambda x, steps: torch.rand(steps, x.shape)),
        ],
        "`repeat` lengthens the first axis; time needs a new one: `x.expand(steps, *x.shape)`.": [
            lambda x, steps: torch.bernoulli(x.repeat(steps)),
            lambda x, steps: torch.bernoulli(x.repeat(steps, 1)),
        ],
        "A list or a NumPy array came back. Return one tensor, (steps, *x.shape): `torch.stack` joins the "
        "steps.": [
            lambda x, steps: [torch.bernoulli(x) for _ in range(steps)],
            lambda x, steps: rate_code.reference(x, steps).numpy(),
        ],
    }
)
_RATE_DRAWN_IN_SHORT = {
    "Every step repeats the same draw: draw for all steps, `torch.rand(steps, *x.shape)`.": {
        "draw": lambda x, steps: torch.rand_like(x).expand(steps, *x.shape)
    },
    "All entries share one draw at each step: each needs its own.": {
        "draw": lambda x, steps: torch.rand(steps, *[1] * x.ndim)
    },
    "The seed inside the function gives the same spikes at every call.": {"draw": _rate_seeded},
}
_RATE_FIRES_IN_SHORT = {
    "And the chance is 1 − x: fire where the draw is below x.": {"fires": lambda r, x: r > x},
}
_RATE_JOINED_IN_SHORT = {
    "The result has no floats: convert it, `.to(x.dtype)`.": {"joined": lambda spikes, x: spikes},
}
rate_code.pairs_of_slips(_rate, dict(list(_RATE_DRAWN_IN_SHORT.items())[1:]), _RATE_FIRES_IN_SHORT)
rate_code.pairs_of_slips(_rate, _RATE_DRAWN_IN_SHORT, _RATE_JOINED_IN_SHORT)
rate_code.pairs_of_slips(_rate, _RATE_FIRES_IN_SHORT, _RATE_JOINED_IN_SHORT)


# Section 3: events --------------------------------------------------------------------------------------------


def _delta_signal(*shape, seed):
    """A random walk in eighths."""
    return (2 * normal(*shape, seed=seed)).round().cumsum(dim=0) / 8


@lesson.exercise(
    observe=lambda attempt, signal, threshold: _coded("events", attempt(signal, threshold)),
    cases={
        "one pixel, by hand": (torch.tensor([0.0, 0.25, 0.5, 0.5, 0.0]), 0.5),
        "one step": (torch.tensor([[0.5, 1.0, -2.0]]), 0.25),
        "a jump of three thresholds": (torch.tensor([1.0, 2.5, 2.5, 2.5, 2.5, -0.5, -0.5]), 0.5),
        "slow ramps, one pixel up and one down": (
            torch.stack([torch.arange(9.0), 12 - torch.arange(9.0)], dim=1) / 8,
            0.25,
        ),
        "a jump that is gone before it is caught up": (torch.tensor([0.0, 2.0, 0.0, 0.0, -1.0]), 0.5),
        "a flicker below the threshold": (torch.tensor([[2.0], [2.25], [1.75], [2.25], [2.0], [1.5]]), 0.5),
        "two pixels": (_delta_signal(7, 2, seed=1), 0.25),
        "as many pixels as steps": (_delta_signal(6, 6, seed=2), 0.5),
        "images": (_delta_signal(8, 2, 3, seed=3), 0.25),
        "whole numbers, threshold 2": (16 * _delta_signal(9, 4, seed=4), 2.0),
        "float64": (_delta_signal(5, 3, seed=5).double(), 0.125),
    },
    hints=[
        "Go through the steps with a level for each pixel. An event moves it by one threshold, whatever the size of "
        "the jump; without an event it stays.",
        "With `now` the values of a step, `now - level >= threshold` is where the events are 1. And −1?",
        "`event = (now - level >= threshold).to(signal.dtype) - (level - now >= threshold).to(signal.dtype)`, then "
        "`level = level + threshold * event`. Stack the events.",
    ],
)
def delta_events(signal, threshold):
    """Return the events (T, ...) of a signal (T, ...), 1, −1 or 0, in the dtype of the signal.

    A level starts at signal[0]. At each step, an entry gives 1 where the signal is above its level by the threshold or
    more, and −1 where it is below by as much; each event moves the level by one threshold, up or down.
    """
    level, events = signal[0], []
    for now in signal:
        event = (now - level >= threshold).to(signal.dtype) - (level - now >= threshold).to(signal.dtype)
        level = level + threshold * event
        events.append(event)
    return torch.stack(events)


def _delta_fires(change, threshold):
    return (change >= threshold).to(change.dtype) - (-change >= threshold).to(change.dtype)


def _delta(
    start=lambda signal: signal[0],
    fires=_delta_fires,
    move=lambda level, event, now, threshold: level + threshold * event,
    shown=lambda event, change: event,
    joined=torch.stack,
):
    """The loop over the steps, with what can go wrong as arguments."""

    def attempt(signal, threshold):
        level, events = start(signal), []
        for now in signal:
            event = fires(now - level, threshold)
            events.append(shown(event, now - level))
            level = move(level, event, now, threshold)
        return joined(events)

    return attempt


def _delta_with_if(signal, threshold):
    level, events = signal[0], torch.zeros_like(signal)
    for t, now in enumerate(signal):
        if now - level >= threshold:
            events[t], level = 1, level + threshold
        elif level - now >= threshold:
            events[t], level = -1, level - threshold
    return events


def _delta_without_first(signal, threshold):
    return torch.stack(list(delta_events.reference(signal, threshold)[1:]))


_DELTA_MOVES = {
    "The signal is compared with the step before, so a slow ramp gives no events. Compare it with the level, which "
    "only events move, by one threshold.": {"move": lambda level, event, now, threshold: now},
    "After an event the level jumps to the signal. It moves by one threshold only, so that a large jump gives events "
    "at the next steps as well.": {
        "move": lambda level, event, now, threshold: torch.where(event != 0, now, level)
    },
    "The level never moves. Each event moves it by one threshold: `level = level + threshold * event`.": {
        "move": lambda level, event, now, threshold: level
    },
    "Each event moves the level by 1. Let it move by the threshold: `level = level + threshold * event`.": {
        "move": lambda level, event, now, threshold: level + event
    },
    "The level moves the wrong way, away from the signal. An event of 1 moves it up: `level = level + threshold * "
    "event`.": {"move": lambda level, event, now, threshold: level - threshold * event},
}
_DELTA_STARTS = {
    "The level starts at 0. Let it start where the signal does, at `signal[0]`, so that the first step gives no "
    "event.": {"start": lambda signal: torch.zeros_like(signal[0])},
    "One level, that of the first pixel, is where all pixels start. Each starts at its own: `level = signal[0]`.": {
        "start": lambda signal: signal.flatten()[0]
    },
}
_DELTA_EVENTS = {
    "A change by exactly the threshold gives an event as well, up and down. Compare with `>=`.": {
        "fires": lambda change, threshold: (
            (change > threshold).to(change.dtype) - (-change > threshold).to(change.dtype)
        )
    },
    "Events of −1 are missing. Where the signal is below its level by the threshold or more, give −1, and move the "
    "level down.": {"fires": lambda change, threshold: (change >= threshold).to(change.dtype)},
    "Several events come at once, such as 2 or −3. Give one at most for each step, and leave the rest of a jump to the "
    "next steps.": {"fires": lambda change, threshold: (change / threshold).trunc()},
    "A difference smaller than the threshold gives an event. It takes the threshold or more, upwards as downwards: "
    "`now - level >= threshold`.": {"fires": lambda change, threshold: change.sign()},
}
_DELTA_RESULTS = {
    "The signs are turned: above the level is 1, below it is −1.": {"shown": lambda event, change: -event},
    "Downward events come out as 1 too. Where the signal falls below its level, give −1.": {
        "shown": lambda event, change: event.abs()
    },
    "These are the sizes of the changes. An event is 1 or −1, whatever the size.": {
        "shown": lambda event, change: event.abs() * change
    },
    "The events are not in the dtype of the signal. Convert them, `.to(signal.dtype)`, or write into "
    "`torch.zeros_like(signal)`.": {"shown": lambda event, change: event.int()},
    "A list came back. Make one tensor of it, (T, ...): `torch.stack(events)`.": {
        "joined": lambda events: events
    },
}
delta_events.slips(_delta, _DELTA_MOVES, _DELTA_STARTS, _DELTA_EVENTS, _DELTA_RESULTS)
delta_events.mistakes(
    {
        "A change by exactly the threshold gives an event as well, up and down. Compare with `>=`.": [
            {">= threshold": "> threshold"},
            {"now - level >= threshold": "now - level > threshold"},
            {"level - now >= threshold": "level - now > threshold"},
        ],
        "The signs are turned: above the level is 1, below it is −1.": {
            "now - level": "level - now",
            "level - now >= threshold).to(signal.dtype) - (level - now": "level - now >= threshold).to(signal.dtype) "
            "- (now - level",
            "level + threshold": "level - threshold",
        },
        "Several events come at once, such as 2 or −3. Give one at most for each step, and leave the rest of a jump to "
        "the next steps.": [
            _delta(fires=lambda change, threshold: (change / threshold).floor()),
            _delta(fires=lambda change, threshold: (change / threshold).round()),
        ],
        "A difference smaller than the threshold gives an event. It takes the threshold or more, upwards as downwards: "
        "`now - level >= threshold`.": [
            _delta(
                fires=lambda change, threshold: (
                    (change >= threshold).to(change.dtype) - (change < 0).to(change.dtype)
                )
            ),
            _delta(
                fires=lambda change, threshold: torch.where(
                    change >= threshold, 1.0, torch.where(change <= threshold, -1.0, 0.0)
                ).to(change.dtype)
            ),
        ],
        "The events are not in the dtype of the signal. Convert them, `.to(signal.dtype)`, or write into "
        "`torch.zeros_like(signal)`.": [
            {".to(signal.dtype)": ".float()"},
            {".to(signal.dtype)": ".int()"},
        ],
        "Downward events come out as 1 too. Where the signal falls below its level, give −1.": _delta(
            fires=lambda change, threshold: (change.abs() >= threshold).to(change.dtype)
        ),
        "The first step is missing: T rows are expected, and the first holds no events, only 0. Go through all of "
        "`signal`.": [
            lambda signal, threshold: delta_events.reference(signal, threshold)[1:],
            _delta_without_first,
        ],
        "`signal.diff` compares with the step before, and a row is missing. Go through all T steps with a level that "
        "only events move.": lambda signal, threshold: _delta_fires(signal.diff(dim=0), threshold),
        "Every event stands one step early: the row of `signal[t]` is row t. The first holds no events, only 0.": [
            lambda signal, threshold: torch.cat(
                [delta_events.reference(signal, threshold)[1:], torch.zeros_like(signal[:1])]
            ),
        ],
        "`if` asks one question about all pixels at once. Compare for each: `(now - level >= "
        "threshold).to(signal.dtype)`.": _delta_with_if,
    }
)
_DELTA_MOVES_IN_SHORT = {
    "Compare with the level, not with the step before.": {
        "move": lambda level, event, now, threshold: now,
    },
    "The level moves by one threshold only, not to the signal.": {
        "move": lambda level, event, now, threshold: torch.where(event != 0, now, level)
    },
}
_DELTA_EVENTS_IN_SHORT = {
    "A change by exactly the threshold counts: `>=`.": {
        "fires": lambda change, threshold: (
            (change > threshold).to(change.dtype) - (-change > threshold).to(change.dtype)
        )
    },
    "Events of −1 are missing.": {"fires": lambda change, threshold: (change >= threshold).to(change.dtype)},
}
_DELTA_SIGN_IN_SHORT = {
    "The signs are turned: above the level is 1.": {"shown": lambda event, change: -event},
}
_DELTA_START_IN_SHORT = {
    "The level starts at `signal[0]`, not at 0.": {"start": lambda signal: torch.zeros_like(signal[0])},
}
delta_events.pairs_of_slips(_delta, _DELTA_MOVES_IN_SHORT, _DELTA_EVENTS_IN_SHORT | _DELTA_SIGN_IN_SHORT)
delta_events.pairs_of_slips(_delta, _DELTA_START_IN_SHORT, _DELTA_EVENTS_IN_SHORT | _DELTA_SIGN_IN_SHORT)


# Section 4: a step with a slope -------------------------------------------------------------------------------


def _gradient_reaching(x, result, arriving):
    """What reaches x when `arriving` reaches the result: 0 where nothing was recorded, None without a result."""
    if not isinstance(result, Tensor | float):
        return None
    if not (getattr(result, "requires_grad", False) and result.shape == arriving.shape):
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(result, x, arriving.to(result.dtype), allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def _surrogate_facts(attempt, v, incoming):
    """Spikes, their type, and what backpropagation gives at v; incoming is None where v records no gradient."""
    v = v.detach().requires_grad_(incoming is not None)
    spikes = attempt(v)
    if isinstance(spikes, torch.autograd.Function):
        return "a torch.autograd.Function"
    kind = str(spikes.dtype).removeprefix("torch.") if isinstance(spikes, Tensor) else ""
    gradient = _gradient_reaching(v, spikes, v if incoming is None else incoming)
    return {"spikes": spikes, "type of the spikes": kind, "gradient at v": gradient}


def _surrogate_case(*shape, seed, dtype=torch.float32):
    return normal(*shape, seed=seed, dtype=dtype), 2 * normal(*shape, seed=seed + 1, dtype=dtype)


@lesson.exercise(
    observe=_surrogate_facts,
    cases={
        "v = 0": (torch.tensor([0.0]), torch.tensor([1.0])),  # no spike, the derivative is 1
        "v = 0 and v = 1/π": (torch.tensor([0.0, 1 / math.pi]), torch.tensor([1.0, 1.0])),  # 1 and 1/2
        "incoming gradients of 3 and −2": (torch.tensor([-0.5, 0.25]), torch.tensor([3.0, -2.0])),
        "a single number": (torch.tensor(0.7), torch.tensor(-1.5)),
        "near the threshold": (0.2 * normal(5, seed=1), normal(5, seed=2)),
        "far from the threshold": (torch.tensor([-200.0, 50.0, -30.0, 200.0]), torch.full((4,), 1e4)),
        "a matrix": _surrogate_case(3, 4, seed=3),
        "a square matrix": _surrogate_case(3, 3, seed=5),
        "three axes": _surrogate_case(4, 2, 3, seed=7),
        "nothing is recorded": (normal(4, seed=9), None),
        "float64 numbers": _surrogate_case(6, seed=11, dtype=torch.float64),
    },
    hints=[
        "A comparison gives the spikes, but no gradient. Which smooth function has the derivative 1/(1 + (πv)²)?",
        "atan(πv)/π has. Add it in such a way that it changes no value, yet is differentiated. (Or write a "
        "`torch.autograd.Function`, whose backward returns the gradient times the slope.)",
        "With `soft = torch.atan(math.pi * v) / math.pi`, `soft - soft.detach()` is 0, and its derivative is that of "
        "`soft`. Add `(v > 0).to(v.dtype)`.",
    ],
)
def surrogate_spike(v):
    """Return 1 where v > 0 and 0 elsewhere, in the shape and dtype of v, with 1/(1 + (πv)²) as its derivative.

    v may have any shape. The derivative is what backpropagation multiplies the incoming gradient with.
    """
    soft = torch.atan(math.pi * v) / math.pi  # has the derivative asked for
    return (v > 0).to(v.dtype) + (soft - soft.detach())


def _surrogate_forward(v):
    return (v > 0).to(v.dtype)


def _surrogate_slope(v):
    return 1 / (1 + (math.pi * v) ** 2)


def _surrogate(
    spike=_surrogate_forward, slope=_surrogate_slope, back=lambda gradient, slope, v: gradient * slope
):
    """A spike with a backward pass of its own, with what can go wrong as arguments."""

    class Surrogate(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v):
            ctx.save_for_backward(v)
            return spike(v)

        @staticmethod
        def backward(ctx, gradient):
            (v,) = ctx.saved_tensors
            return back(gradient, slope(v), v)

    return Surrogate.apply


_SURROGATE_AT_ZERO = {
    "At v = 0 there is no spike: compare with `v > 0`, not `v >= 0`.": {
        "spike": lambda v: (v >= 0).to(v.dtype)
    },
}
_SURROGATE_NO_INCOMING = {
    "The incoming gradient is lost: backward returns the slope alone. Return the gradient times the slope.": {
        "back": lambda gradient, slope, v: slope
    },
}
_SURROGATE_FORMULAS = {
    "The square is missing in the slope: it is 1/(1 + (πv)²).": {"slope": lambda v: 1 / (1 + math.pi * v)},
    "The π is missing in the slope: it is 1/(1 + (πv)²).": {"slope": lambda v: 1 / (1 + v**2)},
    "The square covers v only, 1/(1 + πv²). Put πv in brackets: 1/(1 + (πv)²).": {
        "slope": lambda v: 1 / (1 + math.pi * v**2)
    },
}
_SURROGATE_OTHERS = {
    "The gradient passes as if the slope were 1 (a straight-through estimator). Multiply it by 1/(1 + (πv)²).": {
        "slope": torch.ones_like
    },
    "The slope is π times too large. That of atan(πv) is π/(1 + (πv)²), so divide by π.": {
        "slope": lambda v: math.pi * _surrogate_slope(v)
    },
    "There is a factor 1/π too many: the slope is 1 at v = 0.": {
        "slope": lambda v: _surrogate_slope(v) / math.pi
    },
    "This is the slope of atan(v)/π. Put the π inside as well: atan(πv)/π has the slope 1/(1 + (πv)²).": {
        "slope": lambda v: 1 / (1 + v**2) / math.pi
    },
    "This is the slope of another function, a sigmoid, a tanh or a box. Here it is 1/(1 + (πv)²), that of "
    "atan(πv)/π.": {"slope": lambda v: torch.sigmoid(v) * torch.sigmoid(-v)},
    "A gradient arrives only where there is a spike. The slope is 1/(1 + (πv)²) below the threshold, too.": {
        "slope": lambda v: _surrogate_slope(v) * (v > 0)
    },
    "The slope is taken at the spikes, 0 or 1, not at v. Save v for the backward pass: 1/(1 + (πv)²).": {
        "slope": lambda v: _surrogate_slope(_surrogate_forward(v))
    },
}
surrogate_spike.slips(
    _surrogate, _SURROGATE_AT_ZERO, _SURROGATE_NO_INCOMING, _SURROGATE_FORMULAS, _SURROGATE_OTHERS
)
surrogate_spike.mistakes(
    {
        next(iter(_SURROGATE_AT_ZERO)): {"v > 0": "v >= 0"},
        "Spikes come out only where v > 1. v is measured from the threshold already: compare it with 0.": [
            {"v > 0": "v > 1"},
            {"v > 0": "v >= 1"},
        ],
        "`sign` is −1 below the threshold. No spike is a 0: `(v > 0).to(v.dtype)`.": [
            {"(v > 0).to(v.dtype)": "torch.sign(v)"},
            _surrogate(spike=torch.sign),
        ],
        "The spikes are inverted: a spike is a 1 where v > 0.": [
            {"v > 0": "v < 0"},
            {"v > 0": "v <= 0"},
        ],
        "The result is a smooth function of v. The spikes are 1 or 0, `(v > 0).to(v.dtype)`, and only the derivative "
        "comes from a smooth one.": [
            {"(v > 0).to(v.dtype) + (soft - soft.detach())": "soft"},
            lambda v: torch.atan(math.pi * v) / math.pi + 0.5,
            _surrogate(spike=lambda v: torch.atan(math.pi * v) / math.pi + 0.5),
            torch.sigmoid,
            lambda v: torch.sigmoid(math.pi * v),
            _surrogate(spike=torch.sigmoid),
            _surrogate(spike=torch.sigmoid, slope=lambda v: torch.sigmoid(v) * torch.sigmoid(-v)),
            _surrogate_slope,
        ],
        "The slope comes out negative: take `soft - soft.detach()`, not `soft.detach() - soft`.": {
            "soft - soft.detach()": "soft.detach() - soft"
        },
        "An object of your class came back, not spikes. Call it by `Sp.apply(v)`, with the name of your class.": (
            lambda v: torch.autograd.Function()
        ),
        "The smooth function stays in the values: they are no longer 0 and 1. Take it away again, without its "
        "gradient: `soft - soft.detach()`.": {"(soft - soft.detach())": "soft"},
        "No gradient reaches v: a comparison or another step has none to give. Add `soft - soft.detach()`, "
        "or write a `torch.autograd.Function`.": [
            {" + (soft - soft.detach())": ""},
            {" - soft.detach()": " - soft"},
            {".to(v.dtype) + (soft - soft.detach())": ""},
            {".to(v.dtype) + (soft - soft.detach())": ".float()"},
            {".to(v.dtype) + (soft - soft.detach())": ".int()"},
            {".to(v.dtype) + (soft - soft.detach())": ".long()"},
            {"(v > 0).to(v.dtype) + (soft - soft.detach())": "torch.heaviside(v, torch.zeros_like(v))"},
            {"(v > 0).to(v.dtype) + (soft - soft.detach())": "torch.heaviside(v, torch.tensor(0.0))"},
            lambda v: torch.ones_like(v) if v > 0 else torch.zeros_like(v),
            lambda v: 1.0 if v > 0 else 0.0,
        ],
        "The spikes are float32, whatever v is. Keep its type: `(v > 0).to(v.dtype)`.": [
            _surrogate(spike=lambda v: (v > 0).float()),
            _surrogate(spike=lambda v: torch.where(v > 0, 1.0, 0.0)),
        ],
        "The square is missing in the slope: it is 1/(1 + (πv)²).": _surrogate(
            slope=lambda v: 1 / (1 + math.pi * v.abs())
        ),
        list(_SURROGATE_OTHERS)[5]: _surrogate(slope=_surrogate_forward),
        list(_SURROGATE_OTHERS)[4]: [
            _surrogate(slope=lambda v: math.pi * torch.sigmoid(math.pi * v) * torch.sigmoid(-math.pi * v)),
            _surrogate(slope=lambda v: torch.sigmoid(math.pi * v) * torch.sigmoid(-math.pi * v)),
            _surrogate(slope=lambda v: 1 / (1 + v.abs()) ** 2),
            _surrogate(slope=lambda v: 1 / (1 + math.pi * v.abs()) ** 2),
            _surrogate(slope=lambda v: 1 - v.tanh() ** 2),
            _surrogate(slope=lambda v: v.abs() < 0.5),
        ],
        "The slope itself stands where its integral should: `soft` is differentiated once more. Take atan(πv)/π, whose "
        "derivative is 1/(1 + (πv)²).": [
            {"torch.atan(math.pi * v) / math.pi": "1 / (1 + (math.pi * v) ** 2)"},
        ],
    }
)
surrogate_spike.pairs_of_slips(_surrogate, _SURROGATE_AT_ZERO | _SURROGATE_NO_INCOMING, _SURROGATE_FORMULAS)
surrogate_spike.pairs_of_slips(
    _surrogate, _SURROGATE_AT_ZERO | _SURROGATE_NO_INCOMING, dict(list(_SURROGATE_OTHERS.items())[:5])
)
surrogate_spike.pairs_of_slips(_surrogate, _SURROGATE_AT_ZERO, _SURROGATE_NO_INCOMING)


# Section 6: a price for spikes --------------------------------------------------------------------------------


def _penalty_facts(attempt, spikes, strength):
    spikes = spikes.detach().requires_grad_()
    penalty = attempt(spikes, strength)
    arriving = spikes.new_ones(penalty.shape if isinstance(penalty, Tensor) else ())
    return {"penalty": penalty, "gradient at the spikes": _gradient_reaching(spikes, penalty, arriving)}


def _bernoulli_trains(*shape, seed, rate=0.4, dtype=torch.float32):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).to(dtype)


@lesson.exercise(
    observe=_penalty_facts,
    cases={
        "one neuron, two spikes in four steps": (torch.tensor([[[1.0]], [[0.0]], [[1.0]], [[0.0]]]), 0.5),
        "a neuron that spikes, one that does not": (torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]]), 3.0),
        "more steps than examples": (_bernoulli_trains(7, 3, 4, seed=1), 0.3),
        "more examples than steps": (_bernoulli_trains(2, 6, 5, seed=2), 2.0),
        "as many steps as examples": (_bernoulli_trains(4, 4, 3, seed=3), 0.7),
        "all sizes equal": (_bernoulli_trains(3, 3, 3, seed=4), 1.5),
        "a batch of one": (_bernoulli_trains(6, 1, 4, seed=5), 0.2),
        "a single step": (_bernoulli_trains(1, 4, 3, seed=6, rate=0.6), 5.0),
        "no spike at all": (torch.zeros(4, 2, 3), 0.5),
        "a spike in every step": (torch.ones(3, 2, 5), 0.25),
        "float64 numbers": (_bernoulli_trains(5, 3, 2, seed=7, dtype=torch.float64), 0.4),
    },
    hints=[
        "How many spikes does each neuron fire for each example? That is a sum over one axis: which?",
        "`spikes.sum(dim=0)` is (N, units), the numbers of spikes. Take their mean.",
        "Return `strength` times that mean. A comparison, `.item()` or `.detach()` would cut the gradient off.",
    ],
)
def rate_penalty(spikes, strength):
    """Return strength times the number of spikes that a neuron fires for an example, on average: one number, a tensor.

    spikes is (T, N, units). Gradients flow to the spikes.
    """
    return strength * spikes.sum(dim=0).mean()


def _penalty(
    counts=lambda spikes: spikes.sum(dim=0),
    average=lambda counts: counts.mean(),
    weigh=lambda mean, strength: strength * mean,
    seen=lambda spikes: spikes,
):
    """The penalty, with what can go wrong as arguments."""
    return lambda spikes, strength: weigh(average(counts(seen(spikes))), strength)


_PENALTY_AVERAGES = {
    "This is the mean over the steps as well, T times too small. Sum over time: `spikes.sum(dim=0)`.": {
        "counts": lambda spikes: spikes.mean(dim=0)
    },
    "These are the spikes of all neurons for all examples together. Sum over time only, then take the mean.": {
        "average": lambda counts: counts.sum()
    },
    "These are the spikes of the whole layer for an example, summed over the neurons. Take the mean over them, too.": {
        "average": lambda counts: counts.sum(dim=1).mean()
    },
    "The spikes are summed over the examples, so a larger batch is punished more. Take the mean over them, too.": {
        "average": lambda counts: counts.sum(dim=0).mean()
    },
}
_PENALTY_CUT_OFF = {
    "No gradient reaches the spikes: `.item()`, `.detach()` or a comparison cuts it off. Sum the spikes themselves.": {
        "seen": lambda spikes: spikes.detach()
    },
}
_PENALTY_STRENGTHS = {
    "The strength is missing. Multiply the mean by it.": {"weigh": lambda mean, strength: mean},
    "The strength is added. Multiply by it.": {"weigh": lambda mean, strength: mean + strength},
    "The mean is divided by the strength. Multiply by it.": {"weigh": lambda mean, strength: mean / strength},
    "The sign is wrong: this would reward spikes. The penalty grows with their number.": {
        "weigh": lambda mean, strength: -strength * mean
    },
}
rate_penalty.slips(_penalty, _PENALTY_AVERAGES, _PENALTY_CUT_OFF, _PENALTY_STRENGTHS)
rate_penalty.mistakes(
    {
        next(iter(_PENALTY_AVERAGES)): {"sum(dim=0).mean()": "mean()"},
        next(iter(_PENALTY_CUT_OFF)): [
            {".mean()": ".mean().item()"},
            {"spikes.sum": "(spikes > 0).to(spikes.dtype).sum"},
        ],
        "The sum goes over the examples, axis 1. Time is axis 0: `spikes.sum(dim=0)`.": {"dim=0": "dim=1"},
        "The sum goes over the neurons, the last axis. Time is axis 0: `spikes.sum(dim=0)`.": {
            "dim=0": "dim=2"
        },
        "These are the spikes of all neurons and examples in a step, on average. Sum over time, and take the mean over "
        "the other two axes.": {"sum(dim=0).mean()": "mean(dim=0).sum()"},
        "The numbers of spikes are squared. Take the mean of the numbers themselves.": [
            {".sum(dim=0)": ".sum(dim=0).square()"},
            {".mean()": ".mean().square()"},
        ],
        "The spikes are squared. Their values stay the same, but not the gradient: sum the spikes themselves.": [
            {"spikes.sum": "(spikes**2).sum"},
            {"spikes.sum": "(spikes * spikes).sum"},
        ],
        "This is the fraction of the neurons that fire at all. Count all their spikes: `sum(dim=0)` in place of the "
        "maximum or the comparison.": [
            {"sum(dim=0)": "amax(dim=0)"},
            lambda spikes, strength: strength * (spikes.sum(dim=0) > 0).to(spikes.dtype).mean(),
        ],
        "This is the largest number of spikes. Take the mean over the neurons and examples.": {
            ".mean()": ".max()"
        },
        "One number for each neuron and example came back. Sum over time, and take the mean over the other two "
        "axes.": [
            {".mean()": ""},
            {"sum(dim=0).mean()": "mean(dim=0)"},
            lambda spikes, strength: spikes.sum(dim=0),
        ],
        "One number for each neuron came back. Take the mean over both axes, examples and neurons.": {
            ".mean()": ".mean(dim=0)"
        },
        "One number for each example came back. Take the mean over both axes, examples and neurons.": {
            ".mean()": ".mean(dim=1)"
        },
    }
)
rate_penalty.pairs_of_slips(
    _penalty, _PENALTY_CUT_OFF | dict(list(_PENALTY_STRENGTHS.items())[:1]), _PENALTY_AVERAGES
)
rate_penalty.pairs_of_slips(_penalty, _PENALTY_CUT_OFF, _PENALTY_STRENGTHS)


# Section 7: what it costs -------------------------------------------------------------------------------------


def _operations_spikes(*shape, seed):
    return (normal(*shape, seed=seed) > 0.3).float()


@lesson.exercise(
    returns=("multiply-adds", "additions"),
    cases={
        "three spikes of one example": (torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]]), 10),
        "three spikes of two examples": (torch.tensor([[[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]]), 5),
        "a ReLU layer": (torch.tensor([[[0.0, 1.5, 2.0, 0.0], [0.25, 0.0, 0.0, 1.0]]]), 3),
        "silence": (torch.zeros(3, 2, 4), 7),
        "all ones": (torch.ones(3, 2, 5), 4),
        "spikes, and one 0.5": (
            torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[0.5, 0.0], [0.0, 0.0], [1.0, 0.0]]]),
            6,
        ),
        "values of 0 and 2": (2 * _operations_spikes(4, 3, 2, seed=1), 8),
        "events of 1, 0 and −1": (normal(5, 2, 3, seed=2).round().clamp(-1, 1), 11),
        "values of 0 and −1": (-_operations_spikes(2, 5, 4, seed=6), 9),
        "as many steps as examples and units": (_operations_spikes(4, 4, 4, seed=3), 9),
        "as many targets as units": (_operations_spikes(5, 3, 6, seed=4), 6),
        "no value is 0, float64": (normal(3, 4, 2, seed=5, dtype=torch.float64), 13),
    },
    hints=[
        "How many values of the whole activity are not 0? Each of them goes to `fan_out` targets.",
        "The total is for all N examples: divide by `activity.shape[1]`. All time steps count.",
        "`((activity == 0) | (activity == 1)).all()` says whether these are spikes: then return `(0, count)`, else "
        "`(count, 0)`.",
    ],
)
def synaptic_operations(activity, fan_out):
    """Return multiply-adds and additions, two numbers: what activity (T, N, units) costs for an example on average.

    Every value that is not 0 goes to fan_out targets, each with a weight of its own. If all values are 0 or 1, spikes,
    this takes an addition for each target, and no multiplication; otherwise a multiply-add for each (events of −1 count
    as multiply-adds).
    """
    count = activity.count_nonzero().item() * fan_out / activity.shape[1]
    are_spikes = ((activity == 0) | (activity == 1)).all()
    return (0, count) if are_spikes else (count, 0)


def _operations_are_spikes(activity):
    return bool(((activity == 0) | (activity == 1)).all())


def _operations(
    counted=lambda activity: activity.count_nonzero().item(),
    targets=lambda activity, fan_out: fan_out,
    mean=lambda count, activity: count / activity.shape[1],
    spiking=_operations_are_spikes,
    joined=lambda count, spiking: (0, count) if spiking else (count, 0),
):
    """Two numbers, with what can go wrong as arguments."""

    def attempt(activity, fan_out):
        count = mean(counted(activity) * targets(activity, fan_out), activity)
        return joined(count, spiking(activity))

    return attempt


def _operations_value_by_value(activity, fan_out):
    ones, values = (activity == 1).sum(), activity.count_nonzero()
    return (values - ones) * fan_out / activity.shape[1], ones * fan_out / activity.shape[1]


_OPERATIONS_COUNTED = {
    "The values are added up, which is not their number: a value of 2 goes to as many targets as one of 0.5. Count "
    "them: `activity.count_nonzero()`.": {"counted": lambda activity: activity.sum().item()},
    "Values of 0 are counted as well, but they cost nothing. Count the others: `activity.count_nonzero()`.": {
        "counted": lambda activity: activity.numel()
    },
    "Only values above 0 are counted. Negative ones go to the targets too: `activity.count_nonzero()`.": {
        "counted": lambda activity: (activity > 0).sum().item()
    },
    "Only one time step is counted. Add up those of all T steps.": {
        "counted": lambda activity: activity[0].count_nonzero().item()
    },
}
_OPERATIONS_TARGETS = {
    "`fan_out` is missing: this counts values, and each goes to `fan_out` targets. Multiply by it.": {
        "targets": lambda activity, fan_out: 1
    },
    "You multiply by the units of this layer. Each value goes to `fan_out` targets: multiply by `fan_out` alone.": {
        "targets": lambda activity, fan_out: activity.shape[2]
    },
}
_OPERATIONS_MEANS = {
    "This is the cost of the whole batch. Divide by the number of examples, `activity.shape[1]`.": {
        "mean": lambda count, activity: count
    },
    "You divide by the number of time steps, axis 0. An average over examples divides by `activity.shape[1]`.": {
        "mean": lambda count, activity: count / activity.shape[0]
    },
    "You divide by more than the examples. An example costs the sum over its time steps and units, not their mean: "
    "divide by N, `activity.shape[1]`, alone.": {
        "mean": lambda count, activity: count / (activity.shape[0] * activity.shape[1])
    },
    "The average is cut to a whole number, but it may be a fraction. Divide with `/`, not with `//` or `int`.": {
        "mean": lambda count, activity: count // activity.shape[1]
    },
}
_OPERATIONS_KINDS = {
    "All operations are called additions. Values other than 0 and 1 have to be multiplied by their weights: return "
    "`(count, 0)` for them.": {"spiking": lambda activity: True},
    "All operations are called multiply-adds. Where all values are 0 or 1, weights are only added: return "
    "`(0, count)` then.": {"spiking": lambda activity: False},
    "Your test takes values other than 0 and 1 for spikes as well. Ask for both: `((activity == 0) | (activity == "
    "1)).all()`.": {"spiking": lambda activity: bool(activity.max() <= 1)},
}
_OPERATIONS_JOINED = {
    "The two numbers are swapped: multiply-adds come first, and spikes need none of them.": {
        "joined": lambda count, spiking: (count, 0) if spiking else (0, count)
    },
    "One number came back. Return two, multiply-adds and additions, one of which is 0.": {
        "joined": lambda count, spiking: count
    },
}
synaptic_operations.slips(
    _operations,
    _OPERATIONS_COUNTED,
    _OPERATIONS_TARGETS,
    _OPERATIONS_MEANS,
    _OPERATIONS_KINDS,
    _OPERATIONS_JOINED,
)
synaptic_operations.mistakes(
    {
        "This is the cost of the whole batch. Divide by the number of examples, `activity.shape[1]`.": {
            " / activity.shape[1]": ""
        },
        "The average is cut to a whole number, but it may be a fraction. Divide with `/`, not with `//` or `int`.": [
            _operations(mean=lambda count, activity: round(count / activity.shape[1])),
        ],
        "Values of 0 are counted as well, but they cost nothing. Count the others: `activity.count_nonzero()`.": [
            _operations(
                counted=lambda activity: (
                    activity.sum().item() if _operations_are_spikes(activity) else activity.numel()
                )
            ),
        ],
        "Only one time step is counted. Add up those of all T steps.": [
            _operations(counted=lambda activity: activity[-1].count_nonzero().item()),
        ],
        "You divide by more than the examples. An example costs the sum over its time steps and units, not their mean: "
        "divide by N, `activity.shape[1]`, alone.": [
            _operations(mean=lambda count, activity: count / (activity.shape[1] * activity.shape[2])),
            _operations(mean=lambda count, activity: count / activity.numel()),
        ],
        "Your test takes values other than 0 and 1 for spikes as well. Ask for both: `((activity == 0) | (activity == "
        "1)).all()`.": [
            _operations(spiking=lambda activity: bool(((activity >= 0) & (activity <= 1)).all())),
            _operations(spiking=lambda activity: bool((activity.abs() <= 1).all())),
            _operations(spiking=lambda activity: bool((activity >= 0).all())),
            _operations(spiking=lambda activity: activity.unique().numel() <= 2),
            _operations(spiking=lambda activity: bool((activity == activity.round()).all())),
            _operations(spiking=lambda activity: bool(((activity == 0) | (activity.abs() == 1)).all())),
        ],
        "One value of 0 or 1 is enough for your test. All of them have to be: `((activity == 0) | (activity == "
        "1)).all()`.": [
            _operations(spiking=lambda activity: bool((activity == 1).any())),
            _operations(spiking=lambda activity: bool(((activity == 0) | (activity == 1)).any())),
            {".all()": ".any()"},
        ],
        "Your test turns some spikes away. The values may be all 0, all 1, or a mixture: `((activity == 0) | "
        "(activity == 1)).all()`.": [
            _operations(spiking=lambda activity: activity.unique().tolist() == [0, 1]),
            _operations(spiking=lambda activity: activity.unique().numel() == 2),
            _operations(spiking=lambda activity: bool((activity == 1).all())),
        ],
        "You return both numbers in full, but one of them is 0: spikes need no multiplication, and a multiply-add "
        "holds its addition already.": [
            _operations(joined=lambda count, spiking: (count, count)),
            _operations(joined=lambda count, spiking: (0 if spiking else count, count)),
        ],
        "Values of 1 are taken for spikes one by one. As soon as one value is neither 0 nor 1, all operations of the "
        "layer are multiply-adds.": _operations_value_by_value,
    }
)
_OPERATIONS_COSTS_IN_SHORT = {
    "Values of 0 cost nothing: `activity.count_nonzero()`.": {"counted": lambda activity: activity.numel()},
    "Multiply by `fan_out`.": {"targets": lambda activity, fan_out: 1},
    "Divide by the examples, `activity.shape[1]`.": {"mean": lambda count, activity: count},
    "Divide by the examples alone, not by the time steps.": {
        "mean": lambda count, activity: count / (activity.shape[0] * activity.shape[1])
    },
}
_OPERATIONS_KINDS_IN_SHORT = {
    "The two numbers are swapped: multiply-adds come first.": {
        "joined": lambda count, spiking: (count, 0) if spiking else (0, count)
    },
    "Values other than 0 and 1 take multiply-adds, not additions.": {"spiking": lambda activity: True},
}
synaptic_operations.pairs_of_slips(_operations, _OPERATIONS_COSTS_IN_SHORT, _OPERATIONS_KINDS_IN_SHORT)
synaptic_operations.pairs_of_slips(_operations, _OPERATIONS_COSTS_IN_SHORT)


# Section 8: firing rates --------------------------------------------------------------------------------------


@lesson.exercise(
    observe=lambda attempt, drive, tau, refractory, threshold: _leaving_out_default(
        attempt, drive, tau, refractory, threshold
    ),
    cases={
        "RI = 2": (torch.tensor([2.0]), 10.0, 2.0, 1.0),
        "too weak": (torch.tensor([0.9]), 10.0, 2.0, 1.0),
        "no refractory time": (torch.tensor([2.0, 1.5, 0.4]), 10.0, 0.0, 1.0),
        "one at the threshold": (torch.tensor([1.0, 3.0]), 5.0, 3.0, 1.0),
        "no drive, and negative ones": (torch.tensor([0.0, 1.5, -2.0, -9.0]), 8.0, 2.5, 1.0),
        "six drives": (torch.tensor([4.0, 0.5, 1.2, 10.0, 0.99, 2.5]), 20.0, 4.0, 1.0),
        "strong drives": (torch.tensor([20.0, 50.0, 8.0]), 15.0, 6.0, 1.0),
        "a low threshold": (torch.tensor([0.5, 0.25, 0.9, 3.0, -0.3]), 10.0, 1.5, 0.4),
        "a high threshold": (torch.tensor([1.5, 2.5, 2.0, 6.0]), 12.0, 5.0, 2.0),
        "float64 numbers": (torch.tensor([1.1, 0.2, 7.0], dtype=torch.float64), 6.0, 1.0, 1.0),
    },
    hints=[
        "How long is it from one spike to the next, in ms? The membrane waits, then climbs from 0 to the threshold.",
        "The interval is the refractory time plus τ ln(RI / (RI − θ)). A second has 1000 ms.",
        "`torch.where(drive > threshold, 1000 / (refractory + t), 0.0)`, t being the time of the climb.",
    ],
)
def firing_rate(drive, tau, refractory, threshold=1.0):
    """Return the firing rates (N,) in Hz for constant drives RI (N,); tau and the refractory time are in ms.

    After a spike the membrane is set to 0 and stays there for the refractory time. A drive that never reaches
    the threshold has rate 0.
    """
    t = tau * torch.log(drive / (drive - threshold))
    return torch.where(drive > threshold, 1000 / (refractory + t), 0.0)


_climb = _first_spike(silent=_as_computed)
_climb_by_rest = _first_spike(silent=_as_computed, **_BY_REST)
_climb_or_inf = _first_spike()


def _firing(
    climb=_climb,
    rate=lambda t, refractory, tau: 1000 / (refractory + t),
    silent=_zero_if_silent,
):
    """The firing rate, with what can go wrong as arguments."""

    def attempt(drive, tau, refractory, threshold=1.0):
        return silent(rate(climb(drive, tau, threshold), refractory, tau), drive, threshold)

    return attempt


def _upside_down(**options):
    return _first_spike(
        ratio=lambda drive, threshold: (drive - threshold) / drive, silent=_as_computed, **options
    )


def _rates_one_by_one(reaches):
    def attempt(drive, tau, refractory, threshold=1.0):
        return torch.tensor(
            [
                1000 / (refractory + tau * math.log(RI / (RI - threshold))) if reaches(RI, threshold) else 0.0
                for RI in drive.tolist()
            ]
        )

    return attempt


_CLIMBS = {
    "The ratio in the logarithm is upside down, so the climb takes a negative time. RI is larger than RI − θ: take "
    "`drive / (drive - threshold)`.": {"climb": _upside_down()},
    "τ is missing: the climb from 0 to the threshold takes τ ln(RI / (RI − θ)).": {
        "climb": _first_spike(scale=lambda t, tau: t, silent=_as_computed)
    },
    "The logarithm is not the natural one. The climb follows e^(−t/τ), so take `torch.log`.": {
        "climb": _first_spike(log=torch.log10, silent=_as_computed)
    },
}
_RATES = {
    "The refractory time is missing: from spike to spike it takes the refractory time and the climb.": {
        "rate": lambda t, refractory, tau: 1000 / t
    },
    "The refractory time is subtracted. The membrane waits first, then climbs: add the two times.": {
        "rate": lambda t, refractory, tau: 1000 / (t - refractory)
    },
    "These are spikes per ms. A second has 1000 ms: for Hz take 1000 over the interval.": {
        "rate": lambda t, refractory, tau: 1 / (refractory + t)
    },
    "This is the time from one spike to the next, in ms. The rate is 1000 over it.": {
        "rate": lambda t, refractory, tau: refractory + t
    },
}
firing_rate.slips(_firing, _CLIMBS, _RATES)
firing_rate.mistakes(
    {
        "The refractory time is a time, but here it is added to the rate or taken from it. Add it to the time of "
        "the climb, then take 1000 over the sum.": [
            _firing(rate=lambda t, refractory, tau: 1000 / t + refractory),
            _firing(rate=lambda t, refractory, tau: 1000 / t - refractory),
        ],
        "The refractory time lengthens τ here, or stands inside the logarithm. Add it to the time of the whole "
        "climb.": [
            _firing(rate=lambda t, refractory, tau: 1000 / (t / tau * (tau + refractory))),
            _firing(
                rate=lambda t, refractory, tau: 1000 / (tau * torch.log(torch.exp(t / tau) + refractory))
            ),
        ],
        "The climb takes τ ln(RI / (RI − θ)). Here it is another time, such as that without a leak, or with another "
        "ratio in the logarithm.": [
            _firing(lambda drive, tau, threshold: tau * threshold / drive),
            *(
                _firing(_first_spike(ratio=ratio, silent=_as_computed))
                for ratio in (
                    lambda drive, threshold: drive - threshold,
                    lambda drive, threshold: threshold / (drive - threshold),
                    lambda drive, threshold: drive / threshold,
                )
            ),
        ],
        "Hz counts spikes per second: 1000 ms over the interval in ms. This is that number multiplied or "
        "divided by 1000 once more.": [
            {"1000 /": "1000000 /"},
            _firing(rate=lambda t, refractory, tau: 0.001 / (refractory + t)),
        ],
        "1/interval is not 1/refractory + 1/climb: the times add, not the rates. Take 1000 over the sum of "
        "the times.": [
            _firing(rate=lambda t, refractory, tau: 1000 / t + (1000 / refractory if refractory else 0)),
            _firing(rate=lambda t, refractory, tau: 1000 / t + 1000 / torch.tensor(refractory)),
            _firing(rate=lambda t, refractory, tau: 1000 / refractory + 1000 / t),
            _firing(
                _climb_or_inf,
                lambda t, refractory, tau: 1000 / t + (1000 / refractory if refractory else 0),
                _as_computed,
            ),
            _firing(
                _climb_or_inf, lambda t, refractory, tau: 1000 / refractory + 1000 / t, silent=_as_computed
            ),
        ],
        "The rate is cut off at 1000/refractory. The wait belongs to every interval, also of a slow "
        "neuron: add it to the time of the climb.": [
            _firing(rate=lambda t, refractory, tau: 1000 / t.clamp(min=refractory)),
            _firing(rate=lambda t, refractory, tau: 1000 / t.clamp(min=refractory), silent=_as_computed),
            _firing(rate=lambda t, refractory, tau: (1000 / t).clamp(max=1000 / refractory)),
        ],
        "Drives that are too weak get what the formula gives for them, such as nan or a wrong rate. Ask "
        "before you answer: `torch.where(drive > threshold, rate, 0.0)`.": [
            _firing(silent=_as_computed),
            _firing(_climb_by_rest, silent=_as_computed),
        ],
        "nan or negative rates have become 0, but that does not catch all weak drives: some give nan, and "
        "negative ones may get a rate. Ask for the drive: `torch.where(drive > threshold, rate, 0.0)`.": [
            _firing(silent=_no_nan(nan=0.0)),
            _firing(silent=_no_nan(nan=0.0, posinf=0.0, neginf=0.0)),
            _firing(silent=lambda rate, drive, threshold: rate.clamp(min=0)),
            _firing(silent=lambda rate, drive, threshold: rate.nan_to_num(nan=0.0).clamp(min=0)),
            _firing(_climb_by_rest, silent=lambda rate, drive, threshold: rate.clamp(min=0)),
        ],
        list(_RATES)[3]: _firing(rate=lambda t, refractory, tau: refractory + t, silent=_infinite_if_silent),
        "This is the time of the climb, in ms. Add the refractory time, and take 1000 over the sum.": [
            _firing(rate=lambda t, refractory, tau: t, silent=silent)
            for silent in (_infinite_if_silent, _zero_if_silent, _as_computed)
        ],
        "A drive that never reaches the threshold gets nan or inf here. It never fires: its rate is 0.": [
            _firing(silent=_all_but_spiking(math.nan)),
            _firing(silent=_all_but_spiking(math.inf)),
        ],
        "A drive that never reaches the threshold fires at 1000/refractory here: its climb is taken as 0. "
        "It never ends, so the rate is 0.": [
            _firing(climb=_first_spike(silent=_zero_if_silent), silent=_as_computed),
        ],
        "The threshold is taken as 1, whatever it is. Use `threshold` in the logarithm and in the comparison.": [
            lambda drive, tau, refractory, threshold=1.0: firing_rate.reference(drive, tau, refractory),
            {"(drive - threshold)": "(drive - 1)"},
            {"drive > threshold": "drive > 1"},
        ],
        "At RI = θ this divides by 0, and with a weaker drive `math.log` gets a negative number. Ask first "
        "whether RI is above θ; if not, the rate is 0.": [
            _rates_one_by_one(lambda drive, threshold: drive >= threshold),
            _rates_one_by_one(lambda RI, threshold: True),
        ],
        "`if` gives one answer for all, but each of the N drives needs its own. Use "
        "`torch.where(drive > threshold, rate, 0.0)`.": [
            lambda drive, tau, refractory, threshold=1.0: (
                firing_rate.reference(drive, tau, refractory, threshold)
                if drive > threshold
                else torch.zeros_like(drive)
            ),
            lambda drive, tau, refractory, threshold=1.0: (
                torch.tensor(0.0)
                if (drive <= threshold).any()
                else firing_rate.reference(drive, tau, refractory, threshold)
            ),
            lambda drive, tau, refractory, threshold=1.0: (
                torch.zeros_like(drive)
                if (drive <= threshold).any()
                else firing_rate.reference(drive, tau, refractory, threshold)
            ),
        ],
    }
)
firing_rate.pairs_of_slips(
    _firing,
    {
        "The refractory time is missing.": {"rate": lambda t, refractory, tau: 1000 / t},
        "These are spikes per ms: take 1000 over the interval.": {
            "rate": lambda t, refractory, tau: 1 / (refractory + t)
        },
        "This is the interval: the rate is 1000 over it.": {
            "rate": lambda t, refractory, tau: refractory + t
        },
    },
    {
        "The ratio in the logarithm is upside down.": {"climb": _upside_down()},
        "τ is missing.": {"climb": _first_spike(scale=lambda t, tau: t, silent=_as_computed)},
        "Weak drives need the rate 0, not what the formula gives.": {"silent": _as_computed},
    },
)
firing_rate.mistakes(
    {
        "Two slips. The refractory time is missing, and a second has 1000 ms: take 1000 over the sum of "
        "both times.": _firing(rate=lambda t, refractory, tau: 1 / t)
    }
)


# Section 9: two spikes at once --------------------------------------------------------------------------------


@lesson.exercise(
    observe=lambda attempt, weight, beta, threshold: _leaving_out_default(attempt, weight, beta, threshold),
    cases={
        "0.6 at β = 0.8": (0.6, 0.8, 1.0),
        "0.6 at β = 0.9": (0.6, 0.9, 1.0),
        "only in the same step": (0.6, 0.5, 1.0),
        "two are too weak": (0.3, 0.8, 1.0),
        "two are a little too weak": (0.4, 0.8, 1.0),
        "two reach the threshold exactly": (0.5, 0.9, 1.0),
        "exactly at the threshold with gap 1": (0.5, 0.5, 0.75),
        "exactly at the threshold with gap 2": (0.5, 0.5, 0.625),
        "hardly any leak": (0.9, 0.99, 1.0),
        "a fast leak": (0.95, 0.2, 1.0),
        "a low threshold": (0.5, 0.8, 0.7),
        "a high threshold": (0.9, 0.7, 1.5),
    },
    hints=[
        "The first spike leaves w on the membrane. What is left of it k steps later?",
        "It fires at gap k if w·βᵏ + w > θ. Begin with k = 0 and go on as long as it fires, or solve for k.",
        "ln β is negative, so βᵏ > θ/w − 1 means k < ln(θ/w − 1) / ln β: `math.ceil(limit) - 1`, after `if 2 * "
        "weight <= threshold: return -1`.",
    ],
)
def coincidence_window(weight, beta, threshold=1.0):
    """Return the largest gap, in whole steps, at which two spikes of this weight make a neuron fire; −1 if none does.

    U[t] = beta·U[t−1] + weight for each spike that arrives in step t; it fires if U > threshold. One spike alone does
    not: weight < threshold. Gap 0: both arrive in the same step.
    """
    if 2 * weight <= threshold:
        return -1
    limit = math.log(threshold / weight - 1) / math.log(beta)  # where the membrane would reach it exactly
    return math.ceil(limit) - 1


def _limit(weight, beta, threshold):
    """The gap, a real number, at which the membrane is at the threshold exactly."""
    return math.log(threshold / weight - 1) / math.log(beta)


def _largest_gap(
    fires=lambda left, weight, threshold: left + weight > threshold,
    left=lambda weight, beta, k: weight * beta**k,
    gaps=lambda: range(1000),
    answer=lambda firing: max(firing, default=-1),
):
    """The search through the gaps, with what can go wrong as arguments."""

    def attempt(weight, beta, threshold=1.0):
        return answer([k for k in gaps() if fires(left(weight, beta, k), weight, threshold)])

    return attempt


def _by_logarithm(
    limit=_limit,
    whole=lambda limit: math.ceil(limit) - 1,
    too_weak=lambda weight, threshold: 2 * weight <= threshold,
):
    """The answer by a formula, −1 for what is too weak, with what can go wrong as arguments."""

    def attempt(weight, beta, threshold=1.0):
        return -1 if too_weak(weight, threshold) else whole(limit(weight, beta, threshold))

    return attempt


def _whole(limit):
    """A limit's ways of becoming a whole number, below or above."""
    return [_by_logarithm(limit, whole) for whole in (lambda x: math.ceil(x) - 1, math.floor, int, math.ceil)]


coincidence_window.mistakes(
    {
        "Where the membrane is exactly at the threshold, your neuron fires, or the logarithm is a whole "
        "number that you keep. It fires only above: take `>`, and of the logarithm `math.ceil(limit) - 1`.": [
            {"math.ceil(limit) - 1": "math.floor(limit)"},
            {
                "2 * weight <= threshold": "2 * weight < threshold",
                "math.ceil(limit) - 1": "math.floor(limit)",
            },
            _largest_gap(fires=lambda left, weight, threshold: left + weight >= threshold),
        ],
        "This is one more: the first gap at which it no longer fires, or the number of gaps, 0 included. Return the "
        "largest one that fires.": [
            _by_logarithm(whole=math.ceil),
            _largest_gap(answer=len),
            _largest_gap(answer=lambda firing: max(firing, default=0) + 1),
            _largest_gap(
                gaps=lambda: range(-1, 1000), answer=lambda firing: max(firing) + 1 if firing else -1
            ),
        ],
        "This is one less than the largest gap that fires. At gap k the first spike has leaked k times, "
        "`beta**k`, and at gap 0 not at all.": [
            _largest_gap(left=lambda weight, beta, k: weight * beta ** (k + 1)),
            lambda weight, beta, threshold=1.0: coincidence_window.reference(weight, beta, threshold) - 1,
            lambda weight, beta, threshold=1.0: (
                max(coincidence_window.reference(weight, beta, threshold), 0) - 1
            ),
            _by_logarithm(whole=lambda x: math.floor(x) - 1),
            _by_logarithm(whole=lambda x: math.ceil(x) - 2),
        ],
        "Gap 0 is lost: two spikes in the same step can make it fire, when a gap of 1 does not. Begin the "
        "search with 0.": [
            _largest_gap(gaps=lambda: range(1, 1000)),
            lambda weight, beta, threshold=1.0: coincidence_window.reference(weight, beta, threshold) or -1,
        ],
        "If even two spikes in the same step do not make it fire, 0 comes out. That means a gap of 0: return −1.": [
            _largest_gap(answer=lambda firing: max(firing, default=0)),
            lambda weight, beta, threshold=1.0: max(coincidence_window.reference(weight, beta, threshold), 0),
        ],
        "If no gap fires, the formula gives some other number. Ask first: if 2·weight is not "
        "above the threshold, return −1.": [
            _by_logarithm(too_weak=lambda weight, threshold: False),
            _by_logarithm(whole=math.floor, too_weak=lambda weight, threshold: False),
            _by_logarithm(whole=int, too_weak=lambda weight, threshold: False),
        ],
        "If no gap fires, there is nothing to take the largest of, or None comes back. Return −1, for example by "
        "`max(gaps, default=-1)`.": [
            _largest_gap(answer=max),
            _largest_gap(answer=lambda firing: firing[-1]),
            _largest_gap(answer=lambda firing: max(firing, default=None)),
        ],
        "This is the smallest gap that fires, 0 if any does. Go on to the largest.": _largest_gap(
            answer=lambda firing: min(firing, default=-1)
        ),
        "All gaps that fire came back. Return the largest, or −1 if there is none.": _largest_gap(
            answer=lambda firing: firing
        ),
        "This is where U would be exactly θ, as it is or rounded. The answer is the largest whole number of steps "
        "below it: `math.ceil(limit) - 1`.": [
            _by_logarithm(whole=lambda limit: limit),
            _by_logarithm(whole=lambda limit: limit, too_weak=lambda weight, threshold: False),
            _by_logarithm(whole=round),
            _by_logarithm(whole=round, too_weak=lambda weight, threshold: False),
            _by_logarithm(
                whole=lambda limit: max(round(limit), -1), too_weak=lambda weight, threshold: False
            ),
        ],
        "The threshold is taken as 1, whatever it is. Compare with `threshold`.": [
            lambda weight, beta, threshold=1.0: coincidence_window.reference(weight, beta),
            {"math.log(threshold / weight - 1)": "math.log(1 / weight - 1)"},
        ],
        "Both spikes leak here. The second has only arrived: `weight * beta**k + weight`.": _largest_gap(
            fires=lambda left, weight, threshold: 2 * left > threshold
        ),
        "Only what is left of the first spike is compared with the threshold, so it never fires. Add the second one: "
        "`weight * beta**k + weight`.": _largest_gap(fires=lambda left, weight, threshold: left > threshold),
        "The first spike leaks by one factor β for each step: `weight * beta**k`. Here the leak is β·k or "
        "a single β, or it is 1 − β that is left.": [
            _largest_gap(left=lambda weight, beta, k: weight * beta * k),
            _largest_gap(left=lambda weight, beta, k: weight * (1 - beta) ** k),
            *(
                _largest_gap(left=lambda weight, beta, k: weight * beta ** min(k, 1), gaps=gaps)
                for gaps in (lambda: range(1000), lambda: range(1001))
            ),
            _largest_gap(left=lambda weight, beta, k: weight * (1 - beta * k)),
        ],
        "The leak is a straight line here: 1 − β of the whole weight goes in each step. Each step leaves β of what is "
        "there: `weight * beta**k`.": _largest_gap(
            left=lambda weight, beta, k: weight * (1 - (1 - beta) * k)
        ),
        "β is taken for a time constant, exp(−k/β). It is the factor of one step: `weight * beta**k`.": _largest_gap(
            left=lambda weight, beta, k: weight * math.exp(-k / beta)
        ),
        "ln β is missing: from βᵏ > θ/w − 1 follows k < ln(θ/w − 1) / ln β.": [
            *_whole(lambda weight, beta, threshold: math.log(threshold / weight - 1)),
            *_whole(lambda weight, beta, threshold: -math.log(threshold / weight - 1)),
        ],
        "The first spike is left with βᵏ, its weight forgotten. It leaves `weight * beta**k`.": _largest_gap(
            left=lambda weight, beta, k: beta**k
        ),
        "The quotient of logarithms is upside down: from βᵏ > θ/w − 1 follows k < ln(θ/w − 1) / ln β.": _whole(
            lambda *case: 1 / _limit(*case)
        ),
        "The logarithm is that of 1 / (θ/w − 1), or a sign is lost, so a negative gap comes out: "
        "k < ln(θ/w − 1) / ln β.": _whole(lambda *case: -_limit(*case)),
        "The logarithm takes θ − w, θ/w or w/θ. From w·βᵏ + w > θ follows βᵏ > θ/w − 1, and that goes into it.": [
            *_whole(lambda weight, beta, threshold: math.log(threshold - weight) / math.log(beta)),
            *_whole(lambda weight, beta, threshold: math.log(threshold / weight) / math.log(beta)),
            *_whole(lambda weight, beta, threshold: math.log(weight / threshold) / math.log(beta)),
        ],
        "The two logarithms have different bases. Take `math.log` for both.": [
            *_whole(lambda weight, beta, threshold: math.log10(threshold / weight - 1) / math.log(beta)),
            *_whole(lambda weight, beta, threshold: math.log(threshold / weight - 1) / math.log10(beta)),
        ],
        "The search ends too early: with hardly any leak the largest gap is more than 200 steps. Go on "
        "while it fires.": [
            _largest_gap(gaps=lambda end=end: range(end))
            for end in (10, 11, 20, 21, 50, 51, 100, 101, 200, 201)
        ],
    }
)
coincidence_window.pairs_of_slips(
    _largest_gap,
    {
        "It fires only above the threshold, not at it.": {
            "fires": lambda left, weight, threshold: left + weight >= threshold
        },
        "Only the first spike leaks, not both.": {
            "fires": lambda left, weight, threshold: 2 * left > threshold
        },
    },
    {
        "If no gap fires, return −1, not 0.": {"answer": lambda firing: max(firing, default=0)},
        "Gap 0 is lost: begin with it.": {"gaps": lambda: range(1, 1000)},
        "This is one more than the largest gap that fires.": {"answer": len},
    },
)


# Section 10: a latency code -----------------------------------------------------------------------------------


@lesson.exercise(
    observe=lambda attempt, x, steps, darkest: _coded("spikes", attempt(x, steps, darkest)),
    cases={
        "white, grey and black, three steps": (torch.tensor([1.0, 0.5, 0.0]), 3, 0.0),
        "one step": (torch.tensor([0.25, 0.9, 0.5, 0.0]), 1, 0.5),
        "a single number": (torch.tensor(0.7), 5, 0.25),
        "the darkest that fires": (torch.tensor([0.0, 0.125, 0.25, 0.75, 1.0]), 9, 0.25),
        "too dark": (torch.tensor([0.1, 0.2]), 4, 0.5),
        "the brightest is grey": (torch.tensor([0.23, 0.41, 0.62]), 6, 0.0),
        "as many steps as entries": (torch.tensor([0.1, 0.9, 0.4, 0.6]), 4, 0.2),
        "as many rows as columns and steps": (
            torch.tensor([[1.0, 0.3, 0.1], [0.6, 0.0, 0.9], [0.4, 0.8, 0.2]]),
            3,
            0.15,
        ),
        "one row": (torch.tensor([[0.83, 0.02, 0.47, 0.31]]), 8, 0.3),
        "images": (torch.tensor([[[[0.98, 0.17], [0.52, 0.0]]], [[[0.08, 0.66], [1.0, 0.39]]]]), 12, 0.1),
        "float64": (torch.tensor([[0.93, 0.26, 0.05], [0.54, 0.0, 0.71]], dtype=torch.float64), 10, 0.0),
    },
    hints=[
        "First the step at which each entry fires, in the shape of x: x = 1 fires at step 0, x = 0 at step steps − 1.",
        "`F.one_hot(when, steps)` makes a 1 at the place `when` of a new last axis. Time has to come first, and "
        "`when` to be integers.",
        "`F.one_hot(when, steps).movedim(-1, 0)` are the spikes. Multiply them by `x >= darkest`, in the dtype of x.",
    ],
)
def latency_code(x, steps, darkest):
    """Return spikes (steps, *x.shape), zeros and ones in the dtype of x: one for each entry, the brighter the earlier.

    x lies in [0, 1]. An entry fires once, at step round((1 − x)·(steps − 1)), counted from 0; entries below `darkest`
    do not fire at all.
    """
    when = ((1 - x) * (steps - 1)).round().long()
    spikes = F.one_hot(when, steps).movedim(-1, 0)  # (steps, *x.shape)
    return (spikes * (x >= darkest)).to(x.dtype)


def _latency(
    dark=lambda x, darkest: 1 - x,
    last=lambda steps: steps - 1,
    whole=torch.round,
    fires=lambda time, when: time == when,
    seen=lambda x, darkest: x >= darkest,
    joined=lambda spikes, x: spikes.to(x.dtype),
):
    """Spikes by comparing times, with what can go wrong as arguments."""

    def attempt(x, steps, darkest):
        when = whole(dark(x, darkest) * last(steps))
        time = torch.arange(steps).reshape(-1, *[1] * x.ndim)
        return joined(fires(time, when) & seen(x, darkest), x)

    return attempt


def _latency_hot(when, x, steps, darkest):
    return (F.one_hot(when, steps).movedim(-1, 0) * (x >= darkest)).to(x.dtype)


def _latency_black(x, steps, darkest):
    x[x < darkest] = 0
    return latency_code.reference(x, steps, 0.0)


def _latency_times(x, steps, darkest):
    return ((1 - x) * (steps - 1)).round()


_LATENCY_TIMES = {
    "The order is turned: dark entries fire first. The step is round((1 − x)·(steps − 1)), so that x = 1 fires at "
    "0.": {"dark": lambda x, darkest: x},
    "The step is cut off, not rounded: `long()`, `int()` and `floor()` drop the fraction. Call `round()` first.": {
        "whole": torch.floor
    },
    "The step is rounded up. Take the nearest one: `round()`.": {"whole": torch.ceil},
    "Every spike is one step off: steps are counted from 0, so x = 1 fires at step 0.": {
        "whole": lambda when: when.round() + 1
    },
    "x is divided by its largest value, so the brightest fires at 0 whatever its x. Take x as it is.": {
        "dark": lambda x, darkest: 1 - x / x.max().clamp(min=1e-9)
    },
}
_LATENCY_SEEN = {
    "Entries below `darkest` fire as well, late as they are. Let them keep silent: multiply by `x >= darkest`.": {
        "seen": lambda x, darkest: x >= 0
    },
    "An entry of exactly `darkest` fires: only those below do not. Compare with `x >= darkest`.": {
        "seen": lambda x, darkest: x > darkest
    },
    "The comparison with `darkest` is turned, so only dark entries fire. Keep those with `x >= darkest`.": {
        "seen": lambda x, darkest: x < darkest
    },
    "`darkest` is compared with 1 − x or with the step. It belongs to x: entries with `x >= darkest` fire.": {
        "seen": lambda x, darkest: 1 - x >= darkest
    },
}
_LATENCY_FIRES = {
    "An entry fires at every step from its first spike on. It fires once: compare with `==`, or use `F.one_hot`.": {
        "fires": lambda time, when: time >= when
    },
    "An entry fires at every step up to its time. It fires once: compare with `==`, or use `F.one_hot`.": {
        "fires": lambda time, when: time <= when
    },
}
_LATENCY_RESULTS = {
    "A spike has the height x here, and it is 1 for every entry: the time tells the brightness. Leave out the product "
    "with x.": {"joined": lambda spikes, x: spikes * x},
    "The spikes are not in the dtype of x. Convert what holds True and False, or 1 and 0: `.to(x.dtype)`.": {
        "joined": lambda spikes, x: spikes
    },
    "Time is the last axis, where `F.one_hot` puts it. Move it to the front: `.movedim(-1, 0)`.": {
        "joined": lambda spikes, x: spikes.to(x.dtype).movedim(0, -1)
    },
}
latency_code.slips(_latency, _LATENCY_TIMES, _LATENCY_SEEN, _LATENCY_FIRES, _LATENCY_RESULTS)
latency_code.mistakes(
    {
        "The step is cut off, not rounded: `long()`, `int()` and `floor()` drop the fraction. Call `round()` first.": {
            ".round()": ""
        },
        "The spikes are not in the dtype of x. Convert what holds True and False, or 1 and 0: `.to(x.dtype)`.": [
            {".to(x.dtype)": ""},
            {".to(x.dtype)": ".float()"},
        ],
        "(1 − x) is multiplied by `steps`, which leads past the last step, steps − 1. Multiply by (steps − 1).": [
            _latency(last=lambda steps: steps),
            lambda x, steps, darkest: _latency_hot(((1 - x) * steps).round().long(), x, steps, darkest),
            lambda x, steps, darkest: _latency_hot(
                ((1 - x) * steps).round().long().clamp(max=steps - 1), x, steps, darkest
            ),
            _latency(last=lambda steps: steps, whole=torch.floor),
            lambda x, steps, darkest: _latency_hot(((1 - x) * steps).long(), x, steps, darkest),
        ],
        "Every spike is one step off: steps are counted from 0, so x = 1 fires at step 0.": [
            lambda x, steps, darkest: _latency_hot(_latency_times(x, steps, 0).long() + 1, x, steps, darkest),
            _latency(whole=lambda when: when.round() - 1),
        ],
        "Parentheses are missing: 1 − x·(steps − 1) is negative for bright entries. The step is (1 − x)·(steps − 1), "
        "rounded.": [
            _latency(dark=lambda x, darkest: x, whole=lambda a: (1 - a).round()),
            lambda x, steps, darkest: _latency_hot((1 - x * (steps - 1)).round().long(), x, steps, darkest),
        ],
        "Entries below `darkest` fire as well, late as they are. Let them keep silent: multiply by `x >= "
        "darkest`.": {" * (x >= darkest)": ""},
        "Entries below `darkest` fire at the last step, as if black. Let them keep silent: multiply the spikes by "
        "`x >= darkest`.": [
            lambda x, steps, darkest: latency_code.reference(torch.where(x < darkest, 0, x), steps, 0.0),
            _latency_black,
        ],
        "Entries below `darkest` fire at step 0, as if white: a time of 0 is a spike. Multiply the spikes, not the "
        "times, by `x >= darkest`.": lambda x, steps, darkest: latency_code.reference(
            torch.where(x < darkest, 1, x), steps, 0.0
        ),
        "Time is the last axis, where `F.one_hot` puts it. Move it to the front: `.movedim(-1, 0)`.": {
            ".movedim(-1, 0)": ""
        },
        "These are the times of the spikes, in the shape of x. Return the spikes, (steps, *x.shape): "
        "`F.one_hot(when, steps).movedim(-1, 0)`.": [
            _latency_times,
            lambda x, steps, darkest: _latency_times(x, steps, darkest).long(),
        ],
        "The steps need an axis of their own in front, for x of any shape: `torch.arange(steps).reshape(-1, *[1] * "
        "x.ndim)` to compare, or `F.one_hot(when, steps).movedim(-1, 0)`.": [
            lambda x, steps, darkest: (
                (torch.arange(steps) == _latency_times(x, steps, 0)) & (x >= darkest)
            ).to(x.dtype),
            lambda x, steps, darkest: (
                (torch.arange(steps)[:, None] == _latency_times(x, steps, 0)) & (x >= darkest)
            ).to(x.dtype),
            lambda x, steps, darkest: (
                (F.one_hot(_latency_times(x, steps, 0).long(), steps).T).to(x.dtype) * (x >= darkest)
            ),
        ],
        "A list came back. Return one tensor, (steps, *x.shape): `torch.stack` joins them.": lambda x, steps, darkest: (
            list(latency_code.reference(x, steps, darkest))
        ),
    }
)
_LATENCY_TIMES_IN_SHORT = {
    "Dark entries fire first: take 1 − x.": {"dark": lambda x, darkest: x},
    "The step is cut off, not rounded: call `round()`.": {"whole": torch.floor},
}
_LATENCY_OTHERS_IN_SHORT = {
    "Entries below `darkest` have to keep silent.": {"seen": lambda x, darkest: x >= 0},
    "An entry of exactly `darkest` fires: `x >= darkest`.": {"seen": lambda x, darkest: x > darkest},
    "An entry fires once, not at every step from there on.": {"fires": lambda time, when: time >= when},
    "A spike is 1, not x.": {"joined": lambda spikes, x: spikes * x},
    "The result has no floats: `.to(x.dtype)`.": {"joined": lambda spikes, x: spikes},
    "Time has to be the first axis: `.movedim(-1, 0)`.": {
        "joined": lambda spikes, x: spikes.to(x.dtype).movedim(0, -1)
    },
}
latency_code.pairs_of_slips(_latency, _LATENCY_TIMES_IN_SHORT, _LATENCY_OTHERS_IN_SHORT)
latency_code.pairs_of_slips(_latency, _LATENCY_FIRES, dict(list(_LATENCY_OTHERS_IN_SHORT.items())[4:5]))


# Section 11: backpropagation through time ---------------------------------------------------------------------


def _bptt_case(*shape, seed, beta=0.8, threshold=1.0, dtype=torch.float32):
    """Gradients and membranes that are about as often above the threshold as below it."""
    membrane = threshold + 0.5 * normal(*shape, seed=seed + 1, dtype=dtype)
    return normal(*shape, seed=seed, dtype=dtype), membrane, beta, threshold


def _bptt_neuron(*numbers):
    return torch.tensor(numbers)[:, None, None]


@lesson.exercise(
    cases={
        "one neuron at its threshold, two steps": (_bptt_neuron(1.0, 1.0), _bptt_neuron(1.0, 1.0), 0.5, 1.0),
        "a gradient in the last step only": (
            _bptt_neuron(0.0, 0.0, 4.0),
            _bptt_neuron(1.5, 1.5, 1.5),
            0.5,
            1.5,
        ),
        "a single step": _bptt_case(1, 2, 3, seed=1),
        "more steps than examples": _bptt_case(6, 2, 3, seed=3, beta=0.9),
        "more examples than steps": _bptt_case(2, 5, 4, seed=5, threshold=0.5),
        "as many steps as examples": _bptt_case(3, 3, 2, seed=7, beta=0.6),
        "all sizes equal": _bptt_case(3, 3, 3, seed=9, threshold=2.0),
        "a batch of one": _bptt_case(5, 1, 4, seed=11, beta=0.7, threshold=0.8),
        "β = 0": _bptt_case(4, 2, 3, seed=13, beta=0.0),
        "β = 1": _bptt_case(4, 3, 2, seed=15, beta=1.0, threshold=1.2),
        "float64 numbers": _bptt_case(4, 2, 5, seed=17, dtype=torch.float64),
    },
    hints=[
        "On which later quantities does U[t] act? On its own spike, and on U[t + 1] through the leak.",
        "Begin with the last step and go back: δ[t] = ∂L/∂S[t] · slope[t] + β δ[t + 1]. The slope is taken at "
        "U[t] − threshold.",
        "`for t in reversed(range(len(membrane))): later = gradient[t] * slope[t] + beta * later`, with `later = 0` at "
        "first. Write each `later` into place t of the result.",
    ],
)
def bptt_gradient(gradient, membrane, beta, threshold):
    """Return ∂L/∂current (T, N, units) of a layer of spiking neurons, from gradient = ∂L/∂spikes (T, N, units).

    membrane (T, N, units) is U[t] = beta·U[t−1] + current[t] − threshold·S[t−1], S[t] a spike where U[t] > threshold.
    A spike's derivative is 1/(1 + (πv)²) with v = U − threshold, and the reset carries no gradient. No autograd is
    needed.
    """
    slope = 1 / (1 + (math.pi * (membrane - threshold)) ** 2)
    delta, later = torch.zeros_like(membrane), 0.0
    for t in reversed(range(len(membrane))):
        delta[t] = later = gradient[t] * slope[t] + beta * later  # through the spike, through the leak
    return delta


def _bptt(
    measure=lambda membrane, threshold: membrane - threshold,
    slope=_surrogate_slope,
    step=lambda g, s, beta, later, threshold: g * s + beta * later,
    steps=lambda T: reversed(range(T)),
    result=lambda delta: delta,
):
    """The way back through time, with what can go wrong as arguments."""

    def attempt(gradient, membrane, beta, threshold):
        slopes = slope(measure(membrane, threshold))
        delta, later = torch.zeros_like(membrane), 0.0
        for t in steps(len(membrane)):
            delta[t] = later = step(gradient[t], slopes[t], beta, later, threshold)
        return result(delta)

    return attempt


_BPTT_WAYS = {
    "The slope is taken at U. It belongs at U − threshold, which is 0 where a spike sets in.": {
        "measure": lambda membrane, threshold: membrane
    },
    "The gradient of later steps is missing. Go back from the last step, and add β times the result for t + 1.": {
        "step": lambda g, s, beta, later, threshold: g * s
    },
    "The leak is missing on the way back: what comes from step t + 1 takes the factor β.": {
        "step": lambda g, s, beta, later, threshold: g * s + later
    },
    "The slope also multiplies what comes from step t + 1. That comes through the leak, not through the spike: the "
    "factor is β alone.": {"step": lambda g, s, beta, later, threshold: (g + beta * later) * s},
    "This carries a gradient through the reset as well, −threshold times the slope. Leave that path out: only β leads "
    "back from step t + 1.": {
        "step": lambda g, s, beta, later, threshold: (g - threshold * later) * s + beta * later
    },
}
_BPTT_OTHERS = {
    "The loop runs forward in time. A current acts on later steps, so begin with the last one and go back.": {
        "steps": range
    },
    "The gradient of step t enters without the slope. A spike's derivative is 1/(1 + (πv)²): multiply by it.": {
        "slope": torch.ones_like
    },
    "β is squared on the way back. From step t + 1 to step t there is one factor β.": {
        "step": lambda g, s, beta, later, threshold: g * s + beta**2 * later
    },
    "β multiplies the step's own gradient. It belongs to what comes from step t + 1 alone.": {
        "step": lambda g, s, beta, later, threshold: beta * (g * s + later)
    },
    "The slope is 1 where there is a spike and 0 elsewhere, as if it were the spike itself. It is 1/(1 + (πv)²).": {
        "slope": _surrogate_forward
    },
    "The last step is lost: the loop back begins with T − 1, `reversed(range(len(membrane)))`.": {
        "steps": lambda T: reversed(range(T - 1))
    },
    "The steps come out in reverse order. Turn them round at the end, or write each into its own place t.": {
        "result": lambda delta: delta.flip(0)
    },
    "One gradient for all steps came back, their sum or the first one. Return that of every step, (T, N, units).": {
        "result": lambda delta: delta.sum(dim=0)
    },
    "The sign is wrong: this is −∂L/∂current. More current means more membrane, so the gradient keeps its sign.": {
        "step": lambda g, s, beta, later, threshold: beta * later - g * s
    },
}
bptt_gradient.slips(_bptt, _BPTT_WAYS, _SURROGATE_FORMULAS, _BPTT_OTHERS)


def _bptt_one_ahead(gradient, membrane, beta, threshold):
    own = gradient * _surrogate_slope(membrane - threshold)
    return torch.cat([own[:-1] + beta * own[1:], own[-1:]])


def _bptt_next_slope(gradient, membrane, beta, threshold):
    slope = _surrogate_slope(membrane - threshold)
    return bptt_gradient.reference(
        gradient * torch.cat([slope[1:], slope[-1:]]) / slope, membrane, beta, threshold
    )


def _bptt_along_batch(gradient, membrane, beta, threshold):
    delta = bptt_gradient.reference(
        gradient.transpose(0, 1), membrane.transpose(0, 1).contiguous(), beta, threshold
    )
    return delta.transpose(0, 1)


bptt_gradient.mistakes(
    {
        next(iter(_BPTT_WAYS)): {"membrane - threshold": "membrane"},
        "Only step t + 1 reaches back, and nothing later. Add β δ[t + 1], which holds all later steps already, not the "
        "next step's own gradient.": _bptt_one_ahead,
        list(_BPTT_OTHERS)[3]: _bptt(step=lambda g, s, beta, later, threshold: beta * g * s + later),
        list(_BPTT_OTHERS)[7]: _bptt(result=lambda delta: delta[0]),
        "The slope is taken from the next step. S[t] depends on U[t], so its derivative is slope[t].": (
            _bptt_next_slope
        ),
        "The loop goes through the examples, axis 1. Time is axis 0.": _bptt_along_batch,
    }
)
bptt_gradient.pairs_of_slips(_bptt, _BPTT_WAYS, _SURROGATE_FORMULAS)
bptt_gradient.pairs_of_slips(
    _bptt,
    dict(list(_BPTT_WAYS.items())[:1]),
    dict(list(_BPTT_WAYS.items())[1:4])
    | {told: options for told, options in list(_BPTT_OTHERS.items())[:7] if "slope" not in options},
)


# Section 12: conversion ---------------------------------------------------------------------------------------


def _convert_case(out, inputs, before, after, seed, dtype=torch.float32):
    return normal(out, inputs, seed=seed, dtype=dtype), normal(out, seed=seed + 1, dtype=dtype), before, after


@lesson.exercise(
    cases={
        "one neuron": (torch.tensor([[2.0]]), torch.tensor([1.0]), 3.0, 4.0),  # 1.5 and 0.25
        "the first layer": _convert_case(3, 2, 1.0, 5.0, seed=1),
        "the last layer": _convert_case(2, 4, 6.0, 1.0, seed=3),
        "as many neurons as inputs": _convert_case(3, 3, 2.5, 1.5, seed=5),
        "one neuron, three inputs": _convert_case(1, 3, 0.5, 3.0, seed=7),
        "one input, four neurons": _convert_case(4, 1, 7.0, 0.4, seed=9),
        "equal scales": _convert_case(2, 3, 4.0, 4.0, seed=11),
        "two by two": _convert_case(2, 2, 1.5, 8.0, seed=13),
        "no bias": (normal(3, 5, seed=15), torch.zeros(3), 2.0, 3.0),
        "float64 numbers": _convert_case(5, 2, 3.5, 2.2, seed=17, dtype=torch.float64),
    },
    returns=("weight", "bias"),
    hints=[
        "Write the ReLU layer with rates: scale_after · rate_after = ReLU(weight · scale_before · rate_before + bias). "
        "Divide by scale_after.",
        "The weight takes the factor scale_before / scale_after. No rate multiplies the bias: which scale is left?",
        "`return weight * scale_before / scale_after, bias / scale_after`",
    ],
)
def convert_weights(weight, bias, scale_before, scale_after):
    """Return weight (out, in) and bias (out,) of a spiking layer that stands in for a ReLU layer with this weight and
    bias.

    The ReLU layer's inputs are scale_before times the firing rates that arrive; the spiking layer's firing rates shall
    be the ReLU layer's outputs divided by scale_after.
    """
    return weight * scale_before / scale_after, bias / scale_after


def _convert(
    weights=lambda weight, before, after: weight * before / after,
    biases=lambda bias, before, after: bias / after,
    result=lambda weight, bias: (weight, bias),
):
    """The conversion, with what can go wrong as arguments."""
    return lambda weight, bias, before, after: result(
        weights(weight, before, after), biases(bias, before, after)
    )


_CONVERT_WEIGHT = {
    "The weight's two scales are swapped: multiply by scale_before, divide by scale_after.": {
        "weights": lambda weight, before, after: weight * after / before
    },
    "The weight lacks the factor scale_before: the rates that arrive are inputs divided by scale_before.": {
        "weights": lambda weight, before, after: weight / after
    },
    "The weight is not divided by scale_after: the rates that leave are outputs divided by it.": {
        "weights": lambda weight, before, after: weight * before
    },
    "The weight is multiplied by both scales. Multiply by scale_before, divide by scale_after.": {
        "weights": lambda weight, before, after: weight * before * after
    },
    "The weight is unchanged. It takes the factor scale_before / scale_after.": {
        "weights": lambda weight, before, after: weight
    },
}
_CONVERT_BIAS = {
    "The bias is unchanged. Divide it by scale_after, as the whole output is.": {
        "biases": lambda bias, before, after: bias
    },
    "The bias takes the weight's factor. No rate multiplies the bias: divide it by scale_after alone.": {
        "biases": lambda bias, before, after: bias * before / after
    },
    "The bias is multiplied by scale_after. Divide by it, as the whole output is.": {
        "biases": lambda bias, before, after: bias * after
    },
}
_CONVERT_OTHERS = {
    "The weight is divided by both scales. Multiply by scale_before, divide by scale_after.": {
        "weights": lambda weight, before, after: weight / (before * after)
    },
    "The weight is divided by scale_before. Multiply by it, and divide by scale_after.": {
        "weights": lambda weight, before, after: weight / before
    },
    "The bias is multiplied by scale_before. No rate multiplies the bias: divide it by scale_after.": {
        "biases": lambda bias, before, after: bias * before
    },
    "The bias is divided by scale_before. Its scale is that of the outputs: scale_after.": {
        "biases": lambda bias, before, after: bias / before
    },
    "The bias is divided by both scales. No rate multiplies the bias: divide it by scale_after alone.": {
        "biases": lambda bias, before, after: bias / (before * after)
    },
    "The two scales are swapped throughout: scale_before belongs to what arrives, scale_after to what leaves.": {
        "weights": lambda weight, before, after: weight * after / before,
        "biases": lambda bias, before, after: bias / before,
    },
    "Weight and bias are unchanged. Multiply the weight by scale_before, and divide both by scale_after.": {
        "weights": lambda weight, before, after: weight,
        "biases": lambda bias, before, after: bias,
    },
    "Weight and bias come back in the wrong order: weight first.": {
        "result": lambda weight, bias: (bias, weight)
    },
    "The weight is transposed. It stays (out, in).": {"result": lambda weight, bias: (weight.T, bias)},
    "Only the weight came back. Return the weight and the bias.": {"result": lambda weight, bias: weight},
    "Negative weights are cut off at 0. The ReLU acts on the layer's output, not on its weights.": {
        "weights": lambda weight, before, after: (weight * before / after).clamp(min=0)
    },
    "Negative weights and biases are cut off at 0. The ReLU acts on the layer's output, not on its parameters.": {
        "result": lambda weight, bias: (weight.clamp(min=0), bias.clamp(min=0))
    },
}
convert_weights.slips(_convert, _CONVERT_WEIGHT, _CONVERT_BIAS, _CONVERT_OTHERS)
convert_weights.mistakes({next(iter(_CONVERT_BIAS)): {"bias / scale_after": "bias"}})
convert_weights.pairs_of_slips(
    _convert,
    dict(list(_CONVERT_WEIGHT.items())[:4]),
    _CONVERT_BIAS,
)


# Section 14: a synapse ----------------------------------------------------------------------------------------


def _stdp_train(steps, *spikes, dtype=torch.float32):
    train = torch.zeros(steps, dtype=dtype)
    train[list(spikes)] = 1
    return train


@lesson.exercise(
    cases={
        "post one step after pre": (_stdp_train(2, 0), _stdp_train(2, 1), 1.0, 0.5, 2.0),
        "post two steps before pre": (_stdp_train(3, 2), _stdp_train(3, 0), 1.0, 0.5, 2.0),
        "both in the same step": (_stdp_train(2, 1), _stdp_train(2, 1), 0.8, 0.3, 3.0),
        "a silent neuron": (_stdp_train(4, 1, 2), _stdp_train(4), 0.7, 0.4, 3.0),
        "two spikes of pre, then one of post": (_stdp_train(6, 0, 3), _stdp_train(6, 5), 1.0, 0.6, 4.0),
        "one spike of pre, then two of post": (_stdp_train(6, 1), _stdp_train(6, 2, 5), 1.0, 0.6, 4.0),
        "two spikes of post, then one of pre": (_stdp_train(7, 6), _stdp_train(7, 1, 4), 0.9, 0.7, 3.0),
        "one spike of post, then two of pre": (_stdp_train(7, 2, 6), _stdp_train(7, 0), 0.9, 0.7, 3.0),
        "equal amounts": (_stdp_train(8, 1, 5), _stdp_train(8, 3, 5, 6), 0.5, 0.5, 2.5),
        "forty steps": (
            _bernoulli_trains(40, seed=21, rate=0.2),
            _bernoulli_trains(40, seed=22, rate=0.25),
            0.10,
            0.12,
            10.0,
        ),
        "a long memory, float64": (
            _bernoulli_trains(30, seed=23, rate=0.3, dtype=torch.float64),
            _bernoulli_trains(30, seed=24, rate=0.15, dtype=torch.float64),
            0.2,
            0.1,
            20.0,
        ),
    },
    hints=[
        "`pre.nonzero()` finds the steps s with a spike of pre. Which pairs (s, t) are there, and what does each add?",
        "Go through all pairs in two loops: t ≥ s adds, t < s takes away. In both cases the exponent is negative.",
        "With `gap = t - s`: add `a_plus * math.exp(-gap / tau)` if `gap >= 0`, else subtract "
        "`a_minus * math.exp(gap / tau)`.",
    ],
)
def stdp_change(pre, post, a_plus, a_minus, tau):
    """Return the change of one weight, a number, for spike trains pre and post (T,) of zeros and ones.

    Each pair of a spike of pre in step s and a spike of post in step t adds a_plus·exp(−(t − s)/tau) if t ≥ s, and
    takes away a_minus·exp(−(s − t)/tau) if t < s.
    """
    gap = post.nonzero().T - pre.nonzero()  # t − s, a row for each spike of pre, a column for each of post
    changes = torch.where(gap >= 0, a_plus * torch.exp(-gap / tau), -a_minus * torch.exp(gap / tau))
    return changes.sum()


def _stdp(
    gaps=lambda s, t: t - s,
    up=lambda gap: gap >= 0,
    down=lambda gap: gap < 0,
    decay=lambda distance, tau: torch.exp(-distance / tau),
    amounts=lambda plus, minus: (plus, -minus),
    total=lambda changes, pre: changes.sum(),
):
    """The sum over the pairs of spikes, with what can go wrong as arguments."""

    def attempt(pre, post, a_plus, a_minus, tau):
        gap = gaps(pre.nonzero(), post.nonzero().T)
        plus, minus = amounts(a_plus, a_minus)
        changes = up(gap) * plus * decay(gap.abs(), tau) + down(gap) * minus * decay(gap.abs(), tau)
        return total(changes, pre)

    return attempt


_STDP_TIES = {
    "Two spikes in the same step are taken for t < s. For t = s the pair adds a_plus: compare with `>=`.": {
        "up": lambda gap: gap > 0,
        "down": lambda gap: gap <= 0,
    },
    "Pairs in the same step are left out. For t = s the pair adds a_plus.": {"up": lambda gap: gap > 0},
    "A pair in the same step adds a_plus and takes a_minus away. For t = s it only adds: take away where t < s.": {
        "down": lambda gap: gap <= 0
    },
}
_STDP_RULES = {
    "The two times are swapped: a weight grows where pre comes first, t ≥ s.": {"gaps": lambda s, t: s - t},
    "a_plus and a_minus are swapped: a_plus belongs to t ≥ s.": {
        "amounts": lambda plus, minus: (minus, -plus)
    },
    "The distance in time is not divided by tau. Each pair decays as exp(−|t − s|/tau).": {
        "decay": lambda distance, tau: torch.exp(-distance * tau)
    },
    "Each pair counts the same, however far apart. Let it decay with the distance: exp(−|t − s|/tau).": {
        "decay": lambda distance, tau: torch.ones_like(distance)
    },
    "The decay for each step is 1 − 1/tau here, which is close for large tau only. It is exp(−1/tau).": {
        "decay": lambda distance, tau: (1 - 1 / tau) ** distance
    },
}
_STDP_OTHERS = {
    "The sign of the whole change is wrong: a pair with t ≥ s adds.": {
        "amounts": lambda plus, minus: (-plus, minus)
    },
    "Pairs with t < s add as well. They take away: subtract a_minus times the exponential.": {
        "amounts": lambda plus, minus: (plus, minus)
    },
    "Only pairs of one kind count here. Those with t ≥ s add, and those with t < s take away.": {
        "amounts": lambda plus, minus: (plus, 0)
    },
    "An exponential grows with the distance here. The exponents −(t − s)/tau and −(s − t)/tau are both negative.": {
        "decay": lambda distance, tau: torch.exp(distance / tau)
    },
    "Pairs decay for one step too many: at a distance of 0 the exponential is 1. If you use traces, let them decay "
    "first, then add the new spike.": {"decay": lambda distance, tau: torch.exp(-(distance + 1) / tau)},
    "This is the mean over the pairs. Add them up.": {
        "total": lambda changes, pre: changes.sum() / max(1, changes.numel())
    },
}
stdp_change.slips(_stdp, _STDP_TIES, _STDP_RULES, _STDP_OTHERS)


def _stdp_traces(
    pre,
    post,
    a_plus,
    a_minus,
    tau,
    add=lambda trace, spike: trace + spike,
    late=False,
):
    """The change by two traces that decay by exp(−1/tau) in each step, with what can go wrong as arguments."""
    decay, x, y, change = math.exp(-1 / tau), 0.0, 0.0, 0.0
    for s, t in zip(pre.tolist(), post.tolist(), strict=True):
        x, y = add(decay * x, s), decay * y
        change += a_plus * (decay * x if late else x) * t - a_minus * y * s
        y = add(y, t)
    return change


def _stdp_nearest(trace, spike):
    return spike or trace


def _stdp_some_pairs(keep, of_all_steps):
    """What `keep` leaves of the table of changes, whose rows are steps or spikes of pre."""

    def attempt(pre, post, a_plus, a_minus, tau):
        changes = _stdp(total=lambda changes, pre: changes)(
            torch.ones_like(pre), torch.ones_like(post), a_plus, a_minus, tau
        )
        if of_all_steps:
            return keep(changes * pre[:, None] * post)
        return keep(changes[pre > 0][:, post > 0]) if pre.any() and post.any() else 0.0

    return attempt


def _stdp_too_soon(pre, post, a_plus, a_minus, tau):
    decay, x, y, change = math.exp(-1 / tau), 0.0, 0.0, 0.0
    for s, t in zip(pre.tolist(), post.tolist(), strict=True):
        change += a_plus * x * t - a_minus * y * s
        x, y = decay * x + s, decay * y + t
    return change


def _stdp_every_step(pre, post, a_plus, a_minus, tau):
    return stdp_change.reference(torch.ones_like(pre), torch.ones_like(post), a_plus, a_minus, tau)


stdp_change.mistakes(
    {
        "Two spikes in the same step are taken for t < s. For t = s the pair adds a_plus: compare with `>=`.": {
            "gap >= 0": "gap > 0"
        },
        "Each spike is paired with the nearest earlier one alone. Every pair counts: go through all, or let a trace "
        "grow by 1 at each spike, not start at 1 again.": lambda *given: _stdp_traces(
            *given, add=_stdp_nearest
        ),
        "The first spike is paired with the first only, the second with the second. Every spike of pre forms a pair "
        "with every spike of post: two loops.": _stdp(total=lambda changes, pre: changes.diagonal().sum()),
        "`argmax` finds the first spike alone. Every spike of pre forms a pair with every spike of post: `nonzero()` "
        "finds them all.": lambda pre, post, *rest: stdp_change.reference(
            *(F.one_hot(one.argmax(), len(one)) for one in (pre, post)), *rest
        ),
        "Only pairs in the same step count here. Every spike of pre forms a pair with every spike of post, whatever "
        "the distance: two loops.": lambda pre, post, a_plus, *rest: a_plus * (pre * post).sum(),
        list(_STDP_RULES)[2]: _stdp(decay=lambda distance, tau: torch.exp(-distance)),
        list(_STDP_OTHERS)[1]: _stdp(amounts=lambda plus, minus: (plus, plus)),
        list(_STDP_OTHERS)[2]: _stdp(amounts=lambda plus, minus: (0, -minus)),
        list(_STDP_OTHERS)[3]: {"torch.exp(gap / tau)": "torch.exp(-gap / tau)"},
        list(_STDP_OTHERS)[4]: lambda *given: _stdp_traces(*given, late=True),
        "Not all pairs are added up. Set the change to 0 before both loops, add in the inner one, and return it after "
        "both.": [
            _stdp_some_pairs(keep, of_all_steps)
            for keep in (
                lambda changes: changes[-1, -1],
                lambda changes: changes[0].sum(),
                lambda changes: changes[-1].sum(),
                lambda changes: changes[0, 0],
            )
            for of_all_steps in (True, False)
        ],
        "The traces are used too soon: pairs one step apart are not weakened, and those in the same step are missing. "
        "In each step let the traces decay, add the spike of pre, then use them.": _stdp_too_soon,
        "Steps without a spike count as well. Only pairs of a spike of pre and a spike of post do: check `pre[s]` and "
        "`post[t]`.": _stdp_every_step,
        "The pairs came back, one number for each. Add them up.": {".sum()": ""},
        "The result has the shape (1,), as each row of `nonzero()` has. Return a number: `.item()`.": (
            lambda pre, post, *rest: (
                stdp_change.reference(pre, post, *rest).reshape(1) if pre.any() and post.any() else 0.0
            )
        ),
    }
)
stdp_change.pairs_of_slips(_stdp, _STDP_TIES, _STDP_RULES)
stdp_change.pairs_of_slips(
    _stdp,
    {"Pairs with t < s take away: subtract them.": {"amounts": lambda plus, minus: (plus, minus)}},
    _STDP_TIES | dict(list(_STDP_RULES.items())[2:]),
)


# Section 15: a thrifty network --------------------------------------------------------------------------------


THRIFTY_ACCURACY, THRIFTY_SPIKES = 0.92, 35
_EVEN_IF_THRIFTY = []  # the symptoms of networks that are wrong although they reach both numbers


def _thrifty_digits():
    """The 1,000 test digits of the sample."""
    with contextlib.redirect_stdout(io.StringIO()):
        return data.mnist("sample").test


class _Spiked:
    """What a network did with the digits of a split: counts (N, 10), hidden spikes (T, N, units), both on the CPU."""

    def __init__(self, network, pairs, split):
        counts, hidden = zip(*pairs, strict=True)
        self.network, self.x, self.y = network, split.x, split.y.cpu()
        self.counts, self.hidden = torch.cat(counts).cpu().float(), torch.cat(hidden, dim=1).cpu()
        self.accuracy = self.accuracy_of(self.counts)
        self.steps, _, self.units = self.hidden.shape
        self.spikes = self.hidden.sum().item() / len(self.y)

    def accuracy_of(self, counts):
        return (counts.argmax(dim=1).cpu() == self.y[: len(counts)]).double().mean().item()

    def again(self, x, seed=0):
        """The counts (N, 10) for digits x, which random numbers do not change from call to call."""
        runtime.seed_everything(seed)
        return self.network(x.clone())[0].float()

    def read_out(self):
        """How often a linear readout of the hidden spikes, fitted on one half of the digits, is right on the other."""
        spikes = self.hidden.transpose(0, 1).flatten(1).float()
        kernel, half = (spikes @ spikes.T).double() + 1, len(spikes) // 2
        known = kernel[:half, :half] + 10 * torch.eye(half)
        targets = F.one_hot(self.y[:half], 10).double()
        read = kernel[half:, :half] @ torch.linalg.solve(known, targets)
        return (read.argmax(dim=1) == self.y[half:]).double().mean().item()

    def given(self):
        """What its layers are given for a few digits, by layer in the order of their calls, and the hidden spikes."""
        given = {}

        def note(layer, inputs):
            if isinstance(layer, nn.Linear | nn.Conv2d):
                given.setdefault(layer, []).extend(inputs)

        handle = nn.modules.module.register_module_forward_pre_hook(note)
        try:
            return given, self.network(self.x[:100].clone())[1].float()
        finally:
            handle.remove()

    def enters_the_output(self):
        """The nonzero numbers that the last linear layer with ten outputs is given, for a few digits."""
        last = [None, *(one for one in self.network.modules() if getattr(one, "out_features", 0) == 10)][-1]
        given = [torch.zeros(0), *self.given()[0].get(last, [])]
        numbers = torch.cat([one.flatten().cpu().float() for one in given])
        return numbers[numbers != 0]

    def more_than_reported(self):
        """Whether the layers after the first are given more spikes than are reported, and by other neurons."""
        layers, hidden = self.given()
        reported, entering, of_others = hidden.sum(dim=0), 0.0, 0.0
        for layer, given in list(layers.items())[1:]:
            units = given[0].shape[-1:] if isinstance(layer, nn.Linear) else given[0].shape[-3:]
            together = torch.cat([one.flatten() for one in given]).float()
            of_a_step = len(reported) * units.numel()
            if units.numel() == 784 or len(together) % of_a_step or ((together != 0) & (together != 1)).any():
                continue  # the input again, single digits, or no spikes
            sums = together.reshape(-1, len(reported), units.numel()).sum(dim=0)
            nearest = torch.cdist(sums.T, reported.T, p=1).amin(dim=1)
            entering += sums.sum()
            of_others += sums[:, nearest > 0.5 * sums.sum(dim=0)].sum()
        return of_others > 0.2 * entering and entering > 1.02 * reported.sum()


class _ThriftyExercise(ModelExercise):
    """A spiking network that has to classify digits with few hidden spikes."""

    def _unfit(self, given):
        (net,) = given
        if isinstance(net, tuple | list) and any(isinstance(one, nn.Module) for one in net):
            return self._wrong(
                f"Return the network alone from `{self.name}`, not a tuple with other things in it."
            )
        if isinstance(net, type) and issubclass(net, nn.Module):
            return self._wrong(f"The class {net.__name__} arrived. Pass a trained network of this class.")
        if getattr(net, "__name__", "") == self.name:
            return self._wrong(
                f"That is `{self.name}` itself. Call it, and pass on the network that it returns: "
                f"`{self.arguments[0]} = {self.name}(...)`."
            )
        return super()._unfit(given)

    def _verdict_on(self, model, split):
        pairs = []
        for x in (split.x[:500], split.x[:1], split.x[500:]):
            try:
                pair = model(x.clone())
            except (Exception, SystemExit) as error:
                sizes = re.search("must match the size|stack expects each|Sizes of tensors", str(error))
                anew = "Does each call start anew, with membranes of zeros for all digits that arrive? "
                given = f"It was given inputs of shape {tuple(x.shape)}."
                return self._raised(error, anew + given if sizes else given)
            if sentence := _unfit_pair(pair, len(x)):
                return self._wrong(sentence)
            counts, hidden = pair
            pairs.append((counts.round(), hidden > 0.5))
        spiked = _Spiked(model, [pairs[0], pairs[2]], split)
        enough = spiked.accuracy >= THRIFTY_ACCURACY and spiked.spikes <= THRIFTY_SPIKES
        reached = (
            f"accuracy {spiked.accuracy:.3f} (at least {THRIFTY_ACCURACY}), {spiked.spikes:.1f} hidden spikes a digit "
            f"(at most {THRIFTY_SPIKES})"
        )
        for sentence, shows in self.symptoms:
            if (not enough or shows in _EVEN_IF_THRIFTY) and shows(spiked, split):
                return self._wrong(sentence, (f"on {len(split):,} kept back", reached))
        return self._correct(f"On {len(split):,} digits that you were not given: {reached}.")


def _unfit_pair(pair, count):
    """What is wrong with the type, shape or numbers of what a network returned for `count` digits; "" if nothing."""
    asked = "`forward` should return a pair, `return counts, hidden`"
    if pair is None:
        return f"{asked}, but None came back. Is its `return` missing?"
    if isinstance(pair, Tensor):
        missing = " The hidden spikes are missing." if pair.ndim == 2 else ""
        return f"{asked}, but one tensor came back, of shape {tuple(pair.shape)}.{missing}"
    if not isinstance(pair, tuple | list):
        return f"{asked}, but this came back: {show(pair)}."
    if len(pair) != 2:
        return f"{asked}, but {len(pair)} things came back. Leave out what is neither spike counts nor hidden spikes."
    counts, hidden = pair
    if isinstance(hidden, tuple | list):
        return (
            "The hidden spikes came as a list. Join the time steps with `torch.stack` to (T, N, units); the units of "
            "several layers with `torch.cat(..., dim=2)`."
        )
    for name, one in (("spike counts", counts), ("hidden spikes", hidden)):
        if not isinstance(one, Tensor):
            return f"The {name} should be a tensor, but this came back: {show(one)}."
        if not one.isfinite().all():
            return f"Some of the {name} are nan or inf. Try a smaller learning rate, and look for a division by 0."
    if counts.ndim == 3 and hidden.ndim == 2:
        return "The pair came in the other order. Spike counts (N, 10) are first, hidden spikes (T, N, units) second."
    return _unfit_counts(counts, count, hidden) or _unfit_hidden(hidden, count)


def _unfit_counts(counts, count, hidden):
    """What is wrong with the spike counts of `count` digits; "" if nothing is."""
    shape = tuple(counts.shape)
    if shape != (count, 10):
        digits = "1 digit" if count == 1 else f"{count} digits"
        return f"For {digits} the counts should be ({count}, 10), but they are {shape}. {_counts_shape(shape, count)}"
    numbers = counts.cpu().double()
    if (numbers >= 0).all() and (numbers - numbers.round()).abs().max() < 1e-3:
        return ""
    times = numbers * len(hidden)
    if hidden.ndim == 3 and (times >= 0).all() and (times - times.round()).abs().max() < 1e-3:
        return "The counts are firing rates, spikes per time step. Take the sum over the time steps, not the mean."
    if (numbers >= 0).all() and (numbers.sum(dim=1) - 1).abs().max() < 1e-3:
        return (
            "The counts look like probabilities. Return the number of spikes of each output neuron; the cross-entropy "
            "takes it as logits."
        )
    odd = numbers.min() if (numbers < 0).any() else numbers[(numbers - numbers.round()).abs() >= 1e-3][0]
    return (
        f"A number of spikes is never {odd:.3g}: are these membranes, or logits? Let the output neurons spike as "
        "well, and return the sum of their spikes over time."
    )


def _counts_shape(shape, count):
    """What may have led to the shape of the spike counts of `count` digits."""
    if len(shape) == 3 and shape[1:] == (count, 10):
        return "Sum the output spikes over time: `.sum(dim=0)`."
    if len(shape) == 2 and shape[1] == 10 and shape[0] > count:
        return (
            "Are membranes left from the call before? Start each call with zeros, in `forward`."
            if count == 1
            else "Are these the spikes of every time step? Sum them over time."
        )
    if shape == (count,):
        return "Is this the class already? Return the spike counts of all ten output neurons."
    if shape == (10,):
        return (
            "One digit is a batch, too: keep its axis, without `squeeze`, and sum over the time steps only."
        )
    if shape == (10, count):
        return "Digits come first: transpose them."
    return "There is one output neuron for each class, and its spikes are summed over time."


def _unfit_hidden(hidden, count):
    """What is wrong with the hidden spikes of `count` digits; "" if nothing is."""
    shape = tuple(hidden.shape)
    if hidden.ndim != 3 or shape[1] != count:
        digits = "1 digit" if count == 1 else f"{count} digits"
        return (
            f"For {digits} the hidden spikes should be (T, {count}, units), but they are {shape}. "
            f"{_hidden_shape(hidden, count)}"
        )
    numbers = hidden.float()
    off = (numbers - numbers.clamp(0, 1).round()).abs()
    if off.max() < 1e-3:
        return ""
    other = numbers[off >= 1e-3][0]
    begin = f"Hidden spikes are zeros and ones, but a {other:.3g} is among these."
    if (numbers < 0).any():
        return f"{begin} Are they membranes? Return the spikes of the hidden neurons."
    if (numbers == numbers.round()).all():
        return f"{begin} Are they summed, or not yet compared with a threshold? Keep each time step apart."
    return (
        f"{begin} Are they membranes, means, or what a ReLU or a sigmoid gives? A hidden neuron passes on 1 where its "
        "membrane exceeds the threshold, else 0."
    )


def _hidden_shape(hidden, count):
    """What may have led to the shape of the hidden spikes of `count` digits."""
    shape = tuple(hidden.shape)
    if hidden.ndim > 3 and shape[1] == count:
        return "Make one axis of channels and pixels: `.flatten(2)`."
    if hidden.ndim == 3 and shape[0] == count:
        return "Time comes first: `.transpose(0, 1)`, or stack the time steps along axis 0."
    if hidden.ndim == 3 and shape[2] == count:
        return "The last two axes have changed places."
    if hidden.ndim == 2 and shape[0] == count:
        if (hidden > 1).any():
            return "They are summed over time: keep the spikes of each time step."
        if ((hidden > 0) & (hidden < 1)).any():
            return "They are a mean over time: keep the spikes of each time step."
        return "Is this one time step only? Collect those of all in a list, then `torch.stack` them."
    if hidden.ndim == 2 and shape[1] == count:
        return "They are summed over the units: keep each neuron apart."
    if hidden.ndim == 2 and count and shape[0] % count == 0:
        return "Time and digits share an axis. Stack the time steps, along a new axis 0."
    if hidden.ndim < 2:
        return "Return the spikes themselves, of each neuron at each time step; they are counted here."
    return "Do they belong to the digits that arrived? Stack the time steps of this call, along axis 0."


def _trained_to_be_thrifty(**options):
    """Decorate the solution of `thrifty_net`."""
    return lambda solution: _ThriftyExercise(
        solution, attempt="own_net", held_out=_thrifty_digits, score=None, floors={}, **options
    )


def _even_if_thrifty(shows):
    """Mark a symptom that a network must not show, even if it is right and thrifty."""
    _EVEN_IF_THRIFTY.append(shows)
    return shows


@_trained_to_be_thrifty(
    hints=[
        "Return both from `forward`, counts and hidden spikes, so that the loss can use the spikes: cross-entropy plus "
        "λ times the number of spikes of a hidden neuron for a digit, on average.",
        "Fewer steps save spikes, and more hidden neurons win back what that costs: 784-256-10, constant current, "
        "T = 5, β = 0.9; Adam with 4e-3, batches of 64, 8 epochs. Try λ = 0.3, 0.6 and 1 on the valid digits.",
        "`counts, hidden = net(x)`, then `loss = F.cross_entropy(counts, y) + 0.8 * hidden.sum(dim=0).mean()`: the sum "
        "is over time, the mean over digits and neurons.",
    ],
)
def thrifty_net(train_digits, valid_digits):
    """Return a spiking network, an nn.Module, trained on digits: net(x) gives spike counts (N, 10) and hidden spikes.

    A split holds x (N, 1, 28, 28) and y (N,). The network returns a pair: the number of spikes of each of its ten
    output neurons (N, 10), which decide the class, and the spikes of all hidden neurons, also of several layers, side
    by side (T, N, units), zeros and ones, both of the same T steps. On new digits it is right for at least 92 %, with
    at most 35 hidden spikes for a digit on average.
    """

    def spikes_at(v):  # a step forward; backward the slope of the arctangent
        soft = torch.atan(math.pi * v) / math.pi
        return (v > 0).float() + (soft - soft.detach())

    def lif_layer(current):
        u = spikes = torch.zeros_like(current[0])
        fired = []
        for now in current:
            u = 0.9 * u + now - spikes.detach()
            spikes = spikes_at(u - 1)
            fired.append(spikes)
        return torch.stack(fired)

    class SpikingNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(784, 256), nn.Linear(256, 10)

        def forward(self, x):
            hidden = lif_layer(self.first(x.flatten(1)).expand(5, -1, -1))
            return lif_layer(self.second(hidden)).sum(dim=0), hidden

    torch.manual_seed(0)
    net = SpikingNet().to(train_digits.x.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    for _ in range(8):
        for x, y in train_digits.batches(64, shuffle=True):
            counts, hidden = net(x)
            loss = F.cross_entropy(counts, y) + 0.8 * hidden.sum(dim=0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


lesson.add(thrifty_net)


@thrifty_net.symptom(
    "The same digits get other spikes when they are shown again: something is left from the call before. Start each "
    "call with membranes and spikes of zeros, in `forward`."
)
@_even_if_thrifty
def _(model, split):
    first, second = (model.again(split.x[:100]) for _ in range(2))
    return (first != second).any(dim=1).float().mean() > 0.1


@thrifty_net.symptom(
    "The spikes for a digit depend on the other digits of the batch. Is there a mean, a maximum or a softmax over "
    "axis 0 in `forward`, or a batch normalization without running statistics?"
)
@_even_if_thrifty
def _(model, split):
    x = split.x[:40]
    first, second = (model.again(x, seed) for seed in (0, 1))
    if (first != second).any(dim=1).float().mean() > 0.1:  # an input of random spikes
        return False
    alone = torch.cat([model.again(one) for one in x.split(1)])
    return (first != alone).any(dim=1).float().mean() > 0.1


@thrifty_net.symptom(
    "An output neuron spikes more often than there are time steps among the hidden spikes: it can spike in the same T "
    "steps only. If the hidden layer is silent after its first steps, pad its spikes with zeros to all T steps."
)
@_even_if_thrifty
def _(model, split):
    return model.counts.max() > model.steps


@thrifty_net.symptom(
    "Not one hidden spike is reported, yet it tells the digits apart. Return the spikes of the hidden neurons "
    "themselves, by which the output neurons are driven."
)
@_even_if_thrifty
def _(model, split):
    return model.spikes == 0 and model.accuracy > 0.2


@thrifty_net.symptom(
    "The numbers that reach the output layer are membranes, or other real numbers. A hidden neuron passes on its "
    "spikes: `self.second(spikes)`."
)
@_even_if_thrifty
def _(model, split):
    numbers = model.enters_the_output()
    return len(numbers) > 1000 and len(numbers.unique()) > 0.5 * len(numbers)


@thrifty_net.symptom(
    "It tells the digits apart, but its hidden spikes do not: they are the same for all digits, invented, or in "
    "another order. Return the spikes by which the output neurons are driven."
)
@_even_if_thrifty
def _(model, split):
    return model.accuracy > 0.7 and model.read_out() < 0.5


@thrifty_net.symptom(
    "Its first layer still has about the weights that it began with. Has the optimizer the parameters of this network, "
    "and does a gradient come through the hidden spikes? A bare `(u > 1).float()` has none."
)
def _(model, split):
    layers = [one for one in model.network.modules() if isinstance(one, nn.Linear) and one.in_features == 784]
    return bool(layers) and layers[0].weight.abs().max() < 1.01 / math.sqrt(
        784
    )  # nn.Linear starts below 1 / 28


@thrifty_net.symptom(
    "It does far better on digits that are scaled in another way, as in your training. Put the scaling into "
    "`forward`: x arrives from 0 (paper) to 1 (ink)."
)
def _(model, split):
    x = split.x[:500]
    others = (255 * x, x / 255, 2 * x - 1, 1 - x, (x - 0.1307) / 0.3081)
    as_it_is, *scores = [model.accuracy_of(model.again(one)) for one in (x, *others)]
    return max(scores) > max(0.8, as_it_is + 0.02)


@thrifty_net.symptom("Spikes of some hidden neurons are missing: join all layers, `torch.cat(..., dim=2)`.")
@_even_if_thrifty
def _(model, split):
    return model.more_than_reported()


@thrifty_net.symptom(
    "Its hidden neurons have all but fallen silent. If there is a penalty, take a smaller λ or a flatter surrogate, "
    "and count spikes per neuron, not per digit; if not, is the current too small to reach the threshold?"
)
def _(model, split):
    return model.spikes < 5


@thrifty_net.symptom(
    "Most digits get no output spike, and ten zeros decide nothing. Has the optimizer, Adam with 2e-3, the parameters "
    "of the output layer as well, and do the output neurons have a surrogate gradient?"
)
def _(model, split):
    return (model.counts.sum(dim=1) == 0).double().mean() > 0.5


@thrifty_net.symptom(
    "Read in another order, or smallest first, its counts are far more often right. Output neuron k should be the one "
    "that fires most for digit k."
)
def _(model, split):
    others = [model.counts.roll(shift, dims=1) for shift in range(1, 10)] + [
        model.counts.flip(1),
        -model.counts,
    ]
    return max(map(model.accuracy_of, others)) > max(0.5, model.accuracy + 0.3)


@thrifty_net.symptom(
    "No output neuron is said to spike more than once. Are these the spikes of one time step? Sum those of all time "
    "steps."
)
def _(model, split):
    return model.counts.max() == 1 and model.steps > 1


@thrifty_net.symptom(
    "It does hardly better than guessing. Is the cross-entropy of counts and labels part of the loss, and does the "
    "loss fall? Try a learning rate around 2e-3."
)
def _(model, split):
    return model.accuracy < 0.3


@thrifty_net.symptom(
    "Nearly every hidden neuron spikes at nearly every time step. Is a spike a one and silence a zero, is the "
    "threshold taken off after a spike, and has the penalty a plus?"
)
def _(model, split):
    return model.spikes > 0.75 * model.steps * model.units


@thrifty_net.symptom(
    "With 784 units these look like the spikes of the input. Return those of the hidden neurons."
)
def _(model, split):
    return model.units == 784 and model.spikes > THRIFTY_SPIKES


@thrifty_net.symptom(
    "It is right, but as lavish as without a penalty. Is λ times the mean number of spikes per hidden neuron in the "
    "loss that goes `backward`, with a plus and not detached? If so, raise λ."
)
def _(model, split):
    return model.accuracy >= THRIFTY_ACCURACY and model.spikes > 150


@thrifty_net.symptom(
    "It is right, but spends too many spikes. Add a penalty on hidden spikes to the loss, or raise λ if there is one; "
    "a mean over the time steps as well makes it T times weaker."
)
def _(model, split):
    return model.accuracy >= THRIFTY_ACCURACY and model.spikes > THRIFTY_SPIKES


@thrifty_net.symptom(
    "It spends too many spikes, and is wrong too often. First make it right, by more epochs, all training digits, or a "
    "learning rate around 2e-3; then raise λ, the weight of the penalty, until it is thrifty."
)
def _(model, split):
    return model.spikes > THRIFTY_SPIKES


@thrifty_net.symptom(
    "It is thrifty, more than it need be, and wrong too often. Spend more, by a third of your λ, more time steps or "
    "more hidden neurons: of those below 35 spikes, choose what is right most often on the valid digits."
)
def _(model, split):
    return model.spikes < 25


@thrifty_net.symptom(
    "It is thrifty, but wrong too often. Train for more epochs, on all training digits, or with more hidden neurons; "
    "does the loss still fall, and is the learning rate around 2e-3?"
)
def _(model, split):
    return True


# Section 16: the quiz -----------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "For the first three: which of refractory time, τ and threshold sets the ceiling, which the speed, and which "
        "the point where firing begins? What is left of the first spike when the second comes?",
        "For `twice_the_steps`: how many spikes does each code send for a pixel? For `first_step`: what does `argmax` "
        "return for ten equal numbers? For `stuck`: what is the derivative of `torch.sign`?",
        "For `ten_times`: which of the four would change the number? For `which_data`: where does little change, and "
        "when it does, time matters?",
    ],
    large_drive=Question(
        "b",
        "The time to the threshold goes to 0, the refractory time stays: 1000 / 2 = 500 Hz.",
        {
            "a": "1/τ is 100 Hz, but a strong drive reaches the threshold in far less than τ.",
            "c": "The refractory time remains, however strong the drive is.",
            "d": "A strong drive does not need a whole τ to reach the threshold.",
        },
    ),
    double_tau=Question(
        "d",
        "τ says how fast U gets there, not how far. With a drive of 0.95 it approaches 0.95.",
        {
            "a": "U approaches the drive, 0.95, for every τ: below the threshold.",
            "b": "It did not fire before, and U still approaches 0.95.",
            "c": "A slower leak does not raise U above the drive of 0.95.",
        },
    ),
    narrow_window=Question(
        "a",
        "With a faster leak less is left of the first spike when the second comes.",
        {
            "b": "With a larger β more is left of the first spike: the window gets wider.",
            "c": "With larger weights less needs to be left of the first spike: the window gets wider.",
            "d": "With a lower threshold less needs to be left of the first spike: the window gets wider.",
        },
    ),
    twice_the_steps=Question(
        "c",
        "By rate every pixel sends x input spikes per step, on average; by latency one, whatever the number of steps.",
        {
            "a": "A latency code sends one spike for a pixel, early or late: the number of steps does not matter.",
            "b": "It is the other way round: which of the two codes draws anew in every step?",
            "d": "By rate a pixel fires with probability x in every step: twice the steps, twice the spikes.",
        },
    ),
    first_step=Question(
        "b",
        "Where nothing has fired yet, all counts are 0, and the first of ten equal numbers is taken.",
        {
            "a": "No class is so frequent: each is about a tenth of the digits.",
            "c": "Most of these digits have no output spike at all, so output 0 has not fired either.",
            "d": "Most digits had not a single output spike: nothing was confused with anything.",
        },
    ),
    stuck=Question(
        "c",
        "The derivative of `torch.sign` is 0: every gradient is exactly 0, and no setting of the optimizer helps.",
        {
            "a": "Every gradient is 0, and ten times 0 is 0.",
            "b": "Every gradient is 0: a thousand more epochs will leave the weights where they are.",
            "d": "Wherever the threshold lies, the derivative of `torch.sign` is 0.",
        },
    ),
    ten_times=Question(
        "d",
        "The other three change the number, or what it is worth; this one does not.",
        {
            "a": "Nearly all networks can be made ten times cheaper at lower accuracy: ask.",
            "b": "A dense network that skips zeros, at 8 bits, costs a hundredth of one that does not: ask.",
            "c": "Moving spikes and weights often costs more than the arithmetic: ask.",
        },
    ),
    which_data=Question(
        "b",
        "Hardly anything changes for hours, and when something does, it should be noticed at once.",
        {
            "a": "There is no time in a table, and nothing changes: it would have to be coded into spikes first.",
            "c": "Each picture is new, all its pixels count, and it has no time of its own: it would have to be coded.",
            "d": "A text has no time of its own.",
        },
    ),
)
