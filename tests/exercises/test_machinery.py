"""Whatever arrives gets a verdict, and the verdict says what is the matter."""

import contextlib
import copy
import importlib
import io
import math
import random
import re
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from coursekit import runtime, train
from coursekit.checks import (
    ExerciseError,
    ExerciseSet,
    Question,
    Report,
    Verdict,
    attempts,
    normal,
    time_limit,
)
from coursekit.checks.compare import difference, labelled, remarks, same, show, size
from coursekit.data import Split
from coursekit.exercises import lesson03
from coursekit.teaching.catalogue import REPOSITORY
from coursekit.teaching.execute import execute
from tests.posix import only_posix
from tests.small_lessons import write


@pytest.fixture
def lesson():
    return ExerciseSet("Lesson 0")


@pytest.fixture
def double(lesson):
    """An exercise: twice a vector."""

    @lesson.exercise(
        cases=[(normal(3),), (normal(2),), (normal(4, dtype=torch.float64),)], hints=["One.", "Two."]
    )
    def double(x):
        """Return 2 x."""
        return 2 * x

    @double.mistake("Twice, not squared.")
    def _(x):
        return x**2

    @double.mistake("One number for all: keep the shape.")
    def _(x):
        return 2 * x.reshape(7)

    return double


# What arrives ------------------------------------------------------------------------------------------------


def test_right_answer_is_correct(double):
    verdict = double(lambda x: x + x)
    assert verdict.status == double.status == "correct"
    assert verdict.message == "Right on all 3 test inputs. Go on with the next cell."


def counts_from_nowhere(x):
    for _ in x:
        count = count + 1  # noqa: F821
    return count


@pytest.mark.parametrize("blank", [..., lambda x: None])
def test_blank_is_not_attempted(double, blank):
    assert double(blank).status == "not attempted"
    assert double.tries == 0


def test_none_in_place_of_the_function_is_told_to_pass_the_function(double):
    verdict = double(None)
    assert verdict.status == "not attempted"
    assert "`double` is None. Pass the function itself" in verdict.message


def test_stub_with_a_docstring_is_not_attempted(double):
    def stub(x):
        """Return 2 x."""
        ...

    assert double(stub).status == "not attempted"


def test_nothing_is_told_how_to_call(double):
    assert double().status == "not attempted"
    assert "`ex.double(double)`" in double().message


def test_forgotten_return_is_wrong_not_blank(double):
    def forgotten(x):
        2 * x

    verdict = double(forgotten)
    assert verdict.status == "wrong"
    assert "is a `return` missing?" in verdict.message


@pytest.mark.parametrize(
    ("attempt", "status", "words"),
    [
        (3, "wrong", "this arrived: 3. Pass the function itself"),
        (torch.ones(2), "wrong", "this arrived: tensor([1., 1.])"),
        (int, "wrong", "the class `int` arrived"),
        (
            lambda: 3,
            "raised",
            "takes 0 positional arguments but 1 was given\nThe check calls it as `double(x)`",
        ),
        (lambda x: "two", "wrong", "A value of type str came back instead of a tensor of shape (2,)"),
        (lambda x: (2 * x).numpy(), "wrong", "A NumPy array came back"),
        (lambda x: (2 * x).tolist(), "wrong", "A value of type list came back"),
        (lambda x: (2 * x).to("meta"), "wrong", "on the device meta, the input on cpu"),
        (lambda x: (2 * x).unsqueeze(0), "wrong", "an axis of size 1 is too many"),
        (lambda x: 2j * x, "wrong", "complex"),
        (lambda x: 1 / 0, "raised", "ZeroDivisionError: division by zero"),
        (lambda x: exit(), "raised", "SystemExit"),
        (lambda x: x**2, "wrong", "Twice, not squared."),
        (lambda x: 2 * x.reshape(7), "raised", "One number for all: keep the shape."),
        (lambda x: 2 * x + 0.5, "wrong", "0.5 too large everywhere"),
        (lambda x: 2 * x if x > 0 else x, "raised", "needs an answer. Use `torch.where`"),
        (lambda x: factor * x, "raised", "*Run All Above Selected Cell* in the Run menu"),  # noqa: F821
        (lambda x: (2 * x).sum().backward(), "raised", "asks for a gradient: `x.requires_grad_()`"),
        (lambda x: (2 * x).requires_grad_().add_(1), "raised", "Make a new one: `a = a + b`"),
        (lambda x: x.grad.sign(), "raised", "Something is None: a `.grad` before `backward()`"),
        (counts_from_nowhere, "raised", "set it to 0 above the loop"),
        (lambda x: x[len(x)], "raised", "of K entries the last is K − 1"),
        (lambda x: [1, 2][7], "raised", "of K entries the last is K − 1"),
        (lambda x: x.sum(dim=3), "raised", "There is no such axis"),
        (lambda x: x.expand(5, 5), "raised", "What is put in has another shape than its place"),
        (lambda x: x.long().softmax(0), "raised", "are its arguments in the wrong order"),
        (lambda x: nn.Conv1d(3, 1, 1)(torch.ones(1, 2, 5)), "raised", "takes as many channels"),
        (
            lambda x: nn.Linear(3, 1)(torch.ones(1, 2)),
            "raised",
            "as many numbers as the layers before it give",
        ),
        (nn.Linear(9, 9), "raised", "A network arrived. Pass `double` itself"),
    ],
)
def test_what_is_wrong_is_named(double, attempt, status, words):
    verdict = double(attempt)
    assert verdict.status == status
    assert words in verdict.message, verdict


