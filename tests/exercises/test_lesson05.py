import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coursekit import data, train
from coursekit.exercises import lesson05 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way ------------------------------------------------------------------


def fit_by_numpy(x, y, degree):
    found = np.polynomial.polynomial.polyfit(x.double().numpy(), y.double().numpy(), degree)
    return torch.tensor(found, dtype=x.dtype)


def fit_by_qr(x, y, degree):
    Q, R = torch.linalg.qr(torch.stack([x**k for k in range(degree + 1)], dim=1))
    return torch.linalg.solve_triangular(R, (Q.T @ y).unsqueeze(1), upper=True).squeeze(1)


def l2_in_a_loop(model, strength):
    total = torch.zeros(())
    for part in model.parameters():
        if part.dim() >= 2:
            total = total + (part**2).sum()
    return strength * total


def l2_by_modules(model, strength):
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return strength * sum(layer.weight.pow(2).sum() for layer in layers)


def stop_by_slices(losses, patience):
    for last in range(1, len(losses) + 1):
        seen = losses[:last]
        best = seen.index(min(seen)) + 1
        if last - best >= patience:
            return last, best
    return len(losses), losses.index(min(losses)) + 1


def stop_by_counting(losses, patience):
    lowest, waited, best = float("inf"), 0, 0
    for index in range(len(losses)):
        if losses[index] < lowest:
            lowest, best, waited = losses[index], index, 0
        else:
            waited += 1
        if waited == patience:
            break
    return [index + 1, best + 1]


def dropout_number_by_number(x, p, training):
    if not training:
        return x
    result = x.clone()
    for place in itertools.product(*map(range, x.shape)):
        result[place] = 0 if torch.rand(()) < p else x[place] / (1 - p)
    return result


def shift_by_sampling(x, pixels):
    H, W = x.shape[2:]
    by = torch.randint(-pixels, pixels + 1, (len(x), 2)) * 2 / torch.tensor([W, H])
    maps = torch.eye(2, 3).repeat(len(x), 1, 1)
    maps[:, :, 2] = by
    return F.grid_sample(x, F.affine_grid(maps, list(x.shape), align_corners=False), align_corners=False)


def shift_by_torchvision(x, pixels):
    from torchvision.transforms import v2

    H, W = x.shape[2:]
    move = v2.RandomAffine(degrees=0, translate=(pixels / W, pixels / H))
    return torch.stack([move(one) for one in x])


def shift_by_slices(x, pixels):
    result = torch.zeros_like(x)
    _, _, H, W = x.shape
    for n in range(len(x)):
        i, j = np.random.randint(-pixels, pixels + 1, 2)  # noqa: NPY002 - as learners write it
        result[n, :, max(i, 0) : H + min(i, 0), max(j, 0) : W + min(j, 0)] = x[
            n, :, max(-i, 0) : H - max(i, 0), max(-j, 0) : W - max(j, 0)
        ]
    return result


def smooth_by_filling(labels, classes, epsilon):
    targets = torch.full((len(labels), classes), epsilon / classes)
    targets[torch.arange(len(labels)), labels] += 1 - epsilon
    return targets


def smooth_in_a_loop(labels, classes, epsilon):
    rows = []
    for label in labels.tolist():
        row = [epsilon / classes] * classes
        row[label] = 1 - epsilon + epsilon / classes
        rows.append(row)
    return torch.tensor(rows)


def smooth_by_scattering(labels, classes, epsilon):
    targets = torch.zeros(len(labels), classes).scatter_(1, labels.unsqueeze(1), 1.0)
    return torch.lerp(targets, torch.full_like(targets, 1 / classes), epsilon)


def he_by_init(outputs, inputs):
    weight = torch.empty(outputs, inputs)
    nn.init.kaiming_normal_(weight, nonlinearity="relu")
    return weight


def norm_by_torch(x, running_mean, running_var, gamma, beta, training, momentum=0.1, eps=1e-5):
    mean, var = running_mean.clone(), running_var.clone()
    y = F.batch_norm(x, mean, var, gamma, beta, training, momentum, eps)
    return y, mean, var


