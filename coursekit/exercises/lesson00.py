"""The exercises of lesson 0, First steps: solutions, classic mistakes, hints."""

import torch
from torch import nn

from coursekit import data, train
from coursekit.checks import ExerciseSet, Question, normal

lesson = ExerciseSet("Lesson 0")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# Section 1: the notebook --------------------------------------------------------------------------------------

shown_by_c = lesson.prediction(
    "shown_by_c",
    Question(
        19,
        "A makes n 2; B makes it 6, and then 18; C shows n + 1. What counts is the order in which you run cells.",
        {
            7: "B was run twice, and each run multiplies n by 3.",
            18: "That is n. Cell C shows n + 1.",
            6: "That is n after the first run of B, and B was run twice. Then C shows n + 1.",
            3: "B was run, twice, before C: n is no longer 2.",
            2: "That is n after cell A. B was run twice after it.",
            54: "B was run twice, not three times, and C shows n + 1.",
            55: "B was run twice, not three times.",
            20: "C shows n + 1, once.",
            13: "B multiplies n by 3, twice: 2, 6, 18.",
            12: "B multiplies n by 3, twice: 2, 6, 18.",
            8: "B multiplies n by 3; it doesn't add 3. And it was run twice.",
            9: "B multiplies n by 3; it doesn't add 3. And it was run twice.",
        },
    ),
    hints=[
        "After A, n is 2. After the first run of B it is 6.",
        "B is run once more, on the n that is there now.",
    ],
)


# Section 2: Python --------------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "a single answer, which is right": ([4], [4]),
        "four answers, one of them wrong": ([7, 2, 1, 0], [7, 2, 9, 0]),
        "three wrong answers": ([1, 1, 1], [0, 2, 3]),
        "five answers, the first wrong": ([0, 1, 2, 3, 4], [5, 1, 2, 3, 4]),
        "three answers, the last wrong": ([5, 1, 2], [5, 1, 3]),
        "the right digits in reverse order": ([1, 2, 3, 4], [4, 3, 2, 1]),
        "ten answers": ([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [3, 1, 4, 4, 5, 9, 1, 6, 2, 3]),
        "large numbers": (
            [int("1000"), int("2000")],
            [int("1000"), int("3000")],
        ),  # equal, not the same object
    },
    hints=[
        "Start counting at 0, above the loop. In the loop, an `if` adds 1 where the two are equal.",
        "Below the loop, and no longer indented under it, return the count divided by `len(labels)`.",
        "The loop is `for answer, label in zip(answers, labels):`, the condition `if answer == label:`.",
    ],
)
def fraction_right(answers, labels):
    """Return the fraction of `answers` that are equal to their `labels`, two lists of the same length."""
    right = 0
    for answer, label in zip(answers, labels, strict=True):
        if answer == label:
            right = right + 1
    return right / len(labels)


