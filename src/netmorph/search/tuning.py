"""The last stage of an evolution: copies of the survivors are trained on, at a rate that falls to zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from netmorph.run.config import EvolveConfig
from netmorph.run.names import State
from netmorph.run.ranking import best
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.search.births import Birth
from netmorph.search.jobs import Training
from netmorph.search.networks import Networks
from netmorph.search.planning import Planner

# In the records: the copies by their ids, and what each is a copy of; and how often there were such before.
TUNED, TUNINGS = "tuned", "tunings"


def copies(records: Records) -> dict[int, int]:
    """The network that each copy is of; none before the last stage."""
    return {int(copy): network for copy, network in (records.meta(TUNED) or {}).items()}


def remember(records: Records, born: Iterable[NetworkRecord]) -> None:
    """From now on the run is in its last stage, with these copies."""
    records.set_meta(TUNED, {str(copy.id): copy.parent for copy in born})


def stages(records: Records) -> int:
    """How often there was a last stage, after which the run got more rounds; each counts as a round, and is none."""
    return int(records.meta(TUNINGS) or 0)


def forget(records: Records) -> None:
    """The run gets more rounds; at their end the survivors are tuned again, and copies that wait are given up."""
    given_up = copies(records)
    if not given_up:
        return
    with records.transaction():
        for network in records.networks():
            if network.id in given_up and network.state == State.PLANNED:
                told = "given up before it was tuned: the run was given another budget"
                records.put_network(replace(network, state=State.FAILED, training_flops=0, failure=told))
        records.set_meta(TUNED, None)
        records.set_meta(TUNINGS, stages(records) + 1)


def bear(
    planner: Planner, arm: str, survivors: Sequence[NetworkRecord], number: int, following: int
) -> list[NetworkRecord]:
    """A copy of each survivor of an arm, planned for training.

    Args:
        number: of the stage, counted as a round.
        following: the first id that is free.
    """
    births = [
        Birth(following + index, network.id, planner.seed(number, index), generations=0, recipe=network.recipe)
        for index, network in enumerate(survivors)
    ]
    return planner.bear(births, arm, number, planner.config.tune)


def jobs(config: EvolveConfig, planned: Iterable[NetworkRecord]) -> list[Training]:
    """What trains the copies."""
    return [Training(copy.id, copy.seed, config.tune, recipe=copy.recipe, tuning=True) for copy in planned]


def better(networks: Networks, of: Mapping[int, int]) -> list[int]:
    """Of each survivor and its copy the one that validates better; of one whose copy failed, itself."""
    pairs = [(networks[network], networks[copy]) for copy, network in of.items()]
    return [(best(pair) or pair[0]).id for pair in pairs]
