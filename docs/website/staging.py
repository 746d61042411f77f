"""Put the pages of the site together in one folder: what docs/ holds, the lessons, and what is made from them."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat

from coursekit.teaching import catalogue
from coursekit.teaching.catalogue import REPOSITORY, Lesson, repository_url
from website import course_map, exercise_pages, glossary, home, plans, slides
from website.terms import with_lesson_links

# files of the repository that pages of the site include, and the page that is their place here
INCLUDED = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "data/README.md": "data",
    "coursekit/teaching/exam/task.md": "exam",
    "coursekit/teaching/exam/questions.md": "exam",
}
_BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")


def stage(docs: Path, notebooks: Path, source: Path) -> None:
    """Write all pages and files of the site to the folder `source`; the lessons are those of `notebooks`."""
    lessons = catalogue.lessons(notebooks)
    for page in [*docs.glob("*.md"), *docs.glob("api/*.md"), *docs.glob("exercises/*.md")]:
        name = page.relative_to(docs).as_posix()
        text = page.read_text(encoding="utf-8")
        if name == "glossary.md":
            write(source / "generated" / "static" / "glossary.js", glossary.as_script(text))
            text = glossary.with_anchors(text)
        text = with_lesson_links(text, lessons)
        write(source / name, with_site_links(text, f"docs/{name}", lessons))
    for name in INCLUDED:
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        write(source / "included" / name, with_site_links(text, name, lessons))
    for lesson in lessons:
        stage_lesson(lesson, source)
        write(source / "exercises" / f"{lesson.stem}.md", exercise_pages.page(lesson))
    made = source / "generated"
    write(made / "pad.html", (docs / "pad" / "pad.html").read_text(encoding="utf-8"))
    write(made / "begin.html", home.begin(lessons[0]))
    write(made / "cards.html", home.cards(lessons))
    write(made / "map.html", f'<div class="course-map">\n{course_map.svg(lessons, links=True)}</div>\n')
    write(made / "needs.md", plans.needs(lessons))
    write(made / "short.md", plans.table(plans.SHORT, lessons))
    write(made / "semester.md", plans.table(plans.SEMESTER, lessons))
    write(made / "exercises.md", exercise_pages.overview(lessons))
    write(made / "timing.md", exercise_pages.timing(lessons))
    slides.write_decks(lessons, made / "extra" / "slides", static="../_static", exercises="../exercises")
    write(made / "slides.html", '<p><a href="slides/index.html">The slides of all lessons</a></p>\n')
    home.write_network(docs / "pad" / "cnn.bin", made / "static")


def stage_lesson(lesson: Lesson, source: Path) -> None:
    """Write a lesson as a page, its notebook as a file to download, and its cover."""
    page = nbformat.from_dict(lesson.notebook)
    page.cells[0].source = _BADGE.sub(_buttons(lesson).replace("\\", r"\\"), lesson.opening)
    write(source / "lessons" / lesson.path.name, nbformat.writes(page))
    download = source / "generated" / "extra" / "notebooks" / lesson.path.name
    download.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(lesson.path, download)
    home.write_cover(lesson, source / "generated" / "static")


def _buttons(lesson: Lesson) -> str:
    """Return the buttons below a lesson's title, in place of its badge, which is a picture of another site."""
    return (
        '<p class="lesson-buttons">'
        f'<a class="button button--first" href="{lesson.colab}">Open in Colab</a> '
        f'<a class="button" href="../notebooks/{lesson.path.name}" download>Download the notebook</a> '
        f'<a class="button" href="../slides/{lesson.stem}.html">Slides</a> '
        f'<a class="button" href="../exercises/{lesson.stem}.html">Solutions</a></p>'
    )


def with_site_links(text: str, name: str, lessons: list[Lesson]) -> str:
    """Return Markdown whose links to files of the repository lead to pages of the site, or to the repository."""
    pages = {f"notebooks/{lesson.path.name}": f"/lessons/{lesson.path.name}" for lesson in lessons}
    pages |= {included: f"/{page}.md" for included, page in INCLUDED.items()}
    return re.sub(r"(?<=\]\()(?!https?:|#|/|mailto:)([^)#\s]+)", _to_page(name, pages), text)


def _to_page(name: str, pages: dict[str, str]) -> Callable[[re.Match], str]:
    def replace(link: re.Match) -> str:
        target = os.path.normpath(Path(name).parent / link[1])
        if target in pages:
            return pages[target]
        if target.startswith("docs/") and target.endswith(".md"):
            return target.removeprefix("docs")
        return link[1] if name.startswith("docs/") else f"{repository_url()}/blob/main/{target}"

    return replace


def write(path: Path, text: str) -> None:
    """Write a text file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
