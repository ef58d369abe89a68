"""What a run has found, as values; the one place that makes a result, while the run goes on and at its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from netmorph.run.names import ArmName
from netmorph.run.ranking import best, front, ranked, spent, trained
from netmorph.run.records import NetworkRecord, Records


@dataclass(frozen=True)
class NetworkResult:
    """One network. Accuracies are shares in [0, 1]; that on the test set is None until the run is finished.

    FLOPs are those of an answer in all views that the recipe asks for; until the run is finished, of one view.
    """

    id: int
    test_accuracy: float | None
    validation_accuracy: float | None
    parameters: int
    flops: int


@dataclass(frozen=True)
class EnsembleResult:
    """Networks that answer together, by the mean of what each says."""

    test_accuracy: float | None
    parameters: int
    flops: int
    members: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"members": list(self.members)}


@dataclass(frozen=True)
class ArmResult:
    """What an arm beside the evolution has found.

    Attributes:
        best: its best network.
        training_flops: what all its networks took; of a chain, the start network's own as well.
        ensemble: of its survivors, if it has any.
        networks: how many were trained; None for a chain, an arm that trains the start network on.
    """

    best: NetworkResult
    training_flops: int
    ensemble: EnsembleResult | None = None
    networks: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values: of a chain those of its best network, beside the training FLOPs."""
        if self.networks is None:
            return {**asdict(self.best), "training_flops": self.training_flops}
        return {
            "best": asdict(self.best),
            "ensemble": self.ensemble and self.ensemble.as_json(),
            "training_flops": self.training_flops,
            "networks": self.networks,
        }

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> ArmResult:
        """The baseline that `as_json` told of."""
        if "best" in told:
            ensemble = _ensemble(told["ensemble"])
            return ArmResult(_tested(told["best"]), told["training_flops"], ensemble, told["networks"])
        return ArmResult(_tested(told), told["training_flops"])


@dataclass(frozen=True)
class Result:
    """What a run has found.

    Attributes:
        best: the best network of the population, and of those that the running round has trained; None before any is.
        ensemble: the survivors together.
        members: each of them, the best first.
        baselines: by the name of their arm, those that have found something.
        training_flops: of the evolution, planned ones included.
        seconds: wall time.
        front: ids of the evolution's Pareto front, from few FLOPs to many.
        classification: of the test set by the survivors together, see
            `netmorph.measure.classification.classification_report`; None until the run is finished.
    """

    best: NetworkResult | None
    ensemble: EnsembleResult | None
    members: tuple[NetworkResult, ...]
    baselines: Mapping[str, ArmResult]
    training_flops: int
    seconds: float | None
    front: tuple[int, ...]
    classification: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, as the records keep them and `netmorph show --json` tells them."""
        told = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return told | {
            "best": self.best and asdict(self.best),
            "ensemble": self.ensemble and self.ensemble.as_json(),
            "members": [asdict(member) for member in self.members],
            "baselines": {name: baseline.as_json() for name, baseline in self.baselines.items()},
            "front": list(self.front),
        }

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Result:
        """The result that `as_json` told of, or an older one without a classification."""
        return Result(
            None if told["best"] is None else _tested(told["best"]),
            _ensemble(told["ensemble"]),
            tuple(map(_tested, told["members"])),
            {name: ArmResult.from_json(baseline) for name, baseline in told["baselines"].items() if baseline},
            told["training_flops"],
            told["seconds"],
            tuple(told["front"]),
            told.get("classification"),
        )


class Scores(Protocol):
    """What is known of networks beside their records: how they do on the test set, in so many views."""

    views: int

    def accuracy(self, networks: Sequence[NetworkRecord]) -> float | None:
        """Of the networks together, on the test set."""
        ...

    def classification(self, networks: Sequence[NetworkRecord]) -> Mapping[str, Any] | None:
        """How well they recognize each class together, see `netmorph.measure.classification`."""
        ...


class Untested:
    """The scores while a run goes on: the test set is used once, at its end."""

    views = 1

    def accuracy(self, networks: Sequence[NetworkRecord]) -> None:
        """Unknown."""

    def classification(self, networks: Sequence[NetworkRecord]) -> None:
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
    evolved, number = arms.pop(ArmName.EVOLVE, []), records.meta("round")
    survivors, champion = _survivors(evolved), best(_standing(evolved, number))
    baselines = {name: _baseline(evolved[0], networks, number, scores) for name, networks in arms.items()}
    return Result(
        best=_entry(champion, scores) if champion else None,
        ensemble=_together(survivors, scores),
        members=tuple(_entry(network, scores) for network in survivors),
        baselines={name: baseline for name, baseline in baselines.items() if baseline},
        training_flops=spent(evolved),
        seconds=records.meta("seconds") if seconds is None else seconds,
        front=tuple(network.id for network in front(evolved)),
        classification=scores.classification(survivors) if survivors else None,
    )


def _baseline(
    start: NetworkRecord, networks: Sequence[NetworkRecord], number: int | None, scores: Scores
) -> ArmResult | None:
    if networks[0].parent is not None:  # a chain, whose first part is the start network's own training
        chain = [start, *trained(networks)]
        champion = best(chain)
        return ArmResult(_entry(champion, scores), spent(chain)) if champion else None
    done, champion = trained(networks), best(_standing(networks, number))
    if champion is None:
        return None
    return ArmResult(_entry(champion, scores), spent(done), _together(_survivors(networks), scores), len(done))


def _standing(networks: Sequence[NetworkRecord], number: int | None) -> Sequence[NetworkRecord]:
    """The survivors of the last round, and those who may yet take their places; all where nobody was selected."""
    return [network for network in networks if network.survivor or number is None or network.round > number] or networks


def _survivors(networks: Iterable[NetworkRecord]) -> list[NetworkRecord]:
    return ranked(network for network in networks if network.survivor)


def _entry(network: NetworkRecord, scores: Scores) -> NetworkResult:
    return NetworkResult(
        network.id, scores.accuracy([network]), network.accuracy, network.parameters, network.flops * scores.views
    )


def _together(networks: Sequence[NetworkRecord], scores: Scores) -> EnsembleResult | None:
    if not networks:
        return None
    return EnsembleResult(
        scores.accuracy(networks),
        sum(network.parameters for network in networks),
        sum(network.flops for network in networks) * scores.views,
        tuple(network.id for network in networks),
    )


def _tested(told: Mapping[str, Any]) -> NetworkResult:
    return NetworkResult(**{entry.name: told[entry.name] for entry in fields(NetworkResult)})


def _ensemble(told: Mapping[str, Any] | None) -> EnsembleResult | None:
    return None if told is None else EnsembleResult(**{**told, "members": tuple(told["members"])})
