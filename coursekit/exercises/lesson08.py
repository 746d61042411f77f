"""The exercises of lesson 8, Recurrent networks: solutions, classic mistakes, hints."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import data
from coursekit.checks import ExerciseSet, ModelExercise, Question, normal, show

lesson = ExerciseSet("Lesson 8")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


# What several exercises need ----------------------------------------------------------------------------------


def _same(x):
    return x


def _nothing(x):
    return 0 * x


# Section 2: a recurrent layer ---------------------------------------------------------------------------------


def _recurrent(N, T, D, H, seed, dtype=torch.float32):
    """Inputs, weights and a first state of a recurrent layer: x, W_x, W_h, b, h0."""
    shapes = ((N, T, D), (H, D), (H, H), (H,), (N, H))
    return tuple(0.7 * normal(*shape, seed=seed + number, dtype=dtype) for number, shape in enumerate(shapes))


@lesson.exercise(
    cases={
        "one unit, three steps": (
            torch.tensor([[[1.0], [0.0], [0.0]]]),
            torch.tensor([[2.0]]),
            torch.tensor([[0.5]]),
            torch.tensor([0.1]),
            torch.tensor([[0.0]]),
        ),
        "a single step": _recurrent(3, 1, 2, 4, seed=10),
        "more steps than examples": _recurrent(2, 5, 3, 4, seed=20),
        "more examples than steps": _recurrent(5, 3, 4, 2, seed=30),
        "as many units as inputs": _recurrent(4, 2, 3, 3, seed=40),
        "as many examples as steps": _recurrent(3, 3, 2, 5, seed=50),
        "all sizes equal": _recurrent(2, 2, 2, 2, seed=60),
        "a batch of one": _recurrent(1, 6, 2, 3, seed=70),
        "float64 numbers": _recurrent(3, 4, 5, 2, seed=80, dtype=torch.float64),
    },
    hints=[
        "Loop over the steps. What does a step need from the one before?",
        "`x[:, t] @ W_x.T + h @ W_h.T + b` is (N, H): the input of step t, and the state that came out of step t − 1.",
        "Collect the states in a list, then `torch.stack(states, dim=1)`.",
    ],
)
def elman(x, W_x, W_h, b, h0):
    """Return all states (N, T, H) of a recurrent layer: h_t = tanh(W_x x_t + W_h h_(t-1) + b).

    `x` is (N, T, D), `W_x` (H, D), `W_h` (H, H), `b` (H,), and `h0` (N, H) is the state before the first step.
    """
    h, states = h0, []
    for x_t in x.unbind(dim=1):
        h = torch.tanh(x_t @ W_x.T + h @ W_h.T + b)
        states.append(h)
    return torch.stack(states, dim=1)


def _elman(
    steps=lambda x: x.unbind(dim=1),
    first=_same,
    from_x=lambda x, W: x @ W.T,
    from_h=lambda h, W: h @ W.T,
    cell=lambda a, h, b: torch.tanh(a + h + b),
    keep=_same,
    carry=lambda new, h0, old: new,
    joined=lambda states, h0: torch.stack(states, dim=1),
):
    """The loop over the steps, with what can go wrong as arguments."""

    def attempt(x, W_x, W_h, b, h0):
        h, states = first(h0), []
        for x_t in steps(x):
            new = cell(from_x(x_t, W_x), from_h(h, W_h), b)
            states.append(keep(new))
            h = carry(new, h0, h)
        return joined(states, h0)

    return attempt


def _joined(join):
    return {"joined": lambda states, h0: join(states)}


_LOOPS = {
    "The state is not carried on: every step starts from h0. Step t takes the state that step t − 1 gave: "
    "assign the new state to `h`.": {"carry": lambda new, h0, old: h0},
    "The sequence is read from its end. Start with step 0.": {"steps": lambda x: x.unbind(dim=1)[::-1]},
}
_INSIDE = {
    "`W_h` has to be transposed: with states in rows it is `h @ W_h.T`. `h @ W_h` runs too, which makes this hard to "
    "see.": {"from_h": lambda h, W: h @ W},
    "The tanh is missing: the new state is tanh of the whole sum.": {"cell": lambda a, h, b: a + h + b},
    "The activation function is a sigmoid here. A recurrent layer takes tanh.": {
        "cell": lambda a, h, b: torch.sigmoid(a + h + b)
    },
    "The activation function is a ReLU here. This layer takes tanh.": {
        "cell": lambda a, h, b: F.relu(a + h + b)
    },
    "The bias b is missing: it is added at every step, inside the tanh.": {
        "cell": lambda a, h, b: torch.tanh(a + h)
    },
    "The bias is added twice. Here is only one b, and it is added once at every step.": {
        "cell": lambda a, h, b: torch.tanh(a + h + 2 * b)
    },
    "The bias is added after the tanh. It belongs inside: tanh(W_x x + W_h h + b).": {
        "cell": lambda a, h, b: torch.tanh(a + h) + b
    },
    "W_h h is added after the tanh. It belongs inside: tanh(W_x x + W_h h + b).": {
        "cell": lambda a, h, b: torch.tanh(a + b) + h
    },
    "W_x x is added after the tanh. It belongs inside: tanh(W_x x + W_h h + b).": {
        "cell": lambda a, h, b: torch.tanh(h + b) + a
    },
    "W_x x and W_h h are multiplied. Add them.": {"cell": lambda a, h, b: torch.tanh(a * h + b)},
    "W_h h is subtracted. Add it.": {"cell": lambda a, h, b: torch.tanh(a - h + b)},
    "The bias is subtracted. Add it.": {"cell": lambda a, h, b: torch.tanh(a + h - b)},
    "The old state does not enter: this is a dense layer, applied to every step alone. Add `h @ W_h.T`.": {
        "from_h": lambda h, W: 0 * h
    },
    "The input does not enter: add `x[:, t] @ W_x.T`.": {"from_x": lambda x, W: 0 * (x @ W.T)},
    "The old state is added as it is. It goes through its weights first: `h @ W_h.T`.": {
        "from_h": lambda h, W: h
    },
    "tanh is applied twice at each step. Once is enough.": {
        "cell": lambda a, h, b: torch.tanh(torch.tanh(a + h + b))
    },
    "tanh is applied to each term. Add them first, then apply tanh to the sum.": {
        "cell": lambda a, h, b: torch.tanh(a) + torch.tanh(h) + torch.tanh(b)
    },
    "tanh is applied to W_x x and W_h h one by one. Add everything first, then apply one tanh to the sum.": {
        "cell": lambda a, h, b: torch.tanh(a) + torch.tanh(h) + b
    },
}
_ENDS = {
    "This is the last state only. Collect the states of all steps in a list, then stack them: (N, T, H).": _joined(
        lambda states: states[-1]
    ),
    "The states are stacked along axis 0, (T, N, H). The steps are axis 1: `torch.stack(states, dim=1)`.": _joined(
        torch.stack
    ),
    "The steps stand on the last axis, (N, H, T). They are axis 1: `torch.stack(states, dim=1)`.": _joined(
        lambda states: torch.stack(states, dim=2)
    ),
    "`cat` puts the states of all steps side by side in one row. `torch.stack(states, dim=1)` gives the steps an axis "
    "of their own.": _joined(lambda states: torch.cat(states, dim=1)),
    "`cat` puts the states of all steps below each other. `torch.stack(states, dim=1)` gives the steps an axis of "
    "their own.": _joined(torch.cat),
    "A list came back. Make one tensor of it: `torch.stack(states, dim=1)`.": _joined(_same),
    "States and last state came back, as from `nn.RNN`. Return the states only.": _joined(
        lambda states: (torch.stack(states, dim=1), states[-1])
    ),
    "h0 stands in front of the states. It is the state before the first step and is not returned.": {
        "joined": lambda states, h0: torch.stack([h0, *states], dim=1)
    },
    "Stored are the states before each step, h0 included, and the last one is missing. Update `h` first, then store "
    "it.": {"joined": lambda states, h0: torch.stack([h0, *states[:-1]], dim=1)},
    "Every step shows the last state. Did you write into one tensor again and again, or store it once for all? Make a "
    "new state at each step.": _joined(lambda states: torch.stack([states[-1]] * len(states), dim=1)),
    "The states come out in reverse order. Append them as they arise.": _joined(
        lambda states: torch.stack(states[::-1], dim=1)
    ),
    "This is the sum of all states. Stack them: (N, T, H).": _joined(sum),
    "This is the mean of all states. Stack them: (N, T, H).": _joined(
        lambda states: sum(states) / len(states)
    ),
}
elman.slips(_elman, _LOOPS, _INSIDE, _ENDS)
elman.mistakes(
    {
        "`h0` is not used: the state before the first step is h0, which need not be 0.": [
            _elman(first=torch.zeros_like),
            _elman(first=lambda h0: torch.zeros_like(h0[:1])),
            _elman(
                first=torch.zeros_like,
                joined=lambda states, h0: torch.stack(states, dim=1),
                cell=lambda a, h, b: torch.tanh(a + h + b),
            ),
        ],
        "The loop runs over the examples, axis 0 of x. It should run over the steps, axis 1: `x[:, t]` for t in "
        "`range(x.shape[1])`.": [
            _elman(steps=lambda x: x.unbind(dim=0)),
            _elman(steps=lambda x: x.unbind(dim=0), joined=lambda states, h0: torch.stack(states)),
            _elman(steps=lambda x: [x[t] for t in range(x.shape[1])]),
            _elman(
                steps=lambda x: [x[t] for t in range(x.shape[1])],
                joined=lambda states, h0: torch.stack(states),
            ),
        ],
        "`len(x)` is the number of examples N. The steps are axis 1: `range(x.shape[1])`.": [
            _elman(steps=lambda x: [x[:, t] for t in range(len(x))]),
            _elman(
                steps=lambda x: [x[:, t] for t in range(len(x))],
                joined=lambda states, h0: torch.stack(states),
            ),
        ],
        "The loop runs over the D numbers of the input, axis 2. The steps are axis 1: `range(x.shape[1])`.": [
            _elman(steps=lambda x: [x[:, t] for t in range(x.shape[2])]),
            _elman(steps=lambda x: x.unbind(dim=2)),
        ],
        "`W_x` has to be transposed: with inputs in rows it is `x[:, t] @ W_x.T`.": [
            _elman(from_x=lambda x, W: x @ W),
            _elman(from_x=lambda x, W: x @ W, from_h=lambda h, W: h @ W),
        ],
        "The first step is left out: begin with t = 0.": [
            _elman(steps=lambda x: x.unbind(dim=1)[1:]),
            _elman(
                steps=lambda x: x.unbind(dim=1)[1:],
                joined=lambda states, h0: torch.stack([h0, *states], dim=1),
            ),
        ],
        "The last step is left out: `range(x.shape[1])` ends at T − 1 by itself.": _elman(
            steps=lambda x: x.unbind(dim=1)[:-1]
        ),
        "Each step takes the input of the step before: `x[:, t - 1]`. Step t takes x_t, and only the state is the one "
        "of step t − 1.": [
            _elman(steps=lambda x: x.roll(1, dims=1).unbind(dim=1)),
            _elman(steps=lambda x: F.pad(x, (0, 0, 1, -1)).unbind(dim=1)),
        ],
        "Every step takes the first input. Step t takes `x[:, t]`.": _elman(
            steps=lambda x: [x[:, 0]] * x.shape[1]
        ),
        "Every step takes the last input. Step t takes `x[:, t]`.": _elman(
            steps=lambda x: [x[:, -1]] * x.shape[1]
        ),
        "The tanh is only in what you store: the next step goes on from the sum without it. Carry tanh of the sum "
        "on.": _elman(cell=lambda a, h, b: a + h + b, keep=torch.tanh),
        "The old state is added once more, outside of the tanh. The new state is tanh(W_x x + W_h h + b) "
        "alone.": [
            _elman(carry=lambda new, h0, old: new + old),
            lambda x, W_x, W_h, b, h0: _with_skip(x, W_x, W_h, b, h0),
        ],
        "Each step gets the weighted sum of all inputs, not its own: `x[:, t]` is the input of step t.": _elman(
            steps=lambda x: [x.sum(dim=1)] * x.shape[1]
        ),
        "The states of all examples share the first state: each example has its own row of h0.": _elman(
            first=lambda h0: h0[:1].expand_as(h0)
        ),
        "`*` multiplies number by number. Between states and weights belongs a matrix product: `h @ W_h.T`.": [
            _elman(from_h=lambda h, W: h * W),
            _elman(from_h=lambda h, W: h * W.T),
        ],
    }
)


def _into_zeros(room, rounds=lambda x: x.shape[1]):
    """The loop that writes its states into a tensor of zeros."""

    def attempt(x, W_x, W_h, b, h0):
        h, states = h0, room(x, b)
        for t in range(rounds(x)):
            h = torch.tanh(x[:, t] @ W_x.T + h @ W_h.T + b)
            states[:, t] = h
        return states

    return attempt


def _own_weights(x, W_x, W_h, b, h0):
    return nn.RNN(x.shape[2], len(b), batch_first=True)(x, h0[None])[0]


elman.mistakes(
    {
        "`len(x)` is the number of examples N. The steps are axis 1: `range(x.shape[1])`.": [
            _into_zeros(lambda x, b: torch.zeros(*x.shape[:2], len(b)), len),
            _into_zeros(lambda x, b: torch.zeros(*x.shape[:2], len(b), dtype=x.dtype), len),
        ],
        "A state has H numbers, and `zeros_like(x)` has room for D. Make it (N, T, H), or collect the states in a "
        "list.": _into_zeros(lambda x, b: torch.zeros_like(x)),
        "There is no room for T steps: make the tensor (N, T, H), or collect the states in a list.": [
            _into_zeros(lambda x, b: torch.zeros(x.shape[1], len(x), len(b))),
            _into_zeros(lambda x, b: torch.zeros(x.shape[1], len(x), len(b), dtype=x.dtype)),
        ],
        "`W_x @ x_t` is for a single example. Here the examples are rows: `x[:, t] @ W_x.T + h @ W_h.T + b`.": [
            _elman(from_x=lambda x, W: W @ x, from_h=lambda h, W: W @ h),
            _elman(from_x=lambda x, W: W @ x),
            _elman(from_h=lambda h, W: W @ h),
        ],
        "`nn.RNN` begins with random weights of its own. Use those that were handed in.": _own_weights,
    }
)
_CELLS = {
    "`W_h` is not transposed.": {"from_h": lambda h, W: h @ W},
    "The tanh is missing.": {"cell": lambda a, h, b: a + h + b},
    "It is a sigmoid instead of tanh.": {"cell": lambda a, h, b: torch.sigmoid(a + h + b)},
    "It is a ReLU instead of tanh.": {"cell": lambda a, h, b: F.relu(a + h + b)},
    "The bias is missing.": {"cell": lambda a, h, b: torch.tanh(a + h)},
    "The bias is added after the tanh, not inside.": {"cell": lambda a, h, b: torch.tanh(a + h) + b},
}
_RETURNED = {
    "The states are stacked along axis 0, not 1.": _joined(torch.stack),
    "Only the last state comes back, not all of them.": _joined(lambda states: states[-1]),
    "A list comes back: stack the states.": _joined(_same),
    "The states before each step are stored, not those after it.": {
        "joined": lambda states, h0: torch.stack([h0, *states[:-1]], dim=1)
    },
    "h0 is returned as well.": {"joined": lambda states, h0: torch.stack([h0, *states], dim=1)},
}
_CARRIED = {"The state is not carried on.": {"carry": lambda new, h0, old: h0}}
_NO_START = {"`h0` is not used.": {"first": torch.zeros_like}}
elman.pairs_of_slips(_elman, _CELLS, _RETURNED | _CARRIED | _NO_START)
elman.pairs_of_slips(_elman, _CARRIED, _RETURNED)
elman.pairs_of_slips(_elman, _NO_START, dict(list(_RETURNED.items())[:3]))


def _with_skip(x, W_x, W_h, b, h0):
    h, states = h0, []
    for x_t in x.unbind(dim=1):
        h = h + torch.tanh(x_t @ W_x.T + h @ W_h.T + b)
        states.append(h)
    return torch.stack(states, dim=1)


recurrent_shapes = lesson.quiz(
    "recurrent_shapes",
    hints=[
        "Which axis counts the examples, which the steps, and how many numbers does a state hold?",
        "`h_n` is the last state, but it is stored by layers and directions first: (layers · directions, N, H).",
        "With `bidirectional=True` a second network reads from the right; its states stand behind those of the first.",
    ],
    output=Question(
        (4, 7, 5),
        "Four sequences of seven steps, and after each step a state of five numbers.",
        {
            (
                4,
                7,
                3,
            ): "3 is the size D of the input. What comes out are states, and they have H = 5 numbers.",
            (7, 4, 5): "With `batch_first=True` the batch comes first, in the output as in the input.",
            (4, 5): "That is a state for each sequence. `output` holds the states after all seven steps.",
            (
                4,
                5,
                7,
            ): "The right numbers. The steps keep their place, axis 1, and the state takes the last axis.",
            (7, 5): "The four sequences are missing: there are states for each of them.",
            (4, 7): "Each state has five numbers, and they take an axis of their own.",
            (4, 7, 8): "Input and state are not put side by side: `output` holds the states only.",
            (
                1,
                4,
                5,
            ): "That is the shape of `h_n`, the last state. `output` holds the states after all seven steps.",
            (4, 7, 10): "One direction only, so the states have five numbers.",
            (4, 1, 5): "All seven steps are in `output`, not the last one only.",
        },
    ),
    h_n=Question(
        (1, 4, 5),
        "One layer in one direction, four sequences, five numbers. `batch_first` does not change the order here.",
        {
            (
                4,
                1,
                5,
            ): "`h_n` is never batch first, whatever `batch_first` says: the layers and directions lead.",
            (
                4,
                5,
            ): "The axis of the layers and directions is missing; it is there even if there is only one.",
            (1, 5): "One state for each of the four sequences.",
            (
                5,
            ): "One state for each of the four sequences, and an axis in front for the layers and directions.",
            (
                4,
                7,
                5,
            ): "That is `output`, with the states of all steps. `h_n` is the state after the last one.",
            (1, 4, 3): "A state has H = 5 numbers; D = 3 is the size of the input.",
            (7, 4, 5): "Only the last of the seven states is in `h_n`.",
            (1, 7, 5): "Only the last of the seven states is in `h_n`, for each of the four sequences.",
            (2, 4, 5): "That would be two layers or two directions. This network has one of each.",
        },
    ),
    both_ways=Question(
        (4, 7, 10),
        "At each step the five numbers read from the left and the five read from the right, side by side.",
        {
            (4, 7, 5): "The second direction has states of its own: five more numbers at each step.",
            (
                8,
                7,
                5,
            ): "The directions do not make more sequences: their states stand side by side on the last axis.",
            (
                4,
                14,
                5,
            ): "The directions do not make more steps: their states stand side by side on the last axis.",
            (2, 4, 7, 5): "No new axis: the states of both directions stand side by side on the last axis.",
            (4, 7, 2, 5): "No new axis: the states of both directions stand side by side on the last axis.",
            (4, 7, 6): "The states are doubled, not the input: H = 5, D = 3.",
            (2, 4, 5): "That is its `h_n`. `output` holds both states at each of the seven steps.",
            (4, 10): "That is both states for each sequence. `output` holds them for all seven steps.",
            (7, 4, 10): "With `batch_first=True` the batch comes first, in the output as in the input.",
        },
    ),
)


# Section 3: backpropagation through time ----------------------------------------------------------------------


def _without_autograd(bptt_gradient, w, u, x):
    """What the function gives where nothing is recorded, so that autograd has nothing to go back through."""
    with torch.no_grad():
        return bptt_gradient(w, u, x)


@lesson.exercise(
    observe=_without_autograd,
    cases={
        "a single step": (0.9, 0.7, torch.tensor([1.0])),  # w meets h_0 = 0: the gradient is 0
        "two steps": (0.5, 1.0, torch.tensor([1.0, 0.5])),
        "three steps": (-0.7, 0.4, torch.tensor([1.0, 2.0, -0.5])),
        "four steps": (0.9, 0.7, torch.tensor([1.0, -0.5, 0.25, 0.8])),
        "w = 0": (0.0, 0.6, torch.tensor([0.3, -1.0, 0.7])),
        "twelve steps, w above 1": (1.4, 0.3, normal(12, seed=90)),
        "a last state near 0": (0.5, 1.0, torch.tensor([1.0, 1.0, -0.4])),
        "float64 numbers": (0.8, -0.5, normal(6, seed=91, dtype=torch.float64)),
    },
    hints=[
        "First go forward and keep all states h_0 … h_T. Then go back from the last one.",
        "`gradient` is dL/dh_t, at first h_T. Through the tanh it becomes `gradient * (1 - h_t**2)`.",
        "This use of w contributes that times h_(t−1). On to h_(t−1) it takes the factor w.",
    ],
)
def bptt_gradient(w, u, x):
    """Return dL/dw for h_t = tanh(w h_(t-1) + u x_t), h_0 = 0 and L = h_T²/2, without autograd.

    w and u are numbers, and x (T,) is a tensor.
    """
    states = [x.new_zeros(())]
    for x_t in x:
        states.append(torch.tanh(w * states[-1] + u * x_t))
    h, *earlier = reversed(states)
    gradient, total = h, 0.0  # dL/dh_T
    for before in earlier:
        gradient = gradient * (1 - h**2)  # through the tanh
        total = total + gradient * before  # what this use of w contributes
        gradient, h = gradient * w, before
    return total


def _states(w, u, x, cell=lambda w, h, u, x_t: torch.tanh(w * h + u * x_t)):
    states = [x.new_zeros(())]
    for x_t in x:
        states.append(cell(w, states[-1], u, x_t))
    return states


def _bptt(
    forward=_states,
    loss=lambda h: h,
    slope=lambda after, before: 1 - after**2,
    use=lambda before, after, x_t, w: before,
    carry=lambda gradient, through, w, u: through * w,
    early=lambda w: 1,
    total=lambda terms: sum(terms),
):
    """The way back, with what can go wrong as arguments; terms are ordered from the last use of w to the first."""

    def attempt(w, u, x):
        states = forward(w, u, x)
        gradient, terms = loss(states[-1]), []
        for t in range(len(x), 0, -1):
            through = gradient * slope(states[t], states[t - 1])
            terms.append(through * early(w) * use(states[t - 1], states[t], x[t - 1], w))
            gradient = carry(gradient, through, w, u)
        return total(terms)

    return attempt


_LOSS = {
    "The derivative of the loss is missing: going back begins with dL/dh_T = h_T, not with 1.": {
        "loss": torch.ones_like
    },
    "Going back begins with the loss h_T²/2. It should begin with its derivative, h_T.": {
        "loss": lambda h: h**2 / 2
    },
    "The derivative of h_T²/2 is h_T, not 2 h_T.": {"loss": lambda h: 2 * h},
    "The derivative of h_T²/2 is h_T, not h_T/2.": {"loss": lambda h: h / 2},
    "Going back begins with h_T². It should begin with the derivative of h_T²/2, which is h_T.": {
        "loss": lambda h: h**2
    },
    "The sign is wrong: this is −dL/dw. Going back begins with h_T.": {"loss": lambda h: -h},
}
_SLOPE = {
    "tanh′ is taken at the earlier state. The step to h_t goes through the tanh that gave h_t: 1 − h_t².": {
        "slope": lambda after, before: 1 - before**2
    },
    "tanh′ is missing: every step back goes through the tanh, a factor 1 − h_t².": {
        "slope": lambda after, before: 1
    },
    "The slope of the tanh is 1 − h², not 1 − h.": {"slope": lambda after, before: 1 - after},
    "h_t is tanh of the sum already. Its slope is 1 − h_t², not 1 − tanh²(h_t).": {
        "slope": lambda after, before: 1 - torch.tanh(after) ** 2
    },
    "h(1 − h) is the slope of the sigmoid. That of the tanh is 1 − h².": {
        "slope": lambda after, before: after * (1 - after)
    },
    "The 1 is missing in the slope of the tanh: 1 − h².": {"slope": lambda after, before: after**2},
    "The slope of the tanh has the wrong sign: it is 1 − h², not h² − 1.": {
        "slope": lambda after, before: after**2 - 1
    },
    "The slope of the tanh is 1 − h², not 1 + h².": {"slope": lambda after, before: 1 + after**2},
    "The slope of the tanh is 1 − h², not (1 − h)².": {"slope": lambda after, before: (1 - after) ** 2},
    "This is the tanh's slope squared. One factor 1 − h_t² for each step.": {
        "slope": lambda after, before: (1 - after**2) ** 2
    },
}
_USE = {
    "Each use of w contributes the state that it multiplied, h_(t−1), not h_t.": {
        "use": lambda before, after, x_t, w: after
    },
    "That is dL/du: u multiplies x_t. The factor that w multiplies is h_(t−1).": {
        "use": lambda before, after, x_t, w: x_t
    },
    "The factor h_(t−1) is missing: each use of w contributes the gradient times the state that w multiplied.": {
        "use": lambda before, after, x_t, w: 1
    },
    "There is one factor w too many: the contribution of step t is taken before the gradient is multiplied by "
    "w.": {"early": _same},
}
_CARRY = {
    "The factor w is missing on the way to the step before: dL/dh_(t−1) is w · (1 − h_t²) · dL/dh_t.": {
        "carry": lambda gradient, through, w, u: through
    },
    "On the way to the step before the factor is w, which multiplied h_(t−1), not u.": {
        "carry": lambda gradient, through, w, u: through * u
    },
    "The factor 1 − h_t² is lost on the way to the step before: carry on w · (1 − h_t²) · dL/dh_t.": {
        "carry": lambda gradient, through, w, u: gradient * w
    },
    "The gradient is divided by w on the way to the step before. Multiply by w.": {
        "carry": lambda gradient, through, w, u: through / w
    },
    "The gradient is not carried on: every step begins with dL/dh_T again. Multiply it by w (1 − h_t²) from step to "
    "step.": {"carry": lambda gradient, through, w, u: gradient},
    "w is squared on the way to the step before: one factor w for each step.": {
        "carry": lambda gradient, through, w, u: through * w * w
    },
    "The factor w is added on the way to the step before. Multiply by it.": {
        "carry": lambda gradient, through, w, u: through + w
    },
}
_TOTAL = {
    "Only the last use of w is here: h_(T−1) depends on w as well. Go on back through all steps.": {
        "total": lambda terms: terms[0]
    },
    "This is 0: only the first use of w is left, which met h_0 = 0. Add the contributions of all steps, `total = total "
    "+ …`.": {"total": lambda terms: terms[-1]},
    "This is the mean over the steps. Their contributions add up.": {
        "total": lambda terms: sum(terms) / len(terms)
    },
    "The last use of w is missing: begin with the step to h_T.": {"total": lambda terms: sum(terms[1:])},
    "These are the contributions of the steps. Add them up.": {"total": lambda terms: torch.stack(terms)},
    "Only two steps are gone back. Go on until h_0.": {"total": lambda terms: sum(terms[:2])},
    "The list of contributions came back. Add them up.": {"total": _same},
}
_FORWARD = {
    "The states are computed without the tanh. h_t = tanh(w h_(t−1) + u x_t).": {
        "forward": lambda w, u, x: _states(w, u, x, lambda w, h, u, x_t: w * h + u * x_t)
    },
    "The states are computed without u: h_t = tanh(w h_(t−1) + u x_t).": {
        "forward": lambda w, u, x: _states(w, u, x, lambda w, h, u, x_t: torch.tanh(w * h + x_t))
    },
    "The states are computed without w: h_t = tanh(w h_(t−1) + u x_t).": {
        "forward": lambda w, u, x: _states(w, u, x, lambda w, h, u, x_t: torch.tanh(h + u * x_t))
    },
    "w and u are swapped in the states: h_t = tanh(w h_(t−1) + u x_t).": {
        "forward": lambda w, u, x: _states(w, u, x, lambda w, h, u, x_t: torch.tanh(u * h + w * x_t))
    },
    "The state is not carried on: h_t = tanh(w h_(t−1) + u x_t), with the state before it.": {
        "forward": lambda w, u, x: _states(w, u, x, lambda w, h, u, x_t: torch.tanh(u * x_t))
    },
}
bptt_gradient.slips(_bptt, _LOSS, _SLOPE, _USE, _CARRY, _TOTAL, _FORWARD)
_STEPS_BACK = {
    "tanh′ is taken at the earlier state.": {"slope": lambda after, before: 1 - before**2},
    "The slope of the tanh is 1 − h².": {"slope": lambda after, before: 1 - after},
    "h_t is tanh of the sum already: 1 − h_t².": {"slope": lambda after, before: 1 - torch.tanh(after) ** 2},
}
_NO_SLOPE = {"tanh′ is missing.": {"slope": lambda after, before: 1}}
_FACTORS = {
    "Each use of w contributes h_(t−1), not h_t.": {"use": lambda before, after, x_t, w: after},
    "Each use of w contributes h_(t−1), not x_t.": {"use": lambda before, after, x_t, w: x_t},
    "Each use of w contributes h_(t−1), which is missing.": {"use": lambda before, after, x_t, w: 1},
    "The factor w is missing on the way back.": {"carry": lambda gradient, through, w, u: through},
    "There is one factor w too many.": {"early": _same},
    "Only the last use of w counts.": {"total": lambda terms: terms[0]},
}
_LOSSES = {
    "dL/dh_T is h_T, not 1.": {"loss": torch.ones_like},
    "dL/dh_T is h_T, not the loss.": {"loss": lambda h: h**2 / 2},
    "dL/dh_T is h_T, not twice that.": {"loss": lambda h: 2 * h},
    "The sign is wrong.": {"loss": lambda h: -h},
}
bptt_gradient.pairs_of_slips(_bptt, _LOSSES, _STEPS_BACK | _NO_SLOPE | _FACTORS)
bptt_gradient.pairs_of_slips(_bptt, _STEPS_BACK | _NO_SLOPE, _FACTORS)


def _through_autograd(w, u, x):
    w = torch.tensor(w, requires_grad=True)
    (_states(w, u, x)[-1] ** 2 / 2).backward()
    return w.grad


def _all_losses(w, u, x):
    """The gradient of the sum of h_t²/2 over all steps."""
    return sum(bptt_gradient.reference(w, u, x[: t + 1]) for t in range(len(x)))


def _carried_too_soon(w, u, x):
    states, total = _states(w, u, x), 0
    gradient = states[-1]
    for t in range(len(x), 0, -1):
        gradient = gradient * (1 - states[t] ** 2) * w
        total = total + gradient * (1 - states[t] ** 2) * states[t - 1]
    return total


bptt_gradient.mistakes(
    {
        "Autograd is switched off in this check: the chain rule is to be written out by hand, one term for each use of "
        "w.": _through_autograd,
        "This is the gradient of h_1²/2 + … + h_T²/2. The loss is that of the last state only: dL/dh_t begins with "
        "h_T at the end, and with 0 before.": _all_losses,
        "Every term has the tanh′ of the last step only. A term from further back takes a factor 1 − h_t² for each "
        "step between.": lambda w, u, x: (
            lambda s: sum(s[-1] * (1 - s[-1] ** 2) * w**k * s[-2 - k] for k in range(len(x)))
        )(_states(w, u, x)),
        "g is carried back before its term is added. At step t, first add g_t (1 − h_t²) h_(t−1), then compute "
        "g_(t−1).": _carried_too_soon,
        "This is the loss, not its derivative with respect to w.": lambda w, u, x: (
            _states(w, u, x)[-1] ** 2 / 2
        ),
        "This is the last state, not the derivative of the loss with respect to w.": lambda w, u, x: _states(
            w, u, x
        )[-1],
        "This is the derivative with respect to h_0, not with respect to w: add up gradient times h_(t−1) on the way "
        "back.": lambda w, u, x: (
            lambda s: s[-1] * w ** len(x) * torch.stack([1 - h**2 for h in s[1:]]).prod()
        )(_states(w, u, x)),
        "`x_1` is taken for the first state. h_0 = 0, and h_1 = tanh(u x_1).": _bptt(
            forward=lambda w, u, x: [x.new_zeros(()), *(_from(w, u, x[0], x[1:]))]
        ),
    }
)


def _with_wrong_indices(w, u, x, *, first, last, shift):
    """The way back by the indices of a list of states, with `shift` that of h_T."""
    states = _states(w, u, x)[first:]
    gradient, total = states[-1], 0
    for t in range(len(x) + shift, last, -1):
        gradient = gradient * (1 - states[t] ** 2)
        total = total + gradient * states[t - 1]
        gradient = gradient * w
    return total


def _carrying_the_earlier_slope(w, u, x):
    states = _states(w, u, x)
    gradient, total = states[-1], 0
    for t in range(len(x), 0, -1):
        total = total + gradient * (1 - states[t] ** 2) * states[t - 1]
        gradient = gradient * (1 - states[t - 1] ** 2) * w
    return total


def _quotient(w, u, x, *, eps):
    above, below = (_states(w + e, u, x)[-1] ** 2 / 2 for e in (eps, -eps))
    return (above - below) / (2 * eps)


bptt_gradient.mistakes(
    {
        "The way back begins one step too late, at h_(T−1). The first factor is 1 − h_T²: with h_0 as `states[0]` it "
        "begins at `len(x)`.": [
            lambda w, u, x: _with_wrong_indices(w, u, x, first=0, last=0, shift=-1),
            lambda w, u, x: _with_wrong_indices(w, u, x, first=0, last=-1, shift=-1),
        ],
        "h_0 = 0 is missing in the list of states, and at the end of the way back `states[-1]` is the last one. Put "
        "h_0 in front.": lambda w, u, x: _with_wrong_indices(w, u, x, first=1, last=-1, shift=-1),
        "The way back goes one step too far: `states[0 - 1]` is the last state. Stop after the step from h_0 to "
        "h_1.": lambda w, u, x: _with_wrong_indices(w, u, x, first=0, last=-1, shift=0),
        "Back to h_(t−1) the gradient goes through the tanh of step t: carry on w · (1 − h_t²), the later "
        "state, not 1 − h_(t−1)².": _carrying_the_earlier_slope,
        "This is a difference quotient: right to a few digits only. Use the chain rule, one term for each use of "
        "w.": [lambda w, u, x, eps=eps: _quotient(w, u, x, eps=eps) for eps in (1e-2, 1e-3, 1e-4, 1e-6)],
    }
)


def _from(w, u, h, x):
    states = [h]
    for x_t in x:
        states.append(torch.tanh(w * states[-1] + u * x_t))
    return states


# Section 4: why it forgets ------------------------------------------------------------------------------------


def _complex_as_pairs(spectral_radius, W):
    """What comes back; complex numbers as pairs of real ones, which can be compared."""
    value = spectral_radius(W)
    if isinstance(value, Tensor) and value.is_complex():
        return torch.view_as_real(value)
    return torch.tensor([value.real, value.imag]) if isinstance(value, complex) else value


@lesson.exercise(
    observe=_complex_as_pairs,
    cases={
        "one number": (torch.tensor([[-0.7]]),),
        "a diagonal": (torch.tensor([[-3.0, 0.0], [0.0, 2.0]]),),
        "a rotation, shrinking": (torch.tensor([[0.0, -0.9], [0.9, 0.0]]),),
        "a shear": (torch.tensor([[0.5, 100.0], [0.0, 0.25]]),),
        "all zeros": (torch.zeros(3, 3),),
        "a complex pair": (torch.tensor([[1.0, -2.0, 0.0], [2.0, 1.0, 0.0], [0.5, 0.0, 1.5]]),),
        "a symmetric matrix": (torch.tensor([[1.0, 2.0, 0.0], [2.0, -3.0, 1.0], [0.0, 1.0, 0.5]]),),
        "float64 numbers": (normal(6, 6, seed=171, dtype=torch.float64),),
        "eight units": (normal(8, 8, seed=172) / 8**0.5,),
    },
    hints=[
        "`torch.linalg.eigvals` gives the eigenvalues of any square matrix, as complex numbers.",
        "The absolute value of a complex number a + bi is √(a² + b²): `.abs()`.",
        "`torch.linalg.eigvals(W).abs().max()`.",
    ],
)
def spectral_radius(W):
    """Return the spectral radius of W (H, H): the largest absolute value among its eigenvalues.

    The eigenvalues may be complex.
    """
    return torch.linalg.eigvals(W).abs().max()


def _of_eigenvalues(number):
    return lambda W: number(torch.linalg.eigvals(W))


spectral_radius.mistakes(
    {
        "This is the largest singular value, the most by which W stretches any vector. The spectral radius takes "
        "eigenvalues: `torch.linalg.eigvals`.": [
            lambda W: torch.linalg.svdvals(W).max(),
            lambda W: torch.linalg.matrix_norm(W, ord=2),
            lambda W: torch.linalg.eigvalsh(W.T @ W).max().sqrt(),
        ],
        "These are eigenvalues of W.T @ W, squared singular values. Take those of W itself.": [
            lambda W: torch.linalg.eigvalsh(W.T @ W).max(),
            lambda W: torch.linalg.svdvals(W).max() ** 2,
        ],
        "This is the largest real part. Eigenvalues may be negative or complex: take the absolute value of each, "
        "`.abs()`, before the maximum.": _of_eigenvalues(lambda e: e.real.max()),
        "This takes the absolute value after the maximum: a negative eigenvalue can be the largest in size. `.abs()` "
        "comes first, of the complex numbers.": [
            _of_eigenvalues(lambda e: e.real.max().abs()),
            _of_eigenvalues(lambda e: e[e.real.argmax()].abs()),
        ],
        "Only the real parts are used: `.abs()` of the complex number is √(a² + b²).": [
            _of_eigenvalues(lambda e: e.real.abs().max()),
        ],
        "Only the imaginary parts are used: `.abs()` of the complex number is √(a² + b²).": [
            _of_eigenvalues(lambda e: e.imag.max()),
            _of_eigenvalues(lambda e: e.imag.abs().max()),
        ],
        "`eigvalsh` is for symmetric matrices and reads only one half of W. Take `eigvals`.": [
            lambda W: torch.linalg.eigvalsh(W).abs().max(),
            lambda W: torch.linalg.eigvalsh(W, UPLO="U").abs().max(),
        ],
        "`eigvalsh` is for symmetric matrices, and a negative eigenvalue can be the largest in size. Take `eigvals`, "
        "then `.abs()`, then the maximum.": [
            lambda W: torch.linalg.eigvalsh(W).max(),
            lambda W: torch.linalg.eigvalsh(W).max().abs(),
        ],
        "This is an eigenvalue itself, a complex number. Its absolute value, `.abs()`, is asked for.": [
            _of_eigenvalues(lambda e: e[e.abs().argmax()]),
            _of_eigenvalues(lambda e: e[e.abs().argmax()].item()),
            _of_eigenvalues(lambda e: e[e.real.argmax()]),
            _of_eigenvalues(lambda e: e[0]),
        ],
        "This is the real part of the largest eigenvalue. Return its absolute value.": _of_eigenvalues(
            lambda e: e[e.abs().argmax()].real
        ),
        "Complex numbers have no order, so `max` fails. Take the absolute values first: `.abs().max()`.": [
            _of_eigenvalues(max),
            _of_eigenvalues(lambda e: e.max()),
            _of_eigenvalues(lambda e: torch.max(e)),
        ],
        "These are the absolute values of all eigenvalues. Return the largest, `.max()`.": {".max()": ""},
        "These are the eigenvalues, complex numbers. Return the largest of their absolute values, "
        "`.abs().max()`.": {".abs().max()": ""},
        "This is the smallest absolute value. Return the largest, `.max()`.": {".max()": ".min()"},
        "The first eigenvalue is not always the largest: `eigvals` does not sort. Take `.max()`.": {
            ".max()": "[0]"
        },
        "The last eigenvalue is not always the largest: `eigvals` does not sort. Take `.max()`.": {
            ".max()": "[-1]"
        },
        "This is the sum of the absolute values. Return the largest, `.max()`.": {".max()": ".sum()"},
        "This is the mean of the absolute values. Return the largest, `.max()`.": {".max()": ".mean()"},
        "This is a² + b², the absolute value squared. Take its root, or use `.abs()`.": [
            {".abs()": ".abs().square()"},
        ],
        "The absolute value of a + bi is √(a² + b²), not |a| + |b|.": _of_eigenvalues(
            lambda e: (e.real.abs() + e.imag.abs()).max()
        ),
        "Power iteration settles down only if one real eigenvalue stands out from all others. Take "
        "`torch.linalg.eigvals`.": [
            lambda W, steps=steps: _power_iteration(W, steps) for steps in (50, 100, 200)
        ],
        "The absolute value of a + bi is √(a² + b²), not a + b.": _of_eigenvalues(
            lambda e: (e.real + e.imag).max()
        ),
        "This is the norm of all entries of W, the Frobenius norm. The spectral radius takes eigenvalues, "
        "`torch.linalg.eigvals`.": [lambda W: W.norm(), lambda W: W.square().sum().sqrt()],
        "This is the nuclear norm, the sum of the singular values. The spectral radius takes eigenvalues, "
        "`torch.linalg.eigvals`.": lambda W: torch.linalg.svdvals(W).sum(),
        "This is the largest absolute row sum. The spectral radius takes eigenvalues, `torch.linalg.eigvals`.": (
            lambda W: torch.linalg.matrix_norm(W, ord=float("inf"))
        ),
        "This is the largest absolute column sum. The spectral radius takes eigenvalues, "
        "`torch.linalg.eigvals`.": lambda W: torch.linalg.matrix_norm(W, ord=1),
        "This is the largest entry of W. The spectral radius takes eigenvalues, `torch.linalg.eigvals`.": [
            lambda W: W.abs().max(),
            lambda W: W.max(),
        ],
        "Only the diagonal of W is used. Its entries are eigenvalues only if one half of W is 0: take "
        "`torch.linalg.eigvals`.": [lambda W: W.diagonal().abs().max(), lambda W: W.diagonal().max()],
        "This is the absolute value of the trace, of the sum of the eigenvalues. Return the largest of their absolute "
        "values.": [lambda W: W.trace().abs(), _of_eigenvalues(lambda e: e.sum().abs())],
        "This is the determinant, the product of the eigenvalues. Return the largest of their absolute values.": [
            lambda W: torch.linalg.det(W).abs(),
            lambda W: torch.linalg.det(W),
        ],
        "The symmetric part of W has other eigenvalues than W. Take `torch.linalg.eigvals(W)`.": lambda W: (
            torch.linalg.eigvalsh((W + W.T) / 2).abs().max()
        ),
        "These are the eigenvalues of the absolute values of W. Take those of W, then their absolute values.": (
            lambda W: torch.linalg.eigvals(W.abs()).abs().max()
        ),
        "The root of the absolute value is taken. `.abs()` is √(a² + b²) already.": {
            ".max()": ".sqrt().max()"
        },
        "`svdvals` gives the singular values, here their mean. The spectral radius takes eigenvalues, "
        "`torch.linalg.eigvals`.": lambda W: torch.linalg.svdvals(W).mean(),
        "`eig` returns eigenvalues and eigenvectors. Take the first of the two, or call `torch.linalg.eigvals`.": [
            lambda W: torch.linalg.eig(W).abs().max(),
            lambda W: torch.linalg.eig(W)[1].abs().max(),
        ],
        "This is the norm of all eigenvalues together. Return the largest of their absolute values.": _of_eigenvalues(
            lambda e: e.abs().norm()
        ),
    }
)


# Section 5: gates ---------------------------------------------------------------------------------------------


def _gated(N, D, H, blocks, seed, dtype=torch.float32, cell=True, biases=1):
    """Inputs of one step: x, h, c if there is a cell, W_x, W_h, and one bias or two."""
    shapes = (
        [(N, D), (N, H)] + [(N, H)] * cell + [(blocks * H, D), (blocks * H, H)] + [(blocks * H,)] * biases
    )
    return tuple(normal(*shape, seed=seed + number, dtype=dtype) for number, shape in enumerate(shapes))


@lesson.exercise(
    returns=("h", "c"),
    cases={
        "one unit": _gated(1, 1, 1, 4, seed=200),
        "an ordinary batch": _gated(3, 2, 5, 4, seed=210),
        "more inputs than units": _gated(2, 6, 3, 4, seed=220),
        "as many units as inputs": _gated(5, 3, 3, 4, seed=230),
        "four examples": _gated(4, 2, 1, 4, seed=240),
        "a zero state": tuple(
            one * (number not in (1, 2)) for number, one in enumerate(_gated(2, 3, 2, 4, seed=250))
        ),
        "large cells": tuple(
            one * (5 if number == 2 else 1) for number, one in enumerate(_gated(2, 2, 4, 4, seed=260))
        ),
        "float64 numbers": _gated(3, 4, 2, 4, seed=270, dtype=torch.float64),
    },
    hints=[
        "All four blocks come from one sum: `x @ W_x.T + h @ W_h.T + b`, of shape (N, 4H).",
        "`i, f, g, o = (…).chunk(4, dim=1)`. The gates i, f and o take a sigmoid, the candidate g takes tanh.",
        "The new cell is f · c + i · g. The new state is o · tanh(new cell).",
    ],
)
def lstm_step(x, h, c, W_x, W_h, b):
    """Return (h, c), each (N, H), after one step of an LSTM from x (N, D), h and c (N, H).

    `W_x` (4H, D), `W_h` (4H, H) and `b` (4H,) hold the blocks of the input gate, the forget gate, the candidate and
    the output gate, in this order.
    """
    i, f, g, o = (x @ W_x.T + h @ W_h.T + b).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _first_of(state):
    return state[0][0], state[1][0]


def _rows_of_blocks(count):
    """Cut `count` blocks out of the rows of a tensor, where they are not."""

    def split(a):
        H = a.shape[1] // count
        return [a[:H], *(a[n * H : (n + 1) * H] for n in range(1, count - 1)), a[(count - 1) * H :]]

    return split


def _lstm(
    sums=lambda x, h, W_x, W_h, b: x @ W_x.T + h @ W_h.T + b,
    split=lambda a: a.chunk(4, dim=1),
    order=(0, 1, 2, 3),
    of_i=torch.sigmoid,
    of_f=torch.sigmoid,
    of_g=torch.tanh,
    of_o=torch.sigmoid,
    cell=lambda i, f, g, c, h: f * c + i * g,
    state=lambda o, new, old: o * torch.tanh(new),
    result=lambda h, c: (h, c),
):
    """One step, with what can go wrong as arguments."""

    def attempt(x, h, c, W_x, W_h, b):
        first, second, third, fourth = split(sums(x, h, W_x, W_h, b))
        blocks = (first, second, third, fourth)
        i, f, g, o = (blocks[number] for number in order)
        i, f, g, o = of_i(i), of_f(f), of_g(g), of_o(o)
        new = cell(i, f, g, c, h)
        return result(state(o, new, c), new)

    return attempt


_LSTM_SUMS = {
    "The bias is missing: b is added to the sum before it is split.": {
        "sums": lambda x, h, W_x, W_h, b: x @ W_x.T + h @ W_h.T
    },
    "The bias is added twice. Here is only one b.": {
        "sums": lambda x, h, W_x, W_h, b: x @ W_x.T + h @ W_h.T + 2 * b
    },
    "The gates see h only. They also depend on the input: add `x @ W_x.T`.": {
        "sums": lambda x, h, W_x, W_h, b: h @ W_h.T + b
    },
    "The gates see x only. They also depend on the state: add `h @ W_h.T`.": {
        "sums": lambda x, h, W_x, W_h, b: x @ W_x.T + b
    },
    "x @ W_x.T and h @ W_h.T are multiplied. Add them.": {
        "sums": lambda x, h, W_x, W_h, b: (x @ W_x.T) * (h @ W_h.T) + b
    },
    "`h @ W_h.T` is subtracted. Add it.": {"sums": lambda x, h, W_x, W_h, b: x @ W_x.T - h @ W_h.T + b},
}
_LSTM_GATES = {
    "The candidate has a sigmoid. It can be negative, and takes tanh.": {"of_g": torch.sigmoid},
    "The candidate has no activation function. It takes tanh.": {"of_g": _same},
    "All three gates have tanh. A gate opens from 0 to 1: i, f and o take a sigmoid.": {
        "of_i": torch.tanh,
        "of_f": torch.tanh,
        "of_o": torch.tanh,
    },
    "Sigmoid and tanh are swapped: the three gates take a sigmoid, the candidate tanh.": {
        "of_i": torch.tanh,
        "of_f": torch.tanh,
        "of_g": torch.sigmoid,
        "of_o": torch.tanh,
    },
    "The gates have no activation function. i, f and o take a sigmoid, so that they lie between 0 and 1.": {
        "of_i": _same,
        "of_f": _same,
        "of_o": _same,
    },
    "There is no activation function on gates and candidate: i, f and o take a sigmoid, g takes tanh.": {
        "of_i": _same,
        "of_f": _same,
        "of_g": _same,
        "of_o": _same,
    },
    "The input gate has tanh. A gate takes a sigmoid.": {"of_i": torch.tanh},
    "The forget gate has tanh. A gate takes a sigmoid.": {"of_f": torch.tanh},
    "The output gate has tanh. A gate takes a sigmoid.": {"of_o": torch.tanh},
    "The input gate has no activation function. It takes a sigmoid.": {"of_i": _same},
    "The forget gate has no activation function. It takes a sigmoid.": {"of_f": _same},
    "The output gate has no activation function. It takes a sigmoid.": {"of_o": _same},
    "The candidate has a ReLU. It can be negative, and takes tanh.": {"of_g": F.relu},
    "The forget gate is used as 1 − f: it says what is kept, f · c.": {
        "of_f": lambda f: 1 - torch.sigmoid(f)
    },
    "The output gate is used as 1 − o. It says what is shown, o · tanh(c).": {
        "of_o": lambda o: 1 - torch.sigmoid(o)
    },
    "The input gate is used as 1 − i. It says what is written, i · g.": {
        "of_i": lambda i: 1 - torch.sigmoid(i)
    },
}
_LSTM_CELLS = {
    "1 − f stands in place of the input gate. An LSTM has an input gate of its own: f · c + i · g.": {
        "cell": lambda i, f, g, c, h: f * c + (1 - f) * g
    },
    "1 − i stands in place of the forget gate. An LSTM has a forget gate of its own: f · c + i · g.": {
        "cell": lambda i, f, g, c, h: (1 - i) * c + i * g
    },
    "The old cell is missing: the new one is f · c + i · g.": {"cell": lambda i, f, g, c, h: i * g},
    "Nothing new is written: the new cell is f · c + i · g.": {"cell": lambda i, f, g, c, h: f * c},
    "The forget gate is not used: the old cell is kept in full. It is f · c + i · g.": {
        "cell": lambda i, f, g, c, h: c + i * g
    },
    "The input gate is not used: the candidate is written in full. It is f · c + i · g.": {
        "cell": lambda i, f, g, c, h: f * c + g
    },
    "No gate is used in the new cell: it is f · c + i · g.": {"cell": lambda i, f, g, c, h: c + g},
    "The forget gate acts on h. It acts on the cell: f · c + i · g.": {
        "cell": lambda i, f, g, c, h: f * h + i * g
    },
    "The two parts of the cell are multiplied. Add them: f · c + i · g.": {
        "cell": lambda i, f, g, c, h: f * c * i * g
    },
    "What is new is subtracted. Add it: f · c + i · g.": {"cell": lambda i, f, g, c, h: f * c - i * g},
    "A tanh acts on the new cell that is returned. The cell stays f · c + i · g; tanh is for the state only.": {
        "cell": lambda i, f, g, c, h: torch.tanh(f * c + i * g),
        "state": lambda o, new, old: o * new,
    },
    "A tanh acts on the new cell. The cell stays f · c + i · g, and the state takes tanh of that.": {
        "cell": lambda i, f, g, c, h: torch.tanh(f * c + i * g)
    },
    "A tanh acts on the old cell. It is kept as it is: f · c + i · g.": {
        "cell": lambda i, f, g, c, h: f * torch.tanh(c) + i * g
    },
}
_LSTM_STATES = {
    "The state is made from the old cell. Compute the new cell first, then o · tanh(new cell).": {
        "state": lambda o, new, old: o * torch.tanh(old)
    },
    "tanh of the cell is missing in the state: h is o · tanh(c).": {"state": lambda o, new, old: o * new},
    "The cell goes through a sigmoid in the state. It is o · tanh(c).": {
        "state": lambda o, new, old: o * torch.sigmoid(new)
    },
    "The output gate is not used: the state is o · tanh(c).": {"state": lambda o, new, old: torch.tanh(new)},
    "tanh acts on the product. The output gate comes after it: o · tanh(c).": {
        "state": lambda o, new, old: torch.tanh(o * new)
    },
    "The state is o + tanh(c) here. Multiply: o · tanh(c).": {
        "state": lambda o, new, old: o + torch.tanh(new)
    },
    "The state is the output gate alone. It is o · tanh(c).": {"state": lambda o, new, old: o},
    "The state is made from the old cell, and without tanh: it is o · tanh(new cell).": {
        "state": lambda o, new, old: o * old
    },
}
_LSTM_RESULTS = {
    "c came back first. Return (h, c).": {"result": lambda h, c: (c, h)},
    "Only the state came back. Return (h, c): the next step needs the cell as well.": {
        "result": lambda h, c: h
    },
    "Only the cell came back. Return (h, c).": {"result": lambda h, c: c},
    "The state came back twice, and the cell not at all. Return (h, c).": {"result": lambda h, c: (h, h)},
    "The cell came back twice, and the state not at all. Return (h, c).": {"result": lambda h, c: (c, c)},
    "(output, (h, c)) came back, as from `nn.LSTM`. Here it is (h, c).": {"result": lambda h, c: (h, (h, c))},
    "Three values came back. Return (h, c).": {"result": lambda h, c: (h, h, c)},
}
lstm_step.slips(_lstm, _LSTM_SUMS, _LSTM_GATES, _LSTM_CELLS, _LSTM_STATES, _LSTM_RESULTS)
lstm_step.mistakes(
    {
        "The order of the blocks is wrong: here it is i, f, o, g. In PyTorch the candidate is the third and the output "
        "gate the last, i, f, g, o.": _lstm(order=(0, 1, 3, 2)),
        "Input and forget gate are swapped. The blocks stand in the order i, f, g, o, and the new cell is "
        "f · c + i · g.": [_lstm(order=(1, 0, 2, 3)), _lstm(cell=lambda i, f, g, c, h: i * c + f * g)],
        "The blocks are taken in another order than they stand in: input gate, forget gate, candidate, output gate, "
        "`i, f, g, o = …`.": [
            _lstm(order=order)
            for order in itertools.permutations(range(4))
            if order not in ((0, 1, 2, 3), (0, 1, 3, 2), (1, 0, 2, 3))
        ],
        "`chunk` splits along axis 0 here, which counts the examples. The blocks stand side by side: "
        "`.chunk(4, dim=1)`.": [
            _lstm(split=lambda a: a.chunk(4)),
            _lstm(split=lambda a: a.chunk(4, dim=0)),
        ],
        "The numbers of a block are side by side, H of them: `.chunk(4, dim=1)`. Here every fourth number is taken.": [
            _lstm(split=lambda a: a.reshape(len(a), -1, 4).unbind(dim=2)),
            _lstm(split=lambda a: [a[:, number::4] for number in range(4)]),
        ],
        "Sigmoid is applied to all four blocks, to the candidate, too, before its tanh. The candidate takes tanh "
        "alone.": _lstm(of_g=lambda g: torch.tanh(torch.sigmoid(g))),
        "The blocks are cut out of the rows, which are the examples. They stand side by side: `a[:, :H]`, "
        "`a[:, H : 2 * H]` and so on.": _lstm(split=_rows_of_blocks(4)),
        "`nn.LSTM` and `nn.LSTMCell` begin with random weights of their own. Use those that were handed in.": [
            lambda x, h, c, W_x, W_h, b: nn.LSTMCell(x.shape[1], h.shape[1])(x, (h, c)),
            lambda x, h, c, W_x, W_h, b: _first_of(
                nn.LSTM(x.shape[1], h.shape[1])(x[None], (h[None], c[None]))[1]
            ),
            lambda x, h, c, W_x, W_h, b: _first_of(
                nn.LSTM(x.shape[1], h.shape[1], batch_first=True)(x[:, None], (h[None], c[None]))[1]
            ),
        ],
        "`reshape(4, N, H)` mixes examples and blocks. Split along axis 1: `.chunk(4, dim=1)`.": _lstm(
            split=lambda a: a.reshape(4, len(a), -1).unbind(dim=0)
        ),
    }
)

_GATES_IN_SHORT = {
    "The candidate takes tanh, not a sigmoid.": {"of_g": torch.sigmoid},
    "The candidate takes tanh, which is missing.": {"of_g": _same},
    "The blocks stand in the order i, f, g, o.": {"order": (0, 1, 3, 2)},
    "The bias is missing.": {"sums": lambda x, h, W_x, W_h, b: x @ W_x.T + h @ W_h.T},
}
_CELLS_IN_SHORT = {
    "1 − f stands in place of i.": {"cell": lambda i, f, g, c, h: f * c + (1 - f) * g},
    "The old cell is missing: f · c + i · g.": {"cell": lambda i, f, g, c, h: i * g},
    "The forget gate is not used.": {"cell": lambda i, f, g, c, h: c + i * g},
}
_STATES_IN_SHORT = {
    "The state is made from the old cell.": {"state": lambda o, new, old: o * torch.tanh(old)},
    "tanh of the cell is missing in the state.": {"state": lambda o, new, old: o * new},
    "The output gate is not used.": {"state": lambda o, new, old: torch.tanh(new)},
}
_RETURNS_IN_SHORT = {"Return (h, c), in this order.": {"result": lambda h, c: (c, h)}}
lstm_step.pairs_of_slips(_lstm, _GATES_IN_SHORT, _CELLS_IN_SHORT | _STATES_IN_SHORT | _RETURNS_IN_SHORT)
lstm_step.pairs_of_slips(_lstm, _CELLS_IN_SHORT, _STATES_IN_SHORT | _RETURNS_IN_SHORT)
lstm_step.pairs_of_slips(_lstm, _STATES_IN_SHORT, _RETURNS_IN_SHORT)
_GATES_SWAPPED = {"Input and forget gate are swapped.": {"cell": lambda i, f, g, c, h: i * c + f * g}}
lstm_step.pairs_of_slips(
    _lstm, _GATES_SWAPPED, dict(list(_GATES_IN_SHORT.items())[:2]) | _STATES_IN_SHORT | _RETURNS_IN_SHORT
)


def _lstm_of(D, H, layers, both_ways):
    torch.manual_seed(D + 10 * H)
    return nn.LSTM(D, H, num_layers=layers, bidirectional=both_ways)


def _forget_blocks(lstm, name):
    return getattr(lstm, name)[lstm.hidden_size : 2 * lstm.hidden_size]


_GATES_OF_LSTM = ("input gate", "forget gate", "candidate", "output gate")


def _changed_blocks(before, after, is_bias):
    """The blocks that differ, in words, without the forget gate's if it is a bias; "" if there are none."""
    pairs = zip(_GATES_OF_LSTM, before.chunk(4), after.chunk(4), strict=True)
    named = [
        gate
        for gate, one, other in pairs
        if not torch.equal(one, other) and not (is_bias and gate == "forget gate")
    ]
    return f" ({', '.join(named)})" if named else ""


