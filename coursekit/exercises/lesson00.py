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
        "A makes x 2; B makes it 6, and then 18; C shows x + 1. It is the run that counts, not the place on the page.",
        {
            7: "B was run twice, and each run multiplies x by 3.",
            18: "That is x. Cell C shows x + 1.",
            3: "B was run, twice, before C: x is no longer 2.",
            55: "B was run twice, not three times.",
            20: "C shows x + 1, once.",
            13: "B multiplies x by 3. It doesn't add to it, and it was run twice.",
        },
    ),
    hints=[
        "After A, x is 2. After the first run of B it is 6.",
        "B is run once more, on the x that is there now.",
    ],
)


# Section 2: Python --------------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "one answer, and it is right": ([4], [4]),
        "three of four": ([7, 2, 1, 0], [7, 2, 9, 0]),
        "none right": ([1, 1, 1], [0, 2, 3]),
        "the first is wrong": ([0, 1, 2, 3, 4], [5, 1, 2, 3, 4]),
        "the last is wrong": ([5, 1, 2], [5, 1, 3]),
        "the right digits in another order": ([1, 2, 3, 4], [4, 3, 2, 1]),
        "ten answers": ([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [3, 1, 4, 4, 5, 9, 1, 6, 2, 3]),
        "words": (["cat", "dog"], ["cat", "cow"]),
    },
    hints=[
        "Begin with `right = 0`. In the loop, an `if` adds 1 where the two agree.",
        "Below the loop, no longer indented under it: `return right / len(labels)`.",
        "The loop is `for answer, label in zip(answers, labels):`, and in it `if answer == label:` and, indented once "
        "more, `right = right + 1`.",
    ],
)
def fraction_right(answers, labels):
    """Return the fraction of `answers` that agree with `labels`, two lists of equal length."""
    right = 0
    for answer, label in zip(answers, labels, strict=True):
        if answer == label:
            right = right + 1
    return right / len(labels)


fraction_right.mistakes(
    {
        "That is how many agree. A fraction of all: divide by `len(labels)`.": {" / len(labels)": ""},
        "That is the fraction that is wrong: `==` asks whether two things are equal, `!=` whether they differ.": {
            "==": "!="
        },
        "The loop ends in its first round: `return` belongs below the loop, not indented under it.": [
            lambda answers, labels: float(answers[0] == labels[0]) / len(labels),
            lambda answers, labels: float(answers[0] == labels[0]),
        ],
        "That is in percent. A fraction runs from 0 to 1.": {
            "right / len(labels)": "100 * right / len(labels)"
        },
        "It is 0 unless all of them agree. Count those that do, one by one, and divide with `/`, not with `//`.": [
            {" / ": " // "},
            lambda answers, labels: answers == labels,
            lambda answers, labels: float(answers == labels),
        ],
        "The loop adds 1 every time, whether they agree or not: it needs an `if answer == label:`.": {
            "if answer == label:": "if True:"
        },
        "The first pair is left out: indices count from 0.": {
            "zip(answers, labels, strict=True)": "zip(answers[1:], labels[1:], strict=True)"
        },
        "The last pair is left out: a slice, or `range`, stops before its end.": {
            "zip(answers, labels, strict=True)": "zip(answers[:-1], labels[:-1], strict=True)"
        },
        "`right = 0` stands inside the loop, so the count begins afresh in every round: put it above the loop.": (
            lambda answers, labels: float(answers[-1] == labels[-1]) / len(labels)
        ),
        "The count begins at 1 instead of 0.": {"right = 0": "right = 1"},
        "The right ones are divided by the wrong ones. Divide by all of them, `len(labels)`.": lambda answers, labels: (
            sum(map(int.__eq__, answers, labels)) / sum(map(int.__ne__, answers, labels))
        ),
        "Dividing by `len(labels) - 1` counts one pair too few.": {"/ len(labels)": "/ (len(labels) - 1)"},
        "It prints its result. `return` hands it back, so that others can use it.": {
            "return right / len(labels)": "print(right / len(labels))"
        },
    }
)


@fraction_right.mistake(
    "It returns as soon as two agree: `return` belongs below the loop, not indented under it."
)
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


# Section 3: tensors -------------------------------------------------------------------------------------------

