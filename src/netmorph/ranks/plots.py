"""What the study's pictures show, one function each: rows in, artists on a figure, tooltips by gid out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from netmorph.errors import require
from netmorph.ranks.answers import Kind, features, gradients, rank_of, weights, width_of
from netmorph.ranks.classes import Classes
from netmorph.ranks.looks import Look
from netmorph.ranks.rows import Row
from netmorph.report.figures import GREY, INK, LIGHTEST, PALE, shade
from netmorph.tasks import LOSS
from netmorph.wording import compact

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#999933")
LEAST_LOSS = 1e-4  # what is drawn for less, on a logarithmic scale
Series = Mapping[str, Sequence[Row]]  # networks that share a colour, by what the legend says of them


def against_accuracy(figure: Figure, rows: Sequence[Row]) -> Mapping[str, str]:
    """Loss, rank, share of full rank and norm against test accuracy: of each layer a point."""
    panels = figure.subplots(1, 4, sharey=True)
    tooltips = {}
    for row in rows:
        reached = row.test["accuracy"]
        panels[0].plot(max(row.last.train[LOSS], LEAST_LOSS), reached, "o", ms=5, mew=0, alpha=0.7, color=INK)
        for place, layer in enumerate(row.hidden):
            depth = place / max(len(row.hidden) - 1, 1)
            found = row.last.weights[layer]
            rank, norm = found["effective_rank"] or 0.0, found["frobenius_norm"] or 0.0
            for number, value in enumerate((rank, rank / row.architecture.widths[place], norm), start=1):
                gid = f"a{number}-{row.network}-{place}"
                colour = shade(depth)
                panels[number].plot(value, reached, "o", ms=4.5, mew=0, alpha=0.7, color=colour, gid=gid)
                tooltips[gid] = f"{_told(row)}\n{layer}: {value:.3g}, accuracy {reached:.4f}"
    labels = ("training loss", "effective rank of a layer", "the same over its width", "Frobenius norm of a layer")
    for axes, label in zip(panels, labels, strict=True):
        axes.set_xlabel(label)
    for number in (0, 1, 3):
        _logarithmic(panels[number].xaxis)
    panels[0].set_ylabel("test accuracy")
    shades = require("matplotlib.cm", extra="report").ScalarMappable(cmap="viridis")
    bar = figure.colorbar(shades, ax=panels, shrink=0.8, pad=0.01)
    bar.ax.set_ylim(0, LIGHTEST)
    bar.set_ticks([0, LIGHTEST], labels=["first", "last"])
    bar.set_label("hidden layer")
    return tooltips


def courses(figure: Figure, series: Series) -> Mapping[str, str]:
    """Loss, accuracy, ranks of weights and features, and norm against epochs: a thin line a network, thick medians."""
    panels = figure.subplots(2, 3).flat
    _course(panels[0], series, lambda row, look: max(look.train[LOSS], LEAST_LOSS), "training loss", log=True)
    _course(panels[1], series, lambda row, look: look.train["accuracy"], "training accuracy")
    _course(panels[2], series, lambda row, look: look.validation["accuracy"], "validation accuracy")
    _course(
        panels[3], series, lambda row, look: np.exp(rank_of(row, look, weights)), "effective rank, weights", log=True
    )
    _course(
        panels[4], series, lambda row, look: np.exp(rank_of(row, look, features)), "effective rank, features", log=True
    )
    _course(panels[5], series, _norm, "Frobenius norm, weights", log=True)
    _legend(figure, series)
    return {}


def gradient_ranks(figure: Figure, series: Series) -> Mapping[str, str]:
    """The rank of gradients against epochs: effective, stable, and their norm."""
    panels = figure.subplots(1, 3)
    _course(panels[0], series, lambda row, look: np.exp(rank_of(row, look, gradients)), "effective rank", log=True)
    _course(
        panels[1],
        series,
        lambda row, look: np.exp(rank_of(row, look, gradients, "stable_rank")),
        "stable rank",
        log=True,
    )
    _course(panels[2], series, lambda row, look: _norm(row, look, gradients), "Frobenius norm", log=True)
    _legend(figure, series)
    return {}


def layer_courses(figure: Figure, rows: Mapping[str, Row]) -> Mapping[str, str]:
    """The effective rank of each layer against epochs: weights above, features below, a column for each network."""
    panels = figure.subplots(2, len(rows), sharey="row", squeeze=False)
    for kind, line, name in zip((weights, features), panels, ("weights", "features"), strict=True):
        for axes, (title, row) in zip(line, rows.items(), strict=True):
            layers = list(row.last.weights)
            for place, layer in enumerate(layers):
                colour = shade(place / (len(layers) - 1))
                ranks = [kind(look)[layer]["effective_rank"] for look in row.looks]
                axes.plot([look.epoch for look in row.looks], ranks, color=colour, lw=1.6, label=layer)
            axes.set_title(title)
            axes.set_xlabel("epoch")
        line[0].set_ylabel(f"effective rank, {name}")
    deepest = max(range(len(rows)), key=lambda place: len(panels[0, place].lines))
    figure.legend(*panels[0, deepest].get_legend_handles_labels(), loc="outside upper left", ncols=8)
    return {}


def spectra(figure: Figure, row: Row) -> Mapping[str, str]:
    """The singular values of each layer at some epochs, the later the darker."""
    kept = [look for look in row.looks if look.values]
    panels = figure.subplots(1, len(row.last.weights), squeeze=False)[0]
    for axes, layer in zip(panels, row.last.weights, strict=True):
        for number, look in enumerate(kept):
            colour = shade(1 - number / max(len(kept) - 1, 1))
            values = np.maximum(look.values[layer], 1e-9)
            axes.plot(range(1, len(values) + 1), values, color=colour, lw=1.6, label=f"epoch {look.epoch}")
        highest, lowest = max(max(look.values[layer]) for look in kept), min(min(look.values[layer]) for look in kept)
        axes.set_ylim(max(highest * 1e-4, 0.8 * lowest), highest * 1.3)
        _logarithmic(axes.yaxis)
        axes.set_title(layer)
        axes.set_xlabel("number")
    panels[0].set_ylabel("singular value")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(kept))
    return {}


def class_map(figure: Figure, rows: Sequence[Row], before: Classes, after: Classes) -> Mapping[str, str]:
    """Profiles of ranks in their principal plane, coloured by class: untrained and converged."""
    panels = figure.subplots(1, 2)
    tooltips = {}
    for axes, found, name in zip(panels, (before, after), ("untrained", "converged"), strict=True):
        for row, label, (x, y) in zip(rows, found.labels, found.map, strict=True):
            colour = PALE if label < 0 else COLOURS[label % len(COLOURS)]
            gid = f"m{name[0]}-{row.network}"
            marker = "s" if row.architecture.skips else "o"
            size = 3 + 2.2 * len(row.architecture.widths)
            axes.plot(x, y, marker, ms=size, color=colour, mec=GREY, mew=0.4, gid=gid)
            tooltips[gid] = f"{_told(row)}\nclass {'none' if label < 0 else label + 1}"
        axes.set_title(f"{name}: {found.count} classes, {found.outside} networks in none")
        axes.set_xlabel(f"first direction ({found.shares[0]:.0%} of the variance)")
        axes.set_ylabel(f"second ({found.shares[1]:.0%})")
    return tooltips


def against_width(figure: Figure, rows: Sequence[Row]) -> Mapping[str, str]:
    """Ranks of weights and features against width, before and after training; the diagonal is full rank."""
    panels = figure.subplots(1, 2, sharey=True)
    for axes, kind, name in zip(panels, (weights, features), ("weights", "features"), strict=True):
        x = np.exp([width_of(row) for row in rows])
        for looks, colour, label in (
            ([row.first for row in rows], GREY, "untrained"),
            ([row.last for row in rows], COLOURS[0], "converged"),
        ):
            y = np.exp([rank_of(row, look, kind) for row, look in zip(rows, looks, strict=True)])
            axes.plot(x, y, "o", ms=5, mew=0, alpha=0.7, color=colour, label=label)
        _diagonal(axes, x.min(), x.max())
        axes.set_title(name)
        axes.set_xlabel("width (geometric mean of hidden layers)")
    panels[0].set_ylabel("effective rank")
    panels[0].legend()
    return {}


def against_noise(figure: Figure, rows: Sequence[Row]) -> Mapping[str, str]:
    """Share of full rank against B / (mu lambda), for each optimizer."""
    optimizers = sorted({row.architecture.optimizer for row in rows})
    panels = figure.subplots(1, len(optimizers), sharey=True, squeeze=False)[0]
    for axes, optimizer in zip(panels, optimizers, strict=True):
        own = [row for row in rows if row.architecture.optimizer == optimizer]
        x = [row.architecture.noise for row in own]
        for kind, colour, label in ((weights, COLOURS[0], "weights"), (features, COLOURS[1], "features")):
            y = np.exp([rank_of(row, row.last, kind) - width_of(row) for row in own])
            axes.plot(x, y, "o", ms=5, mew=0, alpha=0.7, color=colour, label=label)
        _logarithmic(axes.xaxis)
        axes.set_title(optimizer)
        axes.set_xlabel("batch size / (learning rate × weight decay)")
    panels[0].set_ylabel("effective rank / width")
    panels[0].legend()
    return {}


def paired(figure: Figure, matched: Mapping[str, Sequence[tuple[Row, Row]]]) -> Mapping[str, str]:
    """Ranks of the same networks under two conditions; above the diagonal the second one's is higher."""
    panels = figure.subplots(1, 2)
    for axes, kind, name in zip(panels, (weights, features), ("weights", "features"), strict=True):
        ends = [np.inf, 0.0]
        for (label, both), colour in zip(matched.items(), COLOURS, strict=False):
            x, y = (np.exp([rank_of(row, row.last, kind) for row in rows]) for rows in zip(*both, strict=True))
            axes.plot(x, y, "o", ms=5, mew=0, alpha=0.7, color=colour, label=label)
            ends = [min(ends[0], *x, *y), max(ends[1], *x, *y)]
        _diagonal(axes, *ends)
        axes.set_title(name)
        axes.set_xlabel("effective rank, true labels and all samples")
    panels[0].set_ylabel("effective rank under the other condition")
    panels[0].legend()
    return {}


