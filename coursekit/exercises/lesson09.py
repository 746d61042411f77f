"""The exercises of lesson 9, Sets and graphs: solutions, classic mistakes, hints."""

import random
from collections import Counter

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from coursekit import data, train
from coursekit.checks import ExerciseSet, ModelExercise, NamedFunction, Question, normal

lesson = ExerciseSet("Lesson 9")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# What several exercises need ----------------------------------------------------------------------------------


class _Named(NamedFunction):
    """A function of a set, and the number of random seeds with which an attempt has to judge it."""

    def __init__(self, name, function, seeds=1):
        super().__init__(name, function)
        self.seeds = seeds


def _layers(inputs, outputs, seed, name="φ"):
    """A small network with fixed weights, which does not map 0 to 0."""
    W, V = 0.8 * normal(5, inputs, seed=seed), 0.8 * normal(outputs, 5, seed=seed + 1)
    b, c = normal(5, seed=seed + 2), normal(outputs, seed=seed + 3)

    def network(x):
        W_, V_, b_, c_ = (one.to(x) for one in (W, V, b, c))
        return torch.tanh(x @ W_.T + b_) @ V_.T + c_

    return _Named(f"a network {name} from {inputs} to {outputs} numbers", network)


def _same(x):
    return x


def _reals(N, n, counts, seed=None):
    """The mask (N, n) of jets with so many particles, the first ones, or with a seed any."""
    mask = torch.arange(n) < torch.tensor(counts)[:, None]
    if seed is None:
        return mask
    order = torch.stack(
        [torch.randperm(n, generator=torch.Generator().manual_seed(seed + row)) for row in range(N)]
    )
    return mask.gather(1, order)


# Section 1: a jet is a set ------------------------------------------------------------------------------------


def _table(*jets):
    """Jets as particles: rows of zeros fill up to the longest one."""
    longest = max(map(len, jets))
    return torch.tensor([[*jet, *[[0.0, 0.0, 0.0]] * (longest - len(jet))] for jet in jets])


def _mask_and_type(attempt, x):
    mask = attempt(x)
    kind = str(mask.dtype).removeprefix("torch.") if isinstance(mask, Tensor) else "bool"
    return {"mask": mask, "type of its numbers": kind}


@lesson.exercise(
    cases={
        "one jet of two particles": (_table([[0.7, 0.1, -0.1], [0.3, -0.2, 0.2]]),),
        "a jet of two and a jet of one": (_table([[0.6, 0.1, 0.2], [0.2, -0.3, 0.1]], [[0.9, 0.02, -0.01]]),),
        "Δy = 0": (_table([[0.5, 0.0, 0.1], [0.2, 0.1, 0.1], [0.1, 0.0, -0.3]], [[0.4, 0.0, 0.2]]),),
        "Δφ = 0": (_table([[0.5, 0.2, 0.0], [0.2, 0.1, 0.1]], [[0.4, -0.1, 0.0]], [[0.3, 0.2, 0.1]]),),
        "on the jet's axis": (
            _table([[0.5, 0.0, 0.0], [0.2, 0.1, 0.1], [0.001, 0.1, -0.2]], [[0.8, 0.0, 0.0]]),
        ),
        "a row that adds up to 0": (_table([[0.5, -0.25, -0.25], [0.25, 0.1, 0.1]], [[0.5, -0.5, 0.0]]),),
        "a row that adds up to less than 0": (
            _table([[0.1, -0.25, -0.25], [0.2, 0.1, 0.1]], [[0.3, 0.1, 0.1]]),
        ),
        "particles behind padding": (
            torch.tensor([[[0.0, 0.0, 0.0], [0.4, 0.1, 0.2]], [[0.6, 0.1, -0.2], [0.0, 0.0, 0.0]]]),
        ),
        "a jet without particles": (_table([[0.3, 0.1, 0.1], [0.2, 0.2, 0.2], [0.1, 0.1, 0.1]], []),),
    },
    hints=[
        "Which of the three numbers can never be 0 for a real particle?",
        "`x[..., 0]` is z, of shape (N, n). A comparison of it is True or False for each particle.",
    ],
    observe=_mask_and_type,
)
def mask_of(x):
    """Return a mask (N, n), bool: True for the real particles of x (N, n, 3), False for padding.

    A row is z, Δy, Δφ. Padding is all zeros; a real particle has z > 0, and may well have Δy = 0 or Δφ = 0.
    """
    return x[..., 0] > 0


mask_of.mistakes(
    {
        "`any(dim=1)` looks through the particles, axis 1. The three numbers of a particle are the last axis, "
        "`dim=-1`.": [
            lambda x: (x != 0).any(dim=1),
            lambda x: (x != 0).all(dim=1),
            lambda x: x.sum(dim=1) != 0,
        ],
        "This says which jets have particles, (N,). Return an answer for each particle: `x[..., 0] > 0`.": [
            lambda x: (x[..., 0] > 0).any(dim=1),
            lambda x: (x[..., 0] > 0).all(dim=1),
        ],
        "A real particle with Δy = 0 or Δφ = 0 is taken for padding: you require all of its numbers to be nonzero. "
        "Look at z alone.": [
            lambda x: (x[..., 1:] != 0).all(dim=-1),
            lambda x: (x != 0).all(dim=-1),
            lambda x: x.prod(dim=-1) != 0,
        ],
        "The three numbers of a real particle can add up to 0, or less: Δy and Δφ may be negative. Look at z alone: "
        "`x[..., 0] > 0`.": [lambda x: x.sum(dim=-1) != 0, lambda x: x.sum(dim=-1) > 0],
        "This looks at Δy, which is 0 for some real particles. z is column 0: `x[..., 0] > 0`.": [
            lambda x: x[..., 1] != 0,
            {"x[..., 0]": "x[..., 1]"},
        ],
        "This looks at Δφ, which is 0 for some real particles. z is column 0: `x[..., 0] > 0`.": [
            lambda x: x[..., 2] != 0,
            lambda x: x[..., 2] > 0,
        ],
        "Δy and Δφ of a particle on the jet's axis are both 0. Look at z: `x[..., 0] > 0`.": [
            lambda x: (x[..., 1:] != 0).any(dim=-1),
            lambda x: x[..., 1:].norm(dim=-1) > 0,
        ],
        "You require all three numbers to be positive, but Δy and Δφ may be negative or 0. Look at z alone.": [
            lambda x: (x > 0).all(dim=-1),
        ],
        "The mask is (N, n, 1) here, and (N, n) expected: `x[..., 0]` drops the last axis, `x[..., :1]` keeps it.": [
            lambda x: x[..., :1] > 0,
            lambda x: (x != 0).any(dim=-1, keepdim=True),
        ],
        "The mask is (N, n, 3): one answer for each number. A particle needs only one, from z: `x[..., 0] > 0`.": [
            lambda x: x != 0,
            lambda x: x > 0,
        ],
        "`x[0]` is the first jet, so only its particles come back. z is the first entry of the last axis: "
        "`x[..., 0]`.": [
            lambda x: x[0, :, 0] > 0,
            lambda x: x[0][:, 0] > 0,
        ],
        "`x[0]` is the first jet. z is the first entry of the last axis: `x[..., 0]`.": lambda x: x[0] > 0,
        "`x[:, 0]` is the first particle of every jet. z is the first entry of the last axis: `x[..., 0]` or "
        "`x[:, :, 0]`.": [lambda x: x[:, 0] > 0, lambda x: x[:, 0] != 0],
        "The mask holds the numbers 1 and 0. Leave the comparison as it is: its True and False are what `~`, `where` "
        "and indexing need.": [
            lambda x: (x[..., 0] > 0).float(),
            lambda x: (x[..., 0] > 0).int(),
            lambda x: (x[..., 0] > 0).long(),
            lambda x: torch.where(x[..., 0] > 0, 1.0, 0.0),
            lambda x: torch.where(x[..., 0] > 0, 1, 0),
            lambda x: x[..., 0].sign(),
            lambda x: x[..., 0].ceil(),
        ],
        "The mask is inverted: True belongs to the real particles, with z > 0.": [
            lambda x: x[..., 0] == 0,
            lambda x: x[..., 0] <= 0,
            lambda x: (x == 0).all(dim=-1),
        ],
        "z >= 0 holds for padding as well, which has z = 0. A real particle has z > 0.": [
            lambda x: x[..., 0] >= 0,
            lambda x: torch.ones(x.shape[:2], dtype=torch.bool),
        ],
        "z < 0 holds for no particle. A real one has z > 0.": lambda x: x[..., 0] < 0,
        "This is z itself. Compare it with 0: `x[..., 0] > 0`.": lambda x: x[..., 0],
        "This is the number of real particles of each jet. Return a mask (N, n), without the sum.": [
            lambda x: (x[..., 0] > 0).sum(dim=1),
        ],
        "These are the real particles themselves. Return the mask, (N, n), that tells which they are.": [
            lambda x: x[x[..., 0] > 0],
        ],
        "These are the indices of the real particles. Return the mask itself, (N, n).": [
            lambda x: (x[..., 0] > 0).nonzero(),
            lambda x: x[..., 0].nonzero(),
        ],
        "This takes for granted that padding comes last, after the particles of a jet. Test every "
        "row: `x[..., 0] > 0`.": lambda x: (
            torch.arange(x.shape[1]) < (x[..., 0] > 0).sum(dim=1, keepdim=True)
        ),
        "The threshold is too high: soft particles have a z of a few thousandths. Everything above 0 is "
        "real.": [lambda x: x[..., 0] > 0.01, lambda x: x[..., 0] > 0.1, lambda x: x[..., 0] > 0.5],
        "A list came back. Compare the whole tensor at once, `x[..., 0] > 0`.": [
            lambda x: (x[..., 0] > 0).tolist(),
            lambda x: list(x[..., 0] > 0),
        ],
    }
)


# Section 2: invariant and equivariant -------------------------------------------------------------------------


_FALLING = torch.arange(6.0, 0.0, -1.0)[:, None] * torch.tensor([1.0, 0.5])
_ROWS = normal(6, 2, seed=3)
_CANCELLING = (
    torch.tensor([[100.3, -50.7], [-70.1, 33.3], [55.9, 81.7], [-86.1, -64.3], [10.7, 9.9], [-10.7, -9.9]])
    / 4
)
_LARGE = torch.tensor([[31.7, 12.9], [5.3, 41.1], [22.4, 3.6], [17.2, 28.8], [44.6, 9.7], [11.9, 36.3]]) / 4
_WEIGHTS = torch.arange(1.0, 7.0)[:, None]
_BOTH_ENDS = torch.tensor([1.0, 2.0, 4.0, 4.0, 2.0, 1.0])[:, None]
_EXTREMES = torch.tensor([[0.5, 1.0], [0.1, 0.2], [3.0, 0.7], [0.4, 0.9], [-2.0, 0.3], [0.8, 0.6]])


def _largest_first(x):
    """1 where the row with the largest first number stands before that with the smallest, else 0."""
    return (x[:, 0].argmax() < x[:, 0].argmin()).float()


def _answers(attempt, f, x):
    """What an attempt says of f, and whether it says so with other random numbers as well."""
    found = []
    for seed in range(f.seeds):
        if seed:  # the first time all generators are at seed 0 already
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - an attempt may draw from it
        answer = attempt(f, x)
        if not isinstance(answer, bool | np.bool_) and not (isinstance(answer, Tensor) and answer.ndim == 0):
            return {"answer": answer, "answer of a second call": answer}
        found.append(bool(answer))
    other = next((answer for answer in found if answer != found[0]), found[0])
    return {"answer": min(found[0], other), "answer of a second call": max(found[0], other)}


def _twenty(x):
    return [torch.randperm(len(x)) for _ in range(20)]


def _random(x):
    return [torch.randperm(len(x)) for _ in range(8)]  # fewer than asked for: enough to be seen through


def _within(tolerance):
    return lambda one, other: bool((one - other).abs().max() <= tolerance)


_CLOSE = _within(1e-4)


def _judging(right):
    """A builder of attempts that judge over random orders, with what can go wrong as arguments."""

    def build(
        orders=_random,
        shuffled=lambda f, x, order: f(x[order]),
        unshuffled=right,
        same=_CLOSE,
        decide=all,
        answer=_same,
    ):
        def attempt(f, x):
            return answer(decide(same(shuffled(f, x, order), unshuffled(f, x, order)) for order in orders(x)))

        return attempt

    return build


_ORDERS = {
    "Only one order is tried, and it may be one that f does not notice. Draw a new order 20 times, and return True "
    "only after the loop.": {"orders": lambda x: [torch.randperm(len(x))]},
    "The only order tried is the reversed one, `x.flip(0)`: some functions do not notice it. Draw random orders with "
    "`torch.randperm(len(x))`.": {"orders": lambda x: [torch.arange(len(x)).flip(0)]},
    "A cyclic shift, `x.roll(1, 0)`, keeps neighbours together, and some functions do not notice it. Draw random "
    "orders with `torch.randperm(len(x))`.": {
        "orders": lambda x: [torch.arange(len(x)).roll(shift) for shift in range(20)]
    },
    "Only the first two rows change places: what happens further down goes unseen. Draw random orders of all rows, "
    "`torch.randperm(len(x))`.": {"orders": lambda x: [torch.tensor([1, 0, *range(2, len(x))])]},
    "Your answer is True for every f. Does f get the permuted rows, `f(x[order])`, and is that compared with what it "
    "gives for x?": {"orders": lambda x: [torch.arange(len(x))]},
    "Some rows come twice and others not at all, as with `torch.randint`, or `random.shuffle` of a tensor. A "
    "permutation is `x[torch.randperm(len(x))]`.": {
        "orders": lambda x: [torch.randint(len(x), (len(x),)) for _ in range(20)]
    },
    "`x.shape[1]` counts the columns, so only that many rows of x are left. Permute all: "
    "`torch.randperm(len(x))`.": {"orders": lambda x: [torch.randperm(x.shape[1]) for _ in range(20)]},
    "`torch.randperm(len(x) - 1)` leaves out the last row. `torch.randperm(len(x))` orders all of them.": {
        "orders": lambda x: [torch.randperm(len(x) - 1) for _ in range(20)]
    },
}
_SAME = {
    "Equality is exact here, and a sum in another order differs in its last digits. Allow for 1e-4: "
    "`(a - b).abs().max() < 1e-4`.": {"same": lambda one, other: torch.equal(one, other)},
    "`torch.allclose` is stricter than asked for: its default `atol` is 1e-8. Give it `atol=1e-4`.": {
        "same": lambda one, other: torch.allclose(one, other)
    },
    "The tolerance is too tight: differences below 1e-4 count as equal.": {"same": _within(1e-6)},
    "The tolerance is too large: a difference of 1e-3 or more is a change. Only what is below 1e-4 counts as "
    "equal.": {"same": _within(1e-2)},
    "The difference is taken with its sign, so one below zero always passes. Take its absolute value: "
    "`(a - b).abs()`.": {"same": lambda one, other: bool((one - other).max() <= 1e-4)},
    "The sums of the results are compared, and those agree too if rows only change places. Compare number by "
    "number: `(a - b).abs().max()`.": {
        "same": lambda one, other: bool((one.sum() - other.sum()).abs() <= 1e-4)
    },
    "One number that agrees is enough here. All of them have to: `(a - b).abs().max() < 1e-4`.": {
        "same": lambda one, other: bool((one - other).abs().min() <= 1e-4)
    },
    "The results are sorted before they are compared, which hides their order. Compare them as they are.": {
        "same": lambda one, other: _within(1e-4)(
            *(result.reshape(-1).sort().values for result in (one, other))
        )
    },
}
_DECISIONS = {
    "One order with equal results is enough here. All 20 have to agree: return False at the first that does not, "
    "True after the loop.": {"decide": any},
    "True and False are swapped: return True if no order makes a difference.": {
        "decide": lambda found: not all(found)
    },
    "These are 20 answers, one for each order. Return one for all of them: `all(…)`.": {
        "orders": _twenty,
        "decide": list,
    },
    "This is the fraction of orders that agree. Return True if all of them do, else False.": {
        "orders": _twenty,
        "decide": lambda found: sum(found) / 20,
    },
    "Your answer is False for every f. Are the right two results compared, and does True come back after the loop if "
    "they agreed every time?": {"decide": lambda found: False},
    "If no order makes a difference, None comes back: `return True` is missing after the loop.": {
        "answer": lambda holds: None if holds else False
    },
    "If an order makes a difference, None comes back: return False then.": {
        "answer": lambda holds: True if holds else None
    },
    "Nothing is returned, only None. Return True or False.": {"answer": lambda holds: None},
}


