"""The exercises of lesson 5, Training in practice: solutions, classic mistakes, hints."""

import contextlib
import io
import itertools
import time

import torch
import torch.nn.functional as F
from torch import nn

from coursekit import data, train
from coursekit.checks import ExerciseSet, Question, normal

lesson = ExerciseSet("Lesson 5")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# Part 1: stop in time, look at the labels --------------------------------------------------------------------


@lesson.exercise(
    cases={
        "a single epoch": ([1.0], 3),
        "losses that always fall": ([3.0, 2.0, 1.5], 2),
        "the example in the text": ([3.0, 2.0, 2.5, 2.6, 2.7, 1.0], 2),
        "a patience of 1": ([1.0, 2.0, 3.0, 4.0], 1),
        "losses that rise from the start": ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3),
        "a better loss after the stop": ([5.0, 3.0, 4.0, 3.5, 3.2, 3.1, 2.0, 6.0], 3),
        "an improvement just in time": ([5.0, 3.0, 4.0, 3.5, 3.2, 2.9, 3.0, 3.0, 2.8], 4),
        "equal losses": ([2.0, 1.0, 1.0, 1.0, 1.0, 0.5], 3),
        "a list that ends while waiting": ([1.0, 0.9, 0.95, 0.8, 0.85], 2),
        "bad epochs with good between": ([4.0, 3.0, 3.5, 2.5, 2.7, 2.0, 2.2], 3),
        "an equal loss at the end": ([2.0, 1.0, 1.0], 3),
        "a less bad epoch at the end": ([1.0, 3.0, 2.0], 3),
        "a better loss after two bad ones": ([5.0, 6.0, 4.0, 7.0, 3.0], 3),
    },
    returns=("the last epoch", "the best epoch"),
    hints=[
        "Keep track of the best epoch so far as you go along. How many epochs ago was it?",
        "`for epoch, loss in enumerate(losses, 1)`. A loss below the lowest so far makes its epoch the "
        "best. Otherwise compare `epoch - best` with `patience`.",
    ],
)
def early_stop_epoch(losses, patience):
    """Return (last, best): the epoch after which training stops, and the one whose weights are kept.

    `losses` are losses on held-out examples, one per epoch; epochs count from 1. Training stops as soon as
    `patience` epochs in a row have not been better than the best before them (equal is not better),
    or when the list ends.
    """
    best = 1
    for epoch, loss in enumerate(losses, 1):
        if loss < losses[best - 1]:
            best = epoch
        elif epoch - best >= patience:
            return epoch, best
    return len(losses), best


def _stop(losses, patience, *, too_long=lambda waited, patience: waited >= patience, equal_counts=False):
    """The rule, with what can go wrong as arguments."""
    best = 1
    for epoch, loss in enumerate(losses, 1):
        if loss < losses[best - 1] or (equal_counts and loss == losses[best - 1]):
            best = epoch
        elif too_long(epoch - best, patience):
            return epoch, best
    return len(losses), best


@early_stop_epoch.mistake(
    "Each loss is compared with the one `patience` epochs earlier. Compare with the best so far, and count how many "
    "epochs ago that was."
)
def _(losses, patience):
    for now in range(patience, len(losses)):
        if losses[now] >= losses[now - patience]:
            return now + 1, losses.index(min(losses[: now + 1])) + 1
    return len(losses), losses.index(min(losses)) + 1


@early_stop_epoch.mistake(
    "One epoch too late: with patience 2, training stops after the second epoch in a row without improvement."
)
def _(losses, patience):
    return _stop(losses, patience, too_long=lambda waited, patience: waited > patience)


@early_stop_epoch.mistake(
    "One epoch too early: with patience 2, two epochs in a row must have failed to improve, not one."
)
def _(losses, patience):
    return _stop(losses, patience, too_long=lambda waited, patience: waited >= max(patience - 1, 1))


def _off_by(last, best):
    """The right epochs, plus the two numbers."""

    def stop(losses, patience):
        right = early_stop_epoch.reference(losses, patience)
        return right[0] + last, right[1] + best

    return stop


early_stop_epoch.mistakes(
    {
        "You count from 0. The first epoch is number 1.": _off_by(-1, -1),
        "The best epoch is counted from 0, the last one from 1. Both count from 1.": _off_by(0, -1),
        "The last epoch is counted from 0, the best one from 1. Both count from 1.": _off_by(-1, 0),
        "You keep the weights of the last epoch. Keep those of the best: return its number as well.": (
            lambda losses, patience: (early_stop_epoch.reference(losses, patience)[0],) * 2
        ),
        "That is the lowest loss itself. Return the number of its epoch.": lambda losses, patience: (
            early_stop_epoch.reference(losses, patience)[0],
            losses[early_stop_epoch.reference(losses, patience)[1] - 1],
        ),
        "The last epoch is not always `best + patience`: the list may end first, and training with "
        "it.": lambda losses, patience: (
            early_stop_epoch.reference(losses, patience)[1] + patience,
            early_stop_epoch.reference(losses, patience)[1],
        ),
        "You stop at the first epoch that is no better. Wait until there have been `patience` of them in a "
        "row.": lambda losses, patience: early_stop_epoch.reference(losses, 1),
        "You return only one of the two numbers: (last, best).": [
            lambda losses, patience: early_stop_epoch.reference(losses, patience)[0],
            lambda losses, patience: early_stop_epoch.reference(losses, patience)[1],
        ],
        "The two are swapped: first the epoch that ended training, then the best "
        "one.": lambda losses, patience: early_stop_epoch.reference(losses, patience)[::-1],
        "An equal loss is no improvement: compare with <, not with <=.": lambda losses, patience: _stop(
            losses, patience, equal_counts=True
        ),
        "This ignores `patience` and goes on to the end of the list.": lambda losses, patience: (
            len(losses),
            losses.index(min(losses)) + 1,
        ),
    }
)


@early_stop_epoch.mistake(
    "Each loss is compared with the one before it. Compare with the best so far: after a bad epoch, a less bad one is "
    "no improvement."
)
def _(losses, patience):
    best, waited = 1, 0
    for epoch, loss in enumerate(losses, 1):
        if epoch == 1 or loss < losses[epoch - 2]:
            waited = 0
            best = epoch if loss < losses[best - 1] else best
        else:
            waited += 1
            if waited >= patience:
                return epoch, best
    return len(losses), best


@early_stop_epoch.mistake(
    "You cannot know the best epoch of the whole list: training stops before its end. Only epochs up to the "
    "stop count."
)
def _(losses, patience):
    last, _ = early_stop_epoch.reference(losses, patience)
    return last, losses.index(min(losses)) + 1


def _counted(
    losses,
    patience,
    *,
    better=lambda loss, lowest: loss < lowest,
    lowest=float("inf"),
    best=0,
    late=0,
    reset=True,
    waits=lambda loss, lowest: True,
    first=1,
    answer=lambda last, best, losses, stopped: (last, best),
):
    """The rule with a counter, with what can go wrong as arguments."""
    waited = 0
    for epoch, loss in enumerate(losses, first):
        if better(loss, lowest):
            lowest, best, waited = loss, epoch, waited * (not reset)
        elif waits(loss, lowest):
            waited += 1
            if waited >= max(patience + late, 1):
                return answer(epoch, best, losses, True)
    return answer(len(losses) - 1 + first, best, losses, False)


def _counting(**slips):
    return lambda losses, patience: _counted(losses, patience, **slips)


early_stop_epoch.mistakes(
    {
        "An equal loss is no improvement, so its epoch counts among the bad ones. Here only a higher loss makes it "
        "wait.": _counting(waits=lambda loss, lowest: loss > lowest),
        "Nothing is ever better: the lowest loss so far has to begin with infinity, or with the first loss, not with "
        "0.": [
            _counting(lowest=0),
            _counting(lowest=0, best=1),
            _counting(lowest=0, best=None),
            lambda losses, patience: (min(patience + 1, len(losses)), 1),
        ],
        "You go by the highest loss. The best epoch is that with the lowest.": [
            _counting(better=lambda loss, lowest: loss > lowest, lowest=-float("inf")),
            _counting(better=lambda loss, lowest: loss > lowest, lowest=0),
        ],
        "Every loss is compared with the first one. Keep the lowest so far: update it when a loss is better.": [
            lambda losses, patience: _counted(losses, patience, better=_below(losses[0]), best=1),
            lambda losses, patience: _counted(
                losses[1:], patience, better=_below(losses[0]), best=1, first=2
            ),
        ],
        "The last epoch is one too late where training stops: that in which the patience runs out is the last.": [
            _counting(answer=lambda last, best, losses, stopped: (last + stopped, best)),
        ],
        "The last epoch is one too early where training stops: that in which the patience runs out is the last.": [
            _counting(answer=lambda last, best, losses, stopped: (last - stopped, best)),
        ],
        "Where the list ends before the patience does, the last epoch is the length of the list.": [
            _counting(answer=lambda last, best, losses, stopped: (last if stopped else last - 1, best)),
            _counting(answer=lambda last, best, losses, stopped: (last if stopped else last + 1, best)),
            _counting(answer=lambda last, best, losses, stopped: (last if stopped else best, best)),
        ],
        "Where the list ends first, the best epoch is still the lowest loss so far, not the last epoch.": _counting(
            answer=lambda last, best, losses, stopped: (last, best if stopped else last)
        ),
        "Nothing comes back where the list ends before the patience does: a `return` is missing after the "
        "loop.": _counting(answer=lambda last, best, losses, stopped: (last, best) if stopped else None),
        "The best epoch is `last - patience` only where training stops. Where the list ends first, it is another: keep "
        "track of it.": lambda losses, patience: (
            early_stop_epoch.reference(losses, patience)[0],
            early_stop_epoch.reference(losses, patience)[0] - patience,
        ),
        "The best loss of the whole list cannot be known when training stops. And the last epoch is the one in which "
        "the patience runs out, or the last of the list.": lambda losses, patience: (
            losses.index(min(losses)) + 1 + patience,
            losses.index(min(losses)) + 1,
        ),
        "The best loss of the whole list cannot be known when training stops: go through the epochs one by "
        "one.": lambda losses, patience: (
            min(losses.index(min(losses)) + 1 + patience, len(losses)),
            losses.index(min(losses)) + 1,
        ),
        "These are losses. Return the numbers of two epochs: the last one and the best.": lambda losses, patience: (
            losses[early_stop_epoch.reference(losses, patience)[0] - 1],
            losses[early_stop_epoch.reference(losses, patience)[1] - 1],
        ),
        "You stop after `patience` epochs, whatever the losses are. The count begins again with every improvement.": (
            lambda losses, patience: (
                min(patience, len(losses)),
                losses.index(min(losses[:patience])) + 1,
            )
        ),
    }
)


def _below(limit):
    return lambda loss, lowest: loss < limit


_STOP_SLIPS = {
    "epochs count from 1, not from 0": {"first": 0},
    "an equal loss is no improvement": {"better": lambda loss, lowest: loss <= lowest},
    "training stops one epoch too late": {"late": 1},
    "training stops one epoch too early": {"late": -1},
    "an improvement restarts the count": {"reset": False},
    "the best epoch is not the last one": {"answer": lambda last, best, losses, stopped: (last, last)},
    "the last epoch comes first, then the best": {"answer": lambda last, best, losses, stopped: (best, last)},
    "the lowest loss is the best, not the highest": {
        "better": lambda loss, lowest: loss > lowest,
        "lowest": -float("inf"),
    },
}
early_stop_epoch.pairs_of_slips(
    _counting, _STOP_SLIPS, words="Two slips: {}, and {}.", but=({"reset", "better", "lowest"},)
)


@early_stop_epoch.mistake(
    "Each loss is compared with the one before it. Keep the lowest so far and its epoch, and compare with that."
)
def _(losses, patience):
    best, waited = 1, 0
    for epoch in range(2, len(losses) + 1):
        best, waited = (epoch, 0) if losses[epoch - 1] < losses[epoch - 2] else (best, waited + 1)
        if waited >= patience:
            return epoch, best
    return len(losses), best


@early_stop_epoch.mistake("Bad epochs have to come in a row: an improvement restarts the count.")
def _(losses, patience):
    best, waited = 1, 0
    for epoch, loss in enumerate(losses[1:], 2):
        if loss < losses[best - 1]:
            best = epoch
        else:
            waited += 1
            if waited >= patience:
                return epoch, best
    return len(losses), best


@lesson.exercise(
    cases={
        "the example in the text": (
            torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]),
            torch.tensor([1, 1, 1]),
            2,
        ),
        "a single digit": (torch.tensor([[0.5, -0.5, 0.0]]), torch.tensor([2]), 1),
        "as many as there are": (3 * normal(5, 3, seed=1), torch.tensor([0, 2, 1, 1, 0]), 5),
        "sure, and in agreement with the label": (
            torch.tensor([[9.0, 0.0, 0.0], [0.2, 0.0, 0.1], [0.0, 4.0, 0.0], [0.0, 0.0, 2.0]]),
            torch.tensor([0, 0, 2, 2]),
            2,
        ),
        "an ordinary batch": (2 * normal(12, 10, seed=2), torch.arange(12) % 10, 4),
        "logits of a very sure network": (
            torch.tensor([[400.0, 0.0], [0.0, 300.0], [0.0, 0.0], [600.0, 0.0], [0.0, 500.0]]),
            torch.tensor([1, 0, 1, 1, 0]),
            4,
        ),
        "float64 numbers": (normal(8, 4, seed=3, dtype=torch.float64), torch.arange(8) % 4, 3),
    },
    hints=[
        "You need one loss for each example, not their mean: `F.cross_entropy` has an argument `reduction`.",
        'With `losses = F.cross_entropy(logits, labels, reduction="none")`, shape (N,), `losses.topk(count)` returns '
        "values and indices.",
    ],
)
def highest_losses(logits, labels, count):
    """Return the indices (count,) of the examples with the highest cross-entropy, highest first.

    `logits` is (N, C), `labels` (N,) holds integers, and count is at most N.
    """
    losses = F.cross_entropy(logits, labels, reduction="none")  # (N,)
    return losses.topk(count).indices


highest_losses.mistakes(
    {
        '`F.cross_entropy` averages over the batch, so a single number is left. `reduction="none"` keeps one loss for '
        "each example.": [{', reduction="none"': ""}, {'"none"': '"sum"'}],
        "These are the losses themselves. Return where they are, the `.indices`.": {".indices": ".values"},
        "`topk` returns values and indices. Return the indices alone: `.indices`.": {".indices": ""},
        "These are the lowest losses. Take the highest: the largest of −log p, or the smallest of log p.": {
            "topk(count)": "topk(count, largest=False)"
        },
        "The right examples, but in ascending order. The highest loss comes first.": {
            ".indices": ".indices.flip(0)"
        },
        "These are all examples, in the right order. Keep the first `count`.": {
            "topk(count).indices": "argsort(descending=True)"
        },
        "You look for the smallest confidence, without the labels. A network can be sure and still disagree with the "
        "label: take the cross-entropy with the labels.": lambda logits, labels, count: (
            logits.softmax(dim=1).amax(dim=1).topk(count, largest=False).indices
        ),
        "You sort by the logit of the label. The loss depends on the other logits, too: take the "
        "cross-entropy.": lambda logits, labels, count: (
            logits.gather(1, labels.unsqueeze(1)).squeeze(1).topk(count, largest=False).indices
        ),
        "`F.cross_entropy` expects logits and applies the softmax itself: do not apply one before.": {
            "cross_entropy(logits,": "cross_entropy(logits.softmax(dim=1),"
        },
        "A softmax becomes 0 or 1 where the network is very sure, and the order is lost. `F.cross_entropy` and "
        "`log_softmax` avoid that.": [
            lambda logits, labels, count: (
                (-logits.softmax(dim=1).log().gather(1, labels.unsqueeze(1)).squeeze(1)).topk(count).indices
            ),
            lambda logits, labels, count: (
                (1 - logits.softmax(dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)).topk(count).indices
            ),
        ],
        "The softmax runs over the examples. Each example has its own: `dim=1`.": lambda logits, labels, count: (
            (-logits.log_softmax(dim=0).gather(1, labels.unsqueeze(1)).squeeze(1)).topk(count).indices
        ),
        "This is one index only. Return `count` of them.": {"topk(count).indices": "argmax()"},
        "The right examples, in the order of their indices. The highest loss comes first.": {
            ".indices": ".indices.sort().values"
        },
        "Every example meets every label, (N, N). Take the label's own entry of each row: "
        "`log_p[torch.arange(len(labels)), labels]`, or `gather`.": lambda logits, labels, count: (
            (-logits.log_softmax(dim=1)[:, labels]).topk(count).indices
        ),
    }
)


def _sorted_by(score):
    return lambda logits, labels, count: score(logits, labels).topk(count).indices


def _one_hot(logits, labels):
    return F.one_hot(labels, logits.shape[1]).to(logits.dtype)


highest_losses.mistakes(
    {
        "You sort by how far the label's logit lies below the highest one. The loss depends on all logits: take the "
        "cross-entropy.": _sorted_by(
            lambda logits, labels: logits.amax(dim=1) - logits.gather(1, labels.unsqueeze(1)).squeeze(1)
        ),
        "These are squared errors of the probabilities. Take the cross-entropy.": _sorted_by(
            lambda logits, labels: (logits.softmax(dim=1) - _one_hot(logits, labels)).square().sum(dim=1)
        ),
        "You sort by the entropy of the prediction, which does not look at the labels. Take the cross-entropy with "
        "the labels.": [
            _sorted_by(
                lambda logits, labels: -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)
            ),
            _sorted_by(
                lambda logits, labels: -(logits.softmax(dim=1) * logits.softmax(dim=1).log()).sum(dim=1)
            ),
        ],
        "This is the binary cross-entropy, one for each class, as if an example could have several labels. Take "
        "`F.cross_entropy`.": _sorted_by(
            lambda logits, labels: F.binary_cross_entropy_with_logits(
                logits, _one_hot(logits, labels), reduction="none"
            ).sum(dim=1)
        ),
    }
)


@highest_losses.mistake(
    "Only examples that are classified wrongly are looked at. A right answer without much confidence has a loss as "
    "well: sort all of them."
)
def _(logits, labels, count):
    losses = F.cross_entropy(logits, labels, reduction="none")
    wrong = (logits.argmax(dim=1) != labels).nonzero()[:, 0]
    return wrong[losses[wrong].argsort(descending=True)][:count]


