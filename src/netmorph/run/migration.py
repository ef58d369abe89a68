"""Records of runs that earlier versions made, brought to the tables of today."""

import sqlite3

# From a version to the next one.
_STEPS = {
    # Accuracies had columns of their own, when all runs classified.
    1: """
        ALTER TABLE networks RENAME COLUMN accuracy TO score;
        ALTER TABLE networks ADD COLUMN numbers TEXT NOT NULL DEFAULT '{}';
        UPDATE networks SET numbers = json_object('loss', loss, 'accuracy', score)
            WHERE score IS NOT NULL AND loss IS NOT NULL;
        ALTER TABLE networks DROP COLUMN loss;
        ALTER TABLE epochs ADD COLUMN train TEXT NOT NULL DEFAULT '{}';
        ALTER TABLE epochs ADD COLUMN validation TEXT NOT NULL DEFAULT '{}';
        UPDATE epochs SET
            train = json_object('loss', train_loss, 'accuracy', train_accuracy),
            validation = json_object('loss', validation_loss, 'accuracy', validation_accuracy);
        ALTER TABLE epochs RENAME COLUMN validation_accuracy TO score;
        ALTER TABLE epochs DROP COLUMN train_loss;
        ALTER TABLE epochs DROP COLUMN train_accuracy;
        ALTER TABLE epochs DROP COLUMN validation_loss;
    """,
    2: """
        ALTER TABLE networks ADD COLUMN latency REAL;
        ALTER TABLE networks ADD COLUMN smoothed REAL;
    """,
    # All networks were trained by the same recipe.
    3: "ALTER TABLE networks ADD COLUMN recipe TEXT NOT NULL DEFAULT '{}';",
}
OLDEST = min(_STEPS)


def migrated(connection: sqlite3.Connection, version: int, wanted: int, *, writable: bool) -> sqlite3.Connection:
    """A connection to the same records with the tables of the wanted version.

    A file that may be written is changed, in one transaction. Otherwise a copy in memory is, and `connection` closed.
    """
    if not writable:
        copy = sqlite3.connect(":memory:", isolation_level=None)
        connection.backup(copy)
        connection.close()
        connection = copy
    steps = "".join(_STEPS[number] for number in range(version, wanted))
    connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {wanted}; COMMIT;")
    return connection
