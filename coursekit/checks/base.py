"""What all exercises have in common: verdicts, hints, solutions, strict mode."""

import abc
import ast
import difflib
import inspect
import os
import textwrap
from collections.abc import Callable, Iterable

from coursekit.checks import attempts, time_limit
from coursekit.checks.isolation import pinned
from coursekit.checks.memory import Reached, keep
from coursekit.checks.verdicts import ExerciseError, Verdict, printable


class Exercise(abc.ABC):
    """One exercise: call it with an attempt to get a verdict. Subclasses say how to judge and how to solve."""

    def __init__(self, name: str, arguments: Iterable[str], hints: Iterable[str]) -> None:
        self.name, self.arguments, self.all_hints = name, tuple(arguments), tuple(hints)
        self.usage = f"ex.{name}({', '.join(self.arguments)})"
        self.status, self.tries, self.hints_taken = "not attempted", 0, 0
        self.lesson = ""  # the title of the set it is in: one in none is not remembered
        self._not_kept = Reached()

    @property
    @abc.abstractmethod
    def sentences(self) -> list[str]:
        """What it says about the mistakes it knows, a sentence for each."""

    def __call__(self, *given: object, **named: object) -> Verdict:
        """Return the verdict on an attempt. Nothing that arrives makes it raise, except in strict mode."""
        return self._recorded(given, named, tries=1).shown_now()

    def hint(self) -> None:
        """Print the next hint; each says more than the one before."""
        self.hints_taken = min(self.hints_taken + 1, len(self.all_hints))
        text = f"Hint {self.hints_taken} of {len(self.all_hints)}: {self.all_hints[self.hints_taken - 1]}"
        if self.hints_taken == len(self.all_hints):
            text += f" (The last one; ex.{self.name}.solution() shows a solution.)"
        print(printable(textwrap.fill(text, 100)))
        self._keep(Reached(hints=self.hints_taken))

    def solution(self) -> None:
        """Print a solution, which is the code that the course's tests run."""
        print(printable(self.source()))

    @abc.abstractmethod
    def solve(self, cell: str) -> str:
        """Return the code of the exercise's cell with the solution in it. Raises ValueError for another cell."""

    @abc.abstractmethod
    def source(self) -> str:
        """Return the code of the solution."""

    @abc.abstractmethod
    def _judge(self, given: tuple, named: dict) -> Verdict: ...

    def _recorded(self, given: tuple, named: dict, *, tries: int = 0) -> Verdict:
        verdict = self.verdict(given, named)
        is_new = tries or verdict.status != self.status
        self.status = verdict.status
        if os.environ.get("COURSEKIT_STRICT") == "1" and verdict.status != "correct":
            raise ExerciseError(str(verdict))
        if verdict.status != "not attempted":
            self.tries += tries
            if is_new:
                self._keep(Reached.today(verdict.status, tries=tries, hints=self.hints_taken))
        return verdict

    def _keep(self, news: Reached) -> None:
        """Have news remembered, with those that could not be written before."""
        if self.lesson:
            news = news.after(self._not_kept)
            self._not_kept = Reached() if keep(self.lesson, self.name, news) else news

    def verdict(self, given: tuple, named: dict) -> Verdict:
        """Return the verdict without counting the try; whatever arrives, nothing is raised."""
        try:
            with pinned():
                return self._judge(given, named)
        except Exception as error:  # whatever a learner comes up with must not end in a traceback of ours
            return self._wrong(
                f"The check could not cope with this answer ({type(error).__name__}: {error}). "
                f"If it is what `{self.usage}` asks for, the flaw is ours: please report it."
            )

    def _misuse(self, given: tuple, named: dict) -> Verdict | None:
        if not given and not named:
            return self._not_attempted(f"Nothing arrived. Call it as `{self.usage}`.")
        if named or len(given) != len(self.arguments):
            arrived = "1 argument" if len(given) + len(named) == 1 else f"{len(given) + len(named)} arguments"
            return self._wrong(f"{arrived} arrived. Call it as `{self.usage}`.")
        return None

    def _correct(self, message: str, *shown: tuple[str, str], remarks: tuple[str, ...] = ()) -> Verdict:
        return Verdict(self.name, "correct", "\n".join([message, *remarks]), shown, remarks)

    def _not_attempted(self, message: str = "") -> Verdict:
        default = f"Put your answer in place of the `...` and run the cell. `ex.{self.name}.hint()` helps."
        return Verdict(self.name, "not attempted", message or default)

    def _wrong(self, message: str, *shown: tuple[str, str], status: str = "wrong") -> Verdict:
        help_left = "hint" if self.hints_taken < len(self.all_hints) else "solution"
        return Verdict(self.name, status, message, (*shown, ("help", f"ex.{self.name}.{help_left}()")))

    def _raised(self, error: BaseException, more: str, *shown: tuple[str, str]) -> Verdict:
        message = f"{type(error).__name__}: {error}\n{more}".strip()
        return self._wrong(message, *_your_line(error), *shown, status="raised")

    def _stopped(self, error: BaseException, *shown: tuple[str, str]) -> Verdict:
        message = f"Stopped after {time_limit.TIME_LIMIT_S} s; this takes milliseconds. Is there a loop without end?"
        return self._wrong(message, *_your_line(error), *shown)


def _your_line(error: BaseException) -> list[tuple[str, str]]:
    lines = attempts.learners_lines(error)
    return [("your line", lines)] if lines else []


class SolvedByCode(Exercise):
    """An exercise whose solution is a function or a class of the lesson's module."""

    def __init__(self, solution: Callable, arguments: Iterable[str], hints: Iterable[str]) -> None:
        super().__init__(solution.__name__, arguments, hints)
        self.reference, self.__doc__ = solution, solution.__doc__

    def solve(self, cell: str) -> str:
        """Return the code of the exercise's cell, its empty definition replaced by the solution."""
        for node in ast.parse(cell).body:
            if getattr(node, "name", None) == self.name:
                return replace_lines(cell, node, self.source())
        raise ValueError(f"the cell of exercise {self.name!r} does not define {self.name!r}")

    def source(self) -> str:
        """Return the code of the solution, without its decorators."""
        source = textwrap.dedent(inspect.getsource(self.reference))
        definition = ast.parse(source).body[0]  # its line is that of `def` or `class`, below the decorators
        return "\n".join(source.splitlines()[definition.lineno - 1 :])


def replace_lines(cell: str, node: ast.stmt, code: str) -> str:
    """Return the cell with the lines of one of its statements replaced."""
    lines = cell.splitlines()
    lines[node.lineno - 1 : node.end_lineno] = code.splitlines()
    return "\n".join(lines)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest ones, or all."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(names)}"
