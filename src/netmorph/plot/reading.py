"""Paths -> runs: which kind of folder is meant, and whose reader reads it."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from netmorph.plot.events import PATTERN, read_events
from netmorph.plot.rounds import read_chains, read_reproduction, read_shrinking, read_study
from netmorph.plot.trainings import read_run
from netmorph.plot.values import PlotError, Run
from netmorph.run.database import FILE_NAME as RECORDS
from netmorph.run.folders import FILES, Kind, kind_of
from netmorph.shrink.progress import FILE as ROUNDS

# The file that tells what a folder is, and what reads it. A folder has at most one of them.
READERS: dict[str, Callable[[Path, str], list[Run]]] = {
    RECORDS: read_run,
    ROUNDS: read_shrinking,
    FILES[Kind.RANKS]: read_study,
    FILES[Kind.CHAIN]: read_chains,
    FILES[Kind.REPRODUCE]: read_reproduction,
}


def read(*paths: str | Path) -> list[Run]:
    """The runs in folders, and in the folders below them.

    Args:
        paths: folders of `netmorph train`, `evolve`, `shrink`, `chain`, `ranks study` or `reproduce`, of TensorBoard,
            or of any number of these; event files; patterns such as "runs/r2r-*". With a name in front, as in
            "R2R=runs/r2r-*", that is what all its runs are called.

    Raises:
        PlotError: a path is not there, or nothing that can be drawn is below it.
        NetmorphError: records or event files are damaged.
    """
    return [run for given in paths for run in _read(str(given))]


def _read(given: str) -> Iterator[Run]:
    label, found = _found(given)
    readers = list(_readers(found, set()))
    if not readers:
        for path in found:
            if (kind := kind_of(path)) is not None:  # of no reader's
                raise PlotError(
                    f"{path} is of {kind.command}, and has no curves; netmorph report {path} --figures pdf writes its "
                    "figures"
                )
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
        if path and Path(path).exists():
            return name, [Path(path)]
        if matching := glob.glob(path):
            return name, _links_last(map(Path, matching))
        if not equals:
            break
    raise PlotError(f"{rest or given} is not there; give the folder of a run, or one with event files of TensorBoard")


def _readers(paths: Iterable[Path], seen: set[Path]) -> Iterator[Callable[[], list[Run]]]:
    """What reads each run. Below a run of netmorph's nothing is looked for: its logs repeat it.

    Args:
        seen: files and folders that were met, links followed; added to. None is read twice.
    """
    for path in paths:
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        if path.is_file():
            yield partial(read_events, [path], str(path))
            continue
        inside = _links_last(path.iterdir())
        names = {one.name for one in inside}
        if marker := next((marker for marker in READERS if marker in names), None):
            yield partial(READERS[marker], path, str(path))
            continue
        if files := [one for one in inside if one.is_file() and one.match(PATTERN)]:
            yield partial(read_events, files, str(path))
        yield from _readers((one for one in inside if one.is_dir() and not one.name.startswith(".")), seen)


def _links_last(paths: Iterable[Path]) -> list[Path]:
    """By name; a run is called what its folder is, and not what a link to it is."""
    return sorted(paths, key=lambda path: (path.is_symlink(), path))
