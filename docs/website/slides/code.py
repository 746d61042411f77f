"""From a cell of code to slides: the code without what only draws, then what it printed, then its figures."""

import ast
import base64
import html
import io
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from nbformat import NotebookNode
from PIL import Image

from coursekit.teaching import commands
from website.slides.highlight import code_block, text_block
from website.slides.slide import HEIGHT, CodeFit, Slide, fit_code, fit_printed

_DRAWING = {"plots", "plt", "ax", "axes", "axis", "fig", "figure"}
_LEFT_OUT = "# … and the figure"
_PRINTED_LINES = 14
_DOCSTRING_WIDTH = 80  # characters
_LARGE, _BETWEEN = 20, 16  # pixels: the smallest type of code that shares a slide, and what lies between them
_SHARES_OF_CODE = (0.45, 0.55, 0.65, 0.75, 0.85)  # of a slide that holds both
_FIGURE_WIDTH, _FIGURE_HEIGHT, _ENLARGED = 1180, 460, 2.4  # pixels, and how many for one of the stored figure
# what `or_solution` says while nothing is attempted
_NOT_ATTEMPTED = re.compile(
    r"^\w+: not attempted\nFrom here on the lesson uses the course's solution\.\n?", re.MULTILINE
)


@dataclass
class Figure:
    """A figure of the stored run: the PNG, its size on a slide, its file and its alternative text."""

    png: bytes
    file: str
    alt: str

    def slide(self, title: str) -> Slide:
        """Return its slide."""
        width, height = Image.open(io.BytesIO(self.png)).size
        scale = min(_FIGURE_WIDTH / width, _FIGURE_HEIGHT / height, _ENLARGED)
        image = (
            f'<img data-src="{self.file}" width="{width * scale:.0f}" height="{height * scale:.0f}" '
            f'alt="{html.escape(self.alt)}">'
        )
        return Slide(title, image, "figure", f"<p>{html.escape(self.alt)}</p>", height * scale + 14)


def figures_of(cell: NotebookNode, alt: str, stem: str) -> list[Figure]:
    """Return the figures that a cell shows; their files are named after the lesson and the cell."""
    shown = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return [
        Figure(base64.b64decode(png), f"{stem}/{cell.id}-{number}.png", alt)
        for number, png in enumerate(shown)
    ]


def code_slides(cell: NotebookNode, figures: list[Figure], title: str, height: float = HEIGHT) -> list[Slide]:
    """Return the slides of a cell: code, then what it printed, one step later, and a slide for each figure.

    On the first, code leaves what is above `height` free.
    """
    code, printed = shown_code(cell), shown_output(cell)
    slides = _together(code, printed, title, height) if code and printed else []
    if not slides:
        slides = [
            Slide(title, code_block(part, fit), "code", "", fit.height)
            for part, fit in fitting_parts(code, height)
        ]
        slides += [
            Slide(title, text_block(part, fit), "output", "", fit.height)
            for part, fit in fitting_parts(printed, HEIGHT, fit_printed)
        ]
    slides += [figure.slide(title) for figure in figures]
    if slides and code != cell.source.strip():
        slides[0].notes += code_block(cell.source)
    return slides


def has_room_above(cell: NotebookNode, figures: list[Figure], height: float) -> bool:
    """Return whether a sentence, so many pixels high, has room above the code or the figure of a cell."""
    code = shown_code(cell)
    if code:
        return _is_large(fit_code(code.splitlines(), HEIGHT - height))
    return not shown_output(cell) and all(
        figure.slide("").height + height <= HEIGHT for figure in figures[:1]
    )


def _together(code: str, printed: str, title: str, height: float) -> list[Slide]:
    """Return a slide with code and, as the next step, what it printed, where both fit in large type."""
    fits = [
        (
            fit_code(code.splitlines(), height * share),
            fit_printed(printed.splitlines(), height * (1 - share) - _BETWEEN),
        )
        for share in _SHARES_OF_CODE
    ]
    large = [(upper, lower) for upper, lower in fits if _is_large(upper) and _is_large(lower)]
    if not large:
        return []
    upper, lower = max(large, key=lambda pair: min(pair[0].size, pair[1].size))
    body = code_block(code, upper) + f'<div class="fragment">{text_block(printed, lower)}</div>'
    return [Slide(title, body, "code", "", upper.height + lower.height + _BETWEEN)]


