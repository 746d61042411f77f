import nbformat
import pytest

from coursekit.teaching import catalogue, link
from coursekit.teaching.catalogue import read
from coursekit.teaching.stamps import is_current, stamp
from tests.small_lessons import write


def test_link_re_points_every_address_and_keeps_the_stamp_true(tmp_path, monkeypatch):
    old, new = catalogue.repository_slug(), "someone/fork"
    monkeypatch.setattr(catalogue, "REPOSITORY", tmp_path)
    monkeypatch.setattr(catalogue, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\nurls.Repository = "https://github.com/{old}"\n', encoding="utf-8"
    )
    (tmp_path / "README.md").write_text(f"badge {old} and {old}", encoding="utf-8")
    (tmp_path / "CITATION.cff").write_text(f"repository-code: https://github.com/{old}", encoding="utf-8")
    path = write(tmp_path / "notebooks" / "01_a.ipynb", f"url = 'https://github.com/{old}'")
    notebook = read(path)
    notebook.cells[1].execution_count = 1
    notebook.metadata["coursekit"] = {"stamp": stamp(notebook)}
    nbformat.write(notebook, path)

    link.link(new)

    assert catalogue.repository_slug() == new
    assert all(
        old not in file.read_text(encoding="utf-8") for file in tmp_path.rglob("*.*") if file.is_file()
    )
    notebook = read(path)
    assert is_current(notebook)


def test_link_does_not_call_a_stale_lesson_current(tmp_path, monkeypatch):
    old = catalogue.repository_slug()
    monkeypatch.setattr(catalogue, "REPOSITORY", tmp_path)
    monkeypatch.setattr(catalogue, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\nurls.Repository = "https://github.com/{old}"\n', encoding="utf-8"
    )
    for name in ("README.md", "CITATION.cff"):
        (tmp_path / name).write_text("", encoding="utf-8")
    path = write(tmp_path / "notebooks" / "01_a.ipynb", "1 + 1")
    notebook = read(path)
    notebook.metadata["coursekit"] = {"stamp": {"cells": "of other code"}}
    nbformat.write(notebook, path)
    link.link("someone/fork")
    assert not is_current(read(path))


@pytest.mark.parametrize("slug", ["fork", "a/b/c", "https://github.com/a/b", ""])
def test_link_wants_owner_and_name(slug):
    with pytest.raises(ValueError, match="`slug` must be owner/name"):
        link.link(slug)
