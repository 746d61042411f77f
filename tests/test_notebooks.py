"""What every stored lesson promises, checked without running it."""

import ast
import base64
import importlib
import json
import re

import nbformat
import pytest

from coursekit import lessons, solve

PATHS = sorted(lessons.REPOSITORY.glob("notebooks/*.ipynb"))
BANNED = re.compile(r"\b(simply|just|obviously|trivially|of course)\b", re.IGNORECASE)
SETUP = """import importlib.util

if importlib.util.find_spec("coursekit") is None:
    %pip install --quiet "https://github.com/{slug}/archive/refs/heads/main.zip"

from coursekit import data, plots, runtime, train

device = runtime.start(seed=0)"""


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture
def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def exercises(path):
    return importlib.import_module(f"coursekit.exercises.lesson{path.stem[:2]}").lesson.exercises


def opening(code: str, name: str) -> str:
    """Signature and docstring of a definition, and of the methods in it."""
    (found,) = [node for node in ast.parse(code).body if getattr(node, "name", None) == name]
    for node in ast.walk(found):
        if isinstance(node, ast.FunctionDef):
            node.body = node.body[: ast.get_docstring(node) is not None] or [ast.Pass()]
    return ast.unparse(found)


def kinds(cell) -> list[str]:
    return [output.output_type for output in cell.outputs]


def text_of(cell) -> str:
    """All that a code cell printed or showed as text."""
    return "\n".join(
        output.text if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
    )


def test_there_are_lessons():
    assert PATHS


def test_format_is_valid_and_cell_ids_are_unique(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))  # nbformat.read would mend duplicate ids
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert notebook["metadata"]["language_info"]["name"] == "python"  # without it ruff skips the notebook


def test_skeleton_is_that_of_every_lesson(path, notebook):
    opening, setup = notebook.cells[:2]
    number = int(path.stem[:2])
    assert opening.source.startswith(f"# {number} · ")
    assert "**After this lesson you can**" in opening.source
    for word in ("**Time**", "**Hardware**", "Seed 0"):
        assert word in opening.source
    assert setup.cell_type == "code"
    headings = [
        line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()
        if line.startswith("## ")
    ]  # fmt: skip
    assert headings[0] == "## The question"
    assert headings[-3:] == ["## Your exercises", "## Recap", "## Next"]
    sections = [re.match(r"## (\d+) · ", heading) for heading in headings[1:-3]]
    assert [int(section[1]) for section in sections] == list(range(1, len(sections) + 1))


def test_badge_opens_this_lesson(path, notebook):
    address = f"https://colab.research.google.com/github/{lessons.repository_slug()}/blob/main/notebooks/{path.name}"
    assert f"]({address})" in notebook.cells[0].source


def test_setup_cell_is_the_same_everywhere(notebook):
    assert notebook.cells[1].source == SETUP.format(slug=lessons.repository_slug())


def test_stored_run_went_once_from_top_to_bottom(code_cells):
    assert [cell.execution_count for cell in code_cells] == list(range(1, len(code_cells) + 1))


def test_no_error_is_stored_but_where_it_is_announced(code_cells):
    for cell in code_cells:
        announced = "raises-exception" in cell.metadata.get("tags", [])
        assert ("error" in kinds(cell)) == announced, cell.source


def test_no_warning_is_stored(code_cells):
    for cell in code_cells:
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source


def test_stamp_is_current(path, notebook):
    assert lessons.is_current(notebook, path.stem), "stale: run `make notebooks`"


def test_size_and_time_keep_within_the_budget(path, notebook):
    assert path.stat().st_size <= 600_000
    assert notebook.metadata.coursekit.seconds["sample"] <= 60
    assert notebook.metadata.coursekit.seconds["full"] <= 180


def test_stored_run_used_the_full_data(code_cells):
    announced = [
        line for cell in code_cells for line in text_of(cell).splitlines() if line.startswith("MNIST:")
    ]
    assert all("sample" not in line for line in announced)


def test_nothing_of_a_machine_or_a_widget_is_stored(path):
    text = path.read_text(encoding="utf-8")
    for trace in (
        "widget-view",
        '"widgets"',
        "/home/",
        "/root/",
        "/tmp/",
        "/Users/",
        str(lessons.REPOSITORY),
    ):
        assert trace not in text


