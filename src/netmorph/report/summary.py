"""What a run found, as plain data and as a table for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from netmorph.report.arms import look
from netmorph.report.listing import ids_by_arm
from netmorph.report.noise import noise
from netmorph.report.numbers import percent
from netmorph.report.reliable import calibration_table
from netmorph.report.verdict import verdict
from netmorph.run.findings import result_of
from netmorph.run.lock import in_use
from netmorph.run.names import ArmName, Status
from netmorph.run.records import Records
from netmorph.run.result import EnsembleResult, NetworkResult, Result, Tested
from netmorph.run.rows import NetworkRecord
from netmorph.tasks import TOP5, Criterion, Exhibit
from netmorph.tasks.criterion import ACCURACY
from netmorph.wording import compact

# Of more classes than FEW, tables show the WORST first or only.
FEW, WORST = 20, 10
Error = tuple[int, int, int]


@dataclass(frozen=True)
class Row:
    """A line of the summary's table, with the number that chooses; what is not known, or not told of it, is None."""

    name: str
    id: int | None
    test: float | None
    validation: float | None
    parameters: int
    flops: int
    training_flops: int | None = None


def found_by(records: Records) -> Result:
    """What the run found: its result once it is finished, until then what is known so far."""
    told = records.meta("result")
    return result_of(records) if told is None else Result.from_json(told)


def summary(records: Records) -> dict[str, Any]:
    """What `netmorph show --json` tells: "status", "round", the "verdict", the "noise" of the validation set, what
    `netmorph.run.result.Result` holds, and "networks": id, arm, round, parent, state, score, parameters, FLOPs and
    latency of each.
    """
    found, networks, criterion = found_by(records), records.networks(), Criterion.of(records.meta("criterion"))
    keys = ("id", "arm", "round", "parent", "state", "score", "parameters", "flops", "latency")
    told = {
        "status": status(records),
        "round": records.meta("round"),
        "verdict": verdict(found, criterion),
        "noise": noise_of(records, networks),
    }
    return told | found.as_json() | {"networks": [{key: getattr(one, key) for key in keys} for one in networks]}


def noise_of(records: Records, networks: Sequence[NetworkRecord]) -> str | None:
    """How well the validation set tells the networks of a run apart, see `netmorph.report.noise`."""
    return noise(networks, Criterion.of(records.meta("criterion")), records.meta("validation_samples"))


def status(records: Records) -> str | None:
    """Where the run is, as a `Status`. A run that was killed says it is running."""
    told: str | None = records.meta("status")
    return Status.INTERRUPTED if told == Status.RUNNING and not in_use(records.path.parent) else told


def rows(found: Result, criterion: Criterion) -> list[Row]:
    """The lines of the summary's table: the best network of all, then arm by arm."""
    row = partial(_row, criterion)
    lines = [] if found.best is None else [row("Best network", found.best)]
    if found.ensemble is not None and len(found.members) > 1:
        lines += [
            row("Ensemble of the survivors", found.ensemble, found.training_flops),
            *(row("Member", member) for member in found.members),
        ]
    elif found.evolved is not None and found.evolved != found.best:
        lines.append(row(f"{look(ArmName.EVOLVE).title}, best", found.evolved, found.training_flops))
    elif lines:  # a single survivor is the ensemble, the best network and the only member
        lines[0] = replace(lines[0], training_flops=found.training_flops)
    for name, baseline in found.baselines.items():
        title = look(name).title
        if baseline.networks is None:
            lines.append(row(title, baseline.best, baseline.training_flops))
            continue
        if baseline.ensemble is not None:
            lines.append(row(f"{title}, ensemble", baseline.ensemble, baseline.training_flops))
        alone = baseline.training_flops if baseline.ensemble is None else None
        lines.append(row(f"{title}, best", baseline.best, alone))
    return lines


