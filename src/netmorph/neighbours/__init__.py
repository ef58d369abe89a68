"""Is a network a peak of the space around it? Small edits in both directions, each trained equally, and compared."""

from netmorph.neighbours.answers import Answer, Difference, answer
from netmorph.neighbours.drawing import neighbours
from netmorph.neighbours.rows import Job, Row
from netmorph.neighbours.trainings import NeighboursConfig, create, handler, jobs_of, train_all
from netmorph.neighbours.values import Neighbour, NeighbourError, Step

__all__ = [
    "Answer",
    "Difference",
    "Job",
    "Neighbour",
    "NeighbourError",
    "NeighboursConfig",
    "Row",
    "Step",
    "answer",
    "create",
    "handler",
    "jobs_of",
    "neighbours",
    "train_all",
]