def test_arguments_by_name_or_too_many_are_told_how_to_call(double):
    assert "Call it as `ex.double(double)`" in double(abs, abs).message
    assert "Call it as `ex.double(double)`" in double(attempt=abs).message


def test_gradient_mask_and_integer_types_are_accepted(double):
    weight = torch.tensor(2.0, requires_grad=True)
    assert double(lambda x: x * weight).status == "correct"


def test_a_correct_answer_can_be_told_a_remark(double):
    double.remark("Shorter: `2 * x`.")(lambda attempt: attempt.__name__ == "long")

    def long(x):
        return x + x

    assert double(long).message == "Right on all 3 test inputs. Go on with the next cell.\nShorter: `2 * x`."
    assert double(lambda x: 2 * x).message == "Right on all 3 test inputs. Go on with the next cell."


def test_changed_argument_of_a_wrong_answer_is_told_besides(double):
    def attempt(x):
        x += 1
        return x

    message = double(attempt).message
    assert "numbers differ" in message
    assert "Besides, `x` is no longer what it was" in message


def test_other_precision_is_correct_with_a_remark(double):
    verdict = double(lambda x: 2 * x.float())
    assert verdict.status == "correct"
    assert "the result is float32 where float64 would fit better" in verdict.message


def test_smallest_failing_input_is_shown_with_both_sides(double):
    shown = dict(double(lambda x: 3 * x).shown)
    assert shown["input"] == f"x = {normal(2)}"
    assert shown["yours"] == str(3 * normal(2))
    assert shown["expected"] == str(2 * normal(2))


def test_who_changes_an_argument_is_told(double):
    def in_place(x):
        x *= 2
        return x

    assert "`x` is no longer what it was" in double(in_place).message


def test_result_that_is_wrong_on_a_larger_input_is_not_called_right(lesson):
    @lesson.exercise(cases=[(torch.ones(1),), (torch.tensor([1.0, 2.0, 5.0]),)], hints=[])
    def spread(x):
        return x.max() - x.mean()

    def in_place_and_wrong(x):
        x -= x.median()
        return x.max()

    message = spread(in_place_and_wrong).message
    assert "The result is right" not in message
    assert "Besides, `x` is no longer what it was" in message


def test_who_deletes_from_an_argument_is_told(lesson):
    @lesson.exercise(cases=[([1, 2], {"a": 1})], hints=[])
    def count(items, names):
        return len(items)

    def emptying(items, names):
        number = len(items)
        items.clear()
        names.clear()
        return number

    assert "`items` is no longer what it was" in count(emptying).message
    assert "`items = list(items)`" in count(emptying).message  # the advice for tensors would not help


def test_sides_that_read_the_same_are_left_out(lesson):
    @lesson.exercise(cases=[(normal(100),)], hints=[])
    def negative(x):
        return -x

    verdict = negative(lambda x: x)
    assert "yours" not in dict(verdict.shown)
    assert "the expected one with the opposite sign" in verdict.message


def test_warnings_are_not_shown(double):
    def warns(x):
        warnings.warn("old", stacklevel=1)
        return 3 * x

    assert "printed" not in dict(double(warns).shown)


