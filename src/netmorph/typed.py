"""Whether plain values are what a declaration says: files may come from anyone, and Python checks no annotations."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints


def fits(value: Any, declared: Any) -> bool:
    """Whether a value made of JSON is of a declared type. Whole numbers are numbers too, `True` is neither."""
    origin, inner = _parts(declared)
    if declared is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if declared in (None, type(None)):
        return value is None
    if declared in (int, float):
        return isinstance(value, (int, declared)) and not isinstance(value, bool)
    if origin is tuple and inner[-1:] != (Ellipsis,):
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if origin is not None and issubclass(origin, Sequence):
        is_right = isinstance(value, tuple if origin is tuple else list)
        return is_right and all(fits(entry, inner[0]) for entry in value)
    return isinstance(value, declared) if isinstance(declared, type) else True


def check_fields(made: Any) -> None:
    """Check a dataclass that was made from plain values.

    Raises:
        TypeError: a field holds something else than it declares; the message names it.
    """
    for name, declared in _declared(made.__class__):
        value = getattr(made, name)
        # Most values are exactly what is declared: a run has a hundred thousand networks, of fifteen fields each.
        if type(value) is not declared and not fits(value, declared):
            told = repr(value)
            raise TypeError(f"{name!r} cannot be {told if len(told) < 80 else told[:80] + '...'}")


@cache
def _parts(declared: Any) -> tuple[Any, tuple[Any, ...]]:
    """Mapping[str, float] -> Mapping, (str, float)."""
    return get_origin(declared), get_args(declared)


@cache
def _declared(kind: Any) -> tuple[tuple[str, Any], ...]:
    """The fields of a dataclass, and what they declare."""
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind))
