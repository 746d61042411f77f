"""What an attempt does on an exercise's test inputs."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

from coursekit.checks import time_limit
from coursekit.checks.compare import difference, labelled, same, show
from coursekit.checks.isolation import captured_output, pinned


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


class Inputs:
    """The test inputs of an exercise, by number, and the running of attempts on them."""

    def __init__(
        self, cases: dict[str, tuple] | list[tuple], observe: Callable, parameters: list[str]
    ) -> None:
        """Keep the inputs, "" being the name of those without; `observe(*attempts, *input)` gives what is compared.

        `parameters` are the names of what an input consists of.
        """
        named = cases if isinstance(cases, dict) else {}
        self.names, self.cases = list(named) or [""] * len(cases), list(named.values()) or list(cases)
        self.parameters, self._observe = parameters, observe

    def outcomes(self, given: tuple) -> list[Outcome]:
        """Return what an attempt does on the inputs; the last outcome is Stopped when its time was over."""
        outcomes = []
        with captured_output() as printed:
            try:
                with time_limit.time_limit(time_limit.TIME_LIMIT_S):
                    for number in range(len(self.cases)):
                        outcomes.append(self.outcome(given, number))
            except time_limit.Stopped as stopped:
                outcomes.append(Outcome(error=stopped, printed=printed.getvalue()))
        return outcomes

    def outcome(self, given: tuple, number: int) -> Outcome:
        """Return what an attempt, and the helpers before it, do on one input, of which they get a copy."""
        case = self.cases[number]
        inputs = copy.deepcopy(case)
        with captured_output() as printed, pinned():
            try:
                value = self._observe(*given, *inputs)
            except (Exception, SystemExit) as error:
                return Outcome(error=error, printed=printed.getvalue())
            pairs = zip(self.parameters, case, inputs, strict=True)
            changed = next((name for name, was, now in pairs if not same(was, now)), "")
        return Outcome(value, printed=printed.getvalue(), changed=changed)

    def by_name(self, number: int) -> dict[str, object]:
        """Return what an input consists of."""
        return dict(zip(self.parameters, self.cases[number], strict=True))

    def shown(self, number: int) -> tuple[str, str]:
        """Return an input as a verdict shows it."""
        parts = self.by_name(number).items()
        return ("input", "\n".join(labelled(name, show(value), " = ") for name, value in parts))
