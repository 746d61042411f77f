"""Exercises in which a function or a class is written."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from coursekit.exercises import attempts
from coursekit.exercises.base import SolvedByCode
from coursekit.exercises.compare import difference, remark, same, show, size
from coursekit.exercises.verdicts import Verdict

_PRINTED = 400  # characters of what an attempt printed


@dataclass(frozen=True)
class Mistake:
    """A wrong solution, and the sentence for whoever wrote one that does the same."""

    sentence: str
    attempt: Callable


@dataclass(frozen=True)
class Outcome:
    """What an attempt did on one test input: the value or error, what it printed, the argument it changed."""

    value: object = None
    error: BaseException | None = None
    printed: str = ""
    changed: str = ""

    def agrees_with(self, other: "Outcome") -> bool:
        """Return whether both gave the same value, or failed with the same words."""
        if self.error is not None or other.error is not None:
            return repr(self.error) == repr(other.error)
        return difference(self.value, other.value) is None

    def is_right(self, expected: "Outcome") -> bool:
        """Return whether the value is the expected one and all arguments are as they were."""
        return not self.changed and self.agrees_with(expected)


class CodeExercise(SolvedByCode):
    """A function or a class that has to do on the test inputs what the solution does. Made by Lesson.exercise."""

    def __init__(self, solution, *, cases, hints, observe=None, together=(), returns=()) -> None:
        arguments = [*(exercise.name for exercise in together), solution.__name__]
        super().__init__(solution, arguments, hints)
        self.mistakes: list[Mistake] = []
        self._cases, self._together, self._returns = cases, together, returns
        self._observe = observe or (lambda attempt, *inputs: attempt(*inputs))
        self._inputs = list(inspect.signature(observe or solution).parameters)
        if observe:
            del self._inputs[: len(arguments)]

    @property
    def sentences(self) -> list[str]:
        """What it says about the mistakes it knows."""
        return [mistake.sentence for mistake in self.mistakes]

    def mistake(self, sentence: str) -> Callable[[Callable], Callable]:
        """Decorate a wrong solution: an attempt that does the same on all test inputs is told `sentence`."""

        def register(attempt: Callable) -> Callable:
            self.mistakes.append(Mistake(sentence, attempt))
            return attempt

        return register

    def or_solution(self, *given: object) -> object:
        """Return the attempt, the last of those given, if it is correct; else the solution, and print so."""
        if self._recorded(given, {}).status == "correct":
            return given[-1]
        print(f"{self.name}: {self.status}. From here on the lesson uses the course's solution.")
        return self._solution

    def _judge(self, given: tuple, named: dict) -> Verdict:
        unfit = self._misuse(given, named) or self._unfit(given)
        if unfit:
            return unfit
        return self._verdict(self._outcomes(given))

    def _unfit(self, given: tuple) -> Verdict | None:
        """Return the verdict on what need not be run: blank, no code, or built on an exercise not yet right."""
        asked = "class" if inspect.isclass(self._solution) else "function"
        for attempt, name in zip(given, self.arguments, strict=True):
            if inspect.isclass(attempt) and asked == "function" and not issubclass(attempt, nn.Module):
                return self._wrong(f"A function is asked, but the class `{attempt.__name__}` arrived.")
            if attempts.is_blank(attempt):
                first = f"It builds on `{name}`, which is not attempted yet."
                return self._not_attempted("" if name == self.name else first)
            if not callable(attempt):
                return self._wrong(
                    f"`{name}` should be a {asked}, but this arrived: {show(attempt)}. Pass the {asked} itself, "
                    f"without calling it: `{self.usage}`."
                )
        for attempt, exercise in zip(given, self._together, strict=False):
            if exercise._safe_verdict((attempt,), {}).status != "correct":
                return self._wrong(
                    f"It builds on `{exercise.name}`, which is not right yet: {exercise.usage}"
                )
        return None

    def _outcomes(self, given: tuple) -> list[Outcome]:
        """Return what an attempt does on the test inputs; the last outcome is Stopped when its time was over."""
        outcomes = []
        with attempts.kept_apart() as printed:
            try:
                with attempts.time_limit(attempts.TIME_LIMIT_S):
                    for case in self._cases:
                        outcomes.append(self._outcome(given, case))
            except attempts.Stopped as stopped:
                outcomes.append(Outcome(error=stopped, printed=printed.getvalue()))
        return outcomes

    def _outcome(self, given: tuple, case: tuple) -> Outcome:
        inputs = copy.deepcopy(case)
        with attempts.kept_apart() as printed, attempts.own_randomness():
            try:
                value = self._observe(*given, *inputs)
            except (Exception, SystemExit) as error:
                return Outcome(error=error, printed=printed.getvalue())
        pairs = zip(self._inputs, case, inputs, strict=True)
        changed = next((name for name, was, now in pairs if not same(was, now)), "")
        return Outcome(value, printed=printed.getvalue(), changed=changed)

    def _outcomes_of(self, attempt: Callable) -> list[Outcome]:
        return self._outcomes((*(exercise._solution for exercise in self._together), attempt))

    def _verdict(self, yours: list[Outcome]) -> Verdict:
        if isinstance(yours[-1].error, attempts.Stopped):
            return self._stopped(yours[-1].error, *self._shown(len(yours) - 1, yours[-1]))
        expected = self._outcomes_of(self._solution)
        failing = [number for number, mine in enumerate(yours) if not mine.is_right(expected[number])]
        if not failing:
            remarks = {remark(mine.value, right.value) for mine, right in zip(yours, expected, strict=True)}
            message = " ".join([f"Right on all {len(yours)} test inputs.", *sorted(remarks - {""})])
            return self._correct(message, *_printed(yours[0]))
        shown = min(failing, key=lambda number: size(self._cases[number]))
        return self._verdict_on(shown, yours, expected[shown])

    def _verdict_on(self, shown: int, yours: list[Outcome], right: Outcome) -> Verdict:
        mine = yours[shown]
        given = self._shown(shown, mine)
        if mine.error is not None:
            sentence = self._mistake_made(shown, yours) or self._how_it_is_called(mine.error)
            return self._raised(mine.error, sentence, *given)
        found = difference(mine.value, right.value, self._returns)
        if found:
            sentence = self._mistake_made(shown, yours) or found.sentence
            return self._wrong(sentence, *given, ("yours", found.yours), ("expected", found.expected))
        return self._wrong(
            f"The result is right, but `{mine.changed}` is no longer what it was, and the caller may still need it. "
            "Write `a = a - b` in place of `a -= b`, or work on a copy.",
            *given,
        )

    def _mistake_made(self, shown: int, yours: list[Outcome]) -> str:
        """Return the sentence of the known mistake that does the same most often, or "" where none explains it.

        It has to do the same on the input shown, and on half of all at least: who made two mistakes is told one.
        """
        agreements = {}
        for mistake in self.mistakes:
            theirs = self._outcomes_of(mistake.attempt)
            agree = [mine.agrees_with(wrong) for mine, wrong in zip(yours, theirs, strict=True)]
            if agree[shown] and 2 * sum(agree) >= len(agree):
                agreements[mistake.sentence] = sum(agree)
        return max(agreements, key=agreements.get, default="")

    def _how_it_is_called(self, error: BaseException) -> str:
        if attempts.learners_lines(error):
            return ""
        return f"The check calls it as `{self.name}{inspect.signature(self._solution)}`."

    def _shown(self, number: int, outcome: Outcome) -> list[tuple[str, str]]:
        pairs = zip(self._inputs, self._cases[number], strict=True)
        return [("input", "\n".join(f"{name} = {show(value)}" for name, value in pairs)), *_printed(outcome)]


def _printed(outcome: Outcome) -> list[tuple[str, str]]:
    text = outcome.printed.strip()
    return [("printed", text if len(text) <= _PRINTED else f"{text[:_PRINTED]} …")] if text else []
