"""The exercises of lesson 15, Small and fast: solutions, classic mistakes, hints."""

import contextlib
import copy
import functools
import io
import itertools
import math
import numbers
import operator
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from coursekit import data
from coursekit.checks import ExerciseSet, ModelExercise, Question, difference, normal

lesson = ExerciseSet("Lesson 15")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# Section 1: what a network costs ------------------------------------------------------------------------------


class _MacsNet(nn.Sequential):
    """A network that a verdict shows in one line."""

    def __repr__(self):
        return f"nn.Sequential({self.text})"


def _macs_case(text, *shape, dtype=torch.float32):
    net = _MacsNet(*eval(f"[{text}]", dict(vars(nn)))).to(dtype)
    net.text = text
    return net, normal(1, *shape, dtype=dtype)


@lesson.exercise(
    cases={
        "two linear layers": _macs_case("Linear(3, 2), ReLU(), Linear(2, 1)", 3),
        "one channel": _macs_case("Conv2d(1, 1, 2)", 1, 3, 3),
        "channels": _macs_case("Conv2d(3, 2, 3), ReLU()", 3, 6, 6),
        "padding": _macs_case("Conv2d(2, 4, 3, padding=1)", 2, 4, 4),
        "a wide image": _macs_case("Conv2d(2, 3, 3), ReLU(), Flatten(), Linear(30, 5)", 2, 4, 7),
        "a kernel of 1 × 3": _macs_case("Conv2d(2, 3, (1, 3))", 2, 5, 5),
        "a stride of 2": _macs_case("Conv2d(2, 5, 3, stride=2, padding=1, bias=False), ReLU()", 2, 8, 8),
        "pooling": _macs_case(
            "Conv2d(1, 4, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(4, 6, 3), Flatten(), Linear(24, 3)",
            1,
            8,
            8,
        ),
        "a mean over the image": _macs_case(
            "Conv2d(2, 6, 3), AdaptiveAvgPool2d(1), Flatten(), Linear(6, 4)", 2, 5, 6
        ),
        "groups": _macs_case("Conv2d(4, 4, 3, groups=4), ReLU(), Conv2d(4, 6, 1)", 4, 5, 5),
        "float64, no biases": _macs_case(
            "Linear(4, 5, bias=False), Tanh(), Linear(5, 3, bias=False)", 4, dtype=torch.float64
        ),
    },
    hints=[
        "Send the example through the layers one by one: `example = layer(example)`. Then you know the size of every "
        "output.",
        "`layer.weight.numel()` is the number of weights. How often does a convolution use each of them?",
        "For an `nn.Linear` add `layer.weight.numel()`, for an `nn.Conv2d` add `layer.weight.numel() * "
        "example.shape[2] * example.shape[3]`, with the example that has gone through the layer.",
    ],
)
def count_macs(net, example):
    """Return the multiply-accumulates that net, an nn.Sequential of layers, takes for example, a batch of one.

    Each weight of a linear layer is used once, each weight of a convolution once for every pixel of its output. Biases,
    activations and pooling count nothing.
    """
    macs = 0
    for layer in net:
        example = layer(example)
        if isinstance(layer, nn.Linear):
            macs += layer.weight.numel()
        elif isinstance(layer, nn.Conv2d):
            macs += layer.weight.numel() * example.shape[2] * example.shape[3]
    return macs


def _macs_bias(layer):
    return 0 if layer.bias is None else layer.bias.numel()


def _macs_pixels(y):
    return y.shape[2] * y.shape[3]


def _group_channels(layer):
    return layer.weight.shape[0] * layer.weight.shape[1]


def _all_channels(layer):
    return layer.in_channels * layer.out_channels


def _macs(
    *,
    linear=lambda layer: layer.weight.numel(),
    channels=_group_channels,
    kernel=lambda layer: math.prod(layer.kernel_size),
    pixels=lambda layer, x, y: _macs_pixels(y),
    bias=lambda layer, y: 0,
    others=lambda layer, x, y: 0,
    factor=1,
):
    """The loop, with what can go wrong as arguments; x goes into a layer, y comes out."""

    def attempt(net, example):
        macs, x = 0, example
        for layer in net:
            y = layer(x)
            if isinstance(layer, nn.Linear):
                macs += linear(layer) + bias(layer, y)
            elif isinstance(layer, nn.Conv2d):
                macs += channels(layer) * kernel(layer) * pixels(layer, x, y) + bias(layer, y)
            else:
                macs += others(layer, x, y)
            x = y
        return factor * macs

    return attempt


def _macs_by_formula(*, padding, stride):
    """The loop, with the size of the output worked out from that of the input."""

    def pixels(layer, x, y):
        sides = (
            (side + 2 * padding * pad - kernel) // (step if stride else 1) + 1
            for side, pad, kernel, step in zip(
                x.shape[2:], layer.padding, layer.kernel_size, layer.stride, strict=True
            )
        )
        return math.prod(sides)

    return _macs(pixels=pixels)


def _without_linear(net, example):
    return sum(
        layer.weight.numel() * _macs_pixels(net[: number + 1](example))
        for number, layer in enumerate(net)
        if isinstance(layer, nn.Conv2d)
    )


def _square_kernel(layer):
    return layer.kernel_size[0] ** 2


def _macs_added(net, example):
    macs = 0
    for layer in net:
        example = layer(example)
        if isinstance(layer, nn.Linear):
            macs += layer.weight.numel()
        elif isinstance(layer, nn.Conv2d):
            macs += layer.weight.numel() + _macs_pixels(example)
    return macs


_MACS_GROUPS = {
    "With groups, an output channel looks at the input channels of its own group only, and has fewer weights. "
    "`layer.weight.numel()` knows that.": {"channels": _all_channels}
}
_MACS_TWICE = {
    "The result is twice the right one: a multiplication and the addition after it are one multiply-accumulate. "
    "Leave out the factor 2.": {"factor": 2}
}
count_macs.slips(_macs, _MACS_GROUPS, _MACS_TWICE)
count_macs.mistakes(
    {
        "Biases are counted too. Adding one takes no multiplication: count `layer.weight.numel()` alone, and no "
        "biases.": [
            _macs(bias=lambda layer, y: y.numel() if layer.bias is not None else 0),
            _macs(bias=lambda layer, y: layer.bias.numel() and y.numel()),
            _macs(bias=lambda layer, y: _macs_bias(layer)),
            _macs(bias=lambda layer, y: y.numel()),
            _macs(bias=lambda layer, y: layer.out_features if isinstance(layer, nn.Linear) else 0),
        ],
        "This is the number of parameters, biases included. A convolution uses each weight once for every pixel of its "
        "output, and biases do not count.": lambda net, example: sum(p.numel() for p in net.parameters()),
        "This is the number of weights. A convolution uses each of its weights once for every pixel of its output: "
        "multiply by their number.": {" * example.shape[2] * example.shape[3]": ""},
        "The pixels of a convolution's input are counted. Each weight is used once for every pixel of its output, so "
        "take the shape after `layer(example)`.": [
            _macs(pixels=lambda layer, x, y: _macs_pixels(x)),
            lambda net, example: _macs(pixels=lambda layer, x, y: _macs_pixels(example))(net, example),
        ],
        "The size of the output is worked out without the padding, or without the stride. Read it from the output "
        "itself: `layer(example).shape`.": [
            _macs_by_formula(padding=False, stride=False),
            _macs_by_formula(padding=False, stride=True),
            _macs_by_formula(padding=True, stride=False),
        ],
        "Channels are missing: a convolution has a kernel for every pair of an input and an output channel. "
        "`layer.weight.numel()` counts the weights of all.": [
            *(
                _macs(channels=channels)
                for channels in (
                    lambda layer: layer.out_channels,
                    lambda layer: layer.in_channels,
                    lambda layer: layer.weight.shape[1],
                    lambda layer: 1,
                )
            ),
            _macs(channels=lambda layer: 1, kernel=_square_kernel),
        ],
        "Weights and pixels are added. A convolution uses each of its weights once for every pixel: multiply the two "
        "numbers.": _macs_added,
        "The output channels come in twice: `layer.weight.numel()` holds them already. Multiply by the pixels of one "
        "channel, `shape[2] * shape[3]`.": [
            _macs(pixels=lambda layer, x, y: y.numel()),
        ],
        "Each weight is multiplied by all numbers of the output. It is used once in a linear layer, and once for every "
        "pixel of a convolution's output: `shape[2] * shape[3]` of them.": _macs(
            pixels=lambda layer, x, y: y.numel(),
            linear=lambda layer: layer.weight.numel() * len(layer.weight),
        ),
        "A kernel has height times width weights for each pair of channels, and not both are counted here. "
        "`layer.weight.numel()` has both.": [
            _macs(kernel=kernel, channels=channels)
            for channels in (_group_channels, _all_channels)
            for kernel in (
                lambda layer: layer.kernel_size[0],
                lambda layer: layer.kernel_size[1],
                lambda layer: 1,
                lambda layer: sum(layer.kernel_size),
            )
        ],
        "A side is squared, or one is left out, but neither image nor kernel has to be square: `kernel_size` is a "
        "pair, like `shape[2:]`. Take height times width.": [
            _macs(pixels=lambda layer, x, y: y.shape[2]),
            _macs(pixels=lambda layer, x, y: y.shape[3]),
            _macs(pixels=lambda layer, x, y: y.shape[2] ** 2),
            _macs(pixels=lambda layer, x, y: y.shape[3] ** 2),
            _macs(kernel=_square_kernel),
            _macs(kernel=lambda layer: layer.kernel_size[1] ** 2),
            _macs(kernel=_square_kernel, pixels=lambda layer, x, y: y.shape[2] ** 2),
            _macs(kernel=lambda layer: layer.kernel_size**2),
        ],
        "The linear layers are missing, or not counted right: each of their in · out weights is used once. Add "
        "`layer.weight.numel()` for an `nn.Linear`.": [
            _macs(linear=lambda layer: 0),
            _without_linear,
            _macs(linear=lambda layer: sum(layer.weight.shape)),
            _macs(linear=lambda layer: layer.out_features),
            _macs(linear=lambda layer: layer.in_features),
            _macs(linear=lambda layer: layer.weight.numel() * layer.out_features),
        ],
        "The convolutions are missing: add `layer.weight.numel()` times the pixels of the output.": [
            _macs(kernel=lambda layer: 0),
            lambda net, example: sum(layer.weight.numel() for layer in net if isinstance(layer, nn.Linear)),
        ],
        "Every layer gets what the one before it gives, also from layers without weights, such as pooling. Write "
        "`example = layer(example)` for all of them.": [
            {
                "        example = layer(example)\n": "        out = layer(example)\n",
                "example.shape": "out.shape",
            },
            {
                "        example = layer(example)\n": "",
                "            macs +=": "            example = layer(example)\n            macs +=",
            },
        ],
        "Activations, pooling and `nn.Flatten` take no multiply-accumulates, and have no `weight` to ask for. Add "
        "something for `nn.Linear` and `nn.Conv2d` only.": [
            _macs(others=lambda layer, x, y: y.numel()),
            _macs(others=lambda layer, x, y: x.numel()),
            _macs(others=lambda layer, x, y: layer.weight),
        ],
        "Only one layer's number comes back. Add up all of them with `macs +=`, and return after the loop has "
        "ended.": [
            {"macs +=": "macs ="},
            {"    return macs": "        return macs"},
            {"    return macs": "        if macs:\n            return macs\n    return macs"},
        ],
    }
)
_MACS_FORMULA = {
    "The groups are forgotten, which leave a convolution fewer weights.": next(iter(_MACS_GROUPS.values()))
}
_MACS_OF_INPUT = {
    "The pixels are those of the input, not of the output.": {"pixels": lambda layer, x, y: _macs_pixels(x)}
}
_MACS_SQUARE = {"The kernel is taken for square.": {"kernel": _square_kernel}}
_MACS_TOO_MANY = {
    "Biases are counted too.": {"bias": lambda layer, y: y.numel() if layer.bias is not None else 0},
    "A multiply-accumulate is counted as two.": {"factor": 2},
}
_MACS_NO_LINEAR = {"The linear layers are missing.": {"linear": lambda layer: 0}}
count_macs.pairs_of_slips(_macs, _MACS_NO_LINEAR, _MACS_FORMULA | _MACS_OF_INPUT)
count_macs.pairs_of_slips(_macs, _MACS_FORMULA, _MACS_OF_INPUT | _MACS_SQUARE | _MACS_TOO_MANY)
count_macs.pairs_of_slips(_macs, _MACS_OF_INPUT, _MACS_TOO_MANY)
count_macs.pairs_of_slips(_macs, _MACS_TOO_MANY)


class _LatencyBench:
    """A `run` whose calls take given times, and the `clock` that shows them."""

    def __init__(self, seconds, reading):
        self.seconds, self.reading = seconds, reading
        self.calls, self.readings, self.now = 0, 0, 100.0

    def run(self):
        self.now += self.seconds[self.calls] if self.calls < len(self.seconds) else 64.0
        self.calls += 1

    def clock(self):
        self.readings += 1
        self.now += self.reading
        return self.now


def _latency_facts(attempt, seconds, reading, warm_up, repeats):
    """What comes back, and how often run was called; (5, 51) are left to the defaults."""
    bench = _LatencyBench(seconds, reading)

    def run():
        bench.run()

    def clock():
        return bench.clock()

    result = attempt(run, clock) if (warm_up, repeats) == (5, 51) else attempt(run, clock, warm_up, repeats)
    if result is None:
        return None
    if not bench.readings and isinstance(result, float):
        result = "a time that was not read from `clock`"
    return {"median time of a call": result, "calls of run": bench.calls}


_LATENCY_MANY = [40.0, 30.0, 20.0, 10.0, 8.0, *(1 + (7 * k % 51) / 8 for k in range(51))]


@lesson.exercise(
    observe=_latency_facts,
    cases={
        "one warm-up call, three timed": ([9.0, 7.0, 2.0, 3.0], 0.0, 1, 3),
        "no warm-up": ([4.0, 1.0, 2.5], 0.0, 0, 3),
        "one call timed": ([8.0, 5.0, 1.5], 0.0, 2, 1),
        "calls that get slower": ([0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 9.0], 0.0, 2, 5),
        "calls that get faster": ([16.0, 12.0, 9.0, 7.0, 4.0, 2.5, 2.0, 1.0], 0.0, 3, 5),
        "an outlier": ([2.0, 1.0, 1.25, 50.0, 1.5, 1.75, 1.125], 0.0, 2, 5),
        "a slow start": ([90.0, 60.0, 30.0, 20.0, 2.0, 3.0, 1.0], 0.0, 4, 3),
        "as many warm-up calls as timed": ([9.0, 8.0, 6.0, 0.5, 2.0, 1.0], 0.0, 3, 3),
        "a clock that takes time itself": (
            [6.0, 5.0, 4.0, 1.0, 3.0, 2.0, 8.0, 0.5, 1.5],
            0.25,
            2,
            7,
        ),
        "times below a second": ([0.75, 0.5, 2 / 64, 4 / 64, 9 / 64, 3 / 64, 1 / 64], 0.0, 2, 5),
        "both numbers left out": (_LATENCY_MANY, 0.0, 5, 51),
    },
    hints=[
        "When does a single call begin and end, by `clock()`? The first few calls are slower than the rest and belong "
        "to no measurement.",
        "Call `run()` in a loop of `warm_up`. Then, in a loop of `repeats`, read the clock before and after one call, "
        "and collect the differences in a list.",
        "`start = clock()`, `run()`, `times.append(clock() - start)`, and in the end `statistics.median(times)`.",
    ],
)
def latency(run, clock, warm_up=5, repeats=51):
    """Return the median time of one call of run(), by clock(), over `repeats` calls timed one by one.

    `warm_up` calls come first, which are not timed.
    """
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(repeats):
        start = clock()
        run()
        times.append(clock() - start)
    return statistics.median(times)


def _latency_times(run, clock, repeats):
    times = []
    for _ in range(repeats):
        start = clock()
        run()
        times.append(clock() - start)
    return times


def _latency_from_one_start(run, clock, repeats):
    start, times = clock(), []
    for _ in range(repeats):
        run()
        times.append(clock() - start)
    return times


def _latency_ends(run, clock, repeats):
    ends = []
    for _ in range(repeats):
        run()
        ends.append(clock())
    return ends


def _latency(
    untimed=lambda warm_up, repeats: warm_up,
    timed=lambda warm_up, repeats: repeats,
    times=_latency_times,
    reduce=statistics.median,
):
    """The measurement, with what can go wrong as arguments."""

    def attempt(run, clock, warm_up=5, repeats=51):
        for _ in range(untimed(warm_up, repeats)):
            run()
        return reduce(times(run, clock, timed(warm_up, repeats)))

    return attempt


def _latency_of_all(each):
    """All calls between two readings of the clock; `each` makes a result of the total and the number."""

    def attempt(run, clock, warm_up=5, repeats=51):
        for _ in range(warm_up):
            run()
        start = clock()
        for _ in range(repeats):
            run()
        return each(clock() - start, repeats)

    return attempt


def _latency_within(timed_call, before=lambda run, warm_up: None, warmed=True):
    """The loop of timed calls with another body."""

    def attempt(run, clock, warm_up=5, repeats=51):
        for _ in range(warm_up if warmed else 0):
            run()
        times = []
        for _ in range(repeats):
            before(run, warm_up)
            times.append(timed_call(run, clock))
        return statistics.median(times)

    return attempt


def _latency_of_two_calls(run, clock):
    start = clock()
    run()
    run()
    return clock() - start


def _latency_after_a_call(run, clock):
    run()
    return _latency_times(run, clock, 1)[0]


def _latency_of_nothing(run, clock):
    start = clock()
    return clock() - start


def _latency_with_run_as_argument(run, clock):
    start = clock()
    return clock(run()) - start


def _latency_with_own_clock(clock):
    return lambda run, _, *numbers: latency.reference(run, clock, *numbers)


def _latency_with_some_dropped(run, clock, warm_up=5, repeats=51):
    times = _latency_times(run, clock, repeats)
    return statistics.median(times[warm_up:])


