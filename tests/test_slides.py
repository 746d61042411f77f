"""How a lesson becomes slides: what stands on them, in which order, and what is left for the notes."""

import contextlib
import html
import io
import re
import subprocess
import sys

import nbformat
import pytest

from coursekit.teaching import catalogue
from coursekit.teaching.catalogue import Lesson

pytest.importorskip("sphinx_book_theme", reason='slides need the tools of the site: pip install -e ".[docs]"')

DOCS = catalogue.REPOSITORY / "docs"
LESSONS = catalogue.lessons()
sys.path.insert(0, str(DOCS))

from website import slides  # noqa: E402
from website.slides import code, markdown, slide, text  # noqa: E402

code_cell, text_cell = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
OPENING = "# 3 · A lesson\n\n**After this lesson you can**\n\n- do something;\n- at home: do more."


def printed(output: str):
    return nbformat.v4.new_output("stream", text=output)


def figure():
    return nbformat.v4.new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})


@pytest.fixture
def deck_of(tmp_path):
    """Return the slides of a lesson made of some cells, without those of its opening."""

    def make(*cells):
        path = tmp_path / "03_dnn_mnist.ipynb"
        notebook = nbformat.v4.new_notebook(cells=[text_cell(OPENING), text_cell("## 1 · A section"), *cells])
        nbformat.write(notebook, path)
        return slides.deck(Lesson(path)).slides[4:]

    return make


def kinds(found) -> list[str]:
    return [one.kind for one in found]


def words(marked: str) -> str:
    apart = re.sub(r"</?(?:p|li|div|pre|td)\b[^>]*>", " ", marked)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", apart)).split())


def bodies(source: str) -> list[str]:
    (found,) = text.texts(source)
    return [words(piece.body) for piece in text.pieces(found.blocks)]


FILLER = "Here are twenty words and some more that nobody needs to see on a slide, since the lecturer says them anyway."


def test_full_stop_within_code_formulas_and_parentheses_ends_no_sentence():
    said = "It is `a. B` or $x. Y$ (see Hinton. He knows), by Ng et al. (2017). *Is it?* **Yes.** Good."
    assert markdown.sentences(said) == [
        "It is `a. B` or $x. Y$ (see Hinton. He knows), by Ng et al. (2017).",
        "*Is it?*",
        "**Yes.**",
        "Good.",
    ]


def test_short_paragraph_stands_on_a_slide_whole():
    said = "The first sentence has seven words here. The second stands beside it. So does the third."
    assert bodies(said) == [said]


def test_long_paragraph_is_its_first_sentence_new_terms_questions_and_conclusions():
    said = f"The first sentence has seven words here. {FILLER} A **term** is new. {FILLER} Why? So it goes."
    assert bodies(said) == [
        "The first sentence has seven words here.",
        "A term is new.",
        "Why?",
        "So it goes.",
    ]


def test_recap_shows_each_sentence_and_each_item_of_a_list_as_a_point():
    found = text.points("## Recap\n\nOne. Two.\n\n- Three.\n- Four, and `five`.\n")
    shown = "".join(piece.body for piece in found)
    assert re.findall("<li>(.*?)</li>", shown) == ["One.", "Two.", "Three.", "Four, and <code>five</code>."]


def test_sentence_that_points_back_brings_the_one_before():
    said = f"The first sentence has seven words here. {FILLER} {FILLER} Sweep back. That is a **term**."
    assert bodies(said)[1:] == ["Sweep back.", "That is a term."]


def test_sentence_that_leads_to_a_formula_stays_with_it():
    said = f"The first sentence has seven words here. {FILLER} {FILLER} The result is\n\n$$x = 1$$"
    assert bodies(said)[1:] == [r"The result is \[x = 1\]"]


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Two rows. *Which will fail?* Row two does.", "Two rows. Which will fail?"),
        ("*On paper:* let x = 1. What is y? It is 2.", "On paper: let x = 1. What is y?"),
        ("*Write down your guess.* It is 2.", "Write down your guess."),
    ],
)
def test_question_stands_alone_and_its_answer_after_it(said, asked):
    (found,) = text.texts(said)
    question, *answer = text.pieces(found.blocks)
    assert (question.question, words(question.body)) == (True, asked)
    assert len(answer) == 1
    assert not answer[0].question


def test_worked_example_without_a_question_is_none():
    (found,) = text.texts("*On paper:* half of 4 is kept. That gives 2.")
    assert [piece.question for piece in text.pieces(found.blocks)] == [False]


def test_question_comes_before_code_and_code_one_step_before_what_it_prints(deck_of):
    asked, run = deck_of(text_cell("*What does it print?*"), code_cell("1 + 1", outputs=[printed("two")]))
    assert kinds([asked, run]) == ["question", "code"]
    assert "two" not in asked.body
    assert "two" in words(run.body.split('<div class="fragment">')[1])


def test_remark_on_a_figure_is_shown_one_step_after_it(deck_of):
    (shown,) = deck_of(code_cell("plt.plot(x)", outputs=[figure()]), text_cell("It rises."))
    before, remark = shown.body.split('<div class="remark fragment">')
    assert shown.kind == "figure"
    assert 'alt="Figure in “1 · A section”. It rises."' in before
    assert words(remark) == "It rises."


