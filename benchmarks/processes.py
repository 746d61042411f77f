"""What a second process brings on this machine, and what it costs: `train.fit` under torchrun.

    python benchmarks/processes.py [--repeats 3]

First milliseconds a step, 784-w-w-10, batches of 256 random examples in all: `fit` in one process with one thread and
with two, in two processes with one thread each, and there a bare loop with DistributedDataParallel beside the same loop
with the course's average of gradients. Then what an average of gradients takes by itself, for so many numbers. Two
processes pay from the width on at which they are quicker than one process with two threads. Last `fit` in a single
process beside `fit` with everything that concerns several taken out.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
import torch.distributed as dist
import torch.nn.functional as F
from side_by_side import Run, machine, options, rounds, table, timed_beside
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from coursekit import data, train
from coursekit.train import parallel

WIDTHS, SIZES, STEPS, BATCH = (64, 512, 2048), (10**3, 10**5, 10**6, 10**7), 60, 256
ONE, THREADS, FIT = "`fit`, 1 process, 1 thread", "`fit`, 1 process, 2 threads", "`fit`, 2 processes"
DDP, OURS = "2 processes, `DistributedDataParallel`", "2 processes, `average_gradients`"
ALONE = ["`fit`", "`fit` with nothing for several processes"]


def network(width: int) -> nn.Module:
    """Return 784-w-w-10."""
    hidden = nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def examples() -> data.Split:
    """Return as many random examples as STEPS batches take."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS * BATCH, 784, generator=generator)
    return data.Split(x, torch.randint(10, (len(x),), generator=generator))


def fitted(width: int) -> Callable[[], object]:
    """Return what trains for an epoch by `fit`."""
    model, batches = network(width), examples().batches(BATCH, shuffle=True)
    return lambda: train.fit(model, batches, epochs=1)


def looped(width: int, wrapped: bool) -> Callable[[], object]:
    """Return what trains for an epoch by a bare loop, over the share of this process."""
    model = network(width)
    forward = DistributedDataParallel(model) if wrapped else model
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    split = examples()

    def epoch() -> None:
        for x, y in split.batches(BATCH):
            x, y = x[parallel.rank() :: parallel.processes()], y[parallel.rank() :: parallel.processes()]
            optimizer.zero_grad()
            F.cross_entropy(forward(x), y).backward()
            if not wrapped:
                parallel.average_gradients(model, len(x))
            optimizer.step()

    return epoch


def averaged(size: int) -> Callable[[], object]:
    """Return what averages `size` numbers over the processes, STEPS times."""
    model = nn.Linear(size, 1, bias=False)
    model.weight.grad = torch.randn(1, size)

    def rounds_of_it() -> None:
        for _ in range(STEPS):
            parallel.average_gradients(model, 1)

    return rounds_of_it


def work(name: str, number: int) -> None:
    """Do in this process what is timed, and print the seconds a step of process 0."""
    parallel.join()
    ways = {DDP: lambda: looped(number, True), OURS: lambda: looped(number, False)}
    action = averaged(number) if name == "average" else ways.get(name, lambda: fitted(number))()
    action()  # warm
    taken = []
    for _ in range(3):
        if parallel.processes() > 1:
            dist.barrier()
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    if parallel.rank() == 0:
        print(json.dumps(statistics.median(taken) / STEPS))


def measure(name: str, _: int, number: int) -> Run:
    """Return the seconds a step, in processes that are started for it."""
    processes = 1 if name in (ONE, THREADS) else 2
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), __file__, "--work", name, str(number)],
        env=os.environ | {"OMP_NUM_THREADS": "2" if name == THREADS else "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return Run(json.loads(done.stdout.splitlines()[-1]))


def alone(name: str, *_) -> Run:
    """Return the seconds an epoch in this process, plain `fit` before and after it."""
    plain = fitted(512)

    def without() -> None:
        def whole(batches, epoch=0):
            return ((batch, None) for batch in batches)

        with (
            patch.object(parallel, "shares", whole),
            patch.multiple(parallel, average_gradients=_nothing, align=_nothing, check_alike=_nothing),
            patch.multiple(parallel, check_meeting=_nothing, total=lambda values: values),
        ):
            plain()

    plain()  # warm
    seconds, beside = timed_beside(plain, plain if name == ALONE[0] else without)
    return Run(seconds / STEPS, beside / STEPS)


def _nothing(*_) -> None:
    pass


def main() -> None:
    """Run the rounds and print the tables."""
    parser = options(__doc__.splitlines()[0], repeats=3)
    parser.add_argument(
        "--work", nargs=2, metavar=("WHAT", "SIZE"), help="what a process that was started does"
    )
    chosen = parser.parse_args()
    if chosen.work:
        work(chosen.work[0], int(chosen.work[1]))
        return
    print(f"{machine()}; {chosen.repeats} rounds")
    for width in WIDTHS:
        title = f"a step, width {width:,}, {sum(map(torch.numel, network(width).parameters())):,} weights"
        table(
            title, rounds(measure, [ONE, THREADS, FIT, OURS, DDP], chosen.repeats, width), unit="µs", digits=0
        )
    for size in SIZES:
        table(
            f"an average of {size:,} gradients",
            rounds(measure, ["average"], chosen.repeats, size),
            unit="µs",
            digits=0,
        )
    table("a step in one process", rounds(alone, ALONE, 3 * chosen.repeats), unit="µs", digits=0)


if __name__ == "__main__":
    main()
