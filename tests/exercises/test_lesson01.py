import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from coursekit.exercises import lesson01 as ex
from tests.exercises.contract import Contract


def cosine_in_a_loop(x, y):
    result = []
    for row in x:
        lengths = row.norm() * y.norm()
        result.append((row @ y / lengths).item() if lengths > 0 else 0.0)
    return torch.tensor(result, dtype=x.dtype)


def distances_by_einsum(x, y):
    difference = x.unsqueeze(1) - y.unsqueeze(0)
    return torch.einsum("nmd,nmd->nm", difference, difference) ** 0.5


def matvec_in_place(A, x):
    total = torch.zeros_like(A[:, 0])
    for weight, column in zip(x, A.T, strict=True):
        total += weight * column
    return total


def rotation_from_columns(angle):
    first = torch.tensor([torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))])
    second = torch.stack([-first[1], first[0]])
    return torch.column_stack([first, second])


def project_and_reflect_by_columns(u):
    columns = [(e @ u) / (u @ u) * u for e in torch.eye(len(u), dtype=u.dtype)]
    P = torch.stack(columns, dim=1)
    return [P, P - (torch.eye(len(u), dtype=u.dtype) - P)]


def project_and_reflect_by_unit_vector(u):
    e = F.normalize(u, dim=0)[:, None]
    return e @ e.T, 2 * e * e.T - torch.eye(len(u))


def project_and_reflect_in_loops(u):
    P, R = torch.zeros(len(u), len(u), dtype=u.dtype), torch.zeros(len(u), len(u), dtype=u.dtype)
    for i in range(len(u)):
        for j in range(len(u)):
            P[i, j] = u[i] * u[j] / u.dot(u)
            R[i, j] = 2 * P[i, j] - float(i == j)
    return P, R


def line_by_lstsq(x, y):
    A = torch.stack([x, torch.ones_like(x)], dim=1)
    slope, intercept = torch.linalg.lstsq(A, y[:, None]).solution[:, 0]
    return slope.item(), intercept.item()


def line_by_normal_equations(x, y):
    A = torch.stack([torch.ones_like(x), x], dim=1)
    intercept, slope = torch.linalg.solve(A.T @ A, A.T @ y)
    return [slope, intercept]


def pca_by_svd(x, k):
    _, singular, rows = torch.linalg.svd(x - x.mean(0, keepdim=True), full_matrices=False)
    return rows[:k], (singular**2 / (x.shape[0] - 1))[:k]


def pca_by_cov(x, k):
    variances, vectors = torch.linalg.eigh(torch.cov(x.T))
    order = variances.argsort(descending=True)[:k]
    return [vectors.T[order], variances[order]]


def pca_by_scikit_learn(x, k):
    fitted = PCA(k).fit(x.numpy())
    return torch.from_numpy(fitted.components_), torch.from_numpy(fitted.explained_variance_)


def pca_by_lowrank(x, k):
    _, singular, vectors = torch.pca_lowrank(x, k)
    return vectors.T, singular**2 / (len(x) - 1)


def cosine_in_numpy(x, y):
    x, y = x.numpy(), y.numpy()
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y)
    return torch.from_numpy(np.divide(x @ y, lengths, out=np.zeros_like(lengths), where=lengths > 0))


def kl_of_the_possible(p, q):
    some = p > 0
    return (p[some] * (p[some].log() - q[some].log())).sum()


def kl_in_a_loop(p, q):
    total = 0.0
    for one, other in zip(p.tolist(), q.tolist(), strict=True):
        if one > 0:
            total += math.inf if other == 0 else one * math.log(one / other)
    return total


