"""Which networks of an arm live on: the orders of `netmorph.policy.selection`, by what a run records and keeps."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from netmorph.policy.selection import Candidate, Order, by_cover, by_rank, by_score, by_volume, select
from netmorph.run.config import EvolveConfig
from netmorph.run.names import Against, Selecting
from netmorph.run.ranking import CostOf, flops_of, merit, trained
from netmorph.run.rows import NetworkRecord
from netmorph.search.planning import Planner
from netmorph.tasks import LOSS, Criterion

ORDERS: Mapping[Selecting, Order] = {
    Selecting.FRONT: by_volume,
    Selecting.RANK: by_rank,
    Selecting.BEST: by_score,
    Selecting.COVER: by_cover,
}


class Selection(Protocol):
    """Who of an arm lives on. What it does follows from the networks of the run alone."""

    def __call__(self, planner: Planner, arm: str, number: int, gone: Collection[int] = ()) -> list[int]:
        """The ids of the population after round `number`, the best first.

        Args:
            gone: those that cannot live on.
        """
        ...

    def standing(self, planner: Planner, arm: str) -> list[int]:
        """The ids of those that may be in a later population, of the networks that there are after a round."""
        ...


@dataclass(frozen=True)
class Choosing:
    """The first networks in an order; no family takes more than its part of the population.

    Chosen are from the population, from what the round has made, and from all networks of the arm that no other beats
    in score and cost: one that had to leave a small population comes back where it is wanted.

    Attributes:
        order: the best first.
        cost: what the score is weighed against.
        max_age: rounds after which a network is left out, as long as there are younger ones; None for none.
        by_example: whether the order looks at the answers to each example. Only those of the population and of a round
            are kept, so that nobody else comes back.
    """

    order: Order = by_volume
    cost: CostOf = flops_of
    max_age: int | None = None
    by_example: bool = False

    @classmethod
    def of(cls, config: EvolveConfig) -> Choosing:
        """As the config of a run says."""
        by_example = config.select == Selecting.COVER
        return cls(ORDERS[config.select], COSTS[config.against], config.max_age, by_example)

    def __call__(self, planner: Planner, arm: str, number: int, gone: Collection[int] = ()) -> list[int]:
        """See `Selection`."""
        config, latest = planner.config, trained(planner.networks.in_round(arm, number))
        known = {network.id: network for network in (*self._standing(planner, arm), *latest)}
        if self.by_example and planner.records.meta("round") == number:  # it ended once: who lost then has no answers
            known = {id: one for id, one in known.items() if one.survivor or planner.store.answers(id) is not None}
        alive = _young([known[id] for id in sorted(known) if id not in gone], number, self.max_age)
        per_family = math.ceil(config.population / min(2, config.founders))
        return select([self._candidate(planner, one) for one in alive], config.population, per_family, self.order)

    def standing(self, planner: Planner, arm: str) -> list[int]:
        """See `Selection`."""
        return [*dict.fromkeys(network.id for network in self._standing(planner, arm))]

    def _standing(self, planner: Planner, arm: str) -> list[NetworkRecord]:
        """The population and, if it may come back, the front."""
        front = [] if self.by_example else planner.networks.front(arm, self.cost)
        return [*planner.networks.survivors(arm), *front]

    def _candidate(self, planner: Planner, network: NetworkRecord) -> Candidate:
        kept = planner.store.answers(network.id) if self.by_example else None
        return Candidate(
            network.id,
            merit(network),
            self.cost(network),
            network.numbers[LOSS],
            planner.networks.family(network.id),
            None if kept is None else worths_of(kept, planner.dataset.task.chooses),
        )


@dataclass(frozen=True)
class AsAsked:
    """A selection as the config of the run says.

    Attributes:
        ageing: whether the old die, if the config says so.
    """

    ageing: bool = True

    def __call__(self, planner: Planner, arm: str, number: int, gone: Collection[int] = ()) -> list[int]:
        """See `Selection`."""
        return self._of(planner)(planner, arm, number, gone)

    def standing(self, planner: Planner, arm: str) -> list[int]:
        """See `Selection`."""
        return self._of(planner).standing(planner, arm)

    def _of(self, planner: Planner) -> Choosing:
        chosen = Choosing.of(planner.config)
        return chosen if self.ageing else replace(chosen, max_age=None)


AS_ASKED, WITHOUT_AGE = AsAsked(), AsAsked(ageing=False)


def worths_of(answers: Mapping[str, Tensor], criterion: Criterion) -> NDArray[np.float64]:
    """How well each example is answered, from 0 to 1, `[examples]`: 1 or 0 for what is right or wrong, where that
    chooses; else `exp(-loss)`, which is the likelihood of the truth where losses are its negative logarithm.

    Args:
        answers: see `netmorph.train.evaluation.answers`.
        criterion: the number that chooses.
    """
    if criterion.is_share and criterion.higher_is_better and criterion.name in answers:
        worths = answers[criterion.name]
    else:
        worths = (-answers[LOSS]).clamp(max=0).exp()
    return np.asarray(worths, dtype=np.float64)


def parameters_of(network: NetworkRecord) -> float:
    """As they were counted at birth."""
    return network.parameters


def latency_of(network: NetworkRecord) -> float:
    """Seconds, as measured at birth; what was not measured is as slow as can be."""
    return math.inf if network.latency is None else network.latency


COSTS: Mapping[Against, CostOf] = {
    Against.FLOPS: flops_of,
    Against.PARAMETERS: parameters_of,
    Against.LATENCY: latency_of,
}


def _young(networks: Sequence[NetworkRecord], number: int, max_age: int | None) -> Sequence[NetworkRecord]:
    """Those that may live on after round `number`."""
    if max_age is None:
        return networks
    return [network for network in networks if number - network.round < max_age] or networks
