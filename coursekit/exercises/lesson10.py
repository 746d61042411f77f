"""The exercises of lesson 10, Attention and transformers: solutions, classic mistakes, hints."""

import contextlib
import functools
import io
import itertools
import math
import numbers
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import data, train
from coursekit.checks import ExerciseSet, ModelExercise, NamedFunction, Question, normal

lesson = ExerciseSet("Lesson 10")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# Section 1: attention -----------------------------------------------------------------------------------------


def _attention_case(*batch, T, S, d, E, seed, allowed=None, dtype=torch.float32):
    """Queries, keys, values and a mask."""
    q = normal(*batch, T, d, seed=seed, dtype=dtype)
    k = normal(*batch, S, d, seed=seed + 1, dtype=dtype)
    return q, k, normal(*batch, S, E, seed=seed + 2, dtype=dtype), allowed


def _attention_far_below():
    """Queries and keys whose scores are all near −30."""
    allowed = torch.tensor([[True, False, True], [False, True, True]])
    q, k, v, _ = _attention_case(2, T=2, S=3, d=4, E=2, seed=80)
    q[..., 0], k[..., 0] = 6.0, -10.0
    return q, k, v, allowed


def _attention_padding(*counts, S):
    """A mask (N, 1, 1, S) of sequences that are so long."""
    return torch.arange(S) < torch.tensor(counts)[:, None, None, None]


_ATTENTION_ROWS = torch.tensor(
    [[True, False, True, False, True], [False, True, True, False, False], [True, True, False, True, False]]
)
_ATTENTION_OWN = torch.tensor(
    [
        [[True, False, True, False], [False, True, True, True]],
        [[False, False, True, True], [True, True, True, False]],
    ]
).unsqueeze(1)


