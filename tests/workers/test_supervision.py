"""The loop over workers, with workers that are no processes: each says the next of its words when it is listened to."""

from collections.abc import Iterable, Sequence

import pytest

from netmorph.errors import NetmorphError
from netmorph.workers.outcomes import Outcome
from netmorph.workers.supervision import TRIES, Ready, Supervised, WorkersError


class Actor:
    """Answers a job with itself in capitals; dies of "die", never answers "hang", and loses all of "stop"."""

    def __init__(self, start: object) -> None:
        self.says: list[object] = [start]
        self.ended = False

    def give(self, job: str) -> None:
        answers = {"die": [None], "hang": [], "stop": [NetmorphError("the data is gone")]}
        self.says += answers.get(job, [Outcome(job, job.upper())])

    def take(self) -> object:
        return self.says.pop(0)

    def stop(self) -> str:
        self.ended = True
        return "by chance"


class Troupe(Supervised[str, str]):
    def __init__(self, size: int, timeout: float | None = None, starts: Iterable[object] = ()) -> None:
        super().__init__(size, timeout)
        self.hired: list[Actor] = []
        self.starts = iter(starts)

    def _hire(self) -> Actor:
        self.hired.append(Actor(next(self.starts, Ready())))
        return self.hired[-1]

    def _speaking(self, workers: Sequence[Actor], seconds: float | None) -> Iterable[Actor]:
        found = [worker for worker in workers if worker.says]
        assert found or seconds is not None, "it would wait for ever"
        return found


def test_each_death_is_tried_again_and_no_other_failure() -> None:
    with Troupe(2) as troupe:
        found = {outcome.job: outcome for outcome in troupe.run(["a", "die", "b"])}
        assert [*troupe.run(["c"])] == [Outcome("c", "C")]
    died = f"its worker process died by chance, {TRIES} times; perhaps too little memory: use fewer workers"
    assert found == {"a": Outcome("a", "A"), "b": Outcome("b", "B"), "die": Outcome("die", None, died)}
    assert all(actor.ended for actor in troupe.hired)
    assert len(troupe.hired) <= 2 + TRIES


def test_a_job_has_its_time_from_when_its_worker_got_it() -> None:
    with Troupe(1, timeout=0.01) as troupe:
        assert [*troupe.run(["a", "hang", "b"])] == [
            Outcome("a", "A"),
            Outcome("hang", None, "timed out after 0.01 s"),
            Outcome("b", "B"),
        ]
    assert len(troupe.hired) == 2
    with pytest.raises(NetmorphError, match="more than 0; the timeout given is 0"):
        Troupe(1, timeout=0)


def test_jobs_are_not_looked_at_long_before_there_is_a_worker() -> None:
    looked: list[str] = []
    with Troupe(1) as troupe:
        outcomes = troupe.run(looked.append(job) or job for job in "abcdef")
        assert next(outcomes) == Outcome("a", "A")
        assert looked == ["a", "b"]
        assert [outcome.job for outcome in outcomes] == ["b", "c", "d", "e", "f"]


def test_no_more_workers_start_than_there_are_jobs() -> None:
    with Troupe(5) as troupe:
        assert len([*troupe.run(["a", "b"])]) == 2
    assert len(troupe.hired) == 2


def test_workers_that_die_before_they_are_ready_cost_no_job_a_try_but_three_in_a_row_are_an_error() -> None:
    with Troupe(1, starts=[None, None, Ready(), None, None]) as troupe:
        assert [*troupe.run(["a"])] == [Outcome("a", "A")]
    with pytest.raises(WorkersError, match="no worker starts: its process died by chance, 3 times"):
        [*Troupe(1, starts=[None] * TRIES).run(["a"])]


def test_what_concerns_all_jobs_is_raised_and_ends_what_runs() -> None:
    with Troupe(2) as troupe, pytest.raises(NetmorphError, match="the data is gone"):
        [*troupe.run(["hang", "stop"])]
    assert all(actor.ended for actor in troupe.hired)
