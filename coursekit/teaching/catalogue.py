"""The catalogue of lessons: which there are, and what each says about itself, read from its notebook.

A lesson is `notebooks/NN_name.ipynb`, `coursekit.exercises.lessonNN` and `tests/exercises/test_lessonNN.py`.
"""

import importlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from coursekit.checks import Exercise
from coursekit.teaching.markdown import last_heading

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"
_PART = re.compile(r"^## Part ([12]) · ", re.MULTILINE)
_PROMPT = re.compile(r"^### Exercise (\d+) · (.+) \((at home, )?(\d+) minutes?\)$", re.MULTILINE)
_WORDS_A_MINUTE = 150
_MINUTES_A_CODE_CELL, _MINUTES_A_FIGURE = 0.5, 1


def lessons(folder: Path | None = None) -> list["Lesson"]:
    """Return the lessons of a folder, by default the course's, in order."""
    return [Lesson(path) for path in sorted((folder or NOTEBOOKS).glob("[0-9][0-9]_*.ipynb"))]


def select(numbers: str) -> list["Lesson"]:
    """Return the lessons named by their numbers, such as "03 09"; all where nothing is named.

    Raises ValueError for a number that no lesson has.
    """
    there = {lesson.path.stem[:2]: lesson for lesson in lessons()}
    asked = numbers.replace(",", " ").split() or list(there)
    unknown = [number for number in asked if number not in there]
    if unknown:
        raise ValueError(f"there is no lesson {' or '.join(unknown)}; there are {', '.join(there)}")
    return [there[number] for number in dict.fromkeys(asked)]


def repository_url() -> str:
    """Return the address of the repository, which pyproject.toml keeps."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"]


def repository_slug() -> str:
    """Return owner/name of the repository."""
    return repository_url().removeprefix("https://github.com/")


def read(path: Path) -> NotebookNode:
    """Return a notebook."""
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step, after it was found valid."""
    nbformat.validate(notebook)
    scratch = path.with_suffix(".tmp")
    nbformat.write(notebook, scratch)
    scratch.replace(path)


@dataclass
class Prompt:
    """An exercise as the notebook states it: number, title, minutes, and the text of the question."""

    name: str
    number: int
    title: str
    minutes: int
    at_home: bool
    text: str


