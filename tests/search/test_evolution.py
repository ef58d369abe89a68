import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netmorph.data import Dataset
from netmorph.errors import NetmorphError
from netmorph.files import SaveError
from netmorph.report.summary import summary
from netmorph.run import final_test
from netmorph.run.budget import Budget
from netmorph.run.config import EvolveConfig
from netmorph.run.ranking import front
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.rows import NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.search.births import Birth
from netmorph.search.evolution import EvolutionError, evolve
from netmorph.search.executors import far_handler, read_by
from netmorph.search.jobs import Job, Training, handler
from netmorph.search.progress import Progress
from netmorph.train.evaluation import predict
from netmorph.train.loop import train
from netmorph.train.nonfinite import NotFinite
from netmorph.workers.executor import Executor, Inline, Outcome, Processes
from netmorph.workers.shelf import Carried, Folder
from tests.train.tiny import CONFIG, open_or_create, run, told, weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evolve") / "run"
    run(folder)
    return folder


def networks(folder: Path, arm: str | None = None) -> list[NetworkRecord]:
    with Records.open(folder) as records:
        return records.networks(arm)


def go(folder: Path, executor: Executor, config: EvolveConfig = CONFIG, **more: Any) -> Result:
    with open_or_create(folder) as records:
        return evolve(folder, config, config.data.load(), records, executor, **more)


class Faulty:
    """Runs jobs in this process; `fails` says why one fails, or raises."""

    def __init__(self, folder: Path, fails: Any, config: EvolveConfig = CONFIG) -> None:
        self._inner = Inline(partial(handler, folder, config))
        self._fails = fails

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        for job in jobs:
            failure = self._fails(job)
            yield Outcome(job, None, failure) if failure else next(self._inner.run([job]))


# -- what a run records ------------------------------------------------------------------------------------------------


def test_every_round_makes_children_of_survivors(finished: Path) -> None:
    evolved = networks(finished, "evolve")
    assert [network.round for network in evolved] == [0, 0, 1, 1, 1, 2, 2, 2]
    by_id = {network.id: network for network in evolved}
    for network in evolved[CONFIG.founders :]:
        assert network.round > by_id[network.parent].round
        assert network.edits
    assert all(network.parent is None and network.edits == () for network in evolved[: CONFIG.founders])
    assert len({network.parent for network in evolved if network.round == 2}) == CONFIG.population
    assert sum(network.survivor for network in evolved) == CONFIG.population
    assert all(network.state == "trained" for network in networks(finished))
    ids = [network.id for network in networks(finished)]
    assert ids == list(range(1, len(ids) + 1))


def test_founders_are_alike_but_for_their_weights_and_both_families_live_on(finished: Path) -> None:
    evolved = networks(finished, "evolve")
    first, second = evolved[: CONFIG.founders]
    assert (first.parameters, first.flops) == (second.parameters, second.flops)
    assert first.numbers["loss"] != second.numbers["loss"]
    family = {first.id: first.id, second.id: second.id}
    for network in evolved[CONFIG.founders :]:
        family[network.id] = family[network.parent]
    assert sorted(family[network.id] for network in evolved if network.survivor) == [first.id, second.id]


def test_every_network_has_its_epochs_and_its_best_is_recorded(finished: Path) -> None:
    with Records.open(finished) as records:
        for network in records.networks():
            epochs = records.epochs(network.id)
            best = max(epochs, key=lambda epoch: (epoch.validation["accuracy"], -epoch.validation["loss"]))
            assert (network.score, network.numbers) == (best.score, best.validation)
            expected = {"evolve": 1 if network.parent else 2, "random": 2}
            if network.arm in expected:
                assert len(epochs) == expected[network.arm]


def test_edits_do_not_move_the_accuracy(finished: Path) -> None:
    edits = [edit for network in networks(finished, "evolve") for edit in network.edits]
    assert edits
    assert all(abs(edit.jump) < 0.005 and edit.error < 1e-5 and 0 < edit.share_new <= 0.75 for edit in edits)


def test_all_arms_train_for_as_many_flops_and_never_less_than_the_evolution(finished: Path) -> None:
    evolved, alone, random = (networks(finished, arm) for arm in ("evolve", "alone", "random"))
    start_epoch = evolved[0].training_flops // CONFIG.start_epochs
    for number in (1, 2):
        spent = [
            sum(network.training_flops for network in arm if network.round <= number)
            for arm in (evolved, [evolved[0], *alone], random)
        ]
        assert 0 <= spent[1] - spent[0] < start_epoch
        assert 0 <= spent[2] - spent[0] < max(network.training_flops for network in random)


