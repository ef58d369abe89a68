"""Local search and a designed network beside the evolution, at equal training FLOPs."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from netmorph import load
from netmorph.measure.cost import cost
from netmorph.report.summary import found_by, rows
from netmorph.run.budget import Budget
from netmorph.run.ranking import ranked, spent
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.rows import NetworkRecord
from netmorph.search.baselines import LocalSearch, designed
from netmorph.search.descent import Evolution
from netmorph.search.evolution import evolve
from netmorph.search.jobs import handler
from netmorph.tasks.criterion import ACCURACY
from netmorph.train.inputs import examples
from netmorph.workers.executor import Inline
from tests.train.tiny import CONFIG, open_or_create

ARMS = (Evolution.of, LocalSearch, designed("lenet5", {"width": 0.25}))
DATA = CONFIG.data.load()


def go(folder: Path) -> Result:
    with open_or_create(folder) as records:
        return evolve(folder, CONFIG, DATA, records, Inline(partial(handler, folder, CONFIG)), arms=ARMS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baselines") / "run"
    go(folder)
    return folder


def of(folder: Path, arm: str) -> list[NetworkRecord]:
    with Records.open(folder) as records:
        return records.networks(arm)


def test_local_search_stands_on_the_best_and_has_had_as_many_flops(finished: Path) -> None:
    evolved, local = of(finished, "evolve"), of(finished, "local")
    start = evolved[0]
    first, second = (ranked([start, *(one for one in local if one.round <= number)])[0].id for number in (1, 2))
    assert {network.parent for network in local if network.round == 1} == {start.id}
    assert {network.parent for network in local if network.round == 2} == {first}
    assert [network.id for network in local if network.survivor] == [second] * (second != start.id)
    assert all(network.edits for network in local)
    assert 0 <= spent([start, *local]) - spent(evolved) < max(network.training_flops for network in local)


def test_a_designed_network_is_trained_from_scratch_and_then_on(finished: Path) -> None:
    evolved, chain = of(finished, "evolve"), of(finished, "designed")
    assert [network.parent for network in chain] == [None, chain[0].id]
    model, journal = load(f"{finished}:{chain[-1].id}")
    assert journal == ()
    price = cost(model, examples(DATA, model, 2))
    assert (price.parameters, price.flops) == (chain[0].parameters, chain[0].flops)
    assert chain[0].parameters != evolved[0].parameters
    assert 0 <= spent(chain) - spent(evolved) < price.training_flops * len(DATA.train)


def test_the_result_tells_of_both(finished: Path) -> None:
    with Records.open(finished) as records:
        found = found_by(records)
    local, chain = found.baselines["local"], found.baselines["designed"]
    assert local.networks is None
    assert (chain.networks, chain.ensemble) == (2, None)
    told = {row.name: row for row in rows(found, ACCURACY)}
    assert told["Local search"].training_flops == local.training_flops
    assert told["Designed network from scratch, best"].training_flops == chain.training_flops


@pytest.mark.slow
def test_a_run_with_them_goes_on_as_if_it_had_not_stopped(finished: Path, tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        short = replace(CONFIG, budget=Budget(rounds=1))
        evolve(tmp_path, short, DATA, records, Inline(partial(handler, tmp_path, short)), arms=ARMS)
        records.set_meta("result", None)
    go(tmp_path)
    for arm in ("evolve", "local", "designed"):
        assert [replace(one, seconds=0.0) for one in of(tmp_path, arm)] == [
            replace(one, seconds=0.0) for one in of(finished, arm)
        ]
