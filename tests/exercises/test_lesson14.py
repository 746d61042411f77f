"""Every exercise of lesson 14 accepts right answers written in any way, and names the classic mistakes."""

import functools
import itertools
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coursekit import data
from coursekit.exercises import lesson14 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way --------------------------------------------------------------------


def time_in_a_loop(drive, tau, threshold=1.0):
    times = []
    for RI in drive:
        times.append(-tau * math.log(1 - threshold / RI) if threshold < RI else math.inf)
    return torch.tensor(times, dtype=drive.dtype)


def time_into_a_tensor(drive, tau, threshold=1.0):
    times = torch.full_like(drive, float("inf"))
    fires = drive > threshold
    times[fires] = tau * (drive[fires].log() - (drive[fires] - threshold).log())
    return times


def time_from_a_clamped_drive(drive, tau, threshold=1.0):
    return -tau * torch.log1p(-threshold / drive.clamp(min=threshold))


def time_by_numpy(drive, tau, threshold=1.0):
    drives = drive.numpy()
    with np.errstate(all="ignore"):
        return torch.from_numpy(
            np.where(drives > threshold, tau * np.log(drives / (drives - threshold)), np.inf)
        )


def time_by_masking(drive, tau, threshold=1.0):
    t = -tau * torch.log(1 - threshold / drive)
    t[drive <= threshold] = torch.inf
    return t


def layer_into_tensors(current, beta, threshold, spike):
    T, N, units = current.shape
    spikes, membrane = torch.zeros(T, N, units), torch.zeros(T, N, units)
    U, S = torch.zeros(N, units), torch.zeros(N, units)
    for t in range(T):
        U = beta * U + current[t] - threshold * S.detach()
        S = spike(U - threshold)
        membrane[t], spikes[t] = U, S
    return spikes, membrane


def layer_from_the_stored_steps(current, beta, threshold, spike):
    spikes, membrane = torch.zeros_like(current), torch.zeros_like(current)
    for t in range(len(current)):
        membrane[t] = current[t]
        if t > 0:
            membrane[t] += beta * membrane[t - 1] - threshold * spikes[t - 1].detach()
        spikes[t] = spike(membrane[t] - threshold)
    return spikes, membrane


def layer_in_place_with_clones(current, beta, threshold, spike):
    U = torch.zeros(current.shape[1:], dtype=current.dtype)
    reset = torch.zeros_like(U)
    spikes, membrane = [], []
    for t in range(current.size(0)):
        U *= beta
        U += current[t]
        U -= threshold * reset
        membrane.append(U.clone())
        spikes.append(spike(membrane[-1] - threshold))
        with torch.no_grad():
            reset = spikes[-1].clone()
    return [torch.stack(spikes), torch.stack(membrane)]


def layer_with_a_hard_reset_term(current, beta, threshold, spike):
    U, out = 0, []
    for I in current.unbind():  # noqa: E741
        fired = out[-1][0].detach() > 0.5 if out else torch.zeros_like(I, dtype=torch.bool)
        U = torch.where(fired, beta * U + I - threshold, beta * U + I)
        out.append((spike(U - threshold), U))
    return torch.stack([s for s, _ in out]), torch.stack([u for _, u in out])


def layer_neuron_by_neuron(current, beta, threshold, spike):
    T, N, units = current.shape
    columns = []
    for n, unit in itertools.product(range(N), range(units)):
        u, s, column = 0.0, torch.zeros(()), []
        for t in range(T):
            u = beta * u + current[t, n, unit] - threshold * s.detach()
            s = spike(u - threshold)
            column.append(torch.stack([s, u]))
        columns.append(torch.stack(column))
    both = torch.stack(columns, dim=1).reshape(T, N, units, 2)
    return both[..., 0], both[..., 1]


def firing_in_a_loop(drive, tau, refractory, threshold=1.0):
    rates = []
    for one in drive.tolist():
        if one <= threshold:
            rates.append(0.0)
        else:
            rates.append(1e3 / (refractory + tau * math.log(one / (one - threshold))))
    return torch.tensor(rates)


def rate_from_times(drive, tau, refractory, threshold=1.0):
    return 1000 / (refractory + ex.first_spike_time.reference(drive, tau, threshold))


def rate_into_zeros(drive, tau, refractory, threshold=1.0):
    rates = torch.zeros_like(drive)
    fires = drive > threshold
    seconds = (refractory - tau * torch.log(1 - threshold / drive[fires])) / 1000
    rates[fires] = 1 / seconds
    return rates


def window_with_another_base(weight, beta, threshold=1.0):
    if weight + weight > threshold:
        return math.ceil(math.log2((threshold - weight) / weight) / math.log2(beta)) - 1
    return -1


def window_by_logarithm_of_torch(weight, beta, threshold=1.0):
    limit = torch.log(torch.tensor(threshold / weight - 1)) / torch.log(torch.tensor(beta))
    return torch.clamp(torch.ceil(limit) - 1, min=-1).int()


def window_by_simulation(weight, beta, threshold=1.0):
    best = -1
    for gap in range(1000):
        U = 0.0
        for t in range(gap + 1):
            U = beta * U + weight * ((t == 0) + (t == gap))
        if threshold < U:
            best = gap
    return best


