"""Runs of `netmorph train` and `netmorph evolve`, from their records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

from netmorph.plot.settings import flat
from netmorph.plot.values import Curve, Mark, Run
from netmorph.report.arms import arms_of, look
from netmorph.report.listing import ancestry
from netmorph.report.logs import recorded
from netmorph.report.summary import found_by, is_training
from netmorph.run.names import ArmName
from netmorph.run.ranking import trained
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.rows import EpochRecord, NetworkRecord
from netmorph.run.single import CHECKPOINT, GROWTH, ONLY, STRUCTURES
from netmorph.tasks import Criterion
from netmorph.train.history import Epoch
from netmorph.wording import compact


def read_run(folder: Path, name: str) -> list[Run]:
    """The training in a folder, or the arms of its evolution; also while it goes on.

    Raises:
        RecordsError: its records are damaged, or of another version.
    """
    with Records.open(folder) as records:
        config = records.meta("config") or {}
        settings, seed = flat(config), config.get("seed")
        if is_training(records):
            return [Run(name, settings, seed, _training(records, folder))]
        networks, found = records.networks(), found_by(records)
        criterion = Criterion.of(records.meta("criterion"))
        curves = {arm: _arm(records, networks, arm, found, criterion) for arm in arms_of(networks)}
    arms = {arm: look(arm).title for arm in curves}
    return [Run(f"{name}:{arm}", settings | {"arm": arms[arm]}, seed, curves[arm]) for arm in curves if curves[arm]]


def curves_of(
    epochs: Sequence[Epoch | EpochRecord], axes: Mapping[str, Sequence[float]], marks: Sequence[Mark] = ()
) -> dict[str, Curve]:
    """The numbers of epochs: "loss/train", "loss/validation", ..., "learning_rate", tagged as in TensorBoard's logs."""
    told = {
        f"{name}/{part}": [getattr(epoch, part).get(name, math.nan) for epoch in epochs]
        for name in dict.fromkeys(name for epoch in epochs for name in epoch.train)
        for part in ("train", "validation")
    }
    if epochs:
        told["learning_rate"] = [epoch.learning_rate for epoch in epochs]
    return {tag: Curve(axes, values, tuple(marks)) for tag, values in told.items()}


def _training(records: Records, folder: Path) -> dict[str, Curve]:
    # Records have the epochs of a training once it is finished, its checkpoint has them before.
    epochs: Sequence[Epoch | EpochRecord] = records.epochs(ONLY) or recorded(folder / CHECKPOINT)
    axes: dict[str, Sequence[float]] = {"epoch": [epoch.epoch for epoch in epochs]}
    growth, networks = records.meta(GROWTH), records.networks()
    if growth is not None:
        axes["flops"] = [*accumulate(growth["flops"])]
    elif networks:
        axes["flops"] = [networks[0].training_flops * epoch.epoch / len(epochs) for epoch in epochs]
    axes["seconds"] = [*accumulate(epoch.seconds for epoch in epochs)]
    marks = []
    if growth is not None:
        sizes = [compact(structure["parameters"]) for structure in records.meta(STRUCTURES)]
        grown = [f"{before} → {after} parameters" for before, after in pairwise(sizes)]
        marks = [Mark(max(0.0, at - 1), label) for at, label in zip(growth["epochs"], grown, strict=True)]
    return curves_of(epochs, axes, marks)


def _arm(
    records: Records, networks: Sequence[NetworkRecord], arm: str, found: Result, criterion: Criterion
) -> dict[str, Curve]:
    """The best network so far; and the epochs of the best one and its ancestors, with the edits between them."""
    members = [network for network in networks if network.arm == arm]
    curves = {}
    if done := trained(members):
        inherited = sum(one.training_flops for one in ancestry(networks, members[0].id)[:-1])
        bests = accumulate((network.score or 0.0 for network in done), max)
        axes: dict[str, Sequence[float]] = {
            "flops": [inherited + spent for spent in accumulate(network.training_flops for network in done)],
            "seconds": [*accumulate(network.seconds for network in done)],
            "networks": [*range(1, len(done) + 1)],
            "round": [network.round for network in done],
        }
        curves[f"{criterion.name}/best"] = Curve(axes, [criterion.value(score) for score in bests], holds=True)
    champion = found.evolved if arm == ArmName.EVOLVE else found.baselines[arm].best if arm in found.baselines else None
    return curves if champion is None else curves | _line_of(records, ancestry(networks, champion.id))


def _line_of(records: Records, chain: Sequence[NetworkRecord]) -> dict[str, Curve]:
    epochs: list[EpochRecord] = []
    flops: list[float] = []
    marks: list[Mark] = []
    spent = 0.0
    for network in chain:
        if network.edits and epochs:
            edits = " + ".join(map(str, network.edits))
            marks.append(Mark(len(epochs) - 1, edits))
        own = records.epochs(network.id)
        # All epochs of one network cost the same.
        flops += [spent + network.training_flops * count / len(own) for count in range(1, len(own) + 1)]
        spent += network.training_flops
        epochs += own
    seconds = [*accumulate(epoch.seconds for epoch in epochs)]
    return curves_of(epochs, {"epoch": range(1, len(epochs) + 1), "flops": flops, "seconds": seconds}, marks)
