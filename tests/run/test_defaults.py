from dataclasses import replace

import pytest
import torch

from netmorph.data import Dataset, load
from netmorph.run.defaults import SAMPLES, Defaults, for_evolution, for_training
from netmorph.train.recipe import Recipe


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits", train_size=160)


def test_images_train_as_a_recipe_says(digits: Dataset) -> None:
    assert for_training(digits) == Defaults("lenet5", {}, {}, Recipe())


def test_children_see_as_much_of_small_data_as_of_large(digits: Dataset) -> None:
    found = for_evolution(digits)
    assert found.recipe == Recipe(epochs=round(SAMPLES / 160), batch_size=32, learning_rate=5e-3)
    assert found.network(None, {}) == {"model": "lenet5", "options": {"width": 0.25}}
    large = replace(digits, train=digits.train.select(torch.arange(20_000) % 160))
    assert (for_evolution(large).recipe.epochs, for_evolution(large).recipe.batch_size) == (1, 64)


def test_tables_and_texts_have_networks_of_their_own() -> None:
    diabetes, stdlib = load("diabetes"), load("stdlib", train_size=100)
    assert [for_training(data).model for data in (diabetes, stdlib)] == ["mlp", "gpt"]
    assert for_training(stdlib).recipe.epochs > for_evolution(stdlib).recipe.epochs > 1
    assert for_training(diabetes).recipe.epochs > for_evolution(diabetes).recipe.epochs > 1


def test_what_the_user_gives_goes_first(digits: Dataset) -> None:
    found = for_evolution(digits)
    assert found.network("resnet", {"width": 2}) == {"model": "resnet", "options": {"width": 2}}
    assert found.network("resnet", {}) == {"model": "resnet", "options": {"width": 0.25}}
    assert found.network("mine:build", {"depth": 3}) == {"model": "mine:build", "options": {"depth": 3}}