_LATENCY_CALLS = {
    "The `warm_up` calls are missing. Call `run()` that often first, untimed, then time `repeats` more.": {
        "untimed": lambda warm_up, repeats: 0
    },
    "The slow first calls are timed as well. Leave the `warm_up` calls out of the list of times.": {
        "untimed": lambda warm_up, repeats: 0,
        "timed": lambda warm_up, repeats: warm_up + repeats,
    },
    "`warm_up` and `repeats` have changed places. Call `run()` `warm_up` times untimed, then time `repeats` calls.": {
        "untimed": lambda warm_up, repeats: repeats,
        "timed": lambda warm_up, repeats: warm_up or 1,
    },
}
_LATENCY_RESULTS = {
    "This is the mean time of a call, or the time of all together, which one slow call spoils. Collect the time of "
    "each, and take the median.": {"reduce": statistics.mean},
    "This is the fastest call, or the slowest. Take the median of the times, `statistics.median(times)`.": {
        "reduce": min
    },
    "The list is not sorted before its middle is taken. `statistics.median(times)` does both.": {
        "reduce": lambda times: times[len(times) // 2]
    },
    "Return the median alone, as a number: not the times, and nothing beside it.": {
        "reduce": lambda times: times
    },
}
_LATENCY_TIMES = {
    "Every time includes the calls before it. Read the clock before each call as well, `start = clock()` inside the "
    "loop, and take the difference.": {"times": _latency_from_one_start},
}
latency.slips(_latency, _LATENCY_CALLS, _LATENCY_RESULTS, _LATENCY_TIMES)
latency.mistakes(
    {
        next(iter(_LATENCY_CALLS)): [
            {"    for _ in range(warm_up):\n        run()\n": ""},
            _latency_with_some_dropped,
        ],
        next(iter(_LATENCY_RESULTS)): [
            {"statistics.median": "statistics.mean"},
            _latency(reduce=sum),
            _latency_of_all(lambda total, repeats: total / repeats),
            _latency_of_all(lambda total, repeats: total),
        ],
        list(_LATENCY_RESULTS)[1]: _latency(reduce=max),
        list(_LATENCY_RESULTS)[3]: [
            _latency(reduce=lambda times: (statistics.median(times), times)),
            _latency(reduce=lambda times: [statistics.median(times)]),
        ],
        next(iter(_LATENCY_TIMES)): _latency(times=_latency_ends),
        "The median is taken of a single time. Make the list before the loop over `repeats`, append to it in the loop, "
        "and return after the loop.": [
            _latency(timed=lambda warm_up, repeats: 1),
            _latency(reduce=lambda times: times[-1]),
            _latency(reduce=lambda times: times[0]),
        ],
        "One call too many or too few. Check both loops: `range(warm_up)` and `range(repeats)`.": [
            *(_latency(untimed=lambda warm_up, repeats, by=by: warm_up + by) for by in (1, -1)),
            *(_latency(timed=lambda warm_up, repeats, by=by: max(1, repeats + by)) for by in (1, -1)),
            {"range(repeats)": "range(repeats - 1)"},
            {"range(repeats)": "range(1, repeats)"},
        ],
        "`run` is called more than once for each time in the list. Call it once between the two readings of the "
        "clock, and in no other loop than that of the warm-up.": [
            _latency_within(_latency_of_two_calls),
            _latency_within(_latency_after_a_call),
            lambda run, clock, warm_up=5, repeats=51: latency.reference(
                run, clock, warm_up + repeats, repeats
            ),
        ],
        "There is a warm-up before every timed call. Warm up once, before the loop of timed calls.": [
            _latency_within(
                lambda run, clock: _latency_times(run, clock, 1)[0],
                lambda run, warm_up: [run() for _ in range(warm_up)],
                warmed=warmed,
            )
            for warmed in (True, False)
        ],
        "Nothing runs between the two readings of the clock. Call `run()` there, with its brackets.": [
            _latency_within(_latency_of_nothing),
            _latency_within(_latency_of_nothing, warmed=False),
        ],
        "The time comes from another clock, such as `time.perf_counter`. Use the `clock` that is handed over: "
        "`start = clock()`.": [
            {"clock()": "time.perf_counter()"},
            _latency_with_own_clock(time.time),
        ],
        "`clock()` takes no arguments and measures nothing by itself. Read it before and after: `start = clock()`, "
        "`run()`, `clock() - start`.": [
            _latency_within(_latency_with_run_as_argument),
            _latency_within(lambda run, clock: clock(run)),
        ],
        "5 and 51 are written into the code. Use `warm_up` and `repeats`, of which these are the defaults.": [
            {"range(warm_up)": "range(5)", "range(repeats)": "range(51)"},
            {"range(repeats)": "range(51)"},
            {"range(warm_up)": "range(5)"},
        ],
    }
)
latency.pairs_of_slips(
    _latency,
    {
        "The untimed `warm_up` calls are missing.": {"untimed": lambda warm_up, repeats: 0},
        "The `warm_up` calls are timed as well: leave them out.": {
            "untimed": lambda warm_up, repeats: 0,
            "timed": lambda warm_up, repeats: warm_up + repeats,
        },
    },
    {
        "And take the median, not the mean.": {"reduce": statistics.mean},
        "And take the median, not the fastest call.": {"reduce": min},
        "And read the clock anew before each call.": {"times": _latency_from_one_start},
        "And sort the times before you take the middle one.": {
            "reduce": lambda times: times[len(times) // 2]
        },
    },
)


# Section 2: fewer weights -------------------------------------------------------------------------------------


def _pruned_weights(*shapes, seed, scales=None, dtype=torch.float32, kind=Tensor):
    tensors = [
        scale * normal(*shape, seed=seed + number, dtype=dtype)
        for number, (shape, scale) in enumerate(zip(shapes, scales or [1.0] * len(shapes), strict=True))
    ]
    return [nn.Parameter(one) for one in tensors] if kind is nn.Parameter else tensors


def _masks_and_weights(attempt, weights, sparsity):
    given = copy.deepcopy(weights)
    masks = attempt(given, sparsity)
    same = all(torch.equal(one, other) for one, other in zip(weights, given, strict=True))
    types = (
        {mask.dtype for mask in masks if isinstance(mask, Tensor)} if isinstance(masks, list | tuple) else ()
    )
    return {
        "masks": masks,
        "the weights": "as before" if same else "changed",
        "type of the masks": ", ".join(sorted(str(one).removeprefix("torch.") for one in types)) or "bool",
    }


@lesson.exercise(
    cases={
        "two pairs": ([torch.tensor([0.1, -3.0]), torch.tensor([0.5, 2.0])], 0.5),
        "one is left out": ([torch.tensor([0.1, -3.0]), torch.tensor([0.5, 2.0])], 0.25),
        "sparsity 0": ([torch.tensor([-0.2, 1.0]), torch.tensor([0.7])], 0.0),
        "sparsity 1": ([torch.tensor([-0.2, 1.0]), torch.tensor([0.7])], 1.0),
        "a layer of small weights": (_pruned_weights((3, 2), (2, 3), seed=1, scales=(1.0, 0.1)), 0.5),
        "2.8 is rounded up": (_pruned_weights((2, 3), (1,), seed=12), 0.4),
        "4.2 is rounded down": (_pruned_weights((2, 3), (1,), seed=14), 0.6),
        "one tensor, float64": (_pruned_weights((4, 4), seed=5, dtype=torch.float64), 0.75),
        "nearly all": (_pruned_weights((5, 4), (2, 5), (10,), seed=6, scales=(1.0, 2.0, 0.5)), 0.9),
        "a convolution": (_pruned_weights((3, 2, 2, 2), (3, 4), seed=9, scales=(0.3, 1.0)), 0.25),
        "parameters": (_pruned_weights((3, 3), (3, 3), seed=24, scales=(2.0, 1.0), kind=nn.Parameter), 0.3),
    },
    hints=[
        "Which size must a weight exceed to stay? One threshold holds for all tensors: put their magnitudes into one "
        "vector first, `torch.cat([w.abs().flatten() for w in weights])`.",
        "With k = round(sparsity · n), the threshold is the k-th smallest of the n magnitudes. What if k is 0?",
        "`threshold = magnitudes.kthvalue(k).values` if k > 0, else a negative number. Then `w.abs() > threshold` for "
        "each w.",
    ],
    observe=_masks_and_weights,
)
def magnitude_masks(weights, sparsity):
    """Return a boolean mask for each tensor of the list weights: False for the smallest |w| of all tensors together.

    The masks leave out round(sparsity · number of all weights) of them.
    """
    magnitudes = torch.cat([w.abs().flatten() for w in weights])
    k = round(sparsity * len(magnitudes))
    threshold = magnitudes.kthvalue(k).values if k > 0 else -1.0
    return [w.abs() > threshold for w in weights]


def _smallest(sizes, k):
    return sizes.sort().values[k - 1] if k > 0 else -torch.inf


def _masking(
    *,
    size=torch.abs,
    count=lambda sparsity, n: round(sparsity * n),
    least=_smallest,
    keep=lambda sizes, threshold: sizes > threshold,
    per_layer=False,
    result=lambda masks, weights: masks,
):
    """The masks, with what can go wrong as arguments."""

    def attempt(weights, sparsity):
        sizes = [size(w.detach()) for w in weights]
        every = [one.flatten() for one in sizes] if per_layer else [torch.cat([s.flatten() for s in sizes])]
        thresholds = [least(one, count(sparsity, len(one))) for one in every]
        if not per_layer:
            thresholds *= len(weights)
        masks = [keep(one, threshold) for one, threshold in zip(sizes, thresholds, strict=True)]
        return result(masks, weights)

    return attempt


def _masking_of_so_many(number):
    def attempt(weights, sparsity):
        return _masking(count=lambda _, n: round(sparsity * number(weights)))(weights, sparsity)

    return attempt


def _fixed_threshold(rule):
    def attempt(weights, sparsity):
        sizes = torch.cat([w.detach().abs().flatten() for w in weights])
        return [w.abs() > rule(sizes, sparsity) for w in weights]

    return attempt


def _zeroed(masks, weights):
    for mask, w in zip(masks, weights, strict=True):
        w.data *= mask
    return masks


def _largest(sizes, k):
    return sizes.topk(k).values[-1] if k > 0 else -torch.inf


def _pruned_in_place(weights, sparsity):
    for mask, w in zip(magnitude_masks.reference(weights, sparsity), weights, strict=True):
        w[~mask] = 0
    return weights


def _smallest_or_last(sizes, k):
    return sizes.sort().values[k - 1]


_EXACT = {
    "`sparsity * n` has to become the nearest integer: `int` and `//` cut off, `ceil` goes up, and a float is no "
    "index. Ask for `round(sparsity * n)`.": [
        {"count": lambda sparsity, n: int(sparsity * n)},
        {"count": lambda sparsity, n: math.ceil(sparsity * n)},
        {"count": lambda sparsity, n: sparsity * n, "least": lambda sizes, k: sizes.kthvalue(k).values},
        {"count": lambda sparsity, n: sparsity * n, "least": _smallest},
        {"count": lambda sparsity, n: sparsity * n, "least": lambda sizes, k: sizes.sort().values[k - 1]},
        {"count": lambda sparsity, n: sparsity * n, "least": lambda sizes, k: sizes.sort().values[k]},
    ],
    "One weight too few is left out: the k-th smallest has to go too. Keep what is greater than it, `>`, not "
    "`>=`.": [
        {"keep": lambda sizes, threshold: sizes >= threshold},
    ],
    "One weight too many is left out: the threshold is one further up than the k-th smallest. Counting from 0, that is "
    "`[k - 1]`.": [
        {"least": lambda sizes, k: sizes.sort().values[k]},
        {"least": lambda sizes, k: sizes.sort().values[min(k, len(sizes) - 1)]},
        {"least": lambda sizes, k: sizes.kthvalue(k + 1).values},
    ],
}
magnitude_masks.mistakes(
    {told: [_masking(**one) for one in options] for told, options in _EXACT.items()}
    | {
        "Each tensor is pruned by itself, so each loses the same fraction. Take one threshold for all: join the "
        "magnitudes with `torch.cat` first.": [
            _masking(per_layer=True),
            _masking(
                per_layer=True,
                least=lambda sizes, k: sizes.sort().values[k] if k < len(sizes) else torch.inf,
                keep=torch.ge,
            ),
        ],
        "The sign counts here, so large negative weights are left out as well. Compare magnitudes, both for "
        "the threshold and for the masks: `w.abs()`.": [
            _masking(size=lambda w: w),
            lambda weights, sparsity: _masking(
                result=lambda masks, ws: [mask & (w > 0) for mask, w in zip(masks, ws, strict=True)]
            )(weights, sparsity),
            {"[w.abs() > threshold": "[w > threshold"},
            {"w.abs().flatten()": "w.flatten()"},
        ],
        "The masks are inverted: True belongs to the large weights, which stay. Turn the comparison around.": [
            {"w.abs() > threshold": "w.abs() <= threshold"},
            {"w.abs() > threshold": "w.abs() < threshold"},
        ],
        "`sparsity` is the fraction that is left out, and here it is the fraction that stays. Leave out "
        "`round(sparsity * n)`.": [
            _masking(count=lambda sparsity, n: round((1 - sparsity) * n)),
            _masking(count=lambda sparsity, n: n - round(sparsity * n)),
            _masking(least=_largest, keep=torch.ge),
            _masking(least=_largest),
        ],
        "With sparsity 0 there is no k-th smallest: `[k - 1]` is then the last, the largest one, and `kthvalue(0)` is "
        "an error. Treat k = 0 on its own.": [
            {" if k > 0 else -1.0": ""},
            _masking(least=_smallest_or_last),
            _masking(least=lambda sizes, k: sizes.topk(k, largest=False).values.max()),
            _masking(least=lambda sizes, k: sizes.topk(k, largest=False).values[-1]),
        ],
        "With sparsity 1 all weights go, and no magnitude is left at index k: there it is an error. Treat k = n on its "
        "own, or keep what is greater than `[k - 1]`.": [
            _masking(least=lambda sizes, k: sizes.sort().values[k], keep=torch.ge),
            _masking(least=lambda sizes, k: sizes.kthvalue(k + 1).values, keep=torch.ge),
            _masking(least=lambda sizes, k: sizes.topk(len(sizes) - k).values.min(), keep=torch.ge),
            _masking(least=lambda sizes, k: sizes.topk(len(sizes) - k).values[-1], keep=torch.ge),
        ],
        "`quantile` interpolates, and does not leave out exactly round(sparsity · n) weights. Take the k-th smallest "
        "magnitude, `magnitudes.kthvalue(k).values`.": [
            _fixed_threshold(torch.quantile),
            _masking(
                count=lambda sparsity, n: sparsity,
                least=torch.quantile,
                keep=torch.ge,
            ),
        ],
        "This threshold does not depend on how many weights lie below it. Take the k-th smallest magnitude, with "
        "k = `round(sparsity * n)`.": [
            _fixed_threshold(lambda sizes, sparsity: sparsity),
            _fixed_threshold(lambda sizes, sparsity: sparsity * sizes.max()),
            _fixed_threshold(lambda sizes, sparsity: sparsity * sizes.mean()),
            _fixed_threshold(lambda sizes, sparsity: sizes.mean()),
        ],
        "`len` counts the rows of a matrix, or the tensors of a list, and too few weights are left out. n is the "
        "number of all: `len` of the magnitudes joined by `torch.cat`.": [
            _masking_of_so_many(lambda weights: sum(map(len, weights))),
            _masking_of_so_many(len),
        ],
        "The masks are True everywhere, so nothing is left out. `sparsity` is a fraction between 0 and 1, and "
        "`round(sparsity * n)` weights have to go.": [
            _masking(count=lambda sparsity, n: round(sparsity / 100 * n)),
            lambda weights, sparsity: [torch.ones_like(w, dtype=torch.bool) for w in weights],
        ],
        "The masks hold the numbers 1 and 0. Leave the comparison as it is: boolean masks can be inverted with `~` and "
        "used as an index.": [
            _masking(result=lambda masks, weights: [mask.float() for mask in masks]),
            _masking(result=lambda masks, weights: [mask.to(torch.float64) for mask in masks]),
            _masking(
                result=lambda masks, weights: [
                    mask.to(w.dtype) for mask, w in zip(masks, weights, strict=True)
                ]
            ),
            _masking(result=lambda masks, weights: [mask.int() for mask in masks]),
            _masking(result=lambda masks, weights: [mask.long() for mask in masks]),
        ],
        "One long mask came back. Return a list with a mask for each tensor, of the shape of that tensor: "
        "`[w.abs() > threshold for w in weights]`.": [
            _masking(result=lambda masks, weights: torch.cat([mask.flatten() for mask in masks])),
            _masking(result=lambda masks, weights: [torch.cat([mask.flatten() for mask in masks])]),
            _masking(result=lambda masks, weights: [mask.flatten() for mask in masks]),
        ],
        "These are pruned weights, and masks are asked for. Return the comparison itself, "
        "`w.abs() > threshold`.": [
            _masking(
                result=lambda masks, weights: [w * mask for mask, w in zip(masks, weights, strict=True)]
            ),
            _masking(result=lambda masks, weights: [w[mask] for mask, w in zip(masks, weights, strict=True)]),
            _masking(result=lambda masks, weights: [_zeroed(masks, weights), weights][1]),
            _pruned_in_place,
        ],
        "The masks are right, but the weights were set to 0 on the way. Leave them as they are: the caller applies the "
        "masks.": _masking(result=_zeroed),
    }
)
_MASKED_NONE = {
    "With sparsity 0 there is no k-th smallest.": {"least": lambda sizes, k: sizes.kthvalue(k).values}
}
_MASKED_WHICH = {"Each tensor is pruned by itself, not all together.": {"per_layer": True}}
_MASKED_HOW = {
    "The sign counts: compare `w.abs()`.": {"size": lambda w: w},
    "`int` rounds down: use `round`.": {"count": lambda sparsity, n: int(sparsity * n)},
    "The k-th smallest stays, but has to go as well: use `>`.": {"keep": torch.ge},
}
_MASKED_LAST = {
    "With sparsity 0 there is no k-th smallest, and `[-1]` is the largest.": {"least": _smallest_or_last}
}
magnitude_masks.pairs_of_slips(_masking, dict([*_MASKED_HOW.items()][2:]), _MASKED_LAST)
magnitude_masks.pairs_of_slips(_masking, _MASKED_NONE, _MASKED_WHICH | _MASKED_HOW)
magnitude_masks.pairs_of_slips(
    _masking, _MASKED_NONE, {"The masks are inverted.": {"keep": lambda sizes, threshold: sizes <= threshold}}
)
magnitude_masks.pairs_of_slips(_masking, _MASKED_WHICH, _MASKED_HOW)


_PRUNED_WITH = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.02),
    "AdamW with weight decay": lambda parameters: torch.optim.AdamW(parameters, lr=0.02, weight_decay=0.5),
}


def _pruned_net(sizes):
    """A network with fixed weights."""
    layers = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
        layers[-2].weight.data = normal(outputs, inputs, seed=40 + number)
        layers[-2].bias.data = 0.5 * normal(outputs, seed=50 + number)
    return nn.Sequential(*layers[:-1])


def _some_masked_steps(masked_step, optimizer, sizes, steps, steps_before, pruned_layers, pruned_before):
    """What is left of a network after some steps with masks, and perhaps some without before."""
    net = _pruned_net(sizes)
    optimizer = _PRUNED_WITH[optimizer](net.parameters())
    weights = [net[2 * number].weight for number in pruned_layers]
    masks = [
        torch.arange(w.numel()).view_as(w) * 7 % 5 < 3 if w.numel() > 2 else torch.tensor([[True, False]])
        for w in weights
    ]
    seen = []

    def loss(step):
        return F.mse_loss(net(normal(4, sizes[0], seed=60 + step)), 2 * normal(4, sizes[-1], seed=70 + step))

    for step in range(steps_before):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
    if pruned_before:
        for weight, mask in zip(weights, masks, strict=True):
            weight.data *= mask
    before = [weight.detach().clone() for weight in weights]
    optimizer.register_step_post_hook(lambda *_: seen.append("step"))
    for step in range(steps):
        current = loss(10 + step)
        current.register_hook(lambda _: seen.append("backward"))
        masked_step(current, optimizer, list(weights), [mask.clone() for mask in masks])
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    by_hand = not seen.count("step") and any(
        ((w != old) & (w != 0)).any() for w, old in zip(weights, before, strict=True)
    )
    return {
        "steps of the optimizer": str(seen.count("step")),
        "backward passes": str(seen.count("backward")),
        "parameters": "trainable"
        if all(p.requires_grad for p in net.parameters())
        else "some are left frozen",
        "weights": "moved by hand" if by_hand else [layer.weight.detach() for layer in layers],
        "biases": None if by_hand else [layer.bias.detach() for layer in layers],
    }


@lesson.exercise(
    observe=_some_masked_steps,
    cases={
        "one layer": ("SGD", (2, 1), 1, 0, (0,), True),
        "two layers": ("SGD", (3, 4, 2), 1, 0, (0, 1), True),
        "not pruned before": ("SGD", (4, 3, 2), 1, 0, (0, 1), False),
        "gradients left from before": ("SGD", (3, 5, 2), 1, 2, (0, 1), True),
        "three steps": ("SGD", (2, 4, 3), 3, 0, (0, 1), True),
        "layers of one size": ("SGD", (3, 3, 3, 3), 2, 0, (0, 1, 2), True),
        "only the second layer": ("SGD", (3, 4, 2), 2, 0, (1,), True),
        "momentum": ("SGD with momentum", (3, 4, 2), 1, 2, (0, 1), True),
        "three steps with momentum": ("SGD with momentum", (4, 3, 2), 3, 1, (0, 1), True),
        "Adam": ("Adam", (3, 4, 2), 3, 2, (0, 1), True),
        "AdamW with weight decay": ("AdamW with weight decay", (2, 5, 2), 3, 2, (0, 1), True),
    },
    hints=[
        "A training step as ever, in three lines. Then the masks, last: momentum and Adam's averages move weights "
        "whose gradient is 0, so masking the gradient is not enough.",
        "`optimizer.zero_grad()`, `loss.backward()`, `optimizer.step()`. Then change each weight in place, under "
        "`torch.no_grad()`.",
        "`with torch.no_grad():` and, for every `weight, mask` in `zip(weights, masks)`, `weight.mul_(mask)`.",
    ],
)
def masked_step(loss, optimizer, weights, masks):
    """Take one step of optimizer down the gradient of loss, and leave weights exactly 0 where their mask is False.

    The weights are changed in place.
    """
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for weight, mask in zip(weights, masks, strict=True):
            weight.mul_(mask)


_MASK_LOOP = """
    with torch.no_grad():
        for weight, mask in zip(weights, masks, strict=True):
            weight.mul_(mask)"""
_STEP_LINE, _BACK_LINE, _ZERO_LINE = (
    "    optimizer.step()\n",
    "    loss.backward()\n",
    "    optimizer.zero_grad()\n",
)
_GRADIENTS = _MASK_LOOP.replace("weight.mul_(mask)", "weight.grad.mul_(mask)")


def _stepping(
    *, zero=True, gradients=None, before=None, after=lambda weight, mask: weight.mul_(mask), last=False
):
    """The step, with what can go wrong as arguments."""

    def attempt(loss, optimizer, weights, masks):
        def each(change, parts):
            with torch.no_grad():
                for part, mask in zip(parts, masks, strict=True):
                    change(part, mask)

        if zero:
            optimizer.zero_grad()
        loss.backward()
        if gradients:
            each(gradients, [weight.grad for weight in weights])
        if before:
            each(before, weights)
        optimizer.step()
        if after:
            each(after, weights)
        if last:
            optimizer.zero_grad()

    return attempt


def _steps_by_hand(*, everything=False, gradient=False):
    def attempt(loss, optimizer, weights, masks):
        group = optimizer.param_groups[0]
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            if gradient:
                for weight, mask in zip(weights, masks, strict=True):
                    weight.grad *= mask
            for part in group["params"] if everything else weights:
                part -= group["lr"] * part.grad
            if not gradient:
                for weight, mask in zip(weights, masks, strict=True):
                    weight *= mask

    return attempt


def _masks_on_parameters(multiply, parts, *, strict=False):
    def attempt(loss, optimizer, weights, masks):
        _stepping(after=None)(loss, optimizer, weights, masks)
        for part, mask in zip(parts(optimizer), masks, strict=strict):
            multiply(part.detach(), mask)

    return attempt


