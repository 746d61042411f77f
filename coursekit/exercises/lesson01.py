"""The exercises of lesson 1, Linear algebra in a nutshell: solutions, classic mistakes, hints."""

import math
import sys

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from coursekit.checks import ExerciseSet, Question, normal, show

lesson = ExerciseSet("Lesson 1")
report, __getattr__, __dir__ = lesson.report, lesson.unknown, lesson.names


class _Watch(TorchFunctionMode):
    """Note the torch functions that are called in the block, and the elements of the largest tensor they make."""

    def __init__(self):
        super().__init__()
        self.called, self.elements = [], 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.called.append(getattr(function, "__name__", ""))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        if self.called[-1] == "pairwise_distance":  # its difference (N, M, D) is made inside
            shapes = [one.shape for one in args if isinstance(one, torch.Tensor)]
            self.elements = max(self.elements, math.prod(torch.broadcast_shapes(*shapes)))
        return result


# Section 1: tensors ------------------------------------------------------------------------------------------


shape_of_column_means = lesson.prediction(
    "shape_of_column_means",
    Question(
        (28,),
        "Axis 0 counts the rows. Averaging over it leaves one mean for each of the 28 columns.",
        {
            (28, 28): "That is the shape before averaging. Averaging over an axis removes it.",
            (1, 28): "Close: an axis that is averaged over disappears, unless you pass `keepdim=True`.",
            (28, 1): "An axis that is averaged over disappears, unless you pass `keepdim=True`.",
            (1,): "That would be one mean of all 784 pixels. Here only axis 0 is averaged over.",
            (): "That would be one mean of all 784 pixels. Here only axis 0 is averaged over.",
        },
    ),
    hints=[
        "A reduction removes the axis it runs over.",
        "The digit has the shape (28, 28). Cross out axis 0.",
    ],
)


# Section 2: lengths and angles -------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "a single row": (torch.tensor([[3.0, 4.0]]), torch.tensor([4.0, 3.0])),
        "a row of zeros": (torch.tensor([[0.0, 0.0]]), torch.tensor([2.0, 1.0])),
        "a row whose entries cancel": (torch.tensor([[1.0, -1.0]]), torch.tensor([3.0, 1.0])),
        "vectors of opposite direction": (torch.tensor([[1.0, 2.0]]), torch.tensor([-3.0, -6.0])),
        "a row of zeros among others": (
            torch.tensor([[2.0, 1.0], [0.0, 0.0], [-1.0, 3.0]]),
            torch.tensor([1.0, 4.0]),
        ),
        "an ordinary batch": (normal(3, 4), normal(4, seed=1)),
        "as many rows as columns": (normal(3, 3, seed=2), normal(3, seed=3)),
        "short vectors": (0.05 * normal(6, 2, seed=6), normal(2, seed=7)),
        "long vectors in float64": (
            100 * normal(5, 7, seed=4, dtype=torch.float64),
            normal(7, seed=5, dtype=torch.float64),
        ),
    },
    hints=[
        "The dot products of all rows with y are `x @ y`, of shape (N,). Divide by both lengths.",
        "`x.norm(dim=1)` has the shape (N,), `y.norm()` is one number.",
        "For a vector of zeros 0 / 0 is nan. Keep the denominator above 0: `.clamp(min=1e-12)`.",
    ],
)
def cosine_similarity(x, y):
    """Return the cosine of the angle between every row of x (N, D) and the vector y (D,): shape (N,).

    A row of zeros points nowhere; its similarity is 0.
    """
    return x @ y / (x.norm(dim=1) * y.norm()).clamp(min=1e-12)


def _cosine(x, y, *, dots=None, lengths=None):
    """The cosine with other products, or with other lengths."""
    dots = x @ y if dots is None else dots
    lengths = x.norm(dim=1) * y.norm() if lengths is None else lengths
    return (dots / lengths).nan_to_num(posinf=0, neginf=0)


cosine_similarity.mistakes(
    {
        "These are the dot products. Divide by both lengths; otherwise long vectors look "
        "similar.": lambda x, y: x @ y,
        "Divide by the length of y as well: the cosine of an angle is never above 1.": {
            "(x.norm(dim=1) * y.norm())": "x.norm(dim=1)"
        },
        "Each row of x has a length of its own: divide by `x.norm(dim=1)` too.": lambda x, y: (
            x @ y / y.norm()
        ),
        "For a row of zeros 0 / 0 gives nan. Keep the denominator away from 0 with `.clamp(min=…)`.": {
            ".clamp(min=1e-12)": ""
        },
        "`x.norm()` is the length of the whole matrix. Every row has its own: `x.norm(dim=1)`.": {
            "dim=1": ""
        },
        "You divide by the squares of the lengths. The length is the square root: `norm`.": [
            {"x.norm(dim=1) * y.norm": "(x**2).sum(dim=1) * (y**2).sum"},
            lambda x, y: x @ y / ((x**2).sum(dim=1) * (y**2).sum()),
        ],
        "This is the angle. The exercise asks for its cosine, so leave out the arccosine.": [
            lambda x, y: torch.acos(cosine_similarity.reference(x, y).clamp(-1, 1)),
            lambda x, y: torch.rad2deg(torch.acos(cosine_similarity.reference(x, y).clamp(-1, 1))),
            lambda x, y: torch.acos(x @ y / (x.norm(dim=1) * y.norm())),
        ],
        "One minus the cosine is a distance. Return the cosine itself.": {"return": "return 1 -"},
        "That is the square of the cosine, and the sign is gone with it. Take the root of the squared lengths, "
        "and leave the dot product as it is.": {"return x @ y": "return (x @ y) ** 2"}
        | {".clamp(min=1e-12)": ".clamp(min=1e-12) ** 2"},
        "That is the sine of the angle, √(1 − cos²). Return the cosine itself.": lambda x, y: (
            (1 - cosine_similarity.reference(x, y) ** 2).clamp(min=0).sqrt()
        ),
        "With `dim=0` you get the lengths of the columns. The vectors are the rows: `x.norm(dim=1)`.": [
            {"dim=1": "dim=0"},
            lambda x, y: F.normalize(x, dim=0) @ F.normalize(y, dim=0),
        ],
        "(N,) divided by (N, 1) broadcasts to (N, N), a matrix. The lengths should have the shape (N,), "
        "like the dot products: leave out `keepdim=True`.": {"dim=1": "dim=1, keepdim=True"},
        "(N, 1) divided by (N,) broadcasts to (N, N), a matrix. Let the products have the shape (N,), like the "
        "lengths: `x @ y`.": {"x @ y": "x @ y[:, None]"},
        "The sign is gone. Vectors that point in opposite directions have the cosine −1: leave out "
        "the absolute value.": {"return x @ y": "return (x @ y).abs()"},
        "Negative cosines became 0. Vectors that point in opposite directions have the cosine −1: limit the "
        "denominator, not the result.": {"return x @ y / (": "return (x @ y).clamp(min=0) / ("},
        "These lengths add up absolute values. The length of a vector is the root of the sum of its "
        "squares: `norm`.": {"x.norm(dim=1) * y.norm()": "x.abs().sum(dim=1) * y.abs().sum()"},
        "These are the largest entries, not the lengths. The length of a vector is the root of the sum of its "
        "squares: `norm`.": {"x.norm(dim=1) * y.norm()": "x.abs().amax(dim=1) * y.abs().max()"},
        "You divide by sums of the entries, which may cancel. The length is the root of the sum of squares: "
        "`norm`.": lambda x, y: _cosine(x, y, lengths=x.sum(dim=1) * y.sum()),
        "The lengths are added. Divide the dot product by their product: `x.norm(dim=1) * y.norm()`.": {
            "x.norm(dim=1) * y": "x.norm(dim=1) + y"
        },
        "`/ a * b` divides by a and then multiplies by b. Put the product of the lengths in brackets: "
        "`/ (a * b)`.": lambda x, y: _cosine(x, y, lengths=x.norm(dim=1) / y.norm()),
        "The number that is added to the denominator, or keeps it above 0, is too large: short vectors get "
        "another cosine. Use 1e-12.": [
            *(lambda x, y, e=e: x @ y / (x.norm(dim=1) * y.norm() + e) for e in (1e-4, 1e-3, 0.01, 0.1, 1.0)),
            *(lambda x, y, e=e: x @ y / (x.norm(dim=1) * y.norm()).clamp(min=e) for e in (0.1, 1.0)),
            *(lambda x, y, e=e: x @ y / (x.norm(dim=1).clamp(min=e) * y.norm()) for e in (0.1, 1.0)),
            *(lambda x, y, e=e: x @ y / ((x.norm(dim=1) + e) * (y.norm() + e)) for e in (1e-3, 0.01)),
            *(lambda x, y, e=e: x @ y / ((x.norm(dim=1) + e) * y.norm()) for e in (1e-3, 0.01)),
        ],
        "A row may add up to 0 and still have a direction, such as (1, −1). Test its length, not its "
        "sum.": lambda x, y: torch.where(x.sum(dim=1) == 0, 0, cosine_similarity.reference(x, y)),
        "That is the factor of the projection onto y, (x · y) / (y · y). For the cosine divide by both "
        "lengths, each of them once.": lambda x, y: x @ y / (y @ y),
        "The length of x counts twice, and that of y not at all: divide by `x.norm(dim=1) * y.norm()`.": (
            lambda x, y: _cosine(x, y, lengths=(x**2).sum(dim=1))
        ),
        "One of the lengths is squared: divide by `x.norm(dim=1) * y.norm()`, without squares.": [
            lambda x, y: _cosine(x, y, lengths=(x**2).sum(dim=1) * y.norm()),
            lambda x, y: _cosine(x, y, lengths=x.norm(dim=1) * (y @ y)),
        ],
        "There is a root too many: the lengths contain one already.": lambda x, y: _cosine(
            x, y, lengths=(x.norm(dim=1) * y.norm()).sqrt()
        ),
        "With the means subtracted first, this is the correlation. The cosine takes the vectors as they "
        "are.": lambda x, y: _cosine(x - x.mean(dim=1, keepdim=True), y - y.mean()),
        "You took the mean of the products xᵢ yᵢ. The dot product is their sum: `x @ y`.": lambda x, y: (
            _cosine(x, y, dots=(x * y).mean(dim=1))
        ),
        "y is a single vector and has no `dim=1`: its length is `y.norm()`.": lambda x, y: (
            x @ y / (x.norm(dim=1) * y.norm(dim=1))
        ),
        "In `x.norm(1)` the 1 is the kind of norm, a sum of absolute values. The axis has to be named: "
        "`x.norm(dim=1)`.": [
            {"x.norm(dim=1)": "x.norm(1)"},
            lambda x, y: x @ y / (x.norm(1) * y.norm(1)),
        ],
        "Rows of zeros are left out. They keep their place in the result, (N,), with a similarity of 0.": lambda x, y: (
            cosine_similarity.reference(x[x.norm(dim=1) > 0], y)
        ),
        "One row of zeros turns the whole result to 0. Only its own similarity is 0.": lambda x, y: (
            cosine_similarity.reference(x, y) * bool((x.norm(dim=1) > 0).all())
        ),
        "The result is rounded. Return it as it is.": [
            lambda x, y, d=d: cosine_similarity.reference(x, y).round(decimals=d) for d in (1, 2, 3, 4)
        ],
        "`x.T` has the columns of x as its rows. Every row of x meets y in `x @ y`, (N, D) @ (D,).": lambda x, y: (
            x.T @ y / (x.norm(dim=1) * y.norm())
        ),
        "`y @ x` pairs y with the columns of x. Every row of x meets y in `x @ y`, (N, D) @ (D,).": lambda x, y: (
            y @ x / (x.norm(dim=1) * y.norm())
        ),
        "These are the products of single entries, (N, D). Add them up over D: `x @ y`, or `.sum(dim=1)`.": [
            lambda x, y: x * y / (x.norm(dim=1, keepdim=True) * y.norm()),
            lambda x, y: x * y / (x.norm(dim=1, keepdim=True) * y.norm()).clamp(min=1e-12),
        ],
        "The products of the entries are added up along the wrong axis. The vectors are the rows: "
        "`.sum(dim=1)`.": lambda x, y: (x * y).sum(dim=0) / (x.norm(dim=1) * y.norm()),
    }
)


@cosine_similarity.remark(
    "A remark: you loop over the rows, and the lesson compares 500 digits with 10,000 others. Tensors need no "
    "loop: `x @ y`, `x.norm(dim=1)`."
)
def _(attempt):
    with _Watch() as watch:
        attempt(torch.ones(50, 30), torch.ones(30))
    return len(watch.called) >= 40


# Section 3: maps ---------------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "an angle of π/6": (math.pi / 6,),
        "an angle of 0": (0.0,),
        "an obtuse angle": (2.0,),
        "a negative angle": (-1.0,),
        "more than half a turn": (4.0,),
        "more than a full turn": (7.5,),
    },
    hints=[
        "The columns of a matrix say where (1, 0) and (0, 1) go. Where does a rotation by the angle take them?",
        "(1, 0) goes to (cos, sin), and (0, 1) to (−sin, cos).",
    ],
)
def rotation(angle):
    """Return the matrix (2, 2) that turns vectors in the plane by `angle` radians, counterclockwise."""
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]])


def _turn(angle, signs=(1, -1, 1, 1), swapped=False):
    """The matrix with the signs of its four numbers, cos, sin, sin, cos, as arguments."""
    c, s = math.cos(angle), math.sin(angle)
    numbers = [s, c, c, s] if swapped else [c, s, s, c]
    return torch.tensor([sign * one for sign, one in zip(signs, numbers, strict=True)]).reshape(2, 2)


_RADIANS = "The angle is already in radians. `math.cos` takes radians: no factor "


def _entries(make):
    """A matrix made of cosine, sine and angle."""
    return lambda angle: torch.tensor(make(math.cos(angle), math.sin(angle), angle))


