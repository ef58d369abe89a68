from dataclasses import replace
from pathlib import Path

import pytest
import torch

from netmorph.search.births import Birth
from netmorph.search.jobs import Trained, Training, Worker, converged, handler
from netmorph.train.history import Epoch, History
from netmorph.train.nonfinite import NotFinite
from tests.search.started import DATA, START, outputs, started
from tests.train.tiny import CONFIG


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return started(tmp_path)


def test_training_keeps_the_best_epoch_and_can_be_repeated(worker: Worker) -> None:
    job = Training(1, 12, 2)
    trained = worker(job)[1]
    assert isinstance(trained, Trained)
    assert len(trained.history) == 2
    content = worker.store.path(1).read_bytes()
    assert worker(job)[1].history == trained.history
    assert worker.store.path(1).read_bytes() == content
    assert handler(worker.run, CONFIG)(job)[1].history == trained.history


def test_a_recipe_of_its_own_trains_a_network_that_has_inherited_an_optimizer(worker: Worker) -> None:
    worker(Birth(2, 1, 3))
    trained = worker(Training(2, 5, 1, recipe={"learning_rate": 0.002, "weight_decay": 0.25}))[2]
    assert trained.history[0].learning_rate <= 0.002
    _, _, optimizer = worker.store.take(2)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.25]


def test_what_has_converged_is_not_trained_on(worker: Worker) -> None:
    whole = worker(Training(1, 12, 60))[1].history
    stopped = worker(Training(1, 12, 60, patience=3))[1].history
    assert stopped == whole[: len(stopped)]
    assert converged(stopped, 3)
    assert not converged(History(stopped[:-1]), 3)
    assert len(stopped) < 60


def test_a_loss_that_still_falls_is_no_progress_where_the_score_is_at_its_end() -> None:
    epochs = [
        Epoch(number, {"loss": 1.0}, {"loss": 1 / number, "accuracy": score}, score, 0.1, 0.0)
        for number, score in enumerate((0.5, 1.0, 1.0, 1.0), start=1)
    ]
    assert [converged(History(epochs[:count]), 2) for count in (1, 2, 3, 4)] == [False, False, False, True]


def test_training_goes_on_from_another_network(worker: Worker) -> None:
    history = worker(Training(9, 13, 1, source=1))[9].history
    assert len(history) == 1
    assert history[0].train["loss"] < worker(Training(1, 12, 2))[1].history[0].train["loss"]
    assert not torch.equal(outputs(worker, 9), outputs(worker, 1))


def test_a_loss_that_is_not_finite_fails_the_job(tmp_path: Path) -> None:
    worker = Worker(tmp_path, replace(CONFIG, recipe=replace(CONFIG.recipe, learning_rate=1e30)), DATA)
    worker(START)
    with pytest.raises(NotFinite, match="learning rate"):
        worker(Training(1, 12, 1))
