"""Run All of every lesson: seconds and peak memory of the kernel, sample and full data, one thread and two.

python benchmarks/run_all.py [--repeats 1]
"""

import os
import statistics

from side_by_side import Run, machine, options, rounds

from coursekit.teaching import catalogue
from coursekit.teaching.execute import execute

PATHS = {lesson.stem: lesson.path for lesson in catalogue.lessons()}


def measure(name: str, _: int, source: str, threads: int) -> Run:
    """Run a lesson as a student does."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # the kernel inherits it
    run = execute(PATHS[name], source=source)
    if run.error:
        raise RuntimeError(f"{name}: {run.error}")
    return Run(run.seconds)


def main() -> None:
    """Run the rounds and print the table."""
    parser = options(__doc__.splitlines()[0], repeats=1)
    chosen = parser.parse_args()
    sources = ("sample", "full") if chosen.source == "auto" else (chosen.source,)
    kinds = {
        f"{source}, {threads} thread{'s' * (threads > 1)}": (source, threads)
        for source in sources
        for threads in (1, 2)
    }
    results = {kind: rounds(measure, PATHS, chosen.repeats, *settings) for kind, settings in kinds.items()}
    print(f"{machine()}; {chosen.repeats} rounds\n")
    print("| lesson | " + " | ".join(results) + " |\n" + "|---" * (1 + len(kinds)) + "|")
    for name in PATHS:
        cells = []
        for runs in results.values():
            seconds = statistics.median(run.seconds for run in runs[name])
            cells.append(f"{seconds:.0f} s, {max(run.mebibytes for run in runs[name]):.0f} MiB")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
