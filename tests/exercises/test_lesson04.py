import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coursekit import data, train
from coursekit.exercises import lesson04 as ex
from tests.exercises.contract import Contract

# Right answers, each written in another way ------------------------------------------------------------------


def convolve_by_definition(x, kernel):
    y = torch.zeros(len(x) + len(kernel) - 1, dtype=x.dtype)
    for i in range(len(y)):
        for k in range(len(kernel)):
            if 0 <= i - k < len(x):
                y[i] += kernel[k] * x[i - k]
    return y


def convolve_by_padding(x, kernel):
    padded = F.pad(x, (len(kernel) - 1, len(kernel) - 1))
    return padded.unfold(0, len(kernel), 1) @ kernel.flip(0)


def convolve_by_library(x, kernel):
    return F.conv1d(x[None, None], kernel.flip(0)[None, None], padding=len(kernel) - 1)[0, 0]


def slide_in_loops(image, kernel):
    H, W = image.shape
    h, w = kernel.shape
    rows = []
    for i in range(H - h + 1):
        rows.append([(image[i : i + h, j : j + w] * kernel).sum() for j in range(W - w + 1)])
    return torch.tensor(rows)


def slide_by_weights(image, kernel):
    h, w = kernel.shape
    H, W = image.shape[0] - h + 1, image.shape[1] - w + 1
    return sum(kernel[i, j] * image[i : i + H, j : j + W] for i in range(h) for j in range(w))


def convolve_with_numpy(x, kernel):
    return torch.from_numpy(np.convolve(x.numpy(), kernel.numpy()))


def slide_by_einsum(image, kernel):
    windows = image.unfold(0, kernel.shape[0], 1).unfold(1, kernel.shape[1], 1)
    return torch.einsum("ijab,ab->ij", windows, kernel)


def equivariant_by_largest_difference(layer, transform, x):
    return (layer(transform(x)) - transform(layer(x))).abs().max() <= 1e-5


def equivariant_in_numpy(layer, transform, x):
    return np.allclose(layer(transform(x)).numpy(), transform(layer(x)).numpy(), rtol=0, atol=1e-5)


def equivariant_for_each_image(layer, transform, x):
    return all(
        torch.allclose(layer(transform(one)), transform(layer(one)), rtol=0, atol=1e-5) for one in x.split(1)
    )


