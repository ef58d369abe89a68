"""Which recorded networks are best, and what they cost: asked while a run goes on and at its end."""

from __future__ import annotations

import math
from collections.abc import Iterable

from netmorph.run.records import NetworkRecord


def trained(networks: Iterable[NetworkRecord]) -> list[NetworkRecord]:
    """The networks whose accuracy is known."""
    return [network for network in networks if network.accuracy is not None and math.isfinite(network.accuracy)]


def ranked(networks: Iterable[NetworkRecord]) -> list[NetworkRecord]:
    """The trained networks, highest validation accuracy first; equal ones by their loss, then by FLOPs."""

    def key(network: NetworkRecord) -> tuple[float, float, int]:
        return -_accuracy(network), math.inf if network.loss is None else network.loss, network.flops

    return sorted(trained(networks), key=key)


def best(networks: Iterable[NetworkRecord]) -> NetworkRecord | None:
    """The first by merit, if any is trained."""
    return next(iter(ranked(networks)), None)


def front(networks: Iterable[NetworkRecord]) -> list[NetworkRecord]:
    """The Pareto front, from few FLOPs to many: each is more accurate than all networks of no more FLOPs."""
    kept: list[NetworkRecord] = []
    for network in sorted(trained(networks), key=lambda network: (network.flops, -_accuracy(network))):
        if not kept or _accuracy(network) > _accuracy(kept[-1]):
            kept.append(network)
    return kept


def spent(networks: Iterable[NetworkRecord]) -> int:
    """Training FLOPs of all of them together."""
    return sum(network.training_flops for network in networks)


def _accuracy(network: NetworkRecord) -> float:
    return -math.inf if network.accuracy is None else network.accuracy
