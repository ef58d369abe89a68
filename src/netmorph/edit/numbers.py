"""What entries of a list hold by number: `layer_idx`, by which a cache of keys and values goes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from netmorph.edit.numbered import Place
from netmorph.graph import Graph
from netmorph.graph.held import Holder, swapped
from netmorph.graph.holders import is_integer

Attributes = list[tuple[str, str, Any]]  # the module, the name there, and a value that is set
# Names that PyTorch gives to settings of layers: 1, 2 in two entries are dilations, not numbers.
SETTINGS = frozenset(inspect.signature(nn.Conv2d).parameters)


@dataclass(frozen=True)
class Number:
    """An attribute that counts up through the entries of a list; not all of them need to hold it.

    Attributes:
        held: for each place the entry's number, the module in the entry, the name there and the value.
        goes_on: entries of another list go on with it, or come before.
    """

    held: list[tuple[int, str, str, int]]
    goes_on: bool = False

    @property
    def name(self) -> str:
        """The first place, from the entry on."""
        return ".".join(filter(None, self.held[0][1:3]))

    @property
    def values(self) -> list[int]:
        """Those of the entries, each once."""
        return sorted({value for *_, value in self.held})


@dataclass(frozen=True)
class Listed:
    """An entry that comes or goes.

    Attributes:
        place: where.
        attributes: what has to be set with it: the numbers of entries that hold their own, and how many there are. By
            the paths of afterwards.
        before: the same with the values of before, by the paths of before.
        numbers: in which the entries hold their own.
    """

    place: Place
    attributes: Attributes
    before: Attributes
    numbers: list[Number]


def integers(graph: Graph, within: str = "") -> dict[tuple[str, str], int]:
    """The integers that modules of the user's hold and that are no widths, by module and name: see `graph.held`.

    Args:
        within: one module, and what is in it; what others hold as well is named from there then.
    """
    modules = dict(graph.model.get_submodule(within).named_modules(prefix=within))
    sizes = {(attribute.module, attribute.name) for group in graph.groups.values() for attribute in group.attributes}
    found: dict[tuple[str, str], int] = {}

    def collect(holder: Holder, tail: str, value: Any) -> Any:
        key = holder.module, holder.place(tail)
        if is_integer(value) and key not in sizes and not type(modules[holder.module]).__module__.startswith("torch."):
            found[key] = int(value)
        return value

    swapped(modules, collect)
    return found


def numbers(graph: Graph, place: Place) -> list[Number]:
    """The attributes that may hold an entry's number in entries of a list, counted from 0 or 1.

    One name counts once, wherever in the entries it lies: they may be of several kinds.
    """
    entries: dict[str, int] = {}
    for key in graph.model.get_submodule(place.container)._modules:
        own = Place.of(key)
        if own is not None:
            entries[replace(own, container=place.container).path] = own.number
    first = min(entries.values())
    found: dict[str, list[tuple[int, str, str, int]]] = {}
    outside: dict[str, set[int]] = {}
    known = {path for path, _ in graph.model.named_modules(remove_duplicate=False)}  # a place may hold nothing
    for entry, number in entries.items():
        if entry not in known:
            continue
        for (path, name), value in integers(graph, entry).items():
            found.setdefault(name, []).append((number, path[len(entry) + 1 :], name, value))
    for (path, name), value in integers(graph).items():
        if not any(f"{path}.".startswith(f"{entry}.") for entry in entries):
            outside.setdefault(name, set()).add(value)
    made = [_number(held, first, outside.get(name, set())) for name, held in _told_apart(found)]
    return [number for number in made if number is not None]


def _told_apart(
    found: dict[str, list[tuple[int, str, str, int]]],
) -> Iterable[tuple[str, list[tuple[int, str, str, int]]]]:
    """By name, and by the module as well where an entry holds several values of one name."""
    for name, held in found.items():
        if len({(entry, value) for entry, *_, value in held}) == len({entry for entry, *_ in held}):
            yield name, held
        else:
            for inner in dict.fromkeys(module for _, module, *_ in held):
                yield name, [place for place in held if place[1] == inner]


def _number(held: list[tuple[int, str, str, int]], first: int, outside: set[int]) -> Number | None:
    starts = {value - (entry - first) for entry, *_, value in held}
    if len({entry for entry, *_ in held}) < 2 or len(starts) > 1 or held[0][2] in SETTINGS:
        return None
    found = Number(held)
    own = found.values
    goes_on = outside.isdisjoint(own) and not outside.isdisjoint((own[0] - 1, own[-1] + 1))
    return Number(held, goes_on) if goes_on or starts <= {0, 1} else None
