"""What is shown while a run goes on, on a terminal and where there is none."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from netmorph import watch
from netmorph.search.progress import Progress
from netmorph.tasks import Criterion
from netmorph.tasks.criterion import ACCURACY, BY_LOSS
from netmorph.train.history import Epoch
from netmorph.watch import EpochProgress, EvolutionWatch

LONG = Criterion("mean absolute percentage error")


def printed(criterion: Criterion, *values: float, terminal: bool = False) -> list[str]:
    output = io.StringIO()
    with EpochProgress(len(values), criterion, Console(file=output, width=80, force_terminal=terminal)) as progress:
        for number, value in enumerate(values, start=1):
            numbers = {"loss": value, criterion.name: value}
            progress(Epoch(number, numbers, numbers, criterion.score(value), 0.1, 1.25))
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue()).splitlines()


def test_a_row_for_each_epoch() -> None:
    output = io.StringIO()
    with EpochProgress(10, ACCURACY, Console(file=output, width=120)) as progress:
        progress(Epoch(1, {"loss": 0.5, "accuracy": 0.75}, {"loss": 0.25, "accuracy": 0.875}, 0.875, 0.1, 1.25))
    parts, names, first = output.getvalue().splitlines()
    assert parts.split() == ["train", "validation"]
    assert names.split() == ["epoch", "loss", "accuracy", "loss", "accuracy", "seconds"]
    assert first.split() == ["1", "0.5000", "75.00%", "0.2500", "87.50%", "1.2"]
    assert len(first) == len(names)


@pytest.mark.parametrize("criterion", [ACCURACY, BY_LOSS, LONG])
def test_rows_fit_eighty_columns(criterion: Criterion) -> None:
    lines = printed(criterion, 0.5, 12345.678)
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80


def test_a_bar_is_for_terminals_alone() -> None:
    assert any("2/2" in line for line in printed(ACCURACY, 0.5, 0.75, terminal=True))
    assert not any("2/2" in line for line in printed(ACCURACY, 0.5, 0.75))


def test_without_a_terminal_a_search_tells_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(watch, "perf_counter", lambda: clock[0])
    output = io.StringIO()
    with EvolutionWatch(Console(file=output, width=80), ACCURACY) as shown:
        for done in range(5):
            clock[0] += 6.0
            shown(Progress(1, done, 5, clock[0], 0.5, False, left=84.0))
        shown(Progress(1, 1, 1, clock[0], 0.75, True, left=31.4))
    assert [line.strip() for line in output.getvalue().splitlines()] == [
        "18 s  round 1: 2 of 5 networks trained, about 1 min 20 s left",
        "30 s  round 1: best validation accuracy 75.00%, about 31 s left",
    ]


def test_in_a_notebook_a_search_has_its_bar_and_no_such_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = pytest.importorskip("IPython.display")
    lines: list[object] = []

    def display(*values: object, display_id: bool = False, **options: object) -> object:
        lines.extend(() if display_id else values)
        return SimpleNamespace(update=lambda value: None)

    clock = [0.0]
    monkeypatch.setattr(ipython, "display", display)
    monkeypatch.setattr(watch, "perf_counter", lambda: clock[0])
    with EvolutionWatch(Console(force_jupyter=True), ACCURACY) as shown:
        clock[0] = 60.0
        shown(Progress(1, 2, 5, clock[0], 0.5, False, left=84.0))
    assert lines == []


def test_in_a_notebook_the_bar_is_an_element_that_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = pytest.importorskip("IPython.display")
    shown: list[str] = []

    class Handle:
        def update(self, value: object) -> None:
            shown.append(value._repr_html_())

    def display(*values: object, **options: object) -> Handle:
        if "display_id" in options:  # lines are displayed without one
            shown.append(values[0]._repr_html_())
        return Handle()

    monkeypatch.setattr(ipython, "display", display)
    numbers = {"loss": 0.5}
    with EpochProgress(2, BY_LOSS, Console(force_jupyter=True)) as progress:
        progress(Epoch(1, numbers, numbers, -0.5, 0.1, 1.25))
    assert [re.sub("<[^>]*>", "", page).strip() for page in shown] == ["epoch 0/2", "epoch 1/2", "epoch 1/2"]
    assert '<progress value="1" max="2">' in shown[-1]
