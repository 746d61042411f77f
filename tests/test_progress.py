"""What a student has reached is remembered from kernel to kernel, and whatever is in the way costs no verdict."""

import json
import re
import subprocess
import sys
import tempfile
import types
from datetime import date
from pathlib import Path

import platformdirs
import pytest

from coursekit import progress
from coursekit.checks import Reached, Report, in_words, memory, remembered
from coursekit.teaching import catalogue
from coursekit.teaching.catalogue import REPOSITORY
from tests.browser import lab
from tests.forms import FORMS
from tests.posix import as_user, files_up_to, only_posix
from tests.progress_runs import lesson as new_kernel

LAST_YEAR = f"{date.today().year - 1}-11-12"
LONG_AGO = f"on 12 November {date.today().year - 1}"
TODAY = str(date.today())


def right(x):
    return x + x


def wrong(x):
    return x + 3


@pytest.fixture
def file(monkeypatch, tmp_path):
    """Name a folder for progress; return where the file will be."""
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "kept"))
    monkeypatch.setattr(memory, "_said", set())
    return tmp_path / "kept" / "progress.json"


def write(file, **entries):
    """Write what other kernels have reached in lesson 3."""
    file.parent.mkdir(exist_ok=True)
    contents = {"course": "deep-learning-notebooks", "version": 1, "lessons": {"Lesson 3": entries}}
    file.write_text(json.dumps(contents), encoding="utf-8")


def entries(file) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))["lessons"]["Lesson 3"]


