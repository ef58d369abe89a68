"""What an evolution learns from its own records: guides for the edits of its children, and how their recipes differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from netmorph.policy.guides import Expected, Guide, Made, Rates, Tried, gradient, rank, trend
from netmorph.run.names import Guidance
from netmorph.run.ranking import merit, trained
from netmorph.run.rows import EditRecord, NetworkRecord
from netmorph.search.networks import Networks
from netmorph.train.recipe import Recipe

RECENT = 500  # networks that a guide learns from: what pays changes, and the driver's time stays bounded

# Makes the guide of a round from an arm's networks; None where edits are taken as they are drawn.
Learner = Callable[[Networks, str], Guide | None]


def uniform(networks: Networks, arm: str) -> Guide | None:
    """Nothing is learnt."""
    return None


GUIDES: Mapping[Guidance, Learner] = {
    Guidance.UNIFORM: uniform,
    Guidance.BANDIT: lambda networks, arm: Rates.of(tried(networks, arm)),
    Guidance.GRADIENT: lambda networks, arm: gradient,
    Guidance.RANK: lambda networks, arm: rank,
    Guidance.TREND: lambda networks, arm: trend,
    Guidance.SURROGATE: lambda networks, arm: Expected.of(tried(networks, arm)),
}


def tried(networks: Networks, arm: str) -> list[Tried]:
    """The latest trained networks of an arm, as guides learn from them."""
    return [_as_tried(networks, network) for network in trained(networks.of(arm)[-RECENT:])]


def _as_tried(networks: Networks, network: NetworkRecord) -> Tried:
    chain = [network]
    while (parent := chain[-1].parent) is not None:
        chain.append(networks[parent])
    edits = tuple(_made(edit) for one in reversed(chain) for edit in one.edits)
    return Tried(edits, len(network.edits), len(chain), merit(network), network.flops, network.parameters)


def _made(edit: EditRecord) -> Made:
    return Made(edit.kind.split()[0], edit.layer, edit.before, edit.after)


# -- recipes ----------------------------------------------------------------------------------------------------------

SPREAD = math.log(1.5)  # of the logarithm of a factor
FARTHEST = 10.0  # from what the run's recipe says, either way

# Of what a parent was trained with in place of the run's recipe, and that recipe: the same of a child.
Recipes = Callable[[Mapping[str, float], Recipe, np.random.Generator], Mapping[str, float]]


def same(parent: Mapping[str, float], recipe: Recipe, generator: np.random.Generator) -> Mapping[str, float]:
    """All are trained as the run's recipe says."""
    return {}


def stepped(parent: Mapping[str, float], recipe: Recipe, generator: np.random.Generator) -> Mapping[str, float]:
    """The parent's learning rate and weight decay, each times a log-normal factor; a decay of 0 stays 0.

    Neither goes farther than ten times from what the run's recipe says.
    """
    usual = {"learning_rate": recipe.learning_rate, "weight_decay": recipe.decay}
    return {
        name: float(
            np.clip(parent.get(name, value) * generator.lognormal(0.0, SPREAD), value / FARTHEST, value * FARTHEST)
        )
        for name, value in usual.items()
    }
