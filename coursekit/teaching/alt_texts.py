"""Words for the figures of the lessons, for readers who do not see them.

A figure is described by what is known about it without looking: the headline it stands under, the titles and labels
of its axes as the code sets them, and the sentence of the lesson that says what it shows.
"""

import ast
import re

from nbformat import NotebookNode

from coursekit.teaching.markdown import last_heading, plain

_LABELS = {"title", "xlabel", "ylabel", "label"}
_LONGEST = 300  # characters


def describe_figures(notebook: NotebookNode) -> dict[str, str]:
    """Return an alternative text for every code cell that shows a picture, by the cell's id."""
    texts, heading = {}, ""
    for number, cell in enumerate(notebook.cells):
        heading = last_heading(cell) or heading
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            texts[cell.id] = _description(heading, labels(cell.source), _said_about(notebook.cells, number))
    return texts


def labels(code: str) -> list[str]:
    """Return the titles and labels of axes that a cell sets as plain strings, each once, in order."""
    found = []
    try:
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    except SyntaxError:  # a cell with a magic
        return []
    for call in calls:
        name = getattr(call.func, "attr", "").removeprefix("set_")
        values = call.args[:1] if name in _LABELS else []
        values += [keyword.value for keyword in call.keywords if keyword.arg in _LABELS]
        found += [value.value for value in values if isinstance(value, ast.Constant) and value.value]
    return list(dict.fromkeys(plain(text.replace("\n", " ")) for text in found if isinstance(text, str)))


def _description(heading: str, shown: list[str], said: str) -> str:
    parts = [f"Figure in “{heading}”"]
    if shown:
        parts.append("with " + ", ".join(shown))
    text = " ".join(parts) + f". {said}"
    return text if len(text) <= _LONGEST else text[:_LONGEST].rsplit(" ", 1)[0] + " …"


def _said_about(cells: list[NotebookNode], number: int) -> str:
    """Return the first sentences below a figure, or if a new section starts there, the last ones above."""
    below = cells[number + 1] if number + 1 < len(cells) else None
    if below is not None and below.cell_type == "markdown" and not below.source.startswith("#"):
        return " ".join(_sentences(below.source)[:2])
    for cell in reversed(cells[:number]):
        if cell.cell_type == "markdown":
            return " ".join(_sentences(cell.source)[-2:])
    return ""


def _sentences(markdown: str) -> list[str]:
    paragraphs = [text for text in markdown.split("\n\n") if not re.match(r"\||#|\$\$|\s*[-\d]", text)]
    return re.split(r"(?<=[.!?]) +(?=[A-Z])", plain(" ".join(paragraphs)))
