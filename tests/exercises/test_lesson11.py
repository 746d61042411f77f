import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import jensenshannon
from torch import nn
from torch.distributions import Categorical, kl_divergence

from coursekit import data
from coursekit.exercises import lesson11 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way ------------------------------------------------------------------


def best_with_the_larger_taken_out(log_p, log_q):
    most = torch.maximum(log_p, log_q)
    p, q = torch.exp(log_p - most), torch.exp(log_q - most)
    return p / (p + q)


def best_by_cases(log_p, log_q):
    small = torch.exp(-(log_p - log_q).abs())
    return torch.where(log_p > log_q, 1 / (1 + small), small / (1 + small))


def judged_by_labels(discriminator, real, fake):
    on_real, on_fake = discriminator(real), discriminator(fake.detach())
    return F.binary_cross_entropy_with_logits(
        on_real, torch.ones_like(on_real)
    ) + F.binary_cross_entropy_with_logits(on_fake, torch.zeros_like(on_fake))


def judged_by_a_criterion(discriminator, real, fake):
    criterion = nn.BCEWithLogitsLoss()
    real_loss = criterion(discriminator(real), torch.ones(real.size(0), 1))
    fake_loss = criterion(discriminator(fake.data), torch.zeros(fake.size(0), 1))
    return real_loss + fake_loss


def judged_by_logsigmoid(discriminator, real, fake):
    N, M = len(real), len(fake)
    a, b = discriminator(real).squeeze(1), discriminator(fake.clone().detach()).squeeze(1)
    return -F.logsigmoid(a).sum() / N - F.logsigmoid(-b).sum() / M


def judged_in_one_batch(discriminator, real, fake):
    with torch.no_grad():
        x = torch.cat([real, fake])
    a = discriminator(x)
    return F.softplus(-a[: len(real)]).mean() + F.softplus(a[len(real) :]).mean()


def judged_by_hand(discriminator, real, fake):
    a, b = -discriminator(real), discriminator(fake.detach())
    terms = [one.clamp(min=0) + torch.log1p(torch.exp(-one.abs())) for one in (a, b)]
    return sum(one.mean(dim=0) for one in terms)


def fooled_by_labels(discriminator, fake):
    logits = discriminator(fake)
    return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def fooled_with_a_frozen_discriminator(discriminator, fake):
    discriminator.requires_grad_(False)
    loss = -F.logsigmoid(discriminator(fake)).mean()
    discriminator.requires_grad_(True)
    return loss


def fooled_by_hand(discriminator, fake):
    a = discriminator(fake)
    return torch.logaddexp(torch.zeros_like(a), -a).sum() / len(a)


def step_with_two_batches_of_fakes(game, real, z):
    game.d_optimizer.zero_grad()
    with torch.no_grad():
        fake = game.generator(z)
    d_loss = game.d_loss(game.discriminator, real, fake)
    d_loss.backward()
    game.d_optimizer.step()

    game.g_optimizer.zero_grad()
    g_loss = game.g_loss(game.discriminator, game.generator(z))
    g_loss.backward()
    game.g_optimizer.step()
    return d_loss.item(), g_loss.item()


def step_cleared_before_and_after(game, real, z):
    game.d_optimizer.zero_grad()
    game.g_optimizer.zero_grad()
    fake = game.generator(z)
    d_loss = game.d_loss(game.discriminator, real, fake.detach())
    d_loss.backward(retain_graph=True)
    game.d_optimizer.step()
    g_loss = game.g_loss(game.discriminator, fake)
    g_loss.backward()
    game.g_optimizer.step()
    game.generator.zero_grad()
    game.discriminator.zero_grad()
    return d_loss.detach(), g_loss.detach()


