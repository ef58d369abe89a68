"""Axes as products and sums of smaller ones, and the one place where they are made equal.

Every dimension of every tensor in a traced network is described by an *axis*: a row-major product of factors. A
factor is

- an `Atom`: a set of channels whose number an edit may change. Atoms of different tensors that must always have the
  same channels are unified into one;
- a `Sum`: segments one behind the other (a concatenation), each an axis of its own;
- `Fixed`: a size that no edit changes (batch, height, a model's input).

Flattening `[N, C, H, W]` gives the product `C * H * W`; a grouped convolution reads `groups * channels`; concatenating
gives `Sum(a, b)`. When two axes meet (an addition, say, or a weight and what it multiplies), `unify` refines the atoms
on either side until both read the same: an atom of 400 that meets `16 * 5 * 5` becomes that product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from torch import Tensor, cat
from torch import split as split_tensor


class Allow(IntEnum):
    """Which changes of width pass through all that acts on a set of channels, from nothing to anything."""

    FROZEN = 0  # the width cannot change
    INEXACT = 1  # the width can change, but no change is known to keep the function
    UNIFORM = 2  # exact when every channel is copied equally often (layer norm over the channels)
    ANY = 3  # each channel is on its own: any copies, twins and unread channels are exact


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


@dataclass(eq=False)
class Atom:
    """A set of channels; compared by identity. `becomes` is set once it is unified with or refined into others."""

    size: int
    limits: list[Limit] = field(default_factory=list)
    becomes: Axis | None = None

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
    """The axis in terms of atoms that stand for themselves, with nested sums and products flattened."""
    factors: list[Factor] = []
    for factor in axis:
        if isinstance(factor, Atom) and factor.becomes is not None:
            factor.becomes = resolve(factor.becomes)  # so that the next look is short
            factors.extend(factor.becomes)
        elif isinstance(factor, Sum):
            segments: list[Axis] = []
            for segment in map(resolve, factor.segments):
                inner = segment[0] if len(segment) == 1 else None
                segments.extend(inner.segments if isinstance(inner, Sum) else (segment,))
            factors.extend(segments[0] if len(segments) == 1 else (Sum(tuple(segments)),))
        else:
            factors.append(factor)
    return tuple(factors)


def atoms(axis: Axis) -> Iterator[Atom]:
    """The atoms of an axis from left to right; one that occurs twice is given twice."""
    for factor in resolve(axis):
        if isinstance(factor, Sum):
            for segment in factor.segments:
                yield from atoms(segment)
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


def unify(left: Axis, right: Axis) -> None:
    """Make two axes of the same length the same, refining atoms where one side has more structure.

    Where the structures cannot be aligned (a product `4 * 6` against `3 * 8`), or where one side is fixed, nothing on
    either side can change width: the atoms are frozen. That is always safe.
    """
    left, right = resolve(left), resolve(right)
    if left == right:
        return
    if not any(atoms(left)) or not any(atoms(right)):
        reason = next((f.reason for f in (*left, *right) if isinstance(f, Fixed)), Fixed(1).reason)
        freeze((*left, *right), reason)
    elif len(left) == 1 and isinstance(left[0], Atom):
        _substitute(left[0], right)
    elif len(right) == 1 and isinstance(right[0], Atom):
        _substitute(right[0], left)
    elif len(left) == len(right) == 1 and isinstance(left[0], Sum) and isinstance(right[0], Sum):
        _unify_sums(left[0], right[0])
    else:
        _unify_products(left, right)


def _misaligned(*axes: Axis) -> None:
    for axis in axes:
        freeze(axis, "tensors are combined whose channels are laid out in ways that cannot be aligned")


def _substitute(atom: Atom, axis: Axis) -> None:
    if any(inner is atom for inner in atoms(axis)):
        _misaligned((atom,), axis)
        return
    for entry in atom.limits:
        limit(axis, entry.allow, entry.reason)
    atom.becomes = axis


def _unify_sums(left: Sum, right: Sum) -> None:
    if [size(s) for s in left.segments] == [size(s) for s in right.segments]:
        for one, other in zip(left.segments, right.segments, strict=True):
            unify(one, other)
    else:
        _misaligned((left,), (right,))


def _unify_products(left: Axis, right: Axis) -> None:
    """Match two products from the left, splitting the larger head wherever the smaller divides it."""
    while left and right:
        one, other = left[0], right[0]
        if one.size == other.size:
            unify((one,), (other,))
            left, right = resolve(left[1:]), resolve(right[1:])
            continue
        smaller = min(one.size, other.size)
        if smaller == 1:  # a fixed 1 beside a factor: it only pads the shape
            left, right = (left[1:], right) if one.size == 1 else (left, right[1:])
            freeze((one,) if one.size == 1 else (other,), "a single channel is broadcast")
            continue
        pieces = split(one if one.size > smaller else other, smaller)
        if pieces is None:
            break
        left = resolve((*pieces, *left[1:]) if one.size > smaller else left)
        right = resolve((*pieces, *right[1:]) if other.size > smaller else right)
    if left or right:
        _misaligned(left, right)


def split(factor: Factor, leading: int) -> Axis | None:
    """Refine a factor into a product whose first factor has `leading` elements; None where that cannot be done."""
    rest, remainder = divmod(factor.size, leading)
    if remainder:
        return None
    if isinstance(factor, Fixed):
        return Fixed(leading, factor.reason), Fixed(rest, factor.reason)
    if isinstance(factor, Atom):
        _substitute(factor, (Atom(leading), Atom(rest)))
        return resolve((factor,))
    if len(factor.segments) != leading or any(size(segment) != rest for segment in factor.segments):
        return None
    for segment in factor.segments[1:]:
        unify(factor.segments[0], segment)
    return Fixed(leading, "a fixed number of equal parts"), *resolve(factor.segments[0])


def reshape(axes: Sequence[Axis], shape: Sequence[int]) -> list[Axis]:
    """The axes of a tensor after a view: the same factors in the same order, cut at other places.

    `shape` is the new shape, without -1. A cut that falls inside a factor splits it; where it cannot be split, what is
    left is frozen and the new axes are fixed.
    """
    queue = [factor for axis in axes for factor in resolve(axis)]
    result: list[Axis] = []
    for length in shape:
        taken: list[Factor] = []
        missing = length
        # A new dimension of size 1 takes one factor of size 1, so that [N, 1, H] and friends keep their channel.
        if length == 1 and queue and queue[0].size == 1:
            taken.append(queue.pop(0))
        while missing > 1:
            head = queue.pop(0)
            if missing % head.size:
                pieces = split(head, missing)
                if pieces is None:
                    return _give_up([*taken, head, *queue], result, shape)
                head, *rest = pieces
                queue = [*rest, *queue]
            taken.append(head)
            missing //= head.size
        result.append(tuple(taken) or (Fixed(1),))
    if queue and result:  # only factors of size 1 are left
        result[-1] = (*result[-1], *queue)
    return result


def _give_up(factors: list[Factor], done: list[Axis], shape: Sequence[int]) -> list[Axis]:
    reason = "a view cuts through the channels in a way that does not follow their layout"
    freeze(tuple(factors), reason)
    return done + [(Fixed(length, reason),) for length in shape[len(done) :]]


def along(tensor: Tensor, dim: int, axis: Axis, atom: Atom, change: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Apply `change` along every occurrence of an atom within one dimension of a tensor.

    Args:
        tensor: any tensor whose dimension `dim` is laid out as `axis`.
        change: gets a tensor and the dimension that runs over the atom's channels alone, and may change its length.

    Returns:
        A tensor of the same rank; every segment and every block of the dimension is changed alike.
    """
    axis = resolve(axis)
    shape = [*tensor.shape[:dim], *(factor.size for factor in axis), *tensor.shape[dim + 1 :]]
    tensor = tensor.reshape(shape)
    for place, factor in enumerate(axis, start=dim):
        if factor is atom:
            tensor = change(tensor, place)
        elif isinstance(factor, Sum):
            parts = split_tensor(tensor, [size(segment) for segment in factor.segments], dim=place)
            changed = [
                along(part, place, segment, atom, change) for part, segment in zip(parts, factor.segments, strict=True)
            ]
            tensor = cat(changed, dim=place)
    return tensor.flatten(dim, dim + len(axis) - 1)
