"""Lessons on paper: pages of the website, printed by chromium in the style of print.css."""

from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser

from coursekit.teaching.catalogue import Lesson

# formulas are set, and figures, which the page loads as they come into view, are there
_READY = """async () => {
    await window.MathJax?.startup?.promise;  // a page without formulas has no MathJax
    const pictures = [...document.querySelectorAll("img")];
    pictures.forEach((picture) => { picture.loading = "eager"; });
    await Promise.all(pictures.map((picture) => picture.decode()));
    await document.fonts.ready;
}"""


def print_lessons(browser: Browser, site: Path, lessons: list[Lesson], destination: Path) -> Iterator[Path]:
    """Print lessons of the built website in the folder `site`, A4; yield each PDF that was written.

    Raises ValueError where a lesson has no page in that folder.
    """
    page = browser.new_page()
    for lesson in lessons:
        source = site / "lessons" / f"{lesson.stem}.html"
        if not source.exists():
            raise ValueError(f"there is no page {source}: build the website first, make site")
        page.goto(source.resolve().as_uri())
        page.evaluate(_READY)
        destination.mkdir(parents=True, exist_ok=True)
        target = destination / f"{lesson.stem}.pdf"
        page.pdf(path=target, format="A4", print_background=True, tagged=True, outline=True)
        yield target
    page.close()