def window_by_stepping(weight, beta, threshold=1.0):
    gap = -1
    while weight * beta ** (gap + 1) + weight > threshold:
        gap += 1
    return gap


def window_by_leaking(weight, beta, threshold=1.0):
    U, k = weight, 0
    while U + weight > threshold:
        U *= beta
        k += 1
    return k - 1


def window_by_a_list(weight, beta, threshold=1.0):
    return max([k for k in range(500) if weight * (1 + beta**k) > threshold], default=-1)


def rate_by_the_library(x, steps):
    return torch.bernoulli(x.expand(steps, *x.shape))


def rate_in_a_loop(x, steps):
    return torch.stack([(torch.rand_like(x) < x).to(x.dtype) for _ in range(steps)])


def rate_with_numpy(x, steps):
    draws = torch.from_numpy(np.random.default_rng().random((steps, *x.shape)))
    return (x.double() >= draws).type_as(x)


def rate_number_by_number(x, steps):
    spikes = torch.zeros((steps,) + x.shape, dtype=x.dtype)  # noqa: RUF005 - as it is often written
    for t in range(steps):
        flat = [1.0 if random.random() < p else 0.0 for p in x.flatten().tolist()]
        spikes[t] = torch.tensor(flat, dtype=x.dtype).view(x.shape)
    return spikes


def rate_from_the_other_side(x, steps):
    noise = torch.rand(steps, x.numel(), dtype=torch.float64).reshape(steps, *x.shape)
    return torch.where(noise > 1 - x.double(), 1.0, 0.0).to(x)


def rate_by_normal_numbers(x, steps):
    return (torch.special.ndtr(torch.randn(steps, *x.shape, dtype=x.dtype)) < x).to(x.dtype)


def rate_in_place(x, steps):
    return torch.zeros(steps, *x.shape, dtype=x.dtype).bernoulli_(x)


def events_into_zeros(signal, threshold):
    level, events = signal[0].clone(), torch.zeros_like(signal)
    for t in range(1, len(signal)):
        difference = signal[t] - level
        events[t][difference >= threshold] = 1
        events[t][difference <= -threshold] = -1
        level += events[t] * threshold
    return events


def events_pixel_by_pixel(signal, threshold):
    columns = []
    for pixel in signal.reshape(len(signal), -1).T.tolist():
        level, column = pixel[0], []
        for value in pixel:
            event = 1 if value >= level + threshold else -1 if value <= level - threshold else 0
            level += event * threshold
            column.append(event)
        columns.append(column)
    return torch.tensor(columns, dtype=signal.dtype).T.reshape(signal.shape)


def events_by_where(signal, threshold):
    level, rows = torch.clone(signal[0]), []
    for t in range(signal.shape[0]):
        diff = signal[t] - level
        row = torch.where(diff.abs() >= threshold, diff.sign(), torch.zeros_like(diff))
        level = torch.where(row > 0, level + threshold, torch.where(row < 0, level - threshold, level))
        rows.append(row)
    return torch.stack(rows, dim=0)


def events_by_clamp(signal, threshold):
    level, events = 0 * signal[0], []
    for now in (signal - signal[0]) / threshold:
        events.append((now - level).trunc().clamp(-1, 1))
        level = level + events[-1]
    return torch.stack(events)


def operations_by_unique(activity, fan_out):
    total = (activity != 0).sum() * fan_out / activity.size(1)
    if set(activity.unique().tolist()) <= {0.0, 1.0}:
        return torch.tensor(0.0), total
    return total, torch.tensor(0.0)


def operations_in_a_loop(activity, fan_out):
    costs = []
    for n in range(activity.shape[1]):
        costs.append(sum(fan_out for value in activity[:, n].flatten().tolist() if value != 0))
    mean = sum(costs) / len(costs)
    binary = bool((activity * (activity - 1) == 0).all())
    return [0.0 if binary else mean, mean if binary else 0.0]


def operations_as_a_tensor(activity, fan_out):
    per_example = activity.ne(0).sum(dim=(0, 2)) * fan_out
    spikes = torch.equal(activity, (activity != 0).to(activity.dtype))
    mean = per_example.double().mean()
    return torch.stack([0 * mean, mean] if spikes else [mean, 0 * mean])


def operations_with_numpy(activity, fan_out):
    a = activity.numpy()
    cost = np.count_nonzero(a) / a.shape[1] * fan_out
    return (0, cost) if np.isin(a, (0, 1)).all() else (cost, 0)


def latency_by_comparison(x, steps, darkest):
    when = torch.round((1 - x) * (steps - 1))
    time = torch.arange(steps).view(-1, *[1] * x.dim())
    return ((time == when) & (x >= darkest)).to(x.dtype)


def latency_by_scatter(x, steps, darkest):
    when = ((1 - x) * (steps - 1)).round().to(torch.int64)
    spikes = torch.zeros(steps, *x.shape, dtype=x.dtype)
    spikes.scatter_(0, when[None], 1.0)
    return torch.where(x < darkest, 0, spikes)


def latency_in_a_loop(x, steps, darkest):
    rows = []
    for t in range(steps):
        fires = torch.round((1 - x) * (steps - 1)).eq(t).logical_and(~(x < darkest))
        rows.append(fires.type(x.dtype))
    return torch.stack(rows)


