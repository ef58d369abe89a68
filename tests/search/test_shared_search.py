"""An evolution whose networks share their weights: what it records, and that nothing stops it for good."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import netmorph
from netmorph.measure.cost import cost
from netmorph.report.summary import summary
from netmorph.run.budget import Budget
from netmorph.run.config import DataConfig
from netmorph.run.names import Drawing, Inheritance, Selecting, Stage, State
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.run.store import NetworkStore, pool_with
from netmorph.search import jobs
from netmorph.search.baselines import Alone
from netmorph.search.births import Birth
from netmorph.search.descent import Evolution
from netmorph.search.evolution import evolve
from netmorph.search.executors import far_handler, read_by
from netmorph.search.jobs import Job, Joint, Worker, handler
from netmorph.sharing import Pool, by_rank, shared
from netmorph.sharing.files import load_pool, save_kept
from netmorph.train.evaluation import evaluate
from netmorph.workers.executor import Inline
from netmorph.workers.outcomes import Outcome
from netmorph.workers.shelf import Carried, Folder
from tests.train.tiny import CONFIG, open_or_create, told, weights

SHARED = replace(
    CONFIG,
    data=DataConfig("digits", train_size=96, validation=0.05),
    weights=Inheritance.SHARED,
    select=Selecting.RANK,
    start_epochs=1,
    children=2,
    budget=Budget(rounds=2),
)


def go(folder: Path, fails: Any = lambda job: None) -> None:
    """Runs jobs in this process; `fails` says why one fails, or raises."""
    inner = Inline(partial(handler, folder, SHARED))

    class Faulty:
        def run(self, jobs: Any) -> Any:
            for job in jobs:
                failure = fails(job)
                yield Outcome(job, None, failure) if failure else next(inner.run([job]))

    with open_or_create(folder) as records:
        evolve(folder, SHARED, SHARED.data.load(), records, Faulty(), arms=(Evolution.of, Alone))


def evolved(folder: Path) -> list[NetworkRecord]:
    return [network for network in told(folder)[0] if network.arm == "evolve"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared") / "run"
    go(folder)
    return folder


def test_survivors_live_on_as_copies_and_each_is_trained_beside_the_children(finished: Path) -> None:
    networks = evolved(finished)
    assert [network.round for network in networks] == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    by_id = {network.id: network for network in networks}
    for number in (1, 2):
        copies = [network for network in networks if network.round == number][:2]
        assert all(network.edits == () and network.flops == by_id[network.parent].flops for network in copies)
        assert len({network.parent for network in copies}) == 2
    assert all(network.round == 2 for network in networks if network.survivor)
    with Records.open(finished) as records:
        for network in networks[2:]:
            epochs = records.epochs(network.id)
            assert len(epochs) == SHARED.recipe.epochs
            assert network.score == epochs[-1].score
        assert summary(records)["status"] == "finished"


def test_a_round_of_a_family_is_one_file_of_which_each_network_is_read(finished: Path) -> None:
    data = SHARED.data.load()
    store = NetworkStore(finished, SHARED.base(data), SHARED.recipe)
    for network in evolved(finished)[2:]:
        path = pool_with(finished, network.id)
        assert path is not None
        assert not store.path(network.id).exists()
        model, journal, _ = store.take(network.id)
        assert len(journal) >= len(network.edits)
        assert sum(value.numel() for value in model.parameters()) == network.parameters
        found = evaluate(model, data.validation, data)
        assert found.numbers == network.numbers
        pool, _ = load_pool(path)
        assert len(pool.networks) == 1 or shared(pool, network.id) > 0
    best = max(evolved(finished)[2:], key=lambda network: network.id)
    model, _ = netmorph.load(f"{finished}:{best.id}")  # written out for whoever asks
    again, _ = netmorph.load(store.path(best.id))
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    store.path(best.id).unlink()


def test_training_flops_are_those_of_the_networks_that_were_drawn_and_the_baseline_gets_as_many(
    finished: Path,
) -> None:
    networks = told(finished)[0]
    data = SHARED.data.load()
    for number in (1, 2):
        joint = [network for network in networks if network.arm == "evolve" and network.round == number]
        samples = sum(network.training_flops / _flops_of_a_sample(network, finished) for network in joint)
        assert samples == pytest.approx(len(joint) * SHARED.recipe.epochs * len(data.train), rel=1e-3)
    spent = sum(network.training_flops for network in networks if network.arm == "evolve")
    alone = networks[0].training_flops + sum(n.training_flops for n in networks if n.arm == "alone")
    assert 0 <= alone - spent < 2 * networks[0].training_flops


def _flops_of_a_sample(network: NetworkRecord, folder: Path) -> float:
    data = SHARED.data.load()
    model, *_ = NetworkStore(folder, SHARED.base(data), SHARED.recipe).take(network.id)
    return cost(model, torch.randn(2, *data.input_shape)).training_flops


def test_rank_draws_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`by_rank` itself is tested beside `train_together`; here: it gets the survivors' copies first."""
    asked: list[tuple[list[int], Any]] = []

    def note(pool: Pool, models: Any, *given: Any, choose: Any, **more: Any) -> None:
        asked.append(([*models], choose))
        raise RuntimeError("that is all")

    monkeypatch.setattr(jobs, "train_together", note)
    config = replace(SHARED, draw=Drawing.RANK, budget=Budget(rounds=1), founders=1)
    with open_or_create(tmp_path) as records:
        executor = Inline(partial(handler, tmp_path, config))
        evolve(tmp_path, config, config.data.load(), records, executor, arms=(Evolution.of,))
    assert asked == [([2, 3, 4], by_rank)]
    assert evolved(tmp_path)[1].edits == ()
    with pytest.raises(netmorph.NetmorphError, match=r"draw=rank says which .* these are inherited"):
        replace(CONFIG, draw=Drawing.RANK)
    with pytest.raises(netmorph.NetmorphError, match=r"unknown way to draw networks 'ranked' .did you mean 'rank'"):
        replace(SHARED, draw="ranked")


