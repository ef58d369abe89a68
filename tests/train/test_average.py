"""The moving average beside its recursion in float64, and in a training."""

import dataclasses

import pytest
import torch
from torch import nn

from netmorph.train.average import MovingAverage
from netmorph.train.evaluation import evaluate
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe
from tests.train.small import dataset, network

RECIPE = Recipe(epochs=6, batch_size=16, learning_rate=0.02, ema=0.9)


class Counting(nn.Module):
    """Buffers of all kinds; one is a new tensor after each forward, one is held in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("flags", torch.zeros(3, dtype=torch.bool))
        self.register_buffer("level", torch.zeros(2, dtype=torch.float64))
        self.other = nn.Module()
        self.other.register_buffer("level", self.level)

    def forward(self) -> None:
        self.calls += 1
        self.flags[self.calls % 3] = True
        self.level = self.level * 0.5 + self.calls


@pytest.mark.parametrize("decay", [0.2, 0.6, 0.999])
def test_it_is_the_recursion(decay):
    model = Counting()
    average = MovingAverage(model, decay)
    weight, level = torch.zeros(2).double(), torch.zeros(2).double()
    generator = torch.Generator().manual_seed(0)
    for step in range(20):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, generator=generator))
        model()
        average.update()
        now = min(decay, (1 + step) / (10 + step))
        weight = now * weight + (1 - now) * model.weight.detach()
        level = now * level + (1 - now) * model.level
        torch.testing.assert_close(average.model.weight.detach(), weight, rtol=0, atol=1e-12)
        torch.testing.assert_close(average.model.level, level, rtol=0, atol=1e-12)
        assert torch.equal(average.model.calls, model.calls)
        assert torch.equal(average.model.flags, model.flags)
    assert average.steps == 20


def test_a_buffer_in_two_modules_is_averaged_once():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    model[1].running_mean = model[0].running_mean
    average = MovingAverage(model, 0.999)
    model[0].running_mean.fill_(1.0)
    average.update()
    torch.testing.assert_close(average.model[0].running_mean, torch.full((2,), 0.9))


def test_the_model_is_not_changed_by_its_average():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    MovingAverage(model, 0.9).update()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_average_is_what_is_validated_and_kept():
    data, model = dataset(), network()
    history = train(model, data, RECIPE)
    metrics = evaluate(model, data.validation, data)
    assert (metrics.loss, metrics.accuracy) == (history.best.validation_loss, history.best.validation_accuracy)
    raw = network()
    without = train(raw, data, dataclasses.replace(RECIPE, ema=None))
    assert [epoch.train_loss for epoch in history] == [epoch.train_loss for epoch in without], "the steps are the same"
    assert [epoch.validation_loss for epoch in history] != [epoch.validation_loss for epoch in without]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_training_with_an_average_resumes_to_the_same_bits(tmp_path):
    class Stop(Exception):
        pass

    def stop(epoch):
        raise Stop

    whole, cut, data = network(), network(), dataset()
    expected = train(whole, data, RECIPE)
    path = tmp_path / "state"
    for _ in range(RECIPE.epochs):
        cut = network(seed=9) if path.exists() else cut  # all must come from the file
        with pytest.raises(Stop):
            train(cut, data, RECIPE, checkpoint=path, resume=True, on_epoch=stop)
    cut = network(seed=9)
    assert train(cut, data, RECIPE, checkpoint=path, resume=True) == expected
    assert all(torch.equal(tensor, cut.state_dict()[name]) for name, tensor in whole.state_dict().items())
