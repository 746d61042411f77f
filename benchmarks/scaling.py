"""How the cost of `train.fit` grows with examples, epochs and width.

    python benchmarks/scaling.py [--repeats 5] [--source full|sample]

Microseconds per example and epoch, 784-w-10, Adam, batch 128. It should not depend on the number of examples (the
digits are repeated up to 600,000, of which more than the caches hold) nor on that of epochs, and grow with the width
as the multiplications do.
"""

import torch
from side_by_side import Run, machine, options, rounds, table, timed
from torch import nn

from coursekit import data, runtime, train

EXAMPLES, EPOCHS, WIDTHS = (5_000, 60_000, 600_000), (1, 2, 4), (128, 512, 2048)
TABLES = {
    "examples": {f"{examples:,}": (examples, 1, 128) for examples in EXAMPLES},
    "epochs of 60,000 examples": {str(epochs): (60_000, epochs, 128) for epochs in EPOCHS},
    "hidden units": {f"{width:,}": (60_000, 1, width) for width in WIDTHS},
}


def measure(name: str, _: int, title: str, source: str) -> Run:
    """Return the seconds per example and epoch."""
    examples, epochs, width = TABLES[title][name]
    device = runtime.best_device()
    digits = data.mnist(source).to(device).train
    which = torch.arange(examples, device=device) % len(digits)
    batches = data.Split(digits.x[which], digits.y[which]).batches(128, shuffle=True)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10)).to(device)
    train.fit(model, digits.batches(128), epochs=1)  # warm
    seconds = timed(lambda: train.fit(model, batches, epochs=epochs))
    multiplications = width * (784 + 10)
    return Run(seconds / examples / epochs, facts={"multiplications": multiplications})


def main() -> None:
    """Run the rounds and print the tables."""
    chosen = options(__doc__.splitlines()[0]).parse_args()
    print(f"{machine()}; per example and epoch, {chosen.repeats} rounds")
    for title, contestants in TABLES.items():
        table(title, rounds(measure, contestants, chosen.repeats, title, chosen.source), unit="µs", digits=1)


if __name__ == "__main__":
    main()
