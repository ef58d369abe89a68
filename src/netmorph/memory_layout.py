"""How tensors lie in memory: what an edit makes lies as what it was made from, an optimizer's state as its parameter.

The strides decide by which kernels PyTorch computes, and so the last bits of a result. Fused optimizers walk through
the memory of a parameter, its gradient and its state side by side. Where one of them is laid out otherwise
(channels_last beside contiguous, say), they pair up entries that do not belong together: silently on a CPU, with
PyTorch 2.13.
"""

from collections.abc import Mapping, Sequence
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


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a tensor of so many entries fills its memory, each entry once, in whichever order."""
    entries = 1
    for stride, size in sorted((stride, size) for stride, size in zip(strides, shape, strict=True) if size > 1):
        if stride != entries:
            return False
        entries *= size
    return all(0 <= stride <= max(entries, 1) for stride in strides)


def plain(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a contiguous tensor."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides[: len(shape)]))


def layout(tensor: Tensor) -> tuple[int, ...]:
    """The strides of a dense tensor; those of a contiguous one where entries are skipped or shared."""
    return tensor.stride() if is_dense(tensor.shape, tensor.stride()) else plain(tensor.shape)


def laid_out(tensor: Tensor, strides: Sequence[int]) -> Tensor:
    """The tensor with these strides, which are dense; copied if it has others."""
    if tensor.stride() == tuple(strides):
        return tensor
    made = torch.empty_strided(tensor.shape, tuple(strides), dtype=tensor.dtype, device=tensor.device)
    return made.copy_(tensor)


def tells_order(shape: Sequence[int]) -> bool:
    """Whether tensors of a shape lie otherwise in channels_last (matrices: transposed) than plainly."""
    if len(shape) < 3:
        return len(shape) == 2 and min(shape) > 1
    return shape[1] > 1 and max(shape[2:]) > 1


def neighbour(tensors: Sequence[Tensor], at: int, like: Tensor) -> Tensor:
    """The nearest of several tensors that tells the order of as many dimensions: before a place, else behind it.

    Args:
        like: what is taken where none does.
    """
    around = [*reversed(tensors[:at]), *tensors[at:]]
    fitting = (found for found in around if found.dim() == like.dim() and tells_order(found.shape))
    return next(fitting, like)


def laid_out_like(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor with its dimensions in memory in the order of another one that has as many; copied if it has not."""
    strides = layout(like)
    if tensor.dim() != like.dim() or strides == plain(like.shape):
        return laid_out(tensor, plain(tensor.shape))
    # Outermost first. A dimension of size one lies inside of a longer one with the same stride.
    order = sorted(range(like.dim()), key=lambda dim: (-strides[dim], like.shape[dim] == 1, dim))
    steps, entries = [0] * like.dim(), 1
    for dim in reversed(order):
        steps[dim] = entries
        entries *= max(tensor.shape[dim], 1)
    return laid_out(tensor, steps)


def align(optimizer: torch.optim.Optimizer) -> None:
    """Lay out all that an optimizer keeps as its parameters are."""
    for parameter, state in optimizer.state.items():
        state.update(aligned(state, parameter))
