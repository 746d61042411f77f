"""The exercises of lesson 3, A dense network on MNIST: solutions, classic mistakes, hints."""

import itertools
import math

import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn

from coursekit import data, train
from coursekit.checks import ExerciseSet, Question, normal

lesson = ExerciseSet("Lesson 3")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# Section 2: the network by hand -------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "a single layer": ([2, 5],),
        "the drawing": ([3, 2, 1],),
        "a hidden unit alone": ([6, 1, 4],),
        "two layers for digits": ([784, 128, 10],),
        "three layers": ([5, 8, 6, 3],),
        "layers of equal width": ([4, 3, 3, 3, 2],),
    },
    hints=[
        "From 3 inputs to 2 units there are 3 · 2 lines in the drawing. Each of the 2 units adds a bias.",
        "Walk over neighbouring pairs: `for inputs, outputs in itertools.pairwise(widths)`. Each pair is a layer.",
    ],
)
def count_parameters(widths):
    """Return the number of parameters of a dense network.

    `widths` lists the number of inputs, then the units of every layer.
    """
    return sum(inputs * outputs + outputs for inputs, outputs in itertools.pairwise(widths))


count_parameters.mistakes(
    {
        "These are the weights. Every unit after the inputs has a bias as well: count them too.": {
            " outputs +": ""
        },
        "Only the first layer is counted: is the `return` inside the loop?": lambda widths: (
            widths[0] * widths[1] + widths[1]
        ),
        "The inputs have no bias: they are given, not computed. Only units after them add one.": lambda widths: (
            sum(inputs * outputs for inputs, outputs in itertools.pairwise(widths)) + sum(widths)
        ),
        "A layer has a bias for each of its units, not one for the whole layer.": {"+ outputs": "+ 1"},
        "These are the units. Between neighbouring layers every input meets every unit: multiply the two "
        "widths, then add the biases.": lambda widths: sum(widths),
        "The last layer is missing: `widths` of length L + 1 describes L layers, so there are L neighbouring "
        "pairs.": {"pairwise(widths)": "pairwise(widths[:-1])"},
        "The widths of all layers are multiplied. Weights connect neighbouring layers only: one product for "
        "each pair, added up.": lambda widths: math.prod(widths) + sum(widths[1:]),
        "This also connects the last layer with the first one, as `widths[i - 1]` does for i = 0. Neighbouring layers "
        "alone are connected, so start with the second width.": {
            "itertools.pairwise(widths)": "itertools.pairwise([widths[-1], *widths])"
        },
        "Inputs and units are added. Every input is connected to every unit: multiply the two.": {
            "inputs * outputs": "inputs + outputs"
        },
        "The bias goes with the unit that receives the sum: a layer of m units has m biases, however "
        "many inputs it has.": {"+ outputs": "+ inputs"},
    }
)


@count_parameters.mistake("Every output unit has a bias of its own; there is not one for all of them.")
def _(widths):
    products = sum(inputs * outputs for inputs, outputs in itertools.pairwise(widths))
    return products + sum(widths[1:-1]) + 1


@count_parameters.mistake(
    "The output units have biases too; only those of the hidden layers are counted here."
)
def _(widths):
    return sum(inputs * outputs for inputs, outputs in itertools.pairwise(widths)) + sum(widths[1:-1])


shape_of_output = lesson.prediction(
    "shape_of_output",
    Question(
        (64, 10),
        "One row for each of the 64 digits, one column for each of the 10 classes.",
        {
            (10, 64): "Those are the right numbers. A batch has its examples in rows, so N comes first.",
            (
                64,
                784,
            ): "That is the shape of the input once it is flattened. What does the last layer output?",
            (64, 128): "That is the hidden layer, 64 digits by 128 units. One more affine map follows.",
            (
                64,
                1,
                28,
                28,
            ): "That is the shape of the input. What does the last layer output for each digit?",
            (10,): "Ten numbers, yes, but for each of the 64 digits in the batch.",
        },
    ),
    hints=["A batch holds N examples in rows.", "The last layer has 10 units, and the batch has 64 digits."],
)


@lesson.exercise(
    cases={
        "a batch of one": (
            torch.tensor([[1.0, 2.0]]),
            torch.eye(2),
            torch.tensor([0.5, -1.0]),
            torch.ones(1, 2),
            torch.tensor([0.5]),
        ),
        "an ordinary batch": (
            normal(2, 3),
            normal(5, 3, seed=1),
            normal(5, seed=2),
            normal(4, 5, seed=3),
            normal(4, seed=4),
        ),
        "square matrices": (
            normal(3, 3),
            normal(3, 3, seed=1),
            normal(3, seed=2),
            normal(3, 3, seed=3),
            normal(3, seed=4),
        ),
        "float64 numbers": (
            normal(5, 4, dtype=torch.float64),
            normal(6, 4, seed=1, dtype=torch.float64),
            normal(6, seed=2, dtype=torch.float64),
            normal(3, 6, seed=3, dtype=torch.float64),
            normal(3, seed=4, dtype=torch.float64),
        ),
    },
    returns=("h", "logits"),
    hints=[
        "Three steps: affine map, tanh, affine map. The examples are rows, so a layer is `x @ W.T + b`.",
        "The first step gives `a1` (N, hidden), and `h = torch.tanh(a1)`. Return h and then the logits.",
    ],
)
def forward(x, W1, b1, W2, b2):
    """Return hidden activations h (N, hidden) and logits (N, C) of a network with a tanh nonlinearity.

    Shapes: x (N, inputs), W1 (hidden, inputs), b1 (hidden,), W2 (C, hidden), b2 (C,).
    """
    h = torch.tanh(x @ W1.T + b1)
    return h, h @ W2.T + b2


@forward.remark(
    "A remark: exp overflows for large activations, and inf / inf is nan. `torch.tanh` takes care of that."
)
def _(attempt):
    h, _ = attempt(
        torch.full((1, 1), 200.0), torch.ones(1, 1), torch.zeros(1), torch.ones(1, 1), torch.zeros(1)
    )
    return bool(h.isnan().any())


forward.mistakes(
    {
        "The biases are subtracted. Add them.": {"+ b1": "- b1", "+ b2": "- b2"},
        "The nonlinearity is missing: h should be the tanh of the first affine map, not the map itself.": {
            "torch.tanh(x @ W1.T + b1)": "x @ W1.T + b1"
        },
        "The last layer has no activation function: logits may have any size and sign, and tanh squeezes"
        " them.": {"h @ W2.T + b2": "torch.tanh(h @ W2.T + b2)"},
        "The activation function of this network is tanh, not ReLU.": {"torch.tanh": "F.relu"},
        "A row of W holds the weights of one unit, so for examples in rows the product is `x @ W.T`.": {
            "W1.T": "W1",
            "W2.T": "W2",
        },
        "`reshape` and `view` keep the order of the numbers and mix up rows and columns. Transpose with "
        "`W.T`.": {"W1.T": "W1.reshape(W1.shape[::-1])", "W2.T": "W2.reshape(W2.shape[::-1])"},
        "The biases are missing: add b1 before the tanh, b2 after the second product.": {
            " + b1": "",
            " + b2": "",
        },
        "Stop at the logits: your softmax has turned them into probabilities.": {
            "h @ W2.T + b2": "torch.softmax(h @ W2.T + b2, dim=1)"
        },
        "The second layer has a bias, too: add b2.": {" + b2": ""},
        "The first layer has a bias, too: add b1 before the tanh.": {" + b1": ""},
        "The activation function of this network is tanh, not the sigmoid.": {"torch.tanh": "torch.sigmoid"},
        "The second layer does not use h: it gets what goes into the tanh. Its input is h.": {
            "return h, h @": "return h, (x @ W1.T + b1) @"
        },
        "tanh is applied twice to the hidden layer. Once is enough: the second layer gets h.": {
            "return h, h @": "return h, torch.tanh(h) @"
        },
        "Return h first, then the logits.": {"h, h @": "h @", "T + b2": "T + b2, h"},
    }
)


@forward.mistake(
    "`W1 @ x` is right for a single vector. Here the examples are rows, so the product is `x @ W1.T`."
)
def _(x, W1, b1, W2, b2):
    h = torch.tanh(W1 @ x + b1)
    return h, W2 @ h + b2


@forward.mistake("The bias goes inside the nonlinearity: first `x @ W1.T + b1`, then tanh.")
def _(x, W1, b1, W2, b2):
    h = torch.tanh(x @ W1.T) + b1
    return h, h @ W2.T + b2


@forward.mistake(
    "The h you return is what goes into the nonlinearity. Return what comes out of it, the tanh."
)
def _(x, W1, b1, W2, b2):
    a1 = x @ W1.T + b1
    return a1, torch.tanh(a1) @ W2.T + b2


# Section 3: softmax and cross-entropy -------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "a batch of one": (torch.tensor([[2.0, 1.0, 0.0]]),),
        "equal logits": (torch.tensor([[3.0, 3.0, 3.0, 3.0]]),),
        "a logit of 120": (torch.tensor([[120.0, 0.0]]),),
        "logits about 1000": (torch.tensor([[1000.0, 999.0, 998.0]]),),
        "logits about −1000": (torch.tensor([[-1000.0, -1001.0, -999.0]]),),
        "a logit far above the others": (torch.tensor([[0.0, 1000.0, 0.0, 0.0]]),),
        "a logit far below the others": (torch.tensor([[0.0, -1000.0, 0.0, 0.0]]),),
        "rows of very different size": (torch.tensor([[1.0, 0.0], [500.0, 501.0]]),),
        "an ordinary batch": (normal(2, 3),),
        "as many rows as columns": (normal(3, 3, seed=1),),
        "float64 numbers": (normal(4, 5, seed=2, dtype=torch.float64),),
    },
    hints=[
        "Exponentiate, then divide each row by its own sum. What happens to exp(1000)?",
        "Subtracting the same number from all logits of a row changes nothing in the result. Which number helps?",
        "`logits.max(dim=1, keepdim=True).values` has the shape (N, 1), so it can be subtracted from every row.",
    ],
)
def softmax(logits):
    """Turn rows of logits (N, C), even large ones, into rows of probabilities (N, C)."""
    exponentials = (logits - logits.max(dim=1, keepdim=True).values).exp()
    return exponentials / exponentials.sum(dim=1, keepdim=True)


