"""One self-contained HTML page about a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netmorph.engine.merit import best, trained
from netmorph.engine.records import NetworkRecord, Records
from netmorph.errors import require
from netmorph.files import atomic_write
from netmorph.report import lineage, plots
from netmorph.report.figures import svg
from netmorph.report.numbers import compact, duration, flops, percent
from netmorph.report.summary import ancestry, rows, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """A figure of the page. `svg` is None while the run has nothing to show in it."""

    id: str
    title: str
    caption: str
    svg: str | None


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
    atomic_write(path, lambda file: _write_text(file, text))
    return path


def page(records: Records) -> str:
    """The page about a run as HTML."""
    jinja2 = require("jinja2", extra="report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, compact=compact, flops=flops)
    template = environment.from_string(resources.files(__package__).joinpath("page.html").read_text("utf-8"))
    found, networks = summary(records), records.networks()
    text: str = template.render(
        title=records.meta("title") or records.path.resolve().parent.name,
        headline=headline(found, networks),
        status=found["status"],
        rows=rows(found),
        sections=sections(records, found, networks),
        networks=networks,
        best=(found["best"] or {}).get("id"),
        making=making(records, found),
    )
    return text


def headline(found: Mapping[str, Any], networks: Sequence[NetworkRecord]) -> list[str]:
    """The result in a few sentences."""
    champion, together = found["best"], found["ensemble"]
    if champion is None:
        return ["No network is trained yet."]
    if champion["test_accuracy"] is None:
        return [
            f"Round {found['round']}: {len(trained(networks))} networks trained so far.",
            f"The best reaches {percent(champion['validation_accuracy'])} on the validation set with "
            f"{compact(champion['parameters'])} parameters and {flops(champion['flops'])} per sample.",
        ]
    alone, random = found["baselines"].get("alone"), found["baselines"].get("random")
    others = [f"the start network trained on alone reaches {percent(alone['test_accuracy'])}"] if alone else []
    if random and random["best"]:
        others.append(f"random search without inheritance {percent(random['best']['test_accuracy'])}")
        if random["ensemble"]:
            others[-1] += f" (its ensemble {percent(random['ensemble']['test_accuracy'])})"
    sentences = [
        f"The best network reaches {percent(champion['test_accuracy'])} on the test set, with "
        f"{compact(champion['parameters'])} parameters and {flops(champion['flops'])} per sample."
    ]
    if together:
        count = len(together["members"])
        sentences.insert(
            0,
            f"The ensemble of {count} evolved networks reaches {percent(together['test_accuracy'])} on the test set.",
        )
    if others:
        sentences.append(f"For about the same training FLOPs, {' and '.join(others)}.")
    return sentences


def sections(records: Records, found: Mapping[str, Any], networks: Sequence[NetworkRecord]) -> list[Section]:
    """The figures of the page in their order."""
    evolved = [network for network in networks if network.arm == "evolve"]
    alone = [network for network in networks if network.arm == "alone"]
    champion = best(evolved) if found["best"] is None else next(n for n in evolved if n.id == found["best"]["id"])
    ready = champion is not None
    id = champion.id if champion else -1
    on_front = sorted((n for n in evolved if n.id in found["front"]), key=lambda n: n.flops)
    chain = ancestry(networks, id)
    baseline = ancestry(networks, alone[-1].id) if alone else []
    epochs = {network.id: records.epochs(network.id) for network in chain + baseline}
    learned = any(math.isfinite(epoch.validation_accuracy) for n in chain for epoch in epochs[n.id])
    edited = any(network.edits for network in evolved)
    tested = found["ensemble"] is not None and found["ensemble"]["test_accuracy"] is not None
    tree_height = lineage.height(evolved, id) if ready else 0
    edits_height = 90 + 34 * len({edit.kind for network in evolved for edit in network.edits})
    ensemble_height = 80 + 32 * (len(found["members"]) + 4)
    return [
        _section(
            "tradeoff",
            "Accuracy against FLOPs",
            "Every trained network of the run; what lies below the axis is drawn on its edge. The line joins "
            "the evolution's Pareto front: no other evolved network is as accurate for as few FLOPs.",
            ready,
            partial(plots.tradeoff, networks=networks, front=on_front, best=id),
            460,
        ),
        _section(
            "lineage",
            "Lineage",
            "Each network and the edits that made it from its parent; the blue line leads to the best one. "
            "Where space is short an edit is its first letter: W widen, N narrow, D deepen, S shallow. "
            "Hover over a node for its numbers.",
            ready,
            partial(lineage.lineage, networks=evolved, best=id),
            tree_height,
        ),
        _section(
            "curves",
            "Learning curves",
            "Validation accuracy after each epoch along the ancestry of the best network. Dashed lines mark "
            "the edits. Beside it the start network trained on alone, at the same training FLOPs.",
            learned and any(network.training_flops for network in chain),
            partial(plots.curves, chain=chain, alone=baseline, epochs=epochs),
            540,
        ),
        _section(
            "spending",
            "What the training FLOPs bought",
            "The best network each arm had found so far, by all the training FLOPs it had spent.",
            ready,
            partial(plots.spending, networks=networks),
            360,
        ),
        _section(
            "edits",
            "What the edits did",
            "Left: the change in validation accuracy at the edit, before any training; exact edits sit on "
            "zero. Right: how far the outputs moved.",
            edited,
            partial(plots.edits, networks=evolved),
            edits_height,
        ),
        _section(
            "ensemble",
            "The ensemble against its members",
            "Accuracy on the held-out test set, which was used once, at the end.",
            tested,
            partial(plots.ensemble, found=found),
            ensemble_height,
        ),
    ]


def making(records: Records, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the run was made: names and values."""
    baselines = found["baselines"]
    spent = {
        "evolution": found["training_flops"],
        **{name: (baselines.get(name) or {}).get("training_flops") for name in ("alone", "random")},
    }
    facts = [("command", records.meta("command")), ("wall time", duration(found["seconds"]))]
    facts += [(f"training, {name}", flops(count)) for name, count in spent.items() if count is not None]
    for key in ("config", "machine", "versions"):
        facts += list(_flat(key, records.meta(key)))
    return [(name, value) for name, value in facts if value is not None]


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _section(
    id: str,
    title: str,
    caption: str,
    ready: bool,
    draw: Callable[[Figure], Mapping[str, str]],
    height: float,
) -> Section:
    return Section(id, title, caption, svg(draw, id, f"{title}. {caption}", height) if ready else None)


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
