"""Markdown of the lessons for slides: rendered, taken apart into blocks, and into sentences."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

from website.slides.highlight import code_block

EMPHASIS = re.compile(r"(?<![*\w])\*(?![*\s])((?:[^*]|\*\*[^*]+\*\*)+)\*(?!\*)")
_SPAN = re.compile(rf"`[^`]+`|\$[^$]+\$|\*\*[^*]+\*\*|{EMPHASIS.pattern}|\[[^\]]*\]\([^)]*\)|\([^()]*\)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[*)\"”]*(\s+)(?=[\"“(]?[A-ZΑ-Ω0-9])")
_ABBREVIATIONS = ("al.", "e.g.", "i.e.", "vs.", "cf.")
_KINDS = {
    "heading_open": "heading",
    "paragraph_open": "paragraph",
    "math_block": "formula",
    "table_open": "table",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "fence": "code",
    "code_block": "code",
}


@dataclass
class Block:
    """A paragraph, formula, table, list, headline or piece of code, with its source."""

    kind: str
    source: str
    level: int = 0  # of a headline


def _formula(self: object, tokens: list[Token], at: int, *_: object) -> str:
    left, right = (r"\[", r"\]") if tokens[at].type == "math_block" else (r"\(", r"\)")
    tag = "div" if tokens[at].type == "math_block" else "span"
    return f'<{tag} class="math">{left}{escapeHtml(tokens[at].content.strip())}{right}</{tag}>'


def _fence(self: object, tokens: list[Token], at: int, *_: object) -> str:
    return code_block(tokens[at].content)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin)
    for name in ("math_inline", "math_block"):
        parser.add_render_rule(name, _formula)
    for name in ("fence", "code_block"):
        parser.add_render_rule(name, _fence)
    return parser


_PARSER = _parser()


def html(markdown: str) -> str:
    """Return Markdown as HTML, its formulas in the marks of MathJax."""
    return _PARSER.render(markdown)


def inline(markdown: str) -> str:
    """Return one line of Markdown as HTML without a paragraph around it."""
    return _PARSER.renderInline(markdown)


def blocks(markdown: str) -> Iterator[Block]:
    """Yield the blocks of a text in order; what is neither text, formula, table, list nor code is left out."""
    lines = markdown.splitlines()
    for token in _PARSER.parse(markdown):
        if token.level == 0 and token.map and token.type in _KINDS:
            source = "\n".join(lines[slice(*token.map)]).strip()
            if token.type == "heading_open":
                mark, source = source.split(" ", 1)
                yield Block("heading", source, len(mark))
            else:
                yield Block(_KINDS[token.type], source)


def items(listing: str) -> list[str]:
    """Return the items of a list without their marks."""
    return [item for item in re.split(r"(?:^|\n)(?:[-*]|\d+\.) +", listing) if item]


def sentences(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph; a full stop inside of code, formulas, emphasis or parentheses ends none."""
    masked, found, start = _SPAN.sub(_mask, paragraph), [], 0
    for end in _SENTENCE_END.finditer(masked):
        if not masked[start : end.start()].endswith(_ABBREVIATIONS):
            found.append(paragraph[start : end.start(1)])
            start = end.end(1)
    return [*found, paragraph[start:]]


def _mask(span: re.Match) -> str:
    """Return a span as letters, which keep the mark that ends a sentence where one stands before its closing marks."""
    text = span[0]
    inner = text.rstrip("*)")
    closing = "*" * (len(text) - len(inner))
    last = inner[-1] if closing and inner[-1] in ".!?" else "x"
    return "X" + "x" * (len(inner) - 2) + last + closing
