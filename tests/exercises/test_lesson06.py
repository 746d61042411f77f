import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coursekit.exercises import lesson06 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way ------------------------------------------------------------------


def error_by_projection(x, k):
    centred = x - x.mean(0, keepdim=True)
    axes = torch.linalg.svd(centred, full_matrices=True)[2][:k]  # (k, D)
    rebuilt = torch.zeros_like(centred)
    for axis in axes:
        rebuilt += (centred @ axis).unsqueeze(1) * axis
    return ((centred - rebuilt) ** 2).sum(1).mean()


def error_by_eigenvalues(x, k):
    variances = torch.linalg.eigvalsh(torch.cov(x.double().T, correction=0)).flip(0)
    return float(variances[k:].clamp(min=0).sum())


def error_of_scikit_learn(x, k):
    from sklearn.decomposition import PCA

    pca = PCA(k).fit(x.numpy())
    rebuilt = torch.from_numpy(pca.inverse_transform(pca.transform(x.numpy())))
    return (x - rebuilt).square().sum(dim=1).mean()


def encode_decode_in_a_loop(x, W1, b1, W2, b2):
    codes = [W1 @ picture.reshape(-1) + b1 for picture in x]
    pictures = [(1 / (1 + torch.exp(-(W2 @ z + b2)))).reshape(x.shape[1:]) for z in codes]
    return torch.stack(codes), torch.stack(pictures)


def encode_decode_functional(x, W1, b1, W2, b2):
    z = F.linear(torch.flatten(x, start_dim=1), W1, b1)
    return [z, F.linear(z, W2, b2).sigmoid().reshape(len(x), 1, *x.shape[2:])]


def noise_from_a_distribution(x, sigma):
    return torch.clip(x + torch.distributions.Normal(0.0, 1.0).sample(x.shape).to(x) * sigma, 0, 1)


def noise_from_a_generator(x, sigma):
    noisy = x.clone()
    noisy += torch.empty_like(x).normal_(0, 1) * sigma
    return torch.minimum(torch.maximum(noisy, torch.zeros_like(x)), torch.ones_like(x))


def noise_by_torch_normal(x, sigma):
    return torch.normal(x, float(sigma)).clamp_(0.0, 1.0)


def scores_in_a_loop(model, x):
    model.train(False)
    with torch.no_grad():
        return torch.stack([((model(one[None]) - one[None]) ** 2).sum() for one in x])


def scores_by_the_library(model, x):
    return F.mse_loss(model.eval()(x), x, reduction="none").reshape(len(x), -1).sum(-1)


def auc_by_all_pairs(scores, labels):
    higher = scores[labels == 1].unsqueeze(1) - scores[labels == 0]
    return torch.heaviside(higher, torch.tensor(0.5, dtype=higher.dtype)).mean()


def auc_in_single_precision(scores, labels):
    higher = scores[labels == 1].unsqueeze(1) - scores[labels == 0]
    return (higher > 0).float().mean() + (higher == 0).float().mean() / 2


def auc_in_a_loop(scores, labels):
    won = pairs = 0
    for one, is_anomaly in zip(scores, labels, strict=True):
        for other, is_other in zip(scores, labels, strict=True):
            if is_anomaly and not is_other:
                pairs += 1
                won += 1 if one > other else 0.5 if one == other else 0
    return won / pairs


def auc_of_scikit_learn(scores, labels):
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(labels, scores)


def auc_by_mean_ranks(scores, labels):
    ranks = (scores.unsqueeze(1) > scores).sum(1) + ((scores.unsqueeze(1) == scores).sum(1) + 1) / 2
    n, m = (labels == 1).sum(), (labels == 0).sum()
    return (ranks[labels.bool()].sum() - n * (n + 1) / 2) / (n * m)


def kl_by_distributions(mu, log_variance):
    q = torch.distributions.Normal(mu, log_variance.exp().sqrt())
    return torch.distributions.kl_divergence(
        q, torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    ).sum(-1)


def kl_in_a_loop(mu, log_variance):
    total = torch.zeros_like(mu[:, 0])
    for m, v in zip(mu.T, log_variance.T, strict=True):
        sigma = torch.exp(v / 2)
        total = total + (m**2 + sigma**2 - 1) / 2 - torch.log(sigma)
    return total


def draw_with_rsample(mu, log_variance):
    return torch.distributions.Normal(mu, torch.exp(0.5 * log_variance)).rsample()


def draw_in_steps(mu, log_variance):
    sigma = log_variance.exp() ** 0.5
    epsilon = torch.empty_like(sigma).normal_()
    return torch.addcmul(mu, sigma, epsilon)