masked_step.mistakes(
    {
        "`optimizer.zero_grad()` is missing: gradients of earlier steps add to the new ones. Call it before "
        "`loss.backward()`.": {_ZERO_LINE: ""},
        "`zero_grad()` comes only at the end, so the first step also follows gradients that were left from before. "
        "Call it before `loss.backward()`.": _stepping(zero=False, last=True),
        "Only the gradient is masked, and momentum, Adam's averages or weight decay still act, or a weight was not 0 "
        "before. Mask the weights themselves, after the step.": [
            _stepping(gradients=Tensor.mul_, after=None),
            {"    optimizer.step()\n" + _MASK_LOOP[1:]: _GRADIENTS[1:] + "\n" + _STEP_LINE},
        ],
        "The weights are masked before the step, and `optimizer.step()` moves them away from 0 again. Mask them last."
        "": [
            _stepping(before=Tensor.mul_, after=None),
            {
                _ZERO_LINE: "    for w, m in zip(weights, masks):\n        w.data *= m\n" + _ZERO_LINE,
                _MASK_LOOP[1:]: "",
            },
        ],
        "The weights are masked in place before `loss.backward()`, which still needs their old values. Mask them last, "
        "after `optimizer.step()`.": [
            {_ZERO_LINE: _MASK_LOOP[1:] + "\n" + _ZERO_LINE, _STEP_LINE + _MASK_LOOP[1:]: _STEP_LINE},
        ],
        "After the step, nothing sets the masked weights to 0. `weight = weight * mask` only makes a new tensor, and a "
        "masked `.grad` comes too late: write `weight.mul_(mask)` under `torch.no_grad()`.": [
            {"weight.mul_(mask)": "weight = weight * mask"},
            {"weight.mul_(mask)": "weight.mul(mask)"},
            {"weight.mul_(mask)": "weight.grad.mul_(mask)"},
            {_MASK_LOOP[1:]: ""},
        ],
        "The masks are inverted: the weights to keep are set to 0. A weight stays where its mask is True: multiply by "
        "`mask`.": [
            {"weight.mul_(mask)": "weight.mul_(~mask)"},
            {"weight.mul_(mask)": "weight[mask] = 0"},
        ],
        "`loss.backward()` is missing, so the step has no gradient to follow. Call it between `zero_grad()` and "
        "`optimizer.step()`.": [
            {_BACK_LINE: ""},
            {_ZERO_LINE + _BACK_LINE: ""},
        ],
        "`optimizer.step()` is missing: the weights are masked, but nothing is learned. Call it after "
        "`loss.backward()`.": {_STEP_LINE: ""},
        "The step finds no gradient and moves nothing. The order is `zero_grad()`, `backward()`, `step()`.": [
            {_ZERO_LINE + _BACK_LINE: _BACK_LINE + _ZERO_LINE},
            {_BACK_LINE + _STEP_LINE: _STEP_LINE + _BACK_LINE},
        ],
        "`step()` comes before `backward()`, so it follows the gradients of the call before. The order is "
        "`zero_grad()`, `backward()`, `step()`.": [
            {_ZERO_LINE + _BACK_LINE + _STEP_LINE: _STEP_LINE + _ZERO_LINE + _BACK_LINE},
            {_ZERO_LINE + _BACK_LINE + _STEP_LINE: _STEP_LINE + _BACK_LINE},
        ],
        "Only the first tensor is masked. Go on to the others: no `return` or `break` in the loop over `zip(weights, "
        "masks)`.": [
            {"weight.mul_(mask)": "weight.mul_(mask)\n            return"},
            {_MASK_LOOP[1:]: "    weights[0].data *= masks[0]\n"},
        ],
        "A tensor that asks for gradients must not be changed in place while changes are recorded. Put the loop under "
        "`with torch.no_grad():`.": [
            {"with torch.no_grad():": "if True:"},
            {"with torch.no_grad():": "if True:", "weight.mul_(mask)": "weight[~mask] = 0"},
        ],
        "`optimizer.step()` stands in the loop over the weights, so it steps once for each of them. Call it once, "
        "before the loop.": [
            {_STEP_LINE: "", "weight.mul_(mask)": "optimizer.step()\n            weight.mul_(mask)"},
            {_STEP_LINE: "", "weight.mul_(mask)": "weight.mul_(mask)\n            optimizer.step()"},
        ],
        "The weights are moved by hand: that is plain SGD, whatever was given. `optimizer.step()` moves all "
        "parameters, biases included, in the optimizer's own way.": [
            _steps_by_hand(),
            _steps_by_hand(gradient=True),
            _steps_by_hand(everything=True),
            _steps_by_hand(everything=True, gradient=True),
        ],
        "The masks meet the parameters of the optimizer, which are biases too. They belong to `weights`: go through "
        "`zip(weights, masks)`.": [
            _masks_on_parameters(operator.imul, lambda optimizer: optimizer.param_groups[0]["params"]),
            _masks_on_parameters(Tensor.mul_, lambda optimizer: optimizer.param_groups[0]["params"]),
            _masks_on_parameters(torch.mul, lambda optimizer: optimizer.param_groups[0]["params"]),
            _masks_on_parameters(
                Tensor.mul_, lambda optimizer: optimizer.param_groups[0]["params"], strict=True
            ),
        ],
    }
)
_MASKED_WHERE = {
    "Only the gradient is masked.": {"gradients": Tensor.mul_, "after": None},
    "The weights are masked before the step, not after it.": {"before": Tensor.mul_, "after": None},
    "The masked weights are not set to 0.": {"after": None},
    "The masks are inverted.": {"after": lambda weight, mask: weight.mul_(~mask)},
}
masked_step.pairs_of_slips(_stepping, {"`optimizer.zero_grad()` is missing.": {"zero": False}}, _MASKED_WHERE)
masked_step.pairs_of_slips(
    _stepping, {"`zero_grad()` comes only at the end.": {"zero": False, "last": True}}, _MASKED_WHERE
)


def _dense_and_sparse(attempt, weights, biases, bits):
    return {
        "dense": attempt(weights, biases, bits),
        "sparse": attempt(weights, biases, bits, sparse=True),
    }


def _half_zero(*shape, seed):
    return normal(*shape, seed=seed).relu() - 2 * normal(*shape, seed=seed + 50).sub(0.7).relu()


@lesson.exercise(
    observe=_dense_and_sparse,
    cases={
        "one small layer": ([torch.tensor([[1.0, 0.0], [2.0, 3.0]])], [torch.tensor([1.0])], 8),
        "a negative weight": ([torch.tensor([[-1.0, 0.0, 0.0]])], [torch.tensor([2.0])], 4),
        "no zeros": (
            [torch.tensor([[0.5, 3.0], [0.1, 2.0], [1.0, 0.2]])],
            [torch.tensor([1.0, 2.0, 3.0])],
            8,
        ),
        "only zeros": ([torch.zeros(2, 3)], [torch.tensor([1.0, -1.0])], 16),
        "a bias of 0": ([torch.tensor([[4.0, 0.0], [0.0, 0.0]])], [torch.tensor([0.0, 1.0])], 8),
        "−0.0": ([torch.tensor([[-0.0, 1.0, -2.0], [0.0, 3.0, -0.0]])], [torch.tensor([5.0, 6.0])], 32),
        "one bit": ([torch.tensor([[1.0, 0.0, -1.0, 0.0]])], [torch.tensor([1.0])], 1),
        "two layers": (
            [_half_zero(5, 3, seed=1), _half_zero(2, 5, seed=2)],
            [normal(5, seed=3), normal(2, seed=4)],
            6,
        ),
        "a convolution, float64": (
            [_half_zero(4, 2, 3, 3, seed=5).double(), _half_zero(3, 4, seed=6).double()],
            [torch.zeros(4, dtype=torch.float64), normal(3, seed=7, dtype=torch.float64)],
            32,
        ),
    },
    hints=[
        "Count numbers first: all weights, all biases, and for `sparse=True` the weights other than 0. Which of them "
        "are multiplied by `bits`?",
        "`(w != 0).sum()` counts the weights other than 0. The bitmap adds one bit for each weight, 0 or not.",
        "Dense: `(weights + biases) * bits`, with the two counts. Sparse: `(survivors + biases) * bits + weights`.",
    ],
)
def stored_bits(weights, biases, bits, sparse=False):
    """Return how many bits store a network whose numbers take `bits` each.

    weights and biases are lists of tensors. Dense: all numbers are stored. Sparse: all biases, the weights other than
    0, and a bitmap, one bit for each weight, which says where those are.
    """
    count = sum(w.numel() for w in weights)
    shared = sum(b.numel() for b in biases)
    if not sparse:
        return (count + shared) * bits
    survivors = sum(int(w.count_nonzero()) for w in weights)
    return (survivors + shared) * bits + count


def _storing(
    *,
    dense=lambda n, k: n,
    sparse=lambda n, k: k,
    bitmap=lambda n, k, b, bits: n,
    entries=Tensor.numel,
    survives=lambda w: int((w != 0).sum()),
    of_biases=Tensor.numel,
    of_biases_sparse=None,
    total=lambda found: found,
):
    """The bits, with what can go wrong as arguments: of n weights, k survive, and there are b biases."""

    def attempt(weights, biases, bits, sparse=False):
        n, k = sum(map(entries, weights)), sum(map(survives, weights))
        b = sum(map((sparse and of_biases_sparse) or of_biases, biases))
        stored = (sparse_weights if sparse else dense)(n, k)
        return total((stored + b) * bits + (bitmap(n, k, b, bits) if sparse else 0))

    sparse_weights = sparse
    return attempt


def _first_layer(weights, biases, bits, sparse=False):
    return stored_bits.reference(weights[:1], biases[:1], bits, sparse)


def _bare_biases(weights, biases, bits, sparse=False):
    numbers = sum(b.numel() for b in biases)
    return stored_bits.reference(weights, biases, bits, sparse) - numbers * (bits - 1)


def _index_bits(one):
    return {"bitmap": lambda n, k, b, bits: k * one(n, bits)}


def _none_of(biases):
    return 0


def _nonzero_biases(biases):
    return int(biases.count_nonzero())


_BITMAPS = {
    "The bitmap is missing in the sparse format: add one bit for each weight, 0 or not.": {
        "bitmap": lambda n, k, b, bits: 0
    },
    "The bitmap has a bit for each bias as well. All biases are stored, so it needs bits for the weights only.": {
        "bitmap": lambda n, k, b, bits: n + b
    },
    "The bitmap has bits for the surviving weights only. It needs one for each weight, as the zeros have to be marked "
    "too.": {"bitmap": lambda n, k, b, bits: k},
    "The bitmap is multiplied by `bits`. It takes one bit for each weight: add it after the multiplication.": {
        "bitmap": lambda n, k, b, bits: n * bits
    },
}
_WHICH_WEIGHTS = {
    "Sparse still stores all weights, zeros included, and a bitmap besides. Multiply `bits` by the number of weights "
    "other than 0.": {"sparse": lambda n, k: n},
    "The zeros are left out in the dense format. There every weight is stored, 0 or not: `w.numel()`.": {
        "dense": lambda n, k: k
    },
}
stored_bits.slips(_storing, _BITMAPS, _WHICH_WEIGHTS)
stored_bits.mistakes(
    {
        "Biases are missing. Both formats store all of them, with `bits` each: add their number before you multiply "
        "by `bits`.": [
            _storing(of_biases=_none_of),
            _storing(of_biases_sparse=_none_of),
            _storing(of_biases=_none_of, of_biases_sparse=Tensor.numel),
        ],
        "A bias of 0 is left out. All biases are stored: count them with `numel()`.": [
            {"b.numel()": "int(b.count_nonzero())"},
            _storing(of_biases_sparse=_nonzero_biases),
        ],
        "Each bias counts as a single bit. It is a number like the weights, and takes `bits`.": [
            _bare_biases,
            _storing(bitmap=lambda n, k, b, bits: n + b - b * bits),
        ],
        "This does not count the weights other than 0: negative and small ones are among them, zeros are not, and "
        "their values are not added. Take `(w != 0).sum()`.": [
            _storing(survives=Tensor.sum),
            _storing(survives=lambda w: int(w.sum())),
            _storing(survives=lambda w: w.abs().sum()),
            _storing(survives=lambda w: int((w > 0).sum())),
            {"w.count_nonzero()": "(w == 0).sum()"},
            _storing(survives=lambda w: int((w.int() != 0).sum())),
            _storing(survives=lambda w: w.nonzero().numel()),
        ],
        "The result is the same, dense and sparse, although `sparse` asks for two formats. Use it: `if sparse:`.": [
            {"    if not sparse:\n": "    if True:\n"},
            {"    if not sparse:\n": "    if False:\n"},
        ],
        "The two formats are swapped. With `sparse=True`, store the weights other than 0, and the bitmap.": {
            "if not sparse": "if sparse"
        },
        "Every surviving weight gets an index here. The format has a bitmap instead: one bit for each weight, which "
        "are n bits in all.": [
            _storing(**_index_bits(one))
            for one in (
                lambda n, bits: math.ceil(math.log2(n)),
                lambda n, bits: n.bit_length(),
                lambda n, bits: math.log2(n),
                lambda n, bits: bits,
                lambda n, bits: 32,
            )
        ],
        "`len` counts the rows of a matrix, or the tensors of a list. All their numbers are stored: `w.numel()`.": [
            {"w.numel()": "len(w)"},
            {"w.numel()": "len(w)", "b.numel()": "len(b)"},
            {
                "sum(w.numel() for w in weights)": "len(weights)",
                "sum(b.numel() for b in biases)": "len(biases)",
            },
            {"sum(w.numel() for w in weights)": "len(weights)"},
            {"sum(b.numel() for b in biases)": "len(biases)"},
            {"* bits + count": "* bits + len(weights)"},
        ],
        "Only the first layer is counted. Go through all tensors of both lists, and return after the loop has "
        "ended.": _first_layer,
        "The result is in bytes, or divided by 8 in part. Bits are asked for: leave out the 8.": [
            _storing(total=lambda found: found / 8),
            _storing(total=lambda found: found // 8),
            _storing(total=lambda found: math.ceil(found / 8)),
            _storing(bitmap=lambda n, k, b, bits: n / 8),
        ],
    }
)
_NO_BITMAP = {"The bitmap is missing.": {"bitmap": lambda n, k, b, bits: 0}}
_BIASES_TOO_FEW = {
    "Biases are missing, dense and sparse.": {"of_biases": _none_of},
    "The biases are missing in the sparse format.": {"of_biases_sparse": _none_of},
    "Biases of 0 are left out in the sparse format.": {"of_biases_sparse": _nonzero_biases},
}
stored_bits.pairs_of_slips(_storing, _NO_BITMAP, _BIASES_TOO_FEW)
stored_bits.pairs_of_slips(
    _storing, _NO_BITMAP, {"The result is in bytes.": {"total": lambda found: found / 8}}
)
stored_bits.pairs_of_slips(
    _storing,
    {"The bitmap is multiplied by `bits`.": {"bitmap": lambda n, k, b, bits: n * bits}},
    dict(list(_BIASES_TOO_FEW.items())[:2]),
)


@stored_bits.mistake(
    "Two slips. The bitmap has bits for biases as well. Biases of 0 are left out in the sparse format."
)
def _(weights, biases, bits, sparse=False):
    everything = [*weights, *biases]
    count = sum(one.numel() for one in everything)
    return sum(int(one.count_nonzero()) for one in everything) * bits + count if sparse else count * bits


# Section 4: fixed point ---------------------------------------------------------------------------------------


def _with_true_flags(attempt, x, width, integer, rounding, saturate):
    flags = {"rounding": rounding, "saturate": saturate}
    return attempt(x, width, integer, **{name: True for name, flag in flags.items() if flag})


@lesson.exercise(  # numbers to be rounded lie well away from the middle between two steps
    observe=_with_true_flags,
    cases={
        "whole numbers, <4, 4>": (torch.tensor([2.75, -2.75, 9.75]), 4, 4, False, False),
        "<8, 3>": (torch.tensor([3.14, -3.14, 5.2, 4.0]), 8, 3, False, False),
        "<8, 3>, rounded and saturated": (
            torch.tensor([3.14, 5.2, -0.3, -7.3, 3.99, -4.02]),
            8,
            3,
            True,
            True,
        ),
        "<8, 3>, rounded": (torch.tensor([3.99, 1.3, -1.3, -2.8, 4.6, -5.9, -4.01]), 8, 3, True, False),
        "<6, 2>, saturated": (torch.tensor([1.97, 0.48, -0.48, 5.0, -2.03, -9.0]), 6, 2, False, True),
        "several turns beyond the range": (
            torch.tensor([20.0, 13.7, -29.4, 36.1, -20.0]),
            8,
            3,
            False,
            False,
        ),
        "a step of 4, <4, 6>": (torch.tensor([5.0, 3.0, -5.0, 31.0, 40.5, -37.0]), 4, 6, True, False),
        "no integer bits, <8, 0>": (torch.tensor([0.3, -0.3, 0.7, 0.1234]), 8, 0, False, False),
        "−1 integer bits, <5, −1>": (torch.tensor([0.1, -0.1, 0.3, -0.27, 0.2]), 5, -1, True, True),
        "weights, <4, 1>": (0.8 * normal(2, 3, seed=4), 4, 1, False, True),
        "float64 numbers, <12, 5>": (
            12 * normal(3, 4, seed=2, dtype=torch.float64),
            12,
            5,
            False,
            False,
        ),
    },
    hints=[
        "Count in steps first: how many steps of 2^(integer − width) is x? The stored integers run from "
        "−2^(width − 1) to 2^(width − 1) − 1.",
        "`torch.floor(x / step)` cuts off; with 0.5 added before, it rounds. `clamp` saturates, `remainder` wraps "
        "around: shift by 2^(width − 1) before it, and back after it.",
        "With `half = 2.0 ** (width - 1)`: `q.clamp(-half, half - 1) if saturate else (q + half).remainder(2 * half) "
        "- half`, and in the end `q * step`.",
    ],
)
def fixed_point(x, width, integer, *, rounding=False, saturate=False):
    """Return x as stored in fixed point: `width` bits, `integer` of them, the sign included, left of the point.

    The step is 2^(integer − width), the range −2^(integer − 1) up to one step below 2^(integer − 1). Bits beyond the
    step are cut off, towards −∞, or rounded to the nearest step; numbers beyond the range wrap around, or saturate.
    """
    step, half = 2.0 ** (integer - width), 2.0 ** (width - 1)
    q = torch.floor(x / step + (0.5 if rounding else 0))
    q = q.clamp(-half, half - 1) if saturate else (q + half).remainder(2 * half) - half
    return q * step


def _fixed_step(width, integer):
    return 2.0 ** (integer - width)


def _fixed_half(width, integer):
    return 2.0 ** (width - 1)


def _fixed_ends(half):
    return -half, half - 1


def _fixed_nearest(scaled):
    return torch.floor(scaled + 0.5)


def _fixed_wrap(q, half):
    return (q + half).remainder(2 * half) - half


def _in_steps(q, step):
    return q * step


def _fixed(
    step=_fixed_step,
    half=_fixed_half,
    flags=lambda rounding, saturate: (rounding, saturate),
    cut=torch.floor,
    nearest=_fixed_nearest,
    ends=_fixed_ends,
    wrap=_fixed_wrap,
    back=_in_steps,
):
    """Fixed point with what can go wrong as arguments: in steps, to an integer, into the range, times the step."""

    def attempt(x, width, integer, *, rounding=False, saturate=False):
        size, largest = step(width, integer), half(width, integer)
        rounds, saturates = flags(rounding, saturate)
        q = (nearest if rounds else cut)(x / size)
        return back(q.clamp(*ends(largest)) if saturates else wrap(q, largest), size)

    return attempt


def _fixed_one_turn(q, half):
    return torch.where(q >= half, q - 2 * half, torch.where(q < -half, q + 2 * half, q))


def _rounding_last(ends=_fixed_ends):
    def attempt(x, width, integer, *, rounding=False, saturate=False):
        step, half = _fixed_step(width, integer), _fixed_half(width, integer)
        scaled = x / step
        q = scaled.clamp(*ends(half)) if saturate else _fixed_wrap(scaled, half)
        return (_fixed_nearest(q) if rounding else torch.floor(q)) * step

    return attempt


def _rounding_x(rounded):
    def attempt(x, width, integer, *, rounding=False, saturate=False):
        return fixed_point.reference(rounded(x) if rounding else x, width, integer, saturate=saturate)

    return attempt


def _saturating_x(limit):
    """Saturation of the rounded numbers at limits in units of x; the range is ± `end`."""

    def attempt(x, width, integer, *, rounding=False, saturate=False):
        if not saturate:
            return fixed_point.reference(x, width, integer, rounding=rounding)
        step, end = _fixed_step(width, integer), 2.0 ** (integer - 1)
        y = (_fixed_nearest(x / step) if rounding else torch.floor(x / step)) * step
        return limit(y, end)

    return attempt


def _wrap_at_8_bits(q, half):
    return q.to(torch.int64).to(torch.int8).to(q)


_WRONG_STEPS = [  # each with the integers as they are, and with those of the right range
    {"step": step, "half": half}
    for step in (
        lambda width, integer: 2.0**-width,
        lambda width, integer: 2.0**-integer,
        lambda width, integer: 2.0 ** (width - integer),
        lambda width, integer: 1.0,
    )
    for half in (
        _fixed_half,
        lambda width, integer, step=step: 2.0 ** (integer - 1) / step(width, integer),
    )
]
_SIGN_APART = {"step": lambda width, integer: 2.0 ** (integer - width + 1)}
_TWICE_AS_WIDE = {"half": lambda width, integer: 2.0**width}
_UP_TO_HALF = {"ends": lambda half: (-half, half)}
_SYMMETRIC = {"ends": lambda half: (1 - half, half - 1)}
_NEVER_SATURATES = {"flags": lambda rounding, saturate: (rounding, False)}
_ALWAYS_SATURATES = {"flags": lambda rounding, saturate: (rounding, True)}

fixed_point.mistakes(
    {
        "Negative numbers are cut off towards 0. Cut off towards −∞, with `torch.floor`, as dropping bits does: −3.14 "
        "becomes −3.15625 in <8, 3>.": [
            {"torch.floor": "torch.trunc"},
            _fixed(cut=torch.trunc),
        ],
        "`rounding` makes no difference in your code. Round to the nearest step where it is True, and cut off with "
        "`torch.floor` where it is False.": [
            {"(0.5 if rounding else 0)": "0"},
            {"(0.5 if rounding else 0)": "0.5"},
        ],
        "`saturate` makes no difference in your code. Numbers beyond the range stop at its end where it is True, and "
        "wrap around where it is False.": [_fixed(**_NEVER_SATURATES), _fixed(**_ALWAYS_SATURATES)],
        "Where `rounding` is False, nothing is cut off here. Take `torch.floor` there, which leaves whole steps.": [
            _fixed(cut=lambda scaled: scaled)
        ],
        "`saturate` is followed the wrong way round. Stop at the end of the range where it is True, and wrap around "
        "where it is False.": _fixed(flags=lambda rounding, saturate: (rounding, not saturate)),
        "`rounding` is followed the wrong way round. Round to the nearest step where it is True, and cut off with "
        "`torch.floor` where it is False.": _fixed(flags=lambda rounding, saturate: (not rounding, saturate)),
        "The two flags have changed places: `rounding` is about whole steps, `saturate` about the ends of the range.": [
            _fixed(flags=lambda rounding, saturate: (saturate, rounding))
        ],
        "Saturation does not stop at the largest stored number, which is one step below 2^(integer − 1): the integer "
        "2^(width − 1) − 1.": [
            _fixed(**_UP_TO_HALF),
            _saturating_x(lambda y, end: y.clamp(-end, end - 1)),
            _saturating_x(lambda y, end: y.clamp(min=-end)),
        ],
        "Saturation does not stop at −2^(integer − 1), the smallest stored number. It is one step further from 0 than "
        "the largest.": [
            _fixed(**_SYMMETRIC),
            {"clamp(-half, half - 1)": "clamp(max=half - 1)"},
        ],
        "Your range is twice as wide, from −2^integer to 2^integer. The sign is one of the `integer` bits, so it runs "
        "from −2^(integer − 1) to 2^(integer − 1).": _fixed(**_TWICE_AS_WIDE),
        "Your step is twice as large: the sign has a bit of its own here. It is one of the `integer` bits, so width − "
        "integer bits are left for the step, 2^(integer − width).": [
            _fixed(**_SIGN_APART),
            _fixed(**_SIGN_APART, half=lambda width, integer: 2.0 ** (width - 2)),
        ],
        "Your step is another power of 2. Of the `width` bits, width − integer are right of the point, so the step is "
        "2^(integer − width).": [_fixed(**slip) for slip in _WRONG_STEPS],
        "A remainder lies between 0 and 2^width. To wrap into the signed range, add half of that before and take it "
        "off after: `(q + half).remainder(2 * half) - half`.": [
            _fixed(wrap=lambda q, half: q.remainder(2 * half)),
            _fixed(wrap=lambda q, half: q.remainder(2 * half) - half),
        ],
        "`fmod` keeps the sign, so numbers below the range are wrapped to other numbers than they should. Take "
        "`remainder`, or `%`, which is never negative.": [
            _fixed(wrap=lambda q, half: torch.fmod(q + half, 2 * half) - half),
            _fixed(wrap=lambda q, half: torch.fmod(q, 2 * half)),
        ],
        "Wrapping does not repeat after 2^width steps here. So many numbers are stored, one more than the largest "
        "minus the smallest.": [
            _fixed(wrap=lambda q, half: (q + half).remainder(2 * half - 1) - half),
            _fixed(wrap=lambda q, half: q.remainder(half)),
            _fixed(wrap=lambda q, half: (q + half).remainder(half) - half),
            _fixed(wrap=_wrap_at_8_bits),
            _fixed(wrap=_wrap_at_8_bits, ends=lambda half: (-128, 127)),
        ],
        "Numbers beyond the range are moved by one turn at most, and some are still beyond it. A remainder takes off "
        "all turns: `(q + half).remainder(2 * half) - half`.": _fixed(wrap=_fixed_one_turn),
        "Where `saturate` is False, nothing wraps around here, and numbers beyond the range stay there. Take `(q + "
        "half).remainder(2 * half) - half`.": _fixed(wrap=lambda q, half: q),
        "The range is taken care of before rounding, and rounding can leave it: 3.99 in <8, 3> becomes 4.0, which has "
        "to wrap to −4.0. Round first, then wrap around.": _rounding_last(),
        "Two slips. Round first, then wrap around. And the largest stored number is one step below 2^(integer − 1).": (
            _rounding_last(**_UP_TO_HALF)
        ),
        "`rounding` acts on x itself here, but it is about whole steps. Divide by the step first: "
        "`torch.floor(x / step + 0.5)`.": [
            _rounding_x(torch.round),
            _rounding_x(lambda x: x + 0.5),
        ],
        "These are the stored integers. The number that an integer stands for is that many steps: `q * step`.": {
            "q * step": "q"
        },
    }
)
fixed_point.pairs_of_slips(
    _fixed,
    {"Cut off towards −∞, with `torch.floor`, not towards 0.": {"cut": torch.trunc}},
    {
        "The largest stored number is one step below 2^(integer − 1).": _UP_TO_HALF,
        "Wrap around where `saturate` is False.": _ALWAYS_SATURATES,
        "The sign is one of the `integer` bits: the step is 2^(integer − width).": _SIGN_APART,
        "The sign is one of the `integer` bits: the range starts at −2^(integer − 1).": _TWICE_AS_WIDE,
    },
)
fixed_point.pairs_of_slips(
    _fixed,
    {"The largest stored number is one step below 2^(integer − 1).": _UP_TO_HALF},
    {
        "There are 2^width stored numbers, so wrapping repeats after 2^width steps.": {
            "wrap": lambda q, half: (q + half).remainder(2 * half - 1) - half
        },
        "The sign is one of the `integer` bits: the range starts at −2^(integer − 1).": _TWICE_AS_WIDE,
        "Wrapping takes off all turns, with `remainder`, not one.": {"wrap": _fixed_one_turn},
    },
)


# Section 5: through the rounding ------------------------------------------------------------------------------


_STRAIGHT_GRADIENT = "gradient of a weighted sum with respect to x"


def _straight_gradient(attempt, x, width, integer):
    """The gradient of a weighted sum of what comes back with respect to x; 0 where none is recorded."""
    leaf = x.clone().requires_grad_()
    total = (normal(*x.shape, seed=5, dtype=x.dtype) * attempt(leaf.clone(), width, integer)).sum()
    if not total.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(total, leaf, materialize_grads=True)[0]


def _values_and_gradient(attempt, x, width, integer):
    """What comes back; where it is right the gradient is that of the attempt, elsewhere that of the solution."""
    case = x.clone(), width, integer
    result = attempt(x, width, integer)
    wrong = difference(result, straight_through.reference(*case))
    judged = straight_through.reference if wrong else attempt
    return {"values": result, _STRAIGHT_GRADIENT: _straight_gradient(judged, *case)}


@lesson.exercise(  # no number lies within half a step beyond an end of the range, or near the middle between two steps
    observe=_values_and_gradient,
    cases={
        "whole numbers, <4, 4>": (torch.tensor([2.7, -2.7, 9.7]), 4, 4),
        "<8, 3>": (torch.tensor([3.14, -3.14, 5.2, -6.0, 0.4, -1.3, 17.0]), 8, 3),
        "weights, <6, 1>": (torch.tensor([[0.34, -0.81, 1.7], [-1.3, 0.07, -0.42]]), 6, 1),
        "no integer bits, <8, 0>": (torch.tensor([0.3, -0.3, 0.7, -0.6, 0.0213, 1.4]), 8, 0),
        "a step of 4, <4, 6>": (torch.tensor([5.0, -5.0, 13.5, 40.5, -37.0, -19.0, 75.0]), 4, 6),
        "all inside the range": (torch.tensor([1.37, -0.62, 0.12, -1.71]), 6, 2),
        "all beyond the range": (torch.tensor([2.4, -2.6, 3.3, -7.9, 12.2]), 6, 2),
        "one number": (torch.tensor([-1.66]), 5, 3),
        "between the largest number and 2^(integer − 1)": (torch.tensor([3.9375, -3.9, 2.1, 3.7]), 5, 3),
        "float64 numbers, <10, 4>": (
            torch.tensor([[3.3, -7.2, 8.4], [-9.7, 0.123, 12.1], [1.57, -2.718, -21.0]], dtype=torch.float64),
            10,
            4,
        ),
    },
    hints=[
        "Rounding has gradient 0 almost everywhere, clamping has the one that is asked for. What may `detach` "
        "hide from the gradient, without a change of the values?",
        "Clamp first: `inside = (x / step).clamp(-half, half - 1)`. Then add what rounding changes as a constant.",
        "`rounded = torch.floor(inside + 0.5)`, then `(inside + (rounded - inside).detach()) * step`.",
    ],
)
def straight_through(x, width, integer):
    """Return x rounded and saturated in fixed point <width, integer>; the gradient is that of the saturation alone.

    It is 1 where x lies between the smallest and the largest number of the format, 0 beyond.
    """
    step, half = 2.0 ** (integer - width), 2.0 ** (width - 1)
    inside = (x / step).clamp(-half, half - 1)
    rounded = torch.floor(inside + 0.5)
    return (inside + (rounded - inside).detach()) * step


def _straight(
    step=_fixed_step,
    half=_fixed_half,
    ends=_fixed_ends,
    limit=lambda scaled, low, high, step: scaled.clamp(low, high),
    nearest=_fixed_nearest,
    back=_in_steps,
):
    """The values, with what can go wrong as arguments; their gradient is not looked at where they are wrong."""

    def attempt(x, width, integer):
        size = step(width, integer)
        inside = limit(x / size, *ends(half(width, integer)), size)
        return back(inside + (nearest(inside) - inside).detach(), size)

    return attempt


def _straight_in_x(limit):
    """The values with limits in units of x; the range is ± `end` and `half` is the same in steps."""

    def attempt(x, width, integer):
        step = _fixed_step(width, integer)
        y = x + (_fixed_nearest(x / step) * step - x).detach()
        return limit(y, 2.0 ** (integer - 1), _fixed_half(width, integer))

    return attempt


def _straight_within(limits, saturate):
    """Fixed point of numbers that are clamped to limits of their own before, in units of x."""

    def attempt(x, width, integer):
        inside = x.clamp(*limits(_fixed_step(width, integer)))
        stored = fixed_point.reference(inside, width, integer, rounding=True, saturate=saturate)
        return inside + (stored - inside).detach()

    return attempt


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, values, rule):
        ctx.x, ctx.rule = x, rule
        return values.clone()

    @staticmethod
    def backward(ctx, arriving):
        return ctx.rule(ctx.x, arriving), None, None


