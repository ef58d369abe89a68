"""`netmorph watch` tells where it is, and ends when it is told to."""

import signal
import socket
from pathlib import Path

import pytest

from benchmarks import store
from tests.program import Program


def test_it_tells_its_address_until_it_is_interrupted(
    netmorph: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.write(tmp_path / "run", 30)
    monkeypatch.setattr(signal, "pause", lambda: signal.raise_signal(signal.SIGINT))
    done = netmorph("watch", str(run), "--port", "0")
    assert done.code == 130
    assert f"Watch {run} in the browser: http://127.0.0.1:" in done.out
    assert done.err == "\nEnded.\n"


def test_a_page_for_other_machines_is_told_with_an_address_and_a_warning(
    netmorph: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.write(tmp_path / "run", 1)
    monkeypatch.setattr(signal, "pause", lambda: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(socket, "gethostname", lambda: "lab")
    done = netmorph("watch", str(run), "--host", "0.0.0.0")
    assert f"Watch {run} in the browser: http://lab:" in done.out
    assert "It is open to the network" in done.err


def test_a_folder_without_a_run_is_told(netmorph: Program, tmp_path: Path) -> None:
    done = netmorph("watch", str(tmp_path))
    assert (done.code, done.err.startswith(f"Error: no run in {tmp_path}")) == (1, True)
