"""What the live page is told of a run: all of it at first, then what may have changed."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks import store
from netmorph.live.snapshot import network, snapshot
from netmorph.report.logs import as_jsonl
from netmorph.run.database import RecordsError
from netmorph.run.records import Records
from netmorph.tasks import Criterion
from netmorph.train.history import Epoch
from tests.report.synthetic import VALUES, write_run


@pytest.fixture(scope="module", name="finished")
def finished_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("live") / "run")


@pytest.fixture(name="going")
def going_(tmp_path: Path) -> Path:
    run = store.write(tmp_path / "run", 60)
    with Records.resume(run) as records:
        records.set_meta("arms", ["evolve", "own"])
    return run


def test_a_finished_run_is_told_with_its_test(finished: Path) -> None:
    with Records.open(finished) as records:
        told, networks = snapshot(records), records.networks()
    assert (told["kind"], told["status"], told["title"]) == ("evolve", "finished", "lenet5 on digits")
    assert told["networks"]["id"] == [one.id for one in networks]
    assert told["networks"]["value"] == [one.score for one in networks]
    assert [told["arms"][arm]["name"] for arm in told["networks"]["arm"]] == [one.arm for one in networks]
    assert told["survivors"] == [one.id for one in networks if one.survivor]
    assert told["found"]["rows"][0]["test"].endswith("%")
    assert [reason["reason"] for reason in told["failures"]] == [one.failure for one in networks if one.failure]
    json.dumps(told, allow_nan=False)


def test_a_run_that_goes_on_is_told_from_what_may_have_changed(going: Path) -> None:
    with Records.resume(going) as records:
        whole = snapshot(records)
        records.put_network(replace(store.made_up(55, 100), score=-math.inf))
        records.put_network(replace(store.made_up(61, 100), arm="further"))
        since = snapshot(records, 55)
    assert whole["status"] == "interrupted"  # nobody holds its lock
    assert [one["id"] for one in whole["queue"]] == [60, 59, 58, 57, 56, 55]
    assert whole["queue"][0]["edits"] == ["widen r2r features.0 8 → 12"] * 2
    assert whole["budget"] == {"seconds": 7200}
    assert since["networks"]["id"] == [55, 56, 57, 58, 59, 60, 61]
    assert since["networks"]["state"] == [1, 0, 0, 0, 0, 0, 1]
    assert since["networks"]["value"][0] is None
    assert [arm["name"] for arm in since["arms"]] == ["evolve", "own", "further"]
    assert len({arm["colour"] for arm in since["arms"]}) == 3
    assert (since["failures"][0]["networks"], since["failures"][0]["latest"]) == (1, 50)


def test_values_are_those_of_the_criterion(tmp_path: Path) -> None:
    with Records.open(write_run(tmp_path / "run", rounds=1, kind=VALUES)) as records:
        told, first = snapshot(records), records.networks()[0]
    assert told["criterion"] == {"name": "rmse", "higher_is_better": False, "is_share": False}
    assert told["networks"]["value"][0] == first.numbers["rmse"] > 0


def test_a_network_is_told_with_its_ancestors(finished: Path) -> None:
    with Records.open(finished) as records:
        last = max((one for one in records.networks("evolve") if one.score), key=lambda one: one.id)
        told = network(records, last.id)
        assert told is not None
        chain = records.ancestry(last.id)
        assert network(records, 10**6) is None
    assert told["ancestors"] == [one.id for one in chain[:-1]]
    assert told["edits"][-1] == {"network": last.id, "edit": str(last.edits[-1])}
    assert [*told["numbers"]] == ["accuracy", "loss"]
    assert told["epochs"][-1]["validation"] == last.score
    assert [*dict.fromkeys(epoch["network"] for epoch in told["epochs"])] == [one.id for one in chain]


def test_a_training_is_told_while_it_has_no_records(tmp_path: Path) -> None:
    numbers = {"loss": 0.5, "accuracy": 0.75}
    epochs = [Epoch(1, numbers, numbers, 0.75, 0.1, 1.0), Epoch(2, {"loss": math.nan}, numbers, 0.75, 0.1, 1.0)]
    with Records.create(tmp_path) as records:
        records.set_meta("config", {"task": "train"})
        assert snapshot(records)["epochs"] == []
        (tmp_path / "metrics.jsonl").write_text(as_jsonl(epochs))
        told = snapshot(records)
        (tmp_path / "metrics.jsonl").write_text("[1]")
        with pytest.raises(RecordsError, match=r"metrics\.jsonl is no log of a training"):
            snapshot(records)
    assert told["kind"] == "train"
    assert told["criterion"]["name"] == Criterion.of(None).name == "accuracy"
    assert told["epochs"] == [
        {"network": 1, "epoch": 1, "train": 0.75, "validation": 0.75},
        {"network": 1, "epoch": 2, "train": None, "validation": 0.75},
    ]


def steps(folder: Path, count: int) -> dict[str, int]:
    """What SQLite does for each question to a run of so many networks."""
    found: dict[str, int] = {}
    store.write(folder, count)
    with Records.resume(folder) as records:
        for name, ask in store.questions(records, count).items():
            taken: list[None] = []
            records._connection.set_progress_handler(partial(taken.append, None), 1)
            ask()
            found[name] = len(taken)
        records._connection.set_progress_handler(None, 1)
    return found


@pytest.mark.slow
def test_questions_to_a_hundred_thousand_networks_do_not_read_the_others(tmp_path: Path) -> None:
    """Those of docs/watch.md: after each child, of one network, of the queue, of what has changed."""
    few, many = (steps(tmp_path / str(count), count) for count in (2_000, 100_000))
    for question in (
        "a trained network is recorded",
        "the population is set",
        "one network",
        "its epochs",
        "the queue",
    ):
        assert 0 < many[question] < 1.5 * few[question], question
    for question in ("failures by reason", "watch: what has changed"):  # all that failed, a fiftieth
        assert 0 < many[question] < 100_000, question
    assert many["watch: all networks"] > 100_000
