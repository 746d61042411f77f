"""The exercises of lesson 6, Autoencoders and variational autoencoders: solutions, classic mistakes, hints."""

import copy
import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit.checks import ExerciseSet, Question, normal

lesson = ExerciseSet("Lesson 6")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# What several exercises need ----------------------------------------------------------------------------------


def _kind(value):
    """What came back, in words: its shape, or its type."""
    if value is None:
        return "nothing: is a `return` missing?"
    if not isinstance(value, Tensor):
        return f"a value of type {type(value).__name__}"
    return f"a tensor of shape {tuple(value.shape)}"


def _stays_on_the_cpu(draw, *arguments):
    """Whether a function fails, for arguments on another device, because it draws on the CPU."""
    try:
        draw(*(one.to("meta") if isinstance(one, Tensor) else one for one in arguments))
    except RuntimeError as error:
        return "device" in str(error) and "meta" in str(error) and "cpu" in str(error)
    except Exception:
        pass
    return False


# Section 1: PCA is an autoencoder -----------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "the four points of the lesson": (
            torch.tensor([[4.0, 3.0], [-4.0, -3.0], [0.6, -0.8], [-0.6, 0.8]]),
            1,
        ),
        "points far from the origin": (torch.tensor([[5.0, 1.0], [5.0, 3.0], [6.0, 2.0]]), 1),
        "an ordinary table": (normal(7, 4) + 3, 2),
        "float64 numbers": (
            normal(20, 5, seed=1, dtype=torch.float64) * torch.tensor([1.0, 5.0, 2.0, 1.0, 3.0]) - 1,
            2,
        ),
        "fewer examples than dimensions": (normal(6, 9, seed=2, dtype=torch.float64), 1),
        "k equal to D": (normal(9, 3, seed=4, dtype=torch.float64) + 1, 3),
        "a batch of one": (torch.tensor([[2.0, -1.0, 4.0, 0.0, 3.0, 1.0, -2.0, 5.0]]), 1),
    },
    hints=[
        "The best code holds the first k principal components of the centred data. All the others are lost.",
        "The sum of the squared singular values of the centred data is its total squared length. Which of "
        "them are lost?",
        "`torch.linalg.svdvals(x - x.mean(dim=0))` gives the singular values, largest first.",
    ],
)
def linear_autoencoder_error(x, k):
    """Return the smallest error that a linear autoencoder with a code of k numbers can have.

    x (N, D) holds the examples in rows; k is 1 to D. The error is |x − x̂|², summed over the D
    numbers of an example and averaged over the N examples. Encoder and decoder may add constants,
    so the mean of the data costs nothing.
    """
    singular_values = torch.linalg.svdvals(x - x.mean(dim=0))
    return singular_values[k:].square().sum() / len(x)


linear_autoencoder_error.mistakes(
    {
        "`torch.cov` takes the variables in rows: pass `x.T`. This is the covariance between examples.": (
            lambda x, k: torch.linalg.eigvalsh(torch.cov(x, correction=0)).flip(0)[k:].sum()
        ),
        "The data are not centred. The decoder can add the mean for free, so subtract "
        "`x.mean(dim=0)` first.": lambda x, k: torch.linalg.svdvals(x)[k:].square().sum() / len(x),
        "These k components are the ones that are kept. The error is what all the others hold:"
        " `[k:]`.": lambda x, k: torch.linalg.svdvals(x - x.mean(dim=0))[:k].square().sum() / len(x),
        "The singular values have to be squared: a squared length is the sum of their squares.": lambda x, k: (
            torch.linalg.svdvals(x - x.mean(dim=0))[k:].sum() / len(x)
        ),
        "N − 1 belongs to the variance. The error is averaged over the examples: divide by N.": [
            lambda x, k: torch.linalg.svdvals(x - x.mean(dim=0))[k:].square().sum() / (len(x) - 1),
            lambda x, k: torch.linalg.eigvalsh(torch.cov(x.T))[: x.shape[1] - k].sum(),
        ],
        "You square the sum of the singular values. Square each of them, then add up.": {
            "square().sum()": "sum().square()"
        },
        "Nothing is kept here: this is the whole squared length of the centred data. Only what lies beyond the first "
        "k components is lost: `[k:]`.": {"[k:]": ""},
        "These are the k smallest components. Lost are all but the k largest: `[k:]` of `svdvals`, and `[: D − k]` of "
        "`eigvalsh`, which sorts in ascending order.": [
            {"[k:]": "[-k:]"},
            lambda x, k: torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[:k].sum(),
        ],
        "You average the distances |x − x̂|. Square the distance of each example before the mean.": lambda x, k: (
            _beyond(x, k).norm(dim=1).mean()
        ),
        "The length of the mean is in your error. Add the mean back to the reconstruction, or compare it with the "
        "centred data.": lambda x, k: (_beyond(x, k) + x.mean(dim=0)).square().sum() / len(x),
        "The principal components are the rows of the last matrix that `svd` returns, `Vh[:k]`, not its columns.": (
            lambda x, k: _beyond(x, k, lambda components: components.T).square().sum() / len(x)
        ),
        "This is the fraction of the variance that is kept. Return the squared length that is lost, over N.": (
            lambda x, k: (s := torch.linalg.svdvals(x - x.mean(dim=0)).square())[:k].sum() / s.sum()
        ),
        "This is the mean over examples and numbers. Average over the N examples only; the D "
        "numbers are summed.": lambda x, k: (
            torch.linalg.svdvals(x - x.mean(dim=0))[k:].square().sum() / x.numel()
        ),
        "This is the sum over all examples. Divide by their number, `len(x)`, for the mean.": lambda x, k: (
            torch.linalg.svdvals(x - x.mean(dim=0))[k:].square().sum()
        ),
        "You subtract from every example its own mean. Subtract the mean of each number over "
        "the examples, `x.mean(dim=0)`.": lambda x, k: (
            torch.linalg.svdvals(x - x.mean(dim=1, keepdim=True))[k:].square().sum() / len(x)
        ),
        "One mean for all numbers together does not centre them. Each has its own: `x.mean(dim=0)`.": {
            "singular_values =": "return",
            "dim=0": "",
            "\n    return singular_values": "",
        },
        "This is the root of the error. Return the squared error.": lambda x, k: (
            torch.linalg.svdvals(x - x.mean(dim=0))[k:].square().sum() / len(x)
        ).sqrt(),
        "Only one component is counted as lost. All from index k on are lost: `[k:]`, not `[k]`.": lambda x, k: (
            torch.linalg.svdvals(x - x.mean(dim=0))[k].square() / len(x)
        ),
        "One component too few counts as lost. Python counts from 0: `[:k]` are the k that are kept, "
        "`[k:]` all the others.": {
            "singular_values =": "return",
            "\n    return singular_values": "",
            "[k:]": "[k + 1 :]",
        },
        "One component too many counts as lost. Python counts from 0: `[:k]` are the k that are kept, "
        "`[k:]` all the others.": {
            "singular_values =": "return",
            "\n    return singular_values": "",
            "[k:]": "[k - 1 :]",
        },
        "Divided by their standard deviation, the data lose their units, and the error "
        "changes. Only subtract the mean.": lambda x, k: (
            torch.linalg.svdvals((x - x.mean(dim=0)) / x.std(dim=0))[k:].square().sum() / len(x)
        ),
        "This is the mean over the lost components. Their squares add up, and the mean is over"
        " the N examples: `.sum() / len(x)`.": lambda x, k: (
            torch.linalg.svdvals(x - x.mean(dim=0))[k:].square().mean()
        ),
        "You drop the last D − k numbers as they stand. The best code keeps the first k principal components "
        "instead: use the singular values.": lambda x, k: (x - x.mean(dim=0))[:, k:].square().sum() / len(x),
        "You divide by D, the numbers of an example. The mean is over the N examples: divide by `len(x)`.": {
            "len(x)": "x.shape[1]"
        },
        "You square once too often: the eigenvalues of the scatter matrix are squared lengths already.": {
            "square()": "square().square()"
        },
        "This is half the error. There is no factor ½ here.": {" / len(x)": " / (2 * len(x))"},
    }
)


@linear_autoencoder_error.mistake(
    "You kept the smallest components. `eigh` and `eigvalsh` sort in ascending order: the k largest are at "
    "the end."
)
def _(x, k):
    values = torch.linalg.eigvalsh((x - x.mean(dim=0)).T @ (x - x.mean(dim=0)))
    return values[k:].sum() / len(x)


@linear_autoencoder_error.mistake(
    "This is the fraction of the variance that is lost, from 0 to 1. Return the lost squared length itself."
)
def _(x, k):
    values = torch.linalg.svdvals(x - x.mean(dim=0)).square()
    return values[k:].sum() / values.sum()


def _beyond(x, k, turn=lambda components: components):
    """What the centred data are beyond their projection on the first k components, (N, D)."""
    centred = x - x.mean(dim=0)
    first = turn(torch.linalg.svd(centred).Vh)[:k]
    return centred - centred @ first.T @ first


def _error(centre=lambda x: x - x.mean(dim=0), total=lambda s, k: s[k:].square().sum(), by=len):
    return lambda x, k: total(torch.linalg.svdvals(centre(x)), k) / by(x)


_CENTRES = {
    "The data are not centred: subtract `x.mean(dim=0)`.": {"centre": lambda x: x},
    "Each example lost its own mean, not `x.mean(dim=0)`.": {
        "centre": lambda x: x - x.mean(dim=1, keepdim=True)
    },
}
_LOST = {
    "You count the components that are kept, not the lost ones, `[k:]`.": {
        "total": lambda s, k: s[:k].square().sum()
    },
    "The singular values are not squared.": {"total": lambda s, k: s[k:].sum()},
    "One component too few is lost: `[k:]`.": {"total": lambda s, k: s[k + 1 :].square().sum()},
}
_DIVISORS = {
    "You divide by N − 1, not N.": {"by": lambda x: len(x) - 1},
    "You divide by N · D, not N.": {"by": Tensor.numel},
    "The sum is not divided by N.": {"by": lambda x: 1},
}
linear_autoencoder_error.pairs_of_slips(_error, _CENTRES, _LOST)
linear_autoencoder_error.pairs_of_slips(_error, _CENTRES, _DIVISORS)
linear_autoencoder_error.pairs_of_slips(_error, _LOST, _DIVISORS)


# Section 2: a nonlinear autoencoder ---------------------------------------------------------------------------