def latency_number_by_number(x, steps, darkest):
    flat = x.reshape(-1)
    spikes = torch.zeros(steps, len(flat), dtype=x.dtype)
    for i, value in enumerate(flat):
        if value >= darkest:
            spikes[round((1 - value.item()) * (steps - 1)), i] = 1
    return spikes.reshape(steps, *x.shape)


def latency_by_adding_a_half(x, steps, darkest):
    when = ((steps - 1) * (1 - x) + 0.5).long()
    spikes = F.one_hot(when, num_classes=steps).to(x.dtype)
    spikes[x < darkest] = 0
    return spikes.permute(-1, *range(x.ndim))


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (v,) = ctx.saved_tensors
        return gradient / (1 + (math.pi * v) ** 2)


def spike_by_a_function(v):
    return Spike.apply(v)


def spike_with_the_slope_saved(v):
    class Step(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v):
            ctx.slope = 1 / (1 + torch.pi**2 * v * v)
            return torch.where(v > 0, torch.ones_like(v), torch.zeros_like(v))

        @staticmethod
        def backward(ctx, gradient):
            return ctx.slope * gradient

    return Step.apply(v)


def spike_by_detaching(v):
    soft = torch.arctan(v * np.pi) / np.pi + 0.5
    hard = torch.heaviside(v.detach(), torch.zeros_like(v))
    return (hard - soft).detach() + soft


def spike_with_a_linear_term(v):
    slope = (1 / (1 + (torch.pi * v) ** 2)).detach()
    return (v > 0).type_as(v) + slope * (v - v.detach())


def penalty_by_sizes(spikes, strength):
    _, N, units = spikes.shape
    return strength * spikes.sum() / (N * units)


def penalty_from_the_rate(spikes, strength):
    return spikes.mean() * len(spikes) * strength


def penalty_step_by_step(spikes, strength):
    counts = 0
    for now in spikes:
        counts = counts + now
    return torch.mean(strength * counts)


def penalty_in_loops(spikes, strength):
    totals = [spikes[:, i, j].sum() for i in range(spikes.shape[1]) for j in range(spikes.shape[2])]
    return strength * torch.stack(totals).mean()


def penalty_by_einsum(spikes, strength):
    return strength * torch.einsum("tnu->nu", spikes).mean(dim=(0, 1))


def back_in_a_list(gradient, membrane, beta, threshold):
    T = membrane.shape[0]
    v = membrane - threshold
    found = [gradient[T - 1] / (1 + (torch.pi * v[T - 1]) ** 2)]
    for t in range(T - 2, -1, -1):
        found.insert(0, gradient[t] / (1 + (torch.pi * v[t]) ** 2) + beta * found[0])
    return torch.stack(found)


def back_by_a_matrix(gradient, membrane, beta, threshold):
    T = len(membrane)
    powers = torch.tensor([[float(beta) ** (t - s) if t >= s else 0.0 for t in range(T)] for s in range(T)])
    own = gradient / (1 + math.pi**2 * (membrane - threshold).square())
    return torch.einsum("st,tnu->snu", powers.to(own), own)


def back_with_two_paths(gradient, membrane, beta, threshold):
    """dL/dU[t] by the chain rule, and dU[t]/dcurrent[t] = 1."""
    d_membrane = torch.zeros_like(gradient)
    for t in range(len(gradient) - 1, -1, -1):
        d_membrane[t] += gradient[t] * (1 / (1 + ((membrane[t] - threshold) * math.pi).pow(2)))
        if t > 0:
            d_membrane[t - 1] += beta * d_membrane[t]
    return d_membrane


def back_by_autograd(gradient, membrane, beta, threshold):
    """The current that gave this membrane, once more through a layer."""
    spikes = (membrane > threshold).to(membrane.dtype)
    before = torch.cat([torch.zeros_like(membrane[:1]), membrane[:-1]])
    reset = torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]]) * threshold
    current = (membrane - beta * before + reset).requires_grad_()
    u, total = torch.zeros_like(membrane[0]), 0.0
    for t, now in enumerate(current):
        u = beta * u + now - reset[t]
        total = total + (Spike.apply(u - threshold) * gradient[t]).sum()
    total.backward()
    return current.grad


def converted_in_loops(weight, bias, scale_before, scale_after):
    new_weight, new_bias = torch.empty_like(weight), torch.empty_like(bias)
    for i, row in enumerate(weight):
        new_bias[i] = bias[i] / scale_after
        for j, w in enumerate(row):
            new_weight[i, j] = w * scale_before / scale_after
    return new_weight, new_bias


def converted_by_layers(weight, bias, scale_before, scale_after):
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
        layer.weight *= scale_before / scale_after
        layer.bias /= scale_after
    return layer.weight, layer.bias


def stdp_in_loops(pre, post, a_plus, a_minus, tau):
    change = 0
    for s, t in itertools.product(range(len(pre)), range(len(post))):
        if pre[s] == 1 and post[t] == 1:
            if t >= s:
                change += a_plus * math.exp(-(t - s) / tau)
            else:
                change -= a_minus * math.exp(-(s - t) / tau)
    return change


