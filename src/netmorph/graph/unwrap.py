"""The module behind `torch.compile`, data parallelism or an average of weights: what is traced and edited."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from netmorph.errors import NetmorphError


class WrapperError(NetmorphError):
    """The model is wrapped in a way that edits cannot follow."""


def unwrap(model: nn.Module) -> tuple[nn.Module, DistributedDataParallel | None]:
    """The module behind any wrappers, and the `DistributedDataParallel` among them.

    A compiled wrapper computes the edited module, too: `apply` lets it compile again. `DataParallel` and
    `AveragedModel` look at the module at each call. `DistributedDataParallel` keeps the parameters that it was made
    with, so `apply` makes it again.

    Raises:
        WrapperError: the parameters are sharded (FSDP, tensor parallelism), or the data-parallel wrapper has a
            communication hook or mixed precision, which hold on to the old parameters.
    """
    compiled = _class("torch._dynamo.eval_frame", "OptimizedModule")
    looking = (DataParallel, _class("torch.optim.swa_utils", "AveragedModel"))
    distributed: DistributedDataParallel | None = None
    module: Any = model
    while True:
        if isinstance(module, compiled):
            module = module._orig_mod
        elif isinstance(module, looking):
            module = module.module
        elif isinstance(module, DistributedDataParallel):
            _check_plain(module)
            distributed, module = module, module.module
        else:
            _check_whole(module)
            return module, distributed


def _check_plain(wrapper: DistributedDataParallel) -> None:
    if wrapper._comm_hooks or wrapper.mixed_precision is not None:
        raise WrapperError(
            "this DistributedDataParallel has a communication hook or mixed precision, which cannot be made again "
            "after an edit; trace its .module, and build a new DistributedDataParallel after each edit"
        )


def _check_whole(model: nn.Module) -> None:
    sharded = _class("torch.distributed.fsdp", "FullyShardedDataParallel")
    split = _class("torch.distributed.tensor", "DTensor")
    holder = next((path for path, module in model.named_modules() if isinstance(module, sharded)), None)
    if holder is None:
        holder = next((name for name, tensor in model.named_parameters() if isinstance(tensor, split)), None)
    if holder is not None:
        raise WrapperError(
            f"{holder or type(model).__name__!r} is sharded (FSDP or tensor parallel): no process holds the channels "
            "of a group together. Edit the model before sharding it, or train with DistributedDataParallel"
        )


def _class(module: str, name: str) -> Any:
    """A class of PyTorch's, or none where its module was never imported: then no object of it can be there."""
    return getattr(sys.modules[module], name) if module in sys.modules else ()
