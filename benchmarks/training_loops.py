"""One epoch of MNIST, 784-128-10, Adam, batch 128: `coursekit.train.fit` beside the loops a student would write.

    python benchmarks/training_loops.py [--repeats 5] [--source full|sample]

Every run is a process of its own, so that peak memory is its own; the order changes from round to round. Times
are medians over the rounds; the accuracy on the validation digits stands beside them, so that nobody wins by
doing less. The floor is the bare loop over ready-made batches, unshuffled: nothing is left out of it but the data.
"""

import argparse
import multiprocessing
import platform
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm.auto import tqdm

from coursekit import data, runtime, train

BATCH = 128


def bare_loop(model: nn.Module, optimizer: torch.optim.Optimizer, batches) -> None:
    """Train one epoch with nothing but what training needs."""
    device = next(model.parameters()).device
    model.train()
    for x, y in batches:
        loss = F.cross_entropy(model(x.to(device)), y.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def floor(digits: data.Splits) -> Callable:
    """Ready-made batches: slices cut before the clock starts."""
    batches = list(digits.train.batches(BATCH))
    return lambda model, optimizer: bare_loop(model, optimizer, batches)


def fit(digits: data.Splits) -> Callable:
    """`coursekit.train.fit` as in the lessons: reshuffled batches, averages, history, progress bar."""
    batches = digits.train.batches(BATCH, shuffle=True)
    return lambda model, optimizer: train.fit(model, batches, epochs=1, optimizer=optimizer)


def tensor_dataset(digits: data.Splits) -> Callable:
    """A DataLoader over a TensorDataset."""
    batches = DataLoader(TensorDataset(digits.train.x.cpu(), digits.train.y.cpu()), BATCH, shuffle=True)
    return lambda model, optimizer: bare_loop(model, optimizer, batches)


def image_by_image(digits: data.Splits) -> Callable:
    """The loop of most tutorials: torchvision's dataset, ToTensor and Normalize, image by image."""
    from torchvision import datasets, transforms

    folder = Path(tempfile.mkdtemp())
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, split in (("train", digits.train), ("t10k", digits.test)):
        pixels = split.x.mul(255).round().byte().squeeze(1).cpu().numpy()
        for kind, array in (("images-idx3", pixels), ("labels-idx1", split.y.byte().cpu().numpy())):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (raw / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    batches = DataLoader(datasets.MNIST(folder, transform=transform), BATCH, shuffle=True)
    return lambda model, optimizer: bare_loop(model, optimizer, batches)


CONTESTANTS = {
    "bare loop, ready-made batches (the floor)": floor,
    "coursekit.train.fit": fit,
    "DataLoader over a TensorDataset": tensor_dataset,
    "DataLoader, image by image": image_by_image,
}


def measure(name: str, source: str, seed: int) -> tuple[float, float, float]:
    """Return seconds for one epoch, peak memory in MiB, accuracy on the validation digits."""
    device = runtime.best_device()
    runtime.seed_everything(seed)
    digits = data.mnist(source).to(device)
    epoch = CONTESTANTS[name](digits)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, BATCH), nn.ReLU(), nn.Linear(BATCH, 10)).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    warm_up = nn.Linear(784, 10).to(device)
    train.fit(
        nn.Sequential(nn.Flatten(), warm_up), digits.valid.batches(BATCH), epochs=1,
        optimizer=torch.optim.Adam(warm_up.parameters()),
    )  # fmt: skip

    started = time.perf_counter()
    epoch(model, optimizer)
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started

    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    transformed = "image by image" in name  # this one was trained on normalised pixels
    split = (
        digits.valid if not transformed else data.Split((digits.valid.x - 0.1307) / 0.3081, digits.valid.y)
    )
    return seconds, kibibytes / 1024, train.evaluate(model, split.batches(1000))["accuracy"]


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument(
        "--source", default="auto", choices=data.SOURCES, help="data (default: full, else the sample)"
    )
    options = parser.parse_args()

    results = {name: [] for name in CONTESTANTS}
    order = [
        name for _ in range(options.repeats) for name in random.sample(list(CONTESTANTS), len(CONTESTANTS))
    ]
    for number, name in enumerate(tqdm(order, unit="run")):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results[name].append(pool.apply(measure, (name, options.source, number // len(CONTESTANTS))))

    threads, device = torch.get_num_threads(), runtime.best_device()
    print(
        f"\nPython {platform.python_version()}, torch {torch.__version__}, {device}, {threads} threads, ",
        end="",
    )
    print(f"{options.repeats} rounds; one epoch, batch {BATCH}\n")
    print(
        "| one epoch | seconds (min–max) | × the floor | peak MiB | valid accuracy |\n|---|---|---|---|---|"
    )
    base = statistics.median(run[0] for run in results[next(iter(CONTESTANTS))])
    for name, runs in results.items():
        seconds, memory, accuracy = zip(*runs, strict=True)
        middle = statistics.median(seconds)
        spread = f"{middle:.2f} ({min(seconds):.2f}–{max(seconds):.2f})"
        print(
            f"| {name} | {spread} | {middle / base:.2f} | {max(memory):.0f} | {statistics.mean(accuracy):.3f} |"
        )


if __name__ == "__main__":
    main()
