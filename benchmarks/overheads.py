"""What a checkpoint costs: lesson 3's network, 784-512-512-10, Adam, batch 128, with and without.

    python benchmarks/checkpoints.py [--repeats 5] [--epochs 4]

Runs alternate; medians of the seconds an epoch, everything included: the description of the run at its beginning, which
reads all the data once, and the state that is copied, written and put on disk after every epoch.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from coursekit import data, runtime, train


def seconds_an_epoch(batches, epochs: int, device: torch.device, checkpoint: Path | None) -> float:
    """Train anew and return the mean time of an epoch."""
    torch.manual_seed(0)
    layers = [
        nn.Flatten(),
        nn.Linear(784, 512),
        nn.ReLU(),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    ]
    model = nn.Sequential(*layers).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    started = time.perf_counter()
    train.fit(model, batches, epochs=epochs, optimizer=optimizer, checkpoint=checkpoint)
    return (time.perf_counter() - started) / epochs


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()

    device = runtime.start()
    batches = data.mnist().to(device).train.batches(128, shuffle=True)
    results = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        seconds_an_epoch(batches, 1, device, None)
        for round_ in range(options.repeats):
            path = Path(folder, f"{round_}.pt")
            for name, checkpoint in [("without", None), ("with", path)][:: 1 if round_ % 2 else -1]:
                results[name].append(seconds_an_epoch(batches, options.epochs, device, checkpoint))
        size = path.stat().st_size

    print(f"\n{options.repeats} rounds of {options.epochs} epochs; the file has {size / 1e6:.1f} MB\n")
    print("| checkpoint | seconds an epoch (min–max) | × without |\n|---|---|---|")
    base = statistics.median(results["without"])
    for name, runs in results.items():
        middle = statistics.median(runs)
        print(f"| {name} | {middle:.3f} ({min(runs):.3f}–{max(runs):.3f}) | {middle / base:.3f} |")


if __name__ == "__main__":
    main()
