"""Run the lessons, and keep what is stored in them true. For teachers and authors; students need none of it.

python -m coursekit.lessons course            run every lesson, write notebooks, pages and an index to build/
python -m coursekit.lessons record LESSON...  re-run lessons and store their outputs, stamped, in place
python -m coursekit.lessons link OWNER/NAME   point badges and setup cells at another repository
"""

import argparse
import base64
import hashlib
import html
import io
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from PIL import Image
from tqdm.auto import tqdm

PACKAGE = Path(__file__).parent
REPOSITORY = PACKAGE.parent
# the website's copy, so that formulas need no network
_MATHJAX = REPOSITORY / "docs" / "_static" / "vendor" / "mathjax"
_TOOLS = {"lessons.py", "solve.py"}  # no lesson imports these, so changing them makes no stored output stale
_WIDGET = "application/vnd.jupyter.widget-view+json"
_WIDGET_STATES = "application/vnd.jupyter.widget-state+json"
_CELL_LIMIT_S = 600


@dataclass
class Run:
    """One execution of a lesson: the notebook with its outputs, the seconds it took, "" or what went wrong."""

    notebook: NotebookNode
    seconds: float
    error: str


def execute(path: Path, *, source: str | None = None) -> Run:
    """Run a lesson in a fresh kernel and an empty folder, as on Colab, with a progress bar over its cells.

    `source` is what `$COURSEKIT_SOURCE` says inside ("sample", "full"); by default it stays as it is. A cell
    that fails, or a cell tagged `raises-exception` that does not, ends up in `error`, never as an exception.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    environment = os.environ | ({"COURSEKIT_SOURCE": source} if source else {})
    error, started = "", time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(total=len(notebook.cells), desc=path.stem, unit="cell") as bar,
    ):
        client = NotebookClient(
            notebook,
            timeout=_CELL_LIMIT_S,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=40"],  # the kernel's own warnings would tear the bar apart
            on_cell_start=lambda **_: bar.update(),
        )
        try:
            client.execute(env=environment)
        except (CellExecutionError, DeadKernelError, TimeoutError) as failure:
            error = str(failure).strip()
    seconds = time.perf_counter() - started
    for number, cell in enumerate(notebook.cells, 1):
        kinds = [output.output_type for output in cell.get("outputs", [])]
        if "raises-exception" in cell.metadata.get("tags", []) and "error" not in kinds:
            error = error or f"cell {number} is tagged raises-exception, but raised nothing"
    return Run(_without_widgets(notebook), seconds, error)


def course(lessons: Path, destination: Path) -> int:
    """Run every lesson of a folder, write notebooks, pages and index.html; return the number that failed."""
    paths = sorted(lessons.glob("*.ipynb"))
    if not paths:
        raise ValueError(
            f"course: `lessons` {str(lessons)!r} holds no notebook; the course's are in notebooks/"
        )
    check_writable("course", "destination", destination)
    shutil.copytree(_MATHJAX, destination / _MATHJAX.name, dirs_exist_ok=True)
    runs = {}
    for path in paths:
        run = runs[path.stem] = execute(path)
        nbformat.write(run.notebook, destination / path.name)
        (destination / f"{path.stem}.html").write_text(_page_of(run.notebook), encoding="utf-8")
        print(f"{path.stem}: {run.error or 'ran clean'}, {run.seconds:.0f} s")
    (destination / "index.html").write_text(_index(runs), encoding="utf-8")
    print(f"Open {destination / 'index.html'}")
    return sum(bool(run.error) for run in runs.values())


def record(path: Path) -> None:
    """Re-run a lesson, on the sample and then on the full data, and store the outputs of the second, stamped.

    The figure of the cell tagged `cover` goes to docs/covers/, the measured seconds into the README's table.
    Raises RuntimeError, and leaves the file as it was, where a cell fails.
    """
    check_writable("record", "path", path.parent)
    seconds = {}
    for source in ("sample", "full"):
        run = execute(path, source=source)
        if run.error:
            raise RuntimeError(
                f"{path.name} failed on the {source} data and was left as it was:\n{run.error}"
            )
        seconds[source] = round(run.seconds)
    notebook = run.notebook
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                output.data["image/png"] = _smaller(picture)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "coursekit": {
            "stamp": stamp(notebook, path.stem),
            "seconds": seconds,
            "python": platform.python_version(),
            "torch": _version("torch"),
        },
    }
    nbformat.validate(notebook)
    scratch = path.with_suffix(".tmp")
    nbformat.write(notebook, scratch)
    scratch.replace(path)
    _store_cover(notebook, path.parents[1] / "docs" / "covers" / f"{path.stem}.png")
    _store_seconds(seconds, path, path.parents[1] / "README.md")
    size = path.stat().st_size // 1000
    print(
        f"{path.name}: {seconds['sample']} s on the sample, {seconds['full']} s on the full data, {size} kB"
    )


def _store_cover(notebook: NotebookNode, destination: Path) -> None:
    for cell in notebook.cells:
        if "cover" in cell.metadata.get("tags", []):
            (picture,) = _figures(cell)
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(base64.b64decode(picture))


def _store_seconds(seconds: dict[str, int], lesson: Path, readme: Path) -> None:
    if readme.exists():
        row = re.compile(rf"^(\|.*\]\(notebooks/{lesson.name}\).*\| )\d+ s / \d+ s( \|.*)$", re.MULTILINE)
        measured = rf"\g<1>{seconds['sample']} s / {seconds['full']} s\g<2>"
        readme.write_text(row.sub(measured, readme.read_text(encoding="utf-8")), encoding="utf-8")


def stamp(notebook: NotebookNode, name: str) -> str:
    """Return a hash of all that a lesson's outputs depend on here: its code cells and the package they use."""
    parts = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    other_exercises = re.compile(r"lesson(?!" + name[:2] + r")\d\d\.py")
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.mplstyle")]):
        if path.name not in _TOOLS and not other_exercises.fullmatch(path.name):
            parts.append(path.read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def is_current(notebook: NotebookNode, name: str) -> bool:
    """Return whether a lesson's stored outputs were made by its present code and package."""
    return notebook.metadata.get("coursekit", {}).get("stamp") == stamp(notebook, name)


def repository_slug() -> str:
    """Return owner/name of the course's repository, as pyproject.toml has it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].removeprefix("https://github.com/")


def link(slug: str) -> None:
    """Point badges, setup cells and the project's address at the repository `slug`, owner/name."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", slug):
        raise ValueError(f"link: `slug` must be owner/name as on GitHub, not {slug!r}")
    before = repository_slug()
    lessons = sorted(REPOSITORY.glob("notebooks/*.ipynb"))
    current = [path for path in lessons if is_current(nbformat.read(path, as_version=4), path.stem)]
    for path in [*(REPOSITORY / name for name in ("pyproject.toml", "README.md", "CITATION.cff")), *lessons]:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(before, slug), encoding="utf-8")
        print(f"{path.name}: {text.count(before)} addresses")
    # the setup cell is code, so a stamp that was true has to follow; a stale one stays stale
    for path in current:
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.coursekit.stamp = stamp(notebook, path.stem)
        nbformat.write(notebook, path)