softmax.mistakes(
    {
        "exp of a large logit overflows to inf, and inf / inf is nan. Subtract each row's "
        "maximum first.": lambda logits: logits.exp() / logits.exp().sum(dim=1, keepdim=True),
        "Your columns sum to one. An example is a row, so its classes lie along `dim=1`.": {"=1,": "=0,"},
        "All numbers together sum to one, but each row should: sum along `dim=1`.": {
            "dim=1, keepdim=True": "",
            ".values": "",
        },
        "A sum over `dim=1` has the shape (N,). Divided by it, column j is divided by the sum of row j. "
        "`keepdim=True` keeps the shape (N, 1), which divides each row by its own sum.": {
            "sum(dim=1, keepdim=True)": "sum(dim=1)"
        },
        "A sum over `dim=1` has the shape (N,), which divides columns or fails: "
        "`keepdim=True`. And exp overflows for large logits: subtract each row's maximum "
        "first.": lambda logits: logits.exp() / logits.exp().sum(dim=1),
        "One maximum for the whole batch is too large for rows with smaller logits: they underflow to 0 "
        "/ 0. Subtract each row's own maximum.": {"(dim=1, keepdim=True).values": "()"},
        "Subtracting the mean does not help when one logit is far above the others. Which number always "
        "does?": {"max(dim=1, keepdim=True).values": "mean(dim=1, keepdim=True)"},
        "With the smallest logit subtracted, all exponents are positive and can overflow. Take the "
        "largest.": {"max(dim=1, keepdim=True).values": "amin(dim=1, keepdim=True)"},
        "With the first logit subtracted, the others can still be far above it. Subtract the largest.": {
            ".max(dim=1, keepdim=True).values": "[:, :1]"
        },
        "These are sigmoids, each computed on its own, so a row does not sum to one. Softmax divides exp(z) by "
        "the sum of its row.": lambda logits: torch.sigmoid(logits),
        "Dividing by the largest logit changes the differences between the logits, and with them the "
        "result. Subtract it.": {"logits - logits.max": "logits / logits.max"},
        "Cutting logits off at a limit makes large ones equal. Subtract each row's maximum, which changes "
        "nothing in the result.": [
            {
                "(logits - logits.max(dim=1, keepdim=True).values)": "logits.clamp(max=limit)".replace(
                    "limit", n
                )
            }
            for n in ("50", "80", "88")
        ],
        "float64 overflows as well, only later: exp(1000) is inf. Subtract each row's maximum "
        "first.": lambda logits: (logits.double().exp() / logits.double().exp().sum(dim=1, keepdim=True)).to(
            logits.dtype
        ),
        "`nan_to_num` puts a number where inf / inf gave nan, but not the right one. Subtract each row's maximum "
        "first.": lambda logits: (logits.exp() / logits.exp().sum(dim=1, keepdim=True)).nan_to_num(),
        "A small number below the line does not help: exp(z) itself is inf. Subtract each row's maximum "
        "first.": lambda logits: logits.exp() / (logits.exp().sum(dim=1, keepdim=True) + 1e-12),
        "These are powers of 2. Softmax takes e as its base: `exp`.": {"values).exp()": "values).exp2()"},
        "The largest logit should get the largest probability: exponentiate a, not −a.": lambda logits: (
            torch.softmax(-logits, dim=1)
        ),
        "These are log-probabilities. Return the probabilities, from 0 to 1.": lambda logits: (
            torch.log_softmax(logits, dim=1)
        ),
        "Divide the exponentials by their sum. Without exp, negative logits give negative "
        "probabilities.": lambda logits: logits / logits.sum(dim=1, keepdim=True),
        "These are the exponentials. Divide each row by its sum, so that it sums to one.": lambda logits: (
            logits - logits.max(dim=1, keepdim=True).values
        ).exp(),
    }
)


untrained_loss = lesson.prediction(
    "untrained_loss",
    Question(
        2.303,
        "−ln(1/10) = ln 10 = 2.303: the loss of a network that knows nothing about ten classes.",
        {
            0.1: "That is the probability of the true class. The loss is minus its logarithm.",
            -2.303: "The number is right, the sign is not: ln(1/10) is negative, and the loss is minus that.",
            1.0: "That would be the logarithm to base 10. The loss takes the natural one.",
            3.322: "That is the logarithm to base 2, the loss in bits. Here it is in nats: take the natural one.",
            0.0: "The loss would be 0 if it were certain and right every time. It knows nothing yet.",
            0.9: "That is how often it is wrong. The loss is minus the logarithm of the probability of the "
            "true class.",
        },
        tolerance=0.006,
    ),
    hints=["Every class gets the probability 1/10.", "−ln(1/10) = ln 10. Python: `math.log(10)`."],
)


# Section 4: backpropagation -----------------------------------------------------------------------------------


def _gradients(forward, backward, x, labels, W1, b1, W2, b2):
    """What the two functions give together."""
    h, logits = forward(x, W1, b1, W2, b2)
    given = {"h": h.clone(), "logits": logits.clone()}
    gradients = backward(x, labels, h, logits, W2)
    for name, now in (("h", h), ("logits", logits)):
        if not torch.equal(now, given[name]):
            raise ValueError(
                f"`{name}` is no longer what it was, and the caller may still need it: work on a copy"
            )
    return gradients


@lesson.exercise(
    observe=_gradients,
    together=(forward,),
    cases={
        "a batch of one": (
            torch.tensor([[1.0, 2.0]]),
            torch.tensor([0]),
            torch.eye(2),
            torch.zeros(2),
            torch.tensor([[1.0, 0.0], [0.0, 0.5]]),
            torch.zeros(2),
        ),
        **{
            name: (
                normal(N, inputs, dtype=dtype),
                torch.arange(N) % C,
                normal(hidden, inputs, seed=1, dtype=dtype),
                normal(hidden, seed=2, dtype=dtype),
                normal(C, hidden, seed=3, dtype=dtype),
                normal(C, seed=4, dtype=dtype),
            )
            for name, N, inputs, hidden, C, dtype in [
                ("a small batch", 3, 2, 5, 4, torch.float32),
                ("square matrices", 3, 3, 3, 3, torch.float64),
                ("a larger batch in float64", 7, 5, 4, 3, torch.float64),
            ]
        },
        "logits above 88": (
            normal(3, 2),
            torch.tensor([0, 1, 2]),
            normal(4, 2, seed=1),
            normal(4, seed=2),
            300 * normal(3, 4, seed=3),
            normal(3, seed=4),
        ),
    },
    returns=("dW1", "db1", "dW2", "db2"),
    hints=[
        "Go through the six steps of the table, a line of code for each. Step 4 contains the slope of the "
        "activation function.",
        "The slope of tanh at a is 1 − tanh²(a), and h is tanh(a). So you need neither a nor W1.",
        "Start with `delta2 = (torch.softmax(logits, dim=1) - F.one_hot(labels, logits.shape[1])) / len(x)`.",
    ],
)
def backward(x, labels, h, logits, W2):
    """Return the gradients dW1, db1, dW2, db2 of the mean cross-entropy, shaped like the parameters.

    `h` (N, hidden) and `logits` (N, C) are what `forward` returned for the inputs x (N, inputs).
    labels (N,) are integers, W2 is (C, hidden).
    """
    delta2 = (torch.softmax(logits, dim=1) - F.one_hot(labels, logits.shape[1])) / len(x)  # (N, C)
    delta1 = (delta2 @ W2) * (1 - h**2)  # (N, hidden)
    return delta1.T @ x, delta1.sum(dim=0), delta2.T @ h, delta2.sum(dim=0)


def _backward(x, labels, h, logits, W2, *, slope, averaged=True, target=1):
    """The gradients, with what can go wrong as arguments."""
    delta2 = torch.softmax(logits, dim=1) - target * F.one_hot(labels, logits.shape[1])
    delta2 = delta2 / len(x) if averaged else delta2
    delta1 = (delta2 @ W2) * slope(h)
    return delta1.T @ x, delta1.sum(dim=0), delta2.T @ h, delta2.sum(dim=0)


backward.mistakes(
    {
        "exp of a large logit overflows, and inf / inf is nan. `torch.softmax` does not.": {
            "torch.softmax(logits, dim=1)": "logits.exp() / logits.exp().sum(dim=1, keepdim=True)"
        },
        "The labels are class numbers. Subtract 1 from the probability of the true class: one-hot first.": {
            "F.one_hot(labels, logits.shape[1])": "labels[:, None]"
        },
        "This takes the columns of all labels in every row. Row i has one label, `labels[i]`: index with "
        "`torch.arange(len(x)), labels`, or use one-hot.": {
            "F.one_hot(labels, logits.shape[1])": "F.one_hot(labels, logits.shape[1]).amax(dim=0)"
        },
        "The slope of the activation function is missing in step 4: "
        "multiply by the derivative of tanh, 1 − h².": lambda x, labels, h, logits, W2: _backward(
            x, labels, h, logits, W2, slope=torch.ones_like
        ),
        "h > 0 is the slope of ReLU. The activation function here is tanh,"
        " whose slope is 1 − h².": lambda x, labels, h, logits, W2: _backward(
            x, labels, h, logits, W2, slope=lambda h: h > 0
        ),
        "h(1 − h) is the slope of the sigmoid. That of tanh is 1 − h².": lambda x, labels, h, logits, W2: (
            _backward(x, labels, h, logits, W2, slope=lambda h: h * (1 - h))
        ),
        "The square is missing: the slope of tanh is 1 − h², not 1 − h.": lambda x, labels, h, logits, W2: (
            _backward(x, labels, h, logits, W2, slope=lambda h: 1 - h)
        ),
        "The mean is taken over all N · C entries: divide delta2 by N, `len(x)`, only.": {
            " / len(x)": " / logits.numel()"
        },
        "The factor 1/N comes in twice: delta2 contains it already, so the sums that follow need no further "
        "division.": {" / len(x)": " / len(x) ** 2"},
        "dW1 is made from h here. The first layer's inputs are x: dW1 = δ₁ᵀ X.": {
            "delta1.T @ x": "delta1.T @ h"
        },
        "db1 and db2 are the rows of δ, one for each example. Add them up over the batch: `sum(dim=0)`.": {
            "delta1.sum(dim=0)": "delta1",
            "delta2.sum(dim=0)": "delta2",
        },
        "The biases' gradients are summed over the units. A bias has one number for each unit: add up over "
        "the examples, `sum(dim=0)`.": {"sum(dim=0)": "sum(dim=1)"},
        "It is 1 − h², not (1 − h)²: the slope of tanh is 1 − tanh²(a).": lambda x, labels, h, logits, W2: (
            _backward(x, labels, h, logits, W2, slope=lambda h: (1 - h) ** 2)
        ),
    }
)


