import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from netmorph import cli
from tests.documented import check_documented

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lr_find(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run the command in this process; its exit code, output and errors."""
    random_state = torch.get_rng_state()

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["netmorph", "lr-find", "--model", "mlp", "--threads", "1", *arguments])
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0), *capfd.readouterr()
        return 0, *capfd.readouterr()

    yield run
    torch.set_rng_state(random_state)


def test_it_prints_a_table_and_a_suggestion_and_draws(lr_find: Run, tmp_path: Path) -> None:
    figure = tmp_path / "rates.svg"
    code, out, err = lr_find("--optimizer", "sgd", "--output", str(figure))
    assert code == 0, err
    assert out.count("\n") < 20
    assert "lowest" in out
    assert 1e-4 < float(out.split("Suggested learning rate: ")[1]) < 1
    assert "suggestion" in figure.read_text()


def test_json_holds_every_step_and_the_same_command_prints_the_same(lr_find: Run) -> None:
    one, other = (lr_find("--steps", "50", "--seed", "3", "--json")[1] for _ in range(2))
    found = json.loads(one)
    assert one == other
    check_documented(found)
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"]) <= 50
    assert found["rates"][0] < found["suggestion"] < found["rates"][-1]


def test_a_range_that_ends_too_early_is_told(lr_find: Run) -> None:
    assert "a --high above 0.003 may show a better rate" in lr_find("--high", "0.003")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--low", "1", "--high", "0.1"), "low must be above 0 and below high"),
        (("--steps", "3"), "steps must be at least 20"),
        (("--output", "rates.doc"), "got '.doc'"),
        (("--option", "classes=3"), "come from the data"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(lr_find: Run, arguments: tuple[str, ...], message: str) -> None:
    code, _, err = lr_find(*arguments)
    assert code in (1, 2)
    assert message in " ".join(err.split())
    assert "Traceback" not in err
