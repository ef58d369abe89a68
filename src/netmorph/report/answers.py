"""Figures of the answers to the test set where there are no classes. As in `plots`, plain values in, artists out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netmorph.report.arms import ACCENT, ORANGE
from netmorph.report.figures import GREY, INK, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 380  # px that a column of the target takes


def values_height(report: Mapping[str, Any]) -> float:
    """Height in px that the figure of the values needs."""
    return ROW * max(1, len(report["columns"]))


def values(figure: Figure, report: Mapping[str, Any]) -> Mapping[str, str]:
    """Predicted against true values with the diagonal, and the distribution of the errors, by column of the target.

    Args:
        report: see `netmorph.measure.value_report`.
    """
    columns = report["columns"]
    panels = figure.subplots(len(columns), 2, squeeze=False, width_ratios=(1, 1.2))
    for number, ((left, right), column) in enumerate(zip(panels, columns, strict=True), start=1):
        of_column = f" (column {number} of the target)" if len(columns) > 1 else ""
        _scatter(left, column["true"], column["predicted"], of_column)
        if column["counts"]:
            right.stairs(column["counts"], column["edges"], fill=True, color=ACCENT, alpha=0.45)
        right.axvline(0, color=INK, lw=1)
        right.set_xlabel(f"predicted minus true{of_column}")
        right.set_ylabel("samples")
        right.yaxis.get_major_locator().set_params(integer=True)
    return {}


def _scatter(axes: Axes, true: Sequence[float], predicted: Sequence[float], of_column: str) -> None:
    """Both axes alike, and the diagonal on which predictions are right."""
    ends = [*true, *predicted] or [0.0, 1.0]
    margin = 0.04 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - margin, max(ends) + margin
    axes.plot([low, high], [low, high], color=GREY, lw=1, ls=(0, (4, 3)))
    axes.plot(true, predicted, "o", color=ACCENT, ms=5, mew=0, alpha=0.55 if len(true) <= 300 else 0.3)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal", adjustable="box")
    axes.locator_params(nbins=6)
    axes.set_xlabel(f"true value{of_column}")
    axes.set_ylabel("predicted value")


def positions(figure: Figure, text: Mapping[str, Any], constant: float | None) -> Mapping[str, str]:
    """The loss by the position in a window.

    Args:
        text: see `netmorph.run.result.Exhibits`.
        constant: the loss of the answer that looks at no input.
    """
    axes = figure.add_subplot()
    marker = "o" if len(text["positions"]) <= 30 else ""
    axes.plot(text["positions"], text["losses"], marker=marker, ms=4, color=ACCENT, lw=2, label="loss of the networks")
    if constant is not None:
        axes.axhline(constant, color=ORANGE, lw=1.5, ls=(0, (4, 3)), label="unigrams, which look at no text")
    axes.set_xlim(min(1, text["positions"][0]), max(2, text["positions"][-1]))
    axes.set_xlabel("tokens seen, of the window")
    axes.set_ylabel("loss (nats a token)")
    legend_above(axes)
    return {}