@lesson.exercise(
    cases={
        "the sum of the rows": (_Named("x.sum(0)", lambda x: x.sum(0)), _ROWS),
        "the mean of the rows": (_Named("x.mean(0)", lambda x: x.mean(0)), normal(5, 3, seed=1)),
        "the maximum of every column": (_Named("x.amax(0)", lambda x: x.amax(0)), normal(6, 3, seed=2)),
        "the rows' sums, squared and added": (
            _Named("(x.sum(1) ** 2).sum()", lambda x: (x.sum(1) ** 2).sum()),
            _ROWS,
        ),
        "columns sorted": (_Named("x.sort(0).values", lambda x: x.sort(0).values), _ROWS),
        "the last row of the cumulative sum": (
            _Named("x.cumsum(0)[-1]", lambda x: x.cumsum(0)[-1]),
            normal(6, 2, seed=4),
        ),
        "a sum that nearly cancels": (_Named("x.sum(0)", lambda x: x.sum(0)), _CANCELLING),
        "a sum of large numbers": (_Named("x.sum(0)", lambda x: x.sum(0)), _LARGE),
        "a constant": (_Named("torch.ones(2)", lambda x: torch.ones(2)), _ROWS),
        "the mean, with the first row and minus that beside it": (
            _Named(
                "torch.cat([x.mean(0), x[0], -x[0]])", lambda x: torch.cat([x.mean(0), x[0], -x[0]]), seeds=6
            ),
            _FALLING,
        ),
        "the first row": (_Named("x[0]", lambda x: x[0], seeds=6), _FALLING),
        "the last row": (_Named("x[-1]", lambda x: x[-1], seeds=6), _FALLING),
        "a sum weighted by position": (
            _Named("(torch.arange(1, 7)[:, None] * x).sum(0)", lambda x: (_WEIGHTS * x).sum(0)),
            _ROWS,
        ),
        "weights that are the same from both ends": (
            _Named(
                "(torch.tensor([1, 2, 4, 4, 2, 1])[:, None] * x).sum(0)", lambda x: (_BOTH_ENDS * x).sum(0)
            ),
            _ROWS,
        ),
        "neighbours in a ring, multiplied": (
            _Named("(x * x.roll(1, 0)).sum(0)", lambda x: (x * x.roll(1, 0)).sum(0)),
            _ROWS,
        ),
        "neighbours below the third row, multiplied": (
            _Named("(x[3:-1] * x[4:]).sum(0) + x.sum(0)", lambda x: (x[3:-1] * x[4:]).sum(0) + x.sum(0)),
            _ROWS,
        ),
        "the norm of every row": (_Named("x.norm(dim=1)", lambda x: x.norm(dim=1)), _ROWS),
        "whether the largest comes before the smallest": (
            _Named("(x[:, 0].argmax() < x[:, 0].argmin()).float()", _largest_first, seeds=6),
            _EXTREMES,
        ),
        "a little of the first row": (
            _Named("x.mean(0) + 0.0004 * x[0]", lambda x: x.mean(0) + 0.0004 * x[0]),
            torch.tensor([[1.0, 0.8], [-1.0, 0.3], [0.5, -0.8], [0.2, -0.1], [-0.7, 0.6], [0.0, 0.9]]),
        ),
    },
    hints=[
        "Permute the rows with `x[torch.randperm(len(x))]`, and compare the result with f(x).",
        "A single order may happen to be one that f does not notice. Return False at the first order that makes a "
        "difference, True only after all 20.",
        "Compare with `(f(x[order]) - f(x)).abs().max() > 1e-4`: a sum in another order differs in its last digits.",
    ],
    observe=_answers,
)
def is_invariant(f, x):
    """Return True if f(x) does not change under permutations of the rows of x (n, D), else False.

    Try 20 random orders; numbers that differ by less than 1e-4 count as equal.
    """
    for _ in range(20):
        order = torch.randperm(len(x))
        if (f(x[order]) - f(x)).abs().max() > 1e-4:
            return False
    return True


_invariance = _judging(lambda f, x, order: f(x))
is_invariant.slips(_invariance, _ORDERS, _SAME, _DECISIONS)


def _shuffling(f, x, *, copied=True):
    before, rows = f(x), x.clone() if copied else x
    for _ in range(20):
        random.shuffle(rows)  # of a tensor this copies rows over each other
        if (f(rows) - before).abs().max() > 1e-4:
            return False
    return True


is_invariant.mistakes(
    {
        "Some rows come twice and others not at all, as with `torch.randint`, or `random.shuffle` of a tensor. A "
        "permutation is `x[torch.randperm(len(x))]`.": [
            _shuffling,
            lambda f, x: _shuffling(f, x, copied=False),
        ],
        "This is a tensor of comparisons, not one answer. Return True if they all hold: `bool(….all())`.": [
            lambda f, x: torch.stack([(f(x[order]) - f(x)).abs() < 1e-4 for order in _twenty(x)]),
            lambda f, x: (f(x[torch.randperm(len(x))]) - f(x)).abs() < 1e-4,
        ],
        "`x[:, order]` permutes the columns. The particles are the rows: `x[order]`.": [
            _invariance(
                orders=lambda x: [torch.randperm(x.shape[1]) for _ in range(20)],
                shuffled=lambda f, x, order: f(x[:, order]),
            ),
            _invariance(shuffled=lambda f, x, order: f(x[:, order])),
        ],
        "The output is permuted, not the input. Hand f the permuted rows, `f(x[order])`, and compare with "
        "`f(x)`.": _invariance(shuffled=lambda f, x, order: f(x)[order]),
        "That is equivariance: f(x) is permuted as well. An invariant f gives the same as before: compare "
        "`f(x[order])` with `f(x)`.": _invariance(unshuffled=lambda f, x, order: f(x)[order]),
        "f(x) is compared with x. Compare `f(x[order])` with `f(x)`.": _invariance(
            unshuffled=lambda f, x, order: x
        ),
        "Each column is shuffled by itself, which tears the particles apart. Permute whole rows: `x[order]`.": (
            _invariance(
                orders=lambda x: [torch.rand_like(x).argsort(dim=0) for _ in range(20)],
                shuffled=lambda f, x, order: f(x.gather(0, order)),
            )
        ),
        "The random generator is seeded in the loop, so it is the same order 20 times. Seed it before the loop, or "
        "not at all.": _invariance(
            orders=lambda x: [
                torch.randperm(len(x), generator=torch.Generator().manual_seed(0)) for _ in range(20)
            ]
        ),
        "A difference came back. Return True if it stays below 1e-4 for all orders, else False.": _invariance(
            same=lambda one, other: (one - other).abs().max().item(), decide=max
        ),
    }
)


@lesson.exercise(
    cases={
        "a ReLU": (_Named("x.relu()", lambda x: x.relu()), _ROWS),
        "the norm of every row": (
            _Named("x.norm(dim=1, keepdim=True)", lambda x: x.norm(dim=1, keepdim=True)),
            normal(5, 3, seed=11),
        ),
        "a softmax over the rows": (_Named("x.softmax(0)", lambda x: x.softmax(0)), normal(6, 3, seed=12)),
        "rows minus their mean": (
            _Named("x - x.mean(0)", lambda x: x - x.mean(0)),
            10 * normal(6, 2, seed=13),
        ),
        "rows minus a mean that nearly cancels": (
            _Named("x.sum(0) - 0.001 * x", lambda x: x.sum(0) - 0.001 * x),
            _CANCELLING,
        ),
        "rows minus a sum of large numbers": (_Named("x - x.sum(0)", lambda x: x - x.sum(0)), _LARGE),
        "rows minus their maximum": (_Named("x - x.amax(0)", lambda x: x - x.amax(0)), normal(5, 3, seed=15)),
        "the rows themselves": (_Named("1 * x", lambda x: 1 * x), _ROWS),
        "zeros": (_Named("0 * x", lambda x: 0 * x), _ROWS),
        "a ReLU of two rows": (
            _Named("x.relu()", lambda x: x.relu()),
            torch.tensor([[1.0, -2.0], [3.0, 4.0]]),
        ),
        "the first row beside every row": (
            _Named(
                "torch.cat([x, x[:1].expand_as(x)], 1)",
                lambda x: torch.cat([x, x[:1].expand_as(x)], 1),
                seeds=6,
            ),
            _FALLING,
        ),
        "the mean in every row": (
            _Named("x.mean(0).expand_as(x)", lambda x: x.mean(0).expand_as(x)),
            normal(6, 2, seed=14),
        ),
        "columns sorted": (_Named("x.sort(0).values", lambda x: x.sort(0).values), _ROWS),
        "the cumulative sum": (_Named("x.cumsum(0)", lambda x: x.cumsum(0)), _ROWS),
        "the first row added": (_Named("x + x[0]", lambda x: x + x[0], seeds=6), _FALLING),
        "the last row added": (_Named("x + x[-1]", lambda x: x + x[-1], seeds=6), _FALLING),
        "weights by position": (_Named("torch.arange(1, 7)[:, None] * x", lambda x: _WEIGHTS * x), _ROWS),
        "weights that are the same from both ends": (
            _Named("torch.tensor([1, 2, 4, 4, 2, 1])[:, None] * x", lambda x: _BOTH_ENDS * x),
            _ROWS,
        ),
        "both neighbours in a ring": (
            _Named("x.roll(1, 0) + x.roll(-1, 0)", lambda x: x.roll(1, 0) + x.roll(-1, 0)),
            _ROWS,
        ),
        "the rows reversed": (_Named("x.flip(0)", lambda x: x.flip(0)), _ROWS),
        "a change below the third row": (
            _Named("x * (torch.arange(6)[:, None] > 2)", lambda x: x * (_WEIGHTS > 3)),
            torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [3.0, 1.0], [2.0, 5.0], [4.0, 3.0]]),
        ),
        "a sign that goes by the order": (
            _Named(
                "x if x[:, 0].argmax() < x[:, 0].argmin() else -x",
                lambda x: (2 * _largest_first(x) - 1) * x,
                seeds=6,
            ),
            _EXTREMES,
        ),
        "a little of the first row": (
            _Named("x + 0.0004 * x[0]", lambda x: x + 0.0004 * x[0]),
            torch.tensor([[1.0, 0.8], [-1.0, 0.3], [0.5, -0.8], [0.2, -0.1], [-0.7, 0.6], [0.0, 0.9]]),
        ),
    },
    hints=[
        "Draw one order, and use it twice: for the rows of x before f, and for the rows of f(x) after it.",
        "Equivariant means that `f(x[order])` and `f(x)[order]` are the same, for every order.",
        "Write it as in `is_invariant`, with `f(x)[order]` in place of `f(x)`.",
    ],
    observe=_answers,
)
def is_equivariant(f, x):
    """Return True if permuting the rows of x (n, D) permutes the rows of f(x) (n, H) in the same way, else False.

    Try 20 random orders; numbers that differ by less than 1e-4 count as equal.
    """
    for _ in range(20):
        order = torch.randperm(len(x))
        if (f(x[order]) - f(x)[order]).abs().max() > 1e-4:
            return False
    return True


_equivariance = _judging(lambda f, x, order: f(x)[order])
is_equivariant.slips(_equivariance, _ORDERS, _SAME, _DECISIONS)
is_equivariant.mistakes(
    {
        "This is a tensor of comparisons, not one answer. Return True if they all hold: `bool(….all())`.": [
            lambda f, x: torch.stack([(f(x[order]) - f(x)[order]).abs() < 1e-4 for order in _twenty(x)]),
        ],
        "The sums of the results are compared, and those agree too if rows only change places. Compare number by "
        "number: `(a - b).abs().max()`.": [
            _equivariance(same=lambda one, other: bool((one - other).mean().abs() <= 1e-4)),
        ],
        "That is invariance: `f(x[order])` is compared with `f(x)`. The rows of f(x) have to be permuted as well, "
        "`f(x)[order]`.": _equivariance(unshuffled=lambda f, x, order: f(x)),
        "The two sides are not permuted alike. Draw one order and use it on both: compare `f(x[order])` with "
        "`f(x)[order]`.": [
            _equivariance(shuffled=lambda f, x, order: f(x), unshuffled=lambda f, x, order: f(x)[order]),
            _equivariance(unshuffled=lambda f, x, order: f(x)[torch.randperm(len(x))]),
        ],
        "The order and its inverse are mixed up, or the order is applied twice. Use it once on both sides: compare "
        "`f(x[order])` with `f(x)[order]`.": [
            _equivariance(
                shuffled=lambda f, x, order: f(x[order])[order], unshuffled=lambda f, x, order: f(x)
            ),
            _equivariance(unshuffled=lambda f, x, order: f(x)[order.argsort()]),
        ],
        "`f(x[order])` is compared with the input. Compare it with `f(x)[order]`.": _equivariance(
            unshuffled=lambda f, x, order: x[order]
        ),
        "`x[:, order]` permutes the columns. The particles are the rows: `x[order]`, and `f(x)[order]`.": [
            _equivariance(
                orders=lambda x: [torch.randperm(x.shape[1]) for _ in range(20)],
                shuffled=lambda f, x, order: f(x[:, order]),
                unshuffled=lambda f, x, order: f(x)[:, order],
            ),
            _equivariance(
                shuffled=lambda f, x, order: f(x[:, order]), unshuffled=lambda f, x, order: f(x)[:, order]
            ),
        ],
        "The random generator is seeded in the loop, so it is the same order 20 times. Seed it before the loop, or "
        "not at all.": _equivariance(
            orders=lambda x: [
                torch.randperm(len(x), generator=torch.Generator().manual_seed(0)) for _ in range(20)
            ]
        ),
        "A difference came back. Return True if it stays below 1e-4 for all orders, else False.": _equivariance(
            same=lambda one, other: (one - other).abs().max().item(), decide=max
        ),
    }
)


def _parts(N, n, D, H, seed, dtype=torch.float32):
    """Particles and weights of an equivariant layer: x, W, V, b."""
    shapes = ((N, n, D), (H, D), (H, D), (H,))
    return tuple(normal(*shape, seed=seed + number, dtype=dtype) for number, shape in enumerate(shapes))


@lesson.exercise(
    cases={
        "one jet of two particles": (
            torch.tensor([[[1.0], [3.0]]]),
            torch.tensor([[2.0]]),
            torch.tensor([[0.5]]),
            torch.tensor([0.1]),
        ),
        "a few jets": _parts(2, 4, 3, 5, seed=20),
        "as many jets as particles": _parts(3, 3, 2, 4, seed=30),
        "as many outputs as inputs": _parts(2, 5, 3, 3, seed=40),
        "all sizes equal": _parts(2, 2, 2, 2, seed=50),
        "jets of a single particle": _parts(3, 1, 2, 4, seed=60),
        "a single jet": _parts(1, 4, 2, 3, seed=70),
        "float64 numbers": _parts(2, 3, 4, 2, seed=80, dtype=torch.float64),
    },
    hints=[
        "Which part of the output belongs to a particle, and which is the same for all particles of a jet?",
        "`x @ W.T` is (N, n, H). The mean over the particles, axis 1, is (N, D) or, with `keepdim=True`, (N, 1, D).",
        "`x @ W.T + x.mean(dim=1, keepdim=True) @ V.T + b` broadcasts to (N, n, H).",
    ],
)
def equivariant_linear(x, W, V, b):
    """Return (N, n, H): every particle's own x_i times W, plus the mean of all particles of its jet times V, plus b.

    `x` is (N, n, D), `W` and `V` are (H, D), as in nn.Linear, and `b` is (H,).
    """
    mean = x.mean(dim=1, keepdim=True)  # (N, 1, D)
    return x @ W.T + mean @ V.T + b


def _linear(
    own=lambda x, W: x @ W.T,
    pooled=lambda x: x.mean(dim=1, keepdim=True),
    common=lambda mean, V: mean @ V.T,
    joined=lambda own, common, b: own + common + b,
):
    """The layer, with what can go wrong as arguments."""

    def attempt(x, W, V, b):
        return joined(own(x, W), common(pooled(x), V), b)

    return attempt


def _of_others(x):
    return (x.sum(dim=1, keepdim=True) - x) / max(x.shape[1] - 1, 1)


equivariant_linear.slips(
    _linear,
    {
        "The mean is taken over the jets, axis 0, and mixes them. The particles of a jet are axis 1.": {
            "pooled": lambda x: x.mean(dim=0, keepdim=True)
        },
        "The mean is taken over jets and particles together. Each jet has a mean of its own: `x.mean(dim=1, "
        "keepdim=True)`.": {"pooled": lambda x: x.mean(dim=(0, 1), keepdim=True)},
        "The mean is taken over the D numbers of a particle. The particles are axis 1.": {
            "pooled": lambda x: x.mean(dim=2, keepdim=True).expand_as(x)
        },
        "Without `keepdim=True` the mean is (N, D), and its rows meet the wrong axis. Keep the axis of the particles, "
        "(N, 1, D).": {"pooled": lambda x: x.mean(dim=1)},
        "This takes the sum of the particles. Take their mean.": {
            "pooled": lambda x: x.sum(dim=1, keepdim=True)
        },
        "This takes the maximum over the particles. Take their mean.": {
            "pooled": lambda x: x.amax(dim=1, keepdim=True)
        },
        "V multiplies each particle's own x_i. It multiplies the mean over all particles of the jet, "
        "`x.mean(dim=1, keepdim=True)`.": {"pooled": _same},
        "The particle itself is left out of the mean. The mean is over all particles of the jet.": {
            "pooled": _of_others
        },
        "The mean is divided by the number of particles once more.": {
            "pooled": lambda x: x.mean(dim=1, keepdim=True) / x.shape[1]
        },
        "The mean over the particles is missing: add `x.mean(dim=1, keepdim=True) @ V.T`.": {
            "common": lambda mean, V: 0 * mean @ V.T
        },
        "The particle's own x_i is missing: add `x @ W.T`.": {"own": lambda x, W: 0 * x @ W.T},
        "W has to be transposed, it is (H, D): `x @ W.T`.": {"own": lambda x, W: x @ W},
        "V has to be transposed, it is (H, D): `mean @ V.T`.": {"common": lambda mean, V: mean @ V},
        "The mean is subtracted. Add it: x_i times W plus the mean times V.": {
            "joined": lambda own, common, b: own - common + b
        },
        "The bias is added twice. There is only one b, for the sum of both parts.": {
            "joined": lambda own, common, b: own + common + 2 * b
        },
        "The bias b is missing.": {"joined": lambda own, common, b: own + common},
        "The bias is subtracted. Add it.": {"joined": lambda own, common, b: own + common - b},
        "There is a ReLU at the end. The layer is linear; the nonlinearity comes after it.": {
            "joined": lambda own, common, b: (own + common + b).relu()
        },
        "The two parts stand side by side, (N, n, 2H). Add them.": {
            "joined": lambda own, common, b: torch.cat([own + b, common.expand_as(own) + b], dim=-1)
        },
        "The particles are averaged at the end, (N, H). An equivariant layer returns a row for each "
        "particle.": {"joined": lambda own, common, b: (own + common + b).mean(dim=1)},
        "The particles are summed at the end, (N, H). An equivariant layer returns a row for each particle.": {
            "joined": lambda own, common, b: (own + common + b).sum(dim=1)
        },
    },
)
equivariant_linear.mistakes(
    {
        "The sum over the particles is divided by n − 1. The mean divides by n, all particles of the jet.": [
            _linear(pooled=lambda x: x.sum(dim=1, keepdim=True) / (x.shape[1] - 1)),
        ],
        "The sum over the particles is divided by `len(x)`, the number of jets. Divide by the number of particles, "
        "`x.shape[1]`.": [_linear(pooled=lambda x: x.sum(dim=1, keepdim=True) / len(x))],
        "This takes the median of the particles. Take their mean.": [
            _linear(pooled=lambda x: x.median(dim=1, keepdim=True).values),
        ],
        "`W @ x` is for particles in columns. Here they are rows: `x @ W.T`, and the same with V.": [
            lambda x, W, V, b: W @ x + V @ x.mean(dim=1, keepdim=True) + b,
            lambda x, W, V, b: W @ x + V @ x.mean(dim=1) + b,
        ],
        "`*` multiplies number by number. Between particles and weights you need a matrix product, `x @ W.T`.": [
            lambda x, W, V, b: x * W + x.mean(dim=1, keepdim=True) * V + b,
            lambda x, W, V, b: x * W.T + x.mean(dim=1, keepdim=True) * V.T + b,
        ],
        "The mean is taken over the D numbers of a particle. The particles are axis 1.": [
            _linear(pooled=lambda x: x.mean(dim=2, keepdim=True)),
            _linear(pooled=lambda x: x.mean(dim=2)),
        ],
        "The mean is taken over everything, numbers included. Take it over the particles, `x.mean(dim=1, "
        "keepdim=True)`.": [
            _linear(pooled=lambda x: x.mean()),
            _linear(pooled=lambda x: x.mean().expand_as(x)),
            lambda x, W, V, b: x @ W.T + (x @ V.T).mean() + b,
        ],
        "W and V are not transposed, and the mean has no axis for the particles: `x @ W.T` and "
        "`x.mean(dim=1, keepdim=True) @ V.T`.": _linear(
            own=lambda x, W: x @ W, pooled=lambda x: x.mean(dim=1), common=lambda mean, V: mean @ V
        ),
        "W and V are swapped: W belongs to the particle itself, V to the mean.": lambda x, W, V, b: (
            equivariant_linear.reference(x, V, W, b)
        ),
        "W and V have to be transposed, they are (H, D): `x @ W.T`, and the same with V.": _linear(
            own=lambda x, W: x @ W, common=lambda mean, V: mean @ V
        ),
        "Both parts use W. The mean is multiplied with V.": lambda x, W, V, b: equivariant_linear.reference(
            x, W, W, b
        ),
        "Both parts use V. The particle itself is multiplied with W.": lambda x, W, V, b: (
            equivariant_linear.reference(x, V, V, b)
        ),
        "`nn.Linear` begins with random weights of its own. Use those that were handed in, `F.linear(x, W, b)`.": (
            lambda x, W, V, b: nn.Linear(*W.T.shape)(x) + nn.Linear(*V.T.shape)(x.mean(dim=1, keepdim=True))
        ),
    }
)


