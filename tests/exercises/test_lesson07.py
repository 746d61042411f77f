import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors
from torch.distributions import Categorical, MixtureSameFamily, Normal

from coursekit.exercises import lesson07 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way ------------------------------------------------------------------


def assign_in_a_loop(x, centroids):
    labels = []
    for point in x:
        squares = [float(((point - centroid) ** 2).sum()) for centroid in centroids]
        labels.append(squares.index(min(squares)))
    return torch.tensor(labels)


def assign_by_expansion(x, centroids):
    x, centroids = x.double(), centroids.double()
    return (centroids.square().sum(1) - 2 * x @ centroids.T).min(1).indices


def centroids_by_one_hot(x, labels, centroids):
    members = F.one_hot(labels, len(centroids)).to(x.dtype)
    counts = members.sum(0).unsqueeze(1)
    return torch.where(counts > 0, members.T @ x / counts.clamp(min=1), centroids)


def centroids_by_index_add(x, labels, centroids):
    sums = torch.zeros_like(centroids).index_add(0, labels, x)
    counts = torch.bincount(labels, minlength=len(centroids))
    new = sums / counts[:, None]
    new[counts == 0] = centroids[counts == 0]
    return new


def responsibilities_by_distributions(x, weights, means, deviations):
    log_p = Normal(means, deviations).log_prob(x.unsqueeze(1)) + torch.log(weights)
    mixture = MixtureSameFamily(Categorical(weights), Normal(means, deviations))
    return torch.exp(log_p - mixture.log_prob(x).unsqueeze(1))


def responsibilities_in_a_loop(x, weights, means, deviations):
    rows = []
    for value in x:
        a = torch.stack(
            [
                torch.log(w / s) - (value - m) ** 2 / (2 * s**2)
                for w, m, s in zip(weights, means, deviations, strict=True)
            ]
        )
        e = torch.exp(a - a.max())
        rows.append(e / e.sum())
    return torch.stack(rows)


def accuracy_by_sorting(positions, labels, k):
    right = 0
    for i, point in enumerate(positions):
        distance = (positions - point).norm(dim=1)
        others = [j for j in distance.argsort().tolist() if j != i][:k]
        right += int(torch.bincount(labels[others]).argmax() == labels[i])
    return right / len(labels)


def accuracy_by_scikit_learn(positions, labels, k):
    _, neighbours = NearestNeighbors(n_neighbors=k).fit(positions.numpy()).kneighbors()
    votes = F.one_hot(labels[torch.from_numpy(neighbours)]).sum(dim=1)
    return (votes.argmax(dim=1) == labels).double().mean()


def entropy_in_a_loop(p):
    rows = [[-float(q) * math.log2(float(q)) for q in row if q > 0] for row in p]
    return torch.tensor([sum(row) for row in rows], dtype=p.dtype)


def sigma_by_root_finding(squared_distances, perplexity):
    d = squared_distances.double() - squared_distances.min()

    def excess(log_sigma):
        p = torch.exp(-d / (2 * math.exp(2 * log_sigma)))
        p = p / p.sum()
        return float(-(p * p.clamp(min=1e-300).log2()).sum()) - math.log2(perplexity)

    return math.exp(brentq(excess, -15, 15, xtol=1e-12))


def sigma_by_doubling(squared_distances, perplexity):
    d = squared_distances - squared_distances.amin()
    beta, low, high = 1.0, 0.0, math.inf  # beta = 1 / 2σ², as in many programs
    for _ in range(200):
        p = torch.softmax(-beta * d, dim=0)
        entropy = Categorical(probs=p).entropy()
        if entropy > math.log(perplexity):
            low = beta
            beta = beta * 2 if high == math.inf else (beta + high) / 2
        else:
            high = beta
            beta = (beta + low) / 2
    return torch.tensor(1 / math.sqrt(2 * beta))


