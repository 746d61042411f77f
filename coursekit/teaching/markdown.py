"""Markdown of the lessons as text."""

import re

from nbformat import NotebookNode

_SPOKEN = {
    r"\dagger": "†",
    r"\top": "ᵀ",
    r"\cdot": "·",
    r"\le": "≤",
    r"\ge": "≥",
    r"\times": "×",
    r"\sqrt": "√",
    r"\alpha": "α",
    r"\beta": "β",
    r"\gamma": "γ",
    r"\epsilon": "ε",
    r"\varepsilon": "ε",
    r"\theta": "θ",
    r"\kappa": "κ",
    r"\lambda": "λ",
    r"\mu": "μ",
    r"\pi": "π",
    r"\sigma": "σ",
    r"\tau": "τ",
    r"\eta": "η",
}


def last_heading(cell: NotebookNode) -> str:
    """Return the last heading of a markdown cell without its marks, or ""."""
    if cell.cell_type != "markdown":
        return ""
    headings = re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE)
    return plain(headings[-1]) if headings else ""


def plain(markdown: str) -> str:
    """Return a line of markdown as text: no emphasis, no code marks, formulas by their names."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"\$+([^$]*)\$+", lambda formula: _spoken(formula[1]), text)
    return " ".join(re.sub(r"\*\*|(?<!\w)\*|\*(?!\w)|`", "", text).split())


def _spoken(formula: str) -> str:
    text = re.sub(r"\\[a-zA-Z]+", lambda command: _SPOKEN.get(command[0], " "), formula)
    return re.sub(r"[{}\\]", "", text)