# Section 3: Deep Sets -----------------------------------------------------------------------------------------


def _sets(N, n, D, counts, seed, *, H=4, C=2, scattered=False, padding=0.0, dtype=torch.float32):
    """Jets with so many particles, a mask, and the networks phi and rho; `padding` scales what stands there."""
    mask = _reals(N, n, counts, seed if scattered else None)
    x = normal(N, n, D, seed=seed, dtype=dtype)
    x = torch.where(mask[:, :, None], x, padding * x + 0.0)
    return x, mask, _layers(D, H, seed + 1), _layers(H, C, seed + 5, name="ρ")


@lesson.exercise(
    cases={
        "one jet of two, one row of padding": _sets(1, 3, 1, [2], seed=100, H=2),
        "no padding": _sets(2, 3, 2, [3, 3], seed=110),
        "zeros in the padding": _sets(3, 5, 3, [5, 2, 3], seed=120),
        "numbers in the padding": _sets(2, 4, 3, [1, 3], seed=130, padding=1.0),
        "particles behind padding": _sets(3, 4, 2, [2, 3, 1], seed=140, scattered=True, padding=1.0),
        "all sizes equal": _sets(3, 3, 3, [1, 3, 2], seed=150, H=3, C=3),
        "a jet without particles": _sets(2, 3, 2, [0, 2], seed=160),
        "float64 numbers": _sets(2, 4, 2, [4, 3], seed=170, dtype=torch.float64),
    },
    hints=[
        "φ of a row of zeros is not 0: the mask has to act after φ, not before.",
        "`phi(x)` is (N, n, H), the mask (N, n): `mask.unsqueeze(-1)` is (N, n, 1), and multiplies every number of a "
        "row.",
        "Sum over the particles, axis 1, then ρ: `rho((phi(x) * mask.unsqueeze(-1)).sum(dim=1))`.",
    ],
)
def deep_set(x, mask, phi, rho):
    """Return rho of the sum of phi over the real particles of every jet.

    `x` is (N, n, D), `mask` (N, n) is True for real particles; phi takes (…, D) to (…, H), and rho takes (N, H) to
    (N, C).
    """
    h = phi(x) * mask.unsqueeze(-1)
    return rho(h.sum(dim=1))


def _ends(mask):
    return mask.unsqueeze(-1)


def _deep(
    before=lambda x, mask: x,
    features=lambda x, phi: phi(x),
    after=lambda h, mask: h * _ends(mask),
    pooled=lambda h, mask: h.sum(dim=1),
    read=lambda pooled, rho: rho(pooled),
):
    """A Deep Set, with what can go wrong as arguments."""

    def attempt(x, mask, phi, rho):
        return read(pooled(after(features(before(x, mask), phi), mask), mask), rho)

    return attempt


_MASKED = {
    "The mask acts on x only, and φ of a row of zeros is not 0: every row of padding adds φ(0). Multiply φ(x) with the "
    "mask.": {"before": lambda x, mask: x * _ends(mask), "after": lambda h, mask: h},
    "The mask is not used: what φ makes of the padding is in the sum. Multiply φ(x) with `mask.unsqueeze(-1)`.": {
        "after": lambda h, mask: h
    },
    "The mask is inverted: these are the sums over the padding.": {"after": lambda h, mask: h * ~_ends(mask)},
    "The mask (N, n) meets the last two axes of φ(x), (N, n, H). Give it an axis at the end: "
    "`mask.unsqueeze(-1)`.": {"after": lambda h, mask: h * mask},
    "The mask gets its new axis in the middle, (N, 1, n). It belongs at the end, `mask.unsqueeze(-1)`.": {
        "after": lambda h, mask: h * mask.unsqueeze(1)
    },
    "`phi(x)[mask]` puts the particles of all jets into one list, so their jets are lost. Multiply with the mask, "
    "which keeps (N, n, H).": {"after": lambda h, mask: h[mask], "pooled": lambda h, mask: h.sum(dim=0)},
    "`[mask]` puts the particles of all jets into one list, (number of particles, H), and axis 1 is now the H numbers. "
    "Multiply with the mask instead.": {"after": lambda h, mask: h[mask]},
    "The mask is added. Multiply φ(x) with it: 1 for real particles, 0 for padding.": {
        "after": lambda h, mask: h + _ends(mask)
    },
}
_POOLED = {
    "The mean is taken over all n rows, padding included. Take the sum over the real particles.": {
        "pooled": lambda h, mask: h.mean(dim=1)
    },
    "This is the mean over the real particles. A Deep Set takes their sum here: it knows how many there are.": {
        "pooled": lambda h, mask: h.sum(dim=1) / mask.sum(dim=1, keepdim=True)
    },
    "This is the mean over the real particles, and 0 for a jet without any. A Deep Set takes their sum here: it knows "
    "how many there are.": {
        "pooled": lambda h, mask: h.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    },
    "This is the maximum over the particles. Take the sum, `.sum(dim=1)`.": {
        "pooled": lambda h, mask: h.amax(dim=1)
    },
    "The sum goes over the jets, axis 0. The particles are axis 1.": {"pooled": lambda h, mask: h.sum(dim=0)},
    "The sum goes over the H numbers of a particle, axis 2. The particles are axis 1.": {
        "pooled": lambda h, mask: h.sum(dim=2)
    },
    "The sum goes over everything. Sum over the particles only, `dim=1`.": {
        "pooled": lambda h, mask: h.sum()
    },
    "`keepdim=True` leaves an axis of size 1, (N, 1, C). Leave it out: ρ takes (N, H).": {
        "pooled": lambda h, mask: h.sum(dim=1, keepdim=True)
    },
    "The particles are not summed: ρ gets each of them. Sum over axis 1 first.": {
        "pooled": lambda h, mask: h
    },
}
_READ = {
    "ρ is missing: this is the sum of φ over the particles. Apply `rho` to it.": {
        "read": lambda pooled, rho: pooled
    },
    "There is a softmax at the end. Return what ρ gives.": {
        "read": lambda pooled, rho: rho(pooled).softmax(dim=-1)
    },
    "There is a ReLU between the sum and ρ. Apply ρ to the sum itself.": {
        "read": lambda pooled, rho: rho(pooled.relu())
    },
    "There is a ReLU at the end. Return what ρ gives.": {"read": lambda pooled, rho: rho(pooled).relu()},
}
deep_set.slips(_deep, _MASKED, _POOLED, _READ)
deep_set.mistakes(
    {
        "The mask (N, n) meets the last two axes of φ(x), (N, n, H). Give it an axis at the end: "
        "`mask.unsqueeze(-1)`.": [
            _deep(after=lambda h, mask: h.masked_fill(~mask, 0)),
            _deep(after=lambda h, mask: torch.where(mask, h, 0)),
        ],
        "A boolean mask does not go into a matrix product. Multiply number by number, `phi(x) * mask.unsqueeze(-1)`, "
        "then sum over axis 1.": [
            lambda x, mask, phi, rho: rho(mask @ phi(x)),
            lambda x, mask, phi, rho: rho((mask.unsqueeze(1) @ phi(x)).squeeze(1)),
        ],
        "This is the mean over the real particles, divided along the wrong axis. Take their sum, `.sum(dim=1)`, and do "
        "not divide it.": _deep(pooled=lambda h, mask: h.sum(dim=1) / mask.sum(dim=1)),
        "A list came back. Stack the sums of the jets first, (N, H), then apply ρ.": [
            lambda x, mask, phi, rho: [
                rho(phi(jet[real]).sum(dim=0)) for jet, real in zip(x, mask, strict=True)
            ],
        ],
        "φ is summed over the padding as well, and the mask comes after the sum. Multiply φ(x) with it first.": [
            lambda x, mask, phi, rho: rho(phi(x).sum(dim=1) * mask.sum(dim=1, keepdim=True)),
            lambda x, mask, phi, rho: rho(phi(x).sum(dim=1)) * mask.any(dim=1, keepdim=True),
        ],
        "ρ acts on every particle before the sum. First the sum over the particles, then ρ.": [
            lambda x, mask, phi, rho: torch.stack(
                [rho(phi(jet[real])).mean(dim=0) for jet, real in zip(x, mask, strict=True)]
            ),
            lambda x, mask, phi, rho: rho(phi(x)[mask]),
            lambda x, mask, phi, rho: (rho(phi(x)) * _ends(mask)).sum(dim=1),
            lambda x, mask, phi, rho: rho(phi(x) * _ends(mask)).sum(dim=1),
            lambda x, mask, phi, rho: rho(phi(x)).sum(dim=1),
        ],
        "The particles are summed before φ. φ acts on every particle by itself, and then comes the sum.": [
            lambda x, mask, phi, rho: rho(phi((x * _ends(mask)).sum(dim=1))),
            lambda x, mask, phi, rho: rho(phi(x.sum(dim=1))),
        ],
        "The mask acts on x only, and the maximum is taken. Multiply φ(x) with the mask, and sum over axis 1.": _deep(
            before=lambda x, mask: x * _ends(mask),
            after=lambda h, mask: h,
            pooled=lambda h, mask: h.amax(dim=1),
        ),
        "The mask acts on x only, and the mean is taken. Multiply φ(x) with the mask, and sum over axis 1.": [
            _deep(
                before=lambda x, mask: x * _ends(mask),
                after=lambda h, mask: h,
                pooled=lambda h, mask: h.mean(dim=1),
            ),
        ],
        "The mask is not used, and the mean is taken. Multiply φ(x) with the mask, and sum over axis 1.": _deep(
            after=lambda h, mask: h, pooled=lambda h, mask: h.mean(dim=1)
        ),
        "The mask is not used, and the maximum is taken. Multiply φ(x) with the mask, and sum over axis 1.": _deep(
            after=lambda h, mask: h, pooled=lambda h, mask: h.amax(dim=1)
        ),
        "ρ is applied to the maximum over the real particles. Take their sum, `.sum(dim=1)`.": _deep(
            after=lambda h, mask: h.masked_fill(~_ends(mask), -torch.inf),
            pooled=lambda h, mask: h.amax(dim=1),
        ),
        "`-inf` is for the maximum; in a sum it swallows everything. Fill the padding with 0, or multiply with the "
        "mask.": _deep(after=lambda h, mask: h.masked_fill(~_ends(mask), -torch.inf)),
        "φ is missing: the particles themselves are summed. Apply `phi` to each first.": [
            lambda x, mask, phi, rho: rho((x * _ends(mask)).sum(dim=1)),
        ],
        "φ and ρ are swapped: φ acts on the particles, ρ on the sum.": [
            lambda x, mask, phi, rho: phi((rho(x) * _ends(mask)).sum(dim=1)),
        ],
    }
)


# Section 4: a second symmetry ---------------------------------------------------------------------------------