def kernel(*arguments) -> subprocess.Popen:
    """Start a process of its own; it finds the folder in the environment."""
    command = [sys.executable, "-X", "utf8", "-m", "tests.progress_runs", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    return subprocess.Popen(command, cwd=REPOSITORY, **pipes)


def ended(process) -> str:
    said, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return said


def lines(report) -> dict[str, str]:
    """Return the lines of a report by their exercise."""
    rows = [line.split(maxsplit=2) for line in repr(report).splitlines()[1:]]
    return {name: f"{symbol} {' '.join(rest.split())}" for symbol, name, rest in rows if len(symbol) == 1}


# From kernel to kernel -----------------------------------------------------------------------------------------


def test_second_kernel_reports_what_the_first_has_reached(file):
    first = ended(kernel("softmax=wrong", "softmax=right", "forward=wrong"))
    second = ended(kernel("softmax=blank"))
    assert "Lesson 3: 1 of 3 correct\n" in first
    assert "Lesson 3: 1 of 3 solved, 0 correct in this kernel\n" in second
    assert re.search(r"^✓ softmax +solved today +tries 0 \(2 in all\), hints 0$", second, re.MULTILINE)
    assert re.search(r"^✗ forward +wrong today +tries 0 \(1 in all\), hints 0$", second, re.MULTILINE)
    assert re.search(r"^○ quiz +not attempted +tries 0, hints 0$", second, re.MULTILINE)


def test_two_kernels_at_once_lose_nothing(file, tmp_path):
    (tmp_path / "met").mkdir()
    answers = ["forward=right", "softmax=right"] * 10
    running = [kernel(f"meet={tmp_path / 'met' / str(number)}", *answers) for number in range(2)]
    for one in running:
        assert "not kept" not in ended(one)
    assert {name: one["tries"] for name, one in entries(file).items()} == {"forward": 20, "softmax": 20}


def test_report_tells_this_kernel_from_those_before(file):
    before = {"last": "correct", "on": LAST_YEAR, "solved": LAST_YEAR, "tries": 4, "hints": 2}
    write(file, softmax=before, forward=before, quiz=before)
    ex = new_kernel()
    ex.exercises["softmax"](right)
    ex.exercises["forward"](wrong)
    assert lines(ex.report()) == {
        "softmax": f"✓ correct (first {LONG_AGO}) tries 1 (5 in all), hints 0 (2 in all)",
        "forward": f"✗ wrong (solved {LONG_AGO}) tries 1 (5 in all), hints 0 (2 in all)",
        "quiz": f"✓ solved {LONG_AGO} tries 0 (4 in all), hints 0 (2 in all)",
    }
    assert "Lesson 3: 3 of 3 solved, 1 correct in this kernel" in repr(ex.report())
    for words in (f"✗ wrong (solved {LONG_AGO})", f"✓ solved {LONG_AGO}", "1 (5 in all)", "nothing is sent"):
        assert words in ex.report()._repr_html_()


def test_day_of_the_first_correct_answer_stays(file):
    write(file, softmax={"last": "correct", "on": LAST_YEAR, "solved": LAST_YEAR, "tries": 1})
    new_kernel().exercises["softmax"](right)
    new_kernel().exercises["softmax"](wrong)
    assert entries(file)["softmax"] == {"last": "wrong", "on": TODAY, "solved": LAST_YEAR, "tries": 3}


def test_hints_are_remembered_before_there_is_a_verdict(file):
    new_kernel().exercises["softmax"].hint()
    again = new_kernel()
    for _ in range(2):
        again.exercises["softmax"].hint()
    assert entries(file) == {"softmax": {"hints": 2}}
    assert lines(new_kernel().report())["softmax"] == "○ not attempted tries 0, hints 0 (2 in all)"


def test_answer_judged_for_later_cells_is_remembered_once_and_is_no_try(file):
    softmax = new_kernel().exercises["softmax"]
    softmax.or_solution(right)
    assert entries(file) == {"softmax": {"last": "correct", "on": TODAY, "solved": TODAY}}
    file.unlink()
    softmax.or_solution(right)
    softmax.or_solution(softmax.reference)
    assert not file.exists()


def test_day_is_told_with_its_year_if_that_is_another():
    this_year = date.today().year
    assert in_words(date.today()) == "today"
    assert in_words(date(this_year - 1, 11, 2)) == f"on 2 November {this_year - 1}"
    near = date(this_year, 2, 3) if date.today() != date(this_year, 2, 3) else date(this_year, 2, 4)
    assert in_words(near) in ("on 3 February", "on 4 February")


# What does not change ------------------------------------------------------------------------------------------


def test_student_without_a_history_sees_the_report_as_ever_and_has_no_file(file, monkeypatch):
    ex = new_kernel()
    ex.exercises["softmax"](None)
    fresh = ex.report()
    monkeypatch.setenv("COURSEKIT_PROGRESS", "off")
    assert repr(fresh) == repr(ex.report())
    assert fresh._repr_html_() == ex.report()._repr_html_()
    assert not file.parent.exists()


@pytest.mark.parametrize("lesson", catalogue.lessons(), ids=lambda lesson: lesson.stem)
def test_stored_report_is_what_a_student_sees_first(lesson):
    *_, last = [cell for cell in lesson.notebook.cells if cell.cell_type == "code"]
    names = [cell.metadata.exercise for cell in lesson.notebook.cells if "exercise" in cell.metadata]
    first = Report(f"Lesson {lesson.number}", tuple((name, "not attempted", 0, 0) for name in names))
    assert last.outputs[0].data == {"text/plain": repr(first), "text/html": first._repr_html_()}


def test_off_and_strict_mode_read_and_write_nothing(file, monkeypatch):
    write(file, softmax={"last": "correct", "on": LAST_YEAR, "solved": LAST_YEAR, "tries": 1})
    before = file.read_bytes()
    for name, value in {"COURSEKIT_STRICT": "1", "COURSEKIT_PROGRESS": "off"}.items():
        monkeypatch.setenv(name, value)
        ex = new_kernel()
        ex.exercises["forward"](right)
        assert lines(ex.report())["softmax"] == "○ not attempted tries 0, hints 0"
        assert "not kept" in repr(progress.overview())
        monkeypatch.delenv("COURSEKIT_STRICT", raising=False)
    assert file.read_bytes() == before


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_tests_of_lessons_keep_nothing(form):
    assert form.variables([])["COURSEKIT_PROGRESS"] == "off"


def test_jupyterlab_of_the_tests_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSEKIT_PROGRESS")
    assert lab._surroundings(tmp_path)["COURSEKIT_PROGRESS"] == "off"


# What is in the way --------------------------------------------------------------------------------------------


DAMAGED = {
    "empty": b"",
    "cut off": b'{"course": "deep-learning-notebooks", "ver',
    "no text": b"\xff\xfe\x00",
    "nested without end": b"[" * 100_000,
    "no version": b'{"course": "deep-learning-notebooks", "lessons": {}}',
    "no lessons": b'{"course": "deep-learning-notebooks", "version": 1, "lessons": [1]}',
    "no day": b'{"course": "deep-learning-notebooks", "version": 1, "lessons": {"L": {"a": {"solved": "soon"}}}}',
    "no number": b'{"course": "deep-learning-notebooks", "version": 1, "lessons": {"L": {"a": {"tries": Infinity}}}}',
}


@pytest.mark.parametrize("contents", DAMAGED.values(), ids=DAMAGED)
def test_damaged_file_is_set_aside_with_one_line(file, capsys, contents):
    file.parent.mkdir()
    file.write_bytes(contents)
    ex = new_kernel()
    assert ex.exercises["softmax"](right).status == "correct"
    (said,) = capsys.readouterr().out.splitlines()
    (aside,) = file.parent.glob("progress.damaged-*.json")
    assert said.endswith(f"progress.json was damaged: set aside as {aside.name}. Progress is counted anew.")
    assert aside.read_bytes() == contents
    assert entries(file)["softmax"]["tries"] == 1


def test_damaged_file_is_no_obstacle_to_the_report(file, capsys):
    file.parent.mkdir()
    file.write_bytes(b"{")
    assert "0 of 3 correct" in repr(new_kernel().report())
    assert "was damaged: set aside" in capsys.readouterr().out
    assert not file.exists()


FOREIGN = {
    "newer": (
        b'{"course": "deep-learning-notebooks", "version": 2, "all": "else"}',
        "was written by a newer version of the course, and stays as it is: update the course, or",
    ),
    "another course's": (
        b'{"course": "statistics", "version": 1}',
        "is not this course's, and stays as it is",
    ),
    "another program's": (b"[1, 2]", "is not this course's, and stays as it is"),
}


@pytest.mark.parametrize(("contents", "words"), FOREIGN.values(), ids=FOREIGN)
def test_file_that_is_not_ours_to_change_is_left_as_it_is(file, capsys, contents, words):
    file.parent.mkdir()
    file.write_bytes(contents)
    ex = new_kernel()
    for attempt in (right, wrong):
        assert ex.exercises["softmax"](attempt).status in ("correct", "wrong")
    assert "0 of 3 correct" in repr(ex.report())
    (said,) = capsys.readouterr().out.splitlines()
    assert words in said
    assert said.endswith("let COURSEKIT_PROGRESS name another folder.")
    assert file.read_bytes() == contents


@only_posix
def test_folder_that_cannot_be_written_costs_one_line_and_no_verdict(file, monkeypatch, capsys):
    ex = new_kernel()
    with tempfile.TemporaryDirectory() as name:  # which another user may enter, unlike those of pytest
        monkeypatch.setenv("COURSEKIT_PROGRESS", name)
        write(Path(name) / file.name, quiz={"last": "correct", "on": LAST_YEAR, "solved": LAST_YEAR})
        Path(name).chmod(0o555)
        with as_user():
            for _ in range(3):
                assert ex.exercises["softmax"](right).status == "correct"
            assert "2 of 3 solved, 1 correct in this kernel" in repr(ex.report())
        Path(name).chmod(0o755)
    (said,) = capsys.readouterr().out.splitlines()
    assert re.match(
        r"Progress is not kept: .* cannot be used \(Permission denied\)\. COURSEKIT_PROGRESS", said
    )


@only_posix
def test_full_disk_costs_one_line_and_what_was_not_written_goes_with_the_next_verdict(file, capsys):
    softmax = new_kernel().exercises["softmax"]
    with files_up_to(10):
        assert softmax(right).status == "correct"
        assert softmax(wrong).status == "wrong"
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(f"Progress is not kept: {file.parent} cannot be used (File too large).")
    softmax(wrong)
    assert entries(file) == {"softmax": {"last": "wrong", "on": TODAY, "solved": TODAY, "tries": 3}}
    assert not list(file.parent.glob("*.part"))


@pytest.mark.parametrize("broken", ["atomic_write", "_folder", "_reason", "print"])
def test_no_flaw_of_the_memory_costs_a_verdict(file, monkeypatch, broken):
    def fail(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(memory, broken, fail, raising=False)
    file.parent.mkdir()
    file.write_bytes(b"{")  # so that there is something to say
    ex = new_kernel()
    assert ex.exercises["softmax"](right).status == "correct"
    ex.exercises["softmax"].hint()
    assert "1 of 3 correct" in repr(ex.report())


def test_file_system_without_locks_remembers_all_the_same(file, monkeypatch):
    class NoLock:
        def __init__(self, *_, **__): ...

        def acquire(self, **_):
            raise NotImplementedError

    monkeypatch.setattr(memory, "FileLock", NoLock)
    new_kernel().exercises["softmax"](right)
    assert entries(file)["softmax"]["solved"] == TODAY


def test_user_without_a_home_gets_the_verdict_and_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "_said", set())
    monkeypatch.delenv("COURSEKIT_PROGRESS")
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: Path("~/.local/share/coursekit"))
    ex = new_kernel()
    assert [ex.exercises[name](right).status for name in ("softmax", "forward")] == ["correct", "correct"]
    (said,) = capsys.readouterr().out.splitlines()
    assert said == "Progress is not kept: this user has no home folder: let COURSEKIT_PROGRESS name a folder."
    assert said in repr(progress.overview())
    assert not list(tmp_path.iterdir())  # no folder of the name ~


