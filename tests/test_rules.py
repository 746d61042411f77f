"""The rules of a lesson, on lessons that break one of them."""

import nbformat
import pytest

from coursekit.teaching import catalogue, rules
from coursekit.teaching.catalogue import Lesson

FRAME = [
    "# 3 · A lesson\n\n**Time** 90 minutes in class.",
    "## The question\nWhy?",
    "## Part 1 · In class\n\n## 1 · One",
    "## Recap\nSo.",
    "## Part 2 · At home\n\n## 2 · Two",
    "## Your exercises",
    "## Next",
]


@pytest.fixture
def lesson(tmp_path):
    """Make a lesson 03 of texts."""

    def make(texts, **seconds):
        path = tmp_path / "03_made.ipynb"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in texts])
        notebook.metadata["coursekit"] = {"seconds": seconds}
        catalogue.write(notebook, path)
        return Lesson(path)

    return make


def with_changed(before, after):
    return [text.replace(before, after) for text in FRAME]


def test_lesson_of_two_parts_keeps_the_skeleton(lesson):
    assert rules.two_parts(lesson(FRAME)) == []


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            with_changed("## Part 2 · At home\n\n", ""),
            "the headlines of level two should be The question, Part 1",
        ),
        (
            with_changed("## Part 1 · In class", "## Part 1 · In the class"),
            "they are The question, Part 1 · In the class",
        ),
        ([*FRAME[:3], FRAME[4], FRAME[3], *FRAME[5:]], "should be"),
        ([*FRAME[:4], "## 2 · Late", FRAME[4].replace("## 2", "## 3"), *FRAME[5:]], "“Recap” closes Part 1"),
        (
            with_changed("## 2 · Two", "## 3 · Two"),
            "numbered from 1 without a gap, “1 · …”; these are [1, 3]",
        ),
    ],
)
def test_other_skeletons_are_told_what_is_wrong(lesson, texts, words):
    assert words in " ".join(rules.two_parts(lesson(texts)))


def test_part_1_that_is_too_long_is_told_by_how_much_and_where(lesson):
    long = with_changed("## 1 · One", "## 1 · One\n" + "word " * 150 * 91)
    (problem,) = rules.fits_the_class(lesson(long))
    assert "Part 1 takes 91 minutes" in problem
    assert "“Part 1 · In class”" not in problem
    assert "“1 · One” 91" in problem
    at_home = with_changed("## 2 · Two", "## 2 · Two\n" + "word " * 150 * 91)
    assert rules.fits_the_class(lesson(at_home)) == []


@pytest.mark.parametrize("said", ["**Time** 0 minutes", "**Time** 120 minutes", "Time flies."])
def test_opening_that_promises_other_minutes_is_told(lesson, said):
    texts = [FRAME[0].replace("**Time** 90 minutes", said), "## 1 · One\n" + "word " * 1500]
    assert len(rules.fits_the_class(lesson(texts))) == 1


def test_slow_part_1_is_told(lesson):
    assert rules.part_1_is_quick(lesson(FRAME, part_1=40)) == []
    assert "Part 1 took 41 s" in rules.part_1_is_quick(lesson(FRAME, part_1=41))[0]


def test_command_lists_what_a_lesson_breaks_and_names_an_unknown_one(lesson, monkeypatch, capsys):
    made = lesson(with_changed("Why?", "Why does it bend?"), part_1=1)
    monkeypatch.setattr(catalogue, "NOTEBOOKS", made.path.parent)
    assert rules.main(["03"]) == 1
    told = capsys.readouterr().out
    assert "03_made: breaks 2 of 10 rules" in told  # its exercises are not used, either
    assert "  the field's words\n    cell 2 says “bend” in “Why does it bend?”: nonlinearity" in told
    assert rules.main(["17"]) == 1
    assert "error: there is no lesson 17; there are 03" in capsys.readouterr().err
