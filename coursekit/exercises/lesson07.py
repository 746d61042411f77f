"""The exercises of lesson 7, Seeing high dimensions: solutions, classic mistakes, hints."""

import functools
import math
import time
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.checks import ExerciseSet, Question, normal

lesson = ExerciseSet("Lesson 7")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


def _seconds(function, arguments):
    """The shortest of three calls; one is enough where it takes long."""
    took = []
    while len(took) < 3 and max(took, default=0) < 0.2:
        started = time.perf_counter()
        function(*arguments)
        took.append(time.perf_counter() - started)
    return min(took)


def _too_slow(exercise, limit, *arguments):
    """A test of an attempt: whether it takes over `limit` seconds, and over ten times as long as the solution."""

    def holds(attempt):
        return _seconds(attempt, arguments) > max(limit, 10 * _seconds(exercise.reference, arguments))

    return holds


_TOO_SLOW = (
    "A remark: right, but it takes more than ten times as long as ours, and the lesson calls it {} So it goes on with "
    "our solution. A loop in Python is slow; an operation on whole tables, such as {}, is fast."
)


# Section 1: a map, and how good it is ------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "one neighbour": (torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1]), 1),
        "three neighbours on a line": (
            torch.tensor([[0.0], [1.0], [2.5], [10.0], [11.0], [12.5]]),
            torch.tensor([3, 3, 5, 5, 5, 3]),
            3,
        ),
        "an ordinary map": (normal(21, 2), torch.tensor([0, 1, 1] * 7), 3),
        "float64 positions": (
            normal(20, 2, seed=1, dtype=torch.float64),
            torch.tensor([0] * 9 + [1] * 11),
            5,
        ),
        "two clouds": (
            torch.cat([normal(8, 2, seed=2), 3 + normal(9, 2, seed=3)]),
            torch.tensor([2] * 8 + [17] * 9),
            5,
        ),
        "positions in three dimensions": (
            normal(12, 3, seed=4),
            torch.tensor([1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1]),
            1,
        ),
        "four labels": (
            normal(26, 2, seed=5) + 1.5 * torch.tensor([[0.0, 0.0], [1.0, 0.0]]).repeat(13, 1),
            torch.tensor([0, 3, 1, 6, 0, 3, 1, 3, 0, 6, 6, 3, 1] * 2),
            7,
        ),
        "ties between labels": (
            torch.tensor([[0.0], [1.0], [2.5], [4.5], [7.0], [9.0]]),
            torch.tensor([1, 1, 2, 2, 1, 1]),
            2,
        ),
        "twins with the same label": (
            torch.tensor([[0.0], [0.0], [1.0], [5.0], [5.0], [7.0]]),
            torch.tensor([4, 4, 6, 4, 4, 6]),
            1,
        ),
        "twins with different labels": (
            torch.tensor([[0.0], [0.0], [1.0], [1.2], [5.0], [5.0], [7.0], [7.4], [7.7]]),
            torch.tensor([4, 6, 6, 6, 4, 6, 6, 6, 4]),
            1,
        ),
        "axes of different scale": (
            normal(18, 2, seed=6) * torch.tensor([20.0, 0.5]),
            torch.tensor([0, 0, 1, 1, 0, 1, 0, 1, 1] * 2),
            3,
        ),
        "all others vote": (normal(7, 2, seed=7), torch.tensor([1, 0, 0, 1, 1, 0, 1]), 6),
        "two points": (normal(2, 5, seed=9), torch.tensor([0, 1]), 1),
        "a wide map": (1e5 * normal(9, 2, seed=8), torch.tensor([0, 1, 0, 1, 1, 0, 1, 0, 0]), 3),
    },
    hints=[
        "In a table of all distances (N, N), who is always the nearest neighbour of a point? Rule that out first.",
        "`distances.fill_diagonal_(float('inf'))` rules it out. `distances.topk(k, largest=False).indices` is (N, k).",
        "`labels[neighbours]` (N, k) holds the votes; `.mode(dim=1).values` counts them.",
    ],
)
def knn_accuracy(positions, labels, k):
    """Return the fraction of points, from 0 to 1, that their k nearest neighbours classify correctly.

    The neighbours vote: the most frequent of their labels wins, of equally frequent ones the smallest.
    A point has no vote on itself. `positions` is (N, d), `labels` (N,) are integers.
    """
    distances = torch.cdist(positions, positions).fill_diagonal_(float("inf"))
    votes = labels[distances.topk(k, largest=False).indices]  # (N, k)
    return (votes.mode(dim=1).values == labels).float().mean().item()


knn_accuracy.remark(
    _TOO_SLOW.format("dozens of times, with 2,000 points too.", "`torch.cdist(positions, positions)`")
)(_too_slow(knn_accuracy, 0.05, normal(200, 2), torch.arange(200) % 10, 5))


def _nearest(positions, count, largest=False, itself=float("inf")):
    distances = torch.cdist(positions, positions).fill_diagonal_(itself)
    return distances.topk(count, largest=largest).indices


def _without_itself(positions):
    return torch.cdist(positions, positions).fill_diagonal_(float("inf"))


def _weighted(weight):
    """The vote with weights that depend on the distance."""

    def attempt(positions, labels, k):
        distances, near = _without_itself(positions).topk(k, largest=False)
        votes = F.one_hot(labels[near]) * weight(distances)[..., None]
        return (votes.sum(dim=1).argmax(dim=1) == labels).float().mean()

    return attempt


def _share(votes, labels):
    return (votes.mode(dim=1).values == labels).float().mean().item()


knn_accuracy.mistakes(
    {
        "Each point counts itself: it is its own nearest neighbour, at "
        "distance 0, and votes for its own label. Put inf on the diagonal of "
        "the distances.": lambda positions, labels, k: _share(
            labels[_nearest(positions, k, itself=0.0)], labels
        ),
        "You asked for one more neighbour, because the point itself is among them, but it still votes. Put inf on the "
        "diagonal of the distances, and take k.": lambda positions, labels, k: _share(
            labels[_nearest(positions, k + 1, itself=0.0)], labels
        ),
        "One neighbour is lost: the point itself is ruled out, and then the "
        "first column is dropped as well.": lambda positions, labels, k: _share(
            labels[_nearest(positions, k + 1)[:, 1:]], labels
        ),
        "Only the nearest neighbour votes here. All k should.": lambda positions, labels, k: _share(
            labels[_nearest(positions, 1)], labels
        ),
        "Of equally frequent labels the smallest wins; yours takes the largest.": lambda positions, labels, k: (
            _share(-labels[_nearest(positions, k)], -labels)
        ),
        "This is a percentage. Return a fraction from 0 to 1.": lambda positions, labels, k: (
            100 * _share(labels[_nearest(positions, k)], labels)
        ),
        "That counts the points. Divide by their number.": lambda positions, labels, k: (
            _share(labels[_nearest(positions, k)], labels) * len(labels)
        ),
        "This is the fraction of errors. Return the fraction classified "
        "correctly.": lambda positions, labels, k: 1 - _share(labels[_nearest(positions, k)], labels),
    }
)


def _voted(
    nearest=_nearest,
    vote=lambda votes: votes.mode(dim=1).values,
    count=lambda right: right.float().mean().item(),
):
    return lambda positions, labels, k: count(vote(labels[nearest(positions, k)]) == labels)


def _in_a_loop(voters):
    """The vote of `voters(distances, k)` (N, N), the row of a point marking its own; without any it is wrong."""

    def attempt(positions, labels, k):
        votes = voters(_without_itself(positions), k)
        right = [
            own.any() and labels[own].mode().values == label for own, label in zip(votes, labels, strict=True)
        ]
        return sum(map(bool, right)) / len(labels)

    return attempt


_ITSELF = {
    "The point itself votes: put inf on the diagonal.": {"nearest": lambda p, k: _nearest(p, k, itself=0.0)},
    "Only the nearest neighbour votes: take k.": {"nearest": lambda p, k: _nearest(p, 1)},
    "The farthest points vote: `largest=False`.": {"nearest": lambda p, k: _nearest(p, k, True, -1.0)},
    "One neighbour is lost, the first column.": {"nearest": lambda p, k: _nearest(p, k)[:, 1:]},
}
_COUNTS = {
    "This is a percentage.": {"count": lambda right: 100 * right.float().mean()},
    "The number of points is not divided by.": {"count": lambda right: right.sum()},
    "This is the fraction of errors.": {"count": lambda right: (~right).float().mean()},
}
_VOTES = {
    "Of equally frequent labels the smallest wins, not the largest.": {
        "vote": lambda votes: -(-votes).mode(dim=1).values
    },
    "The labels are averaged: take the most frequent, `mode`.": {
        "vote": lambda votes: votes.double().mean(dim=1).round()
    },
}
knn_accuracy.pairs_of_slips(_voted, _ITSELF, _COUNTS)
knn_accuracy.pairs_of_slips(_voted, {told: _ITSELF[told] for told in _ITSELF if "Only" not in told}, _VOTES)
knn_accuracy.mistakes(
    {
        "You take k + 1 neighbours although the point itself is ruled out already. Take k.": _voted(
            lambda p, k: _nearest(p, k + (k + 1 < len(p)))
        ),
        "You take k + 1 neighbours although the point itself is ruled out already: `topk(k)`.": _voted(
            lambda p, k: _nearest(p, k + 1)
        ),
        "A large dot product is not a small distance: it prefers points far from the origin. Use `torch.cdist`.": [
            _voted(lambda p, k: (p @ p.T).fill_diagonal_(-math.inf).topk(k).indices),
            _voted(lambda p, k: (p @ p.T).topk(k).indices),
            _voted(lambda p, k: (p @ p.T).fill_diagonal_(math.inf).topk(k, largest=False).indices),
        ],
        "That compares angles seen from the origin. Use distances, `torch.cdist`.": _voted(
            lambda p, k: (
                (F.normalize(p, dim=1) @ F.normalize(p, dim=1).T).fill_diagonal_(-math.inf).topk(k).indices
            )
        ),
        "The vote runs over the points. Each row of `labels[neighbours]` (N, k) is an election: `dim=1` in `topk` and "
        "in `mode`.": [
            lambda positions, labels, k: (
                (labels[_nearest(positions, k)].mode(dim=0).values == labels[:k]).float().mean()
            ),
            _voted(vote=lambda votes: votes.mode(dim=0).values),
            _voted(vote=lambda votes: votes.flatten().mode().values),
        ],
        "`topk` returns the distances, `values`, and the places, `indices`. The labels need the places.": [
            _voted(lambda p, k: _without_itself(p).topk(k, largest=False).values.long()),
            _voted(lambda p, k: _without_itself(p).topk(k, largest=False).values),
            _voted(lambda p, k: _without_itself(p).sort(dim=1).values[:, :k].long()),
        ],
        "The votes are weighted by nearness, 1/d. All k neighbours count the same.": [
            _weighted(lambda d: 1 / d),
            _weighted(lambda d: 1 / d**2),
            _weighted(lambda d: 1 / (d + 1e-8)),
            _weighted(lambda d: torch.exp(-d)),
        ],
        "Only the k-th neighbour votes. All of the first k should: `[:, :k]`.": [
            _voted(vote=lambda votes: votes[:, -1]),
            _voted(lambda p, k: _without_itself(p).argsort(dim=1)[:, k : k + 1]),
        ],
        "The labels in this check are not only 0 to 9. Let `one_hot` find out how many there are, or use `mode`.": [
            _voted(vote=lambda votes: F.one_hot(votes, 10).sum(dim=1).argmax(dim=1)),
        ],
        "These are distances between columns, not between points. The rows of `positions` are the points.": [
            _voted(lambda p, k: _nearest(p.T, k)),
        ],
        "The count is divided by k. Divide by the number of points.": (
            lambda positions, labels, k: _share(labels[_nearest(positions, k)], labels) * len(labels) / k
        ),
        "Only the first coordinate is compared. A distance needs all of them.": _voted(
            lambda p, k: _nearest(p[:, :1], k)
        ),
        "The two nearest are dropped, and only one of them can be the point itself. Put inf on the diagonal instead.": (
            _voted(lambda p, k: torch.cdist(p, p).argsort(dim=1)[:, 2 : k + 2])
        ),
        "Accuracies are averaged over the labels. Average over the points: each counts the same.": (
            lambda positions, labels, k: torch.stack(
                [
                    (labels[_nearest(positions, k)].mode(dim=1).values == labels)[labels == one]
                    .float()
                    .mean()
                    for one in labels.unique()
                ]
            ).mean()
        ),
        "Every point gets the most frequent label of all. Ask its k nearest neighbours.": lambda positions, labels, k: (
            (labels == labels.mode().values).float().mean()
        ),
        "A point counts as right only if all k neighbours have its label. The most frequent label wins.": (
            lambda positions, labels, k: (
                (labels[_nearest(positions, k)] == labels[:, None]).all(dim=1).float().mean()
            )
        ),
        "A vote of exactly half counts as won. The most frequent label wins, in a tie the smallest.": (
            lambda positions, labels, k: (
                ((labels[_nearest(positions, k)] == labels[:, None]).sum(dim=1) >= k / 2).float().mean()
            )
        ),
        "These are the winning labels. Compare them with `labels`, and return the fraction that agrees.": (
            lambda positions, labels, k: labels[_nearest(positions, k)].mode(dim=1).values
        ),
        "This says for each point whether it is right. Return the fraction, a mean.": _voted(
            count=lambda right: right
        ),
        "The largest label wins. The most frequent one should: `mode`.": _voted(
            vote=lambda votes: votes.amax(dim=1)
        ),
        "The smallest label wins. The most frequent one should: `mode`.": _voted(
            vote=lambda votes: votes.amin(dim=1)
        ),
        "`mode` gives the most frequent neighbour, not the most frequent label. Look the labels up first.": (
            lambda positions, labels, k: (
                (labels[_nearest(positions, k).mode(dim=1).values] == labels).float().mean()
            )
        ),
        "`mode` returns values and their places, and you compare the places. Take `.mode(dim=1).values`.": _voted(
            vote=lambda votes: votes.mode(dim=1).indices
        ),
        "The labels were compared with something that is not a tensor, which gives a single False. `mode` returns a "
        "pair: compare its `.values`. A list becomes a tensor by `torch.tensor(…)`.": _voted(
            vote=lambda votes: votes.mode(dim=1)
        ),
        "`labels` has one axis, and here it gets several indices. Are they the pair that `topk` returns? Take its "
        "`.indices`.": _voted(lambda p, k: _without_itself(p).topk(k, largest=False)),
        "The numbers of the neighbours are compared with the labels. Look their labels up: `labels[neighbours]`.": (
            lambda positions, labels, k: (_nearest(positions, k).mode(dim=1).values == labels).float().mean()
        ),
        "The number on the diagonal is too small: on a wide map other points are farther away than that, and a point "
        "votes on itself. Put inf there.": [
            _voted(lambda p, k, number=number: _nearest(p, k, itself=number))
            for number in (1.0, 10.0, 100.0, 1e3, 1e4)
        ],
        "0 · inf is nan, so `torch.eye(N) * inf` is nan off the diagonal. Use `fill_diagonal_(float('inf'))`.": (
            _voted(
                lambda p, k: (
                    (torch.cdist(p, p) + torch.eye(len(p), dtype=p.dtype) * math.inf)
                    .topk(k, largest=False)
                    .indices
                )
            )
        ),
        "The largest distance is too small for the diagonal: if k = N − 1, a point may tie with its farthest "
        "neighbour and vote on itself. Put inf there.": _voted(
            lambda p, k: _nearest(p, k, itself=torch.cdist(p, p).max().item())
        ),
        "With point i taken out, the numbers of all points after it are shifted by one. Take their labels out in the "
        "same way, or put inf on the diagonal.": _voted(
            lambda p, k: (
                torch.cdist(p, p)[~torch.eye(len(p), dtype=torch.bool)]
                .view(len(p), -1)
                .topk(k, largest=False)
                .indices
            )
        ),
        "The loop ends after the first point. `return` belongs after the loop, not inside it.": _voted(
            count=lambda right: right[0].item() / len(right)
        ),
        "k is a number of neighbours, not a distance. Take the k nearest, however far away they are.": _in_a_loop(
            lambda distances, k: distances < k
        ),
        "The vote is the wrong way round: the points that have point i among their neighbours decide. Its own k "
        "nearest neighbours should.": (
            _in_a_loop(
                lambda distances, k: (
                    distances.topk(k, largest=False).indices[None]
                    == torch.arange(len(distances))[:, None, None]
                ).any(dim=2)
            )
        ),
        "The number of coordinates is not always 2: a map may have 1 or 3. `torch.cdist` takes all of them.": _voted(
            lambda p, k: _nearest(torch.stack([p[:, 0], p[:, 1]], dim=1), k)
        ),
    }
)


_TOO_FEW = (
    "Of k neighbours, itself included, k − 1 are left, and none for k = 1. Rule the point out first, with inf on the "
    "diagonal of the distances, and then take the first k; or leave it in, and take k + 1 without the first."
)


@knn_accuracy.mistake(_TOO_FEW)
def _(positions, labels, k):
    return _share(labels[_nearest(positions, k, itself=0.0)[:, 1:]], labels)


@knn_accuracy.mistake(_TOO_FEW)
def _(positions, labels, k):
    votes = labels[_nearest(positions, k, itself=0.0)[:, 1:]].tolist()
    winners = torch.tensor([Counter(row).most_common(1)[0][0] for row in votes])
    return (winners == labels).float().mean().item()


@knn_accuracy.mistake(_TOO_FEW)
def _(positions, labels, k):
    votes = labels[_nearest(positions, k, itself=0.0)[:, 1:]].tolist()
    winners = torch.tensor([max(sorted(set(row)), key=row.count) for row in votes])
    return (winners == labels).float().mean().item()


@knn_accuracy.mistake(
    "You drop the first of k + 1 neighbours as the point itself, but with two points at the same place the other one "
    "may come first. Put inf on the diagonal of the distances instead."
)
def _(positions, labels, k):
    return _share(labels[_nearest(positions, k + 1, itself=0.0)[:, 1:]], labels)