def _row(
    criterion: Criterion, name: str, entry: NetworkResult | EnsembleResult, training_flops: int | None = None
) -> Row:
    id, validation = None, None
    if isinstance(entry, NetworkResult):
        id, validation = entry.id, entry.validation.get(criterion.name)
    return Row(name, id, entry.test.get(criterion.name), validation, entry.parameters, entry.flops, training_flops)


@dataclass(frozen=True)
class NumberTable:
    """All that the task tells of the test set: a column for each number, and rows of a name and its texts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def number_table(found: Result, criterion: Criterion) -> NumberTable | None:
    """The numbers of the best networks and of what they have to beat; None until they are tested."""
    tested: list[tuple[str, Tested]] = []
    if found.ensemble is not None and len(found.members) > 1:
        tested.append(("Ensemble of the survivors", found.ensemble.test))
    if found.best is not None:
        tested.append(("Best network", found.best.test))
    if found.constant is not None:
        tested.append((_sentence(found.constant.name), found.constant.test))
    known = [(name, test) for name, test in tested if test.get(criterion.name) is not None]
    if not known:
        return None
    shares = {share.name: share for share in (ACCURACY, TOP5) if criterion.is_share}
    others = (column for column in known[0][1] if column != criterion.name)
    looks = [criterion, *(shares.get(name, Criterion(name)) for name in others)]
    rows = ((name, tuple(look.text(test.get(look.name)) for look in looks)) for name, test in known)
    return NumberTable(tuple(look.name for look in looks), tuple(rows))


def exhibit_of(records: Records) -> Exhibit:
    """What the run shows of its test beside numbers; runs that recorded none classified."""
    return Exhibit(records.meta("exhibit") or Exhibit.CLASSES)


def table(records: Records) -> Table:
    """The summary as a table for the terminal."""
    where = "" if is_training(records) else f", round {records.meta('round')}"
    criterion = Criterion.of(records.meta("criterion"))
    title = f"{records.path.parent.name}: {status(records)}{where} ({criterion.name})"
    view = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    view.add_column("")
    for column in ("id", "test", "validation", "parameters", "FLOPs", "training\nFLOPs"):
        view.add_column(column, justify="right", vertical="bottom")
    for row in rows(found_by(records), criterion):
        view.add_row(
            row.name,
            "" if row.id is None else str(row.id),
            criterion.text(row.test),
            criterion.text(row.validation),
            compact(row.parameters),
            compact(row.flops),
            compact(row.training_flops),
        )
    return view


def view(records: Records) -> Group:
    """What the terminal shows of a run: what it says, its networks and, once they are tested, all numbers of the test,
    how well classes are recognized, how sure it is of them, and the ids of all networks.
    """
    found, criterion = found_by(records), Criterion.of(records.meta("criterion"))
    said, networks = verdict(found, criterion), records.networks()
    said = None if said is None else f"{said} {noise_of(records, networks) or ''}".strip()
    parts: list[RenderableType] = [] if said is None else [escape(said), ""]
    parts.append(table(records))
    numbers = number_table(found, criterion)
    if numbers is not None:
        parts += ["", test_table(numbers)]
    if found.exhibits.classification is not None:
        parts += ["", class_table(found.exhibits.classification)]
    if found.exhibits.calibration is not None:
        parts += ["", calibration_table(found.exhibits.calibration)]
    if networks:
        parts += ["", f"Networks: {'; '.join(ids_by_arm(networks))} (--all lists them)"]
    return Group(*parts)


def test_table(numbers: NumberTable) -> Table:
    """All numbers of the test set as a table for the terminal."""
    view = Table(title="All numbers on the test set", title_justify="left")
    view.add_column("")
    for column in numbers.columns:
        view.add_column(escape(column), justify="right")
    for name, texts in numbers.rows:
        view.add_row(escape(name), *texts)
    return view


def class_table(report: Mapping[str, Any]) -> Table:
    """Precision, recall and F1 of each class on the test set, or of many classes the worst, as a table.

    Args:
        report: see `netmorph.measure.classification_report`.
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


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _shares(entry: Mapping[str, Any]) -> list[str]:
    return [percent(entry[column]) for column in ("precision", "recall", "f1")]
