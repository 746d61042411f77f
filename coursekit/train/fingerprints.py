"""Values and functions in words, short and the same in every kernel, so that two of them can be compared.

Words that begin with UNKNOWN stand for what cannot be compared: objects whose contents may change as training goes on.
"""

import contextlib
import dataclasses
import dis
import enum
import functools
import types
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

UNKNOWN = "? "
_PLAIN = (
    bool, int, float, complex, str, bytes, type(None), type(...), range, slice,
    np.generic, torch.dtype, torch.device, enum.Enum, Path,
)  # fmt: skip
_LIBRARIES = {"coursekit", "torch", "torchvision", "numpy"}  # their functions are told by name
_REBIND = {"STORE_DEREF", "DELETE_DEREF", "STORE_GLOBAL", "DELETE_GLOBAL"}


# Values ------------------------------------------------------------------------------------------------


def words(value: object) -> str:
    """Return a value in one line; after UNKNOWN only its type, where its contents may change."""
    if isinstance(value, Tensor) and value.ndim == 0:
        return repr(value.item())
    checksum = checksum_of(value)
    if checksum is None or (isinstance(value, list | dict | set) and not value):  # to be filled, perhaps
        return UNKNOWN + type(value).__qualname__
    if isinstance(value, Tensor | np.ndarray):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} with checksum {checksum:08x}"
    if isinstance(value, _PLAIN) or (_is_plain_list(value) and len(repr(value)) < 100):
        return repr(value)
    return f"{type(value).__qualname__} with checksum {checksum:08x}"


def _is_plain_list(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(entry, _PLAIN) for entry in value)


def checksum_of(value: object, so_far: int = 0) -> int | None:
    """Return the CRC-32 of tensors, arrays, numbers, names and what is made of them; None for other objects."""
    if isinstance(value, Tensor) and value.layout == torch.strided:
        value = value.detach().cpu().contiguous()
        raw = value.reshape(-1).view(torch.uint8).numpy() if value.numel() else b""
        return crc32(raw, crc32(f"{tuple(value.shape)} {value.dtype}".encode(), so_far))
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        raw = np.ascontiguousarray(value).tobytes()
        return crc32(raw, crc32(f"{value.shape} {value.dtype}".encode(), so_far))
    if isinstance(value, _PLAIN):
        return crc32(repr(value).encode(), so_far)
    parts = _parts(value)
    if parts is None:
        return None
    so_far = crc32(f"{type(value).__qualname__} of {len(parts)}".encode(), so_far)
    for part in parts:
        so_far = checksum_of(part, so_far)
        if so_far is None:
            return None
    return so_far


def _parts(value: object) -> list | tuple | None:
    """Return what a value is made of, in an order that every kernel gives it."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, dict):
        return list(value.items())
    if dataclasses.is_dataclass(value) and type(value).__dataclass_params__.frozen:  # such as a Split
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return None


# Functions ---------------------------------------------------------------------------------------------


def describe_callable(name: str, function: object, told: frozenset[int] = frozenset()) -> dict[str, str]:
    """Return what decides what a function does: its code, and the values it was given, closes over and looks up.

    The keys begin with `name`. Objects whose id is in `told` are left out.
    """
    told |= {id(function)}
    if isinstance(function, functools.partial):
        given = {
            f"argument {number}": value for number, value in enumerate(function.args, 1)
        } | function.keywords
        return describe_callable(name, function.func, told) | _described(name, given, told)
    if isinstance(function, types.MethodType):
        return _described(name, {"self": function.__self__}, told) | describe_callable(
            name, function.__func__, told
        )
    if not isinstance(function, types.FunctionType) or _root(function) in _LIBRARIES:
        named = isinstance(function, types.FunctionType | types.BuiltinFunctionType | type)
        return {name: function.__qualname__ if named else UNKNOWN + type(function).__qualname__}
    code = f"{function.__qualname__}, code {_checksum_of_code(function.__code__, function.__doc__):08x}"
    return {name: code} | _described(name, dict(_used(function)), told)


def _root(function: types.FunctionType) -> str:
    return (function.__module__ or "").split(".")[0]


def _described(name: str, values: dict[str, object], told: frozenset[int]) -> dict[str, str]:
    described = {}
    for own, value in values.items():
        if id(value) in told:
            continue
        if isinstance(value, types.FunctionType | types.MethodType | functools.partial):
            described |= describe_callable(f"{name}, {own}", value, told)
        elif not isinstance(value, types.ModuleType | types.BuiltinFunctionType | type):
            described[f"{name}, {own}"] = words(value)
    return described


def _used(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the names and values of defaults, closure and globals; those that the code itself sets are objects."""
    code = function.__code__
    defaults = function.__defaults__ or ()
    first = code.co_argcount - len(defaults)
    yield from zip(code.co_varnames[first:], defaults, strict=False)
    yield from (function.__kwdefaults__ or {}).items()
    operations = [(one.opname, one.argval) for one in _operations(code)]
    changing = {name for operation, name in operations if operation in _REBIND}
    looked_up = {name for operation, name in operations if operation == "LOAD_GLOBAL"}
    values = {name: function.__globals__[name] for name in sorted(looked_up & function.__globals__.keys())}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # it is empty
            values[name] = cell.cell_contents
    yield from ((name, object() if name in changing else value) for name, value in values.items())


def _operations(code: types.CodeType) -> Iterator[dis.Instruction]:
    yield from dis.get_instructions(code)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _operations(inner)


def _checksum_of_code(code: types.CodeType, docstring: str | None) -> int:
    constants = [
        _checksum_of_code(one, None) if isinstance(one, types.CodeType) else _ordered(one)
        for one in code.co_consts
        if docstring is None or one != docstring
    ]
    return crc32(repr((code.co_code, code.co_names, constants)).encode())


def _ordered(constant: object) -> object:
    return sorted(constant, key=repr) if isinstance(constant, frozenset) else constant
