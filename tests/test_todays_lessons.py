import json
import subprocess
from datetime import date, datetime, timedelta

import nbformat
import pytest

from coursekit.teaching import catalogue
from tests import __main__ as run
from tests import todays_lessons
from tests.forms import FORMS

DAY = date(2026, 8, 3)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of three lessons, committed seven hours ago."""
    for name in ("01_a", "02_b", "03_c"):
        write(tmp_path, name, "1 + 1")
    monkeypatch.setattr(catalogue, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(todays_lessons, "REPOSITORY", tmp_path)
    git(tmp_path, "init", "-q")
    commit(tmp_path, hours_ago=7)
    return tmp_path


def write(root, name, source, *, output="", text="Add."):
    outputs = [nbformat.v4.new_output("stream", text=output)] if output else []
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(text, id="t"),
            nbformat.v4.new_code_cell(source, id="a", outputs=outputs),
        ]
    )
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def git(root, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


def commit(root, *, hours_ago):
    when = (datetime.now() - timedelta(hours=hours_ago)).isoformat(timespec="seconds")
    git(root, "add", "-A")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(
        ["git", *identity, "commit", "-q", "-m", "x", "--date", when],
        cwd=root, check=True, env={"GIT_COMMITTER_DATE": when, "PATH": "/usr/bin:/bin:/usr/local/bin"},
    )  # fmt: skip


def touched(root):
    return [lesson.stem for lesson in catalogue.lessons() if todays_lessons.is_touched(lesson)]


def test_a_fifth_of_the_lessons_has_its_turn_each_day_and_all_in_five(repository):
    turns = [
        {lesson.number for lesson in todays_lessons.todays(DAY + timedelta(days=day))} for day in range(5)
    ]
    assert max(len(turn) for turn in turns) == 1
    assert set.union(*turns) == {1, 2, 3}


def test_lesson_whose_code_changed_is_touched_committed_or_not(repository):
    assert touched(repository) == []
    write(repository, "02_b", "1 + 2")
    assert touched(repository) == ["02_b"]
    commit(repository, hours_ago=1)
    assert touched(repository) == ["02_b"]
    assert "02_b" in [lesson.stem for lesson in todays_lessons.todays(DAY)]


def test_outputs_and_text_touch_no_lesson(repository):
    write(repository, "02_b", "1 + 1", output="2", text="Add them.")
    assert touched(repository) == []


def test_mistakes_that_exercises_know_touch_no_lesson_but_solutions_do(repository):
    module = repository / "coursekit" / "exercises" / "lesson02.py"
    module.parent.mkdir(parents=True)
    module.write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    commit(repository, hours_ago=7)
    mistake = "\n\n@double.mistake('No.')\ndef _(x):\n    return x\n\n\ndouble.mistakes({})\n"
    module.write_text(f"def double(x):\n    return 2 * x\n{mistake}", encoding="utf-8")
    assert touched(repository) == []
    module.write_text("def double(x):\n    return x + x\n", encoding="utf-8")
    assert touched(repository) == ["02_b"]


def test_new_lessons_exercises_and_tests_touch_their_lesson(repository):
    write(repository, "04_d", "1")
    for number, folder in (
        ("01", "coursekit/exercises/lesson01.py"),
        ("03", "tests/exercises/test_lesson03.py"),
    ):
        path = repository / folder
        path.parent.mkdir(parents=True)
        path.write_text(f"def exercise{number}(): ...", encoding="utf-8")
    assert touched(repository) == ["01_a", "03_c", "04_d"]


def test_without_a_history_every_lesson_is_touched(repository, monkeypatch):
    monkeypatch.setattr(todays_lessons, "_git", lambda *_: "")
    assert len(touched(repository)) == 3


def test_lesson_that_is_not_there_is_an_error_that_lists_those_that_are(capsys):
    assert run.main(["lessons", "77"]) == 1
    assert "error: there is no lesson 77; there are 00, 01, 02" in capsys.readouterr().err


def test_form_that_is_not_there_is_an_error_that_lists_those_that_are(capsys):
    with pytest.raises(SystemExit):
        run.main(["lessons", "01", "--form", "sung"])
    assert "invalid choice: 'sung'" in capsys.readouterr().err


def test_every_form_says_in_words_what_it_is_and_which_lessons():
    chosen = catalogue.select("03")
    for form in FORMS.values():
        assert form.variables(chosen)["COURSE_FORM"] == form.words
        assert form.variables(chosen)["LESSONS"] == "03"
        assert (form.where in form.command(chosen)[-1]) or "03_dnn_mnist.ipynb" in form.command(chosen)[-1]
