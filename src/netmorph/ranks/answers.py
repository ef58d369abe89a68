"""What the rows of a study answer: pure functions, each with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netmorph.ranks.looks import Look, Measures
from netmorph.ranks.rows import Row, StudyError

ROUNDS = 2000  # of the bootstrap
Numbers = NDArray[np.float64]
# Takes the measures of one kind (weights, gradients or features) out of a look.
Kind = Callable[[Look], Measures]


def weights(look: Look) -> Measures:
    """A `Kind`."""
    return look.weights


def gradients(look: Look) -> Measures:
    """A `Kind`."""
    return look.gradients


def features(look: Look) -> Measures:
    """A `Kind`."""
    return look.features


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval, by bootstrap over networks.

    Attributes:
        count: of the networks.
    """

    value: float
    low: float
    high: float
    count: int

    def excludes(self, null: float) -> bool:
        """Whether the interval lies on one side of a number."""
        return self.low > null or self.high < null

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def estimate(statistic: Callable[..., float], *columns: Sequence[float], seed: int = 0) -> Estimate:
    """A statistic of some columns, whose places are networks, with the percentiles of what resampled networks give.

    Args:
        statistic: gets each column as an array; NaN where it is not defined.

    Raises:
        StudyError: there are fewer than three networks, or the columns are not of one length.
    """
    table = np.asarray(columns, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 3:
        raise StudyError(f"an interval takes columns of at least three networks; got {[len(each) for each in columns]}")
    random = np.random.default_rng(seed)
    draws = random.integers(table.shape[1], size=(ROUNDS, table.shape[1]))
    found = [statistic(*table[:, draw]) for draw in draws]
    low, high = np.nanpercentile(found, (2.5, 97.5)) if np.isfinite(found).any() else (math.nan, math.nan)
    return Estimate(float(statistic(*table)), float(low), float(high), table.shape[1])


def spearman(one: Numbers, other: Numbers) -> float:
    """The correlation of ranks, ties at their mean; NaN where a column is constant."""
    return _pearson(_ranked(one), _ranked(other))


def spearman_given(one: Numbers, other: Numbers, third: Numbers) -> float:
    """The partial correlation of ranks, with a third column held fixed; NaN where it decides one of them."""
    ab, ac, bc = spearman(one, other), spearman(one, third), spearman(other, third)
    left = (1 - ac**2) * (1 - bc**2)
    return (ab - ac * bc) / math.sqrt(left) if left > 1e-12 else math.nan


def slope(x: Numbers, y: Numbers) -> float:
    """Of the straight line of least squares; NaN where x is constant."""
    spread = x - x.mean()
    total = float(spread @ spread)
    return float(spread @ (y - y.mean())) / total if total > 0 else math.nan


def mean(values: Numbers) -> float:
    """Of a column."""
    return float(values.mean())


def geometric(values: Numbers) -> float:
    """The geometric mean, of a column of logarithms."""
    return math.exp(float(values.mean()))


def log_ranks(row: Row, look: Look, kind: Kind, measure: str = "effective_rank") -> Numbers:
    """The logarithm of a measure of each hidden layer; what is below one counts as one.

    A layer that has vanished has no rank, and no logarithm; one direction is the least that a layer has.
    """
    found = kind(look)
    return np.asarray([math.log(max(found[layer][measure] or 0.0, 1.0)) for layer in row.hidden])


def rank_of(row: Row, look: Look, kind: Kind, measure: str = "effective_rank") -> float:
    """The logarithm of a network's rank, which is the geometric mean of those of its hidden layers."""
    return float(log_ranks(row, look, kind, measure).mean())


def width_of(row: Row) -> float:
    """The logarithm of the geometric mean of the widths."""
    return float(np.log(row.architecture.widths).mean())


def settled(row: Row, kind: Kind, by: float = 0.05) -> bool:
    """Whether a network's rank moved by less than a share over the last third of the epochs."""
    late = [rank_of(row, look, kind) for look in row.looks if look.epoch >= row.last.epoch * 2 / 3]
    return max(late) - min(late) < math.log1p(by)


def learned(row: Row, least: float = 0.9) -> bool:
    """Whether a network knows its training samples, be it by heart."""
    return row.failure is None and row.last.train["accuracy"] >= least


def pairs(rows: Sequence[Row], others: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The same networks under two conditions, as far as neither failed."""
    theirs = {row.network: row for row in others if row.failure is None}
    return [(row, theirs[row.network]) for row in rows if row.failure is None and row.network in theirs]


def ratio(matched: Sequence[tuple[Row, Row]], kind: Kind, measure: str = "effective_rank") -> Estimate:
    """How many times as high the converged rank is under the second condition; the geometric mean over networks.

    Raises:
        StudyError: there are fewer than three pairs.
    """
    logs = [rank_of(b, b.last, kind, measure) - rank_of(a, a.last, kind, measure) for a, b in matched]
    return estimate(geometric, logs)


def _ranked(values: Numbers) -> Numbers:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    found: Numbers = (ends - (counts - 1) / 2)[places]
    return found


def _pearson(one: Numbers, other: Numbers) -> float:
    one, other = one - one.mean(), other - other.mean()
    total = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / total if total > 0 else math.nan
