"""Marks for Moodle and Canvas: their tables filled in, the pages handed back under the names that came."""

import csv
import io
import os
import zipfile

import pytest

from coursekit.teaching import commands, mark
from coursekit.teaching.marking import hand_back, pages, schools
from coursekit.teaching.marking.marker import Marked, Marks
from tests.test_marking import notebook

MOODLE = (
    'Identifier,"Full name","Email address",Status,Grade,"Maximum grade","Grade can be changed",'
    '"Last modified (submission)","Last modified (grade)","Feedback comments"\n'
    '"Participant 11","Ada Löve",ada@uni.edu,"Submitted for grading",,{most},Yes,"Monday, 30 November 2026",-,\n'
    '"Participant 12","Bob B",bob@uni.edu,"Submitted for grading",1.00,{most},Yes,-,-,"<p>See me,\nBob.</p>"\n'
    '"Participant 13","Eve E",eve@uni.edu,"No submission",,{most},Yes,-,-,\n'
    '"Participant 14","Joe J",joe@uni.edu,"Submitted for grading",,{most},No,-,-,\n'
)
CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,Notes,First steps (901),Deep networks (902),Current Score (2026)\r\n"
    ",,,,,,Manual Posting,,\r\n"
    "    Points Possible,,,,,,2.00,10.00,(read only)\r\n"
    '"Löve, Ada",11,S11,ada@uni.edu,A,,,7.5,75\r\n'
    '"B, Bob",12,S12,bob@uni.edu,A,a; b,EX,,\r\n'
    '"E, Eve",13,S13,eve@uni.edu,A,,,,\r\n'
    '"Student, Test",14,,xyz,A,,,,\r\n'
)


def marks(student: str, *statuses: str, identity: str = "", file: str = "a.ipynb", reason: str = "") -> Marks:
    marked = [
        Marked(name, status, f"{name} is <b>off</b>.\nMore.")
        for name, status in zip("fg", statuses, strict=False)
    ]
    return Marks(student, file, reason, marked, identity=identity)


def table(tmp_path, text: str, assignment: str = "", title: str = "First steps", encoding: str = "utf-8"):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    return schools.read(path, assignment=assignment, title=title)


def rows(filled) -> list[list[str]]:
    text = filled.content().decode(filled.encoding)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=filled.separator))


def test_worksheet_of_moodle_gets_marks_and_comments_by_the_participants_number(tmp_path):
    before = table(tmp_path, MOODLE.format(most="2.00"))
    untouched = rows(before)
    sentences = before.fill(
        [
            marks("Another Name", "correct", "wrong", identity="11"),
            marks("Bob B", "correct", "correct", identity="12"),
            marks("Joe J", "correct", "correct", identity="14"),
            marks("Stranger", "correct", "correct", identity="99"),
        ],
        2,
        scale=False,
    )
    after = rows(before)
    assert after[1][4] == "1"
    assert after[1][9] == "1 of 2 exercises are right.<br>g: g is &lt;b&gt;off&lt;/b&gt;."
    assert (after[2][4], after[2][9]) == ("2", "<p>See me,\nBob.</p>")  # the teacher's own words stay
    assert after[3:] == untouched[3:]
    changed = {(r, c) for r in range(5) for c in range(10) if after[r][c] != untouched[r][c]}
    assert changed == {(1, 4), (1, 9), (2, 4)}
    assert sentences == [
        "In the table, and nothing handed in: Eve E.",
        "Handed in, and in no row of the table: Stranger.",
        "Left as it was: Joe J (its grade can't be changed).",
        "Marks that replace others: Bob B (1.00 → 2).",
    ]


def test_comment_is_short_whatever_a_mistake_says():
    one = Marks(
        "a", "a", marked=[Marked("f", "raised", "x" * 1000), Marked("g", "missing"), Marked("h", "missing")]
    )
    assert schools.comment(one) == f"0 of 3 exercises are right.<br>f: {'x' * 200} …<br>Missing: g, h."


