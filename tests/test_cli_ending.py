"""Ctrl-C ends a run tidily, whatever became of the exception on its way."""

import signal
from collections.abc import Callable

import pytest
import typer

from netmorph.cli.ending import ends_tidily


def in_the_open() -> None:
    signal.raise_signal(signal.SIGINT)


def inside_an_import() -> None:
    """What an extension does whose own import of NumPy is interrupted."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("numpy._core.multiarray failed to import") from None


@pytest.mark.parametrize("interrupted", [in_the_open, inside_an_import])
def test_an_interrupt_is_told_as_one(interrupted: Callable[[], None]) -> None:
    told: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(typer.Exit) as ended, ends_tidily(lambda: told.append("go on")):
        interrupted()
    assert (ended.value.exit_code, told) == (130, ["go on"])
    assert signal.getsignal(signal.SIGINT) is before


def test_a_failure_stays_a_failure() -> None:
    told: list[str] = []
    with pytest.raises(ImportError, match="nothing here"), ends_tidily(lambda: told.append("go on")):
        raise ImportError("nothing here")
    assert told == []
