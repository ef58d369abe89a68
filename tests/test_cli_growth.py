"""A network that grows, by the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import netmorph as library
from netmorph import session
from netmorph.run.config import TrainConfig
from tests.program import Program


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder with a small text; the threads are as before afterwards."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    Path("rhyme.txt").write_text("How much wood would a woodchuck chuck? " * 40)
    yield tmp_path
    torch.set_num_threads(threads)


SMALL = ["--data", "rhyme.txt", "--window", "8", "--width", "0.0625", "--option", "depth=1", "--option", "heads=1"]
SMALL += ["--epochs", "4", "--lr", "0.01", "--threads", "1", "--output", "run"]


def test_it_grows_as_it_is_told_and_the_page_shows_it(netmorph: Program) -> None:
    grow = ["--grow", "at 50%: depth 3 zero", "--grow", "at 70%: width x2", "--after-growth", "rise"]
    done = netmorph("train", *SMALL, "--schedule", "stable", "--decay-share", "0.25", *grow)
    assert done.code == 0, done.err
    config = session.begun_with(Path("run"), TrainConfig)
    assert config.grow == ("at 50%: depth 3 zero", "at 70%: width x2")
    assert (config.after_growth, config.recipe.schedule, config.recipe.decay_share) == ("rise", "stable", 0.25)
    model, journal = library.load("run")
    assert len(model.blocks) == 3  # type: ignore[arg-type]
    assert [entry.edit.method for entry in journal] == ["copy", "copy", "lemon and r2r"]
    page = Path("run/report.html").read_text()
    assert '<section id="cost">' in page
    assert "Dashed lines: the network grew." in page
    assert netmorph("train", "--resume", "run").code == 0
    refused = netmorph("train", "--resume", "run", "--grow", "at 50%: depth 4")
    assert refused.err.startswith("Error: --grow cannot be given with --resume")


@pytest.mark.parametrize(
    ("grow", "code", "message"),
    [
        ("plateau", 2, "cannot read the growth 'plateau'"),
        ("at 50%: depth 2 of layers", 1, "there is no list 'layers'"),
        ("at 50%: depth 1", 2, "a depth is a whole number of blocks, at least 2"),
    ],
)
def test_what_cannot_grow_is_told_before_anything_is_trained(
    netmorph: Program, grow: str, code: int, message: str
) -> None:
    done = netmorph("train", *SMALL, "--grow", grow)
    assert (done.code, done.out) == (code, "")
    assert message in " ".join(done.err.split())
    assert not Path("run").exists()
