"""The exercises of lesson 2, Gradient descent: solutions, classic mistakes, hints."""

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from coursekit.checks import ExerciseSet, Question, normal

lesson = ExerciseSet("Lesson 2")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


@dataclass(frozen=True, repr=False)
class _Formula:
    """A function that shows itself by its formula in messages."""

    text: str
    function: Callable

    def __call__(self, x):
        return self.function(x)

    def __repr__(self):
        return self.text


_Formula.__name__ = "function"  # in error messages


def _breaks_on(exercise, *inputs):
    """Return a test of attempts: whether one breaks on inputs of later cells which its prompt does not mention."""

    def breaks(attempt):
        try:
            torch.testing.assert_close(attempt(*inputs), exercise.reference(*inputs), check_dtype=False)
        except Exception:
            return True
        return False

    return breaks


# Section 1: the derivative -----------------------------------------------------------------------------------

_TINY_STEP, _BY_AUTOGRAD, _NOT_CALLED = "steps far smaller than h", "autograd", "f is not called"


class _Differentiated(Exception):  # noqa: N818 - it is no error
    """Raised where f is called at a point x that records its gradient."""


def _estimate(finite_difference, f, x, h):
    """The estimate; or words, if f was called nowhere, only much nearer to x than h, or for autograd."""
    distances = []

    def recorded(point):
        if getattr(point, "requires_grad", False) and point == x:
            raise _Differentiated
        distances.append(abs(float(point) - x))
        return f(point)

    recorded.__qualname__ = "f"  # the name in error messages
    try:
        estimate = finite_difference(recorded, x, h)
    except _Differentiated:
        return _BY_AUTOGRAD
    if not distances:
        return _NOT_CALLED if isinstance(estimate, float | int | torch.Tensor) else estimate
    return _TINY_STEP if 0 < max(distances) < h / 100 else estimate


@lesson.exercise(
    observe=_estimate,
    cases={
        "a cubic": (_Formula("x³", lambda x: x**3), 2.0, 0.1),
        "a negative x": (_Formula("3x² − x", lambda x: 3 * x**2 - x), -1.0, 0.25),
        "a large step": (_Formula("sin x", math.sin), 1.0, 0.5),
        "x = 0": (_Formula("exp x", math.exp), 0.0, 1e-3),
        "a small step": (_Formula("cos x", math.cos), 1.0, 1e-5),
        "a step of 3": (_Formula("x³ + x", lambda x: x**3 + x), 0.5, 3.0),
    },
    hints=[
        "Evaluate f twice: a step h to the right of x, and a step h to the left.",
        "The two points are 2h apart, so the slope of the line through them is (f(x + h) − f(x − h)) / (2h).",
    ],
)
def finite_difference(f, x, h):
    """Return the central difference of the function f at the number x, with the step h."""
    return (f(x + h) - f(x - h)) / (2 * h)


finite_difference.mistakes(
    {
        "This is the one-sided difference: it only looks from x to x + h, and its error is "
        "about h f″/2. Evaluate f on both sides, at x + h and x − h.": lambda f, x, h: (f(x + h) - f(x)) / h,
        "This is the one-sided difference from x − h to x. Evaluate f on both sides, at x +"
        " h and x − h.": lambda f, x, h: (f(x) - f(x - h)) / h,
        "The two points are 2h apart, but you divide the difference by h only.": {"(2 * h)": "h"},
        "You divide by 2x. The two points are 2h apart, so divide by 2h.": {"(2 * h)": "(2 * x)"},
        "You go 2h to either side. Go h to either side, and divide by 2h.": [
            lambda f, x, h: (f(x + 2 * h) - f(x - 2 * h)) / (2 * h),
            lambda f, x, h: (f(x + 2 * h) - f(x - 2 * h)) / (4 * h),
        ],
        "One of the two one-sided slopes has the wrong sign, so the slope itself cancels. Take the mean of "
        "(f(x + h) − f(x)) / h and (f(x) − f(x − h)) / h.": [
            lambda f, x, h: (f(x + h) - 2 * f(x) + f(x - h)) / (2 * h),
            lambda f, x, h: (f(x + h) - 2 * f(x) + f(x - h)) / h,
        ],
        "`//` rounds the quotient down to a whole number. Divide with `/`.": {") / (": ") // ("},
        "`x * h` multiplies. The point to the right of x is `x + h`.": [
            {"f(x + h)": "f(x * h)"},
            {"f(x + h) - f(x - h)": "f(x * h) - f(x / h)"},
        ],
        "That is the five-point formula, which calls f at x ± 2h as well. The central difference takes two values: "
        "(f(x + h) − f(x − h)) / (2h).": lambda f, x, h: (
            (8 * (f(x + h) - f(x - h)) - f(x + 2 * h) + f(x - 2 * h)) / (12 * h)
        ),
        "h is added to the value of f, not to x. Move x first, inside of the brackets: `f(x + h)`, `f(x - h)`.": {
            "f(x + h) - f(x - h)": "(f(x) + h) - (f(x) - h)"
        },
        "That is autograd's derivative. The exercise asks for an estimate from two values of f, at x + h and "
        "x − h.": lambda f, x, h: torch.func.grad(f)(torch.tensor(x, dtype=torch.float64)),
        "Your code never calls f, the function that it is given. Evaluate f at x + h and x − h.": lambda f, x, h: (
            (math.sin(x + h) - math.sin(x - h)) / (2 * h)
        ),
        "f is a function, not a factor. Call it: `f(x + h)`, without the `*`.": {
            "f(x + h) - f(x - h)": "f * (x + h) - f * (x - h)"
        },
        "f is a function. Call it with round brackets: `f(x + h)`.": {
            "f(x + h) - f(x - h)": "f[x + h] - f[x - h]"
        },
        "f takes one point. Call it twice, and subtract: `f(x + h) - f(x - h)`.": {
            "(f(x + h) - f(x - h))": "f(x + h, x - h)"
        },
        "In Python `a / 2 * h` is (a / 2) · h. Put brackets around the `2 * h`.": {"(2 * h)": "2 * h"},
        "f is evaluated at points much nearer to x than h. Evaluate it at x + h and x − h, with the h that was "
        "given. (A far smaller step is no better: the two values then agree in most of their digits, and their "
        "difference is mostly rounding error.)": lambda f, x, h: (f(x + 1e-12) - f(x - 1e-12)) / 2e-12,
        "The sign is wrong: take the value on the right minus the value on the left.": {
            "(x + h) - f(x - h)": "(x - h) - f(x + h)"
        },
        "You went h/2 to either side. That is a central difference too, but with half the "
        "step: go h to either side.": lambda f, x, h: (f(x + h / 2) - f(x - h / 2)) / h,
        "This is the difference of the two values. Divide it by the distance between the "
        "points, 2h.": lambda f, x, h: f(x + h) - f(x - h),
        "Division binds more tightly than subtraction, so only the second value is divided. Put brackets "
        "around the difference.": {"(f(x + h) - f(x - h))": "f(x + h) - f(x - h)"},
        "You add the two values. A slope is their difference divided by 2h.": {"(x + h) -": "(x + h) +"},
        "That is the second difference, an estimate of f″. The slope needs the two outer values only: "
        "(f(x + h) − f(x − h)) / (2h).": lambda f, x, h: (f(x + h) - 2 * f(x) + f(x - h)) / h**2,
        "You divide by 2, not by 2h, the distance between the points.": {"(2 * h)": "2"},
        "float32 keeps about 7 digits, and for a small h the two values agree in most of them. Stay with "
        "Python's numbers, or with `dtype=torch.float64`.": {
            "return (f": "x, h = torch.tensor(x), torch.tensor(h); return (f"
        },
    }
)
finite_difference.remark(
    "A remark: it works for numbers only. Later cells call it with tensors, and with an f that returns one. Return the "
    "quotient as it is, without `float`."
)(_breaks_on(finite_difference, lambda step: step * torch.tensor([1.0, 2.0]), 0.0, 0.25))


# Section 2: descent ------------------------------------------------------------------------------------------


three_steps = lesson.prediction(
    "three_steps",
    Question(
        -2697,
        "4 → 4 − 37 = −33 → −33 + 333 = 300 → 300 − 2997 = −2697. Every step lands nine times as far from 0.3.",
        {
            -33: "That is where the first step ends. Two more.",
            300: "That is where the second step ends. One more.",
            2697: "The size is right. The step from 300 goes 2997 to the left.",
            24276: "That is where the fourth step ends. The question asks for three.",
            0.3: "It would get there with a learning rate of 0.1. With 1 it jumps over the minimum, further "
            "each time.",
            -2697.3: "That is the distance from the minimum. The position is 0.3 more.",
            2.9973: "That is where three steps with α = 0.01 end.",
            41: "That step goes uphill: subtract the derivative, 37, from 4.",
        },
        tolerance=0.01,
    ),
    hints=[
        "The derivative is 10θ − 3. At θ = 4 it is 37.",
        "With α = 1 the new θ is θ − (10θ − 3) = 3 − 9θ. Do that three times.",
    ],
)


def _positions(descend, gradient, start, lr, steps):
    """The path as one tensor, so that lists of numbers and of tensors will do; the lesson needs a list, though."""
    path = descend(gradient, start, lr, steps)
    if isinstance(path, torch.Tensor) and path.ndim > torch.as_tensor(start).ndim:
        return "one tensor, not a list"
    if isinstance(path, list | tuple) and path:
        lost = any(isinstance(point, torch.Tensor) and point.dtype == torch.float32 for point in path)
        kept = torch.float32 if lost else torch.float64
        return torch.stack([torch.as_tensor(point, dtype=kept).detach() for point in path])
    return path


_PARABOLA = _Formula("10θ − 3", lambda theta: 10 * theta - 3)
_BOWL = _Formula("(x, 4y)", lambda point: point * torch.tensor([1.0, 4.0], dtype=point.dtype))


@lesson.exercise(
    observe=_positions,
    cases={
        "a number": (_PARABOLA, 4.0, 0.01, 3),
        "no steps": (_PARABOLA, -2.0, 0.05, 0),
        "a single step": (_PARABOLA, 4.0, 1.0, 1),
        "a learning rate that diverges": (_PARABOLA, 1.0, 0.25, 6),
        "a start at the minimum": (_PARABOLA, 0.3, 0.02, 4),
        "a tensor with one number": (_Formula("cos x", torch.cos), torch.tensor([0.5]).double(), 0.4, 4),
        "a tensor with two numbers": (_BOWL, torch.tensor([2.0, 1.0], dtype=torch.float64), 0.1, 2),
        "a tensor that oscillates": (_BOWL, torch.tensor([-1.0, 3.0], dtype=torch.float64), 0.3, 5),
        "a tensor at the minimum": (_BOWL, torch.zeros(2, dtype=torch.float64), 0.1, 3),
    },
    hints=[
        "Begin with `path = [start]`. In a loop over `range(steps)` append one more position.",
        "The next position is the last one minus lr times the gradient there: `path[-1] - lr * gradient(path[-1])`.",
    ],
)
def descend(gradient, start, lr, steps):
    """Return the path of gradient descent, a list of steps + 1 positions, the first being `start`.

    `gradient` is a function: position -> gradient. A position is a number or a tensor.
    """
    path = [start]
    for _ in range(steps):
        path.append(path[-1] - lr * gradient(path[-1]))
    return path


def _walk(gradient, start, lr, steps):
    path = [start]
    for _ in range(steps):
        path.append(path[-1] - lr * gradient(path[-1]))
    return path


def _early(gradient, start, lr, steps, *, keep=False):
    """The walk, ended where the gradient is tiny; with `keep`, the position is stored once more."""
    path = [start]
    for _ in range(steps):
        slope = gradient(path[-1])
        if keep:
            path.append(path[-1] - lr * slope)
        if torch.as_tensor(slope).norm() < 1e-6:
            break
        if not keep:
            path.append(path[-1] - lr * slope)
    return path


def _moves(gradient, start, lr, steps):
    return [-lr * gradient(point) for point in _walk(gradient, start, lr, steps)[:-1]]


def _in_a_tensor(gradient, start, lr, steps):
    """The walk in a tensor of numbers."""
    path = torch.zeros(steps + 1, dtype=torch.float64)
    path[0] = start
    for number in range(steps):
        path[number + 1] = path[number] - lr * gradient(path[number])
    return path


