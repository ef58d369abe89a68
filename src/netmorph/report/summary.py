"""What a run found, as plain data and as a table for the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from netmorph.report.numbers import compact, percent
from netmorph.run.lock import in_use
from netmorph.run.ranking import best, front, spent, trained
from netmorph.run.records import NetworkRecord, Records

# Of more classes than FEW, tables show the WORST first or only.
FEW, WORST = 20, 10
Error = tuple[int, int, int]


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
        "training_flops" of the evolution, "seconds" of wall time, "front" (ids of the Pareto front);
        "classification" of the test set by the survivors together, see
        `netmorph.measure.classification.classification_report`.
        Test accuracies and the classification are None until the run is finished: the test set is used once.
        FLOPs are those of an answer in all views that the recipe asks for (until the run is finished, of one view).
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
    spent = {"training_flops": found["training_flops"]}
    survivors = [
        ("Ensemble of the survivors", found["ensemble"], spent),
        ("Best network", found["best"], {}),
        *((f"Member {member['id']}", member, {}) for member in found["members"]),
    ]
    lines = [
        # A single survivor is the ensemble, the best network and the only member.
        *(survivors if len(found["members"]) > 1 else [("Best network", found["best"], spent)]),
        ("Start network trained on alone", baselines.get("alone"), {}),
        ("Random search, ensemble", random.get("ensemble"), {"training_flops": random.get("training_flops")}),
        ("Random search, best", random.get("best"), {}),
    ]
    return [(name, {**entry, **more}) for name, entry, more in lines if entry]


def table(records: Records) -> Table:
    """The summary as a table for the terminal."""
    found = summary(records)
    where = "" if is_training(records) else f", round {found['round']}"
    title = f"{records.path.parent.name}: {found['status']}{where}"
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


def view(records: Records) -> Group:
    """What the terminal shows of a run: the table of the networks and, once they are tested, of the classes."""
    report = summary(records).get("classification")
    return Group(table(records)) if report is None else Group(table(records), "", class_table(report))


def class_table(report: Mapping[str, Any]) -> Table:
    """Precision, recall and F1 of each class on the test set, or of many classes the worst, as a table.

    Args:
        report: see `netmorph.measure.classification.classification_report`.
    """
    classes = class_rows(report)
    view = Table(title_justify="left")
    if len(classes) <= FEW:
        view.title, shown = "Classes on the test set", classes
    else:
        view.title, shown = f"The {WORST} worst of {len(classes)} classes on the test set, by F1", worst(classes)
    view.add_column("class")
    for column in ("precision", "recall", "F1", "samples"):
        view.add_column(column, justify="right")
    view.add_column("most often taken for")
    for entry in shown:
        view.add_row(escape(entry["name"]), *_shares(entry), str(entry["support"]), escape(entry["taken_for"]))
    view.add_section()
    total = str(sum(entry["support"] for entry in classes))
    view.add_row("mean of the classes", *_shares(report["macro"]), total, "")
    view.add_row("mean of the samples", *_shares(report["weighted"]), total, "")
    return view


def class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The "classes" of a report, each with what it is "taken_for" most often."""
    names = [entry["name"] for entry in report["classes"]]
    taken: dict[int, str] = {}
    for true, predicted, count in errors_of(report):
        taken.setdefault(true, f"{names[predicted]} ({count})")
    return [{**entry, "taken_for": taken.get(label, "")} for label, entry in enumerate(report["classes"])]


def worst(classes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the classes with the lowest F1, of those that have samples."""
    return sorted((entry for entry in classes if entry["support"]), key=lambda entry: float(entry["f1"]))[:WORST]


def errors_of(report: Mapping[str, Any]) -> list[Error]:
    """The errors in a report as (true class, predicted class, count), the most frequent first."""
    errors = [(true, predicted, count) for true, predicted, count in report["confusion"] if true != predicted]
    return sorted(errors, key=lambda error: -error[2])


def is_training(records: Records) -> bool:
    """Whether the run is the training of one network, and no evolution."""
    return bool((records.meta("config") or {}).get("task") == "train")


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
        "classification": None,
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


def _shares(entry: Mapping[str, Any]) -> list[str]:
    return [percent(entry[column]) for column in ("precision", "recall", "f1")]
