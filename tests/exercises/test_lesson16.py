"""Every exercise of lesson 16 accepts right answers written in any way, and names the classic mistakes."""

import copy
import functools
import hashlib
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coursekit import train
from coursekit.data import Split
from coursekit.exercises import lesson16 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way --------------------------------------------------------------------


def bytes_by_cases(parameters, optimizer):
    numbers = 2
    if optimizer == "SGD with momentum":
        numbers += 1
    elif optimizer == "Adam":
        numbers += 2
    return numbers * parameters * 32 // 8


def bytes_in_parts(parameters, optimizer):
    weights = gradients = 4 * parameters
    state = weights * ["SGD", "SGD with momentum", "Adam"].index(optimizer)
    return float(weights + gradients + state)


def accumulate_by_dividing_last(net, loss_of, chunks):
    for p in net.parameters():
        p.grad = None
    seen = 0
    for x, y in chunks:
        (loss_of(net(x), y) * x.shape[0]).backward()
        seen += x.shape[0]
    for p in net.parameters():
        p.grad /= seen


def accumulate_at_the_end(net, loss_of, chunks):
    net.zero_grad(set_to_none=False)
    losses = torch.stack([loss_of(net(x), y) for x, y in chunks])
    sizes = torch.tensor([len(y) for _, y in chunks])
    loss = (losses * sizes).sum() / sizes.sum()
    loss.backward()
    return loss.item()


def accumulate_by_grad(net, loss_of, chunks):
    total = sum(y.size(0) for _, y in chunks)
    parameters = list(net.parameters())
    sums = [torch.zeros_like(p) for p in parameters]
    for x, y in chunks:
        for part, g in zip(sums, torch.autograd.grad(loss_of(net(x), y), parameters), strict=True):
            part += len(x) / total * g
    for p, part in zip(parameters, sums, strict=True):
        p.grad = part


def accumulate_in_one(net, loss_of, chunks):
    net.zero_grad()
    x, y = torch.cat([x for x, _ in chunks]), torch.cat([y for _, y in chunks])
    loss_of(net(x), y).backward()


def accumulate_by_numbers(net, loss_of, chunks):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.zero_grad()
    total = sum(x.numel() for x, _ in chunks)
    for x, y in chunks:
        loss = loss_of(net(x), y)
        loss.backward(torch.full_like(loss, x.numel() / total))


def weighted_in_a_loop(gradients, sizes):
    total, count = torch.zeros_like(gradients[0]), 0
    for g, n in zip(gradients, sizes, strict=True):
        if n == 0:
            continue
        total += n * g
        count += n
    return total / count


def weighted_by_matrices(gradients, sizes):
    G = torch.stack(gradients).nan_to_num()
    w = torch.tensor(sizes, dtype=G.dtype)
    return w @ G / w.sum()


def weighted_by_a_mask(gradients, sizes):
    sizes, G = torch.as_tensor(sizes), torch.stack(gradients)
    real = sizes > 0
    return torch.einsum("r,rd->d", (sizes[real] / sizes.sum()).to(G.dtype), G[real])


def weighted_by_where(gradients, sizes):
    n = torch.tensor(sizes)[:, None]
    G = torch.stack(gradients)
    return torch.where(n > 0, n * G, torch.zeros_like(G)).sum(0) / n.sum()


def weighted_by_numpy(gradients, sizes):
    real = [r for r, n in enumerate(sizes) if n]
    mean = np.average([gradients[r].numpy() for r in real], axis=0, weights=[sizes[r] for r in real])
    return torch.as_tensor(mean)


def ring_one_after_the_other(chunks, send):
    n = len(chunks)
    held = copy.deepcopy(chunks)
    for step in range(n - 1):
        for r in range(n):
            c = (r - step) % n
            held[(r + 1) % n][c] += send(r, (r + 1) % n, held[r][c])
    for step in range(n - 1):
        for r in range(n):
            c = (r + 1 - step) % n
            held[(r + 1) % n][c] = send(r, (r + 1) % n, held[r][c])
    return held