def _within(x, end, step):
    """Where x lies between the smallest and the largest number."""
    return (x >= -end) & (x <= end - step)


def _graded(rule):
    """The right values with another gradient, `rule(x, arriving, end, step)`, where the range is ± `end`."""

    def attempt(x, width, integer):
        end, step = 2.0 ** (integer - 1), _fixed_step(width, integer)
        values = straight_through.reference(x, width, integer).detach()
        return _WithGradient.apply(x, values, lambda x, arriving: rule(x, arriving, end, step))

    return attempt


_DETACHED = "inside + (rounded - inside).detach()"
_NOT_SATURATED = {"limit": lambda scaled, low, high, step: scaled}

straight_through.mistakes(
    {
        "The values are right, but no gradient reaches x: rounding has gradient 0, and so has all that is detached. "
        "Detach only what rounding changes: `inside + (rounded - inside).detach()`.": [
            {".detach()": ""},
            {f"({_DETACHED}) * step": f"(({_DETACHED}) * step).detach()"},
            {_DETACHED: "rounded"},
            {"(x / step)": "(x.detach().requires_grad_() / step)"},
        ],
        "The values are right, but the gradient is 1 beyond the range as well: saturation is detached too. Add what "
        "rounding changes to the clamped numbers: `inside + (rounded - inside).detach()`.": [
            {f"({_DETACHED}) * step": "x + (rounded * step - x).detach()"},
            _graded(lambda x, arriving, end, step: arriving),
        ],
        "The values are right, but the gradient is multiplied or divided by the step. In `a + (b - a).detach()`, take "
        "both a and b in units of x, or both in steps.": [
            {f"({_DETACHED}) * step": "inside + (rounded * step - inside).detach()"},
            _graded(lambda x, arriving, end, step: arriving * _within(x, end, step) * step),
        ],
        "The values are right, but the gradient is 0 inside the range and 1 beyond. It is the other way round: turn "
        "the mask, or detach the other part.": _graded(
            lambda x, arriving, end, step: arriving * ~_within(x, end, step)
        ),
        "The values are right, but the gradient has the opposite sign: what is detached and what is not have changed "
        "places. Write `inside + (rounded - inside).detach()`.": [
            {_DETACHED: "inside.detach() + (rounded - inside)"},
            _graded(lambda x, arriving, end, step: -arriving),
        ],
        "These are the numbers x, unchanged. In `a + (b - a).detach()` the values are those of b and the gradient is "
        "that of a: a is the clamped x, and b the rounded one.": [
            {f"({_DETACHED}) * step": "rounded * step + (x - rounded * step).detach()"},
        ],
        "In `a + (b - a).detach()` the two a are the same. Here x or the clamped x is added, and the other one, or "
        "nothing, is taken off: write `inside + (rounded - inside).detach()`.": [
            {_DETACHED: "inside + rounded.detach()"},
            {f"({_DETACHED}) * step": "x + rounded.detach() * step"},
            {_DETACHED: "inside + (rounded - x / step).detach()"},
            {_DETACHED: "x / step + (rounded - inside).detach()"},
        ],
        "The values are right, but the gradient that arrives from later steps is lost. `backward` multiplies it by the "
        "mask: `grad * mask`.": [
            _graded(lambda x, arriving, end, step: _within(x, end, step).to(x)),
            _graded(lambda x, arriving, end, step: torch.ones_like(x)),
        ],
        "The values are right, but the gradient is 1 up to 2^(integer − 1). The largest number is one step below that, "
        "and beyond it the gradient is 0.": [
            _graded(lambda x, arriving, end, step: arriving * (x.abs() < end)),
        ],
        "The values are right, but the gradient stops at other limits than they do. It is 1 from the smallest number, "
        "−2^(integer − 1), to the largest, one step below 2^(integer − 1), and 0 beyond.": [
            _graded(lambda x, arriving, end, step: arriving * (x.abs() <= 1)),
            _graded(lambda x, arriving, end, step: arriving * (x.abs() <= 2 * end)),
            _graded(lambda x, arriving, end, step: arriving * (x.abs() <= end / 2)),
            _graded(lambda x, arriving, end, step: arriving * (x < end)),
            _graded(lambda x, arriving, end, step: arriving * (x > -end)),
        ],
        "These numbers are saturated, but not rounded. The values have to be whole steps: add `(rounded - "
        "inside).detach()`.": {_DETACHED: "inside"},
        "Not every number goes to the nearest step here. Add 0.5 before `torch.floor`, or use `torch.round`.": [
            {" + 0.5": ""},
            _straight(nearest=torch.trunc),
            _straight(nearest=torch.ceil),
            _straight(nearest=lambda inside: torch.trunc(inside + 0.5)),
        ],
        "Numbers beyond the range wrap around here. They have to saturate: `clamp` before rounding.": [
            lambda x, width, integer: fixed_point.reference(x, width, integer, rounding=True),
            lambda x, width, integer: (
                x + (fixed_point.reference(x, width, integer, rounding=True) - x).detach()
            ),
        ],
        "Numbers beyond the range stay as large as they are. Clamp x / step to −2^(width − 1) … 2^(width − 1) − 1, or "
        "x itself to the range, a step short of 2^(integer − 1) above.": [
            _straight(**_NOT_SATURATED),
            _straight_in_x(lambda y, end, half: y.clamp(-half, half - 1)),
        ],
        "The limits are those of x, but x / step is clamped. In steps they are −2^(width − 1) and "
        "2^(width − 1) − 1.": _straight(
            limit=lambda scaled, low, high, step: scaled.clamp(low * step, high * step)
        ),
        "One or both ends of the range are not where they should be. In steps it runs from −2^(width − 1) to "
        "2^(width − 1) − 1, in units of x from −2^(integer − 1) to one step below 2^(integer − 1).": [
            *(
                _straight_within(limits, saturate)
                for limits in (lambda step: (-1.0, 1.0 - step), lambda step: (-1.0, 1.0))
                for saturate in (True, False)
            ),
            _straight(**_UP_TO_HALF),
            _straight(**_SYMMETRIC),
            _straight_in_x(lambda y, end, half: y.clamp(-end, end - 1)),
        ],
        "Your range is twice as wide, from −2^integer to 2^integer. The sign is one of the `integer` bits, so it runs "
        "from −2^(integer − 1) to 2^(integer − 1).": _straight(**_TWICE_AS_WIDE),
        "Your step is another power of 2. Of the `width` bits, the sign among them, width − integer are right of the "
        "point, so the step is 2^(integer − width).": [
            _straight(**slip)
            for slip in [
                *_WRONG_STEPS,
                _SIGN_APART,
                _SIGN_APART | {"half": lambda width, integer: 2.0 ** (width - 2)},
            ]
        ],
        "These are the stored integers. The number that an integer stands for is that many steps: multiply by "
        "`step`.": {") * step": ")"},
    }
)
straight_through.pairs_of_slips(
    _straight,
    {"Round to the nearest step: add 0.5 before `torch.floor`.": {"nearest": torch.floor}},
    {
        "Numbers beyond the range have to saturate.": _NOT_SATURATED,
        "In steps the range ends at 2^(width − 1) − 1.": _UP_TO_HALF,
        "The sign is one of the `integer` bits: the step is 2^(integer − width).": _SIGN_APART,
        "The sign is one of the `integer` bits: the range starts at −2^(integer − 1).": _TWICE_AS_WIDE,
    },
)


# Section 6: fewer units ---------------------------------------------------------------------------------------


class _ShownLayer(nn.Linear):
    """A linear layer with given weights and bias, shown whole if it is small."""

    def __init__(self, weight, bias):
        super().__init__(*reversed(weight.shape))
        self.weight.data, self.bias.data = weight, bias

    def __repr__(self):
        text = f"nn.Linear({self.in_features}, {self.out_features})"
        if self.weight.numel() > 6:
            return text
        weight, bias = (
            [[f"{w:g}" for w in row] for row in part.tolist()] for part in (self.weight, self.bias[None])
        )
        return f"{text} with weight {weight} and bias {bias[0]}".replace("'", "")


def _layer_kinds(result):
    """What came back, in words."""
    if isinstance(result, nn.Sequential | tuple | list):
        kind = "an nn.Sequential" if isinstance(result, nn.Sequential) else f"a {type(result).__name__}"
        return f"{kind} of {', '.join(map(_layer_kind, result))}"
    return f"one {_layer_kind(result)}"


def _layer_kind(one):
    if isinstance(one, Tensor):
        return "tensor"
    name = "Linear" if isinstance(one, nn.Linear) else type(one).__name__
    return f"nn.{name}" if isinstance(one, nn.Module) else name


def _training(layers):
    """How many parameters of the layers can be trained."""
    trained = [one.is_leaf and one.requires_grad for layer in layers for one in layer.parameters()]
    return f"{sum(trained)} of {len(trained)}"


_INTO_A_LAYER = (
    "PyTorch takes no plain tensor as a weight, and does not let you write into one that records gradients. Use "
    "`nn.Parameter(…)`, or `copy_` under `torch.no_grad()`."
)


