"""A further arm beside the three: the driver takes it along without knowing it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from netmorph import report
from netmorph.report.summary import found_by
from netmorph.run.budget import Budget
from netmorph.run.names import State
from netmorph.run.ranking import ranked, spent
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.search.arms import ARMS
from netmorph.search.births import Birth
from netmorph.search.descent import Evolution
from netmorph.search.evolution import evolve
from netmorph.search.jobs import Job, Training, handler
from netmorph.search.planning import EvolutionError, Planner, Round
from netmorph.search.weights import Fresh
from netmorph.workers.executor import Inline
from tests.search.test_evolution import Faulty, Stopped
from tests.train.tiny import CONFIG, open_or_create, run, told, weights


@dataclass(frozen=True)
class Restarts:
    """The start network from other random weights, again and again."""

    planner: Planner
    name: ClassVar[str] = "restarts"

    def plan(self, round: Round) -> list[NetworkRecord]:
        earlier = self.planner.networks.totals(self.name)
        made: list[NetworkRecord] = []
        while earlier.flops[State.TRAINED] + spent(made) < round.target:
            index = earlier.count + len(made)
            birth = Birth(round.following + len(made), None, self.planner.seed(0, index), generations=0)
            made += self.planner.bear([birth], self.name, round.number, self.planner.config.start_epochs)
        return made

    def jobs(self, planned: Sequence[NetworkRecord]) -> list[Training]:
        return [self.planner.from_scratch(network) for network in planned]

    def choose(self, number: int) -> list[int]:
        networks = self.planner.networks
        known = [*networks.survivors(self.name), *networks.in_round(self.name, number)]
        return [network.id for network in ranked(known)[: self.planner.config.population]]

    def parents(self) -> Iterable[int]:
        return []


WITH_RESTARTS = (*ARMS, Restarts)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arms") / "run"
    with open_or_create(folder) as records:
        evolve(
            folder, CONFIG, CONFIG.data.load(), records, Inline(partial(handler, folder, CONFIG)), arms=WITH_RESTARTS
        )
    return folder


def of(folder: Path, arm: str) -> list[NetworkRecord]:
    with Records.open(folder) as records:
        return records.networks(arm)


def test_a_further_arm_gets_as_many_flops(finished: Path) -> None:
    evolved, restarts = of(finished, "evolve"), of(finished, "restarts")
    assert {network.state for network in restarts} == {"trained"}
    assert 0 <= spent(restarts) - spent(evolved) < restarts[0].training_flops
    assert sum(network.survivor for network in restarts) == CONFIG.population
    assert len({network.numbers["loss"] for network in restarts}) == len(restarts)


def test_a_run_goes_on_with_the_arms_that_it_began_with(tmp_path: Path) -> None:
    config = replace(CONFIG, founders=1, budget=Budget(rounds=0))
    executor = Inline(partial(handler, tmp_path, config))
    with Records.create(tmp_path) as records:
        evolve(tmp_path, config, CONFIG.data.load(), records, executor, arms=WITH_RESTARTS)
        records.set_meta("result", None)
        for arms, message in (
            (ARMS, "begun with the arms evolve, alone, random, restarts, and is to go on with evolve, alone, random;"),
            ((*ARMS, Restarts, Restarts), "different names"),
            ((), "different names"),
        ):
            with pytest.raises(EvolutionError, match=message):
                evolve(tmp_path, config, CONFIG.data.load(), records, executor, arms=arms)


def test_the_result_and_the_report_tell_of_a_further_arm(finished: Path, tmp_path: Path) -> None:
    with Records.open(finished) as records:
        found = found_by(records)
    assert set(found.baselines) == {"alone", "random", "restarts"}
    restarts, networks = found.baselines["restarts"], of(finished, "restarts")
    survivors = ranked(network for network in networks if network.survivor)
    assert restarts.networks == len(networks)
    assert restarts.training_flops == spent(networks)
    assert restarts.best.id == survivors[0].id
    assert restarts.ensemble is not None
    assert restarts.ensemble.members == tuple(network.id for network in survivors)
    page = report.write(finished, tmp_path / "page.html").read_text("utf-8")
    assert page.count("Restarts, ensemble") == 2  # in the table and in the figure
    assert "restarts reaches" in page


def test_a_further_arm_changes_nothing_of_the_others(finished: Path, tmp_path: Path) -> None:
    run(tmp_path)
    for arm in ("evolve", "alone", "random"):
        # Only ids differ, which are given out in the order of the plans.
        with_it, without = (
            [replace(network, id=0, parent=None, seconds=0.0) for network in of(folder, arm)]
            for folder in (finished, tmp_path)
        )
        assert with_it == without


def test_a_run_with_a_further_arm_goes_on_to_the_same_end(finished: Path, tmp_path: Path) -> None:
    seen: list[Job] = []

    def stop_at_every_fifth_job(job: Job) -> None:
        if job not in seen:
            seen.append(job)
            if len(seen) % 5 == 0:
                raise Stopped

    for _ in range(100):
        try:
            with open_or_create(tmp_path) as records:
                executor = Faulty(tmp_path, stop_at_every_fifth_job)
                evolve(tmp_path, CONFIG, CONFIG.data.load(), records, executor, arms=WITH_RESTARTS)
            break
        except Stopped:
            pass
    assert len(seen) > 20
    assert told(tmp_path) == told(finished)
    assert weights(tmp_path) == weights(finished)


def test_several_evolutions_of_one_run_are_compared_at_equal_flops(tmp_path: Path) -> None:
    fresh = partial(Evolution, weights=Fresh(), name="fresh")
    with open_or_create(tmp_path) as records:
        executor = Inline(partial(handler, tmp_path, CONFIG))
        result = evolve(tmp_path, CONFIG, CONFIG.data.load(), records, executor, arms=(Evolution.of, fresh))
    lead, other = of(tmp_path, "evolve"), of(tmp_path, "fresh")
    largest = max(network.training_flops for network in other)
    assert 0 <= spent(other) - spent(lead) < largest
    assert [network.parent for network in other[: CONFIG.founders]] == [None] * CONFIG.founders
    mine = {network.id for network in other}
    children = other[CONFIG.founders :]
    assert children
    assert all(network.parent in mine and network.edits for network in children)
    with Records.open(tmp_path) as records:
        assert all(len(records.epochs(network.id)) == CONFIG.start_epochs for network in children)
    assert result.baselines["fresh"].ensemble is not None
