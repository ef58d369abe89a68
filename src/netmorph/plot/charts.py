"""Runs -> a chart: panels of lines, with a caption, its data as a table, and files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from netmorph.files import write_text
from netmorph.plot.grouping import Grouping, by_seed, grouped, seeds_of
from netmorph.plot.lines import BANDS, Band, Line, line_of
from netmorph.plot.looks import COLUMN, Size
from netmorph.plot.values import PlotError, Run, axis_title, tags_of, unknown
from netmorph.wording import listed

MOST_PANELS = 4  # that are drawn where no tag is asked for
# What the second part of a tag says of the first.
PARTS = {
    "train": "training {}",
    "validation": "validation {}",
    "test": "test {}",
    "best": "best {}",
    "round": "{}",
    "weights": "{} of weights",
    "features": "{} of features",
}
UNASKED = ("learning_rate", "seconds")  # tags that are drawn only if they are


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes.

    Attributes:
        title: what its numbers are.
        axis: what they are drawn over, see `netmorph.plot.values.AXES`.
        lines: what is drawn.
    """

    title: str
    axis: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, eq=False)
class Chart:
    """All that a picture shows.

    Attributes:
        panels: from left to right, then down.
        subjects: what is compared.
        band: around means; None where there are none.
        smooth: the weight of the moving average; 0 shows what was recorded.
        log_x, log_y: whether axes are logarithmic.
        span: the lowest and the highest number that are shown; None shows all.
        notes: what a reader of the picture has to know, beside its caption.
    """

    panels: tuple[Panel, ...]
    subjects: tuple[str, ...]
    band: Band | None = None
    smooth: float = 0.0
    log_x: bool = False
    log_y: bool = False
    span: tuple[float, float] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def lines(self) -> list[Line]:
        """Of all panels."""
        return [line for panel in self.panels for line in panel.lines]

    def title(self) -> str:
        """What the picture shows, in one line."""
        titles = listed([panel.title for panel in self.panels], limit=3)
        return f"{titles} by {axis_title(self.panels[0].axis)}: {listed(self.subjects)}"

    def caption(self) -> str:
        """What has to stand below the picture: means, bands, smoothing, marks."""
        counts = sorted({line.runs for line in self.lines})
        told = [self.title() + "."]
        if counts[-1] > 1:
            number = f"{counts[-1]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            band = f"; bands: {self.band.words}" if self.band is not None else ""
            told.append(f"Lines: mean of {number} runs{band}.")
        if self.smooth:
            told.append(f"Smoothed by an exponential moving average of weight {self.smooth:g}.")
        if any(line.marks for line in self.lines):
            told.append("Ticks on a line: the network was changed there.")
        return " ".join(told)

    def text(self) -> str:
        """The picture in words, for readers who cannot see it: the caption, and of each line its ends and extremes."""
        told = [self.caption()]
        told += [
            f"{panel.title}, {_in_words(line, axis_title(panel.axis))}."
            for panel in self.panels
            for line in panel.lines
        ]
        return "\n".join((*told, *self.notes))

    def csv(self) -> str:
        """What is drawn, a row for each point: panel, line, axis, x, y, low, high, runs; empty where there is none."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("panel", "line", "axis", "x", "y", "low", "high", "runs"))
        for panel in self.panels:
            for line in panel.lines:
                nothing = np.full_like(line.y, np.nan)
                low, high = (nothing if end is None else end for end in (line.low, line.high))
                for x, *values in zip(line.x, line.y, low, high, strict=True):
                    numbers = (float(value) if math.isfinite(value) else "" for value in values)
                    writer.writerow((panel.title, line.label, panel.axis, float(x), *numbers, line.runs))
        return text.getvalue()

    def save(self, path: str | Path, size: Size = COLUMN) -> list[Path]:
        """Write the picture, and its data as CSV beside it.

        Args:
            path: *.svg, *.pdf or *.png.
            size: of the picture and its letters.

        Returns:
            Both files.

        Raises:
            PlotError: another kind of file.
            MissingExtra: matplotlib is not installed.
            SaveError: a file could not be written.
        """
        from netmorph.plot.drawing import draw

        path = Path(path)
        draw(self, path, size)
        data = path.with_suffix(".csv")
        write_text(data, self.csv())
        return [path, data]


def chart(
    runs: Sequence[Run],
    tags: Sequence[str] = (),
    *,
    axis: str | None = None,
    grouping: Grouping = by_seed,
    band: Band | None = BANDS["interval"],
    smooth: float = 0.0,
    log_x: bool = False,
    log_y: bool = False,
    span: tuple[float, float] | None = None,
) -> Chart:
    """Compare runs by their numbers.

    Args:
        runs: see `netmorph.plot.read`.
        tags: one for each panel; several, as in "loss/train,loss/validation", or a pattern, as "loss/*", are drawn
            into the same one. If none is given: losses and what else tells how good the networks are.
        axis: see `netmorph.plot.values.AXES`; the first that all these curves have if not given.
        grouping: runs for which it gives the same are one line, their mean.
        band: around means.
        smooth: see `netmorph.plot.lines.smoothed`.
        log_x: see `Chart`.
        log_y: see `Chart`.
        span: see `Chart`.

    Raises:
        PlotError: no run has such a tag, a curve is not known over the axis, a line has no finite number, or the span
            is none.
    """
    if not 0 <= smooth < 1:
        raise PlotError(f"smooth is a weight of at least 0 and less than 1; got {smooth:g}")
    if span is not None:
        _check_span(span, log_y)
    groups = grouped(runs, grouping)
    known = tags_of(runs)
    wanted = [_matching(given, known) for given in tags] or _unasked(known, len(groups))
    axis = axis or _axis(runs, [tag for panel in wanted for tag in panel])
    panels = tuple(_panel(panel, groups, axis, band, smooth) for panel in wanted)
    if all(line.runs == 1 for panel in panels for line in panel.lines):
        band = None
    made = Chart(panels, tuple(groups), band, smooth, log_x, log_y, span, _notes(groups, panels, wanted))
    _check_logarithms(made)
    return made


def _matching(given: str, known: Sequence[str]) -> list[str]:
    """The tags of a panel."""
    if given in known:
        return [given]
    found: list[str] = []
    for part in given.split(","):
        matching = [tag for tag in known if fnmatchcase(tag, part.strip())]
        if not matching:
            raise unknown("tag", part.strip(), known)
        found += matching
    return list(dict.fromkeys(found))


def _unasked(known: Sequence[str], groups: int) -> list[list[str]]:
    """Of one group all parts of a quantity in one panel; of several a panel each, of what was not trained on.

    Tags that end in no part, such as "val/loss", are quantities of their own.
    """
    shown = [tag for tag in known if tag not in UNASKED] or list(known)
    quantities: dict[str, list[str]] = {}
    for tag in shown:
        quantity, _, part = tag.rpartition("/")
        quantities.setdefault(quantity if part in PARTS and quantity else tag, []).append(tag)
    panels = []
    for tags in quantities.values():
        if groups == 1 and len(tags) <= 2:
            panels.append(tags)
        else:
            judged = [tag for tag in tags if tag.endswith(("/validation", "/best", "/round"))]
            panels += [[tag] for tag in judged or tags]
    return panels[:MOST_PANELS]


def _axis(runs: Sequence[Run], tags: Sequence[str]) -> str:
    curves = [run.curves[tag] for run in runs for tag in tags if tag in run.curves]
    for axis in curves[0].axes:
        if all(axis in curve.axes for curve in curves):
            return axis
    known = "; ".join(sorted({", ".join(curve.axes) for curve in curves}))
    raise PlotError(f"these runs have no axis in common: they are known over {known}. Draw them one by one")


def _panel(
    tags: Sequence[str], groups: Mapping[str, Sequence[Run]], axis: str, band: Band | None, smooth: float
) -> Panel:
    lines = []
    parts = [tag.rpartition("/")[2] for tag in tags]
    told = parts if len(set(parts)) == len(parts) else tags
    for label, runs in groups.items():
        for tag, part in zip(tags, told, strict=True):
            curves = [run.curves[tag] for run in runs if tag in run.curves]
            own = part if len(groups) == 1 else label if len(tags) == 1 else f"{label}, {part}"
            if curves:
                lines.append(line_of(own, curves, axis, band, smooth))
    return Panel(_title(tags), axis, tuple(lines))


def _title(tags: Sequence[str]) -> str:
    """ "loss/validation" -> "validation loss"; of several what they have in common."""
    quantity, _, part = tags[0].rpartition("/")
    if len(tags) > 1:
        same = len({tag.rpartition("/")[0] for tag in tags}) == 1
        return (quantity if same and quantity else ", ".join(tags)).replace("_", " ")
    words = PARTS[part].format(quantity) if part in PARTS and quantity else tags[0]
    return words.replace("_", " ")


def _notes(
    groups: Mapping[str, Sequence[Run]], panels: Sequence[Panel], wanted: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    told = []
    for label, runs in groups.items():
        for tag in (tag for tags in wanted for tag in tags):
            lacking = [run.name for run in runs if tag not in run.curves]
            if lacking:
                told.append(f"{label}: {listed(lacking)} has no {tag}")
        seeds = seeds_of({label: runs})[label]
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            told.append(
                f"{label}: seed {', '.join(map(str, twice))} is there more than once, so these runs are not independent"
            )
    for panel in panels:
        for line in panel.lines:
            if line.runs > 1 and line.longest > line.x[-1]:
                end = f"{axis_title(panel.axis)} {line.x[-1]:.6g}, with the shortest run"
                told.append(f"{line.label}: the mean ends at {end}; the longest goes to {line.longest:.6g}")
            if gone := int((~np.isfinite(line.y)).sum()):
                told.append(f"{line.label}: {gone} of {len(line.y)} points of {panel.title} are no finite numbers")
    return tuple(dict.fromkeys(told))


def _in_words(line: Line, axis: str) -> str:
    known = np.isfinite(line.y)
    x, y = line.x[known], line.y[known]
    marks = [f"{at:.4g} ({label})" for at, label in line.marks]
    changed = f", changed at {listed(marks)}" if marks else ""
    ends = f"{y[0]:.4g} at {axis} {x[0]:.4g}, {y[-1]:.4g} at {x[-1]:.4g}"
    return f"{line.label}: {ends}; lowest {y.min():.4g}, highest {y.max():.4g}{changed}"


def _check_span(span: tuple[float, float], log_y: bool) -> None:
    low, high = span
    if not -math.inf < low < high < math.inf:
        raise PlotError(f"the span goes from a lower to a higher number; got {low:g} to {high:g}")
    if log_y and low <= 0:
        raise PlotError(f"a logarithmic axis begins above 0; got a span from {low:g}")


def _check_logarithms(made: Chart) -> None:
    for panel in made.panels:
        for line in panel.lines:
            for asked, values, what in (
                (made.log_x, line.x, axis_title(panel.axis)),
                (made.log_y, line.y, panel.title),
            ):
                if asked and not (values[np.isfinite(values)] > 0).any():
                    raise PlotError(f"{line.label} has no {what} above 0, which a logarithmic axis could show")


def described(runs: Sequence[Run], grouping: Grouping = by_seed) -> list[dict[str, Any]]:
    """What could be drawn: of each group its runs, their seeds, and of each tag the points and axes."""
    groups = grouped(runs, grouping)
    seeds = seeds_of(groups)
    return [
        {
            "line": label,
            "runs": [run.name for run in own],
            "seeds": seeds[label],
            "tags": {
                tag: {
                    "points": [len(run.curves[tag].values) for run in own if tag in run.curves],
                    "axes": list(next(run.curves[tag].axes for run in own if tag in run.curves)),
                }
                for tag in tags_of(own)
            },
        }
        for label, own in groups.items()
    ]
