"""The two folders of an exam: what the students get, and what the teacher keeps."""

import inspect
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
from nbformat import NotebookNode

from coursekit.files import atomic_write, remove_abandoned
from coursekit.teaching import catalogue, commands
from coursekit.teaching.exam import predictions, problem, scores, solutions
from coursekit.teaching.exam.problem import Problem, Records
from coursekit.teaching.exam.scores import Score

_TEXTS = Path(__file__).parent
_LOAD = """\
import numpy as np
import matplotlib.pyplot as plt
from matplotlib.colors import LogNorm

records, unlabelled = np.load("train.npz"), np.load("test.npz")
records = {name: records[name] for name in records.files}
unlabelled = {name: unlabelled[name] for name in unlabelled.files}
{name: (values.shape, values.dtype) for name, values in records.items()}"""
_DRAW = """\
figure, axes = plt.subplots(2, 4, figsize=(10, 5), layout="constrained")
for label, (name, row) in enumerate(zip(["pion", "photon"], axes)):
    for event, ax in zip(np.flatnonzero(records["label"] == label), row):
        layer = np.maximum(records["energy"][event, 0], 0.05)
        image = ax.imshow(layer, norm=LogNorm(0.05, 50), cmap="viridis")
        ax.grid(False)
        ax.set(title=f"{name}, event {records['id'][event]}", xlabel="x (cells)", ylabel="y (cells)")
figure.colorbar(image, ax=axes, label="energy (GeV)");"""
_WRITE = """\
with open("predictions.csv", "w", encoding="utf-8") as file:
    file.write("id,probability\\n")
    for number, value in zip(unlabelled["id"], probability):
        file.write(f"{number},{value:.8g}\\n")"""
_CHECK = """\
handed_in = np.loadtxt("predictions.csv", delimiter=",", skiprows=1, ndmin=2)
problems(handed_in[:, 0].astype(int), handed_in[:, 1], unlabelled["id"]) or "The format is right."\
"""


def build(destination: Path, seed: int, *, train: int = 6000, test: int = 4000) -> tuple[Score, Score]:
    """Make the exam of a seed; return the scores of baseline and reference.

    Writes `students/` and `teacher/` into the folder `destination`, which is there whole or not at all. The same seed
    gives the same files, byte by byte, with the same versions of the libraries on the same machine. Raises ValueError
    for a folder that is not empty or cannot be written, and for a seed or a number of events that makes no problem.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ValueError(f"exam: {str(destination)!r} is there already, and not empty: choose another folder")
    commands.check_writable("exam", "-o", destination.resolve().parent)
    made = problem.make(seed, train=train, test=test)
    remove_abandoned(destination.parent.glob(f".{destination.name}.*.part"))
    scratch = destination.resolve().with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        _write_students(scratch / "students", made)
        results = _write_teacher(scratch / "teacher", scratch / "students", made, seed)
        if destination.exists():
            destination.rmdir()
        scratch.rename(destination)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return results


def students_notebook() -> NotebookNode:
    """Return the notebook that students work in: the task, the data, places to work, a check of the format."""
    text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    work = [
        "## Look\n\nHow many photons are there? What is faulty, in which data? What changes from run to run?",
        "## Clean and split\n\nWhat do you keep for validation, so that it tells you about other runs?",
        "## A baseline\n\nHow far do a few numbers and a simple model get?",
        "## Train",
        "## Tune\n\nWhat did you try, and what did it bring on the validation data?",
        "## How good is it?\n\nWhich score do you expect on the test data, and how uncertain is it?",
    ]
    return _notebook(
        text(
            "# Photon or pion?\n\nName: \n\nThe task, the files and the rules are in `README.md`. Put this notebook "
            "beside `train.npz` and `test.npz`; on Colab, upload both first."
        ),
        code(_setup()),
        code(_LOAD),
        text(
            "The layer in front, four events of each kind, on a logarithmic scale. Can you tell them apart?"
        ),
        code(_DRAW),
        *(cell for words in work for cell in (text(words), code(""))),
        text(
            "## Your predictions\n\n`probability` holds the probability of a photon for every event of the test data."
        ),
        code('probability = np.full(len(unlabelled["id"]), 0.5)  # your own instead'),
        code(_WRITE),
        text(
            "Does the file have the right form? The cell lists what is wrong with it, or says that the format is "
            "right. Run the whole notebook once more from the top before you hand it in."
        ),
        code(f"{inspect.getsource(predictions.problems)}\n\n{_CHECK}"),
    )


def reference_notebook() -> NotebookNode:
    """Return the baseline and the reference solution as a notebook, which runs beside the students' data."""
    text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell

    def cell(function: Callable) -> NotebookNode:
        source = inspect.getsource(function).replace("Arrays", "dict")
        return code(source.rstrip())

    return _notebook(
        text("# A solution\n\nRun it in a folder that holds `train.npz` and `test.npz`."),
        code(_setup()),
        code(
            f"import torch\nfrom torch import Tensor, nn\nfrom sklearn.linear_model import LogisticRegression\n"
            f"from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\n\n{_LOAD}"
        ),
        text(
            "## Clean\n\nEmpty events and second copies teach nothing. The median of a layer is its pedestal."
        ),
        cell(solutions.usable),
        cell(solutions.clean),
        text("## Baseline: ten features and logistic regression"),
        cell(solutions.features),
        cell(solutions.baseline),
        code("baseline(records, unlabelled)"),
        text("## Reference: a convolutional network, and mirror images"),
        cell(solutions.images),
        cell(solutions.network),
        cell(solutions.reference),
        code("probability = reference(records, unlabelled)"),
        text("## Predictions"),
        code(_WRITE),
    )