rotation.mistakes(
    {
        "This turns clockwise: the minus belongs to the sine in the first row.": [
            lambda angle: _turn(angle, (1, 1, -1, 1)),
        ],
        f"{_RADIANS}π/180.": [
            lambda angle: _turn(math.radians(angle)),
            lambda angle: _turn(math.radians(-angle)),
        ],
        f"{_RADIANS}180/π.": [
            lambda angle: _turn(math.degrees(angle)),
            lambda angle: _turn(math.degrees(-angle)),
        ],
        "The angle is in radians already, not in turns: no factor 2π.": [
            lambda angle: _turn(2 * math.pi * angle),
            lambda angle: _turn(-2 * math.pi * angle),
        ],
        "The angle is in radians already: no factor π.": lambda angle: _turn(math.pi * angle),
        "The angle is in radians already: don't divide it by π or 2π.": [
            lambda angle: _turn(angle / math.pi),
            lambda angle: _turn(angle / (2 * math.pi)),
        ],
        "This turns by twice the angle. The columns are (cos, sin) and (−sin, cos) of the angle itself.": [
            lambda angle: _turn(2 * angle),
            lambda angle: _turn(-2 * angle),
        ],
        "This turns by half the angle. The columns are (cos, sin) and (−sin, cos) of the angle itself.": (
            lambda angle: _turn(angle / 2)
        ),
        "The remainder by π loses half a turn. Cosine and sine take every angle: leave out `%`.": lambda angle: (
            _turn(angle % math.pi)
        ),
        "The remainder changes the angle; a full turn is 2π radians. Cosine and sine take every angle: leave "
        "out `%`.": [lambda angle: _turn(angle % 360), lambda angle: _turn(angle % 2)],
        "The sign of the angle is lost: a negative angle turns the other way round.": lambda angle: _turn(
            abs(angle)
        ),
        "The root has lost the sign of the sine, which is negative beyond half a turn. Take "
        "`math.sin(angle)`.": _entries(lambda c, s, a: [[c, -abs(s)], [abs(s), c]]),
        "The root has lost the sign of the cosine, which is negative beyond a quarter turn. Take "
        "`math.cos(angle)`.": _entries(lambda c, s, a: [[abs(c), -s], [s, abs(c)]]),
        "Whole numbers came out: an integer tensor, or rounding, has cut off the fractions. Sine and cosine "
        "need floats.": [
            lambda angle: _turn(angle).long(),
            lambda angle: _turn(angle).round(),
            lambda angle: _turn(int(angle)),
        ],
        "Sine and cosine are swapped. A rotation by 0 should change nothing: the cosines belong on the "
        "diagonal.": [
            *(
                lambda angle, signs=signs: _turn(angle, signs, swapped=True)
                for signs in ((1, -1, 1, 1), (1, 1, 1, 1), (1, 1, -1, 1), (1, -1, 1, -1))
            ),
        ],
        "The columns are swapped: where (1, 0) goes, which is (cos, sin), comes first.": lambda angle: _turn(
            angle, (-1, 1, 1, 1), swapped=True
        ),
        "Both sines have a minus sign. Only the one in the first row has it: (1, 0) goes to "
        "(cos, +sin).": lambda angle: _turn(angle, (1, -1, -1, 1)),
        "These are the four numbers in a row. A matrix has a list for each of its rows: "
        "`[[a, b], [c, d]]`.": {"[[c, -s], [s, c]]": "[c, -s, s, c]"},
        "That is only where (1, 0) goes, the first column. The second is where (0, 1) goes: (−sin, cos).": [
            _entries(lambda c, s, a: [c, s]),
            _entries(lambda c, s, a: [[c], [s]]),
            _entries(lambda c, s, a: [[c, s]]),
        ],
        "The last entry is −cos. A rotation by 0 should change nothing: the diagonal is cos, cos.": [
            lambda angle: _turn(angle, (1, -1, 1, -1)),
            lambda angle: _turn(angle, (1, 1, -1, -1)),
        ],
        "The first entry is −cos. A rotation by 0 should change nothing: the diagonal is cos, cos.": [
            lambda angle: _turn(angle, (-1, -1, 1, 1)),
            lambda angle: _turn(angle, (-1, 1, -1, 1)),
            lambda angle: _turn(angle, (-1, 1, 1, 1)),
        ],
        "Both cosines have a minus sign. A rotation by 0 should change nothing: the diagonal is cos, cos.": [
            lambda angle: _turn(angle, (-1, -1, 1, -1)),
            lambda angle: _turn(angle, (-1, 1, -1, -1)),
        ],
        "One of the sines needs a minus sign, or lengths are not preserved: (0, 1) goes to (−sin, cos).": (
            lambda angle: _turn(angle, (1, 1, 1, 1))
        ),
        "This also reflects the plane. (0, 1) goes to (−sin, cos): the minus belongs to the first row.": (
            lambda angle: _turn(angle, (1, 1, 1, -1))
        ),
        "That holds only for small angles, where cos ≈ 1 and sin ≈ angle. Take `math.cos` and `math.sin`.": [
            _entries(lambda c, s, a: [[1.0, -a], [a, 1.0]]),
            _entries(lambda c, s, a: [[1 - a * a / 2, -a], [a, 1 - a * a / 2]]),
        ],
        "A 0 stands where a sine belongs. (1, 0) goes to (cos, sin), and (0, 1) to (−sin, cos).": [
            _entries(lambda c, s, a: [[c, -s], [0.0, c]]),
            _entries(lambda c, s, a: [[c, 0.0], [s, c]]),
            _entries(lambda c, s, a: [[c, 0.0], [0.0, c]]),
        ],
        "(1, 0) goes to (cos, sin), and (0, 1) to (−sin, cos): four numbers, and the off-diagonal ones are the "
        "sines.": [
            _entries(lambda c, s, a: [[c, 0.0], [0.0, s]]),
            _entries(lambda c, s, a: [[c, -c], [s, s]]),
            _entries(lambda c, s, a: [[c, -c], [c, c]]),
            _entries(lambda c, s, a: [[c, c], [s, s]]),
            _entries(lambda c, s, a: [[c, -s], [c, s]]),
            _entries(lambda c, s, a: [[c, s], [c, s]]),
            _entries(lambda c, s, a: [[c, -s], [s, s]]),
        ],
        "The rows are swapped: the first row is (cos, −sin).": lambda angle: _turn(
            angle, (1, 1, 1, -1), swapped=True
        ),
        "This rotates, and stretches by the angle as well: leave out the factor.": lambda angle: (
            angle * _turn(angle)
        ),
        "That is the tangent. The entries are sine and cosine themselves.": _entries(
            lambda c, s, a: [[1.0, -s / c], [s / c, 1.0]]
        ),
    }
)


@lesson.exercise(
    returns=("the projection", "the reflection"),
    cases={
        "u = (2, 1)": (torch.tensor([2.0, 1.0]),),
        "u along the first axis, of length 1": (torch.tensor([1.0, 0.0]),),
        "u of length 1": (torch.tensor([0.6, 0.8]),),
        "u along the second axis": (torch.tensor([0.0, 3.0]),),
        "u with a negative entry": (torch.tensor([1.0, -2.0]),),
        "u with three entries": (torch.tensor([1.0, 2.0, -1.0]),),
        "float64 numbers": (normal(5, seed=1, dtype=torch.float64),),
    },
    hints=[
        "The projection of x is c·u, and x − c·u is perpendicular to u: (x − c·u) · u = 0. Solve for c.",
        "c = (u · x) / (u · u), so the projection is u (uᵀx) / (u · u). The matrix in front of x is "
        "`torch.outer(u, u) / (u @ u)`.",
        "The reflection of x lies as far behind the line as x lies in front of it: x + 2 (Px − x). Which matrix "
        "does that? `torch.eye(len(u))` is the identity.",
    ],
)
def project_and_reflect(u):
    """Return two matrices (D, D): one projects onto the line along u (D,), the other reflects across it.

    u may have any length but 0.
    """
    P = torch.outer(u, u) / (u @ u)
    return P, 2 * P - torch.eye(len(u), dtype=u.dtype)


def _identity(u):
    return torch.eye(len(u), dtype=u.dtype)


def _across(P):
    """The reflection across the line that P projects onto."""
    return 2 * P - _identity(P)


def _onto(u):
    """The projection onto the line along u."""
    return torch.outer(u, u) / (u @ u)


def _reflected(*makes):
    """Answers with the right projection P, and each of these reflections, made of P and I."""
    return [lambda u, make=make: (_onto(u), make(_onto(u), _identity(u))) for make in makes]


def _projected(*makes):
    """Answers with each of these projections, made of u, and reflections made of them in the frequent ways."""
    ways = (_across, lambda P: _identity(P) - 2 * P, lambda P: _identity(P) - P, lambda P: P - _identity(P))
    return [lambda u, make=make, way=way: (make(u), way(make(u))) for make in makes for way in ways]


project_and_reflect.mistakes(
    {
        "Without the division a long u stretches: divide the outer product by u · u.": _projected(
            lambda u: torch.outer(u, u)
        ),
        "You divided by the length of u. The factor is c = (u · x) / (u · u): divide by the length "
        "squared.": _projected(lambda u: torch.outer(u, u) / u.norm()),
        "You divided by the sum of u. The factor is c = (u · x) / (u · u): divide by the sum of the squares, "
        "`u @ u`.": [lambda u: (torch.outer(u, u) / u.sum(), _across(torch.outer(u, u) / u.sum()))],
        "You divided by the mean of the squares. The denominator is their sum, `u @ u`.": [
            lambda u: (len(u) * _onto(u), _across(len(u) * _onto(u)))
        ],
        "You divided by D, the number of entries. The denominator is u · u, `u @ u`.": (
            lambda u: (torch.outer(u, u) / len(u), _across(torch.outer(u, u) / len(u)))
        ),
        "This scales u so that its largest entry is 1, or its entries add up to 1. Its length should be 1: "
        "`u / u.norm()`.": [
            lambda u: (
                torch.outer(u, u) / u.abs().max() ** 2,
                _across(torch.outer(u, u) / u.abs().max() ** 2),
            ),
            lambda u: (torch.outer(u, u) / u.max() ** 2, _across(torch.outer(u, u) / u.max() ** 2)),
            lambda u: (torch.outer(u, u) / u.sum() ** 2, _across(torch.outer(u, u) / u.sum() ** 2)),
            lambda u: (
                torch.outer(u, u) / u.abs().sum() ** 2,
                _across(torch.outer(u, u) / u.abs().sum() ** 2),
            ),
        ],
        "You divided by u · u twice: if u has length 1 already, nothing is left to divide by.": [
            lambda u: (_onto(u) / (u @ u), _across(_onto(u) / (u @ u))),
            lambda u: (_onto(u) / u.norm(), _across(_onto(u) / u.norm())),
        ],
        "You return the reflection first. Return the projection, then the reflection.": lambda u: (
            _across(_onto(u)),
            _onto(u),
        ),
        "The reflection has the wrong sign: I − 2P turns u itself around. A point on the line should stay "
        "where it is: 2P − I.": _reflected(lambda P, one: one - 2 * P),
        "P − I leads from x to its projection. The reflection goes from x twice as far: x + 2 (Px − x).": {
            "2 * P": "P"
        },
        "2 (P − I) is the way from x to its mirror image. Add it to x: x + 2 (Px − x), so 2P − I.": _reflected(
            lambda P, one: 2 * (P - one), lambda P, one: 2 * (one - P)
        ),
        "You subtracted 1 from every entry. The identity matrix has ones only on its diagonal: "
        "`torch.eye(len(u))`.": {"torch.eye(len(u), dtype=u.dtype)": "1"},
        "1 − 2P takes 1 for the identity, and has the wrong sign: the reflection is 2P − I, with "
        "`torch.eye(len(u))`.": _reflected(lambda P, one: 1 - 2 * P),
        "These belong to the directions perpendicular to u: I − P removes the part along u. Here the part "
        "along u should be kept.": lambda u: (_identity(u) - _onto(u), -_across(_onto(u))),
        "The reflection is right. I − P gives the part perpendicular to u; the projection onto the line is "
        "P itself.": lambda u: (_identity(u) - _onto(u), _across(_onto(u))),
        "−P turns the projection around, and every point still ends on the line. The reflection keeps the "
        "distance: x + 2 (Px − x).": lambda u: (_onto(u), -_onto(u)),
        "−I sends every point through the origin. A reflection across the line leaves the points on it where "
        "they are.": lambda u: (_onto(u), -_identity(u)),
        "`u * u` multiplies entry by entry, so this is a diagonal matrix. Entry i, j of the projection is "
        "uᵢ uⱼ: `torch.outer(u, u)`.": _projected(lambda u: torch.diag(u * u) / (u @ u)),
        "That is a number, such as u · u divided by itself. The matrix has the entries uᵢ uⱼ: "
        "`torch.outer(u, u)`.": [
            lambda u: (u @ u / (u @ u), 2 * (u @ u / (u @ u)) - 1),
            lambda u: (u @ u / (u @ u), 2 * (u @ u / (u @ u)) - _identity(u)),
            lambda u: (u @ u, 2 * (u @ u) - _identity(u)),
            lambda u: (u @ u / u.norm(), 2 * (u @ u / u.norm()) - _identity(u)),
        ],
        "The projection is right. x + (Px − x) is Px again: the reflection goes twice as far, "
        "x + 2 (Px − x).": lambda u: (_onto(u), _onto(u)),
        "The projection is right. 2P + I stretches u by 3: the identity is subtracted.": {
            "2 * P - torch": "2 * P + torch"
        },
        "The projection is right. A point on the line should stay where it is, and one perpendicular to u change its "
        "sign: that is 2P − I.": _reflected(
            lambda P, one: 3 * P - one, lambda P, one: 3 * P - 2 * one, lambda P, one: one
        ),
        "The projection is right. P + I doubles the part along u. The reflection is x + 2 (Px − x), so "
        "2P − I.": _reflected(lambda P, one: P + one),
        "The projection is right. I − P leaves the part of x perpendicular to u. The reflection is "
        "x + 2 (Px − x).": lambda u: (_onto(u), _identity(u) - _onto(u)),
        "The projection is right. The identity counts once in the reflection, 2P − I: x + 2 (Px − x) holds "
        "−2x and one x.": _reflected(lambda P, one: P - 2 * one),
        "The projection is right, but the reflection is built from the outer product without the division, or "
        "with another one. Use P: 2P − I.": [
            lambda u: (_onto(u), _across(torch.outer(u, u))),
            lambda u: (_onto(u), _across(torch.outer(u, u) / u.norm())),
            lambda u: (_onto(u), _identity(u) - 2 * torch.outer(u, u)),
        ],
        "The projection is right. In the reflection the identity comes without a factor: 2P − I.": [
            lambda u: (_onto(u), 2 * _onto(u) - (u @ u) * _identity(u)),
            lambda u: (_onto(u), 2 * _onto(u) - u.norm() * _identity(u)),
        ],
        "The projection is right. The identity has ones on its diagonal, and yours holds other numbers: "
        "`torch.eye(len(u))`.": [
            lambda u: (_onto(u), 2 * _onto(u) - torch.diag(u)),
            lambda u: (_onto(u), 2 * _onto(u) - torch.ones(len(u), 1, dtype=u.dtype) @ u[None]),
        ],
        "`/ u @ u` divides by u first and multiplies afterwards. Use brackets: `/ (u @ u)`.": [
            lambda u: (torch.outer(u, u) / u @ u, 2 * torch.outer(u, u) / u @ u),
            lambda u: (torch.outer(u, u) / u @ u, 2 * (torch.outer(u, u) / u @ u) - torch.eye(len(u))),
        ],
        "These are D numbers, uᵢ² / (u · u). The matrix has an entry for every pair, uᵢ uⱼ: "
        "`torch.outer(u, u)`.": [
            lambda u: (u * u / (u @ u), 2 * u * u / (u @ u) - _identity(u)),
            lambda u: (u * u / (u @ u), 2 * u * u / (u @ u) - 1),
        ],
        "The projection is right. 2P alone doubles it: subtract the identity.": {
            " - torch.eye(len(u), dtype=u.dtype)": ""
        },
        "The signs of u are lost: the projection has the entries uᵢ uⱼ, negative ones too.": lambda u: (
            _onto(u.abs()),
            _across(_onto(u.abs())),
        ),
        "One matrix came back. Return two, the projection and the reflection: `return P, R`.": [
            _onto,
            lambda u: _across(_onto(u)),
        ],
        "The identity has two rows and two columns whatever u is. For u of D entries take "
        "`torch.eye(len(u))`.": lambda u: (_onto(u), 2 * _onto(u) - torch.eye(2, dtype=u.dtype)),
        "`u.T @ u` and `u @ u.T` are the dot product, since u has one axis. For the matrix take "
        "`torch.outer(u, u)`, or `u[:, None] * u`.": lambda u: (u @ u, 2 * (u @ u) - 1),
    }
)