def test_training_flops_are_those_of_the_epochs_made(finished: Path) -> None:
    with Records.open(finished) as records:
        start = records.networks("evolve")[0]
        epoch = start.training_flops // CONFIG.start_epochs
        for network in records.networks("alone"):
            assert network.training_flops == epoch * len(records.epochs(network.id))
            assert network.parameters == start.parameters
        assert epoch > 2 * 160 * start.flops  # forward, and more than that backward


def test_the_alone_arm_is_one_chain(finished: Path) -> None:
    alone = networks(finished, "alone")
    assert [network.parent for network in alone] == [1, *(network.id for network in alone[:-1])]


def test_random_networks_have_no_parents_and_differ(finished: Path) -> None:
    random = networks(finished, "random")
    assert all(network.parent is None and network.edits for network in random)
    assert len({(network.parameters, network.numbers["loss"]) for network in random}) == len(random)


def test_the_result_has_its_documented_keys(finished: Path) -> None:
    with Records.open(finished) as records:
        result, survivors = records.meta("result"), [n.id for n in records.networks("evolve") if n.survivor]
        assert records.meta("status") == "finished"
        assert records.meta("round") == 2
        told = summary(records)
        assert {key: told.pop(key) for key in ("status", "round")} == {"status": "finished", "round": 2}
        assert told.pop("verdict").endswith(".")
        assert told.pop("noise") is None  # no session said how many validation samples there are
        assert [network["id"] for network in told.pop("networks")] == [network.id for network in records.networks()]
        assert told == result
        assert Result.from_json(result).as_json() == result
    assert set(result) == {
        "best", "arm", "evolved", "ensemble", "members", "baselines", "classification", "values", "text", "calibration",
        "constant", "training_flops", "seconds", "front",
    }  # fmt: skip
    numbers = {f"{part}_{name}" for part in ("test", "validation") for name in ("loss", "accuracy", "top5")}
    entry = {"id", *numbers, "parameters", "flops"}
    ensemble = {"test_loss", "test_accuracy", "test_top5", "parameters", "flops", "members"}
    assert set(result["best"]) == entry
    assert set(result["ensemble"]) == ensemble
    assert [set(member) for member in result["members"]] == [entry, entry]
    assert set(result["constant"]) == {"name", "test_loss", "test_accuracy", "test_top5"}
    assert result["values"] is result["text"] is None
    assert set(result["baselines"]) == {"alone", "random"}
    assert set(result["baselines"]["alone"]) == entry | {"training_flops"}
    assert set(result["baselines"]["random"]) == {"best", "ensemble", "training_flops", "networks"}
    assert set(result["baselines"]["random"]["best"]) == entry
    assert set(result["baselines"]["random"]["ensemble"]) == ensemble
    assert sorted(result["ensemble"]["members"]) == survivors
    assert result["evolved"] == result["members"][0]
    champions = {"evolve": result["evolved"], "alone": result["baselines"]["alone"]}
    champions["random"] = result["baselines"]["random"]["best"]
    assert result["best"]["id"] == champions[result["arm"]]["id"]
    assert result["best"]["validation_accuracy"] == max(one["validation_accuracy"] for one in champions.values())
    assert result["training_flops"] == sum(network.training_flops for network in networks(finished, "evolve"))


def test_only_what_is_needed_stays_on_the_shelf(finished: Path) -> None:
    files = {file.name for file in (finished / "networks").iterdir()}
    assert {name for name in files if name.endswith(".safetensors")} == {
        f"{network.id}.trained.safetensors" for network in networks(finished)
    }
    kept = {network.id for network in networks(finished, "evolve") if network.survivor}
    kept |= {network.id for network in front(networks(finished, "evolve"))}  # these may come back
    kept.add(networks(finished, "alone")[-1].id)
    assert files - {name for name in files if name.endswith(".safetensors")} == {
        f"{id}.trained.optimizer" for id in kept
    }


def test_progress_tells_every_round(tmp_path: Path) -> None:
    seen: list[Progress] = []
    go(tmp_path, Inline(partial(handler, tmp_path, CONFIG)), on_progress=seen.append)
    assert [progress.round for progress in seen if progress.finished] == [0, 1, 2]
    for number in range(3):
        steps = [progress for progress in seen if progress.round == number and not progress.finished]
        assert [step.done for step in steps] == list(range(steps[0].jobs + 1))
    assert seen[0].best is None
    assert seen[-1].best == max(network.score or 0 for network in networks(tmp_path, "evolve"))


