"""Exercises in which a function or a class is written."""

import inspect
import itertools
from collections.abc import Callable, Iterable

from torch import nn

from coursekit.checks import attempts, time_limit
from coursekit.checks.base import SolvedByCode
from coursekit.checks.compare import difference, remarks, show, size
from coursekit.checks.explain import Explanations, Mistake
from coursekit.checks.runs import Inputs, Outcome
from coursekit.checks.verdicts import Verdict, printable

Wrong = Callable | dict[str, str]  # a wrong solution, or edits that make the solution wrong
Slips = dict[str, dict]  # the sentence for a slip, and the options of a builder that make it

_PRINTED = 400  # characters of what an attempt printed
_NAMED = 3  # test inputs that are named as wrong


class CodeExercise(SolvedByCode):
    """A function or a class that has to do on the test inputs what the solution does. Made by ExerciseSet.exercise."""

    def __init__(self, solution, *, cases, hints, observe=None, together=(), returns=()) -> None:
        arguments = [*(exercise.name for exercise in together), solution.__name__]
        super().__init__(solution, arguments, hints)
        self.known: list[Mistake] = []
        self.remarks: list[tuple[str, Callable]] = []
        self.helpers, self._returns = together, returns
        self._replaced = f"{self.name}: this is the course's solution."
        parameters = list(inspect.signature(observe or solution).parameters)
        self.inputs = Inputs(
            cases,
            observe or (lambda attempt, *inputs: attempt(*inputs)),
            parameters[len(arguments) :] if observe else parameters,
        )
        self._explanations = Explanations(
            self.inputs,
            self.known,
            solution=solution,
            source=self.source,
            helpers=tuple(helper.reference for helper in together),
            returns=returns,
        )

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
        return self._verdict(given, self.inputs.outcomes(given))

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
            missing = attempts.missing_method(attempt, self.reference) if name == self.name else ""
            if missing:
                return self._wrong(
                    f"The class has no `{missing}`. Is it misspelled, outside the class, or indented too far, so "
                    "that it stands inside another method?"
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

    def _given(self, attempt: Callable) -> tuple:
        return (*(exercise.reference for exercise in self.helpers), attempt)

    def _verdict(self, given: tuple, yours: list[Outcome]) -> Verdict:
        if isinstance(yours[-1].error, time_limit.Stopped):
            return self._stopped(yours[-1].error, self.inputs.shown(len(yours) - 1), *_printed(yours[-1]))
        expected = self.inputs.outcomes(self._given(self.reference))
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
        sentence, telling = self._explanations.explained(given, failing, yours, expected)
        differing = [number for number in failing if self._differs(yours[number], expected[number])]
        candidates = [number for number in telling if number in differing] or differing or telling
        shown = min(candidates, key=lambda number: size(self.inputs.cases[number]))
        verdict = self._verdict_on(given, yours[shown], expected[shown], sentence, self.inputs.shown(shown))
        return verdict.with_line(self._right_on(failing))

    def _differs(self, mine: Outcome, right: Outcome) -> bool:
        """Return whether more is wrong than a changed argument."""
        return mine.error is not None or bool(difference(mine.value, right.value, self._returns))

    def _right_on(self, failing: list[int]) -> str:
        """Return on how many test inputs an attempt is right, and what the others are; "" where it never is."""
        right, names = (
            len(self.inputs.cases) - len(failing),
            [self.inputs.names[number] for number in failing],
        )
        if not right:
            return ""
        wrong = ", ".join(f"*{name}*" for name in names[:_NAMED]) + (
            " and others" if len(names) > _NAMED else ""
        )
        return f"Right on {right} of {len(self.inputs.cases)} test inputs" + (
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
        position = self.inputs.parameters.index(name) if name else 0
        if any(isinstance(case[position], nn.Module) for case in self.inputs.cases if case):
            return (
                f"`{name}` is left in another state: with other weights, in another mode, or with frozen parameters. "
                "Put it back as it was, since the caller may go on with it."
            )
        how = "For tensors, `a = a - b` makes a new one where `a -= b` changes the old."
        if any(isinstance(case[position], list) for case in self.inputs.cases if case):
            how = f"`{name} = list({name})` makes one of a list."
        return f"`{name}` is no longer what it was, and the caller may still need it: work on a copy. {how}"

    def _advice(self, given: tuple, error: BaseException) -> str:
        if isinstance(given[-1], nn.Module):
            return f"A network arrived. Pass `{self.name}` itself, without calling it: `{self.usage}`."
        meaning = attempts.advice(error)
        if meaning or attempts.learners_lines(error):
            return meaning
        return f"The check calls it as `{self.name}{inspect.signature(self.reference)}`."


def _printed(outcome: Outcome) -> list[tuple[str, str]]:
    text = outcome.printed.strip()
    return [("printed", text if len(text) <= _PRINTED else f"{text[:_PRINTED]} …")] if text else []