def pool_in_loops(x, size):
    N, C, H, W = x.shape
    result = x.new_zeros(N, C, H // size, W // size)
    for i in range(H // size):
        for j in range(W // size):
            window = x[:, :, i * size : (i + 1) * size, j * size : (j + 1) * size]
            result[:, :, i, j] = window.flatten(2).max(dim=2).values
    return result


def pool_by_unfolding(x, size):
    return x.unfold(2, size, size).unfold(3, size, size).amax(dim=(4, 5))


def pool_in_numpy(x, size):
    H, W = x.shape[2] // size, x.shape[3] // size
    cut = x.numpy()[:, :, : H * size, : W * size]
    return torch.tensor(cut.reshape(*x.shape[:2], H, size, W, size).max(axis=(3, 5)))


def side_by_trying(size, kernel, stride, padding, dilation):
    places = range(-padding, size + padding, stride)
    return sum(place + dilation * (kernel - 1) < size + padding for place in places)


def side_by_library(size, kernel, stride, padding, dilation):
    layer = nn.Conv1d(1, 1, kernel, stride=stride, padding=padding, dilation=dilation)
    return layer(torch.zeros(1, 1, size)).shape[-1]


def field_backwards(layers):
    field = 1
    for kernel, stride in reversed(layers):
        field = (field - 1) * stride + kernel
    return field


def field_by_products(layers):
    strides = [stride for _, stride in layers]
    return 1 + sum((kernel - 1) * int(np.prod(strides[:n])) for n, (kernel, _) in enumerate(layers))


def field_by_measuring(layers):
    net = nn.Sequential(*(nn.Conv1d(1, 1, kernel, stride=stride) for kernel, stride in layers))
    for part in net.parameters():
        nn.init.ones_(part)
    x = torch.zeros(1, 1, 200, requires_grad=True)
    net(x)[0, 0, 0].backward()
    return int((x.grad != 0).sum())


class OwnCNN(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding="same") for a, b in itertools.pairwise([1, *channels])
        )
        side = 28
        for _ in channels:
            side //= 2
        self.head = nn.Linear(channels[-1] * side * side, 10)

    def forward(self, x):
        for stage in self.stages:
            x = F.max_pool2d(torch.relu(stage(x)), 2)
        return self.head(x.view(len(x), -1))


def own_cnn(channels):
    return OwnCNN(channels)


def cnn_that_pools_first(channels):
    net, inputs, side = nn.Sequential(), 1, 28
    for number, outputs in enumerate(channels):
        net.add_module(f"conv{number}", nn.Conv2d(inputs, outputs, (3, 3), padding=1))
        net.add_module(f"pool{number}", nn.MaxPool2d(2, 2))
        net.add_module(f"relu{number}", nn.ReLU(inplace=True))
        inputs, side = outputs, side // 2
    return net.append(nn.Flatten(1)).append(nn.Linear(inputs * side**2, 10))


def block_in_steps(x, first, second, shortcut):
    skip = x.clone()
    if shortcut is not None:
        skip = shortcut(skip)
    h = first(x)
    h = h.clamp(min=0)
    h = second(h)
    h += skip
    return nn.ReLU()(h)


def block_by_channels(x, first, second, shortcut):
    branch = second(torch.relu(first(x)))
    return torch.relu((x if x.shape == branch.shape else shortcut(x)) + branch)


class TestLesson04(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "convolve_1d": [
            convolve_by_definition,
            convolve_by_padding,
            convolve_by_library,
            convolve_with_numpy,
        ],
        "edge_kernel": [
            lambda: torch.tensor([[-1, 0, 1]] * 3),
            lambda: torch.tensor([[0.0, 0, 0], [0, -1, 1], [0, 0, 0]]),
            lambda: torch.outer(torch.tensor([3.0, 10, 3]), torch.tensor([-1.0, 0, 1])) / 16,
            lambda: torch.tensor([-1.0, 1.0, 0.0], dtype=torch.float64).expand(3, 3),
        ],
        "convolve_2d": [
            slide_in_loops,
            slide_by_weights,
            slide_by_einsum,
            lambda image, kernel: F.conv2d(image[None, None], kernel[None, None])[0, 0],
        ],
        "is_equivariant": [
            equivariant_by_largest_difference,
            equivariant_in_numpy,
            equivariant_for_each_image,
            lambda layer, transform, x: torch.allclose(layer(transform(x)), transform(layer(x)), atol=1e-5),
            lambda layer, transform, x: ((transform(layer(x)) - layer(transform(x))).abs() < 1e-5).all(),
        ],
        "max_pool": [pool_in_loops, pool_by_unfolding, pool_in_numpy, F.max_pool2d],
        "output_size": [side_by_trying, side_by_library],
        "count_conv_parameters": [
            lambda inputs, outputs, size: sum(
                p.numel() for p in nn.Conv2d(inputs, outputs, size).parameters()
            ),
            lambda inputs, outputs, size: inputs * outputs * size**2 + outputs,
        ],
        "receptive_field": [field_backwards, field_by_products, field_by_measuring],
        "build_cnn": [own_cnn, cnn_that_pools_first, OwnCNN],
        "residual_block": [
            block_in_steps,
            block_by_channels,
            lambda x, first, second, shortcut: (
                second(first(x).relu()) + (shortcut or nn.Identity())(x)
            ).relu(),
        ],
    }
    equivalent = {  # noqa: RUF012
        "build_cnn": ["line 10: 28 -> 29"],  # halved and rounded down, both give the same sides
    }


def test_solutions_agree_with_numpy_and_pytorch():
    x, kernel = torch.randn(9, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    expected = torch.from_numpy(np.convolve(x.numpy(), kernel.numpy()))
    torch.testing.assert_close(ex.convolve_1d.reference(x, kernel), expected)
    image, kernel = torch.randn(7, 6), torch.randn(3, 2)
    expected = F.conv2d(image[None, None], kernel[None, None])[0, 0]
    torch.testing.assert_close(ex.convolve_2d.reference(image, kernel), expected)
    images = torch.randn(2, 3, 9, 8)
    torch.testing.assert_close(ex.max_pool.reference(images, 2), F.max_pool2d(images, 2))


def test_size_of_the_output_agrees_with_pytorch():
    settings = itertools.product((9, 10, 16), (1, 2, 3), (1, 2, 3), (0, 1), (1, 2))
    for size, kernel, stride, padding, dilation in settings:
        layer = nn.Conv1d(1, 1, kernel, stride=stride, padding=padding, dilation=dilation)
        expected = layer(torch.zeros(1, 1, size)).shape[-1]
        assert ex.output_size.reference(size, kernel, stride, padding, dilation) == expected


def test_receptive_field_agrees_with_where_the_gradient_is_not_zero():
    layers = [(5, 1), (2, 2), (3, 1), (3, 2), (2, 1)]
    net = nn.Sequential(*(nn.Conv1d(1, 1, kernel, stride=stride) for kernel, stride in layers))
    for part in net.parameters():
        nn.init.ones_(part)
    x = torch.zeros(1, 1, 80, requires_grad=True)
    net(x)[0, 0, 4].backward()
    assert ex.receptive_field.reference(layers) == int((x.grad != 0).sum())


def test_block_whose_branch_or_skip_cannot_learn_is_told_so():
    def without_branch(x, first, second, shortcut):
        with torch.no_grad():
            branch = second(F.relu(first(x)))
        return F.relu(branch + (x if shortcut is None else shortcut(x)))

    def without_skip(x, first, second, shortcut):
        skip = x if shortcut is None else shortcut(x)
        return F.relu(second(F.relu(first(x))) + skip.data)

    assert "No gradient reaches the weights of the branch" in ex.residual_block(without_branch).message
    assert "No gradient flows through the skip" in ex.residual_block(without_skip).message


def test_right_answers_that_the_lesson_cannot_go_on_with_are_told_so():
    def lazy_cnn(channels):
        return nn.Sequential(*list(own_stages(channels)), nn.Flatten(), nn.LazyLinear(10))

    def own_stages(channels):
        for one, other in itertools.pairwise([1, *channels]):
            yield from (nn.Conv2d(one, other, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))

    def side_as_float(size, kernel, stride, padding, dilation):
        return np.floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1

    for verdict, words in (
        (ex.build_cnn(lazy_cnn), "nn.LazyLinear"),
        (ex.output_size(side_as_float), "a float came back"),
        (ex.convolve_1d(convolve_with_numpy), "cut off from the gradient"),
    ):
        assert verdict.status == "correct", verdict
        assert [words in remark for remark in verdict.remarks] == [True]
    assert not ex.build_cnn(own_cnn).remarks
    assert not ex.output_size(side_by_library).remarks
    assert not ex.convolve_1d(convolve_by_definition).remarks


# The homework ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def garments():
    try:
        return data.fashion_mnist()
    except FileNotFoundError:
        pytest.skip("needs Fashion-MNIST: Debian's dataset-fashion-mnist, or a network")


@pytest.fixture(scope="module")
def few(garments):
    return data.Split(garments.train.x[:16_000], garments.train.y[:16_000])


@pytest.fixture(scope="module")
def sorter(garments, few):
    return ex.garment_sorter.reference(few, garments.valid)


def test_homework_net_passes(sorter):
    verdict = ex.garment_sorter(sorter)
    assert verdict.status == "correct", verdict
    assert "3,000 examples that you were not given" in verdict.message


def test_homework_net_of_another_build_passes(few):
    torch.manual_seed(1)
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 49, 10)),
    )
    epochs, batches = 4, few.batches(100, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=epochs * len(batches))
    train.fit(net, batches, epochs=epochs, optimizer=optimizer, scheduler=one_cycle)
    assert ex.garment_sorter(net).status == "correct"