fraction_right.mistakes(
    {
        "That is how many are right. For the fraction, divide by `len(labels)`.": {" / len(labels)": ""},
        "That is the fraction that is wrong: `==` tests whether two things are equal, `!=` whether they differ.": {
            "==": "!="
        },
        "That is how many are wrong. Count the right ones, and divide by `len(labels)`.": {
            "==": "!=",
            " / len(labels)": "",
        },
        "The loop ends in its first round: `return` belongs below the loop, not indented under it.": [
            lambda answers, labels: float(answers[0] == labels[0]) / len(labels),
            lambda answers, labels: float(answers[0] == labels[0]),
        ],
        "That is in percent. A fraction runs from 0 to 1.": {
            "right / len(labels)": "100 * right / len(labels)"
        },
        "It is 0 unless all of them are equal. Compare them one by one, count, and divide with `/`.": [
            {" / ": " // "},
            lambda answers, labels: answers == labels,
            lambda answers, labels: float(answers == labels),
        ],
        "Two lists are compared as wholes: `answers == labels` is one True or False. Compare entries, in a loop.": [
            lambda answers, labels: sum(answers == labels) / len(labels),
            lambda answers, labels: (answers == labels).sum() / len(labels),
            lambda answers, labels: (answers == labels).mean(),
        ],
        "The loop adds 1 every time, whether the two are equal or not: it needs an `if answer == label:`.": {
            "if answer == label:": "if True:"
        },
        "The first pair is left out: indices count from 0.": {
            "zip(answers, labels, strict=True)": "zip(answers[1:], labels[1:], strict=True)"
        },
        "The last pair is left out: a slice, or `range`, stops before its end.": {
            "zip(answers, labels, strict=True)": "zip(answers[:-1], labels[:-1], strict=True)"
        },
        "The count is set to 0 in every round. Set it once, above the loop.": (
            lambda answers, labels: float(answers[-1] == labels[-1]) / len(labels)
        ),
        "The count starts at 1 instead of 0.": {"right = 0": "right = 1"},
        "It divides by 4, whatever the number of labels: `len(labels)` works for lists of any length.": {
            "len(labels)": "4"
        },
        "It divides by 10, whatever the number of labels: `len(labels)` works for lists of any length.": {
            "len(labels)": "10"
        },
        "`is` tests whether two names mean the same object. Whether numbers are equal is tested with `==`.": {
            "answer == label": "answer is label"
        },
        "It returns None, which is to say nothing: the last line needs a `return`. (`print` only shows a number.)": [
            {"return right / len(labels)": "print(right / len(labels))"},
            {"return right / len(labels)": "right / len(labels)"},
        ],
        "`for answer, label in answers, labels` walks through the two lists as wholes: `zip(answers, labels)` pairs "
        "them.": {"zip(answers, labels, strict=True)": "(answers, labels)"},
    }
)


@fraction_right.mistake(
    "The right ones are divided by the wrong ones. Divide by the number of all, `len(labels)`."
)
def _(answers, labels):
    return sum(map(int.__eq__, answers, labels)) / sum(map(int.__ne__, answers, labels))


@fraction_right.mistake(
    "There is nothing to walk through in a number: `for i in range(len(labels)):`, or both lists with `zip`."
)
def _(answers, labels):
    return sum(answers[i] == labels[i] for i in len(labels))


@fraction_right.mistake(
    "`for i in answers` gives the entries, not their indices: `for i in range(len(answers))`, or both lists with `zip`."
)
def _(answers, labels):
    return sum(answers[i] == labels[i] for i in answers) / len(labels)


@fraction_right.mistake("It returns as soon as two are equal: `return` belongs below the loop.")
def _(answers, labels):
    for answer, label in zip(answers, labels, strict=True):
        if answer == label:
            return 1 / len(labels)
    return None


@fraction_right.mistake(
    "It asks whether an answer occurs anywhere among the labels. Compare the two in the same place."
)
def _(answers, labels):
    return sum(answer in labels for answer in answers) / len(labels)


@fraction_right.mistake(
    "Two loops, one in the other, compare every answer with every label. One loop, with `zip`."
)
def _(answers, labels):
    return sum(answer == label for answer in answers for label in labels) / len(labels)


# Section 3: tensors -------------------------------------------------------------------------------------------

shape_of_part = lesson.prediction(
    "shape_of_part",
    Question(
        (100, 14, 28),
        "`:100` keeps 100 images, `0` removes the channel axis, `14:` keeps rows 14 to 27, and the columns aren't "
        "indexed, so all 28 stay.",
        {
            (100, 1, 14, 28): "A slice keeps its axis, a number removes it: `0` picks the only channel.",
            (
                100,
                0,
                14,
                28,
            ): "A number removes its axis: `0` picks the first channel, and that axis is gone.",
            (100, 28, 14): "The third index is that of the rows: rows are cut, and all columns stay.",
            (100, 14, 14): "`14:` cuts the rows. The columns aren't indexed, so all 28 of them stay.",
            (100, 14): "The columns aren't indexed, so all 28 of them stay, as the last axis.",
            (100, 28): "A slice keeps its axis, also when it cuts: `14:` leaves 14 rows.",
            (
                100,
                1,
                28,
                14,
            ): "`0` removes the channel axis, and it is the rows that are cut, not the columns.",
            (28, 28): "`:100` and `14:` are slices, which keep their axes.",
            (100, 1, 28, 28): "`0` removes its axis, and `14:` keeps 14 of the 28 rows.",
            (100, 0, 14): "A number removes its axis, and the columns, which aren't indexed, all stay.",
            (100, 1, 14): "A number removes its axis, and the columns, which aren't indexed, all stay.",
            (
                100,
                28,
                28,
            ): "`14:` in the third place cuts the rows: from row 14 to the end, 14 of them are left.",
            (100, 13, 28): "Rows 14 to 27, both included, are 14 rows.",
            (100, 15, 28): "Rows 14 to 27, both included, are 14 rows.",
            (14, 28): "`:100` is a slice and keeps its axis, with 100 images.",
            (101, 14, 28): "`:100` stops before 100: images 0 to 99.",
            (99, 14, 28): "`:100` begins at 0 and stops before 100: images 0 to 99, a hundred of them.",
        },
    ),
    hints=[
        "`x` is (N, 1, 28, 28): image, channel, row, column.",
        "A number removes its axis, a slice keeps it.",
    ],
)