@lesson.exercise(
    cases={
        "the example on paper": (
            math.sqrt(2) * torch.tensor([[2.0, 3.0]]).log(),
            torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
            torch.tensor([[11.0], [22.0], [0.0]]),
            None,
        ),
        "no batch axes": _attention_case(T=2, S=3, d=4, E=5, seed=10),
        "a batch": _attention_case(2, T=3, S=4, d=5, E=6, seed=20),
        "all sizes equal": _attention_case(3, T=3, S=3, d=3, E=3, seed=30),
        "several heads": _attention_case(2, 3, T=4, S=6, d=5, E=7, seed=40),
        "a causal mask (T, T)": _attention_case(
            3, T=4, S=4, d=2, E=5, seed=50, allowed=torch.ones(4, 4, dtype=torch.bool).tril()
        ),
        "a mask of padding (N, 1, 1, S)": _attention_case(
            2, 3, T=4, S=5, d=6, E=2, seed=60, allowed=_attention_padding(4, 2, S=5)
        ),
        "all sizes equal, a mask of padding": _attention_case(
            3, 3, T=3, S=3, d=3, E=3, seed=65, allowed=_attention_padding(2, 1, 2, S=3)
        ),
        "a mask (N, 1, T, S)": _attention_case(2, 2, T=2, S=4, d=3, E=4, seed=70, allowed=_ATTENTION_OWN),
        "scores near −30": _attention_far_below(),
        "one query": _attention_case(
            1, T=1, S=4, d=2, E=3, seed=90, allowed=torch.tensor([[True, True, False, True]])
        ),
        "float64 numbers": _attention_case(
            2, T=3, S=5, d=4, E=3, seed=95, allowed=_ATTENTION_ROWS, dtype=torch.float64
        ),
    },
    hints=[
        "Every query meets every key, which gives scores (…, T, S). Which axis of the scores are the keys?",
        "`scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])`. Where a query may not look, the score has to be "
        "so low that the softmax gives it weight 0.",
        "`scores.masked_fill(~allowed, -math.inf)` if there is a mask, then `weights = scores.softmax(dim=-1)`. The "
        "outputs are `weights @ v`.",
    ],
    returns=("outputs", "weights"),
)
def attention(q, k, v, allowed=None):
    """Return the outputs (…, T, E) of scaled dot-product attention, and its weights (…, T, S).

    `q` is (…, T, d), `k` (…, S, d), `v` (…, S, E). `allowed`, bool, (…, T, S) or broadcastable to it, is True where a
    query may look; None allows everything.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


def _attending(
    compare=lambda q, k: q @ k.transpose(-2, -1),
    scale=lambda scores, q, k, v: scores / math.sqrt(q.shape[-1]),
    hide=lambda scores, allowed: scores.masked_fill(~allowed, -math.inf),
    normalize=lambda scores: scores.softmax(dim=-1),
    hide_weights=lambda weights, allowed: weights,
    collect=lambda weights, q, k, v: weights @ v,
    result=lambda outputs, weights, scores: (outputs, weights),
):
    """Attention, with what can go wrong as arguments."""

    def attempt(q, k, v, allowed=None):
        scores = scale(compare(q, k), q, k, v)
        if allowed is not None:
            scores = hide(scores, allowed)
        weights = normalize(scores)
        if allowed is not None:
            weights = hide_weights(weights, allowed)
        return result(collect(weights, q, k, v), weights, scores)

    return attempt


def _attention_filled(value):
    return lambda scores, allowed: scores.masked_fill(~allowed, value)


def _attention_both(**options):
    """Two attempts: what is hidden has the score −inf, or a large negative one."""
    return [_attending(**options), _attending(hide=_attention_filled(-1e9), **options)]


def _attention_unhidden(scores, allowed):
    return scores


def _attention_rows_divided(weights):
    return weights / weights.sum(dim=-1, keepdim=True)


def _attention_scaled(size):
    return {"scale": lambda scores, q, k, v: scores / math.sqrt(size(q, k, v))}


def _attention_softmax(dim):
    return {"normalize": lambda scores: scores.softmax(dim=dim)}


def _attention_if_allowed(q, k, v, allowed=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if allowed:
        scores = scores.masked_fill(~allowed, -math.inf)
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


def _attention_always(hide):
    """Attention that takes for granted that there is a mask."""

    def attempt(q, k, v, allowed=None):
        weights = hide(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), allowed).softmax(dim=-1)
        return weights @ v, weights

    return attempt


def _attention_put(value):
    def hide(scores, allowed):
        scores[~allowed] = value
        return scores

    return hide


def _attention_unpacked(count):
    def attempt(q, k, v, allowed=None):
        if count == 2:
            _, d = q.shape
        elif count == 3:
            _, _, d = q.shape
        else:
            _, _, _, d = q.shape
        return _attending(scale=lambda scores, q, k, v: scores / math.sqrt(d))(q, k, v, allowed)

    return attempt


def _attention_by_keys(q, k, v, allowed=None):
    """Scores of every key with every query, softmax over the keys, weights that come out (…, S, T)."""
    scores = k @ q.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed.transpose(-2, -1), -math.inf)
    weights = scores.softmax(dim=-2)
    return weights.transpose(-2, -1) @ v, weights


def _attention_hidden_values(q, k, v, allowed=None):
    weights = _attending(hide=_attention_unhidden)(q, k, v, allowed)[1]
    outputs = weights @ v if allowed is None else weights.masked_fill(~allowed, 0.0) @ v
    return outputs, weights


_ATTENTION_SCALES = {
    "The scores are not scaled. Divide them by √d before the softmax: `/ math.sqrt(q.shape[-1])`.": {
        "scale": lambda scores, q, k, v: scores
    },
    "The scores are divided by d, or by √d twice. Divide them once, by the root: `/ math.sqrt(q.shape[-1])`.": {
        "scale": lambda scores, q, k, v: scores / q.shape[-1]
    },
    "The scores are multiplied by √d. Divide them: dot products of d numbers grow like √d, and the softmax should not "
    "notice.": {"scale": lambda scores, q, k, v: scores * math.sqrt(q.shape[-1])},
    "The scores are divided by the fourth root of d. One square root is enough: `/ math.sqrt(q.shape[-1])`.": {
        "scale": lambda scores, q, k, v: scores / q.shape[-1] ** 0.25
    },
    "The scores are divided by d². Divide them by √d: `/ math.sqrt(q.shape[-1])`.": {
        "scale": lambda scores, q, k, v: scores / q.shape[-1] ** 2
    },
    "The root is that of E, the length of a value. The scores are dot products of d numbers: "
    "`/ math.sqrt(q.shape[-1])`.": _attention_scaled(lambda q, k, v: v.shape[-1]),
    "The root is that of T, the number of queries. d is the last axis of q: `/ math.sqrt(q.shape[-1])`.": (
        _attention_scaled(lambda q, k, v: q.shape[-2])
    ),
    "The root is that of S, the number of keys. d is the last axis of q and k: `/ math.sqrt(q.shape[-1])`.": (
        _attention_scaled(lambda q, k, v: k.shape[-2])
    ),
    "`len(q)`, or `q.shape[0]`, is the size of the first axis. d is the last one: `/ math.sqrt(q.shape[-1])`.": (
        _attention_scaled(lambda q, k, v: len(q))
    ),
    "`q.shape[1]` is d only without batch axes. Count from the end: `/ math.sqrt(q.shape[-1])`.": (
        _attention_scaled(lambda q, k, v: q.shape[1])
    ),
    "`q.shape[2]` is d only with one batch axis. Count from the end: `/ math.sqrt(q.shape[-1])`.": (
        _attention_scaled(lambda q, k, v: q.shape[2])
    ),
}
_ATTENTION_SOFTMAX = {
    "The weights are a sigmoid, so those of a query do not add up to 1. Take the softmax over the keys, "
    "`softmax(dim=-1)`.": {"normalize": torch.sigmoid},
    "The softmax is taken twice, which evens the weights out. Once is enough.": {
        "normalize": lambda scores: scores.softmax(dim=-1).softmax(dim=-1)
    },
    "The exponentials are not divided by their sum, so the weights of a query do not add up to 1. "
    "`softmax(dim=-1)` does both.": {"normalize": torch.exp},
    "Every query takes the value of its best key alone. Attention mixes the values: take the softmax over the keys.": {
        "normalize": lambda scores: F.one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(scores)
    },
    "The softmax runs over queries and keys at once. Each query has weights of its own, which add up to 1: "
    "`softmax(dim=-1)`.": {"normalize": lambda scores: scores.flatten(-2).softmax(dim=-1).view_as(scores)},
    "The exponentials are divided by the sum over the whole tensor. Divide those of each query by their own sum: "
    "`softmax(dim=-1)`.": {"normalize": lambda scores: scores.exp() / scores.exp().sum()},
}
_ATTENTION_MASKS = {
    "Forbidden keys get weight as if there were no mask. Write `scores = scores.masked_fill(~allowed, -math.inf)`: the "
    "result has to be assigned, and the number has to be far below 0.": {"hide": _attention_unhidden},
    "The mask is applied after the softmax, so the weights of a query no longer add up to 1. Put −inf into the scores, "
    "before the softmax.": {
        "hide": _attention_unhidden,
        "hide_weights": lambda weights, allowed: weights.masked_fill(~allowed, 0.0),
    },
    "−inf is put into the weights, after the softmax. Put it into the scores, before it: the softmax makes 0 of it.": {
        "hide": _attention_unhidden,
        "hide_weights": lambda weights, allowed: weights.masked_fill(~allowed, -math.inf),
    },
    "−1e9 is put into the weights, after the softmax. Put it into the scores, before it: the softmax makes 0 of it.": {
        "hide": _attention_unhidden,
        "hide_weights": lambda weights, allowed: weights.masked_fill(~allowed, -1e9),
    },
    "Forbidden keys have the score +inf. It should be −inf, for exp(−inf) = 0.": {
        "hide": _attention_filled(math.inf)
    },
    "The forbidden keys have a huge positive score, so they get all the weight. It should be negative, or −inf.": {
        "hide": _attention_filled(1e9)
    },
    "Forbidden keys have the score −1, which is not low enough: other scores may be lower. Fill with `-math.inf`.": {
        "hide": _attention_filled(-1.0)
    },
    "Forbidden keys have the score −20, which is not low enough: other scores may be lower. Fill with `-math.inf`.": {
        "hide": _attention_filled(-20.0)
    },
    "Forbidden keys have the score −10, which is not low enough: other scores may be lower. Fill with `-math.inf`.": {
        "hide": _attention_filled(-10.0)
    },
    "The mask is added as numbers, 1 for allowed, and that changes the weights only a little. Fill with −inf where it "
    "is False: `scores.masked_fill(~allowed, -math.inf)`.": {
        "hide": lambda scores, allowed: scores + allowed
    },
    "Forbidden scores are multiplied by −inf: a negative one becomes +inf. Set them instead, "
    "`scores.masked_fill(~allowed, -math.inf)`.": {
        "hide": lambda scores, allowed: torch.where(allowed, scores, scores * -math.inf)
    },
    "Forbidden scores are multiplied by −1e9: a negative one becomes the largest of all. Set them instead, "
    "`scores.masked_fill(~allowed, -math.inf)`.": {
        "hide": lambda scores, allowed: torch.where(allowed, scores, scores * -1e9)
    },
}
_ATTENTION_COLLECTED = {
    "The weights mix the keys here. They say how much of each value to take: `weights @ v`.": {
        "collect": lambda weights, q, k, v: weights @ k
    },
    "The weights are multiplied by the queries. They say how much of each value to take: `weights @ v`.": {
        "collect": lambda weights, q, k, v: weights @ q
    },
    "The weights are transposed before they meet the values, so the sum runs over the queries. `weights @ v` sums over "
    "the keys.": {"collect": lambda weights, q, k, v: weights.transpose(-2, -1) @ v},
    "The outputs are transposed, (…, E, T). `weights @ v` is (…, T, E).": {
        "collect": lambda weights, q, k, v: (weights @ v).transpose(-2, -1)
    },
    "The product is the wrong way round, `v @ weights`. Its rows belong to the queries: `weights @ v`.": {
        "collect": lambda weights, q, k, v: v @ weights
    },
    "`*` multiplies number by number. The weighted sum of the values is a matrix product: `weights @ v`.": {
        "collect": lambda weights, q, k, v: weights * v
    },
    "The weighted values are divided by the number of keys, as for a mean. The weights add up to 1 already: "
    "`weights @ v`.": {"collect": lambda weights, q, k, v: weights @ v / v.shape[-2]},
    "The queries are added to the outputs. That is the residual connection of a block, and it comes later: "
    "`weights @ v` is all.": {"collect": lambda weights, q, k, v: q + weights @ v},
}
_ATTENTION_RETURNED = {
    "The weights are None: `F.scaled_dot_product_attention` does not return them. Compute them yourself.": {
        "result": lambda outputs, weights, scores: (outputs, None)
    },
    "Only the outputs came back. Return the weights as well: `return weights @ v, weights`.": {
        "result": lambda outputs, weights, scores: outputs
    },
    "Only the weights came back. Return the outputs first: `return weights @ v, weights`.": {
        "result": lambda outputs, weights, scores: weights
    },
    "The order is swapped. The outputs come first: `return weights @ v, weights`.": {
        "result": lambda outputs, weights, scores: (weights, outputs)
    },
    "The outputs came back twice. The second result should be the weights: `return weights @ v, weights`.": {
        "result": lambda outputs, weights, scores: (outputs, outputs)
    },
    "The weights came back twice. The first result should be the outputs, `weights @ v`.": {
        "result": lambda outputs, weights, scores: (weights, weights)
    },
    "Scores, weights and outputs came back. Return two of them: `return weights @ v, weights`.": {
        "result": lambda outputs, weights, scores: (outputs, weights, scores)
    },
    "A dict came back. Return the two tensors, outputs first: `return weights @ v, weights`.": {
        "result": lambda outputs, weights, scores: {"outputs": outputs, "weights": weights}
    },
}
attention.slips(
    _attending,
    _ATTENTION_SCALES,
    _ATTENTION_SOFTMAX,
    _ATTENTION_MASKS,
    _ATTENTION_COLLECTED,
    _ATTENTION_RETURNED,
)
attention.mistakes(
    {
        "The softmax runs over the queries, so each column of the weights adds up to 1. Each query shares out weight 1 "
        "among the keys: `softmax(dim=-1)`.": [
            {"dim=-1": "dim=-2"},
            *_attention_both(**_attention_softmax(-2)),
        ],
        "`softmax(dim=1)` runs over the keys only where there is no batch. The keys are always the last axis: "
        "`dim=-1`.": _attention_both(**_attention_softmax(1)),
        "`softmax(dim=2)` runs over the keys only with one batch axis. The keys are always the last axis: "
        "`dim=-1`.": _attention_both(**_attention_softmax(2)),
        "`softmax(dim=0)` runs over the first axis, the batch where there is one. The keys are the last axis: "
        "`dim=-1`.": _attention_both(**_attention_softmax(0)),
        "Without `dim`, softmax guesses an axis, and it is not always that of the keys. Say `dim=-1`.": _attention_both(
            normalize=lambda scores: scores.softmax(dim=0 if scores.ndim == 3 else 1)
        ),
        "These weights are logarithms: `log_softmax`. Take `softmax(dim=-1)`.": _attention_both(
            normalize=lambda scores: scores.log_softmax(dim=-1)
        ),
        "The softmax is missing: the scores themselves serve as weights. Take `scores.softmax(dim=-1)`.": (
            _attention_both(normalize=lambda scores: scores)
        ),
        "Without the exponential this is no softmax: the scores are divided by their sum, which may be negative or "
        "near 0. Take `scores.softmax(dim=-1)`.": [
            *_attention_both(normalize=_attention_rows_divided),
            _attending(
                normalize=_attention_rows_divided,
                hide=lambda scores, allowed: scores.masked_fill(~allowed, 0.0),
            ),
            _attending(
                normalize=_attention_rows_divided,
                hide=_attention_unhidden,
                hide_weights=lambda weights, allowed: weights * allowed,
            ),
        ],
        "The weights are divided by √d, after the softmax. Divide the scores, before it.": [
            lambda q, k, v, allowed=None: _attending(
                scale=lambda scores, q, k, v: scores,
                normalize=lambda scores: scores.softmax(dim=-1) / math.sqrt(q.shape[-1]),
            )(q, k, v, allowed),
        ],
        "The outputs are divided by √d, not the scores. Divide the scores, before the softmax.": _attending(
            scale=lambda scores, q, k, v: scores,
            collect=lambda weights, q, k, v: weights @ v / math.sqrt(q.shape[-1]),
        ),
        "The scores have the opposite sign, so the most similar key gets the least weight. Leave out the minus.": [
            _attending(compare=lambda q, k: -q @ k.transpose(-2, -1)),
        ],
        "The mask is inverted: True is where a query may look, so fill where it is False, `~allowed`. In "
        "`nn.MultiheadAttention` it is the other way round.": [
            {"~allowed": "allowed"},
            _attending(hide=lambda scores, allowed: scores.masked_fill(allowed, -1e9)),
            _attending(hide=lambda scores, allowed: scores + allowed * -1e9),
            _attending(hide=lambda scores, allowed: scores + allowed.to(scores) * -1e9),
        ],
        "The mask is inverted, and applied after the softmax. Put −inf into the scores where `allowed` is False: "
        "`scores.masked_fill(~allowed, -math.inf)`.": _attending(
            hide=_attention_unhidden, hide_weights=lambda weights, allowed: weights * ~allowed
        ),
        "Forbidden keys have the score 0, or nearly, and exp(0) = 1: they still get weight. Fill with −inf: "
        "`scores.masked_fill(~allowed, -math.inf)`.": [
            _attending(hide=_attention_filled(0.0)),
            _attending(hide=lambda scores, allowed: scores * allowed),
            _attending(hide=_attention_filled(-1e-9)),
        ],
        "0 · −inf is nan, so adding the mask times −inf spoils every score. Set the forbidden ones: "
        "`scores.masked_fill(~allowed, -math.inf)`.": [
            _attending(hide=lambda scores, allowed: scores + allowed.float() * -math.inf),
            _attending(hide=lambda scores, allowed: scores + (~allowed) * -math.inf),
            _attending(hide=lambda scores, allowed: scores + (1 - allowed.float()) * -math.inf),
        ],
        "The mask acts on the outputs, but the weights that came back are those without it. Put −inf into the scores, "
        "before the softmax.": [
            _attention_hidden_values,
            lambda q, k, v, allowed=None: (
                _attending()(q, k, v, allowed)[0],
                _attending(hide=_attention_unhidden)(q, k, v, allowed)[1],
            ),
        ],
        "The mask is transposed. Its rows are the queries already, and its columns the keys.": [
            _attending(
                hide=lambda scores, allowed: scores.masked_fill(~allowed.transpose(-2, -1), -math.inf)
            ),
            _attending(hide=lambda scores, allowed: scores.masked_fill(~allowed.transpose(-2, -1), -1e9)),
        ],
        "`allowed` needs no new axis: it broadcasts to the scores as it is.": [
            *(
                _attending(
                    hide=lambda scores, allowed, axis=axis: scores.masked_fill(
                        ~allowed.unsqueeze(axis), -math.inf
                    )
                )
                for axis in (0, 1, 2)
            ),
            _attending(hide=lambda scores, allowed: scores.masked_fill(~allowed[:, None, None], -math.inf)),
        ],
        "A causal mask of your own is used, whatever `allowed` says. Only `allowed` tells where a query may look.": [
            _attending(
                hide=lambda scores, allowed: scores.masked_fill(
                    ~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), -math.inf
                )
            ),
            lambda q, k, v, allowed=None: _attending()(
                q, k, v, torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
            ),
        ],
        "`scores[~allowed]` wants a mask of the scores' own shape, and `allowed` may only broadcast to it. "
        "`scores.masked_fill(~allowed, -math.inf)` takes care of that.": [
            _attending(hide=_attention_put(-math.inf)),
        ],
        "`if allowed` and `not allowed` ask one question about a whole mask. Write `if allowed is not None`, and "
        "invert with `~allowed`.": _attention_if_allowed,
        "`allowed` may be None, and then there is nothing to hide. Fill only `if allowed is not None`.": [
            _attention_always(lambda scores, allowed: scores.masked_fill(~allowed, -math.inf)),
            _attention_always(lambda scores, allowed: scores.masked_fill(allowed == False, -math.inf)),  # noqa: E712
            _attention_always(lambda scores, allowed: scores.masked_fill(allowed == 0, -math.inf)),
            _attention_always(lambda scores, allowed: scores.masked_fill(allowed.logical_not(), -math.inf)),
            _attention_always(lambda scores, allowed: torch.where(allowed, scores, -math.inf)),
            _attention_always(lambda scores, allowed: scores + (1 - allowed.float()) * -1e9),
            _attention_always(lambda scores, allowed: scores + (~allowed).float() * -1e9),
        ],
        "A bool mask is not subtracted or negated, it is inverted: `~allowed`.": [
            _attending(hide=lambda scores, allowed: scores.masked_fill(1 - allowed, -math.inf)),
            _attending(hide=lambda scores, allowed: scores.masked_fill(-allowed, -math.inf)),
        ],
        "`masked_fill` wants a bool mask, not numbers. Invert it as it is: `~allowed`.": _attending(
            hide=lambda scores, allowed: scores.masked_fill(1 - allowed.float(), -math.inf)
        ),
        "The keys are not transposed. `q @ k.transpose(-2, -1)` gives each query's dot product with each key.": [
            _attending(compare=lambda q, k: q @ k),
        ],
        "`k.T` reverses all axes, those of the batch too. Swap only the last two: `k.transpose(-2, -1)`, or `k.mT`.": [
            _attending(compare=lambda q, k: q @ k.permute(*reversed(range(k.ndim)))),
        ],
        "`k.transpose(0, 1)` or `k.t()` is for keys without batch axes. Count from the end: `k.transpose(-2, -1)`.": [
            _attending(compare=lambda q, k: q @ k.transpose(0, 1)),
            _attending(compare=lambda q, k: q @ k.t()),
        ],
        "Axes 1 and 2 are the last two only with one batch axis. Count from the end: `k.transpose(-2, -1)`.": [
            _attending(compare=lambda q, k: q @ k.transpose(1, 2)),
            _attending(compare=lambda q, k: q @ k.permute(0, 2, 1)),
            _attending(compare=lambda q, k: torch.bmm(q, k.transpose(1, 2))),
            _attending(compare=lambda q, k: torch.bmm(q, k.transpose(-2, -1))),
            _attending(compare=lambda q, k: torch.einsum("ntd,nsd->nts", q, k)),
        ],
        "Axes 2 and 3 are the last two only with two batch axes. Count from the end: `k.transpose(-2, -1)`.": [
            _attending(compare=lambda q, k: q @ k.transpose(2, 3)),
            _attending(compare=lambda q, k: q @ k.permute(0, 1, 3, 2)),
            _attending(compare=lambda q, k: torch.einsum("nhtd,nhsd->nhts", q, k)),
        ],
        "This `einsum` has no room for batch axes. Put dots in their place: `...td,...sd->...ts`.": [
            _attending(compare=lambda q, k: torch.einsum("td,sd->ts", q, k)),
        ],
        "There may be any number of axes before T, so `q.shape` cannot be unpacked like this. d is `q.shape[-1]`.": [
            _attention_unpacked(count) for count in (2, 3, 4)
        ],
        "`torch.sqrt` wants a tensor, and d is one of Python's own numbers. Use `math.sqrt(q.shape[-1])`.": _attending(
            scale=lambda scores, q, k, v: scores / torch.sqrt(q.shape[-1])
        ),
        "The scores are transposed: `k @ q.transpose(-2, -1)` has a row for each key. A row belongs to a query: "
        "`q @ k.transpose(-2, -1)`.": [
            _attending(compare=lambda q, k: k @ q.transpose(-2, -1)),
            _attending(
                compare=lambda q, k: k @ q.transpose(-2, -1), normalize=lambda scores: scores.softmax(dim=-2)
            ),
        ],
        "The weights have a row for each key, (…, S, T). They should have one for each query, (…, T, S): begin with "
        "`q @ k.transpose(-2, -1)`.": [
            _attention_by_keys,
            _attending(result=lambda outputs, weights, scores: (outputs, weights.transpose(-2, -1))),
        ],
        "`q * k` multiplies number by number, so query t meets key t only. All pairs come from "
        "`q @ k.transpose(-2, -1)`.": [
            _attending(compare=lambda q, k: (q * k).sum(dim=-1)),
            _attending(compare=lambda q, k: (q * k).sum(dim=-1, keepdim=True)),
            _attending(compare=lambda q, k: q * k),
        ],
        "Queries are compared with values, or values with keys. The scores are `q @ k.transpose(-2, -1)`.": [
            lambda q, k, v, allowed=None: _attending()(q, v, v, allowed),
            lambda q, k, v, allowed=None: _attending()(v, k, v, allowed),
        ],
        "The queries are compared with themselves. Compare them with the keys: `q @ k.transpose(-2, -1)`.": [
            _attending(compare=lambda q, k: q @ q.transpose(-2, -1)),
        ],
        "The keys are compared with themselves. Compare the queries with them: `q @ k.transpose(-2, -1)`.": [
            _attending(compare=lambda q, k: k @ k.transpose(-2, -1)),
        ],
        "The lengths of q and k are divided out: that is the cosine. The dot product is only divided by √d.": [
            _attending(
                compare=lambda q, k: F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1),
                scale=scale,
            )
            for scale in (
                lambda scores, q, k, v: scores,
                lambda scores, q, k, v: scores / math.sqrt(q.shape[-1]),
            )
        ],
        "The score is the distance, so far keys get the most weight. Take the dot product, "
        "`q @ k.transpose(-2, -1)`.": _attending(compare=torch.cdist),
        "The scores came back in place of the weights. Return what the softmax gives: "
        "`return weights @ v, weights`.": [
            *_attention_both(result=lambda outputs, weights, scores: (outputs, scores)),
            lambda q, k, v, allowed=None: (attention.reference(q, k, v, allowed)[0], q @ k.transpose(-2, -1)),
            lambda q, k, v, allowed=None: (
                attention.reference(q, k, v, allowed)[0],
                q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]),
            ),
        ],
        "Outputs and weights are joined in one tensor. Return them one by one: `return weights @ v, weights`.": (
            _attending(result=lambda outputs, weights, scores: torch.cat([outputs, weights], dim=-1))
        ),
    }
)


_ATTENTION_FEW_SCALES = {
    "The scores are not divided by √d.": {"scale": lambda scores, q, k, v: scores},
    "The scores are divided by d, not √d.": {"scale": lambda scores, q, k, v: scores / q.shape[-1]},
    "The scores are divided by the root of the number of keys, not √d.": _attention_scaled(
        lambda q, k, v: k.shape[-2]
    ),
}
_ATTENTION_FEW_SOFTMAX = {
    "The softmax runs over the queries, `dim=-2`, not the keys.": _attention_softmax(-2),
}
_ATTENTION_FEW_MASKS = {
    "The mask has no effect: give forbidden keys the score −inf.": {"hide": _attention_unhidden},
    "The mask is inverted: fill where it is False, `~allowed`.": {
        "hide": lambda scores, allowed: scores.masked_fill(allowed, -math.inf)
    },
    "Forbidden keys have the score 0, and exp(0) = 1: fill with −inf.": {"hide": _attention_filled(0.0)},
    "The mask is applied after the softmax, not before.": {
        "hide": _attention_unhidden,
        "hide_weights": lambda weights, allowed: weights.masked_fill(~allowed, 0.0),
    },
}
_ATTENTION_FEW_RETURNED = {
    "Only the outputs come back, without the weights.": {"result": lambda outputs, weights, scores: outputs},
    "Outputs and weights are swapped.": {"result": lambda outputs, weights, scores: (weights, outputs)},
}
for _attention_one, _attention_other in itertools.combinations(
    [_ATTENTION_FEW_SCALES, _ATTENTION_FEW_SOFTMAX, _ATTENTION_FEW_MASKS, _ATTENTION_FEW_RETURNED], 2
):
    attention.pairs_of_slips(_attending, _attention_one, _attention_other)


# Section 3: a causal mask -------------------------------------------------------------------------------------


def _causal_observed(attempt, T):
    """The mask and the type of its numbers."""
    mask = attempt(T)
    if isinstance(mask, np.ndarray):
        return {"mask": "a NumPy array", "type of its numbers": "bool"}
    kind = str(mask.dtype).removeprefix("torch.") if isinstance(mask, Tensor) else "bool"
    return {"mask": mask, "type of its numbers": kind}


@lesson.exercise(
    cases={
        "two positions": (2,),
        "three positions": (3,),
        "a single position": (1,),
        "four positions": (4,),
        "five positions": (5,),
        "seven positions": (7,),
        "twelve positions": (12,),
        "twenty positions": (20,),
    },
    hints=[
        "Write the mask for T = 3 on paper: row 0 has one True, row 1 two, row 2 three.",
        "Ones below and on the diagonal, zeros above it: what does `tril` leave of a matrix?",
        "`torch.ones(T, T, dtype=torch.bool)` is True everywhere, and `.tril()` keeps the lower triangle.",
    ],
    observe=_causal_observed,
)
def causal_mask(T):
    """Return a mask (T, T), bool: True where position t, the row, may look at position s, the column: s <= t."""
    return torch.ones(T, T, dtype=torch.bool).tril()


def _causal_full(T, dtype=torch.bool):
    return torch.ones(T, T, dtype=dtype)


def _causal_hidden(T, value=-math.inf, diagonal=1):
    return torch.full((T, T), value).triu(diagonal)


def _causal_loop(cells):
    """A mask that is True in the cells (t, s), or what an index out of range raises."""

    def attempt(T):
        mask = torch.zeros(T, T, dtype=torch.bool)
        for t, s in cells(T):
            mask[t, s] = True
        return mask

    return attempt


def _causal_pairs(T, beyond):
    return [(t, s) for t in range(T) for s in range(min(t + beyond, T))]


causal_mask.mistakes(
    {
        "This is the upper triangle, so each position looks at itself and what comes after it. Keep the lower one: "
        "`tril`.": [
            {"tril": "triu"},
            lambda T: _causal_full(T).tril().T,
        ],
        "The mask is inverted: True is where a position may look, s <= t, and here it is where it may not.": [
            lambda T: _causal_full(T).triu(1),
            lambda T: ~_causal_full(T).tril(),
        ],
        "The diagonal is False, but a position may look at itself: s <= t, not s < t.": [
            {".tril()": ".tril(-1)"},
            lambda T: torch.arange(T) < torch.arange(T)[:, None],
        ],
        "Each position looks one place into the future: the diagonal next to the main one is True as well. Keep "
        "s <= t, `tril()`.": [lambda T: _causal_full(T).tril(1), _causal_loop(lambda T: _causal_pairs(T, 2))],
        "The right triangle, but its numbers are 0 and 1, not False and True. Make it bool: `dtype=torch.bool`.": [
            lambda T: torch.ones(T, T).tril(),
            lambda T: torch.ones(T, T, dtype=torch.float64).tril(),
        ],
        "The right triangle, but its numbers are integers. Make it bool: `dtype=torch.bool`, or `.bool()`.": [
            lambda T: _causal_full(T, torch.int64).tril(),
            lambda T: _causal_full(T, torch.int32).tril(),
            lambda T: _causal_full(T, torch.uint8).tril(),
            lambda T: _causal_full(T, torch.int8).tril(),
        ],
        "The upper triangle, and its numbers are 0 and 1. Keep the lower one, and make it bool: "
        "`torch.ones(T, T, dtype=torch.bool).tril()`.": [
            lambda T: torch.ones(T, T).triu(),
            lambda T: _causal_full(T, torch.int64).triu(),
        ],
        "The mask is inverted, with 1 where a position may not look, and its numbers are not bool. Return True where "
        "s <= t.": [
            lambda T: torch.ones(T, T).triu(1),
            lambda T: 1 - torch.ones(T, T).tril(),
            lambda T: _causal_full(T, torch.int64).triu(1),
        ],
        "The diagonal is 0, and the numbers are not bool. A position may look at itself: True where s <= t.": [
            lambda T: torch.ones(T, T).tril(-1),
            lambda T: _causal_full(T, torch.int64).tril(-1),
        ],
        "This mask is meant to be added to the scores: 0 and −inf, another convention. Return bool, True where s <= "
        "t.": [
            _causal_hidden,
            lambda T: torch.zeros(T, T).masked_fill(_causal_full(T).triu(1), -math.inf),
            lambda T: _causal_hidden(T).double(),
            lambda T: _causal_hidden(T, diagonal=0),
            lambda T: torch.full((T, T), -math.inf).tril(),
            lambda T: torch.full((T, T), -math.inf).tril(-1),
        ],
        "This mask is meant to be added to the scores: 0 and a large negative number, another convention. Return bool, "
        "True where s <= t.": [lambda T: _causal_hidden(T, -1e9), lambda T: _causal_hidden(T, -1e4)],
        "Here allowed positions are 1 and the others −inf. Return bool: True where s <= t, False elsewhere.": [
            lambda T: torch.ones(T, T).tril().masked_fill(_causal_full(T).triu(1), -math.inf),
        ],
        "0 · −inf is nan. Return bool, True where s <= t: no number needs to be multiplied.": [
            lambda T: (1 - torch.ones(T, T).tril()) * -math.inf,
            lambda T: torch.ones(T, T).triu(1) * -math.inf,
        ],
        "Each position looks one place into the future, and the numbers are not bool. Keep s <= t, "
        "`torch.ones(T, T, dtype=torch.bool).tril()`.": [
            lambda T: torch.ones(T, T).tril(1),
            lambda T: _causal_full(T, torch.int64).tril(1),
        ],
        "Every position may look everywhere here. Keep the lower triangle, s <= t: `.tril()`.": [
            {".tril()": ""},
        ],
        "Every position may look everywhere, and the numbers are not bool. Keep the lower triangle of "
        "`torch.ones(T, T, dtype=torch.bool)`.": lambda T: torch.ones(T, T),
        "No position may look anywhere here: `tril` of zeros is zeros. Begin with ones.": [
            lambda T: torch.zeros(T, T, dtype=torch.bool),
        ],
        "All zeros: `tril` of zeros is zeros. Begin with ones, `torch.ones(T, T, dtype=torch.bool).tril()`.": [
            lambda T: torch.zeros(T, T),
        ],
        "Each position sees itself alone. It may look back as well: s <= t.": [
            lambda T: torch.eye(T, dtype=torch.bool),
        ],
        "Each position sees itself alone, and the numbers are not bool. It may look back as well: True where s <= t.": [
            lambda T: torch.eye(T)
        ],
        "Each position sees only itself and the one before it. It may look at all of the past: s <= t.": [
            lambda T: _causal_full(T).tril() & _causal_full(T).triu(-1),
        ],
        "Each position sees its neighbours on both sides. It may look at all of the past and at nothing to come: "
        "s <= t.": [lambda T: _causal_full(T).tril(1) & _causal_full(T).triu(-1)],
        "Every position sees the first one only. Column s is True from row s downwards: s <= t.": [
            lambda T: (torch.arange(T) == 0).expand(T, T),
        ],
        "Only the last row is True, so one position may look at all and the others at none. Row t is True up to "
        "column t.": [lambda T: (torch.arange(T) == T - 1)[:, None].expand(T, T)],
        "The triangle is mirrored: row 0 is the longest. Row t is True up to column t, which is `tril`.": [
            lambda T: _causal_full(T).tril().flip(0),
        ],
        "The triangle is mirrored: its ones stand on the right. Row t is True from column 0 to t, which is `tril`.": [
            lambda T: _causal_full(T).tril().flip(1),
        ],
        "This is one row, (T,). Every position has a row of its own, (T, T): begin with `torch.ones(T, T, …)`, or "
        "compare `torch.arange(T)[:, None]` with `torch.arange(T)`.": [
            lambda T: torch.ones(T, dtype=torch.bool),
            lambda T: torch.arange(T) <= T,
            lambda T: torch.arange(T) <= torch.arange(T),
            lambda T: torch.arange(T) < T,
        ],
        "The mask is (1, T, T). (T, T) is enough: it broadcasts to batches and heads by itself.": [
            lambda T: _causal_full(T).tril()[None],
        ],
        "The mask is (1, 1, T, T). (T, T) is enough: it broadcasts to batches and heads by itself.": [
            lambda T: _causal_full(T).tril()[None, None],
        ],
        "The mask has one row and column too many. Positions are numbered 0 to T − 1: (T, T).": [
            lambda T: _causal_full(T + 1).tril(),
        ],
        "The mask has one row and column too few. Positions are numbered 0 to T − 1: (T, T).": [
            lambda T: _causal_full(T - 1).tril(),
        ],
        "Row 0 is empty: a loop that begins with t = 1 leaves it out. Position 0 may look at itself.": [
            _causal_loop(lambda T: [(t, s) for t in range(1, T) for s in range(t + 1)]),
        ],
        "The last row is empty: `range(T)` ends at T − 1 by itself.": [
            _causal_loop(lambda T: [(t, s) for t in range(T - 1) for s in range(t + 1)]),
        ],
        "Column 0 is empty: a loop that begins with s = 1 leaves it out. Every position may look at position 0.": [
            _causal_loop(lambda T: [(t, s) for t in range(T) for s in range(1, t + 1)]),
        ],
        "An index runs past the end of the mask: a loop is one too long. t and s run from 0 to T − 1.": [
            _causal_loop(lambda T: [(t, s) for t in range(T) for s in range(t + 2)]),
            _causal_loop(lambda T: [(t, s) for t in range(1, T + 1) for s in range(t + 1)]),
            _causal_loop(lambda T: [(t, s) for t in range(T + 1) for s in range(t + 1)]),
        ],
        "`torch.ones(T)` is a row, and `tril` needs a matrix: `torch.ones(T, T, dtype=torch.bool)`.": [
            lambda T: torch.ones(T).tril(),
            lambda T: torch.ones(T).triu(1),
        ],
        "`tril` takes no type. Say it when you make the ones, `torch.ones(T, T, dtype=torch.bool)`, or end with "
        "`.bool()`.": [lambda T: torch.tril(torch.ones(T, T), dtype=torch.bool)],
        "A list came back. Make one tensor: `torch.ones(T, T, dtype=torch.bool).tril()`.": [
            lambda T: _causal_full(T).tril().tolist(),
            lambda T: list(_causal_full(T).tril()),
            lambda T: torch.ones(T, T).tril().tolist(),
            lambda T: _causal_full(T, torch.int64).tril().tolist(),
            lambda T: _causal_full(T).tril(-1).tolist(),
            lambda T: _causal_full(T).triu().tolist(),
            lambda T: _causal_full(T).triu(1).tolist(),
        ],
        "A NumPy array came back. Stay with tensors: `torch.ones(T, T, dtype=torch.bool).tril()`.": [
            lambda T: _causal_full(T).tril().numpy(),
        ],
        "These are the pairs (t, s) that are allowed. Return the mask itself, (T, T), bool.": [
            lambda T: torch.tril_indices(T, T),
            lambda T: _causal_full(T).tril().nonzero(),
        ],
        "Each row is divided by its number of ones, as for a mean over the past. Return the mask, bool: True where s "
        "<= t.": lambda T: torch.ones(T, T).tril() / torch.arange(1, T + 1)[:, None],
        "This counts how far back each position is, t − s. Compare the two: True where s <= t.": (
            lambda T: torch.arange(T)[:, None] - torch.arange(T)
        ),
    }
)


# Section 4: rotated positions ---------------------------------------------------------------------------------


def _rotate_case(*shape, seed, start=0, dtype=torch.float32):
    """Rows to be turned: small numbers in float64, so that angles in float32 are exact enough."""
    scale = 0.05 if dtype == torch.float64 else 1.0
    return scale * normal(*shape, seed=seed, dtype=dtype), start


def _rotate_observed(attempt, x, start):
    """The turned rows, by a call without `start` where that is 0."""
    return attempt(x, start) if start else attempt(x)


@lesson.exercise(
    cases={
        "two positions, two numbers": (torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 0),
        "two positions, four numbers": (torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]), 0),
        "a single position, not the first": (torch.tensor([[0.5, -1.0, 2.0, 1.5, 1.0, -0.5]]), 4),
        "a batch": _rotate_case(2, 3, 8, seed=10),
        "a batch, start at 2": _rotate_case(3, 4, 6, seed=20, start=2),
        "several heads": _rotate_case(2, 3, 5, 4, seed=30),
        "several heads, start at 3": _rotate_case(2, 4, 3, 8, seed=40, start=3),
        "as many positions as numbers": _rotate_case(4, 4, seed=50, start=1),
        "as many pairs as positions, heads and examples": _rotate_case(3, 3, 3, 6, seed=60, start=1),
        "a batch of one": _rotate_case(1, 1, 6, 10, seed=70),
        "float64 numbers": _rotate_case(2, 3, 4, seed=80, start=1, dtype=torch.float64),
    },
    hints=[
        "A point (a, b), turned by an angle w counterclockwise, is (a cos w − b sin w, a sin w + b cos w). Which two "
        "columns of x are a pair?",
        "The angles are (T, d/2), one for each position and pair: `position.unsqueeze(-1) * 1000 ** (-torch.arange(0, "
        "d, 2) / d)`, with positions start to start + T − 1.",
        "`a, b = x.chunk(2, dim=-1)`, then `torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)`.",
    ],
    observe=_rotate_observed,
)
def rotate(x, start=0):
    """Return x (…, T, d) with its rows turned: row t stands at position start + t.

    The numbers i and i + d/2 of a row, i = 0 … d/2 − 1, are a point of the plane, turned by (start + t) · 1000^(−2i/d)
    radians, counterclockwise.
    """
    T, d = x.shape[-2:]
    position = start + torch.arange(T, dtype=x.dtype, device=x.device)
    speed = 1000 ** (-torch.arange(0, d, 2, dtype=x.dtype, device=x.device) / d)
    angle = position.unsqueeze(-1) * speed  # (T, d/2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


def _rotate_steps(x):
    """2i, for the pairs i."""
    return torch.arange(0, x.shape[-1], 2, dtype=x.dtype)


def _rotate_positions(x, start, axis=-2):
    return start + torch.arange(x.shape[axis], dtype=x.dtype)


def _rotate_turn(a, b, cos, sin):
    return a * cos - b * sin, a * sin + b * cos


def _rotate_halves(x):
    return x.chunk(2, dim=-1)


def _rotate_neighbours(x):
    return x[..., 0::2], x[..., 1::2]


def _rotate_two_halves(x):
    """The halves, with the error of a row of one number."""
    a, b = x.chunk(2, dim=-1)
    return a, b


def _rotate_sliced(x):
    return x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]


def _rotate_joined(parts):
    return torch.cat(parts, dim=-1)


def _rotate_mixed(parts):
    return torch.stack(parts, dim=-1).flatten(-2)


def _rotating(
    positions=_rotate_positions,
    speeds=lambda x: 1000 ** (-_rotate_steps(x) / x.shape[-1]),
    angles=lambda position, speed: position.unsqueeze(-1) * speed,
    pairs=_rotate_halves,
    cos=torch.cos,
    sin=torch.sin,
    turn=_rotate_turn,
    joined=_rotate_joined,
):
    """Turning the rows, with what can go wrong as arguments."""

    def attempt(x, start=0):
        angle = angles(positions(x, start), speeds(x))
        return joined(turn(*pairs(x), cos(angle), sin(angle)))

    return attempt


def _rotate_llama(angles, other):
    """x cos + (its pairs crossed) sin, with d angles for each position."""

    def attempt(x, start=0):
        angle = _rotate_positions(x, start).unsqueeze(-1) * 1000 ** (-_rotate_steps(x) / x.shape[-1])
        angle = angles(angle)
        return x * angle.cos() + other(*_rotate_halves(x)) * angle.sin()

    return attempt


def _rotate_twice(angle):
    return torch.cat([angle, angle], dim=-1)


def _rotate_crossed(a, b):
    return torch.cat([-b, a], dim=-1)


def _rotate_new_first(a, b, cos, sin):
    a = a * cos - b * sin
    return a, a * sin + b * cos


def _rotate_unpacked(count):
    def attempt(x, start=0):
        if count == 2:
            _, _ = x.shape
        elif count == 3:
            _, _, _ = x.shape
        else:
            _, _, _, _ = x.shape
        return rotate.reference(x, start)

    return attempt


def _rotate_overlapping(x, start=0):
    """Pairs i and i + 1, each written over by the next one."""
    d, out = x.shape[-1], torch.zeros_like(x)
    for t, i in itertools.product(range(x.shape[-2]), range(d // 2)):
        w = (start + t) * 1000 ** (-2 * i / d)
        a, b = x[..., t, i], x[..., t, i + 1]
        out[..., t, i], out[..., t, i + 1] = (
            a * math.cos(w) - b * math.sin(w),
            a * math.sin(w) + b * math.cos(w),
        )
    return out


def _rotate_without_batch(x, start=0):
    """A loop that takes axis 0 for the rows and axis 1 for their numbers."""
    d, out = x.shape[-1], torch.zeros_like(x)
    for t, i in itertools.product(range(x.shape[-2]), range(d // 2)):
        w = (start + t) * 1000 ** (-2 * i / d)
        a, b = x[t, i], x[t, i + d // 2]
        out[t, i], out[t, i + d // 2] = a * math.cos(w) - b * math.sin(w), a * math.sin(w) + b * math.cos(w)
    return out


def _rotate_in_place(x, start=0):
    angle = _rotate_positions(x, start).unsqueeze(-1) * 1000 ** (-_rotate_steps(x) / x.shape[-1])
    a, b = _rotate_halves(x)
    x[..., : x.shape[-1] // 2] = a * angle.cos() - b * angle.sin()
    x[..., x.shape[-1] // 2 :] = a * angle.sin() + b * angle.cos()
    return x


def _rotate_speed(exponent, base=1000):
    return {"speeds": lambda x: base ** exponent(_rotate_steps(x), x.shape[-1])}


_ROTATE_PLACES = {
    "`start` has no effect: row t stands at position start + t.": {
        "positions": lambda x, start: _rotate_positions(x, 0)
    },
    "`start` is subtracted. Row t stands at position start + t.": {
        "positions": lambda x, start: _rotate_positions(x, -start)
    },
    "The positions begin one too late: the first row stands at `start`, not at start + 1.": {
        "positions": lambda x, start: _rotate_positions(x, start + 1)
    },
    "The positions begin one too early: the first row stands at `start`, not at start − 1.": {
        "positions": lambda x, start: _rotate_positions(x, start - 1)
    },
    "Every row is turned as if it stood at `start`. Row t stands at position start + t: `start + torch.arange(T)`.": {
        "positions": lambda x, start: 0 * _rotate_positions(x, start) + start
    },
    "The positions run backwards. Row t stands at position start + t.": {
        "positions": lambda x, start: _rotate_positions(x, start).flip(0)
    },
    "`start` is multiplied by the positions. Add it: row t stands at start + t.": {
        "positions": lambda x, start: start * _rotate_positions(x, 0)
    },
    "The last row stands at `start`, the rows before it earlier. It is the first row that stands there: "
    "`start + torch.arange(T)`.": {
        "positions": lambda x, start: _rotate_positions(x, start - x.shape[-2] + 1)
    },
}
_ROTATE_SPEEDS = {
    "The base is 10,000 here, as in many papers. This exercise takes 1000: `1000 ** (-2 * i / d)`.": (
        _rotate_speed(lambda steps, d: -steps / d, base=10_000)
    ),
    "The base is 100. It should be 1000.": _rotate_speed(lambda steps, d: -steps / d, base=100),
    "The base is e, as in `torch.exp(-2 * i / d)`. It should be 1000: `1000 ** (-2 * i / d)`.": (
        _rotate_speed(lambda steps, d: -steps / d, base=math.e)
    ),
    "The exponent is −i/d, and the slow pairs come out too fast. It is −2i/d: `torch.arange(0, d, 2) / d`.": (
        _rotate_speed(lambda steps, d: -steps / 2 / d)
    ),
    "The exponent is −4i/d: the 2 counts twice. `torch.arange(0, d, 2)` is 2i already, and is divided by d.": (
        _rotate_speed(lambda steps, d: -2 * steps / d)
    ),
    "The later pairs turn faster and faster, as with a positive exponent. The angle is position · 1000^(−2i/d).": (
        _rotate_speed(lambda steps, d: steps / d)
    ),
    "The pairs are counted from 1, so even the first has an exponent. i begins at 0: `torch.arange(0, d, 2) / d`.": (
        _rotate_speed(lambda steps, d: -(steps + 2) / d)
    ),
    "The exponents are spread from 0 to −1, both ends included. They are −2i/d: `-torch.arange(0, d, 2) / d`.": {
        "speeds": lambda x: 1000 ** -torch.linspace(0, 1, x.shape[-1] // 2, dtype=x.dtype)
    },
    "All pairs turn at the same speed, one angle for a row. Pair i turns by 1000^(−2i/d) at each step: is the power "
    "missing, or is there a `//` in the exponent?": (_rotate_speed(lambda steps, d: 0 * steps)),
    "`//` rounds the exponents down to −1. Divide with `/`: `1000 ** (-2 * i / d)`.": _rotate_speed(
        lambda steps, d: -steps // d
    ),
    "The speeds are in reverse order: the first pair, i = 0, is the fastest, with speed 1.": {
        "speeds": lambda x: (1000 ** (-_rotate_steps(x) / x.shape[-1])).flip(0)
    },
    "The power is taken first, and then divided by d: `1000 ** -2i / d`. The exponent needs brackets: "
    "`1000 ** (-2 * i / d)`.": {"speeds": lambda x: 1000 ** -_rotate_steps(x) / x.shape[-1]},
    "`1000 ** -2 * i / d` takes the power first. The exponent needs brackets: `1000 ** (-2 * i / d)`.": {
        "speeds": lambda x: 1000**-2 * _rotate_steps(x) / 2 / x.shape[-1]
    },
    "The speeds are −2i/d · 1000: a product, not a power. Write `1000 ** (-2 * i / d)`.": {
        "speeds": lambda x: -1000 * _rotate_steps(x) / x.shape[-1]
    },
    "The speeds are 1 − 2i/d or so, without a power. Write `1000 ** (-2 * i / d)`.": {
        "speeds": lambda x: 1 - _rotate_steps(x) / x.shape[-1]
    },
    "The speeds are the exponents, −2i/d. Raise 1000 to them: `1000 ** (-2 * i / d)`.": {
        "speeds": lambda x: -_rotate_steps(x) / x.shape[-1]
    },
}
_ROTATE_ANGLES = {
    "The angles are taken for degrees. They are radians, which `cos` and `sin` expect: leave them as they are.": {
        "angles": lambda position, speed: (position.unsqueeze(-1) * speed).deg2rad()
    },
    "The angles are converted to degrees. `cos` and `sin` expect radians: leave them as they are.": {
        "angles": lambda position, speed: (position.unsqueeze(-1) * speed).rad2deg()
    },
    "The angles carry a factor 2π. They are (start + t) · 1000^(−2i/d) radians, without it.": {
        "angles": lambda position, speed: 2 * math.pi * position.unsqueeze(-1) * speed
    },
    "The angles carry a factor π. They are (start + t) · 1000^(−2i/d) radians, without it.": {
        "angles": lambda position, speed: math.pi * position.unsqueeze(-1) * speed
    },
    "Position and speed are added. Multiply them: `position.unsqueeze(-1) * speed`.": {
        "angles": lambda position, speed: position.unsqueeze(-1) + speed
    },
    "The position is in the exponent. The angle is a product, position · 1000^(−2i/d).": {
        "angles": lambda position, speed: speed ** position.unsqueeze(-1)
    },
    "The angles depend on the pair, but not on the row. Multiply the speeds with the positions, "
    "`position.unsqueeze(-1) * speed`.": {"angles": lambda position, speed: speed.expand(len(position), -1)},
}
_ROTATE_TURNS = {
    "The rows are turned clockwise. Counterclockwise is (a cos − b sin, a sin + b cos): the minus stands in the first "
    "half.": {"turn": lambda a, b, cos, sin: (a * cos + b * sin, b * cos - a * sin)},
    "Cosine and sine are swapped. A point (a, b) goes to (a cos − b sin, a sin + b cos).": {
        "turn": lambda a, b, cos, sin: _rotate_turn(a, b, sin, cos)
    },
    "Both halves have a plus, which is no rotation. The first one is a cos − b sin.": {
        "turn": lambda a, b, cos, sin: (a * cos + b * sin, a * sin + b * cos)
    },
    "Both halves have a minus, which is no rotation. The second one is a sin + b cos.": {
        "turn": lambda a, b, cos, sin: (a * cos - b * sin, a * sin - b * cos)
    },
    "Both halves have a minus, which is no rotation. The second one is b cos + a sin.": {
        "turn": lambda a, b, cos, sin: (a * cos - b * sin, b * cos - a * sin)
    },
    "The points are mirrored, not turned: one sign belongs to the other half. It is (a cos − b sin, a sin + b cos).": {
        "turn": lambda a, b, cos, sin: (a * cos + b * sin, a * sin - b * cos)
    },
    "Cosine and sine are swapped in the second half: it is a sin + b cos.": {
        "turn": lambda a, b, cos, sin: (a * cos - b * sin, a * cos + b * sin)
    },
    "Cosine and sine are swapped in the first half: it is a cos − b sin.": {
        "turn": lambda a, b, cos, sin: (a * sin - b * cos, a * sin + b * cos)
    },
    "The second half is made of the new first half. Keep the old one: compute both from a and b as they were.": {
        "turn": _rotate_new_first
    },
    "a and b are swapped: the first half of a row is a, the second b.": {
        "turn": lambda a, b, cos, sin: _rotate_turn(b, a, cos, sin)
    },
    "Only the first half is turned; the second stays as it was. It becomes a sin + b cos.": {
        "turn": lambda a, b, cos, sin: (a * cos - b * sin, b)
    },
    "The first half is multiplied by the cosine, the second with the sine. A rotation mixes them: (a cos − b sin, "
    "a sin + b cos).": {"turn": lambda a, b, cos, sin: (a * cos, b * sin)},
    "Both halves are multiplied by the cosine alone. A rotation mixes them: (a cos − b sin, a sin + b cos).": {
        "turn": lambda a, b, cos, sin: (a * cos, b * cos)
    },
    "Sine and cosine are added to the numbers: that is the other way of marking positions. Here the points (a, b) are "
    "turned.": {"turn": lambda a, b, cos, sin: (a + sin, b + cos)},
    "The numbers are stretched by cosine and sine without being mixed: the result is (a cos − b sin, a sin + b cos).": {
        "turn": lambda a, b, cos, sin: (a * cos - a * sin, b * sin + b * cos)
    },
}
_ROTATE_PAIRS = {
    "The pairs are neighbours here, numbers 2i and 2i + 1: another convention. Take i and i + d/2, the two halves, "
    "`x.chunk(2, dim=-1)`.": {"pairs": _rotate_neighbours, "joined": _rotate_mixed},
    "The pairs are taken from neighbours and put back as halves, so the numbers change places. Take halves as well: "
    "`a, b = x.chunk(2, dim=-1)`.": {"pairs": _rotate_neighbours},
    "The halves are put back in alternation, a0, b0, a1, b1, …. Put them side by side: `torch.cat([…], dim=-1)`.": {
        "joined": _rotate_mixed
    },
    "The second half is read backwards: the partner of i is d − 1 − i here. It is i + d/2.": {
        "pairs": lambda x: (_rotate_halves(x)[0], _rotate_halves(x)[1].flip(-1)),
        "joined": lambda parts: torch.cat([parts[0], parts[1].flip(-1)], dim=-1),
    },
}
_ROTATE_ENDS = {
    "Only the first half came back, (…, T, d/2). Join both: `torch.cat([…, …], dim=-1)`.": {
        "joined": lambda parts: parts[0]
    },
    "Only the second half came back, (…, T, d/2). Join both: `torch.cat([…, …], dim=-1)`.": {
        "joined": lambda parts: parts[1]
    },
    "Both halves came back one by one. Join them to one tensor: `torch.cat([…, …], dim=-1)`.": {
        "joined": lambda parts: parts
    },
    "`stack` puts the halves on a new axis. `torch.cat([…, …], dim=-1)` joins them along the last one.": {
        "joined": lambda parts: torch.stack(parts, dim=-1)
    },
    "`stack` puts the halves on a new axis, the last but one. `torch.cat([…, …], dim=-1)` joins them along the last.": {
        "joined": lambda parts: torch.stack(parts, dim=-2)
    },
    "`stack` puts the halves on a new first axis. `torch.cat([…, …], dim=-1)` joins them along the last one.": {
        "joined": torch.stack
    },
    "The halves are joined along the positions. Join them along the last axis: `torch.cat([…, …], dim=-1)`.": {
        "joined": lambda parts: torch.cat(parts, dim=-2)
    },
    "The halves are joined along the first axis: `cat` takes axis 0 if you say nothing. Say `dim=-1`.": {
        "joined": torch.cat
    },
    "`dim=1` is the last axis only without batch axes. Join the halves along `dim=-1`.": {
        "joined": lambda parts: torch.cat(parts, dim=1)
    },
    "The halves have changed places. The first is a cos − b sin, the second a sin + b cos.": {
        "joined": lambda parts: torch.cat(parts[::-1], dim=-1)
    },
    "The halves are added. Put them side by side: `torch.cat([…, …], dim=-1)`.": {"joined": sum},
}
rotate.slips(
    _rotating, _ROTATE_PLACES, _ROTATE_SPEEDS, _ROTATE_ANGLES, _ROTATE_TURNS, _ROTATE_PAIRS, _ROTATE_ENDS
)
rotate.mistakes(
    {
        "The base is 10,000 here, as in many papers. This exercise takes 1000: `1000 ** (-2 * i / d)`.": {
            "1000": "10000"
        },
        "`x.shape[1]` is the number of positions only with one batch axis. Count from the end: `x.shape[-2]`.": [
            _rotating(positions=lambda x, start: _rotate_positions(x, start, 1)),
        ],
        "`len(x)`, or `x.shape[0]`, is the first axis. The positions are the last but one: `x.shape[-2]`.": [
            _rotating(positions=lambda x, start: _rotate_positions(x, start, 0)),
        ],
        "`x.shape[2]` is the number of positions only with two batch axes. Count from the end: `x.shape[-2]`.": [
            _rotating(positions=lambda x, start: _rotate_positions(x, start, 2)),
        ],
        "The positions are counted along the last axis, the d numbers. Take `x.shape[-2]` of them.": [
            _rotating(positions=lambda x, start: _rotate_positions(x, start, -1)),
        ],
        "Axis 1 is taken for the positions, so all rows of a head are turned alike. Positions are the axis before the "
        "last: angles (T, d/2) broadcast by themselves.": [
            _rotating(
                positions=lambda x, start: _rotate_positions(x, start, 1),
                angles=lambda position, speed: (position.unsqueeze(-1) * speed).unsqueeze(1),
            ),
        ],
        "x may have any number of axes before T, so its shape cannot be unpacked like this. Write "
        "`T, d = x.shape[-2:]`.": [_rotate_unpacked(count) for count in (2, 3, 4)],
        "The second half is made of the new first half. Keep the old one: compute both from a and b as they were.": (
            _rotate_in_place
        ),
        "`torch.arange(start, T)` ends at T − 1, whatever `start` is. T positions from start on are `start + "
        "torch.arange(T)`.": _rotating(positions=lambda x, start: torch.arange(start, x.shape[-2])),
        "`x.chunk(2)` cuts the first axis in two. Cut each row, `x.chunk(2, dim=-1)`.": [
            _rotating(pairs=lambda x: x.chunk(2)),
        ],
        "The pairs are i and i + 1 here, which overlap. They are i and i + d/2.": _rotate_overlapping,
        "`x[t, i]` is number i of row t only without batch axes. Write `x[..., t, i]`, or work on whole halves.": (
            _rotate_without_batch
        ),
        "`math.cos` and `math.sin` take one number. Use `torch.cos(angle)`, or `angle.cos()`.": [
            _rotating(cos=math.cos, sin=math.sin),
        ],
        "The positions lack an axis: (T,) meets the pairs, (d/2,), number by number. Write "
        "`position.unsqueeze(-1) * speed`.": [
            _rotating(angles=lambda position, speed: position * speed),
        ],
        "The new axis is in the wrong place, and the angles come out (d/2, T). Write `position.unsqueeze(-1) * "
        "speed`.": [
            _rotating(angles=lambda position, speed: position * speed.unsqueeze(-1)),
        ],
        "There are d speeds, and only d/2 pairs. Count in steps of two, `torch.arange(0, d, 2) / d`.": [
            _rotating(speeds=lambda x: 1000 ** (-torch.arange(x.shape[-1], dtype=x.dtype) / x.shape[-1])),
            _rotating(speeds=lambda x: 1000 ** (-2 * torch.arange(x.shape[-1], dtype=x.dtype) / x.shape[-1])),
        ],
        "Integers cannot be raised to a negative power. Make them fractions first, as in `1000 ** "
        "(-torch.arange(0, d, 2) / d)`.": [
            _rotating(speeds=lambda x: 1000 ** -torch.arange(0, x.shape[-1], 2) / x.shape[-1]),
        ],
        "The angles are repeated for neighbours, each twice, but the pairs are halves. Put the two copies side by "
        "side: `torch.cat([angle, angle], dim=-1)`.": _rotate_llama(
            lambda angle: angle.repeat_interleave(2, dim=-1), _rotate_crossed
        ),
        "The crossed numbers come in reverse order. The partner of i is i + d/2: "
        "`torch.cat([-b, a], dim=-1)`.": _rotate_llama(
            _rotate_twice, lambda a, b: torch.cat([-b, a], dim=-1).flip(-1)
        ),
        "x is multiplied by sine and cosine, but its halves are not crossed. It is `x * cos + torch.cat([-b, a], "
        "dim=-1) * sin`.": _rotate_llama(_rotate_twice, lambda a, b: torch.cat([a, b], dim=-1)),
        "Two slips. `start` has no effect. The positions begin with 1, not with 0.": _rotating(
            positions=lambda x, start: _rotate_positions(x, 1)
        ),
        "`start` is added to the angle; it belongs to the position: `(start + t) * speed`.": [
            lambda x, start=0: _rotating(
                positions=lambda x, start: _rotate_positions(x, 0),
                angles=lambda position, speed: start + position.unsqueeze(-1) * speed,
            )(x),
        ],
        "These are the angles. Turn x by them: (a cos − b sin, a sin + b cos).": [
            lambda x, start=0: (
                _rotate_positions(x, start).unsqueeze(-1) * 1000 ** (-_rotate_steps(x) / x.shape[-1])
            ),
        ],
        "x came back as it was. Turn its pairs: (a cos − b sin, a sin + b cos).": lambda x, start=0: x,
    }
)

_ROTATE_FEW_SPEEDS = {
    "The base is 10,000, not 1000.": _rotate_speed(lambda steps, d: -steps / d, base=10_000),
    "The exponent is −i/d, not −2i/d.": _rotate_speed(lambda steps, d: -steps / 2 / d),
    "The exponent is −4i/d, not −2i/d.": _rotate_speed(lambda steps, d: -2 * steps / d),
    "All pairs turn at the same speed.": _rotate_speed(lambda steps, d: 0 * steps),
}
_ROTATE_FEW_PLACES = {
    "`start` has no effect.": {"positions": lambda x, start: _rotate_positions(x, 0)},
    "The positions begin one too late, at start + 1.": {
        "positions": lambda x, start: _rotate_positions(x, start + 1)
    },
}
_ROTATE_FEW_TURNS = {
    "The rows are turned clockwise.": {"turn": lambda a, b, cos, sin: (a * cos + b * sin, b * cos - a * sin)},
}
_ROTATE_FEW_PAIRS = {
    "The pairs are neighbours, 2i and 2i + 1, another convention: take i and i + d/2.": {
        "pairs": _rotate_neighbours,
        "joined": _rotate_mixed,
    },
    "The pairs are taken from neighbours and put back as halves: take i and i + d/2.": {
        "pairs": _rotate_neighbours
    },
}
for _rotate_one, _rotate_other in itertools.combinations(
    [_ROTATE_FEW_SPEEDS, _ROTATE_FEW_PLACES, _ROTATE_FEW_TURNS, _ROTATE_FEW_PAIRS], 2
):
    rotate.pairs_of_slips(_rotating, _rotate_one, _rotate_other)


# Section 5: heads ---------------------------------------------------------------------------------------------


_HEAD_AXES = ("N", "T", "heads", "d / heads")


def _heads_case(N, T, d, heads, seed, dtype=torch.float32):
    return normal(N, T, d, seed=seed, dtype=dtype), heads


@lesson.exercise(
    cases={
        "one position, two heads": (torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), 2),
        "two positions, two heads": (
            torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]]]),
            2,
        ),
        "two of everything": _heads_case(2, 2, 4, 2, seed=10),
        "all sizes different": _heads_case(2, 3, 20, 4, seed=20),
        "as many heads as positions": _heads_case(2, 3, 12, 3, seed=30),
        "as many heads as examples": _heads_case(3, 2, 12, 3, seed=40),
        "as many heads as numbers in a head": _heads_case(2, 5, 9, 3, seed=50),
        "one head": _heads_case(2, 3, 4, 1, seed=60),
        "a number for each head": _heads_case(2, 3, 4, 4, seed=70),
        "a batch of one": _heads_case(1, 5, 6, 2, seed=80),
        "a single position": _heads_case(3, 1, 8, 4, seed=90),
        "float64 numbers": _heads_case(2, 4, 6, 3, seed=95, dtype=torch.float64),
    },
    hints=[
        "Which axis is to be cut in two, and which of the two new ones has to move?",
        "`x.unflatten(-1, (heads, -1))` is (N, T, heads, d / heads): each row cut into its heads, in order.",
        "Then swap T and heads, axes 1 and 2: `.transpose(1, 2)`.",
    ],
)
def split_heads(x, heads):
    """Return x (N, T, d) as (N, heads, T, d / heads): the first head gets the first d / heads numbers, and so on."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _split_sizes(x, heads):
    """N, T, heads and d / heads."""
    return (*x.shape[:2], heads, x.shape[2] // heads)


def _split_permuted(order):
    return lambda x, heads: x.unflatten(-1, (heads, -1)).permute(order)


def _split_strided(order):
    """Every heads-th number belongs to a head: axes N, T, d / heads, heads, in another order."""
    return lambda x, heads: x.unflatten(-1, (-1, heads)).permute(order)


def _split_reshaped(order):
    return lambda x, heads: x.reshape([_split_sizes(x, heads)[axis] for axis in order])


def _heads_listed(order, names=_HEAD_AXES):
    return f"({', '.join(names[axis] for axis in order)})"


split_heads.mistakes(
    {
        "The axes T and heads are not swapped: this is (N, T, heads, d / heads). Add `.transpose(1, 2)`.": [
            {".transpose(1, 2)": ""},
            lambda x, heads: torch.stack(x.chunk(heads, dim=-1), dim=2),
        ],
        "The shape is right, but the numbers of different positions are mixed: `reshape` cuts them in the order in "
        "which they lie. Cut d into (heads, d / heads) first, then swap axes 1 and 2.": [
            _split_reshaped((0, 2, 1, 3)),
            lambda x, heads: x.reshape(len(x), heads, x.shape[1], -1),
            lambda x, heads: x.view(len(x), heads, x.shape[1], -1),
        ],
        "Each head gets every heads-th number. The first head should get the first d / heads numbers: cut d into "
        "(heads, d / heads), in this order.": [
            _split_strided((0, 3, 1, 2)),
            lambda x, heads: torch.stack([x[..., head::heads] for head in range(heads)], dim=1),
        ],
        "Each head gets every heads-th number, and the axes are (N, T, heads, d / heads). Write "
        "`x.unflatten(-1, (heads, -1)).transpose(1, 2)`.": _split_strided((0, 1, 3, 2)),
        "d is cut into (d / heads, heads): the two are swapped. Write `x.unflatten(-1, (heads, -1))`, then "
        "`.transpose(1, 2)`.": [
            _split_strided((0, 2, 1, 3)),
            lambda x, heads: torch.stack(x.split(heads, dim=-1), dim=1),
        ],
        "d is cut into (d / heads, heads), and the axes are not swapped. Write "
        "`x.unflatten(-1, (heads, -1)).transpose(1, 2)`.": _split_strided((0, 1, 2, 3)),
        "The heads are the first axis, (heads, N, T, d / heads). They come second: with `stack`, `dim=1`.": [
            _split_permuted((2, 0, 1, 3)),
            lambda x, heads: torch.stack(x.chunk(heads, dim=-1)),
        ],
        "Pieces of `heads` numbers came out: `split` takes the size of a piece. `chunk` takes the number of pieces; "
        "stack them, `dim=1`.": [
            lambda x, heads: x.split(heads, dim=-1),
            lambda x, heads: list(x.split(heads, dim=-1)),
            lambda x, heads: torch.stack(x.split(heads, dim=-1)),
        ],
        "The heads came back one by one. Make one tensor of them: `torch.stack(…, dim=1)`.": [
            lambda x, heads: x.chunk(heads, dim=-1),
            lambda x, heads: list(x.chunk(heads, dim=-1)),
        ],
        "The heads stand below each other, along the positions: (N, heads · T, d / heads). Give them an axis of their "
        "own, with `torch.stack(…, dim=1)`, or `unflatten` and `transpose`.": [
            lambda x, heads: torch.cat(x.chunk(heads, dim=-1), dim=1),
            lambda x, heads: split_heads.reference(x, heads).flatten(1, 2),
        ],
        "`cat` puts the heads below each other, along the examples. Give them an axis of their own: "
        "`torch.stack(…, dim=1)`.": lambda x, heads: torch.cat(x.chunk(heads, dim=-1)),
        "x came back as it was. Cut its last axis into (heads, d / heads), then swap axes 1 and 2.": [
            lambda x, heads: x,
            lambda x, heads: torch.cat(x.chunk(heads, dim=-1), dim=-1),
        ],
        "Examples and heads are merged into one axis, (N · heads, T, d / heads). Keep them apart: (N, heads, T, "
        "d / heads).": [lambda x, heads: split_heads.reference(x, heads).flatten(0, 1)],
        "Positions and heads are merged into one axis, (N, T · heads, d / heads). Keep them apart: (N, heads, T, "
        "d / heads).": [lambda x, heads: x.reshape(len(x), x.shape[1] * heads, -1)],
        "`reshape` to (N · heads, T, d / heads) mixes positions, and merges examples and heads. Cut d into (heads, "
        "d / heads) first, then swap axes 1 and 2.": [
            lambda x, heads: x.reshape(len(x) * heads, x.shape[1], -1),
        ],
        "Only the first head came back. Return all of them, (N, heads, T, d / heads).": [
            lambda x, heads: x[..., : x.shape[-1] // heads],
            lambda x, heads: x.chunk(heads, dim=-1)[0],
            lambda x, heads: x[:, None, :, : x.shape[-1] // heads],
        ],
        "T and d are swapped before the cut, which mixes positions. Cut d into (heads, d / heads) first, then swap "
        "axes 1 and 2.": lambda x, heads: x.transpose(1, 2).reshape(len(x), heads, x.shape[1], -1),
        "After `transpose` the numbers no longer lie in order, so `view` refuses. Cut d into (heads, d / heads) first, "
        "then swap axes 1 and 2.": lambda x, heads: x.transpose(1, 2).view(len(x), heads, x.shape[1], -1),
        "`unflatten` wants the new sizes in brackets: `x.unflatten(-1, (heads, -1))`.": [
            lambda x, heads: x.unflatten(-1, heads).transpose(1, 2),
            lambda x, heads: x.unflatten(-1, heads, -1).transpose(1, 2),
        ],
        "Every head gets the whole row. Cut it: the first head gets the first d / heads numbers, and so on.": [
            lambda x, heads: x.unsqueeze(1).expand(-1, heads, -1, -1),
            lambda x, heads: torch.stack([x] * heads, dim=1),
        ],
        "Every head gets the same numbers, the first d / heads. Head h gets those from h · d / heads on.": [
            lambda x, heads: torch.stack([x[..., : x.shape[-1] // heads]] * heads, dim=1),
        ],
        "The heads stand in reverse order: the first head gets the first d / heads numbers.": [
            lambda x, heads: split_heads.reference(x, heads).flip(1),
        ],
        "The pieces overlap: head h begins at number h here. It begins at h · d / heads.": [
            lambda x, heads: torch.stack([x[..., h : h + x.shape[-1] // heads] for h in range(heads)], dim=1),
        ],
        "The positions are cut into heads, not the numbers. Cut the last axis: `x.unflatten(-1, (heads, -1))`.": [
            lambda x, heads: x.unflatten(1, (heads, -1)),
            lambda x, heads: torch.stack(x.chunk(heads, dim=1), dim=1),
            lambda x, heads: torch.stack(x.chunk(heads, dim=1)),
        ],
        "The examples are cut into heads, not the numbers: `chunk` takes axis 0 if you say nothing. Say `dim=-1`.": [
            lambda x, heads: torch.stack(x.chunk(heads), dim=1),
            lambda x, heads: torch.stack(x.chunk(heads)),
            lambda x, heads: x.chunk(heads),
        ],
        "A head is a sum or a mean here. Nothing needs to be computed: cut the last axis, then swap axes 1 and 2.": [
            lambda x, heads: x.unflatten(-1, (heads, -1)).sum(dim=2),
            lambda x, heads: x.unflatten(-1, (heads, -1)).mean(dim=2),
        ],
        "`/` gives a float even where nothing is left over, and sizes are integers. Write `d // heads`, or −1.": [
            lambda x, heads: x.view(*x.shape[:2], heads, x.shape[2] / heads).transpose(1, 2),
            lambda x, heads: x.reshape(*x.shape[:2], heads, x.shape[2] / heads).transpose(1, 2),
            lambda x, heads: x.view(len(x), heads, x.shape[1], x.shape[2] / heads),
            lambda x, heads: x.reshape(len(x), heads, x.shape[1], x.shape[2] / heads),
            lambda x, heads: x.unflatten(-1, (heads, x.shape[2] / heads)).transpose(1, 2),
            lambda x, heads: torch.stack(x.split(x.shape[2] / heads, dim=-1), dim=1),
        ],
        "A head has d / heads numbers, not d, so there are not enough for this shape. Write "
        "`x.unflatten(-1, (heads, -1))`.": [
            lambda x, heads: x.view(*x.shape[:2], heads, x.shape[2]).transpose(1, 2),
            lambda x, heads: x.reshape(*x.shape[:2], heads, x.shape[2]).transpose(1, 2),
            lambda x, heads: x.view(len(x), heads, x.shape[1], x.shape[2]),
            lambda x, heads: x.reshape(len(x), heads, x.shape[1], x.shape[2]),
            lambda x, heads: x.unflatten(-1, (heads, x.shape[2])).transpose(1, 2),
        ],
    }
)
split_heads.mistakes(
    {
        f"The axes come out as {_heads_listed(order)}. After `x.unflatten(-1, (heads, -1))`, swap axes 1 and 2 and no "
        "others.": _split_permuted(order)
        for order in itertools.permutations(range(4))
        if order not in {(0, 1, 2, 3), (0, 2, 1, 3), (2, 0, 1, 3), (0, 1, 3, 2)}
    }
)
split_heads.mistakes(
    {
        "The heads are the last axis, (N, T, d / heads, heads). They are axis 1: with `unflatten`, swap axes 1 and 2; "
        "with `stack`, `dim=1`.": _split_permuted((0, 1, 3, 2)),
    }
)
split_heads.mistakes(
    {
        f"`reshape` to {_heads_listed(order)} mixes positions, as it cuts the numbers in the order in which they lie. "
        "Cut d into (heads, d / heads) first, then swap axes 1 and 2.": _split_reshaped(order)
        for order in itertools.permutations(range(4))
        if order not in {(0, 1, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2)}
    }
)


def _merge_case(N, heads, T, e, seed, dtype=torch.float32):
    return (normal(N, heads, T, e, seed=seed, dtype=dtype),)


@lesson.exercise(
    cases={
        "two heads, one position": (torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]]),),
        "two heads, two positions": (
            torch.tensor([[[[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]], [[4.0, 5.0, 6.0], [4.5, 5.5, 6.5]]]]),
        ),
        "two of everything": _merge_case(2, 2, 2, 2, seed=10),
        "all sizes different": _merge_case(2, 4, 3, 5, seed=20),
        "as many heads as positions": _merge_case(2, 3, 3, 4, seed=30),
        "as many heads as examples": _merge_case(3, 3, 2, 4, seed=40),
        "as many heads as numbers in a head": _merge_case(2, 3, 5, 3, seed=50),
        "one head": _merge_case(2, 1, 3, 4, seed=60),
        "a number for each head": _merge_case(2, 4, 3, 1, seed=70),
        "a batch of one": _merge_case(1, 2, 5, 3, seed=80),
        "a single position": _merge_case(3, 4, 1, 2, seed=90),
        "float64 numbers": _merge_case(2, 3, 4, 2, seed=95, dtype=torch.float64),
    },
    hints=[
        "Which two axes are to become one? They have to stand side by side first.",
        "`x.transpose(1, 2)` is (N, T, heads, e): now the numbers of one position are together, head after head.",
        "Then join the last two axes: `.flatten(2)`.",
    ],
)
def merge_heads(x):
    """Return x (N, heads, T, e) as (N, T, heads · e): the inverse of split_heads."""
    return x.transpose(1, 2).flatten(2)


_MERGE_AXES = ("N", "heads", "T", "e")


def _merge_shape(x):
    """N, T and heads · e."""
    return len(x), x.shape[2], x.shape[1] * x.shape[3]


def _merge_permuted(order):
    """The axes in another order, then the last two joined, or the shape asked for: two attempts."""
    return [lambda x: x.permute(order).flatten(2), lambda x: x.permute(order).reshape(_merge_shape(x))]


merge_heads.mistakes(
    {
        "The shape is right, but the numbers of different positions are mixed: the axes T and heads have to be swapped "
        "first. Write `x.transpose(1, 2).flatten(2)`.": [
            lambda x: x.reshape(_merge_shape(x)),
            lambda x: x.reshape(len(x), x.shape[2], -1),
            lambda x: x.view(len(x), x.shape[2], -1),
        ],
        "Positions and numbers are joined, not heads and numbers: (N, heads, T · e). Swap axes 1 and 2 first, "
        "`x.transpose(1, 2).flatten(2)`.": {".transpose(1, 2)": ""},
        "Everything but the batch is joined: `flatten(1)`. Only the last two axes belong together: "
        "`x.transpose(1, 2).flatten(2)`.": [lambda x: x.flatten(1), lambda x: x.reshape(len(x), -1)],
        "After the swap, `flatten(1)` joins the positions as well. Keep them apart: `.flatten(2)`.": [
            {"flatten(2)": "flatten(1)"},
            lambda x: x.transpose(1, 2).reshape(len(x), -1),
        ],
        "Heads and positions are joined, (N, heads · T, e). Join heads and numbers: `x.transpose(1, 2).flatten(2)`.": [
            lambda x: x.flatten(1, 2),
            lambda x: torch.cat(x.unbind(dim=1), dim=1),
        ],
        "Positions and heads are joined, (N, T · heads, e). After the swap it is the last two axes that belong "
        "together: `.flatten(2)`.": [lambda x: x.transpose(1, 2).flatten(1, 2)],
        "Examples and heads are joined, (N · heads, T, e). Swap axes 1 and 2, then join the last two: "
        "`x.transpose(1, 2).flatten(2)`.": [lambda x: x.flatten(0, 1)],
        "The heads are put below each other along the examples: `cat` takes axis 0 if you say nothing. Say "
        "`dim=-1`.": [lambda x: torch.cat(x.unbind(dim=1))],
        "All axes are joined. Keep N and T: `x.transpose(1, 2).flatten(2)`.": [
            lambda x: x.flatten(),
            lambda x: x.reshape(-1),
            lambda x: x.transpose(1, 2).flatten(),
        ],
        "The axes are swapped, but heads and numbers are still apart: (N, T, heads, e). Join them, `.flatten(2)`.": [
            {".flatten(2)": ""},
        ],
        "x came back as it was. Swap axes 1 and 2, then join the last two: `x.transpose(1, 2).flatten(2)`.": [
            lambda x: x,
        ],
        "After `transpose` the numbers no longer lie in order, so `view` refuses. Use `flatten(2)` or `reshape`, or "
        "`.contiguous()` before `view`.": [
            lambda x: x.transpose(1, 2).view(_merge_shape(x)),
            lambda x: x.permute(0, 2, 1, 3).view(len(x), x.shape[2], -1),
        ],
        "The heads alternate in each row: number 0 of every head, then number 1, and so on. Head after head is asked "
        "for: `x.transpose(1, 2).flatten(2)`.": _merge_permuted((0, 2, 3, 1)),
        "The heads are added up, which leaves e numbers. Put them side by side: `x.transpose(1, 2).flatten(2)`.": [
            lambda x: x.sum(dim=1),
            lambda x: sum(x.unbind(dim=1)),
        ],
        "This is the mean of the heads. Put them side by side: `x.transpose(1, 2).flatten(2)`.": [
            lambda x: x.mean(dim=1),
        ],
        "This is the largest number of all heads. Put them side by side: `x.transpose(1, 2).flatten(2)`.": [
            lambda x: x.amax(dim=1),
        ],
        "Only the first head is here. Put all of them side by side: `x.transpose(1, 2).flatten(2)`.": [
            lambda x: x[:, 0],
            lambda x: x[:, :1],
        ],
        "Only the last head is here. Put all of them side by side: `x.transpose(1, 2).flatten(2)`.": [
            lambda x: x[:, -1],
        ],
        "The heads stand in reverse order. The first head gives the first e numbers.": [
            lambda x: x.flip(1).transpose(1, 2).flatten(2),
        ],
        "The heads came back one by one. Join them along the last axis: `torch.cat(…, dim=-1)`.": [
            lambda x: x.unbind(dim=1),
            lambda x: list(x.unbind(dim=1)),
        ],
        "`stack` gives the heads an axis of their own. Put them side by side: `torch.cat(…, dim=-1)`.": [
            lambda x: torch.stack(x.unbind(dim=1)),
            lambda x: torch.stack(x.unbind(dim=1), dim=-1),
        ],
        "A loop over x, `unbind()` and `chunk` run over the examples, axis 0. The heads are axis 1: "
        "`torch.cat(x.unbind(dim=1), dim=-1)`.": [
            lambda x: torch.cat(list(x), dim=-1),
            lambda x: torch.cat(list(x), dim=1),
        ],
        "`x[h]` is example h. Head h of all examples is `x[:, h]`.": [
            lambda x: torch.cat([x[h] for h in range(x.shape[1])], dim=-1),
        ],
        "`cat` wants several tensors, and x is one. `x.unbind(dim=1)` gives its heads.": [
            lambda x: torch.cat(x, dim=-1),
            lambda x: torch.cat(x),
        ],
        "Heads and numbers are joined, but the positions come last: (N, heads · e, T). Write "
        "`x.transpose(1, 2).flatten(2)`.": lambda x: x.transpose(2, 3).flatten(1, 2),
        "The heads are joined along the positions and kept apart as well. Take the axis of the heads away first: "
        "`torch.cat(x.unbind(dim=1), dim=-1)`.": [
            lambda x: torch.cat(x.split(1, dim=1), dim=2),
        ],
        "An axis of size 1 is left over: `split` and `chunk` keep the axis of the heads. `x.unbind(dim=1)` drops it.": [
            lambda x: torch.cat(x.split(1, dim=1), dim=-1),
            lambda x: x.transpose(1, 2).flatten(2).unsqueeze(1),
        ],
    }
)
merge_heads.mistakes(
    {
        f"The axes are brought into the order {_heads_listed(order, _MERGE_AXES)} before the last two are joined. It "
        "should be (N, T, heads, e): `x.transpose(1, 2)`.": _merge_permuted(order)
        for order in itertools.permutations(range(4))
        if order not in {(0, 1, 2, 3), (0, 2, 1, 3), (0, 2, 3, 1), (1, 2, 0, 3)}
    }
)


# Section 5: a transformer block -------------------------------------------------------------------------------


def _block_norm(name, d, seed):
    """A layer norm with a gain and a shift of its own."""
    gain, shift = 0.6 + normal(d, seed=seed).abs(), 0.5 * normal(d, seed=seed + 1)
    return NamedFunction(
        f"a layer norm {name} of {d} numbers", lambda x: F.layer_norm(x, (d,)) * gain.to(x) + shift.to(x)
    )


def _block_parts(d, seed):
    """The functions norm1, attend, norm2 and mlp for rows of d numbers, with fixed weights."""
    W, V = normal(d, d, seed=seed), normal(4 * d, d, seed=seed + 1)
    U, b = normal(d, 4 * d, seed=seed + 2) / 2, normal(d, seed=seed + 3) / 2

    def attend(x):
        weights = (x @ W.to(x) @ x.transpose(1, 2) / math.sqrt(d)).softmax(dim=-1)
        return weights @ torch.tanh(x @ W.T.to(x) + b.to(x))

    def mlp(x):
        return F.gelu(x @ V.T.to(x)) @ U.T.to(x) + b.to(x)

    return (
        _block_norm("norm1", d, seed + 4),
        NamedFunction(f"attention on rows of {d} numbers", attend),
        _block_norm("norm2", d, seed + 6),
        NamedFunction(f"an MLP {d} → {4 * d} → {d}", mlp),
    )


_BLOCK_IN_THE_HEAD = (
    NamedFunction("x → x − 1", lambda x: x - 1),
    NamedFunction("x → 10 x", lambda x: 10 * x),
    NamedFunction("x → x + 3", lambda x: x + 3),
    NamedFunction("x → x²", lambda x: x**2),
)


@lesson.exercise(
    cases={
        "one number": (torch.tensor([[[2.0]]]), *_BLOCK_IN_THE_HEAD),
        "one sequence of three": (normal(1, 3, 4, seed=10), *_block_parts(4, seed=11)),
        "a few sequences": (normal(2, 3, 5, seed=20), *_block_parts(5, seed=21)),
        "a single position": (normal(3, 1, 4, seed=30), *_block_parts(4, seed=31)),
        "as many positions as numbers": (normal(2, 4, 4, seed=40), *_block_parts(4, seed=41)),
        "all sizes equal": (normal(3, 3, 3, seed=50), *_block_parts(3, seed=51)),
        "large numbers": (50 * normal(2, 3, 6, seed=60), *_block_parts(6, seed=61)),
        "float64 numbers": (normal(2, 5, 3, seed=70, dtype=torch.float64), *_block_parts(3, seed=71)),
    },
    hints=[
        "What does each step add to x, and does what it adds see x itself or the normalized x?",
        "A step is x + f(norm(x)): x goes past norm and f untouched. The second step begins with the result of the "
        "first.",
        "`x = x + attend(norm1(x))`, and then the same with norm2 and mlp.",
    ],
)
def pre_norm_block(x, norm1, attend, norm2, mlp):
    """Return (N, T, d): x after the two steps of a transformer block.

    Each step adds to x what a function makes of the normalized x: first attend, behind norm1, then mlp, behind norm2.
    All four are functions from (N, T, d) to (N, T, d).
    """
    x = x + attend(norm1(x))
    return x + mlp(norm2(x))


def _block_step(x, norm, f):
    return x + f(norm(x))


def _block(first=_block_step, second=_block_step, then=lambda x, first, second: second):
    """A block, with what can go wrong in its steps as arguments."""

    def attempt(x, norm1, attend, norm2, mlp):
        h = first(x, norm1, attend)
        return then(x, h, second(h, norm2, mlp))

    return attempt


_BLOCK_STEPS = {  # what is wrong, how it is said of the first step, the second and both
    "post-norm": (
        lambda x, norm, f: norm(x + f(x)),
        "The first step normalizes the sum, norm1(x + attend(x)). In a pre-norm block x stays outside: "
        "`x + attend(norm1(x))`.",
        "The second step normalizes the sum, norm2(x + mlp(x)). In a pre-norm block x stays outside: "
        "`x + mlp(norm2(x))`.",
        "This is a post-norm block: each norm acts on the sum x + f(x). Here it stands in front of f, and the sum is "
        "left as it is: `x + attend(norm1(x))`.",
    ),
    "both norms": (
        lambda x, norm, f: norm(x + f(norm(x))),
        "norm1 acts twice, in front of attend and again on the sum. The sum is left as it is: "
        "`x + attend(norm1(x))`.",
        "norm2 acts twice, in front of mlp and again on the sum. The sum is left as it is: `x + mlp(norm2(x))`.",
        "Each norm acts twice, in front of its function and again on the sum. Leave the sum as it is: "
        "`x + attend(norm1(x))`.",
    ),
    "skip normalized": (
        lambda x, norm, f: norm(x) + f(norm(x)),
        "In the first step the normalized x is what you add to. The skip connection carries x itself: "
        "`x + attend(norm1(x))`.",
        "In the second step the normalized x is what you add to. The skip connection carries x itself: "
        "`x + mlp(norm2(x))`.",
        "Both steps add to the normalized x. The skip connection carries x itself: keep x, and give norm1(x) to attend "
        "alone.",
    ),
    "no skip": (
        lambda x, norm, f: f(norm(x)),
        "The first step replaces x by attend(norm1(x)). It should be added to x: `x + attend(norm1(x))`.",
        "The second step replaces x by mlp(norm2(x)). It should be added to x: `x + mlp(norm2(x))`.",
        "Both skip connections are missing: each step should add to x, as in `x = x + attend(norm1(x))`.",
    ),
    "no norm": (
        lambda x, norm, f: x + f(x),
        "attend sees x as it is. Normalize it first: `attend(norm1(x))`.",
        "mlp sees x as it is. Normalize it first: `mlp(norm2(x))`.",
        "Neither norm is used: attend and mlp see x as it is. Normalize it first, as in `attend(norm1(x))`.",
    ),
    "norm behind": (
        lambda x, norm, f: x + norm(f(x)),
        "norm1 acts on what attend returns. It stands in front of it: `attend(norm1(x))`.",
        "norm2 acts on what mlp returns. It stands in front of it: `mlp(norm2(x))`.",
        "The norms act on what attend and mlp return. They stand in front of them, as in `attend(norm1(x))`.",
    ),
    "norm behind, no skip": (
        lambda x, norm, f: norm(f(x)),
        "The first step is norm1(attend(x)): the order is the other way round, and x is not added. Write "
        "`x + attend(norm1(x))`.",
        "The second step is norm2(mlp(x)): the order is the other way round, and x is not added. Write "
        "`x + mlp(norm2(x))`.",
        "The steps are norm(f(x)): the order is the other way round, and x is not added. Write "
        "`x + attend(norm1(x))`, then the same with norm2 and mlp.",
    ),
    "norm at both ends": (
        lambda x, norm, f: x + norm(f(norm(x))),
        "norm1 acts twice, in front of attend and behind it. Once, in front, is enough: `attend(norm1(x))`.",
        "norm2 acts twice, in front of mlp and behind it. Once, in front, is enough: `mlp(norm2(x))`.",
        "Each norm acts twice, in front of its function and behind it. Once, in front, is enough.",
    ),
    "neither": (
        lambda x, norm, f: f(x),
        "The first step is attend(x) alone. Normalize what attend sees, and add what it gives to x: "
        "`x + attend(norm1(x))`.",
        "The second step is mlp(x) alone. Normalize what mlp sees, and add what it gives to x: "
        "`x + mlp(norm2(x))`.",
        "This is mlp(attend(x)), without norms and without skip connections. A step is x + f(norm(x)).",
    ),
    "post-norm, no inner skip": (
        lambda x, norm, f: norm(x) + f(x),
        "norm1 is on the wrong path: you add attend(x) to norm1(x). x itself is kept, and attend sees norm1(x).",
        "norm2 is on the wrong path: you add mlp(x) to norm2(x). x itself is kept, and mlp sees norm2(x).",
        "The norms are on the wrong path: you add f(x) to norm(x). x itself is kept, and f sees norm(x).",
    ),
    "function missing": (
        lambda x, norm, f: x + norm(x),
        "attend is missing from the first step: x + attend(norm1(x)).",
        "mlp is missing from the second step: x + mlp(norm2(x)).",
        "attend and mlp are missing. Each takes the normalized x, as in `x + attend(norm1(x))`.",
    ),
    "subtracted": (
        lambda x, norm, f: x - f(norm(x)),
        "attend(norm1(x)) is subtracted. Add it to x.",
        "mlp(norm2(x)) is subtracted. Add it to x.",
        "Both steps subtract. Add what attend and mlp give to x.",
    ),
    "multiplied": (
        lambda x, norm, f: x * f(norm(x)),
        "x is multiplied by attend(norm1(x)). Add it.",
        "x is multiplied by mlp(norm2(x)). Add it.",
        "Both steps multiply. Add what attend and mlp give to x.",
    ),
    "x twice": (
        lambda x, norm, f: 2 * x + f(norm(x)),
        "x is added twice in the first step, as happens with `x += …` and a sum after it. Once is enough.",
        "x is added twice in the second step, as happens with `x += …` and a sum after it. Once is enough.",
        "x is added twice in both steps, as happens with `x += …` and a sum after it. Once is enough.",
    ),
    "update twice": (
        lambda x, norm, f: x + 2 * f(norm(x)),
        "attend(norm1(x)) is added twice. Once is enough.",
        "mlp(norm2(x)) is added twice. Once is enough.",
        "Both updates are added twice. Once is enough.",
    ),
    "f twice": (
        lambda x, norm, f: x + f(f(norm(x))),
        "attend acts twice. Apply it once, to norm1(x).",
        "mlp acts twice. Apply it once, to norm2(x).",
        "attend and mlp act twice. Apply each of them once, to the normalized x.",
    ),
    "averaged": (
        lambda x, norm, f: (x + f(norm(x))) / 2,
        "The first step halves the sum. Add attend(norm1(x)) to x, and leave the sum as it is.",
        "The second step halves the sum. Add mlp(norm2(x)) to x, and leave the sum as it is.",
        "Both steps halve the sum. Leave it as it is: `x + attend(norm1(x))`.",
    ),
}
for _step, _first, _second, _both in _BLOCK_STEPS.values():
    pre_norm_block.slips(
        _block,
        {_first: {"first": _step}, _second: {"second": _step}, _both: {"first": _step, "second": _step}},
    )
pre_norm_block.mistakes(
    {
        "mlp sees the original x, so the steps run side by side. The second step begins with the result of the first: "
        "`x = x + attend(norm1(x))`.": [
            {"x = x + attend(norm1(x))": "update = attend(norm1(x))", "x + mlp": "x + update + mlp"},
        ],
        "The second step adds to the original x, so what attend found is lost from the sum. It adds to the result of "
        "the first step.": lambda x, norm1, attend, norm2, mlp: x + mlp(norm2(x + attend(norm1(x)))),
        "The first step is lost: the second begins with the original x again. Assign `x = x + attend(norm1(x))`, and "
        "go on with it.": lambda x, norm1, attend, norm2, mlp: x + mlp(norm2(x)),
        "The second step is missing. After attend, add `mlp(norm2(x))`.": (
            lambda x, norm1, attend, norm2, mlp: x + attend(norm1(x))
        ),
        "mlp comes before attend. First attend, behind norm1, then mlp, behind norm2.": [
            lambda x, norm1, attend, norm2, mlp: _block()(x, norm2, mlp, norm1, attend),
        ],
        "mlp comes before attend. The order is norm1 and attend, then norm2 and mlp.": [
            lambda x, norm1, attend, norm2, mlp: _block()(x, norm1, mlp, norm2, attend),
        ],
        "norm1 and norm2 are swapped: norm1 stands before attend, norm2 before mlp.": [
            lambda x, norm1, attend, norm2, mlp: _block()(x, norm2, attend, norm1, mlp),
        ],
        "norm1 is used in both steps. The second has a norm of its own, norm2.": {"norm2(x)": "norm1(x)"},
        "norm2 is used in both steps. The first has a norm of its own, norm1.": {"norm1(x)": "norm2(x)"},
        "attend is used in both steps. The second one applies mlp.": {"mlp(norm2": "attend(norm2"},
        "mlp is used in both steps. The first one applies attend.": {"attend(norm1": "mlp(norm1"},
        "The second step leaves the first one's sum out: it adds the original x to mlp(norm2(attend(norm1(x)))). There "
        "are two sums, one in each step.": (
            lambda x, norm1, attend, norm2, mlp: x + mlp(norm2(attend(norm1(x))))
        ),
        "This is what the steps add, without x. Return x plus both.": [
            _block(then=lambda x, first, second: second - x),
        ],
        "x is added a second time at the end. The steps hold it already.": [
            _block(then=lambda x, first, second: second + x),
        ],
        "Both steps begin with the original x, and their results are added, so x counts twice. The second step begins "
        "with the result of the first.": (
            lambda x, norm1, attend, norm2, mlp: x + attend(norm1(x)) + x + mlp(norm2(x))
        ),
        "x is normalized once for both, and mlp does not see what attend found. After the first step, normalize the "
        "new x with norm2.": [
            lambda x, norm1, attend, norm2, mlp: x + attend(norm1(x)) + mlp(norm1(x)),
        ],
        "mlp sees x behind both norms, and not what attend found. After the first step, normalize the new x with "
        "norm2 alone.": [
            lambda x, norm1, attend, norm2, mlp: x + attend(norm1(x)) + mlp(norm2(norm1(x))),
        ],
        "mlp gets the output of attend alone. It gets the normalized sum, norm2(x + attend(norm1(x))).": [
            lambda x, norm1, attend, norm2, mlp: (lambda update: x + update + mlp(norm2(update)))(
                attend(norm1(x))
            ),
        ],
        "The whole block is one chain, mlp(attend(…)), with x added at its end. Each of the two steps has a sum of its "
        "own.": [
            lambda x, norm1, attend, norm2, mlp: x + mlp(attend(norm1(x))),
            lambda x, norm1, attend, norm2, mlp: x + mlp(attend(norm2(norm1(x)))),
            lambda x, norm1, attend, norm2, mlp: x + norm2(mlp(norm1(attend(x)))),
            lambda x, norm1, attend, norm2, mlp: x + mlp(attend(x)),
        ],
        "The result goes through a norm once more. Return the sum as it is; what comes next has its own norm.": [
            lambda x, norm1, attend, norm2, mlp: norm1(_block()(x, norm1, attend, norm2, mlp)),
        ],
        "x is normalized before anything else and is lost. Keep x, and give norm1(x) to attend alone.": [
            lambda x, norm1, attend, norm2, mlp: _block()(norm1(x), norm1, attend, norm2, mlp),
        ],
        "attend acts a second time, on x without its norm. Compute `x + attend(norm1(x))` once, and use it in both "
        "places of the second step.": [
            lambda x, norm1, attend, norm2, mlp: x + attend(norm1(x)) + mlp(norm2(x + attend(x))),
        ],
        "Several things came back. Return the result of the second step alone.": [
            _block(then=lambda x, first, second: (first, second)),
            _block(then=lambda x, first, second: [first, second]),
            _block(then=lambda x, first, second: torch.stack([first, second])),
            _block(then=lambda x, first, second: (second, first)),
        ],
        "x and the update are put side by side. Add them: `x + attend(norm1(x))`.": [
            lambda x, norm1, attend, norm2, mlp: torch.cat([x, attend(norm1(x))], dim=-1),
            _block(second=lambda x, norm, f: torch.cat([x, f(norm(x))], dim=-1)),
            _block(then=lambda x, first, second: torch.cat([first, second], dim=-1)),
        ],
        "attend takes one tensor: queries, keys and values are made inside of it. Write `attend(norm1(x))`.": [
            lambda x, norm1, attend, norm2, mlp: x + attend(norm1(x), norm1(x), norm1(x)),
            lambda x, norm1, attend, norm2, mlp: x + attend(x, x, x),
        ],
        "attend returns one tensor here, not outputs and weights. Use what comes back as it is.": [
            lambda x, norm1, attend, norm2, mlp: _block(first=lambda h, norm, f: h + f(norm(h))[0])(
                x, norm1, attend, norm2, mlp
            ),
        ],
        "The positions are averaged. A block returns as many positions as it gets, (N, T, d).": [
            _block(then=lambda x, first, second: second.mean(dim=1)),
        ],
        "A function is added to x, not what it gives: norm1 and attend have to be called, `attend(norm1(x))`.": [
            lambda x, norm1, attend, norm2, mlp: x + attend,
        ],
        "attend gets the function norm1, not what it gives. Call both: `attend(norm1(x))`.": [
            lambda x, norm1, attend, norm2, mlp: x + attend(norm1),
        ],
    }
)
_BLOCK_WIRES = {  # what the second step makes of x, the update of the first one, norm and mlp
    "The second step adds to the original x.": lambda x, update, norm, mlp: x + mlp(norm(x + update)),
    "The steps run side by side: mlp sees the original x.": lambda x, update, norm, mlp: (
        x + update + mlp(norm(x))
    ),
    "The second step does not add x.": lambda x, update, norm, mlp: mlp(norm(x + update)),
    "The second step is normalized after its sum, not before.": lambda x, update, norm, mlp: norm(
        x + update + mlp(x + update)
    ),
    "The first step does not add x.": lambda x, update, norm, mlp: update + mlp(norm(update)),
    "Neither step adds x.": lambda x, update, norm, mlp: mlp(norm(update)),
    "x is not added, only the two updates.": lambda x, update, norm, mlp: update + mlp(norm(x + update)),
}


def _block_wired(wire, norm):
    def attempt(x, norm1, attend, norm2, mlp):
        return wire(x, attend(norm1(x)), norm(norm1, norm2), mlp)

    return attempt


_BLOCK_WRONG_NORMS = {
    "norm2 is missing.": lambda norm1, norm2: lambda x: x,
    "norm1 is used in both steps.": lambda norm1, norm2: norm1,
}
_BLOCK_NAMED_ELSEWHERE = {  # by their names in _BLOCK_STEPS and _BLOCK_PAIRS, or by another sentence
    ("The second step does not add x.", "norm2 is missing."),
    ("The second step is normalized after its sum, not before.", "norm2 is missing."),
    ("The first step does not add x.", "norm2 is missing."),
    ("The steps run side by side: mlp sees the original x.", "norm1 is used in both steps."),
}
pre_norm_block.mistakes(
    {
        f"Two slips. {told} {norm_told}": _block_wired(wire, norm)
        for told, wire in _BLOCK_WIRES.items()
        for norm_told, norm in _BLOCK_WRONG_NORMS.items()
        if (told, norm_told) not in _BLOCK_NAMED_ELSEWHERE
    }
    | {
        "Two slips. The steps are normalized after their sum, not before. The second one does not add x.": _block(
            first=_BLOCK_STEPS["post-norm"][0], second=_BLOCK_STEPS["norm behind, no skip"][0]
        ),
        "Two slips. The steps are normalized after their sum, not before. The first one does not add x.": _block(
            first=_BLOCK_STEPS["norm behind, no skip"][0], second=_BLOCK_STEPS["post-norm"][0]
        ),
        "Two slips. The steps are normalized after their sum, not before. norm1 is used in both.": (
            lambda x, norm1, attend, norm2, mlp: _block(
                first=_BLOCK_STEPS["post-norm"][0], second=_BLOCK_STEPS["post-norm"][0]
            )(x, norm1, attend, norm1, mlp)
        ),
    }
)
_BLOCK_PAIRS = {
    "is normalized after its sum, not before": "post-norm",
    "adds to the normalized x, not to x": "skip normalized",
    "does not add x": "no skip",
    "has no norm": "no norm",
    "has its norm behind its function, not before": "norm behind",
}
for _said, _kind in _BLOCK_PAIRS.items():
    pre_norm_block.pairs_of_slips(
        _block,
        {f"The first step {_said}.": {"first": _BLOCK_STEPS[_kind][0]}},
        {
            f"The second step {said}.": {"second": _BLOCK_STEPS[kind][0]}
            for said, kind in _BLOCK_PAIRS.items()
            if kind != _kind
        },
    )


# Section 7: a language model ----------------------------------------------------------------------------------


def _text(L, starts, T, seed):
    """A text of L tokens, all different and larger than any place in it, windows into it, and their length."""
    ids = 50 + torch.randperm(L, generator=torch.Generator().manual_seed(seed))
    return ids, torch.tensor(starts), T


@lesson.exercise(
    cases={
        "three tokens": (torch.tensor([7, 9, 8]), torch.tensor([0]), 2),
        "a window from the middle": (torch.tensor([7, 5, 9, 8, 6]), torch.tensor([1]), 3),
        "one token at a time": _text(9, [2, 7, 4], 1, seed=110),
        "a window at the end of the text": _text(10, [0, 6], 3, seed=120),
        "windows that overlap": _text(12, [3, 5, 4], 4, seed=130),
        "as many windows as positions": _text(11, [6, 0, 3], 3, seed=140),
        "more windows than positions": _text(14, [11, 2, 7, 0, 5], 2, seed=150),
        "the same window twice": _text(10, [4, 1, 4], 5, seed=160),
        "tokens that come again": (torch.tensor([3, 1, 1, 2, 3, 3, 1, 0]), torch.tensor([3, 0]), 4),
        "a whole text": _text(8, [0], 7, seed=170),
    },
    hints=[
        "Which indices into `ids` does window n take? `starts[n]`, `starts[n] + 1`, … up to `starts[n] + T − 1`.",
        "A column of starts and a row of steps make a table: `starts[:, None] + torch.arange(T)` is (N, T).",
        "With `index` for this table, the inputs are `ids[index]`, and the tokens after them `ids[index + 1]`.",
    ],
    returns=("inputs", "targets"),
)
def next_tokens(ids, starts, T):
    """Return inputs and targets, both (N, T): windows of the text, and at each position the token that comes next.

    `ids` (L,) is a text as tokens; `starts` (N,) says where each window begins.
    """
    index = starts[:, None] + torch.arange(T, device=starts.device)
    return ids[index], ids[index + 1]


def _windows(
    index=lambda starts, T, ids: starts[:, None] + torch.arange(T),
    inputs=lambda ids, index: ids[index],
    targets=lambda ids, index: ids[index + 1],
    give=lambda inputs, targets: (inputs, targets),
):
    """Windows and what comes next, with what can go wrong as arguments."""

    def attempt(ids, starts, T):
        places = index(starts, T, ids)
        return give(inputs(ids, places), targets(ids, places))

    return attempt


def _cut(ids, starts, length):
    return torch.stack([ids[start : start + length] for start in starts.tolist()])


_WINDOW_TARGETS = {
    "The targets are the inputs themselves. The target of a position is the token after it: `ids[index + 1]`.": {
        "targets": lambda ids, index: ids[index]
    },
    "The target is the token before. It should be the one that comes next: `ids[index + 1]`.": {
        "targets": lambda ids, index: ids[(index - 1) % len(ids)]
    },
    "The targets come round to the front of their window: the last one is the first input. Take the token that follows "
    "in the text, `ids[index + 1]`.": {"targets": lambda ids, index: ids[index.roll(-1, dims=1)]},
    "The targets are rolled the wrong way within their window. Take the token that follows in the text, "
    "`ids[index + 1]`.": {"targets": lambda ids, index: ids[index.roll(1, dims=1)]},
    "The targets are taken from the next window of the list, not from the next place in the text. Take "
    "`ids[index + 1]`.": {"targets": lambda ids, index: ids[index.roll(-1, dims=0)]},
    "The targets are the window after this one: `index + T`. The token that comes next is one place further on, "
    "`index + 1`.": {"targets": lambda ids, index: ids[(index + index.shape[1]).clamp(max=len(ids) - 1)]},
    "There is one target for each window, the token after it. Each position has a target of its own, "
    "`ids[index + 1]`, (N, T).": {"targets": lambda ids, index: ids[index[:, -1] + 1]},
    "There is one target for each window, (N, 1). Each position has a target of its own, `ids[index + 1]`, (N, T).": {
        "targets": lambda ids, index: ids[index[:, -1:] + 1]
    },
    "All positions of a window have the same target, the token after the window. Each has its own: "
    "`ids[index + 1]`.": {"targets": lambda ids, index: ids[index[:, -1:] + 1].expand_as(index)},
    "The token is raised by 1, not its place: `ids[index] + 1`. Write `ids[index + 1]`.": {
        "targets": lambda ids, index: ids[index] + 1
    },
    "The targets are the places of the tokens, not the tokens. Look them up: `ids[index + 1]`.": {
        "targets": lambda ids, index: index + 1
    },
    "The targets are one short, (N, T − 1): the last position needs a target as well, the token behind the "
    "window.": {"targets": lambda ids, index: ids[index[:, 1:]]},
    "The last target is a 0 to fill up. It is the token behind the window, `ids[index + 1]`.": {
        "targets": lambda ids, index: F.pad(ids[index[:, 1:]], (0, 1))
    },
    "The last target repeats the last input. It is the token behind the window, `ids[index + 1]`.": {
        "targets": lambda ids, index: ids[torch.cat([index[:, 1:], index[:, -1:]], dim=1)]
    },
    "The targets run to two places behind the window, (N, T + 1). There are as many as inputs, T.": {
        "targets": lambda ids, index: ids[torch.cat([index, index[:, -1:] + 1], dim=1)]
    },
}
_WINDOW_STARTS = {
    "Every window is the same: all of them begin at the first of the starts. Window n begins at `starts[n]`.": {
        "index": lambda starts, T, ids: (starts[:1, None] + torch.arange(T)).expand(len(starts), T)
    },
    "Only the first window comes back. There is one for each of the starts, (N, T).": {
        "index": lambda starts, T, ids: starts[:1, None] + torch.arange(T)
    },
    "Only the last window comes back: collect the windows of all starts, (N, T).": {
        "index": lambda starts, T, ids: starts[-1:, None] + torch.arange(T)
    },
    "`starts` is not used: every window begins at 0. Add `starts[:, None]` to the indices.": {
        "index": lambda starts, T, ids: torch.arange(T).expand(len(starts), T)
    },
    "`starts` is not used: the windows follow each other from the beginning of the text. Window n begins at "
    "`starts[n]`.": {
        "index": lambda starts, T, ids: torch.arange(len(starts) * T).view(-1, T) % (len(ids) - 1)
    },
    "The starts are taken as numbers of windows, `starts · T`. They are places in the text: window n begins at "
    "`starts[n]`.": {
        "index": lambda starts, T, ids: (T * starts[:, None] + torch.arange(T)) % (len(ids) - 1)
    },
    "Window n begins one place too late, at `starts[n] + 1`. Its first input is `ids[starts[n]]`.": {
        "index": lambda starts, T, ids: (starts[:, None] + 1 + torch.arange(T)) % (len(ids) - 1)
    },
    "The windows are sorted by where they begin. Keep the order of `starts`.": {
        "index": lambda starts, T, ids: starts.sort().values[:, None] + torch.arange(T)
    },
    "Windows that begin at the same place are merged. Each of the starts has its own row.": {
        "index": lambda starts, T, ids: (
            torch.tensor(list(dict.fromkeys(starts.tolist())))[:, None] + torch.arange(T)
        )
    },
    "The windows end at `starts[n]`. They begin there: add `torch.arange(T)`.": {
        "index": lambda starts, T, ids: (starts[:, None] - T + 1 + torch.arange(T)) % (len(ids) - 1)
    },
    "The windows run backwards: the steps are subtracted from the starts. Add them.": {
        "index": lambda starts, T, ids: (starts[:, None] - torch.arange(T)) % (len(ids) - 1)
    },
    "The windows are turned round, their last token first. `torch.arange(T)` counts from 0.": {
        "index": lambda starts, T, ids: starts[:, None] + torch.arange(T).flip(0)
    },
    "The windows stand in columns, (T, N). A window is a row: `starts[:, None] + torch.arange(T)`.": {
        "index": lambda starts, T, ids: starts + torch.arange(T)[:, None]
    },
    "The windows are T + 1 long. Inputs and targets have T tokens each.": {
        "index": lambda starts, T, ids: (starts[:, None] + torch.arange(T + 1)).clamp(max=len(ids) - 2)
    },
    "The windows have T − 1 tokens: a window of T was cut and one token lost to the shift. Cut T + 1, or take "
    "`ids[index + 1]`.": {"index": lambda starts, T, ids: starts[:, None] + torch.arange(T - 1)},
    "The windows of all starts are in one long row. Each has its own row, (N, T).": {
        "index": lambda starts, T, ids: (starts[:, None] + torch.arange(T)).flatten()
    },
}
_WINDOW_ENDS = {
    "Inputs and targets are in the wrong order: inputs first.": {
        "give": lambda inputs, targets: (targets, inputs)
    },
    "Only the inputs came back. Return inputs and targets.": {"give": lambda inputs, targets: inputs},
    "Only the targets came back. Return inputs and targets.": {"give": lambda inputs, targets: targets},
    "Inputs and targets are stacked into one tensor. Return the two: `return inputs, targets`.": {
        "give": lambda inputs, targets: torch.stack([inputs, targets])
    },
    "Inputs and targets are joined into one tensor. Return the two: `return inputs, targets`.": {
        "give": lambda inputs, targets: torch.cat([inputs, targets])
    },
    "A list of pairs came back, one for each window. Return two tensors, (N, T) each.": {
        "give": lambda inputs, targets: list(zip(inputs, targets, strict=True))
    },
    "The windows are in lists. Stack them: `torch.stack(windows)` is (N, T).": {
        "give": lambda inputs, targets: (list(inputs), list(targets))
    },
    "The windows are lists of Python numbers. Make tensors of them, int64, (N, T).": {
        "give": lambda inputs, targets: (inputs.tolist(), targets.tolist())
    },
    "An axis too many: the results are (N, 1, T). They should be (N, T).": {
        "give": lambda inputs, targets: (inputs[:, None], targets[:, None])
    },
}
next_tokens.slips(_windows, _WINDOW_TARGETS, _WINDOW_STARTS, _WINDOW_ENDS)
next_tokens.mistakes(
    {
        "The inputs are rolled as one long row, so the last target of a window is the first token of another one. Take "
        "the token that follows in the text, `ids[index + 1]`.": [
            _windows(targets=lambda ids, index: ids[index.roll(-1)]),
        ],
        "The targets are the window after this one: `index + T`. The token that comes next is one place further on, "
        "`index + 1`.": [
            lambda ids, starts, T: (_cut(ids, starts, T), _cut(ids, starts + T, T)),
            _windows(targets=lambda ids, index: ids[index + index.shape[1]]),
        ],
        "Only the first window comes back. There is one for each of the starts, (N, T).": [
            _windows(
                index=lambda starts, T, ids: starts[0] + torch.arange(T),
            ),
        ],
        "Only the last window comes back: collect the windows of all starts, (N, T).": [
            _windows(index=lambda starts, T, ids: starts[-1] + torch.arange(T)),
        ],
        "`starts` is not used: the windows follow each other from the beginning of the text. Window n begins at "
        "`starts[n]`.": [
            lambda ids, starts, T: (
                ids[: len(starts) * T].view(-1, T),
                ids[1 : len(starts) * T + 1].view(-1, T),
            ),
        ],
        "The targets are shifted by two. The next token is one place further on: `ids[index + 1]`.": [
            _windows(targets=lambda ids, index: ids[(index + 2) % len(ids)]),
            _windows(targets=lambda ids, index: ids[(index + 2).clamp(max=len(ids) - 1)]),
            _windows(targets=lambda ids, index: F.pad(ids, (0, 1))[index + 2]),
        ],
        "`index + 2` is two places further on, and past the end of the text for the last window. The next token is "
        "`ids[index + 1]`.": {"index + 1": "index + 2"},
        "The target is the token before. It should be the one that comes next: `ids[index + 1]`.": [
            {"index + 1": "index - 1"}
        ],
        "Inputs and targets are in the wrong order: inputs first.": {
            "ids[index], ids[index + 1]": "ids[index + 1], ids[index]"
        },
        "The inputs are one place ahead: they are `ids[index]`, and the targets `ids[index + 1]`.": [
            _windows(inputs=lambda ids, index: ids[index + 1]),
            _windows(inputs=lambda ids, index: ids[index + 1], targets=lambda ids, index: ids[index + 1]),
        ],
        "Both are shifted by one. The inputs are `ids[index]` and the targets `ids[index + 1]`.": [
            _windows(
                inputs=lambda ids, index: ids[index + 1],
                targets=lambda ids, index: ids[(index + 2).clamp(max=len(ids) - 1)],
            ),
        ],
        "The inputs are one longer than the targets: T + 1 tokens were cut, and all are inputs. Leave the last one "
        "out, `[:, :-1]`.": [
            lambda ids, starts, T: (_cut(ids, starts, T + 1), _cut(ids, starts, T + 1)[:, 1:]),
        ],
        "All T + 1 tokens of a window came back in one tensor. Return the inputs, `[:, :-1]`, and the targets, "
        "`[:, 1:]`.": lambda ids, starts, T: _cut(ids, starts, T + 1),
        "The windows have T − 1 tokens: a window of T was cut and one token lost to the shift. Cut T + 1, or take "
        "`ids[index + 1]`.": lambda ids, starts, T: (
            _cut(ids, starts, T)[:, :-1],
            _cut(ids, starts, T)[:, 1:],
        ),
        "The places came back, not the tokens at these places. Look them up: `ids[index]` and `ids[index + 1]`.": [
            _windows(inputs=lambda ids, index: index, targets=lambda ids, index: index + 1),
        ],
        "The inputs are the places of the tokens, not the tokens. Look them up: `ids[index]`.": [
            _windows(inputs=lambda ids, index: index),
        ],
        "`starts` and the steps 0 … T − 1 are added element by element. Give the starts an axis of their own: "
        "`starts[:, None] + torch.arange(T)`.": {"starts[:, None]": "starts"},
        "`torch.arange` and slices take one number, and `starts` holds many. Add a row of steps to a column of starts: "
        "`starts[:, None] + torch.arange(T)`.": [
            lambda ids, starts, T: (ids[starts : starts + T], ids[starts + 1 : starts + T + 1]),
            lambda ids, starts, T: ids[torch.arange(starts, starts + T)],
        ],
        "Only the tokens at `starts` are inputs, without the T − 1 that follow. Add the steps: `starts[:, None] + "
        "torch.arange(T)`.": [
            lambda ids, starts, T: (ids[starts], ids[starts + 1]),
            lambda ids, starts, T: (ids[starts[:, None]], ids[starts[:, None] + 1]),
        ],
        "`torch.tensor` takes numbers, not a list of tensors: `torch.stack([…])`.": [
            lambda ids, starts, T: (
                torch.tensor([ids[s : s + T] for s in starts]),
                torch.tensor([ids[s + 1 : s + T + 1] for s in starts]),
            ),
            lambda ids, starts, T: torch.tensor([ids[s : s + T] for s in starts]),
        ],
        "The windows are cut along axis 0, the examples. Cut axis 1: `w[:, :-1]`.": [
            lambda ids, starts, T: (lambda w: (w[:-1], w[1:]))(_cut(ids, starts, T + 1)),
        ],
        "Two slips. The targets are two places further on, not one. The windows are in lists, not in one tensor.": [
            lambda ids, starts, T: (
                [ids[s : s + T] for s in starts],
                [ids[s + 2 : s + T + 2] for s in starts],
            ),
        ],
        "The inputs are one token for each window. They are windows as well, (N, T): `ids[starts[:, None] + "
        "torch.arange(T)]`.": [
            _windows(inputs=lambda ids, index: ids[index[:, 0]]),
        ],
        "The windows take every T-th token. They are tokens side by side: `starts[:, None] + torch.arange(T)`.": [
            lambda ids, starts, T: _windows(
                index=lambda starts, T, ids: (starts[:, None] + T * torch.arange(T)) % (len(ids) - 1)
            )(ids, starts, T),
        ],
        "The steps begin at 1. The first input of window n is `ids[starts[n]]`: count from 0, `torch.arange(T)`.": [
            {"torch.arange(T, device=starts.device)": "torch.arange(1, T + 1)"}
        ],
    }
)
next_tokens.pairs_of_slips(
    _windows,
    {
        "The targets are the inputs themselves.": {"targets": lambda ids, index: ids[index]},
        "The last target comes round from the front of the window.": {
            "targets": lambda ids, index: ids[index.roll(-1, dims=1)]
        },
        "There is one target for each window only.": {"targets": lambda ids, index: ids[index[:, -1] + 1]},
    },
    {
        "`starts` is not used.": {"index": lambda starts, T, ids: torch.arange(T).expand(len(starts), T)},
        "Only the first window comes back.": {
            "index": lambda starts, T, ids: starts[:1, None] + torch.arange(T)
        },
        "The windows stand in columns.": {"index": lambda starts, T, ids: starts + torch.arange(T)[:, None]},
        "The windows are in lists, not in one tensor.": {
            "give": lambda inputs, targets: (list(inputs), list(targets))
        },
    },
)

next_tokens.pairs_of_slips(
    _windows,
    {"Inputs and targets are in the wrong order.": {"give": lambda inputs, targets: (targets, inputs)}},
    {
        "`starts` is not used.": {"index": lambda starts, T, ids: torch.arange(T).expand(len(starts), T)},
        "The windows stand in columns.": {"index": lambda starts, T, ids: starts + torch.arange(T)[:, None]},
    },
)


# Section 8: sampling a text -----------------------------------------------------------------------------------

_DRAWN = 1500  # rows of logits that an attempt gets at once, copies of those of a case


def _token_weights(
    logits,
    temperature,
    top_k,
    scaled=lambda logits, temperature: logits / temperature,
    kept=lambda logits, k: logits.masked_fill(
        logits < logits.topk(min(k, logits.shape[-1])).values[:, -1:], -math.inf
    ),
    weighted=lambda logits: logits.softmax(dim=-1),
    spread=lambda weights, temperature, k: weights,
    cold=lambda logits, k: F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits),
    kept_by=None,
):
    """What a sampler draws from, (N, V), with what can go wrong as arguments."""
    if temperature == 0:
        return cold(logits, top_k)
    given, logits = logits, scaled(logits, temperature)
    if top_k is not None:
        logits = kept_by(given, logits, top_k) if kept_by else kept(logits, top_k)
    return spread(weighted(logits), temperature, top_k)


def _one_token(weights):
    return torch.multinomial(weights, 1)


def _sampler(draw=_one_token, **options):
    """A sampler, with what can go wrong as arguments; its options are kept."""

    def attempt(logits, temperature=1.0, top_k=None):
        return draw(_token_weights(logits, temperature, top_k, **options))

    _SAMPLERS.append(options)
    return attempt


_SAMPLERS = []


@functools.cache
def _likely_drawn(rows, dtype, temperature, top_k, count):
    """The probabilities (N, V) with which the solution draws, then those of known mistakes."""
    logits = torch.tensor(rows, dtype=dtype)
    found = []
    for options in [{}, *_SAMPLERS[:count]]:
        try:
            weights = _token_weights(logits, temperature, top_k, **options)
            if (
                weights.shape == logits.shape
                and bool((weights >= 0).all())
                and bool(weights.isfinite().all())
            ):
                total = weights.sum(dim=-1, keepdim=True)
                found.append((weights / total).double())
        except (RuntimeError, IndexError):
            continue
    if top_k is not None and temperature > 0:  # those kept, without a new sum of 1
        found.append((logits / temperature).softmax(dim=-1).double() * (found[0] > 0))
    distinct = []
    for one in found:
        if not one.isnan().any() and not any(torch.allclose(one, other, atol=1e-6) for other in distinct):
            distinct.append(one)
    return distinct


def _named_frequencies(frequencies, likely, copies):
    """The probabilities that explain the frequencies best, those of the solution before others; else rounded ones."""
    distances = []
    for probabilities in likely:
        allowed = 5 * (probabilities * (1 - probabilities) / copies).sqrt() + 3 / copies
        allowed = torch.where((probabilities == 0) | (probabilities == 1), 1e-9, allowed)
        distances.append(((frequencies - probabilities).abs() / allowed).max().item())
    best = 0 if distances[0] <= 1 else min(range(len(likely)), key=distances.__getitem__)
    return likely[best] if distances[best] <= 1 else (20 * frequencies).round() / 20


def _drawn(attempt, logits, temperature, top_k):
    """What comes back, and how often each token is drawn: exact probabilities where the frequencies fit them."""
    options = () if (temperature, top_k) == (1.0, None) else (temperature, top_k)
    before = logits.clone()
    token = attempt(logits, *options)
    if not isinstance(token, Tensor):
        return token
    N, V = logits.shape
    rows = tuple(map(tuple, before.tolist()))
    likely = _likely_drawn(rows, logits.dtype, temperature, top_k, len(_SAMPLERS))
    is_drawn = not bool((likely[0].amax(dim=1) == 1).all())
    copies = _DRAWN // N if is_drawn else 20
    facts = {
        "shape": f"{tuple(token.shape)}",
        "type": str(token.dtype).removeprefix("torch."),
        "each row has a draw of its own": True,
        "frequencies": likely[0],
        "a second call draws anew": True,
    }
    if token.numel() != N:
        return facts
    many = attempt(before.repeat(copies, 1), *options)
    if not isinstance(many, Tensor) or many.numel() != copies * N:
        return facts | {"each row has a draw of its own": False}
    many = many.reshape(copies, N)
    if is_drawn and bool((many == many[:1]).all()):
        # the copies of a row agree: are they drawn together, or not drawn at all?
        again = (attempt(before.clone(), *options).reshape(1, N) for _ in range(30))
        if not all(bool((one == many[:1]).all()) for one in again):
            return facts | {"each row has a draw of its own": False}
    frequencies = torch.stack([(many == number).double().mean(dim=0) for number in range(V)], dim=1)
    named = _named_frequencies(frequencies, likely, copies)
    calls = [attempt(before.repeat(60, 1), *options) for _ in range(2 * is_drawn)]
    return facts | {"frequencies": named, "a second call draws anew": not calls or not torch.equal(*calls)}


@lesson.exercise(
    observe=_drawn,
    cases={
        "two tokens": (torch.tensor([[0.0, 1.0986123]]), 1.0, None),
        "temperature 2": (torch.tensor([[3.0, 0.0, 1.5]]), 2.0, None),
        "temperature 0.5": (torch.tensor([[0.5, 0.2, -0.3, 0.9], [-0.8, 0.3, 0.1, -0.6]]), 0.5, None),
        "temperature 0": (torch.tensor([[0.1, 0.3, 0.2], [2.0, -1.0, 1.0], [-3.0, -5.0, -2.5]]), 0, None),
        "top_k = 1": (torch.tensor([[0.1, 0.5, 0.4, 0.2], [0.9, 0.7, 0.2, 0.8]]), 1.0, 1),
        "top_k = 2": (
            torch.tensor([[0.2, 1.3, 0.9, 0.1, -0.2], [0.8, -0.5, 0.3, 0.1, 1.8]]),
            1.0,
            2,
        ),
        "top_k = 3, temperature 2": (torch.tensor([[2.4, -1.0, -0.3, 0.9, 0.5]]), 2.0, 3),
        "top_k = 2, rows of different levels": (
            torch.tensor(
                [[1.0, 2.4, 0.5, -1.0, -2.0], [2.2, 3.0, 2.1, 1.2, 0.3], [0.2, 2.5, -0.5, -1.5, -3.0]]
            ),
            1.0,
            2,
        ),
        "top_k = 3, temperature 0.5": (
            torch.tensor([[0.8, 0.1, 1.3, 0.9, -0.4], [1.6, 1.2, 1.9, 1.4, 2.0], [0.6, 1.5, 0.5, 0.2, 1.0]]),
            0.5,
            3,
        ),
        "top_k larger than V": (torch.tensor([[1.2, -0.4, 0.1]]), 1.5, 10),
        "logits of −inf": (torch.tensor([[-math.inf, 0.4, 1.5, -math.inf]]), 0.7, None),
        "as many rows as tokens": (torch.tensor([[1.5, -0.5], [0.2, 0.9]]), 0.8, None),
        "temperature 0 and top_k": (torch.tensor([[0.4, 0.1, 0.6, 0.5]]), 0.0, 3),
        "float64 logits": (torch.tensor([[-1.5, -0.2, -0.9]], dtype=torch.float64), 3.0, 2),
    },
    hints=[
        "The three arguments act one after the other: divide by the temperature, exclude all but the top_k largest, "
        "draw. What cannot be divided by 0 needs a line of its own.",
        "A token with the logit −inf has the probability 0. The smallest logit that stays is "
        "`logits.topk(min(top_k, V)).values[:, -1:]`.",
        "`logits.masked_fill(logits < smallest, -math.inf)`, then `torch.multinomial(logits.softmax(dim=-1), 1)`. For "
        "temperature 0: `logits.argmax(dim=-1, keepdim=True)`.",
    ],
)
def sample_next(logits, temperature=1.0, top_k=None):
    """Return (N, 1) int64: for each row of logits (N, V) a token drawn from softmax(logits / temperature).

    With temperature 0 it is the most likely token. With `top_k`, only the top_k most likely tokens may be drawn;
    top_k may be larger than V.
    """
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    logits = logits / temperature
    if top_k is not None:
        smallest_kept = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < smallest_kept, -math.inf)
    return torch.multinomial(logits.softmax(dim=-1), 1)


def _most_likely(weights):
    return weights.argmax(dim=-1, keepdim=True)


def _of_the_kept(logits, k, fill):
    """The logits with `fill` where they are not among the k largest."""
    return logits.masked_fill(logits < logits.topk(min(k, logits.shape[-1])).values[:, -1:], fill)


def _kept_together(logits, k, threshold):
    """One threshold for all rows, made of those that each of them has."""
    return logits.masked_fill(
        logits < threshold(logits.topk(min(k, logits.shape[-1])).values[:, -1]), -math.inf
    )


def _lost(logits, temperature, top_k):
    """The probabilities of the kept tokens, which do not add up to 1."""
    probabilities = (logits / temperature).softmax(dim=-1)
    return (
        probabilities
        if top_k is None
        else probabilities * (_of_the_kept(logits, top_k, -math.inf) > -math.inf)
    )


def _chosen_by_numpy(row):
    return np.random.choice(len(row), p=row)  # noqa: NPY002 - what an attempt may use


def _by_cumulative_sums(logits, temperature, top_k):
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    ends = _lost(logits, temperature, top_k).cumsum(dim=-1)
    return (ends < torch.rand(len(logits), 1)).sum(dim=-1, keepdim=True)


def _sampler_of_indices(logits, temperature, top_k):
    """Draws a place among the top_k, then looks up the token; fails where there are fewer."""
    if temperature == 0 or top_k is None:
        return sample_next.reference(logits, temperature)
    values, indices = (logits / temperature).topk(top_k)
    return indices.gather(1, _one_token(values.softmax(dim=-1)))


_SCALES = {
    "The temperature acts the wrong way round: the logits are multiplied by it, or the probabilities raised to it. "
    "Divide the logits by it, before the softmax: `logits / temperature`.": {
        "scaled": lambda logits, temperature: logits * temperature
    },
    "The temperature has no effect here, unless it is 0. Divide the logits by it, before the softmax: "
    "`logits / temperature`.": {"scaled": lambda logits, temperature: logits},
    "The temperature acts twice. Divide the logits by it once, `logits / temperature`, and nothing after that.": {
        "scaled": lambda logits, temperature: logits / temperature**2
    },
    "The logits are divided by the root of the temperature. Divide by the temperature itself.": {
        "scaled": lambda logits, temperature: logits / math.sqrt(temperature)
    },
    "The sign of the logits is turned, so the least likely token comes most often. Divide by the temperature, without "
    "the minus.": {"scaled": lambda logits, temperature: -logits.clamp(min=-1e9) / temperature},
    "A softmax comes before the division by the temperature, and another one after it. Divide the logits themselves, "
    "then take one softmax.": {"scaled": lambda logits, temperature: logits.softmax(dim=-1) / temperature},
}
_PLACE = (
    "The place among the top_k came back, not the token. Look it up in the indices of `topk`, or keep all V and set "
    "the others to −inf."
)
_KEPT = {
    "`top_k` is ignored. Put −inf where a logit is below the top_k-th largest of its row.": {
        "kept": lambda logits, k: logits
    },
    "The least likely tokens stay, and the most likely are excluded. Exclude what is smaller than the top_k-th "
    "largest: `logits < smallest_kept`.": {
        "kept": lambda logits, k: logits.masked_fill(
            logits > logits.topk(min(k, logits.shape[-1]), largest=False).values[:, -1:], -math.inf
        )
    },
    "The top_k most likely tokens are excluded, and the others drawn. Turn the comparison round: exclude where "
    "`logits < smallest_kept`.": {
        "kept": lambda logits, k: logits.masked_fill(
            logits >= logits.topk(min(k, logits.shape[-1])).values[:, -1:], -math.inf
        )
    },
    "The logits of the other tokens are set to 0, and exp(0) = 1 is no small weight: they are still drawn. Set them to "
    "−inf.": {"kept": lambda logits, k: _of_the_kept(logits, k, 0.0)},
    "With `top_k` the most likely token always comes back, as if top_k were 1. The smallest logit that stays is the "
    "top_k-th largest, `topk(…).values[:, -1:]`; then draw.": {
        "kept": lambda logits, k: logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True), -math.inf)
    },
    "The top_k-th token itself is excluded too: with `<=` only top_k − 1 are left, and with top_k = 1 none. Exclude "
    "where `logits < smallest_kept`.": {
        "kept": lambda logits, k: logits.masked_fill(
            logits <= logits.topk(min(k, logits.shape[-1])).values[:, -1:], -math.inf
        )
    },
    "One token too many stays: the threshold is the (top_k + 1)-th largest logit. Take `topk(top_k).values[:, "
    "-1:]`.": {
        "kept": lambda logits, k: logits.masked_fill(
            logits < logits.topk(min(k + 1, logits.shape[-1])).values[:, -1:], -math.inf
        )
    },
    "The first top_k tokens of the vocabulary stay, whatever their logits are. Keep the most likely ones: "
    "`logits.topk(top_k)`.": {
        "kept": lambda logits, k: logits.masked_fill(torch.arange(logits.shape[-1]) >= k, -math.inf)
    },
    _PLACE: {
        "kept": lambda logits, k: F.pad(
            logits.topk(min(k, logits.shape[-1])).values,
            (0, logits.shape[-1] - min(k, logits.shape[-1])),
            value=-math.inf,
        )
    },
    "All of the top_k tokens are drawn equally often. Draw them with their probabilities, the softmax of their "
    "logits.": {"kept": lambda logits, k: _of_the_kept(logits, k, -math.inf).clamp(max=-1e6)},
    "The threshold of the first row is used for all rows. Each row has its own: `.values[:, -1:]`.": {
        "kept": lambda logits, k: logits.masked_fill(
            logits < logits.topk(min(k, logits.shape[-1])).values[0, -1], -math.inf
        )
    },
    "The threshold comes from `logits` and is compared with `logits / temperature`. Divide first, then take the "
    "threshold.": {
        "kept_by": lambda given, logits, k: logits.masked_fill(
            logits < given.topk(min(k, given.shape[-1])).values[:, -1:], -math.inf
        )
    },
    "The threshold comes from `logits / temperature` and is compared with `logits`. Take both from the divided "
    "logits.": {
        "kept_by": lambda given, logits, k: logits.masked_fill(
            given < logits.topk(min(k, given.shape[-1])).values[:, -1:], -math.inf
        )
    },
}
_WEIGHTS = {
    "The softmax goes over the rows, `dim=0`. Each row has its own distribution over the tokens: `dim=-1`.": {
        "weighted": lambda logits: logits.softmax(dim=0)
    },
    "A sigmoid takes the place of the softmax, and it gives other probabilities. Use `softmax(dim=-1)`.": {
        "weighted": torch.sigmoid
    },
    "All tokens that are allowed are drawn equally often. Draw with the probabilities, `logits.softmax(dim=-1)`.": {
        "weighted": lambda logits: (logits > -math.inf).float()
    },
    "Every row is drawn from the first row's probabilities. Hand all rows to `torch.multinomial`: it draws from each "
    "of them.": {"spread": lambda weights, temperature, k: weights[:1].expand_as(weights)},
    "The softmax is applied twice, which brings the probabilities closer to each other. Once is enough.": {
        "weighted": lambda logits: logits.softmax(dim=-1).softmax(dim=-1)
    },
    "The softmax is taken twice with `top_k`. Mask the logits, then take one softmax.": {
        "kept": lambda logits, k: _of_the_kept(logits.softmax(dim=-1), k, -math.inf)
    },
    "The temperature has no effect when `top_k` is given. Divide the logits by it in any case, before the threshold.": {
        "kept_by": lambda given, logits, k: _of_the_kept(given, k, -math.inf)
    },
    "The probabilities are squared, or exp is applied to twice the logits. Draw from the softmax as it is.": {
        "weighted": lambda logits: (2 * logits).softmax(dim=-1)
    },
    "The logarithms of the probabilities, or their absolute values, are used as weights. `torch.multinomial` takes the "
    "probabilities: `logits.softmax(dim=-1)`.": {
        "weighted": lambda logits: logits.log_softmax(dim=-1).abs().nan_to_num(posinf=0.0)
    },
    "The weights are the absolute logits. `torch.multinomial` takes probabilities: `logits.softmax(dim=-1)`.": {
        "weighted": lambda logits: logits.abs().nan_to_num(posinf=0.0)
    },
    "The weights are the logits, cut off at 0. `torch.multinomial` takes probabilities: `logits.softmax(dim=-1)`.": {
        "weighted": lambda logits: logits.clamp(min=0)
    },
}
_COLD = {
    "With temperature 0 a token is drawn. It should be the most likely one: "
    "`logits.argmax(dim=-1, keepdim=True)`.": {"cold": lambda logits, k: logits.softmax(dim=-1)},
    "With temperature 0 the least likely token comes back: that is `argmin`. Take `argmax`.": {
        "cold": lambda logits, k: F.one_hot(logits.argmin(dim=-1), logits.shape[-1]).float()
    },
    "With temperature 0 each token is drawn equally often. It should be the most likely one: "
    "`logits.argmax(dim=-1, keepdim=True)`.": {"cold": lambda logits, k: torch.ones_like(logits)},
    "With temperature 0 token 0 comes back. It should be the most likely one: "
    "`logits.argmax(dim=-1, keepdim=True)`.": {
        "cold": lambda logits, k: F.one_hot(
            torch.zeros(len(logits), dtype=torch.int64), logits.shape[-1]
        ).float()
    },
}
sample_next.slips(_sampler, _SCALES, _KEPT, _WEIGHTS, _COLD)
sample_next.mistakes(
    {
        "The temperature acts the wrong way round: the logits are multiplied by it, or the probabilities raised to it. "
        "Divide the logits by it, before the softmax: `logits / temperature`.": [
            {"logits = logits / temperature": "logits = logits * temperature"},
            _sampler(
                scaled=lambda logits, temperature: logits,
                spread=lambda weights, temperature, k: weights**temperature,
            ),
        ],
        "The temperature has no effect here, unless it is 0. Divide the logits by it, before the softmax: "
        "`logits / temperature`.": [
            _sampler(
                scaled=lambda logits, temperature: logits,
                spread=lambda weights, temperature, k: weights / temperature,
            ),
            _sampler(scaled=lambda logits, temperature: logits - temperature),
        ],
        "The temperature acts twice. Divide the logits by it once, `logits / temperature`, and nothing after that.": [
            _sampler(spread=lambda weights, temperature, k: weights ** (1 / temperature)),
        ],
        "The random generator is seeded inside the function, so every call draws the same. Leave the seed to the "
        "caller.": [
            lambda logits, temperature=1.0, top_k=None: (
                torch.manual_seed(0),
                sample_next.reference(logits, temperature, top_k),
            )[1],
        ],
        "With temperature 0 a token is drawn. It should be the most likely one: "
        "`logits.argmax(dim=-1, keepdim=True)`.": [
            _sampler(
                cold=lambda logits, k: (_of_the_kept(logits, k, -math.inf) if k else logits).softmax(dim=-1)
            ),
        ],
        "`top_k` is ignored, and with temperature 0 the logits are divided by 0. Exclude all but the top_k largest, "
        "and give temperature 0 a line of its own.": [
            lambda logits, temperature=1.0, top_k=None: _one_token((logits / temperature).softmax(dim=-1)),
            lambda logits, temperature=1.0, top_k=None: torch.distributions.Categorical(
                logits=logits / temperature
            ).sample()[:, None],
            lambda logits, temperature=1.0, top_k=None: torch.distributions.Categorical(
                (logits / temperature).softmax(dim=-1)
            ).sample()[:, None],
        ],
        "Two edges are missing: temperature 0 divides by 0, and `topk` cannot give more than V. Return the argmax for "
        "the one, take `min(top_k, logits.shape[-1])` for the other.": [
            {"temperature == 0": "temperature < 0", "min(top_k, logits.shape[-1])": "top_k"},
        ],
        "The most likely token always comes back: that is greedy. Draw one with its probability, "
        "`torch.multinomial(probabilities, 1)`.": [
            _sampler(draw=_most_likely),
            lambda logits, temperature=1.0, top_k=None: logits.argmax(dim=-1, keepdim=True),
            lambda logits, temperature=1.0, top_k=None: logits.topk(1).indices,
        ],
        "With temperature 0 the logits are divided by 0. It needs a line of its own: return "
        "`logits.argmax(dim=-1, keepdim=True)`.": [
            {"temperature == 0": "temperature < 0"},
            lambda logits, temperature=1.0, top_k=None: _one_token(
                (_of_the_kept(logits, top_k, -math.inf) if top_k else logits).div(temperature).softmax(dim=-1)
            ),
            lambda logits, temperature=1.0, top_k=None: torch.distributions.Categorical(
                logits=(_of_the_kept(logits, top_k, -math.inf) if top_k else logits) / temperature
            ).sample()[:, None],
            lambda logits, temperature=1.0, top_k=None: torch.distributions.Categorical(
                (_of_the_kept(logits, top_k, -math.inf) if top_k else logits).div(temperature).softmax(dim=-1)
            ).sample()[:, None],
        ],
        "Only for temperature 0 is the shape (N,): `argmax` drops the axis. `keepdim=True` keeps it, (N, 1).": {
            ", keepdim=True": ""
        },
        "With temperature 0 one token comes back for all rows: `argmax()` without an axis counts through the whole "
        "table. Write `logits.argmax(dim=-1, keepdim=True)`.": [
            {"dim=-1, keepdim=True": ""},
            {"dim=-1, keepdim=True": "keepdim=True"},
        ],
        "With temperature 0 the largest entry of each column is sought. The tokens are the last axis: "
        "`argmax(dim=-1, keepdim=True)`.": [
            {"argmax(dim=-1": "argmax(dim=0"},
        ],
        "With temperature 0 the largest logit comes back, not the token that has it. Take `argmax` in place of "
        "`max`.": [
            {"argmax(dim=-1, keepdim=True)": "amax(dim=-1, keepdim=True)"},
        ],
        "With temperature 0 `max` returns values and indices. Take the indices, or use `argmax`.": [
            {"argmax(dim=-1, keepdim=True)": "max(dim=-1, keepdim=True)"},
        ],
        "`topk` cannot give more than there is: top_k may be larger than V. Take `min(top_k, logits.shape[-1])`.": [
            {"min(top_k, logits.shape[-1])": "top_k"},
            lambda logits, temperature=1.0, top_k=None: _sampler_of_indices(logits, temperature, top_k),
            lambda logits, temperature=1.0, top_k=None: sample_next.reference(
                logits.masked_fill(
                    logits < logits.sort(dim=-1, descending=True).values[:, [top_k - 1]], -math.inf
                )
                if top_k
                else logits,
                temperature,
            ),
        ],
        "The smallest of the kept logits is taken from all rows together. Each row has its own: "
        "`logits.topk(…).values[:, -1:]`.": [
            lambda logits, temperature=1.0, top_k=None: sample_next.reference(
                logits.masked_fill(
                    logits < logits.flatten().topk(min(top_k, logits.numel())).values[-1], -math.inf
                )
                if top_k
                else logits,
                temperature,
            ),
        ],
        "One threshold serves all rows together. Each row has its own: `.values[:, -1:]`.": [
            _sampler(kept=lambda logits, k: _kept_together(logits, k, torch.amin)),
            _sampler(kept=lambda logits, k: _kept_together(logits, k, torch.amax)),
            _sampler(kept=lambda logits, k: _kept_together(logits, k, torch.mean)),
        ],
        "−inf is put into the probabilities, after the softmax. Put it into the logits, before the softmax; a "
        "probability would be set to 0.": [
            _sampler(
                kept=lambda logits, k: logits,
                spread=lambda weights, temperature, k: (
                    weights if k is None else _of_the_kept(weights, k, -math.inf)
                ),
            ),
        ],
        "The top_k are sought among the rows, axis 0. The tokens are the last axis: `logits.topk(…, dim=-1)`.": [
            lambda logits, temperature=1.0, top_k=None: sample_next.reference(
                logits.masked_fill(
                    logits < logits.topk(min(top_k, logits.shape[0]), dim=0).values[-1:], -math.inf
                )
                if top_k
                else logits,
                temperature,
            ),
            {"topk(min(top_k, logits.shape[-1]))": "topk(min(top_k, logits.shape[0]), dim=0)"},
            {"topk(min(top_k, logits.shape[-1]))": "topk(min(top_k, logits.shape[-1]), dim=0)"},
            {"topk(min(top_k, logits.shape[-1]))": "topk(top_k, dim=0)"},
        ],
        "`topk` returns values and indices. The threshold is among the values: `.values[:, -1:]`.": [
            {".values[:, -1:]": ""},
            {".values[:, -1:]": "[:, -1:]"},
        ],
        "Logits are compared with the indices of the top_k, which are tokens. The threshold is among the values: "
        "`.values[:, -1:]`.": [
            {".values": ".indices"},
        ],
        "The threshold has lost its axis: `.values[:, -1]` is (N,), one number for each row, and meets the V columns. "
        "`.values[:, -1:]` keeps it, (N, 1).": [
            {"values[:, -1:]": "values[:, -1]"},
        ],
        "`.values[-1:]` is the last row. The smallest of the top_k is the last column: `.values[:, -1:]`.": [
            {"values[:, -1:]": "values[-1:]"},
            {"values[:, -1:]": "values[-1]"},
        ],
        "`top_k` is None unless it is given. Ask first: `if top_k is not None:`.": [
            {"if top_k is not None:": "if True:"},
            {"if top_k is not None:": "if top_k > 0:"},
            {"if top_k is not None:": "if top_k >= 1:"},
            {"if top_k is not None:": "if top_k < logits.shape[-1]:"},
        ],
        "The result is (N,) here. Each row's token stands in a column, (N, 1), so that it can be appended to the text: "
        "leave out `squeeze`, or add `unsqueeze(-1)`.": [
            _sampler(draw=lambda weights: _one_token(weights)[:, 0]),
            _sampler(draw=lambda weights: torch.distributions.Categorical(weights).sample()),
            _sampler(draw=lambda weights: _one_token(weights).squeeze()),
        ],
        "The tokens are drawn with shape (N,), while temperature 0 gives (N, 1). Each row's token stands in a column: "
        "add `unsqueeze(-1)`.": [
            {"softmax(dim=-1), 1)": "softmax(dim=-1), 1).squeeze(-1)"},
            {"softmax(dim=-1), 1)": "softmax(dim=-1), 1).squeeze()"},
        ],
        "The tokens stand in a row, (1, N). They belong in a column, (N, 1).": [
            _sampler(draw=lambda weights: _one_token(weights).T),
        ],
        "The tokens are (N, 1, 1). One axis too many: (N, 1) is what `torch.multinomial(probabilities, 1)` gives.": [
            _sampler(draw=lambda weights: _one_token(weights)[..., None]),
        ],
        "One token is drawn and given to all rows. Each row has a draw of its own: hand all rows to "
        "`torch.multinomial(probabilities, 1)`.": [
            _sampler(draw=lambda weights: _one_token(weights[0]).expand(len(weights), 1)),
            _sampler(draw=lambda weights: _one_token(weights)[:1].expand(len(weights), 1)),
            _sampler(
                draw=lambda weights: _one_token(weights.mean(dim=0)).expand(len(weights), 1),
            ),
        ],
        "One random number decides for all rows. Each row needs its own: `torch.rand(len(logits), 1)`, or "
        "`torch.multinomial(probabilities, 1)`.": [
            lambda logits, temperature=1.0, top_k=None: (
                logits.argmax(dim=-1, keepdim=True)
                if temperature == 0
                else (_token_weights(logits, temperature, top_k).cumsum(-1) < torch.rand(1))
                .sum(-1, keepdim=True)
                .clamp(max=logits.shape[-1] - 1)
            ),
        ],
        "Only one token comes back, for one of the rows. There is one for each row, (N, 1).": [
            _sampler(draw=lambda weights: _one_token(weights)[:1]),
            _sampler(draw=lambda weights: _one_token(weights)[-1:]),
            _sampler(draw=lambda weights: _one_token(weights[0])[None]),
        ],
        "Only one token comes back, drawn from all rows together. There is one for each row: "
        "`torch.multinomial(probabilities, 1)`, with the table (N, V).": [
            _sampler(draw=lambda weights: _one_token(weights.flatten())),
        ],
        "Only one token comes back, for the first row, without an axis. There is one for each row, (N, 1).": [
            _sampler(draw=lambda weights: _one_token(weights)[0, 0]),
        ],
        "A Python number came back: `item()` is for a single token. Return a tensor, (N, 1).": [
            _sampler(draw=lambda weights: _one_token(weights)[0].item()),
            _sampler(draw=lambda weights: _one_token(weights).item()),
        ],
        "A list came back. Return a tensor of tokens, (N, 1).": [
            _sampler(draw=lambda weights: _one_token(weights).tolist()),
            _sampler(draw=lambda weights: _one_token(weights)[:, 0].tolist()),
            _sampler(draw=lambda weights: list(_one_token(weights))),
        ],
        "Tokens and something else came back. Return the tokens alone, (N, 1).": [
            _sampler(draw=lambda weights: (_one_token(weights), weights)),
            _sampler(draw=lambda weights: (weights, _one_token(weights))),
        ],
        "A number for each of the V tokens came back. Draw one token of each row, "
        "`torch.multinomial(probabilities, 1)`.": [
            _sampler(draw=lambda weights: weights),
            _sampler(draw=lambda weights: weights.log()),
        ],
        "A probability came back, not the token. Return the token that is drawn: "
        "`torch.multinomial(probabilities, 1)`.": [
            _sampler(draw=lambda weights: weights.amax(dim=-1, keepdim=True)),
            _sampler(draw=lambda weights: weights.gather(1, _one_token(weights))),
            _sampler(draw=lambda weights: weights.gather(1, _one_token(weights)).log()),
        ],
        "The tokens are floats. A token is a place in the vocabulary, int64: leave what `torch.multinomial` gives as "
        "it is.": [
            _sampler(draw=lambda weights: _one_token(weights).float()),
            _sampler(draw=lambda weights: _one_token(weights).to(weights.dtype)),
        ],
        "The tokens are int32. PyTorch's indices are int64: `.long()`.": [
            _sampler(draw=lambda weights: _one_token(weights).int()),
        ],
        "There are V integers in each row, as one-hot rows or V draws have them. Return one token of each row, (N, 1): "
        "`torch.multinomial(probabilities, 1)`.": [
            _sampler(draw=lambda weights: torch.multinomial(weights, weights.shape[-1], replacement=True)),
            _sampler(draw=lambda weights: F.one_hot(_one_token(weights)[:, 0], weights.shape[-1])),
        ],
        "Two tokens are drawn for each row. One is asked for: `torch.multinomial(probabilities, 1)`.": [
            _sampler(draw=lambda weights: torch.multinomial(weights, 2, replacement=True)),
        ],
        "The tokens are counted from 1. They are places in the vocabulary, from 0.": [
            _sampler(draw=lambda weights: _one_token(weights) + 1),
        ],
        "`torch.multinomial` takes probabilities, and logits arrived, some below 0. Take the softmax first: "
        "`logits.softmax(dim=-1)`.": [
            {"logits.softmax(dim=-1), 1": "logits, 1"},
            lambda logits, temperature=1.0, top_k=None: (
                logits.argmax(dim=-1, keepdim=True)
                if temperature == 0
                else _one_token(_of_the_kept(logits, top_k, 0.0) if top_k else logits / temperature)
            ),
        ],
        "`torch.multinomial` takes probabilities, and these are logarithms of them, below 0. Use `softmax` in place of "
        "`log_softmax`.": [{"logits.softmax": "logits.log_softmax"}],
        "The tokens other than the top_k have the probability 0, and the others no longer add up to 1. Divide by their "
        "sum, or set the logits to −inf before the softmax.": [
            lambda logits, temperature=1.0, top_k=None: _by_cumulative_sums(logits, temperature, top_k),
            lambda logits, temperature=1.0, top_k=None: _by_cumulative_sums(logits, temperature, top_k).clamp(
                max=logits.shape[-1] - 1
            ),
            lambda logits, temperature=1.0, top_k=None: (
                logits.argmax(dim=-1, keepdim=True)
                if temperature == 0
                else torch.tensor([[_chosen_by_numpy(row)] for row in _lost(logits, temperature, top_k)])
            ),
        ],
        "`top_k` and the temperature are both without effect. Divide the logits by the temperature, and exclude all "
        "but the top_k largest.": [
            lambda logits, temperature=1.0, top_k=None: _one_token(logits.softmax(dim=-1)),
            _sampler(scaled=lambda logits, temperature: logits, kept=lambda logits, k: logits),
        ],
        "The temperature has no effect here, not even 0. Divide the logits by it, and for 0 return the most likely "
        "token.": [
            lambda logits, temperature=1.0, top_k=None: _one_token(
                (logits if top_k is None else _of_the_kept(logits, top_k, -math.inf)).softmax(dim=-1)
            ),
        ],
        "With `top_k` all of the top_k tokens came back. Draw one of them: set the logits of all others to −inf, and "
        "go on to the softmax.": [
            lambda logits, temperature=1.0, top_k=None: (
                sample_next.reference(logits, temperature)
                if top_k is None or temperature == 0
                else logits.topk(min(top_k, logits.shape[-1])).indices
            ),
        ],
        "All V tokens are drawn equally often, as with `torch.randint`: the logits have no effect. "
        "Draw with `torch.multinomial(probabilities, 1)`.": [
            lambda logits, temperature=1.0, top_k=None: torch.randint(logits.shape[-1], (len(logits), 1)),
        ],
    }
)
sample_next.pairs_of_slips(
    _sampler,
    {
        "The logits are multiplied by the temperature.": {
            "scaled": lambda logits, temperature: logits * temperature
        },
        "With temperature 0 a token is drawn, not the most likely one.": {
            "cold": lambda logits, k: logits.softmax(dim=-1)
        },
    },
    {
        "`top_k` is ignored.": {"kept": lambda logits, k: logits},
        "The place among the top_k comes back, not the token.": _KEPT[_PLACE],
        "The result is (N,), not (N, 1).": {"draw": lambda weights: _one_token(weights)[:, 0]},
    },
)


# Section 9: sequences of different lengths --------------------------------------------------------------------


def _padding_mask_and_type(attempt, lengths, S):
    mask = attempt(lengths, S)
    kind = str(mask.dtype).removeprefix("torch.") if isinstance(mask, Tensor) else "bool"
    return {"mask": mask, "type of its numbers": kind}


@lesson.exercise(
    observe=_padding_mask_and_type,
    cases={
        "one sequence, two of three": (torch.tensor([2]), 3),
        "two sequences": (torch.tensor([3, 1]), 4),
        "no padding": (torch.tensor([5, 5, 5]), 5),
        "all of them shorter than S": (torch.tensor([2, 4, 3]), 6),
        "as many sequences as positions": (torch.tensor([1, 4, 2, 3]), 4),
        "more sequences than positions": (torch.tensor([2, 1, 3, 3, 1]), 3),
        "a single position": (torch.tensor([1, 1]), 1),
        "an empty sequence": (torch.tensor([0, 3]), 4),
    },
    hints=[
        "`torch.arange(S)` numbers the positions. Which of them are real in a sequence of length 2?",
        "`lengths[:, None]` is (N, 1) and `torch.arange(S)` (S,): a comparison of the two is (N, S).",
        "`torch.arange(S) < lengths[:, None]`, then two axes of size 1 in the middle: `[:, None, None, :]`.",
    ],
)
def padding_mask(lengths, S):
    """Return a mask (N, 1, 1, S), bool: True for the first lengths[n] positions of sequence n, which are real.

    `lengths` is (N,), int64.
    """
    real = torch.arange(S, device=lengths.device) < lengths[:, None]
    return real[:, None, None, :]


def _padding(
    compared=lambda positions, lengths: positions < lengths[:, None],
    shaped=lambda real: real[:, None, None, :],
    give=lambda mask: mask,
    positions=lambda lengths, S: torch.arange(S),
):
    """A mask for padding, with what can go wrong as arguments."""

    def attempt(lengths, S):
        return give(shaped(compared(positions(lengths, S), lengths)))

    return attempt


def _by_a_slice(lengths, S):
    mask = torch.zeros(len(lengths), 1, 1, S, dtype=torch.bool)
    mask[..., :lengths] = True
    return mask


_PADDING_COMPARED = {
    "The mask is inverted: True belongs to the real positions, `torch.arange(S) < lengths[:, None]`. (PyTorch's "
    "`key_padding_mask` is the other way round.)": {
        "compared": lambda positions, lengths: positions >= lengths[:, None]
    },
    "One position too many is real. The positions count from 0, so those below the length are real: "
    "`torch.arange(S) < lengths[:, None]`.": {
        "compared": lambda positions, lengths: positions <= lengths[:, None]
    },
    "One position too few is real. The positions count from 0, so those below the length are real: "
    "`torch.arange(S) < lengths[:, None]`.": {
        "compared": lambda positions, lengths: positions < lengths[:, None] - 1
    },
    "The first position is left out: it is real as well. Take all positions below the length, "
    "`torch.arange(S) < lengths[:, None]`.": {
        "compared": lambda positions, lengths: (positions < lengths[:, None]) & (positions > 0)
    },
    "The mask is inverted and off by one: `>` is True for positions behind the length. Real are those below it, "
    "`torch.arange(S) < lengths[:, None]`.": {
        "compared": lambda positions, lengths: positions > lengths[:, None]
    },
    "The last positions are True here, as if padding came first. Real are the first lengths[n] of them: "
    "`torch.arange(S) < lengths[:, None]`.": {
        "compared": lambda positions, lengths: positions >= len(positions) - lengths[:, None]
    },
    "The last lengths[n] positions are excluded, as with `[-length:]`. Padding begins at position lengths[n]: "
    "`torch.arange(S) < lengths[:, None]`.": {
        "compared": lambda positions, lengths: positions < len(positions) - lengths[:, None]
    },
    "One position of each sequence is True, the one at its length. Real are all below it: compare with `<`.": {
        "compared": lambda positions, lengths: positions == lengths[:, None]
    },
    "One position of each sequence is True, its last real one. Real are all below the length: compare with `<`.": {
        "compared": lambda positions, lengths: positions == lengths[:, None] - 1
    },
    "All positions are True. Real are those below the length of their sequence: "
    "`torch.arange(S) < lengths[:, None]`.": {
        "compared": lambda positions, lengths: (positions >= 0).expand(len(lengths), -1)
    },
    "No position is True. Real are those below the length of their sequence: "
    "`torch.arange(S) < lengths[:, None]`.": {
        "compared": lambda positions, lengths: (positions < 0).expand(len(lengths), -1)
    },
    "Only the longest sequence counts, `lengths.max()`. Each has its own length: `lengths[:, None]`.": {
        "compared": lambda positions, lengths: (positions < lengths.max()).expand(len(lengths), -1)
    },
    "Only the shortest sequence counts, `lengths.min()`. Each has its own length: `lengths[:, None]`.": {
        "compared": lambda positions, lengths: (positions < lengths.min()).expand(len(lengths), -1)
    },
    "All sequences have the length of the first. Each has its own: `lengths[:, None]`.": {
        "compared": lambda positions, lengths: (positions < lengths[0]).expand(len(lengths), -1)
    },
    "All sequences have the length of the last, which happens if a loop writes into every row. Each has its own: "
    "`lengths[:, None]`.": {
        "compared": lambda positions, lengths: (positions < lengths[-1]).expand(len(lengths), -1)
    },
}
_PADDING_SHAPES = {
    "The mask is (N, S). It needs axes for the heads and the queries: `[:, None, None, :]` makes it (N, 1, 1, S).": {
        "shaped": lambda real: real
    },
    "The mask is (N, 1, S). An axis for the heads is missing: (N, 1, 1, S), for scores (N, heads, T, S).": {
        "shaped": lambda real: real[:, None]
    },
    "The mask is (N, 1, S, 1), so it forbids queries. It is about the keys, the last axis of the scores: "
    "(N, 1, 1, S).": {"shaped": lambda real: real[:, None, :, None]},
    "The mask is (N, S, 1, 1). The positions are the last axis, that of the keys: `[:, None, None, :]`.": {
        "shaped": lambda real: real[:, :, None, None]
    },
    "The mask is (N, S, 1). The positions are the last axis, that of the keys: `[:, None, None, :]`.": {
        "shaped": lambda real: real[:, :, None]
    },
    "The mask is (1, 1, N, S): the sequences stand where the queries are. They are axis 0: "
    "`[:, None, None, :]`.": {"shaped": lambda real: real[None, None]},
    "The mask is (1, N, 1, S): the sequences stand where the heads are. They are axis 0: `[:, None, None, :]`.": {
        "shaped": lambda real: real[None, :, None]
    },
    "The mask is (1, N, S). The sequences are axis 0, the heads and the queries the axes of size 1 behind it: "
    "`[:, None, None, :]`.": {"shaped": lambda real: real[None]},
    "The mask is (S, 1, 1, N): positions and sequences have changed places. Sequences are axis 0, positions the last "
    "one.": {"shaped": lambda real: real.T[:, None, None, :]},
    "The mask is (S, N): positions and sequences have changed places, and the two axes of size 1 are missing. It "
    "should be (N, 1, 1, S).": {"shaped": lambda real: real.T},
    "The mask is (N, 1, S, S): each row is repeated for every query. One axis of size 1 is enough, it broadcasts: "
    "(N, 1, 1, S).": {"shaped": lambda real: real[:, None, None, :].expand(-1, -1, real.shape[1], -1)},
    "The mask is (N, 1, S, S) and forbids queries as well, which leaves rows without any key. It is about the keys "
    "alone: (N, 1, 1, S).": {"shaped": lambda real: real[:, None, :, None] & real[:, None, None, :]},
    "The mask is (N, S, S). It needs an axis for the heads, and one of size 1 for the queries: (N, 1, 1, S).": {
        "shaped": lambda real: real[:, None, :] & real[:, :, None]
    },
    "The mask has five axes. The scores have four, (N, heads, T, S): the mask is (N, 1, 1, S).": {
        "shaped": lambda real: real[:, None, None, None, :]
    },
    "The mask is one long row. It is (N, 1, 1, S), a row for each sequence.": {
        "shaped": lambda real: real.flatten()
    },
    "Only one sequence is left in the mask, (1, 1, 1, S). There is a row for each of them, (N, 1, 1, S).": {
        "shaped": lambda real: real[:1, None, None, :]
    },
    "Only one sequence is left in the mask, (S,). There is a row for each of them, (N, 1, 1, S).": {
        "shaped": lambda real: real[0]
    },
    "A position is real here if any sequence is as long. Keep a row for each sequence, (N, 1, 1, S).": {
        "shaped": lambda real: real.any(dim=0)[None, None, None, :]
    },
}
_PADDING_GIVEN = {
    "The mask holds the numbers 1 and 0. Leave the comparison as it is: `~` and `masked_fill` need True and False.": {
        "give": lambda mask: mask.float()
    },
    "The mask is one to add to the scores, with 0 and −inf. Return True and False: attention does the rest.": {
        "give": lambda mask: torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
    },
    "Lists came back. Compare whole tensors: `torch.arange(S) < lengths[:, None]`.": {
        "give": lambda mask: mask.tolist()
    },
    "A list of rows came back. Put them into one tensor, (N, 1, 1, S).": {"give": lambda mask: list(mask)},
    "These are the places of the real positions. Return the mask itself, (N, 1, 1, S).": {
        "give": lambda mask: mask.nonzero()
    },
    "The real positions are counted here. Return the mask itself, without the sum.": {
        "give": lambda mask: mask.sum(dim=-1)
    },
}
padding_mask.slips(_padding, _PADDING_COMPARED, _PADDING_SHAPES, _PADDING_GIVEN)
padding_mask.mistakes(
    {
        "The mask is (S, 1, 1, N): positions and sequences have changed places. Sequences are axis 0, positions the "
        "last one.": {
            "torch.arange(S, device=lengths.device) < lengths[:, None]": "torch.arange(S)[:, None] < lengths"
        },
        "One position too few is real. The positions count from 0, so those below the length are real: "
        "`torch.arange(S) < lengths[:, None]`.": [
            _padding(positions=lambda lengths, S: torch.arange(1, S + 1)),
        ],
        "One position too many is real. The positions count from 0, so those below the length are real: "
        "`torch.arange(S) < lengths[:, None]`.": {"<": "<="},
        "The mask is inverted: True belongs to the real positions, `torch.arange(S) < lengths[:, None]`. (PyTorch's "
        "`key_padding_mask` is the other way round.)": {"<": ">="},
        "The mask holds the numbers 1 and 0. Leave the comparison as it is: `~` and `masked_fill` need True and "
        "False.": [
            _padding(give=lambda mask: mask.int()),
            _padding(give=lambda mask: mask.long()),
            _padding(give=lambda mask: torch.where(mask, 1.0, 0.0)),
        ],
        "The mask is as wide as the longest sequence, `lengths.max()`. Its width is S, which may be more.": [
            _padding(positions=lambda lengths, S: torch.arange(int(lengths.max()))),
        ],
        "The last lengths[n] positions are excluded, as with `[-length:]`. Padding begins at position lengths[n]: "
        "`torch.arange(S) < lengths[:, None]`.": [
            _padding(
                compared=lambda positions, lengths: (
                    (positions < len(positions) - lengths[:, None]) & (lengths[:, None] > 0)
                )
            ),
        ],
        "One position of each sequence is True, its last real one. Real are all below the length: compare with `<`.": [
            _padding(
                compared=lambda positions, lengths: positions == (lengths[:, None] - 1) % len(positions)
            ),
        ],
        "A slice takes one number, and `lengths` holds one for each sequence. Compare all positions with it: "
        "`torch.arange(S) < lengths[:, None]`.": [
            _by_a_slice,
        ],
        "The width of the mask is the number of sequences, `len(lengths)`. It is the number of positions, S.": [
            _padding(positions=lambda lengths, S: torch.arange(len(lengths))),
        ],
        "The mask has S + 1 positions. `torch.arange(S)` numbers S of them, from 0 to S − 1.": [
            _padding(positions=lambda lengths, S: torch.arange(S + 1)),
        ],
        "The mask has S − 1 positions. `torch.arange(S)` numbers S of them, from 0 to S − 1.": [
            _padding(positions=lambda lengths, S: torch.arange(S - 1)),
        ],
        "Positions and lengths are compared one to one, and have different sizes. Make the lengths a column, "
        "`lengths[:, None]`, against the row of positions.": [
            {"lengths[:, None]": "lengths"},
            lambda lengths, S: torch.arange(S) < lengths,
            lambda lengths, S: (torch.arange(S) < lengths)[None, None, None, :],
        ],
        "The lengths themselves came back, with new axes. Compare them with the positions: `torch.arange(S) < "
        "lengths[:, None]`.": [
            lambda lengths, S: lengths[:, None, None, None],
            lambda lengths, S: lengths[:, None, None, None].expand(-1, -1, -1, S),
            lambda lengths, S: lengths[:, None, None, None] > 0,
        ],
        "This is a causal mask, (S, S), which knows no lengths. Compare the positions with the lengths: "
        "`torch.arange(S) < lengths[:, None]`.": [
            lambda lengths, S: torch.ones(S, S, dtype=torch.bool).tril(),
            lambda lengths, S: torch.ones(S, S, dtype=torch.bool).tril().expand(len(lengths), 1, S, S),
        ],
        "A causal mask is built in. Padding alone is asked for, (N, 1, 1, S): the two are joined with `&` later.": [
            lambda lengths, S: padding_mask.reference(lengths, S) & torch.ones(S, S, dtype=torch.bool).tril(),
        ],
        "`torch.arange` takes one number, and `lengths` holds several. Compare the positions with all of them: "
        "`torch.arange(S) < lengths[:, None]`.": [
            lambda lengths, S: torch.arange(lengths) < S,
        ],
        "`S` is a number of positions, not a tensor: `torch.arange(S)` numbers them.": [
            lambda lengths, S: lengths > S,
            lambda lengths, S: lengths[:, None] > S,
            lambda lengths, S: (lengths[:, None] > S)[:, None, None, :],
        ],
    }
)
padding_mask.pairs_of_slips(
    _padding,
    {
        "The mask is inverted.": {"compared": lambda positions, lengths: positions >= lengths[:, None]},
        "One position too many is real: compare with `<`.": {
            "compared": lambda positions, lengths: positions <= lengths[:, None]
        },
        "The last positions are True, not the first.": {
            "compared": lambda positions, lengths: positions >= len(positions) - lengths[:, None]
        },
        "Inverted, and one position is missing: compare with `<`.": {
            "compared": lambda positions, lengths: positions > lengths[:, None]
        },
    },
    {
        "The mask is (N, S), not (N, 1, 1, S).": {"shaped": lambda real: real},
        "The mask is (N, 1, S), not (N, 1, 1, S).": {"shaped": lambda real: real[:, None]},
        "The mask is (N, 1, S, 1), not (N, 1, 1, S).": {"shaped": lambda real: real[:, None, :, None]},
        "It holds the numbers 1 and 0, not True and False.": {"give": lambda mask: mask.float()},
    },
)
padding_mask.pairs_of_slips(
    _padding,
    {"It holds the numbers 1 and 0, not True and False.": {"give": lambda mask: mask.float()}},
    {
        "The mask is (N, S), not (N, 1, 1, S).": {"shaped": lambda real: real},
        "The mask is (N, 1, S), not (N, 1, 1, S).": {"shaped": lambda real: real[:, None]},
        "The mask is (N, 1, S, 1), not (N, 1, 1, S).": {"shaped": lambda real: real[:, None, :, None]},
    },
)


# Section 9: several heads -------------------------------------------------------------------------------------


def _multi_head_case(N, T, d, heads, seed, allowed=None, dtype=torch.float32):
    """Sequences, the weights and biases of a layer, the number of heads, and a mask."""
    return (
        normal(N, T, d, seed=seed, dtype=dtype),
        normal(3 * d, d, seed=seed + 1, dtype=dtype),
        normal(3 * d, seed=seed + 2, dtype=dtype),
        normal(d, d, seed=seed + 3, dtype=dtype),
        normal(d, seed=seed + 4, dtype=dtype),
        heads,
        allowed,
    )


def _causal(T):
    return torch.ones(T, T, dtype=torch.bool).tril()


def _real_keys(lengths, T):
    return (torch.arange(T) < torch.tensor(lengths)[:, None])[:, None, None, :]


_MULTI_HEAD_ON_PAPER = (
    torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]),
    torch.cat([torch.zeros(2, 2), torch.eye(2), torch.tensor([[4.0, 0.0], [0.0, 8.0]])]),
    torch.zeros(6),
    torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
    torch.tensor([0.0, 10.0]),
    2,
    None,
)


