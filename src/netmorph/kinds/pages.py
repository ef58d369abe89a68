"""Folders that become a page of paragraphs, tables and pictures: how far each is, and its page once there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape

from netmorph import chaining, extending, neighbours, ranks, reproduce, shrinking
from netmorph.chain.journal import read_records
from netmorph.neighbours import page as around_page
from netmorph.neighbours.trainings import around, criterion_of, told_rows
from netmorph.ranks.page import page_of as study_page
from netmorph.ranks.rows import trained
from netmorph.ranks.tables import answered
from netmorph.ranks.trainings import FEWEST, TRUE, trainings_of
from netmorph.report.plain_page import Page
from netmorph.run.folders import FolderError, Kind, begun, result_of, status_of
from netmorph.shrink.progress import FILE as ROUNDS
from netmorph.shrink.progress import read_rounds
from netmorph.wording import compact


@dataclass(frozen=True)
class Found:
    """What a folder holds so far.

    Attributes:
        done, of: how many of how many; `what` they are. Of rounds, `of` is the most.
        finished: whether all is done that was asked for.
        page: makes its page; None where there is too little to tell yet.
        told: its own plain values.
        lines: what else is known while it goes on.
    """

    done: int
    of: int
    what: str
    finished: bool
    page: Callable[[], Page] | None
    told: dict[str, Any]
    lines: list[str] = field(default_factory=list)


Reader = Callable[[Path], Found]


def told(folder: Path, kind: Kind, found: Found) -> dict[str, Any]:
    """Plain values."""
    progress = {"done": found.done, "of": found.of, "what": found.what}
    return {
        **asdict(begun(folder, kind)),
        "status": status_of(folder, found.finished),
        "progress": progress,
        **found.told,
    }


def shown(folder: Path, kind: Kind, found: Found) -> RenderableType:
    """For a terminal: how far it is, then its page, or what is known so far."""
    status = status_of(folder, found.finished)
    head = f"{folder.name}: {status}, {found.done} of {found.of} {found.what} ({kind.command})"
    rest = [found.page().view()] if found.page is not None else [escape(line) for line in found.lines]
    return Group(escape(head), "", *rest)


def page(folder: Path, kind: Kind, found: Found) -> Page:
    """The page.

    Raises:
        FolderError: there is too little to tell yet.
    """
    if found.page is None:
        raise FolderError(
            f"{folder} has {found.done} of {found.of} {found.what}, which is no report yet; go on with "
            f"{kind.command} --resume {folder}, or see netmorph show {folder}"
        )
    return found.page()


def _shrinking(folder: Path) -> Found:
    config, result = shrinking.ShrinkConfig.read(folder), result_of(folder)
    rounds = read_rounds(folder) if (folder / ROUNDS).exists() else ()
    lines = [
        f"round {one.number}: {compact(one.parameters)} parameters, {compact(one.flops)} FLOPs a sample, validation "
        + ", ".join(f"{name} {value:.4g}" for name, value in one.numbers.items())
        + ("" if one.kept else "; dropped")
        for one in rounds
    ]
    names = ("criterion", "before", "after", "stopped")
    own = {name: (result or {}).get(name) for name in names}
    return Found(
        max(0, len(rounds) - 1),
        config.rounds,
        "rounds at most",
        result is not None,
        None if result is None else lambda: shrinking.page_of(folder),
        {**own, "network": _file(folder, result), "rounds": [one.as_json() for one in rounds]},
        lines,
    )


def _neighbours(folder: Path) -> Found:
    config, found = neighbours.NeighboursConfig.read(folder), around(folder)
    jobs = neighbours.jobs_of(config, found)
    rows, result = told_rows(folder, config), result_of(folder) or {}
    return Found(
        len(rows),
        len(jobs),
        "trainings",
        len(rows) == len(jobs),
        (lambda: around_page.page_of(folder, config, rows)) if len(rows) == len(jobs) else None,
        {
            "criterion": asdict(criterion_of(folder)),
            "verdicts": result.get("verdicts"),
            "answers": result.get("answers"),
            "neighbours": [asdict(each) for each in found],
            "rows": [asdict(row) for row in rows],
        },
        [f"{each.number:>4}  {each.name}" for each in found],
    )


def _chain(folder: Path) -> Found:
    config, result = chaining.ChainConfig.read(folder), result_of(folder)
    judged = {agent: read_records(folder / f"{agent}.jsonl") for agent in config.searches}
    lines = [
        f"{agent}: {len(records)} chains, the lowest loss {min(one.outcome.loss for one in records):.4f}"
        for agent, records in judged.items()
        if records
    ]
    names = ("chain", "lineage", "learn", "learning_flops", "test_accuracy", "gradients", "searches", "not_kept")
    return Found(
        sum(map(len, judged.values())),
        config.budget * len(judged),
        "chains at most",
        result is not None,
        None if result is None else lambda: chaining.page_of(folder),
        {name: (result or {}).get(name) for name in names} | {"network": _file(folder, result)},
        lines,
    )


def _extension(folder: Path) -> Found:
    result = result_of(folder)
    own = {name: (result or {}).get(name) for name in ("classes", "added", "test_accuracy", "tests")}
    return Found(
        1 if result else 0,
        1,
        "heads",
        result is not None,
        None if result is None else lambda: extending.page_of(folder),
        own | {"network": _file(folder, result)},
    )


def _study(folder: Path) -> Found:
    config, rows = ranks.config_of(folder), ranks.read(folder)
    enough, of = len(trained(rows, TRUE)) >= FEWEST, trainings_of(config)
    failed = sum(row.failure is not None for row in rows)
    return Found(
        len(rows),
        of,
        "trainings",
        len(rows) == of,
        (lambda: study_page(folder)) if enough else None,
        {"failed": failed, "answers": answered(rows) if enough else None},
    )


def _reproduction(folder: Path) -> Found:
    asked = reproduce.Asked.read(folder)
    table, wanted, left = asked.table, asked.trainings, asked.left(folder)
    found = list(reproduce.outcomes(table.rows, folder))
    rows = {row.name: row for row in table.rows}
    own = [
        {
            "row": one.row,
            "seed": one.seed,
            "accuracy": one.accuracy,
            "published": rows[one.row].published.accuracy,
            "epochs": len(one.history),
            "seconds": one.seconds,
            "parameters": one.parameters,
            "threads": one.threads,
        }
        for one in found
    ]
    return Found(
        len(wanted) - len(left),
        len(wanted),
        "trainings",
        not left,
        (lambda: reproduce.page_of(table, found)) if found else None,
        {"rows": own},
    )


def _file(folder: Path, result: dict[str, Any] | None) -> str | None:
    return None if result is None else str(folder / result["network"])


READERS: Mapping[Kind, Reader] = {
    Kind.SHRINK: _shrinking,
    Kind.NEIGHBOURS: _neighbours,
    Kind.CHAIN: _chain,
    Kind.EXTENSION: _extension,
    Kind.RANKS: _study,
    Kind.REPRODUCE: _reproduction,
}
