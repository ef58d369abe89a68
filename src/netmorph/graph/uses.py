"""What rules say of places: what an axis of a parameter does and holds for fresh channels; integers that count axes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from netmorph.graph.axis import Atom, Axis, atoms, size
from netmorph.graph.holders import alike


class Role(Enum):
    """What a parameter or buffer does with the channels of an axis."""

    WRITE = "producer"
    """Computes them: conv out, linear out, embedding dimension."""
    CARRY = "carrier"
    """Acts on each: norm scale and statistics, depthwise filter, PReLU, layer scale."""
    READ = "consumer"
    """Sums over them: conv in, linear in."""


class Fill(Enum):
    """What a tensor holds for a fresh channel."""

    RANDOM = "random, as spread as the other channels"
    MEAN = "the mean of the other channels"


@dataclass(frozen=True)
class Use:
    """How one axis of a parameter is used, and what it holds for a fresh channel (a number: that value).

    Attributes:
        factors: the part of the axis that is used like this; None is all of it.
    """

    role: Role
    fill: Fill | float
    factors: Axis | None = None

    def is_of(self, atom: Atom) -> bool:
        """Whether these channels are used like this."""
        return self.factors is None or atom in atoms(self.factors)


@dataclass(frozen=True)
class Attribute:
    """An integer that a module holds, or a list of several, that must equal the lengths of axes."""

    module: str
    name: str
    axes: tuple[Axis, ...]

    def value(self, sizes: dict[Atom, int] | None = None) -> tuple[int, ...]:
        """The lengths of the axes, where `sizes` changes some atoms."""
        return tuple(size(axis, sizes) for axis in self.axes)

    def is_true(self, held: Any) -> bool:
        """Whether `held` is these lengths."""
        before = self.value()
        return tuple(held) == before if isinstance(held, tuple | list) else len(before) == 1 and held == before[0]

    def changed(self, held: Any, sizes: dict[Atom, int]) -> Any:
        """What a module that holds `held` has to hold after an edit; `held` itself where that is no true size."""
        if not self.is_true(held):
            return held
        after = self.value(sizes)
        return alike(held, after) if isinstance(held, tuple | list) else after[0]
