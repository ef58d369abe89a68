"""Where boxes and edges go: layers from the top down, the longest way in the middle, all else at its sides.

Nothing of this is random, and nothing is optimized: the longest path is a straight line, other branches and the rails
of edges that pass boxes by stand beside it, shorter ones further inside. All numbers are px.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from netmorph.draw import letters
from netmorph.draw.boxes import OUTSIDE, Box, Edge

Point = tuple[float, float]
Line = tuple[str, str]  # a bold text, and one behind it
Lines = Callable[[Box, str], tuple[Line, ...]]  # what stands in a box, inside of a path
LINE = 15.0  # its height
PAD, SIDE, GAP, TRACK, RAIL = 7.0, 14.0, 16.0, 6.0, 9.0
CIRCLE = 18.0


@dataclass
class Wire:
    """An edge as a line of right angles, and where its shape stands."""

    edge: Edge
    points: list[Point]
    label: Point | None = None


@dataclass
class Laid:
    """A box in its place, from the corner of the one around it.

    Attributes:
        axis: x of the line that runs through it from the top down.
        tops, bottoms: x of each input and output.
        header: height of the text above what is inside.
    """

    box: Box
    lines: tuple[Line, ...]
    width: float
    height: float
    axis: float
    tops: list[float] = field(default_factory=list)
    bottoms: list[float] = field(default_factory=list)
    header: float = 0.0
    x: float = 0.0
    y: float = 0.0
    inside: list[Laid] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)


@dataclass(eq=False)
class _Item:
    """What has a place in a layer: boxes that stand on each other, or an end of the box around."""

    boxes: list[Laid]
    layer: int = 0
    x: float = 0.0  # of the axis
    y: float = 0.0
    port: int | None = None

    def add(self, laid: Laid) -> None:
        """Put a box below the others, and make all as wide as the widest."""
        self.boxes.append(laid)
        width = max(other.width for other in self.boxes)
        for other in self.boxes:
            other.width, other.axis = width, width / 2

    @property
    def left(self) -> float:
        return max((laid.axis for laid in self.boxes), default=0.0)

    @property
    def right(self) -> float:
        return max((laid.width - laid.axis for laid in self.boxes), default=0.0)

    @property
    def height(self) -> float:
        return sum(laid.height for laid in self.boxes)


@dataclass(frozen=True)
class _Link:
    edge: Edge
    source: _Item
    target: _Item

    @property
    def is_long(self) -> bool:
        return self.target.layer > self.source.layer + 1


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
    """What is inside of one box: the line in the middle is at x = 0."""

    def __init__(self, box: Box, inside: Sequence[Laid], is_whole: bool) -> None:
        self.box, self.is_whole = box, is_whole
        self.items = _stacked(box, inside)
        item_of = {id(laid): item for item in self.items for laid in item.boxes}
        of = [item_of[id(laid)] for laid in inside]
        self.ports_in = [_Item([], port=port) for port in range(len(box.inputs))]
        self.ports_out = [_Item([], port=port) for port in range(len(box.outputs))]
        self.links = [
            _Link(
                edge,
                self.ports_in[edge.output] if edge.source == OUTSIDE else of[edge.source],
                self.ports_out[edge.input] if edge.target == OUTSIDE else of[edge.target],
            )
            for edge in box.edges
        ]
        self.links = [link for link in self.links if link.source is not link.target]
        self.into: dict[_Item, list[_Link]] = {}
        self.out: dict[_Item, list[_Link]] = {}
        for link in self.links:
            self.into.setdefault(link.target, []).append(link)
            self.out.setdefault(link.source, []).append(link)
        self._layers()
        self.rails: dict[tuple[_Item, int], float] = {}
        self._columns()
        self._rows()
        self.wires = [self._wire(link) for link in self.links]
        self._label()
        for item in self.items:
            y = item.y
            for laid in item.boxes:
                laid.x, laid.y = item.x - laid.axis, y
                y += laid.height
        self.tops, self.bottoms = [port.x for port in self.ports_in], [port.x for port in self.ports_out]
        xs = [x for wire in self.wires for x, _ in wire.points]
        xs += [x for item in self.items for x in (item.x - item.left, item.x + item.right)]
        self.shift, self.width = -min(xs), max(xs) - min(xs)

    def _layers(self) -> None:
        """Each item below all that it reads. Items without any edge stand below each other."""
        for number, item in enumerate(self.items):
            before = [link.source.layer for link in self.into.get(item, ())]
            item.layer = 1 + (max(before, default=0) if self.links else number)
        self.last = 1 + max((item.layer for item in self.items), default=0)
        for port in self.ports_out:
            port.layer = self.last

    def _columns(self) -> None:
        """The longest way in the middle, what is beside it further out the longer it is."""
        main = self._main()
        self.left = [0.0] * (self.last + 1)
        self.right = [0.0] * (self.last + 1)
        for item in main:
            self.left[item.layer], self.right[item.layer] = item.left, item.right
        placed = set(main)
        beside: list[tuple[int, int, int, list[_Item], _Item | None, int]] = []
        for item in [*self.ports_in, *self.items, *self.ports_out]:
            if item in placed:
                continue
            chain = self._chain(item, placed)
            placed.update(chain)
            readers = [link.target.layer for link in self.out.get(chain[-1], ())]
            stop = max([chain[-1].layer + 1, *readers])
            beside.append((stop - chain[0].layer, len(beside), chain[0].layer, chain, None, 0))
        ends = {chain[-1] for *_, chain, _, _ in beside if chain}
        for item, links in self.out.items():
            for output in sorted({self._output(link) for link in links}):
                stop = max(link.target.layer for link in links if self._output(link) == output)
                if stop > item.layer + 1 and item not in ends:
                    beside.append((stop - item.layer - 1, len(beside), item.layer + 1, [], item, output))
        for length, _, start, chain, source, output in sorted(beside, key=lambda entry: entry[:2]):
            layers = range(start, min(start + length, self.last + 1))
            half_left = max([RAIL / 2, *(item.left for item in chain)])
            half_right = max([RAIL / 2, *(item.right for item in chain)])
            space = SIDE if chain and chain[0].boxes else RAIL / 2
            right = max(self.right[layer] for layer in layers) + space + half_left
            left = max(self.left[layer] for layer in layers) + space + half_right
            x = -left if chain and left < right else right
            for layer in layers:
                here = next((item for item in chain if item.layer == layer), None)
                self.left[layer] = max(self.left[layer], (here.left if here else RAIL / 2) - x)
                self.right[layer] = max(self.right[layer], (here.right if here else RAIL / 2) + x)
            for item in chain:
                item.x = x
            if source is not None:
                self.rails[source, output] = x

    def _output(self, link: _Link) -> int:
        return link.edge.output if link.source.port is None else 0

    def _main(self) -> list[_Item]:
        """The items of the longest way, from the last one back."""
        ends = [*self.ports_out[:1], *sorted(self.items, key=lambda item: -item.layer)]
        item = next((end for end in ends if end.port is None or self.into.get(end)), None)
        main: list[_Item] = []
        while item is not None:
            main.append(item)
            above = [link.source for link in self.into.get(item, ())]
            if not self.links:
                above = [other for other in self.items if other.layer == item.layer - 1]
            item = max(above, key=lambda other: (other.layer, other.left + other.right), default=None)
        return main[::-1]

    def _chain(self, item: _Item, placed: set[_Item]) -> list[_Item]:
        """An item, and those below it that are nowhere yet."""
        chain = [item]
        while True:
            below = [link.target for link in self.out.get(chain[-1], ()) if link.target not in placed]
            below = [other for other in below if other.layer == chain[-1].layer + 1]
            if not below:
                return chain
            chain.append(below[0])

    def _rail(self, link: _Link) -> float:
        return self.rails.get((link.source, self._output(link)), self._start(link))

    def _start(self, link: _Link) -> float:
        """x where an edge leaves its source."""
        if link.source.boxes and link.source.boxes[-1].bottoms:
            laid = link.source.boxes[-1]
            return link.source.x - laid.axis + laid.bottoms[link.edge.output]
        return link.source.x

    def _end(self, link: _Link) -> float:
        """x where an edge arrives: at its input, or spread around the middle by where the edges come from."""
        target = link.target
        if not target.boxes:
            return target.x
        laid = target.boxes[0]
        if laid.tops:
            return target.x - laid.axis + laid.tops[link.edge.input]
        others = sorted({(self._came(other), other.source.layer) for other in self.into[target]})
        own = self._came(link), link.source.layer
        middle = [entry for entry in others if abs(entry[0] - target.x) < 1]
        sides = [entry for entry in others if entry not in middle]
        if own in middle or len(others) == 1:
            return target.x
        same = [entry for entry in sides if (entry[0] < target.x) == (own[0] < target.x)]
        steps = len(same) - same.index(own) if own[0] < target.x else 1 + same.index(own)
        room = (laid.width / 2 - 4) / max(1, len(same))
        return target.x + (-1 if own[0] < target.x else 1) * steps * min(10.0, room)

    def _came(self, link: _Link) -> float:
        return self._rail(link) if link.is_long else self._start(link)

    def _by_side(self, link: _Link) -> bool:
        """Whether an edge reaches a sum from its side, as nothing stands between."""
        target = link.target
        if not (link.is_long and target.boxes and target.boxes[0].width == CIRCLE):
            return False
        rail, others = self._rail(link), [item for item in self.items if item.layer == target.layer]
        return all(item is target or not min(rail, target.x) < item.x < max(rail, target.x) for item in others)

    def _rows(self) -> None:
        """y of each layer, and of the tracks between two layers on which edges run sideways."""
        self.tracks: list[dict[tuple[str, _Item, int], float]] = [{} for _ in range(self.last + 1)]
        for link in self.links:
            start, end = self._start(link), self._end(link)
            if link.is_long:
                rail = self._rail(link)
                if abs(rail - start) > 0.5:
                    self.tracks[link.source.layer].setdefault(("out", link.source, self._output(link)), 0)
                if abs(rail - end) > 0.5 and not self._by_side(link):
                    self.tracks[link.target.layer - 1].setdefault(("in", link.source, self._output(link)), 0)
            elif abs(start - end) > 0.5:
                self.tracks[link.source.layer].setdefault(("out", link.source, self._output(link)), 0)
        labelled = {link.source.layer for link in self.links if self._is_labelled(link.edge)}
        heights = [0.0] * (self.last + 1)
        for item in self.items:
            heights[item.layer] = max(heights[item.layer], item.height)
        y = 0.0
        self.tops_of: list[float] = []
        for layer in range(self.last + 1):
            self.tops_of.append(y)
            for item in self.items:
                if item.layer == layer:
                    item.y = y
            y += heights[layer]
            if layer < self.last:
                y += GAP / 2 + (LINE - 2 if layer in labelled else 0)
                for number, key in enumerate(sorted(self.tracks[layer], key=lambda key: key[0] == "in")):
                    self.tracks[layer][key] = y + number * TRACK
                y += GAP / 2 + TRACK * max(0, len(self.tracks[layer]) - 1)
        for port in self.ports_out:
            port.y = y
        self.height = y

    def _wire(self, link: _Link) -> Wire:
        source, target, output = link.source, link.target, self._output(link)
        start, end = self._start(link), self._end(link)
        bottom = source.y + source.height
        points = [(start, bottom)]
        across = self.tracks[source.layer].get(("out", source, output))
        if not link.is_long:
            if abs(start - end) > 0.5 and across is not None:
                points += [(start, across), (end, across)]
            points.append((end, target.y))
            return Wire(link.edge, points)
        rail = self._rail(link)
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
        told: set[tuple[_Item, int]] = set()
        for link, wire in zip(self.links, self.wires, strict=True):
            key = link.source, self._output(link)
            if self._is_labelled(link.edge) and key not in told:
                told.add(key)
                wire.label = (wire.points[0][0] + 5, wire.points[0][1] + LINE - 4)


def _stacked(box: Box, inside: Sequence[Laid]) -> list[_Item]:
    """Boxes one for one, but that an activation or norm stands on the layer before it."""
    out: dict[int, set[int]] = {}
    into: dict[int, set[int]] = {}
    for edge in box.edges:
        out.setdefault(edge.source, set()).add(edge.target)
        into.setdefault(edge.target, set()).add(edge.source)
    items: list[_Item] = []
    for laid, (above, place) in zip(inside, pairwise(range(-1, len(inside))), strict=True):
        inner = laid.box
        follows = above >= 0 and out.get(above) == {place} and into.get(place) == {above}
        plain = not inner.inside and not inner.is_junction and inner.times == 1 and not inner.content
        light = inner.outputs == inner.inputs and (not inner.parameters or "Norm" in inner.kind)
        upper = box.inside[above] if above >= 0 else inner
        if follows and plain and light and not upper.inside and not upper.is_junction and not upper.content:
            items[-1].add(laid)
        else:
            items.append(_Item([laid]))
    return items