def _pictures(count, height, width, seed, dtype=torch.float32):
    return torch.rand(
        count, 1, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def _small_autoencoder(count, height, width, code, seed, dtype=torch.float32):
    """Images and the weights for them: x, W1, b1, W2, b2."""
    pixels = height * width
    return (
        _pictures(count, height, width, seed, dtype),
        normal(code, pixels, seed=seed + 1, dtype=dtype),
        normal(code, seed=seed + 2, dtype=dtype),
        normal(pixels, code, seed=seed + 3, dtype=dtype),
        normal(pixels, seed=seed + 4, dtype=dtype),
    )


def _large_logits():
    """Images and weights that bring the decoder to logits beyond what exp of a float32 can hold, of both signs."""
    return *_small_autoencoder(2, 1, 3, 2, seed=60)[:-1], torch.tensor([120.0, -120.0, 0.5])


@lesson.exercise(
    cases={
        "one image of two pixels": _small_autoencoder(1, 1, 2, 1, seed=0),
        "an ordinary batch": _small_autoencoder(3, 2, 2, 2, seed=10),
        "as many latent variables as pixels": _small_autoencoder(5, 2, 2, 4, seed=20),
        "tall images": _small_autoencoder(2, 5, 3, 4, seed=40),
        "float64 numbers": _small_autoencoder(3, 4, 3, 5, seed=30, dtype=torch.float64),
        "a batch of one": _small_autoencoder(1, 3, 2, 4, seed=50),
        "logits above 88": _large_logits(),
    },
    returns=("the codes", "the reconstructions"),
    hints=[
        "Two affine maps, as in lesson 3: `x.flatten(1) @ W1.T + b1` gives the codes.",
        "A pixel lies between 0 and 1. Which activation function maps every number into that range and lets "
        "the gradient through?",
        "`torch.sigmoid(z @ W2.T + b2)` is flat, (N, H·W). `.view_as(x)` gives it the shape of the images.",
    ],
)
def encode_decode(x, W1, b1, W2, b2):
    """Return the codes (N, K) and the reconstructions (N, 1, H, W) of images x (N, 1, H, W) in [0, 1].

    The encoder is one affine map, W1 (K, H·W) and b1 (K,). A latent variable may have any size
    and sign. The decoder is an affine map too, W2 (H·W, K) and b2 (H·W,), followed by a sigmoid.
    """
    z = x.flatten(1) @ W1.T + b1  # (N, H·W) -> (N, K)
    return z, torch.sigmoid(z @ W2.T + b2).view_as(x)


encode_decode.mistakes(
    {
        "The last activation function is missing: the reconstruction can leave the range of the pixels, "
        "0 to 1. End with a sigmoid.": {"  # (N, H·W) -> (N, K)": "", "torch.sigmoid": ""},
        "With clamping to 0 and 1, a pixel that is out of range gets no gradient and never comes back. "
        "Use a sigmoid.": {
            "  # (N, H·W) -> (N, K)": "",
            "torch.sigmoid": "",
            ".view_as": ".clamp(0, 1).view_as",
        },
        "The code has no activation function: latent variables are not pixels and may have any size and "
        "sign. The sigmoid belongs at the end.": {
            "x.flatten(1) @ W1.T + b1  # (N, H·W) -> (N, K)": "torch.sigmoid(x.flatten(1) @ W1.T + b1)"
        },
        "ReLU on the code throws away every negative number in it. Use no activation function there.": {
            "x.flatten(1) @ W1.T + b1  # (N, H·W) -> (N, K)": "F.relu(x.flatten(1) @ W1.T + b1)"
        },
        "tanh squeezes the code into the range −1 to 1. Use no activation function there.": {
            "x.flatten(1) @ W1.T + b1  # (N, H·W) -> (N, K)": "torch.tanh(x.flatten(1) @ W1.T + b1)"
        },
        "The reconstruction is still flat. Give it back the shape of the images: `.view_as(x)`.": {
            "  # (N, H·W) -> (N, K)": "",
            ".view_as(x)": "",
        },
        "Return the codes first, then the reconstructions.": {
            "  # (N, H·W) -> (N, K)": "",
            "return z,": "return",
            "(x)": "(x), z",
        },
        "b2 is added after the sigmoid. The affine map comes first, with its bias, then the sigmoid.": {
            "torch.sigmoid(z @ W2.T + b2)": "(torch.sigmoid(z @ W2.T) + b2)"
        },
        "`flatten()` makes one row of the whole batch. `x.flatten(1)` keeps the first axis.": [
            {".flatten(1)": ".flatten()"},
            lambda x, W1, b1, W2, b2: (
                z := F.linear(x.flatten(), W1, b1),
                F.linear(z, W2, b2).sigmoid().view_as(x),
            ),
        ],
        "The images in this check have other sizes than 28 × 28. `x.flatten(1)` works for all.": [
            {".flatten(1)": ".view(-1, 784)"},
            {".flatten(1)": ".view(len(x), 784)"},
        ],
        "The code goes through a sigmoid on its way into the decoder. It has no activation function at all: "
        "the decoder takes z itself.": {"(z @": "(z.sigmoid() @"},
        "The code goes through ReLU on its way into the decoder. It has no activation function at all: the decoder "
        "takes z itself.": {"(z @": "(z.relu() @"},
        "The code goes through tanh on its way into the decoder. It has no activation function at all: the decoder "
        "takes z itself.": {"(z @": "(z.tanh() @"},
        "The pixels became black or white. A threshold lets no gradient through: return the sigmoid itself.": [
            {"torch.sigmoid(z @ W2.T + b2)": "(torch.sigmoid(z @ W2.T + b2) > 0.5).float()"},
            {"torch.sigmoid(z @ W2.T + b2)": "torch.sigmoid(z @ W2.T + b2).round()"},
        ],
        "The pixels lie between 0 and 1 already: do not divide them by 255.": {
            "x.flatten(1)": "x.flatten(1) / 255"
        },
        "The images are pixels as they are: do not subtract their mean.": [
            {"x.flatten(1)": "(x - x.mean()).flatten(1)"},
            {"x.flatten(1)": "(x.flatten(1) - x.flatten(1).mean(dim=0))"},
        ],
        "softplus has no upper limit, but no pixel exceeds 1. End with a sigmoid.": {
            "torch.sigmoid": "F.softplus"
        },
        "The biases are missing: add b1 in the encoder and b2 in the decoder.": {
            " + b1  # (N, H·W) -> (N, K)": "",
            " + b2": "",
        },
        "The bias of the encoder is missing: add b1 to the code.": {" + b1  # (N, H·W) -> (N, K)": ""},
        "The bias of the decoder is missing: add b2 before the sigmoid.": {
            "  # (N, H·W) -> (N, K)": "",
            " + b2": "",
        },
        "The images in this check are not 28 × 28. Take the shape from the argument: `.view_as(x)`.": {
            "  # (N, H·W) -> (N, K)": "",
            "view_as": "view",
            "(x)": "(-1, 1, 28, 28)",
        },
        "A matrix product takes the images as rows of numbers: flatten them first, `x.flatten(1)`.": {
            ".flatten(1)": "",
            "  # (N, H·W) -> (N, K)": "",
            ".view_as(x)": "",
        },
        "Images need not be square. Take height and width from the argument: `.view_as(x)`.": {
            ".view_as(x)": ".view(-1, 1, x.shape[3], x.shape[3])"
        },
        "Height and width are swapped. `.view_as(x)` takes them from the images, in their order.": {
            ".view_as(x)": ".view(-1, 1, x.shape[3], x.shape[2])"
        },
        "The channel axis is missing: the images are (N, 1, H, W), and so are the reconstructions: `.view_as(x)`.": {
            ".view_as(x)": ".view(len(x), *x.shape[2:])"
        },
        "`squeeze` removes every axis of size 1, so that a batch of one loses its first axis. `.view_as(x)` keeps "
        "the shape.": {".view_as(x)": ".view_as(x).squeeze()"},
        "The weights are not transposed. W1 is (K, H·W) and the images are rows, (N, H·W): `@ W1.T`, and later "
        "`@ W2.T`.": {"W1.T": "W1", "W2.T": "W2"},
        "The encoder's weights are not transposed. W1 is (K, H·W) and the images are rows, (N, H·W): `@ W1.T`.": {
            "W1.T": "W1"
        },
        "The decoder's weights are not transposed. W2 is (H·W, K) and the codes are rows, (N, K): `@ W2.T`.": {
            "W2.T": "W2"
        },
        "The decoder uses the encoder's weights again. It has weights of its own: `z @ W2.T + b2`.": {
            "W2.T": "W1"
        },
        "You return 1 minus the reconstruction: the sign in the exponent is wrong. The sigmoid is "
        "1 / (1 + exp(−a)).": {"z @ W2.T + b2": "-(z @ W2.T + b2)"},
        "exp(a) overflows for a large a, and inf / inf is nan. Use `torch.sigmoid`, or 1 / (1 + exp(−a)).": (
            lambda x, W1, b1, W2, b2: (
                x.flatten(1) @ W1.T + b1,
                ((a := ((x.flatten(1) @ W1.T + b1) @ W2.T + b2)).exp() / (1 + a.exp())).view_as(x),
            )
        ),
    }
)


@encode_decode.mistake("ReLU has no upper limit, but no pixel exceeds 1. End with a sigmoid.")
def _(x, W1, b1, W2, b2):
    z = x.flatten(1) @ W1.T + b1
    return z, F.relu(z @ W2.T + b2).view_as(x)


@encode_decode.mistake("tanh ranges from −1 to 1, the pixels from 0 to 1. The sigmoid has their range.")
def _(x, W1, b1, W2, b2):
    z = x.flatten(1) @ W1.T + b1
    return z, torch.tanh(z @ W2.T + b2).view_as(x)


@encode_decode.mistake(
    "A softmax makes the pixels of an image sum to one, as if only one could be inked. Give each pixel a "
    "sigmoid of its own."
)
def _(x, W1, b1, W2, b2):
    z = x.flatten(1) @ W1.T + b1
    return z, torch.softmax(z @ W2.T + b2, dim=1).view_as(x)


@encode_decode.mistake("Two sigmoids in a row leave every pixel between 0.5 and 0.73. One is enough.")
def _(x, W1, b1, W2, b2):
    z = x.flatten(1) @ W1.T + b1
    return z, torch.sigmoid(torch.sigmoid(z @ W2.T + b2)).view_as(x)


def _coder(encode=lambda x, W, b: x @ W.T + b, decode=lambda z, W, b: torch.sigmoid(z @ W.T + b)):
    def attempt(x, W1, b1, W2, b2):
        z = encode(x.flatten(1), W1, b1)
        return z, decode(z, W2, b2).view_as(x)

    return attempt


_ENCODERS = {
    "The code has no sigmoid.": {"encode": lambda x, W, b: torch.sigmoid(x @ W.T + b)},
    "The code has no ReLU.": {"encode": lambda x, W, b: F.relu(x @ W.T + b)},
    "The code has no tanh.": {"encode": lambda x, W, b: torch.tanh(x @ W.T + b)},
    "b1 is missing in the code.": {"encode": lambda x, W, b: x @ W.T},
}
_DECODERS = {
    "The sigmoid at the end is missing.": {"decode": lambda z, W, b: z @ W.T + b},
    "Clamping stops the gradient of pixels out of range: end with a sigmoid.": {
        "decode": lambda z, W, b: (z @ W.T + b).clamp(0, 1)
    },
    "The last activation is a sigmoid, not ReLU.": {"decode": lambda z, W, b: F.relu(z @ W.T + b)},
    "The last activation is a sigmoid, not tanh.": {"decode": lambda z, W, b: torch.tanh(z @ W.T + b)},
    "The last activation is a sigmoid for each pixel, not a softmax.": {
        "decode": lambda z, W, b: torch.softmax(z @ W.T + b, dim=1)
    },
    "b2 belongs inside the sigmoid.": {"decode": lambda z, W, b: torch.sigmoid(z @ W.T) + b},
}
encode_decode.pairs_of_slips(_coder, _ENCODERS, _DECODERS)
encode_decode.pairs_of_slips(
    _coder,
    {one: options for one, options in _ENCODERS.items() if "no" in one},
    {"b2 is missing in the decoder.": {"decode": lambda z, W, b: torch.sigmoid(z @ W.T)}},
)


# Section 4: the evidence lower bound --------------------------------------------------------------------------


price_of_a_shift = lesson.prediction(
    "price_of_a_shift",
    Question(
        2.0,
        "½(2² + 1 − 1 − ln 1) = 2 nats: half the squared shift.",
        {
            4.0: "The factor ½ is missing.",
            2.5: "The −1 is missing: for μ = 0 and σ = 1 the divergence has to be 0.",
            1.5: "Is ln σ² right? For σ = 1 it is 0, not 1.",
            1.0: "The shift enters squared: μ² = 4.",
            0.0: "It is 0 only where μ = 0 and σ = 1, where the encoder says nothing.",
            -2.0: "A divergence is never negative.",
        },
        tolerance=0.01,
    ),
    hints=["Put μ = 2 and σ = 1 into the formula.", "ln 1 = 0, and +1 − 1 cancel. What remains?"],
)


def _learned(tensor):
    """The tensor as an encoder gives it, recording gradients."""
    return tensor.requires_grad_()


def _with_gradients(function, *inputs):
    """What a function gives, and for inputs that record gradients what reaches them."""
    learned = [one for one in inputs[-2:] if one.requires_grad]  # mu and log_variance
    value = function(*inputs)
    if isinstance(value, float):
        value = torch.tensor(value, dtype=torch.float64)
    if not learned or not isinstance(value, Tensor):
        return value
    slopes = (None, None)
    if value.requires_grad:
        slopes = torch.autograd.grad(value.sum(), learned, allow_unused=True)
    names = ("its gradient with respect to mu", "its gradient with respect to log_variance")
    return {"the value": value.detach()} | {
        name: torch.zeros_like(one) if slope is None else slope
        for name, slope, one in zip(names, slopes, learned, strict=True)
    }


@lesson.exercise(
    observe=lambda kl, mu, log_variance: _with_gradients(kl, mu, log_variance),
    cases={
        "μ = 2 and σ = 1": (torch.tensor([[2.0]]), torch.tensor([[0.0]])),
        "the prior itself": (torch.zeros(2, 3), torch.zeros(2, 3)),
        "a batch of one": (torch.tensor([[0.0, 1.0]]), torch.tensor([[-2.0, 1.0]])),
        "an ordinary batch": (normal(4, 3), normal(4, 3, seed=1)),
        "as many examples as latent variables": (normal(3, 3, seed=2), normal(3, 3, seed=3)),
        "a single latent variable": (normal(3, 1, seed=9), normal(3, 1, seed=10)),
        "float64 numbers": (
            normal(5, 8, seed=4, dtype=torch.float64),
            2 * normal(5, 8, seed=5, dtype=torch.float64),
        ),
        "very narrow posteriors": (normal(3, 2, seed=6), torch.full((3, 2), -30.0)),
        "gradients": (_learned(normal(5, 3, seed=7)), _learned(normal(5, 3, seed=8))),
    },
    hints=[
        "Write the formula down with σ² = exp(log_variance). The last term, ln σ², is the argument itself.",
        "The latent dimensions of an example lie along `dim=1`: sum over them, and keep the examples "
        "separate.",
    ],
)
def kl_to_standard_normal(mu, log_variance):
    """Return KL[N(μ, σ²) ‖ N(0, 1)] in nats for each example, (N,), summed over the latent dimensions.

    mu (N, K) and log_variance (N, K), which is ln σ², belong to each of the K latent dimensions.
    """
    return 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def _kl(mu, log_variance):
    """The divergence of each latent dimension, (N, K)."""
    return 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance)


kl_to_standard_normal.mistakes(
    {
        "`squeeze` removes the axis of a single latent variable, and of a batch of one. Leave it out.": [
            lambda mu, log_variance: _kl(mu.squeeze(), log_variance.squeeze()).sum(dim=-1),
            lambda mu, log_variance: _kl(mu, log_variance.squeeze()).sum(dim=-1),
            lambda mu, log_variance: _kl(mu.squeeze(), log_variance).sum(dim=-1),
        ],
        "The argument is ln σ², but you took it for ln σ. σ² is "
        "`log_variance.exp()`, and ln σ² the argument itself.": lambda mu, log_variance: _kl(
            mu, 2 * log_variance
        ).sum(dim=1),
        "exp(ln σ²) is σ² already: do not square it again.": {"() -": "().square() -"},
        "exp(½ ln σ²) is σ. The formula needs σ², `log_variance.exp()`.": {
            "log_variance.": "(log_variance / 2)."
        },
        "The argument is ln σ², not σ²: the formula needs its exponential first.": {
            ".exp() - 1 - log_variance": " - 1 - log_variance.log()"
        },
        "This is the mean over the latent dimensions. Divergences of independent "
        "variables add up: `sum(dim=1)`.": lambda mu, log_variance: _kl(mu, log_variance).mean(dim=1),
        "You return one number for the whole batch. Sum over the latent dimensions"
        " only, `dim=1`, and keep the examples separate.": lambda mu, log_variance: _kl(
            mu, log_variance
        ).sum(),
        "This is the mean over batch and code. Sum over the latent dimensions, "
        "`dim=1`, and keep the examples separate.": lambda mu, log_variance: _kl(mu, log_variance).mean(),
        "You return one number, averaged over the batch. Here each example keeps "
        "its own divergence, (N,).": lambda mu, log_variance: _kl(mu, log_variance).sum(dim=1).mean(),
        "You sum over the examples, `dim=0`. The latent dimensions of an example "
        "lie along `dim=1`.": lambda mu, log_variance: _kl(mu, log_variance).sum(dim=0),
        "The latent dimensions are not summed yet: return one number for each "
        "example.": lambda mu, log_variance: _kl(mu, log_variance),
        "The sign is wrong: a divergence is never negative.": {
            "0.5 * ": "-_kl",
            ".square() + log_variance.exp() - 1 -": ",",
        },
        "The factor ½ is missing.": lambda mu, log_variance: 2 * _kl(mu, log_variance).sum(dim=1),
        "The −1 is missing: for μ = 0 and σ = 1 the divergence has to be 0.": {"1 - ": ""},
        "The −1 belongs to every latent dimension, but you subtract it only once. "
        "Subtract it before the sum.": lambda mu, log_variance: (
            0.5 * ((mu.square() + log_variance.exp() - log_variance).sum(dim=1) - 1)
        ),
        "The factor ½ belongs to all terms, but only μ² has it: are brackets "
        "missing?": lambda mu, log_variance: (0.5 * mu.square() + log_variance.exp() - 1 - log_variance).sum(
            dim=1
        ),
        "The term μ² is missing: a shift has to cost something.": {"mu.square() + ": ""},
        "The mean enters squared: μ².": {".square()": ""},
        "This is the divergence the other way round, KL[N(0, 1) ‖ N(μ, σ²)]. It is not symmetric.": {
            "mu.square() + log_variance.exp() - 1 -": "(1 + mu.square()) / log_variance.exp() - 1 +"
        },
        "The logarithm enters with a minus sign: − ln σ². A narrow bell has to cost something.": {
            "1 -": "1 +"
        },
        "The term − ln σ² is missing: a narrow bell has to cost something.": {" - log_variance)": ")"},
        "You subtract ln σ. The formula has − ln σ², the argument itself.": {
            "- log_variance)": "- log_variance / 2)"
        },
        "|μ| is not the square of μ: a shift of 2 costs four times as much as a shift of 1.": {
            "mu.square()": "mu.abs()"
        },
        "The term σ² is missing: a wide bell has to cost something.": {"log_variance.exp() ": "0 "},
        "The term μ² has the wrong sign: a shift costs something.": {"(mu.square() +": "(-mu.square() +"},
        "The term σ² has the wrong sign: it is added, and only 1 and ln σ² are subtracted.": {
            "+ log_variance.exp()": "- log_variance.exp()"
        },
        "The 1 has the wrong sign: for μ = 0 and σ = 1 the divergence has to be 0.": {"- 1": "+ 1"},
        "`log_variance` is a logarithm already, ln σ². Do not take its logarithm again.": {
            "- log_variance)": "- log_variance.log())"
        },
        "μ² has no factor ½ here. The ½ belongs to all terms: are brackets missing?": [
            lambda mu, log_variance: (mu.square() + 0.5 * (log_variance.exp() - 1 - log_variance)).sum(dim=1),
        ],
        "`F.kl_div` compares tables of probabilities. Two Gaussians have a formula: ½(μ² + σ² − 1 − ln σ²).": [
            lambda mu, log_variance: F.kl_div(mu, log_variance.exp(), reduction="none").sum(dim=1),
            lambda mu, log_variance: F.kl_div(mu, log_variance, reduction="none").sum(dim=1),
        ],
        "`Normal` takes the standard deviation, σ = exp(½ ln σ²), and not ln σ².": lambda mu, log_variance: (
            torch.distributions.kl_divergence(
                torch.distributions.Normal(mu, log_variance), torch.distributions.Normal(0.0, 1.0)
            ).sum(dim=1)
        ),
        "The order of the arguments is exchanged: mu is μ, log_variance is ln σ².": {
            "mu, log_variance": "log_variance, mu"
        },
        "You divide by the number of examples. Each keeps its own divergence, the sum over its latent dimensions.": {
            "sum(dim=1)": "sum(dim=1) / len(mu)"
        },
        "This is a column, (N, 1). Sum without `keepdim`, so that the result has the shape (N,).": {
            "dim=1": "dim=1, keepdim=True"
        },
        "These are bits. Nats come from natural logarithms: do not divide by ln 2.": {
            "0.5": "0.5 / 0.6931472"
        },
        "A small number inside the logarithm hides how narrow a posterior is. ln σ² is the argument itself, so no "
        "logarithm is needed.": [
            {"- log_variance": f"- (log_variance.exp() + {small}).log()"}
            for small in ("1e-6", "1e-8", "1e-10")
        ],
        "The value is right, but no gradient reaches mu and log_variance, so no encoder could learn from it. "
        "Compute with tensors: no `.detach()`, `.item()`, NumPy or `no_grad()`.": [
            {".sum(dim=1)": ".sum(dim=1).detach()"},
            lambda mu, log_variance: torch.tensor(_kl(mu, log_variance).sum(dim=1).tolist(), dtype=mu.dtype),
        ],
    }
)


def _divergence(
    shift=Tensor.square,
    variance=Tensor.exp,
    one=1.0,
    logarithm=lambda log_variance: log_variance,
    factor=0.5,
    total=lambda terms: terms.sum(dim=1),
):
    return lambda mu, log_variance: total(
        factor * (shift(mu) + variance(log_variance) - one - logarithm(log_variance))
    )


_FACTORS = {"The factor ½ is missing.": {"factor": 1.0}}
_SUMS = {
    "This is a mean over the latent dimensions: sum them.": {"total": lambda terms: terms.mean(dim=1)},
    "You sum over the examples: `dim=1`.": {"total": lambda terms: terms.sum(dim=0)},
    "One number came out for the batch: `sum(dim=1)`.": {"total": Tensor.sum},
    "One mean came out for the batch: `sum(dim=1)`.": {"total": Tensor.mean},
    "The latent dimensions are not summed: `sum(dim=1)`.": {"total": lambda terms: terms},
}
_TERMS = {
    "ln σ² is added, not subtracted.": {"logarithm": Tensor.neg},
    "The term − ln σ² is missing.": {"logarithm": torch.zeros_like},
    "The −1 is missing.": {"one": 0.0},
    "exp(½ ln σ²) is σ: the formula needs σ².": {"variance": lambda log_variance: (log_variance / 2).exp()},
    "μ enters squared.": {"shift": lambda mu: mu},
    "The term μ² is missing.": {"shift": torch.zeros_like},
}
kl_to_standard_normal.pairs_of_slips(_divergence, _FACTORS, _SUMS | _TERMS)
kl_to_standard_normal.pairs_of_slips(_divergence, dict([*_SUMS.items()][:1]), _TERMS)
kl_to_standard_normal.pairs_of_slips(
    _divergence,
    {"The sign is wrong: a divergence is never negative.": {"factor": -0.5}},
    _SUMS,
)


_NAMED_WIDTHS = {  # what the standard deviation of the noise can be, in words
    "σ": lambda a: (a / 2).exp(),
    "σ²": torch.exp,
    "σ⁴": lambda a: (2 * a).exp(),
    "the root of σ": lambda a: (a / 4).exp(),
    "½ σ²": lambda a: a.exp() / 2,
    "½ σ": lambda a: (a / 2).exp() / 2,
    "1": torch.ones_like,
    "1/σ": lambda a: (-a / 2).exp(),
    "1/σ²": lambda a: (-a).exp(),
    "ln σ²": torch.abs,
    "½ ln σ²": lambda a: a.abs() / 2,
    "softplus(ln σ²)": F.softplus,
    "0": torch.zeros_like,
}


