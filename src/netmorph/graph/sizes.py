"""Integers of a forward as axes: what an integer has to be after an edit follows from where it comes from.

An attribute that a forward passes as a size is an axis of its own, like a dimension of a parameter. Once it is unified
with the channels that it counts, it follows every edit of them; a number that is written in the code freezes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netmorph.errors import NetmorphError
from netmorph.graph.axis import Atom, Axis, Fixed, Sum, atoms, concat, freeze, resolve, size
from netmorph.graph.lengths import apart, same_length
from netmorph.graph.sources import (
    Difference,
    Held,
    Length,
    Lost,
    Number,
    Opposite,
    Product,
    Quotient,
    Source,
    Total,
    Written,
)
from netmorph.graph.unify import unify

BEYOND = "such as a global, a closure, a tensor's values or another library"


@dataclass
class Sizes:
    """The axes of all integers that a forward used as sizes.

    Attributes:
        held: of the integers that modules hold.
    """

    held: dict[Held, Axis] = field(default_factory=dict)
    _known: dict[Source, Axis] = field(default_factory=dict)
    _later: list[tuple[Axis, Axis, str]] = field(default_factory=list)

    def axis(self, source: Source, where: str) -> Axis:
        """The axis whose length the integer is.

        Args:
            where: the operator and line that use it, for messages.
        """
        if isinstance(source, Written | Lost | Number):  # each place that uses the number tells of itself
            return self._axis(source, where)
        if source not in self._known:
            self._known[source] = self._axis(source, where)
        return resolve(self._known[source])

    def _axis(self, source: Source, where: str) -> Axis:
        match source:
            case Held():
                return self.held.setdefault(source, (Atom(source.size),))
            case Length(value, dim):
                return value.axes[dim] if value.axes else (Fixed(value.shape[dim]),)
            case Product(left, right):
                factors = (*self.axis(left, where), *self.axis(right, where))
                return tuple(f for f in factors if f.size != 1 or isinstance(f, Atom)) or (Fixed(1),)
            case Total(left, right):
                return (Sum((self.axis(left, where), self.axis(right, where))),)
            case Quotient(whole, divisor, length):
                return self._quotient(self.axis(whole, where), self.axis(divisor, where), length, where)
            case Difference(whole, part, length):
                return self._difference(self.axis(whole, where), self.axis(part, where), length, where)
            case Number(length):
                return (Fixed(length, f"the forward computes with this width, {length}, as a number: {where}"),)
            case Written(length):
                return (Fixed(length, f"the size {length} is written in the code and follows no channels: {where}"),)
            case Lost(length):
                return (Fixed(length, f"the size {length} comes from where tracing cannot follow, {BEYOND}: {where}"),)
            case Opposite():
                raise NetmorphError(f"a place counted from the end is no length: {where}")

    def equate(self, source: Source, axis: Axis, where: str) -> None:
        """The integer is as long as the axis.

        `3 * width` may count three parts one behind the other, or channels in threes: where nothing is known of the
        axis yet, what the forward does with it tells.
        """
        ours, axis = self.axis(source, where), resolve(axis)
        if _is_whole(axis) and not _is_whole(ours):
            self._later.append((ours, axis, where))
        else:
            same_length(ours, axis, where)

    def settle(self) -> None:
        """Make true what waits until the layout of all channels is known; nothing else may be said after that."""
        while self._later:
            same_length(*self._later.pop(0))

    def _quotient(self, whole: Axis, divisor: Axis, length: int, where: str) -> Axis:
        whole, divisor = apart(whole, divisor)
        if size(divisor) == 1:
            return whole or (Fixed(length),)
        if not any(atoms(whole)):
            freeze(divisor, "it divides a size that comes from the input")
            return (Fixed(length),)
        part: Axis = (Atom(length),)
        parts: Axis = (*divisor, *part)
        left = Fixed(size(whole) - size(parts), f"what a division leaves over: {where}")
        unify(whole, concat(parts, (left,)) if left.size else parts, where)
        return part

    def _difference(self, whole: Axis, part: Axis, length: int, where: str) -> Axis:
        """What is left may lie in front of the part, behind it, or on either side."""
        if not any(atoms(whole)):
            freeze(part, f"it is taken from a size that cannot change: {where}")
            return (Fixed(length),)
        rest: Axis = (Atom(length),)
        self._later.append((whole, (Sum((part, rest)),), where))
        return rest


def _is_whole(axis: Axis) -> bool:
    """Whether an axis is a single size, of which no structure is known."""
    return len(axis) == 1 and not isinstance(axis[0], Sum)
