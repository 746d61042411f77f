"""The glossary: a place to link to for every entry, and what the search knows of them."""

import json
import re
from dataclasses import dataclass

from docutils.nodes import make_id

from coursekit.teaching.markdown import plain

_ENTRY = re.compile(r"^(?P<term>\S.*)\n: (?P<said>.+)$", re.MULTILINE)
_ALSO = re.compile(r" Also: ([^.]+)\.")
_LESSON_LINKS = re.compile(r",? *\[\[[^\]]*\]\]")


@dataclass
class Entry:
    """A term with its other names, its definition as text, and the id of its place on the page."""

    term: str
    also: list[str]
    definition: str

    @property
    def anchor(self) -> str:
        """The id of the term on the page."""
        return make_id(f"term-{self.term}".replace("–", "-"))


def entries(glossary: str) -> list[Entry]:
    """Return the entries of the glossary's Markdown, in order; other names are those after `Also:`."""
    return [_entry(found["term"], found["said"]) for found in _ENTRY.finditer(glossary)]


def _entry(term: str, said: str) -> Entry:
    also = _ALSO.search(said)
    definition = plain(_LESSON_LINKS.sub("", _ALSO.sub("", said)))
    return Entry(term, also[1].split(", ") if also else [], definition)


def with_anchors(glossary: str) -> str:
    """Return the Markdown with an id on every term, and `Also` in italics."""

    def mark(found: re.Match) -> str:
        entry = _entry(found["term"], found["said"])
        said = _ALSO.sub(r" *Also:* \1.", found["said"])
        return f"[{entry.term}]{{#{entry.anchor}}}\n: {said}"

    return _ENTRY.sub(mark, glossary)


def as_script(glossary: str) -> str:
    """Return the entries as a script, which the page of results may load from a disk where it may not fetch a file."""
    known = [[entry.term, entry.anchor, entry.also, entry.definition] for entry in entries(glossary)]
    return f"window.courseGlossary = {json.dumps(known, ensure_ascii=False)};\n"
