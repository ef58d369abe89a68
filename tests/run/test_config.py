import json
from dataclasses import replace
from pathlib import Path

import pytest

from netmorph.errors import NetmorphError
from netmorph.policy import Mutation, exact
from netmorph.run.budget import Budget
from netmorph.run.config import Config, DataConfig, EvolveConfig, TrainConfig, as_json, from_json
from netmorph.train.recipe import Recipe


@pytest.mark.parametrize(
    "config",
    [
        EvolveConfig(),
        EvolveConfig(
            data=DataConfig("mnist", seed=3, validation=0.2, train_size=160),
            model="mine:build",
            options={"width": 0.5, "hidden": [3, 4]},
            recipe=Recipe(epochs=3, optimizer="sgd", clip_norm=1.0, patience=2),
            mutation=Mutation(edits=5, locality=0.1, proposals=exact(deepen=0.0, growth=1.5), tries=3),
            max_flops=1e6,
            budget=Budget(flops=1e9, rounds=3),
            seed=7,
            threads=2,
        ),
        TrainConfig(recipe=Recipe(schedule="step"), options={"width": 2}),
        TrainConfig(grow=("at 50%: width x2", "plateau: depth 3"), after_growth="rise"),
    ],
)
def test_a_config_comes_back_from_json(config: Config) -> None:
    assert from_json(json.loads(json.dumps(as_json(config), allow_nan=False)), model=config.model) == config


def test_a_function_is_taken_only_where_the_user_names_it() -> None:
    told = as_json(TrainConfig(model="mine:build"))
    with pytest.raises(NetmorphError, match=r"imported where you name it.*--model mine:build"):
        from_json(told)
    with pytest.raises(NetmorphError, match=r"began with the network mine:build.*; other:build was given"):
        from_json(told, model="other:build")
    with pytest.raises(NetmorphError, match="began with the network lenet5"):
        from_json(as_json(TrainConfig()), model="mlp")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("task",), "sleep"),
        (("task",), []),
        (("model",), None),
        (("data",), 5),
        (("data", "train_size"), "all"),
        (("data", "zz"), 1),
        (("recipe",), []),
        (("recipe", "epochs"), [3]),
        (("options",), 3),
        (("seed",), 1.5),
        (("threads",), "x"),
        (("mutation", "proposals"), 7),
        (("budget", "seconds"), "long"),
    ],
)
def test_a_config_that_was_changed_is_refused(place: tuple[str, ...], value: object) -> None:
    told = json.loads(json.dumps(as_json(EvolveConfig())))
    inner = told
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(NetmorphError):
        from_json(told)


def test_the_size_of_images_survives_json() -> None:
    config = TrainConfig(data=DataConfig(size=(6, 7)))
    assert from_json(json.loads(json.dumps(as_json(config)))).data.load().input_shape == (1, 6, 7)


def test_the_options_of_tables_and_texts_survive_json() -> None:
    config = TrainConfig(data=DataConfig("diabetes", target="bmi", ignore=("age", "sex"), missing="mean"))
    again = from_json(json.loads(json.dumps(as_json(config))))
    assert again == config
    assert again.data.load().input_shape == (8,)
    assert DataConfig("stdlib", task="text", window=32, unit="byte").load().outputs == 256


def test_what_was_written_before_an_option_was_known_did_without_it() -> None:
    told = as_json(TrainConfig())
    for name in ("task", "target", "ignore", "missing", "window", "unit"):
        del told["data"][name]
    assert from_json(told) == TrainConfig()


@pytest.mark.parametrize(("option", "value"), [("target", "price"), ("window", 0), ("ignore", ("a",))])
def test_streamed_images_take_no_options_of_tables_and_texts(option: str, value: object) -> None:
    with pytest.raises(NetmorphError, match=f"images that are streamed take no {option}"):
        replace(DataConfig("pictures", streamed=True, size=(8, 8)), **{option: value}).load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"population": 0}, "population must be at least 1, got 0"),
        ({"children": 0}, "children must be at least 1"),
        ({"start_epochs": 0}, "start_epochs must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"seed": -1}, "seed must be 0 or more, .*; -1 was given"),
        ({"max_flops": 0.0}, "max_flops must be above 0"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(NetmorphError, match=message):
        replace(EvolveConfig(), **changes)


def test_the_seed_of_a_training_is_checked() -> None:
    with pytest.raises(NetmorphError, match="seed must be 0 or more"):
        TrainConfig(seed=-1)


def test_what_the_data_decides_is_no_option() -> None:
    config = EvolveConfig(options={"classes": 3, "width": 1})
    with pytest.raises(NetmorphError, match="classes of the network come from the data"):
        config.base(config.data.load())


def test_a_folder_or_file_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "houses.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert DataConfig("images").absolute() == DataConfig(str(tmp_path / "images"))
    assert DataConfig("houses.csv").absolute() == DataConfig(str(tmp_path / "houses.csv"))
    assert DataConfig("digits").absolute() == DataConfig("digits")
    (tmp_path / "digits").mkdir()
    assert DataConfig("digits").absolute() == DataConfig("digits")