def _facts_of_gates(open_forget_gate, input_size, hidden_size, num_layers, bidirectional, bias):
    """What the function did to an LSTM: the forget biases, and the names of what else is no longer as it was."""
    lstm = _lstm_of(input_size, hidden_size, num_layers, bidirectional)
    before = {name: one.detach().clone() for name, one in lstm.named_parameters()}
    open_forget_gate(lstm, bias)
    now = dict(lstm.named_parameters())
    if now.keys() != before.keys() or any(now[name].shape != one.shape for name, one in before.items()):
        return {"the parameters": "others than before, or of other shapes"}
    changed = [
        name + _changed_blocks(one, now[name].detach(), "bias" in name)
        for name, one in before.items()
        if _changed_blocks(one, now[name].detach(), "bias" in name)
    ]
    sums = {
        f"sum of the two forget biases, {name.removeprefix('bias_ih_')}": (
            _forget_blocks(lstm, name) + _forget_blocks(lstm, name.replace("ih", "hh"))
        ).detach()
        for name in before
        if name.startswith("bias_ih")
    }
    records = [name for name, one in now.items() if not one.requires_grad]
    return sums | {
        "changed besides the forget biases": ", ".join(changed) or "nothing",
        "no longer trained": ", ".join(records) or "nothing",
    }


