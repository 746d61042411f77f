"""What is minimised: functions of a model and a batch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit.train.messages import describe


def classification(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the mean cross-entropy in nats ("loss") and the fraction correct ("accuracy") of a batch.

    `model` maps x (N, ...) to logits (N, C), no softmax; `y` (N,) holds class numbers from 0 to C − 1.
    Raises TypeError for labels that are not integers, ValueError for wrong shapes and for other classes.
    """
    logits = model(x)
    y = _class_numbers(logits, y)
    return {"loss": F.cross_entropy(logits, y), "accuracy": (logits.argmax(dim=1) == y).float().mean()}


def _class_numbers(logits: Tensor, y: Tensor) -> Tensor:
    """Return labels that fit the logits, as int64: cross_entropy takes no other integers."""
    if logits.ndim != 2:
        raise ValueError(
            f"classification: the model must return logits (N, C), not {describe(logits)}; nn.Flatten() first?"
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise TypeError(
            f"classification: labels `y` must be integer class numbers, not {describe(y)}: convert with y.long()"
        )
    if y.shape != logits.shape[:1]:
        raise ValueError(
            f"classification: labels `y` must have shape ({len(logits)},), one class number per example, not "
            f"{tuple(y.shape)}; one-hot rows become numbers with y.argmax(dim=1)"
        )
    y = y.long()
    lowest, highest = torch.stack(y.aminmax()).tolist()  # one synchronisation on a GPU
    if lowest < 0 or highest >= logits.shape[1]:
        raise ValueError(
            f"classification: the model has {logits.shape[1]} outputs, so labels `y` must lie between 0 and "
            f"{logits.shape[1] - 1}, but they reach from {lowest} to {highest}: add outputs or renumber"
        )
    return y
