"""Would the tests notice? Small faults in what everything rests on, one at a time, and the tests run against each.

    python -m benchmarks.mutants [--only graph/unify edit/width] [--share 0.1] [--seed 0] [--output runs/mutants.jsonl]

Faults (`benchmarks/_mutations.py`) are drawn by the seed, of each file as many as `TRIED` says. A fault is caught
when a test fails, or takes ten times as long as all do without it. Nothing on the disk changes: a process that has
imported PyTorch forks, and its child imports the program with the fault. That is why it is no tool that one can
install: mutmut 3 leaves decorated functions alone, as all rules are, and runs the whole suite first; cosmic-ray
starts a new Python for each fault, which takes longer to import PyTorch than most faults take to be caught. Stopped,
it goes on where it was. Prints a table, and the faults that survive as a diff.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import json
import math
import os
import resource
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import NoReturn

import pytest

from benchmarks._mutations import count, drawn, plant
from benchmarks._records import read_records

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "netmorph"
FIRST = (
    "torch",
    "numpy",
    "scipy.linalg",
    "sklearn.linear_model",
)  # imported before anything forks; no plugins of pytest
MEMORY = 24 * 2**30  # bytes of addresses for a child, most of which PyTorch asks for and does not use
SLOWER, PATIENCE = 10, 20.0  # as many times as without a fault, and so many seconds, until a child is ended


Planted = Mapping[Path, ast.Module]
"""What is imported in the place of files."""


@dataclass(frozen=True)
class Tried:
    """How many faults of a file are tried, and the tests that should notice, the quick ones first."""

    number: int
    tests: tuple[str, ...]


AXES = (
    "tests/graph/test_axis.py",
    "tests/graph/test_lengths.py",
    "tests/graph/test_sizes.py",
    "tests/graph/test_trace.py",
)
WIDTHS = ("tests/test_widenings.py", "tests/edit/test_width.py", "tests/edit/test_joint_width.py")
OPS = ("cuts", "norms", "products", "reductions", "shapes", "space", "sums")
RULED = (
    *(f"tests/graph/test_{name}.py" for name in ("trace", "decided", "pads")),
    *(f"tests/contract/test_{name}_contract.py" for name in ("flops", "rules")),
)
COUPLED = (*AXES, *(f"tests/contract/test_{name}.py" for name in ("flops_contract", "rules_contract", "hard_blocks")))
SOLVED = tuple(f"tests/solve/test_{name}.py" for name in ("moments", "ridge", "recursive", "solved_heads"))
TRIED: Mapping[str, Tried] = {
    "graph/axis.py": Tried(12, (*AXES, "tests/contract/test_rules_contract.py")),
    "graph/unify.py": Tried(16, (*AXES, "tests/graph/test_pads.py", "tests/contract/test_rules_contract.py")),
    **{f"graph/{name}.py": Tried(number, COUPLED) for name, number in {"rules": 6, "couple": 4, "uses": 2}.items()},
    **{f"graph/ops/{name}.py": Tried(3, RULED) for name in OPS},
    "widenings.py": Tried(12, (*WIDTHS, "tests/contract/test_edits_contract.py")),
    "edit/tensors.py": Tried(
        8,
        (
            *WIDTHS,
            *(f"tests/edit/test_{name}.py" for name in ("pad", "carry", "reconstruct")),
            "tests/contract/test_edits_contract.py",
        ),
    ),
    "edit/width.py": Tried(10, (*WIDTHS, "tests/contract/test_edits_contract.py")),
    "edit/carry.py": Tried(
        12, ("tests/edit/test_carry.py", "tests/edit/test_carry_copies.py", "tests/edit/test_undo.py")
    ),
    "solve/moments.py": Tried(10, SOLVED),
    "solve/linear.py": Tried(8, SOLVED),
    "solve/penalties.py": Tried(8, (*SOLVED, "tests/edit/test_refit.py")),
    "solve/recursive.py": Tried(8, SOLVED),
    "solve/heads.py": Tried(6, SOLVED),
    "solve/inverse.py": Tried(8, ("tests/solve/test_inverse.py",)),
    "solve/projection.py": Tried(6, SOLVED),
    "measure/spectrum.py": Tried(10, ("tests/measure/test_spectrum.py", "tests/measure/test_matrices.py")),
    "measure/matrices.py": Tried(8, ("tests/measure/test_matrices.py", "tests/measure/test_spectrum.py")),
    "measure/lanczos.py": Tried(8, ("tests/measure/test_lanczos.py", "tests/measure/test_rank_monitor.py")),
    "measure/full_rank.py": Tried(8, ("tests/measure/test_full_rank.py", "tests/measure/test_rank_monitor.py")),
    "measure/feature_rank.py": Tried(6, ("tests/measure/test_feature_rank.py",)),
}


@dataclass(frozen=True)
class Outcome:
    """What became of a fault.

    Attributes:
        mutant: the name under which it is found again, as long as neither the file nor its tests have changed.
        by: the test that caught it, or "time" or "import"; nothing if it survived.
    """

    file: str
    mutant: str
    line: int
    diff: str
    by: str | None
    seconds: float


def main(arguments: list[str] | None = None, tried: Mapping[str, Tried] = TRIED, package: Path = PACKAGE) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {name.removesuffix(".py"): name for name in tried}
    parser.add_argument("--only", nargs="+", default=list(names), metavar="FILE", help=", ".join(names))
    parser.add_argument("--share", type=float, default=1.0, help="of the faults that are tried of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/mutants.jsonl"))
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.only) - names.keys()):
        parser.error(f"no file {', '.join(unknown)}; there are {', '.join(names)}")
    for module in FIRST:
        importlib.import_module(module)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    known = {outcome.mutant: outcome for outcome in (Outcome(**row) for row in read_records(given.output))}
    outcomes = []
    for file in (names[name] for name in given.only):
        asked = replace(tried[file], number=math.ceil(given.share * tried[file].number))
        for outcome in judged(file, package / file, asked, given.seed, known):
            outcomes.append(outcome)
            if outcome.mutant not in known:
                with given.output.open("a") as log:
                    log.write(json.dumps(asdict(outcome)) + "\n")
    print(table(outcomes, package))
    print(*(f"\n{each.file}:{each.line}\n{each.diff}" for each in outcomes if each.by is None), sep="\n")


def judged(file: str, path: Path, tried: Tried, seed: int, known: Mapping[str, Outcome]) -> Iterator[Outcome]:
    """What becomes of so many faults of a file, known or tried now."""
    source = path.read_text()
    against = "".join((ROOT / test).read_text() for test in tried.tests)
    for place in drawn(source, tried.number, f"{seed} {file}"):
        name = hashlib.sha256(f"{file} {place} {source} {against}".encode()).hexdigest()[:12]
        if name in known:
            yield known[name]
            continue
        mutant = plant(source, place)
        by, seconds = noticed(tried.tests, {path: mutant.tree}, patience_for(tried.tests))
        print(f"{file}:{mutant.line}: {by or 'survives'} ({seconds:.0f} s)", flush=True)
        yield Outcome(file, name, mutant.line, mutant.diff, by, round(seconds, 1))


@cache
def patience_for(tests: tuple[str, ...]) -> float:
    """How many seconds they may take where there is a fault.

    Raises:
        RuntimeError: they fail without any.
    """
    by, seconds = noticed(tests, {}, None)
    if by is not None:
        raise RuntimeError(f"without a fault, of {', '.join(tests)}: {by}")
    return PATIENCE + SLOWER * seconds


def noticed(tests: Sequence[str], planted: Planted, patience: float | None) -> tuple[str | None, float]:
    """The test that fails where some files of the package hold these programs, and the seconds that took."""
    began = time.monotonic()
    reading, writing = os.pipe()
    if not (child := os.fork()):
        _test(writing, tests, planted)
    os.close(writing)
    if select.select([reading], [], [], patience)[0]:
        told = os.read(reading, 4096)
        by = json.loads(told) if told else "a process that dies"
    else:
        by = f"more than {patience:.0f} s"
    os.close(reading)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return by, time.monotonic() - began


def _test(writing: int, tests: Sequence[str], planted: Planted) -> NoReturn:
    """In a child: run the tests, tell which failed first, and end."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    by: str | None = None
    try:
        _import_instead(planted)
        first = _First()
        status = pytest.main([*tests, "-x", "-p", "no:cacheprovider", "-p", "no:xdist"], plugins=[first])
        by = None if status == pytest.ExitCode.OK else (first.failed or str(status))
    except BaseException as error:  # whatever it is, this process ends below
        by = f"{type(error).__name__} outside of tests: {str(error)[-1000:]}"
    finally:
        os.write(writing, json.dumps(by).encode())
        os._exit(0)


def _import_instead(planted: Planted) -> None:
    """Import these programs where their files are asked for."""
    ordinary = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
        tree = planted.get(Path(loader.path))
        return ordinary(loader, name) if tree is None else compile(tree, loader.path, "exec")

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]


class _First:
    """Notes the first that fails."""

    failed: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid[-2000:]


def table(outcomes: Sequence[Outcome], package: Path) -> str:
    """Caught and tried, by file."""
    by_file: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_file.setdefault(outcome.file, []).append(outcome)
    rows = [(f"`{file}`", count((package / file).read_text()), found) for file, found in by_file.items()]
    rows.append(("all", sum(there for _, there, _ in rows), list(outcomes)))
    lines = ["| file | faults | tried | caught | |", "|---|---|---|---|---|"]
    for name, there, found in rows:
        caught = sum(outcome.by is not None for outcome in found)
        lines.append(f"| {name} | {there} | {len(found)} | {caught} | {caught / max(len(found), 1):.0%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
