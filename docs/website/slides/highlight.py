"""Code for slides, in the colours of the website, each line on its own so that a long one wraps with an indent."""

import html

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from website.slides.slide import CodeFit

_STYLE = "a11y-high-contrast-light"  # as in conf.py
_FORMATTER = HtmlFormatter(style=_STYLE, nowrap=True)
_LEXER = get_lexer_by_name("ipython3", stripnl=False)
DEFAULT = CodeFit(22, 0)


def style_sheet() -> str:
    """Return the colours of code as CSS."""
    return _FORMATTER.get_style_defs(".code")


def code_block(code: str, fit: CodeFit = DEFAULT) -> str:
    """Return Python code as HTML, in colour."""
    return _block("code", highlight(code.strip("\n"), _LEXER, _FORMATTER).rstrip("\n"), code, fit)


def text_block(text: str, fit: CodeFit = DEFAULT) -> str:
    """Return what a cell printed as HTML."""
    return _block("printed", html.escape(text.strip("\n")), text, fit)


def _block(kind: str, marked: str, text: str, fit: CodeFit) -> str:
    """Return lines as HTML; `marked` holds those of `text` with marks that end on the line they begin on."""
    plain = text.strip("\n").splitlines()
    lines = zip(marked.split("\n"), plain, strict=True)
    rows = "".join(f'<span class="line" style="--indent:{_indent(line)}">{row}</span>' for row, line in lines)
    return f'<pre class="{kind}" style="--size:{fit.size}px"><code>{rows}</code></pre>'


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
