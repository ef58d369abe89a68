"""The arms of a run: searches that each get as many training FLOPs, so that their results can be compared.

The first arm leads: the budget is its budget, and the others, its baselines, get what it has had. A further baseline is
a class with the methods of `Arm`; `evolve(..., arms=(*ARMS, Mine))` takes it along, and the result tells it under its
name (see `netmorph.run.result`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from netmorph.run.rows import NetworkRecord
from netmorph.search.baselines import Alone, RandomSearch
from netmorph.search.descent import Evolution
from netmorph.search.jobs import Learning
from netmorph.search.planning import Planner, Round


class Arm(Protocol):
    """One search of a run. What it does follows from the networks of the run and its planner's seeds alone."""

    @property
    def name(self) -> str:
        """Under which its networks are recorded."""
        ...

    def plan(self, round: Round) -> list[NetworkRecord]:
        """Networks that the arm trains next: born and planned (or failed) with ids from `round.following` on.

        A baseline plans as many as it takes to have had `round.target` training FLOPs; none where it has had them.
        """
        ...

    def jobs(self, planned: Sequence[NetworkRecord]) -> Sequence[Learning]:
        """What trains planned networks of this arm; each of them is in one job."""
        ...

    def choose(self, number: int) -> list[int]:
        """Ids of the population that lives on after round `number`; empty for an arm that has none."""
        ...

    def parents(self) -> Iterable[int]:
        """Ids of the networks that the next plan may train on: their optimizers are kept."""
        ...


NewArm = Callable[[Planner], Arm]

ARMS: tuple[NewArm, ...] = (Evolution.of, Alone, RandomSearch)
