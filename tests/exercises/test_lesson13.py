"""Every exercise of lesson 13 accepts right answers written in any way, and names the classic mistakes."""

import copy
import inspect
import itertools
import math
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn
from torch.distributions import Categorical, MultivariateNormal

from coursekit.checks import models
from coursekit.exercises import lesson13 as ex
from tests.exercises.contract import Contract

# The first step of an optimizer imports for seconds, which would count in the time limit of a verdict.
torch.optim.SGD([torch.zeros(1, requires_grad=True)]).step()

# Right answers, each written in another way --------------------------------------------------------------------


def update_by_gain(mean, variance, x, y, sigma):
    K = variance * x / (variance * x**2 + sigma**2)
    return mean + K * (y - x * mean), (1 - K * x) * variance


def update_with_tensors(mean, variance, x, y, sigma):
    m, v, s = torch.tensor(mean), torch.tensor(variance), torch.tensor(sigma)
    noise = s.square()
    new = v * noise / (noise + x * x * v)
    return new * (m / v + x * y / noise), new


def update_by_one_fraction(mean, variance, x, y, sigma):
    below = sigma**2 + variance * x**2
    return [(mean * sigma**2 + variance * x * y) / below, variance * sigma**2 / below]


def update_as_a_tensor(mean, variance, x, y, sigma):
    tau, beta = variance**-1, (x / sigma) ** 2
    return torch.tensor([(mean * tau + x * y / sigma**2) / (tau + beta), 1 / (tau + beta)])


def update_by_conditioning(mean, variance, x, y, sigma):
    """The joint normal distribution of w and y."""
    joint = np.array([[variance, x * variance], [x * variance, x**2 * variance + sigma**2]])
    slope = joint[0, 1] / joint[1, 1]
    return mean + slope * (y - x * mean), joint[0, 0] - slope * joint[1, 0]


def line_by_solve(X, y, sigma, prior_sd):
    identity = torch.eye(X.shape[1]).to(X)
    A = X.T @ X + sigma**2 / prior_sd**2 * identity
    return torch.linalg.solve(A, X.T @ y), sigma**2 * torch.linalg.solve(A, identity)


def line_by_cholesky(X, y, sigma, prior_sd):
    P = X.T @ X / sigma**2
    P.diagonal().add_(prior_sd**-2)
    L = torch.linalg.cholesky(P)
    mean = torch.cholesky_solve((X.T @ y / sigma**2)[:, None], L)[:, 0]
    return mean, torch.cholesky_inverse(L)


def line_by_kernels(X, y, sigma, prior_sd):
    K = prior_sd**2 * X @ X.T + sigma**2 * torch.eye(len(X), dtype=X.dtype)
    gain = prior_sd**2 * X.T @ torch.linalg.inv(K)
    return gain @ y, prior_sd**2 * (torch.eye(X.shape[1], dtype=X.dtype) - gain @ X)


def line_by_the_library(X, y, sigma, prior_sd):
    D = X.shape[1]
    precision = X.mT.matmul(X) / sigma**2 + torch.diag(torch.full((D,), prior_sd**-2.0, dtype=X.dtype))
    posterior = MultivariateNormal(torch.zeros(D, dtype=X.dtype), precision_matrix=precision)
    return [posterior.covariance_matrix @ (y @ X) / sigma**2, posterior.covariance_matrix]


def line_row_by_row(X, y, sigma, prior_sd):
    D = X.shape[1]
    mean, S = torch.zeros(D, dtype=X.dtype), prior_sd**2 * torch.eye(D, dtype=X.dtype)
    for x, one in zip(X, y, strict=True):
        gain = S @ x / (x @ S @ x + sigma**2)
        mean, S = mean + gain * (one - x @ mean), S - torch.outer(gain, x @ S)
    return mean, S


def line_with_numpy(X, y, sigma, prior_sd):
    A, b = X.numpy(), y.numpy()
    C = np.linalg.inv(A.T @ A / sigma**2 + np.eye(A.shape[1]) / prior_sd**2)
    return torch.from_numpy(C @ A.T @ b / sigma**2), torch.from_numpy(C)


def sd_by_the_diagonal(X, covariance, sigma):
    return torch.sqrt(torch.diag(X @ covariance @ X.T) + sigma**2)


def sd_by_einsum(X, covariance, sigma):
    return (torch.einsum("nd,de,ne->n", X, covariance, X) + sigma**2) ** 0.5


def sd_by_cholesky(X, covariance, sigma):
    parts = (X @ torch.linalg.cholesky(covariance)).norm(dim=1)
    return torch.hypot(parts, torch.full_like(parts, sigma))


def sd_in_a_loop(X, covariance, sigma):
    return torch.stack([(x @ covariance @ x + sigma**2).sqrt() for x in X])


def sd_in_python(X, covariance, sigma):
    rows = []
    for x in X:
        rows.append(math.sqrt(float(x @ covariance @ x) + sigma * sigma))
    return torch.tensor(rows, dtype=X.dtype)


def sd_of_the_matrix(X, covariance, sigma):
    return (X @ covariance @ X.mT + sigma**2).sqrt().diagonal()


def metropolis_with_logarithms(w, value, proposal, new_value, u):
    accept = torch.log(u) < new_value - value
    return torch.where(accept.unsqueeze(1), proposal, w), torch.where(accept, new_value, value)


def metropolis_with_a_probability(w, value, proposal, new_value, u):
    probability = torch.exp(new_value - value).clamp(max=1.0)
    yes = u <= probability
    w, value = w.clone(), value.clone()
    w[yes], value[yes] = proposal[yes], new_value[yes]
    return w, value


def metropolis_in_a_loop(w, value, proposal, new_value, u):
    states, values = [], []
    for i in range(len(w)):
        if new_value[i] >= value[i] or u[i] < torch.exp(new_value[i] - value[i]):
            states.append(proposal[i])
            values.append(new_value[i])
        else:
            states.append(w[i])
            values.append(value[i])
    return torch.stack(states), torch.stack(values)


def metropolis_with_min(w, value, proposal, new_value, u):
    difference = torch.minimum(new_value - value, torch.zeros_like(value))
    stay = u.log() >= difference
    return [torch.where(stay.reshape(-1, 1), w, proposal), torch.where(stay, value, new_value)]


