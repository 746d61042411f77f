"""Whatever a page or a lesson points to inside this repository is there."""

import re

import pytest

from tests import dead_links

PAGES = dead_links.documents()
FOLDERS = "|".join(["notebooks", "coursekit", "data", "tests", "docs", "benchmarks", r"\.github", r"\.ci"])
ENDINGS = "py|md|ipynb|toml|txt|npz|yml|cff|mplstyle"
# names of files yet to be written, by an author or for an exam
MADE_WHILE_READING = {
    "lessonNN.py",
    "test_lessonNN.py",
    "NN_name.ipynb",
    "train.npz",
    "test.npz",
    "exam.ipynb",
}


@pytest.fixture(params=PAGES)
def page(request):
    return request.param


def test_every_kind_of_page_is_read():
    assert {"README.md", "CONTRIBUTING.md", "data/README.md", "docs/reliability.md"} < PAGES.keys()
    assert any(page.endswith(".ipynb") for page in PAGES)


def test_links_inside_lead_to_a_file_and_its_anchor(page):
    for link in dead_links.links(PAGES[page]):
        if target := dead_links.inside(link, page):
            path, anchor = target
            assert (dead_links.ROOT / path).exists(), link
            assert not anchor or anchor in dead_links.anchors(PAGES[path]), link


def test_files_named_in_code_exist(page):
    for text in dead_links.code(PAGES[page]):
        for path in re.findall(rf"(?<![\w./~-])(?:{FOLDERS})/[\w./*-]*", text):
            named = path.rstrip(".")
            assert "NN" in named or list(dead_links.ROOT.glob(named)), named
        if re.fullmatch(rf"[\w.-]+\.(?:{ENDINGS})", text) and text not in MADE_WHILE_READING:
            assert [*dead_links.ROOT.glob(text), *dead_links.ROOT.glob(f"*/**/{text}")], text


def test_commands_named_in_code_exist(page):
    targets = re.findall(
        r"^([a-z-]+):", (dead_links.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    for text in dead_links.code(PAGES[page]):
        assert set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= set(targets)
        for module in re.findall(r"python -m (coursekit\S*|tests\S*)", text):
            path = dead_links.ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_links_are_told_from_code():
    text = '[a](one.md) `[b](two.md)` ![c](<three.png> "title") <https://four.org>\n```\n[d](five.md)\n```\n'
    assert dead_links.links(text) == ["one.md", "three.png", "https://four.org"]
    assert dead_links.code(text) == ["[d](five.md)", "[b](two.md)"]


def test_a_badge_is_a_picture_in_a_link():
    assert dead_links.links("[![Open](https://a.org/b.svg)](https://c.org)") == [
        "https://a.org/b.svg",
        "https://c.org",
    ]


def test_anchors_are_those_of_github():
    text = "# One · two\n## What's `x`?\n## [Linked](to.md)\n## Again\n## Again\n```\n# a comment\n```\n"
    assert dead_links.anchors(text) == {"one--two", "whats-x", "linked", "again", "again-1"}


def test_addresses_of_this_repository_are_inside():
    slug = dead_links.catalogue.repository_slug()
    own = f"https://github.com/{slug}/blob/main/data/README.md#lhc-jets"
    assert dead_links.inside(own, "notebooks/03.ipynb") == ("data/README.md", "lhc-jets")
    colab = f"https://colab.research.google.com/github/{slug}/blob/main/notebooks/03.ipynb"
    assert dead_links.inside(colab, "README.md") == ("notebooks/03.ipynb", "")
    assert dead_links.inside("../README.md#start", "docs/reliability.md") == ("README.md", "start")
    assert dead_links.inside("#start", "README.md") == ("README.md", "start")
    assert dead_links.inside("/data.md", "docs/exercises/index.md") == ("docs/data.md", "")
    assert dead_links.inside("https://github.com/other/course/blob/main/README.md", "README.md") is None


def test_external_links_are_listed_with_their_pages(capsys):
    assert dead_links.main([]) == 0
    listed = capsys.readouterr().out
    badge = next(line for line in listed.splitlines() if "colab-badge.svg" in line)
    assert "README.md" in badge
    assert "notebooks/01_linear_algebra.ipynb" in badge


def test_a_link_that_cannot_be_reached_is_named(monkeypatch, capsys):
    monkeypatch.setattr(dead_links, "external", lambda: {"http://127.0.0.1:9/": ["README.md"]})
    assert dead_links.main(["--try"]) == 1
    assert "http://127.0.0.1:9/  <urlopen error" in capsys.readouterr().out
