"""Which kind a run's folder is, how it began, and how far it is: the same for all commands that make one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from netmorph import files
from netmorph.errors import NetmorphError
from netmorph.files import write_text
from netmorph.run.database import FILE_NAME
from netmorph.run.lock import in_use
from netmorph.run.machine import machine, versions
from netmorph.run.names import Status
from netmorph.run.records import Records
from netmorph.typed import check_fields

Made = TypeVar("Made")


class FolderError(NetmorphError):
    """A folder is not free, of another kind, or damaged."""


class Kind(StrEnum):
    """What a folder is of: the command that made it."""

    TRAIN = "train"
    EVOLVE = "evolve"
    SHRINK = "shrink"
    NEIGHBOURS = "neighbours"
    CHAIN = "chain"
    EXTENSION = "extension"
    """Of a chain, by `netmorph chain --extend`."""
    RANKS = "ranks"
    REPRODUCE = "reproduce"

    @property
    def command(self) -> str:
        """What the user types to make one, and to go on with it."""
        return _COMMANDS.get(self, f"netmorph {self}")


_COMMANDS = {Kind.RANKS: "netmorph ranks study", Kind.EXTENSION: "netmorph chain --extend"}
# The file that tells how a folder began, and so what it is. Records of trainings and evolutions tell it by themselves.
FILES = {
    Kind.SHRINK: "shrink.json",
    Kind.NEIGHBOURS: "neighbours.json",
    Kind.CHAIN: "chain.json",
    Kind.EXTENSION: "extension.json",
    Kind.RANKS: "study.json",
    Kind.REPRODUCE: "reproduce.json",
}
# What came of it, and its page: in every folder that is finished, but for those of records and of studies.
RESULT, REPORT, FIGURES = "result.json", "report.html", "figures"


@dataclass(frozen=True)
class Begun:
    """How a folder began.

    Attributes:
        config: what was asked for, as plain values.
        command: what the user typed; empty where it was begun in Python.
        machine, versions: where, see `netmorph.run.machine`.
    """

    config: dict[str, Any]
    command: str
    machine: dict[str, Any]
    versions: dict[str, str]


def kind_of(folder: Path) -> Kind | None:
    """What a folder is of; None if it is no run's.

    Raises:
        RecordsError: it has records that are damaged.
    """
    if (folder / FILE_NAME).is_file():
        with Records.open(folder) as records:
            task = (records.meta("config") or {}).get("task")
        return Kind.EVOLVE if task == Kind.EVOLVE else Kind.TRAIN
    return next((kind for kind, name in FILES.items() if (folder / name).is_file()), None)


def check_free(folder: Path) -> None:
    """Refuse a folder in which something is, and name the command that goes on with it.

    Raises:
        FolderError: there is.
    """
    kind = kind_of(folder)
    resume = "" if kind in (None, Kind.EXTENSION) else f"go on with {kind.command} --resume {folder}, or "
    files.check_free(folder, FolderError, f"{resume}choose another folder")


def check_kind(folder: Path, wanted: Kind) -> None:
    """Refuse the folder of another command.

    Raises:
        FolderError: it is one; the message names the command that goes on with it.
    """
    kind = kind_of(folder)
    if kind in (None, wanted):  # whose own reader says what is missing
        return
    on = "extend it by" if kind is Kind.EXTENSION else "go on with"
    option = "" if kind is Kind.EXTENSION else " --resume"
    raise FolderError(f"{folder} is of {kind.command}; {on}: {kind.command}{option} {folder}")


def begin(folder: Path, kind: Kind, config: dict[str, Any], command: str = "") -> None:
    """Write down how a folder begins.

    Raises:
        SaveError: the file cannot be written.
    """
    told = Begun(config, command, machine(), versions())
    write_text(folder / FILES[kind], json.dumps(asdict(told), indent=2) + "\n")


def begun(folder: Path, kind: Kind, error: type[NetmorphError] = FolderError) -> Begun:
    """What `begin` wrote.

    Raises:
        NetmorphError: of the type `error`; it wrote nothing here, or the file is damaged.
    """
    path = folder / FILES[kind]
    try:
        made = Begun(**json.loads(path.read_text("utf-8")))
        check_fields(made)
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"{folder} holds no run of {kind.command}: there is no {path.name}") from None
    except (AttributeError, TypeError, ValueError) as wrong:
        raise error(f"{path} is damaged, or was not written by netmorph: {wrong}") from wrong
    return made


def config_of(folder: Path, kind: Kind, make: Callable[[dict[str, Any]], Made], error: type[NetmorphError]) -> Made:
    """The config with which a folder began.

    Args:
        make: the config, from plain values.

    Raises:
        NetmorphError: of the type `error`; there is none, or it is damaged.
    """
    told = begun(folder, kind, error).config
    try:
        made = make(told)
        check_fields(made)
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        raise error(f"{folder / FILES[kind]} is damaged, or was not written by netmorph: {wrong}") from wrong
    return made


def result_of(folder: Path) -> dict[str, Any] | None:
    """What came of it, as plain values; None while it is not finished.

    Raises:
        FolderError: the file is damaged.
    """
    path = folder / RESULT
    try:
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as wrong:
        raise FolderError(f"{path} is damaged, or was not written by netmorph: {wrong}") from wrong
    return told


def status_of(folder: Path, finished: bool) -> Status:
    """How far a folder is. One whose process was killed is interrupted."""
    if in_use(folder):
        return Status.RUNNING
    return Status.FINISHED if finished else Status.INTERRUPTED
