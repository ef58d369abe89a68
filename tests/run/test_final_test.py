from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netmorph.edit import Base
from netmorph.run.final_test import FinalTest
from netmorph.run.names import Stage
from netmorph.run.records import NetworkRecord, Records
from netmorph.run.result import EnsembleResult, NetworkResult, Result, result_of
from netmorph.run.store import NetworkStore
from netmorph.train.recipe import Recipe
from tests.train.small import CLASSES, dataset

DATA = dataset()
BASE = Base("mlp", {"input_shape": [1, 6, 6], "classes": len(CLASSES), "hidden": []})
ARMS = ((1, "evolve", True), (2, "evolve", True), (3, "evolve", False), (4, "alone", False), (5, "random", True))


def record(id: int, arm: str, survivor: bool) -> NetworkRecord:
    return NetworkRecord(
        id=id,
        arm=arm,
        round=0 if id == 1 else 1,
        parent=1 if id in (2, 3, 4) else None,
        seed=0,
        state="trained",
        parameters=10 * id,
        flops=100 * id,
        training_flops=1000 * id,
        seconds=0.0,
        score=0.5 + id / 100,
        numbers={"loss": 1.0, "accuracy": 0.5 + id / 100},
        survivor=survivor,
        edits=(),
        failure=None,
    )


@pytest.fixture
def run(tmp_path: Path) -> tuple[Records, NetworkStore, dict[int, nn.Module]]:
    """Five untrained networks, as if two rounds had made them."""
    store, models = NetworkStore(tmp_path, BASE, Recipe()), {}
    with Records.create(tmp_path) as records:
        for id, arm, survivor in ARMS:
            torch.manual_seed(id)
            models[id] = BASE.build()
            store.put(id, Stage.TRAINED, models[id], (), None)
            records.put_network(record(id, arm, survivor))
        yield records, store, models


@torch.no_grad()
def probabilities(model: nn.Module) -> Tensor:
    images = (DATA.test.inputs.float() / 255 - DATA.preparation.mean[0]) / DATA.preparation.std[0]
    return model.eval()(images).softmax(1)


def accuracy(*models: nn.Module) -> float:
    mean = sum(probabilities(model) for model in models)
    return (mean.argmax(1) == DATA.test.targets).double().mean().item()


def concluded(records: Records, store: NetworkStore, views: int = 1) -> Result:
    records.set_meta("round", 1)
    return result_of(records, FinalTest(store, DATA, views), seconds=12.5)


def test_networks_and_ensembles_are_tested_as_by_hand(run) -> None:
    records, store, models = run
    found = concluded(records, store)
    assert found.best == NetworkResult(2, found.best.test, {"loss": 1.0, "accuracy": 0.52}, parameters=20, flops=200)
    assert found.best.test["accuracy"] == accuracy(models[2])
    assert [member.id for member in found.members] == [2, 1]
    assert found.ensemble == EnsembleResult(found.ensemble.test, parameters=30, flops=300, members=(2, 1))
    assert found.ensemble.test["accuracy"] == accuracy(models[1], models[2])
    assert found.training_flops == 6000
    assert found.seconds == 12.5
    assert found.front == (1, 2, 3)
    classes = found.classification
    assert classes["accuracy"] == found.ensemble.test["accuracy"]
    assert [entry["name"] for entry in classes["classes"]] == list(CLASSES)
    assert sum(count for *_, count in classes["confusion"]) == len(DATA.test)
    alone, random = found.baselines["alone"], found.baselines["random"]
    assert (alone.best.id, alone.best.test["accuracy"], alone.training_flops) == (4, accuracy(models[4]), 5000)
    assert (random.best.id, random.networks, random.training_flops) == (5, 1, 5000)
    assert random.ensemble.test["accuracy"] == accuracy(models[5])


def test_with_two_views_the_test_asks_mirror_images_too(run) -> None:
    records, store, models = run
    images = (DATA.test.inputs.float() / 255 - DATA.preparation.mean[0]) / DATA.preparation.std[0]
    with torch.no_grad():
        logits = models[2].eval()(images) + models[2](images.flip(3))
    expected = (logits.argmax(1) == DATA.test.targets).double().mean().item()
    assert concluded(records, store, views=2).best.test["accuracy"] == expected


def test_the_start_network_may_be_the_best_of_its_own_chain(run) -> None:
    records, store, _ = run
    records.put_network(replace(record(4, "alone", False), score=0.1))
    assert concluded(records, store).baselines["alone"].best.id == 1


def test_a_beaten_network_is_not_on_the_front_and_a_failed_one_nowhere(run) -> None:
    records, store, _ = run
    records.put_network(replace(record(3, "evolve", False), score=0.5, flops=150))
    records.put_network(replace(record(2, "evolve", True), score=None, numbers={}, state="failed"))
    found = concluded(records, store)
    assert found.front == (1,)
    assert [member.id for member in found.members] == [1]


def test_arms_that_made_nothing_are_left_out(tmp_path: Path) -> None:
    store = NetworkStore(tmp_path, BASE, Recipe())
    store.put(1, Stage.TRAINED, BASE.build(), (), None)
    with Records.create(tmp_path) as records:
        records.put_network(record(1, "evolve", True))
        assert concluded(records, store).baselines == {}
