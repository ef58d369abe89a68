"""The page of a study: its answers in a sentence each, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from netmorph.ranks import plots
from netmorph.ranks.answers import pairs
from netmorph.ranks.classes import classified
from netmorph.ranks.rows import Row, StudyError, read, trained
from netmorph.ranks.tables import NAMES, answered, tables_of
from netmorph.ranks.trainings import AGAIN, FEWEST, FILE_NAME, TRUE
from netmorph.report.numbers import duration
from netmorph.report.plain_page import Page, Picture
from netmorph.run.folders import FIGURES, REPORT, Kind, begun


def write(folder: Path) -> Path:
    """Write `report.html` and `figures/` into the folder of a study, of what is trained so far, and return the page.

    Raises:
        StudyError: there is no study, or it has trained too few networks.
        MissingExtra: scikit-learn, matplotlib or jinja2 is not installed.
        SaveError: a file could not be written.
    """
    told = page_of(folder)
    told.save_pictures(folder / FIGURES)
    return told.write(folder / REPORT)


def page_of(folder: Path) -> Page:
    """The page of a study, of what is trained so far. Raises as `write`."""
    told, rows = begun(folder, Kind.RANKS, StudyError), read(folder)
    if len(trained(rows, TRUE)) < FEWEST:
        raise StudyError(
            f"{folder} has {len(trained(rows, TRUE))} networks that were trained on true labels without failing; at "
            f"least {FEWEST} are needed: go on with the study, or ask for more networks"
        )
    failed = [row for row in rows if row.failure is not None]
    machine, versions = (
        ", ".join(f"{name} {value}" for name, value in part.items()) for part in (told.machine, told.versions)
    )
    paragraphs = [
        *answered(rows),
        f"{len(rows)} trainings of {len(trained(rows, TRUE))} networks, {len(failed)} of them failed, in "
        f"{duration(sum(row.seconds for row in rows))} of the processor. {told.command} "
        f"({FILE_NAME} has all settings; {machine}; {versions}).",
    ]
    return Page("Where ranks converge", paragraphs, tables_of(rows), pictures(rows))


def pictures(rows: Sequence[Row]) -> list[Picture]:
    """All pictures of a study that has trained enough networks."""
    true = trained(rows, TRUE)
    series = {name: found for condition, name in NAMES.items() if (found := trained(rows, condition))}
    matched = {
        name: both
        for condition, name in NAMES.items()
        if condition != TRUE and (both := pairs(true, trained(rows, condition)))
    }
    again = pairs(true, trained(rows, AGAIN))
    shown = [
        Picture(
            "against-accuracy",
            "Loss, rank and norm against accuracy",
            "Networks on true labels, converged; of each hidden layer a point, by its depth.",
            partial(plots.against_accuracy, rows=true),
            330,
        ),
        Picture(
            "courses",
            "Loss, accuracy, rank and norm over time",
            "A thin line for each network, its hidden layers averaged; thick lines are medians over all networks.",
            partial(plots.courses, series=series),
            560,
        ),
        Picture(
            "gradients",
            "Rank of gradients over time",
            "Of the loss on a probe batch of training samples.",
            partial(plots.gradient_ranks, series=series),
            330,
        ),
        *(
            Picture(
                f"spectra-{condition}",
                f"Singular values over training, {name}",
                f"Of the weights of network {row.network}, the widest.",
                partial(plots.spectra, row=row),
                300,
            )
            for condition, name in NAMES.items()
            for row in [row for row in trained(rows, condition) if row.network == widest(true).network]
        ),
        Picture(
            "width",
            "Rank against width",
            "Untrained networks lie along a line: their rank is their width. Points on a level would be a rank of the "
            "task's.",
            partial(plots.against_width, rows=true),
            400,
        ),
        Picture(
            "noise",
            "Rank against B / (mu lambda)",
            "Of networks trained with SGD, of which the theory speaks, and with the other optimizer.",
            partial(plots.against_noise, rows=true),
            360,
        ),
    ]
    if matched:
        text = "The same networks: a point above the diagonal has a higher rank than on true labels and all samples."
        shown.append(Picture("memorizing", "Memorizing", text, partial(plots.paired, matched=matched), 420))
    if again:
        before, after = classified(true, again)
        text = (
            "Profiles of the effective ranks of weights at five relative depths, in their principal plane. A colour is "
            "a class, pale networks are in none; larger marks are deeper networks, squares have skip connections."
        )
        draw = partial(plots.class_map, rows=true, before=before, after=after)
        shown.append(Picture("classes", "Classes of equal converged rank", text, draw, 420))
    return shown


def widest(rows: Sequence[Row]) -> Row:
    """With the most units in its narrowest layer."""
    return max(rows, key=lambda row: min(row.architecture.widths))