def test_folder_of_an_unknown_user_costs_one_line(monkeypatch, capsys):
    monkeypatch.setattr(memory, "_said", set())
    monkeypatch.setenv("COURSEKIT_PROGRESS", "~nobody_of_this_name/kept")
    ex = new_kernel()
    assert ex.exercises["softmax"](right).status == "correct"
    assert "1 of 3 correct" in repr(ex.report())
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert "Progress is not kept: " in repr(progress.overview())


# Which folder --------------------------------------------------------------------------------------------------


@pytest.fixture
def own_folder(monkeypatch, tmp_path):
    """Let this user's folder for data be an empty one that is yet to be made."""
    monkeypatch.delenv("COURSEKIT_PROGRESS")
    folder = tmp_path / "share" / "coursekit"
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: folder)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return folder


def test_file_lies_in_the_users_folder_for_data_and_the_report_says_so(own_folder):
    ex = new_kernel()
    ex.exercises["softmax"](right)
    assert entries(own_folder / "progress.json")["softmax"]["solved"] == TODAY
    where = Path("~", "share", "coursekit", "progress.json")
    assert (
        repr(ex.report())
        .splitlines()[-1]
        .startswith(f"Kept in {where}; nothing is sent anywhere. All lessons:")
    )


def test_report_says_how_to_keep_it_on_a_drive_in_colab_alone_and_until_it_is(
    own_folder, monkeypatch, tmp_path
):
    ex = new_kernel()
    ex.exercises["softmax"](right)
    how = "%env COURSEKIT_PROGRESS=/content/drive/MyDrive/"
    assert how not in repr(ex.report())
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    assert how in repr(ex.report())
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "drive"))
    ex.exercises["softmax"](right)
    assert how not in repr(ex.report())