@lesson.exercise(
    observe=_facts_of_gates,
    cases={
        "one layer": (3, 5, 1, False, 1.0),
        "one unit": (2, 1, 1, False, 2.0),
        "as many units as inputs": (3, 3, 1, False, 1.5),
        "three layers": (2, 4, 3, False, 1.0),
        "both directions": (4, 2, 1, True, -1.0),
        "two layers, both directions": (4, 3, 2, True, 1.0),
        "a bias of 0": (2, 3, 1, False, 0.0),
    },
    hints=[
        "`for name, parameter in lstm.named_parameters(): print(name, parameter.shape)` shows what there is to set.",
        "The forget gate has the second block of H rows: `[H : 2 * H]` of each bias, with H = `lstm.hidden_size`.",
        "Set that block to `bias` in every `bias_ih…` and to 0 in every `bias_hh…`, inside of `torch.no_grad()`.",
    ],
)
def open_forget_gate(lstm, bias):
    """Set the bias of the forget gates of an nn.LSTM to `bias`, in every layer and direction.

    All other parameters stay as they are. PyTorch adds two biases to every gate: their sum counts. The LSTM is changed
    in place, and nothing is returned.
    """
    H = lstm.hidden_size
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("bias"):
                parameter[H : 2 * H] = bias if "ih" in name else 0.0


def _setting(
    which=lambda name: name.startswith("bias"),
    block=lambda H, D: slice(H, 2 * H),
    value=lambda name, bias, old: bias if "ih" in name else 0.0,
):
    """The loop over the parameters, with what can go wrong as arguments."""

    def attempt(lstm, bias):
        with torch.no_grad():
            for name, parameter in lstm.named_parameters():
                if which(name):
                    part = block(lstm.hidden_size, lstm.input_size)
                    parameter[part] = value(name, bias, parameter[part])

    return attempt


_VALUES = {
    "Both biases are set to `bias`, so their sum is twice that. Set one of them to `bias`, the other to 0.": {
        "value": lambda name, bias, old: bias
    },
    "`bias_ih` is set, but `bias_hh` keeps its random numbers, which add to it. Set the forget block of `bias_hh` to "
    "0.": {"value": lambda name, bias, old: bias if "ih" in name else old},
    "`bias_hh` is set, but `bias_ih` keeps its random numbers, which add to it. Set the forget block of `bias_ih` to "
    "0.": {"value": lambda name, bias, old: bias if "hh" in name else old},
    "`bias` is added to the old numbers. Set the forget block of one bias to `bias`, that of the other to 0.": {
        "value": lambda name, bias, old: old + bias if "ih" in name else old
    },
    "`bias` is added to both biases. Set the forget block of one to `bias`, that of the other to 0.": {
        "value": lambda name, bias, old: old + bias
    },
    "Each of the two biases is set to half, but only one of them: both have to be.": {
        "value": lambda name, bias, old: bias / 2 if "ih" in name else old
    },
    "The sum of both biases is half of `bias`. Set one to `bias`, the other to 0, or both to half of it.": {
        "value": lambda name, bias, old: bias / 2 if "ih" in name else 0.0
    },
    "The forget biases are 1 whatever `bias` is. Set them to `bias`.": {
        "value": lambda name, bias, old: 1.0 if "ih" in name else 0.0
    },
    "The sign is wrong: a large bias opens the gate, since σ(bias) is then near 1.": {
        "value": lambda name, bias, old: -bias if "ih" in name else 0.0
    },
    "The biases are set to σ(bias), which is what the gate then lets through. Set them to `bias` itself.": {
        "value": lambda name, bias, old: torch.sigmoid(torch.tensor(bias)) if "ih" in name else 0.0
    },
    "The sum of the two forget biases is 0. Set one of them to `bias`, the other to 0.": {
        "value": lambda name, bias, old: 0.0
    },
    "The other bias is set to 1. Set it to 0, so that the sum is `bias`.": {
        "value": lambda name, bias, old: bias if "ih" in name else 1.0
    },
}
_BLOCKS = {
    "This is the block of the input gate. The order is i, f, g, o, so the forget gate is `[H : 2 * H]`.": {
        "block": lambda H, D: slice(0, H)
    },
    "This is the block of the candidate. The order is i, f, g, o, so the forget gate is `[H : 2 * H]`.": {
        "block": lambda H, D: slice(2 * H, 3 * H)
    },
    "This is the block of the output gate. The order is i, f, g, o, so the forget gate is `[H : 2 * H]`.": {
        "block": lambda H, D: slice(3 * H, None)
    },
    "All four blocks are set. The forget gate has only `[H : 2 * H]`.": {"block": lambda H, D: slice(None)},
    "The slice has no end: it covers the candidate and the output gate, too. The forget gate is `[H : 2 * H]`.": {
        "block": lambda H, D: slice(H, None)
    },
    "The slice has no beginning: it covers the input gate, too. The forget gate is `[H : 2 * H]`.": {
        "block": lambda H, D: slice(0, 2 * H)
    },
    "Only one number is set. The forget gate has a bias for each of the H units: `[H : 2 * H]`.": {
        "block": lambda H, D: slice(H, H + 1)
    },
    "Only the second number is set. The forget gate is the second block of H numbers: `[H : 2 * H]`.": {
        "block": lambda H, D: 1
    },
    "The block begins at the size of the input. It goes by the number of units, `lstm.hidden_size`.": {
        "block": lambda H, D: slice(D, 2 * D)
    },
    "The end of a slice is excluded: `[H : 2 * H]` ends at the right place, `[H : 2 * H - 1]` one too early.": {
        "block": lambda H, D: slice(H, 2 * H - 1)
    },
    "The forget gate has the second of four blocks. This is the second of two, `[2 * H :]`.": {
        "block": lambda H, D: slice(2 * H, None)
    },
    "The forget gate has the second of four blocks, `[H : 2 * H]`. This is half of them, from H to 3H.": {
        "block": lambda H, D: slice(H, 3 * H)
    },
}
_PARAMETERS = {
    "Only the first layer is set. Every layer has a forget gate: loop over `lstm.named_parameters()`.": {
        "which": lambda name: name.startswith("bias") and "_l0" in name
    },
    "Only the forward direction is set. The other one has biases too, whose names end in `_reverse`.": {
        "which": lambda name: name.startswith("bias") and "reverse" not in name
    },
    "Only the forward direction of the first layer is set. Loop over `lstm.named_parameters()` and take all the "
    "biases.": {"which": lambda name: name in ("bias_ih_l0", "bias_hh_l0")},
    "Weights are set too. Take the parameters whose names begin with `bias`.": {"which": lambda name: True},
    "The weights are set, not the biases. Take the parameters whose names begin with `bias`.": {
        "which": lambda name: name.startswith("weight")
    },
    "The LSTM is as it was. Write into its parameters themselves, not into copies, and take those whose names begin "
    "with `bias`.": {"which": lambda name: False},
}
open_forget_gate.slips(_setting, _VALUES, _BLOCKS, _PARAMETERS)
_TWICE = {"Both biases are set, so their sum is twice `bias`.": {"value": lambda name, bias, old: bias}}
_KEPT = {
    "`bias_hh` keeps its random numbers.": {"value": lambda name, bias, old: bias if "ih" in name else old},
}
_ADDED = {
    "`bias` is added to the old numbers, not set.": {"value": lambda name, bias, old: old + bias},
}
_BLOCKS_IN_SHORT = {
    "This is the block of the input gate: `[H : 2 * H]`.": {"block": lambda H, D: slice(0, H)},
    "This is the block of the candidate: `[H : 2 * H]`.": {"block": lambda H, D: slice(2 * H, 3 * H)},
    "This is the block of the output gate: `[H : 2 * H]`.": {"block": lambda H, D: slice(3 * H, None)},
}
_ALL_BLOCKS = {"All four blocks are set, not only `[H : 2 * H]`.": {"block": lambda H, D: slice(None)}}
_PARAMETERS_IN_SHORT = {
    "Only the first layer is set.": {"which": lambda name: name.startswith("bias") and "_l0" in name},
    "Only the forward direction is set.": {
        "which": lambda name: name.startswith("bias") and "reverse" not in name
    },
    "Only the forward direction of the first layer is set.": {
        "which": lambda name: name in ("bias_ih_l0", "bias_hh_l0")
    },
}
open_forget_gate.pairs_of_slips(_setting, _TWICE | _ADDED | _KEPT, _ALL_BLOCKS | _PARAMETERS_IN_SHORT)
open_forget_gate.pairs_of_slips(_setting, _KEPT, _BLOCKS_IN_SHORT)


