"""A stamp follows what a lesson uses, and nothing else. On a small package of the same shape as the course's."""

import nbformat
import pytest
from nbconvert.preprocessors import ClearOutputPreprocessor

from coursekit.teaching import catalogue, stamps

FILES = {
    "coursekit/__init__.py": '"""Doc."""',
    "coursekit/data/__init__.py": (
        "from coursekit.data.sets.digits import digits\nfrom coursekit.data.sets.jets import jets\n"
    ),
    "coursekit/exercises/__init__.py": "",
    "coursekit/data/splits.py": "def split(x):\n    return x\n",
    "coursekit/data/sets/__init__.py": "",
    "coursekit/data/sets/digits.py": (
        "from coursekit.data.splits import split\n\nSIZE = 3\n\n\ndef digits():\n    return split(SIZE)\n"
    ),
    "coursekit/data/sets/jets.py": (
        "from coursekit.data import splits\n\n\ndef jets():\n    return splits.split(open('jets.npz'))\n"
    ),
    "coursekit/plots.py": (
        '"""Plots."""\n\n\ndef line(x):\n    """Draw."""\n    return _axes(x)  # a line\n\n\n'
        "def _axes(x):\n    return x\n\n\ndef pie(x):\n    return x\n"
    ),
    "coursekit/teaching/record.py": "x = 1\n",
    "coursekit/exercises/lesson01.py": (
        "from coursekit.checks import Set\n\nlesson = Set()\n\n\n"
        "@lesson.exercise()\ndef softmax(x):\n    return x\n\n\n"
        "softmax.mistakes({'x': 'y'})\n\n\n@softmax.mistake('y')\ndef _(x):\n    return 2 * x\n"
    ),
    "coursekit/exercises/lesson02.py": "from coursekit.checks import Set\n\nlesson = Set()\n",
    "coursekit/checks/__init__.py": "from coursekit.checks.sets import Set\n",
    "coursekit/checks/sets.py": "class Set:\n    def exercise(self):\n        return self\n",
    "coursekit/style.mplstyle": "font.size: 9",
    "data/jets.npz": "three jets",
}
DIGITS = ["from coursekit import data, plots", "x = data.digits()", "plots.line(x)"]
JETS = ["from coursekit import data", "data.jets()"]
EXERCISES = ["from coursekit.exercises import lesson01 as ex", "ex.softmax(None)"]


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def stamp(root, cells):
    stamps._module.cache_clear()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    return stamps.stamp(notebook, root)


def changed(root, cells, name, before, after) -> set[str]:
    """Return the parts of a lesson's stamp that change with a file."""
    path, first = root / name, stamp(root, cells)
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    second = stamp(root, cells)
    path.write_text(text, encoding="utf-8")
    return {part for part in first.keys() | second.keys() if first.get(part) != second.get(part)}


@pytest.mark.parametrize(
    ("cells", "name", "before", "after"),
    [
        (DIGITS, "coursekit/data/sets/digits.py", "SIZE = 3", "SIZE = 4"),
        (DIGITS, "coursekit/data/splits.py", "return x", "return 2 * x"),  # by way of digits
        (DIGITS, "coursekit/plots.py", "def _axes(x):\n    return x", "def _axes(x):\n    return -x"),
        (JETS, "coursekit/data/splits.py", "return x", "return 2 * x"),
        (JETS, "data/jets.npz", "three", "four"),
        (EXERCISES, "coursekit/exercises/lesson01.py", "    return x", "    return -x"),
        (EXERCISES, "coursekit/exercises/lesson01.py", "2 * x", "3 * x"),  # a mistake acts on its exercise
        (EXERCISES, "coursekit/exercises/lesson01.py", "{'x': 'y'}", "{'x': 'z'}"),
        (EXERCISES, "coursekit/checks/sets.py", "return self", "return None"),
    ],
)
def test_stamp_changes_with_what_a_lesson_uses(root, cells, name, before, after):
    assert changed(root, cells, name, before, after) == {name}


