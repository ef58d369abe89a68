"""Roots of sizes: the numbers that a forward divides its attention scores by.

`math.sqrt(head_dim)` and `head_dim ** -0.5` are `Root`s while a model is recorded: floats that know which size they
follow, and with which power. An operator that multiplies by one is told of it; weights can then take up what an edit of
that size changes. Of any other use, the value is what counts, and a size that would change it is refused when it is
edited (see `predict.disagreement`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netmorph.graph.value import Value

if TYPE_CHECKING:
    from netmorph.graph.axis import Axis
    from netmorph.graph.facts import Facts
    from netmorph.graph.sources import Source


class Root(float):
    """A float that is proportional to a power of a size.

    Attributes:
        source: of the size.
        size: its value.
        power: 0.5 for the root, -0.5 for one over it.
        facts: of the recording.
    """

    source: Source
    size: int
    power: float
    facts: Facts

    def __new__(cls, value: float, source: Source, size: int, power: float, facts: Facts) -> Root:
        """A `float` like any other for whoever does not look."""
        made = super().__new__(cls, value)
        made.source, made.size, made.power, made.facts = source, size, power, facts
        if facts.handed is not None:
            facts.handed.append(made)
        return made

    def kept(self, facts: Facts) -> Root:
        """The same for a recording to keep."""
        return Root(float(self), self.source, self.size, self.power, facts)

    __hash__ = float.__hash__

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        """A copy or a pickle is a plain float."""
        return float, (float(self),)

    def __mul__(self, other: Any) -> Any:
        """A multiple is proportional to the same power."""
        return self._as(float(self) * other, self.power) if _is_plain(other) else float.__mul__(self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        """See `__mul__`."""
        return self._as(float(self) / other, self.power) if _is_plain(other) else float.__truediv__(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        """One over it is proportional to the opposite power."""
        return self._as(other / float(self), -self.power) if _is_plain(other) else float.__rtruediv__(self, other)

    def __pow__(self, other: Any) -> Any:  # type: ignore[override]
        """A root of it is proportional to a part of the power."""
        if not _is_plain(other) or self <= 0:
            return float.__pow__(self, other)
        return self._as(float(self) ** other, self.power * other)

    def __neg__(self) -> Root:
        """See `__mul__`."""
        return self._as(-float(self), self.power)

    def _as(self, value: float, power: float) -> Root:
        return Root(value, self.source, self.size, power, self.facts)


def _is_plain(other: Any) -> bool:
    return type(other) is int or type(other) is float


@dataclass(frozen=True, eq=False)
class RootFactor:
    """A tensor is multiplied by a power of a width.

    Attributes:
        value: the tensor that enters, the queries or the scores.
        axis: as long as the width.
        power: of the width.
    """

    value: Value
    axis: Axis
    power: float
