"""The tables of `benchmarks.zoo`: one row a model, and what they come to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

Record = dict[str, Any]
Records = dict[tuple[str, str], Record]
COLUMNS = ("model", "groups", "(a) widened", "(b) halved", "seconds", "T-P seconds", "left", "T-P left")


@dataclass(frozen=True)
class Model:
    """One model of the zoo; `input` is its image's shape, 3x224x224."""

    suite: str
    name: str
    input: str

    @property
    def key(self) -> str:
        """For records: both suites have a `vgg11_bn`."""
        return f"{self.suite}/{self.name}"


@dataclass(frozen=True)
class Row:
    """Both sides' results on one model; numbers are None where the side did not get that far."""

    model: Model
    groups: dict[str, int]
    widened: str  # "exact", or what went wrong
    halved: str  # "equal", or what went wrong
    wrong: bool  # an edit was made, and the outputs are not what they should be
    seconds: float | None
    left: float | None
    other_status: str
    other_seconds: float | None
    other_left: float | None
    troubles: dict[str, str]

    @property
    def cells(self) -> list[str]:
        """For a table with `COLUMNS`."""
        free = sum(count for allow, count in self.groups.items() if allow != "frozen")
        frozen = self.groups.get("frozen", 0)
        return [
            self.model.name,
            f"{free} + {frozen}" if self.groups else "-",
            self.widened,
            self.halved,
            _number(self.seconds, ".2f"),
            _number(self.other_seconds, ".2f") if self.other_status == "ok" else self.other_status,
            _number(self.left, ".3f"),
            _number(self.other_left, ".3f") if self.other_status == "ok" else "-",
        ]


def rows(models: Sequence[Model], records: Records) -> list[Row]:
    """The results of those models that netmorph was tried on."""
    found = [
        (model, records.get(("netmorph", model.key)), records.get(("torch_pruning", model.key))) for model in models
    ]
    return [_row(model, ours, other) for model, ours, other in found if ours]


def _row(model: Model, ours: Record, other: Record | None) -> Row:
    stages: dict[str, dict[str, Any]] = ours["stages"]
    speed, widen, halve = (stages.get(name, {}) for name in ("speed", "widen", "halve"))
    single = widen.get("single", {}).get("failures", {})
    widened = "one by one" if widen.get("status") == "exact" and single else _status(widen, speed, ours)
    seconds = speed["trace_seconds"] + speed["edit_seconds"] if "edit_seconds" in speed else None
    pruned: dict[str, Any] = other["stages"].get("prune", {}) if other else {}
    ended = "" if other is None else other["ended"] if other["ended"] == "timeout" else pruned.get("status", "failed")
    differs = "differs" in (widen.get("status"), halve.get("status")) or any(
        "differs" in why for why in single.values()
    )
    return Row(
        model,
        speed.get("groups", {}),
        widened,
        _status(halve, speed, ours),
        differs or widen.get("restored") is False,
        seconds,
        _share(speed),
        ended,
        pruned.get("seconds"),
        _share(pruned),
        _troubles(stages, ours["ended"]),
    )


def _status(stage: dict[str, Any], speed: dict[str, Any], record: Record) -> str:
    if "status" in stage:
        return str(stage["status"])
    if "trace_seconds" not in speed and "type" in speed:
        return "no trace"
    return str(record["ended"])[:20]


def _share(stage: dict[str, Any]) -> float | None:
    return stage["parameters_left"] / stage["parameters"] if "parameters_left" in stage else None


def _troubles(stages: dict[str, dict[str, Any]], ended: str) -> dict[str, str]:
    """What went wrong, by stage."""
    found = {} if ended == "done" else {"process": ended}
    for name, stage in stages.items():
        if "message" in stage:
            step = f"at {stage['step']}, " if "step" in stage else ""
            found[name] = f"{step}{stage['type']}: {stage['message'][:600]} [{stage['location']}]"
        if "why" in stage:
            found[name] = f"differs by {stage['error']:.1e}, {stage['why']}"
        elif stage.get("status") == "differs":
            found[name] = f"differs by {stage['error']:.1e}"
        if stage.get("missing_gradients"):
            found[f"{name} backward"] = f"no gradient for {', '.join(stage['missing_gradients'])}"
        for group, failure in stage.get("single", {}).get("failures", {}).items():
            found[f"{name} {group}"] = failure
    return found


def summary(found: Sequence[Row]) -> list[tuple[str, str]]:
    """What the rows come to: pairs of a title and its figures."""
    handled = [row for row in found if row.other_status == "ok"]
    timed = [row for row in handled if row.seconds is not None and row.other_seconds is not None]
    ours, other = ([value for value in values if value is not None] for values in (
        [row.seconds for row in timed], [row.other_seconds for row in timed]
    ))  # fmt: skip
    ratios = {row.model.key: row.left / row.other_left for row in handled if row.left and row.other_left}
    more = {name: ratio for name, ratio in ratios.items() if ratio > 1.1}
    elsewhere = [row.left for row in found if row.other_status != "ok" and row.left is not None]
    slowest = max((row for row in found if row.seconds is not None), key=lambda row: row.seconds or 0, default=None)
    wrong = [row.model.name for row in found if row.wrong]
    lines = [
        ("models", str(len(found))),
        ("(a) every group widened exactly", _of(sum(row.widened == "exact" for row in found), len(found))),
        (
            "(b) every group halved, equal to the masked original",
            _of(sum(r.halved == "equal" for r in found), len(found)),
        ),
        ("results that are wrong without an error", f"{len(wrong)} {' '.join(wrong)}"),
        ("Torch-Pruning succeeds", _of(len(handled), len(found))),
    ]
    if ours:
        median, reference = statistics.median(ours), statistics.median(other)
        lines.append(
            ("median seconds to trace and halve, where it does",
             f"{median:.2f}, Torch-Pruning {reference:.2f}: {median / reference:.2f} times")
        )  # fmt: skip
        lines.append(("Torch-Pruning's longest", f"{max(other):.1f} s"))
    if slowest:
        lines.append(("longest of all", f"{slowest.seconds:.1f} s ({slowest.model.name})"))
    if ratios:
        lines.append(
            ("parameters left beside Torch-Pruning's, where it succeeds",
             f"median {statistics.median(ratios.values()):.3f} times; above 1.1: "
             + (", ".join(f"{name} {ratio:.2f}" for name, ratio in more.items()) or "none"))
        )  # fmt: skip
    if elsewhere:
        lines.append(("share of parameters left elsewhere", f"median {statistics.median(elsewhere):.3f}"))
    return lines


def show(console: Console, models: Sequence[Model], records: Records) -> None:
    """All of it on a terminal."""
    found = rows(models, records)
    table = Table(*COLUMNS)
    for row in found:
        table.add_row(*row.cells)
    console.print(table)
    for row in found:
        for place, trouble in row.troubles.items():
            console.print(f"{row.model.name}, {place}: {trouble}", highlight=False, markup=False)
    for title, figures in summary(found):
        console.print(f"{title}: {figures}", highlight=False, markup=False)


def markdown(models: Sequence[Model], records: Records) -> str:
    """The summary and a row for each model, for a page of results."""
    found = rows(models, records)
    lines = ["| | |", "|---|---|", *(f"| {title} | {figures} |" for title, figures in summary(found)), ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += [f"| {' | '.join(row.cells)} |" for row in found]
    return "\n".join(lines) + "\n"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _of(count: int, total: int) -> str:
    return f"{count} of {total} ({count / total:.0%})" if total else "none"
