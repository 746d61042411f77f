"""Code with one small change in it, in every place where there can be one.

A solution with a change does what the attempt of somebody who made that slip does; an attempt that is right after one
change had its mistake there.
"""

import ast
import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType

_OPERATORS = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div, ast.Add], ast.Div: [ast.Mult, ast.Sub],
    ast.FloorDiv: [ast.Div], ast.MatMult: [ast.Mult], ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.And: [ast.Or], ast.Or: [ast.And],
    **{one: [ast.Lt, ast.LtE, ast.Gt, ast.GtE] for one in (ast.Lt, ast.LtE, ast.Gt, ast.GtE)},
}  # fmt: skip
_TAKEN_FOR = (  # functions that are taken for each other
    {"sum", "mean", "amax", "median", "prod"}, {"max", "min", "sum", "mean"}, {"amax", "amin"}, {"norm", "sum"},
    {"argmax", "argmin", "amax"}, {"std", "var"}, {"square", "abs", "sqrt"}, {"minimum", "maximum"}, {"exp", "exp2"},
    {"log", "log2", "log10", "exp"}, {"sin", "cos", "tan"}, {"floor", "ceil", "round"}, {"sigmoid", "tanh", "relu"},
    {"softmax", "log_softmax"}, {"cumsum", "cumprod"}, {"triu", "tril"}, {"stack", "cat"}, {"zeros", "ones"},
    {"zeros_like", "ones_like"}, {"rand", "randn"}, {"rand_like", "randn_like"},
)  # fmt: skip
_LONGEST = 60  # characters of code on either side
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


def with_one_change(source: str, scope: dict) -> Iterator[tuple[str, Callable]]:
    """Yield what `source` defines, a function or a class, with one change: in words, and the thing itself.

    A change is another operator, function, constant, name, index, argument or pair of parentheses, two names or two
    lines that change places, or something left out. `scope` holds the names that the code uses.
    """
    tree = ast.parse(source)
    (definition,) = tree.body
    for words, put_back in _changed(tree, scope):
        if made := _made(tree, definition.name, scope):
            yield words, made
        put_back()


def _changed(tree: ast.Module, scope: dict) -> Iterator[tuple[str, Callable]]:
    """Change a tree in one way after the other; yield each change in words, and what undoes it."""
    nodes = list(ast.walk(tree))[2:]
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    yield from _in_one_place(nodes, parents, scope)
    yield from _everywhere(nodes, parents, scope)
    yield from _swapped(nodes)
    yield from _in_other_order([tree.body[0], *nodes])


def _in_one_place(nodes: list[ast.AST], parents: dict, scope: dict) -> Iterator[tuple[str, Callable]]:
    names, which = _names(nodes), _which(nodes)
    for node in nodes:
        for change in _changes(node, names, scope):
            if words := _words(node, change, parents, which):
                yield words, _put(parents[node], node, change)


def _which(nodes: list[ast.AST]) -> dict[ast.AST, str]:
    """Return for each piece of code that stands in several places which of them it is, such as "the second "."""
    alike = defaultdict(list)
    for node in sorted(nodes, key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))):
        if isinstance(node, ast.expr | ast.stmt):
            alike[type(node), ast.unparse(node)].append(node)
    groups = (group for group in alike.values() if 1 < len(group) <= len(_ORDINALS))
    return {node: f"the {word} " for group in groups for node, word in zip(group, _ORDINALS, strict=False)}


def _everywhere(nodes: list[ast.AST], parents: dict, scope: dict) -> Iterator[tuple[str, Callable]]:
    """The same change of an expression in all places where it stands."""
    names, alike = _names(nodes), defaultdict(list)
    for node in nodes:
        if isinstance(node, ast.expr):
            alike[ast.dump(node)].append(node)
    for group in (group for group in alike.values() if len(group) > 1):
        for changes in zip(*(_changes(node, names, scope) for node in group), strict=True):
            before, after = ast.unparse(group[0]), ast.unparse(changes[0])
            if max(len(before), len(after)) <= _LONGEST:
                places = zip(group, changes, strict=True)
                undo = [_put(parents[node], node, change) for node, change in places]
                yield f"with `{after}` in place of `{before}` everywhere", partial(_all, undo)


def _swapped(nodes: list[ast.AST]) -> Iterator[tuple[str, Callable]]:
    used = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    found = [name for name in _names(nodes) if name in {node.id for node in used}]
    for one, other in itertools.combinations(found, 2):
        swap = partial(_swap, used, one, other)
        swap()
        yield f"with `{one}` and `{other}` swapped", swap