def ring_from_the_receiver(chunks, send):
    """The receiver's view, and another chunk first: that of the process before."""
    n = len(chunks)
    held = tuple(list(own) for own in chunks)
    for step in range(2 * n - 2):
        inbox = {}
        for r in range(n):
            left = (r - 1) % n
            c = (left - 1 - step) % n
            inbox[r] = c, send(left, r, held[left][c])
        for r, (c, chunk) in inbox.items():
            held[r][c] = chunk if step >= n - 1 else held[r][c] + chunk
    return held


def ring_of_dicts(chunks, send):
    n = len(chunks)
    held = [{c: own[c].clone() for c in range(n)} for own in chunks]
    for step in range(2 * (n - 1)):
        out = [(r - step) % n for r in range(n)]
        mail = [send(r, (r + 1) % n, held[r][out[r]]) for r in range(n)]
        for receiver in range(n):
            sender = receiver - 1
            if step < n - 1:
                held[receiver][out[sender]] += mail[sender]
            else:
                held[receiver][out[sender]] = mail[sender]
    return [[own[c] for c in range(n)] for own in held]


def shares_in_a_loop(order, batch, rank, processes):
    shares = []
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        shares.append(part[rank::processes])
    return shares


def shares_by_a_mask(order, batch, rank, processes):
    shares = []
    for part in torch.split(order, batch):
        place = torch.arange(len(part))
        shares.append(part[place % processes == rank])
    return tuple(shares)


def shares_card_by_card(order, batch, rank, processes):
    steps = math.ceil(order.shape[0] / batch)
    hands = [[[] for _ in range(processes)] for _ in range(steps)]
    for number, index in enumerate(order.tolist()):
        step, place = divmod(number, batch)
        hands[step][place % processes].append(index)
    return [torch.tensor(hand[rank], dtype=torch.long) for hand in hands]


def shares_by_one_slice(order, batch, rank, processes):
    return [
        order[min(start + rank, len(order)) : min(start + batch, len(order)) : processes]
        for start in range(0, len(order), batch)
    ]


def seeds_by_digits(seed, epoch, rank):
    return 1000 * seed + epoch, 1_000_000 * seed + 1000 * epoch + rank


def seeds_by_hash(seed, epoch, rank):
    return hash((seed, epoch)) % 2**32, hash((seed, epoch, rank)) % 2**32


def seeds_by_seed_sequence(seed, epoch, rank):
    order = np.random.SeedSequence([seed, epoch]).generate_state(1)[0]
    noise = np.random.SeedSequence([seed, epoch, rank + 1]).generate_state(1)[0]
    return order, noise


def seeds_by_sha(seed, epoch, rank):
    def number(text):
        return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)

    return [number(f"{seed} {epoch}"), number(f"{seed} {epoch} {rank}")]


def seeds_drawn(seed, epoch, rank):
    order = random.Random(f"{seed}-{epoch}").randrange(2**31)
    g = torch.Generator().manual_seed(10**6 * seed + 1000 * epoch + rank)
    return order, torch.randint(2**62, (1,), generator=g).item()


def seeds_in_a_tensor(seed, epoch, rank):
    return torch.tensor([seed + epoch, 1000 * epoch + rank + 10**7 * seed])


def seeds_by_bits(seed, epoch, rank):
    order = seed << 10 | epoch
    return order, order << 10 | rank


def power_law_by_lstsq(n, loss):
    A = torch.stack([torch.ones_like(n), n.log()], dim=1)
    b = torch.linalg.lstsq(A, loss.log().unsqueeze(1)).solution.squeeze(1)
    return b[0].exp(), -b[1]


def power_law_in_columns(n, loss):
    A = torch.stack([torch.ones_like(n), n.log()], dim=1)
    s = torch.linalg.lstsq(A, loss.log()[:, None]).solution
    return s[0].exp(), -s[1]