def _among_the_wrong(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")[logits.argmax(dim=1) != labels]


highest_losses.mistakes(
    {
        "The places are counted among the wrongly classified examples only. Count, and sort, among all of them.": [
            lambda logits, labels, count: _among_the_wrong(logits, labels).topk(count).indices,
            lambda logits, labels, count: _among_the_wrong(logits, labels).argsort(descending=True)[:count],
        ]
    }
)


# Regularizers ------------------------------------------------------------------------------------------------


class _Tiny(nn.Sequential):
    """A net small enough to be shown whole."""

    def __init__(self, *layers, name):
        super().__init__(*layers)
        self._name = name

    def __repr__(self):
        return self._name


def _one_unit():
    net = _Tiny(nn.Linear(2, 1), name="nn.Linear(2, 1) with weights 3 and -4, bias 10")
    net[0].weight.data, net[0].bias.data = torch.tensor([[3.0, -4.0]]), torch.tensor([10.0])
    return net


def _random_net(*layers, name):
    net = _Tiny(*layers, name=name)
    for number, part in enumerate(net.parameters()):
        part.data = normal(*part.shape, seed=number)
    return net


def _with_a_zero():
    net = _Tiny(nn.Linear(3, 1, bias=False), name="nn.Linear(3, 1) with weights 0, 2 and -5, without bias")
    net[0].weight.data = torch.tensor([[0.0, 2.0, -5.0]])
    return net


_NETS = {
    "one unit": (_one_unit(), 0.1),
    "a strength above 1": (_one_unit(), 2.5),
    "a weight of 0": (_with_a_zero(), 0.3),
    "two layers": (
        _random_net(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), name="3 → 4 → 2, biases included"),
        0.01,
    ),
    "batch norm": (
        _random_net(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2), name="3 → 5, batch norm, → 2"),
        1.0,
    ),
    "a convolution": (
        _random_net(
            nn.Conv2d(1, 2, 3),
            nn.Flatten(),
            nn.Linear(8, 3),
            nn.Linear(3, 2),
            name="a convolution, two dense layers",
        ),
        0.5,
    ),
    "a Sequential inside another": (
        _random_net(
            nn.Sequential(nn.Linear(2, 3), nn.ReLU()), nn.Linear(3, 2), name="a Sequential in another"
        ),
        0.7,
    ),
    "float64 weights": (
        _random_net(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2), name="4 → 3 → 2 in float64").double(),
        0.2,
    ),
}


def _penalty_and_gradients(penalty, model, strength):
    """The value, and what backpropagation makes of it."""
    value = penalty(model, strength)
    if value is None:
        return None
    parts = list(model.parameters())
    recorded = isinstance(value, torch.Tensor) and value.requires_grad
    gradients = torch.autograd.grad(value.sum(), parts, allow_unused=True) if recorded else []
    if all(gradient is None for gradient in gradients):
        none = torch.cat([torch.zeros_like(part).flatten() for part in parts])
        return {"the penalty": value, "it can be differentiated": False, "the gradient": none}
    return {
        "the penalty": value,
        "it can be differentiated": True,
        "the gradient": torch.cat(
            [
                (torch.zeros_like(part) if gradient is None else gradient).flatten()
                for part, gradient in zip(parts, gradients, strict=True)
            ]
        ),
    }


def _weights(model):
    return [part for part in model.parameters() if part.ndim > 1]


def _shared_mistakes(exercise, entry, slips):
    """Register the mistakes that both penalties invite; `entry` maps a tensor to what is summed.

    `slips` maps what may go wrong besides, in words, to the sum over one tensor.
    """

    @exercise.mistake(
        "The biases are counted as well. They only shift a sum: leave out parameters with one axis."
    )
    def _(model, strength):
        return strength * sum(entry(part).sum() for part in model.parameters())

    @exercise.mistake(
        "The scale of a batch norm is called `weight` too, but has one axis. Go by `parameter.ndim > 1`, not by the "
        "name."
    )
    def _(model, strength):
        named = [part for name, part in model.named_parameters() if name.endswith("weight")]
        return strength * sum(entry(part).sum() for part in named)

    @exercise.mistake(
        "The kernels of a convolution are left out, which have four axes: take `parameter.ndim > 1`, not `== 2`, nor "
        "the layers of one kind only."
    )
    def _(model, strength):
        return strength * sum(entry(part).sum() for part in model.parameters() if part.ndim == 2)

    @exercise.mistake(
        "Layers inside another layer are missed: loop over `model.parameters()`, which finds all of them."
    )
    def _(model, strength):
        layers = [layer for layer in model.children() if hasattr(layer, "weight") and layer.weight.ndim > 1]
        return strength * sum(entry(layer.weight).sum() for layer in layers)

    @exercise.mistake(
        "These are means. Take sums: a mean would penalise a weight less, the more others there are."
    )
    def _(model, strength):
        return strength * sum(entry(part).mean() for part in _weights(model))

    @exercise.mistake(
        "That is the mean over all weights. Take the sum: a mean would penalise a weight less, the more others there "
        "are."
    )
    def _(model, strength):
        count = sum(part.numel() for part in _weights(model))
        return strength * sum(entry(part).sum() for part in _weights(model)) / count

    @exercise.mistake("The sum is divided by the number of layers. Add up the layers, without a mean.")
    def _(model, strength):
        return strength * sum(entry(part).sum() for part in _weights(model)) / len(_weights(model))

    @exercise.mistake(
        "Only the kernels of convolutions are counted. A weight matrix has two axes, and counts as well: "
        "`parameter.ndim > 1`."
    )
    def _(model, strength):
        return strength * sum((entry(part).sum() for part in model.parameters() if part.ndim > 2), start=0.0)

    @exercise.mistake(
        "Layers inside another module are counted again with it: `model.modules()` holds the model itself, too. Loop "
        "over `model.parameters()`, once."
    )
    def _(model, strength):
        return strength * sum(entry(part).sum() for module in model.modules() for part in _weights(module))

    @exercise.mistake("You divide by `strength`. Multiply: a larger strength is a larger penalty.")
    def _(model, strength):
        return sum(entry(part).sum() for part in _weights(model)) / strength

    @exercise.mistake("The sign is wrong: this would reward large weights. The penalty is added to the loss.")
    def _(model, strength):
        return -strength * sum(entry(part).sum() for part in _weights(model))

    @exercise.mistake("The penalty is twice what it should be: strength times the sum, without a factor 2.")
    def _(model, strength):
        return 2 * strength * sum(entry(part).sum() for part in _weights(model))

    @exercise.mistake("These are the sums of the single layers. Add them up to one number.")
    def _(model, strength):
        return strength * torch.stack([entry(part).sum() for part in _weights(model)])

    for words, total in slips.items():

        @exercise.mistake(f"Two slips: the biases are counted as well, and {words}.")
        def _(model, strength, total=total):
            return strength * sum(total(part) for part in model.parameters())

    @exercise.mistake("Two slips: the biases are counted as well, and the factor `strength` is missing.")
    def _(model, strength):
        return sum(entry(part).sum() for part in model.parameters())

    @exercise.mistake("Only the weights of the first layer are counted: is the `return` inside the loop?")
    def _(model, strength):
        return strength * entry(_weights(model)[0]).sum()

    @exercise.mistake("Only the last layer's weights are counted: add up over all layers.")
    def _(model, strength):
        return strength * entry(_weights(model)[-1]).sum()

    @exercise.mistake(
        "The result has an axis, shape (1,). It should be a single number: begin the sum with 0."
    )
    def _(model, strength):
        return strength * (torch.zeros(1) + sum(entry(part).sum() for part in _weights(model)))

    @exercise.mistake("`strength` is multiplied in again for every layer. Add up first, then multiply once.")
    def _(model, strength):
        total = 0
        for part in _weights(model):
            total = strength * (total + entry(part).sum())
        return total

    @exercise.mistake("You add `strength` instead of multiplying by it.")
    def _(model, strength):
        return strength + sum(entry(part).sum() for part in _weights(model))

    @exercise.mistake(
        "The weights are left out and the biases counted. It is the other way round: `parameter.ndim > 1`."
    )
    def _(model, strength):
        return strength * sum((entry(part).sum() for part in model.parameters() if part.ndim == 1), start=0.0)

    @exercise.mistake("The factor `strength` is missing.")
    def _(model, strength):
        return sum(entry(part).sum() for part in _weights(model))

    @exercise.mistake(
        "The number is right but has lost its connection to the weights, so it would change nothing in "
        "training: no `.item()`, `.data`, `.detach()` or `no_grad` here."
    )
    def _(model, strength):
        return strength * sum(entry(part.detach()).sum() for part in _weights(model))


@lesson.exercise(
    observe=_penalty_and_gradients,
    cases=_NETS,
    hints=[
        "Loop over `model.parameters()`. A weight matrix has two axes, a kernel four, a bias one: "
        "`parameter.ndim`.",
        "`sum(w.square().sum() for w in ...)`, times `strength`. Stay within autograd: no `.item()`.",
    ],
)
def l2_penalty(model, strength):
    """Return strength · Σw², a tensor, summed over all weights of the model.

    Weights are the parameters with two axes or more. Biases, with one, are left out.
    """
    return strength * sum(part.square().sum() for part in model.parameters() if part.ndim > 1)


_shared_mistakes(
    l2_penalty,
    torch.square,
    {
        "there is a ½ too many": lambda part: 0.5 * part.square().sum(),
        "absolute values are taken, not squares": lambda part: part.abs().sum(),
        "norms are added up, not squares": lambda part: part.norm(),
        "means are taken, not sums": lambda part: part.square().mean(),
        "the weights are not squared": lambda part: part.sum(),
        "each tensor is summed before squaring": lambda part: part.sum().square(),
    },
)


l2_penalty.mistakes(
    {
        "`strength` is squared as well. Only the weights are: strength · Σw².": lambda model, strength: sum(
            (strength * part).square().sum() for part in _weights(model)
        ),
        "There is no ½ in this penalty: strength · Σw². (With it, strengths would "
        "mean half as much.)": lambda model, strength: 0.5 * l2_penalty.reference(model, strength),
        "That is the norm, the root of the sum of squares. Leave the root out.": lambda model, strength: (
            strength * sum(part.square().sum() for part in _weights(model)).sqrt()
        ),
        "You added up the norms of the layers. Add up the squares of the weights, "
        "without a root.": lambda model, strength: strength * sum(part.norm() for part in _weights(model)),
        "You added up the weights before squaring, so opposite ones cancel. Square each one first.": [
            lambda model, strength: strength * sum(part.sum().square() for part in _weights(model)),
            lambda model, strength: strength * sum(part.sum() for part in _weights(model)).square(),
        ],
        "The weights are not squared, so opposite ones cancel: `w.square().sum()`.": {
            "part.square()": "part"
        },
        "`square_` and `**=` change the weights themselves. Make new numbers: `w.square()`.": {
            ".square()": ".square_()"
        },
        "These are absolute values, the L1 penalty. Square them.": lambda model, strength: (
            strength * sum(part.abs().sum() for part in _weights(model))
        ),
    }
)


def _facts_of_dropout(dropout, x, p, training):
    """The value in use; in training, what many draws have in common."""
    start = x.clone()
    first = dropout(x, p, training)
    if not isinstance(first, torch.Tensor):
        return first
    if first.shape != start.shape:
        shape = f"{tuple(first.shape)}"
        return _facts_of_dropout(_right_dropout, start, p, training) | {"the shape": shape}
    if not training:
        return {
            "the shape": f"{tuple(start.shape)}",
            "in eval mode comes back": _made_in_eval(first, start, p),
        }
    draws = torch.stack([dropout(start.clone(), p, training) for _ in range(200)]).double()  # (200, N, D)
    kept = draws != 0
    values = draws[kept]
    if len(values) and (values == values[0]).all():
        return _facts_of_dropout(_right_dropout, start, p, training) | {
            "in train mode comes back": "the mask"
        }
    factors = (draws / start.double()).where(kept, torch.nan)  # of what is kept
    by_draw = factors.flatten(1).nanmedian(dim=1).values
    by_draw = by_draw[~by_draw.isnan()]
    middle = by_draw.median().item() if len(by_draw) else 0.0
    alike = bool(
        ((factors - factors.flatten(1).nanmedian(dim=1).values[:, None, None]).abs() < 1e-4)[kept].all()
    )
    steady = bool((by_draw - middle).abs().max() < 1e-4) if len(by_draw) else True
    anew = not (kept == kept[:1]).all()
    same_rows = (kept == kept[:, :1]).all(dim=(1, 2)).double().mean() > 0.5
    same_columns = (kept == kept[:, :, :1]).all(dim=(1, 2)).double().mean() > 0.5
    zeros = (~kept).double().mean().item()
    return {
        "the shape": f"{tuple(first.shape)}",
        "in train mode comes back": "x with zeros in it" if values.isfinite().all() else "inf or nan",
        "every call draws anew": anew,
        "in train mode, the kept values are multiplied by": (
            "a number of its own each" if not alike else _named_factor(middle, p)
        )
        if steady or not alike
        else "another number in every draw",
        "the fraction of zeros, over many draws, is": _named_fraction(
            zeros, p, (p * (1 - p) / kept.numel()) ** 0.5 if not (same_rows or same_columns) else 1.0
        )
        if anew or zeros in (0.0, 1.0)
        else "p",
        "all examples of the batch lose the same units": bool(same_rows) and anew and 0 < zeros < 1,
        "an example is kept whole or lost whole": bool(same_columns) and anew and 0 < zeros < 1,
        "gradients flow back to x": _flows(lambda start: dropout(start, p, training), start),
        "the number of zeros varies from draw to draw": len(kept.sum(dim=(1, 2)).unique()) > 1 or not anew,
    }


def _right_dropout(x, p, training):
    return dropout.reference(x, p, training)


def _made_in_eval(result, x, p):
    """What came of x, in words."""
    for words, factor in _factors_of(p).items():
        if torch.allclose(result.double(), factor * x.double(), rtol=1e-4):
            return "x" if words == "1" else f"x times {words}"
    return "x with zeros in it" if (result == 0).any() else "something else"


def _factors_of(p):
    return {"1": 1.0, "1/(1 − p)": 1 / (1 - p), "1 − p": 1 - p, "1/p": 1 / p, "p": p, "2": 2.0}


def _named_factor(factor, p):
    right = {"1/(1 − p)": 1 / (1 - p)} | _factors_of(p)
    return next((words for words, one in right.items() if abs(factor - one) < 1e-4), f"{factor:.4g}")


def _named_fraction(zeros, p, deviation):
    """The nearest of the fractions that one meets, in words; p only within what chance allows."""
    known = {"p": p, "1 − p": 1 - p, "½": 0.5, "0": 0.0, "1": 1.0, "1 − (1 − p)²": 1 - (1 - p) ** 2}
    known["Φ(p), as of `randn`"] = 0.5 * (1 + torch.erf(torch.tensor(p / 2**0.5)).item())
    nearest = min(known, key=lambda words: abs(known[words] - zeros))
    if abs(known[nearest] - zeros) > 0.08:
        return f"about {zeros:.1f}"
    return nearest if nearest != "p" or abs(zeros - p) < 6 * deviation + 1e-6 else f"{zeros:.4f}, not quite p"


def _flows(function, x):
    """Return whether what `function` makes of x is connected to it. Its input is no leaf, so it may be changed."""
    result = function(x.clone().requires_grad_() * 1)
    return isinstance(result, torch.Tensor) and result.requires_grad


_TO_DROP = (1 + normal(4, 6).abs()).round(decimals=1)


@lesson.exercise(
    observe=_facts_of_dropout,
    cases={
        "eval mode": (torch.tensor([[2.0, 4.0, 6.0, 8.0]]), 0.5, False),
        "eval mode with a small p": (_TO_DROP, 0.25, False),
        "batch of one, training": (_TO_DROP[:1], 0.3, True),
        "half of the values dropped": (_TO_DROP, 0.5, True),
        "few values dropped": (_TO_DROP, 0.2, True),
        "most values dropped": (_TO_DROP[:3], 0.7, True),
        "negative numbers in float64": (-_TO_DROP[:, :5].double(), 0.6, True),
    },
    hints=[
        "`torch.rand_like(x) > p` is True with probability 1 − p, independently for every number in the "
        "batch.",
        "In train mode: mask, then divide by 1 − p, so that the mean stays. In eval mode: return x as it is.",
    ],
)
def dropout(x, p, training):
    """Return x (N, D) after inverted dropout, as PyTorch does it.

    If `training`, every number becomes 0 with probability p (0 < p < 1), and the others are divided
    by 1 − p. If not, x comes back unchanged.
    """
    if not training:
        return x
    kept = torch.rand_like(x) > p  # (N, D)
    return x * kept / (1 - p)