descend.mistakes(
    {
        "A position may be a tensor with several numbers, but `torch.zeros(steps + 1)` has room for one number each. "
        "Begin with a list: `path = [start]`.": [
            _in_a_tensor,
            lambda *arguments: list(_in_a_tensor(*arguments)),
        ],
        "The sign is wrong: the gradient points uphill, so subtract it.": lambda gradient, start, lr, steps: (
            _walk(gradient, start, -lr, steps)
        ),
        "One position short: `steps` steps visit steps + 1 positions. "
        "Did the last step get lost?": lambda gradient, start, lr, steps: _walk(gradient, start, lr, steps)[
            :-1
        ],
        "The starting point is missing: it is the first position of the "
        "path.": lambda gradient, start, lr, steps: _walk(gradient, start, lr, steps)[1:],
        "One step too many: the path has steps + 1 positions, including "
        "the starting point.": lambda gradient, start, lr, steps: _walk(gradient, start, lr, steps + 1),
        "That is where the path ends. Return the whole path: a list of "
        "all its positions.": lambda gradient, start, lr, steps: _walk(gradient, start, lr, steps)[-1],
        "The learning rate is not used: a step is lr times the gradient.": lambda gradient, start, lr, steps: (
            _walk(gradient, start, 1, steps)
        ),
        "The position is replaced by the step. Each position is the last one minus lr times the gradient "
        "there.": {"path[-1] - lr * gradient(path[-1])": "-lr * gradient(path[-1])"},
        "These are the gradients along the way. Return the positions.": [
            lambda gradient, start, lr, steps: [
                gradient(point) for point in _walk(gradient, start, lr, steps)
            ],
            lambda gradient, start, lr, steps: [
                start,
                *(gradient(point) for point in _walk(gradient, start, lr, steps)[:-1]),
            ],
            lambda gradient, start, lr, steps: [
                start,
                *(gradient(point) for point in _walk(gradient, start, lr, steps)[1:]),
            ],
        ],
        "These are the moves, −lr times the gradient. Return the positions: each is the last one plus the move.": [
            lambda gradient, start, lr, steps: [start, *_moves(gradient, start, lr, steps)],
            lambda gradient, start, lr, steps: _moves(gradient, start, lr, steps),
        ],
        "`return` stands inside of the loop and ends it after one step. Move it to the left, below the "
        "loop.": [
            lambda gradient, start, lr, steps: _walk(gradient, start, lr, 1) if steps else None,
            lambda gradient, start, lr, steps: _walk(gradient, start, lr, min(steps, 1)),
        ],
        "The starting point is missing, and there is one step too many. Begin with `path = [start]`, and make `steps` "
        "steps.": lambda gradient, start, lr, steps: _walk(gradient, start, lr, steps + 1)[1:],
        "The path is in reverse order. It begins with the start, and each new position is appended at the "
        "end.": lambda gradient, start, lr, steps: _walk(gradient, start, lr, steps)[::-1],
        "`gradient` is a function. Call it, with the position in round brackets: `gradient(path[-1])`.": [
            {"gradient(path[-1])": "gradient"},
            {"gradient(path[-1])": "gradient[path[-1]]"},
        ],
        "`path[i + 1] = …` needs a place that is there already, and the list has one entry so far. Add the position "
        "with `path.append(…)`.": {"for _": "for i", "path.append(path[-1]": "path[i + 1] = (path[-1]"},
        "`steps` is a number. Loop over `range(steps)`.": {"range(steps)": "steps"},
        "`path` is a position here, and only a list has `append`. Begin with a list: `path = [start]`.": {
            "[start]": "start"
        },
        "`list(start)` takes the start apart into its numbers. Put it into a list as it is: `[start]`.": {
            "[start]": "list(start)"
        },
        "`extend` adds all entries of a list. One position is added with `append`.": {"append": "extend"},
        "The walk stops where the gradient is tiny. The path should have steps + 1 positions, even where "
        "they no longer differ: cells that follow count on it.": [
            lambda gradient, start, lr, steps: _early(gradient, start, lr, steps),
            lambda gradient, start, lr, steps: _early(gradient, start, lr, steps, keep=True),
        ],
        "The position is stored before it is updated, so the start comes twice and the last position is "
        "missing. Update first, then append.": lambda gradient, start, lr, steps: [
            start,
            *_walk(gradient, start, lr, steps),
        ][: steps + 1],
        "Every step begins at the start again. Take the last position of the path: `path[-1]`.": [
            lambda gradient, start, lr, steps: [start] + [start - lr * gradient(start)] * steps,
            {"path[-1] - lr": "start - lr"},
        ],
        "`gradient` is the gradient already. You differentiate it once more: call it, `gradient(path[-1])`.": {
            "gradient(path[-1])": (
                "torch.func.grad(lambda at: gradient(at).sum())(torch.as_tensor(path[-1], dtype=torch.float64))"
            )
        },
    }
)


@descend.mistake(
    "All steps use the gradient at the starting point. Recompute it at every position: the slope changes "
    "along the way."
)
def _(gradient, start, lr, steps):
    first = gradient(start)
    return [start - step * lr * first for step in range(steps + 1)]


@descend.mistake(
    "The learning rate falls from step to step. Every step is lr times the gradient, with the same lr."
)
def _(gradient, start, lr, steps):
    path = [start]
    for number in range(steps):
        path.append(path[-1] - lr / (number + 1) * gradient(path[-1]))
    return path


@descend.mistake("You return one tensor. Return the list of positions as it is, without `torch.stack`.")
def _(gradient, start, lr, steps):
    return torch.stack([torch.as_tensor(point) for point in _walk(gradient, start, lr, steps)])


@descend.mistake(
    "`theta -= …` changes the tensor in place, so every entry of the path, and the caller's start, is the same tensor. "
    "Write `theta = theta - …`."
)
def _(gradient, start, lr, steps):
    theta, path = start, [start]
    for _ in range(steps):
        theta -= lr * gradient(theta)
        path.append(theta)
    return path


@descend.mistake(
    "You throw away the length of the gradient and use only its direction. A step is lr times the gradient, "
    "long where the slope is steep."
)
def _(gradient, start, lr, steps):
    def direction(point):
        slope = torch.as_tensor(gradient(point))
        return slope / slope.norm()

    return _walk(direction, start, lr, steps)


# Sections 3 to 5: bowls and optimizers -----------------------------------------------------------------------


_FULL = normal(4, 4, dtype=torch.float64)


@lesson.exercise(
    cases={
        "one parameter": (torch.tensor([[10.0]]),),
        "a tilted bowl": (torch.tensor([[2.0, 1.0], [1.0, 2.0]]),),
        "a narrow valley": (torch.tensor([[1.0, 0.0], [0.0, 90.0]]),),
        "a valley steep along the first axis": (torch.tensor([[40.0, 0.0], [0.0, 3.0]]),),
        "a bowl tilted the other way": (torch.tensor([[5.0, -2.0], [-2.0, 2.0]], dtype=torch.float64),),
        "a round bowl": (3 * torch.eye(3),),
        "four parameters in float64": (_FULL @ _FULL.T + torch.eye(4),),
    },
    hints=[
        "On a parabola the limit is 2/f″. Which of a bowl's curvatures sets the lowest limit?",
        "The curvatures along the axes of the bowl are the eigenvalues of its Hessian: `torch.linalg.eigvalsh(H)`.",
    ],
)
def largest_learning_rate(H):
    """Return the learning rate below which gradient descent on ½ θᵀHθ converges from every start.

    `H` (D, D) is symmetric with positive eigenvalues.
    """
    return 2 / torch.linalg.eigvalsh(H).max()


def _by_power_iteration(H, count):
    direction = torch.ones(len(H), dtype=H.dtype)
    for _ in range(count):
        direction = H @ direction
    return 2 * (direction @ direction) / (direction @ H @ direction)


largest_learning_rate.mistakes(
    {
        "That is half of it: with 1/λ the steepest direction is done in one step, but up to 2/λ it still"
        " converges.": {" 2 ": " 1 "},
        "That is the limit of the flattest direction. The steepest one, with the largest eigenvalue, "
        "diverges first.": {"max": "min"},
        "The diagonal holds the curvatures along the coordinate axes. A tilted bowl is steeper in"
        " between: take the largest eigenvalue.": lambda H: 2 / H.diagonal().max(),
        "The trace is the sum of all eigenvalues. Only the largest sets the limit; this is safe, "
        "but too small.": lambda H: 2 / H.trace(),
        "`H.norm()` is the root of the sum of all squared entries, which is at least the largest "
        "eigenvalue. Take that eigenvalue.": lambda H: 2 / H.norm(),
        "The row sums give a bound on the eigenvalues, so this is safe, but not the limit. Take "
        "the largest eigenvalue.": lambda H: 2 / H.abs().sum(dim=1).max(),
        "`eigvals` is for any matrix and returns complex numbers, which have no order. For a symmetric "
        "matrix `torch.linalg.eigvalsh` returns real ones.": {"eigvalsh": "eigvals"},
        "That is the largest curvature itself. The limit is 2 divided by it.": {" 2 /": ""},
        "The determinant is the product of all eigenvalues. Only the largest of them sets the "
        "limit.": lambda H: 2 / torch.linalg.det(H),
        "The mean of the eigenvalues is the curvature of an average direction. The steepest direction "
        "diverges first: take the largest.": {"max": "mean"},
        "That is the condition number λmax/λmin, which says how narrow the valley is. The limit is "
        "2/λmax.": lambda H: torch.linalg.cond(H),
        "That is 2 divided by the condition number λmax/λmin. The flattest direction plays no role: divide by λmax "
        "alone.": lambda H: 2 / torch.linalg.cond(H),
        "That is half the limit of the flattest direction. The limit is 2/λ, with the largest eigenvalue.": {
            " 2 ": " 1 ",
            "max": "min",
        },
        "You divide by the root of the largest eigenvalue. The eigenvalue itself is the curvature: 2/λmax.": {
            "max()": "max().sqrt()"
        },
        "`eigvals` returns the eigenvalues in no particular order, so the largest may stand anywhere. Use `eigvalsh`, "
        "which sorts them, or take the maximum.": [
            lambda H: 2 / torch.linalg.eigvals(H).real[-1],
            lambda H: 2 / torch.linalg.eigvals(H).real[0],
        ],
        "Index 1 is the second of two, and H may have any size. `eigvalsh` returns the eigenvalues in ascending order: "
        "the largest is the last, `[-1]`.": {".max()": "[1]"},
        "`argmax` returns the place of the largest eigenvalue. Its value is `max`.": {"max": "argmax"},
        "The power iteration has not converged: its value is still below the largest eigenvalue. Iterate until it no "
        "longer changes, or use `torch.linalg.eigvalsh(H)`.": [
            lambda H, count=count: _by_power_iteration(H, count) for count in (1, 2, 3, 5, 10)
        ],
        "That is the curvature in the direction (1, …, 1). The steepest direction diverges first: take the largest "
        "eigenvalue.": lambda H: _by_power_iteration(H, 0),
        "That is one limit for each direction. The smallest of them holds for all: divide by the largest "
        "eigenvalue.": {".max()": ""},
        "The largest eigenvalue is squared. The singular values of a symmetric H are its eigenvalues' "
        "sizes already: 2/λmax.": {".max()": ".max() ** 2"},
    }
)


@largest_learning_rate.mistake(
    "With 2/(λmin + λmax) gradient descent converges fastest. It still converges above that, up to 2/λmax."
)
def _(H):
    values = torch.linalg.eigvalsh(H)
    return 2 / (values.min() + values.max())


@largest_learning_rate.mistake(
    "That is Polyak's learning rate, the best one together with momentum. Plain descent converges up to 2/λmax."
)
def _(H):
    values = torch.linalg.eigvalsh(H)
    return 4 / (values.min().sqrt() + values.max().sqrt()) ** 2