def power_law_by_normal_equations(n, loss):
    X = torch.stack((torch.log(n), torch.ones(len(n), dtype=n.dtype)), 1)
    slope, intercept = torch.linalg.solve(X.T @ X, X.T @ torch.log(loss))
    return intercept.exp().item(), -slope.item()


def power_law_by_means(n, loss):
    x, y = n.log(), loss.log()
    alpha = -((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return (y.mean() + alpha * x.mean()).exp(), alpha


def power_law_to_base_10(n, loss):
    x, y, K = n.log10(), loss.log10(), len(n)
    slope = (K * (x * y).sum() - x.sum() * y.sum()) / (K * (x**2).sum() - x.sum() ** 2)
    return 10 ** ((y.sum() - slope * x.sum()) / K), -slope


def power_law_in_numpy(n, loss):
    x, y = np.log(n.numpy().astype(float)), np.log(loss.numpy().astype(float))
    fit = np.polynomial.Polynomial.fit(x, y, 1).convert()
    return np.array([np.exp(fit.coef[0]), -fit.coef[1]])


def power_law_in_float32(n, loss):
    return power_law_by_means(n.float(), loss.float())


def segment_in_a_loop(layers):
    best, least = 1, layers + 1
    for k in range(1, layers + 1):
        if layers % k == 0 and layers // k + k < least:
            best, least = k, layers // k + k
    return best


def segment_below_the_root(layers):
    k = math.isqrt(layers)
    while layers % k:
        k -= 1
    return k


def segment_by_pairs(layers):
    return min((layers / k + k, k) for k in range(1, layers + 1) if not layers % k)[1]


def segment_in_torch(layers):
    k = torch.arange(1, layers + 1)
    k = k[layers % k == 0]
    return k[(layers // k + k).argmin()]


def segment_nearest_to_the_root(layers):
    divisors = np.array([k for k in range(1, layers + 1) if layers % k == 0])
    return divisors[np.abs(divisors - layers**0.5).argmin()]


PROJECT = Path(__file__).parents[2]


def sync_by_the_library(shares, eps=1e-5):
    pooled = F.batch_norm(torch.cat(shares), None, None, training=True, eps=eps)
    return pooled.split([len(share) for share in shares])


def sync_from_pooled_rows(shares, eps=1e-5):
    rows = torch.cat(shares, dim=0)
    mean, var = rows.mean(0), rows.var(0, unbiased=False)
    return [(one - mean) / torch.sqrt(var + eps) for one in shares]


def sync_in_a_loop(shares, eps=1e-5):
    n, total, squares = 0, torch.zeros_like(shares[0][:1]), 0
    for share in shares:
        n += share.shape[0]
        total = total + share.sum(0, keepdim=True)
        squares = squares + (share**2).sum(0, keepdim=True)
    var = squares / n - (total / n) ** 2
    out = []
    for share in shares:
        out.append((share - total / n) * (var + eps).rsqrt())
    return tuple(out)


def sync_in_two_rounds(shares, eps=1e-5):
    counts = torch.tensor([len(share) for share in shares])
    mean = torch.stack([share.sum(0) for share in shares]).sum(0) / counts.sum()
    var = torch.stack([(share - mean).pow(2).sum(0) for share in shares]).sum(0) / counts.sum()
    return [(share - mean) / (var + eps) ** 0.5 for share in shares]


def tensor_by_slices(x, first, second, processes):
    width = first.shape[1] // processes
    parts = []
    for rank in range(processes):
        units = slice(rank * width, (rank + 1) * width)
        parts.append(nn.functional.gelu(x @ first[:, units]) @ second[units])
    return parts


def tensor_by_split(x, first, second, processes):
    size = first.size(1) // processes
    both = zip(first.split(size, dim=1), second.split(size), strict=True)
    return tuple(torch.matmul(nn.GELU()(torch.mm(x, a)), b) for a, b in both)


def tensor_by_linear(x, first, second, processes):
    a = torch.tensor_split(first, processes, dim=-1)
    b = torch.tensor_split(second, processes, dim=0)
    return [F.linear(F.gelu(F.linear(x, a[r].T)), b[r].T) for r in range(processes)]


def tensor_by_einsum(x, first, second, processes):
    columns = first.view(first.shape[0], processes, -1)
    rows = second.view(processes, -1, second.shape[1])
    return list(torch.einsum("pnh,phd->pnd", F.gelu(torch.einsum("nd,dph->pnh", x, columns)), rows))


def tensor_by_vmap(x, first, second, processes):
    columns, rows = torch.stack(first.chunk(processes, 1)), torch.stack(second.chunk(processes, 0))
    return list(torch.vmap(lambda a, b: F.gelu(x @ a) @ b)(columns, rows))


def tensor_by_the_formula(x, first, second, processes):
    def gelu(u):
        return u * (1 + torch.erf(u / 2**0.5)) / 2

    width = len(second) // processes
    return [
        gelu(x @ first[:, start : start + width]) @ second[start : start + width, :]
        for start in range(0, len(second), width)
    ]


class TestLesson16(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "training_bytes": [bytes_by_cases, bytes_in_parts],
        "accumulate": [
            accumulate_by_dividing_last,
            accumulate_at_the_end,
            accumulate_by_grad,
            accumulate_in_one,
            accumulate_by_numbers,
        ],
        "weighted_gradient": [
            weighted_in_a_loop,
            weighted_by_matrices,
            weighted_by_a_mask,
            weighted_by_where,
            weighted_by_numpy,
        ],
        "ring_all_reduce": [ring_one_after_the_other, ring_from_the_receiver, ring_of_dicts],
        "share_of_batches": [shares_in_a_loop, shares_by_a_mask, shares_card_by_card, shares_by_one_slice],
        "seeds": [
            seeds_by_digits,
            seeds_by_hash,
            seeds_by_seed_sequence,
            seeds_by_sha,
            seeds_drawn,
            seeds_in_a_tensor,
            seeds_by_bits,
        ],
        "fit_power_law": [
            power_law_by_lstsq,
            power_law_in_columns,
            power_law_by_normal_equations,
            power_law_by_means,
            power_law_to_base_10,
            power_law_in_numpy,
            power_law_in_float32,
        ],
        "best_segment": [
            segment_in_a_loop,
            segment_below_the_root,
            segment_by_pairs,
            segment_in_torch,
            segment_nearest_to_the_root,
        ],
        "sync_batch_norm": [
            sync_by_the_library,
            sync_from_pooled_rows,
            sync_in_a_loop,
            sync_in_two_rounds,
        ],
        "tensor_parallel": [
            tensor_by_slices,
            tensor_by_split,
            tensor_by_linear,
            tensor_by_einsum,
            tensor_by_the_formula,
            tensor_by_vmap,
        ],
    }
    equivalent = {  # noqa: RUF012
        "weighted_gradient": {"line 7: True -> False"},  # zip need not be strict
        "seeds": ["line 7: 1000 -> 1001", "line 8: 1000 -> 1001"],
        "best_segment": ["line 7: 1 -> 2"],  # layers + 2: one candidate more, which divides nothing
        "tensor_parallel": ["line 8: True -> False"],  # strict
    }


@pytest.mark.parametrize(
    ("attempt", "remarked"),
    [
        (accumulate_at_the_end, True),
        (accumulate_in_one, True),
        (accumulate_by_dividing_last, False),
        (accumulate_by_grad, False),
        (accumulate_by_numbers, False),
    ],
)
def test_several_chunks_in_memory_at_once_are_remarked(attempt, remarked):
    assert any("in memory at once" in one for one in ex.accumulate(attempt).remarks) == remarked


def told(exercise, attempt):
    verdict = exercise(attempt)
    assert verdict.status in ("wrong", "raised")
    return verdict.message


def test_a_gradient_changed_in_place_is_told():
    def in_place(gradients, sizes):
        for g, n in zip(gradients, sizes, strict=True):
            g *= n
        return torch.stack(gradients).nansum(dim=0) / sum(sizes)

    assert "no longer what it was" in told(ex.weighted_gradient, in_place)


def test_a_ring_of_three_adds_up_as_by_hand():
    chunks = ex._lists((1.0, 2.0, 3.0), (10.0, 20.0, 30.0), (100.0, 200.0, 300.0))
    held = ex.ring_all_reduce.reference(chunks, lambda sender, receiver, chunk: chunk.clone())
    assert [[one.item() for one in own] for own in held] == [[111.0, 222.0, 333.0]] * 3


def test_accumulation_is_the_gradient_of_the_whole_batch():
    net = ex._accumulating_net((2, 3), torch.float32)
    chunks = ex._chunks_of([3, 1, 2], 2, 3)
    ex.accumulate.reference(net, F.mse_loss, chunks)
    accumulated = net[0].weight.grad.clone()
    accumulate_in_one(net, F.mse_loss, chunks)
    assert torch.allclose(accumulated, net[0].weight.grad, atol=1e-6)


def test_shares_of_all_processes_are_the_batch():
    order = torch.randperm(19)
    shares = [ex.share_of_batches.reference(order, 7, rank, 4) for rank in range(4)]
    for part, *dealt in zip(order.split(7), *shares, strict=True):
        assert sorted(torch.cat(dealt).tolist()) == sorted(part.tolist())


@pytest.mark.parametrize("layers", range(1, 200))
def test_best_segment_is_the_largest_divisor_up_to_the_root(layers):
    best = max(k for k in range(1, math.isqrt(layers) + 1) if layers % k == 0)
    assert ex.best_segment.reference(layers) == best


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda seed, epoch, rank: print(seed + epoch, rank), "`return` missing"),
        (lambda seed, epoch, rank: (1, 2, 3), "3 integers"),
        (lambda seed, epoch, rank: ("a", 2), "str"),
        (lambda seed, epoch, rank: (2**70 + epoch, rank), "two oversized integers"),
        (lambda seed, epoch, rank: (1000 * seed + epoch, 10 * epoch + rank + 10**6 * seed), "a factor of 10"),
        (
            lambda seed, epoch, rank: (1000 * seed + epoch, int(f"{seed}{epoch}{rank}")),
            "digits written side by side",
        ),
        (lambda seed, epoch, rank: (seed + epoch, seed + 1000 * epoch), "processes drop the same units"),
    ],
)
def test_other_answers_to_seeds_are_told_what_is_wrong(answer, said):
    verdict = ex.seeds(answer)
    assert verdict.status == "wrong"
    assert said in verdict.message + str(verdict), verdict


def said(verdict):
    return " ".join(verdict.message.split())


def columns_mixed_up(n, loss):
    A = torch.stack([n.log(), torch.ones_like(n)], dim=1)
    s = torch.linalg.lstsq(A, loss.log()[:, None]).solution
    return s[0].exp(), -s[1]


def no_logarithm_of_numbers_below_0(n, loss):
    slope, cut = np.linalg.lstsq(np.vander(np.log(-n), 2), np.log(loss), rcond=None)[0]
    return np.exp(cut), -slope


@pytest.mark.parametrize("attempt", [columns_mixed_up, no_logarithm_of_numbers_below_0])
def test_no_variant_of_a_fit_lets_lapack_write_into_the_cell(attempt, capfd):
    assert ex.fit_power_law(attempt).status in ("wrong", "raised")
    written = capfd.readouterr()
    assert not any(word in written.out + written.err for word in ("MKL", "entry to"))


# Batch normalization and tensor parallelism -------------------------------------------------------------------


def test_shares_are_normalized_as_the_library_normalizes_the_batch():
    shares = ex._sync_shares(3, 4, columns=2, seed=7)
    joined = torch.cat(ex.sync_batch_norm.reference(shares))
    theirs = nn.BatchNorm1d(2)(torch.cat(shares))
    torch.testing.assert_close(joined, theirs.detach(), rtol=1e-5, atol=1e-5)


def test_contributions_add_up_to_the_whole():
    x, first, second, processes = ex._tensor_case(5, 3, 8, 4, seed=1)
    parts = ex.tensor_parallel.reference(x, first, second, processes)
    torch.testing.assert_close(sum(parts), F.gelu(x @ first) @ second, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("attempt", "remarked"),
    [
        (sync_by_the_library, True),
        (sync_from_pooled_rows, True),
        (sync_in_a_loop, False),
        (sync_in_two_rounds, False),
    ],
)
def test_rows_of_all_shares_in_one_tensor_are_remarked(attempt, remarked):
    assert any("sees its own rows only" in one for one in ex.sync_batch_norm(attempt).remarks) == remarked


def hidden_whole(x, first, second, processes):
    hidden = F.gelu(F.linear(x, first.T))
    width = len(second) // processes
    return [
        hidden[:, r * width : (r + 1) * width] @ second[r * width : (r + 1) * width] for r in range(processes)
    ]


def masked(x, first, second, processes):
    parts = []
    for rank in range(processes):
        mask = torch.zeros(len(second))
        mask[rank * len(second) // processes : (rank + 1) * len(second) // processes] = 1
        parts.append((F.gelu(torch.einsum("nd,dh->nh", x, first)) * mask.to(x)) @ second)
    return parts


@pytest.mark.parametrize("attempt", [hidden_whole, masked])
def test_a_process_that_multiplies_by_a_whole_matrix_is_wrong(attempt):
    verdict = ex.tensor_parallel(attempt)
    assert verdict.status == "wrong"
    assert "The numbers are right, but a process multiplies by the whole" in said(verdict)


def eps_not_passed(shares, eps=1e-5):
    return sync_from_pooled_rows(shares)


def columns_together(shares, eps=1e-5):
    rows = torch.cat(shares)
    return [(one - rows.mean()) / (rows.var(unbiased=False) + eps).sqrt() for one in shares]


def own_with_defaults(shares, eps=1e-5):
    return [(one - one.mean(0)) / (one.std(0) + eps) for one in shares]


def pooled_std(shares, eps=1e-5):
    rows = torch.cat(shares)
    return [(one - rows.mean(0)) / (rows.std(0) + eps) for one in shares]


def printed(shares, eps=1e-5):
    print(sync_from_pooled_rows(shares, eps))


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (eps_not_passed, "eps"),
        (columns_together, "The sums run over the columns too"),
        (own_with_defaults, "Each share is normalized by its own"),
        (pooled_std, "Two slips. The variance is divided by n − 1"),
        (printed, "None"),
    ],
)
def test_wrong_ways_to_normalize_are_named(attempt, words):
    verdict = ex.sync_batch_norm(attempt)
    assert verdict.status == "wrong"
    assert words in said(verdict)


