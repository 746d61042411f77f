"""Code with one change: the slip in a solution that does the same, the change that makes an attempt right."""

import inspect
import textwrap
import time

import pytest
import torch

from coursekit.checks import ExerciseSet, normal
from coursekit.checks.changes import with_one_change


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


def changed(function, **scope):
    return dict(with_one_change(inspect.getsource(function), {"torch": torch, **scope}))


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
        "with `len(centre)` in place of the second `len(x)`",
        "without the case `len(x) == 1`",
        "without `distances = distances.clamp(max=1.0)`",
        "with `distances[i] ** total` in place of `distances[i] ** power`",
        "with `total = power` in place of `total = 0`",
        "with `x` and `centre` swapped",
        "with `power` in place of `total` everywhere",
        "with `x[:, None] - centre` in place of `x - centre`",
        "with `(-(x - centre)).norm(dim=1)` in place of `(x - centre).norm(dim=1)`",
        "with `total = 0` before `distances = (x - centre).norm(dim=1)`",
        "with `x - centre.norm(dim=1)` in place of `(x - centre).norm(dim=1)`",
        "with `total / (len(x) + distances[1:].sum())` in place of `total / len(x) + distances[1:].sum()`",
    ],
)
def test_change_is_made(words):
    assert words in changed(scatter)


def test_changed_code_does_what_its_words_say_and_leaves_the_others_alone():
    made, x, centre = changed(scatter), normal(5, 3), normal(3, seed=1)
    far = made["with `x + centre` in place of `x - centre`"]
    torch.testing.assert_close(far(x, centre), scatter(x, -centre))
    whole = made["with `range(len(x) - 1)` in place of `range(len(x))`"]
    last = (x[-1] - centre).norm() ** 2 / 5
    torch.testing.assert_close(whole(x, centre), scatter(x, centre) - last)


def test_change_that_is_no_program_is_left_out():
    def joined(parts):
        return torch.cat([*parts, *parts])

    made = [
        words for words, _ in with_one_change(textwrap.dedent(inspect.getsource(joined)), {"torch": torch})
    ]
    assert made  # and no SyntaxError


def test_changes_of_a_class_are_made():
    class Shift(torch.nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by = by

        def forward(self, x):
            return x - self.by

    made = dict(with_one_change(textwrap.dedent(inspect.getsource(Shift)), {"torch": torch}))
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


def without_code(function):
    """The same function, but its text is not at hand."""
    scope = {"torch": torch}
    exec(textwrap.dedent(inspect.getsource(function)), scope)
    return scope[function.__name__]


def test_attempt_is_told_the_change_that_makes_it_right(exercise):
    def hard_coded(x, strength):
        return torch.stack([(row.norm() * 0.5 + 1).log() for row in x]).mean()

    def swapped(strength, x):
        return torch.stack([(row.norm() * strength + 1).log() for row in x]).mean()

    def brackets(x, strength):
        return torch.stack([(row.norm() * (strength + 1)).log() for row in x]).mean()

    def moved(x, strength):
        return torch.stack([row.norm() * strength + torch.ones(()).log() for row in x]).mean()

    def raising(x, strength):
        return torch.stack([(row.norm() * strength + 1).log() for row in strength]).mean()

    told = {attempt: exercise(attempt).message for attempt in (hard_coded, swapped, brackets, moved, raising)}
    for attempt, words in {
        hard_coded: "Your code is right with `row.norm() * strength` in place of `row.norm() * 0.5`.",
        swapped: "Your code is right with `strength` and `x` swapped.",
        brackets: "Your code is right with `row.norm() * strength + 1` in place of `row.norm() * (strength + 1)`.",
        moved: "Your code is right with `(row.norm() * strength + torch.ones(())).log()` in place of",
        raising: "Your code is right with `for row in x` in place of `for row in strength`.",
    }.items():
        assert words in told[attempt], told[attempt]


def test_attempt_is_told_the_same_change_in_all_places(exercise):
    def penalty(x, strength):
        return (x.norm(dim=1) * 0.5 + 1).log().sum() / len(x) + (0.5 - strength)

    assert exercise(penalty).message.startswith(
        "Your code is right with `strength` in place of `0.5` everywhere."
    )


def test_changed_attempt_knows_the_names_around_it_and_leaves_them_alone(exercise):
    factor, calls = 2.0, []

    def penalty(x, strength):
        calls.append(1)
        return (x.norm(dim=1) * factor + 1).log().mean()

    assert "with `x.norm(dim=1) * strength` in place of `x.norm(dim=1) * factor`" in exercise(penalty).message
    assert factor == 2.0


def test_class_is_told_the_change_that_makes_it_right():
    lesson = ExerciseSet("Lesson 0")

    @lesson.exercise(
        cases=[(2.0, normal(3)), (0.5, normal(4))], observe=lambda Scale, by, x: Scale(by)(x), hints=["One."]
    )
    class Scale(torch.nn.Module):
        """Multiply."""

        def __init__(self, by):
            super().__init__()
            self.by = by

        def forward(self, x):
            return x * self.by

    assert "with `self.by = by` in place of `self.by = 3`" in Scale(WrongScale).message


class WrongScale(torch.nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = 3

    def forward(self, x):
        return x * self.by


def test_what_is_no_written_function_has_no_changes(exercise):
    def penalty(x, strength):
        return (x.norm(dim=1) * 0.5 + 1).log().mean()

    for attempt in (lambda x, strength: (x.norm(dim=1) * 0.5 + 1).log().mean(), without_code(penalty)):
        assert "Your code is right" not in exercise(attempt).message


def test_a_change_that_never_ends_does_not_hold_up_the_verdict(exercise):
    def penalty(x, strength):
        n = 3
        while n > 1:
            n = n - 1
        return x.sum() * strength

    started = time.process_time()
    assert "Your code is right" not in exercise(penalty).message
    assert time.process_time() - started < 4


def test_wrong_answer_is_told_the_slip_that_does_the_same(exercise):
    def penalty(x, strength):
        lengths = []
        for row in x:
            lengths += [float(row @ row) ** 0.5 / strength]
        return (1 + torch.tensor(lengths)).log().mean()

    message = exercise(without_code(penalty)).message
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