def title(notebook: NotebookNode) -> str:
    """Return the text of the first level-one heading."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^# (.+)$", cell.source, re.MULTILINE)):
            return found[1]
    raise ValueError("the notebook has no heading '# …'")


def _page_of(notebook: NotebookNode) -> str:
    """Return a notebook as a page whose formulas are set by the copy of MathJax beside it."""
    exporter = HTMLExporter(embed_images=True, mathjax_url=f"{_MATHJAX.name}/tex-chtml.js", require_js_url="")
    page, _ = exporter.from_notebook_node(notebook)
    dollars = "<script>window.MathJax = {tex: {inlineMath: [['$', '$']], processEscapes: true}};</script>"
    return page.replace("<head>", f"<head>{dollars}", 1)


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


def _index(runs: dict[str, Run]) -> str:
    failed = sum(bool(run.error) for run in runs.values())
    seconds = sum(run.seconds for run in runs.values())
    summary = (
        f"{len(runs)} lesson{'s' if len(runs) > 1 else ''}, {failed or 'none'} failed, {seconds:.0f} s "
        f"on Python {platform.python_version()} and torch {_version('torch')}."
    )
    return _PAGE.format(summary=summary, lessons="\n".join(_section(name, run) for name, run in runs.items()))


def _section(name: str, run: Run) -> str:
    figures = "".join(
        f'<a href="{name}.html"><img loading="lazy" alt="figure {number}" src="data:image/png;base64,{picture}"></a>'
        for number, picture in enumerate(
            (picture for cell in run.notebook.cells for picture in _figures(cell)), 1
        )
    )
    state = f"✗ stopped after {run.seconds:.0f} s" if run.error else f"✓ ran clean in {run.seconds:.0f} s"
    details = f"<pre>{html.escape(_plain(run.error))}</pre>" if run.error else ""
    return (
        f'<h2><a href="{name}.html">{html.escape(title(run.notebook))}</a></h2>\n'
        f'<p>{state} · <a href="{name}.ipynb">executed notebook</a></p>\n{details}<div class="figures">{figures}</div>'
    )


def _figures(cell: NotebookNode) -> Iterator[str]:
    """Yield every figure of a cell as base64 without line breaks."""
    for output in cell.get("outputs", []):
        if picture := output.get("data", {}).get("image/png"):
            yield "".join(picture.split())


# Small things ----------------------------------------------------------------------------------------------


def _without_widgets(notebook: NotebookNode) -> NotebookNode:
    """Replace sliders by the figure they control, and drop progress bars: both are dead without their kernel."""
    states = notebook.metadata.pop("widgets", {}).get(_WIDGET_STATES, {}).get("state", {})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [still for output in cell.outputs for still in _stills(output, states)]
    return notebook


def _stills(output: NotebookNode, states: dict) -> Iterator[NotebookNode]:
    """Yield an output as it is, or in place of a widget the figures that it and its children show."""
    view = output.get("data", {}).get(_WIDGET)
    if view is None:
        yield output
        return
    waiting = [view["model_id"]]
    while waiting:
        state = states.get(waiting.pop(), {}).get("state", {})
        waiting += [child.removeprefix("IPY_MODEL_") for child in state.get("children", [])]
        for shown in state.get("outputs", []):
            if "image/png" in shown.get("data", {}):
                yield nbformat.from_dict(shown)


def _smaller(picture: str) -> str:
    """Return a base64 PNG with a palette of 256 colours: a third of the bytes, no difference to the eye."""
    scratch = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    image.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(scratch, "PNG", optimize=True)
    return base64.b64encode(scratch.getvalue()).decode()


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def _version(package: str) -> str:
    return version(package).split("+")[0]


def check_writable(function: str, argument: str, folder: Path) -> None:
    """Make a folder; raise ValueError, naming function and argument, where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{function}: `{argument}` is in {str(folder)!r}, where nothing can be written ({error.strerror}): "
            "choose a folder of yours"
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.lessons", description="Run, record and re-point the lessons."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run_all = commands.add_parser("course", help="run every lesson into a folder, with an index")
    run_all.add_argument(
        "--lessons", type=Path, default=REPOSITORY / "notebooks", help="folder with the notebooks"
    )
    run_all.add_argument(
        "-o", "--destination", type=Path, default=Path("build"), help="folder to write (default: build)"
    )
    store = commands.add_parser("record", help="re-run lessons and store their outputs, stamped")
    store.add_argument("paths", type=Path, nargs="+", metavar="LESSON")
    point = commands.add_parser("link", help="point badges and setup cells at another repository")
    point.add_argument("slug", metavar="OWNER/NAME")
    options = parser.parse_args(arguments)
    try:
        if options.command == "course":
            return min(course(options.lessons, options.destination), 1)
        if options.command == "record":
            for path in options.paths:
                record(path)
        else:
            link(options.slug)
    except (RuntimeError, ValueError) as error:
        print(f"error: {_plain(str(error))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