def halved(row, high=1e6, steps=100):
    """A search in a bracket from 0, with a row of its own."""

    def attempt(squared_distances, perplexity):
        low, top = 0.0, high
        for _ in range(steps):
            sigma = (low + top) / 2
            p = row(squared_distances, sigma)
            low, top = (low, sigma) if 2 ** float(entropy_in_a_loop(p[None])) > perplexity else (sigma, top)
        return sigma

    return attempt


def sigma_from_zero(squared_distances, perplexity):
    return halved(lambda d, sigma: torch.softmax(-d / (2 * sigma**2), dim=0))(squared_distances, perplexity)


def symmetric_in_a_loop(conditional):
    count = len(conditional)
    result = torch.empty_like(conditional)
    for i in range(count):
        for j in range(count):
            result[i, j] = (conditional[i, j] + conditional[j, i]) / 2 / count
    return result


def q_by_cdist(y):
    squared = torch.from_numpy(cdist(y.double().numpy(), y.double().numpy(), "sqeuclidean"))
    w = 1 / (1 + squared)
    w[range(len(y)), range(len(y))] = 0
    return (w / w.sum()).to(y.dtype)


def q_in_a_loop(y):
    w = torch.zeros(len(y), len(y), dtype=y.dtype)
    for i in range(len(y)):
        for j in range(len(y)):
            if i != j:
                w[i, j] = 1 / (1 + torch.dist(y[i], y[j]) ** 2)
    return w / w.sum()


def gradient_by_autograd(p, y):
    y = y.clone().requires_grad_()
    w = 1 / (1 + (y[:, None] - y[None]).square().sum(2))
    w = w * (1 - torch.eye(len(y), dtype=y.dtype))
    off = ~torch.eye(len(y), dtype=torch.bool)
    q = (w / w.sum())[off]
    (torch.xlogy(p[off], p[off]) - p[off] * q.log()).sum().backward()
    return y.grad


def gradient_in_two_products(p, y):
    q = q_by_cdist(y)
    w = 1 / (1 + (y[:, None] - y[None]).square().sum(2))
    force = (p - q) * w
    return 4 * (force.sum(1).diag() - force) @ y


def gradient_in_a_loop(p, y):
    gradient, q = torch.zeros_like(y), q_by_cdist(y)
    for i in range(len(y)):
        for j in range(len(y)):
            arrow = y[i] - y[j]
            gradient[i] += 4 * (p[i, j] - q[i, j]) / (1 + arrow @ arrow) * arrow
    return gradient


class TestLesson07(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "assign_clusters": [
            assign_in_a_loop,
            assign_by_expansion,
            lambda x, c: torch.from_numpy(np.argmin(cdist(x.numpy(), c.numpy()), axis=1)),
        ],
        "update_centroids": [centroids_by_one_hot, centroids_by_index_add],
        "responsibilities": [
            responsibilities_by_distributions,
            responsibilities_in_a_loop,
            lambda x, w, m, s: torch.softmax(Normal(m, s).log_prob(x[:, None]) + w.log(), dim=1),
        ],
        "knn_accuracy": [accuracy_by_sorting, accuracy_by_scikit_learn],
        "entropy_bits": [
            entropy_in_a_loop,
            lambda p: Categorical(probs=p).entropy() / math.log(2),
            lambda p: -(p * (p + 1e-12).log2()).sum(-1),
            lambda p: torch.special.entr(p).sum(dim=1) / math.log(2),
            lambda p: -(p * p.log2()).nan_to_num().sum(dim=1),
        ],
        "perplexity_sigma": [sigma_by_root_finding, sigma_by_doubling, sigma_from_zero],
        "symmetric_p": [symmetric_in_a_loop, lambda c: (c + c.T) / (c + c.T).sum()],
        "student_q": [q_by_cdist, q_in_a_loop],
        "tsne_gradient": [gradient_by_autograd, gradient_in_two_products, gradient_in_a_loop],
    }
    equivalent = {  # noqa: RUF012
        "perplexity_sigma": [
            "line 7: 100000000.0 -> 100000001.0",  # the end of a bracket
            "line 8: 60 -> 61",  # another halving
        ],
    }


