"""The names that a run folder holds, each written in one place; what is stored are these strings."""

from enum import StrEnum

from netmorph.errors import NetmorphError, suggest


class ArmName(StrEnum):
    """The arms that every evolution has; a further one has a name of its own."""

    EVOLVE = "evolve"
    """Children of the best, with inherited weights."""
    ALONE = "alone"
    """The start network trained on, a chain by parent."""
    RANDOM = "random"
    """Random networks from scratch."""


class Inheritance(StrEnum):
    """What the children of an evolution have of their parents' weights."""

    INHERITED = "inherited"
    """All of them, in a copy."""
    FRESH = "fresh"
    """None: they are drawn anew."""
    SHARED = "shared"
    """The very same: parents and children train what they have in common together."""


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


def inheritance(name: str) -> Inheritance:
    """The one of this name.

    Raises:
        NetmorphError: there is none.
    """
    if name not in [*Inheritance]:
        known = f"known are {', '.join(Inheritance)}"
        raise NetmorphError(f"unknown weights {name!r} of children{suggest(name, Inheritance)}; {known}")
    return Inheritance(name)
