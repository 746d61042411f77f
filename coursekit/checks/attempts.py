"""What an attempt is before it is run, and where it failed: blank or written, its own lines, what its error means."""

import dis
import inspect
import re
import sysconfig
import traceback
from pathlib import Path

import torch
from torch import nn

_IDLE = {"RESUME", "NOP", "CACHE", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
_LIBRARIES = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(torch.__file__).parents[1]),
    str(Path(__file__).parents[1]),
    "<frozen",
    "<__array_function__",
)

# What common errors mean
_ADVICE = {
    "Boolean value of Tensor": (
        "`if`, `and`, `or`, `max` ask one question about a whole tensor, but every number in it needs an answer. Use "
        "`torch.where`, `clamp`, `&`, `|`, or a comparison such as `a > 0`."
    ),
    "shapes cannot be multiplied|inconsistent tensor size|size mismatch": (
        "In a product the inner sizes have to be equal: (N, D) @ (D, M). Is a `.T` missing, are the factors in the "
        "wrong order, or is one of them a variable of the notebook, not an argument? In a network, a linear layer has "
        "to take as many numbers as the layers before it give."
    ),
    "must match the size of tensor": (
        "Two sizes meet, and neither is 1. After a reduction, `keepdim=True` keeps the axis, with size 1. A size "
        "written as a number into the code, or a sum begun with the wrong size, are other causes."
    ),
    "same dtype|different dtypes|but got: (float|double)|but found (Float|Double)": (
        "Two types of number meet. The check tries float32 and float64: make new tensors in the type of the input, "
        "`dtype=x.dtype`."
    ),
    "must be Tensor, not (float|int)": (
        "Torch's functions want tensors, and one of Python's own numbers arrived: use `math`, or make it a tensor."
    ),
    r"return_types\.(max|min)": "`max(dim=…)` gives two things, values and indices: take `.values`, or use `amax`.",
    "return_types": "This function gives several things at once: take the one you need by its place or name.",
    "in-place operation": (
        "`+=`, `-=` and functions such as `square_()` change the tensor itself, here one that records its gradient. "
        "Make a new one: `a = a + b`."
    ),
    "element 0 of tensors does not require grad": (
        "`backward()` finds nothing that was recorded: the loss was computed inside of `torch.no_grad()`, from a "
        "detached tensor or a number, or no input asks for a gradient: `x.requires_grad_()`."
    ),
    "only one[- ]element tensors|only length-1 arrays": (
        "A single number is wanted, and a tensor of several arrived. Python's `math` takes numbers: use `torch.sqrt`, "
        "`torch.exp`. And `torch.tensor` takes no tensors: join them with `torch.cat` or `torch.stack`."
    ),
    r"bitwise_xor|for \^:": "A power is written `**`: in Python `^` is an operation on bits.",
    "'(builtin_function_or_method|function|method)'": (
        "A function stands there, not its result: are its brackets missing?"
    ),
    "must be Tensor, not (list|tuple)|'(list|tuple)' object has no attribute 'layout'": (
        "One tensor is wanted, and several arrived in a list: join them, with `torch.cat` or `torch.stack`."
    ),
    "object has no attribute '(weight|bias)'": (
        "A whole network has no weight or bias, its layers have: loop over `model.parameters()`, which finds all."
    ),
    "'NoneType' object has no attribute": (
        "Something is None: a `.grad` before `backward()`, or of a tensor that asks for no gradient "
        "(`x.requires_grad_()`), or what came from a function without `return`."
    ),
    "out of bounds|out of range$": (
        "An index runs past the end: of K entries the last is K − 1. Is a loop one too long, or does it go by the "
        "size of another axis or another argument?"
    ),
    "Dimension out of range": (
        "There is no such axis: a tensor with n axes has axes 0 to n − 1. Is the axis wrong, or did a step before it "
        "drop one?"
    ),
    r"match the existing size \(0\)": (
        "Nothing is left of a slice: for n = 0, `[:-n]` is `[:0]`, which is empty. Write its end as size − n."
    ),
    "expanded size of the tensor|^expand": (
        "What is put in has another shape than its place. Is it to be summed first, or is an axis the wrong one?"
    ),
    "not implemented for '(Long|Int)'": (
        "This function computes with fractions, and integers arrived: are its arguments in the wrong order, or is a "
        "`.float()` missing?"
    ),
    "expected input.* to have .* channels": (
        "A convolution takes as many channels as the step before it gives: is it applied to the wrong tensor, or "
        "built for another number?"
    ),
    "requires grad": "A tensor that records its gradient does not become NumPy: `.detach()` first.",
    "name .* is not defined": (
        "Is the name misspelled, or, in a class, a `self.` missing in front of it? Or does a cell above define it that "
        "has not run since the kernel started? *Run All Above Selected Cell* in the Run menu runs them (in Colab, *Run "
        "before* in the Runtime menu)."
    ),
    "cannot access local variable|referenced before assignment": (
        "A variable is used before it has a value. If it counts or adds up, set it to 0 above the loop."
    ),
    "is not a Module subclass": (
        "`nn.Sequential` takes layers, made by calling their classes as in `nn.ReLU()`, and a list of them with a "
        "star: `nn.Sequential(*layers)`."
    ),
}


def is_blank(attempt: object) -> bool:
    """Return whether nothing has been written yet: None, `...`, or code that does nothing.

    So an untouched `...` differs from a forgotten `return`, whose code does something. Of a class, the methods
    other than `__init__` count, those of its bases included; and `__init__` where there is no other.
    """
    if attempt is None or attempt is ...:
        return True
    if inspect.isclass(attempt):
        own = [base for base in attempt.__mro__ if not base.__module__.startswith(("builtins", "torch"))]
        methods = {name: item for base in reversed(own) for name, item in vars(base).items()}
        written = [method for name, method in methods.items() if _is_written(name, method)]
        return all(map(is_blank, written)) if written else "__init__" not in methods
    if not inspect.isfunction(attempt):
        return False
    return all(
        step.opname in _IDLE and (step.argval is None or "CONST" not in step.opname)
        for step in dis.get_instructions(attempt)
    )


def missing_method(attempt: object, solution: object) -> str:
    """Return the name of a method that the solution, a class, has and the attempt lacks; "" if there is none."""
    if not (inspect.isclass(attempt) and inspect.isclass(solution)):
        return ""
    names = [name for name, item in vars(solution).items() if _is_written(name, item)]
    absent = (getattr(attempt, name, None) in (None, getattr(nn.Module, name, None)) for name in names)
    return next((name for name, is_absent in zip(names, absent, strict=True) if is_absent), "")


def _is_written(name: str, item: object) -> bool:
    return inspect.isfunction(item) and name != "__init__"


def advice(error: BaseException) -> str:
    """Return what an error usually means, "" if it is none of the common ones."""
    return next((meaning for words, meaning in _ADVICE.items() if re.search(words, str(error))), "")


def learners_lines(error: BaseException) -> str:
    """Return where an error arose in the learner's own code, innermost line last; "" if in none of it."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_LIBRARIES)
    ]
    return "\n".join(f"line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames[-3:])
