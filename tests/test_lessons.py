"""What every stored lesson promises, checked without running it."""

import ast
import base64
import json
import re

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbconvert import ScriptExporter

from coursekit.teaching import catalogue, rules
from coursekit.teaching.prose import printed
from coursekit.teaching.solve import solved
from coursekit.teaching.stamps import reasons

LESSONS = catalogue.lessons()
SETUP = """import importlib.util

if importlib.util.find_spec("coursekit") is None:
    %pip install --quiet "https://github.com/{slug}/archive/refs/heads/main.zip"

from coursekit import data, plots, runtime, train

device = runtime.start(seed=0)"""


@pytest.fixture(params=LESSONS, ids=lambda lesson: lesson.stem)
def lesson(request):
    return request.param


@pytest.fixture
def notebook(lesson):
    return lesson.notebook


@pytest.fixture
def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def opening(code: str, name: str) -> str:
    """Signature and docstring of a definition, and of the methods in it."""
    (found,) = [node for node in ast.parse(code).body if getattr(node, "name", None) == name]
    for node in ast.walk(found):
        if isinstance(node, ast.FunctionDef):
            node.body = node.body[: ast.get_docstring(node) is not None] or [ast.Pass()]
    return ast.unparse(found)


def kinds(cell) -> list[str]:
    return [output.output_type for output in cell.outputs]


def test_there_are_lessons():
    assert LESSONS


def test_format_is_valid_and_cell_ids_are_unique(lesson):
    notebook = json.loads(lesson.path.read_text(encoding="utf-8"))  # nbformat.read would mend duplicate ids
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    language = notebook["metadata"]["language_info"]
    assert language["name"] == "python"  # without it ruff skips the notebook
    assert language["file_extension"] == ".py"  # without it nbconvert writes a .txt
    assert language["pygments_lexer"] == "ipython3"  # without it a page cannot colour `!` and `%%` lines


@pytest.mark.parametrize("rule", rules.RULES)
def test_lesson_keeps_the_rule(rule, lesson):
    problems = rules.RULES[rule](lesson)
    assert not problems, "\n".join(f"{lesson.stem}, {problem}" for problem in problems)


def test_opening_says_what_it_is_for_how_long_it_takes_and_where_it_runs(lesson):
    assert lesson.opening.startswith(f"# {lesson.number} · ")
    for words in ("**After this lesson you can**", "**Time**", "**You need**", "**Hardware**", "Seed 0"):
        assert words in lesson.opening


def test_badge_opens_this_lesson(lesson):
    assert f"]({lesson.colab})" in lesson.opening


def test_setup_cell_is_the_same_everywhere(notebook):
    assert notebook.cells[1].source == SETUP.format(slug=catalogue.repository_slug())


def test_stored_run_went_once_from_top_to_bottom(code_cells):
    assert [cell.execution_count for cell in code_cells] == list(range(1, len(code_cells) + 1))


def test_no_error_is_stored_but_where_it_is_announced(code_cells):
    for cell in code_cells:
        announced = "raises-exception" in cell.metadata.get("tags", [])
        assert ("error" in kinds(cell)) == announced, cell.source


def test_no_warning_is_stored(code_cells):
    for cell in code_cells:
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source


def test_as_a_script_it_is_python(lesson):
    script, resources = ScriptExporter().from_notebook_node(lesson.notebook)
    assert resources["output_extension"] == ".py"
    compile(script, lesson.stem, "exec")


def test_stamp_is_current(lesson):
    causes = "; ".join(reasons(lesson.notebook))
    assert not causes, f"{lesson.stem} is stale ({causes}): run `make notebooks`"


def test_size_and_time_keep_within_the_budget(lesson):
    assert lesson.path.stat().st_size <= 600_000
    assert lesson.seconds["sample"] <= 60
    assert lesson.seconds["full"] <= 180


def test_stored_run_used_the_data_that_the_lesson_asks_for(code_cells):
    announced = [
        line
        for cell in code_cells
        for line in printed(cell.outputs).splitlines()
        if line.startswith("MNIST:")
    ]
    loads = any("data.mnist(" in cell.source for cell in code_cells)
    wants_the_sample = any('data.mnist("sample")' in cell.source for cell in code_cells)
    assert loads == bool(announced)
    assert all(("sample" in line) == wants_the_sample for line in announced)


