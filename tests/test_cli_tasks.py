"""The command line with tables, arrays and texts."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import netmorph as library
from netmorph import session
from netmorph.data import load
from netmorph.run.config import DataConfig, EvolveConfig, TrainConfig
from tests.program import Program

SMALL = ["--threads", "1", "--output", "run"]
SOME = ["--epochs", "60", "--lr", "0.01"]
ROUND = ["--budget", "1round", "--founders", "1", "--children", "2", "--population", "2", "--workers", "1"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder with small data of each kind; the threads are as before afterwards."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    _write_data()
    yield tmp_path
    torch.set_num_threads(threads)


def shown(netmorph: Program) -> dict[str, object]:
    """What `netmorph show` tells of the best network of the run."""
    told = json.loads(netmorph("show", "run", "--json").out)
    assert told["status"] == "finished"
    assert netmorph("show", "run").code == 0
    assert netmorph("report", "run").code == 0
    best: dict[str, object] = told["best"]
    return best


def _write_data() -> None:
    draw = random.Random(0)
    lines = []
    for number in range(200):
        area, quarter = draw.uniform(40, 200), draw.choice(["north", "south"])
        price = 1000 * area * (2 if quarter == "south" else 1)
        lines.append(f"{area:.1f},{quarter},{number},{price:.2f},{'dear' if price > 150_000 else 'cheap'},7\n")
    Path("houses.csv").write_text("area,quarter,number,price,kind,same\n" + "".join(lines))
    rows = (f"{'' if number % 10 == 0 else draw.random()},{draw.random()}\n" for number in range(60))
    Path("gaps.csv").write_text("x,y\n" + "".join(rows))
    Path("nan.csv").write_text("x,y\nnan,0.5\n" + "".join(f"{draw.random()},{draw.random()}\n" for _ in range(60)))
    Path("short.txt").write_text("too short")
    Path("prose").mkdir()
    for name in ("one.txt", "two.md"):
        (Path("prose") / name).write_text("How much wood would a woodchuck chuck? " * 40)
    generator = np.random.default_rng(0)
    np.savez("arrays.npz", x=generator.normal(size=(80, 5)), y=generator.integers(0, 3, 80))


def test_a_regression_is_trained_told_and_used(netmorph: Program) -> None:
    done = netmorph(
        "train", "--data", "houses.csv", "--target", "price", "--ignore", "number", "--ignore", "kind", *SMALL, *SOME
    )
    assert done.code == 0, done.err
    assert re.search(r"^ +60( +\S+){5}$", done.out, re.MULTILINE)
    best = shown(netmorph)
    assert best["test_r2"] > 0.95
    config = session.begun_with(Path("run"), TrainConfig)
    assert config.data == DataConfig(str(Path("houses.csv").resolve()), target="price", ignore=("number", "kind"))

    model, _ = library.load(session.best_network(Path("run")))
    houses = load("houses.csv", target="price", ignore=["number", "kind"])
    rows = houses.encoder.encode({"area": [100, 100], "quarter": ["north", "south"]})
    answers = houses.task.answers(model(houses.preparation(rows, next(model.parameters()))))
    torch.testing.assert_close(answers.flatten(), torch.tensor([1e5, 2e5]), rtol=0.1, atol=0)


def test_a_table_of_classes_is_trained(netmorph: Program) -> None:
    options = ["--target", "kind", "--ignore", "price", "--class-weights", "balanced", "--fast", "--epochs", "20"]
    done = netmorph("train", "--data", "houses.csv", *options, *SMALL)
    assert done.code == 0, done.err
    assert shown(netmorph)["test_accuracy"] > 0.8
    assert not session.begun_with(Path("run"), TrainConfig).recipe.channels_last, "which is for images"


def test_arrays_are_trained_on(netmorph: Program) -> None:
    done = netmorph("train", "--data", "arrays.npz", "--epochs", "2", *SMALL)
    assert done.code == 0, done.err
    assert 0 <= shown(netmorph)["test_accuracy"] <= 1


def test_a_folder_is_read_as_text(netmorph: Program) -> None:
    options = [
        "--task",
        "text",
        "--window",
        "16",
        "--unit",
        "byte",
        "--width",
        "0.125",
        "--epochs",
        "8",
        "--lr",
        "0.01",
    ]
    done = netmorph("train", "--data", "prose", *options, *SMALL)
    assert done.code == 0, done.err
    assert shown(netmorph)["test_perplexity"] < 10  # by frequencies alone it would be 16
    config = session.begun_with(Path("run"), TrainConfig)
    assert (config.model, config.options) == ("gpt", {"width": 0.125, "depth": 2})
    assert netmorph("train", "--resume", "run").code == 0
    refused = netmorph("train", "--resume", "run", "--window", "8")
    assert refused.err.startswith("Error: --window cannot be given with --resume")


def test_missing_numbers_have_a_stand_in(netmorph: Program) -> None:
    done = netmorph("train", "--data", "gaps.csv", "--target", "y", "--missing", "mean", "--epochs", "1", *SMALL)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ("--data diabetes --epochs 2", "rmse"),
        pytest.param("--data prose --task text --window 16 --epochs 1", "loss", marks=pytest.mark.slow),
    ],
)
def test_networks_for_tables_and_texts_evolve(netmorph: Program, arguments: str, number: str) -> None:
    done = netmorph("evolve", *arguments.split(), *ROUND, "--output", "run")
    assert done.code == 0, done.err
    assert f"round 1: best validation {number}" in done.out
    assert shown(netmorph)[f"test_{number}"] > 0
    told = session.begun_with(Path("run"), EvolveConfig)
    assert (told.model, told.options["width"]) == ({"rmse": "mlp", "loss": "gpt"}[number], 0.25)
    with session.reading(Path("run")) as records:
        edits = [edit for network in records.networks() for edit in network.edits]
    assert edits
    assert max(edit.error for edit in edits) < 1e-4


@pytest.mark.parametrize("data", [["houses.csv", "--target", "price"], ["prose", "--task", "text", "--window", "16"]])
def test_a_learning_rate_is_found(netmorph: Program, data: list[str]) -> None:
    done = netmorph("lr-find", "--data", *data, "--steps", "20", "--threads", "1")
    assert done.code == 0, done.err
    assert "Suggested learning rate" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data houses.csv", r"name the column of the table 'houses.csv' to learn \(target=..., or --target\)"),
        ("--data houses.csv --target prize", r"no column 'prize' \(did you mean 'price'\?\)"),
        ("--data houses.csv --target same", "the target 'same' is 7 in every row"),
        ("--data houses.csv --target price --ignore prise", "there is no column 'prise'"),
        ("--data gaps.csv --target y", r"values are missing in 'x' \(6 of 60 rows\).*--missing mean"),
        ("--data nan.csv --target y", r"values are missing in 'x' \(1 of 61 rows\)"),
        ("--data gaps.csv --target y --missing median", "missing must be 'refuse' or 'mean'"),
        ("--data short.txt", "has 6 tokens, and a window of 128 takes 129"),
        ("--data prose", r"or any text, with --task text"),
        ("--data prose --task text --unit word", "unit must be 'character' or 'byte'"),
        ("--data prose --task text --model lenet5", "lenet5 takes images"),
        ("--data houses.csv --target price --model gpt", "GPT does not take .*Build it for the data set 'houses.csv'"),
        ("--data prose --task text --model mlp", "does not take .*Build it for the data set 'prose'"),
        ("--data houses.csv --target price --task classification", "too few rows of each for classification"),
        ("--data houses.csv --target kind --task regression", "holds strings such as '(dear|cheap)'"),
        ("--data houses.csv --target price --task mine:robust", "--task takes .*of your own, which is for Python"),
        ("--data houses.csv --target price --window 8", "window is not for a table"),
        ("--data houses.csv --target price --resize 8x8", "size is not for a table"),
        ("--data houses.csv --target price --flip", "flip is for images"),
        ("--data digits --target y", "target is not for images"),
    ],
)
@pytest.mark.parametrize("command", ["train", "evolve"])
def test_what_does_not_fit_the_data_gets_one_line(
    netmorph: Program, command: str, arguments: str, message: str
) -> None:
    done = netmorph(command, *arguments.split())
    assert (done.code in (1, 2), done.out) == (True, "")
    assert re.match(rf"Error: .*{message}", done.err), done.err
    assert done.err.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--class-weights balanced", "--class-weights is for classes, and 'houses.csv' has none"),
        ("--class-weights 1,2", "--class-weights is for classes, and 'houses.csv' has none"),
        ("--label-smoothing 0.1", "label smoothing and class weights are for tasks with classes"),
        ("--views 2", "--views is for images"),
        ("--stream", "images that are streamed take no target"),
    ],
)
def test_options_of_images_and_classes_are_refused(netmorph: Program, option: str, message: str) -> None:
    done = netmorph("train", "--data", "houses.csv", "--target", "price", *option.split())
    assert re.match(rf"Error: {message}", done.err), done.err
    assert not Path("runs").exists()
