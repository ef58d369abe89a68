import math

import pytest
import torch

from netmorph.edit.pad import common_widths, padding, widths
from netmorph.ranks.architectures import BATCHES, DECAYS, RATES, Architecture, draw, perceptron
from tests.ranks.written import PLAIN


def test_draws_are_within_their_bounds_and_of_every_kind() -> None:
    found = draw(200, (8, 64), (2, 4), seed=0)

    assert {len(each.widths) for each in found} == {2, 3, 4}
    assert {each.skips for each in found} == {True, False}
    assert {each.batch_size for each in found} == set(BATCHES)
    assert {each.optimizer for each in found} == set(RATES)
    for each in found:
        assert all(8 <= width <= 64 for width in each.widths)
        assert len(set(each.widths)) == 1 or not each.skips
        assert RATES[each.optimizer][0] <= each.learning_rate <= RATES[each.optimizer][1]
        assert DECAYS[each.optimizer][0] <= each.weight_decay <= DECAYS[each.optimizer][1]


def test_the_same_seed_draws_the_same_and_more_networks_begin_with_the_fewer() -> None:
    assert draw(5, (8, 64), (2, 4), seed=3) == draw(9, (8, 64), (2, 4), seed=3)[:5]
    assert draw(5, (8, 64), (2, 4), seed=3) != draw(5, (8, 64), (2, 4), seed=4)


def test_a_skip_adds_what_came_in() -> None:
    torch.manual_seed(0)
    network = perceptron(6, 3, (5, 5), skips=True)
    x = torch.randn(4, 2, 3)

    first = network.layer1.linear(x.flatten(1)).relu()
    expected = network.head(first + network.layer2.linear(first).relu())

    assert torch.allclose(network(x), expected)


@pytest.mark.parametrize("skips", [True, False])
def test_networks_of_a_kind_pad_to_one_shape(skips: bool) -> None:
    inputs = torch.randn(4, 1, 3, 3)
    small, large = perceptron(9, 3, (4, 4), skips), perceptron(9, 3, (6, 6), skips)

    common = common_widths([widths(small, inputs), widths(large, inputs)])

    assert torch.allclose(padding(small, inputs, common).pad(small)(inputs), small(inputs), atol=1e-6)


def test_building_depends_on_the_seed_alone() -> None:
    state = torch.get_rng_state()
    one, again, other = (PLAIN.build((1, 3, 3), 3, seed) for seed in (0, 0, 1))

    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.layer1.linear.weight, again.layer1.linear.weight)
    assert not torch.equal(one.layer1.linear.weight, other.layer1.linear.weight)


def test_noise_is_batch_size_over_rate_and_decay() -> None:
    assert PLAIN.noise == pytest.approx(16 / (0.01 * 1e-3))
    assert Architecture((4,), False, 16, 0.01, 0.0, "sgd").noise == math.inf
