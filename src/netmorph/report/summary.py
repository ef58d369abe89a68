"""What a run found, as plain data and as a table for the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from netmorph.engine.lock import in_use
from netmorph.engine.merit import best, front, spent, trained
from netmorph.engine.records import NetworkRecord, Records
from netmorph.report.numbers import compact, percent


def summary(records: Records) -> dict[str, Any]:
    """What the run found: its "result" once it is finished, until then what is known so far.

    Returns:
        "status" ("running", "interrupted" or "finished"), "round", and
        "best", "members": {"id", "test_accuracy", "validation_accuracy", "parameters", "flops"} of the best
        network (None if there is none yet) and of each survivor;
        "ensemble": {"test_accuracy", "parameters", "flops", "members"} of the survivors together;
        "baselines": {"alone": the keys of "best" and "training_flops",
        "random": {"best", "ensemble", "training_flops", "networks" (how many)}}, without an arm that has no
        trained network yet;
        "training_flops" of the evolution, "seconds" of wall time, "front" (ids of the Pareto front).
        Test accuracies are None until the run is finished: the test set is used once.
    """
    known = records.meta("result") or _so_far(records)
    return {"status": status(records), "round": records.meta("round"), **known}


def status(records: Records) -> str | None:
    """Where the run is: "running", "interrupted" or "finished". A run that was killed says it is running."""
    told: str | None = records.meta("status")
    return "interrupted" if told == "running" and not in_use(records.path.parent) else told


def rows(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The lines of the summary's table: a name and an entry of `found` each."""
    baselines = found["baselines"]
    random = baselines.get("random") or {}
    lines = [
        ("Ensemble of the survivors", found["ensemble"], {"training_flops": found["training_flops"]}),
        ("Best network", found["best"], {}),
        *((f"Member {member['id']}", member, {}) for member in found["members"]),
        ("Start network trained on alone", baselines.get("alone"), {}),
        ("Random search, ensemble", random.get("ensemble"), {"training_flops": random.get("training_flops")}),
        ("Random search, best", random.get("best"), {}),
    ]
    return [(name, {**entry, **more}) for name, entry, more in lines if entry]


def table(records: Records) -> Table:
    """The summary as a table for the terminal."""
    found = summary(records)
    title = f"{records.path.parent.name}: {found['status']}, round {found['round']}"
    view = Table(title=title, title_justify="left")
    view.add_column("")
    for column in ("test", "validation", "parameters", "FLOPs", "training FLOPs"):
        view.add_column(column, justify="right")
    for name, entry in rows(found):
        view.add_row(
            name,
            percent(entry.get("test_accuracy")),
            percent(entry.get("validation_accuracy")),
            compact(entry["parameters"]),
            compact(entry["flops"]),
            compact(entry.get("training_flops")),
        )
    return view


def ancestry(networks: Iterable[NetworkRecord], last: int) -> list[NetworkRecord]:
    """The chain of parents that ends in the network `last`, oldest first."""
    by_id = {network.id: network for network in networks}
    chain = []
    following: int | None = last
    while following in by_id:
        chain.append(by_id.pop(following))
        following = chain[-1].parent
    return chain[::-1]


def _so_far(records: Records) -> dict[str, Any]:
    evolved, alone, random = (records.networks(arm) for arm in ("evolve", "alone", "random"))
    champion, survivors = best(evolved), trained(network for network in evolved if network.survivor)
    baselines: dict[str, Any] = {}
    chain = [*evolved[:1], *trained(alone)]  # the start network's own training is the first part of it
    if trained(alone) and (steady := best(chain)):
        baselines["alone"] = {**_entry(steady), "training_flops": spent(chain)}
    if contender := best(random):
        members = trained(network for network in random if network.survivor)
        baselines["random"] = {
            "best": _entry(contender),
            "ensemble": _ensemble(members),
            "training_flops": spent(random),
            "networks": len(trained(random)),
        }
    return {
        "best": _entry(champion) if champion else None,
        "ensemble": _ensemble(survivors),
        "members": [_entry(network) for network in survivors],
        "baselines": baselines,
        "training_flops": spent(evolved),
        "seconds": records.meta("seconds"),
        "front": [network.id for network in front(evolved)],
    }


def _entry(network: NetworkRecord) -> dict[str, Any]:
    return {
        "id": network.id,
        "test_accuracy": None,
        "validation_accuracy": network.accuracy,
        "parameters": network.parameters,
        "flops": network.flops,
    }


def _ensemble(members: Sequence[NetworkRecord]) -> dict[str, Any] | None:
    if not members:
        return None
    return {
        "test_accuracy": None,
        "parameters": sum(network.parameters for network in members),
        "flops": sum(network.flops for network in members),
        "members": [network.id for network in members],
    }
