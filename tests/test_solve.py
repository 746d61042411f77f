import nbformat
import pytest

from coursekit.teaching import solve
from coursekit.teaching.catalogue import Lesson

STUB = 'def softmax(logits):\n    """Doc."""\n    ...\n\n\nex.softmax(softmax)'


def write(path, *cells):
    """Write a notebook of pairs (exercise, code)."""
    notebook = nbformat.v4.new_notebook()
    for exercise, code in cells:
        notebook.cells.append(
            nbformat.v4.new_code_cell(code, metadata={"exercise": exercise} if exercise else {})
        )
    nbformat.write(notebook, path)
    return path


def test_solution_takes_the_place_of_the_stub_and_nothing_else(tmp_path):
    path = write(
        tmp_path / "03_a.ipynb",
        ("", "x = 1"),
        ("softmax", STUB),
        ("untrained_loss", "ex.untrained_loss(...)"),
    )
    assert solve.main([str(path), "-o", str(tmp_path / "out")]) == 0
    before, softmax, loss = nbformat.read(tmp_path / "out" / "03_a.ipynb", as_version=4).cells
    assert before.source == "x = 1"
    assert softmax.source.startswith("def softmax(logits):\n")
    assert "keepdim=True" in softmax.source
    assert softmax.source.endswith("\n\n\nex.softmax(softmax)")
    assert loss.source == "ex.untrained_loss(2.303)"


def test_outputs_are_left_out_and_the_lesson_is_left_alone(tmp_path):
    path = write(tmp_path / "03_a.ipynb", ("softmax", STUB))
    lesson = Lesson(path)
    lesson.notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="old")]
    assert solve.solved(lesson).cells[0].outputs == []
    assert lesson.notebook.cells[0].source == STUB


@pytest.mark.parametrize(
    ("name", "cell", "words"),
    [
        (
            "03_a",
            ("sofmax", STUB),
            "03_a.ipynb, cell 1 is for the exercise 'sofmax', and coursekit.exercises.lesson03 has",
        ),
        ("99_a", ("softmax", STUB), "there is no module coursekit.exercises.lesson99"),
        ("mine", ("softmax", STUB), "mine.ipynb is no lesson"),
    ],
)
def test_cell_that_cannot_be_solved_is_named(tmp_path, capsys, name, cell, words):
    path = write(tmp_path / f"{name}.ipynb", cell)
    assert solve.main([str(path), "-o", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err


def test_lesson_is_never_overwritten_and_has_to_be_there(tmp_path, capsys):
    path = write(tmp_path / "03_a.ipynb", ("softmax", STUB))
    assert solve.main([str(path), "-o", str(tmp_path)]) == 1
    assert "would be overwritten" in capsys.readouterr().err
    assert solve.main([str(tmp_path / "04.ipynb"), "-o", str(tmp_path / "out")]) == 1
    assert "there is no notebook" in capsys.readouterr().err


@pytest.mark.parametrize(
    "handed_in",
    [
        "def softmax(logits)\n    return logits\n\n\nex.softmax(softmax)",  # a colon is missing
        "%%time\ndef softmax(logits):\n    return logits\n\n\nex.softmax(softmax)",
        "def my_softmax(logits):\n    return logits\n\n\nex.softmax(my_softmax)",
        "ex.softmax.hint()",
        "",
    ],
    ids=["syntax error", "magic", "renamed", "overwritten", "emptied"],
)
def test_cell_that_a_student_overwrote_is_put_back_solved(tmp_path, handed_in):
    path = write(
        tmp_path / "lesson3_mine.ipynb",
        ("", "from coursekit.exercises import lesson03 as ex"),
        ("softmax", handed_in),
    )
    assert solve.main([str(path), "-o", str(tmp_path / "out")]) == 0
    cell = nbformat.read(tmp_path / "out" / path.name, as_version=4).cells[1]
    assert cell.source.startswith("def softmax(logits):\n")
    assert "keepdim=True" in cell.source
    assert "ex.softmax(softmax)" in cell.source