@knn_accuracy.mistake(
    "That is the median of the labels. Labels are names: the most frequent one wins, `mode`."
)
def _(positions, labels, k):
    return (labels[_nearest(positions, k)].median(dim=1).values == labels).float().mean().item()


@knn_accuracy.mistake("That is the mean of the labels. Labels are names: the most frequent one wins, `mode`.")
def _(positions, labels, k):
    votes = labels[_nearest(positions, k)].double()
    return (votes.mean(dim=1).round() == labels).float().mean().item()


@knn_accuracy.mistake("The sum of |differences| is a different distance. Use the usual one, `torch.cdist`.")
def _(positions, labels, k):
    distances = torch.cdist(positions, positions, p=1).fill_diagonal_(float("inf"))
    return _share(labels[distances.topk(k, largest=False).indices], labels)


@knn_accuracy.mistake(
    "The coordinates were rescaled first, which changes who is near. Use the positions as they are."
)
def _(positions, labels, k):
    return _share(labels[_nearest((positions - positions.mean(dim=0)) / positions.std(dim=0), k)], labels)


@knn_accuracy.mistake("Those are the points farthest away: `largest=False`.")
def _(positions, labels, k):
    return _share(labels[_nearest(positions, k, largest=True, itself=-1.0)], labels)


@knn_accuracy.mistake(
    "That is the fraction of neighbours with the right label. The neighbours vote: a point counts as a "
    "whole, if the winning label is right."
)
def _(positions, labels, k):
    return (labels[_nearest(positions, k)] == labels[:, None]).float().mean().item()


@knn_accuracy.mistake("One right neighbour is not enough: the most frequent label among the k wins.")
def _(positions, labels, k):
    return (labels[_nearest(positions, k)] == labels[:, None]).any(dim=1).float().mean().item()


@knn_accuracy.mistake("Of equally frequent labels the smallest wins; yours takes that of the nearest point.")
def _(positions, labels, k):
    votes = labels[_nearest(positions, k)].tolist()
    winners = torch.tensor([Counter(row).most_common(1)[0][0] for row in votes])
    return (winners == labels).float().mean().item()


@knn_accuracy.mistake(
    "You require more than half of the votes. The most frequent label wins, even with fewer."
)
def _(positions, labels, k):
    right = (labels[_nearest(positions, k)] == labels[:, None]).sum(dim=1)
    return (right > k / 2).float().mean().item()


@knn_accuracy.mistake(
    "Every distance of 0 is ruled out, so points at the same place are not neighbours. Rule out only the "
    "point itself, on the diagonal."
)
def _(positions, labels, k):
    distances = torch.cdist(positions, positions)
    return _share(
        labels[distances.masked_fill(distances == 0, float("inf")).topk(k, largest=False).indices], labels
    )


# Section 2: neighbours as probabilities ----------------------------------------------------------------------


@lesson.exercise(
    cases={
        "a uniform row": (torch.tensor([[0.25, 0.25, 0.25, 0.25]]),),
        "two rows": (torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]),),
        "a probability of 0": (torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.0, 0.75]]),),
        "a certain outcome": (torch.tensor([[0.0, 1.0, 0.0, 0.0]]),),
        "an ordinary table": (normal(3, 5).softmax(dim=1),),
        "as many rows as columns": (normal(4, 4, seed=2).softmax(dim=1),),
        "float64 numbers": (normal(4, 3, seed=1, dtype=torch.float64).softmax(dim=1),),
        "probabilities near 0": (torch.tensor([[1e-30, 1.0, 1e-20], [0.5, 1e-25, 0.5]]),),
        "more zeros in one row": (torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]]),),
        "a long uniform row": (torch.full((1, 20_000), 1 / 20_000),),
    },
    hints=[
        "It is the mean surprise, in logarithms to base 2: −Σ p log₂ p for each row. What is 0 · log 0 on a "
        "computer?",
        "`torch.special.xlogy(p, p)` is p ln p with 0 ln 0 = 0; divided by ln 2 it is in bits. Or clamp p in the log.",
    ],
)
def entropy_bits(p):
    """Return the entropy in bits (N,) of each row of p (N, M), whose rows are probabilities.

    A probability of 0 adds nothing.
    """
    return -torch.special.xlogy(p, p).sum(dim=1) / math.log(2)


entropy_bits.remark(
    _TOO_SLOW.format("with tables of 500 × 500, dozens of times.", "`torch.special.xlogy(p, p)`")
)(_too_slow(entropy_bits, 0.004, normal(200, 200).softmax(dim=1)))


def _with_small_number(small):
    return lambda p: -(p * (p + small).log2()).sum(dim=1)


def _clamped(low):
    return lambda p: -(p.clamp(min=low) * p.clamp(min=low).log2()).sum(dim=1)


_LN2 = math.log(2)


def _entropy(sign=-1, log=torch.special.xlogy, by=_LN2, total=lambda terms: terms.sum(dim=1)):
    return lambda p: sign * total(log(p, p)) / by


_BASES = {
    "These are nats: divide by ln 2.": {"by": 1},
    "You multiply by ln 2: divide.": {"by": 1 / math.log(2)},
}
_ROWS = {
    "The sum runs down the columns: `dim=1`.": {"total": lambda terms: terms.sum(dim=0)},
    "All rows were added up: `sum(dim=1)`.": {"total": Tensor.sum},
    "Sum the terms, p weights them already.": {"total": lambda terms: terms.mean(dim=1)},
    "The terms are not added up: `sum(dim=1)`.": {"total": lambda terms: terms},
}
_SIGN = {"The sign is wrong: an entropy is not negative.": {"sign": 1}}
_NAN = {"0 · log 0 is nan: use `torch.special.xlogy`.": {"log": lambda p, _: p * p.log()}}
entropy_bits.pairs_of_slips(_entropy, _BASES, _ROWS)
entropy_bits.pairs_of_slips(_entropy, _SIGN, _BASES | _ROWS | _NAN)
entropy_bits.pairs_of_slips(_entropy, _NAN, _ROWS)


entropy_bits.mistakes(
    {
        "The natural logarithm gives nats. For bits take the logarithm to base 2, or divide by ln 2.": {
            " / math.log(2)": ""
        },
        "0 · log 0 is nan on a computer, and one nan spoils the sum. A probability of 0 adds "
        "nothing: clamp p inside the logarithm, or use `torch.special.xlogy`.": lambda p: (
            -(p * p.log2()).sum(dim=1)
        ),
        "Natural logarithms give nats, and 0 · log 0 is nan. Take the logarithm to base 2, "
        "clamped away from 0.": lambda p: -(p * p.log()).sum(dim=1),
        "The sign is wrong: log p is negative, and an entropy is not.": {"-torch": "torch"},
        "You added up all the rows. Each row has an entropy of its own: `sum(dim=1)`.": {"dim=1": ""},
        "The sum runs down the columns. A distribution is a row: `dim=1`.": {"(dim=1)": "(dim=0)"},
        "p already weights the terms: add them up. A mean over the row divides by M once too often.": {
            "sum": "mean"
        },
        "That is the perplexity, 2 to the power of the entropy. Return the entropy.": lambda p: (
            2 ** (-torch.special.xlogy(p, p).sum(dim=1) / math.log(2))
        ),
        "The terms are not weighted: each −log₂ p counts with its probability p.": lambda p: (
            -p.log2().sum(dim=1)
        ),
        "The logarithm is to base 10. Bits need base 2.": {"(2)": "(10)"},
        "You multiply by ln 2, but a bit is ln 2 = 0.69 nats: divide by it.": {"/ math": "* math"},
        "This is a column, (N, 1). Leave `keepdim` out, so that the result has the shape (N,).": {
            "dim=1": "dim=1, keepdim=True"
        },
        "This is the Gini impurity, 1 − Σ p². The entropy is −Σ p log₂ p.": lambda p: (
            1 - p.square().sum(dim=1)
        ),
        "This is the surprise of the most probable outcome alone. The entropy is the mean over all of them.": (
            lambda p: -p.amax(dim=1).log2()
        ),
        "You divide by the largest possible entropy, log₂ M. Return the entropy itself.": {
            "/ math.log(2)": "/ math.log(p.shape[1])"
        },
        "Adding 1 inside the logarithm changes every term. A tiny number, 1e-12, is enough to avoid log 0.": [
            _with_small_number(1.0),
            lambda p: (p * (p + 1).log2()).sum(dim=1),
            lambda p: -(p * p.log1p()).sum(dim=1),
            lambda p: -(p * p.log1p()).sum(dim=1) / math.log(2),
        ],
        "p was clamped in front of the logarithm as well, so that a probability of 0 adds something. Clamp it only "
        "inside the logarithm.": [_clamped(low) for low in (1e-1, 5e-2, 1e-2, 1e-3, 1e-4, 1e-5)],
        "The probability is squared in front of the logarithm. Each −log₂ p counts with p.": lambda p: (
            -torch.special.xlogy(p.square(), p).sum(dim=1) / math.log(2)
        ),
        "The logarithm is squared. Each −log₂ p counts with p, and once.": [
            lambda p: (p * p.clamp(min=1e-38).log2().square()).sum(dim=1),
        ],
        "The terms (1 − p) log (1 − p) belong to a single yes-or-no question. A row has one term for each outcome: "
        "−p log₂ p.": lambda p: (
            -(torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p)).sum(dim=1) / math.log(2)
        ),
        "These are the terms 1 − p, not the probabilities. The entropy is −Σ p log₂ p.": [
            lambda p: -torch.special.xlogy(1 - p, 1 - p).sum(dim=1) / math.log(2),
            lambda p: -torch.special.xlogy(1 - p, p.clamp(min=1e-38)).sum(dim=1) / math.log(2),
            lambda p: -torch.special.xlogy(p, (1 - p).clamp(min=1e-38)).sum(dim=1) / math.log(2),
        ],
        "The terms of a row are not added up yet: `.sum(dim=1)`.": [
            {".sum(dim=1)": ""},
        ],
        "The rows are probabilities already. A softmax makes others of them.": [
            lambda p: -torch.special.xlogy(p.softmax(dim=1), p.softmax(dim=1)).sum(dim=1) / math.log(2),
            lambda p: -(p * p.log_softmax(dim=1)).sum(dim=1) / math.log(2),
            lambda p: -torch.special.xlogy(p.softmax(dim=1), p.softmax(dim=1)).sum(dim=1),
        ],
        "Every entropy is 0 here, the logarithm of 1: is p summed, or clamped to 1, before the logarithm? Take log₂ of "
        "each p, and sum the terms p log₂ p.": [
            lambda p: -(p * p.clamp(min=1).log2()).sum(dim=1),
            lambda p: -p.sum(dim=1).log2(),
            lambda p: -(p.sum(dim=1) * p.sum(dim=1).log2()),
            lambda p: -p.sum(dim=1).log(),
        ],
        "p was divided by its largest entry first. A row sums to one already: take it as it is.": lambda p: (
            -torch.special.xlogy(p / p.amax(dim=1, keepdim=True), p / p.amax(dim=1, keepdim=True)).sum(dim=1)
            / math.log(2)
        ),
        "This is the distance to the largest entropy, log₂ M − H. Return H itself.": lambda p: (
            math.log2(p.shape[1]) + torch.special.xlogy(p, p).sum(dim=1) / math.log(2)
        ),
        "Every surprise −log₂ p counts the same, 1/M. Weight it with its probability p.": lambda p: (
            -p.clamp(min=1e-30).log2().mean(dim=1)
        ),
        "The last outcome of each row is left out. Sum over all of them.": {
            "xlogy(p, p)": "xlogy(p, p)[:, :-1]"
        },
        "This is −log₂ Σ p², the surprise of two equal draws. The entropy is −Σ p log₂ p.": lambda p: (
            -p.square().sum(dim=1).log2()
        ),
        "This is log₂ of the number of outcomes that can occur, true only if they are equally probable.": [
            lambda p: (p > 0).sum(dim=1).to(p.dtype).log2(),
            lambda p: torch.full_like(p[:, 0], math.log2(p.shape[1])),
        ],
        "Only the largest probability of a row enters. The entropy sums over all outcomes.": [
            lambda p: -(p.amax(dim=1) * p.amax(dim=1).log2()),
        ],
        "Divided by the number of rows, each entropy shrinks. Return that of each row itself.": {
            "/ math.log(2)": "/ math.log(2) / len(p)"
        },
        "log₂ 0 was replaced by a large number that still counts. Multiply by p = 0: `torch.special.xlogy(p, p)`.": [
            lambda p: -(p.log2().nan_to_num(neginf=-1e9)).sum(dim=1),
        ],
        "The small number that you put into the logarithm is so large that it shows in the result: 1e-12 will do, or "
        "`torch.special.xlogy`.": [
            _with_small_number(small) for small in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
        ],
        "The clamp inside the logarithm reaches too far: p may be smaller than that without being 0. "
        "`clamp(min=1e-12)` will do, or `torch.special.xlogy`.": [
            lambda p, low=low: -(p * p.clamp(min=low).log2()).sum(dim=1) for low in (1e-1, 1e-2, 1e-3, 1e-4)
        ],
        "`p[p > 0]` is one long list. Cut into equal parts, it gives numbers to the wrong rows, since these may have "
        "different numbers of zeros. Keep the table: `torch.special.xlogy(p, p)`.": lambda p: (
            (q := p[p > 0].reshape(len(p), -1)) * -q.log2()
        ).sum(dim=1),
        "A column that holds a 0 in one row is left out of all rows. Keep it: `torch.special.xlogy(p, p)` makes such a "
        "term 0.": lambda p: -torch.special.xlogy(q := p[:, (p > 0).all(dim=0)], q).sum(dim=1) / math.log(2),
        "nan is replaced too late: it has spoiled the sum, so the entropy of its row becomes 0. Replace it in the "
        "terms, before the sum.": lambda p: -(p * p.log2()).sum(dim=1).nan_to_num(),
        "Python's own functions, such as `math.log2`, take one number, and a whole table arrived. Use `torch.log2`.": (
            lambda p: -(p * math.log2(p)).sum(dim=1)
        ),
        "`@` is a matrix product, (N, N). Multiply entry by entry, `*`, and sum over `dim=1`.": [
            *(
                lambda p, low=low: -(p @ p.clamp(min=low).log2().T)
                for low in (1e-38, 1e-30, 1e-12, 1e-10, 1e-9)
            ),
            *(lambda p, low=low: -(p @ (p + low).log2().T) for low in (1e-12, 1e-10, 1e-9)),
        ],
        "`len(p)` is the number of rows. A loop over the outcomes, the columns, needs `range(p.shape[1])`.": lambda p: (
            -sum(torch.special.xlogy(p[:, j], p[:, j]) for j in range(len(p))) / math.log(2)
        ),
    }
)


def _conditional(n, seed, dtype=torch.float32):
    """Probabilities p_{j|i}, rows that sum to one, with 0 on the diagonal."""
    return (normal(n, n, seed=seed, dtype=dtype) - 1e9 * torch.eye(n, dtype=dtype)).softmax(dim=1)


@lesson.exercise(
    cases={
        "three points": (torch.tensor([[0.0, 0.75, 0.25], [0.5, 0.0, 0.5], [0.1, 0.9, 0.0]]),),
        "two points": (torch.tensor([[0.0, 1.0], [1.0, 0.0]]),),
        "five points": (_conditional(5, seed=0),),
        "float64 numbers": (_conditional(4, seed=1, dtype=torch.float64),),
        "a point that nobody chooses": (
            torch.tensor(
                [
                    [0.0, 0.5, 0.5, 0.0],
                    [0.75, 0.0, 0.25, 0.0],
                    [0.25, 0.75, 0.0, 0.0],
                    [0.125, 0.5, 0.375, 0.0],
                ]
            ),
        ),
    },
    hints=[
        "The mean of p_{j|i} and p_{i|j} is symmetric. What do all its entries add up to?",
        "Each of the N rows sums to one, so the sum of all entries is N. Divide by it.",
    ],
)
def symmetric_p(conditional):
    """Return the joint probabilities P (N, N), symmetric, all entries together summing to one.

    Row i of `conditional` (N, N) holds p_{j|i}, summing to one, with 0 on the diagonal.
    """
    return (conditional + conditional.T) / (2 * len(conditional))


symmetric_p.mistakes(
    {
        "All entries together should sum to one; yours sum to N: the 2 is there, the N is missing.": {
            "(2 * len(conditional))": "2"
        },
        "Two tables were added: the sum is 2N, not N, so divide by 2N.": {
            "(2 * len(conditional))": "len(conditional)"
        },
        "Not symmetric yet: add the transposed table, `conditional.T`.": lambda conditional: (
            conditional / len(conditional)
        ),
        "You do not divide at all. Add the table to its transpose, and divide by 2N.": lambda conditional: (
            conditional + conditional.T
        ),
        "The number of entries is N², but their sum is N: each row sums to one. Divide by 2N.": {
            "len(conditional)": "conditional.numel()"
        },
        "The transposed table alone is not symmetric either: add it to the table itself.": {
            "(conditional + conditional.T) / (2 * ": "conditional.T / ("
        },
        "The root of the product vanishes if one of the two does. Take their mean.": lambda conditional: (
            (root := (conditional * conditional.T).sqrt()) / root.sum()
        ),
        "The smaller of the two is symmetric, but not what t-SNE takes: their mean.": lambda conditional: (
            (smaller := torch.minimum(conditional, conditional.T)) / smaller.sum()
        ),
        "The difference is not symmetric: it changes its sign when i and j are swapped. Add the two tables.": {
            "(conditional + ": "(conditional - "
        },
        "You divide by 2(N − 1), but there are N rows, each with the sum 1: divide by 2N.": {
            "len(conditional)": "(len(conditional) - 1)"
        },
        "Only one half of the table is filled. P is symmetric, so p_ij stands at [i, j] and at [j, i].": (
            lambda conditional: (conditional + conditional.T).triu() / (2 * len(conditional))
        ),
        "Only one half of the table is filled. Keep both: p_ij stands at [i, j] and at [j, i], and the sum is 2N.": [
            lambda conditional: (conditional + conditional.T).triu() / len(conditional),
            lambda conditional: (conditional + conditional.T).tril() / len(conditional),
        ],
        "All entries together sum to N². Do you divide by their mean, or multiply by N, as `/ 2 * N` does? Divide by "
        "their sum, 2N.": {"/ (2 * len(conditional))": "* len(conditional) / 2"},
        "A tensor was called like a function. `.T` takes no parentheses, and an index takes square brackets.": {
            ".T": ".T()"
        },
        "A function was added, not what it returns: its parentheses are missing, as in `conditional.t()`.": {
            ".T": ".t"
        },
        "The second table was divided by the sums of its columns, where it should be transposed: `conditional.T`.": {
            "conditional.T": "conditional / conditional.sum(dim=0)"
        },
    }
)