def test_drive_that_is_not_mounted_is_not_mistaken_for_a_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(memory, "_said", set())
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "MyDrive" / "coursekit"))
    assert new_kernel().exercises["softmax"](right).status == "correct"
    assert capsys.readouterr().out.endswith("mount your Drive first.\n")
    assert not (tmp_path / "MyDrive").exists()


# The whole course ----------------------------------------------------------------------------------------------


def test_exercise_of_an_older_course_is_kept_and_not_counted(file):
    done = {"last": "correct", "on": LAST_YEAR, "solved": LAST_YEAR, "tries": 1, "stars": 3}
    write(file, renamed_since=done, softmax=done)
    ex = new_kernel()
    ex.exercises["softmax"](wrong)
    assert set(lines(ex.report())) == {"forward", "softmax", "quiz"}
    assert entries(file)["renamed_since"] == done
    assert entries(file)["softmax"]["stars"] == 3  # of a newer course, which we do not know
    write(file, renamed_since=done)
    assert "Kept" not in repr(new_kernel().report())
    write(file, renamed_since=done, softmax=done)
    row = next(row for row in progress.overview().rows if row.lesson == "Lesson 3")
    assert (row.solved, len(row.reached)) == (1, 15)


@pytest.mark.parametrize("lesson", catalogue.lessons(), ids=lambda lesson: lesson.stem)
def test_overview_knows_every_lesson_and_exercise_without_importing_them(lesson):
    names = [cell.metadata.exercise for cell in lesson.notebook.cells if "exercise" in cell.metadata]
    title, found = progress.lessons()[f"Lesson {lesson.number}"]
    assert lesson.title.startswith(title)
    assert found == tuple(names)