@backward.mistake("The slope of tanh is 1 − tanh²(a), and h already is tanh(a): write 1 − h**2.")
def _(x, labels, h, logits, W2):
    return _backward(x, labels, h, logits, W2, slope=lambda h: 1 - torch.tanh(h) ** 2)


@backward.mistake(
    "The loss is a mean over the batch, so its gradient has a factor 1/N: divide delta2 by `len(x)`."
)
def _(x, labels, h, logits, W2):
    return _backward(x, labels, h, logits, W2, slope=lambda h: 1 - h**2, averaged=False)


@backward.mistake("δ₂ is P − Y: subtract the one-hot labels from the probabilities.")
def _(x, labels, h, logits, W2):
    return _backward(x, labels, h, logits, W2, slope=lambda h: 1 - h**2, target=0)


@backward.mistake(
    "`F.one_hot(labels)` makes as many columns as the largest label in this batch needs. Say how many there are: "
    "`F.one_hot(labels, logits.shape[1])`."
)
def _(x, labels, h, logits, W2):
    delta2 = (torch.softmax(logits, dim=1) - F.one_hot(labels)) / len(x)
    delta1 = (delta2 @ W2) * (1 - h**2)
    return delta1.T @ x, delta1.sum(dim=0), delta2.T @ h, delta2.sum(dim=0)


@backward.mistake("The gradients are in the wrong order: return dW1, db1, dW2, db2.")
def _(x, labels, h, logits, W2):
    dW1, db1, dW2, db2 = _backward(x, labels, h, logits, W2, slope=lambda h: 1 - h**2)
    return dW2, db2, dW1, db1


@backward.mistake("There are not always ten classes: `F.one_hot(labels, logits.shape[1])`.")
def _(x, labels, h, logits, W2):
    delta2 = (torch.softmax(logits, dim=1) - F.one_hot(labels, 10)) / len(x)
    delta1 = (delta2 @ W2) * (1 - h**2)
    return delta1.T @ x, delta1.sum(dim=0), delta2.T @ h, delta2.sum(dim=0)


@backward.mistake("The sign is wrong: δ₂ is P − Y, not Y − P. This gradient would make the loss grow.")
def _(x, labels, h, logits, W2):
    gradients = _backward(x, labels, h, logits, W2, slope=lambda h: 1 - h**2)
    return tuple(-gradient for gradient in gradients)


@backward.mistake("The weights' gradients are transposed: dW2 = δ₂ᵀ H has the shape of W2, (C, hidden).")
def _(x, labels, h, logits, W2):
    dW1, db1, dW2, db2 = _backward(x, labels, h, logits, W2, slope=lambda h: 1 - h**2)
    return dW1.T, db1, dW2.T, db2


@backward.mistake("The gradients of the biases lack the factor 1/N, while those of the weights have it.")
def _(x, labels, h, logits, W2):
    dW1, db1, dW2, db2 = _backward(x, labels, h, logits, W2, slope=lambda h: 1 - h**2)
    return dW1, db1 * len(x), dW2, db2 * len(x)


@backward.mistake("A bias was added to every row, so its gradient is the sum of the rows of δ: `sum(dim=0)`.")
def _(x, labels, h, logits, W2):
    dW1, db1, dW2, db2 = _backward(x, labels, h, logits, W2, slope=lambda h: 1 - h**2)
    return dW1, db1 / len(x), dW2, db2 / len(x)


@backward.mistake("P holds probabilities: apply softmax to the logits before you subtract the labels.")
def _(x, labels, h, logits, W2):
    delta2 = (logits - F.one_hot(labels, logits.shape[1])) / len(x)
    delta1 = (delta2 @ W2) * (1 - h**2)
    return delta1.T @ x, delta1.sum(dim=0), delta2.T @ h, delta2.sum(dim=0)


# Section 5: training ------------------------------------------------------------------------------------------


_BENDS = {
    "ReLU": F.relu, "nothing": lambda x: x, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "leaky ReLU": F.leaky_relu,
    "ELU": F.elu, "GELU": F.gelu, "softplus": F.softplus, "SiLU": F.silu, "softmax": lambda x: x.softmax(dim=1),
}  # fmt: skip


def _affine_maps(net, hidden):
    """The net's own weights and biases, layer by layer, and whether they can be told apart by their sizes."""
    parts, layers, clear = list(net.parameters()), [], True
    for inputs, outputs in itertools.pairwise([784, *hidden, 10]):
        weights = [part for part in parts if part.ndim == 2 and set(part.shape) == {inputs, outputs}]
        biases = [part for part in parts if part.shape == (outputs,)]
        if not weights or not biases:
            return [], False
        clear = clear and len(weights) == len(biases) == 1
        weight, bias = weights[0], biases[0]
        parts = [part for part in parts if part is not weight and part is not bias]
        layers.append((weight if weight.shape == (outputs, inputs) else weight.T, bias))
    return layers, clear


def _run(layers, x, activations):
    """The logits of affine maps, with an activation function before each, and one after the last."""
    value = activations[0](x.flatten(1))
    for (weight, bias), activation in zip(layers, activations[1:], strict=True):
        value = activation(F.linear(value, weight, bias))
    return value


def _where_relus_are(layers, x, logits):
    """In words, between which of the affine maps a ReLU is missing, or where there is one too many."""
    for places in itertools.product([True, False], repeat=len(layers) + 1):
        activations = [F.relu if there else _BENDS["nothing"] for there in places]
        if torch.allclose(_run(layers, x, activations), logits, rtol=1e-3, atol=1e-4 * float(logits.std())):
            first, *between, last = places
            found = [] if all(between) else ["not between all layers"]
            found += ["also before the first layer"] if first else []
            found += ["also after the last layer"] if last else []
            return f"ReLU, {' and '.join(found)}" if found else "ReLU"
    return "something else"


def _between_layers(net, hidden, x):
    """The activation function with which the net's own affine maps give its logits, if there is one."""
    layers, clear = _affine_maps(net, hidden)
    if not layers:
        return "ReLU"  # other layers than asked for: the number of parameters says so
    logits, nothing = net(x), _BENDS["nothing"]
    for name, bend in _BENDS.items():
        value = _run(layers, x, [nothing, *[bend] * len(hidden), nothing])
        if torch.allclose(value, logits, rtol=1e-3, atol=1e-4 * float(logits.std())):
            return name
    found = _where_relus_are(layers, x, logits)
    # layers of equal size may stand in another order than their parameters: the other cases say
    return "ReLU" if found == "something else" and not clear else found


def _facts_of_network(build_mlp, hidden):
    """What can be seen of a network from outside."""
    net = build_mlp(hidden)
    if not isinstance(net, nn.Module):
        return {"what comes back": type(net).__name__}
    pictures = normal(5, 1, 28, 28)
    net.train()
    training = net(pictures)
    net.eval()
    logits, wide = net(pictures), net(100 * normal(50, 1, 28, 28))
    return {
        "what comes back": "an nn.Module",
        "the shape of its output for 5 images": logits.shape,
        "the shape of its output for 1 image": net(pictures[:1]).shape,
        "the number of its parameters": sum(part.numel() for part in net.parameters()),
        "the number of parameters that training would change": sum(
            part.numel() for part in net.parameters() if part.requires_grad
        ),
        "it gives the same in train mode as in eval mode": torch.allclose(training, logits, atol=1e-5),
        "every row sums to one": torch.allclose(logits.sum(dim=1), torch.ones(5)),
        "every row's exponentials sum to one": torch.allclose(logits.exp().sum(dim=1), torch.ones(5)),
        "negative logits occur": bool((wide < 0).any()),
        "the activation function between its layers": _between_layers(net, hidden, pictures),
    }


@lesson.exercise(
    observe=_facts_of_network,
    cases={
        "one hidden layer": ([16],),
        "two hidden layers": ([32, 8],),
        "three equal hidden layers": ([12, 12, 12],),
        "four hidden layers": ([24, 20, 14, 6],),
    },
    hints=[
        "Collect the layers in a list, beginning with `nn.Flatten()`, and return `nn.Sequential(*layers)`.",
        "Two neighbouring entries of `[784, *hidden, 10]` are the inputs and outputs of one `nn.Linear`.",
        "An `nn.ReLU()` goes between two linear layers, and nothing after the last: the loss expects logits.",
    ],
)
def build_mlp(hidden):
    """Return a dense network for batches of digits (N, 1, 28, 28) that outputs logits (N, 10).

    `hidden` lists the units of the hidden layers, such as [512, 512]. The activation function is ReLU.
    """
    layers = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise([784, *hidden]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 10))


