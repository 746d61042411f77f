"""Lessons on paper: three of them, printed from a website of their own."""

import re
import shutil
import subprocess
import sys

import pytest

from coursekit.teaching import catalogue

DOCS = catalogue.REPOSITORY / "docs"
LESSONS = catalogue.select("00 03 12")  # the first has no formulas
TEXT_WIDTHS = {"A4": 665, "Letter": 687}  # pixels between the margins
FRAME = ".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .lesson-buttons, .prev-next-footer, button"
WIDER = """width => [...document.querySelectorAll("#main-content *")].filter((part) => {
    if (part.closest("mjx-container") && part.tagName !== "MJX-MATH") return false;
    const box = part.matches("pre, .cell_output, .pst-scrollable-table-container");
    return (box && part.scrollWidth > part.clientWidth) || part.getBoundingClientRect().right > width + 1;
}).map((part) => part.outerHTML.slice(0, 120))"""
SEEN = (
    "parts => parts.filter((part) => part.getBoundingClientRect().height > 0).map((part) => part.className)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a website with three lessons."""
    folder = tmp_path_factory.mktemp("paper")
    for name in ("notebooks", "docs/covers"):
        (folder / name).mkdir(parents=True)
    for lesson in LESSONS:
        shutil.copy(lesson.path, folder / "notebooks")
        shutil.copy(lesson.cover, folder / "docs" / "covers")
    command = [sys.executable, DOCS / "build.py", "-o", folder / "site", "--notebooks", folder / "notebooks"]
    subprocess.run(command, check=True, capture_output=True, cwd=catalogue.REPOSITORY)
    return folder / "site" / "html"


@pytest.fixture
def printed(browser, site):
    """Open a page of the site as it is printed on paper of some width."""
    contexts = []

    def open_page(name: str, width: int = TEXT_WIDTHS["A4"], **settings):
        context = browser.new_context(viewport={"width": width, "height": 1000}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.goto((site / name).as_uri())
        page.emulate_media(media="print")
        page.evaluate("() => window.MathJax?.startup?.promise")
        return page

    yield open_page
    for context in contexts:
        context.close()


def paper(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, DOCS / "paper.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=catalogue.REPOSITORY)


@pytest.mark.parametrize("width", TEXT_WIDTHS.values(), ids=TEXT_WIDTHS)
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_nothing_is_wider_than_the_page(lesson, width, printed):
    assert printed(f"lessons/{lesson.stem}.html", width).evaluate(WIDER, width) == []


def test_frame_of_the_website_and_folded_solutions_are_not_printed(printed):
    lesson = printed("lessons/03_dnn_mnist.html")
    assert lesson.locator(FRAME).evaluate_all(SEEN) == []
    exercises = printed("exercises/03_dnn_mnist.html")
    assert exercises.locator("details").count() > 20
    assert exercises.locator("details").evaluate_all(SEEN) == []


def test_paper_is_light_where_the_screen_is_dark(printed):
    page = printed("lessons/03_dnn_mnist.html", color_scheme="dark")
    theme = "() => document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(theme) == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(theme) == "dark"


def test_lesson_becomes_a_pdf_with_its_headlines_as_bookmarks(site, tmp_path):
    done = paper("03", "--site", site, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.iterdir()
    contents = written.read_bytes()
    pages = len(re.findall(rb"/Type /Page\b", contents))
    bookmarks = [text.decode() for text in re.findall(rb"/Title \((.*?)\)", contents)]
    print(f"{pages} pages, {len(contents):,} bytes")
    assert written.name == "03_dnn_mnist.pdf"
    assert 30 < pages < 80
    assert bookmarks[-1] == LESSONS[1].headlines[-1]


def test_lesson_without_formulas_is_printed_like_any_other(site, tmp_path):
    done = paper("00", "--site", site, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [written.name for written in tmp_path.iterdir()] == ["00_first_steps.pdf"]


def test_lesson_without_a_page_is_named_in_one_line(tmp_path):
    done = paper("03", "--site", tmp_path, "-o", tmp_path / "paper")
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: there is no page .*03_dnn_mnist\.html: build the website first, make site\n", done.stderr
    )
