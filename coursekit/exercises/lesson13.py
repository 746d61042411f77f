"""The exercises of lesson 13, What a network does not know: solutions, classic mistakes, hints."""

import copy
import functools
import inspect
import itertools
import math
import numbers

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import data, runtime
from coursekit.checks import ExerciseSet, ModelExercise, NamedFunction, Question, normal, show

lesson = ExerciseSet("Lesson 13")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# Section 1: one weight ----------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "the first measurement": (0.0, 1.0, 1.0, 1.0, 1.0),
        "the second measurement": (0.5, 0.5, 2.0, 4.0, 1.0),
        "x = 0, where w has no say": (1.5, 2.0, 0.0, 0.7, 0.5),
        "little noise": (0.3, 1.5, 1.2, -0.8, 0.005),
        "much noise": (-1.0, 0.6, 0.8, 2.0, 3.0),
        "negative x": (0.4, 2.5, -1.5, 2.2, 0.7),
        "a wide prior": (2.0, 400.0, 0.5, 1.4, 1.3),
        "a narrow prior": (2.0, 0.04, 0.9, 0.5, 0.8),
        "what the prior expects": (0.5, 0.8, 2.0, 1.0, 0.6),
        "x² = 9": (-0.7, 1.7, 3.0, 1.1, 2.0),
    },
    hints=[
        "Precisions, 1 over the variance, add up. How precise is the prior, and how precisely does y fix w?",
        "The prior has the precision 1/variance, the measurement adds x²/σ². The new variance is 1 over their sum.",
        "`precision = 1 / variance + x**2 / sigma**2`; the mean is `mean / variance + x * y / sigma**2`, divided by "
        "it.",
    ],
    returns=("mean", "variance"),
)
def update_weight(mean, variance, x, y, sigma):
    """Return mean and variance of the weight w after one measurement y = w·x + noise, all of them numbers.

    Before it, w had a normal distribution with this mean and variance. The noise is normal with standard deviation
    sigma.
    """
    precision = 1 / variance + x**2 / sigma**2
    return (mean / variance + x * y / sigma**2) / precision, 1 / precision


def _update(
    prior=lambda v: 1 / v,
    measured=lambda x, s: x**2 / s**2,
    start=lambda m, v: m / v,
    seen=lambda x, y, s: x * y / s**2,
    mean_of=lambda total, precision: total / precision,
    spread=lambda precision, v, s: 1 / precision,
    out=lambda mean, variance: (mean, variance),
):
    """The update by precisions, with what can go wrong as arguments."""

    def attempt(mean, variance, x, y, sigma):
        precision = prior(variance) + measured(x, sigma)
        total = start(mean, variance) + seen(x, y, sigma)
        return out(mean_of(total, precision), spread(precision, variance, sigma))

    return attempt


_UPDATE_NOISE = {
    "σ stands where σ² belongs: sigma is a standard deviation, and a precision is 1 over a variance. Divide by "
    "`sigma**2`, both times.": {"measured": lambda x, s: x**2 / s, "seen": lambda x, y, s: x * y / s},
    "The precision gains x²/σ here. sigma is a standard deviation, so divide x² by its square, `sigma**2`.": {
        "measured": lambda x, s: x**2 / s
    },
    "In the mean, x·y is divided by σ. sigma is a standard deviation, so divide by its square, `sigma**2`.": {
        "seen": lambda x, y, s: x * y / s
    },
    "The noise plays no part: a noisy measurement should count for less. Divide x² and x·y by `sigma**2`.": {
        "measured": lambda x, s: x**2,
        "seen": lambda x, y, s: x * y,
    },
    "In the precision, x² is not divided by σ²: a noisy measurement should add less. Use `x**2 / sigma**2`.": {
        "measured": lambda x, s: x**2
    },
    "In the mean, x·y is not divided by σ²: y should count the less, the noisier it is. Use `x * y / sigma**2`.": {
        "seen": lambda x, y, s: x * y
    },
}
_UPDATE_SLOPE = {
    "The precision gains x/σ² here, and it has to be x²/σ². y is w·x, so an error of w counts x times, and squared in "
    "a variance.": {"measured": lambda x, s: x / s**2},
    "x is missing from the precision: y tells more about w the larger x is. It gains `x**2 / sigma**2`.": {
        "measured": lambda x, s: 1 / s**2
    },
    "y is treated as a measurement of w itself, but it measures w·x. The precision gains x²/σ², and the mean x·y/σ² "
    "before the division.": {"measured": lambda x, s: 1 / s**2, "seen": lambda x, y, s: y / s**2},
    "x is missing from the mean: what y adds before the division is x·y/σ².": {
        "seen": lambda x, y, s: y / s**2
    },
    "In the mean stands x²·y/σ². Only the precision has the square; here it is x·y/σ².": {
        "seen": lambda x, y, s: x**2 * y / s**2
    },
}
_UPDATE_PRIOR = {
    "The prior's variance stands where its precision belongs. Use `1 / variance` in the sum, and `mean / variance` in "
    "the mean.": {"prior": lambda v: v, "start": lambda m, v: m * v},
    "The variance is added to a precision. The prior's precision is `1 / variance`.": {"prior": lambda v: v},
    "`variance` is squared, as if it were a standard deviation. It is a variance already: the prior's precision is "
    "`1 / variance`.": {"prior": lambda v: 1 / v**2, "start": lambda m, v: m / v**2},
    "The prior's mean plays no part, as if it were 0. Add `mean / variance` to x·y/σ² before you divide by the "
    "precision.": {"start": lambda m, v: 0},
    "The prior's mean is added as it is, while y is weighed by its precision. Weigh both: `mean / variance + x * y / "
    "sigma**2`.": {"start": lambda m, v: m},
    "The prior is not used: this is least squares from one point, which fails at x = 0. Add `1 / variance` to the "
    "precision and `mean / variance` to the sum.": {"prior": lambda v: 0, "start": lambda m, v: 0},
    "The prior's precision is missing from the sum: add `1 / variance` to x²/σ².": {"prior": lambda v: 0},
}
_UPDATE_RESULTS = {
    "The second number is the precision. The variance is 1 over it.": {"spread": lambda p, v, s: p},
    "The second number is the standard deviation. Leave out the root: the variance is asked for.": {
        "spread": lambda p, v, s: (1 / p) ** 0.5
    },
    "σ² is added to the variance of w. That belongs to the variance of a new y; what is asked for is that of w, "
    "`1 / precision`.": {"spread": lambda p, v, s: 1 / p + s**2},
    "The mean is right, but the variance is still that of the prior. A measurement adds precision: it is now "
    "`1 / (1 / variance + x**2 / sigma**2)`.": {"spread": lambda p, v, s: v},
    "The mean is not divided by the new precision. Both terms are weighed by precisions, so divide by their sum.": {
        "mean_of": lambda total, p: total
    },
    "Mean and variance are swapped: return the mean first.": {"out": lambda m, v: (v, m)},
    "Only the mean came back. Return both, `mean, variance`.": {"out": lambda m, v: m},
}
update_weight.slips(_update, _UPDATE_NOISE, _UPDATE_SLOPE, _UPDATE_PRIOR, _UPDATE_RESULTS)


def _update_by_gain(
    gain=lambda v, x, s: v * x / (v * x**2 + s**2),
    surprise=lambda m, x, y: y - x * m,
    new_mean=lambda m, step: m + step,
    shrink=lambda K, x: 1 - K * x,
):
    """The update by Kalman's gain, with what can go wrong as arguments."""

    def attempt(mean, variance, x, y, sigma):
        K = gain(variance, x, sigma)
        return new_mean(mean, K * surprise(mean, x, y)), shrink(K, x) * variance

    return attempt


update_weight.slips(
    _update_by_gain,
    {
        "The mean moves by a multiple of y. It has to move by a multiple of the surprise, `y - x * mean`: where y is "
        "what the prior expects, it stays.": {"surprise": lambda m, x, y: y},
        "y is compared with the prior's mean, but the prior expects x·mean for y. The surprise is `y - x * mean`.": {
            "surprise": lambda m, x, y: y - m
        },
        "The gain is variance·x² / (x²·variance + σ²), which is how far x·w moves. For w, the gain has x above "
        "the line, not x².": {
            "gain": lambda v, x, s: v * x**2 / (v * x**2 + s**2),
            "shrink": lambda K, x: 1 - K,
        },
        "The mean moves the wrong way: add the gain times `y - x * mean`.": {
            "new_mean": lambda m, step: m - step
        },
        "The mean is right, but the variance is multiplied by 1 − K. Multiply it by 1 − K·x, K being the gain.": {
            "shrink": lambda K, x: 1 - K
        },
        "The variance is right, but the mean is still that of the prior. Let y move it: `mean / variance + x * y / "
        "sigma**2`, divided by the precision.": {"new_mean": lambda m, step: m},
    },
)
update_weight.mistakes(
    {
        next(iter(_UPDATE_NOISE)): {"sigma**2": "sigma"},
        "The mean is right, but variances are added here. It is the precisions that add up: the variance is 1 over "
        "`1 / variance + x**2 / sigma**2`.": [
            _update(spread=lambda p, v, s: v + s**2),
            lambda m, v, x, y, s: (update_weight.reference(m, v, x, y, s)[0], v + x**2 * s**2),
            lambda m, v, x, y, s: (update_weight.reference(m, v, x, y, s)[0], x**2 * v + s**2),
        ],
        "Variances are added here, and the variance grows. It is the precisions that add up, `1 / variance + x**2 / "
        "sigma**2`, and the mean is weighed by them.": [
            lambda m, v, x, y, s: ((m * v + x * y * s**2) / (v + s**2), v + s**2),
            lambda m, v, x, y, s: ((m / v + x * y / s**2) / (v + s**2), v + s**2),
            lambda m, v, x, y, s: ((m / v + x * y / s**2) * (v + s**2), v + s**2),
            lambda m, v, x, y, s: ((m * s**2 + y * v) / (v + s**2), v + s**2),
            lambda m, v, x, y, s: (lambda V: ((m / v + x * y / s**2) * V, V))(v + s**2 / x**2),
        ],
        "Prior and measurement are weighed by their variances, so the less certain one counts more. Weigh by the "
        "precisions, `1 / variance` and `x**2 / sigma**2`.": [
            _update(
                prior=lambda v: v,
                measured=lambda x, s: x**2 * s**2,
                start=lambda m, v: m * v,
                seen=lambda x, y, s: x * y * s**2,
            ),
            lambda m, v, x, y, s: ((m * v + y * s**2) / (v + s**2), 1 / (1 / v + 1 / s**2)),
            lambda m, v, x, y, s: ((m * v + y * s**2) / (v + s**2), 1 / (1 / v + x**2 / s**2)),
            lambda m, v, x, y, s: ((m * v + x * y * s**2) / (v + s**2), 1 / (1 / v + x**2 / s**2)),
        ],
        "The mean is the plain average of the prior's mean and the measurement. Weigh the two by their precisions.": [
            lambda m, v, x, y, s: ((m + y) / 2, 1 / (1 / v + x**2 / s**2)),
            lambda m, v, x, y, s: ((m + y) / 2, 1 / (1 / v + 1 / s**2)),
            lambda m, v, x, y, s: ((m + x * y) / 2, 1 / (1 / v + x**2 / s**2)),
            lambda m, v, x, y, s: ((m + y) / 2, v),
        ],
        "This divides by x, which fails at x = 0, where y says nothing about w. (y / x) · (x² / σ²) is x·y/σ², "
        "without a division by x.": [
            lambda m, v, x, y, s: (
                (m / v + y / x * x**2 / s**2) / (1 / v + x**2 / s**2),
                1 / (1 / v + x**2 / s**2),
            ),
            lambda m, v, x, y, s: (
                (m / v + y / x / (s / x) ** 2) / (1 / v + 1 / (s / x) ** 2),
                1 / (1 / v + 1 / (s / x) ** 2),
            ),
        ],
    }
)
_UPDATE_NOISE_IN_SHORT = {
    "σ stands where σ² belongs.": {
        "measured": lambda x, s: x**2 / s,
        "seen": lambda x, y, s: x * y / s,
    },
    "y measures w·x, not w: x² is missing from the precision, and x from the mean.": {
        "measured": lambda x, s: 1 / s**2,
        "seen": lambda x, y, s: y / s**2,
    },
}
_UPDATE_PRIOR_IN_SHORT = {
    "The prior's mean is left out: add `mean / variance`.": {"start": lambda m, v: 0},
    "The prior's variance is used as a precision.": {"prior": lambda v: v, "start": lambda m, v: m * v},
}
_UPDATE_RESULTS_IN_SHORT = {
    "The second number is the precision, not 1 over it.": {"spread": lambda p, v, s: p},
    "The second number is the standard deviation, not the variance.": {
        "spread": lambda p, v, s: math.sqrt(abs(1 / p))
    },
}
update_weight.pairs_of_slips(
    _update, _UPDATE_NOISE_IN_SHORT | _UPDATE_PRIOR_IN_SHORT, _UPDATE_RESULTS_IN_SHORT
)


# Section 2: a line --------------------------------------------------------------------------------------------


def _line_case(N, D, sigma, prior_sd, seed, dtype=torch.float32):
    """Measurements of a line with D weights, as (X, y, sigma, prior_sd)."""
    X = normal(N, D, seed=seed, dtype=dtype)
    y = X @ normal(D, seed=seed + 1, dtype=dtype) + sigma * normal(N, seed=seed + 2, dtype=dtype)
    return X, y, sigma, prior_sd


def _line_with_bias(N, sigma, prior_sd, seed):
    """The same, with a column of ones in front of one feature."""
    X = torch.stack([torch.ones(N), normal(N, seed=seed)], dim=1)
    return X, 2 - 0.5 * X[:, 1] + sigma * normal(N, seed=seed + 1), sigma, prior_sd


@lesson.exercise(
    cases={
        "one weight, one measurement": (torch.tensor([[1.0]]), torch.tensor([1.0]), 1.0, 1.0),
        "two weights, each measured once": (
            torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
            torch.tensor([1.0, 2.0]),
            1.0,
            1.0,
        ),
        "more measurements than weights": _line_case(5, 2, 0.8, 1.1, seed=10),
        "more weights than measurements": _line_case(2, 4, 0.8, 1.2, seed=20),
        "as many weights as measurements": _line_case(3, 3, 0.7, 1.3, seed=30),
        "much noise": _line_case(4, 2, 2.5, 0.9, seed=40),
        "a narrow prior": _line_case(6, 3, 0.6, 0.3, seed=50),
        "a column of ones": _line_with_bias(5, 0.6, 0.9, seed=60),
        "a single measurement": _line_case(1, 3, 0.9, 0.7, seed=70),
        "one weight, four measurements": _line_case(4, 1, 0.3, 0.6, seed=80),
        "float64 numbers": _line_case(7, 4, 0.8, 1.7, seed=90, dtype=torch.float64),
    },
    hints=[
        "The last exercise with matrices: what takes the place of x², and what of the prior's precision 1/variance?",
        "The precision is XᵀX/σ² + 1/τ² times the identity, τ being `prior_sd`. The covariance is its inverse.",
        "`torch.linalg.inv(X.T @ X / sigma**2 + torch.eye(X.shape[1]).to(X) / prior_sd**2)`, and the mean is "
        "`covariance @ X.T @ y / sigma**2`.",
    ],
    returns=("mean", "covariance"),
)
def bayesian_line(X, y, sigma, prior_sd):
    """Return the mean (D,) and the covariance (D, D) of the posterior of the weights of y = X @ w + noise.

    X is (N, D), y (N,). The noise has standard deviation sigma; a priori, each weight is from N(0, prior_sd²).
    """
    precision = X.T @ X / sigma**2 + torch.eye(X.shape[1], dtype=X.dtype) / prior_sd**2
    covariance = torch.linalg.inv(precision)
    return covariance @ X.T @ y / sigma**2, covariance


def _identity_like(X):
    return torch.eye(X.shape[1], dtype=X.dtype)


def _without_the_first(X):
    """The identity (D, D) with 0 in the first place."""
    identity = _identity_like(X)
    identity[0, 0] = 0
    return identity


def _line(
    measured=lambda X, s: X.T @ X / s**2,
    prior=lambda X, s, t: _identity_like(X) / t**2,
    invert=torch.linalg.inv,
    mean_of=lambda C, X, y, s: C @ X.T @ y / s**2,
    out=lambda mean, C, s: (mean, C),
):
    """The posterior by its precision, with what can go wrong as arguments."""

    def attempt(X, y, sigma, prior_sd):
        covariance = invert(measured(X, sigma) + prior(X, sigma, prior_sd))
        return out(mean_of(covariance, X, y, sigma), covariance, sigma)

    return attempt


def _line_mean(C, X, y, s):
    return C @ X.T @ y


_LINE_NOISE = {
    "σ stands where σ² belongs: sigma is a standard deviation, a precision 1 over a variance. Divide XᵀX and Xᵀy by "
    "`sigma**2`.": {
        "measured": lambda X, s: X.T @ X / s,
        "mean_of": lambda C, X, y, s: C @ X.T @ y / s,
    },
    "In the precision, XᵀX is divided by σ. sigma is a standard deviation, so divide by `sigma**2`.": {
        "measured": lambda X, s: X.T @ X / s
    },
    "The covariance is right. In the mean you divide by σ: divide by `sigma**2`.": {
        "mean_of": lambda C, X, y, s: C @ X.T @ y / s
    },
    "The noise plays no part, as if σ were 1. Divide XᵀX in the precision and Xᵀy in the mean by `sigma**2`.": {
        "measured": lambda X, s: X.T @ X,
        "mean_of": _line_mean,
    },
    "In the precision, XᵀX is not divided by σ²: noisy measurements should add less. Use `X.T @ X / sigma**2`.": {
        "measured": lambda X, s: X.T @ X
    },
    "The covariance is right. The mean has to be divided by σ²: `covariance @ X.T @ y / sigma**2`.": {
        "mean_of": _line_mean
    },
    "The mean is right, but the covariance lacks a factor σ²: (XᵀX + σ²/τ²)⁻¹ times σ² is the covariance. Or use "
    "`X.T @ X / sigma**2` in the precision.": {
        "measured": lambda X, s: X.T @ X,
        "prior": lambda X, s, t: s**2 / t**2 * _identity_like(X),
        "mean_of": _line_mean,
    },
    "The mean is right, but the covariance is multiplied by σ² once too often. The inverse of the precision is the "
    "covariance already.": {"out": lambda mean, C, s: (mean, s**2 * C)},
}
_LINE_PRIOR = {
    "The prior's variance stands where its precision belongs: divide the identity by `prior_sd**2`.": {
        "prior": lambda X, s, t: t**2 * _identity_like(X)
    },
    "`prior_sd` is a standard deviation, and you multiply the identity by it. A precision is 1 over the variance: "
    "divide by `prior_sd**2`.": {"prior": lambda X, s, t: t * _identity_like(X)},
    "The identity is divided by `prior_sd`, a standard deviation. The precision is 1 over the variance: divide by "
    "`prior_sd**2`.": {"prior": lambda X, s, t: _identity_like(X) / t},
    "The prior is missing from the precision: add the identity divided by `prior_sd**2`. Without it there is no "
    "inverse where weights outnumber measurements.": {"prior": lambda X, s, t: 0 * _identity_like(X)},
    "The prior has precision 1 here, whatever `prior_sd` is. Divide the identity by `prior_sd**2`.": {
        "prior": lambda X, s, t: _identity_like(X)
    },
    "The first weight gets no prior here. Every weight is from N(0, τ²), a bias too: take the whole identity.": {
        "prior": lambda X, s, t: _without_the_first(X) / t**2
    },
    "The prior is divided by σ² as well. In XᵀX/σ² + 1/τ² only XᵀX is; written as (XᵀX + λ)/σ², λ is σ²/τ², not "
    "1/τ².": {"prior": lambda X, s, t: _identity_like(X) / t**2 / s**2},
    "The prior is multiplied by σ², and XᵀX is divided by it already. Its precision is 1/τ² alone.": {
        "prior": lambda X, s, t: _identity_like(X) * s**2 / t**2
    },
}
_LINE_RESULTS = {
    "The mean is right, but with it came the precision. Return its inverse, the covariance.": {
        "out": lambda mean, C, s: (mean, torch.linalg.inv(C))
    },
    "The mean is right, but with it came only the variances, (D,). Return the whole covariance, (D, D).": {
        "out": lambda mean, C, s: (mean, C.diagonal())
    },
    "The mean is right, but with it came standard deviations, (D,). Return the whole covariance, (D, D).": {
        "out": lambda mean, C, s: (mean, C.diagonal().sqrt())
    },
    "The mean is right, but of the covariance only the diagonal is left. The weights hang together: return the whole "
    "inverse.": {"out": lambda mean, C, s: (mean, torch.diag(C.diagonal()))},
    "The mean is (D, 1), and (D,) expected. Keep y a vector: `covariance @ X.T @ y` needs no new axis.": {
        "out": lambda mean, C, s: (mean[:, None], C)
    },
    "Mean and covariance are swapped: return the mean first.": {"out": lambda mean, C, s: (C, mean)},
    "Only the mean came back. Return both, `mean, covariance`.": {"out": lambda mean, C, s: mean},
    "NumPy arrays came back. Return tensors: leave out `.numpy()`, or convert with `torch.from_numpy`.": {
        "out": lambda mean, C, s: (mean.numpy(), C.numpy())
    },
}
bayesian_line.slips(_line, _LINE_NOISE, _LINE_PRIOR, _LINE_RESULTS)
bayesian_line.mistakes(
    {
        "The prior's number is added to every entry of the precision, as if a priori the weights hung together. Add "
        "1/τ² on the diagonal only, times `torch.eye(X.shape[1])`.": [
            _line(prior=lambda X, s, t: 1 / t**2),
            _line(prior=lambda X, s, t: 1 / t),
            _line(prior=lambda X, s, t: t**2),
        ],
        "Both results are divided by σ² once too often. With (XᵀX + σ²/τ²)⁻¹, the covariance is σ² times it, and the "
        "mean is it times Xᵀy, without a division.": lambda X, y, s, t: tuple(
            one / s**2 for one in bayesian_line.reference(X, y, s, t)
        ),
        "`*` multiplies entry by entry. Products of matrices are written `@`: `covariance @ X.T @ y`.": [
            {"covariance @ X.T": "covariance * X.T"},
            {"X.T @ X": "X.T * X"},
        ],
        "`1 / precision` inverts each entry alone. The covariance is the inverse of the matrix: "
        "`torch.linalg.inv(precision)`.": [
            _line(invert=lambda P: 1 / P),
            {"torch.linalg.inv(precision)": "1 / precision"},
        ],
        "The precision is used as the covariance, without an inverse. Take `torch.linalg.inv(precision)` for both "
        "results.": _line(invert=lambda P: P),
        "`X @ X.T` is (N, N), one row for each measurement. There are D weights: `X.T @ X`.": [
            _line(measured=lambda X, s: X @ X.T / s**2),
            _line(
                measured=lambda X, s: X @ X.T / s**2,
                prior=lambda X, s, t: torch.eye(len(X), dtype=X.dtype) / t**2,
            ),
            _line(
                measured=lambda X, s: X @ X.T / s**2,
                prior=lambda X, s, t: torch.eye(len(X), dtype=X.dtype) / t**2,
                mean_of=lambda C, X, y, s: C @ X @ y / s**2,
            ),
            {"X.T @ X": "X @ X.T"},
        ],
        "The identity is (N, N) here, and there are D weights: `torch.eye(X.shape[1])`, as `len(X)` counts the "
        "measurements.": [
            _line(prior=lambda X, s, t: torch.eye(len(X), dtype=X.dtype) / t**2),
            _line(prior=lambda X, s, t: torch.eye(len(X)) / t**2),
        ],
        "Only the squares of each column are counted, as if the columns of X were orthogonal. `X.T @ X` has the "
        "products of different columns as well.": _line(
            measured=lambda X, s: torch.diag((X**2).sum(dim=0)) / s**2
        ),
        "X has to be transposed in the mean: `covariance @ X.T @ y`. `covariance @ X @ y` fits only if N = D.": _line(
            mean_of=lambda C, X, y, s: C @ X @ y / s**2
        ),
        "The inverse is missing from the mean. It is `covariance @ X.T @ y / sigma**2`.": [
            _line(mean_of=lambda C, X, y, s: X.T @ y / s**2),
            _line(mean_of=lambda C, X, y, s: X.T @ y),
        ],
        "The covariance is right. The mean is that of least squares: the prior pulls it to 0, as "
        "`covariance @ X.T @ y / sigma**2` does.": [
            _line(mean_of=lambda C, X, y, s: torch.linalg.lstsq(X, y[:, None]).solution[:, 0]),
            _line(mean_of=lambda C, X, y, s: torch.linalg.pinv(X) @ y),
            _line(mean_of=lambda C, X, y, s: torch.linalg.inv(X.T @ X) @ X.T @ y),
            _line(mean_of=lambda C, X, y, s: torch.linalg.solve(X.T @ X, X.T @ y)),
        ],
        "These are predictions for the rows of X, (N,). What is asked for are the mean and the covariance of the "
        "weights.": [
            lambda X, y, s, t: (
                X @ bayesian_line.reference(X, y, s, t)[0],
                X @ bayesian_line.reference(X, y, s, t)[1] @ X.T,
            ),
            lambda X, y, s, t: (
                X @ bayesian_line.reference(X, y, s, t)[0],
                bayesian_line.reference(X, y, s, t)[1],
            ),
        ],
    }
)
_LINE_NOISE_IN_SHORT = {
    "σ stands where σ² belongs.": {
        "measured": lambda X, s: X.T @ X / s,
        "mean_of": lambda C, X, y, s: C @ X.T @ y / s,
    },
    "XᵀX and Xᵀy are not divided by σ².": {"measured": lambda X, s: X.T @ X, "mean_of": _line_mean},
}
_LINE_PRIOR_IN_SHORT = {
    "The prior's precision is 1/τ², not τ².": {"prior": lambda X, s, t: t**2 * _identity_like(X)},
    "The prior's precision is 1/τ², not 1/τ.": {"prior": lambda X, s, t: _identity_like(X) / t},
}
_LINE_RESULTS_IN_SHORT = {
    "The precision comes back, not its inverse.": {"out": lambda mean, C, s: (mean, torch.linalg.inv(C))},
    "Only the variances come back, not the whole covariance.": {
        "out": lambda mean, C, s: (mean, C.diagonal())
    },
}
bayesian_line.pairs_of_slips(_line, _LINE_NOISE_IN_SHORT, _LINE_PRIOR_IN_SHORT)
bayesian_line.pairs_of_slips(_line, _LINE_NOISE_IN_SHORT | _LINE_PRIOR_IN_SHORT, _LINE_RESULTS_IN_SHORT)


