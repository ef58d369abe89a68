from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netmorph import session
from netmorph.errors import NetmorphError
from netmorph.run.config import EvolveConfig
from netmorph.run.lock import RunInUse, RunLock
from netmorph.run.records import Records
from netmorph.search.births import Birth
from netmorph.search.executors import Place, inline, on_ray, parse, processes
from netmorph.search.jobs import Training
from netmorph.workers.executor import Inline, Processes
from tests.train.tiny import CONFIG


def test_a_place_is_told_by_its_name() -> None:
    assert [parse("inline"), parse("processes"), parse("ray")] == [inline, processes, on_ray]
    far = parse("ray://10.0.0.1:6379")
    assert isinstance(far, partial)
    assert (far.func, far.keywords) == (on_ray, {"address": "10.0.0.1:6379"})
    for wrong, hint in (
        ("proceses", "did you mean 'processes'"),
        ("ray://", "'ray://' was given"),
        ("", "'' was given"),
    ):
        with pytest.raises(NetmorphError, match=f"inline, processes, ray or ray://ADDRESS.*{hint}"):
            parse(wrong)


def test_what_a_process_cannot_do_to_itself_is_refused(tmp_path: Path) -> None:
    dataset = CONFIG.data.load()
    for more in ({"timeout": 5.0}, {"workers": 2}):
        with (
            pytest.raises(NetmorphError, match="one worker, whose jobs nobody ends"),
            inline(Place(tmp_path, CONFIG, dataset, **more)),
        ):
            pass
    with inline(Place(tmp_path, CONFIG, dataset, workers=1)) as here:
        assert isinstance(here, Inline)
    with processes(Place(tmp_path, CONFIG, dataset, workers=1, timeout=5.0)) as there:
        assert isinstance(there, Processes)


def test_a_second_driver_is_refused_wherever_its_jobs_would_run(tmp_path: Path) -> None:
    def never(place: Place) -> Any:
        raise AssertionError("no worker may be started")

    with Records.create(tmp_path) as records:
        records.set_meta("config", session.as_json(EvolveConfig()))
    with RunLock(tmp_path), pytest.raises(RunInUse, match="is in use by process"):
        session.evolve(tmp_path, 1, lambda progress: None, on=never)


def test_jobs_say_what_they_take_from_the_store() -> None:
    assert Birth(3, None, 0).reads == ()
    assert Birth(3, 1, 0).reads == ((1, "trained"),)
    assert Training(3, 0, 1).reads == ((3, "born"),)
    assert Training(3, 0, 1, source=2).reads == ((2, "trained"),)
