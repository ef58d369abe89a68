"""Boxes that come in turn, A B A B A B, drawn as one: 3 × (A, B)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from netmorph.draw.boxes import OUTSIDE, SPAN, Box, Change, Edge

LONGEST = 8  # boxes that come in turn: norm, attention, +, norm, perceptron, + are six
LEAST = 3  # times that plain layers come before they are drawn as one; rows with containers, two

End = tuple[int, int]  # a box, by its place, and one of its inputs or outputs


def in_turn(box: Box, key: Callable[[Box], Hashable], words: Callable[[Box], str]) -> Box:
    """The box with what comes in turn inside drawn as one.

    Rows of boxes come in turn where they are equal and joined alike, and each reads one tensor only, which the one
    before gives to it alone.

    Args:
        key: the same for boxes that are equal.
        words: what is in a box.
    """
    numbers: dict[Hashable, int] = {}
    keys = [numbers.setdefault(key(inner), len(numbers)) for inner in box.inside]
    found: list[list[range]] = []
    start = 0
    while start < len(keys):
        rows = _rows(box, keys, start)
        start = rows[-1].stop if rows else start + 1
        found += [rows] if rows else []
    for rows in reversed(found):  # so that places before them stay what they are
        box = _merged(box, rows, words)
    return box


def _rows(box: Box, keys: Sequence[int], start: int) -> list[range]:
    """The rows that come in turn from a place on: those that hold the most boxes, then the shortest."""
    best: list[range] = []
    for length in range(2, min(LONGEST, (len(keys) - start) // 2) + 1):
        period = keys[start : start + length]
        boxes = box.inside[start : start + length]
        if len({*period}) == 1 or not _is_plain(boxes):
            continue
        rows = [range(start, start + length)]
        while keys[rows[-1].stop : rows[-1].stop + length] == period:
            rows.append(range(rows[-1].stop, rows[-1].stop + length))
        if len(rows) > 1:
            rows = _joined_alike(box, rows)
        least = 2 if any(inner.inside for inner in boxes) else LEAST
        if len(rows) >= least and (not best or rows[-1].stop > best[-1].stop):
            best = rows
    return best


def _is_plain(boxes: Sequence[Box]) -> bool:
    """Whether boxes stand for themselves, and of a difference all are the same, all new or all gone."""
    changes = {box.change for box in boxes}
    alike = len(changes) == 1 and changes <= {None, Change.SAME, Change.NEW, Change.GONE}
    return alike and not any(box.together for box in boxes)


@dataclass(frozen=True)
class _Joints:
    """How the boxes of a row are joined to each other and to others; places within it count from its start.

    Attributes:
        within: the ends, shape and change of each edge between them.
        takers: which of them read what comes in.
        givers: which of them give what goes out.
        sources: where that comes from, by places in the whole box.
        readers: places of those that read it.
    """

    within: frozenset[Hashable]
    takers: frozenset[End]
    givers: frozenset[End]
    sources: frozenset[End]
    readers: frozenset[int]

    @staticmethod
    def of(edges: Sequence[Edge], row: range) -> _Joints:
        start = row.start
        into = [edge for edge in edges if edge.target in row and edge.source not in row]
        out = [edge for edge in edges if edge.source in row and edge.target not in row]
        return _Joints(
            frozenset(
                (edge.source - start, edge.output, edge.target - start, edge.input, edge.shape, edge.change)
                for edge in edges
                if edge.source in row and edge.target in row
            ),
            frozenset((edge.target - start, edge.input) for edge in into),
            frozenset((edge.source - start, edge.output) for edge in out),
            frozenset((edge.source, edge.output) for edge in into),
            frozenset(edge.target for edge in out),
        )

    @property
    def alike(self) -> Hashable:
        """What has to be the same for all rows."""
        return self.within, self.takers, self.givers


def _joined_alike(box: Box, rows: Sequence[range]) -> list[range]:
    """As many of the rows, from the first on, as are joined alike, each to the one before."""
    joints = [_Joints.of(box.edges, row) for row in rows]
    first = joints[0]
    if len(first.sources) != 1 or len(first.givers) != 1:
        return []
    ((giver, output),) = first.givers
    stop = 1
    while (
        stop < len(rows)
        and joints[stop].alike == first.alike
        and joints[stop].sources == {(rows[stop - 1].start + giver, output)}
        and all(reader in rows[stop] for reader in joints[stop - 1].readers)
    ):
        stop += 1
    return [*rows[:stop]]


def _merged(box: Box, rows: Sequence[range], words: Callable[[Box], str]) -> Box:
    """The box with rows that come in turn as one box, which holds the first of them."""
    start, stop = rows[0].start, rows[-1].stop
    whole = range(start, stop)
    edges: dict[tuple[int, int, int, int], Edge] = {}
    for edge in box.edges:
        source, target = (
            start if place in whole else place - len(whole) + 1 if place >= stop else place
            for place in (edge.source, edge.target)
        )
        output, input = (0 if place in whole else port for place, port in zip(*_ends(edge), strict=True))
        moved = replace(edge, source=source, output=output, target=target, input=input)
        if not {edge.source, edge.target} <= {*whole}:
            edges.setdefault(moved.ends, moved)
    inside = (*box.inside[:start], _one(box, rows, words), *box.inside[stop:])
    return replace(box, inside=inside, edges=tuple(edges[ends] for ends in sorted(edges)))


def _ends(edge: Edge) -> tuple[End, End]:
    """Places and ports of both ends."""
    return (edge.source, edge.target), (edge.output, edge.input)


def _one(box: Box, rows: Sequence[range], words: Callable[[Box], str]) -> Box:
    row = rows[0]
    inside = box.inside[row.start : row.stop]
    edges: dict[tuple[int, int, int, int], Edge] = {}
    for edge in box.edges:
        if edge.source in row or edge.target in row:
            comes, goes = edge.source not in row, edge.target not in row
            moved = replace(
                edge,
                source=OUTSIDE if comes else edge.source - row.start,
                output=0 if comes else edge.output,
                target=OUTSIDE if goes else edge.target - row.start,
                input=0 if goes else edge.input,
            )
            edges.setdefault(moved.ends, moved)
    one = Box(
        box.path,
        "",
        inputs=next((edge.shape,) for edge in edges.values() if edge.source == OUTSIDE),
        outputs=next((edge.shape,) for edge in edges.values() if edge.target == OUTSIDE),
        parameters=sum(inner.parameters * inner.times for inner in inside),
        flops=sum(inner.flops * inner.times for inner in inside),
        groups=tuple(dict.fromkeys(group for inner in reversed(inside) for group in inner.groups)),
        inside=inside,
        edges=tuple(edges[ends] for ends in sorted(edges)),
        paths=tuple(_span(box, each) for each in rows),
        change=inside[0].change,
    )
    one = replace(one, kind=f"({words(one)})")
    return replace(one, was=one) if one.change == Change.SAME else one


def _span(box: Box, row: range) -> str:
    """The first path of a row and the last; operators have none of their own."""
    paths = [path for inner in box.inside[row.start : row.stop] for path in (inner.paths or (inner.path,))]
    own = [path for path in paths if path != box.path] or paths
    return SPAN.join(dict.fromkeys((own[0], own[-1])))
