"""What agents search for and what is found, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from netmorph.typed import check_fields

Prefix = tuple[str, ...]  # the ids of the layers so far, the first one first
SOLVED = "solved"  # the end that is no layer of the bank: a linear head, solved for the features there

WORST = 2.0  # the largest squared distance between two distributions over classes


@dataclass(frozen=True)
class Chain:
    """Layers of a bank one behind another, and what ends them: `SOLVED`, or the id of a detached dense layer."""

    layers: Prefix
    end: str

    def __str__(self) -> str:
        return " > ".join((*self.layers, self.end))


@dataclass(frozen=True)
class Outcome:
    """How good a chain is on the samples kept for the choice, and what it costs.

    Attributes:
        loss: the mean over the samples of `|answer - target|^2`, where targets are one-hot, and answers those of a
            solved head as they are or the probabilities of a detached one (the Brier score); at most `WORST`.
        accuracy: the share of right answers.
        flops: of one sample's forward pass, head and stitches included.
        parameters: likewise.
        failure: why it answers nothing (its features are infinite, say); loss and accuracy are the worst then.
    """

    loss: float
    accuracy: float
    flops: int
    parameters: int
    failure: str | None = None


@dataclass(frozen=True)
class Lesson:
    """Layers that learnt while a chain was searched for.

    Attributes:
        chain: they stand in it, and stay as they are.
        copies: the same chain of their copies, which are new layers of the bank from then on.
    """

    chain: Chain
    copies: Chain


@dataclass(frozen=True)
class Record:
    """A distinct chain, in the order in which they were judged.

    Attributes:
        spent: FLOPs of the search up to and with it: layers, stitches, heads and gradients; what the cache had is not
            counted.
        expected: what the agent thought it was worth; None if it thinks nothing.
        seconds: of the search so far.
        gradients: slope, trend and importance of each of its layers (`netmorph.chain.gradients.Told`), where they were
            looked at.
        lesson: what followed it.
    """

    chain: Chain
    outcome: Outcome
    spent: int
    expected: float | None = None
    seconds: float = field(default=0.0, compare=False)
    gradients: tuple[tuple[float, float, float], ...] = ()
    lesson: Lesson | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @staticmethod
    def from_json(told: dict[str, Any]) -> Record:
        """What `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it did not write this.
        """
        learnt = told.get("lesson")
        lesson = None if learnt is None else Lesson(_chain(learnt["chain"]), _chain(learnt["copies"]))
        gradients = tuple(tuple(numbers) for numbers in told.get("gradients", ()))
        parts = {"chain": _chain(told["chain"]), "outcome": Outcome(**told["outcome"])}
        record = Record(**told | parts | {"lesson": lesson, "gradients": gradients})
        for part in (record.outcome, record):
            check_fields(part)
        return record


def _chain(told: dict[str, Any]) -> Chain:
    chain = Chain(tuple(told["layers"]), told["end"])
    check_fields(chain)
    return chain