def _is_large(fit: CodeFit | None) -> bool:
    return fit is not None and fit.size >= _LARGE


def fitting_parts(
    text: str, height: float, fit_lines: Callable[[list[str], float], CodeFit | None] = fit_code
) -> list[tuple[str, CodeFit]]:
    """Return the parts of a text, each with its size on a slide; a cut lies near the middle, at little depth."""
    lines = text.strip("\n").splitlines()
    if not lines:
        return []
    if fit := fit_lines(lines, height):
        return [("\n".join(lines), fit)]
    middle = len(lines) / 2
    cut = min(range(1, len(lines)), key=lambda at: 4 * _depth(lines, at) + abs(at - middle))
    halves = "\n".join(lines[:cut]), "\n".join(lines[cut:])
    return [part for half in halves for part in fitting_parts(half, height, fit_lines)]


def with_filled_docstring(stub: str) -> str:
    """Return the code of an exercise whose docstring has lines as long as fit a slide in type that can be read."""

    def fill(docstring: re.Match) -> str:
        indent, paragraphs = docstring[1], docstring[2].split("\n\n")
        filled = [
            textwrap.fill(
                " ".join(paragraph.split()), _DOCSTRING_WIDTH, initial_indent=indent, subsequent_indent=indent
            )
            for paragraph in paragraphs
        ]
        first = filled[0].removeprefix(indent)
        return (
            f'{indent}"""'
            + "\n\n".join([first, *filled[1:]]).rstrip()
            + ("\n" + indent if len(filled) > 1 else "")
            + '"""'
        )

    return re.sub(
        r'^( +)"""(.*?)\s*"""', fill, re.sub(r"\n{3,}", "\n\n", stub), count=1, flags=re.MULTILINE | re.DOTALL
    )


def _depth(lines: list[str], at: int) -> int:
    """Return how bad it is to cut above a line: not at all after an empty line, else by its indentation."""
    return 0 if not lines[at - 1].strip() else 1 + (len(lines[at]) - len(lines[at].lstrip())) // 4


def shown_code(cell: NotebookNode) -> str:
    """Return the code of a cell without the statements that only draw, and without those that take an answer over.

    Where most of it draws and nothing is printed, there is nothing to show.
    """
    source = cell.source.strip()
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a cell with a magic
        return source
    lines, kept, drawn, end = source.splitlines(), [], 0, 0
    for statement in statements:
        decorators = [one.lineno for one in getattr(statement, "decorator_list", [])]
        first = min([statement.lineno, *decorators]) - 1
        above, own = lines[end:first], lines[first : statement.end_lineno]
        end = statement.end_lineno
        if _draws(statement):
            drawn += len(own)
        elif ".or_solution(" not in "\n".join(own):
            kept += [*above, *own]
    if 2 * drawn >= len(lines) and not shown_output(cell):
        return ""
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip("\n")
    return f"{text}\n{_LEFT_OUT}" if text and drawn else text


def _draws(statement: ast.stmt) -> bool:
    """Return whether a statement handles a figure or its axes: by name, or as the argument of a function."""
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
    return bool(names & _DRAWING)


def shown_output(cell: NotebookNode) -> str:
    """Return what a cell printed, an error as its last line, shortened; not what stands for figures or exercises."""
    texts = [_text_of(output) for output in cell.outputs if "image/png" not in output.get("data", {})]
    printed = _NOT_ATTEMPTED.sub(
        "", commands.plain("".join(text.rstrip("\n") + "\n" for text in texts if text))
    )
    lines = printed.strip("\n").splitlines()
    return "\n".join(lines if len(lines) <= _PRINTED_LINES else [*lines[: _PRINTED_LINES - 1], "…"])


def _text_of(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return output.data.get("text/plain", "")