def test_printing_is_kept_apart(double, capsys):
    def chatty(x):
        print("x is", x.shape)
        return 3 * x

    verdict = double(chatty)
    assert dict(verdict.shown)["printed"] == "x is torch.Size([2])"
    assert capsys.readouterr().out == ""


def test_traceback_holds_the_learners_lines_alone(double):
    def helper(x):
        return torch.stack([x, torch.zeros(99)])

    def attempt(x):
        return helper(x)

    lines = dict(double(attempt).shown)["your line"].splitlines()
    assert [line.split(": ", 1)[1] for line in lines] == [
        "return helper(x)",
        "return torch.stack([x, torch.zeros(99)])",
    ]


def empty_slice(x):
    result = torch.ones_like(x)
    result[0:] = x[:-0]
    return result


def weight_of_a_network(x):
    return nn.Sequential(nn.Linear(2, 2)).weight @ x


@pytest.mark.parametrize(
    ("attempt", "means"),
    [
        (empty_slice, "Nothing is left of a slice"),
        (weight_of_a_network, "its layers have"),
        (lambda x: math.sqrt(x), "use `torch.sqrt`"),
        (lambda x: x ^ 2, "A power is written `**`"),
        (lambda x: x + x.sqrt, "are its brackets missing?"),
        (lambda x: torch.norm([x, x]), "in a list: join them"),
        (lambda x: torch.exp([x, x]), "in a list: join them"),
    ],
)
def test_common_error_is_told_what_it_means(double, attempt, means):
    verdict = double(attempt)
    assert verdict.status == "raised"
    assert means in verdict.message


def chosen(x, rows):
    """Return these rows of x."""
    return x[rows]


def test_slip_is_not_named_by_an_error_alone():
    cases = [(normal(3), torch.tensor([0, 2])), (normal(4), torch.tensor([1]))]
    exercise = ExerciseSet("Lesson").exercise(cases=cases, hints=["The rows."])(chosen)
    verdict = exercise(lambda x, rows: rows[x + 1])  # raises in the words in which `x[x]` does
    assert verdict.status == "raised"
    assert "in place of" not in verdict.message


def endless(x):
    while True:
        time.sleep(0.01)


def endless_though_exceptions_are_swallowed(x):
    for _ in range(1000):
        with contextlib.suppress(Exception):
            time.sleep(0.01)
    return 2 * x


def endless_though_all_is_swallowed_once(x):
    try:
        endless(x)
    except:  # noqa: E722
        endless(x)


@only_posix
@pytest.mark.parametrize(
    "endless", [endless, endless_though_exceptions_are_swallowed, endless_though_all_is_swallowed_once]
)
def test_endless_loop_is_stopped(double, monkeypatch, endless):
    monkeypatch.setattr(time_limit, "TIME_LIMIT_S", 0.3)
    started = time.perf_counter()
    verdict = double(endless)
    assert verdict.status == "wrong"
    assert "Is there a loop without end?" in verdict.message
    assert "input" in dict(verdict.shown)
    assert time.perf_counter() - started < 3


@only_posix
def test_time_limit_leaves_no_timer_behind():
    with time_limit.time_limit(60):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_beside_the_main_thread_a_verdict_comes_without_a_timer(double):
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(double(lambda x: 2 * x)))
    thread.start()
    thread.join()
    assert verdicts[0].status == "correct"


def test_check_leaves_the_generators_as_they_were(double):
    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    runtime.seed_everything(5)
    expected = draw()
    runtime.seed_everything(5)
    double(lambda x: 2 * x + sum(draw()))
    assert draw() == expected


def test_flaw_of_a_check_is_no_traceback(lesson):
    @lesson.exercise(cases=[(1,)], hints=[])
    def broken(x):
        return object()

    class Unequal:
        def __eq__(self, other):
            raise ValueError("do not compare me")

    verdict = broken(lambda x: Unequal())
    assert verdict.status == "wrong"
    assert "the flaw is ours" in verdict.message


# Several mistakes, several functions, classes ------------------------------------------------------------------


