"""Every lesson on a machine like Colab's: its versions, no coursekit, an empty folder, the setup cell as it is.

Each lesson gets a machine of its own: an empty virtual environment on top of $COLAB_VENV, which stays as it is. The
address that the setup cell installs from is answered with this checkout, packed as GitHub packs a branch.
"""

import json
import os
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from coursekit.teaching import catalogue
from coursekit.teaching.execute import cell_seconds, execute
from tests.colab.environment import REQUIREMENTS

LESSONS = catalogue.select(os.environ.get("LESSONS", ""))
BROUGHT = {"deep-learning-notebooks", "snntorch", "torchinfo"}

# Run by every Python of the machine as it starts: what pip is asked to fetch from GitHub is this checkout.
ANSWER_FOR_GITHUB = """import sys

sys.argv[:] = [{local!r} if argument == {address!r} else argument for argument in sys.argv]
"""


def pack(destination: Path) -> Path:
    """Write what a commit of everything here would hold as a .zip with one folder, as GitHub does; return it."""
    options = ["-z", "--cached", "--others", "--exclude-standard"]
    command = ["git", "-c", "safe.directory=*", "ls-files", *options]
    listed = subprocess.run(
        command, cwd=catalogue.REPOSITORY, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    with zipfile.ZipFile(destination, "w") as archive:
        for name in sorted(set(listed.stdout.split("\0")) - {""}):
            if (file := catalogue.REPOSITORY / name).is_file():
                archive.write(file, f"repository-main/{name}")
    return destination


def empty_machine(folder: Path, *, preinstalled: Path) -> Path:
    """Make an environment that has what another one has and nothing else; return its Python.

    It has a kernel that notebooks find with JUPYTER_PATH={folder}/share/jupyter.
    """
    subprocess.run([preinstalled / "bin" / "python", "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    (packages,) = preinstalled.glob("lib/python*/site-packages")
    (own,) = folder.glob("lib/python*/site-packages")
    answer = ANSWER_FOR_GITHUB.format(local=str(pack(folder / "main.zip")), address=address())
    (own / "answer_for_github.py").write_text(answer, encoding="utf-8")
    (own / "colab.pth").write_text(f"{packages}\nimport answer_for_github\n", encoding="utf-8")
    kernel = folder / "share" / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    start = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": start, "display_name": "Colab", "language": "python"}),
        encoding="utf-8",
    )
    return python


def address() -> str:
    """Return where the setup cells install coursekit from."""
    return f"https://github.com/{catalogue.repository_slug()}/archive/refs/heads/main.zip"


def installed(python: Path) -> dict[str, str]:
    """Return the versions of all packages as pip sees them."""
    listing = [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    told = subprocess.run(listing, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    return {package["name"]: package["version"] for package in json.loads(told)}


@pytest.fixture(scope="module", params=LESSONS, ids=lambda lesson: lesson.stem)
def colab(request, tmp_path_factory):
    """Run a lesson on a new machine: the run, and what was installed before and after."""
    preinstalled = Path(os.environ.get("COLAB_VENV", "")).absolute()
    assert (preinstalled / "bin" / "python").exists(), "`make colab` makes the environment COLAB_VENV"
    folder = tmp_path_factory.mktemp("colab")
    python = empty_machine(folder, preinstalled=preinstalled)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("PYTHONPATH", raising=False)
        environment.delenv("COURSEKIT_DATA", raising=False)
        environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))  # pip's too: every download is a download
        environment.setenv("JUPYTER_PATH", str(folder / "share" / "jupyter"))
        before = installed(python)
        run = execute(request.param.path, source="sample")
        return SimpleNamespace(run=run, before=before, after=installed(python))


def test_lesson_runs_from_its_notebook_alone(colab):
    assert colab.run.error == ""


def test_setup_brings_nothing_but_the_course_and_what_colab_lacks(colab):
    assert colab.after.keys() - colab.before.keys() == BROUGHT
    assert not colab.before.keys() & BROUGHT


def test_setup_leaves_what_was_there_as_it_was(colab):
    assert {name: colab.after[name] for name in colab.before} == colab.before


def test_setup_takes_twenty_seconds_at_most(colab, record_property):
    setup = cell_seconds(colab.run.notebook.cells[1])
    record_property("setup_seconds", setup)
    assert setup <= 20


def test_machine_has_the_versions_of_colab(colab):
    wanted = [
        Requirement(line)
        for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    versions = {requirement.name: colab.before[requirement.name] for requirement in wanted}
    assert [str(one) for one in wanted if not one.specifier.contains(versions[one.name])] == []
