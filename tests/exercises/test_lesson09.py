import itertools
import random
from collections import Counter

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import kneighbors_graph
from torch import nn

from coursekit import data
from coursekit.exercises import lesson09 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way ------------------------------------------------------------------


def invariant_over_all_orders(f, x):
    before = f(x)
    orders = itertools.permutations(range(len(x)))
    return all(torch.allclose(f(x[list(order)]), before, rtol=0, atol=1e-4) for order in orders)


def invariant_with_a_seed(f, x):
    torch.manual_seed(42)
    return not any(((f(x) - f(x[torch.randperm(x.shape[0])])).abs() >= 1e-4).any() for _ in range(20))


def invariant_with_numpy(f, x):
    rng = np.random.default_rng(0)
    changes = [np.abs((f(x[rng.permutation(len(x))]) - f(x)).numpy()).max() for _ in range(20)]
    return max(changes) < 1e-4


def invariant_with_a_counter(f, x):
    agree = 0
    for _ in range(20):
        rows = list(range(len(x)))
        random.shuffle(rows)
        agree += int(torch.isclose(f(x[rows]), f(x), rtol=0, atol=1e-4).all())
    return torch.tensor(agree == 20)


def equivariant_over_all_orders(f, x):
    for order in itertools.permutations(range(len(x))):
        order = list(order)
        if not torch.allclose(f(x[order]), f(x)[order], rtol=0, atol=1e-4):
            return False
    return True


def equivariant_by_the_inverse(f, x):
    changes = []
    for _ in range(20):
        order = torch.randperm(len(x))
        changes.append((f(x[order])[order.argsort()] - f(x)).abs().max() < 1e-4)
    return bool(torch.stack(changes).all())


def equivariant_with_matrices(f, x):
    for seed in range(20):
        torch.manual_seed(seed)
        P = torch.eye(len(x))[torch.randperm(len(x))]
        if torch.any(torch.abs(f(P @ x) - P @ f(x)) > 1e-4):
            return False
    return True


def linear_by_the_library(x, W, V, b):
    return F.linear(x, W, b) + F.linear(x.mean(1), V).unsqueeze(1)


def linear_in_a_loop(x, W, V, b):
    jets = []
    for jet in x:
        mean = jet.sum(dim=0) / len(jet)
        jets.append(torch.stack([W @ particle + V @ mean + b for particle in jet]))
    return torch.stack(jets)


def linear_by_einsum(x, W, V, b):
    return torch.einsum("nid,hd->nih", x, W) + torch.einsum("nid,hd->nh", x, V)[:, None] / x.shape[1] + b


def mask_in_loops(x):
    return torch.tensor([[bool(row[0] > 0) for row in jet] for jet in x])


def sets_jet_by_jet(x, mask, phi, rho):
    return rho(torch.stack([phi(jet[real]).sum(dim=0) for jet, real in zip(x, mask, strict=True)]))


def sets_by_where(x, mask, phi, rho):
    h = phi(x)
    return rho(torch.where(mask[..., None], h, torch.zeros_like(h)).sum(-2))


def sets_by_product(x, mask, phi, rho):
    return rho((mask.to(x.dtype).unsqueeze(1) @ phi(x)).squeeze(1))


def sets_as_one_list(x, mask, phi, rho):
    h = phi(x[mask])
    pooled = h.new_zeros(len(x), h.shape[1]).index_add(0, mask.nonzero()[:, 0], h)
    return rho(pooled)


def messages_in_a_loop(h, edges):
    out = torch.zeros_like(h)
    for i, j in edges:
        out[i] += h[j]
        out[j] += h[i]
    return out


def messages_by_a_matrix(h, edges):
    A = torch.zeros(len(h), len(h), dtype=h.dtype)
    A[edges[:, 0], edges[:, 1]] = 1
    return (A + A.T) @ h


def messages_in_two_lines(h, edges):
    i, j = edges.unbind(1)
    return torch.zeros_like(h).index_add_(0, i, h[j]).index_add_(0, j, h[i])


def messages_by_scatter(h, edges):
    both = torch.cat([edges, edges[:, [1, 0]]])
    index = both[:, 1:].expand(-1, h.shape[1])
    return torch.zeros_like(h).scatter_add(0, index, h[both[:, 0]])


