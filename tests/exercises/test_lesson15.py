"""Every exercise of lesson 15 accepts right answers written in any way, and names the classic mistakes."""

import copy
import functools
import itertools
import math
import statistics
import timeit

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from coursekit import data, train
from coursekit.exercises import lesson15 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way --------------------------------------------------------------------


def macs_with_hooks(net, example):
    found, handles = [], []

    def hook(layer, inputs, output):
        found.append(layer.weight.numel() * math.prod(output.shape[2:]))

    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            handles.append(layer.register_forward_hook(hook))
    with torch.no_grad():
        net(example)
    for handle in handles:
        handle.remove()
    return sum(found)


def macs_by_formulas(net, example):
    total = 0
    with torch.no_grad():
        for layer in net:
            out = layer(example)
            if isinstance(layer, nn.Linear):
                total += layer.in_features * layer.out_features
            if isinstance(layer, nn.Conv2d):
                k1, k2 = layer.kernel_size
                _, C, H, W = out.shape
                total += C * H * W * layer.in_channels // layer.groups * k1 * k2
            example = out
    return total


def macs_of_the_library(net, example):
    with FlopCounterMode(display=False) as counter:
        net(example)
    return counter.get_total_flops() / 2


def macs_by_outputs(net, example):
    macs = torch.tensor(0)
    for layer in net:
        example = layer(example)
        if hasattr(layer, "weight"):
            macs = macs + example.numel() * layer.weight[0].numel()
    return macs


def masks_by_order(weights, sparsity):
    flat = torch.cat([w.detach().abs().reshape(-1) for w in weights])
    keep = torch.ones(len(flat), dtype=torch.bool)
    keep[flat.argsort()[: round(sparsity * len(flat))]] = False
    parts = keep.split([w.numel() for w in weights])
    return tuple(part.view(w.shape) for part, w in zip(parts, weights, strict=True))


def masks_by_python(weights, sparsity):
    sizes = sorted(abs(number) for w in weights for number in w.flatten().tolist())
    k = round(sparsity * len(sizes))
    if k == len(sizes):
        return [torch.zeros(w.shape, dtype=torch.bool) for w in weights]
    return [w.abs() >= sizes[k] for w in weights]


def masks_by_topk(weights, sparsity):
    with torch.no_grad():
        flat = nn.utils.parameters_to_vector(weights).abs()
        masks = [torch.ones_like(w, dtype=torch.bool) for w in weights]
        k = int(round(sparsity * flat.numel()))  # noqa: RUF046
        if k == 0:
            return masks
        threshold = flat.topk(k, largest=False).values.max()
        for mask, w in zip(masks, weights, strict=True):
            mask[w.abs() <= threshold] = False
        return masks


def masks_by_padded_sizes(weights, sparsity):
    flat = torch.cat([w.abs().flatten() for w in weights]).sort()[0]
    k = round(sparsity * flat.numel())
    edge = torch.cat([flat.new_tensor([-1.0]), flat])[k]
    return [torch.abs(w) > edge for w in weights]


def step_through_data(loss, optimizer, weights, masks):
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
    for i in range(len(weights)):
        weights[i].data = weights[i].data * masks[i].float()


def step_by_index(loss, optimizer, weights, masks):
    optimizer.zero_grad()
    loss.backward()
    for w, m in zip(weights, masks, strict=True):
        w.grad[~m] = 0
    optimizer.step()
    with torch.no_grad():
        for w, m in zip(weights, masks, strict=True):
            w[~m] = 0.0
    return weights


@torch.no_grad()
def step_by_fill(loss, optimizer, weights, masks):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for w, m in zip(weights, masks, strict=True):
        w.masked_fill_(torch.logical_not(m), 0)
    optimizer.zero_grad()
    return loss.item()


def step_by_copy(loss, optimizer, weights, masks):
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = None
    loss.backward()
    optimizer.step()
    for w, m in zip(weights, masks, strict=True):
        w.detach().copy_(torch.where(m, w, 0.0))


def bits_in_loops(weights, biases, bits, sparse=False):
    total = 0
    for w in weights:
        for number in w.flatten().tolist():
            if sparse:
                total += 1
            if not sparse or number != 0:
                total += bits
    for b in biases:
        total += len(b) * bits
    return total


def bits_by_cat(weights, biases, bits, sparse=False):
    w = torch.cat([one.flatten() for one in weights])
    b = torch.cat([one.flatten() for one in biases])
    if sparse:
        return (w[w != 0].numel() + b.numel()) * bits + w.numel()
    return bits * (w.numel() + b.numel())