# Two runs -----------------------------------------------------------------------------------------------------


@functools.cache
def pair():
    return ex.two_runs.reference()


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


@functools.cache
def run(seed=0, order=None, epochs=6, batch=64, lr=1e-3, part=(None,), optimizer=torch.optim.Adam):
    digits = ex._two_runs_digits().train
    torch.manual_seed(seed)
    net = network()
    if order is not None:
        torch.manual_seed(order)
    split = Split(digits.x[slice(*part)], digits.y[slice(*part)])
    if epochs:
        train.fit(
            net,
            split.batches(batch, shuffle=True),
            epochs=epochs,
            optimizer=optimizer(net.parameters(), lr=lr),
        )
    return net.state_dict()


def rounded(state, size=1e-6):
    generator = torch.Generator().manual_seed(3)
    return {
        name: value + size * value.abs().mean() * torch.randn(value.shape, generator=generator)
        for name, value in state.items()
    }


def test_solution_of_two_runs_is_correct():
    verdict = ex.two_runs(*pair())
    assert verdict.status == "correct", verdict
    assert "weights apart by" in said(verdict)


def test_a_run_by_fit_and_one_by_shares_agree():
    verdict = ex.two_runs(run(), pair()[1])
    assert verdict.status == "correct", verdict


@pytest.mark.parametrize("processes", [1, 2])
def test_either_order_and_other_types_are_correct(processes):
    one, two = pair()[::-1] if processes == 2 else pair()
    verdict = ex.two_runs({name: value.double() for name, value in one.items()}, two)
    assert verdict.status == "correct", verdict


