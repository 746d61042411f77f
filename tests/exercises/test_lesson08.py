import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from coursekit.exercises import lesson08 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way ------------------------------------------------------------------


def elman_by_the_library(x, W_x, W_h, b, h0):
    rnn = nn.RNN(W_x.shape[1], len(W_x), batch_first=True).to(x.dtype)
    rnn.load_state_dict(
        {"weight_ih_l0": W_x, "weight_hh_l0": W_h, "bias_ih_l0": b, "bias_hh_l0": torch.zeros_like(b)}
    )
    return rnn(x, h0[None])[0]


def elman_into_a_tensor(x, W_x, W_h, b, h0):
    N, T, _ = x.shape
    states = torch.empty(N, T, len(b), dtype=x.dtype)
    inputs = torch.einsum("ntd,hd->nth", x, W_x) + b
    for t in range(T):
        before = h0 if t == 0 else states[:, t - 1]
        states[:, t] = (inputs[:, t] + F.linear(before, W_h)).tanh()
    return states


def elman_example_by_example(x, W_x, W_h, b, h0):
    rows = []
    for sequence, h in zip(x, h0, strict=True):
        states = []
        for x_t in sequence:
            h = torch.tanh(W_x @ x_t + W_h @ h + b)
            states.append(h)
        rows.append(torch.stack(states))
    return torch.stack(rows)


def elman_with_one_matrix(x, W_x, W_h, b, h0):
    W, h, states = torch.cat([W_x, W_h], dim=1), h0, []
    for t in range(x.size(1)):
        h = torch.tanh(torch.cat([x[:, t], h], dim=1) @ W.T + b)
        states += [h.unsqueeze(1)]
    return torch.cat(states, 1)


def count_by_the_library(gates, D, H, both_ways):
    kind = {1: nn.RNN, 3: nn.GRU, 4: nn.LSTM}[gates]
    return sum(p.numel() for p in kind(D, H, bidirectional=both_ways).parameters())


def count_by_shapes(gates, D, H, both_ways):
    rows, total = gates * H, 0
    for shape in [(rows, D), (rows, H), (rows,), (rows,)]:
        total += math.prod(shape)
    return total * (1 + both_ways)


def count_in_brackets(gates, D, H, both_ways):
    n = gates * H * (D + H + 2)
    if both_ways:
        n += n
    return n


def bptt_forward(w, u, x):
    """The derivative of the state is carried along with the state."""
    h = dh = torch.zeros((), dtype=x.dtype)
    for x_t in x:
        new = torch.tanh(w * h + u * x_t)
        dh = (1 - new**2) * (h + w * dh)
        h = new
    return h * dh


def bptt_with_numbers(w, u, x):
    hs = [0.0]
    for x_t in x.tolist():
        hs.append(math.tanh(w * hs[-1] + u * x_t))
    gradient, back = 0.0, hs[-1]
    for t in range(len(x), 0, -1):
        back *= 1 - hs[t] ** 2
        gradient += back * hs[t - 1]
        back *= w
    return gradient


def bptt_by_all_products(w, u, x):
    hs = [x.new_zeros(())]
    for x_t in x:
        hs.append(torch.tanh(w * hs[-1] + u * x_t))
    T, total = len(x), 0
    for s in range(1, T + 1):  # the use of w at step s
        slopes = torch.stack([1 - hs[t] * hs[t] for t in range(s, T + 1)]).prod()
        total += hs[T] * slopes * w ** (T - s) * hs[s - 1]
    return total


def jacobian_backwards(W_h, states):
    product = torch.eye(len(W_h), dtype=W_h.dtype)
    for t in range(len(states) - 1, 0, -1):
        product = product @ torch.diag(1 - states[t].square()) @ W_h
    return product


def jacobian_by_chain(W_h, states):
    steps = [torch.diag_embed(1 - h**2) @ W_h for h in states[1:]]
    return (
        torch.linalg.multi_dot([*reversed(steps), torch.eye(len(W_h)).to(W_h)])
        if steps
        else torch.eye(len(W_h)).to(W_h)
    )


def jacobian_by_autograd(W_h, states):
    """The inputs that lead to these states are what atanh leaves; where it is infinite, nothing flows."""
    first = states[0]

    def last(h):
        for before, after in itertools.pairwise(states):
            gap = after.clamp(-1, 1).atanh() - W_h @ before
            h = torch.tanh(W_h @ h + gap.nan_to_num(posinf=1e4, neginf=-1e4))
        return h

    with torch.enable_grad():
        return torch.autograd.functional.jacobian(last, first)


def radius_in_numpy(W):
    return np.abs(np.linalg.eigvals(W.numpy())).max()


def radius_by_parts(W):
    eigenvalues, _ = torch.linalg.eig(W)
    return max((e.real**2 + e.imag**2) ** 0.5 for e in eigenvalues)


