import itertools
import time

import pytest
import scipy.special
import torch
import torch.nn.functional as F
from torch import nn

from coursekit import data
from coursekit.checks import models
from coursekit.exercises import lesson03 as ex
from tests.exercises.contract import Contract
from tests.posix import only_posix

# Right answers, each written in another way ------------------------------------------------------------------


def count_in_a_loop(widths):
    total = 0
    for layer in range(1, len(widths)):
        total += widths[layer] * (widths[layer - 1] + 1)
    return total


def count_with_torch(widths):
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    return torch.tensor(sum(part.numel() for layer in layers for part in layer.parameters()))


def relu_by_autograd(a):
    a = a.clone().requires_grad_()
    value = F.relu(a)
    return [value, torch.autograd.grad(value.sum(), a)[0]]


def softmax_in_a_loop(logits):
    rows = []
    for row in logits:
        shifted = torch.exp(row - row.max())
        rows.append(shifted / shifted.sum())
    return torch.stack(rows)


def cross_entropy_in_a_loop(logits, labels):
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        row = row - row.max()
        total += torch.log(torch.exp(row).sum()) - row[label]
    return total / len(labels)


def forward_example_by_example(x, W1, b1, W2, b2):
    hidden = torch.stack([torch.tanh(W1 @ example + b1) for example in x])
    return hidden, torch.stack([W2 @ h + b2 for h in hidden])


def backward_by_autograd(x, labels, h, logits, W2):
    logits = logits.detach().requires_grad_()
    (delta2,) = torch.autograd.grad(F.cross_entropy(logits, labels), logits)
    delta1 = torch.einsum("nc,ch->nh", delta2, W2) * (1 - h.square())
    return (
        torch.einsum("nh,ni->hi", delta1, x),
        delta1.sum(0),
        torch.einsum("nc,nh->ch", delta2, h),
        delta2.sum(0),
    )


def backward_in_a_loop(x, labels, h, logits, W2):
    totals = None
    for n in range(len(x)):
        p = logits[n].softmax(0).clone()
        p[labels[n]] -= 1
        d1 = (W2.T @ p) * (1 + h[n]) * (1 - h[n])
        one = [d1.outer(x[n]), d1, p.outer(h[n]), p]
        totals = one if totals is None else [a + b for a, b in zip(totals, one, strict=True)]
    return [total / len(x) for total in totals]


class OwnMLP(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        sizes = [784, *hidden, 10]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x):
        x = x.view(len(x), -1)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


def own_mlp(hidden):
    return OwnMLP(hidden)


def mlp_by_add_module(hidden):
    net = nn.Sequential(nn.Flatten())
    inputs = 784
    for number, units in enumerate(hidden):
        net.add_module(f"linear{number}", nn.Linear(inputs, units))
        net.add_module(f"bend{number}", nn.ReLU(inplace=True))
        inputs = units
    net.append(nn.Linear(inputs, 10))
    return net