@lesson.exercise(
    cases={
        "queries of 0": _MULTI_HEAD_ON_PAPER,
        "two heads": _multi_head_case(1, 3, 4, 2, seed=210),
        "three heads, a few sequences": _multi_head_case(2, 4, 6, 3, seed=220),
        "a single head": _multi_head_case(2, 5, 3, 1, seed=230),
        "a head for each number": _multi_head_case(2, 5, 4, 4, seed=240),
        "a single position": _multi_head_case(3, 1, 4, 2, seed=250),
        "as many heads as sequences and positions": _multi_head_case(2, 2, 4, 2, seed=260),
        "as many positions as numbers": _multi_head_case(3, 4, 4, 2, seed=270),
        "a causal mask": _multi_head_case(2, 3, 6, 2, seed=280, allowed=_causal(3)),
        "a mask of padding": _multi_head_case(3, 4, 6, 2, seed=290, allowed=_real_keys([2, 4, 3], 4)),
        "both masks": _multi_head_case(2, 5, 4, 2, seed=300, allowed=_causal(5) & _real_keys([5, 3], 5)),
        "float64 numbers": _multi_head_case(2, 3, 8, 4, seed=310, dtype=torch.float64),
    },
    hints=[
        "One product makes (N, T, 3d). Cut it into three along the last axis, and give each of the parts its heads "
        "with `split_heads`.",
        "`attention` takes (N, heads, T, d / heads) as it takes (N, T, d): `outputs, weights = attention(q, k, v, "
        "allowed)`.",
        "The parts are `(x @ W_qkv.T + b_qkv).chunk(3, dim=-1)`, and the end is `merge_heads(outputs) @ W_out.T + "
        "b_out`, beside the weights.",
    ],
    returns=("outputs", "weights"),
)
def multi_head(x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None):
    """Return the outputs (N, T, d) of multi-head self-attention on x (N, T, d), and its weights (N, heads, T, T).

    `x @ W_qkv.T + b_qkv` holds queries, keys and values side by side, each of d numbers; W_qkv is (3d, d), b_qkv (3d,).
    Attention runs in each head on d / heads numbers; the heads, side by side again, pass through W_out (d, d) and b_out
    (d,). `allowed` is as in attention.
    """
    q, k, v = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (x @ W_qkv.T + b_qkv).chunk(3, dim=-1)
    )
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    weights = scores.softmax(dim=-1)
    outputs = (weights @ v).transpose(1, 2).flatten(2)
    return outputs @ W_out.T + b_out, weights