def test_recipes_do_not_differ() -> None:
    with pytest.raises(netmorph.NetmorphError, match="with one recipe"):
        replace(SHARED, mutate_recipe=True)


def test_far_workers_get_what_they_need_and_send_back_what_they_wrote(finished: Path, tmp_path: Path) -> None:
    data = SHARED.data.load()
    store = NetworkStore(tmp_path, SHARED.base(data), SHARED.recipe)
    far = Inline(partial(far_handler, SHARED, data.fingerprint))
    with open_or_create(tmp_path) as records:
        carried = Carried(far, Folder(store.folder), partial(read_by, store))
        evolve(tmp_path, SHARED, data, records, carried, arms=(Evolution.of, Alone))
    assert told(tmp_path) == told(finished)
    assert weights(tmp_path) == weights(finished)
    assert Joint((4, 5), 0, 1, (2,)).reads == ((4, "born"), (5, "born"), (2, "trained"))


class Stopped(Exception):
    """Stands for a power cut."""


def test_a_run_stopped_at_any_job_goes_on_to_the_same_end(finished: Path, tmp_path: Path) -> None:
    seen: list[Job] = []

    def stop_at_every_second_job(job: Job) -> None:
        if job not in seen:
            seen.append(job)
            if len(seen) % 2:
                raise Stopped

    for _ in range(40):
        try:
            go(tmp_path, stop_at_every_second_job)
            break
        except Stopped:
            pass
    assert sum(isinstance(job, Joint) for job in seen) >= 3
    assert told(tmp_path) == told(finished)
    assert weights(tmp_path) == weights(finished)


def test_a_round_is_recorded_whole_or_not_at_all(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stops between two networks of one job, and between the record and the removal of births."""
    for where, method, calls in ((Records, "replace_epochs", 4), (NetworkStore, "drop", 5)):
        with monkeypatch.context() as patch:
            original, left = getattr(where, method), [calls]

            def stopping(*given: Any, original: Any = original, left: list[int] = left) -> Any:
                left[0] -= 1
                if not left[0]:
                    raise Stopped
                return original(*given)

            patch.setattr(where, method, stopping)
            with pytest.raises(Stopped):
                go(tmp_path)
    go(tmp_path)
    assert told(tmp_path) == told(finished)
    assert weights(tmp_path) == weights(finished)


def test_a_network_that_fails_is_left_behind_by_its_family(tmp_path: Path) -> None:
    """As if it had not been born; the others train what they share with its parent."""
    data = SHARED.data.load()
    worker = Worker(tmp_path, SHARED, data)
    expected: dict[int, Any] = {}
    poisoned: list[int] = []

    def poison(job: Job) -> None:
        if isinstance(job, Joint) and not poisoned:
            *rest, child = job.ids
            poisoned.append(child)
            expected.update(worker.train_together(replace(job, ids=tuple(rest))))
            model, journal, _ = worker.store.take(child, Stage.BORN)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(torch.nan)
            worker.store.put(child, Stage.BORN, model, journal, None)
            save_kept(worker.store.kept(child), job.parents[0], {})

    go(tmp_path, poison)
    by_id = {network.id: network for network in evolved(tmp_path)}
    (child,) = poisoned
    assert by_id[child].state == State.FAILED
    assert str(by_id[child].failure).startswith("NotFinite: the loss is nan in epoch 1, training step")
    assert all(by_id[id].state == State.TRAINED for id in by_id if id != child)
    assert expected
    for id, trained in expected.items():
        assert by_id[id].numbers == trained.history[-1].validation
        assert by_id[id].training_flops > 0


def test_a_family_that_fails_stays_as_it_was(tmp_path: Path) -> None:
    failed: list[Joint] = []

    def fails(job: Job) -> str | None:
        if isinstance(job, Joint) and not failed:
            failed.append(job)
        lost = isinstance(job, Joint) and job is failed[0]
        return "no luck" if lost or (isinstance(job, Birth) and job.id == 3) else None

    go(tmp_path, fails)
    by_id = {network.id: network for network in evolved(tmp_path)}
    assert all(by_id[id].state == "failed" for id in (*failed[0].ids, 3))
    again = [network for network in by_id.values() if network.round == 2]
    assert all(network.state == "trained" for network in again)
    assert any(by_id[network.parent].round == 0 for network in again)
    assert any(by_id[network.parent].round == 1 for network in again)
