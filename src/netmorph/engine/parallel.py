"""Data parallel training: several processes with a copy of the network each, as `torchrun` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from netmorph.errors import NetmorphError


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0. The first one writes checkpoints and records.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def share(self) -> tuple[int, int]:
        """Its share of every batch, as `netmorph.data.batches` takes it."""
        return self.rank, self.size


ALONE = World()


@contextmanager
def joined(device: str) -> Iterator[tuple[World, str]]:
    """Join the processes that `torchrun` started, until the block ends; without `torchrun`, be alone.

    Args:
        device: "cuda" gives each process of a machine a GPU of its own, over NCCL; "cpu" trains over gloo.

    Returns:
        The world, and the device of this process.

    Raises:
        NetmorphError: the machine has fewer GPUs than processes.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE, device
        return
    if device.startswith("cuda"):
        local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= count:
            raise NetmorphError(
                f"there are more processes than the {count} GPUs of this machine; torchrun --nproc-per-node {count} "
                "starts one for each"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size()), device
    finally:
        distributed.destroy_process_group()


def in_step(model: nn.Module, world: World) -> nn.Module:
    """The model, so wrapped that its gradients are those of all processes; the first one's weights go to all."""
    return model if world.size == 1 else DistributedDataParallel(model)


def total(numbers: Tensor, world: World) -> Tensor:
    """The sum over all processes, elementwise, on the CPU."""
    if world.size > 1:
        numbers = numbers.to("cuda" if distributed.get_backend() == "nccl" else "cpu", copy=True)
        distributed.all_reduce(numbers)
    return numbers.cpu()


def share_buffers(model: nn.Module, world: World) -> None:
    """Give every process the first one's running statistics, which have followed each one's own batches."""
    if world.size > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)
