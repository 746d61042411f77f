"""Training runs that tests make in this process, and torchrun in several.

python tests/torchrun_runs.py NAME FOLDER leaves what each process saw in FOLDER/RANK.pt.
"""

import datetime
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from coursekit import runtime, train
from coursekit.data import Split
from coursekit.train import parallel

RANK = int(os.environ.get("RANK", "0"))


def problem(examples=513):
    """Examples that leave one over in batches of 64."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(examples, 20, generator=generator)
    return Split(x, (x @ torch.randn(20, 4, generator=generator)).argmax(dim=1))


def network(dropout=0.0):
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 4))


def large():
    """A network with a gradient that is exchanged by itself."""
    return nn.Sequential(nn.Linear(20, 2**16), nn.ReLU(), nn.Linear(2**16, 4))


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def one_cycle(optimizer):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=27)


def plateau(optimizer):
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)


class Coder(nn.Module):
    """A network that is never called by itself, with a layer that is not used."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode, self.unused = nn.Linear(20, 4), nn.Linear(4, 20), nn.Linear(2, 2)


def reconstruct(model, x, y):
    return {"loss": (model.decode(model.encode(x)) - x).square().mean()}


def fitted(model, batches=None, *, optimizer=None, scheduler=None, epochs=3, seed=0, **settings):
    """The weights, the history and what evaluate says after a run."""
    split = problem()
    torch.manual_seed(seed)
    made = optimizer(model) if optimizer else None
    history = train.fit(
        model,
        split.batches(64, shuffle=True) if batches is None else batches(split),
        split.batches(10),
        epochs=epochs,
        optimizer=made,
        scheduler=scheduler and scheduler(made),
        **settings,
    )
    objective = settings.get("objective", train.classification)
    return {
        "weights": torch.cat([value.flatten() for value in model.state_dict().values()]),
        "train": torch.tensor([list(row) for row in zip(*history.train.values(), strict=True)]),
        "valid": torch.tensor([list(row) for row in zip(*history.valid.values(), strict=True)]),
        "evaluated": torch.tensor(
            list(train.evaluate(model, split.batches(100), objective=objective).values())
        ),
    }


def loader(split):
    return DataLoader(TensorDataset(split.x, split.y), batch_size=64, shuffle=True)


def own_generator(split):
    generator = torch.Generator().manual_seed(3 + RANK)  # a slip: another order in each process
    return DataLoader(TensorDataset(split.x, split.y), batch_size=64, shuffle=True, generator=generator)


def seeded(make, seed=0):
    """A network with initial weights that differ from process to process, as if nobody had seeded them."""
    torch.manual_seed(seed + 17 * RANK)
    return make()


ALIKE = {
    "SGD": lambda: fitted(seeded(network), optimizer=sgd),
    "Adam": lambda: fitted(seeded(network)),
    "a DataLoader": lambda: fitted(seeded(network), loader),
    "a loader with a generator": lambda: fitted(seeded(network), own_generator),
    "a list of batches": lambda: fitted(
        seeded(network), lambda split: list(zip(split.x.split(64), split.y.split(64), strict=True))
    ),
    "shares of 4 and 3": lambda: fitted(seeded(network), lambda split: split.batches(7), epochs=1),
    "batches of 2": lambda: fitted(seeded(network), lambda split: split.batches(2), epochs=1),
    "one cycle": lambda: fitted(seeded(network), optimizer=sgd, scheduler=one_cycle),
    "a plateau": lambda: fitted(seeded(network), optimizer=sgd, scheduler=plateau, epochs=6),
    "patience": lambda: fitted(
        seeded(network), optimizer=lambda model: sgd(model, 1.0), epochs=40, patience=2
    ),
    "a large layer": lambda: fitted(seeded(large), optimizer=sgd, epochs=1),
    "an objective without forward": lambda: fitted(seeded(Coder), objective=reconstruct),
}


