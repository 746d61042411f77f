"""The exercises of lesson 11, Generative adversarial networks: solutions, classic mistakes, hints."""

import functools
import math
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from coursekit import data
from coursekit.checks import ExerciseSet, ModelExercise, Question, normal, show

lesson = ExerciseSet("Lesson 11")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# Section 1: the best discriminator ----------------------------------------------------------------------------


def _logs(*numbers):
    return torch.tensor(numbers, dtype=torch.float32).log()


def _gaussian(x, mean, width):
    return -(((x - mean) / width) ** 2) / 2 - math.log(width * math.sqrt(2 * math.pi))


_GRID = torch.linspace(-2.5, 3.0, 8)


def _probability_or_words(attempt, log_p, log_q):
    """The probabilities; words where they are right, but in an array of NumPy."""
    given = attempt(log_p, log_q)
    if isinstance(given, np.ndarray | np.generic) and given.dtype.kind == "f":
        if given.ndim == 0:
            return float(given)
        right = optimal_discriminator.reference(log_p, log_q).numpy()
        if given.shape == right.shape and np.allclose(given, right, rtol=1e-4, atol=1e-6):
            return "a NumPy array with the right numbers"
    return given


@lesson.exercise(
    cases={
        "p = ¾ and q = ¼": (torch.tensor(0.75).log(), torch.tensor(0.25).log()),
        "three points": (_logs(1, 2, 3), _logs(4, 1, 1)),
        "equal densities": (torch.tensor([[-1.0, 0.5]]), torch.tensor([[-1.0, 0.5]])),
        "two rows of two": (_logs(0.5, 0.2, 3.0, 0.1).view(2, 2), _logs(0.1, 0.6, 1.0, 0.7).view(2, 2)),
        "two Gaussians on a grid": (_gaussian(_GRID, 1.0, 1.0), _gaussian(_GRID, -0.5, 1.5)),
        "densities above 1": (2 + normal(2, 3, seed=1), 2 + normal(2, 3, seed=2)),
        "far out": (torch.tensor([-1010.0, -1012.0]), torch.tensor([-1011.0, -1010.0])),
        "near and far": (torch.tensor([-1.0, -1010.0, 0.5]), torch.tensor([-2.0, -1008.0, -0.5])),
        "one much larger": (torch.tensor([-3.0, -1200.0, -2.5]), torch.tensor([-1200.0, -4.0, -120.0])),
        "float64": (
            normal(2, 2, seed=3, dtype=torch.float64),
            normal(2, 2, seed=4, dtype=torch.float64),
        ),
    },
    hints=[
        "e⁻¹⁰⁰⁰ is 0 to the computer, and 0 / 0 is nan. Divide numerator and denominator by p(x): which quotient is "
        "left?",
        "D* = 1 / (1 + q/p), and q/p = exp(log_q − log_p). You know the function 1 / (1 + e⁻ᵃ).",
        "It is the sigmoid of the difference of the two logarithms: `torch.sigmoid(... - ...)`.",
    ],
    observe=_probability_or_words,
)
def optimal_discriminator(log_p, log_q):
    """Return D*(x) = p(x) / (p(x) + q(x)), the probability that x is real, as a tensor in the shape of `log_p`.

    `log_p` is the logarithm of the density of the real data at x, `log_q` that of the fakes, tensors of any shape. Both
    may lie below −1000.
    """
    return torch.sigmoid(log_p - log_q)


def _densities(quotient):
    return lambda log_p, log_q: quotient(log_p.exp(), log_q.exp())


def _floored(floor):
    return lambda log_p, log_q: torch.sigmoid(log_p.clamp(min=floor) - log_q.clamp(min=floor))


def _shifted_by_one_maximum(log_p, log_q):
    most = torch.maximum(log_p.max(), log_q.max())
    p, q = (log_p - most).exp(), (log_q - most).exp()
    return p / (p + q)


_UNDERFLOW = (
    "Far out both densities are 0 to the computer, since e⁻¹⁰⁰⁰ underflows, and 0 / 0 is nan. Work with the difference "
    "of the logarithms: q/p is exp(log_q − log_p)."
)


def _shifted_apart(shifted):
    """p and q, each shifted by a number of its own."""
    return lambda log_p, log_q: shifted(log_p) / (shifted(log_p) + shifted(log_q))


optimal_discriminator.mistakes(
    {
        "A NumPy array came back instead of a tensor. Stay with tensors, or convert with `torch.as_tensor`.": [
            lambda log_p, log_q: torch.sigmoid(log_p - log_q).numpy(),
        ],
        "p and q are shifted by different amounts, so their ratio changes. Subtract the same number from both at each "
        "point.": [
            _shifted_apart(lambda log: (log - log.max()).exp()),
            _shifted_apart(lambda log: log.softmax(dim=-1)),
            _shifted_apart(lambda log: log.softmax(dim=0)),
        ],
        "p and q are shifted by different amounts, so their ratio changes, and q stands in the numerator, where p "
        "belongs. Take the sigmoid of log_p − log_q.": lambda log_p, log_q: _shifted_apart(
            lambda log: (log - log.max()).exp()
        )(log_q, log_p),
        "ln(p + q) is not ln p + ln q, which is ln(p q). `torch.logaddexp(log_p, log_q)` is ln(p + q).": [
            lambda log_p, log_q: torch.exp(log_p - (log_p + log_q)),
            _densities(lambda p, q: p / (p * q)),
            lambda log_p, log_q: log_p.exp() / (log_p + log_q).exp(),
        ],
        "This is −ln D*. Return D* itself, a probability.": [
            lambda log_p, log_q: torch.logaddexp(log_p, log_q) - log_p,
            lambda log_p, log_q: F.softplus(log_q - log_p),
        ],
        "This is ln(p + q), the logarithm of the denominator. Subtract it from log_p, and take exp of the "
        "difference.": [
            torch.logaddexp,
            _densities(lambda p, q: torch.log(p + q)),
        ],
        "p is divided by ln(p + q), where p + q belongs. With logarithms: exp(log_p − ln(p + q)).": [
            lambda log_p, log_q: log_p.exp() / torch.logaddexp(log_p, log_q),
            _densities(lambda p, q: p / torch.log(p + q)),
        ],
        "ln p is divided by ln(p + q). Divide the densities: subtract the logarithms, and take exp.": [
            lambda log_p, log_q: log_p / torch.logaddexp(log_p, log_q),
        ],
        "`log_p.exp()` underflows far out, so this ln(p + q) is −inf there. Take `torch.logaddexp(log_p, log_q)`, or "
        "the sigmoid of log_p − log_q.": [
            lambda log_p, log_q: (log_p - (log_p.exp() + log_q.exp()).log()).exp(),
        ],
        _UNDERFLOW: [
            _densities(lambda p, q: p / (p + q)),
            _densities(lambda p, q: 1 / (1 + q / p)),
            _densities(lambda p, q: torch.sigmoid(torch.log(p / q))),
            _densities(lambda p, q: torch.sigmoid(torch.log(p) - torch.log(q))),
        ],
        "This is the probability that x is fake, 1 − D*. The real density belongs in the numerator: "
        "`log_p` comes first.": [
            {"log_p - log_q": "log_q - log_p"},
            lambda log_p, log_q: 1 - torch.sigmoid(log_p - log_q),
        ],
        "This is q / (p + q), the probability that x is fake, and it is nan where both densities underflow. Put p in "
        "the numerator, and work with the difference of the logarithms.": [
            _densities(lambda p, q: q / (p + q)),
            _densities(lambda p, q: 1 - p / (p + q)),
        ],
        "A small number in the denominator avoids nan, but far out D* then comes out as 0. Work with the difference of "
        "the logarithms, which needs no such help.": [
            *(_densities(lambda p, q, small=small: p / (p + q + small)) for small in (1e-8, 1e-12, 1e-6)),
            _densities(lambda p, q: (p / (p + q)).nan_to_num()),
            _densities(lambda p, q: p / (p + q).clamp(min=1e-12)),
        ],
        "With a floor under both densities, D* is ½ far out, whatever they are there. Work with the difference of the "
        "logarithms instead.": [
            *map(_floored, (-100.0, -50.0, -20.0)),
            *(
                _densities(lambda p, q, small=small: (p + small) / (p + q + 2 * small))
                for small in (1e-8, 1e-12)
            ),
            *(
                _densities(
                    lambda p, q, small=small: p.clamp(min=small) / (p.clamp(min=small) + q.clamp(min=small))
                )
                for small in (1e-8, 1e-12)
            ),
            _densities(lambda p, q: (p / (p + q)).nan_to_num(0.5)),
        ],
        "With a small number added to p and to p + q, D* is 1 far out, whatever the densities are there. Work with the "
        "difference of the logarithms instead.": [
            _densities(lambda p, q, small=small: (p + small) / (p + q + small)) for small in (1e-8, 1e-12)
        ],
        "p/q overflows where p is much larger than q, and inf / inf is nan. Write it with q/p: 1 / (1 + q/p) is the "
        "sigmoid of log_p − log_q.": [
            lambda log_p, log_q: (log_p - log_q).exp() / (1 + (log_p - log_q).exp()),
            lambda log_p, log_q: (log_p - log_q).exp() / ((log_p - log_q).exp() + 1),
        ],
        "One maximum over all points is subtracted, so points far below it still underflow to 0 / 0. Compare the two "
        "densities at each point: log_p − log_q.": [
            _shifted_by_one_maximum,
            lambda log_p, log_q: (
                (log_p - log_p.max()).exp() / ((log_p - log_p.max()).exp() + (log_q - log_p.max()).exp())
            ),
        ],
        "This is the quotient p/q, and it exceeds 1. The probability is p / (p + q), the sigmoid of log_p − log_q.": [
            lambda log_p, log_q: (log_p - log_q).exp(),
            _densities(lambda p, q: p / q),
        ],
        "This is q/p. Put it into 1 / (1 + q/p).": lambda log_p, log_q: (log_q - log_p).exp(),
        "This is ln D*. Return D* itself, a probability.": [
            lambda log_p, log_q: F.logsigmoid(log_p - log_q),
            lambda log_p, log_q: log_p - torch.logaddexp(log_p, log_q),
            _densities(lambda p, q: torch.log(p / (p + q))),
        ],
        "log_p − log_q is the logit of D*. Its sigmoid is the probability.": [
            lambda log_p, log_q: log_p - log_q,
            _densities(lambda p, q: torch.log(p / q)),
        ],
        "This is the quotient of the logarithms. The densities are their exponentials: p/q is exp(log_p − log_q).": [
            lambda log_p, log_q: log_p / (log_p + log_q),
            lambda log_p, log_q: log_p / log_q,
            lambda log_p, log_q: torch.sigmoid(log_p / log_q),
            lambda log_p, log_q: torch.exp(log_p / (log_p + log_q)),
        ],
        "log_q does not enter. Whether x is real depends on both densities: take the sigmoid of log_p − log_q.": [
            lambda log_p, log_q: torch.sigmoid(log_p),
            lambda log_p, log_q: log_p.exp(),
            lambda log_p, log_q: torch.sigmoid(log_p.exp()),
        ],
        "log_p does not enter. Take the sigmoid of log_p − log_q.": [
            lambda log_p, log_q: torch.sigmoid(log_q),
            lambda log_p, log_q: torch.sigmoid(-log_q),
        ],
        "A sigmoid of the densities is taken, where the difference of their logarithms belongs: "
        "log p − log q = log (p/q).": [
            _densities(lambda p, q: torch.sigmoid(p - q)),
            _densities(lambda p, q: torch.sigmoid(p / q)),
            _densities(lambda p, q: torch.sigmoid(p / (p + q))),
            lambda log_p, log_q: torch.sigmoid((log_p - log_q).exp()),
        ],
        "The logarithms are added, which multiplies the densities. Subtract them: log_p − log_q.": {
            "log_p - log_q": "log_p + log_q"
        },
        "This is the difference of the densities. D* is p / (p + q), the sigmoid of log_p − log_q.": [
            _densities(lambda p, q: p - q),
            _densities(lambda p, q: (p - q) / (p + q)),
        ],
        "The softmax runs over the points x. At each x it has to compare p with q: stack the two and take "
        "`softmax(dim=0)[0]`, or the sigmoid of the difference.": [
            lambda log_p, log_q: log_p.softmax(dim=-1),
            lambda log_p, log_q: (log_p - log_q).softmax(dim=-1),
            lambda log_p, log_q: (log_p - log_q).softmax(dim=0),
            lambda log_p, log_q: log_p.softmax(dim=0),
            lambda log_p, log_q: torch.stack([log_p, log_q]).softmax(dim=-1)[0],
            lambda log_p, log_q: torch.stack([log_p, log_q]).softmax(dim=1)[0],
        ],
        "Both probabilities come back, for real and for fake. Return the first one only, in the shape of `log_p`.": [
            lambda log_p, log_q: torch.stack([log_p, log_q]).softmax(dim=0),
            lambda log_p, log_q: torch.stack([log_p, log_q], dim=-1).softmax(dim=-1),
            lambda log_p, log_q: (torch.sigmoid(log_p - log_q), torch.sigmoid(log_q - log_p)),
        ],
        "This decides between real and fake, with True and False or 1 and 0. Return the probability itself.": [
            lambda log_p, log_q: log_p > log_q,
            lambda log_p, log_q: log_p >= log_q,
            lambda log_p, log_q: torch.sigmoid(log_p - log_q) > 0.5,
            lambda log_p, log_q: torch.sigmoid(log_p - log_q).round(),
        ],
        "One number comes back, a mean over all x. Return D*(x) for each x, in the shape of `log_p`.": [
            lambda log_p, log_q: torch.sigmoid(log_p - log_q).mean(),
            lambda log_p, log_q: torch.sigmoid((log_p - log_q).mean()),
        ],
        "One number comes back, a sum over all x. Return D*(x) for each x, in the shape of `log_p`.": [
            lambda log_p, log_q: torch.sigmoid(log_p - log_q).sum(),
            lambda log_p, log_q: torch.sigmoid((log_p - log_q).sum()),
        ],
        "The sigmoid is applied twice. log_p − log_q goes through it once.": lambda log_p, log_q: (
            torch.sigmoid(torch.sigmoid(log_p - log_q))
        ),
        "tanh runs from −1 to 1. A probability from a difference of logarithms is its sigmoid.": [
            lambda log_p, log_q: torch.tanh(log_p - log_q)
        ],
        "`math` takes single numbers, and tensors of any shape arrive. Use `torch.exp` or `torch.sigmoid`, on the "
        "difference of the logarithms.": [
            lambda log_p, log_q: math.exp(log_p) / (math.exp(log_p) + math.exp(log_q)),
            lambda log_p, log_q: 1 / (1 + math.exp(log_q - log_p)),
        ],
        "The numbers came back as a list. Return the tensor itself.": [
            lambda log_p, log_q: torch.sigmoid(log_p - log_q).tolist(),
        ],
        "Nothing comes back. `print` shows the result, `return` hands it on.": lambda log_p, log_q: print(
            torch.sigmoid(log_p - log_q)
        ),
    }
)


# Section 2: the two losses ------------------------------------------------------------------------------------


class _Judge(nn.Sequential):
    """A discriminator, shown by what it does."""

    def __init__(self, *layers, says):
        super().__init__(*layers)
        self.says = says

    def __repr__(self):
        return self.says


def _filled(module, seed):
    """The module with fixed weights."""
    for number, part in enumerate(module.parameters()):
        part.data = 0.8 * normal(*part.shape, seed=seed + number)
    return module


def _line(weight, bias=0.0):
    judge = _Judge(nn.Linear(1, 1), says=f"a discriminator x ↦ {weight:g} x + {bias:g}")
    judge[0].weight.data.fill_(weight)
    judge[0].bias.data.fill_(bias)
    return judge


def _judge(inputs, seed):
    layers = nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, 1)
    return _filled(_Judge(*layers, says=f"a discriminator from {inputs} numbers to a logit"), seed)


def _judge_of_images(seed):
    layers = nn.Flatten(), nn.Linear(16, 1)
    return _filled(_Judge(*layers, says="a discriminator from images to a logit"), seed)


def _column(*numbers):
    return torch.tensor(numbers)[:, None]


def _as_number(loss):
    return loss.reshape(()) if loss.numel() == 1 else loss


def _gradient_of(parts):
    return torch.cat([torch.zeros_like(p).ravel() if p.grad is None else p.grad.ravel() for p in parts])


def _loss_of_discriminator(attempt, discriminator, real, fake):
    """The loss, and where its gradients arrive; the fakes come out of a graph, as from a generator."""
    source = fake.clone().requires_grad_()
    made = source.clone()
    loss = attempt(discriminator, real, made)
    if not isinstance(loss, Tensor):
        return loss
    if loss.requires_grad:
        loss.sum().backward()
    return {
        "loss": _as_number(loss.detach()),
        "gradient of the discriminator": _gradient_of(discriminator.parameters()),
        "gradient that reaches the generator": _gradient_of([source]).view(fake.shape),
        "`fake` still belongs to the generator": made.requires_grad,
    }


@lesson.exercise(
    observe=_loss_of_discriminator,
    cases={
        "one real and one fake": (_line(1.0), _column(math.log(3)), _column(math.log(2))),
        "two real and three fake": (_line(2.0, 0.5), _column(1.0, -0.4), _column(-0.9, 0.3, 0.6)),
        "four of each": (_judge(2, seed=10), normal(4, 2, seed=1), normal(4, 2, seed=2)),
        "five real and two fake": (_judge(3, seed=20), normal(5, 3, seed=3), normal(2, 3, seed=4)),
        "one real and four fake": (_judge(2, seed=30), normal(1, 2, seed=5), normal(4, 2, seed=6)),
        "three real and one fake": (_judge(1, seed=40), normal(3, 1, seed=7), normal(1, 1, seed=8)),
        "images": (_judge_of_images(seed=50), normal(3, 1, 4, 4, seed=9), normal(2, 1, 4, 4, seed=10)),
        "float64": (
            _judge(2, seed=60).double(),
            normal(3, 2, seed=11, dtype=torch.float64),
            normal(4, 2, seed=12, dtype=torch.float64),
        ),
        "logits of ±40": (_line(40.0), _column(1.0, -0.5, -1.0), _column(1.0, -1.0)),
        "a real one taken for a fake": (_line(1000.0), _column(-1.0, 0.9), _column(-0.001, -0.8, -0.9)),
        "a fake taken for a real one": (_line(1000.0), _column(0.001, 0.9, 0.8), _column(1.0, -0.9)),
    },
    hints=[
        "Two terms, each with its own mean. Where has the graph to be cut, so that the discriminator still gets its "
        "gradient and the generator none?",
        "With D the sigmoid of a: −ln D = ln(1 + e⁻ᵃ) and −ln(1 − D) = ln(1 + eᵃ). `F.softplus(a)` is ln(1 + eᵃ) and "
        "never overflows.",
        "`F.softplus(-discriminator(real)).mean()`, plus the same with the opposite sign inside for `fake.detach()`.",
    ],
)
def discriminator_loss(discriminator, real, fake):
    """Return the loss of the discriminator, one number: the mean of −ln D over real plus the mean of −ln(1 − D)
    over fake.

    D is the sigmoid of the logits `discriminator(x)`, (N, 1), which may be as large as ±1000. `real` (N, …) and `fake`
    (M, …) may differ in number. No gradient reaches `fake`, hence none reaches the generator.
    """
    on_real = F.softplus(-discriminator(real)).mean()  # −ln D
    on_fake = F.softplus(discriminator(fake.detach())).mean()  # −ln(1 − D)
    return on_real + on_fake


def _ln_d(a):
    return F.softplus(-a)


def _ln_not_d(a):
    return F.softplus(a)


def _judging(
    on_real=_ln_d,
    on_fake=_ln_not_d,
    joined=lambda real, fake: real.mean() + fake.mean(),
    given=lambda fake: fake.detach(),
    left=lambda logits: logits,
):
    """The loss of the discriminator, with what can go wrong as arguments."""

    def attempt(discriminator, real, fake):
        a, b = discriminator(real), left(discriminator(given(fake)))
        return joined(on_real(a), on_fake(b))

    return attempt


def _judging_with_bce(
    labels, others, cost=F.binary_cross_entropy_with_logits, given=lambda fake: fake.detach()
):
    def attempt(discriminator, real, fake):
        a, b = discriminator(real), discriminator(given(fake))
        return cost(a, labels(real, a)) + cost(b, others(real, b))

    return attempt


def _probabilities(cost):
    return lambda a: cost(torch.sigmoid(a))


_BY_LOG = {"on_real": _probabilities(lambda D: -D.log()), "on_fake": _probabilities(lambda D: -(1 - D).log())}
_BY_EXP = {"on_real": lambda a: (1 + (-a).exp()).log(), "on_fake": lambda a: (1 + a.exp()).log()}
_TO_GENERATOR = {
    "A gradient reaches the generator as well: the graph has to end at the fakes. Give the discriminator "
    "`fake.detach()`.": {"given": lambda fake: fake}
}
_NO_FAKES = {
    "Only the real ones count here. Add the mean of −ln(1 − D) over fake.": {
        "on_fake": lambda a: 0 * a.clamp(-1, 1)
    },
}
_TERMS = {
    "The labels are swapped: this calls the real ones fake and the fakes real. −ln D belongs to real, −ln(1 − D) to "
    "fake.": {"on_real": _ln_not_d, "on_fake": _ln_d},
    "The fakes enter with −ln D, as in the generator's loss. The discriminator's term is −ln(1 − D).": {
        "on_fake": _ln_d
    },
    "The real ones enter with −ln(1 − D), as if they were fake. Their term is −ln D.": {"on_real": _ln_not_d},
    "Only the fakes count here. Add the mean of −ln D over real.": {"on_real": lambda a: 0 * a.clamp(-1, 1)},
    "The sigmoid is applied twice, since this loss already contains one. Give it the logits as they are.": {
        "on_real": _probabilities(_ln_d),
        "on_fake": _probabilities(_ln_not_d),
    },
}
_JOINTS = {
    "These are sums over the examples. Take the mean of each term.": {
        "joined": lambda real, fake: real.sum() + fake.sum()
    },
    "This is one mean over real and fake together. Take the mean of each term by itself, then add the two.": {
        "joined": lambda real, fake: torch.cat([real, fake]).mean()
    },
    "This is half the loss: the two means are averaged. Add them.": {
        "joined": lambda real, fake: (real.mean() + fake.mean()) / 2
    },
    "This is minus the loss, so that a step would make the discriminator worse. −ln D and −ln(1 − D) are both "
    "positive.": {"joined": lambda real, fake: -(real.mean() + fake.mean())},
    "The term of the fakes has the wrong sign: −ln(1 − D) is positive, and it is added.": {
        "joined": lambda real, fake: real.mean() - fake.mean()
    },
    "The term of the real ones has the wrong sign: −ln D is positive.": {
        "joined": lambda real, fake: fake.mean() - real.mean()
    },
}
_OVERFLOWS = {
    "ln of the sigmoid breaks down at large logits: D is rounded to 0 or 1, and ln 0 is −inf. Use `F.softplus` of the "
    "logits.": _BY_LOG,
    "e to the power of 1000 overflows, and the loss becomes inf. `F.softplus(a)` is ln(1 + eᵃ) for a of any "
    "size.": _BY_EXP,
}
discriminator_loss.slips(_judging, _TO_GENERATOR, _NO_FAKES, _TERMS, _JOINTS, _OVERFLOWS)
_IN_PLACE = {
    "`fake.detach_()` cuts the caller's tensor off the generator: `fake.detach()` makes a new one.": {
        "given": lambda fake: fake.detach_()
    }
}
discriminator_loss.pairs_of_slips(
    _judging,
    _IN_PLACE,
    {told: options for told, options in (_TERMS | _JOINTS | _OVERFLOWS).items() if len(told) < 155},
)
discriminator_loss.pairs_of_slips(
    _judging, _TO_GENERATOR, _TERMS | _JOINTS | _OVERFLOWS, words="Two slips. {} {}"
)


def _split_evenly(discriminator, real, fake):
    a, b = discriminator(torch.cat([real, fake.detach()])).chunk(2)
    return F.softplus(-a).mean() + F.softplus(b).mean()


def _split_after_the_fakes(discriminator, real, fake):
    a = discriminator(torch.cat([real, fake.detach()]))
    return F.softplus(-a[: len(fake)]).mean() + F.softplus(a[len(fake) :]).mean()


def _backwards_itself(again):
    def attempt(discriminator, real, fake):
        loss = discriminator_loss.reference(discriminator, real, fake)
        loss.backward(retain_graph=again)
        return loss

    return attempt