def test_prose_never_belittles(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert not BANNED.findall(cell.source), cell.source


def test_no_more_than_two_code_cells_without_prose(notebook):
    row = "".join(cell.cell_type[0] for cell in notebook.cells)
    assert "ccc" not in row, row.index("ccc")


def test_no_code_cell_is_long(code_cells):
    for cell in code_cells:
        assert len(cell.source.splitlines()) <= 20, cell.source


def test_every_measured_number_in_the_prose_stands_in_an_output_above(notebook):
    shown = ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shown += text_of(cell) + "\n"
            continue
        for number in re.findall(r"`(-?\d+(?:\.\d+)?)`", cell.source):
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\.?\d)", shown), (
                f"{number} in: {cell.source[:80]}"
            )


def test_cover_is_a_figure_of_the_stored_run(path, code_cells):
    (cell,) = [cell for cell in code_cells if "cover" in cell.metadata.get("tags", [])]
    (picture,) = [
        output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    cover = lessons.REPOSITORY / "docs" / "covers" / f"{path.stem}.png"
    assert base64.b64decode(picture) == cover.read_bytes()


def test_nothing_is_defined_twice(code_cells):
    names = []
    for cell in code_cells:
        code = "\n".join(line for line in cell.source.splitlines() if not line.lstrip().startswith("%"))
        if cell.source.startswith("import importlib.util"):
            continue  # the setup cell: the same everywhere, and its body is a magic
        names += [
            node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]
    assert len(set(names)) == len(names), names


def test_readme_lists_the_lesson_with_its_measured_times(path, notebook):
    (row,) = [
        line for line in (lessons.REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("|") and f"](notebooks/{path.name})" in line
    ]  # fmt: skip
    seconds = notebook.metadata.coursekit.seconds
    assert f"{seconds['sample']} s / {seconds['full']} s" in row
    assert f"{lessons.repository_slug()}/blob/main/notebooks/{path.name}" in row


def test_every_exercise_has_one_cell_in_order(code_cells, exercises):
    cells = [cell for cell in code_cells if "exercise" in cell.metadata.get("tags", [])]
    assert [cell.metadata.get("exercise") for cell in cells] == list(exercises)


def test_exercises_are_stored_unanswered(code_cells, exercises):
    for cell in code_cells:
        if name := cell.metadata.get("exercise"):
            assert text_of(cell).startswith(f"○ {name} · not attempted"), cell.source


def test_exercise_asks_for_what_its_solution_is(code_cells, exercises):
    for cell in code_cells:
        if (name := cell.metadata.get("exercise")) and f" {name}(" in cell.source:
            assert opening(cell.source, name) == opening(exercises[name]._solution_code(), name)


@pytest.fixture
def prompts(notebook):
    return [
        notebook.cells[number - 1].source
        for number, cell in enumerate(notebook.cells)
        if cell.metadata.get("exercise")
    ]


def test_exercise_has_a_prompt_with_its_number_and_minutes(prompts):
    for number, prompt in enumerate(prompts, 1):
        heading = rf"^### Exercise {number} · .+ \((at home, )?\d+ minutes?\)$"
        assert re.search(heading, prompt, re.MULTILINE), prompt


def test_opening_names_the_exercises_for_home(notebook, prompts):
    first = notebook.cells[0].source
    named = re.search(r"the longer ones \((.+?)\)", first)[1]
    for_home = [number for number, prompt in enumerate(prompts, 1) if "(at home, " in prompt]
    homework = [len(prompts)] if "the homework" in first else []
    assert [int(number) for number in re.findall(r"\d+", named)] + homework == for_home


def test_report_closes_the_lesson(code_cells, exercises):
    assert code_cells[-1].source == "ex.report()"
    assert f"0 of {len(exercises)} correct" in text_of(code_cells[-1])


def test_solved_form_has_no_gap_left(path, notebook):
    for cell in solve.solved(notebook, path.stem).cells:
        if cell.metadata.get("exercise"):
            ast.parse(cell.source)
            assert not re.search(r"^\s*\.\.\.$|=\.\.\.|\(\.\.\.\)", cell.source, re.MULTILINE), cell.source