def _images(N, H, W, seed=0):
    return normal(N, 1, H, W, seed=seed)


@lesson.exercise(
    cases={
        "three small images, two of them ones": (
            torch.tensor(
                [[[[1.0, 2.0], [3.0, 4.0]]], [[[9.0, 9.0], [9.0, 9.0]]], [[[3.0, 4.0], [5.0, 6.0]]]]
            ),
            torch.tensor([1, 7, 1]),
            1,
        ),
        "four images, one of them a zero": (_images(4, 2, 3), torch.tensor([5, 0, 1, 9]), 0),
        "ten images that are wider than high": (_images(10, 3, 5, seed=1), torch.arange(10) % 3, 2),
        "twenty digits": (_images(20, 28, 28, seed=2), torch.arange(20) % 4, 3),
        "thirty images, all of one kind": (_images(30, 4, 4, seed=3), torch.full((30,), 8), 8),
    },
    hints=[
        "`labels == digit` is a mask with an entry for each image, and a mask in square brackets picks images.",
        "Picked by the mask alone, the images still have a channel axis. As in the cell above, add an index for it, "
        "`x[mask, 0]`. Then take the mean along axis 0.",
    ],
)
def mean_image(x, labels, digit):
    """Return the mean, (H, W), of those images in x (N, 1, H, W) whose label in labels (N,) is `digit`."""
    return x[labels == digit, 0].mean(dim=0)


