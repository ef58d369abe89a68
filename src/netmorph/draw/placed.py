"""Boxes and edges with their places, as plain values. All numbers are px."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from netmorph.draw.boxes import Box, Edge

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