def step_cleared_at_the_end(game, real, z):
    fake = game.generator(z)
    d_loss = game.d_loss(game.discriminator, real, fake)
    d_loss.backward()
    game.d_optimizer.step()
    g_loss = game.g_loss(game.discriminator, fake)
    g_loss.backward()
    game.g_optimizer.step()
    game.d_optimizer.zero_grad(set_to_none=False)
    game.g_optimizer.zero_grad()
    return [d_loss, g_loss]


def step_by_a_helper(game, real, z):
    def update(optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    fake = game.generator(z)
    return (
        update(game.d_optimizer, game.d_loss(game.discriminator, real, fake)),
        update(game.g_optimizer, game.g_loss(game.discriminator, fake)),
    )


def step_with_a_frozen_discriminator(game, real, z):
    D, G = game.discriminator, game.generator
    fake = G(z)
    game.d_optimizer.zero_grad()
    d_loss = game.d_loss(D, real, fake)
    d_loss.backward()
    game.d_optimizer.step()
    for parameter in D.parameters():
        parameter.requires_grad = False
    game.g_optimizer.zero_grad()
    g_loss = game.g_loss(D, fake)
    g_loss.backward()
    game.g_optimizer.step()
    for parameter in D.parameters():
        parameter.requires_grad = True
    return torch.stack([d_loss, g_loss])


def step_in_train_mode(game, real, z):
    game.generator.train(), game.discriminator.train()
    game.discriminator.zero_grad()
    d_loss = game.d_loss(discriminator=game.discriminator, real=real, fake=game.generator(z))
    d_loss.backward()
    game.d_optimizer.step()
    game.generator.zero_grad()
    g_loss = game.g_loss(discriminator=game.discriminator, fake=game.generator(z))
    g_loss.backward()
    game.g_optimizer.step()
    return d_loss, g_loss


def step_with_a_frozen_generator(game, real, z):
    game.generator.requires_grad_(False)
    game.discriminator.zero_grad()
    d_loss = game.d_loss(game.discriminator, real, game.generator(z))
    d_loss.backward()
    game.d_optimizer.step()
    game.generator.requires_grad_(True)
    game.generator.zero_grad()
    g_loss = game.g_loss(game.discriminator, game.generator(z))
    g_loss.backward()
    game.g_optimizer.step()
    return float(d_loss), float(g_loss)


def coverage_in_loops(points, centres, radius):
    found, good = set(), 0
    for point in points.tolist():
        distances = [math.dist(point, centre) for centre in centres.tolist()]
        if min(distances) <= radius:
            good += 1
            found.add(distances.index(min(distances)))
    return len(found), good / len(points)


def coverage_by_broadcasting(points, centres, radius):
    squares = (points[:, None] - centres).pow(2).sum(dim=-1)
    good = squares.amin(dim=1) < radius**2
    nearest = squares.argmin(dim=1)
    found = torch.zeros(len(centres), dtype=torch.bool)
    found[nearest[good]] = True
    return found.sum(), good.double().mean()


def coverage_by_one_hot(points, centres, radius):
    d = torch.cdist(centres, points)
    mine = F.one_hot(d.argmin(dim=0), len(centres)).bool() & d.T.le(radius)
    return [mine.any(dim=0).sum().item(), mine.any(dim=1).sum().item() / points.shape[0]]


def coverage_centre_by_centre(points, centres, radius):
    nearest = torch.cdist(points, centres).argmin(1)
    counts = [
        int(((points[nearest == k] - centre).norm(dim=1) <= radius).sum()) for k, centre in enumerate(centres)
    ]
    return sum(count > 0 for count in counts), sum(counts) / len(points)


def step_in_two_lines(theta, psi, step):
    new_theta = theta - step * psi
    new_psi = psi + step * theta
    return new_theta, new_psi


def step_by_autograd(theta, psi, step):
    theta = torch.tensor(float(theta), requires_grad=True)
    psi = torch.tensor(float(psi), requires_grad=True)
    (theta * psi).backward()
    return theta.detach() - step * theta.grad, psi.detach() + step * psi.grad


def step_as_rotation(theta, psi, step):
    z = complex(theta, psi) * (1 + 1j * step)
    return [z.real, z.imag]


def step_by_a_matrix(theta, psi, step):
    return torch.tensor([[1.0, -step], [step, 1.0]], dtype=torch.float64) @ torch.tensor(
        [float(theta), float(psi)], dtype=torch.float64
    )


def penalty_in_a_loop(discriminator, real, gamma):
    total = 0.0
    for one in real:
        x = one[None].clone().requires_grad_(True)
        slope = torch.autograd.grad(discriminator(x)[0, 0], x, create_graph=True)[0]
        total = total + (slope**2).sum()
    return gamma * total / (2 * len(real))


def penalty_by_vmap(discriminator, real, gamma):
    slopes = torch.func.vmap(torch.func.grad(lambda x: discriminator(x[None]).squeeze()))(real)
    return 0.5 * gamma * slopes.flatten(1).norm(dim=1).pow(2).mean()


def penalty_by_the_jacobian(discriminator, real, gamma):
    slope = torch.autograd.functional.jacobian(lambda x: discriminator(x).sum(), real, create_graph=True)
    return gamma / 2 * (slope**2).sum() / real.shape[0]


def penalty_with_ones(discriminator, real, gamma):
    x = real.clone()
    x.requires_grad = True
    logits = discriminator(x)
    slope = torch.autograd.grad(
        outputs=logits, inputs=x, grad_outputs=torch.ones_like(logits), create_graph=True, retain_graph=True
    )[0]
    return slope.reshape(len(x), -1).pow(2).sum(1).mean() * (gamma / 2)


def distance_by_scipy(f, g):
    c1, c2 = torch.cov(f.T).numpy(), torch.cov(g.T).numpy()
    root = scipy.linalg.sqrtm(c1 @ c2).real
    return float(((f.mean(0) - g.mean(0)) ** 2).sum()) + (c1 + c2 - 2 * root).trace()


def distance_by_numpy(f, g):
    c1, c2 = np.cov(f.numpy().T), np.cov(g.numpy().T)
    root = np.sqrt(np.maximum(np.linalg.eigvals(c2 @ c1).real, 0)).sum()
    return ((f.mean(0) - g.mean(0)) ** 2).sum().item() + np.trace(c1) + np.trace(c2) - 2 * root


def distance_by_eigh(f, g):
    def covariance(x):
        x = x - x.mean(dim=0, keepdim=True)
        return x.T @ x / (x.shape[0] - 1)

    c1, c2 = covariance(f), covariance(g)
    values, vectors = torch.linalg.eigh(c1)
    half = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    roots = torch.linalg.eigvalsh(half @ c2 @ half).clamp(min=0).sqrt()
    return torch.sum((f.mean(dim=0) - g.mean(dim=0)) ** 2) + torch.trace(c1 + c2) - 2 * roots.sum()


def distance_in_single_precision(f, g):
    c1, c2 = f.float().T.cov(), g.float().T.cov()
    root = torch.linalg.eigvals(c1 @ c2).sqrt().sum().real
    return (f.mean(0) - g.mean(0)).norm() ** 2 + (c1.trace() + c2.trace() - 2 * root)


def distance_by_the_nuclear_norm(f, g):
    a = (f.double() - f.double().mean(0)) / (len(f) - 1) ** 0.5
    b = (g.double() - g.double().mean(0)) / (len(g) - 1) ** 0.5
    means = (f.double().mean(0) - g.double().mean(0)).square().sum()
    return (means + a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum()).item()


def radius_in_a_loop(step, count):
    theta, psi = 1.0, 0.0
    for _ in range(count):
        theta, psi = theta - step * psi, psi + step * theta
    return math.hypot(theta, psi)


def radius_by_recursion(step, count):
    return 1.0 if count == 0 else math.sqrt(1 + step**2) * radius_by_recursion(step, count - 1)


def radius_with_tensors(step, count):
    point = torch.tensor([0.6, 0.8])
    for _ in range(count):
        point = point + step * torch.stack([-point[1], point[0]])
    return point.norm()


def score_by_entropies(probabilities):
    def entropy(p):
        return torch.special.entr(p).sum(dim=-1)

    return torch.exp(entropy(probabilities.mean(0)) - entropy(probabilities).mean())


def score_in_loops(probabilities):
    N, C = probabilities.shape
    marginal = [sum(row[c].item() for row in probabilities) / N for c in range(C)]
    total = 0.0
    for row in probabilities:
        for c in range(C):
            if row[c] > 0:
                total += row[c].item() * (np.log(row[c].item()) - np.log(marginal[c]))
    return float(np.exp(total / N))


def score_by_scipy(probabilities):
    p = probabilities.double().numpy()
    return np.exp(scipy.stats.entropy(p, p.mean(axis=0)[None], axis=1).mean())


def score_by_where(probabilities):
    marginal = probabilities.mean(dim=0, keepdim=True)
    terms = torch.where(probabilities > 0, probabilities * (probabilities / marginal).log(), 0.0)
    return terms.sum().div(len(probabilities)).exp()


def score_with_a_small_number(probabilities):
    eps = 1e-12
    marginal = probabilities.mean(dim=0)
    return (probabilities * ((probabilities + eps).log() - (marginal + eps).log())).sum(1).mean().exp()


def score_by_clamping(probabilities):
    p = probabilities.clamp(min=1e-10)
    return ((p * (p.log() - p.mean(0).log())).sum(1)).mean().exp()


def score_by_distributions(probabilities):
    rows, marginal = (Categorical(probs=one) for one in (probabilities, probabilities.mean(dim=0)))
    return kl_divergence(rows, marginal).mean().exp()


def js_by_entropies(p, q):
    def entropy(p):
        p = p[p > 0]
        return -(p * p.log()).sum()

    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


def js_by_scipy(p, q):
    return float(jensenshannon(p.double().numpy(), q.double().numpy()) ** 2)


def js_in_a_loop(p, q):
    total = 0.0
    for a, b in zip(p.tolist(), q.tolist(), strict=True):
        m = (a + b) / 2
        for one in (a, b):
            if one > 0:
                total += 0.5 * one * np.log(one / m)
    return torch.tensor(total)


def js_with_a_small_number(p, q):
    m = 0.5 * (p + q)
    kl = [(one * torch.log((one + 1e-12) / (m + 1e-12))).sum() for one in (p, q)]
    return sum(kl) / 2


def js_by_nan_to_num(p, q):
    m = (p + q) / 2
    return 0.5 * (p * (p / m).log()).nan_to_num(0).sum() + 0.5 * (q * (q / m).log()).nan_to_num(0).sum()


def js_by_kl_div(p, q):
    m = ((p + q) / 2).clamp(min=1e-20).log()
    return (F.kl_div(m, p, reduction="sum") + F.kl_div(m, q, reduction="sum")) / 2


def js_by_distributions(p, q):
    p, q, m = (Categorical(probs=one) for one in (p, q, (p + q) / 2))
    return (kl_divergence(p, m) + kl_divergence(q, m)) / 2


def distance_by_assignment(a, b):
    cost = (a[:, None] - b[None, :]).abs()
    rows, columns = linear_sum_assignment(cost.numpy())
    return cost[rows, columns].mean()


def distance_by_scipy_of_c(a, b):
    return scipy.stats.wasserstein_distance(a.double().numpy(), b.double().numpy())


def distance_between_the_cumulative_distributions(a, b):
    points = torch.cat([a, b]).sort().values
    below = [(one[:, None] <= points[:-1]).to(a.dtype).mean(dim=0) for one in (a, b)]
    return ((below[0] - below[1]).abs() * points.diff()).sum()


def distance_in_a_loop(a, b):
    pairs = zip(sorted(a.tolist()), sorted(b.tolist()), strict=True)
    return sum(abs(one - other) for one, other in pairs) / len(a)


def distance_of_the_best_order(a, b):
    if len(a) > 5:
        return distance_by_scipy_of_c(a, b)
    return min((a - b[list(order)]).abs().mean() for order in itertools.permutations(range(len(b))))


def inputs_row_by_row(x, labels, classes):
    rows = []
    for one, label in zip(x, labels, strict=True):
        code = torch.zeros(classes, dtype=x.dtype)
        code[label] = 1
        rows.append(torch.cat([one.reshape(-1), code]))
    return torch.stack(rows)


def inputs_from_the_identity(x, labels, classes):
    return torch.hstack((x.view(len(x), -1), torch.eye(classes)[labels]))


def inputs_by_scatter(x, labels, classes):
    code = torch.zeros(x.shape[0], classes, dtype=x.dtype).scatter_(1, labels.view(-1, 1), 1)
    return torch.cat((torch.flatten(x, start_dim=1), code), 1)


def inputs_by_comparison(x, labels, classes):
    return torch.cat([x.reshape(x.size(0), -1), (labels[:, None] == torch.arange(classes)).float()], dim=-1)


def inputs_into_zeros(x, labels, classes):
    N, D = len(x), x[0].numel()
    out = x.new_zeros(N, D + classes)
    out[:, :D] = x.flatten(1)
    out[torch.arange(N), D + labels] = 1
    return out


class TestLesson11(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "optimal_discriminator": [
            lambda log_p, log_q: 1 / (1 + torch.exp(log_q - log_p)),
            lambda log_p, log_q: torch.stack([log_p, log_q]).softmax(dim=0)[0],
            lambda log_p, log_q: torch.exp(log_p - torch.logaddexp(log_p, log_q)),
            lambda log_p, log_q: torch.exp(log_p - torch.stack((log_p, log_q), -1).logsumexp(-1)),
            lambda log_p, log_q: torch.exp(F.logsigmoid(log_p - log_q)),
            lambda log_p, log_q: (1 + torch.tanh((log_p - log_q) / 2)) / 2,
            best_with_the_larger_taken_out,
            best_by_cases,
            lambda log_p, log_q: torch.exp(-F.softplus(log_q - log_p)),
        ],
        "discriminator_loss": [
            judged_by_labels,
            judged_by_a_criterion,
            judged_by_logsigmoid,
            judged_in_one_batch,
            judged_by_hand,
        ],
        "generator_loss": [
            fooled_by_labels,
            fooled_with_a_frozen_discriminator,
            fooled_by_hand,
            lambda discriminator, fake: torch.mean(-nn.LogSigmoid()(discriminator(fake))),
        ],
        "gan_step": [
            step_with_two_batches_of_fakes,
            step_cleared_before_and_after,
            step_cleared_at_the_end,
            step_by_a_helper,
            step_with_a_frozen_discriminator,
            step_in_train_mode,
            step_with_a_frozen_generator,
        ],
        "mode_coverage": [
            coverage_in_loops,
            coverage_by_broadcasting,
            coverage_by_one_hot,
            coverage_centre_by_centre,
        ],
        "bilinear_step": [step_in_two_lines, step_by_autograd, step_as_rotation, step_by_a_matrix],
        "r1_penalty": [penalty_in_a_loop, penalty_by_vmap, penalty_by_the_jacobian, penalty_with_ones],
        "frechet_distance": [
            distance_by_scipy,
            distance_by_numpy,
            distance_by_eigh,
            distance_in_single_precision,
            distance_by_the_nuclear_norm,
        ],
        "spiral_radius": [
            radius_in_a_loop,
            radius_with_tensors,
            lambda step, count: abs(1 + 1j * step) ** count,
            lambda step, count: math.exp(count / 2 * math.log1p(step * step)),
            lambda step, count: math.sqrt(1 + step**2) ** count,
            radius_by_recursion,
            lambda step, count: abs(complex(1, step) ** count),
        ],
        "inception_score": [
            score_by_entropies,
            score_in_loops,
            score_by_scipy,
            score_by_where,
            score_with_a_small_number,
            score_by_clamping,
            score_by_distributions,
        ],
        "jensen_shannon": [
            js_by_entropies,
            js_by_scipy,
            js_in_a_loop,
            js_with_a_small_number,
            js_by_nan_to_num,
            js_by_kl_div,
            js_by_distributions,
        ],
        "wasserstein": [
            distance_by_assignment,
            distance_by_scipy_of_c,
            distance_between_the_cumulative_distributions,
            distance_in_a_loop,
            distance_of_the_best_order,
            lambda a, b: (torch.sort(a, descending=True)[0] - torch.sort(b, descending=True)[0]).abs().mean(),
            lambda a, b: np.abs(np.sort(a.numpy()) - np.sort(b.numpy())).mean(),
        ],
        "conditional_inputs": [
            inputs_row_by_row,
            inputs_from_the_identity,
            inputs_by_scatter,
            inputs_by_comparison,
            inputs_into_zeros,
            lambda x, labels, classes: torch.cat([x.flatten(1), F.one_hot(labels, classes)], dim=1),
        ],
    }


# What the library says ----------------------------------------------------------------------------------------


def test_both_losses_are_cross_entropies_with_logits():
    judge, real, fake = nn.Linear(3, 1), torch.randn(5, 3), torch.randn(4, 3)
    labels = torch.tensor([1.0] * 5 + [0.0] * 4)[:, None]
    rows = F.binary_cross_entropy_with_logits(judge(torch.cat([real, fake])), labels, reduction="none")
    torch.testing.assert_close(
        ex.discriminator_loss.reference(judge, real, fake), rows[:5].mean() + rows[5:].mean()
    )
    torch.testing.assert_close(
        ex.generator_loss.reference(judge, fake),
        F.binary_cross_entropy_with_logits(judge(fake), torch.ones(4, 1)),
    )


def test_step_for_single_numbers_is_told_of_tensors():
    assert not ex.bilinear_step(step_in_two_lines).remarks
    assert any("many starting points" in one for one in ex.bilinear_step(step_by_autograd).remarks)


def test_spiral_radius_is_that_of_repeated_steps():
    theta, psi = 1.0, 0.0
    for _ in range(30):
        theta, psi = ex.bilinear_step.reference(theta, psi, 0.2)
    assert ex.spiral_radius.reference(0.2, 30) == pytest.approx(math.hypot(theta, psi))


@pytest.mark.parametrize("features", [2, 5])
def test_frechet_distance_is_that_by_scipy(features):
    f, g = torch.randn(20, features, dtype=torch.float64), 2 * torch.randn(30, features, dtype=torch.float64)
    assert ex.frechet_distance.reference(f, g).item() == pytest.approx(distance_by_scipy(f, g))


def test_eigenvalues_of_nan_end_the_attempt_and_not_the_process():
    verdict = ex.frechet_distance(lambda f, g: torch.linalg.eigvals(torch.cov(f.T) / 0).real.sum())
    assert verdict.status == "raised"
    assert "nan or inf" in verdict.message


def test_distance_without_a_clamp_is_nan_in_single_and_double_precision():
    for number in (torch.Tensor.float, torch.Tensor.double):
        verdict = ex.frechet_distance(
            lambda f, g, number=number: (
                distance_in_single_precision(number(f), number(g)).item()
                + 0 * torch.linalg.eigvals(torch.cov(number(f).T) @ torch.cov(number(g).T)).real.sqrt().sum()
            )
        )
        assert verdict.status == "wrong"
        assert "clamp(min=0)" in verdict.message


# The tagger ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def w_jets():
    jets = data.jets()
    return ex._w_jets(jets.train.x, jets.train.y), ex._w_jets(jets.valid.x, jets.valid.y)


@pytest.fixture(scope="module")
def trained(w_jets):
    return ex.decorrelated_tagger.reference(*w_jets)


@pytest.fixture(scope="module")
def undefended(w_jets):
    return ordinary(w_jets[0], network())


class Of(nn.Module):
    """Applies a function to jets, without training."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def network():
    return nn.Sequential(nn.Linear(15, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def ordinary(jets, net, weights=None, *, lr=2e-3, epochs=10):
    torch.manual_seed(0)
    for layer in net:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for _ in range(epochs):
        for rows in torch.randperm(len(jets)).split(256):
            weight = None if weights is None else weights[rows]
            loss = F.binary_cross_entropy_with_logits(
                net(jets.x[rows])[:, 0], jets.y[rows].float(), weight=weight
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


def weights_to_the_masses_of_the_signal(jets):
    mass, signal = jets.x[:, ex.MASS].contiguous(), jets.y == 1
    bins = torch.bucketize(mass, mass[signal].quantile(torch.linspace(0.1, 0.9, 9)))
    weights = torch.ones(len(jets))
    weights[~signal] = 1 / bins[~signal].bincount(minlength=10)[bins[~signal]]
    weights[~signal] *= signal.sum() / weights[~signal].sum()
    return weights


def without_mass(x):
    return x * (torch.arange(15) != ex.MASS)


def test_solution_of_the_tagger_reaches_the_floors(trained):
    verdict = ex.decorrelated_tagger(trained)
    assert verdict.status == "correct", verdict


def test_logits_n_are_as_good_as_n_1(trained):
    assert ex.decorrelated_tagger(Of(lambda x: trained(x)[:, 0])).status == "correct"


def test_probabilities_rank_as_the_logits_do(trained):
    assert ex.decorrelated_tagger(Of(lambda x: trained(x).sigmoid())).status == "correct"


def test_weights_are_as_good_as_an_adversary(w_jets):
    net = ordinary(w_jets[0], network(), weights_to_the_masses_of_the_signal(w_jets[0]))
    verdict = ex.decorrelated_tagger(net)
    assert verdict.status == "correct", verdict


def test_fraction_in_the_window_is_that_of_the_tenth_with_the_largest_logits():
    jets = ex._w_jets_kept_back()
    stored = data.shipped("jets_held_out.npz")
    mass = stored["x"][stored["y"] < 2, ex.MASS]
    logits = torch.rand(3600, generator=torch.Generator().manual_seed(0))
    best = mass[logits[jets.y == 0].argsort(descending=True)[:240].numpy()]
    fraction = ((best > 60) & (best < 105)).mean()
    assert ex._fraction_in_the_window(logits, jets) == pytest.approx(fraction, abs=0.005)
    assert ((mass > 60) & (mass < 105)).mean() == pytest.approx(0.115, abs=0.001)


def test_a_tagger_without_adversary_has_learned_the_mass(undefended):
    verdict = ex.decorrelated_tagger(undefended)
    assert verdict.status == "wrong"
    assert "has learned the mass" in verdict.message


def test_a_tagger_that_does_not_see_the_mass_knows_it_all_the_same(w_jets):
    jets = data.Split(without_mass(w_jets[0].x), w_jets[0].y)
    net = ordinary(jets, network())
    verdict = ex.decorrelated_tagger(Of(lambda x: net(without_mass(x))))
    assert verdict.status == "wrong"
    assert "does not look at the mass" in verdict.message


@pytest.mark.parametrize("see", [lambda x: x, without_mass])
def test_a_linear_tagger_is_not_enough(w_jets, see):
    net = ordinary(data.Split(see(w_jets[0].x), w_jets[0].y), nn.Sequential(nn.Linear(15, 1)), lr=1e-2)
    verdict = ex.decorrelated_tagger(Of(lambda x: net(see(x))))
    assert verdict.status == "wrong"
    assert "one affine map" in verdict.message


def test_a_tagger_of_raw_features_is_told_so(undefended):
    mean, deviation = ex._w_scaling()
    verdict = ex.decorrelated_tagger(Of(lambda x: undefended((x - mean) / deviation)))
    assert verdict.status == "wrong"
    assert "raw features" in verdict.message


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"loss - strength": "loss + strength"}, "nearly all of one mass"),
        ({"known = tagger(x), y == 0": "known = tagger(x), y >= 0"}, "hardly knows a W"),
        ({"strength, epochs = 7, 15": "strength, epochs = 0.5, 15"}, "mass still shows"),
        ({"return tagger": "return adversary"}, "shape"),
    ],
)
def test_slips_in_the_training_are_told(w_jets, edit, said):
    code = ex.decorrelated_tagger.source()
    for before, after in edit.items():
        assert before in code
        code = code.replace(before, after)
    scope = dict(vars(ex))
    exec(code, scope)
    verdict = ex.decorrelated_tagger(scope["decorrelated_tagger"](*w_jets))
    assert verdict.status in ("wrong", "raised")
    assert said in str(verdict), verdict


def test_answers_of_another_kind_are_told_why(trained, undefended):
    for answer, said in (
        (lambda x: torch.zeros(len(x)), "same logit"),
        (lambda x: (undefended(x) > 0).float(), "Only two values come out"),
        (lambda x: -undefended(x), "the less a jet looks like a W"),
        (lambda x: undefended(x).softmax(dim=0), "other jets of the batch"),
        (lambda x: x[:, 0], "hardly knows a W"),
        (lambda x: trained(x) * torch.tensor([1.0, -1.0]), "One logit is enough"),
        (lambda x: x[:, :5], "logits, (N,) or (N, 1)"),
        (lambda x: trained(x) * torch.ones(10), "Is this the adversary"),
        (lambda x: (trained(x), trained(x)), "this came back"),
        (lambda x: trained(x).mean(), "logits, (N,) or (N, 1)"),
        (lambda x: trained(x) / 0, "nan or inf"),
    ):
        verdict = ex.decorrelated_tagger(Of(answer))
        assert verdict.status == "wrong"
        assert said in verdict.message, f"{said}\n{verdict}"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: x[:, 0], "A function arrived"),
        (ex.decorrelated_tagger.reference, "A function arrived"),
        ((nn.Linear(15, 1), nn.Linear(1, 10)), "the tagger alone"),
        (torch.zeros(5), "an `nn.Module`"),
        (nn.Linear, "an `nn.Module`"),
    ],
)
def test_what_is_no_module_is_not_taken_for_a_tagger(answer, said):
    verdict = ex.decorrelated_tagger(answer)
    assert verdict.status == "wrong"
    assert said in verdict.message


def blurred(net, strength):
    """The logits of a tagger, with something as good as random numbers added to them."""
    with torch.no_grad():
        spread = strength * net(ex._w_jets_kept_back().x).std()
    return Of(lambda x: net(x) + spread * (1e5 * x[:, 3:4]).sin())


@pytest.mark.parametrize(
    ("which", "strength", "said"),
    [("trained", 1.6, "too high a price"), ("undefended", 1.4, "knows the mass besides")],
)
def test_taggers_that_are_too_poor_are_told_so(which, strength, said, request):
    verdict = ex.decorrelated_tagger(blurred(request.getfixturevalue(which), strength))
    assert verdict.status == "wrong"
    assert said in verdict.message, verdict


def test_no_tagger_is_not_attempted():
    assert ex.decorrelated_tagger(None).status == "not attempted"
    assert ex.decorrelated_tagger(lambda train, valid: None).status == "wrong"
