"""One tensor of a recorded run."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from netmorph.graph.axis import Axis


@dataclass(eq=False)
class Value:
    """One tensor of a recorded run. `name` is set for parameters and buffers; `axes` are filled in by the op rules.

    Attributes:
        shape: its sizes.
        dtype: of its elements.
        name: of a parameter or buffer.
        axes: one for each dimension.
        origins: for each dimension, the parameter or buffer and its dimension that this one is a rearrangement of.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    name: str | None = None
    axes: list[Axis] = field(default_factory=list)
    origins: list[tuple[str, int] | None] = field(default_factory=list)

    @staticmethod
    def of(tensor: Tensor, name: str | None = None) -> Value:
        """A tensor that has no axes yet; the dimensions of a named one are their own origins."""
        value = Value(tuple(tensor.shape), tensor.dtype, name)
        value.origins = [(name, dim) for dim in range(len(value.shape))] if name else []
        return value