def _with_recording(lstm, bias):
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias"):
            parameter[lstm.hidden_size : 2 * lstm.hidden_size] = bias


def _frozen(lstm, bias):
    open_forget_gate.reference(lstm, bias)
    for name, parameter in lstm.named_parameters():
        parameter.requires_grad_(not name.startswith("bias"))


def _all_of_hh(lstm, bias):
    open_forget_gate.reference(lstm, bias)
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias_hh"):
            parameter.data.zero_()


def _all_but_the_block(lstm, bias):
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias"):
            parameter.data.zero_()
    open_forget_gate.reference(lstm, bias)


def _all_of_ih(lstm, bias):
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias"):
            parameter.data[: None if "ih" in name else 0] = bias
            if "hh" in name:
                parameter.data[lstm.hidden_size : 2 * lstm.hidden_size] = 0


open_forget_gate.mistakes(
    {
        "Parameters record gradients and may not be changed in place: do it inside of `with "
        "torch.no_grad():`.": _with_recording,
        "The biases are right but frozen: their `requires_grad` is False. Leave it as it was, so that training goes "
        "on.": _frozen,
        "All of `bias_hh` is set to 0. Only its forget block, `[H : 2 * H]`, may change.": _all_of_hh,
        "All four blocks are set. The forget gate has only `[H : 2 * H]`.": _all_but_the_block,
        "All of `bias_ih` is set to `bias`. Only its forget block, `[H : 2 * H]`, may change.": _all_of_ih,
    }
)


# Section 7: sequences of unequal length -----------------------------------------------------------------------


def _outputs(N, T, H, lengths, seed, dtype=torch.float32):
    return normal(N, T, H, seed=seed, dtype=dtype), torch.tensor(lengths)


@lesson.exercise(
    cases={
        "a batch of one": (torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]), torch.tensor([2])),
        "a single step": _outputs(3, 1, 2, [1, 1, 1], seed=400),
        "an ordinary batch": _outputs(3, 6, 2, [4, 6, 1], seed=410),
        "as many examples as steps": _outputs(4, 4, 3, [2, 4, 3, 1], seed=420),
        "as many examples as units": _outputs(3, 5, 3, [5, 2, 4], seed=430),
        "nobody fills the batch": _outputs(2, 7, 4, [3, 5], seed=440),
        "all of full length": _outputs(3, 4, 2, [4, 4, 4], seed=450),
        "all of length 1": _outputs(2, 3, 4, [1, 1], seed=460),
        "float64 numbers": _outputs(5, 3, 2, [3, 1, 2, 2, 3], seed=470, dtype=torch.float64),
    },
    hints=[
        "A sequence of n steps has its last real state at which index, counted from 0?",
        "Two lists of indices are paired: `output[rows, steps]` takes one entry for each example.",
        "`output[torch.arange(len(output)), lengths - 1]`.",
    ],
)
def last_states(output, lengths):
    """Return (N, H): from output (N, T, H), for every example the state at its last real step.

    `lengths` (N,) are the numbers of steps, 1 or more.
    """
    rows = torch.arange(len(output), device=output.device)
    return output[rows, lengths - 1]


def _at(steps, join=lambda states: torch.stack(states)):
    """For every example the state at the step that `steps(length, T)` gives."""

    def attempt(output, lengths):
        T = output.shape[1]
        return join([output[row, steps(int(n), T)] for row, n in enumerate(lengths)])

    return attempt


def _indexed(shift, step=0):
    return lambda output, lengths: output[torch.arange(len(output)), lengths + shift]


def _real_mean(output, lengths):
    return torch.stack([one[:n].mean(dim=0) for one, n in zip(output, lengths, strict=True)])


def _real_mask(output, lengths):
    return (torch.arange(output.shape[1]) < lengths[:, None])[:, :, None]


def _masked_at(shift):
    def attempt(output, lengths):
        mask = torch.arange(output.shape[1]) == lengths[:, None] + shift
        return (output * mask[:, :, None]).sum(dim=1)

    return attempt


last_states.mistakes(
    {
        "This is the last column, where short sequences have padding only. Sequence n ends at step `lengths[n] - "
        "1`.": lambda output, lengths: output[:, -1],
        "A sequence of n steps ends at index n − 1: use `lengths - 1`. At `lengths` stands padding, or nothing at "
        "all.": [_indexed(0), _at(lambda n, T: n), _masked_at(0)],
        "These are the states one step before the end: the last real step is `lengths - 1`.": [
            _indexed(-2),
            _at(lambda n, T: n - 2),
        ],
        "This is the state after the first step. The last real one is at `lengths - 1`.": lambda output, lengths: (
            output[:, 0]
        ),
        "This is the mean over all steps, padding included. Take the state at `lengths - 1`.": lambda output, lengths: (
            output.mean(dim=1)
        ),
        "This is the mean over the real steps. Take the state at the last of them, `lengths - 1`.": _real_mean,
        "This is the sum over all steps. Take the state at `lengths - 1`.": lambda output, lengths: (
            output.sum(dim=1)
        ),
        "This is the sum over the real steps. Take the state at the last of them, `lengths - 1`.": [
            lambda output, lengths: (output * _real_mask(output, lengths)).sum(dim=1),
        ],
        "This is the maximum over all steps. Take the state at `lengths - 1`.": [
            lambda output, lengths: output.amax(dim=1),
        ],
        "This is the maximum over the real steps. Take the state at the last of them, `lengths - 1`.": [
            lambda output, lengths: output.where(_real_mask(output, lengths), torch.tensor(-torch.inf)).amax(
                dim=1
            ),
        ],
        "`output[:, lengths - 1]` takes these steps of every example, (N, N, H). Pair them with the rows: "
        "`output[torch.arange(N), lengths - 1]`.": lambda output, lengths: output[:, lengths - 1],
        "`output[:, lengths]` takes these steps of every example, and counts one too far. Pair rows and steps: "
        "`output[torch.arange(N), lengths - 1]`.": lambda output, lengths: output[:, lengths],
        "The first axis are the examples: this takes example `lengths - 1` as a whole. Give rows and steps: "
        "`output[torch.arange(N), lengths - 1]`.": lambda output, lengths: output[lengths - 1],
        "Rows and steps are swapped: examples come first, `output[torch.arange(N), lengths - 1]`.": [
            lambda output, lengths: output[lengths - 1, torch.arange(len(output))],
        ],
        "All examples are read where the longest one ends. Each has an end of its own: `lengths - 1`, not "
        "`lengths.max() - 1`.": lambda output, lengths: output[:, lengths.max() - 1],
        "All examples are read where the shortest one ends. Each has an end of its own: `lengths - 1`.": [
            lambda output, lengths: output[:, lengths.min() - 1],
        ],
        "All examples are read where the first one ends. Each has an end of its own: `lengths - 1`.": [
            lambda output, lengths: output[:, lengths[0] - 1],
        ],
        "All examples are read where the last one ends. Each has an end of its own: `lengths - 1`.": [
            lambda output, lengths: output[:, lengths[-1] - 1],
        ],
        "`-lengths` counts from the end of the padded batch. Count from its beginning: `lengths - 1`.": [
            lambda output, lengths: output[torch.arange(len(output)), -lengths],
        ],
        "A list came back. Make one tensor of it, `torch.stack(…)`.": _at(lambda n, T: n - 1, join=_same),
        "`output[i, :n]` are all n real steps. Take the last of them, `output[i, n - 1]`.": [
            lambda output, lengths: torch.stack([output[i, :n] for i, n in enumerate(lengths)]),
            lambda output, lengths: [output[i, :n] for i, n in enumerate(lengths)],
        ],
        "`torch.tensor` takes numbers, not tensors. Join the states with `torch.stack`.": _at(
            lambda n, T: n - 1, join=torch.tensor
        ),
        "`gather` needs an index of as many axes as `output`, (N, 1, H): `(lengths - 1)[:, None, None].expand(-1, 1, "
        "H)`.": [
            lambda output, lengths: output.gather(1, lengths - 1),
            lambda output, lengths: output.gather(1, (lengths - 1)[:, None]),
        ],
        "The rows are the N examples: `torch.arange(len(output))`, not an index for each of the T steps.": [
            lambda output, lengths: output[torch.arange(output.shape[1]), lengths - 1],
            lambda output, lengths: output[range(output.shape[1]), lengths - 1],
        ],
        "All real steps of all examples came back, below each other. Take one for each example: "
        "`output[torch.arange(N), lengths - 1]`.": [
            lambda output, lengths: output[torch.arange(output.shape[1]) < lengths[:, None]],
        ],
        "`output[:, lengths - 1]` takes N steps of every example, and you average them. Pair them with the rows: "
        "`output[torch.arange(N), lengths - 1]`.": lambda output, lengths: output[:, lengths - 1].mean(dim=1),
        "`cat` puts all states into one row. `torch.stack` gives each example a row of its own.": _at(
            lambda n, T: n - 1, join=torch.cat
        ),
        "The states stand in columns, (H, N). Each example has a row: `torch.stack(…)` along axis 0.": [
            _at(lambda n, T: n - 1, join=lambda states: torch.stack(states, dim=1)),
            lambda output, lengths: output[:, lengths - 1].diagonal(),
        ],
        "An axis of size 1 is left for the steps, (N, 1, H). Remove it: `.squeeze(1)`.": [
            lambda output, lengths: last_states.reference(output, lengths).unsqueeze(1),
        ],
        "All real steps came back, with 0 in place of the padding. Take the last of them: `lengths - 1`.": [
            lambda output, lengths: output * _real_mask(output, lengths),
        ],
        "This is the state of one example only. Return one for each: (N, H).": [
            lambda output, lengths: output[0, lengths[0] - 1],
            lambda output, lengths: output[-1, lengths[-1] - 1],
        ],
        "The examples are in another order: that of their lengths. Keep the order of the batch.": [
            lambda output, lengths: last_states.reference(output, lengths)[lengths.argsort(descending=True)],
            lambda output, lengths: last_states.reference(output, lengths)[lengths.argsort()],
        ],
        "Only one number of each state came back. Return all H of them, (N, H).": [
            lambda output, lengths: output[torch.arange(len(output)), lengths - 1, 0],
            lambda output, lengths: output[torch.arange(len(output)), lengths - 1, -1],
            lambda output, lengths: output.gather(1, (lengths - 1)[:, None, None])[:, 0, 0],
        ],
        "`gather` takes one number for each index, so only the first number of every state came back. Repeat the index "
        "H times: `.expand(-1, -1, H)`.": [
            lambda output, lengths: output.gather(1, (lengths - 1)[:, None, None]).squeeze(1),
            lambda output, lengths: output.gather(1, (lengths - 1)[:, None, None]),
        ],
    }
)


# Section 8: products of Jacobians -----------------------------------------------------------------------------


def _weights_and_states(H, T, seed, dtype=torch.float32):
    return 0.8 * normal(H, H, seed=seed, dtype=dtype), torch.tanh(normal(T, H, seed=seed + 1, dtype=dtype))


@lesson.exercise(
    cases={
        "one unit, two steps": (torch.tensor([[0.5]]), torch.tensor([[0.9], [0.6]])),
        "a single step": _weights_and_states(3, 1, seed=100),
        "two steps": _weights_and_states(2, 2, seed=110),
        "three steps, two units": _weights_and_states(2, 3, seed=120),
        "as many steps as units": _weights_and_states(4, 4, seed=130),
        "more units than steps": _weights_and_states(5, 3, seed=140),
        "states of 0": (torch.tensor([[0.0, 2.0], [1.0, 1.0]]), torch.zeros(4, 2)),
        "a saturated unit": (
            normal(3, 3, seed=150),
            torch.tensor([[0.1, 0.2, 0.3], [0.5, 1.0, -0.2], [0.0, 0.3, 0.4]]),
        ),
    },
    hints=[
        "What is the derivative of h_t[i] with respect to h_(t−1)[j]? Of the tanh at row i comes a factor.",
        "One step is diag(1 − h_t²) W_h, with h_t the state it arrives at: `(1 - states[t]**2)[:, None] * W_h`.",
        "Start with the identity matrix. A later step multiplies from the left: `jacobian = step @ jacobian`.",
    ],
)
def jacobian_product(W_h, states):
    """Return the Jacobian (H, H) of the last state with respect to the first one.

    Entry [i, j] is the derivative of h_T[i] with respect to h_1[j]. `states` (T, H) are h_1, …, h_T of
    h_t = tanh(W_x x_t + W_h h_(t-1) + b).
    """
    jacobian = torch.eye(len(W_h)).to(W_h)
    for h in states[1:]:
        step = (1 - h**2)[:, None] * W_h  # diag(1 − h_t²) W_h
        jacobian = step @ jacobian
    return jacobian


def _jacobian(
    slope=lambda h: 1 - h**2,
    which=lambda states: states[1:],
    weights=_same,
    step=lambda slope, W: slope[:, None] * W,
    start=lambda W: torch.eye(len(W)).to(W),
    product=lambda step, before: step @ before,
    result=_same,
):
    """The product over the steps, with what can go wrong as arguments."""

    def attempt(W_h, states):
        jacobian = start(W_h)
        for h in which(states):
            jacobian = product(step(slope(h), weights(W_h)), jacobian)
        return result(jacobian)

    return attempt


_SLOPES = {
    "tanh′ is forgotten: this is a power of W_h. Each step is diag(1 − h_t²) W_h.": {
        "slope": torch.ones_like
    },
    "The slope of the tanh is 1 − h², not 1 − h.": {"slope": lambda h: 1 - h},
    "The slope of the tanh is 1 − h², not h².": {"slope": lambda h: h**2},
    "The factor of each step is tanh′ = 1 − h², not h itself.": {"slope": _same},
    "The states are tanh of something already. The slope is 1 − h², not 1 − tanh²(h).": {
        "slope": lambda h: 1 - torch.tanh(h) ** 2
    },
    "The slope of the tanh is 1 − h², not (1 − h)².": {"slope": lambda h: (1 - h) ** 2},
    "h(1 − h) is the slope of the sigmoid. That of the tanh is 1 − h².": {"slope": lambda h: h * (1 - h)},
    "The slope of the tanh is 1 − h², not h² − 1.": {"slope": lambda h: h**2 - 1},
    "The slope of the tanh is 1 − h², not 1 + h².": {"slope": lambda h: 1 + h**2},
    "tanh′ has to be in each step once, 1 − h². Here it is squared.": {"slope": lambda h: (1 - h**2) ** 2},
    "The root of 1 − h² is taken. The slope of the tanh is 1 − h².": {"slope": lambda h: (1 - h**2) ** 0.5},
}
_WHICH = {
    "tanh′ is taken at the earlier state. The step from h_(t−1) to h_t has 1 − h_t², the state it arrives at: "
    "`states[1:]`.": {"which": lambda states: states[:-1]},
    "There is one factor too many: from h_1 to h_T there are T − 1 steps. Begin with h_2, `states[1:]`.": {
        "which": _same
    },
    "There is one factor too few: the first step arrives at h_2, `states[1]`.": {
        "which": lambda states: states[2:]
    },
    "The last step is missing. The factors go up to h_T.": {"which": lambda states: states[1:-1]},
    "Only the last step is here. From h_1 to h_T there are T − 1 of them: multiply all.": {
        "which": lambda states: states[1:][-1:]
    },
    "Only the first step is here. From h_1 to h_T there are T − 1 of them: multiply all.": {
        "which": lambda states: states[1:2]
    },
    "Every step has tanh′ at the last state. Each one has that of the state it arrives at.": {
        "which": lambda states: states[-1:].expand(len(states) - 1, -1)
    },
    "Every step has tanh′ at the first state. Each one has that of the state it arrives at.": {
        "which": lambda states: states[:1].expand(len(states) - 1, -1)
    },
}
_PRODUCT = {
    "The order of the factors is reversed. What acts later stands further left: `jacobian = step @ jacobian`, the last "
    "step in front.": {"product": lambda step, before: before @ step},
    "The steps are added up. The chain rule multiplies them: `step @ jacobian`.": {
        "product": lambda step, before: step + before
    },
}
_STEP = {
    "The factors 1 − h² are on the wrong side, W_h diag(1 − h²): they multiply columns. Row i belongs to the tanh of "
    "unit i: `(1 - h**2)[:, None] * W_h`.": {"step": lambda slope, W: slope * W},
    "W_h is missing: each step is diag(1 − h_t²) W_h.": {"step": lambda slope, W: torch.diag(slope)},
    "The mean of 1 − h² is taken over the units. Every unit has its own: row i times 1 − h_t[i]².": {
        "step": lambda slope, W: slope.mean() * W
    },
    "diag(1 − h²) is added to W_h. Multiply them: `(1 - h**2)[:, None] * W_h`.": {
        "step": lambda slope, W: torch.diag(slope) + W
    },
    "The rows of W_h are summed up: with `W_h @ (1 - h**2)` a vector comes out. Scale row i of W_h with 1 − h[i]², "
    "`(1 - h**2)[:, None] * W_h`.": {"step": lambda slope, W: torch.diag(W @ slope)},
}
_WEIGHTS = {
    "W_h is transposed. Entry [i, j] of a step is the derivative of h_t[i] with respect to h_(t−1)[j]: (1 − h_t[i]²) "
    "W_h[i, j].": {"weights": lambda W: W.T},
}
_RESULTS = {
    "The result is transposed: rows belong to the last state, columns to the first.": {
        "result": lambda jacobian: jacobian.T
    },
    "This is the norm of the Jacobian. Return the matrix.": {"result": lambda jacobian: jacobian.norm()},
    "This is the determinant of the Jacobian. Return the matrix.": {
        "result": lambda jacobian: torch.linalg.det(jacobian)
    },
    "This is the sum over each row of the Jacobian. Return the whole matrix (H, H).": {
        "result": lambda jacobian: jacobian.sum(dim=1)
    },
    "This is the diagonal of the Jacobian. Return the whole matrix (H, H).": {
        "result": lambda jacobian: jacobian.diagonal()
    },
    "The sign is wrong.": {"result": lambda jacobian: -jacobian},
}
_STARTS = {
    "The product starts with W_h, one factor W_h too many. Start with the identity matrix: `torch.eye(H)`.": {
        "start": _same
    },
    "The product starts with a matrix of ones. Start with the identity matrix: `torch.eye(H)`.": {
        "start": torch.ones_like
    },
    "The product starts with zeros, and stays there. Start with the identity matrix: `torch.eye(H)`.": {
        "start": torch.zeros_like
    },
}
jacobian_product.slips(_jacobian, _SLOPES, _WHICH, _PRODUCT, _STEP, _WEIGHTS, _RESULTS, _STARTS)


