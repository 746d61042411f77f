"""What a checkpoint and the progress bar cost: lesson 3's network, 784-512-512-10, with and without.

    python benchmarks/overheads.py [--repeats 5] [--epochs 4]

Seconds an epoch, everything included: for the checkpoint the description of the run at its beginning, which reads all
the data once, and the state that is copied, written and put on disk after every epoch. The plain call trains before and
after each of the others, in the same process.
"""

import tempfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

from side_by_side import Run, machine, options, rounds, table, timed_beside
from time_to_accuracy import dense

from coursekit import data, runtime, train
from coursekit.train import loop

KINDS = ["`train.fit`", "with a checkpoint", "without the progress bar"]


def measure(name: str, _: int, epochs: int, source: str) -> Run:
    """Train anew and return the mean time of an epoch."""
    device = runtime.best_device()
    batches = data.mnist(source).to(device).train.batches(128, shuffle=True)

    def fit(**settings) -> None:
        train.fit(dense().to(device), batches, epochs=epochs, **settings)

    with tempfile.TemporaryDirectory() as folder:
        ways = {
            KINDS[0]: fit,
            KINDS[1]: partial(fit, checkpoint=Path(folder, "run.pt")),
            KINDS[2]: patch.object(loop, "tqdm", partial(loop.tqdm, disable=True))(fit),
        }
        train.fit(dense().to(device), batches, epochs=1)  # warm
        seconds, beside = timed_beside(fit, ways[name])
    return Run(seconds / epochs, beside / epochs)


def main() -> None:
    """Run the rounds and print the table."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    chosen = parser.parse_args()
    print(f"{machine()}; {chosen.repeats} rounds of {chosen.epochs} epochs")
    table("one epoch", rounds(measure, KINDS, chosen.repeats, chosen.epochs, chosen.source))


if __name__ == "__main__":
    main()
