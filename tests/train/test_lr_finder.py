"""The range test: what it suggests trains, it leaves everything else alone, and says when it cannot work."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from netmorph.data import load
from netmorph.errors import NetmorphError
from netmorph.train.loop import train
from netmorph.train.lr_finder import find_learning_rate, smooth
from netmorph.train.nonfinite import NotFinite
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe
from tests.train.small import dataset, network

RECIPE = Recipe(batch_size=16, optimizer="sgd")


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def perceptron():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_its_suggestion_trains_better_than_rates_far_from_it(optimizer, digits):
    recipe = Recipe(epochs=3, batch_size=32, optimizer=optimizer)
    suggestion = find_learning_rate(perceptron(), digits, recipe).suggestion

    def accuracy(rate):
        try:
            history = train(perceptron(), digits, replace(recipe, learning_rate=rate))
        except NotFinite:
            return 0.0
        return history.best.validation_accuracy

    assert accuracy(suggestion) > 0.9
    assert accuracy(suggestion / 100) < accuracy(suggestion) - 0.05
    assert accuracy(suggestion * 100) < accuracy(suggestion) - 0.05


def test_the_curve_is_that_of_the_steps_it_took():
    found = find_learning_rate(network(), dataset(), RECIPE, low=1e-4, high=1.0, steps=40)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 40
    ratio = 1e4 ** (1 / 39)
    assert found.rates == pytest.approx([1e-4 * ratio**step for step in range(len(found.rates))])
    assert found.suggestion == pytest.approx(found.rates[found.smoothed.index(min(found.smoothed))] / 3)
    # The first loss is that of the untouched network, on the first batch, in training mode.
    assert 0.5 < found.losses[0] < 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pad": 1, "flip": True, "label_smoothing": 0.1},
        {"bf16": True, "channels_last": True},
        {"clip_norm": 1.0, "schedule": "cosine", "warmup": 0.5},
    ],
)
def test_the_same_seed_gives_the_same_numbers_and_nothing_else_changes(options):
    recipe, model = replace(RECIPE, **options), network()
    optimizer = build_optimizer(model, recipe)
    model[1].eval()
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    one, same, other = (find_learning_rate(model, dataset(), recipe, steps=40, seed=seed) for seed in (3, 3, 4))
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [module.training for module in model.modules()] == modes
    assert not optimizer.state


def test_it_ends_where_the_loss_diverges():
    found = find_learning_rate(network(), dataset(), RECIPE, low=1e-5, high=1e8, steps=60)
    assert len(found.rates) < 60
    assert not found.at_the_end
    assert found.rates[-1] < 1e6
    assert found.suggestion < 1


def test_a_range_that_is_too_low_is_told():
    found = find_learning_rate(network(), dataset(), RECIPE, low=1e-5, high=1e-2)
    assert found.at_the_end
    assert len(found.rates) == 100


def test_a_single_sample_left_over_is_no_batch():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    assert find_learning_rate(model, dataset(train=17), RECIPE).suggestion > 0


def test_smoothing_does_not_lag():
    assert smooth([1, 2, 3, 4, 5, 6], 1) == [1.5, 2, 3, 4, 5, 5.5]
    assert smooth([3.0], 5) == [3.0]


class Nan(nn.Module):
    def forward(self, values):
        return values * math.nan


ONE = Recipe(batch_size=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.1, "high": 0.1}, "low must be above 0 and below high; low 0.1 and high 0.1"),
        ({"low": 0.0}, "low must be above 0"),
        ({"high": math.inf}, "high inf"),
        ({"low": math.nan}, "low nan"),
        ({"steps": 5}, "at least 20.*5 was given"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"seed": 1.5}, "seed must be 0 or more, a whole number.*1.5 was given"),
        ({"steps": 30.0}, "at least 20, a whole number.*30.0 was given"),
        ({"device": "nonsense"}, "device 'nonsense'"),
        ({"low": 10.0, "high": 1e6}, "never falls.*rate 10; start lower"),
    ],
)
def test_what_makes_no_test_is_refused(options, message):
    with pytest.raises(NetmorphError, match=message):
        find_learning_rate(network(), dataset(), RECIPE, **options)


def test_a_loss_that_is_nan_from_the_start_names_the_module():
    model = network()
    model[2] = Nan()
    with pytest.raises(NotFinite, match=r"cannot start: the loss is nan.*output of '2' \(Nan\)"):
        find_learning_rate(model, dataset(), RECIPE)


def test_what_stops_a_training_stops_the_test_in_the_same_words():
    with pytest.raises(NetmorphError, match=r"batch normalization cannot train on a single sample.*Raise batch_size"):
        find_learning_rate(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3)), dataset(), ONE)


def test_a_network_for_other_data_is_refused():
    with pytest.raises(NetmorphError, match="labels go from 0 to 2"):
        find_learning_rate(network(classes=2), dataset(), RECIPE)