def step_zeroing_first(model, optimizer, x, y):
    model.train(True)
    optimizer.zero_grad(set_to_none=False)
    loss = nn.CrossEntropyLoss()(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def step_zeroing_afterwards(model, optimizer, x, y):
    model.train()
    loss = nn.functional.nll_loss(model(x).log_softmax(1), y)
    loss.backward()
    optimizer.step()
    model.zero_grad()
    return float(loss.detach())


def step_with_the_loss_by_hand(model, optimizer, x, y):
    """It rounds otherwise than F.cross_entropy."""
    model.train()
    logits = model(x)
    loss = (logits.logsumexp(dim=1) - logits[torch.arange(len(y)), y]).sum() / len(y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def step_by_autograd_grad(model, optimizer, x, y):
    model.train()
    loss = -torch.log_softmax(model(x), dim=1)[range(len(y)), y].mean()
    parameters = list(model.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def accuracy_by_concatenation(model, batches):
    model.eval()
    return torch.cat([model(x).argmax(-1) == y for x, y in batches]).double().mean()


def accuracy_weighted(model, batches):
    model.train(False)
    total = sum(len(y) for _, y in batches)
    return sum((model(x).max(1).indices == y).float().mean().item() * len(y) / total for x, y in batches)


def accuracy_that_puts_the_mode_back(model, batches):
    model.eval()
    right, seen = torch.tensor(0), 0
    with torch.inference_mode():
        for x, y in batches:
            right = right + torch.eq(model(x).argmax(1), y).sum()
            seen += y.numel()
    model.train()
    return (right / seen).item()


class StandardiseStored(nn.Module):
    def __init__(self, data):
        super().__init__()
        deviation = data.std(0)
        deviation[deviation < 0.1] = 0.1
        self.register_buffer("stored", torch.stack([data.mean(0), deviation]))

    def forward(self, x):
        return (x - self.stored[0]) / self.stored[1]


class StandardiseAffine(nn.Module):
    def __init__(self, data):
        super().__init__()
        scale = 1 / torch.clamp(torch.std(data, dim=0), 0.1)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", -data.mean(0) * scale)

    def forward(self, x):
        return x * self.scale + self.shift


def confusion_in_a_loop(labels, predictions, classes):
    counts = torch.zeros(classes, classes)
    for true, predicted in zip(labels, predictions, strict=True):
        counts[true, predicted] += 1
    return counts


def confusion_one_hot(labels, predictions, classes):
    return F.one_hot(labels, classes).T @ F.one_hot(predictions, classes)


class TestLesson03(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "count_parameters": [
            count_in_a_loop,
            count_with_torch,
            lambda widths: sum((a + 1) * b for a, b in itertools.pairwise(widths)),
        ],
        "relu_and_derivative": [
            relu_by_autograd,
            lambda a: (torch.where(a > 0, a, 0), a > 0),
            lambda a: (a * (a >= 0), (a >= 0).float()),
        ],
        "softmax": [
            softmax_in_a_loop,
            lambda z: torch.exp(z - z.logsumexp(1, keepdim=True)),
            nn.Softmax(dim=1),
            lambda z: torch.from_numpy(scipy.special.softmax(z.numpy(), axis=1)),
        ],
        "cross_entropy": [
            cross_entropy_in_a_loop,
            lambda z, y: -(torch.log_softmax(z, 1) * F.one_hot(y, z.shape[1])).sum() / len(z),
            lambda z, y: F.cross_entropy(z, y).item(),
            lambda z, y: (z.logsumexp(1) - z.gather(1, y[:, None]).squeeze(1)).mean(),
        ],
        "forward": [
            forward_example_by_example,
            lambda x, W1, b1, W2, b2: [h := F.linear(x, W1, b1).tanh(), torch.addmm(b2, h, W2.t())],
        ],
        "backward": [backward_by_autograd, backward_in_a_loop],
        "build_mlp": [own_mlp, mlp_by_add_module, OwnMLP],
        "train_step": [
            step_zeroing_first,
            step_zeroing_afterwards,
            step_by_autograd_grad,
            step_with_the_loss_by_hand,
        ],
        "accuracy": [accuracy_by_concatenation, accuracy_weighted, accuracy_that_puts_the_mode_back],
        "Standardise": [StandardiseStored, StandardiseAffine],
        "confusion_matrix": [confusion_in_a_loop, confusion_one_hot],
    }
    equivalent = {}  # noqa: RUF012


def mlp_with_relus(hidden, *, first=False, last=False):
    layers = [nn.Flatten(), *([nn.ReLU()] if first else [])]
    for inputs, outputs in itertools.pairwise([784, *hidden, 10]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*(layers if last else layers[:-1]))


def test_relu_too_many_is_not_called_one_missing():
    assert ex.build_mlp(mlp_with_relus).status == "correct"
    for places, sentence in [
        ({"last": True}, "A ReLU after the last layer"),
        ({"first": True}, "a ReLU before the first layer"),
        ({"first": True, "last": True}, "before the first layer and after the last"),
    ]:
        for seed in range(5):

            def attempt(hidden, seed=seed, places=places):
                torch.manual_seed(seed)
                return mlp_with_relus(hidden, **places)

            verdict = ex.build_mlp(attempt)
            assert sentence in verdict.message, verdict
            assert "missing" not in verdict.message


def test_solutions_agree_with_pytorch():
    logits, labels = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 4
    torch.testing.assert_close(ex.softmax.reference(logits), torch.softmax(logits, dim=1))
    torch.testing.assert_close(ex.cross_entropy.reference(logits, labels), F.cross_entropy(logits, labels))
    net = ex.build_mlp.reference([16, 8])
    widths = [784, 16, 8, 10]
    assert ex.count_parameters.reference(widths) == sum(part.numel() for part in net.parameters())


def test_backward_agrees_with_autograd():
    x, labels = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 3
    weights = [
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in [(4, 5), (4,), (3, 4), (3,)]
    ]
    h, logits = ex.forward.reference(x, *weights)
    F.cross_entropy(logits, labels).backward()
    with torch.no_grad():
        gradients = ex.backward.reference(x, labels, h, logits, weights[2])
    for gradient, part in zip(gradients, weights, strict=True):
        torch.testing.assert_close(gradient, part.grad)


def test_confusion_matrix_agrees_with_scikit_learn():
    from sklearn import metrics

    labels, predictions = torch.arange(50) % 4, torch.arange(50) // 3 % 4
    ours = ex.confusion_matrix.reference(labels, predictions, 4)
    assert ours.tolist() == metrics.confusion_matrix(labels, predictions).tolist()


# The homework ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scaled():
    jets = data.jets()
    mean, deviation = jets.train.x.mean(dim=0), jets.train.x.std(dim=0)
    return [data.Split((split.x - mean) / deviation, split.y) for split in (jets.train, jets.valid)]


@pytest.fixture(scope="module")
def tagger(scaled):
    return ex.jet_tagger.reference(*scaled)


def test_jets_kept_back_are_none_of_those_handed_out():
    given = data.shipped("jets.npz")["x"]
    kept_back = data.shipped("jets_held_out.npz")["x"]
    rows = {row.tobytes() for row in given}
    assert len(kept_back) == 6000
    assert not any(row.tobytes() in rows for row in kept_back)


def test_homework_net_passes_and_stays_in_the_mode_it_had(tagger):
    tagger.train()
    verdict = ex.jet_tagger(tagger)
    assert verdict.status == "correct", verdict
    assert "6,000 examples that you were not given" in verdict.message
    assert tagger.training


def test_homework_net_of_another_build_passes(scaled):
    from coursekit import train

    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(15, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5))
    train.fit(net, scaled[0].batches(256, shuffle=True), scaled[1].batches(2000), epochs=20)
    assert ex.jet_tagger(net).status == "correct"


def frozen(layer: nn.Linear, weight, bias) -> nn.Linear:
    layer.weight.data, layer.bias.data = weight, bias
    return layer


class Raw(nn.Module):
    """A good tagger for raw features."""

    def __init__(self, tagger):
        super().__init__()
        self.tagger = tagger

    def forward(self, x):
        mean, deviation = ex._jet_scaling()
        return self.tagger((x - mean) / deviation)


class Shifted(nn.Module):
    """Logits of every class in the place of the next."""

    def forward(self, logits):
        return logits.roll(1, dims=1)


WITHOUT_Z = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0]))
WITHOUT_Z[3, 2] = 1  # the logit of Z is that of W, less a little


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            lambda tagger: nn.Sequential(nn.Linear(15, 5), nn.ReLU(), nn.Linear(5, 5)),
            "hardly better than guessing",
        ),
        (
            lambda tagger: nn.Sequential(tagger, frozen(nn.Linear(5, 5), torch.zeros(5, 5), torch.eye(5)[0])),
            "one kind",
        ),
        (Raw, "raw features"),
        (
            lambda tagger: nn.Sequential(tagger, frozen(nn.Linear(5, 5), WITHOUT_Z, -0.1 * torch.eye(5)[3])),
            "hardly tells W from Z",
        ),
        (lambda tagger: frozen(nn.Linear(15, 5), torch.eye(5, 15), torch.zeros(5)), "one affine map"),
        (lambda tagger: nn.Sequential(nn.Linear(15, 5), nn.Softmax(dim=1)), "softmax at its end"),
        (lambda tagger: nn.Sequential(tagger, Shifted()), "numbers them otherwise"),
    ],
)
def test_tagger_below_the_floor_is_told_why(tagger, wrong, sentence):
    torch.manual_seed(0)
    verdict = ex.jet_tagger(wrong(tagger))
    assert verdict.status == "wrong"
    assert sentence in verdict.message, verdict


