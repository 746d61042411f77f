"""The arguments of `fit` and `evaluate`, checked before the first batch, with errors that say what to do."""

import functools
import inspect
import types

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from coursekit.train.messages import describe, warn


def check_model(model: nn.Module) -> None:
    """Raise TypeError for what is no network."""
    if isinstance(model, type):
        raise TypeError(
            f"`model` is the class {model.__name__}, not a network of it: make one, {model.__name__}(...)"
        )
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"`model` must be a torch.nn.Module, not {describe(model)}: a function with weights becomes one as a class "
            "with nn.Parameter and forward(self, x), or as an nn.Sequential"
        )


def check_unwrapped(model: nn.Module) -> None:
    """Raise ValueError for a network that shares out its batches, or averages its gradients, by itself."""
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        raise ValueError(
            f"fit: `model` is wrapped, as {type(model).__name__}. Under torchrun fit shares the batches and averages "
            "the gradients by itself: pass `model.module`"
        )


def check_settings(epochs, valid, patience, optimizer, scheduler) -> None:
    """Raise TypeError or ValueError for arguments of `fit` that cannot be trained with."""
    for name, value in (("epochs", epochs), ("patience", patience)):
        unlimited = name == "patience" and value is None
        if not unlimited and not (_is_integer(value) and value >= 1):
            raise ValueError(f"fit: `{name}` must be an integer of at least 1, not {value!r}")
    if patience is not None and valid is None:
        raise ValueError(
            "fit: `patience` watches the validation loss, so it needs `valid`: pass validation batches too"
        )
    if optimizer is not None:
        _check_optimizer(optimizer)
    if scheduler is not None and scheduler.optimizer is not optimizer:
        raise ValueError(
            "fit: `scheduler` belongs to another optimizer: pass the one it was made for as `optimizer`"
        )


def _check_optimizer(optimizer: object) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"fit: `optimizer` must be a torch.optim.Optimizer such as torch.optim.SGD(model.parameters(), lr=0.1), "
            f"not {optimizer!r}"
        )
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(
            f"fit: `optimizer` {type(optimizer).__name__} computes the loss several times a step, which fit does not "
            "do for it (its step needs a closure): take another, such as torch.optim.Adam(model.parameters())"
        )


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_objective(objective: object) -> None:
    """Raise TypeError for what cannot be called with (model, x, y), such as a loss of PyTorch's."""
    if not callable(objective):
        raise TypeError(f"`objective` must be a function (model, x, y) -> dict, not {describe(objective)}")
    name = _name(objective)
    if _is_of_pytorch(objective):
        raise TypeError(_objective_around(name))
    if isinstance(objective, type) or not _takes_three(objective):
        raise TypeError(
            f"`objective` is called with (model, x, y), which {name} does not take: write a function "
            'def objective(model, x, y) that returns {"loss": ...}'
        )


def _objective_around(loss: str) -> str:
    """Return how a loss of PyTorch's becomes an objective."""
    called = f"nn.{loss}()" if "Loss" in loss else f"F.{loss}"
    default = "\nOr leave `objective` out: the default is the cross-entropy, with the accuracy."
    return (
        f"`objective` is called with (model, x, y), but {loss} compares outputs with labels: put it into a function,\n"
        f'def objective(model, x, y):\n    return {{"loss": {called}(model(x), y)}}'
    ) + default * ("cross" in loss.lower())


def _name(objective: object) -> str:
    if isinstance(objective, functools.partial):
        return _name(objective.func)
    return getattr(objective, "__name__", type(objective).__name__)


def _is_of_pytorch(objective: object) -> bool:
    if isinstance(objective, functools.partial):
        return _is_of_pytorch(objective.func)
    kinds = (type, nn.Module, types.FunctionType, types.BuiltinFunctionType)
    origin = getattr(objective, "__module__", None) or ""
    return isinstance(objective, kinds) and origin.split(".")[0] == "torch"


def _takes_three(objective: object) -> bool:
    try:
        signature = inspect.signature(objective.forward if isinstance(objective, nn.Module) else objective)
    except (TypeError, ValueError):  # built-in functions have none
        return True
    try:
        signature.bind("model", "x", "y")
    except TypeError:
        return False
    return True


def check_trainable(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError where no weight of the model would move; warn if some of the optimizer's are not the model's."""
    own = {id(parameter) for parameter in model.parameters()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    strangers = sum(id(parameter) not in own for parameter in held)
    again = f"make it again: torch.optim.{type(optimizer).__name__}(model.parameters(), ...)"
    if strangers == len(held):
        raise ValueError(
            f"fit: `optimizer` holds {len(held)} parameters and none of them is the model's, so that nothing would be "
            f"trained. If the model was built again after its optimizer, {again}"
        )
    if strangers:
        warn(
            f"fit: {strangers} of the {len(held)} parameters in `optimizer` do not belong to the model: they are in no "
            f"checkpoint and not among the best weights. If a part of the model was built again, {again}"
        )
    if not any(parameter.requires_grad for parameter in held):
        raise ValueError(
            "fit: all parameters in `optimizer` are frozen, so that nothing would be trained: give some of them back "
            "with parameter.requires_grad_(True), or pass an optimizer of those that are not frozen"
        )


def check_initialized(model: nn.Module) -> None:
    """Raise ValueError if a layer waits for a batch to know its size."""
    lazy = [name for name, value in (*model.named_parameters(), *model.named_buffers()) if is_lazy(value)]
    if lazy:
        raise ValueError(
            f"fit: {lazy[0]!r} of `model` has no size before its first batch (nn.LazyLinear and the like): let the "
            "model see one before its optimizer is made, model(x[:2])"
        )


def check_gradients() -> None:
    """Raise RuntimeError where torch records no gradients."""
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        where = "torch.inference_mode()" if torch.is_inference_mode_enabled() else "torch.no_grad()"
        raise RuntimeError(
            f"fit: gradients are switched off here, by {where}, and training needs them: call fit outside of that "
            "block or decorated function"
        )
