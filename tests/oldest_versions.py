"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

python tests/oldest_versions.py > oldest.txt
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def constraints(project: dict) -> list[str]:
    """Return name==version for every requirement of the course and of its tests, from their lower bounds."""
    requirements = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return [re.sub(r"\s*>=\s*", "==", requirement) for requirement in requirements]


if __name__ == "__main__":
    print("\n".join(constraints(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"])))