def _with_parameters(inputs, outputs, weight, bias):
    """A linear layer that takes over weights of any shape; where the bias is None it keeps its own, random one."""
    layer = nn.Linear(inputs, outputs)
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def _with_copies(inputs, outputs, weight, bias):
    """The same with copies: the shapes have to fit."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def _neighbours(inputs, units, outputs, seed, kept):
    """Two layers around so many units, and the mask that keeps those whose numbers are given."""
    first = _ShownLayer(normal(units, inputs, seed=seed), normal(units, seed=seed + 1))
    second = _ShownLayer(normal(outputs, units, seed=seed + 2), normal(outputs, seed=seed + 3))
    return first, second, torch.tensor([number in kept for number in range(units)])


def _settled(facts, again):
    """The facts of one call, and which tensors in it are random: they differ from those of another."""
    random = [
        name
        for name, one in facts.items()
        if isinstance(one, Tensor)
        and isinstance(again[name], Tensor)
        and one.shape == again[name].shape
        and not torch.allclose(one, again[name], rtol=1e-2, atol=1e-3)
    ]
    settled = facts | dict.fromkeys(random)
    return {"returned": facts["returned"], "random numbers": ", ".join(random) or "none"} | settled


def _seen_twice(look, attempt, *case):
    """What an attempt returns, seen with two seeds, so that new layers left random are told from others."""
    with contextlib.redirect_stdout(io.StringIO()):
        again = look(attempt(*copy.deepcopy(case)))
    torch.manual_seed(1)
    result = attempt(*case)
    return None if result is None else _settled(look(result), again)


def _said_sizes(layers):
    return ", ".join(f"in_features={one.in_features}, out_features={one.out_features}" for one in layers)


def _same_weights(layers, others):
    pairs = zip(layers, others, strict=True)
    return all(a.weight.shape == b.weight.shape and torch.allclose(a.weight, b.weight) for a, b in pairs)


def _two_layers(attempt, first, second, keep):
    """What is in the two layers that come back."""

    with torch.random.fork_rng(devices=[]):
        right = remove_units.reference(first, second, keep)

    def look(result):
        facts = dict.fromkeys(
            (
                "returned",
                *(f"{part} of the {which}" for which in ("first", "second") for part in ("weight", "bias")),
            )
        )
        layers = list(result) if isinstance(result, tuple | list) else []
        if len(layers) != 2 or not all(isinstance(layer, nn.Linear) for layer in layers):
            return facts | {
                "returned": _layer_kinds(result),
                "said sizes": None,
                "trainable parameters": None,
            }
        old = any(layer is one for layer in layers for one in (first, second))
        return {
            "returned": "layers that were handed in" if old else "two new nn.Linear",
            "weight of the first": layers[0].weight,
            "bias of the first": layers[0].bias,
            "weight of the second": layers[1].weight,
            "bias of the second": layers[1].bias,
            "said sizes": _said_sizes(layers if not old and _same_weights(layers, right) else right),
            "trainable parameters": _training(layers),
        }

    return _seen_twice(look, attempt, first, second, keep)


@lesson.exercise(
    cases={
        "three units, one removed": (
            _ShownLayer(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([7.0, 8.0, 9.0])),
            _ShownLayer(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([7.0, 8.0])),
            torch.tensor([True, False, True]),
        ),
        "all sizes distinct": _neighbours(2, 5, 3, seed=10, kept=(0, 3, 4)),
        "as many units as inputs": _neighbours(4, 4, 2, seed=20, kept=(1, 3)),
        "as many units as outputs": _neighbours(2, 5, 5, seed=30, kept=(1, 2, 4)),
        "all sizes equal": _neighbours(4, 4, 4, seed=40, kept=(0, 2, 3)),
        "as many kept as inputs and outputs": _neighbours(3, 6, 3, seed=50, kept=(2, 3, 5)),
        "one unit kept": _neighbours(3, 4, 2, seed=60, kept=(2,)),
        "all units kept": _neighbours(3, 5, 2, seed=70, kept=range(5)),
        "half of the units kept": _neighbours(5, 6, 4, seed=80, kept=(1, 2, 5)),
        "one output": _neighbours(4, 5, 1, seed=90, kept=(0, 1, 3)),
    },
    observe=_two_layers,
    hints=[
        "What does a unit own in `first`, and what in `second`? The weight of a layer is (outputs, inputs).",
        "A unit is a row of `first.weight`, a number of `first.bias` and a column of `second.weight`. `second.bias` "
        "belongs to the outputs.",
        "Make `nn.Linear(first.in_features, int(keep.sum()))`, copy `first.weight[keep]` and `first.bias[keep]` into "
        "it under `torch.no_grad()`, and for the second `second.weight[:, keep]`.",
    ],
)
def remove_units(first, second, keep):
    """Return two new nn.Linear layers, without the hidden units between them for which the mask keep (units,) is False.

    first gives the units their inputs, second takes their outputs. What is left keeps its order; the layers handed in
    stay as they are.
    """
    units = int(keep.sum())
    new_first, new_second = nn.Linear(first.in_features, units), nn.Linear(units, second.out_features)
    with torch.no_grad():
        new_first.weight.copy_(first.weight[keep])
        new_first.bias.copy_(first.bias[keep])
        new_second.weight.copy_(second.weight[:, keep])
        new_second.bias.copy_(second.bias)
    return new_first, new_second


def _removed(
    which=lambda keep: keep,
    rows=lambda weight, keep: weight[keep],
    first_bias=lambda bias, keep: bias[keep],
    columns=lambda weight, keep: weight[:, keep],
    second_bias=lambda bias, keep: bias,
    layer=_with_parameters,
    result=lambda new_first, new_second: (new_first, new_second),
):
    """Two layers without some units, with what can go wrong as arguments."""

    def attempt(first, second, keep):
        kept = which(keep)
        units = int(kept.sum()) if kept.dtype == torch.bool else len(kept)
        new_first = layer(first.in_features, units, rows(first.weight, kept), first_bias(first.bias, kept))
        weight, bias = columns(second.weight, kept), second_bias(second.bias, kept)
        return result(new_first, layer(units, second.out_features, weight, bias))

    return attempt


def _removed_either_way(**slip):
    """The same slip with new parameters and with copies, which raise where shapes do not fit."""
    return [_removed(**slip), _removed(**slip, layer=_with_copies)]


def _keep_all(part, keep):
    return part


def _no_bias(bias, keep):
    return None


def _without_bias(layer):
    layer.bias = None
    return layer


_REMOVED_UNITS = {
    "The mask is inverted: the units that should go are kept. keep is True for those that stay.": {
        "which": lambda keep: ~keep
    },
    "The two layers come back in the wrong order: first, then second.": {
        "result": lambda one, two: (two, one)
    },
}
_REMOVED_BIASES = {
    "The first bias is not taken over: it is random, 0 or missing. Copy `first.bias[keep]`.": {
        "first_bias": _no_bias
    },
    "The second bias is not taken over: it is random, 0 or missing. Copy all of `second.bias`.": {
        "second_bias": _no_bias
    },
}
remove_units.slips(_removed, _REMOVED_UNITS, _REMOVED_BIASES)
remove_units.pairs_of_slips(_removed, _REMOVED_UNITS, _REMOVED_BIASES)
remove_units.pairs_of_slips(_removed, _REMOVED_BIASES)


def _silenced(first_bias, second_weight):
    def attempt(first, second, keep):
        new_first, new_second = copy.deepcopy(first), copy.deepcopy(second)
        new_first.weight.data[~keep] = 0
        if first_bias:
            new_first.bias.data[~keep] = 0
        if second_weight:
            new_second.weight.data[:, ~keep] = 0
        return new_first, new_second

    return attempt


def _cut_in_place(first, second, keep):
    first.weight, first.bias = nn.Parameter(first.weight[keep]), nn.Parameter(first.bias[keep])
    second.weight = nn.Parameter(second.weight[:, keep])
    return first, second


def _silenced_in_place(first, second, keep):
    first.weight.data[~keep], first.bias.data[~keep], second.weight.data[:, ~keep] = 0, 0, 0
    return first, second


def _cut_copies(first, second, keep, *, said=()):
    first, second = copy.deepcopy(first), copy.deepcopy(second)
    first.weight.data, first.bias.data = first.weight.data[keep], first.bias.data[keep]
    second.weight.data = second.weight.data[:, keep]
    for layer, name in ((first, "out_features"), (second, "in_features")):
        if name in said:
            setattr(layer, name, int(keep.sum()))
    return first, second


def _first_of(keep):
    return torch.arange(len(keep)) < keep.sum()


def _units_assigned(first, second, keep):
    nn.Linear(first.in_features, int(keep.sum())).weight = first.weight[keep]


def _units_written(first, second, keep):
    nn.Linear(first.in_features, int(keep.sum())).weight[:] = first.weight[keep]


def _random_layers(first, second, keep):
    units = int(keep.sum())
    return nn.Linear(first.in_features, units), nn.Linear(units, second.out_features)


remove_units.mistakes(
    {
        "The second layer still has a column for every old unit. Keep those of the units that stay: "
        "`second.weight[:, keep]`.": [
            {"second.weight[:, keep]": "second.weight"},
            _removed(columns=_keep_all),
            lambda first, second, keep: (_removed()(first, second, keep)[0], copy.deepcopy(second)),
            lambda first, second, keep: (_removed()(first, second, keep)[0], second),
        ],
        "`second.weight[keep]` picks outputs, the rows. The units are the columns of the second weight: "
        "`second.weight[:, keep]`.": _removed_either_way(columns=lambda weight, keep: weight[keep]),
        "`first.weight[:, keep]` picks inputs, the columns. The units are the rows of the first weight: "
        "`first.weight[keep]`.": _removed_either_way(rows=lambda weight, keep: weight[:, keep]),
        "The first bias still has a number for every old unit. A unit takes its bias along: `first.bias[keep]`.": (
            _removed_either_way(first_bias=_keep_all)
        ),
        "The second bias belongs to the outputs, of which none is removed. Copy all of `second.bias`.": (
            _removed_either_way(second_bias=lambda bias, keep: bias[keep])
        ),
        "The first bias is not taken over: it is random, 0 or missing. Copy `first.bias[keep]`.": [
            _removed(first_bias=lambda bias, keep: 0 * bias[keep]),
            _removed(result=lambda one, two: (_without_bias(one), two)),
        ],
        "The second bias is not taken over: it is random, 0 or missing. Copy all of `second.bias`.": [
            _removed(second_bias=lambda bias, keep: 0 * bias),
            _removed(result=lambda one, two: (one, _without_bias(two))),
        ],
        "Two slips. {} {}".format(*_REMOVED_BIASES): [
            _removed(first_bias=lambda bias, keep: 0 * bias[keep], second_bias=lambda bias, keep: 0 * bias),
            _removed(result=lambda one, two: (_without_bias(one), _without_bias(two))),
        ],
        "The units are silenced, but still there, so nothing gets smaller. Leave out their rows and columns: "
        "`first.weight[keep]`, `second.weight[:, keep]`.": [
            _silenced(first_bias, second_weight)
            for first_bias in (True, False)
            for second_weight in (True, False)
        ],
        "The layers handed in came back, or one of them. Make new ones, `nn.Linear(…)`, and copy what stays into "
        "them.": [
            _cut_in_place,
            _silenced_in_place,
            lambda first, second, keep: (first, second),
            lambda first, second, keep: (
                _removed()(first, second, keep) if not keep.all() else (first, second)
            ),
        ],
        "The weights are right, but `out_features` and `in_features`, or one of them, still say the old sizes. Make "
        "new `nn.Linear` layers of the right sizes, or set them too.": [
            functools.partial(_cut_copies, said=said) for said in ((), ("out_features",), ("in_features",))
        ],
        "The first units are kept, as many as stay, whichever the mask keeps. Pick those where it is True: "
        "`first.weight[keep]`, `first.bias[keep]`, `second.weight[:, keep]`.": [
            _removed(which=_first_of),
            _removed(columns=lambda weight, keep: weight[:, _first_of(keep)]),
            _removed(
                rows=lambda weight, keep: weight[_first_of(keep)],
                first_bias=lambda bias, keep: bias[_first_of(keep)],
            ),
            _removed(rows=lambda weight, keep: weight[_first_of(keep)]),
        ],
        "The mask became the integers 1 and 0, so units 1 and 0 are picked again and again. Index with the mask "
        "itself, or with `keep.nonzero()[:, 0]`.": _removed(which=lambda keep: keep.long()),
        "The new layers keep the random weights they begin with. Copy the weights and biases of the units that stay.": (
            _random_layers
        ),
        "The new layers have the wrong sizes. It is `nn.Linear(inputs, outputs)`, with `int(keep.sum())` units between "
        "the two.": [
            {
                "first.in_features, units": "units, first.in_features",
                "units, second.out_features": "second.out_features, units",
            },
            {"first.in_features, units": "units, first.in_features"},
            {"units, second.out_features": "second.out_features, units"},
            {"int(keep.sum())": "len(keep)"},
        ],
        "Return the two new layers, `return new_first, new_second`: not one of them, nor an nn.Sequential, nor their "
        "weights. The caller decides what stands between them.": [
            _removed(result=lambda one, two: nn.Sequential(one, two)),
            _removed(result=lambda one, two: nn.Sequential(one, nn.ReLU(), two)),
            _removed(result=lambda one, two: one),
            _removed(result=lambda one, two: two),
            _removed(result=lambda one, two: (one.weight, one.bias, two.weight, two.bias)),
            _removed(result=lambda one, two: (one.weight, two.weight)),
            _removed(result=lambda one, two: ((one.weight, one.bias), (two.weight, two.bias))),
        ],
        _INTO_A_LAYER: [
            {"with torch.no_grad()": "with torch.enable_grad()"},
            _units_assigned,
            _units_written,
        ],
    }
)


def _shares(make, old):
    """Whether what is made shares a bias with the layer it was made from."""
    return any(
        isinstance(layer, nn.Linear)
        and layer.bias is not None
        and layer.bias.data_ptr() == old.bias.data_ptr()
        for layer in make
    )


@remove_units.remark(
    "A remark: the new second layer shares its bias with the old one, so training one changes the other. "
    "`.clone()` makes a copy."
)
def _shares_the_second_bias(attempt):
    first, second, keep = _neighbours(2, 5, 3, seed=10, kept=(0, 3, 4))
    return _shares(attempt(first, second, keep), second)


# Section 7: eight-bit integers --------------------------------------------------------------------------------


def _scale_and_zero_point(attempt, low, high, bits):
    result = attempt(low, high, bits)
    if isinstance(result, float):
        result = result, None
    if not isinstance(result, tuple | list) or len(result) != 2:
        return result
    scale, zero_point = result
    kind = "int" if isinstance(zero_point, numbers.Integral) else type(zero_point).__name__
    return {"scale": scale, "zero point": zero_point, "type of the zero point": kind}


@lesson.exercise(  # −low / scale is never near the middle between two integers
    observe=_scale_and_zero_point,
    cases={
        "−1 to 2 in 2 bits": (-1.0, 2.0, 2),
        "all positive": (0.5, 3.5, 3),
        "all negative": (-6.0, -1.5, 2),
        "8 bits": (-0.73, 1.9, 8),
        "6 bits": (-1.27, 0.88, 6),
        "1 bit": (-0.9, 0.3, 1),
        "4 bits": (-0.5, 1.375, 4),
        "from 0": (0.0, 3.1, 5),
        "up to 0": (-3.5, 0.0, 3),
        "almost symmetric": (-1.02, 1.0, 8),
        "far above 0": (21.0, 23.0, 4),
        "12 bits": (-0.21, 5.0, 12),
    },
    hints=[
        "How many steps lie between the first and the last of 2^bits integers? And on which integer does 0 fall, "
        "if `low` falls on 0?",
        "Widen first: `low = min(low, 0.0)`, `high = max(high, 0.0)`. There are 2^bits − 1 steps from one end to the "
        "other, and −low / scale of them below 0.",
        "`scale = (high - low) / (2**bits - 1)`, then `return scale, round(-low / scale)`.",
    ],
)
def affine_parameters(low, high, bits):
    """Return the scale, a float, and the zero point, an int, that map [low, high] onto the integers 0 … 2^bits − 1.

    The range is widened to hold 0 where it does not, so that the real number 0 is an integer exactly: the zero point.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    return scale, round(-low / scale)


def _affine_widened(low, high):
    return min(low, 0.0), max(high, 0.0)


def _affine(
    widen=_affine_widened,
    levels=lambda bits: 2**bits - 1,
    size=lambda low, high, levels: (high - low) / levels,
    zero=lambda low, high, scale, levels: -low / scale,
    whole=round,
    joined=lambda scale, zero_point: (scale, zero_point),
):
    """Scale and zero point, with what can go wrong as arguments."""

    def attempt(low, high, bits):
        low, high = widen(low, high)
        scale = size(low, high, levels(bits))
        return joined(scale, whole(zero(low, high, scale, levels(bits))))

    return attempt


def _not_widened(low, high):
    return low, high


def _both_ends(low, high):
    largest = max(abs(low), abs(high))
    return -largest, largest


def _affine_unwidened_zero(low, high, bits):
    scale, _ = affine_parameters.reference(low, high, bits)
    return scale, round(-low / scale)


def _affine_clamped(low, high, bits):
    scale = (high - low) / (2**bits - 1)
    return scale, min(max(round(-low / scale), 0), 2**bits - 1)


def _affine_symmetric(levels, zero):
    def attempt(low, high, bits):
        return max(abs(low), abs(high)) / levels(bits), zero(bits)

    return attempt


_AS_MANY_STEPS = {"levels": lambda bits: 2**bits}
_AS_IT_IS = {"widen": _not_widened}
_NEGATIVE_ZERO = {"zero": lambda low, high, scale, levels: low / scale}
_ROUNDED_DOWN = {"whole": math.floor}
_NOT_WHOLE = {"whole": lambda zero_point: zero_point}

