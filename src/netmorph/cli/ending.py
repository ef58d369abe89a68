"""How the program ends: exit codes, what is wrong with a command line, and Ctrl-C in the middle of a run."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import FrameType

import typer

from netmorph.errors import NetmorphError


class ExitCode(IntEnum):
    """What the shell is told, by every command alike."""

    DONE = 0
    """What was asked for is done, whatever the answer is."""
    FAILED = 1
    """The command was understood, and could not be done: something is missing, damaged, or diverged."""
    WRONG_USE = 2
    """The command line is none of netmorph's: an option that is unknown, a value that is none of its, options that do
    not go together. Nothing was begun."""
    INTERRUPTED = 130
    """Ctrl-C. What was kept until then stays, and the message says how to go on."""


class WrongUse(NetmorphError):
    """What was typed cannot be meant."""


@contextlib.contextmanager
def reading_options() -> Iterator[None]:
    """What is wrong inside is wrong with what was typed.

    Raises:
        WrongUse: in the place of another error of netmorph's.
    """
    try:
        yield
    except NetmorphError as error:
        raise WrongUse(str(error)) from error


@contextlib.contextmanager
def ends_tidily(tell: Callable[[], None]) -> Iterator[None]:
    """End the program with `ExitCode.INTERRUPTED` when the user interrupts what runs inside.

    The interrupt is remembered when the signal comes: compiled code that Python calls (an extension that is just being
    imported, say) may turn the exception into one of its own, which would look like a failure of the run.

    Args:
        tell: says what the user can do next.

    Raises:
        typer.Exit: with that, once `tell` has spoken; what ended so inside has spoken already.
    """
    here = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    pressed: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        if callable(before):
            before(number, frame)

    try:
        if here and callable(before):
            signal.signal(signal.SIGINT, remember)
        yield
    except BaseException as error:
        told = isinstance(error, typer.Exit) and error.exit_code == ExitCode.INTERRUPTED
        if told or (not pressed and not isinstance(error, KeyboardInterrupt)):
            raise
        tell()
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        if here and callable(before):
            signal.signal(signal.SIGINT, before)
