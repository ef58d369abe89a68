"""Which recorded networks are best, and what they cost: asked while a run goes on and at its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from netmorph.run.rows import NetworkRecord
from netmorph.tasks import LOSS

CostOf = Callable[[NetworkRecord], float]


def trained(networks: Iterable[NetworkRecord]) -> list[NetworkRecord]:
    """The networks whose score is known."""
    return [network for network in networks if network.score is not None and math.isfinite(network.score)]


def ranked(networks: Iterable[NetworkRecord]) -> list[NetworkRecord]:
    """The trained networks, highest merit on the validation set first; equal ones by their loss, then by FLOPs."""

    def key(network: NetworkRecord) -> tuple[float, float, int]:
        return -merit(network), network.numbers.get(LOSS, math.inf), network.flops

    return sorted(trained(networks), key=key)


def best(networks: Iterable[NetworkRecord]) -> NetworkRecord | None:
    """The first by merit, if any is trained."""
    return next(iter(ranked(networks)), None)


def flops_of(network: NetworkRecord) -> float:
    """Forward FLOPs for one sample."""
    return network.flops


def front(networks: Iterable[NetworkRecord], cost: CostOf = flops_of) -> list[NetworkRecord]:
    """The Pareto front, from cheap to dear: each is better than all networks of no more cost."""
    kept: list[NetworkRecord] = []
    for network in sorted(trained(networks), key=lambda network: (cost(network), -merit(network), network.id)):
        if not kept or merit(network) > merit(kept[-1]):
            kept.append(network)
    return kept


def spent(networks: Iterable[NetworkRecord]) -> int:
    """Training FLOPs of all of them together."""
    return sum(network.training_flops for network in networks)


def merit(network: NetworkRecord) -> float:
    """By what networks are compared: the smoothed score of a run that smooths, else the score."""
    if network.smoothed is not None:
        return network.smoothed
    return -math.inf if network.score is None else network.score
