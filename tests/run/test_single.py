from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netmorph.report.summary import summary
from netmorph.run import final_test
from netmorph.run.config import TrainConfig
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.single import ONLY, train_single
from netmorph.train.checkpoint import CheckpointError
from netmorph.train.history import Epoch
from netmorph.train.nonfinite import NotFinite
from tests.train.tiny import CONFIG

TRAIN = TrainConfig(
    CONFIG.data, CONFIG.model, CONFIG.options, replace(CONFIG.recipe, epochs=4, optimizer="sgd", pad=1), seed=3
)


def run(folder: Path, config: TrainConfig = TRAIN, **more: Any) -> Result:
    with Records.resume(folder) if (folder / "run.sqlite").exists() else Records.create(folder) as records:
        return train_single(folder, config, records, **more)


def told(folder: Path) -> tuple[Any, ...]:
    with Records.open(folder) as records:
        result = {key: value for key, value in records.meta("result").items() if key != "seconds"}
        epochs = [replace(epoch, seconds=0.0) for epoch in records.epochs(ONLY)]
        (network,) = records.networks()
        return replace(network, seconds=0.0), epochs, result, records.meta("status")


def test_a_training_records_its_epochs_and_its_tested_result(tmp_path: Path) -> None:
    result = run(tmp_path)
    with Records.open(tmp_path) as records:
        (network,) = records.networks()
        epochs = records.epochs(ONLY)
        told = summary(records)
        assert told.items() >= {"status": "finished", "round": 0, "verdict": None, **result.as_json()}.items()
        assert [network["id"] for network in told["networks"]] == [ONLY]
        assert Result.from_json(records.meta("result")) == result
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[-1].train["loss"] < epochs[0].train["loss"]
    assert network.score == max(epoch.validation["accuracy"] for epoch in epochs)
    assert network.training_flops > 4 * 160 * 2 * network.flops
    assert result.best == result.members[0]
    assert result.best.test["accuracy"] == result.ensemble.test["accuracy"]
    for numbers in (
        result.best.test,
        network.numbers,
        *(part for epoch in epochs for part in (epoch.train, epoch.validation)),
    ):
        assert numbers["accuracy"] < numbers["top5"] < 1
    assert (result.baselines, result.training_flops) == ({}, network.training_flops)
    assert result.seconds == pytest.approx(sum(epoch.seconds for epoch in epochs))


def test_a_training_cut_short_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    stops = []

    def stop(epoch: Epoch) -> None:
        stops.append(epoch.epoch)
        raise KeyboardInterrupt

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", on_epoch=stop)
    assert stops == [1, 2, 3, 4]
    run(tmp_path / "cut", on_epoch=stop)  # only the test of the result is left
    assert told(tmp_path / "cut") == told(tmp_path / "whole")


def test_a_finished_training_is_not_tested_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(tmp_path)
    monkeypatch.setattr(final_test, "predict", None)
    assert run(tmp_path) == result


def test_a_diverging_training_is_explained_and_leaves_no_result(tmp_path: Path) -> None:
    config = replace(TRAIN, recipe=replace(TRAIN.recipe, learning_rate=1e30))
    with pytest.raises(NotFinite, match="Lower the learning rate"):
        run(tmp_path, config)
    with Records.open(tmp_path) as records:
        assert records.meta("result") is None
        assert records.networks() == []


def test_other_data_under_a_training_is_noticed(tmp_path: Path) -> None:
    def stop(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_epoch=stop)
    with pytest.raises(CheckpointError, match="divided otherwise"):
        run(tmp_path, replace(TRAIN, data=replace(TRAIN.data, seed=1)))


def test_what_a_killed_training_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / "networks").mkdir()
    left = [tmp_path / ".report.html.abc.tmp", tmp_path / "networks" / ".1.trained.safetensors.abc.tmp"]
    for file in left:
        file.mkdir()
        (file / "half").write_bytes(b"half")
    run(tmp_path)
    assert not any(file.exists() for file in left)