def norm_with_lerp(x, running_mean, running_var, gamma, beta, training, momentum=0.1, eps=1e-5):
    if not training:
        return (x - running_mean) * gamma / torch.sqrt(running_var + eps) + beta, running_mean, running_var
    N, mean = len(x), x.mean(0)
    var = ((x - mean) ** 2).sum(0) / N
    y = beta + gamma * (x - mean) * torch.rsqrt(var + eps)
    return [y, torch.lerp(running_mean, mean, momentum), torch.lerp(running_var, var * N / (N - 1), momentum)]


def folds_by_scikit_learn(N, folds):
    from sklearn.model_selection import KFold

    return [
        (torch.as_tensor(one), torch.as_tensor(other))
        for one, other in KFold(folds, shuffle=True).split(np.zeros(N))
    ]


def folds_by_remainder(N, folds):
    dealt = torch.randperm(N)
    return [(dealt[torch.arange(N) % folds != i], dealt[torch.arange(N) % folds == i]) for i in range(folds)]


def folds_by_strides(N, folds):
    dealt = torch.randperm(N).tolist()
    return [
        [[index for index in dealt if index not in dealt[i::folds]], dealt[i::folds]] for i in range(folds)
    ]


def fgsm_by_backward(model, x, y, epsilon):
    x = x.detach().clone()
    x.requires_grad = True
    F.cross_entropy(model(x), y, reduction="sum").backward()
    with torch.no_grad():
        return torch.clamp(x + epsilon * torch.sign(x.grad), min=0.0, max=1.0)


def fgsm_by_functional(model, x, y, epsilon):
    gradient = torch.func.grad(lambda pictures: F.cross_entropy(model(pictures), y))(x)
    return (x + epsilon * torch.where(gradient > 0, 1.0, torch.where(gradient < 0, -1.0, 0.0))).clip(0, 1)


def highest_by_sorting(logits, labels, count):
    losses = [F.cross_entropy(row, label).item() for row, label in zip(logits, labels, strict=True)]
    return torch.tensor(sorted(range(len(losses)), key=lambda index: -losses[index])[:count])


def highest_by_logsumexp(logits, labels, count):
    losses = logits.logsumexp(dim=1) - logits[torch.arange(len(labels)), labels]
    return losses.argsort(descending=True)[:count]


class TestLesson05(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "highest_losses": [
            highest_by_sorting,
            highest_by_logsumexp,
            lambda logits, labels, count: (
                F.nll_loss(logits.log_softmax(1), labels, reduction="none")
                .sort(descending=True)
                .indices[:count]
            ),
        ],
        "fit_polynomial": [
            fit_by_numpy,
            fit_by_qr,
            lambda x, y, degree: torch.linalg.pinv(torch.vander(x, degree + 1, increasing=True)) @ y,
        ],
        "l2_penalty": [l2_in_a_loop, l2_by_modules],
        "l1_penalty": [
            lambda model, strength: sum(
                strength * abs(part).sum() for part in model.parameters() if len(part.shape) > 1
            ),
            lambda model, strength: (
                strength
                * torch.cat([part.flatten() for part in model.parameters() if part.ndim != 1]).norm(p=1)
            ),
        ],
        "early_stop_epoch": [stop_by_slices, stop_by_counting],
        "dropout": [
            lambda x, p, training: F.dropout(x, p, training),
            lambda x, p, training: (
                x * torch.bernoulli(torch.full_like(x, 1 - p)) / (1 - p) if training else x
            ),
            dropout_number_by_number,
        ],
        "augment_digit": [shift_by_sampling, shift_by_torchvision, shift_by_slices],
        "smooth_labels": [smooth_by_filling, smooth_in_a_loop, smooth_by_scattering],
        "he_init": [
            he_by_init,
            lambda outputs, inputs: torch.normal(0.0, (2 / inputs) ** 0.5, (outputs, inputs)),
        ],
        "batch_norm": [norm_by_torch, norm_with_lerp],
        "kfold_indices": [folds_by_scikit_learn, folds_by_remainder, folds_by_strides],
        "fgsm": [fgsm_by_backward, fgsm_by_functional],
    }
    equivalent = {"augment_digit": ["line 10: True -> False"]}  # noqa: RUF012 - the `strict` of a zip