def test_of_two_mistakes_one_is_told(lesson):
    @lesson.exercise(cases=[(normal(3),), (normal(4),), (torch.tensor([1e30] * 5),)], hints=[])
    def unit(x):
        return (x.double() / x.double().norm()).float()

    @unit.mistake("The root is missing.")
    def _(x):
        return (x.double() / (x.double() ** 2).sum()).float()

    assert unit(lambda x: x / (x**2).sum()).message == "The root is missing."  # and it overflows


def test_mistake_that_agrees_on_few_of_the_failing_inputs_is_not_told(lesson):
    @lesson.exercise(cases=[(normal(n, seed=n),) for n in range(1, 9)], hints=["One."])
    def powers(x):
        return x + x**2

    @powers.mistake("Only one number gets it.")
    def _(x):
        return x + x**2 if len(x) < 5 else x**3 if len(x) == 5 else x**7

    def mine(x):
        return x + x**2 if len(x) < 5 else x**3 if len(x) == 5 else x**9

    assert "Only one number" not in powers(mine).message


def test_pairs_of_slips_are_registered_but_for_those_that_hide_each_other(lesson):
    @lesson.exercise(cases=[(number,) for number in range(1, 9)], hints=[])
    def line(x):
        return 2.0 * x + 1

    def with_slips(slope=2.0, sign=1, intercept=1):
        return lambda x: sign * slope * x + intercept

    slopes = {"The slope is 2.": {"slope": 3.0}, "It rises.": {"sign": -1}}
    line.slips(with_slips, slopes)
    line.pairs_of_slips(
        with_slips, slopes, {"Add 1.": {"intercept": 0}, "Not 5.": {"slope": 5.0}}, but=[{"sign", "slope"}]
    )
    line.pairs_of_slips(with_slips, slopes, words="Both: {} {}")
    assert line.sentences == [
        *slopes,
        "Two slips. The slope is 2. Add 1.",
        "Two slips. It rises. Add 1.",
        "Both: The slope is 2. It rises.",
    ]
    assert line(lambda x: -2.0 * x).message == "Two slips. It rises. Add 1."


def test_numbers_that_agree_by_accident_are_no_explanation(lesson):
    @lesson.exercise(cases=[(2,), (3,)], hints=[])
    def square(x):
        return x**2

    @square.mistake("Not the cube.")
    def _(x):
        return x**3

    assert square(lambda x: 8).message == "8 instead of 4."  # the cube of 2


def test_an_accidental_agreement_is_no_explanation(lesson):
    @lesson.exercise(cases=[(number,) for number in range(6)], hints=[])
    def add_three(x):
        return x + 3

    @add_three.mistake("Not times three.")
    def _(x):
        return 3 * x

    assert add_three(lambda x: 0).message == "Your result is 0 everywhere."  # agrees at x = 0 alone


def test_a_mistake_that_shows_elsewhere_is_no_explanation(lesson):
    @lesson.exercise(cases=[(number,) for number in range(6)], hints=[])
    def double(x):
        return 2 * x

    @double.mistake("Five is odd, too.")
    def _(x):
        return 2 * x if x < 5 else 0

    assert double(lambda x: 2 * x or 7).message.startswith(
        "Wrong only where `x` is 0. There 7 came out.\nRight on 5 of 6"
    )  # wrong at x = 0, like no mistake


def test_another_error_of_the_same_type_is_no_explanation(double):
    assert "One number for all" not in double(lambda x: x.reshape(99)).message


def test_functions_used_together_are_checked_together(lesson):
    @lesson.exercise(cases=[(2,), (3,)], hints=[])
    def encode(x):
        return -x

    @lesson.exercise(
        cases=[(2,), (3,)], hints=[], together=(encode,), observe=lambda encode, decode, x: decode(encode(x))
    )
    def decode(code):
        return -code

    assert decode(lambda x: -x, lambda code: 0 - code).status == "correct"
    assert decode(lambda x: -x, lambda code: code).status == "wrong"
    assert "builds on `encode`, which is not right yet" in decode(abs, lambda code: -code).message
    assert "builds on `encode`, which is not attempted yet" in decode(..., lambda code: -code).message
    swapped = decode(decode.reference, encode.reference)
    assert swapped.message == "The order of the arguments is `ex.decode(encode, decode)`."
    own = decode.reference
    assert decode.or_solution(own) is own  # with the solution of encode
    assert decode.usage == "ex.decode(encode, decode)"