def _in_words(spread, log_variance):
    """What measured standard deviations are, one for each value of ln σ²."""
    for name, width in _NAMED_WIDTHS.items():
        if torch.allclose(spread, width(log_variance), rtol=0.08, atol=1e-6):
            return name
    times = spread / (log_variance / 2).exp()
    if times.max() < 1.15 * times.min():
        return f"{times.mean():.1g} σ"
    return ", ".join(
        f"{one:.1g} σ where ln σ² = {at:.2g}" for one, at in zip(times, log_variance, strict=True)
    )


def _slope(slope, *known):
    """What a gradient is, in words: the first of the named values that it agrees with."""
    if slope is None:
        return "none, there is no path"
    for name, value in known:
        if torch.allclose(slope, value, rtol=1e-3, atol=1e-5):
            return name
    return f"another one, {float(slope.mean()):.2g} on average"


def _facts_about_draws(attempt, mu, log_variance):
    """What can be said about the draws and their gradient, whatever the random numbers were."""
    mu, log_variance = mu.clone().requires_grad_(), log_variance.clone().requires_grad_()
    with torch.enable_grad():
        z = attempt(mu, log_variance)
        result = {"the result": _kind(z)}
        if result["the result"] != _kind(mu):
            return _facts_about_draws(reparameterize.reference, mu.detach(), log_variance.detach()) | result
        slopes = (None, None)
        if z.requires_grad:
            slopes = torch.autograd.grad(z.sum(), (mu, log_variance), allow_unused=True)
        again = attempt(mu, log_variance)
    z, again, mu, log_variance = z.detach(), again.detach(), mu.detach(), log_variance.detach()
    groups = [log_variance == one for one in log_variance.unique()]
    share = _share_of(mu, z, groups)
    noise = z - share * mu
    spread = torch.stack([noise[group].std(correction=0) for group in groups])
    middle = torch.stack([(z - mu)[group].mean() for group in groups])
    scaled = (z - mu) / (log_variance / 2).exp()  # (N, K)
    if len(mu) == 1:
        scaled = scaled.T
    even = torch.cat([((one := noise[group]) - one.mean()) / one.std() for group in groups])
    within = float((even.abs() < 1).double().mean())
    return result | {
        "the mean of the draws is": _mean_in_words(share, middle, spread),
        "their standard deviation is": _in_words(spread, log_variance.unique()),
        "they are Gaussian, with 68 % within one standard deviation": bool(abs(within - 0.683) < 0.03),
        "each example is drawn independently": bool((scaled - scaled[:1]).abs().max() > 1e-3),
        "each latent variable is drawn independently": scaled.shape[1] == 1
        or bool((scaled.T.corrcoef().fill_diagonal_(0).abs() < 0.2).all()),
        "a second call draws different numbers": bool((again - z).abs().max() > 1e-6),
        "the gradient of z with respect to μ is": _slope(
            slopes[0], ("1", torch.ones_like(z)), ("0", torch.zeros_like(z))
        ),
        "the gradient of z with respect to ln σ² is": _slope(
            slopes[1], ("(z − μ)/2", (z - mu) / 2), ("z − μ", z - mu), ("0", torch.zeros_like(z))
        ),
    }


def _share_of(mu, z, groups):
    """How much of μ is in z, the slope of a line; groups in which z scatters little count more."""
    pairs = [torch.stack([mu[group], z[group]]).cov(correction=0) for group in groups]
    weights = [1 / (1e-9 + pair[1, 1]) for pair in pairs]
    slope = float(sum(w * pair[0, 1] for w, pair in zip(weights, pairs, strict=True)))
    slope /= float(sum(w * pair[0, 0] for w, pair in zip(weights, pairs, strict=True)))
    return next((whole for whole in (0.0, 1.0) if abs(slope - whole) < 0.25), slope)


def _mean_in_words(share, middle, spread):
    """What the mean of the draws is: z − μ has the means `middle`, and z holds `share` times μ."""
    if share == 0:
        return "without μ"
    if share != 1:
        return f"{share:.1f} μ"
    if (middle.abs() < 0.2 * spread + 1e-6).all():
        return "μ"
    if spread.min() < 1e-4:
        return "μ plus one number for all"
    return f"μ plus up to {float((middle / spread).abs().max()):.2g} standard deviations"


_WIDTHS = torch.tensor([-3.0, -1.0, 0.0, 2.0])  # ln σ² of four latent variables
_TWO_WIDTHS = torch.cat([torch.full((700, 2), -1.4), torch.full((700, 2), 1.0)])


@lesson.exercise(
    observe=_facts_about_draws,
    cases={
        "four widths": (normal(1500, 4, seed=11), _WIDTHS.expand(1500, 4).clone()),
        "float64 numbers": (
            normal(1400, 3, seed=1, dtype=torch.float64) + 5,
            torch.tensor([-0.5, 0.3, 1.5], dtype=torch.float64).expand(1400, 3).clone(),
        ),
        "examples of different widths": (normal(1400, 2, seed=2), _TWO_WIDTHS),
        "a batch of one": (normal(1, 1400, seed=3), 0.5 - _TWO_WIDTHS.T.reshape(2, 1400)[:1]),
    },
    hints=[
        "Draw standard normal numbers ε in the shape of mu. How do they become draws with mean μ and "
        "standard deviation σ?",
        "σ is the root of the variance, and the root of exp(a) is exp(a/2).",
        "z = μ + σ ε, with `torch.randn_like(mu)` for ε: then μ and σ appear in the formula, and gradients "
        "reach them.",
    ],
)
def reparameterize(mu, log_variance):
    """Return one draw z (N, K) from N(μ, σ²), through which gradients reach mu and log_variance.

    mu (N, K) and log_variance (N, K), which is ln σ², belong to each of the K latent variables of an
    example. Each is drawn independently, and anew at every call.
    """
    return mu + (log_variance / 2).exp() * torch.randn_like(mu)


reparameterize.mistakes(
    {
        "The noise was multiplied by the variance, exp(ln σ²). The standard deviation σ is its root: "
        "exp(½ ln σ²).": {"(log_variance / 2)": "log_variance"},
        "The noise was multiplied by ln σ² itself. σ is exp(½ ln σ²).": {
            "(log_variance / 2).exp()": "log_variance"
        },
        "The noise was multiplied by ½ ln σ². That is ln σ: take its exponential for σ.": {
            "(log_variance / 2).exp()": "log_variance / 2"
        },
        "The noise has standard deviation 1 for every latent variable: multiply it by σ.": {
            "(log_variance / 2).exp() * ": ""
        },
        "This is μ without any noise: add σ ε, with standard normal ε.": [
            lambda mu, log_variance: mu,
            lambda mu, log_variance: mu + 0 * log_variance,
        ],
        "No gradient gets through: `sample()`, `torch.normal()`, `detach()` and "
        "`no_grad()` cut the path to the encoder. Write z = μ + σ ε.": [
            lambda mu, log_variance: torch.distributions.Normal(mu, (log_variance / 2).exp()).sample(),
            lambda mu, log_variance: torch.normal(mu, (log_variance / 2).exp()),
        ],
        "The gradient reaches μ but not the variance: do not detach σ.": {"() ": "().detach() "},
        "The gradient reaches the variance but not μ: do not detach μ.": {"mu +": "mu.detach() +"},
        "The mean is missing: this is σ ε alone. Add μ.": {" mu +": ""},
        "μ and σ have changed places: ε multiplies σ, and μ is added.": {
            "mu + (log_variance / 2).exp()": "(log_variance / 2).exp() + mu"
        },
        "All examples got the same ε. Draw in the shape of mu, (N, K).": {
            ".randn_like(mu)": ".randn(mu.shape[1:], dtype=mu.dtype)"
        },
        "All latent variables of an example got the same ε. Draw in the shape of mu, (N, K).": {
            ".randn_like(mu)": ".randn(len(mu), 1, dtype=mu.dtype)"
        },
        "`rand` draws uniform numbers from 0 to 1. Use standard normal ones, `randn_like`.": {
            "randn_like": "rand_like"
        },
        "The noise was divided by σ. Multiply: a larger σ scatters more.": lambda mu, log_variance: (
            mu + torch.randn_like(mu) / (log_variance / 2).exp()
        ),
        "The ½ stands outside: ½ exp(ln σ²) is half the variance. The standard deviation is exp(½ ln σ²), the half "
        "inside.": {"(log_variance / 2).exp()": "log_variance.exp() / 2"},
        "softplus is another way to a positive σ, but here ln σ² arrives: σ is exp(½ ln σ²).": {
            "(log_variance / 2).exp()": "F.softplus(log_variance)"
        },
        "One and the same random number is used for the whole batch. Draw ε in the shape of mu, (N, K).": {
            ".randn_like(mu)": ".randn((), dtype=mu.dtype)"
        },
        "σ is added to the noise, but it has to multiply it: z = μ + σ ε.": {
            ".exp() * torch": ".exp() + torch"
        },
        "The mean is scaled as well: σ multiplies only the noise. z = μ + σ ε, without brackets around μ + ε.": {
            "mu + (log_variance / 2).exp() * torch.randn_like(mu)": (
                "(mu + torch.randn_like(mu)) * (log_variance / 2).exp()"
            )
        },
        "exp(2 ln σ²) is σ⁴. The root of exp(a) is exp(a/2), so σ is exp(½ ln σ²).": {
            "log_variance / 2": "2 * log_variance"
        },
        "exp(¼ ln σ²) is the root of σ. σ itself is exp(½ ln σ²).": [
            {"log_variance / 2": "log_variance / 4"},
            {"(log_variance / 2).exp()": "(log_variance / 2).exp().sqrt()"},
        ],
        "log_variance is a logarithm, and where it is negative its root is nan. The ½ is a factor in the exponent: "
        "σ is exp(½ ln σ²).": [
            {"(log_variance / 2).exp()": "log_variance.sqrt()"},
            {"(log_variance / 2)": "(log_variance**0.5)"},
        ],
        "The ½ is a factor in the exponent, not a root: σ is exp(½ ln σ²).": {
            "(log_variance / 2)": "log_variance.abs().sqrt()"
        },
        "The half stands outside: ½ exp(½ ln σ²) is half of σ. σ is exp(½ ln σ²).": {".exp()": ".exp() / 2"},
        "ε stands inside the exponential, which makes all noise positive. Only ½ ln σ² belongs there: "
        "z = μ + exp(½ ln σ²) · ε.": {
            "(log_variance / 2).exp() * torch.randn_like(mu)": "(log_variance / 2 * torch.randn_like(mu)).exp()"
        },
        "The absolute value of ε has one sign only. Standard normal numbers have both: `torch.randn_like(mu)`.": {
            "randn_like(mu)": "randn_like(mu).abs()"
        },
        "This noise is uniform around 0, not Gaussian: `torch.randn_like(mu)`.": [
            {"torch.randn_like(mu)": f"{factor} * (torch.rand_like(mu) - 0.5)"}
            for factor in (1, 2, "12**0.5")
        ],
        "ε has the shape (N,), which does not fit. Each latent variable of each example needs a number: "
        "`torch.randn_like(mu)`, (N, K).": {
            "randn_like(mu)": "randn(len(mu))",
        },
        "μ multiplies the noise. Add it: z = μ + σ ε.": {"mu +": "mu *"},
        "μ and ln σ² are exchanged: z = μ + exp(½ ln σ²) · ε.": {
            "mu + (log_variance / 2)": "log_variance + (mu / 2)"
        },
        "Averaged or summed, the draws have lost an axis. Return one for each latent variable of each example, "
        "(N, K).": [
            lambda mu, log_variance: reparameterize.reference(mu, log_variance).mean(dim=0),
            lambda mu, log_variance: reparameterize.reference(mu, log_variance).mean(dim=1),
            lambda mu, log_variance: reparameterize.reference(mu, log_variance).mean(),
        ],
        "Return z alone; the caller has mu and log_variance already.": [
            lambda mu, log_variance: (reparameterize.reference(mu, log_variance), mu, log_variance),
            lambda mu, log_variance: (reparameterize.reference(mu, log_variance), torch.randn_like(mu)),
        ],
        "This is ε alone: scale it by σ, and add μ.": lambda mu, log_variance: torch.randn_like(mu),
        "All examples got the same σ. Each has its own, in its row of log_variance.": [
            {"(log_variance / 2)": "(log_variance[:1] / 2)"},
            {"(log_variance / 2)": "(log_variance.mean(dim=0) / 2)"},
        ],
    }
)


def _draw(
    mean=lambda mu: mu,
    width=lambda log_variance: (log_variance / 2).exp(),
    noise=torch.randn_like,
):
    return lambda mu, log_variance: mean(mu) + width(log_variance) * noise(mu)


_NO_MEAN = {"μ is missing: z = μ + σ ε.": {"mean": torch.zeros_like}}
_WRONG_WIDTHS = {
    "exp(ln σ²) is the variance: σ is exp(½ ln σ²).": {"width": torch.exp},
    "ln σ² is not σ: σ is exp(½ ln σ²).": {"width": lambda log_variance: log_variance},
    "½ ln σ² is ln σ: σ is its exponential.": {"width": lambda log_variance: log_variance / 2},
    "½ exp(ln σ²) is half the variance: σ is exp(½ ln σ²).": {
        "width": lambda log_variance: log_variance.exp() / 2
    },
}
_WRONG_NOISE = {
    "`rand` is uniform from 0 to 1: draw ε with `randn_like`.": {"noise": torch.rand_like},
    "All examples got the same ε: draw it in the shape of mu.": {
        "noise": lambda mu: torch.randn(mu.shape[1:], dtype=mu.dtype)
    },
    "One number serves as ε for a whole example: draw it in the shape of mu.": {
        "noise": lambda mu: torch.randn(len(mu), 1, dtype=mu.dtype)
    },
}
reparameterize.pairs_of_slips(_draw, _NO_MEAN, _WRONG_WIDTHS | _WRONG_NOISE)
reparameterize.pairs_of_slips(_draw, _WRONG_WIDTHS, _WRONG_NOISE)


@reparameterize.remark(
    "A remark: ε is always drawn on the CPU, so this fails for a network on a GPU. `torch.randn_like(mu)` draws "
    "where mu is."
)
def _(reparameterize):
    return _stays_on_the_cpu(reparameterize, torch.zeros(3, 2), torch.zeros(3, 2))


@reparameterize.mistake(
    "Every call gives the same numbers: the seed is set inside, or ε was drawn only once, outside. Draw anew at "
    "every call."
)
def _(mu, log_variance):
    torch.manual_seed(0)
    return mu + (log_variance / 2).exp() * torch.randn_like(mu)


def _vae_outputs(count, height, width, code, seed, dtype=torch.float32):
    """Images, logits, mu and log_variance of a batch."""
    return (
        _pictures(count, height, width, seed, dtype),
        normal(count, 1, height, width, seed=seed + 1, dtype=dtype),
        normal(count, code, seed=seed + 2, dtype=dtype),
        normal(count, code, seed=seed + 3, dtype=dtype),
    )


def _flat(grey, logit):
    """Three images of one grey value and one logit, with codes that say nothing."""
    return (
        torch.full((3, 1, 2, 1), grey),
        torch.full((3, 1, 2, 1), logit),
        torch.zeros(3, 4),
        torch.zeros(3, 4),
    )


@lesson.exercise(
    observe=lambda elbo, x, logits, mu, log_variance: _with_gradients(elbo, x, logits, mu, log_variance),
    cases={
        "one pixel of ink": (
            torch.ones(1, 1, 1, 1),
            torch.zeros(1, 1, 1, 1),
            torch.tensor([[2.0]]),
            torch.tensor([[0.0]]),
        ),
        "ink, logits of 40": _flat(1.0, 40.0),
        "paper, logits of 40": _flat(0.0, 40.0),
        "ink, logits of −40": _flat(1.0, -40.0),
        "an ordinary batch": _vae_outputs(3, 2, 2, 2, seed=0),
        "wide images": _vae_outputs(4, 3, 5, 3, seed=10),
        "float64 numbers": _vae_outputs(5, 4, 3, 6, seed=20, dtype=torch.float64),
        "a batch of one": _vae_outputs(1, 3, 2, 4, seed=30),
        "gradients": tuple(
            one if number == 0 else _learned(one)
            for number, one in enumerate(_vae_outputs(4, 2, 3, 2, seed=40))
        ),
    },
    hints=[
        "Two terms: minus the binary cross-entropy, summed over the pixels, and minus the KL, summed over the code.",
        '`F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)` is the first, a mean over examples.',
        "You maximize the ELBO, and the loss is its negative: both terms are costs, so both carry a minus "
        "sign.",
    ],
)
def elbo(x, logits, mu, log_variance):
    """Return the ELBO in nats, averaged over the N examples: one number.

    x (N, 1, H, W) are grey values in [0, 1]; `logits`, of the same shape, are what the decoder makes
    of one draw, before any sigmoid. mu (N, K) and log_variance (N, K) are the encoder's.
    """
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    divergence = 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).sum() / len(x)
    return -reconstruction - divergence