# Solutions against PyTorch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_agrees_with_pytorch(training):
    layer = nn.BatchNorm1d(3).double().train(training)
    nn.init.normal_(layer.weight)
    layer.running_mean += 2
    x = torch.randn(8, 3, dtype=torch.float64)
    before = layer.running_mean.clone(), layer.running_var.clone()
    ours = ex.batch_norm.reference(x, *before, layer.weight, layer.bias, training, 0.1, 1e-5)
    theirs = layer(x)
    for one, other in zip(ours, (theirs, layer.running_mean, layer.running_var), strict=True):
        torch.testing.assert_close(one, other)


def test_smooth_labels_are_those_of_cross_entropy():
    logits, labels = torch.randn(6, 5), torch.arange(6) % 5
    targets = ex.smooth_labels.reference(labels, 5, 0.3)
    torch.testing.assert_close(
        F.cross_entropy(logits, targets), F.cross_entropy(logits, labels, label_smoothing=0.3)
    )


def test_early_stop_epoch_agrees_with_fit():
    torch.manual_seed(0)
    split = data.Split(torch.randn(20, 3), torch.arange(20) % 2)
    other = data.Split(torch.randn(20, 3), torch.arange(20) % 2)
    net = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    record = train.fit(net, split.batches(20), other.batches(20), epochs=200, optimizer=optimizer, patience=3)
    losses = [*record.valid["loss"], 0.0, 0.0]  # what would have come must not matter
    assert ex.early_stop_epoch.reference(losses, 3) == (len(record), record.best_epoch)


def test_dropout_number_by_number_is_right_but_too_slow_to_train_with():
    verdict = ex.dropout(dropout_number_by_number)
    assert verdict.status == "correct"
    assert any("loops over single numbers" in remark for remark in verdict.remarks)
    assert not ex.dropout(ex.dropout.reference).remarks
    assert ex.dropout.or_solution(dropout_number_by_number) is ex.dropout.reference


def test_attack_that_leaves_gradients_behind_is_right_but_told_so():
    verdict = ex.fgsm(fgsm_by_backward)
    assert verdict.status == "correct"
    assert any("leaves gradients behind" in remark for remark in verdict.remarks)
    assert not ex.fgsm(ex.fgsm.reference).remarks


@pytest.mark.parametrize("change", [nn.Module.eval, lambda model: model.requires_grad_(False)])
def test_attack_that_leaves_the_network_in_another_state_is_told_so(change):
    def fgsm(model, x, y, epsilon):
        return ex.fgsm.reference(change(model), x, y, epsilon)

    verdict = ex.fgsm(fgsm)
    assert verdict.status == "wrong"
    assert "`model` is left in another state" in verdict.message


@pytest.mark.parametrize(
    "solve",
    [
        lambda W, y: torch.linalg.inv(W.T @ W) @ W.T @ y,
        lambda W, y: torch.linalg.solve(W.T @ W, W.T @ y),
        lambda W, y: torch.linalg.pinv(W.T @ W) @ (W.T @ y),
    ],
)
def test_polynomial_by_the_normal_equations_is_told_what_happens_to_higher_degrees(solve):
    def fit_polynomial(x, y, degree):
        return solve(torch.stack([x**k for k in range(degree + 1)], dim=1), y)

    verdict = ex.fit_polynomial(fit_polynomial)
    assert verdict.status == "wrong"
    assert "WᵀW is formed" in verdict.message


def test_start_of_another_slope_is_told_its_formula():
    def he_init(outputs, inputs):
        return nn.init.kaiming_normal_(torch.empty(outputs, inputs), a=5**0.5)

    assert "as `a=math.sqrt(5)` makes it" in ex.he_init(he_init).message


def test_attack_that_stays_on_the_graph_is_right_but_told_so():
    def fgsm(model, x, y, epsilon):
        x = x.clone().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]
        return (x + epsilon * gradient.sign()).clamp(0, 1)

    verdict = ex.fgsm(fgsm)
    assert verdict.status == "correct"
    assert any("hangs on the graph" in remark for remark in verdict.remarks)


