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
class Record:
    """A distinct chain, in the order in which they were judged.

    Attributes:
        spent: FLOPs of the search up to and with it: layers, stitches and heads; what the cache had is not counted.
        expected: what the agent thought it was worth; None if it thinks nothing.
        seconds: of the search so far.
    """

    chain: Chain
    outcome: Outcome
    spent: int
    expected: float | None = None
    seconds: float = field(default=0.0, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @staticmethod
    def from_json(told: dict[str, Any]) -> Record:
        """What `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it did not write this.
        """
        chain = Chain(tuple(told["chain"]["layers"]), told["chain"]["end"])
        record = Record(**told | {"chain": chain, "outcome": Outcome(**told["outcome"])})
        for part in (chain, record.outcome, record):
            check_fields(part)
        return record
