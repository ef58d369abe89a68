"""Advice that names what Python calls an argument, in the words of the command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer
import typer.core

from netmorph.cli.app import app

# Arguments of Python's that have another name here.
RENAMED = {"resize": "size", "stream": "streamed"}
_BEFORE, _BEHIND = r"(?<![\w./'\"=-])", r"(?![\w/'\"]|\.\w)"
_NOTHING = r"(?!)"
_VALUE = r"=('[^']*'|\([^)]*\)|[\w.+-]*\w)"
# Words that are also plain English are names where a sentence begins with what they must be, or asks to change them.
_MUST = r"(?= (?:must|is for|are for|takes|has)\b)"
_ASKED = r"(?:(?<=\blower )|(?<=\b[Rr]aise )|(?<=\b[Ll]eave )|(?<=\bof [0-9] for )|^)"


def in_options(message: str) -> str:
    """`Raise batch_size, or take task='text'` -> `Raise --batch-size, or take --task text`.

    Replaced are names of options of this program: with a value, without one where no English word is spelled like them,
    and where a sentence is about them. What stands in quotes, or is part of a path, is the user's.
    """
    named = _options()
    names = "|".join(sorted(map(re.escape, named), key=len, reverse=True)) or _NOTHING
    unlike_english = "|".join(name for name in named if re.search(r"[_0-9]", name)) or _NOTHING
    message = re.sub(rf"{_BEFORE}({names}){_VALUE}", lambda found: f"{named[found[1]]}{_typed(found[2])}", message)
    for pattern in (
        rf"{_BEFORE}({unlike_english}){_BEHIND}",
        rf"^({names}){_MUST}",
        rf"{_ASKED}({names})(?= out\b|[,;.]| or\b|$)",
    ):
        message = re.sub(pattern, lambda found: named[found[1]], message)
    return re.sub(r"(--[\w-]+ \S+) \(\1\)", r"\1", message)  # which is told in both languages


def _options() -> dict[str, str]:
    """Python's names of the command's options, each with how the user wrote it, or else its shortest spelling."""
    given = {argument.partition("=")[0] for argument in sys.argv[1:]}
    found: dict[str, str] = {}
    for command in _commands(typer.main.get_command(app), sys.argv[1:]):
        for option in command.params:
            spellings = [spelling for spelling in option.opts if spelling.startswith("--")]
            if spellings and option.name:
                written = next((spelling for spelling in spellings if spelling in given), None)
                found[RENAMED.get(option.name, option.name)] = written or min(spellings, key=len)
    return found


def _commands(command: Any, words: Sequence[str]) -> Iterator[Any]:
    """The command that these words begin with; all that they leave open."""
    if not isinstance(command, typer.core.TyperGroup):
        yield command
        return
    inner = command.commands
    for chosen in [inner[name] for name in words[:1] if name in inner] or inner.values():
        yield from _commands(chosen, words[1:])


def _typed(value: str) -> str:
    """A value as it is typed: text without quotes, sizes with an x; a flag takes none."""
    if value == "True":
        return ""
    if value.startswith("("):
        return f" {'x'.join(part.strip() for part in value[1:-1].split(','))}"
    return f" {value.strip(chr(39))}"