def _split_off(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _side_by_side(x):
    return x.transpose(1, 2).flatten(2)


def _masked_scores(scores, allowed):
    return scores if allowed is None else scores.masked_fill(~allowed, -math.inf)


def _multi_head(
    project=lambda x, W, b: x @ W.T + b,
    parts=lambda qkv, heads: [_split_off(part, heads) for part in qkv.chunk(3, dim=-1)],
    order=lambda q, k, v: (q, k, v),
    scores=lambda q, k: q @ k.transpose(-2, -1),
    scale=lambda q, heads: math.sqrt(q.shape[-1]),
    masked=_masked_scores,
    normalized=lambda scores: scores.softmax(dim=-1),
    after=lambda weights, allowed: weights,
    mixed=lambda weights, v: weights @ v,
    merge=_side_by_side,
    out=lambda outputs, W, b: outputs @ W.T + b,
    added=lambda outputs, x: outputs,
    give=lambda outputs, weights: (outputs, weights),
):
    """Multi-head attention, with what can go wrong as arguments."""

    def attempt(x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None):
        q, k, v = parts(project(x, W_qkv, b_qkv), heads)
        q, k, v = order(q, k, v)
        weights = after(normalized(masked(scores(q, k) / scale(q, heads), allowed)), allowed)
        return give(added(out(merge(mixed(weights, v)), W_out, b_out), x), weights)

    return attempt


def _in_rows(part, heads):
    """The heads cut out of the table without regard to its axes."""
    N, T, d = part.shape
    return part.reshape(N, heads, T, d // heads)


def _parts_of_heads(qkv, heads):
    """Queries, keys and values of each head side by side."""
    return [part.transpose(1, 2) for part in qkv.unflatten(-1, (heads, 3, -1)).unbind(-2)]


def _heads_behind(qkv, heads):
    return [part.unflatten(-1, (heads, -1)) for part in qkv.chunk(3, dim=-1)]


def _same_rows(outputs):
    return outputs


_QKV = {
    "b_qkv is missing: `x @ W_qkv.T + b_qkv`.": {"project": lambda x, W, b: x @ W.T},
    "b_qkv is added twice. Once is enough.": {"project": lambda x, W, b: x @ W.T + 2 * b},
    "b_qkv is subtracted. Add it.": {"project": lambda x, W, b: x @ W.T - b},
}
_QKV_PARTS = {
    "The product is cut into heads first, and queries, keys and values out of each head. All queries come first, then "
    "all keys, then all values: `chunk(3, dim=-1)`, then `split_heads`.": {
        "parts": lambda qkv, heads: _parts_of_heads(qkv, heads)
    },
    "Every third number is taken for the queries, as with `[..., 0::3]`. All queries come first, then all keys, then "
    "all values: `chunk(3, dim=-1)`.": {
        "parts": lambda qkv, heads: [_split_off(qkv[..., n::3], heads) for n in range(3)]
    },
    "The heads are cut out by `view` or `reshape` alone, which mixes positions and heads. First (N, T, heads, e), then "
    "`transpose(1, 2)`: that is `split_heads`.": {
        "parts": lambda qkv, heads: [_in_rows(part, heads) for part in qkv.chunk(3, dim=-1)]
    },
    "A head takes every heads-th number. It takes numbers side by side: `split_heads` unflattens to (heads, e), not "
    "(e, heads).": {
        "parts": lambda qkv, heads: [
            part.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2) for part in qkv.chunk(3, dim=-1)
        ]
    },
    "`heads` has no effect: attention runs once on all d numbers. Split queries, keys and values, "
    "`split_heads(q, heads)`.": {
        "parts": lambda qkv, heads: [part[:, None] for part in qkv.chunk(3, dim=-1)]
    },
    "The values are not split: every head mixes all d of them. Split them like queries and keys, "
    "`split_heads(v, heads)`.": {
        "parts": lambda qkv, heads: [
            *(_split_off(part, heads) for part in qkv.chunk(3, dim=-1)[:2]),
            qkv.chunk(3, dim=-1)[2][:, None],
        ]
    },
    "Heads and their size have changed places: there are d / heads heads. Write `unflatten(-1, (heads, -1))`, or use "
    "`split_heads`.": {
        "parts": lambda qkv, heads: [
            _split_off(part, part.shape[-1] // heads) for part in qkv.chunk(3, dim=-1)
        ]
    },
}
_QKV_ORDER = {
    "Queries and keys are swapped. In the product the queries come first, then the keys, then the values.": {
        "order": lambda q, k, v: (k, q, v)
    },
    "Keys and values are swapped. In the product the queries come first, then the keys, then the values.": {
        "order": lambda q, k, v: (q, v, k)
    },
    "Queries and values are swapped. In the product the queries come first, then the keys, then the values.": {
        "order": lambda q, k, v: (v, k, q)
    },
    "The first third is taken for the keys and the second for the values. It holds the queries; the keys and then the "
    "values follow.": {"order": lambda q, k, v: (v, q, k)},
    "The first third is taken for the values and the second for the queries. It holds the queries; the keys and then "
    "the values follow.": {"order": lambda q, k, v: (k, v, q)},
    "The keys take the place of the values: the weights mix the keys. They mix the values, the last third.": {
        "order": lambda q, k, v: (q, k, k)
    },
    "The queries take the place of the values: the weights mix the queries. They mix the values, the last third.": {
        "order": lambda q, k, v: (q, k, q)
    },
    "The queries meet themselves, not the keys: `q @ q.transpose(-2, -1)`. The keys are the second third.": {
        "order": lambda q, k, v: (q, q, v)
    },
    "The keys meet themselves, not the queries. The queries are the first third, the keys the second.": {
        "order": lambda q, k, v: (k, k, v)
    },
    "The queries meet the values, not the keys. The keys are the second third.": {
        "order": lambda q, k, v: (q, v, v)
    },
    "One third is taken for queries, keys and values alike. They are three different parts: `chunk(3, dim=-1)`.": {
        "order": lambda q, k, v: (q, q, q)
    },
}
_SCALE = {
    "The scores are divided by √d. A head has d / heads numbers: divide by the root of that, as `attention` does when "
    "it is given the heads.": {"scale": lambda q, heads: math.sqrt(q.shape[-1] * heads)},
    "The scores are not divided by √(d / heads). `attention` does it, with the size of a head.": {
        "scale": lambda q, heads: 1
    },
    "The scores are divided by d / heads, as happens if the root of it divides them twice. Divide once, by the root: "
    "`attention` does it.": {"scale": lambda q, heads: q.shape[-1]},
    "The scores are divided by d. Divide by the root of d / heads, the size of a head.": {
        "scale": lambda q, heads: q.shape[-1] * heads
    },
    "The scores are divided by √heads. Divide by √(d / heads), the root of the size of a head.": {
        "scale": lambda q, heads: math.sqrt(heads)
    },
    "The scores are divided by √T. Divide by √(d / heads), the root of the size of a head.": {
        "scale": lambda q, heads: math.sqrt(q.shape[-2])
    },
    "The scores are multiplied by √(d / heads). Divide by it.": {
        "scale": lambda q, heads: 1 / math.sqrt(q.shape[-1])
    },
}
_HEAD_SOFTMAX = {
    "The softmax goes over the heads, `dim=1`. It goes over the keys, `dim=-1`.": {
        "normalized": lambda scores: scores.softmax(dim=1)
    },
    "The softmax goes over the queries, `dim=-2`. It goes over the keys, `dim=-1`.": {
        "normalized": lambda scores: scores.softmax(dim=2)
    },
    "The softmax goes over the sequences, `dim=0`. It goes over the keys, `dim=-1`.": {
        "normalized": lambda scores: scores.softmax(dim=0)
    },
    "The softmax is missing: the values are mixed with the scores. Take `softmax(dim=-1)`.": {
        "normalized": lambda scores: scores.nan_to_num(neginf=0.0)
    },
}
_HEAD_MASKS = {
    "`allowed` has no effect. Hand it on: `attention(q, k, v, allowed)`.": {
        "masked": lambda scores, allowed: scores
    },
    "The mask is inverted: True is where a query may look, unlike in `nn.MultiheadAttention`. Exclude where it is "
    "False, `~allowed`.": {
        "masked": lambda scores, allowed: (
            scores if allowed is None else scores.masked_fill(allowed, -math.inf)
        )
    },
    "Forbidden scores are set to 0, and exp(0) = 1 is no small weight. Set them to −inf.": {
        "masked": lambda scores, allowed: scores if allowed is None else scores.masked_fill(~allowed, 0.0)
    },
    "The mask acts after the softmax, so the rows no longer add up to 1. Set the scores to −inf before it.": {
        "masked": lambda scores, allowed: scores,
        "after": lambda weights, allowed: weights if allowed is None else weights * allowed,
    },
    "True and False are added to the scores as 1 and 0. Exclude with −inf: `masked_fill(~allowed, -math.inf)`.": {
        "masked": lambda scores, allowed: scores if allowed is None else scores + allowed
    },
    "Only the first sequence's mask is used. Each sequence has its own.": {
        "masked": lambda scores, allowed: _masked_scores(
            scores, allowed[:1] if allowed is not None and allowed.ndim == 4 else allowed
        )
    },
}
_HEAD_MERGES = {
    "The heads are merged without a transpose, which mixes heads and positions. `merge_heads` brings them to "
    "(N, T, heads, e) first.": {"merge": lambda o: o.reshape(o.shape[0], o.shape[2], -1)},
    "The numbers of the heads are interleaved. They stand side by side, head after head: `merge_heads`.": {
        "merge": lambda o: o.permute(0, 2, 3, 1).flatten(2)
    },
    "Every head is replaced by the mean over the heads. Put their own outputs side by side, `merge_heads`.": {
        "merge": lambda o: o.mean(dim=1).repeat(1, 1, o.shape[1])
    },
    "Every head is replaced by the sum over the heads. Put their own outputs side by side, `merge_heads`.": {
        "merge": lambda o: o.sum(dim=1).repeat(1, 1, o.shape[1])
    },
    "Only the first head's output is used. Put all heads side by side: `merge_heads`.": {
        "merge": lambda o: o[:, 0].repeat(1, 1, o.shape[1])
    },
    "The heads stand in the wrong order, the last one first. `merge_heads` keeps their order.": {
        "merge": lambda o: _side_by_side(o.flip(1))
    },
}
_OUT = {
    "The output projection is missing: after `merge_heads` comes `@ W_out.T + b_out`.": {
        "out": lambda outputs, W, b: outputs
    },
    "W_out is not transposed. It acts on rows: `@ W_out.T + b_out`.": {
        "out": lambda outputs, W, b: outputs @ W + b
    },
    "b_out is missing: `@ W_out.T + b_out`.": {"out": lambda outputs, W, b: outputs @ W.T},
    "W_out is missing, and only b_out is added. Write `@ W_out.T + b_out`.": {
        "out": lambda outputs, W, b: outputs + b
    },
    "W_out is not transposed, and b_out is missing. Write `@ W_out.T + b_out`.": {
        "out": lambda outputs, W, b: outputs @ W
    },
    "b_out is subtracted. Add it.": {"out": lambda outputs, W, b: outputs @ W.T - b},
    "b_out goes through W_out as well. It is added after the product: `@ W_out.T + b_out`.": {
        "out": lambda outputs, W, b: (outputs + b) @ W.T
    },
    "The outputs go through W_out twice. Once is enough.": {
        "out": lambda outputs, W, b: (outputs @ W.T + b) @ W.T + b
    },
    "`*` multiplies number by number. The output projection is a matrix product: `@ W_out.T + b_out`.": {
        "out": lambda outputs, W, b: outputs * W.T + b
    },
    "`W_out @` needs the positions in columns, and they are rows. Write `merge_heads(outputs) @ W_out.T + b_out`.": {
        "out": lambda outputs, W, b: W @ outputs + b
    },
}
_HEADS_GIVEN = {
    "Only the outputs came back. Return the weights as well: `outputs, weights`.": {
        "give": lambda outputs, weights: outputs
    },
    "Only the weights came back. Return outputs and weights.": {"give": lambda outputs, weights: weights},
    "Outputs and weights are in the wrong order: outputs first.": {
        "give": lambda outputs, weights: (weights, outputs)
    },
    "The weights are averaged over the heads, (N, T, T), which is also what `nn.MultiheadAttention` does. Return those "
    "of every head, (N, heads, T, T).": {"give": lambda outputs, weights: (outputs, weights.mean(dim=1))},
    "The weights are summed over the heads, (N, T, T). Return those of every head, (N, heads, T, T).": {
        "give": lambda outputs, weights: (outputs, weights.sum(dim=1))
    },
    "Only the weights of the first head came back. Return those of every head, (N, heads, T, T).": {
        "give": lambda outputs, weights: (outputs, weights[:, 0])
    },
    "Only the weights of the last head came back, as after a loop. Return those of every head, (N, heads, T, T): stack "
    "them along axis 1.": {"give": lambda outputs, weights: (outputs, weights[:, -1])},
    "The weights are (heads, N, T, T). Sequences come first: stack along axis 1, (N, heads, T, T).": {
        "give": lambda outputs, weights: (outputs, weights.transpose(0, 1))
    },
    "The weights are (N, T, T, heads). The heads are axis 1: (N, heads, T, T).": {
        "give": lambda outputs, weights: (outputs, weights.permute(0, 2, 3, 1))
    },
    "The weights are (N, T, heads, T). The heads are axis 1: (N, heads, T, T).": {
        "give": lambda outputs, weights: (outputs, weights.transpose(1, 2))
    },
    "The weights are transposed: a row is a query, a column a key.": {
        "give": lambda outputs, weights: (outputs, weights.transpose(-2, -1))
    },
    "Heads and sequences share an axis, (N · heads, T, T). The weights are (N, heads, T, T): `unflatten` them.": {
        "give": lambda outputs, weights: (outputs, weights.flatten(0, 1))
    },
    "The weights are a list, with an entry for each head. Stack them along axis 1, (N, heads, T, T).": {
        "give": lambda outputs, weights: (outputs, list(weights.unbind(1)))
    },
}
multi_head.slips(
    _multi_head,
    _QKV,
    _QKV_PARTS,
    _QKV_ORDER,
    _SCALE,
    _HEAD_SOFTMAX,
    _HEAD_MASKS,
    _HEAD_MERGES,
    _OUT,
    _HEADS_GIVEN,
    {
        "x is added to the outputs. The skip connection belongs to the block around it: return the outputs alone.": {
            "added": lambda outputs, x: outputs + x
        },
        "The outputs are those of the weights the wrong way round, `weights.transpose(-2, -1) @ v`. Mix with "
        "`weights @ v`.": {"mixed": lambda weights, v: weights.transpose(-2, -1) @ v},
        "The weights do not reach the outputs: they are the values themselves. Mix them, `weights @ v`.": {
            "mixed": lambda weights, v: v
        },
    },
)
_HEAD_TURNS = [
    _rotating(
        speeds=lambda x, base=base, steps=steps: base ** (-steps(x) / x.shape[-1]), pairs=pairs, joined=joined
    )
    for base in (1000, 10_000)
    for steps in (_rotate_steps, lambda x: 2 * torch.arange(x.shape[-1] // 2, dtype=x.dtype))
    for pairs, joined in (
        (_rotate_two_halves, _rotate_joined),
        (_rotate_sliced, _rotate_joined),
        (_rotate_neighbours, _rotate_mixed),
    )
]
multi_head.mistakes(
    {
        "Queries and keys are turned by `rotate`. `nn.MultiheadAttention` has no positions: leave it out.": [
            made
            for turn in _HEAD_TURNS
            for made in (
                _multi_head(order=lambda q, k, v, turn=turn: (turn(q), turn(k), v)),
                _multi_head(
                    parts=lambda qkv, heads, turn=turn: [
                        _split_off(turn(part) if n < 2 else part, heads)
                        for n, part in enumerate(qkv.chunk(3, dim=-1))
                    ]
                ),
            )
        ],
        "`reshape` both ways mixes positions and heads: transpose after the cut, and before the merge.": [
            _multi_head(
                parts=lambda qkv, heads: [_in_rows(part, heads) for part in qkv.chunk(3, dim=-1)],
                merge=lambda o: o.reshape(o.shape[0], o.shape[2], -1),
            ),
        ],
        "`reshape` does not transpose: it reads the same numbers on, in rows of another length. Write `x @ W_qkv.T`.": [
            _multi_head(project=lambda x, W, b: x @ W.reshape(x.shape[-1], -1) + b),
        ],
        "Two slips. b_qkv is missing. x is added to the outputs.": [
            _multi_head(project=lambda x, W, b: x @ W.T, added=lambda outputs, x: outputs + x),
        ],
        "The weights are None: `F.scaled_dot_product_attention` does not return them. Compute them yourself.": [
            _multi_head(give=lambda outputs, weights: (outputs, None)),
        ],
        "`heads` has no effect: attention runs once on all d numbers. Split queries, keys and values, "
        "`split_heads(q, heads)`.": [
            _multi_head(parts=lambda qkv, heads: qkv.chunk(3, dim=-1), merge=_same_rows),
        ],
        "The heads of one position meet each other: attention runs along axis −2, and the heads stand there. Bring "
        "them forward first, `transpose(1, 2)`, as `split_heads` does.": [
            _multi_head(parts=_heads_behind, merge=lambda o: o.flatten(2)),
            _multi_head(parts=_heads_behind),
        ],
        "The product is reshaped in one go, which mixes positions, heads and the three parts. First cut it into three, "
        "`chunk(3, dim=-1)`, then `split_heads`.": [
            _multi_head(
                parts=lambda qkv, heads: qkv.reshape(
                    3, qkv.shape[0], heads, qkv.shape[1], qkv.shape[2] // heads // 3
                )
            ),
            _multi_head(
                parts=lambda qkv, heads: qkv.reshape(
                    qkv.shape[0], heads, qkv.shape[1], qkv.shape[2] // heads
                ).chunk(3, dim=-1)
            ),
            _multi_head(
                parts=lambda qkv, heads: qkv.reshape(
                    qkv.shape[0], 3, heads, qkv.shape[1], qkv.shape[2] // heads // 3
                ).unbind(1)
            ),
        ],
        "`split` takes the size of a part, and each is d numbers wide: `split(d, dim=-1)`. `chunk(3, dim=-1)` takes "
        "their number.": [
            _multi_head(parts=lambda qkv, heads: (_split_off(p, heads) for p in qkv.split(heads, dim=-1))),
            _multi_head(parts=lambda qkv, heads: (_split_off(p, heads) for p in qkv.split(3, dim=-1))),
        ],
        "b_qkv is missing: `x @ W_qkv.T + b_qkv`.": {" + b_qkv": ""},
        "The output projection is missing: after `merge_heads` comes `@ W_out.T + b_out`.": {
            " @ W_out.T + b_out": ""
        },
        "W_qkv is (3d, d) and acts on rows: transpose it, `x @ W_qkv.T`.": [
            {"W_qkv.T": "W_qkv"},
        ],
        "`W_qkv @ x` needs the positions in columns, and they are rows. Write `x @ W_qkv.T + b_qkv`.": [
            _multi_head(project=lambda x, W, b: W @ x + b),
        ],
        "The thirds are cut from the wrong axis. Queries, keys and values stand side by side on the last one: "
        "`chunk(3, dim=-1)`.": [
            {"chunk(3, dim=-1)": "chunk(3, dim=1)"},
            {"chunk(3, dim=-1)": "chunk(3, dim=0)"},
            {"chunk(3, dim=-1)": "chunk(3)"},
        ],
        "`attention` returns two things, outputs and weights. Take both: `outputs, weights = attention(q, k, v, "
        "allowed)`.": [
            _multi_head(mixed=lambda weights, v: (weights @ v, weights)),
        ],
        "The heads are not merged: W_out takes rows of d numbers. Put the heads side by side first, "
        "`merge_heads(outputs)`.": [
            {".transpose(1, 2).flatten(2)": ""},
        ],
        "The heads are summed or averaged, which leaves d / heads numbers. Put them side by side: `merge_heads`.": [
            _multi_head(merge=lambda o: o.mean(dim=1)),
            _multi_head(merge=lambda o: o.sum(dim=1)),
            _multi_head(merge=lambda o: o[:, 0]),
            _multi_head(merge=lambda o: o.mean(dim=1), out=lambda outputs, W, b: outputs),
        ],
        "The outputs still have an axis for the heads, and W_out acts on none of them. Merge the heads, then project: "
        "`merge_heads(outputs) @ W_out.T + b_out`.": [
            _multi_head(merge=lambda o: o, out=lambda outputs, W, b: outputs),
        ],
        "The heads are put below each other, not side by side. Join them along the last axis: `merge_heads`.": [
            _multi_head(merge=lambda o: o.flatten(1, 2)),
            _multi_head(merge=lambda o: torch.cat(o.unbind(1), dim=1)),
            _multi_head(merge=lambda o: torch.cat(o.unbind(1), dim=0)),
        ],
        "`view` cannot follow `transpose`: the numbers do not lie in that order in memory. Use `reshape`, `flatten`, "
        "or `.contiguous()` before it.": [
            _multi_head(merge=lambda o: o.transpose(1, 2).view(o.shape[0], o.shape[2], -1)),
        ],
        "The heads are split off x, before W_qkv. Multiply with W_qkv first, then split each of the three parts.": [
            lambda x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None: multi_head.reference(
                _split_off(x, heads), W_qkv, b_qkv, W_out, b_out, heads, allowed
            ),
        ],
        "The heads are split off the product before it is cut into three. First the parts, `chunk(3, dim=-1)`, then "
        "`split_heads` for each.": [
            _multi_head(parts=lambda qkv, heads: _split_off(qkv, heads).chunk(3, dim=1)),
        ],
        "The queries, keys and values are not projected: x itself takes their place. They are "
        "`(x @ W_qkv.T + b_qkv).chunk(3, dim=-1)`.": [
            _multi_head(project=lambda x, W, b: torch.cat([x, x, x], dim=-1)),
        ],
        "The weights are the scores before the softmax. Return what the values are mixed with, after it.": [
            _multi_head(give=lambda outputs, weights: (outputs, weights.log())),
            lambda x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None: (
                multi_head.reference(x, W_qkv, b_qkv, W_out, b_out, heads, allowed)[0],
                _multi_head(normalized=lambda scores: scores)(x, W_qkv, b_qkv, W_out, b_out, heads, allowed)[
                    1
                ],
            ),
        ],
        "`~allowed` fails for None. Ask first: `if allowed is not None:`, or hand `allowed` to `attention`, which "
        "does.": [
            _multi_head(masked=lambda scores, allowed: scores.masked_fill(~allowed, -math.inf)),
        ],
        "A causal mask is always there. Only `allowed` says where a query may look, and None allows everything.": [
            lambda x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None: multi_head.reference(
                x,
                W_qkv,
                b_qkv,
                W_out,
                b_out,
                heads,
                _causal(x.shape[1]) & (True if allowed is None else allowed),
            ),
        ],
        "`nn.Linear` and `nn.MultiheadAttention` begin with random weights of their own. Use those that were handed "
        "in.": [
            lambda x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None: nn.MultiheadAttention(
                x.shape[-1], heads, batch_first=True, dtype=x.dtype
            )(x, x, x, average_attn_weights=False),
        ],
    }
)
_QKV_SHORT = {
    "b_qkv is missing.": _QKV["b_qkv is missing: `x @ W_qkv.T + b_qkv`."],
    "The scores are divided by √d, not √(d / heads).": {
        "scale": lambda q, heads: math.sqrt(q.shape[-1] * heads)
    },
    "Queries and keys are swapped.": {"order": lambda q, k, v: (k, q, v)},
    "`allowed` has no effect.": {"masked": lambda scores, allowed: scores},
    "The mask is inverted.": {
        "masked": lambda scores, allowed: (
            scores if allowed is None else scores.masked_fill(allowed, -math.inf)
        )
    },
}
_OUT_SHORT = {
    "The output projection is missing.": {"out": lambda outputs, W, b: outputs},
    "W_out is not transposed.": {"out": lambda outputs, W, b: outputs @ W + b},
    "b_out is missing.": {"out": lambda outputs, W, b: outputs @ W.T},
    "The weights are averaged over the heads.": {
        "give": lambda outputs, weights: (outputs, weights.mean(dim=1))
    },
    "Only the outputs come back.": {"give": lambda outputs, weights: outputs},
    "The heads are merged without a transpose.": {"merge": lambda o: o.reshape(o.shape[0], o.shape[2], -1)},
}
multi_head.pairs_of_slips(_multi_head, _QKV_SHORT, _OUT_SHORT)
multi_head.pairs_of_slips(
    _multi_head,
    {one: _OUT_SHORT[one] for one in list(_OUT_SHORT)[:3]},
    {one: _OUT_SHORT[one] for one in list(_OUT_SHORT)[3:]},
)
multi_head.pairs_of_slips(
    _multi_head,
    {one: _QKV_SHORT[one] for one in list(_QKV_SHORT)[:3]},
    {one: _QKV_SHORT[one] for one in list(_QKV_SHORT)[3:]},
)


# Section 9: layer norm ----------------------------------------------------------------------------------------


def _layer_norm_case(*shape, seed, eps=1e-5, size=1.0, dtype=torch.float32):
    """x with means other than 0, gains other than 1, biases other than 0, and eps."""
    x = size * (
        1.5 * normal(*shape, seed=seed, dtype=dtype) + normal(*shape[:-1], 1, seed=seed + 1, dtype=dtype)
    )
    gain = 1.5 + normal(shape[-1], seed=seed + 2, dtype=dtype).tanh()
    return x, gain, 2 * normal(shape[-1], seed=seed + 3, dtype=dtype), eps


@lesson.exercise(
    cases={
        "a row of two numbers": (
            torch.tensor([[1.0, 5.0]]),
            torch.tensor([2.0, 10.0]),
            torch.tensor([0.5, 7.0]),
            1e-5,
        ),
        "one row, without other axes": _layer_norm_case(5, seed=10),
        "a constant row": (
            torch.tensor([[3.0, 3.0, 3.0, 3.0], [1.0, 2.0, 3.0, 6.0]]),
            *_layer_norm_case(4, seed=20)[1:],
        ),
        "a large eps": _layer_norm_case(5, 3, seed=30, eps=0.5),
        "a batch of rows": _layer_norm_case(6, 3, seed=40),
        "as many rows as numbers": _layer_norm_case(4, 4, seed=50),
        "sequences (N, T, d)": _layer_norm_case(4, 5, 3, seed=60),
        "all sizes equal": _layer_norm_case(3, 3, 3, seed=70),
        "numbers that hardly differ": _layer_norm_case(3, 4, seed=80, size=2e-3, dtype=torch.float64),
        "float64 numbers, four axes": _layer_norm_case(2, 3, 4, 5, seed=90, dtype=torch.float64),
    },
    hints=[
        "Which numbers go into one mean? Those of a single token, the last axis: one mean for every row, whatever "
        "axes stand in front.",
        "`x.mean(dim=-1, keepdim=True)` is (…, 1) and broadcasts against x. `x.var` has the same arguments, and "
        "`unbiased=False` divides by d.",
        "With mean and variance like this, it is (x − mean) / √(variance + eps), then `* gain + bias`.",
    ],
)
def layer_norm(x, gain, bias, eps=1e-5):
    """Return x (…, d) with every row of d numbers at mean 0 and standard deviation 1, times gain (d,), plus bias (d,).

    The standard deviation is √(mean of the squared deviations + eps).
    """
    mean = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mean) / (variance + eps).sqrt() * gain + bias


def _layer_norm_same(x):
    return x


def _layer_norm_mean(x):
    return x.mean(dim=-1, keepdim=True)


def _layer_norm_attempt(
    mean=_layer_norm_mean,
    variance=lambda x: x.var(dim=-1, keepdim=True, unbiased=False),
    root=lambda variance, eps: (variance + eps).sqrt(),
    scaled=lambda deviation, deviation_of_all: deviation / deviation_of_all,
    end=lambda h, gain, bias: h * gain + bias,
    result=_layer_norm_same,
):
    """The layer, with what can go wrong as arguments."""

    def attempt(x, gain, bias, eps):
        return result(end(scaled(x - mean(x), root(variance(x), eps)), gain, bias))

    return attempt


def _layer_norm_over(*axes, keepdim=True, unbiased=False):
    """Mean and variance over other axes, over all without any."""
    return {
        "mean": lambda x: x.mean(dim=axes or None, keepdim=keepdim),
        "variance": lambda x: x.var(dim=axes or None, keepdim=keepdim, unbiased=unbiased),
    }


def _layer_norm_mean_of_squares(x):
    return _layer_norm_mean(x**2)


_LAYER_NORM_AXES = {
    "Mean and variance are taken over axis 0: that is batch norm, and a row depends on the other rows. Layer norm "
    "takes them over the last axis, `dim=-1`.": _layer_norm_over(0),
    "Mean and variance are taken over axis 1. In (N, T, d) that is time, and with a single row there is no axis 1. The "
    "d numbers of a row are the last axis, `dim=-1`.": _layer_norm_over(1),
    "Mean and variance are taken over axis −2, across the rows. The d numbers of a row are the last axis, "
    "`dim=-1`.": _layer_norm_over(-2),
    "One mean and one variance serve all rows together. Every row has its own: "
    "`x.mean(dim=-1, keepdim=True)`, and the variance likewise.": {
        "mean": lambda x: x.mean(),
        "variance": lambda x: x.var(unbiased=False),
    },
    "Every column has its own mean and variance here, over all rows: that is batch norm. Every row has its own: "
    "`dim=-1`.": {
        "mean": lambda x: x.reshape(-1, x.shape[-1]).mean(dim=0),
        "variance": lambda x: x.reshape(-1, x.shape[-1]).var(dim=0, unbiased=False),
    },
    "Mean and variance are taken over everything but axis 0, so all tokens of a sequence share them. Every row of d "
    "numbers has its own: `dim=-1`.": {
        "mean": lambda x: x.flatten(1).mean(dim=1).reshape(-1, *[1] * (x.ndim - 1)),
        "variance": lambda x: x.flatten(1).var(dim=1, unbiased=False).reshape(-1, *[1] * (x.ndim - 1)),
    },
    "The mean is taken over all numbers together. Every row has its own: `x.mean(dim=-1, keepdim=True)`.": {
        "mean": lambda x: x.mean()
    },
    "The variance is taken over all numbers together. Every row has its own: `x.var(dim=-1, keepdim=True, "
    "unbiased=False)`.": {"variance": lambda x: x.var(unbiased=False)},
    "The mean is taken over axis 0, across the rows. It belongs to the last axis, as the variance does: "
    "`dim=-1`.": {"mean": lambda x: x.mean(dim=0)},
    "The variance is taken over axis 0, across the rows. It belongs to the last axis, as the mean does: "
    "`dim=-1`.": {"variance": lambda x: x.var(dim=0, unbiased=False)},
    "Mean and variance lose the last axis. With `keepdim=True` they stay (…, 1), and each row gets its "
    "own.": _layer_norm_over(-1, keepdim=False),
    "The mean loses the last axis. With `keepdim=True` it stays (…, 1), and each row gets its own.": {
        "mean": lambda x: x.mean(dim=-1)
    },
    "The variance loses the last axis. With `keepdim=True` it stays (…, 1), and each row gets its own.": {
        "variance": lambda x: x.var(dim=-1, unbiased=False)
    },
}
_LAYER_NORM_SPREADS = {
    "The variance has d − 1 in its denominator, the default of `var` and `std`. Here it is the mean of the squared "
    "deviations: `unbiased=False`.": {"variance": lambda x: x.var(dim=-1, keepdim=True)},
    "The squared deviations are added up, not averaged. Divide their sum by d: `x.var(dim=-1, keepdim=True, "
    "unbiased=False)`.": {"variance": lambda x: x.var(dim=-1, keepdim=True, unbiased=False) * x.shape[-1]},
    "The mean of x² is not the variance unless the mean is 0. Square the deviations: `((x - mean) ** 2).mean(dim=-1, "
    "keepdim=True)`.": {"variance": _layer_norm_mean_of_squares},
    "The squared deviations are averaged over all rows together. Every row has a variance of its own: "
    "`.mean(dim=-1, keepdim=True)`.": {"variance": lambda x: ((x - _layer_norm_mean(x)) ** 2).mean()},
    "The deviations are averaged before they are squared, and their mean is 0. Square first: `((x - mean) ** 2).mean("
    "dim=-1, keepdim=True)`.": {
        "variance": lambda x: _layer_norm_mean(x - _layer_norm_mean(x)) ** 2,
        "root": lambda variance, eps: (variance + eps).sqrt(),
    },
    "The variance is E[x²] − (E[x])², and the square of the mean is missing.": {
        "variance": lambda x: _layer_norm_mean_of_squares(x) - _layer_norm_mean(x)
    },
    "The spread is the mean absolute deviation here. Layer norm takes the root of the mean *squared* deviation, "
    "`((x - mean) ** 2).mean(…)`.": {
        "variance": lambda x: _layer_norm_mean((x - _layer_norm_mean(x)).abs()) ** 2
    },
    "The variance goes under the root twice. `std` is a root already: square it, or take `var`.": {
        "variance": lambda x: x.std(dim=-1, keepdim=True, unbiased=False)
    },
}
_LAYER_NORM_ROOTS = {
    "eps is added to the standard deviation. It belongs under the root, to the variance: √(variance + eps).": {
        "root": lambda variance, eps: variance.sqrt() + eps
    },
    "eps is missing: a constant row becomes 0 / 0. Add it to the variance, under the root.": {
        "root": lambda variance, eps: variance.sqrt()
    },
    "This divides by the variance. Divide by its root, √(variance + eps).": {
        "root": lambda variance, eps: variance + eps
    },
    "This divides by the variance, without root and without eps. Divide by √(variance + eps).": {
        "root": lambda variance, eps: variance
    },
    "eps is 1e-5 here whatever the caller says. Use the argument `eps`.": {
        "root": lambda variance, eps: (variance + 1e-5).sqrt()
    },
    "eps is a floor for the variance here, as with `clamp`. It is added: `(variance + eps).sqrt()`.": {
        "root": lambda variance, eps: variance.clamp(min=eps).sqrt()
    },
    "eps is a floor for the standard deviation here, as with `clamp`. It is added to the variance: "
    "`(variance + eps).sqrt()`.": {"root": lambda variance, eps: variance.sqrt().clamp(min=eps)},
    "eps is squared. The variance plus eps itself goes under the root.": {
        "root": lambda variance, eps: (variance + eps**2).sqrt()
    },
    "eps is subtracted from the variance. Add it.": {"root": lambda variance, eps: (variance - eps).sqrt()},
    "eps is added twice, under the root and to the root. It belongs under the root only.": {
        "root": lambda variance, eps: (variance + eps).sqrt() + eps
    },
}
_LAYER_NORM_ENDS = {
    "gain is missing: multiply the normalized row by it before bias is added.": {
        "end": lambda h, gain, bias: h + bias
    },
    "bias is missing: add it at the end.": {"end": lambda h, gain, bias: h * gain},
    "gain and bias are both missing: end with `* gain + bias`.": {"end": lambda h, gain, bias: h},
    "gain and bias are swapped: the normalized row times gain, plus bias.": {
        "end": lambda h, gain, bias: h * bias + gain
    },
    "gain is added. Multiply by it, then add bias.": {"end": lambda h, gain, bias: h + gain + bias},
    "The normalized row is multiplied by 1 + gain. Multiply by gain itself.": {
        "end": lambda h, gain, bias: h * (1 + gain) + bias
    },
    "gain multiplies bias as well. Multiply first, then add bias.": {
        "end": lambda h, gain, bias: (h + bias) * gain
    },
    "gain divides the normalized row. Multiply by it, and mind the brackets: `a / (b * gain)` divides by gain, too.": {
        "end": lambda h, gain, bias: h / gain + bias
    },
    "bias is subtracted. Add it.": {"end": lambda h, gain, bias: h * gain - bias},
    "gain and bias both multiply the row. Multiply by gain, then add bias.": {
        "end": lambda h, gain, bias: h * gain * bias
    },
    "`h @ gain` adds up the products, and one number of each row is left. Multiply number by number: `h * "
    "gain`.": {"end": lambda h, gain, bias: (h @ gain).unsqueeze(-1) + bias},
    "`@` adds up the products with gain, and one number of each row is left. Multiply number by number: "
    "`* gain`.": {"end": lambda h, gain, bias: h @ gain + bias},
    "gain and bias are columns here, so each row gets one number of them. Leave them as (d,): each column of x gets "
    "its own.": {"end": lambda h, gain, bias: h * gain[:, None] + bias[:, None]},
}
layer_norm.pairs_of_slips(
    _layer_norm_attempt,
    {
        "mean and variance go across the rows, where `dim=-1` belongs": _layer_norm_over(0),
        "the variance has d − 1 in its denominator, where `unbiased=False` belongs": {
            "variance": lambda x: x.var(dim=-1, keepdim=True)
        },
        "eps is outside the root": {"root": lambda variance, eps: variance.sqrt() + eps},
        "eps is missing": {"root": lambda variance, eps: variance.sqrt()},
        "the division is by the variance, without its root": {"root": lambda variance, eps: variance + eps},
    },
    {
        "gain is missing": {"end": lambda h, gain, bias: h + bias},
        "bias is missing": {"end": lambda h, gain, bias: h * gain},
        "gain and bias are missing": {"end": lambda h, gain, bias: h},
        "gain and bias are swapped": {"end": lambda h, gain, bias: h * bias + gain},
    },
    words="Two slips: {}, and {}.",
)
layer_norm.pairs_of_slips(
    _layer_norm_attempt,
    {
        "Mean and variance go over axis 0, across the rows": _layer_norm_over(0, unbiased=True),
        "Mean and variance go over axis 1, which is time in (N, T, d)": _layer_norm_over(1, unbiased=True),
        "Mean and variance are those of all numbers together": _layer_norm_over(unbiased=True),
    },
    {
        "add eps under the root": {"root": lambda variance, eps: (variance + eps).sqrt()},
        "move eps under the root": {"root": lambda variance, eps: variance.sqrt() + eps},
        "add the missing eps under the root": {"root": lambda variance, eps: variance.sqrt()},
    },
    words="{}, and d − 1 divides in the variance. Take `dim=-1` and `unbiased=False`, and {}.",
)
layer_norm.slips(
    _layer_norm_attempt, _LAYER_NORM_AXES, _LAYER_NORM_SPREADS, _LAYER_NORM_ROOTS, _LAYER_NORM_ENDS
)
layer_norm.mistakes(
    {
        "The mean is not subtracted, only the spread is divided out. Begin with `x - mean`.": _layer_norm_attempt(
            mean=torch.zeros_like
        ),
        "This is RMS norm: x over the root of the mean of x². Layer norm subtracts the mean first.": [
            _layer_norm_attempt(mean=torch.zeros_like, variance=_layer_norm_mean_of_squares),
            lambda x, gain, bias, eps: F.rms_norm(x, x.shape[-1:], gain, eps) + bias,
        ],
        "This is RMS norm, without bias: x over the root of the mean of x². Layer norm subtracts the mean first, and "
        "adds bias at the end.": lambda x, gain, bias, eps: F.rms_norm(x, x.shape[-1:], gain, eps),
        "Only the mean is subtracted. Divide by √(variance + eps) as well.": _layer_norm_attempt(
            scaled=lambda deviation, spread: deviation
        ),
        "This multiplies by the standard deviation. Divide by it.": {"/ (": "* ("},
        "Only the mean is divided: in `x - mean / …` the division comes first. Put brackets around x − mean.": {
            "(x - mean) /": "x - mean /"
        },
        "The mean is added. Subtract it: x − mean.": {"x - mean": "x + mean"},
        "The deviation has the opposite sign. It is x − mean.": {"x - mean": "mean - x"},
        "Mean and variance lose the last axis, and d − 1 divides in the variance. Take `keepdim=True` and "
        "`unbiased=False`.": _layer_norm_attempt(**_layer_norm_over(-1, keepdim=False, unbiased=True)),
        "A fresh `nn.LayerNorm` has weights of its own, 1 and 0, and eps 1e-5. Use the arguments gain, bias and "
        "eps.": lambda x, gain, bias, eps: F.layer_norm(x, x.shape[-1:]),
        "`F.batch_norm` and `nn.BatchNorm1d` average over the batch. Layer norm takes mean and variance over the last "
        "axis, `dim=-1`.": lambda x, gain, bias, eps: F.batch_norm(x, None, None, gain, bias, True, 0.1, eps),
        "You normalize twice, and the second time undoes what eps does. Once is enough.": lambda x, gain, bias, eps: (
            layer_norm.reference(layer_norm.reference(x, 1, 0, eps), gain, bias, eps)
        ),
        "gain and bias are applied before the row is normalized, which undoes most of them. They come last.": [
            lambda x, gain, bias, eps: layer_norm.reference(x * gain + bias, 1, 0, eps),
        ],
        "gain is applied before the row is normalized. Normalize first, then multiply by gain and add bias.": [
            lambda x, gain, bias, eps: layer_norm.reference(x * gain, 1, bias, eps),
        ],
        "The brackets end too early: eps · gain is added, and gain does not multiply the row. Write "
        "`(x - mean) / (variance + eps).sqrt() * gain + bias`.": [
            lambda x, gain, bias, eps: layer_norm.reference(x, 1, 0, 0.0) + eps * gain + bias,
            lambda x, gain, bias, eps: (
                (x - _layer_norm_mean(x)) / x.var(dim=-1, keepdim=True, unbiased=False) + eps * gain + bias
            ),
        ],
        "The spread is the mean absolute deviation here. Layer norm takes the root of the mean *squared* deviation, "
        "`((x - mean) ** 2).mean(…)`.": [
            _layer_norm_attempt(
                variance=lambda x: (x - _layer_norm_mean(x)).abs().mean(dim=-1, keepdim=True), root=root
            )
            for root in (
                lambda variance, eps: variance + eps,
                lambda variance, eps: variance,
                lambda variance, eps: (variance + eps).sqrt(),
                lambda variance, eps: (variance**2 + eps).sqrt(),
            )
        ],
        "eps is added to the result. It belongs under the root: √(variance + eps).": [
            _layer_norm_attempt(root=lambda variance, eps: variance.sqrt(), result=lambda h: h + 1e-5),
            lambda x, gain, bias, eps: layer_norm.reference(x, gain, bias, 0.0) + eps,
        ],
        "The row is scaled to length 1, as `F.normalize` does. Its standard deviation should be 1: divide by "
        "√(mean of the squared deviations + eps).": [
            lambda x, gain, bias, eps: F.normalize(x - _layer_norm_mean(x), dim=-1) * gain + bias,
            lambda x, gain, bias, eps: F.normalize(x, dim=-1) * gain + bias,
        ],
        "The row is brought between 0 and 1 by its minimum and maximum. Use its mean and its standard deviation.": (
            lambda x, gain, bias, eps: (
                (x - x.amin(-1, keepdim=True))
                / (x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True) + eps)
                * gain
                + bias
            )
        ),
        "The mean comes back with the rest. Return the normalized x alone.": [
            lambda x, gain, bias, eps: (layer_norm.reference(x, gain, bias, eps), _layer_norm_mean(x)),
            lambda x, gain, bias, eps: (
                layer_norm.reference(x, gain, bias, eps),
                _layer_norm_mean(x),
                x.var(dim=-1, keepdim=True, unbiased=False),
            ),
        ],
        "Mean 0 is there, but the variance has d − 1 in its denominator and lacks eps: √(mean of the squared "
        "deviations + eps), with `unbiased=False`.": _layer_norm_attempt(
            variance=lambda x: x.var(dim=-1, keepdim=True), root=lambda variance, eps: variance.sqrt()
        ),
        "Two slips of `std`: it divides by d − 1, and eps is added outside its root. Take `x.var(dim=-1, keepdim=True, "
        "unbiased=False)`, add eps, then take the root.": _layer_norm_attempt(
            variance=lambda x: x.var(dim=-1, keepdim=True),
            root=lambda variance, eps: variance.sqrt() + eps,
        ),
        "The sum of a row is subtracted, not its mean. Divide it by d: `x.mean(dim=-1, keepdim=True)`.": (
            _layer_norm_attempt(mean=lambda x: x.sum(dim=-1, keepdim=True))
        ),
        "The median is subtracted. Layer norm takes the mean.": _layer_norm_attempt(
            mean=lambda x: x.median(dim=-1, keepdim=True).values
        ),
    }
)


# Section 10: pairs of tokens ----------------------------------------------------------------------------------


def _merge_pair_seen(attempt, ids, pair, new):
    merged = attempt(ids, pair, new)
    kind = _merge_pair_kind(merged)
    return {"ids": list(merged) if isinstance(merged, Iterator) else merged, "what came back": kind}


def _merge_pair_kind(merged):
    if not isinstance(merged, list):
        return f"a {type(merged).__name__}"
    others = sorted({type(one).__name__ for one in merged if not isinstance(one, numbers.Integral)})
    return f"a list with entries of type {', '.join(others)}" if others else "a list of integers"


@lesson.exercise(
    cases={
        "one pair": ([1, 2], (1, 2), 3),
        "three equal ids": ([5, 5, 5], (5, 5), 6),
        "four equal ids": ([5, 5, 5, 5], (5, 5), 7),
        "a pair in the middle": ([4, 1, 2, 3], (1, 2), 9),
        "pairs at both ends": ([1, 2, 7, 8, 1, 2], (1, 2), 5),
        "pairs side by side": ([1, 2, 1, 2, 1], (1, 2), 3),
        "no such pair": ([2, 1, 4, 3, 1], (1, 2), 5),
        "an empty list": ([], (1, 2), 3),
        "a single id": ([1], (1, 2), 3),
        "new is the right id": ([1, 1, 2, 2], (1, 2), 2),
        "new is the left id": ([1, 2, 2], (1, 2), 1),
        "ids of two digits": ([11, 2, 1, 22, 1, 2, 12], (1, 2), 30),
        "large ids": (
            [int("50256"), int("70000"), 8, int("50256"), int("50256"), int("70000")],
            (50256, 70000),
            4,
        ),
    },
    hints=[
        "With an index i that you move yourself, a `while` loop can go on by one id or by two.",
        "If `(ids[i], ids[i + 1])` is the pair, append `new` and add 2 to i. Otherwise append `ids[i]` and add 1. What "
        "about the last id, which has none to its right?",
        "`tuple(ids[i : i + 2]) == pair` is False at the last id instead of an error: a slice may end past the list.",
    ],
    observe=_merge_pair_seen,
)
def merge_pair(ids, pair, new):
    """Return a list: ids, a list of integers, read from the left, with every occurrence of pair replaced by new.

    `pair` is (left, right). "aaa" holds one pair "aa", not two.
    """
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def _merge_pair_at(ids, i, pair):
    return tuple(ids[i : i + 2]) == pair


def _merge_pair_attempt(
    fits=_merge_pair_at,
    put=lambda pair, new: [new],
    step=2,
    end=len,
    start=0,
    result=lambda merged, ids: merged,
):
    """The loop, with what can go wrong as arguments."""

    def attempt(ids, pair, new):
        merged, i = [], start
        while i < end(ids):
            found = fits(ids, i, pair)
            merged += put(pair, new) if found else [ids[i]]
            i += step if found else 1
        return result(merged, ids)

    return attempt


def _merge_pair_again(ids, pair, new):
    """Merged until no pair is left; at most as often as there are ids."""
    for _ in range(len(ids)):
        ids = merge_pair.reference(ids, pair, new)
    return ids


def _merge_pair_with_results(ids, pair, new):
    merged = []
    for one in ids:
        merged.append(one)
        if tuple(merged[-2:]) == pair:
            merged[-2:] = [new]
    return merged


def _merge_pair_from_the_right(ids, pair, new):
    return merge_pair.reference(ids[::-1], pair[::-1], new)[::-1]


def _merge_pair_once(ids, pair, new, places=lambda found: found[:1]):
    merged = list(ids)
    for i in places([i for i in range(len(ids)) if _merge_pair_at(ids, i, pair)]):
        merged[i : i + 2] = [new]
    return merged


def _merge_pair_overlapping(ids, pair, new):
    starts = [_merge_pair_at(ids, i, pair) for i in range(len(ids))]
    return [new if starts[i] else one for i, one in enumerate(ids) if starts[i] or not (i and starts[i - 1])]


def _merge_pair_overlapping_lost(ids, pair, new):
    starts = [_merge_pair_at(ids, i, pair) for i in range(len(ids))]
    return [new if starts[i] else one for i, one in enumerate(ids) if not (i and starts[i - 1])]


def _merge_pair_popped(ids, pair, new):
    merged = list(ids)
    for i in range(len(ids) - 1):
        if (merged[i], merged[i + 1]) == pair:
            merged[i] = new
            merged.pop(i + 1)
    return merged


def _merge_pair_removed(ids, pair, new):
    """`remove` takes the first id with this value, wherever it stands."""
    merged, i = list(ids), 0
    while i < len(merged) - 1:
        if (merged[i], merged[i + 1]) == pair:
            merged[i] = new
            merged.remove(pair[1])
        i += 1
    return merged


def _merge_pair_as_text(ids, pair, new, between=" ", edge="", convert=int):
    text = edge + between.join(map(str, ids)) + edge
    text = text.replace(edge + between.join(map(str, pair)) + edge, f"{edge}{new}{edge}")
    return [convert(one) for one in (text.split() if between else text)]


_MERGE_PAIR_STEPS = {
    "The right id of a pair is read once more after the merge. Both are used up: go on by two, `i += 2` in a `while` "
    "loop (in a `for` loop it has no effect).": {"step": 1},
    "After a merge the loop goes on by three ids, so the one behind the pair is lost. Go on by two: `i += 2`.": {
        "step": 3
    },
}
_MERGE_PAIR_RANGES = {
    "The loop ends before the last id, which is lost unless it is the right one of a pair. Go on while `i < len(ids)`, "
    "and append an id that has none to its right.": {"end": lambda ids: len(ids) - 1},
    "The loop begins with id 1, so the first id is lost. Begin with `i = 0`.": {"start": 1},
    "The loop ends two ids too early. Go on while `i < len(ids)`.": {"end": lambda ids: len(ids) - 2},
}
_MERGE_PAIR_TESTS = {
    "The last id has none to its right: `ids[i + 1]` runs past the end there. Test `i + 1 < len(ids)` first, or "
    "compare the slice `ids[i : i + 2]`.": {"fits": lambda ids, i, pair: (ids[i], ids[i + 1]) == pair},
    "A pair at the end of the list is missed. The last place where one can begin is len(ids) − 2, so test "
    "`i < len(ids) - 1`.": {"fits": lambda ids, i, pair: i < len(ids) - 2 and _merge_pair_at(ids, i, pair)},
    "The pair is looked for the wrong way round, (right, left). `ids[i]` is compared with `pair[0]`, `ids[i + 1]` with "
    "`pair[1]`.": {"fits": lambda ids, i, pair: _merge_pair_at(ids, i, pair[::-1])},
    "The two ids count in either order here. A pair is (left, right) in this order: compare tuples, not sets or sorted "
    "lists.": {"fits": lambda ids, i, pair: sorted(ids[i : i + 2]) == sorted(pair)},
    "The two ids count in either order, and sets forget that an id comes twice: (5, 5) becomes {5}. Compare tuples in "
    "their order.": {"fits": lambda ids, i, pair: set(ids[i : i + 2]) == set(pair)},
    "The left id is enough for a merge here, whatever follows. `ids[i + 1]` has to be `pair[1]` as well.": {
        "fits": lambda ids, i, pair: ids[i] == pair[0]
    },
    "One of the two ids is enough for a merge here. Both have to fit: `and`, not `or`.": {
        "fits": lambda ids, i, pair: ids[i] == pair[0] or ids[i + 1 : i + 2] == [pair[1]]
    },
    "The right id is enough for a merge here, whatever stands before it. `ids[i]` has to be `pair[0]` as well.": {
        "fits": lambda ids, i, pair: ids[i + 1 : i + 2] == [pair[1]]
    },
    "Two ids that are both somewhere in the pair are merged, (5, 5) and (right, left) included. Compare each with its "
    "own place in the pair.": {
        "fits": lambda ids, i, pair: i + 1 < len(ids) and ids[i] in pair and ids[i + 1] in pair
    },
    "Nothing is merged. If you compare a slice with the pair: a list never equals a tuple, so write `tuple(ids[i : i + "
    "2]) == pair`.": {"fits": lambda ids, i, pair: False},
}
_MERGE_PAIR_RESULTS = {
    "The left id is kept beside new. Of a pair nothing is left: append `new` alone.": {
        "put": lambda pair, new: [pair[0], new]
    },
    "The right id is kept beside new. Of a pair nothing is left: append `new` alone.": {
        "put": lambda pair, new: [new, pair[1]]
    },
    "new is put behind the pair, which stays. Append `new` instead of the two ids.": {
        "put": lambda pair, new: [*pair, new]
    },
    "new is put before the pair, which stays. Append `new` instead of the two ids.": {
        "put": lambda pair, new: [new, *pair]
    },
    "The pairs are taken out, but new does not take their place. Append `new` where a pair was.": {
        "put": lambda pair, new: []
    },
    "new stands twice for each pair. Two ids become one.": {"put": lambda pair, new: [new, new]},
    "new is in a list of its own. `append(new)` takes the id itself.": {"put": lambda pair, new: [[new]]},
    "The pair itself is appended, as a tuple. Append `new`.": {"put": lambda pair, new: [pair]},
    "The sum of the two ids stands where new should. Append the argument `new`.": {
        "put": lambda pair, new: [sum(pair)]
    },
    "The left id stands where new should. Append `new`.": {"put": lambda pair, new: [pair[0]]},
    "This is the number of ids that are left. Return the list of them.": {
        "result": lambda merged, ids: len(merged)
    },
    "This is the number of merges. Return the list of ids.": {
        "result": lambda merged, ids: len(ids) - len(merged)
    },
    "A tensor came back. Return a list of integers.": {"result": lambda merged, ids: torch.tensor(merged)},
    "A tuple came back. Return a list.": {"result": lambda merged, ids: tuple(merged)},
    "A generator came back, as `yield` makes one. Return a list, or wrap it in `list(…)`.": {
        "result": lambda merged, ids: (one for one in merged)
    },
    "List and length came back. Return the list alone.": {
        "result": lambda merged, ids: (merged, len(merged))
    },
    "List and number of merges came back. Return the list alone.": {
        "result": lambda merged, ids: (merged, len(ids) - len(merged))
    },
    "A string came back. Return the list of integers.": {
        "result": lambda merged, ids: " ".join(map(str, merged))
    },
    "A set came back, without order and repetitions. Return a list.": {
        "result": lambda merged, ids: set(merged)
    },
    "Every id is kept only once. Repetitions belong to the text: keep them all.": {
        "result": lambda merged, ids: list(dict.fromkeys(merged))
    },
    "The list is sorted. Keep the ids in the order of the text.": {
        "result": lambda merged, ids: sorted(merged)
    },
    "The list comes back in reverse. Keep the ids in the order of the text.": {
        "result": lambda merged, ids: merged[::-1]
    },
    "The loop returns in its first round, with one entry. Return after the loop, without the indent.": {
        "result": lambda merged, ids: merged[:1] if ids else None
    },
}
merge_pair.slips(
    _merge_pair_attempt, _MERGE_PAIR_STEPS, _MERGE_PAIR_RANGES, _MERGE_PAIR_TESTS, _MERGE_PAIR_RESULTS
)
merge_pair.mistakes(
    {
        "Pairs overlap here: the right id of one is the left id of the next, so three equal ids give two merges. Each "
        "id is used once: after a merge skip both.": _merge_pair_overlapping,
        "Pairs overlap here: the right id of one is the left id of the next and is dropped, so three equal ids leave "
        "a single new. Each id is used once: after a merge skip both.": _merge_pair_overlapping_lost,
        "The loop goes on by two whether there was a pair or not, so ids are skipped. Where there is none, go on by "
        "one: `i += 1`.": {"i += 1": "i += 2"},
        "Merging goes on over its own results, until no pair is left. Go through ids once: new is not merged "
        "again.": _merge_pair_again,
        "What was merged is merged again: new is taken for the left id of the next pair. Compare ids as they came, and "
        "write into a list of its own.": _merge_pair_with_results,
        "The list is read from the right: of three equal ids the last two are merged. Begin on the left.": (
            _merge_pair_from_the_right
        ),
        "Only the first occurrence is replaced. Go on behind it until the list ends.": _merge_pair_once,
        "Only the last occurrence is replaced. Every one is, from the left.": lambda ids, pair, new: (
            _merge_pair_once(ids, pair, new, lambda found: found[-1:])
        ),
        "Each id of the pair is replaced wherever it stands. Replace the two of them, side by side, by one `new`.": [
            lambda ids, pair, new: [new if one in pair else one for one in ids],
        ],
        "The left id is replaced wherever it stands. Replace left and right, side by side, by one `new`.": (
            lambda ids, pair, new: [new if one == pair[0] else one for one in ids]
        ),
        "The right id is replaced wherever it stands. Replace left and right, side by side, by one `new`.": (
            lambda ids, pair, new: [new if one == pair[1] else one for one in ids]
        ),
        "Left and right are replaced each by itself, also where they are not neighbours. Compare two ids at a time, "
        "`ids[i]` and `ids[i + 1]`.": [
            lambda ids, pair, new: [new if one == pair[0] else one for one in ids if one != pair[1]],
        ],
        "The pair becomes two of new: both ids are replaced. Two ids become one.": lambda ids, pair, new: [
            new if _merge_pair_at(ids, i, pair) or (i and _merge_pair_at(ids, i - 1, pair)) else one
            for i, one in enumerate(ids)
        ],
        "The list gets shorter while the loop still counts to its old length. Write into a new list, with a `while` "
        "loop over ids.": _merge_pair_popped,
        "`remove` takes out the first id with that value, not the one beside new. Write into a new list "
        "instead.": _merge_pair_removed,
        'As text, "1 2" is also found inside "11 2" and "1 22". Compare the integers, two at a time.': [
            _merge_pair_as_text,
        ],
        "Text without separators cannot tell 1, 2 from 12. Compare the integers, two at a time.": (
            lambda ids, pair, new: _merge_pair_as_text(ids, pair, new, between="")
        ),
        "Two pairs side by side share the blank between them, so the second is not found. Compare the integers, two at "
        "a time.": lambda ids, pair, new: _merge_pair_as_text(ids, pair, new, edge=" "),
        'The ids come back as text. Return integers, and better compare integers from the start: "1 2" is also found '
        'inside "11 2".': [
            lambda ids, pair, new: _merge_pair_as_text(ids, pair, new, convert=str),
            lambda ids, pair, new: _merge_pair_as_text(ids, pair, new, between="", convert=str),
        ],
        "The ids come back as text. Return integers.": [
            lambda ids, pair, new: list(map(str, merge_pair.reference(ids, pair, new))),
        ],
        "The new id is one more than the largest here. Use the argument `new`.": lambda ids, pair, new: (
            merge_pair.reference(ids, pair, max(ids, default=0) + 1)
        ),
        "These are the places of the pairs. Return the ids with the pairs replaced.": lambda ids, pair, new: [
            i for i in range(len(ids)) if _merge_pair_at(ids, i, pair)
        ],
        "The ids are gone through two by two, 0 and 1, 2 and 3, …, so a pair that begins at an odd place is missed. "
        "Go on by one id where there is no pair.": [
            lambda ids, pair, new: [
                one
                for i in range(0, len(ids), 2)
                for one in ([new] if _merge_pair_at(ids, i, pair) else ids[i : i + 2])
            ],
        ],
        "Neighbours are taken with `zip(ids, ids[1:])`, so the last id is lost where it is in no pair, and the right "
        "id of a pair comes again. Use a `while` loop that goes on by two after a merge.": _merge_pair_attempt(
            step=1, end=lambda ids: len(ids) - 1
        ),
        "`is` asks whether two numbers are the same object, which holds for small ones only. Compare with `==`.": (
            _merge_pair_attempt(
                fits=lambda ids, i, pair: i + 1 < len(ids) and ids[i] is pair[0] and ids[i + 1] is pair[1]
            )
        ),
        "The right id of a pair is read once more after the merge (in a `for` loop, adding to i skips nothing), and "
        "`ids[i + 1]` runs past the end. Use a `while` loop.": _merge_pair_attempt(
            step=1, fits=lambda ids, i, pair: (ids[i], ids[i + 1]) == pair
        ),
        "The last id is appended in any case, even if a pair has used it up, and an empty list has none. Append it "
        "only `if i < len(ids)`.": [
            _merge_pair_attempt(end=lambda ids: len(ids) - 1, result=lambda merged, ids: [*merged, ids[-1]]),
            _merge_pair_attempt(
                end=lambda ids: len(ids) - 1, result=lambda merged, ids: [*merged, *ids[-1:]]
            ),
        ],
        "The right id of a pair comes again behind new, and an empty list has no last id to append. Go on by two after "
        "a merge.": _merge_pair_attempt(
            step=1, end=lambda ids: len(ids) - 1, result=lambda merged, ids: [*merged, ids[-1]]
        ),
        "The loop never gets past a merge to the rest: it ends with the first pair. Go on behind it until the list "
        "ends.": lambda ids, pair, new: _merge_pair_cut(ids, pair, new),
    }
)


def _merge_pair_cut(ids, pair, new):
    for i in range(len(ids)):
        if _merge_pair_at(ids, i, pair):
            return [*ids[:i], new]
    return list(ids)


# Section 10: bits per character -------------------------------------------------------------------------------


def _bits_batch(N, T, V, seed, *, size=2.0, dtype=torch.float32):
    """Logits (N, T, V), and targets that are more likely than others, but not always the likeliest."""
    logits = size * normal(N, T, V, seed=seed, dtype=dtype)
    return logits, (logits + 2 * normal(N, T, V, seed=seed + 1, dtype=dtype)).argmax(dim=-1)


@lesson.exercise(
    cases={
        "equal logits": ([(torch.zeros(1, 3, 4), torch.tensor([[0, 3, 2]]))], 12),
        "two batches of equal logits": (
            [
                (torch.zeros(1, 2, 2), torch.tensor([[0, 1]])),
                (torch.zeros(2, 3, 2), torch.tensor([[1, 0, 1], [1, 1, 0]])),
            ],
            4,
        ),
        "one batch": ([_bits_batch(2, 3, 5, seed=10)], 20),
        "two batches of unequal size": ([_bits_batch(4, 3, 5, seed=20), _bits_batch(1, 3, 5, seed=22)], 31),
        "three batches, other lengths": (
            [_bits_batch(2, 5, 6, seed=30), _bits_batch(3, 4, 6, seed=32), _bits_batch(1, 2, 6, seed=34)],
            57.5,
        ),
        "a single position": ([_bits_batch(4, 1, 3, seed=40), _bits_batch(2, 1, 3, seed=42)], 9),
        "two tokens in the vocabulary": ([_bits_batch(3, 4, 2, seed=50)], 7),
        "as many positions as tokens": ([_bits_batch(2, 4, 4, seed=60), _bits_batch(5, 4, 4, seed=62)], 40),
        "all sizes equal": ([_bits_batch(3, 3, 3, seed=70), _bits_batch(3, 3, 3, seed=72)], 25),
        "sure, and often wrong": ([_bits_batch(2, 3, 4, seed=80, size=30.0)], 11),
        "float64 numbers": ([_bits_batch(3, 2, 5, seed=90, dtype=torch.float64)], 13),
    },
    hints=[
        'Add up first, divide last: `F.cross_entropy` with `reduction="sum"` gives the nats of one batch.',
        "It takes logits (M, V) and targets (M,): `logits.flatten(0, 1)` and `targets.flatten()` put all positions of "
        "a batch below each other.",
        "A bit is ln 2 nats. Sum over the batches, then `/ math.log(2) / characters`.",
    ],
)
def bits_per_character(batches, characters):
    """Return the cross-entropy of all targets together, in bits, divided by the number of characters they stand for.

    `batches` is a list of (logits, targets), logits (N, T, V), targets (N, T); `characters` is a number.
    """
    nats = sum(
        F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        for logits, targets in batches
    )
    return nats / math.log(2) / characters


def _bits_nats(logits, targets, reduction="sum"):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def _bits_attempt(
    cost=_bits_nats,
    over=lambda costs, batches: sum(costs),
    unit=lambda nats: nats / math.log(2),
    per=lambda bits, characters, batches: bits / characters,
):
    """Bits per character, with what can go wrong as arguments."""

    def attempt(batches, characters):
        costs = [cost(logits, targets) for logits, targets in batches]
        return per(unit(over(costs, batches)), characters, batches)

    return attempt


def _bits_tokens(batches):
    return sum(targets.numel() for _, targets in batches)


def _bits_probability(logits, targets, dim=-1):
    return logits.softmax(dim=dim).gather(-1, targets.unsqueeze(-1))


def _bits_mean_probability(batches):
    return torch.cat([_bits_probability(*batch).flatten() for batch in batches]).mean().item()


_BITS_COSTS = {
    "There is a softmax before `F.cross_entropy`, which applies its own. Give it the logits.": {
        "cost": lambda logits, targets: _bits_nats(logits.softmax(dim=-1), targets)
    },
    "The softmax goes over the positions, axis 1. The tokens of the vocabulary are the last axis: `dim=-1`.": {
        "cost": lambda logits, targets: -_bits_probability(logits, targets, dim=1).log().sum()
    },
    "The softmax goes over the sequences, axis 0. The tokens of the vocabulary are the last axis: `dim=-1`.": {
        "cost": lambda logits, targets: -_bits_probability(logits, targets, dim=0).log().sum()
    },
    "The logarithm is missing: probabilities are added up. `F.cross_entropy` takes logits and does it all, "
    "`F.nll_loss` needs `log_softmax`.": {
        "cost": lambda logits, targets: -_bits_probability(logits, targets).sum()
    },
    "`F.nll_loss` expects log-probabilities. With logits, take `F.cross_entropy`.": {
        "cost": lambda logits, targets: -logits.gather(-1, targets.unsqueeze(-1)).sum()
    },
    "The mean of each batch is what `F.cross_entropy` returns by default. For the cost of all targets take "
    '`reduction="sum"`.': {"cost": lambda logits, targets: _bits_nats(logits, targets, "mean")},
    "The mean of a batch is multiplied by its number of sequences N. It was a mean over N · T targets: take "
    '`reduction="sum"`.': {
        "cost": lambda logits, targets: _bits_nats(logits, targets, "mean") * len(targets)
    },
    "The mean of a batch is multiplied by its length T. It was a mean over N · T targets: take "
    '`reduction="sum"`.': {
        "cost": lambda logits, targets: _bits_nats(logits, targets, "mean") * targets.shape[1]
    },
    "The targets are shifted once more: `logits[:, :-1]` against `targets[:, 1:]`. They belong to their logits as they "
    "are, so use all positions.": {
        "cost": lambda logits, targets: _bits_nats(logits[:, :-1], targets[:, 1:])
    },
    "The last position of every sequence is left out. All targets count.": {
        "cost": lambda logits, targets: _bits_nats(logits[:, :-1], targets[:, :-1])
    },
    "The first position of every sequence is left out. All targets count.": {
        "cost": lambda logits, targets: _bits_nats(logits[:, 1:], targets[:, 1:])
    },
    "Only the last position of every sequence counts here. All targets do: `flatten(0, 1)` keeps them all.": {
        "cost": lambda logits, targets: _bits_nats(logits[:, -1:], targets[:, -1:])
    },
    "Only the first sequence of every batch counts here. All targets do: `flatten(0, 1)` keeps them all.": {
        "cost": lambda logits, targets: _bits_nats(logits[:1], targets[:1])
    },
    "Logits and targets are in different orders: one of them is transposed before it is flattened. Flatten both as "
    "they are: `logits.flatten(0, 1)`, `targets.flatten()`.": {
        "cost": lambda logits, targets: _bits_nats(logits.transpose(0, 1), targets)
    },
    "`reshape` to (N, V, T) tears the logits apart: it does not swap axes. Use `transpose(1, 2)`, or flatten N and T "
    "together.": {
        "cost": lambda logits, targets: F.cross_entropy(
            logits.reshape(len(logits), logits.shape[2], logits.shape[1]), targets, reduction="sum"
        )
    },
    "`F.cross_entropy` takes axis 1 for the vocabulary, and here that is time. Flatten to (N · T, V), or "
    "`logits.transpose(1, 2)`.": {
        "cost": lambda logits, targets: F.cross_entropy(logits, targets, reduction="sum")
    },
    "The targets are still (N, T) while the logits are (N · T, V). Flatten both: `targets.flatten()`.": {
        "cost": lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets, reduction="sum")
    },
    "The logits are still (N, T, V) while the targets are (N · T,). Flatten both: `logits.flatten(0, 1)`.": {
        "cost": lambda logits, targets: F.cross_entropy(logits, targets.flatten(), reduction="sum")
    },
    "`logits.flatten()` puts the vocabulary into the same row. Keep the last axis: `logits.flatten(0, 1)`, "
    "(N · T, V).": {
        "cost": lambda logits, targets: F.cross_entropy(logits.flatten(), targets.flatten(), reduction="sum")
    },
    "`logits.flatten(1)` keeps the sequences apart and mixes positions with the vocabulary. Flatten N and T: "
    "`logits.flatten(0, 1)`.": {
        "cost": lambda logits, targets: F.cross_entropy(logits.flatten(1), targets.flatten(), reduction="sum")
    },
    "These are the bits of what the model expected, the entropy of its predictions. Use the targets: "
    "`F.cross_entropy(logits, targets)`.": {
        "cost": lambda logits, targets: -(logits.softmax(-1) * logits.log_softmax(-1)).sum()
    },
    "The model's own best guesses serve as targets. Use the given targets.": {
        "cost": lambda logits, targets: _bits_nats(logits, logits.argmax(dim=-1))
    },
    "The arguments of `F.cross_entropy` are swapped: the logits come first, then the targets.": {
        "cost": lambda logits, targets: F.cross_entropy(
            targets.flatten(), logits.flatten(0, 1), reduction="sum"
        )
    },
}
_BITS_OVER = {
    "Only the last batch is counted. Add up the nats of all batches, `nats += …` from 0.": {
        "over": lambda costs, batches: costs[-1]
    },
    "Only the first batch is counted. Is the `return` inside the loop? Add up all batches first.": {
        "over": lambda costs, batches: costs[0]
    },
    "The total is divided by the number of batches as well. Add up all batches, then divide by `characters` "
    "alone.": {"over": lambda costs, batches: sum(costs) / len(costs)},
    "One number for each batch came back. Add them up: one number for all.": {
        "over": lambda costs, batches: torch.stack(costs)
    },
    "The costs of the batches are multiplied. Add them up.": {
        "over": lambda costs, batches: math.prod(costs)
    },
}
_BITS_UNITS = {
    "These are nats, the unit of `F.cross_entropy`. A bit is ln 2 nats: divide by `math.log(2)`.": {
        "unit": lambda nats: nats
    },
    "The nats are multiplied by ln 2. A bit is ln 2 = 0.69 nats, so there are more bits than nats: divide.": {
        "unit": lambda nats: nats * math.log(2)
    },
    "Division by ln 10 gives decimal digits. Bits belong to base 2: divide by `math.log(2)`.": {
        "unit": lambda nats: nats / math.log(10)
    },
    "Nats are divided by 2. A bit is ln 2 nats: divide by `math.log(2)`.": {"unit": lambda nats: nats / 2},
    "The logarithm of the nats is taken. They are logarithms already: divide by `math.log(2)` for bits.": {
        "unit": lambda nats: torch.as_tensor(nats).log2()
    },
    "The sign is the opposite one. The cost is minus the log of the probability (`F.cross_entropy` has this minus in "
    "it).": {"unit": lambda nats: -nats / math.log(2)},
    "The sign is the opposite one, and these are nats. The cost is minus the log of the probability "
    "(`F.cross_entropy` has this minus in it); divide it by `math.log(2)`.": {"unit": lambda nats: -nats},
    "ln 2 divides twice. Once is enough.": {"unit": lambda nats: nats / math.log(2) ** 2},
    "`math.log10(2)` belongs to base 10, but the cross-entropy is in natural logarithms. Divide by `math.log(2)`.": {
        "unit": lambda nats: nats / math.log10(2)
    },
}
_BITS_PER = {
    "These are bits per token. Divide by the number of characters, `characters`, not of targets.": {
        "per": lambda bits, characters, batches: bits / _bits_tokens(batches)
    },
    "These are the bits of the whole text. Divide them by `characters`.": {
        "per": lambda bits, characters, batches: bits
    },
    "The bits are multiplied by the characters. Divide by them.": {
        "per": lambda bits, characters, batches: bits * characters
    },
    "These are characters per bit. Turn the quotient round: bits over characters.": {
        "per": lambda bits, characters, batches: characters / bits
    },
    "The bits are divided by the number of targets and by `characters`. Divide by `characters` alone.": {
        "per": lambda bits, characters, batches: bits / _bits_tokens(batches) / characters
    },
    "These are bits per token times characters. Divide the bits of all targets by `characters`.": {
        "per": lambda bits, characters, batches: bits / _bits_tokens(batches) * characters
    },
    "This is a perplexity per character, 2 to the power of bits or e to the power of nats. Return the bits.": {
        "per": lambda bits, characters, batches: 2 ** (bits / characters)
    },
    "This is the perplexity per token. Return bits, divided by `characters`.": {
        "per": lambda bits, characters, batches: 2 ** (bits / _bits_tokens(batches))
    },
    "This is the perplexity per token, divided by `characters`. Return bits, divided by `characters`.": {
        "per": lambda bits, characters, batches: 2 ** (bits / _bits_tokens(batches)) / characters
    },
    "The bits are divided by the number of sequences. Divide by `characters`.": {
        "per": lambda bits, characters, batches: bits / sum(len(targets) for _, targets in batches)
    },
    "The bits are divided by the number of batches. Divide by `characters`.": {
        "per": lambda bits, characters, batches: bits / len(batches)
    },
    "`//` cuts the result down to a whole number. Divide with `/`.": {
        "per": lambda bits, characters, batches: bits // characters
    },
    "The result is rounded to two digits. Return it as it is.": {
        "per": lambda bits, characters, batches: round(float(bits / characters), 2)
    },
    "The bits come back with something else. Return bits per character alone, one number.": {
        "per": lambda bits, characters, batches: (bits / characters, bits)
    },
}
_BITS_MEAN = {"cost": lambda logits, targets: _bits_nats(logits, targets, "mean")}
_BITS_MEANS = {**_BITS_MEAN, "over": lambda costs, batches: sum(costs) / len(costs)}
_BITS_TWO_UNITS = {
    "the result is in nats, not divided by `math.log(2)`": {"unit": lambda nats: nats},
    "nats are multiplied by ln 2 instead of divided": {"unit": lambda nats: nats * math.log(2)},
}
_BITS_TWO_TOTALS = {
    "`characters` does not divide": {"per": lambda bits, characters, batches: bits},
    "the number of targets divides instead of `characters`": {
        "per": lambda bits, characters, batches: bits / _bits_tokens(batches)
    },
    "`characters` multiplies instead of dividing": {
        "per": lambda bits, characters, batches: bits * characters
    },
    "the quotient is upside down": {"per": lambda bits, characters, batches: characters / bits},
    "only the last batch counts": {"over": lambda costs, batches: costs[-1]},
    "only the first batch counts": {"over": lambda costs, batches: costs[0]},
}
_BITS_TWO_COSTS = {
    "there is a softmax before `F.cross_entropy`": {
        "cost": lambda logits, targets: _bits_nats(logits.softmax(dim=-1), targets)
    },
    'the mean of each batch is taken, where `reduction="sum"` belongs': {
        "cost": lambda logits, targets: _bits_nats(logits, targets, "mean")
    },
    "the targets are shifted once more": {
        "cost": lambda logits, targets: _bits_nats(logits[:, :-1], targets[:, 1:])
    },
}
bits_per_character.pairs_of_slips(
    _bits_attempt, _BITS_TWO_COSTS, _BITS_TWO_UNITS, words="Two slips: {}, and {}."
)
bits_per_character.pairs_of_slips(
    _bits_attempt, _BITS_TWO_UNITS, _BITS_TWO_TOTALS, words="Two slips: {}, and {}."
)
bits_per_character.slips(_bits_attempt, _BITS_COSTS, _BITS_OVER, _BITS_UNITS, _BITS_PER)
bits_per_character.mistakes(
    {
        "These are bits per token, as a mean over the means of the batches, where small batches count too much. Add up "
        'all targets with `reduction="sum"`, then divide by `characters`.': _bits_attempt(
            **_BITS_MEANS, per=lambda bits, characters, batches: bits
        ),
        "These are nats per token, as a mean over the means of the batches. Add up all targets with "
        '`reduction="sum"`, then divide by `math.log(2)` and by `characters`.': _bits_attempt(
            **_BITS_MEANS, unit=lambda nats: nats, per=lambda bits, characters, batches: bits
        ),
        "The means of the batches are averaged, and divided by `characters` as well. Add up all targets with "
        '`reduction="sum"`, then divide.': _bits_attempt(**_BITS_MEANS),
        "The means of the batches are averaged, and divided by `characters`, in nats. Add up all targets with "
        '`reduction="sum"`, then divide by `math.log(2)` and `characters`.': _bits_attempt(
            **_BITS_MEANS, unit=lambda nats: nats
        ),
        'The mean of each batch is added up, as bits per token. Take `reduction="sum"`, and divide by '
        "`characters`.": _bits_attempt(**_BITS_MEAN, per=lambda bits, characters, batches: bits),
        "The log of a mean is not the mean of the logs: take the log of each probability first.": [
            lambda batches, characters: (
                -math.log2(_bits_mean_probability(batches)) * _bits_tokens(batches) / characters
            ),
            lambda batches, characters: -math.log2(_bits_mean_probability(batches)) / characters,
            lambda batches, characters: -math.log2(_bits_mean_probability(batches)),
            _bits_attempt(
                cost=lambda logits, targets: (
                    -_bits_probability(logits, targets).mean().log() * targets.numel()
                )
            ),
        ],
        "This is a perplexity made with 2 to the power of nats. Return bits per character: divide by `math.log(2)`, "
        "without a power.": _bits_attempt(
            unit=lambda nats: nats, per=lambda nats, characters, batches: 2 ** (nats / characters)
        ),
        "A list came back, one number for each batch. Add them up: one number for all.": lambda batches, characters: [
            _bits_nats(logits, targets) / math.log(2) / characters for logits, targets in batches
        ],
        'With `reduction="none"` each batch gives as many costs as targets, and batches of unequal size do not add up. '
        'Take `reduction="sum"`.': lambda batches, characters: (
            sum(_bits_nats(logits, targets, "none") for logits, targets in batches).sum()
            / math.log(2)
            / characters
        ),
        "This is the accuracy, the fraction of targets that were guessed. Return the cross-entropy in bits per "
        "character.": lambda batches, characters: (
            sum((logits.argmax(dim=-1) == targets).sum() for logits, targets in batches)
            / _bits_tokens(batches)
        ),
        "`characters` divides inside the loop, after the batches so far are added up, so early batches are divided "
        "again and again. Divide once, at the end.": lambda batches, characters: _bits_divided_within(
            batches, characters
        ),
        "ln 2 divides inside the loop, after the batches so far are added up, so early batches are divided again and "
        "again. Divide once, at the end.": lambda batches, characters: _bits_converted_within(
            batches, characters
        ),
        "`torch.cat` needs batches of the same length T. Flatten each of them first, or add up their "
        "costs.": lambda batches, characters: (
            _bits_nats(
                torch.cat([logits for logits, _ in batches]), torch.cat([targets for _, targets in batches])
            )
            / math.log(2)
            / characters
        ),
        "`torch.stack` needs batches of the same size. Add up their costs in a loop.": lambda batches, characters: (
            _bits_nats(
                torch.stack([logits for logits, _ in batches]).flatten(0, 1),
                torch.stack([targets for _, targets in batches]).flatten(0, 1),
            )
            / math.log(2)
            / characters
        ),
        "`batches` is a list of pairs. Loop over it: `for logits, targets in batches`.": lambda batches, characters: (
            _bits_nats(batches[0], batches[1]) / math.log(2) / characters
        ),
        "The bits are multiplied by the characters. Divide by them.": {"/ characters": "* characters"},
    }
)


def _bits_divided_within(batches, characters):
    bits = 0
    for logits, targets in batches:
        bits = (bits + _bits_nats(logits, targets) / math.log(2)) / characters
    return bits


def _bits_converted_within(batches, characters):
    bits = 0
    for logits, targets in batches:
        bits = (bits + _bits_nats(logits, targets)) / math.log(2)
    return bits / characters


# Section 11: positions ----------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "two columns": (3, 2, 10_000.0),
        "position 0 alone": (1, 4, 10_000.0),
        "two frequencies, base 4": (3, 4, 4.0),
        "half as many rows as columns": (2, 4, 16.0),
        "as many rows as columns": (4, 4, 10_000.0),
        "three frequencies, base 100": (5, 6, 100.0),
        "three rows, six columns": (3, 6, 27.0),
        "base 2": (6, 8, 2.0),
        "eight columns": (7, 8, 10_000.0),
    },
    hints=[
        "There are d/2 frequencies, and each fills two columns: its sine, then its cosine. Begin with the angles, "
        "(T, d/2).",
        "`torch.arange(T)[:, None]` is a column of rows t, `base ** (-torch.arange(0, d, 2) / d)` holds the "
        "frequencies. Their product is (T, d/2).",
        "`torch.stack([angles.sin(), angles.cos()], dim=-1)` is (T, d/2, 2), and `.flatten(1)` puts the pairs side by "
        "side.",
    ],
)
def sinusoidal(T, d, base=10_000.0):
    """Return positions (T, d): sin(t / base^(i/d)) in column i = 0, 2, 4, …, the cosine of the same angle in i + 1.

    t is the row, from 0; d is even.
    """
    angles = torch.arange(T)[:, None] * base ** (-torch.arange(0, d, 2) / d)  # (T, d/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _sinusoidal_attempt(
    rows=torch.arange,
    exponents=lambda d, T: torch.arange(0, d, 2) / d,
    frequencies=lambda base, exponents: base**-exponents,
    angles=lambda t, frequencies: t[:, None] * frequencies,
    columns=lambda angles: torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1),
):
    """The positions, with what can go wrong as arguments."""

    def attempt(T, d, base):
        return columns(angles(rows(T), frequencies(base, exponents(d, T))))

    return attempt


