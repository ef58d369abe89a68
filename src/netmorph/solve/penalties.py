"""How much a head's weights should cost: errors on samples that were left out, for many penalties at once.

Three ways, each a function to a dictionary of errors by penalty:

- `leave_one_out`: exact, as if a head had been solved for each sample without that sample (its mean included). It needs
  one eigendecomposition for all penalties, and the features a second time.
- `generalized`: the same with the mean leverage of all samples in the place of each one's own (generalized
  cross-validation; Golub, Heath & Wahba, 1979). It needs the moments alone and is an estimate.
- `held_out`: exact for the samples that were held out, by their moments. It needs a Cholesky factorization for each
  penalty, which for thousands of features is far cheaper than an eigendecomposition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from netmorph.solve.linear import check_solvable, ridge, squared_error
from netmorph.solve.moments import Moments, Pair, SolveError

# Relative to the mean of the features' sums of squares.
PENALTIES = tuple(10.0**power for power in range(-8, 2))

Cost = Callable[[Tensor, Tensor], Tensor]  # answers and targets [B, k] -> [B]


def squared(answers: Tensor, targets: Tensor) -> Tensor:
    """`|answer - target|^2` of each sample, `[B]`."""
    return (answers - targets).square().sum(-1)


def wrong(answers: Tensor, targets: Tensor) -> Tensor:
    """1 for each sample whose largest answer is for another class than its largest target, `[B]`."""
    return (answers.argmax(-1) != targets.argmax(-1)).double()


def choose_penalty(
    moments: Moments,
    batches: Iterable[Pair] | None = None,
    penalties: Sequence[float] | None = None,
    cost: Cost = squared,
) -> float:
    """The penalty with the smallest error: by `leave_one_out` where batches are given, else by `generalized`.

    Args:
        moments: of all samples.
        batches: the same samples, in any order.
        penalties: those to choose among; `PENALTIES` times `moments.scale` by default.
        cost: what counts as an error; without batches it is squared.

    Raises:
        SolveError: see `leave_one_out`.
    """
    if batches is not None:
        return best(leave_one_out(moments, batches, penalties, cost))
    return best(generalized(moments, penalties))


def best(errors: dict[float, float]) -> float:
    """The penalty with the smallest error; the larger one of two that are equal."""
    return min(errors, key=lambda penalty: (errors[penalty], -penalty))


@torch.no_grad()
def leave_one_out(
    moments: Moments, batches: Iterable[Pair], penalties: Sequence[float] | None = None, cost: Cost = squared
) -> dict[float, float]:
    """For each penalty the mean cost of the answer to each sample by the head of all the others.

    A linear smoother with leverage `h` answers a left out sample with `y - (y - answer) / (1 - h)`, exactly; here
    `h = 1 / count + (x - mean)^T (gram + penalty)^-1 (x - mean)`, where the first term is the bias.

    Args:
        moments: of all samples.
        batches: the same samples, gone through once; `d^2` multiply-adds each.

    Raises:
        SolveError: the batches are not as many samples as the moments are of; or see `ridge`.
    """
    values, vectors = _eigen(moments)
    chosen = _penalties(moments, penalties)
    shrunk = [1 / (values + penalty) for penalty in chosen]
    turned = vectors.T @ moments.cross
    sums = torch.zeros(len(chosen), dtype=torch.float64)
    seen = 0
    for features, targets in batches:
        x = (features - moments.mean.to(features)) @ vectors.to(features)
        for number, inverse in enumerate(shrunk):
            answers = (x @ (inverse[:, None] * turned).to(x)).double() + moments.target_mean
            leverage = 1 / moments.count + (x.square() @ inverse.to(x)).double()
            left_out = targets - (targets - answers) / (1 - leverage)[:, None]
            sums[number] += float(cost(left_out, targets.double()).sum())
        seen += len(features)
    if seen != moments.count:
        raise SolveError(
            f"leaving out needs the samples of the moments, all {moments.count} of them; the batches hold {seen} "
            "(an iterator is used up when it is gone through once: give a list)"
        )
    return {penalty: _or_infinite(float(total) / seen) for penalty, total in zip(chosen, sums, strict=True)}


def generalized(moments: Moments, penalties: Sequence[float] | None = None) -> dict[float, float]:
    """For each penalty an estimate of what `leave_one_out` finds with squared errors, from the moments alone.

    Raises:
        SolveError: see `ridge`.
    """
    values, vectors = _eigen(moments)
    explained = (vectors.T @ moments.cross).square().sum(1)
    found = {}
    for penalty in _penalties(moments, penalties):
        inverse = 1 / (values + penalty)
        left = float(moments.squares.sum() - (explained * (2 * inverse - values * inverse.square())).sum())
        freedom = 1 - (1 + float((values * inverse).sum())) / moments.count
        found[penalty] = _or_infinite(left / moments.count / freedom**2 if freedom > 0 else math.inf)
    return found


def held_out(moments: Moments, held: Moments, penalties: Sequence[float] | None = None) -> dict[float, float]:
    """For each penalty the mean squared error on the samples held out, of heads solved without them.

    Args:
        moments: of all samples, the held ones among them.
        held: of those held out.

    Raises:
        SolveError: nothing is left, or see `ridge`.
    """
    rest = moments - held
    return {penalty: squared_error(held, ridge(rest, penalty)) for penalty in _penalties(rest, penalties)}


def _penalties(moments: Moments, penalties: Sequence[float] | None) -> list[float]:
    chosen = [moments.scale * each for each in PENALTIES] if penalties is None else list(penalties)
    if not chosen or not all(penalty > 0 for penalty in chosen):
        raise SolveError(f"penalties to choose among are numbers above 0, got {chosen}")
    return chosen


def _eigen(moments: Moments) -> tuple[Tensor, Tensor]:
    check_solvable(moments)
    values, vectors = torch.linalg.eigh(moments.gram)
    return values.clamp_min(0), vectors


def _or_infinite(error: float) -> float:
    """Where a sample determines its own answer, nothing is left once it is left out: 0 / 0."""
    return error if math.isfinite(error) else math.inf
