"""Make a virtual environment with what Colab preinstalls: python -m tests.colab.environment FOLDER."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

COLAB_PYTHON = (3, 13)
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_TELL = "import sys; print(sys.executable, *sys.version_info[:2])"


def pythons() -> dict[tuple[int, int], str]:
    """Return the interpreters of this machine, by version: this one, those on the path, pyenv's."""
    found = {sys.version_info[:2]: sys.executable}
    for candidate in _candidates():
        told = subprocess.run([candidate, "-c", _TELL], capture_output=True, text=True, encoding="utf-8")
        if told.returncode == 0:  # pyenv puts names on the path that fail until a version is chosen
            executable, major, minor = told.stdout.rsplit(maxsplit=2)
            found.setdefault((int(major), int(minor)), executable)
    return found


def _candidates() -> Iterator[str]:
    for minor in range(11, COLAB_PYTHON[1] + 1):
        if on_path := shutil.which(f"python3.{minor}"):
            yield on_path
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    yield from map(str, sorted(root.glob("versions/3.1[1-9]*/bin/python")))


def make(folder: Path) -> None:
    """Make the environment in `folder`, anew if there is one, and say which Python it is of."""
    at_hand = {number: path for number, path in pythons().items() if number <= COLAB_PYTHON}
    version = max(at_hand, default=sys.version_info[:2])
    missing = "" if version == COLAB_PYTHON else "; Colab's 3.13 is not at hand"
    print(f"Colab's packages go to {folder}, on Python {version[0]}.{version[1]}{missing}")
    python = at_hand.get(version, sys.executable)
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
    subprocess.run([folder / "bin" / "python", *install], check=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