dropout.mistakes(
    {
        "You left the kept values as they were, so the sum that the next layer sees "
        "shrinks: divide them by 1 − p.": lambda x, p, training: (
            x * (torch.rand_like(x) > p) if training else x
        ),
        "Dropout is active in eval mode as well. There, x comes back as it is: pass `training` on, since `F.dropout` "
        "and a new `nn.Dropout` drop whenever they are not told otherwise.": lambda x, p, training: (
            dropout.reference(x, p, True)
        ),
        "All examples of the batch lose the same units. Each needs a mask of its "
        "own: draw in the shape of x.": lambda x, p, training: (
            x * (torch.rand_like(x[:1]) > p) / (1 - p) if training else x
        ),
        "Examples are dropped whole. Drop single numbers: draw in the shape of x.": lambda x, p, training: (
            x * (torch.rand_like(x[:, :1]) > p) / (1 - p) if training else x
        ),
        "p is the probability of being dropped; here it is that of being kept. "
        "Reverse the comparison.": lambda x, p, training: (
            x * (torch.rand_like(x) < p) / (1 - p) if training else x
        ),
        "p is the probability of being dropped, not of being kept: values are kept "
        "with probability 1 − p.": lambda x, p, training: x * (torch.rand_like(x) < p) / p if training else x,
        "Divide by the fraction that is kept, 1 − p, not by p.": lambda x, p, training: (
            x * (torch.rand_like(x) > p) / p if training else x
        ),
        "Multiplying by 1 − p makes the kept values smaller still. Divide, to keep "
        "the mean.": lambda x, p, training: x * (torch.rand_like(x) > p) * (1 - p) if training else x,
        "This scales in eval mode, the older form of dropout. PyTorch's divides by 1"
        " − p in training and leaves eval mode alone.": lambda x, p, training: (
            x * (torch.rand_like(x) > p) if training else x * (1 - p)
        ),
        "`randn_like` draws normal numbers, which exceed p with another probability than 1 − p. `rand_like` draws "
        "evenly between 0 and 1.": {"rand_like": "randn_like"},
        "The result has lost its connection to x, so no layer before it could learn: leave `detach`, `.data` and "
        "`no_grad` out.": lambda x, p, training: dropout.reference(x.detach(), p, training),
        "You return the mask, not the values. Multiply x by it.": [
            {"x * kept": "kept"},
            {"x * kept / (1 - p)": "kept"},
        ],
        "You divide by the share that happened to be kept, another number in every draw. Divide by the probability of "
        "being kept, 1 − p.": lambda x, p, training: (
            (lambda kept: x * kept / kept.double().mean())(torch.rand_like(x) > p) if training else x
        ),
        "Nothing comes back in eval mode: there, too, x is to be returned, as it is.": {
            "        return x\n": "        return None\n"
        },
        "Nothing comes back in train mode: is the `return` missing?": {"    return x * kept": "    x * kept"},
        "Half of the values are dropped, whatever p is: `randint(0, 2)` tosses a coin. Compare `torch.rand_like(x)` "
        "with p.": [
            {"torch.rand_like(x) > p": "torch.rand_like(x) > 0.5"},
            {"torch.rand_like(x) > p": "torch.rand_like(x) > 0.5", " / (1 - p)": ""},
            {"torch.rand_like(x) > p": "torch.rand_like(x) > 0.5", " / (1 - p)": " / 0.5"},
        ],
        "The right fraction is dropped, but the kept values are doubled, as if p were always ½. Divide by 1 − p.": {
            " / (1 - p)": " * 2"
        },
        "The mask is drawn twice, once for the values and once for their scale, or it is applied twice: then more than "
        "the fraction p is lost.": lambda x, p, training: (
            x * (torch.rand_like(x) > p) * (torch.rand_like(x) > p) / (1 - p) if training else x
        ),
        "The values are divided by (1 − p)², once too often: a single division keeps the mean.": {
            " / (1 - p)": " / (1 - p) ** 2"
        },
        "No number becomes 0: something is added, or takes its place. Dropout sets some numbers to 0 and multiplies "
        "the others by 1/(1 − p).": [
            lambda x, p, training: x + p * torch.randn_like(x) if training else x,
            lambda x, p, training: x * (1 + torch.randn_like(x)) if training else x,
        ],
        "In eval mode x is scaled. It comes back as it is, since training has already divided by 1 − p.": [
            lambda x, p, training: dropout.reference(x, p, True) if training else x * (1 - p),
            lambda x, p, training: dropout.reference(x, p, True) if training else x / (1 - p),
        ],
        "Nothing is dropped in training: x comes back as it is, or only scaled.": [
            lambda x, p, training: x * 1,
            lambda x, p, training: x / (1 - p) if training else x,
        ],
        "Training and evaluation are swapped: the mask belongs to `training=True`.": lambda x, p, training: (
            dropout.reference(x, p, not training)
        ),
    }
)


@dropout.mistake(
    "A fixed number of values becomes 0. Drop every value independently, with a draw of its own: "
    "`torch.rand_like(x)`."
)
def _(x, p, training):
    order = torch.rand(x.numel()).argsort().reshape(x.shape)
    return x * (order >= round(p * x.numel())) / (1 - p) if training else x


@dropout.mistake(
    "Every call drops the same units: a seed is set inside, or the mask is made once. Draw anew at each call."
)
def _(x, p, training):
    generator = torch.Generator().manual_seed(0)
    return x * (torch.rand(x.shape, generator=generator) > p) / (1 - p) if training else x


@dropout.remark(
    "A remark: this loops over single numbers in Python, hundreds of times slower than one operation on the whole "
    "tensor, such as `torch.rand_like(x)`. The lesson trains with our solution instead."
)
def _(attempt):
    return _seconds(attempt, torch.ones(50, 128), 0.5, True) > 0.02


def _seconds(function, *arguments):
    """The shortest of three calls."""
    took = []
    for _ in range(3):
        started = time.perf_counter()
        function(*arguments)
        took.append(time.perf_counter() - started)
    return min(took)


# Augmentation ------------------------------------------------------------------------------------------------


different_pictures = lesson.prediction(
    "different_pictures",
    Question(
        1,
        "One. The transform draws its angle once per call, and a batch is one call.",
        {
            64: "That is what you would want. But the transform cannot know that the first axis counts "
            "examples: it is called once, so it draws once.",
            0: "The images that come out are rotated, so at least one of them is new.",
            2: "There is one call of the transform. How many angles does it draw?",
        },
    ),
    hints=[
        "How often is the transform called?",
        "One call draws one angle, for everything that is passed to it.",
    ],
)


def _shifted(x, shifts, *, wrap=False):
    """Return images x (N, C, H, W), each shifted by its row of `shifts` (N, 2), down and right.

    Background fills the gap, or with `wrap` what left on the other side.
    """
    rows = torch.arange(x.shape[2]) - shifts[:, :1]  # (N, H): where each row comes from
    columns = torch.arange(x.shape[3]) - shifts[:, 1:]
    rows_inside, columns_inside = (rows >= 0) & (rows < x.shape[2]), (columns >= 0) & (columns < x.shape[3])
    inside = rows_inside.unsqueeze(2) & columns_inside.unsqueeze(1)  # (N, H, W)
    rows, columns = rows % x.shape[2], columns % x.shape[3]
    each = torch.arange(len(x)).reshape(-1, 1, 1)
    moved = x.permute(0, 2, 3, 1)[each, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
    return moved if wrap else moved * inside.unsqueeze(1)


def _found_shifts(result, picture, pixels, *, wrap=False, gap=True):
    """Return the shift (N, 2), down and right, that makes each of `result` from `picture`; 99 where none does.

    Without `gap` what came in from outside need not be 0.
    """
    shifts = torch.cartesian_prod(*[torch.arange(-pixels, pixels + 1)] * 2)  # (S, 2)
    copies = picture.expand(len(shifts), -1, -1, -1)
    moved = _shifted(copies, shifts, wrap=wrap).flatten(1).double()
    result = result.flatten(1).double()
    if gap:
        distance = torch.cdist(result, moved, p=torch.inf)  # (N, S)
    else:
        inside = _shifted(torch.ones_like(copies), shifts).flatten(1).bool()
        distance = ((result.unsqueeze(1) - moved).abs() * inside).amax(dim=2)
    nearest = distance.min(dim=1)
    return torch.where(nearest.values.unsqueeze(1) < 1e-3, shifts[nearest.indices], 99)


def _became(one, own, pixels):
    """What became of a digit (C, H, W), in words."""

    def shifted(reach=pixels, **how):
        return bool(_found_shifts(one.unsqueeze(0), own, reach, **how)[0, 0] != 99)

    if shifted():
        return "it is shifted by whole pixels, with 0 behind it"
    if not one.any():
        return "it comes back blank"
    if len(own) > 1 and all(
        bool(_found_shifts(part[None, None], channel[None], pixels)[0, 0] != 99)
        for part, channel in zip(one, own, strict=True)
    ):
        return "its channels are shifted apart"
    if shifted(reach=2 * pixels + 1):
        return "it is shifted too far"
    if shifted(gap=False) and not shifted(wrap=True):
        return "it is shifted, but what comes in from outside is not 0"
    return "it is changed in another way"


def _drawn_together(shifts, pairs):
    """How the shifts (N, 2) down and right go together, in words, where so many pairs can occur."""
    down, right = shifts.unbind(dim=1)
    if pairs > 1 and (down == right).all():
        return "as the same number"
    if pairs > 1 and (down == -right).all():
        return "as opposite numbers"
    if (down * right == 0).all() and (down != 0).any() and (right != 0).any():
        return "never both at once"
    return "independently" if len(shifts.unique(dim=0)) >= 0.75 * pairs else "not independently"


def _occurring(shifts, of_calls):
    """The shifts (N,) that occur in one call, in words, those of other calls being known as well."""
    values = shifts.unique()
    drawn_once = len(values) == 1 and len(of_calls.unique()) > 1
    return "one, drawn in every call" if drawn_once else ", ".join(map(str, values.tolist()))


def _facts_of_augmentation(augment_digit, x, pixels):
    """What can be seen of many random shifts."""
    start = x.clone()
    result = augment_digit(x, pixels)
    if result is None:
        return None
    if not isinstance(result, torch.Tensor) or result.shape != start.shape:
        shape = f"{tuple(result.shape)}" if isinstance(result, torch.Tensor) else type(result).__name__
        return _facts_of_augmentation(_right_shifts, start, pixels) | {"the shape": shape}
    copies = start[:1].expand(120, -1, -1, -1)
    many, again = augment_digit(copies.clone(), pixels), augment_digit(copies.clone(), pixels)
    calls = [augment_digit(copies[:1].clone(), pixels) for _ in range(10)]
    shifts, calls = _found_shifts(torch.cat([many, *calls]), start[0], pixels + 2).split(
        [len(many), len(calls)]
    )
    known = shifts[shifts[:, 0] != 99]
    turned = [start[0].flip(-1), start[0].flip(-2), start[0].flip(-1).flip(-2)]
    flips = sum(int((_found_shifts(many, other, pixels)[:, 0] != 99).sum()) for other in turned)
    wrapped = _found_shifts(many, start[0], pixels + 1, wrap=True)[:, 0] != 99
    became = [
        _became(one, own, pixels)
        for one, own in zip([*result, *many[:6]], [*start, *start[:1].expand(6, -1, -1, -1)], strict=True)
    ]
    whole = "it is shifted by whole pixels, with 0 behind it"
    down, right = (known[:, axis].unique() for axis in (0, 1))
    return {
        "the shape": f"{tuple(result.shape)}",
        "some digits come back mirrored": flips > 0,
        "what leaves on one side comes back in on the other": bool((wrapped & (shifts[:, 0] == 99)).any()),
        "what becomes of a digit": next((words for words in became if words != whole), whole),
        "all digits of a batch move down by the same number": len(known) > 1 and len(down) == 1,
        "all digits of a batch move to the right by the same number": len(known) > 1 and len(right) == 1,
        "down and right are drawn": _drawn_together(known, len(down) * len(right)),
        "the shifts down that occur": _occurring(known[:, 0], calls[:, 0]),
        "the shifts to the right that occur": _occurring(known[:, 1], calls[:, 1]),
        "every call draws anew": not torch.equal(many, again),
    }


def _right_shifts(x, pixels):
    return augment_digit.reference(x, pixels)


_PICTURE = torch.rand(1, 1, 7, 8, generator=torch.Generator().manual_seed(3)).mul(0.8).add(0.2)


@lesson.exercise(
    observe=_facts_of_augmentation,
    cases={
        "a batch of one": (_PICTURE, 1),
        "a batch of three": (
            _PICTURE.repeat(3, 1, 1, 1) * torch.tensor([1.0, 0.5, 0.25]).reshape(3, 1, 1, 1),
            2,
        ),
        "two channels and a wide range": (
            torch.rand(2, 2, 10, 9, generator=torch.Generator().manual_seed(4)),
            3,
        ),
        "digits higher than wide": (_PICTURE[:, :, :, :5], 2),
    },
    hints=[
        "Put a margin of background around all images, `F.pad(x, [pixels] * 4)`, and crop a window of the "
        "original size from each one.",
        "The window's corner is random: `torch.randint(0, 2 * pixels + 1, (len(x), 2))` draws one for each digit.",
        "`torch.stack([one[:, i : i + H, j : j + W] for one, (i, j) in zip(padded, corners.tolist())])`.",
    ],
)
def augment_digit(x, pixels):
    """Return the digits x (N, C, H, W), each shifted by its own random whole numbers of pixels.

    Down and right are drawn independently for every digit, from −pixels to +pixels, both included.
    What is shifted in from outside is background, 0; what leaves the image is lost.
    """
    H, W = x.shape[2:]
    padded = F.pad(x, [pixels] * 4)  # left, right, top, bottom
    corners = torch.randint(0, 2 * pixels + 1, (len(x), 2)).tolist()
    return torch.stack([one[:, i : i + H, j : j + W] for one, (i, j) in zip(padded, corners, strict=True)])


def _drawn(N, pixels):
    return torch.randint(-pixels, pixels + 1, (N, 2))


def _filled(x, pixels, height, width):
    """The shifted digits, cut from a margin of paper to this size and written into images of the right one."""
    padded, result = F.pad(x, [pixels] * 4), torch.zeros_like(x)
    for n, (i, j) in enumerate(torch.randint(0, 2 * pixels + 1, (len(x), 2)).tolist()):
        result[n] = padded[n, :, i : i + height, j : j + width]
    return result


augment_digit.mistakes(
    {
        "You draw one shift for the whole batch. Every digit needs its own, so draw as "
        "many as there are digits, `len(x)`.": lambda x, pixels: _shifted(
            x, _drawn(1, pixels).expand(len(x), -1)
        ),
        "A flipped digit is a different symbol. Only shift: the label has to stay right.": lambda x, pixels: (
            x.flip(-1)
        ),
        "`roll` brings back on one side what leaves on the other. Pad with background first, "
        "or blank out what wrapped around.": lambda x, pixels: _shifted(x, _drawn(len(x), pixels), wrap=True),
        "`roll` gives the whole batch one shift, and brings back on one side what leaves "
        "on the other. Every digit needs its own shift, with background behind it.": lambda x, pixels: x.roll(
            tuple(_drawn(1, pixels)[0].tolist()), dims=(-2, -1)
        ),
        "`torch.randint` never draws its upper end, so one of the shifts does not occur: end with `pixels + 1`, or "
        "with `2 * pixels + 1` if you begin with 0.": [
            lambda x, pixels: _shifted(x, torch.randint(-pixels, pixels, (len(x), 2))),
            lambda x, pixels: _shifted(x, -torch.randint(-pixels, pixels, (len(x), 2))),
        ],
        "The digits only move down and right. Draw from −pixels upwards, so that they "
        "also move up and left.": [
            lambda x, pixels: _shifted(x, torch.randint(0, pixels + 1, (len(x), 2))),
            lambda x, pixels: _shifted(x, torch.randint(0, 2 * pixels + 1, (len(x), 2))),
            lambda x, pixels: _shifted(x, torch.randint(1, pixels + 1, (len(x), 2))),
            lambda x, pixels: _shifted(x, torch.randint(0, pixels, (len(x), 2))),
        ],
        "The digits only move up and left. Draw numbers of both signs, so that they also move down and right.": [
            lambda x, pixels: _shifted(x, -torch.randint(0, pixels + 1, (len(x), 2))),
            lambda x, pixels: _shifted(x, -torch.randint(0, 2 * pixels + 1, (len(x), 2))),
            lambda x, pixels: _shifted(x, -torch.randint(0, pixels, (len(x), 2))),
        ],
        "Nothing is drawn: every digit of every call moves by `pixels` down and to the right. The corner of the window "
        "is random: `torch.randint(0, 2 * pixels + 1, (len(x), 2))`.": lambda x, pixels: _shifted(
            x, torch.full((len(x), 2), pixels)
        ),
        "Each digit moves down or right, but never both. Draw two numbers for each, independently.": lambda x, pixels: (
            _shifted(x, _drawn(len(x), pixels) * F.one_hot(torch.randint(0, 2, (len(x),)), 2))
        ),
        "Down and right are always opposite numbers, so the digits move along a diagonal. Draw two numbers for each "
        "digit.": lambda x, pixels: _shifted(x, _drawn(len(x), pixels)[:, :1] * torch.tensor([1, -1])),
        "Every channel of a digit is shifted by numbers of its own. Draw once for each digit, not for each "
        "channel.": lambda x, pixels: _shifted(
            x.flatten(0, 1).unsqueeze(1), _drawn(x.shape[0] * x.shape[1], pixels)
        ).reshape(x.shape),
        "The last digit comes back blank: the loop ends one digit too early, `range(len(x))`.": lambda x, pixels: (
            torch.cat([_shifted(x[:-1], _drawn(len(x) - 1, pixels)), torch.zeros_like(x[-1:])])
        ),
        "The channel axis is missing: the shape is (N, C, H, W), also where C is 1.": [
            lambda x, pixels: _shifted(x, _drawn(len(x), pixels))[:, 0],
            lambda x, pixels: _shifted(x, _drawn(len(x), pixels)).squeeze(),
        ],
        "That is a single digit. Return all of them, stacked to (N, C, H, W).": lambda x, pixels: _shifted(
            x, _drawn(len(x), pixels)
        )[0],
        "Height and width are mixed up: images need not be square. Rows go with H, columns with W.": [
            {"j : j + W": "j : j + H"},
            {"i : i + H": "i : i + W"},
            {"i : i + H, j : j + W": "i : i + W, j : j + H"},
            lambda x, pixels: _filled(x, pixels, x.shape[2], x.shape[2]),
            lambda x, pixels: _filled(x, pixels, x.shape[3], x.shape[3]),
            lambda x, pixels: _filled(x, pixels, x.shape[3], x.shape[2]),
        ],
        "These are separate images in a list. `torch.stack` makes one tensor of them.": lambda x, pixels: (
            list(_shifted(x, _drawn(len(x), pixels)))
        ),
        "Down and right get the same number, so the digits move along a diagonal. Draw "
        "two numbers for each digit.": lambda x, pixels: _shifted(
            x, _drawn(len(x), pixels)[:, :1].expand(-1, 2)
        ),
        "The digits only move sideways. Draw a vertical shift as well.": lambda x, pixels: _shifted(
            x, _drawn(len(x), pixels) * torch.tensor([0, 1])
        ),
        "The digits only move up and down. Draw a horizontal shift as well.": lambda x, pixels: _shifted(
            x, _drawn(len(x), pixels) * torch.tensor([1, 0])
        ),
        "The margin is still there: crop the images to their original size.": lambda x, pixels: F.pad(
            x, [pixels] * 4
        ),
        "A shift by 0 never occurs. Draw from all whole numbers from −pixels to +pixels, 0 among "
        "them.": lambda x, pixels: _shifted(
            x, torch.randint(1, pixels + 1, (len(x), 2)) * (2 * torch.randint(0, 2, (len(x), 2)) - 1)
        ),
        "Only the largest shifts occur, −pixels and +pixels. Draw from all whole numbers between them, "
        "too.": lambda x, pixels: _shifted(x, pixels * (2 * torch.randint(0, 2, (len(x), 2)) - 1)),
        "The largest shifts hardly ever occur: fractions are cut off towards 0. Draw whole numbers with "
        "`torch.randint`.": lambda x, pixels: _shifted(
            x, (2 * pixels * torch.rand(len(x), 2) - pixels).trunc().long()
        ),
        "The shifts are too wide: draw from −pixels to +pixels, both included.": lambda x, pixels: _shifted(
            x, torch.randint(-pixels - 1, pixels + 2, (len(x), 2))
        ),
        "What comes in from outside is not background. Fill the gap with 0.": [
            lambda x, pixels: 1 - _shifted(1 - x, _drawn(len(x), pixels)),
            {"[pixels] * 4)": "[pixels] * 4, mode='replicate')"},
        ],
        "What comes back is not the digit, shifted by whole pixels: it is blurred, or changed otherwise. If it moves "
        "by fractions of a pixel, draw whole numbers with `torch.randint`.": [
            lambda x, pixels: (
                0.5 * _shifted(x, _drawn(len(x), pixels)) + 0.5 * _shifted(x, _drawn(len(x), pixels) + 1)
            ),
            lambda x, pixels: F.grid_sample(
                x,
                F.affine_grid(
                    torch.cat(
                        [
                            torch.eye(2).expand(len(x), 2, 2),
                            pixels
                            * (torch.rand(len(x), 2, 1) - 0.5)
                            / torch.tensor([[x.shape[3]], [x.shape[2]]]),
                        ],
                        dim=2,
                    ),
                    list(x.shape),
                    align_corners=False,
                ),
                align_corners=False,
            ),
        ],
        "Nothing moves. Draw a shift for every digit and use it.": lambda x, pixels: x.clone(),
        "Only the first digit is shifted, the others come back blank: is the `return` inside the loop?": (
            lambda x, pixels: (
                _shifted(x, _drawn(len(x), pixels)) * (torch.arange(len(x)) == 0).reshape(-1, 1, 1, 1)
            )
        ),
        "All digits of a batch move down by the same number, drawn once. Draw two numbers for each digit.": (
            lambda x, pixels: _shifted(
                x,
                torch.cat([_drawn(1, pixels)[:, :1].expand(len(x), 1), _drawn(len(x), pixels)[:, :1]], dim=1),
            )
        ),
        "All digits of a batch move to the right by the same number, drawn once. Draw two numbers for each digit.": (
            lambda x, pixels: _shifted(
                x,
                torch.cat([_drawn(len(x), pixels)[:, :1], _drawn(1, pixels)[:, :1].expand(len(x), 1)], dim=1),
            )
        ),
    }
)


@augment_digit.mistake(
    "A mirrored 2 is not a 2. Use only changes after which the label is still right: no flips."
)
def _(x, pixels):
    moved = _shifted(x, _drawn(len(x), pixels))
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, moved.flip(-1), moved)