def test_mistakes_in_the_width_are_recognized_in_any_bracket():
    for row, words in {
        lambda d, sigma: torch.softmax(-d / sigma**2, dim=0): "The 2 in the exponent is missing",
        lambda d, sigma: torch.softmax(-d / (2 * sigma), dim=0): "That is σ²",
        lambda d, sigma: torch.ones_like(d) / len(d): "the lower end of its bracket",  # always too wide
    }.items():
        verdict = ex.perplexity_sigma(halved(row))
        assert verdict.status == "wrong"
        assert words in verdict.message
    assert "stops too early" in ex.perplexity_sigma(_until_the_perplexity_is_near).message


def scaled(reached):
    """A search in a bracket scaled to the data, where `reached(p)` is compared with the perplexity."""

    def attempt(squared_distances, perplexity):
        d = squared_distances.double()
        low, high = 1e-8 * d.max().sqrt().item(), 1e8 * d.max().sqrt().item()
        for _ in range(120):
            sigma = math.sqrt(low * high)
            wide = reached(torch.softmax(-d / (2 * sigma**2), dim=0)) > perplexity
            low, high = (low, sigma) if wide else (sigma, high)
        return sigma

    return attempt


@pytest.mark.parametrize(
    ("reached", "words"),
    [
        (lambda p: float(Categorical(probs=p).entropy()), "The entropy itself is compared"),
        (lambda p: 2 ** -float((p * (p + 1e-4).log2()).sum()), "The small number inside the logarithm"),
    ],
)
def test_mistakes_in_the_perplexity_are_recognized_in_a_bracket_scaled_to_the_data(reached, words):
    assert words in ex.perplexity_sigma(scaled(reached)).message


def test_search_too_coarse_for_one_input_is_not_told_a_lucky_change():
    coarse = halved(lambda d, sigma: torch.softmax(-d / (2 * sigma**2), dim=0), high=1e3, steps=30)
    assert "Where all distances are tiny" in ex.perplexity_sigma(coarse).message


def _until_the_perplexity_is_near(squared_distances, perplexity):
    low, high = 1e-9, 1e9
    while True:
        sigma = math.sqrt(low * high)
        p = torch.softmax(-squared_distances / (2 * sigma**2), dim=0)
        reached = math.exp(float(Categorical(probs=p).entropy()))
        if abs(reached - perplexity) < 1e-2:
            return sigma
        low, high = (low, sigma) if reached > perplexity else (sigma, high)


def test_dropping_the_first_neighbour_is_wrong_where_two_points_coincide():
    def attempt(positions, labels, k):
        nearest = torch.cdist(positions, positions).argsort(dim=1)[:, 1 : k + 1]
        return (labels[nearest].mode(dim=1).values == labels).float().mean()

    verdict = ex.knn_accuracy(attempt)
    assert verdict.status == "wrong"
    assert "*twins with different labels*" in str(verdict.message)


LOOPS = {
    "entropy_bits": entropy_in_a_loop,
    "student_q": q_in_a_loop,
    "tsne_gradient": gradient_in_a_loop,
    "assign_clusters": assign_in_a_loop,
}


@pytest.mark.parametrize("name", LOOPS)
def test_loop_in_python_is_right_and_replaced(name, capsys):
    exercise = getattr(ex, name)
    verdict = exercise(LOOPS[name])
    assert verdict.status == "correct"
    assert "ten times as long" in verdict.message
    assert exercise.or_solution(LOOPS[name]) is exercise.reference


@pytest.mark.parametrize(
    ("name", "attempt"),
    [
        ("knn_accuracy", accuracy_by_scikit_learn),
        ("entropy_bits", lambda p: -(p * (p + 1e-12).log2()).sum(-1)),
        ("tsne_gradient", gradient_in_two_products),
        ("assign_clusters", assign_by_expansion),
    ],
)
def test_tables_written_otherwise_are_used(name, attempt):
    assert getattr(ex, name).or_solution(attempt) is attempt
