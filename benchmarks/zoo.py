"""Surgery on a zoo of classifiers, beside Torch-Pruning: what can be widened exactly, what can be halved, how fast.

    make bench-zoo ZOO=path/to/models.csv
    python -m benchmarks.zoo --only resnet34 vit_b_32

The models are named by a CSV file with columns `suite` (torchvision or timm), `model` and `input` (3x224x224). Each is
measured in a process of its own with one thread; results are appended to a file as they come, so that a run that was
stopped goes on where it was. `_zoo_stages.py` is what is measured, `_zoo_report.py` the tables.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks._records import read_records
from benchmarks._zoo_report import Model, Record, Records, markdown, show
from benchmarks._zoo_stages import LINE

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo" / "open.csv"
SECONDS = {"netmorph": 60.0, "torch_pruning": 60.0, "checks": 300.0}  # the longest that each may take for one model


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    models = [
        model
        for model in read_models(options.zoo)
        if (not options.only or model.name in options.only) and options.suite in (None, model.suite)
    ][: options.limit]
    if not models:
        raise SystemExit(f"no model of {options.zoo} is chosen; see --only and --suite")
    options.output.mkdir(parents=True, exist_ok=True)
    journal = options.output / "results.jsonl"
    records = by_side(read_records(journal))
    sides = options.sides
    again = {"netmorph", "checks"} if options.again or options.only else set()
    jobs = [(side, model) for side in sides for model in models if side in again or (side, model.key) not in records]
    console = Console(width=160)

    def work(job: tuple[str, Model]) -> None:
        side, model = job
        record = measure(side, model, options.seconds or SECONDS[side])
        records[side, model.key] = record
        with journal.open("a") as file:
            file.write(json.dumps(record) + "\n")
        console.print(f"{model.name} {side}: {record['ended']} after {record['wall_seconds']:.1f} s", highlight=False)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, jobs))
    records = together(records)
    show(console, models, records)
    (options.output / "results.md").write_text(markdown(models, records))
    console.print(f"{journal} has every figure, {options.output / 'results.md'} the table")


def read_models(path: Path) -> list[Model]:
    """The models of a CSV file."""
    if not path.is_file():
        raise SystemExit(
            f"{path} is missing: give a CSV file with columns suite, model, input (--zoo, or make ZOO=...)"
        )
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"suite", "model", "input"} <= rows[0].keys():
        raise SystemExit(f"{path} needs the columns suite, model, input and at least one row")
    return [Model(row["suite"], row["model"], row["input"]) for row in rows]


def by_side(found: Sequence[Record]) -> Records:
    """The last record of each side and model."""
    return {(record["side"], f"{record['suite']}/{record['model']}"): record for record in found}


def together(records: Records) -> Records:
    """What was timed and what was checked of netmorph, as one record a model."""
    joined = {key: record for key, record in records.items() if key[0] != "checks"}
    for (side, key), record in records.items():
        if side == "checks":
            timed = joined.get(("netmorph", key), record | {"side": "netmorph", "stages": {}})
            ended = record["ended"] if timed["ended"] == "done" else timed["ended"]
            joined["netmorph", key] = timed | {"stages": timed["stages"] | record["stages"], "ended": ended}
    return joined


def measure(side: str, model: Model, seconds: float) -> Record:
    """All stages of one side on one model, as far as they come within the time."""
    found = stages_of("benchmarks._zoo_stages", [side, model.suite, model.name, model.input], seconds)
    return {"side": side, "suite": model.suite, "model": model.name, "input": model.input} | found


def stages_of(program: str, arguments: Sequence[str], seconds: float) -> Record:
    """What a program of stages says in a process with one thread, as far as it comes within the time."""
    command = [sys.executable, "-W", "ignore", "-m", program, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    started = time.perf_counter()
    try:
        process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=seconds)
        said, ended = process.stdout, "done"
        if process.returncode:
            last = process.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            ended = f"exit status {process.returncode}: {last}"[:500]
    except subprocess.TimeoutExpired as error:
        said, ended = error.stdout or b"", "timeout"
    stages: dict[str, dict[str, Any]] = {}
    for line in said.decode(errors="replace").splitlines():
        if line.startswith(LINE):
            for stage, part in json.loads(line.removeprefix(LINE)).items():
                stages[stage] = stages.get(stage, {}) | part
    return {"ended": ended, "wall_seconds": round(time.perf_counter() - started, 2), "stages": stages}


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__.partition("\n")[0])
    parser.add_argument("--zoo", type=Path, default=ZOO, help="CSV file of models (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these models, measured again")
    parser.add_argument("--suite", choices=("torchvision", "timm"), help="models of one suite")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N of them")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes at a time; above 1, times say little"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="for each model and side (default: 300, and 60)")
    parser.add_argument(
        "--sides", nargs="+", choices=SECONDS, default=list(SECONDS), help="what to measure (default: everything)"
    )
    parser.add_argument("--again", action="store_true", help="measure netmorph again where there are results")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "bench-zoo", help="folder for results")
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
