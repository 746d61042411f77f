import re

import pytest

from coursekit.checks import Reached, memory
from coursekit.teaching import run_all
from tests.small_lessons import FIGURE, write


def test_course_writes_notebooks_pages_and_an_index_with_figures(tmp_path, capsys):
    write(tmp_path / "in" / "01_good.ipynb", FIGURE)
    write(tmp_path / "in" / "02_bad.ipynb", "1 / 0")
    failed = run_all.run_all(tmp_path / "in", tmp_path / "out")
    assert failed == 1
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"01_good.ipynb", "01_good.html", "02_bad.ipynb", "02_bad.html", "index.html", "mathjax"}
    index = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert index.count("<img") == 1
    assert "ZeroDivisionError" in index
    assert "01_good: ran clean" in capsys.readouterr().out


def test_pages_of_the_course_set_formulas_without_a_network(tmp_path):
    write(tmp_path / "in" / "01_a.ipynb", "1 + 1")
    run_all.run_all(tmp_path / "in", tmp_path / "out")
    page = (tmp_path / "out" / "01_a.html").read_text(encoding="utf-8")
    assert '<script src="mathjax/tex-chtml.js">' in page
    assert (tmp_path / "out" / "mathjax" / "tex-chtml.js").is_file()
    assert page.index("inlineMath: [['$', '$']]") < page.index("mathjax/tex-chtml.js")


def test_index_shows_how_far_the_student_is_with_every_lesson(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "kept"))
    for name in ("03_begun", "04_not_begun", "99_of_another_course"):
        write(tmp_path / "in" / f"{name}.ipynb", "1")
    memory.keep("Lesson 3", "softmax", Reached.today("correct", tries=1, hints=0))
    before = (tmp_path / "kept" / "progress.json").read_bytes()
    run_all.run_all(tmp_path / "in", tmp_path / "out")
    index = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    begun, not_begun, other = index.split("<h2>")[1:]
    assert "title='softmax: solved today'" in begun
    assert "</span> 1 of 15 solved</p>" in begun
    assert "</span> 0 of 14, not begun</p>" in not_begun
    assert "solved" not in other
    assert "Your progress then: 1 of 2" in index
    assert "nothing is sent anywhere" in index
    assert (tmp_path / "kept" / "progress.json").read_bytes() == before


def test_every_figure_of_the_pages_is_described(tmp_path):
    write(tmp_path / "in" / "01_a.ipynb", f"{FIGURE}\nplt.plot([2, 1])\nplt.show()", FIGURE)
    run_all.run_all(tmp_path / "in", tmp_path / "out")
    for name in ("01_a.html", "index.html"):
        page = (tmp_path / "out" / name).read_text(encoding="utf-8")
        words = re.findall(r'<img[^>]* alt="([^"]*)"', page)
        assert [text.strip() for text in words] == ["Figure in “1 · A lesson”."] * 3


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    write(tmp_path / "in" / "01_a.ipynb", "1")
    with pytest.raises(ValueError, match=r"run_all: `destination` is in .*file/out.* nothing can be written"):
        run_all.run_all(tmp_path / "in", tmp_path / "file" / "out")


def test_folder_without_lessons_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no lesson"):
        run_all.run_all(tmp_path, tmp_path / "out")


def test_command_line_says_what_is_wrong_without_a_traceback(tmp_path, capsys):
    assert run_all.main(["--lessons", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: run_all: `lessons`")