@project_and_reflect.mistake(
    "These are matrices of two rows and two columns whatever u is. For u of D entries build (D, D), with "
    "`torch.outer(u, u)`."
)
def _(u):
    a, b = u[0], u[1]
    P = torch.stack([torch.stack([a * a, a * b]), torch.stack([a * b, b * b])]) / (a * a + b * b)
    return P, _across(P)


# Section 4: rank ---------------------------------------------------------------------------------------------


ranks = lesson.quiz(
    "ranks",
    hints=[
        "The rank is the number of independent columns, and of independent rows: it is never above either number.",
        "Where does the map send all vectors? To a point, a line, a plane? Rank and dimension of the null space add "
        "up to the number of columns.",
    ],
    multiple=Question(
        1,
        "The second column is twice the first: one direction.",
        {
            2: "Compare the columns: the second is a multiple of the first, so it adds no direction.",
            0: "Only a matrix of zeros has rank 0.",
        },
    ),
    swap=Question(
        2,
        "(0, 1) and (1, 0) are independent: swapping the coordinates loses nothing.",
        {
            1: "Neither column is a multiple of the other.",
            0: "Only a matrix of zeros has rank 0.",
        },
    ),
    tall=Question(
        2,
        "Two independent columns. They span a plane in a space of three axes.",
        {
            3: "There are three rows, but only two columns: the third row is the sum of the first two.",
            1: "Neither column is a multiple of the other.",
        },
    ),
    projection=Question(
        1,
        "Every digit lands on the same line, whatever the number of axes.",
        {
            784: "That is the size of the matrix. All vectors are sent to one line.",
            783: "That is the dimension of the null space: all directions perpendicular to the line.",
            2: "A projection onto a plane would have rank 2. This one maps to a line.",
            0: "Only a matrix of zeros has rank 0. This one keeps a line.",
        },
    ),
    lost=Question(
        774,
        "784 − 10: what is not kept is lost.",
        {
            10: "That is the rank, the number of directions that are kept.",
            784: "That would be a matrix of zeros, which loses everything. This one keeps 10 directions.",
            0: "784 numbers go in and 10 come out: something is lost.",
            794: "Rank and dimension of the null space add up to the number of columns: subtract.",
        },
    ),
)


# Section 5: least squares ------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "two points": (torch.tensor([1.0, 3.0]), torch.tensor([2.0, 7.0])),
        "three points on a line": (torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 5.0])),
        "a level line": (torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 3.0, 3.0])),
        "scattered points": (torch.tensor([0.0, 1.0, 2.0, 4.0]), torch.tensor([1.0, 0.0, 3.0, 2.0])),
        "a falling line": (
            torch.tensor([-1.0, 0.5, 2.0, 3.0, 5.0]),
            torch.tensor([4.0, 3.5, 1.0, 1.5, -2.0]),
        ),
        "points far from the origin": (
            10 + normal(8, seed=2, dtype=torch.float64),
            -5 + normal(8, seed=3, dtype=torch.float64),
        ),
        "float64 numbers": (normal(17, dtype=torch.float64), normal(17, seed=1, dtype=torch.float64)),
    },
    returns=("the slope", "the intercept"),
    hints=[
        "Put x and a column of ones side by side: `torch.stack([x, torch.ones_like(x)], dim=1)`.",
        "`torch.linalg.lstsq(A, y.unsqueeze(1)).solution` has the shape (2, 1): slope, then intercept.",
        "Without matrices: the slope is the covariance of x and y over the variance of x.",
    ],
)
def fit_line(x, y):
    """Return the slope and intercept of the line that fits the points x (N,), y (N,) by least squares."""
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return slope, y.mean() - slope * x.mean()


def _line(x, y, *, slope=None, intercept=None):
    """Slope and intercept, of which one may be given or made otherwise: slope(x, y, dx, dy), intercept(x, y, slope)."""
    right, _ = fit_line.reference(x, y)
    found = slope(x, y, x - x.mean(), y - y.mean()) if slope else right
    return found, intercept(x, y, found) if intercept else y.mean() - found * x.mean()


def _slopes(*makes):
    """Answers with each of these slopes, and intercepts made of them rightly and with a plus."""
    ways = (None, lambda x, y, a: y.mean() + a * x.mean())
    return [
        lambda x, y, make=make, way=way: _line(x, y, slope=make, intercept=way)
        for make in makes
        for way in ways
    ]


def _intercepts(*makes):
    """Answers with the right slope and each of these intercepts."""
    return [lambda x, y, make=make: _line(x, y, intercept=make) for make in makes]


def _columns(x):
    """The matrix W with the columns x and 1."""
    return torch.stack([x, torch.ones_like(x)], dim=1)


fit_line.mistakes(
    {
        "Slope and intercept are swapped: the solution comes in the order of the matrix's columns.": lambda x, y: (
            fit_line.reference(x, y)[::-1]
        ),
        "This line is forced through the origin: the matrix needs a column of ones for the intercept.": [
            lambda x, y: ((x * y).sum() / (x * x).sum(), torch.zeros((), dtype=x.dtype)),
            lambda x, y: torch.linalg.lstsq(x[:, None], y[:, None]).solution,
            lambda x, y: torch.linalg.lstsq(x[:, None], y[:, None]).solution[:, 0],
        ],
        "This predicts x from y. The error to keep small is that of y.": [
            lambda x, y: fit_line.reference(y, x),
            lambda x, y: torch.linalg.lstsq(_columns(y), x[:, None]).solution[:, 0],
        ],
        "The slope is right, but the intercept is not the mean of y: it is the value at x = 0.": _intercepts(
            lambda x, y, a: y.mean()
        ),
        "The intercept adds slope · x̄ to ȳ. The line goes through (x̄, ȳ), so subtract it.": _intercepts(
            lambda x, y, a: y.mean() + a * x.mean()
        ),
        "The sign of the intercept is wrong: the line goes through (x̄, ȳ), so it is ȳ − slope · x̄.": _intercepts(
            lambda x, y, a: a * x.mean() - y.mean()
        ),
        "The means are swapped in the intercept: it is ȳ − slope · x̄.": _intercepts(
            lambda x, y, a: x.mean() - a * y.mean(), lambda x, y, a: a * y.mean() - x.mean()
        ),
        "The slope is right. The intercept was made of sums: divide by N, or take means, ȳ − slope · x̄.": (
            _intercepts(
                lambda x, y, a: y.sum() - a * x.sum(),
                lambda x, y, a: y.mean() - a * x.sum(),
                lambda x, y, a: y.sum() - a * x.mean(),
            )
        ),
        "The slope is right, but the line need not go through a single point. It goes through (x̄, ȳ): the "
        "intercept is ȳ − slope · x̄.": _intercepts(
            lambda x, y, a: y[0] - a * x[0],
            lambda x, y, a: y[-1] - a * x[-1],
            lambda x, y, a: y[0],
            lambda x, y, a: y.min(),
        ),
        "The slope is missing in the intercept, which is ȳ − slope · x̄.": _intercepts(
            lambda x, y, a: y.mean() - x.mean()
        ),
        "x̄ is missing in the intercept, which is ȳ − slope · x̄.": _intercepts(lambda x, y, a: y.mean() - a),
        "ȳ is missing in the intercept, which is ȳ − slope · x̄.": _intercepts(
            lambda x, y, a: -a * x.mean(), lambda x, y, a: a * x.mean()
        ),
        "The slope is right, but the intercept is 0, a line through the origin: it is ȳ − slope · x̄.": _intercepts(
            lambda x, y, a: torch.zeros_like(a)
        ),
        "The slope is right. Each point has an intercept of its own here: take the mean, ȳ − slope · x̄.": (
            _intercepts(lambda x, y, a: y - a * x)
        ),
        "That slope belongs to a line through the origin. Subtract the means of x and y before you "
        "multiply.": _slopes(lambda x, y, dx, dy: (x * y).sum() / (x**2).sum()),
        "The denominator of the slope is centred, the product above it is not: it is Σ (x − x̄)(y − ȳ).": _slopes(
            lambda x, y, dx, dy: (x * y).sum() / (dx**2).sum()
        ),
        "x is centred in the product, but not in the denominator of the slope: that is Σ (x − x̄)².": _slopes(
            lambda x, y, dx, dy: (dx * dy).sum() / (x**2).sum()
        ),
        "This is the correlation coefficient. The slope is the covariance over the variance of x.": _slopes(
            lambda x, y, dx, dy: (dx * dy).sum() / (dx.norm() * dy.norm())
        ),
        "That is a sum over the points. The slope is this sum divided by Σ (x − x̄)².": _slopes(
            lambda x, y, dx, dy: (dx * dy).sum()
        ),
        "That slope is the covariance alone. Divide it by the variance of x.": _slopes(
            lambda x, y, dx, dy: (dx * dy).mean(), lambda x, y, dx, dy: (dx * dy).sum() / (len(x) - 1)
        ),
        "The covariance and the variance divide by different numbers, one by N, the other by N − 1. Use "
        "the same for both.": [
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (dx * dy).mean() / x.var()),
            lambda x, y: _line(
                x, y, slope=lambda x, y, dx, dy: (dx * dy).sum() / (len(x) - 1) / x.var(correction=0)
            ),
        ],
        "One of the two is a sum, the other a mean. Take the sum for both, or divide both by the same "
        "number.": [
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (dx * dy).sum() / x.var()),
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (dx * dy).sum() / x.var(correction=0)),
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (dx * dy).mean() / (dx**2).sum()),
        ],
        "You divided by the variance of y. Divide the covariance by the variance of x.": _slopes(
            lambda x, y, dx, dy: (dx * dy).sum() / (dy**2).sum()
        ),
        "You divided by the standard deviation of x. Divide the covariance by the variance, its square.": [
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (dx * dy).sum() / (len(x) - 1) / x.std()),
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (dx * dy).mean() / x.std(correction=0)),
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (dx * dy).mean() / x.std()),
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (dx * dy).sum() / x.std()),
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (dx * dy).sum() / dx.norm()),
        ],
        "N is missing in the slope: by sums it is (N Σxy − Σx Σy) / (N Σx² − (Σx)²).": lambda x, y: _line(
            x, y, slope=lambda x, y, dx, dy: (x @ y - x.sum() * y.sum()) / (x @ x - x.sum() ** 2)
        ),
        "(Σx)² and Σx² are two things: by sums the slope is (N Σxy − Σx Σy) / (N Σx² − (Σx)²).": lambda x, y: (
            _line(
                x,
                y,
                slope=lambda x, y, dx, dy: (
                    (len(x) * (x @ y) - x.sum() * y.sum()) / (len(x) * (x @ x) - x @ x)
                ),
            )
        ),
        "The ratio of the standard deviations, or of the variances, leaves out how x and y vary together: the "
        "slope is the covariance over the variance of x.": [
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: y.std() / x.std()),
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: y.var() / x.var()),
        ],
        "The ratio of the means belongs to a line through the origin. The slope is the covariance over the "
        "variance of x.": [
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: y.mean() / x.mean()),
            lambda x, y: (y.mean() / x.mean(), torch.zeros_like(x.mean())),
        ],
        "That is the mean of the slopes from point to point. Least squares gives far points more say: "
        "Σ (x − x̄)(y − ȳ) / Σ (x − x̄)².": [
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (y.diff() / x.diff()).mean()),
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (dy / dx).mean()),
        ],
        "The slope is upside down: the covariance of x and y stands above, the variance of x below.": lambda x, y: (
            _line(x, y, slope=lambda x, y, dx, dy: (dx * dx).sum() / (dx * dy).sum())
        ),
        "The sign of the slope is wrong: it is Σ (x − x̄)(y − ȳ) / Σ (x − x̄)².": lambda x, y: _line(
            x, y, slope=lambda x, y, dx, dy: -(dx * dy).sum() / (dx * dx).sum()
        ),
        "Every x has its y: to sort one without the other makes new points. The order of the points does not "
        "matter.": [
            lambda x, y: fit_line.reference(x.sort().values, y),
            lambda x, y: fit_line.reference(x, y.sort().values),
            lambda x, y: fit_line.reference(x.sort().values, y.sort().values),
        ],
        "The slope is that between two of the points. All points should have a say.": [
            lambda x, y: _line(
                x,
                y,
                slope=lambda x, y, dx, dy: (y[-1] - y[0]) / (x[-1] - x[0]),
                intercept=lambda x, y, a: y[0] - a * x[0],
            ),
            lambda x, y: _line(x, y, slope=lambda x, y, dx, dy: (y[-1] - y[0]) / (x[-1] - x[0])),
            lambda x, y: _line(
                x,
                y,
                slope=lambda x, y, dx, dy: (y[1] - y[0]) / (x[1] - x[0]),
                intercept=lambda x, y, a: y[0] - a * x[0],
            ),
        ],
        "`lstsq` returns an object of four entries. Take `.solution[:, 0]`, slope and intercept.": lambda x, y: (
            torch.linalg.lstsq(_columns(x), y[:, None])
        ),
        "The solution has the shape (2, 1), since y was passed as a matrix of one column. Take "
        "`.solution[:, 0]`.": lambda x, y: torch.linalg.lstsq(_columns(x), y[:, None]).solution,
        "These are the values of the line at the points x, Wθ. Return θ itself: slope and intercept.": (
            lambda x, y: _columns(x) @ torch.stack(fit_line.reference(x, y))
        ),
        "These are the errors, y − Wθ. Return θ itself: slope and intercept.": (
            lambda x, y: y - _columns(x) @ torch.stack(fit_line.reference(x, y))
        ),
        "That is the slope alone, or the intercept alone. Return both: `return slope, intercept`.": [
            lambda x, y: fit_line.reference(x, y)[0],
            lambda x, y: fit_line.reference(x, y)[1],
        ],
        "W is stacked as (2, N) here. x and the ones are its columns: `torch.stack([x, torch.ones_like(x)], "
        "dim=1)`.": [
            lambda x, y: tuple(torch.linalg.solve(_columns(x) @ _columns(x).T, _columns(x) @ y)[:2]),
            lambda x, y: torch.linalg.lstsq(_columns(x).T, y[:, None]).solution[:, 0],
            lambda x, y: torch.linalg.solve(_columns(x) @ _columns(x).T, _columns(x) @ y),
        ],
        "y does not occur on the right-hand side. The normal equations are WᵀW θ = Wᵀy.": lambda x, y: (
            torch.linalg.solve(_columns(x).T @ _columns(x), _columns(x).T @ x)
        ),
        "Wᵀ is missing in front of y. The normal equations are WᵀW θ = Wᵀy.": lambda x, y: torch.linalg.solve(
            _columns(x).T @ _columns(x), y
        ),
        "(WᵀW)⁻¹ is missing: Wᵀy is only the right-hand side of the normal equations, WᵀW θ = Wᵀy.": lambda x, y: (
            _columns(x).T @ y
        ),
        "`solve` needs a square matrix, and W is (N, 2). Use `torch.linalg.lstsq`, or the normal equations.": (
            lambda x, y: torch.linalg.solve(_columns(x), y)
        ),
    }
)


