"""Point badges, setup cells and the project's address at another repository.

python -m coursekit.teaching.link OWNER/NAME
"""

import argparse
import re
import sys

from coursekit.teaching import catalogue, commands
from coursekit.teaching.stamps import is_current, with_stamp


def link(slug: str) -> None:
    """Point badges, setup cells and the project's address at the repository `slug`, owner/name."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", slug):
        raise ValueError(f"link: `slug` must be owner/name as on GitHub, not {slug!r}")
    before = catalogue.repository_slug()
    lessons = catalogue.lessons()
    current = [lesson.path for lesson in lessons if is_current(lesson.notebook)]
    pages = [catalogue.REPOSITORY / name for name in ("pyproject.toml", "README.md", "CITATION.cff")]
    for path in [*pages, *(lesson.path for lesson in lessons)]:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(before, slug), encoding="utf-8")
        print(f"{path.name}: {text.count(before)} addresses")
    # the setup cell is code, so a stamp that was true has to follow; a stale one stays stale
    for path in current:
        catalogue.write(with_stamp(catalogue.read(path)), path)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.teaching.link", description=__doc__.split("\n")[0]
    )
    parser.add_argument("slug", metavar="OWNER/NAME")
    options = parser.parse_args(arguments)
    return commands.run(lambda: link(options.slug))


if __name__ == "__main__":
    sys.exit(main())
