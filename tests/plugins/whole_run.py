"""What is asked of a lesson that nbval has run as a student gets it, loaded with `-p tests.plugins.whole_run`.

Two more tests follow its cells: every cell that trains nothing runs again, from the last to the first, and gives what
it gave; and the numbers of the text hold in this run.
"""

import hashlib
import os
import re

import pytest
from nbval.plugin import NbCellError

from coursekit.teaching import cell_names, prose, rerun
from coursekit.teaching.catalogue import Lesson

_QUICK_S = 1
# What differs between two runs of the same cell and says nothing: seconds, addresses, the ids of widgets, and whether
# `%%writefile` found a file
_IDLE = re.compile(
    r"\d+(?:\.\d+)?(?= ?(?:ms|µs|s)\b)|0x[0-9a-f]+|(?<=IPY_MODEL_)\w+|^(?:W|Overw)riting ", re.MULTILINE
)


def _is_cell(item) -> bool:
    return type(item).__name__ == "IPyNbCell"


def pytest_collection_modifyitems(items):
    if os.environ.get("COURSEKIT_STRICT") == "1" or os.environ.get("COURSEKIT_SOURCE") != "sample":
        return
    last = {item.parent: number for number, item in enumerate(items) if _is_cell(item)}
    for notebook, number in reversed(last.items()):
        cells = [item for item in items if _is_cell(item) and item.parent is notebook]
        items[number + 1 : number + 1] = [
            kind.from_parent(notebook, name=kind.rule, cells=cells) for kind in (RunsAgain, TrueOnTheSample)
        ]


@pytest.hookimpl(trylast=True)  # the kernel is started by then
def pytest_runtest_setup(item):
    if _is_cell(item):
        _run_silently(item.parent.kernel, rerun.REMEMBER.format(number=item.cell_num))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    if _is_cell(item) and call.when == "call":
        item.seconds = call.duration
    return (yield)


class AfterTheRun(pytest.Item):
    """A test on the run of a whole notebook, whose cells have been run."""

    rule = ""

    def __init__(self, *, cells, **given):
        super().__init__(**given)
        self.cells, self.lesson = cells, Lesson(self.path)

    def runtest(self):
        if any(cell.test_outputs is None or not hasattr(cell, "seconds") for cell in self.cells):
            pytest.skip("the notebook was not run to its end")
        if problems := self.problems():
            raise BrokenRuleError("\n".join(f"{self.lesson.stem}, {problem}" for problem in problems))

    def repr_failure(self, excinfo, style=None):
        return (
            str(excinfo.value)
            if excinfo.errisinstance(BrokenRuleError)
            else super().repr_failure(excinfo, style)
        )

    def reportinfo(self):
        return self.path, 0, self.rule


class BrokenRuleError(AssertionError):
    """What is wrong with a lesson, a line each."""


class RunsAgain(AfterTheRun):
    rule = "every quick cell runs again"

    def problems(self):
        code = [
            number for number, cell in enumerate(self.lesson.notebook.cells, 1) if cell.cell_type == "code"
        ]
        quick = set(cell_names.quick_cells(self.lesson))
        return [
            f"cell {number} {found}"
            for number, cell in reversed(list(zip(code, self.cells, strict=True)))
            if number in quick and cell.seconds < _QUICK_S and (found := self.trouble(cell))
        ]

    def trouble(self, cell) -> str:
        before = _shown(cell.test_outputs)
        _run_silently(cell.parent.kernel, rerun.RECALL.format(number=cell.cell_num))
        try:
            cell.runtest()
        except NbCellError as error:
            last = _IDLE.sub("", re.sub(r"\x1b\[[\d;]*m", "", error.inner_traceback)).strip().splitlines()[-1]
            return f"fails when it is run again after Run All: {last}. Does a later cell bind one of its names again?"
        now = _shown(cell.test_outputs)
        if now == before:
            return ""
        one, other = next(
            ((a, b) for a, b in zip([*before, ""], [*now, ""], strict=False) if a != b),
            (str(before), str(now)),
        )
        return (
            f"gives something else when it is run again after Run All: {one[:80]!r}, then {other[:80]!r}. Does a later "
            "cell, or this one, change what it uses?"
        )


class TrueOnTheSample(AfterTheRun):
    rule = "numbers hold on the sample"

    def problems(self):
        shown = [prose.printed(cell.test_outputs) for cell in self.cells]
        return prose.missing_numbers(self.lesson.notebook, shown, stored=False)


def _shown(outputs) -> list[str]:
    """What a student sees of a cell's outputs, a line each, pictures by a checksum."""
    lines = _IDLE.sub("…", prose.printed(outputs)).splitlines()
    pictures = [output.get("data", {}).get("image/png") for output in outputs]
    return lines + [f"figure {hashlib.sha256(one.encode()).hexdigest()[:12]}" for one in pictures if one]


def _run_silently(kernel, code) -> None:
    kernel.await_reply(kernel.kc.execute(code, silent=True, store_history=False), timeout=60)