def linear(build):
    """An exercise that asks for a class of networks, and an attempt made by `build`."""
    exercises = ExerciseSet("Lesson 0")

    @exercises.exercise(
        cases=[(2,), (3,)], hints=["One.", "Two."], observe=lambda net, n: net(n)(torch.ones(n)).shape
    )
    class Linear(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.layer = nn.Linear(n, 1)

        def forward(self, x):
            return self.layer(x)

    return Linear(type("Linear", (build,), {}))


def test_method_that_stands_inside_another_is_missing_not_blank():
    class Nested(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.layer = nn.Linear(n, 1)

            def forward(self, x):
                return self.layer(x)

    verdict = linear(Nested)
    assert verdict.status == "wrong"
    assert (
        "The class has no `forward`. Is it misspelled, outside the class, or indented too far"
        in verdict.message
    )


def test_class_that_inherits_its_forward_is_an_answer():
    class Layers(nn.Sequential):
        def __init__(self, n):
            super().__init__(nn.Linear(n, 1))

    assert linear(Layers).status == "correct"


def trained(model, *, floor=0.5):
    """A verdict on a model that has to tell positive numbers from negative ones, without a softmax."""
    exercises = ExerciseSet("Lesson 0")
    x = torch.tensor([[1.0], [2.0], [-1.0], [-3.0]])

    @exercises.trained_model(
        attempt="net", held_out=lambda: Split(x, torch.tensor([1, 1, 0, 0])), hints=["One.", "Two."],
        score=lambda logits, labels: {"accuracy": (logits.argmax(dim=1) == labels).sum().item() / len(labels)},
        floors={"accuracy": floor},
    )  # fmt: skip
    def signs():
        return None

    @signs.symptom("There is a softmax.", always=True)
    def _(model, split):
        return torch.allclose(model(split.x).sum(dim=1), torch.ones(4))

    @signs.symptom("It says the same of all.")
    def _(model, split):
        return len(model(split.x).argmax(dim=1).unique()) == 1

    return signs(model)


class _Signs(nn.Module):
    def __init__(self, *, softmax=False, lean=0.0):
        super().__init__()
        self.softmax, self.lean = softmax, lean

    def forward(self, x):
        logits = torch.cat([-x, x + self.lean], dim=1)
        return logits.softmax(dim=1) if self.softmax else logits


def test_symptom_counts_below_the_floors_and_where_asked_above_them_too():
    assert trained(_Signs()).status == "correct"
    assert (
        trained(_Signs(lean=9.0), floor=0.5).status == "correct"
    )  # it says the same of all, and that is enough
    assert "It says the same of all." in trained(_Signs(lean=9.0), floor=0.9).message
    for floor in (0.5, 1.1):
        assert "There is a softmax." in trained(_Signs(softmax=True), floor=floor).message


def test_record_of_a_training_is_told_from_the_network():
    assert "Return the network itself" in trained(train.History()).message


def test_class_is_blank_until_a_method_does_something():
    class Empty(nn.Module):
        """To do."""

        def __init__(self, x):
            super().__init__()

        def forward(self, x): ...

    class Inheriting(lesson03.Standardise.reference):
        """Its forward is that of the base."""

        def __init__(self, x):
            super().__init__(2 * x)

    assert attempts.is_blank(Empty)
    assert not attempts.is_blank(Inheriting)
    assert not attempts.is_blank(lesson03.Standardise.reference)
    assert lesson03.Standardise(Empty).status == "not attempted"


def test_state_on_a_wrong_answer_is_not_lost_by_the_next(double):
    double(lambda x: x)
    double(lambda x: 2 * x)
    double.hint()
    assert (double.status, double.tries, double.hints_taken) == ("correct", 2, 1)


# Help --------------------------------------------------------------------------------------------------------


def test_hints_come_one_by_one_and_end_at_the_solution(double, capsys):
    for expected in ("Hint 1 of 2: One.", "Hint 2 of 2: Two. (The last one", "Hint 2 of 2: Two."):
        double.hint()
        assert expected in capsys.readouterr().out
    assert ("help", "ex.double.solution()") in double(lambda x: x).shown


def test_solution_is_printed_without_decorators(double, capsys):
    double.solution()
    assert capsys.readouterr().out == 'def double(x):\n    """Return 2 x."""\n    return 2 * x\n'


def test_or_solution_keeps_a_correct_answer_and_replaces_another_saying_so(double, capsys):
    def own(x):
        return x + x

    assert double.or_solution(own) is own
    assert double.tries == 0
    assert capsys.readouterr().out == ""
    assert double.or_solution(lambda x: 2 * x.double()) is double.reference  # later cells would meet float64
    assert "A remark: the result is float64" in capsys.readouterr().out
    assert double.or_solution(None)(torch.ones(2)).tolist() == [2, 2]
    assert (
        "double: not attempted\nFrom here on the lesson uses the course's solution."
        in capsys.readouterr().out
    )


def test_or_solution_run_again_says_the_same_and_counts_nothing(double, capsys):
    answer = double.or_solution(None)
    first = capsys.readouterr().out
    assert double.or_solution(answer) is answer
    assert capsys.readouterr().out == first
    assert (double.status, double.tries) == ("not attempted", 0)


def test_strict_mode_raises_what_is_not_correct(double, monkeypatch):
    monkeypatch.setenv("COURSEKIT_STRICT", "1")
    assert double(lambda x: 2 * x).status == "correct"
    for attempt in (None, lambda x: x):
        with pytest.raises(ExerciseError, match="double"):
            double(attempt)


def test_report_lists_what_was_tried(lesson, double):
    lesson.quiz("quiz", hints=[], q=Question("a", "So."))
    double(lambda x: x)
    double.hint()
    report = lesson.report()
    assert report.rows == (("double", "wrong", 1, 1), ("quiz", "not attempted", 0, 0))
    assert "Lesson 0: 0 of 2 correct" in repr(report)
    assert "✗ wrong" in report._repr_html_()


def test_unknown_exercise_lists_the_nearest():
    with pytest.raises(AttributeError, match=r"no exercise 'sofmax'; did you mean softmax\?"):
        lesson03.sofmax  # noqa: B018
    with pytest.raises(AttributeError) as raised:
        lesson03.quizz  # noqa: B018
    assert raised.value._render_traceback_() == [f"AttributeError: {raised.value}"]
    with pytest.raises(AttributeError, match="there are count_parameters, shape_of_output"):
        lesson03.zzz  # noqa: B018


def test_completion_offers_the_exercises_alone():
    assert set(dir(lesson03)) == {*lesson03.lesson.exercises, "report"}


# Questions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def quiz(lesson):
    return lesson.quiz(
        "quiz",
        hints=["Think."],
        capital=Question("b", "It is.", {"a": "That is the river."}),
        number=Question(1, "Eight less seven.", {8: "Subtract seven."}, tolerance=0.01),
        shape=Question((2, 3), "Two rows.", {(3, 2): "Turned."}),
    )


def test_quiz_gives_a_reason_for_every_answer(quiz):
    verdict = quiz(capital="B ", number=8, shape=[3, 2])
    assert verdict.status == "wrong"
    assert verdict.message.splitlines() == [
        "✓ capital: It is.",
        "✗ number: Subtract seven.",
        "✗ shape: Turned.",
    ]


def test_quiz_is_correct_when_all_is(quiz):
    assert quiz(capital="b", number=torch.tensor(1.005), shape=torch.Size([2, 3])).status == "correct"


def test_quiz_half_done_is_not_attempted_but_marked(quiz):
    verdict = quiz(capital="b", number=..., shape=...)
    assert verdict.status == "not attempted"
    assert "✓ capital" in verdict.message
    assert "○ number" in verdict.message


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"capital": "z"}, "Give one of the letters a, b, in quotes"),
        ({"capital": 2}, "Give one of the letters"),
        ({"number": "1"}, "Give a number, without quotes"),
        ({"number": [1]}, "Give one number, without brackets"),
        ({"number": 3}, "3 is not it."),
        ({"shape": (7, 7)}, "(7, 7) is not it."),
        ({"number": True}, "Give one number"),
        ({"shape": 6}, "Give a shape in brackets"),
        ({"shape": torch.ones(2)}, "Give the shape, not the values"),
        ({"capitol": "b"}, "no question 'capitol'; did you mean capital?"),
    ],
)
def test_quiz_says_what_kind_of_answer_is_asked(quiz, answers, words):
    verdict = quiz(**answers)
    assert verdict.status == "wrong"
    assert words in verdict.message