def radius_as_a_number(W):
    return max(abs(e) for e in torch.linalg.eigvals(W).tolist())


def lstm_by_the_library(x, h, c, W_x, W_h, b):
    cell = nn.LSTMCell(x.shape[1], h.shape[1]).to(x.dtype)
    cell.load_state_dict({"weight_ih": W_x, "weight_hh": W_h, "bias_ih": b, "bias_hh": torch.zeros_like(b)})
    return cell(x, (h, c))


def lstm_by_slices(x, h, c, W_x, W_h, b):
    H = h.shape[1]
    a = F.linear(x, W_x, b) + F.linear(h, W_h)
    i, f, o = a[:, :H].sigmoid(), a[:, H : 2 * H].sigmoid(), a[:, -H:].sigmoid()
    new = torch.addcmul(f * c, i, a[:, 2 * H : 3 * H].tanh())
    return [torch.tanh(new) * o, new]


def lstm_gate_by_gate(x, h, c, W_x, W_h, b):
    sums = [
        torch.einsum("nd,hd->nh", x, w) + torch.einsum("nd,hd->nh", h, v) + k
        for w, v, k in zip(W_x.split(h.shape[1]), W_h.split(h.shape[1]), b.split(h.shape[1]), strict=True)
    ]
    i, f, o = (1 / (1 + torch.exp(-sums[n])) for n in (0, 1, 3))
    cell = f * c + i * torch.tanh(sums[2])
    return o * torch.tanh(cell), cell


def gru_by_the_library(x, h, W_x, W_h, b_x, b_h):
    cell = nn.GRUCell(x.shape[1], h.shape[1]).to(x.dtype)
    cell.load_state_dict({"weight_ih": W_x, "weight_hh": W_h, "bias_ih": b_x, "bias_hh": b_h})
    return cell(x, h)


def gru_by_slices(x, h, W_x, W_h, b_x, b_h):
    H = h.size(1)
    gates = torch.sigmoid(x @ W_x[: 2 * H].T + b_x[: 2 * H] + h @ W_h[: 2 * H].T + b_h[: 2 * H])
    r, z = gates[:, :H], gates[:, H:]
    n = torch.tanh(F.linear(x, W_x[2 * H :], b_x[2 * H :]) + r * F.linear(h, W_h[2 * H :], b_h[2 * H :]))
    return torch.lerp(n, h, z)


def gru_by_difference(x, h, W_x, W_h, b_x, b_h):
    a, s = (x @ W_x.T + b_x).view(len(x), 3, -1), (h @ W_h.T + b_h).view(len(x), 3, -1)
    r = (a[:, 0] + s[:, 0]).sigmoid()
    z = (a[:, 1] + s[:, 1]).sigmoid()
    n = (a[:, 2] + r * s[:, 2]).tanh()
    return n + z * (h - n)


def open_by_halves(lstm, bias):
    for layer in lstm.all_weights:
        for parameter in layer[2:]:
            parameter.data[lstm.hidden_size : 2 * lstm.hidden_size].fill_(bias / 2)


@torch.no_grad()
def open_against_the_other(lstm, bias):
    for name, parameter in lstm.named_parameters():
        if "bias_ih" in name:
            other = getattr(lstm, name.replace("ih", "hh"))
            parameter.chunk(4)[1].copy_(bias - other.chunk(4)[1])
    return lstm


def open_by_name(lstm, bias):
    H = lstm.hidden_size
    with torch.no_grad():
        for layer in range(lstm.num_layers):
            for end in ["", "_reverse"][: 1 + lstm.bidirectional]:
                getattr(lstm, f"bias_hh_l{layer}{end}")[H : 2 * H] = bias
                nn.init.zeros_(getattr(lstm, f"bias_ih_l{layer}{end}")[H : H + H])


def open_with_new_parameters(lstm, bias):
    for name, parameter in list(lstm.named_parameters()):
        if "bias" in name:
            new = parameter.detach().clone()
            new.view(4, -1)[1] = bias if "hh" in name else 0
            setattr(lstm, name, nn.Parameter(new))


def last_by_gather(output, lengths):
    index = (lengths - 1).view(-1, 1, 1).expand(-1, 1, output.size(2))
    return output.gather(1, index).squeeze(1)


def last_in_a_loop(output, lengths):
    return torch.stack([one[n - 1] for one, n in zip(output, lengths, strict=True)])


def last_by_one_hot(output, lengths):
    return torch.einsum("nth,nt->nh", output, F.one_hot(lengths - 1, output.shape[1]).to(output))


def last_by_diagonal(output, lengths):
    return output[:, lengths - 1].diagonal(dim1=0, dim2=1).T