def _terms(x, logits, mu, log_variance):
    """Cross-entropy and divergence, each summed over everything."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="sum"), _kl(mu, log_variance).sum()


def _by_hand(p, x, mu, log_variance, small=0.0):
    log_likelihood = x * (p + small).log() + (1 - x) * (1 - p + small).log()
    return (log_likelihood.sum() - _kl(mu, log_variance).sum()) / len(x)


def _with_small_number(small):
    return lambda x, logits, mu, log_variance: _by_hand(logits.sigmoid(), x, mu, log_variance, small)


def _clamped_to(small):
    return lambda x, logits, mu, log_variance: _by_hand(
        logits.sigmoid().clamp(small, 1 - small), x, mu, log_variance
    )


def _bound(
    cost=lambda logits, x: F.binary_cross_entropy_with_logits(logits, x, reduction="none"),
    divergence=lambda mu, log_variance: 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance),
    by=lambda x, mu: len(x),
    sign=-1,
):
    """The ELBO from the cost of every pixel and the divergence of every latent variable."""

    def attempt(x, logits, mu, log_variance):
        return sign * (cost(logits, x).sum() + divergence(mu, log_variance).sum()) / by(x, mu)

    return attempt


_IN_THE_DIVERGENCE = {
    "The −1 is missing in the divergence: for μ = 0 and σ = 1 it has to be 0.": lambda mu, a: (
        (mu.square() + a.exp() - a) / 2
    ),
    "The term μ² is missing in the divergence: a shift has to cost something.": lambda mu, a: (
        (a.exp() - 1 - a) / 2
    ),
    "The term − ln σ² is missing in the divergence.": lambda mu, a: (mu.square() + a.exp() - 1) / 2,
    "ln σ² has the wrong sign in the divergence: ½(μ² + σ² − 1 − ln σ²).": lambda mu, a: (
        (mu.square() + a.exp() - 1 + a) / 2
    ),
    "The divergence needs σ² = exp(ln σ²), and exp(½ ln σ²) is σ.": lambda mu, a: (
        (mu.square() + (a / 2).exp() - 1 - a) / 2
    ),
    "μ enters the divergence squared.": lambda mu, a: (mu + a.exp() - 1 - a) / 2,
    "The ½ of the divergence belongs to all of its terms: are brackets missing?": lambda mu, a: (
        mu.square() / 2 + a.exp() - 1 - a
    ),
    "The divergence takes ln σ² itself, and no logarithm of it.": lambda mu, a: (
        (mu.square() + a.exp() - 1 - a.log()) / 2
    ),
    "This divergence is turned round: KL[q ‖ p] is ½(μ² + σ² − 1 − ln σ²).": lambda mu, a: (
        ((1 + mu.square()) / a.exp() - 1 + a) / 2
    ),
}
_DIVERGENCES = {told: {"divergence": one} for told, one in _IN_THE_DIVERGENCE.items()}
elbo.slips(_bound, _DIVERGENCES)
_BY = {
    "The sum is not divided by N.": {"by": lambda x, mu: 1},
    "You divide by all pixels, not by N.": {"by": lambda x, mu: x.numel()},
    "You divide by the pixels of an image. The mean is over the N examples.": {
        "by": lambda x, mu: x[0].numel()
    },
    "You divide by the latent dimensions. The mean is over the N examples.": {
        "by": lambda x, mu: mu.shape[1]
    },
}
elbo.slips(_bound, dict([*_BY.items()][2:]))
_LOSS = {"The ELBO is minus this loss.": {"sign": 1}}
elbo.pairs_of_slips(_bound, _LOSS, _BY | dict([*_DIVERGENCES.items()][:6]))
elbo.pairs_of_slips(_bound, dict([*_BY.items()][:2]), dict([*_DIVERGENCES.items()][:6]))

elbo.mistakes(
    {
        "The sign is wrong: this is the loss. The ELBO is its negative,"
        " and never above 0 here.": lambda x, logits, mu, log_variance: (
            sum(_terms(x, logits, mu, log_variance)) / len(x)
        ),
        "The arguments are swapped: first the logits, then the pixels "
        "they are compared with.": lambda x, logits, mu, log_variance: (
            -sum(_terms(logits, x, mu, log_variance)) / len(x)
        ),
        "This is the sum over the whole batch. Divide by the number of "
        "examples, or the learning rate depends on it.": lambda x, logits, mu, log_variance: (
            -sum(_terms(x, logits, mu, log_variance))
        ),
        "The divergence is missing: without it nothing holds the codes "
        "together.": lambda x, logits, mu, log_variance: -_terms(x, logits, mu, log_variance)[0] / len(x),
        "The reconstruction is missing: this is only minus the "
        "divergence.": lambda x, logits, mu, log_variance: -_terms(x, logits, mu, log_variance)[1] / len(x),
        "The argument `log_variance` is ln σ², but you took it for ln σ.": lambda x, logits, mu, log_variance: (
            -sum(_terms(x, logits, mu, 2 * log_variance)) / len(x)
        ),
        "A small number inside the logarithm caps the loss of a pixel that is clearly wrong, and its gradient "
        "vanishes. Use `binary_cross_entropy_with_logits` on the logits.": [
            *(_with_small_number(small) for small in (1e-6, 1e-7, 1e-8, 1e-10, 1e-12)),
            *(_clamped_to(small) for small in (1e-6, 1e-7)),
        ],
        "For large logits the sigmoid rounds to 1, and `binary_cross_entropy` can only guess the loss, 100. Pass the "
        "logits to `binary_cross_entropy_with_logits`.": lambda x, logits, mu, log_variance: (
            -(F.binary_cross_entropy(logits.sigmoid(), x, reduction="sum") + _kl(mu, log_variance).sum())
            / len(x)
        ),
        "You divide by the number of all pixels in the batch. The ELBO is a mean over examples: divide by "
        "`len(x)`.": lambda x, logits, mu, log_variance: (
            -sum(_terms(x, logits, mu, log_variance)) / x.numel()
        ),
        "The value is right, but no gradient reaches mu and log_variance: the divergence needs it, too. No "
        "`.detach()`, `.item()` or `no_grad()`.": lambda x, logits, mu, log_variance: elbo.reference(
            x, logits, mu.detach(), log_variance.detach()
        ),
        "You maximize a likelihood of −½ (x − x̂)², a Gaussian's. Here each pixel is black or white with some "
        "probability: use BCE.": _bound(lambda logits, x: (logits.sigmoid() - x).square() / 2),
        "A squared error between logits and pixels compares two different things. A pixel's likelihood is BCE.": (
            _bound(lambda logits, x: (logits - x).square())
        ),
        "The log-likelihood of a pixel has two terms: x ln p, and (1 − x) ln(1 − p). The second is missing.": (
            _bound(lambda logits, x: -x * F.logsigmoid(logits))
        ),
        "The log-likelihood of a pixel has two terms: x ln p, and (1 − x) ln(1 − p). The first is missing.": (
            _bound(lambda logits, x: -(1 - x) * F.logsigmoid(-logits))
        ),
        "The grey values were rounded to ink or paper. Keep them: BCE takes any target from 0 to 1.": [
            _bound(lambda logits, x: F.binary_cross_entropy_with_logits(logits, x.round(), reduction="none")),
            _bound(
                lambda logits, x: F.binary_cross_entropy_with_logits(
                    logits, (x > 0.5).to(x.dtype), reduction="none"
                )
            ),
        ],
        "The logits were cut off before the loss. Hand them over as they are.": [
            _bound(
                lambda logits, x, end=end: F.binary_cross_entropy_with_logits(
                    logits.clamp(-end, end), x, reduction="none"
                )
            )
            for end in (1, 5, 10, 20)
        ],
        "x and 1 − x are exchanged in the log-likelihood: ln p belongs to the ink, x.": _bound(
            lambda logits, x: F.binary_cross_entropy_with_logits(logits, 1 - x, reduction="none")
        ),
        "This takes logits for a softmax, as if one pixel could be inked. Each pixel has a probability of its own: "
        "BCE.": [
            lambda x, logits, mu, log_variance: (
                -(
                    F.cross_entropy(logits.flatten(1), x.flatten(1), reduction="sum")
                    + _kl(mu, log_variance).sum()
                )
                / len(x)
            ),
        ],
    }
)


@elbo.mistake(
    "The cross-entropy has the wrong sign: it is minus the log-likelihood, so it is subtracted like the divergence."
)
def _(x, logits, mu, log_variance):
    reconstruction, divergence = _terms(x, logits, mu, log_variance)
    return (reconstruction - divergence) / len(x)


@elbo.mistake(
    "log(1 − sigmoid) is −∞ for large logits, and 0 · ∞ is nan. `binary_cross_entropy_with_logits` avoids it."
)
def _(x, logits, mu, log_variance):
    return _by_hand(logits.sigmoid(), x, mu, log_variance)


@elbo.mistake(
    "The divergence is summed over the batch, but the reconstruction is averaged. Divide both by the number "
    "of examples."
)
def _(x, logits, mu, log_variance):
    reconstruction, divergence = _terms(x, logits, mu, log_variance)
    return -reconstruction / len(x) - divergence


@elbo.mistake(
    "The reconstruction is summed over the batch, but the divergence is averaged. Divide both by the number "
    "of examples."
)
def _(x, logits, mu, log_variance):
    reconstruction, divergence = _terms(x, logits, mu, log_variance)
    return -reconstruction - divergence / len(x)


@elbo.mistake("The factor ½ of the divergence is missing.")
def _(x, logits, mu, log_variance):
    reconstruction, divergence = _terms(x, logits, mu, log_variance)
    return -(reconstruction + 2 * divergence) / len(x)


@elbo.mistake(
    "The divergence has the wrong sign: it is a cost, so it is subtracted. As it stands, the codes may "
    "drift away."
)
def _(x, logits, mu, log_variance):
    reconstruction, divergence = _terms(x, logits, mu, log_variance)
    return (divergence - reconstruction) / len(x)


@elbo.mistake(
    "The cross-entropy is averaged over the pixels while the divergence is summed, so the divergence weighs "
    'far too much and the code collapses. Use `reduction="sum"`, then divide by the number of examples.'
)
def _(x, logits, mu, log_variance):
    _, divergence = _terms(x, logits, mu, log_variance)
    return -F.binary_cross_entropy_with_logits(logits, x) - divergence / len(x)


@elbo.mistake(
    "Both terms are averaged, one over pixels, one over latent dimensions. Sum them within each example."
)
def _(x, logits, mu, log_variance):
    return -F.binary_cross_entropy_with_logits(logits, x) - _kl(mu, log_variance).mean()


@elbo.mistake(
    "The divergence is averaged over the latent dimensions, but they add up: `sum(dim=1)`, then the mean "
    "over the examples."
)
def _(x, logits, mu, log_variance):
    reconstruction, _ = _terms(x, logits, mu, log_variance)
    return -reconstruction / len(x) - _kl(mu, log_variance).mean()


@elbo.mistake(
    "A sigmoid was applied twice: `binary_cross_entropy_with_logits` contains one. Pass it the logits as "
    "they are."
)
def _(x, logits, mu, log_variance):
    return -sum(_terms(x, torch.sigmoid(logits), mu, log_variance)) / len(x)


@elbo.mistake("`binary_cross_entropy` expects probabilities. For logits there is `..._with_logits`.")
def _(x, logits, mu, log_variance):
    return -(F.binary_cross_entropy(logits, x, reduction="sum") + _kl(mu, log_variance).sum()) / len(x)


@elbo.mistake(
    "The squared error belongs to a Gaussian. Here each pixel is black or white with some probability: use "
    "BCE."
)
def _(x, logits, mu, log_variance):
    squared = (torch.sigmoid(logits) - x).square().sum()
    return -(squared + _kl(mu, log_variance).sum()) / len(x)


@elbo.mistake("Return one number, the mean over the examples. Here each example has its own.")
def _(x, logits, mu, log_variance):
    pixels = F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(dim=1)
    return -pixels - _kl(mu, log_variance).sum(dim=1)


# Section 5: a variational autoencoder ------------------------------------------------------------------------


def _linear_layers(part):
    """The linear layers of a network in words, in order."""
    weights = [one for one in part.parameters() if one.ndim == 2]
    return ", ".join(f"{one.shape[1]} → {one.shape[0]}" for one in weights) or "none"


_ACTIVATIONS = {
    "ReLU": torch.relu,
    "nothing": lambda h: h,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "GELU": F.gelu,
    "leaky ReLU": F.leaky_relu,
    "ELU": F.elu,
    "softplus": F.softplus,
}


def _computes(part, rows, result):
    """What a network with one hidden layer computes from `rows` (N, D), in words."""
    weights = [one for one in part.parameters() if one.ndim == 2]
    biases = [one for one in part.parameters() if one.ndim == 1]
    if len(weights) != 2 or len(biases) != 2:
        return f"not two linear layers with biases: {len(weights)} matrices and {len(biases)} biases"
    for (first, inside), (last, end) in itertools.product(_ACTIVATIONS.items(), _ACTIVATIONS.items()):
        made = end(F.linear(inside(F.linear(rows, weights[0], biases[0])), weights[1], biases[1]))
        if made.numel() == result.numel() and torch.allclose(made.flatten(), result.flatten(), atol=1e-5):
            return f"linear layer, {first}, linear layer, {last}"
    return "something else"


def _named_among(given, named):
    """What a tensor is, in words: one of those that are `named`."""
    for name, one in named.items():
        if given.shape == one.shape and torch.allclose(given, one, atol=1e-5):
            return name
    return f"something else, of shape {tuple(given.shape)}"


def _facts_of_vae(attempt, code_size, hidden):
    """What can be seen of a VAE from outside, with a way of drawing that is not random."""
    calls = []

    def draw(mu, log_variance):
        calls.append((mu, log_variance))
        return mu + log_variance / 4

    net = attempt(code_size, hidden, draw)
    if not isinstance(net, nn.Module):
        return {"what comes back": f"not an nn.Module but {type(net).__name__}"}
    for name in ("encoder", "decoder"):
        if not isinstance(getattr(net, name, None), nn.Module):
            return {"its parts": f"no network `self.{name}`"}
    x, z = _pictures(3, 28, 28, seed=70), normal(3, code_size, seed=71)
    encoded, decoded = net.encoder(x), net.decoder(z)
    facts = {
        "the linear layers of the encoder": _linear_layers(net.encoder),
        "the linear layers of the decoder": _linear_layers(net.decoder),
        "the shape of encoder(x)": f"{tuple(encoded.shape)}",
        "the shape of decoder(z)": f"{tuple(decoded.shape)}",
        "the encoder computes": _computes(net.encoder, x.flatten(1), encoded),
        "the decoder computes": _computes(net.decoder, z, decoded),
        "its parameters can be trained": all(one.requires_grad for one in net.parameters()),
    }
    if encoded.shape != (3, 2 * code_size):
        return facts
    given = net(x)
    if not isinstance(given, tuple | list) or not all(isinstance(one, Tensor) for one in given):
        return facts | {"forward returns": _kind(given)}
    if len(given) != 3:
        return facts | {"forward returns": f"{len(given)} tensors"}
    return facts | _facts_of_forward(net, encoded, given, calls)


def _facts_of_forward(net, encoded, given, calls):
    """Where the three tensors that forward returns come from, what was drawn, and whether gradients pass."""
    mu, log_variance = encoded.chunk(2, dim=1)
    named = {
        "mu": mu,
        "log_variance": log_variance,
        "every second number from the first on": encoded[:, ::2],
        "every second number from the second on": encoded[:, 1::2],
        "exp(log_variance)": log_variance.exp(),
        "exp(log_variance / 2)": (log_variance / 2).exp(),
    }
    logits, zs = {}, {"draw(mu, log_variance)": mu + log_variance / 4, "mu": mu}
    for name, z in zs.items():
        logits[f"decoder({name})"] = net.decoder(z)
        logits[f"the sigmoid of decoder({name})"] = net.decoder(z).sigmoid()
    drawn = " and ".join(_named_among(one, named) for one in calls[0]) if len(calls) == 1 else ""
    first = given[0]
    slopes = [None]
    if first.requires_grad:
        slopes = torch.autograd.grad(first.sum(), list(net.parameters()), allow_unused=True)
    return {
        "what forward returns first": _named_among(first, logits | named),
        "what forward returns second": _named_among(given[1], named | logits),
        "what forward returns third": _named_among(given[2], named | logits),
        "how often draw is called": len(calls),
        "what draw is given": drawn,
        "gradients of the logits reach all parameters": all(slope is not None for slope in slopes),
    }


@lesson.exercise(
    observe=_facts_of_vae,
    cases={
        "one latent variable": (1, 3),
        "two latent variables": (2, 5),
        "ten latent variables": (10, 7),
    },
    hints=[
        "The encoder is that of `Autoencoder` with twice as many outputs; the decoder is its decoder without the "
        "sigmoid.",
        "`self.encoder(x).chunk(2, dim=1)` cuts (N, 2 K) into mu and log_variance, each (N, K).",
        "In `forward`: `z = self.draw(mu, log_variance)`, then `return self.decoder(z), mu, log_variance`.",
    ],
)
class VAE(nn.Module):
    """A variational autoencoder for digits, with `code_size` latent variables.

    `self.encoder` maps (N, 1, 28, 28) to (N, 2 · code_size): all of mu, then all of log_variance.
    `self.decoder` maps codes (N, code_size) to logits (N, 1, 28, 28). Each has one hidden layer of
    `hidden` units with a ReLU. `draw(mu, log_variance)` makes the codes.
    """

    def __init__(self, code_size, hidden, draw):
        super().__init__()
        self.draw = draw
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 2 * code_size)
        )
        self.decoder = nn.Sequential(
            nn.Linear(code_size, hidden), nn.ReLU(), nn.Linear(hidden, 784), nn.Unflatten(1, (1, 28, 28))
        )

    def forward(self, x):
        """Return logits (N, 1, 28, 28), mu (N, code_size) and log_variance (N, code_size)."""
        mu, log_variance = self.encoder(x).chunk(2, dim=1)
        return self.decoder(self.draw(mu, log_variance)), mu, log_variance


def _vae(
    change=lambda net: None,
    split=lambda h: h.chunk(2, dim=1),
    codes=lambda draw, mu, a: draw(mu, a),
    end=lambda logits: logits,
    given=lambda logits, mu, a: (logits, mu, a),
):
    """The class, with what can go wrong as arguments; `a` is log_variance."""

    class Attempt(VAE.reference):
        def __init__(self, code_size, hidden, draw):
            super().__init__(code_size, hidden, draw)
            change(self)

        def forward(self, x):
            mu, a = split(self.encoder(x))
            return given(end(self.decoder(codes(self.draw, mu, a))), mu, a)

    return Attempt


def _activated(encoder=None, decoder=None):
    """Change the activation functions of the hidden layers."""

    def change(net):
        net.encoder[2], net.decoder[1] = encoder or net.encoder[2], decoder or net.decoder[1]

    return change


def _deeper(part):
    def change(net):
        layers = list(getattr(net, part))
        at = 2 if part == "encoder" else 1
        hidden = layers[at - 1].out_features
        layers[at:at] = [nn.ReLU(), nn.Linear(hidden, hidden)]
        setattr(net, part, nn.Sequential(*layers))

    return change


def _without_biases(net):
    for layer in (net.encoder[1], net.encoder[3], net.decoder[0], net.decoder[2]):
        layer.bias = None


VAE.mistakes(
    {
        "The encoder returns code_size numbers, but every latent variable needs two, μ and ln σ²: "
        "`nn.Linear(hidden, 2 * code_size)`.": {"2 * code_size": "code_size"},
        "The decoder gets one draw z for each latent variable, so it takes code_size numbers, not twice as many.": {
            "nn.Linear(code_size": "nn.Linear(2 * code_size"
        },
        "There is a sigmoid at the end, but the ELBO expects logits and applies its own: end with the linear layer.": [
            _vae(lambda net: net.decoder.append(nn.Sigmoid())),
            _vae(end=torch.sigmoid),
        ],
        "An activation function at the end of the encoder limits μ and ln σ², and both may take any value: end with "
        "the linear layer.": [
            _vae(lambda net, last=last: net.encoder.append(last))
            for last in (nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Softplus())
        ],
        "The decoder ends in an activation function. Logits may take any value: end with the linear layer.": [
            _vae(lambda net, last=last: net.decoder.append(last)) for last in (nn.ReLU(), nn.Tanh())
        ],
        "There is no activation function, so encoder and decoder are affine maps: `nn.ReLU()` after each hidden "
        "layer.": _vae(_activated(nn.Identity(), nn.Identity())),
        "The hidden layer of the encoder has no activation function: put `nn.ReLU()` after it.": _vae(
            _activated(encoder=nn.Identity())
        ),
        "The hidden layer of the decoder has no activation function: put `nn.ReLU()` after it.": _vae(
            _activated(decoder=nn.Identity())
        ),
        "The exercise asks for a ReLU after the hidden layers, `nn.ReLU()`; this is another activation function.": [
            _vae(_activated(one, one))
            for one in (nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.LeakyReLU(), nn.ELU(), nn.Softplus())
        ],
        "mu and log_variance are exchanged: mu is the first half of what the encoder returns.": [
            _vae(split=lambda h: h.chunk(2, dim=1)[::-1]),
        ],
        "forward returns log_variance before mu. The order is logits, mu, log_variance.": _vae(
            given=lambda logits, mu, a: (logits, a, mu)
        ),
        "mu is every second number here. The encoder returns all of mu first, then all of log_variance: "
        "`chunk(2, dim=1)`.": _vae(split=lambda h: (h[:, ::2], h[:, 1::2])),
        "`chunk(2, dim=0)` cuts the batch in two. mu and log_variance lie side by side, along `dim=1`.": {
            "dim=1": "dim=0"
        },
        "The decoder gets mu, and nothing is drawn. Give it `self.draw(mu, log_variance)`.": _vae(
            codes=lambda draw, mu, a: mu
        ),
        "`draw` is never called: the codes are drawn in another way. Use the one that was passed, `self.draw(mu, "
        "log_variance)`.": _vae(codes=lambda draw, mu, a: mu + (a / 2).exp() * torch.randn_like(mu)),
        "`draw` is called, but the decoder does not get what it returns: `z = self.draw(mu, log_variance)`, then "
        "`self.decoder(z)`.": _vae(codes=lambda draw, mu, a: draw(mu, a) * 0 + mu),
        "`draw` takes log_variance as the encoder returns it, and makes σ of it: no `exp` before.": [
            _vae(codes=lambda draw, mu, a: draw(mu, (a / 2).exp())),
            _vae(codes=lambda draw, mu, a: draw(mu, a.exp())),
        ],
        "`draw` gets its arguments in the wrong order: first mu, then log_variance.": _vae(
            codes=lambda draw, mu, a: draw(a, mu)
        ),
        "Return three things: the logits, mu and log_variance. The loss needs all of them.": [
            _vae(given=lambda logits, mu, a: logits),
            _vae(given=lambda logits, mu, a: (logits, mu)),
        ],
        "Return three things, in this order: the logits, mu and log_variance. The codes are not among them.": [
            _vae(given=lambda logits, mu, a: (logits, mu, a, mu + a / 4)),
            _vae(given=lambda logits, mu, a: (logits, mu + a / 4, mu, a)),
        ],
        "The order is logits, mu, log_variance: the logits come first.": _vae(
            given=lambda logits, mu, a: (mu, a, logits)
        ),
        "Return log_variance as the encoder gives it, ln σ². This is its exponential.": [
            _vae(given=lambda logits, mu, a: (logits, mu, a.exp())),
            _vae(given=lambda logits, mu, a: (logits, mu, (a / 2).exp())),
        ],
        "decoder(z) is flat, (N, 784). New digits will be made by the decoder alone, so it ends in "
        "`nn.Unflatten(1, (1, 28, 28))`.": [
            _vae(lambda net: net.decoder.pop(3)),
            _vae(lambda net: net.decoder.pop(3), end=lambda logits: logits.view(-1, 1, 28, 28)),
        ],
        "The channel axis is missing: logits are (N, 1, 28, 28), as the digits are. `nn.Unflatten(1, (1, 28, 28))`.": {
            "(1, 28, 28))\n": "(28, 28))\n"
        },
        "`nn.Flatten()` is missing in front of the encoder's first linear layer, which takes rows of 784 numbers.": {
            "nn.Flatten(), ": ""
        },
        "Call `super().__init__()` first: without it a module cannot hold layers.": {
            "        super().__init__()\n": ""
        },
        "`draw` is not kept: `self.draw = draw` in `__init__`, then `forward` can call `self.draw`.": {
            "        self.draw = draw\n": ""
        },
        "The hidden layers have a fixed number of units. Take the argument: `hidden`.": {
            "nn.Linear(784, hidden)": "nn.Linear(784, 256)",
            "nn.Linear(hidden, 2": "nn.Linear(256, 2",
            "nn.Linear(code_size, hidden)": "nn.Linear(code_size, 256)",
            "nn.Linear(hidden, 784)": "nn.Linear(256, 784)",
        },
        "The code has a fixed number of latent variables. Take the argument: `code_size`.": {
            "2 * code_size": "20",
            "nn.Linear(code_size": "nn.Linear(10",
        },
        "The encoder has a second hidden layer. The exercise asks for one.": _vae(_deeper("encoder")),
        "The decoder has a second hidden layer. The exercise asks for one.": _vae(_deeper("decoder")),
        "The linear layers have no biases. Leave out `bias=False`.": _vae(_without_biases),
        "The parameters cannot be trained: they have `requires_grad=False`. Leave them as the layers make them.": _vae(
            lambda net: net.requires_grad_(False)
        ),
        "No gradient gets from the logits back to the encoder. Leave out `detach` and `no_grad`: training needs it.": [
            _vae(codes=lambda draw, mu, a: draw(mu, a).detach()),
            _vae(split=lambda h: h.detach().chunk(2, dim=1)),
        ],
    }
)


@VAE.mistake(
    "`self.encoder` stops at the hidden layer, and other layers make mu and log_variance. The lesson needs an encoder "
    "that returns both, side by side: `nn.Linear(hidden, 2 * code_size)` as its last layer."
)
class _(nn.Module):
    def __init__(self, code_size, hidden, draw):
        super().__init__()
        self.draw = draw
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU())
        self.to_mu, self.to_log_variance = nn.Linear(hidden, code_size), nn.Linear(hidden, code_size)
        self.decoder = VAE.reference(code_size, hidden, draw).decoder

    def forward(self, x):
        h = self.encoder(x)
        mu, log_variance = self.to_mu(h), self.to_log_variance(h)
        return self.decoder(self.draw(mu, log_variance)), mu, log_variance


class _Watched(nn.Module):
    """A decoder that remembers the codes it was given; on "meta", which stands for a GPU, only where they were."""

    def __init__(self, code_size, device):
        super().__init__()
        self.weight = nn.Parameter((normal(784, code_size, seed=7) / code_size**0.5).to(device))
        self.codes = []

    def forward(self, z):
        self.codes.append(z.detach())
        flat = z.new_empty(len(z), 784) if z.is_meta or self.weight.is_meta else z @ self.weight.T
        return flat.to(self.weight.device).unflatten(1, (1, 28, 28))


_ORIGINS = {  # what can have been done to the logits, in words
    "the sigmoid of the logits": torch.sigmoid,
    "the logits themselves": lambda a: a,
    "the sigmoid of the sigmoid": lambda a: a.sigmoid().sigmoid(),
    "the logits, clamped to 0 and 1": lambda a: a.clamp(0, 1),
    "1 minus the sigmoid of the logits": lambda a: 1 - a.sigmoid(),
    "the tanh of the logits": torch.tanh,
    "255 times the sigmoid": lambda a: 255 * a.sigmoid(),
    "the logarithm of the sigmoid": F.logsigmoid,
    "half of 1 plus tanh": lambda a: (1 + a.tanh()) / 2,
    "the ReLU of the logits": torch.relu,
    "the exponential of the logits": torch.exp,
    "1 everywhere": torch.ones_like,
    "a softmax over the pixels of each digit": lambda a: a.flatten(1).softmax(dim=1).view_as(a),
    "a softmax over the digits": lambda a: a.softmax(dim=0),
    "a softmax over each column of pixels": lambda a: a.softmax(dim=2),
    "a softmax over each row of pixels": lambda a: a.softmax(dim=3),
}


def _origin(digits, logits):
    """What was done to the logits, in words."""
    for name, made in _ORIGINS.items():
        if digits.shape == logits.shape and torch.allclose(digits.float(), made(logits), atol=1e-5):
            return name
    if ((digits == 0) | (digits == 1)).all():
        return "black or white"
    if digits.min() == 0 and digits.max() == 1:
        return "grey values rescaled to run from 0 to 1"
    return f"numbers from {float(digits.min()):.1g} to {float(digits.max()):.1g}, neither the logits nor their sigmoid"


def _facts_about_samples(attempt, count, code_size, device):
    """What can be said about the sampled digits, whatever the random numbers were."""
    decoder = _Watched(code_size, device)
    try:
        digits = attempt(decoder, count, code_size)
    except NotImplementedError:  # a meta tensor is brought back to the CPU
        if device == "cpu":
            raise
    if device != "cpu":
        return {"the device of the codes": decoder.codes[0].device.type if decoder.codes else "none"}
    shapes = {
        "the codes": _kind(torch.cat(decoder.codes))
        if decoder.codes
        else "none, the decoder is never called",
        "the result": _kind(digits),
    }
    if shapes["the codes"] != f"a tensor of shape {(count, code_size)}" or not isinstance(digits, Tensor):
        return _facts_about_samples(sample_digits.reference, count, code_size, device) | shapes
    z, digits = torch.cat(decoder.codes), digits.detach()
    facts = shapes | {
        "the decoder can still be trained": decoder.weight.requires_grad,
        "the codes hold numbers other than 0": bool((z != 0).any()),
    }
    if digits.numel() == count * 784:
        with torch.no_grad():
            facts["the digits are"] = _origin(digits.reshape(-1, 1, 28, 28)[:40], decoder(z[:40]))
    else:
        facts["the digits are"] = "the sigmoid of the logits"  # as far as can be said
    if count < 1000:
        decoder.codes.clear()
        attempt(decoder, count, code_size)
        return facts | {"a second call draws different codes": not torch.equal(z, torch.cat(decoder.codes))}
    within = float(((z - z.mean()).abs() < z.std()).double().mean())
    lengths = z.norm(dim=1)
    return facts | {
        "every digit has a code of its own": bool((z - z[:1]).abs().max() > 1e-3),
        "the latent variables of a code differ": bool((z - z[:, :1]).abs().max() > 1e-3),
        "the mean of the codes": _about(float(z.mean()), 0, within=0.1),
        "the standard deviation of the codes": _about(float(z.std()), 1, within=0.05),
        "the codes differ in length": bool(lengths.std() > 1e-3 * lengths.mean()),
        "they are Gaussian: 68 % within one standard deviation": bool(abs(within - 0.683) < 0.03),
    }


def _about(measured, wanted, within):
    """A measured number in words: the wanted one if it is near it."""
    return f"{wanted}" if abs(measured - wanted) < within else f"about {measured:.1g}"


@lesson.exercise(
    observe=_facts_about_samples,
    cases={
        "a single digit": (1, 2, "cpu"),
        "five digits": (5, 10, "cpu"),
        "many digits": (1000, 3, "cpu"),
        "a decoder on another device": (4, 6, "meta"),
    },
    hints=[
        "The prior says where codes come from: independent standard normal numbers, `torch.randn`.",
        "The decoder gives logits. Which function turns them into grey values?",
    ],
)
def sample_digits(decoder, count, code_size):
    """Return `count` new digits, (count, 1, 28, 28) in [0, 1], from codes drawn from the prior N(0, 1).

    `decoder`, a module, maps codes (count, code_size) to logits (count, 1, 28, 28). Draw the codes
    anew at every call, on the device of its parameters; gradients are not needed.
    """
    device = next(decoder.parameters()).device
    with torch.no_grad():
        return torch.sigmoid(decoder(torch.randn(count, code_size, device=device)))


sample_digits.mistakes(
    {
        "These are logits, of any size and sign. A sigmoid turns them "
        "into grey values.": lambda decoder, count, code_size: decoder(torch.randn(count, code_size)),
        "The codes lie between 0 and 1, from `torch.rand` or a sigmoid. "
        "The prior is standard normal: use `torch.randn` as it is.": lambda decoder, count, code_size: (
            torch.sigmoid(decoder(torch.rand(count, code_size)))
        ),
        "All codes are 0, so all digits are the same. Draw the codes: "
        "`torch.randn`.": lambda decoder, count, code_size: torch.sigmoid(
            decoder(torch.zeros(count, code_size))
        ),
        "The codes are uniform from −1 to 1. The prior is standard "
        "normal: use `torch.randn`.": lambda decoder, count, code_size: torch.sigmoid(
            decoder(2 * torch.rand(count, code_size) - 1)
        ),
        "Clamping logits to 0 and 1 does not make them grey values. A "
        "sigmoid turns them into probabilities.": lambda decoder, count, code_size: decoder(
            torch.randn(count, code_size)
        ).clamp(0, 1),
        "The codes are drawn on the CPU, wherever the decoder is, and on a GPU that fails. Draw them with "
        "`device=next(decoder.parameters()).device`.": {", device=device": ""},
        "You freeze the decoder, and whoever trains it later will wonder why it no longer learns. "
        "`torch.no_grad()` is enough.": {
            "torch.no_grad()": "torch.no_grad() if decoder.requires_grad_(False) else None"
        },
        "The decoder is never called, so these images are only noise. Draw codes, and decode them.": {
            "decoder(torch.randn(count, code_size, device=device))": "torch.randn(count, 1, 28, 28)"
        },
        "The digits are inverted: 1 minus the sigmoid turns ink into paper. Return the sigmoid itself.": {
            "torch.sigmoid(": "1 - torch.sigmoid("
        },
        "tanh ranges from −1 to 1, grey values from 0 to 1. The sigmoid has their range.": {
            "torch.sigmoid": "torch.tanh"
        },
        "A softmax makes the pixels of a digit sum to one, as if only one could be inked. Give each pixel a "
        "sigmoid of its own.": {
            "torch.sigmoid(decoder(torch.randn(count, code_size, device=device)))": (
                "decoder(torch.randn(count, code_size, device=device)).flatten(1).softmax(dim=1)"
                ".unflatten(1, (1, 28, 28))"
            )
        },
        "The codes are (code_size, count), with the axes the wrong way round. Each row is the code of one digit: "
        "(count, code_size).": {"count, code_size, device": "code_size, count, device"},
        "A softmax over an axis of size 1 is 1 everywhere, and over another it would make pixels compete. Give each a "
        "sigmoid of its own.": {"torch.sigmoid(": "torch.softmax(dim=1, input="},
        "A softmax over this axis makes the numbers along it sum to one. Give each pixel a sigmoid of its own.": [
            {"torch.sigmoid(": f"torch.softmax(dim={axis}, input="} for axis in (0, 2, 3)
        ],
        "ReLU has no upper limit, but no grey value exceeds 1. The sigmoid has their range.": {
            "torch.sigmoid": "torch.relu"
        },
        "exp has no upper limit, but no grey value exceeds 1. The sigmoid has their range.": {
            "torch.sigmoid": "torch.exp"
        },
        "Rescaled from the smallest to the largest logit, grey depends on the other pixels. A sigmoid turns each logit "
        "into a grey value.": [
            lambda decoder, count, code_size: _rescaled(decoder(torch.randn(count, code_size))),
            lambda decoder, count, code_size: torch.stack(
                [_rescaled(one) for one in decoder(torch.randn(count, code_size))]
            ),
        ],
        "tanh moved to the range 0 to 1 is a sigmoid of twice the logit. The decoder was trained with the sigmoid "
        "itself.": lambda decoder, count, code_size: (1 + decoder(torch.randn(count, code_size)).tanh()) / 2,
        "The digits are still flat: keep the shape (count, 1, 28, 28), as the decoder returns it.": [
            {
                "return torch.sigmoid(decoder(torch.randn(count, code_size, device=device)))": (
                    "return torch.sigmoid(decoder(torch.randn(count, code_size, device=device))).flatten(1)"
                )
            },
        ],
        "The codes were normalised to one length. The prior leaves them as `torch.randn` draws them.": [
            lambda decoder, count, code_size: torch.sigmoid(
                decoder(F.normalize(torch.randn(count, code_size), dim=1))
            ),
            lambda decoder, count, code_size: torch.sigmoid(
                decoder(code_size**0.5 * F.normalize(torch.randn(count, code_size), dim=1))
            ),
        ],
        "Only one code was drawn, and one digit. Draw `count` of them: (count, code_size).": (
            lambda decoder, count, code_size: torch.sigmoid(decoder(torch.randn(1, code_size)))
        ),
        "Grey values run from 0 to 1, as the sigmoid does: no factor 255.": {
            "torch.sigmoid(": "255 * torch.sigmoid("
        },
        "This is the logarithm of the sigmoid, never above 0. Return the sigmoid itself.": {
            "torch.sigmoid": "F.logsigmoid"
        },
        "Return a tensor (count, 1, 28, 28), not a list: `torch.stack`, or all codes through the decoder at once.": (
            lambda decoder, count, code_size: list(sample_digits.reference(decoder, count, code_size))
        ),
        "The mean over the digits is left. Return each of them, (count, 1, 28, 28).": (
            lambda decoder, count, code_size: torch.sigmoid(decoder(torch.randn(count, code_size))).mean(
                dim=0
            )
        ),
        "The absolute values of the codes have one sign. The prior is standard normal: use `torch.randn` as it is.": {
            "torch.randn(count, code_size, device=device)": "torch.randn(count, code_size, device=device).abs()"
        },
        "The standard deviation of the codes is not 1. The prior is N(0, 1): use `torch.randn` as it is.": [
            {"decoder(": f"decoder({factor} * "} for factor in (0.1, 0.5, 2, 3)
        ],
        "The codes are integers. The prior is standard normal: use `torch.randn`.": lambda decoder, count, code_size: (
            torch.sigmoid(decoder(torch.randint(10, (count, code_size)).float()))
        ),
        "The channel axis is missing: keep the shape (count, 1, 28, 28), "
        "without `squeeze`.": lambda decoder, count, code_size: torch.sigmoid(
            decoder(torch.randn(count, code_size))
        ).squeeze(1),
    }
)


@sample_digits.mistake("All digits come from one and the same code. Draw one for each.")
def _(decoder, count, code_size):
    return torch.sigmoid(decoder(torch.randn(1, code_size).expand(count, code_size)))


@sample_digits.mistake("One code was decoded, and its digit repeated. Draw a code for each digit.")
def _(decoder, count, code_size):
    return torch.sigmoid(decoder(torch.randn(1, code_size))).expand(count, 1, 28, 28)


@sample_digits.mistake(
    "Every call gives the same digits: a seed is set inside, or the codes are not random. Draw them anew each time."
)
def _(decoder, count, code_size):
    torch.manual_seed(0)
    return torch.sigmoid(decoder(torch.randn(count, code_size)))


@sample_digits.mistake("You repeat one number along the code. Draw `code_size` numbers for each digit.")
def _(decoder, count, code_size):
    return torch.sigmoid(decoder(torch.randn(count, 1).expand(count, code_size)))


@sample_digits.mistake("Two sigmoids in a row leave every pixel grey, between 0.5 and 0.73. One is enough.")
def _(decoder, count, code_size):
    return torch.sigmoid(torch.sigmoid(decoder(torch.randn(count, code_size))))


@sample_digits.mistake(
    "The pixels became black or white, by a threshold or by a random draw. Return their probabilities, the "
    "sigmoid itself."
)
def _(decoder, count, code_size):
    return (torch.sigmoid(decoder(torch.randn(count, code_size))) > 0.5).float()


# Section 7: denoising -----------------------------------------------------------------------------------------


def _facts_about_noise(attempt, x, sigma):
    """What can be said about the noise whatever the random numbers were."""
    before = x.clone()
    noisy = attempt(x, sigma)
    result = {"the result": _kind(noisy)}
    if result["the result"] != _kind(before):
        return _facts_about_noise(add_noise.reference, before, sigma) | result
    noisy = noisy.detach()
    change = noisy - before
    facts = result | {"the values stay between 0 and 1": bool(((noisy >= 0) & (noisy <= 1)).all())}
    if sigma == 0:
        return facts | {"with sigma = 0 nothing changes": bool(change.abs().max() < 1e-6)}
    below, above = ((edge / sigma).erfc().mean() / 2 for edge in (before / 2**0.5, (1 - before) / 2**0.5))
    again = attempt(before.clone(), sigma)
    facts |= {
        "the images are still there": bool(change.mean().abs() < 3 * sigma),
        "each image has its own noise": len(x) == 1 or bool((change - change[:1]).abs().max() > 1e-6),
        "each pixel of a column has its own noise": bool((change - change[..., :1, :]).abs().max() > 1e-6),
        "each pixel of a row has its own noise": bool((change - change[..., :1]).abs().max() > 1e-6),
        "a second call draws different noise": bool((again - noisy).abs().max() > 1e-6),
    }
    drawn_for_each = all(facts.values())
    return (
        facts
        | _facts_about_its_width(attempt, before, min(sigma, 0.1), drawn_for_each)
        | {
            "what falls below 0 becomes 0": bool(((noisy == 0).double().mean() - below).abs() < 0.025),
            "what rises above 1 becomes 1": bool(((noisy == 1).double().mean() - above).abs() < 0.025),
            "most pixels are changed": bool((change != 0).double().mean() > 0.3),
        }
    )


def _facts_about_its_width(attempt, x, sigma, drawn_for_each):
    """What can be said of the noise on grey images, where next to nothing is clipped."""
    noise = attempt(torch.full_like(x, 0.4), sigma).detach() - 0.4
    within = float(((noise - noise.mean()).abs() < noise.std(correction=0)).double().mean())
    return {
        "every pixel of a grey image is changed": bool((noise != 0).double().mean() > 0.9),
        "no pixel reaches 0 or 1 with so little noise": sigma > 0.06 or bool((noise.abs() < 0.4).all()),
        "the standard deviation of the noise": _in_sigmas(float(noise.std(correction=0) / sigma))
        if drawn_for_each
        else "sigma",
        "the mean of the noise is 0": bool(noise.mean().abs() < 0.05 * sigma),
        "the noise is Gaussian: 68 % of it within one standard deviation": bool(0.655 < within < 0.715),
    }


def _in_sigmas(spread):
    """What a standard deviation is, in words, given in units of sigma."""
    return "sigma" if 0.95 < spread < 1.05 else f"about {spread:.{1 if spread < 1 else 2}g} sigma"


@lesson.exercise(
    observe=_facts_about_noise,
    cases={
        "grey images": (torch.full((26, 1, 20, 20), 0.5), 0.1),
        "float64 images": (torch.full((15, 1, 28, 28), 0.5, dtype=torch.float64), 0.05),
        "black and white images": ((_pictures(12, 28, 28, seed=5) > 0.8).float(), 0.3),
        "strong noise on dark images": (torch.full((30, 1, 20, 18), 0.25), 0.5),
        "sigma = 0": (_pictures(3, 4, 4, seed=6), 0.0),
        "one wide image": (torch.full((1, 1, 90, 120), 0.5), 0.1),
    },
    hints=[
        "`torch.randn_like(x)` gives standard normal numbers with the shape, dtype and device of x. How do "
        "they get the standard deviation sigma?",
        "Grey values outside 0 to 1 do not exist: `.clamp(0, 1)` at the end.",
    ],
)
def add_noise(x, sigma):
    """Return the images x with Gaussian noise of standard deviation sigma on every pixel.

    x (N, 1, H, W) lies between 0 and 1, and so does the result: values outside the range are
    clipped to it. x itself stays as it was.
    """
    return (x + sigma * torch.randn_like(x)).clamp(0, 1)


add_noise.mistakes(
    {
        "Some values have left the range of grey values, 0 to 1: end with `.clamp(0, 1)`.": lambda x, sigma: (
            x + sigma * torch.randn_like(x)
        ),
        "`torch.rand` gives numbers from 0 to 1, which only add ink. Gaussian noise comes from "
        "`torch.randn_like`.": {"randn_like": "rand_like"},
        "This noise is uniform, not Gaussian: as likely far from 0 as near it. Gaussian noise comes from "
        "`torch.randn_like`.": [
            {"torch.randn_like(x)": f"{factor} * (torch.rand_like(x) - 0.5)"} for factor in ("12**0.5", 1, 2)
        ],
        "All images got the same noise. Draw in the shape of the whole batch, `x.shape`.": {
            ".randn_like(x)": ".randn(x.shape[1:], dtype=x.dtype)"
        },
        "One number per image makes it lighter or darker. Draw a number for every pixel.": {
            ".randn_like(x)": ".randn(len(x), 1, 1, 1, dtype=x.dtype)"
        },
        "One random number was added to all pixels of all images. Draw one for each pixel.": {
            ".randn_like(x)": ".randn((), dtype=x.dtype)"
        },
        "All pixels of a column got the same number. Draw one for every pixel: `randn_like(x)`.": {
            ".randn_like(x)": ".randn(len(x), 1, 1, x.shape[-1], dtype=x.dtype)"
        },
        "All pixels of a row got the same number. Draw one for every pixel: `randn_like(x)`.": {
            ".randn_like(x)": ".randn(len(x), 1, x.shape[2], 1, dtype=x.dtype)"
        },
        "The noise was multiplied by the variance, sigma². Its standard deviation is sigma.": {
            "sigma *": "sigma**2 *"
        },
        "The noise was multiplied by the root of sigma. sigma is the standard deviation already.": {
            "sigma *": "sigma**0.5 *"
        },
        "Noise in proportion to the ink leaves the paper clean. Add it, whatever the pixel holds.": {
            "+ sigma * torch.randn_like(x)": "* (1 + sigma * torch.randn_like(x))"
        },
        "This noise has standard deviation 1, whatever sigma is: multiply it by sigma.": [
            {" sigma *": ""},
            {"sigma * torch.randn_like(x)": "(sigma + torch.randn_like(x))"},
        ],
        "The noise was divided by sigma. Multiply: a larger sigma is more noise.": {
            "sigma * torch.randn_like(x)": "torch.randn_like(x) / (sigma or 1e-30)"
        },
        "Only one end of the range 0 to 1 is kept. `.clamp(0, 1)` clips at both.": [
            {".clamp(0, 1)": ".clamp(min=0)"},
            {".clamp(0, 1)": ".clamp(max=1)"},
        ],
        "The images range from 0 to 1, so clip to that range: `.clamp(0, 1)`.": {
            ".clamp(0, 1)": ".clamp(-0.5, 0.5)"
        },
        "tanh moves all pixels, even without noise. Leave the values inside the range as they are, and clip the "
        "others: `.clamp(0, 1)`.": {".clamp(0, 1)": ".tanh()"},
        "The channel axis is missing: the images are (N, 1, H, W), and so is the result, without `squeeze`.": {
            ".clamp(0, 1)": ".clamp(0, 1).squeeze(1)"
        },
        "The result is flat. Leave the images in their shape, (N, 1, H, W): the sum needs no `flatten`.": {
            ".clamp(0, 1)": ".clamp(0, 1).flatten(1)"
        },
        "The noise is rounded to whole numbers. Gaussian noise is a number with decimals: `torch.randn_like`.": {
            "sigma * torch.randn_like(x)": "(sigma * torch.randn_like(x)).round()"
        },
        "The pixels became black or white. Leave the grey values as they are, and clip what is out of range.": [
            {".clamp(0, 1)": ".clamp(0, 1).round()"},
            {
                "(x + sigma * torch.randn_like(x)).clamp(0, 1)": "(x + sigma * torch.randn_like(x) > 0.5).to(x.dtype)"
            },
        ],
        "You return only the noise. Add it to the images.": [
            {"x + ": ""},
            lambda x, sigma: sigma * torch.randn_like(x),
        ],
        "You clamp the noise before adding it, so it only adds ink. Add it first, then clamp the sum.": [
            {"sigma * torch.randn_like(x)": "(sigma * torch.randn_like(x)).clamp(0, 1)"},
            lambda x, sigma: x + (sigma * torch.randn_like(x)).clamp(0, 1),
        ],
        "A value outside the range becomes the nearest end of it: 0 if it is below 0, 1 if it is above "
        "1. `.clamp(0, 1)` does both.": [{".clamp(0, 1)": " % 1"}, {".clamp": ".abs().clamp"}],
        "Rescaled from the smallest to the largest value, all pixels change, and so does the noise. Leave the "
        "values inside the range as they are, and clip the others: `.clamp(0, 1)`.": [
            lambda x, sigma: _rescaled(x + sigma * torch.randn_like(x)),
            lambda x, sigma: torch.stack([_rescaled(one + sigma * torch.randn_like(one)) for one in x]),
        ],
        "A sigmoid moves all pixels, even without noise. Leave the values inside the range as they are, and clip "
        "the others: `.clamp(0, 1)`.": lambda x, sigma: (x + sigma * torch.randn_like(x)).sigmoid(),
        "A weighted mean of image and noise makes the image fainter. Add the noise to the image as it is.": {
            "(x +": "((1 - sigma) * x +"
        },
        "The absolute value of the noise only adds ink. Gaussian noise has both signs.": {
            "randn_like(x)": "randn_like(x).abs()"
        },
        "Noise on inked pixels only leaves the paper clean. Add it to every pixel.": {
            "torch.randn_like(x)": "torch.randn_like(x) * (x > 0)"
        },
    }
)


def _spoiler(
    noise=torch.randn_like, width=lambda sigma: sigma, add=Tensor.add, end=lambda noisy: noisy.clamp(0, 1)
):
    return lambda x, sigma: end(add(x, width(sigma) * noise(x)))


_ENDLESS = {"The clamp to 0 and 1 is missing.": {"end": lambda noisy: noisy}}
_DRAWS = {
    "`rand` is uniform from 0 to 1: use `randn_like`.": {"noise": torch.rand_like},
    "The noise is uniform: use `randn_like`.": {"noise": lambda x: 2 * torch.rand_like(x) - 1},
    "All images got the same noise: draw it in the shape of x.": {
        "noise": lambda x: torch.randn(x.shape[1:], dtype=x.dtype)
    },
}
_NOISE_WIDTHS = {
    "The noise is multiplied by sigma², not sigma.": {"width": lambda sigma: sigma**2},
    "The noise is not multiplied by sigma.": {"width": lambda sigma: 1},
    "The noise is multiplied by √sigma, not sigma.": {"width": lambda sigma: sigma**0.5},
}
add_noise.pairs_of_slips(_spoiler, _ENDLESS, _DRAWS | _NOISE_WIDTHS)
add_noise.pairs_of_slips(_spoiler, _DRAWS, _NOISE_WIDTHS)
add_noise.pairs_of_slips(
    _spoiler, _ENDLESS, {"The noise multiplies the images: add it.": {"add": Tensor.mul}}
)


def _rescaled(noisy):
    return (noisy - noisy.min()) / (noisy.max() - noisy.min())


@add_noise.remark(
    "A remark: the noise is always drawn on the CPU, so this fails for images on a GPU. `torch.randn_like(x)` "
    "draws where x is."
)
def _(add_noise):
    return _stays_on_the_cpu(add_noise, torch.full((2, 1, 3, 3), 0.5), 0.1)


_ENDS = (
    "A value outside the range becomes the nearest end of it: 0 if it is below 0, 1 if it is above 1. "
    "`.clamp(0, 1)` does both."
)


@add_noise.mistake(_ENDS)
def _(x, sigma):
    noisy = x + sigma * torch.randn_like(x)
    return torch.where((noisy < 0) | (noisy > 1), x, noisy)


@add_noise.mistake(
    "Every call gives the same noise: the seed is set inside, or it was drawn only once, outside. The "
    "network would memorize it. Draw anew at every call."
)
def _(x, sigma):
    torch.manual_seed(0)
    return (x + sigma * torch.randn_like(x)).clamp(0, 1)


# Section 8: finding what does not belong ----------------------------------------------------------------------


hardest_digit = lesson.prediction(
    "hardest_digit",
    Question(
        1,
        "It has the least ink, and where there is little ink, even a poor reconstruction makes a small squared error. "
        "Divided by the ink, the score does find it.",
        {
            0: "A ring of that size occurs in no other digit. It is among the easier ones.",
            8: "It has a lot of ink and two loops. Which digit is easy to draw for anyone who can draw the "
            "others?",
            4: "It resembles the 9, which helps it to hide. One digit hides better: think of the ink.",
            9: "It hides behind 4 and 7. One digit hides better still: think of the ink.",
            7: "A good guess, it is a 9 without its loop. One digit has even less that the others lack.",
            2: "It has a curve and a foot like no other digit, and is found easily.",
        },
    ),
    hints=[
        "The score is the squared error, summed over the pixels. Which digit has the fewest inked pixels?",
        "Which digit is contained in many of the others?",
    ],
)


class _Half(nn.Module):
    """A model that gives back half of its input; in train mode, nothing."""

    def forward(self, x):
        return 0 * x if self.training else x / 2

    def __repr__(self):
        return "a model that gives back x / 2 in eval mode, and 0 in train mode"


class _Shift(_Half):
    """A model that adds 1.5 to every second number, and takes 1.5 from the others; in train mode, nothing."""

    def forward(self, x):
        signs = 1.5 - 3 * (torch.arange(x[0].numel()) % 2).view_as(x[0])
        return x if self.training else x + signs.to(x.dtype)

    def __repr__(self):
        return "a model that gives back x + 1.5, x − 1.5, x + 1.5, … in eval mode, and x in train mode"


class _Normalized(nn.Module):
    """A model with batch normalization: parameters, and statistics that train mode changes."""

    def __init__(self, size):
        super().__init__()
        self.norm = nn.BatchNorm1d(size)
        self.norm.running_mean += 0.5

    def forward(self, x):
        return self.norm(x)

    def __repr__(self):
        return "a model with batch normalization"


class _Convolution(nn.Module):
    """A model of one convolution, which takes images only."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        with torch.no_grad():
            self.layer.weight.copy_(normal(1, 1, 3, 3, seed=8) / 3)
            self.layer.bias.fill_(0.1)

    def forward(self, x):
        return 0 * x if self.training else self.layer(x)

    def __repr__(self):
        return "a model of one convolution, which gives 0 in train mode"