def test_quiz_by_position_is_told_how(quiz):
    assert "Answer by name: `ex.quiz(capital=..., number=..., shape=...)`" in quiz("b").message
    assert quiz().status == "not attempted"


def test_prediction_takes_one_answer(lesson):
    guess = lesson.prediction("guess", Question((5, 3), "Rows first.", {(3, 5): "Turned."}), hints=["Rows."])
    assert guess((5, 3)).message == "Rows first."
    assert guess((3, 5)).message == "Turned."
    assert guess(...).status == guess().status == guess((..., ...)).status == "not attempted"
    assert "brackets of its own" in guess(5, 3).message


# Comparing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yours", "expected"),
    [
        (0.75, torch.tensor(0.75)),
        (torch.tensor(0.75), 0.75),
        (np.float32(0.5), 0.5),
        (torch.tensor([True, False]), torch.tensor([1.0, 0.0])),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.nan])),
        ([1, 2], (1, 2)),
        (torch.Size([2, 3]), (2, 3)),
        (torch.tensor([2.0, 3.0]), (torch.tensor(2.0), 3)),
        ({"a": 1.0}, {"a": 1}),
        (torch.tensor([1.00005]), torch.tensor([1.0])),
        (np.array([1, 2]), np.array([1, 2])),
    ],
)
def test_equal_values_agree_whatever_their_type(yours, expected):
    assert difference(yours, expected) is None


