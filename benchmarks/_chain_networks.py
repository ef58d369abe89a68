"""Chains that are the networks of a bank, and a search that starts from them."""

from __future__ import annotations

from collections.abc import Sequence

from netmorph.bank import Kind
from netmorph.chain import SOLVED, Agent, Chain, DetachedLayers, Trials
from netmorph.chain.walks import changed
from netmorph.seeds import generator_of


def from_networks(starts: Sequence[Chain]) -> Agent:
    """Local search that does not start from random chains, but from the best of the bank's networks, cut anywhere."""

    def agent(trials: Trials, seed: int) -> None:
        generator = generator_of(seed)
        worths = {chain: trials.worth(chain) for chain in starts if trials.fits(chain)}
        chain = max(worths, key=worths.__getitem__)
        worth = worths[chain]
        while True:
            other = changed(trials, chain, generator)
            if trials.fits(other) and (found := trials.worth(other)) >= worth:
                chain, worth = other, found

    return agent


def cut_networks(problem: DetachedLayers) -> list[Chain]:
    """Each network of the bank up to each of its layers, with a head that is solved; the shortest first."""
    bodies: dict[str, list[str]] = {}
    for id in problem.layers:
        entry = problem.entries[id]
        if entry.kind is Kind.BODY:
            bodies.setdefault(entry.origin.network, []).append(id)
    chains = [Chain(tuple(ids[:length]), SOLVED) for ids in bodies.values() for length in range(1, len(ids) + 1)]
    return [Chain((), SOLVED), *(chain for chain in chains if _fits_but_for_length(problem, chain))]


def _fits_but_for_length(problem: DetachedLayers, chain: Chain) -> bool:
    """Networks may be longer than chains."""
    return all(
        problem.attacher.takes(problem.signature(chain.layers[:place]), id) for place, id in enumerate(chain.layers)
    )
