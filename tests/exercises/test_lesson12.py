import functools
import inspect
import math
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import (
    AffineTransform,
    Independent,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
)

from coursekit import data
from coursekit.checks import models
from coursekit.exercises import lesson12 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way --------------------------------------------------------------------


def affine_by_the_library(x, a, b):
    return TransformedDistribution(Normal(0.0, 1.0), AffineTransform(b, a)).log_prob(x)


def affine_with_tensors(x, a, b):
    a, b = torch.tensor(a), torch.as_tensor(b)
    z = (x - b) / a
    return Normal(torch.zeros(()), torch.ones(())).log_prob(z) - a.abs().log()


def affine_with_one_logarithm(x, a, b):
    variance = a * a
    return -((x - b) ** 2) / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)


def affine_in_a_loop(x, a, b):
    values = [
        -(((one - b) / a) ** 2) / 2 - math.log(math.sqrt(2 * math.pi) * abs(a))
        for one in x.flatten().tolist()
    ]
    return torch.tensor(values, dtype=x.dtype).reshape(x.shape)


def log_det_in_a_loop(function, x):
    x = x.detach().clone().requires_grad_(True)
    z = function(x)
    rows = [torch.autograd.grad(z[i], x, retain_graph=True)[0] for i in range(len(x))]
    return torch.linalg.slogdet(torch.stack(rows))[1].item()


def log_det_by_backward(function, x):
    x.requires_grad_()
    z = function(x)
    J = torch.zeros(len(x), len(x), dtype=x.dtype)
    for i in range(len(x)):
        x.grad = None
        z[i].backward(retain_graph=True)
        J[i] = x.grad
    _, log_det = torch.slogdet(J)
    return log_det


def log_det_by_singular_values(function, x):
    J = torch.autograd.functional.jacobian(function, x)
    return torch.linalg.svdvals(J).log().sum()


def log_det_by_eigenvalues(function, x):
    return torch.linalg.eigvals(torch.func.jacfwd(function)(x)).abs().log().sum()


def log_det_by_lu(function, x):
    _, _, U = torch.linalg.lu(torch.func.jacrev(function)(x))
    return U.diagonal().abs().log().sum()


def log_det_in_double_precision(function, x):
    J = torch.autograd.functional.jacobian(function, x).double()
    return torch.log(torch.abs(torch.det(J)))


def log_det_in_two_halves(function, x):
    J = torch.func.jacrev(function)(x)
    return torch.logdet(J @ J.T) / 2


def coupling_with_where(x, mask, net):
    keep = mask.bool()
    s, b = net(torch.where(keep, x, 0.0))
    z = torch.where(keep, x, x * torch.exp(s) + b)
    return z, torch.where(keep, torch.zeros_like(s), s).sum(-1)


def coupling_by_index(x, mask, net):
    s, b = net(mask * x)
    changed = mask == 0
    z = x.clone()
    z[:, changed] = x[:, changed] * s[:, changed].exp() + b[:, changed]
    return z, s[:, changed].sum(1)


def coupling_as_a_sum(x, mask, net):
    kept = x * mask
    s, b = net(kept)
    return kept + (1 - mask) * (x * torch.exp(s) + b), torch.sum((1 - mask) * s, dim=-1)


def coupling_in_loops(x, mask, net):
    z, log_det = torch.zeros_like(x), torch.zeros(len(x), dtype=x.dtype)
    for n in range(len(x)):
        s, b = net(x[n : n + 1] * mask)
        for d in range(x.shape[1]):
            if mask[d] == 1:
                z[n, d] = x[n, d]
            else:
                z[n, d] = x[n, d] * s[0, d].exp() + b[0, d]
                log_det[n] += s[0, d]
    return [z, log_det]


def coupling_by_jacobian(x, mask, net):
    def one(row):
        s, b = net(row * mask)
        return mask * row + (1 - mask) * (s.exp() * row + b)

    jacobians = torch.stack([torch.func.jacrev(one)(row) for row in x])
    return torch.stack([one(row) for row in x]), torch.linalg.slogdet(jacobians).logabsdet


def coupling_by_the_product(x, mask, net):
    s, b = net(x * mask)
    scale = s.exp() ** (1 - mask)
    return scale * x + (1 - mask) * b, scale.prod(dim=1).log()


def uncoupling_with_where(z, mask, net):
    s, b = net(torch.where(mask == 1, z, torch.zeros_like(z)))
    return torch.where(mask == 1, z, (z - b) / torch.exp(s))


def uncoupling_by_index(z, mask, net):
    x, changed = z.clone(), ~mask.bool()
    s, b = net(z * mask)
    x[:, changed] = (z[:, changed] - b[:, changed]) / s[:, changed].exp()
    return x


def uncoupling_as_a_sum(z, mask, net):
    s, b = net(z * mask)
    return mask * z + (1 - mask) * (z - b) * torch.exp(-s)


def uncoupling_in_loops(z, mask, net):
    rows = []
    for row in z:
        s, b = net(row * mask)
        rows.append(
            torch.stack([row[d] if mask[d] else (row[d] - b[d]) / s[d].exp() for d in range(len(mask))])
        )
    return torch.stack(rows)


def uncoupling_in_two_terms(z, mask, net):
    s, b = (one.masked_fill(mask.bool(), 0) for one in net(z * mask))
    return z * (-s).exp() - b * (-s).exp()


