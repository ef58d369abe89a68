"""The report's figures: plain records in, matplotlib figures out. None touches pyplot or its global state."""

from __future__ import annotations

import contextlib
import html
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from netmorph.errors import NetmorphError, require
from netmorph.files import atomic_write
from netmorph.report.numbers import recipe_text
from netmorph.run.rows import NetworkRecord
from netmorph.tasks import Criterion
from netmorph.wording import compact, flops_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Fills a figure (its unit is the px) and returns the tooltip of each artist with a gid.
Drawing = Callable[["Figure"], Mapping[str, str]]

INK, GREY, PALE = "#1f2933", "#6b7785", "#d5dbe1"
LIGHTEST = 0.7  # of viridis, whose end, yellow, is hardly seen on white
WIDTH = 1000
_STYLE = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "netmorph",  # the same run gives the same page
    "text.parse_math": False,  # a $ in the name of a layer is a $
    "font.size": 12,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "grid.color": "#e8ecf0",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}


def svg(draw: Drawing, name: str, title: str, height: float) -> str:
    """Draw a figure 1000 px wide as an SVG element to put into a page.

    Args:
        draw: see `Drawing`.
        name: set before each id, so that the figures of one page do not clash.
        title: what the figure shows, for readers who cannot see it.
    """
    with _drawn(draw, height) as (figure, tooltips):
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg ") :]
    for prefix in (' id="', "url(#", 'href="#'):
        text = text.replace(prefix, f"{prefix}{name}-")
    for gid, tooltip in tooltips.items():
        anchor = f'<g id="{name}-{gid}">'
        text = text.replace(anchor, f"{anchor}<title>{html.escape(tooltip)}</title>")
    head = f'<svg role="img" aria-labelledby="{name}-title" '
    text = text.replace("<svg ", head, 1)
    end_of_tag = text.index(">") + 1
    return f'{text[:end_of_tag]}<title id="{name}-title">{html.escape(title)}</title>{text[end_of_tag:]}'


def save(draw: Drawing, path: Path, height: float) -> None:
    """Draw a figure 1000 px wide into a file: png, svg, pdf or what else matplotlib knows, by its suffix.

    Raises:
        NetmorphError: a suffix that is unknown.
        MissingExtra: matplotlib is not installed.
        SaveError: the file cannot be written.
    """
    kind = image_format(path.suffix)
    with _drawn(draw, height) as (figure, _):
        atomic_write(path, lambda file: figure.savefig(file, format=kind, dpi=144, facecolor="white"))


def shade(share: float) -> tuple[float, ...]:
    """A colour for a place from 0, the darkest, to 1: one that is read on white and, turned over, in the dark."""
    colour: tuple[float, ...] = require("matplotlib", extra="report").colormaps["viridis"](LIGHTEST * share)
    return colour


def image_format(suffix: str) -> str:
    """The format that a file's suffix names, with or without its dot; see `save`."""
    known = require("matplotlib.backend_bases", extra="report").FigureCanvasBase.get_supported_filetypes()
    kind = suffix.removeprefix(".").lower()
    if kind not in known:
        raise NetmorphError(f"figures can be files of the kind {', '.join(known)}; got {suffix!r}")
    return kind


@contextlib.contextmanager
def _drawn(draw: Drawing, height: float) -> Iterator[tuple[Figure, Mapping[str, str]]]:
    """The figure and its tooltips, to be saved before the block ends: the style counts then, too."""
    matplotlib = require("matplotlib", extra="report")
    new_figure = require("matplotlib.figure", extra="report").Figure
    with matplotlib.rc_context(_STYLE):
        figure = new_figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        yield figure, draw(figure)


def describe(network: NetworkRecord, criterion: Criterion) -> str:
    """One network in a few lines, as a tooltip says it."""
    edits = [str(edit) for edit in network.edits]
    numbers = f"{compact(network.parameters)} parameters, {flops_text(network.flops)}"
    lines = [
        f"Network {network.id}, round {network.round}",
        *edits,
        *filter(None, [recipe_text(network.recipe)]),
        f"validation {criterion.name} {criterion.text(value_of(network, criterion))}",
    ]
    return "\n".join([*lines, numbers, *([network.failure] if network.failure else [])])


def value_of(network: NetworkRecord, criterion: Criterion) -> float | None:
    """The validation number that chooses; None while it is unknown."""
    return None if network.score is None else criterion.value(network.score)


def number_axis(axes: Axes, values: Iterable[float], criterion: Criterion, label: str) -> float:
    """Let the y axis show values of the number that chooses, and return its bad end.

    A few failures far from the rest would press everything else into a line: the axis ends at the 5% quantile of the
    bad side, and the caller draws what lies beyond on that edge.
    """
    ticker = require("matplotlib.ticker", extra="report")
    ordered = sorted(values, key=criterion.score)
    worst, best = ordered[len(ordered) // 20], ordered[-1]
    margin = max(0.08 * abs(best - worst), 0.005 if criterion.is_share else 1e-3 * abs(best))
    sign = 1 if criterion.higher_is_better else -1
    edge, end = worst - sign * margin, best + sign * margin
    if criterion.is_share:
        edge, end = max(0.0, edge), min(1.0 + margin / 4, end)
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    else:
        axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.set_ylim(*sorted((edge, end)))
    axes.set_ylabel(label)
    return edge


def flops_axis(axes: Axes, label: str, log: bool) -> None:
    """Let the x axis show FLOPs, or another large count, once all is drawn."""
    if log:
        ticker = require("matplotlib.ticker", extra="report")
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        marks = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 7)
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=marks))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(lambda value, position: compact(value))
    axes.set_xlabel(label)


def legend_above(axes: Axes) -> None:
    """Put the legend above the axes, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderpad=0, handlelength=1.4, columnspacing=1.6)