def _sinusoidal_power(T, d, base, brackets):
    t, i = torch.arange(T)[:, None], torch.arange(0, d, 2)
    angles = brackets(t, i, d, base)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _sinusoidal_each(T, d, base, first=torch.sin, second=torch.cos, shift=0):
    """Every column with an exponent of its own."""
    angles = torch.arange(T)[:, None] * base ** (-(torch.arange(d) + shift) / d)
    return torch.where(torch.arange(d) % 2 == 0, first(angles), second(angles))


def _sinusoidal_doubled(T, d, base):
    """Every column with an exponent of its own, 2i/d."""
    return _sinusoidal_each(T, d, base**2)


def _sinusoidal_cut(T, d, base, filled):
    """Zeros but for the columns of a loop that ends too early."""
    positions = torch.zeros(T, d)
    for i in filled:
        positions[:, i : i + 2] = sinusoidal.reference(T, d, base)[:, i : i + 2]
    return positions


def _sinusoidal_past_the_end(T, d, base):
    positions = torch.zeros(T, d)
    for i in range(d):
        positions[:, i] = (torch.arange(T) / base ** (i / d)).sin()
        positions[:, i + 1] = (torch.arange(T) / base ** (i / d)).cos()
    return positions


def _sinusoidal_by_rows(T, d, base):
    angles = torch.arange(T)[:, None] * base ** (-torch.arange(0, d, 2) / d).repeat_interleave(2)
    return torch.where(torch.arange(T)[:, None] % 2 == 0, angles.sin(), angles.cos())


