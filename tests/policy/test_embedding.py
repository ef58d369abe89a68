"""Search in a learnt space: what a graph network places, what is climbed, and what comes out."""

import itertools
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

import netmorph
from netmorph.errors import MissingExtra
from netmorph.policy import (
    Best,
    Cloud,
    Embedded,
    Judged,
    Learnt,
    Networks,
    at_random,
    best_gain,
    explore,
    of_blocks,
    of_network,
    uphill,
)
from netmorph.policy.embedding import Landscape
from netmorph.policy.spaces import FOUND
from netmorph.policy.surrogate import fit
from tests.policy.made_up import additive

TABLE = additive(places=4, noise=0.5)
QUICK = Learnt(width=8, place=3, steps=20)
POLICIES = [Embedded(of_blocks, aim, QUICK) for aim in (uphill, Cloud(generations=2))]


@pytest.mark.parametrize("policy", POLICIES, ids=["uphill", "cloud"])
def test_a_search_goes_to_new_points_and_again_to_the_same(policy: Embedded) -> None:
    def found(seed: int) -> list[Judged[tuple[int, ...]]]:
        generator = np.random.default_rng(seed)
        return explore(TABLE, TABLE.judge(generator), policy, 14, generator, 6)

    before = torch.get_rng_state()
    first = found(0)

    assert len({one.point for one in first[6:]} | {one.point for one in first[:6]}) >= 13
    assert all((one.kind, one.place) != FOUND for one in first[6:])
    assert first == found(0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_table_that_is_exhausted_ends_no_search() -> None:
    table = additive(places=2)
    judged = explore(table, table.mean, POLICIES[0], 12, np.random.default_rng(0), 4)
    assert len(judged) == 12


def test_places_tell_scores_and_stay_the_same_in_any_company() -> None:
    rows = [*itertools.product(range(3), repeat=4)]
    values = torch.tensor([TABLE.mean(row) for row in rows], dtype=torch.float64)
    place = Learnt(steps=60)([of_blocks(row) for row in rows[::2]], values[::2], np.random.default_rng(0))
    unseen = place([of_blocks(row) for row in rows[1::2]])
    means, _ = fit(place([of_blocks(row) for row in rows[::2]]), values[::2])(unseen)

    assert float(torch.corrcoef(torch.stack([means, values[1::2]]))[0, 1]) > 0.95
    alone = place([of_blocks((0, 0, 0, 1))])  # the others had more nodes beside it
    torch.testing.assert_close(alone, unseen[:1], atol=1e-5, rtol=1e-5)


def test_a_cloud_goes_to_where_the_most_is_expected() -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(40, 2, generator=generator, dtype=torch.float64) * 4 - 2
    costs = torch.ones(40, dtype=torch.float64)
    values = -(places - 1).norm(dim=1)

    def by_mean(means: Tensor, *others: Tensor) -> Tensor:
        return means

    landscape = Landscape(fit(places, values), fit(places, costs), by_mean, values, costs)
    worth = Cloud()(landscape, torch.zeros(2, dtype=torch.float64), np.random.default_rng(0))
    assert float((places[int(worth(places, costs).argmax())] - 1).norm()) < 0.5


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(MissingExtra, match=r"needs the package 'cmaes'.*'netmorph\[embed\]'"):
        explore(TABLE, TABLE.mean, POLICIES[1], 5, np.random.default_rng(0), 4)


@pytest.mark.slow
def test_it_finds_a_better_best_than_random() -> None:
    table = additive(places=5)
    regrets = []
    for policy in (Embedded(of_blocks, parents=Best(3), gain=best_gain), at_random):
        judged = explore(table, table.mean, policy, 24, np.random.default_rng(0), 8)
        regrets.append(min(table.regret(one.point) for one in judged))
    assert regrets[0] < regrets[1]


def test_it_searches_among_networks() -> None:
    model = netmorph.zoo.build("mlp", (1, 4, 4), 3, hidden=(4, 4))
    space = Networks(netmorph.trace(model, torch.randn(2, 1, 4, 4)), menu=2)
    policy = Embedded(of_network, learn=QUICK, walks=1)
    judged = explore(space, lambda network: -space.cost(network), policy, 4, np.random.default_rng(0), 3)
    assert judged[-1].kind in ("widen", "deepen", "factorize", "merge")
