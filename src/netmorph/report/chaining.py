"""A page and pictures of a search for a chain: the chain, the search beside random, where layers stand, values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from netmorph.bank import Entry
from netmorph.chain import Link, Prefix, Record
from netmorph.chain.features import Counts
from netmorph.chain.gradients import Told
from netmorph.report.arms import ACCENT, GREEN, ORANGE, PURPLE
from netmorph.report.figures import GREY, INK, PALE, legend_above
from netmorph.report.numbers import duration, percent
from netmorph.report.plain_page import Picture, Table, save_pictures, write_plain
from netmorph.wording import compact

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

LAYERS = 24  # that are drawn; of more, those that good chains use most
STATES = 12  # of which the values are told
GOOD = 0.1  # the share of chains that are called good
COLOURS = (ACCENT, ORANGE, GREEN, PURPLE, "#56b4e9", "#e69f00", "#f0e442", GREY)


@dataclass(frozen=True, eq=False)
class Searched:
    """What one agent did.

    Attributes:
        agent: its name.
        records: of the distinct chains, in order.
        worths: of each.
        best: the record of the best.
        test: the best chain's accuracy on the test part.
        cache: what the cache did.
    """

    agent: str
    records: tuple[Record, ...]
    worths: tuple[float, ...]
    best: Record
    test: float
    cache: Counts

    @property
    def best_losses(self) -> list[float]:
        """After each chain the loss of the best one so far."""
        pairs = zip(self.worths, self.records, strict=True)
        return [record.outcome.loss for _, record in accumulate(pairs, partial(max, key=_first))]

    @property
    def lessons(self) -> int:
        """After which there were new layers."""
        return sum(record.lesson is not None for record in self.records)

    @property
    def good(self) -> list[Record]:
        """The records that are worth most, at least one, the best first."""
        order = sorted(range(len(self.records)), key=lambda number: -self.worths[number])
        return [self.records[number] for number in order[: max(1, round(GOOD * len(order)))]]


@dataclass(frozen=True)
class Learning:
    """What gradients had to do with a chain.

    Attributes:
        mode: when its layers learnt, a name of `netmorph.chain.MODES`.
        flops: of the steps once it was chosen.
        test: the network's accuracy on the test part after them.
        gradients: of layers in good chains, by id and the number of layers in front; empty if nobody looked.
    """

    mode: str = "never"
    flops: int = 0
    test: float = 0.0
    gradients: Mapping[tuple[str, int], Told] = field(default_factory=dict)


def write_page(
    folder: Path,
    title: str,
    searched: Sequence[Searched],
    links: Sequence[Link],
    entries: Mapping[str, Entry],
    price: float,
    learning: Learning,
) -> Path:
    """Write report.html into the folder, and the pictures beside it into figures/.

    Args:
        searched: the agent that was asked for first.
        links: where the layers of its best chain are from.
        entries: by id.
        price: loss that a FLOP costs.
        learning: what gradients had to do with it.

    Raises:
        MissingExtra: the packages that draw reports are not installed.
        SaveError: a file could not be written.
    """
    first = searched[0]
    best, outcome = first.best.chain, first.best.outcome
    paragraphs = [
        f"A chain of {len(best.layers)} out of the bank, found by {first.agent} among {len(first.records)} distinct "
        f"chains, answers {percent(first.test)} of the test part right"
        f"{'' if first.lessons else ' with no gradient step'}; "
        f"{percent(outcome.accuracy)} of the samples on which chains were compared.",
        *_learning(first, learning),
        *_beside(searched),
        f"The cache ran {first.cache.layers:,} layers in the place of {first.cache.layers + first.cache.hits:,}, and "
        f"held at most {first.cache.most / 2**20:,.0f} MiB.",
    ]
    if price:
        paragraphs.append(f"A FLOP of a sample's forward pass costs {price:g} of loss; chains are compared after that.")
    names = {id: label(entry) for id, entry in entries.items()}
    tables = [_chain(links, entries), _searches(searched), _values(first, names)]
    if learning.gradients:
        tables.append(_gradients(learning.gradients, names))
    drawn = pictures(searched, links, entries)
    save_pictures(drawn, folder / "figures")
    return write_plain(folder / "report.html", title, paragraphs, tables, drawn)


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


def label(entry: Entry) -> str:
    """A layer for people: its network and its path there."""
    network = Path(entry.origin.network).name
    return f"{network}: {entry.origin.path or entry.origin.position}"


def chain(figure: Figure, links: Sequence[Link], entries: Mapping[str, Entry]) -> Mapping[str, str]:
    """Boxes from left to right."""
    axes = figure.add_subplot()
    networks = list(dict.fromkeys(link.network for link in links if link.network))
    for place, link in enumerate(links):
        entry = entries.get(link.id)
        colour = COLOURS[networks.index(link.network) % len(COLOURS)] if entry else INK
        axes.add_patch(_box(place, colour))
        name = "solved head" if entry is None else link.path or "whole"
        shown = [name[-14:], *([] if entry is None else [Path(link.network).name[-14:], str(entry.output)])]
        for row, text in enumerate(shown):
            axes.text(
                place, 0.25 - 0.25 * row, text, ha="center", va="center", fontsize=8, color=INK if row else colour
            )
        if link.is_stitched:
            axes.text(place - 0.5, 0.62, "stitch", ha="center", fontsize=8, color=GREY)
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
        axes.imshow(counts, cmap="Blues", vmin=0, aspect="auto")
    axes.set_yticks(range(len(used)), [names.get(id, id)[-40:] for id in used], fontsize=9)
    axes.set_xticks(range(deepest), [str(place + 1) for place in range(deepest)])
    axes.set_xlabel("place")
    axes.grid(visible=False)
    for row, line in enumerate(counts):
        for place, count in enumerate(line):
            if count:
                light = count > 0.6 * max(map(max, counts))
                axes.text(place, row, str(count), ha="center", va="center", fontsize=9, color="white" if light else INK)
    return {}


def expectations(figure: Figure, searched: Searched) -> Mapping[str, str]:
    """What was expected of each chain against what it was worth."""
    axes = figure.add_subplot()
    pairs = [
        (record.expected, worth)
        for record, worth in zip(searched.records, searched.worths, strict=True)
        if record.expected is not None
    ]
    axes.scatter([one for one, _ in pairs], [one for _, one in pairs], c=range(len(pairs)), cmap="Blues", s=18)
    ends = [min(map(min, pairs)), max(map(max, pairs))]
    axes.plot(ends, ends, color=PALE, lw=1)
    axes.set_xlabel("expected worth")
    axes.set_ylabel("worth")
    return {}


def values_of(searched: Searched) -> dict[Prefix, list[float]]:
    """The worths of all chains that begin with a prefix, by prefix."""
    found: dict[Prefix, list[float]] = {}
    for record, worth in zip(searched.records, searched.worths, strict=True):
        for length in range(1, len(record.chain.layers) + 1):
            found.setdefault(record.chain.layers[:length], []).append(worth)
    return found


def _first(pair: tuple[float, Record]) -> float:
    return pair[0]


def _used(good: Sequence[Record]) -> list[str]:
    return [id for id, _ in Counter(id for record in good for id in record.chain.layers).most_common()]


def _beside(searched: Sequence[Searched]) -> list[str]:
    if len(searched) == 1:
        return []
    first, random = searched
    return [
        f"Random search over as many distinct chains got to {percent(random.test)} of the test part; its best chain "
        f"has a loss of {random.best.outcome.loss:.4f}, that of {first.agent} {first.best.outcome.loss:.4f}. One seed "
        "says little: the samples on which chains are compared are few."
    ]


def _learning(first: Searched, learning: Learning) -> list[str]:
    told = []
    if first.lessons:
        parents = {record.lesson.copies for record in first.records if record.lesson is not None}
        chosen = "is" if first.best.chain in parents else "is not"
        told.append(
            f"Layers of good chains learnt in {first.lessons} lessons while it was searched, and their copies are in "
            f"the bank, each with its parent. The chosen chain {chosen} one of copies that learnt together."
        )
    if learning.flops:
        told.append(
            f"Once it was chosen it learnt ({learning.mode}) for {compact(learning.flops)} FLOPs, and answers "
            f"{percent(learning.test)} of the test part right. That is the network beside this page."
        )
    return told


def _gradients(gradients: Mapping[tuple[str, int], Told], names: Mapping[str, str]) -> Table:
    rows = [
        (names.get(id, id), str(place + 1), f"{told.slope:.2g}", f"{told.trend:+.2f}", f"{told.importance:.2g}")
        for (id, place), told in sorted(gradients.items(), key=lambda item: (item[0][1], -item[1].importance))
    ]
    return Table(
        "What gradients tell",
        ("layer", "place", "slope", "trend", "importance"),
        rows,
        "In the best chains. Slope: root mean square over the weights of the mean gradient; trend: by how much of "
        "itself it changes over a few steps; importance: the sum of |weight x gradient|. By index in "
        "gradients.safetensors.",
    )


def _chain(links: Sequence[Link], entries: Mapping[str, Entry]) -> Table:
    rows = []
    for link in links:
        entry = entries.get(link.id)
        if entry is None:
            rows.append((link.name, "solved in closed form", "", "", "", ""))
            continue
        shapes = f"{entry.input} to {entry.output}"
        price = compact(entry.cost.parameters), compact(entry.cost.flops)
        rows.append((link.name, link.id, label(entry), ("stitch, " if link.is_stitched else "") + shapes, *price))
    columns = ("", "entry", "from", "shapes", "parameters", "FLOPs a sample")
    return Table("The chain", columns, rows, "Costs are those at home.")


def _searches(searched: Sequence[Searched]) -> Table:
    rows = [
        (
            one.agent,
            str(len(one.records)),
            f"{one.best.outcome.loss:.4f}",
            percent(one.best.outcome.accuracy),
            percent(one.test),
            compact(one.best.outcome.flops),
            compact(one.records[-1].spent),
            duration(one.records[-1].seconds),
        )
        for one in searched
    ]
    columns = ("agent", "distinct chains", "loss", "accuracy", "test", "FLOPs a sample", "FLOPs searched", "time")
    return Table("The search", columns, rows, "Loss and accuracy of the best chain on the samples kept for the choice.")


def _values(searched: Searched, names: Mapping[str, str]) -> Table:
    found = values_of(searched)
    most = sorted(found, key=lambda prefix: (-len(found[prefix]), -max(found[prefix])))[:STATES]
    rows = [
        (
            " > ".join(names.get(id, id) for id in prefix),
            str(len(found[prefix])),
            f"{sum(found[prefix]) / len(found[prefix]):.4f}",
            f"{max(found[prefix]):.4f}",
        )
        for prefix in sorted(most, key=lambda prefix: -max(found[prefix]))
    ]
    return Table(
        "Values of states",
        ("the chain so far", "chains behind it", "mean worth", "best"),
        rows,
        "The beginnings that most chains share. Worth is minus the loss, less the price of FLOPs.",
    )


def _box(place: int, colour: str) -> Patch:
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch((place - 0.36, -0.45), 0.72, 0.9, boxstyle="round,pad=0.04", fc="white", ec=colour, lw=1.5)