shape_of_part = lesson.prediction(
    "shape_of_part",
    Question(
        (100, 14, 28),
        "`:100` keeps 100 images, `0` removes the channel axis, `14:` keeps rows 14 to 27, and nothing is said of the "
        "columns, so all 28 stay.",
        {
            (100, 1, 14, 28): "A slice keeps its axis, a number removes it: `0` picks the only channel.",
            (100, 0, 14, 28): "A number removes its axis: `0` picks the first channel, and no axis remains.",
            (100, 28, 14): "The third place is for rows: it is rows that are cut, and the columns stay.",
            (100, 14, 14): "`14:` cuts the rows. Nothing is said of the columns, so all 28 of them stay.",
            (100, 14): "Nothing is said of the last axis, so all 28 columns stay.",
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


def _images(N, H, W, seed=0, dtype=torch.float32):
    return normal(N, 1, H, W, seed=seed, dtype=dtype)


@lesson.exercise(
    cases={
        "three small images, two of them ones": (
            torch.tensor(
                [[[[1.0, 2.0], [3.0, 4.0]]], [[[9.0, 9.0], [9.0, 9.0]]], [[[3.0, 4.0], [5.0, 6.0]]]]
            ),
            torch.tensor([1, 7, 1]),
            1,
        ),
        "a single zero": (_images(4, 2, 3), torch.tensor([5, 0, 1, 9]), 0),
        "ten images that are wider than high": (_images(10, 3, 5, seed=1), torch.arange(10) % 3, 2),
        "twenty digits": (_images(20, 28, 28, seed=2), torch.arange(20) % 4, 3),
        "float64 images": (_images(6, 4, 4, seed=3, dtype=torch.float64), torch.arange(6) % 2, 1),
    },
    hints=[
        "`labels == digit` is a mask with an entry for each image, and `x[labels == digit]` picks images by it.",
        "`x[labels == digit, 0]` picks the channel as well: (n, H, W). Then take the mean along axis 0.",
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
        "The average runs along the rows of each image. Axis 0 is that of the images: `dim=0`.": {
            "dim=0": "dim=1"
        },
        "The average runs along the columns of each image. Axis 0 is that of the images: `dim=0`.": {
            "dim=0": "dim=2"
        },
        "The images are picked, but not averaged: `.mean(dim=0)`.": [
            {".mean(dim=0)": ""},
            lambda x, labels, digit: x[labels == digit],
        ],
        "That is the first of these images only. Take the mean of all of them.": {".mean(dim=0)": "[0]"},
        "That is the median. The mean is asked for: `.mean(dim=0)`.": {"mean(dim=0)": "median(dim=0).values"},
        "The sum is divided by the number of all images. Divide by the number of those you picked.": {
            "mean(dim=0)": "sum(dim=0) / len(x)"
        },
        "That is the image of zeros and ones where the mean is large. Return the mean itself.": {
            "mean(dim=0)": "mean(dim=0).round()"
        },
    }
)


# Section 6: a network -----------------------------------------------------------------------------------------


def _facts_of_classifier(build, pixels, classes, size):
    """What can be seen of a linear classifier from outside, with numbers of our own in its one layer."""
    net = build(pixels, classes)
    if not isinstance(net, nn.Module):
        return {"what comes back": type(net).__name__}
    shapes = sorted(tuple(part.shape) for part in net.parameters())
    facts = {"what comes back": "an nn.Module", "the shapes of its parameters": shapes}
    if shapes == [(classes,), (classes, pixels)]:
        for part in net.parameters():
            part.data = normal(*part.shape, seed=part.dim())
    return facts | {"its scores": net(normal(*size))}


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


Classifier.mistakes(
    {
        "`forward` returns nothing: it needs a `return`.": {"return self": "self"},
        "An image arrives as (1, H, W), but the layer expects a row of numbers: `x.flatten(1)` first.": {
            "x.flatten(1)": "x"
        },
        "`x.flatten()` makes one long row of all the images. `x.flatten(1)` keeps axis 0, one row for each image.": {
            "flatten(1)": "flatten()"
        },
        "The layer is not kept: without `self.` in front, its name is forgotten when `__init__` ends.": {
            "self.layer = nn": "layer = nn"
        },
        "The layer is made anew whenever `forward` is called, so nothing it learns is kept. Make it in `__init__`.": {
            "self.layer(x": "nn.Linear(x[0].numel(), self.layer.out_features)(x"
        },
        "The sizes are written in as numbers. Use `pixels` and `classes`, which are handed over.": {
            "nn.Linear(pixels, classes)": "nn.Linear(784, 10)"
        },
        "Inputs come first: `nn.Linear(pixels, classes)`.": {"(pixels, classes)\n": "(classes, pixels)\n"},
        "There is a softmax at the end, which the training would apply once more. Return the scores.": {
            "self.layer(x.flatten(1))": "self.layer(x.flatten(1)).softmax(dim=1)"
        },
        "A ReLU at the end sets negative scores to 0. Return the scores as they are.": {
            "self.layer(x.flatten(1))": "self.layer(x.flatten(1)).relu()"
        },
        "It returns the digit with the highest score. Training needs the scores themselves.": {
            "self.layer(x.flatten(1))": "self.layer(x.flatten(1)).argmax(dim=1)"
        },
        "The layer has no biases. Leave `nn.Linear` as it comes, without `bias=False`.": {
            "classes)\n": "classes, bias=False)\n"
        },
        "The images are flattened, but no layer is applied to them.": {
            "self.layer(x.flatten(1))": "x.flatten(1)"
        },
    }
)


# Section 7: a hidden layer ------------------------------------------------------------------------------------


def _digits_kept_back():
    return data.mnist("sample").test


@lesson.trained_model(
    attempt="own_net",
    held_out=_digits_kept_back,
    score=lambda scores, labels: {"accuracy": (scores.argmax(dim=1) == labels).float().mean().item()},
    floors={"accuracy": 0.9},
    hints=[
        "The first line makes the network: `net = nn.Sequential(...)`, with the layers from the text above.",
        "The second line trains it, as above: `train.fit(net, digits.train.batches(128, shuffle=True), "
        "digits.valid.batches(1000), epochs=10)`. The third is `return net`.",
    ],
)
def first_net(digits):
    """Return a network with a hidden layer, from images to scores (N, 10), trained on digits.train."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    train.fit(net, digits.train.batches(128, shuffle=True), digits.valid.batches(1000), epochs=15)
    return net


@first_net.symptom(
    "Right as often as by guessing: was it trained at all? `train.fit` has to get the same network that you return."
)
def _(model, digits):
    return (model(digits.x).argmax(dim=1) == digits.y).float().mean() < 0.3


@first_net.symptom(
    "Its rows sum to one: there is a softmax at its end, and the training applied another. End with the last "
    "`nn.Linear`."
)
def _(model, digits):
    return torch.allclose(model(digits.x).sum(dim=1), torch.ones(len(digits)), atol=1e-3)


@first_net.symptom(
    "Without an `nn.ReLU()` between them, two linear layers are no more than one. Put it in between."
)
def _(model, digits):
    one, other = digits.x[:300], digits.x[300:600]
    straight = model(one) + model(other) - model(torch.zeros_like(one))
    return torch.allclose(model(one + other), straight, rtol=1e-3, atol=1e-3)


@first_net.symptom(
    "It has a hidden layer, but it has not learned enough yet: train for more epochs, 10 or 15."
)
def _(model, digits):
    return (model(digits.x).argmax(dim=1) == digits.y).float().mean() > 0.6


# Section 8: views and copies ----------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "one pixel around 3 × 4": (torch.zeros(3, 4), 1),
        "two pixels around a digit": (normal(28, 28), 2),
        "three pixels, higher than wide": (normal(12, 8, seed=1), 3),
        "no frame at all": (normal(5, 5, seed=2), 0),
        "a float64 image": (normal(6, 7, seed=3, dtype=torch.float64), 1),
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
    """Return a copy of the image (H, W) whose outermost `width` rows and columns are 1. `width` may be 0."""
    H, W = image.shape
    result = torch.ones_like(image)
    result[width : H - width, width : W - width] = image[width : H - width, width : W - width]
    return result


def _frame(*, top=True, bottom=True, left=True, right=True, value=1, last=0, of=lambda width: width):
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
                edge[:] = value
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
        "The frame is 0, which is white. Ink is 1.": {"value": 0},
        "At the lower and the right edge it is one pixel too wide: the last `width` rows begin at `H - width`.": {
            "last": 1
        },
        "Only one row or column is drawn at each edge, whatever `width` says: slices, such as `[:width]`.": {
            "of": lambda width: min(width, 1)
        },
    },
)


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


# Section 10: questions -----------------------------------------------------------------------------------------

quiz = lesson.quiz(
    "quiz",
    hints=[
        "Every answer is in the lesson: sections 1, 1, 3, 3, 4, 8 and 6.",
        "Try it out: add a cell, and ask the kernel.",
    ],
    name_error=Question(
        "b",
        "The kernel has forgotten all names. Run the cells above, and they are there again.",
        {
            "a": "Installed packages stay where they are. It is the names of this notebook that are gone.",
            "c": "The cell is fine. The kernel that runs it no longer knows its names.",
            "d": "What was saved is text, code and outputs. The names were in the kernel.",
        },
    ),
    saved=Question(
        "c",
        "Text, code and outputs are in the file. Names live in the kernel, other files on a disk, and both go.",
        {
            "a": "The names live in the kernel, which is gone: run the cells again.",
            "b": "The disk goes with the machine. Save to Drive what you want to keep.",
            "d": "Your copy in Drive keeps all you wrote, and the outputs below it.",
        },
    ),
    shape=Question(
        (5, 4),
        "Aligned at the right, (5, 1) over (4,): the missing axis is stretched to 5, the 1 to 4.",
        {
            (5,): "Two axes meet here: the result has two, like the larger of the two shapes.",
            (4,): "Two axes meet here: the result has two, like the larger of the two shapes.",
            (5, 1): "The 1 is stretched to 4.",
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
            "a": "`part` shows the same numbers as `digit`, so writing into one changes both.",
            "c": "Nothing forbids it, and that is the trap.",
            "d": "A view has its own shape, but the numbers are those of `digit`.",
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