@pytest.mark.parametrize(
    ("yours", "expected"),
    [
        (torch.tensor([0.75]), 0.75),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 2.0])),
        (torch.tensor([1.00005], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)),
        ((1, 2, 3), (1, 2)),
        ("a", "b"),
        (None, 1),
        (None, {"a": 1}),
        (torch.tensor([2.0, 3.0]), (torch.ones(2), torch.ones(2))),
        (np.array([1, 2]), "a"),
        (np.array([1, 2]), np.array([1, 3])),
    ],
)
def test_unequal_values_differ(yours, expected):
    assert difference(yours, expected) is not None


def test_single_numbers_are_told_plainly():
    assert difference(torch.tensor(0.25), 0.5).sentence == "0.25 instead of 0.5."
    assert difference({"parameters": 8}, {"parameters": 11}).sentence == "parameters: 8 instead of 11."
    assert difference(np.array(0.5), 0.5) is None
    assert difference(torch.ones(1), torch.zeros(1)).sentence == "The number differs at [0]: 1 instead of 0."


def test_rows_of_a_matrix_stay_aligned_behind_their_name():
    assert labelled("W", "[[1],\n [2]]", " = ") == "W = [[1],\n     [2]]"


def test_difference_in_a_tuple_names_the_entry():
    found = difference((torch.ones(2), torch.ones(2)), (torch.ones(2), torch.zeros(2)), ("first", "second"))
    assert found.sentence == "second: 2 of 2 numbers differ, most at [0]: 1 instead of 0."
    assert (found.yours, found.expected) == ("second: tensor([1., 1.])", "second: tensor([0., 0.])")


def test_nan_is_the_largest_difference():
    found = difference(torch.tensor([5.0, torch.nan]), torch.tensor([0.0, 0.0]))
    assert "most at [1]: nan instead of 0" in found.sentence


def test_remark_names_both_types():
    single, double = torch.ones(1), torch.ones(1).double()
    assert remarks([double], [single]) == [
        "A remark: the result is float64 where float32 would fit better. Keep the type of the input."
    ]
    assert remarks([single.bool(), 1.0], [single, single]) == []


def test_answer_of_one_type_for_all_inputs_gets_one_remark():
    single, double = torch.ones(1), torch.ones(1).double()
    (remark,) = remarks([single.half(), double.half()], [single, double])
    assert remark == "A remark: the result is always float16. Keep the type of the input: `dtype=x.dtype`."


@pytest.mark.parametrize(
    ("yours", "sentence"),
    [
        ({"loss": 1.0}, "The entry 'weights' is missing."),
        ({"loss": 1.0, "weights": 2, "bias": 3}, "The entry 'bias' is not expected."),
        ({"lost": 1.0, "weights": 2}, "The entry 'loss' is missing. The entry 'lost' is not expected."),
    ],
)
def test_entries_of_a_dict_that_are_missing_or_too_many_are_named(yours, sentence):
    assert difference(yours, {"loss": 1.0, "weights": 2}).sentence == sentence


