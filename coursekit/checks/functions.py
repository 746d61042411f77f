"""Exercises in which a function or a class is written."""

import copy
import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from coursekit.checks import attempts, time_limit
from coursekit.checks.base import SolvedByCode
from coursekit.checks.compare import difference, labelled, remarks, same, show, size
from coursekit.checks.isolation import captured_output, pinned
from coursekit.checks.relations import relation
from coursekit.checks.slips import with_one_slip
from coursekit.checks.verdicts import Verdict, printable

Wrong = Callable | dict[str, str]  # a wrong solution, or edits that make the solution wrong
Slips = dict[str, dict]  # the sentence for a slip, and the options of a builder that make it

_SLIP_S = 0.2  # seconds that a slip may take
_PRINTED = 400  # characters of what an attempt printed
_NAMED = 3  # test inputs that are named as wrong


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

    def keeps_arguments(self, expected: "Outcome") -> bool:
        """Return whether no argument was changed that should stay as it was."""
        return self.changed in ("", expected.changed)

    def is_right(self, expected: "Outcome") -> bool:
        """Return whether the value is the expected one and no argument was changed that should stay as it was."""
        return self.error is None and self.keeps_arguments(expected) and self.agrees_with(expected)


@dataclass
class Mistake:
    """A wrong solution, and the sentence for whoever wrote one that does the same; its outcomes are kept."""

    sentence: str
    attempt: Callable
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by the number of the test input


