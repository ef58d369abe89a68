"""Networks by name: a run's folder stands for its best network, `RUN:ID` for one of them, a shrinking for the last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from netmorph.edit import Journal
from netmorph.edit import journal as files
from netmorph.edit.journal import LoadError
from netmorph.run.database import FILE_NAME
from netmorph.run.findings import result_of
from netmorph.run.folders import Kind, kind_of
from netmorph.run.folders import result_of as result_of_folder
from netmorph.run.names import ArmName, State
from netmorph.run.ranking import ranked
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.rows import NetworkRecord
from netmorph.run.store import whole_file
from netmorph.wording import ranges


def load(path: str | Path, base: Callable[..., nn.Module] | None = None) -> tuple[nn.Module, Journal]:
    """Read a network: build its base, replay the journal, fill in the weights. No code of the file is executed.

    Args:
        path: a file that `save` wrote; or a run's folder, which stands for its best network (of all arms, so far if the
            run goes on), or RUN:ID, one of its networks: `load("runs/digits-1")`, `load("runs/digits-1:5")`.
        base: builds the network that was first edited. It may be left out for networks of `netmorph.zoo`; the name of
            any other constructor in a file is never imported. One that needs arguments gets those that the file tells.

    Returns:
        The network and its journal; `trace(model, inputs, journal)` goes on editing.

    Raises:
        LoadError: not such a file or run, damaged, of a newer format, without a known base, or of another base; the
            message lists the tensors that differ.
    """
    return files.load(file_of(path), base)


def file_of(path: str | Path) -> Path:
    """The file of a network that is given as `load` takes it; a path that is no run's stays what it is.

    Raises:
        LoadError: a folder without a run, or a run without the network.
    """
    folder, id = run_and_id(path)
    if folder is None:
        return shrunk_network(Path(path)) or Path(path)
    return whole_file(folder, best_id(folder) if id is None else network_of(folder, id).id)


def run_and_id(path: str | Path) -> tuple[Path | None, int | None]:
    """The folder of a run and the id of a network, of "RUN" and "RUN:ID"; (None, None) of what else may be a network.

    Raises:
        LoadError: a folder without a run, or what stands behind a run's colon is no number.
    """
    whole = Path(path)
    if whole.is_dir():
        if shrunk_network(whole) is not None:
            return None, None
        if not (whole / FILE_NAME).is_file():
            raise LoadError(
                f"{whole} is a folder without a run in it; expected a file that netmorph.save wrote (*.safetensors), "
                "the folder of a training, an evolution or a finished shrinking, or RUN:ID for one network of a run"
            )
        return whole, None
    folder, colon, id = str(path).rpartition(":")
    if whole.exists() or not colon or not (Path(folder) / FILE_NAME).is_file():
        return None, None
    if not id.isdecimal():
        raise LoadError(f"{path}: expected the number of a network behind the colon, as in {folder}:1; got {id!r}")
    return Path(folder), int(id)


def shrunk_network(folder: Path) -> Path | None:
    """The file of the network that a shrinking has come to; None of what is no folder of a finished one."""
    if not folder.is_dir() or kind_of(folder) is not Kind.SHRINK:
        return None
    told = result_of_folder(folder)
    return None if told is None else folder / told["network"]


def best_id(folder: Path) -> int:
    """The best network of a run, of all its arms; so far, while it goes on.

    Raises:
        LoadError: none is trained yet.
    """
    found = _found(folder)
    if found is None or found.best is None:
        raise LoadError(f"the run in {folder} has trained no network yet; go on with it first")
    return found.best.id


def survivors(folder: Path) -> list[Path]:
    """The files of the networks that live on in a run's evolution, the best first, for `netmorph.load`.

    While it goes on, those that live on so far.

    Raises:
        LoadError: there is none: nobody was selected yet, or the run is of one network.
    """
    found = _found(folder)
    if found is None or not found.members:
        raise LoadError(
            f"the run in {folder} has no population; one of netmorph evolve has it once the founders are trained"
        )
    return [whole_file(folder, member.id) for member in found.members]


def _found(folder: Path) -> Result | None:
    with Records.open(folder) as records:
        told = records.meta("result")
        if told is not None:
            return Result.from_json(told)
        return result_of(records) if records.outlines() else None


def best_of_the_population(folder: Path, count: int) -> tuple[int, ...]:
    """The ids of the best networks that an evolution made, by their scores on the validation set.

    Raises:
        LoadError: it has not trained so many.
    """
    with Records.open(folder) as records:
        evolved = [network for network in records.networks() if network.arm == ArmName.EVOLVE]
    found = ranked(evolved)[:count]
    if len(found) < count:
        raise LoadError(f"the run in {folder} has trained {len(found)} networks; {count} were asked for")
    return tuple(network.id for network in found)


def network_of(folder: Path, id: int) -> NetworkRecord:
    """What a run recorded of a trained network.

    Raises:
        LoadError: it has no such network, or that is not trained.
    """
    with Records.open(folder) as records:
        found = records.network(id)
        if found is not None and found.state == State.TRAINED:
            return found
        trained = [network.id for network in records.outlines() if network.state == State.TRAINED]
    why = "has no network" if found is None else f"has not trained network {id}: {found.failure or found.state}. It"
    there = f"{why} {id}; it has" if found is None else f"{why} has"
    raise LoadError(f"the run in {folder} {there} {ranges(trained) or 'none yet'}")
