"""What is asked of a lesson after its run, and the first line of a failure, on notebooks of a few cells."""

import os
import subprocess
import sys

import nbformat

from coursekit.teaching import catalogue
from coursekit.teaching.catalogue import REPOSITORY
from tests.forms import FORMS


def run(folder, *cells, form="student", name="88_made") -> str:
    """Test a lesson in one of its forms; strings that begin with # are texts. Return what pytest says."""
    made = [
        nbformat.v4.new_markdown_cell(one) if one.startswith("#") else nbformat.v4.new_code_cell(one)
        for one in cells
    ]
    path = folder / f"{name}.ipynb"
    catalogue.write(nbformat.v4.new_notebook(cells=made), path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.forms", *FORMS[form].options, str(path)]
    environment = os.environ | FORMS[form].variables([]) | {"OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    return told.stdout


def test_lesson_that_runs_again_and_whose_numbers_are_shown_passes(tmp_path):
    told = run(
        tmp_path,
        "import random\nimport time\nimport torch",
        "x = 1",
        "print(torch.rand(2), random.random(), x)",  # random, so another at every run
        "started = time.perf_counter()\nprint(f'{1e6 * (time.perf_counter() - started):.3f} µs')",
        "print(0.98)",
        "# It is `0.98`, and `0.97` in the stored run.",
    )
    assert "7 passed" in told, told


def test_cells_that_give_something_else_or_fail_are_named(tmp_path):
    told = run(
        tmp_path, "x = 1", "print(x)", "y = x + [0][0]", "x = [2]", "total = 0", "total += 1\nprint(total)"
    )
    assert "88_made, cell 2 gives something else when it is run again after Run All: '1', then '[2]'" in told
    assert "88_made, cell 3 fails when it is run again after Run All: TypeError" in told
    assert "88_made, cell 6 gives something else" in told
    assert "cell 1 " not in told
    assert "1 failed, 7 passed" in told


def test_number_of_the_stored_run_that_the_sample_does_not_show_is_named(tmp_path):
    told = run(tmp_path, "print(0.91)", "# The accuracy is `0.98`.")
    assert "88_made, cell 2: `0.98` is in no output of a run on the sample above it" in told


def test_first_line_of_a_failure_says_which_form_it_was(tmp_path):
    told = run(tmp_path, "1 / 0", form="solved", name="03_made")
    first = next(line for line in told.splitlines() if line.startswith("_"))
    assert "03_made solved, in strict mode, on the sample: " in first
    assert "ZeroDivisionError" in told
    assert "runs again" not in told  # asked of the student's form alone