# What must hold between them ----------------------------------------------------------------------------------


def compose_with_lists(layers, x):
    z, log_dets = x, [torch.zeros(x.shape[0], dtype=x.dtype)]
    for layer in layers:
        z, one = layer(z)
        log_dets.append(one)
    return z, torch.stack(log_dets).sum(dim=0)


def compose_recursively(layers, x):
    if len(layers) == 0:
        return x, torch.zeros_like(x[:, 0])
    z, first = layers[0](x)
    z, rest = compose_recursively(layers[1:], z)
    return z, first + rest


def compose_by_reduce(layers, x):
    def step(state, layer):
        z, log_det = layer(state[0])
        return z, state[1] + log_det

    return functools.reduce(step, layers, (x, x.new_zeros(x.shape[0])))


def compose_row_by_row(layers, x):
    zs, totals = [], []
    for row in x:
        z, total = row[None], torch.zeros(1).to(x)
        for layer in layers:
            z, log_det = layer(z)
            total += log_det
        zs.append(z[0])
        totals.append(total[0])
    return [torch.stack(zs), torch.stack(totals)]


def compose_by_index(layers, x):
    total = torch.zeros(len(x))
    for i in range(len(layers)):
        x, ld = layers[i].forward(x)
        total = ld + total
    return x, total


def nll_by_the_library(z, log_det):
    return -(Normal(0.0, 1.0).log_prob(z).sum(dim=1) + log_det).mean()


def nll_by_the_multivariate_normal(z, log_det):
    D = z.shape[1]
    base = MultivariateNormal(torch.zeros(D, dtype=z.dtype), torch.eye(D, dtype=z.dtype))
    return -torch.mean(base.log_prob(z) + log_det)


def nll_by_independent(z, log_det):
    base = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1)
    return (-base.log_prob(z)).mean() - log_det.mean()


def nll_in_loops(z, log_det):
    total = 0.0
    for row, one in zip(z, log_det, strict=True):
        total -= sum(-0.5 * value**2 - math.log(math.sqrt(2 * math.pi)) for value in row) + one
    return total / len(z)


def nll_with_a_broadcast(z, log_det):
    return (
        z.norm(dim=1, keepdim=True) ** 2 / 2 + z.size(1) / 2 * np.log(2 * np.pi) - log_det[:, None]
    ).mean()


def nll_of_all(z, log_det):
    N, D = z.shape
    return (z.pow(2).sum() / 2 - log_det.sum()) / N + D * torch.log(torch.tensor(2 * torch.pi)) / 2


def pair_in_a_loop(x, noise, t):
    points, velocities = [], []
    for end, start, time in zip(x, noise, t, strict=True):
        points.append(start + time * (end - start))
        velocities.append(end - start)
    return torch.stack(points), torch.stack(velocities)


def pair_by_lerp(x, noise, t):
    while t.ndim < x.ndim:
        t = t.unsqueeze(-1)
    return torch.lerp(noise, x, t.expand_as(x)), -(noise - x)


def pair_by_einsum(x, noise, t):
    return [
        torch.einsum("n,n...->n...", 1 - t, noise) + torch.einsum("n,n...->n...", t, x),
        torch.sub(x, noise),
    ]


def pair_flattened(x, noise, t):
    velocity = x - noise
    return (noise.flatten(1) + t[:, None] * velocity.flatten(1)).reshape(x.shape), velocity


def pair_transposed(x, noise, t):
    order = list(range(x.ndim))[::-1]
    return (t * x.permute(order) + (1 - t) * noise.permute(order)).permute(order), x - noise


def planar_by_autograd(x, u, w, c):
    def one(row):
        return row + u * torch.tanh(w @ row + c)

    jacobians = [torch.autograd.functional.jacobian(one, row, create_graph=True) for row in x]
    return torch.stack([torch.linalg.slogdet(J)[1] for J in jacobians])


def planar_by_slogdet(x, u, w, c):
    slope = 1 / torch.cosh(x @ w + c) ** 2
    J = torch.eye(len(u)).to(x) + slope[:, None, None] * u[:, None] * w
    return torch.linalg.slogdet(J).logabsdet


def planar_in_a_loop(x, u, w, c):
    dot = sum(a * b for a, b in zip(u, w, strict=True))
    rows = [torch.tanh(torch.dot(row, w) + c) for row in x]
    return torch.stack([abs(1 + dot * (1 - h * h)).log() for h in rows])


def planar_by_the_square(x, u, w, c):
    h = ((w * x).sum(dim=-1) + c).tanh()
    return 0.5 * torch.log((1 + torch.dot(u, w) * (1 - h.square())) ** 2)


def integral_in_loops(log_prob, axis):
    h, total = axis[1] - axis[0], 0.0
    for a in axis:
        for b in axis:
            total += float(log_prob(torch.stack([a, b])[None]).exp())
    return total * float(h) ** 2


def integral_point_by_point(log_prob, axis):
    h, total = axis[1] - axis[0], 0
    for a in axis:
        for b in axis:
            total = total + torch.exp(log_prob(torch.tensor([[a, b]]))) * h * h
    return total


def integral_by_meshgrid(log_prob, axis):
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    points = torch.stack([x.flatten(), y.flatten()], dim=-1)
    return (torch.exp(log_prob(points)) * torch.diff(axis)[0].square()).sum()