def bits_as_a_tensor(weights, biases, bits, sparse=False):
    kept = sum((w.abs() > 0).sum() if sparse else w.numel() for w in weights)
    bitmap = sum(math.prod(w.shape) for w in weights) if sparse else 0
    return kept * bits + sum(b.shape[0] for b in biases) * bits + bitmap


def fixed_with_integers(x, width, integer, *, rounding=False, saturate=False):
    scaled = x * 2.0 ** (width - integer)
    q = (torch.round(scaled) if rounding else torch.floor(scaled)).to(torch.int64)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    if saturate:
        q = torch.clamp(q, low, high)
    else:
        q = q & ((1 << width) - 1)
        q = torch.where(q > high, q - (1 << width), q)
    return q.to(x.dtype) / 2.0 ** (width - integer)


def fixed_number_by_number(x, width, integer, *, rounding=False, saturate=False):
    step = 2.0 ** (integer - width)
    stored = []
    for value in x.flatten().tolist():
        q = round(value / step) if rounding else math.floor(value / step)
        if saturate:
            q = max(-(2 ** (width - 1)), min(2 ** (width - 1) - 1, q))
        else:
            q = (q + 2 ** (width - 1)) % 2**width - 2 ** (width - 1)
        stored.append(q * step)
    return torch.tensor(stored, dtype=x.dtype).reshape(x.shape)


def fixed_in_units_of_x(x, width, integer, *, rounding=False, saturate=False):
    step, end = 2 ** (integer - width), 2 ** (integer - 1)
    y = torch.floor((x + step / 2) / step) * step if rounding else x - x.remainder(step)
    if saturate:
        return torch.clip(y, -end, end - step)
    return y - 2 * end * torch.floor((y + end) / (2 * end))


def fixed_with_fmod(x, width, integer, *, rounding=False, saturate=False):
    step, turn = 2.0 ** (integer - width), 2.0**width
    q = torch.div(x, step)
    q = q.round() if rounding else q.floor()
    if saturate:
        return torch.minimum(torch.maximum(q, -q.new_tensor(turn / 2)), q.new_tensor(turn / 2 - 1)) * step
    q = torch.fmod(q, turn)
    q = torch.where(q >= turn / 2, q - turn, q)
    return torch.where(q < -turn / 2, q + turn, q) * step


def fixed_with_loops(x, width, integer, *, rounding=False, saturate=False):
    step, half = 2.0 ** (integer - width), 2 ** (width - 1)
    q = torch.floor(x / step + 0.5 * rounding)
    if saturate:
        q[q > half - 1] = half - 1
        q[q < -half] = -half
        return q * step
    while (q >= half).any():
        q = torch.where(q >= half, q - 2 * half, q)
    while (q < -half).any():
        q = torch.where(q < -half, q + 2 * half, q)
    return step * q


def fixed_with_numpy(x, width, integer, *, rounding=False, saturate=False):
    step, half = 2.0 ** (integer - width), 2 ** (width - 1)
    q = np.rint(x.numpy() / step) if rounding else np.floor(x.numpy() / step)
    q = np.clip(q, -half, half - 1) if saturate else np.mod(q + half, 2 * half) - half
    return torch.from_numpy(q * step).to(x.dtype)


def straight_by_clamped_x(x, width, integer):
    step, end = 2.0 ** (integer - width), 2.0 ** (integer - 1)
    clamped = torch.clamp(x, -end, end - step)
    return clamped + (torch.round(clamped / step) * step - clamped).detach()


def straight_by_mask(x, width, integer):
    step, end = 2.0 ** (integer - width), 2.0 ** (integer - 1)
    q = torch.floor(x / step + 0.5).clamp(-(2 ** (width - 1)), 2 ** (width - 1) - 1) * step
    mask = (x.detach() >= -end) & (x.detach() <= end - step)
    through = torch.where(mask, x, torch.zeros_like(x))
    return q.detach() + through - through.detach()


class _Rounding(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, width, integer):
        step, end = 2.0 ** (integer - width), 2.0 ** (integer - 1)
        ctx.save_for_backward((x > -end) & (x < end - step))
        return (x / step).round().clamp(-end / step, end / step - 1) * step

    @staticmethod
    def backward(ctx, grad):
        (mask,) = ctx.saved_tensors
        return grad * mask, None, None


def straight_by_a_function(x, width, integer):
    return _Rounding.apply(x, width, integer)


def straight_by_the_library(x, width, integer):
    low, high = -(2 ** (width - 1)), 2 ** (width - 1) - 1
    return torch.fake_quantize_per_tensor_affine(x, 2.0 ** (integer - width), 0, low, high)


