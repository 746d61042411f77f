"""The exercises of lesson 12, Normalizing flows: solutions, classic mistakes, hints."""

import functools
import inspect
import math
import random
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from coursekit import data, runtime
from coursekit.checks import ExerciseSet, ModelExercise, NamedFunction, Question, difference, normal, show

lesson = ExerciseSet("Lesson 12")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# What several exercises need ----------------------------------------------------------------------------------


class _FlowFunction(NamedFunction):
    """A function of a point or a batch, with the tensors in it that record gradients, by name."""

    def __init__(self, name, function, **parts):
        super().__init__(name, function)
        self.parts = parts


def _as_it_is(result):
    return result


def _seen(attempt, solution, **case):
    """What an attempt returns; where it is right and the case records gradients, which of these it passes on."""
    sources = {name: one for name, one in case.items() if isinstance(one, Tensor) and one.requires_grad}
    if not sources:
        return attempt(*case.values())
    for one in case.values():
        sources |= getattr(one, "parts", {})
    given = {name: one.clone() if name in sources else one for name, one in case.items()}
    result, right = attempt(*given.values()), solution(*case.values())
    if not all(torch.equal(given[name], case[name]) for name in given.keys() & sources.keys()):
        result = right  # that an argument is changed shows in the other cases
    if difference(result, right):
        return [*map(_detached, result)] if isinstance(result, tuple | list) else _detached(result)
    if isinstance(right, Tensor):
        return {"gradients": _passed_on(result, right, sources)}
    return {
        f"gradients of {name}": _passed_on(*pair, sources)
        for name, *pair in zip(("z", "the log-determinants"), result, right, strict=True)
    }


def _detached(result):
    return result.detach() if isinstance(result, Tensor) else result


def _passed_on(result, right, sources):
    """For each of the sources, whether its gradient is that of the solution."""
    if not isinstance(result, Tensor):
        return "none, since it is no tensor"
    try:
        mine, wanted = (
            torch.autograd.grad(one.sum(), sources.values(), retain_graph=True, materialize_grads=True)
            if one.requires_grad
            else [torch.zeros_like(source) for source in sources.values()]
            for one in (result, right)
        )
    except RuntimeError:
        return "none, since a tensor on the way was changed in place"
    return ", ".join(
        f"{name} " + ("right" if torch.allclose(a, b, 1e-3, 1e-5) else "wrong" if a.any() else "none")
        for name, a, b in zip(sources, mine, wanted, strict=True)
    )


_RECORDED = "with gradients recorded"  # the name of the case
_CUT_OFF = (
    "The numbers are right, but no gradient flows back through them, and training needs one. Stay with tensors, "
    "without `.item()`, `.detach()`, `torch.no_grad()` or NumPy."
)
_NUMBER_CUT_OFF = (
    "The number is right, but no gradient flows back through it, and training needs one. Stay with tensors, without "
    "`.item()`, `.detach()`, `torch.no_grad()` or NumPy."
)
_NO_TENSOR = (
    "The number is right, but it is no tensor, so no gradient flows back through it. Compute with tensors to the end, "
    "without `.item()`, `float` or `.tolist()`."
)
_BY_NUMPY = (
    "NumPy takes no part in backpropagation, and `.detach()` would cut the gradient off. Stay with tensors: torch has "
    "the same functions."
)
_LOG_DETS_CUT_OFF = (
    "Both results are right, but no gradient flows back through the log-determinants, so training would ignore them. "
    "Keep them tensors, without `.item()`, `.detach()` or `torch.tensor`."
)
_Z_CUT_OFF = (
    "Both results are right, but no gradient flows back through z, though the loss depends on it. Keep it a tensor, "
    "without `.item()`, `.detach()` or `.data`."
)


def _cut_off(solution, told=_CUT_OFF):
    """Wrong solutions for one result, by sentence."""

    def by_numpy(*case):
        case[0].numpy()
        return solution(*case)

    return {told: lambda *case: solution(*case).detach(), _BY_NUMPY: by_numpy}


def _pair_cut_off(solution):
    """Wrong solutions for z and the log-determinants, by sentence."""

    def cut(first, second):
        def attempt(*case):
            z, log_det = solution(*case)
            return first(z), second(log_det)

        return attempt

    return {
        _CUT_OFF: cut(_detached, _detached),
        _LOG_DETS_CUT_OFF: cut(_as_it_is, _detached),
        _Z_CUT_OFF: cut(_detached, _as_it_is),
    }


def _by_sentence(build, *families):
    """The table of mistakes for families of slips; a list of options makes several wrong solutions for a sentence."""
    return {
        told: [build(**one) for one in (options if isinstance(options, list) else [options])]
        for family in families
        for told, options in family.items()
    }


# Section 1: stretching a density ------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "x = z": (torch.tensor([0.0, 1.0]), 1.0, 0.0),
        "twice as wide": (torch.tensor([0.0, 2.0]), 2.0, 0.0),
        "shifted by 3": (torch.tensor([3.0, 4.0, 1.0]), 1.0, 3.0),
        "negative a": (normal(4, seed=10), -1.5, 0.5),
        "a density above 1": (torch.tensor([1.0, 1.1, 0.7]), 0.25, 1.0),
        "one number": (torch.tensor(0.7), 0.8, -0.4),
        "a matrix": (normal(3, 2, seed=11), 3.0, -1.0),
        "a square matrix": (normal(3, 3, seed=12), -0.4, 2.0),
        "far out in the tails": (torch.tensor([-1000.0, 40.0]), 1.5, 2.0),
        "float64 numbers": (normal(5, seed=13, dtype=torch.float64), 0.5, 0.25),
    },
    hints=[
        "Solve x = a·z + b for z. What is ∂z/∂x, and what does its absolute value do to the density?",
        "ln p(x) = ln N(z) + ln|∂z/∂x|, with ln N(z) = −z²/2 − ½ ln(2π) and ∂z/∂x = 1/a, which may be negative.",
        "`z = (x - b) / a`, then `-0.5 * z**2 - 0.5 * math.log(2 * math.pi)`, and finally subtract the logarithm of "
        "`abs(a)`.",
    ],
)
def log_prob_affine(x, a, b):
    """Return ln p(x) for x = a·z + b with z from N(0, 1), as a tensor in the shape of x. a and b are numbers, a ≠ 0."""
    z = (x - b) / a
    log_base = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    return log_base - math.log(abs(a))


_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def _affine_log_prob(
    latent=lambda x, a, b: (x - b) / a,
    base=lambda z: -0.5 * z**2 - _HALF_LOG_2PI,
    change=lambda base, a: base - math.log(abs(a)),
    out=lambda log_p, z: log_p,
):
    """The log-density by a change of variables, with what can go wrong as arguments."""

    def attempt(x, a, b):
        z = latent(x, a, b)
        return out(change(base(z), a), z)

    return attempt


_AFFINE_LATENTS = {
    "The base density is taken at x itself. It wants the z that belongs to x: `z = (x - b) / a`.": {
        "latent": lambda x, a, b: x
    },
    "a·x + b is the step from z to x, and you need the way back. Solve x = a·z + b for z: `(x - b) / a`.": {
        "latent": lambda x, a, b: a * x + b
    },
    "z is (x − b)·a here. To undo a multiplication by a, divide by it: `(x - b) / a`.": {
        "latent": lambda x, a, b: (x - b) * a
    },
    "z is x/a − b here: b has to go before you divide. With brackets: `(x - b) / a`.": {
        "latent": lambda x, a, b: x / a - b
    },
    "z is x − b/a here: without brackets only b is divided. Write `(x - b) / a`.": {
        "latent": lambda x, a, b: x - b / a
    },
    "b is not used: z = x/a is right for b = 0 only. Subtract the shift first: `(x - b) / a`.": {
        "latent": lambda x, a, b: x / a
    },
    "b has the wrong sign in z. x = a·z + b adds it, so the way back subtracts it: `(x - b) / a`.": {
        "latent": lambda x, a, b: (x + b) / a
    },
    "z is x − b, without the division by a. Undo both steps: `(x - b) / a`.": {
        "latent": lambda x, a, b: x - b
    },
}
_AFFINE_BASES = {
    "The ½ in front of z² is missing: ln N(z) = −z²/2 − ½ ln(2π).": {
        "base": lambda z: -(z**2) - _HALF_LOG_2PI
    },
    "½ ln(2π) is missing: without it the density does not integrate to 1. ln N(z) = −z²/2 − ½ ln(2π).": {
        "base": lambda z: -0.5 * z**2
    },
    "ln(2π) is subtracted in full. The density is divided by √(2π), so it is ½ ln(2π).": {
        "base": lambda z: -0.5 * z**2 - 2 * _HALF_LOG_2PI
    },
    "½ ln(2π) is added. The density is divided by √(2π), so subtract it.": {
        "base": lambda z: -0.5 * z**2 + _HALF_LOG_2PI
    },
    "z²/2 is added, so the density grows away from the centre. It is −z²/2.": {
        "base": lambda z: 0.5 * z**2 - _HALF_LOG_2PI
    },
    "z is not squared: ln N(z) = −z²/2 − ½ ln(2π).": [
        {"base": lambda z: -0.5 * z - _HALF_LOG_2PI},
        {"base": lambda z: -0.5 * abs(z) - _HALF_LOG_2PI},
    ],
}
_AFFINE_CHANGES = {
    "ln|a| is added. ∂z/∂x is 1/a, and its logarithm is −ln|a|: stretching by a thins the density out.": {
        "change": lambda base, a: base + math.log(abs(a))
    },
    "ln|∂z/∂x| is missing: this is the base density at z. Add it, −ln|a|, so that the density of x integrates to 1.": {
        "change": lambda base, a: base
    },
    "2 ln|a| = ln a² is subtracted. ∂z/∂x is 1/a, so subtract ln|a| once.": {
        "change": lambda base, a: base - math.log(a**2)
    },
    "½ ln|a| is subtracted, as if a were a variance. a is the scale: subtract ln|a| in full.": {
        "change": lambda base, a: base - 0.5 * math.log(abs(a))
    },
    "a is subtracted without a logarithm. |a| divides the density, so ln p loses its logarithm: `math.log(abs(a))`.": [
        {"change": lambda base, a: base - abs(a)},
        {"change": lambda base, a: base - a},
    ],
    "1/|a| is added. In ln p the factor enters by its logarithm, ln(1/|a|) = −ln|a|.": {
        "change": lambda base, a: base + 1 / abs(a)
    },
    "ln N(z) is divided or multiplied by a. A factor of the density becomes a term of its logarithm: subtract "
    "ln|a|.": [
        {"change": lambda base, a: base / abs(a)},
        {"change": lambda base, a: base / a},
        {"change": lambda base, a: base * abs(a)},
        {"change": lambda base, a: base * a},
    ],
}
_AFFINE_OUTS = {
    "This is the density p(x). Its logarithm is expected: leave out `exp` and stay with ln p.": {
        "out": lambda log_p, z: log_p.exp()
    },
    "This is −ln p(x), the loss. Leave out the minus: ln p(x) is expected.": {"out": lambda log_p, z: -log_p},
    "`exp` underflows to 0 in the tails, and its logarithm is −inf. Add the logarithms instead, without taking `exp` "
    "first.": {"out": lambda log_p, z: log_p.exp().log()},
    "This is a logarithm to base 2, in bits. ln p is expected: the natural one, in nats.": {
        "out": lambda log_p, z: log_p / math.log(2)
    },
    "A sum or mean is taken of the log-densities. Each number of x has its own: the result has the shape of x.": [
        {"out": lambda log_p, z: log_p.sum()},
        {"out": lambda log_p, z: log_p.mean()},
        {"out": lambda log_p, z: log_p.sum(dim=-1)},
        {"out": lambda log_p, z: log_p.sum(dim=1)},
        {"out": lambda log_p, z: log_p.sum(dim=0)},
    ],
    "Two results came back, and only ln p(x) is expected.": [
        {"out": lambda log_p, z: (z, log_p)},
        {"out": lambda log_p, z: (log_p, z)},
    ],
    "This is z. Go on to its log-density, −z²/2 − ½ ln(2π), and subtract ln|a|.": {"out": lambda log_p, z: z},
}


log_prob_affine.mistakes(
    _by_sentence(_affine_log_prob, _AFFINE_CHANGES, _AFFINE_LATENTS, _AFFINE_BASES, _AFFINE_OUTS)
)
log_prob_affine.mistakes(
    {
        "The logarithm of a negative a does not exist. |∂z/∂x| has an absolute value: `math.log(abs(a))`.": [
            {"abs(a)": "a"},
            _affine_log_prob(change=lambda base, a: base - torch.tensor(a).log()),
            _affine_log_prob(change=lambda base, a: base + torch.tensor(1 / a).log()),
            lambda x, a, b: torch.log(torch.exp(-(((x - b) / a) ** 2) / 2) / (math.sqrt(2 * math.pi) * a)),
            lambda x, a, b: torch.log(torch.exp(-(((x - b) / a) ** 2) / 2) / (a * math.sqrt(2 * math.pi))),
        ],
        "Where a is positive, ln|a| is added; where it is negative, its logarithm does not exist. Subtract "
        "`math.log(abs(a))`.": [
            _affine_log_prob(change=lambda base, a: base + math.log(a)),
            _affine_log_prob(change=lambda base, a: base + torch.tensor(a).log()),
        ],
        "A small number added to the density hides that `exp` underflows in the tails, but gives a wrong logarithm. "
        "Add the logarithms instead, without taking `exp` first.": [
            _affine_log_prob(out=lambda log_p, z, e=e: (log_p.exp() + e).log())
            for e in (1e-6, 1e-8, 1e-10, 1e-12, 1e-20)
        ],
        "`Normal` takes a scale above 0, and a may be negative. Use `abs(a)`.": [
            lambda x, a, b: Normal(b, a).log_prob(x),
            lambda x, a, b: Normal(torch.tensor(b), torch.tensor(a)).log_prob(x),
        ],
        "a² stands where the standard deviation belongs. x = a·z + b has the standard deviation |a|; a² is its "
        "variance.": [
            lambda x, a, b: Normal(b, a**2).log_prob(x),
            _affine_log_prob(
                latent=lambda x, a, b: (x - b) / a**2, change=lambda base, a: base - math.log(a**2)
            ),
        ],
        "a is taken for the variance. x = a·z + b has the standard deviation |a|, and the variance a².": [
            lambda x, a, b: Normal(b, abs(a) ** 0.5).log_prob(x),
            lambda x, a, b: -((x - b) ** 2) / (2 * abs(a)) - 0.5 * math.log(2 * math.pi) - math.log(abs(a)),
            lambda x, a, b: -((x - b) ** 2) / (2 * a) - 0.5 * math.log(2 * math.pi) - math.log(abs(a)),
            lambda x, a, b: -((x - b) ** 2) / (2 * a) - 0.5 * torch.tensor(2 * math.pi * a).log(),
            lambda x, a, b: -((x - b) ** 2) / (2 * a) - 0.5 * math.log(2 * math.pi * a),
        ],
        "`Normal` takes the mean first, which is b, then the standard deviation, `abs(a)`.": [
            lambda x, a, b: Normal(a, b).log_prob(x),
            lambda x, a, b: Normal(a, abs(b)).log_prob(x),
        ],
        "a and b are swapped: in x = a·z + b the factor is a and the shift is b.": [
            _affine_log_prob(latent=lambda x, a, b: (x - a) / b),
            _affine_log_prob(latent=lambda x, a, b: (x - a) * b),
        ],
        "a is one of Python's own numbers, which have no such method. Write `math.log(abs(a))`.": [
            lambda x, a, b: log_prob_affine.reference(x, a, b) + a.abs(),
            lambda x, a, b: log_prob_affine.reference(x, a, b) + a.log(),
        ],
    }
)
_TWO_LATENTS = {
    "The base density is taken at x, not at z = (x − b)/a.": {"latent": lambda x, a, b: x},
    "z is a·x + b, not (x − b)/a.": {"latent": lambda x, a, b: a * x + b},
    "z is (x − b)·a, not (x − b)/a.": {"latent": lambda x, a, b: (x - b) * a},
    "z is x − b/a, not (x − b)/a.": {"latent": lambda x, a, b: x - b / a},
    "z is x/a, without b.": {"latent": lambda x, a, b: x / a},
    "z is (x + b)/a, not (x − b)/a.": {"latent": lambda x, a, b: (x + b) / a},
}
_TWO_BASES = {
    "The ½ in front of z² is missing.": {"base": lambda z: -(z**2) - _HALF_LOG_2PI},
    "½ ln(2π) is missing.": {"base": lambda z: -0.5 * z**2},
    "It is ½ ln(2π), not ln(2π).": {"base": lambda z: -0.5 * z**2 - 2 * _HALF_LOG_2PI},
}
_TWO_CHANGES = {
    "ln|a| is added, not subtracted.": {"change": lambda base, a: base + math.log(abs(a))},
    "ln|∂z/∂x| = −ln|a| is missing.": {"change": lambda base, a: base},
}
_TWO_AFFINE_OUTS = {
    "The density came back, not its logarithm.": {"out": lambda log_p, z: log_p.exp()},
    "The sign of the result is turned.": {"out": lambda log_p, z: -log_p},
    "Two results came back instead of one.": {"out": lambda log_p, z: (z, log_p)},
}
log_prob_affine.pairs_of_slips(_affine_log_prob, _TWO_CHANGES, _TWO_LATENTS)
log_prob_affine.pairs_of_slips(_affine_log_prob, _TWO_CHANGES, _TWO_BASES)
log_prob_affine.pairs_of_slips(_affine_log_prob, _TWO_CHANGES, _TWO_AFFINE_OUTS)


# Section 2: the Jacobian --------------------------------------------------------------------------------------


def _point(name, function, x):
    return _FlowFunction(f"x ↦ {name}", function), x


def _matrix_times(rows):
    return lambda x: torch.tensor(rows, dtype=x.dtype) @ x


def _to_cartesian(x):
    return torch.stack([x[0] * x[1].cos(), x[0] * x[1].sin()])


def _planar_layer(x):
    w, u = torch.tensor([0.9, -0.6, 0.4, 0.8]).to(x.dtype), torch.tensor([1.5, 0.5, 1.2, 1.1]).to(x.dtype)
    return x + u * torch.tanh(w @ x + 0.3)


_RESIDUAL = 0.9 * normal(
    3, 3, seed=21, dtype=torch.float64
)  # made once: `vmap` in a Jacobian allows no random step


def _residual_layer(x):
    return 1.5 * x + torch.tanh(_RESIDUAL.to(x.dtype) @ x)


@lesson.exercise(
    cases={
        "one number": _point("5 x", lambda x: 5 * x, torch.tensor([2.0])),
        "a diagonal matrix": _point(
            "(2 x₁, 3 x₂)", _matrix_times([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1.0, 4.0])
        ),
        "a negative determinant": _point(
            "(x₁ + 4 x₂, 2 x₁ + x₂)", _matrix_times([[1.0, 4.0], [2.0, 1.0]]), torch.tensor([0.5, -1.0])
        ),
        "polar to Cartesian": _point(
            "(r cos φ, r sin φ), x = (r, φ)", _to_cartesian, torch.tensor([2.5, 0.7])
        ),
        "a triangular Jacobian": _point(
            "(−0.5 x₁, x₁² + 0.4 x₂, x₁ x₂ + 3 x₃)",
            lambda x: torch.stack([-0.5 * x[0], x[0] ** 2 + 0.4 * x[1], x[0] * x[1] + 3 * x[2]]),
            torch.tensor([1.2, -0.7, 0.4]),
        ),
        "exp of each number": _point("exp(x)", torch.exp, torch.tensor([0.9, -0.4, 1.3])),
        "the third power of each number": _point("x³", lambda x: x**3, torch.tensor([0.5, -1.5, 2.0, 0.8])),
        "a planar layer": _point("x + u tanh(w·x + 0.3)", _planar_layer, torch.tensor([0.2, 0.3, -0.4, 0.1])),
        "a determinant of 10⁻⁶⁰": _point("x/1000", lambda x: x / 1000, normal(20, seed=22)),
        "float64 numbers": _point(
            "1.5 x + tanh(W x)", _residual_layer, 0.5 * normal(3, seed=23, dtype=torch.float64)
        ),
    },
    observe=lambda attempt, function, x: attempt(function, x.clone()),
    hints=[
        "`torch.func.jacrev(function)` is again a function: at x it gives the Jacobian, (D, D).",
        "A determinant of 10⁻⁶⁰ is 0 in float32, so its logarithm has to come without the determinant itself: see "
        "`torch.linalg.slogdet`.",
        "`jacobian = torch.func.jacrev(function)(x)`, and `torch.linalg.slogdet(jacobian)` is a pair: its second part, "
        "`.logabsdet`, is the answer.",
    ],
)
def log_det_by_jacobian(function, x):
    """Return ln|det ∂z/∂x| at one point x (D,), one number, a tensor.

    z is function(x) (D,), and function is differentiable. The determinant may be negative, and as small as 10⁻⁶⁰.
    """
    jacobian = torch.func.jacrev(function)(x)
    return torch.linalg.slogdet(jacobian).logabsdet


def _log_det(of, at=_as_it_is):
    """Something else of the Jacobian, or of the Jacobian elsewhere."""
    return lambda function, x: of(torch.func.jacrev(function)(at(x)))


def _of_gradient(of):
    """What is made of the gradient of the sum of the outputs."""

    def attempt(function, x):
        x.requires_grad_()
        return of(torch.autograd.grad(function(x).sum(), x)[0])

    return attempt


def _of_rows(row):
    """The Jacobian row by row, `row(z_i, x)` being one of them."""

    def attempt(function, x):
        x.requires_grad_()
        rows = [row(z_i, x) for z_i in function(x)]
        return torch.linalg.slogdet(torch.stack(rows)).logabsdet

    return attempt


def _accumulated(z_i, x):
    z_i.backward(retain_graph=True)
    return x.grad


def _by_differences(step, back):
    """The Jacobian from differences over a step, from x − `back` steps on."""

    def attempt(function, x):
        columns = [
            (function(x + step * e) - function(x - back * step * e)) / ((1 + back) * step)
            for e in torch.eye(len(x))
        ]
        return torch.linalg.slogdet(torch.stack(columns, dim=1)).logabsdet

    return attempt


def _implicit_gradient(function, x):
    x.requires_grad_()
    return torch.linalg.slogdet(torch.autograd.grad(function(x), x)[0]).logabsdet


def _implicit_backward(function, x):
    x.requires_grad_()
    function(x).backward()
    return x.grad.abs().log().sum()


_UNDERFLOW = (
    "A determinant of 10⁻⁶⁰ is 0 in float32, and its logarithm −inf. `torch.linalg.slogdet` gives ln|det| without the "
    "determinant."
)
_SIGN_AND_UNDERFLOW = (
    "A negative determinant has no logarithm, and one of 10⁻⁶⁰ is 0 in float32. `torch.linalg.slogdet` takes care of "
    "both: its `.logabsdet` is the answer."
)
log_det_by_jacobian.mistakes(
    {
        _SIGN_AND_UNDERFLOW: [
            _log_det(lambda J: J.det().log()),
            _log_det(lambda J: math.log(J.det())),
            _log_det(lambda J: np.log(J.det().item())),
        ],
        _UNDERFLOW: [
            _log_det(lambda J: J.det().abs().log()),
            _log_det(lambda J: math.log(J.det().abs())),
            _log_det(lambda J: J.det().square().log() / 2),
        ],
        "`logdet` is nan where the determinant is negative. `torch.linalg.slogdet` gives its sign and ln|det| apart.": [
            _log_det(torch.logdet),
        ],
        "A small number added to |det|, or a floor below it, hides that 10⁻⁶⁰ is 0 in float32, but gives a wrong "
        "logarithm. `torch.linalg.slogdet` needs neither.": [
            *(
                _log_det(lambda J, e=e: (J.det().abs() + e).log())
                for e in (1e-6, 1e-8, 1e-10, 1e-12, 1e-20, 1e-30)
            ),
            *(_log_det(lambda J, e=e: J.det().abs().clamp(min=e).log()) for e in (1e-38, 1e-45)),
        ],
        "`slogdet` gives a pair, the sign and ln|det|. Return its second part, `.logabsdet`.": {
            ".logabsdet": ""
        },
        "This is the sign of the determinant. ln|det| is the second part of what `slogdet` gives: `.logabsdet`.": {
            ".logabsdet": ".sign"
        },
        "ln|det| is multiplied by the sign of the determinant. The absolute value is taken inside of the logarithm: "
        "return `.logabsdet` as it is.": _log_det(lambda J: J.slogdet()[0] * J.slogdet()[1]),
        "This is the determinant, or its absolute value. Return the logarithm, which `torch.linalg.slogdet` gives: "
        "`.logabsdet`.": [
            _log_det(torch.det),
            _log_det(lambda J: J.det().abs()),
            _log_det(lambda J: J.slogdet()[1].exp()),
        ],
        "Only the diagonal of the Jacobian is used, which is enough only if the Jacobian is triangular. "
        "`torch.linalg.slogdet` takes the whole matrix.": [
            _log_det(lambda J: J.diagonal().abs().log().sum()),
            _log_det(lambda J: J.diagonal().prod().abs().log()),
            _log_det(lambda J: J.diagonal().prod().log()),
            _log_det(lambda J: J.diagonal().log().sum()),
            _log_det(lambda J: J.diagonal().double().prod().abs().log()),
        ],
        "The absolute value is taken of each entry of the Jacobian. It belongs to the determinant, which "
        "`torch.linalg.slogdet(jacobian).logabsdet` sees to.": [
            _log_det(lambda J: J.abs().slogdet()[1]),
            _log_det(lambda J: J.abs().logdet()),
            _log_det(lambda J: J.abs().det().log()),
            _log_det(lambda J: J.abs().det().abs().log()),
        ],
        "`eigvalsh` takes the Jacobian to be symmetric, and it need not be. Take "
        "`torch.linalg.slogdet(jacobian).logabsdet`.": [
            _log_det(lambda J: torch.linalg.eigvalsh(J).abs().log().sum()),
            _log_det(lambda J: torch.linalg.eigh(J)[0].abs().log().sum()),
        ],
        "The eigenvalues may be complex, and `.real` drops a part of them. Take their absolute value, or "
        "`torch.linalg.slogdet(jacobian).logabsdet`.": _log_det(
            lambda J: torch.linalg.eigvals(J).real.abs().log().sum()
        ),
        "This takes the trace, the sum of the diagonal. ln|det| comes from the whole Jacobian: "
        "`torch.linalg.slogdet`.": [
            _log_det(torch.trace),
            _log_det(lambda J: J.trace().abs()),
            _log_det(lambda J: J.trace().abs().log()),
            _log_det(lambda J: J.trace().log()),
        ],
        "The sign is turned: this is ln|det ∂x/∂z|, of the inverse. Leave out the minus or the inversion.": [
            _log_det(lambda J: -J.slogdet()[1]),
            _log_det(lambda J: J.inverse().slogdet()[1]),
        ],
        "This is twice ln|det|, which is what J·Jᵀ gives. Halve it, or take `slogdet` of J itself.": [
            _log_det(lambda J: 2 * J.slogdet()[1]),
            _log_det(lambda J: (J @ J.T).slogdet()[1]),
        ],
        "This is the logarithm of the norm of the Jacobian. The change of volume is its determinant: "
        "`torch.linalg.slogdet`.": [
            _log_det(lambda J: J.norm().log()),
            _log_det(lambda J: torch.linalg.matrix_norm(J, 2).log()),
        ],
        "The logarithm is taken of single entries of the Jacobian, or of their sum. It belongs to the determinant: "
        "`torch.linalg.slogdet(jacobian).logabsdet`.": [
            _log_det(lambda J: J.abs().log()),
            _log_det(torch.log),
            _log_det(lambda J: J.abs().log().det()),
            _log_det(lambda J: J.log().det()),
            _log_det(lambda J: J.abs().log().sum()),
            _log_det(lambda J: J.abs().sum().log()),
            _log_det(lambda J: J.sum().abs().log()),
            _log_det(lambda J: J.log().sum()),
        ],
        "This is the Jacobian itself. Go on to ln|det|: `torch.linalg.slogdet(jacobian).logabsdet`.": _log_det(
            _as_it_is
        ),
        "The logarithm has base 2. ln is the natural one, `torch.log`, which `slogdet` uses too.": [
            _log_det(lambda J: J.slogdet()[1] / math.log(2)),
            _log_det(lambda J: J.det().abs().log2()),
        ],
        "This takes the outputs z, not their derivatives. Differentiate first: `torch.func.jacrev(function)(x)` is the "
        "Jacobian.": [
            lambda function, x: function(x).abs().log().sum(),
            lambda function, x: function(x).sum().abs().log(),
            lambda function, x: function(x).prod().abs().log(),
            lambda function, x: function(x).norm().log(),
            lambda function, x: function(x).abs().log(),
            lambda function, x: function(x).log().sum(),
        ],
        "This is the gradient of the sum of all outputs, D numbers: the rows of the Jacobian are added up. Each "
        "output has a row of its own: `torch.func.jacrev(function)(x)`.": [
            _of_gradient(lambda g: g.abs().log().sum()),
            _of_gradient(lambda g: g.abs().sum().log()),
            _of_gradient(lambda g: g.prod().abs().log()),
            _of_gradient(lambda g: g.norm().log()),
            _of_gradient(lambda g: g.log().sum()),
            _of_gradient(lambda g: g.abs().log()),
            _of_gradient(lambda g: torch.diag(g).slogdet()[1]),
            _of_gradient(torch.log),
            _of_gradient(_as_it_is),
        ],
        "The determinant gets D numbers, and wants a matrix (D, D): a gradient for each output, not one for all. "
        "`torch.func.jacrev(function)(x)` has them as rows.": [
            lambda function, x: torch.linalg.slogdet(function(x)),
            _of_gradient(lambda g: torch.linalg.det(g)),
        ],
        "Near the answer, but differences this small drown in the rounding of float32: "
        "`torch.func.jacrev(function)(x)` is exact.": [
            _by_differences(10.0**-k, back) for k in range(3, 8) for back in (0, 1)
        ],
        "The Jacobian is taken at another point. It depends on x in general: `torch.func.jacrev(function)(x)`.": [
            _log_det(lambda J: J.slogdet()[1], torch.zeros_like),
            _log_det(lambda J: J.slogdet()[1], torch.ones_like),
            lambda function, x: torch.func.jacrev(function)(function(x)).slogdet()[1],
        ],
        "`jacrev` takes the function itself, and gives a new function, to be called at x: "
        "`torch.func.jacrev(function)(x)`.": [
            lambda function, x: torch.func.jacrev(function(x))(x).slogdet()[1],
            lambda function, x: torch.func.jacrev(function, x).slogdet()[1],
            lambda function, x: torch.linalg.slogdet(torch.func.jacrev(function)).logabsdet,
            lambda function, x: torch.autograd.functional.jacobian(function(x), x).slogdet()[1],
        ],
        "A gradient belongs to one output, and z has D of them. Take them one after the other, each a row, or let "
        "`torch.func.jacrev(function)(x)` do it.": [
            _implicit_gradient,
            _implicit_backward,
            lambda function, x: torch.func.grad(function)(x).abs().log().sum(),
        ],
        "The graph is gone after the first row. `retain_graph=True` keeps it for the other outputs, and "
        "`torch.func.jacrev` takes care of that by itself.": [
            _of_rows(lambda z_i, x: torch.autograd.grad(z_i, x)[0]),
        ],
        "`x.grad` is one tensor that every `backward` adds to, so all rows are the same in the end. Take "
        "`torch.autograd.grad(z[i], x, retain_graph=True)[0]` for row i.": [
            _of_rows(_accumulated),
        ],
    }
)