def test_the_networks_are_read_once_and_once_more_for_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, everything = Records.networks, []
    monkeypatch.setattr(Records, "networks", lambda *given: everything.append(None) or read(*given))
    run(tmp_path)
    assert len(everything) == 2


def test_the_test_split_is_used_at_the_end_only_and_once_for_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever looks at the test split before the last job is done sees nonsense, and the records would differ."""
    run(tmp_path / "plain")
    tested: list[int] = []

    def counted(model: Any, split: Any, dataset: Dataset, views: int) -> Any:
        assert split is dataset.test
        with Records.open(tmp_path / "spied") as records:
            assert not [network for network in records.networks() if network.state == "planned"]
            assert records.meta("round") == 2
        tested.append(len(split))
        return predict(model, split, dataset, views=views)

    def without_test(config: Any) -> Dataset:
        dataset = original(config)
        return replace(dataset, test=replace(dataset.test, targets=(dataset.test.targets + 1) % 10))

    monkeypatch.setattr(final_test, "predict", counted)
    original = type(CONFIG.data).load
    monkeypatch.setattr(type(CONFIG.data), "load", without_test)
    run(tmp_path / "spied")
    plain, spied = told(tmp_path / "plain"), told(tmp_path / "spied")
    assert spied[:2] == plain[:2]
    assert spied[2] != plain[2]
    random = sum(network.survivor for network in networks(tmp_path / "spied", "random"))
    assert len(tested) <= CONFIG.population + random + 1


# -- the same seed, the same numbers -----------------------------------------------------------------------------------


def test_the_numbers_depend_on_the_seed_alone(finished: Path, tmp_path: Path) -> None:
    run(tmp_path / "again")
    assert told(tmp_path / "again") == told(finished)
    assert weights(tmp_path / "again") == weights(finished)
    run(tmp_path / "other", replace(CONFIG, seed=1))
    assert told(tmp_path / "other")[0] != told(finished)[0]


def test_the_numbers_do_not_depend_on_the_workers(finished: Path, tmp_path: Path) -> None:
    with Processes(partial(handler, tmp_path, CONFIG), workers=2) as executor:
        go(tmp_path, executor)
    assert told(tmp_path) == told(finished)
    assert weights(tmp_path) == weights(finished)


def test_the_numbers_do_not_depend_on_whether_workers_see_the_run_folder(finished: Path, tmp_path: Path) -> None:
    dataset = CONFIG.data.load()
    store = NetworkStore(tmp_path, CONFIG.base(dataset), CONFIG.recipe)
    inner = Inline(partial(far_handler, CONFIG, dataset.fingerprint))
    go(tmp_path, Carried(inner, Folder(store.folder), partial(read_by, store)))
    assert told(tmp_path) == told(finished)
    assert weights(tmp_path) == weights(finished)
    with pytest.raises(NetmorphError, match=r"the data 'digits' on .* is not that of this machine"):
        far_handler(CONFIG, "of other data")


class Stopped(Exception):
    """Stands for a power cut."""


def test_a_run_stopped_at_any_job_goes_on_to_the_same_end(finished: Path, tmp_path: Path) -> None:
    stops = 0

    def stop_at_every_second_job(job: Job) -> None:
        nonlocal stops
        if job not in seen:
            seen.append(job)
            if len(seen) % 2:
                stops += 1
                raise Stopped
        if isinstance(job, Birth):
            born.append((job.id, job.seed))

    seen: list[Job] = []
    born: list[tuple[int, int]] = []
    while True:
        try:
            go(tmp_path, Faulty(tmp_path, stop_at_every_second_job))
            break
        except Stopped:
            with Records.open(tmp_path) as records:
                assert records.meta("result") is None
                summary(records)
    assert stops > 8
    assert len(born) == len(set(born)) > 8  # those that were done are not done again
    assert told(tmp_path) == told(finished)
    assert weights(tmp_path) == weights(finished)


def test_a_run_stopped_at_any_commit_goes_on_to_the_same_end(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stops before each commit of rising number, so that no state between two of them is left out."""
    with monkeypatch.context() as patch:
        put, commits, limit = Records.set_meta, 0, 1

        def stopping(records: Records, key: str, value: Any) -> None:
            nonlocal commits
            put(records, key, value)  # inside a transaction most of the time: what it wrote is undone
            commits += 1
            if commits >= limit:
                raise Stopped

        patch.setattr(Records, "set_meta", stopping)
        for limit in range(1, 40, 5):  # noqa: B007
            commits = 0
            try:
                run(tmp_path)
            except Stopped:
                continue
            break
    run(tmp_path)
    assert told(tmp_path) == told(finished)
    assert weights(tmp_path) == weights(finished)