def straight_by_hardtanh(x, width, integer):
    step, end = 2.0 ** (integer - width), 2.0 ** (integer - 1)
    y = nn.functional.hardtanh(x, -end, end - step)
    with torch.no_grad():
        change = ex.fixed_point.reference(x, width, integer, rounding=True, saturate=True) - y
    return y + change


def affine_with_if(low, high, bits):
    if low > 0:
        low = 0
    if high < 0:
        high = 0
    scale = (high - low) / (2**bits - 1)
    return scale, math.floor(0.5 - low / scale)


def affine_with_numpy(low, high, bits):
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    return float(scale), int(np.rint(-low / scale))


def affine_from_the_upper_end(low, high, bits):
    levels = (1 << bits) - 1
    low, high = sorted([low, high, 0.0])[::2]
    scale = (high - low) / levels
    zero_point = round(levels - high / scale)
    return [scale, min(max(zero_point, 0), levels)]


def affine_with_torch(low, high, bits):
    ends = torch.tensor([low, high, 0.0], dtype=torch.float64)
    scale = (ends.max() - ends.min()) / (2**bits - 1)
    return scale.item(), int(torch.round(-ends.min() / scale))


def quantize_rounding_last(x, scale, zero_point, bits):
    return torch.clamp(torch.round(x / scale + zero_point), min=0, max=2**bits - 1).long()


def quantize_with_integers(x, scale, zero_point, bits):
    q = (x / scale).round().to(torch.int64).add(zero_point)
    return torch.where(q < 0, 0, torch.where(q >= 1 << bits, (1 << bits) - 1, q))


def quantize_number_by_number(x, scale, zero_point, bits):
    stored = [min(max(round(one / scale) + zero_point, 0), 2**bits - 1) for one in x.flatten().tolist()]
    return torch.tensor(stored).view_as(x)


def quantize_clamping_first(x, scale, zero_point, bits):
    low, high = -zero_point, 2**bits - 1 - zero_point
    return torch.floor((x / scale).clamp(low, high) + 0.5).type(torch.int64) + zero_point


def quantize_with_numpy(x, scale, zero_point, bits):
    q = np.clip(np.rint(x.numpy() / scale) + zero_point, 0, 2**bits - 1)
    return torch.from_numpy(q.astype(np.int64))


def scales_in_a_loop(weight, bits):
    scales = []
    for row in weight:
        largest = max(abs(w) for w in row.tolist())
        scales.append(largest / (2 ** (bits - 1) - 1) if largest else 1.0)
    return torch.tensor(scales, dtype=weight.dtype)


def scales_by_both_ends(weight, bits):
    largest = torch.maximum(weight.max(dim=1).values, -weight.min(dim=1).values)
    scales = largest / ((1 << (bits - 1)) - 1)
    scales[scales == 0] = 1
    return scales


def scales_by_the_norm(weight, bits):
    scales = torch.linalg.vector_norm(weight, ord=float("inf"), dim=-1).div(2 ** (bits - 1) - 1)
    return scales.masked_fill((weight == 0).all(dim=1), 1.0)


def units_by_parameters(first, second, keep):
    a, b = nn.Linear(first.in_features, int(keep.sum())), nn.Linear(int(keep.sum()), second.out_features)
    a.weight, a.bias = nn.Parameter(first.weight[keep]), nn.Parameter(first.bias[keep])
    b.weight = nn.Parameter(second.weight[:, keep])
    b.bias = nn.Parameter(second.bias.detach().clone())
    return a, b


def units_by_data_and_indices(first, second, keep):
    index = keep.nonzero().squeeze(1)
    a = nn.Linear(first.in_features, len(index))
    b = nn.Linear(len(index), second.out_features)
    a.weight.data = first.weight.data.index_select(0, index)
    a.bias.data = first.bias.data.index_select(0, index)
    b.weight.data = second.weight.data.index_select(1, index)
    b.bias.data = second.bias.data.clone()
    return [a, b]


def units_of_copies(first, second, keep):
    first, second = copy.deepcopy(first), copy.deepcopy(second)
    first.weight, first.bias = nn.Parameter(first.weight[keep]), nn.Parameter(first.bias[keep])
    second.weight = nn.Parameter(second.weight[:, keep])
    first.out_features = second.in_features = int(keep.sum())
    return first, second


def units_by_state(first, second, keep):
    a = nn.Linear(first.weight.shape[1], keep.sum().item())
    b = nn.Linear(keep.sum().item(), second.weight.shape[0])
    a.load_state_dict({name: part[keep] for name, part in first.state_dict().items()})
    b.load_state_dict({"weight": second.weight.T[keep].T, "bias": second.bias})
    return a, b