def test_comment_of_an_earlier_call_is_replaced(tmp_path):
    filled = table(tmp_path, MOODLE.format(most="2.00"))
    filled.fill([marks("Ada", "wrong", "wrong", identity="11")], 2, scale=False)
    filled.fill([marks("Ada", "correct", "correct", identity="11")], 2, scale=False)
    assert rows(filled)[1][9] == "2 of 2 exercises are right."


@pytest.mark.parametrize(
    ("most", "grade"), [("100.00", "50"), ("5.00", "2.5"), ("5,00", "2,5"), ("1.00", "0.5")]
)
def test_marks_are_scaled_only_if_asked(tmp_path, most, grade):
    separator = ";" if "," in most else ","
    text = MOODLE.format(most=most) if separator == "," else _with(MOODLE.format(most=most), ";", most)
    half = [marks("Ada", "correct", "wrong", identity="11")]
    plain, scaled = table(tmp_path, text), table(tmp_path, text)
    assert "--scale turns one into the other" in plain.fill(half, 2, scale=False)[-1]
    assert "--scale" not in scaled.fill(half, 2, scale=True)[-1]
    assert (rows(plain)[1][4], rows(scaled)[1][4]) == ("1", grade)


def _with(text: str, separator: str, most: str) -> str:
    read = list(csv.reader(io.StringIO(text.replace(most, "MOST"), newline="")))
    written = io.StringIO()
    csv.writer(written, delimiter=separator, lineterminator="\n").writerows(read)
    return written.getvalue().replace("MOST", most)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_encoding_and_separator_stay(tmp_path, encoding, separator):
    text = _with(MOODLE.format(most="2.00"), separator, "2.00")
    assert table(tmp_path, text, encoding=encoding).content() == text.encode(encoding)


def test_gradebook_of_canvas_gets_marks_in_the_column_of_the_lesson_alone(tmp_path):
    filled = table(tmp_path, CANVAS)
    assert filled.content() == CANVAS.encode()
    sentences = filled.fill(
        [
            marks("loveada", "correct", "wrong", identity="11"),
            marks("bbob", "correct", "correct", identity="12"),
        ],
        2,
        scale=False,
    )
    assert filled.content() == CANVAS.replace("A,,,7.5,75", "A,,1,7.5,75").encode()
    assert sentences == [
        "In the table, and nothing handed in: E, Eve.",
        "Left as it was: bbob (excused).",
    ]


@pytest.mark.parametrize("assignment", ["Deep networks", "deep networks (902)", "902"])
def test_assignment_names_the_column_by_title_or_number(tmp_path, assignment):
    filled = table(tmp_path, CANVAS, assignment)
    assert "replace others: loveada (7.5 → 10)" in " ".join(
        filled.fill([marks("loveada", "correct", "correct", identity="11")], 2, scale=True)
    )
    assert rows(filled)[3][6:8] == ["", "10"]


@pytest.mark.parametrize("assignment", ["Deep", "Current Score", "Section"])
def test_column_that_is_none_or_not_the_only_one_is_an_error_with_the_choice(tmp_path, assignment):
    with pytest.raises(ValueError, match=r"there are First steps \(901\), Deep networks \(902\)"):
        table(tmp_path, CANVAS, assignment)
    with pytest.raises(ValueError, match="2 columns"):
        table(tmp_path, CANVAS.replace("Deep networks", "More first steps"))


@pytest.mark.parametrize("student", ["Ada Löve", "löve, ada", "ada@uni.edu", "ada", "ADA_LÖVE"])
@pytest.mark.parametrize("text", [MOODLE.format(most="2.00"), CANVAS])
def test_student_without_a_number_is_found_by_name_or_address(tmp_path, student, text):
    if text != CANVAS and student == "löve, ada":
        student = "ada löve"
    filled = table(tmp_path, text)
    filled.fill([marks(student, "correct", "wrong")], 2, scale=False)
    assert "1" in rows(filled)[1 if text != CANVAS else 3]


def test_name_that_fits_two_rows_fills_none(tmp_path):
    filled = table(tmp_path, MOODLE.format(most="2.00").replace("Bob B", "Ada Löve"))
    sentences = filled.fill([marks("Ada Löve", "correct", "wrong")], 2, scale=False)
    assert "Handed in, and in no row of the table: Ada Löve (a row that fits others, too)." in sentences
    assert rows(filled)[1][4] == ""


