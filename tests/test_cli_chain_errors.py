"""netmorph chain, where the bank, the data or the memory do not serve: what is said, and what is left."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from netmorph.bank import Bank
from tests.chain.small_bank import bank_of_digits
from tests.program import Program

FIRST = "one way in"  # the network of the first layer that is tried


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank that is whole, others that are not, and data that it does not serve."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("wrong")
    bank_of_digits(folder / "bank")
    for name in ("empty", "gone", "damaged", "none"):
        shutil.copytree(folder / "bank", folder / name)
    empty = Bank(folder / "empty")
    for entry in empty.entries():
        empty.remove(entry.id)
    for file in (folder / "gone" / "pieces").iterdir():
        file.unlink()
    for file in (folder / "damaged" / "pieces").iterdir():
        file.write_bytes(file.read_bytes()[:-8] + b"no layer")
    (folder / "none" / "bank.sqlite").write_bytes(b"no database " * 99)
    labels = np.arange(120) % 3
    drawn = np.random.default_rng(0).integers(0, 255, (120, 3, 8, 8), dtype=np.uint8)
    np.savez(folder / "colours.npz", x=drawn, y=labels)
    np.savez(folder / "grey.npz", x=np.full((120, 1, 8, 8), 7, dtype=np.uint8), y=labels)
    return folder


@pytest.mark.parametrize(
    ("line", "reasons"),
    [
        ("--bank empty --data digits", ["the bank is empty; put a network into it with netmorph bank add"]),
        ("--bank none --data digits", ["none/bank.sqlite", "is no database"]),
        (
            "--bank bank --data colours.npz",
            ["none of the 8 entries takes features of shape 3x8x8", "they take 1x8*x8*"],
        ),
        (
            "--bank bank --data colours.npz --stitches",
            ["none of the 8 entries takes data of shape 3x8x8", "either; add one"],
        ),
        ("--bank bank --data grey.npz", ["the features are the same for all", "tell nothing; give others"]),
        (
            "--bank bank --data digits --memory 1",
            ["behind layer 1 take", "the limit is 1.0 MiB; give more memory (--memory)"],
        ),
        ("--bank gone --data digits", ["is gone", f"Add {FIRST!r} again, or remove the entry: netmorph bank remove"]),
        ("--bank damaged --data digits", ["its checksum differs. Add", "or remove the entry: netmorph bank remove"]),
    ],
)
def test_it_is_told_in_a_line(
    root: Path, netmorph: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, reasons: list[str]
) -> None:
    monkeypatch.chdir(root)
    quick = "--budget 2chains --longest 1 --samples 1200 --choice 20 --threads 1 --alone"

    done = netmorph("chain", *line.split(), *quick.split(), "--output", str(tmp_path / "run"))

    told = " ".join(done.err.split())
    assert done.code == 1, done.out
    assert told.startswith("Error: ")
    assert all(reason in told for reason in reasons), told
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.slow
def test_a_search_goes_on_once_the_layers_are_there(
    root: Path, netmorph: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(root / "gone", "layers")
    found = "--bank layers --data digits --output found".split()
    quick = "--budget 2chains --longest 1 --samples 200 --choice 20 --threads 1 --alone".split()
    assert "is gone" in netmorph("chain", *found, *quick).err

    bank_of_digits(Path("layers"))  # the same networks, so the same layers

    done = netmorph("chain", "--resume", "found")
    assert done.code == 0, done.err