# Section 6: principal components -----------------------------------------------------------------------------


def _is_ready_made(frame):
    """Return whether a call is one of a PCA that the exercise asks to build."""
    module = frame.f_globals.get("__name__", "")
    return module.startswith("sklearn.decomposition") or frame.f_code.co_name == "pca_lowrank"


_FACTS = ("what comes back", "the shape of the axes", "the variances", "the axes, up to their signs")


def _facts_of_pca(pca, x, k):
    """Variances, and the axes with their signs settled; for a ready-made PCA only that it is one."""
    before, used = sys.getprofile(), []
    sys.setprofile(
        lambda frame, event, _: used.append(1) if event == "call" and _is_ready_made(frame) else None
    )
    try:
        found = pca(x, k)
    finally:
        sys.setprofile(before)
    if used:
        return dict.fromkeys(_FACTS) | {"what comes back": "what a ready-made PCA has found"}
    facts = _facts_of_result(list(found) if isinstance(found, tuple | list) else found)
    return dict.fromkeys(_FACTS) | facts  # the same keys whatever came back


def _facts_of_result(found):
    match found:
        case [torch.Tensor() as axes, torch.Tensor() as variances] if (
            axes.is_complex() or variances.is_complex()
        ):
            return {"what comes back": "complex numbers"}
        case [torch.Tensor() as axes, torch.Tensor() as variances] if axes.ndim == 2:
            return {
                "what comes back": "axes and variances",
                "the shape of the axes": str(tuple(axes.shape)),
                "the variances": variances,
                "the axes, up to their signs": axes * axes.sum(dim=1, keepdim=True).sign(),
            }
        case [torch.Tensor(), torch.Tensor() as second] if second.ndim == 2:
            return {"what comes back": "the variances first, then the axes"}
        case [torch.Tensor() as axes, torch.Tensor()]:
            return {"what comes back": f"axes with {axes.ndim} axes of their own, not 2"}
        case [*values]:
            return {
                "what comes back": f"{len(values)} values, of type {', '.join(type(v).__name__ for v in values)}"
            }
        case torch.Tensor():
            return {"what comes back": "a single tensor"}
        case None:
            return {"what comes back": "None: is a `return` missing?"}
    return {"what comes back": show(found)}


_CLOUD = normal(40, 3) * torch.tensor([3.0, 1.0, 0.3]) + torch.tensor([5.0, -2.0, 1.0])


@lesson.exercise(
    observe=_facts_of_pca,
    cases={
        "points near the diagonal": (torch.tensor([[1.0, 1.0], [2.0, 2.1], [3.0, 2.9], [4.0, 4.2]]), 1),
        "as many examples as columns": (normal(4, 4, seed=3) * torch.tensor([1.0, 4.0, 2.0, 0.5]) - 3, 2),
        "fewer examples than columns": (normal(4, 6, seed=4) + torch.arange(6), 2),
        "all three axes": (_CLOUD, 3),
        "a rotated cloud in float64": (_CLOUD.double() @ normal(3, 3, seed=1, dtype=torch.float64), 2),
        "columns far from 0": (
            normal(30, 5, seed=2, dtype=torch.float64) * torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]).double() + 7,
            3,
        ),
    },
    hints=[
        "Subtract the mean of the rows, then compute the covariance matrix, "
        "`centred.T @ centred / (N - 1)`, (D, D).",
        "`torch.linalg.eigh` gives eigenvalues in ascending order, and eigenvectors as columns.",
        "Reverse both with `.flip(0)` and `.flip(1)`, transpose the vectors, and take the first k.",
    ],
)
def pca(x, k):
    """Return the first k principal axes of x (N, D) as rows (k, D), and the variances along them (k,).

    The largest variance comes first. Variances are divided by N − 1, the signs of the axes are free.
    """
    centred = x - x.mean(dim=0)
    covariance = centred.T @ centred / (len(x) - 1)  # (D, D)
    variances, vectors = torch.linalg.eigh(covariance)  # ascending; vectors in columns
    return vectors.flip(1).T[:k], variances.flip(0)[:k]


def _axes(x, k):
    """The right axes and variances."""
    return pca.reference(x, k)


def _found(x, k, *, matrix=None, axes=None, variances=None):
    """Axes and variances by `eigh`, with what can go wrong as arguments: matrix(x), axes(vectors, k), variances(…)."""
    spread, vectors = torch.linalg.eigh(matrix(x) if matrix else torch.cov(x.T))  # ascending
    return (
        axes(vectors, k) if axes else vectors.flip(1).T[:k],
        variances(spread, k) if variances else spread.flip(0)[:k],
    )


def _sums(c):
    return c.T @ c


def _matrices(*makes):
    """Answers with each of these matrices in place of the covariance; axes and variances taken rightly."""
    return [lambda x, k, make=make: _found(x, k, matrix=make) for make in makes]


def _taken(*takes):
    """Answers with the axes taken from the eigenvectors so; variances right, ascending, divided by N."""
    ways = (
        {},
        {"variances": lambda spread, k: spread[:k]},
        {"matrix": lambda x: torch.cov(x.T, correction=0)},
    )
    return [lambda x, k, take=take, way=way: _found(x, k, axes=take, **way) for take in takes for way in ways]


def _scaled(*makes):
    """Answers with the right axes, and variances made of the eigenvalues, largest first: make(spread, x)."""
    return [lambda x, k, make=make: (_axes(x, k)[0], make(_axes(x, len(x.T))[1], x)[:k]) for make in makes]


def _svd(x, axes, variances):
    """Axes and variances by `svd`."""
    U, S, Vt = torch.linalg.svd(x - x.mean(dim=0), full_matrices=False)
    return axes(U, Vt), variances(S)


pca.mistakes(
    {
        "The data are not centred: subtract the mean of the rows first, or the first axis "
        "points to the mean.": [
            *_matrices(lambda x: _sums(x) / (len(x) - 1), lambda x: _sums(x) / len(x), _sums),
            lambda x, k: _found(x, k, matrix=lambda x: _sums(x) / (len(x) - 1), axes=lambda v, k: v.T[:k]),
        ],
        "You subtracted one mean of all the numbers. Every column has its own: `x.mean(dim=0)`.": _matrices(
            lambda x: _sums(x - x.mean()) / (len(x) - 1), lambda x: _sums(x - x.mean()) / len(x)
        ),
        "You subtracted the mean of every row. Subtract the mean over the examples, one for each column: "
        "`x.mean(dim=0)`.": _matrices(
            lambda x: torch.cov((x - x.mean(dim=1, keepdim=True)).T),
            lambda x: _sums(x - x.mean(dim=1, keepdim=True)) / (len(x) - 1),
            lambda x: _sums(x - x.mean(dim=1, keepdim=True)) / len(x),
        ),
        "You divided the columns by their standard deviations. That gives different axes; only"
        " subtract the mean here.": _matrices(lambda x: torch.cov(((x - x.mean(dim=0)) / x.std(dim=0)).T)),
        "You subtracted the mean of the columns and then divided by their standard deviations, or took "
        "`corrcoef`: these are the axes of the correlation matrix. Take the covariance.": _matrices(
            lambda x: torch.cov(((x - x.mean(dim=0)) / x.std(dim=0, correction=0)).T),
            lambda x: _sums((x - x.mean(dim=0)) / x.std(dim=0)) / len(x),
        ),
        "The variances are divided by N. The usual estimate, scikit-learn's included, divides "
        "by N − 1.": _matrices(lambda x: torch.cov(x.T, correction=0)),
        "You divided by D, the number of columns, or by D − 1. The covariance is a mean over the N examples: "
        "divide by N − 1.": _matrices(
            lambda x: _sums(x - x.mean(dim=0)) / x.shape[1],
            lambda x: _sums(x - x.mean(dim=0)) / (x.shape[1] - 1),
        ),
        "The sum over the examples is not divided: the covariance matrix is XᵀX / (N − 1), and the variances "
        "are S² / (N − 1).": _matrices(lambda x: _sums(x - x.mean(dim=0))),
        "You multiplied by N − 1 where the sum over the examples has to be divided by it.": _matrices(
            lambda x: _sums(x - x.mean(dim=0)) * (len(x) - 1)
        ),
        "`/ len(x) - 1` divides by N and then subtracts 1 from every entry. Use brackets: "
        "`/ (len(x) - 1)`.": _matrices(lambda x: _sums(x - x.mean(dim=0)) / len(x) - 1),
        "`c @ c.T` is (N, N), a number for every pair of examples. The covariance has one for every pair of "
        "columns: `c.T @ c`, (D, D).": _matrices(
            lambda x: (x - x.mean(dim=0)) @ (x - x.mean(dim=0)).T / (len(x) - 1),
            lambda x: (x - x.mean(dim=0)) @ (x - x.mean(dim=0)).T / len(x),
            lambda x: (x - x.mean(dim=0)) @ (x - x.mean(dim=0)).T,
        ),
        "`torch.cov` takes variables as rows and examples as columns: pass `x.T`, so that the covariance is "
        "(D, D).": _matrices(torch.cov, lambda x: torch.cov(x - x.mean(dim=0))),
        "These are the axes of smallest variance: `eigh` sorts in ascending order, so reverse it.": [
            lambda x, k: _found(x, k, axes=lambda v, k: v.T[:k], variances=lambda spread, k: spread[:k]),
            lambda x, k: _found(
                x,
                k,
                matrix=lambda x: torch.cov(x.T, correction=0),
                axes=lambda v, k: v.T[:k],
                variances=lambda spread, k: spread[:k],
            ),
        ],
        "The k axes are the right ones, but in ascending order: the largest variance should come first.": [
            lambda x, k: _found(x, k, axes=lambda v, k: v.T[-k:], variances=lambda spread, k: spread[-k:]),
            lambda x, k: _found(x, k, axes=lambda v, k: v.T[-k:]),
        ],
        "The variances are right, but these are the axes of smallest variance: reverse the order of the columns "
        "before you take k of them.": [
            lambda x, k: _found(x, k, axes=lambda v, k: v.T[:k]),
            lambda x, k: _found(x, k, axes=lambda v, k: v.T[:k].flip(0)),
        ],
        "The axes are right, but the variances are still in ascending order: reverse them, too, with "
        "`.flip(0)`.": [
            lambda x, k: _found(x, k, variances=lambda spread, k: spread[:k]),
            lambda x, k: _found(x, k, variances=lambda spread, k: spread[-k:]),
        ],
        "`eigh` gives the eigenvectors as columns. These are rows of that matrix: transpose it"
        " before taking k.": _taken(lambda v, k: v.flip(1)[:k], lambda v, k: v[:k], lambda v, k: v[-k:]),
        "The axes should be rows, (k, D). Yours are columns: transpose.": _taken(
            lambda v, k: v.flip(1)[:, :k], lambda v, k: v[:, :k], lambda v, k: v[:, -k:]
        ),
        "You reversed the entries of every eigenvector. The eigenvectors are the columns: reverse their order "
        "with `.flip(1)`, then transpose.": _taken(
            lambda v, k: v.flip(0).T[:k], lambda v, k: v.flip(0, 1).T[:k], lambda v, k: v.flip(0)[:k]
        ),
        "You returned all the axes. The exercise asks for the first k.": lambda x, k: _axes(x, x.shape[1]),
        "The slice begins at 1, so that the first axis is left out: the first k are `[:k]`.": [
            lambda x, k: tuple(one[1:] for one in _axes(x, k + 1)),
            lambda x, k: tuple(one[1:] for one in _axes(x, k)),
        ],
        "These are the coordinates of the examples along the axes, (N, k). Return the axes "
        "themselves.": lambda x, k: ((x - x.mean(dim=0)) @ _axes(x, k)[0].T, _axes(x, k)[1]),
        "The axes should have length 1. Yours are stretched by the standard deviations along them, or by the "
        "variances.": [
            lambda x, k: (_axes(x, k)[0] * _axes(x, k)[1].sqrt()[:, None], _axes(x, k)[1]),
            lambda x, k: (_axes(x, k)[0] * _axes(x, k)[1][:, None], _axes(x, k)[1]),
        ],
        "Complex numbers came back: `eig` is for any matrix, and sorts nothing. The covariance is symmetric: "
        "`torch.linalg.eigh`.": lambda x, k: (
            torch.linalg.eig(torch.cov(x.T))[1].T[:k],
            torch.linalg.eig(torch.cov(x.T))[0][:k],
        ),
        "`eig` does not sort the eigenvalues. The covariance is symmetric: take `torch.linalg.eigh`, which sorts "
        "them in ascending order.": lambda x, k: (
            torch.linalg.eig(_sums(x - x.mean(dim=0)) / (len(x) - 1))[1].real.T[:k],
            torch.linalg.eig(_sums(x - x.mean(dim=0)) / (len(x) - 1))[0].real[:k],
        ),
        "One tensor came back. Return two, the axes and the variances: `return axes, variances`.": lambda x, k: (
            _axes(x, k)[0]
        ),
        "You return the variances first. Return the axes, then the variances.": lambda x, k: _axes(x, k)[
            ::-1
        ],
        "These are standard deviations. The variance is their square.": _scaled(
            lambda spread, x: spread.clamp(min=0).sqrt()
        ),
        "Those are squares of the variances: the eigenvalues are the variances already.": _scaled(
            lambda spread, x: spread**2
        ),
        "These are fractions of the total variance. Return the variances themselves.": _scaled(
            lambda spread, x: spread / spread.sum(), lambda spread, x: spread.cumsum(0) / spread.sum()
        ),
        "These are the variances of the columns of x. Return those along the axes: the eigenvalues.": [
            lambda x, k: (_axes(x, k)[0], x.var(dim=0)[:k]),
            lambda x, k: (_axes(x, k)[0], x.var(dim=0).sort(descending=True).values[:k]),
        ],
        "N − 1 is divided out twice: the eigenvalues of the covariance are the variances already.": _scaled(
            lambda spread, x: spread / (len(x) - 1)
        ),
        "The first factor of the SVD, U, has a row for each example. The axes are the rows of the "
        "third, Vᵀ.": [
            lambda x, k: _svd(x, lambda U, Vt: U.T[:k], lambda S: S[:k] ** 2 / (len(x) - 1)),
            lambda x, k: _svd(x, lambda U, Vt: U[:, :k], lambda S: S[:k] ** 2 / (len(x) - 1)),
        ],
        "`svd` returns Vᵀ, whose rows are the axes already: take `Vt[:k]`, without another transpose.": [
            lambda x, k: _svd(x, lambda U, Vt: Vt.T[:k], lambda S: S[:k] ** 2 / (len(x) - 1)),
            lambda x, k: _svd(x, lambda U, Vt: Vt[:, :k], lambda S: S[:k] ** 2 / (len(x) - 1)),
        ],
        "These are singular values. Square them and divide by N − 1 to get the variances.": [
            lambda x, k: _svd(x, lambda U, Vt: Vt[:k], lambda S: S[:k]),
            lambda x, k: _svd(x, lambda U, Vt: Vt[:k], lambda S: S[:k] / (len(x) - 1)),
            lambda x, k: _svd(x, lambda U, Vt: Vt[:k], lambda S: S[:k] / len(x)),
        ],
        "That is a ready-made PCA. Here the exercise is to build it: subtract the mean, and use "
        "`torch.linalg.eigh` of the covariance, or `torch.linalg.svd`.": lambda x, k: (
            torch.pca_lowrank(x, k)[2].T,
            torch.ones(k),
        ),
    }
)