mean_image.mistakes(
    {
        "The channel axis is still there: the result should be (H, W). Pick channel 0, which removes its axis.": {
            "digit, 0]": "digit]"
        },
        "That is the mean of all images. Pick those with `labels == digit` first.": {"labels == digit": ":"},
        "That is one number, the mean over images, rows and columns. Average over the images alone: `dim=0`.": {
            "mean(dim=0)": "mean()"
        },
        "That is the sum of the images. Divide by their number, or take `.mean(dim=0)`.": {".mean(": ".sum("},
        "That is the image in place `digit`. Pick all images whose label is `digit`: a mask, `labels == digit`.": [
            lambda x, labels, digit: x[digit, 0],
            lambda x, labels, digit: x[labels[digit], 0],
        ],
        "That is the image in place `digit`, with its channel axis. Pick all images whose label is `digit`: a mask, "
        "`labels == digit`.": lambda x, labels, digit: x[digit],
        "These are all the others: `==` picks the images whose label is `digit`, `!=` those with another.": {
            "==": "!="
        },
        "That is one brightness for each image. The mean is taken along axis 0, that of the images.": {
            "dim=0": "dim=(1, 2)"
        },
        "The labels themselves are used as indices. The mask `labels == digit` picks images.": [
            lambda x, labels, digit: x[labels, 0].mean(dim=0),
            lambda x, labels, digit: x[labels].mean(dim=0),
        ],
        "The size 28 is written in as a number: images of other sizes don't fit. No `reshape` is needed.": [
            lambda x, labels, digit: x[labels == digit].mean(dim=0).reshape(28, 28),
            lambda x, labels, digit: x[labels == digit].mean(dim=0).view(28, 28),
        ],
        "The pixels are compared with the digit. It is the labels that say which images to pick: `labels == digit`.": [
            lambda x, labels, digit: x[x == digit].mean(dim=0),
            lambda x, labels, digit: x[x == digit].mean(),
        ],
        "That is the mean of the labels. The mask picks images: `x[labels == digit, 0]`.": [
            lambda x, labels, digit: labels[labels == digit].mean(dim=0),
            lambda x, labels, digit: labels[labels == digit].float().mean(),
        ],
        "The mask itself is averaged. Put it in square brackets, to pick images of x.": [
            lambda x, labels, digit: (labels == digit).mean(dim=0),
            lambda x, labels, digit: (labels == digit).float().mean(dim=0),
        ],
        "That is the standard deviation. Take the mean.": {".mean(": ".std("},
        "That is the largest value of each pixel. Take the mean.": {"mean(dim=0)": "amax(dim=0)"},
        "That is the sum of the images, with its channel axis. Take the mean, of channel 0.": {
            "digit, 0].mean(": "digit].sum("
        },
        "Only the first images are averaged. The mask picks all of them; no slice is needed.": {
            ".mean(": "[:10].mean("
        },
        "The average runs along the rows of each image. Axis 0 is that of the images: `dim=0`.": {
            "dim=0": "dim=1"
        },
        "The average runs along the columns of each image. Axis 0 is that of the images: `dim=0`.": {
            "dim=0": "dim=2"
        },
        "The images are picked, but not averaged: `.mean(dim=0)`, since axis 0 is that of the images.": [
            {".mean(dim=0)": ""},
            lambda x, labels, digit: x[labels == digit].mean(dim=1),
            lambda x, labels, digit: x[labels == digit],
        ],
        "That is the first of these images only: does a loop return in its first round? Take the mean of all.": {
            ".mean(dim=0)": "[0]"
        },
        "That is the median. The mean is asked for: `.mean(dim=0)`.": {"mean(dim=0)": "median(dim=0).values"},
        "The sum is divided by the number of all images. Divide by the number of those you picked.": {
            "mean(dim=0)": "sum(dim=0) / len(x)"
        },
        "That is the image of zeros and ones where the mean is large. Return the mean itself.": {
            "mean(dim=0)": "mean(dim=0).round()"
        },
    }
)


# Section 5: a network -----------------------------------------------------------------------------------------


def _facts_of_classifier(build, pixels, classes, size):
    """What can be seen of a linear classifier from outside, with numbers of our own in its one layer."""
    net = build(pixels, classes)
    if not isinstance(net, nn.Module):
        return {"it is an nn.Module": False}
    shapes = sorted(tuple(part.shape) for part in net.parameters())
    facts = {"it is an nn.Module": True, "the shapes of its weights and biases": str(shapes)}
    are_right = shapes == [(classes,), (classes, pixels)]
    for part in net.parameters() if are_right else ():
        part.data = normal(*part.shape, seed=part.dim())
    scores = net(normal(*size))
    if not are_right:
        return facts
    trainable = isinstance(scores, torch.Tensor) and scores.requires_grad
    return facts | {"its scores": scores, "training can change its scores": trainable}


@lesson.exercise(
    observe=_facts_of_classifier,
    cases={
        "one image of four pixels": (4, 2, (1, 1, 2, 2)),
        "five images of six pixels": (6, 3, (5, 1, 2, 3)),
        "three digits": (784, 10, (3, 1, 28, 28)),
    },
    hints=[
        "In `__init__`: `self.layer = nn.Linear(pixels, classes)`. Without `self.` in front it is forgotten.",
        "In `forward`: `self.layer(x.flatten(1))`, with a `return` in front.",
    ],
)
class Classifier(nn.Module):
    """A linear classifier, from images with `pixels` pixels to scores for `classes` classes."""

    def __init__(self, pixels, classes):
        super().__init__()
        self.layer = nn.Linear(pixels, classes)

    def forward(self, x):
        """Return scores (N, classes) for the images x (N, 1, H, W)."""
        return self.layer(x.flatten(1))