def _jets(N, n, counts, seed, *, padding=0.0, dtype=torch.float32):
    """Weights z (N, n), 0 for padding, and directions (N, n, 2) of long and narrow jets, off the centre."""
    mask = _reals(N, n, counts)
    z = 0.1 + torch.rand(N, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    tilt = 0.5 * normal(N, 2, 2, seed=seed + 1) + torch.tensor([[1.5, 0.8], [-0.3, 0.5]])
    direction = normal(N, n, 2, seed=seed + 2) @ tilt + torch.tensor([0.3, -0.4])
    direction = torch.where(mask[:, :, None], direction, padding * direction + 0.0)
    return (0.3 * z * mask).to(dtype), direction.to(dtype)


def _up_to_signs(attempt, z, direction):
    """The turned directions, with each axis the way in which its largest entry is positive."""
    turned = attempt(z, direction)
    if not isinstance(turned, Tensor) or turned.shape != direction.shape or not turned.isfinite().all():
        return turned
    largest = turned.gather(1, turned.abs().argmax(dim=1, keepdim=True))
    return turned * torch.where(largest < 0, -1.0, 1.0).to(turned.dtype)


@lesson.exercise(
    cases={
        "one jet of three": (
            torch.tensor([[0.5, 0.25, 0.25]]),
            torch.tensor([[[0.0, 0.0], [1.0, 1.0], [3.0, 2.0]]]),
        ),
        "no padding": _jets(2, 4, [4, 4], seed=400),
        "zeros in the padding": _jets(3, 6, [4, 6, 3], seed=410),
        "numbers in the padding": _jets(2, 5, [3, 4], seed=420, padding=1.0),
        "as many jets as particles": _jets(4, 4, [4, 3, 4, 3], seed=430),
        "two jets, two particles": _jets(2, 2, [2, 2], seed=440),
        "one hard particle": (
            torch.tensor([[0.9, 0.02, 0.02, 0.02]]),
            torch.tensor([[[0.1, 0.2], [0.5, -0.4], [-0.2, 0.9], [0.3, 0.4]]]),
        ),
        "float64 numbers": _jets(2, 5, [5, 3], seed=450, dtype=torch.float64),
    },
    hints=[
        "The weights of a jet do not add up to 1, so the weighted mean is `(z[..., None] * direction).sum(1) / "
        "z.sum(1)`, with the axes kept.",
        "The covariance is `(weight * direction).transpose(1, 2) @ direction`, (N, 2, 2), of the centred directions.",
        "`torch.linalg.eigh` gives the eigenvalues in ascending order, and the eigenvectors as columns: "
        "`direction @ axes.flip(-1)`.",
    ],
    observe=_up_to_signs,
)
def turn_to_axes(z, direction):
    """Return the directions (N, n, 2) of the particles, each jet centred and turned onto its principal axes.

    `direction` is (N, n, 2), `z` (N, n) the weights, 0 for padding. Subtract the weighted mean, set padding to 0, and
    express what is left in the eigenvectors of the weighted covariance, largest eigenvalue first.
    """
    weight = (z / z.sum(dim=1, keepdim=True)).unsqueeze(-1)  # (N, n, 1)
    mean = (weight * direction).sum(dim=1, keepdim=True)  # (N, 1, 2)
    direction = (direction - mean) * (z > 0).unsqueeze(-1)
    covariance = (weight * direction).transpose(1, 2) @ direction  # (N, 2, 2)
    _, axes = torch.linalg.eigh(covariance)  # ascending; the eigenvectors are columns
    return direction @ axes.flip(-1)


def _column(z):
    return z.unsqueeze(-1)


def _turned(
    mean=lambda z, d: (_column(z) * d).sum(dim=1, keepdim=True) / _column(z).sum(dim=1, keepdim=True),
    cleared=lambda centred, z: centred * _column(z > 0),
    covariance=lambda z, d: (_column(z) * d).transpose(1, 2) @ d,
    axes=lambda C: torch.linalg.eigh(C)[1].flip(-1),
    turn=lambda d, axes: d @ axes,
):
    """Centring and turning, with what can go wrong as arguments."""

    def attempt(z, direction):
        direction = cleared(direction - mean(z, direction), z)
        return turn(direction, axes(covariance(z, direction)))

    return attempt


def _real_count(z):
    return (z > 0).sum(dim=1)[:, None, None]


turn_to_axes.slips(
    _turned,
    {
        "The jets are not centred. Subtract the weighted mean of the directions first.": {
            "mean": lambda z, d: 0
        },
        "The mean is that of all n rows, without weights. Weight each particle with its z.": {
            "mean": lambda z, d: d.mean(dim=1, keepdim=True)
        },
        "The mean is that of the real particles, without weights. Weight each particle with its z.": {
            "mean": lambda z, d: (d * _column(z > 0)).sum(dim=1, keepdim=True) / _real_count(z)
        },
        "The weighted sum is not divided by the sum of the weights, which is not 1. Divide by "
        "`z.sum(dim=1)`.": {"mean": lambda z, d: (_column(z) * d).sum(dim=1, keepdim=True)},
        "The weighted mean is divided by the number of rows. Divide by the sum of the weights, "
        "`z.sum(dim=1)[:, None, None]`.": {"mean": lambda z, d: (_column(z) * d).mean(dim=1, keepdim=True)},
        "The mean goes over all jets together. Each jet has a mean of its own, over its particles, axis 1.": {
            "mean": lambda z, d: (_column(z) * d).sum(dim=(0, 1)) / z.sum()
        },
        "The mean goes over the jets, axis 0. Take it over the particles, axis 1.": {
            "mean": lambda z, d: (_column(z) * d).sum(dim=0) / _column(z).sum(dim=0)
        },
        "The hardest particle is moved to the origin. Subtract the weighted mean.": {
            "mean": lambda z, d: d[:, :1]
        },
        "Rows of padding have to be 0 in the result, and centring has moved them. Set them to 0 afterwards, `* (z > "
        "0).unsqueeze(-1)`.": {"cleared": lambda centred, z: centred},
        "The directions are multiplied with z. z weights the mean and the covariance, the directions stay as they "
        "are.": {"cleared": lambda centred, z: centred * _column(z)},
        "The covariance is not weighted. Each particle enters with its z: `(weight * direction).transpose(1, 2) @ "
        "direction`.": {"covariance": lambda z, d: d.transpose(1, 2) @ d},
        "The weight is squared in the covariance: z stands on both sides. Put it on one.": {
            "covariance": lambda z, d: (_column(z) * d).transpose(1, 2) @ (_column(z) * d)
        },
        "This is the covariance of all jets together, so all are turned alike. Each jet has its own, (N, 2, 2).": {
            "covariance": lambda z, d: ((_column(z) * d).transpose(1, 2) @ d).sum(dim=0, keepdim=True)
        },
        "The smallest eigenvalue comes first: `eigh` sorts them in ascending order. Reverse them, "
        "`axes.flip(-1)`.": {"axes": lambda C: torch.linalg.eigh(C)[1]},
        "The rows of the matrix are taken for the eigenvectors. They are its columns: flip the last axis and do not "
        "transpose, `direction @ axes.flip(-1)`.": {"axes": lambda C: torch.linalg.eigh(C)[1].flip(1)},
        "The rows of the matrix are taken for the eigenvectors, and the smallest eigenvalue comes first. They are its "
        "columns, in ascending order: `direction @ axes.flip(-1)`.": {
            "axes": lambda C: torch.linalg.eigh(C)[1].flip(1, 2)
        },
        "`flip(0)` swaps the jets. The eigenvectors are the columns of each matrix: `axes.flip(-1)`.": {
            "axes": lambda C: torch.linalg.eigh(C)[1].flip(0)
        },
        "`eigh` returns eigenvalues first, eigenvectors second. Multiply with the eigenvectors.": {
            "axes": lambda C: torch.diag_embed(torch.linalg.eigh(C)[0].flip(-1))
        },
        "The jets are centred, but not turned. Multiply with the eigenvectors of the covariance.": {
            "turn": lambda d, axes: d
        },
        "Only the first axis is here. Return both components, (N, n, 2).": {
            "turn": lambda d, axes: (d @ axes)[..., 0]
        },
        "The directions are divided by their spread along each axis. Only turn them.": {
            "axes": lambda C: (
                torch.linalg.eigh(C)[1].flip(-1)
                / torch.linalg.eigh(C)[0].flip(-1).clamp(min=1e-12).sqrt().unsqueeze(1)
            )
        },
        "The directions are multiplied with the covariance itself. Multiply with its eigenvectors.": {
            "axes": _same
        },
    },
)
turn_to_axes.mistakes(
    {
        "z is divided by the sum over all jets. Each jet has its own, `z.sum(dim=1, keepdim=True)`.": [
            _turned(mean=lambda z, d: (_column(z / z.sum()) * d).sum(dim=1, keepdim=True)),
        ],
        "z is divided by the sum over the jets, axis 0. Divide by that over the particles, `z.sum(dim=1, "
        "keepdim=True)`.": [
            _turned(mean=lambda z, d: (_column(z / z.sum(dim=0)) * d).sum(dim=1, keepdim=True)),
        ],
        "Without `keepdim=True` the sum of the weights is (N,), and meets the wrong axis. Keep the axis: `z.sum(dim=1, "
        "keepdim=True)`.": [
            _turned(mean=lambda z, d: (_column(z / z.sum(dim=1)) * d).sum(dim=1, keepdim=True)),
        ],
        "The eigenvectors came back. Multiply the directions with them: `direction @ axes`.": [
            _turned(turn=lambda d, axes: axes),
        ],
        "These are the directions as they came. Subtract the weighted mean, then multiply with the eigenvectors of the "
        "covariance.": lambda z, direction: direction,
        "Without `keepdim=True` the mean is (N, 2), and its rows meet the wrong axis. Keep the axis of the particles, "
        "(N, 1, 2).": [
            _turned(mean=lambda z, d: (_column(z) * d).sum(dim=1) / z.sum(dim=1, keepdim=True)),
            _turned(mean=lambda z, d: (_column(z) * d).sum(dim=1) / z.sum(dim=1)),
            _turned(
                mean=lambda z, d: (_column(z) * d).sum(dim=1) / z.sum(dim=1, keepdim=True),
                cleared=lambda centred, z: centred,
            ),
            _turned(
                mean=lambda z, d: (_column(z) * d).sum(dim=1) / z.sum(dim=1),
                cleared=lambda centred, z: centred,
            ),
        ],
        "The weights are used neither in the mean nor in the covariance. Weight each particle with its z.": [
            _turned(
                mean=lambda z, d: d.mean(dim=1, keepdim=True), covariance=lambda z, d: d.transpose(1, 2) @ d
            ),
            _turned(
                mean=lambda z, d: d.mean(dim=1, keepdim=True),
                cleared=lambda centred, z: centred,
                covariance=lambda z, d: d.transpose(1, 2) @ d,
            ),
            _turned(
                mean=lambda z, d: (d * _column(z > 0)).sum(dim=1, keepdim=True) / _real_count(z),
                covariance=lambda z, d: d.transpose(1, 2) @ d,
            ),
        ],
        "The weighted sum is not divided by the sum of the weights, and padding is moved along. Divide by "
        "`z.sum(dim=1)`, and set padding to 0 after centring.": _turned(
            mean=lambda z, d: (_column(z) * d).sum(dim=1, keepdim=True), cleared=lambda centred, z: centred
        ),
        "Padding was moved along with the particles, and the smallest eigenvalue comes first. Set padding to 0 after "
        "centring, and flip the axes: `axes.flip(-1)`.": _turned(
            cleared=lambda centred, z: centred, axes=lambda C: torch.linalg.eigh(C)[1]
        ),
        "`eig` is for any matrix and gives complex numbers, in no order. The covariance is symmetric: "
        "`torch.linalg.eigh`.": [
            _turned(axes=lambda C: torch.linalg.eig(C)[1]),
            _turned(axes=lambda C: torch.linalg.eig(C)[1].flip(-1)),
        ],
        "This product pairs particles, (n, n). The covariance is (2, 2): `(weight * direction).transpose(1, 2) @ "
        "direction`.": _turned(covariance=lambda z, d: d @ (_column(z) * d).transpose(1, 2)),
        "`flip(1)` after the turn reverses the particles. The two components stand on the last axis: "
        "`.flip(-1)`.": _turned(
            axes=lambda C: torch.linalg.eigh(C)[1], turn=lambda d, axes: (d @ axes).flip(1)
        ),
        "`torch.cov` takes one table, not a batch, and no z for each jet. Write the covariance as a product: "
        "`(weight * direction).transpose(1, 2) @ direction`.": _turned(covariance=lambda z, d: torch.cov(d)),
        "The weighted mean is subtracted before the turn, but the padding is set to 0 only after it, and counts in the "
        "covariance. Its weight is 0: use z there.": _turned(
            cleared=lambda centred, z: centred, covariance=lambda z, d: d.transpose(1, 2) @ d
        ),
        "The covariance is taken before the directions are centred. Subtract the weighted mean first.": (
            lambda z, direction: (
                _turned(turn=lambda d, axes: d)(z, direction)
                @ torch.linalg.eigh((_column(z) * direction).transpose(1, 2) @ direction)[1].flip(-1)
            )
        ),
        "The directions are turned, but as they were before the mean was subtracted. Turn the centred ones.": (
            lambda z, direction: (
                direction
                * _column(z > 0)
                @ torch.linalg.eigh(
                    (lambda d: (_column(z) * d).transpose(1, 2) @ d)(
                        _turned(turn=lambda d, axes: d)(z, direction)
                    )
                )[1].flip(-1)
            )
        ),
        "`z` is (N, n), the directions (N, n, 2). Give z an axis at the end: `z.unsqueeze(-1)`.": [
            _turned(mean=lambda z, d: (z * d).sum(dim=1, keepdim=True) / z.sum(dim=1, keepdim=True)),
            lambda z, direction: direction - (z * direction).sum(dim=1, keepdim=True),
        ],
    }
)


# Section 5: graphs --------------------------------------------------------------------------------------------


def _graph(n, F_, pairs, seed, dtype=torch.float32):
    """Rows for the nodes, and a list of edges."""
    return normal(n, F_, seed=seed, dtype=dtype), torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


_PAPER = [[0, 1], [1, 2], [1, 3], [2, 3]]


@lesson.exercise(
    cases={
        "two nodes, one edge": (torch.tensor([[1.0], [2.0]]), torch.tensor([[0, 1]])),
        "the graph on paper": (torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor(_PAPER)),
        "a star": _graph(4, 2, [[0, 1], [2, 0], [0, 3]], seed=200),
        "a ring": _graph(5, 3, [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]], seed=210),
        "nodes without edges": _graph(6, 2, [[4, 1], [1, 5], [5, 4], [4, 2]], seed=220),
        "as many edges as nodes and numbers": _graph(3, 3, [[2, 0], [0, 1], [2, 1]], seed=230),
        "no edges": _graph(3, 2, [], seed=240),
    },
    hints=[
        "Every edge carries two messages, one each way. Which row goes where?",
        "Put the edges and the same edges reversed below each other, `torch.cat([edges, edges.flip(1)])`: then column "
        "0 is where a message comes from, column 1 where it goes.",
        "`torch.zeros_like(h).index_add(0, target, h[source])` adds all messages, however many arrive at a node.",
    ],
)
def messages(h, edges):
    """Return (n, F): for every node the sum of its neighbours' rows of h (n, F).

    `edges` (E, 2) int64 lists every edge of an undirected graph once, as a pair of nodes.
    """
    source, target = torch.cat([edges, edges.flip(1)]).T  # every edge in both directions
    return torch.zeros_like(h).index_add(0, target, h[source])


def _passed(
    directed=lambda edges: torch.cat([edges, edges.flip(1)]),
    collect=lambda h, source, target: torch.zeros_like(h).index_add(0, target, h[source]),
    result=lambda received, h, edges: received,
):
    """Message passing, with what can go wrong as arguments."""

    def attempt(h, edges):
        source, target = directed(edges).T
        return result(collect(h, source, target), h, edges)

    return attempt


def _adding_in_one_line(h, source, target):
    out = torch.zeros_like(h)
    out[target] += h[source]
    return out


def _degrees(h, edges):
    return torch.zeros(len(h), 1, dtype=h.dtype).index_add(
        0, edges.flatten(), torch.ones(edges.numel(), 1, dtype=h.dtype)
    )


def _two_lines(h, edges):
    out = torch.zeros_like(h)
    source, target = edges.T
    out[target] += h[source]
    out[source] += h[target]
    return out


def _adjacent(edges, n):
    A = torch.zeros(n, n)
    for i, j in edges.tolist():
        A[i, j] = A[j, i] = 1
    return A


messages.slips(
    _passed,
    {
        "Every edge is used in one direction only, from its first node to its second. A message goes back as well: add "
        "the reversed edges, `edges.flip(1)`.": {"directed": _same},
        "Every edge is used in one direction only, from its second node to its first. A message goes the other way as "
        "well.": {"directed": lambda edges: edges.flip(1)},
        "Every message arrives twice: the list holds every edge once, and each of its two directions is one message.": {
            "directed": lambda edges: torch.cat([edges, edges.flip(1)] * 2)
        },
        "`edges.flip(0)` turns the list around, not the edges, so each goes one way and twice. Swap the columns: "
        "`edges.flip(1)`.": {"directed": lambda edges: torch.cat([edges, edges.flip(0)])},
        "Only one message is kept at each node, since `out[target] += h[source]` overwrites the others. Use "
        "`index_add`, or `out[i] += h[j]` in a loop over the edges.": {"collect": _adding_in_one_line},
        "Every node gets its own row back, once for every neighbour: `h[target]` instead of `h[source]`.": {
            "collect": lambda h, source, target: torch.zeros_like(h).index_add(0, target, h[target])
        },
        "The node's own row is added. Sum over the neighbours only: begin with zeros, not with h.": {
            "result": lambda received, h, edges: received + h
        },
        "This is the mean of the neighbours' rows, and nan for a node without any. Return their sum.": {
            "result": lambda received, h, edges: received / _degrees(h, edges)
        },
        "This is the mean of the neighbours' rows. Return their sum.": {
            "result": lambda received, h, edges: received / _degrees(h, edges).clamp(min=1)
        },
        "This is the maximum of the neighbours' rows, where they are above 0. Return their sum.": {
            "collect": lambda h, source, target: torch.zeros_like(h).index_reduce(
                0, target, h[source], "amax"
            )
        },
        "This is the maximum of the neighbours' rows. Return their sum.": {
            "collect": lambda h, source, target: torch.zeros_like(h).index_reduce(
                0, target, h[source], "amax", include_self=False
            )
        },
        "The differences to the node's own row are summed. Sum the neighbours' rows as they are.": {
            "result": lambda received, h, edges: received - _degrees(h, edges) * h
        },
        "This is the number of neighbours of each node. Sum their rows of h.": {
            "result": lambda received, h, edges: _degrees(h, edges).expand_as(h)
        },
        "These are the numbers of neighbours, (n,). Sum their rows of h, (n, F).": {
            "result": lambda received, h, edges: _degrees(h, edges)[:, 0]
        },
        "Only neighbours of neighbours count here: two rounds of messages. One is enough.": {
            "result": lambda received, h, edges: messages.reference(received, edges)
        },
        "The sum of each row is returned, (n,). Keep its F numbers.": {
            "result": lambda received, h, edges: received.sum(dim=1)
        },
        "This is the sum over all nodes, (F,). Every node has a row of its own.": {
            "result": lambda received, h, edges: received.sum(dim=0)
        },
    },
)
messages.mistakes(
    {
        "`index_add` makes a new tensor and leaves the old one as it is. Assign what it makes, `out = "
        "out.index_add(…)`, or call `index_add_`.": lambda h, edges: torch.zeros_like(h),
        "`cat` along axis 1 makes rows of four nodes. Put the reversed edges below the others: along axis 0.": [
            lambda h, edges: _unpacked(h, torch.cat([edges, edges.flip(1)], dim=1).T),
        ],
        "What a node has received is sent on. Send the rows of h, not those of `out`.": [
            lambda h, edges: _sent_on(torch.zeros_like(h), h, edges),
        ],
        "This is a row for each edge, (E, F). Add the messages at the nodes where they arrive, (n, F).": [
            lambda h, edges: h[edges[:, 0]] + h[edges[:, 1]],
        ],
        "Only one message is kept at each node, since `out[target] += h[source]` overwrites the others. Use "
        "`index_add`, or `out[i] += h[j]` in a loop over the edges.": [
            lambda h, edges: _edge_by_edge(torch.zeros_like(h), h, edges, plus=False),
            _passed(collect=lambda h, source, target: torch.zeros_like(h).index_put((target,), h[source])),
        ],
        "`out = h` is no copy, so h changes while it is still needed. Begin with `torch.zeros_like(h)`.": [
            lambda h, edges: (lambda out: _edge_by_edge(out, out, edges))(h.clone()),
        ],
        "These zeros are (n,), and a row of h has F numbers: `torch.zeros_like(h)`.": [
            lambda h, edges: _edge_by_edge(torch.zeros(len(h)), h, edges),
        ],
        "`A[edges] = 1` fills whole rows. One entry for each edge takes both columns: `A[edges[:, 0], edges[:, 1]] = "
        "1`, and the same with i and j swapped.": [
            lambda h, edges: torch.zeros(len(h), len(h)).to(h).index_fill(0, edges.flatten(), 1.0) @ h,
        ],
        "The number of nodes is taken from the edges, but some nodes may have none. It is `len(h)`.": [
            lambda h, edges: (_adjacent(edges, int(edges.max()) + 1).to(h)) @ h,
            lambda h, edges: (_adjacent(edges, edges.max() + 1).to(h)) @ h,
            lambda h, edges: (_adjacent(edges, int(edges.max()) + 1).to(h)) @ h[: int(edges.max()) + 1],
        ],
        "`scatter_add` takes an index for every number, and here only the first column has one: "
        "`target[:, None].expand(-1, F)`. `index_add(0, target, …)` takes it as it is.": [
            _passed(
                collect=lambda h, source, target: torch.zeros_like(h).scatter_add(
                    0, target[:, None], h[source]
                )
            ),
        ],
        "`out[target] += h[source]` adds only one message to each node in each direction. Use `index_add`, or a loop "
        "over the edges.": _two_lines,
        "These are the messages, one for each end of an edge. Add them at the nodes where they arrive: "
        "`index_add(0, target, …)`.": [
            lambda h, edges: h[torch.cat([edges, edges.flip(1)]).T[0]],
            lambda h, edges: h[edges],
            lambda h, edges: h[edges[:, 1]],
        ],
        "`edges` is (E, 2): its rows are the edges, and unpacking it gives those. The two columns are "
        "`edges.T`.": [
            lambda h, edges: _unpacked(h, edges),
            lambda h, edges: _with_rows(h, edges[0], edges[1]),
        ],
        "Only two edges are used: `edges[0]` and `edges[1]` are the first two edges. The columns are `edges[:, 0]` and "
        "`edges[:, 1]`.": lambda h, edges: (
            torch.zeros_like(h).index_add(0, edges[1], h[edges[0]]).index_add(0, edges[0], h[edges[1]])
        ),
        "The adjacency matrix and h are multiplied number by number. The sum over neighbours is a matrix product, "
        "`A @ h`.": lambda h, edges: _adjacent(edges, len(h)).to(h) * h,
        "This is the adjacency matrix. Multiply it with h, `A @ h`.": lambda h, edges: _adjacent(
            edges, len(h)
        ).to(h),
    }
)