def _covariance(D, seed, dtype=torch.float32):
    """A covariance (D, D) with strong correlations."""
    A = normal(D, D, seed=seed, dtype=dtype)
    return A @ A.T / D + 0.1 * torch.eye(D, dtype=dtype)


@lesson.exercise(
    cases={
        "one row, one weight": (torch.tensor([[2.0]]), torch.tensor([[0.25]]), 1.0),
        "weights that cancel": (
            torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]]),
            torch.tensor([[1.0, -0.9], [-0.9, 1.0]]),
            0.5,
        ),
        "no noise": (normal(4, 2, seed=110), _covariance(2, seed=111), 0.0),
        "as many rows as weights": (normal(3, 3, seed=120), _covariance(3, seed=121), 0.4),
        "one row": (normal(1, 3, seed=130), _covariance(3, seed=131), 0.7),
        "more weights than rows": (normal(2, 5, seed=140), _covariance(5, seed=141), 1.5),
        "many rows": (normal(7, 3, seed=150), _covariance(3, seed=151), 0.2),
        "much noise": (normal(4, 3, seed=160), _covariance(3, seed=161), 3.0),
        "one weight": (normal(5, 1, seed=170), torch.tensor([[0.6]]), 0.3),
        "float64 numbers": (
            normal(6, 4, seed=180, dtype=torch.float64),
            _covariance(4, seed=181, dtype=torch.float64),
            0.6,
        ),
    },
    hints=[
        "A new measurement is x·w + noise. Two things are uncertain, and their variances add up.",
        "x·w has the variance xᵀ S x, S being the covariance, and the noise σ². For all rows at once: `X @ S * X`, "
        "summed over the columns.",
        "`(X @ covariance * X).sum(dim=1)` is (N,). Add `sigma**2`, then take the root.",
    ],
)
def predictive_sd(X, covariance, sigma):
    """Return the standard deviation (N,) of a new measurement at each row of X (N, D).

    `covariance` (D, D) is that of the weights, sigma the standard deviation of the noise.
    """
    return ((X @ covariance * X).sum(dim=1) + sigma**2).sqrt()


def _predictive(
    spread=lambda X, S: (X @ S * X).sum(dim=1),
    noise=lambda v, s: v + s**2,
    root=torch.sqrt,
):
    """The standard deviation from both variances, with what can go wrong as arguments."""
    return lambda X, covariance, sigma: root(noise(spread(X, covariance), sigma))


_PREDICTIVE_NOISE = {
    "The noise is missing: a new measurement has it as well. Add `sigma**2` before you take the root.": {
        "noise": lambda v, s: v
    },
    "σ is added to a variance. sigma is a standard deviation: add `sigma**2`.": {"noise": lambda v, s: v + s},
    "Standard deviations are added. It is the variances that add up: add `sigma**2` first, then take the root.": {
        "noise": lambda v, s: v.sqrt() + s,
        "root": lambda sd: sd,
    },
    "The root is taken too early: σ² is added after it. Add the variances first, then take the root.": {
        "noise": lambda v, s: v.sqrt() + s**2,
        "root": lambda sd: sd,
    },
    "Your numbers are the noise alone, the same in each row. Add the variance from the weights, "
    "`(X @ covariance * X).sum(dim=1)`.": {"spread": lambda X, S: 0 * X[:, 0]},
}
_PREDICTIVE_SPREAD = {
    "Only the diagonal of the covariance is used, as if the weights were independent. Use the whole matrix: "
    "`(X @ covariance * X).sum(dim=1)`.": {"spread": lambda X, S: X**2 @ S.diagonal()},
    "Every entry of `X @ covariance` is squared. Multiply it by X instead: `X @ covariance * X`, since xᵀ S x has S "
    "once.": {"spread": lambda X, S: ((X @ S) ** 2).sum(dim=1)},
    "X enters once only: the variance of x·w is xᵀ S x. Multiply `X @ covariance` by X before the sum.": {
        "spread": lambda X, S: (X @ S).sum(dim=1)
    },
    "The covariance is inverted, so what is well known counts as uncertain. Use the covariance as it is.": {
        "spread": lambda X, S: (X @ torch.linalg.inv(S) * X).sum(dim=1)
    },
    "The covariance is not used: this is the square of each row's length. Use `(X @ covariance * X).sum(dim=1)`.": {
        "spread": lambda X, S: (X**2).sum(dim=1)
    },
    "The mean is taken over the weights. The variance of x·w is the sum: `.sum(dim=1)`.": {
        "spread": lambda X, S: (X @ S * X).mean(dim=1)
    },
    "The sum goes over the rows, axis 0, and gives a number for each weight. Sum over the weights: `dim=1`.": {
        "spread": lambda X, S: (X @ S * X).sum(dim=0)
    },
    "One number comes out, the sum for all rows. Sum over the weights only, `.sum(dim=1)`; of `X @ covariance @ X.T` "
    "take the diagonal, not the trace.": {"spread": lambda X, S: (X @ S * X).sum()},
    "The sum over the weights is missing, so the result is (N, D). Use `(X @ covariance * X).sum(dim=1)`.": {
        "spread": lambda X, S: X @ S * X
    },
    "`X @ covariance @ X.T` is (N, N), with the covariances of different rows. Only its diagonal is asked for: take "
    "`.diagonal()`, or `(X @ covariance * X).sum(dim=1)`.": {"spread": lambda X, S: X @ S @ X.T},
    "You add up each row of `X @ covariance @ X.T`, which brings in the covariances with other rows. Take its "
    "diagonal.": {"spread": lambda X, S: (X @ S @ X.T).sum(dim=1)},
    "The variances of the weights are multiplied by x, not by x². And use the whole covariance: "
    "`(X @ covariance * X).sum(dim=1)`.": {"spread": lambda X, S: X @ S.diagonal()},
}
_PREDICTIVE_RESULTS = {
    "This is the variance. Take its root: the standard deviation is asked for.": {"root": lambda v: v},
    "The result is (N, 1), and (N,) expected. Leave out `keepdim=True`, or the new axis.": {
        "root": lambda v: v.sqrt()[:, None]
    },
    "A list came back. Return one tensor: `torch.stack` makes one of numbers in a list, `torch.tensor` of Python's.": {
        "root": lambda v: v.sqrt().tolist()
    },
    "A NumPy array came back. Return a tensor: leave out `.numpy()`, or convert with `torch.from_numpy`.": {
        "root": lambda v: v.sqrt().numpy()
    },
    "This is the mean over all rows. Return a standard deviation for each row, (N,).": {
        "root": lambda v: v.sqrt().mean()
    },
}
predictive_sd.slips(_predictive, _PREDICTIVE_NOISE, _PREDICTIVE_SPREAD, _PREDICTIVE_RESULTS)
predictive_sd.mistakes(
    {
        next(one for one in _PREDICTIVE_SPREAD if "is (N, N)" in one): [
            lambda X, S, s: (X @ S @ X.T + s**2 * torch.eye(len(X), dtype=X.dtype)).sqrt(),
            lambda X, S, s: X @ S @ X.T + s**2 * torch.eye(len(X), dtype=X.dtype),
        ],
        "`*` multiplies the covariance entry by entry, with rows of X that are not its own. A product of matrices is "
        "written `@`: `X @ covariance`.": [
            _predictive(spread=lambda X, S: (X**2 * S).sum(dim=1)),
            _predictive(spread=lambda X, S: (X * S * X).sum(dim=1)),
        ],
        "`math.sqrt` takes one number, and here is one for each row. A tensor has `.sqrt()`, which takes every root.": [
            lambda X, S, s: math.sqrt((X @ S * X).sum(dim=1) + s**2),
            lambda X, S, s: math.sqrt((X @ S @ X.T).diagonal() + s**2),
        ],
        "σ² is added to the covariance of the weights, so it is multiplied by X as well. Add it to xᵀ S x, once for "
        "each row.": [
            {"X @ covariance * X).sum(dim=1) + sigma**2": "X @ (covariance + sigma**2) * X).sum(dim=1)"},
            lambda X, S, s: (X @ (S + s**2 * torch.eye(len(S), dtype=S.dtype)) * X).sum(dim=1).sqrt(),
        ],
        "σ² is added once for each weight, before the sum. Add it after the sum, once for each row.": lambda X, S, s: (
            (X @ S * X + s**2).sum(dim=1).sqrt()
        ),
        "The root is taken before the sum over the weights. Sum the parts of the variance first, add σ², then take "
        "the root.": [
            lambda X, S, s: (X @ S * X + s**2).sqrt().sum(dim=1),
            lambda X, S, s: ((X @ S * X).sqrt().sum(dim=1) ** 2 + s**2).sqrt(),
            lambda X, S, s: (X @ S * X).sqrt().sum(dim=1) + s,
        ],
        "X has to be transposed on the right of the covariance, not on the left. For the rows of X it is "
        "`X @ covariance @ X.T`, and of that the diagonal.": [
            _predictive(spread=lambda X, S: X.T @ S @ X),
            _predictive(spread=lambda X, S: (X.T @ S @ X).diagonal()),
        ],
        "`covariance @ X` has the factors the wrong way round: rows stand in X, so it is `X @ covariance`.": [
            _predictive(spread=lambda X, S: (S @ X * X).sum(dim=1)),
            _predictive(spread=lambda X, S: (X * (S @ X)).sum(dim=0)),
        ],
    }
)
_PREDICTIVE_SPREAD_IN_SHORT = {
    "Only the diagonal of the covariance is used.": {"spread": lambda X, S: X**2 @ S.diagonal()},
    "`X @ covariance @ X.T` is (N, N): take its diagonal.": {"spread": lambda X, S: X @ S @ X.T},
    "X enters once only: multiply `X @ covariance` by X.": {"spread": lambda X, S: (X @ S).sum(dim=1)},
}
_PREDICTIVE_NOISE_IN_SHORT = {
    "The noise is missing: add σ².": {"noise": lambda v, s: v},
    "σ is added, not σ².": {"noise": lambda v, s: v + s},
}
_PREDICTIVE_ROOT_IN_SHORT = {"The root is missing.": {"root": lambda v: v}}
predictive_sd.pairs_of_slips(_predictive, _PREDICTIVE_SPREAD_IN_SHORT, _PREDICTIVE_NOISE_IN_SHORT)
predictive_sd.pairs_of_slips(
    _predictive, _PREDICTIVE_SPREAD_IN_SHORT | _PREDICTIVE_NOISE_IN_SHORT, _PREDICTIVE_ROOT_IN_SHORT
)


# Section 3: chains --------------------------------------------------------------------------------------------


def _chain(w, value, proposal, new_value, u):
    """A case of a single chain."""
    return tuple(
        torch.tensor(one) for one in ([list(w)], [float(value)], [list(proposal)], [float(new_value)], [u])
    )


def _chains(values, new_values, u, D, seed, dtype=torch.float32):
    """A case of many chains: states and proposals at random, their ln p as given."""
    shape = len(values), D
    value, new_value, u = (torch.tensor(one, dtype=dtype) for one in (values, new_values, u))
    return (
        normal(*shape, seed=seed, dtype=dtype),
        value,
        normal(*shape, seed=seed + 1, dtype=dtype),
        new_value,
        u,
    )


_FAR = -float("inf")


@lesson.exercise(
    cases={
        "one chain, uphill": _chain([0.0], -2, [1.0], -1, 0.9),
        "one chain, a little downhill": _chain([0.0, 1.0], -1, [0.5, 2.0], -1.5, 0.4),
        "one chain, far downhill": _chain([0.0, 1.0], -1, [3.0, 4.0], -4, 0.3),
        "equal p": _chains([-1.0, -2.0], [-1.0, -2.0], [0.2, 0.99], 3, seed=200),
        "five chains": _chains(
            [-1.0, -2.0, -0.5, -3.0, -1.2],
            [-1.3, -0.4, -2.5, -4.1, -1.9],
            [0.5, 0.7, 0.3, 0.05, 0.8],
            2,
            seed=210,
        ),
        "as many chains as dimensions": _chains(
            [-1.0, -2.0, -0.5], [-1.4, -6.0, -0.2], [0.6, 0.5, 0.95], 3, seed=220
        ),
        "one dimension": _chains(
            [1.0, 0.5, -0.2, 2.0], [0.4, 0.9, -2.0, 1.7], [0.5, 0.6, 0.4, 0.8], 1, seed=230
        ),
        "ln p of a thousand data points": _chains(
            [-5000.0, -5000.0, -5001.0], [-5001.0, -5000.5, -5000.0], [0.5, 0.5, 0.9], 3, seed=240
        ),
        "far better and far worse": _chains([-1e4, -1.0], [-2.0, -1e4], [0.9, 0.01], 3, seed=250),
        "p = 0": _chains([_FAR, -1.0, -2.0], [-3.0, _FAR, -2.2], [0.8, 0.01, 0.3], 2, seed=260),
        "float64 numbers": _chains(
            [-2.0, -1.0, 0.7, -0.3],
            [-2.7, -0.2, 0.1, -1.9],
            [0.3, 0.4, 0.6, 0.2],
            5,
            seed=270,
            dtype=torch.float64,
        ),
    },
    hints=[
        "A proposal with larger p is always accepted, one with smaller p with the probability p(new) / p(old). How "
        "does a uniform u decide that?",
        "The ratio of the p's is exp(new − old) of their logarithms. `u < (new_value - value).exp()` is True for each "
        "chain that moves, (chains,).",
        "`torch.where(yes[:, None], proposal, w)` chooses rows; do the same for the ln p, without the new axis.",
    ],
    returns=("states", "ln p"),
)
def metropolis_step(w, value, proposal, new_value, u):
    """Return the next states (chains, D) of the chains and their ln p (chains,), by the rule of Metropolis.

    w (chains, D) are the states now and `value` (chains,) their ln p; `proposal` and `new_value` the same of the
    proposals, made by a symmetric rule. u (chains,) are uniform random numbers in (0, 1), one for each chain. The
    arguments stay as they are.
    """
    yes = u < (new_value - value).exp()
    return torch.where(yes[:, None], proposal, w), torch.where(yes, new_value, value)


def _moved(yes, w, proposal):
    return torch.where(yes[:, None], proposal, w)


def _metropolis(
    accept=lambda old, new, u: u < (new - old).exp(),
    states=_moved,
    values=lambda yes, old, new: torch.where(yes, new, old),
    out=lambda states, values, yes: (states, values),
):
    """The step of Metropolis, with what can go wrong as arguments."""

    def attempt(w, value, proposal, new_value, u):
        yes = accept(value, new_value, u)
        return out(states(yes, w, proposal), values(yes, value, new_value), yes)

    return attempt


def _for_all(decide):
    """One decision for all chains."""
    return lambda old, new, u: decide(u < (new - old).exp()).expand(len(u))


_RULES = {
    "Only proposals with larger p are accepted: that climbs to a maximum and stays there. Accept where "
    "`u < (new_value - value).exp()`, at times downhill too.": {"accept": lambda old, new, u: new > old},
    "Every proposal is accepted here. Accept where u is below the ratio of the p's, `u < (new_value - value).exp()`, "
    "or u's logarithm below the difference.": {"accept": lambda old, new, u: u < 2},
    "`value` and `new_value` are logarithms, and this is a ratio of logarithms. The ratio of the p's is "
    "`(new_value - value).exp()`.": {"accept": lambda old, new, u: u < new / old},
    "It moves where it should stay. Either the comparison is upside down, or the two branches are: `torch.where(yes, "
    "proposal, w)`.": {"accept": lambda old, new, u: u > (new - old).exp()},
    "The ratio is upside down, so worse proposals are favoured. It is p(new) / p(old): `(new_value - value).exp()`.": {
        "accept": lambda old, new, u: u < (old - new).exp()
    },
    "u is compared with a difference of logarithms. Take its exponential, `(new_value - value).exp()`, or the "
    "logarithm of u.": {"accept": lambda old, new, u: u < new - old},
    "The state now plays no part: u is compared with p of the proposal. Compare it with the ratio, "
    "`(new_value - value).exp()`.": {"accept": lambda old, new, u: u < new.exp()},
    "u is not used: you accept where the ratio is above ½. Let each chain's u decide: "
    "`u < (new_value - value).exp()`.": {"accept": lambda old, new, u: (new - old).exp() > 0.5},
}
_ALL_AS_ONE = {
    "One decision is made for all chains: if one accepts, all move. Let each chain decide by itself: leave out "
    "`any`.": {"accept": _for_all(torch.any)},
    "One decision is made for all chains: they move only if all accept. Let each chain decide by itself: leave out "
    "`all`.": {"accept": _for_all(torch.all)},
    "The first chain decides for all. Let each chain decide by itself: `u < (new_value - value).exp()` is (chains,).": {
        "accept": _for_all(lambda yes: yes[0])
    },
}
_STATES = {
    "The states do not move, only their ln p. Choose both by the same decision: "
    "`torch.where(yes[:, None], proposal, w)`.": {"states": lambda yes, w, proposal: w},
    "All proposals come back as states, even where their ln p does not change. Choose: "
    "`torch.where(yes[:, None], proposal, w)`.": {"states": lambda yes, w, proposal: proposal},
    "The ln p stay those of the old states. Where a chain moves, return that of its proposal: "
    "`torch.where(yes, new_value, value)`.": {"values": lambda yes, old, new: old},
    "The ln p of all proposals come back, even where the state does not move. Choose: "
    "`torch.where(yes, new_value, value)`.": {"values": lambda yes, old, new: new},
    "The states are chosen the wrong way round: where a chain accepts, the old state stays. The proposal comes first "
    "in `torch.where`.": {"states": lambda yes, w, proposal: _moved(yes, proposal, w)},
    "The ln p are chosen the wrong way round: where a chain accepts, the old one stays. `new_value` comes first in "
    "`torch.where`.": {"values": lambda yes, old, new: torch.where(yes, old, new)},
    "`yes` is (chains,), the states are (chains, D), so its answers are spread along D. Give it a second axis: "
    "`yes[:, None]`.": {"states": lambda yes, w, proposal: torch.where(yes, proposal, w)},
    "The chains that reject are left out, and fewer come back. A chain that rejects stays where it is: choose with "
    "`torch.where`.": {
        "states": lambda yes, w, proposal: proposal[yes],
        "values": lambda yes, old, new: new[yes],
    },
    "Where a chain rejects, state and ln p become 0, or nan. They have to stay: choose between old and new with "
    "`torch.where`.": {
        "states": lambda yes, w, proposal: proposal * yes[:, None],
        "values": lambda yes, old, new: new * yes,
    },
    "0 times −inf is nan, so where p = 0 the ln p is lost. Choose with `torch.where`, which does not compute with "
    "what it leaves out.": {"values": lambda yes, old, new: yes * new + ~yes * old},
}
_METROPOLIS_RESULTS = {
    "States and ln p are swapped: return the states first.": {"out": lambda w, value, yes: (value, w)},
    "Only the states came back. Return their ln p as well.": {"out": lambda w, value, yes: w},
    "Only the ln p came back. Return the states first, then these.": {"out": lambda w, value, yes: value},
    "The decisions came back as well. Return the states and their ln p only.": {
        "out": lambda w, value, yes: (w, value, yes)
    },
    "The decisions came back in place of the ln p. Return `torch.where(yes, new_value, value)` with the states.": {
        "out": lambda w, value, yes: (w, yes)
    },
    "The result holds lists. Make tensors of them: with `torch.stack`, or choose all at once with `torch.where`.": {
        "out": lambda w, value, yes: (list(w), list(value))
    },
}
metropolis_step.slips(_metropolis, _RULES, _ALL_AS_ONE, _STATES, _METROPOLIS_RESULTS)


def _accepted_in_a_loop(w, value, proposal, new_value, u):
    states, values = [], []
    for i in range(len(w)):
        if u[i] < (new_value[i] - value[i]).exp():
            states.append(proposal[i])
            values.append(new_value[i])
    return torch.stack(states), torch.stack(values)


def _metropolis_by_math(w, value, proposal, new_value, u):
    yes = [one < math.exp(new - old) for one, new, old in zip(u, new_value, value, strict=True)]
    yes = torch.tensor(yes)
    return _moved(yes, w, proposal), torch.where(yes, new_value, value)


metropolis_step.mistakes(
    {
        next(one for one in _STATES if one.startswith("The chains that reject")): _accepted_in_a_loop,
        "Two slips. p itself underflows: subtract the logarithms first, `(new_value - value).exp()`. And 0 times −inf "
        "is nan: choose with `torch.where`.": _metropolis(
            accept=lambda old, new, u: u < new.exp() / old.exp(),
            values=lambda yes, old, new: yes * new + ~yes * old,
        ),
        "Only proposals with larger p are accepted: that climbs to a maximum and stays there. Accept where "
        "`u < (new_value - value).exp()`, at times downhill too.": [
            _metropolis(accept=lambda old, new, u: new >= old),
            _metropolis(accept=lambda old, new, u: (new > old) & (u < (new - old).exp())),
        ],
        "p itself underflows: exp(−5000) is 0, and nothing is left to compare. Subtract the logarithms first: "
        "`(new_value - value).exp()`.": [
            {"(new_value - value).exp()": "new_value.exp() / value.exp()"},
            _metropolis(accept=lambda old, new, u: u <= new.exp() / old.exp()),
            _metropolis(accept=lambda old, new, u: u.log() < (new.exp() / old.exp()).log()),
            _metropolis(accept=lambda old, new, u: u < (new.exp() / old.exp()).clamp(max=1)),
            _metropolis(accept=lambda old, new, u: u * old.exp() < new.exp()),
            _metropolis(accept=lambda old, new, u: u * old.exp() <= new.exp()),
        ],
        "`math.exp` raises an error for large numbers. `torch.exp` gives inf, which is fine here: "
        "`u < (new_value - value).exp()`.": _metropolis_by_math,
        "`yes[:, None]` is for the states only. The ln p are (chains,): `torch.where(yes, new_value, value)`.": [
            _metropolis(values=lambda yes, old, new: torch.where(yes[:, None], new, old)),
        ],
        "0 times −inf is nan, so where p = 0 the ln p is lost. Choose with `torch.where`, which does not compute with "
        "what it leaves out.": [
            _metropolis(values=lambda yes, old, new: old + yes * (new - old)),
        ],
        "Random numbers are drawn anew. Use u, the ones that are handed in.": [
            _metropolis(accept=lambda old, new, u: torch.rand_like(u) < (new - old).exp()),
            _metropolis(accept=lambda old, new, u: torch.rand(len(u)) < (new - old).exp()),
            _metropolis(accept=lambda old, new, u: torch.rand(old.shape) < (new - old).exp()),
            _metropolis(accept=lambda old, new, u: torch.rand(1) < (new - old).exp()),
            _metropolis(accept=lambda old, new, u: torch.rand_like(u).log() < new - old),
        ],
    }
)
_RULES_IN_SHORT = {
    "Only proposals with larger p are accepted.": {"accept": lambda old, new, u: new > old},
    "The comparison of u with the ratio is upside down.": {
        "accept": lambda old, new, u: u > (new - old).exp()
    },
    "u is compared with a difference of logarithms: `exp` is missing.": {
        "accept": lambda old, new, u: u < new - old
    },
    "p itself underflows: subtract the logarithms first.": {
        "accept": lambda old, new, u: u < new.exp() / old.exp()
    },
}
_STATES_IN_SHORT = {
    "The ln p stay those of the old states.": {"values": lambda yes, old, new: old},
    "The ln p of all proposals come back.": {"values": lambda yes, old, new: new},
    "The answers are spread along D: `yes[:, None]` is missing.": {
        "states": lambda yes, w, proposal: torch.where(yes, proposal, w)
    },
    "States and ln p are swapped.": {"out": lambda w, value, yes: (value, w)},
}
metropolis_step.pairs_of_slips(_metropolis, _RULES_IN_SHORT, _STATES_IN_SHORT)


def _stuck(chains, T, K, seed):
    """Chains that stay at different places."""
    return 0.3 * normal(chains, T, K, seed=seed) + 4 * normal(chains, 1, K, seed=seed + 1)


def _drifting(chains, T, K, seed):
    """Chains that all walk the same way."""
    return 0.3 * normal(chains, T, K, seed=seed) + torch.linspace(-1, 2, T)[:, None]


@lesson.exercise(
    cases={
        "one chain of four draws": (torch.tensor([[[0.0], [2.0], [1.0], [3.0]]]),),
        "two chains of four draws": (
            torch.tensor([[[0.0], [2.0], [1.0], [3.0]], [[4.0], [6.0], [1.0], [5.0]]]),
        ),
        "chains that agree": (normal(3, 8, 2, seed=300),),
        "chains that all drift": (_drifting(3, 12, 2, seed=310),),
        "chains at different places": (_stuck(4, 6, 3, seed=320),),
        "an odd number of draws": (normal(3, 7, 2, seed=330) + torch.arange(7.0)[:, None] / 4,),
        "as many chains as draws": (_stuck(6, 6, 2, seed=340),),
        "as many draws as quantities": (normal(2, 4, 4, seed=350) + 2,),
        "a single chain": (_drifting(1, 9, 3, seed=360),),
        "one quantity": (_stuck(3, 5, 1, seed=370),),
        "quantities of different size": (normal(2, 10, 3, seed=380) * torch.tensor([0.01, 1.0, 50.0]) + 1,),
        "float64 numbers": (normal(5, 11, 4, seed=390, dtype=torch.float64),),
    },
    hints=[
        "Which axis holds the draws of a chain? Cut it there, and put the two halves below each other as if they were "
        "chains of their own: (2·chains, n, K).",
        "`n = draws.shape[1] // 2`, and `torch.cat([draws[:, :n], draws[:, n : 2 * n]])` are the halves. W and B are "
        "(K,).",
        "`W = halves.var(dim=1).mean(dim=0)`, `B = halves.mean(dim=1).var(dim=0)`, and at last the root.",
    ],
)
def r_hat(draws):
    """Return the split R̂ (K,) of draws (chains, T, K) of K quantities; if T is odd, the last draw is left out.

    Cut each chain into two halves of n draws. With W the mean of the halves' variances, and B the variance of
    the halves' means (both with the denominator of an unbiased estimate), R̂² = (n − 1)/n + B/W.
    """
    n = draws.shape[1] // 2
    halves = torch.cat([draws[:, :n], draws[:, n : 2 * n]])
    W = halves.var(dim=1).mean(dim=0)
    B = halves.mean(dim=1).var(dim=0)
    return ((n - 1) / n + B / W).sqrt()