def integral_by_logsumexp(log_prob, axis):
    width = (axis[-1] - axis[0]) / (len(axis) - 1)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    return (log_prob(points).logsumexp(0) + 2 * width.log()).exp()


def integral_row_by_row(log_prob, axis):
    h = float(axis[1] - axis[0])
    rows = [log_prob(torch.stack([a.expand(len(axis)), axis], dim=1)).exp().sum() * h for a in axis]
    return sum(rows).item() * h


# What the libraries say ---------------------------------------------------------------------------------------


def noising_in_a_loop(x, noise, t, alpha_bar):
    rows = []
    for i in range(len(x)):
        a = alpha_bar[t[i]]
        rows.append(torch.sqrt(a) * x[i] + torch.sqrt(1 - a) * noise[i])
    return torch.stack(rows)


def noising_by_reshape(x, noise, t, alpha_bar):
    shape = (x.shape[0],) + (1,) * (x.dim() - 1)
    signal = alpha_bar.sqrt()[t].reshape(shape)
    spread = (1 - alpha_bar).sqrt()[t].reshape(shape)
    return signal * x + spread * noise


def noising_with_unsqueezes(x, noise, t, alpha_bar):
    a = alpha_bar.gather(0, t)
    while a.ndim < x.ndim:
        a = a.unsqueeze(-1)
    return x * a**0.5 + noise * (1 - a) ** 0.5


def noising_by_einsum(x, noise, t, alpha_bar):
    a = alpha_bar.index_select(0, t)
    return torch.einsum("n,n...->n...", a.sqrt(), x) + torch.einsum("n,n...->n...", (1 - a).sqrt(), noise)


def noising_flattened(x, noise, t, alpha_bar):
    a = alpha_bar[t][:, None]
    flat = torch.sqrt(a) * x.reshape(len(x), -1) + torch.sqrt(1 - a) * noise.reshape(len(x), -1)
    return flat.reshape(x.shape)


def noising_transposed(x, noise, t, alpha_bar):
    axes = tuple(range(x.ndim - 1, -1, -1))
    a = alpha_bar[t]
    return (a.sqrt() * x.permute(axes) + (1 - a).sqrt() * noise.permute(axes)).permute(axes)


def ddim_with_powers(x, noise, alpha_bar, next_alpha_bar):
    x0 = (x - (1 - alpha_bar) ** 0.5 * noise) / alpha_bar**0.5
    return next_alpha_bar**0.5 * x0 + (1 - next_alpha_bar) ** 0.5 * noise


def ddim_in_one_line(x, noise, alpha_bar, next_alpha_bar):
    ratio = np.sqrt(next_alpha_bar / alpha_bar)
    return ratio * x + (np.sqrt(1 - next_alpha_bar) - ratio * np.sqrt(1 - alpha_bar)) * noise


def ddim_with_tensors(x, noise, alpha_bar, next_alpha_bar):
    a, b = torch.tensor(alpha_bar), torch.tensor(next_alpha_bar)
    clean = (x - torch.sqrt(1 - a) * noise) / torch.sqrt(a)
    return torch.sqrt(b) * clean + torch.sqrt(1 - b) * noise


def ddim_with_float32(x, noise, alpha_bar, next_alpha_bar):
    a = torch.as_tensor(alpha_bar, dtype=torch.float32)
    b = torch.as_tensor(next_alpha_bar, dtype=torch.float32)
    return b.sqrt() * (x - (1 - a).sqrt() * noise) / a.sqrt() + (1 - b).sqrt() * noise


def ddim_row_by_row(x, noise, alpha_bar, next_alpha_bar):
    out = torch.empty_like(x)
    for i, (point, eps) in enumerate(zip(x, noise, strict=True)):
        x0 = (point - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)
        out[i] = math.sqrt(next_alpha_bar) * x0 + math.sqrt(1 - next_alpha_bar) * eps
    return out


def dequantize_like(x, levels):
    noise = torch.rand_like(x, dtype=torch.float32)
    return x / levels + noise / levels


def dequantize_in_place(x, levels):
    u = x.to(torch.float64, copy=True)
    u.add_(torch.rand(*x.shape)).div_(levels)
    return u


def dequantize_by_uniform(x, levels):
    low = x.float() / levels
    return torch.distributions.Uniform(low, low + 1 / levels).sample()


def dequantize_with_numpy(x, levels):
    noise = torch.from_numpy(np.random.uniform(size=tuple(x.shape)))  # noqa: NPY002 - what an attempt may use
    return (x + noise) / levels


def dequantize_in_loops(x, levels):
    u = torch.zeros(x.numel())
    noise = torch.empty(x.numel()).uniform_(0, 1)
    for i, value in enumerate(x.flatten().tolist()):
        u[i] = (value + noise[i]) / levels
    return u.reshape(x.shape)


def dequantize_clamped(x, levels):
    return ((x.float() + torch.rand_like(x.float())) / levels).clamp(max=1 - 1e-6)


def bits_with_log2(log_prob, dimensions, levels):
    return math.log2(levels) - log_prob.mean() / (dimensions * math.log(2))


def bits_in_a_loop(log_prob, dimensions, levels):
    total = 0.0
    for one in log_prob:
        total = total + (-one + dimensions * math.log(levels)) / (dimensions * math.log(2))
    return total / len(log_prob)


