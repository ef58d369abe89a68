"""What a recording of a forward is: its operator calls in order, and the values that they take and give."""

from __future__ import annotations

import functools
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from netmorph.graph.contraction import Contraction
from netmorph.graph.roots import RootFactor
from netmorph.graph.running import Streams
from netmorph.graph.slots import Kept
from netmorph.graph.sources import Comparison, Equality
from netmorph.graph.value import Value


@dataclass(frozen=True, eq=False)
class Call:
    """One operator call; tensors among the arguments are replaced by their `Value`, integers by a `Size`.

    An integer that PyTorch itself worked out is a plain `int`.

    Attributes:
        outputs: the tensors of the result.
        module: path of the module that called it.
        location: the source line.
        contractions: what it multiplies and sums, filled in by its rule.
        scales: the weight and bias of a product or norm, filled in by its rule: the result is zero where both are.
        draws: whether it drew random numbers: dropout does so in training mode only.
        differentiates: where it is part of a gradient that the forward takes (`torch.autograd.grad`), of which tensors;
            None where it is not, or where nobody knows of which.
        grad: whether autograd would follow it; of a forward that takes no gradients itself, only a recording that was
            watched for that knows.
        roots: powers of widths that it multiplies by, filled in by its rule.
        running: the calls of modules that were running, from the outside in: each one's path, and its number among all.
    """

    op: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Value, ...]
    module: str
    location: str
    contractions: list[Contraction] = field(default_factory=list)
    scales: list[Value] = field(default_factory=list)
    draws: bool = False
    differentiates: tuple[Value, ...] | None = None
    grad: bool = True
    roots: list[RootFactor] = field(default_factory=list)
    running: tuple[tuple[str, int], ...] = ()

    @functools.cached_property
    def values(self) -> list[Value]:
        """The tensors anywhere among the arguments, in their order."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Value)]

    @functools.cached_property
    def named(self) -> dict[str, Any]:
        """The arguments by name, in the order of the operator's schema, with defaults filled in."""
        schema = self.op._schema.arguments
        given = dict(zip((entry.name for entry in schema), self.args, strict=False)) | self.kwargs
        return {entry.name: given.get(entry.name, entry.default_value) for entry in schema}

    @property
    def layer(self) -> Contraction | None:
        """Where the call is that of a linear or convolution layer, or does the same, what it contracts."""
        return self.contractions[0] if len(self.contractions) == 1 and self.contractions[0].is_layer else None


@dataclass(frozen=True)
class Recording:
    """All operator calls of one forward pass, in order.

    Attributes:
        inputs: the tensors among the example inputs, in the order of `tree_leaves`.
        outputs: those of the result, see `tensors_in`.
        tensors: parameters and buffers by canonical name.
        module_outputs: what each module returned last, where it is one tensor.
        first_outputs: of modules that returned several in a tuple or list, the first one.
        equal: sizes that the forward compared and found equal.
        compared: sizes whose comparison decided which way the forward went.
        constants: tensors that no recorded operator made and that are neither inputs nor registered with a module.
        result: what the model returned.
        streams: where the random numbers stood that it draws.
        of_sizes: tensors whose numbers are sizes, and are followed.
        read: tensors whose values Python or another library looked at, so that no operator tells of it.
        kept: what the forward keeps between calls; it was recorded as at its first call.
    """

    calls: list[Call]
    inputs: list[Value]
    outputs: list[Value]
    tensors: dict[str, Value]
    module_outputs: dict[str, Value]
    constants: dict[Value, Tensor]
    equal: tuple[Equality, ...]
    compared: tuple[Comparison, ...]
    result: Any
    streams: Streams
    of_sizes: Set[Value] = frozenset()
    read: tuple[Value, ...] = ()
    kept: tuple[Kept, ...] = ()
    first_outputs: dict[str, Value] = field(default_factory=dict)
