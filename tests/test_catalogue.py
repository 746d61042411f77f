import nbformat
import pytest

from coursekit.teaching import catalogue
from coursekit.teaching.catalogue import Lesson

WORDS = "word " * 299 + "word"  # 300 words, two minutes
FIGURE = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0K"})


def text(source):
    return nbformat.v4.new_markdown_cell(source)


def code(source, *, figures=0, exercise=""):
    tagged = {"exercise": exercise, "tags": ["exercise"]} if exercise else {}
    return nbformat.v4.new_code_cell(source, outputs=[FIGURE] * figures, metadata=tagged)


@pytest.fixture
def lesson(tmp_path):
    """A lesson of two parts, with counts that can be checked in the head."""
    path = tmp_path / "03_two_parts.ipynb"
    cells = [
        text("# 3 · Two parts"),
        code("setup"),
        text(f"## Part 1 · In class\n\n## 1 · First\n{WORDS}"),
        code("plot", figures=2),
        text("### Exercise 1 · One (5 minutes)\nDo it."),
        code("...", exercise="softmax"),
        text("### Exercise 2 · Two (at home, 20 minutes)"),
        code("...", exercise="forward"),
        text("## Recap\nThat was it."),
        text("## Part 2 · At home"),
        text(f"## 2 · Second\n{WORDS}"),
        code("plot", figures=1),
    ]
    catalogue.write(nbformat.v4.new_notebook(cells=cells), path)
    return Lesson(path)


def test_sections_begin_at_headlines_and_know_their_part(lesson):
    assert [(section.title, section.part) for section in lesson.sections] == [
        ("Opening", 1),
        ("1 · First", 1),
        ("Recap", 1),
        ("Part 2 · At home", 2),
        ("2 · Second", 2),
    ]


def test_minutes_are_words_cells_figures_and_exercises_done_in_class(lesson):
    opening, first, recap, *_ = lesson.sections
    headlines = 8 + 3 + 8 + 2 + 9  # words of headlines and prompts, "##" and "·" among them
    assert first.minutes == pytest.approx((300 + headlines) / 150 + 3 * 0.5 + 2 + 5, abs=0.05)
    assert opening.minutes == pytest.approx(5 / 150 + 0.5)
    assert lesson.class_minutes == round(opening.minutes + first.minutes + recap.minutes)


def test_a_lesson_without_parts_is_done_in_class_as_a_whole(lesson):
    parts = [cell for cell in lesson.notebook.cells if "Part 2" not in cell.source]
    lesson.notebook.cells = parts
    assert not lesson.has_parts
    assert {section.part for section in lesson.sections} == {1}


def test_prompts_tell_number_title_minutes_and_place(lesson):
    one, two = lesson.prompts
    assert (one.name, one.number, one.title, one.minutes, one.at_home, one.text) == (
        "softmax", 1, "One", 5, False, "Do it.",
    )  # fmt: skip
    assert (two.name, two.minutes, two.at_home) == ("forward", 20, True)


def test_exercise_without_a_headline_of_the_right_form_is_named(lesson):
    lesson.notebook.cells[4].source = "Exercise 1, for five minutes"
    with pytest.raises(ValueError, match="above the cell of exercise 'softmax' stands no headline"):
        _ = lesson.sections


def test_exercises_come_from_the_module_of_its_number(lesson, tmp_path):
    assert {"softmax", "forward"} <= lesson.exercises.keys()
    path = tmp_path / "99_none.ipynb"
    catalogue.write(nbformat.v4.new_notebook(cells=[text("# 99 · None")]), path)
    with pytest.raises(ValueError, match="has no exercises: there is no module"):
        _ = Lesson(path).exercises


def test_lesson_that_was_never_recorded_says_so(lesson):
    lesson.notebook.metadata.pop("coursekit", None)
    with pytest.raises(ValueError, match="says nothing of its run times: record it with `make notebooks`"):
        _ = lesson.seconds


def test_lessons_are_selected_by_number_in_the_order_asked_for():
    assert [lesson.number for lesson in catalogue.select("03 01, 03")] == [3, 1]
    assert [lesson.stem for lesson in catalogue.select("")] == [lesson.stem for lesson in catalogue.lessons()]


def test_number_of_no_lesson_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="there is no lesson 77 or x; there are 00, 01, 02"):
        catalogue.select("77 01 x")


def test_opening_tells_which_lessons_it_needs_and_which_help(lesson):
    for said, needs, helped_by in (
        ("**You need** lessons 5 and 6. **Hardware** 2 cores", [5, 6], []),
        ("**You need** lesson 3; lesson 8 helps, since 2 is less. Seed 0", [3], [8, 2]),
        ("**You need** a browser.", [], []),
        ("nothing is said", [], []),
    ):
        lesson.notebook.cells[0].source = said
        assert (lesson.needs, lesson.helped_by) == (needs, helped_by)


def test_no_lesson_needs_one_that_comes_later():
    for lesson in catalogue.lessons():
        assert all(number < lesson.number for number in [*lesson.needs, *lesson.helped_by]), lesson.stem


def test_notebook_that_is_not_valid_is_not_written(tmp_path):
    path = tmp_path / "01_a.ipynb"
    path.write_text("before", encoding="utf-8")
    notebook = nbformat.v4.new_notebook(cells=[text("a")])
    notebook.cells[0].source = 3
    with pytest.raises(nbformat.ValidationError):
        catalogue.write(notebook, path)
    assert path.read_text(encoding="utf-8") == "before"
