"""What agents did in a search for a chain, as its page tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path

from netmorph.bank import Entry
from netmorph.chain import Record
from netmorph.chain.features import Counts
from netmorph.chain.gradients import Told

GOOD = 0.1  # the share of chains that are called good


@dataclass(frozen=True, eq=False)
class Searched:
    """What one agent did.

    Attributes:
        agent: its name.
        records: of the distinct chains, in order.
        worths: of each.
        best: the record of the best.
        test: the best chain's accuracy on the test part.
        cache: what the cache did.
    """

    agent: str
    records: tuple[Record, ...]
    worths: tuple[float, ...]
    best: Record
    test: float
    cache: Counts

    @property
    def best_losses(self) -> list[float]:
        """After each chain the loss of the best one so far."""
        pairs = zip(self.worths, self.records, strict=True)
        return [record.outcome.loss for _, record in accumulate(pairs, partial(max, key=_first))]

    @property
    def lessons(self) -> int:
        """After which there were new layers."""
        return sum(record.lesson is not None for record in self.records)

    @property
    def good(self) -> list[Record]:
        """The records that are worth most, at least one, the best first."""
        order = sorted(range(len(self.records)), key=lambda number: -self.worths[number])
        return [self.records[number] for number in order[: max(1, round(GOOD * len(order)))]]


@dataclass(frozen=True)
class Learning:
    """What gradients had to do with a chain.

    Attributes:
        mode: when its layers learnt, a name of `netmorph.chain.MODES`.
        flops: of the steps once it was chosen.
        test: the network's accuracy on the test part after them.
        gradients: of layers in good chains, by id and the number of layers in front; empty if nobody looked.
    """

    mode: str = "never"
    flops: int = 0
    test: float = 0.0
    gradients: Mapping[tuple[str, int], Told] = field(default_factory=dict)


def label(entry: Entry) -> str:
    """A layer for people: its network and its path there; of a copy, its id."""
    network = Path(entry.origin.network).name
    copied = f" (copy {entry.id[:4]})" if entry.parent else ""
    return f"{network}: {entry.origin.path or entry.origin.position}{copied}"


def _first(pair: tuple[float, Record]) -> float:
    return pair[0]
