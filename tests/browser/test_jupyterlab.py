"""Every lesson in JupyterLab in a real browser: Run All, sliders, exercises answered in the page's own editor.

Pictures of what was seen stay in build/browser/.
"""

import ast
import inspect
import os
import re

import pytest
from playwright.sync_api import expect

from coursekit.checks import CodeExercise, replace_lines
from coursekit.teaching import catalogue
from tests.browser.lab import DRAWING_LIMIT_MS, LessonPage, jupyterlab

LESSONS = catalogue.select(os.environ.get("LESSONS", ""))
expect.set_options(timeout=DRAWING_LIMIT_MS)
TRAINING_OF_TWO_SECONDS = """import time
import torch
class Slow(list):
    def __iter__(self):
        for batch in super().__iter__():
            time.sleep(0.1)
            yield batch
train.fit(torch.nn.Linear(2, 2), Slow([(torch.ones(1, 2), torch.tensor([0]))] * 20), epochs=1)"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp("jupyterlab")) as address:
        yield address


@pytest.fixture(scope="module", params=LESSONS, ids=lambda lesson: lesson.stem)
def lesson(request, lab, browser):
    """Open a lesson and run all of it."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    opened = LessonPage(page, lab, request.param)
    opened.run_all()
    yield opened
    opened.close()


def first_with_a_mistake(lesson):
    """Return number, exercise and a wrong solution of the first cell that asks for a function.

    The wrong solution is an edit of the right one that can be typed as it is: beyond modules, it uses nothing from its
    surroundings.
    """
    for number, cell in enumerate(lesson.cells):
        exercise = lesson.exercises.get(cell.metadata.get("exercise"))
        for mistake in getattr(exercise, "known", []):
            if hasattr(mistake.attempt, "source") and inspect.isfunction(mistake.attempt):
                used = inspect.getclosurevars(mistake.attempt)
                if not used.nonlocals and all(map(inspect.ismodule, used.globals.values())):
                    return number, exercise, mistake
    raise AssertionError(f"{lesson.name} asks for no function")


def with_mistake(cell: str, exercise: CodeExercise, mistake) -> str:
    """Return the code of an exercise's cell, its empty definition replaced by a wrong one."""
    (stub,) = [node for node in ast.parse(cell).body if getattr(node, "name", None) == exercise.name]
    return replace_lines(cell, stub, mistake.attempt.source)


def has_sliders(cell) -> bool:
    return cell.cell_type == "code" and "plots.explore(" in cell.source


def outputs(cell) -> list[dict]:
    return cell.get("outputs", [])


def was_a_bar(output) -> bool:
    """Return whether an output is what a progress bar leaves when training is over: an empty text."""
    return not "".join(output.get("data", {}).get("text/plain", "not a bar"))


def numbers_showing(lesson, kind: str) -> list[int]:
    """Return the numbers of the cells that put out something of a MIME type."""
    return [
        number
        for number, cell in enumerate(lesson.saved)
        if any(kind in output.get("data", {}) for output in outputs(cell))
    ]


def test_run_all_leaves_no_error_and_no_cell_unrun(lesson):
    for cell, stored in zip(lesson.saved, lesson.cells, strict=True):
        if cell["cell_type"] == "code":
            assert cell["execution_count"], cell["source"]
            announced = "raises-exception" in stored.metadata.get("tags", [])
            assert ("error" in [output["output_type"] for output in outputs(cell)]) == announced, cell


def test_every_figure_is_drawn(lesson):
    numbers = numbers_showing(lesson, "image/png")
    assert numbers
    for number in numbers:
        figure = lesson.show(number).locator("img").first
        figure.wait_for()
        assert figure.evaluate("image => image.complete && image.naturalWidth > 100")


def test_a_progress_bar_is_shown_while_training_and_gone_afterwards(lesson):
    trainings = [number for number, cell in enumerate(lesson.saved) if any(map(was_a_bar, outputs(cell)))]
    for number in trainings:
        expect(lesson.show(number).locator(".widget-hprogress")).to_be_hidden()
    for number in trainings[:1]:
        bar = lesson.show(number).locator(".widget-hprogress")
        lesson.answer(number, TRAINING_OF_TWO_SECONDS)
        bar.wait_for()
        lesson.picture("progress")
        lesson.await_idle()
        expect(bar).to_be_hidden()


def test_every_slider_redraws_its_figure(lesson):
    for number, stored in enumerate(lesson.cells):
        if has_sliders(stored):
            cell = lesson.show(number)
            for slider in cell.get_by_role("slider").all():
                figure = cell.locator("img")
                before = figure.get_attribute("src")
                for _ in range(3):
                    slider.press("ArrowRight")
                expect(figure).not_to_have_attribute("src", before)
            lesson.await_idle()  # three steps, three figures
            lesson.picture("slider")


def test_blank_exercises_are_not_attempted_and_say_so(lesson):
    lesson.show(0)
    lesson.picture("top")
    names = []
    for number, stored in enumerate(lesson.cells):
        if name := stored.metadata.get("exercise"):
            lesson.show(number).get_by_text(f"○ {name} · not attempted", exact=True).wait_for()
            names.append(name)
    (last,) = [number for number, stored in enumerate(lesson.cells) if stored.source == "ex.report()"]
    report = lesson.show(last).inner_text()
    assert f"0 of {len(names)} correct" in report
    assert all(name in report for name in names)
    lesson.picture("report")


def test_a_wrong_answer_is_told_its_mistake_and_a_right_one_is_correct(lesson):
    number, exercise, mistake = first_with_a_mistake(lesson)
    cell = lesson.cells[number]
    wrong = lesson.answer(number, with_mistake(cell.source, exercise, mistake))
    wrong.get_by_text(re.compile(rf"^[✗!] {exercise.name} · (wrong|raised)$")).wait_for()
    assert mistake.sentence.replace("`", "") in wrong.inner_text()
    lesson.picture("wrong")
    right = lesson.answer(number, exercise.solve(cell.source))
    right.get_by_text(f"✓ {exercise.name} · correct", exact=True).wait_for()
    lesson.picture("right")