affine_parameters.mistakes(
    {
        "The range is not widened, so 0 lies outside of it if all numbers have one sign. Take `min(low, 0.0)` and "
        "`max(high, 0.0)` first.": [
            {"low, high = min(low, 0.0), max(high, 0.0)": "pass"},
            _affine_clamped,
        ],
        "The range is widened at one end only. It has to hold 0 whether all numbers are positive or all negative: "
        "`min(low, 0.0)` and `max(high, 0.0)`.": [
            _affine(widen=lambda low, high: (min(low, 0.0), high)),
            _affine(widen=lambda low, high: (low, max(high, 0.0))),
        ],
        "`min` and `max` have changed places: this cuts the range off at 0. Widen it, with `min(low, 0.0)` and "
        "`max(high, 0.0)`.": [
            {"min(low, 0.0), max(high, 0.0)": "max(low, 0.0), min(high, 0.0)"},
            {
                "min(low, 0.0), max(high, 0.0)": "max(low, 0.0), min(high, 0.0)",
                "round(-low / scale)": "round(-low / scale) if scale else 0",
            },
            {
                "low, high = min(low, 0.0), max(high, 0.0)": "high, low = max(low, 0.0), min(high, 0.0)",
                "round(-low / scale)": "round(-low / scale) if scale else 0",
            },
        ],
        "The scale is right, but the zero point comes from the range as it was given. Take it from the widened one: "
        "`-low / scale` with `low = min(low, 0.0)`.": _affine_unwidened_zero,
        "2^bits integers have one step fewer between them. Divide the range by `2**bits - 1`.": {
            "(2**bits - 1)": "2**bits"
        },
        "The number of steps is wrong: `bits` bits make 2^bits integers, with `2**bits - 1` steps between them. A "
        "power is written `**`, and `^` is an operation on bits.": [
            _affine(levels=lambda bits: (2 ^ bits) - 1),
            _affine(levels=lambda bits: 2 ^ bits - 1),
            _affine(levels=lambda bits: bits),
            _affine(levels=lambda bits: 2 * bits - 1),
            _affine(levels=lambda bits: 2 ** (bits - 1)),
        ],
        "The scale is upside down here. It is the step between two neighbouring integers: `(high - low) / "
        "(2**bits - 1)`.": [
            _affine(size=lambda low, high, levels: levels / (high - low)),
            _affine(
                size=lambda low, high, levels: levels / (high - low),
                zero=lambda low, high, scale, levels: -low * scale,
            ),
        ],
        "The scale is a fraction, and it is made whole here. Divide with `/`, and round the zero point only.": [
            _affine(size=lambda low, high, levels: (high - low) // levels),
            _affine(size=lambda low, high, levels: round((high - low) / levels)),
        ],
        "The scale is right, but the zero point is not a whole number in general. Round it: `round(-low / "
        "scale)`.": _affine(**_NOT_WHOLE),
        "The zero point is right, but of type float, or a tensor. Python's `round` gives an int.": [
            {"round(-low / scale)": "float(round(-low / scale))"},
            {"round(-low / scale)": "torch.round(torch.tensor(-low / scale))"},
            {"round(-low / scale)": "torch.tensor(round(-low / scale))"},
            _affine(whole=np.round),
        ],
        "The scale is right, but the zero point is not always the nearest integer. Use `round` in place of `int`, "
        "`//`, floor or ceil.": [
            _affine(**_ROUNDED_DOWN),
            _affine(whole=math.ceil),
            _affine(zero=lambda low, high, scale, levels: -low // scale, whole=lambda zero_point: zero_point),
        ],
        "The scale is right. The zero point counts the steps from the lower end of the range up to 0: `round(-low / "
        "scale)`, which is never negative.": [
            _affine(**_NEGATIVE_ZERO),
            _affine(zero=lambda low, high, scale, levels: high / scale),
        ],
        "The scale is right, but the zero point should be in steps: divide by the scale, `round(-low / scale)`.": [
            _affine(zero=lambda low, high, scale, levels: -low),
            _affine(zero=lambda low, high, scale, levels: -low * scale),
        ],
        "The scale is right, but the zero point is the same for every range of as many bits. 0 falls where the range "
        "has it: `round(-low / scale)`.": [
            _affine(zero=lambda low, high, scale, levels: 0),
            _affine(zero=lambda low, high, scale, levels: (levels + 1) // 2),
            _affine(zero=lambda low, high, scale, levels: levels // 2),
        ],
        "The range is made symmetric here, which wastes integers where −low and high differ. Use all of it: "
        "`(high - low) / (2**bits - 1)`.": [
            _affine_symmetric(levels, zero)
            for zero in (lambda bits: 0, lambda bits: 2 ** (bits - 1))
            for levels in (
                lambda bits: (2**bits - 1) / 2,
                lambda bits: 2 ** (bits - 1),
                lambda bits: 2 ** (bits - 1) - 1 or 1,
                lambda bits: 2**bits - 1,
            )
        ]
        + [_affine(widen=_both_ends)],
        "The two have changed places: return the scale first, then the zero point.": _affine(
            joined=lambda scale, zero_point: (zero_point, scale)
        ),
    }
)
affine_parameters.pairs_of_slips(
    _affine,
    {
        "Divide by `2**bits - 1`.": _AS_MANY_STEPS,
        "The range has to hold 0: widen it first.": _AS_IT_IS,
    },
    {
        "The zero point is `-low / scale`, with a minus.": _NEGATIVE_ZERO,
        "Round the zero point to the nearest integer: `round`.": _ROUNDED_DOWN,
        "The zero point has to be an int: `round(-low / scale)`.": _NOT_WHOLE,
    },
)
affine_parameters.pairs_of_slips(
    _affine,
    {"Divide by `2**bits - 1`.": _AS_MANY_STEPS},
    {"The range has to hold 0: widen it first.": _AS_IT_IS},
)


_TWELVE_BITS = torch.tensor([[0.537, -0.214], [5.9, 2.3341], [-1.8, 3.1]]), 0.00127, 165, 12


def _integers_and_type(attempt, x, scale, zero_point, bits):
    """What comes back; its type is looked at only where the values are right, here and in 12 bits."""
    right = quantize.reference(x, scale, zero_point, bits)
    result = attempt(x, scale, zero_point, bits)
    weights, *others = _TWELVE_BITS
    wrong = difference(result, right) or difference(
        attempt(weights.clone(), *others), quantize.reference(weights, *others)
    )
    return {"integers": result, "type": str((right if wrong else result).dtype)}


@lesson.exercise(  # x / scale is never near the middle between two integers
    observe=_integers_and_type,
    cases={
        "two bits": (torch.tensor([-1.0, 0.0, 0.4, 2.0, 5.0, -3.0]), 1.0, 1, 2),
        "a zero point of 0": (torch.tensor([0.3, 1.7, 2.6, 9.9, -1.1]), 0.5, 0, 3),
        "a zero point at the upper end": (torch.tensor([-3.2, -0.7, -6.1, 0.4]), 0.5, 7, 3),
        "weights in 8 bits": (2 * normal(2, 5, seed=7), 0.0234, 112, 8),
        "far beyond 8 bits": (torch.tensor([100.02, -100.02, 7.33, -8.26, 20.07, 13.41]), 0.1, 128, 8),
        "one bit": (torch.tensor([-0.4, 0.1, 0.9, 2.0, -1.7]), 1.2, 0, 1),
        "12 bits": _TWELVE_BITS,
        "a scale above 1": (torch.tensor([-31.0, 13.0, 4.1, 77.0, -8.0]), 3.0, 9, 4),
        "one number": (torch.tensor([0.37]), 0.05, 3, 4),
        "float64 numbers": (normal(3, 3, seed=9, dtype=torch.float64), 0.123, 17, 5),
    },
    hints=[
        "Which integer stands for 0, and how far apart are two neighbouring integers in units of x?",
        "`torch.round(x / scale) + zero_point` may lie outside of 0 … 2^bits − 1. Clamp it, and change the type last.",
        "`(torch.round(x / scale) + zero_point).clamp(0, 2**bits - 1).to(torch.int64)`.",
    ],
)
def quantize(x, scale, zero_point, bits):
    """Return the integers, torch.int64, that stand for x: x / scale rounded, plus the zero point, in 0 … 2^bits − 1."""
    q = torch.round(x / scale) + zero_point
    return q.clamp(0, 2**bits - 1).to(torch.int64)


def _quantized(
    divide=lambda x, scale: x / scale,
    whole=torch.round,
    shift=lambda q, zero_point: q + zero_point,
    low=lambda bits: 0,
    high=lambda bits: 2**bits - 1,
    limit=lambda q, low, high: q.clamp(low, high),
    cast=lambda q: q.to(torch.int64),
):
    """Divide, round, shift, limit and cast, with what can go wrong as arguments."""

    def attempt(x, scale, zero_point, bits):
        q = shift(whole(divide(x, scale)), zero_point)
        return cast(limit(q, low(bits), high(bits)))

    return attempt


def _wrapping_at(dtype):
    return lambda q, low, high: q.to(torch.int64).to(dtype).to(torch.int64).clamp(low, high)


_NO_ROUNDING = {"whole": torch.floor}
_MINUS_ZERO = {"shift": lambda q, zero_point: q - zero_point}
_WITHOUT_ZERO = {"shift": lambda q, zero_point: q}
_NO_LIMIT = {"limit": lambda q, low, high: q}

quantize.mistakes(
    {
        "Some integers lie outside of 0 … 2^bits − 1. Clamp at both ends, after the zero point is added: "
        "`clamp(0, 2**bits - 1)`.": [
            {".clamp(0, 2**bits - 1)": ""},
            _quantized(limit=lambda q, low, high: q.clamp(min=low)),
            _quantized(limit=lambda q, low, high: q.clamp(max=high)),
        ],
        "You clamp before the zero point is added, which cuts off what should be below it. Add it first: what is "
        "stored lies in 0 … 2^bits − 1.": {
            "torch.round(x / scale) + zero_point": "torch.round(x / scale).clamp(0, 2**bits - 1) + zero_point",
            "q.clamp(0, 2**bits - 1)": "q",
        },
        "You clamp before the zero point is added as well as after, so what should be below it is lost. Clamp once, "
        "at the end.": {
            "torch.round(x / scale) + zero_point": "torch.round(x / scale).clamp(0, 2**bits - 1) + zero_point"
        },
        "x itself is clamped, but 0 … 2^bits − 1 are the limits of the integers. Divide, round and add the zero point "
        "first, then clamp.": [
            lambda x, scale, zero_point, bits: (
                torch.round(x.clamp(0, 2**bits - 1) / scale) + zero_point
            ).long(),
            lambda x, scale, zero_point, bits: quantize.reference(
                x.clamp(0, 2**bits - 1), scale, zero_point, bits
            ),
        ],
        "Integers beyond the limits wrap around here, by a remainder or a small integer type. They have to stop at the "
        "end: clamp first, then `.to(torch.int64)`.": [
            _quantized(limit=_wrapping_at(torch.uint8)),
            _quantized(limit=_wrapping_at(torch.int8)),
            _quantized(limit=lambda q, low, high: q.to(torch.int64).to(torch.uint8)),
            _quantized(limit=lambda q, low, high: q.remainder(high + 1)),
        ],
        "The numbers are cut off or rounded to one side. Round to the nearest integer, `torch.round(x / scale)`: a "
        "cast to an integer type drops the fraction.": [
            {"torch.round": "torch.floor"},
            {"torch.round": "torch.trunc"},
            {"torch.round": "torch.ceil"},
        ],
        "x is rounded before it is divided. Divide first: `torch.round(x / scale)`.": [
            _quantized(divide=lambda x, scale: torch.round(x) / scale, whole=lambda q: q),
            _quantized(divide=lambda x, scale: torch.round(x) / scale),
            _quantized(divide=lambda x, scale: torch.round(x) / scale, whole=lambda q: q, cast=lambda q: q),
        ],
        "The zero point is subtracted. That is the way back, to x: add it here.": {
            ") + zero_point": ") - zero_point"
        },
        "The zero point is missing: x = 0 has to become `zero_point`. Add it after rounding.": {
            " + zero_point": ""
        },
        "The zero point meets x before the division, but it counts steps. Divide by the scale first: `x / scale "
        "+ zero_point`.": [
            lambda x, scale, zero_point, bits: quantize.reference(x + zero_point, scale, 0, bits),
            lambda x, scale, zero_point, bits: quantize.reference(x - zero_point, scale, 0, bits),
        ],
        "x is multiplied by the scale, which is the way back. Divide: `x / scale` counts steps.": {
            "x / scale": "x * scale"
        },
        "The limits are those of signed integers. With a zero point the integers run from 0 to 2^bits − 1: "
        "`clamp(0, 2**bits - 1)`.": [
            _quantized(low=lambda bits: -(2 ** (bits - 1)), high=lambda bits: 2 ** (bits - 1) - 1),
            _quantized(low=lambda bits: 1 - 2 ** (bits - 1), high=lambda bits: 2 ** (bits - 1) - 1),
        ],
        "The upper limit is wrong. The largest integer that fits into `bits` bits is `2**bits - 1`, whatever `bits` "
        "is, and a power is written `**`.": [
            {"2**bits - 1": "2**bits"},
            _quantized(high=lambda bits: 255),
            _quantized(high=lambda bits: 2 ^ bits - 1),
            _quantized(high=lambda bits: (2 ^ bits) - 1),
            _quantized(high=lambda bits: 2 ** (bits - 1) - 1),
        ],
        "These are the real numbers that the integers stand for. Return the integers themselves.": (
            lambda x, scale, zero_point, bits: (
                (quantize.reference(x, scale, zero_point, bits) - zero_point) * scale
            )
        ),
        "The integers are right, but stored as floating-point numbers. Change the type last: "
        "`.to(torch.int64)`.": {".to(torch.int64)": ""},
        "The integers are of another type than asked for, or do not fit into it. Return them as "
        "`torch.int64`.": [
            {"torch.int64": "torch.int32"},
            {"torch.int64": "torch.uint8"},
            {"torch.int64": "torch.int16"},
            {"torch.int64": "torch.int8"},
        ],
    }
)
quantize.pairs_of_slips(
    _quantized,
    {"Round to the nearest integer: `torch.round(x / scale)`.": _NO_ROUNDING},
    {
        "The zero point has to be added.": _MINUS_ZERO,
        "The zero point is missing: add it.": _WITHOUT_ZERO,
        "Clamp to 0 … 2^bits − 1.": _NO_LIMIT,
        "The largest integer is 2^bits − 1.": {"high": lambda bits: 2**bits},
    },
)
quantize.pairs_of_slips(
    _quantized,
    {"Clamp to 0 … 2^bits − 1.": _NO_LIMIT},
    {
        "The zero point has to be added.": _MINUS_ZERO,
        "The zero point is missing: add it.": _WITHOUT_ZERO,
    },
)


@lesson.exercise(
    cases={
        "a negative maximum and a row of zeros": (torch.tensor([[3.0, -7.0], [0.0, 0.0], [1.0, 0.5]]), 4),
        "one row": (torch.tensor([[0.5, -1.5, 1.0, 0.25]]), 3),
        "one weight in each row": (torch.tensor([[2.0], [-6.0], [0.0], [9.0]]), 3),
        "2 bits": (normal(4, 3, seed=1), 2),
        "8 bits, more rows than columns": (10 * normal(5, 3, seed=2), 8),
        "more columns than rows": (normal(3, 5, seed=3), 4),
        "as many rows as columns": (3 * normal(4, 4, seed=4), 5),
        "only negative weights": (torch.tensor([[-4.0, -2.0, -3.0], [-1.0, -3.0, -2.0]]), 3),
        "a zero among other weights": (
            torch.tensor([[0.0, 6.0, -2.0], [5.0, 0.0, 0.0], [-9.0, 4.0, 1.0]]),
            3,
        ),
        "very small weights": (torch.tensor([[2e-3, -1e-3, 4e-3], [1e-4, -5e-5, 2e-5], [0.0, 0.0, 0.0]]), 2),
        "only zeros": (torch.zeros(2, 3), 6),
        "float64 numbers": (normal(3, 4, seed=5, dtype=torch.float64), 6),
    },
    hints=[
        "Which number of a row decides how wide a step has to be? A negative weight counts as much as a positive one.",
        "`weight.abs().amax(dim=1)` is the largest |w| of each row. Divide it by the largest integer of `bits` bits.",
        "Put the 1 in last: `torch.where(largest > 0, largest / (2 ** (bits - 1) - 1), 1.0)`.",
    ],
)
def per_channel_scales(weight, bits):
    """Return the scale of each row of weight (out, in), a tensor (out,): its largest |w| becomes 2^(bits − 1) − 1.

    A row of zeros has scale 1.
    """
    largest = weight.abs().amax(dim=1)
    scales = largest / (2 ** (bits - 1) - 1)
    return torch.where(largest > 0, scales, 1.0)


def _one_for_zeros(scales, largest):
    return torch.where(largest > 0, scales, 1.0)


def _scales(
    largest=lambda weight: weight.abs().amax(dim=1),
    levels=lambda bits: 2 ** (bits - 1) - 1,
    divided=lambda largest, levels: largest / levels,
    zeros=_one_for_zeros,
    result=lambda scales, weight: scales,
):
    """The scales of the rows, with what can go wrong as arguments."""

    def attempt(weight, bits):
        found = largest(weight)
        return result(zeros(divided(found, levels(bits)), found), weight)

    return attempt


_SCALE_NUMERATORS = {
    "The largest weight is taken with its sign, so negative ones do not count. Take "
    "`weight.abs().amax(dim=1)`.": {"largest": lambda weight: weight.amax(dim=1)},
    "You take the largest |w| of each column. A row is one output: reduce along `dim=1`.": {
        "largest": lambda weight: weight.abs().amax(dim=0)
    },
}
_SCALE_LEVELS = {
    "The divisor is 2^bits − 1. One bit goes to the sign: `2 ** (bits - 1) - 1`.": {
        "levels": lambda bits: 2**bits - 1
    },
    "The divisor is 2^(bits − 1), without the − 1. The largest integer is `2 ** (bits - 1) - 1`.": {
        "levels": lambda bits: 2 ** (bits - 1)
    },
}
_SCALE_ZEROS = {
    "A row of zeros gets a scale of 0, or next to it, and expected is 1. Put that in last: "
    "`torch.where(largest > 0, scales, 1.0)`.": {"zeros": lambda scales, largest: scales},
}
per_channel_scales.slips(_scales, _SCALE_NUMERATORS, _SCALE_LEVELS, _SCALE_ZEROS)
per_channel_scales.pairs_of_slips(_scales, _SCALE_NUMERATORS, _SCALE_LEVELS)
per_channel_scales.pairs_of_slips(_scales, _SCALE_NUMERATORS | _SCALE_LEVELS, _SCALE_ZEROS)
per_channel_scales.mistakes(
    {
        "The divisor is 2^bits − 1, halved or doubled. One bit goes to the sign, so the largest integer is "
        "`2 ** (bits - 1) - 1`.": [
            _scales(levels=lambda bits: 2 * (2**bits - 1)),
            _scales(levels=lambda bits: (2**bits - 1) / 2),
        ],
        "You take the largest |w| of each column. A row is one output: reduce along `dim=1`.": {
            "dim=1": "dim=0"
        },
        "The largest weight is taken with its sign, so negative ones do not count. Take "
        "`weight.abs().amax(dim=1)`.": [
            _scales(
                largest=lambda weight: weight.amax(dim=1),
                zeros=lambda scales, largest: torch.where(largest == 0, 1.0, scales),
            ),
            _scales(largest=lambda weight: weight.amax(dim=1).abs()),
        ],
        "A row of zeros gets a scale of 0, or next to it, and expected is 1. Put that in last: "
        "`torch.where(largest > 0, scales, 1.0)`.": [
            _scales(largest=lambda weight: weight.abs().amax(dim=1).clamp(min=1e-8), zeros=lambda s, _: s),
            _scales(largest=lambda weight: weight.abs().amax(dim=1).clamp(min=1e-5), zeros=lambda s, _: s),
            _scales(zeros=lambda scales, _: scales.clamp(min=1e-5)),
        ],
        "The 1 is put in before the division, so a row of zeros gets 1 / (2^(bits − 1) − 1). Put it in afterwards: its "
        "scale is 1.": [
            _scales(
                divided=lambda largest, levels, put=put: put(largest) / levels,
                zeros=lambda scales, largest: scales,
            )
            for put in (
                lambda largest: torch.where(largest > 0, largest, 1.0),
                lambda largest: largest.clamp(min=1),
            )
        ],
        "Rows other than those of zeros get scale 1 as well. Test the largest |w| of the row, and only for 0: "
        "`largest > 0`.": [
            _scales(
                zeros=lambda scales, largest: scales,
                result=lambda scales, weight: torch.where((weight == 0).any(dim=1), 1.0, scales),
            ),
            _scales(zeros=lambda scales, _: scales.clamp(min=1)),
            *(
                _scales(zeros=lambda scales, largest, eps=eps: torch.where(largest > eps, scales, 1.0))
                for eps in (1e-3, 1e-2)
            ),
        ],
        "This is one scale for the whole matrix. Each row has its own: reduce along `dim=1` only.": [
            _scales(largest=lambda weight: weight.abs().max(), zeros=zeros, result=result)
            for zeros in (_one_for_zeros, lambda scales, largest: scales)
            for result in (
                lambda scales, weight: scales,
                lambda scales, weight: scales.expand(len(weight)),
            )
        ],
        "The scales stand in a column, (out, 1), where (out,) is expected. Leave out `keepdim=True`.": [
            _scales(result=lambda scales, weight: scales[:, None]),
        ],
        "The fraction is upside down. A step has the size largest |w| / (2^(bits − 1) − 1).": [
            _scales(divided=lambda largest, levels: levels / largest),
            _scales(divided=lambda largest, levels: levels / largest, zeros=lambda scales, largest: scales),
            *(
                _scales(divided=lambda largest, levels, eps=eps: levels / largest.clamp(min=eps))
                for eps in (1e-12, 1e-8)
            ),
            *(
                _scales(
                    divided=lambda largest, levels, eps=eps: levels / largest.clamp(min=eps),
                    zeros=lambda scales, largest: scales,
                )
                for eps in (1e-12, 1e-8)
            ),
        ],
        "The scale comes from the range, max − min, as with a zero point. Here it comes from the largest |w|, which "
        "becomes 2^(bits − 1) − 1.": [
            _scales(
                largest=lambda weight: weight.amax(dim=1) - weight.amin(dim=1),
                levels=levels,
                zeros=zeros,
            )
            for levels in (lambda bits: 2**bits - 1, lambda bits: 2 ** (bits - 1) - 1)
            for zeros in (_one_for_zeros, lambda scales, largest: scales)
        ],
        "You divide the mean, the sum, the norm or the standard deviation of the row. Divide its largest |w|: "
        "`weight.abs().amax(dim=1)`.": [
            _scales(largest=lambda weight: weight.abs().mean(dim=1)),
            _scales(largest=lambda weight: weight.abs().sum(dim=1)),
            _scales(largest=lambda weight: weight.norm(dim=1)),
            _scales(largest=lambda weight: weight.std(dim=1)),
        ],
        "This has the shape of weight, and one number for each row is expected. Return the scales, (out,).": [
            _scales(result=lambda scales, weight: scales[:, None].expand_as(weight)),
            _scales(result=lambda scales, weight: weight / scales[:, None]),
            _scales(result=lambda scales, weight: (weight / scales[:, None]).round()),
            _scales(result=lambda scales, weight: (weight / scales[:, None]).round() * scales[:, None]),
        ],
        "The 1 is subtracted from the quotient: a power binds more tightly than `/`, and that more than `-`. Put the "
        "divisor in brackets, `(2 ** (bits - 1) - 1)`.": [
            _scales(divided=lambda largest, levels, by=by: largest / (by * (levels + 1)) - 1, zeros=zeros)
            for by in (1, 2)
            for zeros in (
                _one_for_zeros,
                lambda scales, largest: scales,
                lambda scales, largest: torch.where(scales == 0, 1.0, scales),
            )
        ],
        "This is the largest |w| of each row. The scale is that over 2^(bits − 1) − 1.": _scales(
            divided=lambda largest, levels: largest
        ),
        "In Python `^` is an operation on bits. A power is `2 ** (bits - 1)`.": [
            _scales(levels=lambda bits: 2 ^ (bits - 1) - 1),
            _scales(levels=lambda bits: (2 ^ (bits - 1)) - 1),
        ],
    }
)


# Section 8: low rank ------------------------------------------------------------------------------------------


def _falling_layer(inputs, outputs, seed):
    """A layer whose singular values fall by a factor of 8 from one to the next."""
    U, S, Vh = torch.linalg.svd(normal(outputs, inputs, seed=seed, dtype=torch.float64), full_matrices=False)
    S = 6 * 0.125 ** torch.arange(len(S), dtype=torch.float64)
    return _ShownLayer((U * S @ Vh).float(), normal(outputs, seed=seed + 1))


def _shown_layer(weight, bias):
    return _ShownLayer(torch.tensor(weight), torch.tensor(bias))


def _factors(attempt, layer, rank):
    """What the two layers do together, which leaves free how the factors share the singular values."""
    return _seen_twice(_factors_found, attempt, layer, rank)


def _factors_found(result):
    facts = dict.fromkeys(("returned", "sizes", "product of the weights", "bias", "trainable parameters"))
    layers = list(result) if isinstance(result, nn.Sequential) else []
    if len(layers) != 2 or not all(isinstance(one, nn.Linear) for one in layers):
        return facts | {"returned": _layer_kinds(result)}
    first, second = layers
    fit = first.weight.ndim == second.weight.ndim == 2 and second.weight.shape[1] == first.weight.shape[0]
    return {
        "returned": "an nn.Sequential of nn.Linear, nn.Linear",
        "sizes": ", then ".join(map(_sizes_in_words, layers)),
        "product of the weights": second.weight @ first.weight if fit else None,
        "bias": second.bias,
        "trainable parameters": _training(layers),
    }


def _sizes_in_words(layer):
    sizes = " → ".join(map(str, reversed(layer.weight.shape)))
    return f"{sizes} {'without' if layer.bias is None else 'with'} bias"


@lesson.exercise(
    cases={
        "diag(3, 2) at rank 1": (_shown_layer([[3.0, 0.0], [0.0, 2.0]], [1.0, -1.0]), 1),
        "the larger row below": (_shown_layer([[0.0, 2.0], [-5.0, 0.0]], [0.5, 0.25]), 1),
        "rank 2, more inputs": (_falling_layer(5, 3, seed=10), 2),
        "rank 2, more outputs": (_falling_layer(3, 6, seed=20), 2),
        "rank 3": (_falling_layer(6, 4, seed=30), 3),
        "as many inputs as outputs": (_falling_layer(4, 4, seed=40), 2),
        "rank 1 of a large layer": (_falling_layer(7, 5, seed=50), 1),
        "full rank, more inputs": (_falling_layer(4, 3, seed=60), 3),
        "full rank, as many inputs as outputs": (_falling_layer(3, 3, seed=70), 3),
        "one output": (_falling_layer(4, 1, seed=80), 1),
        "one input": (_falling_layer(1, 3, seed=90), 1),
    },
    observe=_factors,
    hints=[
        "Which decomposition gives the best approximation of a matrix at a given rank?",
        "Of U, S, Vh = `torch.linalg.svd(layer.weight, full_matrices=False)` keep the `rank` largest: columns of U, "
        "rows of Vh. `nn.Linear` computes x @ weight.T, so Vh comes first.",
        "The first layer's weight is `Vh[:rank]`, the second's is `U[:, :rank] * S[:rank]`. Copy both and the bias "
        "under `torch.no_grad()`.",
    ],
)
def low_rank(layer, rank):
    """Return two nn.Linear layers in an nn.Sequential that replace layer by its best approximation of this rank.

    The first has no bias and `rank` outputs; the bias is that of layer.
    """
    U, S, Vh = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
    first, second = nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features)
    with torch.no_grad():
        first.weight.copy_(Vh[:rank])
        second.weight.copy_(U[:, :rank] * S[:rank])
        second.bias.copy_(layer.bias)
    return nn.Sequential(first, second)


def _thin_svd(W):
    return torch.linalg.svd(W, full_matrices=False)


def _svd_by_numpy(W):
    return map(torch.from_numpy, np.linalg.svd(W.numpy()))


def _factored(
    matrix=lambda W: W,
    svd=_thin_svd,
    kept=lambda rank: slice(rank),
    inward=lambda S, Vh, k: Vh[k],
    outward=lambda U, S, k: U[:, k] * S[k],
    bias=lambda b: b,
    first_bias=False,
    layer=_with_parameters,
    result=nn.Sequential,
):
    """Two layers of the factors, with what can go wrong as arguments."""

    def attempt(layer_, rank):
        U, S, Vh = svd(matrix(layer_.weight.detach()))
        k = kept(rank)
        first = layer(layer_.in_features, rank, inward(S, Vh, k), None)
        if not first_bias:
            first.bias = None
        return result(first, layer(rank, layer_.out_features, outward(U, S, k), bias(layer_.bias)))

    return attempt


def _factored_either_way(**slip):
    return [_factored(**slip), _factored(**slip, layer=_with_copies)]


_FACTOR_SCALES = {
    "The singular values are missing: U and Vh alone give every direction the same size. Scale the columns: "
    "`U[:, :rank] * S[:rank]`.": {"outward": lambda U, S, k: U[:, k]},
    "The singular values enter twice, once in each layer. Scale only one of them by S, or both by its root.": {
        "inward": lambda S, Vh, k: S[k, None] * Vh[k]
    },
    "Only one layer is scaled by the root of S. Scale both by it, or one of them by S itself.": {
        "outward": lambda U, S, k: U[:, k] * S[k].sqrt()
    },
}
_FACTOR_BIASES = {
    "The bias of layer is lost: the second layer's is random, 0 or missing. Copy `layer.bias` into it.": {
        "bias": lambda b: None
    },
}
_FACTOR_FIRST = {
    "The first layer has a bias as well. Make it with `bias=False`.": {"first_bias": True},
}
low_rank.slips(_factored, _FACTOR_SCALES, _FACTOR_BIASES, _FACTOR_FIRST)
low_rank.pairs_of_slips(_factored, _FACTOR_SCALES | _FACTOR_FIRST, _FACTOR_BIASES)
low_rank.pairs_of_slips(_factored, _FACTOR_SCALES, _FACTOR_FIRST)


def _one_layer(layer, rank):
    U, S, Vh = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
    new = copy.deepcopy(layer)
    new.weight.data = U[:, :rank] * S[:rank] @ Vh[:rank]
    return new


def _changed_layer(layer, rank):
    U, S, Vh = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
    layer.weight.data = U[:, :rank] * S[:rank] @ Vh[:rank]
    return layer


def _biased_alone(one, two):
    one.bias, two.bias = nn.Parameter(torch.zeros(len(one.weight))), None
    return nn.Sequential(one, two)


def _assigned_factor(layer, rank):
    nn.Linear(layer.in_features, rank).weight = torch.linalg.svd(layer.weight)[2][:rank]


def _written_factor(layer, rank):
    nn.Linear(layer.in_features, rank).weight[:] = torch.linalg.svd(layer.weight)[2][:rank]


def _random_factors(layer, rank):
    return nn.Sequential(nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features))


def _factors_untransposed(make):
    def attempt(layer, rank):
        U, S, Vh = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
        first = _without_bias(make(layer.in_features, rank, U[:, :rank] * S[:rank], None))
        return nn.Sequential(first, make(rank, layer.out_features, Vh[:rank], layer.bias))

    return attempt


def _leading_rows(layer, rank):
    W = layer.weight.detach()
    first = _without_bias(_with_parameters(layer.in_features, rank, W[:rank], None))
    return nn.Sequential(first, _with_parameters(rank, len(W), torch.eye(len(W), rank), layer.bias))


def _leading_rows_and_columns(layer, rank):
    W = layer.weight.detach()
    first = _without_bias(_with_parameters(layer.in_features, rank, W[:rank], None))
    return nn.Sequential(first, _with_parameters(rank, len(W), W[:, :rank], layer.bias))


def _bias_copied(layer, rank):
    new = _random_factors(layer, rank)
    new[1].bias.data = layer.bias.data.clone()
    return new


low_rank.mistakes(
    {
        "The singular values are missing: U and Vh alone give every direction the same size. Scale the columns: "
        "`U[:, :rank] * S[:rank]`.": {" * S[:rank]": ""},
        "Directions are the rows of Vh, and the columns of U and of the V that `torch.svd` returns. Take `Vh[:rank]` "
        "of `torch.linalg.svd`, without a `.T`, and `U[:, :rank] * S[:rank]`.": [
            *_factored_either_way(inward=lambda S, Vh, k: Vh[:, k].T),
            *_factored_either_way(inward=lambda S, Vh, k: Vh[:, k].T, svd=torch.linalg.svd),
            _factored(inward=lambda S, Vh, k: Vh[:, k].T, svd=_svd_by_numpy),
            *_factored_either_way(inward=lambda S, Vh, k: Vh[:, k]),
            *_factored_either_way(inward=lambda S, Vh, k: Vh.T[k]),
            *_factored_either_way(outward=lambda U, S, k: U[k].T * S[k]),
            *_factored_either_way(outward=lambda U, S, k: U[k] * S),
            *_factored_either_way(outward=lambda U, S, k: U[k] * S[k]),
            _factored(outward=lambda U, S, k: U[:, k] * S[k, None]),
            _factored(outward=lambda U, S, k: S[k, None] * U[:, k]),
        ],
        "The smallest singular values are kept. They come sorted, largest first: take the first `rank` of them.": (
            _factored(kept=lambda rank: slice(-rank, None))
        ),
        "The bias of layer is lost: the second layer's is random, 0 or missing. Copy `layer.bias` into it.": [
            _factored(bias=torch.zeros_like),
            _factored(result=lambda one, two: nn.Sequential(one, _without_bias(two))),
        ],
        "The first layer has a bias as well. Make it with `bias=False`.": {", bias=False": ""},
        "Two slips. {1} {0}".format(*_FACTOR_BIASES, *_FACTOR_FIRST): [
            _factored(bias=torch.zeros_like, first_bias=True),
            _factored(result=_biased_alone),
        ],
        "The two layers stand in the wrong order. The inputs meet Vh first, and then U.": _factored(
            result=lambda one, two: nn.Sequential(two, one)
        ),
        "The factors have changed places. Vh belongs to the inputs, in the first layer, and U to the outputs, in the "
        "second.": [
            *_factored_either_way(matrix=lambda W: W.T),
            _factors_untransposed(_with_parameters),
            _factors_untransposed(_with_copies),
            {
                "first.weight.copy_(Vh[:rank])": "second.weight.copy_(Vh[:rank])",
                "second.weight.copy_(U[:, :rank] * S[:rank])": "first.weight.copy_(U[:, :rank] * S[:rank])",
            },
        ],
        "This is one layer, as large as before: nothing is saved. Keep the two factors apart, in two smaller layers.": [
            _one_layer,
            _changed_layer,
            lambda layer, rank: nn.Sequential(_one_layer(layer, rank)),
        ],
        "More than `rank` directions are kept. Cut all three: `U[:, :rank]`, `S[:rank]` and `Vh[:rank]`.": [
            *_factored_either_way(kept=lambda rank: slice(rank + 1)),
            *_factored_either_way(kept=lambda rank: slice(None)),
            *_factored_either_way(outward=lambda U, S, k: U * S),
            _factored(outward=lambda U, S, k: U[:, k] * S),
        ],
        "The two layers came back side by side. Put them into one network: `nn.Sequential(first, second)`.": [
            _factored(result=lambda one, two: (one, two)),
            _factored(result=lambda one, two: [one, two]),
            _factored(result=lambda one, two: nn.ModuleList([one, two])),
        ],
        "The new layers keep the random weights they begin with. Copy the factors of the SVD into them.": [
            _random_factors,
            _bias_copied,
        ],
        "Something stands between the two layers. Their weights have to multiply to one matrix: leave it out.": [
            _factored(result=lambda one, two: nn.Sequential(one, nn.ReLU(), two)),
        ],
        "Rows or columns of the weight are cut off, which is no good approximation. Take its singular value "
        "decomposition, and cut that.": [_leading_rows, _leading_rows_and_columns],
        _INTO_A_LAYER: [
            {"with torch.no_grad()": "with torch.enable_grad()"},
            _assigned_factor,
            _written_factor,
        ],
    }
)


@low_rank.remark(
    "A remark: the second layer shares its bias with the old layer, so training one changes the other. `.clone()` "
    "makes a copy."
)
def _shares_the_bias(attempt):
    layer = _falling_layer(5, 3, seed=10)
    return _shares(attempt(layer, 2), layer)


# Section 9: distillation --------------------------------------------------------------------------------------


def _distillation_gradients(attempt, student, teacher, *others):
    """The gradients of the sum of what comes back, for student and teacher; 0 where none is recorded."""
    leaves = [one.clone().requires_grad_() for one in (student, teacher)]
    result = attempt(*(leaf.clone() for leaf in leaves), *others)
    if not (isinstance(result, Tensor) and result.requires_grad):
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(result.sum(), leaves, materialize_grads=True)


def _distillation_facts(attempt, student, teacher, temperature):
    """The loss and its gradients; where the loss is wrong, the gradients are those of the solution."""
    given = [student.clone(), teacher.clone(), *([] if temperature == 1.0 else [temperature])]
    loss = attempt(student, teacher, *given[2:])
    if loss is None:
        return None
    wrong = difference(loss, distillation_loss.reference(*given))
    by_student, by_teacher = _distillation_gradients(
        distillation_loss.reference if wrong else attempt, *given
    )
    return {"loss": loss, "gradient at the student": by_student, "gradient at the teacher": by_teacher}


def _distillation_case(N, classes, temperature, seed, dtype=torch.float32):
    student, teacher = (2 * normal(N, classes, seed=seed + more, dtype=dtype) for more in (0, 1))
    return student, teacher, temperature


@lesson.exercise(
    observe=_distillation_facts,
    cases={
        "equal logits": (torch.tensor([[2.0, 1.0]]), torch.tensor([[2.0, 1.0]]), 1.0),
        "by hand: ¾ and ¼ against ½ and ½": (
            torch.tensor([[0.0, 0.0]]),
            torch.tensor([[math.log(3), 0.0]]),
            1.0,
        ),
        "the same halves at T = 2": (torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(9), 0.0]]), 2.0),
        "T = 1": _distillation_case(4, 3, 1.0, seed=1),
        "T = 2": _distillation_case(3, 5, 2.0, seed=3),
        "T = 5": _distillation_case(6, 2, 5.0, seed=5),
        "T = ½": _distillation_case(2, 4, 0.5, seed=7),
        "as many examples as classes": _distillation_case(4, 4, 3.0, seed=9),
        "one example": _distillation_case(1, 6, 2.0, seed=11),
        "large logits": (
            torch.tensor([[60.0, -60.0, 0.0], [-60.0, 60.0, -55.0]]),
            torch.tensor([[-60.0, 40.0, 0.0], [-60.0, 60.0, 50.0]]),
            1.0,
        ),
        "float64 numbers": _distillation_case(5, 3, 4.0, seed=13, dtype=torch.float64),
    },
    hints=[
        "KL(p ‖ q) = Σ p (ln p − ln q), summed over the classes of one example. Which of the two networks should learn "
        "from it, and which should not?",
        "Take ln q by `F.log_softmax(student / temperature, dim=1)`, and p from `teacher.detach() / temperature`. Sum "
        "over the classes, average over the examples.",
        '`F.kl_div(log_q, p, reduction="batchmean")` is the mean over examples of KL(p ‖ q). Multiply it by '
        "`temperature**2`.",
    ],
)
def distillation_loss(student, teacher, temperature=1.0):
    """Return the mean over examples of T² · KL(p ‖ q), for logits student and teacher (N, classes).

    p are the teacher's probabilities at temperature T, softmax(teacher / T), and q the student's. No gradient reaches
    the teacher.
    """
    log_q = F.log_softmax(student / temperature, dim=1)
    p = F.softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * F.kl_div(log_q, p, reduction="batchmean")


