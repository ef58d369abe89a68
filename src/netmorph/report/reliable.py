"""How sure networks are of their answers and how often these are right: a figure, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from netmorph.errors import require
from netmorph.measure.calibration import BINS
from netmorph.report.arms import ACCENT
from netmorph.report.figures import GREY, INK
from netmorph.report.numbers import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"best": "Best network", "ensemble": "Ensemble of the survivors"}
HEIGHT = 420


def reliability_diagram(figure: Figure, calibration: Mapping[str, Any]) -> Mapping[str, str]:
    """The share of right answers by the probability of the answer, with the diagonal, of each that was tested.

    Args:
        calibration: see `netmorph.run.result.Exhibits`.
    """
    ticker = require("matplotlib.ticker", extra="report")
    tooltips = {}
    panels = figure.subplots(1, len(calibration), squeeze=False)[0]
    for axes, (key, report) in zip(panels, told(calibration), strict=True):
        most = max(count for count, _, _ in report["bins"])
        for number, (count, sure, right) in enumerate(report["bins"]):
            gid = f"{key}{number}"
            # The more samples, the stronger; the faintest is still seen.
            axes.bar(sure, right, 0.8 / BINS, color=ACCENT, alpha=0.15 + 0.6 * count / most, gid=gid)
            tooltips[gid] = f"{count} samples\nsure of {percent(sure)}\nright {percent(right)}"
        axes.plot([0, 1], [0, 1], color=INK, lw=1, ls=(0, (4, 3)))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_title(f"{NAMES[key]}: ECE {percent(report['ece'])}")
        axes.set_xlabel("probability of the answer")
        axes.set_ylabel("share that is right")
        axes.tick_params(color=GREY)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ticker.PercentFormatter(1.0))
    return tooltips


def calibration_table(calibration: Mapping[str, Any]) -> Table:
    """The numbers of the same as a table for the terminal."""
    view = Table(title="Calibration on the test set", title_justify="left")
    view.add_column("")
    for column in ("calibration error (ECE)", "negative log-likelihood", "Brier score"):
        view.add_column(column, justify="right")
    for key, report in told(calibration):
        lost = "∞" if report["nll"] is None else f"{report['nll']:.4g}"
        view.add_row(NAMES[key], percent(report["ece"]), lost, f"{report['brier']:.4g}")
    return view


def told(calibration: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What was tested, by its key, in an order that files do not decide."""
    return [(key, calibration[key]) for key in NAMES if key in calibration]
