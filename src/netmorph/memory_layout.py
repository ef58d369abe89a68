"""How tensors lie in memory: an optimizer's state has to lie as its parameter does.

Fused optimizers walk through the memory of a parameter, its gradient and its state side by side. Where one of them is
laid out otherwise (channels_last beside contiguous, say), they pair up entries that do not belong together: silently on
a CPU, with PyTorch 2.13.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def aligned(state: Mapping[str, Any], parameter: Tensor) -> dict[str, Any]:
    """An optimizer's state of a parameter; what has the parameter's shape gets its strides, copied if they differ."""

    def lay_out(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.shape != parameter.shape or value.stride() == parameter.stride():
            return value
        return torch.empty_like(parameter, dtype=value.dtype, device=value.device, requires_grad=False).copy_(value)

    return {key: lay_out(value) for key, value in state.items()}


def align(optimizer: torch.optim.Optimizer) -> None:
    """Lay out all that an optimizer keeps as its parameters are."""
    for parameter, state in optimizer.state.items():
        state.update(aligned(state, parameter))
