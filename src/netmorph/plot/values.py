"""What was recorded of a run, as values: curves of one number each, over epochs, steps, FLOPs or seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from netmorph.errors import NetmorphError, suggest
from netmorph.wording import listed

# What a curve can be drawn over, and how that is called below a picture.
AXES = {
    "epoch": "epoch",
    "step": "step",
    "flops": "training FLOPs",
    "seconds": "seconds",
    "round": "round",
    "networks": "networks trained",
    "parameters": "parameters",
    "sample_flops": "FLOPs of a sample",
    "chains": "distinct chains",
}


def axis_title(axis: str) -> str:
    """How an axis is called; one of the user's own by its name."""
    return AXES.get(axis, axis)


class PlotError(NetmorphError):
    """There is nothing to draw, or not what was asked for."""


@dataclass(frozen=True)
class Mark:
    """Something that happened to the network: it grew, was edited, or a round ended.

    Attributes:
        at: its place among the points of a curve: 0 is the first point, 1.5 lies halfway between the second and third.
        label: what happened, in a few words.
    """

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """One number of a run.

    Attributes:
        axes: by name (see `AXES`) where each point lies; the first is taken where none is asked for.
        values: the number at each point; NaN where it is none.
        marks: what happened meanwhile, in order.
        holds: a value holds until the next point, as that of the best network so far does.
    """

    axes: Mapping[str, Sequence[float]]
    values: Sequence[float]
    marks: tuple[Mark, ...] = ()
    holds: bool = False

    def over(self, axis: str) -> Sequence[float]:
        """Where the points lie.

        Raises:
            PlotError: it is not known.
        """
        if axis not in self.axes:
            raise PlotError(
                f"a curve cannot be drawn over {axis!r}{suggest(axis, self.axes)}; it is known over "
                f"{', '.join(self.axes)}"
            )
        return self.axes[axis]

    def place(self, mark: Mark, axis: str) -> float:
        """Where a mark lies on an axis."""
        x = self.over(axis)
        return float(np.interp(mark.at, range(len(x)), x))


@dataclass(frozen=True)
class Run:
    """One run, or one of the searches that a run compares.

    Attributes:
        name: its path, as it was given or found.
        settings: what it was asked to do, as text by name; but for its seed, and what changes nothing but rounding.
        seed: of it; None if that is not known.
        curves: by tag, such as "loss/validation".
        label: what the user calls it.
    """

    name: str
    settings: Mapping[str, str]
    seed: int | None
    curves: Mapping[str, Curve] = field(repr=False)
    label: str | None = None


def tags_of(runs: Iterable[Run]) -> list[str]:
    """All tags, in the order in which they first come."""
    return list(dict.fromkeys(tag for run in runs for tag in run.curves))


def unknown(what: str, given: str, known: Sequence[str]) -> PlotError:
    """The error for a name that is none of the known ones."""
    return PlotError(f"there is no {what} {given!r}{suggest(given, known)}; known are {listed(known, limit=20)}")
