"""What can be said about the text of a lesson without understanding it: its numbers, and words that are never right."""

import re
from collections.abc import Iterator

from nbformat import NotebookNode

_STORED = "in the stored run"
_NUMBER = re.compile(r"`(-?\d+(?:\.\d+)?)`")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")

# What a lecturer would not say, and what stands there instead
NEVER = {
    r"\bbends?\b": "nonlinearity, activation function",
    r"\bHe's start\b": "He initialization",
    r"\bcommittees?\b": "ensemble",
    r"\bcode numbers?\b": "latent variable, latent dimension",
    r"\blearn(?:s|ed|t|ing)? by heart\b": "memorize, overfit",
    r"\bunit matrix\b": "identity matrix",
    r"\bderivatives? by\b": "derivative with respect to",
    r"\bwhatever stands there\b": "the value",
    r"\b(?:is|are) asked\b(?! for)": "is expected, is asked for",
    r"\b[Ee]xercises answer back\b": "the exercises check themselves",
    r"\bagain a better one\b": "call it again for a stronger one",
    r"\bthe lesson goes on without\b": "to skip an exercise, run its cell unchanged; the lesson carries on",
    r"\bpictures and numbers are others\b": "figures and numbers change",
    r"\bmost used\b": "most widely used",
    r"\bWho expects\b": "Someone who expects",
    r"\bshall (?:mean|tell)\b": "should, will",
    r"\b[Ss]o far as expected\b": "so far, as expected",
    r"\b(?:obviously|trivially|of course)\b": "nothing: say it without",
    r"\b(?:simply|just)\b(?! in time)": "nothing: say it without",
}


def printed(outputs: list[NotebookNode]) -> str:
    """Return all that a code cell printed or showed as text."""
    return "\n".join(
        output.text if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
        for output in outputs
    )


def missing_numbers(notebook: NotebookNode, shown: list[str], *, stored: bool = True) -> list[str]:
    """Return a sentence for every number of the prose, such as `0.985`, that no output above it shows.

    `shown` holds what each code cell printed, in order, in the stored run or in another one, where sentences that say
    "in the stored run" need not hold.
    """
    problems, above, outputs = [], "", iter(shown)
    run = "of the stored run" if stored else "of a run on the sample"
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code":
            above += next(outputs, "") + "\n"
            continue
        problems += [
            f"cell {number}: `{value}` is in no output {run} above it: “{' '.join(sentence.split())[:100]}”. "
            f"Let a cell print the sentence from its values, or say “{_STORED}”"
            for sentence in _SENTENCE_END.split(cell.source)
            if stored or _STORED not in sentence.lower()
            for value in _NUMBER.findall(sentence)
            if not re.search(rf"(?<![\d.]){re.escape(value)}(?!\.?\d)", above)
        ]
    return problems


def never_right(text: str) -> Iterator[str]:
    """Yield a sentence for every phrase of a text that is never right in this course."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for pattern, better in NEVER.items():
        for found in re.finditer(pattern, prose, re.MULTILINE):
            line = prose[: found.start()].rpartition("\n")[2] + prose[found.start() :].partition("\n")[0]
            yield f"“{found[0]}” in “{line.strip()[:100]}”: {better}"