_SLOPES_IN_SHORT = {
    "tanh′ is 1 − h², not 1 − h.": {"slope": lambda h: 1 - h},
    "tanh′ is 1 − h², not h².": {"slope": lambda h: h**2},
    "tanh′ is 1 − h², not 1 − tanh²(h).": {"slope": lambda h: 1 - torch.tanh(h) ** 2},
}
_NO_SLOPES = {"tanh′ is forgotten.": {"slope": torch.ones_like}}
_TURNS = {
    "The order of the factors is reversed.": {"product": lambda step, before: before @ step},
    "W_h is transposed.": {"weights": lambda W: W.T},
    "1 − h² multiplies columns, not rows.": {"step": lambda slope, W: slope * W},
    "The result is transposed.": {"result": lambda jacobian: jacobian.T},
}
_ENDS_OF_PRODUCT = {
    "There is one factor too many: `states[1:]`.": {"which": _same},
    "There is one factor too few: `states[1:]`.": {"which": lambda states: states[2:]},
}
_EARLIER = {"tanh′ is taken at the earlier state: `states[1:]`.": {"which": lambda states: states[:-1]}}
jacobian_product.pairs_of_slips(_jacobian, _SLOPES_IN_SHORT, _TURNS | _ENDS_OF_PRODUCT | _EARLIER)
jacobian_product.pairs_of_slips(_jacobian, _TURNS, _ENDS_OF_PRODUCT | _EARLIER)
jacobian_product.pairs_of_slips(
    _jacobian, _NO_SLOPES, _ENDS_OF_PRODUCT | {"W_h is transposed.": {"weights": lambda W: W.T}}
)


@jacobian_product.mistake(
    "Loop over the steps, the rows of `states`. Here the loop runs over H, the number of units."
)
def _(W_h, states):
    jacobian = torch.eye(len(W_h)).to(W_h)
    for t in range(1, states.shape[1]):
        jacobian = (1 - states[t] ** 2)[:, None] * W_h @ jacobian
    return jacobian


jacobian_product.mistakes(
    {
        "`*` multiplies entry by entry. Jacobians are joined by the matrix product, `@`.": [
            _jacobian(product=lambda step, before: step * before, start=start, step=step)
            for start in (lambda W: torch.eye(len(W)).to(W), torch.ones_like, lambda W: 1)
            for step in (lambda slope, W: slope[:, None] * W, lambda slope, W: slope * W)
        ],
        "Here tanh′ of the steps is multiplied apart from W_h. In each step stands diag(1 − h_t²) in front of W_h, and "
        "matrices do not change places.": [
            lambda W_h, states: (
                torch.diag((1 - states[1:] ** 2).prod(dim=0))
                @ torch.linalg.matrix_power(W_h, len(states) - 1)
            ),
            lambda W_h, states: (
                torch.linalg.matrix_power(W_h, len(states) - 1) * (1 - states[1:] ** 2).prod(dim=0)
            ),
        ],
        "For a single step nothing lies between the first state and the last, which are the same: the Jacobian is the "
        "identity matrix.": [
            lambda W_h, states: _from_one_step(W_h, states, W_h),
            lambda W_h, states: _from_one_step(W_h, states, torch.zeros_like(W_h)),
            lambda W_h, states: _from_one_step(W_h, states, torch.ones_like(W_h)),
            lambda W_h, states: _from_one_step(W_h, states, (1 - states[0] ** 2)[:, None] * W_h),
            lambda W_h, states: _from_one_step(W_h, states, None),
        ],
    }
)


def _from_one_step(W_h, states, of_one):
    return of_one if len(states) == 1 else jacobian_product.reference(W_h, states)


def _power_iteration(W, steps):
    v = torch.ones(len(W)).to(W)
    for _ in range(steps):
        v = W @ v
        v = v / v.norm()
    return (W @ v).norm()


# Section 9: the GRU -------------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "a recurrent layer of one unit": (1, 1, 1, False),
        "nn.RNN(3, 5)": (1, 3, 5, False),
        "nn.RNN(7, 2), both ways": (1, 7, 2, True),
        "nn.GRU(10, 32)": (3, 10, 32, False),
        "nn.GRU(5, 4), both ways": (3, 5, 4, True),
        "nn.LSTM(28, 64)": (4, 28, 64, False),
        "nn.LSTM(2, 32), both ways": (4, 2, 32, True),
        "nn.LSTM(6, 6)": (4, 6, 6, False),
    },
    hints=[
        "Write down the shapes of all parameters of `nn.RNN(3, 5)`: "
        "`[p.shape for p in nn.RNN(3, 5).parameters()]`. There are four.",
        "W_x is (H, D), W_h is (H, H), and there are two biases of H numbers each.",
        "A gate needs all of that: `gates * (D * H + H * H + 2 * H)`. The second direction is a second layer like it.",
    ],
)
def count_parameters(gates, D, H, both_ways):
    """Return the number of parameters of one layer of nn.RNN (gates = 1), nn.GRU (3) or nn.LSTM (4).

    It has D inputs and H units, in both directions if `both_ways`.
    """
    one_way = gates * (D * H + H * H + 2 * H)
    return 2 * one_way if both_ways else one_way


def _count(
    inputs=lambda D, H: D * H,
    states=lambda D, H: H * H,
    biases=lambda D, H: 2 * H,
    total=lambda gates, x, h, b: gates * (x + h + b),
    ways=lambda n, D, H: 2 * n,
):
    """The count, with what can go wrong as arguments."""

    def attempt(gates, D, H, both_ways):
        one_way = total(gates, inputs(D, H), states(D, H), biases(D, H))
        return ways(one_way, D, H) if both_ways else one_way

    return attempt


_WEIGHTS_OF_X = {
    "The weights of the inputs are missing, D · H for each gate.": {"inputs": lambda D, H: 0},
    "The weights of the inputs are D · H, not D · D.": {"inputs": lambda D, H: D * D},
    "The weights of the inputs are D · H: one for every pair of an input and a unit, not D + H.": {
        "inputs": lambda D, H: D + H
    },
    "The weights of the inputs are D · H for each gate, not D.": {"inputs": lambda D, H: D},
    "The weights of the inputs are D · H, once for each gate, not twice.": {"inputs": lambda D, H: 2 * D * H},
}
_WEIGHTS_OF_H = {
    "The weights from state to state are missing, H · H for each gate.": {"states": lambda D, H: 0},
    "The weights from state to state are H · H: here they are H, one for each unit.": {
        "states": lambda D, H: H
    },
    "The weights from state to state are H · H, not 2 · H.": {"states": lambda D, H: 2 * H},
    "The weights from state to state are H · H, not D · D.": {"states": lambda D, H: D * D},
    "The weights from state to state are H · H, not D · H: every unit sees the states of all H units.": {
        "states": lambda D, H: D * H
    },
    "The weights from state to state count once for each gate, H · H, not twice.": {
        "states": lambda D, H: 2 * H * H
    },
}
_BIASES = {
    "PyTorch has two biases for each gate, one with W_x and one with W_h: 2 · H, not H.": {
        "biases": lambda D, H: H
    },
    "The biases are missing: PyTorch has two of them for each gate, 2 · H numbers.": {
        "biases": lambda D, H: 0
    },
    "A bias has a number for each unit: two biases are 2 · H numbers, not 2.": {"biases": lambda D, H: 2},
    "A bias has a number for each unit, and there are two of them: 2 · H numbers, not 1.": {
        "biases": lambda D, H: 1
    },
    "A bias has a number for each unit, none for the inputs: 2 · H, not D + H.": {
        "biases": lambda D, H: D + H
    },
    "The biases are 2 · H numbers for each gate, not 2 · D: one for each unit.": {
        "biases": lambda D, H: 2 * D
    },
    "The bias of the inputs has H numbers, one for each unit, not D, and there are two biases: 2 · H.": {
        "biases": lambda D, H: D
    },
    "There are two biases for each gate, 2 · H numbers, not 4 · H.": {"biases": lambda D, H: 4 * H},
    "There are two biases for each gate, 2 · H numbers, not 3 · H.": {"biases": lambda D, H: 3 * H},
    "The two biases are added, not multiplied: 2 · H numbers, not H · H.": {"biases": lambda D, H: H * H},
}
_GATES = {
    "The gates are left out: every gate has weights and biases of its own, so multiply by `gates`.": {
        "total": lambda gates, x, h, b: x + h + b
    },
    "Only the weights of the inputs are counted for every gate. Each gate has its own weights of the state and biases, "
    "too.": {"total": lambda gates, x, h, b: gates * x + h + b},
    "Only the weights of the state are counted for every gate. Each gate has its own weights of the inputs and biases, "
    "too.": {"total": lambda gates, x, h, b: x + gates * h + b},
    "The biases are counted for one gate only. Each gate has its own two: put them inside the brackets.": {
        "total": lambda gates, x, h, b: gates * (x + h) + b
    },
    "The weights of the inputs are counted for one gate only. Put them inside the brackets.": {
        "total": lambda gates, x, h, b: x + gates * (h + b)
    },
    "The weights of the state are counted for one gate only. Put them inside the brackets.": {
        "total": lambda gates, x, h, b: gates * (x + b) + h
    },
    "The gates are added. Every gate has weights and biases of its own: multiply by `gates`.": {
        "total": lambda gates, x, h, b: gates + x + h + b
    },
    "The weights of the state are multiplied by `gates` twice. Every gate sees the H numbers of one state: H · H "
    "weights for each gate.": {"total": lambda gates, x, h, b: gates * (x + gates * h + b)},
    "`gates` is squared here. Every gate has weights and biases of its own: multiply by `gates` once.": {
        "total": lambda gates, x, h, b: gates * gates * (x + h + b)
    },
    "One gate too many is counted: `gates` includes the candidate already.": {
        "total": lambda gates, x, h, b: (gates + 1) * (x + h + b)
    },
    "The number of gates is fixed at 4 here. It is the argument `gates`.": {
        "total": lambda gates, x, h, b: 4 * (x + h + b)
    },
}
_WAYS = {
    "`both_ways` is not used: the second direction is a second layer with parameters of its own, so twice the "
    "number.": {"ways": lambda n, D, H: n},
    "One more is added for the second direction. It has as many parameters as the first: multiply by 2.": {
        "ways": lambda n, D, H: n + 1
    },
    "Two directions have twice the parameters, not four times.": {"ways": lambda n, D, H: 4 * n},
    "The count is squared for two directions. Multiply it by 2.": {"ways": lambda n, D, H: n * n},
    "The count is halved for two directions. The second one has as many parameters again: multiply by 2.": {
        "ways": lambda n, D, H: n // 2
    },
    "Two directions have twice the parameters, not three times.": {"ways": lambda n, D, H: 3 * n},
}
count_parameters.slips(_count, _WEIGHTS_OF_X, _WEIGHTS_OF_H, _BIASES, _GATES, _WAYS)


def _of_sizes(sizes):
    """The right count of one direction for other sizes, which `sizes` makes of gates, D, H and both_ways."""

    def attempt(*given):
        gates, D, H = sizes(*given)
        return gates * (D * H + H * H + 2 * H)

    return attempt


count_parameters.mistakes(
    {
        "Both directions are counted as one layer of 2H units. They are two layers of H units that do not see each "
        "other's states: twice the number.": [
            _of_sizes(lambda gates, D, H, both_ways: (gates, D, 2 * H if both_ways else H)),
            lambda gates, D, H, both_ways: (
                gates * ((1 + both_ways) * D * H + ((1 + both_ways) * H) ** 2 + 2 * (1 + both_ways) * H)
            ),
        ],
        "The second direction reads x, as the first does, not the states of the first: its inputs are D, not H or "
        "2H.": [
            lambda gates, D, H, both_ways, k=k: (
                gates * (D * H + H * H + 2 * H + both_ways * (k * H * H + H * H + 2 * H))
            )
            for k in (1, 2)
        ],
        "Only the weights are doubled for both directions. The second direction has biases of its own, too.": (
            lambda gates, D, H, both_ways: gates * ((D * H + H * H) * (1 + both_ways) + 2 * H)
        ),
        "Only the weights of the inputs are doubled for both directions. The second direction has its own weights from "
        "state to state and biases, too.": lambda gates, D, H, both_ways: (
            gates * (D * H * (1 + both_ways) + H * H + 2 * H)
        ),
        "Only the weights from state to state are doubled for both directions. The second direction has its own "
        "weights of the inputs and biases, too.": lambda gates, D, H, both_ways: (
            gates * (D * H + H * H * (1 + both_ways) + 2 * H)
        ),
        "The number is doubled for one direction, too. Double it only if `both_ways`.": _of_sizes(
            lambda gates, D, H, both_ways: (2 * gates, D, H)
        ),
        "The cases are the wrong way round: the number is doubled for both directions, not for one.": _of_sizes(
            lambda gates, D, H, both_ways: (gates if both_ways else 2 * gates, D, H)
        ),
        "Multiplying by `both_ways` gives 0 for one direction. Multiply by 1 + both_ways.": _of_sizes(
            lambda gates, D, H, both_ways: (gates * both_ways, D, H)
        ),
        "For one direction 0 comes out. Multiply by 2 for both directions, by 1 for one: `1 + both_ways`.": _of_sizes(
            lambda gates, D, H, both_ways: (2 * gates * both_ways, D, H)
        ),
        "D and H are swapped: the D are the inputs, the H the units.": lambda gates, D, H, both_ways: (
            (1 + both_ways) * gates * (D * H + D * D + 2 * D)
        ),
        "A linear layer for the output is counted as well. The recurrent layer ends with its states.": [
            lambda gates, D, H, both_ways, more=more: (
                (1 + both_ways) * gates * (D * H + H * H + 2 * H) + more(H)
            )
            for more in (lambda H: H, lambda H: H + 1)
        ],
        "The weights of inputs and state are multiplied. Add them: D · H + H · H.": lambda gates, D, H, both_ways: (
            (1 + both_ways) * gates * (D * H * H * H + 2 * H)
        ),
        "You square D + H. A gate has (D + H) · H weights: D · H and H · H.": lambda gates, D, H, both_ways: (
            (1 + both_ways) * gates * ((D + H) ** 2 + 2 * H)
        ),
    }
)
_SHORT = {
    "one bias": ("Count two biases for each gate.", {"biases": lambda D, H: H}),
    "no bias": ("The biases are missing, 2 · H for each gate.", {"biases": lambda D, H: 0}),
    "bias of 2": ("A bias has H numbers, not one.", {"biases": lambda D, H: 2}),
    "bias of 1": ("There are two biases of H numbers, not one number.", {"biases": lambda D, H: 1}),
    "no H H": ("H · H is missing.", {"states": lambda D, H: 0}),
    "no D H": ("D · H is missing.", {"inputs": lambda D, H: 0}),
    "one gate": ("The gates are left out.", {"total": lambda gates, x, h, b: x + h + b}),
    "biases once": (
        "The biases are counted for one gate only.",
        {"total": lambda gates, x, h, b: gates * (x + h) + b},
    ),
    "one way": ("The second direction is left out.", {"ways": lambda n, D, H: n}),
    "plus one": (
        "The second direction has as many parameters as the first, not one.",
        {"ways": lambda n, D, H: n + 1},
    ),
}
for (_one, _first), (_other, _second) in itertools.combinations(_SHORT.values(), 2):
    count_parameters.pairs_of_slips(_count, {_one: _first}, {_other: _second}, but=[{"biases", "total"}])
count_parameters.pairs_of_slips(
    _count,
    {"Count two biases for each gate.": {"biases": lambda D, H: H}},
    {"The biases are counted for one gate only.": {"total": lambda gates, x, h, b: gates * (x + h) + b}},
)
count_parameters.pairs_of_slips(
    _count,
    {told: slip for told, slip in _SHORT.values() if "biases" in slip},
    {"The gates are left out.": {"total": lambda gates, x, h, b: x + h + b}},
)
count_parameters.pairs_of_slips(
    _count,
    {told: slip for number, (told, slip) in enumerate(_GATES.items()) if number in (1, 2, 4, 5)},
    {"And the second direction is left out: twice the number.": {"ways": lambda n, D, H: n}},
)


@lesson.exercise(
    cases={
        "one unit": _gated(1, 1, 1, 3, seed=300, cell=False, biases=2),
        "an ordinary batch": _gated(4, 2, 5, 3, seed=310, cell=False, biases=2),
        "more inputs than units": _gated(2, 6, 4, 3, seed=320, cell=False, biases=2),
        "as many units as inputs": _gated(5, 3, 3, 3, seed=330, cell=False, biases=2),
        "three examples": _gated(3, 2, 1, 3, seed=340, cell=False, biases=2),
        "a zero state": tuple(
            one * (number != 1)
            for number, one in enumerate(_gated(2, 3, 2, 3, seed=350, cell=False, biases=2))
        ),
        "float64 numbers": _gated(3, 4, 2, 3, seed=360, dtype=torch.float64, cell=False, biases=2),
    },
    hints=[
        "Keep the sums of x and of h apart, `x @ W_x.T + b_x` and `h @ W_h.T + b_h`: the candidate needs them so.",
        "Split both with `.chunk(3, dim=1)`. r and z are sigmoids of sums of two blocks.",
        "The candidate is n = tanh(x_n + r · h_n), and the state is (1 − z) · n + z · h: in PyTorch z keeps.",
    ],
)
def gru_step(x, h, W_x, W_h, b_x, b_h):
    """Return the state (N, H) after one step of a GRU from x (N, D) and h (N, H), as in nn.GRU.

    `W_x` (3H, D), `W_h` (3H, H), `b_x` and `b_h` (3H,) hold the blocks of the reset gate, the update gate and the
    candidate, in this order.
    """
    x_r, x_z, x_n = (x @ W_x.T + b_x).chunk(3, dim=1)
    h_r, h_z, h_n = (h @ W_h.T + b_h).chunk(3, dim=1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


def _gru(
    biases=lambda b_x, b_h: (b_x, b_h),
    split=lambda a: a.chunk(3, dim=1),
    order=(0, 1, 2),
    sums=lambda x, h: x + h,
    of_r=torch.sigmoid,
    of_z=torch.sigmoid,
    of_n=torch.tanh,
    inside=lambda r, z, x_n, h_n, W_n, b_n, h: x_n + r * h_n,
    state=lambda z, n, h, r: (1 - z) * n + z * h,
):
    """One step, with what can go wrong as arguments."""

    def attempt(x, h, W_x, W_h, b_x, b_h):
        b_x, b_h = biases(b_x, b_h)
        first, second, third = split(x @ W_x.T + b_x)
        of_x, of_h = (first, second, third), split(h @ W_h.T + b_h)
        x_r, x_z, x_n = (of_x[number] for number in order)
        h_r, h_z, h_n = (of_h[number] for number in order)
        r, z = of_r(sums(x_r, h_r)), of_z(sums(x_z, h_z))
        place = order[2] * h.shape[1]
        weights, bias = W_h[place : place + h.shape[1]], b_h[place : place + h.shape[1]]
        return state(z, of_n(inside(r, z, x_n, h_n, weights, bias, h)), h, r)

    return attempt


_CANDIDATES = {
    "The reset gate acts before the product here, W_hn (r · h), as in Cho et al. 2014. `nn.GRU` resets after it: "
    "r · (W_hn h + b_hn).": {"inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + (r * h) @ W_n.T + b_n},
    "The bias b_hn is outside of the reset gate. Add b_h to `h @ W_h.T`, so that it is inside: r · (W_hn h + b_hn).": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + r * (h @ W_n.T) + b_n
    },
    "The bias b_hn is missing in the candidate: r · (W_hn h + b_hn).": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + r * (h @ W_n.T)
    },
    "The bias b_hn counts twice in the candidate: once in the block h_n, and once more outside of it.": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + r * h_n + b_n
    },
    "The reset gate is not used: the candidate is tanh(x_n + r · h_n).": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + h_n
    },
    "The reset gate acts on input and state. It acts on the part of the state only: x_n + r · h_n.": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: r * (x_n + h_n)
    },
    "The reset gate acts on the part of the input. It acts on that of the state: x_n + r · h_n.": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: r * x_n + h_n
    },
    "The reset gate is used as 1 − r: it says what is let through, r · h_n.": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + (1 - r) * h_n
    },
    "The candidate does not see the state: it is tanh(x_n + r · h_n).": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n
    },
    "The candidate does not see the input: it is tanh(x_n + r · h_n).": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: r * h_n
    },
    "The update gate acts in the candidate. There it is the reset gate: x_n + r · h_n.": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + z * h_n
    },
    "The reset gate multiplies the old state itself, without the weights W_hn: the candidate is tanh(x_n + r · "
    "(W_hn h + b_hn)).": {"inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + r * h},
    "Input and state are multiplied in the candidate. Add them: x_n + r · h_n.": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n * r * h_n
    },
    "The part of the state is subtracted in the candidate. Add it: x_n + r · h_n.": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n - r * h_n
    },
    "The reset gate is added in the candidate. Multiply: x_n + r · h_n.": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + r + h_n
    },
}
_UPDATES = {
    "z and 1 − z are swapped. In PyTorch z keeps the old state: (1 − z) · n + z · h. Many texts have it the other way "
    "round.": {"state": lambda z, n, h, r: z * n + (1 - z) * h},
    "The old state is missing: the new one is (1 − z) · n + z · h.": {
        "state": lambda z, n, h, r: (1 - z) * n
    },
    "The update gate is not used: this is the candidate. The state is (1 − z) · n + z · h.": {
        "state": lambda z, n, h, r: n
    },
    "The candidate enters in full. Weight it: (1 − z) · n + z · h.": {"state": lambda z, n, h, r: n + z * h},
    "The old state is kept in full. Weight it: (1 − z) · n + z · h.": {
        "state": lambda z, n, h, r: (1 - z) * n + h
    },
    "Candidate and old state both have the weight z. It is (1 − z) · n + z · h.": {
        "state": lambda z, n, h, r: z * n + z * h
    },
    "Candidate and old state both have the weight 1 − z. It is (1 − z) · n + z · h.": {
        "state": lambda z, n, h, r: (1 - z) * n + (1 - z) * h
    },
    "The reset gate mixes old and new. That is what the update gate is for: (1 − z) · n + z · h.": {
        "state": lambda z, n, h, r: (1 - r) * n + r * h
    },
    "The candidate is missing: the new state is (1 − z) · n + z · h.": {"state": lambda z, n, h, r: z * h},
    "Candidate and old state are added without weights: it is (1 − z) · n + z · h.": {
        "state": lambda z, n, h, r: n + h
    },
    "The new state goes through one more tanh. It is (1 − z) · n + z · h.": {
        "state": lambda z, n, h, r: torch.tanh((1 - z) * n + z * h)
    },
    "The old state is subtracted. Add it: (1 − z) · n + z · h.": {
        "state": lambda z, n, h, r: (1 - z) * n - z * h
    },
    "Two values came back. A GRU has no cell: return the state only.": {
        "state": lambda z, n, h, r: ((1 - z) * n + z * h,) * 2
    },
    "1 + z stands in place of 1 − z: it is (1 − z) · n + z · h.": {
        "state": lambda z, n, h, r: (1 + z) * n + z * h
    },
}
_GRU_GATES = {
    "The candidate has a sigmoid. It can be negative, and takes tanh.": {"of_n": torch.sigmoid},
    "The candidate has no activation function. It takes tanh.": {"of_n": _same},
    "The candidate has a ReLU. It takes tanh.": {"of_n": F.relu},
    "Both gates have tanh. A gate opens from 0 to 1: r and z take a sigmoid.": {
        "of_r": torch.tanh,
        "of_z": torch.tanh,
    },
    "Sigmoid and tanh are swapped: the gates take a sigmoid, the candidate tanh.": {
        "of_r": torch.tanh,
        "of_z": torch.tanh,
        "of_n": torch.sigmoid,
    },
    "The gates have no activation function. r and z take a sigmoid, so that they lie between 0 and 1.": {
        "of_r": _same,
        "of_z": _same,
    },
    "The reset gate has tanh. A gate takes a sigmoid.": {"of_r": torch.tanh},
    "The update gate has tanh. A gate takes a sigmoid.": {"of_z": torch.tanh},
    "The reset gate has no activation function. It takes a sigmoid.": {"of_r": _same},
    "The update gate has no activation function. It takes a sigmoid.": {"of_z": _same},
    "The gates see x only. They also depend on the state: x_r + h_r and x_z + h_z.": {"sums": lambda x, h: x},
    "The gates see h only. They also depend on the input: x_r + h_r and x_z + h_z.": {"sums": lambda x, h: h},
    "The parts of x and h are multiplied in the gates. Add them.": {"sums": lambda x, h: x * h},
    "The part of h is subtracted in the gates. Add it.": {"sums": lambda x, h: x - h},
}
_GRU_BIASES = {
    "b_h is missing: it is added to `h @ W_h.T`, in all three blocks.": {
        "biases": lambda b_x, b_h: (b_x, torch.zeros_like(b_h))
    },
    "b_x is missing: it is added to `x @ W_x.T`, in all three blocks.": {
        "biases": lambda b_x, b_h: (torch.zeros_like(b_x), b_h)
    },
    "Both biases are missing: b_x belongs to `x @ W_x.T`, b_h to `h @ W_h.T`.": {
        "biases": lambda b_x, b_h: (torch.zeros_like(b_x), torch.zeros_like(b_h))
    },
    "b_x and b_h are swapped: b_x belongs to `x @ W_x.T`, b_h to `h @ W_h.T`. In the candidate it makes a "
    "difference.": {"biases": lambda b_x, b_h: (b_h, b_x)},
    "b_x is used twice and b_h not at all: b_h belongs to `h @ W_h.T`.": {
        "biases": lambda b_x, b_h: (b_x, b_x)
    },
    "b_h is used twice and b_x not at all: b_x belongs to `x @ W_x.T`.": {
        "biases": lambda b_x, b_h: (b_h, b_h)
    },
    "Both biases are added to `h @ W_h.T`. In the candidate b_x stands outside of the reset gate: add it to "
    "`x @ W_x.T`.": {"biases": lambda b_x, b_h: (torch.zeros_like(b_x), b_x + b_h)},
}
_GRU_ORDERS = {
    "Reset and update gate are swapped. The blocks stand in the order r, z, n.": {"order": (1, 0, 2)},
    "The candidate is taken from the first block. The blocks stand in the order r, z, n.": {
        "order": (1, 2, 0)
    },
    "The candidate is taken from the second block. The blocks stand in the order r, z, n.": {
        "order": (0, 2, 1)
    },
}
gru_step.slips(_gru, _CANDIDATES, _UPDATES, _GRU_GATES, _GRU_BIASES, _GRU_ORDERS)
gru_step.mistakes(
    {
        "The blocks are taken in another order than they stand in: reset gate, update gate, candidate.": [
            _gru(order=(2, 0, 1)),
            _gru(order=(2, 1, 0)),
        ],
        "`chunk` splits along axis 0 here, which counts the examples. The blocks stand side by side: "
        "`.chunk(3, dim=1)`.": [
            _gru(split=lambda a: a.chunk(3)),
        ],
        "The numbers of a block are side by side, H of them: `.chunk(3, dim=1)`. Here every third number is "
        "taken.": [
            _gru(split=lambda a: a.reshape(len(a), -1, 3).unbind(dim=2)),
            _gru(split=lambda a: [a[:, number::3] for number in range(3)]),
        ],
        "The blocks are cut out of the rows, which are the examples. They stand side by side: `a[:, :H]`, "
        "`a[:, H : 2 * H]` and so on.": _gru(split=_rows_of_blocks(3)),
        "`nn.GRU` and `nn.GRUCell` begin with random weights of their own. Use those that were handed in.": [
            lambda x, h, W_x, W_h, b_x, b_h: nn.GRUCell(x.shape[1], h.shape[1])(x, h),
            lambda x, h, W_x, W_h, b_x, b_h: nn.GRU(x.shape[1], h.shape[1])(x[None], h[None])[1][0],
            lambda x, h, W_x, W_h, b_x, b_h: nn.GRU(x.shape[1], h.shape[1], batch_first=True)(
                x[:, None], h[None]
            )[1][0],
        ],
        "`reshape(3, N, H)` mixes examples and blocks. Split along axis 1: `.chunk(3, dim=1)`.": _gru(
            split=lambda a: a.reshape(3, len(a), -1).unbind(dim=0)
        ),
    }
)