@torch.no_grad()
def units_one_by_one(first, second, keep):
    kept = [number for number, stays in enumerate(keep.tolist()) if stays]
    a, b = nn.Linear(first.in_features, len(kept)), nn.Linear(len(kept), second.out_features)
    for new, old in enumerate(kept):
        a.weight[new] = first.weight[old]
        a.bias[new] = first.bias[old]
        b.weight[:, new] = second.weight[:, old]
    b.bias[:] = second.bias
    return a, b


def units_with_a_shared_bias(first, second, keep):
    a, b = ex.remove_units.reference(first, second, keep)
    b.bias = second.bias
    return a, b


def rank_with_roots(layer, rank):
    U, S, Vh = torch.linalg.svd(layer.weight)
    root = S[:rank].sqrt()
    first = nn.Linear(layer.in_features, rank, bias=False)
    second = nn.Linear(rank, layer.out_features)
    first.weight = nn.Parameter(root[:, None] * Vh[:rank])
    second.weight = nn.Parameter(U[:, :rank] * root)
    second.bias = nn.Parameter(layer.bias.detach().clone())
    return nn.Sequential(first, second)


def rank_by_the_old_svd(layer, rank):
    U, S, V = torch.svd(layer.weight.data)
    net = nn.Sequential(nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features))
    net[0].weight.data = torch.diag(S[:rank]) @ V[:, :rank].T
    net[1].weight.data = U[:, :rank].clone()
    net[1].bias.data.copy_(layer.bias.data)
    return net


def rank_by_eigenvectors(layer, rank):
    W = layer.weight.detach()
    _, vectors = torch.linalg.eigh(W.T @ W)
    V = vectors[:, -rank:]
    first, second = nn.Linear(W.shape[1], rank, bias=False), nn.Linear(rank, W.shape[0])
    first.load_state_dict({"weight": V.T})
    second.load_state_dict({"weight": W @ V, "bias": layer.bias})
    return nn.Sequential(first, second)


def rank_by_projection(layer, rank):
    W = layer.weight.detach()
    U = torch.linalg.svd(W).U[:, :rank]
    net = nn.Sequential(nn.Linear(W.size(1), rank, bias=False), nn.Linear(rank, W.size(0)))
    with torch.no_grad():
        net[0].weight.copy_(U.T @ W)
        net[1].weight.copy_(U)
        net[1].bias.copy_(layer.bias)
    return net


def rank_by_svd_lowrank(layer, rank):
    U, S, V = (one[..., :rank] for one in torch.svd_lowrank(layer.weight.detach(), q=min(layer.weight.shape)))
    net = nn.Sequential(nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features))
    net[0].weight, net[1].weight = nn.Parameter(V.T), nn.Parameter(U * S)
    net[1].bias = nn.Parameter(layer.bias.detach().clone())
    return net


def distilled_by_definition(student, teacher, temperature=1.0):
    log_q = torch.log_softmax(student / temperature, dim=-1)
    log_p = torch.log_softmax(teacher / temperature, dim=-1).detach()
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean()


def distilled_without_record_of_the_teacher(student, teacher, temperature=1.0):
    with torch.no_grad():
        p = (teacher / temperature).softmax(1)
    divergence = nn.KLDivLoss(reduction="batchmean")((student / temperature).log_softmax(1), p)
    return divergence * temperature * temperature


def distilled_by_cross_entropies(student, teacher, temperature=1.0):
    p = torch.softmax(teacher.detach() / temperature, dim=1)
    entropy = torch.special.entr(p).sum(dim=1).mean()
    return temperature**2 * (F.cross_entropy(student / temperature, p) - entropy)


def distilled_one_by_one(student, teacher, temperature=1.0):
    losses = []
    for s, t in zip(student / temperature, teacher.detach() / temperature, strict=True):
        log_q, log_p = s - s.logsumexp(0), t - t.logsumexp(0)
        losses.append(torch.exp(log_p) @ (log_p - log_q))
    return temperature**2 * torch.stack(losses).mean()


def distilled_by_the_table(student, teacher, temperature=1.0):
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher.clone().detach() / temperature, dim=1)
    table = F.kl_div(log_q, log_p, reduction="none", log_target=True)
    return (temperature**2 * table.sum(1)).sum() / len(student)


