"""Whether an entry can be put into a list of modules, or taken out: tried, with one that passes its input on.

How a forward goes through an `nn.ModuleList` is written in its code: in a loop over all of it, by fixed numbers, beside
another list, as often as an attribute says. So a stand-in is put in that answers in the form of the entry before it and
passes its input on. The list may grow there if each entry then runs as before, the stand-in right behind the entry
before it, and the network answers as before: in eval mode, and in training mode as far as nothing there is random.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from netmorph.edit.difference import difference, tolerance
from netmorph.edit.fused import as_used
from netmorph.edit.numbered import Place, numbered, renamed
from netmorph.edit.plan import Plan
from netmorph.edit.replace import Undo, make
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.graph.held import Holder, look, swapped
from netmorph.graph.holders import is_integer
from netmorph.graph.running import one_at_a_time, run

Attributes = list[tuple[str, str, Any]]
SEEDS = (0, 1)  # of training mode: what differs between two is random
# Attributes of PyTorch's own that count the entries of a list, whether a forward reads them or not.
COUNTS: dict[type[nn.Module], dict[str, str]] = {
    nn.TransformerEncoder: {"num_layers": "layers"},
    nn.TransformerDecoder: {"num_layers": "layers"},
}


@dataclass(frozen=True)
class Listed:
    """An entry that comes or goes.

    Attributes:
        place: where.
        attributes: what has to be set with it: the numbers of entries that hold their own, and how many there are. By
            the paths of afterwards.
        before: the same with the values of before, by the paths of before.
    """

    place: Place
    attributes: Attributes
    before: Attributes


def listed_behind(graph: Graph, path: str, is_copy: bool) -> Listed | None:
    """The place of a new entry behind one, where the forward lets the list grow there.

    Args:
        is_copy: of the one before, so that it holds a number where that does.
    """
    place = numbered(graph.model, path)
    found = None if place is None else _Trial(graph, place.moved(1), 1).made()
    if place is None or found is None or not is_copy:
        return found
    own: Attributes = [
        (f"{found.place.path}.{inner}".rstrip("."), name, values[place.number] + 1)
        for (inner, name), values in _numbers(graph, place).items()
    ]
    return replace(found, attributes=found.attributes + own)


def listed_out(graph: Graph, path: str) -> Listed | None:
    """The place of an entry, where the forward lets the list go without it; the last one of a list stays."""
    place = numbered(graph.model, path)
    if place is None or len(graph.model.get_submodule(place.container)._modules) == 1:
        return None
    return _Trial(graph, place, -1).made()


def holds_its_number(graph: Graph, path: str) -> str | None:
    """The attribute in which the entries of a list hold their numbers (`attention.layer_idx`), if they do."""
    place = numbered(graph.model, path)
    found = _numbers(graph, place) if place is not None else {}
    return next((".".join(filter(None, key)) for key in found), None)


class _Pass(nn.Module):
    """Answers with what it is given, in the form of another module's answer; attributes are those of that module."""

    def __init__(self, like: nn.Module, answer: Any) -> None:
        super().__init__()
        vars(self).update(_like=like, _answer=lambda: answer)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_like"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        leaves, form = tree_flatten(self._answer())
        at = next(number for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor))
        given = (leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        leaves[at] = next(leaf for leaf in given if leaf.shape == leaves[at].shape).clone()  # as new as any answer
        return tree_unflatten(leaves, form)


@dataclass(eq=False)
class _Run:
    """A forward: its result, and the entries as they ran, by id, with the last answer of each."""

    order: list[int] = field(default_factory=list)
    answers: dict[int, Any] = field(default_factory=dict)
    result: Any = None


class _Trial:
    """Args: by: 1 where an entry comes to this place, -1 where the one that is there goes."""

    def __init__(self, graph: Graph, place: Place, by: int) -> None:
        self.graph, self.model, self.place, self.by = graph, graph.model, place, by
        self.entries = list(graph.model.get_submodule(place.container)._modules.values())
        self.like = graph.model.get_submodule((place.moved(-1) if by > 0 else place).path)

    def made(self) -> Listed | None:
        """What the change is, with the attributes that make the forward follow; None where it does not."""
        with one_at_a_time():
            modes: list[Callable[[], Any]] = [self._eval]
            if self.graph.auxiliary:
                modes += [partial(self._training, seed) for seed in SEEDS]
            before = self._watched(modes[:1])
            first = before[0]
            if first is None or id(self.like) not in first.answers:
                return None
            standing = _Pass(self.like, first.answers[id(self.like)])
            if self.by > 0:
                before += self._watched(modes[1:])
            else:
                before = self._with(Plan(exact=False, modules={self.place.path: standing}), modes, standing)
            for attributes in self._attempts(first):
                entry: dict[str, nn.Module] = {self.place.path: standing} if self.by > 0 else {}
                gone = () if self.by > 0 else (self.place.path,)
                plan = Plan(exact=False, inserted=entry, removed=gone, attributes=attributes)
                after = self._with(plan, modes[:1], standing)
                if not self._goes_as(before[0], after[0], standing):
                    continue
                known = {(path, name) for path, name, _ in attributes}
                attributes = attributes + [entry for entry in self._documented() if entry[:2] not in known]
                after += self._with(plan, modes[1:2], standing)
                return self._listed(attributes) if self._trains_as(before[1:], after[1:], standing) else None
        return None

    def _goes_as(self, before: _Run | None, after: _Run | None, standing: nn.Module) -> bool:
        return (
            before is not None
            and after is not None
            and self._same_order(before, after, standing)
            and self._same_result(before, after)
        )

    def _trains_as(self, before: list[_Run | None], after: list[_Run | None], standing: nn.Module) -> bool:
        """The same in training mode, where it runs there; of what is random, nothing is asked."""
        first, other = before if before else (None, None)
        if first is None or other is None:
            return True
        made = after[0]
        if made is None:
            return False
        if first.order == other.order and not self._same_order(first, made, standing):
            return False
        return not self._same_result(first, other) or self._same_result(first, made)

    def _same_order(self, before: _Run, after: _Run, standing: nn.Module) -> bool:
        expected: list[int] = []
        for entry in before.order:
            if self.by > 0:
                expected += [entry, id(standing)] if entry == id(self.like) else [entry]
            elif entry != id(standing):
                expected.append(entry)
        return after.order == expected

    def _same_result(self, before: _Run, after: _Run) -> bool:
        try:
            with torch.no_grad():
                return difference(before.result, after.result) <= tolerance(self.graph, before.result)
        except NetmorphError:
            return False

    def _with(self, plan: Plan, modes: list[Callable[[], Any]], *standing: nn.Module) -> list[_Run | None]:
        undo: Undo = []
        try:
            make(self.model, plan, undo)
            return self._watched(modes, *standing)
        finally:
            for step in reversed(undo):
                step()

    def _watched(self, modes: list[Callable[[], Any]], *others: nn.Module) -> list[_Run | None]:
        """What runs in each mode; None where the forward fails."""
        found: list[_Run | None] = []
        for mode in modes:
            with _watching((*self.entries, *others)) as seen:
                try:
                    seen.result = mode()
                except Exception:  # of the user's forward, in a list of another length: whatever it raises
                    found.append(None)
                else:
                    found.append(seen)
        return found

    def _eval(self) -> Any:
        return run(self.model, self.graph.inputs, kept=self.graph.recording.kept)

    def _training(self, seed: int) -> Any:
        kept = self.graph.recording.kept
        return as_used(self.model, self.graph.inputs, kept, gradients=True, training=True, seed=seed)

    def _moved_numbers(self) -> Attributes:
        """The numbers that entries hold, where they change; by the paths of afterwards."""
        found: Attributes = []
        first = self.place.number - (0 if self.by > 0 else -1)
        numbers = _numbers(self.graph, self.place.moved(-1) if self.by > 0 else self.place)
        for (inner, name), values in numbers.items():
            for number, value in values.items():
                if number >= first:
                    path = Place(self.place.container, self.place.prefix, number + self.by).path
                    found.append((f"{path}.{inner}".rstrip("."), name, value + self.by))
        return found

    def _attempts(self, first: _Run) -> Iterator[Attributes]:
        """What may have to be set: nothing but numbers, or the counts that the forward reads as well.

        A list that becomes shorter than its count may run all the same (`blocks[:depth]`).
        """
        numbers = self._moved_numbers()
        if self.by > 0:
            yield numbers
        counts = self._counts(first)
        if counts or self.by < 0:
            yield numbers + counts

    def _counts(self, first: _Run) -> Attributes:
        """The attributes outside of the list that count its entries: with one less, the forward leaves out the last."""
        size, start, last = len(self.entries), replace(self.place, number=0).path, id(self.entries[-1])
        found: Attributes = []
        for (path, name), value in _integers(self.graph).items():
            if value == size and renamed(path, start, 1) == path:
                fewer = self._with(Plan(exact=False, attributes=[(path, name, size - 1)]), [self._eval])[0]
                if last in first.order and fewer is not None and fewer.order == [e for e in first.order if e != last]:
                    found.append((path, name, size + self.by))
        return found

    def _documented(self) -> Attributes:
        owner, _, name = self.place.container.rpartition(".")
        held = self.model.get_submodule(owner)
        return [
            (owner, count, len(self.entries) + self.by)
            for kind, counts in COUNTS.items()
            for count, counted in counts.items()
            if isinstance(held, kind) and name == counted and vars(held).get(count) == len(self.entries)
        ]

    def _listed(self, attributes: Attributes) -> Listed:
        back = [(renamed(path, self.place.path, -self.by), name) for path, name, _ in attributes]
        before = [(path, name, int(look(self.model.get_submodule(path), name))) for path, name in back]
        return Listed(self.place, attributes, before)


def _integers(graph: Graph) -> dict[tuple[str, str], int]:
    """The integers that modules of the user's hold and that are no widths, by module and name: see `graph.held`."""
    modules = dict(graph.model.named_modules())
    sizes = {(attribute.module, attribute.name) for group in graph.groups.values() for attribute in group.attributes}
    found: dict[tuple[str, str], int] = {}

    def collect(holder: Holder, tail: str, value: Any) -> Any:
        key = holder.module, holder.place(tail)
        if is_integer(value) and key not in sizes and not type(modules[holder.module]).__module__.startswith("torch."):
            found[key] = int(value)
        return value

    swapped(modules, collect)
    return found


def _numbers(graph: Graph, place: Place) -> dict[tuple[str, str], dict[int, int]]:
    """The attributes that hold an entry's number in each entry of a list, counted from 0 or 1.

    Returns:
        For each, by module in the entry and name, its values by the numbers in the entries' names.
    """
    container = graph.model.get_submodule(place.container)
    numbers: dict[str, int] = {}
    for key in container._modules:
        own = Place.of(key)
        if own is not None:
            numbers[replace(own, container=place.container).path] = own.number
    first, found = min(numbers.values()), dict[tuple[str, str], dict[int, int]]()
    for (path, name), value in _integers(graph).items():
        entry = next((entry for entry in numbers if f"{path}.".startswith(f"{entry}.")), None)
        if entry is not None:
            found.setdefault((path[len(entry) + 1 :], name), {})[numbers[entry]] = value
    return {
        key: values for key, values in found.items() if len(values) == len(numbers) > 1 and _counts_up(values, first)
    }


def _counts_up(values: dict[int, int], first: int) -> bool:
    return {value - (number - first) for number, value in values.items()} in ({0}, {1})


@contextlib.contextmanager
def _watching(modules: tuple[nn.Module | None, ...]) -> Iterator[_Run]:
    """Notes which of some modules this thread runs, and what they answer."""
    seen, mine = _Run(), threading.get_ident()
    ids = {id(module) for module in modules}

    def enter(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == mine and id(module) in ids:
            seen.order.append(id(module))

    def leave(module: nn.Module, args: Any, result: Any) -> None:
        if threading.get_ident() == mine and id(module) in ids:
            seen.answers[id(module)] = result

    with contextlib.ExitStack() as stack:
        stack.callback(module_hooks.register_module_forward_pre_hook(enter).remove)
        stack.callback(module_hooks.register_module_forward_hook(leave).remove)
        yield seen