def _detached_in_place(discriminator, real, fake):
    return F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach_())).mean()


def _without_gradients(loss):
    def attempt(*arguments):
        with torch.no_grad():
            return loss(*arguments)

    return attempt


def _clamped(small):
    return {
        "on_real": _probabilities(lambda D: -D.clamp(small, 1 - small).log()),
        "on_fake": _probabilities(lambda D: -(1 - D.clamp(small, 1 - small)).log()),
    }


def _with_small(small):
    return {
        "on_real": _probabilities(lambda D: -(D + small).log()),
        "on_fake": _probabilities(lambda D: -(1 - D + small).log()),
    }


_SMALL = (1e-8, 1e-7, 1e-6, 1e-12, 1e-10, 1e-9, 1e-5, 1e-15)
_BCE = F.binary_cross_entropy_with_logits


def _ones(rows, a):
    return torch.ones_like(a)


def _zeros(rows, a):
    return torch.zeros_like(a)


discriminator_loss.mistakes(
    {
        "A gradient reaches the generator as well: the graph has to end at the fakes. Give the discriminator "
        "`fake.detach()`.": {"fake.detach()": "fake"},
        "The discriminator learns nothing from the fakes, since no gradient comes back from their logits. Detach "
        "`fake`, not what the discriminator says of it.": [
            {"discriminator(fake.detach())": "discriminator(fake).detach()"},
            _judging(left=lambda logits: logits.detach()),
        ],
        "The discriminator learns nothing from the real ones, since their logits are detached. Only `fake` is to be "
        "detached.": {"-discriminator(real)": "-discriminator(real).detach()"},
        "No gradient at all comes back, so the discriminator cannot learn. No `torch.no_grad()` around it and no "
        "`.detach()` after it: detach `fake` alone.": [
            _without_gradients(discriminator_loss.reference),
            lambda *given: discriminator_loss.reference(*given).detach(),
        ],
        "`fake.detach_()` cuts the caller's own tensor off the generator, whose step would then have no gradient. "
        "`fake.detach()` makes a new one.": _detached_in_place,
        "`binary_cross_entropy` of a sigmoid cuts ln D off at −100, so large logits give a loss too small and no "
        "gradient. Take the cross-entropy with logits.": [
            _judging_with_bce(
                _ones, _zeros, cost=lambda a, y: F.binary_cross_entropy(torch.sigmoid(a), y), given=given
            )
            for given in (lambda fake: fake.detach(), lambda fake: fake)
        ],
        "A small number inside the logarithm, or a clamp, caps the loss: large logits give too little, and the "
        "gradient dies there. Use `F.softplus` of the logits, which needs neither.": [
            *(_judging(**_with_small(small)) for small in _SMALL),
            *(_judging(**_clamped(small)) for small in _SMALL[:4]),
            *(_judging(**_with_small(small), given=lambda fake: fake) for small in _SMALL[:3]),
        ],
        "ln(1 − D) breaks down where D is rounded to 1, and ln 0 is −inf. −ln(1 − D) is `F.softplus(a)`, with the "
        "logits a.": [
            _judging(on_fake=_BY_LOG["on_fake"]),
            _judging(on_fake=lambda a: -torch.log(1 - F.logsigmoid(a).exp())),
            _judging(on_fake=_probabilities(lambda D: -torch.log1p(-D))),
        ],
        "ln D breaks down where D is rounded to 0, and ln 0 is −inf. −ln D is `F.softplus(-a)`, with the logits a.": [
            _judging(on_real=_BY_LOG["on_real"]),
        ],
        "ln(1 − D) needs no 1 before the logits: 1 − sigmoid(a) is sigmoid(−a). −ln(1 − D) is `-F.logsigmoid(-a)`, or "
        "`F.softplus(a)`.": [
            _judging(on_fake=lambda a: -(1 - F.logsigmoid(a))),
            _judging(on_fake=lambda a: -F.logsigmoid(1 - a)),
            _judging(on_fake=lambda a: F.softplus(-(1 - a)), given=lambda fake: fake),
            _judging(on_fake=lambda a: -(1 - F.logsigmoid(a)), given=lambda fake: fake),
        ],
        "One mean over real and fake together, times two, is right only for equal numbers of both. Take the mean of "
        "each term by itself.": _judging(joined=lambda real, fake: 2 * torch.cat([real, fake]).mean()),
        "Both sums are divided by the number of real ones. The fakes may be more or fewer: take the mean of each "
        "term by itself.": _judging(joined=lambda real, fake: (real.sum() + fake.sum()) / len(real)),
        "real and fake are added example by example, but they may differ in number. Take the mean of each term first, "
        "then add.": [
            _judging(joined=lambda real, fake: (real + fake).mean()),
            lambda discriminator, real, fake: (
                F.softplus(-discriminator(real)) + F.softplus(discriminator(fake.detach()))
            ).mean(),
        ],
        "The losses of the examples come back unreduced. Take the mean of each term, then add.": [
            _judging(joined=lambda real, fake: torch.cat([real, fake])),
            _judging(joined=lambda real, fake: real + fake),
        ],
        "The labels of the fakes are as many as the real ones, but the numbers may differ. Make each from its own "
        "logits: `torch.zeros_like(logits)`.": [
            _judging_with_bce(_ones, lambda real, b: torch.zeros(len(real), 1, dtype=b.dtype)),
            _judging_with_bce(
                _ones, lambda real, b: torch.zeros(len(real), 1, dtype=b.dtype), given=lambda fake: fake
            ),
        ],
        "The labels are (N,) and the logits (N, 1). `torch.ones_like(logits)` and `torch.zeros_like(logits)` have the "
        "right shape.": [
            _judging_with_bce(lambda rows, a: torch.ones(len(a)), lambda rows, b: torch.zeros(len(b))),
        ],
        "The labels are single numbers, and a label for each logit is needed: `torch.ones_like(logits)`, "
        "`torch.zeros_like(logits)`.": [
            _judging_with_bce(lambda rows, a: 1, lambda rows, b: 0),
            _judging_with_bce(lambda rows, a: 1.0, lambda rows, b: 0.0),
        ],
        "`fake` comes out of the generator, so its `requires_grad` cannot be switched off. `fake.detach()` is a tensor "
        "that is cut off.": _judging(given=lambda fake: fake.requires_grad_(False)),
        "Logits and labels have changed places: `binary_cross_entropy_with_logits` takes the logits first.": [
            _judging_with_bce(_ones, _zeros, cost=lambda a, y: _BCE(y, a)),
            _judging_with_bce(_ones, _zeros, cost=lambda a, y: _BCE(y, a), given=lambda fake: fake),
        ],
        "`binary_cross_entropy` takes probabilities, and logits arrive. Use "
        "`F.binary_cross_entropy_with_logits`.": _judging_with_bce(
            _ones, _zeros, cost=F.binary_cross_entropy
        ),
        "`F.cross_entropy` chooses between several classes: with one logit its loss is 0. Use "
        "`F.binary_cross_entropy_with_logits`, or `F.softplus`.": [
            _judging_with_bce(_ones, _zeros, cost=F.cross_entropy),
            _judging_with_bce(_ones, _zeros, cost=F.cross_entropy, given=lambda fake: fake),
        ],
        "The labels are smoothed. Here they are 1 for real and 0 for fake.": [
            _judging_with_bce(lambda rows, a: torch.full_like(a, 0.9), _zeros),
            _judging_with_bce(
                lambda rows, a: torch.full_like(a, 0.9), lambda rows, b: torch.full_like(b, 0.1)
            ),
        ],
        "The logarithm is missing: these are means of probabilities. Take −ln D and −ln(1 − D) of each example.": [
            _judging(_probabilities(lambda D: -D), _probabilities(lambda D: D - 1)),
            _judging(_probabilities(lambda D: -D), _probabilities(lambda D: D)),
            _judging(_probabilities(lambda D: 1 - D), _probabilities(lambda D: D)),
        ],
        "The sigmoid is missing: ln of the logits themselves is taken. D is their sigmoid, and `F.softplus` does both "
        "at once.": _judging(lambda a: -a.log(), lambda a: -(1 - a).log()),
        "These are means of the logits, as in a Wasserstein GAN. Here the terms are −ln D = `F.softplus(-a)` and "
        "−ln(1 − D) = `F.softplus(a)`.": [
            _judging(lambda a: -a, lambda a: a),
            _judging(lambda a: a, lambda a: -a),
        ],
        "This is a squared error, the loss of a least-squares GAN. Take −ln D and −ln(1 − D).": [
            _judging(_probabilities(lambda D: (D - 1) ** 2), _probabilities(lambda D: D**2)),
            _judging(lambda a: (a - 1) ** 2, lambda a: a**2),
        ],
        "This is the hinge loss. Take −ln D and −ln(1 − D), both with `F.softplus`.": _judging(
            lambda a: F.relu(1 - a), lambda a: F.relu(1 + a)
        ),
        "The mean is taken before the logarithm. Take the logarithm of every example, then the mean.": [
            _judging(
                torch.sigmoid,
                torch.sigmoid,
                joined=lambda real, fake: -real.mean().log() - (1 - fake.mean()).log(),
            ),
            _judging(
                lambda a: a,
                lambda a: a,
                joined=lambda real, fake: F.softplus(-real.mean()) + F.softplus(fake.mean()),
            ),
        ],
        "The logarithm has another base. ln is the natural one.": [
            _judging(
                joined=lambda real, fake, base=base: (real.mean() + fake.mean()) / math.log(base),
            )
            for base in (2, 10)
        ],
        "The batch is cut in the middle, but real and fake may differ in number. Cut after `len(real)` "
        "rows.": _split_evenly,
        "The batch is cut after `len(fake)` rows, but the real ones come first. Cut after `len(real)` "
        "rows.": _split_after_the_fakes,
        "`squeeze()` drops the batch axis too when there is one example. Leave the logits (N, 1), and make the labels "
        "like them: `torch.ones_like(logits)`.": lambda discriminator, real, fake: (
            _BCE(discriminator(real).squeeze(), torch.ones(len(real)))
            + _BCE(discriminator(fake.detach()).squeeze(), torch.zeros(len(fake)))
        ),
        "`backward()` is part of the training step. Here it fills gradients too early: only return the loss.": [
            _backwards_itself(again) for again in (False, True)
        ],
        "The loss has become a Python number, and no gradient can come back from it. Leave out `.item()` or "
        "`float`.": lambda *given: discriminator_loss.reference(*given).item(),
        "The two terms come back separately. Return their sum.": [
            _judging(joined=lambda real, fake: (real.mean(), fake.mean())),
            _judging(joined=lambda real, fake: [real.mean(), fake.mean()]),
            _judging(joined=lambda real, fake: (real.mean() + fake.mean(), real.mean(), fake.mean())),
            _judging(joined=lambda real, fake: torch.stack([real.mean(), fake.mean()])),
        ],
        "Nothing comes back. `return` hands on the sum of the two terms.": lambda *given: print(
            discriminator_loss.reference(*given)
        ),
    }
)


def _loss_of_generator(attempt, discriminator, fake):
    """The loss, and the gradient that arrives at the fakes, which come out of a graph."""
    source = fake.clone().requires_grad_()
    loss = attempt(discriminator, source.clone())
    if not isinstance(loss, Tensor):
        return loss
    if loss.requires_grad:
        loss.sum().backward()
    return {
        "loss": _as_number(loss.detach()),
        "gradient that reaches `fake`": _gradient_of([source]).view(fake.shape),
    }


@lesson.exercise(
    observe=_loss_of_generator,
    cases={
        "one fake with D = ¼": (_line(1.0), _column(-math.log(3))),
        "two fakes": (_line(2.0, 0.5), _column(1.0, -0.4)),
        "four fakes in the plane": (_judge(2, seed=10), normal(4, 2, seed=2)),
        "three fakes of three numbers": (_judge(3, seed=20), normal(3, 3, seed=4)),
        "images": (_judge_of_images(seed=50), normal(2, 1, 4, 4, seed=10)),
        "float64": (_judge(2, seed=60).double(), normal(3, 2, seed=12, dtype=torch.float64)),
        "logits of ±40": (_line(40.0), _column(1.0, -1.0, -0.5)),
        "a discriminator not to be fooled": (_line(1000.0), _column(-1.0, -0.8)),
        "a discriminator that is fooled": (_line(1000.0), _column(1.0, 0.9, 0.8)),
    },
    hints=[
        "The generator wants the discriminator to take its fakes for real. Which term of the discriminator's loss says "
        "that, and of which examples?",
        "−ln D is `F.softplus(-a)` with a the logits. The gradient has to come back to `fake`, so there is no "
        "`detach()` here.",
        "`F.softplus(-discriminator(fake))`, and the mean of it.",
    ],
)
def generator_loss(discriminator, fake):
    """Return the non-saturating loss of the generator, one number: the mean of −ln D over fake.

    D is the sigmoid of the logits `discriminator(fake)`, which may be as large as ±1000. Gradients reach `fake`.
    """
    return F.softplus(-discriminator(fake)).mean()


def _fooling(term=_ln_d, reduced=lambda losses: losses.mean(), given=lambda fake: fake):
    """The loss of the generator, with what can go wrong as arguments."""
    return lambda discriminator, fake: reduced(term(discriminator(given(fake))))


_CUT_OFF = {
    "No gradient reaches `fake`, so the generator could not learn. Leave out `detach()` and `torch.no_grad()`.": {
        "given": lambda fake: fake.detach()
    }
}
_TERMS_OF_FAKES = {
    "This is ln(1 − D), which saturates: its gradient vanishes where the discriminator is sure of a fake. Take "
    "−ln D.": {"term": lambda a: -_ln_not_d(a)},
    "This is −ln(1 − D), the discriminator's term: it teaches the generator to look fake. Take −ln D, the loss for "
    "the label 1.": {"term": _ln_not_d},
    "The sign is wrong: ln D is negative, and a step would make D smaller. The loss is −ln D.": {
        "term": lambda a: -_ln_d(a)
    },
    "The sigmoid is applied twice, since this loss already contains one. Give it the logits as they are.": {
        "term": _probabilities(_ln_d)
    },
    "At large logits this gives inf: a D rounded to 0 has no logarithm, and e¹⁰⁰⁰ overflows. −ln D is "
    "`F.softplus(-a)`, for logits a of any size.": {"term": _BY_LOG["on_real"]},
}
_MEANS_OF_FAKES = {
    "This is the sum over the fakes. Take the mean.": {"reduced": lambda losses: losses.sum()},
    "This is half the loss. The mean of −ln D is all of it.": {"reduced": lambda losses: losses.mean() / 2},
}
generator_loss.slips(_fooling, _CUT_OFF, _TERMS_OF_FAKES, _MEANS_OF_FAKES)
generator_loss.pairs_of_slips(_fooling, _CUT_OFF, _TERMS_OF_FAKES | _MEANS_OF_FAKES)
generator_loss.pairs_of_slips(_fooling, _TERMS_OF_FAKES, _MEANS_OF_FAKES)


def _fooling_with_bce(labels=torch.ones_like, cost=_BCE):
    return lambda discriminator, fake: cost(discriminator(fake), labels(discriminator(fake)))


def _fooling_then_back(again):
    def attempt(discriminator, fake):
        loss = generator_loss.reference(discriminator, fake)
        loss.backward(retain_graph=again)
        return loss

    return attempt


generator_loss.mistakes(
    {
        "Three slips. No gradient reaches `fake`: leave out `detach()`. −softplus(a) is ln(1 − D), which saturates: "
        "take −ln D, `F.softplus(-a)`. And this is a sum over the fakes: take the mean.": [
            lambda discriminator, fake: -F.softplus(discriminator(fake.detach())).sum(),
            lambda discriminator, fake: F.logsigmoid(-discriminator(fake.detach())).sum(),
        ],
        "This is −ln(1 − D), the discriminator's term: it teaches the generator to look fake. Take −ln D, the loss for "
        "the label 1.": [
            {"-discriminator(fake)": "discriminator(fake)"},
            _fooling_with_bce(torch.zeros_like),
        ],
        "At large logits this gives inf: a D rounded to 0 has no logarithm, and e¹⁰⁰⁰ overflows. −ln D is "
        "`F.softplus(-a)`, for logits a of any size.": _fooling(_BY_EXP["on_real"]),
        "This is ln(1 − D), which saturates: its gradient vanishes where the discriminator is sure of a fake. Take "
        "−ln D.": [
            _fooling(_probabilities(lambda D: (1 - D).log())),
            _fooling(_probabilities(lambda D: torch.log1p(-D))),
            *(_fooling(_probabilities(lambda D, small=small: (1 - D + small).log())) for small in _SMALL[:4]),
        ],
        "This is −ln(1 − D), and it breaks down where D is rounded to 1. The generator's loss is −ln D: "
        "`F.softplus(-a)`, with the logits a.": _fooling(_BY_LOG["on_fake"]),
        "The sign is wrong, and ln of the sigmoid breaks down where D is rounded to 0. −ln D is `F.softplus(-a)`, with "
        "the logits a.": _fooling(_probabilities(lambda D: D.log())),
        "No gradient reaches `fake`, so the generator could not learn. Leave out `detach()` and `torch.no_grad()`.": [
            {".mean()": ".mean().detach()"},
            _without_gradients(generator_loss.reference),
        ],
        "`binary_cross_entropy` of a sigmoid cuts ln D off at −100, so a sure discriminator gives a loss too small and "
        "no gradient. Take the cross-entropy with logits.": _fooling_with_bce(
            cost=lambda a, y: F.binary_cross_entropy(torch.sigmoid(a), y)
        ),
        "A small number inside the logarithm, or a clamp, caps the loss: where the discriminator is sure, the gradient "
        "dies. `F.softplus(-a)` needs neither.": [
            *(_fooling(_with_small(small)["on_real"]) for small in _SMALL),
            *(_fooling(_clamped(small)["on_real"]) for small in _SMALL[:4]),
        ],
        "The logarithm is missing: this is a mean of probabilities. Take −ln D of each fake.": [
            _fooling(_probabilities(lambda D: -D)),
            _fooling(_probabilities(lambda D: 1 - D)),
            _fooling(_probabilities(lambda D: D)),
        ],
        "The sigmoid is missing: ln of the logits themselves is taken. D is their sigmoid, and `F.softplus(-a)` does "
        "both at once.": _fooling(lambda a: -a.log()),
        "This is a mean of the logits, as in a Wasserstein GAN. Take −ln D = `F.softplus(-a)`.": [
            _fooling(lambda a: -a),
            _fooling(lambda a: a),
        ],
        "This is a squared error, the loss of a least-squares GAN. Take −ln D.": [
            _fooling(_probabilities(lambda D: (D - 1) ** 2)),
            _fooling(lambda a: (a - 1) ** 2),
        ],
        "This is a hinge loss. Take −ln D = `F.softplus(-a)`.": [
            _fooling(lambda a: F.relu(1 - a)),
            _fooling(lambda a: F.relu(-a)),
        ],
        "The generator has no part in the discriminator's other term. Leave the mean of −ln(1 − D) out, and take −ln D "
        "of the fakes alone.": [
            _fooling(lambda a: _ln_d(a) + _ln_not_d(a)),
        ],
        "The labels are smoothed. The generator's fakes get the label 1.": _fooling_with_bce(
            lambda a: torch.full_like(a, 0.9)
        ),
        "The labels are (N,) and the logits (N, 1). `torch.ones_like(logits)` has the right "
        "shape.": _fooling_with_bce(lambda a: torch.ones(len(a))),
        "The label is a single number, and one for each logit is needed: `torch.ones_like(logits)`.": [
            _fooling_with_bce(lambda a: 1),
            _fooling_with_bce(lambda a: 1.0),
        ],
        "`squeeze()` drops the batch axis too when there is one fake. Leave the logits (N, 1), and make the labels "
        "like them: `torch.ones_like(logits)`.": lambda discriminator, fake: _BCE(
            discriminator(fake).squeeze(), torch.ones(len(fake))
        ),
        "Logits and labels have changed places: `binary_cross_entropy_with_logits` takes the logits "
        "first.": _fooling_with_bce(cost=lambda a, y: _BCE(y, a)),
        "`binary_cross_entropy` takes probabilities, and logits arrive. Use "
        "`F.binary_cross_entropy_with_logits`.": _fooling_with_bce(cost=F.binary_cross_entropy),
        "`F.cross_entropy` chooses between several classes: with one logit its loss is 0. Use "
        "`F.binary_cross_entropy_with_logits`, or `F.softplus`.": _fooling_with_bce(cost=F.cross_entropy),
        "The mean is taken before the logarithm. Take −ln D of every fake, then the mean.": [
            _fooling(torch.sigmoid, lambda D: -D.mean().log()),
            _fooling(lambda a: a, lambda a: F.softplus(-a.mean())),
        ],
        "The logarithm has another base. ln is the natural one.": [
            _fooling(lambda a, base=base: _ln_d(a) / math.log(base)) for base in (2, 10)
        ],
        "The losses of the fakes come back one by one. Take their mean.": _fooling(
            reduced=lambda losses: losses
        ),
        "`backward()` is part of the training step. Here it fills gradients too early: only return the loss.": [
            _fooling_then_back(again) for again in (False, True)
        ],
        "The loss has become a Python number, and no gradient can come back from it. Leave out `.item()` or "
        "`float`.": lambda *given: generator_loss.reference(*given).item(),
        "Loss and logits come back. Return the loss alone.": lambda discriminator, fake: (
            generator_loss.reference(discriminator, fake),
            discriminator(fake),
        ),
        "Nothing comes back. `return` hands on the mean.": lambda *given: print(
            generator_loss.reference(*given)
        ),
    }
)


# Section 3: a step of the game --------------------------------------------------------------------------------


_GAN_OPTIMIZERS = {
    "SGD": (torch.optim.SGD, {"lr": 0.3}, {"lr": 0.4}),
    "SGD with momentum": (torch.optim.SGD, {"lr": 0.2, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.8}),
    "Adam": (torch.optim.Adam, {"lr": 0.03}, {"lr": 0.02}),
}


def _cross_entropies(discriminator, real, fake):
    return F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake)).mean()


def _squares(discriminator, real, fake):
    return ((discriminator(real) - 1) ** 2).mean() + (discriminator(fake) ** 2).mean()


_GAN_LOSSES = {
    "cross-entropy": (_cross_entropies, lambda discriminator, fake: F.softplus(-discriminator(fake)).mean()),
    "squares": (_squares, lambda discriminator, fake: ((discriminator(fake) - 1) ** 2).mean()),
}


class _Generator(nn.Sequential):
    """A network of its own name, which an error tells."""


class _Discriminator(nn.Sequential):
    """A network of its own name, which an error tells."""


def _gan_networks(numbers, networks):
    """A generator from two numbers to `numbers`, and a discriminator."""
    if networks == "linear":
        return _Generator(nn.Linear(2, numbers)), _Discriminator(nn.Linear(numbers, 1))
    norm = [nn.BatchNorm1d(8)] if networks == "with batch norm" else []
    generator = _Generator(nn.Linear(2, 8), *norm, nn.Tanh(), nn.Linear(8, numbers))
    return generator, _Discriminator(nn.Linear(numbers, 8), nn.Tanh(), nn.Linear(8, 1))


def _game(numbers, networks, optimizer, losses, passes):
    """A fresh game; `passes` collects for each `backward()` of a loss where it came from."""
    generator, discriminator = _gan_networks(numbers, networks)
    make, for_g, for_d = _GAN_OPTIMIZERS[optimizer]
    judging, fooling = _GAN_LOSSES[losses]

    def counted(loss, name):
        if loss.requires_grad:
            loss.register_hook(lambda _: passes.append(name))
        return loss

    def d_loss(discriminator, real, fake):
        return counted(judging(discriminator, real.detach(), fake.detach()), "d_loss")

    def g_loss(discriminator, fake):
        return counted(fooling(discriminator, fake), "g_loss")

    d_loss.__qualname__, g_loss.__qualname__ = "d_loss", "g_loss"
    return SimpleNamespace(
        generator=_filled(generator, seed=70),
        discriminator=_filled(discriminator, seed=80),
        g_optimizer=make(generator.parameters(), **for_g),
        d_optimizer=make(discriminator.parameters(), **for_d),
        d_loss=d_loss,
        g_loss=g_loss,
    )


def _number_of(loss):
    return loss.detach().reshape(()) if isinstance(loss, Tensor) and loss.numel() == 1 else loss


def _returned_kind(pair):
    """What came back, in words; "" for two of something."""
    if pair is None:
        return "nothing"
    if isinstance(pair, float) or (isinstance(pair, Tensor) and pair.numel() == 1):
        return "one number"
    if isinstance(pair, tuple | list | Tensor):
        return "" if len(pair) == 2 else f"{len(pair)} things"
    return f"a {type(pair).__name__}"