# Part 2: all distances at once -------------------------------------------------------------------------------


def _distances(pairwise_distances, x, y):
    """What the function gives, but distances that may be rounding, of a vector to itself, become 0."""
    found = pairwise_distances(x, y)
    return torch.where(found < 0.1, 0, found) if isinstance(found, torch.Tensor) else found


@lesson.exercise(
    observe=_distances,
    cases={
        "two points and the origin": (torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0]])),
        "a single pair": (normal(1, 3, seed=8), normal(1, 3, seed=9)),
        "an ordinary batch": (normal(2, 3), normal(4, 3, seed=1)),
        "square matrices": (normal(3, 3, seed=2), normal(3, 3, seed=3)),
        "float64 numbers": (
            normal(5, 2, seed=4, dtype=torch.float64),
            normal(3, 2, seed=5, dtype=torch.float64),
        ),
        "rows of 784 numbers": (normal(6, 784, seed=6), normal(7, 784, seed=7)),
        "rows against themselves": (normal(20, 784, seed=6), normal(20, 784, seed=6)),
    },
    hints=[
        "Give x one more axis: `x[:, None, :]` has the shape (N, 1, D); subtracting y (M, D) broadcasts to "
        "(N, M, D).",
        "Or, without the large tensor: |x − y|² = |x|² + |y|² − 2 x·y, where `x @ y.T` gives all x·y at "
        "once.",
        "Rounding can make that square slightly negative, and its root nan: `.clamp(min=0).sqrt()`.",
    ],
)
def pairwise_distances(x, y):
    """Return the distance of every row of x (N, D) to every row of y (M, D), without a loop: shape (N, M)."""
    squares = (x**2).sum(dim=1, keepdim=True) + (y**2).sum(dim=1) - 2 * x @ y.T  # (N, 1) + (M,) - (N, M)
    return squares.clamp(min=0).sqrt()


def _squares(x, y, own=1, other=1, dots=2):
    """The squared distances |x|² + |y|² − 2 x·y, with other factors."""
    return own * (x**2).sum(dim=1, keepdim=True) + other * (y**2).sum(dim=1) - dots * x @ y.T


def _by_squares(*makes):
    """Answers made of these squares: with the clamped root, the root alone, and no root."""
    ends = (lambda s: s.clamp(min=0).sqrt(), lambda s: s.sqrt(), lambda s: s)
    return [lambda x, y, make=make, end=end: end(make(x, y)) for make in makes for end in ends]


def _by_differences(*makes):
    """Answers made of the differences (N, M, D)."""
    return [lambda x, y, make=make: make(x[:, None] - y) for make in makes]


pairwise_distances.mistakes(
    {
        "These are squared distances. Take the square root.": lambda x, y: ((x[:, None] - y) ** 2).sum(dim=2),
        "The matrix is transposed: rows belong to x, columns to y.": [
            lambda x, y: torch.cdist(y, x),
            lambda x, y: ((x[:, None] - y) ** 2).sum(dim=2).T,
            lambda x, y: (x[:, None] - y).abs().sum(dim=2).T,
        ],
        "This pairs the rows of x and y one to one. Every row of x has to meet every row of y:"
        " x, or |x|², needs one more axis, (N, 1, …) against (M, …).": [
            lambda x, y: (x - y).norm(dim=1),
            lambda x, y: ((x - y) ** 2).sum(dim=1),
            lambda x, y: (x - y).norm(dim=1, keepdim=True),
        ],
        "The sum runs over the wrong axis: sum over the D coordinates, the last axis.": _by_differences(
            lambda d: d.norm(dim=1),
            lambda d: d.norm(dim=0),
            lambda d: (d**2).sum(dim=1),
            lambda d: (d**2).sum(dim=0),
        ),
        "This adds up absolute differences, the city-block distance. Square them, add them up,"
        " and take the root.": _by_differences(lambda d: d.abs().sum(dim=2)),
        "The differences are added up as they are, and cancel. Square them first, add them up, and take the "
        "root.": _by_differences(
            lambda d: d.sum(dim=2), lambda d: d.sum(dim=2).abs(), lambda d: d.sum(dim=2) ** 2
        ),
        "These are the differences, (N, M, D). Square them, add them up over the last axis, and take the "
        "root.": _by_differences(lambda d: d, lambda d: d.abs(), lambda d: d**2, lambda d: (d**2).sqrt()),
        "One number came out for all pairs. Add up over the last axis only: `dim=2`.": _by_differences(
            lambda d: d.norm(), lambda d: (d**2).sum().sqrt(), lambda d: (d**2).sum()
        ),
        "The factor 2 is missing from |x − y|² = |x|² + |y|² − 2 x·y.": _by_squares(
            lambda x, y: _squares(x, y, dots=1)
        ),
        "A plus stands where a minus belongs. The distance is the length of x − y, and |x − y|² = "
        "|x|² + |y|² − 2 x·y.": _by_squares(lambda x, y: _squares(x, y, dots=-2)),
        "The product is missing from |x − y|² = |x|² + |y|² − 2 x·y.": _by_squares(
            lambda x, y: _squares(x, y, dots=0)
        ),
        "|y|² is missing from |x − y|² = |x|² + |y|² − 2 x·y.": _by_squares(
            lambda x, y: _squares(x, y, other=0)
        ),
        "The product counts twice, not four times: |x − y|² = |x|² + |y|² − 2 x·y.": _by_squares(
            lambda x, y: _squares(x, y, dots=4)
        ),
        "|x|² is the sum of the squares, not their mean: |x − y|² = |x|² + |y|² − 2 x·y.": _by_squares(
            lambda x, y: (x**2).mean(dim=1, keepdim=True) + (y**2).mean(dim=1) - 2 * x @ y.T
        ),
        "|x|² is missing from |x − y|² = |x|² + |y|² − 2 x·y.": _by_squares(
            lambda x, y: _squares(x, y, own=0)
        ),
        "|x|² and |y|² are both added: |x − y|² = |x|² + |y|² − 2 x·y.": _by_squares(
            lambda x, y: _squares(x, y, other=-1)
        ),
        "The lengths are not squared: |x − y|² = |x|² + |y|² − 2 x·y.": _by_squares(
            lambda x, y: x.norm(dim=1, keepdim=True) + y.norm(dim=1) - 2 * x @ y.T
        ),
        "|x|² and |y|² have the shapes (N,) and (M,), which do not make (N, M). Keep the axis of the "
        "first, (N, 1): `keepdim=True`.": [
            {"sum(dim=1, keepdim=True)": "sum(dim=1)"},
            lambda x, y: ((x**2).sum(dim=1) + (y**2).sum(dim=1) - 2 * x @ y.T).sqrt(),
        ],
        "|x|² belongs to the rows, (N, 1), and |y|² to the columns, (M,). Here it is the other way round, or "
        "both are columns.": [
            lambda x, y: (
                ((x**2).sum(dim=1) + (y**2).sum(dim=1, keepdim=True) - 2 * x @ y.T).clamp(min=0).sqrt()
            ),
            lambda x, y: (
                ((x**2).sum(dim=1, keepdim=True) + (y**2).sum(dim=1, keepdim=True) - 2 * x @ y.T)
                .clamp(min=0)
                .sqrt()
            ),
        ],
        "The squares are added up along the wrong axis. |x|² is one number for each row: `dim=1`.": [
            lambda x, y: (
                ((x**2).sum(dim=0, keepdim=True) + (y**2).sum(dim=0) - 2 * x @ y.T).clamp(min=0).sqrt()
            ),
            lambda x, y: ((x**2).sum(dim=0) + (y**2).sum(dim=0) - 2 * x @ y.T).clamp(min=0).sqrt(),
        ],
        "|x|² is one number for all rows here. Each row has its own: `dim=1`.": lambda x, y: (
            ((x**2).sum() + (y**2).sum() - 2 * x @ y.T).clamp(min=0).sqrt()
        ),
        "x·y is needed for every pair of rows, (N, M): `x @ y.T`, not `x * y`.": lambda x, y: (
            ((x**2).sum(dim=1, keepdim=True) + (y**2).sum(dim=1) - 2 * (x * y).sum(dim=1)).clamp(min=0).sqrt()
        ),
        "`x @ y` has no place for the rows of y. For every pair of rows take `x @ y.T`, (N, D) @ (D, M).": (
            lambda x, y: ((x**2).sum(dim=1, keepdim=True) + (y**2).sum(dim=1) - 2 * x @ y).clamp(min=0).sqrt()
        ),
        "y does not occur, or x does not: these are the distances of the rows of one tensor to each other.": [
            lambda x, y: torch.cdist(x, x),
            lambda x, y: torch.cdist(y, y),
        ],
        "These are dot products or cosines. The distance of two rows is the length of their difference.": [
            lambda x, y: x @ y.T,
            lambda x, y: F.normalize(x) @ F.normalize(y).T,
            lambda x, y: 1 - F.normalize(x) @ F.normalize(y).T,
        ],
        "This takes the mean of the squared differences. A distance takes their sum.": [
            *_by_differences(lambda d: (d**2).mean(dim=2).sqrt(), lambda d: (d**2).mean(dim=2)),
            lambda x, y: (_squares(x, y) / x.shape[1]).clamp(min=0).sqrt(),
        ],
        "Something is added under the root, so that every distance is a little too long. `.clamp(min=0)` needs no "
        "such number.": _by_differences(
            *(lambda d, e=e: ((d**2).sum(dim=2) + e).sqrt() for e in (1e-4, 1e-3, 0.01, 0.1))
        ),
        "`clamp(max=0)` keeps the negative numbers. You want the others: `clamp(min=0)`.": lambda x, y: (
            _squares(x, y).clamp(max=0).sqrt()
        ),
        "`clamp` has an upper limit here, and cuts off the large distances: `clamp(min=0)` has only a lower "
        "one.": lambda x, y: _squares(x, y).clamp(0, 1).sqrt(),
        "The squares are kept above 1, and small distances become 1: `clamp(min=0)`.": lambda x, y: (
            _squares(x, y).clamp(min=1).sqrt()
        ),
        "`F.pairwise_distance` adds 0.000001 to every difference before it squares. `eps=0` leaves that "
        "out; `torch.cdist` does not do it at all.": lambda x, y: F.pairwise_distance(x[:, None], y[None]),
        "This is the largest difference of a coordinate. Add up the squares of all D, and take the "
        "root.": _by_differences(lambda d: d.abs().amax(dim=2)),
        "There is a root too many: the length is the root of the sum of squares.": _by_differences(
            lambda d: d.norm(dim=2).sqrt()
        ),
        "Rounding made a square slightly negative, and its root is nan: put `.clamp(min=0)` "
        "before the root.": lambda x, y: _squares(x, y).sqrt(),
    }
)