@build_mlp.remark(
    "A remark: the lesson looks into the network layer by layer, `model[1]`, which a class of your own does not allow. "
    "Return an `nn.Sequential`."
)
def _(attempt):
    return not isinstance(attempt([5, 4]), nn.Sequential)


class _Squeeze(nn.Module):
    def forward(self, x):
        return x.squeeze()


def _build(hidden, *, bend=nn.ReLU, end=(), start=(nn.Flatten,)):
    """The network, with what can go wrong as arguments."""
    layers = [layer() for layer in start]
    for inputs, outputs in itertools.pairwise([784, *hidden]):
        layers += [nn.Linear(inputs, outputs), bend()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 10), *end)


build_mlp.mistakes(
    {
        "There is a softmax at the end, and `F.cross_entropy` applies its own: two in a row "
        "train badly. End with the logits.": lambda hidden: _build(hidden, end=[nn.Softmax(dim=1)]),
        "There is a log-softmax at the end, and `F.cross_entropy` applies its own. End with "
        "the logits.": lambda hidden: _build(hidden, end=[nn.LogSoftmax(dim=1)]),
        "A digit arrives as (1, 28, 28), but a linear layer expects a row of 784 numbers: "
        "start with `nn.Flatten()`.": lambda hidden: _build(hidden, start=()),
        "There is no nonlinearity between the layers, so they all collapse into one affine "
        "map: put `nn.ReLU()` in between.": lambda hidden: _build(hidden, bend=nn.Identity),
        "A ReLU after the last layer cuts off negative logits, and a unit stuck at 0 no "
        "longer learns.": lambda hidden: _build(hidden, end=[nn.ReLU()]),
        "There is a ReLU before the first layer, which cuts off negative inputs. ReLUs go between the "
        "layers only.": lambda hidden: _build(hidden, start=(nn.Flatten, nn.ReLU)),
        "ReLUs stand before the first layer and after the last as well. They go between the layers "
        "only.": lambda hidden: _build(hidden, start=(nn.Flatten, nn.ReLU), end=[nn.ReLU()]),
        "The activation function between the layers is another one. The exercise asks for ReLU: "
        "`nn.ReLU()`.": [
            lambda hidden: _build(hidden, bend=nn.Tanh),
            lambda hidden: _build(hidden, bend=nn.Sigmoid),
            lambda hidden: _build(hidden, bend=nn.LeakyReLU),
            lambda hidden: _build(hidden, bend=nn.GELU),
            lambda hidden: _build(hidden, bend=nn.SiLU),
            lambda hidden: _build(hidden, bend=nn.ELU),
        ],
        "It behaves differently in train mode: leave out dropout here. The exercise asks for linear "
        "layers and ReLUs only.": lambda hidden: nn.Sequential(
            *list(_build(hidden))[:3], nn.Dropout(0.5), *list(_build(hidden))[3:]
        ),
        "Its parameters are frozen, so training would change nothing: leave `requires_grad` as it "
        "is.": lambda hidden: _build(hidden).requires_grad_(False),
        "The hidden layers come in reverse order: begin with the first entry of `hidden`, next to the "
        "784 inputs.": lambda hidden: _build(hidden[::-1]),
        "A hidden layer is missing: every entry of `hidden` makes a layer of its own, the last one "
        "too.": lambda hidden: _build(hidden[:-1] or hidden),
        "`hidden` is not used: the layers have the same number of units whatever it says.": lambda hidden: (
            _build([128])
        ),
        "The last layer, from the last hidden units to the 10 classes, is missing.": {
            ", nn.Linear(hidden[-1], 10)": ""
        },
        "Layers in a plain list are hidden from the optimizer: use `nn.ModuleList` or "
        "`nn.Sequential`.": lambda hidden: _Hidden(hidden),
        "`squeeze()` removes the batch axis, too, when there is only one image. Use "
        "`nn.Flatten()`.": lambda hidden: nn.Sequential(*_build(hidden), _Squeeze()),
        "A list of layers is not a network yet: wrap it in `nn.Sequential(*layers)`.": lambda hidden: list(
            _build(hidden)
        ),
    }
)


@build_mlp.mistake(
    "A ReLU is missing between some of the layers. Without it, those two collapse into one affine map."
)
def _(hidden):
    first, bend, *rest = list(_build(hidden))[1:]
    return nn.Sequential(
        nn.Flatten(), first, bend, *(layer for layer in rest if isinstance(layer, nn.Linear))
    )


class _Hidden(nn.Module):
    """A network whose layers are in a plain list."""

    def __init__(self, hidden):
        super().__init__()
        self.layers = list(_build(hidden))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@build_mlp.mistake("Every layer should have biases, the default of `nn.Linear`: leave out `bias=False`.")
def _(hidden):
    layers = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise([784, *hidden]):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 10, bias=False))


_OPTIMIZERS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.2),
    "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.03),
}


