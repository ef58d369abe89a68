"""Edits of a model that several processes train together: all of them make an edit, or none does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from netmorph.errors import EditError


@contextlib.contextmanager
def all_or_none(wrapper: DistributedDataParallel | None) -> Iterator[Callable[[Any], None]]:
    """Fails in every process of the wrapper's group where the body failed in one, or made another change in one.

    Yields:
        A function to be told what changes, as a plain value that must be the same in every process.

    Raises:
        EditError: the body failed in another process, or the processes do not make the same change.
    """
    if wrapper is None:
        yield lambda change: None
        return
    told: list[Any] = []
    failure: Exception | None = None
    try:
        yield told.append
    except Exception as error:  # the others wait to hear of it
        failure = error
    outcomes: list[Any] = [None] * dist.get_world_size(wrapper.process_group)
    dist.all_gather_object(outcomes, (failure and str(failure), told), wrapper.process_group)
    if failure is not None:
        raise failure
    for rank, (message, change) in enumerate(outcomes):
        if message is not None:
            raise EditError(f"process {rank} could not make this edit, so no process did: {message}")
        if change != told:
            raise EditError(
                f"process {rank} makes another edit, so no process made one: {change} there, {told} here. Choose the "
                "edit from the same numbers everywhere, or in one process and send it to the others"
            )


def renew(wrapper: DistributedDataParallel) -> None:
    """Make a data-parallel wrapper again, in place, after its module was edited; all processes together.

    A `DistributedDataParallel` exchanges the gradients of the parameters that it was made with. Without this, each
    process would train the edited parameters alone. Settings, hooks and the mode stay; the parameters of the first
    process are sent to the others, as when the wrapper was made. `apply` does this for a wrapper that was traced.
    """
    before, broadcast_buffers = dict(vars(wrapper)), wrapper.broadcast_buffers
    with torch.inference_mode(False), torch.no_grad():
        for parameter in wrapper.module.parameters():
            dist.broadcast(parameter, dist.get_global_rank(wrapper.process_group, 0), wrapper.process_group)
    DistributedDataParallel.__init__(
        wrapper,
        wrapper.module,
        wrapper.device_ids,
        wrapper.output_device,
        wrapper.dim,
        init_sync=False,  # it would send buffers, too, also where each process keeps its own
        process_group=wrapper.process_group,
        bucket_cap_mb=None if wrapper.bucket_bytes_cap_default else wrapper.bucket_bytes_cap / 2**20,
        find_unused_parameters=wrapper.find_unused_parameters,
        gradient_as_bucket_view=wrapper.gradient_as_bucket_view,
        static_graph=wrapper.static_graph,
        skip_all_reduce_unused_params=wrapper.skip_all_reduce_unused_params,
    )
    wrapper.broadcast_buffers = broadcast_buffers
    vars(wrapper).update({name: before[name] for name in vars(nn.Module())})
