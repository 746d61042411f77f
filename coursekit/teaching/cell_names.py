"""Which cell of a lesson gives a name to what, and which cells need it: what a student meets who runs cells again."""

import ast
import builtins
import re
import symtable
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from IPython.core.inputtransformer2 import TransformerManager

from coursekit.checks import CodeExercise
from coursekit.teaching.catalogue import Lesson

_TRAINS = re.compile(r"\.backward\(|\.step\(|\btrain\.fit\(|\bfit\(")


@dataclass
class Cell:
    """A code cell: its number in the notebook, its section and part, its tree, what it binds and what it needs.

    `number` counts all cells from 1, as JupyterLab does in a list of cells. `kept` are the names that it binds to what
    they are bound to already: `softmax = ex.softmax.or_solution(softmax)`.
    """

    number: int
    section: str
    part: int
    source: str
    exercise: str
    tree: ast.Module
    binds: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)


def names(code: str) -> tuple[set[str], set[str]]:
    """Return the names that a cell's code binds, and those it needs from cells before it.

    Raises SyntaxError for code that is none.
    """
    return _names(ast.parse(TransformerManager().transform_cell(code)))


def supporting(code: list[Cell], needs: set[str], before: int) -> list[Cell]:
    """Return the cells above the cell number `before` that give names to what is needed, and what those need, in order.

    Cells of exercises are left out, and so are those that only take an exercise's answer.
    """
    found = {}
    for name in needs:
        binding = [
            cell
            for cell in code
            if cell.number < before and name in cell.binds - cell.kept and not cell.exercise
        ]
        if binding:
            found |= {cell.number: cell for cell in supporting(code, binding[-1].needs, binding[-1].number)}
            found[binding[-1].number] = binding[-1]
    return [found[number] for number in sorted(found)]


def cells(lesson: Lesson) -> list[Cell]:
    """Return the code cells of a lesson with the names they bind and need."""
    found, number = [], 0
    for section in lesson.sections:
        for cell in section.cells:
            number += 1
            if cell.cell_type == "code":
                code = TransformerManager().transform_cell(cell.source)
                name = cell.metadata.get("exercise", "")
                one = Cell(number, section.title, section.part, cell.source, name, ast.parse(code))
                one.binds, one.needs = _names(one.tree)
                one.kept = {name for name, _ in _or_solutions(one.tree)} & one.needs
                found.append(one)
    return found


def rebound(lesson: Lesson) -> list[str]:
    """Return a sentence for every name that a later cell binds to another thing, while one before needs the first."""
    code, problems = cells(lesson), []
    for name, binding in _bindings(code).items():
        last = binding[-1].number
        for cell in code:
            first = max((one.number for one in binding if one.number < cell.number), default=last)
            if name in cell.needs - cell.kept and first != last:
                problems.append(
                    f"cell {cell.number} needs the `{name}` of cell {first}, but cell {last} binds `{name}` again: "
                    "give one of them another name"
                )
                break
    return problems


def needed_from_part_2(lesson: Lesson) -> list[str]:
    """Return a sentence for every name that Part 1 needs and Part 2 binds."""
    code, problems = cells(lesson), []
    for name, binding in _bindings(code).items():
        if all(one.part == 2 for one in binding):
            problems += [
                f"cell {cell.number} is in Part 1 and needs `{name}`, which cell {binding[0].number} in Part 2 binds: "
                "move one of them, since Part 1 has to do without Part 2"
                for cell in code
                if cell.part == 1 and name in cell.needs
            ]
    return problems


def needed_from_other_sections(lesson: Lesson) -> list[str]:
    """Return a sentence for every name that a section of Part 2 needs of another one."""
    code, problems = cells(lesson), []
    for name, binding in _bindings(code).items():
        for cell in code:
            if cell.part == 1 or name not in cell.needs:
                continue
            source = max(
                (one for one in binding if one.number < cell.number), key=_number, default=binding[0]
            )
            if source.part == 2 and source.section != cell.section:
                problems.append(
                    f"cell {cell.number} in “{cell.section}” needs `{name}` of cell {source.number} in "
                    f"“{source.section}”: make it in the same section or in Part 1, since sections of Part 2 can be "
                    "taken one by one"
                )
    return problems


def unused_answers(lesson: Lesson) -> list[str]:
    """Return a sentence where less than half of the exercises in code are used after their verdict."""
    code = cells(lesson)
    asked = [name for name, exercise in lesson.exercises.items() if isinstance(exercise, CodeExercise)]
    used = {name for number, cell in enumerate(code) for name in _used(cell, code[number + 1 :])}
    unused = [name for name in asked if name not in used]
    if 2 * len(unused) <= len(asked):
        return []
    return [
        f"{len(asked) - len(unused)} of {len(asked)} exercises in code are used after their verdict, at least half "
        "have to be: through `ex.NAME.or_solution(NAME)`, let later cells work with some of "
        + ", ".join(unused)
    ]


