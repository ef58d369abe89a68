"""Which boxes a picture shows: equal ones in a row are one, and each structure is opened once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import groupby

from netmorph.draw.boxes import OUTSIDE, SPAN, Box, Change, Edge
from netmorph.draw.turns import in_turn

Step = tuple[int, int]  # from a place inside of a box to another
SMALL = 4  # a chain of so many layers is told in words
LEAST_SIMILAR = 4  # so many boxes of one structure, but of other sizes, are drawn as one


def folded(box: Box) -> Box:
    """The box with equal neighbours inside drawn as one, at all depths.

    Boxes are equal where they have the same structure and numbers. They are drawn as one where they follow each other,
    or run side by side, and nothing outside reads from or feeds some of them only. Four or more containers of the same
    structure but other sizes that all read what those before gave (dense blocks) are drawn as one, too, and so are rows
    of boxes that come in turn.
    """
    box = replace(box, inside=tuple(map(folded, box.inside)))
    for key, are_one in ((exactly, _are_a_row), (structure, _are_dense)):
        box = _merged(box, _runs(box, key, are_one))
    return in_turn(box, exactly, contents)


def exactly(box: Box) -> Hashable:
    """Equal for boxes that look the same in a picture, but for their names."""
    was = box.was and (box.was.inputs, box.was.outputs, box.was.parameters, box.was.flops, box.was.detail)
    numbers = (box.detail, box.inputs, box.outputs, box.parameters, box.flops, box.times, box.together, box.change, was)
    edges = tuple((edge.ends, edge.shape, edge.change) for edge in box.edges)
    return box.kind, numbers, tuple(map(exactly, box.inside)), edges


def structure(box: Box) -> Hashable:
    """Equal for boxes with the same kinds inside, connected alike, of any sizes."""
    edges = tuple(edge.ends for edge in box.edges if edge.source != OUTSIDE)
    return box.kind, box.change, tuple(map(structure, box.inside)), edges


def _runs(box: Box, key: Callable[[Box], Hashable], are_one: Callable[[Box, range, set[Step]], bool]) -> list[range]:
    """The places inside that are drawn as one: the longest parts of rows with equal keys, from the front."""
    taken: dict[int, list[Edge]] = {}
    given: dict[int, list[Edge]] = {}
    for edge in box.edges:
        taken.setdefault(edge.target, []).append(edge)
        given.setdefault(edge.source, []).append(edge)

    def may_be_one(run: range) -> bool:
        feeds = [{edge.ends[:2] for edge in taken.get(k, ()) if edge.source not in run} for k in run]
        readers = [{edge.ends[2:] for edge in given.get(k, ()) if edge.target not in run} for k in run]
        if any(not some <= feeds[0] for some in feeds) or any(not some <= readers[-1] for some in readers):
            return False
        steps = {(edge.source, edge.target) for k in run for edge in given.get(k, ()) if edge.target in run}
        return are_one(box, run, steps)

    runs: list[range] = []
    start = 0
    for _, same in groupby(map(key, box.inside)):
        end = start + len([*same])
        while start < end:
            stops = range(end, start + 1, -1)
            stop = next((stop for stop in stops if may_be_one(range(start, stop))), start + 1)
            runs.append(range(start, stop))
            start = stop
    return runs


def _are_a_row(box: Box, run: range, steps: set[Step]) -> bool:
    return not steps or steps == {(k, k + 1) for k in run[:-1]}


def _are_dense(box: Box, run: range, steps: set[Step]) -> bool:
    follow = {(k, k + 1) for k in run[:-1]}
    return len(run) >= LEAST_SIMILAR and follow < steps and bool(box.inside[run.start].inside)


def _merged(box: Box, runs: Sequence[range]) -> Box:
    if len(runs) == len(box.inside):
        return box
    new = {OUTSIDE: OUTSIDE} | {place: number for number, run in enumerate(runs) for place in run}
    edges: dict[tuple[int, int, int, int], Edge] = {}
    for edge in box.edges:
        moved = replace(edge, source=new[edge.source], target=new[edge.target])
        if edge.source == OUTSIDE or moved.source != moved.target:
            edges.setdefault(moved.ends, moved)
    inside = [_one(box, run) if len(run) > 1 else box.inside[run.start] for run in runs]
    return replace(box, inside=tuple(inside), edges=tuple(edges[ends] for ends in sorted(edges)))


def _one(box: Box, run: range) -> Box:
    boxes = [box.inside[place] for place in run]
    first, last = boxes[0], boxes[-1]
    paths = tuple(path for inner in boxes for path in (inner.paths or (inner.path,)))
    if exactly(first) == exactly(last):
        beside = bool(box.edges) and not any(edge.source in run and edge.target in run for edge in box.edges)
        return replace(first, paths=paths, together="side by side" if beside else "")
    parameters, flops = (sum(getattr(inner, name) for inner in boxes) for name in ("parameters", "flops"))
    pairs = {(edge.source, edge.target) for edge in box.edges if edge.source in run and edge.target in run}
    together = f"each reads {'all' if len(pairs) == len(run) * (len(run) - 1) // 2 else 'several'} before it"
    return replace(first, paths=paths, parameters=parameters, flops=flops, outputs=last.outputs, together=together)


def shown(box: Box, may_open: Callable[[Box, int], bool]) -> Box:
    """What a picture shows of a folded box: what is in boxes that may be opened, of each structure once.

    A chain of a few layers is told in words, and of a difference what did not change stays closed.

    Args:
        may_open: by a box, and in how many others it lies.
    """
    return _opened(box, 0, may_open, {})


def _opened(box: Box, level: int, may_open: Callable[[Box, int], bool], seen: dict[Hashable, str]) -> Box:
    box, key = _unwrapped(box), structure(box)
    seen.setdefault(key, box.path)
    return replace(box, inside=tuple(_shown(inner, level + 1, may_open, seen) for inner in box.inside))


def _shown(box: Box, level: int, may_open: Callable[[Box, int], bool], seen: dict[Hashable, str]) -> Box:
    if not box.inside:
        return box
    if box.change in (None, Change.NEW, Change.GONE) and structure(box) in seen and not is_small(box):
        return replace(box, inside=(), edges=(), content=f"as {seen[structure(box)]}")
    if is_small(box) or box.change == Change.SAME or not may_open(box, level):
        words = contents(box)
        return replace(box, inside=(), edges=(), content="" if box.kind == f"({words})" else words)
    return _opened(box, level, may_open, seen)


def _unwrapped(box: Box) -> Box:
    """Of a box with nothing but another one in it, what is in that."""
    while len(box.inside) == 1 and box.inside[0].inside and box.inside[0].times == 1:
        (inner,) = box.inside
        before = {edge.input: edge.output for edge in box.edges if edge.source == OUTSIDE}
        behind = {edge.output: edge.input for edge in box.edges if edge.target == OUTSIDE}
        edges = [
            replace(
                edge,
                output=before.get(edge.output, 0) if edge.source == OUTSIDE else edge.output,
                input=behind.get(edge.input, 0) if edge.target == OUTSIDE else edge.input,
            )
            for edge in inner.edges
        ]
        box = replace(box, inside=inner.inside, edges=tuple(edges))
    return box


def is_small(box: Box) -> bool:
    """Whether a box holds only a few layers, one after the other."""
    chain = [(edge.source, edge.target) for edge in box.edges if OUTSIDE not in (edge.source, edge.target)]
    changed = any(inner.change not in (None, box.change) for inner in box.inside)
    return (
        len(box.inside) <= SMALL
        and not any(inner.inside or inner.is_junction for inner in box.inside)
        and len(chain) == len(box.inside) - 1
        and not changed
    )


def contents(box: Box) -> str:
    """What is inside of a box, in words: `Conv2d 3×3, BatchNorm2d, ReLU`, `2 × BasicBlock`."""
    told = [(f"{inner.kind} {inner.detail}".strip(), inner.times) for inner in box.inside]
    if not is_small(box):
        told = [(inner.kind, inner.times) for inner in box.inside]
    words = []
    for name, same in groupby(told, key=lambda entry: entry[0]):
        count = sum(times for _, times in same)
        words.append(f"{count} × {name}" if count > 1 else name)
    return ", ".join(words)


def name_in(box: Box, around: str) -> str:
    """The path of a box as it is told inside of another one; of several, the first and the last."""
    paths = [path for given in box.paths or (box.path,) for path in given.split(SPAN)]
    names = [path.removeprefix(f"{around}.") if around else path for path in paths]
    if len({*names}) == 1:
        return names[0] if names[0] != around else ""
    first, last = names[0], names[-1]
    for stem in (first.rstrip("0123456789"), first[: first.rfind(".") + 1]):
        if last.startswith(stem):
            return f"{first}{SPAN}{last.removeprefix(stem)}"
    return f"{first}{SPAN}{last}"