# Initialization ----------------------------------------------------------------------------------------------


growth = lesson.prediction(
    "growth",
    Question(
        20.0,
        "Each layer multiplies the typical size by √100 = 10, so twenty layers make 10²⁰.",
        {
            40.0: "Each layer multiplies the *variance* by 100. The typical size is its root: times 10.",
            1.0: "That is one layer. There are twenty of them, and the factors multiply.",
            2.0: "A sum of 100 such terms has the variance 100, so the typical size 10. And there are twenty layers.",
            0.0: "Each output is a sum of 100 random terms, and such a sum is larger than a single term, by "
            "a factor of √100.",
            200.0: "Factors multiply: ten times ten times ten …, twenty times, is a power of ten.",
        },
        tolerance=0.3,
    ),
    hints=[
        "The variances of independent terms add up: 100 terms of variance 1.",
        "So the size of an output is about √100 = 10 times that of an input. After twenty layers: ten to "
        "what power?",
    ],
)

_SPREADS = {
    "√(2 / inputs)": lambda outputs, inputs: (2 / inputs) ** 0.5,
    "√(2 / outputs)": lambda outputs, inputs: (2 / outputs) ** 0.5,
    "√(1 / inputs)": lambda outputs, inputs: (1 / inputs) ** 0.5,
    "√(1 / outputs)": lambda outputs, inputs: (1 / outputs) ** 0.5,
    "2 / inputs": lambda outputs, inputs: 2 / inputs,
    "√(2 / (inputs + outputs))": lambda outputs, inputs: (2 / (inputs + outputs)) ** 0.5,
    "√(1 / (3 · inputs))": lambda outputs, inputs: (1 / (3 * inputs)) ** 0.5,
    "√2 / inputs": lambda outputs, inputs: 2**0.5 / inputs,
    "2 / √inputs": lambda outputs, inputs: 2 / inputs**0.5,
    "√(2 / (3 · inputs))": lambda outputs, inputs: (2 / (3 * inputs)) ** 0.5,
    "1": lambda outputs, inputs: 1.0,
    "√(inputs / 2)": lambda outputs, inputs: (inputs / 2) ** 0.5,
    "√inputs": lambda outputs, inputs: inputs**0.5,
    "1 / inputs": lambda outputs, inputs: 1 / inputs,
    "√2": lambda outputs, inputs: 2**0.5,
    "2": lambda outputs, inputs: 2.0,
    "0.1": lambda outputs, inputs: 0.1,
    "0.01": lambda outputs, inputs: 0.01,
    "0.02": lambda outputs, inputs: 0.02,
    "5 / (3 · √inputs)": lambda outputs, inputs: 5 / (3 * inputs**0.5),
    "√(2 / (inputs · outputs))": lambda outputs, inputs: (2 / (inputs * outputs)) ** 0.5,
    "√(6 / inputs)": lambda outputs, inputs: (6 / inputs) ** 0.5,
    "√(1 / (inputs + outputs))": lambda outputs, inputs: (1 / (inputs + outputs)) ** 0.5,
    "(2 / inputs)²": lambda outputs, inputs: (2 / inputs) ** 2,
}


def _facts_of_start(he_init, outputs, inputs):
    """What can be seen of many random numbers."""
    weight, again = he_init(outputs, inputs), he_init(outputs, inputs)
    if weight is None:
        return None
    if not isinstance(weight, torch.Tensor):
        return _facts_of_start(_right_start, outputs, inputs) | {"what comes back": type(weight).__name__}
    numbers = weight.detach().double().flatten()
    deviation, right = numbers.std().item(), (2 / inputs) ** 0.5
    if deviation < 1e-9:
        same = "0: all numbers are 0" if not numbers.any() else "0: all numbers are the same"
        return _facts_of_start(_right_start, outputs, inputs) | {"the standard deviation is": same}
    formula = next(
        (name for name, rule in _SPREADS.items() if abs(deviation / rule(outputs, inputs) - 1) < 0.04),
        f"{deviation / right:.2g} times √(2 / inputs)",
    )
    tails = ((numbers - numbers.mean()) / deviation).pow(4).mean().item()  # 3 for a normal distribution
    negative = (numbers < 0).double().mean().item()
    matrix = weight if weight.ndim == 2 else weight.reshape(1, -1)
    rows = len(matrix) > 1 and bool((matrix == matrix[:1]).all())
    columns = len(matrix) > 1 and bool((matrix == matrix[:, :1]).all())
    return {
        "what comes back": "a tensor",
        "the shape": f"{tuple(weight.shape)}",
        "the standard deviation is": formula,
        "the signs": "both"
        if 0.02 < negative < 0.98
        else "no negative numbers"
        if negative < 0.5
        else "no positive numbers",
        "the mean is 0": abs(numbers.mean().item()) < 0.035 * deviation or rows or columns,
        "the distribution is": "normal"
        if abs(tails - 3) < 0.5 or rows or columns
        else "uniform"
        if abs(tails - 1.8) < 0.15
        else "another",
        "all rows are alike": rows,
        "all columns are alike": columns,
        "every call draws anew": not torch.equal(weight, again),
    }


def _right_start(outputs, inputs):
    return he_init.reference(outputs, inputs)


@lesson.exercise(
    observe=_facts_of_start,
    cases={
        "more outputs than inputs": (230, 70),
        "more inputs than outputs": (45, 570),
        "a square": (170, 170),
    },
    hints=[
        "The variance is 2 / inputs. What is the standard deviation, by which you multiply `torch.randn`?",
        "`torch.randn(outputs, inputs) * (2 / inputs) ** 0.5`.",
    ],
)
def he_init(outputs, inputs):
    """Return a He-initialized weight matrix (outputs, inputs): normal, mean 0, variance 2 / inputs."""
    return torch.randn(outputs, inputs) * (2 / inputs) ** 0.5


def _start(spread, *, draw=torch.randn):
    return lambda outputs, inputs: draw(outputs, inputs) * spread(outputs, inputs)


for _spread, _sentence in {
    "√(2 / outputs)": "A unit sums over its inputs, so their number, the fan-in, is what counts; this "
    "divides by the outputs.",
    "√(1 / inputs)": "The 2 is missing: ReLU sets about half of the values to 0, and the factor makes up "
    "for that.",
    "2 / inputs": "2 / inputs is the variance. Multiply by its root, the standard deviation.",
    "√(2 / (inputs + outputs))": "That is Xavier's variance, 2 / (inputs + outputs). He's is 2 / inputs.",
    "√(1 / outputs)": "The variance is 2 / inputs: the number of inputs counts, and the 2 is missing.",
    "1": "These have variance 1. Multiply by the root of 2 / inputs.",
    "√2 / inputs": "The root belongs over the whole fraction: √(2 / inputs), not √2 / inputs.",
    "2 / √inputs": "The 2 belongs under the root as well: √(2 / inputs), not 2 / √inputs.",
    "√(inputs / 2)": "You divide by the standard deviation. Multiply by it: the more inputs, the smaller the weights.",
    "√inputs": "The weights grow with the number of inputs. They should shrink: times √(2 / inputs).",
    "1 / inputs": "Divide by the root, not by the number of inputs itself, and the 2 belongs there too: √(2 / inputs).",
    "√2": "The number of inputs is not used: the standard deviation is √(2 / inputs), not √2.",
    "2": "These have standard deviation 2, whatever the number of inputs. It should be √(2 / inputs).",
    "0.1": "0.1 whatever the size of the layer: the standard deviation should be √(2 / inputs).",
    "0.01": "0.01 whatever the size of the layer: the standard deviation should be √(2 / inputs).",
    "0.02": "0.02 whatever the size of the layer: the standard deviation should be √(2 / inputs).",
    "5 / (3 · √inputs)": 'The gain 5/3 is that of tanh. For ReLU it is √2: `nonlinearity="relu"`.',
    "√(2 / (inputs · outputs))": "You divide by the number of all weights. Only the fan-in counts: √(2 / inputs).",
    "√(6 / inputs)": "√(6 / inputs) is the bound of the uniform distribution. A normal one takes √(2 / inputs).",
    "(2 / inputs)²": "The variance was squared. Take its root: √(2 / inputs).",
    "√(1 / (3 · inputs))": "The variance is 1 / (3 · inputs), as `a=math.sqrt(5)` makes it. For ReLU it should be "
    '2 / inputs: leave `a` out, `nonlinearity="relu"`.',
}.items():
    he_init.mistake(_sentence)(_start(_SPREADS[_spread]))


he_init.mistakes(
    {
        "This is not a normal distribution, though its variance is right. Draw with"
        " `torch.randn`.": lambda outputs, inputs: (
            (2 * torch.rand(outputs, inputs) - 1) * (6 / inputs) ** 0.5
        ),
        "`torch.rand` draws from 0 to 1, so no weight is negative. `torch.randn` is the normal "
        "distribution.": {"randn": "rand"},
        "The spread is right, but the mean is not 0: do not add anything to `torch.randn`.": lambda outputs, inputs: (
            (torch.randn(outputs, inputs) + 1) * (2 / inputs) ** 0.5
        ),
        "This is the default of `nn.Linear`: uniform, with variance 1 / (3 · inputs). Draw with `torch.randn`, times "
        "the root of 2 / inputs.": lambda outputs, inputs: nn.Linear(inputs, outputs).weight.detach(),
        "Rows are units: the shape is (outputs, inputs), as in `nn.Linear`.": [
            {"randn(outputs, inputs)": "randn(inputs, outputs)"},
            lambda outputs, inputs: torch.randn(inputs, outputs) * (2 / outputs) ** 0.5,
            lambda outputs, inputs: torch.randn(inputs, outputs) * (2 / (inputs + outputs)) ** 0.5,
            lambda outputs, inputs: torch.randn(inputs, outputs) * 2 / inputs,
            lambda outputs, inputs: torch.randn(inputs, outputs),
            lambda outputs, inputs: torch.randn(inputs, outputs) * (1 / inputs) ** 0.5,
        ],
        "All numbers are 0. If there is a `2 // inputs`, that is 0 for more than two inputs: divide with `/`.": {
            "2 / inputs": "2 // inputs"
        },
        "All numbers are the same: mean and standard deviation are swapped. `torch.normal` takes the mean "
        "first.": lambda outputs, inputs: torch.normal((2 / inputs) ** 0.5, 0.0, (outputs, inputs)),
        "The standard deviation is added, which only moves the mean. Multiply `torch.randn` by it.": {
            " * (2": " + (2"
        },
        "The signs are lost: the absolute values of normal numbers have no mean of 0. Leave `abs` out.": {
            "torch.randn(outputs, inputs)": "torch.randn(outputs, inputs).abs()"
        },
        "All rows are alike: every unit starts with the same weights, and they would learn the same. Draw outputs · "
        "inputs numbers.": [
            lambda outputs, inputs: (torch.randn(inputs) * (2 / inputs) ** 0.5).repeat(outputs, 1),
            lambda outputs, inputs: torch.randn(inputs).repeat(outputs, 1) * (2 / outputs) ** 0.5,
        ],
        "These are the right numbers in a row. Arrange them as a matrix: `torch.randn(outputs, inputs)`.": (
            lambda outputs, inputs: torch.randn(outputs * inputs) * (2 / inputs) ** 0.5
        ),
        "All columns are alike: a unit treats all its inputs alike. Draw outputs · inputs "
        "numbers.": lambda outputs, inputs: (torch.randn(outputs, 1) * (2 / inputs) ** 0.5).repeat(1, inputs),
        "This draws evenly between two bounds. Here the distribution is normal: `torch.randn(outputs, inputs)`, times "
        "√(2 / inputs).": [
            lambda outputs, inputs: (2 * torch.rand(outputs, inputs) - 1) * (2 / inputs) ** 0.5,
            lambda outputs, inputs: (torch.rand(outputs, inputs) - 0.5) * (2 / inputs) ** 0.5,
            lambda outputs, inputs: 2 * torch.rand(outputs, inputs) - 1,
        ],
        "The normal distribution is cut off, so numbers far from 0 are missing: use `torch.randn`, without `clamp` and "
        "without `trunc_normal_`.": lambda outputs, inputs: nn.init.trunc_normal_(
            torch.empty(outputs, inputs),
            std=(2 / inputs) ** 0.5,
            a=-((2 / inputs) ** 0.5),
            b=(2 / inputs) ** 0.5,
        ),
    }
)


@he_init.mistake("Every call gives the same numbers: a seed is set inside. Leave that to the caller.")
def _(outputs, inputs):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(outputs, inputs, generator=generator) * (2 / inputs) ** 0.5


# Part 2: polynomials -----------------------------------------------------------------------------------------


_NARROW = torch.linspace(0, 1, 20, dtype=torch.float64)
_STEEP = sum((-1) ** k * (1 + k % 3) * _NARROW**k for k in range(10))


def _coefficients(fit_polynomial, x, y, degree):
    """The coefficients; of the highest degree, whether they hold a millionth, which is far above rounding."""
    found = fit_polynomial(x, y, degree)
    if degree < 9 or not isinstance(found, torch.Tensor) or found.shape != (degree + 1,):
        return found
    true = torch.tensor([(-1) ** k * (1.0 + k % 3) for k in range(degree + 1)], dtype=x.dtype)
    exact = bool((found - true).abs().max() < 1e-6)
    return {
        "from float64 numbers come": str(x.dtype if exact else found.dtype),
        "the coefficients are exact to a millionth": exact,
    }


@lesson.exercise(
    observe=_coefficients,
    cases={
        "a parabola through three points": (torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 4.0, 9.0]), 2),
        "a line near four points": (
            torch.tensor([0.0, 1.0, 2.0, 3.0]),
            torch.tensor([1.0, 0.0, 4.0, 4.0]),
            1,
        ),
        "a constant": (torch.linspace(0.5, 2, 7), normal(7, seed=2), 0),
        "an ordinary cubic": (torch.linspace(-1, 1, 9), normal(9), 3),
        "points in no order": (normal(8, seed=3), normal(8, seed=4), 2),
        "float64 numbers": (
            torch.linspace(-1, 1, 12, dtype=torch.float64),
            normal(12, seed=1, dtype=torch.float64),
            6,
        ),
        "degree 9 between 0 and 1": (_NARROW, _STEEP, 9),
    },
    hints=[
        "Lesson 1 lifted x into the columns 1, x, x², … and solved a least-squares problem. `torch.stack` makes them.",
        "`W = torch.stack([x**k for k in range(degree + 1)], dim=1)` is (N, degree + 1).",
        "`torch.linalg.lstsq(W, y.unsqueeze(1)).solution` is a column, (degree + 1, 1): apply `.squeeze(1)` "
        "to it.",
    ],
)
def fit_polynomial(x, y, degree):
    """Return the coefficients (degree + 1,) of the least-squares polynomial through x (N,) and y (N,).

    Entry k belongs to the power xᵏ, so the constant comes first.
    """
    powers = torch.stack([x**k for k in range(degree + 1)], dim=1)  # (N, degree + 1)
    return torch.linalg.lstsq(powers, y.unsqueeze(1)).solution.squeeze(1)


