"""A run of the first version of the records is read, also where nothing may be written, and goes on."""

import sqlite3
from pathlib import Path

import pytest

from netmorph.run.database import FILE_NAME
from netmorph.run.records import Records

FIRST = """
PRAGMA application_id = 0x6E6D7068;
PRAGMA user_version = 1;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE networks (
    id INTEGER PRIMARY KEY, arm TEXT NOT NULL, round INTEGER NOT NULL,
    parent INTEGER REFERENCES networks (id), seed INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('planned', 'trained', 'failed')),
    parameters INTEGER NOT NULL, flops INTEGER NOT NULL, training_flops INTEGER NOT NULL,
    seconds REAL NOT NULL, accuracy REAL, loss REAL, survivor INTEGER NOT NULL,
    edits TEXT NOT NULL, failure TEXT
);
CREATE TABLE epochs (
    network INTEGER NOT NULL REFERENCES networks (id), epoch INTEGER NOT NULL,
    train_loss REAL, train_accuracy REAL, validation_loss REAL, validation_accuracy REAL,
    learning_rate REAL, seconds REAL, PRIMARY KEY (network, epoch)
) WITHOUT ROWID;
INSERT INTO meta VALUES ('title', '"mlp on digits"');
INSERT INTO networks VALUES (1, 'evolve', 0, NULL, 7, 'trained', 10, 20, 30, 0.5, 0.875, 0.25, 1, '[]', NULL);
INSERT INTO networks VALUES (2, 'random', 0, NULL, 8, 'planned', 10, 20, 30, 0.0, NULL, NULL, 0, '[]', NULL);
INSERT INTO epochs VALUES (1, 1, 0.75, 0.5, 0.25, 0.875, 0.1, 2.0);
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript(FIRST)
    connection.close()
    return tmp_path


def check(records: Records) -> None:
    first, second = records.networks()
    assert (first.score, first.numbers, first.survivor) == (0.875, {"loss": 0.25, "accuracy": 0.875}, True)
    assert (second.score, second.numbers) == (None, {})
    assert first.recipe == second.recipe == {}
    (epoch,) = records.epochs(1)
    assert epoch.train == {"loss": 0.75, "accuracy": 0.5}
    assert (epoch.validation, epoch.score) == ({"loss": 0.25, "accuracy": 0.875}, 0.875)
    assert records.meta("title") == "mlp on digits"


def test_reading_leaves_the_file_as_it_is(old: Path) -> None:
    before = (old / FILE_NAME).read_bytes()
    with Records.open(old) as records:
        check(records)
    assert (old / FILE_NAME).read_bytes() == before


def test_going_on_brings_it_to_the_tables_of_today(old: Path) -> None:
    with Records.resume(old) as records:
        check(records)
        records.set_meta("title", "changed")
    with Records.open(old) as records:
        assert records.meta("title") == "changed"
        assert len(records.networks()) == 2