@symmetric_p.mistake(
    "The product of the two vanishes if either does. Take their mean: then a point that nobody else counts as a "
    "neighbour still has some."
)
def _(conditional):
    product = conditional * conditional.T
    return product / product.sum()


@symmetric_p.mistake("The larger of the two is symmetric, but not what t-SNE takes: their mean.")
def _(conditional):
    larger = torch.maximum(conditional, conditional.T)
    return larger / larger.sum()


@symmetric_p.mistake(
    "Each row sums to one again, which breaks the symmetry. Divide by one number, the sum of the whole table."
)
def _(conditional):
    total = conditional + conditional.T
    return total / total.sum(dim=1, keepdim=True)


@symmetric_p.mistake(
    "A matrix product with the transpose is something different. Add the two tables entry by entry."
)
def _(conditional):
    product = conditional @ conditional.T
    return product / product.sum()


def _symmetric_in_place(conditional):
    table = conditional.clone()
    for i in range(len(table)):
        for j in range(len(table)):
            table[i, j] = (table[i, j] + table[j, i]) / (2 * len(table))
    return table


def _joint(joined=torch.add, by=lambda table: 2 * len(table)):
    return lambda conditional: (table := joined(conditional, conditional.T)) / by(table)


_JOINED = {
    "The table is not added to its transpose.": {"joined": lambda c, t: c},
    "The two tables are multiplied entry by entry: add them.": {"joined": torch.mul},
    "A matrix product is something different: add the two tables.": {"joined": torch.matmul},
    "That is the geometric mean: take the arithmetic one, add.": {"joined": lambda c, t: (c * t).sqrt()},
    "That is the larger of the two: take their mean, add.": {"joined": torch.maximum},
    "That is the smaller of the two: take their mean, add.": {"joined": torch.minimum},
    "The table is subtracted from its transpose, or the other way round: add.": {"joined": torch.sub},
    "Only one triangle is filled: P is symmetric.": {"joined": lambda c, t: (c + t).triu()},
    "Only one triangle of P is filled: p_ij stands at [i, j] and [j, i].": {
        "joined": lambda c, t: (c + t).tril()
    },
}
_DIVIDED = {
    "Divide by 2N, not by N.": {"by": len},
    "Divide by 2N, not by 2.": {"by": lambda table: 2},
    "Divide by 2N.": {"by": lambda table: 1},
    "Divide by 2N, not by N².": {"by": Tensor.numel},
    "Divide by 2N, not by the sums of the rows.": {"by": lambda table: table.sum(dim=1, keepdim=True)},
}
symmetric_p.slips(_joint, dict([*_JOINED.items()][-1:]))
_AS_A_MEAN = {told: _JOINED[told] for told in _JOINED if "mean" in told}  # of these, N is the right divisor
symmetric_p.pairs_of_slips(_joint, _AS_A_MEAN, dict([*_DIVIDED.items()][1:]))
symmetric_p.pairs_of_slips(
    _joint, {told: _JOINED[told] for told in [*_JOINED][1:-2] if told not in _AS_A_MEAN}, _DIVIDED
)
symmetric_p.pairs_of_slips(  # one triangle over N has its own sentence
    _joint, dict([*_JOINED.items()][-2:]), dict([*_DIVIDED.items()][1:])
)
symmetric_p.mistakes(
    {
        "The matrix product takes the place of a sum. Add the tables entry by entry: `conditional + conditional.T`.": (
            _joint(torch.matmul)
        ),
        "The two tables are multiplied, where they should be added: `conditional + conditional.T`.": _joint(
            torch.mul
        ),
        "That is the geometric mean, the root of the product. Take the arithmetic one: add the two tables.": [
            _joint(lambda c, t: (c * t).sqrt()),
            _joint(lambda c, t: (c * t).sqrt(), len),
        ],
        "The larger of the two stands here in place of their sum, `conditional + conditional.T`.": [
            _joint(torch.maximum),
            _joint(torch.maximum, len),
        ],
        "The smaller of the two stands here in place of their sum, `conditional + conditional.T`.": [
            _joint(torch.minimum),
            _joint(torch.minimum, len),
        ],
        "`flip` turns the order of the rows or columns round. The transpose exchanges rows and columns: `.T`.": [
            _joint(lambda c, t: c + c.flip(0)),
            _joint(lambda c, t: c + c.flip(1)),
            _joint(lambda c, t: c + c.flip(0, 1)),
            _joint(lambda c, t: c + c.flip(0), len),
        ],
        "A softmax makes other probabilities of these. Add the two tables, and divide by 2N.": [
            lambda c: ((c + c.T) / 2).flatten().softmax(dim=0).view_as(c),
            lambda c: (c + c.T).flatten().softmax(dim=0).view_as(c),
            lambda c: c.flatten().softmax(dim=0).view_as(c),
            lambda c: (c + c.T).softmax(dim=1),
            lambda c: ((c + c.T) / 2).softmax(dim=1),
            lambda c: ((c + c.T) / (2 * len(c))).softmax(dim=1),
        ],
        "One triangle was mirrored, and what stood in the other is lost. Both hold information: "
        "`conditional + conditional.T`.": [
            *(
                _joint(lambda c, t, half=half: half(c) + half(c).T, by)
                for half in (torch.triu, torch.tril)
                for by in (len, lambda table: 2 * len(table), torch.sum)
            ),
        ],
        "The table is added to itself, so nothing has become symmetric. Add its transpose, `conditional.T`.": [
            _joint(lambda c, t: c + c, len),
        ],
        "The sums of the rows and of the columns were divided by. Divide by one number, 2N.": [
            lambda c: (c + c.T) / ((c + c.T).sum(dim=0) * (c + c.T).sum(dim=1, keepdim=True)),
            lambda c: (c + c.T) / (c + c.T).sum(dim=0, keepdim=True),
            lambda c: (c / c.sum(dim=0) + (c / c.sum(dim=0)).T) / (2 * len(c)),
        ],
        "You divide by the largest entry. All entries together should sum to one: divide by 2N.": [
            _joint(by=torch.max),
        ],
        "You divide by N(N − 1), the number of pairs, but the sum of two tables is 2N.": [
            _joint(by=lambda table: len(table) * (len(table) - 1)),
            _joint(by=lambda table: len(table) * (len(table) - 1) / 2),
        ],
        "A root was taken, of N or of a mean of squares. Add the two tables, and divide by 2N.": [
            _joint(by=lambda table: 2 * len(table) ** 0.5),
            _joint(lambda c, t: (c.square() + t.square()).sqrt() * 2**0.5),
            _joint(lambda c, t: ((c.square() + t.square()) / 2).sqrt(), len),
        ],
        "That is the harmonic mean. Take the arithmetic one: add the two tables.": [
            lambda c: (h := c * c.T / (c + c.T).clamp(min=1e-30)) / h.sum(),
            lambda c: 2 * c * c.T / (c + c.T).clamp(min=1e-30) / len(c),
        ],
        "`c.T @ c` is a matrix product. Add the two tables entry by entry: `conditional + conditional.T`.": [
            lambda c: (product := c.T @ c) / product.sum(),
            lambda c: c.T @ c / (2 * len(c)),
            lambda c: c.T @ c / len(c),
        ],
        "Half of the table was changed before the other half was read. Write into a new table.": _symmetric_in_place,
        "The result is rounded. Leave all digits.": [
            lambda c: symmetric_p.reference(c).round(decimals=2),
            lambda c: symmetric_p.reference(c).round(decimals=3),
        ],
        "You divide by 4N: is the 2 there twice? The two tables sum to 2N.": [
            _joint(by=lambda table: 4 * len(table)),
        ],
        "The diagonal was filled. A point is not its own neighbour: it stays 0.": [
            lambda c: ((c + c.T) / (2 * len(c))).fill_diagonal_(1.0),
            lambda c: ((c + c.T) / 2 + torch.eye(len(c), dtype=c.dtype)) / (2 * len(c)),
        ],
        "The lengths of the rows were divided by, not their sums. Divide by one number, 2N.": [
            lambda c: F.normalize(c + c.T, dim=1),
            lambda c: (c + c.T) / (c + c.T).norm(),
        ],
    }
)


# Section 4: the t in t-SNE -----------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "three points": (torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]),),
        "two points on a line": (torch.tensor([[0.0], [2.0]]),),
        "an ordinary map": (normal(5, 2),),
        "float64 positions": (3 * normal(6, 2, seed=1, dtype=torch.float64),),
        "a wide map in three dimensions": (20 * normal(4, 3, seed=2),),
        "two points in the same place": (torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.5], [4.0, -1.0]]),),
        "all points in the same place": (torch.ones(3, 2),),
    },
    hints=[
        "The table of 1 / (1 + d²) for all pairs, divided by one number. Which entries are not pairs?",
        "`squared = (y[:, None] - y[None]).square().sum(dim=2)` is (N, N). Zero the diagonal before you take the sum.",
    ],
)
def student_q(y):
    """Return Q (N, N) of a map y (N, d): q_ij is proportional to 1 / (1 + |y_i − y_j|²), with q_ii = 0.

    All entries together sum to one.
    """
    squared = (y[:, None] - y[None]).square().sum(dim=2)
    w = (1 / (1 + squared)).fill_diagonal_(0)
    return w / w.sum()


student_q.remark(_TOO_SLOW.format("with 500 points, dozens of times.", "`y[:, None] - y[None]`"))(
    _too_slow(student_q, 0.04, normal(200, 2))
)


def _squared(y):
    return (y[:, None] - y[None]).square().sum(dim=2)


def _normalised(w):
    w = w.clone().fill_diagonal_(0)
    return w / w.sum()


@student_q.mistake(
    "The diagonal is not zeroed: every point counts as its own neighbour, with the largest weight of all. Set it to 0 "
    "before dividing by the sum."
)
def _(y):
    w = 1 / (1 + _squared(y))
    return w / w.sum()


@student_q.mistake(
    "The diagonal is zeroed too late: the sum you divided by still had it, so Q sums to less than one."
)
def _(y):
    w = 1 / (1 + _squared(y))
    return (w / w.sum()).fill_diagonal_(0)


student_q.mistakes(
    {
        "Each row sums to one. In Q all entries together do: divide by the sum of the whole table.": {
            "squared = (y[:, None] - y[None]).square().sum(dim=2)\n    ": "",
            "squared": "_squared(y)",
            "sum()": "sum(dim=1, keepdim=True)",
        },
        "That is the Gaussian of SNE. Here the tail is heavier: 1 / (1 + d²).": lambda y: _normalised(
            (-_squared(y)).exp()
        ),
        "That is a Gaussian. Here the tail is heavier: 1 / (1 + d²).": [
            lambda y: _normalised((-_squared(y) / 2).exp()),
            lambda y: (-_squared(y)).fill_diagonal_(-math.inf).flatten().softmax(dim=0).view(len(y), len(y)),
        ],
        "The distance is not squared: 1 / (1 + d²).": lambda y: _normalised(1 / (1 + _squared(y).sqrt())),
        "Near pairs should get the large values: 1 divided by 1 + d².": lambda y: _normalised(
            1 + _squared(y)
        ),
        "The table is not divided by its sum yet.": lambda y: (1 / (1 + _squared(y))).fill_diagonal_(0),
        "The 1 is missing: 1 / d² is infinite for points that coincide.": lambda y: _normalised(
            1 / _squared(y)
        ),
        "Every distance of 0 is ruled out, so points in the same place are no neighbours. Zero only the diagonal: "
        "`fill_diagonal_(0)`.": lambda y: (
            (w := (1 / (1 + _squared(y))).masked_fill(_squared(y) == 0, 0)) / w.sum()
        ),
        "You square 1 + d, but the distance alone is squared: 1 / (1 + d²).": lambda y: _normalised(
            1 / (1 + _squared(y).sqrt()).square()
        ),
        "Here the root of 1 + d² is taken. Student's kernel is 1 / (1 + d²).": {
            "1 / (1 + squared)": "(1 + squared) ** -0.5"
        },
        "You sum the differences before you square them, so they cancel. Square first, then sum over d.": {
            ".square().sum(dim=2)": ".sum(dim=2).square()"
        },
        "You divide by the sum over pairs, each counted once, so Q sums to 2. Divide by the sum of the whole table.": {
            "w.sum()": "w.triu().sum()"
        },
        "You divide by the largest entry. All entries together should sum to one: divide by their sum.": {
            "w.sum()": "w.max()"
        },
        "You divide by N, but only the sum of the table makes all entries sum to one.": {"w.sum()": "len(w)"},
    }
)


def _q(
    squared=_squared,
    kernel=lambda squared: 1 / (1 + squared),
    zeroed=lambda w: w.clone().fill_diagonal_(0),
    by=torch.sum,
):
    return lambda y: (w := zeroed(kernel(squared(y)))) / by(w)


def _expanded(mixed):
    """|y_i|² + |y_j|² and the mixed term with another factor than −2."""
    return lambda y: y.square().sum(dim=1)[:, None] + y.square().sum(dim=1) + mixed * y @ y.T


_DISTANCES = {
    "The distances are not squared.": {"squared": lambda y: _squared(y).sqrt()},
    "The differences are summed before they are squared.": {
        "squared": lambda y: (y[:, None] - y[None]).sum(dim=2).square()
    },
    "The squared differences are averaged over the coordinates: sum them.": {
        "squared": lambda y: (y[:, None] - y[None]).square().mean(dim=2)
    },
}
_KERNELS = {
    "The kernel is a Gaussian: use 1 / (1 + d²).": {"kernel": lambda squared: (-squared).exp()},
    "The kernel is a Gaussian, exp(−d²/2): use 1 / (1 + d²).": {
        "kernel": lambda squared: (-squared / 2).exp()
    },
    "Divide 1 by 1 + d².": {"kernel": lambda squared: 1 + squared},
    "The kernel is squared.": {"kernel": lambda squared: (1 + squared) ** -2},
}
_DIAGONALS = {
    "The diagonal is not zeroed.": {"zeroed": lambda w: w},
    "Only one triangle of Q is filled.": {"zeroed": lambda w: w.triu(1)},
}
_TOTALS = {
    "The table is not divided by its sum.": {"by": lambda w: 1},
    "Each row sums to one: divide by the sum of the whole table.": {
        "by": lambda w: w.sum(dim=1, keepdim=True)
    },
    "You divide by N: divide by the sum of the whole table.": {"by": len},
    "You divide by the largest entry: divide by the sum.": {"by": torch.max},
}
student_q.pairs_of_slips(_q, _DISTANCES, dict([*_KERNELS.items()][:3]) | _DIAGONALS | _TOTALS)
student_q.pairs_of_slips(_q, _KERNELS, _DIAGONALS | _TOTALS)
student_q.pairs_of_slips(_q, dict([*_DIAGONALS.items()][:1]), dict([*_TOTALS.items()][:3]))
student_q.mistakes(
    {
        "The kernel is squared. Student's is 1 / (1 + d²), to the power −1.": _q(
            kernel=lambda d2: (1 + d2) ** -2
        ),
        "The distances are squared twice. `_squared` or `cdist(...)**2` once is enough: 1 / (1 + d²).": _q(
            kernel=lambda d2: 1 / (1 + d2.square())
        ),
        "A softmax exponentiates the weights 1 / (1 + d²). Divide them by their sum.": [
            lambda y: (w := _q(by=lambda w: 1)(y)).flatten().softmax(dim=0).view_as(w),
            lambda y: (1 / (1 + _squared(y))).flatten().softmax(dim=0).view(len(y), len(y)),
            lambda y: _q(by=lambda w: 1)(y).softmax(dim=1),
            lambda y: (
                (1 / (1 + _squared(y)))
                .fill_diagonal_(-math.inf)
                .flatten()
                .softmax(dim=0)
                .view(len(y), len(y))
            ),
        ],
        "Each row was divided by its sum first, and then the table made symmetric, as in P. Q has one sum for the "
        "whole table.": [
            lambda y: symmetric_p.reference(_q(by=lambda w: w.sum(dim=1, keepdim=True))(y)),
            lambda y: _q(by=lambda w: w.sum(dim=1, keepdim=True))(y) / len(y),
        ],
        "These are differences of the lengths of y_i and y_j, not the length of their difference.": [
            _q(lambda y: (y.square().sum(dim=1)[:, None] - y.square().sum(dim=1)).square()),
            _q(lambda y: (y.norm(dim=1)[:, None] - y.norm(dim=1)).square()),
            _q(lambda y: (y.square().sum(dim=1)[:, None] - y.square().sum(dim=1)).abs()),
        ],
        "The mixed term has a minus sign: |y_i − y_j|² = |y_i|² + |y_j|² − 2 y_i·y_j.": [
            _q(_expanded(2.0)),
            _q(_expanded(1.0)),
        ],
        "The mixed term has a factor 2: |y_i − y_j|² = |y_i|² + |y_j|² − 2 y_i·y_j.": _q(_expanded(-1.0)),
        "The mixed term is missing: |y_i − y_j|² = |y_i|² + |y_j|² − 2 y_i·y_j.": _q(_expanded(0.0)),
        "A dot product is not a squared distance. The kernel is 1 / (1 + |y_i − y_j|²).": _q(
            lambda y: y @ y.T
        ),
        "The squared differences are averaged over the coordinates. Sum them: `.sum(dim=2)`.": _q(
            lambda y: (y[:, None] - y[None]).square().mean(dim=2)
        ),
        "The distances are measured between columns. The points are the rows of y.": [
            _q(lambda y: _squared(y.T)),
        ],
        "The sum runs over the points, along one of the two axes of the table (N, N, d). Sum over the coordinates: "
        "`dim=2`.": [
            _q(lambda y: (y[:, None] - y[None]).square().sum(dim=1)),
            _q(lambda y: (y[:, None] - y[None]).square().sum(dim=0)),
        ],
        "Only one triangle is filled. Q is symmetric: every pair stands in it twice.": [
            _q(zeroed=lambda w: w.triu(1)),
            _q(zeroed=lambda w: w.tril(-1)),
            lambda y: _q()(y).triu(),
        ],
        "d² is halved, or the 1 doubled. Student's kernel is 1 / (1 + d²).": [
            _q(kernel=lambda d2: 1 / (1 + d2 / 2)),
            _q(kernel=lambda d2: 1 / (2 + 2 * d2 - d2)),
        ],
        "d² is doubled. Student's kernel is 1 / (1 + d²).": _q(kernel=lambda d2: 1 / (1 + 2 * d2)),
        "The largest difference of a coordinate, or the sum of |differences|, is another distance. Use "
        "|y_i − y_j|².": [
            _q(lambda y: torch.cdist(y, y, p=1).square()),
            _q(lambda y: torch.cdist(y, y, p=1)),
            _q(lambda y: torch.cdist(y, y, p=math.inf).square()),
        ],
        "The diagonal is 1: 1 / (1 + d²) is largest there. Set it to 0 before dividing by the sum.": (
            lambda y: _q()(y).fill_diagonal_(1)
        ),
        "Student's distribution has other degrees of freedom here. t-SNE takes one: 1 / (1 + d²).": [
            _q(kernel=lambda d2: (1 + d2 / 2) ** -1.5),
            _q(kernel=lambda d2: (1 + d2) ** -1.5),
            _q(kernel=lambda d2: (1 + d2 / 2) ** -2),
        ],
        "The root of the distance is taken, but the distance is squared: 1 / (1 + d²).": _q(
            kernel=lambda d2: 1 / (1 + d2**0.25)
        ),
        "Only the first coordinate is compared. A distance needs all of them.": _q(
            lambda y: _squared(y[:, :1])
        ),
        "The diagonal sums to N, and you subtract 1 from the sum. Set it to 0 before the sum.": lambda y: (
            (w := 1 / (1 + _squared(y))) / (w.sum() - 1)
        ).fill_diagonal_(0),
        "You divide by the length of the table, the root of the sum of squares. Divide by the sum.": _q(
            by=torch.norm
        ),
        "You divide by N², or N(N − 1). Only the sum of the table makes all entries sum to one.": [
            _q(by=Tensor.numel),
            _q(by=lambda w: len(w) * (len(w) - 1)),
        ],
        "You divide by twice the sum, so Q sums to one half.": _q(by=lambda w: 2 * w.sum()),
        "The diagonal is taken out, so that rows have N − 1 entries. Keep it, as 0: Q is (N, N).": (
            lambda y: _q()(y)[~torch.eye(len(y), dtype=torch.bool)].view(len(y), -1)
        ),
        "`y - y.T` is the table of differences only for d = 1. A new axis makes one for any d: `y[:, None] - y`, "
        "(N, N, d), whose squares are summed over `dim=2`.": _q(lambda y: (y - y.T).square()),
        "Only the diagonal is left: multiplied by the identity matrix, all pairs vanish. Put the 0 on the diagonal: "
        "`fill_diagonal_(0)`.": _q(zeroed=lambda w: w.diag().diag()),
        "A function stands where its result should: its parentheses are missing, as in `w.sum()`.": {
            "w.sum()": "w.sum"
        },
        "Every pair is listed once, as by `F.pdist`. Q is a table (N, N), where it stands twice: use `torch.cdist`.": [
            lambda y: (w := 1 / (1 + F.pdist(y).square())) / w.sum(),
            lambda y: (w := 1 / (1 + F.pdist(y).square())) / (2 * w.sum()),
        ],
        "The number of coordinates is not always 2: a map may have 1 or 3. Sum over all of them: `.sum(dim=2)`.": _q(
            lambda y: _squared(torch.stack([y[:, 0], y[:, 1]], dim=1))
        ),
    }
)


