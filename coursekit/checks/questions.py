"""Exercises that ask: quizzes, and predictions made before a cell reveals the answer."""

import ast
import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from coursekit.checks.base import Exercise, nearest, replace_lines
from coursekit.checks.compare import show
from coursekit.checks.verdicts import SYMBOLS, Verdict


@dataclass(frozen=True)
class Question:
    """The right answer (a letter, a number or a shape) with its reason, and a reason against each wrong one."""

    answer: str | float | tuple[int, ...]
    reason: str
    wrong: dict = field(default_factory=dict)
    tolerance: float = 0.0

    def mark(self, given: object) -> tuple[bool, str]:
        """Return whether an answer is right, and why or why not."""
        if self._matches(given, self.answer):
            return True, self.reason
        for answer, reason in self.wrong.items():
            if self._matches(given, answer):
                return False, reason
        return False, f"{show(given)} is not it. {self._asked(given)}".strip()

    def _matches(self, given: object, answer: object) -> bool:
        if isinstance(answer, str):
            return isinstance(given, str) and given.strip().lower() == answer
        if isinstance(answer, tuple):
            return isinstance(given, tuple | list) and tuple(given) == answer
        if isinstance(given, Tensor) and given.numel() == 1:
            given = given.item()
        is_number = isinstance(given, numbers.Real) and not isinstance(given, bool)
        return is_number and math.isclose(given, answer, rel_tol=0, abs_tol=self.tolerance)

    def _asked(self, given: object) -> str:
        """Return what kind of answer is expected, if this was not one of that kind."""
        if isinstance(self.answer, str):
            return f"Give one of the letters {', '.join(sorted([self.answer, *self.wrong]))}, in quotes."
        if isinstance(self.answer, tuple):
            if isinstance(given, Tensor):
                return "Give the shape, not the values."
            asked = "Give a shape in brackets, such as (5, 3); a single axis takes a comma, (5,)."
            return "" if isinstance(given, tuple | list) else asked
        if isinstance(given, str):
            return "Give a number, without quotes."
        is_number = isinstance(given, int | float | Tensor) and not isinstance(given, bool)
        return "" if is_number else "Give one number, without brackets or quotes."


class Quiz(Exercise):
    """Questions that are answered by name: `ex.quiz(first="b", second=11)`. Made by ExerciseSet.quiz."""

    def __init__(self, name: str, hints: Iterable[str], questions: dict[str, Question]) -> None:
        super().__init__(name, [f"{question}=..." for question in questions], hints)
        self.questions = questions

    @property
    def sentences(self) -> list[str]:
        """The reasons against the wrong answers."""
        return [reason for question in self.questions.values() for reason in question.wrong.values()]

    def solve(self, cell: str) -> str:
        """Return the code of the quiz's cell with the right answers."""
        for node in ast.parse(cell).body:
            if isinstance(node, ast.Expr) and ast.unparse(node).startswith(f"ex.{self.name}("):
                return replace_lines(cell, node, self.source())
        raise ValueError(f"the cell of exercise {self.name!r} does not call ex.{self.name}(...)")

    def source(self) -> str:
        """Return the call with the right answers."""
        answers = [f"    {name}={_literal(question.answer)}," for name, question in self.questions.items()]
        return "\n".join([f"ex.{self.name}(", *answers, ")"])

    def _judge(self, given: tuple, named: dict) -> Verdict:
        if given:
            return self._wrong(f"Answer by name: `{self.usage}`.")
        for name in named:
            if name not in self.questions:
                return self._wrong(f"There is no question {name!r}{nearest(name, self.questions)}")
        lines, right, tried = [], 0, 0
        for name, question in self.questions.items():
            if _is_open(named.get(name)):
                lines.append(f"{SYMBOLS['not attempted']} {name}")
                continue
            is_right, reason = question.mark(named[name])
            lines.append(f"{SYMBOLS['correct' if is_right else 'wrong']} {name}: {reason}")
            right, tried = right + is_right, tried + 1
        if right == len(lines):
            return self._correct("\n".join(lines))
        if not tried:
            return self._not_attempted()
        if right == tried:
            done = f"{right} of {len(lines)} answered, and right. It counts when all are."
            return self._not_attempted("\n".join([done, *lines]))
        return self._wrong("\n".join(lines))


class Prediction(Quiz):
    """One guess before the next cell reveals it: `ex.shape_of_logits((128, 10))`. Made by ExerciseSet.prediction."""

    def __init__(self, name: str, hints: Iterable[str], question: Question) -> None:
        super().__init__(name, hints, {name: question})
        self.usage = f"ex.{name}(...)"

    def source(self) -> str:
        """Return the call with the right answer."""
        return f"ex.{self.name}({_literal(self.questions[self.name].answer)})"

    def _judge(self, given: tuple, named: dict) -> Verdict:
        if named or len(given) > 1:
            return self._wrong(
                f"Give one answer: `{self.usage}`. A shape takes brackets of its own, `((5, 3))`, and a number a "
                "decimal point, not a comma."
            )
        if not given or _is_open(given[0]):
            return self._not_attempted("Write your guess in place of the `...`, then run the cell.")
        is_right, reason = self.questions[self.name].mark(given[0])
        return self._correct(reason) if is_right else self._wrong(reason)


def _is_open(answer: object) -> bool:
    """Return whether an answer is still `...`, or a shape of them."""
    return answer is None or answer is ... or (isinstance(answer, tuple) and ... in answer)


def _literal(answer: str | float | tuple[int, ...]) -> str:
    return f'"{answer}"' if isinstance(answer, str) else repr(answer)