def _side_by_side(network):
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def _some_gan_steps(gan_step, calls, optimizers, shape_of_real, shape_of_z, networks, losses):
    """What is left of a fresh game after some calls with different batches."""
    returned, seen = {}, []
    game = _game(shape_of_real[1], networks, optimizers, losses, passes=seen)
    game.d_optimizer.register_step_post_hook(lambda *_: seen.append("d"))
    game.g_optimizer.register_step_post_hook(lambda *_: seen.append("g"))
    for part in game.generator.parameters():
        part.register_hook(lambda _: seen.append("gradient"))
    for call in range(calls):
        real, z = 1.5 + normal(*shape_of_real, seed=100 + call), normal(*shape_of_z, seed=200 + call)
        pair = gan_step(game, real, z)
        if kind := _returned_kind(pair):
            return kind
        for name, loss in zip(("d_loss", "g_loss"), pair, strict=True):
            returned[f"{name} of call {call + 1}"] = _number_of(loss)
    parts = [*game.discriminator.parameters(), *game.generator.parameters()]
    return {
        "steps made": f"{seen.count('d')} of the discriminator, {seen.count('g')} of the generator",
        "backward passes": f"{seen.count('d_loss')} from d_loss, {seen.count('g_loss')} from g_loss",
        "gradients of the generator": "arrive" if "gradient" in seen else "none arrive",
        "parameters": "trainable" if all(p.requires_grad for p in parts) else "some are left frozen",
        **returned,
        "parameters of the discriminator": _side_by_side(game.discriminator),
        "parameters of the generator": _side_by_side(game.generator),
    }


@lesson.exercise(
    observe=_some_gan_steps,
    cases={
        "one call": (1, "SGD", (2, 2), (2, 2), "linear", "cross-entropy"),
        "one call with hidden layers": (1, "SGD", (4, 2), (4, 2), "with a hidden layer", "cross-entropy"),
        "two calls": (2, "SGD", (4, 2), (4, 2), "with a hidden layer", "cross-entropy"),
        "more real than fake": (2, "SGD", (6, 2), (3, 2), "with a hidden layer", "cross-entropy"),
        "examples of three numbers": (2, "SGD", (4, 3), (5, 2), "with a hidden layer", "cross-entropy"),
        "one real and one fake": (2, "SGD", (1, 2), (1, 2), "with a hidden layer", "cross-entropy"),
        "three calls with momentum": (
            3,
            "SGD with momentum",
            (4, 2),
            (4, 2),
            "with a hidden layer",
            "cross-entropy",
        ),
        "three calls with Adam": (3, "Adam", (4, 2), (4, 2), "with a hidden layer", "cross-entropy"),
        "batch norm in the generator": (2, "SGD", (5, 2), (5, 2), "with batch norm", "cross-entropy"),
        "other losses": (2, "SGD", (4, 2), (4, 2), "with a hidden layer", "squares"),
    },
    hints=[
        "Two halves of one form: a loss, `zero_grad()`, `backward()`, `step()`. Whose optimizer steps in which half, "
        "and when may g_loss be computed?",
        "`g_loss.backward()` goes through both networks and leaves gradients in the discriminator too. So each half "
        "clears the gradients of its own network before its `backward()`.",
        "`fake = game.generator(z)`; `d_loss = game.d_loss(game.discriminator, real, fake)`, and the three calls with "
        "`game.d_optimizer`. Then `g_loss = game.g_loss(game.discriminator, fake)`, and the three with "
        "`game.g_optimizer`.",
    ],
)
def gan_step(game, real, z):
    """Make one step of the discriminator, then one of the generator; return the two losses (d_loss, g_loss).

    `game` holds the networks `generator` and `discriminator`, their optimizers `g_optimizer` and `d_optimizer`, and two
    functions, d_loss(discriminator, real, fake) and g_loss(discriminator, fake). Both steps use generator(z); the
    generator is judged by the discriminator after its step.
    """
    fake = game.generator(z)
    d_loss = game.d_loss(game.discriminator, real, fake)
    game.d_optimizer.zero_grad()
    d_loss.backward()
    game.d_optimizer.step()
    g_loss = game.g_loss(game.discriminator, fake)
    game.g_optimizer.zero_grad()
    g_loss.backward()
    game.g_optimizer.step()
    return d_loss, g_loss


_MADE = "fake = game.generator(z)"
_D_LOSS = "d_loss = game.d_loss(game.discriminator, real, fake)"
_G_LOSS = "g_loss = game.g_loss(game.discriminator, fake)"
_D_ZERO, _D_BACK, _D_STEP = "game.d_optimizer.zero_grad()", "d_loss.backward()", "game.d_optimizer.step()"
_G_ZERO, _G_BACK, _G_STEP = "game.g_optimizer.zero_grad()", "g_loss.backward()", "game.g_optimizer.step()"
_D_HALF, _G_HALF = (_D_LOSS, _D_ZERO, _D_BACK, _D_STEP), (_G_LOSS, _G_ZERO, _G_BACK, _G_STEP)


def _these_lines(*lines):
    """Edits of the solution: other lines before its `return`."""
    return {"\n    ".join([_MADE, *_D_HALF, *_G_HALF]): "\n    ".join(lines)}


def _returning(text):
    return {"return d_loss, g_loss": text}


_CUT = (
    "No gradient reaches the generator: its fakes are cut off (`detach`, `no_grad` or frozen weights). Leave that to "
    "the losses."
)
_OF_D = {
    "`d_optimizer.zero_grad()` is missing: old gradients, also of g_loss, add to the new. Call it before "
    "`d_loss.backward()`.": {_D_ZERO: "pass"},
    "`d_optimizer.step()` finds no gradients and moves nothing. The order is `zero_grad()`, `backward()`, "
    "`step()`.": {f"{_D_ZERO}\n    {_D_BACK}": f"{_D_BACK}\n    {_D_ZERO}"},
    "`d_loss.backward()` is missing, so the discriminator's step finds no gradients and moves nothing.": {
        _D_BACK: "pass"
    },
    "`d_optimizer.step()` is missing, so the discriminator never moves.": {_D_STEP: "pass"},
    "The discriminator's step goes uphill: `backward()` starts from d_loss, not from minus d_loss.": {
        _D_BACK: "(-d_loss).backward()"
    },
}
_OF_G = {
    "`g_optimizer.zero_grad()` is missing: gradients of earlier calls add to the new ones. Call it before "
    "`g_loss.backward()`.": {_G_ZERO: "pass"},
    "`g_optimizer.step()` finds no gradients and moves nothing. The order is `zero_grad()`, `backward()`, "
    "`step()`.": {f"{_G_ZERO}\n    {_G_BACK}": f"{_G_BACK}\n    {_G_ZERO}"},
    "`g_loss.backward()` is missing, so the generator's step finds no gradients and moves nothing.": {
        _G_BACK: "pass"
    },
    "`g_optimizer.step()` is missing, so the generator never moves.": {_G_STEP: "pass"},
    "The generator's step goes uphill: `backward()` starts from g_loss, not from minus g_loss.": {
        _G_BACK: "(-g_loss).backward()"
    },
    _CUT: {_G_LOSS: _G_LOSS.replace("fake)", "fake.detach())")},
}
_NEVER_CLEARED = {_D_ZERO: "pass", _G_ZERO: "pass"}
gan_step.mistakes(_OF_D | _OF_G)
gan_step.mistakes(
    {
        "Neither optimizer clears its gradients, so those of earlier calls stay in both steps. Call `zero_grad()` of "
        "each before the `backward()` of its loss.": _NEVER_CLEARED,
        **{
            f"Two slips. {one} {other}": _OF_D[one] | _OF_G[other]
            for one, other in [
                *list(zip(_OF_D, _OF_G, strict=False))[1:],  # the same slip in both halves
                *((one, _CUT) for one in _OF_D),
            ]
        },
        **{
            f"Two slips. The generator is put into eval mode: leave its mode as it is. {one}": edits
            | {_MADE: f"game.generator.eval()\n    {_MADE}\n    game.generator.train()"}
            for one, edits in (_OF_D | _OF_G).items()
        },
    }
)
gan_step.mistakes(
    {
        "Nothing learns: the losses are computed, but each network also needs `zero_grad()`, `backward()` and "
        "`step()`.": _these_lines(_MADE, _D_LOSS, _G_LOSS),
        "The generator's half ends with its loss. It goes on like the other: `zero_grad()`, `g_loss.backward()`, "
        "`g_optimizer.step()`.": [
            _these_lines(_MADE, *_D_HALF, _G_LOSS),
            _these_lines(_MADE, _D_LOSS, _G_LOSS, *_D_HALF[1:]),
        ],
        "The discriminator's half ends with its loss. It goes on like the other: `zero_grad()`, `d_loss.backward()`, "
        "`d_optimizer.step()`.": _these_lines(_MADE, _D_LOSS, *_G_HALF),
        "The generator is judged by the discriminator as it was before its step. Make the step of the discriminator "
        "first, and compute g_loss after it.": [
            _these_lines(_MADE, *_G_HALF, *_D_HALF),
            _these_lines(_MADE, _D_LOSS, _G_LOSS, _G_ZERO, _G_BACK, _D_ZERO, _D_BACK, _D_STEP, _G_STEP),
        ],
        "The generator makes the first step, so the discriminator sees the fakes of a generator that has moved. The "
        "discriminator's half comes first.": [
            _these_lines(_MADE, *_G_HALF, _MADE, *_D_HALF),
        ],
        "g_loss is computed before the step of the discriminator, which then changes weights that `g_loss.backward()` "
        "needs. Compute g_loss after `d_optimizer.step()`.": [
            _these_lines(_MADE, _D_LOSS, _G_LOSS, _D_ZERO, _D_BACK, _D_STEP, _G_ZERO, _G_BACK, _G_STEP),
        ],
        "g_loss goes backward before the step of the discriminator, which then follows both losses. Finish the "
        "discriminator's half, `step()` included, before you compute g_loss.": [
            _these_lines(_MADE, *_D_HALF[:3], *_G_HALF[:3], _D_STEP, _G_STEP),
            _these_lines(
                _MADE, _D_LOSS, _G_LOSS, _D_ZERO, _G_ZERO, "(d_loss + g_loss).backward()", _D_STEP, _G_STEP
            ),
        ],
        "Both losses go backward before any step, and the gradients of earlier calls are still there as well. Make "
        "two halves: loss, `zero_grad()`, `backward()`, `step()`, for the discriminator first.": [
            _these_lines(_MADE, _D_LOSS, _G_LOSS, _D_BACK, _G_BACK, _D_STEP, _G_STEP),
        ],
        "The gradients of d_loss are cleared before the discriminator's step, which then follows g_loss. Finish the "
        "discriminator's half, `step()` included, before you begin the other.": [
            _these_lines(_MADE, _D_LOSS, _G_LOSS, _D_BACK, _D_ZERO, _G_ZERO, _G_BACK, _D_STEP, _G_STEP),
        ],
        "The discriminator's gradients are cleared right after its step, but `g_loss.backward()` leaves some in it "
        "too. Clear them right before `d_loss.backward()`.": [
            _these_lines(_MADE, _D_LOSS, _D_BACK, _D_STEP, _D_ZERO, *_G_HALF),
        ],
        "`d_optimizer.step()` comes before `d_loss.backward()`, so it follows the gradients of the call before. The "
        "order is `zero_grad()`, `backward()`, `step()`.": [
            _these_lines(_MADE, _D_LOSS, _D_STEP, _D_ZERO, _D_BACK, *_G_HALF),
        ],
        "`g_optimizer.step()` comes before `g_loss.backward()`, so it follows the gradients of the call before. The "
        "order is `zero_grad()`, `backward()`, `step()`.": [
            _these_lines(_MADE, *_D_HALF, _G_LOSS, _G_STEP, _G_ZERO, _G_BACK),
        ],
        "The discriminator steps a second time, along g_loss, and the generator not at all. After `g_loss.backward()` "
        "it is `g_optimizer.step()`.": [
            {_G_STEP: _D_STEP},
            {_G_STEP: _D_STEP, _G_ZERO: _D_ZERO},
        ],
        "The discriminator steps again after `g_loss.backward()`, whose gradients help the generator. In that half "
        "only `g_optimizer` steps.": [
            {_G_STEP: f"{_D_STEP}\n    {_G_STEP}"},
        ],
        "`g_optimizer` steps in both halves. After `d_loss.backward()` only `d_optimizer` does.": [
            {_D_STEP: f"{_D_STEP}\n    {_G_STEP}"},
        ],
        "The optimizers have changed places. `d_optimizer` steps after `d_loss.backward()`, `g_optimizer` after "
        "`g_loss.backward()`.": [
            {_D_STEP: "first()", _G_STEP: _D_STEP, "first()": _G_STEP},
            {
                "game.d_optimizer": "game.other",
                "game.g_optimizer": "game.d_optimizer",
                "other": "g_optimizer",
            },
        ],
        _CUT: [
            {_MADE: f"{_MADE}.detach()"},
            {_MADE: f"with torch.no_grad():\n        {_MADE}"},
        ],
        "g_loss is computed for the real ones, so no gradient reaches the generator. It takes the fakes.": {
            _G_LOSS: _G_LOSS.replace("fake", "real")
        },
        "real and fake have changed places in `game.d_loss`: its order is discriminator, real, fake.": {
            _D_LOSS: _D_LOSS.replace("real, fake", "fake, real")
        },
        "The discriminator gets the real ones twice, and no fakes. `game.d_loss` takes the discriminator, real and "
        "fake.": {_D_LOSS: _D_LOSS.replace("real, fake", "real, real")},
        "The discriminator gets the fakes twice, and nothing real. `game.d_loss` takes the discriminator, real and "
        "fake.": {_D_LOSS: _D_LOSS.replace("real, fake", "fake, fake")},
        "z itself is judged, the latent vectors. The fakes are what the generator makes of them: "
        "`fake = game.generator(z)`.": [
            {"fake)": "z)"},
            {_D_LOSS: _D_LOSS.replace("fake", "z")},
            {_G_LOSS: _G_LOSS.replace("fake", "z")},
        ],
        "The generator starts from the real ones. It makes fakes of the latent vectors: `game.generator(z)`.": {
            _MADE: "fake = game.generator(real)"
        },
        "The fakes come from fresh noise. The latent vectors are given, so use `game.generator(z)`.": [
            {_MADE: "fake = game.generator(torch.randn_like(z))"},
            {
                _MADE: "fake = game.generator(torch.randn_like(z))",
                _G_LOSS: f"fake = game.generator(torch.randn_like(z))\n    {_G_LOSS}",
            },
        ],
        "The generator's step has fakes from fresh noise. Here both steps use `game.generator(z)`, of the same z.": {
            _G_LOSS: f"fake = game.generator(torch.randn_like(z))\n    {_G_LOSS}"
        },
        "The discriminator's step has fakes from fresh noise. Here both steps use `game.generator(z)`, of the same "
        "z.": {
            _D_LOSS: f"fake = game.generator(torch.randn_like(z))\n    {_D_LOSS}",
            _G_LOSS: f"{_MADE}\n    {_G_LOSS}",
        },
        "The generator's step uses `d_loss`, which is cut off from the generator. Its own loss is "
        "`game.g_loss(game.discriminator, fake)`.": [
            {_G_LOSS: _D_LOSS.replace("d_loss =", "g_loss =")},
            {_G_LOSS: _D_LOSS.replace("d_loss = ", "g_loss = -")},
        ],
        "d_loss goes backward a second time, when its graph is gone. In the generator's half it is "
        "`g_loss.backward()`, with a loss of its own.": [
            {_G_BACK: _D_BACK},
            {_G_BACK: "(-d_loss).backward()"},
            {_G_LOSS: "g_loss = -d_loss"},
            {_G_BACK: "(d_loss + g_loss).backward()"},
        ],
        "The discriminator makes two steps. One call is one step of each.": [
            _these_lines(_MADE, *_D_HALF, *_D_HALF, *_G_HALF),
            {_D_STEP: f"{_D_STEP}\n    {_D_STEP}"},
        ],
        "The generator makes two steps. One call is one step of each.": [
            _these_lines(_MADE, *_D_HALF, *_G_HALF, _MADE, *_G_HALF),
            {_G_STEP: f"{_G_STEP}\n    {_G_STEP}"},
        ],
        "The discriminator's gradient is halved. `backward()` goes from d_loss as it is.": [
            {_D_BACK: "(d_loss / 2).backward()"},
        ],
        "The discriminator is left frozen, so it could not learn in the next call. Put `requires_grad_(True)` back, or "
        "leave it trainable: only `g_optimizer` steps anyway.": [
            {_G_LOSS: f"game.discriminator.requires_grad_(False)\n    {_G_LOSS}"},
            {"return": "game.discriminator.requires_grad_(False)\n    return"},
        ],
        "The generator is frozen, so it cannot learn. Leave its `requires_grad` as it is: the losses detach what has "
        "to be detached.": [
            {_D_LOSS: f"game.generator.requires_grad_(False)\n    {_D_LOSS}"},
            {_MADE: f"game.generator.requires_grad_(False)\n    {_MADE}"},
            {"return": "game.generator.requires_grad_(False)\n    return"},
        ],
        "The generator is put into eval mode, so its batch norm works with running means. Leave its mode as it "
        "is.": {_MADE: f"game.generator.eval()\n    {_MADE}"},
        "The losses are your own. The game brings its own, `game.d_loss` and `game.g_loss`, and they may be "
        "others.": [
            {
                _D_LOSS: "d_loss = discriminator_loss.reference(game.discriminator, real, fake)",
                _G_LOSS: "g_loss = generator_loss.reference(game.discriminator, fake)",
            },
        ],
        "The step of the discriminator has a loss of your own. The game brings one, `game.d_loss`, and it may be "
        "another.": {_D_LOSS: "d_loss = discriminator_loss.reference(game.discriminator, real, fake)"},
        "The step of the generator has a loss of your own. The game brings one, `game.g_loss`, and it may be "
        "another.": {_G_LOSS: "g_loss = generator_loss.reference(game.discriminator, fake)"},
        "New optimizers are made in every call, and they forget what they knew. Use `game.d_optimizer` and "
        "`game.g_optimizer`.": [
            {
                _MADE: f"d = {made.format('discriminator')}; g = {made.format('generator')}\n    {_MADE}",
                "game.d_optimizer": "d",
                "game.g_optimizer": "g",
            }
            for made in (
                *(f"torch.optim.Adam(game.{{}}.parameters(), lr={lr})" for lr in (1e-3, 2e-4)),
                "torch.optim.Adam(game.{}.parameters(), lr=2e-4, betas=(0.5, 0.999))",
                *(f"torch.optim.SGD(game.{{}}.parameters(), lr={lr})" for lr in (0.1, 0.01)),
            )
        ],
        "The two losses come back in the wrong order. Return `d_loss, g_loss`.": _returning(
            "return g_loss, d_loss"
        ),
        "d_loss comes back twice. Return `d_loss, g_loss`.": _returning("return d_loss, d_loss"),
        "g_loss comes back twice. Return `d_loss, g_loss`.": _returning("return g_loss, g_loss"),
        "The losses are computed anew after the steps. Return those that the steps were made with.": [
            _returning(f"{_D_LOSS}\n    return d_loss, g_loss"),
            _returning(f"{_D_LOSS}\n    {_G_LOSS}\n    return d_loss, g_loss"),
            _returning(f"{_MADE}\n    {_D_LOSS}\n    {_G_LOSS}\n    return d_loss, g_loss"),
            _returning(f"{_MADE}\n    {_G_LOSS}\n    return d_loss, g_loss"),
        ],
        "One number comes back. Return both losses, `d_loss, g_loss`.": _returning("return d_loss + g_loss"),
        "Nothing comes back. End with `return d_loss, g_loss`.": _returning("print(d_loss, g_loss)"),
        "Three things come back. Return the two losses, `d_loss, g_loss`.": _returning(
            "return fake, d_loss, g_loss"
        ),
        "A dict comes back. Return the two losses as a pair, `d_loss, g_loss`.": _returning(
            "return {'d_loss': d_loss, 'g_loss': g_loss}"
        ),
        "d_loss is a Python number here, which has no `backward()`. Keep the tensor for `backward()`, and take "
        "`.item()` only in the `return`.": [
            {_D_LOSS: f"{_D_LOSS}.item()"},
            {_D_LOSS: f"{_D_LOSS}.item()", _G_LOSS: f"{_G_LOSS}.item()"},
        ],
        "Nothing is recorded, so there is nothing to go back through. Leave out `torch.no_grad()` and `.detach()` "
        "around the losses.": {_D_LOSS: f"{_D_LOSS}.detach()"},
        "`game.d_loss` takes three things: the discriminator itself, which it calls, then real and fake.": [
            {_D_LOSS: "d_loss = game.d_loss(real, fake)"},
            {_D_LOSS: "d_loss = game.d_loss(game.discriminator(real), game.discriminator(fake))"},
        ],
        "`game.g_loss` takes two things: the discriminator itself, which it calls, and the fakes.": [
            {_G_LOSS: "g_loss = game.g_loss(fake)"},
            {_G_LOSS: "g_loss = game.g_loss(game.discriminator(fake))"},
        ],
        "The losses take the discriminator first, then the examples: `d_loss(discriminator, real, fake)` and "
        "`g_loss(discriminator, fake)`.": [
            {_D_LOSS: "d_loss = game.d_loss(real, fake, game.discriminator)"},
            {_G_LOSS: "g_loss = game.g_loss(fake, game.discriminator)"},
        ],
        "The networks, optimizers and losses belong to the game: write `game.generator`, `game.d_loss`, and so "
        "on.": {"game.": ""},
        "`game.d_loss` calls the discriminator itself. Give it real and fake, without computing their logits "
        "first.": [
            {
                _D_LOSS: "d_loss = game.d_loss(game.discriminator, game.discriminator(real), game.discriminator(fake))"
            },
        ],
        "`game.g_loss` calls the discriminator itself. Give it the fakes, without computing their logits first.": {
            _G_LOSS: "g_loss = game.g_loss(game.discriminator, game.discriminator(fake))"
        },
        "`game.generator` is the network. The fakes are what it makes of z: `game.generator(z)`.": {
            _MADE: "fake = game.generator"
        },
        "The game is no dict. Its parts are attributes: `game.generator`, `game.d_optimizer`.": {
            "game.generator": "game['generator']"
        },
    }
)
_SWAPPED = "The two losses come back in the wrong order."
gan_step.mistakes(
    {
        f"Two slips. {other} {_SWAPPED}": edits | _returning("return g_loss, d_loss")
        for other, edits in [*list(_OF_D.items())[:2], *list(_OF_G.items())[:2], (_CUT, _OF_G[_CUT])]
    }
)


# Section 4: the modes that are found --------------------------------------------------------------------------


def _ring(count, radius=2.0, dtype=torch.float32):
    angle = 2 * math.pi * torch.arange(count, dtype=dtype) / count
    return radius * torch.stack([angle.cos(), angle.sin()], dim=1)


def _around(centres, chosen, spread, seed):
    """Points around those of the centres that are chosen, by their numbers."""
    chosen = torch.tensor(chosen)
    return centres[chosen] + spread * normal(len(chosen), centres.shape[1], seed=seed, dtype=centres.dtype)


_THREE_IN_SPACE = torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.5, 0.0], [-1.0, 2.0, 0.0], [0.0, -2.0, -1.0]])
_SQUARE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 3.0]])