# Section 3: coupling layers -----------------------------------------------------------------------------------


def _scale_and_shift(D, seed, recorded=False):
    """A network whose log-scale and shift depend on all D numbers it sees, and are 0 nowhere."""
    W, V = 0.7 * normal(D, D, seed=seed), 0.7 * normal(D, D, seed=seed + 1)
    c, d = 0.6 * normal(D, seed=seed + 2), normal(D, seed=seed + 3)
    parts = {"s": c.requires_grad_(), "b": d.requires_grad_()} if recorded else {}

    def network(x):
        W_, V_, c_, d_ = (one.to(x) for one in (W, V, c, d))
        return torch.tanh(x @ W_ + c_), x @ V_ + d_

    return _FlowFunction(f"a network from {D} numbers to s and b, {D} each", network, **parts)


def _coupling_case(N, mask, seed, dtype=torch.float32):
    D = len(mask)
    return (
        normal(N, D, seed=seed, dtype=dtype),
        torch.tensor(mask, dtype=dtype),
        _scale_and_shift(D, seed + 1),
    )


def _coupling_cases(by_hand):
    return {
        "by hand": (
            torch.tensor([by_hand]),
            torch.tensor([1.0, 0.0]),
            _FlowFunction(
                "x ↦ s = (x₁, x₁), b = (2, 2)",
                lambda x: (x[..., :1] * torch.ones_like(x), 2 * torch.ones_like(x)),
            ),
        ),
        "the second number kept": _coupling_case(3, [0.0, 1.0], seed=300),
        "a batch of one": _coupling_case(1, [0.0, 1.0, 0.0], seed=310),
        "three numbers, one changed": _coupling_case(2, [1.0, 1.0, 0.0], seed=320),
        "an alternating mask": _coupling_case(3, [1.0, 0.0, 1.0, 0.0], seed=330),
        "all sizes equal": _coupling_case(4, [0.0, 1.0, 1.0, 0.0], seed=340),
        "nothing kept": _coupling_case(2, [0.0, 0.0, 0.0], seed=350),
        "everything kept": _coupling_case(3, [1.0, 1.0], seed=360),
        "float64 numbers": _coupling_case(2, [0.0, 0.0, 1.0, 0.0, 1.0], seed=370, dtype=torch.float64),
    }


@lesson.exercise(
    cases=_coupling_cases([1.0, 3.0])
    | {
        _RECORDED: (
            normal(4, 5, seed=380).requires_grad_(),
            torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0]),
            _scale_and_shift(5, 381, recorded=True),
        )
    },
    observe=lambda attempt, x, mask, net: _seen(attempt, coupling_forward.reference, x=x, mask=mask, net=net),
    returns=("z", "log-determinant"),
    hints=[
        "`x * mask` is the kept part, with zeros in the other places. What must s and b be at the kept places, so "
        "that x·exp(s) + b leaves x as it is?",
        "With s = 0 and b = 0 a number stays as it is: multiply both by `1 - mask`. The Jacobian is triangular, so the "
        "logarithm of its determinant is the sum of that s over each row.",
        "`s, b = net(x * mask)`, both times `1 - mask`; then z is `x * s.exp() + b`, and the log-determinant "
        "`s.sum(dim=1)`.",
    ],
)
def coupling_forward(x, mask, net):
    """Return z (N, D) and ln|det ∂z/∂x| (N,) of an affine coupling layer for a batch x (N, D).

    `mask` (D,) is 1 where x is kept and 0 where it is changed. From the kept part, with zeros in the places of the
    rest, net returns a log-scale s and a shift b, both (N, D). Where mask is 0, z = x·exp(s) + b;
    where it is 1, z = x.
    """
    s, b = net(x * mask)
    s, b = s * (1 - mask), b * (1 - mask)
    return x * s.exp() + b, s.sum(dim=1)


def _changed_places(s, b, mask):
    return s * (1 - mask), b * (1 - mask)


def _coupling(
    seen=lambda x, mask: x * mask,
    unpack=_as_it_is,
    places=_changed_places,
    moved=lambda x, s, b, mask: x * s.exp() + b,
    log_det=lambda s, b, raw, mask: s.sum(dim=1),
    out=lambda z, log_det: (z, log_det),
):
    """The coupling layer forwards, with what can go wrong as arguments; `raw` is s before the mask."""

    def attempt(x, mask, net):
        raw, b = unpack(net(seen(x, mask)))
        s, b = places(raw, b, mask)
        return out(moved(x, s, b, mask), log_det(s, b, raw, mask))

    return attempt


def _first_half(x, up=0):
    return (torch.arange(x.shape[1]) < (x.shape[1] + up) // 2).to(x.dtype)


_FLOW_SEEN = {
    "net sees all of x, but on the way back from z only the kept part is known. Show net that part alone: "
    "`net(x * mask)`.": {"seen": lambda x, mask: x},
    "net sees the part that is changed, which the inverse does not know. Show it the part that is kept: "
    "`net(x * mask)`.": {"seen": lambda x, mask: x * (1 - mask)},
    "net gets the kept columns alone. It takes all D places, with zeros where x is changed: `net(x * mask)`.": {
        "seen": lambda x, mask: x[:, mask == 1]
    },
}
_FLOW_PLACES = {
    "The kept part moves: net gives an s and a b for every place. Set both to 0 where x is kept, `s * (1 - mask)` and "
    "`b * (1 - mask)`.": [
        {"places": lambda s, b, mask: (s, b)},
        {"places": lambda s, b, mask: (s, b), "log_det": lambda s, b, raw, mask: (s * (1 - mask)).sum(dim=1)},
    ],
    "b is added to the kept part as well. Set it to 0 there too: `b * (1 - mask)`.": {
        "places": lambda s, b, mask: (s * (1 - mask), b)
    },
    "The kept part is scaled by exp(s). Set s to 0 there too: `s * (1 - mask)`.": [
        {"places": lambda s, b, mask: (s, b * (1 - mask))},
        {
            "places": lambda s, b, mask: (s, b * (1 - mask)),
            "log_det": lambda s, b, raw, mask: (s * (1 - mask)).sum(dim=1),
        },
    ],
    "s and b act on the kept part, and the rest stays as it is: the mask is inverted. It is 1 where x is kept, so "
    "multiply by `1 - mask`.": [
        {"places": lambda s, b, mask: (s * mask, b * mask)},
        {
            "places": lambda s, b, mask: (s * mask, b * mask),
            "log_det": lambda s, b, raw, mask: (raw * (1 - mask)).sum(dim=1),
        },
    ],
    "Kept and changed are swapped throughout. The mask is 1 where x is kept: net sees `x * mask`, and s and b take "
    "effect where `1 - mask` is 1.": {
        "seen": lambda x, mask: x * (1 - mask),
        "places": lambda s, b, mask: (s * mask, b * mask),
    },
    "The mask is not used: net sees all of x, and all of x is changed. Show net `x * mask`, and multiply s and b by "
    "`1 - mask`.": [
        {"seen": lambda x, mask: x, "places": lambda s, b, mask: (s, b)},
    ],
    "s and b come in the other order: `s, b = net(...)`, first the log-scale, then the shift.": {
        "unpack": lambda pair: pair[::-1]
    },
}
_FLOW_MOVED = {
    "x is multiplied by s itself. s is a log-scale: the factor is `s.exp()`, which cannot be 0.": [
        {"moved": lambda x, s, b, mask: x * mask + (1 - mask) * (x * s + b)},
        {"moved": lambda x, s, b, mask: x * s + b},
    ],
    "b is added before the scaling, (x + b)·exp(s). Scale first: x·exp(s) + b.": {
        "moved": lambda x, s, b, mask: (x + b) * s.exp()
    },
    "x is divided by exp(s). Forwards it is multiplied: x·exp(s) + b.": {
        "moved": lambda x, s, b, mask: x * (-s).exp() + b
    },
    "b is subtracted. Forwards it is added: x·exp(s) + b.": {"moved": lambda x, s, b, mask: x * s.exp() - b},
    "This is the inverse, (x − b)·exp(−s). Forwards it is x·exp(s) + b.": {
        "moved": lambda x, s, b, mask: (x - b) * (-s).exp()
    },
    "The shift b is missing: z = x·exp(s) + b where x is changed.": {
        "moved": lambda x, s, b, mask: x * s.exp()
    },
    "The scale is missing: z = x·exp(s) + b where x is changed.": {"moved": lambda x, s, b, mask: x + b},
    "The changed places hold b alone: `x * mask` has zeros there. It is for net, and the formula needs x itself, "
    "x·exp(s) + b.": [
        {"moved": lambda x, s, b, mask: x * mask * s.exp() + b},
        {"moved": lambda x, s, b, mask: x * mask + b},
    ],
    "The kept places of z hold 0. Put x itself there, `x * mask`, besides the changed part.": {
        "moved": lambda x, s, b, mask: (1 - mask) * (x * s.exp() + b)
    },
    "The kept part counts twice: with s = 0 and b = 0, x·exp(s) + b is x already. Do not add `x * mask` to "
    "it.": [{"moved": lambda x, s, b, mask: x * mask + x * s.exp() + b}],
    "At the kept places x·exp(s) + b comes on top of x. Multiply it by `1 - mask` before you add `x * mask`; the "
    "log-determinant takes s times `1 - mask` as well.": [
        {
            "places": lambda s, b, mask: (s, b),
            "moved": lambda x, s, b, mask: x * mask + x * s.exp() + b,
            "log_det": lambda s, b, raw, mask, over=over: (raw * over(mask)).sum(dim=1),
        }
        for over in (torch.ones_like, lambda mask: 1 - mask)
    ],
    "The changed part is added to x: there z is x + x·exp(s) + b. It takes the place of x, which remains only where "
    "the mask is 1.": [{"moved": lambda x, s, b, mask: x + (1 - mask) * (x * s.exp() + b)}],
    "These are the changed columns alone. z has all D columns, with the kept ones as they are.": {
        "moved": lambda x, s, b, mask: (x * s.exp() + b)[:, mask == 0]
    },
    "`cat` puts the kept columns first and the changed ones behind them. Each stays in its place: "
    "`x * s.exp() + b`, with s and b 0 where x is kept.": [
        {"moved": lambda x, s, b, mask: torch.cat([x[:, mask == 1], (x * s.exp() + b)[:, mask == 0]], dim=1)},
    ],
}


def _flow_log_dets(log_det, raw=False):
    """A slip in the log-determinant, made of s where x is changed, or of all of s, `raw`."""
    return {"log_det": lambda s, b, all_s, mask: log_det(all_s if raw else s)}


_FLOW_LOG_DETS = {
    "The log-determinant adds up s of the kept places too, where nothing is scaled. Sum `s * (1 - mask)`.": (
        _flow_log_dets(lambda s: s.sum(dim=1), raw=True)
    ),
    "The log-determinant is that of the inverse, −Σ s. ∂z/∂x is exp(s) where x is changed, so it is +Σ s.": (
        _flow_log_dets(lambda s: -s.sum(dim=1))
    ),
    "The log-determinant is the mean of s over each row. The factors of a determinant multiply, so their logarithms "
    "add up: `s.sum(dim=1)`.": [
        _flow_log_dets(lambda s: s.mean(dim=1)),
        _flow_log_dets(lambda s: s.mean(dim=1), raw=True),
    ],
    "The log-determinant is one number for the whole batch. Every row of x has its own, (N,): `s.sum(dim=1)`.": [
        _flow_log_dets(torch.sum),
        _flow_log_dets(torch.mean),
        _flow_log_dets(torch.sum, raw=True),
        _flow_log_dets(lambda s: s.sum(dim=1).mean()),
    ],
    "s is summed over the batch, axis 0. Each row has a log-determinant of its own: `s.sum(dim=1)`.": [
        _flow_log_dets(lambda s: s.sum(dim=0)),
        _flow_log_dets(lambda s: s.sum(dim=0), raw=True),
    ],
    "exp(s) is summed. The determinant is the product of the exp(s), so its logarithm is the sum of s: "
    "`s.sum(dim=1)`.": [
        _flow_log_dets(lambda s: s.exp().sum(dim=1)),
        _flow_log_dets(lambda s: s.exp().sum(dim=1), raw=True),
        {"log_det": lambda s, b, raw, mask: ((1 - mask) * s.exp()).sum(dim=1)},
    ],
    "This is the determinant, the product of the exp(s). Its logarithm is the sum of s: `s.sum(dim=1)`.": [
        _flow_log_dets(lambda s: s.exp().prod(dim=1)),
        _flow_log_dets(lambda s: s.exp().prod(dim=1), raw=True),
    ],
    "s is a logarithm already, and its own is taken once more. The log-determinant is `s.sum(dim=1)`.": [
        _flow_log_dets(lambda s: s.sum(dim=1).log()),
        _flow_log_dets(lambda s: s.sum(dim=1).abs().log()),
        _flow_log_dets(lambda s: s.abs().log().sum(dim=1)),
        _flow_log_dets(lambda s: s.log().sum(dim=1)),
        _flow_log_dets(lambda s: s.log().sum(dim=1), raw=True),
        _flow_log_dets(lambda s: s.prod(dim=1).abs().log()),
    ],
    "The log-determinant takes |s|. The absolute value belongs to the determinant, and exp(s) is above 0 anyway: sum s "
    "with its signs.": [
        _flow_log_dets(lambda s: s.abs().sum(dim=1)),
        _flow_log_dets(lambda s: s.sum(dim=1).abs()),
    ],
    "s itself came back as the log-determinant, (N, D). Sum it over each row: `s.sum(dim=1)`, (N,).": [
        _flow_log_dets(_as_it_is),
        _flow_log_dets(_as_it_is, raw=True),
    ],
    "The log-determinant counts the kept places, not the changed ones. Sum `s * (1 - mask)`.": {
        "log_det": lambda s, b, raw, mask: (raw * mask).sum(dim=1)
    },
}
_FLOW_OUTS = {
    "The log-determinant is missing. Return two things: z, and the sum of s over each row, `s.sum(dim=1)`.": {
        "out": lambda z, log_det: z
    },
    "The pair is swapped. First z, then the log-determinant.": {"out": lambda z, log_det: (log_det, z)},
}
coupling_forward.mistakes(
    {
        "net sees all of x, but on the way back from z only the kept part is known. Show net that part alone: "
        "`net(x * mask)`.": {"net(x * mask)": "net(x)"},
        "s is summed over the batch, axis 0. Each row has a log-determinant of its own: `s.sum(dim=1)`.": {
            "s.sum(dim=1)": "s.sum(dim=0)"
        },
    }
)
coupling_forward.mistakes(
    _by_sentence(_coupling, _FLOW_SEEN, _FLOW_PLACES, _FLOW_MOVED, _FLOW_LOG_DETS, _FLOW_OUTS)
)


_FLOATS_FOR_TRUTHS = (
    "The mask holds the numbers 1.0 and 0.0, and True and False are wanted here. `mask == 1` makes them of it, or you "
    "multiply by `mask` and `1 - mask`."
)
_TAKEN_APART = (
    "net returns a pair, s and b, each (N, D) already. Take it apart: `s, b = net(...)`, and split nothing."
)
_WRONG_MASK_USE = {
    _FLOATS_FOR_TRUTHS: [
        lambda x, mask, net: x[:, mask],
        lambda x, mask, net: x[mask],
        lambda x, mask, net: ~mask,
        lambda x, mask, net: torch.where(mask, x, x),
    ],
    _TAKEN_APART: [
        lambda x, mask, net: net(x * mask).chunk(2, dim=1),
        lambda x, mask, net: net(x * mask).chunk(2, dim=-1),
        lambda x, mask, net: net(x * mask)[:, 0],
        lambda x, mask, net: net(x * mask).split(x.shape[1], dim=1),
    ],
    "`x[mask == 1]` picks rows, and the mask belongs to the columns: `x[:, mask == 1]`.": [
        lambda x, mask, net: net(x[mask == 1]),
        lambda x, mask, net: net(x[mask.bool()]),
    ],
    "net returns a pair, which cannot be multiplied by a mask as a whole. Take it apart first: `s, b = net(...)`.": [
        lambda x, mask, net: net(x * mask) * (1 - mask),
        lambda x, mask, net: net(x) * (1 - mask),
    ],
}
coupling_forward.mistakes(_WRONG_MASK_USE)
_IN_COUPLINGS = {
    "Both results are right, but s and b are cut off from the gradient, so net is never trained. Use them as net "
    "returns them, without `.detach()`, `.data` or `torch.no_grad()`.": _coupling(
        unpack=lambda pair: map(Tensor.detach, pair)
    ),
    "Both results are right, but s is cut off from the gradient, so net never learns the scale. Use it as net returns "
    "it, without `.detach()`, `.item()` or `.data`.": _coupling(
        unpack=lambda pair: (pair[0].detach(), pair[1])
    ),
    "Both results are right, but no gradient flows back through the factor exp(s) in z. Write `s.exp()`: `math.exp` "
    "and `.item()` cut it off.": _coupling(moved=lambda x, s, b, mask: x * s.detach().exp() + b),
    "Both results are right, but b is cut off from the gradient, so net never learns the shift. Use it as net returns "
    "it, without `.detach()`, `.item()` or `.data`.": _coupling(
        unpack=lambda pair: (pair[0], pair[1].detach())
    ),
    "Both results are right, but net sees an x cut off from the gradient, and the layers before this one train through "
    "it. Show net `x * mask` as it is.": _coupling(seen=lambda x, mask: (x * mask).detach()),
    _BY_NUMPY: lambda x, mask, net: (x.numpy(), coupling_forward.reference(x, mask, net))[1],
}
coupling_forward.mistakes(_pair_cut_off(coupling_forward.reference) | _IN_COUPLINGS)
coupling_forward.mistakes(
    {
        "Two slips. The log-determinant counts s of the kept places too, and has the wrong sign.": _coupling(
            **_flow_log_dets(lambda s: -s.sum(dim=1), raw=True)
        ),
        "s goes through a tanh first. That belongs to net, if anywhere: use the s it returns.": _coupling(
            places=lambda s, b, mask: _changed_places(s.tanh(), b, mask)
        ),
        "s is taken for the scale itself, in z and by ln|s| in the log-determinant. It is a log-scale: z is "
        "x·exp(s) + b, and the log-determinant is the sum of s.": [
            _coupling(
                moved=lambda x, s, b, mask: torch.where(mask == 1, x, x * s + b),
                log_det=lambda s, b, raw, mask: ((1 - mask) * raw.abs().log()).sum(dim=1),
            ),
            _coupling(
                moved=lambda x, s, b, mask: torch.where(mask == 1, x, x * s + b),
                log_det=lambda s, b, raw, mask: raw.abs().log().sum(dim=1),
            ),
            _coupling(
                moved=lambda x, s, b, mask: x * s + b,
                log_det=lambda s, b, raw, mask: s.abs().log().sum(dim=1),
            ),
        ],
        "One half of the columns is kept, whatever the mask says. The mask decides: it is 1 where x is kept.": [
            lambda x, mask, net: coupling_forward.reference(x, _first_half(x), net),
            lambda x, mask, net: coupling_forward.reference(x, _first_half(x, up=1), net),
            lambda x, mask, net: coupling_forward.reference(x, 1 - _first_half(x), net),
        ],
        "The mask is made a column, (D, 1), so it acts on rows. As it is, (D,), it acts on the columns: `x * mask`.": [
            lambda x, mask, net: coupling_forward.reference(x, mask[:, None], net),
        ],
    }
)
_TWO_SEEN = {
    "net sees all of x, not `x * mask`.": {"seen": lambda x, mask: x},
    "net sees the changed part, not `x * mask`.": {"seen": lambda x, mask: x * (1 - mask)},
}
_MOVING = {"The kept part moves: multiply s and b by `1 - mask`.": {"places": lambda s, b, mask: (s, b)}}
_INVERTED = {
    "s and b act on the kept part: multiply them by `1 - mask`.": {
        "places": lambda s, b, mask: (s * mask, b * mask)
    }
}
_SHIFTED = {
    "The kept part is shifted by b: multiply it by `1 - mask`.": {
        "places": lambda s, b, mask: (s * (1 - mask), b)
    }
}
_SCALED = {
    "The kept part is scaled: multiply s by `1 - mask`.": {"places": lambda s, b, mask: (s, b * (1 - mask))}
}
_TWO_PLACES = _MOVING | _INVERTED | _SHIFTED | _SCALED
_TWO_MOVED = {
    "The factor is exp(s), not s.": {"moved": lambda x, s, b, mask: x * mask + (1 - mask) * (x * s + b)},
    "The kept places of z hold 0, not x.": {"moved": lambda x, s, b, mask: (1 - mask) * (x * s.exp() + b)},
    "The changed places hold b alone: the formula needs x, not `x * mask`.": {
        "moved": lambda x, s, b, mask: x * mask * s.exp() + b
    },
}
_TWO_LOG_DETS = {
    "The log-determinant counts s of the kept places too.": _flow_log_dets(lambda s: s.sum(dim=1), raw=True),
    "The log-determinant has the wrong sign.": _flow_log_dets(lambda s: -s.sum(dim=1)),
    "The log-determinant is a mean of s, not its sum over each row.": _flow_log_dets(lambda s: s.mean(dim=1)),
    "The log-determinant is summed over the batch too: `s.sum(dim=1)`.": _flow_log_dets(torch.sum),
}
_TWO_OUTS = {"The log-determinant is missing.": {"out": lambda z, log_det: z}}
coupling_forward.pairs_of_slips(_coupling, _TWO_SEEN, _TWO_LOG_DETS | _TWO_MOVED | _TWO_OUTS)
coupling_forward.pairs_of_slips(_coupling, _TWO_SEEN, _SHIFTED | _SCALED)
coupling_forward.pairs_of_slips(_coupling, _TWO_PLACES, _TWO_OUTS)
coupling_forward.pairs_of_slips(_coupling, _TWO_MOVED, _TWO_LOG_DETS | _TWO_OUTS)
coupling_forward.pairs_of_slips(_coupling, _MOVING, dict(list(_TWO_LOG_DETS.items())[1:]))
coupling_forward.pairs_of_slips(_coupling, _SHIFTED, _TWO_LOG_DETS)


@lesson.exercise(
    cases=_coupling_cases([1.0, 2.0 + 3.0 * math.e]),
    hints=[
        "Where x is kept, z is x. So what net saw on the way there is known: it stands in z.",
        "s and b come from `net(z * mask)`, the same as on the way there. Solve z = x·exp(s) + b for x, first the "
        "shift, then the scale.",
        "With s and b times `1 - mask`, x is `(z - b)` times `(-s).exp()`.",
    ],
)
def coupling_inverse(z, mask, net):
    """Return the x (N, D) from which the coupling layer with this mask and this net makes z (N, D).

    Where mask (D,) is 1, z = x; where it is 0, z = x·exp(s) + b, with s, b = net(kept part), both (N, D).
    """
    s, b = net(z * mask)
    s, b = s * (1 - mask), b * (1 - mask)
    return (z - b) * (-s).exp()


def _uncoupling(
    seen=lambda z, mask: z * mask,
    unpack=_as_it_is,
    places=_changed_places,
    back=lambda z, s, b, mask: (z - b) * (-s).exp(),
    out=lambda x, s: x,
):
    """The coupling layer backwards, with what can go wrong as arguments."""

    def attempt(z, mask, net):
        s, b = places(*unpack(net(seen(z, mask))), mask)
        return out(back(z, s, b, mask), s)

    return attempt


_BACK_SEEN = {
    "net sees all of z, and on the way there it saw only the kept part. Show it the same again: `net(z * mask)`.": {
        "seen": lambda z, mask: z
    },
    "net sees the changed part of z. On the way there it saw the kept part, which z still holds: `net(z * mask)`.": {
        "seen": lambda z, mask: z * (1 - mask)
    },
    "net gets the kept columns alone. It takes all D places, with zeros in the others: `net(z * mask)`.": {
        "seen": lambda z, mask: z[:, mask == 1]
    },
}
_BACK_PLACES = {
    "The kept part moves, though it is the same in x and z. Set s and b to 0 there, `s * (1 - mask)` and "
    "`b * (1 - mask)`.": {"places": lambda s, b, mask: (s, b)},
    "b is subtracted from the kept part as well. Set it to 0 there too: `b * (1 - mask)`.": {
        "places": lambda s, b, mask: (s * (1 - mask), b)
    },
    "The kept part is scaled as well. Set s to 0 there too: `s * (1 - mask)`.": {
        "places": lambda s, b, mask: (s, b * (1 - mask))
    },
    "s and b act on the kept part, and the rest stays as it is: the mask is inverted. It is 1 where z is kept, so "
    "multiply by `1 - mask`.": {"places": lambda s, b, mask: (s * mask, b * mask)},
    "Kept and changed are swapped throughout. The mask is 1 at the kept places: net sees `z * mask`, and s and b take "
    "effect where `1 - mask` is 1.": {
        "seen": lambda z, mask: z * (1 - mask),
        "places": lambda s, b, mask: (s * mask, b * mask),
    },
    "The mask is not used: net sees all of z, and all of z is changed. Show net `z * mask`, and multiply s and b by "
    "`1 - mask`.": {"seen": lambda z, mask: z, "places": lambda s, b, mask: (s, b)},
    "s and b come in the other order: `s, b = net(...)`, first the log-scale, then the shift.": {
        "unpack": lambda pair: pair[::-1]
    },
}
_BACK_MOVED = {
    "The shift is undone, but then you multiply by exp(s) once more. To undo the scale, divide by it: "
    "`(z - b) * (-s).exp()`.": {"back": lambda z, s, b, mask: (z - b) * s.exp()},
    "The scale is undone before the shift. b came last on the way there, so take it off first: "
    "`(z - b) * (-s).exp()`.": {"back": lambda z, s, b, mask: z * (-s).exp() - b},
    "b is added after the division by exp(s). On the way back it is subtracted, and first: "
    "`(z - b) * (-s).exp()`.": {"back": lambda z, s, b, mask: z * (-s).exp() + b},
    "This is the forward step once more, z·exp(s) + b. Solve z = x·exp(s) + b for x: `(z - b) * (-s).exp()`.": {
        "back": lambda z, s, b, mask: z * s.exp() + b
    },
    "z is multiplied by exp(s) before b is subtracted. Take b off first, then divide by exp(s): "
    "`(z - b) * (-s).exp()`.": {"back": lambda z, s, b, mask: z * s.exp() - b},
    "b is added before the division. On the way there it was added, so here subtract it: `(z - b) * (-s).exp()`.": {
        "back": lambda z, s, b, mask: (z + b) * (-s).exp()
    },
    "z − b is divided by s. The scale was exp(s): divide by that, `(z - b) * (-s).exp()`.": [
        {"back": lambda z, s, b, mask: (z - b) / s},
        {"back": lambda z, s, b, mask: torch.where(mask == 1, z, (z - b) / s)},
    ],
    "z − b is multiplied by s or −s. The scale was exp(s): multiply by exp(−s), `(z - b) * (-s).exp()`.": [
        {"back": lambda z, s, b, mask: (z - b) * -s},
        {"back": lambda z, s, b, mask: (z - b) * s},
        {"back": lambda z, s, b, mask: z * mask + (z - b) * -s},
        {"back": lambda z, s, b, mask: z * mask + (z - b) * s},
    ],
    "s or exp(s) is subtracted. exp(s) was a factor, so divide by it: `(z - b) * (-s).exp()`.": [
        {"back": lambda z, s, b, mask: z - b - s},
        {"back": lambda z, s, b, mask: z - b - s.exp()},
        {"back": lambda z, s, b, mask: z * mask + (1 - mask) * (z - b - s.exp())},
    ],
    "A logarithm is taken of z. exp belongs to s, not to x: subtract b, then divide by exp(s).": [
        {"back": lambda z, s, b, mask: (z - b).log() - s},
        {"back": lambda z, s, b, mask: ((z - b) / s.exp()).log()},
        {"back": lambda z, s, b, mask: (z - b).log() / s},
        {"back": lambda z, s, b, mask: torch.where(mask == 1, z, (z - b).log() - s)},
        {"back": lambda z, s, b, mask: torch.where(mask == 1, z, (z - b).log() / s)},
    ],
    "The shift is undone, the scale is not. Divide by exp(s) as well: `(z - b) * (-s).exp()`.": {
        "back": lambda z, s, b, mask: z - b
    },
    "The scale is undone, the shift is not. Subtract b first: `(z - b) * (-s).exp()`.": {
        "back": lambda z, s, b, mask: z * (-s).exp()
    },
    "Without brackets only b is divided by exp(s). Subtract it first: `(z - b) * (-s).exp()`.": {
        "back": lambda z, s, b, mask: z - b * (-s).exp()
    },
    "z itself is missing where it was changed: `z * mask` has zeros there. It is for net, and the formula needs all of "
    "z, (z − b)·exp(−s).": {"back": lambda z, s, b, mask: (z * mask - b) * (-s).exp()},
    "The kept places of x hold 0. They are the same in x and z: put `z * mask` there.": {
        "back": lambda z, s, b, mask: (1 - mask) * (z - b) * (-s).exp()
    },
    "The kept part counts twice: with s = 0 and b = 0, (z − b)·exp(−s) is z already. Do not add `z * mask` to it.": [
        {"back": lambda z, s, b, mask: z * mask + (z - b) * (-s).exp()},
    ],
    "At the kept places (z − b)·exp(−s) comes on top of z. Multiply it by `1 - mask` before you add `z * mask`.": {
        "places": lambda s, b, mask: (s, b),
        "back": lambda z, s, b, mask: z * mask + (z - b) * (-s).exp(),
    },
    "`cat` puts the kept columns first and the changed ones behind them. Each stays in its place: "
    "`(z - b) * (-s).exp()`, with s and b 0 where x is kept.": {
        "back": lambda z, s, b, mask: torch.cat(
            [z[:, mask == 1], ((z - b) * (-s).exp())[:, mask == 0]], dim=1
        )
    },
}
_BACK_OUTS = {
    "Two results came back. The inverse returns x alone, without a log-determinant.": [
        {"out": lambda x, s: (x, -s.sum(dim=1))},
        {"out": lambda x, s: (x, s.sum(dim=1))},
    ],
}
coupling_inverse.mistakes(
    {
        "The shift is undone, but then you multiply by exp(s) once more. To undo the scale, divide by it: "
        "`(z - b) * (-s).exp()`.": {"(-s).exp()": "s.exp()"},
        "net sees all of z, and on the way there it saw only the kept part. Show it the same again: "
        "`net(z * mask)`.": {"net(z * mask)": "net(z)"},
    }
)
coupling_inverse.mistakes(_by_sentence(_uncoupling, _BACK_MOVED, _BACK_SEEN, _BACK_PLACES, _BACK_OUTS))
coupling_inverse.mistakes(_WRONG_MASK_USE)


def _raising(error):
    def attempt(z, mask, net):
        raise error

    return attempt


coupling_inverse.mistakes(
    {
        "x is what you are looking for, so net cannot see it. Its kept part stands in z as well: `net(z * mask)`.": [
            _raising(NameError("name 'x' is not defined")),
            _raising(
                UnboundLocalError("cannot access local variable 'x' where it is not associated with a value")
            ),
        ],
        "This is `coupling_forward` once more, with both of its results. The inverse returns x alone: subtract b, then "
        "divide by exp(s).": [
            lambda z, mask, net: coupling_forward.reference(z, mask, net),
        ],
        "Two slips. b is added: subtract it. The scale is applied once more: multiply by `(-s).exp()`.": _uncoupling(
            back=lambda z, s, b, mask: (z + b) * s.exp()
        ),
        "One half of the columns is kept, whatever the mask says. The mask decides: it is 1 where x is kept.": [
            lambda z, mask, net: coupling_inverse.reference(z, _first_half(z), net),
            lambda z, mask, net: coupling_inverse.reference(z, _first_half(z, up=1), net),
            lambda z, mask, net: coupling_inverse.reference(z, 1 - _first_half(z), net),
        ],
        "The mask is made a column, (D, 1), so it acts on rows. As it is, (D,), it acts on the columns: `z * mask`.": [
            lambda z, mask, net: coupling_inverse.reference(z, mask[:, None], net),
        ],
    }
)
_TWO_BACK_SEEN = {
    "net sees all of z, not `z * mask`.": {"seen": lambda z, mask: z},
    "net sees the changed part, not `z * mask`.": {"seen": lambda z, mask: z * (1 - mask)},
}
_TWO_BACK = {
    "To undo the scale, multiply by exp(−s), not exp(s).": {"back": lambda z, s, b, mask: (z - b) * s.exp()},
    "Subtract b before you divide by exp(s).": {"back": lambda z, s, b, mask: z * (-s).exp() - b},
    "b is added after the division: subtract it, and first.": {
        "back": lambda z, s, b, mask: z * (-s).exp() + b
    },
    "This is the forward step, z·exp(s) + b.": {"back": lambda z, s, b, mask: z * s.exp() + b},
    "b is added, not subtracted.": {"back": lambda z, s, b, mask: (z + b) * (-s).exp()},
    "The kept places of x hold 0, not z.": {"back": lambda z, s, b, mask: (1 - mask) * (z - b) * (-s).exp()},
}
_TWO_BACK_OUTS = {"A pair came back, not x alone.": {"out": lambda x, s: (x, -s.sum(dim=1))}}
coupling_inverse.pairs_of_slips(_uncoupling, _TWO_BACK_SEEN, _TWO_BACK | _TWO_BACK_OUTS | _SHIFTED | _SCALED)
coupling_inverse.pairs_of_slips(_uncoupling, _TWO_PLACES, _TWO_BACK_OUTS)
coupling_inverse.pairs_of_slips(_uncoupling, _MOVING | _INVERTED, dict(list(_TWO_BACK.items())[:-1]))


# Section 4: a flow, layer after layer -------------------------------------------------------------------------


class _FlowLayer(nn.Module):
    """A layer without weights, shown by its name: `function(x)` gives z (N, D) and the log-determinants (N,)."""

    def __init__(self, name, function):
        super().__init__()
        self.name, self.function = name, function

    def forward(self, x):
        if x.ndim != 2:
            raise ValueError(f"a layer takes a batch (N, D), and {tuple(x.shape)} arrived")
        return self.function(x)

    def __repr__(self):
        return self.name

    def __deepcopy__(self, memo):
        return self


class _CachedScale(_FlowLayer):
    """z = s x, whose log-determinants are the same for every batch, and are kept."""

    def __init__(self, s):
        super().__init__(f"z = {s}x, keeps its log-determinants", lambda x: s * x)
        self.s, self.log_det = s, None

    def forward(self, x):
        if self.log_det is None or len(self.log_det) != len(x):
            self.log_det = x.new_full((len(x),), x.shape[1] * math.log(self.s))
        return super().forward(x), self.log_det

    def __deepcopy__(self, memo):
        return _CachedScale(self.s)


def _shift_layer(b):
    return _FlowLayer(f"z = x + {b}", lambda x: (x + b, x.new_zeros(len(x))))


def _scale_layer(s):
    return _FlowLayer(f"z = {s}x", lambda x: (s * x, x.new_full((len(x),), x.shape[1] * math.log(s))))


def _cubic_layer():
    return _FlowLayer("z = x³ + x", lambda x: (x**3 + x, (3 * x**2 + 1).log().sum(dim=1)))


def _coupling_layer():
    """The coordinates behind the first are scaled with it, and all are flipped."""

    def couple(x):
        log_scale = 0.6 * torch.tanh(x[:, :1])
        z = torch.cat([x[:, :1], x[:, 1:] * log_scale.exp() + 0.5 * x[:, :1]], dim=1)
        return z.flip(dims=[1]), (x.shape[1] - 1) * log_scale.squeeze(1)

    return _FlowLayer("a coupling layer", couple)


_thrice = _CachedScale(1.5)


@lesson.exercise(
    cases={
        "one layer, z = 2x": ([_scale_layer(2.0)], torch.tensor([[1.0, 3.0]])),
        "no layer": ([], torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])),
        "a shift, then a scale": (
            [_shift_layer(1.0), _scale_layer(2.0)],
            torch.tensor([[1.0], [0.5], [-3.0]]),
        ),
        "a shift, then a cubic": ([_shift_layer(0.5), _cubic_layer()], normal(4, 2, seed=1)),
        "three layers": ([_cubic_layer(), _coupling_layer(), _scale_layer(0.4)], normal(5, 3, seed=2)),
        "as many rows as columns": ([_cubic_layer(), _coupling_layer()], 0.7 * normal(3, 3, seed=3)),
        "couplings in a tuple": (
            (_coupling_layer(), _coupling_layer(), _coupling_layer()),
            normal(6, 2, seed=4),
        ),
        "a ModuleList": (nn.ModuleList([_coupling_layer(), _cubic_layer()]), 0.6 * normal(2, 4, seed=5)),
        "a batch of one": ([_coupling_layer(), _scale_layer(3.0), _cubic_layer()], normal(1, 3, seed=6)),
        "one layer, three times": ([_thrice, _thrice, _thrice], normal(4, 2, seed=7)),
        "float64 numbers": (
            [_cubic_layer(), _shift_layer(-0.3), _coupling_layer()],
            normal(3, 2, seed=8, dtype=torch.float64),
        ),
        _RECORDED: (
            [_cubic_layer(), _coupling_layer(), _cubic_layer()],
            (0.5 * normal(5, 3, seed=9)).requires_grad_(),
        ),
    },
    observe=lambda attempt, layers, x: _seen(attempt, compose.reference, layers=layers, x=x),
    hints=[
        "What does a layer take: x, or what came out of the layer before? And what becomes of the determinant when two "
        "maps follow each other?",
        "Determinants multiply, so their logarithms add up. Begin with zeros (N,), and add each layer's "
        "log-determinants to them.",
        "`x, log_det = layer(x)` inside the loop carries x on, and `total = total + log_det` collects.",
    ],
    returns=("z", "ln|det|"),
)
def compose(layers, x):
    """Return z (N, D) and ln|det ∂z/∂x| (N,) of several layers that act on a batch x (N, D) one after the other.

    layers is a list or another sequence. Every layer, called with a batch (N, D), returns a batch (N, D) and its own
    log-determinants (N,). Without any layer, z is x, and the log-determinants are 0.
    """
    total = x.new_zeros(len(x))
    for layer in layers:
        x, log_det = layer(x)
        total = total + log_det
    return x, total


