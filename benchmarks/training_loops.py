"""One epoch of MNIST: `coursekit.train.fit` beside the loops and libraries a student would use otherwise.

    python benchmarks/training_loops.py [--repeats 5] [--source full|sample] [--model mlp|cnn]

The same model, data, batch size, number of threads and optimizer for all, Adam at 1e-3, in the form each would take
without being asked: fused in `fit`, one step a tensor in PyTorch and in what is built on it, Keras's own in Keras.
The floor is the bare loop over batches that are ready-made and never reshuffled: nothing is left out of it but the
data. It trains an epoch before and after each of the others, in the same process, and their times are divided by its.
The accuracy on the validation digits stands beside the time, so that nobody wins by doing less. Libraries that are not
installed are left out: pip install -e ".[bench]".
"""

import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import Run, machine, options, rounds, table, timed_beside
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from coursekit import data, runtime, train

BATCH, MEAN, DEVIATION = 128, 0.1307, 0.3081
Epoch, Predict = Callable[[], object], Callable[[Tensor], Tensor]

MODELS = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)),
    "cnn": lambda: nn.Sequential(
        *(nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(512, 10)),
    ),
}


def bare_loop(model: nn.Module, batches, *, fused: bool = False) -> Epoch:
    """Nothing but what training needs."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    device = next(model.parameters()).device

    def epoch() -> None:
        model.train()
        for x, y in batches:
            loss = F.cross_entropy(model(x.to(device)), y.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def floor(digits: data.Splits, model: nn.Module, *, fused: bool = False) -> tuple[Epoch, Predict]:
    """Slices cut before the clock starts."""
    return bare_loop(model, list(digits.train.batches(BATCH)), fused=fused), model


def fit(digits: data.Splits, model: nn.Module, *, fused: bool = True) -> tuple[Epoch, Predict]:
    """As in the lessons: reshuffled batches, averages, history, progress bar."""
    adam = None if fused else torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = digits.train.batches(BATCH, shuffle=True)
    return lambda: train.fit(model, batches, epochs=1, optimizer=adam), model


def tensor_dataset(digits: data.Splits, model: nn.Module) -> tuple[Epoch, Predict]:
    return bare_loop(model, loader(digits)), model


def loader(digits: data.Splits) -> DataLoader:
    return DataLoader(TensorDataset(digits.train.x.cpu(), digits.train.y.cpu()), BATCH, shuffle=True)


def as_torchvision(split: data.Split) -> Dataset:
    """Return a split as torchvision's data set of files, its pictures prepared one by one."""
    from torchvision import datasets, transforms

    folder = Path(tempfile.mkdtemp())
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = split.x.mul(255).round().byte().squeeze(1).cpu().numpy()
    for kind, array in (("images-idx3", pixels), ("labels-idx1", split.y.byte().cpu().numpy())):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        for part in ("train", "t10k"):  # it asks for both
            (raw / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())
    prepared = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (DEVIATION,))])
    return datasets.MNIST(folder, transform=prepared)


def normalised(split: data.Split) -> data.Split:
    """Return the pictures as a network trained on `as_torchvision` expects them."""
    return data.Split((split.x - MEAN) / DEVIATION, split.y)


def image_by_image(digits: data.Splits, model: nn.Module, *, workers: int = 0) -> tuple[Epoch, Predict]:
    """The loop of most tutorials: torchvision's data set, ToTensor and Normalize."""
    batches = DataLoader(as_torchvision(digits.train), BATCH, shuffle=True, num_workers=workers)
    return bare_loop(model, batches), lambda x: model((x - MEAN) / DEVIATION)


def with_skorch(digits: data.Splits, model: nn.Module) -> tuple[Epoch, Predict]:
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        model, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=1e-3, batch_size=BATCH, max_epochs=1,
        iterator_train__shuffle=True, train_split=None, verbose=0, device=next(model.parameters()).device,
    )  # fmt: skip
    net.initialize()
    x, y = digits.train.x.cpu(), digits.train.y.cpu()
    return lambda: net.partial_fit(x, y), net.module_