@pairwise_distances.remark(
    "A remark: along the way you create a tensor of shape (N, M, D). For 1,000 digits against 55,000 it "
    "would take 172 GB. With |x|² + |y|² − 2 x·y nothing is larger than (N, M)."
)
def _(attempt):
    with _Watch() as watch:
        attempt(torch.ones(50, 30), torch.ones(40, 30))
    return watch.elements >= 50 * 40 * 30


@pairwise_distances.remark(
    "A remark: you loop over the rows, a million iterations for a million digits. Tensors need no loop."
)
def _(attempt):
    with _Watch() as watch:
        attempt(torch.ones(50, 30), torch.ones(40, 30))
    return len(watch.called) >= 40


# Part 2: shapes ----------------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "two rows and two columns": (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([10.0, 1.0])),
        "a single column": (torch.tensor([[2.0], [-1.0], [4.0]]), torch.tensor([3.0])),
        "a single row": (torch.tensor([[2.0, -1.0, 4.0]]), torch.tensor([3.0, 5.0, -2.0])),
        "more columns than rows": (normal(2, 5), normal(5, seed=1)),
        "more rows than columns": (normal(6, 3, seed=2), normal(3, seed=3)),
        "a square matrix in float64": (
            normal(4, 4, seed=4, dtype=torch.float64),
            normal(4, seed=5, dtype=torch.float64),
        ),
    },
    hints=[
        "Column j of A is `A[:, j]`. Multiply each column by its number x[j], then add them up.",
        "Begin with `torch.zeros(len(A), dtype=A.dtype)`, and let j run over `range(A.shape[1])`.",
    ],
)
def matvec_by_columns(A, x):
    """Return the product of A (M, D) and x (D,), shape (M,), as the sum of A's columns weighted by x."""
    total = torch.zeros(len(A), dtype=A.dtype)
    for j in range(A.shape[1]):
        total = total + x[j] * A[:, j]
    return total


def _weighted(*weights):
    """Answers that weight column j with each of these numbers: weight(x, j)."""
    return [
        lambda A, x, weight=weight: sum(weight(x, j) * A[:, j] for j in range(A.shape[1]))
        for weight in weights
    ]


matvec_by_columns.mistakes(
    {
        "You added up weighted rows of A: `A[j]` is a row; a column is `A[:, j]`.": [
            lambda A, x: sum(x[j] * A[j] for j in range(len(x))),
            lambda A, x: sum(weight * row for weight, row in zip(x, A, strict=False)),
            lambda A, x: sum(x[i] * A[i] for i in range(len(A))),
            lambda A, x: sum(
                (x[j] * A[j] for j in range(len(x))), start=torch.zeros(A.shape[0], dtype=A.dtype)
            ),
        ],
        "These are the separate products, one column for each j. Add them up.": [
            lambda A, x: A * x,
            lambda A, x: (A * x).T,
        ],
        "The columns are added without their weights: multiply column j by x[j].": lambda A, x: A.sum(dim=1),
        "The numbers of each weighted column are added up. Add the columns to each other: one number for each row of "
        "A.": lambda A, x: (A * x).sum(dim=0),
        "The weighted columns are put one after another. Add them.": lambda A, x: (A * x).T.flatten(),
        "The weighted columns are multiplied with each other. Add them.": lambda A, x: (A * x).prod(dim=1),
        "A list of weighted columns came back. Add them up.": lambda A, x: list((A * x).T),
        "x[i] weights row i here, since `x[:, None]` runs down the rows. Column j is weighted with x[j]: "
        "`A * x`.": [
            lambda A, x: (A * x[:, None]).sum(dim=1),
            lambda A, x: (A * x[:, None]).sum(dim=0),
        ],
        "The last column is missing: does the loop end too early?": {"A.shape[1]": "A.shape[1] - 1"},
        "The first column is missing: the loop begins at 0.": {"range(A": "range(1, A"},
        "Only the last column is left: each round of the loop should add to the sum, not replace it.": {
            "total + x": "x"
        },
        "The loop runs over the number of rows. Column j needs j up to the number of columns, "
        "`A.shape[1]`.": {"range(A.shape[1])": "range(len(A))"},
        "The sum begins with D zeros, but a column has M numbers: `torch.zeros(A.shape[0])`.": {
            "len(A)": "len(x)"
        },
        "The sum begins with ones, and they stay in it: begin with zeros.": {"zeros": "ones"},
        "The sum begins with the first column as it is: multiply it by x[0].": [
            lambda A, x: A[:, 0] + A[:, 1:] @ x[1:],
            lambda A, x: A[:, 0] + A @ x,
        ],
        "The first column counts twice: the sum begins with it, and so does the loop.": lambda A, x: (
            x[0] * A[:, 0] + A @ x
        ),
        "The column is added to its weight. Multiply the two: `x[j] * A[:, j]`.": {"x[j] * A": "x[j] + A"},
        "The column is divided by its weight. Multiply the two: `x[j] * A[:, j]`.": {
            "x[j] * A[:, j]": "A[:, j] / x[j]"
        },
        "The weighted columns are subtracted. Add them: `total + x[j] * A[:, j]`.": {
            "total + x": "total - x"
        },
        "Only the first column is there: is the `return` inside the loop?": [
            lambda A, x: x[0] * A[:, 0],
            lambda A, x: A[:, 0],
        ],
        "Every column has the same weight. Column j is weighted with x[j].": _weighted(
            lambda x, j: x[0], lambda x, j: x[-1], lambda x, j: x.sum(), lambda x, j: x.mean()
        ),
        "Column j is weighted with j itself, not with x[j].": _weighted(lambda x, j: j),
        "The weights come in reverse order. Column j is weighted with x[j].": _weighted(
            lambda x, j: x[len(x) - 1 - j]
        ),
        "The weights are shifted by one. Column j is weighted with x[j].": _weighted(
            lambda x, j: x[j - 1], lambda x, j: x[(j + 1) % len(x)]
        ),
        "The weights are squared, or lose their sign: column j is weighted with x[j] itself.": _weighted(
            lambda x, j: x[j] ** 2, lambda x, j: x[j].abs()
        ),
        "Every round takes the same column. Column j is `A[:, j]`.": [
            lambda A, x: sum(x[j] * A[:, 0] for j in range(len(x))),
            lambda A, x: sum(x[j] * A[:, -1] for j in range(len(x))),
        ],
        "`A[:, j]` is missing: the sum of the weights alone, one number, is no product.": lambda A, x: (
            x.sum()
        ),
        "Everything is added up to one number. Keep the rows apart: the columns are added to each other, "
        "`dim=1`.": lambda A, x: (A * x).sum(),
        "The rows of A are added up here, as `x @ A` and `A.T @ x` do. The product is the sum of A's columns.": [
            lambda A, x: A.T @ x,
            lambda A, x: x @ A,
            lambda A, x: (A.T * x).sum(dim=1),
        ],
        "You took the mean of the weighted columns. The product is their sum.": lambda A, x: (A * x).mean(
            dim=1
        ),
        "A list of numbers came back. Join them to a tensor (M,): `torch.stack(…)`.": lambda A, x: list(
            A @ x
        ),
    }
)


@matvec_by_columns.remark(
    "A remark: that is PyTorch's own product. It is right, but the exercise is to build it from the columns: "
    "multiply column j, `A[:, j]`, by x[j] and add them up."
)
def _(attempt):
    with _Watch() as watch:
        attempt(torch.ones(3, 2), torch.ones(2))
    return any(
        name in watch.called for name in ("matmul", "__matmul__", "mv", "mm", "einsum", "addmv", "linear")
    )


quiz = lesson.quiz(
    "quiz",
    hints=[
        "Write one shape above the other, aligned at the right. Axes that have size 1 or are missing get "
        "stretched.",
        "In a product the inner sizes have to match, and they disappear; in a reduction the axis `dim` "
        "disappears.",
    ],
    product=Question(
        (64, 10),
        "(64, 784) @ (784, 10): the inner 784 disappears.",
        {
            (784, 784): "The inner axes are summed over and disappear; the outer ones, 64 and 10, stay.",
            (10, 64): "The outer axes keep the order of the factors: 64, then 10.",
            (64, 784, 10): "The inner 784 is summed over.",
        },
    ),
    broadcast=Question(
        (5, 3),
        "(5, 1) and (3,): aligned at the right, 1 against 3 is stretched, and the 5 has no partner.",
        {
            (5, 1): "The axis of size 1 is stretched to match the 3 of the other tensor.",
            (5,): "(5, 1) is not a vector. Align at the right: 1 meets 3, and 5 meets nothing.",
            (3, 5): "Align the shapes at the right: the 3 is the last axis.",
            (5, 4): "Broadcasting stretches axes, it does not join them.",
            (5, 1, 3): "Broadcasting aligns axes, it does not put them side by side: the 1 meets the 3.",
        },
    ),
    reduction=Question(
        (10, 28, 28),
        "The channel axis, number 1, is gone.",
        {
            (10, 1, 28, 28): "That would be with `keepdim=True`.",
            (1, 28, 28): "That is the mean over axis 0, the examples. Axis 1 holds the channels.",
            (3, 28, 28): "That is the mean over axis 0: axes count from 0, and axis 1 holds the channels.",
            (
                10,
                3,
                28,
            ): "That is a mean over an axis of the image. Axes count from 0: axis 1 holds the channels.",
        },
    ),
    einsum=Question(
        (8, 5),
        "b and i appear after the arrow: 8 and 5. j does not, so it is summed over.",
        {
            (8, 5, 3): "An index that does not appear after the arrow, here j, is summed over.",
            (8, 8, 5): "b is the same axis in both factors, and appears after the arrow once.",
            (5,): "b appears after the arrow as well: one result for each of the 8 examples.",
            (5, 8): "After the arrow comes b first, then i.",
            (8, 3): "Only b and i appear after the arrow; the 3 belongs to j.",
        },
    ),
    impossible=Question(
        "c",
        "Aligned at the right, 4 meets 3, and neither of them is 1.",
        {
            "a": "(3,) meets the last 3, and the 4 has no partner: that works.",
            "b": "(4, 1) has a 1 where the other has 3: that works.",
            "d": "A single number broadcasts with every shape.",
        },
    ),
)


# Part 2: probability -----------------------------------------------------------------------------------------


@lesson.exercise(
    cases={
        "two numbers": (torch.tensor([1.0, 3.0]),),
        "five numbers": (torch.tensor([2.0, 4.0, 5.0, 7.0, 10.0]),),
        "equal numbers": (torch.tensor([2.5, 2.5, 2.5]),),
        "numbers far from 0": (-60 + 2 * normal(11, seed=2),),
        "float64 numbers": (5 + 2 * normal(37, dtype=torch.float64),),
        "many numbers": (normal(700, seed=1, dtype=torch.float64),),
    },
    hints=[
        "How much does a mean of N numbers scatter? Less than a single number, by a factor of √N.",
        "`x.std() / len(x) ** 0.5`",
    ],
)
def standard_error(x):
    """Return the standard error of the mean of the numbers x (N,), estimated from them.

    The standard deviation is that of `x.std()`, which divides by N − 1.
    """
    return x.std() / math.sqrt(len(x))


def _spread(x, *, correction=1.0, centre=True):
    """The root of the mean square, with what can go wrong as arguments."""
    squares = (x - x.mean() if centre else x) ** 2
    return (squares.sum() / (len(x) - correction)) ** 0.5


def _over_root(*spreads):
    """Answers that divide each of these by √N, by N and by √(N − 1)."""
    ways = (lambda n: math.sqrt(n), lambda n: n, lambda n: math.sqrt(n - 1))
    return [lambda x, s=s, way=way: s(x) / way(len(x)) for s in spreads for way in ways]


def _divided(*ways):
    """Answers that divide the standard deviation by each of these numbers, made of N."""
    return [lambda x, way=way: x.std() / way(len(x)) for way in ways]


