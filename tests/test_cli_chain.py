"""netmorph chain, as users type it."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from netmorph.bank import Bank
from netmorph.chain import Kept
from netmorph.chain.learnt import KEPT
from netmorph.chaining import ChainConfig
from netmorph.tensor_files import read_sealed
from tests.chain.small_bank import bank_of_digits, digits
from tests.program import Program

QUICK = "--data digits --budget 12chains --longest 3 --samples 200 --choice 100 --threads 1".split()


@pytest.fixture(name="program")
def program_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Program:
    monkeypatch.chdir(tmp_path)
    bank_of_digits(tmp_path / "bank")
    return Program(monkeypatch, capsys)


def test_a_chain_is_found_and_becomes_a_network(program: Program, tmp_path: Path) -> None:
    done = program("chain", *QUICK, "--agent", "tree", "--output", "found")

    assert done.code == 0, done.err
    told = json.loads((tmp_path / "found" / "result.json").read_text())
    assert [told["searches"][name]["distinct_chains"] for name in ("tree", "random")] == [12, 12]
    assert [link["name"] for link in told["lineage"]][-1] == "head"
    assert told["searches"]["tree"]["test_accuracy"] > 0.9
    page = (tmp_path / "found" / "report.html").read_text()
    assert all(title in page for title in ("The chain", "The search", "Which layers stand where", "Values of states"))

    shown = json.loads(program("show", "found", "--json").out)
    assert (shown["status"], shown["searches"]) == ("finished", told["searches"])
    (tmp_path / "found" / "report.html").unlink()
    assert program("report", "found").code == 0
    assert (tmp_path / "found" / "report.html").read_text() == page

    spec = importlib.util.spec_from_file_location("found_network", tmp_path / "found" / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    inputs = torch.randn(2, 1, 8, 8)
    assert module.load()(inputs).shape == (2, 10)
    kept = Kept.load(tmp_path / "found" / "chain.safetensors")
    assert torch.allclose(kept.network(inputs), module.load().eval()(inputs), atol=1e-5)
    assert kept.learnt is not None
    assert kept.learnt.moments.count == len(digits().train)


def test_it_goes_on_after_kill_9(program: Program, tmp_path: Path) -> None:
    learning = ["--learn", "searching", "--gradients"]
    line = [*QUICK, "--budget", "28chains", "--agent", "actor-critic", "--alone", *learning]
    shutil.copytree(tmp_path / "bank", tmp_path / "other")  # copies go into the bank
    assert program("chain", *line, "--bank", "other", "--output", "whole").code == 0
    started = subprocess.Popen(
        [sys.executable, "-m", "netmorph", "chain", *line, "--output", "killed"], cwd=tmp_path, env=os.environ
    )
    journal = tmp_path / "killed" / "actor-critic.jsonl"
    while started.poll() is None and not (journal.exists() and journal.read_text().count('"spent"') > 9):
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.wait()

    assert program("chain", "--resume", "killed").code == 0

    entries = Bank(tmp_path / "bank").entries()
    assert Bank(tmp_path / "other").entries() == entries  # the copies are the same layers
    assert sum(entry.parent is not None for entry in entries) >= 3
    whole, killed = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "killed"))
    assert whole["chain"] == killed["chain"]
    assert chains(tmp_path / "whole") == chains(tmp_path / "killed")


def test_the_chosen_network_learns(program: Program, tmp_path: Path) -> None:
    line = [*QUICK, "--budget", "4chains", "--alone", "--learn", "after-stitches", "--gradients", "--output", "found"]
    done = program("chain", *line)

    assert done.code == 0, done.err
    told = json.loads((tmp_path / "found" / "result.json").read_text())
    assert told["learn"] == "after-stitches"
    assert told["learning_flops"] > 0
    assert told["test_accuracy"] > 0.9
    page = (tmp_path / "found" / "report.html").read_text()
    assert "Once it was chosen it learnt (after-stitches)" in page
    assert "What gradients tell" in page
    tensors, _ = read_sealed(tmp_path / "found" / "gradients.safetensors")
    assert Kept.load(tmp_path / "found" / KEPT).learnt is None  # its moments would be those of other features
    kinds = {name.rpartition("/")[2] for name in tensors}
    assert kinds == {"slope", "trend", "importance"}
    assert {Bank(tmp_path / "bank").entry(name.split("/")[0]).id for name in tensors} <= set(told_layers(tmp_path))


def told_layers(folder: Path) -> tuple[str, ...]:
    return ChainConfig.read(folder / "found").entries


def chains(folder: Path) -> list[object]:
    rows = map(json.loads, (folder / "actor-critic.jsonl").read_text().splitlines())
    return [row["chain"] for row in rows if "chain" in row]


def test_what_cannot_be_is_told_before_a_folder_is_made(program: Program, tmp_path: Path) -> None:
    for line, reason in (
        (["chain", "--bank", "bank"], "give --data"),
        (["chain", "--bank", "nothing", "--data", "digits"], "there is no bank"),
        (["chain", *QUICK, "--agent", "three"], "(did you mean 'tree'?)"),
        (["chain", *QUICK, "--learn", "searhing"], "(did you mean 'searching'?)"),
        (["chain", *QUICK, "--data", "diabetes"], "choose data whose samples have one class each"),
        (["chain", "--resume", "found"], "holds no run of netmorph chain"),
    ):
        done = program(*line, *(["--output", "new"] if "--resume" not in line else []))
        assert done.code != 0, line
        assert reason in done.err, (line, done.err)
        assert not (tmp_path / "new").exists()


def test_a_search_goes_on_with_the_layers_of_its_beginning(program: Program, tmp_path: Path) -> None:
    assert program("chain", *QUICK, "--alone", "--output", "found").code == 0
    config = ChainConfig.read(tmp_path / "found")
    bank = Bank(tmp_path / "bank")
    bank.add_random(bank.entry(config.entries[-1]).input, 1, seed=7)
    assert program("chain", "--resume", "found").code == 0

    bank.remove(config.entries[-1])

    done = program("chain", "--resume", "found")
    assert done.code != 0
    assert f"no longer in the bank {tmp_path / 'bank'}: {config.entries[-1]}" in done.err