def stdp_by_traces(pre, post, a_plus, a_minus, tau):
    x = y = change = 0.0
    for s, t in zip(pre, post, strict=True):
        x, y = x * math.exp(-1 / tau) + s, y * math.exp(-1 / tau)
        change += t * a_plus * x - s * a_minus * y
        y += t
    return change


def stdp_by_a_matrix(pre, post, a_plus, a_minus, tau):
    steps = torch.arange(len(pre), dtype=pre.dtype)
    gap = steps[None, :] - steps[:, None]
    window = torch.exp(-gap.abs() / tau) * torch.where(gap >= 0, a_plus, -a_minus)
    return (pre @ window @ post).item()


def stdp_with_numpy(pre, post, a_plus, a_minus, tau):
    gaps = np.subtract.outer(np.flatnonzero(post.numpy()), np.flatnonzero(pre.numpy()))
    later, earlier = gaps[gaps >= 0], gaps[gaps < 0]
    return a_plus * np.exp(-later / tau).sum() - a_minus * np.exp(earlier / tau).sum()


class TestLesson14(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "first_spike_time": [
            time_in_a_loop,
            time_into_a_tensor,
            time_from_a_clamped_drive,
            time_by_numpy,
            time_by_masking,
        ],
        "lif_layer": [
            layer_into_tensors,
            layer_from_the_stored_steps,
            layer_in_place_with_clones,
            layer_with_a_hard_reset_term,
            layer_neuron_by_neuron,
        ],
        "firing_rate": [firing_in_a_loop, rate_from_times, rate_into_zeros],
        "coincidence_window": [
            window_by_stepping,
            window_with_another_base,
            window_by_logarithm_of_torch,
            window_by_simulation,
            window_by_leaking,
            window_by_a_list,
        ],
        "rate_code": [
            rate_by_the_library,
            rate_in_a_loop,
            rate_with_numpy,
            rate_number_by_number,
            rate_from_the_other_side,
            rate_by_normal_numbers,
            rate_in_place,
        ],
        "delta_events": [events_into_zeros, events_pixel_by_pixel, events_by_where, events_by_clamp],
        "synaptic_operations": [
            operations_by_unique,
            operations_in_a_loop,
            operations_as_a_tensor,
            operations_with_numpy,
        ],
        "latency_code": [
            latency_by_comparison,
            latency_by_scatter,
            latency_in_a_loop,
            latency_number_by_number,
            latency_by_adding_a_half,
        ],
        "surrogate_spike": [
            Spike.apply,
            spike_by_a_function,
            spike_with_the_slope_saved,
            spike_by_detaching,
            spike_with_a_linear_term,
        ],
        "rate_penalty": [
            penalty_by_sizes,
            penalty_from_the_rate,
            penalty_step_by_step,
            penalty_in_loops,
            penalty_by_einsum,
        ],
        "bptt_gradient": [back_in_a_list, back_by_a_matrix, back_with_two_paths, back_by_autograd],
        "convert_weights": [
            converted_in_loops,
            converted_by_layers,
            lambda weight, bias, before, after: [before * weight.div(after), bias * (1 / after)],
        ],
        "stdp_change": [stdp_in_loops, stdp_by_traces, stdp_by_a_matrix, stdp_with_numpy],
    }


# What the cases promise ---------------------------------------------------------------------------------------


def test_membranes_stay_away_from_the_threshold_but_where_they_meet_it_exactly():
    inputs = ex.lif_layer.inputs
    for name, (current, beta, threshold, spike) in zip(inputs.names, inputs.cases, strict=True):
        distance = (ex.lif_layer.reference(current, beta, threshold, spike)[1] - threshold).abs()
        if name == "exactly at the threshold":
            assert (distance == 0).sum() == 1
        else:
            assert distance.min() > 1e-3, name


def test_neuron_of_the_docstring_fires_in_steps_3_and_7():
    spikes, membrane = ex.lif_layer.reference(*ex.lif_layer.inputs.cases[0])
    assert spikes.flatten().tolist() == [0, 0, 1, 0, 0, 0, 1]
    torch.testing.assert_close(
        membrane.flatten(), torch.tensor([0.6, 0.9, 1.05, 0.125, 0.6625, 0.93125, 1.065625])
    )


def test_first_spike_and_rate_are_those_of_a_fine_simulation():
    drive, tau, refractory, dt = 1.7, 10.0, 3.0, 1e-3
    U, waiting, spikes = 0.0, 0.0, []
    for step in range(60_000):
        if waiting > 0:
            waiting -= dt
            continue
        U += dt / tau * (drive - U)
        if U >= 1:
            spikes.append(step * dt)
            U, waiting = 0.0, refractory
    one = torch.tensor([drive])
    assert ex.first_spike_time.reference(one, tau).item() == pytest.approx(spikes[0], rel=1e-3)
    interval = (spikes[-1] - spikes[0]) / (len(spikes) - 1)
    assert ex.firing_rate.reference(one, tau, refractory).item() == pytest.approx(1000 / interval, rel=1e-3)


@pytest.mark.parametrize(("weight", "beta", "gap"), [(0.6, 0.8, 1), (0.6, 0.9, 3), (0.3, 0.9, -1)])
def test_windows_by_hand(weight, beta, gap):
    assert ex.coincidence_window.reference(weight, beta) == gap