def _added(log_dets, x):
    return sum(log_dets, x.new_zeros(len(x)))


def _unbound(name):
    raise UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value")


def _composed(
    order=list,
    step=lambda layer, z, x: layer(z),
    total=_added,
    result=lambda z, total, x: (z, total),
):
    """The loop over the layers, with what can go wrong as arguments."""

    def attempt(layers, x):
        z, log_dets = x, []
        for layer in order(layers):
            z, log_det = step(layer, z, x)
            log_dets.append(log_det)
        return result(z, total(log_dets, x), x)

    return attempt


def _or_zeros(reduce):
    """A total that is right without any layer."""
    return {"total": lambda log_dets, x: reduce(log_dets) if log_dets else x.new_zeros(len(x))}


def _or_unbound(reduce, name):
    return _composed(total=lambda log_dets, x: reduce(log_dets) if log_dets else _unbound(name))


_LOG_DET_NAMES = ("log_det", "ld", "logdet", "log_dets", "ldj")

_ORDERS = {
    "The layers are applied from the last to the first. The first in the list acts first.": {
        "order": lambda layers: list(layers)[::-1]
    },
}
_STEPS = {
    "Every layer gets the original x. It should get what came out of the layer before: `x, log_det = layer(x)`.": {
        "step": lambda layer, z, x: layer(x)
    },
    "The log-determinants are taken at the original x. Each layer's belong to its own input, what the layer before "
    "gave: use both things that one call returns.": {"step": lambda layer, z, x: (layer(z)[0], layer(x)[1])},
    "The log-determinants are taken at the layer's output. They belong to its input: call the layer once, "
    "`x, log_det = layer(x)`.": {"step": lambda layer, z, x: (layer(z)[0], layer(layer(z)[0])[1])},
    "Every layer moves the points twice. Call it once, and take both things it returns: "
    "`x, log_det = layer(x)`.": {"step": lambda layer, z, x: (layer(layer(z)[0])[0], layer(z)[1])},
}
_TOTALS = {
    "Only the first layer's log-determinants come back. Add those of all layers.": _or_zeros(
        lambda log_dets: log_dets[0]
    ),
    "The log-determinants are averaged over the layers. They add up, since determinants multiply.": _or_zeros(
        lambda log_dets: sum(log_dets) / len(log_dets)
    ),
    "The log-determinants are subtracted. ln|det ∂z/∂x| is that of the way from x to z: add them.": {
        "total": lambda log_dets, x: -_added(log_dets, x)
    },
    "These are the determinants themselves. Leave out the `exp`: their logarithms are expected.": {
        "total": lambda log_dets, x: _added(log_dets, x).exp()
    },
    "ln N(z) is added already, which makes it ln p(x). Here only z and the log-determinants are expected.": {
        "result": lambda z, total, x: (z, total - 0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1))
    },
}
_RETURNS = {
    "Only z came back. Return the log-determinants as well: `return x, total`.": {
        "result": lambda z, total, x: z
    },
    "Only the log-determinants came back. Return z as well: `return x, total`.": {
        "result": lambda z, total, x: total
    },
    "The two are returned in the other order. z comes first, then the log-determinants.": {
        "result": lambda z, total, x: (total, z)
    },
    "The original x came back in place of z. Return what came out of the last layer.": {
        "result": lambda z, total, x: (x, total)
    },
    "The log-determinants are (N, 1) here, and (N,) expected: one number for each row, without an axis of size "
    "1.": {"result": lambda z, total, x: (z, total[:, None])},
}
compose.slips(_composed, _ORDERS, _STEPS, _TOTALS, _RETURNS)


def _into_the_first(empty):
    """The sum of the log-determinants, written into the first layer's."""

    def attempt(layers, x):
        total = None
        for layer in layers:
            x, log_det = layer(x)
            if total is None:
                total = log_det
            else:
                total += log_det
        return x, empty(x) if total is None else total

    return attempt


def _first_apart(add):
    """The first layer before the loop over the others."""

    def attempt(layers, x):
        x, total = layers[0](x)
        for layer in layers[1:]:
            x, log_det = layer(x)
            total = add(total, log_det)
        return x, total

    return attempt


def _doubling(layers, x):
    log_det = x.new_zeros(len(x))
    for layer in layers:
        x, log_det = layer(x)
        log_det += log_det
    return x, log_det


def _not_unpacked(layers, x):
    for layer in layers:
        x = layer(x)
    return x


def _from_x_each(layers, x):
    total, z = x.new_zeros(len(x)), None
    for layer in layers:
        z, log_det = layer(x)
        total = total + log_det
    return z, total


_CHANGED_LAYER = (
    "`+=` changes the tensor that the first layer returned, and the layer may use it again. Make a new one: "
    "`total = total + log_det`."
)
_NO_LAYER_TOTAL = (
    "Without a layer the log-determinants come out as one number, not (N,). Begin the sum with "
    "`x.new_zeros(len(x))`."
)
compose.mistakes(
    {
        "Only the last layer's log-determinants come back. Add those of all layers: `total = total + log_det`.": [
            {"total = total + log_det": "total = log_det"},
            *(_or_unbound(lambda log_dets: log_dets[-1], name) for name in _LOG_DET_NAMES),
            _composed(total=lambda log_dets, x: log_dets[-1] if log_dets else 0),
        ],
        "The log-determinants are multiplied. Determinants multiply, so their logarithms add up: "
        "`total + log_det`.": [
            _composed(**_or_zeros(lambda log_dets: torch.stack(log_dets).prod(dim=0))),
            _composed(total=lambda log_dets, x: math.prod([x.new_ones(len(x)), *log_dets])),
            _composed(total=lambda log_dets, x: math.prod(log_dets)),
        ],
        "The log-determinants are added over the rows as well. Every row keeps its own: (N,).": [
            {"return x, total": "return x, total.sum()"},
            {"total + log_det": "total + log_det.sum()"},
            _composed(total=lambda log_dets, x: sum(one.sum() for one in log_dets)),
        ],
        "The log-determinants are averaged over the rows. Every row keeps its own: (N,).": [
            {"return x, total": "return x, total.mean()"},
            {"total + log_det": "total + log_det.mean()"},
            _composed(total=lambda log_dets, x: sum(one.mean() for one in log_dets)),
        ],
        _NO_LAYER_TOTAL: [
            {"x.new_zeros(len(x))": "0"},
            _composed(total=lambda log_dets, x: sum(log_dets)),
        ],
        "Without a layer the log-determinants come out as (1,), not (N,). Begin with a zero for each row, "
        "`x.new_zeros(len(x))`.": {"x.new_zeros(len(x))": "x.new_zeros(1)"},
        "The zeros are (N, 1), and with (N,) they broadcast to (N, N). Begin with `x.new_zeros(len(x))`.": [
            {"x.new_zeros(len(x))": "x.new_zeros(len(x), 1)"},
        ],
        "The zeros have the shape of x, (N, D), but a layer gives one number for each row. Begin with "
        "`x.new_zeros(len(x))`.": {"x.new_zeros(len(x))": "torch.zeros_like(x)"},
        "Here are D zeros, but a layer gives one number for each row. Begin with N of them, "
        "`x.new_zeros(len(x))`.": {"len(x)": "x.shape[1]"},
        _CHANGED_LAYER: [
            _into_the_first(lambda x: x.new_zeros(len(x))),
            _into_the_first(lambda x: 0),
            _into_the_first(lambda x: None),
            _first_apart(Tensor.add_),
        ],
        "Without a layer there is no `layers[0]`. Begin with zeros (N,), then loop over all layers.": [
            _first_apart(torch.add),
        ],
        "Without a layer there is nothing to stack. Begin with zeros (N,), and add each layer's log-determinants to "
        "them.": [
            _composed(total=lambda log_dets, x: torch.stack(log_dets).sum(dim=0)),
            _composed(total=lambda log_dets, x: torch.stack(log_dets, dim=1).sum(dim=1)),
            _composed(total=lambda log_dets, x: torch.stack(log_dets, dim=-1).sum(dim=-1)),
        ],
        "`return` stands inside the loop, so only the first layer acts. Move it below the loop.": [
            lambda layers, x: layers[0](x) if len(layers) else None,
            lambda layers, x: layers[0](x) if len(layers) else (x, x.new_zeros(len(x))),
        ],
        "Every layer gets the original x. It should get what came out of the layer before: `x, log_det = layer(x)`.": [
            _from_x_each,
            _composed(step=lambda layer, z, x: layer(x), total=lambda log_dets, x: sum(log_dets)),
        ],
        "Every layer gets the original x, and only the last layer's log-determinants come back. Carry x on, "
        "`x, log_det = layer(x)`, and add them up.": [
            _composed(
                step=lambda layer, z, x: layer(x),
                total=lambda log_dets, x, end=end: log_dets[-1] if log_dets else end(x),
            )
            for end in (lambda x: x.new_zeros(len(x)), lambda x: _unbound("z"))
        ],
        "A list of each layer's log-determinants came back. Return their sum, (N,).": [
            _composed(total=lambda log_dets, x: log_dets),
        ],
        "The log-determinants of the layers are stacked. Return their sum over the layers, (N,).": [
            _composed(**_or_zeros(torch.stack)),
            _composed(**_or_zeros(partial(torch.stack, dim=1))),
            _composed(total=lambda log_dets, x: torch.stack(log_dets)),
            _composed(total=lambda log_dets, x: torch.stack(log_dets, dim=1)),
        ],
        "The log-determinants are averaged over the layers. They add up, since determinants multiply.": [
            {"return x, total": "return x, total / len(layers)"},
            {"return x, total": "return x, total / (len(layers) + 1)"},
        ],
        "Two slips. The layers are applied from the last to the first. The log-determinants are averaged, not added.": [
            _composed(
                order=lambda layers: list(layers)[::-1],
                total=lambda log_dets, x, more=more: _added(log_dets, x) / max(len(log_dets) + more, 1),
            )
            for more in (0, 1)
        ],
        **_pair_cut_off(compose.reference),
        "Both results are right, but between the layers x is cut off from the gradient. Carry it on as it is: "
        "`x, log_det = layer(x)`.": [
            _composed(step=lambda layer, z, x: (layer(z)[0].detach(), layer(z)[1])),
        ],
        _BY_NUMPY: lambda layers, x: (x.numpy(), compose.reference(layers, x))[1],
        "A layer's log_det is a logarithm already. Add it as it is, without another `log`.": [
            _composed(total=lambda log_dets, x: _added([one.abs().log() for one in log_dets], x)),
            _composed(total=lambda log_dets, x: _added([one.log() for one in log_dets], x)),
        ],
        "The last layer's log-determinants are added to themselves, and the others are lost. Keep the sum under a name "
        "of its own: `total = total + log_det`.": [
            _doubling,
            _composed(**_or_zeros(lambda log_dets: 2 * log_dets[-1])),
        ],
        "Every layer moves the points twice. Call it once, and take both things it returns: "
        "`x, log_det = layer(x)`.": _composed(step=lambda layer, z, x: layer(layer(z)[0])),
        "A layer returns two things, and the next one takes only the first of them. Unpack them: "
        "`x, log_det = layer(x)`.": [
            _not_unpacked,
            lambda layers, x: nn.Sequential(*layers)(x),
        ],
    }
)


compose.pairs_of_slips(
    _composed,
    {
        "The layers are applied from the last to the first.": {"order": lambda layers: list(layers)[::-1]},
    },
    {
        "The log-determinants are subtracted instead of added.": {
            "total": lambda log_dets, x: -_added(log_dets, x)
        },
        "Only the last log-determinants come back, not the sum.": _or_zeros(lambda log_dets: log_dets[-1]),
        "Without a layer, (N,) zeros are expected, not one number.": {
            "total": lambda log_dets, x: sum(log_dets)
        },
    },
)


# Section 4: the loss of a flow --------------------------------------------------------------------------------


def _latents(N, D, seed, size=1.0, dtype=torch.float32):
    """Latent points (N, D), and log-determinants of both signs."""
    return size * normal(N, D, seed=seed, dtype=dtype), 0.9 * normal(N, seed=seed + 1, dtype=dtype) - 0.4


@lesson.exercise(
    cases={
        "z = 0, one coordinate": (torch.tensor([[0.0]]), torch.tensor([0.0])),
        "one row, two coordinates": (torch.tensor([[3.0, 4.0]]), torch.tensor([1.0])),
        "two rows": (torch.tensor([[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]]), torch.tensor([0.5, -1.5])),
        "one coordinate": _latents(5, 1, seed=10),
        "as many rows as columns": _latents(3, 3, seed=20),
        "more columns than rows": _latents(4, 7, seed=30),
        "more rows than columns": _latents(9, 2, seed=40),
        "a batch of one": _latents(1, 4, seed=50),
        "negative log-determinants": (normal(6, 3, seed=60), -2 - normal(6, seed=61).abs()),
        "points far out": _latents(3, 2, seed=70, size=30.0),
        "float64 numbers": _latents(4, 5, seed=80, dtype=torch.float64),
        _RECORDED: tuple(one.requires_grad_() for one in _latents(6, 3, seed=90)),
    },
    observe=lambda attempt, z, log_det: _seen(attempt, flow_nll.reference, z=z, log_det=log_det),
    hints=[
        "ln p(x) = ln N(z) + ln|det ∂z/∂x| for each row. What is ln N(z) in D dimensions?",
        "ln N(z) = −½ Σ z² − D/2 · ln 2π, with the sum over the D coordinates of a row, `dim=1`.",
        "−ln p(x) is `0.5 * z.square().sum(dim=1) + 0.5 * D * math.log(2 * math.pi) - log_det`; then the mean.",
    ],
)
def flow_nll(z, log_det):
    """Return the negative log-likelihood of a batch, the mean of −ln p(x) over its rows, in nats: one number, a tensor.

    A flow has mapped x to z (N, D), with ln|det ∂z/∂x| in log_det (N,); z has the density of N(0, I).
    """
    base = 0.5 * z.square().sum(dim=1) + 0.5 * z.shape[1] * math.log(2 * math.pi)  # −ln N(z), (N,)
    return (base - log_det).mean()


_LN_2PI = math.log(2 * math.pi)


def _nll(
    squares=lambda z: 0.5 * z.square().sum(dim=1),
    constant=lambda z: 0.5 * z.shape[1] * _LN_2PI,
    log_det_as=lambda log_det: log_det,
    over=lambda nll, z: nll.mean(),
):
    """The loss, with what can go wrong as arguments."""
    return lambda z, log_det: over(squares(z) + constant(z) - log_det_as(log_det), z)


