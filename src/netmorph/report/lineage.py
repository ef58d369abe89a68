"""The lineage tree: rounds from left to right, a line for as long as a network has children."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netmorph.errors import require
from netmorph.report.arms import ACCENT
from netmorph.report.figures import GREY, INK, WIDTH, describe, value_of
from netmorph.report.listing import ancestry
from netmorph.run.names import State
from netmorph.run.ranking import trained
from netmorph.run.rows import NetworkRecord
from netmorph.tasks import Criterion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 20  # px between two rows
LOW, HIGH = "#b9d7ec", "#00365a"  # colours of low and high scores, on either side of the accent
_BEST_RING: dict[str, Any] = {"mfc": "none", "mec": ACCENT, "mew": 2.5, "ms": 18}
_SURVIVOR_RING: dict[str, Any] = {"mfc": "none", "mec": INK, "mew": 1.2, "ms": 16}
Cell = tuple[int, int]


@dataclass(frozen=True)
class Branch:
    """A network and its descendants, laid out around row 0: cells in use, and the row of each network.

    A cell is (column, row). Column 2 * round is that of the round's networks, the odd ones are the gaps.
    """

    cells: frozenset[Cell]
    rows: Mapping[int, int]


def place(networks: Sequence[NetworkRecord], best: int) -> dict[int, int]:
    """Rows for a tree whose columns are the rounds: network id -> row, no two lines crossing.

    A network's line goes on in its row for as long as it has children; each child leaves it in the gap before
    its own round and takes the nearest row, above or below, in which its whole branch is free.
    """
    children = _children(networks)
    spine = {network.id for network in ancestry(networks, best)}
    branches: dict[int, Branch] = {}
    # From the last round back, so that each branch is ready before the one it grows from.
    for network in sorted(networks, key=lambda network: (-network.round, -network.id)):
        own = children.get(network.id, [])
        line = range(2 * network.round, 2 * _last_round(network, own))
        start = Branch(frozenset((x, 0) for x in line) | {(2 * network.round, 0)}, {network.id: 0})
        branches[network.id] = _gather(start, own, branches, spine)
    rows = _gather(Branch(frozenset(), {}), children[None], branches, spine).rows
    top = min(rows.values())
    return {id: row - top for id, row in rows.items()}


def _children(networks: Sequence[NetworkRecord]) -> dict[int | None, list[NetworkRecord]]:
    ids = {network.id for network in networks}
    children: dict[int | None, list[NetworkRecord]] = {}
    for network in networks:
        children.setdefault(network.parent if network.parent in ids else None, []).append(network)
    return children


def _last_round(network: NetworkRecord, children: Sequence[NetworkRecord]) -> int:
    return max((child.round for child in children), default=network.round)


def _gather(
    start: Branch, children: Sequence[NetworkRecord], branches: Mapping[int, Branch], spine: set[int]
) -> Branch:
    """Put the children's branches around `start`."""
    cells, rows = set(start.cells), dict(start.rows)

    # The last round first: an earlier child then leaves the line before what is placed and crosses nothing.
    # In one round the way to the best comes first, then large branches; small ones find room between.
    def order(child: NetworkRecord) -> tuple[int, bool, int, int]:
        return -child.round, child.id not in spine, -len(branches[child.id].rows), child.id

    for child in sorted(children, key=order):
        branch = branches[child.id]
        nearest_first = ((step + 1) // 2 * (-1) ** step for step in itertools.count())
        row = next(n for n in nearest_first if all((x, y + n) not in cells for x, y in branch.cells))
        cells |= {(x, y + row) for x, y in branch.cells}
        cells |= {(2 * child.round - 1, between) for between in range(min(row, 0), max(row, 0) + 1)}
        rows |= {id: y + row for id, y in branch.rows.items()}
    return Branch(frozenset(cells), rows)


def height(networks: Sequence[NetworkRecord], best: int) -> float:
    """Height in px that the tree of these networks needs."""
    return ROW * (max(place(networks, best).values()) + 1) + 110


def lineage(
    figure: Figure, networks: Sequence[NetworkRecord], best: int, criterion: Criterion, linked: Collection[int] = ()
) -> Mapping[str, str]:
    """Draw the tree of the evolved networks; the colour of a node is its validation number that chooses.

    Args:
        linked: networks whose nodes lead to the element `lineage-stepID` of the page.
    """
    axes = figure.add_subplot()
    rows = place(networks, best)
    spine = {network.id for network in ancestry(networks, best)}
    parents = {network.parent for network in networks}
    by_id = {network.id: network for network in networks}
    rounds = sorted({network.round for network in networks})
    pitch = 0.9 * WIDTH / (rounds[-1] - rounds[0] + 1)  # px between two rounds
    colour = _colours(figure, axes, networks, criterion)
    for network in networks:
        x, y = network.round, rows[network.id]
        kept = network.survivor or network.id in parents
        if network.parent in by_id:
            start = by_id[network.parent]
            bend = max(start.round, x - 1 + min(0.3, 12 / pitch))
            line, width = (ACCENT, 2.5) if network.id in spine else (GREY if kept else "#c3cbd3", 1)
            path = [start.round, bend, bend, x], [rows[start.id], rows[start.id], y, y]
            axes.plot(*path, color=line, lw=width, zorder=width)
            axes.annotate(
                _label(network, pitch),
                (x, y),
                xytext=(-11, 2),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=9.5,
                color=INK if kept else GREY,
            )
        # The figure's name, lineage, is put in front of each id in it, that of the link too.
        url = f"#step{network.id}" if network.id in linked else None
        look: dict[str, Any] = {"gid": f"n{network.id}", "zorder": 3, "url": url}
        if network.score is None:
            look |= {
                "marker": "x" if network.state == State.FAILED else "o",
                "color": GREY,
                "mfc": "white",
                "ms": 6,
            }
        else:
            look |= {"marker": "o", "color": colour(network.score), "mec": "white"}
            look |= {"ms": 11} if kept else {"ms": 8, "alpha": 0.7}
        axes.plot(x, y, **look)
        if network.id == best or network.survivor:
            axes.plot(x, y, "o", zorder=4, url=url, **(_BEST_RING if network.id == best else _SURVIVOR_RING))
    _key(axes, by_id.get(best), criterion)
    axes.set_xlim(rounds[0] - 0.4, rounds[-1] + 0.4)
    axes.set_ylim(max(rows.values()) + 0.8, -0.8)
    axes.set_xticks(rounds)
    axes.set_xlabel("round")
    axes.set_yticks([])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    return {f"n{network.id}": describe(network, criterion) for network in networks}


def _key(axes: Axes, champion: NetworkRecord | None, criterion: Criterion) -> None:
    """Explain the marks, above the tree."""
    dot: dict[str, Any] = {"marker": "o", "ls": "", "color": ACCENT}
    if champion:
        reached = criterion.text(value_of(champion, criterion))
        axes.plot([], [], "o", label=f"best: network {champion.id}, {reached}", **_BEST_RING)
    axes.plot([], [], "o", label="survivor", **_SURVIVOR_RING)
    axes.plot([], [], ms=11, label="parent", **dot)
    axes.plot([], [], ms=8, alpha=0.7, label="dropped", **dot)
    axes.plot([], [], "x", color=GREY, ms=6, label="failed")
    key = axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderpad=0, handletextpad=0.3, columnspacing=1.2
    )
    key.set_in_layout(False)  # it sits beside the colour bar, which has made room for itself


