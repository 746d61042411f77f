"""JupyterLab, started for a test, and a lesson opened in it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coursekit.teaching import catalogue
from coursekit.teaching.catalogue import Lesson

SHOTS = catalogue.REPOSITORY / "build" / "browser"
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


@contextmanager
def jupyterlab(home: Path) -> Iterator[str]:
    """Run JupyterLab, as it is on the first day, in a folder with copies of the lessons; yield its address."""
    shutil.copytree(catalogue.REPOSITORY / "notebooks", home / "lessons")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "ServerApp.root_dir": home / "lessons",
        "IdentityProvider.token": "",
        "LabApp.expose_app_in_browser": True,
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    log = home / "log.txt"
    with (
        log.open("w", encoding="utf-8") as written,
        subprocess.Popen(
            command, env=_surroundings(home), stdout=written, stderr=subprocess.STDOUT
        ) as server,
    ):
        try:
            _await_answer(f"http://127.0.0.1:{port}/api/status", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _surroundings(home: Path) -> dict[str, str]:
    """Return an environment without anybody's settings, in which JupyterLab asks nothing when it starts."""
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet), encoding="utf-8")
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "IPYTHONDIR": "ipython",
    }
    own = {name: str(home / folder) for name, folder in folders.items()}
    return os.environ | own | {"COURSEKIT_SOURCE": "sample", "COURSEKIT_PROGRESS": "off"}


def _await_answer(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")


class LessonPage:
    """A lesson opened in JupyterLab: `page` is the browser's, cells are counted as in the file."""

    def __init__(self, page, address: str, lesson: Lesson) -> None:
        self.page, self.name = page, lesson.stem
        self.cells, self.exercises = lesson.notebook.cells, lesson.exercises
        page.set_default_timeout(DRAWING_LIMIT_MS)
        page.goto(f"{address}/lab/tree/{lesson.path.name}?reset")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        page.evaluate(KERNEL_READY)

    def run_all(self) -> None:
        """Run All Cells, and wait until the last one is done; `saved` is then what would be saved."""
        self.page.evaluate(RUN_ALL)
        # the command itself ends at the first error, also at one that is meant
        self.page.wait_for_function(ALL_RUN, timeout=RUN_ALL_LIMIT_MS)
        self.await_idle()
        self.saved = self.page.evaluate(SAVED)["cells"]

    def show(self, number: int):
        """Scroll to a cell, which JupyterLab draws only then; return it."""
        self.page.evaluate(SHOW, number)
        cell = self.page.locator(f'.jp-Notebook [data-windowed-list-index="{number}"]')
        cell.wait_for()
        self.page.wait_for_timeout(500)  # scrolling is animated
        return cell

    def run(self, number: int) -> None:
        """Start a cell, without waiting for its end."""
        self.show(number)
        self.page.evaluate(RUN_CELL)

    def answer(self, number: int, code: str):
        """Type an answer into a cell's editor in place of what is there, run it, return its verdict."""
        cell = self.show(number)
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)
        self.page.evaluate(RUN_CELL)
        return cell.locator(".jp-OutputArea-output")

    def await_idle(self) -> None:
        """Wait until the kernel has nothing left to do."""
        self.page.wait_for_function(KERNEL_IDLE, timeout=RUN_ALL_LIMIT_MS)

    def close(self) -> None:
        """Shut the kernel down and close the page."""
        self.page.evaluate(SHUT_DOWN)
        self.page.close()

    def picture(self, what: str) -> None:
        """Keep a picture of the page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{self.name}_{what}.png")
