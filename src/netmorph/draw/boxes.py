"""What a picture shows of a network, as plain values: boxes inside boxes, and what flows between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Shape = tuple[int, ...]
OUTSIDE = -1  # the end of an edge that is at the edge of the box around it
SPAN = " … "  # from one path to another


class Change(StrEnum):
    """What became of a box, or of an edge, from one network to another."""

    SAME = "same"
    WIDER = "wider"
    NARROWER = "narrower"
    OTHER = "changed"
    NEW = "new"
    GONE = "gone"


@dataclass(frozen=True)
class Edge:
    """A tensor that flows from one box to another, both inside of a third.

    Attributes:
        source: the box that gives it, by its place in `Box.inside`; OUTSIDE for what comes into the box around.
        target: the box that takes it; OUTSIDE for what the box around gives.
        shape: as it is taken, without the batch.
        groups: the names of the channel groups along it.
        output: which output of the source it is; from OUTSIDE, which input of the box around.
        input: which input of the target it is; to OUTSIDE, which output of the box around.
        change: in a difference of two networks, NEW, GONE or SAME.
    """

    source: int
    target: int
    shape: Shape
    groups: tuple[str, ...] = ()
    output: int = 0
    input: int = 0
    change: Change | None = None

    @property
    def ends(self) -> tuple[int, int, int, int]:
        """All four numbers: what tells it from the others inside of the same box."""
        return self.source, self.output, self.target, self.input


@dataclass(frozen=True)
class Channels:
    """What is told of a channel group.

    Attributes:
        size: how many channels it has.
        may: whether it may change: exactly, or at a loss, or not.
        is_frozen: whether it may not.
        because: why it may not do more.
    """

    size: int
    may: str
    is_frozen: bool = False
    because: str = ""

    def __str__(self) -> str:
        """In a line."""
        return f"{self.size} channels, {self.may}{f': {self.because}' if self.because else ''}"


@dataclass(frozen=True)
class Box:
    """A module that was called, or an operator between modules.

    Attributes:
        path: of the module; of an operator, of the module around it or of the one whose weight it uses.
        kind: the class of the module, or what the operator does.
        detail: what else tells layers of one kind apart: kernel, stride, groups.
        inputs, outputs: shapes of what comes in from different boxes, and of what goes out, without the batch.
        parameters: scalars in the parameters that it uses; one that is used twice counts once.
        flops: for one sample, as `netmorph.measure.flops` counts them.
        groups: names of the channel groups that it writes.
        inside: the boxes in it, in the order in which they ran.
        edges: between those.
        paths: of equal boxes one after the other, drawn as one: all their paths; of several that come in turn, the
            first and the last of each turn with SPAN between.
        together: how those stand to each other, where it is not just one after the other.
        content: where `inside` is left out of a picture, what is there.
        change: in a difference of two networks, what became of it.
        was: in a difference, the box in the first network that this one is in the second.
    """

    path: str
    kind: str
    detail: str = ""
    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape, ...] = ()
    parameters: int = 0
    flops: int = 0
    groups: tuple[str, ...] = ()
    inside: tuple[Box, ...] = field(default=(), repr=False)
    edges: tuple[Edge, ...] = field(default=(), repr=False)
    paths: tuple[str, ...] = ()
    together: str = ""
    content: str = ""
    change: Change | None = None
    was: Box | None = field(default=None, repr=False)

    @property
    def times(self) -> int:
        """How many equal boxes it stands for."""
        return max(1, len(self.paths))

    @property
    def is_junction(self) -> bool:
        """Whether it only brings tensors together: a sum, a product, a concatenation."""
        return self.kind in JUNCTIONS and not self.parameters

    def walk(self) -> Iterator[Box]:
        """The box and all that are in it, in order."""
        yield self
        for box in self.inside:
            yield from box.walk()

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is empty is left out, and `was` tells numbers only."""
        told: dict[str, Any] = {"path": self.path, "kind": self.kind, "detail": self.detail}
        told |= {"inputs": self.inputs, "outputs": self.outputs, "parameters": self.parameters, "flops": self.flops}
        told |= {"groups": self.groups, "paths": self.paths, "together": self.together}
        told |= {"content": self.content, "change": self.change}
        told["was"] = self.was and {
            name: getattr(self.was, name) for name in ("path", "detail", "inputs", "outputs", "parameters", "flops")
        }
        told["inside"] = [box.as_json() for box in self.inside]
        told["edges"] = [
            {
                "from": _end(edge.source, edge.output),
                "to": _end(edge.target, edge.input),
                "shape": edge.shape,
                "groups": edge.groups,
                **({"change": edge.change} if edge.change else {}),
            }
            for edge in self.edges
        ]
        kept = ("path", "kind", "parameters", "flops")
        return {name: value for name, value in told.items() if value or name in kept}


def _end(box: int, port: int) -> dict[str, Any]:
    return {"box": "outside" if box == OUTSIDE else box, "port": port}


# What brings tensors together, and the sign that stands for it.
RESIDUAL, SUM, PRODUCT, CONCATENATION = "residual sum", "sum", "product", "concatenation"
JUNCTIONS = {RESIDUAL: "+", SUM: "+", PRODUCT: "×", CONCATENATION: "concat"}
