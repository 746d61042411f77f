"""Marking in a course of nbgrader: its own commands hand out, collect and hand back; ours put in and take out."""

import os
import subprocess
import sys

import pytest

from coursekit.teaching import mark, release
from tests.test_marking import notebook

pytest.importorskip("nbgrader")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="submissions are run in forks")
NAME = "00_first_steps"
_PATH = os.pathsep.join(
    [os.path.dirname(sys.executable), os.environ.get("PATH", "")]
)  # nbgrader calls alembic by name


def nbgrader(folder, *command) -> str:
    """What a command of nbgrader says, called in a folder."""
    called = subprocess.run(
        [sys.executable, "-m", "nbgrader", *command],
        cwd=folder, env=os.environ | {"HOME": str(folder), "PATH": _PATH}, capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert called.returncode == 0, called.stderr
    return called.stderr


def test_page_of_a_student_goes_all_the_way_through_nbgrader(tmp_path):
    exchange, course, student = (tmp_path / name for name in ("exchange", "course101", "ada"))
    for folder in (exchange, course, student):
        folder.mkdir()
        (folder / "nbgrader_config.py").write_text(
            f"c = get_config()\nc.CourseDirectory.course_id = 'course101'\nc.Exchange.root = {str(exchange)!r}\n"
            f"c.Exchange.cache = {str(student / 'cache')!r}\nc.ExchangeCollect.check_owner = False\n",
            encoding="utf-8",
        )
    exchange.chmod(0o777)
    assert release.main([str(course), "--lesson", "00"]) == 0
    nbgrader(course, "release_assignment", NAME)
    nbgrader(student, "fetch_assignment", NAME)
    fetched = student / NAME / f"{NAME}.ipynb"
    assert b"ex.shown_by_c(" in fetched.read_bytes()
    fetched.write_bytes(notebook(shown_by_c="ex.shown_by_c(19)"))
    nbgrader(student, "submit", NAME, "--student=ada")
    nbgrader(course, "collect", NAME)
    other = course / "submitted" / "ada" / "another"
    other.mkdir()
    (other / "essay.ipynb").write_bytes(b"{}")

    arguments = ["--lesson", "00", "-o", str(tmp_path / "marks.csv"), "--workers", "1"]
    assert mark.main([str(course / "submitted"), *arguments, "--feedback", str(course / "feedback")]) == 0
    nbgrader(course, "release_feedback", NAME)
    nbgrader(student, "fetch_feedback", NAME, "--student=ada")
    (page,) = (student / NAME / "feedback").glob(f"*/{NAME}.html")
    assert "ada</h1>" in page.read_text(encoding="utf-8")
    assert "1 of 8 exercises are right" in page.read_text(encoding="utf-8")


def test_assignment_is_that_of_the_lesson_or_has_to_be_named(tmp_path, capsys):
    for name in ("week1", "week2"):
        (tmp_path / "submitted" / "ada" / name).mkdir(parents=True)
        (tmp_path / "submitted" / "ada" / name / "x.ipynb").write_bytes(b"{}")
    arguments = [
        str(tmp_path / "submitted"),
        "--lesson",
        "00",
        "-o",
        str(tmp_path / "marks.csv"),
        "--workers",
        "1",
    ]
    for named in ([], ["--assignment", "week3"]):
        assert mark.main([*arguments, *named]) == 1
        assert "name the assignment with --assignment; there are week1, week2" in capsys.readouterr().err
    assert mark.main([*arguments, "--assignment", "week2"]) == 0
    table = (tmp_path / "marks.csv").read_text(encoding="utf-8")
    assert "ada/week2/x.ipynb" in table
    assert "2 notebooks" not in table


def test_lesson_is_released_to_a_folder_that_is_there(tmp_path, capsys):
    assert release.main([str(tmp_path / "gone"), "--lesson", "00"]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert release.main([str(tmp_path), "--lesson", "00 01"]) == 1
    assert release.main([str(tmp_path), "--lesson", "99"]) == 1
