"""One training run on several processes, as torchrun starts them: each takes its share of every batch.

A run on N processes ends with the weights of a run on one, up to rounding: batches keep their size, whatever N, and
gradients are averaged over examples, not over processes. Nothing is wrapped around the model, so that the names in its
state stay, and objectives may call any of its methods. In a single process nothing here does anything.

Source: Li et al., PyTorch Distributed, VLDB 2020, section 3.1, for the average of gradients.
"""

import atexit
import contextlib
import functools
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any
from zlib import crc32

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters
from torch.utils.data.distributed import DistributedSampler

from coursekit import runtime
from coursekit.train import generators

_PATIENCE = timedelta(seconds=60)
_LARGE = 2**20  # numbers in a gradient; copying so many costs more than a message of their own


def join() -> None:
    """Join the other processes that torchrun has started with this one, if it has and they have not met yet."""
    if dist.is_available() and dist.is_torchelastic_launched() and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        with _together():
            dist.init_process_group()
        atexit.register(_leave)
    if _several():
        _waiting_room()


def rank() -> int:
    """Return the number of this process in the run; 0 prints and writes."""
    return dist.get_rank() if _several() else 0


def processes() -> int:
    """Return how many processes take part in the run."""
    return dist.get_world_size() if _several() else 1


def check_meeting(who: str) -> None:
    """Raise RuntimeError unless all processes come here within a minute."""
    if _several():
        try:
            dist.monitored_barrier(_waiting_room(), timeout=_PATIENCE)
        except RuntimeError as error:
            raise RuntimeError(
                f"{who} was called in process {rank()}, but not in all {processes()} of this run, or not within "
                f"{_PATIENCE.seconds} s. Under torchrun every process must call it: leave it out of `if rank == 0:`, "
                "which is for what prints and saves"
            ) from error


def check_alike(description: dict[str, str], differences: Callable[[dict, dict], list[str]]) -> None:
    """Raise ValueError in all processes unless each was given what process 0 was."""
    if not _several():
        return
    given: list[dict[str, str]] = [{}] * processes()
    with _together():
        dist.all_gather_object(given, description)
    for number, other in enumerate(given):
        if lines := differences(given[0], other):
            raise ValueError(
                f"fit: process {number} was given another run than process 0. They differ in (there: process 0, "
                f"here: process {number})\n"
                + "\n".join(lines)
                + "\nEvery process must make the same data, model and settings: fit shares the batches out by itself"
            )


def align(model: nn.Module) -> None:
    """Put the weights and buffers of process 0 on all."""
    if _several():
        with torch.no_grad(), _together():
            for value in itertools.chain(model.parameters(), model.buffers()):
                dist.broadcast(value, 0)


def from_first(make: Callable[[], Any]) -> Any:
    """Return what `make` returns in process 0, the only one that calls it: None, or what torch.load reads safely."""
    if not _several():
        return make()
    content = io.BytesIO()
    if rank() == 0:
        torch.save(make(), content)
    with _together():
        size = torch.tensor(content.getbuffer().nbytes)
        dist.broadcast(size, 0)
        packed = torch.zeros(int(size), dtype=torch.uint8)
        if rank() == 0:
            packed = torch.frombuffer(content.getbuffer(), dtype=torch.uint8).clone()
        dist.broadcast(packed, 0)
    return torch.load(io.BytesIO(packed.numpy().tobytes()), map_location="cpu", weights_only=True)


def total(values: Tensor) -> Tensor:
    """Return the sum of values over all processes, with the same bits in each."""
    if _several():
        with _together():
            dist.all_reduce(values)
    return values


def average_gradients(model: nn.Module, size: int) -> None:
    """Replace the gradients of a mean over this process's `size` examples by those of the mean over everyone's."""
    if not _several():
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    alone = [gradient for gradient in gradients if gradient.numel() >= _LARGE and gradient.is_contiguous()]
    packed = [gradient for gradient in gradients if all(gradient is not other for other in alone)]
    sums = torch.cat([*(gradient.flatten() * size for gradient in packed), gradients[0].new_tensor([size])])
    with _together():
        dist.all_reduce(sums)
        for gradient in alone:
            dist.all_reduce(gradient.mul_(size))
            gradient.div_(sums[-1])
    vector_to_parameters(sums[:-1] / sums[-1], packed)


def shares(batches: Iterable, epoch: int = 0) -> Iterator[tuple[Any, int | None]]:
    """Yield this process's share of every batch, and its number of examples, None for all that the batch holds.

    All processes draw the order of the batches from the random numbers of process 0; then each goes on with numbers of
    its own, for dropout and the like, those of process 0 undisturbed. A batch too small to go round is given whole to
    those who would get nothing, and counts 0 there: everyone takes part in every step. Batches of a loader with a
    DistributedSampler are shares already. Raises ValueError if the first batch of an `epoch` of training, counted from
    1, is too small.
    """
    if not _several():
        yield from ((batch, None) for batch in batches)
        return
    sampler = getattr(batches, "sampler", None)
    shared_out = isinstance(sampler, DistributedSampler)
    if shared_out:
        sampler.set_epoch(epoch)
    own_seed = _draw_alike(batches)
    for number, batch in enumerate(batches):
        if number == 0 and rank() > 0:
            runtime.seed_everything((own_seed + rank()) % 2**32)
        if shared_out or not _has_examples(batch):
            yield batch, None
            continue
        if epoch and number == 0 and len(batch[0]) < processes():
            raise ValueError(
                f"fit: a batch of {len(batch[0])} cannot be shared by {processes()} processes: take larger batches, or "
                f"start fewer, torchrun --nproc-per-node {len(batch[0])}"
            )
        yield _share(batch)


def _share(batch: tuple[Tensor, Tensor]) -> tuple[Any, int | None]:
    mine = tuple(part[rank() :: processes()] for part in batch)
    return (mine, None) if len(mine[0]) else (batch, 0)


def _has_examples(batch: object) -> bool:
    """Return whether this is a batch of tensors; what is none is refused later, with an error that says so."""
    return isinstance(batch, tuple | list) and all(isinstance(one, Tensor) and one.ndim for one in batch)


def _draw_alike(batches: Iterable) -> int:
    """Give the generators that decide the order the state they have in process 0; return a number made of it."""
    seed = 0
    with _together():
        for generator in (torch.default_generator, *generators.own((batches,))):
            state = generator.get_state()
            dist.broadcast(state, 0)
            generator.set_state(state)
            seed = crc32(state.numpy().tobytes(), seed)
    return seed


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@functools.cache
def _waiting_room() -> "dist.ProcessGroup":
    """A group whose members can be waited for, a while; those of CUDA's NCCL cannot."""
    return dist.new_group(backend="gloo", timeout=_PATIENCE)


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """Say what it means if an exchange between the processes fails."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            f"the processes of this run lost each other: another one than process {os.environ.get('RANK', '?')} has "
            "ended, and its error, if it had time for one, stands above or below. Started again, the same call goes on "
            "from its `checkpoint`, if it has one"
        ) from error


def _leave() -> None:
    """Let go of the groups while Python still runs: what their threads hold cannot be freed after it has ended."""
    if dist.is_initialized():
        _waiting_room.cache_clear()
        dist.destroy_process_group()