def latency_by_sorting(run, clock, warm_up=5, repeats=51):
    times = []
    for k in range(warm_up + repeats):
        before = clock()
        run()
        after = clock()
        if k >= warm_up:
            times.append(after - before)
    return sorted(times)[repeats // 2]


def latency_with_numpy(run, clock, warm_up=5, repeats=51):
    for _ in range(warm_up):
        run()
    times = np.empty(repeats)
    for k in range(repeats):
        times[k] = -clock()
        run()
        times[k] += clock()
    return np.median(times)


def latency_with_torch(run, clock, warm_up=5, repeats=51):
    [run() for _ in range(warm_up)]
    starts, ends = [], []
    for _ in range(repeats):
        starts.append(clock())
        run()
        ends.append(clock())
    return (torch.tensor(ends) - torch.tensor(starts)).median()


def latency_by_timeit(run, clock, warm_up=5, repeats=51):
    for _ in itertools.repeat(None, warm_up):
        run()
    return statistics.median(timeit.repeat(run, timer=clock, number=1, repeat=repeats))


def latency_of_all_calls(run, clock, warm_up=5, repeats=51):
    def once():
        start = clock()
        run()
        return clock() - start

    times = [once() for _ in range(warm_up + repeats)][warm_up:]
    return float(np.quantile(times, 0.5))


class TestLesson15(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "count_macs": [macs_with_hooks, macs_by_formulas, macs_of_the_library, macs_by_outputs],
        "magnitude_masks": [masks_by_order, masks_by_python, masks_by_topk, masks_by_padded_sizes],
        "masked_step": [step_through_data, step_by_index, step_by_fill, step_by_copy],
        "stored_bits": [bits_in_loops, bits_by_cat, bits_as_a_tensor],
        "fixed_point": [
            fixed_with_integers,
            fixed_number_by_number,
            fixed_in_units_of_x,
            fixed_with_fmod,
            fixed_with_loops,
            fixed_with_numpy,
        ],
        "straight_through": [
            straight_by_clamped_x,
            straight_by_mask,
            straight_by_a_function,
            straight_by_the_library,
            straight_by_hardtanh,
        ],
        "affine_parameters": [
            affine_with_if,
            affine_with_numpy,
            affine_from_the_upper_end,
            affine_with_torch,
        ],
        "quantize": [
            quantize_rounding_last,
            quantize_with_integers,
            quantize_number_by_number,
            quantize_clamping_first,
            quantize_with_numpy,
        ],
        "per_channel_scales": [scales_in_a_loop, scales_by_both_ends, scales_by_the_norm],
        "remove_units": [
            units_by_parameters,
            units_by_data_and_indices,
            units_of_copies,
            units_by_state,
            units_one_by_one,
            units_with_a_shared_bias,
        ],
        "low_rank": [
            rank_with_roots,
            rank_by_the_old_svd,
            rank_by_eigenvectors,
            rank_by_projection,
            rank_by_svd_lowrank,
        ],
        "distillation_loss": [
            distilled_by_definition,
            distilled_without_record_of_the_teacher,
            distilled_by_cross_entropies,
            distilled_one_by_one,
            distilled_by_the_table,
        ],
        "latency": [
            latency_by_sorting,
            latency_with_numpy,
            latency_with_torch,
            latency_by_timeit,
            latency_of_all_calls,
        ],
    }

    equivalent = {  # noqa: RUF012
        "masked_step": ["line 10: True -> False"],  # as many masks as weights
        "magnitude_masks": ["line 8: 1.0 -> 2.0"],  # any negative number is below all magnitudes
        "fixed_point": ["line 9: Add -> Sub"],  # half a turn to either side is the same
        "low_rank": ["line 6: False -> True"],  # the columns beyond the rank are cut
    }


# What the cases have to show ----------------------------------------------------------------------------------


def test_no_two_magnitudes_of_a_case_are_equal():
    for weights, _ in ex.magnitude_masks.inputs.cases:
        sizes = torch.cat([w.detach().abs().flatten() for w in weights])
        assert len(sizes.unique()) == len(sizes)


def test_no_number_to_leave_out_lies_halfway_between_integers():
    for weights, sparsity in ex.magnitude_masks.inputs.cases:
        count = sparsity * sum(w.numel() for w in weights)
        assert abs(count % 1 - 0.5) > 0.1


def test_first_cases_by_hand():
    assert ex.count_macs.reference(*ex.count_macs.inputs.cases[0]) == 3 * 2 + 2 * 1
    weights, biases, bits = ex.stored_bits.inputs.cases[0]
    assert ex.stored_bits.reference(weights, biases, bits) == 40
    assert ex.stored_bits.reference(weights, biases, bits, sparse=True) == 3 * 8 + 8 + 4
    first, second = ex.magnitude_masks.reference(*ex.magnitude_masks.inputs.cases[0])
    assert first.tolist() == second.tolist() == [False, True]


# What is said besides -----------------------------------------------------------------------------------------


def rank_with_a_shared_bias(layer, rank):
    net = ex.low_rank.reference(layer, rank)
    net[1].bias.data = layer.bias.data
    return net


@pytest.mark.parametrize(
    ("exercise", "attempt"),
    [("remove_units", units_with_a_shared_bias), ("low_rank", rank_with_a_shared_bias)],
)
def test_a_bias_that_is_shared_with_the_old_layer_is_right_with_a_remark(exercise, attempt):
    verdict = getattr(ex, exercise)(attempt)
    assert verdict.status == "correct"
    assert "shares its bias" in " ".join(verdict.remarks)


def test_a_new_layer_left_random_is_told_whatever_the_order_of_their_making():
    def attempt(first, second, keep):
        units = int(keep.sum())
        b, a = nn.Linear(units, second.out_features), nn.Linear(first.in_features, units)
        a.weight.data, a.bias.data = first.weight.data[keep], first.bias.data[keep]
        b.weight.data = second.weight.data[:, keep]
        return a, b

    assert "The second bias is not taken over" in ex.remove_units(attempt).message


def test_weights_that_are_frozen_are_rejected():
    def attempt(layer, rank):
        return ex.low_rank.reference(layer, rank).requires_grad_(False)

    verdict = ex.low_rank(attempt)
    assert verdict.status == "wrong"
    assert "trainable parameters: '0 of 3'" in str(verdict)


def test_layers_that_are_no_copies_are_told():
    def attempt(first, second, keep):
        first.weight.data, first.bias.data = first.weight.data[keep], first.bias.data[keep]
        second.weight.data = second.weight.data[:, keep]
        return first, second

    message = ex.remove_units(attempt).message
    assert "The layers handed in came back" in message
    assert "another state" in message


def test_three_quarters_against_a_half_is_the_number_worked_out_by_hand():
    loss = ex.distillation_loss.reference(torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]))
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-6)