def _scores_and_model(anomaly_scores, model, x):
    """The scores; of a model that can be trained also whether it can go on learning as it could before."""
    before = copy.deepcopy(model.state_dict())
    scores = anomaly_scores(model, x)
    if not before:
        return scores
    return {
        "the scores": scores,
        "the weights and running statistics of the model stay": all(
            torch.equal(before[name], now) for name, now in model.state_dict().items()
        ),
        "the parameters of the model can still be trained": all(
            one.requires_grad for one in model.parameters()
        ),
    }


@lesson.exercise(
    observe=_scores_and_model,
    cases={
        "two jets of three numbers": (_Half(), torch.tensor([[2.0, 4.0, 6.0], [0.0, 2.0, -2.0]])),
        "jets of 15 numbers": (_Half(), normal(5, 15)),
        "errors of both signs": (_Shift(), normal(3, 5, seed=1)),
        "images": (_Half(), normal(4, 1, 3, 5, seed=2)),
        "float64 images": (_Half(), normal(3, 1, 4, 2, seed=3, dtype=torch.float64)),
        "a batch of one": (_Half(), normal(1, 1, 3, 5, seed=4)),
        "a model already in eval mode": (_Half().eval(), normal(5, 3, seed=5)),
        "a model with batch normalization": (_Normalized(4), normal(6, 4, seed=6)),
        "a convolution": (_Convolution(), normal(3, 1, 4, 4, seed=9)),
    },
    hints=[
        "`(model(x) - x).square()` has the shape of x. Which axes have to disappear, and which has to stay?",
        "`.flatten(1)` turns any shape into (N, numbers), and `.sum(dim=1)` adds up within each example.",
        "Before that, `model.eval()`, and compute in `torch.no_grad()`.",
    ],
)
def anomaly_scores(model, x):
    """Return a score for each example, (N,): the squared error of its reconstruction, summed over its numbers.

    `model` maps examples x, of shape (N, D) or (N, 1, H, W), to reconstructions of the same shape.
    Put it into eval mode first.
    """
    model.eval()
    with torch.no_grad():
        return (model(x) - x).square().flatten(1).sum(dim=1)


