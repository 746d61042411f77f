"""What the command lines of this folder share."""

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def run(command: Callable[[], int | None]) -> int:
    """Run a command; return its exit status, 1 with one line on standard error where its input is wrong."""
    try:
        return command() or 0
    except (RuntimeError, ValueError) as error:
        print(f"error: {plain(str(error))}", file=sys.stderr)
        return 1


def check_writable(function: str, argument: str, folder: Path) -> None:
    """Make a folder; raise ValueError, naming function and argument, where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{function}: `{argument}` is in {str(folder)!r}, where nothing can be written ({error.strerror}): "
            "choose a folder of yours"
        ) from error


def plain(text: str) -> str:
    """Return a text without the colours of a terminal."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def inert(value: object) -> object:
    """Return a cell of a table that no spreadsheet takes for a formula, whatever it takes for the end of a cell."""
    return re.sub(r"(^|[;\t\r\n])(?=\s*[=+\-@])", r"\1'", value) if isinstance(value, str) else value
