import nbformat

from coursekit.teaching.execute import cell_seconds, execute
from tests.small_lessons import outputs, write


def test_execute_runs_in_an_empty_folder_with_the_source_it_was_told(tmp_path):
    code = "import os; print(os.listdir(), os.environ['COURSEKIT_SOURCE'])"
    run = execute(write(tmp_path / "a.ipynb", code), source="sample")
    assert run.error == ""
    assert "[] sample" in outputs(run.notebook)


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


def test_sliders_become_the_figure_they_control(tmp_path):
    code = (
        "import matplotlib.pyplot as plt\nfrom ipywidgets import interact\n"
        "def draw(slope):\n    plt.plot([0, slope])\n    plt.show()\n"
        "interact(draw, slope=(0.0, 2.0))"
    )
    run = execute(write(tmp_path / "a.ipynb", code))
    assert run.error == ""
    (figure,) = [output for output in run.notebook.cells[1].outputs if "image/png" in output.get("data", {})]
    assert figure.output_type == "display_data"
    assert "widget-view" not in str(run.notebook)
    nbformat.validate(run.notebook)


def test_seconds_of_a_cell_are_those_it_ran(tmp_path):
    run = execute(write(tmp_path / "a.ipynb", "import time; time.sleep(0.2)"))
    text, code = run.notebook.cells
    assert 0.2 <= cell_seconds(code) < 2
    assert cell_seconds(text) == 0
