import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from coursekit import lessons

PROJECT = tomllib.loads((lessons.REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COURSE = (lessons.REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()

# What Google preinstalls, read off in August 2026
COLAB = {
    "torch": "2.11", "torchvision": "0.26", "numpy": "2.1.3", "ipywidgets": "7.7.1", "mlxtend": "0.23.4",
}  # fmt: skip


def requirements(lines) -> dict[str, Requirement]:
    parsed = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    return {requirement.name: requirement for requirement in parsed}


def test_requirements_are_the_packages_plus_what_opens_notebooks():
    package, course = requirements(PROJECT["dependencies"]), requirements(COURSE)
    assert {name: course[name] for name in package} == package
    assert set(course) - set(package) == {"jupyter", "nbval"}
    test = requirements(PROJECT["optional-dependencies"]["test"])
    assert {name: course[name] for name in course.keys() & test} == {
        name: test[name] for name in course.keys() & test
    }


def test_every_requirement_has_a_lower_bound_and_a_reason():
    for line in COURSE:
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[\w-]+>=[\d.]+ +# \S.+", line), line


@pytest.mark.parametrize(("name", "version"), COLAB.items())
def test_colab_keeps_its_own(name, version):
    assert requirements(PROJECT["dependencies"])[name].specifier.contains(Version(version))


def test_wheel_carries_all_that_the_package_needs(tmp_path):
    source = (
        tmp_path / "source"
    )  # a copy: building leaves its traces, and may pick up those of earlier builds
    shutil.copytree(
        lessons.REPOSITORY / "coursekit", source / "coursekit", ignore=shutil.ignore_patterns("*.pyc")
    )
    shutil.copytree(lessons.REPOSITORY / "data", source / "data")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(lessons.REPOSITORY / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        source,
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("coursekit/")}
    tracked = {
        path.relative_to(lessons.REPOSITORY).as_posix()
        for path in (lessons.REPOSITORY / "coursekit").rglob("*.*")
        if path.is_file() and path.suffix != ".pyc"
    }
    shipped = {"__init__.py", "jets.npz", "jets_held_out.npz"}
    assert inside == tracked | {f"coursekit/datasets/{name}" for name in shipped}