_SQUARES = {
    "The ½ of ½ z² is missing: −ln N(z) holds half the sum of squares.": {
        "squares": lambda z: z.square().sum(dim=1)
    },
    "The sum is taken before the square. Square each coordinate, then add: `z.square().sum(dim=1)`.": {
        "squares": lambda z: 0.5 * z.sum(dim=1) ** 2
    },
    "This is half the length of z, not half its square. Leave out the root: `z.square().sum(dim=1)`.": {
        "squares": lambda z: 0.5 * z.norm(dim=1)
    },
    "½ Σ z² has the wrong sign. ln N(z) falls with z², so the loss rises: add it.": {
        "squares": lambda z: -0.5 * z.square().sum(dim=1)
    },
}
_CONSTANTS = {
    "The constant ½ ln 2π is counted once. Each of the D coordinates has one: D/2 · ln 2π.": {
        "constant": lambda z: 0.5 * _LN_2PI
    },
    "The constant D/2 · ln 2π is missing. Training does not need it, but the likelihood in nats does.": {
        "constant": lambda z: 0
    },
    "The constant is D ln 2π here, without its ½. Each coordinate has ½ ln 2π.": {
        "constant": lambda z: z.shape[1] * _LN_2PI
    },
    "The constant counts the N rows. Each of the D coordinates has ½ ln 2π: `z.shape[1]`, not `len(z)`.": {
        "constant": lambda z: 0.5 * len(z) * _LN_2PI
    },
    "The constant D/2 · ln 2π has the wrong sign. It stands with −½ Σ z² in ln N(z), so in the loss both are added.": {
        "constant": lambda z: -0.5 * z.shape[1] * _LN_2PI
    },
}
_DETERMINANTS = {
    "The log-determinant has the wrong sign. It is added in ln p(x), and so subtracted in −ln p(x).": {
        "log_det_as": lambda log_det: -log_det
    },
    "The log-determinant is missing: ln p(x) = ln N(z) + ln|det ∂z/∂x|.": {
        "log_det_as": lambda log_det: 0 * log_det
    },
    "The log-determinant is halved. The ½ belongs to Σ z² and D ln 2π, not to log_det.": {
        "log_det_as": lambda log_det: 0.5 * log_det
    },
    "`exp` gives back the determinant. In ln p(x) stands its logarithm, log_det as it is.": {
        "log_det_as": torch.exp
    },
    "The log-determinants are added over the rows. Each row has its own, and the mean over the rows comes last.": {
        "log_det_as": torch.sum
    },
}
_REDUCTIONS = {
    "The loss is summed over the rows. Take the mean.": {"over": lambda nll, z: nll.sum()},
    "This is the mean log-likelihood. The loss has the opposite sign.": {"over": lambda nll, z: -nll.mean()},
    "This is a loss for each row, (N,). Take the mean over the rows.": {"over": lambda nll, z: nll},
    "This is (N,), ln p(x) for each row. The loss is the mean of −ln p(x), one number.": {
        "over": lambda nll, z: -nll
    },
    "The loss is divided by D as well, which makes it nats per dimension. Take the mean over the rows alone.": {
        "over": lambda nll, z: nll.mean() / z.shape[1]
    },
    "The loss is in bits, divided by ln 2. In nats it stays as it is.": {
        "over": lambda nll, z: nll.mean() / math.log(2)
    },
    "These are bits per dimension. The loss is expected in nats, for all coordinates together: leave out the division "
    "by D ln 2.": {"over": lambda nll, z: nll.mean() / z.shape[1] / math.log(2)},
    "The sum over the rows is divided by D. There are N rows: divide by `len(z)`, or take `mean()`.": {
        "over": lambda nll, z: nll.sum() / z.shape[1]
    },
}
flow_nll.slips(_nll, _SQUARES, _CONSTANTS, _DETERMINANTS, _REDUCTIONS)


def _per_coordinate(z):
    """−ln N(z) of each number of z."""
    return 0.5 * (z.square() + _LN_2PI)


def _by_densities(z, log_det):
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return -(density.prod(dim=1).log() + log_det).mean()


flow_nll.mistakes(
    {
        "The coordinates are averaged. They add up: the density of a row is the product of its D densities. "
        "`sum(dim=1)`, then the mean over the rows.": [
            {"z.square().sum(dim=1)": "z.square().mean(dim=1)"},
            _nll(squares=lambda z: 0.5 * z.square().mean(dim=1), constant=lambda z: 0.5 * _LN_2PI),
            _nll(squares=lambda z: 0.5 * z.square().mean(dim=1), constant=lambda z: 0),
            _nll(squares=lambda z: z.square().mean(dim=1)),
        ],
        "½ z² is added over all rows, so each row's loss holds the squares of the whole batch. Add over the "
        "coordinates of a row alone, `sum(dim=1)`.": [
            {"sum(dim=1)": "sum()"},
            _nll(squares=lambda z: 0.5 * z.square().sum(), constant=lambda z: 0.5 * z.numel() * _LN_2PI),
            _nll(squares=lambda z: 0.5 * z.square().sum(), constant=lambda z: 0.5 * _LN_2PI),
        ],
        "`dim=0` adds over the rows, which leaves one number for each coordinate. Add over the coordinates, "
        "`sum(dim=1)`.": [
            {"dim=1": "dim=0"},
            lambda z, log_det: (_per_coordinate(z).sum(dim=0) - log_det).mean(),
            lambda z, log_det: -((-_per_coordinate(z)).sum(dim=0) + log_det).mean(),
        ],
        "The coordinates are not added: this is (N, D), and log_det (N,) has one number for each row. Use "
        "`sum(dim=1)` before you subtract it.": [
            lambda z, log_det: (_per_coordinate(z) - log_det).mean(),
            lambda z, log_det: (0.5 * z.square() + 0.5 * z.shape[1] * _LN_2PI - log_det).mean(),
            lambda z, log_det: (_per_coordinate(z) - log_det).sum(),
        ],
        "log_det is subtracted from each coordinate, so the sum over them holds it D times. Subtract it from the sum, "
        "once for each row.": [
            lambda z, log_det: (_per_coordinate(z) - log_det[:, None]).sum(dim=1).mean(),
        ],
        "This is the density of two coordinates, with the constant ln 2π. z has D of them, `z.shape[1]`, each with its "
        "½ ln 2π.": [
            lambda z, log_det: (
                -(MultivariateNormal(torch.zeros(2), torch.eye(2)).log_prob(z) + log_det).mean()
            ),
            {"0.5 * z.shape[1] * math.log(2 * math.pi)": "math.log(2 * math.pi)"},
        ],
        "This is the log-likelihood, added over the rows. The loss is the mean of −ln p(x).": [
            _nll(over=lambda nll, z: -nll.sum()),
        ],
        "The logarithm of the density is missing. ln p(x) = ln N(z) + log_det, and the loss is the mean of its "
        "negative.": [
            lambda z, log_det: -(torch.exp(-_per_coordinate(z).sum(dim=1)) * log_det.exp()).mean(),
            lambda z, log_det: (torch.exp(-_per_coordinate(z).sum(dim=1)) * log_det.exp()).mean(),
        ],
        "log_det is a logarithm already. Subtract it as it is, without another `log`.": [
            _nll(log_det_as=torch.log),
            _nll(log_det_as=lambda log_det: log_det.abs().log()),
            lambda z, log_det: (_per_coordinate(z).sum(dim=1) + log_det.log()).mean(),
            lambda z, log_det: (_per_coordinate(z).sum(dim=1) + log_det.abs().log()).mean(),
        ],
        "Far out the density is too small for float32, and its logarithm −inf. Write down the logarithm itself: "
        "−½ Σ z² − D/2 · ln 2π.": [
            _by_densities,
            lambda z, log_det: -(torch.exp(-_per_coordinate(z).sum(dim=1)).log() + log_det).mean(),
            lambda z, log_det: -(torch.exp(-_per_coordinate(z)).prod(dim=1) * log_det.exp()).log().mean(),
            lambda z, log_det: -torch.exp(-_per_coordinate(z).sum(dim=1) + log_det).log().mean(),
        ],
        "The number is right, but no gradient flows back through log_det, so training would ignore it. Subtract it as "
        "it is, without `.detach()`, `.item()` or `torch.tensor`.": _nll(log_det_as=Tensor.detach),
        "The number is right, but no gradient flows back through z, so training would ignore it. Use z as it is, "
        "without `.detach()`, `.item()` or `.data`.": _nll(
            squares=lambda z: 0.5 * z.detach().square().sum(dim=1)
        ),
        _NO_TENSOR: lambda z, log_det: flow_nll.reference(z, log_det).item(),
        **_cut_off(flow_nll.reference, _NUMBER_CUT_OFF),
    }
)
flow_nll.pairs_of_slips(
    _nll,
    {
        "The log-determinant has the wrong sign.": {"log_det_as": lambda log_det: -log_det},
        "The log-determinant is missing.": {"log_det_as": lambda log_det: 0 * log_det},
    },
    {
        "The mean over the rows is missing.": {"over": lambda nll, z: nll},
        "The loss is summed over the rows, not averaged.": {"over": lambda nll, z: nll.sum()},
        "This is the log-likelihood, so the whole has the wrong sign as well.": {
            "over": lambda nll, z: -nll.mean()
        },
        "The ½ of ½ z² is missing.": {"squares": lambda z: z.square().sum(dim=1)},
        "The coordinates are averaged, not added.": {"squares": lambda z: 0.5 * z.square().mean(dim=1)},
        "The constant D/2 · ln 2π is missing.": {"constant": lambda z: 0},
        "The constant ½ ln 2π is counted once, not D times.": {"constant": lambda z: 0.5 * _LN_2PI},
    },
)
flow_nll.pairs_of_slips(
    _nll,
    {
        "The constant D/2 · ln 2π is missing.": {"constant": lambda z: 0},
        "The constant ½ ln 2π is counted once, not D times.": {"constant": lambda z: 0.5 * _LN_2PI},
        "The constant is D ln 2π, without its ½.": {"constant": lambda z: z.shape[1] * _LN_2PI},
    },
    {
        "The mean over the rows is missing.": {"over": lambda nll, z: nll},
        "The loss is summed over the rows, not averaged.": {"over": lambda nll, z: nll.sum()},
        "This is the log-likelihood: the loss has the opposite sign.": {"over": lambda nll, z: -nll.mean()},
        "The ½ of ½ z² is missing.": {"squares": lambda z: z.square().sum(dim=1)},
    },
    but=[],
)


# Section 4: the integral of a density -------------------------------------------------------------------------


class _LogDensity(NamedFunction):
    """A log-density that takes points (n, 2)."""

    def __call__(self, points):
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"log_prob takes points (M², 2), and {tuple(points.shape)} arrived")
        return super().__call__(*points.unbind(dim=1))


def _log_normal(a, b, sigma):
    def function(x, y):
        return -((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2) - math.log(2 * math.pi * sigma**2)

    return _LogDensity(f"ln N of mean ({a}, {b}), σ = {sigma}", function)


def _one_number(attempt, log_prob, axis):
    """What comes back; a loop over single points ends with a tensor (1,), which will do."""
    value = attempt(log_prob, axis)
    return value[0] if isinstance(value, Tensor) and value.shape == (1,) else value


@lesson.exercise(
    cases={
        "three numbers, density 1": (
            _LogDensity("ln p = 0", lambda x, y: 0 * x),
            torch.tensor([0.0, 0.5, 1.0]),
        ),
        "two numbers": (_LogDensity("ln p = x − 2y", lambda x, y: x - 2 * y), torch.tensor([0.0, 0.2])),
        "a standard normal": (_log_normal(0.0, 0.0, 1.0), torch.linspace(-5, 5, 31)),
        "partly outside": (_log_normal(1.0, -2.0, 1.0), torch.linspace(-3, 3, 25)),
        "a narrow one": (_log_normal(0.3, -0.2, 0.2), torch.linspace(-1, 1, 21)),
        "from −1 to 3": (
            _LogDensity("ln p = xy − x² − |y|", lambda x, y: x * y - x**2 - y.abs()),
            torch.linspace(-1, 3, 9),
        ),
        "from 2 to 6": (_log_normal(3.0, 4.5, 0.8), torch.linspace(2, 6, 6)),
        "a ring": (
            _LogDensity("a ring", lambda x, y: -4 * ((x**2 + y**2).sqrt() - 1.2) ** 2 - 1.0),
            torch.linspace(-2, 2, 15),
        ),
        "0 outside of a square": (
            _LogDensity(
                "uniform on a square",
                lambda x, y: torch.where((x.abs() < 1.1) & (y.abs() < 1.1), -1.5, -math.inf).to(x),
            ),
            torch.linspace(-2, 2, 12),
        ),
        "float64 numbers": (
            _log_normal(-0.5, 0.5, 0.7),
            torch.linspace(-1.5, 2, 8, dtype=torch.float64),
        ),
    },
    hints=[
        "`torch.cartesian_prod(axis, axis)` makes all pairs, (M², 2). What has to happen to a logarithm before it is "
        "added?",
        "A cell is as wide as the distance of two neighbours, `axis[1] - axis[0]`, and as high. What is its area?",
        "`log_prob(points).exp().sum()` adds the densities. Multiply it by `(axis[1] - axis[0]) ** 2`.",
    ],
    observe=_one_number,
)
def integral_on_grid(log_prob, axis):
    """Return the integral over a square of the density whose logarithm is log_prob: one number.

    The square is axis × axis, for M evenly spaced numbers in axis (M,), each pair of them a point. The integral is
    the sum of the densities at these points times the area of a cell. log_prob maps points (M², 2) to (M²,).
    """
    points = torch.cartesian_prod(axis, axis)
    return log_prob(points).exp().sum() * (axis[1] - axis[0]) ** 2


def _integral(
    points=lambda axis: torch.cartesian_prod(axis, axis),
    density=torch.exp,
    total=torch.sum,
    area=lambda axis: (axis[1] - axis[0]) ** 2,
    end=lambda number, values: number,
):
    """The sum over the grid, with what can go wrong as arguments."""

    def attempt(log_prob, axis):
        values = density(log_prob(points(axis)))
        return end(total(values) * area(axis), values)

    return attempt


def _step(axis):
    return axis[1] - axis[0]


_GRIDS = {
    "These are the M points on the diagonal alone. Every number meets every other: `torch.cartesian_prod(axis, "
    "axis)`.": {"points": lambda axis: torch.stack([axis, axis], dim=1)},
    "These are pairs of different numbers, each pair once. Take all M² of them, in both orders: "
    "`torch.cartesian_prod(axis, axis)`.": {"points": torch.combinations},
    "Each pair is taken once, but (a, b) and (b, a) are two points. Take all M²: `torch.cartesian_prod(axis, "
    "axis)`.": {"points": lambda axis: torch.combinations(axis, with_replacement=True)},
    "`reshape` mixes up the coordinates here: numbers that stand side by side in the grid become a point. Stack the "
    "two grids along the last axis, `dim=-1`, before you reshape.": {
        "points": lambda axis: torch.stack(torch.meshgrid(axis, axis, indexing="ij")).reshape(-1, 2)
    },
    "The first or the last number of axis is left out. All M² points count.": {
        "points": lambda axis: torch.cartesian_prod(axis[:-1], axis[:-1])
    },
    "The points are moved into the middle of the cells. The docstring asks for the density at the points of the "
    "grid themselves.": {
        "points": lambda axis: torch.cartesian_prod(axis + _step(axis) / 2, axis + _step(axis) / 2)
    },
}
_DENSITIES = {
    "The logarithms are added. Turn them into densities first: `.exp()`.": {"density": lambda values: values},
}
_SUMS = {
    "The sum is divided by M², as `mean` does. The integral is the sum of the densities, multiplied by the area of a "
    "cell.": {"total": torch.mean},
    "The densities are not added yet: this is one number for each point. Take their sum.": {
        "total": lambda values: values
    },
}
_AREAS = {
    "The area of a cell is missing: multiply the sum by `(axis[1] - axis[0]) ** 2`.": {
        "area": lambda axis: 1
    },
    "This is the width of a cell, not its area. Square it: `(axis[1] - axis[0]) ** 2`.": {"area": _step},
    "The range is divided into M steps, but M numbers have M − 1 between them. A cell is `axis[1] - axis[0]` "
    "wide.": {"area": lambda axis: ((axis[-1] - axis[0]) / len(axis)) ** 2},
    "The sum is multiplied by the area of the whole square. A point stands for one cell: `(axis[1] - axis[0]) ** 2`.": {
        "area": lambda axis: (axis[-1] - axis[0]) ** 2
    },
    "`axis[1]` is not the width of a cell. Subtract its neighbour: `axis[1] - axis[0]`.": {
        "area": lambda axis: axis[1] ** 2
    },
    "`axis[0] - axis[1]` is negative, and it is not squared. The area of a cell is `(axis[1] - axis[0]) ** 2`.": {
        "area": lambda axis: axis[0] - axis[1]
    },
}
_GRID_ENDS = {
    "This is the logarithm of the integral. Leave the last `log` out, or take `exp` of it.": {
        "end": lambda number, values: number.log()
    },
}
integral_on_grid.slips(_integral, _GRIDS, _DENSITIES, _SUMS, _AREAS, _GRID_ENDS)


def _grid(log_prob, axis):
    """The densities on the grid, (M, M)."""
    return log_prob(torch.cartesian_prod(axis, axis)).exp().view(len(axis), -1)


def _grids(axis, **stack):
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), **stack)


_GRID_SHAPE = (
    "log_prob takes points in rows, (M², 2), and this has another shape. `torch.cartesian_prod(axis, axis)` gives it, "
    "or `reshape(-1, 2)` of a grid (M, M, 2)."
)


def _point_by_point(pair):
    """A loop over the grid, with a point made by `pair`."""

    def attempt(log_prob, axis):
        total = 0.0
        for a in axis:
            for b in axis:
                total = total + log_prob(pair(a, b)).exp()
        return total * _step(axis) ** 2

    return attempt


integral_on_grid.mistakes(
    {
        "This is the mean of the densities. The integral is their sum, multiplied by the area of a cell: "
        "`(axis[1] - axis[0]) ** 2`.": _integral(total=torch.mean, area=lambda axis: 1),
        "The first or the last number of axis is left out. All M² points count.": [
            _integral(points=lambda axis: torch.cartesian_prod(axis[1:], axis[1:])),
            _integral(points=lambda axis: torch.cartesian_prod(axis[1:-1], axis[1:-1])),
        ],
        "The points are moved into the middle of the cells. The docstring asks for the density at the points of the "
        "grid themselves.": [
            _integral(
                points=lambda axis: torch.cartesian_prod(
                    axis[:-1] + _step(axis) / 2, axis[:-1] + _step(axis) / 2
                )
            ),
        ],
        "The log-probabilities are added before `exp`, which multiplies the densities. Take `exp` first: "
        "`log_prob(points).exp().sum()`.": [
            {".exp().sum()": ".sum().exp()"},
            _integral(total=torch.prod),
            _integral(density=lambda values: values, total=lambda values: values.mean().exp()),
        ],
        "The area of a cell stands inside `exp`. Add the densities, then multiply their sum by it.": (
            lambda log_prob, axis: (log_prob(torch.cartesian_prod(axis, axis)) * _step(axis) ** 2).exp().sum()
        ),
        "The range divided by M is used as the area. A cell is `axis[1] - axis[0]` wide, and its area is the square.": [
            _integral(area=lambda axis: (axis[-1] - axis[0]) / len(axis)),
        ],
        "Two slips. The area of a cell is missing. `exp` comes after the sum, and belongs before it.": [
            _integral(
                density=lambda values: values, total=lambda values: values.sum().exp(), area=lambda axis: 1
            ),
        ],
        "This is the trapezoidal rule, which gives points at the ends less weight. The docstring asks for the plain "
        "sum of all densities.": [
            lambda log_prob, axis: torch.trapezoid(torch.trapezoid(_grid(log_prob, axis), axis), axis),
            lambda log_prob, axis: torch.trapezoid(
                torch.trapezoid(_grid(log_prob, axis), dx=_step(axis)), dx=_step(axis)
            ),
            lambda log_prob, axis: torch.trapezoid(_grid(log_prob, axis).flatten()) * _step(axis) ** 2,
        ],
        "The sum on the last line covers one axis only, with M numbers. Add over both, and multiply by the width of a "
        "cell twice.": [
            lambda log_prob, axis: _grid(log_prob, axis).sum(dim=0) * _step(axis) ** 2,
            lambda log_prob, axis: _grid(log_prob, axis).sum(dim=1) * _step(axis) ** 2,
            lambda log_prob, axis: _grid(log_prob, axis).sum(dim=0) * _step(axis),
            lambda log_prob, axis: _grid(log_prob, axis).sum(dim=1) * _step(axis),
            lambda log_prob, axis: torch.trapezoid(_grid(log_prob, axis), axis),
        ],
        "This is the logarithm of the integral. Leave the last `log` out, or take `exp` of it.": [
            lambda log_prob, axis: (
                log_prob(torch.cartesian_prod(axis, axis)).logsumexp(dim=0) + 2 * _step(axis).log()
            ),
        ],
        "Two slips. This is the logarithm of the integral: take `exp` of it. The width of a cell counts twice, once "
        "for each axis: add `2 * width.log()`.": [
            lambda log_prob, axis: (
                log_prob(torch.cartesian_prod(axis, axis)).logsumexp(dim=0) + _step(axis).log()
            ),
        ],
        "The cell has the same size whatever axis is. Take it from axis: `axis[1] - axis[0]`.": [
            _integral(area=lambda axis, side=side: (side / 300) ** 2) for side in (8, 10)
        ],
        "axis is overwritten, so the square is the same in every call. Use the axis that is handed in.": [
            lambda log_prob, axis, end=end: integral_on_grid.reference(
                log_prob, torch.linspace(-end, end, 301)
            )
            for end in (4, 5)
        ],
        "`logsumexp` gives the logarithm of the sum. Take `exp` of it before you multiply by the area.": [
            _integral(density=lambda values: values, total=lambda values: values.logsumexp(dim=0)),
        ],
        "These are the M points on the diagonal alone. Every number meets every other: `torch.cartesian_prod(axis, "
        "axis)`.": [
            _integral(points=lambda axis: torch.stack([axis, axis], dim=1), area=_step),
            lambda log_prob, axis: torch.trapezoid(log_prob(torch.stack([axis, axis], dim=1)).exp(), axis),
        ],
        _GRID_SHAPE: [
            *(
                _integral(points=points)
                for points in (
                    lambda axis: _grids(axis, dim=-1),
                    lambda axis: _grids(axis, dim=0),
                    lambda axis: _grids(axis, dim=0).reshape(2, -1),
                    lambda axis: torch.cartesian_prod(axis, axis).T,
                    lambda axis: torch.stack([axis, axis]),
                    lambda axis: axis,
                    lambda axis: axis[:, None],
                    lambda axis: axis[:, None] * axis,
                    lambda axis: torch.cartesian_prod(axis, axis).flatten(),
                    lambda axis: torch.cat(torch.meshgrid(axis, axis, indexing="ij")),
                    lambda axis: torch.cat(torch.meshgrid(axis, axis, indexing="ij"), dim=1),
                )
            ),
        ],
        "log_prob takes a batch of points, and got a single one, (2,). Pass all M² at once: "
        "`torch.cartesian_prod(axis, axis)`.": [
            _point_by_point(lambda a, b: torch.stack([a, b])),
            _integral(points=lambda axis: torch.stack([axis[0], axis[0]])),
        ],
        "`meshgrid` returns two grids, and log_prob takes one tensor of points, (M², 2). "
        "`torch.cartesian_prod(axis, axis)` makes it.": [
            _integral(points=lambda axis: torch.meshgrid(axis, axis, indexing="ij")),
            lambda log_prob, axis: log_prob(*torch.meshgrid(axis, axis, indexing="ij")).exp().sum(),
        ],
    }
)
integral_on_grid.pairs_of_slips(
    _integral,
    {
        "The area of a cell is missing.": {"area": lambda axis: 1},
        "The width of a cell stands where its area belongs.": {"area": _step},
    },
    {
        "The logarithms are added, without `exp`.": {"density": lambda values: values},
        "The points are those on the diagonal alone.": {
            "points": lambda axis: torch.stack([axis, axis], dim=1)
        },
    },
    but=[{"area", "points"}],
)
integral_on_grid.mistakes(
    {
        "Two slips. The area of a cell is missing. The points are those on the diagonal alone.": _integral(
            points=lambda axis: torch.stack([axis, axis], dim=1), area=lambda axis: 1
        ),
    }
)


# Section 7: flow matching -------------------------------------------------------------------------------------


def _on_the_way(*shape, seed, dtype=torch.float32):
    """Data and noise of a shape, and a time for each row."""
    x, noise = 1.5 * normal(*shape, seed=seed, dtype=dtype) + 1, normal(*shape, seed=seed + 1, dtype=dtype)
    return x, noise, normal(shape[0], seed=seed + 2, dtype=dtype).sigmoid()


@lesson.exercise(
    cases={
        "half-way": (torch.tensor([[4.0, 2.0]]), torch.tensor([[0.0, -2.0]]), torch.tensor([0.5])),
        "one row, t = ¼": (torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 8.0]]), torch.tensor([0.25])),
        "t = 0 and t = 1": (
            torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]]),
            torch.tensor([[0.0, 0.5, 0.0], [1.0, 0.0, 1.5]]),
            torch.tensor([0.0, 1.0]),
        ),
        "as many rows as columns": _on_the_way(2, 2, seed=10),
        "more rows than columns": _on_the_way(5, 2, seed=20),
        "one column": _on_the_way(4, 1, seed=30),
        "images (N, 1, 8, 8)": _on_the_way(3, 1, 8, 8, seed=40),
        "as many images as pixels in a row": _on_the_way(8, 1, 8, 8, seed=50),
        "sequences (N, T, D)": _on_the_way(4, 4, 3, seed=60),
        "all three sizes equal": _on_the_way(3, 3, 3, seed=70),
        "float64 numbers": _on_the_way(3, 2, seed=80, dtype=torch.float64),
    },
    hints=[
        "Where is a point after a fraction t of the way? How far does it go in all, and how long does that take?",
        "The point is (1 − t) · noise + t · x. Its derivative with respect to t is the velocity.",
        "Give t as many axes as x: `t.view(-1, *[1] * (x.ndim - 1))` is (N, 1, …). The velocity is `x - noise`.",
    ],
    returns=("point", "velocity"),
)
def flow_matching_pair(x, noise, t):
    """Return the points (N, …) on the way from noise to x at the times t, and their velocities (N, …).

    Each point moves in a straight line, at a constant velocity, from its noise at t = 0 to its x at t = 1. x (N, …) and
    noise (N, …) have the same shape, such as (N, 2) or (N, 1, 8, 8); t (N,) holds a time for each row.
    """
    t = t.view(-1, *[1] * (x.ndim - 1))
    return (1 - t) * noise + t * x, x - noise


def _as_rows(t, x):
    return t.view(-1, *[1] * (x.ndim - 1))


def _pair(
    axes=_as_rows,
    point=lambda x, noise, t: (1 - t) * noise + t * x,
    velocity=lambda x, noise, t: x - noise,
    result=lambda point, velocity: (point, velocity),
):
    """The pair, with what can go wrong as arguments."""

    def attempt(x, noise, t):
        t = axes(t, x)
        return result(point(x, noise, t), velocity(x, noise, t))

    return attempt


