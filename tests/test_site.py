"""The website: built once, offline, warnings as errors, and then read as files."""

import html
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat
import pytest

from coursekit.teaching import alt_texts, catalogue
from coursekit.teaching.catalogue import Lesson
from coursekit.teaching.markdown import plain

pytest.importorskip("sphinx_book_theme", reason='the site needs its tools: pip install -e ".[docs]"')

DOCS = catalogue.REPOSITORY / "docs"
NOTEBOOKS = [lesson.path for lesson in catalogue.lessons()]
FIRST_PAGE_LIMIT = 1_500_000  # bytes
sys.path.insert(0, str(DOCS))

from website import course_map, exercise_pages, glossary, plans, staging, terms  # noqa: E402


class Page(HTMLParser):
    """The ids of a page, its links, what it loads, and its pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.ids, self.links, self.loads, self.pictures = path, set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and {"stylesheet", "icon", "preload"} & set(given.get("rel", "").split()):
            self.loads.append(given["href"])
        if given.get("src"):
            self.loads.append(given["src"])
        if tag == "img":
            self.pictures.append(given)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, DOCS / "build.py", "-o", folder]
    done = subprocess.run(command, capture_output=True, text=True, cwd=catalogue.REPOSITORY, encoding="utf-8")
    return done, folder / "html"


@pytest.fixture(scope="module")
def site(build):
    done, folder = build
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


def target(page: Page, link: str) -> tuple[Path, str]:
    address, anchor = urldefrag(link)
    path = (page.path.parent / unquote(address.split("?")[0])).resolve() if address else page.path
    return path, unquote(anchor)


def is_outside(link: str) -> bool:
    return bool(re.match(r"(?:[a-z]+:)?//|[a-z]+:", link))


def test_build_has_no_warning(build):
    done, _ = build
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_lesson_has_a_page_a_card_its_exercises_its_slides_and_its_notebook(path, site, pages):
    home, lesson = pages["index.html"], pages[f"lessons/{path.stem}.html"]
    colab = f"https://colab.research.google.com/github/{catalogue.repository_slug()}/blob/main/notebooks/{path.name}"
    assert f"lessons/{path.stem}.html" in home.links
    assert colab in home.links
    assert colab in lesson.links
    assert f"_static/covers/{path.stem}.webp" in home.loads
    assert (site / "notebooks" / path.name).read_bytes() == path.read_bytes()
    assert f"exercises/{path.stem}.html" in pages
    assert f"../slides/{path.stem}.html" in lesson.links
    assert f"{path.stem}.html" in pages["slides/index.html"].links


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_teachers_page_has_every_exercise_with_its_solution_and_mistakes(path, pages):
    text = html.unescape(
        re.sub(r"<[^>]+>", "", pages[f"exercises/{path.stem}.html"].path.read_text(encoding="utf-8"))
    )
    flat = " ".join(text.split())
    lesson = Lesson(path)
    exercises = lesson.exercises
    assert [prompt.name for prompt in lesson.prompts] == list(exercises)
    assert text.count("Solution\n") == len(exercises)
    for name, exercise in exercises.items():
        assert f"ex.{name}(" in text
        for sentence in exercise.sentences:
            words = re.split(r"`|['\"’“”]|\.\.\.|--", " ".join(sentence.split()))
            assert all(part.strip() in flat for part in words), sentence


def test_no_link_leads_nowhere(site, pages):
    by_path = {page.path.resolve(): page for page in pages.values()}
    lost = []
    for name, page in pages.items():
        for link in page.links:
            if is_outside(link):
                continue
            path, anchor = target(page, link)
            if not path.exists() or (anchor and path in by_path and anchor not in by_path[path].ids):
                lost.append((name, link))
    assert lost == []


def test_pages_load_nothing_from_elsewhere(site, pages):
    outside = [(name, load) for name, page in pages.items() for load in page.loads if is_outside(load)]
    assert outside == []
    for sheet in site.rglob("*.css"):
        addresses = re.findall(
            r"url\(['\"]?(?!data:)([^'\")]+)|@import ['\"]([^'\"]+)", sheet.read_text(encoding="utf-8")
        )
        assert not [one for pair in addresses for one in pair if is_outside(one)], sheet


def test_first_page_is_light(pages):
    home = pages["index.html"]
    files = {target(home, load)[0] for load in home.loads}
    for sheet in [path for path in files if path.suffix == ".css"]:
        fonts = re.findall(r"url\((fonts/[^)]+)\)", sheet.read_text(encoding="utf-8"))
        files |= {sheet.parent / font for font in fonts}
    total = home.path.stat().st_size + sum(path.stat().st_size for path in files)
    assert total <= FIRST_PAGE_LIMIT, f"{total:,} bytes"


def test_every_picture_has_words(pages):
    for name, page in pages.items():
        for picture in page.pictures:
            assert picture.get("alt"), (name, picture)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_figures_of_a_lesson_are_described_each_in_its_own_words(path, pages):
    described = [picture["alt"] for picture in pages[f"lessons/{path.stem}.html"].pictures]
    notebook = nbformat.read(path, as_version=4)
    figures = sum(
        "image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert len(described) == figures
    assert len(set(described)) >= figures - 1  # a cell may show two figures
    assert min(map(len, described)) > 60


def test_figure_is_described_by_headline_labels_and_the_sentence_below():
    notebook = nbformat.v4.new_notebook()
    picture = nbformat.v4.new_output("display_data", {"image/png": ""})
    notebook.cells = [
        nbformat.v4.new_markdown_cell("## 2 · The *slope*"),
        nbformat.v4.new_code_cell(
            'ax.set(xlabel="step $h$", ylabel="error")\nax.set_title(f"{n}")', outputs=[picture]
        ),
        nbformat.v4.new_markdown_cell("Every curve has a minimum. Then it rises. More."),
    ]
    (text,) = alt_texts.describe_figures(notebook).values()
    assert text == "Figure in “2 · The slope” with step h, error. Every curve has a minimum. Then it rises."


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_minutes_of_the_sections_add_up_to_those_of_the_class(path):
    lesson = Lesson(path)
    minutes = exercise_pages.whole_minutes([section for section in lesson.sections if section.part == 1])
    assert sum(minutes) == lesson.class_minutes
    assert min(minutes) >= 0


def test_timetable_shows_parts_sections_minutes_and_exercises():
    table = exercise_pages.timing([Lesson(catalogue.REPOSITORY / "notebooks" / "03_dnn_mnist.ipynb")])
    first, second = (
        table.index("| **Part 1 · In class** | | | |"),
        table.index("| **Part 2 · At home** | | | |"),
    )
    assert first < table.index("| 5 · Training | ") < second < table.index("| 9 · Around the loop | ")
    assert re.search(r"\| 5 · Training \| \d+ \| 7, 8, 9 \|  \|", table)
    assert re.search(r"\| 9 · Around the loop \| \d+ \|  \| 12 \|", table)


def test_map_of_the_readme_is_current():
    drawn = course_map.MAP.read_text(encoding="utf-8")
    assert drawn == course_map.svg(catalogue.lessons()), "draw it anew: python docs/build.py --map"


def test_map_has_a_box_for_every_lesson_and_a_line_for_every_need_that_no_other_implies():
    lessons = catalogue.lessons()
    drawn = course_map.svg(lessons, links=True)
    assert drawn.count('class="map-box"') == len(lessons)
    assert all(f'href="lessons/{lesson.stem}.html"' in drawn for lesson in lessons)
    assert drawn.count('class="map-needs"') == sum(len(lesson.needs) for lesson in lessons)
    assert drawn.count('class="map-helps"') == 6  # 4, 6 -> 7; 8, 9 -> 10; 11 (which needs 6) -> 12; 8 -> 14


@pytest.mark.parametrize("plan", [plans.SHORT, plans.SEMESTER])
def test_plan_takes_no_lesson_before_those_it_needs(plan):
    needs = {lesson.number: lesson.needs for lesson in catalogue.lessons()}
    known = {0, 1}  # what students bring
    for number in plan:
        assert set(needs[number]) <= known, number
        known.add(number)


def test_readme_names_the_plans():
    readme = (catalogue.REPOSITORY / "README.md").read_text(encoding="utf-8")
    *first, last = map(str, plans.SHORT)
    assert f"**{', '.join(first)} and {last}**" in readme
    assert len(plans.SEMESTER) == 13
    assert "In a semester of thirteen: 1 to 11, 13 and 15" in readme
    assert list(plans.SEMESTER) == [*range(1, 12), 13, 15]


def test_lesson_that_joins_or_leaves_needs_no_edit_of_the_site(tmp_path):
    for folder in ("notebooks", "docs/covers"):
        (tmp_path / folder).mkdir(parents=True)
    name = "03_dnn_mnist"
    shutil.copy(catalogue.REPOSITORY / "notebooks" / f"{name}.ipynb", tmp_path / "notebooks")
    shutil.copy(DOCS / "covers" / f"{name}.png", tmp_path / "docs" / "covers")
    staging.stage(DOCS, tmp_path / "notebooks", tmp_path / "source")
    cards = (tmp_path / "source" / "generated" / "cards.html").read_text(encoding="utf-8")
    assert cards.count('<li class="lesson-card">') == 1
    assert "lesson 2, to come" in (tmp_path / "source" / "glossary.md").read_text(encoding="utf-8")


def test_mark_for_a_headline_becomes_a_link_and_a_lost_headline_an_error():
    lesson = Lesson(catalogue.REPOSITORY / "notebooks" / "03_dnn_mnist.ipynb")
    linked = terms.with_lesson_links("[[3#Exercise 1 · Counting (2 minutes)]]", [lesson])
    assert (
        linked
        == "[lesson 3, Exercise 1 · Counting](/lessons/03_dnn_mnist.ipynb#exercise-1--counting-2-minutes)"
    )
    with pytest.raises(ValueError, match="has no headline 'Lost'"):
        terms.with_lesson_links("[[3#Lost]]", [lesson])


def test_every_term_of_the_glossary_has_a_place_of_its_own(pages):
    anchors = [entry.anchor for entry in glossary.entries((DOCS / "glossary.md").read_text(encoding="utf-8"))]
    assert len(anchors) == len(set(anchors)) > 300
    assert set(anchors) <= pages["glossary.html"].ids


def test_entry_of_the_glossary_knows_its_other_names():
    text = "## S\n\nsoftmax\n: Of *logits*. Also: softargmax, Boltzmann's weights. [[3#Softmax]], [[10#Scores]]\n"
    (entry,) = glossary.entries(text)
    assert (entry.term, entry.anchor) == ("softmax", "term-softmax")
    assert entry.also == ["softargmax", "Boltzmann's weights"]
    assert entry.definition == "Of logits."
    assert "[softmax]{#term-softmax}\n: Of *logits*. *Also:* softargmax, B" in glossary.with_anchors(text)


def test_no_name_in_the_glossary_means_two_things():
    known = glossary.entries((DOCS / "glossary.md").read_text(encoding="utf-8"))
    names = [name.lower() for entry in known for name in (entry.term, *entry.also)]
    assert [name for name in names if names.count(name) > 1] == []


def test_links_of_included_files_lead_to_pages_or_to_the_repository():
    text = "[a](../docs/reliability.md) [b](generators/make_jets.py) [c](https://x.org) [d](#here)"
    address = f"https://github.com/{catalogue.repository_slug()}/blob/main/data/generators/make_jets.py"
    assert staging.with_site_links(text, "data/README.md", []) == (
        f"[a](/reliability.md) [b]({address}) [c](https://x.org) [d](#here)"
    )


def test_sentences_keep_their_code_and_lose_nothing_to_markup():
    assert exercise_pages.escaped("a * b_c is `a * b_c`, a < b") == r"a \* b\_c is `a * b_c`, a \< b"


def test_plain_text_has_no_marks():
    assert plain("**Sum** of $x^\\top \\sigma$, `a*b` and [this](there)") == "Sum of x^ᵀ σ, a*b and this"