standard_error.mistakes(
    {
        "σ/N falls too fast: the error of a mean falls with the root of N.": _divided(lambda n: n),
        "That is how much a single number scatters. A mean of N of them scatters less, by √N.": lambda x: (
            x.std()
        ),
        "That is the variance of a single number. Take the standard deviation, and divide it by √N.": [
            lambda x: x.var(),
            lambda x: x.var(correction=0),
        ],
        "You divided the variance by √N. Take its square root first: the standard error is σ/√N.": [
            lambda x: x.var() / math.sqrt(len(x)),
            lambda x: x.var(correction=0) / math.sqrt(len(x)),
        ],
        "This is the variance of the mean. Its square root is the standard error.": [
            lambda x: x.var() / len(x),
            lambda x: x.var(correction=0) / len(x),
        ],
        "The variance is divided by N − 1, and it has its own N − 1 already. The standard error is the root of "
        "`x.var() / len(x)`.": [
            lambda x: x.var() / (len(x) - 1),
            lambda x: x.var() / math.sqrt(len(x) - 1),
        ],
        "The variance is divided by N², and no root is taken: the standard error is σ/√N.": [
            lambda x: x.var() / len(x) ** 2,
            lambda x: x.var(correction=0) / len(x) ** 2,
        ],
        "Your standard deviation divides by N. Estimated from a sample, it divides by N − 1, as "
        "`x.std()` does.": lambda x: x.std(correction=0) / math.sqrt(len(x)),
        "Your standard deviation divides by N, where `x.std()` divides by N − 1; and the error of a mean falls with "
        "the root of N, not with N.": [
            lambda x: x.std(correction=0) / len(x),
            lambda x: x.std(correction=0) / (len(x) - 1),
        ],
        "Under the root, Σ (x − x̄)² is divided by N alone. It is divided by N − 1 for the variance, and by N once "
        "more for the mean.": lambda x: x.std(correction=0),
        "`x.std()` already divides by N − 1. The mean of N numbers scatters by σ/√N.": _divided(
            lambda n: math.sqrt(n - 1), lambda n: n - 1
        ),
        "N numbers have a mean that scatters by σ/√N: neither N + 1 nor N − 2 belongs under the root.": _divided(
            lambda n: math.sqrt(n + 1), lambda n: torch.tensor(n - 2.0).sqrt()
        ),
        "`** 1 / 2` is a power of 1, and then a division by 2. Write `** 0.5`, or `math.sqrt(…)`.": [
            lambda x: x.std() / len(x) ** 1 / 2,
            lambda x: x.var() / len(x) ** 1 / 2,
            lambda x: x.std() / (len(x) ** 1 / 2),
        ],
        "The root is taken of σ/N, the standard deviation included. Only N stands under it: σ/√N.": lambda x: (
            (x.std() / len(x)).sqrt()
        ),
        "The root is taken of σ too, which is one already: the standard error is σ/√N.": lambda x: (
            x.std() / math.sqrt(len(x))
        ).sqrt(),
        "σ√N grows with N. More numbers make the mean more certain, so divide.": [
            lambda x: x.std() * math.sqrt(len(x)),
            lambda x: x.std() * len(x),
        ],
        "The fraction is upside down: the standard error is σ/√N.": lambda x: math.sqrt(len(x)) / x.std(),
        "That is the logarithm of N, or its square, below σ. A mean of N numbers scatters by σ/√N.": _divided(
            lambda n: math.log(n), lambda n: n**2
        ),
        "1/√N is only the factor. Multiply it by the standard deviation of the numbers, `x.std()`.": lambda x: (
            1 / math.sqrt(len(x))
        ),
        "That is the mean divided by √N. What scatters is measured by the standard deviation: `x.std()`.": (
            _over_root(lambda x: x.mean())
        ),
        "That is the mean itself. Its standard error is σ/√N: `x.std() / len(x) ** 0.5`.": lambda x: x.mean(),
        "Standard deviation over mean is a relative error. The standard error is σ/√N, in the units of x.": [
            lambda x: x.std() / x.mean(),
            lambda x: x.std() / math.sqrt(len(x)) / x.mean(),
        ],
        "You took the root of the mean square, which contains the mean itself. The standard deviation "
        "measures distances from the mean: `x.std()`.": [
            lambda x: _spread(x, centre=False, correction=0) / math.sqrt(len(x)),
            lambda x: _spread(x, centre=False) / math.sqrt(len(x)),
            lambda x: _spread(x, centre=False, correction=0) / len(x),
            lambda x: x.norm() / math.sqrt(len(x)),
            lambda x: _spread(x, centre=False) / len(x),
            lambda x: x.norm() / len(x) ** 0.5 / (len(x) - 1),
        ],
        "√(p(1 − p)/N) is for ones and zeros. For any numbers the standard error is σ/√N, with `x.std()`.": [
            lambda x: (x.mean() * (1 - x.mean()) / len(x)).sqrt(),
            lambda x: x.mean() * (1 - x.mean()) / len(x),
        ],
        "That is half the width of a 95 % interval. The standard error is one σ/√N, without a factor.": [
            {"return ": "return 1.96 * "},
            {"return ": "return 2 * "},
        ],
        "This is the mean absolute deviation over √N. The standard error takes the standard deviation, "
        "the root of the mean square.": [
            *_over_root(lambda x: (x - x.mean()).abs().mean()),
            lambda x: (x - x.mean()).abs().sum() / (len(x) - 1) / math.sqrt(len(x)),
            lambda x: (x - x.median()).abs().median() / math.sqrt(len(x)),
        ],
        "The squares of the deviations are added up, but not divided by N − 1: that is not yet the standard "
        "deviation.": [
            lambda x: (x - x.mean()).norm(),
            lambda x: (x - x.mean()).norm() ** 2,
            lambda x: (x - x.mean()).norm() ** 2 / math.sqrt(len(x)),
        ],
        "The deviations add up to 0, so their mean says nothing. Square them first: that is `x.std()`.": [
            lambda x: (x - x.mean()).mean() / math.sqrt(len(x)),
            lambda x: (x - x.mean()).sum() / math.sqrt(len(x)),
        ],
        "The range of the numbers grows with N. Take the standard deviation, `x.std()`, over √N.": [
            lambda x: (x.max() - x.min()) / math.sqrt(len(x))
        ],
        "These are N numbers, each one's own deviation. The standard error is a single one: "
        "`x.std() / len(x) ** 0.5`.": [
            lambda x: (x - x.mean()) / math.sqrt(len(x)),
            lambda x: (x - x.mean()).abs() / math.sqrt(len(x)),
            lambda x: (x - x.mean()) / x.std(),
        ],
    }
)


@lesson.exercise(
    cases={
        "a single number at the mean": (torch.tensor([0.0]), 0.0, 1.0),
        "a number 100 σ from the mean": (torch.tensor([100.0]), 0.0, 1.0),
        "two numbers": (torch.tensor([1.0, 2.5]), 2.0, 0.5),
        "an ordinary sample": (normal(5, seed=1), -0.7, 1.7),
        "a narrow Gaussian": (3 + 0.1 * normal(9, seed=2), 3.0, 0.1),
        "float64 numbers": (normal(7, dtype=torch.float64), 0.3, 2.3),
    },
    hints=[
        "The density is exp(−(x − μ)² / 2σ²) / (σ√(2π)). Work out minus its logarithm on paper first.",
        "Three terms: (x − μ)² / 2σ², ln σ, ½ ln 2π. The last one is `0.5 * math.log(2 * math.pi)`.",
        "The exponential never has to be computed; for x = 100 it would be 0, and its logarithm −inf.",
    ],
)
def gaussian_nll(x, mu, sigma):
    """Return the mean of −ln p(x) over the numbers x (N,), for a Gaussian.

    Its mean is mu, its standard deviation sigma.
    """
    return ((x - mu) ** 2 / (2 * sigma**2)).mean() + math.log(sigma) + 0.5 * math.log(2 * math.pi)


_SQUARES = {  # the first term, the mean of (x − μ)² / 2σ², gone wrong
    "The factor ½ in front of the square is missing: (x − μ)² / 2σ².": [lambda d, s: (d**2 / s**2).mean()],
    "`/ 2 * sigma**2` divides by 2 and multiplies by σ². Use brackets: `/ (2 * sigma**2)`.": [
        lambda d, s: (d**2 / 2 * s**2).mean(),
        lambda d, s: (d**2 * s**2).mean(),
    ],
    "`(2 * sigma) ** 2` squares the 2 as well. The denominator is 2σ².": [
        lambda d, s: (d**2 / (2 * s) ** 2).mean()
    ],
    "The square is divided by 2σ. Divide it by 2σ².": [
        lambda d, s: (d**2 / (2 * s)).mean(),
        lambda d, s: (d**2 / s).mean(),
    ],
    "The square is not divided by σ²: the first term is (x − μ)² / 2σ².": [
        lambda d, s: (d**2 / 2).mean(),
        lambda d, s: (d**2).mean(),
    ],
    "x − μ is not squared: −ln p contains (x − μ)² / 2σ².": [
        lambda d, s: (d / (2 * s**2)).mean(),
        lambda d, s: (d / s).mean() / 2,
    ],
    "You took the size of x − μ, |x − μ|. It is squared: −ln p contains (x − μ)² / 2σ².": [
        lambda d, s: (d.abs() / (2 * s**2)).mean(),
        lambda d, s: (d.abs() / s).mean(),
    ],
    "You squared the mean of x − μ, in which the deviations cancel. Square first, then take the mean.": [
        lambda d, s: d.mean() ** 2 / (2 * s**2)
    ],
    "The square has a minus sign. The density has exp(−(x − μ)² / 2σ²), so −ln p contains + (x − μ)² / 2σ².": [
        lambda d, s: -(d**2).mean() / (2 * s**2)
    ],
    "The squares are added up. Take their mean, like that of the other terms.": [
        lambda d, s: (d**2).sum() / (2 * s**2)
    ],
    "`norm` takes the root of the sum of squares. The first term is the mean of (x − μ)² / 2σ².": [
        lambda d, s: d.norm() / (2 * s**2)
    ],
    "The first term is missing: the mean of (x − μ)² / 2σ².": [lambda d, s: 0.0],
    "`sum() / (N − 1)` is for estimating a variance. Here divide by N: `mean()`.": [
        lambda d, s: (d**2).sum() / (torch.tensor(len(d) - 1.0) * 2 * s**2),
        lambda d, s: d.var() / (2 * s**2),
    ],
}
_LOGS = {  # the second term, ln σ, gone wrong
    "ln σ is missing: without it a wide Gaussian costs nothing.": lambda s: 0.0,
    "The middle term is ln σ, not ln σ²: with σ² it would be ½ ln σ².": lambda s: 2 * math.log(s),
    "The middle term is ln σ, without a factor ½: that belongs to ln σ², the variance.": lambda s: (
        math.log(s) / 2
    ),
    "The sign of ln σ is wrong. σ stands below the line in the density, so −ln p contains + ln σ.": lambda s: (
        -math.log(s)
    ),
    "The middle term is the logarithm of σ, not σ itself.": lambda s: s,
}
_CONSTANTS = {  # the third term, ½ ln 2π, gone wrong
    "The constant ½ ln 2π is missing. It does not move the minimum, but it does change the value.": 0.0,
    "The constant is ½ ln 2π, not ln 2π: it comes from a root.": math.log(2 * math.pi),
    "The constant is ½ ln 2π: the 2 is missing inside the logarithm.": math.log(math.pi) / 2,
    "The constant is ½ ln 2π: a logarithm is missing.": math.pi,
    "The constant is + ½ ln 2π. The root stands below the line in the density, so −ln p has a plus.": (
        -math.log(2 * math.pi) / 2
    ),
    "The constant is ½ ln 2π, the logarithm of the root. Here the root itself is added.": math.sqrt(
        2 * math.pi
    ),
    "The constant is ½ ln 2π: the ½ is there twice, or inside the logarithm.": math.log(2 * math.pi) / 4,
}
_CONSTANT = math.log(2 * math.pi) / 2


def _nll(x, mu, sigma, *, square=None, log=math.log, constant=_CONSTANT):
    """The three terms, each as it should be or made otherwise."""
    first = square(x - mu, sigma) if square else ((x - mu) ** 2).mean() / (2 * sigma**2)
    return first + log(sigma) + constant


def _squared(makes):
    """Answers with each of these first terms; with the constant, and without it or ln σ."""
    rest = ({}, {"constant": 0.0}, {"constant": 0.0, "log": lambda s: 0.0})
    return [
        lambda x, mu, sigma, make=make, more=more: _nll(x, mu, sigma, square=make, **more)
        for make in makes[:1]
        for more in rest
    ] + [lambda x, mu, sigma, make=make: _nll(x, mu, sigma, square=make) for make in makes[1:]]


def _logged(make):
    """Answers with this second term, with the constant and with the frequent wrong ones."""
    return [
        lambda x, mu, sigma, one=one: _nll(x, mu, sigma, log=make, constant=one)
        for one in (_CONSTANT, 0.0, 2 * _CONSTANT)
    ]


def _density(x, mu, sigma):
    return torch.exp(-((x - mu) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))