_POINTS = {
    "The points run the wrong way: x at t = 0, noise at t = 1. Swap the weights: (1 − t) · noise + t · x.": {
        "point": lambda x, noise, t: (1 - t) * x + t * noise
    },
    "The noise keeps its full weight here. At t = 1 nothing of it should be left: (1 − t) · noise + t · x.": {
        "point": lambda x, noise, t: noise + t * x
    },
    "x keeps its full weight here. At t = 0 the point is the noise alone: (1 − t) · noise + t · x.": {
        "point": lambda x, noise, t: x + t * noise
    },
    "These are the weights of diffusion, √(1 − t) and √t, and the way is a curve. On a straight line they are 1 − t "
    "and t.": {"point": lambda x, noise, t: (1 - t).sqrt() * noise + t.sqrt() * x},
    "Cosine and sine weights make the way a curve. On a straight line they are 1 − t and t.": {
        "point": lambda x, noise, t: torch.cos(math.pi / 2 * t) * noise + torch.sin(math.pi / 2 * t) * x
    },
    "Both parts have the weight t. The noise fades as x comes in: (1 − t) · noise + t · x.": {
        "point": lambda x, noise, t: t * noise + t * x
    },
    "t · (x − noise) is how far a point has moved. Add where it began: noise + t · (x − noise).": {
        "point": lambda x, noise, t: t * (x - noise)
    },
    "The step t · (x − noise) begins at x. The points begin at the noise: noise + t · (x − noise).": {
        "point": lambda x, noise, t: x + t * (x - noise)
    },
    "The step points away from x. From the noise to x it is x − noise: noise + t · (x − noise).": {
        "point": lambda x, noise, t: noise + t * (noise - x)
    },
    "Only t · x stands in the point. The noise belongs to it as well: (1 − t) · noise + t · x.": {
        "point": lambda x, noise, t: t * x
    },
}
_VELOCITIES = {
    "The velocity points from x to the noise. The way goes from the noise, at t = 0, to x: x − noise.": {
        "velocity": lambda x, noise, t: noise - x
    },
    "The velocity is multiplied by t, which makes it the way covered so far. It is constant: x − noise.": {
        "velocity": lambda x, noise, t: t * (x - noise)
    },
    "x minus the point is the way that is left. The velocity is the same at all times: x − noise.": {
        "velocity": lambda x, noise, t: x - ((1 - t) * noise + t * x)
    },
    "x came back as the velocity. The point has to go from its noise to x in a time of 1: x − noise.": {
        "velocity": lambda x, noise, t: x
    },
    "The noise came back as the velocity: diffusion learns that one. Here it is the way from noise to x, "
    "x − noise.": {"velocity": lambda x, noise, t: noise},
    "The whole way takes a time of 1, whatever t is. Leave out the division by 1 − t: x − noise.": {
        "velocity": lambda x, noise, t: (x - noise) / (1 - t)
    },
    "The whole way takes a time of 1, whatever t is. Leave out the division by t: x − noise.": {
        "velocity": lambda x, noise, t: (x - noise) / t
    },
    "x and noise are added in the velocity. It is their difference, x − noise.": {
        "velocity": lambda x, noise, t: x + noise
    },
    "The point came back as the velocity, too. The velocity is its derivative with respect to t: x − noise.": {
        "velocity": lambda x, noise, t: (1 - t) * noise + t * x
    },
    "The velocity is x − t · noise here. It does not depend on the time: x − noise.": {
        "velocity": lambda x, noise, t: x - t * noise
    },
    "The velocity is x − (1 − t) · noise here. It does not depend on the time: x − noise.": {
        "velocity": lambda x, noise, t: x - (1 - t) * noise
    },
}
_TIMES_OF_ROWS = {
    "Every row gets the first time, `t[0]`. Each row has its own: give t the shape (N, 1, …).": {
        "axes": lambda t, x: t[0]
    },
    "Every row gets the mean of the times. Each row has its own: give t the shape (N, 1, …).": {
        "axes": lambda t, x: t.mean()
    },
    "The times are drawn anew. Use those that were handed in.": {
        "axes": lambda t, x: _as_rows(torch.rand(len(x)).to(x), x)
    },
}
_PAIRS_RETURNED = {
    "Points and velocities are in the other order. The points come first.": {
        "result": lambda point, velocity: (velocity, point)
    },
    "Only the points came back. Return the velocities as well: `return point, x - noise`.": {
        "result": lambda point, velocity: point
    },
    "Only the velocities came back. Return the points as well, in front of them.": {
        "result": lambda point, velocity: velocity
    },
    "Points and velocities are stacked into one tensor. Return two: `return point, velocity`.": {
        "result": lambda point, velocity: torch.stack([point, velocity])
    },
}
flow_matching_pair.slips(_pair, _POINTS, _VELOCITIES, _TIMES_OF_ROWS, _PAIRS_RETURNED)

_FLAT_TIMES = (
    "t (N,) meets the last axis of x, so the times go to the columns where the sizes happen to fit. Give it an axis "
    "for each of x's: `t.view(-1, *[1] * (x.ndim - 1))`."
)
_ONE_AXIS = (
    "`t[:, None]` is (N, 1), which is enough for x (N, D), but not for images or sequences. Give t as many axes as x "
    "has: `t.view(-1, *[1] * (x.ndim - 1))`."
)
_FIXED_AXES = (
    "t gets the same number of axes here whatever x has, which fits one kind of x alone. Give it as many as x: "
    "`t.view(-1, *[1] * (x.ndim - 1))`."
)


def _spread(how, *points):
    """Attempts whose t has these axes, each with the ways to write the point."""
    forms = points or (
        lambda x, noise, t: (1 - t) * noise + t * x,
        lambda x, noise, t: t * x + (1 - t) * noise,
        lambda x, noise, t: noise + t * (x - noise),
    )
    return [_pair(axes=how, point=form) for form in forms]


flow_matching_pair.mistakes(
    {
        _FLAT_TIMES: [
            {"t = t.view(-1, *[1] * (x.ndim - 1))\n": "t = t\n"},
            *_spread(lambda t, x: t),
            *_spread(lambda t, x: t.expand_as(x)),
            _pair(axes=lambda t, x: t, point=lambda x, noise, t: noise.lerp(x, t)),
        ],
        _ONE_AXIS: [
            *_spread(lambda t, x: t[:, None]),
            *_spread(lambda t, x: t[:, None].expand_as(x)),
            _pair(
                axes=lambda t, x: t[:, None],
                point=lambda x, noise, t: noise.lerp(x, t),
            ),
        ],
        _FIXED_AXES: [
            *_spread(lambda t, x: t[:, None, None, None]),
            *_spread(lambda t, x: t[:, None, None]),
            *_spread(lambda t, x: t[:, None] if x.ndim == 2 else t[:, None, None, None]),
        ],
        "The way runs backwards: x at t = 0, noise at t = 1. Swap the two, in the points and in the velocity.": [
            _pair(point=lambda x, noise, t: (1 - t) * x + t * noise, velocity=lambda x, noise, t: noise - x),
            {
                "(1 - t) * noise + t * x, x - noise": "(1 - t) * x + t * noise, noise - x",
            },
        ],
        "x minus the point, divided by 1 − t, is x − noise, but 0 / 0 at t = 1. Write x − noise, which holds at all "
        "times.": _pair(velocity=lambda x, noise, t: (x - ((1 - t) * noise + t * x)) / (1 - t)),
        "The point minus the noise, divided by t, is x − noise, but 0 / 0 at t = 0. Write x − noise, which holds at "
        "all times.": _pair(velocity=lambda x, noise, t: ((1 - t) * noise + t * x - noise) / t),
        "The velocity is weighted as the point is: t · x − (1 − t) · noise. It does not depend on the time: "
        "x − noise.": _pair(velocity=lambda x, noise, t: t * x - (1 - t) * noise),
        "The noise is drawn anew. Use the one that was handed in.": [
            lambda x, noise, t: flow_matching_pair.reference(x, torch.randn_like(x), t),
            lambda x, noise, t: flow_matching_pair.reference(x, torch.randn(x.shape).to(x), t),
            _pair(point=lambda x, noise, t: (1 - t) * torch.randn_like(x) + t * x),
            _pair(velocity=lambda x, noise, t: x - torch.randn_like(x)),
        ],
        "These weights, √(1 − t) and √t, are those of diffusion, and the velocity is the noise. Here the line is "
        "straight: (1 − t) · noise + t · x, x − noise.": [
            _pair(
                point=lambda x, noise, t: (1 - t).sqrt() * noise + t.sqrt() * x,
                velocity=lambda x, noise, t: noise,
            ),
            _pair(
                point=lambda x, noise, t: t.sqrt() * noise + (1 - t).sqrt() * x,
                velocity=lambda x, noise, t: noise,
            ),
        ],
        "This is the middle of noise and x, whatever the time. Use t: (1 − t) · noise + t · x.": _pair(
            point=lambda x, noise, t: (noise + x) / 2
        ),
        "Only the last row's point came back. Collect the points of all rows, then `torch.stack` them.": [
            lambda x, noise, t: (noise[-1] + t[-1] * (x[-1] - noise[-1]), x - noise),
            lambda x, noise, t: (noise[-1] + t[-1] * (x[-1] - noise[-1]), x[-1] - noise[-1]),
        ],
        "This is one pair for each row. Return two tensors: all points, then all velocities.": [
            lambda x, noise, t: [*zip(*flow_matching_pair.reference(x, noise, t), strict=True)],
        ],
        "x and noise are flattened, and the result keeps that shape. Give t axes instead, "
        "`t.view(-1, *[1] * (x.ndim - 1))`.": [
            lambda x, noise, t: flow_matching_pair.reference(x.flatten(1), noise.flatten(1), t),
        ],
    }
)
flow_matching_pair.pairs_of_slips(
    _pair,
    {
        "The points run from x to the noise: (1 − t) · noise + t · x is expected.": {
            "point": lambda x, noise, t: (1 - t) * x + t * noise
        },
        "The noise keeps its full weight: its part is (1 − t) · noise.": {
            "point": lambda x, noise, t: noise + t * x
        },
        "t (N,) needs an axis for each of x's, (N, 1, …).": {"axes": lambda t, x: t},
        "`t[:, None]` fits x (N, D) alone.": {"axes": lambda t, x: t[:, None]},
    },
    {
        "The velocity is the noise, but x − noise is expected.": {"velocity": lambda x, noise, t: noise},
        "The velocity is x, but x − noise is expected.": {"velocity": lambda x, noise, t: x},
        "The velocity has the factor t, but it is constant.": {
            "velocity": lambda x, noise, t: t * (x - noise)
        },
        "The velocity is what is left, x minus the point, but x − noise is expected.": {
            "velocity": lambda x, noise, t: x - ((1 - t) * noise + t * x)
        },
    },
)
flow_matching_pair.pairs_of_slips(
    _pair,
    {
        "t (N,) needs an axis for each of x's, (N, 1, …).": {"axes": lambda t, x: t},
        "`t[:, None]` fits x (N, D) alone.": {"axes": lambda t, x: t[:, None]},
    },
    {
        "The velocity points to the noise, but x − noise is expected.": {
            "velocity": lambda x, noise, t: noise - x
        },
        "The points come first, then the velocities.": {"result": lambda point, velocity: (velocity, point)},
        "The points run from x to the noise: (1 − t) · noise + t · x is expected.": {
            "point": lambda x, noise, t: (1 - t) * x + t * noise
        },
    },
)


# Section 8: planar layers -------------------------------------------------------------------------------------


def _planes(N, D, seed, dot=None, dtype=torch.float32):
    """Points, u, w and c of a planar flow; with `dot`, u is moved along w until u·w is that."""
    x, u, w = (normal(*shape, seed=seed + k, dtype=dtype) for k, shape in enumerate([(N, D), (D,), (D,)]))
    if dot is not None:
        u = u + (dot - u @ w) / (w @ w) * w
    return x, u, w, 0.1 * (seed % 7) - 0.25


@lesson.exercise(
    cases={
        "a point on the plane": (
            torch.tensor([[0.0, 0.0]]),
            torch.tensor([1.0, 2.0]),
            torch.tensor([3.0, 0.5]),
            0.0,
        ),
        "the example on paper": (
            torch.tensor([[0.3, -0.1]]),
            torch.tensor([1.0, 0.5]),
            torch.tensor([0.6, -0.8]),
            0.2,
        ),
        "u·w = 0": (
            torch.tensor([[0.5, 1.0], [2.0, -1.0], [0.0, 3.0]]),
            torch.tensor([1.0, 2.0]),
            torch.tensor([2.0, -1.0]),
            0.3,
        ),
        "a negative determinant": (
            torch.tensor([[0.2, 0.1], [-0.1, 0.3], [0.0, -0.2], [0.1, 0.4]]),
            torch.tensor([-3.0, -1.0]),
            torch.tensor([1.0, 0.5]),
            0.1,
        ),
        "negative near the plane alone": _planes(6, 3, seed=10, dot=-2.5),
        "as many points as coordinates": _planes(3, 3, seed=20, dot=1.7),
        "one coordinate": _planes(4, 1, seed=31),
        "more coordinates than points": _planes(2, 5, seed=40, dot=0.8),
        "a batch of one": _planes(1, 4, seed=53, dot=1.3),
        "float64 numbers": _planes(5, 2, seed=60, dot=-0.6, dtype=torch.float64),
        _RECORDED: tuple(torch.as_tensor(one).requires_grad_() for one in _planes(5, 3, seed=70, dot=0.9)),
    },
    observe=lambda attempt, x, u, w, c: _seen(attempt, planar_log_det.reference, x=x, u=u, w=w, c=c),
    hints=[
        "`x @ w` is w·x for every row, (N,), and `u @ w` is one number. Which of the two does the tanh see?",
        "With h = tanh(w·x + c), of shape (N,), the determinant is 1 + (u·w)(1 − h²).",
        "It may be negative, so the absolute value comes before the logarithm: `det.abs().log()`.",
    ],
)
def planar_log_det(x, u, w, c):
    """Return ln|det| (N,) of the Jacobian of the map x + u·tanh(w·x + c) at every row of x (N, D).

    u and w (D,) are vectors, c is a number. The determinant is 1 + (u·w)(1 − tanh²(w·x + c)), and may be negative
    (for u·w < −1).
    """
    h = torch.tanh(x @ w + c)
    return (1 + (u @ w) * (1 - h**2)).abs().log()


def _planar(
    argument=lambda x, u, w, c: x @ w + c,
    slope=lambda a: 1 - torch.tanh(a) ** 2,
    dot=lambda u, w: u @ w,
    det=lambda dot, slope: 1 + dot * slope,
    log=lambda det: det.abs().log(),
    end=lambda log_det, x: log_det,
):
    """The log-determinant, with what can go wrong as arguments."""
    return lambda x, u, w, c: end(log(det(dot(u, w), slope(argument(x, u, w, c)))), x)


_ARGUMENTS = {
    "c is missing under the tanh: it is tanh(w·x + c).": {"argument": lambda x, u, w, c: x @ w},
    "c is subtracted. It is added, w·x + c.": {"argument": lambda x, u, w, c: x @ w - c},
    "The tanh sees u·x. It should see w·x + c: w is the normal of the plane, u the direction of the step.": {
        "argument": lambda x, u, w, c: x @ u + c
    },
}
_SLOPES = {
    "The derivative of tanh is missing: this is ln|1 + u·w|, the same at every point. It is multiplied by "
    "1 − tanh²(w·x + c).": {"slope": torch.ones_like},
    "tanh is not squared: the derivative is 1 − tanh², here it is 1 − tanh.": {
        "slope": lambda a: 1 - torch.tanh(a)
    },
    "tanh itself stands where its derivative belongs: 1 − tanh².": {"slope": torch.tanh},
    "tanh² stands where 1 − tanh² belongs.": {"slope": lambda a: torch.tanh(a) ** 2},
    "The square is inside the tanh. Take the tanh first, then square it: 1 − tanh²(…).": {
        "slope": lambda a: 1 - torch.tanh(a**2)
    },
    "1 + tanh² stands where 1 − tanh² belongs.": {"slope": lambda a: 1 + torch.tanh(a) ** 2},
}
_DOTS = {
    "u·w is missing: the determinant is 1 + (u·w)(1 − tanh²).": {"dot": lambda u, w: 1.0},
    "w·w stands where u·w belongs: `u @ w`.": {"dot": lambda u, w: w @ w},
    "u·u stands where u·w belongs: `u @ w`.": {"dot": lambda u, w: u @ u},
    "The absolute value is taken of u·w alone, before the 1 is added. Take it of the whole "
    "determinant: `det.abs().log()`.": {"dot": lambda u, w: (u @ w).abs()},
}
_DETS = {
    "The 1 is missing: x itself adds the identity to the Jacobian. The determinant is 1 + (u·w)(1 − tanh²).": {
        "det": lambda dot, slope: dot * slope
    },
    "There is a minus where a plus belongs: 1 + (u·w)(1 − tanh²).": {
        "det": lambda dot, slope: 1 - dot * slope
    },
    "The brackets are missing: this is (1 + u·w)(1 − tanh²). It is 1 + (u·w)(1 − tanh²).": {
        "det": lambda dot, slope: (1 + dot) * slope
    },
    "The brackets are missing: this is 1 + u·w − tanh². It is 1 + (u·w)(1 − tanh²).": {
        "det": lambda dot, slope: 1 + dot - (1 - slope)
    },
}
_LOGS = {
    "This is the determinant. Its logarithm is expected: `det.abs().log()`.": {"log": lambda det: det},
    "This is |det|. Its logarithm is expected: `det.abs().log()`.": {"log": torch.abs},
    "The sign is wrong. This is −ln|det|, the log-determinant of the way back.": {
        "log": lambda det: -det.abs().log()
    },
    "The absolute value is taken of the logarithm, too late for a negative determinant. Take it first: "
    "`det.abs().log()`.": {"log": lambda det: det.log().abs()},
    "The logarithm has base 2. The natural one is expected: `log`.": {"log": lambda det: det.abs().log2()},
    "1 is added twice: `log1p(a)` is ln(1 + a) already. Use `log`, of the absolute value.": {
        "log": lambda det: det.abs().log1p()
    },
    "The determinant is squared, and so its logarithm is doubled: take half of it, or `det.abs().log()`.": {
        "log": lambda det: (det**2).log()
    },
}
_PLANAR_ENDS = {
    "The log-determinants are added over the rows. Every row keeps its own: (N,).": {
        "end": lambda log_det, x: log_det.sum()
    },
    "The log-determinants are averaged over the rows. Every row keeps its own: (N,).": {
        "end": lambda log_det, x: log_det.mean()
    },
    "This is (N, 1), and (N,) expected: one number for each row, without an axis of size 1.": {
        "end": lambda log_det, x: log_det[:, None]
    },
}
planar_log_det.slips(_planar, _ARGUMENTS, _SLOPES, _DOTS, _DETS, _LOGS, _PLANAR_ENDS)


def _planar_map(x, u, w, c):
    return x + u * torch.tanh(x @ w + c)[:, None]


