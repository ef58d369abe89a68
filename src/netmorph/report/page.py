"""One self-contained HTML page about a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from netmorph.files import write_text
from netmorph.report.arms import look
from netmorph.report.changes import changes
from netmorph.report.figures import image_format, save, value_of
from netmorph.report.listing import ancestry
from netmorph.report.numbers import duration
from netmorph.report.sections import sections
from netmorph.report.summary import FEW, class_rows, found_by, is_training, noise_of, number_table, rows, status, worst
from netmorph.report.templates import render
from netmorph.report.verdict import verdict
from netmorph.run.names import ArmName
from netmorph.run.ranking import trained
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.rows import NetworkRecord
from netmorph.tasks import Criterion
from netmorph.wording import compact, flops_text


def write(run_folder: Path, out: Path | None = None) -> Path:
    """Write the page about a run, finished or not, and return where it is.

    Args:
        run_folder: the folder of the run.
        out: the file to write; `report.html` in the run's folder if not given.

    Raises:
        RecordsError: the folder holds no run.
        MissingExtra: the packages that draw reports are not installed.
        SaveError: the file could not be written.
    """
    with Records.open(run_folder) as records:
        text = page(records)
    path = Path(run_folder) / "report.html" if out is None else Path(out)
    write_text(path, text)
    return path


def write_figures(run_folder: Path, suffix: str = "png", folder: Path | None = None) -> list[Path]:
    """Write each figure of a run's report as a file of its own, for papers and slides.

    Args:
        suffix: png, svg, pdf or what else matplotlib can write.
        folder: where to; `figures` in the run's folder if not given.

    Returns:
        The files; there is none for a figure that has nothing to show yet.

    Raises:
        NetmorphError: a suffix that is unknown.
        RecordsError: the folder holds no run.
        MissingExtra: matplotlib is not installed.
        SaveError: a file could not be written.
    """
    kind = image_format(suffix)
    folder = Path(run_folder) / "figures" if folder is None else Path(folder)
    written = []
    with Records.open(run_folder) as records:
        for section in sections(records, found_by(records)):
            if section.draw is not None:
                written.append(folder / f"{section.id}.{kind}")
                save(section.draw, written[-1], section.height)
    return written


def page(records: Records) -> str:
    """The page about a run as HTML."""
    found, networks = found_by(records), records.networks()
    criterion = Criterion.of(records.meta("criterion"))
    report = found.exhibits.classification
    classes = [] if report is None else class_rows(report)
    evolved = None if is_training(records) else found.evolved
    pictures = changes(records.path.resolve().parent, ancestry(networks, evolved.id)) if evolved else []
    return render(
        "page.html",
        title=records.meta("title") or records.path.resolve().parent.name,
        paragraphs=[
            *headline(found, networks, records.meta("round"), criterion),
            *filter(None, [noise_of(records, networks)]),
        ],
        status=status(records),
        rows=rows(found, criterion),
        sections=sections(records, found, frozenset(step.id for step in pictures[1:])),
        numbers=number_table(found, criterion),
        text=found.exhibits.text,
        report=report,
        classes=classes,
        worst=worst(classes) if len(classes) > FEW else classes,
        task="train" if is_training(records) else "evolve",
        networks=networks,
        criterion=criterion,
        value_of=value_of,
        best=found.best and found.best.id,
        making=making(records, found),
        settings=list(_flat("config", records.meta("config"))),
        changes=pictures,
    )


def headline(found: Result, networks: Sequence[NetworkRecord], number: int | None, criterion: Criterion) -> list[str]:
    """The result in a few sentences; `number` is that of the last round."""
    champion, together = found.best, found.ensemble
    if champion is None:
        return ["No network is trained yet."]
    name, text, said = criterion.name, criterion.text, verdict(found, criterion)
    first = [] if said is None else [said]
    if champion.test.get(name) is None:
        return [
            *first,
            f"Round {number}: {len(trained(networks))} networks trained so far.",
            f"The best reaches {text(champion.validation.get(name))} ({name}) on the validation set with "
            f"{compact(champion.parameters)} parameters and {flops_text(champion.flops)} per sample.",
        ]
    others = []
    for arm, baseline in found.baselines.items():
        others.append(f"{look(arm).phrase} reaches {text(baseline.best.test.get(name))}")
        if baseline.ensemble is not None:
            others[-1] += f" (its ensemble {text(baseline.ensemble.test.get(name))})"
    sentences = [
        f"The best network reaches {text(champion.test.get(name))} ({name}) on the test set, with "
        f"{compact(champion.parameters)} parameters and {flops_text(champion.flops)} per sample."
    ]
    if together is not None and len(together.members) > 1:
        count = len(together.members)
        sentences.insert(
            0,
            f"The ensemble of {count} evolved networks reaches {text(together.test.get(name))} ({name}) on the test "
            "set.",
        )
    if others:
        reached = f"the best of the evolution reaches {text(found.evolved.test.get(name))}" if found.evolved else ""
        own = [] if found.arm == ArmName.EVOLVE or not reached else [reached]
        sentences.append(f"For about the same training FLOPs, {' and '.join([*own, *others])}.")
    if found.constant is not None and found.exhibits.classification is None:
        reached = text(found.constant.test.get(name))
        sentences.append(f"Without a look at the input, {found.constant.name} would reach {reached}.")
    return first + sentences


def making(records: Records, found: Result) -> list[tuple[str, str]]:
    """How the run was made, its settings aside: names and values."""
    spent = {
        "training" if is_training(records) else "training, evolution": found.training_flops,
        **{f"training, {name}": baseline.training_flops for name, baseline in found.baselines.items()},
    }
    facts = [("command", records.meta("command")), ("wall time", duration(found.seconds))]
    facts += [(name, flops_text(count)) for name, count in spent.items()]
    for key in ("machine", "versions"):
        facts += list(_flat(key, records.meta(key)))
    return [(name, value) for name, value in facts if value is not None]


def _flat(name: str, value: Any) -> Iterable[tuple[str, str]]:
    """{"budget": {"seconds": 120}} -> ("budget seconds", "120"); the outermost name is left out."""
    if value is None:
        return
    if not isinstance(value, dict):
        yield name, value if isinstance(value, str) else json.dumps(value)
        return
    for key, inner in value.items():
        label = key if name in ("config", "machine", "versions") else f"{name} {key}"
        yield from _flat(str(label), inner)
