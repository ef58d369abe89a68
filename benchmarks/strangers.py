"""Surgery on models of libraries whose authors know nothing of it: traced, widened, halved, saved, written as code.

    make bench-strangers
    python -m benchmarks.strangers --only transformers/gpt2 diffusers

The models are those of `_strangers_models.py`. Each is measured in a process of its own with one thread; results are
appended to a file as they come, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks._records import read_records
from benchmarks.zoo import ROOT, Record, stages_of

COLUMNS = ("model", "parameters", "groups", "widened", "halved", "saved", "code", "seconds")
STAGES = ("traced", "widen", "halve", "saved", "written")
GOOD = {"exact", "equal", "runs", "nothing free"}
SECONDS = 300.0
SLOW = 10


def main(arguments: Sequence[str] = ()) -> None:
    from benchmarks._strangers_models import MODELS

    options = _options(arguments)
    names = [name for name in MODELS if not options.only or any(name.startswith(only) for only in options.only)]
    if not names:
        raise SystemExit(f"no model begins with {' or '.join(options.only)}; there are {', '.join(MODELS)}")
    options.output.mkdir(parents=True, exist_ok=True)
    journal = options.output / "results.jsonl"
    records: dict[str, Record] = {record["model"]: record for record in read_records(journal)}
    todo = [name for name in names if options.again or options.only or name not in records]
    console = Console(width=160)

    def work(name: str) -> None:
        records[name] = record = stages_of("benchmarks._strangers_stages", [name], SECONDS) | {"model": name}
        with journal.open("a") as file:
            file.write(json.dumps(record) + "\n")
        console.print(f"{name}: {' | '.join(cells(record)[3:])}", highlight=False, markup=False)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, todo))
    shown = [records[name] for name in names if name in records]
    table = Table(*COLUMNS)
    for record in shown:
        table.add_row(*cells(record))
    console.print(table)
    for record in shown:
        for place, trouble in troubles(record).items():
            console.print(f"{record['model']}, {place}: {trouble}", highlight=False, markup=False)
    for title, figures in summary(shown):
        console.print(f"{title}: {figures}", highlight=False, markup=False)
    (options.output / "results.md").write_text(markdown(shown))
    console.print(f"{journal} has every figure, {options.output / 'results.md'} the table")


def cells(record: Record) -> list[str]:
    """One row for a table with `COLUMNS`."""
    stages: dict[str, dict[str, Any]] = record["stages"]
    groups: dict[str, int] = stages.get("traced", {}).get("groups", {})
    frozen = groups.get("frozen", 0)
    counted = f"{sum(groups.values()) - frozen} + {frozen}" if groups else "no trace"
    parameters = stages.get("traced", {}).get("parameters")
    told = [_status(stages.get(name, {}), record) for name in STAGES[1:]]
    return [
        record["model"],
        f"{parameters:,}" if parameters else "-",
        counted,
        *told,
        f"{seconds(record):.1f}",
    ]


def _status(stage: dict[str, Any], record: Record) -> str:
    single = stage.get("single", {})
    if stage.get("status") == "exact" and single.get("failed"):
        return "one by one"
    return str(stage.get("status") or ("failed" if record["ended"] == "done" else record["ended"])[:20])


def seconds(record: Record) -> float:
    """What all stages took together, without importing the library."""
    stages: dict[str, dict[str, Any]] = record["stages"]
    return sum((stages.get(name, {}).get("seconds", 0.0) for name in STAGES), 0.0)


def clean(record: Record) -> bool:
    """Whether all that was tried came out right."""
    return record["ended"] == "done" and all(cell in GOOD for cell in cells(record)[3:7])


def wrong(record: Record) -> bool:
    """Whether something came out wrong without an error."""
    stages = record["stages"].values()
    return any(stage.get("status") == "differs" or stage.get("restored") is False for stage in stages)


def troubles(record: Record) -> dict[str, str]:
    """What went wrong, by stage."""
    found = {} if record["ended"] == "done" else {"process": record["ended"]}
    for name, stage in record["stages"].items():
        if "message" in stage:
            found[name] = f"{stage['type']}: {stage['message'][:400]} [{stage['location']}]"
        elif stage.get("status") in ("differs", "no gradient"):
            missing = ", ".join(stage.get("missing_gradients", []))
            found[name] = f"differs by {stage['error']:.1e} {stage.get('why', '')} {missing}"
        for group, failure in stage.get("single", {}).get("failures", {}).items():
            found[f"{name} {group}"] = failure[:300]
    return found


def summary(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Pairs of a title and its figures."""
    total = len(records)
    if not total:
        return []
    slowest = sorted(records, key=lambda record: -seconds(record))[:3]
    slow = [record["model"] for record in records if seconds(record) > SLOW]

    def count(place: int) -> str:
        return f"{sum(cells(record)[place] in GOOD for record in records)} of {total}"

    return [
        ("models", str(total)),
        ("clean: all of the following", f"{sum(map(clean, records))} of {total}"),
        ("traced", f"{sum('trace_seconds' in record['stages'].get('traced', {}) for record in records)} of {total}"),
        ("every exact group widened at once", count(3)),
        ("every free group halved, equal to the masked original", count(4)),
        ("saved and loaded, equal bit for bit", count(5)),
        ("written as code with equal outputs and gradients", count(6)),
        ("wrong without an error", " ".join(record["model"] for record in records if wrong(record)) or "none"),
        (f"more than {SLOW} s for all of it", ", ".join(slow) or "none"),
        ("longest", ", ".join(f"{record['model']} {seconds(record):.1f} s" for record in slowest)),
    ]


def markdown(records: Sequence[Record]) -> str:
    """The summary and a row for each model, for a page of results."""
    lines = ["| | |", "|---|---|", *(f"| {title} | {figures} |" for title, figures in summary(records)), ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += [f"| {' | '.join(cells(record))} |" for record in records]
    return "\n".join(lines) + "\n"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strangers", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="models whose names begin like this, measured again")
    parser.add_argument("--again", action="store_true", help="measure all again")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes at a time; above 1, times say little"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "bench-strangers", help="folder for results")
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