@lesson.exercise(
    cases={
        "three points and two centres": (
            torch.tensor([[0.0, 1.0], [1.0, 0.0], [9.0, 0.0]]),
            torch.tensor([[0.0, 0.0], [4.0, 0.0]]),
            2.0,
        ),
        "no good point": (
            torch.tensor([[1.0, 1.0], [3.0, 2.0], [-2.0, 5.0], [6.0, -1.0]]),
            torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]),
            0.5,
        ),
        "all on one centre": (
            torch.tensor([[4.1, 0.0], [4.0, 0.2], [3.8, 0.1], [4.3, -0.1], [4.0, -0.2]]),
            torch.tensor([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0]]),
            0.5,
        ),
        "a radius that reaches several centres": (
            torch.tensor([[0.1, 0.2], [0.3, 0.1], [0.8, 0.2], [0.2, -0.3], [6.0, 3.0], [0.3, 5.5]]),
            _SQUARE,
            1.6,
        ),
        "a single centre": (torch.tensor([[0.1], [1.2], [0.3], [-0.5], [-3.0]]), torch.tensor([[0.5]]), 0.9),
        "points on a line": (
            torch.tensor([[0.2], [1.1], [1.3], [2.9], [3.0], [7.0], [0.6]]),
            torch.tensor([[0.0], [1.0], [3.0], [5.0]]),
            0.25,
        ),
        "points in space": (
            _around(_THREE_IN_SPACE, [0, 1, 1, 3, 3, 3, 0, 1, 2, 2], 0.35, seed=3),
            _THREE_IN_SPACE,
            0.6,
        ),
        "as many points as centres": (
            _around(_ring(6), [1, 1, 0, 4, 3, 1], 0.3, seed=5),
            _ring(6),
            0.4,
        ),
        "eight on a ring": (
            _around(_ring(8), [0, 0, 1, 1, 1, 2, 4, 4, 5, 5, 5, 5, 7, 7], 0.3, seed=8),
            _ring(8),
            0.35,
        ),
        "float64 numbers": (
            _around(_ring(5, 3.0, torch.float64), [0, 2, 2, 3, 3, 3, 2, 4, 3], 1.1, seed=13),
            _ring(5, 3.0, torch.float64),
            1.25,
        ),
    },
    hints=[
        "`torch.cdist(points, centres)` holds all distances, (N, K). What does its minimum along axis 1 say about a "
        "point?",
        "`distances, nearest = torch.cdist(points, centres).min(dim=1)` gives two numbers for each point; "
        "`good = distances <= radius` is a mask (N,).",
        "`nearest[good]` are the centres of the good points, with repetitions: count those that differ with "
        "`.unique().numel()`. The fraction is `good.float().mean()`.",
    ],
    returns=("found", "good"),
)
def mode_coverage(points, centres, radius):
    """Return how many of the centres are found, and the fraction of the points that are good.

    A point of `points` (N, D) is good if it lies within `radius` of the centre nearest to it; a centre of `centres`
    (K, D) is found if it is the nearest one of at least one good point.
    """
    distances, nearest = torch.cdist(points, centres).min(dim=1)
    good = distances <= radius
    return nearest[good].unique().numel(), good.float().mean()


def _coverage(
    distances=torch.cdist,
    within=lambda d, radius: d <= radius,
    found=lambda d, nearest, good, radius: nearest[good].unique().numel(),
    fraction=lambda d, nearest, good, radius: good.float().mean(),
    out=lambda found, fraction: (found, fraction),
):
    """The solution with what can go wrong as arguments; d is (N, K)."""

    def attempt(points, centres, radius):
        d = distances(points, centres)
        nearest, good = d.argmin(dim=1), within(d.amin(dim=1), radius)
        return out(found(d, nearest, good, radius), fraction(d, nearest, good, radius))

    return attempt


def _of_each(d, nearest, good):
    """How many good points each centre has, (K,)."""
    return nearest[good].bincount(minlength=d.shape[1])


_GOOD = {
    "Squared distances are compared with the radius itself. Take their root, or compare them with "
    "`radius**2`.": {"distances": lambda points, centres: torch.cdist(points, centres) ** 2},
    "Distances are compared with the square of the radius. Compare them with `radius`.": {
        "within": lambda d, radius: d <= radius**2
    },
    "The distance here is the sum of the absolute differences, |Δx| + |Δy|. Take the Euclidean one, the root of the "
    "sum of squares: `torch.cdist(points, centres)`.": {
        "distances": lambda points, centres: torch.cdist(points, centres, p=1)
    },
    "The distance here is the largest of the differences along the axes. Take the Euclidean one, the root of the sum "
    "of squares: `torch.cdist(points, centres)`.": {
        "distances": lambda points, centres: torch.cdist(points, centres, p=torch.inf)
    },
    "Only the first coordinate enters the distance. Take all D of them: `torch.cdist(points, centres)`.": {
        "distances": lambda points, centres: torch.cdist(points[:, :1], centres[:, :1])
    },
    "The comparison is the wrong way round. A good point lies within the radius: `distances <= radius`.": {
        "within": lambda d, radius: d > radius
    },
    "Every point counts as good here, however far it is from a centre. Compare the distance to the nearest one with "
    "`radius`.": {"within": lambda d, radius: d < torch.inf},
}
_FOUND = {
    "A centre counts as found even when none of its points is good. Count the centres of good points only: "
    "`nearest[good].unique().numel()`.": {"found": lambda d, nearest, good, radius: nearest.unique().numel()},
    "A centre counts as found when any point lies within the radius. It has to be the nearest one of that point as "
    "well: count among `nearest[good]`.": {
        "found": lambda d, nearest, good, radius: (d <= radius).any(dim=0).sum()
    },
    "The first result is a fraction of the centres. Return their number, without the division.": {
        "found": lambda d, nearest, good, radius: nearest[good].unique().numel() / d.shape[1]
    },
    "The first result counts the good points. Count different centres: `nearest[good].unique().numel()`, or a `set` of "
    "integers, not of tensors.": {"found": lambda d, nearest, good, radius: good.sum()},
    "The first result counts the centres that are not found.": {
        "found": lambda d, nearest, good, radius: d.shape[1] - nearest[good].unique().numel()
    },
    "The first result counts pairs of a point and a centre within the radius. Count the centres that occur in "
    "`nearest[good]`.": {"found": lambda d, nearest, good, radius: (d <= radius).sum()},
    "The first result holds the centres that are found. Return how many there are: `.numel()` of their numbers, or the "
    "`sum()` of a mask.": {"found": lambda d, nearest, good, radius: nearest[good].unique()},
    "Points that are not good are given a number of their own here, such as 0 or −1, and it counts as a centre. Leave "
    "them out with the mask: `nearest[good]`.": {
        "found": lambda d, nearest, good, radius: (nearest * good).unique().numel()
    },
}
_FRACTION = {
    "The second result is the number of good points. Divide it by N, the number of all points.": {
        "fraction": lambda d, nearest, good, radius: good.sum()
    },
    "The second result is the fraction of the points that are not good.": {
        "fraction": lambda d, nearest, good, radius: 1 - good.float().mean()
    },
    "The good points are divided by the number of centres, K. Divide by that of the points, N.": {
        "fraction": lambda d, nearest, good, radius: good.sum() / d.shape[1]
    },
    "The second result is the fraction of the centres found. Return that of the good points.": {
        "fraction": lambda d, nearest, good, radius: nearest[good].unique().numel() / d.shape[1]
    },
    "The second result counts pairs of a point and a centre. Take the minimum over the centres first, then the mean "
    "over the points.": {"fraction": lambda d, nearest, good, radius: (d <= radius).float().mean()},
    "The second result is the mean distance to the nearest centre. Return the fraction of points where it is at most "
    "`radius`.": {"fraction": lambda d, nearest, good, radius: d.amin(dim=1).mean()},
    "The second result is a percentage. A fraction lies between 0 and 1: leave out the factor 100.": {
        "fraction": lambda d, nearest, good, radius: 100 * good.float().mean()
    },
    "The second result is the fraction of the points at one centre, the one with most. Return that of all good "
    "points.": {"fraction": lambda d, nearest, good, radius: _of_each(d, nearest, good).max() / d.shape[0]},
    "`//` rounds the fraction down to a whole number. Divide with `/`.": {
        "fraction": lambda d, nearest, good, radius: good.sum() // d.shape[0]
    },
    "The second result is the mask of the good points. Return the fraction of them, its mean.": {
        "fraction": lambda d, nearest, good, radius: good
    },
}


def _points_of_each(d, nearest, good, radius):
    return _of_each(d, nearest, good)


def _one_by_one(points, centres, radius):
    good = (points - centres).norm(dim=1) <= radius
    return good.sum(), good.float().mean()


mode_coverage.slips(_coverage, _GOOD, _FOUND, _FRACTION)
mode_coverage.mistakes(
    {
        "The two results are in the wrong order: first the number of centres, then the fraction of points.": _coverage(
            out=lambda found, fraction: (fraction, found)
        ),
        "Only one of the two results came back. Return the number of centres and the fraction of points: `return "
        "found, fraction`.": [
            _coverage(out=lambda found, fraction: found),
            _coverage(out=lambda found, fraction: fraction),
        ],
        "`min(dim=0)` looks for the nearest point of each centre. The nearest centre of each point is the minimum over "
        "the columns, `dim=1`.": [
            {"dim=1": "dim=0"},
            _coverage(distances=lambda points, centres: torch.cdist(centres, points)),
            lambda points, centres, radius: (
                (torch.cdist(points, centres).amin(dim=0) <= radius).sum(),
                (torch.cdist(points, centres).amin(dim=0) <= radius).float().mean(),
            ),
        ],
        next(one for one in _FOUND if one.startswith("The first result holds")): _coverage(
            found=lambda d, nearest, good, radius: _of_each(d, nearest, good) > 0
        ),
        next(one for one in _FOUND if one.startswith("Points that are not good")): [
            _coverage(found=lambda d, nearest, good, radius: torch.where(good, nearest, -1).unique().numel()),
            _coverage(
                found=lambda d, nearest, good, radius: torch.where(good, nearest, len(d[0])).unique().numel()
            ),
        ],
        next(one for one in _FRACTION if one.startswith("The second result counts pairs")): _coverage(
            fraction=lambda d, nearest, good, radius: (d <= radius).sum() / d.shape[0]
        ),
        "Each centre takes all points within the radius, so a point can count for several centres. Find the nearest "
        "centre of each point first.": _coverage(
            found=lambda d, nearest, good, radius: (d <= radius).any(dim=0).sum(),
            fraction=lambda d, nearest, good, radius: (d <= radius).sum() / d.shape[0],
        ),
        "The mean goes over all N·K pairs. A point is good if its nearest centre is: take the minimum over dim 1 "
        "first.": _coverage(
            found=lambda d, nearest, good, radius: (d <= radius).any(dim=0).sum(),
            fraction=lambda d, nearest, good, radius: (d <= radius).float().mean(),
        ),
        "`any(dim=1)` tells of each point, `any(dim=0)` of each centre: they have changed places. Besides, a centre "
        "counts only if it is the nearest one of a good point.": _coverage(
            found=lambda d, nearest, good, radius: (d <= radius).any(dim=1).sum(),
            fraction=lambda d, nearest, good, radius: (d <= radius).any(dim=0).float().mean(),
        ),
        "`min(dim=1)` gives two things, values and indices. Take them apart: `distances, nearest = ….min(dim=1)`.": [
            {
                "distances, nearest =": "distances =",
                "return nearest[good].unique().numel()": "return good.sum()",
            },
        ],
        "`bincount` gives the number of good points of every centre. Count those that are above 0, or use "
        "`nearest[good].unique().numel()`.": [
            _coverage(found=lambda d, nearest, good, radius: nearest[good].bincount()),
            _coverage(found=_points_of_each),
        ],
        "The first result is the highest number of a centre found, plus 1, but centres below it may be missing. "
        "Count different ones: `nearest[good].unique().numel()`.": [
            _coverage(found=lambda d, nearest, good, radius: len(nearest[good].bincount())),
            _coverage(found=lambda d, nearest, good, radius: nearest[good].max().item() + 1),
        ],
        "The first result adds up the numbers of the centres. Count different ones: "
        "`nearest[good].unique().numel()`.": [
            _coverage(found=lambda d, nearest, good, radius: nearest[good].sum()),
            _coverage(found=lambda d, nearest, good, radius: nearest[good].unique().sum()),
        ],
        "The good points are divided by the number of centres found. Divide by N, the number of all points.": [
            _coverage(fraction=lambda d, nearest, good, radius: good.sum() / nearest[good].unique().numel()),
            _coverage(
                fraction=lambda d, nearest, good, radius: good.sum() / max(nearest[good].unique().numel(), 1)
            ),
        ],
        "A mask of True and False has no mean in PyTorch: make numbers of it first, `good.float().mean()`.": {
            ".float()": ""
        },
        "Point i is compared with centre i alone. Compare each point with all centres: `torch.cdist(points, centres)`, "
        "(N, K).": _one_by_one,
    }
)
mode_coverage.pairs_of_slips(_coverage, dict(list(_FOUND.items())[:4]), dict(list(_FRACTION.items())[:4]))


# Section 5: the game θ·ψ --------------------------------------------------------------------------------------


def _two_numbers(attempt, theta, psi, step):
    result = attempt(theta, psi, step)
    both_in_one = isinstance(result, Tensor | np.ndarray) and result.ndim
    return tuple(result) if both_in_one else result


@lesson.exercise(
    cases={
        "from (1, 0), a step of 1": (1.0, 0.0, 1.0),
        "from (0, 1), a step of 1": (0.0, 1.0, 1.0),
        "from (1, 1), a step of 0.1": (1.0, 1.0, 0.1),
        "from (2, −3)": (2.0, -3.0, 0.5),
        "from (−1.5, −0.5)": (-1.5, -0.5, 0.2),
        "a step larger than 1": (-0.5, 1.5, 3.0),
        "a step of 0": (0.7, 0.4, 0.0),
        "tensors of one number": (torch.tensor(3.0), torch.tensor(2.0), 0.25),
        "float64 tensors": (
            torch.tensor(-1.2, dtype=torch.float64),
            torch.tensor(0.8, dtype=torch.float64),
            0.75,
        ),
    },
    hints=[
        "The derivative of θ·ψ with respect to θ is ψ, and with respect to ψ it is θ. Which of the two players "
        "subtracts its own, and which adds it?",
        "Simultaneous: both derivatives are those at the old point. Keep the old θ until ψ has moved as well.",
        "θ becomes `theta - step * psi`. Write ψ the same way, with a plus and with `theta`, and return both in one "
        "line.",
    ],
    observe=_two_numbers,
    returns=("θ", "ψ"),
)
def bilinear_step(theta, psi, step):
    """Return θ and ψ after one simultaneous step in the game V = θ·ψ.

    θ descends V and ψ ascends it, each by `step` times its derivative at the old point.
    """
    return theta - step * psi, psi + step * theta


def _bilinear(
    signs=(-1, 1),
    order="both",
    slopes=lambda theta, psi: (psi, theta),
    scale=lambda step: step,
    out=lambda theta, psi: (theta, psi),
):
    """The step with what can go wrong as arguments."""

    def attempt(theta, psi, step):
        size = scale(step)
        at = theta, psi
        if order == "look ahead":
            at = theta - step * psi, psi + step * theta
        new_theta = theta + signs[0] * size * slopes(*at)[0]
        if order == "θ first":
            at = new_theta, psi
        new_psi = psi + signs[1] * size * slopes(*at)[1]
        if order == "ψ first":
            new_theta = theta + signs[0] * size * slopes(theta, new_psi)[0]
        return out(new_theta, new_psi)

    return attempt


_ORDERS = {
    "ψ is moved with the new θ here. In a simultaneous step both use the old point: compute both before you assign "
    "either.": {"order": "θ first"},
    "θ is moved with the new ψ here. In a simultaneous step both use the old point: compute both before you assign "
    "either.": {"order": "ψ first"},
    "The derivatives are taken at a point that lies one step ahead. A simultaneous step takes them at the old "
    "one.": {"order": "look ahead"},
}
_SIGNS = {
    "Both players descend here. ψ ascends V: it adds `step` times its derivative.": {"signs": (-1, -1)},
    "Both players ascend here. θ descends V: it subtracts `step` times its derivative.": {"signs": (1, 1)},
    "The signs are exchanged: θ descends V, so it subtracts, and ψ ascends it, so it adds.": {
        "signs": (1, -1)
    },
}
_SLOPES = {
    "Each player moves along its own value. The derivative of θ·ψ with respect to θ is ψ, and with respect to ψ it is "
    "θ.": {"slopes": lambda theta, psi: (theta, psi)},
    "V itself is taken for the derivative. The derivative of θ·ψ with respect to θ is ψ, and with respect to ψ it is "
    "θ.": {"slopes": lambda theta, psi: (theta * psi, theta * psi)},
    "Both players move along ψ, which is the derivative with respect to θ. ψ moves along its own, which is θ.": {
        "slopes": lambda theta, psi: (psi, psi)
    },
    "Both players move along θ, which is the derivative with respect to ψ. θ moves along its own, which is ψ.": {
        "slopes": lambda theta, psi: (theta, theta)
    },
}
_SCALES = {
    "`step` is missing: each derivative is multiplied by it.": {"scale": lambda step: 1},
    "Each player moves by half of `step` times its derivative. Leave out the ½.": {
        "scale": lambda step: step / 2
    },
}


bilinear_step.slips(_bilinear, _ORDERS, _SIGNS, _SLOPES, _SCALES)


def _aliased(theta, psi, step):
    old = theta
    theta -= step * psi
    psi += step * old
    return theta, psi


bilinear_step.mistakes(
    {
        "`-=` changes the tensor itself, so the old θ is gone, even under another name such as `old`. Make a new one: "
        "`theta - step * psi`.": _aliased,
        "The two results are in the wrong order: return θ, then ψ.": _bilinear(
            out=lambda theta, psi: (psi, theta)
        ),
        "Only the new θ came back. Return both: `return theta, psi`.": _bilinear(
            out=lambda theta, psi: theta
        ),
        "Only the new ψ came back. Return both: `return theta, psi`.": _bilinear(out=lambda theta, psi: psi),
        "ψ has not moved: it adds `step * theta`.": {"psi + step * theta": "psi"},
        "θ has not moved: it subtracts `step * psi`.": {"theta - step * psi": "theta"},
        "Neither θ nor ψ has moved. Return the new numbers, `theta - step * psi` and the like for ψ.": (
            lambda theta, psi, step: (theta, psi)
        ),
        "These are the changes alone. Add them to the old θ and ψ.": lambda theta, psi, step: (
            -step * psi,
            step * theta,
        ),
        "These are the derivatives alone. Subtract `step` times the first from θ, and add `step` times the second to "
        "ψ.": lambda theta, psi, step: (psi, theta),
        "This is the distance from (0, 0) after the step. Return θ and ψ themselves.": _bilinear(
            out=lambda theta, psi: (theta**2 + psi**2) ** 0.5
        ),
        "This is V at the new point. Return θ and ψ themselves.": _bilinear(
            out=lambda theta, psi: theta * psi
        ),
        "The derivative is divided by `step`. Multiply by it.": lambda theta, psi, step: (
            theta - psi / step,
            psi + theta / step,
        ),
        "In `(theta - step) * psi` the brackets take the difference first. Multiply first: `theta - step * psi`.": (
            lambda theta, psi, step: ((theta - step) * psi, (psi + step) * theta)
        ),
    }
)
bilinear_step.pairs_of_slips(_bilinear, _SIGNS, dict(list(_ORDERS.items())[:2]))
bilinear_step.pairs_of_slips(_bilinear, _SIGNS, dict(list(_SLOPES.items())[:2]))


@bilinear_step.remark(
    "A remark: it takes one starting point only. Arithmetic on `theta` and `psi` as they come, without `float` or "
    "`backward`, serves tensors of many starting points as well."
)
def _(attempt):
    theta, psi = torch.tensor([1.0, 0.0, -2.0]), torch.tensor([0.5, 1.0, 3.0])
    try:
        moved = _two_numbers(attempt, theta.clone(), psi.clone(), 0.5)
        theirs = torch.stack([torch.as_tensor(one) for one in moved]).float()
        return not torch.allclose(theirs, torch.stack([theta - psi / 2, psi + theta / 2]))
    except Exception:  # an answer for single numbers
        return True


# Section 5: a penalty on the slope ----------------------------------------------------------------------------


class _Formula(nn.Module):
    """A discriminator given by a formula in x and its weights w, shown as text."""

    def __init__(self, text, weights, formula):
        super().__init__()
        self.text, self.w, self.formula = text, nn.Parameter(torch.tensor(weights)), formula

    def forward(self, x):
        return self.formula(x, self.w)

    def __repr__(self):
        return self.text


def _discriminator(*layers, seed, dtype=torch.float32):
    """These layers in a row, their weights fixed."""
    network = nn.Sequential(*layers)
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(0.7 * normal(*parameter.shape, seed=seed + number))
    return network.to(dtype)


def _penalty_and_its_gradient(attempt, discriminator, real, gamma):
    handed = real.clone()
    penalty = attempt(discriminator, handed, gamma)
    parameters = list(discriminator.parameters())
    left = "as it was" if torch.equal(handed, real) else "has other values"
    seen = {
        "penalty": penalty,
        "`real` after the call": "requires a gradient" if handed.requires_grad else left,
        "weights with a `.grad` after the call": sum(weight.grad is not None for weight in parameters),
    }
    if not isinstance(penalty, Tensor):
        return {**seen, "its gradient": "none, it is not a tensor"}
    if not penalty.requires_grad:
        return {**seen, "its gradient": "none, nothing was recorded"}
    gradient = torch.autograd.grad(penalty.sum(), parameters, allow_unused=True, materialize_grads=True)
    return {**seen, "its gradient": list(gradient)}


@lesson.exercise(
    cases={
        "D(x) = 3 x₁ + 4 x₂": (
            _Formula("D(x) = w·x, w = (3, 4)", [3.0, 4.0], lambda x, w: (x @ w)[:, None]),
            torch.tensor([[1.0, 0.0], [2.0, -1.0]]),
            2.0,
        ),
        "D(x) = x² at 1 and 3": (
            _Formula("D(x) = w x², w = 1", [1.0], lambda x, w: w * x**2),
            torch.tensor([[1.0], [3.0]]),
            1.0,
        ),
        "one real point": (
            _discriminator(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), seed=10),
            normal(1, 3, seed=1),
            10.0,
        ),
        "five points": (
            _discriminator(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1), seed=20),
            normal(5, 2, seed=2),
            0.5,
        ),
        "as many points as numbers in each": (
            _discriminator(nn.Linear(4, 3), nn.Softplus(), nn.Linear(3, 1), seed=30),
            normal(4, 4, seed=3),
            3.0,
        ),
        "images": (
            _discriminator(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 1), seed=40),
            0.5 * normal(3, 1, 4, 4, seed=4),
            0.25,
        ),
        "a convolution on images of two channels": (
            _discriminator(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 1), seed=50),
            normal(2, 2, 3, 3, seed=5),
            4.0,
        ),
        "sequences": (
            _discriminator(
                nn.Linear(2, 4), nn.Softplus(), nn.Flatten(), nn.Linear(12, 1), seed=60, dtype=torch.float64
            ),
            normal(4, 3, 2, seed=6, dtype=torch.float64),
            0.125,
        ),
    },
    hints=[
        "`torch.autograd.grad(discriminator(x).sum(), x)` gives the gradient at every point at once. What does x need "
        "for that, and why may the logits be added up?",
        "`x = real.detach().requires_grad_()`. The weights have to learn from the penalty, so the gradient needs a "
        "graph of its own: `create_graph=True`. What comes back is a tuple of one.",
        "With `(slope,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)`: "
        "`slope.square().flatten(1).sum(dim=1)` is |∇D|² for each example. Average it, times γ/2.",
    ],
    observe=_penalty_and_its_gradient,
)
def r1_penalty(discriminator, real, gamma):
    """Return γ/2 times the mean over the batch of |∇ₓ a(x)|² at the real points, one number that can be differentiated.

    `discriminator` maps x (N, …) to logits a (N, 1), each from its own x alone. The gradient is that of the logit with
    respect to all numbers of x. `real` itself stays as it was.
    """
    x = real.detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return gamma / 2 * slope.square().flatten(1).sum(dim=1).mean()


def _recorded(real):
    return real.detach().clone().requires_grad_()


def _squared(slope):
    return slope.square().flatten(1).sum(dim=1)


def _r1(
    answer=lambda logits: logits.sum(),
    size=_squared,
    over=torch.mean,
    factor=lambda gamma: gamma / 2,
    graph=True,
    out=lambda penalty: penalty,
    recorded=_recorded,
):
    """The penalty with what can go wrong as arguments."""

    def attempt(discriminator, real, gamma):
        x = recorded(real)
        (slope,) = torch.autograd.grad(answer(discriminator(x)), x, create_graph=graph, retain_graph=True)
        return out(factor(gamma) * over(size(slope)))

    return attempt


