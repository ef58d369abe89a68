"""The command line: arguments to what does the work, and what comes back to the terminal.

PyTorch is imported inside the commands: a question about the program (`--help`, a misspelt option) is answered at once.
"""

import sys
import warnings

from rich.text import Text

from netmorph.cli import (  # noqa: F401 (their commands hang on the app)
    bank,
    chain,
    demo,
    draw,
    evolve,
    find_rate,
    look,
    neighbours,
    networks,
    plot,
    ranks,
    reproduce,
    show,
    shrink,
    train,
    watch,
)
from netmorph.cli.app import app, errors
from netmorph.cli.ending import ExitCode, WrongUse
from netmorph.cli.wording import in_options
from netmorph.errors import NetmorphError
from netmorph.workers.allocator import keep_freed_memory


def main() -> None:
    """The program: errors of the user's making are told in one line, without a traceback."""
    keep_freed_memory()
    with warnings.catch_warnings():
        warnings.showwarning = _note
        try:
            app()
        except NetmorphError as error:
            errors.print(Text.assemble(("Error:", "bold red"), f" {in_options(str(error))}"), soft_wrap=True)
            sys.exit(ExitCode.WRONG_USE if isinstance(error, WrongUse) else ExitCode.FAILED)


def _note(message: Warning | str, *where: object, **more: object) -> None:
    """A warning, without the line of the source that it came from."""
    errors.print(Text.assemble(("Note:", "bold"), f" {in_options(str(message))}"), soft_wrap=True)