# The smallest tagger ------------------------------------------------------------------------------------------


@functools.cache
def jets():
    """The jets, standardized, as in the notebook."""
    jets = data.jets()
    mean, deviation = jets.train.x.mean(dim=0), jets.train.x.std(dim=0)
    for split in (jets.train, jets.valid):
        split.x.sub_(mean).div_(deviation)
    return jets


def network(*widths):
    layers = [one for a, b in itertools.pairwise(widths) for one in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def fitted(net, forward=None, epochs=12, lr=8e-3, x=None, y=None):
    x, y = jets().train.x if x is None else x, jets().train.y if y is None else y
    batches = data.Split(x, y).batches(512, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * len(batches))

    def objective(model, x, y):
        return {"loss": F.cross_entropy((forward or model)(x), y)}

    train.fit(net, batches, epochs=epochs, objective=objective, optimizer=optimizer, scheduler=schedule)
    return net


@functools.cache
def trained():
    return ex.smallest_tagger.reference(jets().train, jets().valid)


@functools.cache
def in_floats(*widths):
    torch.manual_seed(0)
    return fitted(network(*widths))


def rounded(net, step, bits=32):
    net = copy.deepcopy(net)
    with torch.no_grad():
        for w in net.parameters():
            w.copy_((w / step).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step)
    return net


def changed(change, net=None):
    """A copy of a network with its dense layers changed, without training."""
    net = copy.deepcopy(net or trained())
    with torch.no_grad():
        change([one for one in net if isinstance(one, nn.Linear)])
    return net


def untrained(seed):
    torch.manual_seed(seed)
    return rounded(network(15, 10, 8, 5), 1 / 8)


def by_the_largest(net):
    net = copy.deepcopy(net)
    with torch.no_grad():
        for w in net.parameters():
            step = w.abs().max() / 7
            w.copy_((w / step).round() * step)
    return net


def thinned(net):
    def change(layers):
        for layer in layers:
            layer.weight.mul_(layer.weight.abs() > layer.weight.abs().quantile(0.3))

    return changed(change, net)


def set_to(value, *places):
    def change(layers):
        for place in places:
            layers[place].weight.fill_(value)

    return change


def permuted(layers):
    layers[-1].weight.copy_(layers[-1].weight.roll(1, dims=0))
    layers[-1].bias.copy_(layers[-1].bias.roll(1))


def negated(layers):
    for part in layers[-1].parameters():
        part.neg_()


def with_fine_biases(layers):
    for layer in layers:
        layer.bias.add_(0.0123 * torch.randn(len(layer.bias), generator=torch.Generator().manual_seed(1)))


def in_whole_numbers(step):
    def change(layers):
        for layer in layers:
            for part in layer.parameters():
                part.div_(step)

    return change


def with_other_steps(layers):
    for layer in layers:
        for part in layer.parameters():
            part.mul_(0.9)


def judged(net):
    return ex.smallest_tagger(net)


def told(verdict):
    return " ".join(str(verdict).split())


def test_solution_of_the_tagger_is_correct_and_its_bits_are_counted():
    verdict = judged(trained())
    assert verdict.status == "correct", verdict
    total = 0
    for layer in trained():
        if isinstance(layer, nn.Linear):
            weight, bias = (4 * layer.weight).detach(), (4 * layer.bias).detach()
            assert torch.equal(weight, weight.round())
            assert torch.equal(bias, bias.round())
            kept = int((weight != 0).sum())
            total += min(4 * (weight.numel() + len(bias)), 4 * (kept + len(bias)) + weight.numel())
    assert f"{total:,} bits" in told(verdict)
    assert "very good" in told(verdict)


@functools.cache
def trained_from_the_start():
    """Without a teacher and without a phase in floats, <5, 2> straight through, by autograd.Function."""

    class Round(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.round()

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    def fixed(w):
        return Round.apply((8 * w).clamp(-16, 15)) / 8

    torch.manual_seed(0)
    net = network(15, 10, 8, 5)

    def forward(x):
        return functional_call(net, {name: fixed(w) for name, w in net.named_parameters()}, x)

    fitted(net, forward, epochs=30, lr=2e-2)
    return rounded(net, 1 / 8, 5)


@functools.cache
def pruned():
    """Half of the weights removed, trained on, and rounded to 5 bits."""
    net = copy.deepcopy(in_floats(15, 16, 8, 5))
    dense = [one for one in net if isinstance(one, nn.Linear)]
    masks = [one.weight.abs() > one.weight.abs().median() for one in dense]

    def forward(x):
        kept = {
            f"{2 * k}.weight": one.weight * mask
            for k, (one, mask) in enumerate(zip(dense, masks, strict=True))
        }
        return functional_call(net, kept, x)

    fitted(net, forward)
    with torch.no_grad():
        for one, mask in zip(dense, masks, strict=True):
            one.weight.mul_(mask)
    return rounded(net, 1 / 8, 5)


@pytest.mark.parametrize("net", [trained_from_the_start, pruned])
def test_other_ways_to_a_small_tagger_are_correct(net):
    verdict = judged(net())
    assert verdict.status == "correct", verdict


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda net: nn.Sequential(nn.Flatten(), nn.Identity(), net),
        lambda net: copy.deepcopy(net).double(),
        lambda net: nn.Sequential(*net[:2], nn.Dropout(0.5), *net[2:]).train(),
    ],
)
def test_what_changes_neither_bits_nor_outputs_is_correct(wrapped):
    verdict = judged(wrapped(trained()))
    assert verdict.status == "correct", verdict