def _unpacked(h, edges):
    source, target = edges
    return torch.zeros_like(h).index_add(0, target, h[source])


def _edge_by_edge(out, h, edges, *, plus=True):
    for i, j in edges.tolist():
        for one, other in ((i, j), (j, i)):
            if plus:
                out[one] += h[other]
            else:
                out[one] = h[other]
    return out


def _sent_on(out, h, edges):
    for i, j in edges.tolist():
        out[i] += h[j]
        out[j] += out[i]
    return out


def _with_rows(h, source, target):
    return torch.zeros_like(h).index_add(0, target, h[source]).index_add(0, source, h[target])


def _adjacency(n, pairs, dtype=torch.float32):
    A = torch.zeros(n, n, dtype=dtype)
    for i, j in pairs:
        A[i, j] = A[j, i] = 1
    return A


@lesson.exercise(
    cases={
        "two nodes, one edge": (_adjacency(2, [[0, 1]]),),
        "the graph on paper": (_adjacency(4, _PAPER),),
        "a path": (_adjacency(3, [[0, 1], [1, 2]]),),
        "a ring": (_adjacency(5, [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]),),
        "a star": (_adjacency(5, [[0, 1], [0, 2], [0, 3], [0, 4]]),),
        "a node without edges": (_adjacency(4, [[0, 1], [1, 2]]),),
        "edges with weights": (torch.tensor([[0.0, 0.5, 2.0], [0.5, 0.0, 0.0], [2.0, 0.0, 0.0]]),),
        "float64 numbers": (_adjacency(4, _PAPER, torch.float64),),
    },
    hints=[
        "First A + I, then its row sums: with its loop, every node has a degree of at least 1.",
        "D is diagonal, so D^(-1/2) M D^(-1/2) multiplies row i and column j of M with 1/√d_i and 1/√d_j.",
        "With `scale = A.sum(dim=1) ** -0.5` of A + I, the product is `scale[:, None] * A * scale`.",
    ],
)
def gcn_matrix(A):
    """Return D^(-1/2) (A + I) D^(-1/2) for the adjacency matrix A (n, n) of a graph; D holds the row sums of A + I."""
    A = A + torch.eye(len(A)).to(A)
    scale = A.sum(dim=1) ** -0.5
    return scale[:, None] * A * scale


def _normalized(
    loops=lambda A: A + torch.eye(len(A)).to(A),
    degrees=lambda A, looped: looped.sum(dim=1),
    scale=lambda degrees: degrees**-0.5,
    product=lambda scale, M: scale[:, None] * M * scale,
    result=_same,
):
    """The matrix of a GCN, with what can go wrong as arguments."""

    def attempt(A):
        looped = loops(A)
        return result(product(scale(degrees(A, looped)), looped))

    return attempt


_LOOPS_AND_DEGREES = {
    "I is missing: every node takes part in its own sum. Add `torch.eye(len(A))` to A first.": {
        "loops": _same
    },
    "I is subtracted. Add it: every node takes part in its own sum.": {
        "loops": lambda A: A - torch.eye(len(A)).to(A)
    },
    "I is added twice. Once is enough: A + I.": {"loops": lambda A: A + 2 * torch.eye(len(A)).to(A)},
    "The degrees are those of A, without the loops, and a node without edges gives 1/0. D holds the row sums of "
    "A + I.": {"degrees": lambda A, looped: A.sum(dim=1)},
    "The degrees are those of A, without the loops. D holds the row sums of A + I.": {
        "degrees": lambda A, looped: A.sum(dim=1).clamp(min=1)
    },
    "The degrees count the entries that are not 0. D holds the row sums, in which the weights of the edges "
    "count.": {"degrees": lambda A, looped: (looped != 0).sum(dim=1)},
    "The entries of A + I are all added up. D holds the sum of each row, `.sum(dim=1)`.": {
        "degrees": lambda A, looped: looped.sum().expand(len(A))
    },
    "The degrees are one too large: the loop is in the row sums of A + I already.": {
        "degrees": lambda A, looped: looped.sum(dim=1) + 1
    },
    "`A + 1` adds 1 to every entry and joins all nodes. Add the identity matrix, `torch.eye(len(A))`.": {
        "loops": lambda A: A + 1
    },
    "The norms of the rows are taken. D holds their sums.": {"degrees": lambda A, looped: looped.norm(dim=1)},
}
_SCALED = {
    "This is the mean over the rows, D^(-1) (A + I). Both sides take D^(-1/2): rows and columns.": {
        "product": lambda scale, M: scale[:, None] ** 2 * M
    },
    "The columns are divided by their degree, (A + I) D^(-1). Both sides take D^(-1/2): rows and columns.": {
        "product": lambda scale, M: M * scale**2
    },
    "D^(-1/2) is only on the left. The columns are scaled as well: `scale[:, None] * A * scale`.": {
        "product": lambda scale, M: scale[:, None] * M
    },
    "D^(-1/2) is only on the right. The rows are scaled as well: `scale[:, None] * A * scale`.": {
        "product": lambda scale, M: M * scale
    },
    "This is the product with √d. The exponent is −1/2: divide by the roots of the degrees.": {
        "scale": lambda degrees: degrees**0.5
    },
    "The root is missing: both sides take 1/√d, not 1/d.": {"scale": lambda degrees: 1 / degrees},
    "The root is missing, and the matrix is multiplied with the degrees. Both sides take 1/√d.": {
        "scale": lambda degrees: degrees
    },
    "The exponent is −1/2, not −2.": {"scale": lambda degrees: degrees**-2.0},
    "The rows and columns are not scaled: this is A + I. Multiply with D^(-1/2) on both sides.": {
        "product": lambda scale, M: M
    },
    "`scale` is a vector, and `scale @ M @ scale` is a number. Put it on a diagonal, `torch.diag(scale)`.": {
        "product": lambda scale, M: scale @ M @ scale
    },
    "`scale @ M` sums over the rows, and the result is a vector. Put it on a diagonal, `torch.diag(scale)`.": {
        "product": lambda scale, M: scale @ M * scale
    },
    "With D as a matrix, `D ** -0.5` makes inf of its zeros, and inf or nan of the product. Take the power of the "
    "degrees first, then `torch.diag`.": {
        "product": lambda scale, M: torch.diag(scale**-2) ** -0.5 @ M @ torch.diag(scale**-2) ** -0.5
    },
    "`*` multiplies number by number, and D is 0 off its diagonal. Matrix products are written `@`.": {
        "product": lambda scale, M: torch.diag(scale) * M * torch.diag(scale)
    },
    "This is D^(-1/2), as a matrix. Multiply it with A + I from both sides.": {
        "product": lambda scale, M: torch.diag(scale)
    },
}
_MADE = {
    "That is the Laplacian, I minus the matrix. Return D^(-1/2) (A + I) D^(-1/2) itself.": {
        "result": lambda S: torch.eye(len(S)).to(S) - S
    },
    "I is added at the end. It is added to A first, before the degrees are taken.": {
        "result": lambda S: S + torch.eye(len(S)).to(S)
    },
}
gcn_matrix.slips(_normalized, _LOOPS_AND_DEGREES, _SCALED, _MADE)
gcn_matrix.pairs_of_slips(
    _normalized,
    {
        "The degrees are those of A, without the loops.": {"degrees": lambda A, looped: A.sum(dim=1)},
        "I is missing.": {"loops": _same},
    },
    {
        "This is the mean over the rows: both sides take D^(-1/2).": {
            "product": lambda scale, M: scale[:, None] ** 2 * M
        },
        "D^(-1/2) is on the left only.": {"product": lambda scale, M: scale[:, None] * M},
        "The root is missing: both sides take 1/√d.": {"scale": lambda degrees: 1 / degrees},
        "The degrees multiply: divide by their roots instead.": {"scale": lambda degrees: degrees},
        "The degrees' roots multiply: divide by them instead.": {"scale": lambda degrees: degrees**0.5},
    },
)
gcn_matrix.mistakes(
    {
        "`d ** -1/2` is (1/d) / 2: the power comes first. Put the exponent in brackets, `d ** (-1/2)`, or write "
        "`d ** -0.5`.": [
            _normalized(scale=lambda degrees: degrees**-1 / 2),
            _normalized(scale=lambda degrees: degrees**-1 / 2, degrees=lambda A, looped: looped.sum(dim=1)),
        ],
        "The degrees are added under the root. Rows and columns are divided by √d_i and √d_j: "
        "multiply them.": lambda A: (lambda M: M / (M.sum(dim=1)[:, None] + M.sum(dim=1)).sqrt())(
            A + torch.eye(len(A)).to(A)
        ),
        "`scale` is a column (n, 1), and `@` sums over it. Multiply row by row and column by column: `scale * A * "
        "scale.T`.": _normalized(product=lambda scale, M: scale[:, None] @ M @ scale[None]),
        "`A.sum()` adds up all entries. D holds the sum of each row, `A.sum(dim=1)`.": [
            lambda A: torch.diag((A + torch.eye(len(A)).to(A)).sum() ** -0.5) @ A,
        ],
        "I is added at the end, to D^(-1/2) A D^(-1/2). Add it to A first, so that D and the product both have it.": [
            _normalized(
                loops=_same,
                scale=lambda degrees: degrees.clamp(min=1) ** -0.5,
                result=lambda S: S + torch.eye(len(S)).to(S),
            ),
            _normalized(loops=_same, result=lambda S: S + torch.eye(len(S)).to(S)),
            _normalized(
                loops=_same,
                degrees=lambda A, looped: A.sum(dim=1) + 1,
                result=lambda S: S + torch.eye(len(S)).to(S),
            ),
        ],
        "I is in the degrees, but not in the matrix between: D^(-1/2) (A + I) D^(-1/2).": _normalized(
            loops=_same, degrees=lambda A, looped: A.sum(dim=1) + 1
        ),
        "I is missing, and degrees of 0 are left alone. Add `torch.eye(len(A))` to A first.": _normalized(
            loops=_same, scale=lambda degrees: degrees.clamp(min=1) ** -0.5
        ),
        "`torch.eye` is float32, A may be float64: `torch.eye(len(A), dtype=A.dtype)`.": lambda A: (
            lambda M: torch.diag(M.sum(dim=1) ** -0.5).float() @ M @ torch.diag(M.sum(dim=1) ** -0.5).float()
        )(A + torch.eye(len(A))),
    }
)


# Section 6: without padding -----------------------------------------------------------------------------------


def _list(F_, jets, count, seed, dtype=torch.float32):
    return normal(len(jets), F_, seed=seed, dtype=dtype), torch.tensor(jets, dtype=torch.int64), count


@lesson.exercise(
    cases={
        "three particles, two jets": (torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0, 1, 0]), 2),
        "jets in order": _list(3, [0, 0, 0, 1, 2, 2], 3, seed=300),
        "jets mixed": _list(2, [2, 0, 1, 0, 2, 2, 1], 3, seed=310),
        "a jet without particles": _list(2, [0, 2, 2, 3, 0], 4, seed=320),
        "the last jets without particles": _list(3, [1, 0, 1, 1], 4, seed=330),
        "the first jet without particles": _list(2, [2, 1, 2], 3, seed=340),
        "all sizes equal": _list(3, [1, 1, 2], 3, seed=350),
        "a single jet": _list(2, [0, 0, 0, 0], 1, seed=360),
    },
    hints=[
        "Begin with zeros (count, F). Each particle adds its row to that of its jet.",
        "Several particles belong to one jet, so `out[jet] += h` is not enough: it keeps only one. A loop over the "
        "particles is right.",
        "`h.new_zeros(count, h.shape[1]).index_add(0, jet, h)` does the same without a loop.",
    ],
)
def pool_by_jet(h, jet, count):
    """Return (count, F): for every jet the sum of its particles' rows of h (P, F).

    `jet` (P,) int64 says to which of the `count` jets a particle belongs; a jet may have none.
    """
    return h.new_zeros(count, h.shape[1]).index_add(0, jet, h)


def _into(h, jet, count, how):
    out = h.new_zeros(count, h.shape[1])
    how(out)
    return out


def _gathered(h, jet, count, of_rows):
    """For every jet that has particles a number for each column, else 0."""
    rows = [h[jet == one] for one in range(count)]
    return torch.stack([of_rows(one) if len(one) else h.new_zeros(h.shape[1]) for one in rows])


def _row_by_row(out, h, jet):
    for i, one in enumerate(jet):
        out[one] += h[i]
    return out


def _swapped(out, h, jet):
    for i, one in enumerate(jet):
        out[i] += h[one]
    return out


@pool_by_jet.mistake(
    "Only one particle of each jet is kept, since `out[jet] += h` overwrites the others. Use `index_add(0, jet, h)`, "
    "or `out[jet[i]] += h[i]` in a loop over the particles."
)
def _(h, jet, count):
    out = h.new_zeros(count, h.shape[1])
    out[jet] += h
    return out


@pool_by_jet.mistake(
    "`bincount` counts the particles of each jet. Sum their rows of h: `h.new_zeros(count, F).index_add(0, jet, h)`."
)
def _(h, jet, count):
    return jet.bincount(minlength=count)


@pool_by_jet.mistake(
    "Only as many particles are taken as there are jets. Loop over all P of them, `range(len(h))`."
)
def _(h, jet, count):
    out = h.new_zeros(count, h.shape[1])
    for i in range(min(count, len(h))):
        out[jet[i]] += h[i]
    return out


pool_by_jet.mistakes(
    {
        "This is a row for each particle, (P, F). There is one for each jet: go over `range(count)`, not over `jet`.": [
            lambda h, jet, count: torch.stack([h[jet == one].sum(dim=0) for one in jet]),
        ],
        "Particle and jet are swapped: particle i adds its row `h[i]` to row `jet[i]`.": [
            lambda h, jet, count: _swapped(h.new_zeros(count, h.shape[1]), h, jet),
            lambda h, jet, count: _swapped(torch.zeros(count, h.shape[1]), h, jet),
        ],
        "The list is cut into equal parts. `jet` says to which jet each particle belongs.": [
            lambda h, jet, count: torch.stack([part.sum(dim=0) for part in h.chunk(count)]),
        ],
        "`torch.tensor` takes numbers, not tensors. Join the sums with `torch.stack`.": lambda h, jet, count: (
            torch.tensor([h[jet == one].sum(dim=0) for one in range(count)])
        ),
        "`scatter_add` takes an index for every number, (P, F), and here only the first column has one: "
        "`jet[:, None].expand_as(h)`. `index_add(0, jet, h)` takes it as it is.": [
            lambda h, jet, count: h.new_zeros(count, h.shape[1]).scatter_add(0, jet[:, None], h),
        ],
        "`scatter_add` takes an index for every number, (P, F): `jet[:, None].expand_as(h)`. `index_add(0, jet, h)` "
        "takes `jet` as it is.": [
            lambda h, jet, count: h.new_zeros(count, h.shape[1]).scatter_add(0, jet, h)
        ],
        "These zeros are (count,), and a row of h has F numbers: `torch.zeros(count, h.shape[1])`.": [
            lambda h, jet, count: _row_by_row(torch.zeros(count), h, jet),
            lambda h, jet, count: torch.zeros(count, dtype=h.dtype).index_add(0, jet, h),
        ],
        "Jets without particles are dropped: `unique` lists only those that occur. Go over all of them, "
        "`range(count)`.": [
            lambda h, jet, count: torch.stack([h[jet == one].sum(dim=0) for one in jet.unique()]),
        ],
        "The number of jets is taken from the particles, but the last jets may have none. Use `count`.": [
            lambda h, jet, count: pool_by_jet.reference(h, jet, int(jet.max()) + 1),
        ],
        "`jet.max()` is the last jet's number, one less than there are, and the last jets may have no particles. Use "
        "`count`.": [
            lambda h, jet, count: pool_by_jet.reference(h, jet, int(jet.max())),
            lambda h, jet, count: torch.stack([h[jet == one].sum(dim=0) for one in range(int(jet.max()))]),
        ],
        "The last jet is missing: `range(count)` ends at count − 1 by itself.": lambda h, jet, count: (
            pool_by_jet.reference(h, jet, count)[:-1]
        ),
        "The rows are counted from jet 1. Jets are numbered from 0: `range(count)`.": [
            lambda h, jet, count: torch.stack([h[jet == one + 1].sum(dim=0) for one in range(count)]),
        ],
        "Each jet's numbers are added up, (count,). Sum over its particles only, `dim=0`, and keep the F numbers.": [
            lambda h, jet, count: pool_by_jet.reference(h, jet, count).sum(dim=1),
        ],
        "`h[jet == i]` is (particles, F): `sum(dim=1)` goes over the F numbers. Sum over the particles, "
        "`dim=0`.": lambda h, jet, count: torch.stack([h[jet == one].sum(dim=1) for one in range(count)]),
        "This is the mean over each jet's particles, with nan for a jet without any. Return the sum.": [
            lambda h, jet, count: torch.stack([h[jet == one].mean(dim=0) for one in range(count)]),
        ],
        "This is the mean over each jet's particles. Return the sum.": lambda h, jet, count: _gathered(
            h, jet, count, lambda rows: rows.mean(dim=0)
        ),
        "This is the maximum over each jet's particles. Return the sum.": [
            lambda h, jet, count: _gathered(h, jet, count, lambda rows: rows.amax(dim=0)),
            lambda h, jet, count: torch.stack([h[jet == one].amax(dim=0) for one in range(count)]),
        ],
        "`index_add` takes the axis first, then the indices: axis 0, `index_add(0, jet, h)`. Axis 1 holds the F "
        "numbers.": lambda h, jet, count: h.new_zeros(count, h.shape[1]).index_add(1, jet, h),
        "The particles are taken to be sorted by jet, one jet after the other. They may come in any order: go by "
        "`jet`, as in `h[jet == i]` or `index_add(0, jet, h)`.": [
            lambda h, jet, count: torch.stack(
                [part.sum(dim=0) for part in h.split(torch.bincount(jet, minlength=count).tolist())]
            ),
        ],
        "`zeros_like(h)` has a row for each particle. There are `count` jets: `h.new_zeros(count, h.shape[1])`.": [
            lambda h, jet, count: torch.zeros_like(h).index_add(0, jet, h),
        ],
        "The result has to be (count, F), and these zeros are (count, count). F is `h.shape[1]`.": [
            lambda h, jet, count: h.new_zeros(count, count).index_add(0, jet, h),
        ],
        "`index_add` makes a new tensor and leaves the old one as it is. Return what it makes, or call "
        "`index_add_`.": lambda h, jet, count: h.new_zeros(count, h.shape[1]),
        "`h[jet]` takes rows of h by the numbers of jets. The other way round: particle i adds its row to row "
        "`jet[i]`.": [
            lambda h, jet, count: h[jet],
            lambda h, jet, count: h[jet].sum(dim=0),
        ],
        "A list came back. Make one tensor of it, `torch.stack(…)`.": lambda h, jet, count: [
            h[jet == one].sum(dim=0) for one in range(count)
        ],
        "`cat` puts the sums of all jets into one row. `torch.stack` gives each jet a row.": lambda h, jet, count: (
            torch.cat([h[jet == one].sum(dim=0) for one in range(count)])
        ),
        "All particles are added up. Each jet has a sum of its own, (count, F).": lambda h, jet, count: h.sum(
            dim=0
        ),
        "The result is transposed, (F, count). Each jet is a row.": lambda h, jet, count: (
            pool_by_jet.reference(h, jet, count).T
        ),
    }
)