# Chance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_right_random_spikes_are_accepted_whatever_the_seed(seed):
    generator = torch.Generator().manual_seed(seed)

    def attempt(x, steps):
        return (torch.rand(steps, *x.shape, generator=generator) < x).to(x.dtype)

    verdict = ex.rate_code(attempt)
    assert verdict.status == "correct", verdict


def unregistered(told, *attempts):
    return [(attempt, told) for attempt in attempts]


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        *unregistered(
            "1 − x",
            lambda x, steps: torch.bernoulli((1 - x).expand(steps, *x.shape)),
            lambda x, steps: torch.stack([(torch.rand_like(x) > x).to(x.dtype) for _ in range(steps)]),
        ),
        *unregistered(
            "repeats the same draw",
            lambda x, steps: torch.stack([torch.bernoulli(x)] * steps),
            lambda x, steps: (random.random() < x).to(x.dtype).repeat(steps, *[1] * x.ndim),
        ),
        *unregistered(
            "share one draw",
            lambda x, steps: torch.stack([(torch.rand(1)[0] < x).to(x.dtype) for _ in range(steps)]),
            lambda x, steps: torch.stack([(random.random() < x).to(x.dtype) for _ in range(steps)]),
        ),
        *unregistered("x / steps", lambda x, steps: torch.bernoulli((x / steps).expand(steps, *x.shape))),
        *unregistered("x²", lambda x, steps: rate_in_a_loop(x, steps) * rate_in_a_loop(x, steps)),
        *unregistered("True and False", lambda x, steps: torch.rand(steps, *x.shape) <= x),
        *unregistered("height x", lambda x, steps: torch.where(torch.rand(steps, *x.shape) < x, x, 0)),
        *unregistered("zeros and ones", lambda x, steps: x + torch.randn(steps, *x.shape, dtype=x.dtype)),
        *unregistered("axis of time", lambda x, steps: (torch.rand_like(x) < x).to(x.dtype)),
    ],
)
def test_wrong_random_spikes_are_told_their_mistake_however_they_are_drawn(attempt, told):
    verdict = ex.rate_code(attempt)
    assert verdict.status in ("wrong", "raised")
    assert told in verdict.message, verdict


# By hand -----------------------------------------------------------------------------------------------------


def test_events_of_the_docstring_by_hand():
    events = ex.delta_events.reference(torch.tensor([0.0, 0.25, 0.5, 0.5, 0.0]), 0.5)
    assert events.tolist() == [0, 0, 1, 0, -1]
    assert ex.delta_events.reference(torch.tensor([0.0, 1.5, 1.5, 1.5, 1.5]), 0.5).tolist() == [0, 1, 1, 1, 0]


def test_no_time_of_a_spike_is_near_a_tie():
    for x, steps, _ in ex.latency_code.inputs.cases:
        assert ((((1 - x.double()) * (steps - 1)) % 1 - 0.5).abs() > 0.02).all()


def test_an_activity_changed_in_place_is_noticed():
    def attempt(signal, threshold):
        level, events = signal[0], torch.zeros_like(signal)
        for t, now in enumerate(signal):
            events[t] = (now - level >= threshold).to(now) - (level - now >= threshold).to(now)
            level += threshold * events[t]
        return events

    verdict = ex.delta_events(attempt)
    assert verdict.status == "wrong"
    assert "no longer what it was" in verdict.message


# What the solutions claim -------------------------------------------------------------------------------------


def test_bptt_gradient_is_that_of_autograd_through_the_layer():
    beta, threshold = 0.8, 0.7
    current = torch.rand(7, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 3, 4, dtype=torch.float64)
    u = spikes = torch.zeros(3, 4, dtype=torch.float64)
    loss, membrane = 0.0, []
    for t, now in enumerate(current):
        u = beta * u + now - threshold * spikes.detach()
        spikes = ex.surrogate_spike.reference(u - threshold)
        loss = loss + (weight[t] * spikes).sum()
        membrane.append(u.detach())
    (expected,) = torch.autograd.grad(loss, current)
    found = ex.bptt_gradient.reference(weight, torch.stack(membrane), beta, threshold)
    torch.testing.assert_close(found, expected)


def test_converted_layer_gives_the_outputs_of_the_relu_layer_as_rates():
    weight, bias, rates = torch.randn(4, 3), torch.randn(4), torch.rand(6, 3)
    outputs = F.linear(2.5 * rates, weight, bias).relu()
    converted = F.linear(rates, *ex.convert_weights.reference(weight, bias, 2.5, 4.0)).relu()
    torch.testing.assert_close(converted, outputs / 4.0)


@pytest.mark.parametrize(
    ("exercise", "attempt", "argument"),
    [
        (ex.convert_weights, lambda weight, bias, a, b: (weight.mul_(a / b), bias.div_(b)), "weight"),
        (
            ex.bptt_gradient,
            lambda gradient, membrane, beta, threshold: back_with_two_paths(
                gradient, membrane.sub_(threshold), beta, 0.0
            ),
            "membrane",
        ),
    ],
)
def test_a_changed_argument_is_named(exercise, attempt, argument):
    verdict = exercise(attempt)
    assert verdict.status == "wrong"
    assert f"`{argument}` is no longer what it was" in verdict.message


