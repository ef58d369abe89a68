"""Where numbers stop being finite."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.errors import NetmorphError

REMEDY = "Lower the learning rate, clip the gradients (clip_norm) or look at the data"


class NotFinite(NetmorphError):
    """A loss is NaN or infinite; the model is left as it was then, for a look at it.

    Attributes:
        network: which of the networks that were trained together it was; 0 of one alone.
    """

    def __init__(self, message: str, network: int = 0) -> None:
        super().__init__(message)
        self.network = network


def first_nonfinite(model: nn.Module, inputs: Tensor) -> str:
    """Call the model once, and say what was first, in order of execution, to hold a NaN or an infinity."""
    if not _finite(inputs):
        return "the input is not finite"
    found: list[str] = []
    names = {module: name or "the model itself" for name, module in model.named_modules()}

    def look_at_parameters(module: nn.Module, _inputs: Any) -> None:
        # In train mode running statistics are a result; in eval mode they decide the output.
        buffers = () if module.training else module.named_buffers(recurse=False)
        for name, tensor in (*module.named_parameters(recurse=False), *buffers):
            if not _finite(tensor):
                found.append(f"{name!r} of {names[module]!r} ({type(module).__name__}) is not finite")

    def look_at_output(module: nn.Module, _inputs: Any, output: Any) -> None:
        if not all(_finite(leaf) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)):
            found.append(f"the output of {names[module]!r} ({type(module).__name__}) is not finite")

    hooks = []
    for module in names:
        hooks.append(module.register_forward_pre_hook(look_at_parameters))
        hooks.append(module.register_forward_hook(look_at_output))
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else "every module's output is finite, the loss itself overflowed"


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
