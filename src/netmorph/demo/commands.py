"""Commands within a chapter."""

from __future__ import annotations

import shlex
import subprocess
import sys

from netmorph.errors import NetmorphError


class CommandFailed(NetmorphError):
    """A command of a chapter did not end well."""


def shell(command: str) -> None:
    """Run a command of netmorph as a terminal does, by the Python that runs this one.

    Args:
        command: as it is typed: "netmorph show run".

    Raises:
        CommandFailed: it ended with an error, which it has told by itself.
    """
    program, *arguments = shlex.split(command)
    sys.stdout.flush()
    ended = subprocess.run([sys.executable, "-m", program, *arguments], check=False)
    if ended.returncode:
        raise CommandFailed(f"`{command}` ended with status {ended.returncode}; what it said stands above")