def metropolis_by_product(w, value, proposal, new_value, u):
    yes = (u < (new_value - value).exp()).to(w.dtype)[:, None]
    return yes * proposal + (1 - yes) * w, torch.where(yes[:, 0] > 0, new_value, value)


def r_hat_by_chunks(draws):
    T = draws.shape[1]
    halves = torch.cat(draws[:, : T // 2 * 2].chunk(2, dim=1), dim=0)
    n = halves.shape[1]
    W, B = halves.var(dim=1).mean(dim=0), n * halves.mean(dim=1).var(dim=0)
    return torch.sqrt(((n - 1) / n * W + B / n) / W)


def r_hat_by_reshape(draws):
    if draws.shape[1] % 2 == 1:
        draws = draws[:, :-1]
    chains, T, K = draws.shape
    halves = draws.reshape(2 * chains, T // 2, K)
    W = torch.var(halves, 1).mean(0)
    return (1 - 2 / T + torch.var(torch.mean(halves, 1), 0) / W) ** 0.5


def r_hat_one_by_one(draws):
    n = draws.shape[1] // 2
    result = []
    for k in range(draws.shape[2]):
        parts = []
        for chain in draws[:, :, k]:
            parts += [chain[:n], chain[n : 2 * n]]
        W = sum(part.var() for part in parts) / len(parts)
        B = torch.stack([part.mean() for part in parts]).var()
        result.append(((n - 1) / n + B / W).sqrt())
    return torch.stack(result)


def r_hat_with_four_axes(draws):
    n = draws.size(1) // 2
    parts = draws[:, : 2 * n].unflatten(1, (2, n))
    W = parts.var(dim=2).mean(dim=(0, 1))
    B = parts.mean(dim=2).flatten(0, 1).var(dim=0)
    return ((n - 1) / n + B / W).sqrt()


def r_hat_with_numpy(draws):
    a = draws.numpy()
    n = a.shape[1] // 2
    a = np.concatenate([a[:, :n], a[:, n : 2 * n]])
    W, B = a.var(axis=1, ddof=1).mean(axis=0), a.mean(axis=1).var(axis=0, ddof=1)
    return torch.from_numpy(np.sqrt((n - 1) / n + B / W))


def doubts_by_the_library(probabilities):
    total = Categorical(probs=probabilities.mean(0)).entropy()
    aleatoric = Categorical(probs=probabilities).entropy().mean(0)
    return total, aleatoric, total - aleatoric


def doubts_stacked(probabilities):
    total, aleatoric, epistemic = doubts_by_the_library(probabilities)
    return torch.stack([total, aleatoric, epistemic])


def doubts_by_divergences(probabilities):
    mean = probabilities.mean(dim=0)
    ratio = torch.where(probabilities > 0, probabilities / mean, 1.0)
    epistemic = (probabilities * ratio.log()).sum(-1).mean(0)
    aleatoric = torch.special.entr(probabilities).sum(-1).mean(0)
    return [aleatoric + epistemic, aleatoric, epistemic]


def doubts_in_loops(probabilities):
    def entropy(p):
        return -sum(q * math.log(q) for q in p if q > 0)

    members = probabilities.tolist()
    rows = []
    for n in range(len(members[0])):
        own = [member[n] for member in members]
        mean = [sum(column) / len(own) for column in zip(*own, strict=True)]
        total, aleatoric = entropy(mean), sum(map(entropy, own)) / len(own)
        rows.append([total, aleatoric, total - aleatoric])
    return tuple(torch.tensor(rows, dtype=probabilities.dtype).T)


def doubts_with_a_small_number(probabilities):
    def entropy(p):
        return -torch.sum(p * torch.log(p + 1e-10), dim=-1)

    total = entropy(probabilities.mean(0))
    aleatoric = torch.mean(entropy(probabilities), dim=0)
    return total, aleatoric, total - aleatoric


def doubts_with_nan_to_num(probabilities):
    def entropy(p):
        return -(p * p.log()).nan_to_num(0.0).sum(2 if p.ndim == 3 else 1)

    total, aleatoric = entropy(probabilities.mean(0)), entropy(probabilities).mean(0)
    return total, aleatoric, total - aleatoric


def error_with_masks(probabilities, labels, bins=10):
    confidence, predicted = probabilities.max(dim=1)
    edges = torch.linspace(0, 1, bins + 1)
    error = torch.zeros(())
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = (predicted[inside] == labels[inside]).float().mean() - confidence[inside].mean()
            error = error + inside.float().mean() * gap.abs()
    return error


def error_by_bucketize(probabilities, labels, bins=10):
    confidence = probabilities.amax(-1)
    right = probabilities.argmax(-1).eq(labels).to(probabilities)
    which = torch.bucketize(confidence, torch.linspace(0, 1, bins + 1)[1:-1].to(confidence))
    sums = torch.zeros(bins).to(probabilities).index_add(0, which, right - confidence)
    return float(sums.abs().sum() / labels.numel())


def error_with_numpy(probabilities, labels, bins=10):
    p, y = probabilities.numpy(), labels.numpy()
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    which = np.clip(np.digitize(confidence, np.linspace(0, 1, bins + 1)) - 1, 0, bins - 1)
    total = 0.0
    for b in np.unique(which):
        inside = which == b
        total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def error_in_plain_python(probabilities, labels, bins=10):
    sums, N = {}, 0
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        confidence = max(row)
        b = min(math.floor(confidence * bins), bins - 1)
        sums[b] = sums.get(b, 0) + (row.index(confidence) == label) - confidence
        N += 1
    return sum(abs(one) for one in sums.values()) / N


def temperature_by_lbfgs(logits, labels):
    log_t = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(logits / log_t.exp(), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return log_t.exp().item()


def temperature_by_adam(logits, labels):
    log_T = torch.tensor(0.0, requires_grad=True)
    optimizer = torch.optim.Adam([log_T], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(logits / log_T.exp(), labels).backward()
        optimizer.step()
    return log_T.exp()


def temperature_by_scipy(logits, labels):
    found = minimize_scalar(
        lambda u: F.cross_entropy(logits.double() / math.exp(u), labels).item(),
        bounds=(math.log(0.05), math.log(20)),
        method="bounded",
    )
    return math.exp(found.x)


def temperature_on_a_grid(logits, labels):
    grid = [0.04 * 1.01**step for step in range(640)]
    return min(grid, key=lambda T: F.cross_entropy(logits / T, labels).item())


def temperature_on_a_fine_grid_at_once(logits, labels):
    T = torch.logspace(math.log10(0.05), math.log10(20), 1000).to(logits)
    log_p = (logits / T[:, None, None]).log_softmax(-1)
    return T[log_p[:, torch.arange(len(labels)), labels].mean(1).argmax()]


def temperature_by_golden_section(logits, labels):
    ratio, low, high = (math.sqrt(5) - 1) / 2, math.log(0.05), math.log(20)

    def loss(u):
        return F.cross_entropy(logits.double() * math.exp(-u), labels, reduction="sum")

    while high - low > 1e-3:
        one, other = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, other) if loss(one) < loss(other) else (one, high)
    return torch.tensor(math.exp((low + high) / 2), requires_grad=True)


def threshold_by_kthvalue(scores, alpha):
    n = scores.numel()
    k = math.ceil((n + 1) * (1 - alpha) - 1e-9)
    if k > n:
        return float("inf")
    return scores.kthvalue(k).values


def threshold_with_fractions(scores, alpha):
    k = math.ceil((len(scores) + 1) * (1 - Fraction(str(alpha))))
    return sorted(scores.tolist())[k - 1] if k <= len(scores) else math.inf


def threshold_with_decimals(scores, alpha):
    k = int(((len(scores) + 1) * (1 - Decimal(str(alpha)))).to_integral_value(ROUND_CEILING))
    return math.inf if k > len(scores) else np.sort(scores.numpy())[k - 1]


def threshold_padded_with_infinity(scores, alpha):
    n = len(scores)
    k = n + 1 - math.floor(round((n + 1) * alpha, 6))
    return torch.cat([torch.sort(scores)[0], torch.tensor([torch.inf])])[k - 1]


def threshold_by_topk(scores, alpha):
    n = scores.shape[0]
    k = np.ceil(np.round((n + 1) * (1 - alpha), 8)).astype(int)
    return scores.topk(k, largest=False).values[-1].item() if k <= n else np.inf


def threshold_by_inverted_cdf(scores, alpha):
    n = len(scores)
    k = math.ceil(round((n + 1) * (1 - alpha), 9))
    return math.inf if k > n else np.quantile(scores.numpy(), (k - 0.5) / n, method="inverted_cdf")


def leapfrog_by_halves(w, p, gradient, step, count):
    for _ in range(count):
        half = p + 0.5 * step * gradient(w)
        w = w + step * half
        p = half + 0.5 * step * gradient(w)
    return w, p


def leapfrog_with_correction(w, p, gradient, step, count):
    w, p = w.clone(), p.clone()
    p += 0.5 * step * gradient(w)
    for _ in range(count):
        w += step * p
        p += step * gradient(w)
    p -= 0.5 * step * gradient(w)
    return [w, p]


def leapfrog_with_stored_force(w, p, gradient, step, count):
    force = gradient(w)
    while count:
        w = w + step * p + step**2 / 2 * force
        new = gradient(w)
        p = p + step * (force + new) / 2
        force, count = new, count - 1
    return w, p


def leapfrog_backwards(w, p, gradient, step, count):
    if count == 0:
        return w, p
    p = p.add(gradient(w), alpha=step / 2)
    w = w.add(p, alpha=step)
    return leapfrog_backwards(w, p.add(gradient(w), alpha=step / 2), gradient, step, count - 1)


def kl_by_the_library(mu, sigma, prior_sd):
    q, prior = torch.distributions.Normal(mu, sigma), torch.distributions.Normal(0.0, prior_sd)
    return torch.distributions.kl_divergence(q, prior).sum()


def kl_term_by_term(mu, sigma, prior_sd):
    prior_sd = torch.as_tensor(prior_sd, dtype=mu.dtype).expand_as(mu)
    return torch.sum(torch.log(prior_sd / sigma) + (sigma**2 + mu**2) / (2 * prior_sd**2) - 0.5)


def kl_in_a_loop(mu, sigma, prior_sd):
    total = torch.zeros((), dtype=mu.dtype)
    for i in range(len(mu)):
        prior = prior_sd[i] if torch.is_tensor(prior_sd) else prior_sd
        ratio = (sigma[i] / prior).square()
        total = total + 0.5 * (ratio + (mu[i] / prior).square() - 1 - ratio.log())
    return total


def kl_with_logarithms(mu, sigma, prior_sd):
    prior_sd = prior_sd * torch.ones_like(mu)
    log_ratio = sigma.log() - prior_sd.log()
    return (0.5 * ((2 * log_ratio).exp() + mu.pow(2) / prior_sd.pow(2) - 1) - log_ratio).sum()


def kl_by_math(mu, sigma, prior_sd):
    priors = prior_sd.tolist() if torch.is_tensor(prior_sd) else [prior_sd] * len(mu)
    rows = zip(mu.tolist(), sigma.tolist(), priors, strict=True)
    total = sum(((s / t) ** 2 + (m / t) ** 2 - 1) / 2 - math.log(s / t) for m, s, t in rows)
    return torch.tensor(total, dtype=mu.dtype)


def elbo_in_steps(mu, log_sigma, noise, log_likelihood, kl, batches):
    sigma = torch.exp(log_sigma)
    w = mu + sigma * noise
    share = torch.sum(log_likelihood(w)) - kl / batches
    return -share


def elbo_by_addcmul(mu, log_sigma, noise, log_likelihood, kl, batches):
    return sum(-one for one in log_likelihood(torch.addcmul(mu, log_sigma.exp(), noise))) + kl * (1 / batches)


def elbo_by_methods(mu, log_sigma, noise, log_likelihood, kl, batches):
    return kl.div(batches).sub(log_likelihood(log_sigma.exp().mul(noise).add(mu)).sum())


def elbo_with_mean(mu, log_sigma, noise, log_likelihood, kl, batches):
    log_p = log_likelihood(noise * log_sigma.exp() + mu)
    return log_p.mean().neg() * len(log_p) + kl / batches


def mc_in_a_loop(model, x, passes):
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    for _, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.train()
    rows = []
    for _ in range(passes):
        with torch.no_grad():
            rows.append(torch.softmax(model(x), dim=-1))
    for module, mode in before:
        module.train(mode)
    return torch.stack(rows, dim=0)


def mc_on_a_copy(model, x, passes):
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if type(module).__name__.endswith("Dropout"):
            module.training = True
    return torch.stack([torch.softmax(model(x), 1) for _ in range(passes)])


@torch.no_grad()
def mc_in_one_batch(model, x, passes):
    modes = [module.training for module in model.modules()]
    model.eval()
    model.apply(lambda module: module.train() if "Dropout" in type(module).__name__ else None)
    many = torch.cat([x] * passes)
    out = model(many).softmax(-1).view(passes, len(x), -1)
    for module, mode in zip(model.modules(), modes, strict=True):
        module.training = mode
    return out


def mc_into_zeros(model, x, passes):
    modes = {name: module.training for name, module in model.named_modules()}
    try:
        model.eval()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.train(True)
        out = None
        for number in range(passes):
            probabilities = nn.functional.softmax(model(x).detach(), dim=1)
            if out is None:
                out = probabilities.new_zeros((passes, *probabilities.shape))
            out[number] = probabilities
    finally:
        for name, module in model.named_modules():
            module.training = modes[name]
    return out


def mc_example_by_example(model, x, passes):
    one = ex.mc_dropout.reference
    return torch.cat([one(model, x[n : n + 1], passes) for n in range(len(x))], dim=1)


def randomized_by_densities(outputs, targets, noise, w, anchor, sigma):
    fit = torch.distributions.Normal(outputs, sigma).log_prob(targets + noise) - torch.distributions.Normal(
        0.0, sigma
    ).log_prob(torch.zeros_like(outputs))
    pull = torch.distributions.Normal(anchor, 1.0).log_prob(w) - torch.distributions.Normal(
        0.0, 1.0
    ).log_prob(torch.zeros_like(w))
    return -(fit.sum(dim=1) + pull.sum(dim=1))


def randomized_in_a_loop(outputs, targets, noise, w, anchor, sigma):
    losses = []
    for f, e, v, a in zip(outputs, noise, w, anchor, strict=True):
        misfit = f - (targets + e)
        losses.append(misfit @ misfit / (2 * sigma**2) + (v - a) @ (v - a) / 2)
    return torch.stack(losses)


def randomized_by_einsum(outputs, targets, noise, w, anchor, sigma):
    misfit, pull = (outputs - targets - noise) / sigma, w - anchor
    return 0.5 * (torch.einsum("kn,kn->k", misfit, misfit) + torch.einsum("kd,kd->k", pull, pull))


class TestLesson13(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "randomized_loss": [randomized_by_densities, randomized_in_a_loop, randomized_by_einsum],
        "update_weight": [
            update_by_gain,
            update_with_tensors,
            update_by_one_fraction,
            update_as_a_tensor,
            update_by_conditioning,
        ],
        "bayesian_line": [
            line_by_solve,
            line_by_cholesky,
            line_by_kernels,
            line_by_the_library,
            line_row_by_row,
            line_with_numpy,
        ],
        "predictive_sd": [
            sd_by_the_diagonal,
            sd_by_einsum,
            sd_by_cholesky,
            sd_in_a_loop,
            sd_in_python,
            sd_of_the_matrix,
        ],
        "metropolis_step": [
            metropolis_with_logarithms,
            metropolis_with_a_probability,
            metropolis_in_a_loop,
            metropolis_with_min,
            metropolis_by_product,
        ],
        "r_hat": [
            r_hat_by_chunks,
            r_hat_by_reshape,
            r_hat_one_by_one,
            r_hat_with_four_axes,
            r_hat_with_numpy,
        ],
        "doubts": [
            doubts_by_the_library,
            doubts_stacked,
            doubts_by_divergences,
            doubts_in_loops,
            doubts_with_a_small_number,
            doubts_with_nan_to_num,
        ],
        "calibration_error": [
            error_with_masks,
            error_by_bucketize,
            error_with_numpy,
            error_in_plain_python,
        ],
        "temperature": [
            temperature_by_lbfgs,
            temperature_by_adam,
            temperature_by_scipy,
            temperature_on_a_grid,
            temperature_on_a_fine_grid_at_once,
            temperature_by_golden_section,
        ],
        "conformal_threshold": [
            threshold_by_kthvalue,
            threshold_with_fractions,
            threshold_with_decimals,
            threshold_padded_with_infinity,
            threshold_by_topk,
            threshold_by_inverted_cdf,
        ],
        "leapfrog": [
            leapfrog_by_halves,
            leapfrog_with_correction,
            leapfrog_with_stored_force,
            leapfrog_backwards,
        ],
        "kl_gaussians": [
            kl_by_the_library,
            kl_term_by_term,
            kl_in_a_loop,
            kl_with_logarithms,
            kl_by_math,
        ],
        "elbo_loss": [elbo_in_steps, elbo_by_addcmul, elbo_with_mean, elbo_by_methods],
        "mc_dropout": [mc_in_a_loop, mc_on_a_copy, mc_in_one_batch, mc_into_zeros, mc_example_by_example],
    }

    equivalent = {  # noqa: RUF012
        "temperature": ["line 6: 20.0 -> 21.0", "line 7: 30 -> 31"],
        "conformal_threshold": ["line 7: 9 -> 10"],
    }


# What must not be accepted ------------------------------------------------------------------------------------


def in_place(w, value, proposal, new_value, u):
    yes = u < (new_value - value).exp()
    w[yes], value[yes] = proposal[yes], new_value[yes]
    return w, value


def test_metropolis_leaves_the_states_of_the_caller_as_they_were():
    verdict = ex.metropolis_step(in_place)
    assert verdict.status == "wrong"
    assert "no longer what it was" in verdict.message


def on_a_grid(mean, variance, x, y, sigma):
    w = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    log_p = -((w - mean) ** 2) / (2 * variance) - (y - w * x) ** 2 / (2 * sigma**2)
    p = log_p.softmax(dim=0)
    return (p * w).sum(), (p * w**2).sum() - (p * w).sum() ** 2


def test_a_grid_is_not_accurate_enough_for_update_weight():
    assert ex.update_weight(on_a_grid).status == "wrong"


# What the libraries say ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ex.bayesian_line.inputs.cases)
def test_mean_of_the_line_is_that_of_ridge_regression(case):
    X, y, sigma, prior_sd = case
    ridge = Ridge(alpha=sigma**2 / prior_sd**2, fit_intercept=False).fit(X.numpy(), y.numpy())
    mean, _ = ex.bayesian_line.reference(*case)
    torch.testing.assert_close(mean.double(), torch.as_tensor(ridge.coef_).double(), rtol=1e-4, atol=1e-5)


def test_one_weight_after_another_is_the_line():
    (X, y, sigma, prior_sd), m, v = ex._line_case(4, 1, 0.3, 0.6, seed=80), 0.0, 0.6**2
    for x, one in zip(X[:, 0].tolist(), y.tolist(), strict=True):
        m, v = ex.update_weight.reference(m, v, x, one, sigma)
    mean, covariance = ex.bayesian_line.reference(X, y, sigma, prior_sd)
    assert m == pytest.approx(mean.item(), rel=1e-4)
    assert v == pytest.approx(covariance.item(), rel=1e-4)


def test_predictive_sd_is_that_of_a_simulation():
    X, covariance, sigma = ex.predictive_sd.inputs.cases[1]
    torch.manual_seed(0)
    w = MultivariateNormal(torch.zeros(2), covariance).sample((200_000,))
    y = w @ X.T + sigma * torch.randn(200_000, len(X))
    torch.testing.assert_close(
        y.std(dim=0), ex.predictive_sd.reference(X, covariance, sigma), rtol=0.01, atol=0
    )


def test_chains_of_metropolis_have_the_distribution_they_are_to_have():
    torch.manual_seed(1)
    w = torch.zeros(4000, 1)
    value = -(w[:, 0] ** 2) / 2
    for _ in range(100):
        proposal = w + 1.5 * torch.randn_like(w)
        w, value = ex.metropolis_step.reference(
            w, value, proposal, -(proposal[:, 0] ** 2) / 2, torch.rand(len(w))
        )
    assert w.mean().item() == pytest.approx(0, abs=0.06)
    assert w.std().item() == pytest.approx(1, abs=0.04)


def test_r_hat_notices_a_drift_that_all_chains_share():
    drifting = ex._drifting(3, 12, 2, seed=310)
    assert (ex.r_hat.reference(drifting) > 1.5).all()


# What the cases promise ---------------------------------------------------------------------------------------


def test_no_confidence_lies_on_an_inner_edge():
    for probabilities, _, bins in ex.calibration_error.inputs.cases:
        place = probabilities.amax(dim=1) * bins
        inner = place < bins
        assert ((place - place.round()).abs()[inner] > 1e-3).all()


def test_temperatures_lie_where_the_docstring_says():
    for logits, labels in ex.temperature.inputs.cases:
        assert 0.06 < ex.temperature.reference(logits, labels) < 19


@pytest.mark.parametrize(("steps", "lr"), [(50, 0.01), (100, 0.01), (200, 0.01), (100, 0.02)])
def test_a_temperature_that_takes_too_few_steps_is_told_so(steps, lr):
    def attempt(logits, labels):
        T = torch.ones((), requires_grad=True)
        optimizer = torch.optim.Adam([T], lr=lr)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(logits / T, labels).backward()
            optimizer.step()
        return T.item()

    assert "stops on the way" in ex.temperature(attempt).message


# Sets of jets -------------------------------------------------------------------------------------------------


class Trained:
    """A classifier x -> p (N, 5), with p and y of the train and valid jets."""

    def __init__(self, p):
        self.p = p
        self.train, self.valid = ex._jet_sets_part("train"), ex._jet_sets_part("valid")
        self.p_train, self.p_valid = p(self.train.x), p(self.valid.x)

    def thresholds(self, level=0.9, part="valid", score=lambda p: 1 - p):
        p, y = getattr(self, f"p_{part}"), getattr(self, part).y
        own = score(p).gather(1, y[:, None])[:, 0]
        return torch.stack([own[y == kind].quantile(level, interpolation="higher") for kind in range(5)])

    def one_threshold(self, part="valid"):
        p, y = getattr(self, f"p_{part}"), getattr(self, part).y
        return (1 - p[torch.arange(len(y)), y]).quantile(0.9)

    def sets(self, thresholds):
        return lambda x: 1 - self.p(x) <= thresholds


@pytest.fixture(scope="module")
def jets():
    return ex._jet_sets_part("train"), ex._jet_sets_part("valid")


@pytest.fixture(scope="module")
def solved(jets):
    return ex.jet_sets.reference(*jets)


def net_of(sets):
    return inspect.getclosurevars(inspect.unwrap(inspect.getclosurevars(sets).nonlocals["scores"])).nonlocals[
        "net"
    ]


@pytest.fixture(scope="module")
def logits(solved):
    return torch.no_grad()(net_of(solved))


@pytest.fixture(scope="module")
def net(logits):
    return Trained(lambda x: logits(x).softmax(dim=1))


def edited(edits, **names):
    code = ex.jet_sets.source()
    for before, after in edits.items():
        assert before in code
        code = code.replace(before, after)
    scope = vars(ex) | names
    exec(code, scope)
    return scope["jet_sets"]


def test_solution_reaches_the_floors(solved):
    verdict = ex.jet_sets(solved)
    assert verdict.status == "correct", verdict


def test_fractions_are_those_counted(solved):
    split = ex._jet_sets_kept_back()
    assert len(split) == 6272
    covered = solved(split.x)[torch.arange(6272), split.y].numpy()
    expected = [covered[split.y.numpy() == kind].mean() for kind in range(5)]
    assert ex._kinds_covered(solved(split.x), split.y).tolist() == pytest.approx(expected)


def test_scaling_is_that_of_the_lesson(jets):
    assert jets[0].x.mean(dim=0).abs().max() < 1e-3
    assert torch.allclose(jets[0].x.std(dim=0), torch.ones(15), atol=1e-3)


# Right answers ------------------------------------------------------------------------------------------------


def of_classifier(model, jets):
    train, _ = jets
    model.fit(train.x.numpy(), train.y.numpy())
    return Trained(lambda x: torch.from_numpy(model.predict_proba(x.numpy())))


@pytest.fixture(scope="module")
def boosted(jets):
    model = HistGradientBoostingClassifier(max_iter=80, learning_rate=0.1, max_leaf_nodes=15, random_state=0)
    return of_classifier(model, jets)


def test_gradient_boosting_reaches_the_floors(boosted):
    verdict = ex.jet_sets(boosted.sets(boosted.thresholds()))
    assert verdict.status == "correct", verdict


def test_a_part_of_the_training_jets_may_calibrate(jets):
    order = torch.randperm(len(jets[0]), generator=torch.Generator().manual_seed(0))
    parts = [ex.data.Split(jets[0].x[rows], jets[0].y[rows]) for rows in (order[3700:], order[:3700])]
    verdict = ex.jet_sets(ex.jet_sets.reference(*parts))
    assert verdict.status == "correct", verdict


class AsNetwork(nn.Module):
    def __init__(self, net, thresholds):
        super().__init__()
        self.net, self.dropout = net, nn.Dropout(0.9)
        self.register_buffer("thresholds", thresholds)

    def forward(self, x):
        return self.dropout(self.net(x)).softmax(dim=1) >= 1 - self.thresholds


def test_a_network_of_sets_is_judged_in_evaluation_mode(solved, net):
    module = AsNetwork(net_of(solved), net.thresholds()).train()
    assert ex.jet_sets(module).status == "correct"
    assert module.training


def by_ratio(p):
    return -p / p.amax(dim=1, keepdim=True)


def test_other_scores_reach_the_floors(logits, net):
    limits, ratios = net.thresholds(), net.thresholds(score=by_ratio)

    def changes_its_argument(x):
        sets = net.sets(limits)(x)
        x.zero_()
        return sets

    for sets in (
        lambda x: -logits(x).log_softmax(dim=1) <= -(1 - limits).log(),
        lambda x: (1 - net.p(x).double()).le(limits.double()),
        lambda x: by_ratio(net.p(x)) <= ratios,
        lambda x: torch.stack([p >= 1 - limits for p in net.p(x)]),
        changes_its_argument,
        changes_its_argument,
        lambda *all_: net.sets(limits)(*all_),
    ):
        verdict = ex.jet_sets(sets)
        assert verdict.status == "correct", verdict


def adaptive_scores(p):
    sorted_p, kinds = p.sort(dim=1, descending=True)
    before = sorted_p.cumsum(dim=1) - torch.rand(len(p), 1) * sorted_p
    return torch.zeros_like(p).scatter(1, kinds, before)


def test_randomized_adaptive_sets_with_a_threshold_for_each_kind_reach_the_floors(net):
    torch.manual_seed(0)
    limits = net.thresholds(score=adaptive_scores, level=0.91)
    verdict = ex.jet_sets(lambda x: adaptive_scores(net.p(x)) <= limits)
    assert verdict.status == "correct", verdict


# Wrong answers ------------------------------------------------------------------------------------------------


def added_up(p, sum_, *, with_last=True):
    sorted_p, kinds = p.sort(dim=1, descending=True)
    inside = sorted_p.cumsum(dim=1) - (sorted_p if with_last else 0) < sum_
    return torch.zeros_like(inside).scatter(1, kinds, inside)


def most_probable(p, count):
    return torch.zeros_like(p, dtype=torch.bool).scatter(1, p.topk(count).indices, True)


def of_each_predicted_kind(net):
    own = 1 - net.p_valid.gather(1, net.valid.y[:, None])[:, 0]
    predicted = net.p_valid.argmax(dim=1)
    return torch.stack([own[predicted == kind].quantile(0.9) for kind in range(5)])


def mean_scores(net):
    own = 1 - net.p_valid.gather(1, net.valid.y[:, None])[:, 0]
    return torch.stack([own[net.valid.y == kind].mean() for kind in range(5)])


def right_ones(net):
    own, right = 1 - net.p_valid.gather(1, net.valid.y[:, None])[:, 0], net.p_valid.argmax(1) == net.valid.y
    return torch.stack([own[(net.valid.y == kind) & right].quantile(0.9) for kind in range(5)])


WRONG = {
    "everything": (lambda net: lambda x: net.p(x) >= 0, "says nothing"),
    "percent": (lambda net: net.sets(100 * net.thresholds()), "says nothing"),
    "nothing": (lambda net: lambda x: net.p(x) > 1, "Nearly all sets are empty"),
    "always the same": (
        lambda net: lambda x: torch.tensor([True, True, False, False, True]).expand(len(x), 5),
        "Every jet gets the same set",
    ),
    "argmax": (lambda net: lambda x: most_probable(net.p(x), 1), "holds one kind"),
    "largest p": (lambda net: lambda x: net.p(x) == net.p(x).amax(dim=1, keepdim=True), "holds one kind"),
    "two most probable": (lambda net: lambda x: most_probable(net.p(x), 2), "same number of kinds"),
    "three most probable": (lambda net: lambda x: most_probable(net.p(x), 3), "same number of kinds"),
    "one threshold": (lambda net: net.sets(net.one_threshold()), "About 90 % of all jets"),
    "one threshold, training jets": (
        lambda net: net.sets(net.one_threshold("train")),
        "Top jets are covered",
    ),
    "mean threshold": (lambda net: net.sets(net.thresholds().mean()), "Top jets are covered most"),
    "largest threshold": (lambda net: net.sets(net.thresholds().max()), "Top jets are covered most"),
    "training jets": (
        lambda net: net.sets(net.thresholds(part="train")),
        "fraction of each kind of the training",
    ),
    "wrong tail": (lambda net: net.sets(net.thresholds(level=0.1)), "the quantile is in the wrong tail"),
    "wrong tail of p": (
        lambda net: lambda x: net.p(x) >= net.thresholds(level=0.9, score=lambda p: p),
        "the quantile is in the wrong tail",
    ),
    "other way round": (lambda net: lambda x: 1 - net.p(x) > net.thresholds(), "the right way round"),
    "p below": (lambda net: lambda x: net.p(x) <= net.thresholds(), "the right way round"),
    "p above": (lambda net: lambda x: net.p(x) >= net.thresholds(), "More than half of the sets are empty"),
    "1 - p below that of p": (
        lambda net: net.sets(1 - net.thresholds()),
        "More than half of the sets are empty",
    ),
    "other level": (lambda net: net.sets(net.thresholds(level=0.8)), "the level is another"),
    "95 %": (lambda net: net.sets(net.thresholds(level=0.95)), "the level is another"),
    "98 %": (lambda net: net.sets(net.thresholds(level=0.98)), "the level is another"),
    "shifted thresholds": (lambda net: net.sets(net.thresholds().roll(1)), "Some kinds are covered far less"),
    "reversed thresholds": (
        lambda net: net.sets(net.thresholds().flip(0)),
        "Some kinds are covered far less",
    ),
    "of the predicted kind": (
        lambda net: lambda x: 1 - net.p(x) <= net.thresholds()[net.p(x).argmax(dim=1)].unsqueeze(1),
        "Some kinds are covered far less",
    ),
    "grouped by predicted kind": (lambda net: net.sets(of_each_predicted_kind(net)), "predicted kind"),
    "shifted kinds": (lambda net: lambda x: net.sets(net.thresholds())(x).roll(1, dims=1), "changed places"),
    "reversed kinds": (lambda net: lambda x: net.sets(net.thresholds())(x).flip(1), "changed places"),
    "whole columns": (
        lambda net: net.sets((1 - net.p_valid).quantile(0.9, dim=0)),
        "Are the quantiles those of whole columns",
    ),
    "mean scores": (lambda net: net.sets(mean_scores(net)), "covered too rarely"),
    "right ones only": (lambda net: net.sets(right_ones(net)), "covered too rarely"),
    "added up to 90 %": (lambda net: lambda x: added_up(net.p(x), 0.9), "more than 90 %"),
    "added up to 95 %": (lambda net: lambda x: added_up(net.p(x), 0.95), "more than 90 %"),
    "added up to 80 %": (lambda net: lambda x: added_up(net.p(x), 0.8), "Top jets are covered most"),
    "p above 0.05": (lambda net: lambda x: net.p(x) >= 0.05, "more than 90 %"),
    "p above 0.1": (lambda net: lambda x: net.p(x) >= 0.1, "Top jets are covered most"),
    "p above 0.15": (lambda net: lambda x: net.p(x) >= 0.15, "Top jets are covered most"),
    "p above 0.2": (lambda net: lambda x: net.p(x) >= 0.2, "Top jets are covered most"),
    "two softmaxes in the sets": (
        lambda net: lambda x: 1 - net.p(x).softmax(dim=1) <= net.thresholds(),
        "do not fit each other",
    ),
    "standardized again": (
        lambda net: (
            lambda x: net.sets(net.thresholds())((x - ex._jet_sets_scaling()[0]) / ex._jet_sets_scaling()[1])
        ),
        "raw features",
    ),
    "standardization undone": (
        lambda net: lambda x: net.sets(net.thresholds())(ex._raw_jets(x)),
        "hardly know the jets",
    ),
    "other order": (lambda net: lambda x: net.sets(net.thresholds())(x).flip(0), "other jets of the batch"),
    "by chance": (lambda net: lambda x: torch.rand(len(x), 5) < 0.4, "hardly know the jets"),
    "nine of ten by chance": (lambda net: lambda x: torch.rand(len(x), 5) < 0.9, "knows next to nothing"),
    "softmax over the batch": (
        lambda net: lambda x: 1 - net.p(x).log().softmax(dim=0) <= net.thresholds(),
        "other jets of the batch",
    ),
    "standardized in the batch": (
        lambda net: (
            lambda x: net.sets(net.thresholds())((x - x.mean(dim=0)) / x.std(dim=0, correction=0).clamp(1e-3))
        ),
        "other jets of the batch",
    ),
    "a quantile of the batch": (
        lambda net: lambda x: net.p(x) >= net.p(x).quantile(0.6, dim=0),
        "other jets of the batch",
    ),
    "a little too rarely": (
        lambda net: net.sets(net.thresholds() - torch.tensor([0, 0, 0.05, 0, 0])),
        "Close",
    ),
}


@pytest.mark.parametrize(("build", "said"), WRONG.values(), ids=WRONG)
def test_wrong_sets_are_told_what_is_wrong(net, build, said):
    verdict = ex.jet_sets(build(net))
    assert verdict.status == "wrong", verdict
    assert said in verdict.message, verdict


def test_logits_and_probabilities_do_not_mix(net, logits):
    for sets in (
        lambda x: 1 - logits(x) <= net.thresholds(),
        lambda x: logits(x) >= 1 - net.thresholds(),
    ):
        verdict = ex.jet_sets(sets)
        assert "Are logits compared with thresholds for probabilities" in verdict.message, verdict
    other = Trained(logits)
    verdict = ex.jet_sets(lambda x: 1 - net.p(x) <= other.thresholds())
    assert "do not fit each other" in verdict.message, verdict


def test_one_threshold_of_another_classifier_is_told(boosted):
    verdict = ex.jet_sets(boosted.sets(boosted.one_threshold()))
    assert "About 90 % of all jets" in verdict.message, verdict


def test_a_linear_classifier_makes_sets_too_large(jets):
    linear = of_classifier(LogisticRegression(max_iter=500), jets)
    verdict = ex.jet_sets(linear.sets(linear.thresholds()))
    assert verdict.status == "wrong"
    assert "coverage is right, but the sets are too large" in verdict.message, verdict


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"(own[valid_jets.y == kind])": "(own)"}, "About 90 % of all jets"),
        ({"scores(x) <= thresholds": "scores(x) >= thresholds"}, "the right way round"),
        ({"0.9 * (len": "0.1 * (len"}, "wrong tail"),
        ({"return 1 - net(x)": "return net(x)"}, "the right way round"),
        ({"softmax(dim=1)": "softmax(dim=0)"}, "other jets of the batch"),
        ({"valid_jets.y.unsqueeze(1)": "(valid_jets.y.unsqueeze(1) + 1) % 5"}, "more than 90 %"),
        ({"valid_jets.": "train_jets."}, "fraction of each kind of the training jets"),
        (
            {"return lambda x: scores(x) <= thresholds": "return scores(valid_jets.x) <= thresholds"},
            "Sets arrived",
        ),
        ({"return lambda x: scores(x) <= thresholds": "return thresholds"}, "Thresholds arrived"),
        ({"return lambda x: scores(x) <= thresholds": "return scores"}, "look like the scores 1 − p"),
        ({"return lambda x: scores(x) <= thresholds": "return net"}, "such as logits"),
        ({"return lambda x: scores(x) <= thresholds": "return net, thresholds"}, "alone"),
        ({"lambda x: scores(x)": "lambda x: scores(valid_jets.x)"}, "sets of another split"),
        ({"scores(x) <= thresholds": "(scores(x) <= thresholds).squeeze()"}, "without `squeeze`"),
        ({"scores(x) <= thresholds": "(scores(x) <= thresholds).float()"}, "0 and 1 as float32"),
        ({"lambda x: scores(x)": "lambda x, y: scores(x)"}, "called with one argument"),
        ({"for _ in range(epochs):": "for _ in range(0):"}, "knows next to nothing"),
    ],
)
def test_slips_are_told(jets, solved, edits, said):
    start = {"for _ in range(epochs):": "net.load_state_dict(trained)\n    for _ in range(0):"}
    verdict = ex.jet_sets(edited(start | edits, trained=net_of(solved).state_dict())(*jets))
    assert verdict.status == "wrong", verdict
    assert said in verdict.message, verdict


