"""The exercises of lesson 16, Scaling up: solutions, classic mistakes, hints."""

import contextlib
import copy
import io
import itertools
import math
import numbers
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import curve_fit
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from coursekit import data
from coursekit.checks import ExerciseSet, ModelExercise, NamedFunction, Question, difference, normal, show

lesson = ExerciseSet("Lesson 16")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# Section 1: where memory and time go --------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "10 parameters, Adam": (10, "Adam"),
        "10 parameters, SGD": (10, "SGD"),
        "10 parameters, momentum": (10, "SGD with momentum"),
        "one parameter, SGD": (1, "SGD"),
        "one parameter, momentum": (1, "SGD with momentum"),
        "one parameter, Adam": (1, "Adam"),
        "a small network": (101_770, "SGD with momentum"),
        "a billion parameters": (1_000_000_000, "SGD"),
        "seven billion parameters": (7_000_000_000, "Adam"),
    },
    hints=[
        "For each parameter, how many numbers are kept? Its weight, its gradient, and what the optimizer remembers: "
        "nothing for plain SGD, a velocity with momentum, two running averages for Adam.",
        "A number in float32 takes 4 bytes, and a parameter 2, 3 or 4 numbers.",
        'With `states = {"SGD": 0, "SGD with momentum": 1, "Adam": 2}[optimizer]`, each parameter takes '
        "`4 * (2 + states)` bytes.",
    ],
)
def training_bytes(parameters, optimizer):
    """Return the bytes that weights, gradients and the state of the optimizer take in float32, for so many parameters.

    optimizer is "SGD", "SGD with momentum" or "Adam".
    """
    states = {"SGD": 0, "SGD with momentum": 1, "Adam": 2}[optimizer]
    return 4 * parameters * (2 + states)


_STATES_OF = {"SGD": 0, "SGD with momentum": 1, "Adam": 2}


def _memory(*, per=4, always=2, sgd=0, momentum=1, adam=2, result=lambda count: count):
    """The bytes, with what can go wrong as arguments."""
    states = {"SGD": sgd, "SGD with momentum": momentum, "Adam": adam}
    return lambda parameters, optimizer: result(per * parameters * (always + states[optimizer]))