def _numbers(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


@lesson.exercise(
    cases={
        "one parameter": (_numbers(1.0), _numbers(0.5), _numbers(2.0), 0.1, 0.9),
        "from rest": (_numbers(1.0, -2.0), _numbers(0.0, 0.0), _numbers(3.0, 1.0), 0.5, 0.9),
        "a gradient of 0": (_numbers(1.0, -2.0), _numbers(0.4, -0.3), _numbers(0.0, 0.0), 0.2, 0.7),
        "little momentum": (_numbers(0.5, 2.0), _numbers(0.6, -1.0), _numbers(-2.0, 1.5), 0.3, 0.1),
        "three parameters": (normal(3), normal(3, seed=1), normal(3, seed=2), 0.01, 0.5),
        "a matrix in float64": (
            normal(2, 4).double(),
            normal(2, 4, seed=1).double(),
            normal(2, 4, seed=2).double(),
            0.2,
            0.99,
        ),
    },
    returns=("theta", "v"),
    hints=[
        "Two lines, in this order: first the velocity, then the position.",
        "The velocity keeps a fraction mu of itself and loses lr times the gradient: `v = mu * v - lr * g`.",
    ],
)
def momentum_step(theta, v, g, lr, mu):
    """Return position and velocity (theta, v) after one step of gradient descent with momentum.

    `g` is the gradient at theta; theta, v and g have one shape. `mu` is the momentum.
    """
    v = mu * v - lr * g
    return theta + v, v


momentum_step.mistakes(
    {
        "You moved with the old velocity. Compute the new one first, then move "
        "with it: v ← μv − αg, then θ ← θ + v.": lambda theta, v, g, lr, mu: (theta + v, mu * v - lr * g),
        "The sign of the gradient is wrong: the velocity gains −αg, downhill.": {"v -": "v +"},
        "That is PyTorch's rule, v ← μv + g. Here it is v ← μv − αg: the learning rate is part of v.": {
            "- lr *": "+",
            "theta +": "theta - lr *",
        },
        "The gradient is multiplied by 1 − μ, which makes v an average. Momentum adds −αg in full.": {
            "- lr": "- (1 - mu) * lr"
        },
        "The learning rate multiplies the whole velocity. Here it belongs to the gradient: v ← μv − αg, θ ← θ + v.": [
            {"- lr * g": "- g", "theta + v": "theta + lr * v"},
            {"mu * v - lr * g": "lr * (mu * v - g)"},
        ],
        "Position first, then velocity: return `theta, v`.": {"theta + v,": "v, theta +"},
        "The velocity is not slowed down: multiply the old one by mu.": {" mu *": ""},
        "mu is the fraction of the old velocity that is kept: μv, not (1 − μ)v.": {"mu * v": "(1 - mu) * v"},
        "Two things at once: mu is the fraction of the old velocity that is kept, μv, and the gradient is subtracted: "
        "v ← μv − αg.": {"mu * v -": "(1 - mu) * v +"},
        "mu multiplies the old velocity twice. Once is enough: v ← μv − αg.": {"mu * v": "mu * mu * v"},
        "The old velocity is forgotten, which leaves plain descent. Keep the fraction μ of it: v ← μv − αg.": {
            "mu * v - lr * g": "-lr * g"
        },
        "The move multiplies the new velocity by μ once more. Move by v itself: θ + v.": {
            "+ v,": "+ mu * v,"
        },
        "The gradient comes in twice: the new v already contains −αg. Move by v alone: θ + v.": {
            "+ v,": "+ v - lr * g,"
        },
        "The move is the mean of the old and the new velocity. Move by the new one: θ + v.": {
            "v = mu": "old, v = v, mu",
            "+ v,": "+ (old + v) / 2,",
        },
        "mu multiplies θ as well. It belongs to the velocity only: θ + v.": {"theta +": "mu * theta +"},
        "Your v is a running mean of the gradients, with the weights μ and 1 − μ. Here v is a velocity: v ← μv − αg, "
        "θ ← θ + v.": [
            {"- lr * g": "+ (1 - mu) * g", "theta +": "theta - lr *"},
            {"- lr * g": "- (1 - mu) * g", "theta +": "theta + lr *"},
        ],
        "That is PyTorch's rule, v ← μv + g, and the results are swapped. Here it is v ← μv − αg, θ ← θ + v; return θ "
        "first.": {"- lr *": "+", "theta + v, v": "v, theta - lr * v"},
        "The learning rate comes in twice: v already contains it, so the move is θ + v.": {"+ v": "+ lr * v"},
        "Your v points uphill: with v ← μv + αg the move would be θ − v, and the next step would need "
        "that sign, too. Here v is the velocity itself: v ← μv − αg, θ ← θ + v.": {
            "v -": "v +",
            "theta + v": "theta - v",
        },
        "The two factors are swapped: mu belongs to the old velocity, lr to the gradient.": {
            "mu * v - lr * g": "lr * v - mu * g"
        },
        "The learning rate is missing: v ← μv − αg.": {"lr * g": "g"},
        "Only the velocity is new. Return the new position as well, θ + v.": {"theta + v,": "theta,"},
        "Only the gradient moves θ here, as in plain descent. Move by the new velocity: θ + v.": {
            "theta + v,": "theta - lr * g,"
        },
        "The gradient comes in twice. That is Nesterov's step, θ + μv − αg; plain momentum moves by v.": {
            "+ v,": "+ mu * v - lr * g,"
        },
    }
)


@momentum_step.mistake(
    "That v is PyTorch's, v ← μv + g, with the learning rate applied in the move. The position agrees, but "
    "the exercise asks for the velocity v ← μv − αg."
)
def _(theta, v, g, lr, mu):
    # PyTorch's buffer is −v/α
    buffer = mu * (-v / lr) + g
    return theta - lr * buffer, buffer


_RATES = _numbers([0.1], [0.2])
_ONE_RATE = (
    "A remark: it works for a single learning rate only. A later cell tries 91 at once: a tensor `lr` that broadcasts, "
    "as in `lr * g`."
)
momentum_step.remark(_ONE_RATE)(
    _breaks_on(momentum_step, _numbers(1.0, -2.0), _numbers(0.5, 0.4), _numbers(2.0, 3.0), _RATES, 0.9)
)


@lesson.exercise(
    cases={
        "one parameter": (_numbers(1.0), _numbers(4.0), _numbers(-2.0), 0.1, 0.9, 1e-8),
        "all gradients 0 so far": (
            _numbers(1.0, 3.0),
            _numbers(0.0, 0.0),
            _numbers(0.0, 0.0),
            0.1,
            0.9,
            1e-8,
        ),
        "the first step": (_numbers(1.0, -2.0), _numbers(0.0, 0.0), _numbers(3.0, 0.5), 0.2, 0.8, 1e-3),
        "a large ε": (_numbers(1.0, -2.0), _numbers(0.3, 1.0), _numbers(3.0, 1.0), 0.5, 0.9, 0.1),
        "three parameters": (normal(3), normal(3, seed=1) ** 2, normal(3, seed=2), 0.01, 0.6, 1e-3),
        "a matrix in float64": (
            normal(2, 4).double(),
            normal(2, 4, seed=1).double() ** 2,
            normal(2, 4, seed=2).double(),
            0.2,
            0.99,
            0.5,
        ),
    },
    returns=("theta", "s"),
    hints=[
        "First the running mean of the squares, then the move, which divides by the root of the *new* mean.",
        "`s = beta * s + (1 - beta) * g**2`, and the move is `lr * g / (s.sqrt() + eps)`, against the gradient.",
    ],
)
def rmsprop_step(theta, s, g, lr, beta, eps):
    """Return position and mean square (theta, s) after one step of RMSProp.

    theta, s and the gradient g are tensors of one shape; lr, beta and eps are numbers.
    """
    s = beta * s + (1 - beta) * g**2
    return theta - lr * g / (s.sqrt() + eps), s


def _rmsprop(theta, s, g, lr, beta, eps, *, sign=-1):
    s = beta * s + (1 - beta) * g**2
    return theta + sign * lr * g / (s.sqrt() + eps), s


rmsprop_step.mistakes(
    {
        "The root is missing: divide by √s, which has the size of a gradient, not by s.": [
            {"s.sqrt()": "s"},
            {"(s.sqrt() + eps)": "s"},
        ],
        "Every component has a running mean of its own. Square g component by component: `g**2`, without a sum, a "
        "mean or a norm.": [
            {"g**2": "(g**2).mean()"},
            {"g**2": "(g**2).sum()"},
            {"g**2": "(g @ g)"},
        ],
        "The move squares the gradient. g² is for s only; the move is α · g / (√s + ε).": {
            "lr * g": "lr * g**2"
        },
        "Only the sign of g is left in the move, and g has a size as well: α · g / (√s + ε).": [
            {"lr * g": "lr * g.sign()"},
            {"lr * g / (s.sqrt() + eps)": "lr * g.sign()"},
        ],
        "g is divided by its own size, |g|. Divide by √s + ε, the root of the running mean.": {
            "s.sqrt()": "g.abs()"
        },
        "s is the mean of the squares, not the square of a mean: square g alone, `beta * s + (1 - beta) * g**2`.": {
            "beta * s + (1 - beta) * g**2": "(beta * s + (1 - beta) * g) ** 2"
        },
        "s averages |g| here. Average the squares, g², and divide by the root of that mean, √s + ε.": [
            {"g**2": "g.abs()", "s.sqrt()": "s"},
            {"g**2": "g.abs()"},
        ],
        "You average √s and |g|, and square the result. Average the squares themselves: s ← βs + (1 − β)g².": {
            "beta * s + (1 - beta) * g**2": "(beta * s.sqrt() + (1 - beta) * g.abs()) ** 2"
        },
        "ε is the least that √s may be here. Add it: √s + ε.": {
            "(s.sqrt() + eps)": "s.sqrt().clamp(min=eps)"
        },
        "ε multiplies the root. Add it: √s + ε.": {"+ eps": "* eps"},
        "ε belongs outside the root: √s + ε.": {"(s.sqrt() + eps)": "(s + eps).sqrt()"},
        "Downhill is against the gradient: subtract the move.": lambda theta, s, g, lr, beta, eps: _rmsprop(
            theta, s, g, lr, beta, eps, sign=1
        ),
        "s is the mean of the squares: g², not g.": {"**2": "", ".sqrt": ".abs().sqrt"},
        "The weights of the mean are swapped: β for what was there, 1 − "
        "β for what is new.": lambda theta, s, g, lr, beta, eps: _rmsprop(theta, s, g, lr, 1 - beta, eps),
        "A mean needs both weights, β and 1 − β. Without the second the squares pile up.": {
            " (1 - beta) *": ""
        },
        "The order is wrong: return theta first, then s.": lambda theta, s, g, lr, beta, eps: _rmsprop(
            theta, s, g, lr, beta, eps
        )[::-1],
        "The learning rate is missing: the move is α · g / (√s + ε).": {"lr * g": "g"},
        "The old mean is not weighted: it keeps the weight β, `beta * s`.": {"beta * s": "s"},
        "s is replaced by the latest square. It should be a running mean: β times the old s plus 1 − β "
        "times g².": {"beta * s + (1 - beta) * g**2": "g**2"},
        "The move multiplies by √s + ε. Divide, so that large gradients make no larger steps.": {
            "lr * g / (s": "lr * g * (s"
        },
        "The root of s is taken before it is returned. Return the mean of the squares itself, s.": {
            " + eps), s": " + eps), s.sqrt()"
        },
        "ε stands outside the fraction: put brackets around √s + ε.": [
            {"(s.sqrt() + eps)": "s.sqrt() + eps"},
            {"lr * g / (s.sqrt() + eps)": "lr * (g / s.sqrt() + eps)"},
        ],
        "s adds up the squares and forgets nothing, as in AdaGrad. RMSProp keeps a running mean: β times the "
        "old s plus 1 − β times g².": {"beta * s + (1 - beta) * g**2": "s + g**2"},
        "Without ε the move is 0 / 0 where all gradients have been 0: "
        "add it to the root.": lambda theta, s, g, lr, beta, eps: _rmsprop(theta, s, g, lr, beta, 0),
    }
)


@rmsprop_step.mistake(
    "The move divides by the old mean. Update s first, and divide by the root of the new one."
)
def _(theta, s, g, lr, beta, eps):
    return theta - lr * g / (s.sqrt() + eps), beta * s + (1 - beta) * g**2


rmsprop_step.remark(_ONE_RATE)(
    _breaks_on(rmsprop_step, _numbers(1.0, -2.0), _numbers(0.5, 0.4), _numbers(2.0, 3.0), _RATES, 0.9, 1e-8)
)


@lesson.exercise(
    cases={
        "the first step": (
            _numbers(1.0),
            _numbers(0.0),
            _numbers(0.0),
            _numbers(4.0),
            1,
            0.1,
            0.9,
            0.999,
            1e-8,
        ),
        "step number 3": (
            _numbers(1.0),
            _numbers(0.5),
            _numbers(0.2),
            _numbers(-2.0),
            3,
            0.1,
            0.9,
            0.999,
            1e-8,
        ),
        "all gradients 0 so far": (
            _numbers(1.0, 3.0),
            _numbers(0.0, 0.0),
            _numbers(0.0, 0.0),
            _numbers(0.0, 0.0),
            2,
            0.1,
            0.9,
            0.99,
            1e-8,
        ),
        "a large ε": (
            _numbers(2.0, 0.0),
            _numbers(0.3, 0.1),
            _numbers(0.2, 0.5),
            _numbers(1.0, -3.0),
            2,
            0.1,
            0.8,
            0.9,
            0.1,
        ),
        "three parameters": (
            normal(3),
            normal(3, seed=1),
            normal(3, seed=2) ** 2,
            normal(3, seed=3),
            5,
            0.2,
            0.9,
            0.99,
            1e-3,
        ),
        "a matrix in float64": (
            normal(2, 4).double(),
            normal(2, 4, seed=1).double(),
            normal(2, 4, seed=2).double() ** 2,
            normal(2, 4, seed=3).double(),
            10,
            0.05,
            0.7,
            0.95,
            0.5,
        ),
    },
    returns=("theta", "m", "s"),
    hints=[
        "Four lines: m, s, the two corrected ones, the move. The corrected ones are for the move only.",
        "m̂ = m / (1 − β₁ᵗ) and ŝ = s / (1 − β₂ᵗ). In Python: `m / (1 - beta1**t)`.",
        "The move is `theta - lr * m_hat / (s_hat.sqrt() + eps)`. Return theta, m and s, without hats.",
    ],
)
def adam_step(theta, m, s, g, t, lr, beta1, beta2, eps):
    """Return (theta, m, s) after step number t of Adam; t counts from 1.

    `m` and `s` are the running means of the gradient and of its square, as they were before the
    step; `g` is the gradient at theta. All four tensors have one shape.
    """
    m = beta1 * m + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * g**2
    m_hat, s_hat = m / (1 - beta1**t), s / (1 - beta2**t)
    return theta - lr * m_hat / (s_hat.sqrt() + eps), m, s


def _adam(theta, m, s, g, t, lr, beta1, beta2, eps, *, move=None, correct=(1, 1), later=0):
    """Adam, with what can go wrong as arguments."""
    m = beta1 * m + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * g**2
    m_hat = m / (1 - beta1 ** (t + later)) if correct[0] else m
    s_hat = s / (1 - beta2 ** (t + later)) if correct[1] else s
    by = move(m_hat, s_hat, eps) if move else m_hat / (s_hat.sqrt() + eps)
    return theta - lr * by, m, s


adam_step.mistakes(
    {
        "The bias correction is missing: m and s start at 0, so early on they are too small."
        " Divide them by 1 − β₁ᵗ and 1 − β₂ᵗ for the move.": lambda *state: _adam(*state, correct=(0, 0)),
        "s is averaged with β₁. The mean of the squares has a memory of its own: s ← β₂ s + (1 − β₂) g².": {
            "beta2 * s + (1 - beta2)": "beta1 * s + (1 - beta1)"
        },
        "m is averaged with β₂. The mean of the gradient has a memory of its own: m ← β₁ m + (1 − β₁) g.": {
            "beta1 * m + (1 - beta1)": "beta2 * m + (1 - beta2)"
        },
        "m is corrected, s is not: divide s by 1 − β₂ᵗ as well, and use that ŝ in the move.": lambda *state: (
            _adam(*state, correct=(1, 0))
        ),
        "s is corrected, m is not: divide m by 1 − β₁ᵗ as well, and use that m̂ in the move.": lambda *state: (
            _adam(*state, correct=(0, 1))
        ),
        "ε belongs outside the root: √ŝ + ε, not √(ŝ + ε).": lambda *state: _adam(
            *state, move=lambda m, s, eps: m / (s + eps).sqrt()
        ),
        "The root is missing: divide by √ŝ + ε, so that the gradient's unit cancels.": lambda *state: _adam(
            *state, move=lambda m, s, eps: m / (s + eps)
        ),
        "t counts from 1, so use it as it is. With t − 1 the first correction divides by 1 −"
        " β⁰ = 0.": lambda *state: _adam(*state, later=-1),
        "t counts from 1 already: with t + 1 the correction is too weak.": lambda *state: _adam(
            *state, later=1
        ),
        "The sign is wrong: subtract the step, as always in gradient descent.": lambda *state: _adam(
            *state, move=lambda m, s, eps: -m / (s.sqrt() + eps)
        ),
        "The two betas are swapped: beta1 belongs to m, "
        "beta2 to s.": lambda theta, m, s, g, t, lr, beta1, beta2, eps: _adam(
            theta, m, s, g, t, lr, beta2, beta1, eps
        ),
        "The correction divides by 1 − βᵗ, a power: `beta1**t`, not `beta1 * t`.": {
            "beta1**t": "beta1 * t",
            "beta2**t": "beta2 * t",
        },
        "The order is wrong: return theta, m, s.": {"+ eps), m, s": "+ eps), s, m"},
        "The learning rate is missing from the move.": {"lr * m_hat": "m_hat"},
        "The correction multiplies by 1 − βᵗ. m and s are too small early on: divide by it.": {
            "m / (1 - beta1**t), s / (1 - beta2**t)": "m * (1 - beta1**t), s * (1 - beta2**t)"
        },
        "s averages the squares of m here. It is the running mean of g squared.": {"* g**2": "* m**2"},
        "s averages the squared distance of g from m, as in a variance. Average g² itself.": [
            {"* g**2": "* (g - m) ** 2"},
            {"m = beta1 *": "old, m = m, beta1 *", "* g**2": "* (g - old) ** 2"},
        ],
        "Every component has a running mean of its own. Square g component by component: `g**2`, without a sum, a "
        "mean or a norm.": [
            {"* g**2": "* (g**2).sum()"},
            {"* g**2": "* (g**2).mean()"},
            {"* g**2": "* (g @ g)"},
        ],
        "The root of s is taken before its correction. Divide s by 1 − β₂ᵗ first, then take the root: √ŝ + ε.": {
            "s / (1 - beta2**t)": "s",
            "(s_hat.sqrt() + eps)": "(s_hat.sqrt() / (1 - beta2**t) + eps)",
        },
        "That is the paper's short form, which adds ε to √s, not to √ŝ, and so makes it count for more. Divide s by "
        "1 − β₂ᵗ first: √ŝ + ε.": {
            "s / (1 - beta2**t)": "s",
            "lr * m_hat": "lr * (1 - beta2**t) ** 0.5 * m_hat",
        },
        "Division binds more tightly than subtraction: `m / 1 - beta1**t` is m − β₁ᵗ. Put brackets around 1 − βᵗ.": {
            "(1 - beta1**t)": "1 - beta1**t",
            "(1 - beta2**t)": "1 - beta2**t",
        },
        "ε stands outside the fraction: put brackets around √ŝ + ε.": [
            {"(s_hat.sqrt() + eps)": "s_hat.sqrt() + eps"},
            {"lr * m_hat / (s_hat.sqrt() + eps)": "lr * (m_hat / s_hat.sqrt() + eps)"},
        ],
        "`torch.pow` takes a tensor, and beta1 and t are numbers: write `beta1**t`.": {
            "beta1**t": "torch.pow(beta1, t)",
            "beta2**t": "torch.pow(beta2, t)",
        },
        "Without ε the move is 0 / 0 where all gradients have been 0: add it to the root.": {" + eps": ""},
        "The power belongs to β alone: 1 − βᵗ, not (1 − β)ᵗ.": {
            "(1 - beta1**t)": "(1 - beta1) ** t",
            "(1 - beta2**t)": "(1 - beta2) ** t",
        },
        "The correction takes β₁ for s and β₂ for m. m is divided by 1 − β₁ᵗ, s by 1 − β₂ᵗ.": {
            "m / (1 - beta1**t), s / (1 - beta2**t)": "m / (1 - beta2**t), s / (1 - beta1**t)"
        },
        "The means take each other's β: β₁ belongs to m, β₂ to s. (The correction has them right.)": {
            "beta1 * m + (1 - beta1) * g": "beta2 * m + (1 - beta2) * g",
            "beta2 * s + (1 - beta2) * g**2": "beta1 * s + (1 - beta1) * g**2",
        },
        "The weights of both means are swapped: β for what was there, 1 − β for what is new.": {
            "beta1 * m + (1 - beta1) * g": "(1 - beta1) * m + beta1 * g",
            "beta2 * s + (1 - beta2) * g**2": "(1 - beta2) * s + beta2 * g**2",
        },
        "The correction divides by 1 − βᵗ, with t as a power. You divide "
        "by 1 − β, which is right for t = 1 only.": lambda theta, m, s, g, t, *rest: _adam(
            theta, m, s, g, 1, *rest
        ),
    }
)


@adam_step.mistake(
    "You return m̂ and ŝ. They are for the move only; the next step continues from m and s, or they would "
    "be corrected twice."
)
def _(theta, m, s, g, t, lr, beta1, beta2, eps):
    theta, m, s = _adam(theta, m, s, g, t, lr, beta1, beta2, eps)
    return theta, m / (1 - beta1**t), s / (1 - beta2**t)


@adam_step.mistake(
    "The move takes m and s as they were before the step. Update both first, then correct them and move."
)
def _(theta, m, s, g, t, lr, beta1, beta2, eps):
    move = m / (1 - beta1**t) / ((s / (1 - beta2**t)).sqrt() + eps)
    return theta - lr * move, beta1 * m + (1 - beta1) * g, beta2 * s + (1 - beta2) * g**2


@adam_step.mistake("Move by the mean m̂ of the gradients, not by the latest gradient alone.")
def _(theta, m, s, g, *rest):
    return _adam(theta, m, s, g, *rest, move=lambda m, s, eps: g / (s.sqrt() + eps))


@adam_step.mistake("s is the running mean of g squared, not of g.")
def _(theta, m, s, g, t, lr, beta1, beta2, eps):
    m, s = beta1 * m + (1 - beta1) * g, beta2 * s + (1 - beta2) * g
    return theta - lr * m / (1 - beta1**t) / ((s / (1 - beta2**t)).sqrt() + eps), m, s


@adam_step.mistake(
    "A running mean weights the new value by 1 − β: m ← β₁m + (1 − β₁)g. Without that factor it is a "
    "growing sum."
)
def _(theta, m, s, g, t, lr, beta1, beta2, eps):
    m, s = beta1 * m + g, beta2 * s + g**2
    return theta - lr * m / (1 - beta1**t) / ((s / (1 - beta2**t)).sqrt() + eps), m, s


adam_step.remark(_ONE_RATE)(
    _breaks_on(
        adam_step, *(_numbers(1.0, -2.0), _numbers(0.5, 0.4), _numbers(0.3, 0.2), _numbers(2.0, 3.0)), 2, _RATES,
        0.9, 0.999, 1e-8,
    )
)  # fmt: skip


# Section 6: one neuron ---------------------------------------------------------------------------------------


def _without_autograd(logistic_gradient, x, y, w, b):
    """What the function gives where nothing is recorded, so that autograd has nothing to go back through."""
    with torch.no_grad():
        return logistic_gradient(x, y, w, b)


@lesson.exercise(
    observe=_without_autograd,
    cases={
        "a batch of one": (
            torch.tensor([[2.0]]),
            torch.tensor([1.0]),
            torch.tensor([0.5]),
            torch.tensor(0.1),
        ),
        "a logit of 200, labelled 0": (
            torch.tensor([[1.0, 2.0]]),
            torch.tensor([0.0]),
            torch.tensor([100.0, 50.0]),
            torch.tensor(0.0),
        ),
        "a logit of −200, labelled 1": (
            torch.tensor([[1.0, 2.0]]),
            torch.tensor([1.0]),
            torch.tensor([-100.0, -50.0]),
            torch.tensor(0.0),
        ),
        "one input": (
            torch.tensor([[1.0], [3.0], [-2.0]]),
            torch.tensor([1.0, 0.0, 0.0]),
            torch.tensor([0.5]),
            torch.tensor(0.1),
        ),
        "as many examples as inputs": (
            normal(4, 4),
            torch.tensor([1.0, 0.0, 0.0, 1.0]),
            normal(4, seed=1),
            torch.tensor(-0.5),
        ),
        "an ordinary batch": (normal(7, 3), torch.arange(7) % 2 * 1.0, normal(3, seed=1), torch.tensor(0.3)),
        "float64 numbers": (
            normal(11, 2, dtype=torch.float64),
            (torch.arange(11) % 3 == 0).double(),
            normal(2, seed=1, dtype=torch.float64),
            torch.tensor(0.7, dtype=torch.float64),
        ),
    },
    returns=("dw", "db"),
    hints=[
        "Write down the chain: a = x·w + b, p = σ(a), loss. Sigmoid and logarithm together give p − y.",
        "With `delta = (torch.sigmoid(x @ w + b) - y) / len(x)`, of shape (N,), both gradients are one line each.",
        "Every weight meets its column of x: `x.T @ delta`. The bias meets a 1 in every row.",
    ],
)
def logistic_gradient(x, y, w, b):
    """Return the gradients dw (D,) and db () of the mean binary cross-entropy of one neuron.

    Shapes: x (N, D), y (N,) of zeros and ones, w (D,), b (). The neuron outputs p = σ(x·w + b).
    """
    delta = (torch.sigmoid(x @ w + b) - y) / len(x)  # (N,)
    return x.T @ delta, delta.sum()


def _by_autograd(x, y, w, b):
    w, b = w.clone().requires_grad_(), b.clone().requires_grad_()
    return torch.autograd.grad(F.binary_cross_entropy_with_logits(x @ w + b, y), (w, b))


def _logistic(x, y, w, b, *, delta):
    difference = delta(torch.sigmoid(x @ w + b)) / len(x)
    return x.T @ difference, difference.sum()


def _of_errors(errors, dw=lambda x, errors: x.T @ errors / len(x)):
    """A wrong solution by its errors, made of p and y, of which db is the mean, and by a formula for dw."""

    def attempt(x, y, w, b):
        made = errors(torch.sigmoid(x @ w + b), y)
        return dw(x, made), made.mean()

    return attempt


def _times_w(x, y, w, b):
    errors = torch.sigmoid(x * w + b) - y
    return x.T @ errors / len(x), errors.mean()


def _every_pair(dw, *, turned=False):
    """(N, 1) − (N,), or turned (N,) − (N, 1), in the errors of which dw and db are made."""
    return _of_errors(lambda p, y: p - y[:, None] if turned else p[:, None] - y, dw)


@logistic_gradient.mistake("This is the sum over the examples. The loss is their mean: divide by `len(x)`.")
def _(x, y, w, b):
    dw, db = _logistic(x, y, w, b, delta=lambda p: p - y)
    return dw * len(x), db * len(x)


logistic_gradient.mistakes(
    {
        "The sign is wrong: it is p − y, prediction minus label. With y − p the loss "
        "grows.": lambda x, y, w, b: _logistic(x, y, w, b, delta=lambda p: y - p),
        "The slope of the sigmoid, p(1 − p), appears once too often: the derivative of "
        "the cross-entropy cancels it. Only p − y is left.": lambda x, y, w, b: _logistic(
            x, y, w, b, delta=lambda p: (p - y) * p * (1 - p)
        ),
        "The sigmoid is missing: p = σ(a) is compared with y, not a itself.": {
            "(torch.sigmoid(x @ w + b) - y) / len(x)  # (N,)": "(x @ w + b - y) / len(x)"
        },
        "exp overflows for large logits, and inf / inf is nan. `torch.sigmoid` takes care of that.": {
            "torch.sigmoid(x @ w + b)": "(x @ w + b).exp() / (1 + (x @ w + b).exp())"
        },
        "With p at 0 or 1 the chain's own factors give 0 / 0. Cancel them on paper: "
        "−y/p + (1 − y)/(1 − p), times p(1 − p), is p − y.": {
            "(torch.sigmoid(x @ w + b) - y)": (
                "(lambda p: (-y / p + (1 - y) / (1 - p)) * p * (1 - p))(torch.sigmoid(x @ w + b))"
            )
        },
        "(N, 1) − (N,) broadcasts to (N, N): every prediction meets every label. p and y should both have "
        "the shape (N,).": [
            {"torch.sigmoid(x @ w + b)": "torch.sigmoid(x @ w[:, None] + b)"},
            {" - y": " - y[:, None]"},
            *(
                _every_pair(dw, turned=turned)
                for turned in (False, True)
                for dw in (
                    lambda x, errors: x.T @ errors / len(x),
                    lambda x, errors: (x.T @ errors).mean(dim=1),
                    lambda x, errors: (errors * x).mean(dim=0),
                    lambda x, errors: (x.T @ errors / len(x)).mean(dim=1),
                )
            ),
        ],
        "You multiply the mean error by the mean input. Take the mean of the products: every error times its row of x, "
        "as in `x.T @ delta`.": _of_errors(
            lambda p, y: p - y, lambda x, errors: errors.mean() * x.mean(dim=0)
        ),
        "(N,) · (N, D) puts the errors beside the columns of x, not beside its rows. Make a column of them, "
        "`errors[:, None] * x`, or write `x.T @ errors`.": [
            _of_errors(lambda p, y: p - y, lambda x, errors: errors * x / len(x)),
            _of_errors(lambda p, y: p - y, lambda x, errors: (errors * x).mean(dim=0)),
            _of_errors(lambda p, y: p - y, lambda x, errors: (x * errors).mean(dim=0)),
        ],
        "That is the derivative with respect to p. The chain goes on through the sigmoid, whose slope p(1 − p) cancels "
        "the denominator: p − y is left.": [
            _of_errors(lambda p, y: (p - y) / (p * (1 - p))),
            _of_errors(lambda p, y: -y / p + (1 - y) / (1 - p)),
        ],
        "p is rounded to a decision, 0 or 1, and that has no slope. Subtract y from the probability: p − y.": (
            _of_errors(lambda p, y: (p > 0.5).to(p.dtype) - y)
        ),
        "You divide by N − 1, which is for variances, and by 0 for a batch of one. The mean divides by N.": [
            {"len(x)": "(len(x) - 1)"},
            _of_errors(lambda p, y: p - y, lambda x, errors: x.T @ errors / (len(x) - 1)),
        ],
        "The sign of the error is lost. Where p is too low, the gradient points the other way: p − y, without `abs`.": (
            _of_errors(lambda p, y: (p - y).abs())
        ),
        "(p − y)² is a loss. The gradient of the cross-entropy starts from p − y itself.": _of_errors(
            lambda p, y: (p - y) ** 2
        ),
        "That is p(1 − p), the slope of the sigmoid. It cancels; what is left is p − y.": _of_errors(
            lambda p, y: p * (1 - p)
        ),
        "p − 1 is right for the label 1 only. For every label it is p − y.": _of_errors(lambda p, y: p - 1),
        "The sigmoid is applied twice. Once, to x·w + b, gives p.": _of_errors(
            lambda p, y: torch.sigmoid(p) - y
        ),
        "`softmax` makes the examples compete. Here each has a probability of its own: `torch.sigmoid`.": {
            "torch.sigmoid(x @ w + b)": "torch.softmax(x @ w + b, dim=0)"
        },
        "Two things at once: it is p − y, not y − p, and the mean over the examples, not their sum.": {
            "(torch.sigmoid(x @ w + b) - y) / len(x)": "(y - torch.sigmoid(x @ w + b))"
        },
        "dw is the loss itself, one number. Its gradient has a number for each of the D weights: `x.T @ delta`.": [
            _of_errors(
                lambda p, y: p - y,
                lambda x, errors: -(1 - errors.abs()).log().mean(),
            )
        ],
        "dw multiplies the error by w. The derivative of x·w + b with respect to w is x: `x.T @ delta`.": {
            "x.T @ delta": "delta.sum() * w"
        },
        "`x * w` has the shape (N, D). Its products have to be added up in each row: `x @ w`, of shape (N,).": [
            {"x @ w": "x * w"},
            _times_w,
        ],
        "The factors are in the wrong order: x is (N, D), and w is (D,). Write `x @ w`.": {"x @ w": "w @ x"},
        "The transpose is missing: x is (N, D), and the gradient has a number for each of the D columns. Write "
        "`x.T @ delta`.": {"x.T": "x"},
        "(N,) @ (D, N) does not fit. With the N errors on the left it is `delta @ x`, else `x.T @ delta`.": {
            "x.T @ delta": "delta @ x.T"
        },
        "A factor 2 too many: that is the derivative of a square. The cross-entropy gives p − y.": {
            "- y) / len": "- y) * 2 / len"
        },
        "That is the gradient of the squared error (p − y)². The loss here is the cross-entropy, whose "
        "gradient starts from p − y alone.": lambda x, y, w, b: _logistic(
            x, y, w, b, delta=lambda p: 2 * (p - y) * p * (1 - p)
        ),
        "You divide by the number of inputs D. The mean is over the N examples: `len(x)`.": [
            {"len(x)": "x.shape[1]"},
            _of_errors(lambda p, y: p - y, lambda x, errors: x.T @ errors / x.shape[1]),
        ],
        "These are the contributions of the single examples. Add them up over the N examples: `x.T @ delta`.": {
            "x.T @ delta, delta.sum()": "x * delta[:, None], delta"
        },
        "Autograd is switched off in this check, since the exercise asks for the formula: p − y, times the "
        "inputs, averaged over the batch.": lambda x, y, w, b: _by_autograd(x, y, w, b),
        "The bias is missing from a = x·w + b.": lambda x, y, w, b: _logistic(
            x, y, w, torch.zeros_like(b), delta=lambda p: p - y
        ),
        "The order is wrong: return dw first, then db.": lambda x, y, w, b: _logistic(
            x, y, w, b, delta=lambda p: p - y
        )[::-1],
        "The labels are missing: the gradient pulls p towards y, so it starts from their"
        " difference, p − y.": lambda x, y, w, b: _logistic(x, y, w, b, delta=lambda p: p),
    }
)


@logistic_gradient.mistake(
    "db is divided by N twice: `delta` already contains the 1/N, so take its sum, not its mean."
)
def _(x, y, w, b):
    dw, db = _logistic(x, y, w, b, delta=lambda p: p - y)
    return dw, db / len(x)


@logistic_gradient.mistake("db is still a sum over the examples: take the mean, as for dw.")
def _(x, y, w, b):
    dw, db = _logistic(x, y, w, b, delta=lambda p: p - y)
    return dw, db * len(x)


# Section 7: stochastic gradients -----------------------------------------------------------------------------


noise_of_larger_batch = lesson.prediction(
    "noise_of_larger_batch",
    Question(
        4.0,
        "16 times the examples, √16 = 4 times less noise.",
        {
            16: "That is how many times more it costs. The scatter of a mean of B independent numbers falls "
            "only as 1/√B.",
            2: "That would be 4 times the examples. Here it is 64/4 = 16 times as many.",
            8: "That is √64. What counts is the ratio of the two sizes: 64/4.",
            256: "Averaging does not pay off that well: the scatter of a mean of B independent numbers "
            "falls only as 1/√B.",
            0.25: "0.25 of the noise is left. So by what factor does it fall?",
            60: "What counts is not the difference between the two sizes but their ratio, 16.",
        },
    ),
    hints=[
        "The standard error of a mean of B independent numbers is σ/√B, as in lesson 1.",
        "Divide σ/√4 by σ/√64.",
    ],
)


_PAIRS = "inputs (B, 2) with labels (B,)"
_SEEN = (
    "what comes back",
    "the sizes of the batches",
    "every example comes once per epoch",
    "inputs keep their labels",
    "the types of inputs and labels",
    "the examples come in the order in which they are stored",
    "a batch holds examples stored close to each other",
    "the second epoch repeats the order of the first",
)


def _seen(*values) -> dict[str, object]:
    return dict(itertools.zip_longest(_SEEN, values))


def _form(batches) -> str:
    """What batches are, in words: pairs of tensors, as they should be, or what the first that is none is instead."""
    for batch in batches:
        if not isinstance(batch, tuple | list):
            return f"a {type(batch).__name__} for each batch"
        if len(batch) != 2 or not all(isinstance(part, torch.Tensor) for part in batch):
            kinds = " and ".join(sorted({type(part).__name__ for part in batch}))
            return f"for each batch a {type(batch).__name__} of {len(batch)}: {kinds}"
        inputs, labels = (tuple(part.shape) for part in batch)
        if len(inputs) != 2 or inputs[1] != 2 or labels != inputs[:1]:
            return f"inputs {inputs} with labels {labels}"
    return _PAIRS


def _two_epochs(minibatches, x, y, size):
    """What can be seen of two epochs of batches; the first column of x says the place of an example."""
    places, epochs = x[:, 0].tolist(), []
    for _ in range(2):
        batches = minibatches(x, y, size)
        if batches is None:
            return _seen("None: `yield` each batch, or return a list of them")
        if isinstance(batches, tuple) and all(isinstance(one, torch.Tensor) for one in batches):
            return _seen("a single pair (x, y)")
        epochs.append(copy.deepcopy(list(batches)))  # of views it should not matter what becomes of x
    if (form := _form(epochs[0] + epochs[1])) != _PAIRS:
        return _seen(form)
    orders = [[place for one, _ in batches for place in one[:, 0].tolist()] for batches in epochs]
    jumps = torch.cat([torch.zeros(0), *(one[:, 0].diff().abs() for one, _ in epochs[0])])
    return _seen(
        _PAIRS,
        tuple(len(one) for one, _ in epochs[0]),
        sorted(orders[0]) == sorted(places),
        all(bool((one[:, 0] * 10 == label).all()) for one, label in epochs[0]),
        " and ".join(str(part.dtype) for batch in epochs[0][:1] for part in batch),
        orders[0] == places,
        # at random, two members of a batch are N/3 apart on average
        len(x) > 100 and bool(jumps.mean() < len(x) / 6),
        orders[0] == orders[1],
    )


def _examples(count):
    """Inputs that say their place, labels ten times as large."""
    place = torch.arange(count)
    return torch.stack([place, -place], dim=1).float(), place * 10


@lesson.exercise(
    observe=_two_epochs,
    cases={
        "batches of one": (*_examples(9), 1),
        "a size above the number of examples": (*_examples(9), 20),
        "10 examples in batches of 4": (*_examples(10), 4),
        "one batch of all examples": (*_examples(11), 11),
        "a size that divides the number": (*_examples(12), 3),
        "a short last batch": (*_examples(25), 7),
        "many examples": (*_examples(304), 10),
    },
    hints=[
        "`order = torch.randperm(len(x))` is a shuffled list of all indices, new at every call.",
        "`order.split(size)` cuts it into pieces of length `size`, the last one possibly shorter. Each "
        "piece picks the rows of a batch.",
        "A function with `yield x[rows], y[rows]` in a loop hands out one batch after another; a list is "
        "fine, too.",
    ],
)
def minibatches(x, y, size):
    """Yield one epoch of batches (x, y) of `size` examples, in a new random order at every call.

    Every example comes once. The last batch is shorter if N is not a multiple of `size`.
    """
    for rows in torch.randperm(len(x)).split(size):
        yield x[rows], y[rows]


def _pick(x, y, pieces):
    return [(x[rows], y[rows]) for rows in pieces]


def _pieces(x, y, size, places, end=lambda place, size: place + size):
    """Batches that begin at the places given of a random order."""
    order = torch.randperm(len(x))
    return _pick(x, y, [order[place : end(place, size)] for place in places])


def _cut(x, y, size, order, *, whole=False):
    return _pick(x, y, [rows for rows in order.split(size) if not whole or len(rows) == size])


def _handed_out(batch):
    """A wrong solution by what it hands out for the rows of a batch."""
    return lambda x, y, size: [batch(x, y, rows) for rows in torch.randperm(len(x)).split(size)]


minibatches.mistakes(
    {
        "The last, shorter batch is dropped: its examples are missing from the epoch. "
        "`order.split(size)` keeps it.": lambda x, y, size: _cut(
            x, y, size, torch.randperm(len(x)), whole=True
        ),
        "The examples come in the order in which they are stored. Shuffle: data are "
        "often sorted, and a batch should be a fair sample.": lambda x, y, size: _cut(
            x, y, size, torch.arange(len(x))
        ),
        "Some examples come twice, others not at all. Draw one permutation of all places, "
        "`torch.randperm(len(x))`, for the whole epoch, and cut it into pieces.": [
            lambda x, y, size: _cut(x, y, size, torch.randint(len(x), (len(x),))),
            lambda x, y, size: [
                (x[rows], y[rows])
                for rows in (torch.randint(len(x), (size,)) for _ in range(math.ceil(len(x) / size)))
            ],
            lambda x, y, size: [
                (x[rows], y[rows])
                for rows in (torch.randperm(len(x))[place : place + size] for place in range(0, len(x), size))
            ],
        ],
        "The last batch is lost even where it is full: let the loop run over `range(0, len(x), "
        "size)`.": lambda x, y, size: _pieces(x, y, size, range(0, len(x) - size, size)),
        "The batches overlap: each begins one example after the last. Go on by `size`: `range(0, len(x), size)`.": [
            lambda x, y, size: _pieces(x, y, size, range(len(x))),
            lambda x, y, size: _pieces(x, y, size, range(len(x) // size)),
            lambda x, y, size: _pieces(x, y, size, range(math.ceil(len(x) / size))),
        ],
        "These are all inputs, batch by batch, and then all labels. Hand out pairs: `zip` makes them of the "
        "two.": lambda x, y, size: (lambda order: (x[order].split(size), y[order].split(size)))(
            torch.randperm(len(x))
        ),
        "A batch is a single tensor here. Hand out a pair, the inputs and their labels: `x[rows], y[rows]`.": (
            _handed_out(lambda x, y, rows: x[rows])
        ),
        "These are the places of the examples. Pick the examples themselves: `x[rows], y[rows]`.": _handed_out(
            lambda x, y, rows: (rows[:, None], rows)
        ),
        "The order is wrong: hand out the inputs first, then their labels, `x[rows], y[rows]`.": _handed_out(
            lambda x, y, rows: (y[rows], x[rows])
        ),
        "A batch is two lists of single examples here. Pick all its rows at once, which gives tensors: `x[rows], "
        "y[rows]`.": _handed_out(lambda x, y, rows: ([x[row] for row in rows], [y[row] for row in rows])),
        "`squeeze` removes the axis of a batch of one. Leave it out: the inputs are (B, D), even where B is 1.": [
            _handed_out(lambda x, y, rows: (x[rows].squeeze(), y[rows].squeeze())),
            _handed_out(lambda x, y, rows: (x[rows].squeeze(), y[rows])),
            _handed_out(lambda x, y, rows: (x[rows], y[rows].squeeze())),
        ],
        "Every batch of inputs comes with all labels. Pick both with the same rows: `x[rows], y[rows]`.": [
            _handed_out(lambda x, y, rows: (x[rows], y)),
            lambda x, y, size: [
                (one, y[order]) for order in [torch.randperm(len(x))] for one in x[order].split(size)
            ],
        ],
        "The labels get an axis of their own. Leave them as they are, of shape (B,): `y[rows]`.": _handed_out(
            lambda x, y, rows: (x[rows], y[rows][:, None])
        ),
        "A batch is a dictionary here. Hand out a pair: `x[rows], y[rows]`.": _handed_out(
            lambda x, y, rows: {"x": x[rows], "y": y[rows]}
        ),
        "These are single examples. A batch has `size` of them: cut the order into pieces, and pick all rows of a "
        "piece.": lambda x, y, size: list(zip(x, y, strict=True)),
        "A single pair comes back, as from `return` inside of a loop. Write `yield`, which hands out a batch and goes "
        "on.": lambda x, y, size: _pieces(x, y, size, [0])[0],
        "All batches are handed out at once, in one list. `yield` them one by one, or return the list "
        "itself.": lambda x, y, size: [_cut(x, y, size, torch.randperm(len(x)))],
        "`yield` stands below the loop, so only the last batch is handed out. Move it into the "
        "loop.": lambda x, y, size: _cut(x, y, size, torch.randperm(len(x)))[-1:],
        "The short batch comes first. Make it the last one: `order.split(size)` does.": lambda x, y, size: (
            _pick(x, y, sorted(torch.randperm(len(x)).split(size), key=len))
        ),
        "The batches are of nearly equal size. All have `size` examples, and only the last one may be shorter: "
        "`order.split(size)`.": lambda x, y, size: _pick(
            x, y, torch.randperm(len(x)).tensor_split(math.ceil(len(x) / size))
        ),
        "The last batch is filled up with examples that came before. It should hold only those that are left.": [
            lambda x, y, size: _pieces(
                x, y, size, [min(place, max(len(x) - size, 0)) for place in range(0, len(x), size)]
            ),
            lambda x, y, size: _pick(
                x, y, torch.randperm(len(x)).repeat(3)[: math.ceil(len(x) / size) * size].split(size)
            ),
        ],
        "One example never comes. Draw a permutation of all of them, `torch.randperm(len(x))`, and begin the first "
        "batch at 0.": [
            {"len(x)": "len(x) - 1"},
            lambda x, y, size: _pieces(x, y, size, range(1, len(x), size)),
        ],
        "A last batch of one example is lost: let the loop run over `range(0, len(x), size)`.": lambda x, y, size: (
            _pieces(x, y, size, range(0, len(x) - 1, size))
        ),
        "Where `size` divides the number of examples, an empty batch comes last. Let the loop run over "
        "`range(0, len(x), size)`.": lambda x, y, size: _pieces(x, y, size, range(0, len(x) + 1, size)),
        "Every slice is one example short, since its end does not belong to it. Write `order[first : first + "
        "size]`.": lambda x, y, size: _pieces(
            x, y, size, range(0, len(x), size), lambda place, size: place + size - 1
        ),
        "Every slice ends at `size`. Go on from where it begins: `order[first : first + size]`.": lambda x, y, size: (
            _pieces(x, y, size, range(0, len(x), size), lambda place, size: size)
        ),
        "`x.shape[1]` is the number of columns. The examples are the rows: `torch.randperm(len(x))`.": {
            "len(x)": "x.shape[1]"
        },
        "`torch.randperm` takes a number: `len(x)`.": {"len(x)": "x"},
        "`/` gives a float, and `range` takes integers. Let it run over the places where batches begin: `range(0, "
        "len(x), size)`.": {"torch.randperm(len(x)).split(size)": "range(len(x) / size)"},
        "`order[x]` picks places by the inputs. It is the other way round: `x[order]`.": {
            "x[rows], y[rows]": "rows[x], rows[y]"
        },
        "Every example comes twice: the loop goes through the data two times. One call is one "
        "epoch.": lambda x, y, size: (
            _cut(x, y, size, torch.randperm(len(x))) + _cut(x, y, size, torch.randperm(len(x)))
        ),
        "`chunk` takes the number of batches. For their size use `split`.": lambda x, y, size: _pick(
            x, y, torch.randperm(len(x)).chunk(size)
        ),
        "These are `size` batches, of every `size`-th example. A batch has `size` examples: "
        "`order.split(size)`.": lambda x, y, size: _pick(
            x, y, (lambda order: [order[place::size] for place in range(size)])(torch.randperm(len(x)))
        ),
    }
)


@minibatches.mistake(
    "The second epoch repeats the order of the first. Draw a new permutation at every call, without setting a "
    "seed, and leave x and y as they are."
)
def _(x, y, size):
    return _cut(x, y, size, torch.randperm(len(x), generator=torch.Generator().manual_seed(1)))


@minibatches.mistake(
    "An input gets the label of another: inputs and labels are shuffled separately, or only one of them is. Draw "
    "one permutation and index both with it."
)
def _(x, y, size):
    x, y = x[torch.randperm(len(x))], y[torch.randperm(len(y))]
    return _cut(x, y, size, torch.arange(len(x)))


@minibatches.mistake(
    "Only the order of the batches changes; each still holds the same neighbours. Shuffle the examples, "
    "then split them."
)
def _(x, y, size):
    batches = _cut(x, y, size, torch.arange(len(x)))
    return [batches[place] for place in torch.randperm(len(batches))]


@minibatches.mistake(
    "The order changes only within each batch; each still holds the same neighbours. Shuffle all examples, then "
    "split them."
)
def _(x, y, size):
    pieces = torch.arange(len(x)).split(size)
    return _pick(x, y, [rows[torch.randperm(len(rows))] for rows in pieces])


@minibatches.mistake("This is one batch only. An epoch has as many as it takes to see every example once.")
def _(x, y, size):
    rows = torch.randperm(len(x))[:size]
    return [(x[rows], y[rows])]


# Section 8: the best step of a finite difference -------------------------------------------------------------


halve_the_step = lesson.prediction(
    "halve_the_step",
    Question(
        4.0,
        "The error of the central difference is proportional to h², so half the step leaves a quarter of it.",
        {
            2: "That is the one-sided difference, whose error is proportional to h. In the central one the "
            "terms in h cancel.",
            8: "That would need an error proportional to h³. The first term that does not cancel is the one "
            "in h².",
            16: "That would need an error proportional to h⁴. The first term that does not cancel is the "
            "one in h².",
            0.25: "0.25 of the error is left. So by what factor does it fall?",
            1: "It does fall: the first term that does not cancel is the one in h².",
        },
    ),
    hints=[
        "Write f(x + h) and f(x − h) as Taylor series up to h³ and subtract them. Which terms cancel?",
        "What is left besides f′ is h² f‴/6. Put h/2 in place of h.",
    ],
)


# Section 9: the gradient of least squares --------------------------------------------------------------------


@lesson.exercise(
    cases={
        "one parameter": (
            torch.tensor([[1.0], [2.0], [-1.0]]),
            torch.tensor([3.0]),
            torch.tensor([1.0, 1.0, 2.0]),
        ),
        "one measurement": (torch.tensor([[1.0, 2.0]]), torch.tensor([3.0, -1.0]), torch.tensor([4.0])),
        "a perfect fit": (
            torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 1.0]]),
            torch.tensor([2.0, 1.0]),
            torch.tensor([4.0, 1.0, 7.0]),
        ),
        "a square X": (normal(3, 3), normal(3, seed=1), normal(3, seed=2)),
        "five measurements": (normal(5, 2, seed=3), normal(2, seed=4), normal(5, seed=5)),
        "θ of zeros": (normal(6, 3, seed=6).double(), torch.zeros(3).double(), normal(6, seed=7).double()),
        "more parameters than measurements": (normal(3, 5, seed=8), normal(5, seed=9), normal(3, seed=10)),
        "float64 numbers": (
            normal(7, 4, dtype=torch.float64),
            normal(4, seed=1, dtype=torch.float64),
            normal(7, seed=2, dtype=torch.float64),
        ),
    },
    hints=[
        "Call the residual r = Xθ − y, of shape (N,). The loss is r·r. What is its derivative with respect "
        "to r?",
        "By the chain rule 2r is multiplied by the Jacobian of r, which is X. The result must have the shape of θ.",
        "`X.T @ r` has the shape (D,). Only a factor is still missing.",
    ],
)
def least_squares_gradient(X, theta, y):
    """Return the gradient (D,) of the squared error ‖Xθ − y‖² with respect to θ.

    Shapes: X (N, D), theta (D,), y (N,). The squared error is a sum, not a mean.
    """
    return 2 * X.T @ (X @ theta - y)


