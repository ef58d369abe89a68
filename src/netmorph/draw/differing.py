"""Two networks -> one picture of what is new, gone, wider or narrower.

Boxes are matched level by level: of the boxes in two matched boxes, those are a pair that make the best sequence of
pairs, in the order of both. So what stays keeps its order, and edges of both networks run downwards in one picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from torch import nn

from netmorph.draw.boxes import OUTSIDE, Box, Change, Edge
from netmorph.draw.diagram import Diagram, DrawError
from netmorph.draw.networks import groups_of
from netmorph.draw.reading import read
from netmorph.edit import Journal
from netmorph.edit.journal import rebuild
from netmorph.graph import Graph, trace

Pair = tuple[Box | None, Box | None]


def difference(before: Graph, after: Graph, title: str = "") -> Diagram:
    """What differs from one traced network to another: the graphs of before and after an edit, or of two models.

    Args:
        title: what stands above; the classes of both models if there is none.
    """
    first, second = read(before), read(after)
    whole = compared(first, second)
    names = f"{first.kind} → {second.kind}" if first.kind != second.kind else f"{first.kind}, before → after"
    return Diagram.of(title or names, whole, groups_of(before) | groups_of(after))


def edits(
    build: Callable[[], nn.Module], inputs: Any, journal: Journal, first: int, last: int | None = None, title: str = ""
) -> Diagram:
    """What edits of a journal changed: that with the number `first`, or all from it to `last`; the first has number 1.

    Args:
        build: makes the network before its first edit.
        inputs: example inputs, see `trace`.
        last: None for the one edit.

    Raises:
        DrawError: the journal has no such edits.
        LoadError: it was not written for this network.
        TraceError: see `trace`.
    """
    last = first if last is None else last
    if not 1 <= first <= last <= len(journal):
        raise DrawError(f"the journal has edits 1 to {len(journal)}; asked for were those from {first} to {last}")
    before, after = (trace(rebuild(build(), journal[:count]), inputs, journal[:count]) for count in (first - 1, last))
    told = "; ".join(str(entry.edit) for entry in journal[first - 1 : last][:3])
    return difference(before, after, title or told + ("; ..." if last - first > 2 else ""))


def compared(before: Box, after: Box) -> Box:
    """The second box with what became of the first one, at all depths."""
    pairs = matched(before.inside, after.inside)
    inside = tuple(_of_pair(*pair) for pair in pairs)
    old, new = (_places([pair[side] is not None for pair in pairs]) for side in (0, 1))
    edges = _edges(before.edges, old, after.edges, new)
    box = replace(after, inside=inside, edges=edges, was=before)
    return replace(box, change=_change(before, box))


def _places(there: Sequence[bool]) -> dict[int, int]:
    """From the place in one network to the place among the pairs."""
    return dict(enumerate(number for number, is_there in enumerate(there) if is_there))


def _of_pair(before: Box | None, after: Box | None) -> Box:
    if after is None:
        assert before is not None
        return _marked(before, Change.GONE)
    return _marked(after, Change.NEW) if before is None else compared(before, after)


def _marked(box: Box, change: Change) -> Box:
    edges = tuple(replace(edge, change=change) for edge in box.edges)
    return replace(box, change=change, inside=tuple(_marked(inner, change) for inner in box.inside), edges=edges)


def _change(before: Box, after: Box) -> Change:
    """By what it gives, then by its parameters, then by what it reads; else by what is in it."""
    inner = {box.change for box in after.inside} | {edge.change for edge in after.edges}
    if after.inside and inner & {Change.NEW, Change.GONE}:
        return Change.OTHER
    if before.detail != after.detail or before.kind != after.kind:
        return Change.OTHER
    for one, other in (
        (before.outputs, after.outputs),
        (((before.parameters,),), ((after.parameters,),)),
        (before.inputs, after.inputs),
    ):
        sizes = [sum(map(prod, shapes)) for shapes in (one, other)]
        if one != other:
            return Change.WIDER if sizes[1] > sizes[0] else Change.NARROWER if sizes[1] < sizes[0] else Change.OTHER
    return Change.OTHER if inner - {Change.SAME, None} else Change.SAME


def matched(before: Sequence[Box], after: Sequence[Box]) -> list[Pair]:
    """Pairs of boxes, in the order of both; alone stands what has no partner.

    The best alignment by `_likeness`, as Needleman and Wunsch (1970) find it.
    """
    best = [[0] * (len(after) + 1) for _ in range(len(before) + 1)]
    for i in range(len(before) - 1, -1, -1):
        for j in range(len(after) - 1, -1, -1):
            like = _likeness(before[i], after[j])
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + like if like else 0)
    pairs: list[Pair] = []
    i = j = 0
    while i < len(before) and j < len(after):
        like = _likeness(before[i], after[j])
        if like and best[i][j] == best[i + 1][j + 1] + like:
            pairs.append((before[i], after[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            pairs.append((before[i], None))
            i += 1
        else:
            pairs.append((None, after[j]))
            j += 1
    return pairs + [(box, None) for box in before[i:]] + [(None, box) for box in after[j:]]


def _likeness(before: Box, after: Box) -> int:
    """How well two boxes are a pair: by kind, path, size and what is inside; 0 if they are none."""
    if bool(before.inside) != bool(after.inside) or before.is_junction != after.is_junction:
        return 0
    same_path, same_kind = before.path == after.path, before.kind == after.kind
    if not same_kind and not (same_path and before.is_junction == after.is_junction):
        return 0
    same_size = before.parameters == after.parameters and before.outputs == after.outputs
    return 1 + 4 * same_kind + 2 * same_path + 3 * same_size + (before.detail == after.detail)


def _edges(before: Sequence[Edge], old: dict[int, int], after: Sequence[Edge], new: dict[int, int]) -> tuple[Edge, ...]:
    def moved(edges: Sequence[Edge], places: dict[int, int]) -> dict[tuple[int, int, int, int], Edge]:
        to = {OUTSIDE: OUTSIDE} | places
        there = [replace(edge, source=to[edge.source], target=to[edge.target]) for edge in edges]
        return {edge.ends: edge for edge in there}

    first, second = moved(before, old), moved(after, new)
    gone = [replace(edge, change=Change.GONE) for ends, edge in first.items() if ends not in second]
    kept = [replace(edge, change=Change.SAME if ends in first else Change.NEW) for ends, edge in second.items()]
    return tuple(sorted([*gone, *kept], key=lambda edge: edge.ends))
