"""Answers for people: verdicts in sentences, differences in points."""

from __future__ import annotations

from collections.abc import Sequence

from netmorph.neighbours.answers import Answer, Difference
from netmorph.neighbours.steps import INHERITED
from netmorph.neighbours.values import Neighbour
from netmorph.tasks import Criterion


def amount(value: float, criterion: Criterion, sign: str = "") -> str:
    """How far two scores are apart: 0.0041 of a share is "0.41 points".

    Args:
        sign: "+" tells it of positive ones, too.
    """
    return f"{100 * value:{sign}.2f} points" if criterion.is_share else f"{value:{sign}.4g}"


def interval(each: Difference, criterion: Criterion) -> str:
    """A difference with its 95% interval: "+0.41 (0.10 to 0.72)"."""
    factor, form = (100, ".2f") if criterion.is_share else (1, ".4g")
    return f"{factor * each.mean:+{form}} ({factor * each.low:{form}} to {factor * each.high:{form}})"


def verdict(found: Answer, around: Sequence[Neighbour], criterion: Criterion, model: str) -> str:
    """Whether the network is a peak, as far as can be told, in a few sentences."""
    count, better = len(found.rivals), found.better
    weights = f"With {found.start} weights"
    if not count:
        return f"{weights} no neighbour of at most equal cost is left to compare {model} with."
    if found.is_peak:
        than = f"better than {model} by more than {amount(found.bound, criterion)}" if found.bound > 0 else "as good"
        worse = sum(each.is_worse for each in found.rivals)
        return (
            f"{weights} no neighbour is {than}: a peak, as far as {count} neighbours at {found.seeds} seeds can tell. "
            f"{worse} of them {_are(worse)} worse beyond chance. A difference of {amount(found.visible, criterion)} "
            "would have been seen with a probability of 80%."
        )
    best = better[0]
    return (
        f"{weights} {len(better)} of {count} neighbours {_are(len(better))} better than {model}, the "
        f"best by {amount(best.mean, criterion)} (95% interval {interval(best, criterion)}): not a peak. The best is "
        f"number {best.neighbour}, {around[best.neighbour].name}."
    )


def asides(found: Answer, around: Sequence[Neighbour]) -> list[str]:
    """What else has to be told of an answer."""
    told = []
    better = [each.neighbour for each in found.dearer if each.is_better]
    if found.dearer:
        told.append(
            f"Of {len(found.dearer)} that cost more, {len(better)} {_are(len(better))} better beyond "
            f"chance with {found.start} weights, which would refute no peak."
        )
    if found.failed:
        names = ", ".join(f"{number} ({around[number].name})" for number in found.failed)
        told.append(f"With {found.start} weights, left out because a training failed: {names}.")
    if found.start == INHERITED:
        told.append(
            "Inherited weights: layers that come in pass their input on; a group that gets wider keeps what the "
            "network computes; of one that gets narrower those channels stay that the others explain least, and their "
            "readers make up for what goes; a layer that goes out takes along what it did. What these edits cost "
            "before training is in the table."
        )
    return told


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