def _symmetric(n, seed, dtype=torch.float32):
    return symmetric_p.reference(_conditional(n, seed, dtype))


@lesson.exercise(
    cases={
        "two points": (torch.tensor([[0.0, 0.5], [0.5, 0.0]]), torch.tensor([[0.0], [2.0]])),
        "three points": (_symmetric(3, seed=0), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])),
        "an ordinary map": (_symmetric(5, seed=1), normal(5, 2)),
        "float64 numbers": (
            _symmetric(6, seed=2, dtype=torch.float64),
            3 * normal(6, 2, seed=1, dtype=torch.float64),
        ),
        "a map in three dimensions": (_symmetric(4, seed=3), 0.5 * normal(4, 3, seed=2)),
        "as many dimensions as points": (_symmetric(3, seed=4), normal(3, 3, seed=3)),
        "two points in the same place": (
            _symmetric(4, seed=5),
            torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.5], [2.0, -1.0]]),
        ),
        "P equal to Q": (student_q.reference(normal(4, 2, seed=6)), normal(4, 2, seed=6)),
    },
    hints=[
        "For every pair you need three factors: p − q, the weight w = 1 / (1 + d²), and the arrow y_i − y_j.",
        "`arrows = y[:, None] - y[None]` is (N, N, d). Multiply by `((p - q) * w)[:, :, None]` and sum over j, dim=1.",
        "And the factor 4: d_ij² holds y_i twice over, as pair (i, j) and as pair (j, i), and a square gives a 2.",
    ],
)
def tsne_gradient(p, y):
    """Return the gradient (N, d) of KL(P‖Q) with respect to the map y (N, d).

    `p` (N, N) is symmetric, has 0 on its diagonal and sums to one; Q is that of `student_q`.
    Row i is 4 Σ_j (p_ij − q_ij) (y_i − y_j) / (1 + |y_i − y_j|²).
    """
    w = (1 / (1 + torch.cdist(y, y).square())).fill_diagonal_(0)
    strength = (p - w / w.sum()) * w
    return 4 * (strength.sum(dim=1, keepdim=True) * y - strength @ y)  # Σ_j strength_ij (y_i − y_j)


tsne_gradient.remark(_TOO_SLOW.format("thousands of times, with 500 points.", "`y[:, None] - y[None]`"))(
    _too_slow(tsne_gradient, 0.008, _symmetric(200, seed=7), normal(200, 2))
)


def _forces(p, y, factor=4.0, weighted=1, sign=1.0, q=None):
    arrows = y[:, None] - y[None]
    w = (1 / (1 + arrows.square().sum(dim=2))).fill_diagonal_(0)
    q = w / w.sum() if q is None else q(w)
    strength = (p - q) * w**weighted
    return sign * factor * (strength[:, :, None] * arrows).sum(dim=1)


def _pairs_of(p, y):
    """The terms of the gradient for every pair, (N, N, d)."""
    arrows = y[:, None] - y[None]
    w = 1 / (1 + arrows.square().sum(dim=2))
    return 4 * ((p - student_q.reference(y)) * w)[:, :, None] * arrows


tsne_gradient.mistakes(
    {
        "The factor 4 is missing. y_i occurs in d_ij² and in d_ji², and the derivative of a "
        "square brings a 2.": lambda p, y: _forces(p, y, factor=1.0),
        "A factor of 2 is missing: y_i occurs twice, in the pair (i, j) and in the pair (j, "
        "i). Together with the 2 of the square this makes 4.": lambda p, y: _forces(p, y, factor=2.0),
        "The sign is wrong: it is p − q times y_i − y_j, summed over j. With q − p, y_j − y_i,"
        " or a sum over the other axis, a pair with p > q would drift apart.": lambda p, y: _forces(
            p, y, sign=-1.0
        ),
        "The weight 1 / (1 + d²) of each pair is missing: this is the gradient of SNE.": lambda p, y: _forces(
            p, y, weighted=0
        ),
        "In your Q the diagonal is not zeroed, so its sum is too large by N.": lambda p, y: _forces(
            p, y, q=lambda w: w / (w.sum() + len(w))
        ),
        "Your Q is not divided by its sum.": lambda p, y: _forces(p, y, q=lambda w: w),
        "The rows of your Q sum to one each. In t-SNE all of Q sums to one.": lambda p, y: _forces(
            p, y, q=lambda w: w / w.sum(dim=1, keepdim=True)
        ),
        "Only the attraction is left: the term − q_ij keeps the map from collapsing.": lambda p, y: _forces(
            p, y, q=torch.zeros_like
        ),
        "The mean over j divides by N. The gradient is a sum.": lambda p, y: _forces(p, y) / len(y),
        "Row i holds only its last pair: each j replaces the one before. Add them up, `+=`.": lambda p, y: (
            _pairs_of(p, y)[:, -1]
        ),
        "Row i is only the pair with the first point. Sum over all j.": lambda p, y: _pairs_of(p, y)[:, 0],
        "The weight 1 / (1 + d²) is there twice. One belongs to each pair.": lambda p, y: _forces(
            p, y, weighted=2
        ),
        "The arrow y_i − y_j is divided by its length. It enters as it is; the weight 1 / (1 + d²) does the rest.": (
            lambda p, y: (
                _pairs_of(p, y) / (y[:, None] - y[None]).norm(dim=2, keepdim=True).clamp(min=1e-12)
            ).sum(dim=1)
        ),
        "That is the map after a step. Return the gradient itself.": lambda p, y: y - _forces(p, y),
        "This is the loss, KL(P‖Q). Return its gradient with respect to the map, a row for each point.": lambda p, y: (
            (torch.special.xlogy(p, p) - torch.special.xlogy(p, student_q.reference(y))).sum()
        ),
        "The sum over all points makes one row of what should be N: sum over j only, `dim=1`.": lambda p, y: (
            _pairs_of(p, y).sum(dim=(0, 1))
        ),
        "The weights are squared inside Q: q_ij is w_ij divided by the sum of all w.": lambda p, y: _forces(
            p, y, q=lambda w: w.square() / w.square().sum()
        ),
    }
)


@tsne_gradient.mistake(
    "The force has a direction, the arrow y_i − y_j. A sum of strengths alone has none, and the wrong shape."
)
def _(p, y):
    w = (1 / (1 + _squared(y))).fill_diagonal_(0)
    return 4 * ((p - w / w.sum()) * w).sum(dim=1)


@tsne_gradient.mistake(
    "The arrow of a pair is y_i − y_j, not y_j: forces depend on differences of positions."
)
def _(p, y):
    w = (1 / (1 + _squared(y))).fill_diagonal_(0)
    return 4 * ((p - w / w.sum()) * w) @ y


def _gradient(
    factor=4.0,
    strength=lambda p, w: (p - w / w.sum()) * w,
    squared=lambda arrows: arrows.square().sum(dim=2),
    kernel=lambda squared: 1 / (1 + squared),
    zeroed=lambda w: w.clone().fill_diagonal_(0),
    total=lambda terms: terms.sum(dim=1),
):
    def attempt(p, y):
        arrows = y[:, None] - y[None]
        w = zeroed(kernel(squared(arrows)))
        return factor * total(strength(p, w)[:, :, None] * arrows)

    return attempt


def _in_two_products(pulls):
    """The gradient from the strengths (N, N), by `pulls(strength, y)`."""

    def attempt(p, y):
        w = (1 / (1 + _squared(y))).fill_diagonal_(0)
        return 4 * pulls((p - w / w.sum()) * w, y)

    return attempt


def _two_columns(p, y):
    """The first two columns of the gradient, each written on its own."""
    strength = (p - student_q.reference(y)) / (1 + _squared(y))
    return 4 * torch.stack(
        [(strength * (y[:, column, None] - y[:, column])).sum(dim=1) for column in (0, 1)], dim=1
    )


def _of_the_loss(loss):
    """The gradient of another loss than KL(P‖Q), by autograd."""

    def attempt(p, y):
        y = y.clone().requires_grad_()
        off = ~torch.eye(len(y), dtype=torch.bool)
        w = (1 / (1 + _squared(y)))[off]
        with torch.enable_grad():
            return torch.autograd.grad(loss(p[off], w / w.sum()), y)[0]

    return attempt


_LEADING = {
    "The factor 4 is missing.": {"factor": 1.0},
    "The factor is 4, not 2.": {"factor": 2.0},
    "The sign is wrong: p − q times y_i − y_j.": {"factor": -4.0},
}
_STRENGTHS = {
    "The weight 1 / (1 + d²) of each pair is missing.": {"strength": lambda p, w: p - w / w.sum()},
    "Each pair is multiplied by q_ij, where its weight is 1 / (1 + d²).": {
        "strength": lambda p, w: (p - w / w.sum()) * w / w.sum()
    },
    "Q is not divided by its sum.": {"strength": lambda p, w: (p - w) * w},
    "The rows of Q sum to one each: divide by the sum of the whole table.": {
        "strength": lambda p, w: (p - w / w.sum(dim=1, keepdim=True)) * w
    },
    "Only the attraction is left: − q_ij is missing.": {"strength": lambda p, w: p * w},
}
_NEAR = {
    "The distance is not squared.": {"squared": lambda arrows: arrows.norm(dim=2)},
    "The kernel is a Gaussian.": {"kernel": lambda squared: (-squared).exp()},
    "The kernel is a Gaussian, exp(−d²/2).": {"kernel": lambda squared: (-squared / 2).exp()},
    "The diagonal of w is not zeroed.": {"zeroed": lambda w: w},
}
tsne_gradient.pairs_of_slips(
    _gradient,
    _LEADING,
    _STRENGTHS | {told: _NEAR[told] for told in _NEAR if "Gauss" not in told},
)
tsne_gradient.pairs_of_slips(_gradient, dict([*_STRENGTHS.items()][1:3]), dict([*_NEAR.items()][:3]))
tsne_gradient.mistakes(
    {
        "Each pair is multiplied by q_ij. Its weight is w_ij = 1 / (1 + d²), not yet divided by the sum.": _gradient(
            strength=lambda p, w: (p - w / w.sum()) * w / w.sum()
        ),
        "Each pair is multiplied by p_ij. Its weight is w_ij = 1 / (1 + d²).": _gradient(
            strength=lambda p, w: (p - w / w.sum()) * p
        ),
        "The distance is not squared: w = 1 / (1 + d²).": [
            _gradient(squared=lambda arrows: arrows.norm(dim=2)),
            _gradient(kernel=lambda d2: 1 / (1 + d2.sqrt())),
        ],
        "The kernel of a map is Student's, 1 / (1 + d²), in Q and in the weight of each pair. Yours is a Gaussian, as "
        "in SNE.": [
            *(
                _gradient(factor, strength, kernel=kernel)
                for factor in (4.0, 2.0)
                for strength in (lambda p, w: p - w / w.sum(), lambda p, w: (p - w / w.sum()) * w)
                for kernel in (lambda d2: (-d2).exp(), lambda d2: (-d2 / 2).exp())
            ),
        ],
        "You multiply by 1 + d². Divide by it: far pairs pull less.": _gradient(
            strength=lambda p, w: torch.where(w > 0, (p - w / w.sum()) / w.clamp(min=1e-30), 0.0)
        ),
        "The term with y_i is missing: Σ_j of the strengths times y_i, minus the sum of the strengths times y_j.": [
            _in_two_products(lambda f, y: -f @ y),
        ],
        "The term with y_j is missing: the arrow is y_i − y_j.": _in_two_products(
            lambda f, y: f.sum(dim=1, keepdim=True) * y
        ),
        "You add the term with y_j. Subtract it: the arrow is y_i − y_j.": [
            _in_two_products(lambda f, y: f.sum(dim=1, keepdim=True) * y + f @ y),
            lambda p, y: _in_two_products(lambda f, y: f.sum(dim=1, keepdim=True) * y + f @ y)(p, -y),
        ],
        "This is the gradient of KL(Q‖P), the divergence the other way round.": [
            _of_the_loss(lambda p, q: (q * (q / p.clamp(min=1e-12)).log()).sum()),
            _of_the_loss(lambda p, q: (q * (q.log() - (p + 1e-12).log())).sum()),
        ],
        "This is the gradient of the squared error between P and Q. The loss is KL(P‖Q).": [
            _of_the_loss(lambda p, q: (p - q).square().sum()),
            _of_the_loss(lambda p, q: (p - q).square().mean()),
        ],
        "This is the gradient of a mean over all pairs. KL(P‖Q) is a sum.": _of_the_loss(
            lambda p, q: (p * (p.clamp(min=1e-30) / q).log()).mean()
        ),
        "The forces of a point are divided by the sum of its weights. Sum them as they are.": [
            _gradient(strength=lambda p, w: (p - w / w.sum()) * w / w.sum(dim=1, keepdim=True)),
            _gradient(strength=lambda p, w: (p - w / w.sum()) * w / p.sum(dim=1, keepdim=True)),
        ],
        "p is divided by q, but the gradient of the loss is a difference, p − q.": [
            _gradient(strength=lambda p, w: p / (w / w.sum()).clamp(min=1e-30) * w),
            _gradient(strength=lambda p, w: (p.clamp(min=1e-30) / (w / w.sum()).clamp(min=1e-30)).log() * w),
        ],
        "The absolute value of p − q turns repulsion into attraction. Keep the sign.": _gradient(
            strength=lambda p, w: (p - w / w.sum()).abs() * w
        ),
        "Only the repulsion is left: p_ij is missing.": _gradient(strength=lambda p, w: -w / w.sum() * w),
        "p − q is squared. It enters as it is, with its sign.": _gradient(
            strength=lambda p, w: (p - w / w.sum()).square() * w
        ),
        "The root of the weight is taken. It is 1 / (1 + d²) itself.": _gradient(
            strength=lambda p, w: (p - w / w.sum()) * w.sqrt()
        ),
        "The distance is not squared in the weight of a pair. It is 1 / (1 + d²), as in Q.": lambda p, y: (
            4
            * (
                ((p - student_q.reference(y)) / (1 + _squared(y).sqrt()))[:, :, None] * (y[:, None] - y[None])
            ).sum(dim=1)
        ),
        "The gradient was scaled to length 1. Return it as it is.": [
            lambda p, y: (g := _forces(p, y)) / g.norm().clamp(min=1e-12),
            lambda p, y: F.normalize(_forces(p, y), dim=1),
        ],
        "The columns of your Q sum to one each. In t-SNE all of Q sums to one.": lambda p, y: _forces(
            p, y, q=lambda w: w / w.sum(dim=0)
        ),
        "Each pair pulls only its first point. A loop over all i and j, not only j > i, reaches both.": [
            _gradient(strength=lambda p, w: ((p - w / w.sum()) * w).triu()),
            _gradient(strength=lambda p, w: ((p - w / w.sum()) * w).tril()),
        ],
        "That is the map after a step of gradient descent. Return the gradient itself.": [
            lambda p, y, rate=rate: y - rate * _forces(p, y) for rate in (0.01, 0.1, 10, 100, 200)
        ],
        "The 4 is an 8 here: is a factor 2 counted twice?": _gradient(factor=8.0),
        "The arrows are squared, which takes their direction away. y_i − y_j enters as it is.": [
            lambda p, y: (_pairs_of(p, y) * (y[:, None] - y[None])).sum(dim=1),
        ],
        "The arrows are not summed over j yet: `.sum(dim=1)` of (N, N, d).": _pairs_of,
        "The sum runs over the coordinates. Sum over j, `dim=1`: one row of d numbers for each point.": [
            lambda p, y: _pairs_of(p, y).sum(dim=2),
            lambda p, y: _pairs_of(p, y).sum(dim=(1, 2)),
        ],
        "P is not symmetric any more, or counted twice: use p as it is.": [
            lambda p, y: _forces(p + p.T, y),
            lambda p, y: _forces(p / p.sum(dim=1, keepdim=True), y),
        ],
        "You use 12 times p, as in early exaggeration. The gradient itself has p as it is.": [
            lambda p, y: _forces(12 * p, y),
            lambda p, y: _forces(4 * p, y),
        ],
        "The differences are summed before they are squared: |y_i − y_j|² is `.square().sum(dim=2)`.": [
            _gradient(squared=lambda arrows: arrows.sum(dim=2).square()),
            _gradient(squared=lambda arrows: arrows.square().mean(dim=2)),
        ],
        "The 1 is missing in w = 1 / (1 + d²), and 1 / d² is infinite for points that coincide.": _gradient(
            kernel=lambda d2: 1 / d2
        ),
        "Your Q has a Gaussian kernel, as in SNE. The Q of a map has Student's, 1 / (1 + d²): `student_q(y)`.": [
            lambda p, y, by=by: _forces(p, y, q=lambda w: _normalised((-_squared(y) / by).exp()))
            for by in (1, 2)
        ],
        "The weight of a pair is a Gaussian here. It is 1 / (1 + d²), as in Q.": [
            _gradient(strength=lambda p, w, by=by: (p - w / w.sum()) * ((1 - 1 / w) / by).exp())
            for by in (1, 2)
        ],
        "p ln(p/q) is a term of the loss. In the gradient, the difference p − q takes its place.": _gradient(
            strength=lambda p, w: torch.special.xlogy(p, p / (w / w.sum()).clamp(min=1e-30)) * w
        ),
        "Each pair is multiplied by N q_ij. Its weight is w_ij = 1 / (1 + d²), not divided by any sum.": _gradient(
            strength=lambda p, w: (p - w / w.sum()) * w / w.sum() * len(w)
        ),
        "The strengths, (N, N), need a third axis to multiply arrows, (N, N, d): `((p - q) * w)[:, :, None]`.": (
            lambda p, y: (4 * (p - student_q.reference(y)) / (1 + _squared(y)) * (y[:, None] - y)).sum(dim=1)
        ),
        "`s.sum(dim=1) @ y` adds up all points. Each row of y has a factor of its own: "
        "`s.sum(dim=1, keepdim=True) * y`.": _in_two_products(lambda f, y: f.sum(dim=1) @ y - f @ y),
        "A distance has no direction. Multiply by the arrow y_i − y_j, so that each row has d numbers.": (
            _in_two_products(lambda f, y: (f * torch.cdist(y, y)).sum(dim=1))
        ),
        "The number of coordinates is not always 2: a map may have 1 or 3. The arrows y_i − y_j have all of them.": (
            _two_columns
        ),
    }
)