def bits_with_tensors(log_prob, dimensions, levels):
    log_p = log_prob - dimensions * torch.log(torch.tensor(levels))
    return torch.mean(-log_p / dimensions / torch.log(torch.tensor(2.0)))


def bits_row_by_row(log_prob, dimensions, levels):
    cells = dimensions * np.log2(levels)
    return sum((cells - one / math.log(2)) / dimensions for one in log_prob) / log_prob.numel()


# What is random is judged alike with other random numbers -----------------------------------------------------


class TestLesson12(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "log_prob_affine": [
            affine_by_the_library,
            affine_with_tensors,
            affine_with_one_logarithm,
            affine_in_a_loop,
            lambda x, a, b: Normal(b, abs(a)).log_prob(x),
            lambda x, a, b: (
                -F.gaussian_nll_loss(
                    x, torch.full_like(x, b), torch.full_like(x, a**2), full=True, reduction="none", eps=0
                )
            ),
        ],
        "log_det_by_jacobian": [
            log_det_in_a_loop,
            log_det_by_backward,
            log_det_by_singular_values,
            log_det_by_eigenvalues,
            log_det_by_lu,
            log_det_in_double_precision,
            log_det_in_two_halves,
        ],
        "coupling_forward": [
            coupling_with_where,
            coupling_by_index,
            coupling_as_a_sum,
            coupling_in_loops,
            coupling_by_jacobian,
            coupling_by_the_product,
        ],
        "coupling_inverse": [
            uncoupling_with_where,
            uncoupling_by_index,
            uncoupling_as_a_sum,
            uncoupling_in_loops,
            uncoupling_in_two_terms,
        ],
        "compose": [
            compose_with_lists,
            compose_recursively,
            compose_by_reduce,
            compose_row_by_row,
            compose_by_index,
        ],
        "flow_nll": [
            nll_by_the_library,
            nll_by_the_multivariate_normal,
            nll_by_independent,
            nll_in_loops,
            nll_with_a_broadcast,
            nll_of_all,
        ],
        "flow_matching_pair": [
            pair_in_a_loop,
            pair_by_lerp,
            pair_by_einsum,
            pair_flattened,
            pair_transposed,
        ],
        "planar_log_det": [planar_by_autograd, planar_by_slogdet, planar_in_a_loop, planar_by_the_square],
        "integral_on_grid": [
            integral_in_loops,
            integral_point_by_point,
            integral_by_meshgrid,
            integral_by_logsumexp,
            integral_row_by_row,
        ],
        "forward_noising": [
            noising_in_a_loop,
            noising_by_reshape,
            noising_with_unsqueezes,
            noising_by_einsum,
            noising_flattened,
            noising_transposed,
        ],
        "ddim_step": [
            ddim_with_powers,
            ddim_in_one_line,
            ddim_with_tensors,
            ddim_with_float32,
            ddim_row_by_row,
        ],
        "dequantize": [
            dequantize_like,
            dequantize_in_place,
            dequantize_by_uniform,
            dequantize_with_numpy,
            dequantize_in_loops,
            dequantize_clamped,
        ],
        "bits_per_dimension": [
            bits_with_log2,
            bits_in_a_loop,
            bits_with_tensors,
            bits_row_by_row,
        ],
    }


def test_log_determinant_of_a_coupling_layer_is_that_of_its_jacobian():
    for x, mask, net in ex.coupling_forward.inputs.cases:
        _, log_det = ex.coupling_forward.reference(x, mask, net)
        for row, value in zip(x, log_det, strict=True):
            by_jacobian = ex.log_det_by_jacobian.reference(
                lambda row, mask=mask, net=net: ex.coupling_forward.reference(row[None], mask, net)[0][0], row
            )
            torch.testing.assert_close(by_jacobian, value)


def test_inverse_undoes_the_coupling_layer():
    for x, mask, net in ex.coupling_forward.inputs.cases:
        z, _ = ex.coupling_forward.reference(x, mask, net)
        torch.testing.assert_close(ex.coupling_inverse.reference(z, mask, net), x)


def test_a_changed_x_is_noticed():
    def in_place(x, mask, net):
        s, b = net(x * mask)
        x[:, mask == 0] = (x * s.exp() + b)[:, mask == 0]
        return x, (s * (1 - mask)).sum(dim=1)

    verdict = ex.coupling_forward(in_place)
    assert verdict.status == "wrong"
    assert "work on a copy" in verdict.message


def coupling_without_gradients(x, mask, net):
    with torch.no_grad():
        s, b = net(x * mask)
    return mask * x + (1 - mask) * (x * s.exp() + b), ((1 - mask) * s).sum(dim=1)


def coupling_with_math(x, mask, net):
    s, b = net(x * mask)
    scale = torch.tensor([[math.exp(one) for one in row] for row in s.tolist()], dtype=x.dtype)
    return mask * x + (1 - mask) * (x * scale + b), ((1 - mask) * s).sum(dim=1)


def coupling_with_items(x, mask, net):
    s, b = net(x * mask)
    log_dets = [row.sum().item() for row in (1 - mask) * s]
    return mask * x + (1 - mask) * (x * s.exp() + b), torch.tensor(log_dets)


def compose_with_lists_of_numbers(layers, x):
    total = [0.0] * len(x)
    for layer in layers:
        x, log_det = layer(x)
        total = [one + other for one, other in zip(total, log_det.tolist(), strict=True)]
    return x, torch.tensor(total)


