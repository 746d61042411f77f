import base64

import nbformat
import pytest

from coursekit import lessons

FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"


def write(path, *cells, tags=()):
    """Write a notebook: strings are code cells, and the tags go to the last one."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A lesson", id="title")])
    for number, source in enumerate(cells):
        notebook.cells.append(
            nbformat.v4.new_code_cell(source, id=f"c{number}", metadata={"tags": list(tags)})
        )
    path.parent.mkdir(exist_ok=True, parents=True)
    nbformat.write(notebook, path)
    return path


def outputs(notebook) -> str:
    return str([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])


def test_execute_runs_in_an_empty_folder_with_the_source_it_was_told(tmp_path):
    code = "import os; print(os.listdir(), os.environ['COURSEKIT_SOURCE'])"
    run = lessons.execute(write(tmp_path / "a.ipynb", code), source="sample")
    assert run.error == ""
    assert "[] sample" in outputs(run.notebook)


def test_execute_reports_a_failing_cell_and_keeps_what_ran(tmp_path):
    run = lessons.execute(write(tmp_path / "a.ipynb", "print('before')", "1 / 0", "print('after')"))
    assert "ZeroDivisionError" in run.error
    assert "before" in outputs(run.notebook)
    assert "after" not in outputs(run.notebook)


def test_a_cell_meant_to_raise_has_to(tmp_path):
    assert lessons.execute(write(tmp_path / "a.ipynb", "1 / 0", tags=["raises-exception"])).error == ""
    silent = lessons.execute(write(tmp_path / "b.ipynb", "1 / 1", tags=["raises-exception"]))
    assert silent.error == "cell 2 is tagged raises-exception, but raised nothing"


def test_progress_bars_leave_no_trace(tmp_path):
    code = "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass\nprint('done')"
    notebook = lessons.execute(write(tmp_path / "a.ipynb", code)).notebook
    assert "widget" not in outputs(notebook)
    assert "done" in outputs(notebook)
    assert "widgets" not in notebook.metadata


def test_sliders_become_the_figure_they_control(tmp_path):
    code = (
        "import matplotlib.pyplot as plt\nfrom ipywidgets import interact\n"
        "def draw(slope):\n    plt.plot([0, slope])\n    plt.show()\n"
        "interact(draw, slope=(0.0, 2.0))"
    )
    run = lessons.execute(write(tmp_path / "a.ipynb", code))
    assert run.error == ""
    (figure,) = [output for output in run.notebook.cells[1].outputs if "image/png" in output.get("data", {})]
    assert figure.output_type == "display_data"
    assert "widget-view" not in str(run.notebook)
    nbformat.validate(run.notebook)


def test_course_writes_notebooks_pages_and_an_index_with_figures(tmp_path, capsys):
    write(tmp_path / "in" / "01_good.ipynb", FIGURE)
    write(tmp_path / "in" / "02_bad.ipynb", "1 / 0")
    failed = lessons.course(tmp_path / "in", tmp_path / "out")
    assert failed == 1
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"01_good.ipynb", "01_good.html", "02_bad.ipynb", "02_bad.html", "index.html", "mathjax"}
    index = (tmp_path / "out" / "index.html").read_text()
    assert index.count("<img") == 1
    assert "ZeroDivisionError" in index
    assert "01_good: ran clean" in capsys.readouterr().out


def test_pages_of_the_course_set_formulas_without_a_network(tmp_path):
    write(tmp_path / "in" / "01_a.ipynb", "1 + 1")
    lessons.course(tmp_path / "in", tmp_path / "out")
    page = (tmp_path / "out" / "01_a.html").read_text()
    assert '<script src="mathjax/tex-chtml.js">' in page
    assert (tmp_path / "out" / "mathjax" / "tex-chtml.js").is_file()
    assert page.index("inlineMath: [['$', '$']]") < page.index("mathjax/tex-chtml.js")


def test_record_stores_outputs_and_a_stamp_that_code_makes_stale(tmp_path):
    path = write(tmp_path / "01_a.ipynb", FIGURE)
    lessons.record(path)
    notebook = nbformat.read(path, as_version=4)
    assert "image/png" in outputs(notebook)
    assert notebook.metadata.coursekit.stamp == lessons.stamp(notebook, "01_a")
    assert set(notebook.metadata.coursekit.seconds) == {"sample", "full"}
    notebook.cells[1].source += " "
    assert notebook.metadata.coursekit.stamp != lessons.stamp(notebook, "01_a")


def test_record_stores_the_cover_and_the_seconds(tmp_path):
    path = write(tmp_path / "notebooks" / "01_a.ipynb", FIGURE, tags=["cover"])
    readme = tmp_path / "README.md"
    readme.write_text(
        "| [1 · A](notebooks/01_a.ipynb) | 999 s / 999 s | badge |\n| [2](notebooks/02.ipynb) | 5 s / 6 s |"
    )
    lessons.record(path)
    notebook = nbformat.read(path, as_version=4)
    cover = (tmp_path / "docs" / "covers" / "01_a.png").read_bytes()
    assert notebook.cells[1].outputs[0].data["image/png"].strip() == base64.b64encode(cover).decode()
    seconds = notebook.metadata.coursekit.seconds
    assert f"| {seconds['sample']} s / {seconds['full']} s | badge |" in readme.read_text()
    assert "| 5 s / 6 s |" in readme.read_text()


def test_stamp_follows_the_package_but_not_the_tools_nor_other_lessons_exercises(tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "PACKAGE", tmp_path)
    notebook = nbformat.v4.new_notebook()

    def changes(name) -> bool:
        (tmp_path / name).write_text("first")
        before = lessons.stamp(notebook, "03_x")
        (tmp_path / name).write_text("second")
        return lessons.stamp(notebook, "03_x") != before

    assert changes("train.py")
    assert changes("lesson03.py")
    assert not changes("lesson04.py")
    assert not changes("lessons.py")


def test_record_leaves_a_failing_lesson_as_it_was(tmp_path):
    path = write(tmp_path / "01_a.ipynb", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="failed on the sample data and was left as it was"):
        lessons.record(path)
    assert path.read_bytes() == before


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    write(tmp_path / "in" / "01_a.ipynb", "1")
    with pytest.raises(ValueError, match=r"course: `destination` is in .*file/out.* nothing can be written"):
        lessons.course(tmp_path / "in", tmp_path / "file" / "out")


def test_folder_without_lessons_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no notebook"):
        lessons.course(tmp_path, tmp_path / "out")


def test_command_line_says_what_is_wrong_without_a_traceback(tmp_path, capsys):
    assert lessons.main(["course", "--lessons", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: course: `lessons`")


def test_link_re_points_every_address_and_keeps_the_stamp_true(tmp_path, monkeypatch):
    old, new = lessons.repository_slug(), "someone/fork"
    monkeypatch.setattr(lessons, "REPOSITORY", tmp_path)
    (tmp_path / "pyproject.toml").write_text(f'[project]\nurls.Repository = "https://github.com/{old}"\n')
    (tmp_path / "README.md").write_text(f"badge {old} and {old}")
    (tmp_path / "CITATION.cff").write_text(f"repository-code: https://github.com/{old}")
    path = write(tmp_path / "notebooks" / "01_a.ipynb", f"url = 'https://github.com/{old}'")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["coursekit"] = {"stamp": lessons.stamp(notebook, "01_a")}
    nbformat.write(notebook, path)

    lessons.link(new)

    assert lessons.repository_slug() == new
    assert all(old not in file.read_text() for file in tmp_path.rglob("*.*") if file.is_file())
    notebook = nbformat.read(path, as_version=4)
    assert lessons.is_current(notebook, "01_a")


def test_link_does_not_call_a_stale_lesson_current(tmp_path, monkeypatch):
    old = lessons.repository_slug()
    monkeypatch.setattr(lessons, "REPOSITORY", tmp_path)
    (tmp_path / "pyproject.toml").write_text(f'[project]\nurls.Repository = "https://github.com/{old}"\n')
    for name in ("README.md", "CITATION.cff"):
        (tmp_path / name).write_text("")
    path = write(tmp_path / "notebooks" / "01_a.ipynb", "1 + 1")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["coursekit"] = {"stamp": "of other code"}
    nbformat.write(notebook, path)
    lessons.link("someone/fork")
    assert not lessons.is_current(nbformat.read(path, as_version=4), "01_a")


@pytest.mark.parametrize("slug", ["fork", "a/b/c", "https://github.com/a/b", ""])
def test_link_wants_owner_and_name(slug):
    with pytest.raises(ValueError, match="`slug` must be owner/name"):
        lessons.link(slug)