# Section 6: what a map does not say --------------------------------------------------------------------------

wide_and_narrow = lesson.prediction(
    "wide_and_narrow",
    Question(
        1.0,
        "Both islands come out equally wide. Every point measures with its own σ, chosen so that it has about 30 "
        "neighbours, and that takes the difference in width away.",
        {
            10: "That would be true on a map of a country. But each point has its own yardstick σ, ten "
            "times as long here.",
            100: "That is the ratio of the areas on an honest map. This map is not honest about sizes.",
            3.16: "√10 would need a law that t-SNE does not have. What does the search for σ do to a wide cloud?",
            0.1: "The wide one narrower? Its σ are ten times larger, which cancels the width; it does not overdo it.",
            5.0: "Not half as honest, either. What does the search for σ do to a wide cloud?",
            2.0: "It is less than that. What does the search for σ do to a wide cloud?",
        },
        tolerance=0.3,
    ),
    hints=[
        "In what unit does a point measure the distances to its neighbours, before they become p_{j|i}?",
        "Perplexity fixes the number of neighbours. In a cloud ten times as wide, σ becomes ten times as large.",
    ],
)

near_and_far = lesson.prediction(
    "near_and_far",
    Question(
        "c",
        "At 5 and 30 no point has a neighbour outside its own cloud, so P says nothing about where the others are. "
        "At 100 the first neighbours from the next cloud come in, and even then 5 : 1 is lost.",
        {
            "a": "The map would have to know the distances between clouds. P holds neighbours only, and at "
            "5 and 30 every neighbour is in the same cloud.",
            "b": "At 5 and 30, roughly. With 100 points in a cloud, what must happen at a perplexity of 100?",
            "d": "The other way round: the smaller the perplexity, the less a point knows of what is far away.",
        },
    ),
    hints=[
        "How many points of its own cloud does a point have? How many neighbours does it look for?",
        "99 others are in its cloud. With 5 or 30 neighbours it never looks outside; with 100 it has to.",
    ],
)

islands = lesson.prediction(
    "islands",
    Question(
        "d",
        "There is no group at all: one Gaussian cloud, pure noise. At a perplexity of 2 every point clings "
        "to two neighbours, and randomness provides them.",
        {
            "a": "Read on before you believe it. What would a perplexity of 2 make of any cloud?",
            "b": "That is about the number of clumps on the map. What would a perplexity of 2 make of any cloud?",
            "c": "Clumps that touch may belong together, but does the map prove that they exist at all?",
        },
    ),
    hints=[
        "A perplexity of 2 asks every point for about two neighbours. Will it find them, whatever the data?",
        "Clumps of a few points each, everywhere, of the same size: which data give the same map?",
    ],
)

three_starts = lesson.prediction(
    "three_starts",
    Question(
        "b",
        "Who is near whom is what P holds, so that comes back. The rest depends on the initialization.",
        {
            "a": "The loss does not change when the map is rotated or mirrored. Why should places stay the "
            "same?",
            "c": "P holds next to nothing about far pairs of points. What would keep two islands at their distance?",
            "d": "The loss is not convex: every initialization may end in a different minimum, and a "
            "rotated map is as good.",
        },
    ),
    hints=[
        "Which pairs have a large p_ij, so that the loss insists on where they are?",
        "Only near pairs have a large p_ij. Which of the statements is about near pairs?",
    ],
)

quiz = lesson.quiz(
    "quiz",
    hints=[
        "Ask of each claim: does P know it? P knows who is near whom, each point measured in its own σ.",
        "A map may suggest a claim. What proves it are the original data, other runs, or a score.",
    ],
    size=Question(
        "b",
        "Each point measures in its own σ. Compare the spread in the original space.",
        {
            "a": "Sizes on the map say nothing: a cloud ten times as wide came out as wide as the narrow "
            "one.",
            "c": "More cells do take more room on the map, however much they vary.",
            "d": "At other perplexities sizes are meaningless too.",
        },
    ),
    gap=Question(
        "d",
        "P holds near pairs only. The gap between islands is set by repulsion and by the initialization.",
        {
            "a": "Three clouds, one five times as far away as the other, came out equally far apart.",
            "b": "The opposite does not follow either: the gap is no measure of anything.",
            "c": "The scale of the map has no unit, so a ratio of gaps has no meaning.",
        },
    ),
    neighbours=Question(
        "a",
        "That is what the loss asks for, and the neighbour recall of the map says how often it succeeded.",
        {
            "b": "There is no such guarantee: two dimensions cannot hold all neighbourhoods of many.",
            "c": "Near pairs are the one thing that the loss insists on.",
            "d": "Labels play no part in the map.",
        },
    ),
    seven=Question(
        "c",
        "Islands that survive other perplexities and seeds, that fair noise does not show, and that a clustering of "
        "the original data also finds, are credible.",
        {
            "a": "Noise has islands, too, at a small perplexity.",
            "b": "k-means finds as many clusters on a map as you ask for.",
            "d": "Trustworthiness asks whether near on the map was near before. Noise without any group scored well.",
        },
    ),
    lower_kl=Question(
        "d",
        "A larger perplexity makes P flatter and easier to match: the two losses measure different things.",
        {
            "a": "The targets P differ, so the numbers cannot be compared.",
            "b": "Not from these numbers: P is a different one.",
            "c": "Perplexity is your choice of scale. Neither value is the right one.",
        },
    ),
    supervised=Question(
        "a",
        "The network was trained to pull these classes apart. Its map shows what it learned, labels included.",
        {
            "b": "In the raw data the kinds overlap as they did before. Only the last layer was mapped.",
            "c": "t-SNE added no information. The labels entered when the network was trained.",
            "d": "It is a result, on what the network learned, provided that the points were not in its training set.",
        },
    ),
    new_point=Question(
        "c",
        "t-SNE moves points; it does not learn a function. PCA and an autoencoder do.",
        {
            "a": "There is no matrix: positions are optimised, not computed from the data.",
            "b": "That is a useful patch, but not what t-SNE gives you: it is a rule of your own.",
            "d": "Then all the other points would move as well, and it would be a different map.",
        },
    ),
    perplexity=Question(
        8.0,
        "Eight equal probabilities: an entropy of 3 bits, and 2³ = 8. Perplexity is an effective number of neighbours.",
        {
            3: "That is the entropy in bits. The perplexity is 2 to that power.",
            2.08: "That is the entropy in nats, ln 8. The perplexity is e to that power.",
            0.125: "That is the probability of one of them.",
            64: "It is two to the power of 3 bits, not of 6.",
        },
    ),
)


# Section 7: k-means ------------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "points on a line": (torch.tensor([[1.0], [2.0], [3.0], [8.0]]), torch.tensor([[1.0], [6.0]])),
        "a centroid at the origin": (
            torch.tensor([[3.0, 3.0], [0.0, 4.0]]),
            torch.tensor([[0.0, 0.0], [9.0, 9.0], [-5.0, 4.0]]),
        ),
        "points off the axes": (
            torch.tensor([[2.0, 2.0], [-3.0, 0.5]]),
            torch.tensor([[0.0, 0.0], [5.0, 2.0], [0.0, -3.0]]),
        ),
        "an ordinary table": (normal(6, 3), normal(4, 3, seed=1)),
        "as many centroids as points": (normal(5, 2, seed=2), normal(5, 2, seed=3)),
        "float64 numbers": (
            normal(9, 4, seed=6, dtype=torch.float64),
            normal(5, 4, seed=7, dtype=torch.float64),
        ),
        "points far from the origin": (100 + normal(7, 4, seed=4), 100 + normal(2, 4, seed=5)),
        "a batch of one": (normal(1, 3, seed=8), normal(4, 3, seed=9)),
        "a single centroid": (normal(5, 3, seed=10), normal(1, 3, seed=11)),
    },
    hints=[
        "You need the distance of every point to every centroid: a table (N, K). Which entry of a row counts?",
        "`torch.cdist(x, centroids)` is that table, and `argmin(dim=1)` gives the column of the smallest in each row.",
    ],
)
def assign_clusters(x, centroids):
    """Return for each point of x (N, D) the number, from 0, of the centroid (K, D) at the smallest distance."""
    return torch.cdist(x, centroids).argmin(dim=1)


assign_clusters.remark(
    _TOO_SLOW.format("thousands of times, with 450 points.", "`torch.cdist(x, centroids)`")
)(_too_slow(assign_clusters, 0.002, normal(300, 2), normal(9, 2, seed=1)))


def _squares(mixed=-2.0, own=1.0):
    """The nearest centroid by |c|² − 2 x·c, or what becomes of it with other factors."""
    return lambda x, centroids: (own * centroids.square().sum(dim=1) + mixed * x @ centroids.T).argmin(dim=1)


assign_clusters.mistakes(
    {
        "That is the centroid farthest away. The smallest distance wins: `argmin`.": {"argmin": "argmax"},
        "You return the nearest point of each centroid, K numbers. Return the nearest centroid of each "
        "of the N points: look along the other axis.": {"(dim=1)": "(dim=0)"},
        "These are the distances to the nearest centroid. Return its number: `argmin`.": {"argmin": "amin"},
        "These are squared distances to the nearest centroid. Return its number.": {
            "argmin": "square().amin"
        },
        "This is the nearest centroid itself. Return its number.": lambda x, centroids: centroids[
            torch.cdist(x, centroids).argmin(dim=1)
        ],
        "This is the whole table of distances. Where is the smallest entry of each row?": {
            ".argmin(dim=1)": ""
        },
        "The numbers should count from 0, as indices do.": {"(dim=1)": "(dim=1) + 1"},
        "The sum of |differences| is a different distance. The usual one squares them,"
        " adds them up, and takes the root.": lambda x, centroids: torch.cdist(x, centroids, p=1).argmin(
            dim=1
        ),
        "The differences are added before they are squared, so they cancel. Square first, then sum over D.": [
            {"torch.cdist(x, centroids)": "(x[:, None] - centroids[None]).sum(dim=2).abs()"},
            {"torch.cdist(x, centroids)": "(x[:, None] - centroids[None]).sum(dim=2)"},
            {"torch.cdist(x, centroids)": "(x[:, None] - centroids[None]).mean(dim=2)"},
            {"torch.cdist(x, centroids)": "(centroids[None] - x[:, None]).sum(dim=2)"},
        ],
        "The mixed term of |x − c|² = x² − 2 x·c + c² has a factor 2.": [
            _squares(mixed=-1.0),
            _squares(mixed=-0.5),
        ],
        "The mixed term of |x − c|² = x² − 2 x·c + c² has a minus sign.": [
            _squares(mixed=2.0),
            _squares(mixed=1.0),
        ],
        "c² is not squared: |x − c|² = x² − 2 x·c + c².": lambda x, centroids: (
            centroids.sum(dim=1) - 2 * x @ centroids.T
        ).argmin(dim=1),
        "The mixed term is missing: without x·c every point gets the centroid nearest to the origin.": [
            _squares(mixed=0.0),
            lambda x, centroids: centroids.norm(dim=1).argmin().expand(len(x)),
        ],
        "The smallest dot product is not the smallest distance, rather the opposite. Compare distances.": _squares(
            mixed=1.0, own=0.0
        ),
        "Only the lengths of x and of the centroids are compared. Compare the distances between them: `torch.cdist`.": [
            lambda x, centroids: (x.norm(dim=1)[:, None] - centroids.norm(dim=1)).abs().argmin(dim=1),
            lambda x, centroids: (x.square().sum(1)[:, None] - centroids.square().sum(1)).abs().argmin(dim=1),
        ],
        "x and the centroids have different numbers of rows, so they cannot be subtracted row by row. A new axis makes "
        "each point meet each centroid: `x[:, None] - centroids`.": [
            lambda x, centroids: (x - centroids).square().sum(dim=1).argmin(),
            lambda x, centroids: (x - centroids).norm(dim=1).argmin(dim=0),
            lambda x, centroids: (x - centroids).abs().sum(dim=1).argmin(),
        ],
        "Two slips. The differences are not squared, so they cancel. And look along `dim=1`, for each point.": [
            lambda x, centroids: (x[:, None] - centroids).sum(dim=2).argmin(dim=0),
            lambda x, centroids: (x[:, None] - centroids).sum(dim=2).abs().argmin(dim=0),
        ],
        "The sum runs over the K centroids. The table of differences is (N, K, D): sum over D, `dim=2`.": [
            lambda x, centroids: (x[:, None] - centroids).square().sum(dim=1).argmin(dim=1),
            lambda x, centroids: (x[:, None] - centroids).norm(dim=1).argmin(dim=1),
        ],
        "The sum runs over the N points. The table of differences is (N, K, D): sum over D, `dim=2`.": [
            lambda x, centroids: (x[:, None] - centroids).square().sum(dim=0).argmin(dim=1),
            lambda x, centroids: (x[:, None] - centroids).square().sum(dim=0).argmin(dim=0),
        ],
        "The differences are not summed over D yet: `.square().sum(dim=2)`, then `argmin(dim=1)`.": [
            lambda x, centroids: (x[:, None] - centroids).square().argmin(dim=1),
            lambda x, centroids: (x[:, None] - centroids).abs().argmin(dim=1),
        ],
        "The columns of the table were turned round, so the numbers count from the last centroid. Take `argmin` of the "
        "table as it is.": {".argmin": ".flip(1).argmin"},
        "This is the nearest other point of x. Measure the distances to the centroids.": lambda x, centroids: (
            torch.cdist(x, x).fill_diagonal_(math.inf).argmin(dim=1)
        ),
        "The mean was subtracted from one side only. Shift both, or neither.": [
            lambda x, centroids: torch.cdist(x - x.mean(dim=0), centroids).argmin(dim=1),
            lambda x, centroids: torch.cdist(x, centroids - centroids.mean(dim=0)).argmin(dim=1),
        ],
        "These are counts, how many points each centroid got. Return the number of the centroid for each point.": (
            lambda x, centroids: torch.cdist(x, centroids).argmin(dim=1).bincount(minlength=len(centroids))
        ),
        "All points get the centroid best for all together. Each has its own nearest: `argmin(dim=1)`.": (
            lambda x, centroids: torch.cdist(x, centroids).sum(dim=0).argmin().repeat(len(x))
        ),
        "`argsort` ranks all centroids, (N, K). Only the nearest is asked for, its first column: `argmin(dim=1)`.": {
            "argmin": "argsort"
        },
        "This is the last column of `argsort`, the centroid farthest away. Take the first, or `argmin`.": {
            ".argmin(dim=1)": ".argsort(dim=1)[:, -1:]"
        },
        "Sorted in descending order, the farthest comes first. `argmin` finds the nearest.": {
            ".argmin(dim=1)": ".argsort(dim=1, descending=True)"
        },
        "This is the second nearest centroid. Return the nearest: `argmin`.": {
            ".argmin(dim=1)": ".argsort(dim=1)[:, 1 - (len(centroids) == 1)]"
        },
        "`min` returns two things, the smallest values and their places. Return the places: `.min(dim=1).indices`.": {
            ".argmin(dim=1)": ".min(dim=1)"
        },
        "The coordinates were rescaled first, which changes who is near. Use x and the centroids as they are.": [
            lambda x, centroids: torch.cdist(
                (x - x.mean(dim=0)) / x.std(dim=0, correction=0),
                (centroids - x.mean(dim=0)) / x.std(dim=0, correction=0),
            ).argmin(dim=1),
            lambda x, centroids: torch.cdist(F.normalize(x, dim=1), centroids).argmin(dim=1),
        ],
        "The largest dot product is not the smallest distance: of |x − c|² = x² − 2 x·c + c² the c² is missing, so "
        "that long centroids win.": lambda x, centroids: (x @ centroids.T).argmax(dim=1),
        "That compares angles seen from the origin. Compare distances.": lambda x, centroids: (
            F.normalize(x, dim=1) @ F.normalize(centroids, dim=1).T
        ).argmax(dim=1),
        "You return one number for all points: `argmin` needs `dim=1` to work row by row.": {"dim=1": ""},
        "This is a column, (N, 1). Leave `keepdim` out, so that the numbers have the shape (N,).": {
            "dim=1": "dim=1, keepdim=True"
        },
        "Only the first coordinate is compared. A distance needs all D of them.": {
            "cdist(x, centroids)": "cdist(x[:, :1], centroids[:, :1])"
        },
        "The largest difference of a coordinate is a different distance. The usual one squares the differences, "
        "adds them up, and takes the root.": {"cdist(x, centroids)": 'cdist(x, centroids, p=float("inf"))'},
        "This is a table of 0 and 1. Return only the number of the column: `argmin(dim=1)`.": lambda x, centroids: (
            F.one_hot(torch.cdist(x, centroids).argmin(dim=1), len(centroids))
        ),
        "Two slips. The smallest distance wins: `argmin`. And look along `dim=1`, for each point.": {
            "argmin(dim=1)": "argmax(dim=0)"
        },
        "Every point gets centroid 0. In a loop, does the smallest distance so far start at 0? Start it at inf.": (
            lambda x, centroids: torch.zeros(len(x), dtype=torch.long)
        ),
        "Every point gets the last centroid. In a loop, is the smallest distance so far updated with the number?": (
            lambda x, centroids: torch.full((len(x),), len(centroids) - 1)
        ),
        "`squeeze` also removes the axis of the points when there is only one. Leave it out.": {
            "argmin(dim=1)": "argmin(dim=1).squeeze()"
        },
    }
)