def with_lightning(digits: data.Splits, model: nn.Module) -> tuple[Epoch, Predict]:
    import lightning

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def training_step(self, batch, _) -> Tensor:
            x, y = batch
            return F.cross_entropy(self.net(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    return lambda: trainer.fit(Classifier(), loader(digits)), model


def with_keras(digits: data.Splits, model: nn.Module) -> tuple[Epoch, Predict]:
    """The same layers, on Keras's PyTorch backend."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.config.set_image_data_format("channels_first")
    layers = {
        nn.Flatten: lambda _: keras.layers.Flatten(),
        nn.ReLU: lambda _: keras.layers.ReLU(),
        nn.Linear: lambda layer: keras.layers.Dense(layer.out_features),
        nn.Conv2d: lambda layer: keras.layers.Conv2D(layer.out_channels, layer.kernel_size),
        nn.MaxPool2d: lambda layer: keras.layers.MaxPooling2D(layer.kernel_size),
    }
    net = keras.Sequential([keras.Input((1, 28, 28)), *(layers[type(layer)](layer) for layer in model)])
    assert net.count_params() == sum(parameter.numel() for parameter in model.parameters())
    net.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = digits.train.x.cpu().numpy(), digits.train.y.cpu().numpy()
    return lambda: net.fit(x, y, batch_size=BATCH, epochs=1, verbose=0), net


def with_fastai(digits: data.Splits, model: nn.Module) -> tuple[Epoch, Predict]:
    from fastai.basics import DataLoaders, Learner
    from fastai.optimizer import OptimWrapper

    one = DataLoader(
        TensorDataset(digits.valid.x[:1].cpu(), digits.valid.y[:1].cpu())
    )  # it insists on validation
    loaders = DataLoaders(loader(digits), one, device=next(model.parameters()).device)
    adam = partial(OptimWrapper, opt=torch.optim.Adam)
    learner = Learner(loaders, model, loss_func=nn.CrossEntropyLoss(), lr=1e-3, opt_func=adam)

    def epoch() -> None:
        with learner.no_logging():
            learner.fit(1)

    return epoch, model


CONTESTANTS = {
    "bare loop, ready-made batches (the floor)": floor,
    "the same with a fused Adam": partial(floor, fused=True),
    "`coursekit.train.fit`": fit,
    "`coursekit.train.fit`, given PyTorch's usual Adam": partial(fit, fused=False),
    "`DataLoader` over a `TensorDataset`": tensor_dataset,
    "skorch": with_skorch,
    "Lightning over a `TensorDataset`": with_lightning,
    "Keras 3 on PyTorch": with_keras,
    "fastai over a `TensorDataset`": with_fastai,
    "torchvision's `DataLoader`, image by image": image_by_image,
    "the same with 2 workers": partial(image_by_image, workers=2),
}
NEEDS = {"skorch": with_skorch, "lightning": with_lightning, "keras": with_keras, "fastai": with_fastai}


def measure(name: str, _: int, kind: str, source: str) -> Run:
    """Time one epoch."""
    warnings.simplefilter("ignore")
    device = runtime.best_device()
    digits = data.mnist(source).to(device)
    model = MODELS[kind]().to(device)
    warm_up = MODELS[kind]().to(device)
    train.fit(
        warm_up, digits.valid.batches(BATCH), epochs=1, optimizer=torch.optim.Adam(warm_up.parameters())
    )
    epoch, predict = CONTESTANTS[name](digits, model)
    seconds, beside = timed_beside(floor(digits, MODELS[kind]().to(device))[0], epoch)
    model.eval()
    with torch.no_grad():
        right = [predict(x).argmax(dim=1) == y for x, y in digits.valid.batches(1000)]
    return Run(seconds, beside, facts={"valid accuracy": torch.cat(right).float().mean().item()})


def main() -> None:
    """Run the rounds and print the tables."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, help="one of the two (default: both)")
    chosen = parser.parse_args()
    missing = {build for library, build in NEEDS.items() if importlib.util.find_spec(library) is None}
    names = [name for name, build in CONTESTANTS.items() if build not in missing]
    print(f"{machine()}; one epoch, batch {BATCH}, {chosen.repeats} rounds")
    for kind in [chosen.model] if chosen.model else MODELS:
        table(kind.upper(), rounds(measure, names, chosen.repeats, kind, chosen.source))


if __name__ == "__main__":
    main()