@torch.no_grad()
def compose_without_gradients(layers, x):
    return ex.compose.reference(layers, x)


def nll_as_a_float(z, log_det):
    total = 0.0
    for row, one in zip(z.tolist(), log_det.tolist(), strict=True):
        total -= sum(-0.5 * value**2 - 0.5 * math.log(2 * math.pi) for value in row) + one
    return total / len(z)


def bits_with_numpy(log_prob, dimensions, levels):
    return np.mean(-log_prob.numpy() * np.log2(np.e)) / dimensions + np.log2(levels)


def planar_with_math(x, u, w, c):
    dot, tanhs = float(u @ w), [math.tanh(float(row @ w) + float(c)) for row in x]
    return torch.tensor([math.log(abs(1 + dot * (1 - h**2))) for h in tanhs], dtype=x.dtype)


@pytest.mark.parametrize(
    ("name", "attempt", "said"),
    [
        ("coupling_forward", coupling_without_gradients, "s and b are cut off"),
        ("coupling_forward", coupling_with_math, "the factor exp(s)"),
        ("coupling_forward", coupling_with_items, "back through the log-determinants"),
        ("compose", compose_with_lists_of_numbers, "back through the log-determinants"),
        ("compose", compose_without_gradients, "back through them"),
        ("flow_nll", nll_as_a_float, "it is no tensor"),
        ("flow_nll", lambda *case: torch.tensor(nll_as_a_float(*case)), "back through it"),
        ("planar_log_det", planar_with_math, "back through them"),
        ("bits_per_dimension", bits_with_numpy, "NumPy takes no part"),
    ],
)
def test_what_is_cut_off_from_the_gradient_is_told_so(name, attempt, said):
    verdict = getattr(ex, name)(attempt)
    assert verdict.status in ("wrong", "raised")
    assert said in verdict.message, verdict
    assert "with gradients recorded" in verdict.message


def test_compose_gives_the_determinant_of_the_jacobian():
    for layers, x in ex.compose.inputs.cases:
        z, log_det = ex.compose.reference(layers, x)
        for row, (point, expected) in zip(x, zip(z, log_det, strict=True), strict=True):

            def flow(one, layers=layers):
                return ex.compose.reference(layers, one[None])[0][0]

            J = torch.autograd.functional.jacobian(flow, row)
            torch.testing.assert_close(flow(row), point)
            torch.testing.assert_close(torch.linalg.slogdet(J).logabsdet, expected, rtol=1e-4, atol=1e-5)


def test_velocity_is_the_derivative_of_the_point():
    x, noise = torch.randn(2, 4, 1, 3, 3, dtype=torch.float64)
    t = torch.tensor([0.1, 0.4, 0.5, 0.8], dtype=torch.float64)
    before, after = (ex.flow_matching_pair.reference(x, noise, t + step)[0] for step in (-1e-4, 1e-4))
    torch.testing.assert_close((after - before) / 2e-4, ex.flow_matching_pair.reference(x, noise, t)[1])


def test_planar_log_det_is_that_on_paper():
    case = ex.planar_log_det.inputs.cases[1]
    assert abs(ex.planar_log_det.reference(*case).item() - 0.1510) < 5e-5


def test_a_normal_density_has_the_integral_one():
    log_prob = ex._log_normal(0.2, -0.1, 0.9)
    assert abs(ex.integral_on_grid.reference(log_prob, torch.linspace(-6, 6, 61)).item() - 1) < 1e-4


def test_a_layer_keeps_its_log_determinants_from_one_attempt_to_the_next():
    def adding_into_the_first(layers, x):
        total = None
        for layer in layers:
            x, log_det = layer(x)
            total = log_det if total is None else total.add_(log_det)
        return x, x.new_zeros(len(x)) if total is None else total

    assert "the layer may use it again" in ex.compose(adding_into_the_first).message
    assert ex.compose(ex.compose.reference).status == "correct"


@pytest.mark.parametrize("seed", range(5))
def test_dequantize_is_right_with_any_seed(seed):
    draws = 0

    def attempt(x, levels):
        nonlocal draws
        torch.manual_seed(1000 * seed + draws)
        draws += 1
        return (x + torch.rand(x.shape)) / levels

    verdict = ex.dequantize(attempt)
    assert verdict.status == "correct", verdict


# Two decays ---------------------------------------------------------------------------------------------------


TIMES = torch.linspace(0.5, 4, 8)


@pytest.fixture(scope="module")
def experiments():
    return ex._two_decay_experiments(20_000, 101)


@pytest.fixture(scope="module")
def flow(experiments):
    return ex.two_decays.reference(experiments, ex._two_decay_experiments(2000, 102))


def curve(theta):
    return sum(torch.exp(-TIMES.to(theta) / one.exp()) for one in theta.split(1, dim=-1))


def exact(measurements, count, *, noise=0.05, sort=True, width=0.5):
    """Draws from the posterior on a grid."""
    axis = torch.linspace(-2, 2, 81)
    grid = torch.cartesian_prod(axis, axis)
    if sort:
        grid = grid[grid[:, 0] <= grid[:, 1]]
    curves = curve(grid)
    log_p = (measurements @ curves.T - curves.square().sum(dim=1) / 2) / noise**2
    log_p = log_p - grid.square().sum(dim=1) / (2 * width**2)
    cells = torch.multinomial(log_p.softmax(dim=1), count, replacement=True)
    drawn = grid[cells] + 0.05 * (torch.rand(*cells.shape, 2) - 0.5)
    return drawn.sort(dim=2).values if sort else drawn


