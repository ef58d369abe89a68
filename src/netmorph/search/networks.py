"""The networks of a run as its driver holds them: in memory, with what is asked after every child already added up.

Read from the records once, when a session begins. From then on the driver is the only one that writes, and each
network goes to the records and in here at the same time, so that no question reads all networks again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from netmorph.run.names import State
from netmorph.run.ranking import CostOf, front, ranked
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord

START = 1  # the id of the start network, the first one that a run makes


@dataclass
class Totals:
    """One arm, added up.

    Attributes:
        count: its networks.
        flops: training FLOPs of those in each state.
        last_trained: the id of its newest trained network.
        best: highest score so far.
    """

    count: int = 0
    flops: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    last_trained: int | None = None
    best: float | None = None

    @property
    def spent(self) -> int:
        """Training FLOPs of all its networks, planned ones included."""
        return sum(self.flops.values())


class Networks:
    """All networks of a run, by id.

    Args:
        records: open to write; whatever is changed here is written there.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._by_id: dict[int, NetworkRecord] = {}
        self._planned: set[int] = set()
        self._totals: defaultdict[str, Totals] = defaultdict(Totals)
        self._in_round: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        self._survivors: defaultdict[str, list[int]] = defaultdict(list)
        self._families: dict[int, int] = {}
        self._fronts: dict[tuple[str, CostOf], list[NetworkRecord]] = {}
        self.latest_round = -1
        self.next_id = START  # the first one that is free: parents come before their children
        for network in records.networks():
            self._hold(network)
            if network.survivor:
                self._survivors[network.arm].append(network.id)

    def __len__(self) -> int:
        return len(self._by_id)

    def __getitem__(self, id: int) -> NetworkRecord:
        return self._by_id[id]

    def put(self, network: NetworkRecord) -> None:
        """Add a network, or replace the one with its id, here and in the records."""
        self._records.put_network(network)
        self._hold(network)

    def planned(self) -> list[NetworkRecord]:
        """Those that are still to be trained, in the order of their ids."""
        return [self._by_id[id] for id in sorted(self._planned)]

    def totals(self, arm: str) -> Totals:
        """What an arm's networks add up to."""
        return self._totals[arm]

    def in_round(self, arm: str, number: int) -> list[NetworkRecord]:
        """An arm's networks of one round, in the order of their ids."""
        return [self._by_id[id] for id in self._in_round[arm, number]]

    def of(self, arm: str) -> list[NetworkRecord]:
        """All networks of an arm, in the order of their ids; takes as long as there are networks."""
        return [network for network in self._by_id.values() if network.arm == arm]

    def survivors(self, arm: str) -> list[NetworkRecord]:
        """An arm's population, the best first."""
        return ranked(self._by_id[id] for id in self._survivors[arm])

    def set_survivors(self, arm: str, ids: Iterable[int]) -> None:
        """Let exactly these networks be the arm's population, here and in the records."""
        ids = list(ids)
        self._records.set_survivors(arm, ids)
        for survivor, changed in ((False, self._survivors[arm]), (True, ids)):
            for id in changed:
                self._by_id[id] = replace(self._by_id[id], survivor=survivor)
        self._survivors[arm] = ids

    def front(self, arm: str, cost: CostOf) -> list[NetworkRecord]:
        """An arm's networks that none of it beats in score and cost, from cheap to dear."""
        if (arm, cost) not in self._fronts:
            self._fronts[arm, cost] = front(self.of(arm), cost)
        return self._fronts[arm, cost]

    def family(self, id: int) -> int:
        """The network without parents that a network descends from."""
        return self._families[id]

    def _hold(self, network: NetworkRecord) -> None:
        totals, before = self._totals[network.arm], self._by_id.get(network.id)
        if before is None:
            totals.count += 1
            self._in_round[network.arm, network.round].append(network.id)
            self._families[network.id] = network.id if network.parent is None else self._families[network.parent]
            self.latest_round = max(self.latest_round, network.round)
            self.next_id = max(self.next_id, network.id + 1)
        else:
            totals.flops[before.state] -= before.training_flops
        totals.flops[network.state] += network.training_flops
        self._by_id[network.id] = network
        if network.state == State.PLANNED:
            self._planned.add(network.id)
            return
        self._planned.discard(network.id)
        if network.state == State.TRAINED:
            totals.last_trained = max(network.id, totals.last_trained or START)
            for (arm, cost), known in self._fronts.items():
                if arm == network.arm:
                    others = [other for other in known if other.id != network.id]
                    self._fronts[arm, cost] = front([*others, network], cost)
            if network.score is not None:
                totals.best = max(network.score, -math.inf if totals.best is None else totals.best)
