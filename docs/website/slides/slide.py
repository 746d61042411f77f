"""What a deck is made of, and how much of it fits: slides are 1280 by 720 pixels, and scaled as a whole."""

from collections.abc import Callable
from dataclasses import dataclass, field

WIDTH, HEIGHT = 1160, 545  # pixels for what stands below a headline
_CODE_SIZES = (
    30,
    28,
    26,
    24,
    22,
    20,
    18,
)  # pixels; below 20 only where lines or their number leave no choice
_CODE_ADVANCE, _CODE_LINE = 0.605, 1.36  # width of a character and height of a line, in the size of the type
_CODE_FRAME = 40  # pixels around code, above and below together
_INDENT = 4  # characters by which the rest of a wrapped line is moved to the right


@dataclass
class Slide:
    """One slide: headline and body in HTML, and what the speaker reads beside it."""

    title: str
    body: str
    kind: str
    notes: str = ""
    height: float = HEIGHT  # pixels of the body
    minutes: int = 0  # of the countdown, on slides of exercises


@dataclass
class Section:
    """Slides that stand below one another in the overview: those of one section of the lesson."""

    title: str
    slides: list[Slide] = field(default_factory=list)


@dataclass
class CodeFit:
    """The size at which code fits, in pixels, and its height."""

    size: int
    height: float


def fit_code(lines: list[str], height: float) -> CodeFit | None:
    """Return the largest size at which lines of code fit, with few of them wrapped; None where none is small enough."""
    return _largest(lines, height, lambda size: _wrapped(lines, size) <= (size <= 24) + 99 * (size <= 20))


def fit_printed(lines: list[str], height: float) -> CodeFit | None:
    """Return the largest size at which printed lines fit, columns unwrapped; None where none is small enough."""
    smallest = 20 if any("  " in line.strip() for line in lines) else 26
    return _largest(lines, height, lambda size: size <= smallest or not _wrapped(lines, size))


def _largest(lines: list[str], height: float, reads_well: Callable[[int], bool]) -> CodeFit | None:
    fits = (_fit(lines, size) for size in _CODE_SIZES if reads_well(size))
    return next((fit for fit in fits if fit.height <= height), None)


def _fit(lines: list[str], size: int) -> CodeFit:
    rows = sum(_rows(line, size) for line in lines)
    return CodeFit(size, rows * size * _CODE_LINE + _CODE_FRAME)


def _columns(size: int) -> int:
    return int((WIDTH - 44) / (size * _CODE_ADVANCE))


def _rows(line: str, size: int) -> int:
    columns, indent = _columns(size), len(line) - len(line.lstrip()) + _INDENT
    rest = len(line) - columns
    # words stay whole, so that a line may end some characters early
    return 1 + (-(-rest // (columns - indent - 8)) if rest > 0 else 0)


def _wrapped(lines: list[str], size: int) -> int:
    return sum(len(line) > _columns(size) for line in lines)
