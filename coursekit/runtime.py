"""The machine a notebook runs on: one call seeds it, chooses the device and says so."""

import ctypes
import os
import platform
import random
from typing import Any

import joblib
import numpy as np
import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def start(seed: int = 0) -> torch.device:
    """Return the device to train on, after seeding everything and setting the course's plot style.

    Prints one line: versions, device, threads, seed. Freed memory is kept for reuse from here on, see `reuse_memory`,
    and PyTorch gets no more threads than this process may use cores, see `use_own_cores`. Every lesson's setup cell
    ends with this call.
    """
    import matplotlib.pyplot as plt  # slow to import: not for those who only seed

    reuse_memory()
    use_own_cores()
    seed_everything(seed)
    plt.style.use("coursekit.style")
    device = best_device()
    versions = f"Python {platform.python_version()} · torch {torch.__version__.split('+')[0]}"
    if _under_torchrun("RANK") in (None, 0):  # one process speaks for all
        print(f"{versions} · {_hardware(device)} · seed {seed}")
    return device


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (all devices).

    The same seed repeats a run on the same machine and versions; another processor or another number of
    threads may change the last digits. Raises TypeError or ValueError unless `seed` is an integer from 0 to 2³² − 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed_everything: `seed` must be an integer such as 0, not {seed!r}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed_everything: `seed` must be from 0 to 2**32 - 1 (NumPy's range), not {seed}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the libraries we call still draw from the global generator
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Return the state of Python's, NumPy's and torch's generators on all devices, fit for a checkpoint."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global generator is what is to be kept
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put all generators back to what `random_state` returned, except for devices that this machine lacks."""
    kind, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    for device, value in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
        torch.cuda.set_rng_state(value, device)
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def reuse_memory() -> None:
    """Keep up to 1 GiB of freed memory in this process for the next tensors; for Linux with glibc, else no effect.

    A training step frees its activations and wants as much again at once. By itself glibc may hand them back to the
    system each time, which then provides the same pages anew, thousands a batch, cleared one by one: whether it does
    depends on what lies where, so that the time of the same training varies. Source: mallopt(3).
    """
    if platform.libc_ver()[0] == "glibc":
        malloc = ctypes.CDLL(None)
        malloc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it takes
        malloc.mallopt(_M_TRIM_THRESHOLD, 2**30)


def use_own_cores() -> None:
    """Let PyTorch compute in no more threads than this process may use cores.

    PyTorch counts the cores of the machine. In a container with a share of a large one, as on a JupyterHub, threads
    beyond that share take time from each other and wait for each other at every step.
    """
    torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count()))


def best_device() -> torch.device:
    """Return the fastest device of this machine: CUDA, else Apple's MPS, else the CPU.

    Of several CUDA devices, the current one; under torchrun, the one of this process.
    """
    if torch.cuda.is_available():
        local_rank = _under_torchrun("LOCAL_RANK")
        return torch.device("cuda") if local_rank is None else torch.device("cuda", local_rank)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _under_torchrun(variable: str) -> int | None:
    """Return a number that torchrun has given this process; None if torchrun did not start it."""
    return int(os.environ[variable]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type == "mps":
        return "mps (Apple GPU)"
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' if threads > 1 else ''}"
