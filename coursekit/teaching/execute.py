"""Run a lesson as a student does: in a fresh kernel and an empty folder, from the first cell to the last."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from tqdm.auto import tqdm

from coursekit.teaching.catalogue import read

_WIDGET = "application/vnd.jupyter.widget-view+json"
_CLOSED_BAR = {"text/plain": ""}  # what is left of a progress bar
_CELL_LIMIT_S = 600


@dataclass
class Run:
    """One execution of a lesson: the notebook with its outputs, the seconds it took, "" or what went wrong."""

    notebook: NotebookNode
    seconds: float
    error: str


def execute(path: Path, *, source: str | None = None, folder: Path | None = None) -> Run:
    """Run a lesson in a fresh kernel and an empty folder, as on Colab, with a progress bar over its cells.

    With `folder` it runs there, and what it writes stays. `source` is what `$COURSEKIT_SOURCE` says inside ("sample",
    "full"); by default it stays as it is. A cell that fails, or a cell tagged `raises-exception` that does not, ends up
    in `error`, never as an exception. Nothing is added to this user's progress, and the outputs do not depend on it.
    """
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    environment = (
        os.environ | {"COURSEKIT_PROGRESS": "off"} | ({"COURSEKIT_SOURCE": source} if source else {})
    )
    error, started = "", time.perf_counter()
    with (
        contextlib.nullcontext(folder) if folder else tempfile.TemporaryDirectory() as place,
        tqdm(total=len(notebook.cells), desc=path.stem, unit="cell") as bar,
    ):
        client = NotebookClient(
            notebook,
            timeout=_CELL_LIMIT_S,
            resources={"metadata": {"path": str(place)}},
            extra_arguments=["--log-level=40"],  # the kernel's own warnings would tear the bar apart
            on_cell_start=lambda **_: bar.update(),
        )
        try:
            client.execute(env=environment)
        except (CellExecutionError, DeadKernelError, TimeoutError) as failure:
            error = str(failure).strip()
    seconds = time.perf_counter() - started
    for number, cell in enumerate(notebook.cells, 1):
        kinds = [output.output_type for output in cell.get("outputs", [])]
        if "raises-exception" in cell.metadata.get("tags", []) and "error" not in kinds:
            error = error or f"cell {number} is tagged raises-exception, but raised nothing"
    return Run(_without_widgets(notebook), seconds, error)


def cell_seconds(cell: NotebookNode) -> float:
    """Return how long a code cell ran, by the times that a run leaves in its metadata; 0 for one that was not run."""
    times = cell.metadata.get("execution", {})
    if not {"iopub.status.busy", "shell.execute_reply"} <= times.keys():
        return 0.0
    start, end = times["iopub.status.busy"], times["shell.execute_reply"]
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def figures(cell: NotebookNode) -> Iterator[str]:
    """Yield every figure of a cell as base64 without line breaks."""
    for output in cell.get("outputs", []):
        if picture := output.get("data", {}).get("image/png"):
            yield "".join(picture.split())


def _without_widgets(notebook: NotebookNode) -> NotebookNode:
    """Drop sliders and what is left of progress bars: without their kernel both are dead."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_widget(output)]
    return notebook


def _is_widget(output: NotebookNode) -> bool:
    data = output.get("data", {})
    return _WIDGET in data or data == _CLOSED_BAR
