"""The command `netmorph neighbours`, from its options to its page."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from netmorph.files import write_text
from netmorph.neighbours import Job, Neighbour, NeighbourError, NeighboursConfig, Row, page, train_all
from netmorph.neighbours.rows import write_row
from netmorph.neighbours.trainings import AROUND, around, jobs_of
from netmorph.report.plain_page import Page
from netmorph.run.config import DataConfig
from netmorph.tasks.criterion import ACCURACY
from netmorph.train import Recipe
from netmorph.workers import executor
from tests.program import Program

pytest.importorskip("scipy")
DATA = ("--data", "digits", "--train-size", "100", "--epochs", "1")
FEW = (*DATA, "--seeds", "2", "--calibration", "50", "--count", "1")
NETWORK = ("mlp", "--option", "hidden=[24,16]")


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Jobs run in this process: starting one takes seconds."""
    monkeypatch.chdir(tmp_path)

    class Here(executor.Inline):  # type: ignore[type-arg]
        def __init__(self, factory: object, workers: int | None, threads: int) -> None:
            super().__init__(factory)  # type: ignore[arg-type]

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(executor, "Processes", Here)


def test_it_tells_whether_a_network_is_a_peak_and_goes_on_by_resume(
    netmorph: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Page, "save_pictures", lambda *given: [])  # the page has them
    run = tmp_path / "run"
    done = netmorph("neighbours", *NETWORK, *FEW, "--output", str(run))
    assert done.code == 0, done.err
    assert done.out.count(": test accuracy") == 2 * 2 * 2
    told = json.loads((run / "result.json").read_text())
    assert [verdict.split(" no ")[0] for verdict in told["verdicts"]] == [
        "With inherited weights",
        "With fresh weights",
    ]
    out = " ".join(done.out.split())
    assert all(verdict in out for verdict in told["verdicts"])
    assert "(8 of 8)" in out
    assert min(row["memory"] for row in told["rows"]) > 1e8, "PyTorch alone takes more"
    assert min(row["processor_seconds"] for row in told["rows"]) > 0
    text = (run / "report.html").read_text()
    assert text.count("<svg") == 2
    shown = json.loads(netmorph("show", str(run), "--json").out)
    assert (shown["status"], shown["verdicts"], len(shown["rows"])) == ("finished", told["verdicts"], 8)
    assert "From inherited weights" in text
    assert "validation accuracy before training" in text
    assert "GB of memory" in text

    monkeypatch.setattr(page, "pictures", lambda *given: [])
    for name in ("fresh-1-001.json", "inherited-0-000.json"):
        (run / "rows" / name).unlink()
    (run / "rows" / ".fresh-1-001.json.x.tmp").mkdir()  # as kill -9 leaves it
    again = netmorph("neighbours", "--resume", str(run))
    assert again.code == 0, again.err
    assert again.out.count(": test accuracy") == 2
    assert not (run / "rows" / ".fresh-1-001.json.x.tmp").exists()
    now, spent = json.loads((run / "result.json").read_text()), {"seconds": 0, "processor_seconds": 0, "memory": 0}
    for one, other in zip(told["rows"], now["rows"], strict=True):
        assert one | spent == other | spent  # the same bits

    file = jobs_of(NeighboursConfig.read(run), around(run))[-1].file(run)
    row = json.loads(file.read_text())
    file.write_text(json.dumps(row | {"failure": "NotFinite: it diverged"}))
    failed = netmorph("neighbours", "--resume", str(run))
    assert failed.code == 1
    assert "every neighbour failed at some seed from inherited weights" in failed.err
    file.write_text("{}")
    broken = netmorph("neighbours", "--resume", str(run))
    assert broken.code == 1
    assert f"is damaged ('job'); remove it, and go on with --resume {run}" in " ".join(broken.err.split())


def test_a_network_that_comes_with_weights_hands_them_on_at_each_seed(
    netmorph: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "pictures", lambda *given: [])
    done = netmorph("neighbours", *NETWORK, *FEW, "--as-given", "--weights", "inherited", "--output", "run")
    assert done.code == 0, done.err
    rows = json.loads(Path("run", "result.json").read_text())["rows"]
    assert [row["job"]["start"] for row in rows] == ["inherited"] * 4
    own = [row for row in rows if row["job"]["neighbour"] == 0]
    assert own[0]["untrained"] == own[1]["untrained"]
    assert own[0]["test"] != own[1]["test"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which network? Give MODEL, or --resume FOLDER"),
        (("nosuch",), "no network 'nosuch'"),
        (("lenet5",), "give --data"),
        (("lenet5", "--data", "digits", "--skip-unreadable", "1"), "is for images that are streamed"),
        (("lenet5", "--data", "digits", "--tolerance", "2"), "tolerance a share between 0 and 1"),
        (("lenet5", "--data", "digits", "--step", "3"), "step a factor above 1 and at most 2; got --count"),
        (("--resume", "nowhere"), "nowhere holds no run of netmorph neighbours"),
        (("--resume", "nowhere", "--count", "3"), "--count cannot be given with --resume"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(netmorph: Program, arguments: tuple[str, ...], message: str) -> None:
    done = netmorph("neighbours", *arguments)

    assert done.code in (1, 2)
    assert message in " ".join(done.err.split())


def test_nothing_inherits_from_a_training_that_failed(tmp_path: Path) -> None:
    config = NeighboursConfig("mlp", DataConfig("digits"), Recipe(), seeds=2, seed=3)
    around_it = [asdict(Neighbour(number, "trade", str(number), (), 1, 1)) for number in range(2)]
    write_text(tmp_path / AROUND, json.dumps({"criterion": asdict(ACCURACY), "neighbours": around_it}))
    asked: list[Job] = []

    def fails_at_first(job: Job) -> Row:
        asked.append(job)
        if job == Job(0, "fresh", 3):
            raise NeighbourError("it diverged")
        return Row(job)

    def trained() -> list[Row]:
        told: list[Row] = []
        rows = train_all(tmp_path, config, executor.Inline(lambda: fails_at_first), told.append)
        assert len(rows) == 8
        return [row for row in told if row.failure]

    assert [row.job for row in trained()] == [Job(0, "fresh", 3), Job(0, "inherited", 3), Job(1, "inherited", 3)]
    assert len(asked) == 6
    assert [row.failure for row in trained()] == 2 * [
        "not trained: the network itself failed at this seed, and there is nothing to inherit"
    ]
    Job(0, "fresh", 3).file(tmp_path).unlink()  # a user who mended what it failed of
    asked[:] = [Job(0, "fresh", 3)]
    write_row(tmp_path, Row(asked[0]))
    assert trained() == []
    assert asked[1:] == [Job(0, "inherited", 3), Job(1, "inherited", 3)]


def test_a_folder_that_was_left_before_it_began_is_told(netmorph: Program, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / AROUND).touch()
    again = netmorph("neighbours", *NETWORK, *FEW, "--output", "run")
    assert again.err.startswith("Error: run is not an empty folder; choose another folder")
    assert "run holds no run of netmorph neighbours" in netmorph("neighbours", "--resume", "run").err


@pytest.mark.slow
def test_worker_processes_find_everything(netmorph: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(page, "pictures", lambda *given: [])
    run = str(tmp_path / "run")
    done = netmorph("neighbours", *NETWORK, *FEW, "--weights", "fresh", "--workers", "1", "--output", run)
    assert done.code == 0, done.err
    assert "failed" not in done.out
