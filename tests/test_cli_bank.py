"""The commands `netmorph bank`: a network in, its layers listed, shown and taken out."""

import json
from pathlib import Path

import pytest

from tests.documented import check_documented
from tests.program import Program


@pytest.fixture
def folder(netmorph: Program, tmp_path: Path) -> str:
    bank = str(tmp_path / "bank")
    done = netmorph("bank", "add", "lenet5", "--data", "digits", "--probes", "50", "--bank", bank, "--name", "small")
    assert done.code == 0, done.err
    assert "5 layers in the bank" in done.out
    return bank


def listed(netmorph: Program, folder: str, *more: str) -> list[dict]:
    done = netmorph("bank", "list", "--json", "--bank", folder, *more)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    check_documented(told)
    return told["entries"]


def test_a_network_goes_in_and_its_layers_are_told(netmorph: Program, folder: str) -> None:
    entries = listed(netmorph, folder)
    table = netmorph("bank", "list", "--bank", folder)
    shown = netmorph("bank", "show", entries[1]["id"][:8], "--bank", folder)

    assert [entry["origin"]["path"] for entry in entries] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert all(f"small: {entry['origin']['path']}" in table.out for entry in entries)
    assert "5 layers" in table.out
    assert all(told in shown.out for told in ("small: conv2, 2 of 5", "Conv2d(6, 16", "in: means"))
    assert len(entries[1]["seen"]["output_mean"]) == 16
    assert json.loads(netmorph("bank", "show", entries[1]["id"], "--json", "--bank", folder).out)["entries"] == [
        entries[1]
    ]


def test_random_layers_and_removal(netmorph: Program, folder: str) -> None:
    entries = listed(netmorph, folder)

    drawn = netmorph("bank", "random", "--like", entries[1]["id"], "--count", "3", "--bank", folder)
    assert drawn.code == 0, drawn.err
    assert len(listed(netmorph, folder, "--kind", "random")) == 3
    assert len(listed(netmorph, folder, "--same-shape")) == 4
    gone = netmorph("bank", "remove", entries[0]["id"], "--bank", folder)
    assert gone.code == 0, gone.err
    assert len(listed(netmorph, folder, "--network", "small")) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "--bank", "nowhere"), "there is no bank in nowhere"),
        (("add", "lenet6"), "no network 'lenet6'"),
        (("add", "lenet5", "--data", "digits", "--input", "1x28x28"), "the data have the shape (1, 8, 8)"),
        (("show", "abc", "--bank", "nowhere"), "there is no bank in nowhere"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(
    netmorph: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = netmorph("bank", *arguments)

    assert done.code in (1, 2)
    assert message in " ".join(done.err.split())
