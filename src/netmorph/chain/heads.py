"""The end of a chain: features as rows, a head solved for them, and how good answers are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.bank import Signature
from netmorph.bank.attach import POOLS
from netmorph.chain.values import WORST, Outcome
from netmorph.solve import Head, Moments, SolveError, choose_penalty, one_hot, ridge

# Relative to the mean of the features' sums of squares. Smaller ones let features that follow from one another decide.
PENALTIES = tuple(10.0**power for power in range(-5, 2))
SHARPNESS = tuple(2 ** (power / 2) for power in range(15))

Readout = Callable[[Signature], nn.Module]  # of features [N, ...] -> what makes rows [N, d] of them


class OverPositions(nn.Module):
    """[N, T, C] -> [N, C]: the mean of a sequence."""

    def forward(self, x: Tensor) -> Tensor:
        """Return one row for each sample."""
        return x.mean(1)


class Pooled:
    """Means over a grid of cells, the finest one that gives at most so many numbers; over all positions of a sequence.

    Vectors, and features that are few enough, stay as they are.
    """

    def __init__(self, width: int = 512) -> None:
        self.width = width

    def __call__(self, features: Signature) -> nn.Module:
        """The module; PyTorch's own layers, but for sequences."""
        sizes = features.shape
        if len(sizes) == 1:
            return nn.Identity()
        if features.channel != 0:
            return OverPositions()
        sides = sizes[1:]
        cells = next((side for side in range(max(sides), 0, -1) if _count(sizes[0], sides, side) <= self.width), 1)
        if cells >= max(sides) or len(sides) not in POOLS:
            return nn.Flatten()
        return nn.Sequential(POOLS[len(sides)](tuple(min(cells, side) for side in sides)), nn.Flatten())


def moments_of(batches: Iterable[tuple[Tensor, Tensor]], classes: int) -> Moments:
    """Those of rows [B, d] and labels [B].

    Raises:
        SolveError: there are no batches, or the features are not finite.
    """
    moments = Moments.of((_wide(rows), one_hot(labels, classes)) for rows, labels in batches)
    if not bool(moments.gram.isfinite().all()):
        raise SolveError("the features are infinite or NaN on some samples")
    return moments


def solved_head(moments: Moments) -> Head:
    """The head that moments determine, its penalty chosen by generalized cross-validation.

    Raises:
        SolveError: the features tell nothing.
    """
    penalties = [moments.scale * share for share in PENALTIES]
    return ridge(moments, choose_penalty(moments, penalties=penalties) if moments.scale > 0 else 1.0)


def sharpness(head: Head, rows: Tensor, labels: Tensor) -> float:
    """The one of `SHARPNESS` times which a head's answers, as logits, have the smallest cross-entropy.

    Answers of a solved head are fitted to 0 and 1. As logits they are nearly equal probabilities, and a training would
    first of all make them larger, at the cost of what the layers are.

    Args:
        rows: features `[N, d]` that the head was not solved on; labels: their classes `[N]`.
    """
    answers = head(rows.double())
    return min(SHARPNESS, key=lambda factor: float(functional.cross_entropy(factor * answers, labels)))


def solving_flops(samples: int, features: int, classes: int) -> int:
    """What a head takes: the moments, and an eigendecomposition of `[d, d]`, about `10 d^3`."""
    return 2 * samples * features * (features + classes) + 10 * features**3


def outcome(answers: Tensor, labels: Tensor, flops: int, parameters: int) -> Outcome:
    """How good answers [N, classes] are.

    Args:
        answers: of a solved head, or probabilities.
    """
    if not bool(answers.isfinite().all()):
        return failed("its answers are infinite or NaN", flops, parameters)
    wanted = functional.one_hot(labels, answers.shape[1]).to(answers)
    loss = float((answers - wanted).square().sum(1).mean())
    accuracy = int((answers.argmax(1) == labels).sum()) / len(labels)
    return Outcome(min(loss, WORST), accuracy, flops, parameters)


def failed(why: str, flops: int, parameters: int) -> Outcome:
    """The outcome of a chain that answers nothing."""
    return Outcome(WORST, 0.0, flops, parameters, why)


def _count(channels: int, sides: tuple[int, ...], cells: int) -> int:
    count = channels
    for side in sides:
        count *= min(cells, side)
    return count


def _wide(rows: Tensor) -> Tensor:
    return rows if rows.dtype is torch.float64 else rows.float()