class CodeExercise(SolvedByCode):
    """A function or a class that has to do on the test inputs what the solution does. Made by ExerciseSet.exercise."""

    def __init__(self, solution, *, cases, hints, observe=None, together=(), returns=()) -> None:
        arguments = [*(exercise.name for exercise in together), solution.__name__]
        super().__init__(solution, arguments, hints)
        self.known: list[Mistake] = []
        self.remarks: list[tuple[str, Callable]] = []
        self._names, self._cases = _named(cases)
        self.helpers, self._returns = together, returns
        self._replaced = f"{self.name}: this is the course's solution."
        self._observe = observe or (lambda attempt, *inputs: attempt(*inputs))
        self._inputs = list(inspect.signature(observe or solution).parameters)
        if observe:
            del self._inputs[: len(arguments)]

    @property
    def sentences(self) -> list[str]:
        """What it says about the mistakes it knows."""
        return [mistake.sentence for mistake in self.known]

    def mistakes(self, table: dict[str, Wrong | list[Wrong]]) -> None:
        """Register wrong solutions by the sentence each is told: a function, or edits of the solution's text.

        `{"dim=1": "dim=0"}` is the solution with one text in place of another, wherever it stands; a list holds
        several wrong solutions for one sentence. Raises ValueError for a text that the solution does not hold.
        """
        for sentence, wrongs in table.items():
            for wrong in wrongs if isinstance(wrongs, list) else [wrongs]:
                self.known.append(
                    Mistake(sentence, wrong if callable(wrong) else self._edited(sentence, wrong))
                )

    def _edited(self, sentence: str, edits: dict[str, str]) -> Callable:
        source = self.source()
        for before, after in edits.items():
            if before not in source:
                raise ValueError(
                    f"{self.name}: the mistake {sentence!r} edits {before!r}, which its solution lacks"
                )
            source = source.replace(before, after)
        scope = dict(vars(inspect.getmodule(self.reference)))
        exec(compile(source, f"<a mistake in {self.name}>", "exec"), scope)
        scope[self.name].source = source
        return scope[self.name]

    def slips(self, build: Callable, *families: Slips) -> None:
        """Register every slip of the families, `build(**options)` being the wrong solution."""
        self.mistakes({told: build(**options) for slips in families for told, options in slips.items()})

    def pairs_of_slips(
        self,
        build: Callable,
        ones: Slips,
        others: Slips | None = None,
        *,
        words: str = "Two slips. {} {}",
        but: Iterable[set[str]] = (),
    ) -> None:
        """Register every slip of one family together with every slip of the other, or with the rest of its own.

        `words` makes one sentence of two. Left out are pairs that set the same option, and those that set the options
        of a set in `but`, because one of their slips hides the other.
        """
        pairs = itertools.product(ones, others) if others else itertools.combinations(ones, 2)
        for one, other in pairs:
            first, second = ones[one], (others or ones)[other]
            if not first.keys() & second.keys() and first.keys() | second.keys() not in but:
                self.known.append(Mistake(words.format(one, other), build(**first, **second)))

    def mistake(self, sentence: str) -> Callable[[Callable], Callable]:
        """Decorate a wrong solution: an attempt that does the same on all test inputs is told `sentence`."""

        def register(attempt: Callable) -> Callable:
            self.known.append(Mistake(sentence, attempt))
            return attempt

        return register

    def remark(self, sentence: str) -> Callable[[Callable], Callable]:
        """Decorate a test of an attempt: a correct one for which it holds is told `sentence` as well."""

        def register(holds: Callable) -> Callable:
            self.remarks.append((sentence, holds))
            return holds

        return register

    def or_solution(self, *given: object) -> object:
        """Return the attempt, the last of those given, if it is correct; else the solution, and print so.

        A correct attempt with a remark, on a type or on memory that later cells would suffer from, is replaced too.
        Where the solution itself comes back, because the cell is run again, it counts for nobody: all stays as it was.
        """
        if given and given[-1] is self.reference:
            print(printable(self._replaced))
            return self.reference
        if len(given) == 1:
            given = self._given(given[0])
        verdict = self._recorded(given, {})
        if verdict.status == "correct" and not verdict.remarks:
            return given[-1]
        reason = "\n".join([verdict.status, *verdict.remarks])
        self._replaced = f"{self.name}: {reason}\nFrom here on the lesson uses the course's solution."
        print(printable(self._replaced))
        return self.reference

    def _judge(self, given: tuple, named: dict) -> Verdict:
        unfit = self._misuse(given, named) or self._unfit(given)
        if unfit:
            return unfit
        return self._verdict(given, self._outcomes(given))

    def _unfit(self, given: tuple) -> Verdict | None:
        """Return the verdict on what need not be run: blank, no code, or built on an exercise not yet right."""
        asked = "class" if inspect.isclass(self.reference) else "function"
        names = [getattr(attempt, "__name__", "") for attempt in given]
        if sorted(names) == sorted(self.arguments) and names != list(self.arguments):
            return self._wrong(f"The order of the arguments is `{self.usage}`.")
        for attempt, name in zip(given, self.arguments, strict=True):
            if inspect.isclass(attempt) and asked == "function" and not issubclass(attempt, nn.Module):
                return self._wrong(
                    f"The exercise asks for a function, but the class `{attempt.__name__}` arrived."
                )
            if attempt is None:
                return self._not_attempted(
                    f"`{name}` is None. Pass the {asked} itself, without calling it: `{self.usage}`."
                )
            if attempts.is_blank(attempt):
                first = f"It builds on `{name}`, which is not attempted yet."
                return self._not_attempted("" if name == self.name else first)
            if not callable(attempt):
                return self._wrong(
                    f"`{name}` should be a {asked}, but this arrived: {show(attempt)}. Pass the {asked} itself, "
                    f"without calling it: `{self.usage}`."
                )
        for attempt, exercise in zip(given, self.helpers, strict=False):
            if exercise.verdict((attempt,), {}).status != "correct":
                return self._wrong(
                    f"It builds on `{exercise.name}`, which is not right yet: {exercise.usage}"
                )
        return None

    def _outcomes(self, given: tuple) -> list[Outcome]:
        """Return what an attempt does on the test inputs; the last outcome is Stopped when its time was over."""
        outcomes = []
        with captured_output() as printed:
            try:
                with time_limit.time_limit(time_limit.TIME_LIMIT_S):
                    for case in self._cases:
                        outcomes.append(self._outcome(given, case))
            except time_limit.Stopped as stopped:
                outcomes.append(Outcome(error=stopped, printed=printed.getvalue()))
        return outcomes

    def _outcome(self, given: tuple, case: tuple) -> Outcome:
        inputs = copy.deepcopy(case)
        with captured_output() as printed, pinned():
            try:
                value = self._observe(*given, *inputs)
            except (Exception, SystemExit) as error:
                return Outcome(error=error, printed=printed.getvalue())
            pairs = zip(self._inputs, case, inputs, strict=True)
            changed = next((name for name, was, now in pairs if not same(was, now)), "")
        return Outcome(value, printed=printed.getvalue(), changed=changed)

    def _given(self, attempt: Callable) -> tuple:
        return (*(exercise.reference for exercise in self.helpers), attempt)

    def _verdict(self, given: tuple, yours: list[Outcome]) -> Verdict:
        if isinstance(yours[-1].error, time_limit.Stopped):
            return self._stopped(yours[-1].error, self._input(len(yours) - 1), *_printed(yours[-1]))
        expected = self._outcomes(self._given(self.reference))
        if broken := next((one.error for one in expected if one.error is not None), None):
            return self._wrong(
                f"The course's own solution fails here ({type(broken).__name__}: {broken}), so nothing can be said of "
                "yours. Restart the kernel, run the cells above again, and if it stays so, please report it."
            )
        failing = [number for number, mine in enumerate(yours) if not mine.is_right(expected[number])]
        if not failing:
            notes = remarks([mine.value for mine in yours], [right.value for right in expected])
            notes += [sentence for sentence, holds in self.remarks if holds(given[-1])]
            return self._correct(
                f"Right on all {len(yours)} test inputs. Go on with the next cell.",
                *_printed(yours[0]),
                remarks=tuple(notes),
            )
        sentence, telling = self._explained(failing, yours, expected)
        shown = min(telling, key=lambda number: size(self._cases[number]))
        verdict = self._verdict_on(given, yours[shown], expected[shown], sentence, self._input(shown))
        return verdict.with_line(self._right_on(failing))

    def _right_on(self, failing: list[int]) -> str:
        """Return on how many test inputs an attempt is right, and what the others are; "" where it never is."""
        right, names = len(self._cases) - len(failing), [self._names[number] for number in failing]
        if not right:
            return ""
        wrong = ", ".join(f"*{name}*" for name in names[:_NAMED]) + (
            " and others" if len(names) > _NAMED else ""
        )
        return f"Right on {right} of {len(self._cases)} test inputs" + (
            f"; wrong for {wrong}." if all(names) else "."
        )

    def _verdict_on(
        self, given: tuple, mine: Outcome, right: Outcome, sentence: str, shown: tuple
    ) -> Verdict:
        if mine.error is not None:
            more = sentence or self._advice(given, mine.error)
            return self._raised(mine.error, more, shown, *_printed(mine))
        changed = self._changed(mine.changed)
        found = difference(mine.value, right.value, self._returns)
        if not found:
            return self._wrong(f"The result is right, but {changed}", shown, *_printed(mine))
        sentence = sentence or found.sentence
        message = f"{sentence}\nBesides, {changed}" if not mine.keeps_arguments(right) else sentence
        sides = (
            [("yours", found.yours), ("expected", found.expected)] if found.yours != found.expected else []
        )
        return self._wrong(message, shown, *sides, *_printed(mine))

    def _changed(self, name: str) -> str:
        """Return what to say of an argument that is no longer what it was."""
        position = self._inputs.index(name) if name else 0
        if any(isinstance(case[position], nn.Module) for case in self._cases if case):
            return (
                f"`{name}` is left in another state: with other weights, in another mode, or with frozen parameters. "
                "Put it back as it was, since the caller may go on with it."
            )
        return (
            f"`{name}` is no longer what it was, and the caller may still need it: work on a copy. For tensors, "
            "`a = a - b` makes a new one where `a -= b` changes the old."
        )

    def _explained(
        self, failing: list[int], yours: list[Outcome], expected: list[Outcome]
    ) -> tuple[str, list[int]]:
        """Return what to say of the failing inputs, "" where nothing is known, and those it is true of.

        First a known mistake that does the same on all inputs; then how the result relates to the expected one; then
        the slip with which the solution does the same; then a known mistake that does the same on half of the inputs,
        since an attempt with two mistakes should be told one.
        """
        agreeing, sentence, alike = max(
            self._known_alike(failing, yours), key=lambda known: known[0], default=(0, "", failing)
        )
        if agreeing < len(yours) and (found := self._related(yours, expected) or self._slip(failing, yours)):
            return found, failing
        return sentence, alike

    def _known_alike(self, failing: list[int], yours: list[Outcome]) -> Iterator[tuple[int, str, list[int]]]:
        """Yield known mistakes that do the same: on how many inputs, their sentence, and on which failing ones.

        Half of the inputs is enough, of the failing ones as of all, unless that rests on single numbers or on integers,
        which may agree by accident.
        """
        for mistake in self.known:
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
            mistake.outcomes[number] = self._outcome(self._given(mistake.attempt), self._cases[number])
        return mine.agrees_with(mistake.outcomes[number])

    @functools.cached_property
    def _slipped(self) -> list[Mistake]:
        made = with_one_slip(self.source(), vars(inspect.getmodule(self.reference)))
        return [
            Mistake(f"Your code does what the solution would do {slip}.", attempt) for slip, attempt in made
        ]

    def _slip(self, failing: list[int], yours: list[Outcome]) -> str:
        """Return the slip with which the solution does the same on all inputs, "" where there is none."""
        order = failing + [number for number in range(len(yours)) if number not in failing]
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
        inputs = [dict(zip(self._inputs, case, strict=True)) for case in self._cases]
        return relation(
            [mine.value for mine in yours], [right.value for right in expected], inputs, self._returns
        )

    def _advice(self, given: tuple, error: BaseException) -> str:
        if isinstance(given[-1], nn.Module):
            return f"A network arrived. Pass `{self.name}` itself, without calling it: `{self.usage}`."
        meaning = attempts.advice(error)
        if meaning or attempts.learners_lines(error):
            return meaning
        return f"The check calls it as `{self.name}{inspect.signature(self.reference)}`."

    def _input(self, number: int) -> tuple[str, str]:
        pairs = zip(self._inputs, self._cases[number], strict=True)
        return ("input", "\n".join(labelled(name, show(value), " = ") for name, value in pairs))


def _named(cases: dict[str, tuple] | list[tuple]) -> tuple[list[str], list[tuple]]:
    """Return the names of test inputs, "" for those without, and the inputs."""
    return (list(cases), list(cases.values())) if isinstance(cases, dict) else ([""] * len(cases), cases)


def _says_little(value: object) -> bool:
    """Return whether a value may be the same by accident: fewer than three numbers, or all of them integers."""
    return size(value) < 3 or (isinstance(value, Tensor) and not value.is_floating_point())


def _printed(outcome: Outcome) -> list[tuple[str, str]]:
    text = outcome.printed.strip()
    return [("printed", text if len(text) <= _PRINTED else f"{text[:_PRINTED]} …")] if text else []
