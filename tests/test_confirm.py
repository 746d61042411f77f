"""Verdicts confirmed where none of the attempt's code runs: what a network did, played back to the same check."""

import io

import pytest
import torch
from torch import nn

from coursekit.checks import ModelExercise, borne_out, confirm, evidence
from coursekit.data import Split

X = torch.linspace(-1, 1, 40).reshape(20, 2)
Y = (X[:, 0] > 0).long()


class SameBackwards(ModelExercise):
    """A network that has to say the same of the examples in any order."""

    def _verdict_on(self, model, split):
        verdict = super()._verdict_on(model, split)
        same = torch.equal(model(split.x.flip(0)).flip(0), model(split.x))
        return verdict if same else self._wrong("It depends on the order.")


class TwoNumbers(ModelExercise):
    """Two numbers that have to be equal, as the weights of two runs."""

    def _judge(self, given, named):
        return self._correct("") if torch.equal(given[0]["w"], given[0]["v"]) else self._wrong("They differ.")


def made(kind=ModelExercise):
    def sign():
        return net()

    return kind(
        sign, attempt="net", held_out=lambda: Split(X, Y), hints=["one", "two"], floors={"accuracy": 0.9},
        score=lambda logits, y: {"accuracy": (logits.argmax(dim=1) == y).float().mean().item()},
    )  # fmt: skip


def net(sign=1.0):
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.bias)
    layer.weight.data = sign * torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    return nn.Sequential(nn.Flatten(), layer)


class OwnNet(nn.Module):
    """A network whose code can't be sent."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.net = net(sign)

    def forward(self, x):
        return self.net(x)


def arrived(found):
    """Evidence as it arrives from another process: without any code."""
    target = io.BytesIO()
    torch.save(found, target)
    return torch.load(io.BytesIO(target.getvalue()), weights_only=True)


@pytest.mark.parametrize("kind", [ModelExercise, SameBackwards])
@pytest.mark.parametrize("attempt", [net, OwnNet])
def test_right_network_is_borne_out_and_a_wrong_one_is_not(kind, attempt):
    exercise = made(kind)
    assert borne_out(exercise, arrived(evidence(exercise, (attempt(),), {}))) is True
    wrong = arrived(evidence(exercise, (net(-1.0),), {}))
    assert borne_out(exercise, wrong) is False


def test_network_of_plain_layers_is_rebuilt_and_any_other_played_back():
    hooked, cut = net(), nn.Sequential(nn.Flatten(0, 0), *net()[1:])
    hooked[1].register_forward_hook(lambda *_: None)
    assert [layer[0] for layer in evidence(made(), (net(),), {})["layers"]] == ["Flatten", "Linear"]
    for attempt in (OwnNet(), hooked, cut):
        assert "calls" in evidence(made(), (attempt,), {})


def test_network_that_would_take_much_to_run_is_played_back_and_not_rebuilt(monkeypatch):
    monkeypatch.setattr(confirm, "_WIDEST", 3)
    wide = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    wide[0].weight.data = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    wide[1].weight.data = torch.eye(4)[:2]
    for layer in wide:
        nn.init.zeros_(layer.bias)
    assert "calls" in evidence(made(), (wide,), {})
    monkeypatch.setattr(confirm, "_WIDEST", 4)
    sent = evidence(made(), (wide,), {})
    assert borne_out(made(), sent) is True
    monkeypatch.setattr(confirm, "_WIDEST", 3)
    assert borne_out(made(), sent) is False


def test_outputs_that_were_changed_are_not_borne_out():
    found = arrived(evidence(made(SameBackwards), (OwnNet(),), {}))
    asked, outputs = found["calls"][1]
    found["calls"][1] = (asked, outputs + 1)
    assert borne_out(made(SameBackwards), found) is False


def test_check_that_asks_something_else_outside_confirms_nothing_and_accuses_nobody():
    found = arrived(evidence(made(), (OwnNet(),), {}))
    assert borne_out(made(SameBackwards), found) is None
    assert borne_out(made(), None) is None


def test_weights_without_a_network_are_judged_as_they_are():
    same, other = ({"w": X, "v": X + shift} for shift in (0.0, 1.0))
    exercise = made(TwoNumbers)
    assert borne_out(exercise, arrived(evidence(exercise, (same,), {}))) is True
    assert borne_out(exercise, arrived(evidence(exercise, (other,), {}))) is False


def test_spikes_travel_as_bits_and_come_back_as_they_were():
    class Spiking(nn.Module):
        def forward(self, x):
            spikes = (x[:, :1] > 0).float().expand(len(x), 4000)
            return spikes[:, :2].flip(1) * torch.tensor([-1.0, 1.0]) + 0 * spikes.sum(), spikes

    class Both(ModelExercise):
        def _judge(self, given, named):
            _, spikes = given[0](X)
            right = torch.equal(spikes[:, 0] > 0, Y > 0) and spikes.dtype == torch.float32
            return self._correct("") if right and spikes.shape == (20, 4000) else self._wrong("")

    found = evidence(made(Both), (Spiking(),), {})
    target = io.BytesIO()
    torch.save(found, target)
    assert len(target.getvalue()) < 20 * 4000 * 4 / 20
    assert borne_out(made(Both), arrived(found)) is True
    bits = found["calls"][0][1][1]
    for shape in ((20, 8000), (20, 4000, 10**9)):
        with pytest.raises(ValueError, match="more numbers than bits"):
            confirm._unpacked(bits | {"shape": shape}, torch.device("cpu"))