def test_same_sees_every_change():
    net = nn.Linear(2, 2)
    other = nn.Linear(2, 2)
    assert same([torch.ones(2), {"a": (net, 1)}], [torch.ones(2), {"a": (net, 1)}])
    assert same(torch.tensor([torch.nan]), torch.tensor([torch.nan]))
    for before, after in [
        (torch.ones(2), torch.ones(3)),
        (torch.ones(2), torch.ones(2).double()),
        (net, other),
        ([1, 2], [1]),
        ({"a": 1}, {"b": 1}),
        (1, 1.0),
        (net, copy.deepcopy(net).eval()),
        (net, copy.deepcopy(net).requires_grad_(False)),
        (torch.ones(2), torch.ones(2, requires_grad=True)),
    ]:
        assert not same(before, after)


def test_large_and_broken_values_are_shown_in_short():
    class Shy:
        def __repr__(self):
            raise RuntimeError

    assert show(torch.zeros(100, 10)) == "float32 tensor (100, 10)"
    assert show(torch.ones(1, requires_grad=True)) == "tensor([1.])"
    assert show(Shy()).startswith("<Shy")
    assert len(show("x" * 1000)) < 150
    assert size([torch.ones(3), (1, 2), {"a": "text"}]) == 9


# Looks -------------------------------------------------------------------------------------------------------


def test_verdict_says_in_words_and_symbols_what_colour_says():
    verdict = Verdict("softmax", "wrong", "Take `dim=1` & not <0>.\nSecond line.", (("yours", "1\n<2>"),))
    html = verdict._repr_html_()
    assert "✗ softmax · wrong" in html
    assert re.search(r"<code style='[^']*white-space:nowrap'>dim=1</code> &amp; not &lt;0&gt;\.", html)
    assert "&lt;2&gt;" in html
    assert (
        repr(verdict)
        == "✗ softmax · wrong\n  Take `dim=1` & not <0>.\n  Second line.\n  yours  1\n         <2>"
    )


def test_names_of_test_inputs_are_set_apart_and_products_are_not():
    html = Verdict(
        "a", "wrong", "Wrong for *a row of zeros*, as 2 * x and 3 * y are, and `a * b` * c."
    )._repr_html_()
    assert "<i>a row of zeros</i>, as 2 * x and 3 * y are" in html
    assert html.count("<i>") == 1


def test_verdict_can_be_printed_on_any_console(double, capsys, monkeypatch):
    verdict = double(lambda x: 3 * x)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    print(verdict)
    double.hint()
    double.solution()
    double.or_solution(None)
    assert repr(verdict).startswith("x double - wrong")


NOTEBOOK = """
from coursekit.checks import ExerciseSet
lesson = ExerciseSet("Test")
double = lesson.exercise(cases=[(1,)], hints=["a", "b"])(lambda x: 2 * x)
double.name = "double"
"""


def test_verdict_shows_once_in_a_cell_and_also_where_the_cell_goes_on(tmp_path):
    last, middle, later = "double(None)", "verdict = double(None)\nprint('on')", "verdict"
    run = execute(write(tmp_path / "01_a.ipynb", NOTEBOOK, last, middle, later))
    assert run.error == ""
    shown = [str(cell.outputs).count("'text/html'") for cell in run.notebook.cells[2:]]
    assert shown == [1, 1, 1]


@pytest.mark.parametrize("thing", [Verdict("a", "correct", "b"), Report("L", (("a", "wrong", 1, 0),))])
def test_colours_are_the_themes_own(thing):
    html = thing._repr_html_()
    assert "background:#" not in html
    assert "<style" not in html
    assert not [part for part in html.split("color:")[1:] if not part.startswith("inherit")]


# The example of CONTRIBUTING.md --------------------------------------------------------------------------------


def test_example_for_authors_holds_the_contract(tmp_path, monkeypatch):
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    example = next(block for block in blocks if "@lesson.exercise" in block)
    (tmp_path / "example_of_contributing.py").write_text(f"import torch\n{example}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    unit_vector = importlib.import_module("example_of_contributing").unit_vector
    assert unit_vector(lambda x: nn.functional.normalize(x, dim=0)).status == "correct"
    assert len(unit_vector.known) == 2
    for mistake in unit_vector.known:
        assert mistake.sentence in unit_vector(mistake.attempt).message
