"""How fast to learn after growth: learning-rate policies, in any loop and beside any schedule.

A policy is a function `(pace, graph) -> None` that is called with the graph that `apply` returned, and sets the `Pace`
of what comes then:

    pace = Pace(optimizer)  # once
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 64), optimizer)
    divide(5)(pace, graph)  # or unchanged, parameter_ratio, warm_up(200), rise(200), freeze(200), or several

In `netmorph.train` it is the argument `after_edit`.
"""

from __future__ import annotations

import math

from netmorph.edit.entries import new_entries
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.train.pace import LearningRatePolicy, Pace, check_steps


def unchanged(pace: Pace, graph: Graph) -> None:
    """Go on as the schedule says: the baseline."""


def divide(by: float = 5) -> LearningRatePolicy:
    """Divide all learning rates from now on (R2R divides by 5 at every growth, arXiv 2410.11038).

    Raises:
        NetmorphError: that is not a positive number.
    """
    if not 0 < by < math.inf:
        raise NetmorphError(f"a learning rate is divided by a number above 0, got {by}")
    return lambda pace, graph: pace.scale(1 / by)


def parameter_ratio(pace: Pace, graph: Graph) -> None:
    """Multiply all learning rates by |old| / |new|, the share of the parameters that the last edit did not add.

    Over several edits, one after the other, the factors make the ratio of the first to the last size.
    """
    total = sum(parameter.numel() for parameter in graph.model.parameters())
    pace.scale(1 - sum(int(entries.sum()) for entries in new_entries(graph, pace.edits).values()) / total)


def warm_up(steps: int = 100) -> LearningRatePolicy:
    """Let what the last edit made start slowly, see `Pace.hold_back`; the rest learns on as the schedule says.

    Raises:
        NetmorphError: `steps` is not a positive whole number.
    """
    check_steps(steps)
    return lambda pace, graph: pace.hold_back(graph, steps)


def rise(steps: int = 100) -> LearningRatePolicy:
    """Warm all learning rates up again, from zero to what the schedule says, see `Pace.rise`.

    Source: a second warm-up after a late widening, SPARKLING, arXiv 2602.02472.

    Raises:
        NetmorphError: `steps` is not a positive whole number.
    """
    check_steps(steps)
    return lambda pace, graph: pace.rise(steps)


def freeze(steps: int | None = None) -> LearningRatePolicy:
    """Freeze all but what the last edit made, see `Pace.freeze`, for some steps or until `Pace.release`.

    Raises:
        NetmorphError: `steps` is not a positive whole number.
    """
    if steps is not None:
        check_steps(steps)
    return lambda pace, graph: pace.freeze(graph, steps)


POLICIES: dict[str, LearningRatePolicy] = {
    "unchanged": unchanged,
    "divide": divide(),
    "parameter_ratio": parameter_ratio,
    "warm_up": warm_up(),
    "rise": rise(),
    "freeze": freeze(100),
}
