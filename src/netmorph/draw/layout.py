"""Where boxes and edges go: layers from the top down, edges as lines of right angles between them.

Nothing of this is random, and nothing is optimized: the longest path is a straight line, other branches and the rails
of edges that pass boxes by stand beside it (`columns.py`), and sideways edges run only where no box is, between layers.
"""

from __future__ import annotations

from collections.abc import Sequence

from netmorph.draw import letters
from netmorph.draw.boxes import OUTSIDE, Box, Edge
from netmorph.draw.columns import Columns, Item, Link
from netmorph.draw.placed import CIRCLE, GAP, LINE, PAD, SIDE, TRACK, Laid, Lines, Wire


def lay(box: Box, lines: Lines, around: str | None = None) -> Laid:
    """A box and all in it, each in its place.

    Args:
        around: the path of the box around it; None for the whole picture, which has no text of its own.
    """
    texts = () if around is None else lines(box, around)
    width = 2 * PAD + 2 + max((letters.width(*text) for text in texts), default=0)
    header = LINE * len(texts) + (PAD if texts else 0)
    if not box.inside:
        if box.is_junction and len(texts[0][0]) == 1:
            return Laid(box, texts, CIRCLE, CIRCLE, CIRCLE / 2)
        return Laid(box, texts, width, header, width / 2)
    inside = [lay(inner, lines, box.path) for inner in box.inside]
    drawing = _Drawing(box, inside, around is None)
    wide = max(width, drawing.width + 2 * SIDE)
    shift = drawing.shift + SIDE + max(0.0, (width - drawing.width) / 2 - SIDE)
    for laid in inside:
        laid.x += shift
        laid.y += header
    for wire in drawing.wires:
        wire.points = [(x + shift, y + header) for x, y in wire.points]
        wire.label = wire.label and (wire.label[0] + shift, wire.label[1] + header)
    tops, bottoms = ([x + shift for x in ports] for ports in (drawing.tops, drawing.bottoms))
    return Laid(
        box, texts, wide, header + drawing.height, shift, tops, bottoms, header, inside=inside, wires=drawing.wires
    )