@pytest.mark.parametrize(
    ("exercise", "attempt", "said"),
    [
        (ex.surrogate_spike, lambda v: print(v), "is a `return` missing"),
        (ex.surrogate_spike, lambda v: (ex._surrogate_forward(v), ex._surrogate_slope(v)), "type tuple"),
        (
            ex.surrogate_spike,
            ex._surrogate(slope=lambda v: ex._surrogate_slope(v) / 2),
            "half the expected one",
        ),
        (ex.surrogate_spike, ex._surrogate(slope=lambda v: -ex._surrogate_slope(v)), "comes out negative"),
        (ex.surrogate_spike, ex._surrogate(slope=torch.zeros_like), "No gradient reaches v"),
        (ex.rate_penalty, lambda spikes, strength: print(spikes), "is a `return` missing"),
        (ex.stdp_change, lambda pre, post, *rest: print(pre), "is a `return` missing"),
    ],
)
def test_what_is_said_of_slips_that_are_not_registered(exercise, attempt, said):
    verdict = exercise(attempt)
    assert verdict.status == "wrong"
    assert said in verdict.message


@functools.cache
def digits():
    return data.mnist("sample")


@functools.cache
def trained(*edits, on=lambda digits: digits.train):
    """The network of the solution, trained with some of its text changed: before, after, before, after, …"""
    code = ex.thrifty_net.source()
    for before, after in zip(edits[::2], edits[1::2], strict=True):
        assert code.count(before) == 1, before
        code = code.replace(before, after)
    scope = vars(ex) | {"bare": lambda current: lif_layer(current)[0]}
    exec(code, scope)
    return scope["thrifty_net"](on(digits()), digits().valid)


class Of(nn.Module):
    """Makes of what a trained network returns something else."""

    def __init__(self, answer, net=None):
        super().__init__()
        self.answer, self.net = answer, net or trained()

    def forward(self, x):
        return self.answer(x, *self.net(x))


def lif_layer(current, beta=0.9):
    u = spikes = torch.zeros_like(current[0])
    fired, membranes = [], []
    for now in current:
        u = beta * u + now - spikes
        spikes = (u > 1).float()
        fired.append(spikes)
        membranes.append(u)
    return torch.stack(fired), torch.stack(membranes)


def judged(net):
    return ex.thrifty_net(net)


# Right answers ------------------------------------------------------------------------------------------------


def test_solution_is_correct():
    verdict = judged(trained())
    assert verdict.status == "correct", verdict
    assert "hidden spikes a digit (at most 35)" in verdict.message


def test_spikes_and_accuracy_are_those_counted():
    test = ex._thrifty_digits()
    with torch.no_grad():
        counts, hidden = trained()(test.x)
    right = (counts.argmax(dim=1) == test.y).sum().item() / 1000
    message = judged(trained()).message
    assert f"{right:.3f}" in message.replace("\n", " ")
    assert f"{hidden.sum().item() / 1000:.1f}" in message.replace("\n", " ")


@pytest.mark.parametrize(
    "edits",
    [
        ("expand(5, -1, -1)", "expand(4, -1, -1)"),
        ("nn.Linear(784, 256), nn.Linear(256, 10)", "nn.Linear(784, 300), nn.Linear(300, 10)"),
    ],
)
def test_other_penalties_times_and_widths_are_correct(edits):
    verdict = judged(trained(*edits))
    assert verdict.status == "correct", verdict


def test_input_of_random_spikes_is_correct():
    coded = "(torch.rand(5, len(x), 784, device=x.device) < x.flatten(1)).float()"
    net = trained(
        *("self.first(x.flatten(1)).expand(5, -1, -1)", f"self.first({coded})"),
        *("nn.Linear(784, 256), nn.Linear(256, 10)", "nn.Linear(784, 400), nn.Linear(400, 10)"),
        *("0.8 *", "1 *", "in range(8)", "in range(12)"),
    )
    verdict = judged(net)
    assert verdict.status == "correct", verdict


@pytest.mark.parametrize(
    "answer",
    [
        lambda x, counts, hidden: [counts.long(), hidden.bool()],
        lambda x, counts, hidden: (counts.double() + 1e-6, hidden.double() * (1 - 1e-6)),
        lambda x, counts, hidden: (counts.requires_grad_(), hidden),
        lambda x, counts, hidden: (counts, torch.cat([hidden, 0 * hidden], dim=2)),
    ],
)
def test_same_spikes_in_other_types_are_correct(answer):
    verdict = judged(Of(answer))
    assert verdict.status == "correct", verdict


def test_the_mode_of_training_is_put_back():
    net = Of(lambda x, counts, hidden: (nn.functional.dropout(counts, 0.5, net.training), hidden)).train()
    assert judged(net).status == "correct"
    assert net.training


