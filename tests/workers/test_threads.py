import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.workers import threads


@pytest.mark.parametrize(
    ("cores", "workers", "each", "expected"),
    [
        (8, None, 1, (8, 1)),
        (8, 3, 1, (3, 1)),
        (8, 3, 2, (3, 2)),
        (8, 5, 2, (4, 2)),
        (8, None, 3, (2, 3)),
        (2, 5, 1, (2, 1)),
        (2, None, 16, (1, 2)),
        (1, 1, 1, (1, 1)),
    ],
)
def test_workers_times_threads_stay_within_the_cores(monkeypatch, cores, workers, each, expected):
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    assert threads.plan_workers(workers, each) == expected


def test_set_threads():
    before = torch.get_num_threads()
    try:
        threads.set_threads(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_more_threads_than_can_be_started_are_refused():
    with pytest.raises(NetmorphError, match="threads must be at most 4096; 100000000 was given"):
        threads.set_threads(100_000_000)


@pytest.mark.parametrize("function", [threads.plan_workers, threads.set_threads])
def test_less_than_one_is_refused(function):
    with pytest.raises(NetmorphError, match="must be at least 1; 0 was given"):
        function(0)
