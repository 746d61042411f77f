"""What is said of a wrong answer: which mistake it makes, as exactly as that can be known."""

import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

from coursekit.checks import time_limit
from coursekit.checks.changes import with_one_change
from coursekit.checks.compare import size
from coursekit.checks.relations import relation
from coursekit.checks.runs import Inputs, Outcome

_CHANGES_S = 0.5  # seconds that all changes of an attempt may take
_SLIP_S = 0.2  # and one changed solution


@dataclass
class Mistake:
    """A wrong solution, and the sentence for whoever wrote one that does the same; its outcomes are kept."""

    sentence: str
    attempt: Callable
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by the number of the test input


class Explanations:
    """Finds what to say of wrong attempts on an exercise, whose solution may need helpers before it."""

    def __init__(
        self,
        inputs: Inputs,
        known: list[Mistake],
        *,
        solution: Callable,
        source: Callable[[], str],
        helpers: tuple[Callable, ...],
        returns: tuple[str, ...],
    ) -> None:
        """Keep the test inputs, the mistakes that are known, and the solution with its source."""
        self._inputs, self._known, self._returns = inputs, known, returns
        self._solution, self._source, self._helpers = solution, source, helpers

    def explained(
        self, given: tuple, failing: list[int], yours: list[Outcome], expected: list[Outcome]
    ) -> tuple[str, list[int]]:
        """Return what to say of the failing inputs, "" where nothing is known, and those it is true of.

        First a known mistake that does the same on all inputs; then the one change that makes the attempt right; how
        the results relate to the expected ones; the slip with which the solution does the same; last a known mistake
        that does the same on half of the inputs, since an attempt with two mistakes should be told one.
        """
        agreeing, sentence, alike = max(
            self._known_alike(failing, yours), key=lambda known: known[0], default=(0, "", failing)
        )
        if agreeing == len(yours):
            return sentence, alike
        found = (
            self._change(given, failing, expected)
            or self._related(yours, expected)
            or self._slip(failing, yours)
        )
        if found or not sentence:
            return found or "", failing
        where = "Where it is wrong" if alike == failing else f"On {len(alike)} of {len(failing)} wrong inputs"
        return f"{where}, your code does what this mistake does:\n{sentence}", alike

    def _known_alike(self, failing: list[int], yours: list[Outcome]) -> Iterator[tuple[int, str, list[int]]]:
        """Yield known mistakes that do the same: on how many inputs, their sentence, and on which failing ones.

        Half of the inputs is enough, of the failing ones as of all, unless that rests on single numbers or on integers,
        which may agree by accident.
        """
        for mistake in self._known:
            agree = self._agreement(mistake, yours)
            alike = [number for number in failing if number in agree]
            by_accident = all(
                yours[number].error is None and _says_little(yours[number].value) for number in alike
            )
            if 2 * len(alike) >= len(failing) and (len(agree) == len(yours) or not by_accident):
                yield len(agree), mistake.sentence, alike

    def _agreement(self, mistake: Mistake, yours: list[Outcome]) -> list[int]:
        """Return on which inputs a mistake does the same; none as soon as they are less than half of all."""
        agree, differing = [], 0
        for number, mine in enumerate(yours):
            if self._does_the_same(mistake, number, mine):
                agree.append(number)
            else:
                differing += 1
                if differing > len(yours) / 2:
                    return []
        return agree

    def _does_the_same(self, mistake: Mistake, number: int, mine: Outcome) -> bool:
        if number not in mistake.outcomes:
            mistake.outcomes[number] = self._inputs.outcome((*self._helpers, mistake.attempt), number)
        return mine.agrees_with(mistake.outcomes[number])

    def _change(self, given: tuple, failing: list[int], expected: list[Outcome]) -> str:
        """Return the change that makes an attempt right, "" where one is not enough or its code is not at hand."""
        *helpers, attempt = given
        with_code = _code_and_scope(attempt)
        if with_code is None:
            return ""
        try:
            with time_limit.time_limit(_CHANGES_S):
                for change, changed in with_one_change(*with_code):
                    outcomes = (
                        self._inputs.outcome((*helpers, changed), number).is_right(expected[number])
                        for number in _first(failing, len(expected))
                    )
                    if all(outcomes):
                        return f"Your code is right {change}."
        except time_limit.Stopped:
            pass
        return ""

    @functools.cached_property
    def _slipped(self) -> list[Mistake]:
        made = with_one_change(self._source(), vars(inspect.getmodule(self._solution)))
        return [
            Mistake(f"Your code does what the solution would do {slip}.", attempt) for slip, attempt in made
        ]

    def _slip(self, failing: list[int], yours: list[Outcome]) -> str:
        """Return the slip with which the solution does the same on all inputs, "" where there is none.

        Nothing is said of an attempt that raised: different slips end in the same words.
        """
        if any(mine.error for mine in yours):
            return ""
        order = _first(failing, len(yours))
        for slip in self._slipped.copy():
            try:
                with time_limit.time_limit(_SLIP_S):
                    if all(self._does_the_same(slip, number, yours[number]) for number in order):
                        return slip.sentence
            except time_limit.Stopped:  # a loop without end
                self._slipped.remove(slip)
        return ""

    def _related(self, yours: list[Outcome], expected: list[Outcome]) -> str | None:
        """Return how the results relate to the expected ones; None where nothing simple does.

        Nothing is said where an attempt raised, or changed an argument: what is wrong then depends on the order.
        """
        pairs = zip(yours, expected, strict=True)
        if any(mine.error or not mine.keeps_arguments(right) for mine, right in pairs):
            return None
        inputs = [self._inputs.by_name(number) for number in range(len(yours))]
        return relation(
            [mine.value for mine in yours], [right.value for right in expected], inputs, self._returns
        )


def _first(failing: Iterable[int], count: int) -> list[int]:
    """Return the numbers below `count`, those that fail first."""
    return sorted(range(count), key=lambda number: number not in failing)


def _says_little(value: object) -> bool:
    """Return whether a value may be the same by accident: fewer than three numbers, or all of them integers."""
    return size(value) < 3 or (isinstance(value, Tensor) and not value.is_floating_point())


def _code_and_scope(attempt: object) -> tuple[str, dict] | None:
    """Return the text of a function or a class and the names it uses; None for anything else."""
    try:
        source = textwrap.dedent(inspect.getsource(attempt))
    except (OSError, TypeError):  # no code at hand, or no code at all
        return None
    # neither a lambda nor decorated: a decorator would act once more with every change
    if not source.startswith(("def ", "class ")):
        return None
    if inspect.isclass(attempt):
        return source, vars(sys.modules[attempt.__module__])
    return source, attempt.__globals__ | inspect.getclosurevars(attempt).nonlocals