@dataclass
class Section:
    """Cells from one headline of level two to the next; `part` is 1 or 2."""

    title: str
    part: int
    cells: list[NotebookNode] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)

    @property
    def minutes(self) -> float:
        """The minutes it takes in class: words, code cells and figures by the rule, exercises as they say."""
        words = sum(len(cell.source.split()) for cell in self.cells if cell.cell_type == "markdown")
        code = [cell for cell in self.cells if cell.cell_type == "code"]
        figures = sum("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
        exercises = sum(prompt.minutes for prompt in self.prompts if not prompt.at_home)
        by_rule = words / _WORDS_A_MINUTE + len(code) * _MINUTES_A_CODE_CELL + figures * _MINUTES_A_FIGURE
        return by_rule + exercises


class Lesson:
    """A lesson, read from its notebook."""

    def __init__(self, path: Path) -> None:
        self.path, self.stem = path, path.stem
        self.notebook: NotebookNode = read(path)

    @cached_property
    def number(self) -> int:
        """The number in front of its name; of a file with another name, that of the exercises it imports."""
        code = "\n".join(cell.source for cell in self.notebook.cells if cell.cell_type == "code")
        found = re.match(r"\d\d(?=_)", self.stem) or re.search(
            r"(?<=coursekit\.exercises import lesson)\d\d", code
        )
        if not found:
            raise ValueError(
                f"{self.path.name} is no lesson: neither does its name begin with a number, as in 03_dnn_mnist.ipynb, "
                "nor does a cell import the exercises of one"
            )
        return int(found[0])

    @property
    def module(self) -> str:
        """The name of the module of its exercises."""
        return f"coursekit.exercises.lesson{self.number:02}"

    @cached_property
    def exercises(self) -> dict[str, Exercise]:
        """Its exercises by name. Raises ValueError where there is no module of them."""
        try:
            return importlib.import_module(self.module).lesson.exercises
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{self.path.name} has no exercises: there is no module {self.module}"
            ) from error

    @property
    def opening(self) -> str:
        """The text of the first cell."""
        return self.notebook.cells[0].source

    @property
    def title(self) -> str:
        """The title without its number."""
        return re.match(r"# \d+ · (.+)", self.opening)[1]

    @property
    def goals(self) -> list[str]:
        """What one can do afterwards, a line each."""
        return [line[2:] for line in self.opening.splitlines() if line.startswith("- ")]

    @property
    def needs(self) -> list[int]:
        """The numbers of the lessons that it builds on."""
        return self._named_as_needed(0)

    @property
    def helped_by(self) -> list[int]:
        """The numbers of the lessons that it needs not, but that help."""
        return self._named_as_needed(1)

    def _named_as_needed(self, clause: int) -> list[int]:
        """Return the lessons named in a clause of "**You need** lesson 5; lessons 8 and 9 help."."""
        said = re.search(r"\*\*You need\*\* ([^.]+)", self.opening)
        clauses = said[1].split(";") if said else []
        return [int(number) for number in re.findall(r"\d+", "".join(clauses[clause : clause + 1]))]

    @property
    def seconds(self) -> dict[str, int]:
        """The measured seconds of a run on the sample and on the full data, and of Part 1 on the sample.

        Raises ValueError for a lesson that was never recorded, or lost its metadata in another tool.
        """
        if "coursekit" not in self.notebook.metadata:
            raise ValueError(
                f"{self.path.name} says nothing of its run times: record it with `make notebooks`"
            )
        return self.notebook.metadata.coursekit.seconds

    @property
    def question(self) -> str:
        """The first paragraph below "The question"."""
        return self._below("## The question").split("\n\n")[1]

    @property
    def cover(self) -> Path:
        """The figure that stands for the lesson."""
        return self.path.parents[1] / "docs" / "covers" / f"{self.stem}.png"

    @property
    def cover_alt(self) -> str:
        """The headline of the section that the cover comes from."""
        heading = ""
        for cell in self.notebook.cells:
            if "cover" in cell.metadata.get("tags", []):
                return f"A figure from the lesson, section “{heading}”"
            heading = last_heading(cell) or heading
        raise ValueError(f"{self.path.name} has no cell tagged `cover`")

    @property
    def colab(self) -> str:
        """The address that opens the lesson in Colab."""
        return f"https://colab.research.google.com/github/{repository_slug()}/blob/main/notebooks/{self.path.name}"

    @cached_property
    def headlines(self) -> list[str]:
        """All headlines, in order."""
        texts = [cell.source for cell in self.notebook.cells if cell.cell_type == "markdown"]
        return re.findall(r"^#+ (.+)$", "\n".join(texts), re.MULTILINE)

    @property
    def prompts(self) -> list[Prompt]:
        """All exercises, in order."""
        return [prompt for section in self.sections for prompt in section.prompts]

    @cached_property
    def sections(self) -> list[Section]:
        """The opening, then a section for every cell with a headline of level two."""
        sections, before = [Section("Opening", part=1)], None
        for cell, part in self.cells_with_parts():
            if cell.cell_type == "markdown":
                titles = re.findall(r"^## (.+)$", cell.source, re.MULTILINE)
                if titles:  # a section may begin in the cell that begins its part
                    own = [title for title in titles if not title.startswith("Part ")] or titles
                    sections.append(Section(", ".join(own), part))
            sections[-1].cells.append(cell)
            if name := cell.metadata.get("exercise"):
                sections[-1].prompts.append(self._prompt(name, before))
            before = cell
        return sections

    @property
    def has_parts(self) -> bool:
        """Whether it is divided into Part 1, in class, and Part 2, at home."""
        return any(part == 2 for _, part in self.cells_with_parts())

    @property
    def class_minutes(self) -> int:
        """The minutes of Part 1 by the rule; of the whole lesson where it has no parts."""
        return round(sum(section.minutes for section in self.sections if section.part == 1))

    def cells_with_parts(self) -> Iterator[tuple[NotebookNode, int]]:
        """Yield every cell with the number of its part, 1 for all before the headline of Part 2."""
        part = 1
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown":
                part = max([part, *map(int, _PART.findall(cell.source))])
            yield cell, part

    def _prompt(self, name: str, cell: NotebookNode | None) -> Prompt:
        heading = _PROMPT.search(cell.source if cell else "")
        if not heading:
            raise ValueError(
                f"{self.path.name}: above the cell of exercise {name!r} stands no headline of the form "
                "'### Exercise 2 · Title (5 minutes)' or '… (at home, 15 minutes)'"
            )
        text = cell.source[heading.end() :].strip()
        return Prompt(name, int(heading[1]), heading[2], int(heading[4]), bool(heading[3]), text)

    def _below(self, heading: str) -> str:
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown" and cell.source.startswith(heading):
                return cell.source
        raise ValueError(f"{self.path.name} has no cell that starts with {heading!r}")
