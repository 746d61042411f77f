"""The lessons that do not keep a rule yet, by rule: the one place where exceptions stand.

An entry goes with the rewriting of its lesson; a new lesson starts without any. A test fails, too, for a listed lesson
that keeps the rule. What keeps a lesson from it: `python -m coursekit.teaching.rules 03`.
"""

import pytest

RUNS_AGAIN = "every quick cell runs again"
TRUE_ON_THE_SAMPLE = "numbers hold on the sample"

NOT_YET = {
    "two parts": "06",
    "Part 1 fits the class": "06",
    "Part 1 is quick": "06",
    "one name, one thing": "06",
    "answers are used": "06",
    "the field's words": "06",
    TRUE_ON_THE_SAMPLE: "06",
}


def marks(rule: str, stem: str) -> list[pytest.MarkDecorator]:
    """Return the mark for a test of a rule on the lesson `stem`: expected to fail where it is listed."""
    listed = stem[:2] in NOT_YET.get(rule, "").split()
    reason = "keeps the rule now: take its entry out of tests/not_yet.py"
    return [pytest.mark.xfail(strict=True, reason=reason)] if listed else []