def _fit(columns, y):
    return torch.linalg.lstsq(torch.stack(columns, dim=1), y.unsqueeze(1)).solution.squeeze(1)


fit_polynomial.mistakes(
    {
        "The highest power comes first here. Entry k should belong to xᵏ: reverse the "
        "order.": lambda x, y, degree: fit_polynomial.reference(x, y, degree).flip(0),
        "`range(degree)` ends at degree − 1, so the highest power is missing: a "
        "polynomial of degree K has K + 1 terms.": lambda x, y, degree: (
            _fit([x**k for k in range(degree)], y) if degree else x[:0]
        ),
        "The constant is missing: begin with x⁰ = 1, `range(degree + 1)`.": lambda x, y, degree: (
            _fit([x**k for k in range(1, degree + 1)], y) if degree else x[:0]
        ),
        "These are multiples of x, k · x. The columns should be powers: `x**k`.": lambda x, y, degree: (
            torch.linalg.pinv(torch.stack([x * k for k in range(degree + 1)], dim=1)) @ y
        ),
        "You return a column of shape (degree + 1, 1). `.squeeze(1)` makes it (degree + 1,).": [
            lambda x, y, degree: fit_polynomial.reference(x, y, degree).unsqueeze(1),
            lambda x, y, degree: fit_polynomial.reference(x, y, degree).flip(0).unsqueeze(1),
        ],
        "Right for low degrees, but digits are lost for high ones, as when WᵀW is formed: its condition number is the "
        "square of that of W (lesson 1). `torch.linalg.lstsq` works with W itself.": lambda x, y, degree: (
            torch.linalg.solve(_powers(x, degree).T @ _powers(x, degree), _powers(x, degree).T @ y)
        ),
        "`lstsq` returns several things at once. The coefficients are its `.solution`.": {
            ".solution.squeeze(1)": ""
        },
        "x and y are swapped: the powers are those of x.": {"x**k": "y**k", "y.unsqueeze": "x.unsqueeze"},
        "The columns are k to the power x. They should be x to the power k: `x**k`.": {
            "x**k for k": "torch.full_like(x, k) ** x for k"
        },
        "There is one power too many: the powers go up to `degree`, so `range(degree + 1)`.": lambda x, y, degree: (
            torch.linalg.pinv(_powers(x, degree + 1)) @ y
        ),
        "The powers are stacked as rows. Each of them should be a column: `dim=1`.": {
            "dim=1)  #": "dim=0)  #"
        },
        "The powers begin with x¹ and end with degree + 1, so the constant is missing: `range(degree + 1)` begins with "
        "x⁰.": {"range(degree + 1)": "range(1, degree + 2)"},
        "The numbers become float32 on the way, and digits are lost. Keep the type of x.": [
            lambda x, y, degree: fit_polynomial.reference(x.float(), y.float(), degree),
            lambda x, y, degree: torch.linalg.pinv(_powers(x, degree).float()) @ y.float(),
        ],
        "`torch.zeros` and `torch.ones` make float32, whatever x is. Give them `dtype=x.dtype`, or use "
        "`torch.stack`.": [
            {"y.unsqueeze(1))": "y.unsqueeze(1))", "lstsq(powers,": "lstsq(powers.float(),"},
            {"lstsq(powers, y.unsqueeze(1)": "lstsq(powers.float(), y"},
        ],
        "The arguments of `lstsq` are swapped: it solves W c = y, so `lstsq(W, y)`.": [
            {
                "lstsq(powers, y.unsqueeze(1)).solution.squeeze(1)": "lstsq(y.unsqueeze(1), powers).solution[0]"
            },
            {"lstsq(powers, y.unsqueeze(1)).solution.squeeze(1)": "lstsq(y.unsqueeze(1), powers).solution"},
        ],
        "Something was added to WᵀW, which pulls the coefficients towards 0: ridge regression. Plain least squares is "
        "asked for, `lstsq(W, y)`.": [
            lambda x, y, degree, ridge=ridge: torch.linalg.solve(
                _powers(x, degree).T @ _powers(x, degree) + ridge * torch.eye(degree + 1, dtype=x.dtype),
                _powers(x, degree).T @ y,
            )
            for ridge in (1e-4, 1e-3, 1e-2, 0.1, 1.0)
        ],
        "x was shifted or rescaled first, so these are the coefficients of another variable. Take the powers of x "
        "itself.": [
            lambda x, y, degree, change=change: fit_polynomial.reference(change(x), y, degree)
            for change in (
                lambda x: x / x.abs().max(),
                lambda x: x / x.max(),
                lambda x: x - x.mean(),
                lambda x: (x - x.mean()) / x.std(),
                lambda x: (x - x.mean()) / x.std(correction=0),
                lambda x: (x - x.min()) / (x.max() - x.min()),
                lambda x: 2 * (x - x.min()) / (x.max() - x.min()) - 1,
            )
        ],
        "These are the residuals of `lstsq`, what is left of y. The coefficients are its `.solution`.": [
            {".solution.squeeze(1)": ".residuals"},
            lambda x, y, degree: y - _powers(x, degree) @ fit_polynomial.reference(x, y, degree),
        ],
        "`.solution[0]` is the first coefficient alone. All of them are the column `.solution[:, 0]`.": {
            ".solution.squeeze(1)": ".solution[0]"
        },
        "`torch.vander(x)` makes as many powers as there are points, the highest first. Say how many: "
        "`torch.vander(x, degree + 1, increasing=True)`.": [
            lambda x, y, degree: torch.linalg.lstsq(torch.vander(x), y.unsqueeze(1)).solution.squeeze(1),
            lambda x, y, degree: torch.linalg.lstsq(
                torch.vander(x, increasing=True), y.unsqueeze(1)
            ).solution.squeeze(1),
        ],
        "The highest power is missing, and the order is reversed: `torch.vander(x, degree + 1, "
        "increasing=True)`.": lambda x, y, degree: (
            _fit([x**k for k in reversed(range(degree))], y) if degree else x[:0]
        ),
        "The powers are those of y. They should be those of x: `x**k`.": {"x**k": "y**k"},
        "y was shifted first, so the constant is that of another y. Take y as it is.": lambda x, y, degree: (
            fit_polynomial.reference(x, y - y.mean(), degree)
        ),
        "The constant comes last here. Entry k belongs to xᵏ, so it comes first.": lambda x, y, degree: (
            fit_polynomial.reference(x, y, degree).roll(-1)
        ),
        "The powers go up in steps of two: x⁰, x², x⁴, … Take all of them, `x**k`.": {"x**k": "x**(2 * k)"},
        "That is the error of the fit, a single number. Return the coefficients.": [
            lambda x, y, degree: (
                (y - _powers(x, degree) @ fit_polynomial.reference(x, y, degree)).square().sum()
            ),
            lambda x, y, degree: (
                (y - _powers(x, degree) @ fit_polynomial.reference(x, y, degree)).square().mean()
            ),
        ],
        "That is Wᵀy. The least-squares coefficients solve (WᵀW) c = Wᵀy: `torch.linalg.lstsq(W, y)` finds "
        "them.": lambda x, y, degree: _powers(x, degree).T @ y,
        "`torch.linalg.solve` wants as many equations as unknowns, but there are more points than coefficients. "
        "`torch.linalg.lstsq` finds the best compromise.": {
            "torch.linalg.lstsq(powers, y.unsqueeze(1)).solution": "torch.linalg.solve(powers, y.unsqueeze(1))"
        },
        "These are the powers of x. Return the coefficients, the solution of the least-squares problem.": (
            lambda x, y, degree: _powers(x, degree)
        ),
        "That is the pseudo-inverse. Multiply it by y: `torch.linalg.pinv(W) @ y`.": lambda x, y, degree: (
            torch.linalg.pinv(_powers(x, degree))
        ),
    }
)


def _powers(x, degree):
    return torch.stack([x**k for k in range(degree + 1)], dim=1)


@fit_polynomial.mistake(
    "These are the values of the polynomial at x. Return its coefficients, the solution of the "
    "least-squares problem."
)
def _(x, y, degree):
    powers = torch.stack([x**k for k in range(degree + 1)], dim=1)
    return powers @ fit_polynomial.reference(x, y, degree)


# The L1 penalty ----------------------------------------------------------------------------------------------


@lesson.exercise(
    observe=_penalty_and_gradients,
    cases=_NETS,
    hints=["It is the L2 penalty with a different function of w.", "`parameter.abs().sum()`."],
)
def l1_penalty(model, strength):
    """Return strength · Σ|w|, a tensor, summed over all weights of the model.

    Weights are the parameters with two axes or more. Biases, with one, are left out.
    """
    return strength * sum(part.abs().sum() for part in model.parameters() if part.ndim > 1)


_shared_mistakes(
    l1_penalty,
    torch.abs,
    {
        "absolute values are missing": lambda part: part.sum(),
        "the weights are squared, as for the L2 penalty": lambda part: part.square().sum(),
        "`norm()` is the L2 norm": lambda part: part.norm(),
        "means are taken, not sums": lambda part: part.abs().mean(),
        "each tensor is summed before its absolute value is taken": lambda part: part.sum().abs(),
        "there is a ½ too many": lambda part: 0.5 * part.abs().sum(),
    },
)


l1_penalty.mistakes(
    {
        "Without absolute values negative weights are rewarded, and the loss could "
        "fall for ever. Use |w|.": lambda model, strength: (
            strength * sum(part.sum() for part in _weights(model))
        ),
        "The absolute value of the sum lets opposite weights cancel. Take |w| "
        "first, then the sum.": lambda model, strength: (
            strength * sum(part.sum().abs() for part in _weights(model))
        ),
        "The absolute value is taken of the whole sum, in which opposite weights cancel. Take |w| "
        "first.": lambda model, strength: strength * sum(part.sum() for part in _weights(model)).abs(),
        "`abs_` changes the weights themselves. Make new numbers: `w.abs()`.": {".abs()": ".abs_()"},
        "There is no ½ in this penalty: strength · Σ|w|.": lambda model, strength: (
            0.5 * l1_penalty.reference(model, strength)
        ),
        "These are the signs of the weights, the gradient of the penalty. The penalty is the sum of "
        "|w|.": lambda model, strength: strength * sum(part.sign().sum() for part in _weights(model)),
        "These are squares, the L2 penalty. Take absolute values.": lambda model, strength: (
            strength * sum(part.square().sum() for part in _weights(model))
        ),
        "That is the root of the sum of squares. `norm()` is the L2 norm unless you say `norm(p=1)`.": [
            lambda model, strength: strength * sum(part.norm() for part in _weights(model)),
            lambda model, strength: strength * sum(part.square().sum() for part in _weights(model)).sqrt(),
        ],
        "Only the largest weights count here. Add up the absolute values of all of them: "
        "`w.abs().sum()`.": lambda model, strength: (
            strength * sum(part.abs().max() for part in _weights(model))
        ),
    }
)


@l1_penalty.mistake(
    "For a matrix, `torch.linalg.norm(w, 1)` is the largest column sum. Add up all entries: `w.abs().sum()`."
)
def _(model, strength):
    return strength * sum(torch.linalg.norm(part.flatten(1), 1) for part in _weights(model))


# Soft labels -------------------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "one label": (torch.tensor([1]), 3, 0.3),
        "two classes": (torch.tensor([0, 1, 1]), 2, 0.2),
        "an ordinary batch": (torch.tensor([2, 0, 4, 1, 4, 2, 3]), 5, 0.1),
        "last class not among labels": (torch.tensor([1, 1, 0, 3]), 6, 0.15),
        "no smoothing": (torch.tensor([0, 3, 2, 1, 3]), 4, 0.0),
        "nothing left but smoothing": (torch.tensor([1, 0]), 4, 1.0),
        "ten classes": (torch.arange(12) % 10, 10, 0.25),
    },
    hints=[
        "Every class first gets an equal part of ε: ε / classes. What is left, 1 − ε, goes to the true "
        "class.",
        "`F.one_hot(labels, classes)` times 1 − ε, plus ε / classes.",
    ],
)
def smooth_labels(labels, classes, epsilon):
    """Return the smoothed targets (N, classes) of integer labels (N,); every row sums to one.

    A fraction 1 − epsilon of the probability goes to the true class, and the fraction epsilon is
    spread evenly over all classes, the true one included.
    """
    return (1 - epsilon) * F.one_hot(labels, classes) + epsilon / classes


@smooth_labels.mistake(
    "ε is spread over the other classes only. PyTorch spreads it over all of them, the true one included."
)
def _(labels, classes, epsilon):
    true = F.one_hot(labels, classes)
    return (1 - epsilon) * true + epsilon / (classes - 1) * (1 - true)


smooth_labels.mistakes(
    {
        "The true class keeps its whole 1, so the rows sum to more than one: it has to give up ε first.": {
            " (1 - epsilon) *": ""
        },
        "Every class gets the whole ε. Divide it by the number of classes.": {" / classes": ""},
        "ε and 1 − ε are swapped: the true class should keep the fraction "
        "1 − ε.": lambda labels, classes, epsilon: (
            epsilon * F.one_hot(labels, classes) + (1 - epsilon) / classes
        ),
        "These are hard targets: ε is not used.": {
            " (1 - epsilon) *": "",
            " + epsilon / classes": ".float()",
        },
        "ε is divided by the number of labels. Divide it by the number of classes.": {
            "/ classes": "/ len(labels)"
        },
        "Rows are examples, columns are classes: the result is transposed.": lambda labels, classes, epsilon: (
            smooth_labels.reference(labels, classes, epsilon).T
        ),
        "ε is taken from the true class and given to nobody: the rows do not sum to one. Add ε / C to all "
        "classes.": {" + epsilon / classes": ""},
        "The true class ends with a whole 1, so the rows sum to more than one. It keeps 1 − ε, and gets its ε / C on "
        "top.": {"(1 - epsilon) *": "(1 - epsilon / classes) *"},
        "`F.one_hot(labels)` makes as many columns as the largest label needs. Say how many: "
        "`F.one_hot(labels, classes)`.": {"(labels, classes)": "(labels)"},
        "`out[:, labels]` picks these columns in every row, so each row gets the labels of all examples. One place for "
        "each row is `out[torch.arange(N), labels]`.": [
            lambda labels, classes, epsilon: _filled_at(
                labels, classes, epsilon, lambda N: slice(None), add=True
            ),
            lambda labels, classes, epsilon: _filled_at(labels, classes, epsilon, lambda N: slice(None)),
        ],
        "`out[labels]` picks rows, but labels are columns. One place for each row is `out[torch.arange(N), labels]`.": [
            lambda labels, classes, epsilon: _filled_at(labels, classes, epsilon, None, add=True),
            lambda labels, classes, epsilon: _filled_at(labels, classes, epsilon, None),
        ],
        "Labels count from 0, so they are the columns as they are: neither − 1 nor + 1.": [
            {"one_hot(labels, classes)": "one_hot(labels - 1, classes)"},
            {"one_hot(labels, classes)": "one_hot((labels - 1) % classes, classes)"},
            {"one_hot(labels, classes)": "one_hot(labels + 1, classes)"},
            {"one_hot(labels, classes)": "one_hot((labels + 1) % classes, classes)"},
        ],
        "ε is divided by C − 1. It is spread over all C classes, the true one included: ε / C.": [
            {"/ classes": "/ (classes - 1)"},
            lambda labels, classes, epsilon: _two_values(
                labels, classes, 1 - epsilon + epsilon / classes, epsilon / (classes - 1)
            ),
            lambda labels, classes, epsilon: _two_values(
                labels, classes, 1 - epsilon + epsilon / (classes - 1), epsilon / classes
            ),
        ],
        "Ten classes are built in. Their number is `classes`.": [
            {"(labels, classes)": "(labels, 10)", "/ classes": "/ 10"},
            {"(labels, classes)": "(labels, 10)"},
            {"/ classes": "/ 10"},
        ],
        "Each column was divided by its sum. It is the rows that sum to one, and they do so by themselves.": [
            lambda labels, classes, epsilon: (lambda out: out / out.sum(dim=0))(
                smooth_labels.reference(labels, classes, epsilon)
            ),
        ],
        "The two parts are multiplied. Add them: (1 − ε) · one-hot + ε / C.": {"+ epsilon": "* epsilon"},
        "ε is multiplied by the number of classes. Divide it, so that each gets its share.": {
            "/ classes": "* classes"
        },
        "Dividing by the sum of the row is no smoothing by ε. The true class keeps 1 − ε, and each gets ε / C.": [
            lambda labels, classes, epsilon: F.normalize(F.one_hot(labels, classes) + epsilon, p=1, dim=1),
            lambda labels, classes, epsilon: F.normalize(
                F.one_hot(labels, classes) + epsilon / classes, p=1, dim=1
            ),
        ],
        "ε / C is subtracted. Every class *gets* ε / C: add it.": {"+ epsilon": "- epsilon"},
        "Here is a softmax. No exponentials are needed: the true class gets 1 − ε + ε / C, every other ε / C.": [
            lambda labels, classes, epsilon: smooth_labels.reference(labels, classes, epsilon).softmax(dim=1),
            lambda labels, classes, epsilon: F.one_hot(labels, classes).float().softmax(dim=1),
            lambda labels, classes, epsilon: (F.one_hot(labels, classes) / epsilon).softmax(dim=1),
            lambda labels, classes, epsilon: (F.one_hot(labels, classes) * (1 - epsilon)).softmax(dim=1),
        ],
        "The true class loses twice: it should keep 1 − ε and get ε / C on top.": [
            lambda labels, classes, epsilon: _two_values(
                labels, classes, 1 - epsilon - epsilon / classes, epsilon / classes
            ),
            lambda labels, classes, epsilon: _two_values(
                labels, classes, (1 - epsilon) ** 2 + epsilon / classes, epsilon / classes
            ),
        ],
        "The true class gets 1 − ε / C. It keeps 1 − ε, and its own part of ε comes on top: 1 − ε + ε / C.": [
            lambda labels, classes, epsilon: _two_values(
                labels, classes, 1 - epsilon / classes, epsilon / classes
            ),
            lambda labels, classes, epsilon: _two_values(
                labels, classes, 1 - epsilon / classes, epsilon / (classes - 1)
            ),
        ],
        "The targets are whole numbers, so the fractions are cut off. Make them floats: "
        "`F.one_hot(labels, classes).float()`.": lambda labels, classes, epsilon: smooth_labels.reference(
            labels, classes, epsilon
        ).long(),
        "All classes get the same. The true class keeps 1 − ε.": lambda labels, classes, epsilon: torch.full(
            (len(labels), classes), 1 / classes
        ),
        "Every wrong class gets 1 − ε, and the true one ε: it is the other way round, and ε is shared by all C "
        "classes.": lambda labels, classes, epsilon: _two_values(labels, classes, epsilon, 1 - epsilon),
        "These are the probabilities of the true class alone. The result has a column for every class, (N, "
        "classes).": lambda labels, classes, epsilon: torch.full(
            (len(labels),), 1 - epsilon + epsilon / classes
        ),
        "The labels themselves are scaled, as if they were quantities. Make them one-hot first: `F.one_hot(labels, "
        "classes)`.": [
            {"F.one_hot(labels, classes)": "labels"},
            {"F.one_hot(labels, classes)": "labels.unsqueeze(1).expand(-1, classes)"},
        ],
    }
)