def _every_pair_of_squares(reduced, *, turned=False):
    """(N, 1) − (N,), or turned (N,) − (N, 1), as the residual."""

    def attempt(X, theta, y):
        residual = X @ theta - y[:, None] if turned else (X @ theta)[:, None] - y
        return reduced(2 * X.T @ residual)

    return attempt


least_squares_gradient.mistakes(
    {
        "(N, 1) − (N,) broadcasts to (N, N): every prediction meets every measurement. Xθ and y should both have the "
        "shape (N,).": [
            _every_pair_of_squares(reduced, turned=turned)
            for turned in (False, True)
            for reduced in (lambda a: a, lambda a: a.sum(dim=1), lambda a: a.mean(dim=1))
        ],
        "Only one of the two terms has the factor 2. It multiplies the whole residual: 2Xᵀ(Xθ − y).": [
            {"2 * X.T @ (X @ theta - y)": "2 * X.T @ X @ theta - X.T @ y"},
            {"2 * X.T @ (X @ theta - y)": "X.T @ X @ theta - 2 * X.T @ y"},
        ],
        "(N,) · (N, D) puts the residuals beside the columns of X, not beside its rows. Make a column of them, "
        "`residual[:, None] * X`, or write `X.T @ residual`.": [
            lambda X, theta, y: 2 * (X * (X @ theta - y)).sum(dim=0),
            lambda X, theta, y: 2 * ((X @ theta - y) * X).sum(dim=0),
            lambda X, theta, y: 2 * (X @ theta - y) * X,
        ],
        "Two things at once: the residual is Xθ − y, not y − Xθ, and its errors are summed, not divided by N.": {
            "(X @ theta - y)": "(y - X @ theta) / len(y)"
        },
        "2XᵀX is the Hessian, (D, D). The gradient multiplies the residual: 2Xᵀ(Xθ − y).": {
            "(X @ theta - y)": "X"
        },
        "θ is missing: the residual is Xθ − y.": [
            {"X @ theta - y": "X - y"},
            {"X @ theta - y": "X.sum(dim=1) - y"},
        ],
        "Every residual multiplies its own row of X. Multiply first and add up then, as in `X.T @ residual`.": [
            lambda X, theta, y: 2 * (X @ theta - y).mean() * X.sum(dim=0),
            lambda X, theta, y: 2 * (X @ theta - y).sum() * X.sum(dim=0),
        ],
        "The sign of the residual is lost. The derivative of r² is 2r, without `abs`.": {
            "(X @ theta - y)": "(X @ theta - y).abs()"
        },
        "Xθ is missing: the residual is Xθ − y.": {"(X @ theta - y)": "-y"},
        "`sign` belongs to the gradient of the absolute error. The derivative of r² is 2r.": [
            {" 2 *": "", "(X @ theta - y)": "(X @ theta - y).sign()"},
            {"(X @ theta - y)": "(X @ theta - y).sign()"},
        ],
        "That is the θ with the smallest error. Return the gradient at the θ that is given: 2Xᵀ(Xθ − y).": (
            lambda X, theta, y: torch.linalg.pinv(X) @ y
        ),
        "The factors are in the wrong order: X is (N, D), and θ is (D,). Write `X @ theta`.": {
            "X @ theta": "theta @ X"
        },
        "`X * theta` has the shape (N, D). Its products have to be added up in each row: `X @ theta`, of shape (N,).": {
            "X @ theta": "X * theta"
        },
        "(N,) @ (D, N) does not fit. With the N residuals on the left it is `residual @ X`, else `X.T @ residual`.": {
            "2 * X.T @ (X @ theta - y)": "2 * (X @ theta - y) @ X.T"
        },
        "`dot` takes two vectors. For a matrix and a vector it is `@`.": {"X @ theta": "X.dot(theta)"},
        "The factor 2 is missing: the derivative of r² is 2r.": {" 2 *": ""},
        "The transpose is missing: the residual has a number for each of the N rows, the gradient one "
        "for each of the D columns. `X.T @ residual` goes from one to the other.": {"X.T": "X"},
        "The sign is wrong: the residual is Xθ − y, prediction minus measurement.": {
            "X @ theta - y": "y - X @ theta"
        },
        "You divided by N, which gives the gradient of the mean. Here the errors are summed.": {
            "(X @ theta - y)": "(X @ theta - y) / len(y)"
        },
        "That is the loss itself, one number. Its gradient has a number for each entry "
        "of θ.": lambda X, theta, y: (X @ theta - y).square().sum(),
        "y is missing: the residual is Xθ − y.": {" - y": ""},
        "That is twice the residual. The chain rule also multiplies it by Xᵀ from the left.": {" X.T @": ""},
        "The brackets are missing: Xᵀ multiplies the whole residual, Xθ − y.": {
            "(X @ theta - y)": "X @ theta - y"
        },
        "The derivative of r² is 2r: the residual should not be squared in the gradient.": [
            {"(X @ theta - y)": "(X @ theta - y) ** 2"},
            {" 2 *": "", "(X @ theta - y)": "(X @ theta - y) ** 2"},
        ],
        "These are the contributions of the rows, (N, D). Add them up over the N measurements.": {
            "X.T @ (X @ theta - y)": "X * (X @ theta - y)[:, None]"
        },
        "Two things at once: the factor 2 of 2r is missing, and the sum is divided by N.": {
            " 2 *": "",
            "(X @ theta - y)": "(X @ theta - y) / len(y)",
        },
        "That is the gradient of the length ‖Xθ − y‖, not of its square: do not divide by the "
        "length.": lambda X, theta, y: X.T @ (X @ theta - y) / (X @ theta - y).norm(),
        "The gradient is a column, (D, 1). θ has the shape (D,), and so should its gradient.": {
            "(X @ theta - y)": "(X @ theta - y)[:, None]"
        },
    }
)


