"""A run's folder, and RUN:ID, in place of a network's file."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from netmorph import load, zoo
from netmorph.edit import Base
from netmorph.edit.journal import LoadError, save
from netmorph.run.names import Stage
from netmorph.run.opening import file_of
from netmorph.run.records import Records
from netmorph.run.store import NetworkStore
from netmorph.train.recipe import Recipe
from tests.run.test_final_test import ARMS, record

BASE = Base("mlp", {"input_shape": [1, 6, 6], "classes": 3, "hidden": []})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Five networks, of which the random search has the best (5), and one that failed (6)."""
    folder = tmp_path / "a run"
    folder.mkdir()
    store = NetworkStore(folder, BASE, Recipe())
    with Records.create(folder) as records:
        for id, arm, survivor in ARMS:
            torch.manual_seed(id)
            store.put(id, Stage.TRAINED, BASE.build(), (), None)
            records.put_network(record(id, arm, survivor))
        failed = replace(record(6, "evolve", False), state="failed", score=None, numbers={}, failure="no luck")
        records.put_network(failed)
    return folder


def test_a_folder_is_its_best_network_and_a_number_one_of_all(run: Path) -> None:
    assert file_of(run) == run / "networks" / "5.trained.safetensors"
    assert file_of(f"{run}:2") == run / "networks" / "2.trained.safetensors"
    model, journal = load(f"{run}:2")
    torch.manual_seed(2)
    assert torch.equal(model.fc1.weight, BASE.build().fc1.weight)
    assert journal == ()
    assert torch.equal(load(run)[0].fc1.weight, load(f"{run}:5")[0].fc1.weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a run:9", r"has no network 9; it has 1-5"),
        ("a run:6", r"has not trained network 6: no luck. It has 1-5"),
        ("a run:best", r"expected the number of a network behind the colon, as in .*a run:1; got 'best'"),
        ("", r"is a folder without a run in it; expected a file that netmorph.save wrote .* or RUN:ID"),
        ("another", r"there is no file .*another"),
        ("another:3", r"there is no file .*another:3"),
    ],
)
def test_what_is_not_there_is_told(run: Path, name: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        load(run.parent / name)


def test_a_run_without_a_trained_network(tmp_path: Path) -> None:
    with Records.create(tmp_path):
        pass
    with pytest.raises(LoadError, match="has trained no network yet; go on with it first"):
        load(tmp_path)


def test_a_file_whose_name_has_a_colon_is_a_file(run: Path) -> None:
    odd = run.parent / "a run:2"
    save(odd, BASE.build(), (), BASE)
    assert file_of(odd) == odd


def test_a_base_of_ones_own_gets_the_arguments_that_the_file_tells(tmp_path: Path) -> None:
    def build(input_shape: tuple[int, ...], classes: int, hidden: int = 4) -> torch.nn.Module:
        return zoo.build("mlp", input_shape, classes, hidden=(hidden,))

    told = {"input_shape": [1, 6, 6], "classes": 3, "hidden": 7}
    save(tmp_path / "own", build(**told), (), Base("mynets:build", told))
    model, _ = load(tmp_path / "own", build)
    assert model.fc1.weight.shape == (7, 36)
    model, _ = load(tmp_path / "own", lambda: build((1, 6, 6), 3, 7))
    assert model.fc1.weight.shape == (7, 36)
