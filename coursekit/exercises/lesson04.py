"""The exercises of lesson 4, Convolutional networks: solutions, classic mistakes, hints."""

import functools
import itertools
import math
import re

import torch
import torch.nn.functional as F
from torch import nn

from coursekit import data, train
from coursekit.checks import ExerciseSet, Question, normal

lesson = ExerciseSet("Lesson 4")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# Section 1: from a dense layer to a convolution -------------------------------------------------------------------


dense_edge_weights = lesson.prediction(
    "dense_edge_weights",
    Question(
        8.0,
        "280 · 320 inputs times 280 · 319 outputs: 8.0 · 10⁹ weights, 8.0 billion, to take differences of neighbours.",
        {
            8_003_072_000: "The number is right. In units of 10⁹ it is 8.0.",
            8000: "That is in millions. In units of 10⁹ it is a thousandth of that.",
            0.0: "Well above zero. There are 89,600 inputs and 89,320 outputs, and a weight for every pair.",
            16.0: "One weight for every pair of input and output, not two.",
            2.0: "Two weights would do, but a dense layer has one for every pair of input and output.",
            32.0: "That is their weight in gigabytes, at four bytes each.",
        },
        tolerance=0.05,
    ),
    hints=[
        "How many numbers go in, and how many come out? Each output has a weight for every input.",
        "280 · 320 inputs, 280 · 319 outputs: multiply, and divide by 10⁹.",
    ],
)


# Section 2: the sliding window ------------------------------------------------------------------------------------


def _respond(kernel, image):
    return F.conv2d(image[None, None], kernel[None, None])[0, 0]


@lesson.exercise(
    cases={
        "the example on paper": (torch.arange(9.0).reshape(3, 3), torch.tensor([[1.0, 0.0], [0.0, -2.0]])),
        "a kernel of one row": (
            torch.tensor([[1.0, 2.0, 4.0, 8.0], [0.0, 1.0, 0.0, 1.0]]),
            torch.tensor([[1.0, 10.0, 100.0]]),
        ),
        "a kernel of one number": (
            torch.tensor([[1.0, 2.0, 4.0, 2.0, 1.0], [0.0, 5.0, 3.0, 1.0, 7.0], [3.0, 0.0, 1.0, 2.0, 9.0]]),
            torch.tensor([[10.0]]),
        ),
        "kernel as large as image": (normal(3, 5), normal(3, 5, seed=1)),
        "a square kernel": (normal(5, 6), normal(3, 3, seed=1)),
        "a wide kernel": (normal(7, 5), normal(2, 3, seed=1)),
        "a tall kernel": (normal(6, 9), normal(4, 2, seed=1)),
        "float64 numbers": (normal(5, 7, dtype=torch.float64), normal(3, 2, seed=1, dtype=torch.float64)),
    },
    hints=[
        "The output at (i, j) is the sum over the window `image[i : i + h, j : j + w]`, weighted by the kernel.",
        "There are H − h + 1 places from top to bottom, and W − w + 1 from left to right.",
        "Two loops will do: `result[i, j] = (window * kernel).sum()`.",
    ],
)
def convolve_2d(image, kernel):
    """Return what a convolutional layer computes: the kernel (h, w), as it is, slid over the image (H, W).

    The result has shape (H − h + 1, W − w + 1): the kernel lies entirely on the image.
    """
    h, w = kernel.shape
    windows = image.unfold(0, h, 1).unfold(1, w, 1)  # (H − h + 1, W − w + 1, h, w)
    return (windows * kernel).sum(dim=(2, 3))


_PRODUCTS = (lambda window, kernel: (window * kernel).sum()), (lambda window, kernel: (kernel * window).sum())


def _in_loops(
    sizes=lambda *sizes: sizes,
    product=_PRODUCTS[0],
    window=lambda image, i, j, h, w: image[i : i + h, j : j + w],
    room=1,
):
    """The loop over all places, with what can go wrong as arguments; errors are those of the loop, too."""

    def slide(image, kernel):
        H, W, h, w = sizes(*image.shape, *kernel.shape)
        result = image.new_zeros(H - h + room, W - w + room)
        for i, j in itertools.product(range(H - h + 1), range(W - w + 1)):
            result[i, j] = product(window(image, i, j, h, w), kernel)
        return result

    return slide


def _masked(kernel, image, rows, columns):
    """The right response to the kernel with 0 outside of the given rows and columns."""
    kept = torch.zeros_like(kernel)
    kept[rows, columns] = kernel[rows, columns]
    return _respond(kept, image)


convolve_2d.mistakes(
    {
        "The kernel was flipped. That is the convolution of mathematics; libraries "
        "slide the kernel as it is.": lambda image, kernel: _respond(kernel.flip(0, 1), image),
        "The last row and column are missing: there are H − h + 1 places from top to bottom, not H − h.": [
            lambda image, kernel: _respond(kernel, image)[:-1, :-1],
            lambda image, kernel: _respond(kernel.flip(0, 1), image)[:-1, :-1],
        ],
        "That is the mean over the window. Return the weighted sum: `.sum()`.": lambda image, kernel: (
            _respond(kernel, image) / kernel.numel()
        ),
        "The rows of the window meet the columns of the kernel. Did you transpose "
        "the kernel?": lambda image, kernel: _respond(kernel.T, image),
        "The result is transposed: i counts rows, j counts columns.": lambda image, kernel: (
            _respond(kernel, image).T
        ),
        "There are two axes of size 1 too many, for examples and channels: take "
        "`[0, 0]` of the result.": lambda image, kernel: F.conv2d(image[None, None], kernel[None, None]),
        "Height and width are mixed up: the kernel has h rows, which slide along the H rows of the image, and w "
        "columns.": [
            {"unfold(0, h, 1).unfold(1, w, 1)": "unfold(0, w, 1).unfold(1, h, 1)"},
            *(
                _in_loops(sizes, product)
                for product in _PRODUCTS
                for sizes in (
                    lambda H, W, h, w: (W, H, w, h),
                    lambda H, W, h, w: (W, H, h, w),
                    lambda H, W, h, w: (H, W, w, h),
                )
            ),
        ],
        "The kernel is not used: these are plain sums over the window. Multiply by the kernel first.": {
            "(windows * kernel)": "windows"
        },
        "Only the last number of the kernel counts: each product overwrites the one before. Add them up with "
        "`+=`.": lambda image, kernel: kernel[-1, -1] * image[kernel.shape[0] - 1 :, kernel.shape[1] - 1 :],
        "The sum goes over one axis of the window only. Add up its rows and its columns.": [
            {"dim=(2, 3)": "dim=3"},
            {"dim=(2, 3)": "dim=2"},
        ],
        "That is the largest product in the window. Add all of them up: `.sum()`.": {".sum(dim": ".amax(dim"},
        "The kernel is not always square: its height h and its width w are `h, w = kernel.shape`, and each belongs to "
        "its own axis.": [
            _in_loops(sizes, product)
            for product in _PRODUCTS
            for sizes in (lambda H, W, h, w: (H, W, h, h), lambda H, W, h, w: (H, W, w, w))
        ],
        "`@` is the matrix product: rows times columns. Here each number of the window meets the number of the kernel "
        "in the same place, `(window * kernel).sum()`.": [
            _in_loops(product=lambda a, b: (b @ a).sum()),
            _in_loops(product=lambda a, b: (a @ b).sum()),
            _in_loops(product=lambda a, b: (a @ b.T).sum()),
            _in_loops(product=lambda a, b: (a.T @ b).sum()),
        ],
        "At each place a single number comes out, but here the h · w products are still apart. Add them up: "
        "`(window * kernel).sum()`.": [
            _in_loops(product=lambda a, b: a * b),
            {".sum(dim=(2, 3))": ""},
        ],
        "Only one axis of the kernel is flipped, and here none should be: slide the kernel as it is.": [
            lambda image, kernel: _respond(kernel.flip(0), image),
            lambda image, kernel: _respond(kernel.flip(1), image),
        ],
        "The last row and column of the kernel are never used: `range(h)` already ends at h − 1.": [
            lambda image, kernel: _masked(kernel, image, slice(-1), slice(-1)),
            lambda image, kernel: _masked(kernel, image, slice(-1), slice(None)),
            lambda image, kernel: _masked(kernel, image, slice(None), slice(-1)),
        ],
        "The first row and column of the kernel are never used: `range(h)` begins at 0.": [
            lambda image, kernel: _masked(kernel, image, slice(1, None), slice(1, None))
        ],
        "One row or one column is missing: there are H − h + 1 places from top to bottom and W − w + 1 from left to "
        "right.": [
            lambda image, kernel: _respond(kernel, image)[:-1],
            lambda image, kernel: _respond(kernel, image)[:, :-1],
        ],
        "The result is as large as the image, and its last rows and columns stay 0. It should be (H − h + 1, "
        "W − w + 1), the number of places.": lambda image, kernel: F.pad(
            _respond(kernel, image), (0, kernel.shape[1] - 1, 0, kernel.shape[0] - 1)
        ),
        "You added zeros all around, so the kernel overhangs and the result is larger than it should be. Here it "
        "stays inside: (H − h + 1, W − w + 1).": [
            lambda image, kernel: _respond(
                kernel, F.pad(image, [kernel.shape[1] - 1] * 2 + [kernel.shape[0] - 1] * 2)
            ),
            lambda image, kernel: _respond(kernel, F.pad(image, [1] * 4)),
        ],
        "Image and kernel are added. Multiply each number of the window by its number of the kernel, then sum.": {
            "windows * kernel": "windows + kernel"
        },
        "The products are multiplied with each other. Add them up: `.sum()`.": lambda image, kernel: (
            (image.unfold(0, kernel.shape[0], 1).unfold(1, kernel.shape[1], 1) * kernel)
            .flatten(2)
            .prod(dim=2)
        ),
        "`*=` writes into the image itself, where the next window overlaps with this one. `window * kernel` makes a "
        "new tensor.": _in_loops(product=lambda a, b: a.mul_(b).sum()),
        "The windows are one row and one column too small: the end of a slice is excluded, so "
        "`[i : i + h, j : j + w]`.": [
            _in_loops(product=lambda a, b: (a[:-1, :-1] * b).sum()),
            _in_loops(product=lambda a, b: (b * a[:-1, :-1]).sum()),
        ],
        "The result has one row and one column too many: the kernel has H − h + 1 places, not H − h + "
        "2.": lambda image, kernel: F.pad(_respond(kernel, image), (0, 1, 0, 1)),
        "j is missing in the window: rows begin at i, columns at j, `[i : i + h, j : j + w]`.": [
            _in_loops(window=lambda a, i, j, h, w: a[i : i + h, i : i + w]),
            _in_loops(
                window=lambda a, i, j, h, w: a[i : i + h, i : i + w], product=lambda a, b: (b * a).sum()
            ),
            _in_loops(window=lambda a, i, j, h, w: a[i : i + h, :w]),
        ],
        "The kernel moves by two pixels. It should move by one: `stride=1`.": lambda image, kernel: F.conv2d(
            image[None, None], kernel[None, None], stride=2
        )[0, 0],
        "A whole row of the result is overwritten at every place. Write to one entry, `result[i, j]`.": [
            lambda image, kernel: _respond(kernel, image)[:, -1:].expand(
                -1, image.shape[1] - kernel.shape[1] + 1
            ),
        ],
        "The window does not move: each product needs the part of the image that begins at its own row and "
        "column.": lambda image, kernel: (
            kernel.sum()
            * image[: image.shape[0] - kernel.shape[0] + 1, : image.shape[1] - kernel.shape[1] + 1]
        ),
        "The window is taken at (j, i): i counts rows, and these come first, `[i : i + h, j : j + w]`.": [
            _in_loops(product=product, window=lambda a, i, j, h, w: a[j : j + h, i : i + w])
            for product in _PRODUCTS
        ],
        "The image is not always square: its height and its width are `H, W = image.shape`, and each belongs to its "
        "own axis.": [
            _in_loops(sizes, product)
            for product in _PRODUCTS
            for sizes in (lambda H, W, h, w: (H, H, h, w), lambda H, W, h, w: (W, W, h, w))
        ],
        "Only whole numbers came out: the fractions are cut off. Keep the type of the image: "
        "`dtype=image.dtype`.": lambda image, kernel: _respond(kernel, image).long(),
        "The windows are one row and one column too large: the end of a slice is excluded, so "
        "`[i : i + h, j : j + w]` is enough.": [
            _in_loops(product=product, window=lambda a, i, j, h, w: a[i : i + h + 1, j : j + w + 1])
            for product in _PRODUCTS
        ],
        "The end of a slice is an index, not a length: `[i : i + h, j : j + w]` instead of `[i:h, j:w]`.": [
            _in_loops(product=product, window=lambda a, i, j, h, w: a[i:h, j:w]) for product in _PRODUCTS
        ],
        "`image[i - a, j - b]` goes backwards, and a negative index counts from the end. The window begins at (i, j): "
        "`image[i + a, j + b]`.": lambda image, kernel: sum(
            kernel[a, b]
            * image.roll((a, b), (0, 1))[
                : image.shape[0] - kernel.shape[0] + 1, : image.shape[1] - kernel.shape[1] + 1
            ]
            for a, b in itertools.product(*map(range, kernel.shape))
        ),
        "Two slips: the kernel is flipped, and the products are averaged. Slide the kernel as it is, and take the "
        "`.sum()`.": lambda image, kernel: _respond(kernel.flip(0, 1), image) / kernel.numel(),
        "The result is one row and one column too small for the loop: make room for (H − h + 1, W − w + 1) "
        "numbers.": _in_loops(room=0),
        "The two sums are multiplied. Multiply number by number first, then add up: "
        "`(window * kernel).sum()`.": {
            "(windows * kernel).sum(dim=(2, 3))": "windows.sum(dim=(2, 3)) * kernel.sum()"
        },
    }
)


