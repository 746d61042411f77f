"""An epoch of lesson 3's network on a quiet machine and beside two busy programs, by how torch's threads wait.

    python benchmarks/busy_machine.py [--repeats 5] [--source full|sample] [--epochs 3]

The default is what GNU OpenMP does by itself: a thread that waits for the others looks again and again whether they are
done. `import coursekit` limits that, by GOMP_SPINCOUNT, if it comes before `import torch`. Every number comes from a
fresh process; the default is timed before and after the other, and its mean divides the other's time.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from side_by_side import Run, machine, options, rounds, table

FIRST = {"the default": "import torch", "as `import coursekit` sets it": "import coursekit"}
DEFAULT, SETTING = FIRST
LOOPS = {"quiet": 0, "beside two busy loops": 2}
EPOCHS = """
import os, sys, time
from coursekit import data, runtime, train
from time_to_accuracy import dense

epochs, source = int(sys.argv[1]), sys.argv[2]
runtime.reuse_memory()
runtime.seed_everything(0)
batches = data.mnist(source).train.batches(128, shuffle=True)
train.fit(dense(), batches, epochs=1)  # warm
model, started = dense(), time.perf_counter()
train.fit(model, batches, epochs=epochs)
print(os.environ.get("GOMP_SPINCOUNT"), (time.perf_counter() - started) / epochs)
"""


def epoch(kind: str, epochs: int, source: str) -> tuple[str, float]:
    """Return GOMP_SPINCOUNT in a new process, or "None", and the seconds that an epoch takes there."""
    benchmarks = Path(__file__).parent
    chosen = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    environment = {name: value for name, value in os.environ.items() if name not in chosen}
    environment["PYTHONPATH"] = os.pathsep.join([str(benchmarks), str(benchmarks.parent)])
    environment["TQDM_DISABLE"] = "1"
    command = [sys.executable, "-c", f"{FIRST[kind]}\n{EPOCHS}", str(epochs), source]
    output = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, check=True, text=True, encoding="utf-8"
    )
    spins, seconds = output.stdout.split()[-2:]
    return spins, float(seconds)


@contextlib.contextmanager
def busy(loops: int) -> Iterator[list[subprocess.Popen]]:
    """Keep as many processes computing."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(name: str, _: int, loops: int, epochs: int, source: str) -> Run:
    """Return the seconds of an epoch, and those of the default before and after."""
    with busy(loops):
        before, seconds, after = (epoch(kind, epochs, source)[1] for kind in (DEFAULT, name, DEFAULT))
    return Run(seconds, (before + after) / 2)


def main() -> None:
    """Run the rounds and print the tables."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    chosen = parser.parse_args()
    print(f"{machine()}; {chosen.repeats} rounds of {chosen.epochs} epochs")
    for title, loops in LOOPS.items():
        table(title, rounds(measure, FIRST, chosen.repeats, loops, chosen.epochs, chosen.source))


if __name__ == "__main__":
    main()