def test_a_run_stopped_while_it_makes_up_for_failures_goes_on_to_the_same_end(tmp_path: Path) -> None:
    config = replace(CONFIG, budget=Budget(rounds=1))
    random, stop_at = CONFIG.founders + CONFIG.children + 2, [0]  # the first random network, after the one of "alone"

    def fails(job: Job) -> str | None:
        if isinstance(job, Training) and job.id == stop_at[0]:
            stop_at[0] = 0
            raise Stopped
        return "no luck" if isinstance(job, Training) and job.id == random else None

    go(tmp_path / "whole", Faulty(tmp_path / "whole", fails, config), config)
    last = networks(tmp_path / "whole")[-1]
    assert (last.arm, last.survivor) == ("random", True)
    stop_at[0] = last.id
    with pytest.raises(Stopped):
        go(tmp_path / "cut", Faulty(tmp_path / "cut", fails, config), config)
    go(tmp_path / "cut", Faulty(tmp_path / "cut", fails, config), config)
    assert told(tmp_path / "cut") == told(tmp_path / "whole")


def test_a_finished_run_stays_as_it_is(finished: Path) -> None:
    before, files = told(finished), weights(finished)
    assert run(finished).as_json()["best"] == (before[2] or {})["best"]
    assert (told(finished), weights(finished)) == (before, files)


def test_other_data_under_a_run_is_noticed(tmp_path: Path) -> None:
    run(tmp_path, replace(CONFIG, budget=Budget(rounds=1)))
    with Records.resume(tmp_path) as records:
        records.set_meta("result", None)
        records.set_meta("fingerprint", "of other data")
    with pytest.raises(EvolutionError, match="the data 'digits' is not what this run began with"):
        run(tmp_path)


# -- budgets -----------------------------------------------------------------------------------------------------------


def test_a_flops_budget_ends_with_the_round_that_reaches_it(finished: Path, tmp_path: Path) -> None:
    evolved = networks(finished, "evolve")
    start, first = (sum(n.training_flops for n in evolved if n.round <= number) for number in (0, 1))
    for index, (budget, rounds) in enumerate(((start, 0), (start + 1, 1), (first, 1))):
        folder = tmp_path / str(index)
        run(folder, replace(CONFIG, budget=Budget(flops=budget)))
        assert max(network.round for network in networks(folder)) == rounds


def test_no_budget_at_all_is_still_a_result(tmp_path: Path) -> None:
    result = run(tmp_path, replace(CONFIG, budget=Budget(seconds=1e-9)))
    assert sorted(member.id for member in result.members) == [1, 2]
    assert result.baselines == {}


