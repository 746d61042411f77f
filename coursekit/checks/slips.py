"""A solution with one small slip in it, in every place where there can be one: whoever made it computes the same."""

import ast
import warnings
from collections.abc import Callable, Iterator

_OPERATORS = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div, ast.Add], ast.Div: [ast.Mult, ast.Sub],
    ast.FloorDiv: [ast.Div], ast.MatMult: [ast.Mult], ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr],
    ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.GtE], ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.And: [ast.Or], ast.Or: [ast.And],
}  # fmt: skip
_TAKEN_FOR = (  # functions that are taken for each other
    {"sum", "mean", "amax", "median", "prod"}, {"max", "min", "sum", "mean"}, {"amax", "amin"}, {"argmax", "argmin"},
    {"std", "var"}, {"norm", "sum"}, {"log", "log2", "log10", "exp"}, {"exp", "exp2"}, {"square", "abs", "sqrt"},
    {"sin", "cos", "tan"}, {"floor", "ceil", "round"}, {"rand", "randn"}, {"rand_like", "randn_like"},
    {"zeros", "ones"}, {"zeros_like", "ones_like"}, {"sigmoid", "tanh", "relu"}, {"softmax", "log_softmax"},
    {"minimum", "maximum"}, {"triu", "tril"}, {"cumsum", "cumprod"}, {"stack", "cat"},
)  # fmt: skip
_LONGEST = 60  # characters of code on either side


def with_one_slip(source: str, scope: dict) -> Iterator[tuple[str, Callable]]:
    """Yield what `source` defines, a function or a class, with one slip: in words, and the thing itself.

    A slip is another operator, function, constant, index or argument, or something left out. `scope` holds the names
    that the code uses.
    """
    tree = ast.parse(source)
    (definition,) = tree.body
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    arguments = [one.arg for node in ast.walk(tree) if isinstance(node, ast.arguments) for one in node.args]
    seen = {ast.dump(tree)}
    for node in list(ast.walk(tree))[2:]:
        for slip in _slips(node, arguments):
            words = _words(node, slip, parents)
            put_back = _put(parents[node], node, slip)
            if words and ast.dump(tree) not in seen:
                seen.add(ast.dump(tree))
                if made := _made(tree, definition.name, scope):
                    yield words, made
            put_back()


def _made(tree: ast.Module, name: str, scope: dict) -> Callable | None:
    """Return what the code defines under a name, None where it is none, such as `*a` alone."""
    scope = dict(scope)
    try:
        with warnings.catch_warnings(action="ignore"):
            exec(compile(ast.fix_missing_locations(tree), "<a slip>", "exec"), scope)
    except SyntaxError:
        return None
    return scope[name]


def _put(parent: ast.AST, node: ast.AST, slip: ast.AST) -> Callable[[], None]:
    """Put a slip in the place of a node, and return what puts the node back."""
    for field, value in ast.iter_fields(parent):
        if value is node:
            setattr(parent, field, slip)
            return lambda: setattr(parent, field, node)
        if isinstance(value, list) and node in value:
            place = value.index(node)
            value[place] = slip
            return lambda: value.__setitem__(place, node)
    raise ValueError(f"{ast.dump(node)} is no part of {ast.dump(parent)}")


def _words(node: ast.AST, slip: ast.AST, parents: dict) -> str:
    """Return what a slip puts in place of what, seen in the expression around it; "" where that is long."""
    if isinstance(slip, ast.Pass):
        return f"without `{ast.unparse(node)}`" if len(ast.unparse(node)) <= _LONGEST else ""
    if isinstance(node, ast.If):
        return f"without the case `{ast.unparse(node.test)}`"
    around = node
    while isinstance(around, ast.Constant | ast.Name | ast.Slice | ast.UnaryOp) and around in parents:
        around = parents[around]
    before = ast.unparse(around)
    if around is node:
        after = ast.unparse(slip)
    else:
        put_back = _put(parents[node], node, slip)
        after = ast.unparse(around)
        put_back()
    return f"with `{after}` in place of `{before}`" if max(len(before), len(after)) <= _LONGEST else ""


def _slips(node: ast.AST, arguments: list[str]) -> Iterator[ast.AST]:
    """Yield what may stand by mistake in place of a node; `pass` for a line that is left out."""
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            yield from (left, right)
            yield from (ast.BinOp(left, other(), right) for other in _OPERATORS.get(type(op), []))
            if not isinstance(op, ast.Add | ast.Mult):
                yield ast.BinOp(right, op, left)
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
        case ast.Constant(value=float(value)):
            yield from (ast.Constant(other) for other in (2 * value, value / 2, -value, 0.0, 1.0))
        case ast.Name(id=name, ctx=ast.Load()) if name in arguments:
            yield from (ast.Name(other, ast.Load()) for other in arguments if other not in (name, "self"))
        case ast.Attribute(value=value, attr="T" | "mT"):
            yield value
        case ast.Slice(lower=lower, upper=upper, step=step):
            yield from (ast.Slice(None, upper, step), ast.Slice(lower, None, step), ast.Slice(lower, upper))
        case ast.Subscript(value=value, slice=index, ctx=ast.Load()):
            yield value
            if not isinstance(index, ast.Slice | ast.Tuple):
                yield from (ast.Subscript(value, other, ast.Load()) for other in _off_by_one(index))
        case ast.Call():
            yield from _slips_in_a_call(node)
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


def _slips_in_a_call(node: ast.Call) -> Iterator[ast.AST]:
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
    if name == "range":
        end = min(len(args), 2) - 1
        yield from (
            ast.Call(func, [*args[:end], other, *args[end + 1 :]], keywords)
            for other in _off_by_one(args[end])
        )


def _off_by_one(number: ast.expr) -> Iterator[ast.expr]:
    yield from (ast.BinOp(number, step(), ast.Constant(1)) for step in (ast.Add, ast.Sub))