FASTER = {"lr": 0.1, "optimizer": torch.optim.SGD}


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        (run, run, "the last bit"),
        (run, lambda: run(seed=1), "began with different weights"),
        (run, lambda: run(order=5), "not the same training"),
        (run, lambda: run(batch=128), "fewer steps or smaller"),
        (run, lambda: run(epochs=4), "fewer steps or smaller"),
        (run, lambda: run(lr=2e-3), "more steps or larger"),
        (run, lambda: run(epochs=12), "more steps or larger"),
        (lambda: run(epochs=12), run, "fewer steps or smaller"),
        (lambda: run(part=(1750,), batch=32), run, "learnt from one half"),
        (run, lambda: run(part=(0, None, 2), batch=32), "learnt from one half"),
        (run, lambda: run(part=(1750,), batch=32), "learnt from one half"),
        (run, lambda: run(epochs=0), "Only `one` has learnt"),
        (lambda: run(epochs=0), run, "Only `two` has learnt"),
        (lambda: run(epochs=0), lambda: run(epochs=0), "Both networks still guess"),
        (run, lambda: rounded(run(), 0.02), "a little more than by rounding"),
        (lambda: run(epochs=1), lambda: rounded(run(epochs=1)), "too few digits are right"),
        (lambda: run(**FASTER), lambda: run(**FASTER, order=5), "not the same training"),
        (
            lambda: run(**FASTER),
            lambda: run(**FASTER, part=(0, None, 2)),
            "learnt from one half",
        ),
        (lambda: run(**FASTER), lambda: run(lr=0.2, optimizer=torch.optim.SGD), "more steps or larger"),
    ],
)
def test_runs_that_are_not_the_same_training_are_told_why(one, two, words):
    verdict = ex.two_runs(one(), two())
    assert verdict.status == "wrong"
    assert words in said(verdict), verdict


