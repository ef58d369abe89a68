"""What a run leaves behind: every network, its edits and its epochs, in one SQLite file, RUN/run.sqlite.

One process writes (the run's supervisor); any number read meanwhile. What belongs together is written in one
`transaction`, so that a reader, or a run resumed after a crash, sees a finished job whole or not at all.

Keys of `meta`: "title" (str), "command" (str), "config", "machine" and "versions" (dicts for the reader),
"normalization" (how inputs are prepared), "criterion" (the fields of the number that chooses, see
`netmorph.tasks.Criterion`), "validation_samples" (int), "exhibit" (what is shown of the test, a
`netmorph.tasks.Exhibit`), "fingerprint" (of the data), "epoch_seconds" (of the start network, measured when the run
was made), "arms" (their names), "status" (a `netmorph.run.names.Status`), "round" (int; tuning survivors counts as
one), "seconds" (wall time so far), "tuned" (copies of survivors by their ids, and what each is a copy of), "tunings"
(int: how often there were such before, as the run got another budget) and, written once at the end, "result" (see
`netmorph.run.result`).
"""

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from netmorph.files import atomic_write
from netmorph.run.database import ADDED, FILE_NAME, RecordsError, connect, existing, explained, write_schema
from netmorph.run.names import State
from netmorph.run.rows import EditRecord, EpochRecord, Failures, NetworkRecord, Outline
from netmorph.typed import check_fields, fits

# What is kept in `meta`, where a reader relies on it.
_META: dict[str, Any] = {
    "title": str,
    "command": str,
    "config": dict[str, Any],
    "machine": dict[str, Any],
    "versions": dict[str, Any],
    "criterion": dict[str, Any],
    "exhibit": str,
    "validation_samples": int,
    "fingerprint": str,
    "arms": list[str],
    "status": str,
    "round": int,
    "seconds": float,
    "result": dict[str, Any],
    "tuned": dict[str, int],
    "tunings": int,
}


