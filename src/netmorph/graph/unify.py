"""The one place where axes are made equal, and where they are cut and viewed under other shapes.

When two axes meet (an addition, say, or a weight and what it multiplies), `unify` refines the atoms on either side
until both read the same: an atom of 400 that meets `16 * 5 * 5` becomes that product. `cut`, `split` and `reshape`
refine atoms in the same way. Where the structures do not fit, the atoms are frozen, which is always safe.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from netmorph.graph.axis import Allow, Atom, Axis, Factor, Fixed, Sum, atoms, freeze, limit, reason_of, resolve, size

Cut = Callable[[Axis, Sequence[int], str], list[Axis]]


def unify(left: Axis, right: Axis, where: str = "") -> None:
    """Make two axes of the same length the same, refining atoms where one side has more structure.

    Where the structures cannot be aligned (a product `4 * 6` against `3 * 8`), or where one side is fixed, nothing on
    either side can change width: the atoms are frozen. That is always safe. `where` tells people the place.
    """
    left, right = resolve(left), resolve(right)
    if left == right:
        return
    if not any(atoms(left)) or not any(atoms(right)):
        if [factor.size for factor in left] == [factor.size for factor in right] and len(left) > 1:
            for one, other in zip(left, right, strict=True):  # each factor with the reason of the one that it meets
                unify((one,), (other,), where)
            return
        freeze((*left, *right), reason_of((*left, *right)) or _at("a single channel is broadcast", where))
    elif len(left) == 1 and isinstance(left[0], Atom):
        _substitute(left[0], right, where)
    elif len(right) == 1 and isinstance(right[0], Atom):
        _substitute(right[0], left, where)
    elif min(len(left), len(right)) == 1 and isinstance(left[0], Sum) and isinstance(right[0], Sum):
        _unify_sums(_distributed(left[0], left[1:]), _distributed(right[0], right[1:]), where)
    elif (pieces := _cut_like(left, right, where)) is not None:
        for segment, piece in pieces:
            unify(segment, piece, where)
    else:
        _unify_products(left, right, where)


def _misaligned(where: str, *axes: Axis) -> None:
    for axis in axes:
        freeze(axis, _at("channels meet whose layouts cannot be aligned", where))


def _at(reason: str, where: str) -> str:
    return f"{reason}: {where}" if where else reason


def _substitute(atom: Atom, axis: Axis, where: str) -> None:
    if any(factor is atom for factor in axis) and size(axis) == atom.size:  # beside itself there are only ones
        freeze(tuple(factor for factor in axis if factor is not atom), _at("a single channel is broadcast", where))
        return
    if any(inner is atom for inner in atoms(axis)):
        _misaligned(where, (atom,), axis)
        return
    for entry in atom.limits:
        limit(axis, entry.allow, entry.reason)
    atom.becomes = axis


def _distributed(whole: Sum, rest: Axis) -> Sum:
    """`(a + b) * rest` as `a * rest + b * rest`."""
    return Sum(tuple((*segment, *rest) for segment in whole.segments)) if rest else whole


def _unify_sums(left: Sum, right: Sum, where: str) -> None:
    """Match two concatenations, cutting segments wherever the other side has a boundary."""
    lengths = [[size(segment) for segment in side.segments] for side in (left, right)]
    if lengths[0] == lengths[1]:
        for one, other in zip(left.segments, right.segments, strict=True):
            unify(one, other, where)
        return
    ends = sorted({end for side in lengths for end in itertools.accumulate(side)})
    both = [end - start for start, end in itertools.pairwise([0, *ends])]
    pieces = [cut((side,), both, where) for side in (left, right)]
    for one, other in zip(*pieces, strict=True):
        unify(one, other, where)


def _cut_like(left: Axis, right: Axis, where: str) -> list[tuple[Axis, Axis]] | None:
    """A concatenation beside a product that can be cut where its segments meet: 2 and 14 are 1 and 7 of 8 parts."""
    for one, other in ((left, right), (right, left)):
        whole, inside = one[0], size(other[1:])
        if len(one) == 1 and isinstance(whole, Sum) and not isinstance(other[0], Sum):
            lengths = [size(segment) for segment in whole.segments]
            if not any(length % inside for length in lengths):
                return [*zip(whole.segments, cut(other, lengths, where), strict=True)]
    return None


def _unify_products(left: Axis, right: Axis, where: str) -> None:
    """Match two products from the left, splitting the larger head wherever the smaller divides it."""
    while left and right:
        one, other = left[0], right[0]
        if one.size == other.size:
            unify((one,), (other,), where)
            left, right = resolve(left[1:]), resolve(right[1:])
            continue
        smaller = min(one.size, other.size)
        if smaller == 1:  # a fixed 1 beside a factor: it only pads the shape
            left, right = (left[1:], right) if one.size == 1 else (left, right[1:])
            freeze((one,) if one.size == 1 else (other,), _at("a single channel is broadcast", where))
            continue
        pieces = split(one if one.size > smaller else other, smaller, where)
        if pieces is None:
            break
        left = resolve((*pieces, *left[1:]) if one.size > smaller else left)
        right = resolve((*pieces, *right[1:]) if other.size > smaller else right)
    if left or right:
        _misaligned(where, left, right)


def cut(axis: Axis, lengths: Sequence[int], where: str = "") -> list[Axis]:
    """Cut an axis into segments of the given lengths, refining what it consists of.

    Where a cut does not follow the layout of the channels, they are frozen and the segments are fixed.
    """
    axis = resolve(axis)
    if len(lengths) == 1:
        return [axis]
    axis = _without_single_heads(axis, where)
    head, rest = axis[0], axis[1:]
    inside = size(rest)
    if any(length % inside for length in lengths):
        return _cut_fixed(axis, lengths, _at("cut in a way that does not follow the layout of the channels", where))
    counts = [length // inside for length in lengths]
    if isinstance(head, Sum):
        segments = _cut_segments(head, counts, where, cut)
    elif isinstance(head, Atom):
        segments = [(Atom(count),) for count in counts]
        _substitute(head, (Sum(tuple(segments)),), where)
    else:
        segments = [(Fixed(count, head.reason),) for count in counts]
    ones = (Fixed(1),)
    return [
        resolve(rest)
        if rest and size(segment) == 1 and isinstance(segment[0], Fixed)
        else resolve((*(segment or ones), *rest))
        for segment in segments
    ]


def _without_single_heads(axis: Axis, where: str) -> Axis:
    while len(axis) > 1 and axis[0].size == 1:
        freeze(axis[:1], _at("a single channel is cut", where))
        axis = axis[1:]
    return axis


def _cut_fixed(axis: Axis, lengths: Sequence[int], reason: str) -> list[Axis]:
    freeze(axis, reason)
    return [(Fixed(length, reason),) for length in lengths]


def cut_anywhere(axis: Axis, lengths: Sequence[int], where: str = "") -> list[Axis]:
    """Cut an axis where a boundary may also fall into one of several blocks of channels, which is then one by itself.

    The first nine of `2 * 5` are `5 + 4`: each block consists of a 4 and a 1.
    """
    axis = _without_single_heads(resolve(axis), where)
    head, rest = axis[0], axis[1:]
    inside = size(rest)
    ends = [*itertools.accumulate(lengths)]
    if isinstance(head, Sum):
        return _cut_segments(_distributed(head, rest), lengths, where, cut_anywhere)
    if not any(end % inside for end in ends):
        return cut(axis, lengths, where)
    broken = {end // inside for end in ends if end % inside}
    starts = sorted({0, *broken, *(block + 1 for block in broken)} - {head.size})
    reason = head.reason if isinstance(head, Fixed) else _at("a cut runs through a block of channels", where)
    blocks: list[Factor] = []
    for start, end in itertools.pairwise([*starts, head.size]):
        keeps = isinstance(head, Fixed) or start in broken
        blocks.append(Fixed(end - start, reason) if keeps else Atom(end - start))
    if isinstance(head, Atom):
        _substitute(head, (Sum(tuple((block,) for block in blocks)),), where)
    segments = (rest if start in broken else (block, *rest) for start, block in zip(starts, blocks, strict=True))
    return _cut_segments(Sum(tuple(segments)), lengths, where, cut_anywhere)


def _cut_segments(whole: Sum, lengths: Sequence[int], where: str, cutting: Cut) -> list[Axis]:
    """Cut a concatenation; a segment that a boundary falls into is cut itself."""
    queue = list(whole.segments)
    result: list[Axis] = []
    for length in lengths:
        taken: list[Axis] = []
        while length:
            head = queue.pop(0)
            if size(head) > length:
                head, *others = cutting(head, [length, size(head) - length], where)
                queue = [*others, *queue]
            taken.append(head)
            length -= size(head)
        result.append(taken[0] if len(taken) == 1 else (Sum(tuple(taken)),))
    return result


def split(factor: Factor, leading: int, where: str = "") -> Axis | None:
    """Refine a factor into a product whose first factor has `leading` elements; None where that cannot be done."""
    rest, remainder = divmod(factor.size, leading)
    if remainder:
        return None
    if isinstance(factor, Fixed):
        return Fixed(leading, factor.reason), Fixed(rest, factor.reason)
    if isinstance(factor, Atom):
        _substitute(factor, (Atom(leading), Atom(rest)), where)
        return resolve((factor,))
    ends = set(itertools.accumulate(size(segment) for segment in factor.segments))
    if ends.issuperset(range(rest, factor.size, rest)):
        first, *others = cut((factor,), [rest] * leading, where)
        for other in others:
            unify(first, other, where)
        return Fixed(leading, _at("a fixed number of equal parts", where)), *resolve(first)
    if any(size(segment) % rest for segment in factor.segments):
        return None
    parts = [reshape([segment], (size(segment) // rest, rest), where) for segment in factor.segments]
    for _, last in parts[1:]:
        unify(parts[0][1], last, where)
    return resolve((Sum(tuple(first for first, _ in parts)), *parts[0][1]))


def reshape(axes: Sequence[Axis], shape: Sequence[int], where: str = "") -> list[Axis]:
    """The axes of a tensor after a view: the same factors in the same order, cut at other places.

    `shape` is the new shape, without -1. A cut that falls inside a factor splits it; where it cannot be split, what is
    left is frozen and the new axes are fixed.
    """
    queue = [factor for axis in axes for factor in resolve(axis)]
    if any(factor.size == 0 for factor in queue):
        return _of_nothing(axes, shape, where)
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
                pieces = split(head, missing, where)
                while pieces is None and queue and (both := _joined(head, queue[0])) is not None:
                    head, queue = both, queue[1:]
                    pieces = split(head, missing, where)
                if pieces is None:
                    return _give_up([*taken, head, *queue], result, shape, where)
                head, *rest = pieces
                queue = [*rest, *queue]
            taken.append(head)
            missing //= head.size
        result.append(tuple(f for f in taken if f.size > 1 or isinstance(f, Atom)) or (Fixed(1),))
    if queue and result:  # only factors of size 1 are left
        result[-1] = (*result[-1], *queue)
    return result


def _of_nothing(axes: Sequence[Axis], shape: Sequence[int], where: str) -> list[Axis]:
    """A view of no elements (of boxes none is left): the first and last dimensions whose lengths stay are the same."""
    lengths = [size(axis) for axis in axes]
    most = min(len(lengths), len(shape))
    first = next((n for n in range(most) if lengths[n] != shape[n]), most)
    last = next((n for n in range(most - first) if lengths[-1 - n] != shape[-1 - n]), most - first)
    ended = [factor for axis in axes[first : len(axes) - last] for factor in resolve(axis)]
    made = _give_up(ended, [], shape[first : len(shape) - last], where)
    return [*axes[:first], *made, *axes[len(axes) - last :]]


def _joined(one: Factor, other: Factor) -> Fixed | None:
    """Neighbouring fixed sizes as one, which a view may cut anywhere: 6 windows of 4 places are 4 parts of 6."""
    first, second = _fixed_because(one), _fixed_because(other)
    if first is None or second is None:
        return None
    return Fixed(one.size * other.size, first if second in first else f"{first}; {second}")


def _fixed_because(factor: Factor) -> str | None:
    """Why a size above 1 cannot change; None where it can."""
    if isinstance(factor, Fixed):
        return factor.reason if factor.size > 1 else None
    if isinstance(factor, Sum) or factor.size == 1:
        return None
    return next((entry.reason for entry in factor.limits if entry.allow == Allow.FROZEN), None)


def _give_up(factors: list[Factor], done: list[Axis], shape: Sequence[int], where: str) -> list[Axis]:
    reason = _at("a view cuts through the channels in a way that does not follow their layout", where)
    freeze(tuple(factors), reason)
    return done + [(Fixed(length, reason),) for length in shape[len(done) :]]
