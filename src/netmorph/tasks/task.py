"""What a network is trained for: how a batch becomes a loss, which numbers are told, and which one chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from netmorph.errors import NetmorphError
from netmorph.tasks.criterion import BY_LOSS, Criterion

LOSS = "loss"  # the number that every task tells

Loss = Callable[[Tensor, Tensor], Tensor]
Numbers = Mapping[str, float]


class TaskError(NetmorphError):
    """A task does not fit what it is given."""


def _nothing(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {}


def _as_they_are(means: Numbers) -> dict[str, float]:
    return dict(means)


def _mean(outputs: Sequence[Tensor]) -> Tensor:
    return outputs[0] if len(outputs) == 1 else torch.stack(list(outputs)).mean(0)


def _itself(outputs: Tensor) -> Tensor:
    return outputs


def _anything(outputs: Tensor, targets: Tensor) -> None:
    return None


def share_of(right: Tensor) -> Tensor:
    """The share of true entries; in double precision where the device has it: equal counts are equal shares then."""
    return right.mean(dtype=torch.float32 if right.device.type == "mps" else torch.float64)


@dataclass(frozen=True, eq=False)
class Objective:
    """What training makes small.

    Attributes:
        loss: of a batch, a mean, a scalar.
        count: of a batch's targets, what that mean is a mean over: its samples, or the sum of their weights. Parts of a
            batch, and the batches of several processes, are put together in this proportion.
    """

    loss: Loss
    count: Callable[[Tensor], Tensor | int] = len


class Exhibit(StrEnum):
    """What the report of a run shows of its test beside the task's numbers."""

    NUMBERS = "numbers"
    """Nothing more."""
    CLASSES = "classes"
    """How well each class is recognized; answers are probabilities [B, classes]."""
    VALUES = "values"
    """Predicted values against true ones, and the errors; answers are values [B, K]."""
    TOKENS = "tokens"
    """The loss by the position in a window, and a text that the networks write; answers are probabilities
    [B, T, tokens]."""


@dataclass(frozen=True, eq=False)
class Constant:
    """The answer that looks at no input, which a network has to beat.

    Attributes:
        name: for people.
        output: targets of the train part [N, ...] and how many numbers a network answers with -> the output for any
            sample, without the dimension of the batch.
    """

    name: str
    output: Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class Task:
    """Two functions of outputs and targets are a task: `Task("mine", loss, numbers)`. The rest has defaults.

    All functions are given outputs `[B, ...]` in float32 or wider and targets `[B, ...]`, and neither look at values
    nor keep anything: they run on any device without waiting for it, and under `torch.func.vmap`.

    Attributes:
        name: for people, and for the records of a run.
        loss: of a batch, the mean over its samples, a scalar: it is trained by and validated.
        numbers: further means over a batch, scalars by name. Means over a whole part are weighted by samples.
        told: what is told of the means over a part, `"loss"` among them: what is no mean itself (the root of one, say)
            is computed here.
        chooses: the told number that chooses the best epoch and ranks networks.
        combined: several networks' outputs for the same samples as those of their ensemble; the mean by default.
        answers: outputs as a user wants them: probabilities, or values in their own units.
        softened: what training makes small under label smoothing and weights of the classes `[classes]`; None where
            there are no classes: recipes that ask for either are refused.
        check: refuses outputs and targets that do not fit each other, maybe of other samples; called before anything
            is trained.
        exhibit: what reports show of the test beside the told numbers.
        constant: the answer that a report sets beside the networks', if there is a sensible one.

    Raises:
        TaskError: `chooses` is no `Criterion`.
    """

    name: str
    loss: Loss
    numbers: Callable[[Tensor, Tensor], Mapping[str, Tensor]] = _nothing
    told: Callable[[Numbers], Mapping[str, float]] = _as_they_are
    chooses: Criterion = BY_LOSS
    combined: Callable[[Sequence[Tensor]], Tensor] = _mean
    answers: Callable[[Tensor], Tensor] = _itself
    softened: Callable[[float, Tensor | None], Objective] | None = None
    check: Callable[[Tensor, Tensor], None] = _anything
    exhibit: Exhibit = Exhibit.NUMBERS
    constant: Constant | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.chooses, Criterion):
            raise TaskError(
                f"the task {self.name!r} chooses by a Criterion, which says which way a number is good: "
                f"Criterion({str(self.chooses)!r}, higher_is_better=...); got {self.chooses!r}"
            )

    def objective(self, smoothing: float = 0.0, weights: Tensor | None = None) -> Objective:
        """What training makes small.

        Args:
            smoothing: share of the target that is spread over all classes.
            weights: what the loss of each class counts.

        Raises:
            TaskError: one of both is asked for, and the task has no classes.
        """
        if not smoothing and weights is None:
            return Objective(self.loss)
        if self.softened is None:
            raise TaskError(
                f"label smoothing and class weights are for tasks with classes; {self.name!r} has none. Leave them out"
            )
        return self.softened(smoothing, weights)

    def score(self, told: Numbers) -> float:
        """The number that chooses, see `Criterion.score`.

        Raises:
            TaskError: it is not told.
        """
        if self.chooses.name not in told:
            raise TaskError(
                f"the task {self.name!r} chooses by {self.chooses.name!r}, which is not among the numbers that it "
                f"tells: {', '.join(told)}"
            )
        return self.chooses.score(told[self.chooses.name])
