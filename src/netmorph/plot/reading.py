"""Paths -> runs: which kind of folder is meant, and whose reader reads it."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from netmorph.chaining import CONFIG as CHAIN
from netmorph.plot.events import PATTERN, read_events
from netmorph.plot.rounds import read_chains, read_shrinking, read_study
from netmorph.plot.trainings import read_run
from netmorph.plot.values import PlotError, Run
from netmorph.ranks.trainings import FILE_NAME as STUDY
from netmorph.run.records import FILE_NAME as RECORDS
from netmorph.shrink.progress import FILE as ROUNDS

# The file that tells what a folder is, and what reads it. A folder has at most one of them.
READERS: dict[str, Callable[[Path, str], list[Run]]] = {
    RECORDS: read_run,
    ROUNDS: read_shrinking,
    STUDY: read_study,
    CHAIN: read_chains,
}


def read(*paths: str | Path) -> list[Run]:
    """The runs in folders, and in the folders below them.

    Args:
        paths: folders of `netmorph train`, `evolve`, `shrink`, `chain` or `ranks study`, of TensorBoard, or of any
            number of these; event files; patterns such as "runs/r2r-*". With a name in front, as in "R2R=runs/r2r-*",
            that is what all its runs are called.

    Raises:
        PlotError: a path is not there, or nothing that can be drawn is below it.
        NetmorphError: records or event files are damaged.
    """
    return [run for given in paths for run in _read(str(given))]


def _read(given: str) -> Iterator[Run]:
    label, found = _found(given)
    readers = list(_readers(found))
    if not readers:
        looked = ", ".join((*READERS, f"or {PATTERN}"))
        raise PlotError(f"there is no run in {given}, nor in the folders below it (no {looked})")
    runs = [run for reader in readers for run in reader() if run.curves]
    if not runs:
        raise PlotError(f"{given} holds no numbers yet: none was recorded of an epoch, a round or a step")
    yield from (replace(run, label=label) for run in runs)


def _found(given: str) -> tuple[str | None, list[Path]]:
    """What the user calls the runs, and where they are."""
    label, equals, rest = given.partition("=")
    for name, path in ((None, given), (label, rest)):
        if Path(path).exists():
            return name, [Path(path)]
        if matching := sorted(glob.glob(path)):
            return name, [Path(one) for one in matching]
        if not equals:
            break
    raise PlotError(f"{rest or given} is not there; give the folder of a run, or one with event files of TensorBoard")


def _readers(paths: Iterable[Path]) -> Iterator[Callable[[], list[Run]]]:
    """What reads each run. Below a run of netmorph's nothing is looked for: its logs repeat it."""
    for path in paths:
        if path.is_file():
            yield partial(read_events, [path], str(path))
            continue
        inside = sorted(path.iterdir())
        names = {one.name for one in inside}
        if marker := next((marker for marker in READERS if marker in names), None):
            yield partial(READERS[marker], path, str(path))
            continue
        if files := [one for one in inside if one.is_file() and one.match(PATTERN)]:
            yield partial(read_events, files, str(path))
        yield from _readers(one for one in inside if one.is_dir() and not one.name.startswith("."))