def alike(folder):
    """Runs that end alike on any number of processes."""
    return {name: run() for name, run in ALIKE.items()}


def noisy(folder):
    """A run with dropout, and the masks that this process has drawn."""
    masks = []

    def objective(model, x, y):
        if model.training:
            masks.append(nn.functional.dropout(torch.ones(200), 0.5))
        return train.classification(model, x, y)

    return fitted(seeded(lambda: network(0.3)), objective=objective) | {"masks": torch.stack(masks)}


def kept(folder):
    """Two epochs, and in a second call two more, from a checkpoint; and four without a break."""
    path = folder / "run.pt"
    fitted(seeded(lambda: network(0.3)), epochs=2, checkpoint=path)
    resumed = fitted(seeded(lambda: network(0.3), seed=9), epochs=4, seed=9, checkpoint=path)
    return {"resumed": resumed, "whole": fitted(seeded(lambda: network(0.3)), epochs=4)}


def taken_up(folder):
    """Four epochs, the first two of them by another number of processes."""
    return fitted(seeded(network), epochs=4, checkpoint=folder / "other.pt")


def killed(folder):
    """A run in which process 1 is killed in its second epoch, unless it has been before."""
    path, epochs = folder / "run.pt", []

    def objective(model, x, y):
        epochs.append(len(x))
        if os.environ.get("RANK") == "1" and len(epochs) > 75 and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return train.classification(model, x, y)

    return fitted(seeded(network), objective=objective, checkpoint=path)


def refused(folder):
    """What is said of runs that cannot be shared."""
    split, said = problem(), {}

    def note(name, call):
        try:
            call()
            said[name] = ""
        except (ValueError, RuntimeError) as error:
            said[name] = str(error)

    note("too small", lambda: train.fit(network(), split.batches(1), epochs=1))
    parallel.join()
    wrapped = nn.parallel.DistributedDataParallel(network())
    note("wrapped", lambda: train.fit(wrapped, split.batches(64), epochs=1))
    other = problem(513 + RANK)
    note("other data", lambda: train.fit(network(), other.batches(64), epochs=1))
    note("other settings", lambda: train.fit(network(), split.batches(64), epochs=1 + RANK))
    return said


def alone(folder):
    """What is said where process 0 evaluates alone."""
    parallel._PATIENCE = datetime.timedelta(seconds=3)
    model, said = network(), ""
    train.fit(model, problem().batches(64), epochs=1)
    if RANK == 0:
        try:
            train.evaluate(model, problem().batches(64))
        except RuntimeError as error:
            said = str(error)
    else:
        import time

        time.sleep(6)
    return {"said": said}


def shared_out(folder):
    """A run whose loader has a sampler that shares the examples out, and how often each was seen."""
    split, seen = problem(), []
    dataset = TensorDataset(split.x, split.y)
    sampler = DistributedSampler(dataset) if parallel.processes() > 1 else None

    def objective(model, x, y):
        if model.training:
            seen.append(x)
        return train.classification(model, x, y)

    train.fit(network(), DataLoader(dataset, batch_size=32, sampler=sampler), epochs=1, objective=objective)
    return {"seen": torch.cat(seen)}


def started(folder):
    """A run that begins with runtime.start, as in a notebook."""
    device = runtime.start(seed=0)
    return fitted(network().to(device), checkpoint=folder / "run.pt")


def many(folder):
    """Several of the above in one start, which takes longer than they do; each in a folder of its own."""
    left = {}
    for run in (alike, noisy, kept, taken_up, refused, shared_out):
        inside = folder / run.__name__
        inside.mkdir(exist_ok=True)
        left[run.__name__] = run(inside)
    return left


if __name__ == "__main__":
    torch.set_num_threads(1)
    name, folder = sys.argv[1], Path(sys.argv[2])
    parallel.join()
    torch.save(globals()[name](folder), folder / f"{RANK}.pt")