def from_the_training_experiments(experiments):
    """Importance sampling: the parameters of the training experiments, by their likelihood."""
    curves = curve(experiments.y)

    def draw(measurements, count):
        log_p = (measurements @ curves.T - curves.square().sum(dim=1) / 2) / 0.05**2
        return experiments.y[torch.multinomial(log_p.softmax(dim=1), count, replacement=True)]

    return draw


def metropolis(measurements, count):
    """A chain for every draw."""
    y = measurements.double().unsqueeze(1)

    def log_p(theta):
        log_p = -(y - curve(theta)).square().sum(dim=2) / (2 * 0.05**2) - 2 * theta.square().sum(dim=2)
        return torch.where(theta[..., 0] <= theta[..., 1], log_p, -np.inf)

    theta = exact(measurements, count, noise=0.2).double()
    for step in range(40):
        size = 0.2 if step % 2 else 0.05
        other = theta + size * torch.randn_like(theta)
        accept = (log_p(other) - log_p(theta)).exp() > torch.rand(theta.shape[:2], dtype=torch.float64)
        theta = torch.where(accept.unsqueeze(2), other, theta)
    return theta


def linear_regression(experiments):
    def inputs(y):
        return torch.cat([y, torch.ones(len(y), 1)], dim=1)

    weights = torch.linalg.lstsq(inputs(experiments.x), experiments.y).solution
    root = torch.linalg.cholesky((experiments.y - inputs(experiments.x) @ weights).T.cov())
    return lambda y, count: (inputs(y) @ weights).unsqueeze(1) + torch.randn(len(y), count, 2) @ root.T


def gaussian_of(y, count, *, correlated=True):
    """The Gaussian with the mean and covariance of the exact posterior."""
    drawn = exact(y, 400)
    centred = drawn - drawn.mean(dim=1, keepdim=True)
    covariance = centred.transpose(1, 2) @ centred / 400
    if not correlated:
        covariance = torch.diag_embed(covariance.diagonal(dim1=1, dim2=2))
    root = torch.linalg.cholesky(covariance + 1e-6 * torch.eye(2))
    return drawn.mean(dim=1, keepdim=True) + torch.randn(len(y), count, 2) @ root.transpose(1, 2)


def edited(edits, **names):
    code = ex.two_decays.source()
    for before, after in edits.items():
        assert before in code
        code = code.replace(before, after)
    scope = vars(ex) | names
    exec(code, scope)
    return scope["two_decays"]


def test_solution_reaches_the_floors(flow):
    verdict = ex.two_decays(flow)
    assert verdict.status == "correct", verdict


@pytest.mark.parametrize("draw", [exact, metropolis])
def test_other_methods_reach_the_floors(draw):
    verdict = ex.two_decays(draw)
    assert verdict.status == "correct", verdict


def test_importance_sampling_reaches_the_floors(experiments):
    verdict = ex.two_decays(from_the_training_experiments(experiments))
    assert verdict.status == "correct", verdict


class AsNetwork(nn.Module):
    def forward(self, measurements, count):
        return exact(measurements, count)


def same_noise_for_all(y, count):
    torch.manual_seed(3)
    return torch.cat([exact(some, count) for some in y.split(100)])


def changes_its_argument(y, count):
    drawn = exact(y, count)
    y.zero_()
    return drawn


def by_gradients(y, count):
    scale = torch.ones(1, requires_grad=True)
    torch.autograd.grad((scale * y).sum(), scale)
    return scale * exact(y, count)


@pytest.mark.parametrize(
    "draw",
    [
        AsNetwork(),
        lambda y, count: exact(y, count).double(),
        lambda y, count: exact(y, count).transpose(0, 1).contiguous().transpose(0, 1),
        same_noise_for_all,
        by_gradients,
        lambda *both: exact(*both),
    ],
)
def test_harmless_differences_are_accepted(draw):
    verdict = ex.two_decays(draw)
    assert verdict.status == "correct", verdict


def test_an_argument_that_is_changed_does_not_change_the_next_check():
    assert [ex.two_decays(changes_its_argument).status for _ in range(2)] == ["correct", "correct"]


