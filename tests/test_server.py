"""The image for a class on a server: what `.binder/` tells repo2docker, and what it does when built and started."""

import os
import shutil
import subprocess
import sys

import pytest

from coursekit import data
from coursekit.teaching import catalogue
from tests.test_packaging import PROJECT
from tests.test_workflows import WORKFLOWS

FOLDER = catalogue.REPOSITORY / ".binder"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the image runs Linux")


@pytest.fixture
def image(tmp_path):
    """Return the folders of an image: the repository's, with two lessons, and a home; a home starts empty."""
    repository, home = tmp_path / "srv" / "course", tmp_path / "home"
    (repository / "notebooks").mkdir(parents=True)
    home.mkdir()
    for name in ("00_first.ipynb", "01_second.ipynb"):
        (repository / "notebooks" / name).write_text(f"{name} of the image", encoding="utf-8")
    shutil.copy(FOLDER / "start", repository / "start")
    return repository, home


def start(repository, home, *command):
    """Run a command as a container does."""
    environment = os.environ | {"REPO_DIR": str(repository), "HOME": str(home)}
    return subprocess.run(
        [repository / "start", *(command or ["pwd"])],
        env=environment,
        cwd=repository,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_scripts_can_be_executed():
    for name in ("postBuild", "start"):
        assert os.access(FOLDER / name, os.X_OK)
        assert (FOLDER / name).read_text(encoding="utf-8").startswith("#!/bin/bash\n")


def test_the_image_has_the_course_with_every_section_and_a_python_that_is_tested():
    lines = (FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    course = lines[-1]
    assert course.startswith(".[")
    extras = course[2:-1].split(",")
    assert set(extras) == {"umap", "onnx", "search"} <= set(PROJECT["optional-dependencies"])
    python = (FOLDER / "runtime.txt").read_text(encoding="utf-8").strip().removeprefix("python-")
    matrix = WORKFLOWS["weekly"]["jobs"]["lessons"]["strategy"]["matrix"]["include"]
    assert python in [run["python"] for run in matrix]


def test_lessons_come_into_a_home_that_is_a_disk_of_its_own(image):
    repository, home = image
    done = start(repository, home)
    assert done.stdout.strip() == str(home)  # what the file browser shows
    assert sorted(path.name for path in (home / "notebooks").iterdir()) == [
        "00_first.ipynb",
        "01_second.ipynb",
    ]


def test_what_a_student_has_written_stays_and_a_new_lesson_comes(image):
    repository, home = image
    start(repository, home)
    (home / "notebooks" / "00_first.ipynb").write_text("answers", encoding="utf-8")
    (home / "notebooks" / "01_second.ipynb").unlink()
    (repository / "notebooks" / "02_third.ipynb").write_text("new", encoding="utf-8")
    start(repository, home)
    texts = {path.name: path.read_text(encoding="utf-8") for path in (home / "notebooks").iterdir()}
    assert texts == {
        "00_first.ipynb": "answers",
        "01_second.ipynb": "01_second.ipynb of the image",
        "02_third.ipynb": "new",
    }


def test_nothing_is_copied_where_the_repository_is_the_home_as_on_binder(image):
    repository, _ = image
    done = start(repository, repository)
    assert done.stdout.strip() == str(repository)
    assert sorted(path.name for path in repository.iterdir()) == ["notebooks", "start"]


def test_the_server_starts_although_the_home_cannot_be_written(image):
    repository, home = image
    (home / "notebooks").write_text("a file where the folder should be", encoding="utf-8")
    done = start(repository, home, "echo", "the server's", "two arguments")
    assert done.stdout == "the server's two arguments\n"
    assert done.returncode == 0


def test_what_is_fetched_for_the_image_is_found_by_every_user_of_its_python(
    small_mnist, tmp_path, capsys, monkeypatch
):
    """Run postBuild with a python that tells where it would keep its cache; data kept there are found."""
    asked = tmp_path / "asked"
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    prefix = tmp_path / "environment"
    python.write_text(
        f'#!/bin/bash\ncase "$2" in *sys.prefix*) echo {prefix};; *) echo "$XDG_CACHE_HOME|$2" > {asked};; esac\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([FOLDER / "postBuild"], env=os.environ | {"PATH": path}, check=True)
    cache, code = asked.read_text(encoding="utf-8").strip().split("|")

    raw = tmp_path.joinpath(cache, "coursekit", "MNIST", "raw")
    raw.parent.mkdir(parents=True)
    small_mnist.rename(raw)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(data, "fashion_mnist", lambda: None)
    exec(code)
    assert "from this Python environment" in capsys.readouterr().out
