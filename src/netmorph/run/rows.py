"""What a run records of one network, of an edit that made it, and of an epoch that trained it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from netmorph.run.names import State


@dataclass(frozen=True)
class EditRecord:
    """One edit that made a network from its parent, and what it did before any training."""

    kind: str
    """What was done and how: "widen r2r", "deepen net2net", ..."""
    layer: str
    """Path of the edited layer."""
    before: int
    """Width, or count of layers, before the edit."""
    after: int
    """The same after it."""
    share_new: float
    """New parameters as a share of the child's parameters."""
    error: float
    """Largest difference between the outputs before and after, relative to the outputs before; of exact edits that were
    made in one step, that of all of them."""
    jump: float
    """Score after the edit minus before, on the first samples of the validation set (of a small one on all). Of exact
    edits at the end of a birth, that of all of them; of exact ones before one that is not, 0: it is in that one's."""

    def __str__(self) -> str:
        return f"{self.kind} {self.layer} {self.before} → {self.after}"


@dataclass(frozen=True)
class NetworkRecord:
    """One network of a run. FLOPs count a multiply-add as two."""

    id: int
    arm: str
    """A `netmorph.run.names.ArmName`, or the name of a further arm."""
    round: int
    parent: int | None
    seed: int
    state: State
    parameters: int
    flops: int
    """Forward FLOPs for one sample."""
    training_flops: int
    """FLOPs spent training this network, forward and backward, all its epochs; its ancestors' excluded."""
    seconds: float
    score: float | None
    """On the validation set, see `netmorph.tasks.Task.score`: more is better; None while unknown."""
    numbers: Mapping[str, float]
    """What the task tells of the validation set; none while unknown."""
    survivor: bool
    """Part of the population that the last round selected."""
    edits: tuple[EditRecord, ...]
    failure: str | None
    latency: float | None = None
    """Seconds of a forward for one sample, measured where the network was born; None where nobody asked."""
    smoothed: float | None = None
    """The mean over the validation set of the probability of the right answer; None where nobody asked. Where it is
    there, networks are compared by it: a small set tells it better than the share that is right."""
    recipe: Mapping[str, float] = field(default_factory=dict)
    """What it was trained with in place of what the run's recipe says: its learning rate, say."""


class Outline(NamedTuple):
    """What a picture of a whole run shows of one network; see `NetworkRecord`."""

    id: int
    arm: str
    round: int
    parent: int | None
    state: str
    parameters: int
    flops: int
    training_flops: int
    seconds: float
    score: float | None


class Failures(NamedTuple):
    """The networks that failed for one reason."""

    reason: str
    networks: int
    """How many."""
    latest: int
    """The newest id among them."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training one network."""

    network: int
    epoch: int
    train: Mapping[str, float]
    validation: Mapping[str, float]
    score: float
    learning_rate: float
    seconds: float
