"""All pages that netmorph writes, in a real browser: on a phone, in the dark, with nothing on the console."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from netmorph import demo, draw, trace
from netmorph.report import page
from netmorph.report.changes import Step
from netmorph.report.shrinking import Measured
from netmorph.report.shrinking import page as shrinking_page
from netmorph.shrink import Round
from netmorph.tasks.criterion import ACCURACY
from tests.browser import contrast, looked_at, needs_browser
from tests.chain.small_bank import bank_of_digits
from tests.draw.nets import Broken, Dense, UNet, images
from tests.program import Program
from tests.report.synthetic import write_run

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(name="program")
def program_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Program:
    monkeypatch.chdir(tmp_path)
    return Program(monkeypatch, capsys)


def check(written: Path, folder: Path) -> None:
    for dark in (False, True):
        told = looked_at(written, folder, dark=dark)
        assert told["messages"] == []
        assert told["overflow"] == 0
        assert told["pictures"] > 0
        assert told["nameless"] == 0
        assert max(told["paper"]) < 60 if dark else min(told["paper"]) > 240
        assert all(contrast(ink, told["paper"]) > 7 for ink in told["ink"])


@pytest.mark.parametrize("kind", ["network", "difference", "modules"])
def test_pictures_of_networks(kind: str, tmp_path: Path) -> None:
    long = torch.nn.Sequential(torch.nn.Sequential())
    long[0].add_module("a_layer_whose_name_is_longer_than_any_phone_is_wide_" * 2, UNet())
    diagram = {
        "network": lambda: draw.architecture(trace(long, images())),
        "difference": lambda: draw.difference(trace(Dense(5), images()), trace(Dense(9), images())),
        "modules": lambda: draw.module_tree(Broken(), "no forward " * 20),
    }[kind]()
    check(diagram.save(tmp_path / "network.html"), tmp_path)


def test_the_report_of_an_evolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = draw.difference(trace(Dense(5), images()), trace(Dense(9), images())).svg()
    monkeypatch.setattr(page, "changes", lambda folder, ancestry: [Step(n, "a title " * 20, picture) for n in (0, 1)])
    check(page.write(write_run(tmp_path / "run")), tmp_path)


def test_the_report_of_a_training(program: Program, tmp_path: Path) -> None:
    assert program("train", "--data", "digits", "--epochs", "2", "--output", "run").code == 0
    check(tmp_path / "run" / "report.html", tmp_path)


def test_the_report_of_a_chain(program: Program, tmp_path: Path) -> None:
    bank_of_digits(tmp_path / "bank")
    line = "--data digits --budget 12chains --longest 3 --samples 200 --choice 100 --threads 1".split()
    assert program("chain", *line, "--agent", "tree", "--output", "run").code == 0
    check(tmp_path / "run" / "report.html", tmp_path)


def test_the_report_of_a_shrinking(tmp_path: Path) -> None:
    graph = trace(UNet(), images())
    widths = {name: group.size for name, group in graph.groups.items()}
    numbers = {"loss": 0.5, "accuracy": 0.75}
    costly = {"parameters": 3000, "flops": 500_000, "training_flops": 10**6, "seconds": 1.0}
    judged = {"untrained": numbers, "numbers": numbers, "score": 0.75, "epochs": ()}
    first = Round(0, True, widths, {}, **costly, **judged)
    rounds = [first, replace(first, number=1, ranks=dict(widths))]
    costs = Measured(3000, 500_000, 1e-3, 0.75)
    told = shrinking_page("a title " * 20, rounds, "a reason " * 20, costs, costs, ACCURACY)
    check(told.write(tmp_path / "report.html"), tmp_path)


def test_the_page_that_the_tour_ends_with(tmp_path: Path) -> None:
    names = ("grown", "equal", "full", "small")
    courses = [demo.Course(name, (1e9, 2e9), (2.5, 2.0), (1, 2)) for name in names]
    told = {
        "growth": [demo.growth(*courses, "netmorph train " + "--grow " * 30)],
        "evolution": [demo.evolution(write_run(tmp_path / "run"), "netmorph evolve")],
    }
    check(demo.write_page(tmp_path, told, "netmorph demo", 10), tmp_path)