_NO_WEIGHTS = (
    "The network has no weights of its own: is the layer made in `forward`, or kept in a list? Make it in `__init__`, "
    "as `self.layer = nn.Linear(pixels, classes)`."
)
Classifier.mistakes(
    {
        "`forward` returns nothing: it needs a `return`.": {"return self": "self"},
        "An image arrives as (1, H, W), but the layer expects a row of numbers. `x.flatten(1)` makes a new tensor: "
        "hand that to the layer, `self.layer(x.flatten(1))`.": {"x.flatten(1)": "x"},
        "`x.flatten()` makes one long row of all the images. `x.flatten(1)` keeps axis 0, one row for each image.": {
            "flatten(1)": "flatten()"
        },
        "`__init__` keeps no layer: `self.layer = nn.Linear(pixels, classes)`, with `self.` and a single `=`.": {
            "self.layer = nn": "layer = nn"
        },
        "`self.` is missing in front of `layer`: what `__init__` keeps for `forward` belongs to the object, `self`.": [
            {"self.layer = nn": "layer = nn", "self.layer(x": "layer(x"},
            {"return self.layer": "return layer"},
        ],
        "The sizes are written in as numbers. Use `pixels` and `classes`, which are handed over.": [
            {"nn.Linear(pixels, classes)": "nn.Linear(784, 10)"},
            {"nn.Linear(pixels, classes)": "nn.Linear(784, classes)"},
            {"nn.Linear(pixels, classes)": "nn.Linear(pixels, 10)"},
        ],
        "The layer takes all the pixels of an image, not one row of them: `nn.Linear(pixels, classes)`.": {
            "(pixels, classes)\n": "(28, classes)\n"
        },
        "Inputs come first: `nn.Linear(pixels, classes)`.": {"(pixels, classes)\n": "(classes, pixels)\n"},
        "There are two layers. This network has one, from `pixels` to `classes`.": [
            {
                "(pixels, classes)\n": "(pixels, 128)\n        self.last = nn.Linear(128, classes)\n",
                "return": "return self.last(",
                "flatten(1))": "flatten(1)))",
            },
        ],
        "There is a softmax at the end, which the training would apply once more. Return the scores.": [
            {"self.layer(x.flatten(1))": "self.layer(x.flatten(1)).softmax(dim=1)"},
            {"self.layer(x.flatten(1))": "self.layer(x.flatten(1)).log_softmax(dim=1)"},
        ],
        "A ReLU at the end sets negative scores to 0. Return the scores as they are.": {
            "self.layer(x.flatten(1))": "self.layer(x.flatten(1)).relu()"
        },
        "It returns the digit with the highest score. Training needs the scores themselves.": {
            "self.layer(x.flatten(1))": "self.layer(x.flatten(1)).argmax(dim=1)"
        },
        "It returns the scores of the first image only.": {
            "self.layer(x.flatten(1))": "self.layer(x.flatten(1))[0]"
        },
        "The scores are cut off from the weights, so training could change nothing: no `.detach()`, no `no_grad`.": {
            "self.layer(x.flatten(1))": "self.layer(x.flatten(1)).detach()"
        },
        "The layer has no biases. Leave `nn.Linear` as it comes, without `bias=False`.": {
            "classes)\n": "classes, bias=False)\n"
        },
        "The images are flattened, but no layer is applied to them.": {
            "self.layer(x.flatten(1))": "x.flatten(1)"
        },
        "`forward` has too few arguments: `def forward(self, x)`.": [
            {"def forward(self, x)": "def forward(x)"},
            {"def forward(self, x)": "def forward(self)"},
        ],
        "`__init__` lacks its first argument: `def __init__(self, pixels, classes)`.": {
            "__init__(self, pixels": "__init__(pixels"
        },
        "There is no `__init__` that takes pixels and classes: it has two underscores on each side.": {
            "__init__(self, pixels": "_init_(self, pixels"
        },
        "The network isn't an `nn.Module`, so it can't be trained: `class Classifier(nn.Module):`.": {
            "class Classifier(nn.Module)": "class Classifier",
            "super().__init__()": "pass",
        },
        "`super().__init__()` is missing at the beginning of `__init__`. It prepares the network for layers.": {
            "super().__init__()": "pass"
        },
        _NO_WEIGHTS: [
            {
                "self.layer = nn.Linear(pixels, classes)": "pass",
                "self.layer(x": "nn.Linear(x[0].numel(), 10)(x",
            },
            {
                "= nn.Linear(pixels, classes)": "= [nn.Linear(pixels, classes)]",
                "self.layer(x": "self.layer[0](x",
            },
        ],
    }
)


