"""The map of the course: which lesson needs which, drawn. `python docs/build.py --map` writes docs/map.svg."""

import html
import textwrap
from pathlib import Path

from coursekit.teaching.catalogue import Lesson
from website.plans import SHORT

MAP = Path(__file__).parents[1] / "map.svg"
Place = tuple[float, int]  # column and row; a half column lies above or below a gap, through which lines pass
_COLUMNS = 7
_PLACES: dict[int, Place] = {
    0: (0, 0), 1: (1, 0), 2: (2, 0), 3: (3, 0),
    4: (0, 1), 6: (1, 1), 5: (2, 1), 8: (3, 1), 9: (4, 1), 15: (5, 1), 16: (6, 1),
    7: (0.5, 2), 12: (1.5, 2), 11: (2.5, 2), 13: (3.5, 2), 10: (4.5, 2), 14: (5.5, 2),
}  # fmt: skip
_BOX, _STEP = (114, 64), (128, 128)  # width and height of a box, distances of columns and rows, in pixels
_PICTURE = ' role="img" aria-label="Which lesson needs which"'
_STYLE = """
.map-box { fill: #fff; stroke: #00609a; stroke-width: 1.5 }
.map-core .map-box { fill: #e3f0f8; stroke-width: 2.5 }
.map-number { font: 700 13px "Source Sans", "Segoe UI", Helvetica, Arial, sans-serif; fill: #b04a00 }
.map-title { font: 12px "Source Sans", "Segoe UI", Helvetica, Arial, sans-serif; fill: #1d2733 }
.map-needs, .map-helps { fill: none; stroke: #55606e; stroke-width: 1.6; marker-end: url(#map-tip) }
.map-helps { stroke-dasharray: 5 4 }
"""


def svg(lessons: list[Lesson], *, links: bool = False) -> str:
    """Return the map as SVG: a box for each lesson, solid lines from those it needs, dashed from those that help.

    With `links` a box leads to the lesson's page, relative to the home page of the website; without, it is a picture.
    """
    places = _places(lessons)
    lines = [
        _line(places[source], places[lesson.number], kind)
        for lesson in lessons
        for kind, sources in (("needs", lesson.needs), ("helps", lesson.helped_by))
        for source in _without_detours(sources, lessons)
        if source in places
    ]
    width, height = _COLUMNS * _STEP[0], (1 + max(row for _, row in places.values())) * _STEP[1] - 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"{"" if links else _PICTURE}>',
        f"<style>{_STYLE}</style>",
        '<marker id="map-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#55606e"/></marker>',
        '<rect width="100%" height="100%" fill="#fff"/>',
        *lines,
        *(_box(lesson, places[lesson.number], links) for lesson in lessons),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _without_detours(sources: list[int], lessons: list[Lesson]) -> list[int]:
    """Return the sources that none of the other sources needs itself: the map says those already."""
    passed = {number for lesson in lessons if lesson.number in sources for number in lesson.needs}
    return [source for source in sources if source not in passed]


def _places(lessons: list[Lesson]) -> dict[int, Place]:
    """Return column and row of every lesson; those that have no place of their own fill rows below."""
    numbers = [lesson.number for lesson in lessons]
    more = [number for number in numbers if number not in _PLACES]
    below = {number: (i % _COLUMNS, 3 + i // _COLUMNS) for i, number in enumerate(more)}
    return {number: (_PLACES | below)[number] for number in numbers}


def _corner(place: Place) -> tuple[float, float]:
    column, row = place
    return 8 + column * _STEP[0], 10 + row * _STEP[1]


def _box(lesson: Lesson, place: Place, links: bool) -> str:
    x, y = _corner(place)
    words = textwrap.wrap(lesson.title.split(":")[0].split(", and")[0], 17)
    texts = [
        f'<text class="map-title" x="{x + 8:g}" y="{y + 31 + 13 * i:g}">{html.escape(line)}</text>'
        for i, line in enumerate(words)
    ]
    group = (
        f'<g class="{"map-core" if lesson.number in SHORT else "map-more"}">'
        f'<rect class="map-box" x="{x:g}" y="{y:g}" width="{_BOX[0]}" height="{_BOX[1]}" rx="7"/>'
        f'<text class="map-number" x="{x + 8:g}" y="{y + 17:g}">{lesson.number}</text>{"".join(texts)}</g>'
    )
    return f'<a href="lessons/{lesson.stem}.html">{group}</a>' if links else group


def _line(source: Place, target: Place, kind: str) -> str:
    """Return a curve from one box to another: sideways within a row, else down, through a gap where it must."""
    (column, row), (to_column, to_row) = source, target
    (x, y), (to_x, to_y) = _corner(source), _corner(target)
    if row == to_row:
        start, end = (x + _BOX[0], to_x) if column < to_column else (x, to_x + _BOX[0])
        path = f"M{start:g} {y + _BOX[1] / 2:g} H{end:g}"
    else:
        x, to_x, y = x + _BOX[0] / 2, to_x + _BOX[0] / 2, y + _BOX[1]
        turn = y + (_STEP[1] - _BOX[1]) / 2
        gap = y + _STEP[1] - _BOX[1]
        through = f" V{to_y:g}" if gap < to_y else ""
        path = f"M{x:g} {y:g} C{x:g} {turn:g} {to_x:g} {turn:g} {to_x:g} {gap:g}{through}"
    return f'<path class="map-{kind}" d="{path}"/>'