def test_exact_posterior_is_that_of_a_finer_grid():
    split, exact_posterior = ex._decays_kept_back(), ex._exact_posterior()
    axis = torch.linspace(-2.5, 2.5, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    grid = grid[grid[:, 0] <= grid[:, 1]]
    for row in (0, 400, 999):
        misfit = (split.x[row].double() - curve(grid)).square().sum(dim=1) / 0.05**2
        p = (-(misfit + grid.square().sum(dim=1) / 0.25) / 2).softmax(dim=0)
        mean = p @ grid
        width = (p @ (grid - mean).square()).sqrt()
        assert ((mean - exact_posterior.mean[row]).abs() / width).max() < 0.05
        assert torch.allclose(width, exact_posterior.width[row], rtol=0.05)


def test_experiments_are_those_of_the_exercise(experiments):
    fast, slow = experiments.y.unbind(dim=1)
    assert (fast <= slow).all()
    assert torch.cat([fast, slow]).std().item() == pytest.approx(0.5, abs=0.01)
    assert (experiments.x - curve(experiments.y)).std().item() == pytest.approx(0.05, abs=0.001)


def in_one_batch(y):
    return (y - y.mean(dim=0)) / y.std(dim=0)


SHAPES = [
    (lambda y, count: exact(y, count).transpose(0, 1), "Experiments come first"),
    (lambda y, count: exact(y, count).transpose(1, 2), "belong to the last axis"),
    (lambda y, count: exact(y, count).flatten(0, 1), "view(len(measurements), count, 2)"),
    (lambda y, count: exact(y, 1)[:, 0], "one draw for each experiment"),
    (lambda y, count: exact(y[:1], count)[0], "draws for one experiment"),
    (lambda y, count: exact(y, count)[..., 0], "One of the two parameters is missing"),
    (lambda y, count: exact(y, count).flatten(1), "an axis of their own"),
    (lambda y, count: exact(y, 100), "whatever count is"),
    (lambda y, count: exact(y, 1), "whatever count is"),
    (lambda y, count: exact(y[:50], count), "its own measurements"),
    (lambda y, count: exact(y, count)[..., None], "but the shape is"),
    (lambda y, count: exact(y, count).numpy(), "NumPy"),
    (lambda y, count: (exact(y, count), 0), "this came back"),
    (lambda y, count: list(exact(y, count)), "this came back"),
    (lambda y, count: None, "Is a `return` missing"),
    (lambda y, count: exact(y, count) > 0, "of floats"),
    (lambda y, count: exact(y, count) / 0, "nan or inf"),
    (lambda y, count: exact(y, count) * torch.nan, "nan or inf"),
]


@pytest.mark.parametrize(("draw", "said"), SHAPES)
def test_what_is_no_tensor_of_draws_is_told_why(draw, said):
    verdict = ex.two_decays(draw)
    assert verdict.status == "wrong"
    assert said in verdict.message, verdict


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ex.two_decays.reference, "Call it"),
        ((exact, nn.Linear(8, 2)), "alone"),
        (torch.zeros(5, 2), "without calling it"),
        (nn.Linear, "should be a function"),
        (3, "should be a function"),
        (nn.Sequential(), "two arguments"),
        (lambda y: exact(y, 200), "two arguments"),
        (lambda y, count, net: exact(y, count), "two arguments"),
    ],
)
def test_what_is_no_function_is_told_so(answer, said):
    verdict = ex.two_decays(answer)
    assert verdict.status in ("wrong", "raised")
    assert said in verdict.message, verdict


def test_a_network_with_a_method_is_told_to_pass_the_method():
    net = nn.Linear(8, 2)
    net.sample = types.MethodType(lambda self, y, count: exact(y, count), net)
    assert "`net.sample`" in ex.two_decays(net).message
    assert ex.two_decays(net.sample).status == "correct"


def test_no_function_is_not_attempted():
    assert ex.two_decays(None).status == "not attempted"
    assert ex.two_decays(...).status == "not attempted"


def test_errors_are_told_with_the_learners_line():
    verdict = ex.two_decays(lambda y, count: y @ y)
    assert verdict.status == "raised"
    assert "y @ y" in str(verdict)


def test_a_slow_sampler_is_told_to_draw_for_all_at_once(monkeypatch):
    monkeypatch.setattr(models, "LIMIT_S", 0.3)

    def draw(measurements, count):
        while True:
            measurements = measurements + 0

    assert "without a loop over experiments" in ex.two_decays(draw).message


def test_a_network_on_another_device_gets_its_measurements_there(monkeypatch):
    elsewhere = torch.device("meta")
    monkeypatch.setattr(ex.runtime, "best_device", lambda: elsewhere)

    def needs_to_move(y, count):
        if y.device != elsewhere:
            raise RuntimeError("Expected all tensors to be on the same device")
        return torch.zeros(len(y), count, 2)

    assert ex._Sampler(needs_to_move)(torch.zeros(3, 8)).shape == (3, ex.DRAWS, 2)


MEAN, STD = torch.tensor([-0.28, 0.28]), torch.tensor([0.41, 0.41])


def scaled_about_the_mean(factor):
    def draw(y, count):
        drawn = exact(y, count)
        mean = drawn.mean(dim=1, keepdim=True)
        return mean + factor * (drawn - mean)

    return draw


