"""Integers that remember where they come from.

While a model is recorded, the integers that its modules hold and the sizes of its tensors are `Size`s: integers that
remember their source through arithmetic. So `x.reshape(B, N, self.num_heads, C // self.num_heads)` tells which
attribute must follow when heads are added, and an integer without a source is one written into the code.
`following.py` hands them out.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from netmorph.graph.facts import Facts
from netmorph.graph.lines import is_of_the_user, source_line
from netmorph.graph.roots import Root
from netmorph.graph.sources import (
    Comparison,
    Difference,
    Equality,
    Number,
    Opposite,
    Product,
    Quotient,
    Source,
    Total,
)

RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "!=": operator.ne,
}
_OTHERWISE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


class Size(int):
    """An integer with a source.

    Attributes:
        source: where it comes from.
        facts: shared by all sizes of a recording.
    """

    source: Source
    facts: Facts

    def __new__(cls, value: int, source: Source, facts: Facts) -> Size:
        """An `int` like any other for whoever does not look."""
        made = super().__new__(cls, value)
        made.source, made.facts = source, facts
        if facts.handed is not None:
            facts.handed.append(made)
        return made

    def __hash__(self) -> int:
        """As usual."""
        self.facts.hashed()
        return int.__hash__(self)

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """A copy or a pickle is a plain integer."""
        return int, (plain(self),)

    def __int__(self) -> int:
        """A plain integer, which Python insists on; it is known again when it comes back."""
        if not is_of_the_user(sys._getframe(1).f_code.co_filename):
            self.facts.lose_factor(plain(self), self.source)
        return self.lost()

    def lost(self) -> int:
        """The plain integer that goes on in place of this size, which is known again when it comes back."""
        self.facts.lose(plain(self), self.source)
        return plain(self)

    def _of(self, other: int) -> Source:
        return other.source if isinstance(other, Size) else self.facts.source(plain(other))

    def __mul__(self, other: Any) -> Any:
        """Follows products of integers; anything else as usual."""
        if isinstance(other, float):
            return self._scaled(other, sys._getframe(1))
        return self._product(other, lambda source: Product(self.source, source))

    def __rmul__(self, other: Any) -> Any:
        """See `__mul__`."""
        if isinstance(other, float):
            return self._scaled(other, sys._getframe(1))
        return self._product(other, lambda source: Product(source, self.source))

    def _product(self, other: Any, source: Callable[[Source], Source]) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        made = plain(self) * plain(other)
        return made if self.is_backward or made < 0 else Size(made, source(self._of(other)), self.facts)

    def _scaled(self, factor: float, frame: FrameType) -> float:
        """`int(size * 0.5)` and `int(size * 4.0)` are a quotient and a product."""
        part = 1 / factor if factor else 0.0
        made = self * int(factor) if factor.is_integer() else self // int(part) if part.is_integer() else None
        if isinstance(made, Size) and plain(made) == plain(self) * factor and self.facts.lines.is_rounded(frame):
            return float(made.lost())
        return self.number() * factor

    def __add__(self, other: Any) -> Any:
        """Follows sums."""
        return self._sum(other, lambda source: Total(self.source, source))

    def __radd__(self, other: Any) -> Any:
        """See `__add__`."""
        return self._sum(other, lambda source: Total(source, self.source))

    def _sum(self, other: Any, source: Callable[[Source], Source]) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        if plain(other) == 0:
            return self
        if isinstance(other, Size) and other.is_backward:
            return self - -other
        made = plain(self) + plain(other)
        if self.is_backward:
            return other - -self if isinstance(other, Size) else made
        if plain(other) < 0:
            return made
        return Size(made, source(self._of(other)), self.facts)

    def __sub__(self, other: Any) -> Any:
        """Follows differences that leave something."""
        if not isinstance(other, int):
            return NotImplemented
        left = plain(self) - plain(other)
        if plain(other) == 0:
            return self
        if left < 1 or plain(other) < 0 or self.is_backward:
            return left
        return Size(left, Difference(self.source, self._of(other), left), self.facts)

    def __rsub__(self, other: Any) -> Any:
        """See `__sub__`."""
        if not isinstance(other, int):
            return NotImplemented
        return Size(plain(other), self._of(other), self.facts) - self

    def __neg__(self) -> Any:
        """A place counted from the end; twice is the size again."""
        source = self.source.of if isinstance(self.source, Opposite) else Opposite(self.source)
        return Size(-plain(self), source, self.facts) if plain(self) else 0

    @property
    def is_backward(self) -> bool:
        """Whether it counts from the end."""
        return isinstance(self.source, Opposite)

    def __floordiv__(self, other: Any) -> Any:
        """Follows quotients; of one that is nothing, the value enters a computation."""
        if not isinstance(other, int):
            return NotImplemented
        if self.is_backward and plain(other) > 0 and plain(self) % plain(other) == 0:
            return -(-self // other)
        quotient = plain(self) // plain(other)
        if quotient < 1:
            return self.number() // plain(other)
        return Size(quotient, Quotient(self.source, self._of(other), quotient), self.facts)

    def __rfloordiv__(self, other: Any) -> Any:
        """See `__floordiv__`."""
        if not isinstance(other, int):
            return NotImplemented
        return Size(plain(other), self._of(other), self.facts) // self

    def __divmod__(self, other: Any) -> Any:
        """See `__floordiv__`; what is left over is a plain integer."""
        return (self // other, self % other) if isinstance(other, int) else NotImplemented

    def __rdivmod__(self, other: Any) -> Any:
        """See `__divmod__`."""
        return (other // self, other % plain(self)) if isinstance(other, int) else NotImplemented

    def __rshift__(self, other: Any) -> Any:
        """Halves."""
        return self // (1 << plain(other)) if isinstance(other, int) else NotImplemented

    def __lshift__(self, other: Any) -> Any:
        """Doubles: so many times the whole."""
        return (1 << plain(other)) * self if isinstance(other, int) else NotImplemented

    def __rrshift__(self, other: Any) -> Any:
        """The value enters a computation."""
        return other >> self.number() if isinstance(other, int) else NotImplemented

    def __rlshift__(self, other: Any) -> Any:
        """See `__rrshift__`."""
        return other << self.number() if isinstance(other, int) else NotImplemented

    def __abs__(self) -> Any:
        """The same, or what a place counted from the end is counted by."""
        return -self if plain(self) < 0 else self

    def _itself(self, *_: Any) -> Any:
        """What rounding leaves of an integer."""
        return self

    __pos__ = __trunc__ = __floor__ = __ceil__ = __round__ = _itself

    def number(self) -> int:
        """The plain value, to compute with: from here on it is lost where it came from."""
        self.facts.equal.append(Equality(self.source, Number(plain(self)), source_line()))
        return plain(self)

    def __truediv__(self, other: Any) -> Any:
        """The value enters a computation, unless that is `int(size / other)` without a remainder."""
        if isinstance(other, int) and plain(other) > 0 and plain(self) % plain(other) == 0:
            quotient = self // other
            if isinstance(quotient, Size) and self.facts.lines.is_rounded(sys._getframe(1)):
                return float(quotient.lost())
        return self.number() / other if isinstance(other, int | float) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        """See `__truediv__`."""
        return other / self.number() if isinstance(other, int | float) else NotImplemented

    def __pow__(self, other: Any) -> Any:  # type: ignore[override]
        """A root is followed; see `__truediv__` of other powers."""
        if type(other) is float:
            return Root(plain(self) ** other, self.source, plain(self), other, self.facts)
        return self.number() ** plain(other) if isinstance(other, int) else self.number() ** other

    def __float__(self) -> float:
        """See `__truediv__`; `math.sqrt` calls this."""
        return float(self.number())

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """See `__truediv__`; `np.sqrt` calls this."""
        whole = [entry.number() if isinstance(entry, Size) else entry for entry in inputs]
        return getattr(function, method)(*whole, **options)

    def __eq__(self, other: object) -> bool:
        """As usual; what is found equal has to stay equal for the forward to go the same way."""
        if not isinstance(other, int):
            return plain(self) == other
        same = plain(self) == plain(other)
        looking = self.facts.in_a_lookup() if same else None
        if looking is not None:
            if isinstance(other, Size) and other.source == self.source:
                return True
            if looking in self.facts.apart:
                return False
            self.facts.mixed.add(looking)
        if same:
            where = f"compared at {source_line()}"
            self.facts.equal.append(Equality(self.source, self._of(other), where))
            return True
        self._found("!=", other)
        return False

    def __ne__(self, other: object) -> bool:
        """See `__eq__`."""
        return not self == other

    def __lt__(self, other: Any) -> Any:
        """As usual; what was found has to stay true for the forward to go the same way."""
        return self._compare("<", other)

    def __le__(self, other: Any) -> Any:
        """See `__lt__`."""
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Any:
        """See `__lt__`."""
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Any:
        """See `__lt__`."""
        return self._compare(">=", other)

    def _compare(self, relation: str, other: Any) -> Any:
        if not isinstance(other, int | float):
            return NotImplemented
        found = RELATIONS[relation](plain(self), plain(other) if isinstance(other, int) else other)
        self._found(relation if found else _OTHERWISE[relation], other)
        return found

    def _found(self, relation: str, other: float) -> None:
        """PyTorch's own code compares what it is given to check it: that is no way to go."""
        if not _asked_by_torch():
            right = self._of(other) if isinstance(other, int) else other
            self.facts.compared[Comparison(self.source, relation, right, source_line())] = None


def plain(number: int) -> int:
    """The integer without its source."""
    return int.__int__(number) if isinstance(number, int) else int(number)


def given(number: int, facts: Facts) -> Source:
    """The source of an integer that an operator is given, with a closer look at one that has none."""
    return number.source if isinstance(number, Size) else facts.closer(plain(number))


def _asked_by_torch() -> bool:
    """Whether the code that compares a size is PyTorch's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame is not None and not is_of_the_user(frame.f_code.co_filename)
