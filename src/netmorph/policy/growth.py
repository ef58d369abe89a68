"""When a network grows while it trains: schedules of growths, as what `netmorph.train.train` calls.

    from netmorph.policy import Growth, Plateau, by_width, growing, to_depth

    growths = [Growth(0.5, by_width(2)), Growth(0.8, to_depth(12)), Growth(Plateau(3), by_width(1.5))]
    train(model, dataset, recipe, **growing(growths, recipe.epochs))

What comes then is a function `(graph, optimizer, seed) -> graph` that applies edits; `growth_ways` has some, and one of
your own is as short:

    Growth(0.8, lambda graph, optimizer, seed: apply(graph, widen(graph, "fc1", 160, seed=seed), optimizer))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypedDict

import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.graph import Graph, trace
from netmorph.seeds import generator_of
from netmorph.train.editing import InLoop
from netmorph.train.history import Epoch, History
from netmorph.train.schedules import steps_until

Optimizers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]
# Given the graph, what trains the network, and a seed for all that is random: the graph of the grown network.
Grow = Callable[[Graph, Optimizers, int], Graph]


FILLED = 0.02  # the deviation of what a rehearsal puts in place of zeros


class GrowthError(NetmorphError):
    """A growth cannot be, or not on this network."""


@dataclass(frozen=True)
class Plateau:
    """When the number that chooses has not got better in so many epochs.

    It is the best since the last growth that has to be so long ago: a growth that costs something at first has as much
    time to make up for it.
    """

    patience: int = 3

    def __post_init__(self) -> None:
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 1:
            raise GrowthError(f"a plateau is a whole number of epochs, at least 1, got {self.patience!r}")

    def is_reached(self, epochs: Sequence[Epoch]) -> bool:
        """Whether the epochs since the last growth end in it."""
        return len(epochs) > self.patience and History(epochs).best.epoch <= epochs[-1].epoch - self.patience


@dataclass(frozen=True)
class Growth:
    """One growth.

    Attributes:
        when: a share of all steps of the training, above 0 and below 1; or a plateau, of which each growth waits for
            one of its own, in their order.
        what: makes the edits.
    """

    when: float | Plateau
    what: Grow

    def __post_init__(self) -> None:
        if not isinstance(self.when, Plateau) and not (isinstance(self.when, float) and 0 < self.when < 1):
            raise GrowthError(
                f"a growth comes at a share of the training, above 0 and below 1, or at a Plateau, not at {self.when!r}"
            )
        if not callable(self.what):
            raise GrowthError(
                "what grows is a function (graph, optimizer, seed) -> graph, such as to_depth(12) or by_width(2), not "
                f"{type(self.what).__name__}"
            )


class Growing(TypedDict):
    """The arguments of `netmorph.train.train` that make a network grow."""

    edit: InLoop
    edit_at: tuple[float, ...]


def growing(growths: Sequence[Growth], epochs: int) -> Growing:
    """The arguments of `train` that make a network grow: `train(..., **growing(growths, recipe.epochs))`.

    Which growth is due follows from the history alone, so that a resumed training grows as one that never stopped.

    Args:
        growths: in any order.
        epochs: those of the recipe.

    Raises:
        GrowthError: there are none, two come at the same share, or a plateau can never be told before the last epoch.
    """
    ordered = check_growths(growths, epochs)

    def grow(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        for growth in due(ordered, history, epochs):
            graph = growth.what(graph, optimizer, int(torch.randint(2**31, ())))
        return graph

    ends = [number / epochs for number in range(1, epochs)] if any(_plateaus(ordered)) else []
    return {"edit": grow, "edit_at": (*_shares(ordered), *ends)}


def check_growths(growths: Sequence[Growth], epochs: int) -> list[Growth]:
    """The growths at shares of the training by their order, and behind them those that wait for a plateau.

    Raises:
        GrowthError: see `growing`.
    """
    if not growths or not all(isinstance(growth, Growth) for growth in growths):
        raise GrowthError(f"a network grows by one Growth or more, not by {list(growths)!r}")
    shares = sorted(_shares(growths))
    twice = [share for share, other in pairwise(shares) if share == other]
    if twice:
        raise GrowthError(
            f"two growths come at {twice[0]:.4g} of the training; give them different shares, or make one of both: "
            "together(one, other), or 'at 50%: depth 12, width x2'"
        )
    waiting = list(_plateaus(growths))
    longest = max((plateau.patience for plateau in waiting), default=0)
    if waiting and longest + 1 >= epochs:
        raise GrowthError(
            f"a plateau of {longest} epochs is first told after {longest + 1}, and the training has {epochs}, the last "
            "of which no growth follows; train longer, or wait for fewer epochs"
        )
    timed = [growth for share in shares for growth in growths if growth.when == share]
    return timed + [growth for growth in growths if isinstance(growth.when, Plateau)]


def due(growths: Sequence[Growth], history: History, epochs: int) -> list[Growth]:
    """The growths that a history asks for at this very step: those at this share, or the next of those that wait.

    Args:
        growths: as `check_growths` orders them.
        history: as `edit` is given it.
        epochs: those of the recipe.
    """
    moments = {steps_until(share, history.steps) for share in _shares(growths)}
    if history.done in moments:
        return [
            growth
            for growth in growths
            if not isinstance(growth.when, Plateau) and steps_until(growth.when, history.steps) == history.done
        ]
    each = history.steps // epochs
    if history.done % each:
        return []
    last = 0  # the epochs that were finished at the last growth
    waiting = [growth for growth in growths if isinstance(growth.when, Plateau)]
    for finished in range(1, len(history) + 1):
        grown = [moment // each for moment in moments if (finished - 1) * each < moment <= finished * each]
        last = max([last, *grown])
        if not waiting:
            break
        if finished > last and _is_reached(waiting[0], history[last:finished]):
            if finished == len(history):
                return waiting[:1]
            waiting, last = waiting[1:], finished
    return []


def rehearse(model: nn.Module, inputs: Any, growths: Sequence[Growth]) -> Graph:
    """Grow a network as a training will, without training: whatever cannot be is told at once, not hours later.

    Args:
        model: of no further use: its structure changes, and so do parameters that are zero before training (a head, or
            the last layer of a branch), behind which nothing would be seen of what comes before them.
        inputs: some, as for `netmorph.trace`.
        growths: see `growing`.

    Raises:
        NetmorphError: a growth cannot be made.
    """
    generator = generator_of(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * FILLED)
    graph = trace(model, inputs)
    for growth in growths:
        graph = growth.what(graph, (), 0)
    return graph


def _is_reached(growth: Growth, epochs: Sequence[Epoch]) -> bool:
    return isinstance(growth.when, Plateau) and growth.when.is_reached(epochs)


def _shares(growths: Sequence[Growth]) -> list[float]:
    return [growth.when for growth in growths if not isinstance(growth.when, Plateau)]


def _plateaus(growths: Sequence[Growth]) -> Iterator[Plateau]:
    return (growth.when for growth in growths if isinstance(growth.when, Plateau))
