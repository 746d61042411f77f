"""The exercises of lesson 7, Seeing high dimensions: solutions, classic mistakes, hints."""

import math
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.checks import ExerciseSet, Question, normal

lesson = ExerciseSet("Lesson 7")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# Section 1: groups without names -----------------------------------------------------------------------------


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
        "The differences are added before they are squared, so they cancel. Square first, then sum over D.": {
            "torch.cdist(x, centroids)": "(x[:, None] - centroids[None]).sum(dim=2).abs()"
        },
        "The largest dot product is not the smallest distance: it prefers centroids "
        "that are long.": lambda x, centroids: (x @ centroids.T).argmax(dim=1),
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
    "The mean of an empty cluster is 0 / 0, nan, and from then on no distance to it is smaller than any other. Let a "
    "cluster without points keep its centroid."
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


# Section 2: soft groups --------------------------------------------------------------------------------------


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
        "A small number in the denominator hides 0 / 0, but far from all components the rows no longer sum to one. "
        "Stay with logarithms until the end: `logsumexp`."
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
        "The largest entry of every row is 1, so the rows do not sum to one yet: divide each by its sum.": {
            ".logsumexp(": ".amax("
        },
        "The distance enters squared: −(x − μ)² / 2σ².": {
            "((x[:, None] - means) / deviations) ** 2": "((x[:, None] - means) / deviations).abs()"
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


# Section 3: a map of many dimensions -------------------------------------------------------------------------


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
            torch.tensor([2] * 8 + [7] * 9),
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


def _nearest(positions, count, largest=False, itself=float("inf")):
    distances = torch.cdist(positions, positions).fill_diagonal_(itself)
    return distances.topk(count, largest=largest).indices


def _share(votes, labels):
    return (votes.mode(dim=1).values == labels).float().mean().item()


knn_accuracy.mistakes(
    {
        "Each point counts itself: it is its own nearest neighbour, at "
        "distance 0, and votes for its own label. Put inf on the diagonal of "
        "the distances.": lambda positions, labels, k: _share(
            labels[_nearest(positions, k, itself=0.0)], labels
        ),
        "You asked for one more neighbour, because the point itself is among "
        "them, but it still votes. Drop the first column.": lambda positions, labels, k: _share(
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


_TOO_FEW = (
    "Of k neighbours, itself included, k − 1 are left, and none for k = 1. Rule the point out first: put inf on the "
    "diagonal of the distances."
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


# Section 4: t-SNE by hand ------------------------------------------------------------------------------------


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


def _with_small_number(small):
    return lambda p: -(p * (p + small).log2()).sum(dim=1)


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
        "The small number that you put into the logarithm is so large that it shows in the result: 1e-12 will do, or "
        "`torch.special.xlogy`.": [_with_small_number(small) for small in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)],
    }
)


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
    lower, upper = (
        math.exp(_nats(_row(squared_distances, sigma * factor))) for factor in (1 - within, 1 + within)
    )
    return lower < perplexity < upper


def _what_it_is(sigma, squared_distances, perplexity):
    """What a width is, in words that do not depend on how it was searched for; "" if nothing is known of it."""
    d = squared_distances.double()
    for words, width in {
        "the width": sigma,
        "the width times √2": sigma / 2**0.5,
        "the width over √2": sigma * 2**0.5,
        "the square of the width": sigma**0.5,
        "twice the square of the width": (sigma / 2) ** 0.5,
        "1/2σ²": (2 * sigma) ** -0.5,
        "1/σ²": sigma**-0.5,
        "1/σ": 1 / sigma,
    }.items():
        if _is_width(width, d - d.min(), perplexity):
            return words
    nats = _nats(_row(d - d.min(), sigma))
    for words, other in {
        "bits and nats mixed up": (2**nats, math.exp(nats / math.log(2))),
        "the entropy is what the perplexity should be": (nats, nats / math.log(2)),
    }.items():
        if any(math.isclose(one, perplexity, rel_tol=1e-3) for one in other):
            return words
    if _is_width(sigma, d.square() - d.square().min(), perplexity):
        return "the width for squares of the squares"
    if _is_width(sigma, d.sqrt() - d.sqrt().min(), perplexity):
        return "the width for distances that are not squared"
    if 80 < float(d.min()) / (2 * sigma**2) < 110:
        return "where exp underflows"
    return ""


def _about_the_width(perplexity_sigma, squared_distances, perplexity):
    """What the width that came back is, and at which perplexity."""
    sigma = perplexity_sigma(squared_distances, perplexity)
    if not isinstance(sigma, float | int | Tensor | np.generic) or torch.as_tensor(sigma).ndim:
        return sigma
    sigma = float(sigma)
    if not 1e-100 < sigma < 1e100:
        return {"σ": sigma}
    reached = math.exp(_nats(_row(squared_distances.double() - squared_distances.min(), sigma)))
    words = _what_it_is(sigma, squared_distances, perplexity)
    if not words:
        scaled = perplexity_sigma(9 * squared_distances, perplexity)  # should be three times as large
        if not 0.5 < float(scaled) / sigma < 20 or float(scaled) / sigma < 1.1:
            extreme = reached < 1.01 or reached > 0.99 * len(squared_distances)
            words = "an end of the bracket" if extreme else "the same at every scale"
        elif math.isclose(reached, perplexity, rel_tol=0.25):
            words = "near the width"
    return {"σ": _Found(words or f"{sigma:.3g}", sigma, reached)}


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


def _bisect(too_wide, low=1e-8, high=1e8, steps=60):
    for _ in range(steps):
        sigma = (low * high) ** 0.5
        low, high = (low, sigma) if too_wide(sigma) else (sigma, high)
    return sigma


def _reaches(row=_row, perplexity_of=lambda p: math.exp(_nats(p)), change=lambda sigma: sigma, **search):
    """A search for σ with a row, a perplexity, a bracket or a last step of its own."""
    return lambda squared_distances, perplexity: change(
        _bisect(lambda sigma: perplexity_of(row(squared_distances, sigma)) > perplexity, **search)
    )


def _without_a_softmax(squared_distances, sigma):
    kernel = (-squared_distances / (2 * sigma**2)).exp()
    return kernel / kernel.sum()


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


perplexity_sigma.mistakes(
    {
        "exp(−d²/2σ²) underflows for every point when σ is small, and 0 / 0 is nan. Subtract the smallest d² first, as "
        "a softmax does; the probabilities do not change.": _reaches(_without_a_softmax),
        "The 2 in the exponent is missing: exp(−d² / 2σ²). Your σ is √2 too large.": {
            "(2 * sigma**2)": "sigma**2"
        },
        "Your σ is √2 too small: is there a 2 too many in the exponent? It is exp(−d² / 2σ²).": {
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
        "The search stops too early: σ is near, but not to one part in 100,000. Halve the bracket more often, or until "
        "its ends agree.": [_reaches(low=1e-7, high=1e7, steps=10), {"60": "13"}],
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
        "All entries together should sum to one; yours sum to N. Divide by 2N.": {
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
            lambda conditional: (conditional + conditional.T).triu() / len(conditional)
        ),
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


@symmetric_p.mistake("Each row sums to one again, which breaks the symmetry. Divide by one number, 2N.")
def _(conditional):
    total = conditional + conditional.T
    return total / total.sum(dim=1, keepdim=True)


@symmetric_p.mistake(
    "A matrix product with the transpose is something different. Add the two tables entry by entry."
)
def _(conditional):
    product = conditional @ conditional.T
    return product / product.sum()


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
        "That is a Gaussian. Here the tail is heavier: 1 / (1 + d²).": lambda y: _normalised(
            (-_squared(y) / 2).exp()
        ),
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
    arrows = y[:, None] - y[None]  # (N, N, d)
    w = (1 / (1 + arrows.square().sum(dim=2))).fill_diagonal_(0)
    return 4 * (((p - w / w.sum()) * w)[:, :, None] * arrows).sum(dim=1)


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
            "b": "At 5 and 30, yes. With 100 points in a cloud, what must happen at a perplexity of 100?",
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
        "That is what t-SNE optimises, and trustworthiness says how often it succeeded.",
        {
            "b": "There is no such guarantee: two dimensions cannot hold all neighbourhoods of many.",
            "c": "Near pairs are the one thing that the loss insists on.",
            "d": "Labels play no part in the map.",
        },
    ),
    seven=Question(
        "c",
        "Islands that survive other perplexities and seeds, and that a clustering of the original data also "
        "finds, are credible.",
        {
            "a": "Noise has islands, too, at a small perplexity.",
            "b": "k-means finds as many clusters on a map as you ask for.",
            "d": "Trustworthiness asks whether near on the map was near before. Noise can score well on it.",
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