@anomaly_scores.remark(
    "A remark: these scores carry gradients, which histograms and scikit-learn cannot take. Compute them under `with "
    "torch.no_grad():`."
)
def _(attempt):
    return attempt(nn.Linear(3, 3), torch.ones(2, 3)).requires_grad


def _score(
    error=lambda y, x: (y - x).square(),
    total=lambda errors: errors.flatten(1).sum(dim=1),
    mode=nn.Module.eval,
):
    return lambda model, x: total(error(mode(model)(x), x))


anomaly_scores.mistakes(
    {
        "You return one number for the whole batch: that is a loss. Each example needs a "
        "score of its own, so keep the first axis.": lambda model, x: F.mse_loss(model.eval()(x), x),
        "The mean at the end turns the batch into one number, a loss. Leave it out: each "
        "example needs a score of its own.": lambda model, x: (
            (model.eval()(x) - x).square().flatten(1).sum(dim=1).mean()
        ),
        "This works only for images. Jets are (N, D): `.flatten(1)` turns both into (N, "
        "numbers), then `.sum(dim=1)`.": [
            {".flatten(1).sum(dim=1)": f".sum(dim={axes})"}
            for axes in ("(1, 2, 3)", "(2, 3)", "(-1, -2, -3)")
        ],
        "The model gets flat images, but a convolution needs them as they are. Hand it x, and flatten the squared "
        "errors afterwards.": lambda model, x: (
            (model.eval()(x.flatten(1)) - x.flatten(1)).square().sum(dim=1)
        ),
        "The errors are not summed yet: this is a number for each pixel. Each example needs one score.": [
            {".flatten(1).sum(dim=1)": ""},
            {".sum(dim=1)": ""},
        ],
        "The score is divided by the squared length of the example itself. Return the error as it is.": {
            ".sum(dim=1)": ".sum(dim=1) / x.square().flatten(1).sum(dim=1)"
        },
        "The scores are divided by the largest of the batch, so they depend on who else is in it. Return the errors "
        "as they are.": lambda model, x: (s := anomaly_scores.reference(model, x)) / s.max(),
        "The scores are standardized over the batch, so they depend on who else is in it. Return the errors as they "
        "are.": [
            lambda model, x: ((s := anomaly_scores.reference(model, x)) - s.mean()) / s.std(),
            lambda model, x: ((s := anomaly_scores.reference(model, x)) - s.min()) / (s.max() - s.min()),
            lambda model, x: (s := anomaly_scores.reference(model, x)) / s.sum(),
        ],
        "Each score is divided by the number of examples. Nothing is averaged here: sum the squared errors of the "
        "example.": {".sum(dim=1)": ".sum(dim=1) / len(x)"},
        "You subtract the squares: model(x)² − x². The error is the square of the difference.": {
            "(model(x) - x).square()": "(model(x).square() - x.square())"
        },
        "The score has a minus sign, so that the worst reconstruction has the lowest. Return the error itself.": {
            "(model(x)": "-(model(x)"
        },
        "This is the cross-entropy. The score is the squared error, for images and jets alike.": [
            _score(lambda y, x: F.binary_cross_entropy(y.sigmoid(), x.sigmoid(), reduction="none")),
            _score(lambda y, x: F.binary_cross_entropy(y, x, reduction="none")),
            _score(lambda y, x: F.binary_cross_entropy_with_logits(y, x, reduction="none")),
        ],
        "This is a column, (N, 1). Leave `keepdim` out, so that the scores have the shape "
        "(N,).": lambda model, x: (model.eval()(x) - x).square().flatten(1).sum(dim=1, keepdim=True),
        "This is the sum over the whole batch. Each example needs a score of its own, so "
        "keep the first axis.": lambda model, x: (model.eval()(x) - x).square().sum(),
        "Summed over the examples (`dim=0`), this is a number for each pixel. Sum over the"
        " numbers of an example.": lambda model, x: (model.eval()(x) - x).square().sum(dim=0),
        "This is the mean over the numbers of an example. Return their sum, the error used"
        " in the rest of the lesson.": lambda model, x: (model.eval()(x) - x).square().flatten(1).mean(dim=1),
        "Errors of both signs cancel in the sum. Square them first.": lambda model, x: (
            (model.eval()(x) - x).flatten(1).sum(dim=1)
        ),
        "These are absolute errors. Use squared errors.": lambda model, x: (
            (model.eval()(x) - x).abs().flatten(1).sum(dim=1)
        ),
        "Leave out the root: this is the distance, and the exercise asks for its square.": lambda model, x: (
            (model.eval()(x) - x).flatten(1).norm(dim=1)
        ),
        "You squared the sum. Square each error first, then add them up.": lambda model, x: (
            (model.eval()(x) - x).flatten(1).sum(dim=1).square()
        ),
        "The model was in train mode, where dropout and the like disturb it: call `model.eval()` first.": [
            lambda model, x: (model.train()(x) - x).square().flatten(1).sum(dim=1),
            {"model.eval()": "pass"},
        ],
        "The model runs in train mode before `model.eval()`, and batch normalization takes new statistics from your "
        "examples. Call `model.eval()` first.": lambda model, x: (
            model(x),
            (model.eval()(x) - x).square().flatten(1).sum(dim=1),
        )[1],
        "You freeze the parameters, and whoever trains this model later will wonder why it no longer learns. "
        "`torch.no_grad()` around the computation is enough.": {
            "model.eval()": "model.eval().requires_grad_(False)"
        },
        "The factor ½ does not belong here: the score is the sum of the squared errors.": {
            ".sum(dim=1)": ".sum(dim=1) / 2"
        },
        "This is the root of the mean. Leave out both: the score is the sum of the squared errors.": {
            ".sum(dim=1)": ".mean(dim=1).sqrt()"
        },
        "You take the largest squared error of an example. Its score is the sum of all of them.": {
            ".sum(": ".amax("
        },
        "You square the reconstruction itself. The error is its difference from x: `(model(x) - x).square()`.": {
            " - x": ""
        },
        "You sum over only one axis, but images have three besides the first: "
        "`.flatten(1)` before the sum.": lambda model, x: (model.eval()(x) - x).square().sum(dim=1),
        "The last axis is only a part of an image: `.flatten(1)` before the sum.": lambda model, x: (
            (model.eval()(x) - x).square().sum(dim=-1)
        ),
    }
)


