"""Axes that are only as long as each other: the same number of channels, but not the same channels.

A length is a sum of products, whose summands and factors have no order. What two lengths have in common is left out
before the rest is made the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from netmorph.graph.axis import Atom, Axis, Factor, Fixed, Sum, concat, freeze, reason_of, resolve
from netmorph.graph.unify import unify

Channels = frozenset[tuple[Atom, int]]


def same_length(left: Axis, right: Axis, where: str) -> None:
    """Make two axes as long as each other, which they are now.

    Args:
        where: the operator and line that ask for it, for messages.
    """
    left, right = resolve(left), resolve(right)
    if any(isinstance(factor, Sum) for factor in (*left, *right)):
        left, right = _without_common_summands(left, right, where)
    left, right = apart(left, right)
    if left and right:
        unify(left, right, where)
    else:  # nothing beside something, or nothing at all
        freeze((*left, *right), f"its number is computed without these channels: {where}")


def _without_common_summands(left: Axis, right: Axis, where: str) -> tuple[Axis, Axis]:
    """Both as sums of products, without what they share; nothing is the empty axis.

    `4 * a + 2 + b` and `b + 4 * c + 6` leave `a` and `c + 1`.
    """
    ours, theirs = (list(_summands(axis)) for axis in (left, right))
    counts: Counter[Channels] = Counter()
    found: dict[Channels, Axis] = {}
    for summands, sign in ((ours, 1), (theirs, -1)):
        for summand in summands:
            channels = tuple(factor for factor in summand if isinstance(factor, Atom))
            key = frozenset(Counter(channels).items())
            counts[key] += sign * math.prod(factor.size for factor in summand if isinstance(factor, Fixed))
            found.setdefault(key, summand)
    common = math.gcd(*counts.values()) or 1
    return (
        concat(*(_times(count // common, found[key], where) for key, count in counts.items() if count > 0)),
        concat(*(_times(-count // common, found[key], where) for key, count in counts.items() if count < 0)),
    )


def _summands(axis: Axis) -> Iterator[Axis]:
    """The products that an axis is a sum of."""
    for place, factor in enumerate(axis):
        if isinstance(factor, Sum):
            for segment in factor.segments:
                yield from _summands((*axis[:place], *segment, *axis[place + 1 :]))
            return
    yield axis


def _times(count: int, summand: Axis, where: str) -> Axis:
    """A product with another number in front."""
    reason = reason_of(summand) or f"a fixed number of channels: {where}"
    channels = tuple(factor for factor in summand if isinstance(factor, Atom))
    return (Fixed(count, reason), *channels) if count > 1 or not channels else channels


def apart(left: Axis, right: Axis) -> tuple[Axis, Axis]:
    """Two products without the factors that both have; the factors of an integer have no order."""
    ours: list[Factor] = []
    theirs = [*right]
    for factor in left:
        same = next((f for f in theirs if f is factor or (isinstance(f, Fixed) and f.size == factor.size)), None)
        if same is None or not isinstance(factor, type(same)):
            ours.append(factor)
        else:
            theirs.remove(same)
    return tuple(ours), tuple(theirs)
