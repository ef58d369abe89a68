"""Folders of `netmorph shrink`, `ranks study`, `chain` and `reproduce`, each read by the reader of its room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path

from netmorph.chain import Record
from netmorph.chain.journal import read_records
from netmorph.chain.trials import cheap
from netmorph.chaining import ChainConfig
from netmorph.plot.settings import flat
from netmorph.plot.trainings import curves_of
from netmorph.plot.values import Curve, Mark, Run
from netmorph.ranks import rows
from netmorph.ranks.answers import features, rank_of, weights
from netmorph.ranks.trainings import config_of
from netmorph.reproduce import Asked, outcomes
from netmorph.run.folders import FILES, Kind
from netmorph.shrink import Round, read_rounds
from netmorph.shrinking import ShrinkConfig
from netmorph.wording import compact


def read_shrinking(folder: Path, name: str) -> list[Run]:
    """The rounds of a shrinking.

    Raises:
        ShrinkError: they are damaged.
    """
    rounds = read_rounds(folder)
    config = ShrinkConfig.read(folder).as_json() if (folder / FILES[Kind.SHRINK]).exists() else {}
    return [Run(name, flat(config), config.get("seed"), _epochs(rounds) | _networks(rounds))]


def read_study(folder: Path, name: str) -> list[Run]:
    """The networks of a study of ranks, each a run; those that failed are left out.

    Raises:
        StudyError: a file is damaged.
    """
    settings = flat(asdict(config_of(folder)))
    return [
        Run(f"{name}:{row.condition}-{row.network}", settings | {"condition": row.condition}, row.seed, _looks(row))
        for row in rows.trained(rows.read(folder))
    ]


def read_chains(folder: Path, name: str) -> list[Run]:
    """The agents of a search for a chain, each with the best chain so far.

    Raises:
        ChainError: a file is damaged.
    """
    config = ChainConfig.read(folder)
    asked = {name: told for name, told in asdict(config).items() if name not in ("entries", "fingerprint", "agent")}
    settings, worth = flat(asked), cheap(config.price)

    def better(one: Record, other: Record) -> Record:
        return max(one, other, key=lambda record: worth(record.outcome))

    found = []
    for agent in config.searches:
        records = read_records(folder / f"{agent}.jsonl")
        bests = [*accumulate(records, better)]
        axes = {
            "chains": range(1, len(records) + 1),
            "flops": [record.spent for record in records],
            "seconds": [record.seconds for record in records],
        }
        curves = {
            "loss/best": Curve(axes, [best.outcome.loss for best in bests], holds=True),
            "accuracy/best": Curve(axes, [best.outcome.accuracy for best in bests], holds=True),
        }
        if records:
            found.append(Run(f"{name}:{agent}", settings | {"agent": agent}, config.seed, curves))
    return found


def read_reproduction(folder: Path, name: str) -> list[Run]:
    """The trainings of a published table that are done.

    Raises:
        NetmorphError: a file is damaged.
    """
    found = []
    for one in outcomes(Asked.read(folder).table.rows, folder):
        axes: dict[str, Sequence[float]] = {
            "epoch": [epoch.epoch for epoch in one.history],
            "seconds": [*accumulate(epoch.seconds for epoch in one.history)],
        }
        settings = flat({"row": one.row, "threads": one.threads})
        found.append(Run(f"{name}:{one.row}-{one.seed}", settings, one.seed, curves_of(one.history, axes)))
    return found


def _epochs(rounds: Sequence[Round]) -> dict[str, Curve]:
    epochs = [(one, epoch) for one in rounds for epoch in one.epochs]
    spent = accumulate(one.training_flops / len(one.epochs) for one, _ in epochs)
    axes = {
        "epoch": range(1, len(epochs) + 1),
        "flops": [*spent],
        "seconds": [*accumulate(epoch.seconds for _, epoch in epochs)],
    }
    marks, end = [], 0
    for one in rounds:
        if one.epochs and end:
            marks.append(Mark(end - 1, compact(one.parameters) if one.kept else f"{compact(one.parameters)}, dropped"))
        end += len(one.epochs)
    return curves_of([epoch for _, epoch in epochs], axes, marks)


def _networks(rounds: Sequence[Round]) -> dict[str, Curve]:
    """What each round that is kept has come to; those that were dropped cost time and FLOPs all the same."""
    spent = [*accumulate(one.training_flops for one in rounds)]
    seconds = [*accumulate(one.seconds for one in rounds)]
    kept = [(place, one) for place, one in enumerate(rounds) if one.kept]
    if not kept:
        return {}
    axes: dict[str, Sequence[float]] = {
        "round": [one.number for _, one in kept],
        "parameters": [one.parameters for _, one in kept],
        "sample_flops": [one.flops for _, one in kept],
        "flops": [spent[place] for place, _ in kept],
        "seconds": [seconds[place] for place, _ in kept],
    }
    values: dict[str, Sequence[float]] = {
        f"{name}/round": [one.numbers[name] for _, one in kept] for name in kept[0][1].numbers
    }
    values |= {"parameters/round": axes["parameters"], "sample_flops/round": axes["sample_flops"]}
    values |= {f"width/{group}": [one.widths.get(group, math.nan) for _, one in kept] for group in kept[0][1].widths}
    return {tag: Curve(axes, told) for tag, told in values.items()}


def _looks(row: rows.Row) -> dict[str, Curve]:
    axes = {"epoch": [look.epoch for look in row.looks]}
    values = {
        f"{measure}/{kind}": [math.exp(rank_of(row, look, of, measure)) for look in row.looks]
        for measure in ("effective_rank", "stable_rank")
        for kind, of in (("weights", weights), ("features", features))
    }
    for part in ("train", "validation"):
        values |= {f"{name}/{part}": [getattr(look, part)[name] for look in row.looks] for name in row.last.validation}
    return {tag: Curve(axes, told) for tag, told in values.items()}
