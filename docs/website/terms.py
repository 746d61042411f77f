"""Links from the site's own pages into lessons, written `[[3#Cross-entropy]]`: lesson 3, headline Cross-entropy."""

import re

from mdit_py_plugins.anchors.index import slugify

from coursekit.teaching.catalogue import Lesson
from coursekit.teaching.markdown import plain

_MARK = re.compile(r"\[\[(\d+)#([^\]]+)\]\]")


def with_lesson_links(text: str, lessons: list[Lesson]) -> str:
    """Return Markdown whose marks have become links, or words where the lesson is still to come.

    Raises ValueError for a headline that its lesson does not have.
    """
    by_number = {lesson.number: lesson for lesson in lessons}

    def replace(mark: re.Match) -> str:
        number, headline = int(mark[1]), mark[2]
        if number not in by_number:
            return f"lesson {number}, to come"
        lesson = by_number[number]
        if headline not in lesson.headlines:
            raise ValueError(f"{lesson.path.name} has no headline {headline!r}")
        return f"[lesson {number}, {_short(headline)}](/lessons/{lesson.path.name}#{slugify(headline)})"

    return _MARK.sub(replace, text)


def _short(headline: str) -> str:
    """Return a headline without the number of its section and without minutes."""
    return re.sub(r"^\d+ · | \([^)]*minutes?\)$", "", plain(headline))