# Section 10: the limit with momentum -------------------------------------------------------------------------

limit_with_momentum = lesson.prediction(
    "limit_with_momentum",
    Question(
        0.38,
        "−e = (1 + μ − αλ) e + μ e, so αλ = 2(1 + μ) = 3.8: almost twice the limit of plain descent.",
        {
            0.2: "That is the limit 2/λ of plain descent. In the recursion the term −μ e(t − 1) = +μ e pulls back.",
            0.02: "Momentum lengthens the steps in a steady direction tenfold, but here the pushes alternate: put "
            "e(t + 1) = e(t − 1) = −e into the recursion.",
            0.19: "That is (1 + μ)/λ, half the limit. Bring all terms in e to one side: αλ = 2 + 2μ.",
            0.1: "That is 1/λ, where plain descent needs a single step. The limit is further up.",
            3.8: "That is αλ. Divide it by λ = 10.",
            2: "That is 2/λ, divided by 1 − μ. Momentum lengthens steps by that factor in a steady direction; at the "
            "limit, they alternate.",
            0.29: "The sign of the last term: e(t − 1) is −e, too, so −μ e(t − 1) is +μ e.",
        },
        tolerance=0.001,
    ),
    hints=[
        "At the limit e(t) = e, so e(t + 1) = −e and e(t − 1) = −e. Put the three into the recursion.",
        "What is left is −1 = 1 + μ − αλ + μ. Solve it for α, with λ = 10 and μ = 0.9.",
    ],
)


