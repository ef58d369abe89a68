"""The page of a search for a chain: the chain, the search beside random, the values of states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netmorph.bank import Entry
from netmorph.chain import Link, Prefix
from netmorph.chain.gradients import Told
from netmorph.report.chain_pictures import pictures
from netmorph.report.numbers import duration, percent
from netmorph.report.plain_page import Page, Table
from netmorph.report.searched import Learning, Searched, label
from netmorph.wording import compact

STATES = 12  # of which the values are told


def page(
    title: str,
    searched: Sequence[Searched],
    links: Sequence[Link],
    entries: Mapping[str, Entry],
    price: float,
    learning: Learning,
) -> Page:
    """The page of a search.

    Args:
        searched: the agent that was asked for first.
        links: where the layers of its best chain are from.
        entries: by id.
        price: loss that a FLOP costs.
        learning: what gradients had to do with it.
    """
    first = searched[0]
    best, outcome = first.best.chain, first.best.outcome
    paragraphs = [
        f"A chain of {len(best.layers)} layer{'' if len(best.layers) == 1 else 's'} out of the bank, "
        f"found by {first.agent} among {len(first.records)} distinct chains, answers {percent(first.test)} of the test "
        f"part right{'' if first.lessons else ' with no gradient step'}; "
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
    return Page(title, paragraphs, tables, pictures(searched, links, entries))


def values_of(searched: Searched) -> dict[Prefix, list[float]]:
    """The worths of all chains that begin with a prefix, by prefix."""
    found: dict[Prefix, list[float]] = {}
    for record, worth in zip(searched.records, searched.worths, strict=True):
        for length in range(1, len(record.chain.layers) + 1):
            found.setdefault(record.chain.layers[:length], []).append(worth)
    return found


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
