"""The index of a bank: its entries, and at which place of which network each was cut out, in one SQLite file."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from netmorph.bank.entry import Entry
from netmorph.bank.errors import BankError
from netmorph.files import atomic_write

VERSION = 1
_APPLICATION_ID = 0x6E6D626B  # "nmbk": tells a bank from any other SQLite file
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE entries (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, told TEXT NOT NULL);
CREATE TABLE places (
    network TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY (network, position)
) WITHOUT ROWID;
"""
_PATIENCE = 60.0  # seconds to wait for another process that writes


class Index:
    """One file. Each method opens it anew, so that any number of processes read and write one bank."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> tuple[Entry, ...]:
        """All of them, in the order in which they came.

        Raises:
            BankError: there is no bank, or the file is none.
        """
        with self._opened() as connection:
            rows = connection.execute("SELECT told FROM entries ORDER BY number").fetchall()
        try:
            return tuple(Entry.from_json(json.loads(told)) for (told,) in rows)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise BankError(f"{self.path} holds what no bank records; it was changed or is damaged: {error}") from error

    def places(self, network: str) -> dict[int, str]:
        """The ids of a network's entries, by position; nothing of an unknown network.

        Raises:
            BankError: see `entries`.
        """
        with self._opened() as connection:
            return dict(connection.execute("SELECT position, id FROM places WHERE network = ?", (network,)).fetchall())

    def put(self, entries: Sequence[Entry], network: str | None = None) -> None:
        """Add entries, in one commit; those that are there stay as they are. The file is made if there is none.

        Args:
            network: whose places the entries' origins tell.

        Raises:
            BankError: see `entries`; or the file cannot be written.
            SaveError: the folder cannot be written.
        """
        if not self.path.is_file():
            atomic_write(self.path, _write_schema)
        with self._opened() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO entries (id, told) VALUES (?, ?)",
                [(entry.id, json.dumps(entry.as_json())) for entry in entries],
            )
            if network is not None:
                connection.executemany(
                    "INSERT OR REPLACE INTO places VALUES (?, ?, ?)",
                    [(network, entry.origin.position, entry.id) for entry in entries],
                )

    def remove(self, id: str) -> None:
        """Forget an entry and its places.

        Raises:
            BankError: see `entries`.
        """
        with self._opened() as connection:
            connection.execute("DELETE FROM places WHERE id = ?", (id,))
            connection.execute("DELETE FROM entries WHERE id = ?", (id,))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if not self.path.is_file():
            raise BankError(
                f"there is no bank in {self.path.parent}; put a network into one: netmorph bank add MODEL --bank "
                "FOLDER, or Bank(folder).add(model, example)"
            )
        try:
            connection = sqlite3.connect(self.path, timeout=_PATIENCE)
            with contextlib.closing(connection), connection:  # a commit, or nothing of it
                _check(self.path, connection)
                yield connection
        except sqlite3.DatabaseError as error:
            raise BankError(
                f"{self.path} cannot be read or written, or is no database: {error}. Check the disk's free space and "
                "the permissions; what was committed before is safe"
            ) from error


def _check(path: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        raise BankError(f"{path} is a database, but no bank of netmorph; choose another folder")
    if connection.execute("SELECT 1 FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchone():
        raise BankError(f"{path} computes its records (views or triggers), which no bank does; it was changed")
    if version != VERSION:
        raise BankError(f"{path} is a bank of version {version}; this netmorph reads version {VERSION}")


def _write_schema(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(_SCHEMA)
