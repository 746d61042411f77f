"""How long until MNIST is read: 98 % with a dense network, 99 % with a convolutional one.

    python benchmarks/time_to_accuracy.py [--repeats 5] [--source full|sample] [--model dense|cnn]

The course's way, `train.fit` with lessons 3's and 4's networks and lesson 5's one cycle over 8 epochs, beside the
recipe that PyTorch's own MNIST example made common: images prepared one by one, batches of 64, Adadelta with rate 1
that falls to 0.7 of itself every epoch, 14 epochs, and for the convolutional case 1.2 million weights with dropout.
After every epoch the validation digits are read, the clock running, and it stops when they reach the goal, or at the
end of the plan. The accuracy on the test digits stands beside the time.
"""

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from side_by_side import Run, machine, options, rounds, table, timed
from torch import nn
from torch.utils.data import DataLoader
from training_loops import MODELS, as_torchvision, normalised

from coursekit import data, runtime, train

COURSE_EPOCHS, RECIPE_EPOCHS = 8, 14


def dense() -> nn.Module:
    """Lesson 3's network."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 512), nn.ReLU()),
        *(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)),
    )


def wide_cnn() -> nn.Module:
    """The network of the recipe: 1,199,882 weights."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten()),
        *(nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)),
    )


def course(model: nn.Module, digits: data.Splits) -> Callable[[], float]:
    """Return what trains an epoch and returns the accuracy on the validation digits."""
    batches, valid = digits.train.batches(128, shuffle=True), digits.valid.batches(1000)
    adam = torch.optim.Adam(model.parameters(), fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        adam, 0.008, epochs=COURSE_EPOCHS, steps_per_epoch=len(batches)
    )

    def epoch() -> float:
        history = train.fit(model, batches, valid, epochs=1, optimizer=adam, scheduler=cycle)
        return history.valid["accuracy"][-1]

    return epoch


def recipe(model: nn.Module, digits: data.Splits) -> Callable[[], float]:
    """The same for the recipe."""
    device = next(model.parameters()).device
    batches = DataLoader(as_torchvision(digits.train), 64, shuffle=True)
    valid = DataLoader(as_torchvision(digits.valid), 1000)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7)

    def epoch() -> float:
        model.train()
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(x.to(device)), y.to(device)).backward()
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(x.to(device)).argmax(1).cpu() == y).sum().item() for x, y in valid)
        return right / len(valid.dataset)

    return epoch


CONTESTANTS = {
    "dense": {
        "`train.fit`, 784-512-512-10": (dense, course, COURSE_EPOCHS),
        "the recipe, the same network": (dense, recipe, RECIPE_EPOCHS),
    },
    "cnn": {
        "`train.fit`, 18,378 weights": (MODELS["cnn"], course, COURSE_EPOCHS),
        "the recipe, 1,199,882 weights": (wide_cnn, recipe, RECIPE_EPOCHS),
    },
}
GOALS = {"dense": 0.98, "cnn": 0.99}


def measure(name: str, _: int, kind: str, source: str) -> Run:
    """Train until the goal is reached."""
    warnings.simplefilter("ignore")
    device = runtime.best_device()
    digits = data.mnist(source).to(device)
    build, way, epochs = CONTESTANTS[kind][name]
    model = build().to(device)
    epoch = way(model, digits)
    reached = []

    def until_goal() -> None:
        while len(reached) < epochs and (not reached or reached[-1] < GOALS[kind]):
            reached.append(epoch())

    seconds = timed(until_goal)
    test = digits.test if way is course else normalised(digits.test)
    accuracy = train.evaluate(model, test.batches(1000))["accuracy"]
    return Run(
        seconds, facts={"epochs": len(reached), "valid accuracy": reached[-1], "test accuracy": accuracy}
    )


def main() -> None:
    """Run the rounds and print the tables."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--model", choices=CONTESTANTS, help="one of the two (default: both)")
    chosen = parser.parse_args()
    print(f"{machine()}; {chosen.repeats} rounds")
    for kind in [chosen.model] if chosen.model else CONTESTANTS:
        title = f"{kind}, until {GOALS[kind]:.0%} of the validation digits"
        table(title, rounds(measure, CONTESTANTS[kind], chosen.repeats, kind, chosen.source), digits=1)


if __name__ == "__main__":
    main()
