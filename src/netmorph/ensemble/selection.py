"""Which networks answer together, and how often each counts: functions of their answers, which ask no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from netmorph.errors import NetmorphError
from netmorph.seeds import check_seed
from netmorph.tasks import Task

PICKS = 20
Judge = Callable[[Tensor, Tensor], Tensor]  # outputs and targets -> a scalar; less is better


class EnsembleError(NetmorphError):
    """Networks cannot answer together, or not as asked."""


def combined(outputs: Sequence[Tensor], task: Task, counts: Sequence[int] | None = None) -> Tensor:
    """The outputs of an ensemble, see `netmorph.tasks.Task.combined`.

    Args:
        outputs: of each member `[B, ...]`, for the same samples.
        counts: how often each member counts, 0 or more; None counts all once. A weight is a count over their sum.

    Raises:
        EnsembleError: nobody counts.
    """
    counts = check_counts(counts, len(outputs))
    return task.combined([one for one, count in zip(outputs, counts, strict=True) for _ in range(count)])


@torch.no_grad()
def greedy(
    outputs: Sequence[Tensor],
    targets: Tensor,
    task: Task,
    *,
    picks: int = PICKS,
    judge: Judge | None = None,
    bags: int = 1,
    share: float = 0.5,
    seed: int = 0,
) -> tuple[int, ...]:
    """How often each network counts in an ensemble that is put together one pick after the other.

    Each pick is the network that makes the ensemble so far best on these samples; one that was picked may be picked
    again. Of all the ensembles on the way, the best is kept. With few samples, a large library of networks is learnt
    by heart like anything else: then `bags` asks several times, for random parts of the library each, and adds up.

    Source: R. Caruana et al., Ensemble selection from libraries of models, 2004.

    Args:
        outputs: of each network `[N, ...]`, for the same samples: those of validation.
        targets: of these samples `[N, ...]`.
        picks: at most so many, in each bag.
        judge: what makes an ensemble good; the task's loss by default, which notices more than the share of right
            answers does, and so is fitted to the samples' chance less.
        bags: how many times; 1 looks at the whole library.
        share: of the library, in each of several bags.
        seed: of what is in a bag.

    Returns:
        A count for each network; their sum is at most `bags * picks`. They are what `combined` and `Ensemble` take.

    Raises:
        EnsembleError: no networks, or a number out of range.
    """
    if not outputs:
        raise EnsembleError("there is no network to choose among; give the outputs of one, or of several")
    if picks < 1 or bags < 1 or not 0 < share <= 1:
        raise EnsembleError(
            f"picks and bags are at least 1, and share is above 0 and at most 1; got {picks}, {bags} and {share}"
        )
    check_seed(seed)
    judge = task.loss if judge is None else judge
    everyone = list(range(len(outputs)))
    if bags == 1:
        return _counted(_picked(everyone, outputs, targets, task, picks, judge), len(outputs))
    generator, size = np.random.default_rng(seed), math.ceil(share * len(outputs))
    picked: list[int] = []
    for _ in range(bags):
        bag = sorted(generator.permutation(len(outputs))[:size].tolist())
        picked += _picked(bag, outputs, targets, task, picks, judge)
    return _counted(picked, len(outputs))


def check_counts(counts: Sequence[int] | None, members: int) -> tuple[int, ...]:
    """A count for each member.

    Raises:
        EnsembleError: they are others, or nobody counts.
    """
    if not members:
        raise EnsembleError("there is no network that could answer; give one, or several")
    found = (1,) * members if counts is None else tuple(counts)
    if len(found) != members or min(found) < 0 or not any(found):
        raise EnsembleError(
            f"each of the {members} networks has a count of 0 or more, and one of them counts; got {list(found)}"
        )
    return found


def _picked(
    library: Sequence[int], outputs: Sequence[Tensor], targets: Tensor, task: Task, picks: int, judge: Judge
) -> list[int]:
    """The picks that lead to the best ensemble on the way."""
    chosen: list[int] = []
    best, kept = math.inf, 0
    for number in range(1, picks + 1):
        so_far = [outputs[index] for index in chosen]
        losses = [float(judge(task.combined([*so_far, outputs[index]]), targets)) for index in library]
        lowest = min((loss for loss in losses if math.isfinite(loss)), default=math.nan)  # one may have diverged
        if not math.isfinite(lowest):
            raise EnsembleError(f"what judges the ensembles is {lowest} of each; look at the networks' outputs")
        chosen.append(library[losses.index(lowest)])
        if lowest < best:
            best, kept = lowest, number
    return chosen[:kept]


def _counted(picked: Sequence[int], members: int) -> tuple[int, ...]:
    return tuple(picked.count(index) for index in range(members))
