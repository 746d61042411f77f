import torch
import torch.nn.functional as F
from torch import nn

from coursekit.exercises import lesson02 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way ------------------------------------------------------------------


def difference_in_steps(f, x, h):
    right, left = f(x + h), f(x - h)
    return torch.tensor((right - left) / h / 2, dtype=torch.float64)


def mean_of_both_sides(f, x, h):
    middle = f(x)
    return ((f(x + h) - middle) / h + (middle - f(x - h)) / h) / 2


def least_squares_by_autograd(X, theta, y):
    theta = theta.clone().requires_grad_()
    return torch.autograd.grad(((X @ theta - y) ** 2).sum(), theta)[0]


def least_squares_in_a_loop(X, theta, y):
    total = torch.zeros_like(theta)
    for row, measured in zip(X, y, strict=True):
        total = total + 2 * (row @ theta - measured) * row
    return total


def descend_in_a_loop(gradient, start, lr, steps):
    theta, path = start, [start]
    for _ in range(steps):
        theta = theta - lr * gradient(theta)
        path.append(theta)
    return tuple(path)


def descend_by_recursion(gradient, start, lr, steps):
    if steps == 0:
        return [start]
    return [start, *descend_by_recursion(gradient, start - lr * gradient(start), lr, steps - 1)]


def descend_on_a_copy(gradient, start, lr, steps):
    theta = torch.as_tensor(start, dtype=torch.float64).clone()
    path = [theta.clone()]
    for _ in range(steps):
        theta -= lr * gradient(theta)
        path.append(theta.clone())
    return path


def momentum_by_pytorch(theta, v, g, lr, mu):
    parameter = theta.clone()
    optimizer = torch.optim.SGD([parameter], lr=lr, momentum=mu)
    optimizer.state[parameter]["momentum_buffer"] = -v / lr
    parameter.grad = g.clone()
    optimizer.step()
    return parameter, -lr * optimizer.state[parameter]["momentum_buffer"]


def adam_as_pytorch_orders_it(theta, m, s, g, t, lr, beta1, beta2, eps):
    m = torch.lerp(m, g, 1 - beta1)
    s = s * beta2 + g * g * (1 - beta2)
    denominator = s.sqrt() / (1 - beta2**t) ** 0.5 + eps
    return [theta - lr / (1 - beta1**t) * m / denominator, m, s]


def adam_by_pytorch(theta, m, s, g, t, lr, beta1, beta2, eps):
    parameter = theta.clone()
    optimizer = torch.optim.Adam([parameter], lr=lr, betas=(beta1, beta2), eps=eps)
    state = {"step": torch.tensor(t - 1.0), "exp_avg": m.clone(), "exp_avg_sq": s.clone()}
    optimizer.state[parameter] = state
    parameter.grad = g.clone()
    optimizer.step()
    return parameter, state["exp_avg"], state["exp_avg_sq"]


def batches_as_a_list(x, y, size):
    order = torch.randperm(len(x))
    return [(x[order[i : i + size]], y[order[i : i + size]]) for i in range(0, len(x), size)]


def batches_by_dataloader(x, y, size):
    pairs = torch.utils.data.TensorDataset(x, y)
    return torch.utils.data.DataLoader(pairs, batch_size=size, shuffle=True)


def batches_of_a_random_key(x, y, size):
    order = torch.rand(len(x)).argsort()
    yield from zip(x[order].split(size), y[order].split(size), strict=True)


def logistic_by_autograd(x, y, w, b):
    w, b = w.clone().requires_grad_(), b.clone().requires_grad_()
    return torch.autograd.grad(F.binary_cross_entropy_with_logits(x @ w + b, y), (w, b))


def logistic_in_a_loop(x, y, w, b):
    dw, db = torch.zeros_like(w), 0.0
    for row, label in zip(x, y, strict=True):
        p = 1 / (1 + torch.exp(-(row @ w + b)))
        dw, db = dw + (p - label) * row, db + (p - label)
    return [dw / len(x), db / len(x)]


def logistic_by_einsum(x, y, w, b):
    delta = torch.special.expit(torch.einsum("nd,d->n", x, w) + b) - y
    return torch.einsum("n,nd->nd", delta, x).mean(dim=0), delta.mean()


def logistic_by_a_column(x, y, w, b):
    delta = (x @ w[:, None] + b).sigmoid() - y[:, None]
    return (x * delta).mean(0), delta.mean()


