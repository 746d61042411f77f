"""What `fit` and `evaluate` are given, checked, with errors that say what to do."""

import contextlib
import traceback
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from coursekit.train.messages import describe

Batch = tuple[Tensor, Tensor]
Objective = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]
_HOW_TO_BATCH = "a Split is cut into batches by .batches(128), a Dataset by a DataLoader"


def check_settings(epochs, valid, patience, optimizer, scheduler) -> None:
    """Raise TypeError or ValueError for arguments of `fit` that cannot be trained with."""
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


def checked(batches: Iterable[Batch], model: nn.Module) -> Iterator[Batch]:
    """Yield batches on the model's device; raise for what is no batch or lives on another accelerator."""
    device = device_of(model)
    if not isinstance(batches, Iterable):
        raise TypeError(
            f"batches must be an iterable of pairs (x, y), not {describe(batches)}; {_HOW_TO_BATCH}"
        )
    for batch in batches:
        if not (
            isinstance(batch, tuple | list)
            and len(batch) == 2
            and all(isinstance(part, Tensor) for part in batch)
        ):
            raise TypeError(
                f"every batch must be a pair of tensors (x, y), not {describe(batch)}; {_HOW_TO_BATCH}"
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
    except RuntimeError as error:
        if _is_out_of_memory(error):
            raise
        raise ValueError(
            f"the objective failed on a batch of x {describe(x)} and y {describe(y)}: {error}. "
            "Compare these shapes and types with what the model's first layer takes (a dense net on images "
            "starts with nn.Flatten(), nets compute in float32)."
        ) from error
    if not isinstance(result, dict) or not isinstance(result.get("loss"), Tensor) or result["loss"].ndim != 0:
        raise TypeError(
            f"an objective must return a dict of scalar tensors with an entry 'loss', not {describe(result)}; "
            "average over the batch with .mean()"
        )
    return result


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