_GRAPH = {
    "The penalty has the right value, but the weights get no gradient from it. Give `torch.autograd.grad` the option "
    "`create_graph=True` (`retain_graph` is not enough), and do not detach the result.": {"graph": False},
}
_NO_GRAPH = {
    "Besides, the weights get no gradient from it: give `torch.autograd.grad` the option `create_graph=True`.": {
        "graph": False
    }
}
_FACTORS = {
    "The factor is γ here. Take γ/2.": {"factor": lambda gamma: gamma},
    "γ is missing. Multiply by γ/2.": {"factor": lambda gamma: 0.5},
    "The factor γ/2 is missing.": {"factor": lambda gamma: 1.0},
    "The factor is γ²/2 here. Take γ/2.": {"factor": lambda gamma: gamma**2 / 2},
}
_SIZES = {
    "The mean goes over the numbers of x as well. |∇D|² is the sum over those; average over the batch alone.": {
        "size": lambda slope: slope.square()
    },
    "This is |∇D|, the length of the gradient. Square it before the mean.": {
        "size": lambda slope: slope.flatten(1).norm(dim=1)
    },
    "The gradients are averaged over the batch before they are squared, so they can cancel. Take |∇D|² of each "
    "example, then the mean.": {"size": lambda slope: _squared(slope.mean(dim=0, keepdim=True))},
    "The squares are added along axis 1 alone, and images have more axes. Flatten each example first: "
    "`.flatten(1).sum(dim=1)`.": {"size": lambda slope: slope.square().sum(dim=1)},
    "The squares are added along the last axis alone, and images have more axes. Flatten each example first: "
    "`.flatten(1).sum(dim=1)`.": {"size": lambda slope: slope.square().sum(dim=-1)},
    "The length is taken along axis 1 alone, and images have more axes; besides, it is not squared. Flatten first, "
    "then `.square().sum(dim=1)`.": {"size": lambda slope: slope.norm(dim=1)},
    "(|∇D| − 1)² pulls the slope to 1. This penalty pulls it to 0: take |∇D|², without the 1.": {
        "size": lambda slope: (slope.flatten(1).norm(dim=1) - 1) ** 2
    },
    "The numbers of the gradient are added before they are squared. Square each of them, then add.": {
        "size": lambda slope: slope.flatten(1).sum(dim=1).square()
    },
    "These are absolute values of the gradient's numbers, added up. Add their squares.": {
        "size": lambda slope: slope.flatten(1).abs().sum(dim=1)
    },
}
_OVER = {
    "The penalty is the sum over the batch here, so it grows with N. Take the mean over the examples.": {
        "over": torch.sum
    },
}
_LOGITS = {
    "The gradient of the mean logit is N times smaller than that of each. Start from the sum: "
    "`discriminator(x).sum()`.": {"answer": lambda logits: logits.mean()},
    "This is the gradient of the probability, after the sigmoid. Differentiate the logit: `discriminator(x).sum()`.": {
        "answer": lambda logits: logits.sigmoid().sum()
    },
    "This is the gradient of a loss, not of the logit. Differentiate `discriminator(x).sum()` itself.": {
        "answer": lambda logits: F.softplus(-logits).sum()
    },
}


def _slopes_of_weights(discriminator, real, gamma, size):
    slopes = torch.autograd.grad(
        size(discriminator(real)), list(discriminator.parameters()), create_graph=True
    )
    return gamma / 2 * sum(slope.square().sum() for slope in slopes)


def _backward_first(discriminator, real, gamma, x=None, graph=True, factor=0.5):
    x = _recorded(real) if x is None else x
    discriminator(x).sum().backward(create_graph=graph)
    return factor * gamma * _squared(x.grad).mean()


def _without_unpacking(after):
    def attempt(discriminator, real, gamma):
        x = _recorded(real)
        return gamma / 2 * after(torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)).mean()

    return attempt


r1_penalty.mistakes({told: {", create_graph=True": ""} for told in _GRAPH})
r1_penalty.mistakes(
    {
        next(one for one in _LOGITS if "of a loss" in one): [
            _r1(answer=lambda logits: F.softplus(logits).sum()),
            _r1(answer=lambda logits: F.softplus(-logits).mean()),
            _r1(answer=lambda logits: F.softplus(logits).mean()),
        ],
        next(one for one in _LOGITS if "probability" in one): _r1(
            answer=lambda logits: logits.sigmoid().mean()
        ),
    }
)
r1_penalty.slips(_r1, _GRAPH, _FACTORS, _SIZES, _OVER, _LOGITS)


def _on_the_callers(discriminator, real, gamma):
    real.requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gamma / 2 * _squared(slope).mean()


r1_penalty.mistakes(
    {
        next(iter(_GRAPH)): [
            _r1(out=lambda penalty: penalty.detach()),
            lambda discriminator, real, gamma: torch.tensor(_r1()(discriminator, real, gamma).item()),
        ],
        "A Python number came back, which cannot be differentiated. Return the tensor, without `item()` or "
        "`float`.": _r1(out=lambda penalty: penalty.item()),
        "`real.requires_grad_()` changes the caller's tensor. Work on one of your own: `x = "
        "real.detach().requires_grad_()`.": [
            _on_the_callers,
            lambda discriminator, real, gamma: _backward_first(
                discriminator, real, gamma, real.requires_grad_()
            ),
            lambda discriminator, real, gamma: _backward_first(
                discriminator, real, gamma, real.requires_grad_(), graph=False
            ),
        ],
        "`backward` leaves gradients of D in the `.grad` of the weights, and the next step would use them. "
        "`torch.autograd.grad` gives the one for x and leaves the weights alone.": _backward_first,
        "`backward` leaves gradients in the weights, and `x.grad` has no graph, so the penalty cannot be "
        "differentiated. Use `torch.autograd.grad(…, create_graph=True)`.": lambda discriminator, real, gamma: (
            _backward_first(discriminator, real, gamma, graph=False)
        ),
        "`real` does not require a gradient, so there is none with respect to it. Make a tensor that does: `x = "
        "real.detach().requires_grad_()`.": lambda discriminator, real, gamma: torch.autograd.grad(
            discriminator(real).sum(), real, create_graph=True
        )[0],
        "The logits have no graph: they were computed inside `torch.no_grad()`, or detached. The gradient needs the "
        "graph.": _r1(answer=lambda logits: logits.detach().sum()),
        "This is the square of the mean length. Square the length of each example, then take the mean.": _r1(
            size=lambda slope: slope.flatten(1).norm(dim=1).mean().square()
        ),
        "The logits were computed from `real`, not from the x that records. Apply the discriminator to the same x: "
        "`discriminator(x)`.": (
            lambda discriminator, real, gamma: torch.autograd.grad(
                discriminator(real).sum(), _recorded(real), create_graph=True
            )
        ),
        "`torch.autograd.grad` gives a tuple, even of one tensor. Unpack it: `(slope,) = …`, or take `[0]`.": [
            _without_unpacking(lambda slope: slope.square()),
            _without_unpacking(lambda slope: slope.pow(2)),
            _without_unpacking(lambda slope: slope**2),
            _without_unpacking(lambda slope: slope.flatten(1)),
            _without_unpacking(lambda slope: slope.norm()),
            _without_unpacking(lambda slope: slope.view(2, -1)),
            _without_unpacking(lambda slope: slope.reshape(2, -1)),
        ],
        "The logits are a tensor (N, 1), and a gradient starts from one number. As each depends on its own x alone, "
        "take their sum.": lambda discriminator, real, gamma: _r1(answer=lambda logits: logits)(
            discriminator, real, gamma
        ),
        "This is the penalty of each example, (N,). Take the mean over the batch.": _r1(
            over=lambda size: size
        ),
        "The axes are written for images, 1 to 3, but x may have any number of them. Flatten each example: "
        "`.flatten(1).sum(dim=1)`.": _r1(size=lambda slope: slope.square().sum(dim=(1, 2, 3))),
        "This is the gradient with respect to the weights. Take it with respect to x: `torch.autograd.grad(…, x, "
        "…)`.": [
            lambda discriminator, real, gamma: _slopes_of_weights(discriminator, real, gamma, torch.sum),
            lambda discriminator, real, gamma: _slopes_of_weights(discriminator, real, gamma, torch.mean),
        ],
        "This is weight decay, the squares of the weights added up. Take those of D's gradient with respect to x.": (
            lambda discriminator, real, gamma: (
                gamma / 2 * sum(weight.square().sum() for weight in discriminator.parameters())
            )
        ),
        "These are the logits squared. Take those of their gradient with respect to "
        "x.": lambda discriminator, real, gamma: gamma / 2 * discriminator(real).square().mean(),
        "This is the length of the gradient over the whole batch. Take |∇D|² of each example, then the mean.": _r1(
            size=lambda slope: slope.norm()
        ),
        "The numbers of the gradient are added and averaged before they are squared. Square each of them, add those of "
        "each example, then take the mean.": _r1(
            size=lambda slope: slope.flatten(1).sum(dim=1).mean().square()
        ),
        "This is the gradient of D². The square belongs outside: take the gradient of D, `discriminator(x).sum()`, and "
        "square that.": [
            _r1(answer=lambda logits: logits.square().sum()),
            _r1(answer=lambda logits: logits.square().sum(), size=lambda slope: slope.flatten(1).sum(dim=1)),
        ],
        "Two slips. The factor is γ here, take γ/2. Besides, `backward` leaves gradients in the weights: "
        "`torch.autograd.grad` gives the one for x and leaves the weights alone.": functools.partial(
            _backward_first, factor=1
        ),
        "The gradient itself came back. Return γ/2 times the mean of its squared length.": [
            lambda discriminator, real, gamma: torch.autograd.grad(
                discriminator(x := _recorded(real)).sum(), x, create_graph=True
            )[0],
        ],
    }
)
r1_penalty.pairs_of_slips(_r1, dict(list(_FACTORS.items())[:3]), _NO_GRAPH, words="{} {}")
r1_penalty.pairs_of_slips(_r1, _SIZES, _NO_GRAPH, words="{} {}")
r1_penalty.pairs_of_slips(_r1, _LOGITS, _NO_GRAPH, words="{} {}")
r1_penalty.pairs_of_slips(_r1, _OVER, _NO_GRAPH, words="{} {}")
r1_penalty.pairs_of_slips(
    _r1,
    dict(list(_FACTORS.items())[:3]),
    {told: options for told, options in _SIZES.items() if told.startswith(("The mean", "This is", "(|∇D|"))},
)
r1_penalty.pairs_of_slips(_r1, dict(list(_FACTORS.items())[:3]), _OVER)
_ON_THE_CALLERS = {
    "Besides, `real.requires_grad_()` changes the caller's tensor: `x = real.detach().requires_grad_()`.": {
        "recorded": lambda real: real.requires_grad_()
    }
}
_BRIEF = {
    "The weights get no gradient from it: give `torch.autograd.grad` the option `create_graph=True`.": {
        "graph": False
    },
}
for _slips in (_FACTORS, _SIZES, _OVER, _LOGITS, _BRIEF):
    r1_penalty.pairs_of_slips(
        _r1, {told: options for told, options in _slips.items() if len(told) < 150}, _ON_THE_CALLERS
    )


# Section 7: the distance of two clouds ------------------------------------------------------------------------


def _correlated(count, features, seed, shift=0.0, dtype=torch.float32):
    mixed = torch.eye(features, dtype=dtype) + 0.6 * normal(features, features, seed=seed + 100, dtype=dtype)
    return normal(count, features, seed=seed, dtype=dtype) @ mixed + shift * torch.arange(
        1, features + 1, dtype=dtype
    )


_ON_PAPER = torch.tensor([[-1.0, 1.0], [0.0, -2.0], [1.0, 1.0]])
_CLOUD = _correlated(7, 3, seed=3)
# both have rank 2; the second is narrow, so that what rounding leaves under the root hardly counts, unless it is nan
_FEW = _correlated(3, 8, seed=202), 1e-4 * _correlated(3, 8, seed=252) + torch.linspace(-1, 2, 8)
_LONG = torch.tensor([[3.0, 0.4], [-3.0, -0.5], [1.0, -0.6], [-1.0, 0.5], [2.0, 0.3], [-2.0, -0.1]])


def _of_finite_numbers(name):
    """A function of `torch.linalg` that raises where a matrix holds nan or inf, which can end the whole process."""
    function = getattr(torch.linalg, name)

    def checked(*matrices, **options):
        for matrix in (*matrices, *options.values()):
            if isinstance(matrix, Tensor) and not matrix.isfinite().all():
                raise torch.linalg.LinAlgError(f"linalg.{name}: the matrix holds nan or inf.")
        return function(*matrices, **options)

    return checked


_CHECKED = {name: _of_finite_numbers(name) for name in ("eig", "eigvals")}


def _distance_or_words(attempt, f, g):
    """The distance; the exact one where an attempt is as near to it as single precision allows."""
    with mock.patch.multiple(torch.linalg, **_CHECKED):
        given = attempt(f, g)
    if isinstance(given, complex | np.complexfloating) or (isinstance(given, Tensor) and given.is_complex()):
        return "a complex number"
    right = frechet_distance.reference(f, g)
    single = isinstance(given, float | np.floating) or (isinstance(given, Tensor) and given.ndim == 0)
    near = single and abs(float(given) - right.item()) <= 1e-3 * right.item()
    return right if near else given


@lesson.exercise(
    cases={
        "features without correlation": (_ON_PAPER, 2 * _ON_PAPER + torch.tensor([3.0, 0.0])),
        "a shifted cloud": (_CLOUD, _CLOUD + torch.tensor([0.5, -1.0, 2.0])),
        "a cloud turned by 45 degrees": (_LONG, _LONG @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) / 2**0.5),
        "a cloud three times as large": (_CLOUD, 3 * _CLOUD),
        "two features": (_correlated(9, 2, seed=20, shift=0.4), _correlated(6, 2, seed=21)),
        "more points in the second cloud": (
            _correlated(6, 3, seed=30),
            _correlated(11, 3, seed=31, shift=-0.3),
        ),
        "as many points in both": (_correlated(10, 4, seed=40), _correlated(10, 4, seed=41, shift=0.2)),
        "eight features": (_correlated(40, 8, seed=50, shift=0.1), _correlated(30, 8, seed=51)),
        "float64 numbers": (
            _correlated(12, 5, seed=60, dtype=torch.float64),
            _correlated(9, 5, seed=61, shift=0.3, dtype=torch.float64),
        ),
        "fewer points than features": _FEW,
    },
    hints=[
        "`torch.cov` wants the variables as rows, and here they are columns: `torch.cov(f.T)` is (K, K).",
        "The trace of a matrix is the sum of its eigenvalues, and a square root has the roots of the eigenvalues. So "
        "add up the roots of those of `c1 @ c2`.",
        "`torch.linalg.eigvals(c1 @ c2).real.clamp(min=0).sqrt().sum()` is the trace of the root. Subtract it twice "
        "from the sum of |m₁ − m₂|² and both traces.",
    ],
    observe=_distance_or_words,
)
def frechet_distance(f, g):
    """Return |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½) of two clouds of features, (N, K) and (M, K).

    m is the mean over the rows and C the covariance (K, K), with N − 1 in the denominator; (·)^½ is the matrix square
    root.
    """
    f, g = f.double(), g.double()
    c1, c2 = torch.cov(f.T), torch.cov(g.T)
    root_trace = torch.linalg.eigvals(c1 @ c2).real.clamp(min=0).sqrt().sum()
    return (f.mean(dim=0) - g.mean(dim=0)).square().sum() + c1.trace() + c2.trace() - 2 * root_trace


def _covariance(x):
    return torch.cov(x.T)


def _roots(matrix):
    return torch.linalg.eigvals(matrix).real.clamp(min=0).sqrt()


def _root_trace(c1, c2):
    return _roots(c1 @ c2).sum()


def _symmetric_root(c):
    values, vectors = torch.linalg.eigh(c)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _matrix_root(c1, c2):
    half = _symmetric_root(c1)
    return half @ _symmetric_root(half @ c2 @ half) @ torch.linalg.pinv(half)


def _frechet(
    means=lambda f, g: (f.mean(dim=0) - g.mean(dim=0)).square().sum(),
    covariance=_covariance,
    root=_root_trace,
    traces=lambda c1, c2: c1.trace() + c2.trace(),
    whole=lambda means, traces, root: means + traces - 2 * root,
    number=Tensor.double,
):
    """The distance with what can go wrong as arguments."""

    def attempt(f, g):
        f, g = number(f), number(g)
        c1, c2 = covariance(f), covariance(g)
        return whole(means(f, g), traces(c1, c2), root(c1, c2))

    return attempt


_MEANS = {
    "The distance of the means is not squared: take the sum of the squares, without the root.": {
        "means": lambda f, g: (f.mean(dim=0) - g.mean(dim=0)).norm()
    },
    "The squares of the differences of the means are averaged. Add them up: `.square().sum()`.": {
        "means": lambda f, g: (f.mean(dim=0) - g.mean(dim=0)).square().mean()
    },
    "The means are missing: add |m₁ − m₂|².": {"means": lambda f, g: 0.0},
    "The differences of the means are added up before the square. Square each of them, then add.": {
        "means": lambda f, g: (f.mean(dim=0) - g.mean(dim=0)).sum().square()
    },
    "The mean goes over the features as well, so one number is left for a cloud. Average over the rows: "
    "`mean(dim=0)`.": {"means": lambda f, g: (f.mean() - g.mean()).square()},
    "The mean goes over the features of each point. Average over the rows, the points: `mean(dim=0)`.": {
        "means": lambda f, g: (f.mean(dim=1) - g.mean(dim=1)).square().sum()
    },
    "The distance of the means comes out as a vector (K,). Add up its squares: `.square().sum()`.": {
        "means": lambda f, g: (f.mean(dim=0) - g.mean(dim=0)).square()
    },
}
_COVARIANCES = {
    "The covariance has N in its denominator. Take N − 1, as `torch.cov` does.": {
        "covariance": lambda x: torch.cov(x.T, correction=0)
    },
    "The covariance is that of the points, (N, N), as `torch.cov` takes rows for variables. Transpose first: "
    "`torch.cov(f.T)`.": {"covariance": torch.cov},
    "The mean is not subtracted before the products are averaged. `torch.cov(f.T)` centres first.": {
        "covariance": lambda x: x.T @ x / (len(x) - 1)
    },
    "The covariance is not divided by N − 1: this is a sum over the points.": {
        "covariance": lambda x: torch.cov(x.T) * (len(x) - 1)
    },
    "These are correlations, with 1 on the diagonal. Take covariances: `torch.cov(f.T)`.": {
        "covariance": lambda x: torch.corrcoef(x.T)
    },
    "Only the diagonals of C₁ and C₂ count under this root. Multiply the whole matrices, `c1 @ c2`, and add up the "
    "roots of the eigenvalues.": {"covariance": lambda x: torch.diag(x.var(dim=0))},
    "Standard deviations stand in place of the covariance matrix. Take `torch.cov(f.T)`.": {
        "covariance": lambda x: torch.diag(x.std(dim=0))
    },
}
_ROOTS = {
    "`sqrt` takes the root of each entry, which is not the matrix root. For the trace of that, add up the roots of the "
    "eigenvalues of C₁C₂.": {"root": lambda c1, c2: (c1 @ c2).sqrt().trace()},
    "`c1 * c2` is the product entry by entry. The matrix product is `c1 @ c2`.": {
        "root": lambda c1, c2: _root_trace(c1 * c2, torch.eye(len(c1)).to(c1))
    },
    "The trace comes before the root here. Take the root of each eigenvalue of C₁C₂, then add.": {
        "root": lambda c1, c2: (c1 @ c2).trace().sqrt()
    },
    "This is the root of the product of the traces. Take the roots of the eigenvalues of `c1 @ c2`, then their "
    "sum.": {"root": lambda c1, c2: (c1.trace() * c2.trace()).sqrt()},
    "The roots are taken of C₁ and C₂, and then multiplied. That is the root of the product only if the matrices "
    "commute: multiply first.": {"root": lambda c1, c2: (_symmetric_root(c1) @ _symmetric_root(c2)).trace()},
    "The root is missing: this is the trace of C₁C₂. Take the roots of its eigenvalues, then add.": {
        "root": lambda c1, c2: (c1 @ c2).trace()
    },
    "C₁C₂ is not symmetric, and `eigh` and `eigvalsh` read only one triangle of it. Use `torch.linalg.eigvals`.": {
        "root": lambda c1, c2: torch.linalg.eigvalsh(c1 @ c2).clamp(min=0).sqrt().sum()
    },
    "Singular values stand in place of eigenvalues. They differ, as C₁C₂ is not symmetric: use "
    "`torch.linalg.eigvals`.": {"root": lambda c1, c2: torch.linalg.svdvals(c1 @ c2).sqrt().sum()},
    "The Cholesky factor is another kind of root. The matrix square root times itself is C₁C₂: add up the roots of its "
    "eigenvalues.": {"root": lambda c1, c2: torch.linalg.cholesky(c1 @ c2).trace()},
    "C₁ and C₂ are added under the root. Multiply them: `c1 @ c2`.": {
        "root": lambda c1, c2: _roots(c1 + c2).sum()
    },
    "This is the root of the determinant, the product of the eigenvalues. Add up the roots of the eigenvalues.": {
        "root": lambda c1, c2: (c1 @ c2).det().abs().sqrt()
    },
}
_WHOLE = {
    "The factor 2 is missing: subtract the trace of the root twice.": {
        "whole": lambda means, traces, root: means + traces - root
    },
    "The trace of the root is added. Subtract it, twice.": {
        "whole": lambda means, traces, root: means + traces + 2 * root
    },
    "This is the root of the whole. Return the sum as it is.": {
        "whole": lambda means, traces, root: (means + traces - 2 * root).clamp(min=0).sqrt()
    },
    "Only the means enter: tr(C₁ + C₂ − 2 (C₁C₂)^½) is missing, or cancels because both covariances are of the same "
    "points. C₁ is that of `f`, C₂ that of `g`.": {"whole": lambda means, traces, root: means},
    "The root of C₁C₂ is missing: subtract twice its trace.": {
        "whole": lambda means, traces, root: means + traces
    },
    "The traces of C₁ and C₂ are missing: add both.": {"whole": lambda means, traces, root: means - 2 * root},
}
_TRACES = {
    "Only one of the two traces enters. Add both, that of C₁ and that of C₂.": {
        "traces": lambda c1, c2: c1.trace()
    },
    "All entries of a matrix are added up. The trace is the sum of the diagonal alone.": {
        "traces": lambda c1, c2: c1.sum() + c2.sum()
    },
}


def _as_given(x):
    return x


_FRECHET = _ROOTS, _COVARIANCES, _MEANS, _WHOLE, _TRACES
frechet_distance.slips(_frechet, *_FRECHET)
frechet_distance.slips(functools.partial(_frechet, number=_as_given), *_FRECHET)
frechet_distance.mistakes(
    {
        next(iter(_TRACES)): _frechet(traces=lambda c1, c2: c2.trace()),
        list(_TRACES)[1]: [
            _frechet(root=lambda c1, c2: _matrix_root(c1, c2).sum()),
            _frechet(
                traces=lambda c1, c2: c1.sum() + c2.sum(), root=lambda c1, c2: _matrix_root(c1, c2).sum()
            ),
        ],
        next(one for one in _COVARIANCES if one.startswith("The mean is not subtracted")): _frechet(
            covariance=lambda x: x.T @ x / len(x)
        ),
        next(iter(_ROOTS)): [
            _frechet(root=lambda c1, c2, entries=entries: entries(c1 @ c2).trace(), number=number)
            for number in (Tensor.double, _as_given)
            for entries in (
                lambda c: c.abs().sqrt(),
                lambda c: c.clamp(min=0).sqrt(),
                lambda c: c.sqrt().nan_to_num(),
            )
        ],
        "Rounding leaves eigenvalues a little below 0, and their root is nan. Put `.clamp(min=0)` before `.sqrt()`.": [
            {".clamp(min=0)": ""},
            _frechet(root=lambda c1, c2: torch.linalg.eigvals(c1 @ c2).real.sqrt().sum(), number=_as_given),
        ],
        "`.real` first: complex numbers have no order to clamp by.": {".real.clamp(min=0)": ".clamp(min=0)"},
        "C₁C₂ is not symmetric, and `eigh` and `eigvalsh` read only one triangle of it. Use "
        "`torch.linalg.eigvals`.": [
            _frechet(root=lambda c1, c2: torch.linalg.eigvalsh(c1 @ c2).sqrt().sum()),
            _frechet(root=lambda c1, c2: torch.linalg.eigvalsh(c1 @ c2).abs().sqrt().sum()),
        ],
        "`eigvals` gives complex numbers, even where all are real. Take `.real` of the result.": [
            {".real.clamp(min=0)": ""},
            lambda f, g: complex(_frechet()(f, g).item()),
        ],
        "`matrix_power` takes whole numbers only. For the trace of the root, add up the roots of the eigenvalues of "
        "C₁C₂.": _frechet(root=lambda c1, c2: torch.linalg.matrix_power(c1 @ c2, 0.5).trace()),
        "PyTorch has no matrix square root. Its trace is all you need: the sum of the roots of the eigenvalues of "
        "C₁C₂.": [
            _frechet(root=lambda c1, c2: torch.linalg.sqrtm(c1 @ c2).trace()),
            _frechet(root=lambda c1, c2: torch.linalg.sqrt(c1 @ c2).trace()),
            _frechet(root=lambda c1, c2: torch.sqrtm(c1 @ c2).trace()),
            _frechet(root=lambda c1, c2: torch.linalg.matrix_sqrt(c1 @ c2).trace()),
        ],
        "The eigenvalues of C₁ and C₂ are multiplied in order of size. Those of the product C₁C₂ are different ones: "
        "multiply the matrices first.": _frechet(
            root=lambda c1, c2: (
                _roots(torch.diag(torch.linalg.eigvalsh(c1) * torch.linalg.eigvalsh(c2)))
            ).sum()
        ),
        "The squared differences of the entries of C₁ and C₂ stand in place of the traces. Take tr(C₁ + C₂ − 2 "
        "(C₁C₂)^½).": lambda f, g: (
            (f.mean(dim=0) - g.mean(dim=0)).square().sum() + (_covariance(f) - _covariance(g)).square().sum()
        ),
        "The result is a matrix. Its trace, the sum of the diagonal, makes one number.": lambda f, g: (
            (f.mean(dim=0) - g.mean(dim=0)).square().sum()
            + torch.cov(f.T)
            + torch.cov(g.T)
            - 2 * _matrix_root(torch.cov(f.T), torch.cov(g.T))
        ),
    }
)
_SOME_ROOTS = dict(list(_ROOTS.items())[:1])
frechet_distance.pairs_of_slips(_frechet, _SOME_ROOTS, dict(list(_COVARIANCES.items())[:1]))
frechet_distance.pairs_of_slips(_frechet, _SOME_ROOTS, dict(list(_MEANS.items())[:2]))
frechet_distance.pairs_of_slips(_frechet, _SOME_ROOTS, dict(list(_WHOLE.items())[:3]))
frechet_distance.pairs_of_slips(
    _frechet, dict(list(_COVARIANCES.items())[:1]), dict(list(_MEANS.items())[:2])
)


