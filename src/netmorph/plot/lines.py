"""Curves of several runs -> one line: their mean, and a band around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netmorph.errors import require
from netmorph.plot.values import Curve, PlotError

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """What lies around a mean.

    Attributes:
        ends: values of shape [runs, points] -> the lower and upper end at each point.
        words: what the caption says of it.
    """

    ends: Callable[[Numbers], tuple[Numbers, Numbers]]
    words: str


def interval(values: Numbers) -> tuple[Numbers, Numbers]:
    """The 95% interval of the mean by Student's t, point by point.

    Raises:
        MissingExtra: SciPy is not installed.
    """
    count = len(values)
    quantile = float(require("scipy.special", extra="plot").stdtrit(count - 1, 0.975))
    mean: Numbers = values.mean(axis=0)
    half: Numbers = quantile * values.std(axis=0, ddof=1) / math.sqrt(count)
    return mean - half, mean + half


def extent(values: Numbers) -> tuple[Numbers, Numbers]:
    """The lowest and the highest value."""
    return values.min(axis=0), values.max(axis=0)


BANDS = {
    "interval": Band(interval, "95% interval of the mean (Student's t, point by point)"),
    "range": Band(extent, "lowest to highest run"),
}


@dataclass(frozen=True, eq=False)
class Line:
    """What is drawn of one group of runs.

    Attributes:
        label: what the legend says.
        x, y: of its points; y is the mean over the runs, NaN where one of them has no number.
        low, high: the ends of the band; None of a single run, or if none was asked for.
        rough: what was smoothed; None if nothing was, or the line is a mean.
        runs: how many.
        longest: where the longest run ends; the line ends where the shortest does.
        marks: where something happened, and what.
        holds: a value holds until the next point.
    """

    label: str
    x: Numbers
    y: Numbers
    low: Numbers | None
    high: Numbers | None
    rough: Numbers | None
    runs: int
    longest: float
    marks: tuple[tuple[float, str], ...]
    holds: bool


def line_of(label: str, curves: Sequence[Curve], axis: str, band: Band | None = None, smooth: float = 0.0) -> Line:
    """The mean of curves, where all of them are known.

    Points of different places are joined by straight lines (or hold until the next), so that the mean is known at each.

    Args:
        axis: see `netmorph.plot.values.AXES`.
        smooth: see `smoothed`; each run for itself, before the mean.

    Raises:
        PlotError: a curve is not known over the axis, has no finite number, or no place is common to all.
    """
    ends = [max(curve.over(axis)) for curve in curves]
    own = [_sorted(curve, axis) if len(curves) > 1 else _as_recorded(curve, axis) for curve in curves]
    x = _common([x for x, _ in own], label)
    smoothly = [smoothed(y, smooth) if smooth else y for _, y in own]
    holds = all(curve.holds for curve in curves)
    values = np.stack([_at(x, places, y, holds) for (places, _), y in zip(own, smoothly, strict=True)])
    if not np.isfinite(values).any():
        raise PlotError(f"{label} has no finite number to draw")
    low, high = band.ends(values) if band is not None and len(curves) > 1 else (None, None)
    rough = own[0][1] if smooth and len(curves) == 1 else None
    return Line(label, x, values.mean(axis=0), low, high, rough, len(curves), max(ends), _marks(curves, axis), holds)


def smoothed(values: Numbers, weight: float) -> Numbers:
    """An exponential moving average without a bias toward zero at its start, as TensorBoard draws it.

    Args:
        weight: of what came before, from 0 to less than 1. What is not finite stays, and counts nothing.
    """
    found, sum_, total = values.copy(), 0.0, 0.0
    for place, value in enumerate(values):
        if math.isfinite(value):
            sum_, total = weight * sum_ + (1 - weight) * value, weight * total + (1 - weight)
            found[place] = sum_ / total
    return found


def _as_recorded(curve: Curve, axis: str) -> tuple[Numbers, Numbers]:
    return np.asarray(curve.over(axis), dtype=np.float64), np.asarray(curve.values, dtype=np.float64)


def _sorted(curve: Curve, axis: str) -> tuple[Numbers, Numbers]:
    """From left to right; of points at one place the last one."""
    x, y = _as_recorded(curve, axis)
    last = {place: number for number, place in enumerate(x.tolist())}
    chosen = [last[place] for place in sorted(last)]
    return x[chosen], y[chosen]


def _common(places: Sequence[Numbers], label: str) -> Numbers:
    """All places where all runs are known."""
    if len(places) == 1:
        return places[0]
    first, last = max(x[0] for x in places), min(x[-1] for x in places)
    if first > last:
        raise PlotError(f"the runs of {label} have no place in common, so they have no mean; draw them one by one")
    x: Numbers = np.unique(np.concatenate(places))
    inside: Numbers = x[(first <= x) & (x <= last)]
    return inside


def _at(x: Numbers, places: Numbers, values: Numbers, holds: bool) -> Numbers:
    if len(x) == len(places) and (x == places).all():
        return values
    found: Numbers = values[np.searchsorted(places, x, side="right") - 1] if holds else np.interp(x, places, values)
    return found


def _marks(curves: Sequence[Curve], axis: str) -> tuple[tuple[float, str], ...]:
    """Those that all runs have, at the mean of their places; what each run has of its own says little of a mean."""
    told = [[mark.label for mark in curve.marks] for curve in curves]
    if any(labels != told[0] for labels in told):
        return ()
    places = np.mean([[curve.place(mark, axis) for mark in curve.marks] for curve in curves], axis=0)
    return tuple(zip(map(float, places), told[0], strict=True))
