"""Arguments of layers and operations as JSON, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from netmorph.bank.program import InputDevice, Own, Ref
from netmorph.export.merge import ByMode, PerBatch

# Of PyTorch's own types, the names in `torch`.
_NAMED: dict[str, type] = {"dtype": torch.dtype, "memory_format": torch.memory_format, "layout": torch.layout}


def encoded(value: Any) -> Any:
    """A value as JSON: numbers and texts as they are, lists as lists, and all else as a dict of its kind.

    Raises:
        TypeError: there is no such kind.
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return value if math.isfinite(value) else {"float": str(value)}
        case complex():
            return {"complex": [encoded(value.real), encoded(value.imag)]}
        case list():
            return [encoded(entry) for entry in value]
        case tuple():
            return {"tuple": [encoded(entry) for entry in value]}
        case dict():
            return {"dict": {key: encoded(entry) for key, entry in value.items()}}
        case Ref(name):
            return {"ref": name}
        case Own(name):
            return {"own": name}
        case PerBatch(factor, offset):
            return {"per_batch": [factor, offset]}
        case ByMode(training, evaluation):
            return {"by_mode": [encoded(training), encoded(evaluation)]}
        case InputDevice() | torch.device():
            return {"device": None}
    for kind, named in _NAMED.items():
        if isinstance(value, named):
            return {kind: str(value).removeprefix("torch.")}
    raise TypeError(f"no JSON for {type(value).__name__}")


def decoded(told: Any) -> Any:
    """The value that `encoded` took.

    Raises:
        KeyError, TypeError, ValueError: it did not write this.
    """
    if isinstance(told, list):
        return [decoded(entry) for entry in told]
    if not isinstance(told, dict):
        return told
    ((kind, inner),) = told.items()
    return _KINDS_OF_VALUE[kind](inner)


def _named(kind: str) -> Callable[[str], Any]:
    def value(name: str) -> Any:
        found = getattr(torch, name)
        if not isinstance(found, _NAMED[kind]):
            raise TypeError(f"{name!r} is no {kind}")
        return found

    return value


_KINDS_OF_VALUE: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "complex": lambda inner: complex(*map(decoded, inner)),
    "tuple": lambda inner: tuple(map(decoded, inner)),
    "dict": lambda inner: {key: decoded(entry) for key, entry in inner.items()},
    "ref": Ref,
    "own": Own,
    "per_batch": lambda inner: PerBatch(*inner),
    "by_mode": lambda inner: ByMode(*map(decoded, inner)),
    "device": lambda inner: InputDevice(),
    **{kind: _named(kind) for kind in _NAMED},
}
