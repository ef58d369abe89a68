"""The number that chooses, by which networks are ranked and of which reports speak."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from netmorph.errors import NetmorphError
from netmorph.typed import check_fields


@dataclass(frozen=True)
class Criterion:
    """One of a task's numbers.

    Attributes:
        name: of the number.
        higher_is_better: which way it is good.
        is_share: it is a part of one, and told in percent.
    """

    name: str = "loss"
    higher_is_better: bool = False
    is_share: bool = False

    @property
    def better(self) -> str:
        """For people: "higher" is better, or "lower"."""
        return "higher" if self.higher_is_better else "lower"

    def score(self, value: float) -> float:
        """The number, so turned that more is better; NaN is worse than all."""
        if math.isnan(value):
            return -math.inf
        return value if self.higher_is_better else -value

    def value(self, score: float) -> float:
        """The number of a score."""
        return score if self.higher_is_better else -score

    def text(self, value: float | None) -> str:
        """A value for people: 98.71%, 0.1234, or 254,321."""
        if value is None or math.isnan(value):
            return "–"
        if self.is_share:
            return f"{value:.2%}"
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e12 else f"{value:.4g}"

    @staticmethod
    def of(told: Mapping[str, object] | None) -> Criterion:
        """The criterion whose fields were recorded; runs that recorded none classified.

        Raises:
            NetmorphError: no criterion is told like this.
        """
        if not told:
            return ACCURACY
        try:
            found = Criterion(**told)  # type: ignore[arg-type]
            check_fields(found)
        except TypeError as error:
            raise NetmorphError(f"the criterion of the run is none that netmorph writes: {error}") from error
        return found


BY_LOSS = Criterion("loss")
ACCURACY = Criterion("accuracy", higher_is_better=True, is_share=True)
TOP5 = Criterion("top5", higher_is_better=True, is_share=True)