def messages_by_lists(h, edges):
    around = [[] for _ in h]
    for i, j in edges.tolist():
        around[i].append(j)
        around[j].append(i)
    return torch.stack([h[one].sum(dim=0) for one in around])


def gcn_by_matrices(A):
    A = A + torch.eye(A.shape[0], dtype=A.dtype)
    root = torch.diag(1 / A.sum(1).sqrt())
    return root @ A @ root


def gcn_by_outer_product(A):
    looped = A.clone()
    looped.fill_diagonal_(1.0)
    degrees = looped.sum(dim=0)
    return looped / torch.outer(degrees, degrees).sqrt()


def gcn_in_loops(A):
    looped = A + torch.eye(len(A)).to(A)
    degrees = [row.sum() for row in looped]
    S = torch.zeros_like(A)
    for i, j in itertools.product(range(len(A)), repeat=2):
        S[i, j] = looped[i, j] / (degrees[i] * degrees[j]) ** 0.5
    return S


def pool_in_a_loop(h, jet, count):
    out = torch.zeros(count, h.shape[1], dtype=h.dtype)
    for row, number in zip(h, jet, strict=True):
        out[number] += row
    return out


def pool_by_masks(h, jet, count):
    return torch.stack([h[jet == number].sum(dim=0) for number in range(count)])


def pool_by_one_hot(h, jet, count):
    return F.one_hot(jet, count).to(h).T @ h


def pool_by_scatter(h, jet, count):
    return h.new_zeros(count, h.size(1)).scatter_add_(0, jet[:, None].expand_as(h), h)


def axes_jet_by_jet(z, direction):
    turned = torch.zeros_like(direction)
    for jet in range(len(z)):
        real = z[jet] > 0
        d, w = direction[jet][real], z[jet][real]
        d = d - (w[:, None] * d).sum(0) / w.sum()
        covariance = sum(weight * torch.outer(one, one) for weight, one in zip(w, d, strict=True)) / w.sum()
        values, vectors = torch.linalg.eigh(covariance)
        order = values.argsort(descending=True)
        turned[jet, real] = d @ vectors[:, order]
    return turned


def axes_by_svd(z, direction):
    weight = z[..., None] / z.sum(dim=1)[:, None, None]
    centred = torch.where(z[..., None] > 0, direction - (weight * direction).sum(1, keepdim=True), 0)
    _, _, rows = torch.linalg.svd(weight.sqrt() * centred, full_matrices=False)
    return centred @ rows.mT


def axes_by_the_angle(z, direction):
    """The angle of the first axis from the entries of the covariance."""
    mean = torch.einsum("ni,nid->nd", z, direction) / z.sum(1, keepdim=True)
    x, y = ((direction - mean[:, None]) * (z > 0)[..., None]).unbind(-1)
    xx, xy, yy = (z * x * x).sum(1), (z * x * y).sum(1), (z * y * y).sum(1)
    angle = torch.atan2(2 * xy, xx - yy)[:, None] / 2
    return torch.stack([x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()], dim=-1)


def flow_by_einsum(z, direction, phi):
    return torch.einsum("ni,nih->nh", z, phi(direction))


def flow_by_product(z, direction, phi):
    return (z[:, None] @ phi(direction))[:, 0]


def flow_in_loops(z, direction, phi):
    rows = []
    for weights, jet in zip(z, direction, strict=True):
        rows.append(sum(weight * phi(one) for weight, one in zip(weights, jet, strict=True)))
    return torch.stack(rows)


def colours_as_text(colours, neighbours):
    return [f"{colours[v]}<{sorted(str(colours[u]) for u in neighbours[v])}>" for v in range(len(colours))]


def colours_as_hashes(colours, neighbours):
    new = []
    for own, around in zip(colours, neighbours, strict=True):
        new.append(hash((own, tuple(sorted(colours[u] for u in around)))))
    return new


def colours_with_counts(colours, neighbours):
    return [
        (colour, frozenset(Counter(colours[u] for u in around).items()))
        for colour, around in zip(colours, neighbours, strict=True)
    ]


def colours_as_lists(colours, neighbours):
    return [[colours[v], *sorted(colours[u] for u in neighbours[v])] for v in range(len(neighbours))]


