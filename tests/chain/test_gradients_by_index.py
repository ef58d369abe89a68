"""What gradients tell by index, against numbers by hand."""

import math

import pytest
import torch
from torch import nn

from netmorph.chain.gradients import DESCRIBED, Gradients, Told, Watch, as_tensors, described, small


def watched(gradients: list[list[float]], weight: list[float]) -> Gradients:
    layer = nn.Linear(len(weight), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weight]))
    watch = Watch(layer)
    for one in gradients:
        layer.weight.grad = torch.tensor([one])
        watch.look()
    return watch.seen


def test_each_weight_has_slope_trend_and_importance() -> None:
    seen = watched([[1.0, -2.0], [0.5, -2.0], [0.0, -2.0]], weight=[3.0, -1.0])

    assert seen.slope["weight"].tolist() == [[0.5, -2.0]]
    assert seen.trend["weight"].tolist() == [[-0.5, 0.0]]  # a look
    assert seen.importance["weight"].tolist() == [[1.5, 2.0]]
    assert seen.told == Told(math.sqrt((0.25 + 4) / 2), pytest.approx(-0.5 / 4.25), 3.5)


def test_a_slope_that_comes_to_nothing_has_a_trend_of_minus_two() -> None:
    assert watched([[1.0], [0.5], [0.0]], weight=[1.0]).told.trend == -2
    assert watched([[1.0]], weight=[1.0]).told.trend == 0  # one look tells none


def test_a_layer_without_weights_tells_nothing() -> None:
    watch = Watch(nn.ReLU())
    watch.look()
    assert watch.seen.told == Told(0.0, 0.0, 0.0)


def test_a_weight_that_is_not_reached_has_no_slope() -> None:
    layer = nn.Linear(1, 1)
    watch = Watch(layer)
    layer.weight.grad = torch.ones(1, 1)
    watch.look()
    assert watch.seen.slope["bias"].tolist() == [0.0]


def test_chains_count_alike() -> None:
    mean = Gradients.mean([watched([[1.0]], weight=[1.0]), watched([[3.0], [3.0]], weight=[1.0])])
    assert mean.slope["weight"].item() == 2
    tensors = as_tensors({("435a", 0): mean})
    assert sorted(tensors) == [f"435a/1/weight/{kind}" for kind in ("importance", "slope", "trend")]


def test_what_agents_are_told_is_about_one() -> None:
    numbers = small(Told(1e-3, -500.0, 10.0))
    assert len(numbers) == DESCRIBED
    assert all(abs(number) <= 1 for number in numbers)
    assert described((2.0, 1.0, 0.5, 3.0)) == [1.0, 0.5, 0.25, 1.5]  # the sum over two chains
    assert described((0.0,) * DESCRIBED) == [0.0] * DESCRIBED
