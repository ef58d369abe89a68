"""Pictures of a search for a chain: the chain, the search beside random, where layers stand, what was expected."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from netmorph.bank import Entry
from netmorph.chain import Link, Record
from netmorph.report.arms import ACCENT, GREEN, ORANGE, PURPLE
from netmorph.report.figures import GREY, INK, PALE, legend_above
from netmorph.report.plain_page import Picture
from netmorph.report.searched import Searched, label
from netmorph.wording import compact

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

LAYERS = 24  # that are drawn; of more, those that good chains use most
COLOURS = (ACCENT, ORANGE, GREEN, PURPLE, "#56b4e9", "#e69f00", "#f0e442", GREY)


def pictures(searched: Sequence[Searched], links: Sequence[Link], entries: Mapping[str, Entry]) -> list[Picture]:
    """All pictures of a search."""
    first = searched[0]
    names = {id: label(entry) for id, entry in entries.items()}
    found = [
        Picture(
            "chain",
            "The chain, drawn",
            "Each layer with where it is from and what comes out of it; a colour is a network of the bank.",
            partial(chain, links=links, entries=entries),
            190,
        ),
        Picture(
            "progress",
            "The search, step by step",
            "The loss of the best chain so far, by distinct chains and by FLOPs of the search.",
            partial(progress, searched=searched),
            340,
        ),
        Picture(
            "places",
            "Which layers stand where",
            f"How many of the best {len(first.good)} chains have a layer at a place.",
            partial(places, good=first.good, names=names),
            120 + 20 * min(LAYERS, len(_used(first.good))),
        ),
    ]
    if any(record.expected is not None for record in first.records):
        found.append(
            Picture(
                "values",
                "What the agent expected",
                "What its value network thought of a chain before it was judged, and what it was worth; early chains "
                "are pale.",
                partial(expectations, searched=first),
                380,
            )
        )
    return found


def chain(figure: Figure, links: Sequence[Link], entries: Mapping[str, Entry]) -> Mapping[str, str]:
    """Boxes from left to right."""
    axes = figure.add_subplot()
    networks = list(dict.fromkeys(link.network for link in links if link.network))
    size = min(12.0, 72 / max(1, len(links)))  # of what is written into narrow boxes
    for place, link in enumerate(links):
        entry = entries.get(link.id)
        colour = COLOURS[networks.index(link.network) % len(COLOURS)] if entry else INK
        axes.add_patch(_box(place, colour))
        name = "solved head" if entry is None else link.path or "whole"
        shown = [name[-14:], *([] if entry is None else [Path(link.network).name[-14:], str(entry.output)])]
        for row, text in enumerate(shown):
            height, ink = 0.28 - 0.28 * row, INK if row else colour
            axes.text(place, height, text, ha="center", va="center", fontsize=size, color=ink)
        if link.is_stitched:
            axes.text(place - 0.5, 0.62, "stitch", ha="center", fontsize=size, color=GREY)
        if place:
            axes.annotate("", (place - 0.42, 0), (place - 0.58, 0), arrowprops={"arrowstyle": "->", "color": GREY})
    axes.set_xlim(-0.6, max(5, len(links)) - 0.4)
    axes.set_ylim(-0.8, 0.8)
    axes.set_axis_off()
    return {}


def progress(figure: Figure, searched: Sequence[Searched]) -> Mapping[str, str]:
    """The best loss so far, of each agent."""
    left, right = figure.subplots(1, 2, sharey=True)
    for one, colour, line in zip(searched, (ACCENT, ORANGE), ("-", "--"), strict=False):
        losses = one.best_losses
        left.step(range(1, len(losses) + 1), losses, where="post", color=colour, ls=line, lw=2, label=one.agent)
        right.step([record.spent for record in one.records], losses, where="post", color=colour, ls=line, lw=2)
    left.set_xlabel("distinct chains")
    left.set_ylabel("loss of the best chain")
    right.set_xlabel("FLOPs of the search")
    right.xaxis.set_major_formatter(lambda value, position: compact(value))
    legend_above(left)
    return {}


def places(figure: Figure, good: Sequence[Record], names: Mapping[str, str]) -> Mapping[str, str]:
    """A table of layers and places, with the number of chains as shades."""
    axes = figure.add_subplot()
    used = _used(good)[:LAYERS]
    deepest = max(1, *(len(record.chain.layers) for record in good))
    counts = [
        [sum(record.chain.layers[place : place + 1] == (id,) for record in good) for place in range(deepest)]
        for id in used
    ]
    if used:
        axes.imshow([[count or math.nan for count in line] for line in counts], cmap="Blues", vmin=0, aspect="auto")
    axes.set_yticks(range(len(used)), [names.get(id, id)[-40:] for id in used], fontsize=11)
    axes.set_xticks(range(deepest), [str(place + 1) for place in range(deepest)])
    axes.set_xlabel("place")
    axes.grid(visible=False)
    for row, line in enumerate(counts):
        for place, count in enumerate(line):
            if count:
                light = count > 0.6 * max(map(max, counts))
                axes.text(
                    place, row, str(count), ha="center", va="center", fontsize=11, color="white" if light else INK
                )
    return {}


def expectations(figure: Figure, searched: Searched) -> Mapping[str, str]:
    """What was expected of each chain against what it was worth."""
    axes = figure.add_subplot()
    pairs = [
        (record.expected, worth)
        for record, worth in zip(searched.records, searched.worths, strict=True)
        if record.expected is not None
    ]
    pale = -len(pairs) / 2  # the first one is seen, too
    x, y = zip(*pairs, strict=True)
    axes.scatter(x, y, c=range(len(pairs)), cmap="Blues", vmin=pale, s=18)
    ends = [min(map(min, pairs)), max(map(max, pairs))]
    axes.plot(ends, ends, color=PALE, lw=1)
    axes.set_xlabel("expected worth")
    axes.set_ylabel("worth")
    return {}


def _used(good: Sequence[Record]) -> list[str]:
    return [id for id, _ in Counter(id for record in good for id in record.chain.layers).most_common()]


def _box(place: int, colour: str) -> Patch:
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch((place - 0.36, -0.45), 0.72, 0.9, boxstyle="round,pad=0.04", fc="none", ec=colour, lw=1.5)