# Section 8: the inception score -------------------------------------------------------------------------------


def _judged(N, C, seed, dtype=torch.float32):
    """Probabilities of a judge that is not too sure."""
    return normal(N, C, seed=seed, dtype=dtype).mul(1.5).softmax(dim=1)


def _certain(*labels, classes):
    return F.one_hot(torch.tensor(labels), classes).float()


@lesson.exercise(
    cases={
        "every class once, and sure": (torch.eye(2),),
        "never sure": (torch.full((2, 2), 0.5),),
        "one image": (torch.tensor([[0.7, 0.2, 0.1]]),),
        "sure, and three of four in one class": (_certain(0, 0, 1, 0, classes=2),),
        "a class that never occurs": (torch.tensor([[0.5, 0.0, 0.5], [0.25, 0.0, 0.75]]),),
        "some zeros": (torch.tensor([[0.8, 0.2, 0.0, 0.0], [0.1, 0.3, 0.5, 0.1], [0.0, 0.25, 0.25, 0.5]]),),
        "more images than classes": (_judged(7, 3, seed=1),),
        "fewer images than classes": (_judged(2, 5, seed=2),),
        "as many images as classes": (_judged(4, 4, seed=3),),
        "sure of nine images in five classes": (_certain(4, 0, 1, 1, 2, 3, 4, 4, 0, classes=5),),
        "float64": (_judged(5, 3, seed=4, dtype=torch.float64),),
    },
    hints=[
        "p(y) is what the judge says on average: the mean over the images, axis 0. KL(p ‖ m) = Σ p (ln p − ln m).",
        "0 · ln 0 counts as 0, but Python's 0 · (−inf) is nan. `torch.xlogy(p, m)` is p ln m with that rule built in.",
        "Sum `torch.xlogy(p, p) - torch.xlogy(p, marginal)` over the classes, take the mean over the images, and `exp` "
        "last.",
    ],
)
def inception_score(probabilities):
    """Return exp of the mean over the images of KL(p(y|x) ‖ p(y)), from 1 to C.

    `probabilities` (N, C) holds p(y|x) of the judge for every image, rows that sum to 1 and may hold zeros; p(y) is
    their mean over the images.
    """
    marginal = probabilities.mean(dim=0)
    terms = torch.xlogy(probabilities, probabilities) - torch.xlogy(probabilities, marginal)
    return terms.sum(dim=1).mean().exp()


def _kl_terms(p, m):
    return torch.xlogy(p, p) - torch.xlogy(p, m)


def _inception(
    start=lambda p: p,
    marginal=lambda p: p.mean(dim=0),
    terms=_kl_terms,
    each=lambda terms: terms.sum(dim=1),
    together=lambda kl: kl.mean(),
    end=torch.exp,
):
    """The inception score, with what can go wrong as arguments."""

    def attempt(probabilities):
        p = start(probabilities)
        return end(together(each(terms(p, marginal(p)))))

    return attempt


_SCORE_ENDS = {
    "This is the mean KL divergence. The inception score is exp of it.": {"end": lambda mean: mean},
    "exp comes before the mean over the images. Take the mean of the divergences first, then exp.": {
        "together": lambda kl: kl.exp().mean(),
        "end": lambda mean: mean,
    },
    "The sign is wrong: this is exp of minus the mean divergence, below 1. A KL divergence is Σ p (ln p − ln p(y)), "
    "never negative.": {"end": lambda mean: (-mean).exp()},
    "2 to the power of the divergence in nats is neither one nor the other. With natural logarithms, take exp.": {
        "end": lambda mean: 2**mean
    },
    "The divergences of the images are added up. Take their mean before exp: otherwise the score grows with the number "
    "of images.": {"together": lambda kl: kl.sum()},
    "Every image has its own number here, (N,). Take the mean over the images, then exp.": {
        "together": lambda kl: kl
    },
}
_SCORE_TERMS = {
    "The logarithms are to base 2, and exp goes with natural ones. Use `log`, or `torch.xlogy`.": {
        "terms": lambda p, m: _kl_terms(p, m) / torch.tensor(2.0).log()
    },
    "The two distributions have changed places: this is KL(p(y) ‖ p(y|x)). The weight in front of the logarithms is "
    "p(y|x), the judge's.": {"terms": lambda p, m: torch.xlogy(m, m) - torch.xlogy(m, p)},
    "p(y) is the weight here. In KL(p(y|x) ‖ p(y)) it is p(y|x): Σ p(y|x) (ln p(y|x) − ln p(y)).": {
        "terms": lambda p, m: torch.xlogy(m, p) - torch.xlogy(m, m)
    },
    "The weight p(y|x) is missing: KL(p ‖ m) = Σ p (ln p − ln m), a mean of the difference under p.": {
        "terms": lambda p, m: p.log() - m.log()
    },
    "This is exp of the mean entropy of the rows, and p(y) does not enter: the judge's doubt alone. Subtract ln p(y) "
    "from ln p(y|x).": {"terms": lambda p, m: -torch.xlogy(p, p)},
    "ln p(y) is missing: Σ p ln p is minus the entropy of a row. A KL divergence is Σ p (ln p − ln p(y)).": {
        "terms": lambda p, m: torch.xlogy(p, p)
    },
    "This is exp of the entropy of p(y): it counts classes, but does not see whether the judge is sure. Put "
    "ln p(y|x) − ln p(y) into the sum.": {"terms": lambda p, m: -torch.xlogy(p, m)},
    "This is exp of the entropies of p(y) and of the rows added up. The second is subtracted: ln p(y|x) counts with a "
    "plus, ln p(y) with a minus.": {"terms": lambda p, m: -torch.xlogy(p, p) - torch.xlogy(p, m)},
}
_SCORE_MARGINALS = {
    "p(y) is 1/C for every class here: the mean over everything is that, too. It is the mean over the images alone, "
    "`probabilities.mean(dim=0)`.": {"marginal": lambda p: torch.full_like(p[0], 1 / p.shape[1])},
    "p(y) has to be a mean over the images, and this is their sum: divide by N, `probabilities.mean(dim=0)`.": {
        "marginal": lambda p: p.sum(dim=0)
    },
    "This divides by C, not by N: p(y) is the mean over the images, `probabilities.mean(dim=0)`.": {
        "marginal": lambda p: p.sum(dim=0) / p.shape[1]
    },
    "p(y) is found from the most probable class of each image. Take the mean of the probabilities themselves.": {
        "marginal": lambda p: F.one_hot(p.argmax(dim=1), p.shape[1]).to(p.dtype).mean(dim=0)
    },
}


def _swapped_with(small):
    """KL(p(y) ‖ p(y|x)) with a small number inside the logarithms."""

    def attempt(p):
        m = p.mean(dim=0)
        return (m * ((m + small).log() - (p + small).log())).sum(dim=1).mean().exp()

    return attempt


inception_score.slips(_inception, _SCORE_ENDS, _SCORE_TERMS, _SCORE_MARGINALS)
inception_score.mistakes(
    {
        "0 · ln 0 is nan to the computer, and counts as 0 here. `torch.xlogy(p, q)` is p ln q with that rule; or use "
        "`torch.where`, or `nan_to_num` on the terms.": [
            {
                "torch.xlogy(probabilities, probabilities)": "probabilities * probabilities.log()",
                "torch.xlogy(probabilities, marginal)": "probabilities * marginal.log()",
            },
            lambda p: (p * p.log() - p * p.mean(dim=0).log()).sum(dim=1).mean().exp(),
            lambda p: (p * (p / p.mean(dim=0)).log()).sum(dim=1).mean().exp(),
            lambda p: (torch.xlogy(p, p) - p * p.mean(dim=0).log()).sum(dim=1).mean().exp(),
            lambda p: (p * p.log() - torch.xlogy(p, p.mean(dim=0))).sum(dim=1).mean().exp(),
            lambda p: torch.xlogy(p, p / p.mean(dim=0)).sum(dim=1).mean().exp(),
            lambda p: F.kl_div(p.mean(dim=0).log().expand_as(p), p, reduction="batchmean").exp(),
        ],
        "An image with a zero in its row drops out, or counts as 0. Only the term of that class is 0: replace nan "
        "before you sum over the classes.": [
            lambda p: (p * (p / p.mean(dim=0)).log()).sum(dim=1).nanmean().exp(),
            lambda p: (p * (p / p.mean(dim=0)).log()).sum(dim=1).nan_to_num(0).mean().exp(),
            lambda p: (p * (p / p.mean(dim=0)).log()).sum(dim=1).nansum().div(len(p)).exp(),
        ],
        next(one for one in _SCORE_TERMS if one.startswith("The weight p(y|x) is missing")): [
            lambda p: (p / p.mean(dim=0)).log().nan_to_num().sum(dim=1).mean().exp(),
            lambda p: (p.log() - p.mean(dim=0).log()).nan_to_num().sum(dim=1).mean().exp(),
            lambda p: (p / p.mean(dim=0)).log().nan_to_num(0, neginf=0).sum(dim=1).mean().exp(),
        ],
        "The exponentials of the divergences are added up. Take the mean of the divergences first, then "
        "exp.": _inception(together=lambda kl: kl.exp().sum(), end=lambda total: total),
        "The number you add inside the logarithm is large enough to change the score. `torch.xlogy` needs none, or "
        "take 1e-12.": [
            lambda p, small=small: (
                (p * ((p + small).log() - (p.mean(dim=0) + small).log())).sum(dim=1).mean().exp()
            )
            for small in (1e-2, 1e-3, 1e-4)
        ],
        "The mean goes over the classes as well, so the divergences come out too small. Sum over the classes, axis 1, "
        "then take the mean over the images.": [
            _inception(each=lambda terms: terms.mean(dim=1)),
            _inception(each=lambda terms: terms, together=torch.mean),
            lambda p: (p[p > 0] * (p / p.mean(dim=0))[p > 0].log()).mean().exp(),
            lambda p: F.kl_div(p.mean(dim=0).log().expand_as(p), p).exp(),
            lambda p: (p * (p / p.mean(dim=0)).log()).mean().exp(),
        ],
        "This sums over the images and takes the mean over the classes. It is the other way round: the sum over axis "
        "1, the mean over axis 0.": _inception(each=lambda terms: terms.sum(dim=0)),
        '`reduction="batchmean"` divides by the length of the first argument, and p(y) has C entries, not N rows. '
        "Besides, `F.kl_div` makes nan of 0 · ln 0: sum `torch.xlogy` terms instead.": (
            lambda p: F.kl_div(p.mean(dim=0).log(), p, reduction="batchmean").exp()
        ),
        "The two distributions have changed places: this is KL(p(y) ‖ p(y|x)). The weight in front of the logarithms "
        "is p(y|x), the judge's.": [
            lambda p: F.kl_div(p.log(), p.mean(dim=0).expand_as(p), reduction="batchmean").exp(),
            lambda p: (p.mean(dim=0) * (p.mean(dim=0) / p).log()).sum(dim=1).mean().exp(),
            *(_swapped_with(small) for small in (1e-12, 1e-10, 1e-9, 1e-8)),
        ],
        "p(y) is a mean along the wrong axis, over the classes: for each row that is 1/C. Take the mean over the "
        "images: `probabilities.mean(dim=0)`.": [
            _inception(marginal=lambda p: p.mean(dim=1)),
            {"mean(dim=0)": "mean(dim=1)"},
        ],
        "`probabilities` are probabilities already, and you apply a softmax once more. Use them as they are.": [
            _inception(start=lambda p: p.softmax(dim=1)),
            lambda p: _inception()(p.softmax(dim=-1)).log().exp(),
            lambda p: (
                ((p.softmax(dim=1) * (p.log_softmax(dim=1) - p.softmax(dim=1).mean(dim=0).log())).sum(dim=1))
                .mean()
                .exp()
            ),
        ],
        "`log_softmax` belongs to logits, and these are probabilities. Their logarithm is `log`, or `torch.xlogy`.": [
            lambda p: (
                (p * (p.log_softmax(dim=1) - p.mean(dim=0).log()).nan_to_num(0)).sum(dim=1).mean().exp()
            ),
            lambda p: (p * p.log_softmax(dim=1) - torch.xlogy(p, p.mean(dim=0))).sum(dim=1).mean().exp(),
        ],
        "Each image counts only with its most probable class. Use the probabilities themselves: a judge in doubt "
        "should lower the score.": _inception(
            start=lambda p: F.one_hot(p.argmax(dim=1), p.shape[1]).to(p.dtype)
        ),
        "Only the most probable class of each image enters. The divergence is a sum over all classes.": _inception(
            each=lambda terms: terms.amax(dim=1)
        ),
        "A pair came back. Return the score alone, one number.": [
            lambda p: (_inception()(p), _inception(together=lambda kl: kl)(p).std()),
            lambda p: (_inception()(p), p.mean(dim=0)),
        ],
    }
)
inception_score.pairs_of_slips(
    _inception,
    {
        "exp is missing at the end.": {"end": lambda mean: mean},
        "The sign of the mean is wrong.": {"end": lambda mean: (-mean).exp()},
    },
    {
        "The divergences of the images are added up, not averaged.": {"together": lambda kl: kl.sum()},
        "The mean goes over the classes as well, where a sum belongs.": {
            "each": lambda terms: terms.mean(dim=1)
        },
        "The two distributions have changed places: the weight is p(y|x).": {
            "terms": lambda p, m: torch.xlogy(m, m) - torch.xlogy(m, p)
        },
        "p(y) is a sum over the images, not their mean.": {"marginal": lambda p: p.sum(dim=0)},
    },
    but=[{"end", "terms"}],
)


# Section 9: the Jensen–Shannon divergence ---------------------------------------------------------------------


def _outcomes(*numbers, dtype=torch.float32):
    return torch.tensor(numbers, dtype=dtype)


@lesson.exercise(
    cases={
        "no overlap": (_outcomes(1, 0), _outcomes(0, 1)),
        "equal coins": (_outcomes(0.5, 0.5), _outcomes(0.5, 0.5)),
        "coins with ¾ and ¼": (_outcomes(0.75, 0.25), _outcomes(0.25, 0.75)),
        "a fair coin and one with 0.9": (_outcomes(0.5, 0.5), _outcomes(0.9, 0.1)),
        "both zero at one place": (_outcomes(0.5, 0.5, 0), _outcomes(0.2, 0.8, 0)),
        "a zero in p": (_outcomes(0, 0.4, 0.6), _outcomes(0.2, 0.3, 0.5)),
        "a zero in q": (_outcomes(0.1, 0.2, 0.7), _outcomes(0.6, 0, 0.4)),
        "no overlap, of four": (_outcomes(0.5, 0.5, 0, 0), _outcomes(0, 0, 0.1, 0.9)),
        "six outcomes": (_judged(1, 6, seed=5)[0], _judged(1, 6, seed=6)[0]),
        "float64": (
            _outcomes(0.2, 0.3, 0.4, 0.1, dtype=torch.float64),
            _outcomes(0.3, 0.1, 0.1, 0.5, dtype=torch.float64),
        ),
    },
    hints=[
        "KL(p ‖ m) = Σ p (ln p − ln m). Where p is 0 the term counts as 0; what does the computer make of 0 · ln 0?",
        "`torch.xlogy(p, m)` is p ln m, and 0 where p is 0. So KL(p ‖ m) is the sum of `xlogy(p, p) - xlogy(p, m)`.",
        "Make m first, then both divergences with the same few lines, and return half of their sum.",
    ],
)
def jensen_shannon(p, q):
    """Return the Jensen–Shannon divergence of two distributions p and q, (K,) each, in nats.

    It is the mean of KL(p ‖ m) and KL(q ‖ m), with m = (p + q) / 2. Both may hold zeros.
    """

    def divergence(a, b):
        return (torch.xlogy(a, a) - torch.xlogy(a, b)).sum()

    m = (p + q) / 2
    return (divergence(p, m) + divergence(q, m)) / 2


def _kl(a, b):
    return _kl_terms(a, b).sum()


def _jensen(
    mixture=lambda p, q: (p + q) / 2,
    divergence=_kl,
    joined=lambda one, other: (one + other) / 2,
    end=lambda value: value,
    start=lambda p: p,
):
    """The Jensen–Shannon divergence, with what can go wrong as arguments."""

    def attempt(p, q):
        p, q = start(p), start(q)
        m = mixture(p, q)
        return end(joined(divergence(p, m), divergence(q, m)))

    return attempt


_JS_JOINED = {
    "The two divergences are added up. Take their mean: divide by 2.": {
        "joined": lambda one, other: one + other
    },
    "This is KL(p ‖ m) alone. Take the mean of it and KL(q ‖ m).": {"joined": lambda one, other: one},
    "This is KL(q ‖ m) alone. Take the mean of it and KL(p ‖ m).": {"joined": lambda one, other: other},
    "This is half of KL(p ‖ m), and q's half is missing. Add KL(q ‖ m) before you divide by 2.": {
        "joined": lambda one, other: one / 2
    },
    "Only the second divergence is halved: brackets are missing around the sum.": {
        "joined": lambda one, other: one + other / 2
    },
    "The second divergence is subtracted from the first. Take the mean of both.": {
        "joined": lambda one, other: (one - other) / 2
    },
    "The two divergences are multiplied. Take their mean: add them, and divide by 2.": {
        "joined": lambda one, other: one * other
    },
    "Two numbers came back, one for each divergence. Return their mean.": {
        "joined": lambda one, other: (one, other)
    },
}
_JS_ENDS = {
    "These are bits: the logarithm is to base 2. Nats take the natural one, `log` or `torch.xlogy`.": {
        "end": lambda value: value / torch.tensor(2.0).log()
    },
    "This is the Jensen–Shannon distance, the root of the divergence. Leave the root out.": {
        "end": lambda value: value.sqrt()
    },
    "The sign is wrong: a divergence is never negative. KL(p ‖ m) = Σ p (ln p − ln m).": {
        "end": lambda value: -value
    },
    "This is 2 JS − 2 ln 2, the value of the game: m is p + q, or ln 4 is subtracted, and the two divergences are "
    "added up. Take their mean, with m = (p + q) / 2.": {
        "end": lambda value: 2 * value - torch.tensor(4.0).log()
    },
}
_JS_MIXTURES = {
    "m is p + q here, so it sums to 2. It is their mean: divide by 2.": {"mixture": lambda p, q: p + q},
    "m is the geometric mean √(p q) here. It is the mean of both, (p + q) / 2.": {
        "mixture": lambda p, q: (p * q).sqrt()
    },
    "m is the product p q here. It is the mean of both, (p + q) / 2.": {"mixture": lambda p, q: p * q},
    "This is p + q / 2: brackets are missing. m = (p + q) / 2.": {"mixture": lambda p, q: p + q / 2},
}
_JS_TERMS = {
    "p or q and m have changed places: this has KL(m ‖ p) and KL(m ‖ q), inf for a zero. The weight is p, then q. "
    "(`F.kl_div(a, b)` is KL(b ‖ exp(a)).)": {"divergence": lambda a, m: _kl(m, a)},
    "The mean goes over the K outcomes. Sum over them: KL(p ‖ m) = Σ p (ln p − ln m). (`F.kl_div` needs "
    '`reduction="sum"`.)': {"divergence": lambda a, m: _kl(a, m) / len(a)},
    "These are the terms of every outcome, (K,). Sum over the outcomes.": {"divergence": _kl_terms},
    "The weight in front of the logarithms is missing: KL(p ‖ m) = Σ p (ln p − ln m).": {
        "divergence": lambda a, m: (a.log() - m.log()).sum()
    },
    "The weight in front of the logarithms is m here. It is the first distribution: KL(p ‖ m) = Σ p (ln p − ln m).": {
        "divergence": lambda a, m: (torch.xlogy(m, a) - torch.xlogy(m, m)).sum()
    },
    "Σ p ln p is missing, so this is a cross-entropy. KL(p ‖ m) = Σ p (ln p − ln m).": {
        "divergence": lambda a, m: -torch.xlogy(a, m).sum()
    },
    "m does not enter: this is the mean of the two entropies. KL(p ‖ m) = Σ p (ln p − ln m).": {
        "divergence": lambda a, m: -torch.xlogy(a, a).sum()
    },
}
jensen_shannon.slips(_jensen, _JS_JOINED, _JS_ENDS, _JS_MIXTURES, _JS_TERMS)


def _overlapping(divergence):
    """Only where both p and q are above 0."""

    def attempt(p, q):
        both = (p > 0) & (q > 0)
        m = (p + q) / 2
        return (divergence(p[both], m[both]) + divergence(q[both], m[both])) / 2

    return attempt


def _naive_kl(a, b, small=0):
    return (a * ((a + small) / (b + small)).log()).sum()


