import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coursekit import data
from coursekit.exercises import lesson10 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way ------------------------------------------------------------------


def attention_with_large_numbers(q, k, v, allowed=None):
    scores = torch.matmul(q, k.mT) * q.size(-1) ** -0.5
    if allowed is not None:
        scores = torch.where(allowed, scores, torch.tensor(-1e9).to(scores))
    weights = F.softmax(scores, -1)
    return torch.matmul(weights, v), weights


def attention_by_einsum(q, k, v, allowed=None):
    scores = torch.einsum("...td,...sd->...ts", q / math.sqrt(q.shape[-1]), k)
    if allowed is not None:
        scores += torch.zeros_like(scores).masked_fill_(allowed.logical_not(), float("-inf"))
    weights = torch.softmax(scores, dim=-1)
    return [torch.einsum("...ts,...se->...te", weights, v), weights]


def attention_by_the_library(q, k, v, allowed=None):
    outputs = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    identity = torch.eye(k.shape[-2], dtype=v.dtype).expand(*k.shape[:-1], -1)
    return outputs, F.scaled_dot_product_attention(q, k, identity, attn_mask=allowed)


def attention_by_exponentials(q, k, v, allowed=None):
    weights = (q @ k.transpose(-1, -2) / torch.sqrt(torch.tensor(k.shape[-1]))).exp()
    if allowed is not None:
        weights = weights * allowed
    weights = weights / weights.sum(-1, keepdim=True)
    return weights @ v, weights


def attention_with_an_additive_mask(q, k, v, allowed=None):
    allowed = torch.tensor(True) if allowed is None else allowed
    w = (q @ k.swapaxes(-2, -1) / q.shape[-1] ** 0.5 + (1 - allowed.float()) * -1e9).softmax(-1)
    return w @ v, w


def attention_with_a_renormalised_mask(q, k, v, allowed=None):
    w = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    if allowed is not None:
        w = w * allowed
        w = w / w.sum(dim=-1, keepdim=True)
    return w @ v, w


def mask_in_loops(T):
    return torch.tensor([[s <= t for s in range(T)] for t in range(T)])


def mask_by_comparison(T):
    t = torch.arange(T)
    return t <= t.unsqueeze(1)


def mask_row_by_row(T):
    mask = torch.zeros((T, T)).bool()
    for t in range(T):
        mask[t, : t + 1] = True
    return mask