def _in_other_order(nodes: list[ast.AST]) -> Iterator[tuple[str, Callable]]:
    for lines in (node.body for node in nodes if isinstance(getattr(node, "body", None), list)):
        for place in range(len(lines) - 1):
            first, second = map(ast.unparse, lines[place : place + 2])
            if max(len(first), len(second)) <= _LONGEST:
                turn = partial(_turn, lines, place)
                turn()
                yield f"with `{second}` before `{first}`", turn


def _all(undo: list[Callable]) -> None:
    for put_back in undo:
        put_back()


def _names(nodes: list[ast.AST]) -> list[str]:
    """Return the names of the arguments and of what the code assigns, without `self`."""
    arguments = [node.arg for node in nodes if isinstance(node, ast.arg)]
    assigned = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return [name for name in dict.fromkeys([*arguments, *assigned]) if name != "self"]


def _swap(names: list[ast.Name], one: str, other: str) -> None:
    for node in names:
        if node.id in (one, other):
            node.id = other if node.id == one else one


def _turn(lines: list[ast.stmt], place: int) -> None:
    lines[place], lines[place + 1] = lines[place + 1], lines[place]


def _made(tree: ast.Module, name: str, scope: dict) -> Callable | None:
    """Return what the code defines under a name, None where it is none, such as `*a` alone."""
    scope = dict(scope)
    try:
        with warnings.catch_warnings(action="ignore"):
            exec(compile(tree, "<a change>", "exec"), scope)
    except Exception:  # no program, or none that defines it
        return None
    return scope[name]


def _put(parent: ast.AST, node: ast.AST, change: ast.AST) -> Callable[[], None]:
    """Put something in the place of a node, and return what puts the node back."""
    ast.fix_missing_locations(ast.copy_location(change, node))
    for field, value in ast.iter_fields(parent):
        if value is node:
            setattr(parent, field, change)
            return lambda: setattr(parent, field, node)
        if isinstance(value, list) and node in value:
            place = value.index(node)
            value[place] = change
            return lambda: value.__setitem__(place, node)
    raise ValueError(f"{ast.dump(node)} is no part of {ast.dump(parent)}")


def _words(node: ast.AST, change: ast.AST, parents: dict, which: dict) -> str:
    """Return what a change puts in place of what, seen in the expression around it; "" where even the node is long."""
    if isinstance(change, ast.Pass):
        lost = ast.unparse(node)
        return f"without {which.get(node, '')}`{lost}`" if len(lost) <= _LONGEST else ""
    if isinstance(node, ast.If):
        return f"without the case `{ast.unparse(node.test)}`"
    around = node
    while isinstance(around, ast.Constant | ast.Name | ast.Slice | ast.UnaryOp) and around in parents:
        around = parents[around]
    if around is not node:
        before, put_back = ast.unparse(around).strip(), _put(parents[node], node, change)
        after = ast.unparse(around).strip()
        put_back()
        if max(len(before), len(after)) <= _LONGEST:
            return f"with `{after}` in place of {which.get(around, '')}`{before}`"
    before, after = ast.unparse(node), ast.unparse(change)
    if max(len(before), len(after)) > _LONGEST:
        return ""
    return f"with `{after}` in place of {which.get(node, '')}`{before}`"


def _changes(node: ast.AST, names: list[str], scope: dict) -> Iterator[ast.AST]:
    """Yield what may stand by mistake in place of a node; `pass` for a line that is left out."""
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            yield from (left, right)
            yield from (ast.BinOp(left, other(), right) for other in _OPERATORS.get(type(op), []))
            if not isinstance(op, ast.Add | ast.Mult):
                yield ast.BinOp(right, op, left)
            yield from _other_parentheses(left, op, right)
            yield from (ast.BinOp(_as_column(left), op, right), ast.BinOp(left, op, _as_column(right)))
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            yield from (ast.Compare(left, [other()], [right]) for other in _OPERATORS.get(type(op), []))
        case ast.BoolOp(op=op, values=values):
            yield from (ast.BoolOp(other(), values) for other in _OPERATORS[type(op)])
            yield from values
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from (ast.Constant(other) for other in (value + 1, value - 1, -value, 0, 1, 2))
            yield from (ast.Name(name, ast.Load()) for name in names)
        case ast.Constant(value=float(value)):
            yield from (ast.Constant(other) for other in (2 * value, value / 2, -value, 0.0, 1.0))
            yield from (ast.Name(name, ast.Load()) for name in names)
        case ast.Name(id=name, ctx=ast.Load()) if name != "self" and not isinstance(
            scope.get(name), ModuleType
        ):
            yield from (ast.Name(other, ast.Load()) for other in names if other != name)
        case ast.Attribute(value=value, attr="T" | "mT"):
            yield value
        case ast.Slice(lower=lower, upper=upper, step=step):
            yield from (ast.Slice(None, upper, step), ast.Slice(lower, None, step), ast.Slice(lower, upper))
        case ast.Subscript(value=value, slice=index, ctx=ast.Load()):
            yield value
            if not isinstance(index, ast.Slice | ast.Tuple | ast.Constant):
                yield from (ast.Subscript(value, other, ast.Load()) for other in _off_by_one(index))
        case ast.Call():
            yield from _changes_in_a_call(node)
        case ast.IfExp(body=body, orelse=orelse):
            yield from (orelse, body)
        case ast.If(body=body, orelse=orelse):
            yield ast.If(ast.Constant(False), body, orelse)
        case ast.AugAssign(target=target, op=op, value=value):
            yield from (ast.AugAssign(target, other(), value) for other in _OPERATORS.get(type(op), []))
            yield from (ast.copy_location(ast.Assign([target], value), node), ast.Pass())
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            if any(isinstance(one, ast.Name) and one.id == name for one in ast.walk(value)):
                yield ast.Pass()


