"""The forms in which a lesson is tested, and a first line of every failure that says which it was: `-p tests.forms`."""

import os
import re
from dataclasses import dataclass

import pytest

from coursekit.teaching.catalogue import REPOSITORY, Lesson

_NAMED = "COURSE_FORM"  # in the environment: the form that is being tested, in words
_LESSON = re.compile(r"\b(\d\d_\w+)(?:\.ipynb|\])")
_NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600"]
_RUNS = ["-p", "tests.plugins.nbval_repairs", "--dist", "loadscope", *_NBVAL]
_BY_LESSON = ["-p", "tests.plugins.by_lesson", "--dist", "loadscope"]


@dataclass(frozen=True)
class Form:
    """One way to test lessons: in words, the environment, options of pytest, and a file of tests or the notebooks."""

    words: str
    environment: dict[str, str]
    options: list[str]
    where: str = "notebooks"

    def command(self, lessons: list[Lesson]) -> list[str]:
        """Return pytest's arguments for some lessons."""
        if self.where.endswith(".py"):
            return [*self.options, self.where]
        return [*self.options, *(str(REPOSITORY / self.where / lesson.path.name) for lesson in lessons)]

    def variables(self, lessons: list[Lesson]) -> dict[str, str]:
        """Return the environment in which the form is tested."""
        return self.environment | {
            "COURSEKIT_PROGRESS": "off",
            _NAMED: self.words,
            "LESSONS": " ".join(lesson.stem[:2] for lesson in lessons),
        }


FORMS = {
    "student": Form(
        "as a student gets it, on the sample",
        {"COURSEKIT_SOURCE": "sample"},
        ["-p", "tests.plugins.whole_run", *_RUNS],
    ),
    "solved": Form(
        "solved, in strict mode, on the sample",
        {"COURSEKIT_SOURCE": "sample", "COURSEKIT_STRICT": "1"},
        _RUNS,
        where="build/solved",
    ),
    "full": Form(
        "solved, in strict mode, on the full data",
        {"COURSEKIT_SOURCE": "full", "COURSEKIT_STRICT": "1"},
        _RUNS,
        where="build/solved",
    ),
    "browser": Form("in JupyterLab in a browser", {}, _BY_LESSON, where="tests/browser/test_jupyterlab.py"),
    "colab": Form("on a machine like Colab's", {}, _BY_LESSON, where="tests/colab/test_colab.py"),
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    runs_a_lesson = item.path.suffix == ".ipynb" or item.path.parent.name in ("browser", "colab")
    lesson = _LESSON.search(item.nodeid) if runs_a_lesson else None
    if report.failed and lesson and _NAMED in os.environ:
        file, line, name = report.location
        report.location = (file, line, f"{lesson[1]} {os.environ[_NAMED]}: {name}")
    return report