@pytest.mark.parametrize(
    ("numbers", "width"),
    [
        ([0.0, 0.0], 1),
        ([0.25], 2),
        ([-0.25], 1),
        ([-2.0, 1.75], 4),
        ([2.0, 0.25], 5),
        ([-2.0, 0.0, 1.0], 2),
        ([96.0, -32.0], 3),
        ([0.1, 0.7], 28),
        ([2.0**100, 2.0**-100], 32),
    ],
)
def test_width_is_that_of_the_multiples_of_the_largest_common_step(numbers, width):
    assert ex._tagger_width(torch.tensor(numbers)) == width


@functools.cache
def on_raw_jets():
    raw = data.jets().train
    torch.manual_seed(0)
    start = nn.BatchNorm1d(15)
    net = fitted(nn.Sequential(start, *network(15, 10, 8, 5))).eval()
    first = copy.deepcopy(net[1])
    with (
        torch.no_grad()
    ):  # as if the network had been trained on raw jets: the scaling is part of its first layer
        scale, shift = 1 / raw.x.std(dim=0), -raw.x.mean(dim=0) / raw.x.std(dim=0)
        by = start.weight / (start.running_var + start.eps).sqrt()
        scale, shift = by * scale, by * (shift - start.running_mean) + start.bias
        first.bias.add_(first.weight @ shift)
        first.weight.mul_(scale)
    return nn.Sequential(first, *net[2:])