def _some_steps(train_step, steps, optimizer):
    """Steps, losses and weights of a small network with batch norm, which tells train mode from eval mode."""
    # without biases before the batch norm: their gradient is rounding alone, and Adam would make steps of it
    net = nn.Sequential(nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()
    optimizer, stepped = _OPTIMIZERS[optimizer](net.parameters()), []
    optimizer.register_step_post_hook(lambda *_: stepped.append(1))
    losses = tuple(
        train_step(net, optimizer, normal(7, 3, seed=step), torch.arange(7) % 2) for step in range(steps)
    )
    if not all(part.requires_grad for part in net.parameters()):
        return "a frozen model"
    return len(stepped), losses, nn.utils.parameters_to_vector(net.parameters()).detach()


@lesson.exercise(
    observe=_some_steps,
    cases={
        "one step": (1, "SGD"),
        "two steps": (2, "SGD"),
        "four steps": (4, "SGD"),
        "three steps with momentum": (3, "SGD with momentum"),
        "three steps of Adam": (3, "Adam"),
    },
    returns=("the steps of the given optimizer", "the losses", "the weights afterwards"),
    hints=[
        "First `model.train()`, then the loss. Which gradients does `backward()` add to, and which does `step()` use?",
        "Clear the gradients before `loss.backward()` and step after it; `loss.item()` turns the loss into a number.",
    ],
)
def train_step(model, optimizer, x, y):
    """Make one training step on the batch x (N, ...), y (N,) and return its mean cross-entropy.

    The model is put into train mode first.
    """
    model.train()
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _step(model, optimizer, x, y, *, mode=True, zero=True, reduction="mean", squash=lambda logits: logits):
    """The step, with what can go wrong as arguments."""
    model.train(mode)
    loss = F.cross_entropy(squash(model(x)), y, reduction=reduction)
    if zero:
        optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


train_step.mistakes(
    {
        "The loss is a Python number here, which has no `backward()`. Call `loss.backward()` on the tensor, and "
        "`.item()` only in the `return`.": {
            "F.cross_entropy(model(x), y)": "F.cross_entropy(model(x), y).item()"
        },
        "Nothing is recorded to go back through: no `torch.no_grad()` and no `.detach()` between the model and "
        "`loss.backward()`.": {"F.cross_entropy(model(x), y)": "F.cross_entropy(model(x), y).detach()"},
        "The step goes uphill: `backward()` should start from the loss, not from minus the loss.": {
            "loss.backward()": "(-loss).backward()"
        },
        "This minimizes a squared error. The loss of this exercise is the cross-entropy, "
        "`F.cross_entropy(model(x), y)`.": [
            {"F.cross_entropy(model(x), y)": "F.mse_loss(model(x), F.one_hot(y, 2).float())"},
            {"F.cross_entropy(model(x), y)": "F.mse_loss(model(x).softmax(dim=1), F.one_hot(y, 2).float())"},
        ],
        "Two steps are made on the batch. One call is one `optimizer.step()`.": {
            "    return": "    F.cross_entropy(model(x), y).backward(); optimizer.step()\n    return"
        },
        "`optimizer.step()` comes twice, with the same gradient. One call is one step.": {
            "optimizer.step()": "optimizer.step(); optimizer.step()"
        },
        "A new optimizer is made in every call: it forgets its momentum and its running means. Use the one "
        "that was given.": [
            {"optimizer.zero_grad()": f"optimizer = {made}; optimizer.zero_grad()"}
            for made in (
                "type(optimizer)(model.parameters(), **optimizer.defaults)",
                *(f"torch.optim.Adam(model.parameters(), lr={lr})" for lr in (0.01, 0.003, 0.001)),
                *(f"torch.optim.SGD(model.parameters(), lr={lr})" for lr in (1, 0.1, 0.01, 0.001)),
            )
        ],
        "The weights are moved by hand. That is plain SGD, whatever was given: call `optimizer.step()`.": {
            "optimizer.step()": "[p.data.sub_(optimizer.param_groups[0]['lr'] * p.grad) for p in model.parameters()]"
        },
        "It returns the number of right answers, or their fraction. Return the loss: `loss.item()`.": [
            {"return loss.item()": "return (model(x).argmax(dim=1) == y).float().mean().item()"},
            {"return loss.item()": "return (model(x).argmax(dim=1) == y).sum().item()"},
        ],
        "The model is left with frozen parameters, so the next step would change nothing. Leave `requires_grad` as it "
        "is.": {"    return": "    model.requires_grad_(False)\n    return"},
        "The gradients of earlier batches accumulate: call "
        "`optimizer.zero_grad()` before `loss.backward()`.": lambda model, optimizer, x, y: _step(
            model, optimizer, x, y, zero=False
        ),
        "The model is still in eval mode: call `model.train()` first, since "
        "dropout and batch norm depend on it.": lambda model, optimizer, x, y: _step(
            model, optimizer, x, y, mode=False
        ),
        "The loss is summed over the batch, so the steps grow with it. Take "
        "the mean.": lambda model, optimizer, x, y: _step(model, optimizer, x, y, reduction="sum"),
        "You return the mean, but the step was made with the sum: call "
        "`backward()` on the mean.": lambda model, optimizer, x, y: (
            _step(model, optimizer, x, y, reduction="sum") / len(x)
        ),
    }
)


@train_step.mistake("The model gives logits, and `F.cross_entropy` takes logits: no softmax in between.")
def _(model, optimizer, x, y):
    return _step(model, optimizer, x, y, squash=lambda logits: logits.softmax(dim=1))


@train_step.mistake("`model.train()` comes after the forward pass, too late for it: call it first.")
def _(model, optimizer, x, y):
    mode = model.training
    loss = _step(model, optimizer, x, y, mode=mode)
    model.train()
    return loss


@train_step.mistake(
    "`optimizer.step()` comes before `loss.backward()`, so it uses the gradients of the previous batch, or "
    "none at all."
)
def _(model, optimizer, x, y):
    model.train()
    loss = F.cross_entropy(model(x), y)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


@train_step.mistake(
    "`optimizer.step()` finds no gradients, so the weights do not change. Does `loss.backward()` come before "
    "it, and `optimizer.zero_grad()` not between the two?"
)
def _(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    optimizer.step()
    return F.cross_entropy(model(x), y).item()


@train_step.mistake("The weights do not change: `optimizer.step()` is missing.")
def _(model, optimizer, x, y):
    model.train()
    return F.cross_entropy(model(x), y).item()


@train_step.mistake(
    "Two lines are missing: `model.train()` at the beginning, and `optimizer.zero_grad()` before `loss.backward()`."
)
def _(model, optimizer, x, y):
    return _step(model, optimizer, x, y, mode=model.training, zero=False)


@train_step.mistake("Return the loss that the step was made with; this one is recomputed after the step.")
def _(model, optimizer, x, y):
    _step(model, optimizer, x, y)
    return F.cross_entropy(model(x), y).item()


class _Echo(nn.Module):
    """Logits that are the inputs; in train mode those of other classes, so that a forgotten eval() shows."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * (x.roll(1, dims=1) if self.training else x)

    def __repr__(self):
        return "a model in train mode; in eval mode its logits are its inputs"


def _accuracy_and_state(accuracy, model, batches):
    """What the function gives, unless it leaves the model's parameters frozen."""
    found = accuracy(model, batches)
    return found if all(part.requires_grad for part in model.parameters()) else "a frozen model"


@lesson.exercise(
    observe=_accuracy_and_state,
    cases={
        "a single example": (_Echo(), [(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([1]))]),
        "one batch": (_Echo(), [(torch.eye(3)[[0, 1, 1, 0]], torch.tensor([0, 1, 1, 2]))]),
        "two batches, the last one short": (
            _Echo(),
            [(torch.eye(2), torch.tensor([0, 0])), (torch.tensor([[1.0, 0.0]]), torch.tensor([0]))],
        ),
        "every answer right": (
            _Echo(),
            [
                (torch.eye(3), torch.arange(3)),
                (torch.tensor([[0.0, -1.0, -2.0], [-2.0, 1.0, -1.0]]), torch.arange(2)),
            ],
        ),
        "every answer wrong": (_Echo(), [(torch.eye(3)[:2], torch.tensor([2, 0]))]),
        "three batches, the last one short": (
            _Echo(),
            [
                (normal(8, 4), torch.arange(8) % 4),
                (normal(8, 4, seed=1), torch.arange(8) % 4),
                (normal(3, 4, seed=2), torch.tensor([1, 1, 0])),
            ],
        ),
        "batches of the same size": (
            _Echo(),
            [(normal(5, 4, seed=3), torch.arange(5) % 3), (normal(5, 4, seed=4), torch.arange(5) % 4)],
        ),
    },
    hints=[
        "Over all batches, count how many are right and how many there are; divide once, at the end.",
        "`model(x).argmax(dim=1)` is the predicted class. Switch with `model.eval()` and compute in `torch.no_grad()`.",
    ],
)
def accuracy(model, batches):
    """Return the fraction of examples classified correctly, from 0 to 1, in eval mode.

    `batches` is a list of pairs x (N, ...), y (N,), of which the last may be shorter.
    The model gives logits (N, C).
    """
    model.eval()
    right = seen = 0
    with torch.no_grad():
        for x, y in batches:
            right += (model(x).argmax(dim=1) == y).sum().item()
            seen += len(y)
    return right / seen


def _accuracies(model, batches):
    model.eval()
    return [(model(x).argmax(dim=1) == y).float().mean().item() for x, y in batches]


def _right_with(model, batches, answer):
    model.eval()
    right = [(answer(model(x)) == y).sum().item() for x, y in batches]
    return sum(right) / sum(len(y) for _, y in batches)


accuracy.mistakes(
    {
        "This is the mean of the batches' accuracies, in which an example of the "
        "short last batch counts more than others. Add up right answers and "
        "examples, and divide once.": lambda model, batches: sum(_accuracies(model, batches)) / len(batches),
        "This is a percentage. Return a fraction, from 0 to 1.": lambda model, batches: (
            100 * accuracy.reference(model, batches)
        ),
        "Only the last batch counts here: keep the counts of those before it.": lambda model, batches: (
            _accuracies(model, batches)[-1]
        ),
        "Only the first batch counts here: is the `return` inside the loop?": lambda model, batches: (
            _accuracies(model, batches)[0]
        ),
        "This is the fraction of wrong answers. Return the fraction of right ones.": lambda model, batches: (
            1 - accuracy.reference(model, batches)
        ),
        "`//` cuts off what comes behind the point, so nearly every result is 0. Divide with `/`.": {
            "right / seen": "right // seen"
        },
        "This looks for the largest number of each column. The classes of an example lie along "
        "`dim=1`.": lambda model, batches: _right_with(model, batches, lambda logits: logits.argmax(dim=0)),
        "This takes the class with the smallest logit. The prediction is the largest: "
        "`argmax`.": lambda model, batches: _right_with(model, batches, lambda logits: logits.argmin(dim=1)),
        "The largest logit itself is compared with y. Compare the class it belongs to: "
        "`argmax(dim=1)`.": lambda model, batches: _right_with(
            model, batches, lambda logits: logits.max(dim=1).values
        ),
        "This is the mean probability of the right class. Count how often the largest logit is that of the right "
        "class.": {"(model(x).argmax(dim=1) == y)": "model(x).softmax(dim=1).gather(1, y[:, None])"},
        "This counts wrong answers, and takes the mean of the batches' fractions, in which an example of a short batch "
        "counts more. Count right answers, and divide once.": lambda model, batches: (
            1 - sum(_accuracies(model, batches)) / len(batches)
        ),
        "The parameters are left frozen, so training could not go on. `torch.no_grad()` around the loop does what you "
        "want; leave `requires_grad` as it is.": {"model.eval()": "model.eval().requires_grad_(False)"},
        "The last batch is left out. Every example should count, those of a short batch too.": {
            "in batches:": "in batches[:max(1, len(batches) - 1)]:"
        },
        "This is the accuracy rounded to two places, or to none. Return it as it is.": [
            {"right / seen": "round(right / seen, 2)"},
            {"right / seen": "round(right / seen)"},
        ],
    }
)


@accuracy.mistake("The model is still in train mode: call `model.eval()` first.")
def _(model, batches):
    pairs = [(model(x).argmax(dim=1), y) for x, y in batches]
    return torch.cat([guess == y for guess, y in pairs]).float().mean().item()


@accuracy.mistake("This is the number of right answers. Divide it by the number of examples.")
def _(model, batches):
    return sum(rate * len(y) for rate, (_, y) in zip(_accuracies(model, batches), batches, strict=True))


@accuracy.mistake(
    "The last batch may be shorter than the first: add up `len(y)`, or `len(x)`, of all of them."
)
def _(model, batches):
    right = [rate * len(y) for rate, (_, y) in zip(_accuracies(model, batches), batches, strict=True)]
    return sum(right) / (len(batches) * len(batches[0][1]))


@accuracy.mistake(
    "Predictions (N, 1) and labels (N,) broadcast to N · N comparisons. Both should be (N,): no `keepdim`."
)
def _(model, batches):
    model.eval()
    right = sum((model(x).argmax(dim=1, keepdim=True) == y).sum().item() for x, y in batches)
    return right / sum(len(y) for _, y in batches)


@accuracy.mistake("You divided by the number of batches. Divide by the number of examples.")
def _(model, batches):
    right = [rate * len(y) for rate, (_, y) in zip(_accuracies(model, batches), batches, strict=True)]
    return sum(right) / len(batches)


# Section 7: activation functions ------------------------------------------------------------------------------


def _with_any_slope_at_0(relu_and_derivative, a):
    """What the function gives, but at a = 0 every slope from 0 to 1 becomes 0."""
    corner, result = a == 0, relu_and_derivative(a)
    match result:
        case [value, torch.Tensor() as slope] if slope.shape == a.shape:
            return value, torch.where(corner & (slope >= 0) & (slope <= 1), 0, slope)
    return result


@lesson.exercise(
    observe=_with_any_slope_at_0,
    cases={
        "a single number": (torch.tensor(1.5),),
        "a = 0": (torch.tensor([0.0]),),
        "a negative and a positive number": (torch.tensor([-1.5, 2.0]),),
        "very large and very small numbers": (torch.tensor([[1e4, -1e4, 1e-4, -1e-4]]),),
        "a matrix": (normal(2, 3),),
        "three axes in float64": (normal(3, 2, 4, seed=1, dtype=torch.float64),),
    },
    returns=("the ReLU", "the derivative"),
    hints=[
        "ReLU keeps what is positive and puts 0 in place of the rest. Its slope is 1 where it keeps, 0 elsewhere.",
        "`a.clamp(min=0)` is the first. For the second, a comparison gives True and False: `(a > 0)`.",
    ],
)
def relu_and_derivative(a):
    """Return ReLU(a) and its derivative at a, both in the shape of the tensor `a`.

    At a = 0 any slope from 0 to 1 will do.
    """
    return a.clamp(min=0), (a > 0).to(a.dtype)


relu_and_derivative.mistakes(
    {
        "This keeps the negative numbers. ReLU keeps the positive ones: `clamp(min=0)`.": lambda a: (
            a.clamp(max=0),
            (a > 0).to(a.dtype),
        ),
        "The derivative is the slope of ReLU: 1 to the right of 0, whatever a is, not a itself.": {
            "(a > 0).to(a.dtype)": "a * (a > 0)"
        },
        "The two are in the wrong order: first the value of ReLU, then its derivative.": lambda a: (
            (a > 0).to(a.dtype),
            a.clamp(min=0),
        ),
        "That keeps the negative numbers. ReLU keeps the positive ones: max(0, a).": {
            "min": "max",
            "a >": "a <",
        },
        "To the left of 0, ReLU is flat, so its slope there is 0, not −1: that would be |a|.": {
            "(a > 0).to(a.dtype)": "a.sign()"
        },
        "The slope does not grow with a: it jumps from 0 to 1 where a passes 0.": {
            "(a > 0).to(a.dtype)": "a.clamp(0, 1)"
        },
        "a / a is undefined at a = 0 and gives nan there. Compare instead: `a > 0`.": {
            "(a > 0).to(a.dtype)": "a.clamp(min=0) / a"
        },
        "The derivative is 1 everywhere here. To the left of 0, ReLU is flat: its slope is 0 there.": {
            "(a > 0).to(a.dtype)": "torch.ones_like(a)"
        },
        "That lets a little of the negative numbers through, as leaky ReLU does. ReLU gives 0 there, with "
        "slope 0.": {"a.clamp(min=0), (a > 0).to(a.dtype)": "F.leaky_relu(a), torch.where(a > 0, 1, 0.01)"},
        "That is the absolute value. ReLU puts 0 in place of negative numbers.": [
            {"a.clamp(min=0)": "a.abs()"},
            {"a.clamp(min=0), (a > 0).to(a.dtype)": "a.abs(), a.sign()"},
        ],
        "The slope is 1 where a is negative and 0 where it is positive: turn the comparison around.": {
            "a >": "a <"
        },
        "`a.max()` is the largest number of the whole tensor. ReLU compares each number with 0: "
        "`a.clamp(min=0)`.": {"a.clamp(min=0)": "a.max().clamp(min=0)"},
        "ReLU has no upper limit: for every positive a it returns a itself, with slope 1.": {
            "(min=0), (a > 0)": "(0, 1), ((a > 0) & (a < 1))"
        },
        "`if` and `max` ask one question about the whole tensor, but each of its numbers needs an answer "
        "of its own. Use a function that works on all of them at once: `clamp`, `torch.where`, or"
        " a comparison such as `a > 0`.": lambda a: (
            (a, torch.ones_like(a)) if a > 0 else (torch.zeros_like(a), torch.zeros_like(a))
        ),
    }
)


# Section 8: where losses come from ----------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "a batch of one": (torch.tensor([[2.0, 1.0, 0.1]]), torch.tensor([0])),
        "a probability of e⁻²⁰⁰": (torch.tensor([[0.0, 200.0]]), torch.tensor([0])),
        "logits about 100": (torch.tensor([[100.0, 99.0]]), torch.tensor([0])),
        "logits about −300": (torch.tensor([[-300.0, -301.0]]), torch.tensor([1])),
        "a logit of 1000": (torch.tensor([[1000.0, 0.0]]), torch.tensor([1])),
        "a logit of −1000": (torch.tensor([[-1000.0, 0.0]]), torch.tensor([0])),
        "two examples": (torch.tensor([[2.0, 1.0, 0.1, -0.4], [0.5, 2.5, 0.3, 1.2]]), torch.tensor([0, 1])),
        "as many examples as classes": (normal(3, 3, seed=2), torch.tensor([1, 1, 2])),
        "an ordinary batch": (normal(4, 3), torch.tensor([2, 0, 1, 2])),
        "ten classes in float64": (normal(5, 10, seed=1, dtype=torch.float64), torch.tensor([9, 0, 3, 3, 7])),
    },
    hints=[
        "You need the logarithm of the probability of the true class in every row; minus its mean is the loss.",
        "Never take the logarithm of a probability: ln p = z − ln Σ exp(z). `torch.logsumexp` computes the last term.",
        "`log_p[torch.arange(len(labels)), labels]` takes from row n the column labels[n].",
    ],
)
def cross_entropy(logits, labels):
    """Return the mean cross-entropy in nats of logits (N, C), even large ones, and labels (N,)."""
    log_p = logits - logits.logsumexp(dim=1, keepdim=True)
    return -log_p[torch.arange(len(labels)), labels].mean()


