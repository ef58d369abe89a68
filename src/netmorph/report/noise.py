"""How well the validation set tells networks apart, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from netmorph.run.ranking import best, trained
from netmorph.run.rows import NetworkRecord
from netmorph.tasks import Criterion


def standard_error(share: float, samples: int) -> float:
    """Of a share of so many independent samples."""
    return math.sqrt(share * (1 - share) / samples)


def noise(networks: Sequence[NetworkRecord], criterion: Criterion, samples: int | None) -> str | None:
    """How many networks are as good as the best one as far as the validation set can tell; None where it is not known
    how many samples that has, where what chooses is no share of them, or there is one network.

    One standard error is meant. Networks are judged by the same samples, so differences between them are known somewhat
    better than each by itself; what was chosen among many is likely to be lucky, so the test set is used once.
    """
    known, first = trained(networks), best(networks)
    if first is None or first.score is None or len(known) < 2 or not samples or not criterion.is_share:
        return None
    share = criterion.value(first.score)
    error = standard_error(share, samples)
    near = sum(network.score is not None and first.score - network.score <= error for network in known) - 1
    said = (
        f"Validation has {samples:,} samples: one is {1 / samples:.2%}, and {criterion.text(share)} is known to about "
        f"±{error:.2%}. Within that of the best: {near} of the other {len(known) - 1} networks."
    )
    return f"{said} Networks were compared by the mean probability of the right answer." if first.smoothed else said
