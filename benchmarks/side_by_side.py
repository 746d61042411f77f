"""What the benchmarks share: every run in a process of its own, an order that changes, medians with their spread."""

import argparse
import io
import multiprocessing
import os
import platform
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, field, replace

import torch
from tqdm.auto import tqdm

from coursekit import data, runtime


@dataclass(frozen=True)
class Run:
    """One run: its time, the peak memory of its process (and of the GPU, if there is one), what came of it.

    `beside` is what the first contestant took in the same process, just before and just after.
    """

    seconds: float
    beside: float | None = None
    mebibytes: float = 0.0
    gpu_mebibytes: float = 0.0
    facts: dict[str, float] = field(default_factory=dict)


def options(description: str, *, repeats: int = 5) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark can be told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=repeats, help=f"rounds (default: {repeats})")
    parser.add_argument(
        "--source", default="auto", choices=data.SOURCES, help="data (default: full, else the sample)"
    )
    return parser


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that `action()` takes, work on the GPU included."""
    started = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def timed_beside(first: Callable[[], object], action: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that `action()` takes, and the mean of `first()` before and after it.

    A computer does not run at one speed for minutes; what is measured at the same time can be compared.
    """
    before = timed(first)
    seconds = timed(action)
    return seconds, (before + timed(first)) / 2


def rounds(
    measure: Callable[..., Run], contestants: Iterable[str], repeats: int, *settings
) -> dict[str, list[Run]]:
    """Return `repeats` runs of every contestant, `measure(name, round, *settings)`, in an order that changes.

    Each run has a new process, so that nothing is warm from the one before and peak memory is its own. It keeps freed
    memory, as in the lessons, whoever runs: without that the same loop takes once this time and once another. What the
    first run prints, such as where its data come from, is shown; the others say the same again.
    """
    results = {name: [] for name in contestants}
    order = [
        (number, name) for number in range(repeats) for name in random.sample(list(results), len(results))
    ]
    for place, (number, name) in enumerate(tqdm(order, unit="run", leave=False)):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            results[name].append(
                process.submit(_alone, measure, name, number, place == 0, *settings).result()
            )
    return results


def _alone(measure: Callable[..., Run], name: str, number: int, heard: bool, *settings) -> Run:
    runtime.reuse_memory()
    runtime.seed_everything(number)
    with nullcontext() if heard else redirect_stdout(io.StringIO()):
        run = measure(name, number, *settings)
    kibibytes = max(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    gpu = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
    return replace(run, mebibytes=kibibytes / 1024, gpu_mebibytes=gpu)


def table(title: str, results: dict[str, list[Run]], *, unit: str = "s", digits: int = 2) -> None:
    """Print the runs as a Markdown table; the first contestant is the measure of the others.

    Times are shown in `unit`, "s" or "µs", and divided by `beside`, without it by the median of the first; every fact
    gets a column with its mean.
    """
    scale = {"s": 1, "µs": 1e6}[unit]
    facts = list(next(iter(results.values()))[0].facts)
    gpu = ["GPU MiB"] * torch.cuda.is_available()
    columns = [title, f"{unit} (min–max)", "× the first (min–max)", "peak MiB", *gpu, *facts]
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    base = statistics.median(run.seconds for run in next(iter(results.values())))
    for name, runs in results.items():
        cells = [
            name,
            _spread([scale * run.seconds for run in runs], digits),
            _spread([run.seconds / (run.beside or base) for run in runs], 2),
            f"{max(run.mebibytes for run in runs):.0f}",
            *[f"{max(run.gpu_mebibytes for run in runs):.0f}"] * len(gpu),
            *(_short(statistics.mean(run.facts[fact] for run in runs)) for fact in facts),
        ]
        print("| " + " | ".join(cells) + " |")


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _short(fact: float) -> str:
    return f"{fact:,.0f}" if fact >= 1000 else f"{fact:.4g}"


def machine() -> str:
    """Return one line on where this was measured."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    return f"{where}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}"
