"""Batches and what an objective makes of them, checked, with errors that say what to do."""

import contextlib
import traceback
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from coursekit.train import parallel
from coursekit.train.messages import describe

Batch = tuple[Tensor, Tensor]
Objective = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]
_HOW_TO_BATCH = "a Split is cut into batches by .batches(128), a Dataset by a DataLoader"


def checked(
    batches: Iterable[Batch], model: nn.Module, epoch: int = 0
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield x, y, on the model's device, and how many examples count; of several processes, each gets its share.

    Raises TypeError or ValueError for what is no batch or lives on another accelerator.
    """
    device = device_of(model)
    if not isinstance(batches, Iterable):
        raise TypeError(
            f"batches must be an iterable of pairs (x, y), not {describe(batches)}; {_HOW_TO_BATCH}"
        )
    for batch, size in parallel.shares(batches, epoch):
        if not (
            isinstance(batch, tuple | list)
            and len(batch) == 2
            and all(isinstance(part, Tensor) for part in batch)
        ):
            raise TypeError(
                f"every batch must be a pair of tensors (x, y), not {describe(batch)}; {_HOW_TO_BATCH}"
            )
        x, y = batch
        size = len(x) if size is None else size
        if x.device == device == y.device:
            yield x, y, size
        elif {x.device.type, y.device.type} <= {"cpu", device.type} and device.type != "meta":
            yield x.to(device, non_blocking=True), y.to(device, non_blocking=True), size
        else:
            raise ValueError(
                f"the model is on {device}, the batches on {x.device}: move the model with model.to('{x.device}') "
                "before its optimizer is made, or the data with splits.to(...)"
            )


def length(batches: Iterable[Batch]) -> int | None:
    """Return how many batches there are; None where nobody knows, as with a DataLoader of an IterableDataset."""
    try:
        return len(batches)
    except (TypeError, NotImplementedError):
        return None


def device_of(model: nn.Module) -> torch.device:
    """Return the device of all parameters; ValueError if there are none, or several devices."""
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


def apply(objective: Objective, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return what the objective makes of a batch; ValueError where it fails, TypeError for other results."""
    try:
        result = objective(model, x, y)
    except (RuntimeError, ValueError) as error:
        if explained := _explanation(error, x, y):
            raise ValueError(explained) from error
        raise
    _check_result(result)
    return result


def _explanation(error: RuntimeError | ValueError, x: Tensor, y: Tensor) -> str | None:
    """Return what an error inside an objective means, None for one that speaks for itself."""
    if str(error).startswith("Expected more than 1 value per channel when training"):
        return (
            f"a batch of x {describe(x)} is too small for batch normalization, which needs two examples or more to "
            "train on. If it is the last one, left over, choose another batch size (the number of examples divided by "
            "it must not leave 1) or let a DataLoader leave it out, drop_last=True"
        )
    if isinstance(error, ValueError) or _is_out_of_memory(error):
        return None
    return (
        f"the objective failed on a batch of x {describe(x)} and y {describe(y)}: {error}. "
        "Compare these shapes and types with what the model's layers take: the first one the batch (a dense net on "
        "images starts with nn.Flatten(), nets compute in float32), every other what the one before it gives."
    )


def _check_result(result: object) -> None:
    if not isinstance(result, dict) or not isinstance(result.get("loss"), Tensor) or result["loss"].ndim != 0:
        raise TypeError(
            f"an objective must return a dict of scalar tensors with an entry 'loss', not {describe(result)}; "
            "average over the batch with .mean()"
        )
    for name, value in result.items():
        if not isinstance(value, Tensor) or value.ndim != 0:
            fix = (
                "average over the batch with .mean()"
                if hasattr(value, "shape") and value.shape
                else "leave out .item()"
            )
            raise TypeError(
                f"an objective must return scalar tensors, but its entry {name!r} is {describe(value)}: {fix}"
            )


@contextlib.contextmanager
def memory_error_explained(size: int) -> Iterator[None]:
    """Turn what is raised for lack of memory into a torch.OutOfMemoryError that names the batch size to try."""
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
