import base64

import nbformat
import pytest

from coursekit.teaching import catalogue, record
from coursekit.teaching.catalogue import Lesson
from coursekit.teaching.stamps import reasons
from tests.small_lessons import FIGURE, outputs, write


def test_record_stores_outputs_and_a_stamp_that_code_makes_stale(tmp_path):
    path = write(tmp_path / "01_a.ipynb", FIGURE)
    record.record(Lesson(path))
    notebook = nbformat.read(path, as_version=4)
    assert "image/png" in outputs(notebook)
    assert reasons(notebook) == []
    assert set(notebook.metadata.coursekit.seconds) == {"sample", "full", "part_1"}
    notebook.cells[1].source += "\n1 + 1"
    assert reasons(notebook) == ["cells changed"]


def test_record_stores_the_cover_and_the_seconds(tmp_path):
    path = write(tmp_path / "notebooks" / "01_a.ipynb", FIGURE, tags=["cover"])
    readme = tmp_path / "README.md"
    readme.write_text(
        "| [1 · A](notebooks/01_a.ipynb) | 99 | 999 min | 999 s / 999 s | badge |\n"
        "| [2](notebooks/02.ipynb) | 5 s / 6 s |",
        encoding="utf-8",
    )
    record.record(Lesson(path))
    notebook = nbformat.read(path, as_version=4)
    cover = (tmp_path / "docs" / "covers" / "01_a.png").read_bytes()
    assert notebook.cells[1].outputs[0].data["image/png"].strip() == base64.b64encode(cover).decode()
    seconds = notebook.metadata.coursekit.seconds
    assert f"| 0 | 2 min | {seconds['sample']} s / {seconds['full']} s | badge |" in readme.read_text(
        encoding="utf-8"
    )
    assert "| 5 s / 6 s |" in readme.read_text(encoding="utf-8")


def test_record_leaves_a_failing_lesson_as_it_was(tmp_path):
    path = write(tmp_path / "01_a.ipynb", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="failed on the sample data and was left as it was"):
        record.record(Lesson(path))
    assert path.read_bytes() == before


def test_only_stale_lessons_are_run_again_and_the_cause_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(catalogue, "NOTEBOOKS", tmp_path / "notebooks")
    for name in ("01_a", "02_b"):
        write(tmp_path / "notebooks" / f"{name}.ipynb", "1 + 1")
    assert record.main([]) == 0
    assert "02_b is stale: it was never recorded" in capsys.readouterr().out

    second = catalogue.read(tmp_path / "notebooks" / "02_b.ipynb")
    second.cells[1].source = "1 + 2"
    catalogue.write(second, tmp_path / "notebooks" / "02_b.ipynb")
    first = (tmp_path / "notebooks" / "01_a.ipynb").read_bytes()
    assert record.main([]) == 0
    told = capsys.readouterr().out
    assert "01_a is current\n02_b is stale: cells changed" in told
    assert (tmp_path / "notebooks" / "01_a.ipynb").read_bytes() == first

    assert record.main(["07"]) == 1
    assert "there is no lesson 07; there are 01, 02" in capsys.readouterr().err


def test_part_1_is_timed_on_its_own(tmp_path):
    path = write(tmp_path / "01_a.ipynb", "import time; time.sleep(1.1)", "time.sleep(3)")
    notebook = catalogue.read(path)
    notebook.cells.insert(2, nbformat.v4.new_markdown_cell("## Part 2 · At home"))
    catalogue.write(notebook, path)
    record.record(Lesson(path))
    seconds = Lesson(path).seconds
    assert seconds["part_1"] == 1
    assert seconds["sample"] >= 4
