"""A training run: what it is made of, an epoch of it, and its state."""

import copy
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from coursekit.train import generators, parallel
from coursekit.train.averages import Averages, average
from coursekit.train.history import History
from coursekit.train.inputs import Batch, Objective, apply, checked, memory_error_explained
from coursekit.train.progress import ProgressBar


@dataclass
class Run:
    """What `fit` was given, and all that changes as training goes on.

    `saved` is the state after the last whole epoch.
    """

    model: nn.Module
    train: Iterable[Batch]
    valid: Iterable[Batch] | None
    objective: Objective
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | ReduceLROnPlateau | None = None
    patience: int | None = None
    history: History = field(default_factory=History)
    best_weights: dict[str, Tensor] | None = None
    saved: dict[str, Any] = field(default_factory=dict)

    def has_stalled(self) -> bool:
        """Return whether the validation loss has not improved for `patience` epochs."""
        best = self.history.best_epoch
        return self.patience is not None and best is not None and len(self.history) - best >= self.patience

    def put_back_best_weights(self) -> None:
        """Give the model the weights of the best epoch, if `patience` asked for them."""
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)

    # An epoch --------------------------------------------------------------------------------------

    def one_epoch(self, bar: ProgressBar) -> None:
        """Train on every batch, validate, step the scheduler, and record it. Raises FloatingPointError."""
        started = time.perf_counter()
        lr = float(self.optimizer.param_groups[0]["lr"])  # a tensor would change under the history
        train = self._train_epoch(bar)
        parallel.align(
            self.model
        )  # running averages, as batch normalization keeps them, were taken over shares
        valid = {} if self.valid is None else average(self.model, self.valid, self.objective)
        self.history.append(train, valid, lr, time.perf_counter() - started)
        if valid:
            self._check_finite(valid["loss"])
        self._step_after_epoch((valid or train)["loss"])
        if self.patience is not None and self.history.best_epoch == len(self.history):
            self.best_weights = _copied(self.model.state_dict())

    def _train_epoch(self, bar: ProgressBar) -> dict[str, float]:
        self.model.train()
        values, epoch = Averages("fit: `train`"), len(self.history) + 1
        for x, y, size in checked(self.train, self.model, epoch):
            values.add(self._train_batch(x, y, size), size)
            if bar.update():  # drawn a few times a second: only then is the loss fetched from the device
                bar.set_postfix_str(f"loss {values.newest_loss(epoch):.4f}", refresh=False)
        means = values.means()
        if not math.isfinite(means["loss"]):
            values.newest_loss(epoch)
        return means

    def _train_batch(self, x: Tensor, y: Tensor, size: int) -> dict[str, Tensor]:
        with memory_error_explained(len(x)):
            result = apply(self.objective, self.model, x, y)
            _check_depends_on_weights(result["loss"])
            self.optimizer.zero_grad()
            result["loss"].backward()
            parallel.average_gradients(self.model, size)
            self.optimizer.step()
        if isinstance(self.scheduler, OneCycleLR | CyclicLR):
            self.scheduler.step()
        return {name: value.detach() for name, value in result.items()}

    def _step_after_epoch(self, loss: float) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(loss)
        elif self.scheduler is not None and not isinstance(self.scheduler, OneCycleLR | CyclicLR):
            self.scheduler.step()

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the validation loss is {loss} in epoch {len(self.history)}, the training loss is finite: "
                "look at the inputs of `valid`, x.isfinite().all()"
            )

    # Its state -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return a copy of everything, in types that torch.load reads with weights_only=True."""
        parts = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler and self.scheduler.state_dict(),
            "history": vars(self.history),
        }
        random = generators.random_state((self.train, self.valid))
        rest = {"best_weights": self.best_weights, "random": random, "processes": parallel.processes()}
        return _copied(parts) | rest

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned, here or in another kernel."""
        parts = _copied(state)  # optimizers take the very tensors they are given and change them
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(parts["scheduler"])
        vars(self.history).update(parts["history"])
        self.best_weights = parts["best_weights"]
        generators.set_random_state(parts["random"], (self.train, self.valid))

    def go_on_from(self, state: dict[str, Any] | None) -> None:
        """Begin where `state` was left, if there is one."""
        if state is not None:
            self.restore(state)
            self.saved = state


def _check_depends_on_weights(loss: Tensor) -> None:
    if not loss.requires_grad:
        raise ValueError(
            "fit: the loss does not depend on any parameter that is trained: was it computed with .detach(), .item() "
            "or argmax, or inside of torch.no_grad()? Or is what it depends on frozen?"
        )


def _copied(value: Any) -> Any:
    """Return what copy.deepcopy does, in a third of the time: most of a state is tensors, with which it is slow."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        copied = copy.copy(value)  # a state dict has attributes
        copied.update((name, _copied(entry)) for name, entry in value.items())
        return copied
    return [_copied(entry) for entry in value] if type(value) is list else copy.deepcopy(value)
