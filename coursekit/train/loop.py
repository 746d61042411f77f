"""One training loop for every network of the course.

The loop works with any iterable of (x, y) batches, `Split.batches` or a DataLoader, and with any objective:
a function `(model, x, y) -> dict` whose "loss" is minimised and whose other entries are averaged and plotted.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from coursekit.train import arguments, generators, parallel
from coursekit.train.checkpoints import Checkpoint, NoCheckpoint
from coursekit.train.descriptions import compare, describe_run
from coursekit.train.history import History
from coursekit.train.inputs import Batch, Objective, device_of, length
from coursekit.train.objectives import classification
from coursekit.train.progress import ProgressBar
from coursekit.train.run import Run


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
    `epochs` make the run longer. A file of another run is an error and stays as it is; what cannot be compared with it
    is named in a warning. The stop button (an interrupt) ends training: model and history are then as they were after
    the last whole epoch.

    Started by torchrun in several processes, each trains on its share of every batch, and all end with the weights and
    the history of one; process 0 draws the bar, prints and saves. All must be given the same; batch normalization and
    dropout see the shares.

    Raises FloatingPointError as soon as a loss is not finite; torch.OutOfMemoryError with the batch size to try;
    ValueError, TypeError or OSError for arguments and batches that cannot be trained on, naming what arrived;
    RuntimeError inside of torch.no_grad(), and where another process of the run has ended. Warns of an optimizer that
    holds parameters of another model, too.
    """
    _check(model, objective)
    arguments.check_settings(epochs, valid, patience, optimizer, scheduler)
    optimizer = optimizer or _adam(model)
    arguments.check_trainable(model, optimizer)
    run = Run(model, train, valid, objective, optimizer, scheduler, patience)
    _meet(run, epochs)
    run.saved = run.state()
    keeper = _keeper(run, checkpoint)
    run.go_on_from(parallel.from_first(lambda: keeper.load(epochs)))
    try:
        _train(run, epochs, keeper)
    except KeyboardInterrupt:
        run.restore(run.saved)
        if parallel.rank() == 0:
            print(_stopped(len(run.history), epochs), keeper.how_to_go_on(epochs - len(run.history)))
    run.put_back_best_weights()
    model.eval()
    return run.history


def _meet(run: Run, epochs: int) -> None:
    """Join the other processes of the run, if there are any, and begin with the same weights in all of them."""
    parallel.join()
    parallel.check_meeting("fit")
    if parallel.processes() > 1:
        arguments.check_unwrapped(run.model)
        parallel.check_alike(
            describe_run(run) | {"epochs": str(epochs)}, lambda there, here: compare(there, here, {})[0]
        )
        parallel.align(run.model)


def _check(model: nn.Module, objective: Objective) -> None:
    arguments.check_model(model)
    arguments.check_initialized(model)
    arguments.check_objective(objective)
    arguments.check_gradients()


def _adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), fused=device_of(model).type in ("cpu", "cuda"))


def _keeper(run: Run, path: str | Path | None) -> Checkpoint | NoCheckpoint:
    if path is None or parallel.rank() > 0:
        return NoCheckpoint()
    generators.warn_of_those_lost((run.train, run.valid))
    return Checkpoint(path, describe_run(run), run.saved)


def _train(run: Run, epochs: int, checkpoint: Checkpoint | NoCheckpoint) -> None:
    batches, done = length(run.train), len(run.history)
    total, past = (None, 0) if batches is None else (epochs * batches, done * batches)
    elsewhere = parallel.rank() > 0
    with ProgressBar(
        total=total, initial=past, unit="batch", leave=False, delay=0.5, disable=elsewhere
    ) as bar:
        while len(run.history) < epochs and not run.has_stalled():
            bar.set_description(f"epoch {len(run.history) + 1}/{epochs}", refresh=False)
            run.one_epoch(bar)
            run.saved = run.state()
            checkpoint.save(run.saved)
        bar.total = bar.n  # stopped early, it would stay as a failure, in red


def _stopped(done: int, epochs: int) -> str:
    stand = f"those after epoch {done}" if done else "those before the first"
    return f"Stopped in epoch {done + 1} of {epochs}: model and history are {stand}."
