"""Marking: what was handed in is found, run apart, and never marks itself right."""

import concurrent.futures
import copy
import csv
import io
import json
import os
import re
import socket
import stat
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
import torch

import coursekit
from coursekit.checks import borne_out, evidence
from coursekit.teaching import catalogue, mark, solve
from coursekit.teaching.marking import answers, handed_in, marker, pages, process, runner, sandbox
from coursekit.teaching.marking.handed_in import Submission
from coursekit.teaching.marking.marker import Marked, Marks, Settings

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="submissions are run in forks")

QUICK = Settings("00", seconds=5)
RIGHT = "return sum(a == b for a, b in zip(answers, labels)) / len(labels)"
LESSON = catalogue.select("00")[0]
SOLVED = solve.solved(LESSON)


def notebook(*, cells=(), without=(), **of_exercise) -> bytes:
    """The lesson as handed out, with answers in place of cells, cells left out, and more cells at its end."""
    made = copy.deepcopy(LESSON.notebook)
    made.cells = [cell for cell in made.cells if cell.metadata.get("exercise") not in (*without, "first_net")]
    for cell in made.cells:
        if (name := cell.metadata.get("exercise")) in of_exercise:
            cell.source = of_exercise[name]
    made.cells += [nbformat.v4.new_code_cell(source) for source in cells]
    return nbformat.writes(made).encode()


