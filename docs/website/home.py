"""The cards of the home page, and the files of the drawing pad."""

import base64
import html
from pathlib import Path

from PIL import Image

from coursekit.teaching.catalogue import Lesson
from coursekit.teaching.markdown import plain

_WIDTH = 720  # pixels of a cover, twice what a card shows on a common screen


def begin(lesson: Lesson) -> str:
    """Return the buttons that lead to the first lesson, as HTML."""
    name = html.escape(f"lesson {lesson.number}, {lesson.title}")
    return (
        f'<p class="lesson-buttons"><a class="button button--first" href="{lesson.colab}">Begin: {name}, in Colab</a> '
        f'<a class="button" href="lessons/{lesson.stem}.html">Read it here</a></p>\n'
    )


def cards(lessons: list[Lesson]) -> str:
    """Return the cards of the lessons as HTML, each with its picture, its goals and its buttons."""
    return '<ol class="lesson-cards">\n' + "\n".join(map(_card, lessons)) + "\n</ol>\n"


def _card(lesson: Lesson) -> str:
    page = f"lessons/{lesson.stem}.html"
    width, height = _size(lesson.cover)
    facts = (
        f"{lesson.class_minutes} minutes in class · {len(lesson.prompts)} exercises · runs in "
        f"{lesson.seconds['full']} s"
    )
    return f"""<li class="lesson-card">
<a class="lesson-card__picture" href="{page}" tabindex="-1" aria-hidden="true"><img
 src="_static/covers/{lesson.stem}.webp" width="{width}" height="{height}" alt="{html.escape(lesson.cover_alt)}"></a>
<h3><span class="lesson-card__number">{lesson.number}</span> <a href="{page}">{html.escape(lesson.title)}</a></h3>
<p class="lesson-card__facts">{facts}</p>
<p>{html.escape(_first_goals(lesson))}</p>
<p class="lesson-card__links"><a href="{page}">Read</a> <a href="{lesson.colab}">Open in Colab</a></p>
</li>"""


def _first_goals(lesson: Lesson) -> str:
    """Return the first two goals as one sentence."""
    first, second = (plain(goal).rstrip(";.") for goal in lesson.goals[:2])
    return f"{first[0].upper()}{first[1:]}; {second}."


def _size(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        return min(image.width, _WIDTH), round(image.height * min(1, _WIDTH / image.width))


def write_cover(lesson: Lesson, destination: Path) -> None:
    """Write the cover, small, to destination/covers."""
    (destination / "covers").mkdir(parents=True, exist_ok=True)
    with Image.open(lesson.cover) as image:
        small = image.convert("RGB").resize(_size(lesson.cover), Image.Resampling.LANCZOS)
    small.save(destination / "covers" / f"{lesson.stem}.webp", quality=82, method=6)


def write_network(weights: Path, destination: Path) -> None:
    """Write the network of the pad as a script, which a page may load from a disk where it may not fetch a file."""
    encoded = base64.b64encode(weights.read_bytes()).decode()
    (destination / "pad").mkdir(parents=True, exist_ok=True)
    (destination / "pad" / "network.js").write_text(f'window.padNetwork = "{encoded}";\n', encoding="utf-8")