def _two_values(labels, classes, true, other):
    """The targets with one value for the true class and another for all others."""
    return torch.where(F.one_hot(labels, classes).bool(), true, other)


def _filled_at(labels, classes, epsilon, rows, *, add=False):
    """The targets, written into the places [rows, labels], or [labels] without rows."""
    out = torch.full((len(labels), classes), epsilon / classes)
    place = labels if rows is None else (rows(len(labels)), labels)
    out[place] = out[place] + 1 - epsilon if add else 1 - epsilon + epsilon / classes
    return out


@smooth_labels.mistake("Every wrong class gets the whole ε. Divide it by the number of classes.")
def _(labels, classes, epsilon):
    true = F.one_hot(labels, classes)
    return (1 - epsilon) * true + epsilon * (1 - true)


@smooth_labels.mistake(
    "The true class gets 1 − ε but no part of the ε: the rows do not sum to one. All classes get ε / C."
)
def _(labels, classes, epsilon):
    true = F.one_hot(labels, classes)
    return (1 - epsilon) * true + epsilon / classes * (1 - true)


# Batch norm --------------------------------------------------------------------------------------------------


def _batch_norm_case(N, D, training, *, seed=0, dtype=torch.float64, momentum=0.1, eps=1e-5):
    return (
        3 + 2 * normal(N, D, seed=seed, dtype=dtype),
        normal(D, seed=seed + 1, dtype=dtype),
        1 + normal(D, seed=seed + 2, dtype=dtype).square(),
        normal(D, seed=seed + 3, dtype=dtype),
        normal(D, seed=seed + 4, dtype=dtype),
        training,
        momentum,
        eps,
    )


def _unit(*values):
    return torch.tensor(values)


@lesson.exercise(
    cases={
        "one unit in training": (
            _unit(1.0, 3.0, 5.0, 7.0).reshape(4, 1),
            _unit(0.0),
            _unit(1.0),
            _unit(1.0),
            _unit(0.0),
            True,
            0.1,
            1e-5,
        ),
        "one unit in eval mode": (
            _unit(1.0, 3.0, 5.0, 7.0).reshape(4, 1),
            _unit(3.0),
            _unit(4.0),
            _unit(2.0),
            _unit(1.0),
            False,
            0.1,
            1e-5,
        ),
        "batch of one, eval mode": _batch_norm_case(1, 4, False, seed=25),
        "float32 numbers in training": _batch_norm_case(7, 2, True, seed=30, dtype=torch.float32),
        "an ordinary batch in training": _batch_norm_case(5, 3, True),
        "an ordinary batch in eval mode": _batch_norm_case(5, 3, False, seed=5),
        "another momentum": _batch_norm_case(7, 4, True, seed=35, momentum=0.3),
        "a large eps": _batch_norm_case(4, 3, True, seed=40, eps=0.1),
        "as many examples as units": _batch_norm_case(6, 6, True, seed=10),
        "a batch with little spread": (
            1e-3 * normal(4, 2, dtype=torch.float64),
            *_batch_norm_case(4, 2, True, seed=15)[1:],
        ),
        "a unit that is constant": (
            normal(5, 2, seed=7, dtype=torch.float64) * torch.tensor([1.0, 0.0]),
            *_batch_norm_case(5, 2, True, seed=45)[1:],
        ),
        "a tiny running variance": (
            normal(3, 2, dtype=torch.float64),
            *_batch_norm_case(3, 2, False, seed=20)[1:2],
            torch.full((2,), 1e-5, dtype=torch.float64),
            *_batch_norm_case(3, 2, False, seed=20)[3:],
        ),
    },
    returns=("y", "the running mean", "the running variance"),
    hints=[
        "There are two cases. In training, use the mean and variance of the batch, along `dim=0`. In eval "
        "mode, use the running ones, unchanged.",
        "`x.var(dim=0, correction=0)` divides by N: normalise with it. `x.var(dim=0)` divides by N − 1: it goes into "
        "the running variance.",
        "`running_mean + momentum * (x.mean(dim=0) - running_mean)` makes a new tensor; so does 0.9 · old + 0.1 · new.",
    ],
)
def batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    """Return (y, running_mean, running_var), as `nn.BatchNorm1d` does it, for x (N, D).

    All others are (D,). y = gamma · (x − mean) / √(variance + eps) + beta, where mean and variance
    are in training those of the batch (variance with N in the denominator), otherwise the running
    ones. In training a running value becomes (1 − momentum) · old + momentum · batch value, where
    the batch variance has N − 1 in the denominator. The arguments stay as they are.
    """
    mean, var = running_mean, running_var
    if training:
        mean, var = x.mean(dim=0), x.var(dim=0, correction=0)
        running_mean = (1 - momentum) * running_mean + momentum * mean
        running_var = (1 - momentum) * running_var + momentum * x.var(dim=0)
    return gamma * (x - mean) / (var + eps).sqrt() + beta, running_mean, running_var


def _batch_norm(
    x, running_mean, running_var, gamma, beta, training, momentum, eps, *, dim=0, correction=0, running=1
):
    """The layer, with what can go wrong as arguments."""
    mean, var = running_mean, running_var
    if training:
        keepdim = dim != 0
        mean, var = x.mean(dim=dim, keepdim=keepdim), x.var(dim=dim, correction=correction, keepdim=keepdim)
        running_mean = (1 - momentum) * running_mean + momentum * x.mean(dim=0)
        running_var = (1 - momentum) * running_var + momentum * x.var(dim=0, correction=running)
    return gamma * (x - mean) / (var + eps).sqrt() + beta, running_mean, running_var