def test_overview_shows_all_lessons_also_those_not_begun(file):
    write(
        file,
        softmax={"last": "correct", "on": LAST_YEAR, "solved": LAST_YEAR, "tries": 1},
        forward={"last": "wrong", "on": LAST_YEAR, "tries": 1},
        quiz={"hints": 1},
    )
    shown = progress.overview()
    assert len(shown.rows) == len(catalogue.lessons())
    assert re.search(
        r"^Lesson 3 +○○◐●○+ +1 of 15 solved +A dense network on MNIST$", repr(shown), re.MULTILINE
    )
    assert re.search(r"^Lesson 4 +○{14} +0 of 14, not begun +Convolutional", repr(shown), re.MULTILINE)
    assert "● solved · ◐ tried · ○ not yet" in repr(shown)
    html = shown._repr_html_()
    assert "role='img' aria-label='Lesson 3: 1 of 15 solved'" in html
    assert f"title='softmax: solved {LONG_AGO}'" in html
    assert f"title='forward: wrong {LONG_AGO}'" in html
    assert len(set(progress._FILLS.values())) == len(
        {re.sub("#[0-9a-f]+", "", fill) for fill in progress._FILLS.values()}
    )


def test_overview_is_printed_by_the_shell_and_imports_no_exercises(file):
    write(file, softmax={"last": "correct", "on": LAST_YEAR, "solved": LAST_YEAR, "tries": 1})
    code = (
        "import runpy, sys; runpy.run_module('coursekit.progress', run_name='__main__'); "
        "print([name for name in sys.modules if name.startswith('coursekit.exercises.')])"
    )
    command = [sys.executable, "-X", "utf8", "-c", code]
    shown = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, encoding="utf-8", check=True
    ).stdout
    assert shown.startswith(
        f"1 of {sum(len(names) for _, names in progress.lessons().values())} exercises solved"
    )
    assert shown.endswith("; nothing is sent anywhere. To begin afresh, delete the file.\n[]\n")


def test_deleting_the_file_begins_afresh(file):
    ex = new_kernel()
    ex.exercises["softmax"](right)
    file.unlink()
    assert remembered() == {}
    assert lines(ex.report())["softmax"] == "✓ correct tries 1, hints 0"
    ex.exercises["softmax"](wrong)
    assert entries(file) == {"softmax": {"last": "wrong", "on": TODAY, "tries": 1}}
    assert remembered()["Lesson 3"]["softmax"] == Reached("wrong", date.today(), None, 1, 0)
