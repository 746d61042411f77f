"""Train the judge of generated digits, and write its weights to data/judge.npz.

python data/generators/make_judge.py     with $COURSEKIT_DATA naming a folder that holds MNIST, or online; 2 minutes

The network is that of lesson 4 with a hidden layer of 64 units before the last. It learns from those of MNIST's
training digits that are not in the sample of 5,000, so that no digit of the sample and no test digit is known to it.
"""

from pathlib import Path

import numpy as np
import torch

from coursekit import data, judge, runtime, train

DESTINATION = Path(__file__).parents[1] / "judge.npz"
FLOOR = 0.988  # accuracy on the 10,000 test digits


def joined(*splits: data.Split) -> data.Split:
    """Return all examples of several splits as one."""
    return data.Split(torch.cat([split.x for split in splits]), torch.cat([split.y for split in splits]))


def without(split: data.Split, known: data.Split) -> data.Split:
    """Return the examples of `split` whose image is not one of `known`."""
    taken = {image.numpy().tobytes() for image in _bytes(known)}
    free = torch.tensor([image.numpy().tobytes() not in taken for image in _bytes(split)])
    return data.Split(split.x[free], split.y[free])


def _bytes(split: data.Split) -> torch.Tensor:
    return (split.x * 255).round().to(torch.uint8)


def fit_judge(digits: data.Split, *, epochs: int = 8, max_lr: float = 4e-3) -> torch.nn.Sequential:
    """Return the network, trained with one cycle of the learning rate."""
    model, batches = judge.untrained(), digits.batches(128, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=max_lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr, total_steps=epochs * len(batches))
    print(train.fit(model, batches, epochs=epochs, optimizer=optimizer, scheduler=scheduler))
    return model.half().float()  # the numbers the file will hold


def main() -> None:
    """Train, check and write."""
    runtime.seed_everything(0)
    full, sample = data.mnist("full"), data.mnist("sample")
    sampled, test = joined(sample.train, sample.valid, sample.test), full.test
    model = fit_judge(without(joined(full.train, full.valid), sampled))
    for name, split in {"the test digits": test, "the sample": sampled}.items():
        accuracy = train.evaluate(model, split.batches(1000))["accuracy"]
        print(f"accuracy on {name}: {accuracy:.4f}")
        assert accuracy >= FLOOR, f"it should reach {FLOOR}"
    weights = {name: weight.half().numpy() for name, weight in model.state_dict().items()}
    np.savez_compressed(DESTINATION, **weights)
    print(f"{DESTINATION.name}: {DESTINATION.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