jensen_shannon.mistakes(
    {
        "0 · ln 0 is nan to the computer, and counts as 0 here. `torch.xlogy(p, m)` is p ln m with that rule; or use "
        "`torch.where`, or `nan_to_num` on the terms.": [
            {"torch.xlogy(a, a) - torch.xlogy(a, b)": "a * (a / b).log()"},
            _jensen(divergence=lambda a, m: (a * (a.log() - m.log())).sum()),
        ],
        "Where p and q are both 0, so is m, and 0/0 or 0 · ln 0 is nan. Such an outcome counts as 0: sum "
        "`torch.xlogy(p, p) - torch.xlogy(p, m)`.": [
            _jensen(divergence=lambda a, m: torch.xlogy(a, a / m).sum()),
            _jensen(divergence=lambda a, m: F.kl_div(m.log(), a, reduction="sum")),
            _jensen(divergence=lambda a, m: (torch.xlogy(a, a) - a * m.log()).sum()),
        ],
        "Outcomes where p or q is 0 are left out. The term of p is 0 where p is 0, but the term of q is not: treat "
        "each divergence alone.": _overlapping(_kl),
        "A zero makes the whole divergence nan, and you replace that by 0. Only the term of that outcome is 0: replace "
        "nan before the sum.": _jensen(divergence=lambda a, m: _naive_kl(a, m).nan_to_num(0)),
        "This is KL(p ‖ q), and m does not enter. Compare each of the two with m = (p + q) / 2.": [
            lambda p, q: _kl(p, q),
            lambda p, q: (p * (p / q).log()).sum(),
            lambda p, q: F.kl_div(q.log(), p, reduction="sum"),
            *(lambda p, q, small=small: _naive_kl(p, q, small) for small in (1e-12, 1e-10, 1e-8)),
        ],
        "This is KL(q ‖ p), and m does not enter. Compare each of the two with m = (p + q) / 2.": [
            lambda p, q: _kl(q, p),
            lambda p, q: (q * (q / p).log()).sum(),
            lambda p, q: F.kl_div(p.log(), q, reduction="sum"),
            *(lambda p, q, small=small: _naive_kl(q, p, small) for small in (1e-12, 1e-10, 1e-8)),
        ],
        "This compares p and q with each other, in both directions, which is inf where only one is 0. Compare each "
        "with m = (p + q) / 2.": [
            lambda p, q: (_kl(p, q) + _kl(q, p)) / 2,
            lambda p, q: _kl(p, q) + _kl(q, p),
            lambda p, q: (_naive_kl(p, q) + _naive_kl(q, p)) / 2,
            lambda p, q: _naive_kl(p, q) + _naive_kl(q, p),
            lambda p, q: ((p - q) * (p / q).log()).sum(),
            lambda p, q: ((p - q) * (p / q).log()).sum() / 2,
            *(
                lambda p, q, small=small: (_naive_kl(p, q, small) + _naive_kl(q, p, small)) / 2
                for small in (1e-12, 1e-10, 1e-9, 1e-8)
            ),
            *(
                lambda p, q, small=small: _naive_kl(p, q, small) + _naive_kl(q, p, small)
                for small in (1e-12, 1e-10, 1e-9, 1e-8)
            ),
        ],
        "The number that keeps zeros away from the logarithm is large enough to change the result. `torch.xlogy` needs "
        "none, or take 1e-12.": [
            *(_jensen(divergence=lambda a, m, small=small: _naive_kl(a, m, small)) for small in (1e-2, 1e-3)),
            *(_jensen(start=lambda p, small=small: p.clamp(min=small)) for small in (1e-2, 1e-3)),
            *(_jensen(start=lambda p, small=small: p + small) for small in (1e-2, 1e-3)),
        ],
        "p or q and m have changed places: this has KL(m ‖ p) and KL(m ‖ q), inf for a zero. The weight is p, then q. "
        "(`F.kl_div(a, b)` is KL(b ‖ exp(a)).)": [
            _jensen(divergence=lambda a, m: F.kl_div(a.log(), m, reduction="sum")),
            _jensen(divergence=lambda a, m: _naive_kl(m, a)),
            *(
                _jensen(divergence=lambda a, m, small=small: _naive_kl(m, a, small))
                for small in (1e-12, 1e-10, 1e-9, 1e-8)
            ),
        ],
        'Without `reduction="sum"`, `F.kl_div` takes the mean over the K outcomes. And it makes nan where p and q are '
        "both 0: `torch.xlogy` terms do not.": [
            _jensen(divergence=lambda a, m: F.kl_div(m.log(), a)),
            _jensen(divergence=lambda a, m: F.kl_div(m.log(), a), joined=lambda one, other: one + other),
            _jensen(divergence=lambda a, m: F.kl_div(m.log(), a, reduction="batchmean")),
        ],
        "`p` and `q` are probabilities already, and you apply a softmax to them. Use them as they are.": [
            _jensen(start=lambda p: p.softmax(dim=0))
        ],
        "`log_softmax` belongs to logits, and these are probabilities. Their logarithm is `log`, or `torch.xlogy`.": [
            _jensen(divergence=lambda a, m: (a * (a.log_softmax(dim=0) - m.log_softmax(dim=0))).sum()),
            _jensen(divergence=lambda a, m: F.kl_div(m.log_softmax(dim=0), a, reduction="sum")),
        ],
        "`F.kl_div(a, b)` wants the logarithm of a distribution first, then the other: `F.kl_div(m.log(), p, "
        'reduction="sum")`. Here no logarithm went in.': [
            _jensen(divergence=lambda a, m: F.kl_div(m, a, reduction="sum")),
            _jensen(divergence=lambda a, m: F.kl_div(a, m, reduction="sum")),
            _jensen(divergence=lambda a, m: F.kl_div(m, a)),
            _jensen(divergence=lambda a, m: F.kl_div(a, m)),
        ],
        "The entropies of p and q count in full. JS is the entropy of m minus half the sum of the two: H(m) − (H(p) + "
        "H(q)) / 2.": lambda p, q: _plogp_sum(p) + _plogp_sum(q) - _plogp_sum((p + q) / 2),
        "This is half the sum of |p − q|, the total variation. The divergence needs logarithms: Σ p (ln p − ln m).": (
            lambda p, q: (p - q).abs().sum() / 2
        ),
    }
)
jensen_shannon.pairs_of_slips(
    _jensen,
    {
        "The logarithm is to base 2.": {"end": lambda value: value / torch.tensor(2.0).log()},
        "A root is taken at the end.": {"end": lambda value: value.sqrt()},
    },
    {
        "The two divergences are added up, where their mean belongs.": {
            "joined": lambda one, other: one + other
        },
        "Only p is compared with m, and q's divergence is missing.": {"joined": lambda one, other: one},
    },
)


def _plogp_sum(p):
    return torch.xlogy(p, p).sum()


# Section 9: the Wasserstein distance --------------------------------------------------------------------------


def _points(*numbers, dtype=torch.float32):
    return torch.tensor(numbers, dtype=dtype)


@lesson.exercise(
    cases={
        "one number each": (_points(2), _points(-1)),
        "{5, 0, 3} and {1, 9, 4}": (_points(5, 0, 3), _points(1, 9, 4)),
        "two around one": (_points(1, -1), _points(0.5, 0)),
        "a to the right of b": (_points(4, 6.5, 9, 5), _points(-2, 1, 0, -4)),
        "the same set, in another order": (_points(3, 1, 2, 5), _points(5, 2, 3, 1)),
        "equal numbers": (_points(2, 0, 2, 2, 7), _points(7, 7, 0, 1, 2)),
        "one far out": (_points(0.5, 0, 1), _points(40, 0.25, -1)),
        "interleaved": (_points(3, 9, 1, 6), _points(7, 2, 4, 11)),
        "b twice as wide": (normal(7, seed=7), 2 * normal(7, seed=8)),
        "float64": (normal(5, seed=9, dtype=torch.float64), 1 + normal(5, seed=10, dtype=torch.float64)),
    },
    hints=[
        "On a line, paths that cross can be uncrossed without getting longer. Who goes to whom, then?",
        "The smallest of a to the smallest of b, the second to the second, and so on: sort both.",
        "The mean of `(a.sort().values - b.sort().values).abs()`.",
    ],
)
def wasserstein(a, b):
    """Return the Wasserstein distance of two sets of numbers, (N,) each: the mean distance of the best pairing."""
    return (a.sort().values - b.sort().values).abs().mean()


def _sorted_values(a):
    return a.sort().values


def _transported(
    first=_sorted_values,
    second=_sorted_values,
    distance=torch.abs,
    together=torch.mean,
    end=lambda value: value,
):
    """The Wasserstein distance, with what can go wrong as arguments."""
    return lambda a, b: end(together(distance(first(a) - second(b))))


def _unsorted(a):
    return a


_PAIRINGS = {
    "The numbers are paired as they come, and stay so if both are put into the order of one. Sort each by itself: the "
    "smallest belongs to the smallest.": {
        "first": _unsorted,
        "second": _unsorted,
    },
    "Only `b` is sorted. Sort `a` as well: the smallest belongs to the smallest.": {"first": _unsorted},
    "Only `a` is sorted. Sort `b` as well: the smallest belongs to the smallest.": {"second": _unsorted},
    "One is sorted upwards, the other downwards, which is the worst pairing. Sort both the same way.": {
        "second": lambda b: b.sort(descending=True).values
    },
    "Positions are compared here, which `argsort` and `sort()[1]` give. Take the numbers: `sort().values`.": {
        "first": torch.argsort,
        "second": torch.argsort,
    },
    "`unique` drops numbers that come twice, which count twice here. Use `sort`.": {
        "first": torch.unique,
        "second": torch.unique,
    },
}
_LENGTHS = {
    "The distances are squared. Take their absolute values.": {"distance": torch.square},
    "The sign stays, so ways to the left and to the right cancel. Take the absolute value of every difference first, "
    "then the mean.": {"distance": lambda way: way},
    "The absolute value comes after the mean, when ways to the left and right have cancelled. Take it of every "
    "difference.": {"distance": lambda way: way, "end": torch.abs},
    "This is the root of the mean square, W₂. Here you need the mean of the distances themselves.": {
        "distance": torch.square,
        "end": torch.sqrt,
    },
    "Ways to the left count as 0. Take the absolute value: `abs`.": {"distance": torch.relu},
    "Ways to the right count as 0. Take the absolute value: `abs`.": {"distance": lambda way: (-way).relu()},
}
_TOTALS = {
    "The distances are added up. Take their mean: divide by N.": {"together": torch.sum},
    "This is the longest way. Take the mean of all.": {"together": torch.max},
    "This is the median of the distances. Take their mean.": {"together": torch.median},
    "Every pair's distance came back, (N,). Return their mean.": {"together": lambda distances: distances},
    "This is the root of the sum of squares, a norm. Take the mean of the distances.": {
        "together": torch.linalg.norm
    },
}
wasserstein.slips(_transported, _PAIRINGS, _LENGTHS, _TOTALS)


def _table_of_distances(a, b):
    return (a[:, None] - b).abs()


def _greedy(a, b):
    """Each number of a, in turn, takes the nearest of b that is left."""
    left, total = b.tolist(), 0.0
    for number in a.tolist():
        nearest = min(left, key=lambda other: abs(other - number))
        left.remove(nearest)
        total += abs(nearest - number)
    return total / len(a)


wasserstein.mistakes(
    {
        "The numbers are paired as they come, and stay so if both are put into the order of one. Sort each by itself: "
        "the smallest belongs to the smallest.": {
            "a.sort().values": "a",
            "b.sort().values": "b",
        },
        "Every number of `a` goes to the nearest of `b`, even if that is taken. In a pairing each number is used once: "
        "sort both.": lambda a, b: _table_of_distances(a, b).amin(dim=1).mean(),
        "Every number of `b` goes to the nearest of `a`, even if that is taken. In a pairing each number is used once: "
        "sort both.": lambda a, b: _table_of_distances(a, b).amin(dim=0).mean(),
        "These are distances to the nearest number of the other set, in both directions. In a pairing each number is "
        "used once: sort both.": [
            lambda a, b: (
                _table_of_distances(a, b).amin(dim=0).mean() + _table_of_distances(a, b).amin(dim=1).mean()
            ),
            lambda a, b: (
                (_table_of_distances(a, b).amin(dim=0).mean() + _table_of_distances(a, b).amin(dim=1).mean())
                / 2
            ),
            lambda a, b: torch.maximum(
                _table_of_distances(a, b).amin(dim=0).max(), _table_of_distances(a, b).amin(dim=1).max()
            ),
        ],
        "This is the mean over all N² pairs. Each number has one partner: sort both, and compare place by place.": (
            lambda a, b: _table_of_distances(a, b).mean()
        ),
        "This adds up all N² distances. Each number has one partner: sort both, and compare place by place.": (
            lambda a, b: _table_of_distances(a, b).sum()
        ),
        "Each number takes the nearest that is left, one after the other, and the last ones pay for it. Sort both "
        "instead.": [_greedy, lambda a, b: _greedy(a.sort().values, b)],
        "This is the distance of the medians. Compare all numbers: sort both, and take the mean distance.": (
            lambda a, b: (a.median() - b.median()).abs()
        ),
        "`sort()` gives two things, values and indices, and those cannot be subtracted. Take `.values` of both.": [
            {"a.sort().values - b.sort().values": "a.sort() - b.sort()"},
            lambda a, b: torch.mean(torch.abs(torch.sort(a) - torch.sort(b))),
        ],
        "Positions are compared here, which `argsort` and `sort()[1]` give. Take the numbers: `sort().values`.": [
            _transported(first=lambda a: a.sort()[1].float(), second=lambda b: b.sort()[1].float())
        ],
        "Tensors sort with `a.sort().values`; Python's `sorted` gives lists, which cannot be subtracted.": [
            lambda a, b: (sorted(a) - sorted(b)).abs().mean(),
            lambda a, b: (sorted(a.tolist()) - sorted(b.tolist())).abs().mean(),
        ],
    }
)
wasserstein.pairs_of_slips(
    _transported,
    {
        "The numbers are paired as they come, and should be sorted first.": {
            "first": _unsorted,
            "second": _unsorted,
        },
        "Only `b` is sorted.": {"first": _unsorted},
        "Only `a` is sorted.": {"second": _unsorted},
    },
    {
        "The distances are squared, where absolute values belong.": {"distance": torch.square},
        "The distances are added up, where their mean belongs.": {"together": torch.sum},
        "It is a root of a mean square, where a mean of distances belongs.": {
            "distance": torch.square,
            "end": torch.sqrt,
        },
        "The longest way came back, not the mean.": {"together": torch.max},
        "All distances came back, not their mean.": {"together": lambda distances: distances},
    },
)
wasserstein.pairs_of_slips(
    _transported,
    {"The distances are squared, where absolute values belong.": {"distance": torch.square}},
    {
        "The distances are added up, where their mean belongs.": {"together": torch.sum},
        "All distances came back, not their mean.": {"together": lambda distances: distances},
    },
)


# Section 10: the game spirals outwards ------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "one step of 1": (1.0, 1),
        "two steps of 1": (1.0, 2),
        "no step": (0.3, 0),
        "three steps of 0.5": (0.5, 3),
        "four steps of 0.75": (0.75, 4),
        "five steps of 0.2": (0.2, 5),
        "200 steps of 0.1": (0.1, 200),
        "250 steps of 0.08": (0.08, 250),
        "seven steps of 0": (0.0, 7),
    },
    hints=[
        "Begin at (1, 0) and take one step by hand. What is θ² + ψ² afterwards?",
        "θ² + ψ² grows by the factor 1 + step² with every step, wherever the point is. The distance is its root.",
        "After `count` steps θ² + ψ² is `(1 + step**2) ** count`. A root halves the exponent.",
    ],
)
def spiral_radius(step, count):
    """Return the distance from (0, 0) after `count` simultaneous steps in the game V = θ·ψ, begun at distance 1."""
    return (1 + step**2) ** (count / 2)


def _played(
    step, count, first=(1.0, 0.0), move=lambda theta, psi, step: (theta - step * psi, psi + step * theta)
):
    theta, psi = first
    for _ in range(count):
        theta, psi = move(theta, psi, step)
    return theta, psi


def _alternating(theta, psi, step):
    theta = theta - step * psi
    return theta, psi + step * theta


def _psi_first(theta, psi, step):
    psi = psi + step * theta
    return theta - step * psi, psi


spiral_radius.mistakes(
    {
        "This is the square of the distance, (1 + step²)^count. Take the root: half of the exponent.": {
            "count / 2": "count"
        },
        "The distance grows by the factor √(1 + step²) with each step, not by 1 + step: the step is at right angles to "
        "the line from (0, 0).": lambda step, count: (1 + step) ** count,
        "The distance stays at 1 here, as it would for infinitely small steps. Each of these moves the point "
        "outwards, by a factor √(1 + step²).": lambda step, count: 1.0,
        "The growth is added up here, but it multiplies: each step has the factor √(1 + step²). Raise that to the "
        "power `count`.": [
            lambda step, count: 1 + count * step,
            lambda step, count: 1 + count * step**2,
            lambda step, count: 1 + count * step**2 / 2,
            lambda step, count: (1 + count * step**2) ** 0.5,
            lambda step, count: count * (1 + step**2) ** 0.5,
            lambda step, count: 1 + count * ((1 + step**2) ** 0.5 - 1),
            lambda step, count: count * (1 + step**2),
            lambda step, count: ((1 + step**2) * count) ** 0.5,
        ],
        "The step does not enter: √2 is the factor of a step of 1. It is √(1 + step²).": [
            lambda step, count: math.sqrt(2) ** count,
        ],
        "All steps are taken in one direction here, as one large step. Each turns with the point: its factor is √(1 + "
        "step²), to the power of `count`.": lambda step, count: math.hypot(1, count * step),
        "The point comes nearer here, and each step takes it outwards: the factor is 1 + step², with a plus.": [
            lambda step, count: abs(1 - step**2) ** (count / 2),
            lambda step, count: (1 + step**2) ** (-count / 2),
            lambda step, count: abs(1 - step) ** count,
        ],
        "One step too many is taken. Count them: after no step the distance is 1.": [
            {"count / 2": "(count + 1) / 2"},
            lambda step, count: math.hypot(*_played(step, count + 1)),
        ],
        "One step too few is taken. Count them: after one step the distance is √(1 + step²).": [
            lambda step, count: (1 + step**2) ** ((count - 1) / 2),
            lambda step, count: math.hypot(*_played(step, count - 1)),
        ],
        "This is the distance after one step, √(1 + step²). Raise it to the power `count`.": (
            lambda step, count: (1 + step**2) ** 0.5
        ),
        "The players move in turn here, so the point does not spiral outwards. In a simultaneous step both use the "
        "old θ and ψ.": [
            lambda step, count: math.hypot(*_played(step, count, move=_alternating)),
            lambda step, count: math.hypot(*_played(step, count, move=_psi_first)),
        ],
        "The step is not squared: the factor of one step is √(1 + step²).": {"step**2": "step"},
        "The 1 is missing: one step takes the distance from 1 to √(1 + step²).": [
            lambda step, count: step**count,
            lambda step, count: step ** (count / 2),
        ],
        "Powers come before the sum: `1 + step**2 ** …` raises the step alone. Put 1 + step² in brackets.": [
            lambda step, count: 1 + step ** (2 * (count / 2)),
            lambda step, count: (1 + step ** (2 * count)) ** 0.5,
            lambda step, count: 1 + step ** (2 ** (min(count, 20) / 2)),
        ],
        "Powers come before the division: `** count / 2` halves the result. Put the exponent in brackets, `** (count / "
        "2)`.": {"(count / 2)": "count / 2"},
        "Powers come before `//`, which halves the result and drops its fraction. Put the exponent in brackets, and "
        "divide with `/`: `** (count / 2)`.": lambda step, count: (1 + step**2) ** count // 2,
        "`//` drops half a step where `count` is odd. Divide with `/`.": {"count / 2": "count // 2"},
        "The exponential function is an approximation for small steps. The exact factor of each step is √(1 + "
        "step²).": [
            lambda step, count: math.exp(count * step**2 / 2),
        ],
        "The distance does not grow like this exponential function. Each step multiplies it by √(1 + step²): raise "
        "that to the power `count`.": [
            lambda step, count: math.exp(count * step**2),
            lambda step, count: math.exp(count * step),
            lambda step, count: math.exp(count * step / 2),
        ],
        "This begins at (1, 1), at the distance √2. Begin at the distance 1, at (1, 0) for example.": (
            lambda step, count: math.hypot(*_played(step, count, first=(1.0, 1.0)))
        ),
        "This is θ after the steps. Return the distance, √(θ² + ψ²).": [
            lambda step, count: _played(step, count)[0],
            lambda step, count: _played(step, count, first=(0.0, 1.0))[0],
        ],
        "This is ψ after the steps. Return the distance, √(θ² + ψ²).": [
            lambda step, count: _played(step, count)[1]
        ],
        "θ and ψ came back. Return their distance from (0, 0), `(theta**2 + psi**2) ** 0.5`.": _played,
        "θ and ψ are added. The distance is √(θ² + ψ²).": [
            lambda step, count: sum(_played(step, count)),
            lambda step, count: sum(map(abs, _played(step, count))),
        ],
        "Both players descend here. θ subtracts `step * psi`, and ψ adds `step * theta`.": lambda step, count: (
            math.hypot(
                *_played(step, count, move=lambda theta, psi, step: (theta - step * psi, psi - step * theta))
            )
        ),
        "A list of all distances came back. Return only the last one, after `count` steps.": [
            lambda step, count: [(1 + step**2) ** (number / 2) for number in range(count + 1)],
            lambda step, count: [(1 + step**2) ** (number / 2) for number in range(1, count + 1)],
        ],
        "The `return` stands inside the loop, so it ends after one step. Move it to the left, after the loop.": (
            lambda step, count: (1 + step**2) ** 0.5 if count else None
        ),
    }
)


# Section 11: labels as inputs ---------------------------------------------------------------------------------


def _label(*labels):
    return torch.tensor(labels)


@lesson.exercise(
    cases={
        "one latent vector": (_points(0.5, -2)[None], _label(1), 2),
        "two latent vectors": (torch.tensor([[1.5], [2.5]]), _label(2, 0), 3),
        "latent vectors (4, 3)": (normal(4, 3, seed=11), _label(4, 0, 2, 1), 5),
        "images (2, 1, 2, 2)": (normal(2, 1, 2, 2, seed=12), _label(1, 0), 3),
        "images (5, 2, 2, 3)": (normal(5, 2, 2, 3, seed=13), _label(3, 3, 1, 0, 2), 4),
        "as many images as classes": (normal(3, 1, 2, 3, seed=14), _label(1, 2, 0), 3),
        "three numbers, labels and classes": (normal(3, 3, seed=15), _label(2, 0, 1), 3),
        "the highest label does not occur": (normal(4, 2, seed=16), _label(0, 1, 1, 0), 4),
        "all labels alike": (normal(3, 2, seed=17), _label(1, 1, 1), 3),
        "one image of size 3 × 2": (normal(1, 3, 2, seed=18), _label(2), 4),
        "float64": (normal(4, 2, seed=19, dtype=torch.float64), _label(2, 1, 0, 2), 3),
    },
    hints=[
        "`F.one_hot` makes the vectors. How does it know the number of classes, if the highest label does not occur?",
        "`x.flatten(1)` keeps axis 0 and flattens the rest. To put two tensors side by side, join them along axis 1.",
        "`torch.cat([x.flatten(1), ...], dim=1)`, with `F.one_hot(labels, classes).to(x.dtype)` in place of the dots.",
    ],
)
def conditional_inputs(x, labels, classes):
    """Return a tensor (N, D + classes): each row of x (N, …), flattened to D numbers, then its one-hot label.

    `labels` (N,) holds integers from 0 to classes − 1.
    """
    return torch.cat([x.flatten(1), F.one_hot(labels, classes).to(x.dtype)], dim=1)


def _rows(x):
    return x.reshape(len(x), -1)


def _conditional(
    flat=_rows,
    encoded=F.one_hot,
    joined=lambda x, y: torch.cat([x, y.to(x.dtype)], dim=1),
):
    """x and the encoded labels side by side, with what can go wrong as arguments."""
    return lambda x, labels, classes: joined(flat(x), encoded(labels, classes))


def _into_zeros(fill, shape=lambda labels, classes: (len(labels), classes)):
    """One-hot vectors that are written into zeros."""

    def encode(labels, classes):
        table = torch.zeros(shape(labels, classes))
        fill(table, labels)
        return table

    return encode


def _ones_in_rows(table, labels):
    table[labels] = 1


def _ones_in_columns(table, labels):
    table[:, labels] = 1


