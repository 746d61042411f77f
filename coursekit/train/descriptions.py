"""What a run is made of, in words, so that a checkpoint is never mistaken for another run's."""

import platform
import re
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from coursekit.data import Batches
from coursekit.train import generators
from coursekit.train.fingerprints import UNKNOWN, checksum_of, describe_callable, words
from coursekit.train.inputs import length
from coursekit.train.run import Run

Description = dict[str, str]
# What changes as training goes on, and how a step is computed, not what
_PROGRESS = {"last_epoch", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i"}
_CYCLED = {"lr", "momentum", "betas"}  # set anew for every batch by OneCycleLR and CyclicLR
_HOW = {"params", "foreach", "fused", "capturable"}
_NO_SETTINGS = {"optimizer", "verbose", "step"}
_PRIVATE_SETTINGS = {"_milestones", "_schedule_phases", "_anneal_func_type", "_scale_fn_custom"}
_OF_SAMPLERS = {
    RandomSampler: ("replacement", "num_samples"),
    SubsetRandomSampler: ("indices",),
    WeightedRandomSampler: ("weights", "num_samples", "replacement"),
    BatchSampler: ("batch_size", "drop_last"),
}
_CONTAINERS = {UNKNOWN + name for name in ("list", "dict", "set")}


def describe_run(run: Run) -> Description:
    """Return what a run is made of: two calls of fit with the same description continue each other.

    It does not hold the number of epochs, so that a run can be made longer, nor the initial weights, since a
    kernel that starts again need not draw the same.
    """
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "model": _model(run.model),
        **_batches("training data", run.train),
        **_batches("validation data", run.valid),
        "generators of the data": str(len(generators.own((run.train, run.valid)))),
        **describe_callable("objective", run.objective, frozenset({id(run.model)})),
        **_optimizer(run),
        **_scheduler("scheduler", run.scheduler),
        "patience": str(run.patience),
    }


def _model(model: nn.Module) -> str:
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    shapes = [
        f"{name} {tuple(value.shape)} {value.dtype}" + " frozen" * (name in frozen)
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    ]
    return "\n".join([re.sub(r" at 0x\w+", "", repr(model)), *shapes])


# Data --------------------------------------------------------------------------------------------------


def _batches(name: str, batches: Iterable | None) -> Description:
    if isinstance(batches, DataLoader):
        return (
            _examples(name, batches.dataset)
            | _sampler(f"{name}, sampler", batches.batch_sampler or batches.sampler)
            | describe_callable(f"{name}, collate_fn", batches.collate_fn)
        )
    if isinstance(batches, Batches):
        order = "shuffled" if batches.shuffle else "in order"
        tensors = _tensors((batches.split.x, batches.split.y))
        return {name: f"{tensors}, batches of {batches.size} {order}"}
    return {name: _counted(batches)}