@pytest.mark.parametrize(
    "edits",
    [
        {"train_jets.batches(128": "valid_jets.batches(128", "batches = 12": "batches = 40"},
        {
            "train_jets.batches": "data.Split(torch.cat([train_jets.x, valid_jets.x]), "
            "torch.cat([train_jets.y, valid_jets.y])).batches"
        },
    ],
)
def test_training_on_the_valid_jets_is_told(jets, edits):
    verdict = ex.jet_sets(edited(edits)(*jets))
    assert verdict.status == "wrong", verdict
    assert "seems to know the valid jets" in verdict.message, verdict


# Answers of another kind --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sets: None, "Is a `return` missing in `sets`"),
        (lambda sets: sets.numpy(), "NumPy array"),
        (lambda sets: sets.tolist(), "a list came back"),
        (lambda sets: [row.nonzero().flatten() for row in sets], "a list came back"),
        (lambda sets: (sets, sets), "a tuple came back"),
        (lambda sets: 1.5, "this came back"),
        (lambda sets: sets.T, "transpose it"),
        (lambda sets: sets.long(), "0 and 1 as int64"),
        (lambda sets: sets.double(), "0 and 1 as float64"),
        (lambda sets: sets.float().softmax(dim=1), "look like probabilities"),
        (lambda sets: 1 - sets.float().softmax(dim=1), "look like the scores"),
        (lambda sets: sets.float() - 3, "such as logits"),
        (lambda sets: sets.long().argsort(dim=1), "as of kinds or ranks"),
        (lambda sets: sets.long().argmax(dim=1), "the most probable kind"),
        (lambda sets: sets[:, 0], "whether the true kind is in the set"),
        (lambda sets: sets.any(dim=0), "for all jets together"),
        (lambda sets: sets.long().topk(2).indices, "the numbers of the kinds"),
        (lambda sets: sets.unsqueeze(1), "without a further axis"),
        (lambda sets: sets[:, :4], "but the shape is (500, 4)"),
    ],
)
def test_what_is_no_bool_tensor_is_told_why(solved, change, said):
    verdict = ex.jet_sets(lambda x: change(solved(x)))
    assert verdict.status == "wrong", verdict
    assert said in verdict.message, verdict


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ex.jet_sets.reference, "Call it"),
        ((nn.Linear(15, 5), torch.zeros(5)), "alone"),
        (torch.zeros(5), "Thresholds arrived"),
        (torch.zeros(7, 5).bool(), "Sets arrived"),
        (np.zeros((7, 5)), "Sets arrived"),
        (nn.Linear, "should be a function"),
        (3, "should be a function"),
        (lambda x, y: x, "called with one argument"),
        (nn.Linear(15, 5), "such as logits"),
        (nn.Sequential(nn.Linear(15, 5), nn.Softmax(dim=1)), "look like probabilities"),
    ],
)
def test_what_is_no_function_of_jets_is_told_why(answer, said):
    verdict = ex.jet_sets(answer)
    assert verdict.status == "wrong", verdict
    assert said in verdict.message, verdict