# Section 6: a hidden layer ------------------------------------------------------------------------------------


def _digits_kept_back():
    return data.mnist("sample").test


@lesson.trained_model(
    attempt="own_net",
    held_out=_digits_kept_back,
    score=lambda scores, labels: {"accuracy": (scores.argmax(dim=1) == labels).sum().item() / len(labels)},
    floors={"accuracy": 0.9},
    hints=[
        "The first line makes the network: `net = nn.Sequential(...)`, with the layers from the text above.",
        "The second line trains it, as above: `train.fit(net, train_digits.batches(128, shuffle=True), "
        "valid_digits.batches(500), epochs=15)`. The third is `return net`.",
    ],
)
def first_net(train_digits, valid_digits):
    """Return a network with a hidden layer, trained on the split train_digits."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    train.fit(net, train_digits.batches(128, shuffle=True), valid_digits.batches(500), epochs=15)
    return net


def _is_straight(model, digits):
    one, other = digits.x[:300], digits.x[300:600]
    straight = model(one) + model(other) - model(torch.zeros_like(one))
    return torch.allclose(model(one + other), straight, rtol=1e-3, atol=1e-3)


@first_net.symptom(
    "There is a softmax at its end, and the training applied another: its rows sum to one. End with the last "
    "`nn.Linear`.",
    always=True,
)
def _(model, digits):
    return torch.allclose(model(digits.x).sum(dim=1), torch.ones(len(digits)), atol=1e-3)


@first_net.symptom(
    "It never gives a negative score: is the `nn.ReLU()` at its end? It belongs between the two linear layers.",
    always=True,
)
def _(model, digits):
    return bool((model(digits.x) >= 0).all())


@first_net.symptom(
    "It is a linear classifier: either it has a single layer, or there is no `nn.ReLU()` between two. (Was it the "
    "network you trained here, or an earlier `net`?)",
    always=True,
)
def _(model, digits):
    return _is_straight(model, digits)


@first_net.symptom(
    "Right as often as by guessing: was it trained at all? `train.fit` has to get the same network that you return."
)
def _(model, digits):
    return (model(digits.x).argmax(dim=1) == digits.y).float().mean() < 0.3


@first_net.symptom(
    "It has a hidden layer, but it has not learned enough yet: train for more epochs, 15 or 20."
)
def _(model, digits):
    return (model(digits.x).argmax(dim=1) == digits.y).float().mean() > 0.6


# Section 9: views and copies ----------------------------------------------------------------------------------


def _frame_and_original(framed, image, width):
    """The framed image, and what became of the original, which is handed over as a copy."""
    original = image.clone()
    result = framed(original, width)
    if not isinstance(result, torch.Tensor):
        return {"what comes back": type(result).__name__}
    return {
        "what comes back": "Tensor",
        "the frame": result.clone(),
        "the original is unchanged": torch.equal(original, image),
        "the result is a copy": result.data_ptr() != original.data_ptr(),
    }


@lesson.exercise(
    observe=_frame_and_original,
    cases={
        "one pixel around a 3 × 4 image": (torch.zeros(3, 4), 1),
        "two pixels around a digit": (normal(28, 28), 2),
        "three pixels around an image that is higher than wide": (normal(12, 8, seed=1), 3),
        "a width of 0": (normal(5, 5, seed=2), 0),
        "one pixel around a 6 × 7 image": (normal(6, 7, seed=3), 1),
    },
    hints=[
        "Begin with `result = image.clone()`, and write into `result` alone.",
        "`result[:width] = 1` makes the upper edge black. For the lower one begin at `H - width`, where "
        "`H, W = image.shape`.",
        "Four lines, one for each edge, then `return result`. Why not `result[-width:]`? With a width of 0 it is all "
        "of the image.",
    ],
)
def framed(image, width):
    """Return a copy of the image (H, W) with a frame of ones, `width` pixels wide, which may be 0."""
    H, W = image.shape
    result = torch.ones_like(image)
    result[width : H - width, width : W - width] = image[width : H - width, width : W - width]
    return result


def _frame(
    *, top=True, bottom=True, left=True, right=True, value=1, last=0, add=False, of=lambda width: width
):
    """The solution edge by edge, with what can go wrong as arguments."""

    def framed(image, width):
        (H, W), width = image.shape, of(width)
        result = image.clone()
        for there, edge in (
            (top, result[:width]),
            (bottom, result[H - width - last :]),
            (left, result[:, :width]),
            (right, result[:, W - width - last :]),
        ):
            if there:
                edge[:] = edge + value if add else value
        return result

    return framed


framed.slips(
    _frame,
    {
        "The upper edge is missing.": {"top": False},
        "The lower edge is missing.": {"bottom": False},
        "The left edge is missing.": {"left": False},
        "The right edge is missing.": {"right": False},
        "Only rows are framed. `result[:, :width]` are the first columns.": {"left": False, "right": False},
        "Only columns are framed. `result[:width]` are the first rows.": {"top": False, "bottom": False},
        "Only the upper and the left edge are framed.": {"bottom": False, "right": False},
        "Only the upper edge is framed.": {"bottom": False, "left": False, "right": False},
        "It returns an unframed copy. `result[:width] = 1` writes into the first rows; `result[:width] == 1` or a new "
        "name does not.": {"top": False, "bottom": False, "left": False, "right": False},
        "The frame is 0, which is white. Ink is 1.": {"value": 0},
        "The lower and the right edge are one pixel too narrow: the last `width` rows begin at `H - width`.": {
            "last": -1
        },
        "1 is added to the edges. Set them to 1: `=` instead of `+=`.": {"add": True},
        "At the lower and the right edge it is one pixel too wide: the last `width` rows begin at `H - width`.": {
            "last": 1
        },
        "Only one row or column is drawn at each edge, whatever `width` says: slices, such as `[:width]`.": {
            "of": lambda width: min(width, 1)
        },
    },
)


@framed.mistake(
    "The original is changed, too, for a slice is a view. Begin with `image.clone()`, and write into that."
)
def _(image, width):
    image[:] = _frame()(image, width)
    return image


@framed.mistake(
    "With a width of 0 the original itself is returned, not a copy: whoever writes into one changes both."
)
def _(image, width):
    return image if width == 0 else _frame()(image, width)


@framed.mistake(
    "It is the inside that is 1, and the frame that is left. Write into the outermost rows and columns."
)
def _(image, width):
    H, W = image.shape
    result = image.clone()
    result[width : H - width, width : W - width] = 1
    return result


@framed.mistake("The inside is blank: begin with a copy of the image, `image.clone()`.")
def _(image, width):
    return _frame()(torch.zeros_like(image), width)


@framed.mistake(
    "The size 28 is written in as a number. Use `H, W = image.shape`, which holds for images of any size."
)
def _(image, width):
    result = image.clone()
    result[:width], result[28 - width :], result[:, :width], result[:, 28 - width :] = 1, 1, 1, 1
    return result


@framed.mistake(
    "None comes back: it needs a `return`, at its end and in any case. (`print` only shows the result.)"
)
def _(image, width):
    _frame()(image, width)


@framed.mistake("For a width of 0 None comes back: the `return` stands inside an `if`. Put it below.")
def _(image, width):
    return _frame()(image, width) if width else None


def _with_negative_slices(image, width):
    result = image.clone()
    result[:width], result[-width:], result[:, :width], result[:, -width:] = 1, 1, 1, 1
    return result


framed.mistakes(
    {
        "With a width of 0, `-width` is 0 as well: `[-width:]` is all of the image, and `[width:-width]` is empty. "
        "Count from the front: `H - width`.": [
            _with_negative_slices,
            lambda image, width: nn.functional.pad(image[width:-width, width:-width], [width] * 4, value=1),
        ]
    }
)


@framed.mistake("The frame is put around the image, which grows. It replaces the outermost rows and columns.")
def _(image, width):
    return nn.functional.pad(image, [width] * 4, value=1)


@framed.mistake(
    "A row or column at a distance of `width` is drawn, not all up to it: slices, such as `[:width]`."
)
def _(image, width):
    H, W = image.shape
    result = image.clone()
    result[width], result[H - width - 1], result[:, width], result[:, W - width - 1] = 1, 1, 1, 1
    return result


# Section 11: questions -----------------------------------------------------------------------------------------

quiz = lesson.quiz(
    "quiz",
    hints=[
        "Every answer is in the lesson: sections 1, 1, 8, 3, 4, 9 and 5.",
        "Try it out: add a cell, and ask the kernel.",
    ],
    name_error=Question(
        "b",
        "The kernel has forgotten all variables. Run the cells above, and they are there again.",
        {
            "a": "Installed packages stay where they are. It is the variables of this notebook that are gone.",
            "c": "The cell is fine. The kernel that runs it no longer knows its variables.",
            "d": "What was saved is text, code and outputs. The variables were in the kernel.",
        },
    ),
    saved=Question(
        "c",
        "The notebook holds text, code and outputs. Variables live in the kernel, and files on a disk that goes with "
        "it.",
        {
            "a": "The variables live in the kernel, which is gone: run the cells again.",
            "b": "The disk goes with the machine. Save to Drive what you want to keep.",
            "d": "Your copy in Drive keeps all you wrote, and the outputs below it.",
        },
    ),
    shape=Question(
        (5, 4),
        "Aligned at the right, (5, 1) over (4,): the missing axis is stretched to 5, the 1 to 4.",
        {
            (5,): "The result has two axes, like the larger of the two shapes.",
            (4,): "The result has two axes, like the larger of the two shapes.",
            (5, 1): "The 1 is stretched to 4.",
            (4, 1): "The result has 5 where one shape has 5 and the other nothing, and 4 where one has 1.",
            (1, 4): "The first axis has 5 and nothing: what is missing is stretched to 5.",
            (5, 1, 4): "Aligned at the right, the two shapes have two axes together, not three.",
            (4, 5): "Align them at the right: the 4 stands under the 1.",
            (5, 5): "The last axis has 1 and 4: the 1 is stretched to 4.",
            (4, 4): "The first axis has 5 and nothing: what is missing is stretched to 5.",
            (20,): "Axes stay apart: broadcasting stretches them, it does not join them.",
        },
    ),
    reduced=Question(
        "a",
        "`dim=0` removes the axis of the images: one mean image remains.",
        {
            "b": "That is `mean(dim=1)` on (10, 28, 28), or the mean over rows. `dim=0` removes axis 0.",
            "c": "One number comes from `mean()`, without `dim`.",
            "d": "`dim=0` removes axis 0, the images. Their own rows and columns stay.",
        },
    ),
    first_look=Question(
        "d",
        "The last line says what went wrong. Then go up to your own lines.",
        {
            "a": "The first line only says that an error message follows.",
            "b": "The arrows show where. First find out what: the last line.",
            "c": "It may help later, with the last line as the search. Read that line first.",
        },
    ),
    changed=Question(
        "b",
        "`part` is a view: the same numbers under another name. `.clone()` would have made a copy.",
        {
            "a": "`part` is a view of `image`, so writing into one changes both.",
            "c": "Nothing forbids it, and that is the trap.",
            "d": "A view has its own shape, but the numbers are those of `image`.",
        },
    ),
    called=Question(
        "c",
        "Calling the network runs `forward`.",
        {
            "a": "`__init__` runs once, when the network is made: `Classifier(784, 10)`.",
            "b": "`train.fit` trains, and it is you who calls it.",
            "d": "`super().__init__()` is a line of `__init__`, which runs when the network is made.",
        },
    ),
)
