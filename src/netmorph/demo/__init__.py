"""A guided tour on the embedded data: five chapters, each a script that is shown, step by step, while it runs."""

from netmorph.demo.commands import CommandFailed, shell
from netmorph.demo.script import Chapter, Step, read
from netmorph.demo.tour import CHAPTERS, NEEDS, chapter, check_extras, tell

__all__ = ["CHAPTERS", "NEEDS", "Chapter", "CommandFailed", "Step", "chapter", "check_extras", "read", "shell", "tell"]