@pytest.mark.parametrize(
    ("last", "sentence"), [(nn.Softmax(dim=1), "softmax at its end"), (nn.Sigmoid(), "sigmoid at its end")]
)
def test_probabilities_in_place_of_logits_are_rejected(sorter, last, sentence):
    verdict = ex.garment_sorter(nn.Sequential(sorter, last))
    assert verdict.status == "wrong"
    assert sentence in verdict.message, verdict


class Negative(nn.Module):
    def __init__(self, sorter):
        super().__init__()
        self.sorter = sorter

    def forward(self, x):
        return self.sorter(1 - x)


class Always(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.eye(10)[3])

    def forward(self, x):
        return self.bias.expand(len(x), 10)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda sorter: Always(), "one kind of garment"),
        (Negative, "negatives"),
        (
            lambda sorter: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(dim=1)),
            "softmax at its end",
        ),
        (
            lambda sorter: nn.Sequential(
                nn.Flatten(), nn.Linear(784, 200), nn.BatchNorm1d(200), nn.ReLU(), nn.Linear(200, 10)
            ),
            "hardly better than guessing",
        ),
    ],
)
def test_sorter_below_the_floor_is_told_why(sorter, wrong, sentence):
    torch.manual_seed(0)
    verdict = ex.garment_sorter(wrong(sorter))
    assert verdict.status == "wrong"
    assert sentence in verdict.message, verdict


def test_one_affine_map_is_told_so(few):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    train.fit(net, data.Split(few.x[:3000], few.y[:3000]).batches(100, shuffle=True), epochs=5)
    assert "one affine map" in ex.garment_sorter(net).message


def test_sorter_that_is_none_is_not_attempted():
    assert ex.garment_sorter(None).status == "not attempted"
