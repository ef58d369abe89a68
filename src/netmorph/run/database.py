"""The SQLite file of a run, RUN/run.sqlite: its tables, how it is made and opened, and what may be wrong with it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from netmorph.errors import NetmorphError
from netmorph.run.migration import OLDEST, migrated

FILE_NAME = "run.sqlite"
SCHEMA_VERSION = 4
_APPLICATION_ID = 0x6E6D7068  # "nmph": tells a run from any other SQLite file
# A population, the queue and what failed are found without reading all networks; births are kept until their round is
# planned. Runs of before get these as they go on.
ADDED = (
    "CREATE INDEX IF NOT EXISTS survivors ON networks (arm) WHERE survivor = 1",
    "CREATE INDEX IF NOT EXISTS planned ON networks (id) WHERE state = 'planned'",
    "CREATE INDEX IF NOT EXISTS failed ON networks (failure) WHERE state = 'failed'",
    "CREATE TABLE IF NOT EXISTS births (id INTEGER PRIMARY KEY, job TEXT NOT NULL, network TEXT NOT NULL)",
)
_SCHEMA = f"""
PRAGMA journal_mode = WAL;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE networks (
    id INTEGER PRIMARY KEY, arm TEXT NOT NULL, round INTEGER NOT NULL,
    parent INTEGER REFERENCES networks (id), seed INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('planned', 'trained', 'failed')),
    parameters INTEGER NOT NULL, flops INTEGER NOT NULL, training_flops INTEGER NOT NULL,
    seconds REAL NOT NULL, score REAL, numbers TEXT NOT NULL, survivor INTEGER NOT NULL,
    edits TEXT NOT NULL, failure TEXT, latency REAL, smoothed REAL, recipe TEXT NOT NULL DEFAULT '{{}}'
);
CREATE TABLE epochs (
    network INTEGER NOT NULL REFERENCES networks (id), epoch INTEGER NOT NULL,
    train TEXT NOT NULL, validation TEXT NOT NULL, score REAL, learning_rate REAL, seconds REAL,
    PRIMARY KEY (network, epoch)
) WITHOUT ROWID;
"""


class RecordsError(NetmorphError):
    """The records of a run are missing, no records at all, of another version, or could not be written."""


def existing(folder: Path) -> Path:
    """The file in a run's folder.

    Raises:
        RecordsError: there is none.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise RecordsError(f"no run in {folder}: there is no {FILE_NAME}; give the folder of a netmorph run")
    return path


def write_schema(path: Path) -> None:
    """Make a file of empty tables."""
    with explained(path), contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(_SCHEMA)


def connect(path: Path, options: str) -> sqlite3.Connection:
    """Open a file whose tables are, or become, those of this version.

    Args:
        options: of SQLite's URI: "mode=ro", "mode=rw" or "immutable=1".

    Raises:
        RecordsError: no records of netmorph, or records of another version.
    """
    with explained(path):
        # isolation_level None: transactions begin and end where `Records` says so, nowhere else.
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, isolation_level=None)
        try:
            version = _checked_version(path, connection)
            if version < SCHEMA_VERSION:
                connection = migrated(connection, version, SCHEMA_VERSION, writable=options == "mode=rw")
        except BaseException:
            connection.close()
            raise
        return connection


def _checked_version(path: Path, connection: sqlite3.Connection) -> int:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        raise RecordsError(f"{path} is a database, but no run of netmorph; give the folder of a netmorph run")
    if connection.execute("SELECT 1 FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchone():
        raise RecordsError(f"{path} computes its records (views or triggers), which no run does; it was changed")
    if not OLDEST <= version <= SCHEMA_VERSION:
        raise RecordsError(
            f"{path} has records of version {version}; this netmorph reads version {SCHEMA_VERSION}. "
            "Use the netmorph that made the run"
        )
    return int(version)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """What SQLite raises inside, as a `RecordsError` that says what to do."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise RecordsError(f"{path} refuses a record: {error}. Its network or parent must be recorded first") from error
    except sqlite3.OperationalError as error:
        raise RecordsError(
            f"cannot read or write {path}: {error}. Check the disk's free space, the permissions and that no "
            "other process writes to this run; what was committed before is safe"
        ) from error
    except sqlite3.DatabaseError as error:
        raise RecordsError(f"{path} is no database or is damaged: {error}") from error
