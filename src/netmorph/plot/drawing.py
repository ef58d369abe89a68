"""Charts as pictures: matplotlib, without pyplot or its global state."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from netmorph.errors import require
from netmorph.files import atomic_write
from netmorph.plot.looks import GREY, INK, PALE, Look, Size, look
from netmorph.plot.values import PlotError, axis_title, unknown
from netmorph.report.numbers import power_of_ten
from netmorph.wording import compact

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netmorph.plot.charts import Chart, Panel
    from netmorph.plot.lines import Line

KINDS = (".svg", ".pdf", ".png")
RESOLUTION = 300  # pixels an inch, of a PNG
SPOTS = 7  # markers on a line
TOLD_MARKS = 8  # more of them are ticks without words
WORDS = 0.35  # inches that words of marks take above the axes, about
LONGEST = 34  # letters of a mark's words
WHOLE = ("epoch", "round", "networks", "chains")  # axes without fractions


def draw(chart: Chart, path: Path, size: Size) -> None:
    """Write the picture of a chart, with its text for readers who cannot see it.

    Raises:
        PlotError: the file is of no kind that is known, or the font is not there.
        MissingExtra: matplotlib is not installed.
        SaveError: the file could not be written.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise PlotError(f"pictures are files of the kind {', '.join(KINDS)}; got {str(path)!r}")
    matplotlib = require("matplotlib", extra="plot")
    with matplotlib.rc_context(_style(size)):
        figure = figure_of(chart, size)
        metadata = _metadata(kind, chart.title(), chart.text())

        def write(file: Path) -> None:
            figure.savefig(file, format=kind[1:], dpi=RESOLUTION, facecolor="white", metadata=metadata)
            if kind == ".svg":
                file.write_text(_described(file.read_text("utf-8"), chart.title(), chart.text()), "utf-8")

        atomic_write(path, write)


