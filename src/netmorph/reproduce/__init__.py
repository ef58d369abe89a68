"""Published training runs, run again: the same rows, with the published figure beside."""

from netmorph.reproduce.asked import STUDIES, Asked, begin, write
from netmorph.reproduce.rows import Published, Row, Study
from netmorph.reproduce.runs import Outcome, outcomes, run
from netmorph.reproduce.tables import around, insert, page, page_of

__all__ = [
    "STUDIES",
    "Asked",
    "Outcome",
    "Published",
    "Row",
    "Study",
    "around",
    "begin",
    "insert",
    "outcomes",
    "page",
    "page_of",
    "run",
    "write",
]