_ENCODINGS = {
    "The label is appended as one number, which makes class 4 twice class 2. Append a one-hot vector: "
    "`F.one_hot(labels, classes)`.": {"encoded": lambda labels, classes: labels[:, None]},
    "The label is divided by the number of classes and appended as one number. Append a one-hot vector: "
    "`F.one_hot(labels, classes)`.": {"encoded": lambda labels, classes: labels[:, None] / classes},
    "`F.one_hot` does not know the number of classes, and takes the highest label that occurs. Give it: "
    "`F.one_hot(labels, classes)`.": {"encoded": lambda labels, classes: F.one_hot(labels)},
    "The labels are off by one: they begin with 0, and label 0 has its 1 in column 0.": {
        "encoded": lambda labels, classes: F.one_hot((labels - 1) % classes, classes)
    },
    "The labels are one too high: they begin with 0, and label 0 has its 1 in column 0.": {
        "encoded": lambda labels, classes: F.one_hot((labels + 1) % classes, classes)
    },
    "There is one column too many: the labels go from 0 to classes − 1, so `classes` columns are enough.": {
        "encoded": lambda labels, classes: F.one_hot(labels, classes + 1)
    },
    "Every row has the label of the first one. Each row of x has a label of its own.": {
        "encoded": lambda labels, classes: F.one_hot(labels[:1], classes).expand(len(labels), -1)
    },
    "Every row has the label of the last one. Each row of x has a label of its own.": {
        "encoded": lambda labels, classes: F.one_hot(labels[-1:], classes).expand(len(labels), -1)
    },
    "The labels are sorted, so they no longer belong to their rows. Leave them in their order.": {
        "encoded": lambda labels, classes: F.one_hot(labels.sort().values, classes)
    },
    "The number of the label is repeated in all columns. Only the column of the label is 1, all others are 0.": {
        "encoded": lambda labels, classes: labels[:, None].expand(-1, classes)
    },
    "The column of the label holds its number, which is 0 for class 0. It should be 1: `F.one_hot(labels, "
    "classes)`.": {"encoded": lambda labels, classes: labels[:, None] * F.one_hot(labels, classes)},
    "`table[labels] = 1` fills whole rows, those whose numbers are labels. Name row and column: "
    "`table[torch.arange(N), labels] = 1`, or use `F.one_hot`.": {"encoded": _into_zeros(_ones_in_rows)},
    "`table[:, labels] = 1` fills the columns of all labels in every row. Name row and column: "
    "`table[torch.arange(N), labels] = 1`, or use `F.one_hot`.": {"encoded": _into_zeros(_ones_in_columns)},
    "The label's column is 0 and all others are 1. It is the other way round.": {
        "encoded": lambda labels, classes: 1 - F.one_hot(labels, classes)
    },
    "The columns that are not the label's hold −1. A one-hot vector has zeros there.": {
        "encoded": lambda labels, classes: 2 * F.one_hot(labels, classes) - 1
    },
    "A softmax is applied to the one-hot vectors. Append them as they are, with one 1 and zeros.": {
        "encoded": lambda labels, classes: F.one_hot(labels, classes).float().softmax(dim=1)
    },
    "The one-hot vectors stand in the columns of this table, (classes, N). They belong in its rows: leave the `.T` "
    "out.": {"encoded": lambda labels, classes: F.one_hot(labels, classes).T},
    "This has as many columns as there are rows, N. The number of columns is `classes`.": {
        "encoded": lambda labels, classes: F.one_hot(labels, len(labels))
    },
    "The labels do not enter: every row gets zeros. Append `F.one_hot(labels, classes)`.": {
        "encoded": lambda labels, classes: torch.zeros(len(labels), classes)
    },
}
_INPUT_JOINTS = {
    "The label stands before x. x comes first, and the label after it.": {
        "joined": lambda x, y: torch.cat([y.to(x.dtype), x], dim=1)
    },
    "`cat` puts the one-hot vectors below x, along axis 0, which fits only where D is `classes`. Put them side by "
    "side: `dim=1`.": {"joined": lambda x, y: torch.cat([x, y.to(x.dtype)])},
    "Everything is turned into integers. Turn the one-hot vectors into the type of x instead, `.to(x.dtype)`.": {
        "joined": lambda x, y: torch.cat([x.to(y.dtype), y], dim=1)
    },
    "The labels are missing: this is x, flattened. Append `F.one_hot(labels, classes)`.": {
        "joined": lambda x, y: x
    },
    "These are the one-hot vectors alone. Put x in front of them: `torch.cat([x.flatten(1), ...], dim=1)`.": {
        "joined": lambda x, y: y
    },
    "Two tensors came back. Join them to one: `torch.cat([...], dim=1)`.": {"joined": lambda x, y: (x, y)},
    "`stack` makes a new axis and wants equal shapes. Put the two side by side: `torch.cat([...], dim=1)`.": {
        "joined": lambda x, y: torch.stack([x, y.to(x.dtype)], dim=1)
    },
    "`torch.cat` takes its tensors in one list or tuple: `torch.cat([x.flatten(1), ...], dim=1)`.": {
        "joined": lambda x, y: torch.cat(x, y, dim=1)
    },
    "x and the one-hot vectors are added. Put them side by side: `torch.cat([...], dim=1)`.": {
        "joined": lambda x, y: x + y
    },
    "x and the one-hot vectors are multiplied. Put them side by side: `torch.cat([...], dim=1)`.": {
        "joined": lambda x, y: x * y
    },
    "Each number of x is multiplied with the one-hot vector, (N, D · classes). Put the two side by side: "
    "`torch.cat([...], dim=1)`.": {
        "joined": lambda x, y: (x[:, :, None] * y[:, None].to(x.dtype)).flatten(1)
    },
    "The result is transposed, (D + classes, N). The rows belong to the examples: leave the `.T` out.": {
        "joined": lambda x, y: torch.cat([x, y.to(x.dtype)], dim=1).T
    },
}
_FLATTENED = {
    "`flatten()` makes one row of the whole batch. Keep axis 0, the examples: `x.flatten(1)`.": {
        "flat": lambda x: x.flatten()
    },
    "The images are not flattened, so they cannot stand beside vectors. `x.flatten(1)` makes a row of each.": {
        "flat": lambda x: x
    },
    "The whole batch becomes a single row. Keep axis 0, the examples: `x.flatten(1)` or `x.reshape(len(x), -1)`.": {
        "flat": lambda x: x.reshape(1, -1)
    },
    "`x.flatten(0, 1)` joins the examples with axis 1. Keep axis 0 and flatten the rest: `x.flatten(1)`.": {
        "flat": lambda x: x.flatten(0, 1)
    },
    "`x.flatten(0, -2)` joins the examples with all axes but the last. Keep axis 0 and flatten the rest: "
    "`x.flatten(1)`.": {"flat": lambda x: x.flatten(0, -2)},
    "784 is written in, but x may hold any number of numbers. `x.flatten(1)` keeps axis 0 and flattens the rest.": {
        "flat": lambda x: x.view(-1, 784)
    },
    "`x.flatten(2)` leaves axis 1 as it is. Keep axis 0 only: `x.flatten(1)`.": {
        "flat": lambda x: x.flatten(2)
    },
    "The reshaped numbers are in the wrong order: each column is an example only after a transpose. Keep axis 0, "
    "`x.flatten(1)`.": {"flat": lambda x: x.reshape(-1, len(x)).T},
    "Of each image only the first channel or row is kept. Keep all of its numbers: `x.flatten(1)`.": {
        "flat": lambda x: x.reshape(len(x), x.shape[1], -1)[:, 0]
    },
}
conditional_inputs.slips(_conditional, _ENCODINGS, _INPUT_JOINTS, _FLATTENED)


def _maps(x, labels, classes):
    """The label as further channels."""
    encoded = F.one_hot(labels, classes).to(x.dtype)
    encoded = encoded.reshape(len(x), classes, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
    return torch.cat([x, encoded], dim=1)


conditional_inputs.mistakes(
    {
        "`F.one_hot` does not know the number of classes, and takes the highest label that occurs. Give it: "
        "`F.one_hot(labels, classes)`.": [
            {"F.one_hot(labels, classes)": "F.one_hot(labels)"},
            _conditional(encoded=lambda labels, classes: F.one_hot(labels, int(labels.max()) + 1)),
        ],
        "The label is appended as one number, which makes class 4 twice class 2. Append a one-hot vector: "
        "`F.one_hot(labels, classes)`.": lambda x, labels, classes: torch.cat(
            [x.flatten(1), labels.unsqueeze(1)], dim=1
        ),
        "`labels` itself cannot stand beside x: it has one axis. Make one-hot vectors of it: `F.one_hot(labels, "
        "classes)`.": lambda x, labels, classes: torch.cat([x.flatten(1), labels], dim=1),
        "The label is scaled to one number between 0 and 1. Append a one-hot vector: `F.one_hot(labels, classes)`.": (
            _conditional(encoded=lambda labels, classes: labels[:, None] / max(classes - 1, 1))
        ),
        "The arguments of `F.one_hot` have changed places: the labels come first, `F.one_hot(labels, classes)`.": (
            lambda x, labels, classes: torch.cat([x.flatten(1), F.one_hot(classes, labels)], dim=1)
        ),
        "The label becomes further channels here, as for convolutions. For dense layers, flatten x and append one "
        "vector: `torch.cat([x.flatten(1), ...], dim=1)`.": _maps,
        "The second argument of `F.one_hot` is the number of classes. Here it is the number of columns of x.": (
            lambda x, labels, classes: torch.cat([_rows(x), F.one_hot(labels, _rows(x).shape[1])], dim=1)
        ),
        next(one for one in _FLATTENED if one.startswith("`flatten()`")): [
            _conditional(joined=lambda x, y: torch.cat([x.flatten(), y.flatten().to(x.dtype)])),
            _conditional(joined=lambda x, y: torch.cat([x.flatten(), y.flatten().to(x.dtype)], dim=0)[None]),
        ],
        "`torch.eye(len(x))` has a row for each example. One for each class is needed: `torch.eye(classes)[labels]`.": (
            _conditional(encoded=lambda labels, classes: torch.eye(len(labels))[labels])
        ),
        "A list came back. Join its rows to one tensor with `torch.stack`.": lambda x, labels, classes: list(
            conditional_inputs.reference(x, labels, classes)
        ),
    }
)
conditional_inputs.pairs_of_slips(
    _conditional,
    {
        "The label stands before x.": {"joined": lambda x, y: torch.cat([y.to(x.dtype), x], dim=1)},
    },
    {
        "`F.one_hot` is not told the number of classes.": {
            "encoded": lambda labels, classes: F.one_hot(labels)
        },
        "The label is one number, where a one-hot vector belongs.": {
            "encoded": lambda labels, classes: labels[:, None]
        },
    },
)
conditional_inputs.pairs_of_slips(
    _conditional,
    {"The images are not flattened: `x.flatten(1)` makes a row of each.": {"flat": lambda x: x}},
    {
        "`F.one_hot` is not told the number of classes.": {
            "encoded": lambda labels, classes: F.one_hot(labels)
        },
        "The label stands before x.": {"joined": lambda x, y: torch.cat([y.to(x.dtype), x], dim=1)},
    },
)


# Section 12: a tagger that does not look at the mass ----------------------------------------------------------


MASS = 13  # the column of the groomed mass
W_AUC = 0.85  # at least
W_MASS_FRACTION = 0.2  # at most, of the background kept; before any cut it is 0.115


@functools.cache
def _w_scaling():
    """Mean and standard deviation of the training jets that a W, a quark or a gluon left, (15,) each."""
    train = data.jets().train
    x = train.x[train.y <= data.JETS.index("W")]
    return x.mean(dim=0), x.std(dim=0)


def _w_jets(x, kind):
    """Jets of gluons, quarks and Ws with standardized features, and labels 1 for W, 0 for the others."""
    w = data.JETS.index("W")
    mean, std = _w_scaling()
    return data.Split((x[kind <= w] - mean) / std, (kind[kind <= w] == w).long())


def _w_jets_kept_back():
    """3,600 jets, of other collisions than those of data.jets(), standardized as in the lesson."""
    stored = data.shipped("jets_held_out.npz")
    return _w_jets(torch.from_numpy(stored["x"]), torch.from_numpy(stored["y"]).long())


def _logits_of(model, x):
    return torch.cat([model(part) for part in x.split(500)]).flatten()


def _w_auc(logits, labels):
    return float(roc_auc_score(labels.cpu(), logits.cpu()))


def _kept(logits, labels):
    """Where, among the background jets, the tenth with the largest logits is."""
    background = logits[labels == 0]
    return background.topk(len(background) // 10).indices


def _fraction_in_the_window(logits, split):
    """Of the background jets that a cut keeps, one in ten, the fraction with a mass of 60 to 105 GeV."""
    mean, std = (part[MASS].item() for part in _w_scaling())
    mass = split.x[split.y == 0, MASS] * std + mean
    kept = mass[_kept(logits, split.y)]
    return ((kept > 60) & (kept < 105)).float().mean().item()


def _tells_the_mass(logits, split):
    """The largest fraction of one mass decile in the background that is kept."""
    mass = split.x[split.y == 0, MASS].contiguous()
    deciles = torch.bucketize(mass, mass.quantile(torch.linspace(0.1, 0.9, 9).to(mass)))
    kept = deciles[_kept(logits, split.y)]
    return (kept.bincount(minlength=10).max() / len(kept)).item()


class _MassExercise(ModelExercise):
    """A tagger that has to find W jets, without a cut on its output shaping the mass of the background."""

    def _unfit(self, given):
        (tagger,) = given
        if isinstance(tagger, tuple | list) and any(isinstance(one, nn.Module) for one in tagger):
            return self._wrong("Return the tagger alone, not a tuple of networks.")
        if callable(tagger) and not isinstance(tagger, nn.Module | type):
            return self._wrong(
                f"A function arrived. If it is `{self.name}`, call it; if it is the tagger, write it as the `forward` "
                "of an `nn.Module`, which knows its weights and its mode."
            )
        return super()._unfit(given)

    def _unfit_outputs(self, outputs, x, split):
        sentence = _unfit_logits(outputs, len(x))
        return self._wrong(sentence) if sentence else None

    def _reached(self, outputs, split):
        auc, fraction = (
            self._score(outputs.flatten(), split.y),
            _fraction_in_the_window(outputs.flatten(), split),
        )
        return (
            auc >= W_AUC and fraction <= W_MASS_FRACTION,
            f"AUC {auc:.3f} (at least {W_AUC}), fraction of the kept background with the mass of a W {fraction:.3f} "
            f"(at most {W_MASS_FRACTION})",
        )


def _unfit_logits(logits, count):
    """What is wrong with the shape of what a tagger returned; "" if nothing is."""
    asked = f"For {count} jets it should give {count} logits, (N,) or (N, 1)"
    if not isinstance(logits, Tensor):
        return f"{asked}, but this came back: {show(logits)}."
    shape = tuple(logits.shape)
    if shape in ((count,), (count, 1)):
        return ""
    if shape == (count, 2):
        return (
            f"{asked}, but the shape is {shape}. One logit is enough to tell W from background: end with "
            "`nn.Linear(64, 1)`, or return the difference of the two."
        )
    if shape == (count, 10):
        return f"{asked}, but the shape is {shape}. Is this the adversary, with its ten deciles? Pass the tagger."
    return (
        f"{asked}, but the shape is {shape}. Does the network end with `nn.Linear(64, 1)`, and is the tagger alone "
        "returned?"
    )


def _trained_against_an_adversary(**options):
    """Decorate the solution of `decorrelated_tagger`."""
    return lambda solution: _MassExercise(solution, attempt="tagger", held_out=_w_jets_kept_back, **options)


@_trained_against_an_adversary(
    score=_w_auc,
    floors={"AUC": W_AUC},
    hints=[
        "An adversary gets the tagger's logit, one number, and guesses the decile of the mass, of background jets "
        "only. The tagger minimizes its own loss minus λ times the adversary's.",
        "Take turns: a step of the adversary on `logits.detach()`, then one of the tagger. The adversary should be the "
        "faster of the two, learning rates 1e-2 and 2e-3. Start with λ = 2.",
        "λ = 7, Adam without momentum, `betas=(0.0, 0.999)`, for both; learning rates that fall to 0 "
        "(`CosineAnnealingLR`), batches of 256, 15 epochs. Both networks have two hidden layers of 64 units.",
    ],
)
def decorrelated_tagger(train_jets, valid_jets):
    """Return a tagger, an nn.Module from jets x (N, 15), standardized features, to logits (N,) or (N, 1), trained.

    It tells W jets (y = 1) from quark and gluon jets (y = 0). Column 13 of x is the mass. At 10 % of the background
    kept, few of the jets that it keeps may have the mass of a W.
    """

    def network(inputs, outputs):
        layers = nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs)
        return nn.Sequential(*layers).to(train_jets.x.device)

    torch.manual_seed(0)
    tagger, adversary = network(15, 1), network(1, 10)
    strength, epochs = 7, 15
    mass, background = train_jets.x[:, 13].contiguous(), train_jets.y == 0
    borders = mass[background].quantile(torch.linspace(0.1, 0.9, 9).to(mass))
    decile = torch.bucketize(mass, borders)
    batches = data.Split(train_jets.x, torch.stack([train_jets.y, decile], dim=1)).batches(256, shuffle=True)
    optimizers = [  # without momentum the results scatter less from seed to seed
        torch.optim.Adam(net.parameters(), lr=lr, betas=(0.0, 0.999))
        for net, lr in ((tagger, 2e-3), (adversary, 1e-2))
    ]
    schedulers = [
        torch.optim.lr_scheduler.CosineAnnealingLR(one, epochs * len(batches)) for one in optimizers
    ]
    for _ in range(epochs):
        for x, targets in batches:
            y, decile = targets.unbind(dim=1)
            logits, known = tagger(x), y == 0
            optimizers[1].zero_grad()
            F.cross_entropy(adversary(logits[known].detach()), decile[known]).backward()
            optimizers[1].step()
            optimizers[0].zero_grad()
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], y.float())
            (loss - strength * F.cross_entropy(adversary(logits[known]), decile[known])).backward()
            optimizers[0].step()
            for scheduler in schedulers:
                scheduler.step()
    return tagger


lesson.add(decorrelated_tagger)


@decorrelated_tagger.symptom("Only two values come out. Return the logit, not the decision.")
def _(model, jets):
    return _logits_of(model, jets.x).unique().numel() == 2


@decorrelated_tagger.symptom(
    "It gives the same logit for nearly every jet. Is λ or the learning rate too high, or did you train a different "
    "network from the one you returned?"
)
def _(model, jets):
    logits = _logits_of(model, jets.x)
    return logits.unique().numel() < len(jets) / 20


@decorrelated_tagger.symptom(
    "Its answer depends on the other jets of the batch. Is there something like a softmax over axis 0, or a mean over "
    "the batch, in its `forward`?"
)
def _(model, jets):
    alone = torch.cat([model(jets.x[i : i + 1]).flatten() for i in range(5)])
    return not torch.allclose(alone, model(jets.x[:500]).flatten()[:5], rtol=1e-2, atol=1e-2)


@decorrelated_tagger.symptom(
    "The larger the logit, the less a jet looks like a W. Train it with y = 1 for W, as the split has it, and the "
    "classification loss with a plus."
)
def _(model, jets):
    return _w_auc(_logits_of(model, jets.x), jets.y) < 0.2


@decorrelated_tagger.symptom(
    "It does far better on the raw features than on the standardized ones. Train it on the split that the cell hands "
    "over."
)
def _(model, jets):
    mean, std = (part.to(jets.x.device) for part in _w_scaling())
    raw = _logits_of(model, jets.x * std + mean)
    usable = raw.isfinite().all()
    return usable and _w_auc(raw, jets.y) > max(_w_auc(_logits_of(model, jets.x), jets.y) + 0.1, 0.8)


@decorrelated_tagger.symptom(
    "The background that it keeps is nearly all of one mass: its output tells the mass. Is the sign of λ in the "
    "tagger's loss a minus? If so, does the tagger's optimizer take its steps?"
)
def _(model, jets):
    return _tells_the_mass(_logits_of(model, jets.x), jets) > 0.6


@decorrelated_tagger.symptom(
    "It hardly knows a W. Does the adversary see background only? To hide the mass of the W jets as well costs nearly "
    "everything. If so, is λ too large, or the tagger's optimizer without its parameters?"
)
def _(model, jets):
    return _w_auc(_logits_of(model, jets.x), jets.y) < 0.75


@decorrelated_tagger.symptom(
    "It is one affine map of the features, which knows the mass in part whether it sees column 13 or not. Give it "
    "hidden layers with ReLUs between them, and train it against an adversary."
)
def _(model, jets):
    one, other = jets.x[:500], jets.x[500:1000]
    affine = model(one) + model(other) - model(torch.zeros_like(one))
    return torch.allclose(model(one + other), affine, rtol=1e-3, atol=1e-3)


@decorrelated_tagger.symptom(
    "It does not look at the mass, and knows it all the same: the other 14 features give it away. Train it against an "
    "adversary that guesses the mass from its logit."
)
def _(model, jets):
    x = jets.x.clone()
    x[:, MASS] = x[:, MASS].flip(0)
    blind = torch.allclose(_logits_of(model, x), _logits_of(model, jets.x), rtol=1e-3, atol=1e-3)
    return blind and _fraction_in_the_window(_logits_of(model, jets.x), jets) > 0.35


@decorrelated_tagger.symptom(
    "It has learned the mass: of the background it keeps, far too much has the mass of a W. Train it against an "
    "adversary. If you have one: in the tagger's half, does its loss get the logits with their history, without "
    "`detach`? Is λ too small?"
)
def _(model, jets):
    return _fraction_in_the_window(_logits_of(model, jets.x), jets) > 0.35


@decorrelated_tagger.symptom(
    "The mass still shows, though less. Try an adversary, or give the one you have more of a say: a larger λ, a "
    "learning rate a few times the tagger's, Adam without momentum, `betas=(0.0, 0.999)`."
)
def _(model, jets):
    logits = _logits_of(model, jets.x)
    return _fraction_in_the_window(logits, jets) > W_MASS_FRACTION and _w_auc(logits, jets.y) >= W_AUC


@decorrelated_tagger.symptom(
    "It hides the mass, at too high a price: it has forgotten too much about W jets. Does the adversary take steps of "
    "its own? If so, try a smaller λ, `betas=(0.0, 0.999)`, or more epochs."
)
def _(model, jets):
    return _fraction_in_the_window(_logits_of(model, jets.x), jets) <= W_MASS_FRACTION


@decorrelated_tagger.symptom(
    "It is too poor a tagger, and it knows the mass besides. Does the classification loss fall? Try more epochs, and "
    "learning rates that fall to 0, so that the game settles down."
)
def _(model, jets):
    return True


# Section 13: the quiz -----------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "For the first two: what does the discriminator say about a fake, D = ½ or D ≈ 0, and what does each loss make "
        "of that? For `all_alike`: which number is different if one class is all there is?",
        "For `unequal_numbers`: two sets of the same images do not have distance 0. For `far_apart`: what is m where "
        "p is 0? For `why_detach`: which gradients does the next zero_grad delete?",
        "For `smallest_change`: how did the path look where the two took turns? For `mass_deleted`: could you guess "
        "the mass from the other 14 features?",
    ],
    loss_of_ln_4=Question(
        "b",
        "On average it does no better than someone who always says ½. Whether there is a difference, a better expert "
        "may tell.",
        {
            "a": "Perfect fakes give this loss, but so do bad ones, if the discriminator is too weak or too slow.",
            "c": "Nothing follows about failure: if the fakes were perfect, the loss would be the same.",
            "d": "A mean loss counts no images; it does not say how many of them are perfect.",
        },
    ),
    sure_expert=Question(
        "b",
        "With D ≈ 0 for the fakes, the slope of −ln D with respect to the logit is about −1. That of ln(1 − D) is −D, "
        "about 0.",
        {
            "a": "Its slope with respect to the logit is −D, and the expert gives D ≈ 0 for fakes: nothing is left.",
            "c": "Only one of them: the slope of ln(1 − D) with respect to the logit is −D, about 0.",
            "d": "The slope of −ln D with respect to the logit is D − 1, about −1 where D ≈ 0.",
        },
    ),
    all_alike=Question(
        "c",
        "Nine of the ten classes never occur, so the smallest fraction is 0.",
        {
            "a": "A perfect seven makes the judge sure, each time.",
            "b": "It need not move: we saw collapse with a loss of 2 ln 2.",
            "d": "A perfect seven can lie as near to some training digit, or as far, as any other good one.",
        },
    ),
    unequal_numbers=Question(
        "c",
        "The distance is biased: means and covariances of few images are noisy, which adds to it. Draw as many from A "
        "as from B.",
        {
            "a": "A's distance is larger in part because it has only 500 images. Nobody knows how large that part is.",
            "b": "A smaller distance would be better, and A's is not smaller. But the numbers of images differ.",
            "d": "This is no noise, which might go either way: few images always make the distance larger on average.",
        },
    ),
    far_apart=Question(
        "b",
        "Without overlap, m is p/2 or q/2 everywhere, so both divergences are ln 2, however far apart they are.",
        {
            "a": "The Wasserstein distance doubles. The divergence does not know how far apart outcomes are.",
            "c": "KL(p ‖ q) is infinite. JS compares with the mixture m, which is 0 nowhere that p or q is not.",
            "d": "It never falls as they move apart. It is at its largest value already.",
        },
    ),
    why_detach=Question(
        "b",
        "The generator gets gradients from D's loss, and its zero_grad deletes them before they are used. `detach` "
        "saves computing them.",
        {
            "a": "D's optimizer moves D's weights only, and the gradients left in the generator are deleted before its "
            "own backward.",
            "c": "Its optimizer takes one step, after its own zero_grad. What D's loss left behind is gone by then.",
            "d": "D's own gradients are the same with `detach` and without.",
        },
    ),
    smallest_change=Question(
        "c",
        "Then the two take turns, and the path stays near the circle. To make it go inwards takes more: an extra "
        "step, or a penalty.",
        {
            "a": "Each step multiplies the radius by √(1 + α²), above 1 for any α. The spiral only gets slower.",
            "b": "Momentum keeps old directions alive, so it runs outwards faster.",
            "d": "Every further step makes the radius larger.",
        },
    ),
    mass_deleted=Question(
        "b",
        "They do: without the mass column the tagger keeps as many background jets with the mass of a W as with it.",
        {
            "a": "The other 14 features tell a good deal about the mass, and the tagger learns that.",
            "c": "A linear tagger uses the other features as well, and they go with the mass.",
            "d": "Dropout hides features at random in training. All of them are back afterwards.",
        },
    ),
)
