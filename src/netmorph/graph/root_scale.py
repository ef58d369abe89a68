"""Attention that divides by the root of its heads' width: which weights take up a change of that width.

`scaled_dot_product_attention` multiplies its scores by `width ** -0.5` where it is given no scale, and so does written
attention. With the width that number changes, for all channels alike, so the weights and biases that make the queries
take up `sqrt(new / old)`. The same holds of any tensor that is multiplied by a power of a width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from netmorph.graph.axis import Allow, Atom, atoms, freeze, size
from netmorph.graph.flow import ATTENTION, Flow, Maker, Place, followed, place_of
from netmorph.graph.recording import Call, Recording
from netmorph.graph.roots import RootFactor
from netmorph.graph.value import Value


@dataclass(frozen=True, eq=False)
class Folding:
    """Entries of a parameter that are multiplied by a factor."""

    place: Place
    rows: Tensor
    factor: float


def freeze_where_nothing_folds(recording: Recording) -> None:
    """Freeze the widths whose root enters in a way that no weight can take up."""
    for call, root, makers in _roots(recording):
        if not makers:
            freeze(
                root.axis,
                "the forward scales by a root of this width, as attention without a scale does, and no weights could "
                f"make up for another one without reaching something else: {place_of(call)}",
            )


def freeze_where_not_seen(other: Recording, seen: Recording) -> None:
    """Freeze the widths whose roots only another forward takes (in training mode): edits look at `seen` alone."""
    known = {(call.op, call.module, call.location) for call in seen.calls if call.roots}
    for call in other.calls:
        for root in call.roots if (call.op, call.module, call.location) not in known else ():
            freeze(
                root.axis, f"a forward that eval mode does not take scales by a root of this width: {place_of(call)}"
            )


def foldings(recording: Recording, sizes: Mapping[Atom, int]) -> list[Folding]:
    """What is to be multiplied when some atoms get other sizes."""
    found: dict[Place, list[Folding]] = {}
    for _, root, makers in _roots(recording):
        factor = (size(root.axis, dict(sizes)) / size(root.axis)) ** -root.power
        for maker in makers if factor != 1 else ():
            known = found.setdefault(maker.place, [])
            if not any(bool((maker.rows & other.rows).any()) for other in known):  # one layer, called several times
                known.append(Folding(maker.place, maker.rows, factor))
    return [folding for several in found.values() for folding in several]


def _roots(recording: Recording) -> list[tuple[Call, RootFactor, tuple[Maker, ...]]]:
    """The roots of widths that may change, each with the makers that can take up a factor."""
    roots = [
        (call, root)
        for call in recording.calls
        for root in call.roots
        if any(atom.allow > Allow.FROZEN for atom in atoms(root.axis))
    ]
    channels = {atom for _, root in roots for atom in atoms(root.axis)}
    if not channels:
        return []
    flow = followed(recording, channels, {}, 1)
    return [(call, root, _foldable(flow, call, root, roots)) for call, root in roots]


def _foldable(flow: Flow, call: Call, root: RootFactor, roots: list[tuple[Call, RootFactor]]) -> tuple[Maker, ...]:
    """The makers of a tensor, where a factor on them reaches nothing but tensors that are scaled like this one."""
    state = flow.states.get(root.value)
    if state is None or not state.scales or state.offset:
        return ()
    makers = state.makers
    outputs = [maker for value in flow.recording.outputs for maker in _makers(flow, value)]
    elsewhere = [maker for other, ended in flow.ends for maker in ended if not _is_scaled(flow, other, maker)]
    alike = all(
        other.power == root.power and size(other.axis) == size(root.axis)
        for _, other in roots
        if _meet(makers, _makers(flow, other.value))
    )
    read = any(maker.place in flow.reads for maker in makers)  # a tied weight
    twice = any(maker.is_rooted for maker in makers)
    return () if _meet(makers, (*elsewhere, *outputs)) or read or twice or not alike else makers


def _is_scaled(flow: Flow, call: Call, maker: Maker) -> bool:
    """Whether a maker's channels met a root before they ended in a call, or do so in it."""
    if maker.is_rooted or call.op is not ATTENTION or not call.roots:
        return maker.is_rooted
    return not _meet((maker,), _makers(flow, call.named["key"]))


def _makers(flow: Flow, value: Value) -> tuple[Maker, ...]:
    state = flow.states.get(value)
    return state.makers if state is not None else ()


def _meet(some: Sequence[Maker], others: Sequence[Maker]) -> bool:
    return any(one.meets(other) for one in some for other in others)