_PALETTE = {}


def colours_from_one_palette(colours, neighbours):
    new = []
    for v, around in enumerate(neighbours):
        signature = colours[v], tuple(sorted(colours[u] for u in around))
        new.append(_PALETTE.setdefault(signature, len(_PALETTE)))
    return new


def nearest_by_sorting(points, mask, k):
    squares = ((points[:, :, None] - points[:, None]) ** 2).sum(-1)
    squares = torch.where(mask[:, None, :], squares, torch.inf)
    squares.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return squares.argsort(dim=-1)[:, :, :k]


def nearest_in_loops(points, mask, k):
    N, n, _ = points.shape
    index = torch.zeros(N, n, k, dtype=torch.int64)
    for jet, i in mask.nonzero().tolist():
        others = [j for j in range(n) if j != i and mask[jet, j]]
        others.sort(key=lambda j: torch.dist(points[jet, i], points[jet, j]).item())
        index[jet, i] = torch.tensor(others[:k])
    return index


def nearest_with_large_numbers(points, mask, k):
    distance = torch.cdist(points, points) + 1e6 * torch.eye(points.shape[1]).to(points)
    distance = distance + 1e6 * (~mask)[:, None, :]
    return torch.topk(-distance, k).indices


def edges_by_gather(x, index, h):
    N, n, k = index.shape
    flat = index.reshape(N, n * k, 1).expand(-1, -1, x.shape[2])
    other = x.gather(1, flat).view(N, n, k, -1)
    own = x[:, :, None].repeat(1, 1, k, 1)
    return torch.max(h(torch.cat((own, other - own), -1)), dim=2).values


def edges_in_loops(x, index, h):
    jets = []
    for jet, around in zip(x, index, strict=True):
        rows = []
        for own, others in zip(jet, around, strict=True):
            messages = torch.stack([h(torch.cat([own, jet[j] - own])) for j in others])
            rows.append(messages.max(dim=0)[0])
        jets.append(torch.stack(rows))
    return torch.stack(jets)


def edges_neighbour_by_neighbour(x, index, h):
    best = None
    for j in index.unbind(-1):
        other = torch.stack([jet[one] for jet, one in zip(x, j, strict=True)])
        m = h(torch.cat([x, other - x], dim=2))
        best = m if best is None else torch.maximum(best, m)
    return best


class TestLesson09(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "is_invariant": [
            invariant_over_all_orders,
            invariant_with_a_seed,
            invariant_with_numpy,
            invariant_with_a_counter,
        ],
        "is_equivariant": [
            equivariant_over_all_orders,
            equivariant_by_the_inverse,
            equivariant_with_matrices,
        ],
        "equivariant_linear": [linear_by_the_library, linear_in_a_loop, linear_by_einsum],
        "mask_of": [
            mask_in_loops,
            lambda x: (x != 0).any(dim=-1),
            lambda x: x[:, :, 0] != 0,
            lambda x: x[..., 0].bool(),
            lambda x: x.abs().sum(-1) > 0,
        ],
        "deep_set": [sets_jet_by_jet, sets_by_where, sets_by_product, sets_as_one_list],
        "messages": [
            messages_in_a_loop,
            messages_by_a_matrix,
            messages_in_two_lines,
            messages_by_scatter,
            messages_by_lists,
        ],
        "gcn_matrix": [gcn_by_matrices, gcn_by_outer_product, gcn_in_loops],
        "pool_by_jet": [pool_in_a_loop, pool_by_masks, pool_by_one_hot, pool_by_scatter],
        "turn_to_axes": [axes_jet_by_jet, axes_by_svd, axes_by_the_angle],
        "energy_flow": [flow_by_einsum, flow_by_product, flow_in_loops],
        "wl_colours": [
            colours_as_text,
            colours_as_hashes,
            colours_with_counts,
            colours_as_lists,
            colours_from_one_palette,
        ],
        "nearest": [nearest_by_sorting, nearest_in_loops, nearest_with_large_numbers],
        "edge_conv": [edges_by_gather, edges_in_loops, edges_neighbour_by_neighbour],
    }
    equivalent = {  # noqa: RUF012
        "is_invariant": ["line 6: 20 -> 21"],  # orders
        "is_equivariant": ["line 6: 20 -> 21"],
    }