def _colours(
    figure: Figure, axes: Axes, networks: Sequence[NetworkRecord], criterion: Criterion
) -> Callable[[float], Any]:
    """Score -> colour, with a bar that explains it; the worst tenth shares one end of the scale."""
    colours = require("matplotlib.colors", extra="report")
    cm = require("matplotlib.cm", extra="report")
    shades = colours.LinearSegmentedColormap.from_list("score", [LOW, ACCENT, HIGH])
    scores = sorted(network.score or 0.0 for network in trained(networks))
    low, high = scores[len(scores) // 10], scores[-1]
    scale = cm.ScalarMappable(colours.Normalize(low, max(high, low + 1e-3 * max(1e-6, abs(low))), clip=True), shades)
    bar = figure.colorbar(scale, ax=axes, location="top", shrink=0.3, aspect=30, anchor=(1.0, 0.0), pad=0.02)
    bar.ax.locator_params(nbins=4)
    bar.ax.xaxis.set_major_formatter(lambda score, position: criterion.text(criterion.value(score)))
    bar.set_label(f"validation {criterion.name}")
    bar.outline.set_visible(False)
    to_colour: Callable[[float], Any] = scale.to_rgba
    return to_colour


def _label(network: NetworkRecord, pitch: float) -> str:
    """The edits in as many letters as fit between two rounds."""
    kinds = [edit.kind for edit in network.edits]
    full, words, letters = (
        " + ".join(kinds),
        "+".join(kind.split()[0] for kind in kinds),
        "".join(kind[:1].upper() for kind in kinds),
    )
    return next((text for text in (full, words) if 5.5 * len(text) < pitch - 24), letters)