# Section 14: clipping ----------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "one vector": ([torch.tensor([3.0, 4.0])], 1.0),
        "a vector shorter than the threshold": ([torch.tensor([1.2, -0.5])], 1.5),
        "a vector as long as the threshold": ([torch.tensor([0.6, -0.8])], 1.0),
        "a threshold above 1": ([torch.tensor([1.5, 6.0, -2.0])], 2.5),
        "a norm and a threshold below 1": ([torch.tensor([0.54, -0.72])], 0.5),
        "all zeros": ([torch.zeros(3)], 1.0),
        "two tensors, one of them short": ([torch.tensor([3.0, 1.0]), torch.tensor([[2.0], [-4.0]])], 3.5),
        "two tensors, short only one by one": (
            [torch.tensor([1.0, 0.5]), torch.tensor([[0.5], [-1.2], [0.1]])],
            1.4,
        ),
        "two tensors, short together": ([torch.tensor([0.2, 0.1]), torch.tensor([[0.3], [-0.4]])], 0.7),
        "a layer's weights and biases": ([normal(3, 4), normal(3, seed=1)], 0.5),
        "float64 numbers": (
            [20 * normal(5, 2, dtype=torch.float64), 20 * normal(2, seed=1, dtype=torch.float64)],
            3.0,
        ),
    },
    hints=[
        "All tensors together are one long vector. Its length is the root of the sum of all squares.",
        "Multiply every tensor by the same number: max_norm / norm if the norm is above the threshold, else 1.",
        "`min(1, max_norm / norm)` is that number; take care of a norm of 0.",
    ],
)
def clip_by_norm(gradients, max_norm):
    """Return a list of the gradients, all scaled by one factor so that their joint norm is at most `max_norm`.

    `gradients` is a list of tensors. The joint norm is that of all their numbers as one vector;
    where it is at most `max_norm`, they come back unchanged.
    """
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    factor = max_norm / norm if norm > max_norm else 1.0
    return [gradient * factor for gradient in gradients]