@pytest.mark.parametrize(
    ("cells", "name", "before", "after"),
    [
        (DIGITS, "coursekit/data/sets/jets.py", "splits.split", "print"),  # another data set
        (DIGITS, "data/jets.npz", "three", "four"),
        (
            DIGITS,
            "coursekit/plots.py",
            "def pie(x):\n    return x",
            "def pie(x):\n    return 3 * x",
        ),  # another figure
        (DIGITS, "coursekit/plots.py", "def pie", "def bar(x):\n    return x\n\n\ndef pie"),  # a new one
        (DIGITS, "coursekit/plots.py", "  # a line", "  # a straight line"),
        (DIGITS, "coursekit/plots.py", '"""Draw."""', '"""Draw a line."""'),
        (DIGITS, "coursekit/plots.py", '"""Plots."""', '"""All plots."""'),
        (
            DIGITS,
            "coursekit/data/__init__.py",
            "import jets",
            "import jets\nfrom coursekit.data.splits import split",
        ),
        (DIGITS, "coursekit/teaching/record.py", "x = 1", "x = 2"),
        (DIGITS, "coursekit/exercises/lesson01.py", "return x", "return -x"),
        (EXERCISES, "coursekit/exercises/lesson02.py", "Set()", "Set(1)"),  # another lesson's
    ],
)
def test_stamp_ignores_what_a_lesson_does_not_use(root, cells, name, before, after):
    assert changed(root, cells, name, before, after) == set()


def test_a_module_handed_on_as_a_whole_counts_as_a_whole(root):
    cells = ["from coursekit import plots", "print(plots)"]
    assert changed(
        root, cells, "coursekit/plots.py", "def pie(x):\n    return x", "def pie(x):\n    return 3 * x"
    )


def test_comments_and_docstrings_of_cells_do_not_count_and_code_does(root):
    cells = ["x = 1", 'def f():\n    """Doc."""\n    return "# no comment"']
    same = ["x = 1  # one", 'def f():\n    """Other words, ä."""\n\n    return "# no comment"']
    assert stamp(root, cells) == stamp(root, same)
    assert stamp(root, cells) != stamp(root, ["x = 2", cells[1]])
    assert stamp(root, cells) != stamp(root, [cells[0], cells[1].replace("# no comment", "# a comment")])


def test_a_cell_with_a_magic_is_read(root):
    setup = "import importlib.util\n\nif True:\n    %pip install x\n\nfrom coursekit import plots"
    assert "coursekit/plots.py" in stamp(root, [setup, "plots.line(1)"])


def test_reasons_name_what_changed_what_is_new_and_what_is_gone(root, monkeypatch):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    assert stamps.reasons(notebook) == ["it was never recorded"]
    notebook.metadata["coursekit"] = {"stamp": "1a80a7458d95f7b4"}  # as stamps were once
    assert stamps.reasons(notebook) == ["it was never recorded"]
    notebook.cells[0].execution_count = 1
    notebook.metadata.coursekit = {"stamp": {"cells": "other", "coursekit/old.py": "gone"}}
    assert stamps.reasons(notebook) == ["cells changed", "coursekit/old.py is no longer used"]
    notebook.metadata.coursekit = {"stamp": stamps.stamp(notebook)}
    notebook.cells[0].source = "from coursekit import runtime\nruntime.best_device()"
    assert stamps.reasons(notebook) == [
        "cells changed",
        "coursekit/__init__.py is used now",
        "coursekit/runtime.py is used now",
    ]


def test_a_lesson_whose_outputs_were_cleared_is_stale():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1", execution_count=1)])
    notebook.metadata["coursekit"] = {"stamp": stamps.stamp(notebook)}
    assert stamps.reasons(notebook) == []
    cleared, _ = ClearOutputPreprocessor().preprocess(notebook, {})
    assert stamps.reasons(cleared) == ["its outputs are gone"]


def test_lessons_of_the_course_use_what_they_are_known_to_use():
    by_number = {lesson.number: stamps.stamp(lesson.notebook) for lesson in catalogue.lessons()}
    assert {"coursekit/train/loop.py", "data/jets_held_out.npz", "coursekit/style.mplstyle"} <= by_number[
        3
    ].keys()
    assert "data/jets.npz" not in by_number[1]
    assert "coursekit/data/sets/mnist.py" not in by_number[2]
    for number, parts in by_number.items():
        assert f"coursekit/exercises/lesson{number:02}.py" in parts
        assert not [part for part in parts if "teaching" in part]
