"""The English of everything people read here, as far as a test can judge it; and the tool that judges the lessons'."""

import ast

import nbformat
import pytest

from coursekit.teaching import prose
from coursekit.teaching.catalogue import REPOSITORY

PAGES = sorted(
    path
    for pattern in ("*.md", "data/*.md", "docs/**/*.md")
    for path in REPOSITORY.glob(pattern)
    if path.is_file()
)
MODULES = sorted(
    set(REPOSITORY.glob("coursekit/**/*.py")) - {REPOSITORY / "coursekit" / "teaching" / "prose.py"}
)


def name(path):
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_pages_say_nothing_that_is_never_right(path):
    assert list(prose.never_right(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_messages_and_docstrings_say_nothing_that_is_never_right(path):
    strings = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    ]
    found = [
        f"line {node.lineno}: {sentence}"
        for node in strings
        if isinstance(node.value, str)
        for sentence in prose.never_right(node.value)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("wrong", "better"),
    [
        ("Between two layers stands a bend.", "nonlinearity"),
        ("Drawn with He's start.", "He initialization"),
        ("A committee of networks.", "ensemble"),
        ("Sixteen code numbers.", "latent"),
        ("It learned by heart.", "memorize"),
        ("The unit matrix.", "identity matrix"),
        ("The derivative by x.", "with respect to"),
        ("The sum is asked.", "expected"),
        ("Exercises answer back.", "check themselves"),
        ("It gives a hint, again a better one.", "stronger"),
        ("This is, of course, clear.", "without"),
    ],
)
def test_words_of_the_left_column_are_found(wrong, better):
    (found,) = prose.never_right(wrong)
    assert better in found


def test_code_is_no_prose_and_neighbours_of_a_word_are_no_word():
    assert list(prose.never_right("`bend` in a span, an unbending rule, what is asked for, adjust it")) == []
    assert list(prose.never_right("```python\njust(bend)\n```\nNo more.")) == []


def notebook(*cells):
    """A notebook of texts, and of code cells where a list stands, with what they print."""
    made = [
        nbformat.v4.new_markdown_cell(one)
        if isinstance(one, str)
        else nbformat.v4.new_code_cell("1", outputs=[])
        for one in cells
    ]
    return nbformat.v4.new_notebook(cells=made), [one[0] for one in cells if isinstance(one, list)]


@pytest.mark.parametrize("text", ["0.98", "accuracy 0.98, loss 3", "(0.98)", "0.98."])
def test_number_that_an_output_above_shows_is_fine(text):
    assert prose.missing_numbers(*notebook([text], "It is `0.98`.")) == []


@pytest.mark.parametrize("text", ["0.987", "10.98", "0.9"])
def test_number_that_no_output_above_shows_is_named_with_its_cell(text):
    (problem,) = prose.missing_numbers(*notebook("Title", [text], "First. It is `0.98`. Last."))
    assert problem.startswith("cell 3: `0.98` is in no output of the stored run above it: “It is `0.98`.”")


def test_number_below_its_sentence_does_not_count():
    assert prose.missing_numbers(*notebook("It is `0.98`.", ["0.98"]))


def test_another_run_has_to_show_it_too_unless_the_sentence_speaks_of_the_stored_one():
    lesson, _ = notebook([""], "It is `0.98` here. In one sentence: `0.97` in the stored run.")
    (problem,) = prose.missing_numbers(lesson, ["0.91"], stored=False)
    assert "`0.98` is in no output of a run on the sample" in problem
    assert len(prose.missing_numbers(lesson, ["0.91"])) == 2


def test_sentence_may_begin_with_the_stored_run():
    lesson, _ = notebook([""], "In the stored run it is `0.97`.")
    assert not prose.missing_numbers(lesson, ["0.91"], stored=False)
