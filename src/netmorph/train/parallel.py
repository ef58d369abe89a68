"""Data parallel training: several processes with a copy of the network each, as `torchrun` starts them."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from netmorph.errors import NetmorphError

Made = TypeVar("Made")


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0. The first one writes checkpoints and records.
        size: how many there are.
        local_rank, local_size: the same on this machine alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def share(self) -> tuple[int, int]:
        """Its share of every batch, as `netmorph.data.batches` takes it."""
        return self.rank, self.size


ONE_PROCESS = World()


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that `torchrun` started, until the block ends; without `torchrun`, be alone.

    Tensors on the CPU travel over gloo, those on GPUs over NCCL. If the block fails, the process where that happens
    first raises the error, and the others, which only find that it is gone, end without a word.

    Raises:
        SystemExit: another process has failed; it has said why.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ONE_PROCESS
        return
    distributed.init_process_group()
    world = World(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))
    try:
        yield world
    except BaseException as error:
        if _add_failure() > 1:
            raise SystemExit(1) from error
        raise
    distributed.destroy_process_group()


def own_device(device: str, world: World) -> str:
    """The device of this process: "cuda" gives each process of a machine a GPU of its own.

    Raises:
        NetmorphError: the machine has fewer GPUs than processes, or the device is neither 'cpu' nor 'cuda'.
    """
    if world.size == 1 or device == "cpu":
        return device
    if device != "cuda":
        raise NetmorphError(
            f"{world.size} processes train on 'cpu', or on 'cuda' with a GPU for each; {device!r} was given"
        )
    count = torch.cuda.device_count()
    if world.local_rank >= count:
        raise NetmorphError(
            f"there are more processes than the {count} GPUs of this machine; torchrun --nproc-per-node {count} "
            "starts one for each"
        )
    return f"cuda:{world.local_rank}"


def in_step(model: nn.Module, world: World) -> nn.Module:
    """The model, so wrapped that its gradients are those of all processes; the first one's weights go to all."""
    return model if world.size == 1 else DistributedDataParallel(model)


def gathering(forward: Callable[[Tensor], Tensor], *, last: bool) -> AbstractContextManager[None]:
    """Around the passes of a part of a batch: gradients go to the other processes after the `last` one only.

    Compiled, they go after each part, which is slower and gives the same.
    """
    if last or not isinstance(forward, DistributedDataParallel):
        return nullcontext()
    return forward.no_sync()


def total(numbers: Tensor, world: World) -> Tensor:
    """The sum over all processes, elementwise."""
    if world.size > 1:
        numbers = numbers.clone()
        distributed.all_reduce(numbers)
    return numbers


def from_first(make: Callable[[], Made], world: World) -> Made:
    """What `make` gives in the first process, which alone calls it, in every process.

    The others wait until it is there. It travels pickled, from one process of this training to another.
    """
    if world.size == 1:
        return make()
    box = [make() if world.rank == 0 else None]
    distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]  # type: ignore[return-value]


def share_buffers(model: nn.Module, world: World) -> None:
    """Give every process the first one's running statistics, which have followed each one's own batches."""
    if world.size > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def _add_failure() -> int:
    """Count a failure in the store that all processes share; how many there are now."""
    store = distributed.distributed_c10d._get_default_store()
    return int(store.add("netmorph failures", 1))
