"""What a neighbourhood tells in the end: result.json, and a page with verdicts, tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean

from netmorph.files import write_text
from netmorph.neighbours.answers import Answer, answer
from netmorph.neighbours.plots import differences, neighbourhood
from netmorph.neighbours.rows import Row
from netmorph.neighbours.trainings import NeighboursConfig, around, criterion_of
from netmorph.neighbours.values import ITSELF, Neighbour
from netmorph.neighbours.words import amount, asides, interval, verdict
from netmorph.report.numbers import duration
from netmorph.report.plain_page import Page, Picture, Table
from netmorph.run.folders import FIGURES, FILES, REPORT, RESULT, Kind, begun
from netmorph.tasks import Criterion, Numbers

PARTS: Mapping[str, Callable[[Row], Numbers]] = {"test": lambda row: row.test, "validation": lambda row: row.validation}


@dataclass(frozen=True)
class Told:
    """What came of a neighbourhood.

    Attributes:
        verdicts: in words, one for each start, by the test part.
        page: where the report is.
    """

    verdicts: tuple[str, ...]
    page: Path


def write(folder: Path, config: NeighboursConfig, rows: Sequence[Row]) -> Told:
    """Write result.json, report.html and figures/ into the folder of a neighbourhood that is trained.

    Raises:
        NeighbourError: too much failed for anything to be compared.
        MissingExtra: SciPy, matplotlib or jinja2 is not installed.
        SaveError: a file could not be written.
    """
    found, criterion = around(folder), criterion_of(folder)
    by_part = {part: _answers(part, config, rows, found, criterion) for part in PARTS}
    verdicts = verdicts_of(by_part["test"], found, criterion, config.model)
    result = {
        "criterion": asdict(criterion),
        "verdicts": verdicts,
        "answers": {part: [asdict(each) for each in told] for part, told in by_part.items()},
        "neighbours": [asdict(each) for each in found],
        "rows": [asdict(row) for row in rows],
    }
    write_text(folder / RESULT, json.dumps(result, indent=2))
    told = page_of(folder, config, rows)
    told.save_pictures(folder / FIGURES)
    return Told(verdicts, told.write(folder / REPORT))


def verdicts_of(
    tested: Sequence[Answer], around: Sequence[Neighbour], criterion: Criterion, model: str
) -> tuple[str, ...]:
    """In words, one for each start."""
    return tuple(verdict(each, around, criterion, model) for each in tested)


def page_of(folder: Path, config: NeighboursConfig, rows: Sequence[Row]) -> Page:
    """The page of a neighbourhood that is trained. Raises as `write`."""
    found, criterion = around(folder), criterion_of(folder)
    tested, validated = (_answers(part, config, rows, found, criterion) for part in PARTS)
    paragraphs = [
        *verdicts_of(tested, found, criterion, config.model),
        *(text for each in tested for text in asides(each, found)),
        _how(folder, config, rows),
    ]
    tables = [_table(each, other, rows, found, criterion) for each, other in zip(tested, validated, strict=True)]
    title = f"Is {config.model} a peak on {Path(config.data.source).name}?"
    return Page(title, paragraphs, tables, pictures(tested, found, config.tolerance, criterion))


def pictures(
    answers: Sequence[Answer], around: Sequence[Neighbour], tolerance: float, criterion: Criterion
) -> list[Picture]:
    """The neighbourhood by cost, and the differences by name."""
    return [
        Picture(
            "neighbourhood",
            "The neighbourhood",
            "Each neighbour at its cost, with the 95% interval of its difference; the star is the network itself. "
            "Green is better beyond chance, red is worse. Circles trade one width for another, triangles up and down "
            "have a layer more or less, triangles to the sides one group wider or narrower. Shaded: about equal FLOPs.",
            partial(neighbourhood, answers=answers, around=around, tolerance=tolerance, criterion=criterion),
            300 * len(answers) + 40,
        ),
        Picture(
            "differences",
            "Differences by neighbour",
            "The same differences and intervals, in the order of the numbers.",
            partial(differences, answers=answers, around=around, criterion=criterion),
            32 * len(around) + 90,
        ),
    ]


def _answers(
    part: str, config: NeighboursConfig, rows: Sequence[Row], found: Sequence[Neighbour], criterion: Criterion
) -> list[Answer]:
    def score(row: Row) -> float:
        return criterion.score(PARTS[part](row)[criterion.name])

    return [answer(rows, found, start, config.tolerance, score) for start in config.starts]


def _table(
    tested: Answer, validated: Answer, rows: Sequence[Row], around: Sequence[Neighbour], criterion: Criterion
) -> Table:
    told: list[list[str]] = []
    on_validation = {each.neighbour: each for each in (*validated.rivals, *validated.dearer)}
    for each in sorted((*tested.rivals, *tested.dearer), key=lambda each: -each.mean):
        neighbour, itself = around[each.neighbour], around[ITSELF]
        told.append(
            [
                f"{each.neighbour}  {neighbour.name}",
                f"{neighbour.flops / itself.flops:.3f}",
                f"{neighbour.parameters / itself.parameters:.3f}",
                criterion.text(_untrained(rows, tested.start, each.neighbour, criterion)),
                interval(on_validation[each.neighbour], criterion),
                interval(each, criterion),
                f"{each.p:.3g}",
                amount(each.spread, criterion),
            ]
        )
    name, points = criterion.name, " in points" if criterion.is_share else ""
    untrained = f"validation {name} before training"
    start, end = _untrained(rows, tested.start, ITSELF, criterion), criterion.value(tested.own)
    columns = ["", "FLOPs", "parameters", untrained, f"validation {name}", f"test {name}", "p", "spread"]
    return Table(
        f"From {tested.start} weights",
        columns,
        told,
        f"Over {tested.seeds} seeds; the network itself has a test {name} of {criterion.text(end)}, and a {untrained} "
        f"of {criterion.text(start)}. FLOPs and parameters are times those of the network; numbers are differences to "
        f"its{points} with 95% intervals, more is better; p is of the test part, corrected (Holm) for the number of "
        "neighbours of at most about equal FLOPs, or of more; spread is the standard deviation of a neighbour's own "
        "differences over the seeds.",
    )


def _untrained(rows: Sequence[Row], start: str, neighbour: int, criterion: Criterion) -> float:
    return mean(
        row.untrained[criterion.name]
        for row in rows
        if row.job.start == start and row.job.neighbour == neighbour and row.failure is None
    )


def _how(folder: Path, config: NeighboursConfig, rows: Sequence[Row]) -> str:
    told = begun(folder, Kind.NEIGHBOURS)
    machine, versions = (
        ", ".join(f"{name} {value}" for name, value in part.items()) for part in (told.machine, told.versions)
    )
    failed = sum(row.failure is not None for row in rows)
    seconds, worked = (
        duration(sum(each)) for each in zip(*((r.seconds, r.processor_seconds) for r in rows), strict=True)
    )
    return (
        f"{len(rows)} trainings of {config.recipe.epochs} epochs each, {failed} of them failed, in "
        f"{seconds} added up ({worked} of a processor); a process had at most "
        f"{max(row.memory for row in rows) / 1e9:.2f} GB of memory. "
        f"{told.command} ({FILES[Kind.NEIGHBOURS]} has all settings; {machine}; {versions})."
    )
