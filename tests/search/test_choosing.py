"""Who lives on, by what a run records and keeps."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.measure.timing import latency
from netmorph.run.budget import Budget
from netmorph.run.config import EvolveConfig, as_json
from netmorph.run.names import Against, Selecting, State
from netmorph.run.ranking import spent
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.search.choosing import COSTS, latency_of, worths_of
from netmorph.search.descent import Evolution
from netmorph.search.evolution import evolve
from netmorph.search.jobs import Job, Training, handler
from netmorph.search.networks import Networks
from netmorph.search.weights import Fresh
from netmorph.tasks.criterion import ACCURACY, BY_LOSS
from netmorph.train.evaluation import answers, evaluate
from netmorph.workers.executor import Inline
from tests.search.test_evolution import Faulty
from tests.train.tiny import CONFIG, run


def networks(folder: Path, arm: str = "evolve") -> list[NetworkRecord]:
    with Records.open(folder) as records:
        return records.networks(arm)


@pytest.fixture(scope="module")
def covering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that chooses by the answers to each example, against latency, and smooths."""
    folder = tmp_path_factory.mktemp("choosing") / "run"
    run(folder, replace(CONFIG, budget=Budget(rounds=1), select=Selecting.COVER, against=Against.LATENCY, smooth=True))
    return folder


def test_answers_are_kept_of_the_populations_alone(covering: Path) -> None:
    kept = {int(file.name.partition(".")[0]) for file in (covering / "networks").glob("*.answers.safetensors")}
    survivors = [network for arm in ("evolve", "alone", "random") for network in networks(covering, arm)]
    assert kept == {network.id for network in survivors if network.survivor}


def test_the_first_of_a_cover_answers_most_and_latencies_are_recorded(covering: Path) -> None:
    evolved = networks(covering)
    assert max(network.score or 0 for network in evolved) in {one.score for one in evolved if one.survivor}
    assert sum(network.survivor for network in evolved) == CONFIG.population
    assert all(network.latency and 0 < network.latency < 1 for network in evolved)
    assert latency_of(replace(evolved[0], latency=None)) == float("inf")


def test_a_run_that_smooths_compares_by_the_probability_of_the_right_answers(covering: Path) -> None:
    evolved = networks(covering)
    assert all(network.smoothed and 0 < network.smoothed < 1 for network in evolved)
    survivors = sorted((one for one in evolved if one.survivor), key=lambda network: -(network.smoothed or 0))
    with Records.open(covering) as records:
        found = records.meta("result")
    assert found["evolved"]["id"] == survivors[0].id
    assert [member["id"] for member in found["members"]] == [network.id for network in survivors]


def test_the_old_die(tmp_path: Path) -> None:
    config = replace(CONFIG, max_age=1, select=Selecting.BEST)
    with Records.create(tmp_path) as records:
        records.set_meta("config", as_json(config))
        executor = Inline(partial(handler, tmp_path, config))
        evolve(tmp_path, config, config.data.load(), records, executor, arms=(Evolution.of,))
    evolved = networks(tmp_path)
    assert {network.round for network in evolved if network.survivor} == {2}
    with Records.open(tmp_path) as records:
        found = records.meta("result")
    best = max(evolved, key=lambda network: (network.score or 0, -network.numbers["loss"], -network.flops))
    assert found["evolved"]["id"] == best.id  # though it may be dead


def test_answers_to_each_sample_have_the_numbers_of_all_as_their_means() -> None:
    data = CONFIG.data.load()
    model = CONFIG.base(data).build()
    found, told = answers(model, data.validation, data, batch_size=7), evaluate(model, data.validation, data)
    assert found.keys() == told.numbers.keys()
    for name, values in found.items():
        assert values.shape == (len(data.validation),)
        assert values.mean().item() == pytest.approx(told[name], rel=1e-5)
    assert found["accuracy"].unique().tolist() == [0, 1]
    assert worths_of(found, ACCURACY).tolist() == found["accuracy"].tolist()
    torch.testing.assert_close(torch.from_numpy(worths_of(found, BY_LOSS)).float(), (-found["loss"]).exp())
    assert latency(model, data.validation.inputs[:1].float()) > 0


def test_the_front_of_an_arm_is_held_as_networks_come(tmp_path: Path) -> None:
    def network(id: int, score: float | None, flops: int, arm: str = "evolve") -> NetworkRecord:
        state = "planned" if score is None else "trained"
        return replace(START, id=id, score=score, flops=flops, arm=arm, state=state)

    with Records.create(tmp_path / "run") as records:
        held, flops = Networks(records), COSTS[Against.FLOPS]
        for one in (network(1, 0.5, 10), network(2, 0.9, 30), network(3, None, 20)):
            held.put(one)
        assert [one.id for one in held.front("evolve", flops)] == [1, 2]
        held.put(network(3, 0.7, 20))
        held.put(network(4, 0.99, 1, "random"))
        assert [one.id for one in held.front("evolve", flops)] == [1, 3, 2]
        held.put(network(5, 0.95, 15))
        assert [one.id for one in held.front("evolve", flops)] == [1, 5]
        assert [one.id for one in Networks(records).front("evolve", flops)] == [1, 5]


START = NetworkRecord(1, "evolve", 0, None, 0, "trained", 1, 1, 1, 0.0, 0.5, {"loss": 1.0}, False, (), None)


def test_what_is_asked_wrongly_is_told() -> None:
    with pytest.raises(NetmorphError, match=r"unknown selection 'fronts' \(did you mean 'front'\?\)"):
        EvolveConfig(select="fronts")  # type: ignore[arg-type]
    with pytest.raises(NetmorphError, match="known are flops, parameters, latency"):
        EvolveConfig(against="watts")  # type: ignore[arg-type]
    with pytest.raises(NetmorphError, match="max_age must be at least 1"):
        EvolveConfig(max_age=0)


def test_a_round_that_ends_twice_keeps_its_cover_and_evens_baselines_out(tmp_path: Path) -> None:
    """A baseline's child fails in the last round: it is made up for, and the round ends once more."""
    config = replace(CONFIG, budget=Budget(rounds=1), select=Selecting.COVER)
    fresh, failed = partial(Evolution, weights=Fresh(), name="fresh"), list[int]()

    def fails(job: Job) -> str | None:
        mine = isinstance(job, Training) and job.epochs == CONFIG.start_epochs and job.id > 2 * CONFIG.founders
        if mine and not failed:
            failed.extend(job.ids)
            return "killed"
        return None

    with Records.create(tmp_path) as records:
        executor, dataset = Faulty(tmp_path, fails, config), config.data.load()
        evolve(tmp_path, config, dataset, records, executor, arms=(Evolution.of, fresh))
    lead, other = networks(tmp_path), networks(tmp_path, "fresh")
    trained = [network for network in other if network.state == State.TRAINED]
    assert [network.id for network in other if network.state == State.FAILED] == failed
    assert spent(trained) >= spent(lead)
    assert len({network.seed for network in other}) == len(other)
    assert sum(network.survivor for network in lead) == CONFIG.population
