"""Figures of the answers to the test set where there are no classes. As in `plots`, plain values in, artists out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netmorph.report.arms import ACCENT, ORANGE
from netmorph.report.figures import GREY, INK, legend_above

if TYPE_CHECKING:
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
    for (scatter, errors), column, number in zip(
        figure.subplots(len(columns), 2, squeeze=False, width_ratios=(1, 1.2)),
        columns,
        range(1, 1 + len(columns)),
        strict=True,
    ):
        of_column = f" (column {number} of the target)" if len(columns) > 1 else ""
        ends = [*column["true"], *column["predicted"]] or [0.0, 1.0]
        margin = 0.04 * (max(ends) - min(ends)) or 1.0
        low, high = min(ends) - margin, max(ends) + margin
        scatter.plot([low, high], [low, high], color=GREY, lw=1, ls=(0, (4, 3)))
        alpha = 0.55 if len(column["true"]) <= 300 else 0.3
        scatter.plot(column["true"], column["predicted"], "o", color=ACCENT, ms=5, mew=0, alpha=alpha)
        scatter.set_xlim(low, high)
        scatter.set_ylim(low, high)
        scatter.set_aspect("equal", adjustable="box")
        scatter.locator_params(nbins=6)
        scatter.set_xlabel(f"true value{of_column}")
        scatter.set_ylabel("predicted value")
        if column["counts"]:
            errors.stairs(column["counts"], column["edges"], fill=True, color=ACCENT, alpha=0.45)
        errors.axvline(0, color=INK, lw=1)
        errors.set_xlabel(f"predicted minus true{of_column}")
        errors.set_ylabel("samples")
        errors.yaxis.get_major_locator().set_params(integer=True)
    return {}


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
