"""Ctrl-C in the middle of a run."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import typer


@contextlib.contextmanager
def ends_tidily(tell: Callable[[], None]) -> Iterator[None]:
    """End the program with status 130 when the user interrupts what runs inside.

    The interrupt is remembered when the signal comes: compiled code that Python calls (an extension that is just being
    imported, say) may turn the exception into one of its own, which would look like a failure of the run.

    Args:
        tell: says what the user can do next.

    Raises:
        typer.Exit: with status 130, once `tell` has spoken.
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
        if not pressed and not isinstance(error, KeyboardInterrupt):
            raise
        tell()
        raise typer.Exit(130) from None
    finally:
        if here and callable(before):
            signal.signal(signal.SIGINT, before)
