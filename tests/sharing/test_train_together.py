import copy
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import netmorph
from netmorph import zoo
from netmorph.data import Dataset, load
from netmorph.errors import NetmorphError
from netmorph.sharing import (
    Learnt,
    OneFailed,
    Origins,
    Pool,
    assembled,
    born,
    by_rank,
    founded,
    train_together,
    uniform,
)
from netmorph.train import Recipe, train
from netmorph.train.nonfinite import NotFinite

RECIPE = Recipe(epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits", train_size=96, validation=0.05)


@pytest.fixture(scope="module")
def family(digits: Dataset) -> tuple[Pool, dict[int, nn.Module]]:
    """A perceptron, and a wider child."""
    torch.manual_seed(0)
    parent = zoo.build("mlp", digits.input_shape, digits.outputs, width=0.125)
    child = copy.deepcopy(parent)
    origins = Origins(child)
    graph = netmorph.trace(child, torch.randn(2, *digits.input_shape))
    group = graph.editable()[0]
    netmorph.apply(graph, netmorph.widen(graph, group.name, to=group.size + 4), origins)
    pool = founded(Pool(), 1, dict(parent.named_parameters()))
    pool = born(pool, 2, 1, origins.kept(child), dict(child.named_parameters()))
    return pool, {1: parent, 2: child}


def learnt(
    family: tuple[Pool, dict[int, nn.Module]], digits: Dataset, recipe: Recipe = RECIPE, **more: object
) -> Learnt:
    pool, models = family
    return train_together(pool, copy.deepcopy(models), digits, recipe, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_one_network_alone_learns_as_it_does_without_a_pool(digits: Dataset, optimizer: str) -> None:
    torch.manual_seed(0)
    model = zoo.build("mlp", digits.input_shape, digits.outputs, width=0.125)
    recipe = Recipe(epochs=3, batch_size=32, optimizer=optimizer)
    found = train_together(
        founded(Pool(), 5, dict(model.named_parameters())), {5: copy.deepcopy(model)}, digits, recipe
    )
    assert found.histories[5] == train(model, digits, recipe)
    assert found.shares == {5: 1}


def test_what_the_drawn_network_has_not_stays_as_it_is(
    family: tuple[Pool, dict[int, nn.Module]], digits: Dataset
) -> None:
    pool, _ = family
    found = learnt(family, digits, Recipe(epochs=1, batch_size=32, weight_decay=0.1), choose=lambda count, generator: 0)
    own = {piece.segment for whole in pool.networks[1].values() for piece in whole.pieces}
    assert own < pool.segments.keys()
    for number, before in pool.segments.items():
        assert torch.equal(found.pool.segments[number], before) == (number not in own)
        assert (number in found.pool.states) == (number in own)
    assert found.shares == {1: 2, 2: 0}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_both_learn_from_both_and_the_seed_decides(
    family: tuple[Pool, dict[int, nn.Module]], digits: Dataset, optimizer: str
) -> None:
    recipe = Recipe(epochs=2, batch_size=32, optimizer=optimizer)
    found, again = (learnt(family, digits, recipe, seed=3) for _ in range(2))
    assert found.histories == again.histories
    assert sum(found.shares.values()) == 2
    assert all(share > 0 for share in found.shares.values())
    for history in found.histories.values():
        assert len(history) == 2
        assert history[-1].train["loss"] < history[0].train["loss"]
    assert found.pool.states.keys() == family[0].segments.keys()
    other = learnt(family, digits, recipe, seed=4)
    assert other.histories != found.histories
    on = train_together(found.pool, copy.deepcopy(family[1]), digits, recipe, seed=4)  # states go on
    assert on.histories[2][-1].train["loss"] < found.histories[2][-1].train["loss"]


def test_afterwards_each_network_has_the_weights_of_the_pool(
    family: tuple[Pool, dict[int, nn.Module]], digits: Dataset
) -> None:
    models = copy.deepcopy(family[1])
    found = train_together(family[0], models, digits, Recipe(epochs=1, batch_size=32, accumulate=2), passes=1)
    for id, model in models.items():
        made = assembled(found.pool.segments, found.pool.networks[id])
        assert all(torch.equal(value, made[name]) for name, value in model.named_parameters())
    assert sum(found.shares.values()) == Fraction(2)


def test_ranks_draw_the_first_ones_more_often() -> None:
    generator = np.random.default_rng(0)
    counts = {draw: np.bincount([draw(3, generator) for _ in range(3000)]) / 3000 for draw in (uniform, by_rank)}
    np.testing.assert_allclose(counts[uniform], [1 / 3, 1 / 3, 1 / 3], atol=0.03)
    np.testing.assert_allclose(counts[by_rank], [1 / 2, 1 / 3, 1 / 6], atol=0.03)


def test_what_cannot_be_is_told(family: tuple[Pool, dict[int, nn.Module]], digits: Dataset) -> None:
    with pytest.raises(NetmorphError, match="moving average"):
        learnt(family, digits, Recipe(ema=0.9))
    with pytest.raises(NetmorphError, match="multiple of 2, got 3"):
        learnt(family, digits, passes=3)


def test_who_fails_is_told(family: tuple[Pool, dict[int, nn.Module]], digits: Dataset) -> None:
    pool, models = family
    own = {piece.segment for whole in pool.networks[1].values() for piece in whole.pieces}
    spoilt = {number: value if number in own else value * torch.nan for number, value in pool.segments.items()}
    with pytest.raises(OneFailed, match="network 2: the loss is nan in epoch 1, training step") as failed:
        learnt((Pool(spoilt, pool.states, pool.networks), models), digits)
    assert (failed.value.network, type(failed.value.__cause__)) == (2, NotFinite)
    # A network that is never drawn fails where it is validated.
    with pytest.raises(OneFailed, match="network 2: the loss is nan in the validation of epoch 1"):
        learnt((Pool(spoilt, pool.states, pool.networks), models), digits, choose=lambda count, generator: 0)

    def refuse(module: nn.Module, inputs: object) -> None:
        raise RuntimeError("no forward today")

    broken = copy.deepcopy(models)
    broken[1].register_forward_pre_hook(refuse)
    with pytest.raises(OneFailed, match="network 1: no forward today"):
        learnt((pool, broken), digits)
