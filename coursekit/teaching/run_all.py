"""Run every lesson, and put notebooks, pages and an index with all figures into a folder.

python -m coursekit.teaching.run_all [-o FOLDER]
"""

import argparse
import html
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from coursekit import progress
from coursekit.teaching import catalogue, commands
from coursekit.teaching.alt_texts import describe_figures
from coursekit.teaching.catalogue import Lesson
from coursekit.teaching.execute import Run, execute, figures

# the website's copy, so that formulas need no network
_MATHJAX = catalogue.REPOSITORY / "docs" / "_static" / "vendor" / "mathjax"
_NO_WORDS = "No description has been provided for this image"  # nbconvert's, for every figure


def run_all(lessons: Path, destination: Path) -> int:
    """Run every lesson of a folder, write notebooks, pages and index.html; return the number that failed."""
    found = catalogue.lessons(lessons)
    if not found:
        raise ValueError(
            f"run_all: `lessons` {str(lessons)!r} holds no lesson, NN_name.ipynb; the course's are in notebooks/"
        )
    commands.check_writable("run_all", "destination", destination)
    shutil.copytree(_MATHJAX, destination / _MATHJAX.name, dirs_exist_ok=True)
    runs = {}
    for lesson in found:
        run = runs[lesson] = execute(lesson.path)
        nbformat.write(run.notebook, destination / lesson.path.name)
        (destination / f"{lesson.stem}.html").write_text(_page_of(run.notebook), encoding="utf-8")
        print(f"{lesson.stem}: {run.error or 'ran clean'}, {run.seconds:.0f} s")
    (destination / "index.html").write_text(_index(runs), encoding="utf-8")
    print(f"Open {destination / 'index.html'}")
    return sum(bool(run.error) for run in runs.values())


def _page_of(notebook: NotebookNode) -> str:
    """Return a notebook as a page whose formulas are set by the copy of MathJax beside it, its figures described."""
    exporter = HTMLExporter(embed_images=True, mathjax_url=f"{_MATHJAX.name}/tex-chtml.js", require_js_url="")
    page, _ = exporter.from_notebook_node(notebook)
    words = (html.escape(text) for text, _ in _described(notebook))
    page = re.sub(f'(?<=alt="){_NO_WORDS}', lambda _: next(words), page)
    dollars = "<script>window.MathJax = {tex: {inlineMath: [['$', '$']], processEscapes: true}};</script>"
    return page.replace("<head>", f"<head>{dollars}", 1)


def _described(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    """Yield for every figure its description and its base64."""
    texts = describe_figures(notebook)
    for cell in notebook.cells:
        for picture in figures(cell):
            yield texts[cell.id], picture


# The index of `make course` --------------------------------------------------------------------------------


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>The course on this machine</title>
<style>
body {{ font: 17px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff }}
body {{ max-width: 68rem; margin: 2.5rem auto; padding: 0 1.2rem }}
a {{ color: #005b91 }} h2 {{ margin: 2.2rem 0 .2rem }} p {{ margin: .2rem 0 .8rem; color: #4a4a4a }}
.figures {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .8rem }}
.figures {{ align-items: center }}
.figures img {{ width: 100%; border: 1px solid #e3e3e3; border-radius: 4px; background: #fff }}
pre {{ background: #fff3ee; border-left: 4px solid #b34700; padding: .8rem; overflow-x: auto; font-size: .8rem }}
</style></head><body>
<h1>The course on this machine</h1>
<p>{summary}</p>
{lessons}
</body></html>
"""


def _index(runs: dict[Lesson, Run]) -> str:
    failed = sum(bool(run.error) for run in runs.values())
    seconds = sum(run.seconds for run in runs.values())
    summary = (
        f"{len(runs)} lesson{'s' if len(runs) > 1 else ''}, {failed or 'none'} failed, {seconds:.0f} s "
        f"on Python {platform.python_version()} and torch {version('torch').split('+')[0]}."
    )
    reached = progress.overview()
    rows = {row.lesson: f"<p>{row.dots()} {row.state}</p>\n" for row in reached.rows}
    return _PAGE.format(
        summary=f"{summary} Your progress then: {reached.summary}. {html.escape(reached.whereabouts)}",
        lessons="\n".join(
            _section(lesson, run, rows.get(f"Lesson {lesson.number}", "")) for lesson, run in runs.items()
        ),
    )


def _section(lesson: Lesson, run: Run, progress_row: str) -> str:
    page = f"{lesson.stem}.html"
    shown = "".join(
        f'<a href="{page}"><img loading="lazy" alt="{html.escape(text)}" src="data:image/png;base64,{picture}"></a>'
        for text, picture in _described(run.notebook)
    )
    state = f"✗ stopped after {run.seconds:.0f} s" if run.error else f"✓ ran clean in {run.seconds:.0f} s"
    details = f"<pre>{html.escape(commands.plain(run.error))}</pre>" if run.error else ""
    return (
        f'<h2><a href="{page}">{lesson.number} · {html.escape(lesson.title)}</a></h2>\n'
        f'<p>{state} · <a href="{lesson.path.name}">executed notebook</a></p>\n'
        f'{progress_row}{details}<div class="figures">{shown}</div>'
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.teaching.run_all", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--lessons", type=Path, default=catalogue.NOTEBOOKS, help="folder with the notebooks")
    parser.add_argument(
        "-o", "--destination", type=Path, default=Path("build"), help="folder to write (default: build)"
    )
    options = parser.parse_args(arguments)
    return commands.run(lambda: min(run_all(options.lessons, options.destination), 1))


if __name__ == "__main__":
    sys.exit(main())
