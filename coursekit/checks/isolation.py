"""Run a learner's code so that it can do no harm, and so that no state of the kernel changes what is said of it."""

import contextlib
import functools
import io
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from coursekit import runtime


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Run the block under the defaults that a fresh kernel has, and put back afterwards whatever was there before.

    That is torch's default type and device, its recording of gradients, threads, ways of printing, NumPy's reaction
    to errors, the random generators, seeded with 0, and the open figures. So it does not matter what the learner has
    set before, and nothing that an answer sets stays.
    """
    before = _defaults()
    numpy_prints, numpy_errors = np.get_printoptions(), np.geterr()
    torch_prints, random = vars(torch._tensor_str.PRINT_OPTS).copy(), runtime.random_state()
    figures = _open_figures()
    try:
        _set_defaults(torch.float32, torch.device("cpu"), True, before[3])
        torch.set_printoptions(profile="default")
        runtime.set_random_state(_seeded())
        with np.errstate(), np.printoptions():
            np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
            yield
    finally:
        _set_defaults(*before)
        np.set_printoptions(
            **{name: value for name, value in numpy_prints.items() if name != "override_repr"}
        )
        np.seterr(**numpy_errors)
        vars(torch._tensor_str.PRINT_OPTS).update(torch_prints)
        runtime.set_random_state(random)
        _close(_open_figures() - figures)


@functools.cache
def _seeded() -> dict:
    """Return the state of the random generators after seed 0: putting it back is faster than seeding."""
    before = runtime.random_state()
    runtime.seed_everything(0)
    seeded = runtime.random_state()
    runtime.set_random_state(before)
    return seeded


def _defaults() -> tuple[torch.dtype, torch.device, bool, int]:
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )


def _set_defaults(dtype: torch.dtype, device: torch.device, gradients: bool, threads: int) -> None:
    torch.set_default_dtype(dtype)
    if torch.get_default_device() != device:  # None is the CPU without the cost that a default device has
        torch.set_default_device(None if device.type == "cpu" else device)
    torch.set_grad_enabled(gradients)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _open_figures() -> set[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return set(pyplot.get_fignums()) if pyplot else set()


def _close(figures: set[int]) -> None:
    for number in figures:
        sys.modules["matplotlib.pyplot"].close(number)


@contextlib.contextmanager
def captured_output() -> Iterator[io.StringIO]:
    """Collect what the block prints, on standard output and standard error; warnings are left out."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(action="ignore"),
    ):
        yield printed