class _Drawing:
    """What is inside of one box."""

    def __init__(self, box: Box, inside: Sequence[Laid], is_whole: bool) -> None:
        self.box, self.is_whole = box, is_whole
        self.columns = columns = Columns(box, inside)
        self._rows()
        self.wires = [self._wire(link) for link in columns.links]
        self._label()
        for item in columns.items:
            y = item.y
            for laid in item.boxes:
                laid.x, laid.y = item.x - laid.axis, y
                y += laid.height
        self.tops, self.bottoms = ([port.x for port in ports] for ports in (columns.ports_in, columns.ports_out))
        xs = [x for wire in self.wires for x, _ in wire.points]
        xs += [x for item in columns.items for x in (item.x - item.left, item.x + item.right)]
        self.shift, self.width = -min(xs), max(xs) - min(xs)

    def _end(self, link: Link) -> float:
        """x where an edge arrives: at its input, or spread around the middle by where the edges come from."""
        target = link.target
        if not target.boxes:
            return target.x
        laid = target.boxes[0]
        if laid.tops:
            return target.x - laid.axis + laid.tops[link.edge.input]
        others = sorted({(self._came(other), other.source.layer) for other in self.columns.into[target]})
        own = self._came(link), link.source.layer
        middle = [entry for entry in others if abs(entry[0] - target.x) < 1]
        sides = [entry for entry in others if entry not in middle]
        if own in middle or len(others) == 1:
            return target.x
        same = [entry for entry in sides if (entry[0] < target.x) == (own[0] < target.x)]
        steps = len(same) - same.index(own) if own[0] < target.x else 1 + same.index(own)
        room = (laid.width / 2 - 4) / max(1, len(same))
        return target.x + (-1 if own[0] < target.x else 1) * steps * min(10.0, room)

    def _came(self, link: Link) -> float:
        return self.columns.rail(link) if link.is_long else self.columns.start(link)

    def _by_side(self, link: Link) -> bool:
        """Whether an edge reaches a sum from its side, as nothing stands between."""
        target = link.target
        if not (link.is_long and target.boxes and target.boxes[0].width == CIRCLE):
            return False
        rail, others = self.columns.rail(link), [item for item in self.columns.items if item.layer == target.layer]
        return all(item is target or not min(rail, target.x) < item.x < max(rail, target.x) for item in others)

    def _rows(self) -> None:
        """y of each layer, and of the tracks between two layers on which edges run sideways."""
        self.tracks: list[dict[tuple[str, Item, int], float]] = [{} for _ in range(self.columns.last + 1)]
        for link in self.columns.links:
            start, end = self.columns.start(link), self._end(link)
            if link.is_long:
                rail = self.columns.rail(link)
                if abs(rail - start) > 0.5:
                    self.tracks[link.source.layer].setdefault(("out", link.source, link.output), 0)
                if abs(rail - end) > 0.5 and not self._by_side(link):
                    self.tracks[link.target.layer - 1].setdefault(("in", link.source, link.output), 0)
            elif abs(start - end) > 0.5:
                self.tracks[link.source.layer].setdefault(("out", link.source, link.output), 0)
        labelled = {link.source.layer for link in self.columns.links if self._is_labelled(link.edge)}
        heights = [0.0] * (self.columns.last + 1)
        for item in self.columns.items:
            heights[item.layer] = max(heights[item.layer], item.height)
        y = 0.0
        self.tops_of: list[float] = []
        for layer in range(self.columns.last + 1):
            self.tops_of.append(y)
            for item in self.columns.items:
                if item.layer == layer:
                    item.y = y
            y += heights[layer]
            if layer < self.columns.last:
                y += GAP / 2 + (LINE - 2 if layer in labelled else 0)
                for number, key in enumerate(sorted(self.tracks[layer], key=lambda key: key[0] == "in")):
                    self.tracks[layer][key] = y + number * TRACK
                y += GAP / 2 + TRACK * max(0, len(self.tracks[layer]) - 1)
        for port in self.columns.ports_out:
            port.y = y
        self.height = y

    def _wire(self, link: Link) -> Wire:
        source, target, output = link.source, link.target, link.output
        start, end = self.columns.start(link), self._end(link)
        bottom = source.y + source.height
        points = [(start, bottom)]
        across = self.tracks[source.layer].get(("out", source, output))
        if not link.is_long:
            if abs(start - end) > 0.5 and across is not None:
                points += [(start, across), (end, across)]
            points.append((end, target.y))
            return Wire(link.edge, points)
        rail = self.columns.rail(link)
        if abs(rail - start) > 0.5 and across is not None:
            points += [(start, across), (rail, across)]
        if self._by_side(link):
            middle = target.y + CIRCLE / 2
            side = CIRCLE / 2 if rail > target.x else -CIRCLE / 2
            return Wire(link.edge, [*points, (rail, middle), (target.x + side, middle)])
        across = self.tracks[target.layer - 1].get(("in", source, output))
        if abs(rail - end) > 0.5 and across is not None:
            points += [(rail, across), (end, across)]
        return Wire(link.edge, [*points, (end, target.y)])

    def _is_labelled(self, edge: Edge) -> bool:
        """Whether the shape is another than what came in."""
        if OUTSIDE in (edge.source, edge.target) and not self.is_whole:
            return False  # it stands outside
        if edge.source == OUTSIDE:
            return True
        return edge.shape not in self.box.inside[edge.source].inputs[:1]

    def _label(self) -> None:
        """A shape stands where it changes, once for each output of a box."""
        told: set[tuple[Item, int]] = set()
        for link, wire in zip(self.columns.links, self.wires, strict=True):
            key = link.source, link.output
            if self._is_labelled(link.edge) and key not in told:
                told.add(key)
                wire.label = (wire.points[0][0] + 5, wire.points[0][1] + LINE - 4)