@lesson.exercise(
    cases={
        "points on a line": (
            torch.tensor([[1.0], [2.0], [6.0]]),
            torch.tensor([0, 0, 1]),
            torch.tensor([[0.0], [5.0]]),
        ),
        "an empty cluster": (
            torch.tensor([[1.0, 0.0, 2.0], [3.0, 4.0, 2.0], [8.0, 5.0, -1.0], [1.0, 2.0, 3.0]]),
            torch.tensor([1, 1, 1, 1]),
            torch.tensor([[9.0, 9.0, 8.0], [0.0, 0.0, 1.0]]),
        ),
        "two empty clusters": (normal(6, 2), torch.tensor([0, 2, 2, 0, 2, 2]), normal(4, 2, seed=1)),
        "an ordinary table": (
            normal(8, 2, seed=6),
            torch.tensor([2, 0, 1, 2, 2, 0, 1, 0]),
            normal(3, 2, seed=7),
        ),
        "float64 numbers": (
            normal(7, 3, seed=2, dtype=torch.float64),
            torch.tensor([1, 0, 1, 1, 0, 0, 1]),
            normal(2, 3, seed=3, dtype=torch.float64),
        ),
        "clusters of one point": (
            5 + normal(5, 2, seed=4),
            torch.tensor([2, 0, 1, 2, 2]),
            normal(3, 2, seed=5),
        ),
        "points whose mean is 0": (
            torch.tensor([[3.0, -1.0], [-3.0, 1.0], [2.0, 4.0]]),
            torch.tensor([0, 0, 1]),
            torch.tensor([[1.0, 1.0], [2.0, 3.0]]),
        ),
        "a single cluster": (normal(5, 3, seed=8), torch.zeros(5, dtype=torch.long), normal(1, 3, seed=9)),
        "all points of a cluster at the origin": (
            torch.tensor([[0.0, 0.0], [2.0, 1.0], [0.0, 0.0], [4.0, 2.0]]),
            torch.tensor([1, 0, 1, 0]),
            torch.tensor([[2.0, 2.0], [1.0, -1.0]]),
        ),
    },
    hints=[
        "`x[labels == k]` are the points of cluster k. What is the mean of no points at all?",
        "Begin with `new = centroids.clone()`, loop over k, and replace row k only where "
        "`(labels == k).any()`.",
    ],
)
def update_centroids(x, labels, centroids):
    """Return new centroids (K, D): row k is the mean of the points of x (N, D) whose label is k.

    `labels` (N,) holds cluster numbers from 0 to K − 1. A cluster without points keeps its centroid.
    """
    new = centroids.clone()
    for k in range(len(centroids)):
        if (labels == k).any():
            new[k] = x[labels == k].mean(dim=0)
    return new


def _means(x, labels, centroids, empty):
    """The centroids, with `empty(old)` in place of the mean of no points."""
    return torch.stack(
        [x[labels == k].mean(dim=0) if (labels == k).any() else empty(old) for k, old in enumerate(centroids)]
    )


@update_centroids.mistake(
    "The mean of an empty cluster is 0 / 0, nan, and every distance to it is nan, too, which `argmin` takes for the "
    "smallest. Let a cluster without points keep its centroid."
)
def _(x, labels, centroids):
    return torch.stack([x[labels == k].mean(dim=0) for k in range(len(centroids))])


update_centroids.mistakes(
    {
        "A cluster without points jumped to the origin: a sum of nothing is 0."
        " It should keep its centroid.": lambda x, labels, centroids: _means(
            x, labels, centroids, torch.zeros_like
        ),
        "A cluster without points went to the mean of all points. Here it "
        "should keep its centroid.": lambda x, labels, centroids: _means(
            x, labels, centroids, lambda old: x.mean(dim=0)
        ),
        "A cluster without points has vanished, so there are fewer than K rows"
        " and the numbers of the clusters no longer fit. It should keep its "
        "centroid.": lambda x, labels, centroids: torch.stack(
            [x[labels == k].mean(dim=0) for k in labels.unique()]
        ),
        "The old centroid is averaged in. It has done its work: the new one is"
        " the mean of the points alone.": lambda x, labels, centroids: (
            (_means(x, labels, centroids, lambda old: old) + centroids) / 2
        ),
        "A mean that is 0 was taken for an empty cluster. Count the points instead: a cluster without any keeps its "
        "centroid.": lambda x, labels, centroids: torch.where(
            (means := _means(x, labels, centroids, torch.zeros_like)) == 0, centroids, means
        ),
        "`bincount` ends at the largest label, so an empty cluster after it is missing. Add "
        "`minlength=len(centroids)`.": lambda x, labels, centroids: (
            torch.zeros_like(centroids).index_add(0, labels, x) / labels.bincount()[:, None]
        ),
        "`one_hot` ends at the largest label, so an empty cluster after it is missing. Pass it the number of "
        "clusters as well.": lambda x, labels, centroids: (
            F.one_hot(labels).to(x.dtype).T @ x / F.one_hot(labels).sum(dim=0)[:, None]
        ),
        "The labels count from 0, and here row k got the points of label k + 1.": {
            "labels == k": "labels == k + 1"
        },
        "The centroid counts as one more point of its cluster. The mean is over the points alone.": {
            "x[labels == k].mean": "torch.cat([x[labels == k], centroids[k : k + 1]]).mean"
        },
        "You add the mean to the old centroid, `+=`. Replace it: `new[k] = …`.": {"new[k] = ": "new[k] += "},
        "Nothing has moved. Row k should become the mean of the points with "
        "label k.": lambda x, labels, centroids: centroids.clone(),
    }
)


@update_centroids.mistake("These are sums. Divide each by the number of points in its cluster.")
def _(x, labels, centroids):
    sums = F.one_hot(labels, len(centroids)).to(x.dtype).T @ x
    return torch.where(sums == 0, centroids, sums)


@update_centroids.mistake(
    "Each sum is divided by the number of all points. Divide by the number of points in that cluster."
)
def _(x, labels, centroids):
    return _means(x, labels, centroids, lambda old: old) * (
        labels.bincount(minlength=len(centroids)).clamp(min=1)[:, None] / len(x)
    )


@update_centroids.mistake(
    "The mean runs over all coordinates as well, so a centroid has the same number in each. Take it over the points: "
    "`mean(dim=0)`."
)
def _(x, labels, centroids):
    means = _means(x, labels, centroids, lambda old: old)
    filled = torch.tensor([bool((labels == k).any()) for k in range(len(centroids))])
    return torch.where(filled[:, None], means.mean(dim=1, keepdim=True), means)


@update_centroids.mistake("That is the median. k-means takes the mean, which minimises the sum of squares.")
def _(x, labels, centroids):
    return torch.stack(
        [
            x[labels == k].quantile(0.5, dim=0) if (labels == k).any() else old
            for k, old in enumerate(centroids)
        ]
    )


def _update(of=lambda own, x: own.mean(dim=0), empty=lambda old, x: old, least=1, first=0):
    """New centroids: `of(own, x)` of the points of a cluster, `empty(old, x)` of a cluster with less than `least`."""

    def attempt(x, labels, centroids):
        members = [x[labels == k + first] for k in range(len(centroids))]
        return torch.stack(
            [
                of(own, x) if len(own) >= least else empty(old, x)
                for own, old in zip(members, centroids, strict=True)
            ]
        )

    return attempt


def _update_by_halves(x, labels, centroids):
    new = centroids.clone()
    for point, k in zip(x, labels, strict=True):
        new[k] = (new[k] + point) / 2
    return new


def _one_point_over_all(x, labels, centroids):
    total = torch.zeros_like(centroids)
    total[labels] += x
    counts = labels.bincount(minlength=len(centroids))[:, None]
    return torch.where(counts > 0, total / counts.clamp(min=1), centroids)


def _medoid(own, x):
    return own[(own - own.mean(dim=0)).square().sum(dim=1).argmin()]


_IN_ITS_PLACE = {
    "These are sums: divide by the number of points in the cluster.": {"of": lambda own, x: own.sum(dim=0)},
    "That is the median: k-means takes the mean.": {"of": lambda own, x: own.median(dim=0).values},
    "You divide by the number of all points, not of those in the cluster.": {
        "of": lambda own, x: own.sum(dim=0) / len(x)
    },
}
_EMPTY = {
    "An empty cluster becomes nan: let it keep its centroid.": {"empty": lambda old, x: old * math.nan},
    "An empty cluster jumps to the origin: let it keep its centroid.": {"empty": lambda old, x: 0 * old},
    "An empty cluster goes to the mean of all points: let it keep its centroid.": {
        "empty": lambda old, x: x.mean(dim=0)
    },
}
update_centroids.pairs_of_slips(_update, _IN_ITS_PLACE, _EMPTY)
update_centroids.pairs_of_slips(_update, {"Row k got the points of label k + 1.": {"first": 1}}, _EMPTY)
update_centroids.mistakes(
    {
        "That is the median. k-means takes the mean, which minimises the sum of squares.": _update(
            lambda own, x: own.median(dim=0).values
        ),
        "A cluster of one point keeps its old centroid. One is enough: its mean is the point itself.": _update(
            least=2
        ),
        "You return the point nearest to the mean. The centroid is the mean itself, often no point.": _update(
            _medoid
        ),
        "You return the first point of each cluster. The centroid is the mean of all of them.": _update(
            lambda own, x: own[0]
        ),
        "You return the middle of the smallest and the largest coordinate. The centroid is the mean.": _update(
            lambda own, x: (own.amin(dim=0) + own.amax(dim=0)) / 2
        ),
        "The sum is divided by D, the number of coordinates. Divide by the number of its points.": _update(
            lambda own, x: own.sum(dim=0) / x.shape[1]
        ),
        "The sum is divided by the number of points minus 1. A mean divides by their number.": _update(
            lambda own, x: own.sum(dim=0) / (len(own) - 1)
        ),
        "The sum is divided by the number of points plus 1. A mean divides by their number.": _update(
            lambda own, x: own.sum(dim=0) / (len(own) + 1)
        ),
        "A cluster without points should keep its centroid; yours goes to a point of x.": [
            _update(empty=lambda old, x: x[0]),
            _update(empty=lambda old, x: x[-1]),
            _update(empty=lambda old, x: x[(x - old).square().sum(dim=1).argmin()]),
            _update(empty=lambda old, x: x[(x - old).square().sum(dim=1).argmax()]),
        ],
        "`mean(dim=1)` runs along the coordinates of each point. The mean over the points is `mean(dim=0)`.": [
            {"dim=0": "dim=1"},
            lambda x, labels, centroids: torch.stack(
                [
                    x[labels == k].mean(dim=1) if (labels == k).any() else old
                    for k, old in enumerate(centroids)
                ]
            ),
        ],
        "`index_add_` on the old centroids adds the points to them. Begin with zeros, and divide by the counts.": (
            lambda x, labels, centroids: (
                centroids.index_add(0, labels, x)
                / labels.bincount(minlength=len(centroids)).clamp(min=1)[:, None]
            )
        ),
        "The last point of a cluster replaced all others. Average over them: `x[labels == k].mean(dim=0)`.": _update(
            lambda own, x: own[-1]
        ),
        "The last cluster is left out: labels run from 0 to K − 1, so loop over `range(len(centroids))`.": [
            {"range(len(centroids))": "range(labels.max())"},
            {"range(len(centroids))": "range(len(centroids) - 1)"},
        ],
        "Cluster 0 is left out: labels count from 0, so loop over `range(len(centroids))`.": {
            "range(len(centroids))": "range(1, len(centroids))"
        },
        "Row k is the mean of the points that are not in cluster k: `labels == k`.": {
            "x[labels == k]": "x[labels != k]"
        },
        "`.all()` asks whether every point has label k. It takes one: `.any()`.": {".any()": ".all()"},
        "Each mean was scaled to length 1. Leave it as it is.": {
            "x[labels == k].mean(dim=0)": "F.normalize(x[labels == k].mean(dim=0), dim=0)"
        },
        "Each point pulls the row half of the way, so that later points count more. Average them all at once.": (
            _update_by_halves
        ),
        "These are the centroids of each point, (N, D). Return one row for each cluster, (K, D).": (
            lambda x, labels, centroids: _means(x, labels, centroids, lambda old: old)[labels]
        ),
        "Every centroid is the mean of all points. Take only those with label k: `x[labels == k]`.": [
            lambda x, labels, centroids: x.mean(dim=0).expand_as(centroids),
        ],
        "Every point moves its centroid a part of the way. The new centroid is the mean of its points, in one step.": (
            lambda x, labels, centroids: (
                centroids + 0.1 * (_means(x, labels, centroids, lambda old: old) - centroids)
            )
        ),
        "`x[labels == k].any()` asks for a coordinate that is not 0. Ask for a point: `(labels == k).any()`.": {
            "(labels == k).any()": "x[labels == k].any()"
        },
        "The mean is divided by the number of points already. Leave out the second division.": _update(
            lambda own, x: own.mean(dim=0) / len(own)
        ),
        "That is the root of the mean square. The centroid is the mean itself.": _update(
            lambda own, x: own.square().mean(dim=0).sqrt()
        ),
        "Only the last mean comes back: does `new = …` replace the table? Put each mean into its row: `new[k] = …`.": {
            "new[k] =": "new ="
        },
        "`x[labels]` uses the labels as row numbers of x. The points of cluster k are `x[labels == k]`.": [
            {"x[labels == k]": "x[labels]"},
            lambda x, labels, centroids: x[labels].mean(dim=0).expand_as(centroids),
        ],
        "Row k holds point k. It should be the mean of all points with label k: `x[labels == k].mean(dim=0)`.": {
            "x[labels == k].mean(dim=0)": "x[k]"
        },
        "Only the last point of each cluster is in its sum. `total[labels] += x` counts a repeated label once: use "
        "`total.index_add_(0, labels, x)`.": _one_point_over_all,
        "As soon as one cluster is empty, all centroids stay where they are. Only that of the empty cluster should: "
        "decide row by row.": (
            lambda x, labels, centroids: (
                centroids.clone()
                if len(labels.unique()) < len(centroids)
                else _means(x, labels, centroids, torch.clone)
            )
        ),
    }
)


# Section 8: Gaussian mixtures --------------------------------------------------------------------------------


def _double(*values):
    return torch.tensor(values, dtype=torch.float64)


