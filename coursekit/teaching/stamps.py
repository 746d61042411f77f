"""What the stored outputs of a lesson were made of: its code, and the code and data files that it uses.

A stamp holds a hash for the lesson's cells and for every file that had a part in the outputs. Of a module only those
definitions count that the lesson uses, directly or through others; they are found by name, in the syntax trees.
Comments, docstrings and blank lines do not count. A statement that binds no name, or only `_`, counts as soon as
anything of its module does, since it may act on the rest: `softmax.mistakes(...)`.
"""

import ast
import functools
import hashlib
import io
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from coursekit.teaching.catalogue import REPOSITORY

PACKAGE = "coursekit"
_CELLS = "cells"


def stamp(notebook: NotebookNode, root: Path = REPOSITORY) -> dict[str, str]:
    """Return a short hash for the cells of a lesson and for every file that it uses, by the file's path from `root`."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    used = _Used(root)
    used.follow(ast.parse("\n".join(map(TransformerManager().transform_cell, cells))), module="")
    hashes = {_CELLS: _hash(map(_bare, cells))}
    for path, statements in sorted(used.statements.items()):
        hashes[path] = _hash(statements[number] for number in sorted(statements))
    for path in sorted(used.files):
        hashes[path] = hashlib.sha256((root / path).read_bytes()).hexdigest()[:12]
    return hashes


def is_current(notebook: NotebookNode) -> bool:
    """Return whether a lesson's stored outputs were made by its present code and by what that uses now."""
    return not reasons(notebook)


def reasons(notebook: NotebookNode) -> list[str]:
    """Return why the stored outputs of a lesson are stale, a few words for each cause; none if they are not."""
    stored = notebook.metadata.get("coursekit", {}).get("stamp", {})
    if not isinstance(stored, dict) or not stored:
        return ["it was never recorded"]
    present = stamp(notebook)
    causes = ["its outputs are gone"] if _has_cells_not_run(notebook) else []
    causes += [f"{path} changed" for path in present if stored.get(path, present[path]) != present[path]]
    causes += [f"{path} is used now" for path in present if path not in stored]
    return causes + [f"{path} is no longer used" for path in stored if path not in present]


def _has_cells_not_run(notebook: NotebookNode) -> bool:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
    return any(cell.get("execution_count") is None for cell in cells)


def with_stamp(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook with the stamp of its present code."""
    notebook.metadata.coursekit["stamp"] = stamp(notebook)
    return notebook


class _Used:
    """The statements of the package that code needs, found by following names from module to module."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.statements: dict[str, dict[int, str]] = defaultdict(dict)
        self.files: set[str] = set()
        resources = [*root.glob("data/*.*"), *(root / PACKAGE).glob("*.mplstyle")]
        self._resources = {
            name: path.relative_to(root).as_posix() for path in resources for name in _called(path)
        }

    def follow(self, tree: ast.AST, module: str) -> None:
        """Take in all that a piece of code of `module` refers to; a module "" is no part of the package."""
        imported = dict(_imports(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in self._resources:
                self.files.add(self._resources[node.value])
            for name, attribute in _references(node):
                if name in imported:
                    self._follow_import(*imported[name], attribute)
                elif module:
                    self.need(module, name, attribute)

    def need(self, module: str, name: str, attribute: str = "") -> None:
        """Take in what `name` is bound to in a module, or all of the module `name` of a package."""
        code = _module(self.root, module)
        if code is None:
            return
        for number in (*code.binding.get(name, ()), *code.always):
            self._take(module, code, number, name, attribute)
        if name not in code.binding and _module(self.root, f"{module}.{name}"):
            self._need_module(f"{module}.{name}", attribute)

    def _need_module(self, module: str, attribute: str) -> None:
        """Take in one name of a module, or without one, since it is handed on as a whole, all of it."""
        for name in [attribute] if attribute else list(_module(self.root, module).binding):
            self.need(module, name)

    def _take(self, module: str, code: "_Module", number: int, name: str, attribute: str) -> None:
        statement = code.statements[number]
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._follow_import(*dict(_imports(statement))[name], attribute)
        elif number not in self.statements[code.path]:
            self.statements[code.path][number] = code.text(statement)
            self.follow(statement, module)

    def _follow_import(self, origin: str, name: str, attribute: str) -> None:
        if origin.split(".")[0] != PACKAGE:
            return
        if name:
            self.need(origin, name, attribute)
        else:
            self._need_module(origin, attribute)


class _Module:
    """A module's statements, those that bind each name, and those that act without binding one."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self._source = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        tree = ast.parse(self._source)
        self.statements = tree.body
        self.binding: dict[str, list[int]] = defaultdict(list)
        self.always = []
        for number, statement in enumerate(tree.body):
            names = set(_bound(statement)) - {"_"}
            for name in names:
                self.binding[name].append(number)
            is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not names and not is_docstring and not isinstance(statement, ast.Import | ast.ImportFrom):
                self.always.append(number)

    def text(self, statement: ast.stmt) -> str:
        first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", ()))])
        return _bare("\n".join(self._source.splitlines()[first - 1 : statement.end_lineno]))


@functools.cache
def _module(root: Path, name: str) -> _Module | None:
    """Return a module of the package, None where there is no such."""
    path = root.joinpath(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return _Module(file, root)
    return None


def _imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield every imported name with the module it comes from and its name there, "" for a module as a whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0], (alias.name, "")
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, (node.module, alias.name)


def _references(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names that a node refers to, each with the attribute taken of it, or ""."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield node.value.id, node.attr
    elif isinstance(node, ast.AST):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Name) and not isinstance(node, ast.Attribute):
                yield child.id, ""


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds in its module."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
    yield from dict(_imports(statement))


def _called(path: Path) -> tuple[str, ...]:
    """Return the names by which code calls a file: its own, and for a plot style that of matplotlib."""
    return path.name, f"{PACKAGE}.{path.stem}"


def _bare(source: str) -> str:
    """Return code without comments, docstrings and blank lines, the rest as it is written."""
    lines = source.splitlines()
    for first, start, last, end in sorted([*_comments(source), *_docstrings(source)], reverse=True):
        lines[first - 1 : last] = [lines[first - 1][:start] + lines[last - 1][end:]]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _comments(source: str) -> Iterator[tuple[int, int, int, int]]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield *token.start, *token.end
    except (tokenize.TokenError, SyntaxError):  # a cell with a magic
        return


def _docstrings(source: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield where the docstrings are; columns count characters, as those of comments do."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                start = len(lines[first.lineno - 1].encode()[: first.col_offset].decode())
                end = len(lines[first.end_lineno - 1].encode()[: first.end_col_offset].decode())
                yield first.lineno, start, first.end_lineno, end


def _hash(texts: Iterator[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