cross_entropy.mistakes(
    {
        "This is the binary loss, with a sigmoid for each class. Here the classes share one softmax.": (
            lambda logits, labels: F.binary_cross_entropy_with_logits(
                logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype)
            )
        ),
        "The maximum is subtracted in one of the two terms only. Subtract it in both, or add it back.": (
            lambda logits, labels: (
                (logits - logits.amax(dim=1, keepdim=True)).logsumexp(dim=1)
                - logits[torch.arange(len(labels)), labels]
            ).mean()
        ),
        "A probability of e⁻²⁰⁰ is 0 in float32, and its logarithm −inf. Compute ln "
        "p in one step: z − ln Σ exp(z), with `torch.logsumexp` or "
        "`torch.log_softmax`.": lambda logits, labels: (
            -torch.softmax(logits, dim=1).log()[torch.arange(len(labels)), labels].mean()
        ),
        "exp overflows for large logits. `torch.logsumexp` computes ln Σ exp(z) without that.": {
            ".logsumexp(dim=1, keepdim=True)": ".exp().sum(dim=1, keepdim=True).log()"
        },
        "That is one softmax too many: `F.cross_entropy` applies its own. Give it "
        "the logits.": lambda logits, labels: F.cross_entropy(torch.softmax(logits, dim=1), labels),
        "That is the sum over the batch. Take the mean, so that it does not grow "
        "with the batch.": lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"),
        "The sign is wrong: ln p is negative, and the loss is −ln p.": lambda logits, labels: (
            -F.cross_entropy(logits, labels)
        ),
        "That is the mean over all N · C entries, most of which are 0. There are "
        "only N examples to average over.": lambda logits, labels: (
            F.cross_entropy(logits, labels) / logits.shape[1]
        ),
        "`log_p[:, labels]` takes the columns of all labels from every row. Each row"
        " needs its own label only: `log_p[torch.arange(len(labels)), labels]`.": lambda logits, labels: (
            -torch.log_softmax(logits, dim=1)[:, labels].mean()
        ),
        "The logarithm is missing: this is minus the mean probability of the true class, not minus the mean of "
        "its logarithm.": lambda logits, labels: F.nll_loss(torch.softmax(logits, dim=1), labels),
        "This is the mean squared error of the probabilities. The cross-entropy is −ln p of the true "
        "class.": lambda logits, labels: (
            (torch.softmax(logits, dim=1) - F.one_hot(labels, logits.shape[1])).square().mean()
        ),
        "First the mean, then the logarithm: take the logarithm of each example's probability, and then "
        "the mean.": lambda logits, labels: (
            -torch.softmax(logits, dim=1)[torch.arange(len(labels)), labels].mean().log()
        ),
        "That is the entropy of the predictions, in which the labels do not occur. Take −ln p of the true "
        "class.": lambda logits, labels: torch.distributions.Categorical(logits=logits).entropy().mean(),
        "This gives the loss of the predicted class. Take the one that `labels` "
        "names.": lambda logits, labels: F.cross_entropy(logits, logits.argmax(dim=1)),
        "These are the losses of the individual examples. Take their mean.": lambda logits, labels: (
            F.cross_entropy(logits, labels, reduction="none")
        ),
        "This averages the logit of the true class. Average the logarithm of its "
        "probability instead.": lambda logits, labels: -logits[torch.arange(len(labels)), labels].mean(),
        "The softmax runs over the wrong axis: the classes of an example lie along "
        "`dim=1`.": lambda logits, labels: (
            -torch.log_softmax(logits, dim=0)[torch.arange(len(labels)), labels].mean()
        ),
        "The logarithm to base 2 gives bits. PyTorch takes the natural one, which "
        "gives nats, and so do we.": lambda logits, labels: (
            F.cross_entropy(logits, labels) / torch.log(torch.tensor(2.0))
        ),
    }
)


def _patched(epsilon, patch):
    """The loss with probabilities kept away from 0 by brute force."""
    return lambda logits, labels: (
        -patch(torch.softmax(logits, dim=1), epsilon).log()[range(len(labels)), labels].mean()
    )


for _epsilon, _patch in itertools.product((1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12), (torch.add, torch.clamp)):
    cross_entropy.mistake(
        "A small number that keeps p away from 0 hides the −inf and gives a wrong loss instead. Compute ln "
        "p in one step: z − ln Σ exp(z), with `torch.logsumexp` or `torch.log_softmax`."
    )(_patched(_epsilon, _patch))


@cross_entropy.mistake(
    "exp overflows for large logits: inf / inf is nan. Compute ln p in one step: z − ln Σ exp(z)."
)
def _(logits, labels):
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -p.log()[torch.arange(len(labels)), labels].mean()


# Section 9: around the loop -----------------------------------------------------------------------------------


def _facts_of_layer(Standardise, x_train, x):
    """What the layer gives, also after its state went through a file and its numbers became float64."""
    layer = Standardise(x_train)
    if not isinstance(layer, nn.Module):
        return {
            "what comes back": "not an nn.Module: the class should begin with `class Standardise(nn.Module)`"
        }
    other = Standardise(normal(*x_train.shape, seed=9, dtype=x_train.dtype))
    other.load_state_dict(layer.state_dict())
    given, result = x.clone(), layer(x)
    return {
        "what comes back": "an nn.Module",
        "what it returns": result,
        "it leaves its input as it was": torch.equal(x, given),
        "what it returns for the first example alone": layer(x[:1]),
        "what it returns the second time": layer(x),
        "what it returns in eval mode": layer.eval()(x),
        "the number of values that training would change": sum(
            part.numel() for part in layer.parameters() if part.requires_grad
        ),
        "what another one returns after loading its state_dict": other(x),
        "what it returns after layer.double()": layer.double()(x.double()),
    }