def loss_in_loops(logits, targets, lengths):
    total = count = 0
    for row, target, n in zip(logits, targets, lengths, strict=True):
        for t in range(n):
            total = total + row[t].logsumexp(0) - row[t, target[t]]
            count += 1
    return total / count


def loss_by_ignoring(logits, targets, lengths):
    padding = torch.arange(targets.shape[1]).expand_as(targets) >= lengths[:, None]
    return F.cross_entropy(logits.transpose(1, 2), targets.masked_fill(padding, -100))


def loss_by_where(logits, targets, lengths):
    real = torch.arange(targets.shape[1])[None] < lengths[:, None]
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return torch.where(real, losses, torch.zeros_like(losses)).sum() / lengths.sum()


def loss_by_slices(logits, targets, lengths):
    logits = torch.cat([row[:n] for row, n in zip(logits, lengths, strict=True)])
    targets = torch.cat([row[:n] for row, n in zip(targets, lengths, strict=True)])
    return -logits.log_softmax(1)[range(len(targets)), targets].mean()


def loss_of_packed_sequences(logits, targets, lengths):
    packed = [
        pack_padded_sequence(one, lengths, batch_first=True, enforce_sorted=False).data
        for one in (logits, targets)
    ]
    return F.cross_entropy(*packed)


def forecast_by_reading_again(net, head, seen, steps):
    x = seen.clone()
    for _ in range(steps):
        output, _ = net(x)
        x = torch.cat([x, head(output[:, -1]).unsqueeze(1)], dim=1)
    return x[:, seen.shape[1] :, 0]


def forecast_with_the_hidden_state(net, head, seen, steps):
    _, (h, c) = net(seen)
    forecast = torch.zeros(len(seen), steps, dtype=seen.dtype)
    for step in range(steps):
        value = head(h[-1])
        forecast[:, step] = value[:, 0]
        _, (h, c) = net(value[:, None], (h, c))
    return forecast


def forecast_value_by_value(net, head, seen, steps):
    state = None
    for t in range(seen.shape[1]):
        output, state = net(seen[:, t : t + 1], state)
    values = []
    while len(values) < steps:
        values.append(head(output)[:, 0, 0])
        output, state = net(values[-1].reshape(-1, 1, 1), state)
    return torch.stack(values, dim=-1).detach()


def windows_in_a_loop(series, window, train_end, valid_end):
    parts = []
    for begin, end in ((window, train_end), (train_end, valid_end), (valid_end, len(series))):
        times = range(begin, end)
        parts.append(
            (torch.stack([series[t - window : t] for t in times]), torch.stack([series[t] for t in times]))
        )
    return parts


def windows_by_masks(series, window, train_end, valid_end):
    times = torch.arange(window, len(series))
    x = series[times[:, None] - torch.arange(window, 0, -1)]
    y = series[times]
    masks = times < train_end, (times >= train_end) & (times < valid_end), times >= valid_end
    return tuple((x[mask], y[mask]) for mask in masks)


def windows_of_longer_parts(series, window, train_end, valid_end):
    def pairs(part):
        rows = part.unfold(0, window + 1, 1)
        return [rows[:, :-1], rows[:, -1]]

    return [
        pairs(series[:train_end]),
        pairs(series[train_end - window : valid_end]),
        pairs(series[valid_end - window :]),
    ]


class TestLesson08(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "elman": [
            elman_by_the_library,
            elman_into_a_tensor,
            elman_example_by_example,
            elman_with_one_matrix,
        ],
        "count_parameters": [count_by_the_library, count_by_shapes, count_in_brackets],
        "bptt_gradient": [bptt_forward, bptt_with_numbers, bptt_by_all_products],
        "jacobian_product": [jacobian_backwards, jacobian_by_chain, jacobian_by_autograd],
        "spectral_radius": [radius_in_numpy, radius_by_parts, radius_as_a_number],
        "lstm_step": [lstm_by_the_library, lstm_by_slices, lstm_gate_by_gate],
        "gru_step": [gru_by_the_library, gru_by_slices, gru_by_difference],
        "open_forget_gate": [
            open_by_halves,
            open_against_the_other,
            open_by_name,
            open_with_new_parameters,
        ],
        "last_states": [last_by_gather, last_in_a_loop, last_by_one_hot, last_by_diagonal],
        "masked_loss": [
            loss_in_loops,
            loss_by_ignoring,
            loss_by_where,
            loss_by_slices,
            loss_of_packed_sequences,
        ],
        "forecast": [forecast_by_reading_again, forecast_with_the_hidden_state, forecast_value_by_value],
        "windows_by_time": [windows_in_a_loop, windows_by_masks, windows_of_longer_parts],
    }
    equivalent = {  # noqa: RUF012
        "bptt_gradient": ["line 8: Add -> Sub"],  # with −u all states change their sign, and dL/dw stays
    }


