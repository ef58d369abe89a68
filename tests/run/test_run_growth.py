"""Runs whose network grows: what is recorded of them, also of one that was stopped on its way."""

from dataclasses import replace
from pathlib import Path

import pytest

from netmorph import load, session
from netmorph.errors import NetmorphError
from netmorph.measure.cost import cost
from netmorph.run.config import DataConfig, TrainConfig
from netmorph.run.growth import Structure, structure_of, training_flops
from netmorph.run.records import Records
from netmorph.run.single import GROWTH
from netmorph.train.history import Epoch
from netmorph.train.inputs import examples
from netmorph.train.recipe import Recipe
from tests.run.test_single import run, told

TEXT = "How much wood would a woodchuck chuck if a woodchuck could chuck wood? "


def config(folder: Path, *grow: str, epochs: int = 4) -> TrainConfig:
    path = folder / "rhyme.txt"
    path.write_text(TEXT * 20)
    options = {"depth": 1, "heads": 1, "channels": 8}
    recipe = Recipe(epochs=epochs, batch_size=16, learning_rate=0.01, schedule="stable")
    return TrainConfig(DataConfig(str(path), window=8), "gpt", options, recipe, grow=grow, threads=1)


def test_flops_are_those_of_the_structure_of_each_step() -> None:
    structures = [Structure(0, 5, (1, 2, 2)), Structure(15, 6, (10, 20, 20)), Structure(20, 7, (100, 200, 200))]
    assert training_flops(structures[:1], samples=50, steps=10, epochs=3) == [50, 100, 100]
    assert training_flops(structures, samples=50, steps=10, epochs=3) == [50, 50 + 500, 10_000]
    assert Structure.from_json(structures[1].as_json()) == structures[1]


def test_a_growing_run_counts_what_it_was_and_keeps_what_it_became(tmp_path: Path) -> None:
    grown = config(tmp_path, "at 50%: depth 3", "at 60%: width x2")
    result = run(tmp_path / "run", grown)
    data = grown.data.load()
    model, journal = load(tmp_path / "run")
    assert [entry.edit.kind for entry in journal] == ["deepen", "deepen", "widen"]
    assert result.best.parameters == sum(p.numel() for p in model.parameters())
    small = structure_of(grown.base(data).build(), data, grown.recipe)
    with Records.open(tmp_path / "run") as records:
        (network,) = records.networks()
        growth = records.meta(GROWTH)
    assert network.flops == cost(model, examples(data, model, 2)).flops
    assert network.training_flops == sum(growth["flops"]) == result.training_flops
    assert growth["epochs"][0] == 2
    assert 2 < growth["epochs"][1] <= 2.5
    samples = len(data.train)
    assert growth["flops"][:2] == [small.training_flops[0] * samples] * 2
    assert growth["flops"][3] == cost(model, examples(data, model, 2)).training_flops * samples > growth["flops"][2]


def test_a_growing_run_that_was_cut_short_ends_the_same(tmp_path: Path) -> None:
    grown = replace(config(tmp_path, "at 40%: width x2", "at 75%: depth 2 random"), after_growth="rise")
    run(tmp_path / "whole", grown)

    def stop(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", grown, on_epoch=stop)
    run(tmp_path / "cut", grown)
    assert told(tmp_path / "cut") == told(tmp_path / "whole")


def test_a_run_that_cannot_grow_is_not_begun(tmp_path: Path) -> None:
    for grow, message in (
        (["at 50%: depth 1"], "at least 2"),
        (["at 50%: depth 2", "at 50%: width x2"], "two growths come at 0.5"),
        (["plateau of 4 epochs: depth 2"], "the training has 4"),
    ):
        with pytest.raises(NetmorphError, match=message):
            config(tmp_path, *grow)
    for grow, message in (
        (["at 50%: depth 2 of layers"], "there is no list 'layers'"),
        (["at 50%: depth 3", "at 75%: depth 2"], "blocks has 3 blocks already"),
        (["at 99.9%: depth 3"], "nothing is left to train"),
    ):
        with pytest.raises(NetmorphError, match=message):
            session.create(tmp_path / "run", config(tmp_path, *grow), "netmorph train")
        assert not (tmp_path / "run").exists()
    with pytest.raises(NetmorphError, match=r"unknown policy 'warmup'.*did you mean 'warm_up'"):
        replace(config(tmp_path), after_growth="warmup")
    with pytest.raises(NetmorphError, match="'rise' sets the rate after a growth, and there is none"):
        replace(config(tmp_path), after_growth="rise")