def test_sentence_before_code_stands_above_it(deck_of):
    (shown,) = deck_of(text_cell("Now add:"), code_cell("1 + 1"))
    assert words(shown.body) == "Now add: 1 + 1"


def test_code_that_only_draws_is_left_to_the_notes(deck_of):
    (shown,) = deck_of(code_cell("colour = 'C1'\nplt.plot(x)", outputs=[figure()]))
    assert shown.kind == "figure"
    assert "plot" not in shown.body
    assert "plot" in words(shown.notes)


def test_code_that_draws_last_says_so():
    cell = code_cell("y = 2 * x\nz = y + 1\nw = z\nprint(w)\nplt.plot(y)", outputs=[printed("1")])
    assert code.shown_code(cell).splitlines()[3:] == ["print(w)", "# … and the figure"]


def test_taking_an_answer_over_is_no_matter_of_a_slide():
    said = "mean: not attempted\nFrom here on the lesson uses the course's solution.\n"
    cell = code_cell("mean = ex.mean.or_solution(mean)\nmean(x)", outputs=[printed(said), printed("2.0\n")])
    assert (code.shown_code(cell), code.shown_output(cell)) == ("mean(x)", "2.0")


def test_long_output_is_cut():
    cell = code_cell("x", outputs=[printed("\n".join(map(str, range(100))))])
    assert code.shown_output(cell).splitlines()[-2:] == ["12", "…"]


def test_error_is_its_last_line():
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["long"])
    assert code.shown_output(code_cell("x", outputs=[error])) == "ValueError: no"


def test_code_that_does_not_fit_is_cut_between_its_functions():
    long, short = ("def f(x):\n" + "    x = x + 1\n" * lines for lines in (18, 8))
    first, second = code.fitting_parts(f"{long}\n\n{short}", slide.HEIGHT)
    assert (first[0].strip(), second[0].strip()) == (long.strip(), short.strip())


def test_docstring_of_a_stub_is_filled_and_keeps_its_words():
    stub = f'def f(x):\n    """Return {FILLER}\n\n    {FILLER}\n    {FILLER}\n    """\n    ...\n\n\nex.f(f)'
    filled = code.with_filled_docstring(stub)
    assert filled.split() == stub.split()
    assert max(map(len, filled.splitlines())) <= 80


def test_exercise_has_its_minutes_its_stub_and_the_way_to_its_solution(deck_of):
    prompt = "### Exercise 4 · A stable softmax (5 minutes)\n\nMake it stable.\n\nStuck? `ex.softmax.hint()` helps."
    stub = code_cell(
        "def softmax(logits):\n    ...\n\n\nex.softmax(softmax)", metadata={"exercise": "softmax"}
    )
    (shown,) = deck_of(text_cell(prompt), stub)
    assert (shown.kind, shown.title, shown.minutes) == ("exercise", "Exercise 4 · A stable softmax", 5)
    assert words(shown.body).startswith("Make it stable. def softmax")
    assert "hint" not in shown.body
    assert "ex.softmax.solution()" in shown.notes


@pytest.fixture(scope="module", params=LESSONS, ids=lambda lesson: lesson.stem)
def deck(request):
    return slides.deck(request.param)


def test_notes_hold_the_whole_text_of_part_1(deck):
    lesson = deck.lesson
    said = "".join(words(one.notes) for one in deck.slides).replace(" ", "")
    for cell, part in lesson.cells_with_parts():
        if part == 1 and cell.cell_type == "markdown" and cell is not lesson.notebook.cells[0]:
            for block in markdown.blocks(cell.source):
                if block.kind == "paragraph":
                    assert words(markdown.html(block.source)).replace(" ", "") in said, block.source


def solution(lesson, prompt) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        lesson.exercises[prompt.name].solution()
    return said.getvalue()


def test_slides_have_every_exercise_of_the_class_with_its_stub_and_no_solution(deck):
    lesson = deck.lesson
    countdowns = [one.minutes for one in deck.slides if one.minutes]
    assert countdowns == [prompt.minutes for prompt in lesson.prompts if not prompt.at_home]
    shown = " ".join(words(one.body) for one in deck.slides)
    for prompt in lesson.prompts:
        if not prompt.at_home:
            assert re.search(rf"{prompt.name}\(.*?\.\.\..*?\)", shown)
            assert " ".join(solution(lesson, prompt).split()) not in shown


def test_lesson_that_is_not_there_is_named_in_one_line(tmp_path):
    command = [sys.executable, DOCS / "slides.py", "99", "-o", tmp_path / "slides"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 1
    assert re.fullmatch(r"error: there is no lesson 99; there are 0\d, .*\n", done.stderr)
    assert not (tmp_path / "slides").exists()


def test_decks_of_some_lessons_bring_an_index_and_all_they_load(tmp_path):
    command = [sys.executable, DOCS / "slides.py", "03", "-o", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    pages = {path.name for path in tmp_path.glob("*.html")}
    assert pages == {"index.html", "03_dnn_mnist.html"}
    loaded = re.findall(
        r'(?:src|href)="(_static/[^"]+|03_[^"]+)"',
        (tmp_path / "03_dnn_mnist.html").read_text(encoding="utf-8"),
    )
    assert len(loaded) > 10
    assert [name for name in loaded if not (tmp_path / name).exists()] == []
