"""The names that a run folder holds, each written in one place; what is stored are these strings."""

from enum import StrEnum


class ArmName(StrEnum):
    """The arms that every evolution has; a further one has a name of its own."""

    EVOLVE = "evolve"
    """Children of the best, with inherited weights."""
    ALONE = "alone"
    """The start network trained on, a chain by parent."""
    RANDOM = "random"
    """Random networks from scratch."""


class State(StrEnum):
    """How far a network is."""

    PLANNED = "planned"
    TRAINED = "trained"
    FAILED = "failed"


class Status(StrEnum):
    """How far a run is."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


class Stage(StrEnum):
    """In which stage a network lies in the store."""

    BORN = "born"
    TRAINED = "trained"