@batch_norm.mistake(
    "In eval mode, an example must not depend on the others in its batch: take the running mean and "
    "variance, not the batch's."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    y = _batch_norm(x, running_mean, running_var, gamma, beta, True, momentum, eps)
    return y if training else (y[0], running_mean, running_var)


@batch_norm.mistake(
    "`training` is ignored. In eval mode, normalise by the running mean and variance, and leave them as "
    "they are."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    return _batch_norm(x, running_mean, running_var, gamma, beta, True, momentum, eps)


@batch_norm.mistake(
    "The batch is normalised with N − 1 in the denominator, `var`'s default. Here it is N: `correction=0`."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    return _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps, correction=1)


@batch_norm.mistake(
    "The running variance takes the batch variance with N − 1 in the denominator, not with N."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    return _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps, running=0)


@batch_norm.mistake(
    "The two variances are swapped: N in the denominator to normalise, N − 1 for the running variance."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    return _batch_norm(
        x, running_mean, running_var, gamma, beta, training, momentum, eps, correction=1, running=0
    )


@batch_norm.mistake(
    "Old and new are weighted the other way round: PyTorch's `momentum`, 0.1, is the weight of the *new* "
    "value."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    return _batch_norm(x, running_mean, running_var, gamma, beta, training, 1 - momentum, eps)


@batch_norm.mistake(
    "The running values are not updated. In training each moves a tenth of the way to the batch's."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    return _batch_norm(x, running_mean, running_var, gamma, beta, training, 0.0, eps)


@batch_norm.mistake(
    "The running values are replaced by the batch's. They should only move a tenth of the way."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    return _batch_norm(x, running_mean, running_var, gamma, beta, training, 1.0, eps)


@batch_norm.mistake(
    "In training, normalise by the mean and variance of the batch. The running ones are for eval mode and "
    "are only updated here."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    y = _batch_norm(x, running_mean, running_var, gamma, beta, False, momentum, eps)[0]
    return y, *_batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)[1:]


@batch_norm.mistake(
    "You normalise with the running values after their update. In training, use the batch's own."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    new = _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)[1:]
    return _batch_norm(x, *new, gamma, beta, False, momentum, eps)[0], *new


@batch_norm.mistake(
    "eps is added to the standard deviation. It belongs under the root, to the variance: √(variance + eps)."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    _, mean, var = _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)
    centre, spread = (x.mean(dim=0), x.var(dim=0, correction=0)) if training else (running_mean, running_var)
    return gamma * (x - centre) / (spread.sqrt() + eps) + beta, mean, var


@batch_norm.mistake(
    "eps enters the running variance. Store the variance of the batch itself; eps is added where you divide, in "
    "both modes."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    y, mean, var = _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)
    if training:
        return y, mean, var + momentum * eps
    return _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, 0.0)


@batch_norm.mistake(
    "Two slips: eps belongs under the root, to the variance, and the running variance takes the batch variance with "
    "N − 1 in the denominator."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    _, mean, var = _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps, running=0)
    centre, spread = (x.mean(dim=0), x.var(dim=0, correction=0)) if training else (running_mean, running_var)
    return gamma * (x - centre) / (spread.sqrt() + eps) + beta, mean, var


@batch_norm.mistake("eps is missing. Without it a constant column divides by 0: √(variance + eps).")
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    return _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, 0.0)


@batch_norm.mistake(
    "Every example was normalised over its own units: that is layer norm. Batch norm averages over the batch, `dim=0`."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    return _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps, dim=1)


@batch_norm.mistake(
    "Mean and variance are single numbers here, over all units. Each unit has its own: average over the batch, `dim=0`."
)
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    y = _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)
    if not training:
        return y
    normalised = (x - x.mean()) / (x.var(correction=0) + eps).sqrt()
    mean = (1 - momentum) * running_mean + momentum * x.mean()
    return gamma * normalised + beta, mean, (1 - momentum) * running_var + momentum * x.var()


@batch_norm.mistake("The running values change in eval mode as well. They are updated in training only.")
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    y = _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)[0]
    return y, *_batch_norm(x, running_mean, running_var, gamma, beta, True, momentum, eps)[1:]


@batch_norm.mistake("The running variance takes in the standard deviation. Use `var`, not `std`.")
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    y, mean, var = _batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)
    return y, mean, (1 - momentum) * running_var + momentum * x.std(dim=0) if training else var


batch_norm.mistakes(
    {
        "You divide by the variance. Divide by its root: √(variance + eps).": {
            "(var + eps).sqrt()": "(var + eps)"
        },
        "The mean is not subtracted: (x − mean) first, then divide.": {"(x - mean)": "x"},
        "beta is multiplied by gamma as well. Scale first, then add beta: gamma · (…) + beta.": {
            "gamma * (x - mean) / (var + eps).sqrt() + beta": "gamma * ((x - mean) / (var + eps).sqrt() + beta)"
        },
        "gamma and beta are swapped: gamma is the factor, beta is added.": {
            "gamma * (x": "beta * (x",
            "sqrt() + beta": "sqrt() + gamma",
        },
        "Return three things: the result, the running mean and the running variance.": {
            "+ beta, running_mean, running_var": "+ beta",
        },
        "The new values are added to the old at full weight. Old and new should sum to one: (1 − momentum) · old + "
        "momentum · new.": {"(1 - momentum) * ": ""},
        "Mean and variance are taken over the units of each example, `dim=1`. Batch norm takes them over the batch, "
        "one for each unit: `dim=0`.": [
            {
                "mean, var = x.mean(dim=0), x.var(dim=0, correction=0)": (
                    "mean, var = x.mean(dim=1, keepdim=True), x.var(dim=1, correction=0, keepdim=True)"
                ),
            },
            {
                "mean, var = x.mean(dim=0), x.var(dim=0, correction=0)": (
                    "mean, var = x.mean(dim=1, keepdim=True), x.var(dim=1, correction=0, keepdim=True)"
                ),
                "momentum * x.var(dim=0)": "momentum * x.var(dim=1, keepdim=True)",
            },
            {"dim=0": "dim=1"},
            {"x.mean(dim=0), x.var(dim=0, ": "x.mean(dim=1), x.var(dim=1, "},
            {
                "dim=0, correction=0": "dim=1, correction=0",
                "x.mean(dim=0)": "x.mean(dim=1)",
                "momentum * mean": "momentum * x.mean(dim=0)",
            },
        ],
        "There is a single mean and variance for all units. Each unit has its own: average over the batch only, "
        "`dim=0`.": [
            {"x.mean(dim=0), x.var(dim=0, correction=0)": "x.mean(), x.var(correction=0)"},
            {
                "x.mean(dim=0), x.var(dim=0, correction=0)": "x.mean(), x.var(correction=0)",
                "momentum * mean": "momentum * x.mean(dim=0)",
            },
            {"dim=0, correction=0": "correction=0"},
            {"x.mean(dim=0)": "x.mean()"},
        ],
        "Training and eval mode are swapped: the batch's mean and variance belong to `training=True`, the running ones "
        "to eval mode.": {"if training": "if not training"},
        "You return the batch's mean and variance. The running values come back: (1 − momentum) · old + momentum · "
        "batch value in training, unchanged in eval mode.": [
            {"+ beta, running_mean, running_var": "+ beta, mean, var"},
        ],
        "The running variance takes in the mean. It takes in the batch variance, with N − 1 in the denominator.": {
            "momentum * x.var(dim=0)": "momentum * mean"
        },
        "The running variance is not updated. In training it moves towards the batch variance, as the mean does.": {
            "        running_var = (1 - momentum) * running_var + momentum * x.var(dim=0)\n": ""
        },
        "The running mean is not updated. In training it moves towards the batch mean, as the variance does.": {
            "        running_mean = (1 - momentum) * running_mean + momentum * mean\n": ""
        },
        "gamma is not used: y = gamma · (x − mean) / √(variance + eps) + beta.": {"gamma * (x": "(x"},
        "beta is not used: y = gamma · (x − mean) / √(variance + eps) + beta.": {" + beta": ""},
        "beta is subtracted. Add it: y = gamma · (x − mean) / √(variance + eps) + beta.": {
            " + beta": " - beta"
        },
        "You divide by gamma. It multiplies: y = gamma · (x − mean) / √(variance + eps) + beta.": {
            "gamma * (x - mean)": "(x - mean) / gamma"
        },
        "The mean is added. Subtract it: (x − mean).": {"(x - mean)": "(x + mean)"},
        "eps is added outside of the root, or to the quotient. It belongs to the variance: √(variance + eps).": [
            {"(var + eps).sqrt()": "var.sqrt() + eps"},
        ],
        "eps is subtracted, so the root may be of a negative number: √(variance + eps).": {
            "var + eps": "var - eps"
        },
        "You multiply by the root of the variance. Divide by it.": {"/ (var": "* (var"},
        "In eval mode nothing is normalised. It uses the same formula, with the running mean and variance.": (
            lambda x, running_mean, running_var, gamma, beta, training, momentum, eps: (
                batch_norm.reference(x, running_mean, running_var, gamma, beta, training, momentum, eps)
                if training
                else (gamma * x + beta, running_mean, running_var)
            )
        ),
        "In eval mode x comes back as it is. There too it is normalised, with the running mean and variance.": (
            lambda x, running_mean, running_var, gamma, beta, training, momentum, eps: (
                batch_norm.reference(x, running_mean, running_var, gamma, beta, training, momentum, eps)
                if training
                else (x, running_mean, running_var)
            )
        ),
        "Running mean and running variance are swapped in the result: (y, running_mean, running_var).": {
            "+ beta, running_mean, running_var": "+ beta, running_var, running_mean"
        },
        "In training the batch mean goes with the running variance. Both are those of the batch.": {
            "mean, var = x.mean(dim=0), x.var(dim=0, correction=0)": "mean = x.mean(dim=0)"
        },
        "In training the running mean goes with the batch variance. Both are those of the batch.": {
            "mean, var = x.mean(dim=0), x.var(dim=0, correction=0)": "var = x.var(dim=0, correction=0)",
            "momentum * mean": "momentum * x.mean(dim=0)",
        },
        "These are sums over the batch, not means: `x.mean(dim=0)`.": {"x.mean(dim=0)": "x.sum(dim=0)"},
        "That is the mean of the squares. The variance is the mean of (x − mean)²: `x.var(dim=0, correction=0)`.": {
            "x.var(dim=0, correction=0)": "x.square().mean(dim=0)"
        },
        "For the running mean old and new are weighted the other way round: (1 − momentum) · old + momentum · new, as "
        "for the variance.": {
            "(1 - momentum) * running_mean + momentum * mean": "momentum * running_mean + (1 - momentum) * mean"
        },
        "For the running variance old and new are weighted the other way round: (1 − momentum) · old + momentum · new, "
        "as for the mean.": {
            "(1 - momentum) * running_var + momentum * x": "momentum * running_var + (1 - momentum) * x"
        },
        "`momentum` is not used: 0.1 is built in.": {
            "(1 - momentum)": "0.9",
            "momentum * mean": "0.1 * mean",
            "momentum * x": "0.1 * x",
        },
        "`eps` is not used: 0.00001 is built in.": {"var + eps": "var + 1e-5"},
    }
)


_Y_SLIPS = {
    "the batch is normalised with N − 1 in the denominator": {"x.var(dim=0, correction=0)": "x.var(dim=0)"},
    "eps is missing under the root": {"(var + eps)": "var"},
    "the mean is not subtracted": {"(x - mean)": "x"},
    "the root of the variance is missing": {"(var + eps).sqrt()": "(var + eps)"},
    "gamma and beta are not used": {"gamma * (x": "(x", " + beta": ""},
}
_RUNNING_SLIPS = {
    "`momentum` is the weight of the new value, not of the old": {
        "(1 - momentum) * running_mean + momentum * mean": "momentum * running_mean + (1 - momentum) * mean",
        "(1 - momentum) * running_var + momentum * x": "momentum * running_var + (1 - momentum) * x",
    },
    "the running values are not updated": {
        "        running_mean = (1 - momentum) * running_mean + momentum * mean\n": "",
        "        running_var = (1 - momentum) * running_var + momentum * x.var(dim=0)\n": "",
    },
    "the running variance takes N − 1 in the denominator, not N": {
        "momentum * x.var(dim=0)": "momentum * x.var(dim=0, correction=0)"
    },
}
for (_one, _first), (_two, _second) in itertools.product(_Y_SLIPS.items(), _RUNNING_SLIPS.items()):
    if not (_one.startswith("the batch is") and _two.endswith("not N")):  # above
        batch_norm.mistakes({f"Two slips: {_one}, and {_two}.": _second | _first})


@batch_norm.mistake("gamma and beta are not used: the result is gamma times the normalised x, plus beta.")
def _(x, running_mean, running_var, gamma, beta, training, momentum, eps):
    return _batch_norm(
        x, running_mean, running_var, torch.ones_like(gamma), torch.zeros_like(beta), training, momentum, eps
    )


# Folds -------------------------------------------------------------------------------------------------------


def _dealt_in_order(N, folds):
    return _folds_of(torch.arange(N), folds)


def _facts_of_folds(kfold_indices, N, folds):
    """What can be seen of a partition, whatever its order."""
    pairs = kfold_indices(N, folds)
    if pairs is None:
        return None
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        tensors = isinstance(pairs, list | tuple) and all(isinstance(one, torch.Tensor) for one in pairs)
        kind = "a list of tensors" if tensors else type(pairs).__name__
        return _facts_of_folds(_dealt_in_order, N, folds) | {"what comes back": kind}
    parts = [[torch.as_tensor(part) for part in pair] for pair in pairs]
    if any(part.dtype == torch.bool for pair in parts for part in pair):
        return _facts_of_folds(_dealt_in_order, N, folds) | {"the parts hold": "True and False"}
    if any(part.ndim != 1 for pair in parts for part in pair):
        return _facts_of_folds(_dealt_in_order, N, folds) | {
            "the parts hold": "indices on more than one axis"
        }
    sides = [[part.flatten().tolist() for part in pair] for pair in parts]
    in_order = [index for _, valid in sides for index in valid]
    in_valid, many = sorted(in_order), N > 12  # few examples may be dealt alike by accident
    found = {index for pair in sides for part in pair for index in part}
    shuffled = [torch.as_tensor(valid).flatten().tolist() for _, valid in kfold_indices(N, folds)]
    return {
        "what comes back": "a list of pairs",
        "the parts hold": "indices",
        "the number of pairs": f"{len(sides)}",
        "the indices": f"{min(found, default=0)} to {max(found, default=0)}",
        "the sizes of the validation parts": ", ".join(map(str, sorted(len(valid) for _, valid in sides))),
        "the sizes of the training parts": ", ".join(map(str, sorted(len(part) for part, _ in sides))),
        "of a validation part, in its own training part as well": _most(
            [(len({*one} & {*other}), len({*other})) for one, other in sides]
        ),
        "in neither part of a pair": _most(
            [(N - len({*one, *other} & {*range(N)}), N) for one, other in sides]
        ),
        "the validation parts are all the same": len({tuple(sorted(valid)) for _, valid in sides})
        < len(sides)
        > 1,
        "every example is in exactly one validation part": in_valid == sorted(found),
        "an example occurs twice in a part": any(len({*part}) < len(part) for pair in sides for part in pair),
        "the parts are dealt": _dealt([valid for _, valid in sides], shuffled, folds)
        if many and in_valid == sorted(found)
        else "at random",
    }


def _most(counts):
    """The largest of several (count, of how many) in words, coarse, since numbers vary with the draw."""
    count, whole = max(counts, default=(0, 1))
    return {0: "none", 1: "one example", whole: "all examples"}.get(count, "several examples")


def _dealt(valid, again, folds):
    """How the validation parts are dealt, in words, from those of two calls."""
    if all(max(part) - min(part) == len(part) - 1 for part in valid):
        in_order = all(part == sorted(part) for part in valid)
        return "as blocks of neighbours" + ("" if in_order else ", shuffled inside")
    if all(len({index % folds for index in part}) == 1 for part in valid):
        in_order = all(part == sorted(part) for part in valid)
        return f"every {folds}th example to the same part" + ("" if in_order else ", shuffled inside")
    return "at random" if sorted(map(sorted, valid)) != sorted(map(sorted, again)) else "alike in every call"


@lesson.exercise(
    observe=_facts_of_folds,
    cases={
        "six examples": (6, 2),
        "as many folds as examples": (5, 5),
        "folds of equal size": (24, 4),
        "two folds": (17, 2),
        "a remainder of 2": (23, 3),
        "a remainder of 5": (53, 8),
    },
    hints=[
        "`torch.randperm(N)` is a shuffled deck of indices; `.tensor_split(folds)` deals it into nearly equal parts.",
        "Part i is the validation part of pair i, and `torch.cat` joins all the others.",
    ],
)
def kfold_indices(N, folds):
    """Return a list of `folds` pairs (train, valid) of index tensors for N examples, dealt at random.

    Every example is in the validation part of exactly one pair and in the training part of all the
    others. The sizes of the validation parts differ by at most one, and every call deals anew.
    """
    parts = torch.randperm(N).tensor_split(folds)
    return [
        (torch.cat([part for j, part in enumerate(parts) if j != i]), valid) for i, valid in enumerate(parts)
    ]


def _folds_of(order, folds):
    parts = order.tensor_split(folds)
    return [
        (torch.cat([part for j, part in enumerate(parts) if j != i]), valid) for i, valid in enumerate(parts)
    ]


def _cut_at(places, N):
    return _pairs(torch.randperm(N).tensor_split(places))


def _pairs(parts):
    return [
        (torch.cat([part for j, part in enumerate(parts) if j != i]), valid) for i, valid in enumerate(parts)
    ]


def _by_number(order, folds, part=None):
    """Pairs in which the example itself decides to which part it goes."""
    part = order % folds if part is None else part
    return [(order[part != k], order[part == k]) for k in range(folds)]


def _one_side(N, folds, rest):
    order, ends = torch.randperm(N), [k * N // folds for k in range(folds + 1)]
    return [(rest(order, a, b), order[a:b]) for a, b in itertools.pairwise(ends)]


def _sliced(N, folds, *, before=0, after=0):
    """Pairs cut out of the shuffled order, with these errors at both ends of the validation part."""
    order, ends = torch.randperm(N), [k * N // folds for k in range(folds + 1)]
    return [
        (torch.cat([order[: max(a + before, 0)], order[b + after :]]), order[a:b])
        for a, b in itertools.pairwise(ends)
    ]


@kfold_indices.mistake(
    "Leakage: the training part holds all examples, including those of the validation part. Leave those out."
)
def _(N, folds):
    order = torch.randperm(N)
    return [(order, valid) for valid in order.tensor_split(folds)]


kfold_indices.mistakes(
    {
        "The indices come in a column, (n, 1), as `nonzero()` returns them. Make it one axis: `.flatten()`.": (
            lambda N, folds: [
                (one[:, None], other[:, None]) for one, other in kfold_indices.reference(N, folds)
            ]
        ),
        "The data are not shuffled: they are often sorted by class, and then a fold lacks "
        "a class. Deal out `torch.randperm(N)`.": lambda N, folds: _folds_of(torch.arange(N), folds),
        "Every call deals the same parts: a seed is set inside. Seeding is up to the "
        "caller, so draw from torch's generator.": lambda N, folds: _folds_of(
            torch.randperm(N, generator=torch.Generator().manual_seed(0)), folds
        ),
        "You reshuffle for every fold: then some examples are validated twice and others "
        "never. Shuffle once, then cut.": lambda N, folds: [
            _folds_of(torch.randperm(N), folds)[i] for i in range(folds)
        ],
        "The two parts of every pair are swapped: first train, the large part, then valid.": lambda N, folds: [
            (valid, rest) for rest, valid in _folds_of(torch.randperm(N), folds)
        ],
        "`chunk` and `split` round the size up, so the last part is short. `tensor_split` makes sizes "
        "that differ by at most one.": {"tensor_split": "chunk"},
        "These are masks of True and False. Return the indices where they are True: "
        "`mask.nonzero().squeeze(1)`.": lambda N, folds: [
            (part != i, part == i) for part in [torch.randperm(N) % folds] for i in range(folds)
        ],
        "The last part takes the whole remainder. Sizes may differ by one only: deal the remainder out, one example to "
        "each part.": lambda N, folds: _cut_at([i * (N // folds) for i in range(1, folds)], N),
        "The training part is the next fold only. It should hold all the others.": lambda N, folds: [
            (parts[i - 1], parts[i])
            for parts in [torch.randperm(N).tensor_split(folds)]
            for i in range(folds)
        ],
        "You return only one pair. Each of the parts is the validation part once.": lambda N, folds: (
            _folds_of(torch.randperm(N), folds)[:1]
        ),
        "These are the parts themselves. Return a pair for each: all the others, and this "
        "one.": lambda N, folds: list(torch.randperm(N).tensor_split(folds)),
        "An example is lost between validation part and what follows: with `order[a:b]` the rest goes on at b, "
        "`order[b:]`, since the end of a slice is excluded.": lambda N, folds: _sliced(N, folds, after=1),
        "An example is lost before the validation part: with `order[a:b]` the part before it is `order[:a]`, since the "
        "end of a slice is excluded.": lambda N, folds: _sliced(N, folds, before=-1),
        "Leakage: one example of the validation part is in the training part as well. With `order[a:b]` the rest is "
        "`order[:a]` and `order[b:]`.": [
            lambda N, folds: _sliced(N, folds, before=1),
            lambda N, folds: _sliced(N, folds, after=-1),
        ],
        "The training part holds only one side of the shuffled order, what comes before the validation part or what "
        "comes after it. Join both.": [
            lambda N, folds: _one_side(N, folds, lambda order, a, b: order[:a]),
            lambda N, folds: _one_side(N, folds, lambda order, a, b: order[b:]),
        ],
        "The part of an example follows from its number, i % folds, in every call. Shuffle first, and deal the places "
        "in the shuffled order: `order[k::folds]`.": [
            lambda N, folds: _by_number(torch.randperm(N), folds),
            lambda N, folds: _by_number(torch.arange(N), folds),
        ],
        "Examples are shuffled inside their parts only, so neighbours stay together in every call. Shuffle all of "
        "them, then cut.": lambda N, folds: _pairs(
            [part[torch.randperm(len(part))] for part in torch.arange(N).tensor_split(folds)]
        ),
        "`split(N // folds)` takes the size of a part, so a remainder makes one part more. `tensor_split(folds)` takes "
        "their number.": lambda N, folds: _pairs(torch.randperm(N).split(N // folds)),
        "`split(folds)` takes the size of a part, not the number of parts. `tensor_split(folds)` takes their "
        "number.": lambda N, folds: _pairs(torch.randperm(N).split(folds)),
        "Indices count from 0: `torch.randperm(N)` is right as it is.": lambda N, folds: [
            (train + 1, valid + 1) for train, valid in _folds_of(torch.randperm(N), folds)
        ],
        "Examples are drawn with replacement, so some come twice and others never. `torch.randperm(N)` is a shuffled "
        "deck.": lambda N, folds: _folds_of(torch.randint(N, (N,)), folds),
        "Every example draws its part by itself, so the sizes differ by more than one. Shuffle the examples, then cut "
        "the deck into equal parts.": [
            lambda N, folds: _by_number(torch.arange(N), folds, torch.randint(folds, (N,))),
        ],
        "One part is missing: every part is the validation part once, the last and the first as well.": [
            lambda N, folds: kfold_indices.reference(N, folds)[:-1],
            lambda N, folds: kfold_indices.reference(N, folds)[1:],
        ],
        "The training part is a list of the other parts. Join them to one tensor: `torch.cat(...)`.": lambda N, folds: [
            ([part for j, part in enumerate(parts) if j != i], valid)
            for parts in [torch.randperm(N).tensor_split(folds)]
            for i, valid in enumerate(parts)
        ],
        "It is the same part that is validated each time. In pair i, part i is kept back.": lambda N, folds: (
            kfold_indices.reference(N, folds)[:1] * folds
        ),
        "Validation and training part are the same. Leave the part itself out of the others.": lambda N, folds: [
            (part, part) for part in torch.randperm(N).tensor_split(folds)
        ],
    }
)


@kfold_indices.remark(
    "A remark: these are lists or arrays. Index tensors, as asked for, keep to the device and the functions of "
    "PyTorch: `torch.tensor(...)`."
)
def _(attempt):
    return not all(isinstance(part, torch.Tensor) for pair in attempt(6, 2) for part in pair)


@kfold_indices.mistake(
    "`N // folds` drops the remainder: the last examples are never validated. `tensor_split` deals them out too."
)
def _(N, folds):
    order = torch.randperm(N)
    size = N // folds
    return [
        (torch.cat([order[: i * size], order[(i + 1) * size :]]), order[i * size : (i + 1) * size])
        for i in range(folds)
    ]


# Adversaries -------------------------------------------------------------------------------------------------


def _fixed(*layers, name):
    return _random_net(*layers, name=name)


def _linear_reader():
    net = _Tiny(nn.Flatten(), nn.Linear(4, 2), name="a linear net for 2 × 2 images")
    net[1].weight.data = torch.tensor([[1.0, -2.0, 0.0, 3.0], [0.0, 1.0, 0.0, 0.2]])
    net[1].bias.data = torch.tensor([0.1, -0.1])
    return net


def _grey(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@lesson.exercise(
    cases={
        "a grey image": (_linear_reader(), torch.full((1, 1, 2, 2), 0.5), torch.tensor([0]), 0.1),
        "pixels near 0 and 1": (
            _linear_reader(),
            torch.tensor([[[[0.0, 1.0], [0.95, 0.02]]]]),
            torch.tensor([1]),
            0.1,
        ),
        "an epsilon of 0": (_linear_reader(), _grey(3, 1, 2, 2, seed=2), torch.tensor([1, 0, 1]), 0.0),
        "a batch of five": (
            _fixed(nn.Flatten(), nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 3), name="9 → 6 → 3 with tanh"),
            _grey(5, 1, 3, 3),
            torch.tensor([0, 1, 2, 2, 1]),
            0.05,
        ),
        "a network in eval mode": (
            _fixed(
                *(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)),
                name="with batch norm",
            ).eval(),
            _grey(4, 1, 2, 3, seed=3),
            torch.tensor([2, 0, 1, 1]),
            0.07,
        ),
        "float64 numbers": (
            _fixed(nn.Flatten(), nn.Linear(6, 3), name="a linear net in float64").double(),
            _grey(2, 1, 3, 2, seed=4).double(),
            torch.tensor([2, 1]),
            0.2,
        ),
        "a convolutional network": (
            _fixed(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4), name="a convolutional net"),
            _grey(3, 1, 4, 4, seed=1),
            torch.tensor([3, 0, 1]),
            0.3,
        ),
    },
    hints=[
        "You need the gradient with respect to the images, not the weights: "
        "`x = x.clone().requires_grad_()`.",
        "`torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]` is that gradient, and leaves those of "
        "the weights alone.",
        "Then `(x + epsilon * gradient.sign()).clamp(0, 1)`, detached from the graph: `.detach()`.",
    ],
)
def fgsm(model, x, y, epsilon):
    """Return images x (N, C, H, W) with values 0 to 1 after an attack with the fast gradient sign method.

    Every pixel moves by epsilon in the direction in which the cross-entropy of model(x) with the true
    labels y (N,) grows, and is then brought back to the range from 0 to 1.
    """
    x = x.clone().requires_grad_()
    gradient = torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]
    return (x + epsilon * gradient.sign()).clamp(0, 1).detach()


def _gradient(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]


def _of_true_logit(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, y.unsqueeze(1)).sum(), x)[0]


def _of_squares(model, x, y):
    x = x.clone().requires_grad_()
    logits = model(x)
    return torch.autograd.grad((logits - F.one_hot(y, logits.shape[1])).square().sum(), x)[0]


def _unrecorded(model, x, y):
    with torch.no_grad():
        return F.cross_entropy(model(x), y)


def _backward(loss, x):
    """What `x.grad` is after backpropagation: None where x does not record it."""
    loss.backward()
    return x.grad


def _stepped(x, gradient, epsilon):
    return (x + epsilon * gradient.sign()).clamp(0, 1)


def _of_logits(model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).sum(), x)[0]


fgsm.mistakes(
    {
        "The sign is wrong: this makes the loss smaller and helps the network. Add, to make it grow.": [
            lambda model, x, y, epsilon: (x - epsilon * _gradient(model, x, y).sign()).clamp(0, 1),
            lambda model, x, y, epsilon: x - epsilon * _gradient(model, x, y).sign(),
        ],
        "Some pixels left the range from 0 to 1, so this is not an image: "
        "`.clamp(0, 1)`.": lambda model, x, y, epsilon: x + epsilon * _gradient(model, x, y).sign(),
        "The gradient itself was added. Only its sign counts: every pixel "
        "moves by the whole epsilon.": lambda model, x, y, epsilon: (
            x + epsilon * _gradient(model, x, y)
        ).clamp(0, 1),
        "epsilon is not used: a full step of 1 makes every pixel black or white.": lambda model, x, y, epsilon: (
            (x + _gradient(model, x, y).sign()).clamp(0, 1)
        ),
        "That is only the perturbation. Add it to the images.": lambda model, x, y, epsilon: (
            epsilon * _gradient(model, x, y).sign()
        ),
        "Some pixels exceed 1. Images range from 0 to 1: `.clamp(0, 1)`.": lambda model, x, y, epsilon: (
            x + epsilon * _gradient(model, x, y).sign()
        ).clamp(min=0),
        "You follow the gradient of the logits. It is the loss that should grow: the cross-entropy of model(x) with "
        "y.": lambda model, x, y, epsilon: (x + epsilon * _of_logits(model, x).sign()).clamp(0, 1),
        "All images get the same perturbation. Each has its own gradient: do not average over the "
        "batch.": lambda model, x, y, epsilon: (
            x + epsilon * _gradient(model, x, y).sum(dim=0, keepdim=True).sign()
        ).clamp(0, 1),
        "Nothing moves: the images come back as they were. Add epsilon times the sign of the "
        "gradient.": lambda model, x, y, epsilon: x.clone(),
        "Pixels move by half an epsilon. The step is epsilon itself.": lambda model, x, y, epsilon: (
            x + epsilon / 2 * _gradient(model, x, y).sign()
        ).clamp(0, 1),
        "Every pixel gets brighter, whatever its gradient is. Multiply epsilon by the sign of the "
        "gradient.": [
            lambda model, x, y, epsilon: (x + epsilon).clamp(0, 1),
            lambda model, x, y, epsilon: (x + epsilon * _gradient(model, x, y).abs().sign()).clamp(0, 1),
        ],
        "Some pixels are below 0. Images range from 0 to 1: `.clamp(0, 1)`.": lambda model, x, y, epsilon: (
            x + epsilon * _gradient(model, x, y).sign()
        ).clamp(-1, 1),
        "The step was clamped instead of the image, so no pixel gets darker. Add first, then `.clamp(0, 1)` what comes "
        "out.": lambda model, x, y, epsilon: x + (epsilon * _gradient(model, x, y).sign()).clamp(0, 1),
        "The gradient was clamped instead of the image. Take its sign, add, then `.clamp(0, 1)` what comes out.": [
            lambda model, x, y, epsilon: x + epsilon * _gradient(model, x, y).clamp(0, 1),
            lambda model, x, y, epsilon: x + epsilon * _gradient(model, x, y).clamp(-1, 1),
            lambda model, x, y, epsilon: (x + epsilon * _gradient(model, x, y).clamp(-1, 1)).clamp(0, 1),
        ],
        "There is no gradient at x: it has to record one before it goes through the model, `x = "
        "x.clone().requires_grad_()`, and `loss.backward()` has to run before `x.grad` is read.": [
            lambda model, x, y, epsilon: _stepped(x, _backward(F.cross_entropy(model(x), y), x), epsilon),
            {".clone().requires_grad_()": ".clone()"},
        ],
        "The loss was computed under `torch.no_grad()`, so nothing can be differentiated. Only the step may stand "
        "there.": [
            lambda model, x, y, epsilon: _stepped(x, _backward(_unrecorded(model, x, y), x), epsilon),
            lambda model, x, y, epsilon: torch.autograd.grad(_unrecorded(model, x, y), x),
        ],
        "Only the logit of the true class is pushed down, as `F.nll_loss` does with logits. The loss depends on all of "
        "them: `F.cross_entropy(model(x), y)`.": {"F.cross_entropy": "F.nll_loss"},
        "`F.cross_entropy` expects logits and applies the softmax itself: do not apply one before.": {
            "(model(x), y)": "(model(x).softmax(dim=1), y)"
        },
        "The arguments of `F.cross_entropy` are swapped: the logits come first, then the labels.": {
            "(model(x), y)": "(y, model(x))"
        },
        "The signs are random: the model is not asked. Take the sign of the gradient of its loss.": [
            lambda model, x, y, epsilon: (x + epsilon * torch.randn_like(x).sign()).clamp(0, 1),
            lambda model, x, y, epsilon: (x + epsilon * (2 * torch.rand_like(x) - 1).sign()).clamp(0, 1),
            lambda model, x, y, epsilon: (x + epsilon * (2 * torch.rand_like(x) - 1)).clamp(0, 1),
            lambda model, x, y, epsilon: (x + epsilon * torch.randn_like(x)).clamp(0, 1),
        ],
        "The images are rescaled to the range from 0 to 1, which moves pixels that were inside it. Cut off what "
        "exceeds it: `.clamp(0, 1)`.": [
            lambda model, x, y, epsilon: (lambda z: (z - z.min()) / (z.max() - z.min()))(
                x + epsilon * _gradient(model, x, y).sign()
            ),
            lambda model, x, y, epsilon: (lambda z: z / z.max())(x + epsilon * _gradient(model, x, y).sign()),
            lambda model, x, y, epsilon: (x + epsilon * _gradient(model, x, y).sign()).sigmoid(),
        ],
        "You follow the logit of the true class upwards, which helps the network. It is the cross-entropy that should "
        "grow.": lambda model, x, y, epsilon: (x + epsilon * _of_true_logit(model, x, y).sign()).clamp(0, 1),
        "You follow another loss, squared errors. The attack follows the cross-entropy of model(x) with y: "
        "`F.cross_entropy(model(x), y)`.": lambda model, x, y, epsilon: _stepped(
            x, _of_squares(model, x, y), epsilon
        ).clamp(0, 1),
        "The logits are no loss: `backward` starts from a single number. Take the cross-entropy of model(x) with y.": {
            "F.cross_entropy(model(x), y)": "model(x)"
        },
        "The images were detached on their way into the model, so no gradient reaches them. Pass the x that records "
        "it.": {"model(x)": "model(x.detach())"},
        "The images were clamped to ±epsilon, which is the range of the step. Images range from 0 to 1: "
        "`.clamp(0, 1)`.": lambda model, x, y, epsilon: (x + epsilon * _gradient(model, x, y).sign()).clamp(
            -epsilon, epsilon
        ),
        "epsilon is divided by 255. The pixels range from 0 to 1 already, and epsilon is in their units.": (
            lambda model, x, y, epsilon: _stepped(x, _gradient(model, x, y), epsilon / 255)
        ),
        "The gradient is divided by its largest entry, or its mean, so most pixels hardly move. Its *sign* moves every "
        "pixel by epsilon.": [
            lambda model, x, y, epsilon: (lambda g: (x + epsilon * g / g.abs().max()).clamp(0, 1))(
                _gradient(model, x, y)
            ),
            lambda model, x, y, epsilon: (lambda g: (x + epsilon * g / g.abs().mean()).clamp(0, 1))(
                _gradient(model, x, y)
            ),
            lambda model, x, y, epsilon: (x + epsilon * _gradient(model, x, y).tanh()).clamp(0, 1),
        ],
        "The sign of the gradient is multiplied by the image as well. Every pixel moves by epsilon, whatever its value "
        "is.": lambda model, x, y, epsilon: (x + epsilon * x * _gradient(model, x, y).sign()).clamp(0, 1),
        "The images are multiplied instead of shifted. Add epsilon times the sign.": lambda model, x, y, epsilon: (
            (x * epsilon * _gradient(model, x, y).sign()).clamp(0, 1)
        ),
        "Pixels move by 2 epsilon. The step is epsilon itself.": lambda model, x, y, epsilon: (
            x + 2 * epsilon * _gradient(model, x, y).sign()
        ).clamp(0, 1),
        "Pixels move by epsilon². The step is epsilon itself.": lambda model, x, y, epsilon: (
            x + epsilon**2 * _gradient(model, x, y).sign()
        ).clamp(0, 1),
        "That is the gradient, or its sign. Return the images, moved by epsilon times the sign.": [
            lambda model, x, y, epsilon: _gradient(model, x, y),
            lambda model, x, y, epsilon: _gradient(model, x, y).sign(),
        ],
        "The sign was taken of the image as well: it is only the gradient whose sign counts, x + epsilon · "
        "sign(gradient).": lambda model, x, y, epsilon: (
            (x + epsilon * _gradient(model, x, y)).sign().clamp(0, 1)
        ),
        "`torch.autograd.grad` returns a tuple, one gradient for each input: take its first entry, `[0]`.": {
            ", x)[0]": ", x)"
        },
        "Only the first image is attacked. Each has a gradient of its own.": lambda model, x, y, epsilon: (
            torch.cat([(x + epsilon * _gradient(model, x, y).sign()).clamp(0, 1)[:1], x[1:]])
        ),
        "Two slips: the network's own prediction is attacked, not the true labels, and pixels leave the range from 0 "
        "to 1.": lambda model, x, y, epsilon: (
            x + epsilon * _gradient(model, x, model(x).argmax(dim=1)).sign()
        ),
        "Two slips: the gradient itself is added, not its sign, and pixels leave the range from 0 to 1.": (
            lambda model, x, y, epsilon: x + epsilon * _gradient(model, x, y)
        ),
        "Two slips: the gradient itself is taken, not its sign, and it is subtracted.": lambda model, x, y, epsilon: (
            (x - epsilon * _gradient(model, x, y)).clamp(0, 1)
        ),
        "You minimise the loss of the predicted class: that strengthens the prediction. Add, and take the true "
        "labels.": lambda model, x, y, epsilon: (
            x - epsilon * _gradient(model, x, model(x).argmax(dim=1)).sign()
        ).clamp(0, 1),
    }
)


@fgsm.mistake("Here the gradient is scaled to length 1. The *sign* method moves every pixel by epsilon.")
def _(model, x, y, epsilon):
    gradient = _gradient(model, x, y)
    return (x + epsilon * gradient / gradient.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)).clamp(0, 1)


@fgsm.mistake("The whole gradient is scaled to length 1. The *sign* method moves every pixel by epsilon.")
def _(model, x, y, epsilon):
    gradient = _gradient(model, x, y)
    return (x + epsilon * gradient / gradient.norm()).clamp(0, 1)


@fgsm.mistake(
    "You attack the network's own prediction. Use the true labels y: where the network is already wrong, "
    "the two differ."
)
def _(model, x, y, epsilon):
    return (x + epsilon * _gradient(model, x, model(x).argmax(dim=1)).sign()).clamp(0, 1)


@fgsm.remark(
    "A remark: the result still hangs on the graph that made it, which takes memory and stops NumPy. `.detach()` it."
)
def _(attempt):
    return attempt(_linear_reader(), torch.full((1, 1, 2, 2), 0.5), torch.tensor([0]), 0.1).requires_grad


@fgsm.remark(
    "A remark: the attack leaves gradients behind in the network's parameters, and the next training step might add to "
    "them. `torch.autograd.grad(loss, x)` does not."
)
def _(attempt):
    net = _linear_reader()
    attempt(net, torch.full((1, 1, 2, 2), 0.5), torch.tensor([0]), 0.1)
    return any(part.grad is not None for part in net.parameters())


# The quiz ----------------------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "Every answer is in the lesson: sections 4, 5, 8, 10, 12, 15 and 17.",
        "Ask first on which digits it fails: on those it trained on, or only on others?",
    ],
    more_capacity=Question(
        "c",
        "More freedom always fits the training data better. On new data it helps until it begins to fit the noise.",
        {
            "a": "Look at the right end of the sweep in section 8: there the validation error rises.",
            "b": "A larger class contains the smaller one, so the training error cannot rise, if training "
            "finds the best fit.",
            "d": "The training error falls with every parameter. It is the validation error that turns.",
        },
    ),
    both_bad=Question(
        "b",
        "It fails on the digits it trained on: it underfits, or does not train. It needs more freedom or "
        "better optimisation.",
        {
            "a": "That is a cure for overfitting. This network has not even learned its own digits.",
            "c": "More digits do not help a network that cannot fit those it has.",
            "d": "Early stopping ends training sooner, and this network has learned too little as it is.",
        },
    ),
    weight_decay_is=Question(
        "a",
        "Under plain SGD both multiply every weight by the same factor per step. Adam divides the penalty's gradient.",
        {
            "b": "Adam divides the penalty's gradient by √v, so weights with large gradients shrink less.",
            "c": "Under SGD they agree to rounding: section 10 compared them.",
            "d": "It needs no gradient noise: the two differ by what Adam divides by.",
        },
    ),
    dropout_at_test=Question(
        10.0,
        "In eval mode dropout passes x on. The factor 1/(1 − p) was applied in training.",
        {
            7.5: "That is the older form, which scales at test time. PyTorch scales in training instead.",
            13.333: "That is what a kept unit outputs in training.",
            2.5: "That is what is dropped on average in training. In eval mode nothing is.",
            0.0: "In eval mode nothing is dropped.",
        },
        tolerance=0.01,
    ),
    which_augmentation=Question(
        "d",
        "A stain on the glass leaves a 7 a 7. The others can change the label.",
        {
            "a": "A mirrored 2 is not a 2.",
            "b": "A 6 upside down is a 9.",
            "c": "Half of a 4 cut off may well be a 1.",
        },
    ),
    batch_of_one=Question(
        "b",
        "One value has no spread: x minus its mean is 0, whatever x was. In eval mode the running values are used.",
        {
            "a": "In train mode batch norm uses the batch, and here the batch is a single example.",
            "c": "Layer norm would not mind: it averages over the units of one example.",
            "d": "The learning rate has nothing to do with it.",
        },
    ),
    winner=Question(
        "c",
        "The best of fifty noisy scores is partly the luckiest. Fresh data do not share that luck.",
        {
            "a": "Nothing says that these test digits are harder. Choosing the best is enough to make a "
            "score too optimistic.",
            "b": "It was chosen on the validation digits, not trained on them.",
            "d": "Then the next score would be one that was chosen, too, and equally optimistic.",
        },
    ),
    copies_in_both=Question(
        "a",
        "A rotated copy of a validation digit is in the training part, so memorizing passes for "
        "generalizing.",
        {
            "b": "Augmentation is fine, on the training part, after the split.",
            "c": "The number of folds does not matter: the copies are spread over all of them.",
            "d": "Shuffling is what spreads the copies over the folds.",
        },
    ),
)


