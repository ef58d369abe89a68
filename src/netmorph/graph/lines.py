"""Which line of the user's code is running, and what stands in it."""

from __future__ import annotations

import dis
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FrameType

import numpy as np
import torch

# How the paths of files begin that hold no code of the user's: torch, the tracer, and who else says so of itself.
_NOT_USER = {os.path.dirname(file) + os.sep for file in (torch.__file__, np.__file__, __file__)} | {"<"}
_RUNS = (os.path.join(os.path.dirname(__file__), "running.py"), "forward")  # calls the forward

# What makes an integer of a float.
_ROUNDING = {"int", "round", "floor", "ceil", "trunc"}

# First line and column, last line and column.
_Span = tuple[int, int, int, int]


def not_of_the_user(folder: str) -> None:
    """Take the files of a folder for none of the user's: where modules come from that edits put in, say."""
    _NOT_USER.add(folder + os.sep)


def is_of_the_user(file: str) -> bool:
    """Whether a file holds the user's own code."""
    return not file.startswith(tuple(_NOT_USER))


def source_line() -> str:
    """The innermost line being run that belongs neither to torch nor to netmorph's tracer, as `file:line`."""
    frame = next(_frames(), None)
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def forward_frames() -> Iterator[FrameType]:
    """The calls in the user's own code that the recorded forward is in, the innermost first."""
    return itertools.takewhile(lambda frame: not _is_run(frame), _frames(_is_run))


def _is_run(frame: FrameType) -> bool:
    return (frame.f_code.co_filename, frame.f_code.co_name) == _RUNS


def _frames(also: Callable[[FrameType], bool] = lambda frame: False) -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_of_the_user(frame.f_code.co_filename) or also(frame):
            yield frame
        frame = frame.f_back


class Lines:
    """The user's code as far as one recording has looked at it."""

    def __init__(self) -> None:
        self._instructions: dict[CodeType, list[dis.Instruction]] = {}
        self._constants: dict[tuple[CodeType, int], set[int]] = {}

    def forget(self) -> None:
        """Let go of it."""
        self._instructions.clear()
        self._constants.clear()

    def is_written(self, number: int) -> bool:
        """Whether a number stands in one of the expressions that the forward is computing."""
        return any(number in self._written(frame.f_code, frame.f_lasti) for frame in forward_frames())

    def _written(self, code: CodeType, at: int) -> set[int]:
        if (code, at) not in self._constants:
            instructions = self._of(code)
            here = _span(instructions[_running(instructions, at)])
            self._constants[code, at] = {
                number
                for found in instructions
                if found.opname in ("LOAD_CONST", "LOAD_SMALL_INT") and _within(_span(found), here)
                for number in _numbers(found.argval)
            }
        return self._constants[code, at]

    def _of(self, code: CodeType) -> list[dis.Instruction]:
        if code not in self._instructions:
            self._instructions[code] = list(dis.get_instructions(code))
        return self._instructions[code]

    def is_rounded(self, frame: FrameType) -> bool:
        """Whether what a frame is computing is all that `int`, `round` or a function of `math` that rounds is given."""
        return _is_rounded(self._of(frame.f_code), frame.f_lasti)


def _is_rounded(instructions: Sequence[dis.Instruction], at: int) -> bool:
    instructions = [found for found in instructions if found.opname != "PRECALL"]
    place = _running(instructions, at)
    call = instructions[place + 1] if place + 1 < len(instructions) else None
    if call is None or not call.opname.startswith("CALL") or call.arg != 1:
        return False
    begins = _start(call)
    return any(
        found.argval in _ROUNDING and begins is not None and _start(found) == begins for found in instructions[:place]
    )


def _running(instructions: Sequence[dis.Instruction], at: int) -> int:
    """Which instruction is running; a call may be in the places behind it that Python keeps for itself."""
    return max(n for n, found in enumerate(instructions) if n == 0 or found.offset <= at)


def _start(found: dis.Instruction) -> Sequence[int] | None:
    position = _span(found)
    return None if position is None else position[:2]


def _span(found: dis.Instruction) -> _Span | None:
    """Where an instruction's expression stands; None where Python was told to forget."""
    place = found.positions
    if place is None or None in (place.lineno, place.col_offset, place.end_lineno, place.end_col_offset):
        return None
    return (place.lineno, place.col_offset, place.end_lineno, place.end_col_offset)  # type: ignore[return-value]


def _within(inner: _Span | None, outer: _Span | None) -> bool:
    return inner is not None and outer is not None and outer[:2] <= inner[:2] and inner[2:] <= outer[2:]


def _numbers(constant: object) -> Iterator[int]:
    if isinstance(constant, tuple):
        for entry in constant:
            yield from _numbers(entry)
    elif type(constant) is int:
        yield constant