def _examples(name: str, dataset: object) -> Description:
    if isinstance(dataset, Subset):
        return {f"{name}, subset": words(dataset.indices)} | _examples(name, dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        parts = [_examples(f"{name}, part {number}", one) for number, one in enumerate(dataset.datasets, 1)]
        return {key: value for part in parts for key, value in part.items()}
    return {name: _tensors(dataset.tensors) if type(dataset) is TensorDataset else _counted(dataset)}


def _tensors(tensors: tuple[Tensor, ...]) -> str:
    return (
        " and ".join(str(tuple(one.shape)) for one in tensors) + f" with checksum {checksum_of(tensors):08x}"
    )


def _counted(examples: object) -> str:
    number = length(examples)
    return words(examples) + (f" of {number}" if number is not None else "")


def _sampler(name: str, sampler: Sampler | Iterable) -> Description:
    settings = {attribute: getattr(sampler, attribute) for attribute in _OF_SAMPLERS.get(type(sampler), ())}
    inner = _sampler(name, sampler.sampler) if type(sampler) is BatchSampler else {}
    known = type(sampler).__module__.startswith("torch.")
    kind = {} if inner else {name: UNKNOWN * (not known) + type(sampler).__qualname__}
    return {f"{name}, {attribute}": words(value) for attribute, value in settings.items()} | kind | inner


# Optimizer and scheduler -------------------------------------------------------------------------------


def _optimizer(run: Run) -> Description:
    groups = run.optimizer.param_groups
    names = {id(parameter): name for name, parameter in run.model.named_parameters()}
    cycled = _CYCLED if isinstance(run.scheduler, OneCycleLR | CyclicLR) else set()
    members = [
        "\n".join(names.get(id(parameter), "not the model's") for parameter in group["params"])
        for group in groups
    ]
    return {
        "optimizer": f"{type(run.optimizer).__name__} of {len(groups)} group" + "s" * (len(groups) > 1),
        **{_in_group(number, groups, "parameters"): names for number, names in enumerate(members)},
        **describe_groups(groups, leave_out=cycled),
    }


def describe_groups(groups: list[dict[str, Any]], *, leave_out: Iterable[str] = ()) -> Description:
    """Return the settings of an optimizer's parameter groups, as they are now."""
    return {
        _in_group(number, groups, setting): words(value)
        for number, group in enumerate(groups)
        for setting, value in group.items()
        if setting not in _HOW and setting not in leave_out
    }


def _in_group(number: int, groups: list, setting: str) -> str:
    return f"optimizer, {setting}" if len(groups) == 1 else f"optimizer, group {number + 1}, {setting}"


def _scheduler(name: str, scheduler: LRScheduler | ReduceLROnPlateau | None) -> Description:
    if scheduler is None:
        return {name: "None"}
    described = {name: type(scheduler).__name__}
    for setting, value in vars(scheduler).items():
        if setting == "_schedulers":
            for number, inner in enumerate(value, 1):
                described |= _scheduler(f"{name}, {number}", inner)
        elif _is_setting(setting):
            described |= _setting(f"{name}, {setting}", value)
    return described


def _is_setting(name: str) -> bool:
    return name in _PRIVATE_SETTINGS or not (name.startswith("_") or name in _PROGRESS | _NO_SETTINGS)


def _setting(name: str, value: object | list[Callable]) -> Description:
    if callable(value):
        return describe_callable(name, value)
    if isinstance(value, list) and any(map(callable, value)):
        described = [_setting(f"{name} {number}", one) for number, one in enumerate(value, 1)]
        return {key: text for one in described for key, text in one.items()}
    return {name: words(value)}


# Comparing ---------------------------------------------------------------------------------------------


def compare(there: Description, here: Description, left: Description) -> tuple[list[str], list[str]]:
    """Return what differs between two descriptions, a line each, and the names of what cannot be compared.

    `left` holds settings as the run that is `there` left them: objects that took part in it still have those.
    """
    unknown = []
    if there.get("Python") != here["Python"]:  # which makes other code of the same function
        there, here = _without_code(there), _without_code(here)
        unknown.append("the code of functions (Python is another)")
    differences = []
    for name in {**there, **here}:
        one, other = there.get(name, "none"), here.get(name, "none")
        if {one, other} & _CONTAINERS or (one == other and one.startswith(UNKNOWN)):
            unknown.append(name)
        elif one != other and left.get(name) != other and not _is_of_another_version(name, one, other):
            differences.append("- {}: {} there, {} here".format(name, *_first_lines(one, other)))
    return differences, unknown


def _without_code(description: Description) -> Description:
    return {
        name: re.sub(r"code \w{8}$", "code", words) for name, words in description.items() if name != "Python"
    }


def _is_of_another_version(name: str, one: str, other: str) -> bool:
    """Return whether a setting is there on one side only: versions of PyTorch differ in them."""
    return name.startswith(("optimizer, ", "scheduler, ")) and "none" in (one, other)


def _first_lines(there: str, here: str) -> tuple[str, str]:
    """Return the first lines in which two texts differ."""
    rows = ([*there.splitlines(), "nothing"], [*here.splitlines(), "nothing"])
    return next(
        (a.strip().removeprefix(UNKNOWN), b.strip().removeprefix(UNKNOWN))
        for a, b in zip(*rows, strict=False)
        if a != b
    )