@lesson.exercise(
    observe=_facts_of_layer,
    cases={
        "one feature": (torch.tensor([[1.0], [2.0], [6.0]]), torch.tensor([[4.0], [0.0]])),
        "a constant feature": (torch.tensor([[7.0], [7.0], [7.0]]), torch.tensor([[7.0], [8.0]])),
        "a feature that hardly varies": (torch.tensor([[0.1], [0.11], [0.12]]), torch.tensor([[0.1], [0.2]])),
        "features in different units": (
            torch.tensor([[1.0, 10.0], [2.0, 30.0], [3.0, 80.0]]),
            torch.tensor([[2.0, 30.0], [3.0, 10.0], [2.5, 90.0]]),
        ),
        "an ordinary batch": (5 + 3 * normal(40, 4), normal(6, 4, seed=1)),
        "as many examples as features": (2 + normal(5, 5, seed=2), normal(5, 5, seed=3)),
        "images": (normal(30, 1, 4, 3), normal(5, 1, 4, 3, seed=1)),
        "float64 numbers": (
            -1 + 2 * normal(20, 3, seed=4, dtype=torch.float64),
            normal(7, 3, seed=5, dtype=torch.float64),
        ),
    },
    hints=[
        "In `__init__`, after `super().__init__()`: compute mean and standard deviation along `dim=0`. Use "
        "them in `forward`.",
        "`self.register_buffer('mean', ...)` makes a tensor part of the layer, so that it is saved and moved with it.",
        "`.clamp(min=0.1)` turns a standard deviation of 0 into 0.1.",
    ],
)
class Standardise(nn.Module):
    """A layer that subtracts the mean of the training data and divides by their standard deviation.

    Standardise(x_train) computes both over the examples, x_train.mean(dim=0) and
    x_train.std(dim=0), and raises standard deviations below 0.1 to 0.1. Both belong to the layer's
    state, so they are saved and moved with it, but training does not change them.
    """

    def __init__(self, x_train):
        super().__init__()
        self.register_buffer("mean", x_train.mean(dim=0))
        self.register_buffer("deviation", x_train.std(dim=0).clamp(min=0.1))

    def forward(self, x):
        """Return x (N, ...), standardized."""
        return (x - self.mean) / self.deviation


class _Layer(nn.Module):
    """The layer, with mean and standard deviation already computed."""

    def __init__(self, mean, deviation):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, x):
        return (x - self.mean) / self.deviation


@Standardise.mistake(
    "Mean and standard deviation are not in the layer's state_dict, so they are not saved. Is one a plain attribute, "
    "which `.to(device)` leaves behind as well, or a buffer with `persistent=False`? Use "
    "`self.register_buffer('mean', ...)`."
)
class _(_Layer):
    def __init__(self, x_train):
        nn.Module.__init__(self)
        self.mean, self.deviation = x_train.mean(dim=0), x_train.std(dim=0).clamp(min=0.1)


@Standardise.mistake("Training changes a parameter, but these two should stay fixed. Use `register_buffer`.")
class _(_Layer):
    def __init__(self, x_train):
        nn.Module.__init__(self)
        self.mean = nn.Parameter(x_train.mean(dim=0))
        self.deviation = nn.Parameter(x_train.std(dim=0).clamp(min=0.1))


@Standardise.mistake(
    "This uses the mean and standard deviation of the current batch, so an example's result depends on the "
    "others in it. Take those of the training data, in `__init__`."
)
class _(nn.Module):
    def __init__(self, x_train):
        super().__init__()

    def forward(self, x):
        return (x - x.mean(dim=0)) / x.std(dim=0).clamp(min=0.1)


Standardise.mistakes(
    {
        "A feature that never varies has standard deviation 0, and 0 / 0 is nan: "
        "`.clamp(min=0.1)`.": lambda x_train: _Layer(x_train.mean(dim=0), x_train.std(dim=0)),
        "One mean for all features mixes their units. Each has its own: "
        "`x_train.mean(dim=0)`.": lambda x_train: _Layer(x_train.mean(), x_train.std().clamp(min=0.1)),
        "Your standard deviation divides by N; `std(dim=0)` divides by N − 1.": lambda x_train: _Layer(
            x_train.mean(dim=0), x_train.std(dim=0, correction=0).clamp(min=0.1)
        ),
        "Only the division is there: subtract the mean first.": {"(x - self.mean)": "x"},
        "Only the mean is subtracted: divide by the standard deviation as well.": {
            "(x - self.mean) / self.deviation": "x - self.mean"
        },
        "You multiply by the standard deviation. Divide by it, so that the result has standard deviation 1.": {
            ") / self.deviation": ") * self.deviation"
        },
        "The mean is added. Subtract it, so that the result has mean 0.": {"x - self.mean": "x + self.mean"},
        "`clamp(max=0.1)` lowers the large standard deviations. Those below 0.1 should be raised: "
        "`clamp(min=0.1)`.": {"clamp(min=0.1)": "clamp(max=0.1)"},
        "The statistics go along with every batch that comes by, so the result depends on what was shown before. "
        "Compute them once, in `__init__`.": {
            "return (x -": "self.mean = 0.9 * self.mean + 0.1 * x.mean(dim=0)\n        return (x -"
        },
        "These are the mean and standard deviation of each example, along `dim=1`. A feature has its own over all "
        "examples: `dim=0`.": {
            "x_train.mean(dim=0)": "x_train.mean(dim=1, keepdim=True)",
            "x_train.std(dim=0)": "x_train.std(dim=1, keepdim=True)",
        },
        "You added 0.1 to every standard deviation. Only those below 0.1 should be raised: "
        "`.clamp(min=0.1)`.": lambda x_train: _Layer(x_train.mean(dim=0), x_train.std(dim=0) + 0.1),
        "You divided by the variance. Divide by its square root, the standard deviation.": lambda x_train: (
            _Layer(x_train.mean(dim=0), x_train.std(dim=0).clamp(min=0.1) ** 2)
        ),
        "A small number added to the standard deviation changes every feature a little, and"
        " blows up the constant ones. `.clamp(min=0.1)` changes only standard deviations "
        "below 0.1.": lambda x_train: _Layer(x_train.mean(dim=0), x_train.std(dim=0) + 1e-8),
    }
)


@Standardise.mistake(
    "Standard deviations between 0 and 0.1 should be raised to 0.1 as well: `.clamp(min=0.1)`."
)
def _(x_train):
    return _Layer(x_train.mean(dim=0), torch.where(x_train.std(dim=0) == 0, 0.1, x_train.std(dim=0)))


@Standardise.mistake(
    "Division binds more tightly than subtraction: write `(x - mean) / deviation`, with brackets."
)
class _(nn.Module):
    def __init__(self, x_train):
        super().__init__()
        self.register_buffer("mean", x_train.mean(dim=0))
        self.register_buffer("deviation", x_train.std(dim=0).clamp(min=0.1))

    def forward(self, x):
        return x - self.mean / self.deviation


# Section 11: a closer look at the network ---------------------------------------------------------------------


