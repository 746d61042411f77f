"""The pages of the decks, and what they load."""

import shutil
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from coursekit.teaching.catalogue import Lesson
from website.slides.deck import deck
from website.slides.highlight import style_sheet

_TEMPLATES = Path(__file__).parent / "templates"
_STATIC = ("slides.css", "slides.js", "favicon.svg", "fonts", "vendor/reveal", "vendor/mathjax")


def write_decks(lessons: list[Lesson], folder: Path, static: str = "_static", exercises: str = "") -> None:
    """Write a page for each lesson, with its figures, and an index of the lessons.

    `static` is the way from a page to the folder of style sheets and scripts, `exercises` that to the pages of
    exercises, if there are any.
    """
    templates = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folder.mkdir(parents=True, exist_ok=True)
    shared = {"static": static, "code_colours": style_sheet()}
    for lesson in lessons:
        made = deck(lesson, exercises)
        page = templates.get_template("deck.html").render(shared, deck=made, lesson=lesson)
        (folder / f"{lesson.stem}.html").write_text(page, encoding="utf-8")
        for figure in made.figures:
            (folder / figure.file).parent.mkdir(exist_ok=True)
            (folder / figure.file).write_bytes(figure.png)
    index = templates.get_template("index.html").render(shared, lessons=lessons)
    (folder / "index.html").write_text(index, encoding="utf-8")


def copy_static(docs: Path, folder: Path) -> None:
    """Copy what the pages load to folder/_static, for decks that stand alone."""
    for name in _STATIC:
        source, target = docs / "_static" / name, folder / "_static" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
