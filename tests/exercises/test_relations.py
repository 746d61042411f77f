"""What is said about a wrong answer is true, names what a learner did, and is not said by accident."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from coursekit.checks import normal
from coursekit.checks.compare import digits
from coursekit.checks.relations import relation

TABLES = [{"x": normal(3, 4)}, {"x": normal(5, 3, seed=1).double()}, {"x": normal(4, 4, seed=2)}]
POSITIVE = [{"x": case["x"].abs() + 0.5} for case in TABLES]
VECTORS = [{"x": normal(4)}, {"x": normal(6, seed=1).double()}, {"x": normal(5, seed=2)}]


def told(yours, expected, cases=TABLES, names=()):
    """Return what is said where one function is written and the other one is asked for."""
    return relation([yours(**case) for case in cases], [expected(**case) for case in cases], cases, names)


def itself(x):
    return x


def sums(x):
    return x.sum(dim=1)


# The same factor, term or function everywhere ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (-1, "the expected one with the opposite sign."),
        (2, "twice the expected one: is a ½ missing"),
        (0.5, "half the expected one: is a factor 2 missing"),
        (100, "100 times the expected one: is it a percentage"),
        (math.log(2), "is it a natural logarithm, with base 2 expected?"),
        (1 / math.log(2), "is it a logarithm to base 2, not a natural one?"),
        (1 / math.log(10), "is it a logarithm to base 10, not a natural one?"),
        (math.pi / 180, "are these radians, with degrees expected?"),
        (180 / math.pi, "are these degrees, with radians expected?"),
        (-0.3, "Your result is -0.3 times the expected one."),
    ],
)
def test_factor_is_named_and_explained(factor, words):
    assert words in told(lambda x: factor * sums(x), sums)


def test_number_added_everywhere_is_named():
    assert told(lambda x: x + 0.25, lambda x: x + 1) == "Your result is 0.75 too small everywhere."


def test_indices_that_count_from_1_are_off_by_one():
    words = "Your result is 1 too large everywhere: off by one?"
    assert told(lambda x: x.argmax(dim=1) + 1, lambda x: x.argmax(dim=1)) == words


@pytest.mark.parametrize(
    ("yours", "words"),
    [
        (lambda x: 1 / x, "Your result is 1 divided by the expected one. Is a fraction upside down?"),
        (lambda x: x**2, "Your result is the square of the expected one. Is a square root missing?"),
        (lambda x: x.sqrt(), "The expected result is the square of yours. Is it a root too many?"),
        (lambda x: x.exp(), "Your result is e to the power of the expected one. Is a logarithm missing?"),
        (lambda x: x.log(), "The expected result is e to the power of yours. Is `exp` missing?"),
        (lambda x: x.log2(), "2 to the power of yours. Is it a logarithm to base 2?"),
        (lambda x: x.log10(), "10 to the power of yours. Is it a logarithm to base 10?"),
        (lambda x: 1 - x, "Your result is 1 minus the expected one."),
        (lambda x: x.acos(), "The expected result is the cosine of yours. Is it an angle?"),
        (lambda x: x.sigmoid(), "Your result is the sigmoid of the expected one."),
        (lambda x: x.logit(), "The expected result is the sigmoid of yours. Are these logits?"),
        (lambda x: x.softmax(dim=-1), "Your result is the softmax of the expected one."),
        (lambda x: x / x.sum(), "Your result is the expected one divided by its sum."),
        (lambda x: x / x.sum(1, keepdim=True), "the expected one with each row divided by its sum."),
    ],
)
def test_function_of_the_expected_result_is_named(yours, words):
    def probabilities(x):
        return (x / 2).sigmoid()

    assert words in told(lambda x: yours(probabilities(x)), probabilities)


@pytest.mark.parametrize(
    ("yours", "expected", "words"),
    [
        (torch.abs, itself, "Your result is the absolute value of the expected one. Is the sign lost?"),
        (
            lambda x: 9 * x,
            lambda x: (9 * x).relu(),
            "The expected result is yours with 0 instead of negative numbers.",
        ),
        (lambda x: x.clamp(0, 1), lambda x: x * 1, "Your result is the expected one clipped to [0, 1]."),
        (lambda x: (9 * x).round(), lambda x: 9 * x, "Your result is the expected one rounded."),
        (lambda x: 9 * x // 1, lambda x: 9 * x, "Is `//` or `int` used where fractions count?"),
        (lambda x: 9 * x, lambda x: 9 * x // 1, "The expected result is yours rounded down. Is `//` needed?"),
    ],
)
def test_function_that_loses_something_is_named(yours, expected, words):
    assert words in told(yours, expected, [{"x": x} for x in (normal(5, 4), normal(7, 3, seed=1))])


def test_function_that_loses_something_is_not_named_on_a_few_numbers():
    assert told(lambda x: x.round(), itself, [{"x": torch.tensor([1.2, -0.7, 3.1])}] * 2) is None


def test_true_for_false_is_the_opposite():
    assert "1 minus" in told(lambda x: x <= 0, lambda x: x > 0)


def test_one_number_everywhere_is_named():
    assert told(lambda x: x * 0, lambda x: x**2) == "Your result is 0 everywhere."


# With sizes and inputs ---------------------------------------------------------------------------------------


def test_sum_for_mean_and_mean_for_sum_name_the_axis():
    assert told(lambda x: x.sum(0), lambda x: x.mean(0)) == (
        "Your result is the expected one times the number of rows of `x`. Is it a sum, not a mean?"
    )
    assert told(lambda x: x.mean(1), sums) == (
        "Your result is the expected one divided by the number of columns of `x`. Is it a mean, not a sum?"
    )
    assert "times the number of elements of `x`" in told(lambda x: x.sum(), lambda x: x.mean())


def test_factor_that_is_the_same_in_all_cases_is_not_put_down_to_a_size():
    assert told(lambda x: 5 * x, itself, [{"x": normal(5)}, {"x": normal(5, seed=1)}]) == (
        "Your result is 5 times the expected one."
    )


@pytest.mark.parametrize(
    ("yours", "expected", "words"),
    [
        (
            lambda x: x.std(correction=0) ** 2,
            lambda x: x.var(),
            "divided by n/(n − 1), n being the length of `x`",
        ),
        (
            lambda x: x.std(correction=0),
            lambda x: x.std(),
            "divided by √(n/(n − 1)), n being the length of `x`",
        ),
        (lambda x: x.var() * (len(x) - 1), lambda x: x.var(), "times (the length of `x` minus 1)"),
        (lambda x: x.std(), lambda x: x.std() / len(x) ** 0.5, "times the square root of the length of `x`"),
        (lambda x: x.sum() / len(x) ** 2, lambda x: x.sum(), "divided by the square of the length of `x`"),
        (lambda x: 2 * x * len(x), itself, "times twice the length of `x`"),
        (lambda x: x * x.norm(), itself, "times the norm of `x`"),
        (lambda x: x - x.mean(), itself, "minus the mean of `x`"),
        (lambda x: x + 2 * x.max(), lambda x: x + x.max(), "plus the maximum of `x`"),
    ],
)
def test_factors_and_terms_made_of_an_input_name_it(yours, expected, words):
    assert words in told(yours, expected, VECTORS)


LINES = [
    {"x": normal(rows, 3, seed=rows), "b": normal(3, seed=9 + rows), "lr": lr, "names": ["a"] * rows}
    for rows, lr in ((4, 0.1), (6, 0.3), (5, 0.2))
]


@pytest.mark.parametrize(
    ("yours", "expected", "words"),
    [
        (
            lambda x, **_: x**2,
            lambda x, b, **_: x**2 + b,
            "minus `b`. Is it subtracted instead of added, or missing?",
        ),
        (
            lambda x, b, **_: x**2 + b,
            lambda x, b, **_: x**2 - b,
            "plus twice `b`. Is it added instead of subtracted",
        ),
        (lambda x, lr, **_: lr * x**2, lambda x, **_: x**2, "times `lr`. Is it a factor too many"),
        (lambda x, lr, **_: x**2 + math.log(lr), lambda x, **_: x**2, "plus the logarithm of `lr`"),
        (lambda x, lr, **_: x**2 / (1 - lr), lambda x, **_: x**2, "divided by (1 minus `lr`)"),
        (
            lambda x, names, **_: x**2 / len(names),
            lambda x, **_: x**2,
            "divided by the number of rows of `x`",
        ),
        (lambda x, **_: x, lambda x, **_: x**2, "Your result is `x`."),
        (
            lambda x, **_: x.sum(0),
            lambda x, **_: (x**2).sum(0),
            "Your result is the sum of each column of `x`.",
        ),
        (
            lambda x, **_: x / 3,
            lambda x, **_: x / 3 / x.norm(dim=1, keepdim=True),
            "times the norm of each row of `x`",
        ),
    ],
)
def test_input_that_is_missing_or_too_many_is_named(yours, expected, words):
    assert words in told(yours, expected, LINES)


def test_length_of_a_list_of_anything_is_a_size():
    cases = [{"layers": [nn.ReLU()] * count, "a": 0.1 * count**2} for count in (2, 3, 5)]
    words = "times the length of `layers`"
    assert words in told(lambda layers, a: a * len(layers), lambda layers, a: a, cases)


def test_step_the_wrong_way_is_told_from_where():
    cases = [{"theta": normal(3, seed=seed), "g": normal(3, seed=9 + seed)} for seed in range(3)]
    sentence = told(lambda theta, g: theta + g.sin(), lambda theta, g: theta - g.sin(), cases)
    assert sentence == "Your step from `theta` has the opposite sign."


# Order and shape ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yours", "expected", "words"),
    [
        (lambda x: x.T, itself, "The numbers are right, but your result is transposed."),
        (lambda x: torch.stack([x, x**2]).mT, lambda x: torch.stack([x, x**2]), "your result is transposed."),
        (lambda x: x.flip(0), itself, "The right numbers, but in reverse order along axis 0."),
        (
            lambda x: sums(x).sort(descending=True).values,
            lambda x: sums(x).sort().values,
            "in reverse order.",
        ),
        (lambda x: x.roll(1, 1), itself, "one place late along axis 1"),
        (lambda x: sums(x).roll(-1), sums, "one place early: is an index off?"),
        (lambda x: x[torch.arange(len(x)).roll(2)], itself, "The right numbers, but in another order."),
        (lambda x: x.sum(1, keepdim=True), sums, "an axis of size 1 is too many"),
        (lambda x: x.mean(0), lambda x: x.mean(0, keepdim=True), "an axis of size 1 is missing"),
        (lambda x: x.flatten(), itself, "The right numbers in the right order, but in another shape."),
        (lambda x: x.sum(), sums, "Your result is the sum of the expected one."),
        (lambda x: x.mean(0), itself, "Your result is the mean of the expected one over axis 0."),
        (itself, lambda x: x.mean(), "The mean of your result is expected."),
        (itself, sums, "The sum of your result over axis 1 is expected."),
        (
            lambda x: sums(x)[:, None] - sums(x) / 2,
            lambda x: sums(x) / 2,
            "did (N, 1) and (N,) broadcast to (N, N)?",
        ),
        (
            lambda x: (x**2).sum(0),
            lambda x: x.norm(dim=1),
            "One number for each column of `x` came out, one for each row",
        ),
        (lambda x: x[:-1], itself, "The last entry is missing; all others are right."),
        (lambda x: x[1:], itself, "The first entry is missing; all others are right."),
        (lambda x: x[:, :-2], itself, "The last entries are missing; all others are right."),
        (itself, lambda x: x[:1], "The last entries are too many; all others are right."),
        (itself, lambda x: x[1:-1, 1:-1], "The outer entries are too many; all others are right."),
        (lambda x: x[1:] ** 2, itself, "One entry is missing."),
    ],
)
def test_order_and_shape_are_named(yours, expected, words):
    cases = TABLES[:2] if "column" in words or "transposed" not in words else TABLES
    assert words in told(yours, expected, cases)


def test_path_one_position_short_is_named_whatever_a_position_is():
    paths = [[0.0, 1.0, 3.0], [torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])]]
    sentence = relation([path[:-1] for path in paths], paths, [{"start": path[0]} for path in paths])
    assert sentence == "The last entry is missing; all others are right."


# Places ------------------------------------------------------------------------------------------------------


def changed(where, change=lambda x: x + x.abs() + 1):
    """Return a function that changes a table where a mask of its rows and columns is True."""

    def yours(x):
        i, j = torch.meshgrid(*map(torch.arange, x.shape), indexing="ij")
        return torch.where(where(i, j, *x.shape), change(x), x)

    return yours


@pytest.mark.parametrize(
    ("where", "place"),
    [
        (lambda i, j, n, m: i == 0, "in the first row"),
        (lambda i, j, n, m: i == n - 1, "in the last row"),
        (lambda i, j, n, m: i > 0, "after the first row"),
        (lambda i, j, n, m: j == 0, "in the first column"),
        (lambda i, j, n, m: j == 1, "in column 1 (counted from 0)"),
        (lambda i, j, n, m: i == j, "on the diagonal"),
        (lambda i, j, n, m: i != j, "off the diagonal"),
        (lambda i, j, n, m: i < j, "above the diagonal"),
        (lambda i, j, n, m: (i == 0) | (j == 0) | (i == n - 1) | (j == m - 1), "at the border"),
    ],
)
def test_only_place_that_is_wrong_is_named(where, place):
    assert told(changed(where), itself) == f"Wrong only {place}."


def test_what_came_out_there_is_told():
    assert told(changed(lambda i, j, n, m: i == 0, torch.zeros_like), itself).endswith("There 0 came out.")
    assert told(changed(lambda i, j, n, m: i == 0, torch.neg), itself).endswith("There the sign is opposite.")


def test_last_number_of_a_vector_is_named():
    assert "in the last entry" in told(lambda x: torch.cat([x[:-1], x[:1].exp() + 9]), itself, VECTORS)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (lambda x: x < 0, "where `x` is negative"),
        (lambda x: x == 0, "where `x` is 0"),
        (lambda x: x > 16, "where `x` is beyond ±16"),
        (lambda x: x == x.max(), "where `x` is the largest"),
        (lambda x: (x == 0.5) | (x == 20.0), None),  # no simple place holds just these
    ],
)
def test_numbers_for_which_it_is_wrong_are_named(wrong, place):
    vectors = [-2.0, 0.0, 1.5, 3.0, 4.0], [1.0, -1.5, 0.0, 0.5, 2.5, 0.1], [20.0, 30.0, -0.5, 1.0, 2.0]
    cases = [{"x": torch.tensor(vector)} for vector in vectors]
    sentence = told(lambda x: 2 + x.cos() + wrong(x) * (3 + x.sin()), lambda x: 2 + x.cos(), cases)
    assert sentence is None if place is None else sentence.startswith(f"Wrong only {place}.")


def test_expected_number_for_which_it_is_wrong_is_named():
    sentence = told(
        lambda x: sums(x).relu() + 1 * (sums(x) < 0), lambda x: sums(x).relu(), [*TABLES, *POSITIVE]
    )
    assert sentence == "Wrong only where the expected number is 0. There 1 came out."


def test_mode_in_which_it_is_wrong_is_named():
    cases = [{"x": normal(4, seed=seed), "training": seed % 2 == 0} for seed in range(4)]
    sentence = told(lambda x, training: x.exp(), lambda x, training: x.exp() if training else x.sin(), cases)
    assert sentence == "Wrong only where `training` is False."


@pytest.mark.parametrize(
    ("yours", "expected", "words"),
    [
        (
            lambda x: x / x.norm(dim=1, keepdim=True),
            lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=1e-9),
            "nan came out only where `x` is 0. Is it 0 / 0",
        ),
        (
            lambda x: sums(x) / x.norm(dim=1),
            lambda x: sums(x) / x.norm(dim=1).clamp(min=1e-9),
            "nan came out only where a row of `x` is 0 throughout. Is it 0 / 0",
        ),
        (
            lambda x: x.exp().sum(1).log(),
            lambda x: x.logsumexp(1),
            "inf came out only where a row of `x` holds a number that is beyond ±88. Does an exponential",
        ),
        (
            changed(lambda i, j, n, m: (i + j) % 5 == 3, lambda x: x + math.nan),
            itself,
            "nan came out only for 3 of 16 numbers.",
        ),
    ],
)
def test_nan_and_inf_are_told_with_the_numbers_they_come_from(yours, expected, words):
    cases = [{"x": torch.tensor([[0.0, 0.0], [100.0, 4.0], [3.0, 5.0]])}, {"x": normal(5, 2)}]
    assert words in told(yours, expected, cases)


def test_infinite_entropy_is_put_down_to_a_probability_of_0():
    cases = [{"p": torch.tensor(p)} for p in ([0.5, 0.5, 0.0], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9])]
    sentence = told(lambda p: -p.log().sum(), lambda p: -p.log().clamp(min=-9).sum(), cases)
    assert sentence.startswith(
        "inf came out only where `p` holds a number that is 0. Is it 0 / 0, a logarithm of 0"
    )
    assert (
        told(lambda p: -p.log().sum(), lambda p: -(p + 0.1).log().sum(), cases) is None
    )  # wrong elsewhere, too


def test_low_precision_is_told_with_digits_that_differ():
    cases = [{"x": 100 * normal(3, 4, seed=seed).double()} for seed in range(3)]
    sentence = told(lambda x: x.sin().half().double(), lambda x: x.sin(), cases)
    assert sentence.startswith("Right to 3 digits only, ")
    one, other = sentence.split("only, ")[1].split(":")[0].split(" instead of ")
    assert one != other


@pytest.mark.parametrize(
    ("yours", "expected", "texts"),
    [
        (35.549911, 35.549869, ("35.54991", "35.54987")),
        (torch.tensor(1.0), 2, ("1", "2")),
        (1234567, 1234568, ("1234567", "1234568")),
        (math.nan, 1.0, ("nan", "1")),
        (0.5, 0.5, ("0.5", "0.5")),
    ],
)
def test_digits_are_as_many_as_tell_two_numbers_apart(yours, expected, texts):
    assert digits(yours, expected) == texts


# Results of several entries ----------------------------------------------------------------------------------


def test_entry_that_is_wrong_is_named():
    sentence = told(lambda x: (x, -sums(x)), lambda x: (x, sums(x)), names=("h", "logits"))
    assert sentence == "logits: Your result is the expected one with the opposite sign. The rest is right."


def test_rest_is_not_called_right_where_another_entry_is_wrong():
    cases = [{"x": normal(4, seed=seed), "training": seed % 2 == 0} for seed in range(4)]
    sentence = told(
        lambda x, training: (x.exp(), x.square().sin() + x),
        lambda x, training: (x.exp() if training else x.sin(), x),
        cases,
        names=("y", "mean"),
    )
    assert sentence == "y: Wrong only where `training` is False."


def test_entries_that_are_wrong_in_the_same_way_are_named_together():
    sentence = told(lambda x: {"a": 2 * x, "b": 2 * sums(x)}, lambda x: {"a": x, "b": sums(x)})
    assert sentence.startswith("a and b: Your result is twice the expected one")


def test_entries_in_the_wrong_order_are_swapped():
    sentence = told(
        lambda x: (x.mean(), x.std()), lambda x: (x.std(), x.mean()), names=("slope", "intercept")
    )
    assert sentence == "slope and intercept are swapped."


def test_two_inverted_facts_are_not_swapped():
    sentence = told(lambda x: {"a": True, "b": False}, lambda x: {"a": False, "b": True})
    assert sentence is None


# Nothing by accident -----------------------------------------------------------------------------------------


def random_result(seed, kind, shape):
    x = normal(*shape, seed=seed).double()
    return {"number": x, "count": (3 * x).round().long(), "truth": x > 0, "fraction": x.sigmoid().float()}[
        kind
    ]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["number", "fraction"]),
    shapes=st.lists(st.sampled_from([(), (3,), (6,), (3, 4), (2, 2), (2, 3, 2)]), min_size=1, max_size=5),
)
def test_nothing_is_said_about_unrelated_numbers(seed, kind, shapes):
    yours = [random_result(seed + 7 * at, kind, shape) for at, shape in enumerate(shapes)]
    expected = [random_result(90_000 + seed + 7 * at, kind, shape) for at, shape in enumerate(shapes)]
    inputs = [
        {"x": normal(5, 3, seed=50_000 + seed + at), "lr": 0.1 * at, "k": at} for at in range(len(shapes))
    ]
    assert relation(yours, expected, inputs) is None


@pytest.mark.parametrize("kind", ["count", "truth"])
def test_nothing_is_said_about_unrelated_counts_and_truths(kind):
    for seed in range(40):
        yours = [random_result(seed + 100 * at, kind, (7,)) for at in range(4)]
        expected = [random_result(5000 + seed + 100 * at, kind, (7,)) for at in range(4)]
        inputs = [
            {"x": normal(7, 2, seed=9000 + seed + at), "labels": torch.arange(7) % 3} for at in range(4)
        ]
        assert relation(yours, expected, inputs) is None


def test_relation_that_fails_in_one_case_is_not_told():
    wrong = [-x["x"] for x in TABLES[:2]] + [TABLES[2]["x"] + normal(4, 4, seed=7)]
    assert relation(wrong, [x["x"] for x in TABLES], TABLES) is None


def test_relation_has_to_hold_in_the_cases_that_are_right():
    half_right = [TABLES[0]["x"], 2 * TABLES[1]["x"], 2 * TABLES[2]["x"]]
    assert "twice" not in (relation(half_right, [x["x"] for x in TABLES], TABLES) or "")


def test_one_number_in_one_case_is_no_relation():
    assert relation([2.0], [4.0], [{"n": 2}]) is None
    assert relation([2, 3], [4, 9], [{"n": 2}, {"n": 3}]) is None  # whole numbers: three at least


def test_right_answer_has_no_relation():
    assert told(itself, itself) is None


# Whatever arrives --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "strange",
    [
        None, "text", ..., [], (), {}, torch.zeros(0), torch.zeros(2, 0), 2j, torch.zeros(2) * 1j, math.nan, 10**400,
        [1, "a"], [[1.0], [1.0, 2.0]], (torch.ones(2), None), {"a": None}, {1: torch.ones(2)}, nn.ReLU(), print,
        torch.ones(2, device="meta"), torch.eye(3).to_sparse(), torch.ones(3, requires_grad=True), torch.Size([2]),
        torch.ones(2, 2, 2, 2, 2, 2), torch.tensor(3), True, torch.ones(2).bfloat16(), TABLES[0]["x"].numpy(),
    ],
)  # fmt: skip
def test_whatever_arrives_it_does_not_raise(strange):
    for ordinary in (1.5, torch.ones(3), (torch.ones(2), torch.ones(2)), {"a": 1.0}, [1.0, 2.0]):
        for yours, expected in ((strange, ordinary), (ordinary, strange)):
            for given_input in (strange, ordinary):
                sentence = relation([yours] * 2, [expected] * 2, [{"x": given_input}] * 2, ("a", "b"))
                assert sentence is None or sentence.strip()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_type_of_the_numbers_sets_the_tolerance(dtype):
    cases = [{"x": normal(3, 4, seed=seed).to(dtype)} for seed in range(3)]
    assert "square of the expected one" in told(lambda x: (x + 4) ** 2, lambda x: x + 4, cases)


def test_sentences_are_short():
    long = "what another one returns after loading the state of the first"
    sentence = told(lambda x: {long: 2 * x, long + "!": 2 * x}, lambda x: {long: x, long + "!": x})
    assert len(sentence) <= 200


def test_nothing_is_said_of_an_entry_that_only_some_results_have():
    lists = [[normal(3)], [normal(3, seed=1), normal(2, seed=2)]]
    wrong = [[2 * lists[0][0] ** 3], [lists[1][0], lists[1][1] * torch.tensor([1.0, -1.0])]]
    assert relation(wrong, lists, [{}, {}]) is None