def figure_of(chart: Chart, size: Size) -> Figure:
    """The figure, to be saved under the same style."""
    columns = min(size.per_row, len(chart.panels))
    rows = math.ceil(len(chart.panels) / columns)
    new_figure = require("matplotlib.figure", extra="plot").Figure
    figure: Figure = new_figure(figsize=(size.width, rows * size.height), layout="constrained")
    numbers = {label: number for number, label in enumerate(dict.fromkeys(line.label for line in chart.lines))}
    all_axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, panel in zip(all_axes, chart.panels, strict=False):
        for line in panel.lines:
            _draw_line(axes, line, numbers[line.label], size, chart.log_x)
        _dress(axes, panel, chart, size.width / columns)
    for axes in all_axes[len(chart.panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(all_axes, chart.panels, strict=False):
        if _alike(panel):
            _tell_marks(axes, panel.lines[0], size)
            _heighten(figure, WORDS)
            break
    if len(numbers) > 1:
        _legend(figure, {label: look(number) for label, number in numbers.items()}, size)
    return figure


def _draw_line(axes: Axes, line: Line, number: int, size: Size, logarithmic: bool) -> None:
    own = look(number)
    drawn = "steps-post" if line.holds else "default"
    if line.rough is not None:
        axes.plot(line.x, line.rough, color=own.colour, lw=0.5 * size.stroke, alpha=0.35)
    if line.low is not None and line.high is not None:
        step: Literal["post"] | None = "post" if line.holds else None
        axes.fill_between(line.x, line.low, line.high, color=own.colour, alpha=0.16, lw=0, step=step)
    known = np.flatnonzero(np.isfinite(line.y))
    axes.plot(
        line.x,
        line.y,
        color=own.colour,
        lw=size.stroke,
        ls=own.dash,
        drawstyle=drawn,
        marker=own.marker,
        markevery=_spots(line, number, logarithmic),
        ms=3 * size.stroke,
        mew=0,
    )
    for at, _ in line.marks:
        height = float(np.interp(at, line.x[known], line.y[known]))
        axes.plot(at, height, "|", color=INK, ms=5.5 * size.stroke, mew=0.8 * size.stroke, zorder=4)


def _spots(line: Line, number: int, logarithmic: bool) -> list[int]:
    """Which points get a marker: all of few; of many some, evenly over the axis, and each line's elsewhere."""
    known = np.flatnonzero(np.isfinite(line.y) & (line.x > 0 if logarithmic else True))
    if len(known) <= SPOTS or line.x[known[0]] == line.x[known[-1]]:
        return [int(place) for place in known]
    x = np.log(line.x[known]) if logarithmic else line.x[known]
    shares = (np.arange(SPOTS) + 0.15 + 0.7 * (number * 0.618 % 1)) / SPOTS  # the golden ratio spreads them
    nearest = [int(np.abs(x - (x[0] + share * (x[-1] - x[0]))).argmin()) for share in shares]
    return [int(place) for place in known[sorted(set(nearest))]]


def _dress(axes: Axes, panel: Panel, chart: Chart, width: float) -> None:
    """Scales, names and numbers of the axes, once all is drawn; `width` is that of the panel, in inches."""
    ticker = require("matplotlib.ticker", extra="plot")
    axes.set_xlabel(axis_title(panel.axis) + (" (log scale)" if chart.log_x else ""))
    axes.set_ylabel(panel.title + (" (log scale)" if chart.log_y else ""))
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
        # A band that reaches below 0 has no end on this axis; the lines decide what is shown.
        axes.set_ylim(bottom=0.7 * min(line.y[line.y > 0].min() for line in panel.lines))
    if chart.span is not None:
        axes.set_ylim(*chart.span)
    beside, above = int(width / 0.55), 6
    whole = panel.axis in WHOLE
    for axis, ends, is_log, most in (
        (axes.xaxis, axes.get_xlim(), chart.log_x, beside),
        (axes.yaxis, axes.get_ylim(), chart.log_y, above),
    ):
        if is_log:
            decades = math.log10(ends[1] / ends[0])
            subs = (1, 2, 5) if decades <= 1.5 else (1,) if decades > 2.5 else (1, 3)
            axis.set_major_locator(ticker.LogLocator(subs=subs, numticks=most + 2))
            axis.set_minor_formatter(ticker.NullFormatter())
        else:
            is_whole = whole and axis is axes.xaxis
            axis.set_major_locator(ticker.MaxNLocator(most, integer=is_whole, steps=(1, 2, 5, 10)))
        if is_log or axis is axes.xaxis:
            axis.set_major_formatter(lambda value, position: _number(value))


def _number(value: float) -> str:
    """As it stands at an axis: 0.5, 20, 15 k, 10⁻⁶."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:g}"
    return compact(value) if abs(value) >= 1e4 else power_of_ten(value)


def _alike(panel: Panel) -> bool:
    """Whether what happened can be told in words: it is little, and the same of all lines."""
    marks = panel.lines[0].marks
    return 0 < len(marks) <= TOLD_MARKS and all(line.marks == marks for line in panel.lines)


def _tell_marks(axes: Axes, line: Line, size: Size) -> None:
    """What happened, in words above the axes; those of marks that lie close move apart."""
    apart = 1.6 * size.small / (72 * size.width)
    spot = -math.inf
    for at, label in line.marks:
        place = axes.transAxes.inverted().transform(axes.transData.transform((at, 0)))[0]
        spot = max(spot + apart, float(place))
        axes.annotate(
            label if len(label) <= LONGEST else label[: LONGEST - 3] + "...",
            (float(place), 1.0),
            xytext=(spot, 1.03),
            xycoords="axes fraction",
            textcoords="axes fraction",
            rotation=35,
            rotation_mode="anchor",
            ha="left",
            va="bottom",
            fontsize=size.small - 1,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.5},
        )


def _legend(figure: Figure, looks: Mapping[str, Look], size: Size) -> None:
    """Above the axes, where it covers no line, in as many columns as fit beside each other."""
    new_line = require("matplotlib.lines", extra="plot").Line2D
    renderer = require("matplotlib.backends.backend_agg", extra="plot").FigureCanvasAgg(figure).get_renderer()
    handles = [
        new_line([], [], color=own.colour, ls=own.dash, marker=own.marker, ms=3 * size.stroke, mew=0, lw=size.stroke)
        for own in looks.values()
    ]
    letters = int(72 * size.width / (0.62 * size.letters)) - 6
    labels = [textwrap.fill(label, letters) for label in looks]
    for columns in range(len(labels), 0, -1):
        legend = figure.legend(
            handles, labels, loc="outside upper left", ncols=columns, borderpad=0, handlelength=3, columnspacing=1.2
        )
        extent = legend.get_window_extent(renderer)
        if columns == 1 or extent.width <= 0.98 * figure.bbox.width:
            _heighten(figure, extent.height / figure.dpi)
            return
        legend.remove()


def _heighten(figure: Figure, inches: float) -> None:
    """Make room for what stands above the axes, so that panels are as high without it."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + inches)


def _style(size: Size) -> dict[str, Any]:
    """Raises PlotError if the font is not there."""
    fonts = require("matplotlib.font_manager", extra="plot").fontManager
    known = sorted(set(fonts.get_font_names()))
    if size.font not in known:
        raise unknown("font", size.font, known)
    return {
        "svg.fonttype": "none",  # text stays text: to be searched, read aloud, and edited
        "pdf.fonttype": 42,  # journals refuse fonts of type 3
        "svg.hashsalt": "netmorph",  # the same data gives the same file
        "text.parse_math": False,  # a $ or _ in a tag is one
        "font.family": size.font,
        "font.size": size.letters,
        "axes.labelsize": size.letters,
        "xtick.labelsize": size.small,
        "ytick.labelsize": size.small,
        "legend.fontsize": size.small,
        "legend.frameon": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GREY,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.formatter.useoffset": False,
        "grid.color": PALE,
        "grid.linewidth": 0.5,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "figure.constrained_layout.h_pad": 0.03,
        "figure.constrained_layout.w_pad": 0.03,
    }


def _metadata(kind: str, title: str, text: str) -> dict[str, Any]:
    """What the file says of itself; no date, so that the same data gives the same file."""
    return {
        ".svg": {"Title": title, "Date": None, "Creator": None},
        ".pdf": {"Title": title, "Subject": text, "CreationDate": None},
        ".png": {"Title": title, "Description": text, "Software": None},
    }[kind]


def _described(svg: str, title: str, text: str) -> str:
    """An SVG with its title and description where screen readers look for them."""
    start = svg.index("<svg ")
    end = svg.index(">", start) + 1
    head = svg[start:end].replace("<svg ", '<svg role="img" aria-labelledby="title description" ', 1)
    told = f'<title id="title">{html.escape(title)}</title>\n<desc id="description">{html.escape(text)}</desc>'
    return f"{svg[:start]}{head}\n{told}{svg[end:]}"
