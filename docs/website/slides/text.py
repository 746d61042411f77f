"""From a cell of text to slides: few words on them, all of them in the notes.

On a slide stand headlines, formulas, tables, lists, questions, and of each paragraph the first sentence, those that
introduce a term in bold, ask something or draw a conclusion, and the one that leads to a formula, table or list. A
short paragraph stands there whole. An invitation to guess has a slide of its own, before whatever answers it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from coursekit.teaching.markdown import plain
from website.slides import markdown
from website.slides.markdown import Block
from website.slides.slide import HEIGHT, WIDTH, Slide

_SHORT = 34  # words of a paragraph that stands on a slide whole
_CLIPPED = 6  # words of a first sentence that says little alone
_WORDS = 52  # on a slide
_CHARACTER, _LINE, _GAP = 13.7, 42, 20  # pixels, of text on slides
_TABLE_CHARACTER, _TABLE_LINE, _TABLE_GAP, _ABOVE_TABLE = 12.6, 36, 17, 104
_LARGEST, _FILLED = 1.4, 0.7  # how much larger the type of a slide may get, and how full that slide
_LED_TO = ("formula", "table", "list", "code")
_CONCLUDES = re.compile(r"^So (?!far|much)|[,:] so (?!that|far|much)")
_POINTS_BACK = re.compile(r"^(?:It|Its|This|That|They|These|Such)\b|\bsuch an? ")
_TASK = re.compile(r"On paper|Guess|Before you|Take a pencil|Sketch|Predict|Write down|Rank|Sort\b|Move the")


@dataclass
class Piece:
    """Something that stays together on a slide: its HTML, its height in pixels, and what the speaker says with it."""

    body: str
    height: float
    words: int = 0
    notes: str = ""
    question: bool = False

    @property
    def is_sentence(self) -> bool:
        """Whether it is one paragraph of text and nothing else."""
        return not self.question and bool(re.fullmatch(r"<p>((?!<p>).)*</p>", self.body, re.DOTALL))

    @property
    def leads(self) -> bool:
        """Whether it leads to what comes next."""
        return self.body.endswith(":</p>")


@dataclass
class Text:
    """What stands under one headline, or above the first."""

    heading: Block | None
    blocks: list[Block]


def texts(source: str) -> Iterator[Text]:
    """Yield what stands under each headline of a text, first what stands above all of them."""
    heading, above = None, []
    for block in markdown.blocks(source):
        if block.kind == "heading":
            if heading or above:
                yield Text(heading, above)
            heading, above = block, []
        else:
            above.append(block)
    yield Text(heading, above)


def pieces(blocks: list[Block]) -> Iterator[Piece]:
    """Yield what is shown of some blocks, in order; a block that follows a sentence about it stays with it."""
    led: list[Piece] = []  # the last piece, where the next block belongs to it
    for block, following in zip_longest(blocks, blocks[1:]):
        leads = following is not None and _belongs(block, following)
        shown = list(_paragraph(block.source, leads) if block.kind == "paragraph" else _block(block))
        if led and shown:
            shown[0] = _joined(led.pop(), shown[0])
        if leads and shown and not shown[-1].question:
            led = [shown.pop()]
        yield from shown
    yield from led


def _belongs(block: Block, following: Block) -> bool:
    """Return whether a block belongs to the one above: as what a sentence leads to, or as the end of a sentence."""
    return following.kind in _LED_TO if block.kind == "paragraph" else following.source[0].islower()


def _joined(above: Piece, below: Piece) -> Piece:
    return Piece(
        above.body + below.body,
        above.height + below.height,
        above.words + below.words,
        above.notes + below.notes,
    )


def _paragraph(source: str, leads: bool) -> Iterator[Piece]:
    """Yield what is shown of a paragraph; the notes of its pieces are, together, all of it."""
    parts = markdown.sentences(source)
    asked = next((number for number in range(len(parts)) if _asking(parts[number:])), None)
    if asked is None:
        yield from _statements(parts, leads)
        return
    first = max(asked - 1, 0)  # what stands right above a question is its context
    last = asked + _asking(parts[asked:])
    if first:
        yield from _statements(parts[:first], leads=False)
    context = "".join(f'<p class="context">{markdown.inline(part)}</p>' for part in parts[first:asked])
    task = markdown.inline(" ".join(parts[asked:last]))
    yield Piece(f"{context}<p>{task}</p>", 0, notes=markdown.html(" ".join(parts[first:last])), question=True)
    if last < len(parts):
        yield from _statements(parts[last:], leads)


def _asking(parts: list[str]) -> int:
    """Return how many sentences, from the first on, ask readers for something before they read on, by their italics."""
    spans = markdown.EMPHASIS.findall(parts[0])
    if any("?" in span and len(span.split()) > 1 for span in spans):
        return 1 + (_asking(parts[1:]) if parts[1:] else 0)
    tasks = [span for span in spans if _TASK.match(span)]
    asked = [number for number, part in enumerate(parts, 1) if re.search(r"\?\W*$", part)]
    if tasks and asked:  # "On paper:", and then what
        return asked[-1]
    return int(any(span.endswith(".") for span in tasks))  # "Write down your guess."


def _statements(parts: list[str], leads: bool) -> Iterator[Piece]:
    """Yield the sentences that are shown, a short paragraph in one piece; notes hold the others, too."""
    if _count(" ".join(parts)) <= _SHORT:
        yield _sentence(" ".join(parts), markdown.html(" ".join(parts)))
        return
    if parts[0].endswith("?") or _count(parts[0]) <= _CLIPPED:
        parts = [" ".join(parts[:2]), *parts[2:]]
    shown = {number for number in range(len(parts)) if _is_shown(parts, number, leads)}
    shown |= {number - 1 for number in shown if number and _POINTS_BACK.search(parts[number])}
    order = sorted(shown)
    for number, following in zip(order, [*order[1:], len(parts)], strict=True):
        yield _sentence(parts[number], markdown.html(" ".join(parts[number:following])))


def _is_shown(parts: list[str], number: int, leads: bool) -> bool:
    sentence = parts[number]
    aside = sentence.startswith("(") and sentence.endswith(")")
    says_much = "**" in sentence or sentence.endswith("?") or _CONCLUDES.search(sentence)
    return number == 0 or bool(says_much and not aside) or (leads and number == len(parts) - 1)


def _sentence(text: str, notes: str, frame: str = "<p>{}</p>") -> Piece:
    height = _lines(text, WIDTH / _CHARACTER) * _LINE + _GAP + _tall_inline(text)
    return Piece(frame.format(markdown.inline(text)), height, _count(text), notes)


def _tall_inline(text: str) -> float:
    """Return the pixels that matrices and fractions within a text add to its height."""
    rows = [formula.count(r"\\") for formula in re.findall(r"\$[^$]+\$", text)]
    return 30 * max(rows, default=0) + 16 * text.count(r"\frac")


def _block(block: Block) -> Iterator[Piece]:
    notes = markdown.html(block.source)
    if block.kind == "list":
        yield from _items(block.source, notes)
    elif block.kind == "table":
        yield from _table(block.source)
    elif block.kind == "formula":
        rows = 1 + block.source.count(r"\\")
        tall = 1.7 if re.search(r"\\frac|\\sum|\\prod|\\int|\\under|matrix", block.source) else 1
        yield Piece(notes, rows * 56 * tall + 36, 0, notes)
    elif block.kind == "code":
        yield Piece(notes, 30 * (1 + block.source.count("\n")) + 40, 0, notes)


def _items(source: str, notes: str) -> Iterator[Piece]:
    """Yield a list, in parts that fit a slide; of an item its first sentence is shown."""
    tag, start = ("ol", 1) if source[0].isdigit() else ("ul", 0)
    part, height, words = "", 0, 0
    for number, item in enumerate(markdown.items(source)):
        text = _without_aside(item)
        own = _lines(text, (WIDTH - 50) / _CHARACTER) * _LINE + 14 + _tall_inline(text)
        if part and (height + own > HEIGHT - 120 or words + _count(text) > 2 * _WORDS):
            yield Piece(part + f"</{tag}>", height, _WORDS, notes)
            part, height, words, notes = "", 0, 0, ""
        if not part:
            part = f'<ol start="{start + number}">' if tag == "ol" else "<ul>"
        part += f"<li>{markdown.inline(text)}</li>"
        height, words = height + own, words + _count(text)
    yield Piece(part + f"</{tag}>", height + _GAP, words, notes)


def _without_aside(item: str) -> str:
    parts = markdown.sentences(" ".join(item.split()))
    return parts[0] if _count(item) > _SHORT else " ".join(parts)


def _table(source: str) -> Iterator[Piece]:
    """Yield a table, in parts that fit a slide, each under the head."""
    head, rule, *lines = source.splitlines()
    rows = [[plain(cell) for cell in line.strip().strip("|").split("|")] for line in (head, *lines)]
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    scale = min(1, (WIDTH / _TABLE_CHARACTER - 3 * len(widths)) / sum(widths))
    room = [max(6, int(width * scale)) for width in widths]
    heights = [
        max(-(-len(cell) // own) for cell, own in zip(row, room, strict=False)) * _TABLE_LINE + _TABLE_GAP
        for row in rows
    ]
    part, height = [], heights[0]
    for line, own in zip(lines, heights[1:], strict=True):
        if height + own > HEIGHT - _ABOVE_TABLE:
            yield _rendered([head, rule, *part], height)
            part, height = [], heights[0]
        part, height = [*part, line], height + own
    yield _rendered([head, rule, *part], height)


def _rendered(lines: list[str], height: float) -> Piece:
    table = markdown.html("\n".join(lines))
    return Piece(table, height + _GAP, 0, table)


def _lines(text: str, characters: float) -> int:
    return -(-len(_spoken(text)) // int(characters - 3))


def _spoken(text: str) -> str:
    """Return about as many characters as are seen of a text."""
    return plain(re.sub(r"\\(?:mathrm|mathbf|mathcal|text|left|right|lVert|rVert|begin|end)\b", "", text))


def _count(text: str) -> int:
    """Return the number of words; a formula counts as one."""
    return len(re.sub(r"\$[^$]+\$", "x", text).split())


def pack(found: Iterable[Piece], title: str, kind: str = "text", words: int = _WORDS) -> list[Slide]:
    """Return slides that hold some pieces, as many on one as fit it and can be taken in; a question stands alone."""
    slides: list[Slide] = []
    shown = 0  # words on the slide at the end
    for piece in found:
        last = slides[-1] if slides else None
        if piece.question:
            slides.append(Slide(title, piece.body, "question", piece.notes))
        elif (
            last is None
            or last.kind == "question"
            or last.height + piece.height > HEIGHT
            or shown + piece.words > words
        ):
            slides.append(Slide(title, piece.body, kind, piece.notes, piece.height))
            shown = piece.words
        else:
            last.body += piece.body
            last.notes += piece.notes
            last.height, shown = last.height + piece.height, shown + piece.words
    return [_enlarged(slide) if slide.kind == "text" else slide for slide in slides]


def _enlarged(slide: Slide) -> Slide:
    """Return a slide with little on it in larger type: enlarged by f, text takes f² of the room."""
    factor = min(_LARGEST, (_FILLED * HEIGHT / slide.height) ** 0.5)
    if factor > 1:
        slide.body = f'<div style="font-size:{factor:.2f}em">{slide.body}</div>'
    return slide


def points(source: str) -> list[Piece]:
    """Return every sentence of a text, and its lists, as points of a list, for a recap."""
    found = []
    for block in markdown.blocks(source):
        if block.kind == "paragraph":
            said = markdown.sentences(block.source)
            found += [_sentence(part, markdown.html(part), "<ul><li>{}</li></ul>") for part in said]
        else:
            found += _block(block)
    return found
