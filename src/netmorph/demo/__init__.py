"""A guided tour on the embedded data: five chapters, each a script that is shown, step by step, while it runs."""

from netmorph.demo.commands import CommandFailed, shell
from netmorph.demo.findings import Course, Measured, evolution, growth, shrinking
from netmorph.demo.script import Chapter, Step, read
from netmorph.demo.tour import CHAPTERS, NEEDS, chapter, check_extras, tell, write_page
from netmorph.report.findings import Finding

__all__ = [
    "CHAPTERS",
    "NEEDS",
    "Chapter",
    "CommandFailed",
    "Course",
    "Finding",
    "Measured",
    "Step",
    "chapter",
    "check_extras",
    "evolution",
    "growth",
    "read",
    "shell",
    "shrinking",
    "tell",
    "write_page",
]