def _course(axes: Axes, series: Series, value: Callable[[Row, Look], float], label: str, log: bool = False) -> None:
    for (_, rows), colour in zip(series.items(), COLOURS, strict=False):
        lines = [([look.epoch for look in row.looks], [float(value(row, look)) for look in row.looks]) for row in rows]
        for x, y in lines:
            axes.plot(x, y, color=colour, lw=0.7 if len(lines) > 1 else 1.6, alpha=0.25 if len(lines) > 1 else 1)
        if len(lines) > 1:
            # Where a network has ended it stands at its last value, so that the median is one of all.
            epochs = np.arange(max(x[-1] for x, _ in lines) + 1)
            axes.plot(epochs, np.median([np.interp(epochs, x, y) for x, y in lines], axis=0), color=colour, lw=2.2)
    if log:
        _logarithmic(axes.yaxis)
    axes.set_title(label)
    axes.set_xlabel("epoch")


def _diagonal(axes: Axes, low: float, high: float) -> None:
    """Where both numbers are equal, and both axes logarithmic; after all else is drawn."""
    axes.plot([low, high], [low, high], color=PALE, lw=1)
    _logarithmic(axes.xaxis)
    _logarithmic(axes.yaxis)


def _logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic once all is drawn, with plain numbers at its marks."""
    ticker = require("matplotlib.ticker", extra="report")
    axes = axis.axes
    if axis is axes.xaxis:
        axes.set_xscale("log")
        low, high = axes.get_xlim()
    else:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
    marks = (1,) if high > 100 * low else (1, 2, 5) if high > 5 * low else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8)
    axis.set_major_locator(ticker.LogLocator(subs=marks, numticks=8))
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(lambda value, position: compact(value))


def _norm(row: Row, look: Look, kind: Kind = weights) -> float:
    found = kind(look)
    return float(np.exp(np.mean([np.log(max(found[layer]["frobenius_norm"] or 0.0, 1e-12)) for layer in row.hidden])))


def _legend(figure: Figure, series: Series) -> None:
    line = require("matplotlib.lines", extra="report").Line2D
    handles = [line([], [], color=colour, lw=2.2) for colour, _ in zip(COLOURS, series, strict=False)]
    figure.legend(handles, list(series), loc="outside upper left", ncols=len(handles))


def _told(row: Row) -> str:
    shape = row.architecture
    return (
        f"network {row.network}: {'-'.join(map(str, shape.widths))}{', skips' if shape.skips else ''}, "
        f"{shape.optimizer}, batch {shape.batch_size}, rate {shape.learning_rate:.2g}, decay {shape.weight_decay:.2g}"
    )
