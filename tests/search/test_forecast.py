from dataclasses import replace

import pytest
import torch

from netmorph.run.budget import Budget
from netmorph.search.forecast import FOUNDERS, ROUND, forecast, seconds_per_epoch, shortened
from tests.train.tiny import CONFIG

LONG = replace(CONFIG, recipe=replace(CONFIG.recipe, epochs=100), start_epochs=300, founders=4, children=6)


def test_an_epoch_is_measured_with_the_threads_of_a_worker() -> None:
    dataset, before = CONFIG.data.load(), torch.get_num_threads()
    assert 0 < seconds_per_epoch(CONFIG.base(dataset).build(), dataset, CONFIG) < 10
    assert torch.get_num_threads() == before


def test_founders_and_rounds_are_told_for_the_workers_there_are() -> None:
    told = forecast(LONG, 0.01, workers=1)
    assert told.founders == pytest.approx(4 * 300 * 0.01)
    assert told.round > 3 * 6 * 100 * 0.01


def test_epochs_that_the_user_left_open_fit_a_budget_of_time() -> None:
    limited = replace(LONG, budget=Budget(seconds=60))
    short = shortened(limited, 0.01, 1, children=True, founders=True)
    told = forecast(short, 0.01, 1)
    assert 0.5 * ROUND * 60 < told.round <= ROUND * 60
    assert told.founders <= FOUNDERS * 60 or short.start_epochs == short.recipe.epochs
    assert shortened(limited, 0.01, 1, children=False, founders=False) == limited
    assert shortened(limited, 1e-6, 1, children=True, founders=True) == limited
    assert shortened(LONG, 1e6, 1, children=True, founders=True) == LONG, "without a budget of time there is time"
