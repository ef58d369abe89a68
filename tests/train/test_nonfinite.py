"""Numbers that stop being finite: where is found, whether losses are read step by step or not."""

import math

import pytest
import torch
from torch import nn

from netmorph.train import loop as training
from netmorph.train.average import MovingAverage
from netmorph.train.fit import TrainState
from netmorph.train.inputs import prepare
from netmorph.train.loop import train
from netmorph.train.nonfinite import NotFinite
from netmorph.train.optimizers import build_optimizer
from netmorph.train.parallel import ONE_PROCESS
from netmorph.train.recipe import Recipe
from tests.train.small import dataset, network, same_weights


class Breaks(nn.Module):
    """Gives NaN from its n-th call in train mode on."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def forward(self, values):
        self.left -= self.training
        return values * math.nan if self.left < 0 else values


def test_a_nan_names_epoch_step_and_module():
    model = network()
    model[2] = Breaks(calls=8)
    with pytest.raises(NotFinite, match=r"nan in epoch 2, training step 3: the output of '2' \(Breaks\)"):
        train(model, dataset(), Recipe(epochs=3, batch_size=16))


def test_a_nan_parameter_is_named():
    model = network()

    def spoil(_):
        nn.init.constant_(model[5].bias, math.nan)

    with pytest.raises(NotFinite, match=r"epoch 2, training step 1: 'bias' of '5' \(Linear\) is not finite"):
        train(model, dataset(), Recipe(epochs=2), on_epoch=spoil)


def test_an_exploding_rate_is_found():
    with pytest.raises(NotFinite, match=r"epoch 1, training step \d+: .*Lower the learning rate"):
        train(network(), dataset(), Recipe(epochs=1, batch_size=16, optimizer="sgd", learning_rate=1e38))


def test_a_nan_in_validation_is_named():
    model = network()
    model[1].momentum = math.nan
    with pytest.raises(NotFinite, match=r"validation of epoch 1: 'running_mean' of '1' \(BatchNorm2d\)"):
        train(model, dataset(), Recipe(epochs=1))


class BreaksLate(nn.Module):
    """In eval mode, from one image of the data on, wherever it stands in a batch."""

    def __init__(self, late: torch.Tensor) -> None:
        super().__init__()
        self.late = late

    def forward(self, values):
        if self.training or not any(torch.equal(value, self.late) for value in values):
            return values
        return values * math.nan


def test_a_nan_in_validation_is_looked_for_among_all_images():
    data = dataset(validation=600)
    late = prepare(data.validation.inputs[-1:], data, torch.empty(0))[0]
    model = nn.Sequential(BreaksLate(late), network())
    with pytest.raises(NotFinite, match=r"validation of epoch 1: the output of '0' \(BreaksLate\)"):
        train(model, data, Recipe(epochs=1))


def exploding(**options):
    return Recipe(epochs=1, batch_size=16, optimizer="sgd", learning_rate=1e38, **options)


@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "clip_norm": 1e30, "ema": 0.9}])
def test_where_losses_are_not_read_a_nan_is_found_by_repeating_the_epoch(options):
    """The path of an accelerator, on the CPU: the same message and the same weights as when each loss is watched."""
    recipe, found = exploding(**options), []
    for one_epoch in (training._fit, training._fit_unwatched):
        model = network()
        average = MovingAverage(model, recipe.ema) if recipe.ema else None
        state = TrainState(model, model, build_optimizer(model, recipe), average, ONE_PROCESS)
        with pytest.raises(NotFinite, match=r"epoch 1, training step \d+: .*not finite") as error:
            one_epoch(state, dataset(), recipe, 3, 1)
        found.append((str(error.value), {name: tensor.clone() for name, tensor in model.state_dict().items()}))
    (watched, weights), (repeated, same) = found
    assert watched == repeated
    assert all(torch.equal(weights[name].nan_to_num(), same[name].nan_to_num()) for name in weights)


def test_a_nan_that_does_not_come_back_is_told():
    model = network()
    model[3].register_forward_hook(lambda module, inputs, output: output * next(factors))
    factors = iter([1, 1, math.nan, *[1] * 100])
    state = TrainState(model, model, build_optimizer(model, Recipe()), None, ONE_PROCESS)
    with pytest.raises(NotFinite, match="nan in epoch 4, but not when the epoch was repeated"):
        training._fit_unwatched(state, dataset(), Recipe(batch_size=16), 3, 4)


def test_an_unwatched_epoch_is_the_same_epoch():
    recipe, models = Recipe(batch_size=16, ema=0.9), (network(), network())
    for model, one_epoch in zip(models, (training._fit, training._fit_unwatched), strict=True):
        one_epoch(TrainState(model, model, build_optimizer(model, recipe), None, ONE_PROCESS), dataset(), recipe, 3, 1)
    assert same_weights(*models)


class Narrow(nn.Module):
    """Overflows under autocast alone."""

    def forward(self, values):
        return values * (math.nan if torch.is_autocast_enabled("cpu") else 1)


def test_a_nan_of_low_precision_is_named():
    model = network()
    model[2] = Narrow()
    with pytest.raises(NotFinite, match=r"training step 1: the output of '2' \(Narrow\)"):
        train(model, dataset(), Recipe(epochs=1, bf16=True))