_NO_ABS = "The logarithm of a negative determinant is nan. Take the absolute value first: `det.abs().log()`."
_CLAMPED = (
    "Negative determinants are cut off. What counts is how much the map stretches, whatever the sign: "
    "`det.abs().log()`."
)
planar_log_det.mistakes(
    {
        _NO_ABS: [
            {".abs()": ""},
            _planar(det=lambda dot, slope: dot * slope, log=torch.log1p),
        ],
        _CLAMPED: [
            _planar(log=lambda det, low=low: det.clamp(min=low).log())
            for low in (0, 1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
        ]
        + [_planar(log=lambda det: det.relu().log())],
        "c stands outside of the tanh. It belongs inside: tanh(w·x + c).": [
            lambda x, u, w, c: (1 + (u @ w) * (1 - (torch.tanh(x @ w) + c) ** 2)).abs().log(),
        ],
        "`u * w` multiplies number by number and leaves D of them. u·w adds them up: `u @ w`, or "
        "`(u * w).sum()`.": [
            _planar(dot=lambda u, w: u * w),
            lambda x, u, w, c: (1 + u * w * (1 - torch.tanh(x @ w + c)[:, None] ** 2)).abs().log(),
        ],
        "This is the sum of the logarithms along the diagonal of the Jacobian. It is not triangular, so use the "
        "formula, with u·w.": [
            lambda x, u, w, c: (1 + u * w * (1 - torch.tanh(x @ w + c)[:, None] ** 2)).abs().log().sum(dim=1),
        ],
        "`x * w` multiplies number by number, and the coordinates stay apart. w·x adds them up: `x @ w`.": [
            _planar(argument=lambda x, u, w, c: x * w + c),
            _planar(argument=lambda x, u, w, c: x * w + c, end=lambda log_det, x: log_det.sum(dim=1)),
        ],
        "The product with w runs along the points, axis 0 of x. It should run along the coordinates: `x @ w`.": [
            _planar(argument=lambda x, u, w, c: w @ x + c),
            _planar(argument=lambda x, u, w, c: x.T @ w + c),
            _planar(argument=lambda x, u, w, c: (x * w[:, None]).sum(dim=0) + c),
            _planar(argument=lambda x, u, w, c: (x * w).sum(dim=0) + c),
        ],
        "w·x is added over all rows. Every row has its own: `(x * w).sum(dim=1)`, or `x @ w`.": [
            _planar(argument=lambda x, u, w, c: (x * w).sum() + c),
        ],
        "`torch.outer(u, w)` is a matrix, (D, D). In the determinant stands the scalar product u·w, one number: "
        "`u @ w`.": [
            _planar(dot=torch.outer),
            lambda x, u, w, c: (
                (1 + torch.outer(u, w) * (1 - torch.tanh(x @ w + c) ** 2)[:, None, None]).abs().log()
            ),
        ],
        "`math.tanh` and `math.log` take one number, and there is one for each row. Use torch's: `torch.tanh`, and "
        "`det.abs().log()`.": [
            _planar(slope=lambda a: 1 - math.tanh(a) ** 2),
            _planar(log=lambda det: math.log(abs(det))),
            _planar(log=lambda det: math.log(det)),
            _planar(log=lambda det: torch.tensor(math.log(abs(det)))),
        ],
        "The numbers are right, but u·w is cut off from the gradient. Use `u @ w` as it is, a tensor, without "
        "`.item()`, `float` or `.detach()`.": _planar(dot=lambda u, w: (u @ w).detach()),
        "The numbers are right, but the slope 1 − tanh² is cut off from the gradient. Use `torch.tanh`, "
        "without `.item()`, `math` or `.detach()`.": _planar(slope=lambda a: 1 - torch.tanh(a.detach()) ** 2),
        **_cut_off(
            planar_log_det.reference,
            "The numbers are right, but no gradient flows back through them, and training needs one. Stay with "
            "tensors, without `.item()`, `math` or NumPy; `jacobian` cuts them off, too, unless with "
            "`create_graph=True`.",
        ),
        "A second result came back. Return the log-determinants alone, (N,).": [
            lambda x, u, w, c: (_planar_map(x, u, w, c), planar_log_det.reference(x, u, w, c)),
            lambda x, u, w, c: (x, planar_log_det.reference(x, u, w, c)),
        ],
    }
)
planar_log_det.pairs_of_slips(
    _planar,
    {
        "The absolute value is missing before the logarithm.": {"log": torch.log},
        "The absolute value comes before the logarithm, not after.": {"log": lambda det: det.log().abs()},
        "This is the determinant, without its logarithm.": {"log": lambda det: det},
    },
    {
        "The derivative of tanh is missing.": {"slope": torch.ones_like},
        "tanh is not squared in 1 − tanh².": {"slope": lambda a: 1 - torch.tanh(a)},
        "tanh stands where its derivative 1 − tanh² belongs.": {"slope": torch.tanh},
        "tanh² stands where 1 − tanh² belongs.": {"slope": lambda a: torch.tanh(a) ** 2},
        "c is missing under the tanh.": {"argument": lambda x, u, w, c: x @ w},
        "The tanh sees u·x, not w·x.": {"argument": lambda x, u, w, c: x @ u + c},
        "There is a minus where a plus belongs: 1 + (u·w)(1 − tanh²).": {
            "det": lambda dot, slope: 1 - dot * slope
        },
    },
)


# Section 9: diffusion -----------------------------------------------------------------------------------------


def _noising_bars(steps, dtype=torch.float32):
    """The ᾱ of so many steps, falling from 0.95."""
    return (1 - torch.linspace(0.05, 0.3, steps, dtype=dtype)).cumprod(dim=0)


def _noising_case(*shape, steps, t, seed, dtype=torch.float32):
    x, noise = normal(*shape, seed=seed, dtype=dtype), normal(*shape, seed=seed + 1, dtype=dtype)
    return x, noise, torch.tensor(t), _noising_bars(steps, dtype)


@lesson.exercise(
    cases={
        "ᾱ = 0.36": (
            torch.tensor([[5.0, 0.0]]),
            torch.tensor([[0.0, 5.0]]),
            torch.tensor([1]),
            torch.tensor([0.64, 0.36]),
        ),
        "two rows of two": _noising_case(2, 2, steps=3, t=[2, 0], seed=1),
        "one number in each row": _noising_case(3, steps=5, t=[3, 0, 1], seed=3),
        "five rows of three": _noising_case(5, 3, steps=12, t=[7, 2, 10, 0, 4], seed=5),
        "the same step twice": _noising_case(3, 2, steps=4, t=[2, 2, 0], seed=7),
        "as many steps as rows": _noising_case(4, 3, steps=4, t=[2, 0, 3, 1], seed=9),
        "as many numbers and steps as rows": _noising_case(4, 4, steps=4, t=[1, 3, 2, 0], seed=11),
        "images": _noising_case(3, 1, 4, 4, steps=6, t=[5, 1, 3], seed=13),
        "three tables of 3 × 3": _noising_case(3, 3, 3, steps=5, t=[1, 4, 0], seed=15),
        "one image": _noising_case(1, 1, 3, 3, steps=9, t=[6], seed=17),
        "ᾱ = 1 and ᾱ = 0": (
            normal(2, 3, seed=19),
            normal(2, 3, seed=20),
            torch.tensor([0, 2]),
            torch.tensor([1.0, 0.5, 0.0]),
        ),
        "float64": _noising_case(2, 3, steps=8, t=[6, 3], seed=21, dtype=torch.float64),
    },
    hints=[
        "`alpha_bar[t]` picks the ᾱ of every row at once: N numbers. What shape must they have to multiply x (N, …) "
        "row by row?",
        "(N, 1) goes with (N, 2), and (N, 1, 1, 1) with images: one axis of size 1 for every axis of x behind the "
        "first.",
        "`a = alpha_bar[t].view(-1, *[1] * (x.ndim - 1))`, then `a.sqrt()` times x plus `(1 - a).sqrt()` times the "
        "noise.",
    ],
)
def forward_noising(x, noise, t, alpha_bar):
    """Return the noisy points √ᾱ·x + √(1 − ᾱ)·noise (N, …), with the ᾱ of each row's own step.

    x (N, …) and noise (N, …) have the same shape, such as (N, 2) or (N, 1, 8, 8). alpha_bar (T,) holds ᾱ for the steps
    0, 1, …, T − 1, and t (N,), integers, the step of each row.
    """
    a = alpha_bar[t].view(-1, *[1] * (x.ndim - 1))  # (N, 1, …)
    return a.sqrt() * x + (1 - a).sqrt() * noise


def _noising_row_by_row(a, x):
    return a.reshape(-1, *[1] * (x.ndim - 1))


def _noising(
    signal=lambda a: a**0.5,
    spread=lambda a: (1 - a) ** 0.5,
    chosen=lambda alpha_bar, t: alpha_bar[t],
    shaped=_noising_row_by_row,
    joined=lambda signal, x, spread, noise: signal * x + spread * noise,
):
    """Noisy points, with what can go wrong as arguments."""

    def attempt(x, noise, t, alpha_bar):
        a = shaped(chosen(alpha_bar, t), x)
        return joined(signal(a), x, spread(a), noise)

    return attempt


def _noising_factors_behind(signal, x, spread, noise):
    return x * signal + noise * spread


_NOISING_ORDERS = [{}, {"joined": _noising_factors_behind}]
_NOISING_SIGNALS = {
    "x is multiplied by ᾱ itself. It takes the root, √ᾱ.": {"signal": lambda a: a},
    "x keeps its full size here. It shrinks by √ᾱ as the noise comes in.": {"signal": torch.ones_like},
}
_NOISING_SPREADS = {
    "The noise is multiplied by 1 − ᾱ. It takes the root of that, √(1 − ᾱ).": {"spread": lambda a: 1 - a},
    "The noise is multiplied by 1 − √ᾱ. The root goes over the whole difference: √(1 − ᾱ).": {
        "spread": lambda a: 1 - a.sqrt()
    },
    "The noise is multiplied by √(1 − ᾱ²). alpha_bar holds ᾱ, whose square is not needed: √(1 − ᾱ).": {
        "spread": lambda a: (1 - a**2).sqrt()
    },
    "The noise is multiplied by √ᾱ, as x is. Its factor is √(1 − ᾱ).": {"spread": lambda a: a.sqrt()},
    "The noise is added at full size. Its factor is √(1 − ᾱ).": {"spread": torch.ones_like},
}
_NOISING_BOTH = {
    "Both roots are missing: the factors are √ᾱ and √(1 − ᾱ), so that their squares add up to 1.": {
        "signal": lambda a: a,
        "spread": lambda a: 1 - a,
    },
    "x and noise have changed places: √ᾱ belongs to x, √(1 − ᾱ) to the noise.": {
        "signal": lambda a: (1 - a).sqrt(),
        "spread": lambda a: a.sqrt(),
    },
}
_NOISING_STEPS = {
    "The ᾱ of the step before is used, and for t = 0 that of the last, since `[-1]` counts from the end. The steps "
    "start at 0: `alpha_bar[t]`.": {"chosen": lambda alpha_bar, t: alpha_bar[t - 1]},
    "All rows get the ᾱ of the first row's step. Index with the whole of t, `alpha_bar[t]`: N numbers.": {
        "chosen": lambda alpha_bar, t: alpha_bar[t[0]]
    },
    "`alpha_bar` is multiplied up once more. It is ᾱ, the cumulative product, already: `alpha_bar[t]`.": {
        "chosen": lambda alpha_bar, t: alpha_bar.cumprod(dim=0)[t]
    },
    "`alpha_bar` is treated as β, the variance of one step. It is ᾱ already: `alpha_bar[t]`, without a product.": {
        "chosen": lambda alpha_bar, t: (1 - alpha_bar).cumprod(dim=0)[t]
    },
}

forward_noising.slips(_noising, _NOISING_SIGNALS, _NOISING_SPREADS, _NOISING_BOTH, _NOISING_STEPS)
forward_noising.mistakes(
    {
        "x is multiplied by ᾱ itself. It takes the root, √ᾱ.": {"a.sqrt() * x": "a * x"},
        "The noise is multiplied by 1 − ᾱ. It takes the root of that, √(1 − ᾱ).": {
            "(1 - a).sqrt()": "(1 - a)"
        },
        "The ᾱ of the step after is used, which the last step does not have. The steps start at 0: `alpha_bar[t]`.": [
            {"alpha_bar[t]": "alpha_bar[t + 1]"},
            _noising(chosen=lambda alpha_bar, t: alpha_bar.roll(-1)[t]),
            _noising(chosen=lambda alpha_bar, t: alpha_bar[(t + 1).clamp(max=len(alpha_bar) - 1)]),
        ],
        "`alpha_bar[t]` is (N,), and broadcasting lays its numbers along the last axis of x. Row by row it takes the "
        "shape (N, 1, …): `.view(-1, *[1] * (x.ndim - 1))`.": [
            *[_noising(shaped=lambda a, x: a, **order) for order in _NOISING_ORDERS],
            _noising(shaped=lambda a, x: a.expand_as(x)),
        ],
        "(N, 1) fits x of shape (N, D) alone. Give ᾱ as many axes as x has: `.view(-1, *[1] * (x.ndim - 1))`.": [
            _noising(shaped=lambda a, x: a[:, None], **order) for order in _NOISING_ORDERS
        ],
        "(N, 1, 1, 1) fits images alone. Give ᾱ as many axes as x has: `.view(-1, *[1] * (x.ndim - 1))`.": [
            _noising(shaped=lambda a, x: a[:, None, None, None]),
        ],
        "Points (N, D) and images (N, 1, 8, 8) come out right, but not every x (N, …). "
        "`.view(-1, *[1] * (x.ndim - 1))` fits any number of axes.": [
            _noising(shaped=lambda a, x: a.view(-1, 1) if x.ndim == 2 else a.view(-1, 1, 1, 1)),
            _noising(shaped=lambda a, x: a.view(-1, 1, 1, 1) if x.ndim == 4 else a.view(-1, 1)),
            _noising(shaped=lambda a, x: a.view(-1, 1, 1, 1) if x.ndim > 2 else a.view(-1, 1)),
            _noising(shaped=lambda a, x: {2: a.view(-1, 1), 4: a.view(-1, 1, 1, 1)}.get(x.ndim, a)),
        ],
        "There is one axis too many: ᾱ needs as many as x has, the first for the rows and `x.ndim - 1` of size 1.": [
            {"x.ndim - 1": "x.ndim"},
        ],
        "t is not used: the whole of `alpha_bar` (T,) meets the rows. `alpha_bar[t]` picks the ᾱ of each row's step.": [
            *[_noising(chosen=lambda alpha_bar, t: alpha_bar, **order) for order in _NOISING_ORDERS],
            *[
                _noising(chosen=lambda alpha_bar, t: alpha_bar, shaped=lambda a, x: a, **order)
                for order in _NOISING_ORDERS
            ],
            *[
                _noising(chosen=lambda alpha_bar, t: alpha_bar, shaped=lambda a, x: a[:, None], **order)
                for order in _NOISING_ORDERS
            ],
        ],
        "Row i gets the ᾱ of step i. Its own step is t[i]: `alpha_bar[t]`, or `alpha_bar[t[i]]` in a loop.": [
            lambda x, noise, t, alpha_bar: torch.stack(
                [alpha_bar[i].sqrt() * x[i] + (1 - alpha_bar[i]).sqrt() * noise[i] for i in range(len(x))]
            ),
            _noising(chosen=lambda alpha_bar, t: alpha_bar[: len(t)]),
        ],
        "t holds a step for each row, and `t.item()` wants a single one. Index with all of t: `alpha_bar[t]`.": [
            _noising(chosen=lambda alpha_bar, t: alpha_bar[t.item()]),
        ],
        "`math.sqrt` takes a single number, and `alpha_bar[t]` holds N, as t does, of which `int(t)` cannot be taken. "
        "Use `a.sqrt()`, in the shape (N, 1, …).": [
            _noising(signal=math.sqrt),
            _noising(spread=lambda a: math.sqrt(1 - a)),
            _noising(chosen=lambda alpha_bar, t: alpha_bar[int(t)]),
        ],
        "The factors are squared. They are roots, √ᾱ and √(1 − ᾱ): it is their squares that add up to 1.": [
            _noising(signal=lambda a: a**2, spread=lambda a: (1 - a) ** 2),
        ],
        "The loop returns after its first row. Collect the rows in a list, and return `torch.stack(rows)` behind the "
        "loop.": lambda x, noise, t, alpha_bar: forward_noising.reference(x, noise, t, alpha_bar)[0],
        "The factors come from t itself. t counts steps, and is there to look ᾱ up: `alpha_bar[t]`.": [
            _noising(chosen=lambda alpha_bar, t: t.to(alpha_bar)),
            _noising(chosen=lambda alpha_bar, t: 1 - t.to(alpha_bar) / len(alpha_bar)),
            _noising(chosen=lambda alpha_bar, t: t.to(alpha_bar) / len(alpha_bar)),
        ],
        "The noise is missing: add `(1 - a).sqrt() * noise`.": [
            _noising(joined=lambda signal, x, spread, noise: signal * x),
        ],
        "This is the noise part alone. Add √ᾱ·x.": _noising(
            joined=lambda signal, x, spread, noise: spread * noise
        ),
        "The noise is subtracted. Add it: √ᾱ·x + √(1 − ᾱ)·noise.": {"* x +": "* x -"},
        "New noise is drawn here. Use the `noise` that was handed over: the loss compares the network's answer with "
        "it.": [
            _noising(joined=lambda signal, x, spread, noise: signal * x + spread * torch.randn_like(x)),
        ],
        "The factors are √ᾱ for x + noise together. The noise has its own, √(1 − ᾱ).": [
            _noising(joined=lambda signal, x, spread, noise: signal * (x + spread * noise)),
        ],
        "The root is taken of the whole sum, which may be negative. Take it of the factors alone: `a.sqrt()` and "
        "`(1 - a).sqrt()`.": [
            lambda x, noise, t, alpha_bar: _noising(signal=lambda a: a, spread=lambda a: 1 - a)(
                x, noise, t, alpha_bar
            ).sqrt(),
        ],
        "The noise came back as well. Return the noisy points alone, (N, …).": [
            lambda x, noise, t, alpha_bar: (forward_noising.reference(x, noise, t, alpha_bar), noise),
        ],
        "Two things came back. Add them: √ᾱ·x + √(1 − ᾱ)·noise is one tensor.": [
            _noising(joined=lambda signal, x, spread, noise: (signal * x, spread * noise)),
        ],
        "A list of rows came back. Join them, `torch.stack(rows)`, or compute all rows at once.": [
            lambda x, noise, t, alpha_bar: list(forward_noising.reference(x, noise, t, alpha_bar)),
        ],
    }
)
_NOISING_ROOTS_IN_SHORT = {
    "x takes √ᾱ, not ᾱ.": {"signal": lambda a: a},
    "The noise takes √(1 − ᾱ), not 1 − ᾱ.": {"spread": lambda a: 1 - a},
    "The noise takes √(1 − ᾱ), not 1 − √ᾱ.": {"spread": lambda a: 1 - a.sqrt()},
    "The factors are roots, √ᾱ and √(1 − ᾱ).": {"signal": lambda a: a, "spread": lambda a: 1 - a},
    "√ᾱ belongs to x, √(1 − ᾱ) to the noise.": {
        "signal": lambda a: (1 - a).sqrt(),
        "spread": lambda a: a.sqrt(),
    },
}
_NOISING_ROWS_IN_SHORT = {
    "`alpha_bar[t]` is (N,) and runs along the last axis of x: give it the shape (N, 1, …).": {
        "shaped": lambda a, x: a
    },
    "(N, 1) fits only x (N, D): give ᾱ as many axes as x has.": {"shaped": lambda a, x: a[:, None]},
    "`alpha_bar[t - 1]` is the step before.": {"chosen": lambda alpha_bar, t: alpha_bar[t - 1]},
    "`alpha_bar` is ᾱ already, without `cumprod`.": {
        "chosen": lambda alpha_bar, t: alpha_bar.cumprod(dim=0)[t]
    },
}
forward_noising.pairs_of_slips(_noising, _NOISING_ROOTS_IN_SHORT, _NOISING_ROWS_IN_SHORT)


def _ddim_case(N, D, before, after, seed, dtype=torch.float32):
    return normal(N, D, seed=seed, dtype=dtype), normal(N, D, seed=seed + 1, dtype=dtype), before, after


@lesson.exercise(
    cases={
        "from ᾱ = 0.36 to ᾱ = 0.64": (torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 5.0]]), 0.36, 0.64),
        "next_alpha_bar = 1": _ddim_case(2, 2, 0.5, 1.0, seed=1),
        "two rows of two": _ddim_case(2, 2, 0.2, 0.45, seed=3),
        "five rows of three": _ddim_case(5, 3, 0.3, 0.7, seed=5),
        "nearly equal ᾱ": _ddim_case(3, 2, 0.8, 0.81, seed=7),
        "from nearly pure noise": _ddim_case(3, 4, 0.01, 0.09, seed=9),
        "one number in each row": _ddim_case(4, 1, 0.1, 0.6, seed=11),
        "noise of 0": (torch.tensor([[1.0, -2.0, 0.5]]), torch.zeros(1, 3), 0.25, 0.81),
        "ᾱ as tensors": _ddim_case(2, 3, torch.tensor(0.4), torch.tensor(0.9), seed=13),
        "float64": _ddim_case(2, 4, 0.5, 0.75, seed=15, dtype=torch.float64),
    },
    hints=[
        "Two steps: solve x = √ᾱ·x₀ + √(1 − ᾱ)·noise for x₀, then put x₀ and noise together again with the other ᾱ.",
        "x₀ = (x − √(1 − ᾱ)·noise) / √ᾱ, with ᾱ = alpha_bar. A number's root is `math.sqrt(alpha_bar)` or "
        "`alpha_bar**0.5`.",
        "With `clean` for x₀ the result is `math.sqrt(next_alpha_bar) * clean + math.sqrt(1 - next_alpha_bar) * "
        "noise`.",
    ],
)
def ddim_step(x, noise, alpha_bar, next_alpha_bar):
    """Return the points x (N, D) one step further towards the data, without any new randomness.

    x is √ᾱ·x₀ + √(1 − ᾱ)·noise with ᾱ = alpha_bar, for the noise (N, D) that a network has predicted. The result is
    made of the same x₀ and the same noise with ᾱ = next_alpha_bar. Both ᾱ are Python numbers,
    0 < alpha_bar < next_alpha_bar ≤ 1.
    """
    clean = (x - math.sqrt(1 - alpha_bar) * noise) / math.sqrt(alpha_bar)
    return math.sqrt(next_alpha_bar) * clean + math.sqrt(1 - next_alpha_bar) * noise


def _ddim_clean(x, n, a, b):
    return (x - (1 - a) ** 0.5 * n) / a**0.5


def _ddim_end(clean, n, a, b, x):
    return b**0.5 * clean + (1 - b) ** 0.5 * n


def _ddim_clean_outside(x, n, a, b):
    return (x - (1 - a**0.5) * n) / a**0.5


def _ddim_end_outside(clean, n, a, b, x):
    return b**0.5 * clean + (1 - b**0.5) * n


def _ddim(clean=_ddim_clean, end=_ddim_end):
    """A step of DDIM, with what can go wrong as arguments."""
    return lambda x, noise, alpha_bar, next_alpha_bar: end(
        clean(x, noise, alpha_bar, next_alpha_bar), noise, alpha_bar, next_alpha_bar, x
    )


_DDIM_CLEAN = {
    "x₀ is not divided by √ᾱ. Solve x = √ᾱ·x₀ + √(1 − ᾱ)·noise for it: (x − √(1 − ᾱ)·noise) / √ᾱ.": {
        "clean": lambda x, n, a, b: x - (1 - a) ** 0.5 * n
    },
    "x₀ is divided by ᾱ. Divide by its root, √ᾱ: `math.sqrt(alpha_bar)`.": {
        "clean": lambda x, n, a, b: (x - (1 - a) ** 0.5 * n) / a
    },
    "x₀ is multiplied by √ᾱ. Divide by it, to undo the factor.": {
        "clean": lambda x, n, a, b: (x - (1 - a) ** 0.5 * n) * a**0.5
    },
    "In x₀ the noise has the factor 1 − ᾱ. It is √(1 − ᾱ) in x, so take that much off: "
    "`math.sqrt(1 - alpha_bar)`.": {"clean": lambda x, n, a, b: (x - (1 - a) * n) / a**0.5},
    "x₀ is computed without roots. In x the factors are √ᾱ and √(1 − ᾱ): (x − √(1 − ᾱ)·noise) / √ᾱ.": {
        "clean": lambda x, n, a, b: (x - (1 - a) * n) / a
    },
    "The noise is added in x₀. It is in x already, so take it off: x − √(1 − ᾱ)·noise.": {
        "clean": lambda x, n, a, b: (x + (1 - a) ** 0.5 * n) / a**0.5
    },
    "Only the noise is divided by √ᾱ: parentheses are missing in (x − √(1 − ᾱ)·noise) / √ᾱ.": {
        "clean": lambda x, n, a, b: x - (1 - a) ** 0.5 * n / a**0.5
    },
    "Only x is divided by √ᾱ: parentheses are missing in (x − √(1 − ᾱ)·noise) / √ᾱ.": {
        "clean": lambda x, n, a, b: x / a**0.5 - (1 - a) ** 0.5 * n
    },
    "The old noise stays in x₀: take √(1 − ᾱ)·noise off x before you divide by √ᾱ.": {
        "clean": lambda x, n, a, b: x / a**0.5
    },
    "The noise is taken off at full size. In x it has the factor √(1 − ᾱ).": {
        "clean": lambda x, n, a, b: (x - n) / a**0.5
    },
    "In x₀ the factors have changed places: √(1 − ᾱ) belongs to the noise, and the division is by √ᾱ.": {
        "clean": lambda x, n, a, b: (x - a**0.5 * n) / (1 - a) ** 0.5
    },
    "The noisy x is put in the place of x₀. First take the noise off: (x − √(1 − ᾱ)·noise) / √ᾱ.": {
        "clean": lambda x, n, a, b: x
    },
    "x₀ is clamped to −1 … 1. That is a habit from images: data may lie further out, so leave x₀ as it is.": {
        "clean": lambda x, n, a, b: ((x - (1 - a) ** 0.5 * n) / a**0.5).clamp(-1, 1)
    },
}
_DDIM_ENDS = {
    "The roots are missing in the result: √ᾱ·x₀ + √(1 − ᾱ)·noise, with ᾱ = next_alpha_bar.": {
        "end": lambda clean, n, a, b, x: b * clean + (1 - b) * n
    },
    "In the result x₀ has the factor ᾱ. It is the root, `math.sqrt(next_alpha_bar)`.": {
        "end": lambda clean, n, a, b, x: b * clean + (1 - b) ** 0.5 * n
    },
    "In the result the noise has the factor 1 − ᾱ. It is the root, `math.sqrt(1 - next_alpha_bar)`.": {
        "end": lambda clean, n, a, b, x: b**0.5 * clean + (1 - b) * n
    },
    "The noise is missing in the result: only at ᾱ = 1 is none left. Add √(1 − next_alpha_bar)·noise.": {
        "end": lambda clean, n, a, b, x: b**0.5 * clean
    },
    "The noise of the result has the old factor. It is √(1 − next_alpha_bar): less noise is left after the step.": {
        "end": lambda clean, n, a, b, x: b**0.5 * clean + (1 - a) ** 0.5 * n
    },
    "The noise is subtracted in the result. Add it: √ᾱ·x₀ + √(1 − ᾱ)·noise, with ᾱ = next_alpha_bar.": {
        "end": lambda clean, n, a, b, x: b**0.5 * clean - (1 - b) ** 0.5 * n
    },
    "In the result the factors have changed places: √ᾱ belongs to x₀, √(1 − ᾱ) to the noise.": {
        "end": lambda clean, n, a, b, x: (1 - b) ** 0.5 * clean + b**0.5 * n
    },
    "In the result x₀ has no factor. It is √ᾱ·x₀ + √(1 − ᾱ)·noise, with ᾱ = next_alpha_bar.": {
        "end": lambda clean, n, a, b, x: clean + (1 - b) ** 0.5 * n
    },
    "In the result the noise has no factor. It is √(1 − ᾱ), with ᾱ = next_alpha_bar.": {
        "end": lambda clean, n, a, b, x: b**0.5 * clean + n
    },
    "New noise is drawn. A step of DDIM is deterministic: the predicted `noise` is used again in the result.": {
        "end": lambda clean, n, a, b, x: b**0.5 * clean + (1 - b) ** 0.5 * torch.randn_like(x)
    },
    "New noise is added to the result. A step of DDIM adds none: √ᾱ·x₀ + √(1 − ᾱ)·noise is all.": {
        "end": lambda clean, n, a, b, x: (
            b**0.5 * clean + (1 - b) ** 0.5 * n + (1 - a / b) ** 0.5 * torch.randn_like(x)
        )
    },
    "This is x₀, the guess at the data. Go one step only: put x₀ and noise together with ᾱ = next_alpha_bar.": {
        "end": lambda clean, n, a, b, x: clean
    },
    "x₀ came back as well. Return the new points alone, (N, D).": {
        "end": lambda clean, n, a, b, x: (b**0.5 * clean + (1 - b) ** 0.5 * n, clean)
    },
}


def _ddim_as_ddpm(x, noise, alpha_bar, next_alpha_bar):
    alpha = alpha_bar / next_alpha_bar
    return (x - (1 - alpha) / (1 - alpha_bar) ** 0.5 * noise) / alpha**0.5


def _ddim_end_of_ddpm(clean, noise, a, b, x):
    variance = (1 - b) / (1 - a) * (1 - a / b)
    return b**0.5 * clean + (1 - b - variance) ** 0.5 * noise + variance**0.5 * torch.randn_like(x)