def draw_example_by_example(mu, log_variance):
    pairs = zip(mu, log_variance, strict=True)
    return torch.stack([m + torch.exp(s / 2) * torch.randn(len(m)) for m, s in pairs])


def elbo_of_each_example(x, logits, mu, log_variance):
    log_likelihood = x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)
    return (log_likelihood.sum((1, 2, 3)) - kl_by_distributions(mu, log_variance)).mean()


def elbo_by_a_bernoulli(x, logits, mu, log_variance):
    likelihood = torch.distributions.Bernoulli(logits=logits, validate_args=False)
    return (likelihood.log_prob(x).sum() - kl_in_a_loop(mu, log_variance).sum()) / x.shape[0]


def elbo_by_negative_loss(x, logits, mu, log_variance):
    bce = F.softplus(logits) - x * logits
    return -(bce.flatten(1).sum(1) + kl_in_a_loop(mu, log_variance)).mean()


@torch.no_grad()
def digits_by_distribution(decoder, count, code_size):
    z = torch.distributions.Normal(0.0, 1.0).sample((count, code_size)).to(next(decoder.parameters()).device)
    return 1 / (1 + torch.exp(-decoder(z)))


def digits_one_by_one(decoder, count, code_size):
    weight = next(decoder.parameters())
    return torch.cat(
        [decoder(weight.new_empty(1, code_size).normal_()).sigmoid() for _ in range(count)]
    ).detach()


def digits_brought_to_the_cpu(decoder, count, code_size):
    decoder.eval()
    z = torch.randn(count, code_size)
    return decoder(z.to(next(decoder.parameters()).device)).sigmoid().detach().cpu()


class VAEOfParts(nn.Module):
    """The network without nn.Sequential around all of it, and with slices."""

    class Decoder(nn.Module):
        def __init__(self, code_size, hidden):
            super().__init__()
            self.first, self.last = nn.Linear(code_size, hidden), nn.Linear(hidden, 784)

        def forward(self, z):
            return self.last(F.relu(self.first(z))).reshape(-1, 1, 28, 28)

    def __init__(self, code_size, hidden, draw):
        super().__init__()
        layers = [nn.Flatten(start_dim=1), nn.Linear(28 * 28, hidden), nn.ReLU()]
        self.encoder = nn.Sequential(*layers, nn.Linear(hidden, code_size + code_size))
        self.decoder = self.Decoder(code_size, hidden)
        self.size, self.sample = code_size, draw

    def forward(self, x):
        h = self.encoder(x)
        mu, log_variance = h[:, : self.size], h[:, self.size :]
        z = self.sample(mu, log_variance)
        return self.decoder(z), mu, log_variance