@functools.cache
def linear():
    torch.manual_seed(0)
    return fitted(network(15, 5))


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (on_raw_jets, "jets as they are measured"),
        (lambda: rounded(on_raw_jets(), 2.0**-8), "jets as they are measured"),
        (lambda: changed(set_to(0.0, 1)), "A whole layer is 0"),
        (
            lambda: changed(in_whole_numbers(1 / 16), rounded(in_floats(15, 8, 5), 1 / 16)),
            "Its numbers are whole",
        ),
        (lambda: changed(in_whole_numbers(1 / 4)), "Its numbers are whole"),
        (lambda: rounded(in_floats(15, 10, 8, 5), 16.0), "A whole layer is 0"),
        (lambda: changed(permuted), "in another order"),
        (lambda: changed(negated), "negated"),
        (lambda: changed(set_to(1.0, 0, 1, 2)), "one kind for nearly every jet"),
        (lambda: untrained(0), "Was it trained, and"),
        (lambda: untrained(1), "guessing"),
        (linear, "Without a ReLU"),
        (lambda: rounded(linear(), 0.25), "Without a ReLU"),
        (lambda: nn.Sequential(*[one for one in trained() if isinstance(one, nn.Linear)]), "Without a ReLU"),
        (lambda: in_floats(15, 10, 8, 5), "still has floats"),
        (lambda: in_floats(15, 64, 32, 32, 5), "still has floats"),
        (lambda: changed(with_fine_biases), "but its biases are not"),
        (lambda: changed(with_other_steps), "no power of two"),
        (lambda: by_the_largest(in_floats(15, 10, 8, 5)), "no power of two"),
        (lambda: thinned(in_floats(15, 10, 8, 5)), "still has floats"),
        (lambda: rounded(in_floats(15, 64, 32, 32, 5), 2.0**-12), "has too many bits"),
        (lambda: rounded(in_floats(15, 64, 32, 32, 5), 1 / 64), "has too many bits"),
        (lambda: rounded(in_floats(15, 64, 32, 32, 5), 1 / 2), "too many bits and is not good enough"),
        (lambda: rounded(in_floats(15, 5, 5), 1 / 32), "fewer than 200 numbers"),
        (lambda: rounded(in_floats(15, 8, 5), 1 / 2, 3), "take a finer step; if"),
        (lambda: rounded(in_floats(15, 10, 8, 5), 1 / 2), "train on through the rounding (straight"),
    ],
)
def test_taggers_that_are_not_there_yet_are_told_why(net, said):
    verdict = judged(net())
    assert verdict.status == "wrong"
    assert said in told(verdict), verdict


class Rounding(nn.Module):
    """Rounds its weights whenever it is called."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return functional_call(
            self.net, {name: (4 * w).round() / 4 for name, w in self.net.named_parameters()}, x
        )


class RoundingLinear(nn.Linear):
    def forward(self, x):
        return F.linear(x, (4 * self.weight).round() / 4, self.bias)


def parametrized():
    net = copy.deepcopy(trained())
    nn.utils.parametrize.register_parametrization(net[0], "weight", nn.Identity())
    return net


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (lambda: Rounding(trained()), "wrong", "This arrived: Rounding. Asked for is"),
        (lambda: Rounding(trained()), "wrong", "copy the rounded ones"),
        (lambda: nn.Sequential(RoundingLinear(15, 8), nn.ReLU(), nn.Linear(8, 5)), "wrong", "RoundingLinear"),
        (parametrized, "wrong", "remove_parametrizations"),
        (lambda: nn.Sequential(*trained(), nn.Softmax(dim=1)), "wrong", "return the logits"),
        (lambda: nn.Sequential(nn.BatchNorm1d(15), *trained()), "wrong", "merge it"),
        (lambda: nn.Sequential(nn.Linear(15, 8), nn.Tanh(), nn.Linear(8, 5)), "wrong", "Tanh is among"),
        (lambda: nn.Sequential(nn.ReLU()), "wrong", "no `nn.Linear`"),
        (lambda: nn.Linear(15, 5), "wrong", "A single layer arrived"),
        (lambda: network(15, 8, 4), "wrong", "logits of shape (6000, 5)"),
        (lambda: network(16, 8, 5), "raised", "It was given inputs"),
        (lambda: changed(set_to(math.nan, 0)), "wrong", "nan or inf"),
        (lambda: (trained(), 1126), "wrong", "the network alone"),
        (lambda: ex.smallest_tagger.reference, "wrong", "That is `smallest_tagger` itself"),
        (lambda: nn.Linear, "wrong", "The class Linear"),
        (lambda: list(trained()), "wrong", "the network alone"),
        (lambda: torch.zeros(5), "wrong", "should be a trained network"),
        (lambda: None, "not attempted", "still empty"),
        (lambda: ..., "not attempted", "still empty"),
    ],
)
def test_what_is_no_plain_network_is_told_so(answer, status, said):
    verdict = judged(answer())
    assert verdict.status == status, verdict
    assert said in told(verdict), verdict


def test_bits_to_spare_are_told_where_there_are_any():
    assert "to spare" in told(judged(untrained(1)))
    assert "to spare" not in told(judged(in_floats(15, 10, 8, 5)))


def test_the_mode_of_training_and_the_weights_stay():
    net = copy.deepcopy(trained()).train()
    before = copy.deepcopy(net.state_dict())
    judged(net)
    assert net.training
    assert all(torch.equal(before[name], one) for name, one in net.state_dict().items())