WRONG = [
    (
        lambda y, count: exact(y, count).mean(dim=1, keepdim=True).repeat(1, count, 1),
        "an estimate, not a posterior",
    ),
    (lambda y, count: exact(y, 1).repeat(1, count, 1), "an estimate, not a posterior"),
    (
        lambda y, count: torch.stack([exact(y, count)[..., 0], exact(y, 1)[..., 1].repeat(1, count)], dim=2),
        "One of the two parameters is the same",
    ),
    (
        lambda y, count: (
            exact(y, 400).mean(dim=1, keepdim=True)
            + torch.randn(len(y), count, 1) * torch.tensor([0.14, -0.11])
        ),
        "made of one random number",
    ),
    (lambda y, count: exact(y, 10).repeat(1, count // 10, 1), "a few values, again and again"),
    (lambda y, count: exact(y, count).transpose(0, 1).reshape(len(y), count, 2), "mixed up"),
    (lambda y, count: exact(in_one_batch(y) * y_std() + y_mean(), count), "others in the batch"),
    (lambda y, count: exact(y, count).flip(2), "changed places"),
    (lambda y, count: exact(y, count, sort=False), "the larger one first"),
    (lambda y, count: exact(y, count).exp(), "These are draws of τ."),
    (lambda y, count: -exact(y, count), "opposite sign"),
    (lambda y, count: (exact(y, count) - MEAN) / STD, "still standardized"),
    (lambda y, count: exact(y, count) - MEAN, "not wholly undone"),
    (lambda y, count: exact(y, count) / STD, "not wholly undone"),
    (lambda y, count: (exact(y, count) - MEAN) / STD + MEAN, "not wholly undone"),
    (lambda y, count: exact(y * y_std() + y_mean(), count), "right for standardized measurements"),
    (
        lambda y, count: (0.5 * torch.randn(len(y), count, 2)).sort(dim=2).values,
        "hardly depend on the measurements",
    ),
    (lambda y, count: torch.randn(len(y), count, 2), "hardly depend on the measurements"),
    (
        lambda y, count: torch.stack(
            [exact(y, count)[..., 0], 0.3 + 0.4 * torch.randn(len(y), count)], dim=2
        ),
        "One of the two parameters hardly depends",
    ),
    (
        lambda y, count: scaled_about_the_mean(0.95)(y, count) + 0.05 * torch.randn(len(y), 1, 2),
        "centred too far",
    ),
    (lambda y, count: exact(y.flip(1), count), "little to do with the exact posterior"),
    (lambda y, count: gaussian_of(y, count, correlated=False), "independently of each other"),
    (scaled_about_the_mean(0.7), "too narrow"),
    (lambda y, count: exact(y, count, noise=0.03), "too narrow"),
    (scaled_about_the_mean(1.3), "too wide"),
    (lambda y, count: exact(y, count, noise=0.08), "too wide"),
    (lambda y, count: exact(y, count) + torch.tensor([0.05, 0.0]), "too low or too high"),
    (lambda y, count: exact(y, count) + 0.1 * torch.tensor([0.0, -1.0]), "too low or too high"),
    (
        lambda y, count: scaled_about_the_mean(0.95)(y, count) + 0.05 * (1000 * y[:, None, :2]).sin(),
        "centred too far",
    ),
    (lambda y, count: gaussian_of(y, count).sort(dim=2).values, "only the coverage"),
    (gaussian_of, "τ_fast > τ_slow"),
]


def y_std():
    return ex._two_decay_experiments(2000, 5).x.std(dim=0)


def y_mean():
    return ex._two_decay_experiments(2000, 5).x.mean(dim=0)


@pytest.mark.parametrize(("draw", "said"), WRONG, ids=range(len(WRONG)))
def test_wrong_draws_are_told_what_is_wrong(draw, said):
    verdict = ex.two_decays(draw)
    assert verdict.status == "wrong", verdict
    assert said in verdict.message, verdict


def test_linear_regression_gives_the_same_width_to_all(experiments):
    verdict = ex.two_decays(linear_regression(experiments))
    assert "the same widths" in verdict.message, verdict


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"((measurements - x_mean) / x_std)": "measurements"}, "right for standardized measurements"),
        ({" * std + mean)": ")"}, "still standardized"),
        ({"repeat_interleave(count, dim=0)": "repeat(count, 1)"}, "mixed up"),
        ({"in reversed(nets)": "in nets"}, "little to do"),
        ({"(kept - b) * (-s).exp()": "kept * s.exp() + b"}, "do the draws go through the inverse"),
        ({"kept, changed = torch.randn": "kept, changed = 0.7 * torch.randn"}, "too narrow"),
        (
            {"torch.randn(2, len(context), 1, device=device)": "torch.zeros(2, len(context), 1)"},
            "an estimate",
        ),
        (
            {"torch.cat([kept, changed], dim=1) * std": "torch.cat([changed, kept], dim=1) * std"},
            "changed places",
        ),
    ],
)
def test_slips_in_the_drawing_are_told(experiments, flow, edits, said):
    trained = inspect.getclosurevars(flow.__wrapped__).nonlocals["nets"].state_dict()
    edits = {"for _ in range(epochs):": "nets.load_state_dict(trained)\n    for _ in range(0):"} | edits
    verdict = ex.two_decays(edited(edits, trained=trained)(experiments, experiments))
    assert verdict.status == "wrong", verdict
    assert said in verdict.message, verdict


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"range(epochs)": "range(0)"}, "hardly depend on the measurements"),
        (
            {"log_det = log_det + s": "log_det = log_det", "device, 13": "device, 2"},
            "Does the loss have the log-determinants",
        ),
        (
            {
                "kept, changed = changed * s.exp() + b, kept": "changed = changed * s.exp() + b",
                "scale_and_shift(net, changed, context)": "scale_and_shift(net, kept, context)",
                "kept, changed = changed, (kept - b) * (-s).exp()": "changed = (changed - b) * (-s).exp()",
                "device, 13": "device, 2",
            },
            "by turns",
        ),
    ],
)
def test_slips_in_the_training_are_told(experiments, edits, said):
    verdict = ex.two_decays(edited(edits)(experiments, experiments))
    assert verdict.status == "wrong", verdict
    assert said in verdict.message, verdict


def test_a_flow_that_has_learned_few_experiments_by_heart_is_too_narrow(experiments):
    few = data.Split(experiments.x[:500], experiments.y[:500])
    verdict = ex.two_decays(edited({"device, 13": "device, 120"})(few, few))
    assert "too narrow" in verdict.message, verdict
