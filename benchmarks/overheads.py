"""What a checkpoint and the progress bar cost: lesson 3's network, 784-512-512-10, with and without.

    python benchmarks/overheads.py [--repeats 5] [--epochs 4]

Seconds an epoch, everything included: for the checkpoint the description of the run at its beginning, which reads all
the data once, and the state that is copied, written and put on disk after every epoch.
"""

import tempfile
from functools import partial
from pathlib import Path

from side_by_side import Run, machine, options, rounds, table, timed
from time_to_accuracy import dense

from coursekit import data, runtime, train

KINDS = ["`train.fit`", "with a checkpoint", "without the progress bar"]


def measure(name: str, _: int, epochs: int, source: str) -> Run:
    """Train anew and return the mean time of an epoch."""
    device = runtime.best_device()
    batches = data.mnist(source).to(device).train.batches(128, shuffle=True)
    model = dense().to(device)
    train.fit(dense().to(device), batches, epochs=1)  # warm
    if name == "without the progress bar":
        train.tqdm = partial(train.tqdm, disable=True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "run.pt") if name == "with a checkpoint" else None
        seconds = timed(lambda: train.fit(model, batches, epochs=epochs, checkpoint=checkpoint))
    return Run(seconds / epochs)


def main() -> None:
    """Run the rounds and print the table."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    chosen = parser.parse_args()
    print(f"{machine()}; {chosen.repeats} rounds of {chosen.epochs} epochs")
    table("one epoch", rounds(measure, KINDS, chosen.repeats, chosen.epochs, chosen.source))


if __name__ == "__main__":
    main()