# Section 7: what physics asks ---------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "one jet of two": (
            torch.tensor([[0.7, 0.3]]),
            torch.tensor([[[0.1, 0.2], [-0.2, 0.1]]]),
            _layers(2, 1, seed=500),
        ),
        "no padding": (*_jets(2, 3, [3, 3], seed=510), _layers(2, 4, seed=511)),
        "zeros in the padding": (*_jets(3, 5, [2, 5, 4], seed=520), _layers(2, 3, seed=521)),
        "numbers in the padding": (*_jets(2, 4, [3, 1], seed=530, padding=1.0), _layers(2, 4, seed=531)),
        "as many jets as particles and numbers": (*_jets(3, 3, [3, 2, 3], seed=540), _layers(2, 3, seed=541)),
        "all sizes equal": (*_jets(2, 2, [2, 1], seed=550), _layers(2, 2, seed=551)),
        "a jet without particles": (*_jets(2, 3, [0, 2], seed=560), _layers(2, 4, seed=561)),
        "a jet of one particle": (*_jets(1, 1, [1], seed=570), _layers(2, 3, seed=571)),
        "float64 numbers": (*_jets(2, 4, [4, 2], seed=580, dtype=torch.float64), _layers(2, 3, seed=581)),
    },
    hints=[
        "φ sees the directions only. z comes in as a weight, after φ.",
        "`phi(direction)` is (N, n, H), and z is (N, n): it takes an axis at the end, `z.unsqueeze(-1)`.",
        "Sum over the particles: `(z.unsqueeze(-1) * phi(direction)).sum(dim=1)`.",
    ],
)
def energy_flow(z, direction, phi):
    """Return (N, H): the sum of phi(direction) over the particles of every jet, weighted with z.

    `z` is (N, n), 0 for padding, `direction` (N, n, 2), and phi takes (…, 2) to (…, H).
    """
    return (z.unsqueeze(-1) * phi(direction)).sum(dim=1)


def _flow(
    weight=_column,
    features=lambda phi, z, direction: phi(direction),
    weighted=lambda weight, h: weight * h,
    pooled=lambda h, z: h.sum(dim=1),
):
    """An energy flow, with what can go wrong as arguments."""

    def attempt(z, direction, phi):
        return pooled(weighted(weight(z), features(phi, z, direction)), z)

    return attempt


energy_flow.slips(
    _flow,
    {
        "z is missing: this is the plain sum, which changes if a particle splits. Weight each particle with its z.": {
            "weight": lambda z: 1
        },
        "Each real particle counts the same here. Weight it with its z.": {
            "weight": lambda z: _column(z > 0)
        },
        "z is squared, which changes if a particle splits in two: z² > z₁² + z₂². Weight with z itself.": {
            "weight": lambda z: _column(z**2)
        },
        "The root of z is taken, which changes if a particle splits in two. Weight with z itself.": {
            "weight": lambda z: _column(z**0.5)
        },
        "z is (N, n) and φ gives (N, n, H). z needs an axis at the end: `z.unsqueeze(-1)`.": {
            "weight": _same
        },
        "z gets its new axis in the middle, (N, 1, n). It belongs at the end: `z.unsqueeze(-1)`.": {
            "weight": lambda z: z.unsqueeze(1)
        },
        "z is divided by the sum over its jet. Weight with z as it is.": {
            "weight": lambda z: _column(z / z.sum(dim=1, keepdim=True))
        },
        "z goes through a softmax, which gives padding a weight as well. Weight with z as it is.": {
            "weight": lambda z: _column(z.softmax(dim=1))
        },
        "φ gets z · direction. It sees the direction alone; z is a factor outside of φ.": {
            "features": lambda phi, z, direction: phi(_column(z) * direction),
            "weight": lambda z: 1,
        },
        "z is in φ and outside of it. φ sees the direction alone.": {
            "features": lambda phi, z, direction: phi(_column(z) * direction)
        },
        "φ gets z beside the direction, three numbers, and takes two. It sees the direction alone.": {
            "features": lambda phi, z, direction: phi(torch.cat([_column(z), direction], dim=-1))
        },
        "φ is missing: apply it to the directions before they are weighted.": {
            "features": lambda phi, z, direction: direction
        },
        "φ gets the directions of the real particles in one list, so their jets are lost. z = 0 removes the padding by "
        "itself: `phi(direction)`.": {"features": lambda phi, z, direction: phi(direction[z > 0])},
        "z is added. Multiply φ(direction) with it.": {"weighted": lambda weight, h: weight + h},
        "φ(direction) is divided by z. Multiply.": {"weighted": lambda weight, h: h / weight},
        "This is the mean over the n rows. Take the sum, `.sum(dim=1)`.": {
            "pooled": lambda h, z: h.mean(dim=1)
        },
        "This is the mean over the real particles. Take the sum, `.sum(dim=1)`.": {
            "pooled": lambda h, z: h.sum(dim=1) / (z > 0).sum(dim=1, keepdim=True)
        },
        "This is the maximum over the particles. Take the sum, `.sum(dim=1)`.": {
            "pooled": lambda h, z: h.amax(dim=1)
        },
        "The sum goes over the jets, axis 0. The particles are axis 1.": {
            "pooled": lambda h, z: h.sum(dim=0)
        },
        "The sum goes over the H numbers, axis 2. The particles are axis 1.": {
            "pooled": lambda h, z: h.sum(dim=2)
        },
        "The sum goes over all jets and particles. Each jet has its own: `.sum(dim=1)`.": {
            "pooled": lambda h, z: h.sum(dim=(0, 1))
        },
        "The sum over the particles is missing: `.sum(dim=1)`.": {"pooled": lambda h, z: h},
        "An axis of size 1 is left for the particles, (N, 1, H). Leave `keepdim=True` out, or drop the axis with "
        "`.squeeze(1)`.": {"pooled": lambda h, z: h.sum(dim=1, keepdim=True)},
    },
)
energy_flow.mistakes(
    {
        "z is divided by the sum over its jet. Weight with z as it is.": [
            _flow(pooled=lambda h, z: h.sum(dim=1) / z.sum(dim=1)),
        ],
        "z is transposed, (n, N). It needs an axis at the end instead, `z.unsqueeze(-1)`.": [
            _flow(weight=lambda z: z.T),
        ],
        "φ acts after the sum: it gets the weighted mean direction of the jet. Apply it to each particle, then weight "
        "and sum.": lambda z, direction, phi: phi((_column(z) * direction).sum(dim=1)),
        "`@` multiplies matrices, and pairs every jet with all others. Weight with `z.unsqueeze(-1) * phi(direction)`, "
        "or with einsum.": lambda z, direction, phi: z @ phi(direction),
    }
)


# Section 8: what no message passing can see -------------------------------------------------------------------


def _ring(*nodes):
    """The edges of a ring through these nodes."""
    return list(zip(nodes, [*nodes[1:], nodes[0]], strict=True))


def _around(n, pairs):
    """Lists of neighbours, in the order in which the edges come."""
    around = [[] for _ in range(n)]
    for i, j in pairs:
        around[i].append(j)
        around[j].append(i)
    return around


def _letters(colours):
    """Equal letters for equal colours, by their first occurrence."""
    seen, names = [], "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for colour in colours:
        if not any(bool(colour == other) for other in seen):
            seen.append(colour)
    return "".join(
        names[next(i for i, other in enumerate(seen) if bool(colour == other))] for colour in colours
    )


def _no_colours(found, count):
    """What is wrong with what should be a list of so many colours; "" if nothing is."""
    if found is None:
        return "nothing, a `return` is missing"
    if not isinstance(found, list | tuple):
        return f"no list, but a {type(found).__name__}"
    return "" if len(found) == count else f"{len(found)} colours for {count} nodes"


def _refined(attempt, first_colours, first_neighbours, second_colours, second_neighbours):
    """Which nodes of both graphs have equal colours after one round and after two."""
    found = {}
    colours = [first_colours, second_colours]
    for rounds in ("one round", "two rounds"):
        colours = [
            attempt(list(own), [list(one) for one in around])
            for own, around in zip(colours, (first_neighbours, second_neighbours), strict=True)
        ]
        for own, around in zip(colours, (first_neighbours, second_neighbours), strict=True):
            if unfit := _no_colours(own, len(around)):
                return {
                    f"equal letters for equal colours, after {one} round{s}": unfit
                    for one, s in (("one", ""), ("two", "s"))
                }
        both = _letters([*colours[0], *colours[1]])
        split = len(first_neighbours)
        found[f"equal letters for equal colours, after {rounds}"] = f"{both[:split]}, {both[split:]}"
    return found


_PATH = _around(4, [(0, 1), (1, 2), (2, 3)])
_STAR = _around(4, [(0, 1), (0, 2), (0, 3)])
_SQUARE = _around(4, _ring(0, 1, 2, 3))
_KITE = _around(4, _PAPER)
_HEXAGON = _around(6, _ring(0, 1, 2, 3, 4, 5))
_TRIANGLES = _around(6, _ring(0, 1, 2) + _ring(3, 4, 5))


@lesson.exercise(
    cases={
        "a path and a star": ([0, 0, 0, 0], _PATH, [0, 0, 0, 0], _STAR),
        "a hexagon and two triangles": ([0] * 6, _HEXAGON, [0] * 6, _TRIANGLES),
        "the same graph, numbered otherwise": (
            [0, 0, 0, 0],
            _KITE,
            [0, 0, 0, 0],
            _around(4, [(2, 3), (3, 0), (3, 1), (0, 1)]),
        ),
        "colours with equal sums": (
            [5, 1, 3, 0],
            _around(4, [(0, 1), (0, 2)]),
            [5, 2, 2, 0],
            _around(4, [(0, 1), (0, 2)]),
        ),
        "neighbours listed in another order": (
            [5, 1, 2, 3],
            [[1, 2, 3], [0], [0], [0]],
            [5, 1, 2, 3],
            [[3, 1, 2], [0], [0], [0]],
        ),
        "a colour that occurs twice": (
            ["C", "H", "H", "O", "C"],
            _around(5, [(0, 1), (0, 2), (0, 3), (3, 4)]),
            ["C", "H", "O", "O", "C"],
            _around(5, [(0, 1), (0, 2), (0, 3), (3, 4)]),
        ),
        "equal neighbours, different colours": (
            ["C", "H", "N", "H"],
            _around(4, [(0, 1), (2, 3)]),
            ["C", "H", "O", "H"],
            _around(4, [(0, 1), (2, 3)]),
        ),
        "nodes without neighbours": ([1, 1, 2, 3], _around(4, [(0, 3)]), [1, 2, 2, 3], _around(4, [(1, 3)])),
        "a graph with other colours": ([7, 7, 7, 7], _SQUARE, [8, 8, 8, 8], _SQUARE),
        "colours 1 and 11": ([1, 11], [[1], [0]], [11, 2], [[1], [0]]),
        "tuples as colours": (
            [(1, 0), (0, 1), (0, 1), (1, 1)],
            _PATH,
            [(1, 0), (0, 1), (1, 1), (0, 1)],
            _PATH,
        ),
        "a longer path": ([0] * 5, _around(5, [(0, 1), (1, 2), (2, 3), (3, 4)]), [0] * 4, _PATH),
        "graphs of different degrees": ([0] * 4, _SQUARE, [0] * 4, _KITE),
    },
    hints=[
        "What does the new colour of v have to hold, so that it differs exactly where it should?",
        "The node's own colour, and the colours of its neighbours in an order that depends on nothing else: "
        "`sorted(…)`.",
        "`(colours[v], tuple(sorted(colours[u] for u in neighbours[v])))` is a colour: tuples can be compared, and "
        "sorted in the next round.",
    ],
    observe=_refined,
)
def wl_colours(colours, neighbours):
    """Return a list with a new colour for every node, after one round of colour refinement.

    `colours` is a list of the nodes' colours, `neighbours` a list of lists: neighbours[v] are the nodes next to v.
    Two nodes get the same new colour exactly if they had the same one and their neighbours' colours agree, counted
    with repetition, in any order. A colour can be anything that can be compared, also between two graphs.
    """
    return [(colours[v], tuple(sorted(colours[u] for u in around))) for v, around in enumerate(neighbours)]


def _refining(
    own=lambda colours, v, around: colours[v],
    others=lambda colours, around: tuple(sorted(colours[u] for u in around)),
    joined=lambda own, others: (own, others),
    result=_same,
):
    """A round of refinement, with what can go wrong as arguments."""

    def attempt(colours, neighbours):
        return result(
            [joined(own(colours, v, around), others(colours, around)) for v, around in enumerate(neighbours)]
        )

    return attempt


def _numbered(found):
    """Numbers for the colours in the order of their first occurrence."""
    return [found.index(colour) for colour in found]


def _numbered_in_order(found):
    return [sorted(set(found)).index(colour) for colour in found]