def _changes_in_a_call(node: ast.Call) -> Iterator[ast.AST]:
    """Yield another function for this one, nothing in its place, and other arguments."""
    func, args, keywords = node.func, node.args, node.keywords
    name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    for other in sorted({one for alike in _TAKEN_FOR if name in alike for one in alike} - {name}):
        called = ast.Attribute(func.value, other, ast.Load()) if isinstance(func, ast.Attribute) else None
        yield ast.Call(called or ast.Name(other, ast.Load()), args, keywords)
    yield from (ast.Call(func, args, [one for one in keywords if one is not lost]) for lost in keywords)
    if isinstance(func, ast.Attribute):
        yield func.value  # where it is a module, what comes out agrees with nobody
    yield from args[:1]
    yield from (ast.Call(func, [one for one in args if one is not lost], keywords) for lost in args[1:])
    if len(args) > 1:
        yield ast.Call(func, [args[1], args[0], *args[2:]], keywords)
    inside = _subject(node)
    if inside:
        yield _of(node, ast.UnaryOp(ast.USub(), inside))
    if isinstance(inside, ast.BinOp):  # what is added or multiplied before the function, after it
        left, op, right = inside.left, inside.op, inside.right
        yield from (ast.BinOp(_of(node, left), op, right), ast.BinOp(left, op, _of(node, right)))
    if name == "range":
        end = min(len(args), 2) - 1
        yield from (
            ast.Call(func, [*args[:end], other, *args[end + 1 :]], keywords)
            for other in _off_by_one(args[end])
        )


def _off_by_one(number: ast.expr) -> Iterator[ast.expr]:
    yield from (ast.BinOp(number, step(), ast.Constant(1)) for step in (ast.Add, ast.Sub))


def _other_parentheses(left: ast.expr, op: ast.operator, right: ast.expr) -> Iterator[ast.expr]:
    """Yield the same operations in another order, and an operation after a function before it."""
    if isinstance(right, ast.BinOp):
        yield ast.BinOp(ast.BinOp(left, op, right.left), right.op, right.right)
        yield ast.BinOp(right.left, right.op, ast.BinOp(left, op, right.right))
    if isinstance(left, ast.BinOp):
        yield ast.BinOp(left.left, left.op, ast.BinOp(left.right, op, right))
        yield ast.BinOp(ast.BinOp(left.left, op, right), left.op, left.right)
    if inside := _subject(left):
        yield _of(left, ast.BinOp(inside, op, right))
    if inside := _subject(right):
        yield _of(right, ast.BinOp(left, op, inside))


def _as_column(node: ast.expr) -> ast.expr:
    return ast.Subscript(node, ast.Tuple([ast.Slice(), ast.Constant(None)], ast.Load()), ast.Load())


def _subject(node: ast.expr) -> ast.expr | None:
    """Return what a function is applied to, its first argument or, as in `x.sum()`, what stands before the dot."""
    match node:
        case ast.Call(func=ast.Attribute(value=value), args=[]):
            return value
        case ast.Call(args=[first, *_]):
            return first
    return None


def _of(call: ast.Call, subject: ast.expr) -> ast.Call:
    """Return a call that is applied to something else."""
    if call.args:
        return ast.Call(call.func, [subject, *call.args[1:]], call.keywords)
    return ast.Call(ast.Attribute(subject, call.func.attr, ast.Load()), [], call.keywords)