def renamed(change):
    return {change(name): value for name, value in pair()[1].items()}


@pytest.mark.parametrize(
    ("two", "words"),
    [
        (lambda: renamed(lambda name: f"module.{name}"), "DistributedDataParallel"),
        (lambda: renamed(lambda name: f"{int(name[0]) - 1}{name[1:]}"), "no Flatten layer"),
        (lambda: renamed(lambda name: f"net.{name}"), "net.1.weight"),
        (network, "a model arrived"),
        (lambda: torch.optim.Adam(network().parameters()).state_dict(), "state of the optimizer"),
        (lambda: {"model": pair()[1], "epoch": 6}, "more than the weights"),
        (lambda: {"net": pair()[1]}, "a dict that holds a state_dict"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.Linear(128, 10)).state_dict(),
            "the ReLU is missing",
        ),
        (
            lambda: nn.Sequential(
                nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10)
            ).state_dict(),
            "(64, 784)",
        ),
        (lambda: pair()[1] | {"3.bias": torch.full((10,), torch.nan)}, "nan or inf"),
        (lambda: pair()[1] | {"3.bias": [0.0] * 10}, "should be a tensor"),
        (dict, "it is empty"),
        (lambda: "two.pt", "name of a file"),
        (lambda: list(pair()[1].values()), "a state_dict is expected"),
        (lambda: pair()[1]["1.weight"], "a state_dict is expected"),
    ],
)
def test_what_is_no_state_of_the_network_is_told_so(two, words):
    verdict = ex.two_runs(pair()[0], two())
    assert verdict.status == "wrong"
    assert "`two`: " in verdict.message
    assert words in said(verdict), verdict


def test_nothing_is_not_attempted_and_one_run_is_not_enough():
    assert ex.two_runs(None, None).status == "not attempted"
    assert ex.two_runs(pair()[0], ...).status == "not attempted"
    assert "1 argument arrived" in ex.two_runs(pair()[0]).message
