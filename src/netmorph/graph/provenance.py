"""Where the integers come from that a forward passes to its operators.

While a model is recorded, the integers that its modules hold and the sizes of its tensors are `Size`s: integers that
remember their source through arithmetic. So `x.reshape(B, N, self.num_heads, C // self.num_heads)` tells which
attribute must follow when heads are added, and an integer without a source is one written into the code.
`following.py` hands them out.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import torch

from netmorph.graph.value import Value

# How the paths of files begin that hold no code of the user's: torch, the tracer, and who else says so of itself.
_NOT_USER = {os.path.dirname(torch.__file__) + os.sep, os.path.dirname(__file__) + os.sep, "<"}


@dataclass(frozen=True)
class Held:
    """An integer attribute of a module, or one entry of an attribute that is a tuple or list of integers."""

    module: str
    name: str
    size: int
    index: int | None = None


@dataclass(frozen=True)
class Length:
    """The size of one dimension of a tensor."""

    value: Value
    dim: int


@dataclass(frozen=True)
class Written:
    """A number that follows nothing: written in the code, or computed in a way that cannot be followed."""

    size: int


@dataclass(frozen=True)
class Number:
    """A size whose value the forward computes with (a scale of 1 / sqrt(width)): it cannot be another one."""

    size: int


@dataclass(frozen=True)
class Product:
    """`left * right`."""

    left: Source
    right: Source


@dataclass(frozen=True)
class Total:
    """`left + right`."""

    left: Source
    right: Source


@dataclass(frozen=True)
class Quotient:
    """`whole // divisor`; what is left over stays as it is."""

    whole: Source
    divisor: Source
    size: int


@dataclass(frozen=True)
class Difference:
    """`whole - part`."""

    whole: Source
    part: Source
    size: int


@dataclass(frozen=True)
class Equality:
    """Two integers that have to stay equal, and the line where the forward relies on it."""

    left: Source
    right: Source
    where: str


Source = Held | Length | Written | Number | Product | Total | Quotient | Difference


class Met(list[Equality]):
    """The pairs of sizes that a forward found equal, and what else the sizes of one recording have in common.

    Attributes:
        sizes: all of them.
        apart: functions in which a size finds nothing but itself in dictionaries, sets and `functools.lru_cache`.
        mixed: functions in which one found what was put there for an integer, or for a size of another source.
    """

    def __init__(self, apart: frozenset[CodeType] = frozenset()) -> None:
        super().__init__()
        self.sizes: list[Size] = []
        self.apart = apart
        self.mixed: set[CodeType] = set()
        self._hashed: tuple[int, int] | None = None

    def hashed(self) -> None:
        """A size is looked up, or put somewhere: the comparisons that follow in the same place belong to that."""
        frame = _asking()
        self._hashed = (id(frame), frame.f_lasti)

    def in_a_lookup(self) -> CodeType | None:
        """The function that looks a size up, where the present comparison is part of that."""
        if self._hashed is None:
            return None
        frame = _asking()
        return frame.f_code if self._hashed == (id(frame), frame.f_lasti) else None


def _asking() -> FrameType:
    """The frame that hashes or compares a size, itself or in an object of its own (a data class as a key)."""
    frame = sys._getframe(2)
    while (frame.f_code.co_filename == __file__ or frame.f_code.co_name in ("__hash__", "__eq__")) and frame.f_back:
        frame = frame.f_back
    return frame


class Size(int):
    """An integer with a source.

    Attributes:
        source: where it comes from.
        equal: gets every pair of sizes that the forward found equal; shared by all sizes of a recording.
    """

    source: Source
    equal: Met

    def __new__(cls, value: int, source: Source, equal: Met) -> Size:
        """An `int` like any other for whoever does not look."""
        made = super().__new__(cls, value)
        made.source, made.equal = source, equal
        equal.sizes.append(made)
        return made

    def __hash__(self) -> int:
        """As usual."""
        self.equal.hashed()
        return int.__hash__(self)

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """A copy or a pickle is a plain integer."""
        return int, (int(self),)

    def __mul__(self, other: Any) -> Any:
        """Follows products of integers; anything else as usual."""
        if isinstance(other, float):
            return self.number() * other
        if not isinstance(other, int):
            return NotImplemented
        return Size(int(self) * int(other), Product(self.source, source_of(other)), self.equal)

    def __rmul__(self, other: Any) -> Any:
        """See `__mul__`."""
        if isinstance(other, float):
            return other * self.number()
        if not isinstance(other, int):
            return NotImplemented
        return Size(int(other) * int(self), Product(source_of(other), self.source), self.equal)

    def __add__(self, other: Any) -> Any:
        """Follows sums."""
        if not isinstance(other, int):
            return NotImplemented
        if int(other) == 0:
            return self
        return Size(int(self) + int(other), Total(self.source, source_of(other)), self.equal)

    def __radd__(self, other: Any) -> Any:
        """See `__add__`."""
        if not isinstance(other, int):
            return NotImplemented
        if int(other) == 0:
            return self
        return Size(int(other) + int(self), Total(source_of(other), self.source), self.equal)

    def __sub__(self, other: Any) -> Any:
        """Follows differences that leave something."""
        if not isinstance(other, int):
            return NotImplemented
        left = int(self) - int(other)
        return Size(left, Difference(self.source, source_of(other), left), self.equal) if left > 0 < other else left

    def __rsub__(self, other: Any) -> Any:
        """See `__sub__`."""
        if not isinstance(other, int):
            return NotImplemented
        return Size(int(other), Written(int(other)), self.equal) - self

    def __floordiv__(self, other: Any) -> Any:
        """Follows quotients; of one that is nothing, the value enters a computation."""
        if not isinstance(other, int):
            return NotImplemented
        quotient = int(self) // int(other)
        if quotient < 1:
            return self.number() // int(other)
        return Size(quotient, Quotient(self.source, source_of(other), quotient), self.equal)

    def __rfloordiv__(self, other: Any) -> Any:
        """See `__floordiv__`."""
        if not isinstance(other, int):
            return NotImplemented
        return Size(int(other), Written(int(other)), self.equal) // self

    def number(self) -> int:
        """The plain value, to compute with: from here on it is lost where it came from."""
        self.equal.append(Equality(self.source, Number(int(self)), source_line()))
        return int(self)

    def __truediv__(self, other: Any) -> Any:
        """The value enters a computation."""
        return self.number() / other if isinstance(other, int | float) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        """See `__truediv__`."""
        return other / self.number() if isinstance(other, int | float) else NotImplemented

    def __pow__(self, other: Any) -> Any:  # type: ignore[override]
        """See `__truediv__`."""
        return self.number() ** int(other) if isinstance(other, int) else self.number() ** other

    def __float__(self) -> float:
        """See `__truediv__`; `math.sqrt` calls this."""
        return float(self.number())

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """See `__truediv__`; `np.sqrt` calls this."""
        plain = [entry.number() if isinstance(entry, Size) else entry for entry in inputs]
        return getattr(function, method)(*plain, **options)

    def __eq__(self, other: object) -> bool:
        """As usual; what is found equal has to stay equal for the forward to go the same way."""
        if not isinstance(other, int):
            return int(self) == other
        same = int(self) == int(other)
        looking = self.equal.in_a_lookup() if same else None
        if looking is not None:
            if isinstance(other, Size) and other.source == self.source:
                return True
            if looking in self.equal.apart:
                return False
            self.equal.mixed.add(looking)
        if same:
            self.equal.append(Equality(self.source, source_of(other), f"compared at {source_line()}"))
        elif not isinstance(other, Size) and not _asked_by_torch():
            self.number()  # with another size, the forward might go the other way
        return same

    def __ne__(self, other: object) -> bool:
        """See `__eq__`."""
        return not self == other


def not_of_the_user(folder: str) -> None:
    """Take the files of a folder for none of the user's: where modules come from that edits put in, say."""
    _NOT_USER.add(folder + os.sep)


def is_of_the_user(file: str) -> bool:
    """Whether a file holds the user's own code."""
    return not file.startswith(tuple(_NOT_USER))


def source_line() -> str:
    """The innermost line being run that belongs neither to torch nor to netmorph's tracer, as `file:line`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if is_of_the_user(path):
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"


def _asked_by_torch() -> bool:
    """Whether the code that compares a size is PyTorch's own, which checks what it is given."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame is not None and not is_of_the_user(frame.f_code.co_filename)


def source_of(number: int) -> Source:
    """The source of an integer; one without is written in the code."""
    return number.source if isinstance(number, Size) else Written(int(number))