def _sinusoidal_into_rows(T, d, base):
    angles, positions = torch.arange(T)[:, None] / base ** (torch.arange(0, d, 2) / d), torch.zeros(T, d)
    positions[0::2], positions[1::2] = angles.sin(), angles.cos()
    return positions


_SINUSOIDAL_ROWS = {
    "The rows count from 1 here. t begins with 0: `torch.arange(T)`.": {
        "rows": lambda T: torch.arange(1, T + 1)
    },
    "There is a row too many: t runs from 0 to T − 1, `torch.arange(T)`.": {
        "rows": lambda T: torch.arange(T + 1)
    },
    "The last row is missing: t runs from 0 to T − 1, `torch.arange(T)`.": {
        "rows": lambda T: torch.arange(T - 1)
    },
    "t is divided by T, so its meaning depends on the length. Take t itself: `torch.arange(T)`.": {
        "rows": lambda T: torch.arange(T) / T
    },
    "t is brought between 0 and 1, so its meaning depends on the length. Take t itself: `torch.arange(T)`.": {
        "rows": lambda T: torch.linspace(0, 1, T)
    },
    "`torch.linspace(0, T, T)` ends with T, in steps larger than 1. Take `torch.arange(T)`.": {
        "rows": lambda T: torch.linspace(0, T, T)
    },
    "The rows are in reverse: row 0 has t = 0.": {"rows": lambda T: torch.arange(T).flip(0)},
    "t runs through 0, 2, 4, …, as i does. The rows are all integers: `torch.arange(T)`.": {
        "rows": lambda T: torch.arange(0, 2 * T, 2)
    },
}
_SINUSOIDAL_EXPONENTS = {
    "The exponents are half as large as they should be: frequency k = 0, 1, 2, … has 2k/d. With `torch.arange(0, d, "
    "2)` i counts columns.": {"exponents": lambda d, T: torch.arange(d // 2) / d},
    "The exponents are twice as large as they should be: i runs through 0, 2, 4, … already, so it is i/d, not "
    "2i/d.": {"exponents": lambda d, T: 2 * torch.arange(0, d, 2) / d},
    "The exponents run up to 1, as k/(d/2 − 1) does in some libraries, and for d = 2 that is 0/0. Here it is i/d, "
    "below 1.": {"exponents": lambda d, T: torch.arange(d // 2) / (d // 2 - 1)},
    "The exponents are those of the cosine's columns, (i + 1)/d. The angle belongs to the even i: "
    "`torch.arange(0, d, 2) / d`.": {"exponents": lambda d, T: torch.arange(1, d, 2) / d},
    "The exponents begin with 2/d, one frequency late. The first is 0: `torch.arange(0, d, 2) / d`.": {
        "exponents": lambda d, T: torch.arange(2, d + 2, 2) / d
    },
    "`//` cuts every i/d down to 0, so all frequencies are 1. Divide with `/`.": {
        "exponents": lambda d, T: torch.arange(0, d, 2) // d
    },
    "The exponents are i itself. Divide by d: i/d.": {"exponents": lambda d, T: torch.arange(0, d, 2) / 1},
    "The exponents are divided by the number of rows T. Divide by d: i/d.": {
        "exponents": lambda d, T: torch.arange(0, d, 2) / T
    },
    "The exponents are in reverse order. The first columns have exponent 0.": {
        "exponents": lambda d, T: torch.arange(0, d, 2).flip(0) / d
    },
    "The exponents are divided by d − 1. Divide by d: i/d.": {
        "exponents": lambda d, T: torch.arange(0, d, 2) / (d - 1)
    },
}
_SINUSOIDAL_FREQUENCIES = {
    "t is multiplied by base^(i/d). Divide by it: the exponent is −i/d, and the frequencies fall from column to "
    "column.": {"frequencies": lambda base, exponents: base**exponents},
    "base is 10,000 here whatever the caller says. Use the argument `base`.": {
        "frequencies": lambda base, exponents: 10_000.0**-exponents
    },
    "The power has base e: base does not enter. Write `base ** (-i / d)`, or `exp(-i / d * log(base))`.": {
        "frequencies": lambda base, exponents: (-exponents).exp()
    },
    "`exp` goes with the natural logarithm of base, not with log10. Or write `base ** (-i / d)`.": {
        "frequencies": lambda base, exponents: (-exponents * math.log10(base)).exp()
    },
    "The angles are multiplied by 2π. They are t / base^(i/d), in radians.": {
        "frequencies": lambda base, exponents: 2 * math.pi * base**-exponents
    },
    "The angles are multiplied by π. They are t / base^(i/d), in radians.": {
        "frequencies": lambda base, exponents: math.pi * base**-exponents
    },
    "The angles are divided by 2π. They are t / base^(i/d), in radians.": {
        "frequencies": lambda base, exponents: base**-exponents / (2 * math.pi)
    },
    "The angles are taken for degrees and multiplied by π/180. `sin` takes radians, as they are.": {
        "frequencies": lambda base, exponents: torch.deg2rad(base**-exponents)
    },
    "The angles are turned into degrees. `sin` takes radians: leave them as they are.": {
        "frequencies": lambda base, exponents: torch.rad2deg(base**-exponents)
    },
    "t is divided by base · i/d, a product. It is a power, `base ** (i / d)`.": {
        "frequencies": lambda base, exponents: 1 / (base * exponents)
    },
    "base and exponent are swapped: it is base to the power i/d, not i/d to the power base.": {
        "frequencies": lambda base, exponents: 1 / exponents**base
    },
}
_SINUSOIDAL_ANGLES = {
    "t needs an axis for the frequencies: (T,) times (d/2,) does not give all pairs. `torch.arange(T)[:, None]` is "
    "(T, 1).": {"angles": lambda t, frequencies: t * frequencies},
    "The angles are (d/2, T): rows and columns are swapped. t is the row: `torch.arange(T)[:, None] * "
    "frequencies`.": {"angles": lambda t, frequencies: frequencies[:, None] * t},
    "Frequencies are added to t. Multiply.": {"angles": lambda t, frequencies: t[:, None] + frequencies},
    "t does not enter, all rows are alike. Multiply the frequencies by `torch.arange(T)[:, None]`.": {
        "angles": lambda t, frequencies: 0 * t[:, None] + frequencies
    },
}
_SINUSOIDAL_COLUMNS = {
    "All sines stand on the left and all cosines on the right, another convention. Here they alternate: sine in column "
    "i, cosine in i + 1.": {"columns": lambda angles: torch.cat([angles.sin(), angles.cos()], dim=1)},
    "All cosines stand on the left and all sines on the right. Here they alternate, the sine first.": {
        "columns": lambda angles: torch.cat([angles.cos(), angles.sin()], dim=1)
    },
    "Sine and cosine are swapped: the sine goes into column i, i even, the cosine into i + 1.": {
        "columns": lambda angles: torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1)
    },
    "There are sines in all columns. Column i + 1 holds the cosine.": {
        "columns": lambda angles: angles.sin().repeat_interleave(2, dim=1)
    },
    "There are cosines in all columns. Column i holds the sine.": {
        "columns": lambda angles: angles.cos().repeat_interleave(2, dim=1)
    },
    "Only the sines came back, (T, d/2). Put the cosines between them.": {
        "columns": lambda angles: angles.sin()
    },
    "Only the cosines came back, (T, d/2). Put the sines between them.": {
        "columns": lambda angles: angles.cos()
    },
    "Only the even columns are filled, the others are 0. The cosine of the same angle goes into i + 1.": {
        "columns": lambda angles: torch.stack([angles.sin(), 0 * angles], dim=-1).flatten(1)
    },
    "Only the odd columns are filled, the others are 0. The sine goes into column i.": {
        "columns": lambda angles: torch.stack([0 * angles, angles.cos()], dim=-1).flatten(1)
    },
    "These are the angles. Take their sine and cosine.": {"columns": lambda angles: angles},
    "These are the angles, each twice. Take the sine in even columns, the cosine in odd ones.": {
        "columns": lambda angles: angles.repeat_interleave(2, dim=1)
    },
    "Sine and cosine are still on an axis of their own, (T, d/2, 2). `.flatten(1)` puts the pairs side by side.": {
        "columns": lambda angles: torch.stack([angles.sin(), angles.cos()], dim=-1)
    },
    "The result is transposed, (d, T). Position t is a row.": {
        "columns": lambda angles: torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).T
    },
    "`cat` along axis 0 puts the cosines below the sines. Stack them along a last axis, then `.flatten(1)`.": {
        "columns": lambda angles: torch.cat([angles.sin(), angles.cos()])
    },
    "There is an axis of size 1 in front, for a batch. Return (T, d).": {
        "columns": lambda angles: torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).unsqueeze(0)
    },
    "All numbers stand in one row. `.flatten(1)` keeps the rows, (T, d).": {
        "columns": lambda angles: torch.stack([angles.sin(), angles.cos()], dim=-1).flatten()
    },
    "Sines and cosines came back as a pair. Make one tensor of them, (T, d), with the columns alternating.": {
        "columns": lambda angles: (angles.sin(), angles.cos())
    },
    "Sine and cosine are added. Each has a column of its own.": {
        "columns": lambda angles: angles.sin() + angles.cos()
    },
    "The sine is applied first, and the cosine to what comes out. Both take the angle.": {
        "columns": lambda angles: torch.stack([angles.sin(), angles.sin().cos()], dim=-1).flatten(1)
    },
    "The cosine has the opposite sign. It is the cosine of the angle itself.": {
        "columns": lambda angles: torch.stack([angles.sin(), -angles.cos()], dim=-1).flatten(1)
    },
    "The sine has the opposite sign: the angle is t / base^(i/d), without a minus.": {
        "columns": lambda angles: torch.stack([-angles.sin(), angles.cos()], dim=-1).flatten(1)
    },
}
sinusoidal.pairs_of_slips(
    _sinusoidal_attempt,
    {
        "the exponents are half as large as they should be": {
            "exponents": lambda d, T: torch.arange(d // 2) / d
        },
        "the exponents are twice as large as they should be": {
            "exponents": lambda d, T: 2 * torch.arange(0, d, 2) / d
        },
        "the exponents run up to 1 (divide by d, not by d − 2)": {
            "exponents": lambda d, T: torch.arange(d // 2) / (d // 2 - 1)
        },
        "t is multiplied by base^(i/d), not divided": {
            "frequencies": lambda base, exponents: base**exponents
        },
        "base is 10,000 whatever the caller says": {
            "frequencies": lambda base, exponents: 10_000.0**-exponents
        },
        "the rows count from 1": {"rows": lambda T: torch.arange(1, T + 1)},
    },
    {
        "sines and cosines stand in two halves instead of alternating": {
            "columns": lambda angles: torch.cat([angles.sin(), angles.cos()], dim=1)
        },
        "the cosine comes before the sine": {
            "columns": lambda angles: torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1)
        },
    },
    words="Two slips: {}, and {}.",
)
sinusoidal.slips(
    _sinusoidal_attempt,
    _SINUSOIDAL_ROWS,
    _SINUSOIDAL_EXPONENTS,
    _SINUSOIDAL_FREQUENCIES,
    _SINUSOIDAL_ANGLES,
    _SINUSOIDAL_COLUMNS,
)
sinusoidal.mistakes(
    {
        "Every column has an exponent of its own, so the cosine gets another angle than its sine. Columns i and i + 1 "
        "share i/d, i even.": _sinusoidal_each,
        "Every column has an exponent of its own, counted from 1. Columns i and i + 1 share i/d, i even, from 0.": (
            lambda T, d, base: _sinusoidal_each(T, d, base, shift=1)
        ),
        "Every column has an exponent of its own, and all columns are sines. Columns i and i + 1 share the angle, sine "
        "first, then cosine.": lambda T, d, base: _sinusoidal_each(T, d, base, second=torch.sin),
        "Every column has an exponent of its own, and the cosine comes first. Columns i and i + 1 share the angle, "
        "sine first, then cosine.": lambda T, d, base: _sinusoidal_each(T, d, base, torch.cos, torch.sin),
        "The exponent of column i is twice i/d, for i = 0, 1, 2, …, so the cosine gets another angle than its sine. "
        "Columns i and i + 1 share i/d, i even.": _sinusoidal_doubled,
        "Even rows are sines here, and odd rows cosines. It is the columns that alternate: `positions[:, 0::2]` and "
        "`positions[:, 1::2]`.": [_sinusoidal_by_rows, _sinusoidal_into_rows],
        "`base ** i / d` is (base^i) / d: powers come first. Put brackets around the exponent: `base ** (i / d)`.": [
            lambda T, d, base: _sinusoidal_power(T, d, base, lambda t, i, d, base: t / (base**i / d)),
        ],
        "Without brackets the power comes first, base^i, and then d divides. Write `base ** (i / d)`.": [
            lambda T, d, base: _sinusoidal_power(T, d, base, lambda t, i, d, base: t / base**i / d),
        ],
        "base and exponent are multiplied. It is a power, `base ** (i / d)`.": [
            lambda T, d, base: _sinusoidal_power(
                T, d, base, lambda t, i, d, base: t / (base * i.clamp(min=1) / d)
            ),
            lambda T, d, base: _sinusoidal_power(T, d, base, lambda t, i, d, base: t / (base * (i + 1) / d)),
            lambda T, d, base: _sinusoidal_power(T, d, base, lambda t, i, d, base: t * base * i / d),
            lambda T, d, base: _sinusoidal_power(T, d, base, lambda t, i, d, base: -t * base * i / d),
        ],
        "The exponents run up to 1, as `linspace` makes them. They are i/d, below 1: `torch.arange(0, d, 2) / d`.": [
            _sinusoidal_attempt(exponents=lambda d, T: torch.linspace(0, 1, d // 2)),
        ],
        "i runs through all columns, and i + 1 past the last one. Take every second: `range(0, d, 2)`.": [
            _sinusoidal_past_the_end,
        ],
        "t / base is raised to the power i/d. The power belongs to base alone: `t / base ** (i / d)`.": [
            lambda T, d, base: _sinusoidal_power(T, d, base, lambda t, i, d, base: (t / base) ** (i / d)),
        ],
        "Sines and cosines are stacked along axis 0. Stack along the last, `dim=-1`, then `.flatten(1)`.": {
            "dim=-1": "dim=0"
        },
        "Row 0 stays all 0. Position 0 has a row like the others: sin 0 = 0 and cos 0 = 1, so let t begin with "
        "0.": lambda T, d, base: sinusoidal.reference(T, d, base) * (torch.arange(T)[:, None] > 0),
        "The last row stays all 0. t runs from 0 to T − 1: `range(T)`.": lambda T, d, base: (
            sinusoidal.reference(T, d, base) * (torch.arange(T)[:, None] < T - 1)
        ),
        "The last columns stay 0: the loop over columns i = 0, 2, 4, … ends before d. Write `range(0, d, 2)`.": [
            lambda T, d, base: _sinusoidal_cut(T, d, base, range(0, d // 2, 2)),
            lambda T, d, base: _sinusoidal_cut(T, d, base, range(0, d - 2, 2)),
        ],
    }
)


# Section 16: the quiz -----------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "For `equal_keys` and `two_places`: what does the softmax make of equal scores, and what can tell two places "
        "apart? For `more_heads`: which shapes have the four weight matrices?",
        "For `tiny_loss`: large models need about 0.6 to 1 bit per character. For `twice_as_long`: scores belong to "
        "pairs of tokens. For `which_unit`: what stays the same when the tokenizer changes?",
        "For `map_as_reason`: weights say what was mixed, not what the rest of the network made of it. For "
        "`jet_as_sentence`: which of the three makes the order count, and which only hides empty rows?",
    ],
    equal_keys=Question(
        "b",
        "Every query has the same score with every key, so the softmax over the keys gives each value the same weight.",
        {
            "a": "The weights of a softmax add up to 1. The output is 0 only if the mean of the values happens to be.",
            "c": "The softmax prefers a larger score, and here none is larger. It does not look at the order.",
            "d": "Weights depend on queries and keys, not on how large a value is.",
        },
    ),
    more_heads=Question(
        "c",
        "Each head is half as wide, 8 in place of 16. Together the heads still fill d = 64, and the matrices stay "
        "(64, 64).",
        {
            "a": "Only if every head kept its 16 numbers. The heads share d = 64: 8 heads of 8.",
            "b": "A head is half as wide, but there are twice as many.",
            "d": "All four matrices, for query, key, value and output, stay (64, 64), however d is shared out.",
        },
    ),
    tiny_loss=Question(
        "c",
        "0.1 bits per character is far below what text allows: large models need about 0.6 to 1. Most likely some "
        "position sees the token it is to predict.",
        {
            "a": "Large models need about 0.6 to 1 bit per character. Far better than that within a minute is a leak.",
            "b": "Overfitting shows in a gap: low on the training text, high on held-out text. Here held-out text is "
            "low.",
            "d": "Too small a learning rate leaves the loss high.",
        },
    ),
    twice_as_long=Question(
        "b",
        "The scores belong to pairs of tokens, T², the MLP works on each token alone, T.",
        {
            "a": "Each of twice as many queries meets twice as many keys: four times the scores.",
            "c": "The other way round: pairs of tokens are in the scores, the MLP takes one token at a time.",
            "d": "The MLP takes one token at a time: twice the tokens, twice the cost.",
        },
    ),
    which_unit=Question(
        "d",
        "A text has the same number of characters for both models, whatever their tokens are.",
        {
            "a": "A tokenizer with long tokens has fewer of them, each harder to guess. The loss per token rises "
            "though the text costs the same.",
            "b": "It is the exponential of the loss per token, and depends on the tokens in the same way.",
            "c": "Guessing the next letter is easier than guessing the next word. The tokens differ, so the accuracies "
            "cannot be compared.",
        },
    ),
    map_as_reason=Question(
        "b",
        "The output of this head is the weighted sum of the values, and 0.9 of the weight is on this one. How much it "
        "adds depends on the value, too: one near 0 adds little.",
        {
            "a": "The map shows one head in one layer. Other heads, the residual path and the MLPs add to the answer.",
            "c": "Only an experiment can tell: change or remove the token, and see whether the answer changes.",
            "d": "A large weight is no rule of grammar. Such a claim needs many sentences, and a test against chance.",
        },
    ),
    jet_as_sentence=Question(
        "c",
        "Without positions attention treats the particles as a set. The padding mask keeps the empty rows out of the "
        "softmax.",
        {
            "a": "Positions make the answer depend on the order, and a causal mask hides the particles that come later "
            "in it.",
            "b": "Positions make the answer depend on an order that means nothing, and without a mask padding would "
            "count.",
            "d": "A causal mask lets a particle see only those before it in a list whose order means nothing.",
        },
    ),
    two_places=Question(
        "a",
        "The same query meets the same keys and values, whichever place it has: equal weights, equal outputs, in every "
        "layer.",
        {
            "b": "Without a mask both see the whole sequence, themselves included, and without positions nobody is "
            "next to anybody.",
            "c": "All places share the same weights, random or trained.",
            "d": "Equal outputs of the first layer are equal inputs of the second, and so on through all layers.",
        },
    ),
)


# At home: a transformer that sees digits ----------------------------------------------------------------------


_VISION_TILES = ((7, 7), (4, 4), (14, 14), (2, 2), (1, 28), (28, 1))  # of which 28 x 28 pixels can be made up


def _vision_digits_kept_back():
    """1,000 test digits, of the data that the lesson trains on."""
    with contextlib.redirect_stdout(io.StringIO()):
        kept = data.mnist().test
    return data.Split(kept.x[:1000], kept.y[:1000])


def _vision_scores(logits, labels):
    return {"accuracy": (logits.argmax(dim=1) == labels).float().mean().item()}


def _vision_right(model, digits):
    return (model(digits.x).argmax(dim=1) == digits.y).float().mean()


def _vision_shuffled(x, height, width):
    """The same digits cut into tiles, which are put together in another order."""
    tiles = F.unfold(x, (height, width), stride=(height, width))  # (N, pixels of a tile, tiles)
    order = torch.randperm(tiles.shape[2], generator=torch.Generator().manual_seed(10)).to(x.device)
    return F.fold(tiles[:, :, order], x.shape[2:], (height, width), stride=(height, width))


def _vision_same_in_any_order(model, x):
    """Tiles whose order the model does not notice, None if there are none."""
    before = model(x)
    rounding = 1e-3 * before.std(dim=0).max().item()  # logits of an untrained network hardly differ
    for height, width in _VISION_TILES:
        if torch.allclose(model(_vision_shuffled(x, height, width)), before, rtol=0, atol=rounding):
            return height, width
    return None


def _vision_alone(model, x):
    return torch.cat([model(one) for one in x.split(1)])


class _VisionExercise(ModelExercise):
    """A trained model that must notice the order of the patches and no other image, whatever its score."""

    def _verdict_on(self, model, split):
        try:
            _vision_alone(model, split.x[:1])
        except Exception as error:  # a `squeeze` that takes away the batch, for instance
            return self._raised(error, "It was given a single digit, x of shape (1, 1, 28, 28).")
        return super()._verdict_on(model, split)


def _vision_exercise(**options):
    """Decorate the solution of `vision_transformer`."""
    return lambda solution: _VisionExercise(
        solution, attempt="reader", held_out=_vision_digits_kept_back, **options
    )


@_vision_exercise(
    score=_vision_scores,
    floors={"accuracy": 0.9},
    hints=[
        "`F.unfold(x, kernel_size=7, stride=7).transpose(1, 2)` cuts digits into 16 patches, (N, 16, 49). A linear "
        "layer makes vectors of d = 64 of them. How is the network to know where each patch was?",
        "Add `nn.Parameter(0.02 * torch.randn(16, 64))` to the patches. Then two times "
        "`nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True)`.",
        "End with the mean over the patches, layer norm and a linear layer to 10. Train 12 epochs with AdamW and "
        "`OneCycleLR(optimizer, max_lr=3e-3, total_steps=…)`, batches of 64.",
    ],
)
def vision_transformer(train_digits, valid_digits):
    """Return a transformer from digits x (N, 1, 28, 28) to logits (N, 10), trained.

    It cuts a digit into patches, and its answer must depend on where they are.
    """

    class VisionTransformer(nn.Module):
        def __init__(self, d, layers):
            super().__init__()
            self.embed = nn.Linear(49, d)
            self.positions = nn.Parameter(0.02 * torch.randn(16, d))
            self.blocks = nn.Sequential(
                *(
                    nn.TransformerEncoderLayer(d, 4, 2 * d, dropout=0.0, batch_first=True, norm_first=True)
                    for _ in range(layers)
                )
            )
            self.end = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

        def forward(self, x):
            patches = F.unfold(x, kernel_size=7, stride=7).transpose(1, 2)  # (N, 16, 49)
            h = self.blocks(self.embed(patches) + self.positions)
            return self.end(h.mean(dim=1))

    torch.manual_seed(0)
    net, epochs = VisionTransformer(64, layers=2).to(train_digits.x.device), 12
    batches = train_digits.batches(64, shuffle=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=epochs * len(batches))
    train.fit(
        net, batches, valid_digits.batches(500), epochs=epochs, optimizer=optimizer, scheduler=scheduler
    )
    return net


lesson.add(vision_transformer)


def _vision_is_random(model, digits):
    return not torch.allclose(model(digits.x[:50]), model(digits.x[:50]), rtol=1e-3, atol=1e-3)


def _vision_sees_others(model, digits):
    together = model(digits.x[:100])
    return not torch.allclose(_vision_alone(model, digits.x[:8]), together[:8], rtol=1e-2, atol=1e-2)


def _vision_has_no_positions(model, digits):
    return _vision_same_in_any_order(model, digits.x[:100]) is not None


def _vision_is_constant(model, digits):
    return model(digits.x).argmax(dim=1).bincount(minlength=10).max() > 0.9 * len(digits)


_VISION_ALWAYS = {
    "It predicts one digit for nearly every image. Did `fit` run on the model that you returned, with an optimizer of "
    "its parameters, or was the learning rate too high?": _vision_is_constant,
    "The same digits get different logits at every call: dropout or augmentation is still active in eval mode. Make it "
    "depend on `self.training`.": _vision_is_random,
    "Its answer depends on the other digits of the batch. Attention has to run over the patches: is `batch_first=True` "
    "set, and is the mean taken over the patches, axis 1?": _vision_sees_others,
    "No positions: shuffle the patches of a digit, and its logits stay the same. Add a vector for each place, such as "
    "`nn.Parameter(0.02 * torch.randn(16, 64))`, to the patches before the first layer.": _vision_has_no_positions,
}
for _sentence, _shows in _VISION_ALWAYS.items():
    vision_transformer.symptom(_sentence, always=True)(_shows)


@vision_transformer.symptom(
    "It does hardly better than guessing. Did you give the optimizer its parameters, and did `fit` run?"
)
def _(model, digits):
    return _vision_right(model, digits) < 0.3


@vision_transformer.symptom(
    "It has learned to read some digits, but not enough. Train for about 12 epochs with AdamW, with a learning rate "
    "that rises to 3e-3 and falls to 0: `OneCycleLR`."
)
def _(model, digits):
    return _vision_right(model, digits) < 0.75


@vision_transformer.symptom(
    "It is nearly there. Did the learning rate fall to 0 at the end, as with `OneCycleLR`? If so, train for a few more "
    "epochs, about 12 in all, or add a second layer."
)
def _(model, digits):
    return _vision_right(model, digits) >= 0.75
