"""The slides as a lecturer meets them: from a disk, on a projector, with keys; and that nothing is cut off."""

import sys

import pytest
from axe_playwright_python.sync_playwright import Axe

from coursekit.teaching import catalogue

DOCS = catalogue.REPOSITORY / "docs"
sys.path.insert(0, str(DOCS))

from website import slides  # noqa: E402

LESSONS = catalogue.lessons()
PROJECTORS = [(1280, 720), (1920, 1080)]
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
SMALLEST, SMALLEST_CODE = 24, 18  # pixels at 1280 by 720

SHOW = """number => {
    const slide = Reveal.getSlides().filter((one) => !one.querySelector(":scope > section"))[number];
    const { h, v } = Reveal.getIndices(slide);
    Reveal.slide(h, v, 99);
}"""
COUNT = "() => Reveal.getTotalSlides()"
# How far something reaches into the margins of each slide: 20 pixels at the sides and 30 below belong to nobody.
OVERFLOWS = """() => Reveal.getSlides().filter((one) => !one.querySelector(":scope > section")).map((slide, number) => {
    const { h, v } = Reveal.getIndices(slide);
    Reveal.slide(h, v, 99);
    const frame = slide.getBoundingClientRect(), scale = frame.width / 1280;
    let across = 0, below = 0;
    slide.querySelectorAll(".body, .body *, .head *, :scope > h1, :scope > h2").forEach((part) => {
        if (part.closest("mjx-container") && part.tagName !== "MJX-CONTAINER") return;
        const box = part.getBoundingClientRect();
        across = Math.max(across, (box.right - frame.right) / scale + 20, (frame.left - box.left) / scale + 20);
        below = Math.max(below, (box.bottom - frame.bottom) / scale + 30);
    });
    const title = slide.querySelector("h1, h2").textContent;
    return { number: number + 1, title, across: Math.round(across), below: Math.round(below) };
}).filter((one) => one.across > 0 || one.below > 0)"""
TOO_SMALL = """([smallest, smallestCode]) => {
    const walker = document.createTreeWalker(document.querySelector(".slides"), NodeFilter.SHOW_TEXT);
    const found = new Set();
    while (walker.nextNode()) {
        const parent = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || parent.closest(".notes, mjx-container")) continue;
        const size = parseFloat(getComputedStyle(parent).fontSize);
        if (size < (parent.closest("code") ? smallestCode : smallest)) found.add(`${size}: ${walker.currentNode.data}`);
    }
    return [...found];
}"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    """A folder with all decks, as `make slides` builds them."""
    folder = tmp_path_factory.mktemp("slides")
    slides.write_decks(LESSONS, folder)
    slides.copy_static(DOCS, folder)
    return folder


@pytest.fixture
def show(browser, decks):
    """Open a page of the decks from the disk; collect requests and errors."""
    contexts = []

    def open_page(name: str, **settings):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 720}} | settings))
        contexts.append(context)
        page = context.new_page()
        page.requested, page.errors = [], []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("requestfailed", lambda request: page.errors.append(f"failed: {request.url}"))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto((decks / name).as_uri())
        if name != "index.html":
            page.wait_for_function("window.slidesReady === true")
        return page

    yield open_page
    for context in contexts:
        context.close()


def go_to(page, kind: str) -> None:
    """Show the first slide of a kind, with all its steps."""
    number = page.evaluate(
        """kind => Reveal.getSlides().filter((one) => !one.querySelector(":scope > section"))
            .findIndex((one) => one.classList.contains(`slide--${kind}`))""",
        kind,
    )
    page.evaluate(SHOW, number)
    page.wait_for_timeout(300)  # steps fade in


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_nothing_is_cut_off_on_a_projector(lesson, show):
    page = show(f"{lesson.stem}.html")
    found = []
    for width, height in PROJECTORS:
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("Reveal.layout()")
        found += [
            f"{lesson.stem}, slide {one['number']} “{one['title']}”: {one['across']} pixels too wide, {one['below']} "
            f"too high at {width}×{height}"
            for one in page.evaluate(OVERFLOWS)
        ]
    assert not found, "\n".join(found)
    assert page.evaluate(TOO_SMALL, [SMALLEST, SMALLEST_CODE]) == []
    assert page.locator("mjx-merror").count() == 0
    assert [url for url in page.requested if not url.startswith(("file:", "data:"))] == []
    assert page.errors == []


def test_output_is_hidden_until_the_key_that_shows_it(show):
    page = show("03_dnn_mnist.html")
    go_to(page, "code")
    page.keyboard.press("ArrowLeft")
    output = page.locator("section.present .fragment").first
    page.wait_for_function("document.querySelector('section.slide.present .fragment:not(.visible)')")
    page.evaluate("Reveal.prevFragment()")
    page.wait_for_timeout(300)
    assert output.evaluate("one => getComputedStyle(one).visibility") == "hidden"
    page.keyboard.press("Space")
    page.wait_for_timeout(300)
    assert output.evaluate("one => getComputedStyle(one).visibility") == "visible"


def test_countdown_runs_pauses_and_ends_by_key(show):
    page = show("03_dnn_mnist.html")
    page.clock.install()
    go_to_exercise(page)
    time, said = (page.locator(f"section.slide.present .countdown__{part}") for part in ("time", "said"))
    assert time.inner_text() == "2:00"
    page.keyboard.press("t")
    page.clock.run_for(5_000)
    assert time.inner_text() == "1:55"
    page.keyboard.press("t")
    page.clock.run_for(5_000)
    assert time.inner_text() == "1:55"
    page.keyboard.press("t")
    page.clock.run_for(120_000)
    assert (time.inner_text(), said.inner_text()) == ("0:00", "Time is up")
    assert said.get_attribute("aria-live") == "polite"
    page.keyboard.press("r")
    assert (time.inner_text(), said.inner_text()) == ("2:00", "")


def go_to_exercise(page) -> None:
    page.evaluate(
        "() => { const at = Reveal.getIndices(document.querySelector('.slide--exercise')); Reveal.slide(at.h, at.v); }"
    )


def test_space_on_a_button_presses_it_and_stays_on_the_slide(show):
    page = show("03_dnn_mnist.html")
    go_to_exercise(page)
    before = page.evaluate("Reveal.getSlidePastCount()")
    button = page.locator("section.slide.present .countdown__start")
    button.focus()
    assert button.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("Space")
    assert button.inner_text() == "Pause"
    assert page.evaluate("Reveal.getSlidePastCount()") == before


def test_speaker_view_shows_the_notes_and_sets_their_formulas(show):
    page = show("03_dnn_mnist.html")
    go_to(page, "question")
    with page.expect_popup() as popup:
        page.keyboard.press("s")
    speaker = popup.value
    speaker.locator(".speaker-controls-notes .value", has_text="a batch of images is a tensor").wait_for()
    page.evaluate(SHOW, page.evaluate(COUNT) // 2)
    assert page.locator(".notes math").count() > 50


@pytest.mark.parametrize("kind", ["title", "section", "text", "question", "code", "figure", "exercise"])
def test_axe_finds_nothing_on_a_slide(kind, show):
    page = show("03_dnn_mnist.html")
    go_to(page, kind)
    found = Axe().run(page, options=WCAG).response["violations"]
    assert [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found] == []


def test_index_leads_to_every_deck(show, decks):
    page = show("index.html")
    links = page.locator("main a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    assert links == [f"{lesson.stem}.html" for lesson in LESSONS]
    assert Axe().run(page, options=WCAG).response["violations"] == []
