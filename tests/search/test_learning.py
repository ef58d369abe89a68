from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from netmorph.errors import NetmorphError
from netmorph.policy import Mutation, exact, shrinking
from netmorph.policy.guides import Expected, Rates, gradient
from netmorph.run.config import EvolveConfig, as_json, from_json
from netmorph.run.names import Guidance
from netmorph.run.records import Records
from netmorph.search.descent import Evolution
from netmorph.search.evolution import evolve
from netmorph.search.jobs import handler
from netmorph.search.learning import FARTHEST, GUIDES, stepped, tried
from netmorph.search.networks import Networks
from netmorph.train.recipe import Recipe
from netmorph.workers.executor import Inline
from tests.train.tiny import CONFIG, open_or_create, told

LEARNING = replace(
    CONFIG,
    guide=Guidance.SURROGATE,
    mutate_recipe=True,
    mutation=Mutation(edits=2, proposals=(*exact(), *shrinking())),
)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learns."""
    folder = tmp_path_factory.mktemp("learnt")
    with open_or_create(folder) as records:
        executor = Inline(partial(handler, folder, LEARNING))
        evolve(folder, LEARNING, LEARNING.data.load(), records, executor, arms=(Evolution.of,))
    return folder


def test_recipes_are_inherited_with_a_change_and_recorded(learnt: Path) -> None:
    networks = {network.id: network for network in told(learnt)[0]}
    children = [network for network in networks.values() if network.arm == "evolve" and network.parent is not None]
    assert len(children) == 6
    assert len({network.recipe["learning_rate"] for network in children}) == 6
    assert all(network.recipe == {} for network in networks.values() if network not in children)
    with Records.open(learnt) as records:
        for network in children:
            assert records.epochs(network.id)[0].learning_rate <= network.recipe["learning_rate"]


def test_guides_learn_from_the_records(learnt: Path) -> None:
    with Records.resume(learnt) as records:
        networks = Networks(records)
        known = tried(networks, "evolve")
        assert [one.trainings for one in known[:2]] == [1, 1]
        assert max(one.trainings for one in known) == 3
        for one, network in zip(known, networks.of("evolve"), strict=True):
            assert one.new == len(network.edits)
            assert (one.score, one.flops) == (network.score, network.flops)
        made = {guidance: learner(networks, "evolve") for guidance, learner in GUIDES.items()}
    assert made[Guidance.UNIFORM] is None
    assert made[Guidance.GRADIENT] is gradient
    assert made[Guidance.BANDIT] == Rates.of(known)
    assert made[Guidance.SURROGATE] == Expected.of(known)
    assert sum(Rates.of(known).made.values()) == sum(one.new for one in known)


def test_a_step_changes_rate_and_decay_within_bounds() -> None:
    recipe, generator = Recipe(learning_rate=0.01, weight_decay=0.1), np.random.default_rng(0)
    changes: dict[str, float] = {}
    for _ in range(200):
        before, changes = changes, dict(stepped(changes, recipe, generator))
        assert changes != before
        for name, usual in (("learning_rate", 0.01), ("weight_decay", 0.1)):
            assert usual / FARTHEST <= changes[name] <= usual * FARTHEST
    assert stepped({}, replace(recipe, weight_decay=0.0), generator)["weight_decay"] == 0


def test_a_config_tells_of_its_guide() -> None:
    assert from_json(as_json(LEARNING)) == LEARNING
    old = as_json(CONFIG)
    del old["guide"], old["mutate_recipe"]
    assert from_json(old) == CONFIG
    with pytest.raises(NetmorphError, match=r"unknown guide 'bandits'.*did you mean 'bandit'"):
        EvolveConfig(guide="bandits")  # type: ignore[arg-type]
