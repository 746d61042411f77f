"""Train a network like lesson 4's for the drawing pad of the home page, and write it to docs/pad/cnn.bin.

python docs/pad/export.py     with $COURSEKIT_DATA naming a folder that holds MNIST, or online; some minutes

It has kernels of 5 × 5 and 18,378 weights. Its training digits are turned, stretched, thickened and thinned, since
visitors draw with a mouse or a finger; ones with a flag and sevens with a bar join them, since many visitors write so;
then all are scaled and centred as the pad does it. The file starts with the length of a JSON header (4 bytes,
little-endian) and the header; then come the weights as float16, then the bytes of some test digits for visitors who
would rather not draw.
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from strokes import ones_and_sevens
from torch import Tensor, nn

from coursekit import data, runtime, train

DESTINATION = Path(__file__).parent / "cnn.bin"
SIDE, BOX = 28, 20  # pixels: the picture, and the box that the digit is scaled to (LeCun et al., 1998)
CENTRE = 14  # the pixel, counted from 0, at which MNIST's digits have their centre of mass
FLOORS = {"as they come": 0.988, "as the pad hands them over": 0.985}


def make_cnn() -> nn.Sequential:
    """Return the untrained network of lesson 4, from pictures (N, 1, 28, 28) to logits (N, 10)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def normalised(x: Tensor) -> Tensor:
    """Return pictures (N, 1, 28, 28) scaled to a 20 × 20 box and centred by their centre of mass, as pad.js does."""
    inked = x[:, 0] > 0.1  # (N, 28, 28)
    lengths = [_extent(inked.any(dim=axis)) for axis in (1, 2)]  # columns, rows: (N,) each
    zoom = torch.maximum(*lengths).clamp(min=4) / BOX
    place = torch.arange(SIDE, dtype=x.dtype)
    mass = x.sum(dim=(1, 2, 3)).clamp(min=1e-6)
    across = (x.sum(dim=(1, 2)) * place).sum(dim=1) / mass  # (N,)
    down = (x.sum(dim=(1, 3)) * place).sum(dim=1) / mass
    theta = torch.zeros(len(x), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    # pixel CENTRE of the result comes from the centre of mass; affine_grid counts from -1 to 1 across all pixels
    theta[:, 0, 2] = (2 * (across - zoom * CENTRE) + 1 - zoom * (1 - SIDE)) / SIDE - 1
    theta[:, 1, 2] = (2 * (down - zoom * CENTRE) + 1 - zoom * (1 - SIDE)) / SIDE - 1
    return F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)


def _extent(inked: Tensor) -> Tensor:
    """Return for rows of booleans (N, 28) the distance from the first True to the last, both included."""
    first = inked.int().argmax(dim=1)
    last = SIDE - 1 - inked.flip(1).int().argmax(dim=1)
    return (last - first + 1).float()


def drawn_anew(x: Tensor) -> Tensor:
    """Return the pictures turned, sheared, stretched, thickened or thinned, each by a different amount."""
    N = len(x)
    turn = (torch.rand(N) - 0.5) * math.radians(36)
    shear = (torch.rand(N) - 0.5) * 0.6
    stretch = 1 + (torch.rand(N) - 0.5) * 0.4
    cos, sin = turn.cos(), turn.sin()
    theta = torch.zeros(N, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = cos * stretch, (shear * cos - sin) * stretch
    theta[:, 1, 0], theta[:, 1, 1] = sin / stretch, (shear * sin + cos) / stretch
    x = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)
    thick = F.max_pool2d(x, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-x, 2, stride=1)
    thin = F.pad(thin, (0, 1, 0, 1))
    thin = thin / thin.amax(dim=(1, 2, 3), keepdim=True).clamp(min=0.5)
    amount = (torch.rand(N, 1, 1, 1) * 2.4 - 1).clamp(-0.6, 1)  # below 0: thinner, above: thicker
    x = torch.where(amount > 0, x + amount * (thick - x), x - amount * (thin - x))
    contrast = 1 + torch.rand(N, 1, 1, 1) * 2  # a pen on a screen leaves full ink, with sharper edges
    return (x * contrast).clamp(max=1)


class DrawnAnew:
    """Batches of digits that are drawn anew at every pass, with some that were never MNIST's, scaled and centred."""

    def __init__(self, split: data.Split, size: int) -> None:
        self.batches = split.batches(size, shuffle=True)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        for x, y in self.batches:
            plain = torch.rand(len(x), 1, 1, 1) < 0.15
            strokes, labels = ones_and_sevens(len(x) // 16)
            x = torch.where(plain, x, normalised(drawn_anew(x)))
            yield torch.cat([x, normalised(strokes)]), torch.cat([y, labels])


def fit_cnn(digits: data.Splits, *, epochs: int, max_lr: float = 0.01) -> nn.Sequential:
    """Return the network, trained with the lesson's one-cycle recipe on digits drawn anew."""
    model, batches = make_cnn(), DrawnAnew(digits.train, 128)
    optimizer = torch.optim.Adam(model.parameters(), lr=max_lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr, total_steps=epochs * len(batches))
    history = train.fit(
        model, batches, digits.valid.batches(1000), epochs=epochs, optimizer=optimizer, scheduler=scheduler
    )
    print(history)
    return model.half().float()  # the numbers the file will hold


def check(model: nn.Module, test: data.Split) -> dict[str, float]:
    """Return the test accuracies; raise AssertionError if one is below its floor."""
    sets = {"as they come": test, "as the pad hands them over": data.Split(normalised(test.x), test.y)}
    reached = {}
    for name, split in sets.items():
        reached[name] = round(train.evaluate(model, split.batches(1000))["accuracy"], 4)
        assert reached[name] >= FLOORS[name], f"{name}: {reached[name]}, it should reach {FLOORS[name]}"
    return reached


def write(model: nn.Module, test: data.Split, accuracy: dict[str, float], *, of_each: int = 4) -> None:
    """Write weights and the first test digits of each class to DESTINATION."""
    rows = torch.cat([(test.y == digit).nonzero()[:of_each, 0] for digit in range(10)])
    header = {
        "made by": "docs/pad/export.py",
        "test accuracy": accuracy,
        "weights": [[name, list(weight.shape)] for name, weight in model.state_dict().items()],
        "digits": test.y[rows].tolist(),
    }
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 4)
    weights = torch.cat([weight.flatten() for weight in model.state_dict().values()]).half()
    pictures = (test.x[rows] * 255).round().to(torch.uint8)
    DESTINATION.write_bytes(
        len(head).to_bytes(4, "little") + head + weights.numpy().tobytes() + pictures.numpy().tobytes()
    )
    print(f"{DESTINATION.name}: {DESTINATION.stat().st_size:,} bytes, test accuracy {accuracy}")


def main() -> None:
    """Train, check and write."""
    runtime.seed_everything(0)
    digits = data.mnist("full")
    model = fit_cnn(digits, epochs=12)
    write(model, digits.test, check(model, digits.test))


if __name__ == "__main__":
    main()