# What is trained wrongly --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        (("hidden.sum(dim=0).mean()", "hidden.detach().sum(dim=0).mean()"), "as lavish as without a penalty"),
        (("hidden.sum(dim=0).mean()", "hidden.mean()"), "too many spikes"),
        (
            ("hidden.sum(dim=0).mean()", "hidden.sum(dim=(0, 2)).mean()", "range(8)", "range(2)"),
            "fallen silent",
        ),
        (("0.8 * hidden", "2 * hidden", "range(8)", "range(4)"), "more than it need be"),
        (("in range(8)", "in range(0)"), "weights that it began with"),
        (("hidden = lif_layer", "hidden = bare", "range(8)", "range(2)"), "weights that it began with"),
        (("F.cross_entropy(counts, y) + 0.8", "0.8", "range(8)", "range(1)"), "fallen silent"),
        (("in range(8)", "in range(1)"), "wrong too often"),
        (("cross_entropy(counts", "cross_entropy(-counts", "range(8)", "range(2)"), "smallest first"),
    ],
)
def test_slips_in_the_training_are_told(edits, said):
    verdict = judged(trained(*edits))
    assert verdict.status == "wrong"
    assert said in verdict.message, verdict


def test_training_without_few_digits_is_told():
    def few(digits):
        return data.Split(digits.train.x[:600], digits.train.y[:600])

    verdict = judged(trained("0.8 *", "0.1 *", "range(8)", "range(20)", on=few))
    assert verdict.status == "wrong"
    assert "wrong too often" in verdict.message, verdict


# What is returned wrongly -------------------------------------------------------------------------------------


def membranes(x):
    return lif_layer(trained().first(x.flatten(1)).expand(5, -1, -1))[1]


def of_a_relu(x, counts, hidden):
    return counts, trained().first(x.flatten(1)).relu().expand(5, -1, -1)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x, counts, hidden: counts, "hidden spikes are missing"),
        (lambda x, counts, hidden: hidden, "one tensor came back"),
        (lambda x, counts, hidden: None, "Is its `return` missing?"),
        (lambda x, counts, hidden: {"counts": counts, "hidden": hidden}, "should return a pair"),
        (lambda x, counts, hidden: (counts, hidden, hidden), "3 things came back"),
        (lambda x, counts, hidden: (hidden.sum(dim=0), counts), "the counts should be (500, 10)"),
        (lambda x, counts, hidden: (hidden, counts), "the other order"),
        (lambda x, counts, hidden: (counts, list(hidden)), "came as a list"),
        (lambda x, counts, hidden: (counts, hidden.sum().item()), "hidden spikes should be a tensor"),
        (lambda x, counts, hidden: (counts, None), "hidden spikes should be a tensor"),
        (lambda x, counts, hidden: (counts / 0, hidden), "nan or inf"),
        # counts
        (lambda x, counts, hidden: (counts.expand(5, -1, -1), hidden), "Sum the output spikes over time"),
        (lambda x, counts, hidden: (counts.argmax(dim=1), hidden), "Is this the class already?"),
        (lambda x, counts, hidden: (counts.squeeze(), hidden), "without `squeeze`"),
        (lambda x, counts, hidden: (counts.T, hidden), "transpose them"),
        (lambda x, counts, hidden: (counts / 5, hidden), "firing rates"),
        (lambda x, counts, hidden: (counts.softmax(dim=1), hidden), "probabilities"),
        (lambda x, counts, hidden: (counts - 0.4, hidden), "never -0.4: are these membranes"),
        (lambda x, counts, hidden: (trained().second(hidden).sum(dim=0), hidden), "are these membranes"),
        # hidden spikes
        (lambda x, counts, hidden: (counts, hidden.transpose(0, 1)), "Time comes first"),
        (lambda x, counts, hidden: (counts, hidden.transpose(1, 2)), "last two axes"),
        (lambda x, counts, hidden: (counts, hidden.sum(dim=0)), "summed over time"),
        (lambda x, counts, hidden: (counts, hidden.mean(dim=0)), "mean over time"),
        (lambda x, counts, hidden: (counts, hidden[-1]), "one time step only"),
        (lambda x, counts, hidden: (counts, hidden.sum(dim=2)), "summed over the units"),
        (lambda x, counts, hidden: (counts, hidden.flatten(0, 1)), "share an axis"),
        (lambda x, counts, hidden: (counts, hidden.mean()), "they are counted here"),
        (lambda x, counts, hidden: (counts, hidden.unflatten(2, (16, 16))), "`.flatten(2)`"),
        (lambda x, counts, hidden: (counts, hidden[:, :0]), "digits that arrived"),
        (lambda x, counts, hidden: (counts, membranes(x)), "Are they membranes?"),
        (of_a_relu, "what a ReLU or a sigmoid gives"),
        (lambda x, counts, hidden: (counts, 2 * hidden), "Are they summed"),
    ],
)
def test_what_is_no_pair_of_counts_and_spikes_is_told_why(answer, said):
    verdict = judged(Of(answer))
    assert verdict.status == "wrong"
    assert said in verdict.message, verdict


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x, counts, hidden: (counts, hidden[-1:]), "more often than there are time steps"),
        (lambda x, counts, hidden: (counts, hidden[:, :, :128]), "some hidden neurons are missing"),
        (lambda x, counts, hidden: (counts, 0 * hidden), "Not one hidden spike"),
        (lambda x, counts, hidden: (counts, hidden[:, :1].expand_as(hidden)), "its hidden spikes do not"),
        (
            lambda x, counts, hidden: (counts, (torch.rand_like(hidden) < 0.05).float()),
            "its hidden spikes do not",
        ),
        (lambda x, counts, hidden: (counts, hidden.transpose(0, 1).reshape(hidden.shape)), "spikes do not"),
        (lambda x, counts, hidden: (counts, 1 - hidden), "Nearly every hidden neuron"),
        (lambda x, counts, hidden: (counts, (x.flatten(1) > 0.3).expand(5, -1, -1)), "784 units"),
        (lambda x, counts, hidden: (counts.roll(1, dims=1), hidden), "in another order"),
        (lambda x, counts, hidden: (counts.flip(1), hidden), "in another order"),
        (lambda x, counts, hidden: ((5 - counts), hidden), "smallest first"),
        (lambda x, counts, hidden: ((counts > 3).float(), hidden), "spike more than once"),
        (lambda x, counts, hidden: (0 * counts, hidden), "Most digits get no output spike"),
        (lambda x, counts, hidden: (0 * counts + 2, hidden), "hardly better than guessing"),
        (lambda x, counts, hidden: trained()((x - x[0]).relu()), "other digits of the batch"),
        (lambda x, counts, hidden: trained()(1 - x), "scaled in another way"),
        (lambda x, counts, hidden: trained()(0.3081 * x + 0.1307), "scaled in another way"),
    ],
)
def test_spikes_that_are_not_those_asked_for_are_told_why(answer, said):
    verdict = judged(Of(answer))
    assert verdict.status == "wrong"
    assert said in verdict.message, verdict


