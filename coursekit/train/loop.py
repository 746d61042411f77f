"""One training loop for every network of the course.

The loop works with any iterable of (x, y) batches, `Split.batches` or a DataLoader, and with any objective:
a function `(model, x, y) -> dict` whose "loss" is minimised and whose other entries are averaged and plotted.
"""

import copy
import math
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from tqdm.auto import tqdm

from coursekit.train import checkpoints
from coursekit.train.history import History
from coursekit.train.inputs import (
    Batch,
    Objective,
    apply,
    check_settings,
    checked,
    device_of,
    memory_error_explained,
)
from coursekit.train.objectives import classification


def fit(
    model: nn.Module,
    train: Iterable[Batch],
    valid: Iterable[Batch] | None = None,
    *,
    epochs: int,
    objective: Objective = classification,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: LRScheduler | ReduceLROnPlateau | None = None,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
) -> History:
    """Train `model` in place, leave it in eval mode, and return the history.

    `optimizer` is Adam with learning rate 1e-3 unless given, fused where supported. `scheduler` steps after every
    epoch (OneCycleLR and CyclicLR after every batch; ReduceLROnPlateau by the validation loss, without `valid` by the
    train loss). With `patience`, training stops once the validation loss has not improved for that many epochs, and the
    weights of the best epoch are put back. Batches that come from the CPU are moved to the model's device.

    With `checkpoint`, the name of a file, the run is saved after every epoch. The same call, in a new kernel too, goes
    on after the last epoch saved, and on a CPU ends with the weights of a run that was never interrupted; more
    `epochs` make the run longer. A file of another run is an error and stays as it is. The stop button (an interrupt)
    ends training: model and history are then as they were after the last whole epoch.

    Raises FloatingPointError as soon as a loss is not finite; torch.OutOfMemoryError with the batch size to try;
    ValueError, TypeError or OSError for arguments and batches that cannot be trained on, naming what arrived.
    """
    check_settings(epochs, valid, patience, optimizer, scheduler)
    optimizer = optimizer or _adam(model)
    run = _Run(model, optimizer, scheduler, patience, loaders=(train, valid))
    saved = run.state()
    if checkpoint is not None:
        path = checkpoints.check_path(checkpoint)
        run_description = checkpoints.describe_run(
            model, train, valid, objective, optimizer, scheduler, patience
        )
        checkpoints.check_storable(run_description, saved)
        saved = _resume(run, path, run_description, epochs) or saved

    done = len(run.history)
    try:
        batches, past = _count(train, epochs), _count(train, done) or 0
        with tqdm(total=batches, initial=past, unit="batch", leave=False, delay=0.5) as bar:
            while len(run.history) < epochs and not run.has_stalled():
                bar.set_description(f"epoch {len(run.history) + 1}/{epochs}", refresh=False)
                _one_epoch(run, train, valid, objective, bar)
                saved = run.state()
                if checkpoint is not None:
                    _save(path, run_description, saved)
            bar.total = bar.n  # stopped early, it would stay as a failure, in red
    except KeyboardInterrupt:
        run.restore(saved)
        print(_how_to_go_on(len(run.history), epochs, checkpoint))
    if run.best_weights is not None:
        model.load_state_dict(run.best_weights)
    model.eval()
    return run.history


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], *, objective: Objective = classification
) -> dict[str, float]:
    """Return the objective's values averaged over all examples, e.g. {"loss": 0.07, "accuracy": 0.98}.

    Puts the model in eval mode and changes nothing else. Raises ValueError if there are no examples.
    """
    model.eval()
    values, sizes = [], []
    for x, y in checked(batches, model):
        with memory_error_explained(len(x)):
            values.append(apply(objective, model, x, y))
        sizes.append(len(x))
    return _means(values, sizes, "evaluate: `batches`")


def _adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), fused=device_of(model).type in ("cpu", "cuda"))


# A run and its epochs ----------------------------------------------------------------------------------


@dataclass
class _Run:
    """All that changes as training goes on, to be kept after an epoch and put back."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | ReduceLROnPlateau | None
    patience: int | None
    loaders: tuple[Iterable[Batch], Iterable[Batch] | None]
    history: History = field(default_factory=History)
    best_weights: dict[str, Tensor] | None = None

    def has_stalled(self) -> bool:
        """Return whether the validation loss has not improved for `patience` epochs."""
        best = self.history.best_epoch
        return self.patience is not None and best is not None and len(self.history) - best >= self.patience

    def state(self) -> dict[str, Any]:
        """Return a copy of everything, in types that torch.load reads with weights_only=True."""
        parts = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler and self.scheduler.state_dict(),
            "history": vars(self.history),
        }
        random = checkpoints.random_state(self.loaders)
        return _copied(parts) | {"best_weights": self.best_weights, "random": random}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned, here or in another kernel."""
        parts = _copied(state)  # optimizers take the very tensors they are given and change them
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(parts["scheduler"])
        vars(self.history).update(parts["history"])
        self.best_weights = parts["best_weights"]
        checkpoints.set_random_state(parts["random"], self.loaders)


