"""One training loop for every network of the course, and the record it leaves.

The loop works with any iterable of (x, y) batches, `Split.batches` or a DataLoader, and with any objective:
a function `(model, x, y) -> dict` whose "loss" is minimised and whose other entries are averaged and plotted.
"""

import contextlib
import copy
import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from tqdm.auto import tqdm

from coursekit import checkpoints

_HOW_TO_BATCH = "a Split is cut into batches by .batches(128), a Dataset by a DataLoader"

Batch = tuple[Tensor, Tensor]
Objective = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]


@dataclass
class History:
    """What happened, epoch by epoch: lists of equal length, one entry an epoch.

    `train` and `valid` hold a list for every entry of the objective ("loss", "accuracy", ...), averaged over
    examples; the train values are taken while the weights move, with dropout on. `lr` is the learning rate,
    `seconds` the time. `best_epoch` (counted from 1) has the lowest validation loss; None without validation.
    """

    train: dict[str, list[float]] = field(default_factory=dict)
    valid: dict[str, list[float]] = field(default_factory=dict)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def best_epoch(self) -> int | None:
        """The epoch, counted from 1, with the lowest validation loss."""
        losses = self.valid.get("loss")
        return losses.index(min(losses)) + 1 if losses else None

    def append(self, train: dict[str, float], valid: dict[str, float], lr: float, seconds: float) -> None:
        """Record one epoch."""
        for record, values in ((self.train, train), (self.valid, valid)):
            for name, value in values.items():
                record.setdefault(name, []).append(value)
        self.lr.append(lr)
        self.seconds.append(seconds)

    def __repr__(self) -> str:
        if not len(self):
            return "History of 0 epochs"
        last = [
            f"{part} " + ", ".join(f"{name} {values[-1]:.4f}" for name, values in record.items())
            for part, record in (("train", self.train), ("valid", self.valid))
            if record
        ]
        epochs = "1 epoch" if len(self) == 1 else f"{len(self)} epochs"
        return f"{epochs} in {sum(self.seconds):.1f} s · " + " · ".join(last) + self._best()

    def _best(self) -> str:
        if self.best_epoch in (None, len(self)):
            return ""
        values = ", ".join(f"{name} {values[self.best_epoch - 1]:.4f}" for name, values in self.valid.items())
        return f" · best epoch {self.best_epoch}: valid {values}"


