"""The networks of a run, one by one: all of them in lines, and how one of them came about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from netmorph.report.arms import look
from netmorph.report.numbers import recipe_text
from netmorph.run.names import State
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.run.store import whole_file
from netmorph.tasks import Criterion
from netmorph.wording import compact, ranges


def network_table(records: Records) -> Table:
    """A line for each network of a run."""
    networks, criterion = records.networks(), Criterion.of(records.meta("criterion"))
    view = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("id", "arm", "round", "parent", f"validation {criterion.name}", "parameters", "edits"):
        is_text = column in ("arm", "edits")
        view.add_column(column, justify="left" if is_text else "right", overflow="fold")
    for network in networks:
        edits = ", ".join(map(str, network.edits))
        score = None if network.score is None else criterion.value(network.score)
        parent = "" if network.parent is None else str(network.parent)
        numbers = (criterion.text(score), compact(network.parameters))
        told = network.failure or (edits if network.state == State.TRAINED else network.state)
        view.add_row(str(network.id), network.arm, str(network.round), parent, *numbers, escape(told))
    return view


def network_summary(records: Records, id: int) -> dict[str, Any]:
    """What `netmorph show --json RUN:ID` tells: all that is recorded of the network, its ancestors and its file."""
    chain = records.ancestry(id)
    told = {field: value for field, value in asdict(chain[-1]).items() if field != "edits"}
    return told | {
        "ancestors": [network.id for network in chain[:-1]],
        "edits": [{"network": network.id, **asdict(edit)} for network in chain for edit in network.edits],
        "epochs": len(records.epochs(id)),
        "file": str(whole_file(records.path.parent, id)),
    }


def network_view(records: Records, id: int) -> Table:
    """One network of a run, and how it came about."""
    criterion = Criterion.of(records.meta("criterion"))
    chain = records.ancestry(id)
    network = chain[-1]
    view = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    view.add_column(style="bold")
    view.add_column(overflow="fold")
    looks = [criterion, *(Criterion(name) for name in network.numbers if name != criterion.name)]
    numbers = ", ".join(f"{look.name} {look.text(network.numbers.get(look.name))}" for look in looks)
    edits = [f"{one.id}: {edit}" for one in chain for edit in one.edits]
    for name, value in (
        ("network", f"{id} of {records.path.parent}"),
        ("arm", f"{look(network.arm).title}, round {network.round}"),
        ("descends from", ", ".join(str(one.id) for one in chain[:-1]) or "no other"),
        ("edits", "\n".join(edits) or "none"),
        ("recipe", recipe_text(network.recipe) or "the run's"),
        ("validation", numbers),
        ("parameters", compact(network.parameters)),
        ("FLOPs", f"{compact(network.flops)} for a sample, {compact(network.training_flops)} to train it"),
        ("file", str(whole_file(records.path.parent, id))),
    ):
        view.add_row(name, escape(value))
    return view


def ids_by_arm(networks: Sequence[NetworkRecord]) -> list[str]:
    """ "evolution 1-4, 7": the trained networks of each arm."""
    ids: dict[str, list[int]] = {}
    for network in networks:
        if network.state == State.TRAINED:
            ids.setdefault(network.arm, []).append(network.id)
    told = [f"{look(arm).title.lower()} {ranges(found)}" for arm, found in ids.items()]
    return told if len(told) > 1 else [ranges(found) for found in ids.values()] or ["none is trained yet"]


def ancestry(networks: Iterable[NetworkRecord], last: int) -> list[NetworkRecord]:
    """The chain of parents that ends in the network `last`, oldest first."""
    by_id = {network.id: network for network in networks}
    chain = []
    following: int | None = last
    while following in by_id:
        chain.append(by_id.pop(following))
        following = chain[-1].parent
    return chain[::-1]