def _copied(value: Any) -> Any:
    """Return what copy.deepcopy does, in a third of the time: most of a state is tensors, with which it is slow."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        copied = copy.copy(value)  # a state dict has attributes
        copied.update((name, _copied(entry)) for name, entry in value.items())
        return copied
    return [_copied(entry) for entry in value] if type(value) is list else copy.deepcopy(value)


def _resume(run: _Run, path: Path, run_description: dict[str, str], epochs: int) -> dict[str, Any] | None:
    """Bring the run to where the file left it, and say so; return the stored state, None without a file."""
    state = checkpoints.load(path, run_description)
    if state is None:
        return None
    done = len(state["history"]["seconds"])
    if done > epochs:
        raise ValueError(
            f"fit: `epochs` is {epochs}, but {path} holds {done}: ask for more, or delete the file to start afresh"
        )
    run.restore(state)
    print(f"{path}: going on after epoch {done} of {epochs}; delete the file to start afresh")
    return state


def _save(path: Path, run_description: dict[str, str], state: dict[str, Any]) -> None:
    try:
        checkpoints.save(path, run_description, state)
    except OSError as error:
        warnings.warn(
            f"{path} could not be saved ({error.strerror}). Training goes on; what was saved before is intact",
            stacklevel=3,
        )


def _how_to_go_on(done: int, epochs: int, checkpoint: str | Path | None) -> str:
    stand = f"those after epoch {done}" if done else "those before the first"
    further = (
        "The same call goes on from there."
        if checkpoint is not None
        else f"Another fit with epochs={epochs - done} trains further; with a `checkpoint`, the same call would."
    )
    return f"Stopped in epoch {done + 1} of {epochs}: model and history are {stand}. {further}"


def _one_epoch(run, train, valid, objective, bar) -> None:
    epoch, started, lr = len(run.history) + 1, time.perf_counter(), run.optimizer.param_groups[0]["lr"]
    train_means = _train_epoch(run.model, train, objective, run.optimizer, run.scheduler, bar, epoch)
    valid_means = {} if valid is None else evaluate(run.model, valid, objective=objective)
    run.history.append(train_means, valid_means, lr, time.perf_counter() - started)
    if valid_means and not math.isfinite(valid_means["loss"]):
        raise FloatingPointError(
            f"the validation loss is {valid_means['loss']} in epoch {epoch}, the training loss is finite: "
            "look at the inputs of `valid`, x.isfinite().all()"
        )

    if isinstance(run.scheduler, ReduceLROnPlateau):
        run.scheduler.step((valid_means or train_means)["loss"])
    elif run.scheduler is not None and not _steps_every_batch(run.scheduler):
        run.scheduler.step()
    if run.patience is not None and run.history.best_epoch == epoch:
        run.best_weights = _copied(run.model.state_dict())


def _train_epoch(model, batches, objective, optimizer, scheduler, bar, epoch) -> dict[str, float]:
    model.train()
    values, sizes = [], []
    for x, y in checked(batches, model):
        with memory_error_explained(len(x)):
            result = apply(objective, model, x, y)
            optimizer.zero_grad()
            result["loss"].backward()
            optimizer.step()
        if _steps_every_batch(scheduler):
            scheduler.step()
        values.append({name: value.detach() for name, value in result.items()})
        sizes.append(len(x))
        if bar.update():  # drawn a few times a second: only then is the loss fetched from the device
            bar.set_postfix_str(f"loss {_finite_loss(values, epoch):.4f}", refresh=False)
    means = _means(values, sizes, "fit: `train`")
    if not math.isfinite(means["loss"]):
        _finite_loss(values, epoch)
    return means


def _means(values: list[dict[str, Tensor]], sizes: list[int], argument: str) -> dict[str, float]:
    """Average over examples, not over batches: the last batch is shorter."""
    if not sum(sizes):
        raise ValueError(
            f"{argument} yielded no examples; is the split empty, or an iterator already used up?"
        )
    weights = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    return {
        name: float(torch.stack([row[name] for row in values]).cpu().double() @ weights) for name in values[0]
    }


def _finite_loss(values: list[dict[str, Tensor]], epoch: int) -> float:
    """Return the newest loss, if all losses of the epoch are finite; else raise, naming the first that is not."""
    losses = torch.stack([row["loss"] for row in values]).cpu()
    if losses.isfinite().all():
        return float(losses[-1])
    batch = int((~losses.isfinite()).nonzero()[0])
    raise FloatingPointError(
        f"the loss became {float(losses[batch])} in epoch {epoch}, batch {batch + 1}; "
        "the weights are no longer numbers.\n"
        "Usual causes:\n"
        "- the learning rate is too high: try a tenth;\n"
        "- the inputs hold nan or are not scaled: look at x.isfinite().all() and x.std();\n"
        "- a logarithm, square root or division met a 0.\n"
        "Build the model again before the next attempt."
    )


def _count(batches: Iterable[Batch], epochs: int) -> int | None:
    return epochs * len(batches) if hasattr(batches, "__len__") else None


def _steps_every_batch(scheduler: LRScheduler | ReduceLROnPlateau | None) -> bool:
    return isinstance(scheduler, OneCycleLR | CyclicLR)