def _joint_norm(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients]).norm()


def _with_norm(norm):
    """The solution with another norm."""

    def attempt(gradients, max_norm):
        length = norm(gradients)
        return [gradient * max_norm / length if length > max_norm else gradient for gradient in gradients]

    return attempt


def _by_rows(gradients, max_norm):
    norm = sum((gradient**2).sum(dim=-1) for gradient in gradients).sqrt()
    return [gradient * (max_norm / norm).clamp(max=1) for gradient in gradients]


clip_by_norm.mistakes(
    {
        "Every tensor decides for itself whether it is scaled. Compare the joint norm with `max_norm`: all are scaled, "
        "or none.": lambda gradients, max_norm: [
            gradient * max_norm / _joint_norm(gradients) if gradient.norm() > max_norm else gradient
            for gradient in gradients
        ],
        "Every tensor is scaled to the length `max_norm` on its own, even a short one. Scale all by one factor, from "
        "their joint norm, and only where that is above `max_norm`.": lambda gradients, max_norm: [
            gradient * max_norm / gradient.norm() for gradient in gradients
        ],
        "Each tensor gets its share of `max_norm` and is clipped on its own. Scale all by one factor, max_norm / norm, "
        "with their joint norm.": lambda gradients, max_norm: [
            gradient * min(1.0, max_norm / len(gradients) / gradient.norm()) for gradient in gradients
        ],
        "Zeros become nan: they are divided by a norm of 0. Divide only where the norm is above the "
        "threshold.": lambda gradients, max_norm: [
            gradient / _joint_norm(gradients) * min(_joint_norm(gradients), max_norm)
            for gradient in gradients
        ],
        "The tensors come back flattened. Flatten them for the norm only, and scale those that were given.": {
            "[gradient * factor": "[gradient.flatten() * factor"
        },
        "Each tensor is scaled by the norm of those so far. Compute the joint norm of all first, then scale them in a "
        "second loop.": lambda gradients, max_norm: [
            gradient * min(1.0, max_norm / _joint_norm(gradients[: number + 1]))
            for number, gradient in enumerate(gradients)
        ],
        "`return` stands inside of the loop and ends it with the first tensor. Move it to the left, below the loop.": {
            "[gradient * factor for gradient in gradients]": "[gradients[0] * factor]",
        },
        "The mean of the squares gives the size of a typical number. The norm is the root of their sum.": _with_norm(
            lambda gradients: torch.cat([one.flatten() for one in gradients]).square().mean().sqrt()
        ),
        "Only the largest of the tensors' norms counts here. Their joint norm is the root of the sum of all "
        "squares.": _with_norm(lambda gradients: max(one.norm() for one in gradients)),
        "Only the norm of the first tensor counts here. The joint norm is the root of the sum of all squares.": (
            _with_norm(lambda gradients: gradients[0].norm())
        ),
        "The joint norm is the root of the sum of squares. The sum of the tensors' norms is larger.": _with_norm(
            lambda gradients: sum(one.norm() for one in gradients)
        ),
        "The root is missing: the norm is the root of the sum of all squares.": _with_norm(
            lambda gradients: _joint_norm(gradients) ** 2
        ),
        "This norm adds up absolute values. The length of a vector is the root of the sum of its squares.": (
            _with_norm(lambda gradients: sum(one.abs().sum() for one in gradients))
        ),
        "The norms of the tensors are averaged. Their joint norm is the root of the sum of all squares.": (
            _with_norm(lambda gradients: sum(one.norm() for one in gradients) / len(gradients))
        ),
        "Only the norm of the last tensor counts here: is it overwritten in a loop? The joint norm is the root of the "
        "sum of all squares.": _with_norm(lambda gradients: gradients[-1].norm()),
        "The tensors are added before the norm is taken. Add up their squares: the joint norm is the root of the sum "
        "of all squares.": _with_norm(lambda gradients: sum(gradients).norm()),
        "The sums run along the rows only, so there are several norms. One joint norm is the root of the sum of *all* "
        "squares.": _by_rows,
        "The squares are missing under the root. The norm is the root of the sum of all squared numbers.": [
            _with_norm(lambda gradients: sum(one.norm() for one in gradients) ** 0.5),
            _with_norm(lambda gradients: sum(one.abs().sum() for one in gradients) ** 0.5),
        ],
        "The numbers are added up without squares, so some cancel. The norm is the root of the sum of all squares.": [
            _with_norm(lambda gradients: sum(one.sum() for one in gradients)),
            lambda gradients, max_norm: [
                gradient * min(1.0, max_norm / sum(one.sum() for one in gradients)) for gradient in gradients
            ],
        ],
        "The factor is max_norm / norm itself, without a root.": {
            "max_norm / norm": "(max_norm / norm) ** 0.5"
        },
        "The factor is squared. It is max_norm / norm: take the root of the sum of squares first.": {
            "max_norm / norm": "(max_norm / norm) ** 2"
        },
        "`gradients` is a list, and a list cannot be scaled. Scale its tensors: "
        "`[gradient * factor for gradient in gradients]`.": lambda gradients, max_norm: (
            gradients * min(1.0, max_norm / _joint_norm(gradients))
        ),
        "Tensors of different shapes cannot be joined as they are. Flatten each of them: "
        "`torch.cat([gradient.flatten() for gradient in gradients])`.": [
            {"gradient.flatten()": "gradient"},
            {"torch.cat": "torch.stack", "gradient.flatten()": "gradient"},
        ],
        "The norm comes back as well. Return the list of the scaled gradients alone.": {
            "return [gradient * factor for gradient in gradients]": (
                "return [gradient * factor for gradient in gradients], norm"
            ),
        },
        "The largest number decides here. The norm is the root of the sum of all squares.": [
            _with_norm(lambda gradients: max(one.abs().max() for one in gradients)),
            _with_norm(lambda gradients: max(one.max() for one in gradients)),
        ],
        "The norm is compared with 1. Compare it with `max_norm`.": {"norm > max_norm": "norm > 1"},
        "They come back unchanged, whatever their norm. Is the scaled gradient thrown "
        "away?": lambda gradients, max_norm: gradients,
        "The factor is upside down: multiply by max_norm / norm.": {"max_norm / norm": "norm / max_norm"},
        "The square of the norm is compared with `max_norm`. Compare the norm itself.": {
            "norm > max_norm": "norm**2 > max_norm"
        },
        "This clips each number on its own, which changes the direction of the "
        "gradient. Scale all of them by one factor.": lambda gradients, max_norm: [
            gradient.clamp(-max_norm, max_norm) for gradient in gradients
        ],
    }
)


