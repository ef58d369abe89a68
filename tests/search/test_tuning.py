"""The last stage of an evolution: survivors are trained on."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from netmorph.run.budget import Budget
from netmorph.run.database import FILE_NAME
from netmorph.run.names import State
from netmorph.run.records import Records
from netmorph.search import tuning
from netmorph.search.evolution import evolve
from netmorph.search.jobs import Training, handler
from netmorph.workers.executor import Inline, Outcome
from tests.train.tiny import CONFIG, open_or_create, run, told

TUNE = 3
TUNED_CONFIG = replace(CONFIG, budget=Budget(rounds=1), tune=TUNE)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune") / "run"
    run(folder, TUNED_CONFIG)
    return folder


def test_of_each_survivor_and_its_copy_the_better_one_is_in_the_ensemble(tuned: Path) -> None:
    with Records.open(tuned) as records:
        networks = {network.id: network for network in records.networks()}
        pairs = tuning.copies(records)
        epochs = {copy: records.epochs(copy) for copy in pairs}
        result = records.meta("result")
    assert len(pairs) == CONFIG.population
    better = {max((networks[network], networks[copy]), key=lambda n: n.score).id for copy, network in pairs.items()}
    assert set(result["ensemble"]["members"]) == better
    assert {network.id for network in networks.values() if network.survivor and network.arm == "evolve"} == better
    for copy, network in pairs.items():
        assert (networks[copy].parent, networks[copy].edits) == (network, ())
        rates = [epoch.learning_rate for epoch in epochs[copy]]
        assert len(rates) == TUNE
        assert rates == sorted(rates, reverse=True)


def test_tuning_is_counted_and_baselines_get_as_much(tuned: Path) -> None:
    with Records.open(tuned) as records:
        result, networks = records.meta("result"), records.networks("evolve")
        copies = [network for network in networks if network.round == 2]
    samples = 160 - 24  # without those of validation
    for network in copies:
        assert network.training_flops == pytest.approx(TUNE * samples * 3 * network.flops, rel=0.2)
    assert result["training_flops"] == sum(network.training_flops for network in networks)
    for arm in result["baselines"].values():
        assert arm["training_flops"] >= result["training_flops"]


@pytest.mark.parametrize("survived", [0, 1])
def test_a_run_that_was_killed_while_it_tuned_goes_on_to_the_same_end(tuned: Path, tmp_path: Path, survived) -> None:
    class Killed(Exception):
        pass

    class Mortal(Inline):
        def run(self, jobs):
            jobs = list(jobs)
            last = any(isinstance(job, Training) and job.tuning for job in jobs)
            for number, job in enumerate(jobs):
                if last and number == survived:
                    raise Killed
                yield from super().run([job])

    config = TUNED_CONFIG
    with open_or_create(tmp_path) as records, pytest.raises(Killed):
        evolve(tmp_path, config, config.data.load(), records, Mortal(partial(handler, tmp_path, config)))
    run(tmp_path, config)
    assert told(tmp_path) == told(tuned)


def test_a_survivor_whose_copy_failed_stays(tmp_path: Path) -> None:
    class Faulty(Inline):
        def run(self, jobs):
            for job in jobs:
                failed = isinstance(job, Training) and job.tuning
                yield Outcome(job, None, "a broken cable") if failed else next(super().run([job]))

    config = replace(TUNED_CONFIG, tune=1)
    with open_or_create(tmp_path) as records:
        evolve(tmp_path, config, config.data.load(), records, Faulty(partial(handler, tmp_path, config)))
        networks = {network.id: network for network in records.networks()}
        pairs = tuning.copies(records)
    assert all(networks[copy].state == State.FAILED for copy in pairs)
    assert all(networks[network].survivor for network in pairs.values())


def test_copies_that_wait_are_given_up_when_the_run_gets_another_budget(tuned: Path, tmp_path: Path) -> None:
    shutil.copy(tuned / FILE_NAME, tmp_path / FILE_NAME)
    with Records.resume(tmp_path) as records:
        first, *others = tuning.copies(records)
        waiting = next(network for network in records.networks() if network.id == first)
        records.put_network(replace(waiting, state=State.PLANNED, score=None, numbers={}))
        tuning.forget(records)
        states = {network.id: (network.state, network.training_flops > 0) for network in records.networks()}
        assert not tuning.copies(records)
    assert states[first] == (State.FAILED, False)
    assert all(states[other] == (State.TRAINED, True) for other in others)


def test_a_run_that_was_tuned_and_gets_one_more_round_makes_one(tuned: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned, tmp_path / "run")
    with Records.resume(tmp_path / "run") as records:
        records.set_meta("result", None)
        tuning.forget(records)
        tuning.forget(records)  # it is extended again, before it went on
    run(tmp_path / "run", replace(TUNED_CONFIG, budget=Budget(rounds=2), tune=0))
    with Records.open(tmp_path / "run") as records:
        children = {network.round for network in records.networks("evolve") if network.edits}
    assert max(children) == 3  # the second was that of tuning