def fraction(body, call="ex.fraction_right(fraction_right)") -> str:
    """An answer to the exercise `fraction_right`."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"def fraction_right(answers, labels):\n{lines}\n\n{call}"


def said(content: bytes, settings: Settings = QUICK) -> dict[str, Marked]:
    marks = marker.mark(Submission("ada", "ada.ipynb", content), settings)
    assert marks.reason == ""
    return {one.exercise: one for one in marks.marked}


def of_fraction(answer: str) -> Marked:
    """What is said of an answer to `fraction_right`; the exercise before and the one after it stay right."""
    marked = said(
        notebook(
            fraction_right=answer,
            shown_by_c="ex.shown_by_c(19)",
            shape_of_part="ex.shape_of_part((100, 14, 28))",
        )
    )
    assert marked["shown_by_c"].status == marked["shape_of_part"].status == "correct"
    return marked["fraction_right"]


def shut_in() -> bool:
    return (
        marker.mark(Submission("a", "a.ipynb", notebook(shown_by_c="ex.shown_by_c(1)")), QUICK).protection
        == (process.PROTECTION["shut in"])
    )


@pytest.fixture
def only_where_shut_in():
    if not shut_in():
        pytest.skip("this system offers no namespaces")


@pytest.fixture(scope="module", autouse=True)
def _runner_ends():
    yield
    marker.end_runner(QUICK)


# What is right and what is wrong


def test_answers_are_judged_on_as_many_threads_as_they_run_on(monkeypatch):
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(marker, "borne_out", lambda *_: seen.append(torch.get_num_threads()) or True)
    torch.set_num_threads(2)
    try:
        assert of_fraction(fraction(RIGHT)).status == "correct"
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_solved_lesson_is_all_right_and_blank_one_not_attempted():
    marked = said(nbformat.writes(SOLVED).encode())
    assert {one.status for one in marked.values()} == {"correct"}
    assert {one.status for name, one in said(notebook()).items() if name != "first_net"} == {"not attempted"}


def test_mistake_is_named_as_in_the_notebook():
    wrong = of_fraction(fraction("return sum(a == b for a, b in zip(answers, labels))"))
    assert wrong.status == "wrong"
    assert "That is how many are right" in wrong.message
    assert dict(wrong.shown)["expected"]


def test_code_that_fails_is_raised_and_stops_nothing():
    assert "NameError" in of_fraction(fraction("return zap")).message
    assert of_fraction("def fraction_right(answers, labels)\n    return 1\n").status == "raised"
    assert "SystemExit" in of_fraction("import sys\nsys.exit(0)").message


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        ([fraction(RIGHT, "")], "new one"),  # its metadata are lost, and the call of the check
        (
            [fraction(RIGHT).replace("def fraction_right", "def mine").replace("(fraction_right)", "(mine)")],
            "new one",
        ),
        ([fraction("return 0"), fraction(RIGHT)], "2 different cells"),
        (["%%time\n" + fraction(RIGHT)], "new one"),
    ],
    ids=["copied", "renamed", "twice", "magic"],
)
def test_answer_is_found_in_another_cell(cells, note):
    found = said(notebook(cells=cells, without=["fraction_right"]))["fraction_right"]
    assert found.status == "correct"
    assert note in found.note


def test_renamed_function_in_its_own_cell_is_found():
    found = of_fraction(fraction(RIGHT, "").replace("fraction_right", "mine"))
    assert (found.status, found.note) == ("correct", "The answer is called `mine`.")


def test_deleted_cell_is_missing_and_a_cell_of_the_course_answers_nothing():
    assert said(notebook(without=["fraction_right"]))["fraction_right"].status == "missing"


def test_handing_in_the_courses_solution_through_its_own_door_counts_for_nothing():
    cell = "fraction_right = ex.fraction_right.reference\nex.fraction_right(fraction_right)"
    assert of_fraction(cell).status == "not attempted"


def test_no_cell_is_run_that_no_exercise_needs():
    assert (
        said(notebook(cells=["1/0", "import os; os._exit(1)"], shown_by_c="ex.shown_by_c(19)"))[
            "shown_by_c"
        ].status
        == "correct"
    )
    course = answers.Course("03")
    names = {"torch", "softmax"}
    assert [cell.number for cell in course.support(names, 50)] == [3]


# Hostile answers: none marks itself right, none stops the others


@pytest.mark.parametrize(
    "attack",
    [
        "import coursekit.checks as c\nc.Exercise.verdict = lambda self, *_: c.Verdict(self.name, 'correct', 'yes')",
        "ex.fraction_right.inputs.cases = []",
        "ex.fraction_right.reference = fraction_right\nex.fraction_right = lambda *_: None",
        "import coursekit.checks.runs as r\nr.Outcome.is_right = lambda *_: True",
        "print('✓ fraction_right · correct')\nex.fraction_right.status = 'correct'",
        "import coursekit.checks.compare as c\nc._difference_of_numbers = lambda *_: None",
    ],
)
def test_checker_that_was_changed_passes_nothing(attack):
    assert of_fraction(fraction(f"{attack}\nreturn 0.5") + f"\n{attack}").status in (
        "wrong",
        "raised",
        "not attempted",
    )
    before = (
        f"def fraction_right(answers, labels):\n    return 0.5\n\n{attack}\nex.fraction_right(fraction_right)"
    )
    assert of_fraction(before).status in ("wrong", "raised", "not attempted")


def test_verdict_forged_on_every_open_file_is_seen_through():
    from coursekit.teaching.marking import runner  # which Windows can't import

    forged = runner.packed(marker.Verdict("fraction_right", "correct", "yes"), [])
    cell = (
        f"import os\nfrom coursekit.teaching.marking import apart\nfor target in range(3, 64):\n    try:\n"
        f"        apart.send(target, b'A', {forged!r})\n    except OSError:\n        pass\n"
    )
    marked = said(notebook(fraction_right=cell, mean_image="ex.mean_image(lambda *_: 0)"))
    assert "correct" not in {one.status for one in marked.values()}
    assert marked["fraction_right"].message == marker.TAMPERED
    assert said(notebook(shown_by_c="ex.shown_by_c(19)"))["shown_by_c"].status == "correct"  # the next one


def test_few_numbers_sent_as_very_many_fill_no_memory():
    exercise = LESSON.exercises["fraction_right"]
    verdict = marker.Verdict("fraction_right", "correct", "yes")
    for value in (torch.zeros(1).expand(10**12), {"a": [torch.zeros(1).expand(10**6, 10**6)]}):
        sent = runner.packed(verdict, [{"value": value, "changed": "", "failed": False}])
        assert len(sent) < 5000
        assert marker._judged(exercise, sent).message == marker.TAMPERED


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("import os\nos._exit(0)", "ended the process"),
        ("import ctypes\nctypes.string_at(0)", "ended the process"),
        ("while True: pass", "did not end in time"),
        ("import time\ntime.sleep(1000)", "did not end in time"),
        (
            "x = []\nwhile True: x.append(bytearray(2**26))",
            "MemoryError|did not end in time",
        ),  # a slow machine
    ],
)
def test_answer_that_hangs_dies_or_swells_costs_only_itself(cell, reason):
    found = of_fraction(cell)
    assert found.status in ("stopped", "raised")
    assert re.search(reason, found.message)


@pytest.mark.parametrize(
    "cell", ["-" * 15_000 + "1", "(" * 15_000, "#" * 30_000, "x = 1\0", "raise RuntimeError('\\ud800')"]
)
def test_code_that_is_hard_to_read_is_an_entry_too(cell, tmp_path):
    marks = marker.mark(Submission("\udcff", "a.ipynb", notebook(fraction_right=cell)), QUICK)
    assert {one.exercise: one for one in marks.marked}["fraction_right"].status in ("raised", "stopped")
    pages.write([marks], ["fraction_right"], "Lesson 0", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_gigabyte_of_prints_is_thrown_away():
    assert of_fraction("for _ in range(1000): print('x' * 10**6)\n" + fraction(RIGHT)).status == "correct"


def test_protection_that_was_in_force_is_told():
    settings = Settings("00", seconds=5, sandbox="none")
    marks = marker.mark(Submission("a", "a.ipynb", notebook(shown_by_c="ex.shown_by_c(19)")), settings)
    marker.end_runner(settings)
    assert (marks.points, marks.protection) == (1, process.PROTECTION["limits"])


def test_teachers_environment_stays_with_the_teacher(monkeypatch):
    monkeypatch.setenv("A_SECRET", "xyzzy")
    cell = "import os\nraise RuntimeError(str(os.environ) + open(f'/proc/{os.getpid()}/environ').read())"
    assert "xyzzy" not in of_fraction(cell).message
    assert "xyzzy" not in of_fraction("import os\nraise RuntimeError(str(dict(os.environ))[:3000])").message


@pytest.mark.usefixtures("only_where_shut_in")
class TestShutIn:
    def test_files_of_the_teacher_are_not_there(self, tmp_path):
        (tmp_path / "marks.txt").write_text("xyzzy", encoding="utf-8")
        found = of_fraction(f"raise RuntimeError(open({str(tmp_path / 'marks.txt')!r}).read())")
        assert "FileNotFoundError" in found.message
        found = of_fraction("from pathlib import Path\nraise RuntimeError(str(list(Path.home().iterdir())))")
        assert found.message == "RuntimeError: []"

    def test_course_can_not_be_overwritten(self):
        file = str(Path(coursekit.__file__).parent / "checks" / "base.py")
        assert re.search("Read-only|Permission denied", of_fraction(f"open({file!r}, 'a')").message)

    def test_network_is_not_there(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            place = server.getsockname()
            found = of_fraction(f"import socket\nsocket.create_connection({place!r}, 2)")
        assert found.status == "raised"
        assert "refused" in found.message  # by its own machine, where nobody listens

    def test_disk_stays_free(self):
        cell = "for i in range(200):\n    with open(f'{i}', 'wb') as file: file.write(bytes(2**20))"
        assert "No space left" in of_fraction(cell).message
        assert (
            "File too large" in of_fraction("with open('a', 'wb') as file: file.write(bytes(2**27))").message
        )

    def test_what_it_started_ends_with_it(self):
        cell = "import subprocess\nfor _ in range(3): subprocess.Popen(['sleep', '98.765'], start_new_session=True)\n"
        assert of_fraction(cell + fraction(RIGHT)).status == "correct"
        running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _there(path)]
        assert not any(b"98.765" in line for line in running)

    def test_processes_can_share_memory_and_the_processor_is_known(self):
        cell = (
            "import multiprocessing, multiprocessing.shared_memory as m\nmultiprocessing.Lock()\n"
            "m.SharedMemory(create=True, size=8).unlink()\nassert 'processor' in open('/proc/cpuinfo').read()\n"
        )
        assert of_fraction(cell + fraction(RIGHT)).status == "correct"

    def test_fork_bomb_meets_its_limit_whoever_marks(self):
        bomb = "import os, resource, signal\nresource.setrlimit(resource.RLIMIT_NPROC, (8, 8))\nmade = []\ntry:\n"
        bomb += "    for _ in range(40):\n        made.append(os.fork())\n        if not made[-1]: signal.pause()\n"
        bomb += "finally:\n    for one in filter(None, made): os.kill(one, 9)"
        assert "BlockingIOError" in of_fraction(bomb).message

    def test_limit_on_processes_leaves_room_for_those_of_the_teacher(self):
        cell = "import resource\nraise RuntimeError(resource.getrlimit(resource.RLIMIT_NPROC)[0])"
        allowed = int(of_fraction(cell).message.removeprefix("RuntimeError: "))
        running = int(Path("/proc/loadavg").read_text(encoding="ascii").split("/")[1].split()[0])
        assert running / 2 + 512 < allowed < running + 2000  # others come and go meanwhile

    def test_rights_are_gone(self):
        cell = (  # outside there is no such folder, so that without protection nothing is harmed
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
            "libc.mount(b'x', b'/handed_in', b'tmpfs', 0, None)\nraise OSError(ctypes.get_errno(), 'refused')"
        )
        assert "PermissionError" in of_fraction(cell).message


def test_root_stays_root_where_nobody_could_not_read_the_data(tmp_path):
    folder, file = tmp_path / "data", tmp_path / "data" / "digits.npz"
    assert sandbox._nobody_may_read(folder)
    folder.mkdir(mode=0o755)
    file.touch(mode=0o644)
    assert sandbox._nobody_may_read(folder)
    file.chmod(0o600)
    assert not sandbox._nobody_may_read(folder)
    file.chmod(0o644)
    folder.chmod(0o700)
    assert not sandbox._nobody_may_read(folder)


def _there(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


# What was handed in


def names(found) -> dict[str, str]:
    return {one.student: one.reason for one in found}


@pytest.mark.parametrize(
    ("path", "student", "identity"),
    [
        ("ada.ipynb", "ada", ""),
        ("ada/lesson.ipynb", "ada", ""),
        ("Ada Lovelace_12345_assignsubmission_file/03.ipynb", "Ada Lovelace", "12345"),
        ("Ada Lovelace_12345_assignsubmission_file_/03.ipynb", "Ada Lovelace", "12345"),
        ("Ada Lovelace_12345_assignsubmission_file_03.ipynb", "Ada Lovelace", "12345"),
        ("lovelaceada_4711_99_lesson03.ipynb", "lovelaceada", "4711"),
        ("lovelaceada_LATE_4711_99_lesson03.ipynb", "lovelaceada", "4711"),
        ("submitted/ada/lesson03/lesson03.ipynb", "ada", ""),
    ],
)
def test_students_are_known_as_schools_export_them(tmp_path, path, student, identity):
    file = tmp_path / "all" / path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"{}")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(file, path)
    for source in ("all", "all.zip"):
        (found,) = handed_in.collect(tmp_path / source)
        assert (found.student, found.identity, found.content) == (student, identity, b"{}")


def test_two_notebooks_of_one_student_no_notebook_and_a_large_one_are_rows_with_reasons(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(handed_in, "LARGEST", 10)
    for name in (
        "ada/a.ipynb",
        "ada/b.ipynb",
        "bob/answer.pdf",
        "eve/large.ipynb",
        "joe/joe.ipynb",
        "joe/plot.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * (11 if "large" in name else 2))
    found = names(handed_in.collect(tmp_path))
    assert "2 notebooks: ada/a.ipynb and ada/b.ipynb" in found["ada"]
    assert found["bob"] == "is no notebook"
    assert "larger than" in found["eve"]
    assert found["joe"] == ""


def test_zip_that_climbs_out_or_is_damaged_is_a_row_with_its_reason(tmp_path):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil.ipynb", b"{}")
        archive.writestr("/etc/worse.ipynb", b"{}")
        archive.writestr("good.ipynb", b"{}")
        archive.writestr("bad.ipynb", b"Q" * 100)
    path.write_bytes(path.read_bytes().replace(b"Q" * 100, b"R" * 100))
    found = names(handed_in.collect(path))
    assert "leads out of the zip" in found["evil"]
    assert "leads out of the zip" in found["worse"]
    assert "damaged" in found["bad"]
    assert found["good"] == ""
    assert not (tmp_path.parent / "evil.ipynb").exists()


def test_zip_of_a_student_is_looked_into_and_unpacks_to_little(tmp_path, monkeypatch):
    monkeypatch.setattr(handed_in, "_UNPACKED", 100)
    (tmp_path / "in" / "joe").mkdir(parents=True)  # and nothing in it
    for student, size in (("ada", 2), ("eve", 101)):
        with zipfile.ZipFile(tmp_path / "in" / f"{student}.zip", "w") as archive:
            archive.writestr("my answers/lesson.ipynb", b"x" * size)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in (tmp_path / "in").glob("*.zip"):
            archive.write(path, path.name)
    for source in ("in", "all.zip"):
        found = names(handed_in.collect(tmp_path / source))
        assert found["ada"] == ""
        assert "unpacks to more" in found["eve"]
        assert found.get("joe", "is an empty folder") == "is an empty folder"
        assert len(found) == (3 if source == "in" else 2)


def test_nothing_handed_in_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zip").write_bytes(b"PK nothing")
    for source, words in (
        ("empty", "nothing was handed in"),
        ("broken.zip", "neither"),
        ("gone", "there is no folder"),
    ):
        assert mark.main([str(tmp_path / source), "--lesson", "00", "-o", str(tmp_path / "m.csv")]) == 1
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{no json", "is no notebook"),
        (b"\xff\xfe", "is no notebook"),
        (b'{"nbformat": 4}', "is no notebook"),
        (
            b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}',
            "is no notebook",
        ),
        (b"[]", "is no notebook"),
        (nbformat.writes(nbformat.v4.new_notebook()).encode(), "holds no exercise of lesson 00"),
        (Path(catalogue.select("03")[0].path).read_bytes(), "is a notebook of lesson 03"),
    ],
)
def test_what_is_no_notebook_of_this_lesson_is_a_row_with_its_reason(content, reason):
    assert reason in marker.mark(Submission("ada", "a.ipynb", content), QUICK).reason


# The command


class Here(concurrent.futures.Executor):
    """An executor that calls at once, and counts; a student named `lost` loses the worker."""

    def __init__(self):
        self.students = []

    def submit(self, function, submission, settings):
        self.students.append(submission.student)
        future = concurrent.futures.Future()
        if submission.student == "lost":
            future.set_exception(RuntimeError("the worker was killed"))
        else:
            future.set_result(function(submission, settings))
        return future


def test_second_call_marks_what_is_new_changed_or_lost(tmp_path):
    source, output = tmp_path / "in", tmp_path / "marks.csv"
    source.mkdir()
    (source / "ada.ipynb").write_bytes(notebook())
    (source / "bob.ipynb").write_bytes(b"{no json")
    (source / "lost.ipynb").write_bytes(notebook())
    first, second = Here(), Here()
    mark.mark(source, output, QUICK, first)
    assert sorted(first.students) == ["ada", "bob", "lost"]
    (source / "bob.ipynb").write_bytes(notebook())
    (source / "eve.ipynb").write_bytes(notebook())
    with (tmp_path / "marks" / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"print": "cut o')
    mark.mark(source, output, QUICK, second)
    third = Here()
    all_marks = mark.mark(source, output, QUICK, third)
    assert sorted(second.students) == ["bob", "eve", "lost"]
    assert third.students == ["lost"]
    assert [marks.student for marks in all_marks] == ["ada", "bob", "eve", "lost"]
    rows = list(csv.DictReader(io.StringIO(output.read_text(encoding="utf-8-sig"))))
    assert [row["points"] for row in rows] == ["0", "0", "0", ""]
    assert "the worker was killed" in rows[3]["message"]


def test_table_that_is_open_elsewhere_is_one_line_and_loses_nothing(tmp_path):
    source, output = tmp_path / "in", tmp_path / "marks.csv"
    source.mkdir()
    (source / "ada.ipynb").write_bytes(notebook())
    output.mkdir()  # as unwritable as a file that is locked
    with pytest.raises(ValueError, match="close it where it is open"):
        mark.mark(source, output, QUICK, Here())
    output.rmdir()
    again = Here()
    mark.mark(source, output, QUICK, again)
    assert again.students == []
    assert output.is_file()


def test_pages_tell_mistakes_and_run_nothing_of_a_student(tmp_path):
    evil = "<script>alert(1)</script>"
    marks = Marks(
        "=" + evil, "../../a.ipynb", marked=[Marked("softmax", "wrong", evil, [("yours", evil)], note=evil)]
    )
    right = Marks(
        "ada", "ada.ipynb", identity="12", protection="all", marked=[Marked("softmax", "correct", "Right.")]
    )
    pages.write([marks, right], ["softmax"], "Lesson 3", tmp_path / "marks")
    texts = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "marks").iterdir()}
    assert len(texts) == 3
    assert not any("<script" in text for text in texts.values())
    assert "1 with 0, 1 with 1" in texts["index.html"]
    rows = list(csv.reader(io.StringIO(pages.table([marks, right], ["softmax"]))))
    assert rows[1][0] == "'=" + evil
    assert rows[2] == ["ada", "12", "ada.ipynb", "1", "1", "correct", "", "all"]


def test_container_gets_no_network_and_no_folder_but_the_course(tmp_path, monkeypatch):
    engine = tmp_path / "bin" / "podman"
    engine.parent.mkdir()
    engine.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump(sys.argv, open({str(tmp_path / 'seen.json')!r}, 'w'))\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[sys.argv.index('python') + 1:]])\n",
        encoding="utf-8",
    )
    engine.chmod(engine.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{engine.parent}:{os.environ['PATH']}")
    settings = Settings("00", seconds=5, sandbox="podman", image="course:1")
    marks = marker.mark(Submission("a", "a.ipynb", notebook(shown_by_c="ex.shown_by_c(19)")), settings)
    assert (marks.points, marks.protection) == (1, "container without network")
    command = json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))
    assert {"--network=none", "--read-only", "--cap-drop=all", "course:1"} <= set(command)
    volumes = [part.split("=")[1].split(":") for part in command if part.startswith("--volume")]
    assert all(parts[0].startswith(str(catalogue.REPOSITORY)) and parts[2] == "ro" for parts in volumes)


def test_container_engine_and_image_come_together(tmp_path, capsys):
    assert mark.main([str(tmp_path), "--lesson", "00", "--sandbox", "podman"]) == 1
    assert "--image" in capsys.readouterr().err


# What verdicts rest on


@pytest.mark.parametrize("lesson", ["00", "03"])
def test_evidence_of_every_solution_is_borne_out_and_of_every_known_mistake_not(lesson):
    for name, exercise in catalogue.select(lesson)[0].exercises.items():
        if hasattr(exercise, "helpers"):
            helpers = [helper.reference for helper in exercise.helpers]
            assert borne_out(exercise, evidence(exercise, (*helpers, exercise.reference), {})) is True, name
            for mistake in exercise.known[:3]:
                assert borne_out(exercise, evidence(exercise, (*helpers, mistake.attempt), {})) is False, name
