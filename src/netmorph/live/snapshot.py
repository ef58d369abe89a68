"""What the live page shows of a run, as plain values for JSON: functions of its records that write nothing.

A page asks for all networks once, and from then on for those from the oldest one that was still planned: older ones do
not change until the run ends, or goes on again; then the page asks for all of it anew. Whatever can be added up from
that (fronts, trees, totals) the page adds up itself.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netmorph.report.arms import LOOKS, PURPLE, look
from netmorph.report.logs import METRICS, column
from netmorph.report.summary import found_by, is_training, rows, status
from netmorph.report.verdict import verdict
from netmorph.run.database import FILE_NAME, RecordsError
from netmorph.run.names import State
from netmorph.run.records import Records
from netmorph.run.rows import EpochRecord, NetworkRecord, Outline
from netmorph.tasks import Criterion

QUEUED, REASONS = 50, 20  # so many planned networks, and reasons of failures, are told one by one
LINE = 60  # a network is told with so many of its last ancestors
STATES = tuple(State)
FURTHER = (PURPLE, "#6b4c9a", "#7f7f7f")


def snapshot(records: Records, first: int = 0) -> dict[str, Any]:
    """Where a run is, and its networks from the id `first` on.

    Returns:
        "file", which changes if the folder holds another run than before; "title", "command", "kind" ("evolve" or
        "train"), "status", "round", "seconds" so far, "age" in seconds of the last record, the "budget" and the
        "criterion" by their fields; "arms", each with its name, title and colour; "networks", see `columns`; ids of the
        "survivors"; the "queue" and the number of "failures" by their reasons; the "epochs" of a training; what was
        "found", once it is finished; whether there is a "report".
    """
    folder, config = records.path.resolve().parent, records.meta("config") or {}
    criterion, training = Criterion.of(records.meta("criterion")), is_training(records)
    outlines = records.outlines(first)
    arms = [*dict.fromkeys([*(records.meta("arms") or LOOKS), *(outline.arm for outline in outlines)])]
    return {
        "file": records.path.stat().st_ino,
        "title": records.meta("title") or folder.name,
        "command": records.meta("command"),
        "kind": "train" if training else "evolve",
        "status": status(records),
        "round": records.meta("round"),
        "seconds": records.meta("seconds"),
        "age": _age(folder),
        "budget": config.get("budget") or {},
        "criterion": vars(criterion),
        "arms": [
            {"name": arm, "title": look(arm).title, "colour": colour}
            for arm, colour in zip(arms, _colours(arms), strict=True)
        ],
        "networks": columns(outlines, arms, criterion),
        "survivors": records.survivors(),
        "queue": [_queued(network) for network in records.queue(QUEUED)],
        "failures": [failures._asdict() for failures in records.failures(REASONS)],
        "epochs": _of_training(folder, records, criterion) if training else [],
        "found": _found(records, criterion),
        "report": (folder / "report.html").is_file(),
    }


def columns(outlines: Sequence[Outline], arms: Sequence[str], criterion: Criterion) -> dict[str, list[Any]]:
    """Networks as one list for each field, which takes half of what a dictionary for each network would.

    Arms and states are told by their positions (in `arms`, and in planned, trained, failed); in the place of the score
    stands the "value" of the criterion, None where it is not known or not finite.
    """
    told: dict[str, list[Any]] = {
        name: [outline[at] for outline in outlines] for at, name in enumerate(Outline._fields)
    }
    position, stage = {arm: at for at, arm in enumerate(arms)}, {state: at for at, state in enumerate(STATES)}
    told["arm"] = [position[arm] for arm in told["arm"]]
    told["state"] = [stage[State(state)] for state in told["state"]]
    told["value"] = [_value(score, criterion) for score in told.pop("score")]
    return told


def network(records: Records, id: int) -> dict[str, Any] | None:
    """One network and how it was trained: "id", "state", "arm", "failure", its last "ancestors" (ids, oldest first),
    the "edits" of this chain (the network and a text each), "numbers" as texts, and "epochs", those of its ancestors
    before its own; None if it is not there.
    """
    chain = records.ancestry(id, LINE + 1)
    if not chain:
        return None
    criterion, own = Criterion.of(records.meta("criterion")), chain[-1]
    looks = [criterion, *(Criterion(name) for name in own.numbers if name != criterion.name)]
    return {
        "id": id,
        "state": own.state,
        "arm": look(own.arm).title,
        "failure": own.failure,
        "ancestors": [one.id for one in chain[:-1]],
        "edits": [{"network": one.id, "edit": str(edit)} for one in chain for edit in one.edits],
        "numbers": {look.name: look.text(own.numbers[look.name]) for look in looks if look.name in own.numbers},
        "epochs": [_of_record(epoch, criterion) for one in chain for epoch in records.epochs(one.id)],
    }


def _colours(arms: Sequence[str]) -> list[str]:
    """Those of the report; further arms each have one of their own, as long as there are any."""
    further = itertools.cycle(FURTHER)
    return [LOOKS[arm].colour if arm in LOOKS else next(further) for arm in arms]


def _queued(network: NetworkRecord) -> dict[str, Any]:
    return {
        "id": network.id,
        "arm": look(network.arm).title,
        "parent": network.parent,
        "edits": [str(edit) for edit in network.edits],
        "training_flops": network.training_flops,
    }


def _found(records: Records, criterion: Criterion) -> dict[str, Any] | None:
    """What a finished run says, and its table; its test is the only thing that networks alone do not tell."""
    if records.meta("result") is None:
        return None
    found = found_by(records)
    table = [
        {"name": row.name, "id": row.id, "test": criterion.text(row.test), "validation": criterion.text(row.validation)}
        for row in rows(found, criterion)
    ]
    return {"verdict": verdict(found, criterion), "rows": table}


def _of_training(folder: Path, records: Records, criterion: Criterion) -> list[dict[str, Any]]:
    """Its epochs so far: records have them at its end, its log one by one."""
    known: list[EpochRecord] = [epoch for outline in records.outlines() for epoch in records.epochs(outline.id)]
    if known:
        return [_of_record(epoch, criterion) for epoch in known]
    try:
        lines = (folder / METRICS).read_text("utf-8").splitlines()
        return [_of_row(json.loads(line), criterion) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordsError(f"{folder / METRICS} is no log of a training that netmorph wrote: {error}") from error


def _of_record(told: EpochRecord, criterion: Criterion) -> dict[str, Any]:
    """The number that chooses, on both parts; a task may not tell it while it trains."""
    return _epoch(told.network, told.epoch, told.train.get(criterion.name), told.validation.get(criterion.name))


def _of_row(row: Mapping[str, Any], criterion: Criterion) -> dict[str, Any]:
    """The same from a line of a log."""
    return _epoch(1, row["epoch"], *(row.get(column(part, criterion.name)) for part in ("train", "validation")))


def _epoch(network: int, epoch: int, train: float | None, validation: float | None) -> dict[str, Any]:
    return {"network": network, "epoch": epoch, "train": _finite(train), "validation": _finite(validation)}


def _value(score: float | None, criterion: Criterion) -> float | None:
    return None if score is None else _finite(criterion.value(score))


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _age(folder: Path) -> float:
    """Seconds since the run wrote something."""
    written = max(_written(folder / name) for name in (FILE_NAME, f"{FILE_NAME}-wal", METRICS))
    return max(0.0, time.time() - written)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
