"""Published training runs, run again: the same rows, with the published figure beside."""

from netmorph.reproduce.cnn_tutorial import CNN_TUTORIAL
from netmorph.reproduce.rows import Published, Row, Study
from netmorph.reproduce.runs import Outcome, outcomes, run
from netmorph.reproduce.tables import around, insert, page

STUDIES: dict[str, Study] = {CNN_TUTORIAL.name: CNN_TUTORIAL}

__all__ = ["STUDIES", "Outcome", "Published", "Row", "Study", "around", "insert", "outcomes", "page", "run"]
