"""Axes: what a dimension of a tensor is made of.

Every dimension of every tensor in a traced network is described by an *axis*: a row-major product of factors. A
factor is

- an `Atom`: a set of channels whose number an edit may change. Atoms of different tensors that must always have the
  same channels are unified into one;
- a `Sum`: segments one behind the other (a concatenation), each an axis of its own;
- `Fixed`: a size that no edit changes (batch, height, a model's input).

Flattening `[N, C, H, W]` gives the product `C * H * W`; a grouped convolution reads `groups * channels`; concatenating
gives `Sum(a, b)`. How axes are made equal, cut and viewed is in `unify.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from torch import Tensor, cat
from torch import split as split_tensor


class Allow(IntEnum):
    """Which changes of width pass through all that acts on a set of channels, from nothing to anything."""

    FROZEN = 0
    """The width cannot change."""
    INEXACT = 1
    """The width can change, but no change is known to keep the function."""
    UNIFORM = 2
    """Exact when every channel is copied equally often (layer norm over the channels)."""
    ANY = 3
    """Each channel is on its own: any copies, twins and unread channels are exact."""


@dataclass(frozen=True)
class Limit:
    """How far a set of channels may change, and the reason to tell the user."""

    allow: Allow
    reason: str


@dataclass(frozen=True)
class Fixed:
    """A factor that no edit changes."""

    size: int
    reason: str = "a size that comes from the input"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", int(self.size))


@dataclass(eq=False)
class Atom:
    """A set of channels; compared by identity. `becomes` is set once it is unified with or refined into others."""

    size: int
    limits: list[Limit] = field(default_factory=list)
    becomes: Axis | None = None

    def __post_init__(self) -> None:
        self.size = int(self.size)  # a rule may have been given an integer that remembers its source

    @property
    def allow(self) -> Allow:
        """The intersection of all limits."""
        return min((limit.allow for limit in self.limits), default=Allow.ANY)


@dataclass(frozen=True)
class Sum:
    """Segments one behind the other: a concatenation."""

    segments: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """The length of all segments together."""
        return sum(size(segment) for segment in self.segments)


Factor = Atom | Sum | Fixed
Axis = tuple[Factor, ...]
Change = Callable[[Tensor, int], Tensor]


def size(axis: Axis, sizes: dict[Atom, int] | None = None) -> int:
    """The length of an axis; `sizes` gives other lengths to some of its atoms."""

    def length(factor: Factor) -> int:
        if isinstance(factor, Sum):
            return sum(size(segment, sizes) for segment in factor.segments)
        if isinstance(factor, Atom) and factor.becomes is not None:
            return size(factor.becomes, sizes)
        return (sizes or {}).get(factor, factor.size) if isinstance(factor, Atom) else factor.size

    return math.prod(length(factor) for factor in axis)


def resolve(axis: Axis) -> Axis:
    """The axis in terms of atoms that stand for themselves, with nested sums and products flattened.

    What all segments of a sum end with is a factor of the whole: `a + a` is `2 * a`, and `a * c + b * c` is
    `(a + b) * c`.
    """
    factors: list[Factor] = []
    for factor in axis:
        if isinstance(factor, Atom) and factor.becomes is not None:
            factor.becomes = resolve(factor.becomes)  # so that the next look is short
            factors.extend(factor.becomes)
        elif isinstance(factor, Sum):
            factors.extend(_resolved_sum(factor))
        else:
            factors.append(factor)
    return tuple(factors)


def _resolved_sum(whole: Sum) -> Axis:
    segments: list[Axis] = []
    for segment in map(resolve, whole.segments):
        inner = segment[0] if len(segment) == 1 else None
        segments.extend(inner.segments if isinstance(inner, Sum) else (segment,))
    common: list[Factor] = []
    while len(segments) > 1 and all(segments) and all(segment[-1] == segments[0][-1] for segment in segments):
        common.insert(0, segments[0][-1])
        segments = [segment[:-1] for segment in segments]
    if len(segments) == 1:
        return (*segments[0], *common)
    if not any(isinstance(factor, Atom | Sum) for segment in segments for factor in segment):
        found = [factor for segment in segments for factor in segment if isinstance(factor, Fixed)]
        length = sum(size(segment) for segment in segments)
        return (Fixed(length, reason_of(found) or "a fixed number of parts"), *common)
    return (Sum(tuple(segment or (Fixed(1),) for segment in segments)), *common)


def reason_of(factors: Iterable[Factor]) -> str | None:
    """Why they are fixed, by the first that knows: a dimension of size 1 that a view or a sum made has no reason."""
    return next((factor.reason for factor in factors if isinstance(factor, Fixed) and factor != Fixed(1)), None)


def atoms(axis: Axis) -> Iterator[Atom]:
    """The atoms of an axis from left to right; one that occurs twice is given twice."""
    yield from _walk(resolve(axis))


def _walk(resolved: Axis) -> Iterator[Atom]:
    for factor in resolved:
        if isinstance(factor, Sum):
            for segment in factor.segments:
                yield from _walk(segment)
        elif isinstance(factor, Atom):
            yield factor


def limit(axis: Axis, allow: Allow, reason: str) -> None:
    """Lower what is allowed for every atom of the axis.

    Copying every channel of one segment of a sum equally often is not uniform over the whole sum, so there `UNIFORM`
    leaves no exact change.
    """
    for factor in resolve(axis):
        if isinstance(factor, Sum):
            inner = Allow.INEXACT if allow == Allow.UNIFORM else allow
            for segment in factor.segments:
                limit(segment, inner, reason)
        elif isinstance(factor, Atom):
            entry = Limit(allow, reason)
            if entry not in factor.limits:
                factor.limits.append(entry)


def freeze(axis: Axis, reason: str) -> None:
    """Forbid every change of width on this axis."""
    limit(axis, Allow.FROZEN, reason)


def concat(*axes: Axis) -> Axis:
    """Axes one behind the other; an empty one is nothing."""
    some = [axis for axis in axes if axis]
    return (Sum(tuple(some)),) if len(some) > 1 else some[0] if some else ()


def along(
    tensor: Tensor, dim: int, axis: Axis, changes: Mapping[Atom, Change], sizes: dict[Atom, int] | None = None
) -> Tensor:
    """Apply changes along every occurrence of some atoms within one dimension of a tensor, in one pass.

    Args:
        tensor: any tensor whose dimension `dim` is laid out as `axis`.
        changes: by atom; each gets a tensor and the dimension that runs over the atom's channels alone, and may change
            its length. They are made in this order, wherever the atoms are: fresh channels of two atoms cancel in a
            reader only if the same ones come last there and where they are written.
        sizes: where the tensor has been widened along some atoms already: their lengths there.

    Returns:
        A tensor of the same rank; every segment and every block of the dimension is changed alike.
    """
    axis = resolve(axis)
    shape = [*tensor.shape[:dim], *(size((factor,), sizes) for factor in axis), *tensor.shape[dim + 1 :]]
    tensor = tensor.reshape(shape)
    turns = {atom: turn for turn, atom in enumerate(changes)}
    places = sorted(
        enumerate(axis, start=dim),
        key=lambda found: min((turns.get(a, len(turns)) for a in atoms(found[1:])), default=0),
    )
    for place, factor in places:
        if isinstance(factor, Atom) and factor in changes:
            tensor = changes[factor](tensor, place)
        elif isinstance(factor, Sum):
            parts = split_tensor(tensor, [size(segment, sizes) for segment in factor.segments], dim=place)
            changed = [
                along(part, place, segment, changes, sizes)
                for part, segment in zip(parts, factor.segments, strict=True)
            ]
            tensor = cat(changed, dim=place)
    return tensor.flatten(dim, dim + len(axis) - 1)