def rotate_row_by_row(x, start=0):
    d = x.shape[-1]
    result = x.clone()
    for t in range(x.shape[-2]):
        for i in range(d // 2):
            w = (start + t) * 1000 ** (-2 * i / d)
            a, b = x[..., t, i], x[..., t, i + d // 2]
            result[..., t, i] = math.cos(w) * a - math.sin(w) * b
            result[..., t, i + d // 2] = math.sin(w) * a + math.cos(w) * b
    return result


def rotate_by_complex_numbers(x, start=0):
    a, b = x.split(x.size(-1) // 2, dim=-1)
    angle = torch.outer(
        torch.arange(start, start + x.size(-2)),
        1 / 1000 ** (torch.arange(0, x.size(-1), 2).float() / x.size(-1)),
    )
    z = torch.complex(a, b) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((z.real, z.imag), -1)


def rotate_like_llama(x, start=0):
    *_, T, d = x.shape
    h = d // 2
    freqs = torch.pow(1000.0, -2 * torch.arange(h) / d)
    angles = (torch.arange(T) + start)[:, None] * freqs[None]
    cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)
    return x * cos + torch.cat((-x[..., h:], x[..., :h]), dim=-1) * sin


def rotate_in_float64(x, start=0):
    d = x.shape[-1]
    position = torch.arange(x.shape[-2], dtype=torch.float64) + start
    exponent = torch.linspace(0, 1, d // 2 + 1, dtype=torch.float64)[:-1]
    angle = position.view(-1, 1) * torch.exp(-math.log(1000) * exponent)
    out = torch.empty_like(x)
    out[..., : d // 2] = x[..., : d // 2] * angle.cos() - x[..., d // 2 :] * angle.sin()
    out[..., d // 2 :] = x[..., d // 2 :] * angle.cos() + x[..., : d // 2] * angle.sin()
    return out


def rotate_by_matrices(x, start=0):
    d = x.shape[-1]
    w = (start + torch.arange(x.shape[-2]))[:, None] * 1000 ** (-torch.arange(0, d, 2) / d)
    turn = torch.stack([torch.stack([w.cos(), -w.sin()], -1), torch.stack([w.sin(), w.cos()], -1)], -2).to(x)
    return torch.einsum("tiab,...tbi->...tai", turn, x.unflatten(-1, (2, d // 2))).flatten(-2)


def split_by_chunks(x, heads):
    return torch.stack(x.chunk(heads, dim=-1), dim=1)


def split_in_loops(x, heads):
    N, T, d = x.shape
    e = d // heads
    result = torch.zeros(N, heads, T, e, dtype=x.dtype)
    for h in range(heads):
        result[:, h] = x[:, :, h * e : (h + 1) * e]
    return result


def split_by_view(x, heads):
    N, T, d = x.shape
    return x.view(N, T, heads, d // heads).permute(0, 2, 1, 3).contiguous()


def merge_by_reshape(x):
    N, heads, T, e = x.shape
    return x.permute(0, 2, 1, 3).reshape(N, T, heads * e)


def merge_by_contiguous(x):
    return x.swapaxes(1, 2).contiguous().view(x.size(0), x.size(2), -1)


def block_in_four_lines(x, norm1, attend, norm2, mlp):
    h = norm1(x)
    middle = x + attend(h)
    h = norm2(middle)
    return middle + mlp(h)


def block_in_a_loop(x, norm1, attend, norm2, mlp):
    for norm, f in [(norm1, attend), (norm2, mlp)]:
        x = x + f(norm(x))
    return x


def block_by_updates(x, norm1, attend, norm2, mlp):
    update = attend(norm1(x))
    return x + update + mlp(norm2(x + update))


def block_on_a_copy(x, norm1, attend, norm2, mlp):
    x = x.clone()
    x += attend(norm1(x))
    x += mlp(norm2(x))
    return x


def block_in_place(x, norm1, attend, norm2, mlp):
    x += attend(norm1(x))
    x += mlp(norm2(x))
    return x


def tokens_in_a_loop(ids, starts, T):
    inputs = torch.stack([ids[start : start + T] for start in starts])
    targets = torch.stack([ids[start + 1 : start + T + 1] for start in starts])
    return inputs, targets


def tokens_by_unfold(ids, starts, T):
    windows = ids.unfold(0, T + 1, 1)[starts]
    return windows[:, :-1], windows[:, 1:]


def tokens_one_by_one(ids, starts, T):
    inputs, targets = torch.zeros(2, len(starts), T, dtype=ids.dtype)
    for n in range(len(starts)):
        for t in range(T):
            inputs[n, t], targets[n, t] = ids[starts[n] + t], ids[starts[n] + t + 1]
    return inputs, targets


def tokens_as_a_list(ids, starts, T):
    windows = torch.tensor([ids[start : start + T + 1].tolist() for start in starts.tolist()])
    return [windows[:, :T], windows[:, 1:]]


def tokens_by_gather(ids, starts, T):
    index = (starts.unsqueeze(1) + torch.arange(T)).flatten()
    return ids.gather(0, index).view(-1, T), torch.take(ids, index + 1).view(-1, T)


def draw_among_the_largest(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    values, tokens = logits.topk(min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    return tokens.gather(-1, torch.multinomial((values / temperature).softmax(-1), 1))


def draw_by_categorical(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return logits.max(dim=1).indices.unsqueeze(1)
    if top_k is not None and top_k < logits.shape[1]:
        threshold = logits.sort(dim=1, descending=True).values[:, top_k - 1]
        logits = torch.where(logits < threshold[:, None], torch.full_like(logits, -1e9), logits)
    return torch.distributions.Categorical(logits=logits / temperature).sample()[:, None]


def draw_by_gumbel(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    if top_k is not None:
        mask = torch.full_like(logits, -torch.inf)
        mask.scatter_(1, logits.topk(min(top_k, logits.shape[1])).indices, 0.0)
        logits = logits + mask
    noise = -torch.log(-torch.log(torch.rand_like(logits)))
    return (logits / temperature + noise).argmax(dim=-1, keepdim=True)


def draw_by_cumulative_sums(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return torch.argmax(logits, dim=1)[:, None]
    probabilities = torch.softmax(logits / temperature, dim=1)
    if top_k is not None:
        kept = probabilities.topk(min(top_k, probabilities.shape[1])).values[:, -1:]
        probabilities = probabilities * (probabilities >= kept)
        probabilities = probabilities / probabilities.sum(dim=1, keepdim=True)
    u = torch.rand(len(logits), 1)
    return (probabilities.cumsum(dim=1) < u).sum(dim=1, keepdim=True).clamp(max=logits.shape[1] - 1)


def draw_without_a_sum(logits, temperature=1.0, top_k=None):
    """Drawn from probabilities that do not add up to one, which multinomial divides itself."""
    if not temperature:
        return logits.topk(1, dim=-1).indices
    probabilities = (logits / temperature).softmax(dim=-1)
    if top_k:
        smallest = probabilities.topk(min(top_k, probabilities.shape[-1])).values[:, [-1]]
        probabilities[probabilities < smallest] = 0
    return probabilities.multinomial(num_samples=1)


def draw_in_a_loop_with_numpy(logits, temperature=1.0, top_k=None):
    rng = np.random.default_rng()
    tokens = []
    for row in logits.double().numpy():
        if temperature == 0:
            tokens.append(int(row.argmax()))
            continue
        p = np.exp((row - row.max()) / temperature)
        if top_k is not None:
            p[np.argsort(-row)[top_k:]] = 0
        tokens.append(int(rng.choice(len(p), p=p / p.sum())))
    return torch.tensor(tokens).unsqueeze(1)


def draw_row_by_row(logits, temperature=1.0, top_k=None):
    tokens = []
    for row in logits:
        if temperature == 0:
            tokens.append(row.argmax())
            continue
        row = row / temperature
        if top_k is not None and top_k < len(row):
            row = row.clone()
            row[row < row.topk(top_k).values[-1]] = -math.inf
        tokens.append(torch.multinomial(F.softmax(row, dim=0), 1)[0])
    return torch.stack(tokens)[:, None]


def draw_with_small_temperature(logits, temperature=1.0, top_k=None):
    logits = logits / max(temperature, 1e-6)
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1]))[0][:, -1:], -math.inf)
    return torch.multinomial(F.softmax(logits, dim=1), 1)


def padding_in_a_loop(lengths, S):
    mask = torch.zeros(len(lengths), 1, 1, S, dtype=torch.bool)
    for n, length in enumerate(lengths):
        mask[n, :, :, :length] = True
    return mask


def padding_by_lists(lengths, S):
    return torch.tensor([[[[s < length for s in range(S)]]] for length in lengths.tolist()])


def padding_by_view(lengths, S):
    return (torch.arange(S).expand(len(lengths), S) < lengths.unsqueeze(-1)).view(-1, 1, 1, S)


def padding_by_sums(lengths, S):
    return (torch.ones(len(lengths), S).cumsum(1) <= lengths[:, None]).unsqueeze(1).unsqueeze(1)


def heads_by_the_library(x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None):
    d = x.shape[-1]
    layer = nn.MultiheadAttention(d, heads, batch_first=True, dtype=x.dtype)
    layer.load_state_dict(
        {"in_proj_weight": W_qkv, "in_proj_bias": b_qkv, "out_proj.weight": W_out, "out_proj.bias": b_out}
    )
    mask = None
    if allowed is not None:
        mask = ~allowed.expand(len(x), heads, x.shape[1], x.shape[1]).flatten(0, 1)
    with torch.no_grad():
        return layer(x, x, x, attn_mask=mask, average_attn_weights=False)


def heads_in_a_loop(x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None):
    d = x.shape[-1]
    e = d // heads
    qkv = F.linear(x, W_qkv, b_qkv)
    outputs, weights = [], []
    for h in range(heads):
        q, k, v = (qkv[:, :, i * d + h * e : i * d + (h + 1) * e] for i in range(3))
        scores = torch.bmm(q, k.transpose(1, 2)) / e**0.5
        if allowed is not None:
            mask = allowed if allowed.ndim == 2 else allowed[:, 0]
            scores = torch.where(mask, scores, -torch.inf)
        weights.append(torch.softmax(scores, dim=-1))
        outputs.append(weights[-1] @ v)
    return F.linear(torch.cat(outputs, dim=-1), W_out, b_out), torch.stack(weights, dim=1)


def heads_by_einsum(x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None):
    N, T, d = x.shape
    q, k, v = (x @ W_qkv.T + b_qkv).view(N, T, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
    scores = torch.einsum("nhtd,nhsd->nhts", q, k) / math.sqrt(d / heads)
    if allowed is not None:
        scores = scores.masked_fill(allowed.logical_not(), float("-inf"))
    weights = F.softmax(scores, -1)
    outputs = torch.einsum("nhts,nhsd->nthd", weights, v).reshape(N, T, d)
    return torch.einsum("ntd,ed->nte", outputs, W_out) + b_out, weights


def heads_with_three_products(x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None):
    N, T, d = x.shape
    parts = []
    for W, b in zip(W_qkv.split(d), b_qkv.split(d), strict=True):
        parts.append((x @ W.T + b).reshape(N, T, heads, d // heads).transpose(1, 2))
    q, k, v = parts
    scores = q @ k.mT * (d // heads) ** -0.5
    if allowed is not None:
        scores = scores + torch.zeros(allowed.shape, dtype=x.dtype).masked_fill(~allowed, -1e9)
    weights = scores.softmax(3)
    merged = (weights @ v).transpose(1, 2).contiguous().view(N, T, d)
    return [merged @ W_out.T + b_out, weights]


def norm_by_the_library(x, gain, bias, eps=1e-5):
    return F.layer_norm(x, (x.shape[-1],), gain, bias, eps)


def norm_by_hand(x, gain, bias, eps=1e-5):
    d = x.size(-1)
    deviation = x - x.sum(-1).unsqueeze(-1) / d
    return gain * deviation * torch.rsqrt((deviation * deviation).sum(-1, keepdim=True) / d + eps) + bias


def norm_row_by_row(x, gain, bias, eps=1e-5):
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        centred = row - row.mean()
        rows.append(centred / math.sqrt((centred**2).mean().item() + eps) * gain + bias)
    return torch.stack(rows).reshape(x.shape)


def norm_by_std(x, gain, bias, eps=1e-5):
    std = torch.std(x, dim=-1, keepdim=True, correction=0)
    return torch.addcmul(bias, gain, (x - x.mean(-1, True)) / torch.sqrt(std**2 + eps))


def norm_by_var_mean(x, gain, bias, eps=1e-5):
    variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    return (x - mean) * (variance + eps) ** -0.5 * gain + bias


def norm_by_moments(x, gain, bias, eps=1e-5):
    mean = x.mean(dim=-1)
    variance = (x**2).mean(dim=-1) - mean**2
    return ((x - mean[..., None]) / (variance[..., None].clamp(min=0) + eps).sqrt()) * gain + bias


def merged_in_a_copy(ids, pair, new):
    merged, i = list(ids), 0
    while i + 1 < len(merged):
        if merged[i] == pair[0] and merged[i + 1] == pair[1]:
            merged[i : i + 2] = [new]
        i += 1
    return merged


def merged_with_a_flag(ids, pair, new):
    left, right = pair
    merged, skip = [], False
    for i, one in enumerate(ids):
        if skip:
            skip = False
        elif one == left and i < len(ids) - 1 and ids[i + 1] == right:
            merged.append(new)
            skip = True
        else:
            merged.append(one)
    return merged


def merged_recursively(ids, pair, new):
    if len(ids) < 2:
        return ids[:]
    if (ids[0], ids[1]) == pair:
        return [new, *merged_recursively(ids[2:], pair, new)]
    return [ids[0], *merged_recursively(ids[1:], pair, new)]


def merged_by_an_iterator(ids, pair, new):
    merged, waiting = [], None
    for one in ids:
        if waiting is None:
            waiting = one
        elif (waiting, one) == tuple(pair):
            merged.append(new)
            waiting = None
        else:
            merged.append(waiting)
            waiting = one
    return merged if waiting is None else [*merged, waiting]


def merged_as_characters(ids, pair, new):
    text = "".join(map(chr, ids)).replace(chr(pair[0]) + chr(pair[1]), chr(new))
    return [ord(one) for one in text]


def merged_as_array(ids, pair, new):
    ids, merged, i = np.array(ids, dtype=int), [], 0
    while i < len(ids):
        if np.array_equal(ids[i : i + 2], pair):
            merged.append(new)
            i = i + 2
            continue
        merged.append(ids[i])
        i = i + 1
    return merged


def bits_in_a_loop(batches, characters):
    total = 0.0
    for logits, targets in batches:
        N, T, V = logits.shape
        total += F.cross_entropy(logits.view(N * T, V), targets.view(N * T), reduction="sum").item()
    return total / (characters * math.log(2))


def bits_by_log_softmax(batches, characters):
    bits = 0
    for logits, targets in batches:
        log2p = logits.log_softmax(dim=-1) / torch.tensor(2.0).log()
        bits -= log2p.gather(2, targets[..., None]).sum()
    return bits / characters


def bits_transposed(batches, characters):
    nats = [
        F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum()
        for logits, targets in batches
    ]
    return torch.stack(nats).sum() * math.log2(math.e) / characters


def bits_by_means(batches, characters):
    nats = sum(
        F.cross_entropy(logits.reshape(-1, logits.size(-1)), targets.reshape(-1)) * targets.numel()
        for logits, targets in batches
    )
    return float(nats / np.log(2)) / characters


def bits_joined(batches, characters):
    logits = torch.cat([one.flatten(0, 1) for one, _ in batches])
    targets = torch.cat([one.flatten() for _, one in batches])
    picked = (logits - logits.logsumexp(1, keepdim=True))[torch.arange(len(targets)), targets]
    return -picked.sum() / np.log(2) / characters


def positions_in_a_loop(T, d, base=10_000.0):
    P = torch.zeros(T, d)
    for t, i in itertools.product(range(T), range(0, d, 2)):
        angle = t / base ** (i / d)
        P[t, i], P[t, i + 1] = math.sin(angle), math.cos(angle)
    return P


def positions_by_exp(T, d, base=10_000.0):
    position = torch.arange(0, T, dtype=torch.float).unsqueeze(1)
    factor = torch.exp(torch.arange(0, d, 2).float() * (-math.log(base) / d))
    P = torch.empty(T, d)
    P[:, 0::2] = torch.sin(position * factor)
    P[:, 1::2] = torch.cos(position * factor)
    return P


def positions_as_numpy_does(T, d, base=10_000.0):
    t, i = np.arange(T)[:, None], np.arange(d)[None]
    angles = t / np.power(base, 2 * (i // 2) / np.float32(d))
    angles[:, 0::2] = np.sin(angles[:, 0::2])
    angles[:, 1::2] = np.cos(angles[:, 1::2])
    return torch.tensor(angles, dtype=torch.float32)


def positions_by_phase(T, d, base=10_000.0):
    i = torch.arange(d)
    angles = torch.outer(torch.arange(T).double(), base ** (-(i - i % 2) / d).double())
    return torch.sin(angles + (i % 2) * torch.pi / 2)


def positions_by_stack(T, d, base=10_000.0):
    columns = []
    for k in range(d // 2):
        angles = torch.arange(T) / base ** (2 * k / d)
        columns += [torch.sin(angles), torch.cos(angles)]
    return torch.stack(columns, dim=1)


class TestLesson10(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "attention": [
            attention_with_large_numbers,
            attention_by_einsum,
            attention_by_the_library,
            attention_by_exponentials,
            attention_with_an_additive_mask,
            attention_with_a_renormalised_mask,
        ],
        "causal_mask": [
            mask_in_loops,
            mask_by_comparison,
            mask_row_by_row,
            lambda T: torch.tril(torch.ones(T, T)).bool(),
            lambda T: torch.triu(torch.ones(T, T), diagonal=1) == 0,
            lambda T: ~torch.ones(T, T, dtype=torch.bool).triu(1),
        ],
        "rotate": [
            rotate_row_by_row,
            rotate_by_complex_numbers,
            rotate_like_llama,
            rotate_in_float64,
            rotate_by_matrices,
        ],
        "split_heads": [
            split_by_chunks,
            split_in_loops,
            split_by_view,
            lambda x, heads: torch.stack(x.split(x.shape[-1] // heads, dim=2), 1),
            lambda x, heads: x.reshape(*x.shape[:-1], heads, -1).transpose(-3, -2),
        ],
        "merge_heads": [
            merge_by_reshape,
            merge_by_contiguous,
            lambda x: torch.cat([x[:, h] for h in range(x.shape[1])], dim=-1),
            lambda x: torch.cat(x.unbind(1), 2),
        ],
        "pre_norm_block": [block_in_four_lines, block_in_a_loop, block_by_updates, block_on_a_copy],
        "next_tokens": [
            tokens_in_a_loop,
            tokens_by_unfold,
            tokens_one_by_one,
            tokens_as_a_list,
            tokens_by_gather,
        ],
        "sample_next": [
            draw_among_the_largest,
            draw_by_categorical,
            draw_by_gumbel,
            draw_by_cumulative_sums,
            draw_without_a_sum,
            draw_in_a_loop_with_numpy,
            draw_row_by_row,
            draw_with_small_temperature,
        ],
        "padding_mask": [padding_in_a_loop, padding_by_lists, padding_by_view, padding_by_sums],
        "multi_head": [
            heads_by_the_library,
            heads_in_a_loop,
            heads_by_einsum,
            heads_with_three_products,
        ],
        "layer_norm": [
            norm_by_the_library,
            norm_by_hand,
            norm_row_by_row,
            norm_by_std,
            norm_by_var_mean,
            norm_by_moments,
        ],
        "merge_pair": [
            merged_in_a_copy,
            merged_with_a_flag,
            merged_recursively,
            merged_by_an_iterator,
            merged_as_characters,
            merged_as_array,
        ],
        "bits_per_character": [
            bits_in_a_loop,
            bits_by_log_softmax,
            bits_transposed,
            bits_by_means,
            bits_joined,
        ],
        "sinusoidal": [
            positions_in_a_loop,
            positions_by_exp,
            positions_as_numpy_does,
            positions_by_phase,
            positions_by_stack,
        ],
    }
    equivalent = {  # noqa: RUF012
        "layer_norm": ["line 1: 1e-05 -> 1.00001"],  # every case gives eps
        "sinusoidal": ["line 1: 10000.0 -> 10001.0"],
    }


# What the libraries say ---------------------------------------------------------------------------------------


def test_attention_is_that_of_torch():
    for q, k, v, allowed in ex.attention.inputs.cases:
        outputs, _ = ex.attention.reference(q, k, v, allowed)
        torch.testing.assert_close(outputs, F.scaled_dot_product_attention(q, k, v, attn_mask=allowed))


def test_the_example_on_paper():
    outputs, weights = ex.attention.reference(*ex.attention.inputs.cases[0])
    torch.testing.assert_close(weights, torch.tensor([[2.0, 3.0, 6.0]]) / 11)
    torch.testing.assert_close(outputs, torch.tensor([[8.0]]))


def test_no_row_is_masked_altogether():
    for _, _, _, allowed in ex.attention.inputs.cases:
        assert allowed is None or allowed.any(dim=-1).all()


def test_rotated_products_depend_on_the_distance_alone():
    q, k = torch.randn(2, 8, dtype=torch.float64).split(1)
    products = [
        (ex.rotate.reference(q, start) * ex.rotate.reference(k, start + 3)).sum() for start in (0, 5, 40)
    ]
    torch.testing.assert_close(products, [products[0]] * 3)


def test_merging_undoes_splitting():
    for x, heads in ex.split_heads.inputs.cases:
        torch.testing.assert_close(ex.merge_heads.reference(ex.split_heads.reference(x, heads)), x)


# What changes an argument -------------------------------------------------------------------------------------


def next_tokens_in_place(ids, starts, T):
    inputs = ids[starts[:, None] + torch.arange(T)]
    starts += 1
    return inputs, ids[starts[:, None] + torch.arange(T)]


def sample_in_place(logits, temperature=1.0, top_k=None):
    if temperature:
        logits /= temperature
    return ex.sample_next.reference(logits, 1.0 if temperature else 0, top_k)


def heads_in_place(x, W_qkv, b_qkv, W_out, b_out, heads, allowed=None):
    result = ex.multi_head.reference(x, W_qkv, b_qkv, W_out, b_out, heads, allowed)
    b_out += 1
    return result


@pytest.mark.parametrize(
    ("exercise", "attempt", "named"),
    [
        (ex.pre_norm_block, block_in_place, "`x`"),
        (ex.next_tokens, next_tokens_in_place, "`starts`"),
        (ex.sample_next, sample_in_place, "`logits`"),
        (ex.multi_head, heads_in_place, "`b_out`"),
    ],
)
def test_a_right_result_with_a_changed_argument_is_wrong(exercise, attempt, named):
    verdict = exercise(attempt)
    assert verdict.status == "wrong"
    assert f"{named} is no longer what it was" in verdict.message


# How samplers are judged --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_frequencies_of_the_solution_fit_whatever_the_seed(seed):
    def attempt(logits, temperature=1.0, top_k=None):
        torch.manual_seed(torch.initial_seed() + 1 + seed)
        return ex.sample_next.reference(logits, temperature, top_k)

    assert ex.sample_next(attempt).status == "correct"


def gumbel(logits):
    return (logits - torch.log(-torch.log(torch.rand_like(logits)))).argmax(dim=-1, keepdim=True)


def kept(logits, top_k):
    smallest = logits.topk(min(top_k or logits.shape[1], logits.shape[1])).values[:, -1:]
    return torch.where(logits < smallest, -torch.inf, logits)


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (lambda z, t=1.0, k=None: gumbel(kept(z * t, k)) if t else z.argmax(1, True), "wrong way round"),
        (lambda z, t=1.0, k=None: gumbel(kept(z, k)) if t else z.argmax(1, True), "no effect here, unless"),
        (lambda z, t=1.0, k=None: gumbel(z / t) if t else z.argmax(1, True), "`top_k` is ignored"),
        (lambda z, t=1.0, k=None: gumbel(z / t) if t else gumbel(z), "With temperature 0 a token is drawn"),
        (
            lambda z, t=1.0, k=None: (
                gumbel(kept(z / t, k))[torch.zeros(len(z), dtype=torch.int64)] if t else z.argmax(1, True)
            ),
            "given to all rows",
        ),
        (
            lambda z, t=1.0, k=None: (
                gumbel((z / t).topk(min(k or 99, z.shape[1])).values) if t else z.argmax(1, True)
            ),
            "top_k",
        ),
    ],
)
def test_a_mistake_is_named_whatever_the_sampler(attempt, said):
    verdict = ex.sample_next(attempt)
    assert verdict.status == "wrong"
    assert said in verdict.message, verdict


# What the libraries say ---------------------------------------------------------------------------------------


def test_multi_head_is_what_the_library_does():
    x, W_qkv, b_qkv, W_out, b_out, heads, allowed = ex.multi_head.inputs.cases[8]
    theirs = heads_by_the_library(x, W_qkv, b_qkv, W_out, b_out, heads, allowed)
    torch.testing.assert_close(ex.multi_head.reference(x, W_qkv, b_qkv, W_out, b_out, heads, allowed), theirs)


def test_pre_norm_block_is_what_the_library_does():
    layer = nn.TransformerEncoderLayer(
        6, 2, 12, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
    )
    x = torch.randn(2, 5, 6)
    ours = ex.pre_norm_block.reference(
        x,
        layer.norm1,
        lambda h: layer.self_attn(h, h, h)[0],
        layer.norm2,
        lambda h: layer.linear2(F.gelu(layer.linear1(h))),
    )
    torch.testing.assert_close(ours, layer(x))


# What the libraries say ---------------------------------------------------------------------------------------


def test_layer_norm_is_that_of_pytorch():
    x, gain, bias = torch.randn(3, 4, 5), torch.randn(5), torch.randn(5)
    torch.testing.assert_close(ex.layer_norm.reference(x, gain, bias), F.layer_norm(x, (5,), gain, bias))


def test_bits_of_equal_logits_are_the_logarithm_of_the_vocabulary():
    bits = ex.bits_per_character.reference([(torch.zeros(2, 3, 8), torch.ones(2, 3).long())], 6)
    assert bits.item() == pytest.approx(3)


def test_merging_a_text_gives_the_ids_of_a_tokenizer():
    ids = list(b"abababc")
    assert ex.merge_pair.reference(ids, (97, 98), 256) == [256, 256, 256, 99]
    assert ids == list(b"abababc")


# The transformer ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    digits = data.mnist("sample")
    return ex.vision_transformer.reference(digits.train, digits.valid)


class OfDigits(nn.Module):
    """Applies a function to digits, without training."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def test_solution_of_the_transformer_reaches_the_floor(trained):
    verdict = ex.vision_transformer(trained)
    assert verdict.status == "correct", verdict
    assert "1,000 examples that you were not given" in verdict.message


def sorted_tiles(x, height, width):
    """The digits as sets of tiles: every number sorted over the tiles."""
    return F.unfold(x, (height, width), stride=(height, width)).sort(dim=2).values.flatten(1)


@pytest.mark.parametrize("tile", [(7, 7), (4, 4), (14, 14), (2, 2), (1, 28), (28, 1)])
def test_a_network_without_positions_is_told_so_whatever_its_patches(tile):
    def answer(x):
        levels = (255 * sorted_tiles(x, *tile)).round().long()
        return F.one_hot((levels * torch.arange(784)).sum(dim=1) % 10, 10).float()

    verdict = ex.vision_transformer(OfDigits(answer))
    assert verdict.status == "wrong"
    assert "No positions" in verdict.message, verdict


def test_a_network_above_the_floor_without_positions_is_wrong(trained):
    answers = {}
    digits = ex._vision_digits_kept_back()
    for x, logits in zip(digits.x.split(500), trained(digits.x).split(500), strict=True):
        answers |= dict(zip(map(float, sorted_tiles(x, 7, 7).double().pow(2).sum(1)), logits, strict=True))

    def answer(x):  # what was said of a digit with these tiles, in whatever order
        return torch.stack([answers[one] for one in map(float, sorted_tiles(x, 7, 7).double().pow(2).sum(1))])

    verdict = ex.vision_transformer(OfDigits(answer))
    assert verdict.status == "wrong"
    assert "No positions" in verdict.message, verdict


def test_a_network_that_looks_at_other_digits_is_wrong_whatever_its_score(trained):
    verdict = ex.vision_transformer(OfDigits(lambda x: trained(x) + trained(x).mean(dim=0)))
    assert verdict.status == "wrong"
    assert "other digits of the batch" in verdict.message, verdict


def test_a_network_that_fails_on_a_single_digit_is_shown_the_error(trained):
    verdict = ex.vision_transformer(OfDigits(lambda x: trained(x).squeeze(0).unflatten(0, (len(x) // 2, 2))))
    assert verdict.status == "raised" or "logits of shape" in verdict.message
    verdict = ex.vision_transformer(OfDigits(lambda x: trained(x) if len(x) > 1 else trained(x[0, 0])))
    assert verdict.status == "raised"
    assert "(1, 1, 28, 28)" in verdict.message


def linear(x):
    return x.flatten(1) @ torch.randn(784, 10, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (linear, "guessing"),
        (lambda x: torch.eye(10)[torch.zeros(len(x), dtype=torch.int64)], "one digit"),
        (lambda x: linear(F.dropout(x, 0.5)), "different logits at every call"),
        (lambda x: linear(x)[:, :5], "logits of shape"),
        (lambda x: linear(x) / 0, "nan or inf"),
    ],
)
def test_networks_that_cannot_read_are_told_why(answer, said):
    verdict = ex.vision_transformer(OfDigits(answer))
    assert verdict.status == "wrong"
    assert said in verdict.message, verdict


@pytest.mark.parametrize(("spoilt", "said"), [(3, "nearly there"), (2, "not enough")])
def test_a_network_below_the_floor_is_told_how_far_it_is(trained, spoilt, said):
    def answer(x):  # a part of the digits is taken for others
        logits = trained(x)
        confused = (x.flatten(1).sum(dim=1) * 100).long() % (2 * spoilt) == 0
        return torch.where(
            confused[:, None] | (spoilt == 2) & (x[:, 0, 14, 14, None] > 0.5), logits.roll(1, 1), logits
        )

    verdict = ex.vision_transformer(OfDigits(answer))
    assert verdict.status == "wrong"
    assert said in verdict.message, verdict


def test_no_network_is_not_attempted():
    assert ex.vision_transformer(None).status == "not attempted"
    assert ex.vision_transformer(lambda train, valid: None).status == "wrong"