@lesson.exercise(
    cases={
        "components alike": (
            torch.tensor([0.0, 1.0, 3.0]),
            torch.tensor([0.5, 0.5]),
            torch.tensor([0.0, 2.0]),
            torch.ones(2),
        ),
        "different weights and widths": (
            torch.tensor([-1.0, 0.5, 1.5]),
            torch.tensor([0.8, 0.2]),
            torch.tensor([0.0, 1.0]),
            torch.tensor([1.0, 3.0]),
        ),
        "three components": (
            normal(7),
            torch.tensor([0.2, 0.5, 0.3]),
            torch.tensor([-1.0, 0.0, 1.0]),
            torch.tensor([0.5, 1.0, 2.0]),
        ),
        "float64 numbers": (
            normal(4, seed=1, dtype=torch.float64),
            _double(0.6, 0.4),
            _double(0.3, -0.4),
            _double(0.7, 1.6),
        ),
        "as many numbers as components": (
            normal(3, seed=2),
            torch.tensor([0.4, 0.4, 0.2]),
            torch.tensor([-2.0, 0.5, 1.0]),
            torch.tensor([1.0, 0.7, 3.0]),
        ),
        "a single number": (
            torch.tensor([0.4]),
            torch.tensor([0.3, 0.1, 0.6]),
            torch.tensor([-1.0, 1.0, 2.0]),
            torch.tensor([2.0, 0.8, 1.5]),
        ),
        "a single component": (normal(4, seed=3), torch.ones(1), torch.tensor([0.5]), torch.tensor([2.0])),
        "a component of weight 0": (
            normal(5, seed=4),
            torch.tensor([0.7, 0.0, 0.3]),
            torch.tensor([0.0, 0.5, 1.0]),
            torch.tensor([1.0, 1.0, 2.0]),
        ),
        "numbers far from all components": (
            torch.tensor([60.0, -45.0, 75.0]),
            torch.tensor([0.5, 0.5]),
            torch.tensor([0.0, 1.0]),
            torch.ones(2),
        ),
        "numbers very far away": (
            torch.tensor([1000.0, -200.0, 480.0]),
            torch.tensor([0.3, 0.7]),
            torch.tensor([0.0, 1.0]),
            torch.ones(2),
        ),
    },
    hints=[
        "Write ln[π_k N(x; μ_k, σ_k)] for every point and component as a table (N, K), terms without k left out.",
        "That is `weights.log() - deviations.log() - ((x[:, None] - means) / deviations) ** 2 / 2`.",
        "Each row then needs exp(a_k) / Σ exp(a_j), without underflow: lesson 3 has a name for this.",
    ],
)
def responsibilities(x, weights, means, deviations):
    """Return the responsibilities (N, K) of K Gaussians on the line for the numbers x (N,).

    Entry [n, k] is the probability that x[n] came from component k, so each row sums to one, even for
    numbers far from all components. `weights`, `means` and standard `deviations` are (K,).
    """
    log_joint = weights.log() - deviations.log() - ((x[:, None] - means) / deviations) ** 2 / 2
    return (log_joint - log_joint.logsumexp(dim=1, keepdim=True)).exp()


def _log_joint(x, weights, means, deviations):
    return weights.log() - deviations.log() - ((x[:, None] - means) / deviations) ** 2 / 2


@responsibilities.mistake(
    "Far from all components every density underflows to 0, and 0 / 0 is nan. Stay with logarithms until the end: "
    "subtract `logsumexp` over the components, then exponentiate."
)
def _(x, weights, means, deviations):
    joint = _log_joint(x, weights, means, deviations).exp()
    return joint / joint.sum(dim=1, keepdim=True)


for _epsilon in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-16, 1e-20, 1e-30):

    @responsibilities.mistake(
        "A small number in the denominator, or `nan_to_num`, hides 0 / 0: far from all components the rows no longer "
        "sum to one. Stay with logarithms until the end: `logsumexp`."
    )
    def _(x, weights, means, deviations, epsilon=_epsilon):
        joint = _log_joint(x, weights, means, deviations).exp()
        return joint / (joint.sum(dim=1, keepdim=True) + epsilon)


@responsibilities.mistake("The weights are missing: a rarer component explains fewer points.")
def _(x, weights, means, deviations):
    return _log_joint(x, torch.ones_like(weights), means, deviations).softmax(dim=1)


@responsibilities.mistake(
    "The height of a Gaussian is missing: its density is divided by σ√(2π), and σ differs between components."
)
def _(x, weights, means, deviations):
    return (weights.log() - ((x[:, None] - means) / deviations) ** 2 / 2).softmax(dim=1)


@responsibilities.mistake("The ½ in the exponent is missing: −(x − μ)² / 2σ².")
def _(x, weights, means, deviations):
    return (weights.log() - deviations.log() - ((x[:, None] - means) / deviations) ** 2).softmax(dim=1)


@responsibilities.mistake("σ is not squared: the exponent is −(x − μ)² / 2σ².")
def _(x, weights, means, deviations):
    return (weights.log() - deviations.log() - (x[:, None] - means) ** 2 / deviations / 2).softmax(dim=1)


@responsibilities.mistake(
    "You took `deviations` for variances: σ belongs in front of the exponential and σ² inside it."
)
def _(x, weights, means, deviations):
    return _log_joint(x, weights, means, deviations.sqrt()).softmax(dim=1)


responsibilities.mistakes(
    {
        "Your columns sum to one. A point has to come from one of the"
        " components, so its row should sum to one: `dim=1`.": lambda x, weights, means, deviations: (
            _log_joint(x, weights, means, deviations).softmax(dim=0)
        ),
        "These are logarithms. Exponentiate at the end.": lambda x, weights, means, deviations: _log_joint(
            x, weights, means, deviations
        ).log_softmax(dim=1),
        "The table has the components in its rows, (K, N). Transpose it: one row for each number.": (
            lambda x, weights, means, deviations: _log_joint(x, weights, means, deviations).softmax(dim=1).T
        ),
        "The weights come in after the rows were divided by their sums, so that the rows no longer sum to one. "
        "Multiply first, then divide.": lambda x, weights, means, deviations: (
            weights * _log_joint(x, torch.ones_like(weights), means, deviations).softmax(dim=1)
        ),
        "The density is divided by σ², but its height is 1 / (σ√(2π)): subtract ln σ only once.": {
            "- deviations.log()": "- 2 * deviations.log()"
        },
        "The height is on the wrong side: the wider a Gaussian, the lower it is, so ln σ is subtracted.": {
            "- deviations.log()": "+ deviations.log()"
        },
    }
)


@responsibilities.mistake("That is the hard assignment of k-means, 0 or 1. Return a probability.")
def _(x, weights, means, deviations):
    choice = _log_joint(x, weights, means, deviations).argmax(dim=1)
    return F.one_hot(choice, len(weights)).to(x.dtype)


@responsibilities.mistake(
    "These are the terms π_k N(x; μ_k, σ_k) themselves. Divide each row by its sum, in logarithms."
)
def _(x, weights, means, deviations):
    return _log_joint(x, weights, means, deviations).exp() / math.sqrt(2 * math.pi)


@responsibilities.mistake("The sign in the exponent is wrong: far away means improbable, so −(x − μ)² / 2σ².")
def _(x, weights, means, deviations):
    return (weights.log() - deviations.log() + ((x[:, None] - means) / deviations) ** 2 / 2).softmax(dim=1)


@responsibilities.mistake(
    "The weight multiplies the density, so its logarithm is added: `weights.log()`, not `weights`."
)
def _(x, weights, means, deviations):
    return (weights - deviations.log() - ((x[:, None] - means) / deviations) ** 2 / 2).softmax(dim=1)


def _shares(
    weight=torch.log,
    height=lambda deviations: -deviations.log(),
    exponent=lambda d, deviations: -((d / deviations) ** 2) / 2,
    end=lambda a: a.softmax(dim=1),
    joined=lambda density, weight: density + weight,
):
    """Responsibilities: of the table a = ln[π_k N(x; μ_k, σ_k)] `end` makes the result."""

    def attempt(x, weights, means, deviations):
        density = height(deviations) + exponent(x[:, None] - means, deviations)
        return end(joined(density, weight(weights)))

    return attempt


_ONLY_SQUARES = {"height": torch.zeros_like, "exponent": lambda d, deviations: d**2}


def _by_sum(table):
    return table / table.sum(dim=1, keepdim=True)


def _divided(a):
    return a.exp() / a.exp().sum(dim=1, keepdim=True)


_WEIGHTS = {
    "The weights are missing.": {"weight": torch.zeros_like},
    "The weights are added without their logarithm.": {"weight": lambda weights: weights},
}
_HEIGHTS = {
    "The height 1/σ of each Gaussian is missing.": {"height": torch.zeros_like},
    "A wider Gaussian is lower: subtract ln σ.": {"height": torch.log},
}
_EXPONENTS = {
    "The ½ in the exponent is missing.": {"exponent": lambda d, deviations: -((d / deviations) ** 2)},
    "σ is not squared in the exponent.": {"exponent": lambda d, deviations: -(d**2) / deviations / 2},
    "The sign in the exponent is wrong.": {"exponent": lambda d, deviations: ((d / deviations) ** 2) / 2},
}
_COLUMNS = {"Your columns sum to one, not your rows: `dim=1`.": {"end": lambda a: a.softmax(dim=0)}}
_ENDS = {
    "Far away 0 / 0 is nan: use a softmax of the logarithms.": {"end": _divided},
    "The rows are not divided by their sums.": {"end": torch.exp},
}
responsibilities.pairs_of_slips(_shares, _WEIGHTS, _HEIGHTS | _EXPONENTS | _ENDS)
responsibilities.pairs_of_slips(_shares, _HEIGHTS, _EXPONENTS | _ENDS)
responsibilities.pairs_of_slips(_shares, _EXPONENTS, _ENDS | _COLUMNS)
responsibilities.mistakes(
    {
        "A small number in the denominator, or `nan_to_num`, hides 0 / 0: far from all components the rows no longer "
        "sum to one. Stay with logarithms until the end: `logsumexp`.": _shares(
            end=lambda a: _divided(a).nan_to_num(0)
        ),
        "Far from all components all shares become equal, by a clamp or in place of nan. Stay with logarithms until "
        "the end: `logsumexp`.": lambda x, weights, means, deviations: _divided(
            _log_joint(x, weights, means, deviations)
        ).nan_to_num(1 / len(weights)),
        "The weight multiplies the density, and not its logarithm: add `weights.log()`.": _shares(
            weight=lambda weights: weights, joined=lambda density, weight: density * weight
        ),
        "A softmax of the densities exponentiates them once more. Take it of their logarithms.": [
            _shares(end=lambda a: a.exp().softmax(dim=1)),
            _shares(end=lambda a: (a.exp() / math.sqrt(2 * math.pi)).softmax(dim=1)),
        ],
        "x and the means have different lengths, and numbers cannot meet components one by one. A new axis makes the "
        "table (N, K): `x[:, None] - means`.": [
            lambda x, weights, means, deviations: _along(x - means, weights, deviations).softmax(dim=0),
            lambda x, weights, means, deviations: _along(x - means, weights, deviations).softmax(dim=-1),
            lambda x, weights, means, deviations: _along(x - means, weights, deviations).softmax(dim=1),
        ],
        "The distance is not squared: the exponent is −(x − μ)² / 2σ².": [
            _shares(exponent=lambda d, deviations: -d.abs() / (2 * deviations**2)),
            _shares(exponent=lambda d, deviations: -(d / deviations).abs() / 2),
            _shares(exponent=lambda d, deviations: -(d / deviations).abs()),
            _shares(exponent=lambda d, deviations: -d / (2 * deviations**2)),
        ],
        "σ is missing in the exponent: −(x − μ)² / 2σ².": _shares(exponent=lambda d, deviations: -(d**2) / 2),
        "The exponent is multiplied by σ², where it should be divided: −(x − μ)² / 2σ².": [
            _shares(exponent=lambda d, deviations: -((d * deviations) ** 2) / 2),
            _shares(exponent=lambda d, deviations: -(d**2) / 2 * deviations**2),
        ],
        "The 2 of the exponent is squared, too, or counted twice: −(x − μ)² / 2σ².": _shares(
            exponent=lambda d, deviations: -((d / (2 * deviations)) ** 2)
        ),
        "The height of a Gaussian is 1 / (σ√(2π)), with σ, not √σ: subtract ln σ.": _shares(
            height=lambda deviations: -deviations.log() / 2
        ),
        "The height 1/σ multiplies the density, so ln σ is subtracted, not σ itself.": [
            _shares(height=lambda deviations: -deviations),
            _shares(height=lambda deviations: 1 / deviations),
        ],
        "All entries together sum to one. Each row should: a point has to come from one of the components.": _shares(
            end=lambda a: (a - a.logsumexp(dim=(0, 1))).exp()
        ),
        "The rows are divided by their largest entry, so they do not sum to one yet.": _shares(
            end=lambda a: (a - a.amax(dim=1, keepdim=True)).exp()
        ),
        "The logarithms themselves are divided by their sum. Exponentiate first: a softmax does both.": _shares(
            end=lambda a: a / a.sum(dim=1, keepdim=True)
        ),
        "All of the exponent is halved, weights and heights too. The ½ belongs to (x − μ)² / σ² only.": _shares(
            end=lambda a: (a / 2).softmax(dim=1)
        ),
        "x was standardized first, but the means and deviations belong to x as it is.": (
            lambda x, weights, means, deviations: responsibilities.reference(
                (x - x.mean()) / x.std(), weights, means, deviations
            )
        ),
        "This uses the cumulative distribution, the area to the left of x. Take the density at x.": (
            lambda x, weights, means, deviations: (
                (weights * torch.distributions.Normal(means, deviations).cdf(x[:, None]))
                / (weights * torch.distributions.Normal(means, deviations).cdf(x[:, None])).sum(
                    dim=1, keepdim=True
                )
            )
        ),
        "The weights enter twice. The density is multiplied by π_k once: add `weights.log()`.": _shares(
            weight=lambda weights: 2 * weights.log()
        ),
        "The density is divided by the weight. It should be multiplied: add `weights.log()`.": _shares(
            weight=lambda weights: -weights.log()
        ),
        "This is the number of the most probable component. Return the probabilities of all K, a row for each x.": (
            lambda x, weights, means, deviations: _log_joint(x, weights, means, deviations).argmax(dim=1)
        ),
        "This is the density of each number under the whole mixture. Return the share of every component in it.": [
            lambda x, weights, means, deviations: (
                _log_joint(x, weights, means, deviations).exp().sum(dim=1) / math.sqrt(2 * math.pi)
            ),
            lambda x, weights, means, deviations: _log_joint(x, weights, means, deviations).logsumexp(dim=1),
        ],
        "x and the means have different lengths. A new axis makes each number meet each component: "
        "`Normal(means, deviations).log_prob(x[:, None])`.": [
            lambda x, weights, means, deviations, dim=dim: (
                torch.distributions.Normal(means, deviations).log_prob(x) + weights.log()
            ).softmax(dim=dim)
            for dim in (1, -1)
        ],
        "`math.log` takes one number, and here K of them arrive. Use the tensor's own, as in `weights.log()`.": (
            lambda x, weights, means, deviations: (
                math.log(weights) - deviations.log() - ((x[:, None] - means) / deviations) ** 2 / 2
            ).softmax(dim=1)
        ),
        "Two slips. The table has the components in its rows, (K, N), and they are normalized over the numbers. "
        "`x[:, None] - means` puts them into columns; then `dim=1` is right.": (
            lambda x, weights, means, deviations: _log_joint(x, weights, means, deviations).softmax(dim=0).T
        ),
        "These are inverse squared distances. The density of a component is exp(−(x − μ)² / 2σ²) / σ√(2π), and π_k "
        "times that enters.": [
            _shares(
                end=lambda a: a,
                joined=lambda d, weight, small=small: _by_sum(1 / (d + small)),
                **_ONLY_SQUARES,
            )
            for small in (0, 1e-12, 1e-9, 1e-8, 1e-6)
        ],
        "All components have the same σ here, the mean of `deviations`. Each has its own.": (
            lambda x, weights, means, deviations: responsibilities.reference(
                x, weights, means, deviations.mean().expand_as(deviations)
            )
        ),
    }
)


def _along(d, weights, deviations):
    return weights.log() - deviations.log() - (d / deviations) ** 2 / 2


# Section 12: the width of a neighbourhood --------------------------------------------------------------------


def _nats(p):
    return -torch.special.xlogy(p, p).sum().item()


def _row(squared_distances, sigma):
    return (-squared_distances / (2 * sigma**2)).softmax(dim=0)


class _Found(str):
    """What a width is, in words; printed, its number as well."""

    def __new__(cls, words, sigma, perplexity):
        found = super().__new__(cls, words)
        found.printed = f"{sigma:.6g}, where the perplexity is {perplexity:.5g}"
        return found

    def __repr__(self):
        return self.printed


def _is_width(sigma, squared_distances, perplexity, within=1e-4):
    """Whether sigma gives the perplexity, to within a small fraction of sigma."""
    widths = sigma * torch.tensor([[1 - within], [1 + within]], dtype=squared_distances.dtype)
    p = (-squared_distances / (2 * widths**2)).softmax(dim=1)
    lower, upper = (-torch.special.xlogy(p, p).sum(dim=1)).exp().tolist()
    return lower < perplexity < upper


_OTHER_WIDTHS = {  # what came back instead of σ, and the σ that it would then be
    "the width": lambda sigma: sigma,
    "the width times √2": lambda sigma: sigma / 2**0.5,
    "the width over √2": lambda sigma: sigma * 2**0.5,
    "the square of the width": lambda sigma: sigma**0.5,
    "twice the square of the width": lambda sigma: (sigma / 2) ** 0.5,
    "1/2σ²": lambda sigma: (2 * sigma) ** -0.5,
    "1/σ²": lambda sigma: sigma**-0.5,
    "1/σ": lambda sigma: 1 / sigma,
}
_OTHER_DISTANCES = {  # what σ is the width of instead
    "the width for squares of the squares": torch.square,
    "the width for distances that are not squared": torch.sqrt,
    "the width with a distance of 0 in front": lambda d: torch.cat([d.new_zeros(1), d]),
    "the width without the first distance": lambda d: d[1:],
    "the width without the last distance": lambda d: d[:-1],
    "the width without the smallest distance": lambda d: d.sort().values[1:],
    "the width for distances divided by their mean": lambda d: d / d.mean(),
    "the width for distances divided by the largest": lambda d: d / d.max(),
    "the width for distances divided by their sum": lambda d: d / d.sum(),
    "the width for distances divided by their standard deviation": lambda d: d / d.std(),
    "the width with a plus in the exponent": torch.neg,
}