gaussian_nll.mistakes(
    {
        "You took σ for the variance. Divide the square by 2σ².": [
            lambda x, mu, sigma: _nll(x, mu, math.sqrt(sigma)),
            lambda x, mu, sigma: _nll(x, mu, math.sqrt(sigma), constant=0.0),
        ],
        **{
            sentence: (lambda x, mu, sigma, one=one: _nll(x, mu, sigma, constant=one))
            for sentence, one in _CONSTANTS.items()
        },
        **{sentence: _logged(make) for sentence, make in _LOGS.items()},
        **{sentence: _squared(makes) for sentence, makes in _SQUARES.items()},
        "The sign is wrong: return minus the logarithm, which is small where the data "
        "are likely.": lambda x, mu, sigma: -_nll(x, mu, sigma),
        "That is the sum. Take the mean over the numbers.": [
            lambda x, mu, sigma: len(x) * _nll(x, mu, sigma),
            lambda x, mu, sigma: -len(x) * _nll(x, mu, sigma),
        ],
        "You divided by N once too often: the mean has done it already.": [
            lambda x, mu, sigma: _nll(x, mu, sigma) / len(x),
            lambda x, mu, sigma: _nll(x, mu, sigma, square=lambda d, s: (d**2).mean() / len(d) / (2 * s**2)),
        ],
        "This gives one value for each x. Take their mean.": [
            lambda x, mu, sigma: _nll(x, mu, sigma, square=lambda d, s: d**2 / (2 * s**2)),
            lambda x, mu, sigma: -_nll(x, mu, sigma, square=lambda d, s: d**2 / (2 * s**2)),
            lambda x, mu, sigma: _density(x, mu, sigma),
        ],
        "The square is that of x itself. Subtract μ first: (x − μ)².": {"(x - mu) ** 2": "x ** 2"},
        "μ is added to x. Subtract it: (x − μ)².": {"(x - mu)": "(x + mu)"},
        "(x − μ)² is not x² − μ²: subtract first, then square.": lambda x, mu, sigma: _nll(
            x, mu, sigma, square=lambda d, s: ((d + mu) ** 2 - mu**2).mean() / (2 * s**2)
        ),
        "These are logarithms to base 10, or to base 2. Take the natural one, `math.log`.": [
            lambda x, mu, sigma: _nll(x, mu, sigma, log=math.log10, constant=0.5 * math.log10(2 * math.pi)),
            lambda x, mu, sigma: _nll(x, mu, sigma, log=math.log2, constant=0.5 * math.log2(2 * math.pi)),
            lambda x, mu, sigma: _nll(x, mu, sigma, constant=0.5 * math.log10(2 * math.pi)),
        ],
        "μ and σ are given. You replaced one of them, or both, by those of x.": [
            lambda x, mu, sigma: _nll(x, x.mean(), x.std(correction=0), log=torch.log),
            lambda x, mu, sigma: _nll(x, x.mean(), x.std(), log=torch.log),
            lambda x, mu, sigma: _nll(x, x.mean(), sigma),
        ],
        "The factor ½ is left out of all three terms: it belongs to the first, to ln σ² and to ln 2π.": (
            lambda x, mu, sigma: 2 * _nll(x, mu, sigma)
        ),
        "The factor ½ is counted twice: −ln p = (x − μ)² / 2σ² + ln σ + ½ ln 2π.": lambda x, mu, sigma: (
            _nll(x, mu, sigma) / 2
        ),
        "The normalisation has the wrong sign: −ln p = (x − μ)² / 2σ² + ln σ + ½ ln 2π.": lambda x, mu, sigma: (
            _nll(x, mu, sigma, log=lambda s: -math.log(s), constant=-_CONSTANT)
        ),
        "The logarithm is missing: the mean of the density, or minus it, came back. Take −ln p first, then the "
        "mean.": [
            lambda x, mu, sigma: -_density(x, mu, sigma).mean(),
            lambda x, mu, sigma: _density(x, mu, sigma).mean(),
        ],
        "That is the logarithm of the mean density. Take the logarithm of each density first, then the "
        "mean.": lambda x, mu, sigma: -_density(x, mu, sigma).mean().log(),
        "Far from μ the density underflows to 0 and its logarithm is −inf. Work out the logarithm on paper.": [
            lambda x, mu, sigma: -_density(x, mu, sigma).log().mean(),
            lambda x, mu, sigma: _density(x, mu, sigma).log().mean(),
        ],
        "A small number inside the logarithm hides that the density underflows to 0 far from μ. Work out the "
        "logarithm on paper.": [
            lambda x, mu, sigma, e=e: -(_density(x, mu, sigma) + e).log().mean() for e in (1e-12, 1e-10, 1e-8)
        ],
    }
)


@lesson.exercise(
    cases={
        "two outcomes": (torch.tensor([0.6, 0.4]), torch.tensor([0.25, 0.75])),
        "p is 0 at the end": (torch.tensor([1.0, 0.0]), torch.tensor([0.4, 0.6])),
        "p is 0 at the beginning": (torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0.2, 0.3, 0.5])),
        "q is 0 somewhere, and p is not": (torch.tensor([0.3, 0.7]), torch.tensor([1.0, 0.0])),
        "equal distributions": (torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.2, 0.3, 0.5])),
        "p and q both 0": (torch.tensor([0.4, 0.0, 0.6]), torch.tensor([0.9, 0.0, 0.1])),
        "three outcomes": (torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.6, 0.3, 0.1])),
        "float64 numbers": (
            torch.softmax(normal(7, dtype=torch.float64), 0),
            torch.softmax(normal(7, seed=1, dtype=torch.float64), 0),
        ),
    },
    hints=[
        "It is the mean of ln p − ln q, taken with the probabilities p: Σ p ln(p/q).",
        "A term with p = 0 counts as 0, but the computer gets nan for 0 · ln 0. `torch.where(p > 0, …, 0)` "
        "helps.",
        "`torch.xlogy(p, x)` is p ln x, and 0 where p is 0.",
    ],
)
def kl_divergence(p, q):
    """Return the Kullback–Leibler divergence KL(p‖q) in nats of two distributions p (C,) and q (C,).

    Terms with p = 0 contribute nothing. Where q is 0 and p is not, the divergence is infinite.
    """
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()


def _kl(p, q, *, weights=None, ratio=None, keep=None, add=torch.sum):
    """The sum of weights · ln ratio over the classes that are kept, those with p > 0."""
    some = p > 0 if keep is None else keep
    ratio = p / q if ratio is None else ratio
    return add(((p if weights is None else weights) * ratio.log())[some])


def _both(make):
    """Answers made of p, q and the classes that are kept: those with p > 0, and all of them, where nan may come."""
    return [lambda p, q: make(p, q, p > 0), lambda p, q: make(p, q, p >= 0)]


kl_divergence.mistakes(
    {
        "The computer gets nan for 0 · ln 0. Such a term counts as 0: use `torch.xlogy` or "
        "`torch.where(p > 0, …)`.": lambda p, q: (p * (p / q).log()).sum(),
        "The arguments are swapped: KL(p‖q) averages with p, and it is not symmetric.": [
            lambda p, q: kl_divergence.reference(q, p),
            lambda p, q: (q * (q / p).log()).sum(),
            lambda p, q: (q * (q / p).log())[p > 0].sum(),
            lambda p, q: F.kl_div(p.log(), q, reduction="sum"),
            lambda p, q: (q * (q / p).log()).nansum(),
        ],
        "The sign is wrong: Σ p ln(p/q) is never negative.": [
            *_both(lambda p, q, some: (p * (q / p).log())[some].sum()),
            lambda p, q: torch.xlogy(p, q).sum() - torch.xlogy(p, p).sum(),
        ],
        "That is the cross-entropy −Σ p ln q. Subtract the entropy of p.": [
            lambda p, q: -torch.xlogy(p, q).sum(),
            lambda p, q: -(p * q.log()).sum(),
            lambda p, q: torch.xlogy(p, q).sum(),
        ],
        "That is the entropy of p, −Σ p ln p. q does not occur in it: take Σ p ln(p/q).": [
            lambda p, q: -torch.xlogy(p, p).sum(),
            lambda p, q: torch.xlogy(p, p).sum(),
            lambda p, q: -(p * p.log()).sum(),
        ],
        "The entropy of q is subtracted from the cross-entropy −Σ p ln q. Take that of p, −Σ p ln p.": [
            lambda p, q: torch.xlogy(q, q).sum() - torch.xlogy(p, q).sum(),
            lambda p, q: (q * q.log()).sum() - (p * q.log()).sum(),
        ],
        "The entropy of p is added to the cross-entropy −Σ p ln q. Subtract it.": [
            lambda p, q: -(torch.xlogy(p, q) + torch.xlogy(p, p)).sum(),
            lambda p, q: -(p * q.log() + p * p.log()).sum(),
        ],
        "That is the difference of the entropies. In KL(p‖q) both logarithms are weighted with p: Σ p (ln p − "
        "ln q).": [
            lambda p, q: torch.xlogy(q, q).sum() - torch.xlogy(p, p).sum(),
            lambda p, q: torch.xlogy(p, p).sum() - torch.xlogy(q, q).sum(),
            lambda p, q: (p * p.log() - q * q.log()).sum(),
        ],
        "These are the individual terms. Add them up.": [
            lambda p, q: torch.xlogy(p, p) - torch.xlogy(p, q),
            lambda p, q: p * (p / q).log(),
            lambda p, q: torch.where(p > 0, p * (p / q).log(), 0),
        ],
        "`F.kl_div` expects ln q first, not q: `F.kl_div(q.log(), p, reduction='sum')`. Mind the classes "
        "where q is 0.": [
            lambda p, q: F.kl_div(q, p, reduction="sum"),
            lambda p, q: F.kl_div(p, q, reduction="sum"),
            lambda p, q: F.kl_div(q, p, reduction="batchmean"),
            lambda p, q: F.kl_div(q, p),
            lambda p, q: F.kl_div(q, p, reduction="none"),
        ],
        "This is the mean over the classes, which divides by C. Return the sum; in `F.kl_div` it is "
        "`reduction='sum'`.": [
            lambda p, q: kl_divergence.reference(p, q) / len(p),
            lambda p, q: (p * (p / q).log()).mean(),
            lambda p, q: F.kl_div(q.log(), p),
            lambda p, q: _kl(p, q, add=torch.mean),
        ],
        "`F.kl_div` has both logarithms here, and takes the second argument for p itself: pass p, or set "
        "`log_target=True`.": lambda p, q: F.kl_div(q.log(), p.log(), reduction="sum"),
        "The logarithm to base 2 gives bits. The exercise asks for nats: take the natural logarithm.": [
            lambda p, q: kl_divergence.reference(p, q) / math.log(2),
            lambda p, q: (p * (p / q).log2()).sum(),
        ],
        "The logarithm to base 10 is no natural one. The exercise asks for nats: take `log`.": [
            lambda p, q: kl_divergence.reference(p, q) / math.log(10),
            lambda p, q: (p * (p / q).log10()).sum(),
        ],
        "The sum ends at the first class with p = 0. Leave out that class alone and go on with the others: mask, "
        "or `continue`.": lambda p, q: _kl(p, q, keep=(p > 0).cumprod(dim=0) > 0),
        "Only the first class is there: is the `return` inside the loop?": [
            lambda p, q: (p * (p / q).log())[0],
            lambda p, q: torch.xlogy(p, p / q)[0],
        ],
        "The classes with p > 0 are taken from p alone. Take the same ones from q: `q[p > 0]`, not its first "
        "entries.": lambda p, q: (p[p > 0] * (p[p > 0] / q[: (p > 0).sum()]).log()).sum(),
        "That is the Jensen–Shannon divergence, in which both are compared with their mean. Take Σ p ln(p/q).": (
            lambda p, q: (_kl(p, (p + q) / 2) + _kl(q, (p + q) / 2)) / 2
        ),
        "The logarithms lack their weights: multiply each by its p.": [
            *_both(lambda p, q, some: (p / q).log()[some].sum()),
            lambda p, q: (p.log() - q.log()).sum(),
            lambda p, q: (p / q).log()[p > 0].mean(),
        ],
        "The logarithms are weighted with q. KL(p‖q) is the mean of ln(p/q) under p.": [
            *_both(lambda p, q, some: (q * (p / q).log())[some].sum()),
            lambda p, q: (torch.xlogy(q, p) - torch.xlogy(q, q)).sum(),
            lambda p, q: (q * (p.log() - q.log())).sum(),
        ],
        "The logarithm is missing: KL(p‖q) is Σ p ln(p/q).": [
            lambda p, q: (p * p / q)[p > 0].sum(),
            lambda p, q: (p * p / q).sum(),
            lambda p, q: (p * (p - q)).sum(),
            lambda p, q: (p / q)[p > 0].sum(),
        ],
        "That is a distance of the probabilities, without a logarithm. KL(p‖q) is Σ p ln(p/q).": [
            lambda p, q: ((p - q) ** 2).sum(),
            lambda p, q: (p - q).abs().sum(),
            lambda p, q: (p - q).abs().sum() / 2,
        ],
        "ln p / ln q is not ln(p/q), which is ln p − ln q.": [
            *_both(lambda p, q, some: (p * p.log() / q.log())[some].sum()),
            lambda p, q: (torch.xlogy(p, p) / q.log()).sum(),
        ],
        "That is the logarithm of a sum. Take the logarithm of p/q first, then the mean with the weights p.": [
            *_both(lambda p, q, some: (p * p / q)[some].sum().log()),
            lambda p, q: (p * (p / q))[p > 0].sum().log(),
        ],
        "The logarithms are added: ln(p/q) is ln p − ln q.": _both(
            lambda p, q, some: (p * (p * q).log())[some].sum()
        ),
        "The terms have lost their signs. Some are negative; only the sum never is.": [
            lambda p, q: (torch.xlogy(p, p) - torch.xlogy(p, q)).abs().sum(),
            lambda p, q: (p * (p / q).log()).abs().sum(),
            lambda p, q: (torch.xlogy(p, p) - torch.xlogy(p, q)).clamp(min=0).sum(),
        ],
        "p and q are probabilities already. A softmax, or dividing by the sum of logarithms, makes others of "
        "them.": lambda p, q: (p.softmax(0) * (p.softmax(0) / q.softmax(0)).log()).sum(),
        "The divergence itself is set to 0 where it is nan. Only the terms with p = 0 are 0: replace them before "
        "you add up.": [
            lambda p, q: (p * (p / q).log()).sum().nan_to_num(nan=0.0, posinf=math.inf),
            lambda p, q: (p * (p / q).log()).sum().nan_to_num(nan=0.0),
        ],
        "A small number inside the logarithm makes an infinite divergence finite. Treat p = 0 "
        "separately instead.": [
            *(
                lambda p, q, e=e: (p * ((p + e) / (q + e)).log()).sum()
                for e in (1e-12, 1e-10, 1e-9, 1e-8, 1e-6)
            ),
            *(
                lambda p, q, e=e: (p * (p.clamp(min=e) / q.clamp(min=e)).log()).sum()
                for e in (1e-12, 1e-10, 1e-9, 1e-8, 1e-6)
            ),
        ],
        "`nan_to_num` turns the infinite terms into large numbers, or into 0. Where q is 0 and p is not, the "
        "divergence is infinite: replace only nan.": [
            lambda p, q: (p * (p / q).log()).nan_to_num().sum(),
            lambda p, q: kl_divergence.reference(p, q).nan_to_num(),
        ],
        "Where p and q are both 0, p ln q is 0 · (−inf), which is nan. Treat every term with p = 0 as 0: "
        "`torch.xlogy(p, q)`, or `torch.where(p > 0, …, 0)`.": {"torch.xlogy(p, q)": "p * q.log()"},
        "The terms with q = 0 are left out. Where q is 0 and p is not, the divergence is infinite; leave "
        "out only the terms with p = 0.": [
            lambda p, q: torch.where((p > 0) & (q > 0), p * (p / q).log(), 0).sum(),
            lambda p, q: (p * (p / q).log()).nan_to_num(0, posinf=0).sum(),
            lambda p, q: (p * (p / q).log())[q > 0].sum(),
        ],
        "This is the symmetric sum of both directions. KL(p‖q) is only the one that averages with p.": [
            lambda p, q: kl_divergence.reference(p, q) + kl_divergence.reference(q, p),
            lambda p, q: (kl_divergence.reference(p, q) + kl_divergence.reference(q, p)) / 2,
        ],
    }
)