_CANDIDATES_IN_SHORT = {
    "`nn.GRU` resets after the product: r · (W_hn h + b_hn).": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + (r * h) @ W_n.T + b_n
    },
    "b_hn belongs inside: r · (W_hn h + b_hn).": {
        "inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + r * (h @ W_n.T) + b_n
    },
    "The reset gate is not used.": {"inside": lambda r, z, x_n, h_n, W_n, b_n, h: x_n + h_n},
    "The reset gate acts on the input, too.": {"inside": lambda r, z, x_n, h_n, W_n, b_n, h: r * (x_n + h_n)},
}
_UPDATES_IN_SHORT = {
    "z keeps the old state: (1 − z) · n + z · h.": {"state": lambda z, n, h, r: z * n + (1 - z) * h},
    "The old state is missing.": {"state": lambda z, n, h, r: (1 - z) * n},
}
_OTHERS_IN_SHORT = {
    "Reset and update gate are swapped.": {"order": (1, 0, 2)},
    "The candidate takes tanh, not a sigmoid.": {"of_n": torch.sigmoid},
    "The candidate takes tanh, which is missing.": {"of_n": _same},
    "b_h is missing.": {"biases": lambda b_x, b_h: (b_x, torch.zeros_like(b_h))},
    "b_x is missing.": {"biases": lambda b_x, b_h: (torch.zeros_like(b_x), b_h)},
}
gru_step.pairs_of_slips(_gru, _CANDIDATES_IN_SHORT, _UPDATES_IN_SHORT)
gru_step.pairs_of_slips(_gru, _UPDATES_IN_SHORT, _OTHERS_IN_SHORT)
gru_step.pairs_of_slips(_gru, dict(list(_CANDIDATES_IN_SHORT.items())[2:]), _OTHERS_IN_SHORT)


# Section 10: a loss over real steps ---------------------------------------------------------------------------


def _padded(N, T, C, lengths, seed, dtype=torch.float32, logit=None, target=None):
    """Logits, targets and lengths; in the padding stand `logit` and `target`, if they are given."""
    logits, lengths = 2 * normal(N, T, C, seed=seed, dtype=dtype), torch.tensor(lengths)
    targets = torch.randint(C, (N, T), generator=torch.Generator().manual_seed(seed))
    padding = torch.arange(T) >= lengths[:, None]
    if logit is not None:
        logits[padding] = logit
    if target is not None:
        targets[padding] = target
    return logits, targets, lengths


@lesson.exercise(
    cases={
        "one sequence": _padded(1, 4, 2, [3], seed=500),
        "a single step": _padded(3, 1, 4, [1, 1, 1], seed=510),
        "an ordinary batch": _padded(3, 6, 4, [2, 6, 3], seed=520),
        "one long, two short": _padded(3, 8, 5, [8, 1, 1], seed=530),
        "as many steps as classes": _padded(2, 4, 4, [4, 2], seed=540),
        "as many examples as steps": _padded(3, 3, 2, [1, 3, 2], seed=550),
        "no padding": _padded(2, 3, 5, [3, 3], seed=560),
        "−100 in the padding": _padded(3, 5, 3, [2, 5, 4], seed=570, target=-100),
        "nan in the padding": _padded(3, 5, 4, [3, 1, 4], seed=580, logit=torch.nan),
        "inf in the padding": _padded(2, 4, 3, [2, 3], seed=590, logit=torch.inf),
        "float64 numbers": _padded(4, 5, 3, [5, 1, 2, 3], seed=600, dtype=torch.float64),
    },
    hints=[
        "A mask says which steps are real: `torch.arange(T) < lengths[:, None]`, of shape (N, T).",
        "A mask takes entries out: `logits[mask]` is (number of real steps, C). What is not taken can do no harm.",
        "`F.cross_entropy(logits[mask], targets[mask])` is the mean over all steps that were taken.",
    ],
)
def masked_loss(logits, targets, lengths):
    """Return the mean cross-entropy over all real steps, a single number.

    `logits` (N, T, C), `targets` (N, T) int64; of row n the first lengths[n] steps are real, the rest is padding. Any
    values may stand there, and none of them counts.
    """
    steps = torch.arange(logits.shape[1], device=logits.device)
    real = steps < lengths[:, None]  # (N, T)
    return F.cross_entropy(logits[real], targets[real])


def _mask(logits, lengths):
    return torch.arange(logits.shape[1]) < lengths[:, None]


def _per_step(logits, targets):
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")


def _masked(
    mask=_mask,
    loss=lambda logits, targets: F.cross_entropy(logits, targets, reduction="none"),
    mean=lambda losses, real, logits: losses.mean(),
):
    """The loss of the real steps, in a row, and their mean, with what can go wrong as arguments."""

    def attempt(logits, targets, lengths):
        real = mask(logits, lengths)
        return mean(loss(logits[real], targets[real]), real, logits)

    return attempt


_MASKS = {
    "The mask is one step too long: step t is real for t < n, not for t <= n, since t begins at 0.": {
        "mask": lambda logits, lengths: torch.arange(logits.shape[1]) <= lengths[:, None]
    },
    "The mask is one step too short: step t is real for t < n, so the last real one is t = n − 1.": {
        "mask": lambda logits, lengths: torch.arange(logits.shape[1]) < lengths[:, None] - 1
    },
    "The first step is left out. Steps are counted from 0: `torch.arange(T) < lengths[:, None]`.": {
        "mask": lambda logits, lengths: _mask(logits, lengths) & (torch.arange(logits.shape[1]) > 0)
    },
    "The mask is turned around: these are the padded steps. Real are those with t < n.": {
        "mask": lambda logits, lengths: ~_mask(logits, lengths)
    },
    "Only the last real step of each sequence counts here. The loss is the mean over all real steps.": {
        "mask": lambda logits, lengths: torch.arange(logits.shape[1]) == lengths[:, None] - 1
    },
    "Only the first step of each sequence counts here. The loss is the mean over all real steps.": {
        "mask": lambda logits, lengths: (torch.arange(logits.shape[1]) == 0).expand(len(logits), -1)
    },
    "All sequences are cut where the longest one ends, so shorter ones count with their padding. Each has an end of "
    "its own: `lengths[:, None]`.": {
        "mask": lambda logits, lengths: (torch.arange(logits.shape[1]) < lengths.max()).expand(
            len(logits), -1
        )
    },
    "All sequences are cut where the shortest one ends. Each has an end of its own: `lengths[:, None]`.": {
        "mask": lambda logits, lengths: (torch.arange(logits.shape[1]) < lengths.min()).expand(
            len(logits), -1
        )
    },
    "All sequences are cut where the first one ends. Each has an end of its own: `lengths[:, None]`.": {
        "mask": lambda logits, lengths: (torch.arange(logits.shape[1]) < lengths[0]).expand(len(logits), -1)
    },
    "The padding counts as well: this is the mean over all N · T steps. Take the real ones only, "
    "t < `lengths[n]`.": {"mask": lambda logits, lengths: torch.ones(logits.shape[:2], dtype=torch.bool)},
    "The mask is (T, N): steps in rows. It should be (N, T), `torch.arange(T) < lengths[:, None]`.": {
        "mask": lambda logits, lengths: torch.arange(logits.shape[1])[:, None] < lengths
    },
}
_LOSSES_OF_STEPS = {
    "A softmax is applied before the cross-entropy, which applies its own. Pass the logits.": {
        "loss": lambda logits, targets: F.cross_entropy(logits.softmax(dim=-1), targets, reduction="none")
    },
    "The sign is wrong: the cross-entropy is −ln of the probability of the target.": {
        "loss": lambda logits, targets: -F.cross_entropy(logits, targets, reduction="none")
    },
    "`nll_loss` takes logarithms of probabilities, and logits arrived. Use `cross_entropy`, or `log_softmax` "
    "before it.": {"loss": lambda logits, targets: F.nll_loss(logits, targets, reduction="none")},
    "`nll_loss` takes logarithms of probabilities: the logarithm of the softmax is missing. Use `cross_entropy`.": {
        "loss": lambda logits, targets: F.nll_loss(logits.softmax(dim=-1), targets, reduction="none")
    },
    "This is the fraction of right answers. Return the cross-entropy.": {
        "loss": lambda logits, targets: (logits.argmax(dim=-1) == targets).float()
    },
    "This is the fraction of wrong answers. Return the cross-entropy.": {
        "loss": lambda logits, targets: (logits.argmax(dim=-1) != targets).float()
    },
    "log2 counts bits. The cross-entropy takes the natural logarithm.": {
        "loss": lambda logits, targets: (
            F.cross_entropy(logits, targets, reduction="none") / 0.6931471805599453
        )
    },
    "This is the mean probability of the targets. Return the mean of −ln of it.": {
        "loss": lambda logits, targets: logits.softmax(dim=-1).gather(1, targets[:, None])[:, 0]
    },
    "This is the squared error of the probabilities. Return the cross-entropy.": {
        "loss": lambda logits, targets: (
            (logits.softmax(dim=-1) - F.one_hot(targets.clamp(min=0), logits.shape[-1])).square().sum(dim=1)
        )
    },
    "Steps with class 0 are left out: 0 is a class like the others. Go by the lengths.": {
        "loss": lambda logits, targets: F.cross_entropy(
            logits[targets != 0], targets[targets != 0], reduction="none"
        )
    },
    "The softmax goes over the steps here, not over the classes: the classes are the last axis.": {
        "loss": lambda logits, targets: -logits.log_softmax(dim=0).gather(1, targets[:, None])[:, 0]
    },
}
_MEANS = {
    "This is the sum over the real steps. Divide by their number.": {
        "mean": lambda losses, real, logits: losses.sum()
    },
    "The sum over the real steps is divided by N. Divide by the number of real steps, `lengths.sum()`.": {
        "mean": lambda losses, real, logits: losses.sum() / len(real)
    },
    "The sum over the real steps is divided by T. Divide by the number of real steps, `lengths.sum()`.": {
        "mean": lambda losses, real, logits: losses.sum() / real.shape[1]
    },
    "The padding counts in the mean, with a loss of 0: the sum is divided by N · T. Divide by the number of real "
    "steps.": {"mean": lambda losses, real, logits: losses.sum() / real.numel()},
    "The sum is divided by the number of real steps and of classes. Divide by the real steps only.": {
        "mean": lambda losses, real, logits: losses.mean() / logits.shape[-1]
    },
    "This is exp of the mean, the perplexity. Return the mean itself.": {
        "mean": lambda losses, real, logits: losses.mean().exp()
    },
    "These are the losses of all real steps. Return their mean, a single number.": {
        "mean": lambda losses, real, logits: losses
    },
    "This is the mean over the real steps of each sequence, then over the sequences: short ones weigh too much. "
    "Every real step counts the same.": {"mean": lambda losses, real, logits: _by_row(losses, real).mean()},
    "Every sequence has its own mean here, (N,). Return the mean over all real steps, a single number.": {
        "mean": lambda losses, real, logits: _by_row(losses, real)
    },
    "This is the mean over the sequences at each step, then over the steps. Every real step counts the same.": {
        "mean": lambda losses, real, logits: _by_row(losses, real, axis=0).mean()
    },
    "The sums of the sequences came back, (N,). Return the mean over all real steps, a single number.": {
        "mean": lambda losses, real, logits: _by_row(losses, real, mean=False)
    },
    "The means of the sequences are added up. Every real step counts the same: divide the sum over all of them by "
    "their number.": {"mean": lambda losses, real, logits: _by_row(losses, real).sum()},
    "This is the largest loss. Return the mean.": {"mean": lambda losses, real, logits: losses.max()},
    "This is the median. Return the mean.": {"mean": lambda losses, real, logits: losses.median()},
}


def _by_row(losses, real, axis=1, *, mean=True):
    """The mean, or the sum, over the real steps of each sequence; with `axis=0`, over the sequences at each step."""
    table = torch.zeros(real.shape, dtype=losses.dtype).masked_scatter(real, losses)
    total, count = table.sum(dim=axis), real.sum(dim=axis)
    return total[count > 0] / count[count > 0] if mean else total


masked_loss.slips(_masked, _MASKS, _LOSSES_OF_STEPS, _MEANS)
_MASKS_IN_SHORT = {
    "The mask is one step too long: t < n.": {
        "mask": lambda logits, lengths: torch.arange(logits.shape[1]) <= lengths[:, None]
    },
    "The mask is one step too short: t < n.": {
        "mask": lambda logits, lengths: torch.arange(logits.shape[1]) < lengths[:, None] - 1
    },
}
_ALL_REAL = {
    "The padding counts as well.": {
        "mask": lambda logits, lengths: torch.ones(logits.shape[:2], dtype=torch.bool)
    }
}
_MEANS_IN_SHORT = {
    "The sum is not divided by the number of real steps.": {
        "mean": lambda losses, real, logits: losses.sum()
    },
    "You divide by N, not by the number of real steps.": {
        "mean": lambda losses, real, logits: losses.sum() / len(real)
    },
    "You divide by N · T, not by the number of real steps.": {
        "mean": lambda losses, real, logits: losses.sum() / real.numel()
    },
    "It is a mean of means: every real step counts the same.": {
        "mean": lambda losses, real, logits: _by_row(losses, real).mean()
    },
}
_SOFTMAX_TWICE = {
    "A softmax is applied before the cross-entropy.": {
        "loss": lambda logits, targets: F.cross_entropy(logits.softmax(dim=-1), targets, reduction="none")
    },
}
masked_loss.pairs_of_slips(_masked, _MASKS_IN_SHORT | _SOFTMAX_TWICE, _MEANS_IN_SHORT)
masked_loss.pairs_of_slips(_masked, _SOFTMAX_TWICE, _MASKS_IN_SHORT | _ALL_REAL)
masked_loss.pairs_of_slips(_masked, _ALL_REAL, dict(list(_MEANS_IN_SHORT.items())[:2]))


def _sum_up_to(logits, targets, lengths):
    real = _mask(logits, lengths)
    return F.cross_entropy(logits[real], targets[real], reduction="sum")


def _product(logits, targets, lengths):
    return _per_step(logits, targets) * _mask(logits, lengths)


def _times_mask(logits, targets, lengths):
    real = _mask(logits, lengths)
    return (_per_step(logits, targets) * real).sum() / real.sum()