class TestLesson01(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "cosine_similarity": [
            cosine_in_a_loop,
            cosine_in_numpy,
            lambda x, y: F.cosine_similarity(x, y[None], dim=1),
            lambda x, y: torch.einsum("nd,d->n", F.normalize(x, dim=1), y / y.norm()),
            lambda x, y: (x * y).sum(dim=1) / ((x * x).sum(dim=1).sqrt() * y.norm() + 1e-12),
        ],
        "rotation": [
            rotation_from_columns,
            lambda a: torch.linalg.matrix_exp(a * torch.tensor([[0.0, -1.0], [1.0, 0.0]])),
        ],
        "project_and_reflect": [
            project_and_reflect_by_columns,
            project_and_reflect_by_unit_vector,
            project_and_reflect_in_loops,
            lambda u: (
                torch.einsum("i,j->ij", u, u) / u.norm() ** 2,
                torch.einsum("i,j->ij", u, u) / (0.5 * u.norm() ** 2) - torch.diag(torch.ones_like(u)),
            ),
        ],
        "fit_line": [
            line_by_lstsq,
            line_by_normal_equations,
            lambda x, y: tuple(np.polyfit(x.numpy(), y.numpy(), 1)),
        ],
        "pca": [pca_by_svd, pca_by_cov],
        "pairwise_distances": [
            torch.cdist,
            lambda x, y: torch.stack([(x - row).norm(dim=1) for row in y], dim=1),
            distances_by_einsum,
            lambda x, y: (x[:, None] - y[None]).pow(2).sum(-1).sqrt(),
        ],
        "matvec_by_columns": [
            matvec_in_place,
            lambda A, x: sum(x[j] * A[:, j] for j in range(len(x))),
            lambda A, x: (A * x).sum(dim=1),
            torch.mv,
        ],
        "standard_error": [
            lambda x: (x.var() / x.numel()).sqrt(),
            lambda x: (((x - x.mean()) ** 2).sum() / (len(x) - 1) / len(x)).item() ** 0.5,
        ],
        "gaussian_nll": [
            lambda x, mu, sigma: -torch.distributions.Normal(mu, sigma).log_prob(x).mean(),
            lambda x, mu, sigma: (
                sum(
                    (v - mu) ** 2 / sigma**2 / 2 + math.log(sigma * math.sqrt(2 * math.pi))
                    for v in x.tolist()
                )
                / len(x)
            ),
        ],
        "kl_divergence": [
            kl_in_a_loop,
            lambda p, q: torch.where(p > 0, p * (p / q).log(), 0).sum(),
            kl_of_the_possible,
        ],
    }
    equivalent = {}  # noqa: RUF012


def test_loop_over_ten_thousand_digits_is_remarked():
    fast, slow = ex.cosine_similarity(cosine_in_numpy), ex.cosine_similarity(cosine_in_a_loop)
    assert fast.status == slow.status == "correct"
    assert "you loop over the rows" not in fast.message
    assert "you loop over the rows" in slow.message


def test_large_detour_of_pairwise_distances_is_remarked():
    small = ex.pairwise_distances(torch.cdist)
    large = ex.pairwise_distances(lambda x, y: (x[:, None] - y).norm(dim=2))
    assert small.status == large.status == "correct"
    assert "172 GB" not in small.message
    assert "172 GB" in large.message
    assert round(1000 * 55_000 * 784 * 4 / 1e9) == 172


def test_distance_of_pytorch_with_broadcasting_is_no_small_one():
    with ex._Watch() as watch:
        F.pairwise_distance(torch.ones(5, 1, 7), torch.ones(1, 6, 7))
    assert watch.elements == 5 * 6 * 7


@pytest.mark.parametrize(
    "product", [lambda A, x: A @ x, torch.mv, lambda A, x: torch.einsum("md,d->m", A, x)]
)
def test_product_ready_made_is_remarked(product):
    verdict = ex.matvec_by_columns(product)
    assert verdict.status == "correct"
    assert "PyTorch's own product" in verdict.message


@pytest.mark.parametrize("ready_made", [pca_by_scikit_learn, pca_by_lowrank])
def test_pca_ready_made_is_rejected(ready_made):
    verdict = ex.pca(ready_made)
    assert verdict.status == "wrong"
    assert "That is a ready-made PCA" in verdict.message


def test_solutions_agree_with_the_libraries():
    from scipy import stats

    x = torch.randn(50, 4, dtype=torch.float64)
    components, variances = ex.pca.reference(x, 4)
    fitted = PCA().fit(x.numpy())
    torch.testing.assert_close(variances, torch.from_numpy(fitted.explained_variance_))
    torch.testing.assert_close(components.abs(), torch.from_numpy(fitted.components_).abs())
    assert ex.standard_error.reference(x[:, 0]).item() == pytest.approx(stats.sem(x[:, 0].numpy()))
    p, q = torch.softmax(x[:2], dim=1)
    assert ex.kl_divergence.reference(p, q).item() == pytest.approx(stats.entropy(p.numpy(), q.numpy()))
    expected = -stats.norm(0.3, 2).logpdf(x[:, 0].numpy()).mean()
    assert ex.gaussian_nll.reference(x[:, 0], 0.3, 2.0).item() == pytest.approx(expected)
    line = stats.linregress(x[:, 0].numpy(), x[:, 1].numpy())
    slope, intercept = ex.fit_line.reference(x[:, 0], x[:, 1])
    assert (slope.item(), intercept.item()) == pytest.approx((line.slope, line.intercept))
