"""From a cell of code to slides: the code without what only draws, then what it printed, then its figures."""

import ast
import base64
import html
import io
import re
from dataclasses import dataclass

from nbformat import NotebookNode
from PIL import Image
from website.slides.highlight import code_block, text_block
from website.slides.slide import HEIGHT, CodeFit, Slide, fit_code

from coursekit.teaching import commands

_KEPT_WHOLE = 5  # lines of a cell whose drawing is not left out
_DRAWING = {"plt", "ax", "axes", "axis", "fig", "figure"}
_LEFT_OUT = "# … and the figure"
_PRINTED_LINES = 14
_LARGE, _BETWEEN = 20, 16  # pixels: the smallest type of code above its output, and what lies between them
_ROOM_OF_CODE = (0.62, 0.75, 0.45)  # of a slide that holds both
_FIGURE_WIDTH, _FIGURE_HEIGHT, _ENLARGED = 1180, 510, 2.4  # pixels, and how many for one of the stored figure
# what `or_solution` says while nothing is attempted
_NOT_ATTEMPTED = re.compile(r"^\w+: not attempted\nFrom here on the lesson uses the course's solution\.\n?", re.MULTILINE)


@dataclass
class Figure:
    """A figure of the stored run: the PNG, its size on a slide, its file and its alternative text."""

    png: bytes
    file: str
    alt: str

    def tag(self) -> str:
        """Return it as HTML."""
        width, height = Image.open(io.BytesIO(self.png)).size
        scale = min(_FIGURE_WIDTH / width, _FIGURE_HEIGHT / height, _ENLARGED)
        return (
            f'<img data-src="{self.file}" width="{width * scale:.0f}" height="{height * scale:.0f}" '
            f'alt="{html.escape(self.alt)}">'
        )


def figures_of(cell: NotebookNode, alt: str, stem: str) -> list[Figure]:
    """Return the figures that a cell shows; their files are named after the lesson and the cell."""
    shown = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return [
        Figure(base64.b64decode(png), f"{stem}/{cell.id}-{number}.png", alt) for number, png in enumerate(shown)
    ]


def code_slides(cell: NotebookNode, figures: list[Figure], title: str) -> list[Slide]:
    """Return the slides of a cell: code, then what it printed, one step later, and a slide for each figure."""
    code, printed = shown_code(cell.source), shown_output(cell)
    if code and printed and (both := _together(code, printed)):
        slides = [Slide(title, both, "code")]
    else:
        slides = [Slide(title, code_block(part, fit), "code") for part, fit in fitting_parts(code)]
        slides += [Slide(title, text_block(part, fit), "output") for part, fit in fitting_parts(printed)]
    slides += [Slide(title, figure.tag(), "figure", f"<p>{html.escape(figure.alt)}</p>") for figure in figures]
    if slides and code != cell.source.strip():
        slides[0].notes += code_block(cell.source)
    return slides


def _together(code: str, printed: str) -> str | None:
    """Return code, and below it what it printed as the next step, where both fit one slide in large type."""
    for room in _ROOM_OF_CODE:
        upper = fit_code(code.splitlines(), HEIGHT * room)
        lower = fit_code(printed.splitlines(), HEIGHT * (1 - room) - _BETWEEN)
        if upper and lower and min(upper.size, lower.size) >= _LARGE:
            return code_block(code, upper) + f'<div class="fragment">{text_block(printed, lower)}</div>'
    return None


def fitting_parts(text: str) -> list[tuple[str, CodeFit]]:
    """Return the parts of a text, each with its size on a slide: cut where the indentation is least, near the middle."""
    lines = text.strip("\n").splitlines()
    if not lines:
        return []
    if fit := fit_code(lines, HEIGHT):
        return [("\n".join(lines), fit)]
    middle = len(lines) / 2
    cut = min(range(1, len(lines)), key=lambda at: (4 * _depth(lines, at) + abs(at - middle)))
    return fitting_parts("\n".join(lines[:cut])) + fitting_parts("\n".join(lines[cut:]))


def _depth(lines: list[str], at: int) -> int:
    """Return how bad it is to cut above a line: not at all after an empty line, else by its indentation."""
    return 0 if not lines[at - 1].strip() else 1 + (len(lines[at]) - len(lines[at].lstrip())) // 4


def shown_code(source: str) -> str:
    """Return the code of a cell without the statements that only draw, where there is more to it than a few lines."""
    lines = source.strip().splitlines()
    try:
        statements = ast.parse(source.strip()).body
    except SyntaxError:  # a cell with a magic
        return source.strip()
    if len(lines) <= _KEPT_WHOLE:
        return "\n".join(lines)
    parts, end = [], 0
    for statement in statements:
        decorators = [one.lineno for one in getattr(statement, "decorator_list", [])]
        first = min([statement.lineno, *decorators]) - 1
        above, own = lines[end:first], lines[first : statement.end_lineno]
        end = statement.end_lineno
        if not _draws(statement):
            parts += [*above, *own]
        elif not parts or parts[-1] != _LEFT_OUT:
            parts += [*(above if not "".join(above).strip() else []), _LEFT_OUT]
    parts += lines[end:]
    return "" if not set(parts) - {_LEFT_OUT, ""} else "\n".join(parts).strip("\n")


def _draws(statement: ast.stmt) -> bool:
    """Return whether a statement handles a figure or its axes: by name, or as the argument of a function."""
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
    return bool(names & _DRAWING)


def shown_output(cell: NotebookNode) -> str:
    """Return what a cell printed, an error as its last line, shortened; not what stands for figures or exercises."""
    texts = [_text_of(output) for output in cell.outputs if "image/png" not in output.get("data", {})]
    printed = _NOT_ATTEMPTED.sub("", commands.plain("".join(text.rstrip("\n") + "\n" for text in texts if text)))
    lines = printed.strip("\n").splitlines()
    return "\n".join(lines if len(lines) <= _PRINTED_LINES else [*lines[: _PRINTED_LINES - 1], "…"])


def _text_of(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return output.data.get("text/plain", "")