_TRAINING = {"`model.eval()` is missing.": {"mode": lambda model: model}}
_TOTALS = {
    "This is the mean over the numbers, not their sum.": {
        "total": lambda errors: errors.flatten(1).mean(dim=1)
    },
    "One number came out for the whole batch.": {"total": Tensor.sum},
    "One mean came out for the whole batch.": {"total": Tensor.mean},
    "You sum over the examples, `dim=0`.": {"total": lambda errors: errors.sum(dim=0)},
    "Images have three axes to sum over: `.flatten(1)` first.": {"total": lambda errors: errors.sum(dim=1)},
    "The root is one too many.": {"total": lambda errors: errors.flatten(1).sum(dim=1).sqrt()},
}
_ERRORS = {
    "The errors are absolute, not squared.": {"error": lambda y, x: (y - x).abs()},
    "The errors are not squared, and cancel.": {"error": lambda y, x: y - x},
    "The reconstruction is squared, without subtracting x.": {"error": lambda y, x: y.square()},
}
anomaly_scores.pairs_of_slips(_score, _TRAINING, _TOTALS | dict([*_ERRORS.items()][:2]))
anomaly_scores.pairs_of_slips(_score, _ERRORS, dict(list(_TOTALS.items())[:5]))


@lesson.exercise(
    cases={
        "five different scores": (torch.tensor([0.0, 1.0, 3.0, 2.0, 4.0]), torch.tensor([0, 0, 0, 1, 1])),
        "all scores equal": (torch.tensor([0.5, 0.5, 0.5]), torch.tensor([1, 0, 0])),
        "one tie": (torch.tensor([1.0, 2.0, 2.0, 0.0, 5.0]), torch.tensor([0, 1, 0, 1, 0])),
        "unsorted scores": (torch.tensor([3.0, 1.0, 2.0, 0.0, 2.5]), torch.tensor([0, 1, 0, 0, 1])),
        "a single anomaly": (torch.tensor([0.3, -0.2, 0.7, 0.1, 0.9]), torch.tensor([0, 0, 1, 0, 0])),
        "a single ordinary example": (torch.tensor([0.4, 0.1, 0.8, 0.6]), torch.tensor([0, 1, 1, 1])),
        "many ties": (normal(16).round(), (torch.arange(16) % 3 == 0).long()),  # 16: every sort is stable
        "float64 scores": (normal(61, seed=1, dtype=torch.float64), (torch.arange(61) % 3 == 0).long()),
        "anomalies far above the others": (
            torch.cat([normal(30, seed=2), normal(11, seed=3) + 4]),
            (torch.arange(41) >= 30).long(),
        ),
    },
    hints=[
        "Compare every anomaly with every ordinary example. How often does the anomaly score higher?",
        "A tie counts half: add the fraction of pairs with > to half the fraction of pairs with ==.",
        "`anomalies.unsqueeze(1) > ordinary` compares all pairs at once; its mean is a fraction.",
    ],
)
def roc_auc(scores, labels):
    """Return the area under the ROC curve: the chance that an anomaly scores higher than an ordinary example.

    `labels` (N,) are 1 for anomalies and 0 for ordinary examples; both occur. `scores` (N,) may
    be in any order. A pair with equal scores counts one half.
    """
    ordinary = scores[labels == 0].sort().values
    anomalies = scores[labels == 1]
    lower = torch.searchsorted(ordinary, anomalies)  # how many ordinary ones score less than each anomaly
    not_higher = torch.searchsorted(ordinary, anomalies, right=True)  # less, or the same
    return (lower + not_higher).sum().item() / (2 * len(anomalies) * len(ordinary))


def _pairs_of(scores, labels):
    return scores[labels == 1].unsqueeze(1) - scores[labels == 0]


def _chance(anomalies, ordinary, tied=0.5, won=1.0):
    pairs = anomalies.unsqueeze(1) - ordinary
    return (won * (pairs > 0).double() + tied * (pairs == 0).double()).mean()


def _side_by_side(scores, labels, tied):
    anomalies, ordinary = scores[labels == 1], scores[labels == 0]
    few = min(len(anomalies), len(ordinary))
    pairs = anomalies[:few] - ordinary[:few]
    return ((pairs > 0).double() + tied * (pairs == 0).double()).mean()


def _of_the_library(name, order=lambda labels, scores: (labels, scores)):
    def attempt(scores, labels):
        from sklearn import metrics  # takes a second, and only a wrong answer needs it

        return getattr(metrics, name)(*order(labels, scores))

    return attempt


def _auc(tied=0.5, turned=False, by=lambda a, o: a * o):
    """The AUC by pairs: `tied` is what a tie counts, `by(anomalies, ordinary)` the number of pairs."""

    def attempt(scores, labels):
        pairs = _pairs_of(scores, labels) * (-1 if turned else 1)
        won = (pairs > 0).sum().double() + tied * (pairs == 0).sum()
        return won / by(*pairs.shape)

    return attempt


def _ranks(scores):
    return scores.argsort().argsort().double() + 1


def _mean_ranks(scores):
    """The ranks from 1, ties sharing the mean of theirs."""
    below = (scores.unsqueeze(1) > scores).sum(dim=1)
    return below + ((scores.unsqueeze(1) == scores).sum(dim=1) + 1) / 2


roc_auc.mistakes(
    {
        "Ties count as lost here. A pair with equal scores counts one half.": lambda scores, labels: (
            (_pairs_of(scores, labels) > 0).double().mean()
        ),
        "Ties count as won here. A pair with equal scores counts one half.": lambda scores, labels: (
            (_pairs_of(scores, labels) >= 0).double().mean()
        ),
        "This is upside down: it is the probability that the ordinary example scores"
        " higher, 1 − AUC.": lambda scores, labels: 1 - roc_auc.reference(scores, labels),
        "This is the accuracy at one threshold. The AUC looks at all thresholds: compare pairs instead.": [
            lambda scores, labels: ((scores > scores.median()) == (labels == 1)).double().mean(),
            lambda scores, labels: ((scores > scores.mean()) == (labels == 1)).double().mean(),
            lambda scores, labels: ((scores > 0.5) == (labels == 1)).double().mean(),
            lambda scores, labels: ((scores > 0) == (labels == 1)).double().mean(),
        ],
        "Only the sign of the difference between the scores counts, not its size: "
        "how often is it positive?": lambda scores, labels: _pairs_of(scores, labels).mean(),
        "This compares the two lists entry by entry. Every anomaly has to meet every"
        " ordinary example: `unsqueeze(1)`.": lambda scores, labels: (
            (scores[labels == 1] > scores[labels == 0]).double().mean()
        ),
        "This compares the two lists entry by entry, as far as the shorter goes. Every anomaly has to meet every "
        "ordinary example: `unsqueeze(1)`.": [
            lambda scores, labels: _side_by_side(scores, labels, tied=0.0),
            lambda scores, labels: _side_by_side(scores, labels, tied=0.5),
        ],
        "`scores[labels]` takes the labels for indices, and picks the scores 0 and 1 again and again. Compare first: "
        "`scores[labels == 1]`.": [
            *(
                lambda scores, labels, no=no, tied=tied: _chance(scores[labels], no(scores, labels), tied)
                for no in (
                    lambda scores, labels: scores[1 - labels],
                    lambda scores, labels: scores[~labels],
                    lambda scores, labels: scores[labels == 0],
                )
                for tied in (0.0, 0.5)
            )
        ],
        "Weights exchanged: a pair that is won counts one, a tie one half.": lambda scores, labels: (
            (_pairs_of(scores, labels) == 0).double() + (_pairs_of(scores, labels) > 0).double() / 2
        ).mean(),
        "Every example is compared with every other here, whatever its label. Compare anomalies with ordinary examples "
        "only.": lambda scores, labels: _chance(scores, scores, 0.0),
        "You let a soft step count, a sigmoid of the difference. Only its sign counts: won, tied or lost.": (
            lambda scores, labels: _pairs_of(scores, labels).sigmoid().mean()
        ),
        "`roc_auc_score` takes the labels first, then the scores.": _of_the_library(
            "roc_auc_score", lambda labels, scores: (scores, labels)
        ),
        "This is 2 · AUC − 1, which runs from −1 to 1 (the Gini coefficient). Return the AUC itself, from 0 to "
        "1.": lambda scores, labels: _pairs_of(scores, labels).sign().double().mean(),
        "You turn every AUC below 0.5 round. A score that ranks anomalies below ordinary examples has an AUC "
        "below 0.5, and should show it.": lambda scores, labels: max(
            roc_auc.reference(scores, labels), 1 - roc_auc.reference(scores, labels)
        ),
        "You compare each anomaly with one number, the mean, median or maximum of the ordinary scores. Compare it with "
        "every single one of them.": [
            lambda scores, labels: (scores[labels == 1] > scores[labels == 0].mean()).double().mean(),
            lambda scores, labels: (scores[labels == 1] > scores[labels == 0].median()).double().mean(),
            lambda scores, labels: (scores[labels == 1] > scores[labels == 0].max()).double().mean(),
        ],
    }
)


