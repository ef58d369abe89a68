"""How tensors lie in memory: an optimizer's state has to lie as its parameter does.

Fused optimizers walk through the memory of a parameter, its gradient and its state side by side. Where one of them is
laid out otherwise (channels_last beside contiguous, say), they pair up entries that do not belong together: silently on
a CPU, with PyTorch 2.13.
"""

import torch
from torch import Tensor


def laid_out_as(tensor: Tensor, parameter: Tensor) -> Tensor:
    """The tensor with the strides of a parameter of its shape; a copy only where they differ."""
    if tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device, requires_grad=False).copy_(tensor)


def align(optimizer: torch.optim.Optimizer) -> None:
    """Lay out what an optimizer keeps of a parameter's shape as the parameter is."""
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[key] = laid_out_as(value, parameter)