class Layers(nn.Module):
    """Two hidden layers, step by step, the second with connections to itself; `answer` makes one tensor of both."""

    def __init__(self, answer):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(784, 60), nn.Linear(60, 40), nn.Linear(40, 10)
        self.to_itself, self.answer = nn.Linear(40, 40), answer

    def forward(self, x):
        fired, late = [], torch.zeros(len(x), 40)
        for _ in range(8):
            early = (self.first(x.flatten(1)) > 0.1).float()
            late = (self.second(early) + self.to_itself(late) > 0.1).float()
            fired.append((early, late, (self.last(late) > 0).float()))
        early, late, output = map(torch.stack, zip(*fired, strict=True))
        return output.sum(dim=0), self.answer(early, late)


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        (lambda early, late: torch.cat([early, late], dim=2), False),
        (lambda early, late: torch.cat([late, early, 0 * late], dim=2), False),
        (lambda early, late: early, True),
        (lambda early, late: late, True),
        (lambda early, late: torch.cat([early, late], dim=2)[:, :, :50], True),
    ],
)
def test_hidden_neurons_that_are_not_reported_are_noticed(answer, missing):
    model = ex._Spiked(net := Layers(answer), [net(digits().test.x)], digits().test)
    assert model.more_than_reported() == missing


class DrivenByMembranes(nn.Module):
    """Reports the spikes of its hidden neurons, and hands their membranes on."""

    def __init__(self):
        super().__init__()
        self.first, self.second = trained().first, trained().second

    def forward(self, x):
        spikes, u = lif_layer(self.first(x.flatten(1)).expand(5, -1, -1))
        return lif_layer(self.second(u.relu()))[0].sum(dim=0), spikes


def test_membranes_in_place_of_spikes_are_noticed():
    verdict = judged(DrivenByMembranes())
    assert verdict.status == "wrong"
    assert "reach the output layer are membranes" in verdict.message, verdict


class Keeping(nn.Module):
    """Starts with the membranes that the last call left, anew where the number of digits is another."""

    def __init__(self, size=None):
        super().__init__()
        self.first, self.second, self.size = trained().first, trained().second, size
        self.u = None if size is None else torch.zeros(size, 256)

    def forward(self, x):
        current = self.first(x.flatten(1))
        if self.u is None or (self.size is None and self.u.shape != current.shape):
            self.u = torch.zeros_like(current)
        spikes, membranes = lif_layer(torch.cat([0.9 * self.u[None] + current, current.expand(4, -1, -1)]))
        self.u = membranes[-1]
        return lif_layer(self.second(spikes))[0].sum(dim=0), spikes


def test_membranes_left_from_the_call_before_are_told():
    verdict = judged(Keeping())
    assert verdict.status == "wrong"
    assert "left from the call before" in verdict.message, verdict


def test_membranes_of_a_fixed_number_of_digits_are_told():
    verdict = judged(Keeping(64))
    assert verdict.status == "raised"
    assert "for all digits that arrive" in verdict.message, verdict


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (ex.thrifty_net.reference, "wrong", "Call it"),
        ((nn.Linear(784, 10), 3), "wrong", "the network alone"),
        (nn.Linear, "wrong", "The class Linear arrived"),
        (torch.zeros(5), "wrong", "an `nn.Module`"),
        (None, "not attempted", "Is `thrifty_net` still empty"),
        (..., "not attempted", "Is `thrifty_net` still empty"),
    ],
)
def test_what_is_no_network_is_told_so(answer, status, said):
    verdict = judged(answer)
    assert verdict.status == status
    assert said in verdict.message, verdict
