"""Logs of a training: complete after every epoch, and after every interruption."""

import csv
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from netmorph.errors import NetmorphError
from netmorph.report.logs import TensorBoardLog, csv_log, every, jsonl_log, recorded
from netmorph.train.checkpoint import CheckpointError, save
from netmorph.train.history import Epoch, History
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe
from tests.train.small import dataset, network

RECIPE = Recipe(epochs=4, batch_size=16)


class Killed(Exception):
    """Stands for kill -9: nothing after it runs."""


def epoch(number: int) -> Epoch:
    return Epoch(
        number,
        {"loss": 1 / number, "accuracy": 0.1 * number},
        {"loss": 2 / number, "accuracy": 1 / 3},
        1 / 3,
        1e-3,
        0.25,
    )


def rows_of(path: Path) -> list[Epoch]:
    if path.suffix == ".csv":
        with open(path, newline="") as file:
            rows: list[dict[str, Any]] = [
                {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)
            ]
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        Epoch(
            int(row["epoch"]),
            *({name: row[f"{part}_{name}"] for name in ("loss", "accuracy")} for part in ("train", "validation")),
            row["validation_accuracy"],
            row["learning_rate"],
            row["seconds"],
        )
        for row in rows
    ]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in sorted(events.Tags()["scalars"])
    }


@pytest.mark.parametrize(("log", "name"), [(csv_log, "metrics.csv"), (jsonl_log, "metrics.jsonl")])
def test_a_file_has_every_epoch_after_each(log, name, tmp_path):
    path, seen = tmp_path / name, []

    def compare(latest: Epoch) -> None:
        seen.append(latest)
        assert [asdict(row) for row in rows_of(path)] == [asdict(one) for one in seen], "the same bits"

    train(network(), dataset(), RECIPE, on_epoch=every(log(path), compare))
    assert len(seen) == 4


@pytest.mark.parametrize("when", [pytest.param("before the log", marks=pytest.mark.slow), "after the log"])
def test_an_interrupted_training_leaves_the_rows_of_an_uninterrupted_one(when, tmp_path):
    pytest.importorskip("tensorboard")
    whole = train(network(), dataset(), RECIPE)
    checkpoint, board = tmp_path / "checkpoint", tmp_path / "board"

    def kill(latest: Epoch) -> None:
        if latest.epoch < 4:
            raise Killed

    def session() -> None:
        # TensorBoard reads files in the order of the seconds in their names; within one, 10 comes before 9.
        time.sleep(1 - time.time() % 1)
        history = recorded(checkpoint)
        with TensorBoardLog(board, history) as tensorboard:
            logs = csv_log(tmp_path / "m.csv", history), jsonl_log(tmp_path / "m.jsonl", history), tensorboard
            calls = (kill, *logs) if when == "before the log" else (*logs, kill)
            train(network(), dataset(), RECIPE, checkpoint=checkpoint, resume=True, on_epoch=every(*calls))

    for _ in range(3):
        with pytest.raises(Killed):
            session()
    session()
    assert rows_of(tmp_path / "m.csv") == rows_of(tmp_path / "m.jsonl") == list(whole)
    told = scalars(board)
    assert told.keys() == {f"{what}/{part}" for what in ("loss", "accuracy") for part in ("train", "validation")} | {
        "learning_rate",
        "seconds",
    }
    assert told["loss/train"] == [(one.epoch, pytest.approx(one.train["loss"])) for one in whole]
    assert [step for step, _ in told["seconds"]] == [1, 2, 3, 4]


def test_a_number_that_is_told_from_some_epoch_on_is_empty_before(tmp_path):
    path = tmp_path / "metrics.csv"
    log = csv_log(path)
    log(epoch(1))
    log(replace(epoch(2), validation={**epoch(2).validation, "top5": 0.75}))
    with open(path, newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["validation_top5"], second["validation_top5"]) == ("", "0.75")
    assert first["validation_accuracy"] == second["validation_accuracy"] == str(1 / 3)


def test_rows_that_a_resumed_training_does_not_have_go(tmp_path):
    # The newest checkpoint was damaged, and the training goes on from the one before.
    path = tmp_path / "metrics.csv"
    log = csv_log(path)
    for number in (1, 2, 3):
        log(epoch(number))
    log = csv_log(path, [epoch(1), epoch(2)])
    assert rows_of(path) == [epoch(1), epoch(2)]
    log(replace(epoch(3), learning_rate=9.0))
    assert [row.learning_rate for row in rows_of(path)] == [1e-3, 1e-3, 9.0]


def test_a_new_training_takes_no_file_of_another(tmp_path):
    path = tmp_path / "metrics.jsonl"
    jsonl_log(path)(epoch(1))
    with pytest.raises(NetmorphError, match="exists; give the history"):
        jsonl_log(path)
    assert rows_of(path) == [epoch(1)]


def test_the_history_in_a_checkpoint(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    assert recorded(checkpoint) == History()
    history = train(network(), dataset(), RECIPE, checkpoint=checkpoint)
    assert recorded(checkpoint) == history
    save(tmp_path / "other", {}, {"something": "else"})
    with pytest.raises(CheckpointError, match="no checkpoint of a training"):
        recorded(tmp_path / "other")