def _distilled_kl(log_q, log_p):
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def _distilled(
    to_student=lambda logits, T: logits / T,
    to_teacher=lambda logits, T: logits / T,
    classes=1,
    compare=_distilled_kl,
    over=torch.mean,
    factor=lambda T: T**2,
):
    """The loss from its definition, with what can go wrong as arguments."""

    def attempt(student, teacher, temperature=1.0):
        log_q = to_student(student, temperature).log_softmax(dim=classes)
        log_p = to_teacher(teacher.detach(), temperature).log_softmax(dim=classes)
        return factor(temperature) * over(compare(log_q, log_p))

    return attempt


def _distilled_by_kl_div(first, second, **options):
    """The library's function, given something of log q and p."""

    def attempt(student, teacher, temperature=1.0):
        q, p = ((logits / temperature).softmax(dim=1) for logits in (student, teacher.detach()))
        log_q = (student / temperature).log_softmax(dim=1)
        return temperature**2 * F.kl_div(first(log_q, q, p), second(log_q, q, p), **options)

    return attempt


def _distilled_by_logarithms(log_of_student, log_of_teacher):
    def attempt(student, teacher, temperature=1.0):
        q, p = ((logits / temperature).softmax(dim=1) for logits in (student, teacher.detach()))
        return temperature**2 * (p * (log_of_teacher(p) - log_of_student(q))).sum(dim=1).mean()

    return attempt


def _distilled_by_probabilities(compare):
    def attempt(student, teacher, temperature=1.0):
        q, p = ((logits / temperature).softmax(dim=1) for logits in (student, teacher.detach()))
        return temperature**2 * compare(p, q).sum(dim=1).mean()

    return attempt


def _distilled_by_distributions(student, teacher, temperature=1.0):
    q, p = (
        torch.distributions.Categorical(logits=logits / temperature) for logits in (student, teacher.detach())
    )
    return temperature**2 * torch.distributions.kl_divergence(p, q).mean()


def _distilled_with_labels(of_logits, factor):
    def attempt(student, teacher, temperature=1.0):
        return factor(temperature) * F.cross_entropy(of_logits(student, temperature), teacher.argmax(dim=1))

    return attempt


def _distilled_without_record(student, teacher, temperature=1.0):
    with torch.no_grad():
        return distillation_loss.reference(student, teacher, temperature)


_BATCHMEAN = {"reduction": "batchmean"}
_DISTILLED_TEMPERATURES = {
    "T divides the teacher's logits only. Divide those of the student by `temperature` as well.": {
        "to_student": lambda logits, T: logits
    },
    "T divides the student's logits only. Divide those of the teacher by `temperature` as well.": {
        "to_teacher": lambda logits, T: logits
    },
}
_DISTILLED_FACTORS = {
    "The factor T² is missing, or is another one. Multiply the mean by `temperature**2`, which makes up for gradients "
    "that shrink as 1/T².": {"factor": lambda T: 1},
}
_DISTILLED_COMPARED = {
    "This is KL(q ‖ p). Let the teacher's p be the weights: Σ p (ln p − ln q).": {
        "compare": lambda log_q, log_p: _distilled_kl(log_p, log_q)
    },
    "This is the cross-entropy −Σ p ln q. KL is smaller by the teacher's entropy, a constant, so the gradient is the "
    "same but not the value: add Σ p ln p.": {
        "compare": lambda log_q, log_p: -(log_p.exp() * log_q).sum(dim=1)
    },
}
_DISTILLED_MEANS = {
    "The mean goes over the classes as well. Sum over the classes, then average over the examples; in `F.kl_div` that "
    'is `reduction="batchmean"`.': {
        "compare": lambda log_q, log_p: log_p.exp() * (log_p - log_q),
    },
    "The examples are added up, not averaged. Sum over the classes of each, `dim=1`, then take the mean over the "
    "examples.": {"over": torch.sum},
    "The softmax runs over the examples, axis 0. Let it run over the classes: `dim=1`.": {"classes": 0},
}
distillation_loss.slips(
    _distilled, _DISTILLED_TEMPERATURES, _DISTILLED_FACTORS, _DISTILLED_COMPARED, _DISTILLED_MEANS
)
distillation_loss.mistakes(
    {
        next(iter(_DISTILLED_FACTORS)): [
            {"temperature**2 * ": ""},
            *(
                _distilled(factor=factor)
                for factor in (
                    lambda T: T,
                    lambda T: 1 / T,
                    lambda T: 1 / T**2,
                    lambda T: 2 * T,
                    lambda T: T**0.5,
                )
            ),
        ],
        "The logits are not divided by T before the softmax. Use `student / temperature` and `teacher / "
        "temperature`.": [
            *(
                _distilled(to_student=change, to_teacher=change, factor=factor)
                for change in (lambda logits, T: logits, lambda logits, T: logits * T)
                for factor in (lambda T: T**2, lambda T: 1)
            ),
            {
                "student / temperature, dim=1)": "student, dim=1) / temperature",
                "teacher.detach() / temperature, dim=1)": "teacher.detach(), dim=1) / temperature",
            },
        ],
        next(iter(_DISTILLED_COMPARED)): _distilled_by_kl_div(
            lambda log_q, q, p: p.log(), lambda log_q, q, p: q, **_BATCHMEAN
        ),
        list(_DISTILLED_COMPARED)[1]: [
            _distilled(compare=lambda log_q, log_p: -(log_p.exp() * log_q).sum(dim=1), factor=lambda T: 1),
        ],
        next(iter(_DISTILLED_MEANS)): [
            {'"batchmean"': '"mean"'},
            _distilled(compare=lambda log_q, log_p: _distilled_kl(log_q, log_p) / log_q.shape[1]),
        ],
        list(_DISTILLED_MEANS)[1]: _distilled(
            compare=lambda log_q, log_p: (log_p.exp() * (log_p - log_q)).sum(dim=0)
        ),
        "`F.kl_div` takes ln q first, then p: `F.kl_div(F.log_softmax(…), F.softmax(…), …)`. Here one of the two is of "
        "the other kind, or they stand in the other order.": [
            {"F.log_softmax": "F.softmax"},
            {"F.kl_div(log_q, p": "F.kl_div(p, log_q"},
            {"p = F.softmax": "p = F.log_softmax"},
            {"F.log_softmax": "F.softmax", "p = F.softmax": "p = F.log_softmax"},
            {"F.log_softmax(student / temperature, dim=1)": "student / temperature"},
            _distilled_by_kl_div(lambda log_q, q, p: p, lambda log_q, q, p: q, **_BATCHMEAN),
        ],
        "The values are right, but a gradient reaches the teacher. Stop it: `teacher.detach()`.": {
            "teacher.detach()": "teacher"
        },
        "The values are right, but the student gets no gradient. Leave out `.detach()`, `.item()` or "
        "`torch.no_grad()` there: the teacher alone is to stay as it is.": [
            _distilled_without_record,
            {"student / temperature": "student.detach() / temperature"},
            {"student / temperature": "student.detach() / temperature", "teacher.detach()": "teacher"},
            lambda student, teacher, temperature=1.0: distillation_loss.reference(
                student, teacher, temperature
            ).item(),
        ],
        "Several numbers came back, not yet one. Sum over the classes of an example, then take the mean over the "
        "examples.": [
            _distilled(over=lambda kl: kl),
            _distilled(compare=lambda log_q, log_p: log_p.exp() * (log_p - log_q), over=lambda table: table),
            _distilled(
                compare=lambda log_q, log_p: log_p.exp() * (log_p - log_q),
                over=lambda table: table.mean(dim=0),
            ),
            _distilled(over=lambda kl: kl.mean(dim=0, keepdim=True)),
        ],
        "The teacher's most likely class is taken as a label, and its doubts are lost. Compare all of its "
        "probabilities: Σ p (ln p − ln q).": [
            _distilled_with_labels(of_logits, factor)
            for of_logits in (lambda logits, T: logits / T, lambda logits, T: logits)
            for factor in (lambda T: T**2, lambda T: 1)
        ],
        "This is a squared difference. Compare the probabilities by KL(p ‖ q) = Σ p (ln p − ln q).": [
            lambda student, teacher, temperature=1.0: F.mse_loss(student, teacher.detach()),
            lambda student, teacher, temperature=1.0: F.mse_loss(
                (student / temperature).softmax(dim=1), (teacher.detach() / temperature).softmax(dim=1)
            ),
            lambda student, teacher, temperature=1.0: F.mse_loss(
                student / temperature, teacher.detach() / temperature
            ),
            _distilled(compare=lambda log_q, log_p: (log_q.exp() - log_p.exp()) ** 2),
            *(
                _distilled(
                    compare=lambda log_q, log_p: ((log_q.exp() - log_p.exp()) ** 2).sum(dim=1), factor=factor
                )
                for factor in (lambda T: T**2, lambda T: 1)
            ),
        ],
        "inf comes out where q underflows, as it does from `torch.distributions.kl_divergence`. Use `F.log_softmax` "
        "and `F.kl_div`.": _distilled_by_distributions,
        "The logarithm is missing. KL(p ‖ q) = Σ p (ln p − ln q), by `F.log_softmax` of the logits.": [
            _distilled_by_probabilities(lambda p, q: p * (p / q)),
            _distilled_by_logarithms(lambda q: q, lambda p: p),
        ],
        "Two slips. The student gets no gradient. For large logits a probability underflows: take `F.log_softmax`.": (
            lambda student, teacher, temperature=1.0: _distilled_by_logarithms(torch.log, torch.log)(
                student.detach(), teacher, temperature
            )
        ),
        "For large logits a probability underflows to 0, and its logarithm is −inf. Take `F.log_softmax` of the "
        "logits, without a small number added.": [
            _distilled_by_logarithms(torch.log, torch.log),
            _distilled_by_kl_div(lambda log_q, q, p: q.log(), lambda log_q, q, p: p, **_BATCHMEAN),
            *(
                _distilled_by_logarithms(log, log)
                for least in (1e-12, 1e-10, 1e-9, 1e-8)
                for log in (
                    lambda p, least=least: (p + least).log(),
                    lambda p, least=least: p.clamp(min=least).log(),
                )
            ),
        ],
    }
)
distillation_loss.pairs_of_slips(
    _distilled,
    {"The factor T² is missing.": {"factor": lambda T: 1}},
    {
        "Divide the student's logits by T as well.": {"to_student": lambda logits, T: logits},
        "Divide the teacher's logits by T as well.": {"to_teacher": lambda logits, T: logits},
        "And this is KL(q ‖ p): the weights should be p.": {
            "compare": lambda log_q, log_p: _distilled_kl(log_p, log_q)
        },
        "And the mean should not go over the classes: sum over them.": {
            "compare": lambda log_q, log_p: log_p.exp() * (log_p - log_q)
        },
        "And the examples should be averaged, not added up.": {"over": torch.sum},
        "And the softmax should run over the classes, `dim=1`.": {"classes": 0},
    },
)
distillation_loss.pairs_of_slips(
    _distilled,
    {
        "This is KL(q ‖ p): the weights should be p.": {
            "compare": lambda log_q, log_p: log_q.exp() * (log_q - log_p)
        }
    },
    {"And the mean should not go over the classes: sum over them.": {"over": torch.mean}},
)


