"""The links and file names in everything people read here.

python -m tests.dead_links          list the external links, each with the places where it stands
python -m tests.dead_links --try    open each of them; list those out of reach, and exit with 1 if there are any
"""

import os
import re
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from coursekit.teaching import catalogue

ROOT = catalogue.REPOSITORY
_FENCED = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\]\(\s*<?([^\s)>]+)>?[^)]*\)|<(https?://[^>\s]+)>|\b(?:href|src)=[\"']([^\"']+)[\"']")


def documents() -> dict[str, str]:
    """Return the Markdown of every page and every lesson, by path."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("data/*.md")]
    found = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(pages)}
    for lesson in catalogue.lessons():
        texts = [cell.source for cell in lesson.notebook.cells if cell.cell_type == "markdown"]
        found[lesson.path.relative_to(ROOT).as_posix()] = "\n\n".join(texts)
    return found


def links(text: str) -> list[str]:
    """Return the targets of a page's links and pictures, in order; what stands in code is no link."""
    prose = _SPAN.sub("", _FENCED.sub("", text))
    return [next(filter(None, found)) for found in _LINK.findall(prose)]


def code(text: str) -> list[str]:
    """Return what a page sets as code: the insides of spans and of fenced blocks."""
    fenced = ["\n".join(block[0].splitlines()[1:-1]) for block in _FENCED.finditer(text)]
    return fenced + [span[2] for span in _SPAN.finditer(_FENCED.sub("", text))]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = defaultdict(int)
    names = set()
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", _FENCED.sub("", text), re.MULTILINE):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)  # of a link, its text
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return names


def inside(link: str, page: str) -> tuple[str, str] | None:
    """Return path and anchor of a link into this repository that stands on `page`; None for an external one.

    Addresses of this repository's files on GitHub and in Colab lead here, too. In the pages of the website a path
    from the root starts in docs/.
    """
    slug = re.escape(catalogue.repository_slug())
    own = rf"https://(?:github\.com|colab\.research\.google\.com/github)/{slug}/(?:blob|tree|raw)/main/"
    path, _, anchor = link.partition("#")
    if re.match(own, path):
        return re.sub(own, "", path), anchor
    if re.match(r"[a-z]+:", path):
        return None
    if path.startswith("/"):
        target = ROOT / "docs" / path.lstrip("/")
    else:
        target = (ROOT / page).parent / path if path else ROOT / page
    return Path(os.path.relpath(target, ROOT)).as_posix(), anchor


def external() -> dict[str, list[str]]:
    """Return the external links, each with the pages it stands on."""
    found: dict[str, list[str]] = defaultdict(list)
    for page, text in documents().items():
        for link in links(text):
            if inside(link, page) is None and page not in found[link]:
                found[link].append(page)
    return dict(sorted(found.items()))


def trouble(link: str) -> str:
    """Return what goes wrong when a link is opened, or ""."""
    request = urllib.request.Request(link, headers={"User-Agent": "Mozilla/5.0 (link check of a course)"})
    try:
        urllib.request.urlopen(request, timeout=20).close()
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _lines(tried: bool) -> Iterator[str]:
    for link, pages in external().items():
        problem = trouble(link) if tried else ""
        if problem or not tried:
            yield f"{link}  {problem}  in {', '.join(pages)}".replace("    ", "  ")


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    tried = arguments == ["--try"]
    lines = list(_lines(tried))
    print("\n".join(lines) or "All external links were reached.")
    return int(tried and bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