def clip_by_pytorch(gradients, max_norm):
    parameters = [torch.zeros_like(gradient) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    nn.utils.clip_grad_norm_(parameters, max_norm)
    return [parameter.grad for parameter in parameters]


def clip_with_a_small_number(gradients, max_norm):
    norm = sum((gradient**2).sum() for gradient in gradients) ** 0.5
    return [gradient * min(1.0, max_norm / (norm.item() + 1e-9)) for gradient in gradients]


def clip_by_the_norm_of_norms(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    factor = torch.clamp(max_norm / norm, max=1) if norm > 0 else 1
    return tuple(gradient.clone().mul_(factor) for gradient in gradients)


def rmsprop_by_pytorch(theta, s, g, lr, beta, eps):
    parameter = theta.clone().requires_grad_()
    optimizer = torch.optim.RMSprop([parameter], lr=lr, alpha=beta, eps=eps)
    parameter.grad = torch.zeros_like(g)
    optimizer.step()  # makes the state
    optimizer.state[parameter]["square_avg"] = s.clone()
    parameter.data = theta.clone()
    parameter.grad = g.clone()
    optimizer.step()
    return parameter.detach(), optimizer.state[parameter]["square_avg"]


def rmsprop_with_rsqrt(theta, s, g, lr, beta, eps):
    new = torch.lerp(g.square(), s, beta)
    return [theta.sub(lr * g.div(new.pow(0.5).add(eps))), new]


class TestLesson02(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "finite_difference": [difference_in_steps, mean_of_both_sides],
        "least_squares_gradient": [
            least_squares_by_autograd,
            least_squares_in_a_loop,
            lambda X, theta, y: torch.einsum("nd,n->d", 2 * X, X.mv(theta) - y),
        ],
        "descend": [descend_in_a_loop, descend_by_recursion, descend_on_a_copy],
        "largest_learning_rate": [
            lambda H: 2 / torch.linalg.eigvals(H).real.max(),
            lambda H: 2 / torch.linalg.matrix_norm(H, ord=2).item(),
            lambda H: 2 / torch.linalg.eigh(H).eigenvalues[-1],
        ],
        "momentum_step": [
            momentum_by_pytorch,
            lambda theta, v, g, lr, mu: [theta + mu * v - lr * g, mu * v - lr * g],
        ],
        "rmsprop_step": [rmsprop_by_pytorch, rmsprop_with_rsqrt],
        "adam_step": [adam_as_pytorch_orders_it, adam_by_pytorch],
        "minibatches": [batches_as_a_list, batches_by_dataloader, batches_of_a_random_key],
        "logistic_gradient": [logistic_in_a_loop, logistic_by_einsum, logistic_by_a_column],
        "clip_by_norm": [clip_by_pytorch, clip_with_a_small_number, clip_by_the_norm_of_norms],
    }
    equivalent = {}  # noqa: RUF012


def test_every_step_far_smaller_than_asked_is_told_so():
    for own in (1e-5, 1e-8, 1e-14):
        verdict = ex.finite_difference(lambda f, x, h, own=own: (f(x + own) - f(x - own)) / (2 * own))
        assert "mostly rounding error" in verdict.message, verdict


def test_right_answers_that_break_in_later_cells_get_a_remark():
    def by_alpha(theta, v, g, lr, mu):
        v = torch.sub(mu * v, g, alpha=lr)
        return theta + v, v

    for verdict, words in (
        (ex.finite_difference(lambda f, x, h: float((f(x + h) - f(x - h)) / (2 * h))), "without `float`"),
        (ex.momentum_step(by_alpha), "single learning rate"),
        (ex.rmsprop_step(rmsprop_by_pytorch), "single learning rate"),
        (ex.adam_step(adam_by_pytorch), "single learning rate"),
    ):
        assert verdict.status == "correct"
        assert [words in remark for remark in verdict.remarks] == [True]
    for name in ("finite_difference", "momentum_step", "rmsprop_step", "adam_step"):
        exercise = ex.lesson.exercises[name]
        assert not exercise(exercise.reference).remarks


def test_batches_of_another_form_are_wrong_and_not_an_error():
    def of_floats(x, y, size):
        return [(1.0, 2.0)]

    def joined(x, y, size):
        return [torch.cat([x, y[:, None]], dim=1)]

    def three(x, y, size):
        return [(x, y, y)]

    def none_at_all(x, y, size):
        return []

    for attempt in (of_floats, joined, three, none_at_all):
        verdict = ex.minibatches(attempt)
        assert verdict.status == "wrong"
        assert "The entry" not in verdict.message


def test_shuffling_the_data_themselves_is_told_so():
    def in_place(x, y, size):
        order = torch.randperm(len(x))
        x[:], y[:] = x[order], y[order]
        yield from zip(x.split(size), y.split(size), strict=True)

    assert "`x` is no longer what it was" in ex.minibatches(in_place).message.splitlines()[0]


def test_neuron_by_autograd_is_told_to_use_the_formula():
    def by_backward(x, y, w, b):
        w, b = w.clone().requires_grad_(), b.clone().requires_grad_()
        F.binary_cross_entropy(torch.sigmoid(x @ w + b), y).backward()
        return w.grad, b.grad

    for attempt in (logistic_by_autograd, by_backward):
        assert "asks for the formula" in ex.logistic_gradient(attempt).message


def test_clipping_by_the_largest_number_is_not_called_clipping_by_value():
    def by_the_largest(gradients, max_norm):
        largest = max(gradient.abs().max() for gradient in gradients)
        return [gradient * (max_norm / largest if largest > max_norm else 1) for gradient in gradients]

    assert "largest number decides" in ex.clip_by_norm(by_the_largest).message


def test_largest_learning_rate_separates_convergence_from_divergence():
    H = torch.tensor([[5.0, -2.0], [-2.0, 2.0]], dtype=torch.float64)
    limit = ex.largest_learning_rate.reference(H)
    start = torch.tensor([1.0, 1.0], dtype=torch.float64)
    below = ex.descend.reference(lambda theta: H @ theta, start, 0.99 * limit, 2000)[-1]
    above = ex.descend.reference(lambda theta: H @ theta, start, 1.01 * limit, 2000)[-1]
    assert below.norm() < 1e-6
    assert above.norm() > 1e6


def test_steps_agree_with_pytorch_over_fifty_steps():
    for rule in ("momentum", "adam"):
        theta, theirs = torch.ones(3).double(), torch.ones(3).double().requires_grad_()
        first, second = torch.zeros(3).double(), torch.zeros(3).double()
        optimizer = {
            "momentum": lambda p=theirs: torch.optim.SGD([p], lr=0.01, momentum=0.9),
            "adam": lambda p=theirs: torch.optim.Adam([p], lr=0.01),
        }[rule]()
        for t in range(1, 51):
            g = 4 * theta**3
            if rule == "momentum":
                theta, first = ex.momentum_step.reference(theta, first, g, 0.01, 0.9)
            else:
                theta, first, second = ex.adam_step.reference(
                    theta, first, second, g, t, 0.01, 0.9, 0.999, 1e-8
                )
            optimizer.zero_grad()
            (theirs**4).sum().backward()
            optimizer.step()
            torch.testing.assert_close(theta, theirs.detach(), rtol=0, atol=1e-9)


def test_gradients_agree_with_autograd():
    x, w = torch.randn(7, 3).double(), torch.randn(3).double()
    y, b = (torch.arange(7) % 2).double(), torch.tensor(0.3).double()
    for mine, right in zip(
        ex.logistic_gradient.reference(x, y, w, b), logistic_by_autograd(x, y, w, b), strict=True
    ):
        torch.testing.assert_close(mine, right)
    torch.testing.assert_close(
        ex.least_squares_gradient.reference(x, w, y), least_squares_by_autograd(x, w, y)
    )
    minimum = torch.linalg.pinv(x) @ y
    assert ex.least_squares_gradient.reference(x, minimum, y).abs().max() < 1e-12


def assert_swings_for_ever_at(limit):
    for lr, converges in ((0.99 * limit, True), (1.01 * limit, False)):
        theta, v = torch.ones(1).double(), torch.zeros(1).double()
        for _ in range(4000):
            theta, v = ex.momentum_step.reference(theta, v, 10 * theta, lr, 0.9)
        assert (theta.abs().item() < 1e-3) == converges


def test_answers_of_predictions_and_quiz_are_computed():
    path = ex.descend.reference(lambda theta: 10 * theta - 3, 4.0, 1.0, 3)
    assert path == [4.0, -33.0, 300.0, -2697.0]
    assert ex.three_steps.questions["three_steps"].answer == path[-1]
    errors = [abs(ex.finite_difference.reference(torch.sin, torch.tensor(1.0).double(), h) - 0.5403023058681398)
              for h in (0.1, 0.05)]  # fmt: skip
    assert abs(errors[0] / errors[1] - ex.halve_the_step.questions["halve_the_step"].answer) < 0.01
    assert_swings_for_ever_at(ex.limit_with_momentum.questions["limit_with_momentum"].answer)
    answers = {name: question.answer for name, question in ex.quiz.questions.items()}
    assert answers["limit"] == ex.largest_learning_rate.reference(torch.tensor([[8.0]]))
    one = torch.ones(1).double()
    stepped, *_ = ex.adam_step.reference(one, 0 * one, 0 * one, 500 * one, 1, 0.001, 0.9, 0.999, 1e-8)
    assert abs(1 - stepped - answers["first_adam_step"]) < 1e-9
    batches = ex.minibatches.reference(torch.zeros(60_000, 1), torch.zeros(60_000), 128)
    assert len(list(batches)) == answers["iterations"]
    (clipped,) = ex.clip_by_norm.reference([torch.tensor([3.0, 4.0])], 1.0)
    assert abs(clipped[0] - answers["clipped"]) < 1e-6
