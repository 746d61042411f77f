"""The slides of a lesson: Part 1 in the order of the notebook, each exercise with its stub and a countdown."""

import html
import re
from dataclasses import dataclass, field
from itertools import zip_longest

from docutils.nodes import make_id
from nbformat import NotebookNode

from coursekit.teaching.alt_texts import describe_figures
from coursekit.teaching.catalogue import Lesson, Prompt
from website.slides import markdown
from website.slides.code import (
    Figure,
    code_slides,
    figures_of,
    fitting_parts,
    has_room_above,
    with_filled_docstring,
)
from website.slides.highlight import code_block
from website.slides.slide import HEIGHT, Section, Slide, fit_code
from website.slides.text import Piece, pack, pieces, points, texts

_HOW_TO = (".hint()", ".solution()")  # a paragraph with them says how all exercises work
_REMARK_WORDS, _LEAD_WORDS, _RECAP_WORDS = 40, 30, 90


@dataclass
class Deck:
    """The slides of a lesson, in sections, and the figures they show."""

    lesson: Lesson
    sections: list[Section]
    figures: list[Figure] = field(default_factory=list)

    @property
    def slides(self) -> list[Slide]:
        """All slides in order."""
        return [slide for section in self.sections for slide in section.slides]


def deck(lesson: Lesson, exercises: str = "") -> Deck:
    """Return the slides of a lesson's Part 1; notes link its solutions in the folder of pages `exercises`, if named."""
    return _Builder(lesson, exercises).build()


