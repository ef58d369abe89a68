"""What is known of a tensor that the followed channels reach."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from torch import Tensor

Place = tuple[str, int]


class Holds(IntEnum):
    """What the new channels of a tensor hold."""

    ZERO = 1
    MEAN = 2  # of the old ones, at each place
    ANY = 3


@dataclass(frozen=True, eq=False)
class Maker:
    """Entries of a parameter that make the channels of a tensor.

    Attributes:
        place: the parameter and its dimension.
        labels: in the tensor's shape, which entry of the dimension makes each element; None where that is lost.
        rows: the entries, as far as they are known.
        gain: a carrier (layer scale) that multiplies the channels between here and there.
        is_gain: it multiplies channels that a norm made zero: they stay zero, whatever it holds.
        is_rooted: a power of a width multiplies the channels between here and there.
        is_offset: it is added behind such a norm, and is zero where nothing else is asked for.
    """

    place: Place
    rows: Tensor
    labels: Tensor | None = None
    gain: Place | None = None
    is_gain: bool = False
    is_offset: bool = False
    is_rooted: bool = False

    def meets(self, other: Maker) -> bool:
        """Whether both are about some of the same entries."""
        return self.place == other.place and bool((self.rows & other.rows).any())


@dataclass(frozen=True, eq=False)
class State:
    """A tensor that the channels reach.

    Attributes:
        holds: what its new channels hold; None where the makers decide.
        makers: who decides, and what a factor can be put into.
        scale: the old channels (or what was worked out of them) come out multiplied by this.
        averages: the makers can make the new channels the mean.
        scales: a factor on all makers is a factor on the tensor.
        offset: a number that was added to a parameter.
        is_shifted: something was added to all channels alike, so that new ones are not zero where their makers are.
        is_mean: it is the mean over the channels, of old and of new ones.
    """

    holds: Holds | None = None
    makers: tuple[Maker, ...] = ()
    scale: float = 1.0
    averages: bool = True
    scales: bool = True
    offset: float = 0.0
    is_shifted: bool = False
    is_mean: bool = False

    def derived(self, **changes: object) -> State:
        """The same channels behind an operator that moves the elements in a way that is not followed."""
        makers = tuple(replace(maker, labels=None) for maker in self.makers)
        return replace(self, makers=makers, **changes)  # type: ignore[arg-type]
