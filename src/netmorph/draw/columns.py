"""Which layer each box of one box is in, and at which x: the longest way in the middle, all else at its sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from netmorph.draw.boxes import OUTSIDE, Box, Edge
from netmorph.draw.placed import RAIL, SIDE, Laid


@dataclass(eq=False)
class Item:
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

    def goes_straight(self, output: int) -> bool:
        """Whether an output leaves on the axis."""
        bottoms = self.boxes[-1].bottoms if self.boxes else []
        return not bottoms or abs(bottoms[output] - self.boxes[-1].axis) < 0.5

    @property
    def left(self) -> float:
        """How far it reaches to the left of its axis."""
        return max((laid.axis for laid in self.boxes), default=0.0)

    @property
    def right(self) -> float:
        """How far it reaches to the right of its axis."""
        return max((laid.width - laid.axis for laid in self.boxes), default=0.0)

    @property
    def height(self) -> float:
        """Of all its boxes."""
        return sum(laid.height for laid in self.boxes)


@dataclass(frozen=True)
class Link:
    """An edge between two items."""

    edge: Edge
    source: Item
    target: Item

    @property
    def output(self) -> int:
        """Which output of the source it is; an end of the box around has one."""
        return self.edge.output if self.source.port is None else 0

    @property
    def is_long(self) -> bool:
        """Whether there are layers between."""
        return self.target.layer > self.source.layer + 1


@dataclass(frozen=True)
class _Lane:
    """What stands beside the middle over some layers: a branch, or the rail of an edge that passes boxes by.

    Attributes:
        items: of the branch; none of a rail.
        source, output: where a rail comes from.
    """

    layers: range
    items: Sequence[Item] = ()
    source: Item | None = None
    output: int = 0

    def left(self, layer: int) -> float:
        """How far it reaches to the left in a layer."""
        return next((item.left for item in self.items if item.layer == layer), RAIL / 2)

    def right(self, layer: int) -> float:
        """How far it reaches to the right in a layer."""
        return next((item.right for item in self.items if item.layer == layer), RAIL / 2)


class Columns:
    """Items with their layers and x; the line in the middle is at x = 0.

    Attributes:
        ports_in, ports_out: the ends of the box around.
        links: the edges, by the items that they join.
        into: the links to each item.
        last: the layer of what goes out.
    """

    def __init__(self, box: Box, inside: Sequence[Laid]) -> None:
        self.items = _stacked(box, inside)
        item_of = {id(laid): item for item in self.items for laid in item.boxes}
        of = [item_of[id(laid)] for laid in inside]
        self.ports_in = [Item([], port=port) for port in range(len(box.inputs))]
        self.ports_out = [Item([], port=port) for port in range(len(box.outputs))]
        links = [
            Link(
                edge,
                self.ports_in[edge.output] if edge.source == OUTSIDE else of[edge.source],
                self.ports_out[edge.input] if edge.target == OUTSIDE else of[edge.target],
            )
            for edge in box.edges
        ]
        self.links = [link for link in links if link.source is not link.target]
        self.into: dict[Item, list[Link]] = {}
        self._out: dict[Item, list[Link]] = {}
        for link in self.links:
            self.into.setdefault(link.target, []).append(link)
            self._out.setdefault(link.source, []).append(link)
        self._layers()
        main = self._main()
        self._rails = self._beside(main, self._lanes({*main}))

    def rail(self, link: Link) -> float:
        """x at which an edge passes by the boxes between its ends."""
        return self._rails.get((link.source, link.output), self.start(link))

    def start(self, link: Link) -> float:
        """x where an edge leaves its source."""
        source = link.source
        if source.boxes and source.boxes[-1].bottoms:
            return source.x - source.boxes[-1].axis + source.boxes[-1].bottoms[link.edge.output]
        return source.x

    def _layers(self) -> None:
        """Each item below all that it reads. Items without any edge stand below each other."""
        for number, item in enumerate(self.items):
            before = [link.source.layer for link in self.into.get(item, ())]
            item.layer = 1 + (max(before, default=0) if self.links else number)
        self.last = 1 + max((item.layer for item in self.items), default=0)
        for port in self.ports_out:
            port.layer = self.last

    def _main(self) -> list[Item]:
        """The items of the longest way, from the last one back."""
        ends = [*self.ports_out[:1], *sorted(self.items, key=lambda item: -item.layer)]
        item = next((end for end in ends if end.port is None or self.into.get(end)), None)
        main: list[Item] = []
        while item is not None:
            main.append(item)
            above = [link.source for link in self.into.get(item, ())]
            if not self.links:
                above = [other for other in self.items if other.layer == item.layer - 1]
            item = max(above, key=lambda other: (other.layer, other.left + other.right), default=None)
        return main[::-1]

    def _chain(self, item: Item, placed: set[Item]) -> list[Item]:
        """An item, and those below it that are nowhere yet."""
        chain = [item]
        while True:
            below = [link.target for link in self._out.get(chain[-1], ()) if link.target not in placed]
            below = [other for other in below if other.layer == chain[-1].layer + 1]
            if not below:
                return chain
            chain.append(below[0])

    def _lanes(self, placed: set[Item]) -> list[_Lane]:
        """What is not in the middle: branches, each with the rest of its way down, and rails."""
        lanes: list[_Lane] = []
        for item in [*self.ports_in, *self.items, *self.ports_out]:
            if item not in placed:
                chain = self._chain(item, placed)
                placed.update(chain)
                readers = (link.target.layer for link in self._out.get(chain[-1], ()))
                lanes.append(_Lane(range(item.layer, max([chain[-1].layer + 1, *readers])), chain))
        ends = {lane.items[-1] for lane in lanes}
        for item, links in self._out.items():
            for output in sorted({link.output for link in links}):
                stop = max(link.target.layer for link in links if link.output == output)
                if stop > item.layer + 1 and not (item in ends and item.goes_straight(output)):
                    lanes.append(_Lane(range(item.layer + 1, stop), (), item, output))
        return lanes

    def _beside(self, main: Iterable[Item], lanes: Iterable[_Lane]) -> dict[tuple[Item, int], float]:
        """Place lanes as near to the middle as there is room, short ones first; x of each rail.

        Branches stand where less is already, rails at the right.
        """
        left, right = [0.0] * (self.last + 1), [0.0] * (self.last + 1)
        for item in main:
            left[item.layer], right[item.layer] = item.left, item.right
        rails: dict[tuple[Item, int], float] = {}
        for lane in sorted(lanes, key=lambda lane: len(lane.layers)):
            space = SIDE if any(item.boxes for item in lane.items) else RAIL / 2
            to_right = max(right[layer] for layer in lane.layers) + space + max(map(lane.left, lane.layers))
            to_left = max(left[layer] for layer in lane.layers) + space + max(map(lane.right, lane.layers))
            x = -to_left if lane.items and to_left < to_right else to_right
            for layer in lane.layers:
                left[layer] = max(left[layer], lane.left(layer) - x)
                right[layer] = max(right[layer], lane.right(layer) + x)
            for item in lane.items:
                item.x = x
            if lane.source is not None:
                rails[lane.source, lane.output] = x
        return rails


def _stacked(box: Box, inside: Sequence[Laid]) -> list[Item]:
    """Boxes one for one, but that an activation or norm stands on the layer before it."""
    out: dict[int, set[int]] = {}
    into: dict[int, set[int]] = {}
    for edge in box.edges:
        out.setdefault(edge.source, set()).add(edge.target)
        into.setdefault(edge.target, set()).add(edge.source)
    items: list[Item] = []
    for laid, (above, place) in zip(inside, pairwise(range(-1, len(inside))), strict=True):
        inner = laid.box
        follows = above >= 0 and out.get(above) == {place} and into.get(place) == {above}
        plain = not inner.inside and not inner.is_junction and inner.times == 1 and not inner.content
        light = inner.outputs == inner.inputs and (not inner.parameters or "Norm" in inner.kind)
        upper = box.inside[above] if above >= 0 else inner
        if follows and plain and light and not upper.inside and not upper.is_junction and not upper.content:
            items[-1].add(laid)
        else:
            items.append(Item([laid]))
    return items