def _under_the_steps(in_order):
    return torch.trapezoid(*(one.cumsum(dim=0) / one.sum() for one in (in_order, 1 - in_order)))


@roc_auc.mistake(
    "Your curve runs from the lowest score to the highest, so this is 1 − AUC. Sort in descending order: "
    "`argsort(descending=True)`."
)
def _(scores, labels):
    return _under_the_steps(labels[scores.argsort(stable=True)].double())


_ONE_BY_ONE = (
    "Equal scores are taken one after the other, so their order in the list decides. In a curve they make one step, up "
    "and to the right at once; as ranks they share their mean."
)
_ONE_MORE = "Your ranks begin at 0, but n(n + 1)/2 belongs to ranks that begin at 1. Add 1 to the ranks."


def _by_ranks(ranks, minus=lambda n: n * (n + 1) / 2, by=lambda a, o: a * o):
    """The AUC by the sum of the ranks of the anomalies; `minus(n)` is what they have among themselves."""

    def attempt(scores, labels):
        of_anomalies = ranks(scores)[labels == 1]
        n = len(of_anomalies)
        return (of_anomalies.sum() - minus(n)) / by(n, len(scores) - n)

    return attempt


roc_auc.mistakes(
    {
        _ONE_BY_ONE: [
            lambda scores, labels: _under_the_steps(
                labels[scores.argsort(descending=True, stable=True)].double()
            ),
            lambda scores, labels: _under_the_steps(labels[scores.argsort(stable=True).flip(0)].double()),
        ],
        _ONE_MORE: [
            _by_ranks(lambda scores: _mean_ranks(scores) - 1),
            _by_ranks(lambda scores: _ranks(scores) - 1),
        ],
        "n(n − 1)/2 belongs to ranks that begin at 0. With ranks from 1 subtract n(n + 1)/2.": [
            _by_ranks(_mean_ranks, lambda n: n * (n - 1) / 2),
            _by_ranks(_ranks, lambda n: n * (n - 1) / 2),
        ],
        "This is the mean rank of the anomalies among all scores. Count only the ordinary ones below each anomaly.": [
            lambda scores, labels: (_mean_ranks(scores)[labels == 1] / len(scores)).mean(),
            lambda scores, labels: (_ranks(scores)[labels == 1] / len(scores)).mean(),
            lambda scores, labels: _chance(scores[labels == 1], scores, 0.5),
            lambda scores, labels: ((_ranks(scores) - 1)[labels == 1] / len(scores)).mean(),
        ],
    }
)


@roc_auc.mistake(
    "Divide by the number of pairs, anomalies times ordinary examples, not by the square of all examples."
)
def _(scores, labels):
    pairs = _pairs_of(scores, labels)
    return ((pairs > 0).double() + (pairs == 0).double() / 2).sum() / len(scores) ** 2


@roc_auc.mistake(
    "This counts the pairs. Divide by their number, anomalies times ordinary examples, to get a fraction "
    "from 0 to 1."
)
def _(scores, labels):
    pairs = _pairs_of(scores, labels)
    return ((pairs > 0).double() + (pairs == 0).double() / 2).sum()


@roc_auc.mistake(
    "The ranks of the anomalies among themselves are still included: subtract n(n + 1)/2 from the sum of "
    "their ranks."
)
def _(scores, labels):
    anomalies, ordinary = (labels == 1).sum(), (labels == 0).sum()
    return _ranks(scores)[labels == 1].sum() / (anomalies * ordinary)


@roc_auc.mistake(
    "The ranks of the anomalies among themselves are still included: subtract n(n + 1)/2 from the sum of "
    "their ranks."
)
def _(scores, labels):
    return _by_ranks(_mean_ranks, lambda n: 0)(scores, labels)


_TIES = {
    "Ties count as lost: they count one half.": {"tied": 0.0},
    "Ties count as won: they count one half.": {"tied": 1.0},
}
_TURNED = {"It is turned round: count how often the anomaly scores higher.": {"turned": True}}
_NUMBERS_OF_PAIRS = {
    "You divide by the anomalies squared, not by anomalies times ordinary examples.": {
        "by": lambda a, o: a * a
    },
    "You divide by the ordinary ones squared, not by anomalies times ordinary examples.": {
        "by": lambda a, o: o * o
    },
    "You divide by the anomalies only, not by anomalies times ordinary examples.": {"by": lambda a, o: a},
    "You divide by the ordinary ones only, not by anomalies times ordinary examples.": {"by": lambda a, o: o},
    "You divide by N(N − 1)/2, the pairs of all examples. Divide by anomalies times ordinary examples.": {
        "by": lambda a, o: (a + o) * (a + o - 1) / 2
    },
    "You divide by the number of all examples, not by anomalies times ordinary examples.": {
        "by": lambda a, o: a + o
    },
}
roc_auc.slips(_auc, _NUMBERS_OF_PAIRS)
roc_auc.pairs_of_slips(
    _auc,
    _TIES,
    _TURNED | _NUMBERS_OF_PAIRS | {"The number of pairs is not divided by.": {"by": lambda a, o: 1}},
)


def _sum_of_ranks(ordinary, anomalies):
    """How many of `ordinary` lie below each anomaly, from the left and from the right, all added up."""
    sides = (torch.searchsorted(ordinary, anomalies, right=right) for right in (False, True))
    return sum(sides).sum().item()


def _two_lists(scores, labels):
    """The ordinary scores, sorted, and those of the anomalies."""
    return scores[labels == 0].sort().values, scores[labels == 1]


@roc_auc.mistake(
    "`searchsorted` needs its first argument sorted in ascending order: `ordinary.sort().values`."
)
def _(scores, labels):
    ordinary, anomalies = scores[labels == 0], scores[labels == 1]
    return _sum_of_ranks(ordinary, anomalies) / (2 * len(anomalies) * len(ordinary))


@roc_auc.mistake("Counting from the left and from the right counts every pair twice: divide by 2.")
def _(scores, labels):
    ordinary, anomalies = _two_lists(scores, labels)
    return _sum_of_ranks(ordinary, anomalies) / (len(anomalies) * len(ordinary))


@roc_auc.mistake(
    "You take the mean over the anomalies, as you should. Also divide by the number of ordinary examples, "
    "not of all examples."
)
def _(scores, labels):
    ordinary, anomalies = _two_lists(scores, labels)
    return _sum_of_ranks(ordinary, anomalies) / (2 * len(anomalies) * len(scores))


@roc_auc.mistake("These are ranks among all scores. Count only the ordinary ones below each anomaly.")
def _(scores, labels):
    ordinary, anomalies = _two_lists(scores, labels)
    return _sum_of_ranks(scores.sort().values, anomalies) / (2 * len(anomalies) * len(ordinary))


@roc_auc.mistake("A tie counts one half, and `//` drops it: divide by 2 with `/`.")
def _(scores, labels):
    pairs = _pairs_of(scores, labels)
    return ((pairs > 0).sum() + (pairs == 0).sum() // 2) / pairs.numel()


# Section 12: how much the bound misses ------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "two draws of one example": (torch.tensor([[0.0], [1.0986123]]),),  # weights 1 and 3
        "one draw": (normal(1, 4, seed=80),),
        "three draws of two examples": (2 * normal(3, 2, seed=81),),
        "as many draws as examples": (3 * normal(4, 4, seed=82),),
        "float64 numbers": (normal(6, 3, seed=83, dtype=torch.float64) - 20,),
        "weights of images": (5 * normal(50, 3, seed=84) - 120,),
        "weights beyond float64": (4 * normal(7, 2, seed=85, dtype=torch.float64) - 900,),
        "large weights": (normal(5, 3, seed=86) + 95,),
        "two examples far apart": (torch.tensor([[-100.0, -300.0], [-101.0, -302.0]]),),
    },
    hints=[
        "Inside the logarithm stands the mean over the draws, outside of it the mean over the examples.",
        "exp(−120) is 0 in float32. `torch.logsumexp` computes ln Σ exp without leaving the logarithms.",
        "ln (1/K Σ w) = ln Σ w − ln K: `log_weights.logsumexp(dim=0) - np.log(len(log_weights))`, then the mean.",
    ],
)
def importance_bound(log_weights):
    """Return ln (1/K Σₖ wₖ), a mean over K draws inside the logarithm, averaged over N examples: one number.

    log_weights (K, N) holds ln w for the K draws of every example. For images they are often below −100.
    """
    return (log_weights.logsumexp(dim=0) - np.log(len(log_weights))).mean()


importance_bound.mistakes(
    {
        "The maximum is taken over all examples, so those with smaller weights underflow. Take it over the draws of "
        "each example, `amax(dim=0)`.": lambda log_weights: (
            (log_weights - log_weights.max()).exp().mean(dim=0).log() + log_weights.max()
        ).mean(),
        "The weights underflow to 0, and the small number you add to them decides. Stay with the logarithms: "
        "`torch.logsumexp`.": [
            lambda log_weights, small=small: (log_weights.exp().mean(dim=0) + small).log().mean()
            for small in (1e-6, 1e-7, 1e-8, 1e-10, 1e-12)
        ],
        "exp of such numbers is 0 or infinite, and then the logarithm is too. Stay with the logarithms: "
        "`torch.logsumexp`.": [
            lambda log_weights: log_weights.exp().mean(dim=0).log().mean(),
            lambda log_weights: log_weights.double().exp().mean(dim=0).log().mean().to(log_weights.dtype),
            lambda log_weights: (log_weights.exp().sum(dim=0) / len(log_weights)).log().mean(),
        ],
        "This is the mean of the logarithms, the ELBO. Average the weights first, then take the logarithm.": (
            lambda log_weights: log_weights.mean()
        ),
        "This is the sum over the draws. For their mean subtract ln K.": {" - np.log(len(log_weights))": ""},
        "ln K has the wrong sign: ln (Σ / K) = ln Σ − ln K.": {" - np": " + np"},
        "You divide by K outside of the logarithm. Inside it: ln (Σ / K) = ln Σ − ln K.": {
            " - np.log(len(log_weights))": " / len(log_weights)"
        },
        "You subtract K, not its logarithm: ln (Σ / K) = ln Σ − ln K.": {
            "np.log(len(log_weights))": "len(log_weights)"
        },
        "The draws of an example lie along `dim=0`, the examples along `dim=1`.": [
            {"dim=0": "dim=1", "len(log_weights)": "log_weights.shape[1]"},
            {"dim=0": "dim=1"},
        ],
        "You subtract ln N. Inside the logarithm the mean is over the K draws, `len(log_weights)`.": {
            "len(log_weights)": "log_weights.shape[1]"
        },
        "Draws and examples are averaged together inside the logarithm. Inside it belong the draws only, outside the "
        "examples.": lambda log_weights: log_weights.flatten().logsumexp(dim=0) - np.log(log_weights.numel()),
        "Every example has its own bound here. Return their mean, one number.": {
            "(log_weights.logsumexp(dim=0) - np.log(len(log_weights))).mean()": (
                "log_weights.logsumexp(dim=0) - np.log(len(log_weights))"
            )
        },
        "This is the sum over the examples. Return the mean.": {".mean()": ".sum()"},
        "The largest weight alone is no mean: add up all of them, `torch.logsumexp`.": [
            lambda log_weights: log_weights.amax(dim=0).mean(),
            lambda log_weights: (log_weights.amax(dim=0) - np.log(len(log_weights))).mean(),
        ],
        "The maximum that you subtracted is missing: add it again after the logarithm.": lambda log_weights: (
            (log_weights - log_weights.amax(dim=0)).exp().mean(dim=0).log().mean()
        ),
        "The logarithms are averaged weighted by the weights. The weights themselves are averaged, then comes the "
        "logarithm.": lambda log_weights: (log_weights.softmax(dim=0) * log_weights).sum(dim=0).mean(),
        "Two slips. ln K is not subtracted, and the examples are summed, not averaged.": {
            " - np.log(len(log_weights))": "",
            ".mean()": ".sum()",
        },
        "log10 is the logarithm to base 10. Nats take the natural one, `np.log`.": {"np.log": "np.log10"},
        "This is minus the bound, a loss. Return the bound itself.": {
            "return (": "return -(",
        },
    }
)


# The quiz -----------------------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "Every answer is in the lesson: sections 1, 7, 8, 8, 4, 5, 4 and 9.",
        "Question 2: what is the error of a network that gives every pixel a latent variable of its own? "
        "Question 5: use the formula for each of the three numbers, then add up. Question 7: on which side "
        "of ln p(x) is a lower bound?",
    ],
    ten_layers=Question(
        "c",
        "Affine after affine is affine: the whole can do what one encoder matrix and one decoder matrix can, and PCA "
        "does that best.",
        {
            "a": "Without nonlinearities, depth adds nothing: ten matrices multiply to one.",
            "b": "It could be unlucky in training, but never better than the best plane.",
            "d": "The learning rate decides how fast it gets there, and not how good the best plane is.",
        },
    ),
    wide_code=Question(
        "d",
        "With as many latent dimensions as pixels, copying is possible: an error of 0, and nothing learned "
        "about digits.",
        {
            "a": "Why should it find anything? Copying every pixel has error 0.",
            "b": "More room never raises the smallest possible error.",
            "c": "Noise is copied as well as ink. Only noise on the input, with a clean target, would teach that.",
        },
    ),
    standardized=Question(
        "a",
        "Standardised features have any size and sign, so the last layer is affine and the loss is the "
        "squared error.",
        {
            "b": "A sigmoid cannot reach 3 or −2, and standardized features do.",
            "c": "Half of all standardized values are negative, and ReLU gives none.",
            "d": "tanh ends at ±1, and about a third of standardized values lie beyond.",
        },
    ),
    auc_a_quarter=Question(
        "b",
        "0.5 is chance level. 0.24 says that the score does separate them, but the wrong way round: "
        "anomalies get lower scores.",
        {
            "a": "Useless would be 0.5.",
            "c": "An accuracy needs a threshold. The AUC compares pairs.",
            "d": "An AUC below 0.5 is not a bug as such; it happens where anomalies are easier to draw than "
            "ordinary ones.",
        },
    ),
    three_numbers=Question(
        0.5,
        "½ · 1² for the first number; the other two cost nothing and say nothing.",
        {
            1.0: "The factor ½ is missing.",
            1.5: "Only the first number is shifted; the other two agree with the prior and cost 0.",
            2.0: "For σ = 1, the terms σ² − 1 − ln σ² cancel.",
            0.17: "The divergences of the three numbers add up; they are not averaged.",
        },
        tolerance=0.004,
    ),
    all_alike=Question(
        "d",
        "The posterior equals the prior for every digit: the code carries nothing, and the decoder draws the mean.",
        {
            "a": "A perfect code would let the decoder tell digits apart, and would cost some nats.",
            "b": "A learning rate that is too high shows in a loss that jumps. Here nothing jumps, and all "
            "digits look the same.",
            "c": "Overfitting needs information about the training digits. Here none gets through.",
        },
    ),
    bound=Question(
        "b",
        "The ELBO is a lower bound: ln p(x) is −98 or more, by the divergence of q from the true posterior.",
        {
            "a": "Only if the encoder hit the true posterior exactly, which hardly ever happens.",
            "c": "The bound holds from below: the ELBO never exceeds ln p(x).",
            "d": "A number below 0 is no reason: logarithms of probabilities are negative.",
        },
    ),
    blind_draw=Question(
        "a",
        "Nobody told the encoder where to put its codes. Draws from a Gaussian fitted to them do better, though not "
        "as well as the codes of real digits.",
        {
            "b": "The decoder draws well from the codes of digits: the reconstructions show it.",
            "c": "It is the same kind of network as the VAE's decoder.",
            "d": "Drawing more does not move the codes to where digits are.",
        },
    ),
)