def _halves(draws):
    n = draws.shape[1] // 2
    return torch.cat([draws[:, :n], draws[:, n : 2 * n]])


def _split(
    halves=_halves,
    within=lambda h: h.var(dim=1).mean(dim=0),
    between=lambda h: h.mean(dim=1).var(dim=0),
    count=lambda h, draws: h.shape[1],
    ratio=lambda W, B, n: (n - 1) / n + B / W,
    root=torch.sqrt,
):
    """Split R̂, with what can go wrong as arguments."""

    def attempt(draws):
        h = halves(draws)
        return root(ratio(within(h), between(h), count(h, draws)))

    return attempt


def _both_parts(first, second):
    """Halves by two slices of the draws, put below each other."""

    def cut(draws):
        T = draws.shape[1]
        return torch.cat([draws[:, first(T)], draws[:, second(T)]])

    return cut


_CUTS_OF_CHAINS = {
    "The chains are not cut: whole chains are compared, and one that drifts goes unnoticed. Put "
    "`draws[:, :n]` and `draws[:, n : 2 * n]` below each other first.": {"halves": lambda draws: draws},
    "Every second draw is taken, so both parts run over the whole chain. Cut it in the middle: `draws[:, :n]` and "
    "`draws[:, n : 2 * n]`.": {
        "halves": lambda draws: torch.cat(
            [draws[:, 0 : 2 * (draws.shape[1] // 2) : 2], draws[:, 1 : 2 * (draws.shape[1] // 2) : 2]]
        )
    },
    "If T is odd, the halves differ in length and cannot be put together. Leave out the last draw: end the second "
    "half at `2 * n`.": {"halves": _both_parts(lambda T: slice(T // 2), lambda T: slice(T // 2, None))},
    "If T is odd, the draw in the middle is left out. Leave out the last one: the halves are `[:, :n]` and "
    "`[:, n : 2 * n]`.": {"halves": _both_parts(lambda T: slice(T // 2), lambda T: slice(-(T // 2), None))},
    "If T is odd, the first draw is left out. Leave out the last one: the halves are `[:, :n]` and `[:, n : 2 * n]`.": {
        "halves": _both_parts(lambda T: slice(T % 2, T % 2 + T // 2), lambda T: slice(-(T // 2), None))
    },
    "`cat` along axis 1 puts the halves one behind the other, and the chains are whole again. Along axis 0, they "
    "become chains of their own.": {"halves": lambda draws: draws[:, : 2 * (draws.shape[1] // 2)]},
    "`stack` gives the halves an axis of their own. `torch.cat` puts them below each other, (2·chains, n, K).": {
        "halves": lambda draws: torch.stack(_halves(draws).chunk(2))
    },
}
_VARIANCES = {
    "W is the variance of all draws together. Take the variance within each half, `halves.var(dim=1)`, then the mean "
    "over the halves.": {"within": lambda h: h.flatten(0, 1).var(dim=0)},
    "Axis 0 counts the halves, axis 1 the draws: the two are swapped. W is `halves.var(dim=1).mean(dim=0)`, B is "
    "`halves.mean(dim=1).var(dim=0)`.": {
        "within": lambda h: h.var(dim=0).mean(dim=0),
        "between": lambda h: h.mean(dim=0).var(dim=0),
    },
    "W is the variance over the halves. Take it over the draws, axis 1, then the mean over the halves.": {
        "within": lambda h: h.var(dim=0).mean(dim=0)
    },
    "B is the variance of all draws. Take the mean of each half first, then the variance of these means: "
    "`halves.mean(dim=1).var(dim=0)`.": {"between": lambda h: h.flatten(0, 1).var(dim=0)},
    "Both variances are divided by their number, not by 1 less. Leave out `correction=0` or `unbiased=False`: "
    "`var` alone gives the unbiased estimate.": {
        "within": lambda h: h.var(dim=1, correction=0).mean(dim=0),
        "between": lambda h: h.mean(dim=1).var(dim=0, correction=0),
    },
    "In W, the variance is divided by n, not n − 1. Leave out `correction=0` or `unbiased=False`.": {
        "within": lambda h: h.var(dim=1, correction=0).mean(dim=0)
    },
    "In B, the variance is divided by the number of halves, not by 1 less. Leave out `correction=0` or "
    "`unbiased=False`.": {"between": lambda h: h.mean(dim=1).var(dim=0, correction=0)},
    "W and B are standard deviations here. Take variances: `var`, not `std`.": {
        "within": lambda h: h.std(dim=1).mean(dim=0),
        "between": lambda h: h.mean(dim=1).std(dim=0),
    },
    "W is a mean of standard deviations. Take the mean of the variances: `var`, not `std`.": {
        "within": lambda h: h.std(dim=1).mean(dim=0)
    },
    "W and B mix the quantities. Keep the last axis: reduce axes 1 and 0 only, one after the other.": {
        "within": lambda h: h.var(dim=1).mean(),
        "between": lambda h: h.mean(dim=1).var(),
    },
    "W is not averaged over the halves, so it has an axis too many. Take `.mean(dim=0)` after the variance.": {
        "within": lambda h: h.var(dim=1)
    },
}
_RATIOS = {
    "B is not divided by W. R̂² compares the two: (n − 1)/n + B/W.": {
        "ratio": lambda W, B, n: (n - 1) / n + B
    },
    "B is multiplied by n. B is the variance of the means alone here: R̂² = (n − 1)/n + B/W.": {
        "ratio": lambda W, B, n: (n - 1) / n + n * B / W
    },
    "B/W is divided by n as well. R̂² = (n − 1)/n + B/W, where only the first term has n: are brackets missing?": {
        "ratio": lambda W, B, n: (n - 1) / n + B / n / W
    },
    "The fraction is upside down: B/W, not W/B.": {"ratio": lambda W, B, n: (n - 1) / n + W / B},
    "The first term is 1 here. It is (n − 1)/n.": {"ratio": lambda W, B, n: 1 + B / W},
    "(n − 1)/n is missing: R̂² = (n − 1)/n + B/W.": {"ratio": lambda W, B, n: B / W},
    "The sum is divided by W as a whole. Only B is: (n − 1)/n + B/W.": {
        "ratio": lambda W, B, n: ((n - 1) / n + B) / W
    },
    "This is the estimate of the variance, (n − 1)/n · W + B. Divide it by W before you take the root.": {
        "ratio": lambda W, B, n: (n - 1) / n * W + B
    },
}
_COUNTS = {
    "n is T here, the length of a chain. It is that of a half: `T // 2`.": {
        "count": lambda h, draws: draws.shape[1]
    },
    "n is the number of halves here. It is how many draws a half has: `halves.shape[1]`.": {
        "count": lambda h, draws: len(h)
    },
    "If T is odd, n is T/2 here, with a fraction. It is the number of draws in a half: `T // 2`.": {
        "count": lambda h, draws: draws.shape[1] / 2
    },
}
_R_HAT_RESULTS = {
    "This is R̂². Take its root.": {"root": lambda square: square},
    "This is the mean over the quantities. Return an R̂ for each, (K,).": {
        "root": lambda square: square.sqrt().mean()
    },
    "This is the largest R̂. Return one for each quantity, (K,).": {
        "root": lambda square: square.sqrt().max()
    },
    "A list came back. Return a tensor (K,).": {"root": lambda square: square.sqrt().tolist()},
    "The result is (1, K), and (K,) expected. Leave out `keepdim=True`, or the new axis.": {
        "root": lambda square: square.sqrt()[None]
    },
}
r_hat.slips(_split, _CUTS_OF_CHAINS, _VARIANCES, _RATIOS, _COUNTS, _R_HAT_RESULTS)
r_hat.mistakes(
    {
        next(one for one in _CUTS_OF_CHAINS if one.startswith("`stack`")): [
            _split(
                halves=lambda draws: torch.stack(_halves(draws).chunk(2)),
                within=lambda h: h.var(dim=2).mean(dim=1),
                between=lambda h: h.mean(dim=2).var(dim=1),
                count=lambda h, draws: h.shape[2],
            ),
        ],
        "Only one half of each chain is used. Put the two below each other: "
        "`torch.cat([draws[:, :n], draws[:, n : 2 * n]])`.": [
            _split(halves=lambda draws: draws[:, : draws.shape[1] // 2]),
            _split(halves=lambda draws: draws[:, draws.shape[1] // 2 :]),
            _split(halves=lambda draws: _halves(draws)[len(draws) :]),
        ],
        "B is made from whole chains, W from halves. Both belong to the halves: B is "
        "`halves.mean(dim=1).var(dim=0)`.": _split(
            between=lambda h: h.unflatten(0, (2, -1)).mean(dim=(0, 2)).var(dim=0)
        ),
        "The reshape mixes chains with time: `reshape(2 * chains, n, K)`.": _split(
            halves=lambda draws: (
                draws[:, : 2 * (draws.shape[1] // 2)]
                .reshape(draws.shape[1] // 2, 2 * len(draws), draws.shape[2])
                .transpose(0, 1)
            )
        ),
        "The variances of both halves are added, so W is twice what it should be. Take the mean over all halves.": (
            _split(within=lambda h: 2 * h.var(dim=1).mean(dim=0))
        ),
        "`reshape(-1, n)` mixes the quantities. Keep them on an axis of their own: `reshape(-1, n, draws.shape[2])`.": (
            _split(
                halves=lambda draws: draws[:, : 2 * (draws.shape[1] // 2)].reshape(-1, draws.shape[1] // 2)
            )
        ),
        "Here the chains are cut into two groups, not each chain into two halves. Axis 1 holds the draws: "
        "`draws[:, :n]` and `draws[:, n : 2 * n]`.": [
            {"draws[:, :n], draws[:, n : 2 * n]": "draws[:n], draws[n : 2 * n]"},
        ],
        "This puts draws of different chains into one half. Axis 0 counts the chains: keep them apart, and cut axis 1 "
        "in the middle.": [
            _split(
                halves=lambda draws: (
                    draws[:, : 2 * (draws.shape[1] // 2)]
                    .transpose(0, 1)
                    .reshape(2 * len(draws), draws.shape[1] // 2, draws.shape[2])
                )
            ),
        ],
        "If T is odd, `reshape` finds a draw too many. Leave out the last one first: `draws[:, : 2 * n]`.": _split(
            halves=lambda draws: draws.reshape(2 * len(draws), draws.shape[1] // 2, draws.shape[2])
        ),
        "If T is odd, the halves differ in length and cannot be put together. Leave out the last draw: end the second "
        "half at `2 * n`.": [
            _split(halves=lambda draws: torch.cat(draws.chunk(2, dim=1))),
            _split(halves=lambda draws: torch.cat(draws.tensor_split(2, dim=1))),
        ],
    }
)
_CUTS_IN_SHORT = {
    "The chains are not cut into halves.": {"halves": lambda draws: draws},
    "Every second draw is taken: cut in the middle.": {
        "halves": lambda draws: torch.cat(
            [draws[:, 0 : 2 * (draws.shape[1] // 2) : 2], draws[:, 1 : 2 * (draws.shape[1] // 2) : 2]]
        )
    },
}
_VARIANCES_IN_SHORT = {
    "The variances are biased: leave out `correction=0` or `unbiased=False`.": {
        "within": lambda h: h.var(dim=1, correction=0).mean(dim=0),
        "between": lambda h: h.mean(dim=1).var(dim=0, correction=0),
    },
    "W and B are standard deviations, not variances.": {
        "within": lambda h: h.std(dim=1).mean(dim=0),
        "between": lambda h: h.mean(dim=1).std(dim=0),
    },
}
_RATIOS_IN_SHORT = {
    "B is multiplied by n.": {"ratio": lambda W, B, n: (n - 1) / n + n * B / W},
    "The first term is 1, not (n − 1)/n.": {"ratio": lambda W, B, n: 1 + B / W},
    "(n − 1)/n is missing.": {"ratio": lambda W, B, n: B / W},
    "n is T, not the length of a half.": {"count": lambda h, draws: draws.shape[1]},
}
_NO_ROOT_IN_SHORT = {"The root is missing.": {"root": lambda square: square}}
r_hat.pairs_of_slips(_split, _CUTS_IN_SHORT, _VARIANCES_IN_SHORT)
r_hat.pairs_of_slips(_split, _CUTS_IN_SHORT | _VARIANCES_IN_SHORT | _RATIOS_IN_SHORT, _NO_ROOT_IN_SHORT)


# Section 4: the loss of randomized networks -------------------------------------------------------------------


_RANDOMIZED_SLOPES = ("its gradient with respect to outputs", "its gradient with respect to w")


def _randomized_and_slopes(attempt, outputs, targets, noise, w, anchor, sigma):
    """The losses, and what reaches outputs and w when all losses are added up."""
    learned = outputs.clone().requires_grad_(), w.clone().requires_grad_()
    value = attempt(learned[0], targets, noise, learned[1], anchor, sigma)
    if not isinstance(value, Tensor):
        return value
    slopes = (
        torch.autograd.grad(value.sum(), learned, allow_unused=True) if value.requires_grad else (None, None)
    )
    return {"the losses": value.detach()} | {
        name: torch.zeros_like(one) if slope is None else slope
        for name, slope, one in zip(_RANDOMIZED_SLOPES, slopes, learned, strict=True)
    }


def _randomized_case(networks, N, D, seed, sigma=0.5, dtype=torch.float32):
    parts = [(networks, N), (N,), (networks, N), (networks, D), (networks, D)]
    return (*(normal(*size, seed=seed + step, dtype=dtype) for step, size in enumerate(parts)), sigma)


@lesson.exercise(
    observe=_randomized_and_slopes,
    cases={
        "one network, one point, one weight": (
            torch.tensor([[1.0]]),
            torch.tensor([2.0]),
            torch.tensor([[1.0]]),
            torch.tensor([[3.0]]),
            torch.tensor([[1.0]]),
            0.5,
        ),
        "two networks, sigma = 1": _randomized_case(2, 3, 4, seed=0, sigma=1.0),
        "sigma = 0.15": _randomized_case(3, 5, 2, seed=10, sigma=0.15),
        "as many networks as points": _randomized_case(4, 4, 3, seed=20),
        "as many networks as weights": _randomized_case(3, 2, 3, seed=30),
        "as many points as weights": _randomized_case(2, 5, 5, seed=40, sigma=2.0),
        "one network": _randomized_case(1, 4, 3, seed=50),
        "float64 numbers": _randomized_case(3, 4, 6, seed=60, dtype=torch.float64),
    },
    hints=[
        "Two sums of squares, each over its own axis of its own tensor. What is compared with what?",
        "The noisy targets are `targets + noise`, (networks, N). Divide the misfit by sigma before you square it.",
        "`((targets + noise - outputs) / sigma).square().sum(dim=1) / 2`, and the same of `w - anchor`, without sigma.",
    ],
)
def randomized_loss(outputs, targets, noise, w, anchor, sigma):
    """Return the loss (networks,) of networks with weights w (networks, D) and outputs (networks, N) for targets (N,).

    Each network has its own noise (networks, N), of standard deviation sigma, and its own anchor (networks, D). Its
    loss is half the sum, over the points, of the squares of (targets + noise − outputs)/sigma, plus half the sum, over
    its weights, of the squares of w − anchor. Gradients flow to outputs and w.
    """
    misfit = (targets + noise - outputs) / sigma
    return misfit.square().sum(dim=1) / 2 + (w - anchor).square().sum(dim=1) / 2


def _randomized(
    misfit=lambda outputs, targets, noise, sigma: (targets + noise - outputs) / sigma,
    pull=lambda w, anchor: w - anchor,
    size=lambda part: part.square().sum(dim=1) / 2,
    total=lambda fit, decay: fit + decay,
):
    """The loss from its two parts, with what can go wrong as arguments."""
    return lambda outputs, targets, noise, w, anchor, sigma: total(
        size(misfit(outputs, targets, noise, sigma)), size(pull(w, anchor))
    )


_RANDOMIZED_MISFIT = {
    "The noise is missing: each network has targets of its own. Compare outputs with `targets + noise`.": {
        "misfit": lambda f, y, e, s: (y - f) / s
    },
    "The noise has the wrong sign. It is added to the targets: `targets + noise - outputs`.": {
        "misfit": lambda f, y, e, s: (y - e - f) / s
    },
    "The noise escapes the division by sigma. It has the units of y: `(targets + noise - outputs) / sigma`.": {
        "misfit": lambda f, y, e, s: (y - f) / s + e
    },
    "sigma is missing. The misfit counts in units of the noise: divide by sigma before you square.": {
        "misfit": lambda f, y, e, s: y + e - f
    },
    "The misfit is divided by sigma² before it is squared, so by sigma⁴ after. Divide by sigma.": {
        "misfit": lambda f, y, e, s: (y + e - f) / s**2
    },
    "The square of the misfit is divided by sigma once. Divide by sigma before you square, or by `sigma**2` after.": {
        "misfit": lambda f, y, e, s: (y + e - f) / s**0.5
    },
    "The misfit is multiplied by sigma. Divide by it (and `/ 2 * sigma**2` multiplies: write `/ (2 * sigma**2)`).": {
        "misfit": lambda f, y, e, s: (y + e - f) * s
    },
    "The targets are missing from the misfit: it is `targets + noise - outputs`.": {
        "misfit": lambda f, y, e, s: (e - f) / s
    },
}
_RANDOMIZED_PULL = {
    "The weights are pulled to 0, as by ordinary weight decay. Here each is pulled to its anchor: `w - anchor`.": {
        "pull": lambda u, a: u
    },
    "The anchor is added to the weights. The distance to it counts: `w - anchor`.": {
        "pull": lambda u, a: u + a
    },
    "The anchor's own size counts, and the weights don't: use `w - anchor`.": {"pull": lambda u, a: a},
    "The pull to the anchor is missing. Add half the sum of squares of `w - anchor`.": {
        "pull": lambda u, a: 0 * u
    },
}
_RANDOMIZED_SIZE = {
    "The halves are missing: divide both sums of squares by 2.": {
        "size": lambda part: part.square().sum(dim=1)
    },
    "The mean of the squares is taken. A log density is a sum: `.sum(dim=1)`.": {
        "size": lambda part: part.square().mean(dim=1) / 2
    },
    "The sum goes over the networks. Each network has a loss of its own: `.sum(dim=1)`.": {
        "size": lambda part: part.square().sum(dim=0) / 2
    },
    "All networks are added up to one number. Return a loss for each, (networks,): `.sum(dim=1)`.": {
        "size": lambda part: part.square().sum() / 2
    },
    "The squares are missing: it is half the sum of squares.": {"size": lambda part: part.sum(dim=1) / 2},
    "Absolute values are added up, where squares are expected: `.square().sum(dim=1) / 2`.": {
        "size": lambda part: part.abs().sum(dim=1) / 2
    },
    "The sum is squared. Square each number first, then add up: `.square().sum(dim=1)`.": {
        "size": lambda part: part.sum(dim=1).square() / 2
    },
    "The root is taken: this is a length. The loss has the squares themselves.": {
        "size": lambda part: part.square().sum(dim=1).sqrt() / 2
    },
    "The result is (networks, 1), and (networks,) expected. Leave out `keepdim=True`.": {
        "size": lambda part: part.square().sum(dim=1, keepdim=True) / 2
    },
}
_RANDOMIZED_TOTAL = {
    "The pull is subtracted, which drives the weights away from the anchor. Add it.": {
        "total": lambda fit, pull: fit - pull
    },
    "The sign is turned around: this is a log posterior. A loss is minus that.": {
        "total": lambda fit, pull: -fit - pull
    },
    "The two parts come back as a pair. Return their sum.": {"total": lambda fit, pull: (fit, pull)},
    "The numbers are right, but no gradient flows back. Leave out `.item()`, `.detach()` and `torch.no_grad()`; after "
    "a loop, take `torch.stack`, not `torch.tensor`.": {"total": lambda fit, pull: (fit + pull).detach()},
    "A list came back. Return a tensor (networks,), so that gradients can flow.": {
        "total": lambda fit, pull: (fit + pull).tolist()
    },
    "A NumPy array came back. Return a tensor (networks,), so that gradients can flow.": {
        "total": lambda fit, pull: (fit + pull).detach().numpy()
    },
}
randomized_loss.slips(_randomized, _RANDOMIZED_MISFIT, _RANDOMIZED_PULL, _RANDOMIZED_SIZE, _RANDOMIZED_TOTAL)
randomized_loss.mistakes(
    {
        "The pull is divided by sigma, too. Weights come in units of their prior: no sigma there.": [
            {"(w - anchor).square()": "((w - anchor) / sigma).square()"},
            lambda f, y, e, u, a, s: (
                (((y + e - f).square().sum(dim=1) + (u - a).square().sum(dim=1)) / s**2) / 2
            ),
        ],
        "sigma stands under the pull. It belongs under the misfit.": lambda f, y, e, u, a, s: (
            (y + e - f).square().sum(dim=1) / 2 + ((u - a) / s).square().sum(dim=1) / 2
        ),
        "The pull is added up over all networks. Each has its own: `.sum(dim=1)`.": {
            "(w - anchor).square().sum(dim=1)": "(w - anchor).square().sum()"
        },
        "The mean is taken in the misfit. A log density is a sum: `.sum(dim=1)`.": {
            "misfit.square().sum(dim=1)": "misfit.square().mean(dim=1)"
        },
        "The mean is taken in the pull. A log density is a sum: `.sum(dim=1)`.": {
            "(w - anchor).square().sum(dim=1)": "(w - anchor).square().mean(dim=1)"
        },
        "Two slips. The noise is missing: add it to the targets. And one of the two halves is missing.": [
            lambda f, y, e, u, a, s: ((y - f) / s).square().sum(dim=1) / 2 + (u - a).square().sum(dim=1),
            lambda f, y, e, u, a, s: ((y - f) / s).square().sum(dim=1) + (u - a).square().sum(dim=1) / 2,
        ],
        "One of the two halves is missing: both sums of squares are divided by 2.": [
            {" + (w - anchor).square().sum(dim=1) / 2": " + (w - anchor).square().sum(dim=1)"},
            {"misfit.square().sum(dim=1) / 2": "misfit.square().sum(dim=1)"},
        ],
    }
)
_RANDOMIZED_SUM_IN_SHORT = {
    "The mean is taken, not the sum.": {"size": lambda part: part.square().mean(dim=1) / 2},
    "The halves are missing.": {"size": lambda part: part.square().sum(dim=1)},
    "All networks are added up.": {"size": lambda part: part.square().sum() / 2},
}
_RANDOMIZED_INPUT_IN_SHORT = {
    "The noise is missing: add it to the targets.": {"misfit": lambda f, y, e, s: (y - f) / s},
    "sigma is missing: divide the misfit by it.": {"misfit": lambda f, y, e, s: y + e - f},
    "The weights are pulled to 0 instead of the anchor.": {"pull": lambda u, a: u},
    "The anchor is added instead of subtracted.": {"pull": lambda u, a: u + a},
}
randomized_loss.pairs_of_slips(_randomized, _RANDOMIZED_INPUT_IN_SHORT, _RANDOMIZED_SUM_IN_SHORT)


# Section 5: two kinds of doubt --------------------------------------------------------------------------------


def _doubts_case(members, N, C, seed, dtype=torch.float32):
    return ((1.5 * normal(members, N, C, seed=seed, dtype=dtype)).softmax(dim=-1),)


def _doubts_as_three(attempt, probabilities):
    """The three results; a stacked tensor (3, N) unpacks like a tuple, and counts as one."""
    three = attempt(probabilities)
    stacked = isinstance(three, Tensor) and three.shape == (3, probabilities.shape[1])
    return tuple(three) if stacked else three


_SOME_SURE = torch.tensor(
    [
        [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        [[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 0.0]],
    ]
)


@lesson.exercise(
    cases={
        "two members that say ½, ½": (torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]]),),
        "two that are sure of different classes": (torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]),),
        "one member": _doubts_case(1, 3, 4, seed=10),
        "one example": _doubts_case(5, 1, 3, seed=20),
        "some probabilities are 0": (_SOME_SURE,),
        "more examples than members": _doubts_case(3, 5, 4, seed=30),
        "as many members as examples": _doubts_case(3, 3, 4, seed=40),
        "as many examples as classes": _doubts_case(2, 4, 4, seed=50),
        "as many members as classes": _doubts_case(4, 3, 4, seed=60),
        "all sizes equal": _doubts_case(3, 3, 3, seed=70),
        "float64 numbers": _doubts_case(3, 6, 4, seed=80, dtype=torch.float64),
    },
    hints=[
        "There are two orders: average the members and take the entropy, or take the entropies and average them. "
        "Which is the total?",
        "The members are axis 0, the classes the last axis. `torch.special.xlogy(p, p)` is p ln p, and 0 where p is "
        "0.",
        "`total = -torch.special.xlogy(mean, mean).sum(dim=-1)` with `mean = probabilities.mean(dim=0)`; for the "
        "aleatoric part the same of every member, then `.mean(dim=0)`.",
    ],
    observe=_doubts_as_three,
    returns=("total", "aleatoric", "epistemic"),
)
def doubts(probabilities):
    """Return total, aleatoric and epistemic uncertainty, each (N,) and in nats, of probabilities (members, N, C).

    The total is the entropy of the members' mean prediction, the aleatoric part the mean of the members' entropies,
    and the epistemic part the rest: the mutual information. A probability may be exactly 0.
    """
    mean = probabilities.mean(dim=0)  # (N, C)
    total = -torch.special.xlogy(mean, mean).sum(dim=-1)
    aleatoric = -torch.special.xlogy(probabilities, probabilities).sum(dim=-1).mean(dim=0)
    return total, aleatoric, total - aleatoric


def _doubts_entropy(p):
    return -torch.special.xlogy(p, p).sum(dim=-1)


def _doubts(
    of=lambda p: p,
    predict=lambda p: p.mean(dim=0),
    entropy=_doubts_entropy,
    average=lambda h: h.mean(dim=0),
    rest=lambda total, aleatoric: total - aleatoric,
    result=lambda total, aleatoric, epistemic: (total, aleatoric, epistemic),
):
    """The three uncertainties, with what can go wrong as arguments."""

    def attempt(probabilities):
        p = of(probabilities)
        total, aleatoric = entropy(predict(p)), average(entropy(p))
        return result(total, aleatoric, rest(total, aleatoric))

    return attempt


def _doubts_above_zero(p, least):
    return _doubts_entropy(p.clamp(min=least))


def _doubts_log_shifted(p, small):
    return -(p * (p + small).log()).sum(dim=-1)


_NATS = {
    "0 · ln 0 is nan in floating point. Use `torch.special.xlogy(p, p)`, which is 0 there.": {
        "entropy": lambda p: -(p * p.log()).sum(dim=-1)
    },
    "These are bits: the logarithm has base 2. Nats take the natural one, `log`.": {
        "entropy": lambda p: _doubts_entropy(p) / math.log(2)
    },
    "The minus of the entropy is missing: −Σ p ln p.": {"entropy": lambda p: -_doubts_entropy(p)},
    "An entropy is a sum over the classes, not a mean.": {
        "entropy": lambda p: _doubts_entropy(p) / p.shape[-1]
    },
}
_MEMBERS = {
    "The members' entropies are added up. Take their mean, `mean(dim=0)`.": {
        "average": lambda h: h.sum(dim=0)
    },
    "The aleatoric part keeps the axis of the members. Average over it, `mean(dim=0)`.": {
        "average": lambda h: h
    },
    "The aleatoric part is averaged over the examples as well. Average over the members only, `mean(dim=0)`.": {
        "average": lambda h: h.mean()
    },
    "The aleatoric part is the entropy of the first member alone. Average over all.": {
        "average": lambda h: h[0]
    },
}
_RESULT = {
    "The epistemic part has its sign turned: it is total − aleatoric.": {
        "rest": lambda total, aleatoric: aleatoric - total
    },
    "The epistemic part is total − aleatoric, but you add the two.": {
        "rest": lambda total, aleatoric: total + aleatoric
    },
    "The epistemic part is a ratio here. It is the difference, total − aleatoric.": {
        "rest": lambda total, aleatoric: aleatoric / total
    },
    "You average over the examples too. Every example has its own three numbers, (N,).": {
        "result": lambda *three: tuple(one.mean() for one in three)
    },
    "The three are stacked along the last axis, (N, 3). Return a tuple: `return total, aleatoric, epistemic`.": {
        "result": lambda *three: torch.stack(three, dim=-1)
    },
    "Only two come back. The epistemic part, total − aleatoric, is the third.": {
        "result": lambda total, aleatoric, epistemic: (total, aleatoric)
    },
    "Only the epistemic part comes back. Return total, aleatoric and epistemic.": {
        "result": lambda total, aleatoric, epistemic: epistemic
    },
    "Only the total comes back. Return total, aleatoric and epistemic.": {
        "result": lambda total, aleatoric, epistemic: total
    },
}


def _doubts_by_spread(spread, is_rest=False):
    def attempt(p):
        total, aleatoric, _ = doubts.reference(p)
        return total, total - spread(p) if is_rest else aleatoric, spread(p)

    return attempt


def _doubts_swapped(p):
    total, aleatoric, _ = doubts.reference(p)
    return aleatoric, total, aleatoric - total


def _doubts_geometric(p):
    return (p.clamp(min=1e-12).log().mean(dim=0)).softmax(dim=-1)


doubts.slips(_doubts, _NATS, _MEMBERS, _RESULT)
doubts.mistakes(
    {
        "0 · ln 0 is nan in floating point. Use `torch.special.xlogy(p, p)`, which is 0 there.": [
            {"-torch.special.xlogy(probabilities, probabilities)": "-(probabilities * probabilities.log())"},
            {"-torch.special.xlogy(mean, mean)": "-(mean * mean.log())"},
        ],
        "The aleatoric part is in bits and the total in nats. Take the natural logarithm, `log`, for both.": (
            _doubts(average=lambda h: h.mean(dim=0) / math.log(2))
        ),
        "The minus of the aleatoric part is missing: each member's entropy is −Σ p ln p.": {
            "aleatoric = -": "aleatoric = "
        },
        "The minus of the total is missing: the entropy of the mean is −Σ p ln p.": {"total = -": "total = "},
        "The two orders are swapped: the total is the entropy of the mean prediction, the aleatoric part the mean of "
        "the entropies.": [
            _doubts_swapped,
            lambda p: (lambda t, a, e: (a, t, e))(*doubts.reference(p)),
        ],
        "The right three, in another order. Return total, aleatoric, epistemic.": [
            lambda p, order=order: tuple(doubts.reference(p)[number] for number in order)
            for order in itertools.permutations(range(3))
            if order not in [(0, 1, 2), (1, 0, 2)]
        ],
        "The members' predictions are added up and no longer sum to one. The mean prediction is `mean(dim=0)`.": [
            _doubts(predict=lambda p: p.sum(dim=0)),
            _doubts(predict=lambda p: p.sum(dim=0), average=lambda h: h.sum(dim=0)),
        ],
        "The epistemic part is the spread of the members' probabilities here. It is the mutual information: total − "
        "aleatoric.": [
            _doubts_by_spread(
                lambda p, how=how, spread=spread, unbiased=unbiased: how(
                    spread(p, dim=0, unbiased=unbiased), dim=-1
                ),
                is_rest,
            )
            for is_rest in (False, True)
            for how in (torch.mean, torch.sum)
            for spread in (torch.var, torch.std)
            for unbiased in (True, False)
        ],
        "The total is made of the members' entropies here. It is the entropy of their mean prediction.": [
            lambda p: (lambda h: (h.sum(dim=0), h.mean(dim=0), h.sum(dim=0) - h.mean(dim=0)))(
                _doubts_entropy(p)
            ),
            lambda p: (lambda h: (h.amax(dim=0), h.mean(dim=0), h.amax(dim=0) - h.mean(dim=0)))(
                _doubts_entropy(p)
            ),
        ],
        "The mean prediction is taken over the classes. The members are axis 0: `probabilities.mean(dim=0)`.": [
            _doubts(predict=lambda p: p.mean(dim=-1)),
        ],
        "A softmax is applied to what are probabilities already. Take them as they arrive.": [
            _doubts(of=lambda p: p.softmax(dim=-1)),
            _doubts(predict=lambda p: p.mean(dim=0).softmax(dim=-1)),
        ],
        "p is forgotten in front of its logarithm: the entropy is −Σ p ln p, `torch.special.xlogy(p, p)` for each p.": [
            _doubts(entropy=lambda p, least=least: -p.clamp(min=least).log().sum(dim=-1))
            for least in (0.0, 1e-30, 1e-12, 1e-10, 1e-8)
        ],
        "This is 1 − the largest probability, no entropy. The entropy is −Σ p ln p over the classes.": _doubts(
            entropy=lambda p: 1 - p.amax(dim=-1)
        ),
        "This is 1 − Σ p², no entropy in nats. The entropy is −Σ p ln p over the classes.": _doubts(
            entropy=lambda p: 1 - p.square().sum(dim=-1)
        ),
        "The members and the examples are mixed up: you average over the examples, axis 1. The members are axis 0.": [
            _doubts(predict=lambda p: p.mean(dim=1), average=lambda h: h.mean(dim=1)),
            _doubts(predict=lambda p: p.mean(dim=1)),
            _doubts(average=lambda h: h.mean(dim=1)),
        ],
        "The entropy is summed over the wrong axis. The classes are the last one: `sum(dim=-1)`.": [
            {"sum(dim=-1)": "sum(dim=0)"},
            {"probabilities).sum(dim=-1)": "probabilities).sum(dim=1)"},
            {
                "probabilities).sum(dim=-1)": "probabilities).sum(dim=1)",
                "mean).sum(dim=-1)": "mean).sum(dim=0)",
            },
            {"mean).sum(dim=-1)": "mean).sum(dim=0)"},
            {"sum(dim=-1)": "sum(dim=1)"},
        ],
        "The mean prediction is a geometric mean here, made of averaged logarithms. Average the probabilities "
        "themselves.": [
            _doubts(predict=_doubts_geometric),
            _doubts(predict=lambda p: p.clamp(min=1e-8).log().mean(dim=0).softmax(dim=-1)),
            _doubts(predict=lambda p: p.log().mean(dim=0).softmax(dim=-1)),
            _doubts(predict=lambda p: p.log().mean(dim=0).exp()),
        ],
        "The small number that keeps ln from 0 shifts the results. `torch.special.xlogy(p, p)` is exactly 0 there.": [
            _doubts(entropy=lambda p, how=how, small=10.0**-power: how(p, small))
            for how in (_doubts_log_shifted, _doubts_above_zero)
            for power in (7, 6, 4, 3)
        ],
    }
)
doubts.pairs_of_slips(_doubts, {one: _NATS[one] for one in list(_NATS)[:2]}, _MEMBERS)
_LIKELY = [one for one in _RESULT if "sign" in one or "over the examples" in one or "Only two" in one]
doubts.pairs_of_slips(
    _doubts, {one: _NATS[one] for one in list(_NATS)[:2]}, {one: _RESULT[one] for one in _LIKELY}
)


# Section 6: temperature ---------------------------------------------------------------------------------------


def _temperature_case(N, C, T, seed, dtype=torch.float32, shift=0.0):
    """Logits (N, C) that are T times too large, each row shifted, and labels (N,)."""
    logits = 2 * normal(N, C, seed=seed, dtype=torch.float64)
    noise = torch.rand(N, C, generator=torch.Generator().manual_seed(seed + 1)).clamp(min=1e-6)
    labels = (logits - (-noise.log()).log()).argmax(dim=1)
    return (T * logits + shift * normal(N, 1, seed=seed + 2)).to(dtype), labels


_BELOW, _ABOVE, _BETWEEN = "0.05 or less", "20 or more", "a T between 1 and the best one"
_NEAR = "a T that is off by more than 1 %"
_TO, _NEARBY = 0.0101, 0.13  # 1 %, and a little for rounding; and what is called near


def _for_each_case(search):
    """The search, made once only for every case."""
    known = {}

    def attempt(logits, labels):
        key = tuple(logits.flatten().tolist())
        if key not in known:
            known[key] = search(logits, labels)
        return known[key]

    return attempt


def _temperature_least(score):
    """The T with the least score(p, labels), p (T, N, C) being the probabilities at each T of a fine grid."""

    @_for_each_case
    def attempt(logits, labels):
        T = torch.logspace(math.log10(0.05), math.log10(20), 1200, dtype=logits.dtype)
        return T[score((logits / T[:, None, None]).softmax(dim=2), labels).argmin()].item()

    return attempt


@_for_each_case
def _best_temperature(logits, labels):
    return temperature.reference(logits, labels)


def _of_labels(p, labels):
    return p.gather(2, labels.expand(len(p), -1)[..., None]).mean(dim=(1, 2))


_brier_temperature = _temperature_least(
    lambda p, y: (p - F.one_hot(y, p.shape[2])).square().sum(dim=2).mean(dim=1)
)
_matched_temperature = _temperature_least(
    lambda p, y: (p.amax(dim=2).mean(dim=1) - (p[-1].argmax(dim=1) == y).float().mean()).abs()
)
_twice_temperature = _temperature_least(lambda p, y: -_of_labels(p.log_softmax(dim=2), y))
_likely_temperature = _temperature_least(lambda p, y: -_of_labels(p, y))


@_for_each_case
def _telling_temperatures(logits, labels):
    """The best T, and what comes out of mistakes, however it is searched for, with how near counts."""
    best = _best_temperature(logits, labels)
    others = [1 / best, math.log(best), -math.log(best), -best, best**2, math.sqrt(best), 1.0]
    others.append(_best_temperature(logits.softmax(dim=1), labels))
    searches = _brier_temperature, _twice_temperature, _likely_temperature
    near = [(_matched_temperature(logits, labels), _TO), *((other, 0.025) for other in others)]
    apart = [(other, distance) for other, distance in near if abs(other - best) > _NEARBY * best]
    return [(best, _TO), *((search(logits, labels), _TO) for search in searches), *apart]


def _temperature_or_words(attempt, logits, labels):
    """What an attempt returns: where it is near to a T that tells something, that T, or words."""
    before = logits.clone()
    result, logits = attempt(logits, labels), before
    is_number = result.ndim == 0 if isinstance(result, Tensor) else isinstance(result, numbers.Real)
    if isinstance(result, Tensor) and result.shape == (1,):
        return "a tensor of shape (1,)"
    if not is_number or isinstance(result, bool):
        return result
    T, best = float(result), _best_temperature(logits, labels)
    is_whole = isinstance(result, int) or (isinstance(result, Tensor) and not result.is_floating_point())
    if is_whole and T > 20:
        return "a whole number above 20"
    for telling, distance in _telling_temperatures(logits, labels):
        if abs(T - telling) <= distance * abs(telling):
            return f"{telling:.4g}"
        if telling == best and 0 < T <= 0.0505:
            return _BELOW
        if telling == best and T >= 19.8:
            return _ABOVE
    if abs(T - best) <= _NEARBY * best:
        return _NEAR
    return _BETWEEN if T > 0 and 0 < math.log(T) / math.log(best) < 1 else f"{T:.3g}"


@lesson.exercise(
    cases={
        "three of four are right": (math.log(9) * torch.eye(2)[[0, 0, 0, 0]], torch.tensor([0, 0, 0, 1])),
        "rows shifted by a constant": _temperature_case(60, 3, 2.5, seed=60, shift=10.0),
        "too modest": _temperature_case(80, 4, 0.4, seed=50),
        "much too sure": _temperature_case(100, 5, 8.0, seed=20),
        "nearly calibrated": _temperature_case(70, 3, 1.0, seed=60),
        "much too modest": _temperature_case(100, 3, 0.08, seed=20),
        "float64, and far too sure": _temperature_case(120, 4, 15.0, seed=60, dtype=torch.float64),
    },
    hints=[
        "As a function of 1/T the cross-entropy has a single minimum. How would you halve an interval that holds it?",
        "Try T = √(low · high), from 0.05 to 20. The slope in 1/T is the mean of Σ_c p_c z_c − z_y: positive means T "
        "is too small.",
        "Or optimise: `log_T = torch.zeros((), requires_grad=True)`, the loss `F.cross_entropy(logits / log_T.exp(), "
        "labels)`, and 500 steps of Adam with lr=0.05.",
    ],
    observe=_temperature_or_words,
)
def temperature(logits, labels):
    """Return the number T > 0 for which softmax(logits / T) has the least cross-entropy for labels (N,), to 1 %.

    logits are (N, C). The best T may lie anywhere between 0.05 and 20.
    """
    low, high = 0.05, 20.0
    for _ in range(30):
        T = math.sqrt(low * high)
        p = (logits / T).softmax(dim=1)
        slope = (p * logits).sum(dim=1).mean() - logits.gather(1, labels[:, None]).mean()  # in 1/T
        low, high = (T, high) if slope > 0 else (low, T)
    return T


def _temperature_grid(grid, score=lambda z, y: F.cross_entropy(z, y), best=torch.argmin):
    def attempt(logits, labels):
        return grid[best(torch.stack([score(logits / T, labels) for T in grid]))].item()

    return attempt


def _temperature_reached(low, high):
    """A search that arrives only where the best T lies between low and high."""

    def attempt(logits, labels):
        T = _best_temperature(logits, labels)
        return T if low < T < high else T**0.7

    return attempt


def _temperature_near(missed):
    return _of_best(lambda T: 1.05 * T if missed(T) else T)


def _temperature_halved(
    slope=lambda b, z, y: ((b * z).softmax(dim=1) * z).sum(dim=1).mean() - z.gather(1, y[:, None]).mean(),
    turned=False,
    count=40,
    least=0.0,
):
    """An interval of b = 1/T that is halved, with what can go wrong as arguments."""

    def attempt(logits, labels):
        low, high = 0.05, 20.0
        for _ in range(count):
            if high - low > least:
                b = (low + high) / 2
                low, high = (b, high) if (slope(b, logits, labels) < 0) != turned else (low, b)
        return 2 / (low + high)

    return attempt


def _temperature_piled_up(logits, labels):
    """200 steps of Adam from T = 1, without `zero_grad()`."""
    T, piled, first, second = 1.0, 0.0, 0.0, 0.0
    label = logits.gather(1, labels[:, None]).mean()
    for step in range(1, 201):
        piled += (label - ((logits / T).softmax(dim=1) * logits).sum(dim=1).mean()).item() / T**2
        first, second = 0.9 * first + 0.1 * piled, 0.999 * second + 0.001 * piled**2
        T -= 0.01 * first / (1 - 0.9**step) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return T


def _temperature_edges(low, high):
    return lambda logits, labels: min(max(_best_temperature(logits, labels), low), high)


def _of_best(function):
    return lambda logits, labels: function(_best_temperature(logits, labels))


temperature.mistakes(
    {
        "This is 1/T: you multiply the logits by it. The best T divides them, so return 1 divided by yours.": [
            _of_best(lambda T: 1 / T),
            {"return T": "return 1 / T"},
        ],
        "This is ln T, the number that was optimised. Return its exponential, `log_T.exp().item()`.": _of_best(
            math.log
        ),
        "This is −ln T, the logarithm of 1/T. Return T itself, its exponential with the sign turned.": _of_best(
            lambda T: -math.log(T)
        ),
        "This is the square of the best T. Are the logits divided by the square root of what you return?": _of_best(
            lambda T: T**2
        ),
        "This is the square root of the best T. Are the logits divided by T twice?": _of_best(math.sqrt),
        "T has the opposite sign: it must be positive. Search for ln T, or between 0.05 and 20.": _of_best(
            lambda T: -T
        ),
        "T stays at 1 on all cases. Does the loop change it, and does the loss depend on it? No T changes the "
        "accuracy.": [
            lambda logits, labels: 1.0,
            lambda logits, labels: 1,
        ],
        "Where the best T is far from 1, yours stops on the way there. Search from 0.05 to 20, or take more steps, "
        "until T no longer changes.": [
            _temperature_reached(low, high)
            for low in (0.0, 0.2, 0.7)
            for high in (1.5, 2.2, 2.9, 5.0, 12.0, 30.0)
            if (low, high) != (0.0, 30.0)
        ]
        + [_temperature_reached(1.0, 1.0)],
        "T never goes below 1, but a network may be too modest as well. Search from 0.05 to 20.": [
            _temperature_edges(1.0, high) for high in (2.0, 3.0, 5.0, 10.0, 12.0, 30.0)
        ],
        "T never goes above 1, but a network may be too sure as well. Search from 0.05 to 20.": [
            _temperature_edges(low, 1.0) for low in (0.0, 0.1, 0.5)
        ],
        "`cross_entropy` takes logits, and has a softmax of its own. Leave yours out: `F.cross_entropy(logits / T, "
        "labels)`.": [
            lambda logits, labels: _best_temperature(logits.softmax(dim=1), labels),
            _twice_temperature,
        ],
        "The probability is averaged, not its logarithm. Take `log_softmax` before `nll_loss`, or "
        "`F.cross_entropy(logits / T, labels)`.": _likely_temperature,
        "This T makes the mean confidence equal to the accuracy. The least cross-entropy is expected.": (
            _matched_temperature
        ),
        "T ends at 20 where it should be above 1, and at 0.05 where below. In a bisection, p must be the softmax of "
        "`b * logits`: it changes with b.": _temperature_halved(
            lambda b, z, y: (z.softmax(dim=1) * z).sum(dim=1).mean() - z.gather(1, y[:, None]).mean()
        ),
        "`zero_grad()` is missing: old gradients pile up, and T swings to and fro. Call it before each `backward()`.": (
            _temperature_piled_up
        ),
        "This T has the least Brier score, a mean of squares. The cross-entropy is −ln p of the label, averaged.": (
            _brier_temperature
        ),
        "T ends at 0.05 or below each time: is it chosen by the accuracy, or are probabilities divided by T? In a "
        "bisection, is the slope made with the logit of the *label*, unscaled, and the softmax over the classes?": [
            lambda logits, labels: 0.05,
            _temperature_halved(
                lambda b, z, y: (
                    ((b * z).softmax(dim=1) * z).sum(dim=1).mean() - b * z.gather(1, y[:, None]).mean()
                )
            ),
            _temperature_halved(
                lambda b, z, y: (((b * z).softmax(dim=1) * z).sum(dim=1) - z.amax(dim=1)).mean()
            ),
        ],
        "T ends at 20 or above each time. Divide the logits, before the softmax: divided after it, log-probabilities "
        "belong to nothing that sums to one. And no T changes the accuracy.": lambda logits, labels: 20.0,
        "The largest cross-entropy is chosen: take `argmin`, or step downhill. In a bisection of 1/T: where the slope "
        "is negative, raise `low`.": [
            _temperature_grid(torch.logspace(math.log10(0.05), math.log10(20), 50), best=torch.argmax),
            _temperature_halved(turned=True),
        ],
        "A position in the grid comes back. Return the T that stands there, `grid[losses.argmin()]`.": (
            lambda logits, labels: 300
        ),
        "None came back instead of a number: is a `return` missing?": lambda logits, labels: print("T"),
        "T runs to the wrong end, 20 where it should be small and 0.05 where it should be large. Turn the comparison "
        "of the slope, or the sign of the step.": [
            {"slope > 0": "slope < 0"},
            lambda logits, labels: 20.0 if _best_temperature(logits, labels) < 1 else 0.05,
        ],
        "Near the best T, but not to 1 %: on a grid, is each T at most 1.01 times the last? In a loop go on until T no "
        "longer changes.": [
            *[
                _temperature_near(lambda T, most=most: most > T)
                for most in (0.2, 0.6, 1.5, 2.2, 5.0, 10.0, 30.0)
            ],
            *[
                _temperature_near(lambda T, least=least: least < T)
                for least in (0.2, 0.6, 1.5, 2.2, 5.0, 10.0)
            ],
            _temperature_near(lambda T: not 0.8 < T < 1.5),
            _temperature_near(lambda T: not 0.6 < T < 2.2),
        ]
        + [_temperature_grid(torch.linspace(0.05, 20, count)) for count in (50, 100, 200)]
        + [_temperature_grid(torch.arange(step, 20 + step / 2, step)) for step in (0.05, 0.1)]
        + [_temperature_grid(torch.logspace(math.log10(0.05), 1.3, count)) for count in (20, 50, 100)],
        "The interval is still long when the halving ends. Go on until it is below 1 % of T.": [
            *[_temperature_halved(count=count) for count in (3, 4, 5, 6, 8)],
            *[_temperature_halved(least=least) for least in (0.1, 0.5)],
            *[{"range(30)": f"range({count})"} for count in (3, 4)],
        ],
        "This is the standard deviation of the logits. T is the number that makes the cross-entropy least.": [
            lambda logits, labels: logits.std(),
            lambda logits, labels: logits.std(unbiased=False),
            lambda logits, labels: logits.std(dim=1).mean(),
        ],
        "The cross-entropy comes back, not the T that makes it least. Return T.": [
            lambda logits, labels: F.cross_entropy(logits / _best_temperature(logits, labels), labels),
        ],
        "T is a tensor with an axis of size 1, (1,). Return the number: `.item()`.": _of_best(
            lambda T: torch.tensor([T])
        ),
        "The scaled logits come back. Return the number T.": lambda logits, labels: (
            logits / _best_temperature(logits, labels)
        ),
    }
)


# Section 7: sets with a guarantee -----------------------------------------------------------------------------


def _scores_of(n, seed, dtype=torch.float32):
    """Distinct scores between 0 and 1, in any order."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return ((order + 0.5) / n).to(dtype) ** 1.5


@lesson.exercise(
    cases={
        "one score": (torch.tensor([0.4]), 0.5),
        "nine scores": (torch.tensor([0.7, 0.1, 0.5, 0.2, 0.4, 0.95, 0.3, 0.8, 0.6]), 0.1),
        "eight scores, too few": (torch.tensor([0.7, 0.1, 0.5, 0.2, 0.4, 0.95, 0.3, 0.8]), 0.1),
        "four scores": (torch.tensor([0.9, 0.2, 0.6, 0.4]), 0.5),
        "negative scores, some of them equal": (torch.tensor([-0.5, 2.0, -3.0, 1.0, 0.0, -0.5, -0.5]), 0.4),
        "nine scores, alpha = 0.7": (torch.tensor([0.7, 0.1, 0.5, 0.2, 0.4, 0.95, 0.3, 0.8, 0.6]), 0.7),
        "twelve scores": (_scores_of(12, seed=1), 0.2),
        "thirteen scores": (_scores_of(13, seed=2), 0.25),
        "nineteen scores": (_scores_of(19, seed=3), 0.1),
        "89 scores, alpha = 0.7": (_scores_of(89, seed=4), 0.7),
        "99 scores": (_scores_of(99, seed=5), 0.05),
        "float64 numbers": (_scores_of(28, seed=6, dtype=torch.float64), 0.15),
    },
    hints=[
        "Work out k for n = 9 and alpha = 0.1 on paper. Which of the nine sorted scores is it?",
        "Sort, and take the entry k − 1. In floating point 10 · (1 − 0.7) is 3.0000000000000004: round before `ceil`.",
        "`k = math.ceil(round((n + 1) * (1 - alpha), 9))`, then `scores.sort().values[k - 1].item() if k <= n else "
        "math.inf`.",
    ],
)
def conformal_threshold(scores, alpha):
    """Return the k-th smallest of the n calibration scores (n,), a number, with k = ⌈(n + 1)(1 − alpha)⌉.

    If k is greater than n, return math.inf. k must be right even where (n + 1)(1 − alpha) is a whole number.
    """
    n = len(scores)
    k = math.ceil(round((n + 1) * (1 - alpha), 9))  # 10 * (1 - 0.7) is 3.0000000000000004
    return scores.sort().values[k - 1].item() if k <= n else math.inf


def _conformal_k(n, alpha):
    return math.ceil(round((n + 1) * (1 - alpha), 9))


def _conformal_sloppy(n, alpha):
    return math.ceil((n + 1) * (1 - alpha))


def _conformal(
    rank=_conformal_k,
    ordered=lambda scores: scores.sort().values,
    place=lambda k: k - 1,
    beyond=lambda s: math.inf,
    too_large=lambda k, n: k > n,
):
    """The threshold, with what can go wrong as arguments."""

    def attempt(scores, alpha):
        n = len(scores)
        k = rank(n, alpha)
        return beyond(scores) if too_large(k, n) else ordered(scores)[place(k)].item()

    return attempt


def _exact_or_not(make, sloppy=_conformal_sloppy):
    """What a slip gives with a k that is right, and with one that floating point puts one too high."""
    return [make(_conformal_k), make(sloppy)]


def _conformal_quantile(level, **options):
    return lambda scores, alpha: torch.quantile(
        scores, min(max(level(len(scores), alpha), 0.0), 1.0), **options
    ).item()


def _conformal_by_numpy(method, rank=_conformal_k):
    return lambda scores, alpha: np.quantile(
        scores.numpy(), rank(len(scores), alpha) / len(scores), method=method
    )


def _or_infinite(function):
    return lambda scores, alpha: (
        math.inf if _conformal_k(len(scores), alpha) > len(scores) else function(scores, alpha)
    )


conformal_threshold.mistakes(
    {
        "k is one too high where floating point puts (n + 1)(1 − alpha) above a whole number: 10 · (1 − 0.7) is "
        "3.0000000000000004. Round to 9 digits before `ceil`.": [
            {"round((n + 1) * (1 - alpha), 9)": "(n + 1) * (1 - alpha)"},
        ],
        "k is one too high for 89 scores and alpha = 0.7: floating point misses the whole number 27 by a little. Round "
        "to 9 digits before `ceil` or `floor`.": [
            _conformal(rank=lambda n, alpha: n + 1 - math.floor((n + 1) * alpha)),
            _conformal(rank=lambda n, alpha: math.ceil(n + 1 - (n + 1) * alpha)),
            _conformal(rank=lambda n, alpha: math.ceil((1 - alpha) * n + (1 - alpha))),
        ],
        "n is used in place of n + 1: the new example counts as one more. k = ⌈(n + 1)(1 − alpha)⌉.": [
            {"(n + 1) *": "n *"},
            _conformal(rank=lambda n, alpha: math.ceil(n * (1 - alpha))),
        ],
        "n − 1 stands where n + 1 belongs: the new example counts as one more. k = ⌈(n + 1)(1 − alpha)⌉.": [
            {"(n + 1) *": "(n - 1) *"},
            _conformal(rank=lambda n, alpha: math.ceil((n - 1) * (1 - alpha))),
        ],
        "Equal scores count each: leave out `unique()`.": [
            _conformal(ordered=lambda scores: scores.unique()),
            lambda scores, alpha: conformal_threshold.reference(scores.unique(), alpha),
        ],
        "k is rounded down. It has to be rounded up, `math.ceil`, or the coverage falls below 1 − alpha.": [
            _conformal(rank=lambda n, alpha: math.floor(round((n + 1) * (1 - alpha), 9))),
            _conformal(rank=lambda n, alpha: int((n + 1) * (1 - alpha))),
        ],
        "k is rounded to the nearest whole number. It has to be rounded up, `math.ceil`.": (
            _conformal(rank=lambda n, alpha: round((n + 1) * (1 - alpha)))
        ),
        "Rounding down and adding 1 gives one too many where (n + 1)(1 − alpha) is a whole number. Use `math.ceil` of "
        "the rounded product.": [
            _conformal(rank=lambda n, alpha: math.floor(round((n + 1) * (1 - alpha), 9)) + 1),
            _conformal(rank=lambda n, alpha: int((n + 1) * (1 - alpha)) + 1),
        ],
        "This is the (k + 1)-th smallest: positions count from 0. Take entry k − 1 of the sorted scores.": [
            *_exact_or_not(lambda rank: _conformal(rank, place=lambda k: k, too_large=lambda k, n: k >= n)),
        ],
        "Entry k is asked for, but positions count from 0 and there is none after the last. Take entry k − 1.": (
            _exact_or_not(lambda rank: _conformal(rank, place=lambda k: k))
        ),
        "This is the (k − 1)-th smallest. Is 1 taken off twice? Entry k − 1 is the k-th.": _exact_or_not(
            lambda rank: _conformal(rank, place=lambda k: max(k - 2, 0))
        )
        + _exact_or_not(lambda rank: _conformal(rank, place=lambda k: k - 2)),
        "This is the other tail: sorted from the largest, or k made with alpha in place of 1 − alpha.": [
            _conformal(rank=lambda n, alpha: max(math.ceil(round((n + 1) * alpha, 9)), 1)),
            _conformal(rank=lambda n, alpha: max(math.floor(round((n + 1) * alpha, 9)), 1)),
            lambda scores, alpha: torch.quantile(scores, alpha).item(),
        ],
        "The scores are sorted from the largest, so this is the k-th largest. Sort upwards.": _exact_or_not(
            lambda rank: _conformal(rank, ordered=lambda s: s.sort(descending=True).values)
        ),
        "The scores are not sorted: this is the k-th that arrives. Sort them first, `scores.sort().values`.": (
            _exact_or_not(lambda rank: _conformal(rank, ordered=lambda s: s))
        ),
        "With k greater than n the largest score comes back, and the promised coverage is lost. Return `math.inf` "
        "there.": [
            _conformal(beyond=lambda s: s.max().item()),
            _conformal(_conformal_sloppy, beyond=lambda s: s.max().item()),
        ],
        "k can be greater than n, as with 8 scores and alpha = 0.1, and then there is no such entry. Return `math.inf` "
        "there.": [
            {" if k <= n else math.inf": ""},
            _conformal(_conformal_sloppy, too_large=lambda k, n: False),
            lambda scores, alpha: scores.kthvalue(_conformal_k(len(scores), alpha)).values,
            lambda scores, alpha: scores.kthvalue(_conformal_sloppy(len(scores), alpha)).values,
            lambda scores, alpha: scores.numpy()[_conformal_k(len(scores), alpha) - 1],
            lambda scores, alpha: sorted(scores.tolist())[_conformal_k(len(scores), alpha) - 1],
            lambda scores, alpha: torch.quantile(scores, _conformal_k(len(scores), alpha) / len(scores)),
        ],
        "With k greater than n this returns 1 or another number. Return `math.inf` there: only an infinite threshold "
        "covers.": [
            _conformal(beyond=lambda s, value=value: value) for value in (1.0, 0.0, -math.inf, math.nan)
        ],
        "k = n still has a score, the largest: `math.inf` is for k > n only.": _exact_or_not(
            lambda rank: _conformal(rank, too_large=lambda k, n: k >= n)
        ),
        "`math.inf` comes back for every set of scores. It is for k > n only.": lambda scores, alpha: (
            math.inf
        ),
        "This is the plain quantile, without the + 1, and it interpolates. Take the k-th smallest, k = ⌈(n + 1)(1 − "
        "alpha)⌉.": [
            _conformal_quantile(lambda n, alpha: 1 - alpha),
            _or_infinite(_conformal_quantile(lambda n, alpha: 1 - alpha)),
        ],
        "`quantile` without the + 1 rounds to another score. Take the k-th smallest, k = ⌈(n + 1)(1 − alpha)⌉.": [
            make(_conformal_quantile(lambda n, alpha: 1 - alpha, interpolation=how))
            for how in ("higher", "lower", "nearest")
            for make in (_or_infinite, lambda function: function)
        ],
        "`quantile` interpolates between two scores. Sort, and take the k-th smallest itself, `[k - 1]`.": [
            make(_conformal_quantile(level))
            for level in (
                lambda n, alpha: _conformal_k(n, alpha) / n,
                lambda n, alpha: _conformal_sloppy(n, alpha) / n,
                lambda n, alpha: (n + 1) * (1 - alpha) / n,
                lambda n, alpha: _conformal_k(n, alpha) / (n + 1),
            )
            for make in (_or_infinite, lambda function: function)
        ],
        '`quantile` counts positions from 0 to n − 1, so "higher" at k/n gives the (k + 1)-th for k < n. Sort, and '
        "take `[k - 1]`.": [
            make(_conformal_quantile(level, interpolation="higher"))
            for level in (
                lambda n, alpha: _conformal_k(n, alpha) / n,
                lambda n, alpha: _conformal_sloppy(n, alpha) / n,
                lambda n, alpha: (n + 1) * (1 - alpha) / n,
            )
            for make in (_or_infinite, lambda function: function)
        ]
        + [_conformal_by_numpy("higher"), _conformal_by_numpy("higher", _conformal_sloppy)],
        "`sort` and `kthvalue` give values and indices. Take `.values` first.": [
            *_exact_or_not(
                lambda rank: _or_infinite(lambda scores, alpha: scores.kthvalue(rank(len(scores), alpha)))
            ),
            *_exact_or_not(
                lambda rank: _or_infinite(lambda scores, alpha: scores.sort()[rank(len(scores), alpha) - 1])
            ),
        ],
        "A position has to be an integer, and this k is a float. `math.ceil` rounds up and gives an integer.": [
            make(
                lambda scores, alpha, rounded=rounded: scores.sort().values[
                    rounded((len(scores) + 1) * (1 - alpha)) - 1
                ]
            )
            for rounded in (float, np.ceil)
            for make in (_or_infinite, lambda function: function)
        ],
        "k comes back, the position. Return the score there.": [
            lambda scores, alpha: _conformal_k(len(scores), alpha),
            lambda scores, alpha: _conformal_sloppy(len(scores), alpha),
            _or_infinite(lambda scores, alpha: _conformal_k(len(scores), alpha)),
            _or_infinite(lambda scores, alpha: _conformal_sloppy(len(scores), alpha)),
        ],
        "This is where the score stands among those that arrive, an index. Return the score itself, from "
        "`.values`.": _or_infinite(
            lambda scores, alpha: scores.sort().indices[_conformal_k(len(scores), alpha) - 1]
        ),
    }
)


# Section 8: leapfrog ------------------------------------------------------------------------------------------


_LEAPFROG_SPRING = NamedFunction("−w", lambda w: -w)
_LEAPFROG_FREE = NamedFunction("0", torch.zeros_like)
_LEAPFROG_CONSTANT = NamedFunction("1", torch.ones_like)
_LEAPFROG_CUBE = NamedFunction("−w³", lambda w: -(w**3))
_LEAPFROG_PRECISION = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.8]])
_LEAPFROG_GAUSSIAN = NamedFunction(
    "−Λ w, of a Gaussian with precision Λ", lambda w: -w @ _LEAPFROG_PRECISION.to(w)
)


@lesson.exercise(
    returns=("w", "p"),
    cases={
        "one step on a spring": (torch.tensor([1.0]), torch.tensor([0.0]), _LEAPFROG_SPRING, 0.1, 1),
        "two steps, constant force": (torch.tensor([0.0]), torch.tensor([0.0]), _LEAPFROG_CONSTANT, 1.0, 2),
        "two steps without force": (
            torch.tensor([1.0, 2.0]),
            torch.tensor([0.5, -1.0]),
            _LEAPFROG_FREE,
            0.5,
            2,
        ),
        "three steps on a spring": (normal(4), normal(4, seed=1), _LEAPFROG_SPRING, 0.4, 3),
        "a single number": (torch.tensor(0.7), torch.tensor(-0.4), _LEAPFROG_SPRING, 0.3, 2),
        "chains in a Gaussian": (normal(8, 3, seed=2), normal(8, 3, seed=3), _LEAPFROG_GAUSSIAN, 0.3, 4),
        "as many chains as weights": (normal(3, 3, seed=4), normal(3, 3, seed=5), _LEAPFROG_GAUSSIAN, 0.5, 1),
        "a force −w³": (normal(5, 2, seed=6), normal(5, 2, seed=7), _LEAPFROG_CUBE, 0.2, 5),
        "back in time": (normal(2, 4, seed=8), normal(2, 4, seed=9), _LEAPFROG_CUBE, -0.3, 2),
        "float64 numbers": (
            normal(6, seed=10, dtype=torch.float64),
            normal(6, seed=11, dtype=torch.float64),
            _LEAPFROG_CUBE,
            0.25,
            3,
        ),
    },
    hints=[
        "One step is half a kick, a drift, half a kick: p changes by step/2 times the force, w by step times p.",
        "Where one step ends and the next begins, two half kicks with the same force meet: one full kick.",
        "`p = p + step / 2 * gradient(w)` first; then `count` times `w = w + step * p` and a kick, a full one, or at "
        "the very end half a one.",
    ],
)
def leapfrog(w, p, gradient, step, count):
    """Return position w and momentum p after `count` leapfrog steps of this size, both in the shapes of w and p.

    gradient(w) is the gradient of ln p at w: the force. The mass is 1. count ≥ 1; w and p may be of any shape, and are
    not changed themselves.
    """
    p = p + step / 2 * gradient(w)
    for i in range(count):
        w = w + step * p
        p = p + (step if i < count - 1 else step / 2) * gradient(w)
    return w, p


def _leapfrog_pair(w, p):
    return w, p


def _leapfrog(
    first=0.5,
    between=1.0,
    last=0.5,
    kick=lambda p, force, step, share: p + share * step * force,
    drift=lambda w, p, step: w + step * p,
    force=lambda gradient, w, p, start: gradient(w),
    steps=lambda count: count,
    end=_leapfrog_pair,
):
    def attempt(w, p, gradient, step, count):
        start, count = w, steps(count)
        p = kick(p, force(gradient, w, p, start), step, first)
        for i in range(count):
            w = drift(w, p, step)
            p = kick(p, force(gradient, w, p, start), step, between if i < count - 1 else last)
        return end(w, p)

    return attempt


def _leapfrog_in_steps(one):
    """What `count` steps of another integrator give, `one(w, p, gradient, step)` being one of them."""

    def attempt(w, p, gradient, step, count):
        for _ in range(count):
            w, p = one(w, p, gradient, step)
        return w, p

    return attempt


def _leapfrog_position(w, p, gradient, step):
    w = w + step / 2 * p
    p = p + step * gradient(w)
    return w + step / 2 * p, p


def _leapfrog_old_force(w, p, gradient, step):
    force = gradient(w)
    return w + step * (p + step / 2 * force), p + step * force


def _leapfrog_drift_first(w, p, gradient, step):
    w = w + step * p
    return w, p + step * gradient(w)


def _leapfrog_late_drift(w, p, gradient, step):
    """Half a kick, a drift with the momentum from before it, half a kick."""
    half = p + step / 2 * gradient(w)
    w = w + step * p
    return w, half + step / 2 * gradient(w)


def _leapfrog_force_of_momentum(w, p, gradient, step):
    half = p + step / 2 * gradient(p)
    return w + step * half, half + step / 2 * gradient(half)


def _leapfrog_midpoint(w, p, gradient, step):
    half = p + step / 2 * gradient(w)
    return w + step * half, p + step * gradient(w + step / 2 * p)


def _leapfrog_short(w, p, gradient, step, count):
    p = p + step / 2 * gradient(w)
    for _ in range(count - 1):
        w = w + step * p
        p = p + step * gradient(w)
    return w, p + step / 2 * gradient(w)


_LEAPFROG_KICKS = {
    "The first kick is a full one. Begin with half a kick, `step / 2 * gradient(w)`.": {"first": 1.0},
    "The last kick is a full one. End with half a kick, `step / 2 * gradient(w)`.": {"last": 1.0},
    "Both the first and the last kick are full ones, so p gets one kick too many. Make both half kicks.": {
        "first": 1.0,
        "last": 1.0,
    },
    "The last half kick is missing, so p lags half a step behind w. Add `step / 2 * gradient(w)` at the end.": {
        "last": 0.0
    },
    "The first half kick is missing. Before the first drift, p changes by `step / 2 * gradient(w)`.": {
        "first": 0.0
    },
    "Both half kicks are missing, at the beginning and at the end. Only the kicks between drifts are full ones.": {
        "first": 0.0,
        "last": 0.0,
    },
    "Between two drifts you kick by half a step only. There two half kicks meet: `step * gradient(w)`.": {
        "between": 0.5
    },
    "After the loop comes half a kick on top of the full kick that ended it. Make the last kick of the loop half a "
    "kick, or take half a kick back.": {"last": 1.5},
}
_LEAPFROG_SIGN = {
    "The kick has the wrong sign. `gradient` is that of ln p, the force itself: add it to p.": {
        "kick": lambda p, force, step, share: p - share * step * force
    }
}
_LEAPFROG_ENDS = {
    "The momentum comes back with its sign reversed. Return p as the last kick left it.": {
        "end": lambda w, p: (w, -p)
    },
    "w and p are swapped: return `w, p`.": {"end": lambda w, p: (p, w)},
    "Only w came back. Return both: `w, p`.": {"end": lambda w, p: w},
    "Only p came back. Return both: `w, p`.": {"end": lambda w, p: p},
}
leapfrog.slips(
    _leapfrog,
    _LEAPFROG_KICKS,
    _LEAPFROG_SIGN,
    _LEAPFROG_ENDS,
    {
        "One stacked tensor came back. Return two, w and p: `return w, p`.": {
            "end": lambda w, p: torch.stack([w, p])
        },
        "The kicks lack the step size. p changes by `step * gradient(w)`, and half of that at both ends.": {
            "kick": lambda p, force, step, share: p + share * force
        },
        "The kicks contain step². p changes by step times the force, and w by step times p.": {
            "kick": lambda p, force, step, share: p + share * step**2 * force
        },
        "The drift lacks the step size: w changes by `step * p`.": {"drift": lambda w, p, step: w + p},
        "The drift covers half a step only. Half steps are for the kicks at both ends; w changes by `step * p`.": {
            "drift": lambda w, p, step: w + step / 2 * p
        },
        "The drift has the wrong sign: w changes by + `step * p`.": {
            "drift": lambda w, p, step: w - step * p
        },
        "Only one step is taken. Repeat drift and kick `count` times.": {"steps": lambda count: 1},
        "One step too many is taken: `range(count)` has `count` entries.": {"steps": lambda count: count + 1},
        "One step too few is taken: `range(count)` has `count` entries.": {"steps": lambda count: count - 1},
        "The force stays that of the starting point. Call `gradient(w)` again after every drift.": {
            "force": lambda gradient, w, p, start: gradient(start)
        },
        "Each step has two full kicks. Take half a kick before the drift and half a kick after it.": {
            "first": 1.0,
            "between": 2.0,
            "last": 1.0,
        },
    },
)
leapfrog.pairs_of_slips(_leapfrog, _LEAPFROG_SIGN, _LEAPFROG_KICKS | _LEAPFROG_ENDS)
leapfrog.pairs_of_slips(_leapfrog, _LEAPFROG_KICKS, dict([*_LEAPFROG_ENDS.items()][:2]))
leapfrog.mistakes(
    {
        "This is Euler's method: w and p both move with their old values, and the energy grows. Kick by half a step, "
        "drift with the new p, kick by half a step at the new w.": [
            _leapfrog_in_steps(lambda w, p, gradient, step: (w + step * p, p + step * gradient(w))),
        ],
        "This is symplectic Euler: a full kick, then a drift. A leapfrog step splits the kick in two halves, one "
        "before the drift and one after it.": [
            _leapfrog(first=1.0, last=0.0),
            {"step / 2 * gradient(w)": "step * gradient(w)", "else step / 2": "else 0"},
        ],
        "This is symplectic Euler: a drift, then a full kick. A leapfrog step splits the kick in two halves, one "
        "before the drift and one after it.": _leapfrog_in_steps(_leapfrog_drift_first),
        "This begins and ends with half a drift: position Verlet, another integrator. Leapfrog as in the lesson begins "
        "and ends with half a kick.": _leapfrog_in_steps(_leapfrog_position),
        "The second half kick uses the force of the old point. Call `gradient(w)` again after the "
        "drift.": _leapfrog_in_steps(_leapfrog_old_force),
        "The drift uses the momentum from before the half kick. Kick first, then drift with the new "
        "p.": _leapfrog_in_steps(_leapfrog_late_drift),
        "This is a midpoint method, which does not keep volumes in phase space. Leapfrog alternates: half a kick, a "
        "drift with the new p, half a kick.": _leapfrog_in_steps(_leapfrog_midpoint),
        "The last drift is missing: there are `count` drifts, with a kick between any two of them and half a kick at "
        "both ends.": _leapfrog_short,
        "The force is computed from the momentum. It depends on the position: `gradient(w)`.": [
            _leapfrog(force=lambda gradient, w, p, start: gradient(p)),
            _leapfrog_in_steps(_leapfrog_force_of_momentum),
        ],
        "w moves along the gradient itself: that is gradient ascent. The force changes p, and p moves w: "
        "`w + step * p`.": [
            _leapfrog_in_steps(lambda w, p, gradient, step: (w + step * gradient(w), p)),
            {"w + step * p": "w + step * gradient(w)"},
        ],
    }
)


# Section 9: the divergence from the prior ---------------------------------------------------------------------


def _kl_kind(value):
    if isinstance(value, Tensor):
        return "a tensor"
    return "a tuple" if isinstance(value, tuple) else "no tensor"


def _kl_and_kind(attempt, mu, sigma, prior_sd):
    """The value, and whether it is a tensor, through which gradients could flow."""
    value = attempt(mu, sigma, prior_sd)
    if value is None:
        return None
    kind = _kl_kind(value)
    return {"what came back": kind, "the divergence": "" if kind == "no tensor" else value}


def _kl_positive(*shape, seed, **kind):
    return (0.6 * normal(*shape, seed=seed, **kind)).exp()


@lesson.exercise(
    observe=_kl_and_kind,
    cases={
        "one weight, mu = 2": (torch.tensor([2.0]), torch.tensor([1.0]), 1.0),
        "q is the prior": (torch.zeros(3), torch.full((3,), 0.5), 0.5),
        "only the means differ": (torch.tensor([1.0, -2.0, 4.0]), torch.full((3,), 2.0), 2.0),
        "only the widths differ": (torch.zeros(4), torch.tensor([0.5, 2.0, 0.25, 3.0]), 1.0),
        "a wide prior": (normal(5, seed=1), _kl_positive(5, seed=2), 4.0),
        "a prior for each weight": (normal(4, seed=3), _kl_positive(4, seed=4), _kl_positive(4, seed=5)),
        "one weight, its own prior": (torch.tensor([-0.5]), torch.tensor([0.7]), torch.tensor([1.6])),
        "narrow posteriors": (normal(6, seed=6), 0.001 * _kl_positive(6, seed=7), 0.5),
        "float64 numbers": (
            normal(7, seed=8, dtype=torch.float64),
            _kl_positive(7, seed=9, dtype=torch.float64),
            2.0,
        ),
        "float64 numbers, a prior for each": (
            normal(2, seed=10, dtype=torch.float64),
            _kl_positive(2, seed=11, dtype=torch.float64),
            _kl_positive(2, seed=12, dtype=torch.float64),
        ),
    },
    hints=[
        "Measure all in units of the prior's width: what are mean and standard deviation of q then, and what is the "
        "divergence from N(0, 1)?",
        "With m = mu/prior_sd and s = sigma/prior_sd, a weight contributes ½ (s² + m² − 1) − ln s.",
        "`((s**2 + m**2 - 1) / 2 - s.log()).sum()`",
    ],
)
def kl_gaussians(mu, sigma, prior_sd):
    """Return KL(q‖prior) in nats, summed over all weights, one number, a tensor.

    q is a normal distribution with means mu and standard deviations sigma, both (D,); the prior has mean 0 and
    standard deviations prior_sd, a number or (D,).
    """
    m, s = mu / prior_sd, sigma / prior_sd
    return ((s**2 + m**2 - 1) / 2 - s.log()).sum()


@kl_gaussians.remark(
    "A remark: no gradient reaches mu and sigma, so nothing could learn from this divergence. Stay with tensors: no "
    "`.item()`, `math.log`, `.detach()` or `no_grad()`."
)
def _(attempt):
    mu, sigma = torch.tensor([1.0, 2.0]).requires_grad_(), torch.tensor([0.5, 2.0]).requires_grad_()
    return any(
        slope is None
        for prior_sd in (2.0, torch.tensor([1.0, 2.0]))
        for slope in _kl_slopes(attempt(mu, sigma, prior_sd), (mu, sigma))
    )


def _kl_slopes(value, learned):
    """The gradients with respect to what is learned, None where there is no path."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        return (None,) * len(learned)
    return torch.autograd.grad(value.sum(), learned, allow_unused=True)


def _kl_gaussians(
    shift=lambda mu, prior: (mu / prior) ** 2,
    width=lambda sigma, prior: (sigma / prior) ** 2,
    one=1.0,
    logarithm=lambda sigma, prior: (sigma / prior).log(),
    factor=1.0,
    total=Tensor.sum,
):
    def attempt(mu, sigma, prior_sd):
        terms = (width(sigma, prior_sd) + shift(mu, prior_sd) - one) / 2 - logarithm(sigma, prior_sd)
        return total(factor * terms)

    return attempt


def _kl_estimated(mu, sigma, prior_sd):
    q, prior = torch.distributions.Normal(mu, sigma), torch.distributions.Normal(0.0, prior_sd)
    w = q.rsample()
    return (q.log_prob(w) - prior.log_prob(w)).sum()


def _kl_by_library(mu, sigma, prior_sd, swapped=False):
    q = torch.distributions.Normal(mu, sigma)
    prior = torch.distributions.Normal(torch.zeros_like(mu), prior_sd)
    return torch.distributions.kl_divergence(*((prior, q) if swapped else (q, prior))).sum()


def _kl_prior_once(mu, sigma, prior_sd):
    terms = ((sigma / prior_sd) ** 2 + (mu / prior_sd) ** 2 - 1) / 2 - sigma.log()
    return terms.sum() + torch.as_tensor(prior_sd).log().sum()


def _kl_log_of(log):
    """The divergence with this logarithm of the prior's standard deviation by itself."""
    return lambda mu, sigma, prior_sd: (
        log(prior_sd) - sigma.log() + (sigma**2 + mu**2) / (2 * prior_sd**2) - 0.5
    ).sum()


_KL_SUMS = {
    "This is a mean over the weights. Divergences of independent weights add up: `.sum()`.": {
        "total": Tensor.mean
    },
    "The weights are not summed yet. Return one number: `.sum()`.": {"total": lambda terms: terms},
    "The sign is reversed: a divergence is never negative.": {"factor": -1.0},
    "Everything is twice as large: the ½ of a Gaussian's exponent is missing, and ln(sigma/prior_sd) has factor 1.": {
        "factor": 2.0
    },
}
_KL_TERMS = {
    "The −1 is missing: where q is the prior, the divergence has to be 0.": {"one": 0.0},
    "The 1 has the wrong sign: where q is the prior, the divergence has to be 0.": {"one": -1.0},
    "The logarithm has the wrong sign: − ln(sigma/prior_sd) makes a narrow q costly.": {
        "logarithm": lambda sigma, prior: -(sigma / prior).log()
    },
    "The logarithm is missing: − ln(sigma/prior_sd) makes a narrow q costly.": {
        "logarithm": lambda sigma, prior: 0
    },
    "The logarithm has a factor ½ too many: ½ ln(sigma²/prior_sd²) is ln(sigma/prior_sd).": {
        "logarithm": lambda sigma, prior: (sigma / prior).log() / 2
    },
    "The logarithm is counted twice: ½ ln(sigma²/prior_sd²) is ln(sigma/prior_sd).": {
        "logarithm": lambda sigma, prior: 2 * (sigma / prior).log()
    },
    "The logarithm lacks the prior: it is that of sigma/prior_sd.": {
        "logarithm": lambda sigma, prior: sigma.log()
    },
    "The term mu² is not divided by prior_sd²: a shift counts in units of the prior's width.": {
        "shift": lambda mu, prior: mu**2
    },
    "The term mu² is divided by prior_sd, not by its square.": {"shift": lambda mu, prior: mu**2 / prior},
    "mu/prior_sd is not squared.": {"shift": lambda mu, prior: mu / prior},
    "The means are missing: (mu/prior_sd)² belongs to the sum.": {"shift": lambda mu, prior: 0},
    "The term sigma² is not divided by prior_sd².": {"width": lambda sigma, prior: sigma**2},
    "sigma/prior_sd is not squared.": {"width": lambda sigma, prior: sigma / prior},
    "The term (sigma/prior_sd)² is missing: it makes a wide q costly.": {"width": lambda sigma, prior: 0},
}
kl_gaussians.slips(_kl_gaussians, _KL_SUMS, _KL_TERMS)
kl_gaussians.pairs_of_slips(_kl_gaussians, dict([*_KL_SUMS.items()][:2]), _KL_TERMS)
kl_gaussians.mistakes(
    {
        "This is KL(prior‖q), the other way round: the average is taken over q, so the variance of the prior is "
        "what one divides by.": [
            lambda mu, sigma, prior_sd: _kl_by_library(mu, sigma, prior_sd, swapped=True),
            lambda mu, sigma, prior_sd: (
                ((prior_sd / sigma) ** 2 + (mu / sigma) ** 2 - 1) / 2 + (sigma / prior_sd).log()
            ).sum(),
        ],
        "The prior's standard deviation is not used, as if it were 1. Divide mu and sigma by prior_sd "
        "first.": [
            {"mu / prior_sd, sigma / prior_sd": "mu, sigma"},
            lambda mu, sigma, prior_sd: _kl_by_library(mu, sigma, torch.ones_like(mu)),
        ],
        "prior_sd multiplies mu and sigma here. Divide by it: both count in units of the prior's width.": {
            "mu / prior_sd, sigma / prior_sd": "mu * prior_sd, sigma * prior_sd"
        },
        "prior_sd enters as if it were a variance. It is a standard deviation: square it next to sigma² and "
        "mu².": [
            lambda mu, sigma, prior_sd: _kl_by_library(mu, sigma, torch.as_tensor(prior_sd) ** 0.5),
            lambda mu, sigma, prior_sd: (
                ((sigma**2 + mu**2) / prior_sd - 1) / 2 - (sigma / prior_sd).log()
            ).sum(),
        ],
        "sigma enters as if it were the variance. It is the standard deviation: square it, and its logarithm "
        "has no ½.": [
            lambda mu, sigma, prior_sd: _kl_by_library(mu, sigma**0.5, prior_sd),
            lambda mu, sigma, prior_sd: (
                (sigma + mu**2) / prior_sd**2 / 2 - 0.5 - (sigma / prior_sd).log()
            ).sum(),
        ],
        "sigma is taken for a logarithm. It is the standard deviation itself: no `exp`.": [
            {"sigma / prior_sd": "sigma.exp() / prior_sd"},
            lambda mu, sigma, prior_sd: (
                (((2 * sigma).exp() + mu**2) / prior_sd**2 - 1) / 2 - sigma + torch.as_tensor(prior_sd).log()
            ).sum(),
        ],
        "The −1 is subtracted once. Every weight has its own, so subtract it before the sum.": [
            lambda mu, sigma, prior_sd: _kl_gaussians(one=0.0)(mu, sigma, prior_sd) - 0.5,
            lambda mu, sigma, prior_sd: (
                (((sigma / prior_sd) ** 2 + (mu / prior_sd) ** 2).sum() - 1) / 2
                - (sigma / prior_sd).log().sum()
            ),
        ],
        "Where prior_sd is a number, ln prior_sd is counted once only. Every weight has it: take the logarithm of "
        "`sigma / prior_sd`, then sum.": _kl_prior_once,
        "The ½ belongs to all of s² + m² − 1, but the brackets leave some of them out: s being sigma/prior_sd, and m "
        "mu/prior_sd.": [
            {"(s**2 + m**2 - 1) / 2": "s**2 + m**2 - 1 / 2"},
            {"(s**2 + m**2 - 1) / 2": "(s**2 + m**2) / 2 - 1"},
            {"(s**2 + m**2 - 1) / 2": "s**2 + m**2 / 2 - 1 / 2"},
            {"(s**2 + m**2 - 1) / 2": "s**2 / 2 + m**2 - 1 / 2"},
            {"(s**2 + m**2 - 1) / 2": "s**2 + (m**2 - 1) / 2"},
        ],
        "The ½ is missing before s² + m² − 1, s being sigma/prior_sd and m mu/prior_sd. The logarithm has factor "
        "1.": {"(s**2 + m**2 - 1) / 2": "(s**2 + m**2 - 1)"},
        "These are bits, or powers of ten. Nats come from the natural logarithm, `.log()`.": [
            {"s.log()": "s.log2()"},
            {"s.log()": "s.log10()"},
            {".sum()": ".sum() / torch.log(torch.tensor(2.0))"},
        ],
        "The result depends on random draws: it estimates the divergence from one sample. Two Gaussians have an "
        "exact formula.": [
            _kl_estimated,
            lambda mu, sigma, prior_sd: (
                lambda w: (
                    torch.distributions.Normal(mu, sigma).log_prob(w)
                    - torch.distributions.Normal(0.0, prior_sd).log_prob(w)
                ).sum()
            )(mu + sigma * torch.randn_like(mu)),
        ],
        "This is a Python number or an array, so no gradient can flow back to mu and sigma. Return the tensor: "
        "no `float` and no `.item()`.": [
            {".sum()": ".sum().item()"},
            lambda mu, sigma, prior_sd: kl_gaussians.reference(mu, sigma, prior_sd).numpy(),
        ],
        "This is one number in a tensor of shape (1,). Sum without `keepdim`, so that no axis is left.": [
            {".sum()": ".sum(dim=0, keepdim=True)"},
        ],
        "`torch.log(prior_sd)` needs a tensor, and prior_sd may be a number. Take the logarithm of the quotient, "
        "`torch.log(sigma / prior_sd)`.": [
            _kl_log_of(torch.log),
            lambda mu, sigma, prior_sd: sigma.log() - prior_sd.log(),
        ],
        "`math.log` takes one number, and prior_sd may be (D,). Use the logarithm of a tensor, "
        "`torch.log(sigma / prior_sd)`.": [
            _kl_log_of(math.log),
            lambda mu, sigma, prior_sd: math.log(sigma / prior_sd),
        ],
    }
)


# Section 9: the loss of a batch -------------------------------------------------------------------------------


_ELBO_NAMES = ("its gradient with respect to mu", "its gradient with respect to log_sigma")


def _elbo_and_slopes(attempt, mu, log_sigma, noise, log_likelihood, kl, batches):
    """The loss, and what reaches mu and log_sigma through w and through kl."""
    learned = mu.clone().requires_grad_(), log_sigma.clone().requires_grad_()
    divergence = kl(*learned) if callable(kl) else kl
    value = attempt(*learned, noise, log_likelihood, divergence, batches)
    if isinstance(value, float):
        value = torch.tensor(value, dtype=torch.float64)
    if not isinstance(value, Tensor):
        return value
    slopes = _kl_slopes(value, learned)
    return {"the loss": value.detach()} | {
        name: torch.zeros_like(one) if slope is None else slope
        for name, slope, one in zip(_ELBO_NAMES, slopes, learned, strict=True)
    }


_ELBO_KL = NamedFunction(
    "KL(q‖N(0, 1)), a tensor made from mu and log_sigma",
    lambda mu, log_sigma: ((mu**2 + (2 * log_sigma).exp() - 1) / 2 - log_sigma).sum(),
)


def _elbo_line(x, y):
    """The log-likelihood of targets y (B,) as a function of weights, the inputs being x (B, D)."""
    return NamedFunction(f"−½ (y − x·w)² of {len(y)} examples", lambda w: -((y.to(w) - x.to(w) @ w) ** 2) / 2)


def _elbo_case(D, B, batches, seed, dtype=torch.float32, **changed):
    numbers = {
        name: 0.7 * normal(D, seed=seed + step, dtype=dtype)
        for step, name in enumerate(("mu", "log_sigma", "noise"))
    } | changed
    likelihood = _elbo_line(normal(B, D, seed=seed + 3), 2 + normal(B, seed=seed + 4))
    return (*numbers.values(), likelihood, _ELBO_KL, batches)


@lesson.exercise(
    observe=_elbo_and_slopes,
    cases={
        "one weight, one example": (
            torch.tensor([0.0]),
            torch.tensor([0.0]),
            torch.tensor([1.0]),
            _elbo_line(torch.tensor([[1.0]]), torch.tensor([3.0])),
            torch.tensor(1.0),
            2,
        ),
        "two examples, sigma = e": (
            torch.tensor([1.0]),
            torch.tensor([1.0]),
            torch.tensor([-1.0]),
            _elbo_line(torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 1.0])),
            torch.tensor(6.0),
            3,
        ),
        "an ordinary batch": _elbo_case(3, 5, 4, seed=0),
        "all data in one batch": _elbo_case(2, 4, 1, seed=10),
        "as many batches as examples in one": _elbo_case(2, 5, 5, seed=20),
        "as many weights as examples": _elbo_case(4, 4, 10, seed=30),
        "as many batches as weights": _elbo_case(3, 2, 3, seed=40),
        "noise of zeros": _elbo_case(3, 6, 2, seed=50, noise=torch.zeros(3)),
        "a batch of one": _elbo_case(4, 1, 7, seed=50),
        "float64 numbers": _elbo_case(6, 3, 8, seed=70, dtype=torch.float64),
    },
    hints=[
        "The likelihood of a batch is that of its own examples; the KL belongs to all data. Which of the two has to be "
        "shared among the batches, so that the losses add up?",
        "sigma is `log_sigma.exp()`, and w = mu + sigma·noise: gradients flow through both. No draw of your own is "
        "needed.",
        "`kl / batches - log_likelihood(w).sum()`",
    ],
)
def elbo_loss(mu, log_sigma, noise, log_likelihood, kl, batches):
    """Return the loss of one of `batches` batches: minus its share of the ELBO, one number, a tensor.

    The weights are w = mu + sigma·noise, with noise (D,) from N(0, 1). log_likelihood(w) returns ln p(y|x, w) of each
    example of the batch (B,). kl is KL(q‖prior) of all weights, a tensor of one number; the losses of all batches must
    add up to minus the ELBO of all data. Gradients flow to mu and to log_sigma.
    """
    w = mu + log_sigma.exp() * noise
    return kl / batches - log_likelihood(w).sum()


def _elbo(
    width=torch.exp,
    draw=lambda mu, sigma, noise: mu + sigma * noise,
    share=lambda kl, batches, B: kl / batches,
    fit=lambda likelihoods, batches: likelihoods.sum(),
    loss=lambda share, fit: share - fit,
):
    def attempt(mu, log_sigma, noise, log_likelihood, kl, batches):
        likelihoods = log_likelihood(draw(mu, width(log_sigma), noise))
        return loss(share(kl, batches, len(likelihoods)), fit(likelihoods, batches))

    return attempt


_ELBO_SHARES = {
    "The KL is not divided by `batches`, so that all losses together count it that many times: `kl / batches`.": {
        "share": lambda kl, batches, B: kl
    },
    "The KL is multiplied by `batches`. Each batch bears its share only: `kl / batches`.": {
        "share": lambda kl, batches, B: kl * batches
    },
    "The KL is divided by the number of examples, B. The share of a batch is `kl / batches`.": {
        "share": lambda kl, batches, B: kl / B
    },
    "The KL is divided by all examples, batches · B, while the likelihood is a sum. Divide it by `batches` "
    "alone.": {"share": lambda kl, batches, B: kl / (batches * B)},
    "The KL is missing. Add the share of this batch, `kl / batches`.": {"share": lambda kl, batches, B: 0.0},
}
_ELBO_FITS = {
    "The likelihoods are averaged, while the KL is a sum. Add them up: `log_likelihood(w).sum()`.": {
        "fit": lambda likelihoods, batches: likelihoods.mean()
    },
    "The likelihood is divided by `batches` as well. It is that of this batch's own examples already: divide the KL "
    "only.": {"fit": lambda likelihoods, batches: likelihoods.sum() / batches},
    "The likelihood is multiplied by `batches`, to stand for all data. This loss is one share: leave it a sum.": {
        "fit": lambda likelihoods, batches: likelihoods.sum() * batches
    },
    "There is a loss for each example, (B,). Add up the likelihoods: `log_likelihood(w).sum()`.": {
        "fit": lambda likelihoods, batches: likelihoods
    },
}
_ELBO_SIGNS = {
    "This is the ELBO itself, which is to grow. A loss is to fall: return minus it.": {
        "loss": lambda share, fit: fit - share
    },
    "The log-likelihood has the wrong sign: the loss falls where the data become likelier. Subtract it.": {
        "loss": lambda share, fit: share + fit
    },
    "The KL has the wrong sign: in the loss it is added, so that q stays near the prior.": {
        "loss": lambda share, fit: -share - fit
    },
}
_ELBO_WIDTHS = {
    "log_sigma is used as sigma. Take its exponential first: `log_sigma.exp()`.": {"width": lambda a: a},
    "exp(½·log_sigma) is for ln σ². Here the argument is ln σ: `log_sigma.exp()`.": {
        "width": lambda a: (a / 2).exp()
    },
    "The noise is multiplied by the variance σ². Use sigma, `log_sigma.exp()`.": {
        "width": lambda a: (2 * a).exp()
    },
    "The noise is not multiplied by sigma: w = mu + `log_sigma.exp()` · noise.": {"width": torch.ones_like},
    "No gradient of the likelihood reaches log_sigma. Leave out `detach`, `.data` and `no_grad` around "
    "sigma.": {"width": lambda a: a.detach().exp()},
}
_ELBO_DRAWS = {
    "The noise is not used: w is the mean of q, and log_sigma learns nothing from the data. "
    "w = mu + sigma·noise.": {"draw": lambda mu, sigma, noise: mu},
    "sigma is added without the noise: w = mu + sigma·noise.": {"draw": lambda mu, sigma, noise: mu + sigma},
    "mu is missing in w: w = mu + sigma·noise.": {"draw": lambda mu, sigma, noise: sigma * noise},
    "mu and sigma are swapped: w = mu + sigma·noise.": {"draw": lambda mu, sigma, noise: sigma + mu * noise},
    "The noise is subtracted: w = mu + sigma·noise.": {"draw": lambda mu, sigma, noise: mu - sigma * noise},
    "No gradient of the likelihood reaches mu. Leave out `detach`, `.data` and `no_grad` around mu.": {
        "draw": lambda mu, sigma, noise: mu.detach() + sigma * noise
    },
    "No gradient of the likelihood reaches mu or log_sigma. Leave out `detach`, `.data`, `.item()` and `no_grad` "
    "around w and its likelihood.": {"draw": lambda mu, sigma, noise: (mu + sigma * noise).detach()},
}
elbo_loss.slips(_elbo, _ELBO_SHARES, _ELBO_FITS, _ELBO_SIGNS, _ELBO_WIDTHS, _ELBO_DRAWS)
elbo_loss.pairs_of_slips(_elbo, dict([*_ELBO_SHARES.items()][:1]), dict([*_ELBO_FITS.items()][:2]))
elbo_loss.pairs_of_slips(_elbo, _ELBO_SIGNS, dict([*_ELBO_SHARES.items()][:2]))
elbo_loss.pairs_of_slips(_elbo, dict([*_ELBO_SIGNS.items()][2:]), dict([*_ELBO_DRAWS.items()][-1:]))
elbo_loss.pairs_of_slips(
    _elbo, dict([*_ELBO_SHARES.items()][:1]) | dict([*_ELBO_FITS.items()][:1]), _ELBO_WIDTHS
)
elbo_loss.mistakes(
    {
        "All is multiplied by `batches`, which estimates the loss of all data at once. One batch bears its share: "
        "`kl / batches`, and the plain sum of its likelihoods.": {
            "kl / batches - log_likelihood(w).sum()": "kl - batches * log_likelihood(w).sum()"
        },
        "This is the loss per example: the whole is divided by B. Here the losses of all batches must add up to minus "
        "the ELBO, so leave sums.": {
            "kl / batches - log_likelihood(w).sum()": "kl / batches / len(log_likelihood(w)) - log_likelihood(w).mean()"
        },
        "Fresh noise is drawn here. Use the noise that was handed in: w = mu + sigma·noise.": [
            {"* noise\n": "* torch.randn_like(mu)\n"},
            {"* noise\n": "* torch.randn(len(mu))\n"},
            {"mu + log_sigma.exp() * noise": "torch.distributions.Normal(mu, log_sigma.exp()).rsample()"},
            {"mu + log_sigma.exp() * noise": "torch.normal(mu, log_sigma.exp())"},
            {"mu + log_sigma.exp() * noise": "torch.distributions.Normal(mu, log_sigma.exp()).sample()"},
        ],
        "No gradient reaches mu and log_sigma at all. Return the loss as a tensor that remembers its computation: no "
        "`.item()`, `float`, `.detach()` or `no_grad()`.": [
            {".sum()": ".sum()).item()", "kl / batches": "(kl / batches"},
            {".sum()": ".sum()).detach()", "kl / batches": "(kl / batches"},
        ],
        "The gradient of the KL is lost: `kl` became a plain number. Use it as it is.": [
            {"kl / batches": "float(kl) / batches"},
            {"kl / batches": "torch.tensor(kl) / batches"},
            {"kl / batches": "torch.as_tensor(kl).detach() / batches"},
            {"kl / batches": "kl.item() / batches"},
            {"kl / batches": "kl.detach() / batches"},
        ],
        "`log_likelihood` takes the weights alone. Draw them first, w = mu + sigma·noise, and pass w.": [
            {"log_likelihood(w)": "log_likelihood(mu, log_sigma)"},
            {"log_likelihood(w)": "log_likelihood(mu, log_sigma.exp())"},
        ],
        "Several values came back. Return the loss alone, one number.": [
            {"return kl": "return log_likelihood(w).sum(), kl"},
            {"return kl / batches - log_likelihood(w).sum()": "return kl / batches, log_likelihood(w).sum()"},
            {"log_likelihood(w).sum()": "log_likelihood(w).sum(), w"},
        ],
        "`backward()` is called inside. Return the loss only: the training loop calls `backward()` on it.": {
            "    return kl / batches - log_likelihood(w).sum()": "    loss = kl / batches - log_likelihood(w).sum()\n"
            "    loss.backward()\n    return loss"
        },
        "`log_likelihood(w)` is a logarithm already. Do not take another: `log_likelihood(w).sum()`.": {
            "log_likelihood(w)": "log_likelihood(w).log()"
        },
        "The likelihoods are added before the logarithm. Examples are independent, so their logarithms add up: "
        "`log_likelihood(w).sum()`.": [
            {"log_likelihood(w).sum()": "log_likelihood(w).exp().sum().log()"},
            {"log_likelihood(w).sum()": "log_likelihood(w).logsumexp(dim=0)"},
        ],
    }
)


# Section 11: dropout left on ----------------------------------------------------------------------------------


_MC_AT_MOST = 9  # different predictions of one example that are told apart


class _MCBranches(nn.Module):
    """A network that is no Sequential: dropout sits two levels deep."""

    def __init__(self, first, block, last):
        super().__init__()
        self.first, self.block, self.last = first, block, last

    def forward(self, x):
        return self.last(self.block(torch.tanh(self.first(x))))


def _mc_fixed(model, seed=0, mode=True):
    """The model with weights and running statistics of a fixed kind, neither those of its class nor of a batch."""
    for step, parameter in enumerate(model.parameters()):
        parameter.data = 0.7 * normal(*parameter.shape, seed=seed + step)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean += 0.6
            module.running_var *= 2.5
            module.weight.data = 1 + module.weight.data.abs()
    return model.train(mode)


def _mc_frozen_norm(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    return model


def _mc_unit(p=0.5):
    """One linear layer behind dropout, with weights that can be checked in the head."""
    model = nn.Sequential(nn.Dropout(p), nn.Linear(1, 2))
    model[1].weight.data, model[1].bias.data = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    return model


def _mc_normed(p, D=2, C=2, hidden=2):
    return nn.Sequential(nn.Linear(D, hidden), nn.BatchNorm1d(hidden), nn.Dropout(p), nn.Linear(hidden, C))


def _mc_nested(p, D=2, C=2):
    inner = nn.Sequential(nn.Dropout(p), nn.Linear(2, 2), nn.Tanh())
    return nn.Sequential(nn.Linear(D, 2), nn.Sequential(inner, nn.BatchNorm1d(2)), nn.Linear(2, C))


def _mc_distinct(rows):
    """The rows that differ, sorted; words where they are many."""
    found, left = [], rows.detach().double()
    while len(left):
        if len(found) == _MC_AT_MOST:
            return f"more than {_MC_AT_MOST} different ones"
        found.append(left[0])
        left = left[~torch.isclose(left, left[0], rtol=1e-4, atol=1e-5, equal_nan=True).all(dim=1)]
    found.sort(key=Tensor.tolist)
    return torch.stack(found)


def _mc_modes(before, model):
    now = [module.training for module in model.modules()]
    if now == before:
        return "as found"
    if len(set(now)) == 1:
        return "all in train mode" if now[0] else "all in eval mode"
    dropping = [isinstance(module, nn.modules.dropout._DropoutNd) for module in model.modules()]
    return "dropout in train mode, the others in eval mode" if now == dropping else "mixed up"


def _mc_is_random(model):
    return any(getattr(module, "p", 0) > 0 for module in model.modules())


def _mc_occurring(result, model, plain, once_more):
    """For each example its different predictions over the passes, or in words what they have in common."""
    seen = [_mc_distinct(result[:, n]) for n in range(result.shape[1])]
    if not _mc_is_random(model) or any(isinstance(one, str) or len(one) > 1 for one in seen):
        return seen
    if torch.allclose(result[0].double(), plain.double(), rtol=1e-4, atol=1e-5):
        return "in all passes that of eval mode"
    return f"the same in all passes{', and in every call' if torch.equal(once_more(), result) else ''}"


def _mc_share_masks(result):
    """Whether the prediction of one example tells that of the next, in every pass."""
    one, other = result[:, 0].round(decimals=3), result[:, 1].round(decimals=3)
    both = torch.cat([one, other], dim=1).unique(dim=0)
    return 1 < len(one.unique(dim=0)) == len(both) == len(other.unique(dim=0))


def _mc_facts(attempt, model, x, passes):
    """What can be seen of the predictions and of the model, whatever masks were drawn."""
    used, modes = copy.deepcopy(model), {module: module.training for module in model.modules()}
    result = attempt(used, x, passes)
    if result is None:
        return None
    facts = {"the shape": "", "the predictions that occur": "", "examples of one pass": "drop separately"}
    facts["the layers afterwards"] = _mc_modes([*modes.values()], used)
    same = all(torch.equal(one, used.state_dict()[name]) for name, one in model.state_dict().items())
    facts["weights and running statistics"] = "as found" if same else "changed"
    if not isinstance(result, Tensor):
        parts = (
            ", ".join(type(one).__name__ for one in result[:2]) if isinstance(result, tuple | list) else ""
        )
        return facts | {"the shape": f"none: {type(result).__name__} {parts}".strip()}
    with torch.no_grad():
        result, plain = result.detach(), model.eval()(x).softmax(dim=1)
        _mc_as_found(model, modes)
    facts["the shape"] = str(tuple(result.shape))
    if result.shape != (passes, *plain.shape):
        return facts | {"the predictions that occur": result}
    if len(x) > 1 and _mc_is_random(model) and _mc_share_masks(result):
        facts["examples of one pass"] = "share a mask"
    return facts | {
        "the predictions that occur": _mc_occurring(
            result, model, plain, lambda: attempt(copy.deepcopy(model), x, passes)
        )
    }


@lesson.exercise(
    observe=_mc_facts,
    cases={
        "one unit, dropped or doubled": (_mc_unit(), torch.tensor([[1.0]]), 50),
        "dropout with p = 0": (_mc_fixed(_mc_normed(0.0, C=3)), normal(3, 2), 3),
        "p = 0, a single pass": (_mc_fixed(_mc_nested(0.0, C=4), mode=False), normal(2, 2, seed=1), 1),
        "batch normalization": (_mc_fixed(_mc_normed(0.5), seed=5), normal(3, 2, seed=3), 50),
        "nested layers, in eval mode": (
            _mc_fixed(_mc_nested(0.5), seed=9, mode=False),
            normal(2, 2, seed=4),
            50,
        ),
        "one example, in train mode": (_mc_fixed(_mc_nested(0.5), seed=20), normal(1, 2, seed=5), 50),
        "a frozen batch normalization": (
            _mc_frozen_norm(_mc_fixed(_mc_nested(0.5, C=3), seed=30)),
            normal(3, 2, seed=6),
            50,
        ),
        "two layers of dropout, p = 0.4 and 0.5": (
            _mc_fixed(
                nn.Sequential(nn.Dropout(0.4), nn.Linear(1, 1), nn.Dropout(0.5), nn.Linear(1, 3)), seed=40
            ),
            normal(2, 1, seed=7) + 1.5,
            60,
        ),
        "a network of its own class": (
            _mc_fixed(
                _MCBranches(
                    nn.Linear(3, 2),
                    nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.Dropout(0.5))),
                    nn.Linear(2, 2),
                ),
                seed=50,
            ),
            normal(2, 3, seed=8),
            50,
        ),
        "images": (
            _mc_fixed(
                nn.Sequential(
                    nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(2, 3)
                ),
                seed=50,
                mode=False,
            ),
            normal(2, 1, 2, 2, seed=9),
            50,
        ),
    },
    hints=[
        "`model.eval()` switches dropout off along with all else. Which layers do you then have to switch back on?",
        "`model.modules()` goes through all layers, nested ones too; each has its own `training` and `train()`. "
        "Keep all values of `training` before you begin.",
        "`torch.stack([model(x).softmax(dim=1) for _ in range(passes)])` in `torch.no_grad()`, then `module.training = "
        "mode` for each module and the mode you kept.",
    ],
)
def mc_dropout(model, x, passes):
    """Return the probabilities (passes, N, C) of `passes` predictions for x (N, ...) with dropout left on.

    `model` returns logits (N, C), with its dropout layers, of whatever kind, left on. All other layers predict as in
    eval mode; no gradient is needed. Afterwards every layer is in the mode in which it was found.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for module in modes:
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.train()
    with torch.no_grad():
        probabilities = torch.stack([model(x).softmax(dim=1) for _ in range(passes)])
    for module, mode in modes.items():
        module.training = mode
    return probabilities


@mc_dropout.remark(
    "A remark: other kinds of dropout, such as `nn.Dropout2d` or `nn.AlphaDropout`, stay off with your test. All of "
    "them are instances of `nn.modules.dropout._DropoutNd`."
)
def _(attempt):
    def stays_off(dropout, x):
        passes = attempt(nn.Sequential(dropout, nn.Flatten()), x, 50)
        return bool((passes == passes[0]).all())

    kinds = (nn.Dropout2d(), torch.ones(1, 2, 1, 1)), (nn.AlphaDropout(), torch.tensor([[1.0, 2.0]]))
    return any(stays_off(*one) for one in kinds)


@mc_dropout.remark(
    "A remark: a seed is set inside, so a second call draws the same masks, and so does whatever draws random numbers "
    "afterwards. Leave the seed to the caller."
)
def _(attempt):
    torch.manual_seed(1)
    one = attempt(nn.Sequential(nn.Dropout(), nn.Flatten()), torch.ones(1, 4), 40)
    torch.manual_seed(2)
    return torch.equal(one, attempt(nn.Sequential(nn.Dropout(), nn.Flatten()), torch.ones(1, 4), 40))


def _mc_dropouts(model):
    return [module for module in model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]


def _mc_only_dropout(model):
    model.eval()
    for module in _mc_dropouts(model):
        module.train()


def _mc_top_level(model):
    model.eval()
    for module in model.children():
        if isinstance(module, nn.Dropout):
            module.train()


def _mc_by_iteration(model):
    model.eval()
    for module in model:
        if isinstance(module, nn.Dropout):
            module.train()


def _mc_without_eval(model):
    for module in _mc_dropouts(model):
        module.train()


def _mc_as_found(model, modes):
    for module, mode in modes.items():
        module.training = mode


def _mc_children_as_found(model, modes):
    for module in model.children():
        module.training = modes[module]
    model.training = modes[model]


def _mc_dropout_as_found(model, modes):
    for module in _mc_dropouts(model):
        module.training = modes[module]


def _mc_stacked(logits):
    return torch.stack(logits).softmax(dim=-1)


def _mc(
    before=_mc_only_dropout,
    once=lambda model, x: model(x),
    join=_mc_stacked,
    after=_mc_as_found,
    count=lambda passes: passes,
):
    def attempt(model, x, passes):
        modes = {module: module.training for module in model.modules()}
        before(model)
        with torch.no_grad():
            result = join([once(model, x) for _ in range(count(passes))])
        after(model, modes)
        return result

    return attempt


def _mc_seeded(model, x):
    torch.manual_seed(0)
    return model(x)


def _mc_one_pass_repeated(model, x, passes):
    modes = {module: module.training for module in model.modules()}
    _mc_only_dropout(model)
    with torch.no_grad():
        result = model(x).softmax(dim=1).expand(passes, -1, -1)
    _mc_as_found(model, modes)
    return result


def _mc_as_one_batch(interleaved):
    def attempt(model, x, passes):
        modes = {module: module.training for module in model.modules()}
        _mc_only_dropout(model)
        many = x.repeat_interleave(passes, dim=0) if interleaved else torch.cat([x] * passes)
        with torch.no_grad():
            result = model(many).softmax(dim=1)
        _mc_as_found(model, modes)
        return result.reshape(passes, len(x), -1) if interleaved else result.reshape(len(x), passes, -1)

    return attempt


_MC_RESULTS = {
    "These are logits. Apply the softmax over the classes.": {"join": torch.stack},
    "These are logarithms of probabilities: `softmax`, not `log_softmax`.": {
        "join": lambda logits: torch.stack(logits).log_softmax(dim=-1)
    },
    "The softmax runs over the examples. The classes are the last axis, `dim=1` of one pass.": {
        "join": lambda logits: torch.stack(logits).softmax(dim=1)
    },
    "The softmax runs over the passes. The classes are the last axis, `dim=-1` of the stack.": {
        "join": lambda logits: torch.stack(logits).softmax(dim=0)
    },
    "The softmax is applied twice. Once turns logits into probabilities.": {
        "join": lambda logits: _mc_stacked(logits).softmax(dim=-1)
    },
    "These are the predicted classes. Return the probabilities, (passes, N, C).": {
        "join": lambda logits: _mc_stacked(logits).argmax(dim=-1)
    },
    "The passes are averaged already. Return all of them, (passes, N, C).": {
        "join": lambda logits: _mc_stacked(logits).mean(dim=0)
    },
    "The logits are averaged over the passes, and the softmax comes after. Return the probabilities of all passes, "
    "(passes, N, C).": {"join": lambda logits: torch.stack(logits).mean(dim=0).softmax(dim=-1)},
    "Mean and spread of the passes came back. Return all passes, (passes, N, C).": {
        "join": lambda logits: (_mc_stacked(logits).mean(dim=0), _mc_stacked(logits).std(dim=0))
    },
    "Only the last pass came back. Collect all of them in a list and stack it.": {
        "join": lambda logits: logits[-1].softmax(dim=1)
    },
    "The passes are stacked along axis 1, (N, passes, C). They come first: `torch.stack(…)`, axis 0.": {
        "join": lambda logits: _mc_stacked(logits).transpose(0, 1)
    },
    "The passes are stacked along the last axis, (N, C, passes). They come first: `torch.stack(…)`, axis 0.": {
        "join": lambda logits: _mc_stacked(logits).permute(1, 2, 0)
    },
    "`cat` puts the passes below each other, (passes · N, C). `torch.stack` gives them an axis of their own.": {
        "join": lambda logits: torch.cat(logits).softmax(dim=1)
    },
    "A list came back. Make one tensor of it: `torch.stack`.": {
        "join": lambda logits: list(_mc_stacked(logits))
    },
    "This is a NumPy array. Return a tensor, from `torch.stack`.": {
        "join": lambda logits: _mc_stacked(logits).numpy()
    },
    "There is one pass too many: `range(passes)` has `passes` entries.": {"count": lambda passes: passes + 1},
}
_MC_WHOLE = (
    "The whole model is in train mode, so batch normalization uses this batch, and a batch of one fails. "
    "`model.eval()` first, then `train()` for the dropout layers only."
)
_MC_OFF = (
    "Dropout is off: in eval mode all passes are equal. After `model.eval()`, call `train()` on the dropout "
    "layers."
)
_MC_NOT_BACK = (
    "The layers are left as you set them: dropout in train mode, all others in eval mode. Put each back into the mode "
    "it had before."
)
_MC_MODES = {
    _MC_NOT_BACK: {"after": lambda model, modes: None},
    "Every layer is left in eval mode. Put each back into the mode it had before, not all into one.": {
        "after": lambda model, modes: model.eval()
    },
    "Every layer is left in train mode. Put each back into the mode it had before, not all into one.": {
        "after": lambda model, modes: model.train()
    },
    "All layers get back the mode of the model as a whole, but some had one of their own. Keep `training` of every "
    "module.": {"after": lambda model, modes: model.train(modes[model])},
    "Dropout is put back, but all other layers stay in eval mode. Keep `training` of every module before "
    "`model.eval()`.": {"after": _mc_dropout_as_found},
    "Only the layers at the top level get their mode back. `model.modules()` goes through the nested ones as well.": {
        "after": _mc_children_as_found
    },
}
_MC_STARTS = {
    _MC_WHOLE: {"before": lambda model: model.train()},
    _MC_OFF: {"before": lambda model: model.eval()},
    "The layers stay in the mode in which they were found. `model.eval()` first, then `train()` for the dropout "
    "layers.": {"before": lambda model: None},
    "`model.eval()` is missing: dropout is on, but the other layers stay as they were found, some in train mode.": {
        "before": _mc_without_eval
    },
    "Dropout inside nested layers stays off. `model.modules()` goes through all of them, `children()` only through the "
    "top level.": {"before": _mc_top_level},
}
mc_dropout.slips(_mc, _MC_RESULTS, _MC_MODES, _MC_STARTS)
_MC_PAIRED = {
    told: options
    for told, options in _MC_RESULTS.items()
    if told.startswith(("These are logits", "The passes are averaged", "The logits are averaged", "A list"))
}
_MC_SET = {told: options for told, options in _MC_STARTS.items() if "they were found. `model" not in told}
_MC_LEFT = {"The modes are not put back.": {"after": lambda model, modes: None}}
mc_dropout.pairs_of_slips(_mc, _MC_LEFT, _MC_PAIRED | _MC_SET)
mc_dropout.pairs_of_slips(
    _mc,
    {
        "The modes are not put back: all layers are left in train mode.": {
            "after": lambda model, modes: model.train()
        }
    },
    _MC_PAIRED,
)
mc_dropout.mistakes(
    {
        "Dropout inside nested layers stays off, and not every model can be looped over. `model.modules()` goes "
        "through all layers of any model.": _mc(before=_mc_by_iteration),
        "One pass is repeated, so that all are equal. Call `model(x)` anew for each pass: each draws its own "
        "masks.": _mc_one_pass_repeated,
        "A fixed seed is set before every pass, so all of them drop the same units. Leave the seed out.": (
            _mc(once=_mc_seeded)
        ),
        "Other predictions occur than the model's own dropout can make: does dropout fall on the logits? Leave the "
        "dropout layers of the model on.": [
            _mc(before=lambda model: model.eval(), once=lambda model, x: F.dropout(model(x))),
            _mc(
                before=lambda model: model.eval(),
                once=lambda model, x: F.dropout(model(x)),
                after=lambda model, modes: None,
            ),
        ],
        "Two slips. The whole model is in train mode, batch normalization too; and the modes are not put back.": _mc(
            before=lambda model: model.train(), after=lambda model, modes: model.eval()
        ),
        "Examples and passes are mixed up: `repeat_interleave` puts the copies of one example side by side. Reshape to "
        "(N, passes, C), then transpose, or repeat the whole batch.": _mc_as_one_batch(interleaved=True),
        "Examples and passes are mixed up, in shape (N, passes, C). Repeated batches are reshaped to "
        "(passes, N, C).": _mc_as_one_batch(interleaved=False),
        _MC_WHOLE: {"model.eval()": "model.train()"},
        _MC_OFF: {"            module.train()": "            module.eval()"},
        _MC_NOT_BACK: {"module.training = mode": "pass"},
    }
)


# Section 12: the calibration error ----------------------------------------------------------------------------


def _bets(confidences, right):
    """Two classes: probabilities and labels with such confidences, class 0 and 1 in turn, right or wrong."""
    predicted = torch.arange(len(right)) % 2
    confidence = torch.tensor(confidences)
    of_one = torch.where(predicted == 1, confidence, 1 - confidence)
    labels = torch.where(torch.tensor(right) == 1, predicted, 1 - predicted)
    return torch.stack([1 - of_one, of_one], dim=1), labels


def _forecasts(N, C, seed, scale=2.0, dtype=torch.float32):
    """Probabilities, and labels that are drawn from tamer ones."""
    logits = scale * normal(N, C, seed=seed, dtype=dtype)
    noise = torch.rand(N, C, generator=torch.Generator().manual_seed(seed + 1)).clamp(min=1e-6)
    return logits.softmax(dim=1), (logits / 1.5 - (-noise.log()).log()).argmax(dim=1)


def _error_observed(attempt, probabilities, labels, bins):
    return attempt(probabilities, labels) if bins == 10 else attempt(probabilities, labels, bins)


@lesson.exercise(
    cases={
        "two in one bin, one of them right": (
            torch.tensor([[0.85, 0.15], [0.15, 0.85]]),
            torch.tensor([0, 0]),
            10,
        ),
        "a confidence of exactly 1": (*_bets([1.0, 1.0, 1.0, 0.65], [1, 1, 0, 0]), 10),
        "perfectly calibrated": (*_bets([0.75] * 4 + [0.625] * 8, [1, 1, 1, 0] + [1] * 5 + [0] * 3), 10),
        "too sure here, too modest there": (*_bets([0.96, 0.93, 0.91, 0.62, 0.55], [0, 0, 1, 1, 1]), 10),
        "a single example": (torch.tensor([[0.13, 0.62, 0.25]]), torch.tensor([2]), 10),
        "as many examples as classes": (*_forecasts(4, 4, seed=10), 10),
        "one bin": (*_forecasts(9, 3, seed=20), 1),
        "5 bins": (*_forecasts(12, 4, seed=30), 5),
        "15 bins": (*_forecasts(20, 3, seed=40), 15),
        "low confidences": (*_forecasts(25, 8, seed=50, scale=0.4), 5),
        "sixty examples": (*_forecasts(60, 5, seed=60), 10),
        "float64 numbers": (*_forecasts(30, 3, seed=70, dtype=torch.float64), 10),
    },
    hints=[
        "`confidence, predicted = probabilities.max(dim=1)`. In which bin is a confidence, and where does 1.0 belong?",
        "With weights n_b / N, the error is Σ_b |number right − sum of confidences| / N: an empty bin gives 0.",
        "`number = (confidence * bins).long().clamp(max=bins - 1)`, then for each b: `(right - confidence)[number == "
        "b].sum().abs()`.",
    ],
    observe=_error_observed,
)
def calibration_error(probabilities, labels, bins=10):
    """Return the expected calibration error, a number, of probabilities (N, C) for labels (N,).

    The confidence is the largest probability. It falls into one of `bins` bins of equal width from 0 to 1; the error
    is the mean of |accuracy − mean confidence| over the bins, weighted by the number of examples in each.
    """
    confidence, predicted = probabilities.max(dim=1)
    right = (predicted == labels).float()
    number = (confidence * bins).long().clamp(max=bins - 1)  # 1.0 belongs to the last bin
    gaps = [(right - confidence)[number == b].sum().abs() for b in range(bins)]
    return sum(gaps).item() / len(labels)


def _error_number(confidence, bins):
    return (confidence * bins).long().clamp(max=bins - 1)


def _error_of_bins(gap, weigh):
    """From the accuracies, mean confidences and counts of the bins that are not empty."""

    def combine(right, confidence, number, bins):
        masks = [mask for b in range(bins) if (mask := number == b).any()]
        if not masks:
            return torch.zeros(())
        gaps = torch.stack([gap(right[mask].mean(), confidence[mask].mean()) for mask in masks])
        return weigh(gaps, torch.stack([mask.sum() for mask in masks]), bins)

    return combine


def _error_gap(accuracy, confidence):
    return (accuracy - confidence).abs()


def _error_weighted(gaps, counts, bins):
    return (gaps * counts).sum() / counts.sum()


def _error_combined(right, confidence, number, bins):
    return _error_of_bins(_error_gap, _error_weighted)(right, confidence, number, bins)


def _calibration(
    confident=lambda p, y: p.amax(dim=1),
    correct=lambda p, y: p.argmax(dim=1) == y,
    number=_error_number,
    combine=_error_combined,
    bins_used=lambda bins: bins,
):
    """The calibration error, with what can go wrong as arguments."""

    def attempt(probabilities, labels, bins=10):
        bins = bins_used(bins)
        confidence, right = confident(probabilities, labels), correct(probabilities, labels).float()
        return combine(right, confidence, number(confidence, bins), bins)

    return attempt


def _error_with_empty(right, confidence, number, bins):
    masks = [number == b for b in range(bins)]
    gaps = torch.stack([(right[mask].mean() - confidence[mask].mean()).abs() for mask in masks])
    counts = torch.stack([mask.sum() for mask in masks])
    return (gaps * counts).sum() / counts.sum()


def _error_of_equal_counts(cut):
    def attempt(probabilities, labels, bins=10):
        confidence, predicted = probabilities.max(dim=1)
        gap = ((predicted == labels).float() - confidence)[confidence.argsort()]
        return sum(part.sum().abs() for part in cut(gap, bins)) / len(labels)

    return attempt


def _error_from_midpoints(right, confidence, number, bins):
    return sum((right - (b + 0.5) / bins)[number == b].sum().abs() for b in range(bins)) / len(right)


def _error_per_bin(right, confidence, number, bins):
    return torch.stack([(right - confidence)[number == b].sum().abs() / len(right) for b in range(bins)])


def _error_without(first, last):
    def combine(right, confidence, number, bins):
        gaps = [(right - confidence)[number == b].sum().abs() for b in range(first, bins - last)]
        return sum(gaps, torch.zeros(())) / len(right)

    return combine


def _error_of_counted(right, confidence, number, bins):
    """Divided by those that are in a bin."""
    kept = number < bins
    return sum((right - confidence)[number == b].sum().abs() for b in range(bins)) / kept.sum()


def _error_of_all_classes(number):
    def attempt(probabilities, labels, bins=10):
        one_hot = F.one_hot(labels, probabilities.shape[1]).float()
        p, hit = probabilities.flatten(), one_hot.flatten()
        return sum((hit - p)[number(p, bins) == b].sum().abs() for b in range(bins)) / len(p)

    return attempt


def _error_indexed(start):
    """The bin number is an index into sums for each bin."""

    def attempt(probabilities, labels, bins=10):
        sums = start(bins)
        for number in (probabilities.amax(dim=1) * bins).long():
            sums[number] += 1
        return calibration_error.reference(probabilities, labels, bins)

    return attempt


def _error_stretched(low, high):
    def number(confidence, bins):
        least, width = low(confidence), (high(confidence) - low(confidence)).clamp(min=1e-9)
        return _error_number((confidence - least) / width, bins)

    return number


_CONFIDENCE = {
    "The confidence here is the probability of the label. It is the largest one, `probabilities.max(dim=1)`.": {
        "confident": lambda p, y: p.gather(1, y[:, None]).squeeze(1)
    },
    "The confidence here is the probability of class 1. It is the largest one, `probabilities.max(dim=1)`.": {
        "confident": lambda p, y: p[:, 1]
    },
    "An example counts as right where it is wrong. Compare with `==`.": {
        "correct": lambda p, y: p.argmax(dim=1) != y
    },
    "`bins` is ignored, and there are always 10. Use the argument.": {"bins_used": lambda bins: 10},
    "There is one bin too many. Their number is `bins`; `linspace` takes `bins + 1` edges.": {
        "bins_used": lambda bins: bins + 1
    },
    "There is one bin too few. Their number is `bins`; `linspace` takes `bins + 1` edges.": {
        "bins_used": lambda bins: bins - 1
    },
}
_GAPS = {
    "All bins count alike here. Weight each by its share of the examples, n_b / N.": {
        "combine": _error_of_bins(_error_gap, lambda gaps, counts, bins: gaps.mean())
    },
    "You add up the bins and divide by their number, empty ones included. Weight each by n_b / N.": {
        "combine": _error_of_bins(_error_gap, lambda gaps, counts, bins: gaps.sum() / bins)
    },
    "The gaps are added up without weights. Weight each bin by n_b / N.": {
        "combine": _error_of_bins(_error_gap, lambda gaps, counts, bins: gaps.sum())
    },
    "An empty bin has no mean: 0 / 0 is nan. Leave empty bins out.": {"combine": _error_with_empty},
    "The gaps are squared here. Take |accuracy − mean confidence|.": {
        "combine": _error_of_bins(lambda one, other: (one - other).square(), _error_weighted)
    },
    "This is the root of the mean squared gap. Take the mean of |accuracy − mean confidence|.": {
        "combine": _error_of_bins(
            lambda one, other: (one - other).square(), lambda *all_: _error_weighted(*all_).sqrt()
        )
    },
    "Gaps of opposite signs cancel, as if there were a single bin. Make `bins` of them, and take `abs` in each before "
    "you add them up.": {
        "combine": _error_of_bins(lambda one, other: one - other, lambda *all_: _error_weighted(*all_).abs())
    },
    "`abs` is missing: gaps of opposite signs cancel. Take it in each bin.": {
        "combine": _error_of_bins(lambda one, other: one - other, _error_weighted)
    },
    "`abs` is missing: gaps of opposite signs cancel, and confidence − accuracy may be negative. Take it in each "
    "bin.": {"combine": _error_of_bins(lambda one, other: other - one, _error_weighted)},
    "This is the largest gap of all bins, the maximum calibration error. Take the weighted mean.": {
        "combine": _error_of_bins(_error_gap, lambda gaps, counts, bins: gaps.max())
    },
    "The absolute value is taken for each example. Average within a bin first, then take `abs`.": {
        "combine": lambda right, confidence, number, bins: (right - confidence).abs().mean()
    },
    "Each bin's confidence is the middle of the bin here. Take the mean of the confidences in it.": {
        "combine": _error_from_midpoints
    },
    "These are the bins' shares, one number for each bin. Add them up.": {"combine": _error_per_bin},
    "The sums of the bins are not divided by the number of examples. Divide by N.": {
        "combine": lambda right, *others: _error_per_bin(right, *others).sum() * len(right)
    },
    "The sums of the bins are divided by their number. Divide by N, the number of examples.": {
        "combine": lambda right, confidence, number, bins: (
            _error_per_bin(right, confidence, number, bins).sum() * len(right) / bins
        )
    },
    "The accuracy is that of all examples. Compare that of each bin with its mean confidence.": {
        "combine": lambda right, *others: _error_combined(right.mean().expand(len(right)), *others)
    },
    "Only the first bin is counted: is `return` inside the loop?": {
        "combine": lambda right, confidence, number, bins: (
            (right - confidence)[number == 0].sum().abs() / len(right)
        )
    },
    "The sum in a bin is weighted by n_b once more. Use the bin's means with n_b / N, or its sums with 1 / N.": {
        "combine": _error_of_bins(
            _error_gap, lambda gaps, counts, bins: (gaps * counts**2).sum() / counts.sum()
        )
    },
    "The first bin is left out. Begin at 0: a confidence may be low where there are many classes.": {
        "combine": _error_without(1, 0)
    },
    "The last bin is left out. Bins go from 0 to bins − 1: `range(bins)`.": {"combine": _error_without(0, 1)},
    "This is the accuracy. Compare it with the mean confidence in each bin.": {
        "combine": lambda right, *others: right.mean()
    },
    "This is the fraction of wrong answers. Compare accuracy and mean confidence in each bin.": {
        "combine": lambda right, *others: 1 - right.mean()
    },
}
calibration_error.slips(_calibration, _GAPS, _CONFIDENCE)
calibration_error.mistakes(
    {
        "A confidence of exactly 1 is in no bin: its number would be `bins`. Put it in the last one, with "
        "`clamp(max=bins - 1)`, or with edges low < confidence ≤ high.": [
            {".clamp(max=bins - 1)": ""},
            _calibration(number=lambda c, bins: (c * bins).long(), combine=_error_of_counted),
        ],
        "A confidence of exactly 1 gets a bin number past the end. Put it in the last bin: `clamp(max=bins - 1)`.": [
            _error_indexed(lambda bins: torch.zeros(bins)),
            _error_indexed(lambda bins: [0.0] * bins),
            lambda p, y, bins=10: (
                torch.zeros(bins)
                .index_add(
                    0, (p.amax(1) * bins).long(), ((p.argmax(1) == y).float() - p.amax(1)).float() / len(y)
                )
                .abs()
                .sum()
            ),
        ],
        "The bins hold equally many examples here. Make them of equal width, 1 / bins, from 0 to 1.": [
            _error_of_equal_counts(torch.tensor_split),
            _error_of_equal_counts(torch.chunk),
        ],
        "The bin is found by rounding, so all edges move by half a bin. Round down: `(confidence * bins).long()`.": [
            _calibration(number=lambda c, bins: (c * bins).round().clamp(max=bins - 1)),
            _calibration(
                number=lambda c, bins: (c * bins).round(),
                combine=lambda r, c, n, bins: _error_combined(r, c, n, bins + 1),
            ),
        ],
        "The bins begin at the smallest confidence, or end at the largest. They go from 0 to 1, whatever arrives.": [
            _calibration(number=_error_stretched(Tensor.amin, Tensor.amax)),
            _calibration(number=_error_stretched(Tensor.amin, lambda c: torch.ones(()))),
            _calibration(number=_error_stretched(lambda c: torch.zeros(()), Tensor.amax)),
        ],
        "The maximum goes over axis 0, the examples. The classes are axis 1: `probabilities.max(dim=1)`.": [
            {"max(dim=1)": "max(dim=0)"},
            _calibration(confident=lambda p, y: p.amax(dim=0)),
            _calibration(correct=lambda p, y: p.argmax(dim=0) == y),
        ],
        "Every class of every example is binned. Only the largest probability counts, `probabilities.max(dim=1)`.": [
            _error_of_all_classes(_error_number),
            _error_of_all_classes(lambda p, bins: (p * bins).ceil() - 1),  # 0 is in no bin
        ],
        "The confidence here is the probability of the label, and the prediction is not looked at. Compare "
        "`argmax` with the label; the confidence is the maximum.": _calibration(
            confident=lambda p, y: p.gather(1, y[:, None]).squeeze(1),
            correct=lambda p, y: torch.ones(len(y), dtype=torch.bool),
        ),
        "A softmax is applied to what are probabilities already. Take them as they arrive.": (
            lambda p, y, bins=10: calibration_error.reference(p.softmax(dim=1), y, bins)
        ),
    }
)
calibration_error.pairs_of_slips(
    _calibration,
    {"`bins` is ignored.": {"bins_used": lambda bins: 10}},
    {
        "The sums of the bins are not divided by N.": _GAPS[
            next(one for one in _GAPS if "not divided by" in one)
        ]
    },
)
_IN_BINS = [one for one in list(_GAPS)[:5] if "cancel" not in one]
calibration_error.pairs_of_slips(
    _calibration,
    {one: _GAPS[one] for one in _IN_BINS},
    {one: _CONFIDENCE[one] for one in list(_CONFIDENCE)[:1]},
)


# Section 13: sets that cover each kind of jet -----------------------------------------------------------------


KINDS = len(data.JETS)
COVERAGE, SIZE = (0.865, 0.935), 2.2
EXACT = 0.004  # how far fractions of one part may lie apart, if thresholds were set on it: a few jets of 700


@functools.cache
def _jet_sets_scaling():
    """Mean and standard deviation of the training jets (15,), with which the lesson standardizes."""
    x = data.jets().train.x
    return x.mean(dim=0), x.std(dim=0)


@functools.cache
def _jet_sets_part(name):
    """The train, valid or test jets, standardized as in the lesson."""
    mean, std = _jet_sets_scaling()
    part = getattr(data.jets(), name)
    return data.Split((part.x - mean) / std, part.y)


def _jet_sets_kept_back():
    return _jet_sets_part("test")


def _kinds_covered(sets, y):
    """Of the jets of each kind, the fraction with their kind in their set (5,)."""
    covered = sets.gather(1, y.unsqueeze(1))[:, 0].double()
    return torch.stack([covered[y == kind].mean() for kind in range(KINDS)])


class _Covered:
    """What sets (N, 5) are like, beside the kinds y (N,) of their jets."""

    def __init__(self, sets, y):
        self.sets, self.y = sets, y
        self.kinds = _kinds_covered(sets, y)
        self.all = sets.gather(1, y.unsqueeze(1)).double().mean().item()
        self.sizes = sets.sum(dim=1)
        self.size, self.empty = self.sizes.double().mean().item(), (self.sizes == 0).double().mean().item()
        self.spread = (self.kinds.max() - self.kinds.min()).item()
        self.over_chance = self.all - self.size / KINDS

    def right(self):
        """Whether every kind is covered as often as it should be."""
        return bool(((self.kinds >= COVERAGE[0]) & (self.kinds <= COVERAGE[1])).all())

    def worst(self):
        """The kind that is covered least."""
        return data.JETS[self.kinds.argmin()]

    def like_one_threshold(self):
        """Whether top jets are covered most by far, and W or Z jets least, as one threshold for all does."""
        unequal = self.spread > 0.05 or (self.spread > 0.03 and self.kinds.max() > 0.94)
        return unequal and self.kinds.argmax() == data.JETS.index("top") and self.worst() in ("W", "Z")


class _Sets(nn.Module):
    """A function sets(x) as a network from jets (N, 15) to bools (N, 5)."""

    def __init__(self, sets):
        super().__init__()
        self.sets = sets
        self._known = {}

    def forward(self, x):
        given = x.clone()  # whatever an answer does to its argument stays with it
        try:
            sets = self.sets(given)
        except RuntimeError as error:  # a function does not say on which device its network is
            if "device" not in str(error) or given.device == runtime.best_device():
                raise
            sets = self.sets(x.to(runtime.best_device()))
        return sets.detach().to(x.device) if isinstance(sets, Tensor) else sets

    def on(self, name, change=None):
        """What its sets are like on one part of the jets, the inputs changed by a function."""
        if (name, change) not in self._known:
            part = _jet_sets_part(name)
            x = part.x if change is None else change(part.x)
            sets = torch.cat([self(some.to(self._device())).cpu() for some in x.split(500)])
            self._known[name, change] = _Covered(sets, part.y)
        return self._known[name, change]

    def _device(self):
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))


def _raw_jets(x):
    mean, std = _jet_sets_scaling()
    return x * std + mean


def _never_right():
    """The symptoms of answers that are wrong even where they reach the floors."""
    return _depends_on_the_batch, _set_on_training_jets, _trained_on_valid_jets


class _CoverageExercise(ModelExercise):
    """A function that gives sets of kinds, which have to cover each kind of jet, however it does."""

    too_slow = "Give all jets their sets at once, without a loop over jets or training inside `sets`."

    def _unfit(self, given):
        (sets,) = given
        if sets is None or sets is ...:
            return super()._unfit(given)
        if isinstance(sets, tuple | list) and any(map(callable, sets)):
            return self._wrong("Return the function `sets` alone, not a tuple with other things in it.")
        if getattr(sets, "__name__", "") == self.name:
            return self._wrong(
                f"That is `{self.name}` itself. Call it, and pass on the function that it returns: "
                f"`sets = {self.name}(train_jets, valid_jets)`."
            )
        if isinstance(sets, Tensor) and sets.numel() == KINDS and sets.is_floating_point():
            return self._wrong(
                "Thresholds arrived, or some other five numbers. Return a function of x that compares the scores of "
                "its jets with them."
            )
        if isinstance(sets, Tensor | np.ndarray):
            return self._wrong(
                "Sets arrived, or some other numbers. Pass the function `sets`, without calling it: it is given jets "
                "that you have not seen."
            )
        if not callable(sets) or isinstance(sets, type):
            return self._wrong(f"`sets` should be a function, but this arrived: {show(sets)}.")
        return self._unfit_arguments(sets)

    def _unfit_arguments(self, sets):
        try:
            asked = inspect.signature(sets.forward if isinstance(sets, nn.Module) else sets)
        except (TypeError, ValueError):  # some functions do not tell
            return None
        try:
            asked.bind("x")
        except TypeError:
            return self._wrong(
                f"It will be called with one argument, `sets(x)`, but what arrived takes {asked}. The kinds of new "
                "jets are not known, and net and thresholds it finds where it is defined."
            )
        return None

    def _as_network(self, sets):
        return _Sets(sets)

    def _verdict_on(self, model, split):
        for x in (split.x[:500], split.x[:1]):
            try:
                sets = model(x)
            except (Exception, SystemExit) as error:
                batch_norm = "Batch normalization needs `net.eval()` before `sets` is used. "
                known = batch_norm if "more than 1 value per channel" in str(error) else ""
                return self._raised(error, f"{known}It was given inputs of shape {tuple(x.shape)}.")
            if unfit := self._unfit_outputs(sets, x, split):
                return unfit
        verdict = super()._verdict_on(model, split)
        if verdict.status == "correct":
            for sentence, shows in self.symptoms:  # some flaws need not show in the coverage
                if shows in _never_right() and shows(model, split):
                    return self._wrong(sentence)
        return verdict

    def _unfit_outputs(self, outputs, x, split):
        sentence = _unfit_sets(outputs, len(x))
        return self._wrong(sentence) if sentence else None

    def _reached(self, outputs, split):
        covered = _Covered(outputs.cpu(), split.y.cpu())
        kinds = ", ".join(
            f"{name} {one:.3f}" for name, one in zip(data.JETS, covered.kinds.tolist(), strict=True)
        )
        low, high = COVERAGE
        return (
            covered.right() and covered.size <= SIZE,
            f"covered are {kinds} (each {low} to {high}); {covered.size:.2f} kinds in a set (at most {SIZE})",
        )


def _unfit_sets(sets, count):
    """What is wrong with the type or shape of sets for `count` jets; "" if nothing is."""
    jets = "1 jet" if count == 1 else f"{count} jets"
    asked = f"sets(x) for {jets} should give a bool tensor ({count}, {KINDS})"
    if sets is None:
        return f"{asked}, but None came back. Is a `return` missing in `sets`?"
    if isinstance(sets, np.ndarray):
        return f"{asked}, but a NumPy array came back. `torch.from_numpy` makes a tensor of it."
    if isinstance(sets, tuple | list):
        return (
            f"{asked}, but a {type(sets).__name__} came back. Give all jets a row of five bools each, in one "
            "tensor: a comparison of scores with thresholds is one."
        )
    if not isinstance(sets, Tensor):
        return f"{asked}, but this came back: {show(sets)}."
    shape = tuple(sets.shape)
    if shape == (count, KINDS):
        return "" if sets.dtype == torch.bool else f"{asked}, {_unfit_numbers(sets)}"
    return f"{asked}, but the shape is {shape}. {_unfit_shape(sets, count)}".strip()


def _unfit_numbers(numbers):
    """What numbers (N, 5) that are no bools look like."""
    dtype = str(numbers.dtype).removeprefix("torch.")
    if ((numbers == 0) | (numbers == 1)).all():
        return f"but these are 0 and 1 as {dtype}. Return the comparison itself, or `.bool()` of it."
    if not numbers.is_floating_point():
        return f"but these are numbers of type {dtype}, as of kinds or ranks. Return True for the kinds in the set."
    sums = numbers.double().sum(dim=1)
    if (numbers >= 0).all() and (sums - 1).abs().max() < 1e-3:
        return "but these look like probabilities. Compare the scores 1 − p with the thresholds, and return that."
    if (numbers >= 0).all() and (sums - KINDS + 1).abs().max() < 1e-3:
        return (
            "but these look like the scores 1 − p. Compare them with the thresholds, `<=`, and return that."
        )
    return (
        f"but these are numbers of type {dtype}, such as logits. Take `softmax(dim=1)`, and compare the scores 1 − p "
        "with the thresholds."
    )


def _unfit_shape(sets, count):
    """What may have led to the shape of sets for `count` jets."""
    shape = tuple(sets.shape)
    if shape == (KINDS, count) and count > 1:
        return "Jets come first, then kinds: transpose it."
    if shape == (KINDS,) and count == 1:
        return "One jet is a batch, too: keep its axis, without `squeeze`."
    if shape == (count,) and sets.dtype == torch.bool:
        return "Is this whether the true kind is in the set? `sets` gives a bool for each of the five kinds."
    if shape == (count,):
        return "Is this the most probable kind, or one number of it? `sets` gives a bool for each of the five kinds."
    if shape in {(len(_jet_sets_part(name)), KINDS) for name in ("train", "valid", "test")}:
        return "These are the sets of another split. Compute the scores of the x that arrives."
    if shape == (KINDS,):
        return "These are five bools for all jets together, or those of one jet. Give every jet its own."
    if sets.ndim == 2 and shape[0] == count and not sets.is_floating_point() and sets.dtype != torch.bool:
        return "Are these the numbers of the kinds? Return a bool for each of the five, True for those in the set."
    if sets.ndim == 3:
        return "Thresholds of shape (5,) fit scores (N, 5) as they are, without a further axis."
    return ""


def _trained_and_calibrated(**options):
    """Decorate the solution of `jet_sets`."""
    return lambda solution: _CoverageExercise(
        solution, attempt="sets", held_out=_jet_sets_kept_back, floors={}, **options
    )


@_trained_and_calibrated(
    score=_kinds_covered,
    hints=[
        "Train a classifier on the one split, and take the scores 1 − p of the true kinds from the other. With one "
        "threshold for all scores some kinds are covered more often than others. What if each kind had its own?",
        "15 → 64 → 64 → 5 with ReLUs, Adam, `OneCycleLR` with max_lr 0.01, 12 epochs. The threshold of kind k is the "
        "0.9 quantile of the scores of the valid jets with y = k. `sets` compares column k with threshold k.",
        "`own = scores(valid_jets.x).gather(1, valid_jets.y[:, None])[:, 0]`, for each kind "
        "`own[valid_jets.y == kind].quantile(0.9)`, stacked to `thresholds` (5,). At the end "
        "`return lambda x: scores(x) <= thresholds`.",
    ],
)
def jet_sets(train_jets, valid_jets):
    """Return a function sets(x) that gives each jet the set of kinds that it may be, after training.

    A split holds x (N, 15), standardized features, and y (N,), the kinds 0 to 4. For jets x (N, 15), sets returns a
    bool tensor (N, 5): True for the kinds in the set. Of each kind, 90 % of new jets (86.5 to 93.5 %) have their kind
    in their set, and a set holds at most 2.2 kinds on average. Thresholds come from jets that it was not trained on.
    """
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(15, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5))
    net.to(train_jets.x.device)
    epochs, batches = 12, train_jets.batches(128, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters())
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs * len(batches))
    for _ in range(epochs):
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            scheduler.step()

    @torch.no_grad()
    def scores(x):
        return 1 - net(x).softmax(dim=1)

    def threshold(scores):
        return scores.kthvalue(math.ceil(0.9 * (len(scores) + 1))).values

    own = scores(valid_jets.x).gather(1, valid_jets.y.unsqueeze(1))[:, 0]
    thresholds = torch.stack([threshold(own[valid_jets.y == kind]) for kind in range(5)])
    return lambda x: scores(x) <= thresholds


lesson.add(jet_sets)


@jet_sets.symptom(
    "The set of a jet depends on the other jets of the batch. Softmax goes over the kinds, `dim=1`; a mean, a quantile "
    "or a standardization of the batch has no place in `sets`, and batch normalization needs `net.eval()`."
)
def _depends_on_the_batch(model, split):
    ends = torch.arange(60).repeat(2)
    ends[60:] += len(split) - 60
    x = split.x[ends]
    alone, together, again = torch.cat([model(one) for one in x.split(1)]), model(x), model(x)
    if (together == again).all():
        return (alone != together).any(dim=1).sum().item() > 2  # rounding may decide about one
    return abs((alone.sum() - together.sum()).item()) > 0.25 * len(x)  # sets that draw random numbers


@jet_sets.symptom(
    "It covers the same fraction of each kind of the training jets, and of the valid jets less: the thresholds come "
    "from jets that the classifier knows. Take them from the valid split, or from jets kept out of the training."
)
def _set_on_training_jets(model, split):
    train, valid = model.on("train"), model.on("valid")
    together = _Covered(torch.cat([train.sets, valid.sets]), torch.cat([train.y, valid.y]))
    return valid.all < train.all - 0.002 and min(train.spread, together.spread) < EXACT / 2


@jet_sets.symptom(
    "All five kinds are in nearly every set, which is sure to cover and says nothing. Each threshold should be the 0.9 "
    "quantile of the scores of the true kinds, with scores and sets from the same p."
)
def _(model, split):
    return model.on("test").size > 4.9


@jet_sets.symptom(
    "Nearly all sets are empty. Are the scores 1 − p in the sets as well, with a softmax, and does a kind belong to "
    "the set where its score is at most the threshold?"
)
def _(model, split):
    return model.on("test").size < 0.03


@jet_sets.symptom("Every jet gets the same set. Compute it from the x that arrives.")
def _(model, split):
    return len(model.on("test").sets.unique(dim=0)) == 1


@jet_sets.symptom(
    "The sets leave out the kinds that a jet is likely to be. Are score and comparison the right way round? The score "
    "is 1 − p, and a kind belongs to the set where it is at most the threshold."
)
def _(model, split):
    test = model.on("test")
    return test.size > 2.5 and 1 - test.all > 0.27 * (KINDS - test.size)


@jet_sets.symptom(
    "The kinds have changed places: with the columns shifted or reversed, the sets would cover far more. Column k "
    "belongs to kind k, 0 to 4, as the labels have it."
)
def _(model, split):
    test = model.on("test")
    others = [test.sets.roll(shift, dims=1) for shift in range(1, KINDS)] + [test.sets.flip(1)]
    best = max(_kinds_covered(sets, test.y).mean().item() for sets in others)
    return test.size < 3 and best > max(test.all + 0.2, 0.6)


@jet_sets.symptom(
    "Every set holds one kind, the most probable one, which is often wrong. Let in every kind whose score is at most "
    "the threshold of that kind."
)
def _(model, split):
    return (model.on("test").sizes == 1).all()


@jet_sets.symptom(
    "Every set holds the same number of kinds, whether the jet is easy or hard. Let the scores decide: a kind belongs "
    "to the set where 1 − p is at most its threshold."
)
def _(model, split):
    return len(model.on("test").sizes.unique()) == 1


@jet_sets.symptom(
    "It does far better on the raw features than on the standardized ones. The x that arrives is standardized: train "
    "on the splits handed over, and do not standardize again in `sets`."
)
def _(model, split):
    return model.on("test", _raw_jets).over_chance > max(model.on("test").over_chance + 0.2, 0.3)


@jet_sets.symptom(
    "About 10 % of each kind are covered, not 90 %: the quantile is in the wrong tail. Of the scores 1 − p take the "
    "0.9 quantile, or of p itself the 0.1 quantile."
)
def _(model, split):
    return model.on("test").kinds.max() < 0.17


@jet_sets.symptom(
    "More than half of the sets are empty. Is p compared with a threshold for 1 − p, or the other way round? Score and "
    "threshold have to be of one sort, and a kind belongs to the set where 1 − p is at most the threshold."
)
def _(model, split):
    return model.on("test").empty > 0.5


@jet_sets.symptom(
    "All kinds but one are nearly always covered, in sets of about four. Scores and thresholds do not fit each other: "
    "the same softmax, taken once, belongs in both."
)
def _(model, split):
    test = model.on("test")
    return test.size > 3 and (test.kinds > 0.98).sum() == KINDS - 1


@jet_sets.symptom(
    "Nearly every jet is covered, by sets of nearly all kinds. Are the quantiles those of whole columns? Only the "
    "scores of the true kinds count: for kind k those of column k, of the jets with y = k."
)
def _(model, split):
    test = model.on("test")
    return test.kinds.min() > 0.99 and test.size > 4


@jet_sets.symptom(
    "The thresholds do their part, but the sets hold more than three kinds: the classifier knows next to nothing. Did "
    "the optimizer get the parameters of this net, and take its steps before the thresholds were set?"
)
def _(model, split):
    test = model.on("test")
    return test.size > 3.3 and 0.85 < test.all < 0.95 and test.spread < 0.1


@jet_sets.symptom(
    "The sets hardly know the jets: those of other jets would do nearly as well. Was the net in `sets` trained, does "
    "it get x as it arrives, standardized, and do the sets stay in the order of the jets?"
)
def _(model, split):
    return model.on("test").over_chance < 0.12


@jet_sets.symptom(
    "It covers the same fraction of each kind of the valid jets, but not 90 %: the level is another. Each threshold is "
    "the 0.9 quantile of the scores 1 − p of the true kinds."
)
def _(model, split):
    valid = model.on("valid")
    return valid.spread < EXACT and not 0.89 < valid.all < 0.91


@jet_sets.symptom(
    "It covers 90 % of each kind of the valid jets, and fewer of other jets: the classifier seems to know the valid "
    "jets. Train it on the train split only, and keep the valid jets for the thresholds."
)
def _trained_on_valid_jets(model, split):
    valid, test = model.on("valid"), model.on("test")
    return valid.spread < EXACT and max(model.on("train").all, test.all + 0.008) < valid.all - 0.002


@jet_sets.symptom(
    "The coverage is right, but the sets are too large. Better probabilities make them smaller: two hidden layers, a "
    "learning rate that falls, and 1 − p after the softmax as score, which keeps sets small."
)
def _(model, split):
    return model.on("test").right()


@jet_sets.symptom(
    "About 90 % of all jets are covered, but not of each kind. Is there one threshold for all, or one for each "
    "predicted kind? Threshold k is the 0.9 quantile of the scores of the valid jets whose y is k."
)
def _(model, split):
    valid = model.on("valid")
    return abs(valid.all - 0.9) < 0.003 and model.on("test").spread > 0.06


@jet_sets.symptom(
    "The sets cover more than 90 % and hold too many kinds. Probabilities that add up to 90 % are no guarantee, nor is "
    "a fixed limit for p: for each kind take the 0.9 quantile of its scores 1 − p, and let in scores up to that."
)
def _(model, split):
    return model.on("test").all > 0.93


@jet_sets.symptom(
    "Some kinds are covered far less often than others. Is threshold k the quantile of the jets whose y is k, not "
    "whose predicted kind is k, and is it compared with column k?"
)
def _(model, split):
    test = model.on("test")
    other_order = test.worst() != "Z" and test.spread > 0.08
    return test.all > 0.8 and (other_order or test.kinds.min() < test.all - 0.13)


@jet_sets.symptom(
    "Some sets are empty while others are large. Are logits compared with thresholds for probabilities? The same "
    "softmax belongs in the thresholds and in the sets."
)
def _(model, split):
    test = model.on("test")
    return test.like_one_threshold() and test.empty > 0.0015 and test.size > 1.6


@jet_sets.symptom(
    "Top jets are covered most, W or Z jets least, as with one threshold for all kinds, or with probabilities added up "
    "to a fixed sum. Give each kind its own threshold: the 0.9 quantile of the scores of the valid jets of that kind."
)
def _(model, split):
    test = model.on("test")
    return test.like_one_threshold() and test.empty < 0.05


@jet_sets.symptom(
    "Every kind is covered too rarely. Each threshold is the 0.9 quantile, no mean, of the scores 1 − p of the true "
    "kinds, from all jets of that kind, those misclassified too, in a split that the classifier has not seen."
)
def _(model, split):
    return model.on("test").kinds.max() < 0.89


@jet_sets.symptom(
    "Close: some kinds are covered a little too often or too rarely. Thresholds from few jets scatter: take the scores "
    "of all valid jets, and for each kind their 0.9 quantile."
)
def _(model, split):
    return True


# Section 14: the quiz -----------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "For the first three: what does σ depend on, what do two networks with exchanged units have in common, and "
        "does one number for all logits treat letters and digits differently?",
        "For `new_detector`: which examples are the scores from? For `even_odds`: which of the two parts is large? "
        "For `five_scores`: what is k?",
        "For `mean_of_what`: what is averaged, probabilities or logits? For `ten_copies`: what differs between the "
        "members? For `nine_in_ten`: should the probabilities come closer to each other or move apart?",
    ],
    more_data=Question(
        "c",
        "xᵀSx shrinks with every measurement; σ is the noise of a single one and stays.",
        {
            "a": "Not both: σ is the noise of a single measurement, and stays however many you make.",
            "b": "The aleatoric part is σ, the noise of one measurement. More of them do not make a single one better.",
            "d": "σ stays, but the precision matrix of the weights grows with every row of X.",
        },
    ),
    weights_disagree=Question(
        "b",
        "Hidden units can change places without a change of the function. Predictions are what is used, and they have "
        "mixed.",
        {
            "a": "They will not in any time we have: the posterior has 16! · 2¹⁶ copies of each mode.",
            "c": "What is used are the predictions, and of those all chains tell the same story.",
            "d": "Weights from different copies of a mode have nothing in common: their mean is a network that none of "
            "the chains believes in.",
        },
    ),
    lower_confidence=Question(
        "a",
        "One T for all makes digits less sure, too. The order changes little, and the area depends on the order only.",
        {
            "b": "The confidence for letters falls, but so does that for digits, and the area depends on their order.",
            "c": "A temperature does not spoil the order either: it treats all inputs alike.",
            "d": "An area of ½ would need an order by chance; a temperature leaves it nearly as it was.",
        },
    ),
    new_detector=Question(
        "d",
        "The promise is for examples drawn in the same way as the calibration set. Calibrate anew.",
        {
            "a": "It needs no trust in the network, but calibration and new jets drawn in the same way.",
            "b": "Nothing makes the sets grow as they should: in section 13 their size hardly changes, and the "
            "coverage falls.",
            "c": "Retraining alone renews nothing: the threshold belongs to scores of calibration jets that were "
            "drawn in the same way as the new ones.",
        },
    ),
    even_odds=Question(
        "b",
        "All members say (½, ½): the uncertainty is aleatoric. Only an input that tells more can remove it.",
        {
            "a": "More data removes epistemic uncertainty, and there is none: the members agree.",
            "c": "The members agree already; more of them will say the same.",
            "d": "More epochs change what the members have learned of the training data, not what an input tells.",
        },
    ),
    five_scores=Question(
        "d",
        "k = ⌈6 · 0.9⌉ = 6, and there are five. Only the set of all classes keeps the promise.",
        {
            "a": "A new score lies below the largest of five with probability 5/6 = 0.83 only.",
            "b": "An interpolated quantile lies below the largest score, and that covers 5/6 = 0.83 only.",
            "c": "The median covers about half.",
        },
    ),
    mean_of_what=Question(
        "a",
        "The mean of the probabilities: (0.99 + 0.5)/2 = 0.745.",
        {
            "b": "That is the mean of the logits, 4.6 and 0, through the softmax: the sure member outvotes the other.",
            "c": "The other member does not agree, and counts as much.",
            "d": "One of the two is nearly sure; the mean is between ½ and 0.99.",
        },
    ),
    ten_copies=Question(
        "c",
        "Same initialization, same order, same data: one network, trained ten times. Agreement says something only "
        "if the members could have differed.",
        {
            "a": "They would agree in their mistakes, too.",
            "b": "The formula gives 0, but the members were never given a chance to differ.",
            "d": "Identical members may all say (½, ½): the aleatoric part may be anything.",
        },
    ),
    nine_in_ten=Question(
        "b",
        "It is overconfident: with T > 1 the logits come closer together, and 0.9 comes down.",
        {
            "a": "T < 1 moves the logits apart and makes it surer still.",
            "c": "A ratio of probabilities is no temperature; the best T is found on validation data.",
            "d": "A negative T would turn the order of the classes around.",
        },
    ),
)