def test_nothing_is_not_attempted():
    assert ex.jet_sets(None).status == "not attempted"
    assert ex.jet_sets().status == "not attempted"


def test_errors_are_told_with_the_learners_line():
    verdict = ex.jet_sets(lambda x: x @ x)
    assert verdict.status == "raised"
    assert "x @ x" in str(verdict)


def test_batch_normalization_in_training_mode_is_told(solved, net):
    batch_norm = nn.BatchNorm1d(5)
    verdict = ex.jet_sets(lambda x: batch_norm(net_of(solved)(x)).softmax(dim=1) >= 0.1)
    assert verdict.status == "raised"
    assert "net.eval()" in str(verdict)


def test_a_network_on_another_device_gets_its_jets_there(monkeypatch):
    elsewhere = torch.device("meta")
    monkeypatch.setattr(ex.runtime, "best_device", lambda: elsewhere)

    def needs_to_move(x):
        if x.device != elsewhere:
            raise RuntimeError("Expected all tensors to be on the same device")
        return torch.zeros(len(x), 5, dtype=torch.bool)

    assert ex._Sets(needs_to_move)(torch.zeros(3, 15)).shape == (3, 5)


def test_a_loop_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(models, "LIMIT_S", 0.3)

    def sets(x):
        while True:
            x = x + 0

    assert "without a loop over jets" in ex.jet_sets(sets).message
