"""The study of where ranks converge: random networks, what each look at them found, and what that answers."""

from netmorph.ranks.architectures import Architecture, draw, perceptron
from netmorph.ranks.looks import Look, look
from netmorph.ranks.page import write
from netmorph.ranks.rows import Row, StudyError, read
from netmorph.ranks.trainings import StudyConfig, config_of, study, trainings_of

__all__ = [
    "Architecture",
    "Look",
    "Row",
    "StudyConfig",
    "StudyError",
    "config_of",
    "draw",
    "look",
    "perceptron",
    "read",
    "study",
    "trainings_of",
    "write",
]