def _what_it_is(sigma, d, perplexity):
    """What a width is, in words that do not depend on how it was searched for; "" if nothing is known of it."""
    for words, width in _OTHER_WIDTHS.items():
        if _is_width(width(sigma), d - d.min(), perplexity):
            return words
    nats = _nats(_row(d - d.min(), sigma))
    for words, other in {
        "bits and nats mixed up": (2**nats, math.exp(nats / math.log(2))),
        "the entropy is what the perplexity should be": (nats, nats / math.log(2)),
        "the width for a perplexity of one more": (math.exp(nats) - 1,),
        "the width for a perplexity of one less": (math.exp(nats) + 1,),
    }.items():
        if any(math.isclose(one, perplexity, rel_tol=1e-3) for one in other):
            return words
    for words, change in _OTHER_DISTANCES.items():
        other = change(d)
        if _is_width(sigma, other - other.min(), perplexity):
            return words
    p, small = _row(d, sigma), torch.tensor([1e-2, 1e-3, 1e-4, 1e-5, 1e-6], dtype=d.dtype)[:, None]
    reached = (-p * torch.cat([p + small, p.maximum(small)]).log()).sum(dim=1).exp()
    if any(math.isclose(one, perplexity, rel_tol=3e-6) for one in reached.tolist()):
        return "the width with a small number in the logarithm that is too large"
    nearest = float(d.min()) / (2 * sigma**2)
    if 80 < nearest < 110 or 700 < nearest < 780:
        return "where exp underflows"
    spread = float(d.max() - d.min()) / (2 * sigma**2)
    if 85 < spread < 120 or 700 < spread < 780:
        return "where a probability becomes 0"
    return ""


def _how_it_was_searched(attempt, sigma, d, perplexity):
    """What can be said of a width of which nothing is known: it ignores something, or is an end, or is only near."""
    extreme = math.exp(_nats(_row(d - d.min(), sigma)))
    if not 1.0001 < extreme < 0.9999 * len(d):
        return f"the {'lower' if extreme < 2 else 'upper'} end of the bracket"
    scaled = float(attempt(9 * d, perplexity)) / sigma  # should be three times as large
    if not 0.5 < scaled < 20 or scaled < 1.1:
        if extreme > 0.99 * len(d):
            return "the upper end of the bracket"
        return "the lower end of the bracket" if extreme < 1.01 else "the same at every scale"
    if math.isclose(float(attempt(d.clone(), (1 + perplexity) / 2)), sigma, rel_tol=1e-6):
        return "the same at every perplexity"
    times = sigma / perplexity_sigma.reference(d - d.min(), perplexity)
    return "near the width" if 0.9 < times < 1.1 else f"{times:.2g} times the width"


def _about_the_width(attempt, squared_distances, perplexity):
    """What the width that came back is, and at which perplexity."""
    d = squared_distances.double()
    d = d.clone()
    sigma = attempt(squared_distances, perplexity)
    if sigma is None:
        return sigma
    if not isinstance(sigma, float | int | Tensor | np.generic):
        return {"σ": f"a value of type {type(sigma).__name__}"}
    if torch.as_tensor(sigma).ndim:
        probable = isinstance(sigma, Tensor) and sigma.shape == d.shape and abs(float(sigma.sum()) - 1) < 1e-4
        return {"σ": "the probabilities" if probable else f"a tensor of shape {tuple(sigma.shape)}"}
    sigma = float(sigma)
    if not 1e-100 < sigma < 1e100:
        return {"σ": sigma}
    words = _what_it_is(sigma, d, perplexity) or _how_it_was_searched(attempt, sigma, d, perplexity)
    return {"σ": _Found(words, sigma, math.exp(_nats(_row(d - d.min(), sigma))))}


@lesson.exercise(
    observe=_about_the_width,
    cases={
        "three distances": (torch.tensor([1.0, 4.0, 9.0]), 2.0),
        "five distances": (torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0]), 3.0),
        "a perplexity of 2.5": (torch.tensor([2.0, 3.0, 5.0, 9.0, 12.0, 14.0]), 2.5),
        "an ordinary row": (normal(20).square() * 50, 5.0),
        "few of many neighbours": (normal(31, seed=3).square(), 3.0),
        "nearly all neighbours": (normal(7, seed=4).square(), 6.8),
        "huge distances in float64": (normal(30, seed=1, dtype=torch.float64).square() * 1e6, 12.0),
        "tiny distances": (normal(10, seed=2).square() * 1e-8, 4.0),
        "no near neighbour": (torch.tensor([900.0, 901.0, 904.0, 909.0]), 2.0),
        "a twin at distance 0": (torch.tensor([0.0, 1.0, 3.0, 6.0, 8.0]), 3.0),
        "nearly equal probabilities": (torch.tensor([0.5, 1.0, 16.0]).repeat(20), 59.6),
    },
    hints=[
        "Perplexity grows with σ. Bracket it by a tiny and a huge σ, try the middle, and keep the half that holds it.",
        "For one σ: `p = (-squared_distances / (2 * sigma**2)).softmax(dim=0)`. A softmax does not underflow.",
        "A middle that suits all scales is the geometric one, `(low * high) ** 0.5`; 60 halvings are plenty.",
    ],
)
def perplexity_sigma(squared_distances, perplexity):
    """Return the width σ, to within one part in 100,000, that gives a point the perplexity asked for.

    `squared_distances` (M,) are those to the M other points. Point j has a probability p_j
    proportional to exp(−d_j² / 2σ²), and the perplexity is 2 to the power of the entropy in bits.
    """
    low, high = 1e-8, 1e8
    for _ in range(60):
        sigma = (low * high) ** 0.5
        p = (-squared_distances / (2 * sigma**2)).softmax(dim=0)
        entropy = -torch.special.xlogy(p, p).sum().item()  # in nats: the perplexity is exp of it
        low, high = (low, sigma) if math.exp(entropy) > perplexity else (sigma, high)
    return sigma


def _bisect(too_wide, low=1e-8, high=1e8, steps=36):
    for _ in range(steps):
        sigma = (low * high) ** 0.5
        low, high = (low, sigma) if too_wide(sigma) else (sigma, high)
    return sigma


def _reaches(row=_row, perplexity_of=lambda p: math.exp(_nats(p)), change=lambda sigma: sigma, **search):
    """A search for σ with a row, a perplexity, a bracket or a last step of its own."""
    return lambda squared_distances, perplexity: change(
        _bisect(lambda sigma: perplexity_of(row(squared_distances, sigma)) > perplexity, **search)
    )


def _without_a_softmax(squared_distances, sigma, small=0.0):
    kernel = (-squared_distances / (2 * sigma**2)).exp()
    return kernel / (kernel.sum() + small)


def _for_other(change):
    """The width for distances that were changed before the search."""
    return lambda squared_distances, perplexity: perplexity_sigma.reference(
        change(squared_distances.double()), perplexity
    )


def _from_zero(high, steps):
    """A search that halves a bracket from 0 in the middle, not at the geometric mean."""

    def attempt(squared_distances, perplexity):
        low, top = 0.0, high
        for _ in range(steps):
            sigma = (low + top) / 2
            wide = math.exp(_nats(_row(squared_distances, sigma))) > perplexity
            low, top = (low, sigma) if wide else (sigma, top)
        return sigma

    return attempt


def _between(low, high):
    """A search that halves a bracket whose ends are taken from the distances, in the middle."""

    def attempt(squared_distances, perplexity):
        d = squared_distances.double()
        bottom, top = float(low(d)), float(high(d))
        for _ in range(36):
            sigma = (bottom + top) / 2
            wide = math.exp(_nats(_row(d, sigma))) > perplexity
            bottom, top = (bottom, sigma) if wide else (sigma, top)
        return sigma

    return attempt


def _with_both_ends(power):
    """A search from 10 to the power of −`power` up to that of `power`, whose lower end moves in every step."""

    def attempt(squared_distances, perplexity):
        low, high = 10.0**-power, 10.0**power
        for _ in range(36):
            sigma = (low * high) ** 0.5
            low, high = (
                sigma,
                sigma if math.exp(_nats(_row(squared_distances, sigma))) > perplexity else high,
            )
        return sigma

    return attempt


_exact = functools.cache(
    lambda *d_and_perplexity: perplexity_sigma.reference(
        torch.tensor(d_and_perplexity[:-1]), d_and_perplexity[-1]
    )
)


def _near_at(name):
    """The width, but on one of the test inputs, by its name, only near it."""
    case = perplexity_sigma.inputs.cases[perplexity_sigma.inputs.names.index(name)][0]

    def attempt(squared_distances, perplexity):
        sigma = _exact(*squared_distances.tolist(), perplexity)
        return 1.001 * sigma if squared_distances.equal(case) else sigma

    return attempt


perplexity_sigma.mistakes(
    {
        "exp(−d²/2σ²) underflows for every point when σ is small, and 0 / 0 is nan. Subtract the smallest d² first, as "
        "a softmax does; the probabilities do not change.": _reaches(_without_a_softmax),
        "The 2 in the exponent is missing: exp(−d² / 2σ²). Your σ is √2 times too large.": {
            "(2 * sigma**2)": "sigma**2"
        },
        "Your σ is √2 times too small: is there a 2 too many in the exponent? It is exp(−d² / 2σ²).": {
            "(2 * sigma**2)": "(4 * sigma**2)"
        },
        "That is σ²: return its root, or square σ in the exponent, exp(−d² / 2σ²).": {
            "(2 * sigma**2)": "(2 * sigma)"
        },
        "That is 2σ²: the exponent is −d² / 2σ², with the width σ squared and a 2.": {
            "(2 * sigma**2)": "sigma"
        },
        "That is 1/2σ², the factor in the exponent. Return the width σ.": _reaches(
            change=lambda sigma: 1 / (2 * sigma**2)
        ),
        "That is 1/σ². Return the width σ, the inverse of its root.": _reaches(
            change=lambda sigma: sigma**-2
        ),
        "Bits and nats are mixed up: 2 goes with the logarithm to base 2, e with the natural one.": [
            _reaches(perplexity_of=lambda p: 2 ** _nats(p)),
            _reaches(perplexity_of=lambda p: math.exp(_nats(p) / math.log(2))),
        ],
        "The entropy itself is compared with the perplexity. The perplexity is 2 to the power of the entropy.": [
            _reaches(perplexity_of=lambda p: _nats(p) / math.log(2)),
            _reaches(perplexity_of=_nats),
        ],
        "The search always ends at the upper end of its bracket, since it never finds σ too wide. Is its entropy "
        "negative, or a mean instead of a sum, or does it keep the wrong half?": [
            _reaches(perplexity_of=lambda p: math.exp(-_nats(p))),
            _reaches(perplexity_of=lambda p: -math.inf),
        ],
        "The search always ends at the lower end of its bracket, since it finds every σ too wide. Is p proportional to "
        "exp(−d² / 2σ²), and the perplexity 2 to the power of the entropy in bits?": _reaches(
            perplexity_of=lambda p: math.inf
        ),
        "A tuple came back. Return σ alone, one number, without the probabilities or the ends of the bracket.": [
            lambda d, perplexity: ((sigma := perplexity_sigma.reference(d, perplexity)), _row(d, sigma)),
        ],
        "σ came back in a tensor of shape (1,): return a number, `sigma.item()`. The lesson's `conditional_p` does not "
        "fit a single row: it rules out the diagonal of a table.": (
            lambda d, perplexity: torch.tensor([perplexity_sigma.reference(d, perplexity)])
        ),
        "A single row has no axis 1: take the softmax over `dim=0`, and hand `entropy_bits` a table of one row, "
        "`entropy_bits(p[None])`.": lambda d, perplexity: d.softmax(dim=1),
        "Both ends of the bracket move in the same step. Only one should: the upper end if σ is too wide, otherwise "
        "(`else`) the lower end.": [_with_both_ends(power) for power in (3, 6, 8, 9)],
        "1 / Σ p² is another effective number. The perplexity is 2 to the power of the entropy.": _reaches(
            perplexity_of=lambda p: 1 / float(p.square().sum())
        ),
        "These are the probabilities. Return the width σ at which they have the perplexity.": (
            lambda squared_distances, perplexity: _row(
                squared_distances, perplexity_sigma.reference(squared_distances, perplexity)
            )
        ),
        "The point itself, at distance 0, is among its neighbours here. `squared_distances` are those to the others: "
        "take them as they are.": _for_other(lambda d: torch.cat([d.new_zeros(1), d])),
        "The first distance is missing, as if it were the point itself. `squared_distances` are those to the others: "
        "take all of them.": [
            _for_other(lambda d: d[1:]),
            _for_other(lambda d: d.sort().values[1:]),
        ],
        "The distances were divided by their mean, and σ² with them. Scale σ back by the root of that mean.": (
            _for_other(lambda d: d / d.mean())
        ),
        "The distances were divided by the largest, and σ² with them. Scale σ back: multiply by the root of it.": (
            _for_other(lambda d: d / d.max())
        ),
        "The distances were divided by their sum, and σ² with them. Scale σ back, or leave them as they are.": (
            _for_other(lambda d: d / d.sum())
        ),
        "The distances were divided by their standard deviation, and σ² with them. Leave them as they are.": (
            _for_other(lambda d: d / d.std())
        ),
        "The exponent has the wrong sign: exp(−d² / 2σ²). As it stands, far points are the likely neighbours.": (
            _for_other(torch.neg)
        ),
        "This is the distance to one of the neighbours. Search for the σ whose probabilities have the perplexity.": [
            lambda d, perplexity: d.sort().values[int(perplexity) - 1].sqrt(),
            lambda d, perplexity: d.sort().values[int(perplexity)].sqrt(),
        ],
        "The perplexity plays no part in this σ. Search for the σ whose probabilities have it.": [
            lambda squared_distances, perplexity: squared_distances.mean().sqrt(),
            lambda squared_distances, perplexity: squared_distances.median().sqrt(),
        ],
        "Where a probability is 0, 0 · log 0 is nan, and no comparison with nan holds. Use "
        "`torch.special.xlogy(p, p)`, or clamp p inside the logarithm.": [
            _reaches(row, lambda p: 2 ** float(-(p * p.log2()).sum()))
            for row in (_row, lambda d, sigma: _row(d.double(), sigma))
        ],
        "Your σ has a perplexity of one less. Does the point itself count as a neighbour?": lambda d, perplexity: (
            perplexity_sigma.reference(d, perplexity - 1)
        ),
        "That is 1/σ. Return the width σ itself.": _reaches(change=lambda sigma: 1 / sigma),
        "The search runs to an end of its bracket: it keeps the wrong half. If the perplexity is too large, σ has to "
        "shrink, so the upper end moves down.": {
            "(low, sigma) if": "(sigma, high) if",
            "else (sigma, high)": "else (low, sigma)",
        },
        "`squared_distances` are squares already, and here they are squared again.": {
            "-squared_distances /": "-(squared_distances**2) /"
        },
        "`squared_distances` are squares as they should be, but here the root is taken. The exponent is −d² / 2σ².": {
            "-squared_distances /": "-(squared_distances**0.5) /"
        },
        "The bracket does not hold every σ: distances can be of any size. Start from ends that are far apart, or from "
        "ends taken from the distances themselves.": [
            *(
                _reaches(low=low, high=high)
                for low, high in ((1e-8, 1.0), (1e-8, 10.0), (1e-3, 100.0), (1e-2, 1e3), (0.1, 1e8))
            ),
            _from_zero(1.0, 60),
            _from_zero(100.0, 60),
        ],
        "Your σ is the same for all distances. Take it from the search: the distances decide.": {
            "return sigma": "return 1.0"
        },
        "The upper end of the bracket is too small: for a perplexity near the number of distances, σ may be "
        "larger than all of them. Start from a very large one.": [
            _between(lambda d: 1e-6 * d.max().sqrt(), high)
            for high in (
                lambda d: d.max().sqrt(),
                lambda d: d.mean().sqrt(),
                lambda d: 2 * d.mean().sqrt(),
                lambda d: 2 * d.median().sqrt(),
            )
        ],
        "The lower end of the bracket is too large: σ may be smaller than all distances. Start from a tiny one.": [
            _between(low, lambda d: 100 * d.max().sqrt())
            for low in (lambda d: d.min().sqrt(), lambda d: d.mean().sqrt())
        ],
        "A small number in the denominator hides 0 / 0: where every exp(−d² / 2σ²) is tiny, the p_j do not sum to one. "
        "Use a softmax.": [
            _reaches(lambda d, sigma, small=small: _without_a_softmax(d, sigma, small))
            for small in (1e-6, 1e-8, 1e-10, 1e-12)
        ],
        "The small number inside the logarithm, added or as a clamp, is so large that it shows in σ: take 1e-12, or "
        "`torch.special.xlogy(p, p)`.": [
            *(
                _reaches(perplexity_of=lambda p, small=small: math.exp(-(p * (p + small).log()).sum()))
                for small in (1e-2, 1e-3, 1e-4, 1e-5)
            ),
            *(
                _reaches(perplexity_of=lambda p, small=small: math.exp(-(p * p.clamp(min=small).log()).sum()))
                for small in (1e-2, 1e-3)
            ),
        ],
        "Where all distances are tiny, so is σ, and yours is not exact enough. An absolute tolerance, an arithmetic "
        "middle or a small number added to σ² is too coarse there. `(low * high) ** 0.5` suits any scale.": _near_at(
            "tiny distances"
        ),
        "The search stops too early: σ is near, but not to one part in 100,000. Halve the bracket more often, or until "
        "its ends agree.": [
            _reaches(low=1e-7, high=1e7, steps=10),
            {"60": "13"},
            *(_near_at(name) for name in perplexity_sigma.inputs.names if name != "tiny distances"),
        ],
    }
)
