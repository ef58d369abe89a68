"""What may hold integers for a module: dicts, and objects that Python made, such as configurations and namespaces.

How their contents are read, copied and replaced past any method of the user's. A step leads from a holder to what it
holds, as Python would spell it: `.heads`, `['heads']`, and in lists and tuples `[1]`.
"""

from __future__ import annotations

import argparse
import ast
import enum
import keyword
import sys
import types
from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MANY = 256  # a container of more entries holds data (a vocabulary), not sizes

_TABLES = frozenset(vars(nn.Module()))  # a module's own: parameters, children, hooks
_NEVER = (Tensor, nn.Module, type, enum.Enum, BaseException)
_ACTING = ("__del__", "__next__", "__enter__", "__await__")  # a copy of what does such things would do them again
_NONE: dict[str, Any] = {}  # the attributes of objects that keep them all in slots


def is_integer(value: Any) -> bool:
    """Whether a value is a plain integer, NumPy's included."""
    return type(value) is int or isinstance(value, np.integer)


def is_sizes(value: Any) -> bool:
    """Whether a value is a list or tuple of integers."""
    return isinstance(value, tuple | list) and 0 < len(value) <= MANY and all(map(is_integer, value))


def is_holder(value: Any) -> bool:
    """Whether a value is a dict or object that may be looked into, and copied."""
    kind = type(value)
    if isinstance(value, dict):
        return 0 < len(value) <= MANY
    if isinstance(value, _NEVER) or any(hasattr(kind, name) for name in _ACTING):
        return False
    if isinstance(value, types.SimpleNamespace | argparse.Namespace):
        return True
    package = kind.__module__.partition(".")[0]
    if package in sys.stdlib_module_names - {"__main__"} or package in ("torch", "numpy"):
        return False
    return _is_plain(kind)


def _is_plain(kind: type) -> bool:
    """Whether Python made the class: nothing of its objects lies in C."""
    try:
        object.__new__(kind)
    except TypeError:
        return False
    return True


def slots(holder: Any) -> list[tuple[str, Any]]:
    """What a module, dict or object holds, by the steps that lead there; of its class, the integers."""
    table = _table(holder)
    own = {name: value for name, value in table.items() if isinstance(name, str)}
    if isinstance(holder, nn.Module):
        own = {name: value for name, value in own.items() if name not in _TABLES}
    else:
        own = {name: value for name, value in own.items() if name.isidentifier() and not keyword.iskeyword(name)}
    shared = {} if table is _NONE else {n: v for n, v in _of_class(type(holder)).items() if n not in table}
    fixed = {name: member.__get__(holder) for name, member in members(type(holder)) if is_set(member, holder)}
    found = [(f".{name}", value) for name, value in (shared | own | fixed).items()]
    if isinstance(holder, dict):
        found += [(f"[{key!r}]", value) for key, value in dict.items(holder) if type(key) in (str, int)]
    return found


def entries(holder: Any) -> dict[Any, Any]:
    """The entries of a dict, or the attributes of an object that are not kept in slots."""
    return holder if isinstance(holder, dict) else _table(holder)


def _table(holder: Any) -> dict[str, Any]:
    try:
        return object.__getattribute__(holder, "__dict__")  # type: ignore[no-any-return]
    except AttributeError:
        return _NONE


def _of_class(kind: type) -> dict[str, Any]:
    """The integers among the attributes of a user's class."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.partition(".")[0] not in ("torch", "builtins", "typing", "collections", "types"):
            found |= {name: value for name, value in vars(base).items() if not name.startswith("__")}
    return {name: value for name, value in found.items() if is_integer(value) or is_sizes(value)}


def members(kind: type) -> list[tuple[str, types.MemberDescriptorType]]:
    """The attributes that a class keeps in slots."""
    return [
        (name, member)
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and not name.startswith("__")
    ]


def is_set(member: types.MemberDescriptorType, holder: Any) -> bool:
    """Whether such an attribute has a value."""
    try:
        member.__get__(holder)
    except AttributeError:
        return False
    return True


def copied(holder: Any) -> Any:
    """A copy that holds the same objects, made by none of the user's functions."""
    kind = type(holder)
    base: Any = next(
        c for c in (OrderedDict, defaultdict, dict, types.SimpleNamespace, object) if isinstance(holder, c)
    )
    made: Any = base.__new__(kind)
    if isinstance(holder, defaultdict):
        made.default_factory = holder.default_factory
    if isinstance(holder, dict):
        for key, value in base.items(holder):
            base.__setitem__(made, key, value)
    _table(made).update(_table(holder))
    for _, member in members(kind):
        if is_set(member, holder):
            member.__set__(made, member.__get__(holder))
    return made


def put(holder: Any, step: str, value: Any) -> None:
    """Put a value into a copy, past any method of the user's that may refuse it."""
    if step.startswith("["):
        base: Any = OrderedDict if isinstance(holder, OrderedDict) else dict
        base.__setitem__(holder, ast.literal_eval(step[1:-1]), value)
        return
    member = dict(reversed(members(type(holder)))).get(step[1:])
    if member is None:
        _table(holder)[step[1:]] = value
    else:
        member.__set__(holder, value)


def alike(old: Any, new: Any) -> Any:
    """The new entries in a list or tuple of the old one's class; JSON knows no difference between them."""
    if isinstance(old, torch.Size):
        return torch.Size(new)
    if isinstance(old, tuple):
        return tuple.__new__(type(old), new)
    if isinstance(old, list):
        made = list.__new__(type(old))
        list.extend(made, new)
        _table(made).update(_table(old))
        return made
    return new


def get(holder: Any, step: str) -> Any:
    """What lies one step further.

    Raises:
        KeyError: nothing does.
    """
    if step.startswith("["):
        key = ast.literal_eval(step[1:-1])
        if isinstance(holder, list | tuple):
            if not isinstance(key, int) or not 0 <= key < len(holder):
                raise KeyError(step)
            return tuple.__getitem__(holder, key) if isinstance(holder, tuple) else list.__getitem__(holder, key)
        if not isinstance(holder, dict):
            raise KeyError(step)
        return dict.__getitem__(holder, key)
    table = _table(holder)
    if step[1:] in table:
        return table[step[1:]]
    member = dict(reversed(members(type(holder)))).get(step[1:])
    if member is not None and is_set(member, holder):
        return member.__get__(holder)
    return _of_class(type(holder))[step[1:]]


def steps(name: str) -> list[str]:
    """`args.sizes[1]` -> `.args`, `.sizes`, `[1]`."""
    found: list[str] = []
    try:
        node = ast.parse(name, mode="eval").body
        while not isinstance(node, ast.Name):
            match node:
                case ast.Attribute(value=inner, attr=attribute):
                    found.append(f".{attribute}")
                case ast.Subscript(value=inner, slice=index):
                    found.append(f"[{ast.literal_eval(index)!r}]")
                case _:
                    raise KeyError(name)
            node = inner
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise KeyError(name) from error
    return [f".{node.id}", *reversed(found)]
