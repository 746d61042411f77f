"""No state of the kernel changes a verdict, and no answer changes the state of the kernel."""

import random
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from coursekit import exercises
from coursekit.checks import CodeExercise, ExerciseSet, pinned
from coursekit.exercises import lesson03, lesson05


@pytest.fixture
def double():
    """An exercise with two test inputs that have names."""
    lesson = ExerciseSet("Test")

    @lesson.exercise(
        cases={"two numbers": (torch.tensor([1.0, 2.0]),), "a zero": (torch.tensor([0.0]),)},
        hints=["One.", "Two."],
    )
    def double(x):
        """Return 2 x."""
        return 2 * x

    return double


def state():
    """All that a kernel has set."""
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        vars(torch._tensor_str.PRINT_OPTS).copy(),
        np.geterr(),
        np.get_printoptions(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        torch.get_rng_state().tolist(),
        plt.get_fignums(),
    )


CHANGES = {
    "type": lambda: torch.set_default_dtype(torch.float64),
    "device": lambda: torch.set_default_device("meta"),
    "gradients": lambda: torch.set_grad_enabled(False),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "printing": lambda: torch.set_printoptions(precision=1, sci_mode=True),
    "NumPy's printing": lambda: np.set_printoptions(precision=1),
    "NumPy's errors": lambda: np.seterr(all="raise"),
    "a figure": lambda: plt.figure(),
    "Python's randomness": lambda: random.seed(7),
    "NumPy's randomness": lambda: np.random.seed(7),  # noqa: NPY002
    "torch's randomness": lambda: torch.manual_seed(7),
}


@pytest.fixture(params=CHANGES.values(), ids=CHANGES)
def change(request):
    """A change of the kernel's state, taken back afterwards."""
    threads = torch.get_num_threads()
    with pinned():
        yield request.param
    torch.set_num_threads(threads)


def test_answer_that_changes_the_kernel_is_judged_and_changes_nothing(double, change):
    def changing(x):
        change()
        return 2 * x.detach()

    before = state()
    verdict = double(changing)
    assert verdict.status in ("correct", "raised", "wrong")
    assert state() == before


def test_verdicts_are_the_same_in_a_changed_kernel(double, change):
    before = [str(double(attempt)) for attempt in (double.reference, lambda x: x, lambda x: x / 0)]
    change()
    assert [str(double(attempt)) for attempt in (double.reference, lambda x: x, lambda x: x / 0)] == before


@pytest.mark.parametrize(
    "change", [CHANGES["type"], CHANGES["gradients"], CHANGES["device"]], ids=["type", "gradients", "device"]
)
@pytest.mark.parametrize("name", ["build_mlp", "softmax", "train_step", "backward", "Standardise"])
def test_registered_mistakes_stay_wrong_and_solutions_right_in_a_changed_kernel(name, change):
    exercise = lesson03.lesson.exercises[name]
    helpers = [helper.reference for helper in exercise.helpers]
    with pinned():
        change()
        assert exercise(*helpers, exercise.reference).status == "correct"
        for mistake in exercise.known:
            assert exercise(*helpers, mistake.attempt).status != "correct", mistake.sentence


def test_test_inputs_are_made_under_the_defaults_whatever_the_kernel_has_set():
    module = exercises.lesson01
    del sys.modules["coursekit.exercises.lesson01"], exercises.lesson01
    try:
        with pinned():
            torch.set_default_dtype(torch.float64)
            fresh = exercises.lesson01
        (case, *_) = fresh.cosine_similarity.inputs.cases
        assert {value.dtype for value in case} == {torch.float32}
    finally:
        sys.modules["coursekit.exercises.lesson01"] = exercises.lesson01 = module


def test_where_the_solution_fails_nothing_is_correct():
    lesson = ExerciseSet("Test")

    @lesson.exercise(cases=[(torch.ones(2),)], hints=["One.", "Two."])
    def broken(x):
        """Return what cannot be had."""
        raise RuntimeError("no such thing")

    for attempt in (broken.reference, lambda x: x):
        verdict = broken(attempt)
        assert verdict.status == "wrong"
        assert "The course's own solution fails here (RuntimeError: no such thing)" in verdict.message


def test_model_left_frozen_or_in_another_mode_is_a_changed_argument():
    fgsm = lesson05.fgsm
    assert isinstance(fgsm, CodeExercise)

    def freezing(model, *arguments):
        model.requires_grad_(False)
        model.eval()
        return fgsm.reference(model, *arguments)

    assert fgsm(freezing).status != "correct"


def test_named_inputs_tell_where_an_answer_is_right_and_where_wrong(double):
    verdict = double(lambda x: 2 * x + (x == 0))
    assert "Right on 1 of 2 test inputs; wrong for *a zero*." in verdict.message
    assert "Right on" not in double(lambda x: 2 * x + 1).message  # wrong everywhere


def test_mistakes_are_edits_of_the_solution_or_functions(double):
    double.mistakes(
        {
            "Three times, not twice.": {"2 * x": "3 * x"},
            "That is the square.": lambda x: x * x,
        }
    )
    assert "Three times" in double(lambda x: x + x + x).message
    assert "square" in double(lambda x: x**2).message
    with pytest.raises(
        ValueError, match=r"double: the mistake 'Halved.' edits '/ 2', which its solution lacks"
    ):
        double.mistakes({"Halved.": {"/ 2": ""}})


def test_outcomes_of_mistakes_are_kept(double):
    calls = []
    double.mistake("Counted.")(lambda x: calls.append(1) or 7 * x)
    for _ in range(3):
        double(lambda x: x)
    assert len(calls) == 2  # once for each test input


def test_layer_of_a_wrong_type_is_told_as_before():
    assert lesson03.build_mlp(lambda hidden: nn.ReLU).status != "correct"