def _setup() -> str:
    """Return the setup cell, which is the same in all lessons."""
    cells = catalogue.lessons()[0].notebook.cells
    return next(cell.source for cell in cells if cell.cell_type == "code")


def _notebook(*cells: NotebookNode) -> NotebookNode:
    for number, cell in enumerate(cells, 1):
        cell.id = f"exam-{number:02}"  # not at random: the same exam has the same bytes
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(
        cells=list(cells), metadata={"kernelspec": kernel, "language_info": {"name": "python"}}
    )


def _write_students(folder: Path, made: Problem) -> None:
    """Write what the students get. Nothing in it depends on the seed or on the labels of the test, but the events."""
    _write(folder / "README.md", _text("task.md"))
    _write(folder / "exam.ipynb", nbformat.writes(students_notebook()) + "\n")
    _save(folder / "train.npz", **_arrays(made.train), label=made.train.label)
    _save(folder / "test.npz", **_arrays(made.test))


def _write_teacher(folder: Path, students: Path, made: Problem, seed: int) -> tuple[Score, Score]:
    """Write what the teacher keeps; baseline and reference learn from the students' folder alone."""
    records, unlabelled = (dict(np.load(students / f"{name}.npz")) for name in ("train", "test"))
    results = []
    for solve in (solutions.baseline, solutions.reference):
        file = folder / f"{solve.__name__}.csv"
        predictions.write(file, unlabelled["id"], solve(records, unlabelled))
        results.append(scores.measure(made.test.label, predictions.read(file)[1]))
    _save(folder / "labels.npz", id=unlabelled["id"], label=made.test.label)
    _write(folder / "reference.ipynb", nbformat.writes(reference_notebook()) + "\n")
    _write(folder / "questions.md", f"# Twenty questions\n\n{_text('questions.md')}")
    _write(folder / "marking.md", _text("marking.md").format(**_facts(made, seed, *results)))
    facts = {"seed": seed, "train": len(made.train), "test": len(made.test), "settings": made.as_dict()}
    _write(folder / "exam.json", json.dumps(facts, indent=1) + "\n")
    return tuple(results)


def _facts(made: Problem, seed: int, baseline: Score, reference: Score) -> dict[str, object]:
    """Return what stands in the marking sheet: the baseline is worth 20 points, the reference 40."""
    return made.as_dict() | {
        "seed": seed,
        "train": f"{len(made.train):,}",
        "test": f"{len(made.test):,}",
        "baseline": baseline,
        "reference": reference,
        "half": baseline.auc,
        "range": max(reference.auc - baseline.auc, 0.01),  # with few events the network is no better
        "majority": 1 - made.settings.photons,
    }


def _arrays(records: Records) -> dict[str, np.ndarray]:
    return {
        "id": np.arange(len(records)),
        "energy": records.energy,
        "tilt": records.tilt,
        "run": records.run,
    }


def _text(name: str) -> str:
    return (_TEXTS / name).read_text(encoding="utf-8")


def _save(path: Path, **arrays: np.ndarray) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    with atomic_write(path) as file:
        file.write(packed.getvalue())


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
