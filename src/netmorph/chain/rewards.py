"""What an agent gets for each action. Along a chain the rewards add up to what the chain is worth."""

from __future__ import annotations

from collections.abc import Callable

from netmorph.chain.trials import Trials
from netmorph.chain.values import SOLVED, Chain, Prefix

# (trials, prefix, number of the action, what the agent expects of the chain) -> reward
Reward = Callable[[Trials, Prefix, int, float | None], float]


def at_the_end(trials: Trials, prefix: Prefix, action: int, expected: float | None = None) -> float:
    """Nothing for a layer, and for the end what the chain is worth: one distinct chain an episode."""
    if action < len(trials.layers):
        return 0.0
    return trials.worth(Chain(prefix, trials.actions[action]), expected)


def by_layer(trials: Trials, prefix: Prefix, action: int, expected: float | None = None) -> float:
    """By how much each layer makes a chain better that ends there with a solved head: the fall in loss, less its price.

    Each layer uses one of the budget, as its head is solved. The sum is that of `at_the_end`, so the best chains are
    the same (a potential, in the words of Ng, Harada & Russell, 1999).
    """
    before = trials.worth(Chain(prefix, SOLVED)) if prefix else 0.0
    if action < len(trials.layers):
        return trials.worth(Chain((*prefix, trials.actions[action]), SOLVED)) - before
    return trials.worth(Chain(prefix, trials.actions[action]), expected) - before


REWARDS: dict[str, Reward] = {"end": at_the_end, "layer": by_layer}