wl_colours.slips(
    _refining,
    {
        "The neighbours' colours are a set here, which forgets how often each occurs. Keep the repetitions: a sorted "
        "tuple.": {"others": lambda colours, around: tuple(sorted({colours[u] for u in around}))},
        "The neighbours' colours stand in the order of the list, which means nothing: sort them, `tuple(sorted(…))`.": {
            "others": lambda colours, around: tuple(colours[u] for u in around)
        },
        "The node's own colour is left out. Put it beside those of its neighbours: `(colours[v], …)`.": {
            "own": lambda colours, v, around: None
        },
        "The node's own colour is sorted in with those of its neighbours, so it can no longer be told from them. Keep "
        "it apart: `(colours[v], tuple(sorted(…)))`.": {
            "joined": lambda own, others: tuple(sorted([own, *others]))
        },
        "The neighbours' colours are left out. Put them beside the node's own, sorted.": {
            "others": lambda colours, around: None
        },
        "Only the number of neighbours enters, not their colours. Collect their colours, sorted.": {
            "others": lambda colours, around: len(around)
        },
        "Only the number of neighbours enters. The new colour holds the node's own colour and the colours of its "
        "neighbours.": {
            "own": lambda colours, v, around: None,
            "others": lambda colours, around: len(around),
        },
        "The neighbours' colours are added up: different ones may have the same sum, and not every colour is a number. "
        "Keep them one by one, sorted.": {"others": lambda colours, around: sum(colours[u] for u in around)},
        "Everything is added up: different colours may have the same sum, and not every colour is a number. Keep them "
        "one by one: `(colours[v], tuple(sorted(…)))`.": {
            "others": lambda colours, around: sum(colours[u] for u in around),
            "joined": lambda own, others: own + others,
        },
        "Only the largest of the neighbours' colours enters. All of them count, with repetition.": {
            "others": lambda colours, around: max((colours[u] for u in around), default=None)
        },
        "The numbers of the nodes are in the colour, and they depend on how the graph is numbered. Take the "
        "neighbours' colours: `colours[u] for u in neighbours[v]`.": {
            "others": lambda colours, around: tuple(sorted(around))
        },
        "The node's number v is in its colour, and it depends on how the graph is numbered. Use `colours[v]`.": {
            "own": lambda colours, v, around: v
        },
        "Every node has a colour of its own, its number, whatever its neighbours are. Take its colour and theirs: "
        "`(colours[v], tuple(sorted(…)))`.": {"result": lambda found: list(range(len(found)))},
        "All nodes get the same new colour. It holds the node's own colour and those of its neighbours.": {
            "result": lambda found: [0 for _ in found]
        },
        "The new colours are numbered within one graph, so the same number can mean different things in two graphs. "
        "Keep the tuples, or their `hash`.": {"result": _numbered},
        "The new colours are numbered in their order within one graph, so the same number can mean different things in "
        "two graphs. Keep the tuples, or their `hash`.": {"result": _numbered_in_order},
        "A set came back. Return a list, one new colour for each node, in their order.": {"result": set},
        "A dict came back. Return a list, one new colour for each node, in their order.": {
            "result": lambda found: {colour: found.count(colour) for colour in found}
        },
        "The list of new colours is sorted. Keep the order of the nodes.": {"result": sorted},
        "A generator or an iterator came back. Make a list of it.": {"result": iter},
        "Only the last node's colour came back. Collect the colours of all nodes in a list.": {
            "result": lambda found: found[-1]
        },
    },
)
wl_colours.mistakes(
    {
        "The neighbours' colours are a set here, which forgets how often each occurs, and cannot be sorted or hashed "
        "in the next round. Keep the repetitions: a sorted tuple.": [
            _refining(others=lambda colours, around: {colours[u] for u in around}),
            lambda colours, neighbours: [
                (colours[v], {colours[u] for u in around}) for v, around in enumerate(neighbours)
            ],
        ],
        "A `Counter` can neither be sorted nor hashed in the next round. Make a tuple of it: `tuple(sorted(…))`.": [
            _refining(others=lambda colours, around: Counter(colours[u] for u in around)),
        ],
        "The colours change while you go through the nodes, so later nodes see new colours of earlier ones. Write the "
        "new colours into a list of their own.": [
            lambda colours, neighbours: _in_place(colours, neighbours, key=repr),
            lambda colours, neighbours: _in_place(colours, neighbours),
        ],
        "A list cannot be hashed: make a tuple of it, `tuple(sorted(…))`.": lambda colours, neighbours: [
            hash((colours[v], sorted(colours[u] for u in around))) for v, around in enumerate(neighbours)
        ],
        "Text without a separator can mean several things: colours 1 and 11 read like 11 and 1. Use tuples, or a "
        "separator.": lambda colours, neighbours: [
            str(colours[v]) + "".join(sorted(str(colours[u]) for u in around))
            for v, around in enumerate(neighbours)
        ],
    }
)


def _in_place(colours, neighbours, key=None):
    for v, around in enumerate(neighbours):
        colours[v] = (colours[v], tuple(sorted((colours[u] for u in around), key=key)))
    return colours


# Section 9: jets as graphs ------------------------------------------------------------------------------------


def _points(N, n, D, counts, k, seed, *, scattered=False, padding=0.0, dtype=torch.float32):
    """Points, a mask of the real ones, and k."""
    mask = _reals(N, n, counts, seed if scattered else None)
    points = normal(N, n, D, seed=seed, dtype=dtype)
    return torch.where(mask[:, :, None], points, padding * points + 0.0), mask, k


def _of_the_real(attempt, points, mask, k):
    """The neighbours of the real particles; 0 in the rows of padding, where anything may stand."""
    index = attempt(points, mask, k)
    if not isinstance(index, Tensor) or index.shape != (*mask.shape, k):
        return index
    return index.masked_fill(~mask.unsqueeze(-1), 0)


@lesson.exercise(
    cases={
        "three points on a line": (
            torch.tensor([[[0.0], [1.0], [3.0]]]),
            torch.ones(1, 3, dtype=torch.bool),
            1,
        ),
        "four points on a line, two neighbours": (
            torch.tensor([[[0.0], [1.0], [3.0], [7.0]]]),
            torch.ones(1, 4, dtype=torch.bool),
            2,
        ),
        "no padding": _points(2, 6, 2, [6, 6], 3, seed=600),
        "zeros in the padding": _points(3, 7, 2, [4, 7, 5], 3, seed=610),
        "numbers in the padding": _points(2, 6, 3, [4, 5], 2, seed=620, padding=0.3),
        "particles behind padding": _points(2, 6, 2, [4, 4], 2, seed=630, scattered=True),
        "as many particles as numbers and jets": _points(3, 3, 3, [3, 3, 3], 1, seed=640),
        "all the others": _points(2, 5, 2, [5, 5], 4, seed=650),
        "two particles at one point": (
            torch.tensor([[[0.5, 0.5], [2.0, 2.0], [0.5, 0.5], [2.0, 2.3], [0.0, 0.0]]]),
            torch.tensor([[True, True, True, True, False]]),
            1,
        ),
        "float64 numbers": _points(2, 5, 3, [5, 4], 2, seed=660, dtype=torch.float64),
    },
    hints=[
        "All distances at once: `torch.cdist(points, points)` is (N, n, n). Which of its entries must never be chosen?",
        "Put inf on the diagonal, and in the columns of padding: `distance.masked_fill(…, torch.inf)`.",
        "`distance.topk(k, largest=False).indices` are the k smallest of each row, the smallest first.",
    ],
    observe=_of_the_real,
)
def nearest(points, mask, k):
    """Return (N, n, k) int64: for every particle of every jet its k nearest real others, the nearest first.

    `points` is (N, n, D), `mask` (N, n) is True for real particles. What stands in the rows of padding does not matter.
    """
    distance = torch.cdist(points, points)  # (N, n, n)
    itself = torch.eye(points.shape[1], dtype=torch.bool, device=points.device)
    distance = distance.masked_fill(itself | ~mask.unsqueeze(1), torch.inf)
    return distance.topk(k, largest=False).indices


def _diagonal(mask):
    return torch.eye(mask.shape[1], dtype=torch.bool).expand(len(mask), -1, -1)


def _nearby(
    distance=lambda points: torch.cdist(points, points),
    hidden=lambda mask: _diagonal(mask) | ~mask.unsqueeze(1),
    far=torch.inf,
    chosen=lambda distance, k: distance.topk(k, largest=False).indices,
    result=lambda index, distance: index,
):
    """The k smallest distances, with what can go wrong as arguments."""

    def attempt(points, mask, k):
        d = distance(points)
        d = d.masked_fill(hidden(mask), far)
        return result(chosen(d, k), d)

    return attempt


def _differences(points):
    return points.unsqueeze(2) - points.unsqueeze(1)


nearest.slips(
    _nearby,
    {
        "Every particle is its own nearest neighbour here: its distance to itself is 0. Put inf on the diagonal "
        "first.": {"hidden": lambda mask: ~mask.unsqueeze(1)},
        "Padding is taken for neighbours. Put inf into its columns, `~mask.unsqueeze(1)`; `~mask.unsqueeze(2)` are the "
        "rows of padding.": {"hidden": _diagonal},
        "Nothing is left out: neither the particle itself, at distance 0, nor padding. Put inf on the diagonal and in "
        "the columns of padding.": {"hidden": lambda mask: torch.zeros_like(_diagonal(mask))},
        "The mask is inverted: the real particles are left out, padding is not. `~mask` is what to fill with inf.": {
            "hidden": lambda mask: _diagonal(mask) | mask.unsqueeze(1)
        },
        "These are the k farthest particles: `topk` takes the largest unless you say `largest=False`.": {
            "chosen": lambda distance, k: distance.masked_fill(distance.isinf(), -torch.inf).topk(k).indices
        },
        "`topk` takes the largest unless you say `largest=False`, and those are the masked ones, at inf.": {
            "chosen": lambda distance, k: distance.topk(k).indices
        },
        "Filled with 0, the particle itself and padding become the nearest of all. Fill with inf.": {
            "far": 0.0
        },
        "With −inf the particle itself and padding become the nearest of all. Fill with inf.": {
            "far": -torch.inf
        },
        "The nearest comes last. Reverse the order: nearest first.": {
            "chosen": lambda distance, k: distance.topk(k, largest=False).indices.flip(-1)
        },
        "The neighbours are sorted by index, not by distance. Put the nearest first.": {
            "chosen": lambda distance, k: distance.topk(k, largest=False).indices.sort(dim=-1).values
        },
        "The smallest distance is dropped, as if it were that of the particle itself, but the diagonal is inf already. "
        "Take the first k.": {"chosen": lambda distance, k: distance.argsort(dim=-1)[..., 1 : k + 1]},
        "These are the distances. Return the indices of the neighbours, `.indices`.": {
            "chosen": lambda distance, k: distance.topk(k, largest=False).values
        },
        "`topk` returns values and indices. Return the indices, `.indices`.": {
            "chosen": lambda distance, k: tuple(distance.topk(k, largest=False))
        },
        "All others are here, sorted. Take the first k: `[..., :k]`.": {
            "chosen": lambda distance, k: distance.argsort(dim=-1)
        },
        "There is one neighbour too many, k + 1 of them. Take the first k.": {
            "chosen": lambda distance, k: distance.argsort(dim=-1)[..., : k + 1]
        },
        "Only the nearest one is here. Return k of them, (N, n, k): `topk(k, largest=False)`.": {
            "chosen": lambda distance, k: distance.argmin(dim=-1)
        },
        "The k neighbours are axis 1, (N, k, n). They are the last axis: `topk(k, largest=False)` along `dim=-1`.": {
            "chosen": lambda distance, k: distance.topk(k, dim=1, largest=False).indices
        },
        "The differences are not squared, and are summed with their signs. Use `torch.cdist`, or square them first.": {
            "distance": lambda points: _differences(points).sum(dim=-1)
        },
        "This is the scalar product, which is no distance. Use `torch.cdist(points, points)`.": {
            "distance": lambda points: points @ points.transpose(1, 2)
        },
        "The distance is taken along the first coordinate only. Use all D of them.": {
            "distance": lambda points: _differences(points)[..., 0].abs()
        },
        "This is the Manhattan distance, |Δx| + |Δy|. Nearest means the Euclidean one: `torch.cdist`.": {
            "distance": lambda points: _differences(points).abs().sum(dim=-1)
        },
        "This is the largest difference of a coordinate. Nearest means the Euclidean distance: `torch.cdist`.": {
            "distance": lambda points: _differences(points).abs().amax(dim=-1)
        },
        "The norm runs over particles, not over their D coordinates. Take it along the last axis, or use "
        "`torch.cdist`.": {"distance": lambda points: _differences(points).norm(dim=1)},
        "The distances are those between the same particles of different jets. Each jet has a table of its own: "
        "`torch.cdist(points, points)` keeps the jets apart.": {
            "distance": lambda points: torch.cdist(points.transpose(0, 1), points.transpose(0, 1))
        },
        "All jets are compared with the first one. `torch.cdist(points, points)` keeps the jets apart.": {
            "distance": lambda points: torch.cdist(points, points[:1].expand_as(points))
        },
    },
)
_DROPPED = (
    lambda distance, k: distance.argsort(dim=-1, stable=True)[..., 1 : k + 1],
    lambda distance, k: distance.topk(k + 1, largest=False).indices[..., 1:],
)
nearest.mistakes(
    {
        "`d[:, ~mask]` uses a mask (N, n) on the wrong axes. Columns of padding are "
        "`distance.masked_fill(~mask.unsqueeze(1), torch.inf)`.": [
            lambda points, mask, k: torch.cdist(points, points)[:, ~mask],
        ],
        "`fill_diagonal_` is for one matrix, not for a batch. Mask the diagonal: `masked_fill(torch.eye(n, "
        "dtype=torch.bool), torch.inf)`.": [
            lambda points, mask, k: torch.cdist(points, points).fill_diagonal_(torch.inf),
        ],
        "The mask is (N, n), the distances (N, n, n). Give it an axis in the middle, so that it is about columns: "
        "`~mask.unsqueeze(1)`.": [
            _nearby(hidden=lambda mask: _diagonal(mask) | ~mask),
            lambda points, mask, k: (
                torch.cdist(points, points).masked_fill(~mask, torch.inf).topk(k, largest=False).indices
            ),
        ],
        "`torch.eye(n) * torch.inf` makes nan off the diagonal, since 0 · ∞ is nan. Use `masked_fill(torch.eye(n, "
        "dtype=torch.bool), torch.inf)`.": lambda points, mask, k: _nearby(
            distance=lambda p: torch.cdist(p, p) + torch.eye(p.shape[1]).to(p) * torch.inf,
            hidden=lambda mask: ~mask.unsqueeze(1),
        )(points, mask, k),
        "`sort` returns values and indices. Take `.indices`, or use `argsort`.": [
            _nearby(chosen=lambda distance, k: distance.sort(dim=-1)[..., :k]),
            _nearby(chosen=lambda distance, k: tuple(distance.sort(dim=-1))),
        ],
        "The order is taken along axis 1. The distances from particle i are row i, so sort along the last axis, "
        "`dim=-1`.": _nearby(chosen=lambda distance, k: distance.argsort(dim=1)[..., :k]),
        "Multiplied with the mask, the distances to padding are 0, the nearest of all. Put inf into these columns.": [
            _nearby(
                distance=lambda p: torch.cdist(p, p),
                hidden=lambda mask: ~mask.unsqueeze(1),
                far=0.0,
                chosen=lambda distance, k: (
                    distance.masked_fill(torch.eye(distance.shape[1], dtype=torch.bool), torch.inf)
                    .topk(k, largest=False)
                    .indices
                ),
            ),
        ],
        "The first of k + 1 is dropped, as if it were always the particle itself. If two particles share a point, "
        "it may be the other one: put inf on the diagonal instead.": [
            _nearby(hidden=lambda mask: (~mask.unsqueeze(1)).expand_as(_diagonal(mask)), chosen=one)
            for one in _DROPPED
        ],
        "The first of k + 1 is dropped, and padding is taken for neighbours. Put inf on the diagonal and in the "
        "columns of padding.": [
            _nearby(hidden=lambda mask: torch.zeros_like(_diagonal(mask)), chosen=one) for one in _DROPPED
        ],
        "All particles at distance 0 are left out, and that may be others at the same point. Leave out the diagonal "
        "only.": lambda points, mask, k: (
            lambda d: d.masked_fill((d == 0) | ~mask.unsqueeze(1), torch.inf).topk(k, largest=False).indices
        )(torch.cdist(points, points)),
        "Particles are taken for padding where their row is 0; the mask says which they are. And what stands in "
        "padding may be anything.": lambda points, mask, k: _nearby()(points, (points != 0).any(dim=-1), k),
        "`points[mask]` puts the particles of all jets into one list, so their jets are lost. Leave padding in, and "
        "put inf into its columns.": lambda points, mask, k: (
            torch.cdist(points[mask], points[mask]).fill_diagonal_(torch.inf).topk(k, largest=False).indices
        ),
        "Padding is set to 0 and stays in the table, as a point at the origin. Put inf into its columns.": (
            lambda points, mask, k: _nearby(hidden=_diagonal)(points * mask.unsqueeze(-1), mask, k)
        ),
    }
)


def _lists(N, n, D, k, H, seed, dtype=torch.float32):
    """Particles, lists of neighbours, and a network from 2D numbers to H."""
    order = torch.rand(N, n, n, generator=torch.Generator().manual_seed(seed))
    index = order.masked_fill(torch.eye(n, dtype=torch.bool), torch.inf).argsort(dim=-1)[..., :k]
    return normal(N, n, D, seed=seed, dtype=dtype), index, _layers(2 * D, H, seed + 1, name="h")


@lesson.exercise(
    cases={
        "two particles": (
            torch.tensor([[[1.0], [3.0]]]),
            torch.tensor([[[1], [0]]]),
            _layers(2, 1, seed=700, name="h"),
        ),
        "one jet, two neighbours": _lists(1, 4, 2, 2, 3, seed=710),
        "a few jets": _lists(2, 5, 3, 2, 4, seed=720),
        "a single neighbour": _lists(3, 4, 2, 1, 5, seed=730),
        "as many jets as particles": _lists(4, 4, 2, 3, 2, seed=740),
        "as many neighbours as numbers": _lists(2, 5, 3, 3, 3, seed=750),
        "all sizes equal": _lists(2, 2, 2, 1, 2, seed=760),
        "float64 numbers": _lists(2, 4, 3, 2, 4, seed=770, dtype=torch.float64),
    },
    hints=[
        "Fetch the neighbours first, (N, n, k, D): `x[jets, index]`, with `jets = torch.arange(N)[:, None, None]`.",
        "x_i belongs beside each of its k differences: `x.unsqueeze(2).expand(-1, -1, k, -1)`, then "
        "`torch.cat([…, …], dim=-1)`.",
        "h of that is (N, n, k, H); the maximum over the neighbours is `.amax(dim=2)`.",
    ],
)
def edge_conv(x, index, h):
    """Return (N, n, H): for every particle i the maximum, over its neighbours j, of h of x_i beside x_j − x_i.

    `x` is (N, n, D), `index` (N, n, k) holds the neighbours, and h takes (…, 2D) to (…, H).
    """
    jets = torch.arange(len(x), device=x.device)[:, None, None]
    neighbour = x[jets, index]  # (N, n, k, D)
    own = x.unsqueeze(2).expand_as(neighbour)
    return h(torch.cat([own, neighbour - own], dim=-1)).amax(dim=2)


def _fetched(x, index):
    return x[torch.arange(len(x))[:, None, None], index]


def _into_zeros_like(x, result):
    out = torch.zeros(x.shape)
    for jet, rows in enumerate(result):
        for i, row in enumerate(rows):
            out[jet, i] = row
    return out


def _edges(
    fetch=_fetched,
    pair=lambda own, other: torch.cat([own, other - own], dim=-1),
    through=lambda pairs, h: h(pairs),
    pooled=lambda m: m.amax(dim=2),
):
    """An edge convolution, with what can go wrong as arguments."""

    def attempt(x, index, h):
        other = fetch(x, index)
        own = x.unsqueeze(2).expand_as(other)
        return pooled(through(pair(own, other), h))

    return attempt


