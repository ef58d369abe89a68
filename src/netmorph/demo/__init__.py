"""A guided tour on the embedded data: five chapters, each a script that is shown, step by step, while it runs."""

from netmorph.demo.commands import CommandFailed, shell
from netmorph.demo.script import Chapter, Step, read
from netmorph.demo.tour import CHAPTERS, chapter, tell

__all__ = ["CHAPTERS", "Chapter", "CommandFailed", "Step", "chapter", "read", "shell", "tell"]