# The adding problem ------------------------------------------------------------------------------------------


class Answering(nn.Module):
    """Answers by a function of the sequences, without training."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def marked(x, half):
    """The marked numbers, those of one half or of both."""
    middle = x.shape[1] // 2
    part = {"first": x[:, :middle], "second": x[:, middle:], "both": x}[half]
    return part.prod(dim=2).sum(dim=1)


def verdict_on(answer):
    return ex.remember(Answering(answer))


def adding(count, steps):
    return ex._adding(count, steps, None)


def test_solution_of_the_adding_problem_reaches_the_floor():
    verdict = ex.remember(ex.remember.reference(adding))
    assert verdict.status == "correct", verdict


def test_sums_are_right_with_and_without_an_axis():
    assert verdict_on(lambda x: marked(x, "both")).status == "correct"
    assert verdict_on(lambda x: marked(x, "both")[:, None]).status == "correct"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: torch.ones(len(x)), "gives the mean"),
        (lambda x: torch.ones(len(x), 1), "between (N, 1) and (N,)"),
        (lambda x: marked(x, "both") / 2, "half as large"),
        (lambda x: marked(x, "first") * marked(x, "second"), "multiplies"),
        (lambda x: marked(x, "second") + 0.5, "guesses the first"),
        (lambda x: marked(x, "both") if x.shape[1] < 50 else x[:, -1, 0], "20 steps, but not on 60"),
        (lambda x: marked(x, "both") if x.shape[1] < 15 else x[:, -1, 0], "10 steps"),
        (lambda x: marked(x, "both") + 0.2, "nearly there"),
        (lambda x: marked(x, "both").roll(1), "batch_first"),
        (lambda x: x[:, :, 0].mean(dim=1) * 8, "still falling"),
        (lambda x: x[:, :, 0], "at every step"),
        (lambda x: (x, x), "returns (output, state)"),
        (lambda x: marked(x, "both").mean(), "the shape is ()"),
        (lambda x: marked(x, "both") / 0, "nan or inf"),
    ],
)
def test_networks_that_do_not_add_up_are_told_why(answer, said):
    verdict = verdict_on(answer)
    assert verdict.status == "wrong"
    assert said in verdict.message


def test_a_network_for_60_steps_only_gets_a_verdict():
    net = nn.Sequential(nn.Flatten(), nn.Linear(120, 1))
    nn.init.constant_(net[1].weight, 0.3)
    assert "could not cope" not in ex.remember(net).message


def test_no_network_is_not_attempted():
    assert ex.remember(None).status == "not attempted"
    assert ex.remember(adding).status == "wrong"


# What the library says ---------------------------------------------------------------------------------------


def test_shapes_are_those_of_the_library():
    x = torch.zeros(4, 7, 3)
    output, h_n = nn.RNN(3, 5, batch_first=True)(x)
    both_ways, _ = nn.RNN(3, 5, batch_first=True, bidirectional=True)(x)
    shapes = {name: question.answer for name, question in ex.recurrent_shapes.questions.items()}
    assert shapes == {
        "output": tuple(output.shape),
        "h_n": tuple(h_n.shape),
        "both_ways": tuple(both_ways.shape),
    }


def test_gradient_through_time_agrees_with_autograd():
    w, u, x = torch.tensor(0.9, requires_grad=True), 0.7, torch.tensor([1.0, -0.5, 0.25, 0.8])
    h = torch.zeros(())
    for x_t in x:
        h = torch.tanh(w * h + u * x_t)
    (h**2 / 2).backward()
    torch.testing.assert_close(ex.bptt_gradient.reference(0.9, u, x), w.grad)


def test_autograd_is_told_that_it_is_switched_off():
    def attempt(w, u, x):
        w, h = torch.tensor(w, dtype=x.dtype, requires_grad=True), 0
        for x_t in x:
            h = torch.tanh(w * h + u * x_t)
        return torch.autograd.grad(h**2 / 2, w)[0]

    assert "switched off" in ex.bptt_gradient(attempt).message


def test_opened_gates_pass_on_the_cell():
    lstm = nn.LSTM(2, 3, batch_first=True)
    ex.open_forget_gate.reference(lstm, 30.0)
    c = torch.randn(1, 1, 3)
    lstm.weight_hh_l0.data[:3] = lstm.weight_ih_l0.data[:3] = 0
    lstm.bias_ih_l0.data[:3] = -60
    _, (_, after) = lstm(torch.randn(1, 5, 2), (torch.zeros(1, 1, 3), c))
    torch.testing.assert_close(after, c)


def test_opening_the_gates_needs_no_return_and_none_is_missed():
    verdict = ex.open_forget_gate(lambda lstm, bias: lstm)
    assert verdict.status == "wrong"
    assert "The LSTM is as it was" in verdict.message