@convolve_2d.mistake(
    "You added zeros around the image, so the result is as large as the image. Here the kernel stays "
    "inside: (H − h + 1, W − w + 1)."
)
def _(image, kernel):
    h, w = kernel.shape
    return _respond(kernel, F.pad(image, ((w - 1) // 2, w // 2, (h - 1) // 2, h // 2)))


@convolve_2d.mistake(
    "`@` is the matrix product. Here you multiply entry by entry: `(window * kernel).sum()`."
)
def _(image, kernel):
    h, w = kernel.shape
    return (image.unfold(0, h, 1).unfold(1, w, 1) @ kernel).sum(dim=(2, 3))


@convolve_2d.mistake(
    "The windows do not overlap: the kernel moves by its own size. It should move by one pixel."
)
def _(image, kernel):
    return F.conv2d(image[None, None], kernel[None, None], stride=tuple(kernel.shape))[0, 0]


class _Image:
    """A grey image with a name, which is how messages show it."""

    def __init__(self, name, rows):
        self.name, self.rows = name, torch.tensor(rows)

    def __repr__(self):
        return self.name

    def __eq__(self, other):
        return self.name == other.name and torch.equal(self.rows, other.rows)

    def __hash__(self):
        return hash(self.name)


_STEP = [[0.2, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9, 0.9]] * 8
_FAINT = [[0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6]] * 5
_SCENES = {
    "uniformly grey": [[0.5] * 8] * 8,
    "brighter on the right": _STEP,
    "brighter on the left": [row[::-1] for row in _STEP],
    "brighter at the bottom": torch.tensor(_STEP).T.tolist(),
    "brighter at the top": torch.tensor(_STEP).T.flip(0).tolist(),
    "a faint edge": _FAINT,
    "brighter step by step": [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]] * 6,
}


def _answer_of_kernel(edge_kernel, picture):
    """How a kernel responds to an image, in words."""
    kernel = edge_kernel()
    if not isinstance(kernel, torch.Tensor):
        return {"what comes back": type(kernel).__name__, "its shape": "", "its response": ""}
    facts = {"what comes back": "a tensor", "its shape": f"{tuple(kernel.shape)}", "its response": ""}
    if kernel.shape == (3, 3):
        answer = _respond(kernel.detach().float(), picture.rows)
        tiny = 1e-5
        facts["its response"] = {
            (False, False): "0 everywhere",
            (True, False): "positive, nowhere negative",
            (False, True): "negative, nowhere positive",
            (True, True): "positive in some places, negative in others",
        }[bool((answer > tiny).any()), bool((answer < -tiny).any())]
        if not answer.isfinite().all():
            facts["its response"] = "inf or nan"
    return facts


@lesson.exercise(
    observe=_answer_of_kernel,
    cases={name: (_Image(f"an image: {name}", rows),) for name, rows in _SCENES.items()},
    hints=[
        "Right minus left is positive where the image gets brighter. Which three columns of numbers compute "
        "that?",
        "A uniformly grey image gives its grey value times the sum of all nine numbers: that sum has to be "
        "0.",
        "Make all rows alike, so that changes from top to bottom cancel: for instance −1, 0, 1.",
    ],
)
def edge_kernel():
    """Return a 3 × 3 kernel, a float tensor (3, 3), that finds edges between left and right.

    Slid over an image without a flip, it gives positive numbers where the image gets brighter from
    left to right, negative ones where it gets darker, and 0 where it is uniform or changes only from
    top to bottom.
    """
    return torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


edge_kernel.mistakes(
    {
        "It finds the other edges, between top and bottom. The exercise asks for differences along"
        " a row: transpose it.": [
            lambda: edge_kernel.reference().T,
            lambda: -edge_kernel.reference().T,
        ],
        "The sign is wrong: without a flip, the right column has to be the positive one.": lambda: (
            -edge_kernel.reference()
        ),
        "Its nine numbers do not sum to 0, so it responds even where nothing changes. Their sum is"
        " its response to an image of ones.": [
            lambda: torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]),
            lambda: -torch.ones(3, 3) / 9,
            lambda: torch.tensor([[0.0, 0.0, 0.0], [-1.0, 0.0, 1.5], [0.0, 0.0, 0.0]]),
            lambda: torch.tensor([[0.0, 0.0, 0.0], [-1.5, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        ],
        "It responds to nothing at all: the differences cancel. Let only one of the two outer columns be "
        "negative.": lambda: torch.zeros(3, 3),
        "This is a second derivative: it responds to edges in every direction, and to each with "
        "both signs. Take a difference between right and left.": lambda: torch.tensor(
            [[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]
        ),
        "An edge gets both signs, since the middle column is set against both of its neighbours. Take the right "
        "minus the left.": lambda: torch.tensor([[-1.0, 2.0, -1.0]] * 3),
        "It responds to edges between top and bottom as well as those between left and right: the "
        "rows should be alike in sign, with every row summing to 0.": [
            lambda: torch.tensor([[-2.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 2.0]]),
            lambda: torch.tensor([[0.0, 1.0, 2.0], [-1.0, 0.0, 1.0], [-2.0, -1.0, 0.0]]),
        ],
        "A list of lists is not a tensor yet: wrap it in `torch.tensor(...)`.": lambda: (
            edge_kernel.reference().tolist()
        ),
        "Return a tensor of shape (3, 3), without axes for channels.": lambda: edge_kernel.reference()[
            None, None
        ],
        "One row is too few: the kernel should be 3 × 3, three rows of three numbers.": [
            {", [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]": ""},
            lambda: torch.tensor([-1.0, 0.0, 1.0]),
        ],
        "These are nine numbers in a row. Arrange them as 3 × 3: `.reshape(3, 3)`.": lambda: (
            edge_kernel.reference().flatten()
        ),
        "The kernel should have three rows: add one, alike in sign to the others.": lambda: (
            edge_kernel.reference()[:2]
        ),
        "Two columns are too few: the kernel should be 3 × 3. Put a 0 between −1 and 1, and make three rows like "
        "that.": [
            lambda: torch.tensor([[-1.0, 1.0]]),
            lambda: torch.tensor([-1.0, 1.0]),
            lambda: torch.tensor([[-1.0, 1.0]] * 2),
            lambda: torch.tensor([[-1.0, 1.0]] * 3),
        ],
        "This is one column. It compares pixels above each other; put the three numbers side by side, in each of three "
        "rows.": lambda: torch.tensor([[-1.0], [0.0], [1.0]]),
        "The kernel is larger than 3 × 3: three rows of three numbers are asked for.": [
            lambda: torch.ones(5, 5),
            lambda: torch.ones(4, 4),
        ],
        "A NumPy array is not a tensor: `torch.tensor(...)` takes the same numbers.": lambda: (
            edge_kernel.reference().numpy()
        ),
        "It holds inf or nan. Do you divide by the sum of its numbers? That sum is 0.": lambda: (
            edge_kernel.reference() / edge_kernel.reference().sum()
        ),
    }
)


@edge_kernel.remark(
    "A remark: these are whole numbers, and images are not: `F.conv2d` refuses to mix them. Write one of them with a "
    "point, 1.0, and all nine become floats."
)
def _(attempt):
    return not attempt().is_floating_point()


# Section 3: channels, sizes and pooling ---------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "one input channel": (1, 6, 5),
        "more outputs than inputs": (6, 16, 5),
        "kernels of side 3": (16, 32, 3),
        "a colour image": (3, 64, 7),
        "kernels of one pixel": (8, 4, 1),
        "kernels of an even side": (2, 3, 4),
        "fewer outputs than inputs": (20, 9, 3),
    },
    hints=[
        "Each output channel has a kernel of its own, and it reaches through all input channels.",
        "The weights are a tensor (outputs, inputs, size, size). The biases are a vector (outputs,).",
    ],
)
def count_conv_parameters(inputs, outputs, size):
    """Return the number of parameters of a convolutional layer, biases included.

    It maps `inputs` channels to `outputs` channels with square kernels of side `size`.
    """
    return outputs * (inputs * size * size + 1)


count_conv_parameters.mistakes(
    {
        "These are the weights. Every output channel has a bias as well.": {
            "(inputs * size * size + 1)": "inputs * size**2"
        },
        "An output channel combines all input channels: its kernel has inputs · size · size numbers.": {
            "inputs * size * size": "size**2"
        },
        "There is a bias for each output channel, not one for the whole layer.": {
            "(inputs * size * size + 1)": "inputs * size**2 + 1"
        },
        "There is a bias for each output channel, not for each input channel: it is added to the sum "
        "over the inputs.": {"(inputs * size * size + 1)": "inputs * size**2 + inputs"},
        "The kernel is a square: size · size numbers, not size.": {" * size ": " "},
        "The kernels of one output channel share a bias; here each of the "
        "inputs · outputs kernels got its own.": lambda inputs, outputs, size: (
            outputs * inputs * (size**2 + 1)
        ),
        "Each output channel has kernels of its own: multiply by `outputs`.": lambda inputs, outputs, size: (
            inputs * size**2 + outputs
        ),
        "A bias is a single number, not a kernel of its own: outputs · (inputs · size² + 1).": {
            "(inputs * size * size + 1)": "(inputs + 1) * size**2"
        },
        "The input channels and the size of the kernel are added. They multiply: inputs · size · size weights for "
        "each output channel.": {"inputs * size * size": "inputs + size**2"},
        "`^` is not a power in Python, but compares bits. Write `size ** 2`.": [
            {"size * size": "(size ^ 2)"},
            {"size * size + 1": "size ^ 2 + 1"},
            lambda inputs, outputs, size: outputs * inputs * size ^ 2 + outputs,
            lambda inputs, outputs, size: inputs * outputs * (size ^ 2) + outputs,
        ],
        "The channels are multiplied: every pair of input and output has a kernel. You added "
        "them.": lambda inputs, outputs, size: (inputs + outputs) * size**2 + outputs,
        "Only the side of the kernel is squared: size² weights for every pair of channels. Here the channels are "
        "squared with it.": [
            {"inputs * size * size": "(inputs * size) ** 2"},
            lambda inputs, outputs, size: (inputs * outputs * size) ** 2 + outputs,
            lambda inputs, outputs, size: (inputs * outputs * size) ** 2,
        ],
        "That counts the tensors, a weight and a bias. Count the numbers in them: `p.numel()`, added up.": (
            lambda inputs, outputs, size: 2
        ),
        "The kernel has two sides, not three: size · size numbers for every pair of channels.": {
            "size * size": "size**3"
        },
        "There is one bias for each output channel, not for each number of a kernel: add `outputs`.": [
            {"(inputs * size * size + 1)": "inputs * size**2 + size"},
            {"(inputs * size * size + 1)": "inputs * size**2 + size**2"},
        ],
        "Only output channels have biases: `outputs` of them, not inputs + outputs.": {
            "(inputs * size * size + 1)": "inputs * size**2 + inputs + outputs"
        },
        "The biases are counted twice: one for each output channel.": {"size + 1)": "size + 2)"},
        "There is one bias for each output channel, `outputs` of them, not outputs².": {
            "size + 1)": "size + outputs)"
        },
        "The kernel has size · size numbers, none is left out: not size − 1.": {
            "size * size": "(size - 1) ** 2"
        },
        "The weights of the kernels are missing: inputs · size · size for each output channel.": {
            "inputs * size * size + 1": "inputs + 1"
        },
        "The biases are subtracted. They are parameters as well: add them.": {"size + 1)": "size - 1)"},
        "The kernels are always 3 × 3 here. Their side is `size`: size · size numbers for every pair of channels.": [
            {"size * size": "9"},
            {"(inputs * size * size + 1)": "inputs * 9"},
        ],
        "A bias belongs to an output channel, not to every weight: add `outputs`, once.": {
            "(inputs * size * size + 1)": "inputs * size**2 * 2"
        },
        "The wrong factor is squared. Only the side of the kernel is: inputs · outputs · size² weights.": [
            lambda inputs, outputs, size: inputs**2 * size + outputs,
            lambda inputs, outputs, size: inputs**2 * outputs * size + outputs,
            lambda inputs, outputs, size: inputs * outputs**2 * size + outputs,
        ],
    }
)


_WEIGHT_SLIPS = {
    "The kernel is a square, size · size numbers": lambda inputs, outputs, size: outputs * inputs * size,
    "The kernel has size · size numbers, not 2 · size": lambda inputs, outputs, size: (
        outputs * inputs * 2 * size
    ),
    "Each kernel reaches through all input channels: multiply by `inputs`": lambda inputs, outputs, size: (
        outputs * size**2
    ),
    "Each output channel has kernels of its own: multiply by `outputs`": lambda inputs, outputs, size: (
        inputs * size**2
    ),
    "The channels are multiplied, not added": lambda inputs, outputs, size: (inputs + outputs) * size**2,
}
_BIAS_SLIPS = {
    "": lambda inputs, outputs: outputs,
    "the biases are missing, one for each output channel": lambda inputs, outputs: 0,
    "there is a bias for each output channel, not one for all": lambda inputs, outputs: 1,
    "there is a bias for each output channel, not for each input": lambda inputs, outputs: inputs,
}
_TOLD = {*_WEIGHT_SLIPS} - {"The kernel has size · size numbers, not 2 · size"}  # alone, above
for (_one, _weights), (_two, _biases) in itertools.product(_WEIGHT_SLIPS.items(), _BIAS_SLIPS.items()):
    if _two or _one not in _TOLD:
        count_conv_parameters.mistake(f"{_one}{_two and '. And '}{_two}.")(
            lambda inputs, outputs, size, weights=_weights, biases=_biases: (
                weights(inputs, outputs, size) + biases(inputs, outputs)
            )
        )


@lesson.exercise(
    cases={
        "kernel as long as side": (6, 6, 1, 0, 1),
        "neither padding nor stride": (28, 5, 1, 0, 1),
        "padding that keeps the side": (28, 3, 1, 1, 1),
        "a stride that fits": (7, 3, 2, 0, 1),
        "a stride that does not fit": (8, 3, 2, 0, 1),
        "a kernel of one": (11, 1, 4, 0, 1),
        "padding and a stride of 3": (10, 4, 3, 2, 1),
        "padding and a stride of 2": (32, 5, 2, 2, 1),
        "a dilation of 4": (20, 3, 1, 0, 4),
        "everything at once": (21, 5, 3, 1, 2),
        "a dilation larger than the kernel": (9, 2, 2, 0, 3),
    },
    hints=[
        "First without a stride: how many places does a kernel of size k have along a side of n pixels?",
        "Padding makes the side longer by 2p, dilation makes the kernel reach over d(k − 1) + 1 pixels.",
        "With a stride every s-th place is kept, the first one always: `(room) // s + 1`.",
    ],
)
def output_size(size, kernel, stride, padding, dilation):
    """Return how many pixels a side has after a convolution, an integer.

    `size` pixels go in, `padding` zeros are added at either end; the kernel has `kernel` numbers along the
    side, `dilation` pixels from one to the next, and moves by `stride` pixels.
    """
    reach = dilation * (kernel - 1) + 1  # pixels from the kernel's first number to its last
    return (size + 2 * padding - reach) // stride + 1


def _size(size, kernel, stride, padding, dilation, *, ends=2, reach=None, plus=1, divide=math.floor):
    """The size, with what can go wrong as arguments."""
    reach = dilation * (kernel - 1) + 1 if reach is None else reach
    return divide((size + ends * padding - reach) / stride) + plus


def _with_slips(**slips):
    """The size with slips: those of `_size`, and arguments in place of those given."""
    given = {name: slips.pop(name) for name in ("stride", "padding", "dilation") if name in slips}
    names = ("size", "kernel", "stride", "padding", "dilation")
    return lambda *sizes: _size(*(dict(zip(names, sizes, strict=True)) | given).values(), **slips)


output_size.mistakes(
    {
        "The padding is added at both ends: 2p.": lambda *sizes: _size(*sizes, ends=1),
        "The + 1 is missing: a kernel as large as the image still has one place, not none.": lambda *sizes: (
            _size(*sizes, plus=0)
        ),
        "The dilation is not used: it makes the kernel "
        "reach over d(k − 1) + 1 pixels.": lambda size, kernel, stride, padding, dilation: _size(
            size, kernel, stride, padding, 1
        ),
        "Where the last step does not fit, there is no output: round down, with `//`, not up.": lambda *sizes: (
            _size(*sizes, divide=math.ceil)
        ),
        "There are no half pixels: divide with `//`, which rounds down.": lambda *sizes: _size(
            *sizes, divide=lambda number: number
        ),
        "Where the last step does not fit, there is no output: `round` can round up. Use `//`.": lambda *sizes: (
            _size(*sizes, divide=round)
        ),
        "The stride is not used: only every s-th place is "
        "kept.": lambda size, kernel, stride, padding, dilation: _size(size, kernel, 1, padding, dilation),
        "The padding is not used: it makes the side longer "
        "by 2p.": lambda size, kernel, stride, padding, dilation: _size(size, kernel, stride, 0, dilation),
        "The kernel is not used: it has to lie on the padded side entirely, so fewer places are left.": [
            lambda *sizes: _size(*sizes, reach=0),
            lambda *sizes: _size(*sizes, reach=0, plus=0),
        ],
        "The dilation counts once. It stretches every one of the k − 1 gaps, so the kernel reaches over "
        "d(k − 1) + 1 pixels.": lambda size, kernel, stride, padding, dilation: _size(
            size, kernel, stride, padding, dilation, reach=kernel + dilation - 1
        ),
        "The dilation is the distance from one number of the kernel to the next, not the number of pixels "
        "between them: the reach is d(k − 1) + 1.": lambda size, kernel, stride, padding, dilation: _size(
            size, kernel, stride, padding, dilation, reach=kernel + dilation * (kernel - 1)
        ),
        "The padding shortens the side here. Zeros are added at both ends: size + 2p.": {
            "size + 2 * padding": "size - 2 * padding"
        },
        "The reach is one pixel short: from the first number of the kernel to the last, both included, there are "
        "d(k − 1) + 1 pixels.": {") + 1  #": ")  #"},
        "The whole side is divided by the stride. Subtract the reach first: only the steps that are left are divided, "
        "`(size + 2p - reach) // stride + 1`.": [
            {"- reach) // stride + 1": ") // stride - reach + 1"},
            {"- reach) // stride + 1": ") // stride - (reach - 1)"},
            {"- reach) // stride + 1": ") // stride - reach"},
            {"- reach) // stride + 1": ") // stride - reach // stride + 1"},
        ],
        "Brackets are missing: `//` binds more strongly than minus, so only the last term is divided. Write "
        "`(size + 2p - reach) // stride + 1`.": [
            {"(size + 2 * padding - reach) // stride": "size + 2 * padding - reach // stride"},
            {"(size + 2 * padding - reach) // stride": "size + 2 * padding - (reach - 1) - 1 // stride"},
            {"(size + 2 * padding - reach) // stride": "size + (2 * padding - reach) // stride"},
        ],
        "Kernel and stride are mixed up: the kernel makes the reach, the stride divides.": [
            {"(kernel - 1)": "(stride - 1)", "// stride": "// kernel"},
            {"(kernel - 1)": "(stride - 1)"},
            {"// stride": "// kernel"},
        ],
        "Padding and dilation are mixed up: 2p is added to the side, d(k − 1) + 1 is the reach of the kernel.": {
            "2 * padding - reach": "2 * dilation - padding * (kernel - 1) - 1"
        },
        "The steps are multiplied by the stride. A larger stride makes fewer places: divide, `//`.": {
            "// stride": "* stride"
        },
        "That is the size after a transposed convolution, which makes images larger. Here the side shrinks.": (
            lambda size, kernel, stride, padding, dilation: (
                (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
            )
        ),
        "Two are added at the end, or the reach is two pixels short: there is one place, and one more for every step "
        "that fits.": _with_slips(plus=2),
        "The dilation stretches the padding here. It stretches the gaps in the kernel only: size + 2p − d(k − 1) − "
        "1.": {"2 * padding": "2 * padding * dilation"},
        "The padding is counted more than twice. Zeros are added at two ends: size + 2p.": [
            {"2 * padding": "4 * padding"},
            {"2 * padding": "3 * padding"},
        ],
        "The dilation divides as if it were a stride. It stretches the kernel: its reach is d(k − 1) + 1.": {
            "dilation * (kernel - 1) + 1": "kernel",
            "// stride": "// (stride * dilation)",
        },
        "The reach counts dilation² or leaves a gap out: k − 1 gaps of d pixels each, and 1: d(k − 1) + 1.": [
            {"dilation * (kernel - 1) + 1": "(dilation - 1) * (kernel - 1) + 1"},
            {"dilation * (kernel - 1) + 1": "dilation * kernel - 1"},
            {"dilation * (kernel - 1) + 1": "dilation * (kernel + 1) + 1"},
            {"dilation * (kernel - 1) + 1": "dilation + kernel"},
            {"dilation * (kernel - 1) + 1": "kernel * (dilation + 1) - 1"},
            {"dilation * (kernel - 1) + 1": "dilation**2 * (kernel - 1) + 1"},
        ],
        "The side is divided by the stride, and nothing else is used. Count the places: `(size + 2p - reach) // stride "
        "+ 1`.": [
            lambda size, kernel, stride, padding, dilation: size // stride,
            lambda size, kernel, stride, padding, dilation: -(-size // stride),
        ],
        "`padding` zeros are added at each end, not half of them: size + 2p.": [
            {"2 * padding": "padding // 2 * 2"},
            {"2 * padding": "padding // 2"},
        ],
        "Parentheses are missing: `//` binds more strongly than plus, so only the 1 is divided. Write "
        "`(size + 2p - reach) // stride + 1`.": [
            {"(size + 2 * padding - reach) // stride + 1": "size + 2 * padding - reach + 1 // stride"},
        ],
        "Twice `kernel // 2` is kernel − 1 for odd kernels only. The reach is d(k − 1) + 1.": {
            "dilation * (kernel - 1) + 1": "2 * dilation * (kernel // 2) + 1"
        },
    }
)


@output_size.remark(
    "A remark: a float came back, but a number of pixels is an integer. Divide with `//`, or make it one: `int(...)`."
)
def _(attempt):
    side = attempt(28, 5, 1, 0, 1)
    return side.is_floating_point() if isinstance(side, torch.Tensor) else isinstance(side, float)


@output_size.mistake(
    "A dilated kernel reaches over d(k − 1) + 1 pixels, not d · k: there are k − 1 gaps between k numbers."
)
def _(size, kernel, stride, padding, dilation):
    return _size(size, kernel, stride, padding, dilation, reach=dilation * kernel)


@output_size.mistake(
    "The 1 is added before the division. The first place is always there: divide, round down, then add 1."
)
def _(size, kernel, stride, padding, dilation):
    return (size + 2 * padding - dilation * (kernel - 1)) // stride


_SIZE_SLIPS = {
    "the padding is added once, not at both ends": {"ends": 1},
    "the padding is not used": {"padding": 0},
    "the dilation is not used": {"dilation": 1},
    "the stride is not used": {"stride": 1},
    "the + 1 at the end is missing": {"plus": 0},
    "the division rounds up, not down": {"divide": math.ceil},
    "the division leaves half pixels, not `//`": {"divide": lambda number: number},
}
output_size.pairs_of_slips(
    _with_slips,
    _SIZE_SLIPS,
    words="Two slips: {}, and {}.",
    but=({"ends", "padding"}, {"stride", "divide"}),  # unless it strides, nothing is left to round
)


_PAPER = torch.tensor([[3.0, 2, 0, 0], [0, 7, 1, 3], [5, 2, 3, 0], [0, 9, 2, 3]])[None, None]


@lesson.exercise(
    cases={
        "windows of one pixel": (normal(1, 1, 2, 3, seed=2), 1),
        "the example on paper": (_PAPER, 2),
        "negative numbers only": (-_PAPER - 1, 2),
        "one window and a remainder": (_PAPER, 3),
        "windows of 3 × 3": (normal(1, 1, 6, 9, seed=3), 3),
        "several channels": (normal(2, 5, 4, 6, seed=4), 2),
        "an odd width": (normal(3, 2, 6, 5, seed=5), 2),
        "an odd height": (normal(2, 3, 7, 4, seed=6), 2),
        "a window over everything": (normal(2, 3, 4, 4, seed=7), 4),
        "float64 numbers": (normal(2, 2, 7, 8, seed=1, dtype=torch.float64), 3),
    },
    hints=[
        "In both directions the side shrinks to `side // size`. What is left over at the right and below is dropped.",
        "Two loops over the windows, `x[:, :, i * size : (i + 1) * size, j * size : (j + 1) * size].amax(dim=(2, 3))`.",
        "Without a loop: cut off the remainder, `unflatten` each side into (windows, size), and `amax` over "
        "both sizes.",
    ],
)
def max_pool(x, size):
    """Return the largest number of every window: x (N, C, H, W) -> (N, C, H // size, W // size).

    The windows are size × size and do not overlap. What is left over at the right and at the bottom,
    too little for a window, is dropped.
    """
    H, W = (side // size for side in x.shape[2:])
    x = x[:, :, : H * size, : W * size]
    return x.unflatten(3, (W, size)).unflatten(2, (H, size)).amax(dim=(3, 5))


max_pool.mistakes(
    {
        "That is the mean of every window. Return the largest number: `amax`.": lambda x, size: F.avg_pool2d(
            x, size
        ),
        "The windows overlap: they move by one pixel. They should move by their own size.": lambda x, size: (
            F.max_pool2d(x, size, stride=1)
        ),
        "What is left over at the border made a window of its own. Drop it: `side // size` "
        "windows along each side.": lambda x, size: F.max_pool2d(x, size, ceil_mode=True),
        "Channels stay separate. You took the largest number over all channels.": lambda x, size: (
            F.max_pool2d(x, size).amax(dim=1, keepdim=True).expand(-1, x.shape[1], -1, -1)
        ),
        "0 took part in the comparison. Where all numbers are negative, return the largest "
        "of them, negative as it is.": lambda x, size: F.max_pool2d(x, size).clamp(min=0),
        "That is the smallest number of every window. Return the largest.": lambda x, size: (
            -F.max_pool2d(-x, size)
        ),
        "The windows are always 2 × 2 here, whatever `size` says.": lambda x, size: F.max_pool2d(x, 2),
        "Window i begins at pixel i, so the windows overlap. It should begin at pixel i · size: "
        "`i * size : (i + 1) * size`.": lambda x, size: F.max_pool2d(x, size, stride=1)[
            :, :, : x.shape[2] // size, : x.shape[3] // size
        ],
        "Height and width are swapped: the shape of x is (N, C, H, W).": [
            {"H, W =": "W, H ="},
            lambda x, size: (
                _cropped(x, size)
                .reshape(*x.shape[:2], x.shape[3] // size, size, x.shape[2] // size, size)
                .amax(dim=(3, 5))
            ),
        ],
        "The largest number is taken along one side of the windows only. Take it over their rows and their "
        "columns.": [
            {"dim=(3, 5)": "dim=5"},
            {"dim=(3, 5)": "dim=3"},
            lambda x, size: F.max_pool2d(_cropped(x, size), (1, size))[:, :, ::size],
            lambda x, size: F.max_pool2d(_cropped(x, size), (size, 1))[:, :, :, ::size],
        ],
        "That is the sum of every window. Return the largest number: `amax`.": {".amax(": ".sum("},
        "Examples stay separate. You took the largest number over the whole batch.": lambda x, size: (
            F.max_pool2d(x, size).amax(dim=0, keepdim=True).expand(len(x), -1, -1, -1)
        ),
        "What is left over comes off at the right and at the bottom. You dropped the first rows and "
        "columns.": lambda x, size: F.max_pool2d(x[:, :, x.shape[2] % size :, x.shape[3] % size :], size),
        "The maximum runs over the wrong axes. After the split into (N, C, H // size, size, W // size, size) those "
        "inside a window are 3 and 5.": [
            {"(3, 5)": "(2, 4)"},
            {"(3, 5)": "(4, 5)"},
            {"(3, 5)": "(3, 4)"},
        ],
        "The loop visits what is left over at the border as well, for which there is no place. Count whole windows: "
        "`range(H // size)`.": lambda x, size: _pooled_in_loops(
            x, lambda window: window.amax(dim=(2, 3)), lambda side: range(0, side, size), size
        ),
        "One number was taken for all examples and channels. They stay separate: the maximum runs over the axes of the "
        "window alone, `.amax(dim=(2, 3))`.": lambda x, size: F.max_pool2d(
            x.amax(dim=(0, 1), keepdim=True), size
        ).expand(*x.shape[:2], -1, -1),
        "You pool in one direction only. Windows are size × size: along the rows and along the columns.": [
            lambda x, size: F.max_pool2d(x, (1, size)),
            lambda x, size: F.max_pool2d(x, (size, 1)),
            lambda x, size: F.max_pool2d(x, (1, size))[:, :, : x.shape[2] // size * size],
            lambda x, size: F.max_pool2d(x, (size, 1))[:, :, :, : x.shape[3] // size * size],
        ],
        "Signs are lost: the largest absolute value is not the largest number. Leave `abs` out.": lambda x, size: (
            F.max_pool2d(x.abs(), size)
        ),
        "That is the number with the largest absolute value. Take the largest number: −1 is larger than "
        "−5.": lambda x, size: torch.where(
            F.max_pool2d(x, size) > F.max_pool2d(-x, size), F.max_pool2d(x, size), -F.max_pool2d(-x, size)
        ),
        "`size` is the side of a window, not the number of windows: there are `side // size` of "
        "them.": lambda x, size: F.adaptive_max_pool2d(x, size),
        "The windows are 2 × 2 here, whatever `size` says, although they move by `size`.": lambda x, size: (
            F.max_pool2d(x, min(2, *x.shape[2:]), stride=size)
        ),
        "The windows move by 2 here, whatever `size` says. They should move by their own size.": lambda x, size: (
            F.max_pool2d(x, size, stride=2)
        ),
        "`.max(dim=…)` returns the values and where they are. Take its `.values`, or use `.amax(dim=…)`, which takes "
        "two axes at once.": [
            {".amax(dim=(3, 5))": ".max(dim=5).max(dim=3)"},
            {".amax(dim=(3, 5))": ".max(dim=5).values.max(dim=3)"},
        ],
        "That says where the largest number is. Return the number itself: `amax`, not `argmax`.": [
            lambda x, size: F.max_pool2d(x, size, return_indices=True)[1],
            lambda x, size: x.unfold(2, size, size).unfold(3, size, size).flatten(4).argmax(dim=4),
        ],
        "The maximum is taken along one side of a window, and something else along the other. It is the maximum along "
        "both: `.amax(dim=(3, 5))`.": [
            {".amax(dim=(3, 5))": f".amax(dim={one}).{name}(dim={other})"}
            for name in ("sum", "mean")
            for one, other in ((3, 4), (5, 3))
        ],
        "You return the last pixel of each window, whatever its neighbours are. Take the largest.": lambda x, size: (
            _cropped(x, size)[:, :, size - 1 :: size, size - 1 :: size]
        ),
        "Zeros were added around the image. Nothing is added here: what is left over is "
        "dropped.": lambda x, size: F.max_pool2d(F.pad(x, [size // 2] * 4), size),
        "The image is padded all around. Nothing is added here: leave `padding` out.": lambda x, size: (
            F.max_pool2d(x, size, padding=size // 2)
        ),
        "The split is the wrong way round: each side becomes (side // size, size), first which window, then the place "
        "inside it.": {
            "(W, size)": "(size, W)",
            "(H, size)": "(size, H)",
            "dim=(3, 5)": "dim=(2, 4)",
        },
        "That is the largest number of the whole image. Return one for every window.": lambda x, size: x.amax(
            dim=(2, 3)
        ),
        "Only whole numbers came out: the fractions are cut off. Keep the type of the input: "
        "`dtype=x.dtype`.": lambda x, size: F.max_pool2d(x, size).long(),
        "What is left over was filled up with zeros and made windows of its own. Drop it: `side // size` windows along "
        "each side.": lambda x, size: F.max_pool2d(_filled_up(x, size), size),
        "Two slips: 0 takes part in the comparison, and what is left over made windows of its own. Drop it, and return "
        "the largest number, negative or not.": [
            lambda x, size: F.max_pool2d(_filled_up(x, size), size).clamp(min=0),
        ],
    }
)


def _filled_up(x, size):
    return F.pad(x, (0, -x.shape[3] % size, 0, -x.shape[2] % size))


def _cropped(x, size):
    return x[:, :, : x.shape[2] // size * size, : x.shape[3] // size * size]


def _pooled_in_loops(x, reduce, starts, size):
    """The loop over the windows that begin at `starts`, with room for whole windows only."""
    result = x.new_zeros(*x.shape[:2], *(side // size for side in x.shape[2:]))
    for i, j in itertools.product(*map(starts, x.shape[2:])):
        result[:, :, i // size, j // size] = reduce(x[:, :, i : i + size, j : j + size])
    return result


@max_pool.mistake(
    "The slices end one too early: the end of a slice is excluded, so `i * size : (i + 1) * size`."
)
def _(x, size):
    H, W = (side // size for side in x.shape[2:])
    result = x.new_zeros(*x.shape[:2], H, W)
    for i in range(H):
        for j in range(W):
            window = x[:, :, i * size : max((i + 1) * size - 1, i * size + 1)]
            window = window[..., j * size : max((j + 1) * size - 1, j * size + 1)]
            result[:, :, i, j] = window.amax(dim=(2, 3))
    return result


@max_pool.mistake(
    "The reshape took neighbours along a row, not windows: a window has pixels of several rows. Split "
    "height and width separately: (…, H // size, size, W // size, size)."
)
def _(x, size):
    N, C, H, W = x.shape
    x = x[:, :, : H // size * size, : W // size * size]
    return x.reshape(N, C, H // size, W // size, size * size).amax(dim=4)


@max_pool.mistake(
    "A side that is not a multiple of `size` cannot be split evenly: cut off the remainder first, with "
    "`x[:, :, : H // size * size]`, and the same for W."
)
def _(x, size):
    N, C, H, W = x.shape
    return x.reshape(N, C, H // size, size, W // size, size).amax(dim=(3, 5))


max_pool.mistakes(
    {
        "A side that is not a multiple of `size` cannot be split evenly: cut off the remainder first, with "
        "`x[:, :, : H // size * size]`, and the same for W.": {
            "    x = x[:, :, : H * size, : W * size]\n": ""
        },
        "Where nothing is left over, `: -(H % size)` is `: -0`, which is empty. Cut with `: H // size * size`, and the "
        "same for W.": [
            {"x[:, :, : H * size, : W * size]": "x[:, :, : -(x.shape[2] % size), : -(x.shape[3] % size)]"},
            lambda x, size: (
                x[:, :, : -(x.shape[2] % size), : -(x.shape[3] % size)]
                .reshape(*x.shape[:2], x.shape[2] // size, size, x.shape[3] // size, size)
                .amax(dim=(3, 5))
            ),
            lambda x, size: F.max_pool2d(x[:, :, : -(x.shape[2] % size), : -(x.shape[3] % size)], size),
        ],
        "The height counts for both sides here. There are H // size rows of windows and W // size columns: the sides "
        "are `x.shape[2]` and `x.shape[3]`.": [
            {"in x.shape[2:]": "in [x.shape[2]] * 2"},
            lambda x, size: (
                x[:, :, : x.shape[2] // size * size, : x.shape[2] // size * size]
                .reshape(*x.shape[:2], x.shape[2] // size, size, x.shape[2] // size, size)
                .amax(dim=(3, 5))
            ),
            lambda x, size: _pooled_in_loops(
                x,
                lambda window: window.amax(dim=(2, 3)),
                lambda _: range(0, x.shape[2] // size * size, size),
                size,
            ),
        ],
        "Python's `max`, like `if`, asks a whole tensor for one answer, but every number in it gives its own. The "
        "largest number of each window is `window.amax(dim=(2, 3))`.": lambda x, size: _pooled_in_loops(
            x, max, lambda side: range(0, side // size * size, size), size
        ),
    }
)


@max_pool.mistake("You return one pixel of each window, whatever its neighbours are. Take the largest.")
def _(x, size):
    H, W = (side // size * size for side in x.shape[2:])
    return x[:, :, :H:size, :W:size]


# Section 4: a network ---------------------------------------------------------------------------------------------


def _same(x):
    return x


_ACTIVATIONS = {  # the function, and the stages without it
    "ReLU": lambda n: (F.relu, ()),
    "no activation function": lambda n: (_same, ()),
    "a ReLU after the last stage only": lambda n: (F.relu, range(n - 1)),
    "a ReLU after all stages but the last": lambda n: (F.relu, [n - 1]),
    "tanh": lambda n: (torch.tanh, ()),
    "sigmoid": lambda n: (torch.sigmoid, ()),
    "leaky ReLU": lambda n: (F.leaky_relu, ()),
    "GELU": lambda n: (F.gelu, ()),
}
_POOLS = {
    "max pooling": F.max_pool2d,
    "mean pooling": F.avg_pool2d,
    "every second pixel": lambda h, _: h[:, :, ::2, ::2],
}
_ENDS = {
    "": _same,
    ", a ReLU after the logits": F.relu,
    ", a softmax after the logits": lambda z: z.softmax(dim=1),
    ", a log-softmax after the logits": lambda z: z.log_softmax(dim=1),
    ", a sigmoid after the logits": torch.sigmoid,
}


def _computes(net, channels, x, result):
    """Which order of operations with the net's own weights gives its result for x, if one of these does."""
    stages = []
    for inputs, outputs in itertools.pairwise([1, *channels]):
        weights = [part for part in net.parameters() if part.shape == (outputs, inputs, 3, 3)]
        biases = [part for part in net.parameters() if part.shape == (outputs,)]
        if len(weights) != 1 or len(biases) != 1:
            return "something else"
        stages.append((weights[0], biases[0]))
    side = 28 // 2 ** len(channels)
    heads = [part for part in net.parameters() if part.shape == (10, channels[-1] * side**2)]
    biases = [part for part in net.parameters() if part.shape == (10,)]
    if len(heads) != 1 or len(biases) != 1:
        return "something else"
    if result.shape != (len(x), 10) or not result.is_floating_point():
        return "something else"
    for (activation, bend), (pooling, pool) in itertools.product(_ACTIVATIONS.items(), _POOLS.items()):
        h = x
        for number, (weight, bias) in enumerate(stages):
            h = F.conv2d(h, weight, bias, padding=1)
            h = h if number in bend(len(stages))[1] else bend(len(stages))[0](h)
            h = pool(h, 2)[:, :, : h.shape[2] // 2, : h.shape[3] // 2]
        logits = F.linear(h.flatten(1), heads[0], biases[0])
        for last, end in _ENDS.items():
            if torch.allclose(end(logits), result, rtol=1e-3, atol=1e-5):
                return f"convolution, {activation}, {pooling}{last}"
    return "something else"


def _facts_of_cnn(attempt, channels):
    """What can be seen of a network from outside."""
    asked = list(channels)
    net = attempt(channels)
    if net is None:
        return None
    if not isinstance(net, nn.Module):
        return _facts_of_cnn(build_cnn.reference, asked) | {"what comes back": type(net).__name__}
    other = attempt(list(asked))
    shared = {id(part) for part in net.parameters()} & {id(part) for part in other.parameters()}
    learning = all(part.requires_grad for part in net.parameters())
    net.eval()
    pictures = 3 * normal(6, 1, 28, 28)
    try:
        result = net(pictures)
    except RuntimeError as error:  # the linear layer does not fit
        sizes = re.search(r"shapes cannot be multiplied \(6x(\d+) and (\d+)x10\)", str(error))
        if not sizes:
            raise
        fits = f"{sizes[1]} numbers arrive for each digit, but it takes {sizes[2]}"
        return _facts_of_cnn(build_cnn.reference, asked) | {
            "the last linear layer": fits,
            "its convolutions": _in_to_out(part for part in net.parameters() if part.ndim == 4),
        }
    parts = list(net.parameters())
    return {
        "what comes back": "an nn.Module",
        "every call makes new layers": not shared,
        "all its parameters can learn": learning,
        "the last linear layer": "what arrives is what it takes",
        "the shape of its output for 6 digits": f"{tuple(result.shape)}",
        "the shape of its output for 1 digit": f"{tuple(net(pictures[:1]).shape)}",
        "its convolutions": _in_to_out(part for part in parts if part.ndim == 4),
        "its linear layers": _in_to_out(part for part in parts if part.ndim == 2),
        "the numbers in its other parameters": sum(part.numel() for part in parts if part.ndim not in (2, 4)),
        "what it computes": _computes(net, asked, pictures[:2], result[:2]),
        "in training mode it computes": _computes_in_training(net.train(), pictures[:2], result[:2]),
    }


def _computes_in_training(net, x, result):
    """How what the net gives for x in training mode differs from its result in evaluation."""
    in_training = net(x)
    if torch.allclose(in_training, result, rtol=1e-4, atol=1e-5):
        return "the same"
    return "something else" if torch.equal(net(x), in_training) else "something random"


def _in_to_out(weights):
    """The layers with these weights, in words."""
    sides = (
        f"{one.shape[1]} → {one.shape[0]}" + "".join(f", {side} × {side}" for side in one.shape[3:])
        for one in weights
    )
    return "; ".join(sorted(sides)) or "none"


@lesson.exercise(
    observe=_facts_of_cnn,
    cases={"one stage": ([4],), "two stages": ([4, 6],), "three stages": ([3, 5, 7],)},
    hints=[
        "For each pair of neighbours in `[1, *channels]`: `nn.Conv2d(inputs, outputs, 3, padding=1)`, ReLU, pooling.",
        "Padding keeps the side, pooling halves it and rounds down: 28, 14, 7, 3.",
        "Last, `nn.Flatten()` and `nn.Linear(channels[-1] * side**2, 10)`, with `side = 28 // 2 ** len(channels)`.",
    ],
)
def build_cnn(channels):
    """Return a convolutional network from digits (N, 1, 28, 28) to logits (N, 10).

    For every entry of `channels`, such as [16, 32]: a 3 × 3 convolution to that many channels with a
    padding of 1, ReLU, and max pooling by 2. Then one linear layer.
    """
    layers = []
    for inputs, outputs in itertools.pairwise([1, *channels]):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    side = 28 // 2 ** len(channels)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * side**2, 10))


_CACHED = {}


def _cnn(channels, *, size=3, padding=1, activation=nn.ReLU, pool=nn.MaxPool2d, end=(), head=True, **more):
    """The network, with what can go wrong as arguments."""
    layers, side = [], 28
    for inputs, outputs in itertools.pairwise([1, *channels]):
        layers += [nn.Conv2d(inputs, outputs, size, padding=padding, **more), activation(), pool(2)]
        side = (side + 2 * padding - size + 1) // 2 if pool is not nn.Identity else (side + 1) // 2
    last = [nn.Flatten(), nn.Linear(channels[-1] * side**2, 10)] if head else []
    return nn.Sequential(*layers, *last, *end)


def _with_head(net, inputs, *hidden, classes=10):
    """The network with other linear layers, from `inputs` over `hidden` to the classes."""
    head = []
    for one, other in itertools.pairwise([inputs, *hidden, classes]):
        head += [nn.Linear(one, other), nn.ReLU()]
    return nn.Sequential(*list(net)[:-1], *head[:-1])


def _stages_left_out(channels, kept):
    side = 28 // 2 ** len(kept)
    return _cnn(kept) if kept else nn.Sequential(nn.Flatten(), nn.Linear(side**2, 10))


def _normalised(channels, norm):
    layers = []
    for layer in _cnn(channels):
        layers += [layer, norm(layer.out_channels)] if isinstance(layer, nn.Conv2d) else [layer]
    return nn.Sequential(*layers)


def _pooled_by(channels, by):
    layers = [nn.MaxPool2d(by) if isinstance(layer, nn.MaxPool2d) else layer for layer in _cnn(channels)]
    return _with_head(nn.Sequential(*layers), channels[-1] * (28 // by ** len(channels)) ** 2)


def _pooled_at(channels, stages):
    """The network with pooling in these stages only."""
    net = _cnn(channels)
    for number in range(len(channels)):
        net[3 * number + 2] = nn.MaxPool2d(2 if number in stages else 1)
    return _with_head(net, channels[-1] * (28 // 2 ** len(stages)) ** 2)


def _with_layers(channels, pool=None, side=None, *, before_head=()):
    """The network with another pooling layer, another side at its end, or more layers before the last."""
    stages = [
        pool if pool and isinstance(layer, nn.MaxPool2d) else layer for layer in list(_cnn(channels))[:-1]
    ]
    side = 28 // 2 ** len(channels) if side is None else side
    return nn.Sequential(*stages, *before_head, nn.Linear(channels[-1] * side**2, 10))


def _rounded_up(channels):
    return functools.reduce(lambda side, _: math.ceil(side / 2), channels, 28)


class _Changed(nn.Module):
    """The network with something else done to its feature maps, or to its logits."""

    def __init__(self, channels, to_maps=None, to_logits=None):
        super().__init__()
        *stages, _, self.head = _cnn(channels)
        self.stages = nn.Sequential(*stages)
        self.to_maps, self.to_logits = to_maps or (lambda maps: maps.flatten(1)), to_logits or _same

    def forward(self, x):
        return self.to_logits(self.head(self.to_maps(self.stages(x))))


def _doubled(channels):
    layers = []
    for layer in _cnn(channels):
        layers += [layer]
        if isinstance(layer, nn.Conv2d):
            layers += [nn.ReLU(), nn.Conv2d(layer.out_channels, layer.out_channels, 3, padding=1)]
    return nn.Sequential(*layers)


def _averaged(channels, pool):
    return nn.Sequential(*list(_cnn(channels))[:-2], pool(1), nn.Flatten(), nn.Linear(channels[-1], 10))


def _bent(channels, straight):
    """The network without its ReLU in some stages."""
    net = _cnn(channels)
    for number in straight:
        net[3 * number + 1] = nn.Identity()
    return net


build_cnn.mistakes(
    {
        "Without padding each convolution cuts off a ring of pixels: `nn.Conv2d(inputs, "
        "outputs, 3, padding=1)`.": [
            lambda channels: _cnn(channels, padding=0),
            lambda channels: _with_head(
                _cnn(channels, padding=0), channels[-1] * (28 // 2 ** len(channels)) ** 2
            ),
        ],
        "The kernels are 5 × 5. Use 3 × 3 kernels with a padding of 1.": [
            lambda channels: _cnn(channels, size=5, padding=2),
            *(
                lambda channels, padding=padding, fits=fits: (
                    _cnn(channels, size=5, padding=padding)
                    if fits
                    else _with_head(
                        _cnn(channels, size=5, padding=padding),
                        channels[-1] * (28 // 2 ** len(channels)) ** 2,
                    )
                )
                for padding in (0, 1)
                for fits in (True, False)
            ),
        ],
        "There is no activation function between the convolutions. Max pooling is "
        "nonlinear too, but the exercise asks for a ReLU: `nn.ReLU()`.": lambda channels: _cnn(
            channels, activation=nn.Identity
        ),
        "This is mean pooling. Use max pooling: `nn.MaxPool2d(2)`.": lambda channels: _cnn(
            channels, pool=nn.AvgPool2d
        ),
        "The activation function is not a ReLU here. Use `nn.ReLU()`.": [
            lambda channels: _cnn(channels, activation=nn.Tanh),
            lambda channels: _cnn(channels, activation=nn.Sigmoid),
        ],
        "The side is halved by a stride of 2, without max pooling. Let the convolution keep the side, and pool "
        "afterwards: `nn.MaxPool2d(2)`.": lambda channels: _cnn(channels, pool=nn.Identity, stride=2),
        "The parameters do not learn: they have `requires_grad=False`. Leave them as the layers make "
        "them.": lambda channels: _cnn(channels).requires_grad_(False),
        "Two calls gave networks that share their layers. Make new layers inside the function.": lambda channels: (
            _CACHED.setdefault(tuple(channels), _cnn(channels))
        ),
        "There is a log-softmax at the end. `F.cross_entropy` takes the logits and does that itself: end with the "
        "linear layer.": lambda channels: _cnn(channels, end=[nn.LogSoftmax(dim=1)]),
        "There is a softmax at the end, and `F.cross_entropy` applies its own: two in a "
        "row train badly. End with the logits.": lambda channels: _cnn(channels, end=[nn.Softmax(dim=1)]),
        "A ReLU after the last layer cuts off negative logits. Nothing should follow the "
        "linear layer.": lambda channels: _cnn(channels, end=[nn.ReLU()]),
        "The pooling is missing, so every channel keeps 28 × 28 numbers and the linear layer grows huge:"
        " `nn.MaxPool2d(2)` after every ReLU.": {
            ", nn.MaxPool2d(2)": "",
            "\n    side = 28 // 2 ** len(channels)": "",
            "side": "28",
        },
        "The linear layer expects a different number of inputs than it gets: channels[-1] "
        "· side², with the side halved once for every entry of `channels`.": [
            lambda channels: _with_head(_cnn(channels), channels[-1] * 28**2),
            lambda channels: _with_head(_cnn(channels), 28**2),
            lambda channels: _with_head(_cnn(channels), channels[-1]),
            lambda channels: _with_head(_cnn(channels), (28 // 2 ** len(channels)) ** 2),
        ],
        "The side counts twice, as height and as width: channels[-1] · side² numbers reach the linear layer.": (
            lambda channels: _with_head(_cnn(channels), channels[-1] * (28 // 2 ** len(channels)))
        ),
        "After three stages the side is 3, not 4: pooling halves it again and again and rounds down. It is "
        "`28 // 2 ** len(channels)`, not 28 // (2n).": {"2 ** len(channels)": "(2 * len(channels))"},
        "Pooling halves the side once in every stage. Here it is halved once for all of them, or not at "
        "all.": lambda channels: _with_head(_cnn(channels), channels[-1] * 14**2),
        "The channels that reach the linear layer are those of the last stage, `channels[-1]`.": [
            lambda channels: _with_head(_cnn(channels), channels[0] * (28 // 2 ** len(channels)) ** 2),
            lambda channels: _with_head(_cnn(channels), sum(channels) * (28 // 2 ** len(channels)) ** 2),
        ],
        "The last entry of `channels` is left out: there should be a stage for every entry.": lambda channels: (
            _stages_left_out(channels, channels[:-1])
        ),
        "The first entry of `channels` is left out: there should be a stage for every entry.": lambda channels: (
            _stages_left_out(channels, channels[1:])
        ),
        "There are two linear layers. The exercise asks for one, straight to the 10 classes.": [
            lambda channels, hidden=hidden: _with_head(
                _cnn(channels), channels[-1] * (28 // 2 ** len(channels)) ** 2, hidden
            )
            for hidden in (128, 64)
        ],
        "There is batch normalization, which was not asked for: convolution, ReLU and max pooling, nothing else.": [
            lambda channels: _normalised(channels, nn.BatchNorm2d),
        ],
        "Its output is random in training. Is there dropout? That was not asked for: convolution, ReLU and max "
        "pooling, nothing else.": [
            lambda channels: _with_layers(channels, before_head=[nn.Dropout(0.5)]),
            lambda channels: _Changed(channels, lambda maps: F.dropout(maps.flatten(1), 0.5)),
        ],
        "It computes something else in training than in evaluation. Convolution, ReLU and max pooling do the same in "
        "both, and nothing else was asked for.": lambda channels: _normalised(
            channels, functools.partial(nn.BatchNorm2d, affine=False)
        ),
        "Global pooling leaves one number of each channel. The linear layer should see all places: flatten, without "
        "pooling once more.": [
            lambda channels: _averaged(channels, nn.AdaptiveAvgPool2d),
            lambda channels: _averaged(channels, nn.AdaptiveMaxPool2d),
        ],
        "The ReLU stands only after the last stage. Each stage is a convolution, a ReLU and max pooling: put it into "
        "the loop.": lambda channels: _bent(channels, range(len(channels) - 1)),
        "The last stage has no ReLU. Each stage is a convolution, a ReLU and max pooling.": lambda channels: (
            _bent(channels, [len(channels) - 1])
        ),
        "`nn.Conv2d` takes the channels that come in first, then those that go out.": {
            "nn.Conv2d(inputs, outputs": "nn.Conv2d(outputs, inputs"
        },
        "`nn.Sequential` takes the layers one by one, not a list: unpack it with a star, `*layers`.": {
            "nn.Sequential(*layers": "nn.Sequential(layers"
        },
        "An `nn.ModuleList` holds layers but does not apply them. Use `nn.Sequential(*layers)`.": lambda channels: (
            nn.ModuleList(_cnn(channels))
        ),
        "The pooling is not by 2. `nn.MaxPool2d(2)` takes the largest of 2 × 2 pixels and halves the side.": [
            lambda channels, by=by: _pooled_by(channels, by) for by in (3, 4)
        ],
        "There is pooling after the last stage only, or after the first only. It belongs to every stage: put it into "
        "the loop.": [
            lambda channels: _pooled_at(channels, [len(channels) - 1]),
            lambda channels: _pooled_at(channels, [0]),
        ],
        "In one stage, such as the last, there is no pooling. Each stage is a convolution, a ReLU and max "
        "pooling.": [
            lambda channels: _pooled_at(channels, range(len(channels) - 1)),
            lambda channels: _with_head(
                _pooled_at(channels, range(len(channels) - 1)),
                channels[-1] * (28 // 2 ** len(channels)) ** 2,
            ),
        ],
        "The pooling moves by one pixel here. `nn.MaxPool2d(2)` moves by 2, its own size, and halves the side: leave "
        "its stride out.": [
            lambda channels: _with_layers(channels, nn.MaxPool2d(2, 1), 28 - len(channels)),
            lambda channels: _with_layers(channels, nn.MaxPool2d(2, 1)),
        ],
        "The pooling rounds up: 7 pixels become 4. They should become 3, so leave `ceil_mode` out.": [
            lambda channels: _with_layers(channels, nn.MaxPool2d(2, ceil_mode=True), _rounded_up(channels)),
            lambda channels: _with_layers(channels, nn.MaxPool2d(2, ceil_mode=True)),
        ],
        "`x.flatten()` makes one row of all the images. Keep the axis of the batch: `x.flatten(1)`.": lambda channels: (
            _Changed(channels, torch.flatten)
        ),
        "One number for each digit came out, such as the most likely class. Return the 10 logits, without "
        "`argmax`.": lambda channels: _Changed(channels, to_logits=lambda logits: logits.argmax(dim=1)),
        "`channels` is not used: the network is always the same. Make a stage for every entry, from "
        "`[1, *channels]`.": [
            lambda channels, fixed=fixed: _cnn(fixed)
            for fixed in ([16, 32], [16], [32], [8, 16], [32, 64], [16, 32, 64])
        ],
        "There are two convolutions in each stage. The exercise asks for one, a ReLU and max pooling.": (
            lambda channels: _doubled(channels)
        ),
        "The network takes 3 channels. The digits are grey and have 1: begin with 1.": {
            "[1, *channels]": "[3, *channels]"
        },
        "That is what a network computes. Return the network itself.": lambda channels: _cnn(channels)(
            torch.zeros(1, 1, 28, 28)
        ),
        "A padding of 2 makes the side two pixels longer. With 3 × 3 kernels a padding of 1 keeps it.": (
            lambda channels: _cnn(channels, padding=2)
        ),
        "Nothing comes back, so there is no network: is the `return` missing?": lambda channels: [].extend(
            _cnn(channels)
        ),
        "The last layer should give a number for each of the 10 classes.": lambda channels: _with_head(
            _cnn(channels), channels[-1] * (28 // 2 ** len(channels)) ** 2, classes=1
        ),
        "The side after the poolings is not always 7: it is halved once for every entry of"
        " `channels`.": lambda channels: nn.Sequential(
            *list(_cnn(channels))[:-1], nn.Linear(channels[-1] * 7**2, 10)
        ),
        "The linear layer from the last channels to the 10 classes is missing.": lambda channels: _cnn(
            channels, head=False
        ),
        "Every convolution should have biases, the default of `nn.Conv2d`: leave out "
        "`bias=False`.": lambda channels: _cnn(channels, bias=False),
        "A list of layers is not a network yet: wrap it in `nn.Sequential(*layers)`.": lambda channels: list(
            _cnn(channels)
        ),
        "Layers in a plain list are hidden from the optimizer: use `nn.ModuleList` or `nn.Sequential`.": [
            lambda channels: _HiddenCNN(channels),
            lambda channels: _HalfHiddenCNN(channels),
        ],
    }
)


@build_cnn.mistake(
    "`nn.Flatten()` is missing before the linear layer, which expects one row of numbers for each digit."
)
def _(channels):
    return nn.Sequential(*(layer for layer in _cnn(channels) if not isinstance(layer, nn.Flatten)))


@build_cnn.mistake(
    "Each convolution takes the channels that the previous one outputs; only the first takes 1: "
    "`itertools.pairwise([1, *channels])`."
)
def _(channels):
    layers = []
    for outputs in channels:
        layers += [nn.Conv2d(1, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    side = 28 // 2 ** len(channels)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * side**2, 10))


@build_cnn.remark(
    "A remark: `nn.LazyLinear` has no weights before it has seen an image, and the lesson counts and trains them. "
    "Compute the number of its inputs, or apply the network to `torch.zeros(1, 1, 28, 28)` once."
)
def _(attempt):
    return any(isinstance(part, nn.UninitializedParameter) for part in attempt([4]).parameters())


class _HiddenCNN(nn.Module):
    """A network whose layers are in a plain list, but for the last `seen`."""

    seen = 0

    def __init__(self, channels):
        super().__init__()
        self.layers = list(_cnn(channels))
        self.head = nn.Sequential(*self.layers[len(self.layers) - self.seen :])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class _HalfHiddenCNN(_HiddenCNN):
    seen = 1


# Section 5: where the assumption holds ----------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "The question behind the first three: does a pattern mean the same wherever it appears?",
        "`shape` and `parameters` are worked out in section 3, the flip in section 2, below exercise 2.",
    ],
    sorted_incomes=Question(
        "c",
        "In a sorted list the place is the rank, which carries the meaning: a shifted pattern means "
        "something else.",
        {
            "a": "Neighbours are alike, but a pattern at the poor end does not mean what it means at the rich end.",
            "b": "Its length is no obstacle: padding or global pooling would take care of that.",
            "d": "A convolution works on 1,000 numbers in a row as well as on images, if shifting makes "
            "sense.",
        },
    ),
    humidity_map=Question(
        "a",
        "Nearby places belong together, and a front looks the same wherever it passes. What depends on the "
        "place, such as the coast, can be added as another channel.",
        {
            "b": "Humidity is a field in space: one channel is enough, as for greyscale images.",
            "c": "A dense layer would learn the same front anew for every place, from far too few maps.",
            "d": "Smooth or not: local patterns that may appear anywhere are what convolution is for.",
        },
    ),
    blood_values=Question(
        "d",
        "The columns have no order that means something: swap two, and nothing is lost. A dense net does not mind, a "
        "kernel would.",
        {
            "a": "The alphabet makes calcium and chloride neighbours; that says nothing about them.",
            "b": "Small kernels and pooling combine neighbours, and only the alphabet makes two values neighbours.",
            "c": "Two-dimensional or not: the order of the columns has no meaning.",
        },
    ),
    shape=Question(
        (8, 16, 16, 16),
        "Side: (32 + 4 − 5) // 2 + 1 = 16. Sixteen channels come out, for each of the 8 images.",
        {
            (8, 16, 15, 15): "(32 + 4 − 5) // 2 is 15. Then comes the + 1, for the first place.",
            (8, 16, 14, 14): "The padding of 2 is added at both ends.",
            (
                8,
                16,
                32,
                32,
            ): "The padding would keep the side, but the stride of 2 keeps only every second place.",
            (8, 3, 16, 16): "The side is right. The channels are those that come out, 16.",
            (16, 16, 16): "The axis of the 8 images is missing.",
        },
    ),
    parameters=Question(
        4824,
        "24 · (8 · 5 · 5 + 1). The size of the image plays no part.",
        {
            4800: "The biases are missing, one for each of the 24 output channels.",
            4808: "There is a bias for each of the 24 outputs, not for each of the 8 inputs.",
            624: "Each of the 24 kernels reaches through all 8 input channels.",
            4801: "There is a bias for each of the 24 output channels, not one for all.",
            984: "The kernel is a square: 5 · 5 numbers for every pair of channels, not 5.",
        },
    ),
    forgotten_flip=Question(
        "b",
        "The weights are learned: without the flip, training finds the mirrored kernel, which computes the same.",
        {
            "a": "No accuracy is lost: each flipped kernel has an unflipped twin, and training finds that.",
            "c": "The cost is the same.",
            "d": "Cross-correlation is equivariant as well: sliding is what counts, not the flip.",
        },
    ),
)


# Section 6: one dimension -----------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "three numbers and two": (torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, -3.0])),
        "a kernel longer than the signal": (
            torch.tensor([1.0, 2.0]),
            torch.tensor([3.0, 5.0, 7.0, 11.0, 2.0]),
        ),
        "a kernel of one number": (torch.tensor([2.0, -1.0, 4.0, 3.0]), torch.tensor([10.0])),
        "a signal of one number": (torch.tensor([3.0]), torch.tensor([1.0, -2.0, 4.0])),
        "signal and kernel equally long": (normal(5, seed=2), normal(5, seed=3)),
        "an ordinary signal": (normal(9), normal(4, seed=1)),
        "float64 numbers": (normal(8, dtype=torch.float64), normal(3, seed=1, dtype=torch.float64)),
    },
    hints=[
        "Each number of the signal sends out a copy of the kernel, scaled by itself. The result is their sum.",
        "Begin with N + K − 1 zeros. The copy for x[i] begins at index i.",
        "Or the other way round: kernel[k] adds `kernel[k] * x` to the slice from k to k + N.",
    ],
)
def convolve_1d(x, kernel):
    """Return the convolution of a signal x (N,) and a kernel (K,), flip included.

    All N + K − 1 numbers y[i] = Σₖ kernel[k] · x[i − k] are returned; outside the signal, x counts as 0.
    Either of the two may be the longer one.
    """
    y = x.new_zeros(len(x) + len(kernel) - 1)
    for k, weight in enumerate(kernel):
        y[k : k + len(x)] += weight * x
    return y


def _correlate(x, kernel):
    """All N + K − 1 products of the kernel, unflipped, with the signal under it."""
    return convolve_1d.reference(x, kernel.flip(0))


convolve_1d.mistakes(
    {
        "That is the cross-correlation: the kernel slides along as it is. A convolution "
        "flips it first, so that a unit impulse in the signal gives back the kernel, not "
        "its mirror image.": lambda x, kernel: _correlate(x, kernel),
        "The result has one number too many: it should have N + K − 1, not N + K.": lambda x, kernel: F.pad(
            convolve_1d.reference(x, kernel), (0, 1)
        ),
        "The last numbers wrapped around to the front. Outside the signal x counts as 0.": [
            lambda x, kernel: torch.fft.ifft(torch.fft.fft(x) * torch.fft.fft(kernel, n=len(x))).real,
            lambda x, kernel: _indexed(x, kernel, lambda i, N: i % N),
        ],
        "The border is repeated outside of the signal. There x counts as 0.": lambda x, kernel: _indexed(
            x, kernel, lambda i, N: min(max(i, 0), N - 1)
        ),
        "The result is back to front: the numbers are right, but their order is reversed. With `F.conv1d`, flip the "
        "kernel and nothing else.": lambda x, kernel: convolve_1d.reference(x, kernel).flip(0),
        "The signal is flipped. Leave it as it is: with `F.conv1d`, flip the kernel and nothing else.": (
            lambda x, kernel: convolve_1d.reference(x.flip(0), kernel)
        ),
        "The copies overwrite each other. Where they overlap they add up: use `+=` instead of `=`.": [
            {" +=": " ="},
            lambda x, kernel: _overwritten(x, kernel),
        ],
        "The result is too short for the last copies, which begin at index K − 1: start with N + K − 1 zeros.": {
            "len(x) + len(kernel) - 1": "len(x)"
        },
        "All copies begin at index 0. The copy for kernel[k] is delayed by k: it belongs in the slice from k to "
        "k + N.": {"y[k : k + len(x)]": "y[: len(x)]"},
        "The copies are not scaled. Multiply x by kernel[k] before you add it.": {"weight * x": "x"},
        "The last number of the kernel is never used: `range(len(kernel))` already ends at K − 1.": {
            "enumerate(kernel)": "enumerate(kernel[:-1])"
        },
        "The first number of the kernel is never used. Count k from 0: the copy for kernel[0] is not delayed.": {
            "enumerate(kernel)": "list(enumerate(kernel))[1:]"
        },
        "The copies come one place too late: indices count from 0, so the copy for kernel[0] begins at index "
        "0.": lambda x, kernel: F.pad(convolve_1d.reference(x, kernel), (1, 0))[:-1],
        "The last K − 1 numbers are missing: the echoes go on after the signal has ended. Let i run to "
        "N + K − 1, and leave out what lies outside x, or pad x at both ends.": [
            lambda x, kernel: convolve_1d.reference(x, kernel)[: len(x)],
            lambda x, kernel: _correlate(x, kernel)[: len(x)],
        ],
        "The result has one number too few: it should have N + K − 1.": [
            lambda x, kernel: convolve_1d.reference(x, kernel)[:-1],
            lambda x, kernel: _correlate(x, kernel)[:-1],
        ],
        "There is one number too many at either end: pad x with K − 1 zeros on both sides, not with "
        "K.": lambda x, kernel: F.pad(convolve_1d.reference(x, kernel), (1, 1)),
        "You padded with K // 2 zeros, which keeps the size of the signal, or nearly so. The kernel overhangs by up to "
        "K − 1 numbers: pad with K − 1.": [
            lambda x, kernel: F.pad(x, [len(kernel) // 2] * 2).unfold(0, len(kernel), 1) @ kernel.flip(0),
            lambda x, kernel: F.pad(x, [len(kernel) // 2] * 2).unfold(0, len(kernel), 1) @ kernel,
        ],
        "The first K − 1 numbers are missing: the kernel overhangs at the beginning, too. Pad x at both "
        "ends.": lambda x, kernel: convolve_1d.reference(x, kernel)[len(kernel) - 1 :],
        "The first number of the signal is lost: x[0] counts as well, where i − k is 0.": lambda x, kernel: (
            convolve_1d.reference(torch.cat([0 * x[:1], x[1:]]), kernel)
        ),
        "The last number of the signal is lost: i − k goes up to N − 1, so the copy for x[N − 1] is due as "
        "well.": lambda x, kernel: convolve_1d.reference(torch.cat([x[:-1], 0 * x[-1:]]), kernel),
        "`x[i + k]` runs through the signal forwards, without the flip. The formula has x[i − k].": (
            lambda x, kernel: F.pad(_correlate(x, kernel)[len(kernel) - 1 :], (0, len(kernel) - 1))
        ),
        "Only as many copies as the shorter of the two has numbers were added, or the kernel is cut off: k runs over "
        "all K of its numbers.": lambda x, kernel: F.pad(
            convolve_1d.reference(x, kernel[: len(x)]), (0, max(len(kernel) - len(x), 0))
        ),
        "Signal and kernel are added. Each copy is the product of the two: kernel[k] · x.": {
            "weight * x": "weight + x"
        },
        "What slides sets the padding: `padding=len(kernel) - 1` if the kernel slides over x, `padding=len(x) - 1` if "
        "x slides over the kernel.": [
            lambda x, kernel: _by_library(kernel, x.flip(0), len(kernel) - 1),
            lambda x, kernel: _by_library(x, kernel.flip(0), len(x) - 1),
        ],
        "The copy for x[j] is as long as the kernel: it belongs in the slice `y[j : j + len(kernel)]`.": (
            lambda x, kernel: _in_slices(x, kernel, len(x), lambda one, kernel: one * kernel)
        ),
        "Only whole numbers came out: the fractions are cut off. Keep the type of the signal: `dtype=x.dtype`.": [
            lambda x, kernel: convolve_1d.reference(x, kernel).long(),
            lambda x, kernel: _in_slices(x, kernel, len(kernel), lambda one, kernel: (one * kernel).trunc()),
        ],
        "An integer tensor has no room for fractions. Keep the type of the signal: `x.new_zeros(...)`.": {
            "len(kernel) - 1)": "len(kernel) - 1, dtype=torch.long)"
        },
        "That multiplies number by number. In a convolution each number of the signal meets each number of the kernel: "
        "add up kernel[k] · x[i − k] over k.": [
            lambda x, kernel: x * kernel,
            lambda x, kernel: kernel * x,
        ],
    }
)


@convolve_1d.remark(
    "A remark: the result is cut off from the gradient, and the lesson will call `backward()` on it. Stay with "
    "tensors: no NumPy, `.detach()`, `.item()` or `torch.tensor(...)`."
)
def _(attempt):
    try:
        y = attempt(torch.ones(4, requires_grad=True), torch.ones(2))
    except (RuntimeError, TypeError):  # NumPy refuses what records gradients
        return True
    return isinstance(y, torch.Tensor) and not y.requires_grad


def _indexed(x, kernel, place):
    """The sum of the formula, with x taken at `place(i - k, N)`."""
    rows = range(len(x) + len(kernel) - 1)
    return torch.stack([sum(w * x[place(i - k, len(x))] for k, w in enumerate(kernel)) for i in rows])


def _by_library(still, sliding, padding):
    """What `F.conv1d` makes of two vectors."""
    return F.conv1d(still[None, None], sliding[None, None], padding=padding)[0, 0]


def _in_slices(x, kernel, length, copy):
    """The copies of the kernel for each number of x, each in a slice of that length; errors are those of the loop."""
    y = x.new_zeros(len(x) + len(kernel) - 1)
    for j in range(len(x)):
        y[j : j + length] += copy(x[j], kernel)
    return y


def _overwritten(x, kernel):
    """The copies of the kernel for each number of x, each in the place of those before it."""
    y = x.new_zeros(len(x) + len(kernel) - 1)
    for i in range(len(x)):
        y[i : i + len(kernel)] = x[i] * kernel
    return y


def _by_formula(terms, length=lambda N, K: N + K - 1):
    """The sum of the formula, over those k < K, or those that `terms` lists; an index may leave x or y."""

    def convolve(x, kernel):
        y = x.new_zeros(length(len(x), len(kernel)))
        for i in range(len(x) + len(kernel) - 1):
            for k in terms(i, len(x), len(kernel)):
                y[i] += kernel[k] * x[i - k]
        return y

    return convolve


convolve_1d.mistakes(
    {
        "An index goes past the end. Of the sum only terms with `0 <= i - k < N` count, since x is 0 outside, and y "
        "needs room for N + K − 1 numbers.": [
            _by_formula(lambda i, N, K: range(min(i + 1, K))),
            _by_formula(lambda i, N, K: range(K)),
            _by_formula(lambda i, N, K: [k for k in range(K) if 0 <= i - k < N], lambda N, K: N),
            _by_formula(lambda i, N, K: [k for k in range(K) if 0 <= i - k <= N]),
        ],
        "The loop runs past the end of the kernel: k goes from 0 to K − 1, and terms with `0 <= i - k < N` count.": [
            _by_formula(lambda i, N, K: [k for k in range(i + 1) if i - k < N]),
            _by_formula(lambda i, N, K: range(i + 1)),
            lambda x, kernel: _by_formula(lambda i, N, K: range(min(i + 1, K)))(kernel, x),
        ],
        "A negative index counts from the end: `kernel[i - j]` with i < j is not an error, but picks another number of "
        "the kernel. Leave those terms out.": lambda x, kernel: _by_formula(
            lambda i, N, K: [k for k in range(K) if i - k < N]
        )(kernel, x),
    }
)


def _cut(length):
    """Convolution and correlation that keep `length(N, K)` numbers from the middle."""

    def middle(y, N, K):
        keep = length(N, K)
        first = (len(y) - keep) // 2
        return y[first : first + keep]

    return (
        lambda x, kernel: middle(convolve_1d.reference(x, kernel), len(x), len(kernel)),
        lambda x, kernel: middle(_correlate(x, kernel), len(x), len(kernel)),
    )


_LENGTHS = {
    "You kept only the places where the kernel lies entirely on the signal; {}. Return all N + K − 1 "
    "numbers: add K − 1 zeros at either end first.": lambda N, K: max(N, K) - min(N, K) + 1,
    "You return as many numbers as the signal has; {}. The kernel overhangs at both ends: the full "
    "convolution has N + K − 1 numbers.": lambda N, K: N,
}
for _sentence, _length in _LENGTHS.items():
    for _said, _attempt in zip(
        ("the flip is right", "the flip is missing as well"), _cut(_length), strict=True
    ):
        convolve_1d.mistake(_sentence.format(_said))(_attempt)


@convolve_1d.mistake(
    "A negative index counts from the end: `x[i - k]` with i < k is not an error, but picks another number "
    "of the signal. Leave those terms out."
)
def _(x, kernel):
    y = x.new_zeros(len(x) + len(kernel) - 1)
    for i, k in itertools.product(range(len(y)), range(len(kernel))):
        if i - k < len(x):
            y[i] += kernel[k] * x[i - k]
    return y


# Section 7: equivariance ------------------------------------------------------------------------------------------


class _Map(nn.Module):
    """A function of images with a name, which is how messages show it."""

    def __init__(self, name, function):
        super().__init__()
        self.name, self.function = name, function

    def __deepcopy__(self, _):  # faster than a module's own
        return _Map(self.name, self.function).train(self.training)

    def forward(self, x):
        return self.function(x)

    def __repr__(self):
        return self.name


def _wrapping(kernel):
    """The convolution with one kernel (3, 3) that wraps around at the border."""
    return lambda x: F.conv2d(
        F.pad(x, (1, 1, 1, 1), mode="circular"), kernel.to(x.dtype)[None, None].expand(1, 1, 3, 3)
    )


_SLANTED = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.5, 0.0], [-1.0, 0.0, 0.0]])
_ROUND = torch.tensor([[0.1, 0.3, 0.1], [0.3, 0.7, 0.3], [0.1, 0.3, 0.1]])
_MOVE = _Map("a shift by two pixels", lambda x: x.roll((2, 2), dims=(2, 3)))
_TURN = _Map("a rotation by 90 degrees", lambda x: x.rot90(dims=(2, 3)))
_MIRROR = _Map("a reflection", lambda x: x.flip(3))
_DOUBLE = _Map("doubling", lambda x: 2 * x)
_LAST_PIXEL = torch.zeros(2, 1, 6, 6)
_LAST_PIXEL[-1, 0, 0, 0] = 1
_RAMP = torch.arange(36.0).reshape(1, 1, 6, 6)
_LAYERS = {
    name: _Map(name, function)
    for name, function in {
        "a ReLU": lambda x: x.relu(),
        "a convolution": _wrapping(_SLANTED),
        "a convolution with a round kernel": _wrapping(_ROUND),
        "a weight for every pixel": lambda x: x * _RAMP.to(x.dtype),
        "the largest pixel of the image": lambda x: x.amax(dim=(2, 3), keepdim=True),
        "the mean over the image": lambda x: x.mean(dim=(2, 3), keepdim=True),
        "a layer that mixes the pixels": lambda x: (x.flatten(1) @ _MIX.to(x.dtype)).reshape(x.shape),
        "a sort along the rows": lambda x: x.sort(dim=3).values,
        "a tiny weight for every pixel, added": lambda x: x + 0.0003 * _RAMP.to(x.dtype),
        "one added": lambda x: x + 1,
        "less than a thousandth added to one pixel of images that are not empty": lambda x: _added(x, 8e-4),
        "a small number added to one pixel of images that are not empty": lambda x: _added(x, 2e-4),
        "five hundred-thousandths added to one pixel": lambda x: x + 5e-5 * _LAST_PIXEL.to(x.dtype),
        "four millionths added to one pixel": lambda x: x + 4e-6 * _LAST_PIXEL.to(x.dtype),
        "five thousandths added to one pixel": lambda x: x + 5e-3 * _LAST_PIXEL.to(x.dtype),
        "six millionths added to many pixels": lambda x: x + 6e-6 * (_RAMP % 6 < 3).to(x.dtype),
    }.items()
}


def _added(x, number):
    """The images with a number added to one pixel of each that is not empty."""
    return x + number * _LAST_PIXEL[-1:].to(x.dtype) * x.abs().amax(dim=(2, 3), keepdim=True).sign()


_MIX = normal(36, 36, seed=3) / 6
_IMAGE, _EMPTY = normal(1, 1, 6, 6), torch.zeros(1, 1, 6, 6)
_ONE_PIXEL = torch.zeros(2, 1, 6, 6)
_ONE_PIXEL[:, :, 3, 3] = 1
_CHESS = ((torch.arange(6)[:, None] + torch.arange(6)) % 2).float()[None, None]


def _pair(layer, transform, x=None):
    return _LAYERS[layer], transform, normal(2, 1, 6, 6) if x is None else x


@lesson.exercise(
    cases={
        "a ReLU and a rotation": _pair("a ReLU", _TURN),
        "a convolution and a shift": _pair("a convolution", _MOVE),
        "a convolution and a rotation": _pair("a convolution", _TURN),
        "a convolution and a reflection": _pair("a convolution", _MIRROR),
        "a round kernel and a rotation": _pair("a convolution with a round kernel", _TURN),
        "other images, with rounding": _pair(
            "a convolution with a round kernel", _TURN, normal(3, 1, 6, 6, seed=5)
        ),
        "float64 numbers": _pair(
            "a convolution with a round kernel", _MOVE, normal(2, 1, 6, 6, dtype=torch.float64)
        ),
        "a batch of one": _pair("a convolution", _TURN, normal(1, 1, 6, 6, seed=6)),
        "images that are not square": _pair("a convolution", _MOVE, normal(4, 1, 5, 7, seed=7)),
        "the mean over the image": _pair("the mean over the image", _MOVE),
        "a layer that mixes the pixels": _pair("a layer that mixes the pixels", _MOVE),
        "a sort along the rows": _pair("a sort along the rows", _TURN),
        "a tiny weight for every pixel": _pair("a tiny weight for every pixel, added", _MOVE),
        "one added, and doubling": _pair("one added", _DOUBLE),
        "a difference in the last image": _pair(
            "less than a thousandth added to one pixel of images that are not empty",
            _MOVE,
            torch.cat([_EMPTY, _IMAGE]),
        ),
        "a small difference in one pixel": _pair(
            "a small number added to one pixel of images that are not empty",
            _MOVE,
            torch.cat([_IMAGE, _EMPTY]),
        ),
        "a difference as small as rounding": _pair(
            "four millionths added to one pixel", _MOVE, torch.zeros(2, 1, 6, 6)
        ),
        "a chessboard": _pair("a ReLU", _MOVE, _CHESS),
        "a sort and a shift": _pair("a sort along the rows", _MOVE),
        "a difference barely above rounding": _pair(
            "five hundred-thousandths added to one pixel", _MOVE, torch.zeros(2, 1, 6, 6)
        ),
        "rounding of larger numbers": _pair(
            "four millionths added to one pixel", _MOVE, torch.ones(2, 1, 6, 6)
        ),
        "the largest pixel": _pair("the largest pixel of the image", _MOVE),
        "a larger difference in one pixel": _pair("five thousandths added to one pixel", _MOVE),
        "rounding in many pixels": _pair(
            "six millionths added to many pixels", _MOVE, torch.zeros(2, 1, 6, 6)
        ),
        "rounding beside a larger number": _pair("four millionths added to one pixel", _MOVE, _ONE_PIXEL),
        "an image and its negative": _pair("a weight for every pixel", _MOVE, torch.cat([_IMAGE, -_IMAGE])),
    },
    hints=[
        "There are two ways from x to a result: transform first and then the layer, or the layer first.",
        "Compare `layer(transform(x))` with `transform(layer(x))`, in all their numbers.",
        "`torch.allclose(one, other, atol=1e-5)` forgives the rounding, which differs between the two ways.",
    ],
)
def is_equivariant(layer, transform, x):
    """Return True if on the images x (N, 1, H, W) it does not matter which comes first, layer or transform.

    Both are functions from images to images. Differences up to 1e-5 are rounding and do not count.
    """
    return torch.allclose(layer(transform(x)), transform(layer(x)), rtol=0, atol=1e-5)


is_equivariant.mistakes(
    {
        "This asks whether the transform leaves the result as it is: invariance. Equivariant means that "
        "the result is transformed in the same way: compare with `transform(layer(x))`.": [
            {"transform(layer(x))": "layer(x)"},
            {"transform(layer(x))": "layer(x)", "allclose": "equal", ", rtol=0, atol=1e-5": ""},
        ],
        "Sums in a different order round differently, so numbers that are equal on paper differ in the "
        "last digit. Use `torch.allclose(…, atol=1e-5)`.": {"allclose": "equal", ", rtol=0, atol=1e-5": ""},
        "A mean or a sum over the pixels says nothing about where they are. Compare every number.": {
            "(transform(x)), transform(layer(x)), rtol=": (
                "(transform(x)).mean(), transform(layer(x)).mean(), rtol="
            )
        },
        "The answer is inverted: return True where the two ways agree.": lambda layer, transform, x: (
            not is_equivariant.reference(layer, transform, x)
        ),
        "The answer is always True. Is the order the same on both sides, are only shapes compared, or is the "
        "tolerance huge: 1e5 instead of 1e-5?": lambda layer, transform, x: True,
        "The answer is always False. Can your comparison ever hold? Two tensors are the same where "
        "all of their numbers agree.": lambda layer, transform, x: False,
        "On its own, `torch.allclose` hardly forgives anything near 0. Say how much is rounding: "
        "`atol=1e-5`.": {", rtol=0, atol=1e-5": ""},
        "The layer is left out, on one side or on both. Each way has to go through the layer and through "
        "the transform.": [
            {"layer(transform(x)), transform(layer(x))": "transform(x), x"},
            {"transform(layer(x))": "transform(x)"},
            {"transform(layer(x))": "transform(x)", ", rtol=0, atol=1e-5": ""},
            {"transform(layer(x))": "transform(x)", "allclose": "equal", ", rtol=0, atol=1e-5": ""},
            {"layer(transform(x))": "transform(x)"},
        ],
        "The transform is left out on one side, or applied twice. Each way goes through the layer once and through the "
        "transform once.": [
            {"layer(transform(x)), transform(layer(x))": "layer(x), transform(layer(x))"},
            {
                "layer(transform(x)), transform(layer(x)), rtol=0, atol=1e-5": "layer(x), transform(layer(x))",
                "allclose": "equal",
            },
        ],
        "You return an answer for every pixel. Return a single one: do all of them agree? `.all()`.": [
            {"allclose": "isclose"},
            {"torch.allclose(": "torch.eq(", ", rtol=0, atol=1e-5": ""},
        ],
        "You only look at the last image. All numbers of all images have to agree.": {
            ", transform(layer(x))": "[-1:], transform(layer(x))[-1:]"
        },
        "The values are compared without their places: sorted, or by their spread. Compare each pixel with the one in "
        "the same place.": [
            lambda layer, transform, x: torch.allclose(
                layer(transform(x)).flatten().sort().values,
                transform(layer(x)).flatten().sort().values,
                atol=1e-5,
            ),
            lambda layer, transform, x: bool(
                (layer(transform(x)).std() - transform(layer(x)).std()).abs() < 1e-5
            ),
        ],
        "That is how large the difference is. Return True or False: is it at most 1e-5?": [
            lambda layer, transform, x: (layer(transform(x)) - transform(layer(x))).abs().max(),
            lambda layer, transform, x: (layer(transform(x)) - transform(layer(x))).abs().sum(),
            lambda layer, transform, x: (layer(transform(x)) - transform(layer(x))).abs().mean(),
        ],
        "A difference can be negative, too, and is then below every tolerance: "
        "take `.abs()` first.": lambda layer, transform, x: bool(
            (layer(transform(x)) - transform(layer(x))).max() <= 1e-5
        ),
        "You only look at the first image, or at a part of it. All numbers of all images have to agree.": [
            {", transform(layer(x))": "[:1], transform(layer(x))[:1]"},
            {"(x)": "(x[:1])"},
        ],
        "The mean difference is small even if a few pixels differ a lot. Look at the largest difference: "
        "`.abs().max()`.": lambda layer, transform, x: bool(
            (layer(transform(x)) - transform(layer(x))).abs().mean() <= 1e-5
        ),
        "The tolerance is so wide that small but real differences pass. Here the rounding of float32 "
        "stays below 1e-5.": [{"=1e-5": f"={wide}"} for wide in (0.1, 1e-3, 1e-4)],
        "The tolerance is so narrow that rounding counts as a difference. Up to 1e-5 is rounding here.": [
            {"=1e-5": f"={narrow}"} for narrow in (1e-6,)
        ],
        "A sum or a norm grows with the number of pixels, so rounding in many of them adds up. Look at the largest "
        "difference: `.abs().max()`.": lambda layer, transform, x: (
            (layer(transform(x)) - transform(layer(x))).abs().sum() <= 1e-5
        ),
        "A mean or a sum over the images lets differences cancel. Compare every number of every image.": {
            "(transform(x)), transform(layer(x))": "(transform(x)).mean(0), transform(layer(x)).mean(0)"
        },
        "The square of a small number is far smaller, and the mean hides single pixels. Look at the largest "
        "difference: `.abs().max()`.": lambda layer, transform, x: (
            F.mse_loss(layer(transform(x)), transform(layer(x))) <= 1e-5
        ),
        "The tolerance is relative here. It should be absolute: a difference up to 1e-5 is rounding, whatever the "
        "numbers are.": lambda layer, transform, x: (
            (layer(transform(x)) - transform(layer(x))).abs().max() / transform(layer(x)).abs().max() <= 1e-5
        ),
        "`assert_close` raises where the two differ, and returns nothing. `torch.allclose` returns True or False.": [
            lambda layer, transform, x: torch.testing.assert_close(
                layer(transform(x)), transform(layer(x)), rtol=0, atol=1e-5
            ),
            lambda layer, transform, x: torch.testing.assert_close(layer(transform(x)), transform(layer(x))),
        ],
        "Python's `max`, like `if` and `and`, asks a whole tensor for one answer, but every pixel gives its own. Take "
        "the largest difference first: `.abs().max()`.": [
            lambda layer, transform, x: max(abs(layer(transform(x)) - transform(layer(x)))) <= 1e-5,
            lambda layer, transform, x: bool(layer(transform(x)) == transform(layer(x))),
        ],
        "Rounding first can part two numbers that nearly agree: 0.0000149 and 0.0000151 become 1e-5 and 2e-5. Look at "
        "their difference.": lambda layer, transform, x: torch.equal(
            layer(transform(x)).round(decimals=5), transform(layer(x)).round(decimals=5)
        ),
        "The layer is applied twice on one side. Each way goes through the layer once and through the transform "
        "once.": {"layer(transform(x))": "layer(transform(layer(x)))"},
    }
)


@is_equivariant.mistake(
    "Here it is enough for one pixel to agree. All of them have to: `.all()`, not `.any()`."
)
def _(layer, transform, x):
    return torch.isclose(layer(transform(x)), transform(layer(x)), rtol=0, atol=1e-5).any()


# Section 8: the receptive field -----------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "one layer": ([(5, 1)],),
        "one layer with a stride": ([(4, 3)],),
        "two layers": ([(3, 1), (3, 1)],),
        "a stride before a layer": ([(3, 2), (3, 1)],),
        "a kernel of one pixel between": ([(4, 2), (1, 1), (3, 1)],),
        "the example on paper": ([(5, 1), (2, 2), (5, 1), (2, 2)],),
        "four strides": ([(3, 2), (3, 2), (3, 2), (3, 2)],),
        "different strides": ([(7, 2), (3, 2), (1, 1), (3, 3), (4, 1)],),
        "a larger kernel later": ([(2, 2), (5, 1)],),
    },
    hints=[
        "Begin with 1 pixel. A layer with kernel k makes the field grow by k − 1 steps, but how long is a "
        "step?",
        "One step in a layer is as many input pixels as the strides of all layers *before* it, multiplied.",
        "Keep two numbers, the field and the step: `field += (kernel - 1) * step`, and then `step *= stride`.",
    ],
)
def receptive_field(layers):
    """Return how many pixels of the image, along one side, one output number depends on.

    `layers` lists pairs (kernel, stride), the layer nearest to the image first. Pooling counts as a layer.
    """
    field = step = 1
    for kernel, stride in layers:
        field += (kernel - 1) * step
        step *= stride
    return field


receptive_field.mistakes(
    {
        "The strides are not used: after a layer with stride 2, neighbours are two pixels of"
        " the image apart.": lambda layers: 1 + sum(kernel - 1 for kernel, _ in layers),
        "The kernels overlap, so their sizes are not multiplied: two 3 × 3 layers see 5, not"
        " 9.": lambda layers: math.prod(kernel for kernel, _ in layers),
        "Begin with 1: even without any layer, a number depends on its own pixel.": lambda layers: (
            receptive_field.reference(layers) - 1
        ),
        "A step is the product of all strides before it, not only the last one: they multiply.": {
            " *=": " ="
        },
        "The layers are taken in the wrong order. With `field += (kernel - 1) * step` begin at the image, with "
        "`(field - 1) * stride + kernel` at the end of the list.": lambda layers: receptive_field.reference(
            layers[::-1]
        ),
        "Each layer adds kernel − 1, not kernel: two 3 × 3 layers see 5 pixels, not 6 or 7.": [
            {"(kernel - 1)": "kernel"},
            {"(kernel - 1)": "kernel", "field = step = 1": "field, step = 0, 1"},
        ],
        "Strides multiply, they do not add up: two layers with stride 2 make steps of 4 pixels, and three of 8.": [
            {" *= stride": " += stride - 1"},
            {" *= stride": " += stride"},
        ],
        "The pairs are (kernel, stride), in this order: you unpacked them the other way round.": {
            "kernel, stride in": "stride, kernel in"
        },
        "The field starts again at every layer: `=` instead of `+=`.": {
            "field += (kernel - 1) * step": "field = 1 + (kernel - 1) * step"
        },
        "Only the first layer is counted. Is the `return` inside the loop?": lambda layers: layers[0][0],
        "The last layer is left out: the loop ends one layer too early.": {"in layers": "in layers[:-1]"},
        "The − 1 comes before the stride: backwards, `field = (field - 1) * stride + kernel`.": [
            lambda layers: functools.reduce(
                lambda field, layer: field * layer[1] + layer[0] - 1, layers[::-1], 1
            ),
            lambda layers: functools.reduce(
                lambda field, layer: field * layer[1] + layer[0], layers[::-1], 1
            ),
            lambda layers: functools.reduce(
                lambda field, layer: (field - 1) * layer[1] + layer[0] - 1, layers[::-1], 1
            ),
            lambda layers: functools.reduce(
                lambda field, layer: (field + 1) * layer[1] + layer[0], layers[::-1], 1
            ),
        ],
        "The field is multiplied by every stride as it goes along. Only the new layer's kernel − 1 counts in steps: "
        "`field += (kernel - 1) * step`.": [
            lambda layers: functools.reduce(lambda field, layer: field * layer[1] + layer[0] - 1, layers, 1),
            lambda layers: functools.reduce(
                lambda field, layer: (field + layer[0] - 1) * layer[1], layers, 1
            ),
            lambda layers: functools.reduce(lambda field, layer: field * layer[1] + layer[0], layers, 1),
        ],
        "The stride of the first layer is not used. Every layer after it takes steps of that many pixels.": (
            lambda layers: receptive_field.reference([(layers[0][0], 1), *layers[1:]])
        ),
        "The whole sum is multiplied by all strides. Each layer's kernel − 1 is multiplied by the strides before it "
        "only.": [
            lambda layers: (
                (1 + sum(kernel - 1 for kernel, _ in layers)) * math.prod(stride for _, stride in layers)
            ),
            lambda layers: (
                1 + sum(kernel - 1 for kernel, _ in layers) * math.prod(stride for _, stride in layers)
            ),
        ],
        "Each layer is multiplied by its own stride only. A step in a layer is the product of the strides of all "
        "layers before it.": [
            {"(kernel - 1) * step": "(kernel - 1) * stride"},
            lambda layers: sum(kernel * stride for kernel, stride in layers),
        ],
        "You return the step, the product of the strides. Return the field.": {"return field": "return step"},
        "The field never grows: the step begins with 1, not with 0.": {
            "field = step = 1": "field, step = 1, 0"
        },
        "Half of the kernel is counted. It reaches kernel − 1 steps beyond its first pixel.": [
            {"(kernel - 1) * step": "kernel // 2 * step"},
            {"(kernel - 1) * step": "(kernel - 1) // 2 * step"},
        ],
        "The strides multiply to the step. Here only the largest counts, or the square of one.": [
            {"step *= stride": "step = max(step, stride)"},
            {"step *= stride": "step = stride**2"},
        ],
        "The − 1 belongs to the kernel, in brackets: `(kernel - 1) * step`.": {
            "(kernel - 1) * step": "kernel * step - 1"
        },
        "The strides are added to the field. They make its steps longer: `(kernel - 1) * step`.": [
            {"(kernel - 1) * step": "kernel - 1 + stride - 1"},
            {"(kernel - 1) * step": "kernel - 1 + stride"},
        ],
        "Return the field alone, not the step as well.": {"return field": "return field, step"},
        "That is the largest kernel. Each layer adds kernel − 1 steps to the field.": lambda layers: max(
            kernel for kernel, _ in layers
        ),
        "The step is divided by the stride. It grows: two layers with stride 2 make steps of 4 pixels.": {
            "step *= stride": "step /= stride"
        },
        "Layers whose kernel is as large as their stride are left out, as pooling is. It has a kernel, too, and adds "
        "kernel − 1 steps.": [
            {"(kernel - 1) * step": "(kernel - 1) * step * (kernel != stride)"},
            lambda layers: receptive_field.reference([one for one in layers if one[0] != one[1]]),
        ],
        "The first layer counts twice: begin with 1 pixel, or leave it out of the loop.": {
            "field = step = 1": "field, step = layers[0][0], 1"
        },
        "The step doubles with every layer, whatever its stride is. Multiply it by the stride.": {
            "step *= stride": "step *= 2"
        },
        "Twice `kernel // 2` is kernel − 1 for odd kernels only. Each layer adds kernel − 1 steps.": {
            "(kernel - 1) * step": "2 * (kernel // 2) * step"
        },
        "Two slips: `(field - 1) * stride + kernel` starts with 1, not with 0, and at the end of the list.": (
            lambda layers: functools.reduce(lambda field, layer: (field - 1) * layer[1] + layer[0], layers, 0)
        ),
    }
)


def _field(layers, *, begin=1, more=-1, early=False, strides=lambda step, stride: step * stride):
    """The loop, with what can go wrong as arguments."""
    field, step = begin, 1
    for kernel, stride in layers:
        step = strides(step, stride) if early else step
        field += (kernel + more) * step
        step = step if early else strides(step, stride)
    return field


_FIELD_SLIPS = {
    "the field begins with 0, not with 1": {"begin": 0},
    "each layer adds kernel − 1, not kernel": {"more": 0},
    "the step grows after the field, not before it": {"early": True},
    "the strides are not used": {"strides": lambda step, stride: step},
    "the strides multiply, and not only the last one counts": {"strides": lambda step, stride: stride},
    "the strides multiply, they do not add up": {"strides": lambda step, stride: step + stride},
}
receptive_field.pairs_of_slips(
    lambda **slips: functools.partial(_field, **slips),
    _FIELD_SLIPS,
    words="Two slips: {}, and {}.",
    but=({"begin", "more"}, {"early", "strides"}),
)
receptive_field.mistake(
    "Three slips: the field begins with 1, each layer adds kernel − 1, and the strides multiply the steps that "
    "follow. Here sizes of kernels are added up."
)(functools.partial(_field, begin=0, more=0, strides=lambda step, stride: step))


@receptive_field.mistake(
    "A layer's own stride does not widen its own field, only that of the layers after it: update the step afterwards."
)
def _(layers):
    field = step = 1
    for kernel, stride in layers:
        step *= stride
        field += (kernel - 1) * step
    return field


# Section 9: depth -------------------------------------------------------------------------------------------------


thirty_layers = lesson.prediction(
    "thirty_layers",
    Question(
        -9,
        "Ten halvings make about a thousandth, so thirty make about 10⁻⁹: 0.5³⁰ = 9.3 · 10⁻¹⁰.",
        {
            9: "The gradient gets smaller, so the exponent is negative.",
            -30: "That would be a tenth in every layer. Here it is a half.",
            -3: "That is after ten layers. There are thirty.",
            15: "It is halved thirty times over: 0.5 · 0.5 · …, not 0.5 · 30.",
            1: "It is halved thirty times over: 0.5 · 0.5 · …, not 0.5 · 30.",
        },
        tolerance=0.5,
    ),
    hints=[
        "2¹⁰ is about 1,000, that is 10³.",
        "0.5³⁰ = 1 / 2³⁰. Python: `math.log10(0.5**30)`, rounded.",
    ],
)


def _layer(inputs, outputs, size, seed):
    """A convolution that keeps the side, with weights fixed by `seed`."""
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    with torch.no_grad():
        layer.weight.copy_(normal(outputs, inputs, size, size, seed=seed))
        layer.bias.copy_(normal(outputs, seed=seed + 1))
    return layer.requires_grad_(False)


def _silent(inputs, outputs):
    """A convolution whose weights and biases are all 0."""
    layer = _layer(inputs, outputs, 3, 0)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _value_and_gradients(residual_block, x, first, second, shortcut):
    """What comes out; where x records gradients, also what reaches it and the weights of the branch."""
    y = residual_block(x, first, second, shortcut)
    if not x.requires_grad or not isinstance(y, torch.Tensor):
        return nn.ReLU if isinstance(y, nn.ReLU) else y  # two layers are never equal, but their classes are
    wanted = {"the input": x, "the first convolution": first.weight, "the second convolution": second.weight}
    found = {"the result": y.detach()}
    for name, part in wanted.items():
        gradient = (
            torch.autograd.grad(y.sum(), part, retain_graph=True, allow_unused=True)
            if y.requires_grad
            else [None]
        )
        found[f"the gradient at {name}"] = torch.zeros_like(part) if gradient[0] is None else gradient[0]
    return found


@lesson.exercise(
    observe=_value_and_gradients,
    cases={
        "one channel": (normal(1, 1, 2, 3), _layer(1, 1, 3, 10), _layer(1, 1, 3, 20), None),
        "a branch of zeros": (normal(1, 1, 3, 2, seed=1), _silent(1, 1), _silent(1, 1), None),
        "a batch with three channels": (normal(2, 3, 5, 4), _layer(3, 3, 3, 30), _layer(3, 3, 3, 40), None),
        "a larger kernel inside": (
            normal(3, 2, 4, 5, seed=5),
            _layer(2, 6, 5, 31),
            _layer(6, 2, 3, 41),
            None,
        ),
        "a shortcut to more channels": (
            normal(2, 2, 4, 5, seed=2),
            _layer(2, 5, 3, 50),
            _layer(5, 3, 3, 60),
            _layer(2, 3, 1, 70),
        ),
        "a shortcut from one channel": (
            normal(3, 1, 4, 2, seed=3),
            _layer(1, 4, 3, 51),
            _layer(4, 3, 3, 61),
            _layer(1, 3, 1, 71),
        ),
        "float64 numbers": (
            normal(2, 2, 3, 4, seed=4, dtype=torch.float64),
            _layer(2, 3, 3, 80).double(),
            _layer(3, 2, 3, 90).double(),
            None,
        ),
        "an input that records gradients": (
            normal(2, 2, 3, 5, seed=6).requires_grad_(),
            _layer(2, 4, 3, 52).requires_grad_(),
            _layer(4, 2, 3, 62).requires_grad_(),
            None,
        ),
    },
    hints=[
        "The branch: `second(F.relu(first(x)))`. What comes back along the other way, the skip?",
        "Add the skip to the branch first, then apply the last ReLU to the sum.",
        "`skip = x if shortcut is None else shortcut(x)`.",
    ],
)
def residual_block(x, first, second, shortcut):
    """Return what a residual block makes of x (N, C, H, W): the ReLU of skip plus branch.

    The branch is first, ReLU, second, where `first` and `second` are convolutions that keep the size.
    The skip is x itself if `shortcut` is None. If the branch ends with another number of channels,
    `shortcut` is a 1 × 1 convolution that takes x to that number.
    """
    branch = second(F.relu(first(x)))
    return F.relu(branch + (x if shortcut is None else shortcut(x)))


def _shortened(x, shortcut):
    return x if shortcut is None else shortcut(x)


def _block(x, first, second, shortcut, *, activation=F.relu, inner=F.relu, end=F.relu):
    """The block, with what can go wrong as arguments."""
    skip = x if shortcut is None else shortcut(x)
    return end(skip + activation(second(inner(first(x)))))


residual_block.mistakes(
    {
        "The last ReLU comes before the sum: then the branch can only "
        "add, never take away. Add first, then apply the ReLU.": lambda x, first, second, shortcut: _block(
            x, first, second, shortcut, end=_same
        ),
        "The ReLU after the sum is missing: `F.relu(branch + skip)`.": lambda x, first, second, shortcut: (
            _block(x, first, second, shortcut, activation=_same, end=_same)
        ),
        "There is one ReLU too many, on the branch before the sum. The "
        "branch may be negative: it ends with `second`.": lambda x, first, second, shortcut: _block(
            x, first, second, shortcut
        ),
        "The skip is missing: this is two layers in a row. Add x to what"
        " they give.": lambda x, first, second, shortcut: F.relu(second(F.relu(first(x)))),
        "`shortcut` is never used. Where the branch ends with another number of channels, x cannot "
        "be added as it is: the skip is `shortcut(x)`.": lambda x, first, second, shortcut: F.relu(
            x + second(F.relu(first(x)))
        ),
        "`shortcut` is None where the channels match, and None cannot be"
        " called: then the skip is x itself.": lambda x, first, second, shortcut: F.relu(
            shortcut(x) + second(F.relu(first(x)))
        ),
        "The ReLU between the two convolutions is missing: "
        "`second(F.relu(first(x)))`.": lambda x, first, second, shortcut: _block(
            x, first, second, shortcut, activation=_same, inner=_same
        ),
        "The order of the convolutions is wrong: `first` comes first.": lambda x, first, second, shortcut: (
            _block(x, second, first, shortcut, activation=_same)
        ),
        "No gradient flows through the skip, which is what it is for: leave `detach`, `.data` and `no_grad` "
        "out.": lambda x, first, second, shortcut: F.relu(
            second(F.relu(first(x))) + (x if shortcut is None else shortcut(x)).detach()
        ),
        "No gradient reaches the weights of the branch, so it cannot learn: leave `detach`, `.data` and `no_grad` "
        "out.": lambda x, first, second, shortcut: F.relu(
            second(F.relu(first(x))).detach() + (x if shortcut is None else shortcut(x))
        ),
        "The result records no gradients, so nothing before it can learn: leave `detach`, `.data` and `no_grad` "
        "out.": lambda x, first, second, shortcut: residual_block.reference(
            x, first, second, shortcut
        ).detach(),
        "The first convolution gets no gradient: leave `detach`, `.data` and `no_grad` out of the "
        "branch.": lambda x, first, second, shortcut: F.relu(
            second(F.relu(first(x)).detach()) + (x if shortcut is None else shortcut(x))
        ),
        "There is a ReLU on the skip, which cuts off what is negative in x. The skip passes x on as it "
        "is.": lambda x, first, second, shortcut: F.relu(
            second(F.relu(first(x))) + F.relu(x if shortcut is None else shortcut(x))
        ),
        "The ReLUs come before the convolutions here. In this block the order is first, ReLU, second, and a ReLU after "
        "the sum.": lambda x, first, second, shortcut: (
            second(F.relu(first(F.relu(x)))) + (x if shortcut is None else shortcut(x))
        ),
        "Skip and branch are multiplied. Add them.": {"branch + (": "branch * ("},
        "The branch ends with its first half: apply `second` as well.": lambda x, first, second, shortcut: (
            F.relu(F.relu(first(x)) + (x if shortcut is None else shortcut(x)))
        ),
        "`shortcut` takes x, not the branch: it makes the skip as deep as the branch already is.": [
            lambda x, first, second, shortcut: F.relu(x + _shortened(second(F.relu(first(x))), shortcut)),
            lambda x, first, second, shortcut: F.relu(_shortened(x + second(F.relu(first(x))), shortcut)),
            lambda x, first, second, shortcut: F.relu(
                _shortened(x, shortcut) + _shortened(second(F.relu(first(x))), shortcut)
            ),
        ],
        "x was overwritten by `shortcut(x)` before the branch saw it. The branch takes the x that came in: keep the "
        "skip in a variable of its own.": lambda x, first, second, shortcut: F.relu(
            _shortened(x, shortcut) + second(F.relu(first(_shortened(x, shortcut))))
        ),
        "There is a ReLU on x before `first`. The branch is first, ReLU, second.": [
            lambda x, first, second, shortcut: F.relu(
                _shortened(x, shortcut) + second(F.relu(first(F.relu(x))))
            ),
            lambda x, first, second, shortcut: F.relu(
                _shortened(F.relu(x), shortcut) + second(F.relu(first(F.relu(x))))
            ),
        ],
        "The branch is subtracted from the skip. Add the two.": lambda x, first, second, shortcut: F.relu(
            _shortened(x, shortcut) - second(F.relu(first(x)))
        ),
        "The skip is subtracted from the branch. Add the two.": {"branch + (": "branch - ("},
        "There is no ReLU at all: one belongs between the two convolutions, and one after the sum.": (
            lambda x, first, second, shortcut: _block(
                x, first, second, shortcut, activation=_same, inner=_same, end=_same
            )
        ),
        "The ReLU is applied to skip and branch separately. Add them first, then apply one ReLU to the sum.": [
            lambda x, first, second, shortcut: (
                F.relu(_shortened(x, shortcut)) + F.relu(second(F.relu(first(x))))
            ),
            lambda x, first, second, shortcut: F.relu(_shortened(x, shortcut)) + second(F.relu(first(x))),
        ],
        "The ReLU between the convolutions is missing, and that after the sum stands on the branch alone: "
        "`F.relu(second(F.relu(first(x))) + skip)`.": lambda x, first, second, shortcut: _block(
            x, first, second, shortcut, inner=_same, end=_same
        ),
        "Where `shortcut` is None the skip is x itself. Here it is left out then.": lambda x, first, second, shortcut: (
            F.relu(second(F.relu(first(x))) + (0 if shortcut is None else shortcut(x)))
        ),
        "The ReLU is applied to the wrong side of `second`: the branch is first, ReLU, second.": (
            lambda x, first, second, shortcut: F.relu(F.relu(second(first(x))) + _shortened(x, shortcut))
        ),
        "The activation function is not a ReLU here. The block has two of them, and both are `F.relu`.": [
            lambda x, first, second, shortcut, bend=bend, end=end: _block(
                x, first, second, shortcut, activation=_same, inner=bend, end=end
            )
            for bend, end in (
                *((one, one) for one in (torch.tanh, F.gelu, F.leaky_relu)),
                *((F.relu, one) for one in (torch.tanh, torch.sigmoid)),
            )
        ],
        "`first` is left out: the branch is first, ReLU, second.": lambda x, first, second, shortcut: F.relu(
            second(F.relu(x)) + _shortened(x, shortcut)
        ),
        "`second` is used twice and `first` not at all: the branch is first, ReLU, second.": (
            lambda x, first, second, shortcut: F.relu(second(F.relu(second(x))) + _shortened(x, shortcut))
        ),
        "`first` is used twice and `second` not at all: the branch is first, ReLU, second.": (
            lambda x, first, second, shortcut: F.relu(first(F.relu(first(x))) + _shortened(x, shortcut))
        ),
        "x is added more than once. The sum has two terms, the skip and the branch.": (
            lambda x, first, second, shortcut: F.relu(second(F.relu(first(x))) + 2 * _shortened(x, shortcut))
        ),
        "With a shortcut, x itself is not added: the skip is `shortcut(x)`, and x only where `shortcut` is None.": [
            lambda x, first, second, shortcut: F.relu(
                second(F.relu(first(x))) + x + (0 if shortcut is None else shortcut(x))
            ),
            lambda x, first, second, shortcut: F.relu(
                x + (second(F.relu(first(x))) + (0 if shortcut is None else shortcut(x)))
            ),
        ],
        "The larger of skip and branch is taken. Add the two.": lambda x, first, second, shortcut: F.relu(
            torch.maximum(_shortened(x, shortcut), second(F.relu(first(x))))
        ),
        "The skip is scaled. It passes x on as it is: skip plus branch.": lambda x, first, second, shortcut: (
            F.relu(second(F.relu(first(x))) + _shortened(x, shortcut) / 2)
        ),
        "Where `shortcut` is given the skip is left out. Then it is "
        "`shortcut(x)`.": lambda x, first, second, shortcut: F.relu(
            second(F.relu(first(x))) + (x if shortcut is None else 0)
        ),
        "This is the branch alone. Add the skip, then apply a ReLU to the sum.": lambda x, first, second, shortcut: (
            second(F.relu(first(x)))
        ),
        "That is the mean of skip and branch. Add them, without dividing.": {
            "F.relu(branch + (x if shortcut is None else shortcut(x)))": (
                "F.relu(branch + (x if shortcut is None else shortcut(x))) / 2"
            )
        },
        "The skip goes around both convolutions. Here it starts after the first one.": [
            lambda x, first, second, shortcut: F.relu(F.relu(first(x)) + second(F.relu(first(x)))),
            lambda x, first, second, shortcut: F.relu(second(F.relu(first(x))) + F.relu(first(x))),
        ],
        "The skip goes around both convolutions. Here it ends after the first one.": [
            lambda x, first, second, shortcut: F.relu(second(F.relu(first(x) + x))),
            lambda x, first, second, shortcut: F.relu(second(F.relu(x + first(x)))),
            lambda x, first, second, shortcut: F.relu(second(F.relu(first(x) + _shortened(x, shortcut)))),
            lambda x, first, second, shortcut: F.relu(second(F.relu(_shortened(x, shortcut) + first(x)))),
            lambda x, first, second, shortcut: F.relu(second(F.relu(first(x)) + x)),
        ],
        "`nn.ReLU` makes a layer, which then takes the tensor: `nn.ReLU()(y)`. As a function it is `F.relu(y)`.": [
            lambda x, first, second, shortcut: second(nn.ReLU(first(x))),
            lambda x, first, second, shortcut: nn.ReLU(second(F.relu(first(x))) + _shortened(x, shortcut)),
        ],
        "`shortcut` takes x as it is, without a ReLU before it.": lambda x, first, second, shortcut: F.relu(
            second(F.relu(first(x))) + (x if shortcut is None else shortcut(F.relu(x)))
        ),
        "Where `shortcut` is given the last ReLU is missing. It follows the sum in both cases.": (
            lambda x, first, second, shortcut: _block(
                x, first, second, shortcut, activation=_same, end=F.relu if shortcut is None else _same
            )
        ),
        "Where `shortcut` is None the last ReLU is missing. It follows the sum in both cases.": (
            lambda x, first, second, shortcut: _block(
                x, first, second, shortcut, activation=_same, end=_same if shortcut is None else F.relu
            )
        ),
    }
)


@residual_block.mistake("Skip and branch are added, not concatenated as channels: `+` instead of `cat`.")
def _(x, first, second, shortcut):
    skip = x if shortcut is None else shortcut(x)
    return F.relu(torch.cat([skip, second(F.relu(first(x)))], dim=1))


# Section 13: garments ---------------------------------------------------------------------------------------------


@functools.cache
def _garments_kept_back():
    """The first 3,000 of Fashion-MNIST's official test images."""
    garments = data.fashion_mnist()
    return data.Split(garments.test.x[:3000], garments.test.y[:3000])


def _garment_scores(logits, labels):
    """The fraction sorted correctly, and the mean of the largest probabilities, at most 0.232 for logits in 0 … 1."""
    return {
        "accuracy": (logits.argmax(dim=1) == labels).float().mean().item(),
        "confidence": logits.softmax(dim=1).amax(dim=1).mean().item(),
    }


@lesson.trained_model(
    attempt="sorter",
    held_out=_garments_kept_back,
    score=_garment_scores,
    floors={"accuracy": 0.87, "confidence": 0.25},
    hints=[
        "The network of section 4 is a good starting point: two stages of convolution, ReLU and pooling, then a "
        "linear layer.",
        "`optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)`, and the scheduler "
        "`torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=epochs * len(batches))`.",
        "`train.fit(net, batches, valid_split.batches(1000), epochs=4, optimizer=optimizer, scheduler=scheduler)`, "
        "and do not forget to return the net.",
    ],
)
def garment_sorter(train_split, valid_split):
    """Return a network from garments (N, 1, 28, 28) to logits (N, 10), trained.

    `train_split` is for training, `valid_split` for choosing; both are splits, as in data.mnist().
    """
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
    ).to(train_split.x.device)
    epochs, batches = 4, train_split.batches(100, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=epochs * len(batches))
    train.fit(
        net, batches, valid_split.batches(1000), epochs=epochs, optimizer=optimizer, scheduler=scheduler
    )
    return net


@garment_sorter.symptom(
    "It predicts one kind of garment for nearly every image. Was the learning rate too high, or did you "
    "train a different model from the one you returned?"
)
def _(model, garments):
    return model(garments.x).argmax(dim=1).bincount(minlength=10).max() > 0.9 * len(garments)


@garment_sorter.symptom(
    "It does better on negatives, with black and white swapped: did you invert the training images, 1 − x, "
    "before training?"
)
def _(model, garments):
    negative = (model(1 - garments.x).argmax(dim=1) == garments.y).float().mean()
    positive = (model(garments.x).argmax(dim=1) == garments.y).float().mean()
    return negative > max(0.5, positive + 0.05)


@garment_sorter.symptom(
    "Its rows sum to one: there is a softmax at its end, and the cross-entropy applies one of its own. End with the "
    "logits."
)
def _(model, garments):
    return torch.allclose(
        model(garments.x).sum(dim=1), torch.ones(len(garments), device=garments.x.device), atol=1e-3
    )


@garment_sorter.symptom(
    "All its outputs are between 0 and 1. Is there a sigmoid at its end? End with the logits: the cross-entropy "
    "applies a softmax to them."
)
def _(model, garments):
    logits = model(garments.x)
    return logits.min() >= 0 and logits.max() <= 1


@garment_sorter.symptom(
    "It does hardly better than guessing. Did you give the optimizer its parameters, and did `fit` run? Or "
    "was it trained on digits?"
)
def _(model, garments):
    return (model(garments.x).argmax(dim=1) == garments.y).float().mean() < 0.35


@garment_sorter.symptom(
    "That is as far as one affine map gets, with a weight for every pixel. Where are the convolutions and "
    "the activation functions?"
)
def _(model, garments):
    one, other = garments.x[:500], garments.x[500:1000]
    affine = model(one) + model(other) - model(torch.zeros_like(one))
    return torch.allclose(model(one + other), affine, rtol=1e-3, atol=1e-3)


@garment_sorter.symptom(
    "It sorts well, but its outputs are not logits: their softmax prefers no class clearly. Train with the "
    "cross-entropy, and end with the linear layer."
)
def _(model, garments):
    return (model(garments.x).argmax(dim=1) == garments.y).float().mean() >= 0.87
