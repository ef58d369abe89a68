"""What runs in a forward, in which order, and what the entries of a list are given: noted, and compared.

Between two forwards of a list of different lengths all has to be the same but the calls of one module, to the last bit.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.utils._pytree import tree_map

from netmorph.graph.holders import is_holder, slots
from netmorph.graph.record import tensors_in

Item = tuple[int, ...]  # what ran: an entry and all that ran in it, or a module outside of all entries
PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
DEEP = 8  # containers in containers


@dataclass(eq=False)
class Given:
    """What an entry got in one call.

    Attributes:
        leaves: places, values (tensors as copies), and which object each is, where that is looked at: equal for two
            calls that got the same one.
    """

    entry: int
    leaves: list[tuple[str, Any, Any]]
    alive: list[Any] = field(default_factory=list)  # so that no other object gets the same token


@dataclass(eq=False)
class Run:
    """A forward: its result, what ran, by id, and of the entries what they got and the last answer of each."""

    order: list[Item] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)
    answers: dict[int, Any] = field(default_factory=dict)
    result: Any = None

    def without(self, gone: int, entries: Collection[int], stateless: Collection[int]) -> list[list[Item]]:
        """What may run where one of the entries is not there.

        Nothing else changes, or what the loop calls between any two entries (dropout) is called once less, too, where
        these hold neither parameters nor buffers.
        """
        plain = [item for item in self.order if item[0] != gone]
        shorter: list[Item] = []
        rest = list(self.order)
        between: list[Item] | None = None
        while rest:
            item = rest.pop(0)
            if item[0] != gone:
                between = [] if item[0] in entries else between if between is None else [*between, item]
                shorter.append(item)
                continue
            following = next((at for at, other in enumerate(rest) if other[0] in entries), len(rest))
            tail = rest[:following] if between is None else between
            if rest[: len(tail)] != tail or not all(module in stateless for other in tail for module in other):
                return [plain]
            del rest[: len(tail)]
        return [plain, shorter]


@contextlib.contextmanager
def watching(model: nn.Module, entries: Collection[nn.Module | None]) -> Iterator[Run]:
    """Notes which modules of a model this thread runs, and of the entries what they are given and answer."""
    seen, mine = Run(), threading.get_ident()
    listed = {id(entry) for entry in entries}
    known = {id(module) for module in model.modules()} | listed
    inside: list[int] = []

    def enter(module: nn.Module, args: Any) -> None:
        key = id(module)
        if threading.get_ident() != mine or key not in known:
            return
        if inside:
            seen.order[-1] += (key,)
        else:
            seen.order.append((key,))
        if key in listed:
            inside.append(key)

    def given(module: nn.Module, args: Any, kwargs: Any) -> None:
        if threading.get_ident() == mine:
            call = Given(id(module), [("gradients", torch.is_grad_enabled(), None)])
            _note("", (args, kwargs), call, 0)
            seen.given.append(call)

    def leave(module: nn.Module, args: Any, result: Any) -> None:
        key = id(module)
        if threading.get_ident() == mine and key in listed:
            seen.answers[key] = detached(result)
            if inside:
                inside.pop()

    with contextlib.ExitStack() as stack:
        stack.callback(module_hooks.register_module_forward_pre_hook(enter).remove)
        stack.callback(module_hooks.register_module_forward_hook(leave).remove)
        for entry in dict.fromkeys(entries):
            if entry is None or isinstance(entry, torch.jit.ScriptModule):
                continue
            # Hooks of all modules are not told arguments by keyword.
            stack.callback(entry.register_forward_pre_hook(given, prepend=True, with_kwargs=True).remove)
        yield seen


def detached(result: Any) -> Any:
    """The same values, without what made them."""
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, result)


def same_result(one: Run, other: Run) -> bool:
    """Whether two forwards answer the same bits; an answer without tensors tells nothing."""
    these, those = tensors_in(one.result), tensors_in(other.result)
    return bool(these) and len(these) == len(those) and all(map(same_bits, these, those))


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Equal in kind and value; NaN is as NaN."""
    if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
        return False
    if one.layout != torch.strided or one.is_quantized:
        return one is other
    equal = one == other
    if one.is_floating_point() or one.is_complex():
        equal = equal | (one.isnan() & other.isnan())
    return bool(equal.all())


def same_given(one: Run, other: Run, gone: int = 0, values: bool = True) -> bool:
    """Whether the entries got the same in two forwards, and shared the same among them; one entry aside.

    Args:
        values: of tensors as well.
    """
    these, those = ([call for call in run.given if call.entry != gone] for run in (one, other))
    if [(call.entry, len(call.leaves)) for call in these] != [(call.entry, len(call.leaves)) for call in those]:
        return False
    ours: dict[Any, int] = {}
    theirs: dict[Any, int] = {}
    for this, that in zip(these, those, strict=True):
        for (place, value, token), (where, wanted, known) in zip(this.leaves, that.leaves, strict=True):
            if place != where or not (is_same(value, wanted) or (isinstance(value, Tensor) and not values)):
                return False
            if ours.setdefault(token, len(ours)) != theirs.setdefault(known, len(theirs)):
                return False
    return True


def stands_in(run: Run, standing: int, like: int) -> bool:
    """Whether a stand-in got what the entry got that it stands for: the same plain values, the same shared objects."""
    own = [call for call in run.given if call.entry == standing]
    their = [call for call in run.given if call.entry == like]
    if len(own) != len(their):
        return False
    for this, that in zip(own, their, strict=True):
        got = {place: (value, token) for place, value, token in this.leaves}
        shared = {leaf[2] for call in run.given if call is not that and call is not this for leaf in call.leaves}
        for place, wanted, token in that.leaves:
            value, known = got.get(place, (None, None))
            if isinstance(wanted, PLAIN) and not is_same(value, wanted):
                return False
            if token is not None and token in shared and known != token:
                return False
    return True


def _note(place: str, value: Any, call: Given, depth: int) -> None:
    """Plain values and tensors with their places; numbers as keys are those of entries, and may move."""
    if isinstance(value, Tensor):
        alias, is_first = value.detach(), not any(isinstance(leaf[1], Tensor) for leaf in call.leaves)
        call.alive.append(alias)
        # The first is what goes from entry to entry: in one piece of memory where they work in place.
        token = None if is_first else (alias.data_ptr(), alias.shape, alias.stride())
        call.leaves.append((place, alias.clone(), token))
    elif isinstance(value, PLAIN):
        call.leaves.append((place, value, None))
    elif isinstance(value, list | tuple | dict) and depth < DEEP:
        call.leaves.append((place, ("of length", len(value)), None))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for number, (key, inner) in enumerate(pairs):
            _note(f"{place}[{number if isinstance(key, int) else repr(key)}]", inner, call, depth + 1)
    else:
        call.alive.append(value)
        call.leaves.append((place, ("of type", type(value).__qualname__), id(value)))
        if is_holder(value):
            told = [(f"{place}{step}", ("held", held), None) for step, held in slots(value) if isinstance(held, PLAIN)]
            call.leaves.extend(told)


def is_same(one: Any, other: Any) -> bool:
    """Whether two tensors, or two plain values or pairs of these, are equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return same_bits(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one is other or (isinstance(one, PLAIN) and type(one) is type(other) and bool(one == other))