@lesson.exercise(
    cases={
        "a single example": (torch.tensor([1]), torch.tensor([0]), 2),
        "three examples": (torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2),
        "no mistakes": (torch.tensor([0, 1, 2, 1]), torch.tensor([0, 1, 2, 1]), 3),
        "a pair that occurs three times": (torch.tensor([2, 2, 2, 2, 0]), torch.tensor([1, 1, 1, 2, 0]), 3),
        "two classes that do not occur": (torch.tensor([0, 1, 0]), torch.tensor([0, 0, 0]), 4),
        "five classes": (torch.arange(60) % 5, torch.arange(60) // 7 % 5, 5),
        "a pair that occurs 300 times": (
            torch.zeros(300, dtype=torch.long),
            torch.zeros(300, dtype=torch.long),
            2,
        ),
    },
    hints=[
        "Begin with `torch.zeros(classes, classes, dtype=torch.long)` and count the pairs, one after the other.",
        "The pair (true, predicted) belongs in row `true`, column `predicted`.",
    ],
)
def confusion_matrix(labels, predictions, classes):
    """Return a tensor of counts (classes, classes): [i, j] says how often a true i was taken for a j.

    `labels` (N,) are the true classes, `predictions` (N,) the predicted ones, both integers.
    """
    pairs = labels * classes + predictions  # one number for each pair
    return pairs.bincount(minlength=classes**2).reshape(classes, classes)


def _pairs_of(labels, predictions, classes):
    return (labels * classes + predictions).bincount(minlength=classes**2).reshape(classes, classes)


confusion_matrix.mistakes(
    {
        "Only the mistakes are counted. The right answers belong on the diagonal.": (
            lambda labels, predictions, classes: _pairs_of(
                labels[labels != predictions], predictions[labels != predictions], classes
            )
        ),
        "The last example is missing: does the loop end too early?": lambda labels, predictions, classes: (
            _pairs_of(labels[:-1], predictions[:-1], classes)
        ),
        "These are fractions of each column, of all that were predicted as a class. Return the "
        "counts.": lambda labels, predictions, classes: (
            _pairs_of(labels, predictions, classes)
            / _pairs_of(labels, predictions, classes).sum(dim=0, keepdim=True)
        ),
        "A pair counts in both of its places, [i, j] and [j, i]. Only [true, predicted] should grow.": (
            lambda labels, predictions, classes: (
                _pairs_of(labels, predictions, classes) + _pairs_of(predictions, labels, classes)
            )
        ),
        "The counts come in a row. A matrix has a row for each true class: `reshape(classes, classes)`.": {
            ".reshape(classes, classes)": ""
        },
        "Rows and columns are swapped: the true class chooses the row.": lambda labels, predictions, classes: (
            confusion_matrix.reference(predictions, labels, classes)
        ),
    }
)


@confusion_matrix.mistake(
    "A pair that occurs several times is counted only once. `counts[labels, predictions] += 1` does that, "
    "and so does `= 1` in a loop: count with `+= 1` in a loop, or with `bincount`."
)
def _(labels, predictions, classes):
    counts = torch.zeros(classes, classes, dtype=torch.long)
    counts[labels, predictions] += 1
    return counts


@confusion_matrix.mistake("These are fractions of each row. Return the counts.")
def _(labels, predictions, classes):
    counts = confusion_matrix.reference(labels, predictions, classes)
    return counts / counts.sum(dim=1, keepdim=True)


@confusion_matrix.mistake(
    "A class that does not occur still gets a row and a column of zeros: use `classes`."
)
def _(labels, predictions, classes):
    return confusion_matrix.reference(labels, predictions, int(max(labels.max(), predictions.max())) + 1)


@confusion_matrix.mistake(
    "`bincount` stops at the largest number it sees. `minlength=classes**2` keeps a place for every pair."
)
def _(labels, predictions, classes):
    return (labels * classes + predictions).bincount().reshape(classes, classes)


@confusion_matrix.mistake("uint8 counts to 255 and starts again at 0. Count in int64, `torch.long`.")
def _(labels, predictions, classes):
    return confusion_matrix.reference(labels, predictions, classes).to(torch.uint8)


@confusion_matrix.mistake("Only the right answers are counted. The mistakes belong off the diagonal.")
def _(labels, predictions, classes):
    return torch.diag(labels[labels == predictions].bincount(minlength=classes))


@confusion_matrix.mistake("These are fractions of all examples. Return the counts.")
def _(labels, predictions, classes):
    return confusion_matrix.reference(labels, predictions, classes) / len(labels)


# Section 12: the quiz -----------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "Every answer is in the lesson: sections 5, 3, 4, 2, 5, 6 and 2.",
        "Work out shapes on paper.",
    ],
    start_at_20=Question(
        "b",
        "Equal logits give a loss of ln 10 = 2.3. A loss of 20 takes large, wrong logits. Look for grey values from "
        "0 to 255 first, then at the initial weights.",
        {
            "a": "Wrong labels do not show before training: random guesses are wrong nine times in ten "
            "anyway.",
            "c": "Before the first step the learning rate has done nothing yet.",
            "d": "More digits would give the same mean.",
        },
    ),
    softmax_twice=Question(
        "c",
        "The second softmax sees numbers from 0 to 1 only. At best it gives e / (e + 9), so the loss cannot fall below "
        "ln(e + 9) − 1 = 1.46, and the probabilities mean little. It still learns, though often worse, and the mistake "
        "is easily overlooked.",
        {
            "a": "There is no error, and that is the trap: the loss takes rows of probabilities for logits.",
            "b": "Applied to probabilities, softmax gives different, flatter probabilities.",
            "d": "They still sum to one, whatever goes into the last softmax.",
        },
    ),
    gradient_shape=Question(
        (128, 784),
        "A gradient has the shape of its weights: δ₁ᵀ X is (128, 64) @ (64, 784).",
        {
            (784, 128): "That is transposed: W₁ has a row for each of the 128 units.",
            (64, 128): "That is δ₁. The weights do not depend on the number of examples.",
            (64, 784): "That is X. The weights do not depend on the number of examples.",
            (128,): "That is the bias's gradient.",
        },
    ),
    parameters=Question(
        5203,
        "100 · 50 + 50 weights and biases in the first layer, 50 · 3 + 3 in the second.",
        {
            5150: "The biases are missing: one for each hidden and output unit.",
            5200: "The hidden biases are there; the 3 output units have biases as well.",
            5303: "The inputs have no biases.",
            5152: "Each unit has a bias, not each layer.",
        },
    ),
    rising_valid=Question(
        "b",
        "At this rate it is memorizing its training digits. Keep the best weights, or cut the rate and watch the "
        "validation loss: in section 5 it fell once more.",
        {
            "a": "The network already fits the training digits better than the others. A larger one widens "
            "the gap.",
            "c": "Then you would have used the test digits to choose, and the test accuracy would be too "
            "optimistic.",
            "d": "The training loss says nothing about other digits, and the validation loss, which does, is rising.",
        },
    ),
    two_points=Question(
        "d",
        "The standard error of each is 0.0014, of the difference √2 times that, 0.0019: 0.002 is well "
        "within the noise.",
        {
            "a": "Each of the two scatters by 0.0014, so a difference of 0.002 can be luck.",
            "b": "More parameters say nothing about which one is better.",
            "c": "The training digits do not tell you how a network does on others.",
        },
    ),
    no_activation=Question(
        "a",
        "Affine after affine is affine, however often: the boundary is straight.",
        {
            "b": "That takes nonlinearities. Without them the three layers are one affine map.",
            "c": "Without nonlinearities there is nothing to fold the line: three layers are one affine map.",
            "d": "It has a boundary: where the two logits of one affine map are equal.",
        },
    ),
)


# Section 13: jets ---------------------------------------------------------------------------------------------


def _jet_scaling():
    """Mean and standard deviation of the training jets (15,), with which the lesson standardizes."""
    x = data.jets().train.x
    return x.mean(dim=0), x.std(dim=0)


def _jets_kept_back():
    """6,000 more jets, of other collisions than those of data.jets(), standardized as in the lesson."""
    stored = data.shipped("jets_held_out.npz")
    mean, deviation = _jet_scaling()
    return data.Split(
        (torch.from_numpy(stored["x"]) - mean) / deviation, torch.from_numpy(stored["y"]).long()
    )


def _jet_scores(logits, labels):
    top = data.JETS.index("top")
    return {
        "accuracy": (logits.argmax(dim=1) == labels).float().mean().item(),
        "AUC for top": roc_auc_score((labels == top).cpu(), logits.softmax(dim=1)[:, top].cpu()),
    }


@lesson.trained_model(
    attempt="tagger",
    held_out=_jets_kept_back,
    score=_jet_scores,
    floors={"accuracy": 0.69, "AUC for top": 0.95},
    hints=[
        "Build the layers as in `build_mlp`, but without `nn.Flatten()`: 15 → 64 → 5 logits is enough to begin with.",
        "`optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)`, and `scheduler = "
        "torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=2)`.",
        "`train.fit(net, train_jets.batches(128, shuffle=True), valid_jets.batches(1000), epochs=100, "
        "optimizer=optimizer, scheduler=scheduler, patience=10)`, and do not forget to return the net.",
    ],
)
def jet_tagger(train_jets, valid_jets):
    """Return a network from standardized features (N, 15) to logits (N, 5), trained.

    The split `train_jets` is for training, the split `valid_jets` for deciding when to stop.
    """
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(15, 64), nn.ReLU(), nn.Linear(64, 5)).to(train_jets.x.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    train.fit(
        net,
        train_jets.batches(128, shuffle=True),
        valid_jets.batches(1000),
        epochs=100,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=2),
        patience=10,
    )
    return net


@jet_tagger.symptom(
    "It predicts one kind for nearly every jet. Are its units dead because the learning rate is too high, "
    "or did you train a different model from the one you returned?"
)
def _(model, jets):
    return model(jets.x).argmax(dim=1).bincount(minlength=5).max() > 0.9 * len(jets)


@jet_tagger.symptom("It is one affine map: where are the ReLUs between its layers?")
def _(model, jets):
    one, other = jets.x[:500], jets.x[500:1000]
    affine = model(one) + model(other) - model(torch.zeros_like(one))
    return torch.allclose(model(one + other), affine, rtol=1e-3, atol=1e-3)


@jet_tagger.symptom(
    "Its rows sum to one: there is a softmax at its end, and the cross-entropy applied a second one during "
    "training. End with the logits."
)
def _(model, jets):
    return torch.allclose(model(jets.x).sum(dim=1), torch.ones(len(jets), device=jets.x.device), atol=1e-3)


@jet_tagger.symptom(
    "It knows the kinds, but numbers them otherwise: its answers are right far more often once they are shifted. Train "
    "on the labels as they are, 0 to 4."
)
def _(model, jets):
    found = model(jets.x).argmax(dim=1)
    rates = [((found + shift) % 5 == jets.y).float().mean() for shift in range(5)]
    return max(rates) > rates[0] + 0.2


@jet_tagger.symptom(
    "It does far better on the raw features than on the standardized ones: it was trained on `jets.train`, not on "
    "`scaled['train']`."
)
def _(model, jets):
    mean, deviation = (part.to(jets.x.device) for part in _jet_scaling())
    raw = model(jets.x * deviation + mean).argmax(dim=1) == jets.y
    return raw.float().mean() > max((model(jets.x).argmax(dim=1) == jets.y).float().mean() + 0.1, 0.5)


@jet_tagger.symptom(
    "It hardly tells W from Z, though it knows the other kinds. They come apart last: did training end after a few "
    "epochs? If not, a layer may be too narrow: try more units there, no dropout after it, or another seed."
)
def _(model, jets):
    w_or_z = (jets.y == 2) | (jets.y == 3)
    says_z = model(jets.x[w_or_z])[:, 2:4].argmax(dim=1)
    others = (model(jets.x[~w_or_z]).argmax(dim=1) == jets.y[~w_or_z]).float().mean()
    return (says_z == jets.y[w_or_z] - 2).float().mean() < 0.7 and others > 0.65


@jet_tagger.symptom(
    "It does hardly better than guessing. Did you give the optimizer its parameters, and did `fit` run?"
)
def _(model, jets):
    return (model(jets.x).argmax(dim=1) == jets.y).float().mean() < 0.35
