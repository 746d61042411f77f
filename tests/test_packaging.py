import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from ruamel.yaml import YAML

from coursekit import studies
from coursekit.teaching import catalogue
from tests.colab.environment import REQUIREMENTS as COLAB_REQUIREMENTS

PROJECT = tomllib.loads((catalogue.REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COURSE = (catalogue.REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()

COLAB = COLAB_REQUIREMENTS.read_text(encoding="utf-8").splitlines()


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


def test_colab_keeps_its_own():
    package = requirements(PROJECT["dependencies"])
    colab = requirements(line for line in COLAB if not line.startswith("#"))
    assert set(package) - set(colab) == {"snntorch", "torchinfo"}
    for name in package.keys() & colab:
        for pinned in colab[name].specifier:
            assert package[name].specifier.contains(Version(pinned.version)), name


def test_every_extra_has_lower_bounds():
    for extra in PROJECT["optional-dependencies"].values():
        assert all(re.fullmatch(r"[\w-]+>=[\d.]+", requirement) for requirement in extra)


def test_package_of_two_extras_has_one_bound():
    bounds = [
        (requirement.name, str(requirement.specifier))
        for extra in PROJECT["optional-dependencies"].values()
        for requirement in requirements(extra).values()
    ]
    assert len(dict(bounds)) == len(set(bounds))


def test_message_without_optuna_says_what_the_extra_says(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError) as error:
        studies.open_study("search.journal", "a problem")
    (requirement,) = PROJECT["optional-dependencies"]["search"]
    assert str(error.value).endswith(f'pip install "{requirement}"')
    assert requirement in PROJECT["optional-dependencies"]["test"]


def test_citation_says_what_the_project_says():
    citation = YAML(typ="safe").load(catalogue.REPOSITORY / "CITATION.cff")
    readme = (catalogue.REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert citation["version"] == PROJECT["version"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert " AND ".join(citation["license"]) == PROJECT["license"]
    assert citation["abstract"] == PROJECT["description"]
    assert readme.startswith(f"# {citation['title']}\n")


def test_wheel_carries_all_that_the_package_needs(tmp_path):
    source = (
        tmp_path / "source"
    )  # a copy: building leaves its traces, and may pick up those of earlier builds
    shutil.copytree(
        catalogue.REPOSITORY / "coursekit", source / "coursekit", ignore=shutil.ignore_patterns("*.pyc")
    )
    shutil.copytree(catalogue.REPOSITORY / "data", source / "data")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(catalogue.REPOSITORY / name, source)
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
        path.relative_to(catalogue.REPOSITORY).as_posix()
        for path in (catalogue.REPOSITORY / "coursekit").rglob("*.*")
        if path.is_file() and path.suffix != ".pyc"
    }
    stored = (path.name for path in (catalogue.REPOSITORY / "data").glob("*.npz"))
    shipped = {"__init__.py", "LICENSE.unicode", *stored}
    assert inside == tracked | {f"coursekit/datasets/{name}" for name in shipped}
