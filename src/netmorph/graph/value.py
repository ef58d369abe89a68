"""One tensor of a recorded run."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from netmorph.graph.axis import Axis

Place = tuple[str, int]


@dataclass(frozen=True)
class Origin:
    """Where a dimension of a tensor that is computed from parameters alone has its channels from.

    Attributes:
        places: parameters (or buffers) and their dimensions that hold these channels.
        scaled: where each channel has to be multiplied by a number for the tensor to be multiplied by it there; None
            where no such places are known (the tensor is no linear function of the parameters).
    """

    places: tuple[Place, ...]
    scaled: tuple[Place, ...] | None


@dataclass(eq=False)
class Value:
    """One tensor of a recorded run. `name` is set for parameters and buffers; `axes` are filled in by the op rules.

    Attributes:
        shape: its sizes.
        dtype: of its elements.
        name: of a parameter or buffer.
        axes: one for each dimension.
        origins: of what is computed from parameters alone, for each dimension, where its channels are from.
        from_input: it depends on the model's inputs, or may: memory that the forward fills later on.
        scale_of: parameters of which a change of length, where copies share what is read, changes this tensor.
        repeated: dimensions along which one number in memory stands for all (expanded).
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    name: str | None = None
    axes: list[Axis] = field(default_factory=list)
    origins: list[Origin | None] = field(default_factory=list)
    from_input: bool = False
    scale_of: frozenset[str] = frozenset()
    repeated: frozenset[int] = frozenset()

    @property
    def is_weight(self) -> bool:
        """Whether it is a parameter or buffer, or computed from such alone."""
        return any(self.origins)

    @staticmethod
    def of(tensor: Tensor, name: str | None = None) -> Value:
        """A tensor that has no axes yet; the dimensions of a named one are their own origins."""
        shape = tuple(map(int.__int__, tensor.shape))  # sizes that know a source know this value in turn
        value = Value(shape, tensor.dtype, name)
        own = [((name, dim),) for dim in range(len(value.shape))] if name else []
        value.origins = [Origin(place, place) for place in own]
        value.scale_of = frozenset([name] if name else [])
        value.repeated = frozenset(
            dim
            for dim, (n, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True))
            if stride == 0 < n - 1
        )
        return value
