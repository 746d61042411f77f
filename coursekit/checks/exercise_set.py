"""The exercises of one lesson, and what makes them."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from coursekit.checks.base import Exercise, nearest
from coursekit.checks.functions import CodeExercise
from coursekit.checks.memory import remembered, whereabouts
from coursekit.checks.models import ModelExercise
from coursekit.checks.questions import Prediction, Question, Quiz
from coursekit.checks.reports import Report
from coursekit.checks.verdicts import UnknownExerciseError
from coursekit.data import Split


class NamedFunction:
    """A function that is handed to attempts, shown by its name; a copy of a test input holds the same one."""

    def __init__(self, name: str, function: Callable) -> None:
        self.name, self.function = name, function

    def __call__(self, *arguments: object) -> object:
        """Return what the function makes of the arguments."""
        return self.function(*arguments)

    def __repr__(self) -> str:
        return self.name

    def __deepcopy__(self, memo: dict) -> "NamedFunction":
        return self


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return standard normal numbers, the same at every call: a test input."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class ExerciseSet:
    """The exercises of one lesson, in order, by name."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.exercises: dict[str, Exercise] = {}

    def exercise(
        self,
        *,
        cases: list[tuple],
        hints: Iterable[str],
        observe: Callable | None = None,
        together: tuple[CodeExercise, ...] = (),
        returns: tuple[str, ...] = (),
    ) -> Callable[[Callable], CodeExercise]:
        """Decorate a solution, a function or a class, to make it an exercise of the same name.

        An attempt is correct if on every one of `cases`, tuples of arguments, it does what the solution does and
        leaves its arguments as they were. What is compared is the returned value, or what
        `observe(attempt, *arguments)` returns: numbers, tensors, or tuples and dicts of them. Exercises in
        `together` are solved before and their attempts handed to `observe` first. `returns` names the entries of a
        returned tuple in messages.
        """
        return lambda solution: self.add(
            CodeExercise(
                solution, cases=cases, hints=hints, observe=observe, together=together, returns=returns
            )
        )

    def trained_model(
        self,
        *,
        attempt: str,
        held_out: Callable[[], Split],
        score: Callable[[Tensor, Tensor], dict[str, float]],
        floors: dict[str, float],
        hints: Iterable[str],
    ) -> Callable[[Callable], ModelExercise]:
        """Decorate a function that trains, to make an exercise for the model it returns, called `attempt`.

        A model is correct if `score(logits, labels)` on the examples of `held_out()` reaches all `floors`.
        """
        return lambda solution: self.add(
            ModelExercise(
                solution, attempt=attempt, held_out=held_out, score=score, floors=floors, hints=hints
            )
        )

    def quiz(self, name: str, *, hints: Iterable[str], **questions: Question) -> Quiz:
        """Make a quiz; its questions stand in the notebook, their answers and reasons here."""
        return self.add(Quiz(name, hints, questions))

    def prediction(self, name: str, question: Question, *, hints: Iterable[str]) -> Prediction:
        """Make a question that is answered before the next cell shows the answer."""
        return self.add(Prediction(name, hints, question))

    def add(self, exercise: Exercise) -> Exercise:
        """Take in an exercise that was made elsewhere, such as one of a kind of its own, as the last; return it."""
        self.exercises[exercise.name], exercise.lesson = exercise, self.title
        return exercise

    def report(self) -> Report:
        """Return the table of all exercises: last verdict, tries and hints, and what was reached in other kernels."""
        rows = [(one.name, one.status, one.tries, one.hints_taken) for one in self.exercises.values()]
        reached = remembered().get(self.title, {})
        known = {name: one for name, one in reached.items() if name in self.exercises}
        all_lessons = "All lessons: `from coursekit import progress; progress.overview()`"
        return Report(self.title, tuple(rows), known, f"{whereabouts()} {all_lessons}" if known else "")

    def unknown(self, name: str) -> None:
        """Raise an AttributeError for a name that no exercise has, with the nearest: a module's `__getattr__`."""
        raise UnknownExerciseError(f"{self.title} has no exercise {name!r}{nearest(name, self.exercises)}")

    def names(self) -> list[str]:
        """Return what can be called: a module's `__dir__`, for completion."""
        return [*self.exercises, "report"]