def test_a_time_budget_is_kept_over_sessions(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        records.set_meta("seconds", 1000.0)
    config = replace(CONFIG, budget=Budget(seconds=1000))
    result = run(tmp_path, config)
    assert result.seconds > 1000
    assert len(networks(tmp_path)) == CONFIG.founders


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_child_that_diverges_is_recorded_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(model: Any, dataset: Any, recipe: Any, **more: Any) -> Any:
        if more["seed"] in doomed:
            raise NotFinite("the loss is nan")
        return train(model, dataset, recipe, **more)

    run(tmp_path / "sound", replace(CONFIG, budget=Budget(rounds=1)))
    child, alone = 3, 6
    doomed = {network.seed for network in networks(tmp_path / "sound") if network.id in (child, alone)}
    monkeypatch.setattr("netmorph.search.jobs.train", diverging)
    result = run(tmp_path / "run")
    by_id = {network.id: network for network in networks(tmp_path / "run")}
    assert (by_id[child].arm, by_id[alone].arm) == ("evolve", "alone")
    for id in (child, alone):
        assert by_id[id].state == "failed"
        assert by_id[id].failure == "NotFinite: the loss is nan"
        assert by_id[id].score is None
        assert not by_id[id].survivor
    assert max(network.round for network in by_id.values()) == 2
    assert not any(network.parent in (child, alone) for network in by_id.values())
    assert child not in result.front


def test_a_whole_round_that_fails_leaves_the_population(tmp_path: Path) -> None:
    def fails(job: Job) -> str | None:
        return "no luck" if isinstance(job, Training) and job.id > 1 else None

    result = go(tmp_path, Faulty(tmp_path, fails))
    assert [member.id for member in result.members] == [1]
    assert result.baselines["alone"].best.id == 1
    assert "random" not in result.baselines


def test_births_that_fail_are_recorded_and_made_up_for(tmp_path: Path) -> None:
    failed: list[int] = []

    def fails(job: Job) -> str | None:
        random = isinstance(job, Birth) and not job.inherit
        if isinstance(job, Birth) and (job.id == 3 or (random and len(failed) < 3)):
            failed.append(job.id)
            return "its worker process died"
        return None

    go(tmp_path, Faulty(tmp_path, fails))
    by_id = {network.id: network for network in networks(tmp_path)}
    assert len(failed) == 3
    assert all(by_id[id].failure == "its worker process died" for id in failed)
    assert all(by_id[id].state == "failed" and by_id[id].training_flops == 0 for id in failed)
    spent = {arm: sum(n.training_flops for n in networks(tmp_path, arm)) for arm in ("evolve", "random")}
    assert spent["random"] >= spent["evolve"]


def test_a_random_search_that_cannot_bear_anything_does_not_go_on_for_ever(tmp_path: Path) -> None:
    result = go(tmp_path, Faulty(tmp_path, lambda job: "no" if isinstance(job, Birth) and not job.inherit else None))
    assert "random" not in result.baselines
    assert len(result.members) == 2


def test_a_start_network_that_fails_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    for index, (kind, message) in enumerate(((Birth, "could not be made"), (Training, "could not be trained"))):
        folder = tmp_path / str(index)
        for _ in range(2):  # resuming tells the same
            with pytest.raises(EvolutionError, match=f"start network {message}: no luck"):
                go(folder, Faulty(folder, lambda job, kind=kind: "no luck" if isinstance(job, kind) else None))


def test_children_that_cannot_be_made_end_the_run_with_what_there_is(tmp_path: Path) -> None:
    result = go(tmp_path, Faulty(tmp_path, lambda job: "no luck" if isinstance(job, Birth) and job.parent else None))
    children = [network for network in networks(tmp_path, "evolve") if network.round == 1]
    assert {network.failure for network in children} == {"no luck"}
    assert result.evolved.id in [network.id for network in networks(tmp_path, "evolve") if network.round == 0]


def test_a_learning_rate_that_is_too_high_is_explained(tmp_path: Path) -> None:
    config = replace(CONFIG, recipe=replace(CONFIG.recipe, learning_rate=1e30))
    with pytest.raises(EvolutionError, match=r"start network could not be trained: .*Lower the learning rate"):
        run(tmp_path, config)


def test_a_full_disk_stops_the_run_and_it_goes_on_later(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netmorph import tensor_files

    save, written = tensor_files.save_file, 0

    def filling(*given: Any, **more: Any) -> None:
        nonlocal written
        written += 1
        if written > 9:
            raise OSError(28, "No space left on device")
        save(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(tensor_files, "save_file", filling)
        with pytest.raises(SaveError, match="No space left on device"):
            run(tmp_path)
    run(tmp_path)
    assert told(tmp_path) == told(finished)
    assert weights(tmp_path) == weights(finished)


def test_no_number_of_a_result_is_missing(finished: Path) -> None:
    result = told(finished)[2] or {}
    for entry in (result["best"], result["baselines"]["alone"], result["baselines"]["random"]["best"]):
        assert all(math.isfinite(entry[key]) for key in ("test_accuracy", "validation_accuracy", "flops"))
        assert 0 <= entry["test_accuracy"] <= 1


def test_a_round_that_would_take_too_long_is_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Births of the plan that was given up leave nothing behind that the next ones could trip over."""

    def too_long(self: object, planned: list[NetworkRecord]) -> bool:
        return sum(network.arm == "evolve" for network in planned) > 1

    monkeypatch.setattr("netmorph.search.allowance.Allowance.too_long", too_long)
    result = run(tmp_path)
    assert {network.state for network in networks(tmp_path)} == {"trained"}
    assert sum(network.arm == "evolve" and network.round == 1 for network in networks(tmp_path)) == 1
    assert result.baselines["random"].training_flops >= result.training_flops
