"""Figures of one training: learning curves, confusions, the range test. As in `plots`, plain values in, artists out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from netmorph.errors import require
from netmorph.report.arms import ACCENT, ORANGE
from netmorph.report.figures import GREY, INK, legend_above, number_axis
from netmorph.report.numbers import percent, power_of_ten
from netmorph.report.summary import errors_of
from netmorph.run.rows import EpochRecord
from netmorph.tasks import LOSS, Criterion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netmorph.train.lr_finder import RangeTest

# More classes than these cannot be read in one matrix; then it shows those that are confused most.
MATRIX_CLASSES = 25
BARS = 15
LONGEST_NAME = 20


def learning(
    figure: Figure, epochs: Sequence[EpochRecord], criterion: Criterion, growths: Sequence[float] = ()
) -> Mapping[str, str]:
    """The loss, the number that chooses if it is another, and the learning rate, epoch by epoch.

    Args:
        growths: when the network grew, in epochs.
    """
    shown = list(dict.fromkeys((LOSS, criterion.name)))
    *told, rate = figure.subplots(1, len(shown) + 1, width_ratios=(*(2 for _ in shown), 1.2))
    chosen = told[-1]
    best = max(epochs, key=lambda epoch: (epoch.score, -epoch.validation[LOSS]))
    for axes, what in zip(told, shown, strict=True):
        for part, colour in (("train", ORANGE), ("validation", ACCENT)):
            values = [getattr(epoch, part)[what] for epoch in epochs]
            _line(axes, epochs, values, color=colour, label=part)
        axes.plot(best.epoch, best.validation[what], "o", mfc="none", mec=ACCENT, mew=2, ms=11)
        legend_above(axes)
        axes.set_ylabel(what)
    values = [part[criterion.name] for epoch in epochs for part in (epoch.train, epoch.validation)]
    number_axis(chosen, [value for value in values if math.isfinite(value)], criterion, criterion.name)
    chosen.annotate(
        f"best: {criterion.text(best.validation[criterion.name])}, epoch {best.epoch}",
        (0.98, 0.03 if criterion.higher_is_better else 0.92),
        xycoords="axes fraction",
        ha="right",
        weight="bold",
    )
    _line(rate, epochs, [epoch.learning_rate for epoch in epochs], color=GREY)
    rate.set_ylabel("learning rate, last step")
    rate.set_ylim(bottom=0)
    ticker = require("matplotlib.ticker", extra="report")
    for axes in (*told, rate):
        _mark(axes, growths)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    return {}


def spending(
    figure: Figure, epochs: Sequence[EpochRecord], criterion: Criterion, growths: Sequence[float], flops: Sequence[int]
) -> Mapping[str, str]:
    """The number that chooses by what it had cost: training FLOPs, and seconds.

    Args:
        growths: when the network grew, in epochs.
        flops: of each epoch.
    """
    values = [epoch.validation[criterion.name] for epoch in epochs]
    costs = {"training FLOPs": flops, "seconds": [epoch.seconds for epoch in epochs]}
    for axes, (what, of_each) in zip(figure.subplots(1, 2), costs.items(), strict=True):
        spent = np.cumsum([0.0, *of_each])
        axes.plot(spent[1:], values, marker="o" if len(epochs) <= 30 else "", ms=3.5, lw=2, color=ACCENT)
        _mark(axes, np.interp(growths, range(len(spent)), spent))
        number_axis(axes, [value for value in values if math.isfinite(value)], criterion, criterion.name)
        axes.set_xlabel(what)
        axes.set_xlim(left=0)
    return {}


def confusion_height(report: Mapping[str, Any]) -> float:
    """Height in px that the figure of the confusions needs."""
    return max(380, 150 + 20 * len(shown_classes(report)))


def shown_classes(report: Mapping[str, Any]) -> list[int]:
    """The classes in the matrix: all, or of many those in the most frequent confusions, ascending."""
    if len(report["classes"]) <= MATRIX_CLASSES:
        return list(range(len(report["classes"])))
    chosen: dict[int, None] = {}
    for true, predicted, _ in errors_of(report):
        if len(chosen.keys() | {true, predicted}) <= MATRIX_CLASSES:
            chosen |= {true: None, predicted: None}
    return sorted(chosen)


def confusion(figure: Figure, report: Mapping[str, Any]) -> Mapping[str, str]:
    """The confusion matrix, and beside it the most frequent errors as shares of their true class.

    Args:
        report: see `netmorph.measure.classification_report`.
    """
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    names = [_short(entry["name"]) for entry in report["classes"]]
    support = [entry["support"] for entry in report["classes"]]
    _matrix(left, report, names, support)
    errors = errors_of(report)[:BARS]
    for row, (true, predicted, count) in enumerate(errors):
        right.barh(row, count, color=ORANGE, alpha=0.3, height=0.75)
        # On the bar, not beside it: names can be long.
        text = f"{names[true]} → {names[predicted]}:  {count} of {support[true]} ({percent(count / support[true])})"
        right.annotate(text, (0, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=10.5)
    right.set_ylim(max(len(errors), 8) - 0.5, -0.5)
    right.set_xticks([])
    right.set_yticks([])
    right.spines["bottom"].set_visible(False)
    right.spines["left"].set_visible(bool(errors))
    right.set_title("Most frequent errors: true → predicted" if errors else "No errors")
    return {}


def _matrix(axes: Axes, report: Mapping[str, Any], names: Sequence[str], support: Sequence[int]) -> None:
    """Right answers in blue and errors in orange, each by its share of the true class; counts in the cells."""
    colormaps = require("matplotlib", extra="report").colormaps
    shown = shown_classes(report)
    place = {index: at for at, index in enumerate(shown)}
    cells = [(place[t], place[p], n, n / support[t]) for t, p, n in report["confusion"] if t in place and p in place]
    most = max((share for row, column, _, share in cells if row != column), default=1.0)
    colours = np.zeros((len(shown), len(shown), 4))  # clear where nothing is
    size = 11 if len(shown) <= 12 else 7.5
    for row, column, count, share in cells:
        right = row == column
        depth = 0.12 + 0.68 * (share if right else share / most)
        colours[row, column] = colormaps["Blues" if right else "Oranges"](depth)
        dark = depth > 0.55
        axes.text(column, row, str(count), ha="center", va="center", fontsize=size, color="white" if dark else INK)
    if shown:
        axes.imshow(colours, aspect="auto", interpolation="nearest")
    labels = [names[index] for index in shown]
    size = 11 if len(shown) <= 12 else 9
    flat = sum(map(len, labels)) <= 60
    axes.set_xticks(range(len(shown)), labels, rotation=0 if flat else 90, fontsize=size)
    axes.set_yticks(range(len(shown)), labels, fontsize=size)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    few = len(shown) < len(names)
    axes.set_title(f"{len(shown)} of {len(names)} classes, those confused most" if few else "Test samples by class")


def range_test(figure: Figure, found: RangeTest) -> Mapping[str, str]:
    """The loss by the learning rate, and the suggested rate."""
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.plot(found.rates, found.losses, ".", color=GREY, alpha=0.5, ms=5, label="loss of each batch")
    axes.plot(found.rates, found.smoothed, color=ACCENT, lw=2, label="smoothed")
    axes.axvline(found.suggestion, color=ORANGE, lw=2, ls=(0, (4, 3)), label=f"suggestion {found.suggestion:.2g}")
    # What diverges would press the part that matters into a line.
    low, start = min(found.smoothed), max(found.losses[: found.losses.index(min(found.losses)) + 1])
    axes.set_ylim(max(0.0, low - 0.15 * (start - low)), start + 0.15 * (start - low))
    axes.xaxis.set_major_formatter(lambda value, position: power_of_ten(value))
    axes.set_xlabel("learning rate (log scale)")
    axes.set_ylabel("training loss")
    legend_above(axes)
    return {}


def _mark(axes: Axes, growths: Iterable[float]) -> None:
    for place in growths:
        axes.axvline(place, color=GREY, lw=1.5, ls=(0, (4, 3)), zorder=0)


def _line(axes: Axes, epochs: Sequence[EpochRecord], values: Sequence[float], **look: Any) -> None:
    marker = "o" if len(epochs) <= 30 else ""
    axes.plot([epoch.epoch for epoch in epochs], values, marker=marker, ms=3.5, lw=2, **look)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