_PAIRS = {
    "The difference has the wrong sign: x_i − x_j instead of x_j − x_i, neighbour minus particle.": {
        "pair": lambda own, other: torch.cat([own, own - other], dim=-1)
    },
    "The two halves are in the wrong order: x_i first, then x_j − x_i.": {
        "pair": lambda own, other: torch.cat([other - own, own], dim=-1)
    },
    "x_j itself is put beside x_i. It should be the difference, x_j − x_i.": {
        "pair": lambda own, other: torch.cat([own, other], dim=-1)
    },
    "x_j is in the first half, where x_i should be: x_i and x_j − x_i side by side.": {
        "pair": lambda own, other: torch.cat([other, other - own], dim=-1)
    },
    "Both halves hold x_i. The second is x_j − x_i.": {
        "pair": lambda own, other: torch.cat([own, own], dim=-1)
    },
    "The sum x_j + x_i is put beside x_i. It should be the difference, x_j − x_i.": {
        "pair": lambda own, other: torch.cat([own, other + own], dim=-1)
    },
    "The absolute difference |x_j − x_i| is put beside x_i. Keep its sign: x_j − x_i.": {
        "pair": lambda own, other: torch.cat([own, (other - own).abs()], dim=-1)
    },
}
_MAXIMA = {
    "This is the sum over the neighbours. Take the maximum, `.amax(dim=2)`.": {
        "pooled": lambda m: m.sum(dim=2)
    },
    "This is the mean over the neighbours. Take the maximum, `.amax(dim=2)`.": {
        "pooled": lambda m: m.mean(dim=2)
    },
    "This is the minimum over the neighbours. Take the maximum, `.amax(dim=2)`.": {
        "pooled": lambda m: m.amin(dim=2)
    },
    "The maximum goes over the particles, axis 1. The neighbours are axis 2: (N, n, k, H).": {
        "pooled": lambda m: m.amax(dim=1)
    },
    "The maximum goes over the H numbers, axis 3. The neighbours are axis 2: (N, n, k, H).": {
        "pooled": lambda m: m.amax(dim=3)
    },
    "The maximum goes over the jets, axis 0. The neighbours are axis 2: (N, n, k, H).": {
        "pooled": lambda m: m.amax(dim=0)
    },
    "The maximum goes over neighbours and particles. Each particle has its own: `.amax(dim=2)`.": {
        "pooled": lambda m: m.amax(dim=(1, 2))
    },
    "The maximum over the neighbours is missing: `.amax(dim=2)`.": {"pooled": _same},
    "`max(dim=2)` returns values and indices. Take the values, or use `amax`.": {
        "pooled": lambda m: tuple(m.max(dim=2))
    },
    "`keepdim=True` leaves an axis of size 1, (N, n, 1, H). Leave it out.": {
        "pooled": lambda m: m.amax(dim=2, keepdim=True)
    },
    "Only the first neighbour counts. Take the maximum over all k of them, `.amax(dim=2)`.": {
        "pooled": lambda m: m[:, :, 0]
    },
    "Only the last neighbour counts. Take the maximum over all k of them, `.amax(dim=2)`.": {
        "pooled": lambda m: m[:, :, -1]
    },
    "The maximum is cut off at 0: it begins with zeros, or there is a ReLU. h may be negative: begin with −inf.": {
        "pooled": lambda m: m.amax(dim=2).relu()
    },
}
_FETCHING = {
    "`x[index]` takes whole jets. Say which jet as well: `x[jets, index]`, with "
    "`jets = torch.arange(len(x))[:, None, None]`.": {"fetch": lambda x, index: x[index]},
    "`x[:, index]` takes the neighbours of every jet from all jets. Pair jets and indices: `x[jets, index]`, with "
    "`jets = torch.arange(len(x))[:, None, None]`.": {"fetch": lambda x, index: x[:, index]},
    "The neighbours are taken from the first jet. Each jet has its own: `x[jets, index]`, with "
    "`jets = torch.arange(len(x))[:, None, None]`.": {"fetch": lambda x, index: x[0][index]},
    "The indices of the jets run along the wrong axis. They belong on axis 0, `torch.arange(len(x))[:, None, None]`.": {
        "fetch": lambda x, index: x[torch.arange(len(x)), index]
    },
}
edge_conv.slips(_edges, _PAIRS, _MAXIMA, _FETCHING)
edge_conv.mistakes(
    {
        "`gather` takes an index for every number, (N, n·k, D), and returns that shape. `x[jets, index]`, with `jets = "
        "torch.arange(len(x))[:, None, None]`, is simpler.": _edges(
            fetch=lambda x, index: x.gather(1, index)
        ),
        "x_i gets its new axis in the wrong place: it has to be repeated for the k neighbours, axis 2, "
        "`x.unsqueeze(2)`.": lambda x, index, h: h(
            torch.cat(
                [x.unsqueeze(1).expand_as(_fetched(x, index)), _fetched(x, index) - x.unsqueeze(1)], dim=-1
            )
        ).amax(dim=2),
        "The result is (N, n, H), and these zeros have room for D numbers. Collect what h gives in a list, and stack "
        "it.": lambda x, index, h: _into_zeros_like(x, edge_conv.reference(x, index, h)),
        "h takes rows of 2D numbers, and rows of D arrive. Put x_i and x_j − x_i side by side along the last axis: "
        "`torch.cat([own, neighbour - own], dim=-1)`.": [
            _edges(pair=lambda own, other: other - own),
            _edges(pair=lambda own, other: torch.stack([own, other - own], dim=-2)),
            _edges(pair=lambda own, other: torch.cat([own, other - own], dim=2)),
            _edges(pair=lambda own, other: torch.cat([own, other - own])),
            lambda x, index, h: (h(_fetched(x, index)) - h(x).unsqueeze(2)).amax(dim=2),
        ],
        "The maximum is taken before h. Apply h to every pair, then take the maximum over the neighbours.": [
            lambda x, index, h: h(torch.cat([x, (_fetched(x, index) - x.unsqueeze(2)).amax(dim=2)], dim=-1)),
            lambda x, index, h: h(
                torch.cat(
                    [x.unsqueeze(2).expand_as(_fetched(x, index)), _fetched(x, index) - x.unsqueeze(2)],
                    dim=-1,
                ).amax(dim=2)
            ),
        ],
        "The mean of the neighbours is taken before h. Apply h to every pair, then take the maximum over the "
        "neighbours.": lambda x, index, h: h(torch.cat([x, _fetched(x, index).mean(dim=2) - x], dim=-1)),
        "h is missing. Apply it to the pairs, then take the maximum.": lambda x, index, h: _edges(
            through=lambda pairs, h: pairs
        )(x, index, h),
        "`x` has no axis for the neighbours: (N, n, k, D) minus (N, n, D) fits only by accident. Give it one, "
        "`x.unsqueeze(2)`.": [
            lambda x, index, h: h(
                torch.cat([x.expand_as(_fetched(x, index)), _fetched(x, index) - x], dim=-1)
            ).amax(dim=2),
        ],
        "`cat` does not broadcast: x_i needs its own copy for each neighbour, `x.unsqueeze(2).expand(-1, -1, k, "
        "-1)`.": lambda x, index, h: h(
            torch.cat([x.unsqueeze(2), _fetched(x, index) - x.unsqueeze(2)], dim=-1)
        ).amax(dim=2),
    }
)


# The quiz -----------------------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "For the first four: which parts of the network depend on the number of particles, what does a readout forget, "
        "and how far does one layer carry a message?",
        "For `two_triangles`: what does one node hear in the first layer, in either graph? For `collinear`: z = z₁ + "
        "z₂, and put that into each answer.",
        "For `many_steps`: which vector does S leave as it is? For `edges_of_neighbours`: every particle chooses its "
        "own neighbours.",
    ],
    thirty_more=Question(
        "c",
        "φ is the same network for each particle, and the sum has H numbers whatever it sums over. The same weights "
        "work for 60 particles.",
        {
            "a": "That would be the first layer of a dense network on the flattened list. φ is shared.",
            "b": "No weight belongs to a particle: the same φ is applied to each row.",
            "d": "Only a dense network on the flattened list has an input of fixed length. A sum has none.",
        },
    ),
    multiplicity=Question(
        "c",
        "A φ that gives 1 for each particle makes the sum count them.",
        {
            "a": "The mean divides by the number, which is then gone: two copies of a set have the same mean.",
            "b": "The maximum does not change if every particle comes twice.",
            "d": "The weights of a softmax add up to 1, so it is a mean as well, and the number is gone.",
        },
    ),
    three_layers=Question(
        "c",
        "Each layer carries messages over one edge, so three layers carry them over three.",
        {
            "a": "That is one layer. In the second the neighbours pass on what they heard in the first.",
            "b": "Only if no node is more than three edges away.",
            "d": "All neighbours send messages in every layer. Three is the distance, not their number.",
        },
    ),
    labels_of_members=Question(
        "b",
        "If the members are numbered otherwise, the labels have to move along with them: f(Px) = P f(x).",
        {
            "a": "An invariant network gives one answer for the whole club, the same however the members are numbered.",
            "c": "Then the label of a member would depend on the number it happens to have in the list.",
            "d": "Then all members would have the same label: permuting the rows would change nothing, so all are "
            "equal.",
        },
    ),
    two_triangles=Question(
        "c",
        "Every node has two neighbours, all alike, so in each layer all nodes of both graphs stay alike. Colour "
        "refinement sees no difference either.",
        {
            "a": "After two layers every node has heard from two neighbours that look like itself, in both graphs.",
            "b": "Mean or sum: every node has two neighbours with the same features, in both graphs.",
            "d": "More layers repeat the same: all nodes have equal features, in both graphs, at every layer.",
        },
    ),
    collinear=Question(
        "a",
        "z₁ + z₂ = z, and both have the same direction: so Σ z stays, and so does Σ z φ(direction).",
        {
            "b": "z₁² + z₂² is less than (z₁ + z₂)², so it changes.",
            "c": "If the hardest particle splits, the maximum falls.",
            "d": "It grows by one.",
        },
    ),
    many_steps=Question(
        "c",
        "The largest eigenvalue of S is 1, and its eigenvector is √d. Whatever h was, only its part along that "
        "vector is left: over-smoothing.",
        {
            "a": "Only the parts with eigenvalues below 1 in size die out. One eigenvalue is 1, and its part stays.",
            "b": "That is the limit for the mean over neighbours, D^(-1)(A + I). With D^(-1/2) on both sides it is √d.",
            "d": "No eigenvalue of S is larger than 1, so nothing grows. That is what D^(-1/2) is for.",
        },
    ),
    edges_of_neighbours=Question(
        "a",
        "Each of the 30 receives from 6: 30 · 6 = 180.",
        {
            "b": "That would be right if all were mutual and counted once. But if j is among the nearest of i, i need "
            "not be among those of j.",
            "c": "That is the number of all pairs, 30 · 29 / 2. Only the 6 nearest of each are joined.",
            "d": "That is every pair in both directions, with each particle joined to itself: 30 · 30.",
        },
    ),
)


# At home: a tagger for sets of particles ----------------------------------------------------------------------


MOVED = 1e-3  # fraction of jets whose class may change when their particles are shuffled, by rounding


def _particles_kept_back():
    """6,000 more jets as particles, of other collisions than those of data.jet_particles()."""
    x = data.particle_table(data.shipped("jet_particles_held_out.npz"))
    return data.Split(torch.from_numpy(x), torch.from_numpy(data.shipped("jets_held_out.npz")["y"]).long())


def _scores(logits, labels):
    top = data.JETS.index("top")
    return {
        "accuracy": (logits.argmax(dim=1) == labels).float().mean().item(),
        "AUC for top": roc_auc_score((labels == top).cpu(), logits.softmax(dim=1)[:, top].cpu()),
    }


def _shuffled(x):
    """The same jets, the real particles of each in a random order, padding behind them as before."""
    key = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(9)).to(x.device)
    order = key.masked_fill(x[..., 0] <= 0, 2.0).argsort(dim=1, stable=True)
    return x.gather(1, order.unsqueeze(-1).expand_as(x))


def _classes(model, x):
    return torch.cat([model(part).argmax(dim=1) for part in x.split(500)])


class _SetExercise(ModelExercise):
    """A trained model that must not depend on the order of the particles, whatever its scores."""

    def _verdict_on(self, model, split):
        verdict = super()._verdict_on(model, split)
        if verdict.status != "correct":
            return verdict
        moved = (_classes(model, split.x) != _classes(model, _shuffled(split.x))).float().mean().item()
        if moved <= MOVED:
            return verdict
        return self._wrong(
            _ORDER,
            (
                f"on {len(split):,} kept back",
                f"{moved:.1%} of the predictions change when particles are shuffled",
            ),
        )


_ORDER = (
    "It depends on the order of the particles: shuffle those of a jet, and its prediction changes. Treat them all "
    "alike, with the same φ for each and a sum over them, and no layer on the flattened list."
)


def _trained_on_sets(**options):
    """Decorate the solution of `set_tagger`."""
    return lambda solution: _SetExercise(solution, attempt="tagger", held_out=_particles_kept_back, **options)


@_trained_on_sets(
    score=_scores,
    floors={"accuracy": 0.68, "AUC for top": 0.96},
    hints=[
        "Begin with the Deep Set of the lesson: φ for each particle, the mask after it, a sum over the particles, then "
        "ρ. Does your network see ln z?",
        "Scale what φ gets: `(z.log() + 4.5) / 1.5` for real particles, z itself, and 5 Δy, 5 Δφ, better of jets "
        "turned onto their axes. Read out two sums, Σ φ / 10 and Σ z φ, side by side.",
        "φ 4 → 64 → 64 and ρ 128 → 64 → 64 → 5 with ReLUs, AdamW with `OneCycleLR(optimizer, max_lr=4e-3, "
        "total_steps=…)`, batches of 256, 10 epochs.",
    ],
)
def set_tagger(train_jets, valid_jets):
    """Return a network from jets x (N, 30, 3) to five logits (N, 5), trained.

    It must not depend on the order of the particles.
    """

    def turned(
        z, direction
    ):  # centred, on the principal axes, each pointing where the third moment is positive
        weight = z / z.sum(dim=1, keepdim=True)  # (N, n, 1)
        direction = (direction - (weight * direction).sum(dim=1, keepdim=True)) * (z > 0)
        _, axes = torch.linalg.eigh((weight * direction).transpose(1, 2) @ direction)
        direction = direction @ axes.flip(-1)
        third_moment = (weight * direction**3).sum(dim=1, keepdim=True)
        return direction * torch.where(third_moment < 0, -1.0, 1.0)

    class DeepSet(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.phi = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            self.rho = nn.Sequential(
                nn.Linear(2 * width, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, 5),
            )

        def forward(self, x):
            z, direction = x.split([1, 2], dim=-1)  # (N, n, 1), (N, n, 2)
            log_z = (z.clamp(min=1e-6).log() + 4.5) / 1.5
            h = self.phi(torch.cat([log_z, 5 * turned(z, direction), z], dim=-1)) * (z > 0)  # φ(0) is not 0
            return self.rho(torch.cat([h.sum(dim=1) / 10, (z * h).sum(dim=1)], dim=-1))

    torch.manual_seed(0)
    net, epochs = DeepSet(64).to(train_jets.x.device), 10
    batches = train_jets.batches(256, shuffle=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=epochs * len(batches))
    train.fit(net, batches, valid_jets.batches(1000), epochs=epochs, optimizer=optimizer, scheduler=scheduler)
    return net


lesson.add(set_tagger)


@set_tagger.symptom(_ORDER)
def _(model, jets):
    return (_classes(model, jets.x) != _classes(model, _shuffled(jets.x))).float().mean() > MOVED


@set_tagger.symptom(
    "It predicts one kind for nearly every jet. Is the learning rate too high, or did you train a different model from "
    "the one you returned?"
)
def _(model, jets):
    return _classes(model, jets.x).bincount(minlength=5).max() > 0.9 * len(jets)


@set_tagger.symptom(
    "Its rows sum to one: there is a softmax at its end, and the cross-entropy applied a second one during training. "
    "End with the logits."
)
def _(model, jets):
    return torch.allclose(model(jets.x[:500]).sum(dim=1), torch.ones(500, device=jets.x.device), atol=1e-3)


@set_tagger.symptom(
    "It does hardly better than guessing. Did you give the optimizer its parameters, and did `fit` run?"
)
def _(model, jets):
    return (_classes(model, jets.x) == jets.y).float().mean() < 0.35


@set_tagger.symptom(
    "Its answer depends on the other jets of the batch. Does the sum go over the particles, axis 1, or is there a "
    "batch norm over jets that is left in training mode?"
)
def _(model, jets):
    alone = torch.cat([model(jets.x[i : i + 1]) for i in range(5)])
    return not torch.allclose(alone, model(jets.x[:500])[:5], rtol=1e-2, atol=1e-2)


@set_tagger.symptom(
    "Its answer depends on how many rows of padding there are. Multiply with the mask after φ: φ of a row of zeros is "
    "not 0."
)
def _(model, jets):
    x = jets.x[:500]
    wider = torch.cat([x, torch.zeros_like(x[:, :10])], dim=1)
    try:
        return not torch.allclose(model(wider), model(x), rtol=1e-2, atol=1e-2)
    except Exception:  # a network for 30 particles only
        return False


@set_tagger.symptom(
    "It has learned something, but these jets allow more. Does φ see ln z and 5 Δy, 5 Δφ, all of about one unit, and "
    "did training go on for 10 epochs, with a learning rate that falls to 0?"
)
def _(model, jets):
    return (_classes(model, jets.x) == jets.y).float().mean() < 0.64


@set_tagger.symptom(
    "It is nearly there. Turn each jet onto its principal axes first, with both axes pointing where the third moment "
    "is positive, or add Σ z φ to the readout."
)
def _(model, jets):
    return (_classes(model, jets.x) == jets.y).float().mean() >= 0.64
