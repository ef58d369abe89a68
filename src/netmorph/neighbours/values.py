"""A neighbour of a network as plain values: the steps that lead to it, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from netmorph.errors import NetmorphError
from netmorph.typed import check_fields

ITSELF = 0  # the number of the network in the middle


class NeighbourError(NetmorphError):
    """A neighbourhood cannot be drawn or trained like this, or its folder is damaged or another one's."""


@dataclass(frozen=True)
class Step:
    """One change of a network's structure.

    Attributes:
        kind: `WIDTHS` of `netmorph.neighbours.steps`, or a name of its `LAYERS`.
        layer: the module behind which a layer goes, that is copied or that goes out; empty where widths change.
        widths: the new ones, by group, where these change; before: those of before, to be told.
    """

    kind: str
    layer: str = ""
    widths: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Neighbour:
    """A network near another one, or that network itself.

    Attributes:
        number: from 1; the network itself is 0.
        kind: a name of `netmorph.neighbours.drawing.KINDS`.
        name: what differs, for people.
        steps: one after another; group names of each are those of the network that it meets.
        parameters: how many.
        flops: of one sample's forward pass.
    """

    number: int
    kind: str
    name: str
    steps: tuple[Step, ...]
    parameters: int
    flops: int

    @staticmethod
    def from_json(told: dict[str, Any]) -> Neighbour:
        """The neighbour that `dataclasses.asdict` told of.

        Raises:
            AttributeError, KeyError, TypeError: it told of none.
        """
        made = Neighbour(**(told | {"steps": tuple(Step(**step) for step in told["steps"])}))
        for part in (made, *made.steps):
            check_fields(part)
        return made
