"""A search: chains that an agent has judged, each distinct one once, until its budget is used up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from torch import Tensor

from netmorph.chain.errors import ChainError
from netmorph.chain.problem import Problem
from netmorph.chain.values import Chain, Outcome, Prefix, Record

PATIENCE = 100  # chains that were judged before, one after another: then there is nothing new to find

Worth = Callable[[Outcome], float]  # the more the better
Agent = Callable[["Trials", int], None]  # judges chains of its choice until `Enough` ends it; the int is a seed
# Looks closer at a chain that was judged: the record with gradients, or a lesson. It depends on its arguments alone.
Study = Callable[["Trials", Record], Record]


class Enough(Exception):
    """The budget is used up, or an agent finds nothing new. It ends a search and is no error; agents let it pass."""


def cheap(price: float = 0.0) -> Worth:
    """Minus the loss, minus a price for each FLOP of a sample's forward pass."""
    return lambda outcome: -outcome.loss - price * outcome.flops


def no_study(trials: Trials, record: Record) -> Record:
    """The record as it is."""
    return record


class Trials:
    """What agents see of a problem. It counts, so that none goes over the budget, and refuses what does not fit.

    Attributes:
        budget: distinct chains.
        records: of the distinct chains, in order.
        repeated: how many of the last chains, one after another, were known already.
        lessons: after which there were new layers, so far.
    """

    def __init__(
        self,
        problem: Problem,
        budget: int,
        worth: Worth | None = None,
        known: Sequence[Record] = (),
        states: Mapping[Prefix, Tensor] | None = None,
        study: Study = no_study,
        on_record: Callable[[Record], None] = lambda record: None,
        on_state: Callable[[Prefix, Tensor], None] = lambda prefix, state: None,
    ) -> None:
        """Start a search.

        Args:
            budget: distinct chains.
            worth: of an outcome; `cheap()` by default.
            known: records of the same search before it was stopped: they are not judged again. An agent that does the
                same with the same seed goes on where it was.
            states: likewise what was seen of prefixes.
            study: looks closer at each chain that is judged, see `netmorph.chain.lessons`.
            on_record: told of each new one.
            on_state: likewise.

        Raises:
            ChainError: the budget is below 1.
        """
        if budget < 1:
            raise ChainError(f"the budget is a number of distinct chains, at least 1; got {budget}")
        self._problem, self.budget, self._worth, self._on_record = problem, budget, worth or cheap(), on_record
        self._known = {record.chain: record for record in known}
        self._before = known[-1] if known else None
        self._began, self._spent_before = time.perf_counter(), problem.spent
        self._found: dict[Chain, float] = {}
        self._allowed: dict[Prefix, tuple[bool, ...]] = {}
        self._states: dict[Prefix, Tensor] = dict(states or {})
        self._on_state, self._study = on_state, study
        self.repeated = self.lessons = 0
        self.records: list[Record] = []
        self.ends, self.longest = problem.ends, problem.longest

    @property
    def layers(self) -> tuple[str, ...]:
        """What a chain may go on with, in places that stay; `EMPTY` where a layer is still to come."""
        return self._problem.layers

    @property
    def actions(self) -> tuple[str, ...]:
        """Layers, then ends."""
        return self.layers + self.ends

    @property
    def descriptions(self) -> Tensor:
        """float32 `[actions, m]`: what is known of each action by now."""
        return self._problem.descriptions

    def allowed(self, prefix: Prefix) -> tuple[bool, ...]:
        """Whether each action may come next: it fits, and the chain does not become too long."""
        if prefix not in self._allowed:
            self._allowed[prefix] = self._problem.allowed(prefix)
        return self._allowed[prefix]

    def fits(self, chain: Chain) -> bool:
        """Whether each step of a chain is allowed."""
        steps = [(chain.layers[:place], action) for place, action in enumerate((*chain.layers, chain.end))]
        return all(
            action in self.actions and self.allowed(prefix)[self.actions.index(action)] for prefix, action in steps
        )

    def state(self, prefix: Prefix) -> Tensor:
        """What is seen of a prefix, float32 `[s]`."""
        if prefix not in self._states:
            self._states[prefix] = self._problem.state(prefix)
            self._on_state(prefix, self._states[prefix])
        return self._states[prefix]

    def worth(self, chain: Chain, expected: float | None = None) -> float:
        """What a chain is worth. A distinct one uses one of the budget; later it is known.

        Args:
            expected: what the agent thinks.

        Raises:
            Enough: nothing is left of the budget, or the last `PATIENCE` chains were all known.
            ChainError: a layer does not fit.
        """
        if chain in self._found:
            self.repeated += 1
            if self.repeated >= PATIENCE:
                raise Enough
            return self._found[chain]
        if len(self.records) >= self.budget:
            raise Enough
        if not self.fits(chain):
            raise ChainError(f"a layer of the chain {chain} does not fit where it stands, see Trials.allowed")
        record = self._known.get(chain) or self._judged(chain, expected)
        self.repeated = 0
        self.records.append(record)
        self._found[chain] = self._worth(record.outcome)
        self._problem.note(record)
        if record.lesson is not None:
            self.lessons += 1
            self._allowed.clear()
            self.worth(record.lesson.copies)  # at once: an agent would hardly ever draw all of them together
        return self._found[chain]

    def worth_of(self, outcome: Outcome) -> float:
        """What an outcome is worth; it uses nothing of the budget."""
        return self._worth(outcome)

    def best(self) -> Record:
        """The record of the chain that is worth most, the first of equals.

        Raises:
            ChainError: none was judged.
        """
        if not self.records:
            raise ChainError("no chain was judged yet")
        return max(self.records, key=lambda record: self._found[record.chain])

    def _judged(self, chain: Chain, expected: float | None) -> Record:
        record = self._study(self, Record(chain, self._problem.judge(chain), 0, expected))
        spent, seconds = self._problem.spent - self._spent_before, time.perf_counter() - self._began
        if self._before is not None:
            spent, seconds = spent + self._before.spent, seconds + self._before.seconds
        record = replace(record, spent=spent, seconds=seconds)
        self._on_record(record)
        return record


def search(agent: Agent, trials: Trials, seed: int = 0) -> list[Record]:
    """Let an agent search until its budget is used up, or it finds nothing new.

    Returns:
        The distinct chains that it had judged, in order: the same for the same seed.
    """
    with suppress(Enough):
        agent(trials, seed)
    return trials.records
