"""Chains by walking from action to action, and the agents that learn nothing: random, local search, beam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from netmorph.chain.trials import Trials
from netmorph.chain.values import Chain, Prefix
from netmorph.seeds import generator_of

WIDEST = 1024  # prefixes of a beam; one that wide has found nothing new for many rounds


def prior(trials: Trials, prefix: Prefix) -> Tensor:
    """The probability of each action before anything is known, float64 `[actions]`; 0 of what does not fit.

    Ends are as likely together as makes all lengths equally likely, where layers fit everywhere; else a bank of many
    layers would give chains of the greatest length alone. Layers are equally likely, and so are ends.
    """
    allowed = torch.tensor(trials.allowed(prefix), dtype=torch.float64)
    layers, ends = allowed[: len(trials.layers)], allowed[len(trials.layers) :]
    stop = 1 / (trials.longest - len(prefix) + 1) if layers.any() else 1.0
    return torch.cat([(1 - stop) * layers / layers.sum().clamp(min=1), stop * ends / ends.sum()])


def drawn(probabilities: Tensor, generator: Generator) -> int:
    """The number of an action, drawn."""
    return int(torch.multinomial(probabilities, 1, generator=generator))


def walk(trials: Trials, choose: Callable[[Prefix], int], start: Prefix = ()) -> Chain:
    """Go on with chosen actions until one is an end."""
    prefix = start
    while True:
        action = choose(prefix)
        if action >= len(trials.layers):
            return Chain(prefix, trials.actions[action])
        prefix = (*prefix, trials.actions[action])


def random_chains(trials: Trials, seed: int) -> None:
    """Chains from `prior`, again and again: what every agent has to beat."""
    generator = generator_of(seed)
    while True:
        trials.worth(walk(trials, lambda prefix: drawn(prior(trials, prefix), generator)))


@dataclass(frozen=True)
class LocalSearch:
    """Change one place of a chain: put a layer in, take one out, another one, another end. Keep what is no worse.

    Attributes:
        patience: changes in a row that make nothing better, after which it starts from another random chain.
    """

    patience: int = 30

    def __call__(self, trials: Trials, seed: int) -> None:
        """Search until `Enough`."""
        generator = generator_of(seed)
        while True:
            chain = walk(trials, lambda prefix: drawn(prior(trials, prefix), generator))
            worth, stale = trials.worth(chain), 0
            while stale < self.patience:
                other = changed(trials, chain, generator)
                stale += 1
                if trials.fits(other) and (found := trials.worth(other)) >= worth:
                    stale = 0 if found > worth else stale
                    chain, worth = other, found


def changed(trials: Trials, chain: Chain, generator: Generator) -> Chain:
    """A chain with one change, which may not fit."""

    def below(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    layers, kind = list(chain.layers), below(4)
    if kind == 0:
        return Chain(chain.layers, trials.ends[below(len(trials.ends))])
    if kind == 1 or not layers:
        layers.insert(below(len(layers) + 1), trials.layers[below(len(trials.layers))])
    elif kind == 2:
        del layers[below(len(layers))]
    else:
        layers[below(len(layers))] = trials.layers[below(len(trials.layers))]
    return Chain(tuple(layers), chain.end)


@dataclass(frozen=True)
class Beam:
    """Layer after layer, keep the few prefixes that are worth most with the best end behind them.

    Attributes:
        width: how many are kept; twice as many after a round that found nothing new.
        tries: actions that are tried behind each, drawn anew at each depth and in each round.
    """

    width: int = 3
    tries: int = 12

    def __call__(self, trials: Trials, seed: int) -> None:
        """Search until `Enough`, or until wide beams find nothing new."""
        generator, width = generator_of(seed), self.width
        worths: dict[Prefix, float] = {(): self._worth(trials, ())}
        while width <= WIDEST:
            known = len(worths)
            beam: list[Prefix] = [()]
            while beam:
                found = dict.fromkeys(next for prefix in beam for next in self._next(trials, prefix, generator))
                worths |= {prefix: self._worth(trials, prefix) for prefix in found if prefix not in worths}
                beam = sorted(found, key=lambda prefix: -worths[prefix])[:width]
            width = width if len(worths) > known else 2 * width

    def _next(self, trials: Trials, prefix: Prefix, generator: Generator) -> list[Prefix]:
        order = torch.randperm(len(trials.layers), generator=generator).tolist()
        allowed = trials.allowed(prefix)
        return [(*prefix, trials.layers[number]) for number in order if allowed[number]][: self.tries]

    def _worth(self, trials: Trials, prefix: Prefix) -> float:
        """With the best of the ends that fit."""
        allowed = trials.allowed(prefix)[len(trials.layers) :]
        ends = [end for end, fits in zip(trials.ends, allowed, strict=True) if fits]
        return max(trials.worth(Chain(prefix, end)) for end in ends)