def test_nothing_of_a_machine_or_a_widget_is_stored(lesson):
    text = lesson.path.read_text(encoding="utf-8")
    for trace in (
        "widget-view",
        '"widgets"',
        "/home/",
        "/root/",
        "/tmp/",
        "/Users/",
        str(catalogue.REPOSITORY),
    ):
        assert trace not in text


def test_no_more_than_two_code_cells_without_prose(notebook):
    row = "".join(cell.cell_type[0] for cell in notebook.cells)
    assert "ccc" not in row, row.index("ccc")


def test_no_code_cell_is_long(code_cells):
    for cell in code_cells:
        assert len(cell.source.splitlines()) <= 20, cell.source


def test_cover_is_a_figure_of_the_stored_run(lesson, code_cells):
    (cell,) = [cell for cell in code_cells if "cover" in cell.metadata.get("tags", [])]
    (picture,) = [
        output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    assert base64.b64decode(picture) == lesson.cover.read_bytes()


def test_nothing_is_defined_twice(code_cells):
    names = []
    for cell in code_cells:
        code = TransformerManager().transform_cell(cell.source)
        names += [
            node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]
    assert len(set(names)) == len(names), names


def test_readme_lists_the_lesson_with_its_exercises_minutes_and_measured_times(lesson):
    (row,) = [
        line for line in (catalogue.REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("|") and f"](notebooks/{lesson.path.name})" in line
    ]  # fmt: skip
    seconds = f"{lesson.seconds['sample']} s / {lesson.seconds['full']} s"
    assert f"| {len(lesson.prompts)} | {lesson.class_minutes} min | {seconds} |" in row
    assert lesson.colab in row


def test_every_exercise_has_one_cell_in_order(lesson, code_cells):
    cells = [cell for cell in code_cells if "exercise" in cell.metadata.get("tags", [])]
    assert [cell.metadata.get("exercise") for cell in cells] == list(lesson.exercises)


def test_exercises_are_stored_unanswered(lesson, code_cells):
    for cell in code_cells:
        if name := cell.metadata.get("exercise"):
            assert printed(cell.outputs).startswith(f"○ {name} · not attempted"), cell.source


def test_exercise_asks_for_what_its_solution_is(lesson, code_cells):
    for cell in code_cells:
        if (name := cell.metadata.get("exercise")) and f" {name}(" in cell.source:
            assert opening(cell.source, name) == opening(lesson.exercises[name].source(), name)


def test_exercises_are_numbered_in_order(lesson):
    assert [prompt.number for prompt in lesson.prompts] == list(range(1, len(lesson.prompts) + 1))


def test_opening_names_the_exercises_for_home(lesson):
    ones, first, last = re.findall(r"marked \*at home\* \((.+?)\)|exercises (\d+) to (\d+)", lesson.opening)[
        -1
    ]
    named = (
        [*range(int(first), int(last) + 1)] if first else [int(number) for number in re.findall(r"\d+", ones)]
    )
    homework = [len(lesson.prompts)] if "the homework" in lesson.opening else []
    for_home = [prompt.number for prompt in lesson.prompts if prompt.at_home]
    assert named + homework == for_home


def test_first_exercise_to_write_says_what_helps(lesson):
    first = next(cell.source for cell in lesson.notebook.cells if ".hint()" in cell.source)
    assert re.match(r"(?s).*### Exercise [12] ·", first)
    for words in (".solution()", "*Run All Above Selected Cell*"):
        assert words in first


def test_report_closes_the_lesson(lesson, code_cells):
    assert code_cells[-1].source == "ex.report()"
    assert f"0 of {len(lesson.exercises)} correct" in printed(code_cells[-1].outputs)


def test_solved_form_has_no_gap_left(lesson):
    for cell in solved(lesson).cells:
        if cell.metadata.get("exercise"):
            ast.parse(cell.source)
            assert not re.search(r"^\s*\.\.\.$|=\.\.\.|\(\.\.\.\)", cell.source, re.MULTILINE), cell.source
