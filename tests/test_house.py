"""The rooms of the package: who imports whom, what a face holds, how large a room gets."""

import ast
import importlib
import tomllib

import pytest

from coursekit.teaching import catalogue
from coursekit.teaching.catalogue import REPOSITORY

PACKAGE = REPOSITORY / "coursekit"
MODULES = sorted(PACKAGE.rglob("*.py"))
LIMIT = 400  # lines
# What each room may import of the others; teaching is imported by none of them
BELOW = {
    "files": set(),
    "runtime": set(),
    "data": {"files"},
    "judge": {"data"},
    "train": {"data", "files", "runtime"},
    "studies": {"train"},
    "plots": {"train", "data"},
    "checks": {"data", "train", "plots", "runtime", "files"},
    "progress": {"checks"},
    "exercises": {"checks", "data", "train", "plots", "runtime"},
    "teaching": {"exercises", "progress", "checks", "data", "train", "plots", "runtime", "files"},
    "": set(),
}


def room(path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(path) -> list[tuple[str, str]]:
    """Return the imports of the package in a module: (module, name), name "" for a whole module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "coursekit":
            found += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "coursekit"]
    return found


@pytest.fixture(params=MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def module(request):
    return request.param


def test_imports_run_one_way(module):
    own = room(module)
    for origin, name in imports(module):
        other = [*origin.split("."), name][1]
        assert other == own or other in BELOW[own], f"{module.name}: from {origin} import {name}"


def test_other_rooms_are_entered_by_their_face(module):
    own = room(module)
    for origin, name in imports(module):
        path = origin.split(".")[1:]
        if path and path[0] != own:
            assert len(path) == 1, f"{module.name}: {origin} is inside of another room"
            offered = getattr(importlib.import_module(origin), "__all__", [name])
            assert name in offered, f"{origin} does not offer {name}"
        if name.startswith("_"):
            assert path[:1] == [own], f"{module.name}: {name} of {origin} is private"


@pytest.mark.parametrize("name", ["data", "train", "plots", "checks"])
def test_a_face_hands_names_on_and_defines_nothing(name):
    tree = ast.parse((PACKAGE / name / "__init__.py").read_text(encoding="utf-8"))
    docstring, *statements = tree.body
    assert isinstance(docstring, ast.Expr)
    *imported, offered = statements
    assert all(isinstance(statement, ast.ImportFrom) for statement in imported)
    names = {alias.name for statement in imported for alias in statement.names}
    assert set(ast.literal_eval(offered.value)) == names


def test_no_module_is_too_long_to_read(module):
    if room(module) != "exercises":
        assert len(module.read_text(encoding="utf-8").splitlines()) <= LIMIT


def test_exercises_hold_a_module_for_each_lesson_and_nothing_else():
    names = {path.name for path in (PACKAGE / "exercises").glob("*.py")} - {"__init__.py"}
    numbers = {lesson.stem[:2] for lesson in catalogue.lessons()}
    assert names == {f"lesson{number}.py" for number in numbers}


def test_every_package_is_installed():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    there = {
        path.parent.relative_to(REPOSITORY).as_posix().replace("/", ".")
        for path in PACKAGE.rglob("__init__.py")
    }
    assert listed == there | {"coursekit.datasets"}


FOLDERS = ("coursekit", "tests", "docs", "benchmarks", "data")
CODE = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_text_is_utf_8_on_every_system(path):
    calls = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    without = [
        call for call in calls if opens_text(call) and "encoding" not in {one.arg for one in call.keywords}
    ]
    assert [f"line {call.lineno}: {ast.unparse(call)[:60]}" for call in without] == []


def opens_text(call: ast.Call) -> bool:
    """Return whether a call reads or writes text: a file's, or that of another process."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name == "open":
        modes = {getattr(one, "value", None) for one in (*call.args, *(one.value for one in call.keywords))}
        return bool({"w", "a", "r"} & modes) or (isinstance(call.func, ast.Name) and len(call.args) == 1)
    of_a_process = any(one.arg == "text" and getattr(one.value, "value", "") is True for one in call.keywords)
    return name in ("read_text", "write_text") or of_a_process