def answers_given_away(lesson: Lesson) -> list[str]:
    """Return a sentence for every cell that shows the answer of an exercise before Part 1 is over."""
    answers = {
        _body(exercise.source()): name
        for name, exercise in lesson.exercises.items()
        if isinstance(exercise, CodeExercise)
    }
    problems = []
    for cell in cells(lesson):
        if cell.part == 1:
            shown = re.findall(r"\bex\.(\w+)\.solution\(", cell.source)
            shown += [
                answers[body] for body in map(_body, _definitions(cell.tree).values()) if body in answers
            ]
            problems += [
                f"cell {cell.number} shows the answer of exercise `{name}` before Part 1 is over: move it to Part 2, "
                "or let the cell use what the learner wrote"
                for name in shown
            ]
    return problems


def quick_cells(lesson: Lesson) -> list[int]:
    """Return the numbers of the code cells that train nothing, neither themselves nor by a function that they call."""
    code = cells(lesson)
    definitions = {name: source for cell in code for name, source in _definitions(cell.tree).items()}
    training = {name for name, source in definitions.items() if _TRAINS.search(source)}
    size = -1
    while size != len(training):  # those that call one of them, and so on
        size = len(training)
        training |= {name for name, source in definitions.items() if _calls(source, training)}
    return [
        cell.number
        for cell in code
        if not _TRAINS.search(text := _outside_definitions(cell.tree)) and not _calls(text, training)
    ]


# Reading code ------------------------------------------------------------------------------------------


def _bindings(code: list[Cell]) -> dict[str, list[Cell]]:
    """Return for every name the cells that bind it to something new, in order."""
    found = defaultdict(list)
    for cell in code:
        for name in cell.binds - cell.kept:
            found[name].append(cell)
    return dict(found)


def _names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Return the names that code binds when it runs, and those that it needs from before.

    A function's body counts as needing what it does not bind itself, unless the cell binds it, before or after.
    """
    bound, needed, later = set(), set(), set()
    for statement in tree.body:
        now, inside = _uses(statement)
        needed |= now - bound
        later |= inside
        bound |= {node.id for node in _own(statement) if isinstance(node, ast.Name) and _is_stored(node)}
        bound |= {node.name for node in _own(statement) if isinstance(node, _DEFINITIONS)}
        for node in _own(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return bound, {name for name in needed | (later - bound) if not hasattr(builtins, name)}


_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_SCOPES = (*_DEFINITIONS.__args__, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _own(statement: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a statement that belong to the scope it stands in, definitions without what is in them."""
    yield statement
    if not isinstance(statement, _SCOPES):
        for child in ast.iter_child_nodes(statement):
            yield from _own(child)


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store | ast.Del)


def _uses(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """Return the names that a statement reads as it runs, and those that functions defined in it will read."""
    table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    now = {one.get_name() for one in table.get_symbols() if one.is_referenced()}
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        now.add(statement.target.id)
    stored = {node.id for node in _own(statement) if isinstance(node, ast.Name) and _is_stored(node)}
    if isinstance(statement, ast.For | ast.With | ast.If | ast.Try | ast.While):
        now -= stored  # bound on the way, in the order of the block
    return now, {name for child in table.get_children() for name in _globals(child)}


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_global() and symbol.is_referenced():
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


def _or_solutions(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names bound by `name = ex.exercise.or_solution(...)`, each with that of the exercise."""
    for node in ast.walk(tree):
        called = isinstance(node, ast.Assign) and re.match(
            r"ex\.(\w+)\.or_solution\(", ast.unparse(node.value)
        )
        if called:
            yield from ((ast.unparse(target), called[1]) for target in node.targets)


def _used(cell: Cell, later: list[Cell]) -> Iterator[str]:
    """Yield the exercises whose answer a cell takes, if this cell or a later one works with it."""
    for target, exercise in _or_solutions(cell.tree):
        in_place = len(re.findall(rf"\b{target}\b", ast.unparse(cell.tree))) > 2 + (target == exercise)
        if in_place or any(target in one.needs and one.exercise != target for one in later):
            yield exercise
    for exercise in re.findall(r"\bex\.(\w+)\.or_solution\(", ast.unparse(cell.tree)):
        if exercise not in dict(map(reversed, _or_solutions(cell.tree))):
            yield exercise  # used where it is taken: model.apply(ex.init.or_solution(init))


def _definitions(tree: ast.Module) -> dict[str, str]:
    return {node.name: ast.unparse(node) for node in tree.body if isinstance(node, _DEFINITIONS)}


def _outside_definitions(tree: ast.Module) -> str:
    return "\n".join(ast.unparse(node) for node in tree.body if not isinstance(node, _DEFINITIONS))


def _calls(source: str, functions: set[str]) -> bool:
    return any(re.search(rf"\b{name}\(", source) for name in functions)


def _number(cell: Cell) -> int:
    return cell.number


def _body(definition: str) -> str:
    """Return a definition without its own name and docstring."""
    node = ast.parse(definition).body[0]
    for inner in ast.walk(node):
        if isinstance(inner, _DEFINITIONS) and ast.get_docstring(inner) is not None:
            inner.body = inner.body[1:]
    node.name, node.decorator_list = "_", []
    return ast.unparse(node)