masked_loss.mistakes(
    {
        "0 · inf and 0 · nan are nan: multiplying by the mask does not silence the padding. Select the real steps, "
        "`logits[mask]`, or use `torch.where`.": [
            _times_mask,
            lambda logits, targets, lengths: (
                (_per_step(logits, targets.clamp(min=0)) * _mask(logits, lengths)).sum() / lengths.sum()
            ),
            lambda logits, targets, lengths: (
                -(
                    logits.log_softmax(dim=2).gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
                    * _mask(logits, lengths)
                ).sum()
                / lengths.sum()
            ),
            lambda logits, targets, lengths: (
                sum((_per_step(logits, targets) * _mask(logits, lengths)).sum(dim=1)) / lengths.sum()
            ),
        ],
        "Multiplied by the mask, padded logits become 0, and such a step costs ln C. Select the real steps before the "
        "loss: `logits[mask]`, `targets[mask]`.": [
            lambda logits, targets, lengths: F.cross_entropy(
                (logits * _mask(logits, lengths)[:, :, None]).flatten(0, 1), targets.flatten()
            ),
            lambda logits, targets, lengths: F.cross_entropy(
                (logits * _mask(logits, lengths)[:, :, None]).flatten(0, 1),
                (targets * _mask(logits, lengths)).flatten(),
            ),
            lambda logits, targets, lengths: (
                F.cross_entropy(
                    (logits * _mask(logits, lengths)[:, :, None]).flatten(0, 1),
                    targets.flatten(),
                    reduction="sum",
                )
                / lengths.sum()
            ),
            lambda logits, targets, lengths: F.cross_entropy(
                logits.where(_mask(logits, lengths)[:, :, None], torch.zeros(())).flatten(0, 1),
                targets.where(_mask(logits, lengths), torch.zeros((), dtype=torch.int64)).flatten(),
            ),
        ],
        "`F.cross_entropy` takes the classes on axis 1, and here they are on axis 2. Flatten both, `logits.flatten(0, "
        "1)`, or transpose: `logits.transpose(1, 2)`.": [
            lambda logits, targets, lengths: F.cross_entropy(logits, targets),
            lambda logits, targets, lengths: (
                (F.cross_entropy(logits, targets, reduction="none") * _mask(logits, lengths)).sum()
                / lengths.sum()
            ),
            lambda logits, targets, lengths: F.cross_entropy(logits, targets, reduction="none")[
                _mask(logits, lengths)
            ].mean(),
            lambda logits, targets, lengths: F.cross_entropy(
                logits, targets.masked_fill(~_mask(logits, lengths), -100)
            ),
        ],
        "Two slips. Padding at nan or inf survives a product with the mask: select the real steps. And the mean goes "
        "over all N · T steps, not over the real ones.": lambda logits, targets, lengths: _product(
            logits, targets, lengths
        ).mean(),
        "Two slips. Padding at nan or inf survives a product with the mask: select the real steps. And it is a mean "
        "of means: every real step counts the same.": [
            lambda logits, targets, lengths: (_product(logits, targets, lengths).sum(dim=1) / lengths).mean(),
        ],
        "Two slips. Padding at nan or inf survives a product with the mask: select the real steps. And the sum is "
        "divided by N, not by the number of real steps.": [
            lambda logits, targets, lengths: _product(logits, targets, lengths).sum() / len(logits),
            lambda logits, targets, lengths: _product(logits, targets, lengths).sum(dim=1).mean(),
        ],
        "Two slips. Padding at nan or inf survives a product with the mask: select the real steps. And the sum is "
        "not divided by their number.": lambda logits, targets, lengths: _product(
            logits, targets, lengths
        ).sum(),
        "All sequences are cut where the longest one ends, so shorter ones count with their padding. Each has an end "
        "of its own: `lengths[:, None]`.": lambda logits, targets, lengths: F.cross_entropy(
            logits[:, : lengths.max()].transpose(1, 2), targets[:, : lengths.max()]
        ),
        "The last real step of each sequence is left out of the sum: step t is real for t < n.": [
            lambda logits, targets, lengths: _sum_up_to(logits, targets, lengths - 1) / lengths.sum(),
        ],
        "One padded step of each sequence is in the sum: step t is real for t < n.": (
            lambda logits, targets, lengths: _sum_up_to(logits, targets, lengths + 1) / lengths.sum()
        ),
        "`reshape(N, C, T)` moves numbers between classes and steps. To swap the axes, `logits.transpose(1, 2)`.": [
            lambda logits, targets, lengths: F.cross_entropy(
                logits.reshape(len(logits), logits.shape[2], -1), targets, reduction="none"
            )[_mask(logits, lengths)].mean(),
        ],
        "`lengths` is not used, so padding counts in the mean: cross-entropy leaves out targets of −100 alone, and a "
        "padded target may be any number. Select the real steps by their lengths.": [
            lambda logits, targets, lengths: F.cross_entropy(logits[targets >= 0], targets[targets >= 0]),
            lambda logits, targets, lengths: F.cross_entropy(logits.transpose(1, 2), targets),
        ],
        "Target 0 is a class, no accent, and not padding: `ignore_index=0` leaves out real steps. Select real steps "
        "by their lengths.": [
            lambda logits, targets, lengths: F.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), ignore_index=0
            ),
            lambda logits, targets, lengths: F.cross_entropy(logits[targets > 0], targets[targets > 0]),
        ],
        "−100 in the padding is no class, so `gather` fails. Select the real steps first: `targets[mask]`.": (
            lambda logits, targets, lengths: (
                -logits.log_softmax(dim=2)
                .gather(2, targets[:, :, None])[:, :, 0][_mask(logits, lengths)]
                .mean()
            )
        ),
        "−100 in the padding is no class, so `one_hot` fails. Select the real steps first: `targets[mask]`.": (
            lambda logits, targets, lengths: (
                -(logits.log_softmax(dim=2) * F.one_hot(targets, logits.shape[2]))
                .sum(dim=2)[_mask(logits, lengths)]
                .mean()
            )
        ),
        "`lengths` has to be a column, `lengths[:, None]`: (T,) < (N,) compares step t with the length of example "
        "t.": lambda logits, targets, lengths: _per_step(logits, targets)[
            torch.arange(logits.shape[1]) < lengths
        ].mean(),
    }
)


# Section 11: forecasts ----------------------------------------------------------------------------------------


_PARTS, _THREE_PAIRS = ("training", "validation", "test"), "three pairs of tensors"


def _facts_of_windows(windows_by_time, series, window, train_end, valid_end):
    """What came back, in words, and if it is three pairs of tensors, these by name."""
    parts = windows_by_time(series, window, train_end, valid_end)
    kind = _kind_of_parts(parts)
    pairs = parts if kind == _THREE_PAIRS else [("", "")] * 3
    facts = {"what came back": kind}
    for part, (x, y) in zip(_PARTS, pairs, strict=True):
        facts |= {f"x of the {part} part": x, f"y of the {part} part": y}
    return facts


def _kind_of_parts(parts):
    if parts is None:
        return "None: is a `return` missing?"
    if not isinstance(parts, tuple | list):
        return f"a {type(parts).__name__}"
    if len(parts) != 3:
        sizes = [len(one) if isinstance(one, tuple | list) else 1 for one in parts]
        return f"{len(parts)} values" + (f", of {sizes[0]} each" if sizes and sizes[0] > 1 else "")
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in parts):
        return f"three values, not all of them pairs: {', '.join(type(pair).__name__ for pair in parts)}"
    if not all(isinstance(one, Tensor) for pair in parts for one in pair):
        return "three pairs, but not of tensors"
    return _THREE_PAIRS


@lesson.exercise(
    observe=_facts_of_windows,
    cases={
        "the times themselves": (torch.arange(10.0), 3, 6, 8),
        "a window of one": (normal(9, seed=800), 1, 4, 7),
        "a window longer than the parts": (normal(16, seed=810), 6, 10, 13),
        "a single pair in each part": (normal(6, seed=820), 3, 4, 5),
        "float64 numbers": (10 + 3 * normal(20, seed=830, dtype=torch.float64), 4, 11, 15),
        "an ordinary series": (5 + normal(40, seed=840), 5, 24, 32),
    },
    hints=[
        "Write down all pairs for T = 6, window = 2: which is the first value that can be predicted, and which the "
        "last?",
        "`series[:-1].unfold(0, window, 1)` has all windows in its rows, and `series[window:]` the value after each.",
        "The row of the pair that predicts time t is t − window: so the validation part begins at row train_end − "
        "window.",
    ],
)
def windows_by_time(series, window, train_end, valid_end):
    """Return three pairs (x, y), for training, validation and test, from series (T,), in the order of time.

    A row of x (N, window) holds `window` successive values, and y (N,) the values that follow the rows. All values at
    times window … train_end − 1 are targets in y of the training part, those at train_end … valid_end − 1 of the
    validation part, and those at valid_end … T − 1 of the test part. Inputs may reach back into the part before.
    """
    x, y = series[:-1].unfold(0, window, 1), series[window:]  # (T − window, window), (T − window,)
    first, second = train_end - window, valid_end - window  # the rows with which a new part begins
    return (x[:first], y[:first]), (x[first:second], y[first:second]), (x[second:], y[second:])


def _windows(
    scale=lambda series, train_end: series,
    inputs=lambda series, window: series[:-1].unfold(0, window, 1),
    targets=lambda series, window: series[window:],
    cuts=lambda window, train_end, valid_end: (train_end - window, valid_end - window),
    order=lambda x: slice(None),
    pair=lambda x, y: (x, y),
    result=_same,
):
    """The three parts, with what can go wrong as arguments."""

    def attempt(series, window, train_end, valid_end):
        values = scale(series, train_end)
        x, y = inputs(values, window), targets(values, window)
        x, y = x[order(x)], y[order(x)]
        first, second = cuts(window, train_end, valid_end)
        parts = (x[:first], y[:first]), (x[first:second], y[first:second]), (x[second:], y[second:])
        return result(tuple(pair(*part) for part in parts))

    return attempt


_ROWS = {
    "The target is the last input of its own row, so there is nothing to predict. It should be the value after the "
    "row: `series[window:]`.": {"targets": lambda series, window: series[window - 1 : -1]},
    "The target is the first input of its own row. It should be the value after the row: `series[window:]`.": {
        "targets": lambda series, window: series[:-window]
    },
    "The target lies two steps after the row. It should be the next value: `series[window:]`.": {
        "inputs": lambda series, window: series[:-2].unfold(0, window, 1),
        "targets": lambda series, window: series[window + 1 :],
    },
    "The values of each row are in reverse order. They should be in the order of time.": {
        "inputs": lambda series, window: series[:-1].unfold(0, window, 1).flip(1)
    },
    "The targets are (N, 1). They should be (N,), or later a loss compares all with all.": {
        "targets": lambda series, window: series[window:, None]
    },
    "The windows have a third axis, of size 1. They should be (N, window).": {
        "inputs": lambda series, window: series[:-1].unfold(0, window, 1)[:, :, None]
    },
    "Windows and targets overlap: the rows of x hold window + 1 values, of which the last one is the target.": {
        "inputs": lambda series, window: series.unfold(0, window + 1, 1)
    },
    "The rows of x lack their first value: they are `window` values long.": {
        "inputs": lambda series, window: (
            series[1:-1].unfold(0, window - 1, 1) if window > 1 else series[:-1, None]
        )
    },
    "The series is scaled with the mean and standard deviation of all of it, so the test part has leaked into "
    "training. Leave the values as they are.": {
        "scale": lambda series, train_end: (series - series.mean()) / series.std()
    },
    "The series is scaled here. Leave the values as they are; that is a step of its own.": {
        "scale": lambda series, train_end: (series - series[:train_end].mean()) / series[:train_end].std()
    },
    "The targets are the differences to the value before. They should be the values themselves.": {
        "targets": lambda series, window: series[window:] - series[window - 1 : -1]
    },
    "The rows of x hold differences of successive values. They should hold the values themselves.": {
        "inputs": lambda series, window: F.pad(series.diff(), (1, 0))[:-1].unfold(0, window, 1)
    },
    "The targets are rows, too: all the values of the next window. y (N,) holds the one value that follows.": {
        "targets": lambda series, window: series[1:].unfold(0, window, 1)
    },
    "The inputs are the means of their windows. Return all the values, (N, window).": {
        "inputs": lambda series, window: series[:-1].unfold(0, window, 1).mean(dim=1)
    },
}
_CUTS = {
    "The parts are cut at row train_end and row valid_end. Row n has its target at time n + window, so training holds "
    "values of the time after `train_end`: cut at train_end − window.": {
        "cuts": lambda window, train_end, valid_end: (train_end, valid_end)
    },
    "The training part has one pair too many: its last target is the value at `train_end`, which belongs to "
    "validation.": {
        "cuts": lambda window, train_end, valid_end: (train_end - window + 1, valid_end - window)
    },
    "The validation part has one pair too many at its end: its last target is the value at `valid_end`, which belongs "
    "to the test part.": {
        "cuts": lambda window, train_end, valid_end: (train_end - window, valid_end - window + 1)
    },
    "Both cuts are one row too late: the value at `train_end` is the first target of validation, that at `valid_end` "
    "the first of the test part.": {
        "cuts": lambda window, train_end, valid_end: (train_end - window + 1, valid_end - window + 1)
    },
    "Both cuts are one row too early: the training part ends with the target at train_end − 1, the validation part "
    "with that at valid_end − 1.": {
        "cuts": lambda window, train_end, valid_end: (
            max(train_end - window - 1, 0),
            valid_end - window - 1,
        )
    },
    "The training part ends one pair too early: the value at train_end − 1 is its last target.": {
        "cuts": lambda window, train_end, valid_end: (max(train_end - window - 1, 0), valid_end - window)
    },
    "The validation part ends one pair too early: the value at valid_end − 1 is its last target.": {
        "cuts": lambda window, train_end, valid_end: (train_end - window, valid_end - window - 1)
    },
    "`valid_end` is a time, not the length of the validation part: that one ends at row valid_end − window.": {
        "cuts": lambda window, train_end, valid_end: (train_end - window, train_end + valid_end - window)
    },
}
_PAIRS_OF_PARTS = {
    "x and y are swapped: a pair is (inputs, targets).": {"pair": lambda x, y: (y, x)},
    "Only the inputs came back. Return pairs (x, y).": {"pair": lambda x, y: x},
    "The windows stand in columns, (window, N). Each has a row: (N, window).": {
        "pair": lambda x, y: (x.T, y)
    },
    "Six values came back. Return three pairs, ((x, y), (x, y), (x, y)).": {
        "result": lambda parts: tuple(one for pair in parts for one in pair)
    },
    "These are lists. Make tensors of them: `torch.stack` joins rows to x (N, window) and values to y (N,).": {
        "pair": lambda x, y: (list(x), list(y))
    },
    "Validation and test are swapped. The order is training, validation, test.": {
        "result": lambda parts: (parts[0], parts[2], parts[1])
    },
    "All inputs came first, then all targets. Return three pairs (x, y).": {
        "result": lambda parts: tuple(zip(*parts, strict=True))
    },
    "The test part is missing. Return three pairs: training, validation, test.": {
        "result": lambda parts: parts[:2]
    },
    "The parts came back as a dict. Return a tuple of three pairs.": {
        "result": lambda parts: dict(zip(_PARTS, parts, strict=True))
    },
    "The pairs of each part are in reverse order. They should be in the order of time.": {
        "pair": lambda x, y: (x.flip(0), y.flip(0))
    },
    "Only every second pair is here. The windows move by one step.": {"pair": lambda x, y: (x[::2], y[::2])},
    "The last pair of each part is missing. Every value of a part is a target.": {
        "pair": lambda x, y: (x[:-1], y[:-1])
    },
    "The first pair of each part is missing. Every value of a part is a target.": {
        "pair": lambda x, y: (x[1:], y[1:])
    },
    "The last pair of the test part is missing: the last value of the series is a target, too.": {
        "result": lambda parts: (parts[0], parts[1], (parts[2][0][:-1], parts[2][1][:-1]))
    },
    "The first pair is missing: the value at time `window` is the first target of training.": {
        "result": lambda parts: ((parts[0][0][1:], parts[0][1][1:]), parts[1], parts[2])
    },
}
windows_by_time.slips(_windows, _ROWS, _CUTS, _PAIRS_OF_PARTS)
windows_by_time.pairs_of_slips(
    _windows,
    {
        "The target is the last input of its own row.": {
            "targets": lambda series, window: series[window - 1 : -1]
        },
        "The targets are (N, 1), not (N,).": {"targets": lambda series, window: series[window:, None]},
    },
    {
        "The cuts are `window` rows too late.": {
            "cuts": lambda window, train_end, valid_end: (train_end, valid_end)
        },
        "Both cuts are one row too late.": {
            "cuts": lambda window, train_end, valid_end: (train_end - window + 1, valid_end - window + 1)
        },
        "The windows stand in columns.": {"pair": lambda x, y: (x.T, y)},
    },
)


def _cut_first(series, window, train_end, valid_end):
    """Each part by itself, which loses the first `window` targets of validation and test."""
    parts = (series[:train_end], series[train_end:valid_end], series[valid_end:])
    return tuple(
        (part[:-1].unfold(0, window, 1), part[window:])
        if len(part) > window
        else (series.new_zeros(0, window), series.new_zeros(0))
        for part in parts
    )


def _cut_first_in_a_loop(series, window, train_end, valid_end):
    """The same where an empty part has windows without an axis."""
    parts = (series[:train_end], series[train_end:valid_end], series[valid_end:])
    return tuple((part[:-1].unfold(0, window, 1), part[window:]) for part in parts)


def _in_a_loop(
    begin=lambda window: window,
    begin_of_part=lambda window: 0,
    less=0,
    row=lambda series, t, window: series[t - window : t],
):
    """The loop over the times of the targets, with what can go wrong as arguments."""

    def attempt(series, window, train_end, valid_end):
        def pairs(first, last):
            times = range(first, last - less)
            return torch.stack([row(series, t, window) for t in times]), torch.stack(
                [series[t] for t in times]
            )

        start = begin_of_part(window)
        return (
            pairs(begin(window), train_end),
            pairs(train_end + start, valid_end),
            pairs(valid_end + start, len(series)),
        )

    return attempt


def _shuffled(series, window, train_end, valid_end):
    return _windows(order=lambda x: torch.randperm(len(x), generator=torch.Generator().manual_seed(0)))(
        series, window, train_end, valid_end
    )


def _at_random(series, window, train_end, valid_end):
    x, y = series[:-1].unfold(0, window, 1), series[window:]
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    a, b = train_end - window, valid_end - window
    return (x[:a], y[:a]), (x[a:b], y[a:b]), (x[b:], y[b:])


