"""The program `netmorph`, run inside the tests' process."""

import sys
from typing import NamedTuple

import pytest

from netmorph import cli


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Program:
    """Called with arguments as they stand on a command line."""

    def __init__(self, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> None:
        self._patch, self._captured = patch, captured

    def __call__(self, *arguments: str) -> Done:
        self._patch.setattr(sys, "argv", ["netmorph", *arguments])
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        assert code is None or isinstance(code, int)
        return Done(code or 0, *self._captured.readouterr())
