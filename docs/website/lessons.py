"""What a lesson says about itself: title, goals, minutes, sections and exercises, read from its notebook."""

import re
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode

REPOSITORY = Path(__file__).parents[2]
_AFTERWARDS = {"Your exercises", "Next"}  # headlines that take no time of their own


@dataclass
class Prompt:
    """An exercise as the notebook asks it: number, title, minutes, and the text of the question."""

    name: str
    number: int
    title: str
    minutes: int
    at_home: bool
    text: str


@dataclass
class Section:
    """A numbered section: its title, the words of its prose, its exercises."""

    title: str
    words: int = 0
    prompts: list[Prompt] = field(default_factory=list)

    @property
    def minutes_of_exercises(self) -> int:
        """The minutes of those exercises that are done in class."""
        return sum(prompt.minutes for prompt in self.prompts if not prompt.at_home)


class Lesson:
    """A lesson, read from its notebook."""

    def __init__(self, path: Path) -> None:
        self.path, self.stem, self.number = path, path.stem, int(path.stem[:2])
        self.notebook: NotebookNode = nbformat.read(path, as_version=4)
        self.opening = self.notebook.cells[0].source

    @property
    def title(self) -> str:
        """The title without its number."""
        return re.match(r"# \d+ · (.+)", self.opening)[1]

    @property
    def goals(self) -> list[str]:
        """What one can do afterwards, a line each."""
        return [line[2:] for line in self.opening.splitlines() if line.startswith("- ")]

    @property
    def minutes(self) -> int:
        """The minutes that the lesson takes in class."""
        return int(re.search(r"\*\*Time\*\* (\d+) minutes", self.opening)[1])

    @property
    def seconds(self) -> dict[str, int]:
        """The measured seconds of a run on the sample and on the full data."""
        return self.notebook.metadata.coursekit.seconds

    @property
    def question(self) -> str:
        """The first paragraph below "The question"."""
        return self._below("## The question").split("\n\n")[1]

    @property
    def cover(self) -> Path:
        """The picture that stands for the lesson."""
        return self.path.parents[1] / "docs" / "covers" / f"{self.stem}.png"

    @property
    def cover_alt(self) -> str:
        """The title and the headline of the section that the cover comes from."""
        heading = ""
        for cell in self.notebook.cells:
            if "cover" in cell.metadata.get("tags", []):
                return f"A figure from the lesson, section “{heading}”"
            heading = last_heading(cell) or heading
        raise ValueError(f"{self.path.name} has no cell tagged `cover`")

    @property
    def colab(self) -> str:
        """The address that opens the lesson in Colab."""
        slug = repository_url().removeprefix("https://github.com/")
        return f"https://colab.research.google.com/github/{slug}/blob/main/notebooks/{self.path.name}"

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
        """The sections, the opening question first."""
        sections = []
        for before, cell in zip([None, *self.notebook.cells], self.notebook.cells, strict=False):
            if cell.cell_type == "markdown":
                for title in re.findall(r"^## (.+)$", cell.source, re.MULTILINE):
                    if title not in _AFTERWARDS:
                        sections.append(Section(title))
                if sections:
                    sections[-1].words += len(cell.source.split())
            elif name := cell.metadata.get("exercise"):
                sections[-1].prompts.append(_prompt(name, before.source))
        return sections

    def planned_minutes(self) -> list[int]:
        """Return the minutes for every section, which add up to those of the lesson.

        The exercises done in class have theirs; what is left goes to the sections by the length of their prose.
        """
        exercises = [section.minutes_of_exercises for section in self.sections]
        left, words = self.minutes - sum(exercises), sum(section.words for section in self.sections)
        shares = [left * section.words / words for section in self.sections]
        whole = [int(share) for share in shares]
        by_remainder = sorted(range(len(shares)), key=lambda index: whole[index] - shares[index])
        for index in by_remainder[: left - sum(whole)]:
            whole[index] += 1
        return [talk + work for talk, work in zip(whole, exercises, strict=True)]

    def _below(self, heading: str) -> str:
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown" and cell.source.startswith(heading):
                return cell.source
        raise ValueError(f"{self.path.name} has no cell that starts with {heading!r}")


def read_lessons(folder: Path) -> list[Lesson]:
    """Return the lessons of a folder, in order."""
    return [Lesson(path) for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))]


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


def repository_url() -> str:
    """Return the address of the repository, which pyproject.toml keeps."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"]


def _prompt(name: str, source: str) -> Prompt:
    heading = re.search(r"^### Exercise (\d+) · (.+) \((at home, )?(\d+) minutes?\)$", source, re.MULTILINE)
    text = source[heading.end() :].strip()
    return Prompt(name, int(heading[1]), heading[2], int(heading[4]), bool(heading[3]), text)


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


def _spoken(formula: str) -> str:
    text = re.sub(r"\\[a-zA-Z]+", lambda command: _SPOKEN.get(command[0], " "), formula)
    return re.sub(r"[{}\\]", "", text)