def test_folds_with_a_seed_inside_are_told_so_and_not_that_they_are_unshuffled():
    def kfold_indices(N, folds):
        torch.manual_seed(1)
        return ex.kfold_indices.reference(N, folds)

    assert "a seed is set inside" in ex.kfold_indices(kfold_indices).message


def test_randomised_exercises_are_judged_alike_whatever_the_seed():
    for seed in range(5):
        for exercise in (ex.dropout, ex.augment_digit, ex.he_init, ex.kfold_indices):

            def reseeded(*arguments, solution=exercise.reference, seed=seed, state={}):  # noqa: B006
                if not state:
                    torch.manual_seed(100 + seed)
                    state["done"] = True
                return solution(*arguments)

            reseeded.__name__ = exercise.name
            assert exercise(reseeded).status == "correct", exercise(reseeded)


# The homework ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return data.mnist("sample")


@pytest.fixture(scope="module")
def few(digits):
    return data.Split(digits.train.x[:500], digits.train.y[:500])


@pytest.fixture(scope="module")
def best_net(few, digits):
    return ex.beat_the_baseline.reference(few, digits.valid)


def in_bytes(pictures):
    return {picture.numpy().tobytes() for picture in (255 * pictures).round().to(torch.uint8)}


def test_digits_kept_back_are_none_of_those_handed_out(few, digits):
    kept = in_bytes(ex._digits_kept_back().x)
    assert len(kept) == 906
    assert not kept & in_bytes(few.x)
    assert not kept & in_bytes(digits.valid.x)


def test_digits_kept_back_are_none_of_those_handed_out_with_the_full_data():
    try:
        full = data.mnist("full")
    except FileNotFoundError:
        pytest.skip("needs the full MNIST")
    assert not in_bytes(ex._digits_kept_back().x) & (in_bytes(full.train.x[:500]) | in_bytes(full.valid.x))


def test_looking_at_the_digits_kept_back_prints_nothing(best_net, capsys):
    ex.beat_the_baseline(best_net)
    assert capsys.readouterr().out == ""


def test_solution_passes_and_stays_in_the_mode_it_had(best_net):
    best_net.train()
    verdict = ex.beat_the_baseline(best_net)
    assert verdict.status == "correct", verdict
    assert "906 examples that you were not given" in verdict.message
    assert best_net.training
    best_net.eval()


def trained(few, epochs=15, objective=train.classification, net=None):
    torch.manual_seed(0)
    net = net or nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    train.fit(net, few.batches(50, shuffle=True), epochs=epochs, objective=objective)
    return net


def flipping(model, x, y):
    flipped = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)
    return train.classification(model, flipped if model.training else x, y)


class AlwaysDropping(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(F.dropout(x, 0.5))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda few, best: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "hardly better than guessing"),
        (lambda few, best: AlwaysDropping(trained(few)), "different predictions at every call"),
        (
            lambda few, best: trained(
                few, 60, net=nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(dim=1))
            ),
            "softmax at its end",
        ),
        (lambda few, best: trained(few, 40, flipping), "mirrored"),
        (lambda few, best: trained(few), "only where it saw them"),
        (lambda few, best: Robust(best), "not enough"),
    ],
)
def test_net_below_the_floor_is_told_why(few, best_net, wrong, sentence):
    verdict = ex.beat_the_baseline(wrong(few, best_net))
    assert verdict.status == "wrong", verdict
    assert sentence in verdict.message, verdict


class Robust(nn.Module):
    """The best net, but it takes every ninth digit for another."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        logits = self.net(x)
        confused = (x.flatten(1).sum(dim=1) * 10).long() % 9 == 0
        return torch.where(confused.unsqueeze(1), logits.roll(1, dims=1), logits)


def test_what_is_no_digit_reader_is_told_what_is_asked():
    assert ex.beat_the_baseline(None).status == "not attempted"
    assert (
        "logits of shape (500, 10)"
        in ex.beat_the_baseline(nn.Sequential(nn.Flatten(), nn.Linear(784, 5))).message
    )
