import csv
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from netmorph import load, session
from netmorph.edit.journal import LoadError
from netmorph.ensemble import Ensemble, distilled
from netmorph.errors import NetmorphError
from netmorph.files import SaveError
from netmorph.report.summary import status
from netmorph.run.budget import Budget
from netmorph.run.config import DataConfig, EvolveConfig, TrainConfig
from netmorph.run.database import RecordsError
from netmorph.run.folders import FolderError
from netmorph.run.lock import RunInUse, RunLock
from netmorph.run.opening import survivors
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.train import evaluate, train
from tests.train.tiny import CONFIG as EVOLVE

TRAIN = TrainConfig(EVOLVE.data, EVOLVE.model, EVOLVE.options, replace(EVOLVE.recipe, epochs=5), threads=1)

WORK = """
import sys
from pathlib import Path
from netmorph import load, session
if __name__ == "__main__":
    kind, folder = sys.argv[1], Path(sys.argv[2])
    if kind == "evolve":
        session.evolve(folder, 2, lambda progress: print(progress, flush=True))
    else:
        session.train(folder, lambda epoch: print(epoch, flush=True))
"""


def wide(input_shape: Any, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, classes + 2))


def linear(input_shape: Any, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def work(kind: str, folder: Path, **more: Any) -> subprocess.Popen[str]:
    """Work in a run's folder in a process of its own."""
    script = folder.parent / "work.py"
    script.write_text(WORK)
    arguments = [sys.executable, str(script), kind, str(folder)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def told(folder: Path) -> tuple[Any, ...]:
    """All that a run recorded, apart from how long it took."""
    with Records.open(folder) as records:
        networks = [replace(network, seconds=0.0) for network in records.networks()]
        epochs = [replace(epoch, seconds=0.0) for network in networks for epoch in records.epochs(network.id)]
        result = {key: value for key, value in (records.meta("result") or {}).items() if key != "seconds"}
        return networks, epochs, result, records.meta("round")


def logged(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.jsonl, which metrics.csv has too, apart from the seconds."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    with open(folder / "metrics.csv", newline="") as file:
        assert [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)] == rows
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def state(folder: Path) -> str | None:
    with session.reading(folder) as records:
        return status(records)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# -- making a folder ---------------------------------------------------------------------------------------------------


def test_a_new_run_knows_how_it_began(tmp_path: Path) -> None:
    folder = session.create(tmp_path / "run", EVOLVE, "netmorph evolve")
    with session.reading(folder) as records:
        assert session.config_of(records, EvolveConfig) == EVOLVE
        assert records.meta("command") == "netmorph evolve"
        assert records.meta("title") == "mlp on digits"
        assert {"platform", "cores"} <= records.meta("machine").keys()
        assert records.meta("versions")["torch"] == torch.__version__
    assert state(folder) == "interrupted"


def test_a_folder_of_data_is_found_again_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for name, shade in (("dark", 10), ("light", 240)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            pillow.new("L", (8, 8), shade + number).save(tmp_path / "images" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    folder = session.create(tmp_path / "run", replace(TRAIN, data=DataConfig("images")), "")
    monkeypatch.chdir("/")
    assert session.train(folder, lambda epoch: None).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": DataConfig("digitz")}, "did you mean 'digits'"),
        ({"data": DataConfig(train_size=3)}, "train_size must be between"),
        ({"data": DataConfig(validation=0.0)}, "validation split is empty"),
        ({"model": "lenet6"}, "did you mean 'lenet5'"),
        ({"model": "minivgg"}, "at least 12x12 pixels"),
        ({"options": {"breadth": 2}}, "unexpected keyword argument 'breadth'"),
        ({"options": {"width": "wide"}}, "mlp.*failed"),
        ({"options": {"classes": 3}}, "come from the data"),
        ({"device": "abacus"}, "the device 'abacus' cannot be used"),
        ({"max_flops": 10.0}, "more than max_flops, 10"),
        ({"model": "tests.test_session:wide"}, "has 12 outputs, and 'digits' has 10 classes"),
        ({"model": "tests.test_session:linear"}, "nothing in Sequential can be edited.* the model's output"),
    ],
)
def test_what_cannot_work_leaves_no_folder(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    options = {"options": {}} if ":" in changes.get("model", "") else {}
    with pytest.raises(NetmorphError, match=message):
        session.create(tmp_path / "run", replace(EVOLVE, **options, **changes), "")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_free_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(FolderError, match="is not an empty folder"):
            session.create(path, EVOLVE, "")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    session.create(tmp_path / "empty", EVOLVE, "")


def test_free_folder_counts_up(tmp_path: Path) -> None:
    assert session.free_folder("digits", tmp_path) == tmp_path / "digits-1"
    (tmp_path / "digits-1").mkdir()
    assert session.free_folder("somewhere/digits", tmp_path) == tmp_path / "digits-2"


# -- working in it -----------------------------------------------------------------------------------------------------


def test_a_run_of_another_command_is_left_alone(tmp_path: Path) -> None:
    folder = session.create(tmp_path / "run", TRAIN, "")
    session.train(folder, lambda epoch: None)
    with pytest.raises(session.RunError, match="is a run of `netmorph train`; resume it with that command"):
        session.evolve(folder, 1, lambda progress: None)
    assert state(folder) == "finished"


@pytest.mark.parametrize("work_in", [session.evolve, session.train])
def test_what_is_no_run_is_named_and_left_alone(tmp_path: Path, work_in: Any) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RecordsError, match="no run in"):
            work_in(folder, 1, lambda progress: None)
    assert list(tmp_path.iterdir()) == []


def test_a_run_cut_short_before_it_began_is_explained(tmp_path: Path) -> None:
    Records.create(tmp_path).close()
    with pytest.raises(session.RunError, match="stopped before it began; delete the folder"):
        session.evolve(tmp_path, 1, lambda progress: None)


def test_a_run_in_use_is_refused_and_shown_as_running(tmp_path: Path) -> None:
    folder = session.create(tmp_path / "run", TRAIN, "")
    with Records.resume(folder) as records:
        records.set_meta("status", "running")
    with RunLock(folder):
        assert state(folder) == "running"
        with pytest.raises(RunInUse, match=f"in use by process {os.getpid()}"):
            session.train(folder, lambda epoch: None)
    assert state(folder) == "interrupted"


def test_an_interruption_is_noted_and_mended(tmp_path: Path) -> None:
    def stop(_: object) -> None:
        assert state(folder) == "running"
        raise KeyboardInterrupt

    folder = session.create(tmp_path / "run", TRAIN, "")
    with pytest.raises(KeyboardInterrupt):
        session.train(folder, stop)
    assert state(folder) == "interrupted"
    assert session.begun_with(folder, TrainConfig) == TRAIN
    assert session.train(folder, lambda epoch: None) == folder / "report.html"
    assert state(folder) == "finished"


@pytest.mark.slow
def test_a_training_killed_at_any_moment_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    whole, cut = (session.create(tmp_path / name, TRAIN, "") for name in ("whole", "cut"))
    session.train(whole, lambda epoch: None)
    for epochs in (1, 3):
        with work("train", cut) as process:
            assert process.stdout is not None
            for _ in range(epochs):
                process.stdout.readline()
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert state(cut) == "interrupted"
        # What was said of an epoch is in the logs by then.
        assert len(logged(cut)) >= epochs
    session.train(cut, lambda epoch: None)
    assert told(cut) == told(whole)
    assert logged(cut) == logged(whole)
    assert [row["epoch"] for row in logged(cut)] == [1, 2, 3, 4, 5]


def test_a_finished_training_keeps_its_logs(tmp_path: Path) -> None:
    folder = session.create(tmp_path / "run", TRAIN, "")
    session.train(folder, lambda epoch: None)
    before = logged(folder)
    for checkpoint in folder.glob("checkpoint*"):  # to save space
        checkpoint.unlink()
    session.train(folder, lambda epoch: None)
    assert logged(folder) == before


def test_tensorboard_is_written_on_request_and_kept_up_when_a_run_goes_on(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def stop(epoch: Any) -> None:
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    folder = session.create(tmp_path / "run", TRAIN, "")
    assert not (folder / "tensorboard").exists()
    with pytest.raises(KeyboardInterrupt):
        session.train(folder, stop, tensorboard=True)
    # TensorBoard reads files in the order of the seconds in their names; within one, 10 comes before 9.
    time.sleep(1.1)
    session.train(folder, lambda epoch: None)
    events = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
    seen = [(event.step, event.value) for event in events.Scalars("loss/validation")]
    assert seen == [(row["epoch"], pytest.approx(row["validation_loss"])) for row in logged(folder)]
    assert len(seen) == 5


def kill_and_resume(folder: Path, moments: list[float]) -> None:
    """Kill the supervisor so many seconds after its workers began, again and again; then let it end."""
    for moment in moments:
        with work("evolve", folder) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moment)
            workers = children(process.pid)
            process.kill()
            process.wait()
            wait_for(lambda workers=workers: not any(alive(pid) for pid in workers))
        assert state(folder) in ("interrupted", "finished")
    with work("evolve", folder) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors


def children(pid: int) -> list[int]:
    """Its worker processes; multiprocessing's own resource tracker is not one."""
    pids = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in pids if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evolution that nothing interrupted."""
    folder = session.create(tmp_path_factory.mktemp("evolve") / "whole", EVOLVE, "")
    session.evolve(folder, 1, lambda progress: None)
    return folder


def test_survivors_become_an_ensemble_and_that_one_network(whole: Path) -> None:
    """The lines of docs/ensembles.md."""
    dataset = EVOLVE.data.load()
    members = [load(path)[0] for path in survivors(whole)]
    ensemble = Ensemble(members, dataset.task)
    with Records.open(whole) as records:
        told = Result.from_json(records.meta("result"))
    assert told.ensemble is not None
    assert len(members) == len(told.ensemble.members) == EVOLVE.population
    assert evaluate(ensemble, dataset.test, dataset)["accuracy"] == pytest.approx(told.ensemble.test["accuracy"])
    student = load(whole)[0]
    history = train(student, distilled(dataset, ensemble), EVOLVE.recipe)
    assert len(history) == EVOLVE.recipe.epochs


def test_survivors_that_are_not_there_are_told(tmp_path: Path) -> None:
    with Records.create(tmp_path / "run"):
        pass
    with pytest.raises(LoadError, match=r"run has no population; one of netmorph evolve has it once the founders are"):
        survivors(tmp_path / "run")


def test_an_evolution_whose_processes_are_killed_ends_the_same(whole: Path, tmp_path: Path) -> None:
    folder = session.create(tmp_path / "cut", EVOLVE, "")
    with work("evolve", folder) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        os.kill(children(process.pid)[0], signal.SIGKILL)  # one worker: its job is tried again
        process.stdout.readline()
        workers = children(process.pid)
        assert workers
        process.kill()
        process.wait()
        wait_for(lambda: not any(alive(pid) for pid in workers))
    assert state(folder) == "interrupted"
    session.evolve(folder, 1, lambda progress: None)
    assert told(folder) == told(whole)
    assert state(folder) == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_an_evolution_killed_at_random_moments_ends_the_same(whole: Path, tmp_path: Path, seed: int) -> None:
    folder = session.create(tmp_path / "cut", EVOLVE, "")
    generator = random.Random(seed)
    kill_and_resume(folder, [generator.uniform(0, 4) for _ in range(4)])
    assert told(folder) == told(whole)


def test_a_full_disk_is_explained_and_the_run_goes_on_later(tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (45_000, 45_000))  # too little for a checkpoint

    config = replace(TRAIN, options={"width": 0.5})
    whole, full = (session.create(tmp_path / name, config, "") for name in ("whole", "full"))
    with work("train", full, preexec_fn=small_files) as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    assert re.search(r"SaveError: could not write .*checkpoint: .*Free some space", errors)
    assert state(full) == "interrupted"
    for folder in (whole, full):
        session.train(folder, lambda epoch: None)
    assert told(full) == told(whole)


def test_data_that_is_gone_is_explained_before_any_work(tmp_path: Path) -> None:
    folder = session.create(tmp_path / "run", EVOLVE, "")
    with Records.resume(folder) as records:
        config = records.meta("config")
        config["data"]["source"] = str(tmp_path / "gone")
        records.set_meta("config", json.loads(json.dumps(config)))
    with pytest.raises(NetmorphError, match="there is no folder"):
        session.evolve(folder, 1, lambda progress: None)
    assert state(folder) == "interrupted"


def test_a_report_that_cannot_be_written_does_not_undo_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> Path:
        raise SaveError("could not write")

    folder = session.create(tmp_path / "run", TRAIN, "")
    with monkeypatch.context() as patch:
        patch.setattr(session.report, "write", full)
        with pytest.raises(SaveError):
            session.train(folder, lambda epoch: None)
    assert state(folder) == "finished"
    assert session.train(folder, lambda epoch: None).exists()


def test_a_finished_run_goes_on_with_another_budget(tmp_path: Path) -> None:
    config = replace(EVOLVE, budget=Budget(rounds=1))
    folder = session.create(tmp_path / "run", config, "netmorph evolve")
    session.evolve(folder, 1, lambda progress: None)
    best = session.best_network(folder)
    assert load(best)[0] is not None
    session.extend(folder, Budget(rounds=2))
    session.evolve(folder, 1, lambda progress: None)
    with Records.open(folder) as records:
        assert records.meta("round") == 2
        assert records.meta("status") == "finished"
        assert set(records.meta("normalization")) == {"kind", "mean", "std"}
