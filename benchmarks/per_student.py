"""What a student takes of a shared server: memory and processor time of every lesson, and a class on few cores.

    python benchmarks/per_student.py [--source full|sample] [--lesson 03] [--students 1 2 4 8]

A lesson runs from top to bottom in a kernel of its own. Its memory is what the kernel and the processes that it starts
hold for themselves, Pss_Anon in Linux's /proc, looked up ten times a second; the libraries, which all students of a
machine share, are not in it. Then several students run one lesson at the same moment.
"""

import contextlib
import io
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import psutil
from side_by_side import machine, options
from tqdm.auto import tqdm

from coursekit.teaching import catalogue
from coursekit.teaching.execute import execute

_LOOK_EVERY_S = 0.1
_SERVER = "http://127.0.0.1:8899/api"


def own_mebibytes(processes: list[psutil.Process]) -> float:
    """Return the memory that the processes hold for themselves; those that have ended hold none."""
    kibibytes = 0
    for process in processes:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
            kibibytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
    return kibibytes / 1024


def run(path: Path, source: str) -> tuple[float, float]:
    """Run a lesson; return the seconds of the clock and of the processor that it took."""
    with contextlib.redirect_stderr(io.StringIO()):  # its bar
        lesson = execute(path, source=source)
    if lesson.error:
        raise RuntimeError(f"{path.stem}: {lesson.error}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return lesson.seconds, used.ru_utime + used.ru_stime


def class_at_once(path: Path, source: str, students: int) -> tuple[float, float, float]:
    """Let students run a lesson at the same moment.

    Returns the seconds until the last has ended, the processor's seconds for each, and the most memory (MiB) that all
    of them held at one time.
    """
    with ProcessPoolExecutor(students, mp_context=multiprocessing.get_context("spawn")) as executor:
        runs = [executor.submit(run, path, source) for _ in range(students)]
        peak = _peak(runs)
        seconds, processor = zip(*[each.result() for each in runs], strict=True)
    return max(seconds), sum(processor) / students, peak


def _peak(runs: list[Future]) -> float:
    """Return the most memory (MiB) that kernels, the children of this process's children, hold until all have run."""
    peak = 0.0
    while not all(each.done() for each in runs):
        kernels = []
        for worker in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                kernels += worker.children(recursive=True)
        peak = max(peak, own_mebibytes(kernels))
        time.sleep(_LOOK_EVERY_S)
    return peak


@contextlib.contextmanager
def jupyterlab() -> Iterator[list[psutil.Process]]:
    """Start JupyterLab, as a hub does for a student, and yield its processes."""
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=8899"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urlopen(_SERVER, timeout=5):
                break
            time.sleep(0.1)
        process = psutil.Process(server.pid)
        yield [process, *process.children(recursive=True)]
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Measure and print the tables."""
    parser = options(__doc__.splitlines()[0], repeats=1)
    parser.add_argument("--lesson", default="03", help="the lesson that several students run at once")
    parser.add_argument("--students", type=int, nargs="*", default=[1, 2, 4, 8])
    chosen = parser.parse_args()
    print(f"{machine()}; data: {chosen.source}\n")
    with jupyterlab() as processes:
        print(f"JupyterLab, before a notebook is opened: {own_mebibytes(processes):.0f} MiB\n")
    print("| lesson | memory (MiB) | processor (s) |\n|---|---|---|")
    for lesson in tqdm(catalogue.lessons(), unit="lesson"):
        _, processor, peak = class_at_once(lesson.path, chosen.source, 1)
        tqdm.write(f"| {lesson.stem} | {peak:.0f} | {processor:.0f} |")
    (lesson,) = catalogue.select(chosen.lesson)
    print(f"\n| students in lesson {chosen.lesson} | memory (MiB) | processor for each (s) | clock (s) |")
    print("|---|---|---|---|")
    for students in chosen.students:
        seconds, processor, peak = class_at_once(lesson.path, chosen.source, students)
        print(f"| {students} | {peak:.0f} | {processor:.0f} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
