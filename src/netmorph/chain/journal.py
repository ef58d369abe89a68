"""What a search has found so far, in a file of JSON lines: a search that was stopped goes on from it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netmorph.chain.errors import ChainError
from netmorph.chain.values import Prefix, Record
from netmorph.files import SaveError


class Journal:
    """Records and states, each a line that is on disk before the search goes on.

    A last line that a killed process left unfinished is dropped, and its chain judged anew.

    Attributes:
        records: in order.
        states: by prefix.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Raises:
            ChainError: a line is none that a search writes.
            SaveError: an unfinished line could not be taken away.
        """
        self.path = path
        self.records: list[Record] = []
        self.states: dict[Prefix, Tensor] = {}
        whole = _read(path, self._take)
        if path.exists() and path.stat().st_size > whole:
            self._write(lambda file: os.ftruncate(file, whole))

    def add_record(self, record: Record) -> None:
        """Keep a record."""
        self.records.append(record)
        self._append(record.as_json())

    def add_state(self, prefix: Prefix, state: Tensor) -> None:
        """Keep what was seen of a prefix."""
        self.states[prefix] = state
        self._append({"prefix": prefix, "state": state.tolist()})

    def _take(self, told: dict[str, Any]) -> None:
        if "prefix" in told:
            self.states[tuple(told["prefix"])] = torch.tensor(told["state"], dtype=torch.float32)
        else:
            self.records.append(Record.from_json(told))

    def _append(self, told: dict[str, Any]) -> None:
        line = json.dumps(told, allow_nan=False).encode() + b"\n"
        self._write(lambda file: os.write(file, line))

    def _write(self, change: Any) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                change(file)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise SaveError(
                f"could not write {self.path}: {error}. Free some space, and go on with --resume"
            ) from error


def read_records(path: Path) -> list[Record]:
    """The records of a search, also while it goes on: nothing is written, an unfinished last line is left out.

    Raises:
        ChainError: a line is none that a search writes.
    """
    records: list[Record] = []

    def take(told: dict[str, Any]) -> None:
        if "prefix" not in told:
            records.append(Record.from_json(told))

    _read(path, take)
    return records


def _read(path: Path, take: Callable[[dict[str, Any]], None]) -> int:
    """Hand over what each whole line tells; returns how many bytes these lines have."""
    held = path.read_bytes() if path.exists() else b""
    whole = held[: held.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            take(json.loads(line))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ChainError(f"{path} is damaged in line {number} ({error}); remove it to search anew") from error
    return len(whole)