ddim_step.slips(_ddim, _DDIM_CLEAN, _DDIM_ENDS)
ddim_step.mistakes(
    {
        "x₀ is not divided by √ᾱ. Solve x = √ᾱ·x₀ + √(1 − ᾱ)·noise for it: (x − √(1 − ᾱ)·noise) / √ᾱ.": {
            " / math.sqrt(alpha_bar)": ""
        },
        "x₀ is divided by a root and multiplied by the same again. Divide by √alpha_bar to find x₀, and multiply by "
        "√next_alpha_bar in the result.": [
            _ddim(clean=lambda x, n, a, b: (x - (1 - a) ** 0.5 * n) / b**0.5),
            _ddim(end=lambda clean, n, a, b, x: a**0.5 * clean + (1 - b) ** 0.5 * n),
        ],
        "This is x again, as when noise is taken off and put back with the same ᾱ. x₀ takes alpha_bar, the result "
        "next_alpha_bar.": [
            _ddim(clean=lambda x, n, a, b: (x - (1 - b) ** 0.5 * n) / b**0.5),
            _ddim(end=lambda clean, n, a, b, x: a**0.5 * clean + (1 - a) ** 0.5 * n),
            lambda x, noise, alpha_bar, next_alpha_bar: x.clone(),
        ],
        "The noise has a factor 1 − √ᾱ. The root goes over the whole difference, √(1 − ᾱ), in x₀ as in the result.": [
            _ddim(clean=first, end=last)
            for first, last in (
                (_ddim_clean_outside, _ddim_end_outside),
                (_ddim_clean_outside, _ddim_end),
                (_ddim_clean, _ddim_end_outside),
            )
        ],
        "In the result √ᾱ multiplies the noise as well. It belongs to x₀ alone: the noise has √(1 − ᾱ), with ᾱ = "
        "next_alpha_bar.": [
            _ddim(end=lambda clean, n, a, b, x: b**0.5 * (clean + n)),
            _ddim(end=lambda clean, n, a, b, x: b**0.5 * (clean + (1 - b) ** 0.5 * n)),
        ],
        "x₀ is divided by the wrong factor. In x it is multiplied by √ᾱ: divide by `math.sqrt(alpha_bar)`.": [
            _ddim(clean=lambda x, n, a, b: (x - (1 - a) ** 0.5 * n) / (1 - a) ** 0.5),
            _ddim(clean=lambda x, n, a, b: (x - (1 - a) ** 0.5 * n) / (1 - a)),
        ],
        "The two ᾱ have changed places: x was made with alpha_bar, and the result takes next_alpha_bar.": [
            lambda x, noise, alpha_bar, next_alpha_bar: ddim_step.reference(
                x, noise, next_alpha_bar, alpha_bar
            ),
        ],
        "`torch.sqrt` takes tensors alone, and both ᾱ may be Python's own numbers. `math.sqrt` or `**0.5` works for "
        "both.": [
            lambda x, noise, alpha_bar, next_alpha_bar: (
                torch.sqrt(next_alpha_bar) * (x - torch.sqrt(1 - alpha_bar) * noise) / torch.sqrt(alpha_bar)
                + torch.sqrt(1 - next_alpha_bar) * noise
            ),
        ],
        "`.sqrt()` belongs to tensors, and both ᾱ may be Python's own numbers. `math.sqrt` or `**0.5` works for "
        "both.": [
            lambda x, noise, alpha_bar, next_alpha_bar: (
                (x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt() * next_alpha_bar.sqrt()
                + (1 - next_alpha_bar).sqrt() * noise
            ),
            lambda x, noise, alpha_bar, next_alpha_bar: (
                next_alpha_bar.sqrt() * (x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
                + (1 - next_alpha_bar).sqrt() * noise
            ),
        ],
        "This is the mean of a step of DDPM, which adds new noise afterwards. DDIM goes by x₀: solve for it, and put "
        "it together with the same noise and next_alpha_bar.": _ddim_as_ddpm,
        "This is a step of DDPM, with new noise. DDIM adds none: solve for x₀, and put it together with the same noise "
        "and next_alpha_bar.": [
            lambda x, noise, alpha_bar, next_alpha_bar: (
                _ddim_as_ddpm(x, noise, alpha_bar, next_alpha_bar)
                + (1 - alpha_bar / next_alpha_bar) ** 0.5 * torch.randn_like(x)
            ),
            _ddim(end=_ddim_end_of_ddpm),
        ],
        "Only the factor of x changes, by √(next_alpha_bar / alpha_bar), and its noise grows along. Solve for x₀ "
        "first, then add √(1 − next_alpha_bar)·noise.": [
            lambda x, noise, alpha_bar, next_alpha_bar: (next_alpha_bar / alpha_bar) ** 0.5 * x,
        ],
    }
)
_DDIM_CLEAN_IN_SHORT = {
    "x₀ has to be divided by √ᾱ.": {"clean": lambda x, n, a, b: x - (1 - a) ** 0.5 * n},
    "In x₀ the noise has the factor √(1 − ᾱ), not 1 − ᾱ.": {
        "clean": lambda x, n, a, b: (x - (1 - a) * n) / a**0.5
    },
    "x₀ takes roots: (x − √(1 − ᾱ)·noise) / √ᾱ.": {"clean": lambda x, n, a, b: (x - (1 - a) * n) / a},
    "In x₀ the noise is taken off, not added.": {
        "clean": lambda x, n, a, b: (x + (1 - a) ** 0.5 * n) / a**0.5
    },
}
_DDIM_ENDS_IN_SHORT = {
    "The result takes roots, √ᾱ and √(1 − ᾱ) with ᾱ = next_alpha_bar.": {
        "end": lambda clean, n, a, b, x: b * clean + (1 - b) * n
    },
    "The result takes √(1 − next_alpha_bar), not 1 − next_alpha_bar.": {
        "end": lambda clean, n, a, b, x: b**0.5 * clean + (1 - b) * n
    },
    "The result lacks √(1 − next_alpha_bar)·noise.": {"end": lambda clean, n, a, b, x: b**0.5 * clean},
    "The noise of the result takes next_alpha_bar.": {
        "end": lambda clean, n, a, b, x: b**0.5 * clean + (1 - a) ** 0.5 * n
    },
    "New noise is drawn: use `noise` again.": {
        "end": lambda clean, n, a, b, x: b**0.5 * clean + (1 - b) ** 0.5 * torch.randn_like(x)
    },
    "x₀ came back as well: return the points alone.": {
        "end": lambda clean, n, a, b, x: (b**0.5 * clean + (1 - b) ** 0.5 * n, clean)
    },
}
ddim_step.pairs_of_slips(_ddim, _DDIM_CLEAN_IN_SHORT, _DDIM_ENDS_IN_SHORT)


# Section 10: integers -----------------------------------------------------------------------------------------


_DEQUANTIZE_DRAWS = 6_000  # numbers whose distribution is judged
_DEQUANTIZE_CALLS = 400  # whose draws are judged where a call has few of its own
_DEQUANTIZE_SHARES = (0.1, 0.3, 0.6, 0.9)  # of the draws below the quantiles that are compared
_DEQUANTIZE_EVEN = torch.linspace(0, 1, 1001, dtype=torch.float64)
_DEQUANTIZE_BELL = torch.special.ndtri(_DEQUANTIZE_EVEN.clamp(1e-4, 1 - 1e-4))
_DEQUANTIZE_LAWS = [  # u for integers v (V, 1) and even or normal numbers (1, R): the right one first
    lambda v, r, g, L: (v + r) / L,
    lambda v, r, g, L: (v + r) / (L - 1),
    lambda v, r, g, L: v / (L - 1) + r / L,
    lambda v, r, g, L: v / L + r,
    lambda v, r, g, L: v / L + 0 * r,
    lambda v, r, g, L: v / (L - 1) + 0 * r,
    lambda v, r, g, L: (v / L + r) / L,
    lambda v, r, g, L: v + r / L,
    lambda v, r, g, L: v + r,
    lambda v, r, g, L: (v + r / L) / L,
    lambda v, r, g, L: ((v + r) / L).round(),
    lambda v, r, g, L: r / L + 0 * v,
    lambda v, r, g, L: r + 0 * v,
    lambda v, r, g, L: (v - r) / L,
    lambda v, r, g, L: (v + r - 0.5) / L,
    lambda v, r, g, L: (v + r / 2) / L,
    lambda v, r, g, L: (v + 2 * r) / L,
    lambda v, r, g, L: (v + g) / L,
    lambda v, r, g, L: v / L + g,
    lambda v, r, g, L: (v + r).round() / L,
    lambda v, r, g, L: v * r / L,
    lambda v, r, g, L: 2 * (v + r) / L - 1,
    lambda v, r, g, L: torch.logit((v + r) / L),
]


@functools.cache
def _dequantize_quantiles(law, values, levels):
    """The quantiles of u · levels − x under a law, a row for each of the values (a tuple)."""
    v = torch.tensor(values, dtype=torch.float64)[:, None]
    u = _DEQUANTIZE_LAWS[law](v, _DEQUANTIZE_EVEN[None], _DEQUANTIZE_BELL[None], levels)
    return u.quantile(torch.tensor(_DEQUANTIZE_SHARES, dtype=torch.float64), dim=1).T * levels - v


def _dequantize_named(quantiles, values, levels, draws):
    """The quantiles of the law that explains those found, the right one before others; else rounded ones."""
    for law in range(len(_DEQUANTIZE_LAWS)):
        expected = _dequantize_quantiles(law, values, levels)
        allowed = 3 * (expected[:, -1:] - expected[:, :1]) / 0.8 / draws**0.5 + 1e-3 + 1e-5 * expected.abs()
        if bool(((quantiles - expected).abs() <= allowed).all()):
            return expected
    return quantiles.mul(20).round() / 20


def _dequantize_seen(u, x, values, levels):
    """What can be seen of u for the integers x, both (M, …)."""
    off = u.double() * levels - x
    shares = torch.tensor(_DEQUANTIZE_SHARES, dtype=torch.float64)
    found = torch.stack([off[x == value].quantile(shares) for value in values])
    draws = min(int((x == value).sum()) for value in values)
    sides = [
        words
        for words, leaves in (("below x", off.min() < -1e-3), ("above x + 1", off.max() > 1 + 1e-3))
        if leaves
    ]
    return {
        "u · levels lies": " and ".join(sides) or "between x and x + 1",
        "10, 30, 60 and 90 % quantiles of u · levels − x, a row for each integer": _dequantize_named(
            found, values, levels, draws
        ),
    }


def _dequantized(attempt, x, levels):
    """What comes back for x, and how its noise is distributed, from more integers of the same kind."""
    before = x.clone()
    first = attempt(x, levels)
    if isinstance(first, list | tuple | np.ndarray):  # whose random numbers cannot be compared
        return f"a {type(first).__name__}"
    if not isinstance(first, Tensor):
        return first
    values = tuple(before.unique().tolist())
    facts = {
        "shape": f"{tuple(first.shape)}",
        "type": "floats" if first.is_floating_point() else "integers",
        "u · levels lies": "between x and x + 1",
        "10, 30, 60 and 90 % quantiles of u · levels − x, a row for each integer": _dequantize_quantiles(
            0, values, levels
        ),
        "axes of x along which the noise is the same": "none",
        "a second call draws": "new noise",
    }
    if first.shape != before.shape or not first.is_floating_point():
        return facts
    many = before.repeat(_DEQUANTIZE_DRAWS // before.numel(), *[1] * (before.ndim - 1))
    alike = torch.full_like(many[: 40 * len(before)], before.max())
    u, one, other = attempt(many.clone(), levels), attempt(alike.clone(), levels), attempt(alike, levels)
    repeated = [
        axis
        for axis in range(one.ndim)
        if one.shape[axis] > 1 and (one.amax(axis) - one.amin(axis)).max() < 1e-3 / levels
    ]
    if repeated and not torch.equal(one, other):  # the draws of one call are too few
        u = torch.cat([attempt(before.clone(), levels) for _ in range(_DEQUANTIZE_CALLS)])
        many = before.repeat(_DEQUANTIZE_CALLS, *[1] * (before.ndim - 1))
    return facts | {
        **_dequantize_seen(u, many, values, levels),
        "axes of x along which the noise is the same": ", ".join(map(str, repeated)) or "none",
        "a second call draws": "the same again" if torch.equal(one, other) else "new noise",
    }


@lesson.exercise(
    observe=_dequantized,
    cases={
        "one integer": (torch.tensor([1]), 2),
        "four levels": (torch.tensor([0, 1, 2, 3]), 4),
        "two rows of three": (torch.tensor([[0, 16, 5], [5, 16, 0]]), 17),
        "three rows of three": (torch.tensor([[4, 0, 1], [1, 4, 0], [0, 1, 4]]), 6),
        "one row": (torch.tensor([[2, 0, 2, 1]]), 3),
        "images": (torch.tensor([[3, 12, 0], [12, 0, 3]]).repeat(2, 2, 1)[:, None, :3], 16),
        "uint8": (torch.tensor([[255, 0, 100], [100, 255, 0]], dtype=torch.uint8), 256),
        "integers as floats": (torch.tensor([[1.0, 4.0], [6.0, 0.0]]), 8),
        "the highest level does not occur": (torch.tensor([[2, 0, 1], [1, 2, 0]]), 10),
    },
    hints=[
        "Two steps: fill each interval of length 1 with noise, then bring 0 … levels to 0 … 1.",
        "`torch.rand(x.shape)` draws a number in [0, 1) for each integer. `rand_like(x)` would draw in the type of x, "
        "and fail for integers.",
        "Add the noise to x first, then divide the sum by `levels`: mind the parentheses.",
    ],
)
def dequantize(x, levels):
    """Return u in [0, 1), a tensor of floats shaped like x, for integers x, of any number type, from 0 to levels − 1.

    Each integer gets noise of its own, uniform in [0, 1), so that u is uniform in the interval of length 1 / levels
    that belongs to the integer: from x / levels to (x + 1) / levels.
    """
    return (x + torch.rand(x.shape, device=x.device)) / levels


def _dequantizing(noise=torch.rand, joined=lambda x, r, levels: (x + r) / levels):
    """Integers with noise, with what can go wrong as arguments: `noise` makes it of a shape."""
    return lambda x, levels: joined(x, noise(x.shape), levels)


def _dequantize_seeded(x, levels):
    torch.manual_seed(0)
    return dequantize.reference(x, levels)


def _dequantize_own_generator(x, levels):
    return (x + torch.rand(x.shape, generator=torch.Generator().manual_seed(42))) / levels


def _dequantize_added_to_x(x, levels):
    x += torch.rand(x.shape)
    return x / levels


_DEQUANTIZE_NOISE = {
    "The noise is normal, which is unbounded and leaves the interval of its integer. Uniform noise in [0, 1) comes "
    "from `torch.rand`.": {"noise": torch.randn},
    "The noise lies in [−½, ½), so that u begins below x / levels. `torch.rand(x.shape)` lies in [0, 1) already.": {
        "noise": lambda shape: torch.rand(shape) - 0.5
    },
    "The noise lies in [0, ½), so the upper half of each interval stays empty. Use `torch.rand(x.shape)` as it is.": {
        "noise": lambda shape: torch.rand(shape) / 2
    },
    "The noise lies in [0, 2), and reaches into the interval of the next integer. Use `torch.rand(x.shape)` as it "
    "is.": {"noise": lambda shape: 2 * torch.rand(shape)},
}
_DEQUANTIZE_JOINED = {
    "The integers are scaled by levels − 1, so the highest one leaves [0, 1). There are `levels` intervals: divide by "
    "`levels`.": {"joined": lambda x, r, levels: (x + r) / (levels - 1)},
    "The noise is as wide as [0, 1) itself. Add it before the division, `(x + noise) / levels`, so that it fills one "
    "interval of length 1 / levels.": {"joined": lambda x, r, levels: x / levels + r},
    "Only the noise is divided by `levels`. Parentheses are missing: `(x + noise) / levels`.": {
        "joined": lambda x, r, levels: x + r / levels
    },
    "x is divided by `levels` twice. Add the noise to the integers themselves, then divide once: `(x + noise) / "
    "levels`.": {"joined": lambda x, r, levels: (x / levels + r) / levels},
    "The noise is divided by `levels` twice, and fills only a small part of each interval. Divide once: "
    "`(x + noise) / levels`.": {"joined": lambda x, r, levels: (x + r / levels) / levels},
    "u is rounded to 0 or 1. Leave the fraction as it is.": {
        "joined": lambda x, r, levels: ((x + r) / levels).round()
    },
    "The sum is not divided: u should lie in [0, 1). `(x + noise) / levels`.": {
        "joined": lambda x, r, levels: x + r
    },
    "The noise is subtracted, which leads into the interval below. Add it: u lies between x / levels and (x + 1) / "
    "levels.": {"joined": lambda x, r, levels: (x - r) / levels},
    "x is multiplied by the noise. Add it: `(x + noise) / levels`.": {
        "joined": lambda x, r, levels: x * r / levels
    },
    "u lies between −1 and 1 here. It should lie in [0, 1): leave out the last rescaling.": {
        "joined": lambda x, r, levels: 2 * (x + r) / levels - 1
    },
    "This is the logit of u, any real number. Return u itself, in [0, 1).": {
        "joined": lambda x, r, levels: torch.logit((x + r) / levels)
    },
    "These are integers. u is a fraction in [0, 1): leave out the rounding, and divide with `/`.": {
        "joined": lambda x, r, levels: ((x + r) / levels).long()
    },
    "u came back with something else. Return u alone, a tensor in the shape of x.": {
        "joined": lambda x, r, levels: ((x + r) / levels, r)
    },
    "A list came back. Return one tensor in the shape of x, `(x + noise) / levels`.": {
        "joined": lambda x, r, levels: list((x + r) / levels)
    },
}

dequantize.slips(_dequantizing, _DEQUANTIZE_NOISE, _DEQUANTIZE_JOINED)
dequantize.mistakes(
    {
        "The integers are scaled by levels − 1, so the highest one leaves [0, 1). There are `levels` intervals: divide "
        "by `levels`.": [
            {"/ levels": "/ (levels - 1)"},
            _dequantizing(joined=lambda x, r, levels: x / (levels - 1) + r / levels),
        ],
        "No noise is left in u, which is the same at every call. Add `torch.rand(x.shape)` to x before the division.": [
            lambda x, levels: x / levels,
            lambda x, levels: x.float() / levels,
            _dequantizing(joined=lambda x, r, levels: (x + r).floor() / levels),
            _dequantizing(joined=lambda x, r, levels: (x + r).int() / levels),
        ],
        "There is no noise, and the integers are divided by levels − 1: `(x + torch.rand(x.shape)) / levels`.": [
            lambda x, levels: x / (levels - 1),
        ],
        "The noise is ½ for every integer. Draw it: `torch.rand(x.shape)`.": lambda x, levels: (
            (x + 0.5) / levels
        ),
        "There is one draw for all integers. Each needs its own: `torch.rand(x.shape)`.": [
            lambda x, levels: (x + random.random()) / levels,
            lambda x, levels: (x + torch.rand(())) / levels,
            lambda x, levels: (x + torch.rand(1)) / levels,
        ],
        "There is one draw for each row. Every integer needs its own: `torch.rand(x.shape)`.": [
            lambda x, levels: (x + torch.rand(len(x), *[1] * (x.ndim - 1))) / levels,
            lambda x, levels: (x + torch.rand(len(x), 1)) / levels,
        ],
        "Every row gets the same noise. Each integer needs its own: `torch.rand(x.shape)`.": [
            lambda x, levels: (x + torch.rand(x.shape[1:])) / levels,
            lambda x, levels: (x + torch.rand(x[0].shape)) / levels,
            lambda x, levels: (x + torch.rand_like(x[0].float())) / levels,
        ],
        "Noise of the length of the last axis is used again along the others. Each integer needs its own: "
        "`torch.rand(x.shape)`.": lambda x, levels: (x + torch.rand(x.shape[-1])) / levels,
        "There are as many draws as rows, and broadcasting lays them along the last axis. Each integer needs its own: "
        "`torch.rand(x.shape)`.": lambda x, levels: (x + torch.rand(len(x))) / levels,
        "`rand_like(x)` draws numbers in the type of x, which fails for integers. Use `torch.rand(x.shape)`, or "
        "`torch.rand_like(x.float())`.": [
            lambda x, levels: (x + torch.rand_like(x)) / levels,
            lambda x, levels: x / levels + torch.rand_like(x) / levels,
        ],
        "`randn_like(x)` fails for integers, and its numbers are normal. Use `torch.rand(x.shape)`: uniform in [0, "
        "1).": [
            lambda x, levels: (x + torch.randn_like(x)) / levels,
        ],
        "`+=` and `add_` change x itself, whose integers cannot hold the noise. Make a new tensor: `x + "
        "torch.rand(x.shape)`.": [
            _dequantize_added_to_x,
        ],
        "The noise is whole, drawn so or rounded, and u a multiple of 1 / levels: draw it by `torch.rand(x.shape)`.": [
            _dequantizing(joined=lambda x, r, levels: (x + r).round() / levels),
            _dequantizing(joined=lambda x, r, levels: (x + (r > 0.5)) / levels),
            lambda x, levels: (x + torch.randint(0, 2, x.shape)) / levels,
        ],
        "The noise in the type of x is 0 where x holds integers. Add it as it is: `x + torch.rand(x.shape)`.": [
            lambda x, levels: (x + torch.rand(x.shape).to(x.dtype)) / levels,
        ],
        "`//` cuts off the fraction: u is 0 everywhere. Divide with `/`.": [
            _dequantizing(joined=lambda x, r, levels: (x + r) // levels),
            _dequantizing(joined=lambda x, r, levels: ((x + r) / levels).floor()),
        ],
        "`//` cuts off x / levels, so only the noise is left. `(x + noise) / levels`.": [
            _dequantizing(joined=lambda x, r, levels: x // levels + r),
        ],
        "`levels` is not used: the largest integer of the batch need not be the highest level. Divide by `levels`.": [
            _dequantizing(joined=lambda x, r, levels: (x + r) / (x.max() + 1)),
            _dequantizing(joined=lambda x, r, levels: (x + r) / x.max()),
        ],
        "x itself does not come in: u is the same for every integer. `(x + noise) / levels`.": [
            _dequantizing(joined=lambda x, r, levels: r / levels),
            _dequantizing(joined=lambda x, r, levels: r),
        ],
        "The number of levels is written into the code. It is an argument: divide by `levels`.": [
            _dequantizing(joined=lambda x, r, levels: (x + r) / 256),
            _dequantizing(joined=lambda x, r, levels: (x + r) / 17),
        ],
        "x + 1 is 0 for x = 255 in uint8, whose highest number is 255. Turn x into floats first, or draw "
        "`(x + torch.rand(x.shape)) / levels`.": [
            lambda x, levels: x / levels + torch.rand(x.shape) * ((x + 1) / levels - x / levels),
        ],
        "The random generator is seeded inside the function, so every call draws the same noise. Leave the seed to the "
        "caller.": [_dequantize_seeded, _dequantize_own_generator],
        "A NumPy array came back. Stay with tensors: `(x + torch.rand(x.shape)) / levels`.": [
            lambda x, levels: (x.numpy() + np.random.rand(*x.shape)) / levels,  # noqa: NPY002 - what an attempt may use
            _dequantizing(joined=lambda x, r, levels: ((x + r) / levels).numpy()),
        ],
    }
)
_DEQUANTIZE_NOISE_IN_SHORT = {
    "The noise is normal: `torch.rand` is uniform in [0, 1).": {"noise": torch.randn},
    "The noise lies in [−½, ½): use `torch.rand(x.shape)` as it is.": {
        "noise": lambda shape: torch.rand(shape) - 0.5
    },
    "There is one draw for all integers: each needs its own.": {"noise": lambda shape: torch.rand(1)},
}
_DEQUANTIZE_JOINED_IN_SHORT = {
    "Divide by `levels`, not by levels − 1.": {"joined": lambda x, r, levels: (x + r) / (levels - 1)},
    "Add the noise before the division: `(x + noise) / levels`.": {
        "joined": lambda x, r, levels: x / levels + r
    },
    "The sum is not divided by `levels`.": {"joined": lambda x, r, levels: x + r},
    "Parentheses are missing: `(x + noise) / levels`.": {"joined": lambda x, r, levels: x + r / levels},
}
_DEQUANTIZE_LAWS += [
    lambda v, r, g, L: v / L + r - 0.5,
    lambda v, r, g, L: v + r - 0.5,
    lambda v, r, g, L: v + (r - 0.5) / L,
    lambda v, r, g, L: (v + r - 0.5) / (L - 1),
    lambda v, r, g, L: v + g,
    lambda v, r, g, L: v + g / L,
    lambda v, r, g, L: (v + g) / (L - 1),
]
dequantize.pairs_of_slips(_dequantizing, _DEQUANTIZE_NOISE_IN_SHORT, _DEQUANTIZE_JOINED_IN_SHORT)


def _bits_log_prob(*bits):
    """Log-probabilities in nats that are so many bits."""
    return torch.tensor(bits) * math.log(2)


@lesson.exercise(
    cases={
        "one dimension of two levels": (torch.tensor([0.0]), 1, 2),
        "64 dimensions of 17 levels": (torch.tensor([0.0, 0.0]), 64, 17),
        "two dimensions of four levels": (_bits_log_prob(2.0), 2, 4),
        "two rows": (_bits_log_prob(3.0, -6.0), 3, 8),
        "256 levels": (_bits_log_prob(8.0, 40.0, -16.0), 16, 256),
        "as many rows as dimensions": (torch.tensor([1.5, -0.7, 0.4]), 3, 5),
        "as many rows as levels": (torch.tensor([-2.0, 3.5, 0.3, 1.1]), 6, 4),
        "one row of ten dimensions": (torch.tensor([-4.2]), 10, 3),
        "fewer than no bits": (torch.tensor([9.0, 7.5]), 2, 16),
        "images of 784 dimensions": (torch.tensor([2100.0, 1850.0, -40.0]), 784, 256),
        "float64": (normal(5, seed=1, dtype=torch.float64), 7, 32),
        _RECORDED: (normal(12, seed=2).requires_grad_(), 4, 6),
    },
    observe=lambda attempt, log_prob, dimensions, levels: _seen(
        attempt, bits_per_dimension.reference, log_prob=log_prob, dimensions=dimensions, levels=levels
    ),
    hints=[
        "A cell has the volume levels^(−dimensions), and its probability is about p(u) times this. What is the "
        "logarithm of it?",
        "−ln P = −log_prob + dimensions · ln(levels), in nats. Divide by the dimensions, and take the mean over the "
        "batch.",
        "A bit is ln 2 = 0.693 nats: divide by `math.log(2)`.",
    ],
)
def bits_per_dimension(log_prob, dimensions, levels):
    """Return how many bits a dimension of the integers takes, the mean over the batch: one number, a tensor.

    log_prob (N,) is the logarithm of the density of u = (x + noise) / levels in [0, 1)^dimensions, in nats. The
    integers x are cells of size 1 / levels in every dimension.
    """
    return (-log_prob / dimensions + math.log(levels)).mean() / math.log(2)


def _bits_of_nats(nats):
    return nats / math.log(2)


def _bits(each=lambda lp, D, L: -lp / D + math.log(L), mean=lambda nats, D: nats.mean(), unit=_bits_of_nats):
    """Bits per dimension, with what can go wrong as arguments."""
    return lambda log_prob, dimensions, levels: unit(mean(each(log_prob, dimensions, levels), dimensions))


def _bits_unchanged(value):
    return value


_BITS_UNITS = {
    "These are nats. A bit is ln 2 nats: divide by `math.log(2)`.": {"unit": _bits_unchanged},
    "Nats are multiplied by ln 2 here. A bit is ln 2 = 0.693 nats, so there are more bits than nats: divide by it.": {
        "unit": lambda nats: nats * math.log(2)
    },
    "These are decimal digits: ln 10 stands where ln 2 belongs. Divide by `math.log(2)`.": {
        "unit": lambda nats: nats / math.log(10)
    },
}
_BITS_EACH = {
    "`levels` is not used: these are bits of the density of u. A cell of the integers has the size 1 / levels in every "
    "dimension: add ln(levels).": {"each": lambda lp, D, L: -lp / D},
    "ln(levels) is subtracted. A cell has the probability p(u) / levels^dimensions, so −ln of it gains ln(levels) per "
    "dimension.": {"each": lambda lp, D, L: -lp / D - math.log(L)},
    "ln(levels) is counted once for the whole x. It belongs to every dimension: divide −log_prob alone by "
    "`dimensions`, then add it.": {"each": lambda lp, D, L: (-lp + math.log(L)) / D},
    "ln(levels) is counted `dimensions` times too often. Divided by `dimensions`, the D · ln(levels) of the cell's "
    "volume is ln(levels).": {"each": lambda lp, D, L: -lp / D + D * math.log(L)},
    "These are the bits of a whole x. Divide by `dimensions`.": {
        "each": lambda lp, D, L: -lp + D * math.log(L)
    },
    "−log_prob is not divided by `dimensions`. It belongs to the whole x, while ln(levels) is that of one dimension.": {
        "each": lambda lp, D, L: -lp + math.log(L)
    },
    "The sign of log_prob is wrong: a high density takes few bits. Start from −log_prob.": {
        "each": lambda lp, D, L: lp / D + math.log(L)
    },
    "Everything has the wrong sign: the number of bits is −log₂ of the probability.": {
        "each": lambda lp, D, L: lp / D - math.log(L)
    },
    "ln(levels − 1) is added. There are `levels` cells in every dimension: ln(levels).": {
        "each": lambda lp, D, L: -lp / D + math.log(L - 1)
    },
    "log_prob is a logarithm already: there is no need for another one. Divide −log_prob by `dimensions`.": {
        "each": lambda lp, D, L: -lp.log() / D + math.log(L)
    },
    "The density itself stands in the place of its logarithm. Leave out `exp`.": {
        "each": lambda lp, D, L: -lp.exp() / D + math.log(L)
    },
    "−log_prob is divided by the number of rows. The mean over the batch does so: here divide by `dimensions`.": {
        "each": lambda lp, D, L: -lp / len(lp) + math.log(L)
    },
}
_BITS_MEANS = {
    "This is the sum over the batch. Take the mean.": {"mean": lambda nats, D: nats.sum()},
    "The mean is divided by the number of rows once more. `mean()` has done so already.": {
        "mean": lambda nats, D: nats.mean() / len(nats)
    },
    "Everything is divided by `dimensions` a second time. Once is enough.": {
        "mean": lambda nats, D: nats.mean() / D
    },
    "There is a number for each row, (N,). Return their mean.": {"mean": lambda nats, D: nats},
    "The result has the shape (1,). One number has no axis: `mean()` without `keepdim`.": {
        "mean": lambda nats, D: nats.mean(dim=0, keepdim=True)
    },
    "Negative results are cut off at 0. Leave them: they show a density that integers cannot have.": {
        "mean": lambda nats, D: nats.mean().clamp(min=0)
    },
}

bits_per_dimension.slips(_bits, _BITS_UNITS, _BITS_EACH, _BITS_MEANS)
bits_per_dimension.mistakes(
    {
        "These are nats. A bit is ln 2 nats: divide by `math.log(2)`.": {" / math.log(2)": ""},
        "ln(levels) is added in nats to bits. Add log₂(levels), or divide both by ln 2.": [
            lambda log_prob, dimensions, levels: (
                -log_prob.mean() / dimensions / math.log(2) + math.log(levels)
            ),
        ],
        "log₂(levels) is added in bits to nats. Divide −log_prob by ln 2 as well.": [
            lambda log_prob, dimensions, levels: -log_prob.mean() / dimensions + math.log2(levels),
        ],
        "log₂ has been taken of `levels`, and the result is divided by ln 2 again. Use `math.log(levels)` there, or "
        "divide log_prob alone.": [
            lambda log_prob, dimensions, levels: (
                (-log_prob.mean() / dimensions + math.log2(levels)) / math.log(2)
            ),
        ],
        "log_prob is a logarithm already: there is no need for another one. Divide −log_prob by `dimensions`.": [
            lambda log_prob, dimensions, levels: -log_prob.log2().mean() / dimensions + math.log2(levels),
            lambda log_prob, dimensions, levels: -log_prob.log2().mean() / dimensions,
            lambda log_prob, dimensions, levels: -math.log2(log_prob.mean()) / dimensions + math.log2(levels),
            lambda log_prob, dimensions, levels: -math.log2(log_prob.mean()) / dimensions,
        ],
        "`exp(log_prob)` is inf or 0 for large log_prob, as it is for images. Stay with logarithms: divide log_prob by "
        "ln 2.": [
            lambda log_prob, dimensions, levels: (
                -log_prob.exp().log2().mean() / dimensions + math.log2(levels)
            ),
            lambda log_prob, dimensions, levels: (
                -(log_prob.exp() / float(levels) ** dimensions).log2().mean() / dimensions
            ),
            lambda log_prob, dimensions, levels: (
                -torch.log2(torch.exp(log_prob) / levels**dimensions).mean() / dimensions
            ),
            lambda log_prob, dimensions, levels: (
                -torch.log2(torch.exp(log_prob) * (1 / levels) ** dimensions).mean() / dimensions
            ),
        ],
        "The mean is taken of the densities, before the logarithm. Take the mean of −log_prob.": [
            lambda log_prob, dimensions, levels: (
                -(log_prob.logsumexp(dim=0) - math.log(len(log_prob))) / dimensions / math.log(2)
                + math.log2(levels)
            ),
            lambda log_prob, dimensions, levels: (
                -log_prob.exp().mean().log2() / dimensions + math.log2(levels)
            ),
        ],
        "log₂ is taken of a number of nats. To change the unit, divide by ln 2: `math.log(2)`.": [
            _bits(unit=torch.log2),
            _bits(mean=lambda nats, D: nats.log2().mean(), unit=_bits_unchanged),
        ],
        "This is the sum over the batch. Take the mean.": [
            lambda log_prob, dimensions, levels: (
                (-log_prob.sum() / dimensions + math.log(levels)) / math.log(2)
            ),
            lambda log_prob, dimensions, levels: -log_prob.sum() / dimensions + math.log(levels),
        ],
        "There is a number for each row, (N,). Return their mean.": [
            _bits(each=lambda lp, D, L: -lp / D, mean=lambda nats, D: nats, unit=_bits_unchanged),
            _bits(
                each=lambda lp, D, L: -lp + D * math.log(L), mean=lambda nats, D: nats, unit=_bits_unchanged
            ),
        ],
        "log₂(levels) multiplies here. A logarithm of a product is a sum: add it.": [
            lambda log_prob, dimensions, levels: (
                -log_prob.mean() / dimensions / math.log(2) * math.log2(levels)
            ),
        ],
        "levels itself multiplies here. The volume of a cell enters by its logarithm: add log₂(levels).": [
            lambda log_prob, dimensions, levels: -log_prob.mean() / dimensions / math.log(2) * levels,
        ],
        "Two slips. log_prob has the wrong sign. ln(levels) is in nats: add `math.log2(levels)`.": [
            lambda log_prob, dimensions, levels: (
                log_prob.mean() / dimensions / math.log(2) + math.log(levels)
            ),
        ],
        "Two slips. It is the sum over the batch: take the mean. log₂(levels) is added, not subtracted.": [
            lambda log_prob, dimensions, levels: (
                -log_prob.sum() / dimensions / math.log(2) - math.log2(levels)
            ),
        ],
        _NO_TENSOR: lambda *case: bits_per_dimension.reference(*case).item(),
        **_cut_off(bits_per_dimension.reference, _NUMBER_CUT_OFF),
        "Divided by ln(levels), the unit is a level, not a bit. Add ln(levels) to −log_prob / dimensions, and divide "
        "by ln 2.": [lambda log_prob, dimensions, levels: -log_prob.mean() / dimensions / math.log(levels)],
        "levels itself is added, without a logarithm: `math.log(levels)`.": [
            _bits(each=lambda lp, D, L: -lp / D + L),
            _bits(each=lambda lp, D, L: -lp / D + L, unit=_bits_unchanged),
            _bits(each=lambda lp, D, L: -lp / D + L * math.log(2)),
        ],
        "8 bits are those of 256 levels. For any number of levels it is log₂(levels).": [
            lambda log_prob, dimensions, levels: -log_prob.mean() / dimensions / math.log(2) + 8,
        ],
        "A list of numbers came back, one for each row. Return their mean.": [
            lambda log_prob, dimensions, levels: (
                (-log_prob / dimensions + math.log(levels)) / math.log(2)
            ).tolist(),
        ],
    }
)
_BITS_UNITS_IN_SHORT = {
    "These are nats: divide by ln 2.": {"unit": _bits_unchanged},
}
_BITS_EACH_IN_SHORT = {
    "`levels` is not used: add ln(levels).": {"each": lambda lp, D, L: -lp / D},
    "ln(levels) is added, not subtracted.": {"each": lambda lp, D, L: -lp / D - math.log(L)},
    "ln(levels) belongs to every dimension.": {"each": lambda lp, D, L: (-lp + math.log(L)) / D},
    "It is not divided by `dimensions`.": {"each": lambda lp, D, L: -lp + D * math.log(L)},
    "log_prob has the wrong sign.": {"each": lambda lp, D, L: lp / D + math.log(L)},
}
_BITS_MEANS_IN_SHORT = {
    "It is the sum over the batch: take the mean.": {"mean": lambda nats, D: nats.sum()},
    "It is a number for each row: take the mean.": {"mean": lambda nats, D: nats},
}
bits_per_dimension.pairs_of_slips(_bits, _BITS_UNITS_IN_SHORT, _BITS_EACH_IN_SHORT | _BITS_MEANS_IN_SHORT)
bits_per_dimension.pairs_of_slips(_bits, _BITS_EACH_IN_SHORT, _BITS_MEANS_IN_SHORT)
bits_per_dimension.mistakes(
    {
        "Two slips. `levels` is not used, and log_prob has the wrong sign: −log_prob / dimensions + ln(levels).": [
            _bits(each=lambda lp, D, L: lp / D),
        ],
        "Two slips. `levels` is not used, and it is not divided by `dimensions`: −log_prob / dimensions + "
        "ln(levels).": [
            _bits(each=lambda lp, D, L: -lp),
        ],
        "Three slips. It is −log_prob, in nats, as it is: divide it by `dimensions`, add ln(levels), and divide by ln "
        "2.": [
            lambda log_prob, dimensions, levels: -log_prob.mean(),
        ],
    }
)


# Section 11: the posterior of two decays ----------------------------------------------------------------------


TIMES = torch.arange(1, 9) / 2
PRIOR_WIDTH, NOISE = 0.5, 0.05
DRAWS = 200  # for each of the experiments kept back
_ENDS = [(p * (DRAWS + 1) - 1) / (DRAWS - 1) for p in (0.16, 0.84)]  # so few draws: a bit further out
COVERAGE = 0.63, 0.73  # of the central 68 % intervals
WIDTHS = 0.85, 1.15  # over those of the exact posterior
MEANS_OFF = 0.15  # at most, in exact widths
INSIDE = 0.85  # at least, of the draws, in the region that holds 90 % of the exact posterior
CROSSED = 0.03  # at most, of the draws, with τ_fast > τ_slow; a Gaussian has 0.04


def _decays(theta):
    """The sum of the two decays (…, 8) for parameters (…, 2)."""
    return (-TIMES.to(theta) / theta.exp().unsqueeze(-1)).exp().sum(dim=-2)


def _two_decay_experiments(count, seed):
    """Simulated experiments, as a split of measurements (N, 8) and parameters (N, 2)."""
    random = np.random.RandomState(seed)  # its stream is frozen for good
    theta = torch.from_numpy(PRIOR_WIDTH * random.standard_normal((count, 2))).sort(dim=1).values
    noise = torch.from_numpy(NOISE * random.standard_normal((count, len(TIMES))))
    return data.Split((_decays(theta) + noise).float(), theta.float())


@functools.cache
def _decays_kept_back():
    """1,000 experiments, those that last long at the end: no batch of neighbours is like the whole.

    With this seed the exact posterior's 68 % intervals hold 68 % of the true values.
    """
    experiments = _two_decay_experiments(1000, 7)
    order = experiments.x.sum(dim=1).argsort()
    return data.Split(experiments.x[order], experiments.y[order])


def _decays_log_joint(theta, measurements):
    """ln p(θ, measurements) up to a constant, for θ (…, 2) and measurements (…, 8)."""
    residuals = (measurements - _decays(theta)) / NOISE
    return -(residuals.square().sum(dim=-1) + (theta / PRIOR_WIDTH).square().sum(dim=-1)) / 2


@dataclass(frozen=True)
class _Exact:
    """The exact posterior: means and widths (N, 2), and the ln p(θ, measurements) (N,) above which 90 % of it lies."""

    mean: Tensor
    width: Tensor
    level: Tensor


@functools.cache
def _exact_posterior():
    """The posterior of the experiments kept back, from a grid."""
    measurements = _decays_kept_back().x.double()
    axis = torch.linspace(-2.4, 2.4, 121, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    grid = grid[grid[:, 0] <= grid[:, 1]]
    curves = _decays(grid)
    weight = torch.where(
        grid[:, 0] < grid[:, 1], 1.0, 0.5
    ).double()  # half of a cell on the diagonal is allowed
    prior = -(grid / PRIOR_WIDTH).square().sum(dim=1) / 2
    parts = []
    for some in measurements.split(250):
        log_joint = prior + (some @ curves.T - curves.square().sum(dim=1) / 2) / NOISE**2
        p = weight * (log_joint - log_joint.amax(dim=1, keepdim=True)).exp()
        p /= p.sum(dim=1, keepdim=True)
        mean = p @ grid
        width = (p @ grid.square() - mean.square()).sqrt()
        some_drawn = p.multinomial(DRAWS, replacement=True)
        at_draws = log_joint.gather(1, some_drawn) - some.square().sum(dim=1, keepdim=True) / (2 * NOISE**2)
        parts.append((mean, width, at_draws.quantile(0.1, dim=1)))
    return _Exact(*(torch.cat(part) for part in zip(*parts, strict=True)))


class _Drawn:
    """What draws (N, K, 2) for the experiments kept back are like, beside the exact posterior."""

    def __init__(self, draws, split):
        self.draws, exact = draws.double().cpu(), _exact_posterior()
        self.truth = split.y.double().cpu()
        self.mean, self.width = self.draws.mean(dim=1), self.draws.std(dim=1)
        self.off = (self.mean - exact.mean) / exact.width
        self.ratio = (self.width / exact.width).median(dim=0).values
        low, high = self.draws.quantile(torch.tensor(_ENDS, dtype=torch.float64), dim=1)
        self.coverage = ((self.truth >= low) & (self.truth <= high)).double().mean(dim=0)
        log_joint = _decays_log_joint(self.draws, split.x.double().cpu().unsqueeze(1))
        crossed = self.draws[..., 0] > self.draws[..., 1]
        self.crossed = crossed.double().mean().item()
        self.inside = ((log_joint >= exact.level.unsqueeze(1)) & ~crossed).double().mean().item()
        self.means_off = self.off.abs().median(dim=0).values

    def floors(self):
        """Whether each floor is reached, with the words for it."""

        def both(numbers, digits=2):
            return " and ".join(f"{number:.{digits}f}" for number in numbers)

        return {
            f"68 % intervals hold ln τ_fast, ln τ_slow in {both(self.coverage, 3)} ({COVERAGE[0]} to {COVERAGE[1]})": (
                ((self.coverage >= COVERAGE[0]) & (self.coverage <= COVERAGE[1])).all().item()
            ),
            f"widths {both(self.ratio)} of the exact ones ({WIDTHS[0]} to {WIDTHS[1]})": (
                ((self.ratio >= WIDTHS[0]) & (self.ratio <= WIDTHS[1])).all().item()
            ),
            f"means off by {both(self.means_off)} widths (at most {MEANS_OFF})": (
                (self.means_off <= MEANS_OFF).all().item()
            ),
            f"{self.inside:.3f} of the draws where 90 % of the exact posterior is (at least {INSIDE})": (
                self.inside >= INSIDE
            ),
            f"{self.crossed:.3f} with τ_fast > τ_slow (at most {CROSSED})": self.crossed <= CROSSED,
        }

    def correlation(self):
        """The correlation of the two parameters in the draws of an experiment, median over experiments."""
        a, b = (self.draws - self.mean.unsqueeze(1)).unbind(dim=2)
        return ((a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))).median().item()

    def movement(self):
        """For each parameter, how much its means differ between experiments, in proportion to the exact ones."""
        return self.mean.std(dim=0) / _exact_posterior().mean.std(dim=0)


def _widths_away(draws, rows=slice(None)):
    """How far the means of draws (N, K, 2) are from the exact ones, in exact widths: the larger median of the two."""
    exact = _exact_posterior()
    away = (draws.double().cpu().mean(dim=1) - exact.mean[rows]).abs() / exact.width[rows]
    return away.median(dim=0).values.max().item()


class _Sampler(nn.Module):
    """A function draw(measurements, count) as a network from measurements (M, 8) to draws (M, 200, 2)."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw
        self._drawn = None

    def forward(self, measurements):
        given = measurements.clone()  # whatever an answer does to its argument stays with it
        with torch.enable_grad():  # some samplers walk along gradients
            try:
                draws = self.draw(given, DRAWS)
            except RuntimeError as error:  # a function does not say on which device its network is
                if "device" not in str(error) or given.device == runtime.best_device():
                    raise
                draws = self.draw(measurements.to(runtime.best_device()), DRAWS)
        return draws.detach() if isinstance(draws, Tensor) else draws

    def drawn(self, split):
        """What its draws are like; they are drawn once."""
        if self._drawn is None:
            self._drawn = _Drawn(torch.cat([self(some) for some in split.x.split(500)]), split)
        return self._drawn


class _PosteriorExercise(ModelExercise):
    """A function that draws from posteriors, however it does."""

    too_slow = (
        "Draw for all measurements at once, without a loop over experiments or draws; if it is a Markov chain, let the "
        "chains of all experiments walk together."
    )
    not_finite = (
        "Some draws are nan or inf. Is each log-scale bounded, `s = 2 * torch.tanh(s / 2)`, did the loss stay finite, "
        "and is nothing divided by 0?"
    )

    def _unfit(self, given):
        (draw,) = given
        if draw is None or draw is ...:
            return super()._unfit(given)
        if isinstance(draw, tuple | list) and any(map(callable, draw)):
            return self._wrong("Return the function `draw` alone, not a tuple with other things in it.")
        if getattr(draw, "__name__", "") == self.name:
            return self._wrong(
                f"That is `{self.name}` itself. Call it, and pass on the function that it returns: "
                f"`draw = {self.name}(train_experiments, valid_experiments)`."
            )
        if isinstance(draw, nn.Module) and any(hasattr(draw, name) for name in ("draw", "sample")):
            name = "draw" if hasattr(draw, "draw") else "sample"
            return self._wrong(
                f"A network arrived. A function of (measurements, count) is expected: return `net.{name}` if it takes "
                "these two."
            )
        if isinstance(draw, Tensor):
            return self._wrong(
                "Draws arrived. Pass the function that draws, `draw`, without calling it: it is given measurements "
                "that you have not seen."
            )
        if not callable(draw) or isinstance(draw, type):
            return self._wrong(f"`draw` should be a function, but this arrived: {show(draw)}.")
        return self._unfit_arguments(draw)

    def _unfit_arguments(self, draw):
        try:
            asked = inspect.signature(draw.forward if isinstance(draw, nn.Module) else draw)
        except (TypeError, ValueError):  # some functions do not tell
            return None
        try:
            asked.bind("measurements", "count")
        except TypeError:
            return self._wrong(
                f"It will be called with two arguments, `draw(measurements, count)`, but what arrived takes {asked}."
            )
        return None

    def _as_network(self, draw):
        return _Sampler(draw)

    def _unfit_outputs(self, outputs, x, split):
        sentence = _unfit_draws(outputs, len(x))
        return self._wrong(sentence) if sentence else None

    def _reached(self, outputs, split):
        floors = self._score(outputs, split).floors()
        return all(floors.values()), "; ".join(floors)


def _unfit_draws(draws, count):
    """What is wrong with the shape of draws for `count` experiments; "" if nothing is."""
    asked = f"draw(measurements, {DRAWS}) for {count} experiments should give a tensor ({count}, {DRAWS}, 2)"
    if isinstance(draws, np.ndarray):
        return f"{asked}, but a NumPy array came back. `torch.from_numpy` makes a tensor of it."
    if draws is None:
        return f"{asked}, but None came back. Is a `return` missing in `draw`?"
    if not isinstance(draws, Tensor):
        return f"{asked}, but this came back: {show(draws)}."
    if not draws.is_floating_point():
        return f"{asked} of floats, but its type is {str(draws.dtype).removeprefix('torch.')}."
    shape = tuple(draws.shape)
    known = {
        (DRAWS, count, 2): "Experiments come first, then draws: `.transpose(0, 1)`.",
        (count, 2, DRAWS): "The two parameters belong to the last axis: `.transpose(1, 2)`.",
        (DRAWS * count, 2): "If the draws of an experiment are neighbours, end with "
        "`view(len(measurements), count, 2)`.",
        (count, 2): "There is one draw for each experiment. Repeat the measurements, "
        "`repeat_interleave(count, dim=0)`, and draw a z for each.",
        (DRAWS, 2): "There are draws for one experiment. Draw for each of the measurements.",
        (count, DRAWS): "One of the two parameters is missing.",
        (count, 2 * DRAWS): "Give the two parameters an axis of their own, the last.",
        (count, DRAWS, 2): "",
    }
    if shape in known:
        return known[shape] and f"{asked}, but the shape is {shape}. {known[shape]}"
    if draws.ndim == 3 and (shape[0], shape[2]) == (count, 2):
        return f"{asked}, but the shape is {shape}. Does it draw `count` times, whatever count is?"
    if draws.ndim == 3 and shape[1:] == (DRAWS, 2):
        return f"{asked}, but the shape is {shape}. Does it look at its own measurements, and at all of them?"
    return f"{asked}, but the shape is {shape}."


def _trained_on_simulations(**options):
    """Decorate the solution of `two_decays`."""
    return lambda solution: _PosteriorExercise(
        solution, attempt="draw", held_out=_decays_kept_back, floors={}, **options
    )


@_trained_on_simulations(
    score=_Drawn,
    hints=[
        "The conditional flow of the notebook will do. Standardize the measurements, which are its context, and the "
        "parameters, with the means and standard deviations of the training experiments.",
        "Six coupling layers keep ln τ_fast and ln τ_slow by turns. Their nets take 1 + 8 numbers and have two hidden "
        "layers of 64 units; bound the log-scale, `s = 2 * torch.tanh(s / 2)`.",
        "Adam with `OneCycleLR`, max_lr 6e-3, 13 epochs of batches of 256. In `draw`: "
        "`context.repeat_interleave(count, dim=0)`, z through the inverse layers, the last first, times std plus mean, "
        "`view(len(measurements), count, 2)`.",
    ],
)
def two_decays(train_experiments, valid_experiments):
    """Return a function draw(measurements, count) that draws from the posterior of two decays, after training.

    A split holds simulated experiments: x (N, 8), the measurements, and y (N, 2), the parameters
    θ = (ln τ_fast, ln τ_slow). For measurements (M, 8), draw returns a tensor (M, count, 2) of draws from
    p(θ | measurements).
    """
    torch.manual_seed(0)
    device, epochs = train_experiments.x.device, 13  # some 1,000 steps
    x, y = train_experiments.x, train_experiments.y
    x_mean, x_std, mean, std = x.mean(dim=0), x.std(dim=0), y.mean(dim=0), y.std(dim=0)
    nets = nn.ModuleList(
        nn.Sequential(nn.Linear(9, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        for _ in range(6)
    ).to(device)

    def scale_and_shift(net, kept, context):
        s, b = net(torch.cat([kept, context], dim=1)).chunk(2, dim=1)
        return 2 * torch.tanh(s / 2), b

    def log_prob(theta, context):
        kept, changed = theta.chunk(2, dim=1)
        log_det = 0
        for net in nets:
            s, b = scale_and_shift(net, kept, context)
            kept, changed = changed * s.exp() + b, kept  # what was changed is kept next
            log_det = log_det + s
        return Normal(0, 1).log_prob(kept) + Normal(0, 1).log_prob(changed) + log_det

    batches = data.Split((x - x_mean) / x_std, (y - mean) / std).batches(256, shuffle=True)
    optimizer = torch.optim.Adam(nets.parameters())
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=epochs * len(batches))
    for _ in range(epochs):
        for context, theta in batches:
            optimizer.zero_grad()
            loss = -log_prob(theta, context).mean()
            loss.backward()
            optimizer.step()
            scheduler.step()

    @torch.no_grad()
    def draw(measurements, count):
        context = ((measurements - x_mean) / x_std).repeat_interleave(count, dim=0)
        kept, changed = torch.randn(2, len(context), 1, device=device)
        for net in reversed(nets):
            s, b = scale_and_shift(net, changed, context)
            kept, changed = changed, (kept - b) * (-s).exp()
        return (torch.cat([kept, changed], dim=1) * std + mean).view(len(measurements), count, 2)

    return draw


lesson.add(two_decays)


@two_decays.symptom(
    "All draws of an experiment are the same: an estimate, not a posterior. Every draw needs a z of its own, "
    "`torch.randn(len(measurements) * count, 2)`."
)
def _(model, split):
    return (model.drawn(split).ratio < 1e-3).all()


@two_decays.symptom(
    "One of the two parameters is the same in all draws of an experiment. Does z have two numbers for every draw?"
)
def _(model, split):
    return (model.drawn(split).ratio < 1e-3).any()


@two_decays.symptom(
    "The two parameters of a draw are made of one random number: one tells the other exactly. Draw z with two numbers "
    "for every draw."
)
def _(model, split):
    return abs(model.drawn(split).correlation()) > 0.999


@two_decays.symptom(
    "The draws of an experiment are a few values, again and again. Draw `count` times from the whole posterior; "
    "an importance sampler needs more parameters to choose from."
)
def _(model, split):
    draws = model.drawn(split).draws[::50, :, 0]
    return sum(len(one.unique()) for one in draws) < 0.25 * draws.numel()


@two_decays.symptom(
    "The draws of different experiments are mixed up, as by `measurements.repeat(count, 1)`. "
    "`repeat_interleave(count, dim=0)` keeps the draws of an experiment together."
)
def _(model, split):
    draws = model.drawn(split).draws
    unmixed = [some.reshape(DRAWS, len(some), 2).transpose(0, 1) for some in draws.split(500)]
    return _widths_away(torch.cat(unmixed)) < 0.5 * min(1, _widths_away(draws))


@two_decays.symptom(
    "The two parameters have changed places: the first should be ln τ_fast, the smaller one. If your coupling "
    "layers swap the two numbers, join them in the right order at the end."
)
def _(model, split):
    draws = model.drawn(split).draws
    std, mean = split.y.std(dim=0).cpu(), split.y.mean(dim=0).cpu()
    standardized = (draws - mean) / std  # changed before the standardization is undone, or after
    return min(_widths_away(draws.flip(2)), _widths_away(standardized.flip(2) * std + mean)) < 0.5


@two_decays.symptom(
    "Each draw has the right two numbers, but often the larger one first. The order is ln τ_fast, then ln τ_slow: "
    "`.sort(dim=-1).values`."
)
def _(model, split):
    drawn = model.drawn(split)
    return drawn.crossed > 0.25 and _widths_away(drawn.draws.sort(dim=2).values) < 0.4


@two_decays.symptom("These are draws of τ. Return draws of ln τ.")
def _(model, split):
    draws = model.drawn(split).draws
    return bool((draws > 0).all()) and _widths_away(draws.log()) < 0.5


@two_decays.symptom("The draws have the opposite sign, as if they were of ln(1/τ). Return draws of ln τ.")
def _(model, split):
    return _widths_away(-model.drawn(split).draws) < 0.5


@two_decays.symptom(
    "The draws are still standardized. Multiply them by the standard deviations of the training parameters, and add "
    "their means."
)
def _(model, split):
    return _widths_away(model.drawn(split).draws * split.y.std(dim=0).cpu() + split.y.mean(dim=0).cpu()) < 0.5


@two_decays.symptom(
    "The standardization is not wholly undone: the draws have to be multiplied by the standard deviations of the "
    "training parameters first, and then get their means added."
)
def _(model, split):
    std, mean = split.y.std(dim=0).cpu(), split.y.mean(dim=0).cpu()
    draws = model.drawn(split).draws
    return (
        min(_widths_away(draws + mean), _widths_away(draws * std), _widths_away((draws - mean) * std + mean))
        < 0.4
    )


@two_decays.symptom(
    "What it draws for an experiment depends on the others in the batch. Standardize with the means and standard "
    "deviations of the training experiments; batch normalization has no place in `draw`."
)
def _(model, split):
    drawn, ends = model.drawn(split), torch.arange(100).repeat(2)
    ends[100:] += len(split) - 100
    once, again = (model(split.x[ends]).double().cpu().mean(dim=1) for _ in range(2))

    def change(one, other):
        return ((one - other).abs() / drawn.width[ends]).median().item()

    return change(once, drawn.mean[ends]) > max(0.3, 3 * change(once, again))


@two_decays.symptom(
    "It is right for standardized measurements. In `draw`, standardize the measurements as in training, with the "
    "means and standard deviations of the training experiments."
)
def _(model, split):
    rows = slice(None, None, 5)
    standardized = model((split.x[rows] - split.x.mean(dim=0)) / split.x.std(dim=0))
    return _widths_away(standardized, rows) < 0.5 * min(1, _widths_away(model.drawn(split).draws))


@two_decays.symptom(
    "Its draws hardly depend on the measurements: those of all experiments are alike. Does the net in every coupling "
    "layer see the context, and did the optimizer take its steps?"
)
def _(model, split):
    return model.drawn(split).movement().max() < 0.3


@two_decays.symptom(
    "One of the two parameters hardly depends on the measurements. Do all coupling layers keep the same one? Let them "
    "keep the two by turns."
)
def _(model, split):
    movement = model.drawn(split).movement()
    return movement.min() < 0.2 and movement.max() > 0.5


@two_decays.symptom(
    "The draws are far too wide. Does the loss have the log-determinants, without which a flow squeezes "
    "everything to z = 0, and do the draws go through the inverse, (z − b)·e^(−s), the last layer first?"
)
def _(model, split):
    return model.drawn(split).ratio.min() > 4


@two_decays.symptom(
    "The draws have little to do with the exact posterior. Do they go through the inverse of each layer, the last "
    "layer first, and see the measurements as the flow did in training?"
)
def _(model, split):
    return _widths_away(model.drawn(split).draws) > 1


@two_decays.symptom(
    "Every experiment gets the same widths, as from a regression with the covariance of its residuals. The width of "
    "a posterior depends on the measurements, too: train a conditional flow."
)
def _(model, split):
    return (model.drawn(split).width.log().std(dim=0) < 0.1).all()


@two_decays.symptom(
    "Each parameter alone may be right, but the two are drawn independently of each other. In the exact posterior "
    "they are correlated: a faster fast decay goes with a slower slow one."
)
def _(model, split):
    return abs(model.drawn(split).correlation()) < 0.3


@two_decays.symptom(
    "The draws are too narrow: surer than the data allow. Draw z from N(0, I); if you do, it may have learned "
    "its experiments by heart: train on all of them, and stop where the loss on the valid split is lowest."
)
def _(model, split):
    return model.drawn(split).ratio.min() < WIDTHS[0]


@two_decays.symptom(
    "The draws are too wide: it does not use all that the measurements say. Train a flow longer, draw z from N(0, I), "
    "and let the learning rate fall to 0; if you select simulations, weight them by their likelihood."
)
def _(model, split):
    return model.drawn(split).ratio.max() > WIDTHS[1]


@two_decays.symptom(
    "The widths are about right, but the draws lie too low or too high in most experiments. Check that the "
    "subtracted mean is added again, and that the prior comes in once."
)
def _(model, split):
    return model.drawn(split).off.median(dim=0).values.abs().max() > 0.15


@two_decays.symptom(
    "The widths are about right, but the draws are centred too far from the exact means. If the loss on the "
    "valid split is higher than in training, train on all experiments or for fewer epochs, otherwise for more."
)
def _(model, split):
    return model.drawn(split).means_off.max() > MEANS_OFF


@two_decays.symptom(
    "Centres and widths are about right, but too many draws have τ_fast > τ_slow, where the posterior is 0. A "
    "Gaussian reaches over that edge: use a flow of several coupling layers, or train the one you have for "
    "longer."
)
def _(model, split):
    return model.drawn(split).crossed > CROSSED


@two_decays.symptom(
    "Centres and widths are about right, but too many draws lie where the exact posterior has hardly any density: its "
    "shape is another. Are there several coupling layers that see the context and keep the two by turns?"
)
def _(model, split):
    return model.drawn(split).inside < INSIDE


@two_decays.symptom(
    "Close: centres and widths are about right, only the coverage is not. Train on all of the experiments, a little "
    "longer, with a learning rate that falls to 0 at the end."
)
def _(model, split):
    return True


# Section 14: the quiz -----------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "For the first four: what may a density be, what does a layer do to the half it keeps, what does ∂z/∂x need to "
        "have a determinant, and where is the volume in 784 dimensions?",
        "For `units`: ∂z/∂x changes by the same factor for every x. For `two_islands`: can a continuous map with a "
        "continuous inverse tear a plane apart?",
        "For `same_start`: where is chance in the algorithm? For `never_zero`: what is the best answer to several "
        "targets at one input? For `negative_bits`: how high may a density be at a point?",
    ],
    above_one=Question(
        "c",
        "A density is probability per volume: it may be 3.7, on a region small enough. Its integral over everything is "
        "1.",
        {
            "a": "That holds for probabilities. A density is a probability per volume, and a Gaussian with σ = 0.1 has "
            "4.0 at its mean.",
            "b": "Nothing is likelier than certain: a probability is an integral of the density over a region, and at "
            "most 1.",
            "d": "N(0, I) is normalized, and the Jacobian determinant keeps it so. 3.7 is no contradiction.",
        },
    ),
    same_half=Question(
        "a",
        "No layer ever moves it, so this half of z is that half of x, and the flow gives it the density of the base.",
        {
            "b": "The changed half can still become Gaussian, given the other. But the kept half arrives in z as it "
            "was.",
            "c": "Each coupling layer is invertible, whatever its mask, and so are all of them together.",
            "d": "The log-determinant is the sum of the log-scales of the changed half, which need not be 0.",
        },
    ),
    more_dimensions=Question(
        "d",
        "The Jacobian has to be a square matrix with a determinant other than 0: D numbers in, D numbers out. A "
        "decoder may change the dimension, but it has no such formula for its density.",
        {
            "a": "Every layer maps R^D to R^D, so any number of them does, too.",
            "b": "The net may be as wide as you like inside. It returns one log-scale and one shift for each number of "
            "x.",
            "c": "Such data have no density in R³ at all, and a map from R² onto that plane has no inverse for the "
            "rest of R³.",
        },
    ),
    at_the_origin=Question(
        "b",
        "A draw is √784 = 28 from the origin, give or take 0.7. Within 14 there is only 2⁻⁷⁸⁴ ≈ 10⁻²³⁶ of the volume "
        "within 28, which outweighs a density that is e³⁹² ≈ 10¹⁷⁰ times higher.",
        {
            "a": "It has the highest density, but hardly any volume lies near it. Draws are found where density times "
            "volume is large.",
            "c": "Half of the draws are within |z| = 28, the typical distance. A ball of half the radius has 2⁻⁷⁸⁴ of "
            "the volume.",
            "d": "392 nats are a ratio of densities, not the odds of a draw. And the ratio would be e³⁹² = 10¹⁷⁰.",
        },
    ),
    units=Question(
        "d",
        "The numbers lie closer together, so the density grows by 1000¹⁵, and −ln p falls by 15 ln 1000 = 104 for "
        "every event. The order of the scores stays, and the AUC with it.",
        {
            "a": "A density is per volume, here per GeV¹⁵ or TeV¹⁵. Another unit changes its value.",
            "b": "The numbers get smaller, and the same probability fills less volume: the density rises, −ln p falls.",
            "c": "Every ln p moves by the same 15 ln 1000. The AUC depends on the order of the scores alone, which "
            "stays.",
        },
    ),
    two_islands=Question(
        "a",
        "The base is in one piece, and so is its image under a continuous map. Training makes the bridge thin, but "
        "cannot cut it.",
        {
            "b": "That would need a tear in the map. A continuous map of a connected set is connected.",
            "c": "Data that get no density cost a great deal in −ln p, so both blobs are covered. Losing one is a "
            "habit of GANs.",
            "d": "That is where training starts. Coupling layers deform it until nearly all draws lie in the blobs.",
        },
    ),
    same_start=Question(
        "b",
        "Both are deterministic: no random number is drawn after the start. The same noise leads to the same image.",
        {
            "a": "That is what DDPM does, which adds new noise in each step. DDIM and Euler steps add none.",
            "c": "Nothing random is left after the start, neither for the class nor for anything else.",
            "d": "Other weights would make another image of the noise. With the same ones, both runs agree, however "
            "long the training was.",
        },
    ),
    never_zero=Question(
        "c",
        "The best answer is the mean velocity of all pairs through that point. What is left of the loss is their "
        "variance, which no net can remove.",
        {
            "a": "A lower rate removes the jitter of the last steps, not the spread of the targets at one point.",
            "b": "The largest net would still have to give one velocity where several would be right.",
            "d": "A loss above 0 is normal here, and samples may well be good. Judge by them, and by whether the loss "
            "still falls.",
        },
    ),
    negative_bits=Question(
        "a",
        "On single points a density can rise without limit, and −ln p falls without limit. With noise, ln p of u "
        "bounds the probability of the integers, and no code needs less than 0 bits on average.",
        {
            "b": "No code needs less than 0 bits. The number belongs to a density on points, not to the integers.",
            "c": "To compress is to use fewer bits than before, not fewer than none.",
            "d": "The sign is right: −ln p of a density above 1 is negative. What is missing is the noise in the data.",
        },
    ),
)
