"""Which figures a run's report has, in their order, and which of them have something to show."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from netmorph.measure.calibration import BINS
from netmorph.report import answers, lineage, plots, reliable, training
from netmorph.report.figures import Drawing, svg
from netmorph.report.listing import ancestry
from netmorph.report.summary import exhibit_of, is_training
from netmorph.run.names import ArmName
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.rows import NetworkRecord
from netmorph.run.single import GROWTH
from netmorph.tasks import LOSS, Criterion, Exhibit


@dataclass(frozen=True)
class Section:
    """A figure of the report.

    Attributes:
        draw: draws it; None while the run has nothing to show in it.
        height: of the figure, in px.
    """

    id: str
    title: str
    caption: str
    draw: Drawing | None
    height: float

    def svg(self) -> str:
        """The figure as an element of the page, if there is one."""
        return "" if self.draw is None else svg(self.draw, self.id, f"{self.title}. {self.caption}", self.height)


def sections(records: Records, found: Result, linked: Collection[int] = ()) -> list[Section]:
    """The figures of a run.

    Args:
        found: what it has found.
        linked: networks of which the page shows what differs from their parents.
    """
    networks = records.networks()
    if is_training(records):
        own, answered_by = _of_training(records, networks), ""
    else:
        own, answered_by = _of_evolution(records, found, networks, linked), ", by the ensemble of the survivors"
    shown = _OF_THE_TEST.get(exhibit_of(records))
    if shown is not None:
        own = [*own, shown(found, f"On the test set{answered_by}.")]
    calibration = found.exhibits.calibration  # which older runs have none of
    return own if calibration is None else [*own, _calibration(calibration)]


def _confusions(found: Result, where: str) -> Section:
    report = found.exhibits.classification
    return Section(
        "confusion",
        "Confusions",
        f"{where} In the matrix each row is a true class, each column what it was taken for; right answers are blue, "
        "errors orange, the stronger the larger their share of the true class.",
        None if report is None else partial(training.confusion, report=report),
        0 if report is None else training.confusion_height(report),
    )


def _calibration(calibration: Mapping[str, Any]) -> Section:
    return Section(
        "calibration",
        "Sure and right",
        "On the test set. Of the answers with a probability of 80%, 80% should be right: a bar should end on the "
        "diagonal. The stronger a bar, the more samples. The calibration error (ECE) is the mean distance from it, "
        f"over the samples, in {BINS} bins of equal width.",
        partial(reliable.reliability_diagram, calibration=calibration),
        reliable.HEIGHT,
    )


def _values(found: Result, where: str) -> Section:
    report = found.exhibits.values
    shown = 0 if report is None else max(len(column["true"]) for column in report["columns"])
    few = "" if report is None or shown == report["samples"] else f" {shown} of {report['samples']} samples are drawn."
    return Section(
        "values",
        "Predicted and true values",
        f"{where} Left: the closer to the diagonal, where both are equal, the better.{few} Right: how the errors of "
        "all samples are distributed. Values are in the units of the target.",
        None if report is None else partial(answers.values, report=report),
        0 if report is None else answers.values_height(report),
    )


def _positions(found: Result, where: str) -> Section:
    text = found.exhibits.text
    constant = None if found.constant is None else found.constant.test.get(LOSS)
    return Section(
        "positions",
        "Loss by position",
        f"{where} The more of a window's text lies before a token, the better it can be told. Where the line is "
        "level, more text no longer helps.",
        None if text is None else partial(answers.positions, text=text, constant=constant),
        340,
    )


# What is shown of the test set; a user's own task has nothing here, and its numbers in a table.
_OF_THE_TEST: Mapping[Exhibit, Callable[[Result, str], Section]] = {
    Exhibit.CLASSES: _confusions,
    Exhibit.VALUES: _values,
    Exhibit.TOKENS: _positions,
}


def _of_training(records: Records, networks: Sequence[NetworkRecord]) -> list[Section]:
    criterion = Criterion.of(records.meta("criterion"))
    epochs = [epoch for network in networks for epoch in records.epochs(network.id)]
    growth = records.meta(GROWTH) or {"epochs": [], "flops": []}
    marks = "Dashed lines: the network grew." if growth["epochs"] else ""
    curves = [
        Section(
            "learning",
            "Learning curves",
            "Training values are means over an epoch while the weights move, with augmentation and label smoothing if "
            "there are any; validation follows each epoch, without them. The ring marks the epoch that was kept. "
            + marks,
            partial(training.learning, epochs=epochs, criterion=criterion, growths=growth["epochs"])
            if epochs
            else None,
            360,
        )
    ]
    if growth["epochs"]:
        curves.append(
            Section(
                "cost",
                "What it cost",
                f"Validation after each epoch by what the training had cost until then. {marks}",
                partial(
                    training.spending,
                    epochs=epochs,
                    criterion=criterion,
                    growths=growth["epochs"],
                    flops=growth["flops"],
                ),
                320,
            )
        )
    return curves


def _of_evolution(
    records: Records, found: Result, networks: Sequence[NetworkRecord], linked: Collection[int]
) -> list[Section]:
    criterion = Criterion.of(records.meta("criterion"))
    name = criterion.name
    evolved = [network for network in networks if network.arm == ArmName.EVOLVE]
    alone = [network for network in networks if network.arm == ArmName.ALONE]
    champion = None if found.evolved is None else next(n for n in evolved if n.id == found.evolved.id)
    ready = champion is not None
    id = champion.id if champion else -1
    on_front = sorted((n for n in evolved if n.id in found.front), key=lambda n: n.flops)
    chain = ancestry(networks, id)
    baseline = ancestry(networks, alone[-1].id) if alone else []
    epochs = {network.id: records.epochs(network.id) for network in chain + baseline}
    learned = any(math.isfinite(epoch.score) for n in chain for epoch in epochs[n.id])
    edited = any(network.edits for network in evolved)
    tested = found.ensemble is not None and found.ensemble.test.get(name) is not None
    tree_height = lineage.height(evolved, id) if ready else 0
    edits_height = 90 + 34 * len({edit.kind for network in evolved for edit in network.edits})
    ensemble_height = 80 + 32 * (len(found.members) + 4)
    return [
        Section(
            "tradeoff",
            f"Validation {name} against FLOPs",
            "Every trained network of the run; what lies beyond the axis is drawn on its edge. The line joins "
            "the evolution's Pareto front: no other evolved network is as good for as few FLOPs.",
            partial(plots.tradeoff, networks=networks, front=on_front, best=id, criterion=criterion) if ready else None,
            460,
        ),
        Section(
            "lineage",
            "Lineage",
            "Each network and the edits that made it from its parent; the blue line leads to the best one. "
            "Where space is short an edit is its first letter: W widen, N narrow, D deepen, S shallow. "
            "Hover over a node for its numbers.",
            partial(lineage.lineage, networks=evolved, best=id, criterion=criterion, linked=linked) if ready else None,
            tree_height,
        ),
        Section(
            "curves",
            "Learning curves",
            f"Validation {name} after each epoch along the ancestry of the best network. Dashed lines mark "
            "the edits. Beside it the start network trained on alone, at the same training FLOPs.",
            partial(plots.curves, chain=chain, alone=baseline, epochs=epochs, criterion=criterion)
            if learned and any(network.training_flops for network in chain)
            else None,
            540,
        ),
        Section(
            "spending",
            "What the training FLOPs bought",
            "The best network each arm had found so far, by all the training FLOPs it had spent.",
            partial(plots.spending, networks=networks, criterion=criterion) if ready else None,
            360,
        ),
        Section(
            "edits",
            "What the edits did",
            f"Left: the change in validation {name} at the edit, before any training; exact edits sit on "
            "zero. Right: how far the outputs moved.",
            partial(plots.edits, networks=evolved, criterion=criterion) if edited else None,
            edits_height,
        ),
        Section(
            "ensemble",
            "The ensemble against its members",
            f"The {name} on the held-out test set, which was used once, at the end; {criterion.better} is better.",
            partial(plots.ensemble, found=found, criterion=criterion) if tested else None,
            ensemble_height,
        ),
    ]