class Sleeper(nn.Module):
    def forward(self, x):
        time.sleep(5)


@only_posix
def test_tagger_that_never_ends_is_stopped_and_told_so(monkeypatch):
    monkeypatch.setattr(models, "LIMIT_S", 0.3)
    verdict = ex.jet_tagger(nn.Sequential(nn.Linear(15, 5), Sleeper()))
    assert "Stopped after 0.3 s on 6,000 examples" in verdict.message


def test_time_that_loading_takes_is_not_counted(monkeypatch, tagger):
    load = ex.jet_tagger.held_out
    monkeypatch.setattr(models, "LIMIT_S", 2)
    monkeypatch.setattr(ex.jet_tagger, "held_out", lambda: (time.sleep(2.5), load())[1])
    assert ex.jet_tagger(tagger).status == "correct"


def test_tagger_that_is_none_is_told_what_is_asked():
    assert ex.jet_tagger(None).status == "not attempted"
    assert "`nn.Module`, but this arrived: 3" in ex.jet_tagger(3).message
    assert "logits of shape (500, 5)" in ex.jet_tagger(nn.Linear(15, 4)).message
    assert ex.jet_tagger(nn.Linear(16, 5)).status == "raised"
    broken = frozen(nn.Linear(15, 5), torch.full((5, 15), torch.nan), torch.zeros(5))
    assert "nan or inf" in ex.jet_tagger(broken).message


def test_right_answers_that_break_in_later_cells_get_a_remark():
    def by_exponentials(x, W1, b1, W2, b2):
        a = x @ W1.T + b1
        h = (a.exp() - (-a).exp()) / (a.exp() + (-a).exp())
        return h, h @ W2.T + b2

    class Own(nn.Module):
        def __init__(self, hidden):
            super().__init__()
            self.layers = ex.build_mlp.reference(hidden)

        def forward(self, x):
            return self.layers(x)

    for verdict, words in (
        (ex.forward(by_exponentials), "exp overflows"),
        (ex.build_mlp(Own), "nn.Sequential"),
    ):
        assert verdict.status == "correct"
        assert [words in remark for remark in verdict.remarks] == [True]
    assert not ex.forward(ex.forward.reference).remarks
    assert not ex.build_mlp(ex.build_mlp.reference).remarks