def test_submission_that_was_not_marked_gets_no_mark(tmp_path):
    filled = table(tmp_path, MOODLE.format(most="2.00"))
    sentences = filled.fill([marks("Ada", identity="11", reason="is no notebook")], 2, scale=False)
    assert "Left as it was: Ada (not marked)." in sentences
    assert rows(filled)[1][4] == ""


def test_table_that_is_none_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="neither a grading worksheet of Moodle"):
        table(tmp_path, "name,points\nada,3\n")
    with pytest.raises(ValueError, match="neither"):
        table(tmp_path, "")
    with pytest.raises(ValueError, match="neither"):
        table(tmp_path, f"Identifier,Grade\n{'x' * 200_000},\n")
    with pytest.raises(ValueError, match="can't be read"):
        schools.read(tmp_path / "gone.csv", assignment="", title="")
    with pytest.raises(ValueError, match="no maximum"):
        table(tmp_path, "Identifier,Grade\nParticipant 11,\n").fill(
            [marks("Ada", "correct", "wrong", identity="11")], 2, scale=True
        )


@pytest.mark.parametrize("text", ["=1+1", "  @SUM(A1)", "-1", "a;=1+1", "a\t+1", "a\n=1+1"])
def test_what_a_student_wrote_is_no_formula_whatever_separates_the_cells(text):
    shown = str(commands.inert(text))
    assert not any(
        cell.strip().startswith(tuple("=+-@"))
        for cell in shown.replace("\t", ";").replace("\n", ";").split(";")
    )


def test_pages_go_back_under_the_names_that_came(tmp_path):
    moodle = marks("Ada", "correct", file="Ada_11_assignsubmission_file/03.ipynb", identity="11")
    canvas = marks("bbob", "wrong", file="bbob_12_99_lesson.ipynb", identity="12")
    pages.write([moodle, canvas], ["f"], "Lesson 3", tmp_path / "marks")
    hand_back.write([moodle, canvas], tmp_path / "marks", tmp_path / "in", tmp_path / "back.zip")
    with zipfile.ZipFile(tmp_path / "back.zip") as archive:
        assert archive.namelist() == ["Ada_11_assignsubmission_file/03.html", "bbob_12_99_lesson.html"]
        assert "1 of 1 exercises" in archive.read("Ada_11_assignsubmission_file/03.html").decode()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="The marks are kept"):
        hand_back.write([canvas], tmp_path / "marks", tmp_path / "in", tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="submissions are run in forks")
def test_command_fills_a_copy_and_leaves_the_table_of_the_teacher(tmp_path, capsys):
    source = tmp_path / "in" / "Ada_11_assignsubmission_file"
    source.mkdir(parents=True)
    (source / "00.ipynb").write_bytes(notebook(shown_by_c="ex.shown_by_c(19)"))
    (tmp_path / "worksheet.csv").write_text(MOODLE.format(most="100.00"), encoding="utf-8")
    arguments = ["--lesson", "00", "-o", str(tmp_path / "marks.csv"), "--workers", "1"]
    more = ["--fill", str(tmp_path / "worksheet.csv"), "--feedback", str(tmp_path / "back.zip")]
    assert mark.main([str(tmp_path / "in"), *arguments, *more]) == 0
    assert (tmp_path / "worksheet.csv").read_text(encoding="utf-8") == MOODLE.format(most="100.00")
    with (tmp_path / "filled_worksheet.csv").open(encoding="utf-8", newline="") as file:
        (first, *_) = csv.DictReader(file)
    assert first["Grade"] == "1"
    assert first["Feedback comments"].startswith(
        "1 of 8 exercises are right.<br>Not attempted: fraction_right, "
    )
    assert "filled_worksheet.csv" in capsys.readouterr().out
    assert zipfile.ZipFile(tmp_path / "back.zip").namelist() == ["Ada_11_assignsubmission_file/00.html"]
    assert mark.main([str(tmp_path / "in"), *arguments, "--fill", str(tmp_path / "marks.csv")]) == 1
    assert "neither a grading worksheet" in capsys.readouterr().err
