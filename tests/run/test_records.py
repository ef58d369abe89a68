import contextlib
import math
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from netmorph.files import SaveError
from netmorph.run.database import RecordsError
from netmorph.run.records import Records
from netmorph.run.rows import EditRecord, EpochRecord, NetworkRecord

EDIT = EditRecord("widen r2r", "features.0", 8, 12, 0.3, 2e-7, 0.0)


def network(id: int, parent: int | None = None, **changes: object) -> NetworkRecord:
    record = NetworkRecord(
        id=id,
        arm="evolve",
        round=0,
        parent=parent,
        seed=7,
        state="trained",
        parameters=1000,
        flops=20000,
        training_flops=10**15,
        seconds=1.5,
        score=0.9,
        numbers={"loss": 0.3, "accuracy": 0.9},
        survivor=False,
        edits=(EDIT,) if parent is not None else (),
        failure=None,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def epoch(network: int, number: int, loss: float = 0.5) -> EpochRecord:
    return EpochRecord(
        network, number, {"loss": loss, "accuracy": 0.8}, {"loss": 0.6, "accuracy": 0.75}, 0.75, 0.1, 2.0
    )


def test_records_come_back_as_they_went_in(tmp_path: Path) -> None:
    start = network(0)
    child = network(1, parent=0, round=1, survivor=True, edits=(EDIT, replace(EDIT, kind="deepen r2r")))
    failed = network(2, arm="random", state="failed", score=None, numbers={}, failure="loss is nan")
    with Records.create(tmp_path / "run") as records:
        for record in (start, child, failed):
            records.put_network(record)
        records.add_epochs([epoch(0, 1), epoch(0, 0)])
        records.set_meta("config", {"data": "digits", "widths": [1, 2]})
    with Records.open(tmp_path / "run") as records:
        assert records.networks() == [start, child, failed]
        assert records.networks("random") == [failed]
        assert records.epochs(0) == [epoch(0, 0), epoch(0, 1)]
        assert records.epochs(1) == []
        assert records.meta("config") == {"data": "digits", "widths": [1, 2]}
        assert records.meta("result") is None


def test_questions_about_few_networks_read_no_others(tmp_path: Path) -> None:
    start, child, waiting = network(1), network(2, parent=1, round=1), network(3, parent=2, round=2, state="planned")
    longer = replace(waiting, id=4, training_flops=2 * waiting.training_flops)
    failed = [network(id, 1, round=1, state="failed", failure="loss is nan") for id in (5, 6)]
    with Records.create(tmp_path / "run") as records:
        for record in (start, child, waiting, longer, *failed, network(7, state="failed", failure="a kill")):
            records.put_network(record)
        records.set_survivors("evolve", [1, 2])
        start, child = replace(start, survivor=True), replace(child, survivor=True)
        assert (records.network(2), records.network(8), records.network(10**30)) == (child, None, None)
        assert records.ancestry(3) == [start, child, waiting]
        assert records.ancestry(8) == []
        assert records.queue(10) == [longer, waiting]
        assert records.queue(1) == [longer]
        assert records.failures(10) == [("a kill", 1, 7), ("loss is nan", 2, 6)]
        assert records.survivors() == [1, 2]
        assert [outline.id for outline in records.outlines(3)] == [3, 4, 5, 6, 7]
        assert records.outlines()[0] == (1, "evolve", 0, None, "trained", 1000, 20000, 10**15, 1.5, 0.9)


def test_put_network_replaces_the_record_and_keeps_its_epochs(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        records.put_network(network(0, state="planned", score=None))
        records.put_network(network(1, parent=0))
        records.add_epochs([epoch(0, 0)])
        records.put_network(network(0, score=0.95))
        assert [record.score for record in records.networks()] == [0.95, 0.9]
        assert records.epochs(0) == [epoch(0, 0)]


def test_a_retried_job_leaves_nothing_of_its_first_try(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        records.put_network(network(0))
        records.replace_epochs(0, [epoch(0, number) for number in range(5)])
        records.replace_epochs(0, [epoch(0, number, loss=0.1) for number in range(3)])
        assert records.epochs(0) == [epoch(0, number, loss=0.1) for number in range(3)]
        with pytest.raises(RecordsError, match=r"network 0 expected, got some of \[4\]"):
            records.replace_epochs(0, [epoch(4, 0)])
        assert len(records.epochs(0)) == 3


def test_nan_is_kept_as_unknown(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        records.put_network(network(0, score=math.nan))
        records.add_epochs([epoch(0, 0, loss=math.nan)])
        assert records.networks()[0].score is None
        assert math.isnan(records.epochs(0)[0].train["loss"])


def test_set_survivors_replaces_the_population_of_its_arm(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        for id in range(3):
            records.put_network(network(id))
        records.put_network(network(3, arm="random", survivor=True))
        records.set_survivors("evolve", [0, 1])
        records.set_survivors("evolve", [1, 2])
        assert [record.id for record in records.networks() if record.survivor] == [1, 2, 3]
        with pytest.raises(RecordsError, match=r"these are not: \[3, 9\]"):
            records.set_survivors("evolve", [0, 3, 9])
        assert [record.id for record in records.networks() if record.survivor] == [1, 2, 3]


def test_what_is_written_after_each_child_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    def steps_of_sqlite(records: Records, many: int) -> int:
        steps: list[None] = []
        records._connection.set_progress_handler(lambda: steps.append(None), 1)
        records.put_network(network(many // 2, state="failed"))
        records.replace_epochs(many // 2, [epoch(many // 2, 0)])
        records.set_survivors("evolve", [many // 3])
        records.set_survivors("evolve", [many // 4])
        records._connection.set_progress_handler(None, 1)
        return len(steps)

    counts = []
    for many in (40, 1200):
        with Records.create(tmp_path / str(many)) as records, records.transaction():
            for id in range(many):
                records.put_network(network(id, parent=id - 1 if id else None))
            counts.append(steps_of_sqlite(records, many))
    few, most = counts
    assert 0 < most < 1.5 * few


def test_a_transaction_is_whole_or_absent(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records, Records.open(tmp_path) as reader:
        with records.transaction():
            records.put_network(network(0))
            records.set_meta("round", 1)
            assert reader.networks() == []
        assert reader.networks() == [network(0)]

        with pytest.raises(RuntimeError), records.transaction():  # noqa: PT012
            records.put_network(network(1))
            records.set_meta("round", 2)
            raise RuntimeError
        assert reader.networks() == [network(0)]
        assert records.meta("round") == 1


def test_a_parent_must_be_recorded_first(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        with pytest.raises(RecordsError, match="must be recorded first"):
            records.put_network(network(1, parent=0))
        with pytest.raises(RecordsError, match="must be recorded first"):
            records.add_epochs([epoch(8, 0)])
        assert records.networks() == []


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_records import Records, epoch, network
with Records.create(Path(sys.argv[1])) as records:
    for id in range(1_000_000):
        with records.transaction():
            records.put_network(network(id))
            records.add_epochs([epoch(id, number) for number in range(20)])
            records.set_meta("round", id)
        print(id, flush=True)
"""


def test_a_killed_writer_leaves_whole_transactions(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        committed = -1
        for line in writer.stdout:
            committed = int(line)
            if committed == 30:
                os.kill(writer.pid, signal.SIGKILL)
                break
        committed = max([committed, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    assert writer.returncode == -signal.SIGKILL

    with Records.resume(tmp_path) as records:
        networks = records.networks()
        assert [record.id for record in networks] == list(range(len(networks)))
        assert len(networks) >= committed + 1
        assert records.meta("round") == len(networks) - 1
        assert all(len(records.epochs(record.id)) == 20 for record in networks)
        records.put_network(network(len(networks)))


def test_a_run_on_a_read_only_share_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Records.create(tmp_path) as records:
        records.put_network(network(0))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with Records.open(tmp_path) as reader:
        assert reader.networks() == [network(0)]
        assert [file.name for file in tmp_path.iterdir()] == ["run.sqlite"]


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    Records.create(tmp_path).close()
    with Records.open(tmp_path) as reader, pytest.raises(RecordsError, match="readonly"):
        reader.set_meta("round", 1)


def test_a_full_disk_is_explained_and_undone(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        records.put_network(network(0))
        (pages,) = records._query("PRAGMA page_count", ())[0]
        records._query(f"PRAGMA max_page_count = {pages}", ())
        with pytest.raises(RecordsError, match="disk is full"):
            records.add_epochs([epoch(0, number) for number in range(10_000)])
        assert records.networks() == [network(0)]
        assert records.epochs(0) == []


def test_create_leaves_an_existing_run_alone(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        records.put_network(network(0))
    with pytest.raises(RecordsError, match="already holds a run"):
        Records.create(tmp_path)
    with Records.open(tmp_path) as records:
        assert len(records.networks()) == 1


def test_create_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="could not write"):
        Records.create(tmp_path / "file" / "run")


@pytest.mark.parametrize("open_run", [Records.open, Records.resume])
def test_what_is_no_run_is_named(tmp_path: Path, open_run: object) -> None:
    assert callable(open_run)
    with pytest.raises(RecordsError, match=r"no run in .*missing"):
        open_run(tmp_path / "missing")

    (tmp_path / "run.sqlite").write_text("this is a text file, longer than the header of a database" * 20)
    with pytest.raises(RecordsError, match="no database or is damaged"):
        open_run(tmp_path)

    (tmp_path / "run.sqlite").unlink()
    with sqlite3.connect(tmp_path / "run.sqlite") as other:
        other.execute("CREATE TABLE things (id)")
    other.close()
    with pytest.raises(RecordsError, match="no run of netmorph"):
        open_run(tmp_path)


def test_records_of_another_version_are_refused(tmp_path: Path) -> None:
    Records.create(tmp_path).close()
    with sqlite3.connect(tmp_path / "run.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(RecordsError, match=r"version 99; this netmorph reads version 4"):
        Records.open(tmp_path)


def change(folder: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(folder / "run.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement, values)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("parent", 1),  # itself
        ("parent", 2),  # its child
        ("parent", 2**62),
        ("round", 10**12),
        ("round", -1),
        ("flops", "many"),
        ("parameters", b"\xff"),
        ("score", "best"),
        ("state", "eaten"),
        ("numbers", "[" * 100_000),
        ("numbers", "[]"),
        ("numbers", '{"loss": "low"}'),
        ("edits", "3"),
        ("edits", '[["widen"]]'),
        ("edits", "[[1, 2, 3, 4, 5, 6, 7]]"),
    ],
)
def test_a_network_that_no_run_records_is_refused(tmp_path: Path, column: str, value: object) -> None:
    with Records.create(tmp_path) as records:
        for record in (network(0), network(1, parent=0), network(2, parent=1)):
            records.put_network(record)
    change(tmp_path, f"UPDATE networks SET {column} = ? WHERE id = 1", value)
    with Records.open(tmp_path) as records, pytest.raises(RecordsError):
        records.networks()


def test_a_network_whose_parent_is_gone_is_refused(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        for record in (network(0), network(1, parent=0)):
            records.put_network(record)
    change(tmp_path, "DELETE FROM networks WHERE id = 0")
    with Records.open(tmp_path) as records, pytest.raises(RecordsError, match="which are not there"):
        records.networks()


@pytest.mark.parametrize(
    ("key", "text"),
    [("config", "[" * 100_000), ("config", "[]"), ("round", '"x"'), ("status", "7"), ("arms", "[3]"), ("title", "{")],
)
def test_a_value_that_no_run_keeps_is_refused(tmp_path: Path, key: str, text: str) -> None:
    with Records.create(tmp_path) as records:
        records.set_meta(key, None)
    change(tmp_path, "UPDATE meta SET value = ? WHERE key = ?", text, key)
    with Records.open(tmp_path) as records, pytest.raises(RecordsError, match="holds what no run records"):
        records.meta(key)


def test_records_that_are_computed_without_end_are_refused(tmp_path: Path) -> None:
    with Records.create(tmp_path):
        pass
    change(tmp_path, "DROP TABLE epochs")
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS network FROM n"
    change(tmp_path, f"CREATE VIEW epochs AS {endless}")
    with pytest.raises(RecordsError, match="computes its records"):
        Records.open(tmp_path)
