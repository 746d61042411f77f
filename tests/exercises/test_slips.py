"""A solution with one slip in it names the slip to whoever made it."""

import inspect
import textwrap
import time

import pytest
import torch

from coursekit.checks import ExerciseSet, normal
from coursekit.checks.slips import with_one_slip


def scatter(x, centre, *, power=2):
    """Mean power of the distances from a centre."""
    if len(x) == 1:
        return torch.zeros(())
    distances = (x - centre).norm(dim=1)
    total = 0
    for i in range(len(x)):
        total += distances[i] ** power
    distances = distances.clamp(max=1.0)
    return total / len(x) + distances[1:].sum() if power > 0 else total


def slips(function, **scope):
    return dict(with_one_slip(inspect.getsource(function), {"torch": torch, **scope}))


@pytest.mark.parametrize(
    "words",
    [
        "with `x + centre` in place of `x - centre`",
        "with `centre - x` in place of `x - centre`",
        "with `x` in place of `x - centre`",
        "with `dim=0` in place of `dim=1`",
        "with `(x - centre).norm()` in place of `(x - centre).norm(dim=1)`",
        "with `distances` in place of `distances.clamp(max=1.0)`",
        "with `distances[1:].mean()` in place of `distances[1:].sum()`",
        "with `distances[:]` in place of `distances[1:]`",
        "with `distances[i + 1]` in place of `distances[i]`",
        "with `range(len(x) - 1)` in place of `range(len(x))`",
        "with `total -= distances[i] ** power` in place of `total += distances[i] ** power`",
        "with `total = distances[i] ** power` in place of `total += distances[i] ** power`",
        "with `distances[i] * power` in place of `distances[i] ** power`",
        "with `power >= 0` in place of `power > 0`",
        "with `len(centre)` in place of `len(x)`",
        "without the case `len(x) == 1`",
        "without `distances = distances.clamp(max=1.0)`",
    ],
)
def test_slip_is_made(words):
    assert words in slips(scatter)


def test_slip_does_what_its_words_say_and_leaves_the_others_alone():
    made, x, centre = slips(scatter), normal(5, 3), normal(3, seed=1)
    far = made["with `x + centre` in place of `x - centre`"]
    torch.testing.assert_close(far(x, centre), scatter(x, -centre))
    whole = made["with `range(len(x) - 1)` in place of `range(len(x))`"]
    last = (x[-1] - centre).norm() ** 2 / 5
    torch.testing.assert_close(whole(x, centre), scatter(x, centre) - last)


def test_slip_that_is_no_program_is_left_out():
    def joined(parts):
        return torch.cat([*parts, *parts])

    made = [words for words, _ in with_one_slip(textwrap.dedent(inspect.getsource(joined)), {"torch": torch})]
    assert made  # and no SyntaxError


def test_slips_of_a_class_are_made():
    class Shift(torch.nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by = by

        def forward(self, x):
            return x - self.by

    made = dict(with_one_slip(textwrap.dedent(inspect.getsource(Shift)), {"torch": torch}))
    assert made["with `x + self.by` in place of `x - self.by`"](2.0)(torch.ones(1)) == 3


@pytest.fixture
def exercise():
    lesson = ExerciseSet("Lesson 0")

    @lesson.exercise(
        cases=[(normal(4, 3), 0.5), (normal(5, 2, seed=1), 2.0), (normal(6, 3, seed=2), 1.5)], hints=["One."]
    )
    def penalty(x, strength):
        """Return a number."""
        rows = x.square().sum(dim=1)
        n = len(rows)
        while n > 1:
            n = n - 1
        return (rows.sqrt() * strength + n).log().mean()

    return penalty


def test_wrong_answer_is_told_the_slip_that_does_the_same(exercise):
    def penalty(x, strength):
        return torch.stack([(row.norm() / strength + 1).log() for row in x]).mean()

    message = exercise(penalty).message
    assert message.startswith(
        "Your code does what the solution would do with `rows.sqrt() / strength` in place of `rows.sqrt() * strength`."
    )


def test_a_slip_that_never_ends_does_not_hold_up_the_verdict(exercise):
    def penalty(x, strength):
        return x.sum() * strength

    exercise.reference(normal(2, 2), 1.0)
    started = time.process_time()
    verdict = exercise(penalty)
    assert verdict.status == "wrong"
    assert "solution would do" not in verdict.message
    assert time.process_time() - started < 4