training_bytes.mistakes(
    {
        "One copy of the numbers is missing: weights and gradients both take 4 bytes per parameter, and the state of "
        "the optimizer comes on top.": {"(2 + states)": "(1 + states)"},
        "This is only the state of the optimizer. Add the weights and the gradients, 4 bytes each per "
        "parameter.": {"(2 + states)": "states"},
        "The bytes are the same for every optimizer: its state is missing. Momentum adds one number per parameter to "
        "weights and gradients, and Adam two.": [
            {"(2 + states)": "2"},
            _memory(always=1, momentum=0, adam=0),
        ],
        "Every optimizer gets two numbers of state per parameter, as Adam does. Plain SGD keeps none, and momentum "
        "one.": _memory(sgd=2, momentum=2),
        "Adam keeps two running averages for each parameter, of the gradient and of its square. You count "
        "one.": {'"Adam": 2': '"Adam": 1'},
        "SGD with momentum keeps a velocity for each parameter, one number in float32. You count it like plain "
        "SGD.": {'momentum": 1': 'momentum": 0'},
        "The state is counted too large: momentum keeps one number per parameter, the velocity, and Adam two, its "
        "running averages.": [
            {'momentum": 1': 'momentum": 2'},
            {'"Adam": 2': '"Adam": 3'},
            _memory(momentum=2, adam=3),
        ],
        "Plain SGD is given a number of state per parameter, but it remembers nothing between steps. Its state takes 0 "
        "bytes.": {'"SGD": 0': '"SGD": 1'},
        "Each optimizer gets one number per parameter too many. Weights and gradients are 2; the states are 0, 1 and 2 "
        "more.": {"(2 + states)": "(3 + states)"},
        "These are bits, 32 for a number in float32. A byte has 8 of them, so multiply by 4.": _memory(
            per=32
        ),
        "A number in float32 takes 4 bytes, and here it has another size. Multiply the numbers that are kept by 4.": [
            _memory(per=per) for per in (1, 2, 8, 16)
        ],
        "That is another unit, such as MB or GB. Return plain bytes, without dividing.": [
            _memory(result=lambda count, unit=unit: count / unit)
            for unit in (1e3, 1e6, 1e9, 2**10, 2**20, 2**30)
        ]
        + [_memory(result=lambda count, unit=unit: count // unit) for unit in (10**6, 10**9, 2**20, 2**30)],
        "The factor 4 and the number of parameters belong to all the numbers kept: put the sum in brackets, "
        "`4 * parameters * (2 + states)`.": [
            {"(2 + states)": "2 + states"},
            {"(2 + states)": "1 + 1 + states"},
            {"(2 + states)": "2 + 4 * states"},
            {"4 * parameters * (2 + states)": "4 * parameters + parameters + states * parameters"},
            {"4 * parameters * (2 + states)": "4 * parameters + 4 * parameters + states * parameters"},
        ],
        'No name matches: `optimizer` is one of the texts "SGD", "SGD with momentum" and "Adam", capitals included. '
        "Compare with exactly these.": [
            {'"Adam"': '"adam"', '"SGD"': '"sgd"', '"SGD with momentum"': '"sgd with momentum"'},
            {'"Adam"': '"adam"', '"SGD"': '"sgd"', '"SGD with momentum"': '"momentum"'},
            lambda parameters, optimizer: 4 * parameters * {"sgd": 2, "adam": 4}.get(optimizer, 0),
        ],
        **{
            f'None came back for one optimizer: no branch matches "{name}", capitals included.': [
                lambda parameters, optimizer, name=name: (
                    None if optimizer == name else 4 * parameters * (2 + _STATES_OF[optimizer])
                )
            ]
            for name in _STATES_OF
        },
        "`parameters` is the number of parameters already, not a list of them. Multiply it as it is.": [
            lambda parameters, optimizer: sum(p.numel() for p in parameters),
            lambda parameters, optimizer: len(parameters),
            lambda parameters, optimizer: parameters.numel(),
        ],
        "Several numbers came back. Add them: the answer is one number of bytes.": [
            lambda parameters, optimizer: tuple(
                4 * parameters * copies for copies in (1, 1, _STATES_OF[optimizer])
            ),
            lambda parameters, optimizer: [
                4 * parameters * copies for copies in (1, 1, _STATES_OF[optimizer])
            ],
            lambda parameters, optimizer: (8 * parameters, 4 * parameters * _STATES_OF[optimizer]),
        ],
    }
)
training_bytes.pairs_of_slips(
    _memory,
    {"One copy is missing: weights and gradients are two.": {"always": 1}},
    {
        "Adam's state is two numbers per parameter, not one.": {"adam": 1},
        "Momentum keeps one number per parameter, not none.": {"momentum": 0},
        "A number in float32 takes 4 bytes, and you count 1.": {"per": 1},
        "A number in float32 takes 4 bytes, and you count 8, as for float64.": {"per": 8},
        "You count 32 bits, and 4 bytes are asked for.": {"per": 32},
    },
)
training_bytes.pairs_of_slips(
    _memory,
    {"Adam's state is two numbers per parameter, not one.": {"adam": 1}},
    {
        "Momentum keeps one number per parameter, not none.": {"momentum": 0},
        "A number in float32 takes 4 bytes, and you count 1.": {"per": 1},
        "A number in float32 takes 4 bytes, and you count 8, as for float64.": {"per": 8},
    },
)


# Section 2: a batch in pieces ---------------------------------------------------------------------------------


_SQUARED = NamedFunction("mean squared error", F.mse_loss)
_ENTROPY = NamedFunction("cross-entropy", F.cross_entropy)


def _accumulating_net(layers, dtype):
    """A network with fixed weights; the smallest has one weight, 1, and no bias."""
    if layers == (1, 1):
        net = nn.Sequential(nn.Linear(1, 1, bias=False))
        net[0].weight.data.fill_(1.0)
        return net.to(dtype)
    parts = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(layers)):
        parts += [nn.Linear(inputs, outputs), nn.Tanh()]
        parts[-2].weight.data = normal(outputs, inputs, seed=60 + number)
        parts[-2].bias.data = normal(outputs, seed=70 + number)
    return nn.Sequential(*parts[:-1]).to(dtype)


def _chunks_of(sizes, inputs, outputs, *, axes=(), classes=False, seed=1, dtype=torch.float32):
    """Chunks of so many examples each, as pairs (x, y)."""
    found = []
    for number, n in enumerate(sizes):
        x = normal(n, *axes, inputs, seed=seed + number, dtype=dtype)
        y = 2 * normal(n, *axes, outputs, seed=seed + 20 + number, dtype=dtype)
        found.append((x, y.argmax(dim=-1) if classes else y))
    return found


def _left_in_the_net(accumulate, layers, loss_of, chunks, gradients_from_before):
    """The gradients that an attempt leaves in a network, and whether its weights are as they were."""
    net = _accumulating_net(layers, chunks[0][0].dtype)
    named = dict(net.named_parameters())
    if gradients_from_before:
        for p in named.values():
            p.grad = torch.ones_like(p)
    weights = copy.deepcopy(net.state_dict())
    returned = accumulate(net, loss_of, chunks)
    without = [name for name, p in named.items() if p.grad is None]
    there = f"{len(named) - len(without)} of {len(named)}"
    if not all(torch.equal(weights[name], p) for name, p in named.items()):
        return {"weights": "changed", "parameters with a gradient": "", "gradients": {}}
    return {
        "weights": "as they were",
        "parameters with a gradient": there
        + (", and a result is returned" if without and returned is not None else ""),
        "gradients": {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in named.items()
        },
    }


@lesson.exercise(
    observe=_left_in_the_net,
    cases={
        "a chunk of two and a chunk of one": (
            (1, 1),
            _SQUARED,
            [(torch.ones(2, 1), torch.tensor([[0.0], [-1.0]])), (torch.ones(1, 1), torch.tensor([[-2.0]]))],
            False,
        ),
        "chunks of one size": ((2, 1), _SQUARED, _chunks_of([2, 2], 2, 1), False),
        "one chunk": ((2, 3), _SQUARED, _chunks_of([4], 2, 3), False),
        "gradients from before": ((2, 1), _SQUARED, _chunks_of([1, 3], 2, 1, seed=3), True),
        "chunks of one example each": ((3, 1), _SQUARED, _chunks_of([1, 1, 1, 1], 3, 1, seed=4), True),
        "a classifier": ((3, 4), _ENTROPY, _chunks_of([5, 2, 1], 3, 4, classes=True, seed=5), False),
        "two layers": ((3, 5, 2), _SQUARED, _chunks_of([2, 6, 1], 3, 2, seed=6), True),
        "examples of several axes": ((2, 3), _SQUARED, _chunks_of([4, 1], 2, 3, axes=(5,), seed=7), False),
        "three chunks of three": ((3, 3), _ENTROPY, _chunks_of([3, 3, 3], 3, 3, classes=True, seed=8), False),
        "the largest chunk last": (
            (2, 4, 3),
            _ENTROPY,
            _chunks_of([1, 2, 7], 2, 3, classes=True, seed=9),
            True,
        ),
        "float64": (
            (4, 3, 2),
            _SQUARED,
            _chunks_of([3, 2, 4], 4, 2, seed=10, dtype=torch.float64),
            True,
        ),
    },
    hints=[
        "`backward()` adds to the gradients that are there. So clear them once, before the first chunk, and call it "
        "for every chunk.",
        "The mean over all examples is a weighted mean of the chunk means: a chunk of n examples out of `total` has "
        "the weight n / total.",
        "First `net.zero_grad()` and `total = sum(len(x) for x, _ in chunks)`; then, for each chunk, "
        "`(loss_of(net(x), y) * len(x) / total).backward()`.",
    ],
)
def accumulate(net, loss_of, chunks):
    """Leave in the parameters of net the gradient of the mean loss over all examples, chunk after chunk.

    chunks is a list of pairs (x, y), not all of one size. loss_of(net(x), y) is the mean loss over the examples of a
    chunk. Discard gradients left from earlier.
    """
    net.zero_grad()
    total = sum(len(x) for x, _ in chunks)
    for x, y in chunks:
        loss = loss_of(net(x), y) * len(x) / total
        loss.backward()


_ACCUMULATE_WEIGHT = "len(x) / total"
_ACCUMULATE_ZERO, _ACCUMULATE_BACK = "    net.zero_grad()\n", "        loss.backward()"


def _accumulating(*, zero="before", weight=lambda n, total, chunks: n / total):
    """The loop over the chunks, with what can go wrong as arguments."""

    def attempt(net, loss_of, chunks):
        total = sum(len(x) for x, _ in chunks)
        if zero == "before":
            net.zero_grad()
        for x, y in chunks:
            if zero == "inside":
                net.zero_grad()
            (loss_of(net(x), y) * weight(len(x), total, len(chunks))).backward()

    return attempt


def _gradients_returned(net, loss_of, chunks):
    total = sum(len(x) for x, _ in chunks)
    loss = sum(loss_of(net(x), y) * len(x) / total for x, y in chunks)
    return torch.autograd.grad(loss, list(net.parameters()))


def _with_a_step(step):
    def attempt(net, loss_of, chunks):
        accumulate.reference(net, loss_of, chunks)
        step(net)

    return attempt


def _zeros_by_hand(net, loss_of, chunks, *, data=False):
    for p in net.parameters():
        (p.grad.data if data else p.grad).zero_()
    _accumulating(zero=None)(net, loss_of, chunks)


def _scaled_in_the_loop(weight, *, zero=True):
    def attempt(net, loss_of, chunks):
        total = sum(len(x) for x, _ in chunks)
        if zero:
            net.zero_grad()
        for x, y in chunks:
            loss_of(net(x), y).backward()
            for p in net.parameters():
                p.grad *= weight(len(x), total, len(chunks))

    return attempt


accumulate.mistakes(
    {
        "The gradients of the chunk means are added up, each with weight 1. A chunk of n examples counts n / total: "
        "multiply its loss by `len(x) / total`.": {" * len(x) / total": ""},
        "Every chunk counts the same here, whatever its size, so an example of a small chunk counts more than others. "
        "Weight each loss by `len(x) / total`.": {_ACCUMULATE_WEIGHT: "1 / len(chunks)"},
        "Only the last chunk counts: either `zero_grad()` inside the loop wipes the others, or `backward()` comes "
        "after it. Clear before the loop, go backward in it.": [
            {_ACCUMULATE_ZERO: "", "    loss = ": "    net.zero_grad()\n        loss = "},
            {_ACCUMULATE_BACK: "    loss.backward()"},
        ],
        "Gradients from before are still in the sum: `backward()` adds to what is there. Call `net.zero_grad()` once, "
        "before the loop.": {_ACCUMULATE_ZERO: ""},
        "Each loss is multiplied by its number of examples, and divided by the number of chunks. Divide by the number "
        "of all examples: `sum(len(x) for x, _ in chunks)`.": {"/ total": "/ len(chunks)"},
        "This is the gradient of the summed loss, not of the mean. Divide by the number of all examples.": {
            " / total": ""
        },
        "A chunk of n examples should count n times as much as one example, but `len(x)` is missing as a factor, or "
        "you divide by it. The weight is `len(x) / total`.": [
            {_ACCUMULATE_WEIGHT: "1 / total"},
            {_ACCUMULATE_WEIGHT: "total / len(x)"},
            {_ACCUMULATE_WEIGHT: "1 / len(x)"},
            {_ACCUMULATE_WEIGHT: "len(chunks) / len(x)"},
        ],
        "All chunks are taken to have the size of one of them, the first or the last, and they differ. Use `len(x)` "
        "inside the loop, and add up the sizes for the total.": [
            {"* len(x)": "* len(chunks[0][0])"},
            {"* len(x)": "* len(chunks[-1][0])"},
            {"sum(len(x) for x, _ in chunks)": "len(chunks[0][0]) * len(chunks)"},
        ],
        "The total is still growing when the loop divides by it, so early chunks count too much. Add up all sizes "
        "before the loop: `sum(len(x) for x, _ in chunks)`.": {
            "sum(len(x) for x, _ in chunks)": "0",
            "        loss = ": "        total += len(x)\n        loss = ",
        },
        "`p.grad` is None until the first `backward()`, so it has no `zero_()` yet. `net.zero_grad()` takes care of "
        "that.": [
            _zeros_by_hand,
            lambda net, loss_of, chunks: _zeros_by_hand(net, loss_of, chunks, data=True),
        ],
        "`p.grad` is scaled in the loop, and with it what earlier chunks have left there. Scale the loss of each chunk "
        "before `backward()` instead.": [
            _scaled_in_the_loop(lambda n, total, chunks: n / total),
            _scaled_in_the_loop(lambda n, total, chunks: n / total, zero=False),
            _scaled_in_the_loop(lambda n, total, chunks: 1 / chunks),
            _scaled_in_the_loop(lambda n, total, chunks: 1 / chunks, zero=False),
        ],
        "`loss_of` takes the outputs of the network and then y: `loss_of(net(x), y)`.": [
            {"net(x), y": "y, net(x)"},
            {"net(x), y": "x, y"},
        ],
        "Numbers and examples are mixed: `numel()` counts every number of a chunk. Use `len(x)` both for the chunk "
        "and for the total.": [
            {"sum(len(x)": "sum(x.numel()"},
            {"* len(x)": "* x.numel()"},
            {"* len(x)": "* y.numel()"},
            {"for x, _": "for _, y", "sum(len(x)": "sum(y.numel()"},
        ],
        "The running sum of losses goes backward at every chunk, so earlier chunks go backward again. Call "
        "`backward()` on the loss of the current chunk alone.": [
            {"    for x, y": "    loss = 0\n    for x, y", "loss = loss_of": "loss = loss + loss_of"},
            {
                "    for x, y": "    loss = 0\n    for x, y",
                "loss = loss_of": "loss = loss + loss_of",
                "backward()": "backward(retain_graph=True)",
            },
        ],
        "No new gradient is left in the parameters. Call `loss.backward()` for every chunk, and `zero_grad()` only "
        "before the first: what is returned is not looked at.": [
            {_ACCUMULATE_BACK: ""},
            {_ACCUMULATE_BACK: "    return loss"},
            {_ACCUMULATE_BACK: _ACCUMULATE_BACK + "\n    net.zero_grad()", _ACCUMULATE_ZERO: ""},
            {_ACCUMULATE_BACK: _ACCUMULATE_BACK + "\n        net.zero_grad()"},
            {_ACCUMULATE_BACK: _ACCUMULATE_BACK + "\n    net.zero_grad(set_to_none=False)"},
            _gradients_returned,
        ],
        "The weights have changed: the function should leave gradients and take no step. The caller's optimizer does "
        "that.": [
            _with_a_step(lambda net: torch.optim.SGD(net.parameters(), lr=0.1).step()),
        ],
        "The loss has lost its graph, through `.item()`, `.detach()` or `no_grad()`, so there is nothing to go "
        "backward through. Call `backward()` on the loss itself.": [
            {"y) *": "y).item() *"},
            {"y) *": "y).detach() *"},
            {"net(x)": "net(x).detach()"},
        ],
    }
)
accumulate.pairs_of_slips(
    _accumulating,
    {
        "Gradients from before still count: call `net.zero_grad()` before the loop.": {"zero": None},
        "`zero_grad()` inside the loop leaves the last chunk alone, as does `backward()` after it.": {
            "zero": "inside"
        },
    },
    {
        "The losses lack their weight `len(x) / total`.": {"weight": lambda n, total, chunks: 1},
        "Every chunk weighs the same: take `len(x) / total`.": {
            "weight": lambda n, total, chunks: 1 / chunks
        },
        "The divisor is the number of chunks: take that of all examples.": {
            "weight": lambda n, total, chunks: n / chunks
        },
        "The sum is not divided by the number of all examples.": {"weight": lambda n, total, chunks: n},
    },
)


@accumulate.remark(
    "A remark: several chunks are in memory at once, so nothing is saved. Run each chunk forward and call `backward()` "
    "before the next: that frees its activations."
)
def _(attempt):
    waiting, most = 0, 0

    def forward(_module, inputs, output):
        nonlocal waiting, most
        if output.requires_grad:
            waiting += len(inputs[0])
            most = max(most, waiting)
            output.register_hook(backward)

    def backward(gradient):
        nonlocal waiting
        waiting -= len(gradient)

    net = _accumulating_net((2, 1), torch.float32)
    net.register_forward_hook(forward)
    attempt(net, _SQUARED, _chunks_of([2, 3, 1], 2, 1))
    return most > 3


# Section 3: several processes, by hand ------------------------------------------------------------------------


def _nans(D):
    return torch.full((D,), torch.nan)


def _shares(sizes, D, seed, dtype=torch.float32):
    """Gradients of so many processes, nan from those without an example, and the sizes."""
    rows = normal(len(sizes), D, seed=seed, dtype=dtype)
    return [row if n else torch.full_like(row, torch.nan) for row, n in zip(rows, sizes, strict=True)], sizes


@lesson.exercise(
    cases={
        "shares of 3 and of 1": ([torch.tensor([1.0, 2.0]), torch.tensor([5.0, 6.0])], [3, 1]),
        "an empty share": ([torch.tensor([1.0, 2.0]), _nans(2), torch.tensor([4.0, 8.0])], [2, 0, 1]),
        "equal shares": (_shares([4, 4, 4], 2, 1)),
        "one process": (_shares([5], 3, 2)),
        "one example each": (_shares([1, 1, 1, 1], 3, 3)),
        "the first share is empty": (_shares([0, 2, 7], 4, 4)),
        "the last two shares are empty": (_shares([3, 5, 0, 0], 5, 5)),
        "an empty share that sends numbers": (
            [torch.tensor([2.0, 1.0, 0.0]), torch.tensor([9.0, -9.0, 9.0]), torch.tensor([8.0, 4.0, 2.0])],
            [1, 0, 4],
        ),
        "as many processes as numbers": (_shares([2, 1, 6], 3, 6)),
        "one number": (_shares([6, 2, 3], 1, 7)),
        "float64": (_shares([10, 0, 3, 1, 2], 3, 8, torch.float64)),
    },
    hints=[
        "A process that averaged over 3 examples speaks for three, one that averaged over 1 for one: what is the sum "
        "of all examples' gradients?",
        "Weight each gradient by its size, add, and divide by the number of all examples. But 0 times nan is nan.",
        "`weighted = [n * g for g, n in zip(gradients, sizes) if n > 0]`; the rest is a sum of tensors over a sum of "
        "numbers.",
    ],
)
def weighted_gradient(gradients, sizes):
    """Return the gradient (D,) of the mean loss over all examples, from that of each process over its share.

    gradients is a list of tensors (D,), means over sizes[r] examples. A process without an example, size 0, may hand in
    nan: it does not count.
    """
    weighted = [n * g for g, n in zip(gradients, sizes, strict=True) if n > 0]
    return sum(weighted) / sum(sizes)


def _weighting(
    *,
    skip=True,
    weight=lambda n: n,
    divide=lambda sizes: sum(sizes),
    result=lambda total, gradients, sizes: total,
):
    """The weighted mean, with what can go wrong as arguments."""

    def attempt(gradients, sizes):
        pairs = [(g, n) for g, n in zip(gradients, sizes, strict=True) if n > 0 or not skip]
        total = sum(weight(n) * g for g, n in pairs) / divide([n for _, n in pairs])
        return result(total, gradients, sizes)

    return attempt


def _in_a_loop(
    *,
    begin=lambda gradients, sizes: torch.zeros_like(gradients[0]),
    after=lambda pairs: [(g, n) for g, n in pairs if n > 0],
    add=lambda out, g, n, total: out + g * n / total,
    result=lambda out: out,
):
    """The same in a loop, from where it begins, over some of the pairs of gradient and size."""

    def attempt(gradients, sizes):
        out, total = begin(gradients, sizes), sum(sizes)
        for g, n in after(zip(gradients, sizes, strict=True)):
            out = add(out, g, n, total)
        return result(out)

    return attempt


def _in_the_first_place(gradients, sizes):
    total = gradients[0]
    total *= sizes[0]
    for g, n in zip(gradients[1:], sizes[1:], strict=True):
        if n:
            total += g * n
    return total.nan_to_num() / sum(sizes)


def _stacked(gradients, clean=True):
    G = torch.stack(gradients)
    return G.nan_to_num() if clean else G


weighted_gradient.mistakes(
    {
        "Every process counts the same, whatever its size. Weight each gradient by its number of examples, "
        "and divide by the number of all.": [
            _weighting(weight=lambda n: 1, divide=len),
            lambda gradients, sizes: torch.stack(gradients).nanmean(dim=0),
            lambda gradients, sizes: torch.stack([g for g in gradients if not g.isnan().any()]).mean(dim=0),
        ],
        "The gradients are added as they are, without weight and without division. Multiply each by its size, and "
        "divide the sum by the number of all examples.": [
            _weighting(weight=lambda n: 1, divide=lambda sizes: 1),
            lambda gradients, sizes: torch.stack(gradients).nansum(dim=0),
        ],
        "The empty share makes the sum nan, since 0 times nan is nan. Leave out the processes of size 0: `if n > 0`.": [
            {" if n > 0": ""},
        ],
        "`nan_to_num` comes too late: after the sum it turns the whole gradient into zeros. Leave the empty shares out "
        "before you add.": lambda gradients, sizes: (
            sum(n * g for g, n in zip(gradients, sizes, strict=True)) / sum(sizes)
        ).nan_to_num(),
        "This is the sum of all examples' gradients, and the mean is asked for. Divide by `sum(sizes)`.": {
            " / sum(sizes)": ""
        },
        "There is a division by the number of processes. Divide by the number of all examples, `sum(sizes)`, and by "
        "nothing else.": [
            {"sum(sizes)": "len(weighted)"},
            {"sum(sizes)": "len(sizes)"},
            {"sum(sizes)": "sum(sizes) / len(weighted)"},
            {"sum(sizes)": "sum(sizes) / len(sizes)"},
        ],
        "The gradients are added without their sizes, and then divided by the number of all examples. Each is a mean: "
        "multiply by n first.": [
            {"n * g": "g"},
            lambda gradients, sizes: _stacked(gradients).sum(dim=0) / sum(sizes),
        ],
        "The weights are upside down: the smallest share counts most. A mean over n examples is multiplied by n, not "
        "divided by it.": [
            _weighting(weight=lambda n: 1 / n, divide=lambda sizes: 1),
            _weighting(weight=lambda n: 1 / n, divide=len),
            _weighting(weight=lambda n: 1 / n),
            _weighting(weight=lambda n: 1 / n, divide=lambda sizes: sum(1 / n for n in sizes)),
            _weighting(weight=lambda n: 1 / n, divide=lambda sizes: 1 / sum(sizes)),
        ],
        "The sum is divided by the largest size. The weights have to add up to 1: divide by `sum(sizes)`.": {
            "sum(sizes)": "max(sizes)"
        },
        "The weights are not proportional to the sizes: there is a root, a square or a softmax in them. A share of n "
        "examples has the weight `n / sum(sizes)`.": [
            _weighting(weight=lambda n: n**0.5, divide=lambda sizes: sum(n**0.5 for n in sizes)),
            _weighting(weight=lambda n: n**0.5),
            _weighting(weight=lambda n: n**2, divide=lambda sizes: sum(n**2 for n in sizes)),
            _weighting(weight=lambda n: n**2),
            _weighting(weight=lambda n: n**2, divide=lambda sizes: sum(sizes) ** 2),
            lambda gradients, sizes: (
                torch.tensor(sizes).double().softmax(dim=0).to(gradients[0]) @ _stacked(gradients)
            ),
        ],
        "This is the gradient of one process. Go through all of them, without a `return` inside the loop.": [
            lambda gradients, sizes: gradients[0],
            lambda gradients, sizes: gradients[-1],
            lambda gradients, sizes: sizes[0] * gradients[0] / sum(sizes),
            lambda gradients, sizes: gradients[sizes.index(max(sizes))],
        ],
        "The empty share still counts in the divisor, as if it had an example. Divide by `sum(sizes)`: size 0 adds "
        "nothing there.": [
            lambda gradients, sizes: (
                sum(n * g for g, n in zip(gradients, sizes, strict=True) if n > 0)
                / sum(max(n, 1) for n in sizes)
            ),
            lambda gradients, sizes: (
                sum(max(n, 1) * g.nan_to_num() for g, n in zip(gradients, sizes, strict=True))
                / sum(max(n, 1) for n in sizes)
            ),
        ],
        "The sum runs over the numbers of each gradient, axis 1. Processes are axis 0 of the stacked gradients: "
        "`dim=0`.": [
            lambda gradients, sizes: (
                (_stacked(gradients) * torch.tensor(sizes)[:, None]).sum(dim=1) / sum(sizes)
            ),
            lambda gradients, sizes: (
                (_stacked(gradients, clean=False) * torch.tensor(sizes)[:, None]).sum(dim=1) / sum(sizes)
            ),
            lambda gradients, sizes: _stacked(gradients).mean(dim=1),
            lambda gradients, sizes: _stacked(gradients, clean=False).mean(dim=1),
        ],
        "The sizes meet the D numbers, not the processes: stacked, the gradients are (processes, D). Multiply by a "
        "column, `torch.tensor(sizes)[:, None]`, and add along axis 0.": [
            lambda gradients, sizes: (_stacked(gradients) * torch.tensor(sizes)).sum(dim=0) / sum(sizes),
            lambda gradients, sizes: (
                (_stacked(gradients, clean=False) * torch.tensor(sizes)).sum(dim=0) / sum(sizes)
            ),
            lambda gradients, sizes: _stacked(gradients) @ torch.tensor(sizes).to(gradients[0]) / sum(sizes),
        ],
        "`//` rounds down to whole numbers. Divide with `/`.": [
            {"/ sum(sizes)": "// sum(sizes)"},
            _in_a_loop(add=lambda out, g, n, total: out + g * n // total),
            _in_a_loop(
                after=list, add=lambda out, g, n, total: out + g * n // total, result=torch.nan_to_num
            ),
        ],
        "The nan gradients are left out, but their sizes are not, so gradients meet the sizes of others. Filter the "
        "pairs: `for g, n in zip(gradients, sizes) if n > 0`.": [
            lambda gradients, sizes: (
                sum(g * n for g, n in zip([g for g in gradients if not g.isnan().any()], sizes, strict=False))
                / sum(sizes)
            ),
        ],
        "Only the last share is left: `=` in the loop puts each in the place of those before. Add with `+=`, from a "
        "tensor of zeros.": [_in_a_loop(add=lambda out, g, n, total: g * n / total)],
        "The loop ends at the first empty share, as with `break`, and the shares after it are lost. Go on with "
        "`continue`.": [
            _in_a_loop(begin=begin, after=lambda pairs: itertools.takewhile(lambda pair: pair[1] > 0, pairs))
            for begin in (lambda gradients, sizes: torch.zeros_like(gradients[0]), lambda gradients, sizes: 0)
        ],
        "The result starts in `gradients[0]`, where `*=` and `+=` change the caller's tensor and `nan_to_num` comes "
        "too late for a nan. Begin with zeros, and add only shares with n > 0.": _in_the_first_place,
        "The sum begins with `gradients[0]`, which is nan if the first share is empty. Begin with zeros, and add only "
        "shares with n > 0.": [
            _in_a_loop(
                begin=lambda gradients, sizes: gradients[0] * sizes[0] / sum(sizes),
                after=lambda pairs: [(g, n) for g, n in list(pairs)[1:] if n > 0],
            ),
        ],
        "What comes back is not one tensor (D,). Add the weighted gradients of the processes, divide by `sum(sizes)`, "
        "and return that alone.": [
            {"sum(weighted) / sum(sizes)": "[g / sum(sizes) for g in weighted]"},
            {"sum(weighted) / sum(sizes)": "torch.stack(weighted) / sum(sizes)"},
            {"sum(weighted) / sum(sizes)": "weighted"},
            _weighting(result=lambda total, gradients, sizes: (total, sum(sizes))),
            _weighting(result=lambda total, gradients, sizes: total.sum()),
            _weighting(result=lambda total, gradients, sizes: total.mean()),
            _weighting(result=lambda total, gradients, sizes: total[None]),
        ],
    }
)
weighted_gradient.mistakes(
    {
        "Two slips. Every process counts the same, whatever its size, and an empty share counts in the divisor too. "
        "Weight each gradient by n, and divide by `sum(sizes)`.": [
            lambda gradients, sizes: _stacked(gradients).mean(dim=0),
            lambda gradients, sizes: (
                sum(g for g, n in zip(gradients, sizes, strict=True) if n > 0) / len(sizes)
            ),
        ],
    }
)
_WEIGHTS_LOST = {
    "Every process counts the same, whatever its size.": {"weight": lambda n: 1, "divide": len},
    "The sum is not divided by the number of all examples.": {"divide": lambda sizes: 1},
    "The divisor is the number of processes, not of examples.": {"divide": len},
    "The sizes are missing as weights.": {"weight": lambda n: 1},
    "The gradients are added without weights and without division.": {
        "weight": lambda n: 1,
        "divide": lambda sizes: 1,
    },
}
weighted_gradient.pairs_of_slips(
    _weighting, {"The nan of an empty share gets into the sum.": {"skip": False}}, _WEIGHTS_LOST
)


def _ring_chunks(N, *shape, seed, dtype=torch.float32):
    """Chunks of N processes, N for each."""
    values = normal(N, N, *shape, seed=seed, dtype=dtype)
    return [list(own.unbind()) for own in values]


def _tensors_in(value):
    """All tensors of a nested list."""
    if isinstance(value, list | tuple):
        return [one for part in value for one in _tensors_in(part)]
    return [value] if isinstance(value, Tensor) else []


def _ring_delivers(value, of):
    """What arrives: `of` every tensor of what was sent."""
    if isinstance(value, list | tuple):
        return [_ring_delivers(part, of) for part in value]
    return of(value)


def _round_the_ring(ring_all_reduce, chunks):
    """What the processes hold, and what they sent for it.

    In a second run whatever arrives is nan: so are then all the sums, unless one is made without what arrived.
    """
    N, sent, steps, kinds = len(chunks), Counter(), set(), set()
    shapes = {chunk.shape for own in chunks for chunk in own}

    def network(of):
        def send(sender, receiver, chunk):
            if not 0 <= receiver < N:
                raise ValueError(f"there is no process {receiver}, only 0 to {N - 1}")
            sent[sender] += 1
            steps.add((receiver - sender) % N)
            kinds.add(isinstance(chunk, Tensor) and chunk.shape in shapes)
            return _ring_delivers(chunk, of)

        return send

    given = copy.deepcopy(chunks)
    held = ring_all_reduce(given, network(torch.clone))
    messages = ", ".join(str(sent[r]) for r in range(N))
    lost = ring_all_reduce(copy.deepcopy(chunks), network(lambda one: torch.full_like(one, torch.nan)))
    heard = N == 1 or all(one.isnan().all() for one in _tensors_in(lost))
    to = {"the next process": {1 % N}, "the process before": {-1 % N}}
    return {
        "sums": held,
        "messages from each process": messages,
        "sent to": next((name for name, way in to.items() if steps <= way), "others than the next process"),
        "a message": "one chunk" if all(kinds) else "not one chunk",
        "the sums are made of": "own chunks and arrivals" if heard else "chunks that were never sent",
        "chunks handed in": "changed" if difference(chunks, given) else "as they were",
    }


def _lists(*rows):
    return [[torch.tensor([value]) for value in row] for row in rows]


@lesson.exercise(
    observe=_round_the_ring,
    cases={
        "two processes": (_lists((1.0, 2.0), (10.0, 20.0)),),
        "three processes": (_lists((1.0, 2.0, 3.0), (10.0, 20.0, 30.0), (100.0, 200.0, 300.0)),),
        "one process": ([[torch.tensor([4.0, 5.0])]],),
        "four processes": (_ring_chunks(4, 3, seed=1),),
        "chunks of unequal length": ([list(row.tensor_split(4)) for row in normal(4, 10, seed=2)],),
        "five chunks of five": (_ring_chunks(5, 5, seed=3),),
        "chunks that are matrices": (_ring_chunks(3, 2, 4, seed=4),),
        "seven processes": (_ring_chunks(7, 1, seed=5),),
        "float64": (_ring_chunks(3, 2, seed=6, dtype=torch.float64),),
    },
    hints=[
        "Take N = 3 and a pencil. In the first step process r sends chunk r, and its neighbour adds it to its own. "
        "Which chunk can that neighbour send on in the next step? After N − 1 steps, who holds a finished sum?",
        "In step s, from 0, process r sends chunk (r − s) % N, and process r + 1 adds it to its own. Then process r "
        "holds the sum of chunk (r + 1) % N; sent on in the same way, it replaces what is there.",
        "Write `held = [[chunk.clone() for chunk in own] for own in chunks]`, then two phases of N − 1 steps, each "
        "with `c = (r + phase - step) % N` and `arrived = send(r, (r + 1) % N, held[r][c])`.",
    ],
)
def ring_all_reduce(chunks, send):
    """Return what every process holds after a ring all-reduce: a list of N lists of N tensors, the sums.

    chunks[r][c] is chunk c of process r; they stay as they are. Process r sends only to process (r + 1) % N, one chunk
    per step: arrived = send(r, (r + 1) % N, chunk) returns the chunk as it arrives there. For N − 1 steps partial sums
    travel, for another N − 1 finished ones.
    """
    N = len(chunks)
    held = [[chunk.clone() for chunk in own] for own in chunks]
    for phase in (0, 1):
        for step in range(N - 1):
            index = [(r + phase - step) % N for r in range(N)]
            arrived = [send(r, (r + 1) % N, held[r][index[r]]) for r in range(N)]
            for r in range(N):
                there, c = held[(r + 1) % N], index[r]
                there[c] = arrived[r] if phase else there[c] + arrived[r]
    return held


_RING_COPY = "[[chunk.clone() for chunk in own] for own in chunks]"
_RING_UPDATE = "arrived[r] if phase else there[c] + arrived[r]"


def _ring(
    *,
    start=lambda chunks: [[chunk.clone() for chunk in own] for own in chunks],
    phases=(0, 1),
    first=lambda old, arrived: old + arrived,
    second=lambda old, arrived: arrived,
    shift=1,
    taken=0,
    place=(0, 0),
    result=lambda held: held,
):
    """The ring, with what can go wrong as arguments."""

    def attempt(chunks, send):
        N, held = len(chunks), start(chunks)
        for phase in phases:
            for step in range(N - 1):
                index = [(r + shift * phase - step) % N for r in range(N)]
                arrived = [send(r, (r + 1) % N, held[r][index[r]]) for r in range(N)]
                for r in range(-1, N - 1):  # its receiver is r + 1, from 0 on
                    there, c = held[r + 1], (index[r] + place[phase]) % N
                    there[c] = (second if phase else first)(there[c], arrived[(r + taken) % N])
        return result(held)

    return attempt


def _sums_at_once(chunks):
    return [sum(column) for column in zip(*chunks, strict=True)]


def _sums_read(chunks, send):
    return [[chunk.clone() for chunk in _sums_at_once(chunks)] for _ in chunks]


def _sums_by_everyone(chunks, send):
    N, held = len(chunks), [[chunk.clone() for chunk in own] for own in chunks]
    for r, other in itertools.permutations(range(N), 2):
        for c in range(N):
            held[other][c] = held[other][c] + send(r, other, chunks[r][c])
    return held


def _sums_by_the_first(chunks, send):
    N, total = len(chunks), list(chunks[0])
    for r in range(1, N):
        total = [there + send(r, 0, chunk) for there, chunk in zip(total, chunks[r], strict=True)]
    return [total, *([send(0, r, chunk) for chunk in total] for r in range(1, N))]


def _sums_by_owners(chunks, send):
    """Each process sums one chunk, and hands it to all others."""
    N = len(chunks)
    sums = [sum(chunks[r][c] if r == c else send(r, c, chunks[r][c]) for r in range(N)) for c in range(N)]
    return [[sums[c] if r == c else send(c, r, sums[c]) for c in range(N)] for r in range(N)]


def _all_chunks_round(chunks, send):
    """Every process passes on all chunks of all others."""
    N = len(chunks)
    held, passing = [list(own) for own in chunks], [list(own) for own in chunks]
    for _ in range(N - 1):
        passing = [[send((r - 1) % N, r, chunk) for chunk in passing[(r - 1) % N]] for r in range(N)]
        held = [
            [there + one for there, one in zip(own, new, strict=True)]
            for own, new in zip(held, passing, strict=True)
        ]
    return held


def _all_chunks_at_once(chunks, send):
    """The same, all chunks of a process in one message."""
    N = len(chunks)
    held, passing = [list(own) for own in chunks], [list(own) for own in chunks]
    for _ in range(N - 1):
        passing = [send((r - 1) % N, r, passing[(r - 1) % N]) for r in range(N)]
        held = [
            [there + one for there, one in zip(own, new, strict=True)]
            for own, new in zip(held, passing, strict=True)
        ]
    return held


def _sums_in_a_line(chunks, send):
    """All chunks go from process to process, and the sums round once more."""
    N = len(chunks)
    total = list(chunks[0])
    for r in range(N - 1):
        total = [own + send(r, r + 1, chunk) for own, chunk in zip(chunks[r + 1], total, strict=True)]
    held = {N - 1: total}
    for r in range(N - 1):
        held[r] = total = [send((r - 1) % N, r, chunk) for chunk in total]
    return [held[r] for r in range(N)]


ring_all_reduce.mistakes(
    {
        "Only the sums travel here: after N − 1 steps each process has one finished sum. A second round of N − 1 steps "
        "passes the finished ones on.": [
            {"(0, 1)": "(0,)"},
            {"phase in (0, 1)": "phase in range(1)"},
        ],
        "This reads the chunks of other processes directly, which separate processes cannot do. All that comes from "
        "another process is what `send` returns.": [
            _sums_read,
            {"+ arrived[r]": "+ held[r][c]"},
            {"+ arrived[r]": "+ held[r][c]", "arrived[r] if phase": "held[r][c] if phase"},
        ],
        "Chunks are sent to others than the next process. In a ring, process r sends to (r + 1) % N alone, and the "
        "sums travel on from there.": [_sums_by_everyone, _sums_by_the_first, _sums_by_owners],
        "The chunks go round the other way, to process r − 1. Process r sends to `(r + 1) % N`, and the chunk it "
        "sends is one lower at each step.": [
            {"(r + 1) % N": "(r - 1) % N", "r + phase - step": "r - phase + step"},
            {"(r + 1) % N": "(r - 1) % N"},
        ],
        "The sums are right, but too much is sent: one chunk from each process in each of 2 (N − 1) steps is enough. "
        "Let process r begin with chunk r, and pass on sums, not the chunks of others.": [
            _all_chunks_round,
            _all_chunks_at_once,
            _sums_in_a_line,
        ],
        "Arriving chunks are added in the second phase too, and there they are finished sums. Let them replace "
        "what the process holds.": {_RING_UPDATE: "there[c] + arrived[r]"},
        "The second phase begins with the wrong chunk. After the first, process r holds the finished sum of chunk "
        "(r + 1) % N, so that is the one it sends.": [
            {"r + phase - step": "r - step"},
            {"r + phase - step": "r - phase - step"},
            {"r + phase - step": "r + 2 * phase - step"},
        ],
        "The sums are right, but `chunks` has changed on the way. Start from a copy of each chunk: "
        "`[[c.clone() for c in own] for own in chunks]`.": [
            {_RING_COPY: "chunks"},
            {_RING_COPY: "list(chunks)"},
            {
                _RING_COPY: "[list(own) for own in chunks]",
                "there[c] = "
                + _RING_UPDATE: "there[c].copy_(arrived[r]) if phase else there[c].add_(arrived[r])",
            },
        ],
        "The sums are there, but not as a list of N lists of N tensors. Keep a list for each process, with a tensor "
        "for each chunk.": [
            _ring(result=lambda held: held[0]),
            _ring(result=lambda held: [torch.cat(own) for own in held]),
            _ring(result=lambda held: torch.cat(held[0])),
            _ring(result=lambda held: [one for own in held for one in own]),
            _ring(result=lambda held: torch.stack([torch.cat(own) for own in held])),
        ],
        "This is the mean over the processes: there is a division by N. An all-reduce returns the sums.": [
            _ring(result=lambda held: [[one / len(held) for one in own] for own in held]),
            _ring(start=lambda chunks: [[chunk / len(chunks) for chunk in own] for own in chunks]),
        ],
        "That is one step too many: each phase takes N − 1 steps, since a process has its own chunk already.": [
            {"range(N - 1)": "range(N)"},
            {"range(N - 1)": "range(N - phase)"},
            {"range(N - 1)": "range(N - 1 + phase)"},
        ],
        "That is one step too few: each of the two phases takes N − 1 steps.": [
            {"range(N - 1)": "range(N - 2)"},
            {"range(N - 1)": "range(N - 1 - phase)"},
            {"range(N - 1)": "range(N - 2 + phase)"},
        ],
        "Two slips: the second phase begins with chunk r instead of r + 1, and adds instead of replacing.": _ring(
            shift=0, second=torch.add
        ),
        "The phases are mixed up: the first has to add what arrives, and the second, in which finished sums arrive, to "
        "replace what is there.": [
            _ring(first=lambda old, arrived: arrived, second=torch.add),
            _ring(
                start=lambda chunks: [list(own) for own in chunks],
                first=lambda old, arrived: arrived,
                second=torch.Tensor.add_,
            ),
        ],
        "The finished sums are read from other processes without sending, which separate processes cannot do. Pass "
        "them on by `send`, in a second round of N − 1 steps.": _ring(
            phases=(0,),
            result=lambda held: [[held[c - 1][c] for c in range(len(held))] for _ in held],
        ),
        "A process takes what was sent to another. What reaches process r came from process r − 1: "
        "`arrived[(r - 1) % N]`.": [_ring(taken=1), _ring(taken=2)],
        "What arrives is put in the place of the chunk that process r sent, but it is another: from process r − 1 "
        "comes chunk (r − 1 − step) % N.": [_ring(place=(1, 0)), _ring(place=(1, 1))],
        "A process sends a chunk that did not arrive in the step before. Step by step its index goes down by one: "
        "`(r - step) % N` in the first phase.": [
            {"phase - step": "phase + step"},
            {"phase - step": "phase"},
            {"r + phase - step": "r"},
            {"r + phase - step": "step"},
        ],
        "A process sends the chunk it began with, not the sum it holds by now. Send from `held`, where arrivals are "
        "added.": [
            {"held[r][index[r]]": "chunks[r][index[r]]"},
            {"held[r][index[r]]": "(held if phase else chunks)[r][index[r]]"},
        ],
        "Arriving chunks replace what is there in the first phase as well, so nothing is ever added. First add, and "
        "replace only in the second phase.": {_RING_UPDATE: "arrived[r]"},
        "What arrives is put back into process r, which sent it. It belongs to the receiver: "
        "`held[(r + 1) % N]`.": {"held[(r + 1) % N]": "held[r]"},
        "An index runs past the last process or chunk: after N − 1 comes 0. Write `% N` behind every index that goes "
        "round the ring.": [
            {"held[(r + 1) % N]": "held[r + 1]"},
            {"(r + 1) % N": "r + 1"},
            {"send(r, (r + 1) % N": "send(r, r + 1"},
            {"(r + phase - step) % N": "r + phase - step"},
            {"(r + 1) % N": "r + 1", "(r + phase - step) % N": "r + phase - step"},
        ],
    }
)
_RING_WRONG = {
    "The second phase is missing.": {"phases": (0,)},
    "The second phase adds where it should replace.": {"second": lambda old, arrived: old + arrived},
    "The second phase begins with chunk r: it is chunk (r + 1) % N that is finished.": {"shift": 0},
}
_RING_ENDS = {
    "The chunks handed in are changed: copy them first.": {"start": lambda chunks: chunks},
    "The chunks come back joined, and a list of lists is expected.": {
        "result": lambda held: [torch.cat(own) for own in held]
    },
}
ring_all_reduce.pairs_of_slips(_ring, _RING_ENDS, _RING_WRONG)
ring_all_reduce.pairs_of_slips(_ring, _RING_ENDS)
ring_all_reduce.pairs_of_slips(
    _ring,
    {"The chunks handed in are changed: copy them first.": {"start": lambda chunks: chunks}},
    {
        "There is a division by N, and sums are asked for.": {
            "result": lambda held: [[one / len(held) for one in own] for own in held]
        }
    },
)


# Section 4: which examples, which noise -----------------------------------------------------------------------


def _shuffled_order(n, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


@lesson.exercise(
    cases={
        "process 0 of two": (torch.arange(7), 4, 0, 2),
        "process 1 of two": (torch.arange(7), 4, 1, 2),
        "a shuffled order, all batches full": (_shuffled_order(12, 1), 6, 1, 3),
        "batches that do not divide evenly": (_shuffled_order(15, 2), 5, 1, 2),
        "an empty share of the last batch": (_shuffled_order(17, 3), 8, 2, 4),
        "more processes than examples in a batch": (_shuffled_order(6, 4), 2, 2, 3),
        "as many processes as batches": (_shuffled_order(16, 5), 4, 2, 4),
        "one process": (_shuffled_order(8, 6), 3, 0, 1),
        "one short batch": (_shuffled_order(5, 7), 8, 1, 2),
        "batches of one": (_shuffled_order(3, 8), 1, 0, 2),
        "process 3 of four, a short last batch": (_shuffled_order(19, 9), 7, 3, 4),
    },
    hints=[
        "First cut the epoch into batches, then deal out each batch. `order.split(batch)` gives the batches, the short "
        "one included.",
        "Process 1 of 3 gets the cards 1, 4, 7, … of a batch: a slice that begins at the rank and goes in steps of the "
        "number of processes.",
        "`part[rank::processes]` for each `part` of `order.split(batch)`, in a list.",
    ],
)
def share_of_batches(order, batch, rank, processes):
    """Return process `rank`'s share of each batch of an epoch: a list of tensors of entries of order, one per step.

    order (n,) holds the indices of all examples as they come, batch after batch, the last one perhaps short. Each
    batch is dealt out like cards: to process 0, 1, 2, … and again from 0. A share may be empty.
    """
    return [part[rank::processes] for part in order.split(batch)]


def _dealt(
    batches=lambda order, batch: order.split(batch),
    share=lambda part, rank, processes: part[rank::processes],
    keep=lambda share: True,
    form=list,
):
    """An attempt that cuts batches, takes a share of each, keeps some and returns them in a form."""

    def attempt(order, batch, rank, processes):
        shares = [share(part, rank, processes) for part in batches(order, batch)]
        return form([one for one in shares if keep(one)])

    return attempt


def _full_batches(order, batch):
    return [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]


def _topped_up(order, batch):
    """Batches that are all full: the last one goes on with the first examples."""
    missing = -len(order) % batch
    return torch.cat([order, order.repeat(1 + missing // len(order))[:missing]]).split(batch)


def _padded_share(part, rank, processes):
    """A share as large as that of process 0, as `DistributedSampler` makes it."""
    size = -(-len(part) // processes)
    return part.repeat(processes)[: size * processes][rank::processes]


def _block(size):
    """A share that is a block of so many examples, of the size of the part and the number of processes."""

    def share(part, rank, processes):
        per = size(len(part), processes)
        return part[rank * per : (rank + 1) * per]

    return share


def _blocks_of_batch(order, batch, rank, processes):
    per = batch // processes
    return [part[rank * per : (rank + 1) * per] for part in order.split(batch)]


def _padded_with_last(order, batch, rank, processes):
    shares = []
    for part in order.split(batch):
        while len(part) % processes:
            part = torch.cat([part, part[-1:]])
        shares.append(part[rank::processes])
    return shares


_BLOCKS = {
    "Each process gets a block of neighbours. Cards are dealt one at a time: `part[rank::processes]`.": {
        "share": lambda part, rank, processes: part.tensor_split(processes)[rank]
    }
}
_RANK_FROM_ONE = {
    "You count the ranks from 1, but the first is 0: `part[rank::processes]`.": {
        "share": lambda part, rank, processes: part[rank - 1 :: processes]
    }
}
_AROUND_SHARES = {
    "The short batch at the end is left out, and its examples with it. `order.split(batch)` keeps it.": {
        "batches": _full_batches
    },
    "Empty shares are left out of the list. Keep them: all processes have to take the same number of steps.": {
        "keep": len
    },
    "The shares are joined into one tensor. Return a list, with one tensor for each step.": {
        "form": torch.cat
    },
    "The shares are plain Python lists. Keep them as tensors, slices of `order`.": {
        "form": lambda shares: [share.tolist() for share in shares]
    },
}
_, _, _JOINED, _AS_LISTS = _AROUND_SHARES
share_of_batches.slips(_dealt, _BLOCKS, _RANK_FROM_ONE, _AROUND_SHARES)
share_of_batches.pairs_of_slips(_dealt, _BLOCKS | _RANK_FROM_ONE, _AROUND_SHARES)
share_of_batches.mistakes(
    {
        _JOINED: _dealt(form=torch.stack),
        _AS_LISTS: _dealt(share=lambda part, rank, processes: list(part[rank::processes])),
        next(iter(_BLOCKS)): [
            _dealt(share=lambda part, rank, processes: part.chunk(processes)[rank]),
            _dealt(share=_block(lambda size, processes: size // processes)),
            _dealt(share=_block(lambda size, processes: -(-size // processes))),
            _blocks_of_batch,
        ],
        "Batches or shares are topped up, so some examples come twice in an epoch. Deal out what is there; a "
        "share may be smaller than the others, or empty.": [
            _dealt(batches=_topped_up),
            _dealt(share=_padded_share),
            _padded_with_last,
        ],
        "A process gets up to `batch` examples in a step, but `batch` is what all of them share. Cut the order into "
        "batches first, then deal out each: `part[rank::processes]`.": [
            lambda order, batch, rank, processes: list(order[rank::processes].split(batch)),
            {"split(batch)": "split(batch * processes)"},
        ],
        "Dealing out the whole order and cutting it into `batch // processes` goes wrong if the batch does not divide "
        "evenly, and loses empty shares. Cut into batches first, then deal out each.": [
            lambda order, batch, rank, processes: list(order[rank::processes].split(batch // processes)),
            lambda order, batch, rank, processes: list(
                order[rank::processes].split(max(batch // processes, 1))
            ),
            lambda order, batch, rank, processes: list(order[rank::processes].split(-(-batch // processes))),
        ],
        "Whole batches are dealt out here, so the processes take different steps. Every process has a share in each "
        "batch: `part[rank::processes]`.": [
            lambda order, batch, rank, processes: list(order.split(batch)[rank::processes]),
        ],
        "`chunk(batch)` makes as many pieces as that, where a batch is so many examples. Use `order.split(batch)`.": [
            {"split(": "chunk("},
            {"order.split(batch)": "order.tensor_split(batch)"},
        ],
        "The rank is not used, so all processes get the same examples. Begin the slice at the rank: "
        "`part[rank::processes]`.": [{"rank::processes": "::processes"}, {"[rank::processes]": ""}],
        "That is one card, or neighbours from the rank on. Go round again, with the number of processes as the step of "
        "the slice: `part[rank::processes]`.": [
            {"part[rank::processes]": "part[rank]"},
            {"rank::processes": "rank : rank + 1"},
            {"rank::processes": "rank:processes"},
        ],
        "The numbers of the examples decide who gets them. It is their place in the batch that counts: "
        "`part[rank::processes]`.": [
            _dealt(share=lambda part, rank, processes: part[part % processes == rank]),
        ],
        "The examples come in another order than `order` has. Leave them as they come: all processes have to agree on "
        "it.": [
            lambda order, batch, rank, processes: _dealt()(order.sort().values, batch, rank, processes),
            lambda order, batch, rank, processes: _dealt()(torch.arange(len(order)), batch, rank, processes),
            lambda order, batch, rank, processes: _dealt()(
                order[torch.randperm(len(order))], batch, rank, processes
            ),
            _dealt(share=lambda part, rank, processes: part[rank::processes].sort().values),
            _dealt(share=lambda part, rank, processes: part.sort().values[rank::processes]),
        ],
        "These are places, counted from 0. Return what stands there in `order`: `part[rank::processes]`.": [
            _dealt(share=lambda part, rank, processes: torch.arange(len(part))[rank::processes]),
        ],
        "The slice goes on to the end of the epoch. End it with the batch: "
        "`order[start : start + batch][rank::processes]`.": [
            lambda order, batch, rank, processes: [
                order[start + rank :: processes] for start in range(0, len(order), batch)
            ],
        ],
        "The shares of all processes came back. Return only that of `rank` for each batch: `part[rank::processes]`.": [
            _dealt(share=lambda part, rank, processes: [part[r::processes] for r in range(processes)]),
        ],
        "The dealing goes on where the batch before ended. Each batch begins with process 0 again: "
        "`part[rank::processes]`.": [
            lambda order, batch, rank, processes: [
                order[start : start + batch][(rank - start) % processes :: processes]
                for start in range(0, len(order), batch)
            ],
        ],
        "The whole epoch is dealt out at once, in one tensor. Cut it into batches first, and deal out each: "
        "`part[rank::processes]` for each part of `order.split(batch)`.": [
            {"[part[rank::processes] for part in order.split(batch)]": "order[rank::processes]"},
        ],
        "The share of only one step comes back. Collect those of all steps in a list, and return it after the "
        "loop.": [
            _dealt(form=lambda shares: shares[:1]),
            _dealt(form=lambda shares: shares[0]),
            _dealt(form=lambda shares: shares[-1]),
        ],
    }
)


def _seeds_kind(answer):
    """What an answer is, in words."""
    entries = answer if isinstance(answer, tuple | list) or getattr(answer, "ndim", 0) else [answer]
    kinds = []
    for one in entries:
        if isinstance(one, Tensor | np.ndarray) and one.ndim == 0:
            one = one.item()
        if not isinstance(one, numbers.Real) or isinstance(one, bool):
            kinds.append(type(one).__name__)
        elif not isinstance(one, numbers.Integral):
            kinds.append("float")
        else:
            kinds.append("integer" if one < 2**64 else "oversized integer")
    odd = next((kind for kind in kinds if kind != "integer"), "integer")
    return f"{ {1: 'one', 2: 'two'}.get(len(kinds), str(len(kinds))) } {odd}{'s' * (len(kinds) != 1)}"


def _seeds_differ(table, axis):
    """Whether the seeds differ along an axis of (seeds, epochs, ranks)."""
    return all(
        len(set(row)) == len(row) for row in np.moveaxis(table, axis, -1).reshape(-1, table.shape[axis])
    )


def _seeds_facts(attempt, seeds, epochs, ranks):
    """What holds of the seeds of a grid; facts that a grid is too small for are left out."""
    grid = list(itertools.product(seeds, epochs, ranks))
    answers = [attempt(*place) for place in grid]
    if any(answer is None for answer in answers):
        return None
    kinds = list(map(_seeds_kind, answers))
    kind = next((kind for kind in kinds if kind != "two integers"), "two integers")
    if kind == "two integers":
        again = [attempt(*place) for place in reversed(grid)][::-1]
        pairs = [tuple(int(one) for one in answer) for answer in answers]
        repeats = pairs == [tuple(int(one) for one in answer) for answer in again]
    else:  # nothing more is said of it
        pairs, repeats = [(place, place) for place in range(len(grid))], True
    shape = len(seeds), len(epochs), len(ranks)
    order, noise = (np.array(one, dtype=object).reshape(shape) for one in zip(*pairs, strict=True))
    facts = {
        "what comes back": kind,
        "a second call gives the same": repeats,
        "no seed is negative": min(min(pair) for pair in pairs) >= 0,
    }
    if len(ranks) > 1:
        alike = all(len(set(row)) == 1 for row in order.reshape(-1, len(ranks)))
        facts["the seed for the order is the same in all processes"] = alike or kind != "two integers"
        facts["the seed for noise is another in each process"] = _seeds_differ(noise, 2)
    if len(epochs) > 1:
        facts["the seed for the order is another in each epoch"] = _seeds_differ(order, 1)
        facts["the seed for noise is another in each epoch"] = _seeds_differ(noise, 1)
    if len(seeds) > 1:
        facts["another `seed` gives another order"] = _seeds_differ(order, 0)
        facts["another `seed` gives other noise"] = _seeds_differ(noise, 0)
    if len(ranks) > 1 and len(epochs) > 1:
        of_one_seed = noise.reshape(len(seeds), -1)
        facts["no process has the noise of another one in another epoch"] = _seeds_differ(of_one_seed, 1)
    return facts


_SEEDS_UP_TO_999 = [0, 10, 12, 16, 20, 25, 32, 50, 64, 99, 100, 101, 128, 200, 256, 500, 512, 999]


@lesson.exercise(
    cases={
        "two processes": ([0], [0], [0, 1]),
        "two epochs": ([0], [0, 1], [0]),
        "two seeds": ([0, 1], [0], [0]),
        "two processes, two epochs": ([0], [0, 1], [0, 1]),
        "eight processes in epoch 3": ([1], [3], list(range(8))),
        "process 5, ten epochs": ([2], list(range(10)), [5]),
        "the last two of ten epochs": ([1], [8, 9], [0, 1, 2, 3]),
        "three seeds in epoch 4 of process 6": ([0, 1, 2], [4], [6]),
        "processes 0 and 10, two epochs": ([0], [0, 1], [0, 10]),
        "twelve processes, twelve epochs, three seeds": ([0, 1, 2], list(range(12)), list(range(12))),
        "two epochs, processes up to 999": ([0], [0, 1], _SEEDS_UP_TO_999),
        "two processes, epochs up to 999": ([0], _SEEDS_UP_TO_999, [0, 1]),
    },
    hints=[
        "Which of `seed`, `epoch` and `rank` may the seed for the order depend on? And the seed for noise?",
        "The order: seed and epoch. The noise: all three, but epoch + rank is the same for epoch 0 of process 1 and "
        "epoch 1 of process 0.",
        "`order = 1000 * seed + epoch`, and `noise = 1000 * order + rank`: a thousand numbers for each seed, one for "
        "each epoch, and a thousand for each epoch, one for each process.",
    ],
    observe=_seeds_facts,
)
def seeds(seed, epoch, rank):
    """Return two integers, not negative: a seed for the order of the examples, and one for dropout and other noise.

    The order is the same in all processes and changes every epoch; the noise differs from process to process, and
    from epoch to epoch. A different `seed` gives different values. Epochs and ranks are below 1,000.
    """
    order = 1000 * seed + epoch
    noise = 1000 * order + rank
    return order, noise


def _seeded(
    order=lambda seed, epoch, rank: 1000 * seed + epoch,
    noise=lambda seed, epoch, rank: 1000 * (1000 * seed + epoch) + rank,
    give=tuple,
):
    return lambda seed, epoch, rank: give([order(seed, epoch, rank), noise(seed, epoch, rank)])


_ORDER_SLIPS = {
    "The order leaves out the epoch, so it is the same in every epoch: take `1000 * seed + epoch`.": {
        "order": lambda seed, epoch, rank: seed
    },
    "The order leaves out `seed`, so another run has the same: take `1000 * seed + epoch`.": {
        "order": lambda seed, epoch, rank: epoch
    },
}
_NOISE_SLIPS = {
    "The noise leaves out the rank, so all processes drop the same units: take `1000 * order + rank`.": {
        "noise": lambda seed, epoch, rank: seed + epoch
    },
    "The noise leaves out the epoch, so it is the same in every epoch: take `1000 * order + rank`.": {
        "noise": lambda seed, epoch, rank: 1000 * seed + rank
    },
    "The noise leaves out `seed`, so another run has the same: take `1000 * order + rank`.": {
        "noise": lambda seed, epoch, rank: 1000 * epoch + rank
    },
    "A process gets the noise that another had in an earlier epoch, as with 0 + 1 = 1 + 0. Give the epoch a factor "
    "above every rank: `1000 * order + rank`.": {"noise": lambda seed, epoch, rank: seed + epoch + rank},
}
seeds.slips(_seeded, _ORDER_SLIPS, _NOISE_SLIPS)
seeds.pairs_of_slips(_seeded, _ORDER_SLIPS, _NOISE_SLIPS)
seeds.mistakes(
    {
        list(_NOISE_SLIPS)[-1]: [
            _seeded(noise=lambda seed, epoch, rank, a=a, b=b: seed + a * epoch + b * rank)
            for a, b in ((2, 1), (3, 1), (4, 1), (5, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 8))
        ],
        "Epoch 0 of process 10 and epoch 1 of process 0 get the same noise: a factor of 10, or digits written side by "
        "side, leaves too little room. Ranks go up to 999: `1000 * order + rank`.": [
            _seeded(noise=lambda seed, epoch, rank: 10 * (1000 * seed + epoch) + rank),
            _seeded(noise=lambda seed, epoch, rank: int(f"{seed}{epoch}{rank}")),
            _seeded(
                lambda seed, epoch, rank: int(f"{seed}{epoch}"),
                lambda seed, epoch, rank: int(f"{seed}{epoch}{rank}"),
            ),
        ],
        "The noise repeats as soon as there are more processes or epochs than the factor allows, and both go up to "
        "999. Leave room for them: `1000 * order + rank`.": [
            *[
                _seeded(noise=lambda seed, epoch, rank, a=a, b=b: 10**6 * seed + a * epoch + b * rank)
                for a, b in ((100, 1), (1, 100), (12, 1), (1, 12))
            ],
        ],
        "These are numbers drawn with a seed. Return the seeds, not what is drawn with them.": [
            _seeded(
                lambda seed, epoch, rank: _shuffled_order(5, 1000 * seed + epoch),
                lambda seed, epoch, rank: normal(3, seed=rank),
            ),
        ],
        "The seeds are texts, and `torch.manual_seed` takes integers. Compute with numbers: `1000 * seed + epoch`.": [
            _seeded(give=lambda pair: [str(one) for one in pair]),
        ],
        "A seed is too large: `torch.manual_seed` takes numbers below 2**64. Smaller factors leave room enough: "
        "`1000 * order + rank`.": [
            _seeded(give=lambda pair: [2**64 + one for one in pair]),
        ],
        "The seed for the order depends on the rank, so each process shuffles in its own way and their shares "
        "overlap. Leave the rank out of it.": [
            _seeded(order=lambda seed, epoch, rank: seed + epoch + rank),
            {"return order, noise": "return noise, noise"},
        ],
        "Both are seed + epoch + rank. The order must not depend on the rank; and for noise, `epoch + rank` is the "
        "same for 0 + 1 and 1 + 0, so give the epoch a large factor.": _seeded(
            lambda seed, epoch, rank: seed + epoch + rank, lambda seed, epoch, rank: seed + epoch + rank
        ),
        "The two are swapped: the first is for the order, the same in all processes, and the second for noise, which "
        "depends on the rank.": [
            {"return order, noise": "return noise, order"},
            _seeded(lambda seed, epoch, rank: seed + epoch + rank, lambda seed, epoch, rank: seed + epoch),
        ],
        "A product with epoch, rank or `seed` is 0 as soon as one of them is 0, whatever the others are. Add "
        "instead, each with its own factor: `1000 * order + rank`.": [
            _seeded(noise=lambda seed, epoch, rank: seed + epoch * rank),
            _seeded(noise=lambda seed, epoch, rank: (seed + epoch) * rank),
            _seeded(noise=lambda seed, epoch, rank: (seed + epoch) * (rank + 1)),
            _seeded(noise=lambda seed, epoch, rank: seed + epoch * (rank + 1)),
            _seeded(noise=lambda seed, epoch, rank: seed * epoch * rank),
            _seeded(noise=lambda seed, epoch, rank: seed * (epoch + rank)),
            _seeded(noise=lambda seed, epoch, rank: seed * epoch + rank),
            _seeded(order=lambda seed, epoch, rank: seed * epoch),
            _seeded(lambda seed, epoch, rank: seed * epoch, lambda seed, epoch, rank: seed * epoch * rank),
            _seeded(lambda seed, epoch, rank: seed * epoch, lambda seed, epoch, rank: seed * epoch + rank),
        ],
        "The seed for noise depends on `seed` alone, so all processes have the same noise in every epoch. It needs "
        "the epoch and the rank as well: `1000 * order + rank`.": _seeded(
            noise=lambda seed, epoch, rank: seed
        ),
        "The seed for noise is the rank alone, so every epoch and every run has the same noise. It needs all three: "
        "`1000 * order + rank`.": _seeded(noise=lambda seed, epoch, rank: rank),
        "The order leaves out the epoch and the noise is the rank alone, so both repeat in every epoch. Take "
        "`1000 * seed + epoch` and `1000 * order + rank`.": _seeded(
            lambda seed, epoch, rank: seed, lambda seed, epoch, rank: rank
        ),
        "A second call gives other seeds, because they are drawn at random: nobody could repeat the run. Compute them "
        "from `seed`, `epoch` and `rank`.": [
            _seeded(noise=lambda *_: random.randrange(2**31)),
            _seeded(lambda *_: random.randrange(2**31), lambda *_: random.randrange(2**31)),
        ],
        "A seed comes out negative, which NumPy refuses. Add instead of taking a difference; of a hash, take the "
        "remainder: `hash(…) % 2**32`.": [
            {"seed + epoch": "seed - epoch"},
            _seeded(order=lambda seed, epoch, rank: seed - epoch),
            {"order + rank": "order - rank"},
            _seeded(noise=lambda seed, epoch, rank: hash((seed, epoch, rank))),
            _seeded(
                lambda seed, epoch, rank: hash((seed, epoch)),
                lambda seed, epoch, rank: hash((seed, epoch, rank)),
            ),
            _seeded(noise=lambda seed, epoch, rank: -1000 * (seed + epoch) - rank - 1),
        ],
        "One number came back. Return two: a seed for the order, without the rank, and one for noise, with it.": [
            {"return order, noise": "return order"},
            {"return order, noise": "return noise"},
        ],
        "Seeds are whole numbers, and a float came back: `torch.manual_seed` needs an integer. Use factors without a "
        "decimal point, and `//` for a division.": [
            _seeded(give=lambda pair: [float(one) for one in pair]),
            {"1000 *": "1e3 *"},
            {"seed + epoch": "seed + epoch / 10"},
        ],
    }
)


# Section 6: more data -----------------------------------------------------------------------------------------


def _power_law_case(n, a, alpha, factors=1.0, dtype=torch.float32):
    n = torch.tensor(n, dtype=dtype)
    return n, a * n**-alpha * torch.as_tensor(factors, dtype=dtype)


def _of_finite(place, name):
    """A least-squares fit in place of its own, without the lines that LAPACK writes into the cell for a nan."""
    fit = getattr(place, name)

    def fit_of_finite(*given, **named):
        if not all(np.isfinite(np.asarray(one)).all() for one in given[:2]):
            raise np.linalg.LinAlgError("SVD did not converge in Linear Least Squares")
        return fit(*given, **named)

    return mock.patch.object(place, name, fit_of_finite)


def _power_law_number(one):
    """A number in float32, since it does not matter whether a float or a tensor of one element holds it."""
    if not isinstance(one, numbers.Real | Tensor | np.ndarray):
        return one
    number = torch.as_tensor(one).float()
    return number.reshape(()) if number.numel() == 1 else number


def _power_law_observed(attempt, n, loss):
    with _of_finite(np, "polyfit"), _of_finite(np.linalg, "lstsq"), _of_finite(torch.linalg, "lstsq"):
        answer = attempt(n, loss)
    if isinstance(answer, Tensor | np.ndarray) and answer.ndim:
        answer = tuple(answer)
    return tuple(map(_power_law_number, answer)) if isinstance(answer, tuple | list) else answer


@lesson.exercise(
    cases={
        "2, 1, 1/2 at 1, 4, 16": (torch.tensor([1.0, 4.0, 16.0]), torch.tensor([2.0, 1.0, 0.5])),
        "two points": _power_law_case([2.0, 8.0], 3.0, 1.5),
        "a loss that grows": _power_law_case([1.0, 2.0, 4.0, 10.0], 0.5, -0.75),
        "a constant loss": _power_law_case([1.0, 3.0, 5.0, 20.0], 0.7, 0.0),
        "with noise": _power_law_case([1.0, 2.0, 4.0, 8.0, 16.0], 1.7, 0.4, [1.1, 0.85, 1.05, 0.9, 1.2]),
        "unevenly spaced": _power_law_case([2.0, 3.0, 30.0, 40.0], 2.5, 0.3, [0.8, 1.25, 1.1, 0.95]),
        "not in order": _power_law_case([9.0, 2.0, 30.0, 5.0], 1.3, 0.6, [1.2, 0.9, 1.1, 0.8]),
        "two runs at each n": _power_law_case([3.0, 3.0, 12.0, 12.0], 4.0, 0.8, [0.8, 1.1, 0.95, 1.3]),
        "n below 1": _power_law_case([0.1, 0.2, 0.5, 0.9, 0.7], 0.4, 0.25, [1.3, 0.9, 1.0, 1.1, 0.85]),
        "float64 numbers": _power_law_case(
            [2.0, 20.0, 100.0, 300.0], 12.0, 0.08, [1.02, 0.97, 1.01, 1.04], torch.float64
        ),
    },
    hints=[
        "Take the logarithm of both sides: log loss ≈ log a − α log n. That is a straight line in log n.",
        "`np.polyfit(x, y, 1)` returns slope and intercept of the line, in this order. Which of them is log a, and "
        "which is −α?",
        "`slope, intercept = np.polyfit(n.log(), loss.log(), 1)`, then a is exp(intercept) and α is −slope.",
    ],
    observe=_power_law_observed,
    returns=("a", "α"),
)
def fit_power_law(n, loss):
    """Return the numbers a and α of loss ≈ a · n^(−α), by least squares on a log-log scale.

    n and loss are tensors (K,) of positive numbers.
    """
    slope, intercept = np.polyfit(n.log(), loss.log(), 1)
    return np.exp(intercept), -slope


def _line(x, y):
    return np.polyfit(x, y, 1)


def _first_to_last(x, y):
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    return slope, y[0] - slope * x[0]


def _smallest_to_largest(x, y):
    low, high = x.argmin(), x.argmax()
    slope = (y[high] - y[low]) / (x[high] - x[low])
    return slope, y[low] - slope * x[low]


def _mean_slope_of_neighbours(x, y):
    slope = (y.diff() / x.diff()).mean()
    return slope, y.mean() - slope * x.mean()


def _line_of_unequal_variances(correction):
    def line(x, y):
        cov = ((x - x.mean()) * (y - y.mean())).sum() / (len(x) - correction)
        slope = cov / x.var(correction=1 - correction)
        return slope, y.mean() - slope * x.mean()

    return line


def _fitted(
    x=torch.log,
    y=torch.log,
    line=_line,
    a=lambda slope, intercept: math.exp(intercept),
    alpha=lambda slope, intercept: -slope,
    give=tuple,
):
    """An attempt that fits a line to x(n) and y(loss), and reads a and α off it."""

    def attempt(n, loss):
        slope, intercept = line(x(n), y(loss))
        return give([a(slope, intercept), alpha(slope, intercept)])

    return attempt


def _on_linear_scale(n, loss):
    def law(n, a, alpha):
        return a * n**-alpha

    (a, alpha), _ = curve_fit(law, n.double().numpy(), loss.double().numpy(), p0=_fitted()(n, loss))
    return a, alpha


def _with_mean_for_a(attempt):
    """The same with a from the mean of loss · n^α."""

    def other(n, loss):
        _, alpha = attempt(n, loss)
        return (loss * n**alpha).mean(), alpha

    return other


_SIGN_OF_ALPHA = {
    "α has the wrong sign: the slope of the line is −α, so return `-slope`.": {
        "alpha": lambda slope, intercept: slope
    },
}
_OTHER_FITS = {
    "The first value is log a, where the line meets log n = 0. Undo the logarithm: `np.exp(intercept)`.": {
        "a": lambda slope, intercept: intercept
    },
    "The line is right, but a undoes the logarithm with another base than was taken. `log` goes with `exp`, `log10` "
    "with `10 **`.": {"x": torch.log10, "y": torch.log10},
    "a comes out upside down: exp(−intercept) is 1 / a. Only the slope changes its sign, so a is "
    "`np.exp(intercept)`.": {"a": lambda slope, intercept: math.exp(-intercept)},
    "Only two points decide, the first and the last or the smallest and the largest n. Fit a line through all of "
    "them, `np.polyfit(n.log(), loss.log(), 1)`.": {"line": _first_to_last},
    "Only n has a logarithm here. The law becomes a straight line if you take that of the loss too: `loss.log()`.": {
        "y": torch.clone
    },
    "Only the loss has a logarithm here, which fits an exponential. A power law is straight if you take that of n too: "
    "`n.log()`.": {"x": torch.clone},
}
fit_power_law.slips(_fitted, _SIGN_OF_ALPHA, _OTHER_FITS)
fit_power_law.pairs_of_slips(_fitted, _SIGN_OF_ALPHA, _OTHER_FITS)
_FIT_SENTENCES = list(_OTHER_FITS)
fit_power_law.mistakes(
    {
        _FIT_SENTENCES[0]: {"np.exp(intercept)": "intercept"},
        _FIT_SENTENCES[1]: [
            {"np.exp(intercept)": "10**intercept"},
            {"np.exp(intercept)": "2**intercept"},
            _fitted(x=torch.log2, y=torch.log2),
        ],
        _FIT_SENTENCES[3]: [
            _fitted(line=_smallest_to_largest),
            _with_mean_for_a(_fitted(line=_first_to_last)),
            _fitted(line=lambda x, y: (_first_to_last(x, y)[0], y[0])),
        ],
        _FIT_SENTENCES[4]: _fitted(y=torch.clone, a=lambda slope, intercept: intercept),
        "Slope and intercept are mixed up. `np.polyfit` returns the slope first, `lstsq` keeps to the order of your "
        "columns.": [
            {"slope, intercept =": "intercept, slope ="},
            _fitted(a=lambda slope, intercept: slope, alpha=lambda slope, intercept: intercept),
            lambda n, loss: tuple(np.polyfit(n.log(), loss.log(), 1)),
        ],
        "The two come back in the wrong order. Return a first, then α.": [
            {"np.exp(intercept), -slope": "-slope, np.exp(intercept)"},
        ],
        "No logarithms are taken, so this fits a straight line to the loss itself. Fit a line to `n.log()` and "
        "`loss.log()`, then a is the exp of its intercept.": [
            {"n.log(), loss.log()": "n, loss"},
            _fitted(torch.clone, torch.clone, a=lambda slope, intercept: intercept),
            _fitted(torch.clone, torch.clone, a=lambda _, cut: cut, alpha=lambda slope, intercept: slope),
        ],
        "The curve is fitted to the loss itself, where the largest losses count most. Take logarithms of both and fit "
        "a straight line to those.": _on_linear_scale,
        "The line is forced through the origin, so a has no say in the slope. Fit an intercept as well: a column of "
        "ones beside log n, or `np.polyfit`.": [
            _fitted(line=lambda x, y: ((x @ y) / (x @ x), 0.0)),
            _fitted(line=lambda x, y: ((x @ y) / (x @ x), y.mean() - (x @ y) / (x @ x) * x.mean())),
            _with_mean_for_a(_fitted(line=lambda x, y: ((x @ y) / (x @ x), 0.0))),
        ],
        "α is right, but a is not read off the line. It is exp of the intercept, mean log loss + α · mean log n.": [
            _fitted(line=lambda x, y: (_line(x, y)[0], y.mean())),
            _fitted(line=lambda x, y: (_line(x, y)[0], y.mean() + _line(x, y)[0] * x.mean())),
            _fitted(line=lambda x, y: (_line(x, y)[0], y[0])),
            _fitted(line=lambda x, y: (_line(x, y)[0], y[0] - _line(x, y)[0] * x[0])),
            _fitted(line=lambda x, y: (_line(x, y)[0], y.max())),
            _with_mean_for_a(_fitted()),
        ],
        "The slopes between neighbours are averaged, so points that lie close together count too much. Fit one line "
        "through all points, `np.polyfit(n.log(), loss.log(), 1)`.": [
            _fitted(line=_mean_slope_of_neighbours),
            _with_mean_for_a(_fitted(line=_mean_slope_of_neighbours)),
        ],
        "x and y of the fit are swapped, so log n is fitted by log loss. Put `n.log()` first and `loss.log()` "
        "second.": {"n.log(), loss.log()": "loss.log(), n.log()"},
        "One of covariance and variance is divided by K, the other by K − 1, so the slope is off by that factor. "
        "Divide both by the same number.": [
            _fitted(line=_line_of_unequal_variances(0)),
            _fitted(line=_line_of_unequal_variances(1)),
        ],
    }
)


# Section 7: checkpointing -------------------------------------------------------------------------------------


def _segment_and_kind(attempt, layers):
    answer = attempt(layers)
    if answer is None or isinstance(answer, tuple | list | dict | str):
        return answer
    number = answer.item() if isinstance(answer, Tensor | np.ndarray | np.generic) else answer
    return {"length": answer, "kind of number": type(number).__name__}


@lesson.exercise(
    cases={
        "4 layers": (4,),
        "1 layer": (1,),
        "12 layers: 3 and 4 need the same": (12,),
        "7 layers, a prime number": (7,),
        "16 layers": (16,),
        "24 layers": (24,),
        "30 layers": (30,),
        "2 layers": (2,),
        "36 layers": (36,),
        "50 layers": (50,),
        "34 layers": (34,),
        "96 layers": (96,),
    },
    hints=[
        "Which lengths are possible? List the divisors of `layers`, 1 and `layers` among them.",
        "What does each of them need, layers / k + k? You want the k for which that is smallest, not that smallest "
        "value itself.",
        "`min(divisors, key=lambda k: layers / k + k)` returns the first one of those that need least.",
    ],
    observe=_segment_and_kind,
)
def best_segment(layers):
    """Return the length of the segments, a divisor of layers, with which checkpointing needs the least memory.

    With segments of k layers, layers / k inputs of segments are kept, and k layers at a time are computed again: in
    all layers / k + k. If two lengths need the same, return the shorter.
    """
    divisors = [k for k in range(1, layers + 1) if layers % k == 0]
    return min(divisors, key=lambda k: layers / k + k)


def _searched(
    lengths=lambda layers: range(1, layers + 1),
    fits=lambda layers, k: layers % k == 0,
    cost=lambda layers, k: layers / k + k,
    longer=False,
    give=lambda k, layers: k,
):
    """An attempt that goes through the lengths and takes the one that needs least."""

    def attempt(layers):
        candidates = [k for k in lengths(layers) if fits(layers, k)]
        return give(
            min(candidates[:: -1 if longer else 1], key=lambda k: cost(layers, k)),
            layers,
        )

    return attempt


_SEARCHES = {
    "Is this the longer of two that need the same, or the number of segments, layers // k? Return the shorter length "
    "k.": {"longer": True},
    "Length 1 is left out, but it is a divisor too, and the answer for a prime number of layers. Begin at 1: "
    "`range(1, layers + 1)`.": {"lengths": lambda layers: range(2, layers + 1)},
    "A length near √layers need not divide the layers: neither 2 nor 3 divides 7. Of the divisors, take the one with "
    "the smallest layers / k + k.": {"fits": lambda layers, k: True},
}
_RETURNS = {
    "The length is a float, of which `range` can make nothing. Divide with `//`, or return `int(k)`.": {
        "give": lambda k, layers: float(k)
    },
    "That is what the best length needs, layers / k + k. Return the length k itself: `min` with `key=`.": {
        "give": lambda k, layers: layers // k + k
    },
}
best_segment.slips(_searched, _SEARCHES, _RETURNS)
(_LONGER, _FROM_TWO, _NO_DIVISOR), (_AS_FLOAT, _COST_ITSELF) = _SEARCHES, _RETURNS
best_segment.pairs_of_slips(_searched, {told: _SEARCHES[told] for told in (_FROM_TWO, _NO_DIVISOR)}, _RETURNS)
best_segment.pairs_of_slips(_searched, {_LONGER: _SEARCHES[_LONGER]}, {_AS_FLOAT: _RETURNS[_AS_FLOAT]})
best_segment.mistakes(
    {
        _LONGER: [
            lambda layers: min(
                k for k in range(1, layers + 1) if layers % k == 0 and k >= math.sqrt(layers) - 1e-9
            ),
            lambda layers: next(k for k in range(math.ceil(math.sqrt(layers)), 0, -1) if layers % k == 0),
            {"return min(divisors": "return layers // min(divisors"},
        ],
        f"Two slips. {_LONGER} {_AS_FLOAT}": {"return min(": "return layers / min("},
        _FROM_TWO: _searched(lengths=lambda layers: range(2, layers)),
        _COST_ITSELF: lambda layers: min(layers / k + k for k in range(1, layers + 1) if layers % k == 0),
        _NO_DIVISOR: [
            {"layers / k + k": "layers // k + k", " if layers % k == 0": ""},
            lambda layers: math.sqrt(layers),
            lambda layers: int(math.sqrt(layers)),
            lambda layers: round(math.sqrt(layers)),
            lambda layers: math.ceil(math.sqrt(layers)),
        ],
        "The search goes up from √layers, to the longer of two lengths that need the same: 7 layers get 7 instead of "
        "1. Begin at the root and go down.": [
            lambda layers: next(k for k in range(math.isqrt(layers), layers + 1) if layers % k == 0),
        ],
        "One of the two terms counts twice. The memory is layers / k + k, each of them once.": [
            {"layers / k + k": "layers / k + 2 * k"},
            {"layers / k + k": "2 * layers / k + k"},
        ],
        "That is half of the layers, two segments. The best length is near √layers: compare layers / k + k for all "
        "divisors k.": [
            lambda layers: layers // 2,
            lambda layers: layers / 2,
            lambda layers: max(1, layers // 2),
        ],
        "All layers are one segment here, so all are computed again at once. The memory is layers / k + k, both terms: "
        "take the k for which the sum is smallest.": [
            lambda layers: layers,
            {"layers / k + k": "layers / k"},
        ],
        "The length is always 1, which keeps the input of every layer. Take the divisor with the smallest sum "
        "layers / k + k: `min` with both terms in its `key`.": [
            {"return min(": "return max("},
            {", key=lambda k: layers / k + k": ""},
            {"layers / k + k": "k"},
        ],
        "The largest divisor below `layers` comes back, or for a prime number 1. The best is near √layers: compare "
        "layers / k + k for all divisors.": [
            lambda layers: max((k for k in range(1, layers) if layers % k == 0), default=1),
            lambda layers: max(k for k in range(1, layers) if layers % k == 0),
        ],
        "The smallest divisor above 1 comes back. The best is near √layers: compare layers / k + k for all divisors, "
        "1 among them.": [
            lambda layers: min((k for k in range(2, layers + 1) if layers % k == 0), default=1),
            lambda layers: min(k for k in range(2, layers + 1) if layers % k == 0),
        ],
        "The range ends one too early: `range(1, n)` stops before n. For one layer nothing is left, so go on to "
        "`layers + 1`.": [{"layers + 1": "layers"}],
        "The search stops before √layers, and `range` leaves out its end, so 16 layers get 2 instead of 4. Go one "
        "further: `range(1, int(layers**0.5) + 1)`.": [
            _searched(lengths=lambda layers: range(1, math.isqrt(layers))),
            _searched(lengths=lambda layers: range(1, max(2, math.isqrt(layers)))),
        ],
        "That is the place of the best divisor in the list, counted from 0. Return the divisor that stands there, or "
        "use `min(divisors, key=…)`.": [
            lambda layers: sum(layers % k == 0 for k in range(1, math.isqrt(layers) + 1)) - 1,
        ],
        "These are the lengths that do not divide the layers. Turn the test round: `layers % k == 0`.": {
            "== 0": "!= 0"
        },
        "More than one number came back. Return only the length of the segments.": [
            _searched(give=lambda k, layers: (k, layers // k + k)),
            _searched(give=lambda k, layers: (layers / k + k, k)),
            _searched(give=lambda k, layers: (k, layers // k)),
            _searched(give=lambda k, layers: (layers // k, k)),
            {"return min(divisors, key=lambda k: layers / k + k)": "return divisors"},
        ],
    }
)


# Section 9: batch normalization -------------------------------------------------------------------------------


def _sync_shares(*rows, columns, seed, mean=0.0, dtype=torch.float32):
    """Shares of so many rows each, whose means and spreads differ from share to share."""
    return [
        (1 + number / 2) * normal(n, columns, seed=seed + number, dtype=dtype) + mean + number
        for number, n in enumerate(rows)
    ]


_SYNC_STEADY = [
    torch.tensor([[2.0, 0.003, 1.0], [2.0, 0.001, -1.0]], dtype=torch.float64),
    torch.tensor([[2.0, -0.002, 0.5], [2.0, 0.004, 3.0], [2.0, 0.0, -2.0]], dtype=torch.float64),
]


def _sync_observed(attempt, shares, eps):
    """What comes back, and what became of the shares; the usual eps is left to the default."""
    own = [share.clone() for share in shares]
    result = attempt(own) if eps == 1e-5 else attempt(own, eps)
    return {"result": result, "shares afterwards": own}


@lesson.exercise(
    cases={
        "two processes, one column": ([torch.ones(2, 1), torch.full((2, 1), 5.0)], 1e-5),
        "eps = 5": ([torch.ones(3, 1), torch.tensor([[1.0], [6.0]])], 5.0),  # shown for what is done with eps
        "shares of 3 rows and 1": (_sync_shares(3, 1, columns=2, seed=1), 1e-5),
        "three processes": (_sync_shares(2, 5, 3, columns=4, seed=5, dtype=torch.float64), 1e-5),
        "eps = 0.5": (_sync_shares(4, 2, columns=3, seed=10), 0.5),
        "as many columns as rows in all": (_sync_shares(2, 3, columns=5, seed=20), 1e-5),
        "three shares (3, 3)": (_sync_shares(3, 3, 3, columns=3, seed=30), 0.1),
        "one process": (_sync_shares(6, columns=3, seed=40, mean=1.0), 1e-5),
        "a process without rows": (_sync_shares(4, 0, 3, columns=2, seed=50, dtype=torch.float64), 1e-5),
        "a large mean": (_sync_shares(3, 5, columns=2, seed=60, mean=50.0, dtype=torch.float64), 1e-5),
        "columns that hardly vary": (_SYNC_STEADY, 1e-5),
    },
    hints=[
        "Which sums, added over the processes, are enough to know mean and variance of all rows?",
        "With the number of all rows n, the mean of x is Σx / n, and the variance is Σx² / n minus the square of the "
        "mean. All are of shape (C,).",
        "`n = sum(len(share) for share in shares)`, `mean = sum(share.sum(dim=0) for share in shares) / n`, likewise "
        "the mean of the squares; then `(share - mean) / (square - mean**2 + eps).sqrt()` for each share.",
    ],
    observe=_sync_observed,
)
def sync_batch_norm(shares, eps=1e-5):
    """Return shares, a list of tensors (n_r, C), one per process, normalized as one batch of all their rows.

    Each process contributes what it can compute alone: the number of its rows, their sums (C,) and sums of squares
    (C,). The variance is the biased one, as batch normalization uses it in training. A share may be empty.
    """
    n = sum(len(share) for share in shares)
    mean = sum(share.sum(dim=0) for share in shares) / n
    square = sum(share.square().sum(dim=0) for share in shares) / n
    std = (square - mean.square() + eps).sqrt()
    return [(share - mean) / std for share in shares]


def _sync_pooled(shares):
    pooled = torch.cat(shares)
    return pooled.mean(dim=0), pooled.var(dim=0, correction=0), len(pooled)


def _sync_average(of, weighted=True, filled=None):
    """The average over processes, perhaps only those with rows, of what each computes of its share."""
    only_filled = weighted if filled is None else filled

    def average(shares):
        filled = [share for share in shares if len(share)] if only_filled else shares
        weights = [len(share) if weighted else 1 for share in filled]
        return sum(w * of(share) for w, share in zip(weights, filled, strict=True)) / sum(weights)

    return average


def _sync_own_var(share):
    return share.var(dim=0, correction=0)


def _sync_all_mean(shares):
    return _sync_pooled(shares)[0]


_sync_mean = _sync_average(lambda share: share.mean(dim=0), weighted=False)
_sync_square = _sync_average(lambda share: share.square().mean(dim=0), weighted=False)


def _sync(
    mean=_sync_all_mean,
    var=lambda shares: _sync_pooled(shares)[1],
    unbiased=False,
    std=lambda var, eps: (var + eps).sqrt(),
    own=False,
    result=list,
):
    """Batch normalization of shares, with what can go wrong as arguments."""

    def attempt(shares, eps=1e-5):
        def normalized(part, among):
            n = sum(map(len, among))
            spread = var(among) * (n / (n - 1) if n > 1 else torch.nan) if unbiased else var(among)
            return (part - mean(among)) / std(spread, eps)

        return result([normalized(share, [share] if own else shares) for share in shares])

    return attempt


_SYNC_SPREADS = {
    "Each share is normalized by its own mean and variance. Add up counts, sums and squares over all processes "
    "first.": {"own": True},
    "The variances of the shares are averaged, which leaves out how far their means lie apart. Take it from the "
    "sums.": {"var": _sync_average(_sync_own_var)},
}
_SYNC_ROOTS = {
    "The variance is divided by n − 1. Batch normalization in training divides by n, the number of all rows.": {
        "unbiased": True
    },
    "eps is added to the standard deviation. It belongs under the root: `(variance + eps).sqrt()`.": {
        "std": lambda var, eps: var.sqrt() + eps
    },
    "eps is left out, so that a constant column is divided by 0. Add it to the variance, under the root.": {
        "std": lambda var, eps: var.sqrt()
    },
}

sync_batch_norm.slips(_sync, _SYNC_SPREADS, _SYNC_ROOTS)
sync_batch_norm.pairs_of_slips(_sync, _SYNC_SPREADS, _SYNC_ROOTS)
sync_batch_norm.pairs_of_slips(_sync, _SYNC_ROOTS)
sync_batch_norm.mistakes(
    {
        next(iter(_SYNC_SPREADS)): [
            lambda shares, eps=1e-5: [(s - s.mean(dim=0)) / (s.std(dim=0) + eps) for s in shares],
            lambda shares, eps=1e-5: [(s - s.mean(dim=0)) / s.std(dim=0) for s in shares],
        ],
        list(_SYNC_SPREADS)[1]: _sync(var=_sync_average(lambda share: share.var(dim=0), weighted=False)),
        "Means and variances are both averaged over the shares, which differ in size and in their means. Add up row "
        "counts, sums and sums of squares, and divide once.": [
            _sync(
                mean=_sync_average(lambda share: share.mean(dim=0), weighted=False, filled=filled),
                var=_sync_average(of, weighted=False, filled=filled),
            )
            for filled in (False, True)
            for of in (_sync_own_var, lambda share: share.var(dim=0))
        ],
        "A share without rows is left out of the list. Keep it, a tensor (0, C): every process gets its own share "
        "back.": {"std for share in shares]": "std for share in shares if len(share)]"},
        "The mean is that of all rows, but each share is divided by the standard deviation of its own. The variance "
        "comes from everyone's sums as well.": [
            lambda shares, eps=1e-5: [
                (share - _sync_pooled(shares)[0]) / (_sync_own_var(share) + eps).sqrt() for share in shares
            ],
            lambda shares, eps=1e-5: [
                (share - (mean := _sync_pooled(shares)[0]))
                / ((share - mean).square().mean(dim=0) + eps).sqrt()
                for share in shares
            ],
        ],
        "Means are averaged over processes as if all had equally many rows. Add up sums and row counts, and "
        "divide once: `sum(share.sum(dim=0) for share in shares) / n`.": [
            _sync(mean=_sync_mean),
            _sync(var=lambda all_: _sync_square(all_) - _sync_all_mean(all_).square()),
            _sync(
                mean=_sync_mean, var=lambda all_: (torch.cat(all_) - _sync_mean(all_)).square().mean(dim=0)
            ),
            _sync(mean=_sync_mean, var=lambda all_: _sync_square(all_) - _sync_mean(all_).square()),
            _sync(var=_sync_average(_sync_own_var, weighted=False)),
        ],
        "A process without rows makes everything nan: its mean is 0 / 0, and 0 times nan is nan as well. Add up sums, "
        "which are 0 there, in place of means times row counts.": [
            _sync(mean=lambda all_: sum(len(s) * s.mean(dim=0) for s in all_) / sum(map(len, all_))),
            _sync(var=lambda all_: sum(len(s) * _sync_own_var(s) for s in all_) / sum(map(len, all_))),
        ],
        "The standard deviations of the shares are averaged. Neither they nor the variances of shares average to those "
        "of all rows: take the mean of all squares minus the square of the mean.": [
            *[
                _sync(mean=mean, var=_sync_average(of, weighted), std=std)
                for mean in (_sync_all_mean, _sync_mean)
                for of, weighted in (
                    (lambda share: _sync_own_var(share).sqrt(), True),
                    (lambda share: _sync_own_var(share).sqrt(), False),
                    (lambda share: share.std(dim=0), False),
                )
                for std in (lambda root, eps: root, lambda root, eps: root + eps)
            ],
            _sync(
                var=_sync_average(lambda share: (_sync_own_var(share) + 1e-5).sqrt()),
                std=lambda root, eps: root,
            ),
        ],
        "The shares are not centred: subtract the mean before you divide.": {"(share - mean)": "share"},
        "The variance does not come from the sums as it should. It is `square - mean**2`, where square is the sum of "
        "`share.square().sum(dim=0)` over the processes, divided by n.": [
            {" - mean.square()": ""},
            {"mean.square()": "mean"},
            {"square - mean.square()": "(square - mean).square()"},
            {"share.square().sum(dim=0)": "share.sum(dim=0).square()"},
            {
                "sum(share.square().sum(dim=0) for share in shares)": "sum(share.sum(dim=0) for share in shares) ** 2"
            },
            {
                "square = sum(share.square().sum(dim=0) for share in shares) / n": (
                    "square = sum(share.square().sum(dim=0) for share in shares)"
                )
            },
        ],
        "This divides by the variance, not by its root. Take `.sqrt()` of the variance plus eps.": {
            ".sqrt()": ""
        },
        "The sums run over the columns too. Each column has its own mean and variance, over all rows: "
        "`share.sum(dim=0)` is (C,).": [
            {"dim=0": "dim=1"},
            {"dim=0": "dim=1, keepdim=True"},
            {"dim=0": ""},
            lambda shares, eps=1e-5: [F.layer_norm(share, share.shape[1:], eps=eps) for share in shares],
            {
                "share.sum(dim=0)": "share.sum()",
                "share.square().sum(dim=0)": "share.square().sum()",
                "/ n": "/ (n * shares[0].shape[1])",
            },
        ],
        "A sum is divided by the wrong count, or not at all. n is the number of rows of all shares, "
        "`sum(len(share) for share in shares)`.": [
            {"sum(share.sum(dim=0) for share in shares) / n": "sum(share.sum(dim=0) for share in shares)"},
            {"sum(len(share) for share in shares)": "len(shares)"},
            {"sum(len(share) for share in shares)": "len(shares[0])"},
            {"sum(len(share) for share in shares)": "sum(share.numel() for share in shares)"},
            {"sum(len(share) for share in shares)": "len(shares) * len(shares[0])"},
        ],
        "One tensor came back. Each process keeps its own: return a list with a tensor (n_r, C) for each share.": [
            _sync(result=torch.cat),
            _sync(result=lambda parts: parts[0]),
            lambda shares, eps=1e-5: F.batch_norm(torch.cat(shares), None, None, training=True, eps=eps),
        ],
    }
)


@sync_batch_norm.mistake(
    "The result is right, but the caller's shares are changed: `share -= mean` and `shares[i] = ...` write into them. "
    "Return new tensors, `(share - mean) / std`, in a new list."
)
def _(shares, eps=1e-5):
    mean, var, _ = _sync_pooled(shares)
    for share in shares:
        share -= mean
        share /= (var + eps).sqrt()
    return shares


class _MostRows(TorchFunctionMode):
    """Notes the largest number of rows of any result."""

    rows = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.ndim:
            with torch._C.DisableTorchFunction():
                self.rows = max(self.rows, len(result))
        return result


@sync_batch_norm.remark(
    "A remark: the rows of all shares come together here, but a process sees its own rows only. Let the processes "
    "exchange row counts, sums and sums of squares."
)
def _(attempt):
    shares = _sync_shares(7, 8, 9, columns=2, seed=70)
    with _MostRows() as most:
        attempt(shares)
    return most.rows >= sum(map(len, shares))


# Section 10: a model cut into pieces --------------------------------------------------------------------------


class _TensorProducts(TorchFunctionMode):
    """Notes whether a product takes in the whole of one of some matrices."""

    NAMES = ("matmul", "mm", "__matmul__", "__rmatmul__", "linear", "addmm", "einsum")

    def __init__(self, *matrices):
        super().__init__()
        self._matrices, self.whole = [one.clone() for one in matrices], False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in self.NAMES:
            with torch._C.DisableTorchFunction():
                flat = [
                    one for given in args for one in (given if isinstance(given, list | tuple) else [given])
                ]
                self.whole |= any(self._is_whole(one) for one in flat if isinstance(one, Tensor))
        return function(*args, **(kwargs or {}))

    def _is_whole(self, operand):
        return any(
            operand.shape == one.shape and torch.equal(operand, one)
            for matrix in self._matrices
            for one in (matrix, matrix.T)
        )


_TENSOR_SEEN = "a product with a whole matrix"


def _tensor_observed(attempt, x, first, second, processes):
    with _TensorProducts(*(first, second) if processes > 1 else ()) as products:
        result = attempt(x, first, second, processes)
    return {"result": result, _TENSOR_SEEN: products.whole}


def _tensor_case(N, D, H, processes, seed, dtype=torch.float32):
    return (
        normal(N, D, seed=seed, dtype=dtype),
        normal(D, H, seed=seed + 1, dtype=dtype),
        normal(H, D, seed=seed + 2, dtype=dtype),
        processes,
    )


@lesson.exercise(
    cases={
        "one input, two units": (
            torch.ones(1, 1),
            torch.tensor([[1.0, -1.0]]),
            torch.tensor([[1.0], [2.0]]),
            2,
        ),
        "one process": _tensor_case(3, 2, 4, 1, seed=10),
        "2 processes": _tensor_case(3, 2, 6, 2, seed=20),
        "4 processes": _tensor_case(2, 3, 8, 4, seed=30, dtype=torch.float64),
        "D = H": _tensor_case(3, 4, 4, 2, seed=40),
        "N = D": _tensor_case(4, 4, 6, 3, seed=50),
        "one row, a unit for each process": _tensor_case(1, 5, 3, 3, seed=60),
        "N = D = H": _tensor_case(6, 6, 6, 2, seed=70, dtype=torch.float64),
    },
    hints=[
        "gelu acts on each hidden unit alone. So a process that knows all weights into a unit can activate it "
        "without asking the others.",
        "A process has some columns of first, all the weights into its units, and the same rows of second, all the "
        "weights out of them. `chunk(processes, dim=...)` cuts a tensor into equal parts.",
        "`F.gelu(x @ a) @ b` for a and b in `zip(first.chunk(processes, dim=1), second.chunk(processes, dim=0))`, in a "
        "list. Nothing is added up here.",
    ],
    observe=_tensor_observed,
)
def tensor_parallel(x, first, second, processes):
    """Return what each process contributes to gelu(x @ first) @ second: a list of tensors that sum to it.

    first (D, H) is cut into `processes` blocks of neighbouring columns, in order, and second (H, D) into the rows that
    belong to them; x (M, D) is known to all. No process sees more of first and second than its part.
    """
    columns, rows = first.chunk(processes, dim=1), second.chunk(processes, dim=0)
    return [F.gelu(x @ a) @ b for a, b in zip(columns, rows, strict=True)]


def _tensor(
    contribution=lambda x, a, b: F.gelu(x @ a) @ b,
    columns=lambda first, processes: first.chunk(processes, dim=1),
    rows=lambda second, processes: second.chunk(processes, dim=0),
    result=list,
):
    """The contributions of the processes, with what can go wrong as arguments."""

    def attempt(x, first, second, processes):
        parts = zip(columns(first, processes), rows(second, processes), strict=True)
        return result([contribution(x, a, b) for a, b in parts])

    return attempt


def _tensor_whole(x, first, second):
    return F.gelu(x @ first) @ second


_TENSOR_ACTIVATIONS = {
    "gelu is missing between the two products: `F.gelu(x @ a) @ b`.": {
        "contribution": lambda x, a, b: x @ a @ b
    },
    "Another activation function than gelu is applied: `F.gelu(x @ a) @ b`.": {
        "contribution": lambda x, a, b: F.relu(x @ a) @ b
    },
    "gelu is applied to the contribution. It belongs between the products only, on the hidden units: "
    "`F.gelu(x @ a) @ b`.": {"contribution": lambda x, a, b: F.gelu(x @ a @ b)},
}
_TENSOR_RESULTS = {
    "The sum of the contributions came back. Return a list with one (N, D) for each process, before they are "
    "added.": {"result": sum},
    "One tensor came back, in which the contributions are joined. Return them in a list, one (N, D) for each "
    "process.": {"result": torch.stack},
}

tensor_parallel.slips(_tensor, _TENSOR_ACTIVATIONS, _TENSOR_RESULTS)
tensor_parallel.pairs_of_slips(_tensor, _TENSOR_ACTIVATIONS, _TENSOR_RESULTS)
tensor_parallel.mistakes(
    {
        "gelu is computed by its approximation with a tanh, which is close but not the same. Leave "
        '`approximate="tanh"` out.': {"F.gelu(x @ a)": 'F.gelu(x @ a, approximate="tanh")'},
        list(_TENSOR_ACTIVATIONS)[1]: [
            {"F.gelu": other}
            for other in ("F.silu", "F.sigmoid", "F.tanh", "F.leaky_relu", "F.elu", "F.softplus")
        ],
        list(_TENSOR_ACTIVATIONS)[2]: {"F.gelu(x @ a) @ b": "F.gelu(F.gelu(x @ a) @ b)"},
        list(_TENSOR_RESULTS)[1]: [
            _tensor(result=torch.cat),
            _tensor(result=lambda parts: torch.cat(parts, dim=1)),
        ],
        "A matrix is cut along the wrong axis, or not at all. first (D, H) is cut into columns, `dim=1`, and second "
        "(H, D) into rows, `dim=0`: both along H.": [
            {"dim=1": "dim=0"},
            {"dim=0": "dim=1"},
            {"dim=1": "dim=0", "second.chunk(processes, dim=0)": "second.chunk(processes, dim=1)"},
            {"first.chunk(processes, dim=1)": "first.T.chunk(processes, dim=1)"},
            {"@ b for": "@ second for"},
            {"x @ a": "x @ first"},
            lambda x, first, second, processes: [
                F.gelu(x @ first) @ b for b in second.chunk(processes, dim=1)
            ],
            lambda x, first, second, processes: [
                torch.cat([F.gelu(x @ a) for a in first.chunk(processes, dim=1)], dim=1) @ b
                for b in second.chunk(processes, dim=1)
            ],
        ],
        "`split` takes the size of a part, `chunk` the number of parts. Take `chunk(processes, dim=...)`, or a size of "
        "H // processes.": [
            {"first.chunk": "first.split", "second.chunk": "second.split"},
        ],
        "first is cut into rows, so that a process has only part of the sum into each unit, and gelu of parts does not "
        "add up. Give it whole columns of first, and all of x.": [
            lambda x, first, second, processes: [
                F.gelu(part @ a) @ second
                for part, a in zip(x.chunk(processes, dim=1), first.chunk(processes, dim=0), strict=True)
            ],
        ],
        "The contributions are made of the whole result: it is repeated, divided equally, or left to one process. Each "
        "process contributes what its own columns of first and rows of second give.": [
            lambda x, first, second, processes: [_tensor_whole(x, first, second)] * processes,
            lambda x, first, second, processes: [_tensor_whole(x, first, second) / processes] * processes,
            lambda x, first, second, processes: [
                _tensor_whole(x, first, second),
                *[torch.zeros_like(x) for _ in range(processes - 1)],
            ],
            lambda x, first, second, processes: (
                [sum(tensor_parallel.reference(x, first, second, processes))] * processes
            ),
            lambda x, first, second, processes: (
                [sum(tensor_parallel.reference(x, first, second, processes)) / processes] * processes
            ),
        ],
        "The contributions are those of the processes in reverse. Process 0 has the first columns and rows.": [
            _tensor(result=lambda parts: parts[::-1]),
        ],
        "The columns of a process and its rows belong to different units. Pair the r-th part of first with the r-th "
        "part of second.": [
            _tensor(columns=lambda first, processes: first.chunk(processes, dim=1)[::-1]),
            _tensor(rows=lambda second, processes: second.chunk(processes, dim=0)[::-1]),
            _tensor(rows=lambda second, processes: second.roll(len(second) // processes, 0).chunk(processes)),
            _tensor(
                rows=lambda second, processes: second.roll(-len(second) // processes, 0).chunk(processes)
            ),
            _tensor(rows=lambda second, processes: second.chunk(processes)[:1] * processes),
            _tensor(rows=lambda second, processes: [second[rank::processes] for rank in range(processes)]),
            _tensor(
                columns=lambda first, processes: [first[:, rank::processes] for rank in range(processes)]
            ),
        ],
        "Process r has every so-many-th column and row, r, r + processes, and so on. The sum is right, but the parts "
        "asked for are connected: `chunk` cuts them.": [
            _tensor(
                columns=lambda first, processes: [first[:, rank::processes] for rank in range(processes)],
                rows=lambda second, processes: [second[rank::processes] for rank in range(processes)],
            ),
        ],
        "The blocks overlap, since block r begins at r. With w = H / processes columns each, it begins at r · w: "
        "`first[:, r * w : (r + 1) * w]`.": [
            _tensor(
                columns=lambda first, processes: [
                    first[:, rank : rank + first.shape[1] // processes] for rank in range(processes)
                ],
                rows=lambda second, processes: [
                    second[rank : rank + len(second) // processes] for rank in range(processes)
                ],
            ),
        ],
        "Every part of first meets every part of second. A process has one of each: go through both with `zip`.": [
            lambda x, first, second, processes: [
                F.gelu(x @ a) @ b
                for a in first.chunk(processes, dim=1)
                for b in second.chunk(processes, dim=0)
            ],
        ],
        "These are the activated hidden units, (N, H / processes). Multiply them by the process's rows of second: "
        "`F.gelu(x @ a) @ b`.": [
            _tensor(contribution=lambda x, a, b: F.gelu(x @ a)),
        ],
        "x is cut into rows, which is data parallel training. In tensor parallelism x is known to all, and the "
        "matrices are cut: the columns of first, the rows of second.": [
            lambda x, first, second, processes: [
                _tensor_whole(part, first, second) for part in x.chunk(processes, dim=0)
            ],
            lambda x, first, second, processes: [
                _tensor_whole(part, first, second) for part in x.tensor_split(processes, dim=0)
            ],
            lambda x, first, second, processes: [
                F.gelu(part @ a) @ b
                for part, a, b in zip(
                    x.tensor_split(processes),
                    first.chunk(processes, dim=1),
                    second.chunk(processes),
                    strict=True,
                )
            ],
        ],
        "The numbers are right, but a process multiplies by the whole of first or second, which it does not have. Cut "
        "both before the products: `F.gelu(x @ a) @ b` with its parts a and b.": [
            lambda x, first, second, processes: [
                h @ b
                for h, b in zip(
                    F.gelu(x @ first).chunk(processes, dim=1), second.chunk(processes), strict=True
                )
            ],
        ],
    }
)


# Section 13: two runs -----------------------------------------------------------------------------------------


_TWO_RUNS_SHAPES = {"1.weight": (128, 784), "1.bias": (128,), "3.weight": (10, 128), "3.bias": (10,)}
_TWO_RUNS_NET = "nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))"
_TWO_RUNS_APART = 0.01  # rounding leaves 1e-7 to 1e-3 after six epochs, another order of the digits 0.1
_TWO_RUNS_ACCURACY = 0.89  # six epochs reach 0.905 to 0.914


def _two_runs_digits():
    """The digits of the sample."""
    with contextlib.redirect_stdout(io.StringIO()):
        return data.mnist("sample")


def _two_runs_held_out():
    return _two_runs_digits().test


class _TwoRuns:
    """The weights of two runs, and what the networks with them do on digits."""

    def __init__(self, one, two):
        self.states = [
            {name: run[name].detach().cpu().float() for name in _TWO_RUNS_SHAPES} for run in (one, two)
        ]
        self.train = _two_runs_digits().train

    def apart(self, columns=slice(None), names=tuple(_TWO_RUNS_SHAPES)):
        """How far the weights lie apart, relative to those of the first run: the largest of the tensors."""
        return max(
            (
                (self.states[1][name] - self.states[0][name])[..., columns].norm()
                / self.states[0][name][..., columns].norm()
            )
            .nan_to_num(0.0)
            .item()
            for name in names
        )

    def logits(self, x):
        """Logits of both runs (2, N, 10)."""
        return torch.stack(
            [
                F.linear(
                    F.relu(F.linear(x.flatten(1), s["1.weight"], s["1.bias"])), s["3.weight"], s["3.bias"]
                )
                for s in self.states
            ]
        )

    def accuracy(self, split):
        """Of both runs (2,)."""
        return (self.logits(split.x).argmax(dim=2) == split.y).double().mean(dim=1)

    def losses(self, part=slice(None)):
        """Cross-entropy of both runs on some of the training digits (2,)."""
        x, y = self.train.x[part], self.train.y[part]
        return torch.stack([F.cross_entropy(one, y) for one in self.logits(x)])

    def more_loss(self, part=slice(None)):
        """The loss of the second run as a multiple of that of the first."""
        one, two = self.losses(part)
        return (two / one).item()

    def one_more_accurate(self, split):
        """How much more accurate the first run is."""
        one, two = self.accuracy(split)
        return (one - two).item()

    def of_unused_pixels(self):
        """How far the weights of pixels apart that are blank in all training digits: no gradient changes them."""
        blank = self.train.x.amax(dim=0).flatten() == 0
        return self.apart(blank, ("1.weight",))

    def alike(self):
        """Whether the runs hold the same bits."""
        return all(torch.equal(self.states[0][name], self.states[1][name]) for name in _TWO_RUNS_SHAPES)


class _TwoRunsExercise(ModelExercise):
    """Two state_dicts of one training, one run on one process and one on two."""

    def __init__(self, solution, **options):
        super().__init__(solution, attempt="one", score=None, floors={}, **options)
        self.arguments = ("one", "two")
        self.usage = f"ex.{self.name}(one, two)"

    def _judge(self, given, named):
        if unfit := self._misuse(given, named):
            return unfit
        if any(one is None or one is ... for one in given):
            return self._not_attempted(
                "Nothing arrived from one of the runs. Start the script twice, load what it saved, then call "
                f"`{self.usage}`."
            )
        for name, one in zip(self.arguments, given, strict=True):
            if sentence := _two_runs_unfit(one):
                return self._wrong(f"`{name}`: {sentence}")
        pair, split = _TwoRuns(*given), self.held_out()
        accuracy, apart = pair.accuracy(split), pair.apart()
        reached = (
            f"accuracy {accuracy[0]:.3f} and {accuracy[1]:.3f} (at least {_TWO_RUNS_ACCURACY}), weights apart by "
            f"{apart:.1e} of their norm (at most {_TWO_RUNS_APART})"
        )
        if apart <= _TWO_RUNS_APART and accuracy.min() >= _TWO_RUNS_ACCURACY and not pair.alike():
            return self._correct(f"On {len(split):,} digits that you were not given: {reached}.")
        sentence = next(sentence for sentence, shows in self.symptoms if shows(pair, split))
        return self._wrong(sentence, (f"on {len(split):,} kept back", reached))


def _two_runs_unfit(run):
    """What is wrong with what arrived as the weights of a run, "" if nothing is."""
    if isinstance(run, str | Path):
        return "this is the name of a file. Load it first, `torch.load('one.pt')`."
    if isinstance(run, nn.Module):
        return "a model arrived. Save its weights in the script, `torch.save(net.state_dict(), path)`."
    if not hasattr(run, "keys"):
        return (
            f"a state_dict is expected, but this arrived: {show(run)}. Save `net.state_dict()` in the script."
        )
    keys = [str(key) for key in run]
    if {"state", "param_groups"} <= set(keys):
        return "this is the state of the optimizer. Save that of the network, `net.state_dict()`."
    if {"run", "state"} <= set(keys) or "model" in keys or "state_dict" in keys:
        return "a dict arrived that holds more than the weights, as a checkpoint does. Save `net.state_dict()` alone."
    if any(hasattr(value, "keys") for value in run.values()):
        return (
            "a dict that holds a state_dict arrived. Save `net.state_dict()` alone, or hand over that entry."
        )
    if keys and all(key.startswith("module.") for key in keys):
        return (
            "the names begin with `module.`: the network is wrapped in DistributedDataParallel. `fit` needs no "
            "wrapper; of a wrapped network, save `net.module.state_dict()`."
        )
    if set(keys) == {"0.weight", "0.bias", "2.weight", "2.bias"}:
        return f"the network has no Flatten layer in front, so that its layers are 0 and 2. Take `{_TWO_RUNS_NET}`."
    if set(keys) == {"1.weight", "1.bias", "2.weight", "2.bias"}:
        return f"the ReLU is missing, so that the linear layers are 1 and 2. Take `{_TWO_RUNS_NET}`."
    if set(keys) != set(_TWO_RUNS_SHAPES):
        return f"the weights are called {', '.join(keys) or 'nothing: it is empty'}. Take `{_TWO_RUNS_NET}`."
    for key, shape in _TWO_RUNS_SHAPES.items():
        value = run[key]
        if not isinstance(value, Tensor):
            return f"{key} should be a tensor, but this arrived: {show(value)}. Save `net.state_dict()` as it is."
        if tuple(value.shape) != shape:
            return f"{key} is {tuple(value.shape)}, and {shape} is expected. Take `{_TWO_RUNS_NET}`."
        if not value.isfinite().all():
            return f"{key} holds nan or inf: the training went astray. Try a smaller learning rate, or fit's own."
    return ""


def _two_runs_of(**options):
    """Decorate the solution of `two_runs`."""
    return lambda solution: _TwoRunsExercise(solution, held_out=_two_runs_held_out, **options)


@_two_runs_of(
    hints=[
        "The script is the same for both runs: it seeds, loads the digits, makes the network and calls `train.fit`, "
        "which shares the batches of 64 among the processes by itself.",
        "Every process calls `fit`; only rank 0 saves, `if os.environ['RANK'] == '0':`. The name of the file can come "
        "from the command line, `sys.argv[1]`.",
        "`!{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2 two_runs.py two.pt`, and the same "
        "with 1 and `one.pt`. At the end of the script: `torch.save(net.state_dict(), sys.argv[1])`, in rank 0.",
    ],
)
def two_runs():
    """Return the weights of one training on one process and on two: two state_dicts, those of a script under torchrun.

    The script seeds, makes nn.Sequential(Flatten, Linear(784, 128), ReLU, Linear(128, 10)), trains it by `train.fit` on
    the training digits of data.mnist(source="sample"), 6 epochs in batches of 64, and lets rank 0, os.environ["RANK"],
    save `net.state_dict()`. The two runs differ by rounding: the weights by at most 1 % of their norm, in each tensor.
    At least 89 % of new digits are right.
    """
    import tempfile

    script = """
import os
import torch
from torch import nn
from coursekit import data, runtime, train

runtime.seed_everything(0)
digits = data.mnist("sample")
net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
train.fit(net, digits.train.batches(64, shuffle=True), epochs=6)
if os.environ["RANK"] == "0":
    torch.save(net.state_dict(), "net.pt")
"""
    found = []
    with tempfile.TemporaryDirectory() as place:
        Path(place, "own_training.py").write_text(script, encoding="utf-8")
        for processes in ("1", "2"):
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
            subprocess.run([*torchrun, processes, "own_training.py"], cwd=place, check=True)
            found.append(torch.load(Path(place, "net.pt")))
    return tuple(found)


lesson.add(two_runs)


@two_runs.symptom(
    "Both networks still guess. Save the weights after `train.fit`, and give it all training digits with their labels."
)
def _(pair, split):
    return pair.accuracy(split).max() < 0.3


@two_runs.symptom(
    "Both hold the same numbers to the last bit, but two processes add up in another order than one. Was one file "
    "loaded twice, or were both runs started with the same `--nproc-per-node`?"
)
def _(pair, split):
    return pair.alike()


@two_runs.symptom(
    "Only `one` has learnt; `two` guesses. The same script makes both: under two processes, too, every process calls "
    "`train.fit`, and rank 0 saves what comes out of it."
)
def _(pair, split):
    return pair.accuracy(split)[1] < 0.3


@two_runs.symptom(
    "Only `two` has learnt; `one` guesses. The same script makes both: save the weights after `train.fit`, whatever "
    "the number of processes."
)
def _(pair, split):
    return pair.accuracy(split)[0] < 0.3


@two_runs.symptom(
    "The runs agree, but too few digits are right. Train longer: 6 epochs in batches of 64, with the Adam that `fit` "
    "takes by itself, are enough."
)
def _(pair, split):
    return pair.apart() <= _TWO_RUNS_APART


@two_runs.symptom(
    "The runs began with different weights: pixels that are blank in all training digits kept theirs, and they differ. "
    "Seed the script with the same number in both runs, before the network is made."
)
def _(pair, split):
    return pair.of_unused_pixels() > 0.3


@two_runs.symptom(
    "One of the runs has learnt from one half of the training digits more than from the other, as if from the share of "
    "one process. Give all digits to `fit` in every process; it shares each batch out itself."
)
def _(pair, split):
    halves = [(slice(0, None, 2), slice(1, None, 2)), (slice(0, 1750), slice(1750, None))]
    sign = 1 if pair.more_loss() > 1 else -1  # of interest is the run with the higher loss
    ratios = [sorted(pair.more_loss(half) ** sign for half in two) for two in halves]
    return any(low < 1.6 and high > 1.1 and high / low > 1.12 for low, high in ratios)


@two_runs.symptom(
    "The runs differ a little more than by rounding. In a long training rounding grows: take 6 epochs. If they were no "
    "more, did batch size or learning rate differ slightly?"
)
def _(pair, split):
    one, two = pair.logits(split.x)
    return pair.apart() < 0.03 and (two - one).norm() / one.norm() < 0.01


@two_runs.symptom(
    "`two` has the higher loss on the training digits: it took fewer steps or smaller ones. Keep epochs, learning rate "
    "and batches of 64 whatever the number of processes; `fit` shares each batch out itself."
)
def _(pair, split):
    return pair.more_loss() > 1.08


@two_runs.symptom(
    "`two` has the lower loss on the training digits: it took more steps or larger ones. Keep epochs, learning rate "
    "and batches of 64 whatever the number of processes."
)
def _(pair, split):
    return pair.more_loss() < 0.93


@two_runs.symptom(
    "Both have learnt equally well, but they are not the same training. Was the order of the digits another one? Let "
    "seed, batches and learning rate in the script not depend on rank or number of processes."
)
def _(pair, split):
    return True


# Section 14: the quiz -----------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "For `adam_bytes`: weights, gradients and two running averages, 4 bytes each. For `eight_ranks`: how many "
        "examples enter one step? For `own_seed`: what has to be the same everywhere, so that the copies stay equal?",
        "For `same_batch`: what does the optimizer see, whatever the number of processes? For `who_writes`: how many "
        "copies of the weights are there, and in what do they differ? For `five_percent`: let N grow without bound.",
        "For `bubble`: 4 stages and 16 microbatches take 16 + 3 steps. For `power`: put α = ¼ and L/2 into the law.",
    ],
    adam_bytes=Question(
        "c",
        "Four numbers per parameter, 16 bytes: 1.3 billion of them take 20.8 GB, before the first activation.",
        {
            "a": "These are the weights alone.",
            "b": "Weights and gradients; Adam keeps two numbers more for each parameter.",
            "d": "That would be 8 bytes a number; float32 takes 4.",
        },
    ),
    eight_ranks=Question(
        "d",
        "All gradients enter one average: one step for 8 · 32 examples. A learning rate tuned for 32 may be too small.",
        {
            "a": "That is one process's share. The average is over all of them.",
            "b": "Processes do not split these 32; each has 32 of its own.",
            "c": "There is one step, taken by all copies alike, with the average of everyone's gradients.",
        },
    ),
    own_seed=Question(
        "b",
        "The noise should differ, or it would not average out. Initial weights and order must be the same.",
        {
            "a": "With other initial weights the copies differ from the beginning, and equal steps keep them apart.",
            "c": "With an order of its own, each process deals out other batches: some examples are used twice, others "
            "never.",
            "d": "Then initial weights and order differ, too, and these must not.",
        },
    ),
    same_batch=Question(
        "a",
        "The average over the batch is the same, up to rounding: so is the curve against steps. Only the time differs.",
        {
            "b": "The learning rate belongs to the batch that one step sees, and this has not changed.",
            "c": "The average has the noise of 256 examples, whoever computed their gradients.",
            "d": "That is a question of time per step, not of what a step does.",
        },
    ),
    who_writes=Question(
        "c",
        "All copies are equal, so one of them is enough; two processes that write one file at the same time may spoil "
        "it.",
        {
            "a": "All write the same file at the same time, which may spoil it.",
            "b": "Its copy is as good as any other, but which one is the slowest changes from run to run.",
            "d": "Averaging equal copies changes nothing.",
        },
    ),
    five_percent=Question(
        "b",
        "In the limit only the 5 % remain: 1 / 0.05 = 20 times.",
        {
            "a": "95 % of the work can be divided by any number; what remains is 5 %.",
            "c": "That would be the gain if all of the step could be divided.",
            "d": "The gain grows with N, but towards a limit.",
        },
    ),
    bubble=Question(
        "d",
        "Each stage works for 16 of 19 steps, and waits for 3: (p − 1)/(m + p − 1).",
        {
            "a": "More microbatches make the idle fraction smaller, never 0: the pipeline has to fill and to drain.",
            "b": "That is with a single microbatch: one stage of four works at a time.",
            "c": "3 of 16 are the idle steps per working step. Of all 19 steps, 3 are idle.",
        },
    ),
    power=Question(
        "a",
        "½ = k^(−¼), so k = 2⁴ = 16. With small exponents, each halving is dear.",
        {
            "b": "That would be α = ½.",
            "c": "That would be α = 1.",
            "d": "Turn it round: the law gives 8^(−¼) = 0.59 for eight times the data.",
        },
    ),
)
