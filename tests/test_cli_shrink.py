"""netmorph shrink, as users type it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from netmorph import apply, load, save, trace, widen
from netmorph.cli.shrink import Of
from netmorph.edit import Base
from netmorph.errors import NetmorphError
from netmorph.shrink import SPECTRA, read_rounds
from netmorph.shrinking import target_of
from tests.program import Program

DATA = ["--data", "digits", "--train-size", "300"]
QUICK = [*DATA, "--epochs", "1", "--batch-size", "32", "--threads", "1", "--calibration", "100"]
OWN = """
from torch import nn

def build(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, classes))
"""


@pytest.fixture(name="program")
def program_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Program:
    monkeypatch.chdir(tmp_path)
    return Program(monkeypatch, capsys)


def test_a_run_is_halved_on_its_own_data(program: Program, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    run = "train --data digits --train-size 300 --model mlp --width 0.5 --epochs 2 --threads 1 --output trained"
    assert program(*run.split()).code == 0
    done = program("shrink", "trained", "--to", "50%flops", "--epochs", "1", "--threads", "1", "--output", "small")
    assert done.code == 0, done.err
    assert "as given" in done.out
    assert "round 1" in done.out
    rounds = read_rounds(tmp_path / "small")
    assert rounds[1].flops <= 0.5 * rounds[0].flops
    told = json.loads((tmp_path / "small" / "result.json").read_text())
    assert told["after"]["flops"] == rounds[1].flops
    assert f"{told['before']['parameters']:,}" in done.out
    model, journal = load(tmp_path / "small" / "network.safetensors")
    assert len(journal) == 1
    assert sum(parameter.numel() for parameter in model.parameters()) == rounds[1].parameters
    page = (tmp_path / "small" / "report.html").read_text()
    assert "Widths by round" in page
    assert {path.name for path in (tmp_path / "small" / "figures").iterdir()} == {
        "size.png",
        "widths.png",
        "training.png",
    }
    again = program("shrink", "--resume", "small", "--code", "small.py", "--onnx", "small.onnx")
    assert again.code == 0, again.err
    assert "round 1" not in again.out, "it was finished"
    assert (tmp_path / "small.onnx").exists()
    shown = json.loads(program("show", "small", "--json").out)
    told = json.loads((tmp_path / "small" / "result.json").read_text())  # whose latency was measured anew
    assert (shown["status"], shown["after"]) == ("finished", told["after"])
    assert shown["command"].startswith("netmorph shrink trained --to 50%flops")
    assert program("groups", "small").code == 0, "the folder stands for its network"
    namespace: dict[str, object] = {}
    exec((tmp_path / "small.py").read_text(), namespace)  # plain Python that needs no netmorph
    assert "load" in namespace


def test_by_rank_from_the_name_of_a_network(program: Program, tmp_path: Path) -> None:
    done = program("shrink", "mlp", "--by", "rank", *QUICK, "--rounds", "2", "--tolerance", "1", "--output", "r")
    assert done.code == 0, done.err
    rounds = read_rounds(tmp_path / "r")
    assert len(rounds[0].epochs) == 10, "trained first"
    assert rounds[1].parameters < rounds[0].parameters
    assert rounds[1].ranks.keys() == {"fc1", "fc2"}


@pytest.mark.parametrize(
    "more",
    [
        ["--rank", "effective_rank", "--of", "weights"],
        ["--explained", "0.9", "--own", "fc1=0.5"],
        ["--fresh", "--decay-factor", "0.5"],
        ["--grow", "2", "--fill", "0.8"],
    ],
)
def test_variations(program: Program, tmp_path: Path, more: list[str]) -> None:
    done = program(
        "shrink",
        "mlp",
        "--by",
        "rank",
        *QUICK,
        "--rounds",
        "1",
        "--tolerance",
        "1",
        "--first-epochs",
        "1",
        "--output",
        "r",
        *more,
    )
    assert done.code == 0, done.err
    assert len(read_rounds(tmp_path / "r")) == 2


def test_an_edited_file_and_a_function_of_ones_own(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Base("mlp", {"input_shape": [1, 8, 8], "classes": 10})
    graph = trace(base.build(), torch.randn(2, 1, 8, 8))
    graph = apply(graph, widen(graph, "fc1", 256))
    save(tmp_path / "wide.safetensors", graph.model, graph.journal, base)
    done = program("shrink", "wide.safetensors", "--to", "30%params", *QUICK, "--output", "small")
    assert done.code == 0, done.err
    _, journal = load(tmp_path / "small" / "network.safetensors")
    assert len(journal) == 2

    (tmp_path / "shrinkable_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    done = program(
        "shrink", "shrinkable_nets:build", "--to", "50%flops", "--multiple-of", "1", *QUICK, "--output", "own"
    )
    assert done.code == 0, done.err
    done = program("shrink", "--resume", "own")
    assert done.code == 1
    assert "give shrinkable_nets:build again" in done.err
    assert program("shrink", "shrinkable_nets:build", "--resume", "own").code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--by", "rank", *QUICK], "which network? Give MODEL"),
        (["mlp", *QUICK], "give --by rank, or --to a share"),
        (["mlp", "--by", "rank", "--to", "50%flops", *QUICK], "give --by rank, or --to a share"),
        (["mlp", "--to", "50%"], "--to takes a share of flops, params or latency, such as 50%flops; got '50%'"),
        (["mlp", "--to", "120%flops"], "got '120%flops'"),
        (["mlp", "--to", "50%flops"], "give --data"),
        (["mlp", "--to", "50%flops", "--skip-unreadable", "1", *QUICK], "is for images that are streamed"),
        (["mlp", "--to", "1%flops", *QUICK], "flops=0.01 cannot be reached"),
        (["mlp", "--by", "rank", "--rank", "efective_rank", *QUICK], "did you mean 'effective_rank'?"),
        (["mlp", "--by", "rank", "--own", "fc1", *QUICK], "--own takes NAME=SHARE"),
        (["mlp", "--by", "rank", "--own", "fcc1=0.9", *QUICK], "no channel group 'fcc1'"),
        (["mlp", "--by", "rank", "--explained", "1.5", *QUICK], "above 0 and below 1"),
        (["mlp", "--by", "rank", "--option", "hidden=[]", *QUICK], "there is nothing to shrink"),
        (["nothing.safetensors", "--to", "50%flops", *QUICK], "there is no file nothing.safetensors"),
        (["--resume", "nowhere"], "nowhere holds no run of netmorph shrink"),
    ],
)
def test_what_is_wrong_is_told(program: Program, tmp_path: Path, arguments: list[str], told: str) -> None:
    done = program("shrink", *arguments)
    assert done.code in (1, 2)
    assert told in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.glob("runs/*")), "before any work"


def test_a_folder_that_is_not_free_is_told(program: Program, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    done = program("shrink", "mlp", "--by", "rank", *QUICK, "--output", "full")
    assert done.code == 1
    assert "is not an empty folder" in done.err


def test_targets() -> None:
    assert target_of("50%flops") == ("flops", 0.5)
    assert target_of(" 12.5 % Params") == ("params", 0.125)
    for wrong in ("flops", "50", "x%flops", "50%time", "0%flops", "100%flops"):
        with pytest.raises(NetmorphError, match="--to takes"):
            target_of(wrong)


def test_what_is_killed_goes_on(program: Program, tmp_path: Path) -> None:
    """A process of its own, killed after its first round."""
    arguments = ["mlp", "--by", "rank", *QUICK, "--rounds", "3", "--tolerance", "1", "--first-epochs", "1"]
    assert program("shrink", *arguments, "--output", "whole").code == 0
    command = [sys.executable, "-m", "netmorph", "shrink", *arguments, "--output", "killed"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "killed" / "round-1.safetensors").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert program("shrink", "--resume", "killed").code == 0

    def found(name: str) -> list[tuple[dict[str, int], float]]:
        return [(told.widths, told.score) for told in read_rounds(tmp_path / name)]

    assert found("killed") == found("whole")


def test_ranks_are_of_what_the_library_has() -> None:
    assert {one.value for one in Of} == SPECTRA.keys()
