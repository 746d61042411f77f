import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from coursekit.teaching.execute import cell_seconds, execute
from tests.small_lessons import outputs, write


def test_execute_runs_in_an_empty_folder_with_the_source_it_was_told(tmp_path):
    code = "import os; print(os.listdir(), os.environ['COURSEKIT_SOURCE'])"
    run = execute(write(tmp_path / "a.ipynb", code), source="sample")
    assert run.error == ""
    assert "[] sample" in outputs(run.notebook)


def test_execute_keeps_the_run_apart_from_this_users_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "kept"))
    exercise = "double = lesson.quiz('double', hints=['a'], double=Question('a', 'So.'))"
    code = f"from coursekit.checks import ExerciseSet, Question\nlesson = ExerciseSet('Lesson 3')\n{exercise}"
    run = execute(write(tmp_path / "a.ipynb", code, "double(double='a')", "lesson.report()"))
    assert run.error == ""
    assert "1 of 1 correct" in outputs(run.notebook)
    assert not (tmp_path / "kept").exists()


def test_execute_reports_a_failing_cell_and_keeps_what_ran(tmp_path):
    run = execute(write(tmp_path / "a.ipynb", "print('before')", "1 / 0", "print('after')"))
    assert "ZeroDivisionError" in run.error
    assert "before" in outputs(run.notebook)
    assert "after" not in outputs(run.notebook)


def test_a_cell_meant_to_raise_has_to(tmp_path):
    assert execute(write(tmp_path / "a.ipynb", "1 / 0", tags=["raises-exception"])).error == ""
    silent = execute(write(tmp_path / "b.ipynb", "1 / 1", tags=["raises-exception"]))
    assert silent.error == "cell 2 is tagged raises-exception, but raised nothing"


def test_progress_bars_leave_no_trace(tmp_path):
    code = "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass\nprint('done')"
    notebook = execute(write(tmp_path / "a.ipynb", code)).notebook
    assert "widget" not in outputs(notebook)
    assert "done" in outputs(notebook)
    assert "widgets" not in notebook.metadata


TRAINING = """
import itertools
import time
import torch
from coursekit.data import Split
from coursekit import train

def slow(model, x, y):
    time.sleep(0.05)
    if next(batch) == LAST:
        raise KeyError("enough")
    return {"loss": model(x).square().mean()}

batch = itertools.count()
split = Split(torch.ones(60, 1), torch.zeros(60, 1))
train.fit(torch.nn.Linear(1, 1), split.batches(2), epochs=1, objective=slow)
"""


def saved_after(tmp_path, code) -> list[NotebookNode]:
    """Return the outputs of the last cell as a notebook saves them, widgets and all."""
    notebook = nbformat.read(write(tmp_path / "a.ipynb", code, tags=["raises-exception"]), 4)
    NotebookClient(notebook, kernel_name="python3").execute()
    return notebook.cells[-1].outputs


def test_training_leaves_no_widget_in_a_saved_notebook(tmp_path):
    kept = saved_after(tmp_path, TRAINING.replace("LAST", "None"))
    assert [output.output_type for output in kept] == ["display_data", "execute_result"]
    assert kept[0].data == {"text/plain": ""}  # where the bar was


def test_training_that_failed_leaves_the_last_the_bar_said(tmp_path):
    bar, error = saved_after(tmp_path, TRAINING.replace("LAST", "20"))
    assert error.ename == "KeyError"
    assert bar.data.keys() == {"text/plain"}
    assert bar.data["text/plain"].startswith("epoch 1/1")


SLIDERS = """
import matplotlib.pyplot as plt
from coursekit import plots

def draw(slope=1.0):
    figure, ax = plt.subplots()
    ax.plot([0, slope])
    return figure

plots.explore(draw, slope=(0.0, 2.0))
"""


def test_sliders_leave_the_figure_in_a_saved_notebook(tmp_path):
    figure, sliders = saved_after(tmp_path, SLIDERS)
    assert "image/png" in figure.data
    assert "application/vnd.jupyter.widget-view+json" in sliders.data


def test_sliders_are_not_stored_with_a_lesson(tmp_path):
    run = execute(write(tmp_path / "a.ipynb", SLIDERS))
    assert run.error == ""
    (figure,) = run.notebook.cells[1].outputs
    assert "image/png" in figure.data
    nbformat.validate(run.notebook)


def test_seconds_of_a_cell_are_those_it_ran(tmp_path):
    run = execute(write(tmp_path / "a.ipynb", "import time; time.sleep(0.2)"))
    text, code = run.notebook.cells
    assert 0.2 <= cell_seconds(code) < 2
    assert cell_seconds(text) == 0
