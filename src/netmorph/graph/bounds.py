"""What comparisons in a forward ask of widths: `if self.radix > 1` goes the same way as long as it is true.

A comparison that found two sizes equal makes them equal for good, see `couple.py`. All others bound widths: an edit
may change them as long as the outcome stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from netmorph.graph.axis import Atom, Axis, atoms, freeze, size
from netmorph.graph.provenance import RELATIONS
from netmorph.graph.sources import (
    Comparison,
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

Sizes = Mapping[Atom, int]
Place = tuple[str, str, int | None]  # module, name, and of one of several integers its index


@dataclass(frozen=True, eq=False)
class Bound:
    """A comparison that has to come out the same after every edit.

    Attributes:
        held: the axes whose lengths the integers of modules are; others stay as they are.
    """

    comparison: Comparison
    held: Mapping[Place, Axis]

    def holds(self, sizes: Sizes) -> bool:
        """Whether the forward goes the same way where some atoms have other sizes."""
        found = self.comparison
        return RELATIONS[found.relation](self._value(found.left, sizes), self._value(found.right, sizes))

    def atoms(self) -> set[Atom]:
        """The channels that are counted on either side."""
        return {atom for axis in self._axes(self.comparison.left, self.comparison.right) for atom in atoms(axis)}

    def told(self, sizes: Sizes) -> str:
        """For people: what the forward found, and what it would find."""
        left, right = (self._value(side, {}) for side in (self.comparison.left, self.comparison.right))
        after = [self._value(side, sizes) for side in (self.comparison.left, self.comparison.right)]
        return (
            f"the forward finds {left} {self.comparison.relation} {right} at {self.comparison.where} and would find "
            f"{after[0]} and {after[1]} there, which may take it another way"
        )

    def _value(self, source: Source | float, sizes: Sizes) -> float:
        match source:
            case Held(path, name, number, index):
                axis = self.held.get((path, name, index))
                return number if axis is None else size(axis, dict(sizes))
            case Length(value, dim):
                return size(value.axes[dim], dict(sizes)) if value.axes else value.shape[dim]
            case Product(left, right):
                return self._value(left, sizes) * self._value(right, sizes)
            case Total(left, right):
                return self._value(left, sizes) + self._value(right, sizes)
            case Difference(whole, part):
                return self._value(whole, sizes) - self._value(part, sizes)
            case Quotient(whole, divisor):
                return self._value(whole, sizes) // self._value(divisor, sizes)
            case Opposite(of):
                return -self._value(of, sizes)
            case Written(number) | Lost(number) | Number(number):
                return number
        return source

    def _axes(self, *sources: Source | float) -> Iterator[Axis]:
        for source in sources:
            match source:
                case Held(path, name, _, index) if (path, name, index) in self.held:
                    yield self.held[path, name, index]
                case Length(value, dim) if value.axes:
                    yield value.axes[dim]
                case Product(one, other) | Total(one, other) | Difference(one, other) | Quotient(one, other):
                    yield from self._axes(one, other)
                case Opposite(of):
                    yield from self._axes(of)


@dataclass(frozen=True)
class Order:
    """Two axes of which one always has to be the shorter, and why."""

    shorter: Axis
    longer: Axis
    reason: str

    def holds(self, sizes: Sizes) -> bool:
        """Whether it is, where some atoms have other sizes."""
        return size(self.shorter, dict(sizes)) < size(self.longer, dict(sizes))

    def atoms(self) -> set[Atom]:
        """The channels of either axis."""
        return {*atoms(self.shorter), *atoms(self.longer)}

    def told(self, sizes: Sizes) -> str:
        """For people: why it does not hold."""
        short, long = (size(axis, dict(sizes)) for axis in (self.shorter, self.longer))
        return f"{short} channels are not less than {long}: {self.reason}"


def bounds(compared: Iterable[Comparison], held: Mapping[Place, Axis]) -> tuple[Bound, ...]:
    """The comparisons that widths can change the outcome of; of those at several lines, the first."""
    found: dict[tuple[object, ...], Bound] = {}
    for comparison in compared:
        bound = Bound(comparison, held)
        if bound.atoms():
            found.setdefault((comparison.left, comparison.relation, comparison.right), bound)
    return tuple(found.values())


def keep_pairs(asked: Iterable[Bound]) -> None:
    """Two of what the forward asks whether there is more than one are a switch, not a width: they are frozen."""
    for bound in asked:
        for atom in bound.atoms():
            if atom.size == 2 and not bound.holds({atom: 1}):
                freeze((atom,), f"one in place of two would take another way, {bound.told({atom: 1})}")


def least(atom: Atom, asked: Iterable[Bound | Order]) -> int:
    """The smallest size of an atom down to which every comparison comes out the same, all else as it is."""
    asked = list(asked)

    def holds(width: int) -> bool:
        return all(bound.holds({atom: width}) for bound in asked)

    if not asked:
        return 1
    return _last(holds, atom.size, 1)


def most(atom: Atom, asked: Iterable[Bound | Order]) -> int | None:
    """The largest size up to which they do; None where there is no such limit."""
    asked = list(asked)
    far = 2**20

    def holds(width: int) -> bool:
        return all(bound.holds({atom: width}) for bound in asked)

    if not asked or holds(far):
        return None
    return _last(holds, atom.size, far)


def _last(holds: Callable[[int], bool], now: int, end: int) -> int:
    """The width nearest to `end` that holds, where all do between `now` and it."""
    if holds(end):
        return end
    good, bad = now, end
    while abs(good - bad) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good