class Records:
    """The records of one run. Made by `create`, `open` or `resume`; a context manager that closes itself."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def create(cls, folder: Path) -> "Records":
        """Start the records of a new run, to read and write.

        Raises:
            RecordsError: the folder already holds a run.
            SaveError: the folder cannot be written.
        """
        path = Path(folder) / FILE_NAME
        if path.exists():
            raise RecordsError(f"{folder} already holds a run; resume it or choose another folder")
        atomic_write(path, write_schema)
        return cls.resume(folder)

    @classmethod
    def open(cls, folder: Path) -> "Records":
        """Open a run to read, also while another process writes to it.

        Raises:
            RecordsError: no run there, no records of netmorph, or records of another version.
        """
        path = existing(folder)
        # A reader of a WAL file makes an index beside it. Where it must not (a run on a read-only share), the
        # file is complete if no log lies beside it, and can be read as immutable.
        log = path.with_name(path.name + "-wal")
        fixed = not os.access(path.parent, os.W_OK) and not log.exists()
        return cls(path, connect(path, "immutable=1" if fixed else "mode=ro"))

    @classmethod
    def resume(cls, folder: Path) -> "Records":
        """Open a run to read and write.

        Raises:
            RecordsError: no run there, no records of netmorph, or records of another version.
        """
        path = existing(folder)
        connection = connect(path, "mode=rw")
        # In WAL mode NORMAL hands each commit to the operating system without waiting for the disk. A killed
        # process loses nothing of that; only a power cut can take the last commits, and never half of one.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        with explained(path):
            for statement in ADDED:
                connection.execute(statement)
        return cls(path, connection)

    def close(self) -> None:
        """Close the file; an open transaction is undone."""
        self._connection.close()

    def __enter__(self) -> "Records":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all that happens inside in one commit, or nothing of it if an error leaves the block.

        A transaction inside another one is part of it.

        Raises:
            RecordsError: the file cannot be written (disk full, opened to read, busy).
        """
        if self._connection.in_transaction:
            yield
            return
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()  # does nothing where SQLite undid it itself (a full disk)
                raise

    def put_network(self, network: NetworkRecord) -> None:
        """Add a network, or replace the record with its id. Its parent must be there."""
        self._put("networks", "id", [_row(network)])

    def remember_birth(self, job: str, network: NetworkRecord) -> None:
        """Keep a network that was born but is in no planned round yet, and what it was made by."""
        self._put("births", "id", [{"id": network.id, "job": job, "network": json.dumps([*_row(network).values()])}])

    def birth(self, id: int, job: str) -> NetworkRecord | None:
        """What this job has made, if it is remembered; what another job made under this id is forgotten."""
        rows = self._query("SELECT job, network FROM births WHERE id = ?", (id,))
        if rows and rows[0][0] != job:
            with self.transaction():
                self._connection.execute("DELETE FROM births WHERE id = ?", (id,))
            return None
        with self._read():
            return _network(tuple(json.loads(rows[0][1]))) if rows else None

    def forget_births(self) -> None:
        """The networks are planned, or will not be."""
        with self.transaction():
            self._connection.execute("DELETE FROM births")

    def add_epochs(self, epochs: Iterable[EpochRecord]) -> None:
        """Add epochs of networks that are there; an epoch recorded before is replaced."""
        self._put("epochs", "network, epoch", [_told(epoch) for epoch in epochs])

    def replace_epochs(self, network: int, epochs: Iterable[EpochRecord]) -> None:
        """Let these be all epochs of the network, so that a job run again leaves nothing of its first try.

        Raises:
            RecordsError: an epoch of another network is among them.
        """
        epochs = list(epochs)
        if strangers := {epoch.network for epoch in epochs} - {network}:
            raise RecordsError(f"epochs of network {network} expected, got some of {sorted(strangers)}")
        with self.transaction():
            self._connection.execute("DELETE FROM epochs WHERE network = ?", (network,))
            self.add_epochs(epochs)

    def set_survivors(self, arm: str, ids: Iterable[int]) -> None:
        """Let exactly these networks be the arm's population, as a round ends.

        Raises:
            RecordsError: an id that is no network of this arm.
        """
        ids = sorted(set(ids))
        if unknown := [i for i in ids if not self._query("SELECT 1 FROM networks WHERE id = ? AND arm = ?", (i, arm))]:
            raise RecordsError(f"survivors must be networks of the arm {arm!r}; these are not: {unknown}")
        with self.transaction():
            self._connection.execute("UPDATE networks SET survivor = 0 WHERE arm = ? AND survivor = 1", (arm,))
            self._connection.executemany("UPDATE networks SET survivor = 1 WHERE id = ?", [(i,) for i in ids])

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a value that JSON can hold under `key`."""
        text = json.dumps(value)
        with self.transaction():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, text))

    def meta(self, key: str) -> Any:
        """The value kept under `key`, None if there is none."""
        rows = self._query("SELECT value FROM meta WHERE key = ?", (key,))
        with self._read():
            value = json.loads(rows[0][0]) if rows else None
            if value is not None and not fits(value, _META.get(key, Any)):
                raise TypeError(f"{key!r} cannot be {value!r}")
        return value

    def networks(self, arm: str | None = None) -> list[NetworkRecord]:
        """The networks of an arm, or of all arms, by id."""
        found = self._networks("SELECT {} FROM networks WHERE ? IS NULL OR arm = ? ORDER BY id", (arm, arm))
        with self._read():
            if arm is None and (
                lost := {network.parent for network in found} - {network.id for network in found} - {None}
            ):
                raise ValueError(f"networks descend from {sorted(map(str, lost))}, which are not there")
        return found

    def network(self, id: int) -> NetworkRecord | None:
        """One network, if it is there."""
        if not 0 <= id < 2**63:  # no integer of SQLite's
            return None
        return next(iter(self._networks("SELECT {} FROM networks WHERE id = ?", (id,))), None)

    def ancestry(self, id: int, limit: int = -1) -> list[NetworkRecord]:
        """The chain of parents that ends in a network, oldest first, or its last ones; empty if it is not there."""
        chain = (
            "WITH RECURSIVE chain (number, above) AS (SELECT id, parent FROM networks WHERE id = ? "
            # A parent is older, so that a file that was changed cannot lead round in a circle.
            "UNION ALL SELECT id, parent FROM networks JOIN chain ON id = above AND id < number LIMIT ?) "
        )
        found = "SELECT {} FROM networks WHERE id IN (SELECT number FROM chain) ORDER BY id"
        return self._networks(chain + found, (id, limit))

    def queue(self, limit: int) -> list[NetworkRecord]:
        """The planned networks, the longest training first, as they are handed out."""
        waiting = "SELECT {} FROM networks WHERE state = 'planned' ORDER BY training_flops DESC, id LIMIT ?"
        return self._networks(waiting, (limit,))

    def failures(self, limit: int) -> list[Failures]:
        """Why networks failed, the latest reason first."""
        rows = self._query(
            "SELECT COALESCE(failure, ''), COUNT(*), MAX(id) FROM networks WHERE state = 'failed' "
            "GROUP BY failure ORDER BY MAX(id) DESC LIMIT ?",
            (limit,),
        )
        return [Failures(*row) for row in rows]

    def survivors(self) -> list[int]:
        """The ids of all populations."""
        # Sorted here: to have them in this order, SQLite would walk through all networks.
        return sorted(id for (id,) in self._query("SELECT id FROM networks WHERE survivor = 1", ()))

    def outlines(self, first: int = 0) -> list[Outline]:
        """What a picture of the run shows of its networks, by id, from `first` on: without edits and numbers, which
        take longer to read than all the rest."""
        names = ", ".join(Outline._fields)
        return [
            Outline(*row) for row in self._query(f"SELECT {names} FROM networks WHERE id >= ? ORDER BY id", (first,))
        ]

    def epochs(self, network: int) -> list[EpochRecord]:
        """The epochs of a network in order; what was not a number or unknown is nan."""
        rows = self._query(f"SELECT {_columns(EpochRecord)} FROM epochs WHERE network = ? ORDER BY epoch", (network,))
        with self._read():
            return [_epoch(*row) for row in rows]

    @contextlib.contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError, KeyError, RecursionError, OverflowError) as error:
            raise RecordsError(
                f"{self.path} holds what no run records, so it was changed or is damaged: {error}"
            ) from error

    def _query(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with explained(self.path):
            return self._connection.execute(sql, values).fetchall()

    def _networks(self, sql: str, values: tuple[Any, ...]) -> list[NetworkRecord]:
        """The networks that a question asks for, with `{}` in the place of their columns."""
        rows = self._query(sql.format(_columns(NetworkRecord)), values)
        with self._read():
            return [_network(row) for row in rows]

    def _put(self, table: str, key: str, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        names = list(rows[0])
        # Not INSERT OR REPLACE: that deletes the row first, which other rows may refer to. Nor is the key set again:
        # SQLite would look through all networks for children of one whose id might change.
        changed = [name for name in names if name not in key.split(", ")]
        sql = (
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)}) "
            f"ON CONFLICT ({key}) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in changed)}"
        )
        with self.transaction():
            self._connection.executemany(sql, rows)


_NAMES = [field.name for field in fields(NetworkRecord)]


def _columns(record: type[NetworkRecord] | type[EpochRecord]) -> str:
    return ", ".join(field.name for field in fields(record))


def _row(network: NetworkRecord) -> dict[str, Any]:
    row = {name: getattr(network, name) for name in _NAMES}
    told = {name: json.dumps(dict(row[name])) for name in ("numbers", "recipe")}
    return row | told | {"edits": json.dumps([astuple(edit) for edit in network.edits])}


def _network(row: tuple[Any, ...]) -> NetworkRecord:
    told = dict(zip(_NAMES, row, strict=True))
    edits = tuple(EditRecord(*values) for values in json.loads(told["edits"]))
    read = {"numbers": json.loads(told["numbers"]), "recipe": json.loads(told["recipe"]), "edits": edits}
    state, survivor = State(told["state"]), bool(told["survivor"])
    network = NetworkRecord(**told | read | {"state": state, "survivor": survivor})
    for made in (network, *edits):
        check_fields(made)
    if network.parent is not None and not network.parent < network.id:
        raise ValueError(f"network {network.id} cannot descend from network {network.parent}, which is not older")
    if not 0 <= network.round <= network.id:  # every round makes a network
        raise ValueError(f"network {network.id} cannot be of round {network.round}")
    return network


def _told(epoch: EpochRecord) -> dict[str, Any]:
    return asdict(epoch) | {"train": json.dumps(dict(epoch.train)), "validation": json.dumps(dict(epoch.validation))}


def _epoch(network: int, number: int, train: str, validation: str, *values: float | None) -> EpochRecord:
    known = (math.nan if value is None else value for value in values)
    epoch = EpochRecord(network, number, json.loads(train), json.loads(validation), *known)
    check_fields(epoch)
    return epoch
