"""A mean and its interval, as tables of benchmarks tell them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy import stats


def interval(values: Sequence[float], form: str) -> str:
    """The mean and half of its 95% interval by Student's t; one value by itself."""
    mean = form.format(statistics.mean(values))
    if len(values) < 2:
        return mean
    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean} ± {form.format(half).lstrip('+')}"