class VAEWithTwoHeads(nn.Module):
    """The last layer of the encoder in two halves, one for mu and one for log_variance, put side by side."""

    class Encoder(nn.Module):
        def __init__(self, code_size, hidden):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU())
            self.head = nn.Linear(hidden, 2 * code_size)

        def forward(self, x):
            return self.head(self.body(x))

    def __init__(self, code_size, hidden, draw):
        super().__init__()
        self.draw = draw
        self.encoder = self.Encoder(code_size, hidden)
        self.decoder = nn.Sequential()
        self.decoder.append(nn.Linear(code_size, hidden)).append(nn.ReLU(inplace=True))
        self.decoder.append(nn.Linear(hidden, 784)).append(nn.Unflatten(-1, (1, 28, 28)))

    def forward(self, x):
        mu, log_variance = torch.split(self.encoder(x), self.encoder.head.out_features // 2, dim=-1)
        return [self.decoder(self.draw(mu, log_variance)), mu, log_variance]


def importance_bound_in_a_loop(log_weights):
    bounds = []
    for column in log_weights.T:
        total = column[0]
        for one in column[1:]:
            total = torch.logaddexp(total, one)
        bounds.append(total - torch.log(torch.tensor(len(column), dtype=column.dtype)))
    return torch.stack(bounds).mean()


def importance_bound_by_the_largest(log_weights):
    largest = log_weights.max(dim=0, keepdim=True).values
    return (largest[0] + (log_weights - largest).exp().mean(dim=0).log()).sum() / log_weights.shape[1]


class TestLesson06(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "linear_autoencoder_error": [error_by_projection, error_by_eigenvalues, error_of_scikit_learn],
        "encode_decode": [encode_decode_in_a_loop, encode_decode_functional],
        "add_noise": [noise_from_a_distribution, noise_from_a_generator, noise_by_torch_normal],
        "anomaly_scores": [scores_in_a_loop, scores_by_the_library],
        "roc_auc": [
            auc_by_all_pairs,
            auc_in_single_precision,
            auc_in_a_loop,
            auc_of_scikit_learn,
            auc_by_mean_ranks,
        ],
        "kl_to_standard_normal": [kl_by_distributions, kl_in_a_loop],
        "reparameterize": [draw_with_rsample, draw_in_steps, draw_example_by_example],
        "elbo": [elbo_of_each_example, elbo_by_negative_loss, elbo_by_a_bernoulli],
        "VAE": [VAEOfParts, VAEWithTwoHeads],
        "importance_bound": [importance_bound_in_a_loop, importance_bound_by_the_largest],
        "sample_digits": [digits_by_distribution, digits_one_by_one, digits_brought_to_the_cpu],
    }
    equivalent = {  # noqa: RUF012
        "add_noise": ["line 7: Add -> Sub"],  # minus Gaussian noise is Gaussian noise
        "reparameterize": ["line 7: Add -> Sub"],
    }


def test_linear_error_agrees_with_scikit_learn():
    x = torch.randn(40, 6, dtype=torch.float64) * torch.arange(1, 7) + 2
    torch.testing.assert_close(ex.linear_autoencoder_error.reference(x, 3), error_of_scikit_learn(x, 3))


def test_divergence_agrees_with_a_million_draws():
    mu, sigma = torch.tensor([0.7], dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)
    q, p = torch.distributions.Normal(mu, sigma), torch.distributions.Normal(0, 1)
    z = q.sample((1_000_000,))
    estimate = (q.log_prob(z) - p.log_prob(z)).mean()
    exact = ex.kl_to_standard_normal.reference(mu.unsqueeze(0), 2 * sigma.log().unsqueeze(0))
    assert abs(float(estimate - exact)) < 0.01


def test_elbo_stays_below_the_likelihood_of_a_model_that_can_be_summed():
    """Two pixels, a decoder without memory: ln p(x) is known, and the bound touches it at q = p."""
    x, logits = torch.tensor([[[[1.0, 0.0]]]]), torch.zeros(1, 1, 1, 2)
    exact = 2 * math.log(0.5)
    at_prior = ex.elbo.reference(x, logits, torch.zeros(1, 1), torch.zeros(1, 1))
    off = ex.elbo.reference(x, logits, torch.ones(1, 1), torch.zeros(1, 1))
    assert float(at_prior) == pytest.approx(exact)
    assert float(off) == pytest.approx(exact - 0.5)


def test_gradient_of_the_draw_agrees_with_a_finite_difference():
    mu, log_variance = torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([[-1.0]], dtype=torch.float64)

    def draw(shift):
        torch.manual_seed(0)
        return ex.reparameterize.reference(mu, log_variance + shift)

    torch.manual_seed(0)
    log_variance.requires_grad_()
    (slope,) = torch.autograd.grad(ex.reparameterize.reference(mu, log_variance).sum(), log_variance)
    with torch.no_grad():
        numeric = (draw(1e-5) - draw(-1e-5)) / 2e-5
    torch.testing.assert_close(slope, numeric, rtol=1e-6, atol=1e-9)


def test_scores_are_computed_without_gradient_and_in_any_shape():
    net = nn.Sequential(nn.Linear(15, 15))
    scores = ex.anomaly_scores.reference(net, torch.randn(4, 15))
    assert scores.shape == (4,)
    assert not scores.requires_grad


def test_noise_that_leaves_the_range_by_another_way_than_its_ends_is_wrong():
    def instead(below, above):
        def attempt(x, sigma):
            noisy = x + sigma * torch.randn_like(x)
            return torch.where(noisy < 0, below, torch.where(noisy > 1, above, noisy)).to(x.dtype)

        return attempt

    assert ex.add_noise(instead(0.0, 1.0)).status == "correct"
    for ends in ((1.0, 0.0), (0.5, 0.5), (0.0, 0.0), (1.0, 1.0)):
        verdict = ex.add_noise(instead(*ends))
        assert verdict.status == "wrong"
        assert "the nearest end of it" in verdict.message


def test_area_in_single_precision_gets_no_remark():
    assert ex.roc_auc(auc_in_single_precision).remarks == ()


def test_sigma_by_softplus_is_not_taken_for_the_variance():
    verdict = ex.reparameterize(lambda mu, log_variance: mu + F.softplus(log_variance) * torch.randn_like(mu))
    assert verdict.status == "wrong"
    assert "the variance" not in verdict.message


def test_scores_that_carry_gradients_get_a_remark():
    def recorded(model, x):
        model.eval()
        return (model(x) - x).square().flatten(1).sum(dim=1)

    verdict = ex.anomaly_scores(recorded)
    assert verdict.status == "correct"
    assert ["carry gradients" in remark for remark in verdict.remarks] == [True]
    assert not ex.anomaly_scores(ex.anomaly_scores.reference).remarks
