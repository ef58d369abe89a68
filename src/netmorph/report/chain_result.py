"""What a search for a chain has found as plain values, and from these its page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from netmorph.bank import Entry
from netmorph.chain import Link, Record
from netmorph.chain.features import Counts
from netmorph.chain.gradients import Told
from netmorph.chain.journal import read_records
from netmorph.chain.trials import cheap
from netmorph.report.chaining import page
from netmorph.report.plain_page import Page
from netmorph.report.searched import Learning, Searched


def as_json(
    title: str,
    searched: Sequence[Searched],
    links: Sequence[Link],
    learning: Learning,
    network: str,
    not_kept: str | None,
) -> dict[str, Any]:
    """Plain values.

    Args:
        searched: the agent that was asked for first.
        links: where the layers of its best chain are from.
        network: the name of the file of the network.
        not_kept: why no classes can be added to it, if so.
    """
    return {
        "title": title,
        "chain": asdict(searched[0].best.chain),
        "lineage": [link.as_json() for link in links],
        "learn": learning.mode,
        "learning_flops": learning.flops,
        "test_accuracy": learning.test,
        "gradients": [
            {"id": id, "place": place, "told": one._asdict()} for (id, place), one in learning.gradients.items()
        ],
        "searches": {
            one.agent: {
                "best": one.best.as_json(),
                "test_accuracy": one.test,
                "distinct_chains": len(one.records),
                "lessons": one.lessons,
                "cache": asdict(one.cache),
            }
            for one in searched
        },
        "network": network,
        "not_kept": not_kept,
    }


def page_of(folder: Path, told: Mapping[str, Any], entries: Iterable[Entry], price: float) -> Page:
    """The page, as it was written when the search came to its end.

    Args:
        folder: has all that was judged.
        told: what `as_json` told.
        entries: of the bank.
        price: see `netmorph.report.chaining.page`.

    Raises:
        ChainError: what was judged cannot be read.
    """
    worth, searched = cheap(price), []
    for agent, one in told["searches"].items():
        records = tuple(read_records(folder / f"{agent}.jsonl"))
        worths, best = tuple(worth(record.outcome) for record in records), Record.from_json(one["best"])
        searched.append(Searched(agent, records, worths, best, one["test_accuracy"], Counts(**one["cache"])))
    links = tuple(Link(**link) for link in told["lineage"])
    gradients = {(one["id"], one["place"]): Told(**one["told"]) for one in told["gradients"]}
    learning = Learning(told["learn"], told["learning_flops"], told["test_accuracy"], gradients)
    made = page(told["title"], searched, links, {entry.id: entry for entry in entries}, price, learning)
    if told["not_kept"] is None:
        return made
    return replace(made, paragraphs=[*made.paragraphs, f"Classes cannot be added to it: {told['not_kept']}"])