@clip_by_norm.mistake(
    "Small gradients are scaled up to the threshold. Only those that are too long should change."
)
def _(gradients, max_norm):
    norm = _joint_norm(gradients)
    return [gradient * max_norm / norm if norm > 0 else gradient for gradient in gradients]


@clip_by_norm.mistake(
    "Short gradients are scaled up, and zeros become nan. Scale only where the norm is above the threshold."
)
def _(gradients, max_norm):
    norm = _joint_norm(gradients)
    return [gradient * max_norm / norm for gradient in gradients]


@clip_by_norm.mistake(
    "This clips each tensor on its own. The norm is that of all their numbers together, and one factor "
    "scales them all."
)
def _(gradients, max_norm):
    return [
        gradient * (max_norm / gradient.norm()).clamp(max=1) if gradient.any() else gradient
        for gradient in gradients
    ]


@clip_by_norm.mistake("Divided by the norm, the result has length 1. It should have the length `max_norm`.")
def _(gradients, max_norm):
    norm = _joint_norm(gradients)
    return [gradient / norm if norm > max_norm else gradient for gradient in gradients]


# The quiz ----------------------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "Every answer is in the lesson: sections 2, 3, 5, 11, 7, 12, 13 and 14.",
        "Work the numbers out on paper, with the formulas of those sections.",
    ],
    limit=Question(
        0.25,
        "2/f″ = 2/8. At 0.25 itself it oscillates between two points for ever.",
        {
            0.125: "1/f″ lands in the minimum at once. It still converges up to twice that.",
            4: "That is f″/2. The limit is 2/f″: the stronger the curvature, the smaller the step.",
            16: "That is 2f″. The limit is 2/f″: the stronger the curvature, the smaller the step.",
            8: "That is the curvature. The limit is 2/f″.",
        },
        tolerance=1e-6,
    ),
    rising_loss=Question(
        "b",
        "Each step lands further up the other side than it started. A smaller learning rate ends that.",
        {
            "a": "Training longer makes it worse: the distance grows by the same factor in every step.",
            "c": "Momentum lengthens the steps. They are too long already.",
            "d": "The direction is not the problem: the steps are too long, wherever it starts.",
        },
    ),
    first_adam_step=Question(
        0.001,
        "m̂ = g and √ŝ = |g|, so the first step is α long, whatever the gradient.",
        {
            0.5: "That is plain gradient descent, α · 500. Adam divides by √ŝ, which is 500 here.",
            500: "Adam divides the gradient by √ŝ, which is 500 here.",
            -0.001: "It moves against the gradient, yes. But the question is how far: the distance, without "
            "its sign.",
            0.0001: "That would be m without its bias correction. With m̂ = g it is 0.001.",
            1: "g/√ŝ is 1, yes. But it is still multiplied by α.",
        },
        tolerance=1e-6,
    ),
    which_point=Question(
        "c",
        "Up in one direction, down in another: a saddle.",
        {
            "a": "A minimum curves upwards in every direction: both eigenvalues would be positive.",
            "b": "A maximum curves downwards in every direction: both eigenvalues would be negative.",
            "d": "On a plateau all eigenvalues are close to 0.",
        },
    ),
    iterations=Question(
        469,
        "60,000/128 = 468.75: 468 full batches and a short one.",
        {
            468: "These are the full batches. The 96 examples left over make one more, shorter batch.",
            468.75: "There is no such thing as three quarters of a step: the last batch is shorter, but it "
            "is a batch.",
            60000: "That would be batches of one example.",
            128: "That is the number of examples in a batch. How many batches does it take to see all examples?",
        },
    ),
    xor=Question(
        "a",
        "Its boundary is a straight line, and no line has (0,0) and (1,1) on one side, (0,1) and (1,0) on the other.",
        {
            "b": "Its loss is convex: it has no other valley, and gradient descent reaches the bottom. The bottom is "
            "too high.",
            "c": "Neither more examples nor more steps help: the four points are all there are.",
            "d": "The sigmoid is not to blame: any increasing activation function gives a straight boundary.",
        },
    ),
    grid=Question(
        1_000_000,
        "10 · 10 · 10 · 10 · 10 · 10. One more weight, and it takes ten times as long.",
        {
            60: "That is 10 · 6: one weight at a time. A grid tries every combination, 10⁶.",
            600: "Every value of one weight is combined with every value of the others: 10 · 10 · 10 and so on.",
            100000: "That would be five weights.",
        },
    ),
    clipped=Question(
        0.6,
        "The norm is 5, so both components are divided by 5: (0.6, 0.8) points where (3, 4) does.",
        {
            1: "That is clipping by value. Clipping by norm keeps the direction: both are divided by 5.",
            3: "The norm is 5, above the limit, so it is scaled.",
            0.75: "That divides by 4, the larger component. The norm is √(9 + 16) = 5.",
            0.43: "That divides by 3 + 4. The norm is √(9 + 16) = 5.",
            0.12: "That divides by 25, the square of the norm.",
            0.8: "That is the second component.",
        },
        tolerance=0.005,
    ),
)