def classification(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the mean cross-entropy in nats ("loss") and the fraction correct ("accuracy") of a batch.

    `model` maps x (N, ...) to logits (N, C), no softmax; `y` (N,) holds class numbers from 0 to C − 1.
    Raises TypeError for labels that are not integers, ValueError for wrong shapes and for other classes.
    """
    logits = model(x)
    _check_classes(logits, y)
    return {"loss": F.cross_entropy(logits, y), "accuracy": (logits.argmax(dim=1) == y).float().mean()}


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

    `optimizer` is Adam with learning rate 1e-3 unless given, fused where there is such. `scheduler` steps after every
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
    _check_settings(epochs, valid, patience, optimizer, scheduler)
    optimizer = optimizer or _adam(model)
    run = _Run(model, optimizer, scheduler, patience, loaders=(train, valid))
    saved = run.state()
    if checkpoint is not None:
        path = checkpoints.check_path(checkpoint)
        made_of = checkpoints.describe_run(model, train, valid, objective, optimizer, scheduler, patience)
        checkpoints.check_storable(made_of, saved)
        saved = _resume(run, path, made_of, epochs) or saved

    done = len(run.history)
    try:
        batches, past = _count(train, epochs), _count(train, done) or 0
        with tqdm(total=batches, initial=past, unit="batch", leave=False, delay=0.5) as bar:
            while len(run.history) < epochs and not run.has_stalled():
                bar.set_description(f"epoch {len(run.history) + 1}/{epochs}", refresh=False)
                _one_epoch(run, train, valid, objective, bar)
                saved = run.state()
                if checkpoint is not None:
                    _save(path, made_of, saved)
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
    for x, y in _checked(batches, model):
        with _memory_error_explained(len(x)):
            values.append(_apply(objective, model, x, y))
        sizes.append(len(x))
    return _means(values, sizes, "evaluate: `batches`")


def _adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), fused=_device(model).type in ("cpu", "cuda"))


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


def _resume(run: _Run, path: Path, made_of: dict[str, str], epochs: int) -> dict[str, Any] | None:
    """Bring the run to where the file left it, and say so; return the stored state, None without a file."""
    state = checkpoints.load(path, made_of)
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


def _save(path: Path, made_of: dict[str, str], state: dict[str, Any]) -> None:
    try:
        checkpoints.save(path, made_of, state)
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
    for x, y in _checked(batches, model):
        with _memory_error_explained(len(x)):
            result = _apply(objective, model, x, y)
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


# Errors that say what to do ----------------------------------------------------------------------------


def _check_settings(epochs, valid, patience, optimizer, scheduler) -> None:
    for name, value in (("epochs", epochs), ("patience", patience)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"fit: `{name}` must be an integer of at least 1, not {value!r}")
    if patience is not None and valid is None:
        raise ValueError(
            "fit: `patience` watches the validation loss, so it needs `valid`: pass validation batches too"
        )
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"fit: `optimizer` must be a torch.optim.Optimizer such as torch.optim.SGD(model.parameters(), lr=0.1), "
            f"not {optimizer!r}"
        )
    if scheduler is not None and scheduler.optimizer is not optimizer:
        raise ValueError(
            "fit: `scheduler` belongs to another optimizer: pass the one it was made for as `optimizer`"
        )


def _checked(batches: Iterable[Batch], model: nn.Module) -> Iterator[Batch]:
    """Yield batches on the model's device; raise for what is no batch or lives on another accelerator."""
    device = _device(model)
    if not isinstance(batches, Iterable):
        raise TypeError(
            f"batches must be an iterable of pairs (x, y), not {_describe(batches)}; {_HOW_TO_BATCH}"
        )
    for batch in batches:
        if not (
            isinstance(batch, tuple | list)
            and len(batch) == 2
            and all(isinstance(part, Tensor) for part in batch)
        ):
            raise TypeError(
                f"every batch must be a pair of tensors (x, y), not {_describe(batch)}; {_HOW_TO_BATCH}"
            )
        x, y = batch
        if x.device == device == y.device:
            yield x, y
        elif {x.device.type, y.device.type} <= {"cpu", device.type} and device.type != "meta":
            yield x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        else:
            raise ValueError(
                f"the model is on {device}, the batches on {x.device}: move the model with model.to('{x.device}') "
                "before its optimizer is made, or the data with splits.to(...)"
            )


def _device(model: nn.Module) -> torch.device:
    devices = {parameter.device for parameter in model.parameters()}
    if not devices:
        raise ValueError(
            f"the model {type(model).__name__} has no parameters, so there is nothing to train or place"
        )
    if len(devices) > 1:
        raise ValueError(
            f"the model's parameters are on several devices, {sorted(map(str, devices))}: model.to(device)"
        )
    return devices.pop()


def _apply(objective: Objective, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    try:
        result = objective(model, x, y)
    except RuntimeError as error:
        if _is_out_of_memory(error):
            raise
        raise ValueError(
            f"the objective failed on a batch of x {_describe(x)} and y {_describe(y)}: {error}. "
            "Compare these shapes and types with what the model's first layer takes (a dense net on pictures "
            "starts with nn.Flatten(), nets compute in float32)."
        ) from error
    if not isinstance(result, dict) or not isinstance(result.get("loss"), Tensor) or result["loss"].ndim != 0:
        raise TypeError(
            f"an objective must return a dict of scalar tensors with an entry 'loss', not {_describe(result)}; "
            "average over the batch with .mean()"
        )
    return result


@contextlib.contextmanager
def _memory_error_explained(size: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the batch's activations
        advice = (
            f"try batches of {size // 2}"
            if size > 1
            else "one example is too much already: make the net smaller"
        )
        raise torch.OutOfMemoryError(
            f"the memory is too small for a batch of {size} examples: {advice}. In a notebook, restart the kernel if "
            "other networks or data fill it"
        ) from None


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _check_classes(logits: Tensor, y: Tensor) -> None:
    if logits.ndim != 2:
        raise ValueError(
            f"classification: the model must return logits (N, C), not {_describe(logits)}; nn.Flatten() first?"
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise TypeError(
            f"classification: labels `y` must be integer class numbers, not {_describe(y)}: convert with y.long()"
        )
    if y.shape != logits.shape[:1]:
        raise ValueError(
            f"classification: labels `y` must have shape ({len(logits)},), one class number per example, not "
            f"{tuple(y.shape)}; one-hot rows become numbers with y.argmax(dim=1)"
        )
    lowest, highest = torch.stack(y.aminmax()).tolist()  # one synchronisation on a GPU
    if lowest < 0 or highest >= logits.shape[1]:
        raise ValueError(
            f"classification: the model has {logits.shape[1]} outputs, so labels `y` must lie between 0 and "
            f"{logits.shape[1] - 1}, but they reach from {lowest} to {highest}: add outputs or renumber"
        )


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {_describe(entry)}" for name, entry in value.items()) + "}"
    return " ".join(f"{type(value).__name__} {value!r}".split())[:60]
