"""Every lesson in JupyterLab in a real browser: Run All, sliders, exercises answered in the page's own editor.

Pictures of what was seen stay in build/browser/.
"""

import ast
import importlib
import inspect
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from coursekit import lessons
from coursekit.exercises.base import replace_lines
from coursekit.exercises.functions import CodeExercise

SHOTS = lessons.REPOSITORY / "build" / "browser"
LESSONS = [
    pytest.param(path, id=path.stem, marks=pytest.mark.xdist_group(path.stem))
    for path in sorted(lessons.REPOSITORY.glob("notebooks/*.ipynb"))
]
RUN_ALL_LIMIT_MS, DRAWING_LIMIT_MS = 400_000, 20_000

# JupyterLab puts itself at window.jupyterapp when it is asked to.
NOTEBOOK = "const notebook = window.jupyterapp.shell.currentWidget;"
KERNEL_READY = f"""async () => {{
    {NOTEBOOK}
    await notebook.context.ready;
    await notebook.sessionContext.ready;
    while (!notebook.sessionContext.session?.kernel) await new Promise(again => setTimeout(again, 100));
    await notebook.sessionContext.session.kernel.info;
}}"""
RUN_ALL = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"
RUN_CELL = "() => { window.jupyterapp.commands.execute('notebook:run-cell'); }"  # does not wait for its end
ALL_RUN = f"""() => {{
    {NOTEBOOK}
    const cells = notebook.content.widgets.map(cell => cell.model).filter(model => model.type === 'code');
    const announced = cell => (cell.getMetadata('tags') ?? []).includes('raises-exception');
    const failed = cell => cell.toJSON().outputs.some(output => output.output_type === 'error');
    return cells.every(cell => cell.executionCount) || cells.some(cell => failed(cell) && !announced(cell));
}}"""
KERNEL_IDLE = f"() => {{ {NOTEBOOK} return notebook.sessionContext.session.kernel.status === 'idle'; }}"
SHUT_DOWN = f"() => {{ {NOTEBOOK} return notebook.sessionContext.shutdown(); }}"
SAVED = f"() => {{ {NOTEBOOK} return notebook.content.model.toJSON(); }}"
SHOW = f"""async number => {{
    {NOTEBOOK}
    notebook.content.activeCellIndex = number;
    await notebook.content.scrollToItem(number, 'start');
}}"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def jupyterlab(tmp_path_factory):
    """Start JupyterLab, as it is on the first day, in a folder with copies of the lessons; yield its address."""
    home, port = tmp_path_factory.mktemp("jupyterlab"), free_port()
    shutil.copytree(lessons.REPOSITORY / "notebooks", home / "lessons")
    settings = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))  # no question on start
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "IPYTHONDIR": "ipython",
    }
    environment = os.environ | {name: str(home / folder) for name, folder in folders.items()}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    options = {
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": home / "lessons",
        "IdentityProvider.token": "",
        "LabApp.expose_app_in_browser": True,
    }
    command += [f"--{name}={value}" for name, value in options.items()]
    with (
        open(home / "log.txt", "w") as log,
        subprocess.Popen(
            command,
            env=environment | {"COURSEKIT_SOURCE": "sample"},
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as server,
    ):
        address = f"http://127.0.0.1:{port}"
        await_answer(f"{address}/api/status", server, home / "log.txt")
        yield address
        server.terminate()


def await_answer(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


expect.set_options(timeout=DRAWING_LIMIT_MS)


class LessonPage:
    """A lesson opened in JupyterLab: `page` is the browser's, cells are counted as in the file."""

    def __init__(self, page, path: Path) -> None:
        self.page, self.name = page, path.stem
        self.cells = nbformat.read(path, as_version=4).cells

    def run_all(self) -> None:
        """Press Run All Cells and wait until the last one is done."""
        self.page.evaluate(RUN_ALL)
        self.page.wait_for_function(
            ALL_RUN, timeout=RUN_ALL_LIMIT_MS
        )  # the command returns at the first error
        self.page.wait_for_function(KERNEL_IDLE)
        self.saved = self.page.evaluate(SAVED)["cells"]

    def show(self, number: int):
        """Scroll to a cell, which JupyterLab draws only then; return it."""
        self.page.evaluate(SHOW, number)
        cell = self.page.locator(f'.jp-Notebook [data-windowed-list-index="{number}"]')
        cell.wait_for()
        return cell

    def answer(self, number: int, code: str):
        """Type an answer into a cell's editor in place of what is there, run it, return its verdict."""
        cell = self.show(number)
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)
        self.page.evaluate(RUN_CELL)
        return cell.locator(".jp-OutputArea-output")

    def picture(self, what: str) -> None:
        """Keep a picture of the page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_timeout(500)  # scrolling is animated
        self.page.screenshot(path=SHOTS / f"{self.name}_{what}.png")


@pytest.fixture(scope="module", params=LESSONS)
def lesson(request, jupyterlab, browser):
    """Open a lesson and run all of it."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(DRAWING_LIMIT_MS)
    page.goto(f"{jupyterlab}/lab/tree/{request.param.name}?reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.evaluate(KERNEL_READY)
    opened = LessonPage(page, request.param)
    opened.run_all()
    yield opened
    page.evaluate(SHUT_DOWN)
    page.close()


def first_with_a_mistake(lesson):
    """Return number, exercise and a wrong solution of the first cell that asks for a function.

    The wrong solution is one that can be typed as it is: beyond modules, it uses nothing from its surroundings.
    """
    module = importlib.import_module(f"coursekit.exercises.lesson{lesson.name[:2]}")
    for number, cell in enumerate(lesson.cells):
        exercise = module.lesson.exercises.get(cell.metadata.get("exercise"))
        for mistake in getattr(exercise, "mistakes", []):
            used = inspect.getclosurevars(mistake.attempt) if inspect.isfunction(mistake.attempt) else None
            if used and not used.nonlocals and all(map(inspect.ismodule, used.globals.values())):
                return number, exercise, mistake
    raise AssertionError(f"{lesson.name} asks for no function")


def with_mistake(cell: str, exercise: CodeExercise, mistake) -> str:
    """Return the code of an exercise's cell, its empty definition replaced by a wrong one."""
    lines = inspect.getsource(mistake.attempt).splitlines()
    definition = next(number for number, line in enumerate(lines) if line.startswith("def _("))
    code = "\n".join(lines[definition:]).replace("def _(", f"def {exercise.name}(", 1)
    (stub,) = [node for node in ast.parse(cell).body if getattr(node, "name", None) == exercise.name]
    return replace_lines(cell, stub, code)


def has_sliders(cell) -> bool:
    return cell.cell_type == "code" and "\ninteract(" in cell.source


def outputs(cell) -> list[dict]:
    return cell.get("outputs", [])


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


def test_a_progress_bar_moves_while_training_and_is_gone_afterwards(lesson):
    bars = numbers_showing(lesson, "application/vnd.jupyter.widget-view+json")
    trainings = [number for number in bars if not has_sliders(lesson.cells[number])]
    for number in trainings[:1]:
        bar = lesson.show(number).locator(".widget-hprogress")
        expect(bar).to_be_hidden()
        lesson.page.evaluate(RUN_CELL)
        bar.wait_for()
        lesson.picture("progress")
        expect(bar).to_be_hidden(timeout=RUN_ALL_LIMIT_MS)
        lesson.page.wait_for_function(KERNEL_IDLE)


def test_every_slider_redraws_its_figure(lesson):
    for number, stored in enumerate(lesson.cells):
        if has_sliders(stored):
            cell = lesson.show(number)
            for slider in cell.get_by_role("slider").all():
                figure = cell.locator(".widget-output img")
                before = figure.get_attribute("src")
                for _ in range(3):
                    slider.press("ArrowRight")
                expect(figure).not_to_have_attribute("src", before)
            lesson.page.wait_for_function(KERNEL_IDLE)  # three steps, three figures
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
    wrong.get_by_text(f"✗ {exercise.name} · wrong", exact=True).wait_for()
    assert mistake.sentence.replace("`", "") in wrong.inner_text()
    lesson.picture("wrong")
    right = lesson.answer(number, exercise.solve(cell.source))
    right.get_by_text(f"✓ {exercise.name} · correct", exact=True).wait_for()
    lesson.picture("right")
