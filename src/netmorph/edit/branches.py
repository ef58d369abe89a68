"""Layers of a running forward, each as far as the sum that it goes into."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from netmorph.edit.layer_fit import CONVOLUTIONS, LAYERS
from netmorph.graph.record import canonical_names

aten = torch.ops.aten
Call = tuple[torch._ops.OpOverload, tuple[Any, ...]]

SUMS = {aten.add.Tensor, aten.add_.Tensor}
# A batch norm that multiplies a channel with less than this, relative to the others, does not let it pass.
SHUT = 1e-3


@dataclass(frozen=True, eq=False)
class Branch:
    """What a layer gave, on its way to where it is added to something else: through a batch norm, or nothing.

    Attributes:
        layer: the layer's operator and arguments.
        norm: the batch norm's.
        output: of the last of them.
    """

    name: str
    layer: Call
    norm: Call | None
    output: Tensor

    def factor(self, of_sum: bool) -> Tensor:
        """float64 `[m]`: how much the layer changes where the sum (or else the layer's output) changes by one."""
        ones: Tensor = self.layer[1][1].new_ones(len(self.layer[1][1]), dtype=torch.float64)
        if self.norm is None or not of_sum:
            return ones
        _, weight, _, _, variance, _, _, epsilon, *_ = self.norm[1]
        scale = (variance.double() + epsilon).rsqrt() * (ones if weight is None else weight.double())
        # Where the norm lets next to nothing pass, weights would have to grow without bounds.
        return torch.where(scale.abs() > SHUT * scale.abs().max(), scale.reciprocal(), 0.0)

    def again(self) -> Tensor:
        """The output with the weights as they are now."""
        func, args = self.layer
        output: Tensor = func(*args)
        if self.norm is not None:
            func, args = self.norm
            output = func(output, *args[1:])
        return output


class Following(TorchDispatchMode):
    """Meets a network's layers, and the sums that they go into, in the order of its forward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self._names = canonical_names(model)
        self._branches: dict[int, Branch] = {}  # by what they end in, which nothing has taken yet; the latest last

    def at_layer(self, branch: Branch) -> None:
        """It has been computed."""

    def at_sum(self, branch: Branch, call: Call) -> None:
        """It is about to be added to something else."""

    def __torch_dispatch__(self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = {id(leaf) for leaf in tree_leaves((args, kwargs))}
        taken = [self._branches.pop(output) for output in [*self._branches] if output in leaves]
        if taken and func in SUMS and not kwargs and _is_plain_sum(*args):
            self.at_sum(taken[-1], (func, args))
        result = func(*args, **kwargs)
        branch = None
        if func in LAYERS and not kwargs and _is_batched(func, *args[:2]) and id(args[1]) in self._names:
            branch = Branch(self._names[id(args[1])], (func, args), None, result)
            self.at_layer(branch)
        elif func is aten.batch_norm.default and len(taken) == 1 and taken[0].norm is None and args[3] is not None:
            branch = replace(taken[0], norm=(func, args), output=result) if not args[5] else None
        if branch is not None:
            self._branches[id(result)] = branch
        return result


def _is_plain_sum(one: Any, other: Any, *more: Any) -> bool:
    return (
        isinstance(one, Tensor)
        and isinstance(other, Tensor)
        and one is not other
        and one.shape == other.shape
        and not more
    )


def _is_batched(func: torch._ops.OpOverload, x: Tensor, weight: Tensor) -> bool:
    return x.dim() == weight.dim() if func in CONVOLUTIONS else x.dim() > 1


def channels_last(func: torch._ops.OpOverload, output: Tensor) -> Tensor:
    """A layer's output as `[..., channels]`."""
    return output.movedim(1, -1) if func in CONVOLUTIONS else output
