"""Where an integer of a forward comes from, and what the forward found out by comparing such integers."""

from __future__ import annotations

from dataclasses import dataclass

from netmorph.graph.value import Value


@dataclass(frozen=True)
class Held:
    """An integer that a module holds, or one entry of a list or tuple of integers.

    Attributes:
        module: the path of the first module from which it is found.
        name: its place there, see `netmorph.graph.held`.
        index: of an entry.
    """

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
    """A number that is written in the code."""

    size: int


@dataclass(frozen=True)
class Lost:
    """A number that comes from where tracing cannot follow: a global, a closure, a tensor's values, other libraries."""

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
class Opposite:
    """`-of`: a place counted from the end."""

    of: Source


@dataclass(frozen=True)
class Equality:
    """Two integers that have to stay equal, and the line where the forward relies on it."""

    left: Source
    right: Source
    where: str


@dataclass(frozen=True)
class Comparison:
    """What the forward found by comparing: the other outcome might be another way.

    Attributes:
        relation: as Python spells it; what was true.
        where: the line that compares.
    """

    left: Source
    relation: str
    right: Source | float
    where: str


Source = Held | Length | Written | Lost | Number | Product | Total | Quotient | Difference | Opposite