# Section 12: the smallest tagger ------------------------------------------------------------------------------


TAGGER_ACCURACY, TAGGER_AUC, TAGGER_BITS, TAGGER_VERY_GOOD = 0.67, 0.945, 1700, 1200
_TAGGER_COARSE = 20  # bits that a number in fixed point takes at most, if it was meant to be in fixed point
_TAGGER_HARMLESS = (nn.Identity, nn.Flatten, nn.Dropout)  # layers without numbers, which change nothing here


@functools.cache
def _tagger_scaling():
    """Mean and standard deviation of the training jets (15,), with which the lesson standardizes."""
    x = data.jets().train.x
    return x.mean(dim=0), x.std(dim=0)


def _tagger_jets():
    """6,000 jets of other collisions than those of data.jets(), standardized as in the lesson."""
    stored = data.shipped("jets_held_out.npz")
    mean, std = _tagger_scaling()
    return data.Split((torch.from_numpy(stored["x"]) - mean) / std, torch.from_numpy(stored["y"]).long())


def _tagger_layers(model):
    """All layers of a network, those of a Sequential in a Sequential as well."""
    return [
        inner for one in model for inner in (_tagger_layers(one) if type(one) is nn.Sequential else [one])
    ]


def _tagger_width(numbers):
    """Two's complement bits that each of `numbers` takes as a multiple of their largest common power of two."""
    numbers = numbers.detach().cpu().double()
    numbers = numbers[(numbers != 0) & numbers.isfinite()]
    if not len(numbers):
        return 1
    mantissas, exponents = torch.frexp(numbers)
    whole = [int(one) for one in (mantissas * 2.0**53).tolist()]
    odd = [(one & -one).bit_length() - 1 for one in whole]  # zeros at the end of each
    exponents = exponents.tolist()
    step = min(exponent + zeros for exponent, zeros in zip(exponents, odd, strict=True))
    multiples = [
        one << exponent - step if exponent >= step else one >> step - exponent
        for one, exponent in zip(whole, exponents, strict=True)
    ]
    return min(
        32, max((one if one >= 0 else -one - 1).bit_length() + 1 for one in (max(multiples), min(multiples)))
    )


class _SmallTagger:
    """A network in fixed point, judged on jets: what it takes, and how well it does."""

    def __init__(self, layers, split):
        self.layers, self.x, self.y = layers, split.x, split.y
        self.dense = [one for one in layers if isinstance(one, nn.Linear)]
        self.parts = [
            [part.detach() for part in (layer.weight, layer.bias) if part is not None] for layer in self.dense
        ]
        self.numbers = [torch.cat([part.flatten() for part in parts]) for parts in self.parts]
        self.widths = [_tagger_width(numbers) for numbers in self.numbers]
        self.bits = sum(map(self._stored, self.parts, self.widths))
        self.logits = self.answer(split.x)

    @staticmethod
    def _stored(parts, width):
        """The bits of a layer: of all numbers, or of a bitmap and those that are not 0."""
        weight, *bias = parts
        biases = sum(one.numel() for one in bias)
        kept = int((weight != 0).sum())
        return min((weight.numel() + biases) * width, (kept + biases) * width + weight.numel())

    def answer(self, x, steps=None):
        """The logits, worked out from weights and biases alone; `steps` holds a factor for those of each layer."""
        steps = iter(steps or [1.0] * len(self.dense))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                x = next(steps) * F.linear(x.to(layer.weight.dtype), layer.weight, layer.bias)
            elif isinstance(layer, nn.ReLU):
                x = x.relu()
        return x

    def score(self):
        self.accuracy, self.auc = self.accuracy_of(self.logits), self.auc_of(self.logits)

    def auc_of(self, logits):
        top = data.JETS.index("top")
        return roc_auc_score((self.y == top).cpu(), logits.double().softmax(dim=1)[:, top].cpu())

    def accuracy_of(self, logits):
        return (logits.argmax(dim=1) == self.y).double().mean().item()

    def reaches(self, logits):
        return self.accuracy_of(logits) >= TAGGER_ACCURACY and self.auc_of(logits) >= TAGGER_AUC

    @property
    def is_right(self):
        return self.accuracy >= TAGGER_ACCURACY and self.auc >= TAGGER_AUC

    @property
    def reached(self):
        widths = ", ".join(map(str, self.widths))
        return (
            f"{self.bits:,} bits (at most {TAGGER_BITS:,}; {widths} for a number, by layer), accuracy "
            f"{self.accuracy:.3f} (at least {TAGGER_ACCURACY}), AUC for top {self.auc:.3f} (at least {TAGGER_AUC})"
        )


class _SmallestExercise(ModelExercise):
    """A tagger whose numbers are counted in bits."""

    def _unfit(self, given):
        (net,) = given
        if isinstance(net, tuple | list) and any(isinstance(one, nn.Module) for one in net):
            return self._wrong(
                "Return the network alone: its bits are worked out here, from its weights and biases."
            )
        if isinstance(net, type) and issubclass(net, nn.Module):
            return self._wrong(f"The class {net.__name__} arrived. Pass a trained network.")
        if getattr(net, "__name__", "") == self.name:
            return self._wrong(
                f"That is `{self.name}` itself. Call it, and pass on the network that it returns: "
                f"`{self.arguments[0]} = {self.name}(...)`."
            )
        if unfit := super()._unfit(given):
            return unfit
        sentence = _tagger_refused(net)
        return self._wrong(sentence) if sentence else None

    def _verdict_on(self, model, split):
        try:
            tagger = _SmallTagger(_tagger_layers(model), split)
        except Exception as error:
            return self._raised(error, f"It was given inputs of shape {tuple(split.x.shape)}.")
        if unfit := self._unfit_outputs(tagger.logits, split.x, split):
            return unfit
        if not all(one.isfinite().all() for one in (tagger.logits, *tagger.numbers)):
            return self._wrong(self.not_finite)
        tagger.score()
        if tagger.is_right and tagger.bits <= TAGGER_BITS:
            mark = (
                "very good" if tagger.bits <= TAGGER_VERY_GOOD else f"very good is {TAGGER_VERY_GOOD:,} bits"
            )
            return self._correct(
                f"On {len(split):,} jets that you were not given: {tagger.reached}. ({mark})"
            )
        sentence = next(sentence for sentence, shows in self.symptoms if shows(tagger, split))
        to_spare = TAGGER_BITS - tagger.bits
        shown = [(f"on {len(split):,} kept back", tagger.reached)]
        return self._wrong(sentence, *shown, *([("to spare", f"{to_spare:,} bits")] if to_spare > 0 else []))


def _tagger_refused(net):
    """What is wrong with the layers of a network; "" if they are all of the kinds that are asked for."""
    plain = "an `nn.Sequential` of `nn.Linear` and `nn.ReLU`"
    if type(net) is nn.Linear:
        return (
            "A single layer arrived. Put it into an `nn.Sequential`, with hidden layers and ReLUs before it."
        )
    if type(net) is not nn.Sequential:
        return (
            f"This arrived: {type(net).__name__}. Asked for is {plain}. If it rounds its weights in `forward`, copy "
            "the rounded ones into such a network."
        )
    layers = _tagger_layers(net)
    for layer in layers:
        kind = type(layer).__name__
        if hasattr(layer, "parametrizations"):
            return (
                f"One layer, {kind}, still works its weights out from others. Write the rounded ones into {plain}, for "
                "instance with `torch.nn.utils.parametrize.remove_parametrizations`."
            )
        if isinstance(layer, nn.Softmax | nn.LogSoftmax):
            return f"It ends with {kind}. Leave it out, and return the logits: the cross-entropy has its own softmax."
        if isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
            return (
                f"{kind} holds numbers, too, and they are in no fixed point. Leave it out, or merge it into the "
                "linear layer beside it before you round."
            )
        if type(layer) not in (nn.Linear, nn.ReLU, *_TAGGER_HARMLESS):
            return f"{kind} is among its layers, and the bits of {plain} alone can be counted. Replace it."
    if not any(type(layer) is nn.Linear for layer in layers):
        return "It has no `nn.Linear`, so there is nothing that could have learned."
    return ""


def _trained_to_be_smallest(**options):
    """Decorate the solution of `smallest_tagger`."""
    return lambda solution: _SmallestExercise(
        solution, attempt="own_tagger", held_out=_tagger_jets, score=None, floors={}, **options
    )


@_trained_to_be_smallest(
    hints=[
        "Few numbers, and few bits for each: which hidden layers are enough for this task, and what does a network "
        "need that is to be rounded to 4 bits?",
        "Train a large teacher (15-64-32-32-5) and distil it into a small student, 15-10-8-5. Then train the student "
        "on with weights and biases rounded to <4, 2>, straight through, for as many epochs.",
        "In training, `q = (4 * w).clamp(-8, 7)` and `(q + (q.round() - q).detach()) / 4` in place of each weight and "
        "bias `w`. In the end copy those into the `nn.Sequential`, and return it.",
    ],
)
def smallest_tagger(train_jets, valid_jets):
    """Return a small trained network for jets, an nn.Sequential of nn.Linear and nn.ReLU, its numbers in fixed point.

    Inputs x (N, 15) are standardized; the outputs are five logits, and the classes are data.JETS. Every weight and bias
    of a layer is a whole number of that layer's step, a power of two; weights that are 0 may be left out.
    """

    def network(*widths):
        layers = []
        for k in range(1, len(widths)):
            layers += [nn.Linear(widths[k - 1], widths[k]), nn.ReLU()]
        return nn.Sequential(*layers[:-1]).to(train_jets.x.device)

    def fixed(w):  # <4, 2>: steps of a quarter from −2 to 1.75, the gradient straight through
        q = (4 * w).clamp(-8, 7)
        return (q + (q.round() - q).detach()) / 4

    def in_fixed_point(net):
        return lambda x: torch.func.functional_call(
            net, {name: fixed(w) for name, w in net.named_parameters()}, x
        )

    def fit(net, loss_of, lr, epochs=20):
        batches = train_jets.batches(512, shuffle=True)
        optimizer = torch.optim.Adam(net.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * len(batches))
        for _ in range(epochs):
            for x, y in batches:
                optimizer.zero_grad()
                loss_of(x, y).backward()
                optimizer.step()
                schedule.step()

    torch.manual_seed(0)
    teacher, student = network(15, 64, 32, 32, 5), network(15, 10, 8, 5)
    fit(teacher, lambda x, y: F.cross_entropy(teacher(x), y), lr=8e-3)
    for model, lr in ((student, 8e-3), (in_fixed_point(student), 4e-3)):
        fit(student, lambda x, y, f=model: F.cross_entropy(f(x), teacher(x).softmax(dim=1).detach()), lr)
    with torch.no_grad():
        for w in student.parameters():
            w.copy_(fixed(w))
    return student


lesson.add(smallest_tagger)


@smallest_tagger.symptom(
    "It does far better on jets as they are measured. Train it on standardized ones: `(x - mean) / std` with mean and "
    "standard deviation of the training jets."
)
def _(model, split):
    mean, std = (one.to(split.x.device) for one in _tagger_scaling())
    return model.accuracy_of(model.answer(split.x * std + mean)) > max(0.35, model.accuracy + 0.1)


@smallest_tagger.symptom(
    "A whole layer is 0, so every jet gets the same logits. Its step is too coarse for its weights, or all of them "
    "were pruned."
)
def _(model, split):
    return any((parts[0] == 0).all() for parts in model.parts)


@smallest_tagger.symptom(
    "Without a ReLU between two of its layers it is a linear classifier, which reaches an accuracy of about 0.57 on "
    "these jets, in floats. Add hidden layers with ReLUs: 15-10-8-5, for instance."
)
def _(model, split):
    last = len(model.layers) - 1 - model.layers[::-1].index(model.dense[-1])
    between = model.layers[model.layers.index(model.dense[0]) : last]
    return not model.is_right and not any(isinstance(one, nn.ReLU) for one in between)


@smallest_tagger.symptom(
    "With its outputs in another order it is right far more often. Output k has to be the logit of class k of "
    "`data.JETS`: train with the labels as they are."
)
def _(model, split):
    found = model.logits.argmax(dim=1)
    counts = torch.stack([(found[split.y == kind]).bincount(minlength=5) for kind in range(5)]).tolist()
    orders = itertools.permutations(range(5))
    best = max(sum(counts[kind][order[kind]] for kind in range(5)) for order in orders) / len(split)
    return best > max(0.5, model.accuracy + 0.2)


@smallest_tagger.symptom(
    "It is right far more often with all logits negated: the sign of the loss, or of the last layer, is turned."
)
def _(model, split):
    return model.accuracy_of(-model.logits) > max(0.4, model.accuracy + 0.2)


@smallest_tagger.symptom(
    "Its numbers are whole, and it does better when all those of a layer are multiplied by a power of two, its step. "
    "Return `q * step`, the numbers that the integers stand for."
)
def _(model, split):
    if model.is_right or any((one != one.round()).any() for one in model.numbers):
        return False
    powers = [[2.0**-k] * len(model.dense) for k in range(1, 11)]
    if len(model.dense) < 4:
        powers = itertools.product([2.0**-k for k in range(0, 11, 2)], repeat=len(model.dense)), powers
        powers = itertools.chain(*powers)
    logits = (model.answer(split.x, steps) for steps in powers)
    return any(
        model.reaches(one) or model.accuracy_of(one) > max(0.5, model.accuracy + 0.1) for one in logits
    )


@smallest_tagger.symptom(
    "It predicts one kind for nearly every jet. Was it trained, and did its weights survive the rounding, or are they "
    "all at 0 or at the edge of the range, or wrapped around?"
)
def _(model, split):
    return model.logits.argmax(dim=1).bincount(minlength=5).max() > 0.9 * len(split)


@smallest_tagger.symptom(
    "It does hardly better than guessing. Was it trained, is it the trained network that you return, and is the step "
    "fine enough for its weights?"
)
def _(model, split):
    return model.accuracy < 0.35


def _tagger_layer_too_fine(model):
    return max(model.widths) > _TAGGER_COARSE


@smallest_tagger.symptom(
    "The weights of a layer are in fixed point, but its biases are not, or have a step of their own. Round both to the "
    "same step."
)
def _(model, split):
    return any(
        width > max(8, _tagger_width(parts[0])) and _tagger_width(parts[0]) <= 8
        for parts, width in zip(model.parts, model.widths, strict=True)
    )


def _tagger_on_another_grid(weight):
    """Whether weights are whole multiples, up to a thousand, of their smallest distance."""
    values = weight.double().unique()
    step = values.diff().min() if len(values) > 1 else values.abs().max()
    multiples = values / step
    return bool((multiples.abs() < 1000).all() and (multiples - multiples.round()).abs().max() < 0.01)


@smallest_tagger.symptom(
    "The weights of a layer have a step that is no power of two, such as max|w| / 7, so they count as floats. Take the "
    "power of two next to it, then round to that."
)
def _(model, split):
    return _tagger_layer_too_fine(model) and all(
        width <= _TAGGER_COARSE or _tagger_on_another_grid(parts[0])
        for parts, width in zip(model.parts, model.widths, strict=True)
    )


@smallest_tagger.symptom(
    "It still has floats: in some layer a number takes more than 20 bits. Write the rounded weights and biases into "
    "the network, `w.copy_((w / step).round() * step)` under `torch.no_grad()`."
)
def _(model, split):
    return _tagger_layer_too_fine(model)


@smallest_tagger.symptom(
    "It is right often enough, but has too many bits. Take fewer hidden units, 10 and 8 for instance, or fewer bits "
    "for a number, and train on through the rounding."
)
def _(model, split):
    return model.is_right and model.bits > TAGGER_BITS


@smallest_tagger.symptom(
    "It has too many bits and is not good enough. First train a small network, 15-10-8-5, that is right in floats, "
    "then round it to 4 or 5 bits, training on through the rounding."
)
def _(model, split):
    return model.bits > TAGGER_BITS


@smallest_tagger.symptom(
    "It is small enough, with bits to spare, but not good enough. Train on through the rounding or take a finer step; "
    "if that is not enough, take more hidden units."
)
def _(model, split):
    return sum(map(len, model.numbers)) < 200 and max(model.widths) <= 6


@smallest_tagger.symptom(
    "It is small enough, but not good enough, and has fewer than 200 numbers. Take more hidden units: 15-10-8-5 has "
    "293 numbers, of which each can take 5 bits."
)
def _(model, split):
    return sum(map(len, model.numbers)) < 200


@smallest_tagger.symptom(
    "It is small enough, but not good enough. If you rounded it after training, train on through the rounding "
    "(straight-through estimator); if you did, take more epochs, a finer step or a teacher."
)
def _(model, split):
    return True


# Section 13: the quiz -----------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "For `zeros`: does a matrix product look at the numbers before it multiplies? For `ten_four`: the step is "
        "2^(I − W), and the sign is one of the I bits. For `more_macs`: count each weight once for every pixel.",
        "For `one_jet`: what did a single jet take, and what a jet of a batch? For `which_control`: two things differ "
        "between the students, the images and what they are told about them.",
        "For `break_even`: r(m + n) against mn. For `slope`: draw the stairs. For `ten_percent`: what did the small "
        "network reach in section 3, once it was tuned?",
    ],
    zeros=Question(
        "c",
        "An ordinary product multiplies by zeros like by any other number. Take whole rows and columns out.",
        {
            "a": "That would be so if zeros were skipped: an ordinary product multiplies by them.",
            "b": "Nothing is skipped in an ordinary product, whatever the numbers are.",
            "d": "A product with zeros in it takes as long as any other; slower is what sparse storage can be.",
        },
    ),
    ten_four=Question(
        "a",
        "The step is 2^(4 − 10) = 1/64, and the range −2³ to one step below 2³.",
        {
            "b": "Those are six bits left of the point: in ⟨W, I⟩ the second number says how many.",
            "c": "One of the four bits is the sign: three are left for the size.",
            "d": "Only the bits right of the point make the step small: six of the ten.",
        },
    ),
    more_macs=Question(
        "b",
        "144 weights, each used 784 times, are 112,896 MACs; the dense layer has 12,544 weights, each used once.",
        {
            "a": "The convolution has 16 · 9 = 144 weights, the dense layer 784 · 16.",
            "c": "Its 144 weights are used at each of 784 pixels: 112,896 MACs against 12,544.",
            "d": "It is the other way round: few weights, each used at every pixel.",
        },
    ),
    one_jet=Question(
        "b",
        "4,192 MACs are a few microseconds at most; calling, checking and copying take the rest.",
        {
            "a": "The number of MACs is the same, whatever the numbers are stored in.",
            "c": "It may be, but that does not change how long a jet takes.",
            "d": "They have, and compute faster with them than with floats, where there is enough to compute.",
        },
    ),
    which_control=Question(
        "d",
        "Six times as many images with labels of any sharpness may be the whole gain: change one thing at a time.",
        {
            "a": "Both students have the same size. What else differs between them?",
            "b": "Another temperature would be another experiment; here two things were changed at once.",
            "c": "The teacher is the same for the question. What differs between the two students?",
        },
    ),
    break_even=Question(
        "b",
        "r (64 + 64) < 64 · 64 holds for r < 32: at 32 nothing is saved.",
        {
            "a": "It saves at rank 8, but is it the largest? Solve r (64 + 64) < 64 · 64.",
            "c": "At 32 the two thin layers have 32 · 128 = 4,096 numbers, as many as the layer.",
            "d": "63 · 128 is more than 4,096: the two thin layers would be larger.",
        },
    ),
    slope=Question(
        "d",
        "The stairs are flat, and jump between: hence the straight-through estimator.",
        {
            "a": "1 is what the straight-through estimator says; the stairs themselves are flat.",
            "b": "The stairs rise by 1 per step on average, but between the jumps they are flat.",
            "c": "PyTorch raises no error: it returns a gradient, and nothing is learned with it.",
        },
    ),
    ten_percent=Question(
        "a",
        "In section 3 such a network did as well, once its learning rate had been tuned.",
        {
            "b": "Worth knowing, but it does not tell whether pruning was needed at all.",
            "c": "Worth knowing for speed, but first: would a small network have done as well?",
            "d": "The number of layers does not tell whether pruning was needed at all.",
        },
    ),
)
