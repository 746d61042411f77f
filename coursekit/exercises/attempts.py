"""Run a learner's code so that it can do no harm: with a time limit, its own randomness, its output kept apart."""

import contextlib
import dis
import inspect
import io
import random
import signal
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from coursekit import runtime

TIME_LIMIT_S = 5
_IDLE = {"RESUME", "NOP", "CACHE", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
_LIBRARIES = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(torch.__file__).parents[1]),
    str(Path(__file__).parents[1]),
    "<frozen",
    "<__array_function__",
)


class Stopped(BaseException):
    """Raised inside an attempt that has used up its time; no Exception, so `except Exception` lets it through."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Stopped in the block after `seconds`.

    Works by a POSIX timer, so only in the main thread, where notebooks run their cells, and not on Windows;
    elsewhere the block may take as long as it likes. Code inside a C extension is stopped when it returns.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_) -> None:
        raise Stopped

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)  # and again: a bare `except:` swallows one
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def own_randomness() -> Iterator[None]:
    """Seed all generators with 0 in the block, and leave them afterwards as they were before."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global generator is what we save
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        runtime.seed_everything(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def kept_apart() -> Iterator[io.StringIO]:
    """Collect what the block prints, on standard output and standard error."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        yield printed


def is_blank(attempt: object) -> bool:
    """Return whether nothing has been written yet: None, `...`, or code that does nothing.

    So an untouched `...` differs from a forgotten `return`, whose code does something. Of a class, the methods
    other than `__init__` count.
    """
    if attempt is None or attempt is ...:
        return True
    if inspect.isclass(attempt):
        methods = [item for name, item in vars(attempt).items() if inspect.isfunction(item)]
        return all(is_blank(method) for method in methods if method.__name__ != "__init__")
    if not inspect.isfunction(attempt):
        return False
    return all(
        step.opname in _IDLE and (step.argval is None or "CONST" not in step.opname)
        for step in dis.get_instructions(attempt)
    )


def learners_lines(error: BaseException) -> str:
    """Return where an error arose in the learner's own code, innermost line last; "" if in none of it."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_LIBRARIES)
    ]
    return "\n".join(f"line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames[-3:])
