"""The one place that makes the result of a run from its records, while the run goes on and at its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from netmorph.run.names import ArmName
from netmorph.run.ranking import best, front, ranked, spent, trained
from netmorph.run.records import Records
from netmorph.run.result import ArmResult, ConstantResult, EnsembleResult, Exhibits, NetworkResult, Result, Tested
from netmorph.run.rows import NetworkRecord


class Scores(Protocol):
    """What is known of networks beside their records: how they do on the test set, in so many views."""

    views: int

    def numbers(self, networks: Sequence[NetworkRecord]) -> Tested:
        """What the task tells of the networks together, on the test set."""
        ...

    def exhibits(self, networks: Sequence[NetworkRecord], best: NetworkRecord) -> Exhibits:
        """What is shown of the networks together, and beside them of the best one of the run."""
        ...

    def constant(self) -> ConstantResult | None:
        """What networks have to beat."""
        ...


class Untested:
    """The scores while a run goes on: the test set is used once, at its end."""

    views = 1

    def numbers(self, networks: Sequence[NetworkRecord]) -> Tested:
        """Unknown."""
        return dict.fromkeys(networks[0].numbers)

    def exhibits(self, networks: Sequence[NetworkRecord], best: NetworkRecord) -> Exhibits:
        """Nothing."""
        return Exhibits()

    def constant(self) -> None:
        """Unknown."""


def result_of(records: Records, scores: Scores | None = None, seconds: float | None = None) -> Result:
    """What a run has found.

    Args:
        scores: of the networks on the test set, at the run's end.
        seconds: wall time; what the records say if not given.
    """
    scores = scores or Untested()
    arms: defaultdict[str, list[NetworkRecord]] = defaultdict(list)
    for network in records.networks():
        arms[network.arm].append(network)
    evolved = arms.pop(ArmName.EVOLVE, [])
    # Where the old die, the best may be among the dead.
    number = None if (records.meta("config") or {}).get("max_age") else records.meta("round")
    survivors = _survivors(evolved)
    found: dict[str, NetworkRecord | None] = {ArmName.EVOLVE: best(_standing(evolved, number))}
    found |= {name: _champion(evolved[0], networks, number) for name, networks in arms.items()}
    champions = {name: champion for name, champion in found.items() if champion}
    first = best(champions.values())  # of equals, the evolution's
    evolution = champions.get(ArmName.EVOLVE)
    baselines = {
        name: _baseline(evolved[0], networks, champions[name], scores)
        for name, networks in arms.items()
        if name in champions
    }
    return Result(
        best=_entry(first, scores) if first else None,
        arm=next((str(name) for name, champion in champions.items() if champion is first), None),
        evolved=_entry(evolution, scores) if evolution else None,
        ensemble=_together(survivors, scores),
        members=tuple(_entry(network, scores) for network in survivors),
        baselines=baselines,
        training_flops=spent(evolved),
        seconds=records.meta("seconds") if seconds is None else seconds,
        front=tuple(network.id for network in front(evolved)),
        exhibits=scores.exhibits(survivors, first) if survivors and first else Exhibits(),
        constant=scores.constant(),
    )


def _champion(start: NetworkRecord, networks: Sequence[NetworkRecord], number: int | None) -> NetworkRecord | None:
    """The best network of an arm beside the evolution."""
    if _is_chain(networks):
        return best([start, *trained(networks)])
    return best(_standing(networks, number))


def _is_chain(networks: Sequence[NetworkRecord]) -> bool:
    """Whether an arm trains the start network on, whose own training is the chain's first part."""
    return networks[0].parent is not None


def _baseline(
    start: NetworkRecord, networks: Sequence[NetworkRecord], champion: NetworkRecord, scores: Scores
) -> ArmResult:
    entry, done = _entry(champion, scores), trained(networks)
    if _is_chain(networks):
        return ArmResult(entry, spent([start, *done]))
    return ArmResult(entry, spent(done), _together(_survivors(networks), scores), len(done))


def _standing(networks: Sequence[NetworkRecord], number: int | None) -> Sequence[NetworkRecord]:
    """The survivors of the last round, and those who may yet take their places; all where nobody was selected."""
    if number is None or not any(network.survivor for network in networks):
        return networks
    return [network for network in networks if network.survivor or network.round > number]


def _survivors(networks: Iterable[NetworkRecord]) -> list[NetworkRecord]:
    return ranked(network for network in networks if network.survivor)


def _entry(network: NetworkRecord, scores: Scores) -> NetworkResult:
    return NetworkResult(
        network.id, scores.numbers([network]), network.numbers, network.parameters, network.flops * scores.views
    )


def _together(networks: Sequence[NetworkRecord], scores: Scores) -> EnsembleResult | None:
    if not networks:
        return None
    return EnsembleResult(
        scores.numbers(networks),
        sum(network.parameters for network in networks),
        sum(network.flops for network in networks) * scores.views,
        tuple(network.id for network in networks),
    )