# What the libraries say ---------------------------------------------------------------------------------------


def test_gcn_matrix_is_the_identity_minus_the_laplacian_with_loops():
    club = nx.karate_club_graph()
    A = torch.tensor(nx.to_numpy_array(club, weight=None), dtype=torch.float64)
    club.add_edges_from((member, member) for member in list(club))
    laplacian = torch.tensor(nx.normalized_laplacian_matrix(club, weight=None).toarray())
    torch.testing.assert_close(ex.gcn_matrix.reference(A), torch.eye(34, dtype=torch.float64) - laplacian)


def test_nearest_are_those_of_scikit_learn():
    points = torch.rand(1, 12, 2, dtype=torch.float64)
    index = ex.nearest.reference(points, torch.ones(1, 12, dtype=torch.bool), 3)[0]
    theirs = torch.tensor(kneighbors_graph(points[0].numpy(), 3).toarray())
    torch.testing.assert_close(torch.zeros_like(theirs).scatter(1, index, 1.0), theirs)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)), True),
        (nx.path_graph(4), nx.star_graph(3), False),
    ],
)
def test_colour_refinement_agrees_with_networkx(one, other, alike):
    found = []
    for graph in (one, other):
        colours = [0] * len(graph)
        for _ in range(2):
            colours = ex.wl_colours.reference(colours, [list(graph[v]) for v in graph])
        found.append(Counter(colours))
    hashes = []
    for graph in (one, other):
        nx.set_node_attributes(graph, "0", "colour")
        hashes.append(nx.weisfeiler_lehman_graph_hash(graph, node_attr="colour", iterations=2))
    assert (found[0] == found[1]) == (hashes[0] == hashes[1]) == alike


def test_sums_that_nearly_cancel_differ_by_more_than_allclose_and_less_than_the_tolerance():
    for x in (ex._CANCELLING, ex._LARGE):
        changes = [
            (x[list(order)].sum(0) - x.sum(0)).abs().max().item()
            for order in itertools.permutations(range(6))
        ]
        assert 1e-6 < max(changes) < 5e-5


# The tagger ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    jets = data.jet_particles()
    return ex.set_tagger.reference(jets.train, jets.valid)


class OfSet(nn.Module):
    """Applies a function to jets, without training."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def test_solution_of_the_tagger_reaches_the_floors(trained):
    verdict = ex.set_tagger(trained)
    assert verdict.status == "correct", verdict


def test_a_network_that_sees_the_order_is_wrong_in_spite_of_its_scores(trained):
    def answer(x):  # a little of the order: the jets whose third particle is harder than the second
        return trained(x) + 5 * (x[:, 2, :1] > x[:, 1, :1]) * torch.eye(5)[0]

    verdict = ex.set_tagger(OfSet(answer))
    assert verdict.status == "wrong"
    assert "depends on the order" in verdict.message


def test_sorting_the_particles_inside_is_no_dependence_on_their_order(trained):
    def answer(x):
        order = x[..., :1].argsort(dim=1, descending=True, stable=True)
        return trained(x.gather(1, order.expand_as(x)))

    assert ex.set_tagger(OfSet(answer)).status == "correct"


def some_class(scores):
    return lambda x: scores(x)[:, None] * torch.tensor([1.0, -1.0, 0.5, -0.5, 0.0])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: x.flatten(1)[:, :5], "depends on the order"),
        (lambda x: torch.eye(5)[torch.zeros(len(x), dtype=torch.int64)], "one kind"),
        (some_class(lambda x: x[..., 1].sum(dim=1)), "guessing"),
        (lambda x: x[:, 0], "logits of shape"),
        (lambda x: x.flatten(1)[:, :5] / 0, "nan or inf"),
    ],
)
def test_networks_that_cannot_tell_jets_are_told_why(answer, said):
    verdict = ex.set_tagger(OfSet(answer))
    assert verdict.status == "wrong"
    assert said in verdict.message


def test_no_network_is_not_attempted():
    assert ex.set_tagger(None).status == "not attempted"
    assert ex.set_tagger(lambda train, valid: None).status == "wrong"
