import torch
import torch.nn.functional as F
from torch import nn

from coursekit import data, train
from coursekit.exercises import lesson00 as ex
from tests.exercises.contract import Contract


def fraction_by_index(answers, labels):
    count = 0
    for i in range(len(labels)):
        count += answers[i] == labels[i]
    return count / len(labels)


def mean_in_a_loop(x, labels, digit):
    total, count = torch.zeros_like(x[0, 0]), 0
    for image, label in zip(x, labels, strict=True):
        if label == digit:
            total = total + image.squeeze(0)
            count += 1
    return total / count


class LinearInSequence(nn.Module):
    def __init__(self, pixels, classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))

    def forward(self, x):
        return self.layers(x)


class LinearByHand(nn.Module):
    def __init__(self, pixels, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, pixels))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, x):
        return x.reshape(len(x), -1) @ self.weight.T + self.bias


def framed_edge_by_edge(image, width):
    H, W = image.shape
    result = image.clone()
    result[:width] = 1
    result[H - width :] = 1
    result[:, :width] = 1
    result[:, W - width :] = 1
    return result


def framed_in_loops(image, width):
    H, W = image.shape
    result = image.clone()
    for i in range(H):
        for j in range(W):
            if min(i, j, H - 1 - i, W - 1 - j) < width:
                result[i, j] = 1.0
    return result


class TestLesson00(Contract):
    lesson = ex
    right = {  # noqa: RUF012
        "fraction_right": [
            fraction_by_index,
            lambda answers, labels: sum(a == b for a, b in zip(answers, labels, strict=True)) / len(answers),
            lambda answers, labels: sum(map(lambda a, b: a == b, answers, labels)) / len(labels),
        ],
        "mean_image": [
            mean_in_a_loop,
            lambda x, labels, digit: x[labels == digit].mean(dim=0)[0],
            lambda x, labels, digit: x[labels == digit].mean(dim=(0, 1)),
            lambda x, labels, digit: x[labels == digit].sum(0).squeeze() / (labels == digit).sum(),
        ],
        "Classifier": [LinearInSequence, LinearByHand],
        "framed": [
            framed_edge_by_edge,
            framed_in_loops,
            lambda image, width: F.pad(
                image[width : image.shape[0] - width, width : image.shape[1] - width], [width] * 4, value=1
            ),
        ],
    }
    equivalent = {"fraction_right": ["line 4: True -> False"]}  # noqa: RUF012


def a_network(*layers, epochs=10, seed=0):
    torch.manual_seed(seed)
    digits, net = data.mnist("sample"), nn.Sequential(nn.Flatten(), *layers)
    train.fit(net, digits.train.batches(128, shuffle=True), digits.valid.batches(1000), epochs=epochs)
    return net


def hidden_layer():
    return nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)


def test_a_network_with_a_hidden_layer_passes_after_the_ten_epochs_of_the_hint():
    for seed in range(3):
        assert ex.first_net(a_network(*hidden_layer(), seed=seed)).status == "correct"


def test_what_is_not_enough_is_told_why():
    for net, words in (
        (nn.Sequential(nn.Flatten(), *hidden_layer()), "was it trained at all"),
        (a_network(*hidden_layer(), epochs=2), "more epochs"),
        (a_network(nn.Linear(784, 128), nn.Linear(128, 10), epochs=15), "It is a linear classifier"),
        (a_network(nn.Linear(784, 10), epochs=40), "It is a linear classifier"),
        (a_network(*hidden_layer(), nn.Softmax(dim=1), epochs=15), "softmax"),
        (a_network(nn.Linear(784, 128), nn.Linear(128, 10), nn.ReLU(), epochs=15), "at its end"),
    ):
        verdict = ex.first_net(net)
        assert verdict.status == "wrong"
        assert words in verdict.message