windows_by_time.mistakes(
    {
        "The series is cut into parts before the windows are made, so the first values of validation and test are "
        "never targets. Their inputs may reach back: make all windows first, then cut.": [
            _cut_first,
            _cut_first_in_a_loop,
            _in_a_loop(begin_of_part=lambda window: window),
        ],
        "Time t needs the `window` values before it, so the first target is at t = `window`. Before that, the slice "
        "begins at a negative index, which counts from the end.": _in_a_loop(begin=lambda window: 0),
        "The last value of each part is left out: `range` excludes its end by itself.": _in_a_loop(less=1),
        "The rows of x end one step too early: the value before the target is the last input, "
        "`series[t - window : t]`.": _in_a_loop(row=lambda series, t, window: series[t - window : t - 1]),
        "The target is in its own row: the end of a slice is excluded, so `series[t - window : t]`.": _in_a_loop(
            row=lambda series, t, window: series[t - window + 1 : t + 1]
        ),
        "The row begins at the target, so it holds what is to be predicted. It should end before it: "
        "`series[t - window : t]`.": _in_a_loop(row=lambda series, t, window: series[t : t + window]),
        "The pairs are drawn at random, so training holds values from the time of the test part. Split by time, and do "
        "not shuffle.": [_shuffled, _at_random],
        "The windows do not overlap: they move by their own length. They should move by one step.": _windows(
            inputs=lambda series, window: series[:-1].unfold(0, window, window),
            targets=lambda series, window: series[window::window],
            cuts=lambda window, train_end, valid_end: (
                -(-(train_end - window) // window),
                -(-(valid_end - window) // window),
            ),
        ),
        "The last window is left over: it has no value after it. Make the windows of `series[:-1]`.": _windows(
            inputs=lambda series, window: series.unfold(0, window, 1)
        ),
        "The validation part holds the training pairs as well. It begins with the target at `train_end`.": (
            lambda series, window, train_end, valid_end: (
                lambda parts: (
                    parts[0],
                    tuple(torch.cat([one, other]) for one, other in zip(*parts[:2], strict=True)),
                    parts[2],
                )
            )(windows_by_time.reference(series, window, train_end, valid_end))
        ),
        "The test part holds all pairs. It begins with the target at `valid_end`.": (
            lambda series, window, train_end, valid_end: (
                *windows_by_time.reference(series, window, train_end, valid_end)[:2],
                (series[:-1].unfold(0, window, 1), series[window:]),
            )
        ),
    }
)


def _forecaster(N, T, H, steps, seed, dtype=torch.float32, layers=1, head=None):
    """A network with large weights, so that mistakes show, its head, values it has seen, and a number of steps."""
    torch.manual_seed(seed)
    net = nn.LSTM(1, H, num_layers=layers, batch_first=True).to(dtype).eval()
    head = (head or nn.Linear(H, 1)).to(dtype).eval()
    with torch.no_grad():
        for parameter in (*net.parameters(), *head.parameters()):
            parameter.mul_(2.5)
    return net, head, normal(N, T, 1, seed=seed, dtype=dtype), steps


@lesson.exercise(
    cases={
        "one step ahead": _forecaster(2, 5, 3, 1, seed=700),
        "three steps ahead": _forecaster(2, 5, 4, 3, seed=710),
        "a batch of one": _forecaster(1, 4, 3, 5, seed=720),
        "one value seen": _forecaster(3, 1, 2, 4, seed=730),
        "as many examples as steps": _forecaster(4, 4, 4, 4, seed=740),
        "two layers": _forecaster(3, 6, 3, 2, seed=750, layers=2),
        "a head of two layers": _forecaster(
            2, 3, 4, 6, seed=760, head=nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
        ),
        "float64 numbers": _forecaster(3, 7, 2, 4, seed=770, dtype=torch.float64),
    },
    hints=[
        "First let the network read all of `seen`. What its last state predicts is the first value of the forecast.",
        "Then one step at a time: `output, state = net(value, state)`, with the last prediction as a sequence of one "
        "step, (N, 1, 1).",
        "`head(output[:, -1:])` is (N, 1, 1), ready to be fed back. At the end, "
        "`torch.cat(values, dim=1).squeeze(-1)`.",
    ],
)
def forecast(net, head, seen, steps):
    """Return (N, steps): what a network predicts after `seen` (N, T, 1), each prediction fed back as the next input.

    net(x) and net(x, state) return (output, state) as nn.LSTM with batch_first=True does, and head(output) turns
    states into predictions (…, 1).
    """
    with torch.no_grad():
        output, state = net(seen)
        values = [head(output[:, -1:])]  # (N, 1, 1)
        for _ in range(steps - 1):
            output, state = net(values[-1], state)
            values.append(head(output))
    return torch.cat(values, dim=1).squeeze(-1)


def _forecast(
    read=lambda net, seen: net(seen),
    first=lambda output, head, seen, state: head(output[:, -1:]),
    fed=lambda values, seen: values[-1],
    carry=lambda new, of_seen: new,
    step=lambda net, x, state: net(x, state),
    predicted=lambda head, output, state, x: head(output[:, -1:]),
    more=lambda steps: steps - 1,
    result=lambda values, seen, steps: torch.cat(values, dim=1).squeeze(-1),
):
    """The loop over the steps, with what can go wrong as arguments."""

    @torch.no_grad()
    def attempt(net, head, seen, steps):
        output, of_seen = read(net, seen)
        state, values = of_seen, [first(output, head, seen, of_seen)]
        for _ in range(more(steps)):
            x = fed(values, seen)
            output, new = step(net, x, state)
            state = carry(new, of_seen)
            values.append(predicted(head, output, new, x))
        return result(values, seen, steps)

    return attempt


_FEEDS = {
    "The same value is fed at every step, the first prediction. Feed the latest one, `values[-1]`.": {
        "fed": lambda values, seen: values[0]
    },
    "The last value of `seen` is fed at every step. Feed the latest prediction.": {
        "fed": lambda values, seen: seen[:, -1:]
    },
    "Zeros are fed at every step. Feed the latest prediction.": {
        "fed": lambda values, seen: 0 * seen[:, -1:]
    },
    "All predictions are fed again at every step, though the state already knows the earlier ones. Feed the latest "
    "only, or run on the whole sequence without a state.": {
        "fed": lambda values, seen: torch.cat(values, dim=1)
    },
    "The value is fed as (N, 1), which the network takes for a single sequence of N steps. It needs (N, 1, 1): "
    "`value[:, None]`.": {"fed": lambda values, seen: values[-1][:, 0]},
    "All of `seen` is fed again at every step. After the first time feed the latest prediction, (N, 1, 1).": {
        "fed": lambda values, seen: seen
    },
    "Each step is fed the value of `seen` one step later than the one before. After `seen` there are only the "
    "predictions: feed the latest.": {
        "fed": lambda values, seen: seen[:, (len(values) - 1) % seen.shape[1]][:, None]
    },
}
_STATES = {
    "The state is not handed on: every step begins with an empty memory. Call `net(value, state)`.": {
        "step": lambda net, x, state: net(x)
    },
    "The state is not updated: every step begins where `seen` ended. Take the new one, `output, state = net(value, "
    "state)`.": {"carry": lambda new, of_seen: of_seen},
    "The cell of the LSTM is lost: the state is the pair (h, c), as the network returned it.": {
        "carry": lambda new, of_seen: (new[0], torch.zeros_like(new[1]))
    },
    "h and c are swapped in the state. Hand on the pair as the network returned it.": {
        "carry": lambda new, of_seen: (new[1], new[0])
    },
}
_READS = {
    "Only the last value of `seen` is read. Let the network read all of it: `net(seen)`.": {
        "read": lambda net, seen: net(seen[:, -1:])
    },
    "Only the first value of `seen` is read. Let the network read all of it: `net(seen)`.": {
        "read": lambda net, seen: net(seen[:, :1])
    },
    "The last value of `seen` is not read. Let the network read all of it: `net(seen)`.": {
        "read": lambda net, seen: net(seen[:, :-1])
    },
    "`seen` is read from its end. Let the network read it as it is: `net(seen)`.": {
        "read": lambda net, seen: net(seen.flip(1))
    },
    "The last value of `seen` is read twice. After `net(seen)`, its last output already gives the first prediction.": {
        "read": lambda net, seen: net(seen[:, -1:], net(seen)[1])
    },
    "`seen` is read twice, the second time with the state of the first. Once is enough.": {
        "read": lambda net, seen: net(seen, net(seen)[1])
    },
}
_PREDICTIONS = {
    "The first prediction is made after the first value of `seen`. Make it after the last one: `output[:, -1:]`.": {
        "first": lambda output, head, seen, state: head(output[:, :1])
    },
    "The mean over all predictions on `seen` is taken for the first one. Take that after the last value, "
    "`output[:, -1:]`.": {"first": lambda output, head, seen, state: head(output).mean(dim=1, keepdim=True)},
    "The head reads the cell c. Predictions are made from the output: `head(output[:, -1:])`.": {
        "first": lambda output, head, seen, state: head(state[1][-1])[:, None],
        "predicted": lambda head, output, state, x: head(state[1][-1])[:, None],
    },
    "The state of the first layer is given to the head. Predictions are made from the output, that of the last "
    "layer.": {
        "first": lambda output, head, seen, state: head(state[0][0])[:, None],
        "predicted": lambda head, output, state, x: head(state[0][0])[:, None],
    },
    "The prediction is added to the last value. What the head gives is the next value itself.": {
        "first": lambda output, head, seen, state: seen[:, -1:] + head(output[:, -1:]),
        "predicted": lambda head, output, state, x: x[:, -1:] + head(output[:, -1:]),
    },
    "The last value seen stands first, so the forecast comes one step late. Begin with what the head gives after "
    "`seen`.": {"first": lambda output, head, seen, state: seen[:, -1:]},
    "A tanh is applied to the predictions. Return what the head gives.": {
        "first": lambda output, head, seen, state: torch.tanh(head(output[:, -1:])),
        "predicted": lambda head, output, state, x: torch.tanh(head(output[:, -1:])),
    },
}
_RESULTS_OF_FORECAST = {
    "The last axis, of size 1, is left over: (N, steps, 1). Remove it: `.squeeze(-1)`.": {
        "result": lambda values, seen, steps: torch.cat(values, dim=1)
    },
    "`seen` stands in front of the forecast. Return only what comes after it, (N, steps).": {
        "result": lambda values, seen, steps: torch.cat([seen, *values], dim=1).squeeze(-1)
    },
    "The steps stand in rows, (steps, N). Examples come first: (N, steps).": {
        "result": lambda values, seen, steps: torch.cat(values, dim=1).squeeze(-1).T
    },
    "All predictions stand below each other: put them side by side, `torch.cat(values, dim=1)`.": {
        "result": lambda values, seen, steps: torch.cat(values, dim=0).squeeze(-1)
    },
    "Only the last prediction came back. Collect them all: (N, steps).": {
        "result": lambda values, seen, steps: values[-1][:, 0, 0]
    },
    "Only the last prediction came back, and with axes of size 1. Collect them all: (N, steps).": {
        "result": lambda values, seen, steps: values[-1]
    },
    "A list came back. Join the predictions to (N, steps): `torch.cat(values, dim=1).squeeze(-1)`.": {
        "result": lambda values, seen, steps: values
    },
    "A list of rows came back. Join the predictions to (N, steps): `torch.stack(values, dim=1)`.": {
        "result": lambda values, seen, steps: [value[:, 0, 0] for value in values]
    },
    "The forecast is in reverse order. The next value comes first.": {
        "result": lambda values, seen, steps: torch.cat(values[::-1], dim=1).squeeze(-1)
    },
    "An axis of size 1 is too many, and the steps come first. Join the predictions to (N, steps): `torch.cat(values, "
    "dim=1).squeeze(-1)`.": {"result": lambda values, seen, steps: torch.stack(values)},
    "The predictions are stacked as (steps, N, 1). Join them to (N, steps): `torch.cat(values, dim=1)`.": {
        "result": lambda values, seen, steps: torch.stack([value[:, 0] for value in values])
    },
    "`stack` adds an axis, and more than two are left. Join the predictions to (N, steps): `torch.cat(values, "
    "dim=1).squeeze(-1)`.": {"result": lambda values, seen, steps: torch.stack(values, dim=1)},
    "Every step shows the last prediction. Append a new one at each step.": {
        "result": lambda values, seen, steps: values[-1][:, :, 0].expand(-1, len(values))
    },
    "The first prediction, made directly after `seen`, is left out, and one step is missing. Begin with it.": {
        "result": lambda values, seen, steps: torch.cat(values, dim=1).squeeze(-1)[:, 1:]
    },
}
forecast.slips(_forecast, _FEEDS, _STATES, _READS, _PREDICTIONS, _RESULTS_OF_FORECAST)


def _states_fed_back(net, head, seen, steps):
    output, state = net(seen)
    values = [head(output[:, -1:])]
    for _ in range(steps - 1):
        output, state = net(output, state)
        values.append(head(output))
    return torch.cat(values, dim=1).squeeze(-1)


def _all_predictions(net, head, seen, steps):
    x, state, values = seen, None, []
    for _ in range(steps):
        output, state = net(x, state)
        x = head(output)
        values.append(x[:, -1])
    return torch.cat(values, dim=1)


def _one_more(values, seen, steps):
    return torch.cat(values, dim=1).squeeze(-1)[:, 1:]


forecast.mistakes(
    {
        "The first prediction, made directly after `seen`, is left out, so the forecast begins one step too late. Keep "
        "`head(output[:, -1:])` after `net(seen)`.": _forecast(more=_same, result=_one_more),
        "There is one prediction too many: the first comes with `net(seen)`, so the loop has steps − 1 rounds.": (
            _forecast(more=_same)
        ),
        "There is one prediction too few: the first comes with `net(seen)`, and steps − 1 follow.": _forecast(
            more=lambda steps: steps - 2
        ),
        "These are the predictions within `seen`, where the true values are fed. Go on after its end, with predictions "
        "fed back.": [
            lambda net, head, seen, steps: head(net(seen)[0]).squeeze(-1)[:, -steps:],
            lambda net, head, seen, steps: head(net(seen)[0]).squeeze(-1)[:, :steps],
            lambda net, head, seen, steps: head(net(seen)[0]).squeeze(-1),
        ],
        "The last value of `seen` is repeated: that is the baseline. Let network and head predict.": [
            lambda net, head, seen, steps: seen[:, -1].expand(-1, steps),
        ],
        "The first prediction is repeated. Feed it back into the network to get the next one.": [
            lambda net, head, seen, steps: head(net(seen)[0][:, -1]).expand(-1, steps),
        ],
        "After `seen` has been read, its T predictions are all fed back. Only that after the last value is new: "
        "`head(output[:, -1:])`.": [
            _all_predictions,
        ],
        "The last value of `seen` is read twice, and the state is not updated. Begin with what the head gives after "
        "`seen`, and hand on each new state.": _forecast(
            read=lambda net, seen: (net(seen[:, -1:], net(seen)[1])[0], net(seen)[1]),
            carry=lambda new, of_seen: of_seen,
        ),
        "The output is fed back without the head. Feed the prediction, `head(output)`, which is (N, 1, 1).": [
            _states_fed_back,
        ],
        "The network returns (output, state), a pair. Take it apart: `output, state = net(seen)`.": [
            lambda net, head, seen, steps: net(seen)[:, -1:],
            lambda net, head, seen, steps: head(net(seen)),
        ],
        "The window slides: its first value is dropped at every step, and the network forgets it. Keep all of `seen`, "
        "or carry the state on.": lambda net, head, seen, steps: _rerun(net, head, seen, steps, drop=True),
        "The growing sequence is read again with the state of the last reading, so all of it is read twice. Read it "
        "again without a state, or only its last value with it.": (
            lambda net, head, seen, steps: _rerun(net, head, seen, steps, state=True)
        ),
    }
)


@torch.no_grad()
def _rerun(net, head, seen, steps, *, drop=False, state=False):
    """The forecast by reading a growing sequence at each step."""
    x, memory, values = seen, None, []
    for _ in range(steps):
        output, memory = net(x, memory) if state else net(x)
        values.append(head(output[:, -1]))
        x = torch.cat([x[:, 1:] if drop else x, values[-1][:, None]], dim=1)
    return torch.cat(values, dim=1)


_FEEDS_IN_SHORT = {
    "The last value of `seen` is fed at every step.": {"fed": lambda values, seen: seen[:, -1:]},
    "The first prediction is fed at every step.": {"fed": lambda values, seen: values[0]},
}
_STATES_IN_SHORT_2 = {
    "The state is not handed on.": {"step": lambda net, x, state: net(x)},
    "The state is not updated.": {"carry": lambda new, of_seen: of_seen},
}
_RESULTS_IN_SHORT = {
    "The last axis, of size 1, is left over.": {
        "result": lambda values, seen, steps: torch.cat(values, dim=1)
    },
    "The first prediction is left out.": {"more": _same, "result": _one_more},
    "There is one prediction too many.": {"more": _same},
    "There is one prediction too few.": {"more": lambda steps: steps - 2},
    "The last value seen stands first.": {"first": lambda output, head, seen, state: seen[:, -1:]},
    "Only the last prediction came back.": {"result": lambda values, seen, steps: values[-1][:, 0, 0]},
}
forecast.pairs_of_slips(_forecast, _STATES_IN_SHORT_2, _RESULTS_IN_SHORT)
forecast.pairs_of_slips(_forecast, _FEEDS_IN_SHORT, dict(list(_RESULTS_IN_SHORT.items())[:4]))
forecast.pairs_of_slips(
    _forecast,
    dict(list(_FEEDS_IN_SHORT.items())[:1]),
    {"The state is not handed on.": {"step": lambda net, x, state: net(x)}},
)


# Section 12: the quiz -----------------------------------------------------------------------------------------


quiz = lesson.quiz(
    "quiz",
    hints=[
        "For the first four: what does the answer depend on, the order, the last few steps, or something far back?",
        "For the last three: what is known at the time of the answer, what does the curve of the adding problem look "
        "like before it falls, and what changes when a batch is put together differently?",
    ],
    shuffled_readings=Question(
        "a",
        "Without an order there is nothing for a recurrence to use. A dense network on what does not depend on the "
        "order, such as mean and spread, is the first thing to try; lesson 9 has more.",
        {
            "b": "An LSTM would have to learn that the order means nothing, and to it each shuffle is another "
            "sequence.",
            "c": "Both directions read an order, and there is none.",
            "d": "A kernel looks at neighbours, and shuffling makes neighbours by chance.",
        },
    ),
    word_endings=Question(
        "b",
        "The evidence is local, three letters long: counting n-grams finds it, in less than a second. On the names of "
        "the lesson that beat the recurrent network.",
        {
            "a": "It would work, but it is slower, and on the names of the lesson it lost to counting.",
            "c": "Counts of single letters lose their order, and an ending is an order of three.",
            "d": "The last letter alone is too little, if the evidence is three letters long.",
        },
    ),
    open_bracket=Question(
        "c",
        "A fact from 50 steps ago has to be kept, whatever comes between: that is what the cell of an LSTM and its "
        "gates are for.",
        {
            "a": "n-grams of 50 letters: nearly every one of them occurs only once.",
            "b": "A window of 20 steps does not reach back to the bracket.",
            "d": "It has the same task in principle, but its gradient over 50 steps has all but vanished.",
        },
    ),
    share_prices=Question(
        "d",
        "Repeating yesterday's price is hard to beat. An R² of 0.95 says nothing before it is compared with that.",
        {
            "a": "It can be tried. But first you need to know what it has to beat.",
            "b": "Seeing the future is not allowed in a forecast: the backward direction would read it.",
            "c": "The mean of all prices is an easy opponent: a price is near yesterday's, far from the mean.",
        },
    ),
    live_captions=Question(
        "b",
        "The backward direction reads from the end, which has not been spoken yet. Live, only the past is there.",
        {
            "a": "It is more accurate on recordings, but live, the end of the sentence is not there yet.",
            "c": "It has twice the parameters, but that is not what rules it out.",
            "d": "With or without packing: the future is missing.",
        },
    ),
    flat_loss=Question(
        "c",
        "On the adding problem the loss stays at 1/6 for 100 to 400 steps before it falls. The gradient against the "
        "lag tells whether anything arrives from far back.",
        {
            "a": "Two hundred steps are within the plateau of networks that go on to solve it.",
            "b": "A higher rate does not bring back a gradient that has vanished, and may blow up the others.",
            "d": "More units do not make the gradient reach further back.",
        },
    ),
    batch_size=Question(
        "a",
        "In other batches sequences get other amounts of padding. If the answer changes, the padding is read: take the "
        "state at the last real step.",
        {
            "b": "In evaluation mode dropout is off, and it would not go with the size of the batch.",
            "c": "Rounding changes the last digits, not the accuracy.",
            "d": "The weights are fixed at test time, and so is what overfitting has done.",
        },
    ),
)


# The homework: a memory for 60 steps --------------------------------------------------------------------------


ADDING_ERROR = 0.02  # mean squared error that `remember` has to reach


def _adding(count, steps, generator):
    """Sequences x (count, steps, 2), numbers and two marks, one in each half; y (count,) is the sum of the two."""
    numbers, marks = torch.rand(count, steps, generator=generator), torch.zeros(count, steps)
    half, rows = steps // 2, torch.arange(count)
    first = torch.randint(0, half, (count,), generator=generator)
    second = torch.randint(half, steps, (count,), generator=generator)
    marks[rows, first] = marks[rows, second] = 1
    return torch.stack([numbers, marks], dim=2), numbers[rows, first] + numbers[rows, second]


def _adding_kept_back(steps=60):
    return data.Split(*_adding(1000, steps, torch.Generator().manual_seed(20260808)))


def _squared_error(answers, y):
    return (answers.flatten() - y).square().mean().item()


class _AddingExercise(ModelExercise):
    """A trained model whose mean squared error on new sequences of the adding problem has to be small."""

    def _unfit_outputs(self, outputs, x, split):
        sentence = _unfit_answers(outputs, len(x))
        return self._wrong(sentence) if sentence else None

    def _reached(self, outputs, split):
        error = self._score(outputs, split.y)
        return error <= ADDING_ERROR, f"mean squared error {error:.4f} (at most {ADDING_ERROR})"


def _unfit_answers(answers, count):
    """What is wrong with the shape of what a network returned; "" if nothing is."""
    asked = f"For {count:,} sequences it should give {count:,} answers, (N,) or (N, 1)"
    if isinstance(answers, tuple | list):
        return (
            f"{asked}, but several values came back. `nn.LSTM` returns (output, state): give the output at the last "
            "step to a linear layer."
        )
    if not isinstance(answers, Tensor):
        return f"{asked}, but this came back: {show(answers)}."
    if answers.shape in ((count,), (count, 1)):
        return ""
    shape = tuple(answers.shape)
    if len(shape) > 1 and shape[1] == 60:
        return (
            f"{asked}, but it gives something at every step: {shape}. Take the output at the last step, "
            "`output[:, -1]`."
        )
    return f"{asked}, but the shape is {shape}. Does the network end with `nn.Linear(H, 1)`?"


def _trained_to_add(**options):
    """Decorate the solution of `remember`."""
    return lambda solution: _AddingExercise(solution, attempt="memory", held_out=_adding_kept_back, **options)


@_trained_to_add(
    score=_squared_error,
    floors={"mean squared error": ADDING_ERROR},
    hints=[
        "A gradient over 60 steps is too small to begin with. What if the sequences are short at first, 10 steps, and "
        "grow?",
        "Open the forget gates of an `nn.LSTM(2, 32, batch_first=True)`: a bias of 1. Then Adam with lr=1e-2, batches "
        "of 32, gradients clipped at 1.",
        "300 batches of 10 steps, 200 of 20, 150 of 40 and 250 of 60, with the learning rate falling to 0, e.g. by "
        "`torch.optim.lr_scheduler.CosineAnnealingLR`.",
    ],
)
def remember(adding):
    """Return a network from sequences x (N, 60, 2) of the adding problem to their answers (N,) or (N, 1), trained.

    `adding(count, steps)` draws new sequences x (count, steps, 2) and their answers y (count,).
    """

    class Adder(nn.Module):
        def __init__(self, H):
            super().__init__()
            self.lstm, self.head = nn.LSTM(2, H, batch_first=True), nn.Linear(H, 1)
            with torch.no_grad():  # forget gates that are open at the start
                self.lstm.bias_ih_l0[H : 2 * H] = 1.0
                self.lstm.bias_hh_l0[H : 2 * H] = 0.0

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1]).squeeze(-1)

    torch.manual_seed(0)
    net = Adder(32)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    stages = [10] * 300 + [20] * 200 + [40] * 150 + [60] * 250  # the steps of each batch
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(stages))
    for steps in stages:
        x, y = adding(32, steps)
        loss = F.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    return net


lesson.add(remember)


@remember.symptom(
    "An answer depends on the other sequences of the batch. Was `batch_first=True` forgotten? Then the LSTM takes "
    "examples for steps."
)
def _(model, split):
    alone, together = model(split.x[:5]).flatten(), model(split.x).flatten()[:5]
    return not torch.allclose(alone, together, rtol=1e-2, atol=1e-2)


@remember.symptom(
    "All its answers are about the same, although it gives (N, 1). Was the loss computed between (N, 1) and (N,)? That "
    "compares every answer with every target: `.squeeze(-1)` first. Or it has not learned to remember yet."
)
def _(model, split):
    answers = model(split.x)
    return answers.ndim == 2 and answers.std() < 0.1


@remember.symptom(
    "All its answers are about the same: it gives the mean. On the way back over 60 steps the gradient vanishes. Open "
    "the forget gates, or begin with short sequences."
)
def _(model, split):
    return model(split.x).std() < 0.1


@remember.symptom(
    "It is nearly there. Train somewhat longer, with a learning rate that falls towards the end."
)
def _(model, split):
    return _squared_error(model(split.x), split.y) <= 3 * ADDING_ERROR


def _adds_up_on(steps, model, split):
    """Whether a network solves shorter sequences, if it takes them at all."""
    short = _adding_kept_back(steps).to(split.x.device)
    try:
        return _squared_error(model(short.x), short.y) <= ADDING_ERROR
    except Exception:
        return False


@remember.symptom(
    "It adds up on 20 steps, but not on 60. Go on training with longer sequences, up to 60 steps."
)
def _(model, split):
    return _adds_up_on(20, model, split)


@remember.symptom(
    "It adds up on 10 steps, but neither on 20 nor on 60. Let the sequences grow: go on training with 20 steps, then "
    "40, then 60."
)
def _(model, split):
    return _adds_up_on(10, model, split)


def _marked(split):
    """The first and the second marked number of every sequence."""
    numbers, marks = split.x.unbind(dim=2)
    rows = torch.arange(len(split), device=split.x.device)
    half = marks.shape[1] // 2
    first, second = marks[:, :half].argmax(dim=1), half + marks[:, half:].argmax(dim=1)
    return numbers[rows, first], numbers[rows, second]


@remember.symptom(
    "Its answers are half as large as they should be: the sum of the two numbers, not their mean."
)
def _(model, split):
    return _squared_error(2 * model(split.x), split.y) <= ADDING_ERROR


@remember.symptom("It multiplies the two numbers. The answer is their sum.")
def _(model, split):
    first, second = _marked(split)
    return _squared_error(model(split.x), first * second) <= ADDING_ERROR


@remember.symptom(
    "It knows the second marked number and guesses the first one: its memory does not reach back that far. Train "
    "longer, with open forget gates, or with sequences that grow."
)
def _(model, split):
    _, second = _marked(split)
    return _squared_error(model(split.x), second + 0.5) <= 0.04
