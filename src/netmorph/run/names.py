"""The names that a run folder holds, each written in one place; what is stored are these strings."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from netmorph.errors import NetmorphError, suggest

Name = TypeVar("Name", bound=StrEnum)


class ArmName(StrEnum):
    """Arms that come along; a further one has a name of its own."""

    EVOLVE = "evolve"
    """Children of the best, with inherited weights."""
    ALONE = "alone"
    """The start network trained on, a chain by parent."""
    RANDOM = "random"
    """Random networks from scratch."""
    LOCAL = "local"
    """Local search from the start network, a chain by parent."""
    DESIGNED = "designed"
    """A network as somebody designed it, trained from scratch."""


class Inheritance(StrEnum):
    """What the children of an evolution have of their parents' weights."""

    INHERITED = "inherited"
    """All of them, in a copy."""
    FRESH = "fresh"
    """None: they are drawn anew."""
    SHARED = "shared"
    """The very same: parents and children train what they have in common together."""


class Drawing(StrEnum):
    """Which network a step trains where they share their weights."""

    UNIFORM = "uniform"
    """Each as often as any other."""
    RANK = "rank"
    """Survivors more often than children, better ones more often than others."""


class Guidance(StrEnum):
    """What draws the edits of children, among those that proposals find."""

    UNIFORM = "uniform"
    """The first that fits."""
    BANDIT = "bandit"
    """What paid before, by kind and place."""
    GRADIENT = "gradient"
    """Where the loss asks for it most."""
    RANK = "rank"
    """Growth where features use all directions, and the reverse."""
    TREND = "trend"
    """Growth where gradients do not die out towards the last channels, and the reverse."""
    SURROGATE = "surrogate"
    """What a model of the run's own scores expects most of."""


class Selecting(StrEnum):
    """By what networks live on, see `netmorph.policy.selection`."""

    FRONT = "front"
    """By Pareto rank, then those without which the front's hypervolume would shrink most."""
    RANK = "rank"
    """By Pareto rank, then by score."""
    BEST = "best"
    """By score alone."""
    COVER = "cover"
    """Together they are to answer the validation set: what is answered well counts less for the next."""


class Against(StrEnum):
    """What the score is weighed against where Pareto ranks count."""

    FLOPS = "flops"
    PARAMETERS = "parameters"
    LATENCY = "latency"
    """Measured where a network is born; it differs from run to run, so the lineage may too."""


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


# What a name of each is called where a user gave one that there is not.
_CALLED: Mapping[type[StrEnum], str] = {
    Inheritance: "weights of children",
    Drawing: "way to draw networks",
    Guidance: "guide",
    Selecting: "selection",
    Against: "cost",
}


def named(kind: type[Name], name: str) -> Name:
    """The one of this name, as a user gave it.

    Raises:
        NetmorphError: there is none.
    """
    if name not in [*kind]:
        known = ", ".join(kind)
        raise NetmorphError(f"unknown {_CALLED[kind]} {name!r}{suggest(name, [*map(str, kind)])}; known are {known}")
    return kind(name)