# Homework ----------------------------------------------------------------------------------------------------

# Where the test part of the sample holds digits that the lesson hands out as the first 500 training or as validation
# digits when it runs on the full data: both come from MNIST's training set. A test compares them.
_HANDED_OUT = [
    0, 2, 5, 54, 70, 71, 73, 101, 107, 109, 113, 119, 137, 157, 160, 174, 181, 184, 191, 198, 200, 207, 210, 212, 227,
    237, 253, 261, 278, 280, 284, 295, 299, 310, 312, 322, 338, 345, 395, 432, 440, 447, 452, 456, 459, 460, 461, 519,
    528, 535, 537, 541, 548, 590, 597, 607, 671, 682, 691, 695, 696, 698, 711, 714, 722, 723, 725, 738, 742, 754, 759,
    768, 771, 775, 779, 785, 800, 810, 818, 825, 860, 885, 902, 905, 913, 920, 921, 950, 954, 965, 974, 986, 997, 998,
]  # fmt: skip


def _digits_kept_back():
    """906 digits that are neither among the 500 nor among the validation digits, the same for everyone."""
    with contextlib.redirect_stdout(io.StringIO()):
        kept = data.mnist("sample").test
    fresh = torch.ones(len(kept), dtype=torch.bool)
    fresh[_HANDED_OUT] = False
    return data.Split(kept.x[fresh], kept.y[fresh])


def _digit_scores(logits, labels):
    return {"accuracy": (logits.argmax(dim=1) == labels).float().mean().item()}


@lesson.trained_model(
    attempt="best_net",
    held_out=_digits_kept_back,
    score=_digit_scores,
    floors={"accuracy": 0.91},
    hints=[
        "One cure helped more than all the others together. Put it into an objective that looks at "
        "`model.training`.",
        "`v2.RandomAffine` draws once for a batch. `RandomAffineEach` of section 5 draws for every digit; "
        "train for 60 epochs or more, since the digits are never the same twice.",
        "Add `OneCycleLR(optimizer, max_lr=1e-2, epochs=epochs, steps_per_epoch=10)` and `label_smoothing=0.2`.",
    ],
)
def beat_the_baseline(few, valid):
    """Return a network from digits (N, 1, 28, 28) to logits (N, 10), trained on the 500 digits `few`.

    The split `valid` is for choosing, not for training.
    """
    torch.manual_seed(0)
    device, epochs = few.x.device, 80
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    net = net.to(device)
    batches = few.batches(50, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-2, epochs=epochs, steps_per_epoch=len(batches)
    )

    def warped(x):
        still = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], device=device)
        maps = still + 0.25 * (torch.rand(len(x), 2, 3, device=device) * 2 - 1)  # each digit its own
        grid = F.affine_grid(maps, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    def objective(model, x, y):
        logits = model(warped(x) if model.training else x)
        smoothing = 0.2 if model.training else 0.0
        return {"loss": F.cross_entropy(logits, y, label_smoothing=smoothing)}

    train.fit(net, batches, epochs=epochs, objective=objective, optimizer=optimizer, scheduler=schedule)
    return net


def _right(model, x, y):
    return (model(x).argmax(dim=1) == y).float().mean()


@beat_the_baseline.symptom(
    "It does hardly better than guessing. Did you give the optimizer its parameters, and did `fit` run?"
)
def _(model, digits):
    return _right(model, digits.x, digits.y) < 0.3


@beat_the_baseline.symptom(
    "The same digits get different predictions at every call: augmentation or dropout is still active in "
    "eval mode. Make it depend on `model.training`."
)
def _(model, digits):
    return not torch.equal(model(digits.x[:50]), model(digits.x[:50]))


@beat_the_baseline.symptom(
    "Its rows sum to one: there is a softmax at its end, and the cross-entropy applied a second one during "
    "training. End with the logits."
)
def _(model, digits):
    return torch.allclose(
        model(digits.x).sum(dim=1), torch.ones(len(digits), device=digits.x.device), atol=1e-3
    )


@beat_the_baseline.symptom(
    "It classifies mirrored digits nearly as well as ordinary ones, so it was trained with flips. They "
    "change what a digit means: leave them out."
)
def _(model, digits):
    upright = _right(model, digits.x, digits.y)
    return _right(model, digits.x.flip(-1), digits.y) > upright - 0.1 and upright > 0.4


@beat_the_baseline.symptom(
    "A shift by two pixels costs it at least a fifth of its right answers: it recognizes digits only where "
    "it saw them. Augment each digit independently, and train for 60 epochs or more."
)
def _(model, digits):
    shifted = torch.stack([_right(model, digits.x.roll(by, dims=-1), digits.y) for by in (-2, 2)]).mean()
    return shifted < 0.8 * _right(model, digits.x, digits.y)


@beat_the_baseline.symptom(
    "It has learned something, but not enough. A learning rate with a warm-up and a decay, label smoothing and more "
    "epochs are the next things to try."
)
def _(model, digits):
    return _right(model, digits.x, digits.y) > 0.7