class _Builder:
    """Walks the cells of Part 1, under the headline that is in force."""

    def __init__(self, lesson: Lesson, exercises: str) -> None:
        self.lesson, self.exercises = lesson, exercises
        self.prompts = {prompt.name: prompt for prompt in lesson.prompts}
        self.alts = describe_figures(lesson.notebook)
        self.deck = Deck(lesson, [Section("Opening", _opening(lesson))])
        self.title, self.lead = "", None

    def build(self) -> Deck:
        cells = [cell for cell, part in self.lesson.cells_with_parts() if part == 1]
        first = next(n for n, cell in enumerate(cells) if cell.source.startswith("## "))  # above it: set-up
        for cell, following in zip_longest(cells[first:], cells[first + 1 :]):
            if cell.cell_type == "markdown":
                self._text(cell.source, following)
            elif "exercise" not in cell.metadata:
                self._code(cell)
        return self.deck

    def _add(self, slides: list[Slide]) -> None:
        self.deck.sections[-1].slides += slides

    def _text(self, source: str, following: NotebookNode | None) -> None:
        prompt = self.prompts.get(following.metadata.get("exercise")) if following else None
        found = list(texts(source))
        for text in found:
            if text.heading and text.heading.source.startswith("Exercise ") and prompt:
                if prompt.at_home:
                    self.deck.slides[-1].notes += markdown.html(
                        f"**At home: {prompt.title}**\n\n{prompt.text}"
                    )
                else:
                    self._add(self._exercise(prompt, with_filled_docstring(following.source)))
                continue
            if text.heading:
                self._headline(text.heading)
            shown = list(pieces(text.blocks))
            if self.title == "Recap":
                self._add(pack(points(source), self.title, words=_RECAP_WORDS))
                return
            if not text.heading:
                shown = self._with_remark(shown)
            if text is found[-1] and following and following.cell_type == "code":
                shown = self._keep_lead(shown, following)
            self._add(pack(shown, self.title))

    def _headline(self, heading: markdown.Block) -> None:
        if heading.source.startswith("Part "):
            return
        self.title = markdown.inline(heading.source)
        if heading.level == 2:
            self.deck.sections.append(Section(self.title))
            if numbered := re.match(r"(\d+) · (.+)", heading.source):
                body = f'<p class="number">{numbered[1]}</p>'
                self._add([Slide(markdown.inline(numbered[2]), body, "section")])

    def _with_remark(self, shown: list[Piece]) -> list[Piece]:
        """Put the first thing said about a cell below what it showed, one step later; return what is left to say."""
        slide = self.deck.slides[-1]
        if not shown or not shown[0].is_sentence or shown[0].words > _REMARK_WORDS:
            return shown
        if (len(shown) == 1 and shown[0].leads) or slide.height + shown[0].height > HEIGHT:
            return shown
        if slide.kind in ("code", "output", "figure"):
            slide.body += f'<div class="remark fragment">{shown[0].body}</div>'
            slide.notes += shown[0].notes
            slide.height += shown[0].height
            return shown[1:]
        return shown

    def _keep_lead(self, shown: list[Piece], cell: NotebookNode) -> list[Piece]:
        """Keep the sentence that leads to the next cell for its slide, if it has room there; return the others."""
        last = shown[-1] if shown else None
        if last is None or not last.is_sentence or last.words > _LEAD_WORDS:
            return shown
        if has_room_above(cell, self._figures(cell), last.height):
            *shown, self.lead = shown
        return shown

    def _figures(self, cell: NotebookNode) -> list[Figure]:
        return figures_of(cell, self.alts.get(cell.id, ""), self.lesson.stem)

    def _code(self, cell: NotebookNode) -> None:
        figures, lead, self.lead = self._figures(cell), self.lead, None
        self.deck.figures += figures
        slides = code_slides(cell, figures, self.title, HEIGHT - lead.height if lead else HEIGHT)
        if lead and slides:
            slides[0].body, slides[0].notes = lead.body + slides[0].body, lead.notes + slides[0].notes
            slides[0].height += lead.height
        elif lead:  # to code that the room need not see
            self.deck.slides[-1].notes += lead.notes
        self._add(slides)

    def _exercise(self, prompt: Prompt, stub: str) -> list[Slide]:
        """Return the slides of an exercise, one if task and stub fit it."""
        title = f"Exercise {prompt.number} · {markdown.inline(prompt.title)}"
        paragraphs = [text for text in prompt.text.split("\n\n") if not any(mark in text for mark in _HOW_TO)]
        task = [piece for text in texts("\n\n".join(paragraphs)) for piece in pieces(text.blocks)]
        notes = markdown.html(prompt.text) + self._solution(prompt)
        height = sum(piece.height for piece in task)
        if fit := fit_code(stub.splitlines(), HEIGHT - height):
            body = "".join(piece.body for piece in task) + code_block(stub, fit)
            return [Slide(title, body, "exercise", notes, minutes=prompt.minutes)]
        shown = [Slide(title, code_block(part, fit), "exercise") for part, fit in fitting_parts(stub, HEIGHT)]
        shown = pack([_as_statement(piece) for piece in task], title, "exercise") + shown
        shown[0].notes = notes
        shown[-1].minutes = prompt.minutes
        return shown

    def _solution(self, prompt: Prompt) -> str:
        where = f"<code>ex.{prompt.name}.solution()</code>"
        if self.exercises:
            anchor = make_id(f"{prompt.number} · {prompt.title}")
            page = f"{self.exercises}/{self.lesson.stem}.html#{anchor}"
            where += f', and <a href="{page}">the exercises of this lesson</a>'
        return f"<p>Solution: {where}.</p>"


def _as_statement(piece: Piece) -> Piece:
    return Piece(piece.body, max(piece.height, 100), piece.words, piece.notes)


def _opening(lesson: Lesson) -> list[Slide]:
    """Return the title, what one can do afterwards, and how to begin."""
    goals = [goal for goal in lesson.goals if not goal.startswith("at home")]
    listing = "\n".join(f"- {goal}" for goal in goals)
    first = Slide(
        markdown.inline(lesson.title),
        f'<p class="number">{lesson.number}</p><p class="facts">{lesson.class_minutes} minutes in class</p>',
        "title",
        markdown.html(re.sub(r"\[!\[.*", "", lesson.opening)),
    )
    start = (
        f'<p>Open <code>{lesson.path.name}</code> in Jupyter or in <a href="{html.escape(lesson.colab)}">Colab</a>.</p>'
        "<p>Run the cells above <strong>The question</strong>.</p>"
    )
    aims = [
        slide for text in texts(listing) for slide in pack(pieces(text.blocks), "After this lesson you can")
    ]
    return [first, *aims, *pack([Piece(start, 150)], "Open the notebook")]
