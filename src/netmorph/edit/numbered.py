"""Containers whose children are numbered (`nn.ModuleList`, `nn.Sequential`): entries put in and taken out, by path.

Those behind are numbered anew, so an entry put in at `blocks.2` makes `blocks.3` of what was `blocks.2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import nn

from netmorph.edit.plan import Plan


@dataclass(frozen=True)
class Place:
    """An entry's path: that of its container, and its name there, which ends in a number.

    Attributes:
        prefix: what stands before the number, mostly nothing.
    """

    container: str
    prefix: str
    number: int

    @staticmethod
    def of(path: str) -> Place | None:
        """The place of a path; None where its last name ends in no number."""
        container, _, key = path.rpartition(".")
        found = re.fullmatch(r"(.*?)(0|[1-9][0-9]*)", key)
        return Place(container, found[1], int(found[2])) if found else None

    @property
    def key(self) -> str:
        """Its name in the container."""
        return f"{self.prefix}{self.number}"

    @property
    def path(self) -> str:
        """From the model on."""
        return f"{self.container}.{self.key}".lstrip(".")

    def moved(self, by: int) -> Place:
        """The place so many entries behind."""
        return replace(self, number=self.number + by)


def numbered(model: nn.Module, path: str) -> Place | None:
    """The place of an entry, where all children of the module that holds it have one number after the other."""
    place = Place.of(path)
    if place is None:
        return None
    keys = list(model.get_submodule(place.container)._modules)
    first = Place.of(keys[0]) if keys else None
    if first is None or keys != [first.moved(by).key for by in range(len(keys))]:
        return None
    return place if place.key in keys else None


def with_entry(table: dict[str, nn.Module | None], place: Place, module: nn.Module) -> dict[str, nn.Module | None]:
    """The children of a container with one more, at this place.

    Raises:
        KeyError: there would be a gap before it, or the children are not numbered.
    """
    return _renumbered(table, place, {place.key: module})


def without_entry(table: dict[str, nn.Module | None], place: Place) -> dict[str, nn.Module | None]:
    """The children of a container without that at this place.

    Raises:
        KeyError: there is none, or the children are not numbered.
    """
    if place.key not in table:
        raise KeyError(place.key)
    return _renumbered({key: child for key, child in table.items() if key != place.key}, place, {})


def _renumbered(
    others: dict[str, nn.Module | None], place: Place, new: dict[str, nn.Module]
) -> dict[str, nn.Module | None]:
    """The others in their order with the new ones at a place, numbered from the first one's number on."""
    known = [Place.of(key) for key in (*others, place.key)]
    numbers = [entry.number for entry in known if entry is not None and entry.prefix == place.prefix]
    if len(numbers) < len(known):
        raise KeyError(place.key)
    first, entries = min(numbers), list(others.values())
    at = sum(number < place.number for number in numbers)
    entries[at:at] = new.values()
    if first + at != place.number:
        raise KeyError(place.key)
    return {replace(place, number=first + by).key: child for by, child in enumerate(entries)}


def former(path: str, plan: Plan) -> str | None:
    """The path before a plan is made of what has this path afterwards; None of what the plan puts in."""
    for entry in reversed(plan.removed):
        path = renamed(path, entry, 1)
    for entry in reversed(plan.inserted):
        if path == entry or path.startswith(f"{entry}."):
            return None
        path = renamed(path, entry, -1)
    return path


def renamed(path: str, entry: str, by: int) -> str:
    """A path, where it leads into an entry that is at this one or behind it and moves so many numbers."""
    place = Place.of(entry)
    if place is None:
        return path
    begin = f"{place.container}.".lstrip(".")
    if not path.startswith(begin):
        return path
    key, dot, rest = path[len(begin) :].partition(".")
    own = Place.of(key)
    if own is None or own.prefix != place.prefix or own.number < place.number:
        return path
    return f"{begin}{own.moved(by).key}{dot}{rest}"


def moving(model: nn.Module, entries: Iterable[str]) -> list[str]:
    """The paths of the modules that such an edit moves or copies: from the entry before on."""
    found: list[str] = []
    for path in entries:
        place = Place.of(path)
        if place is not None:
            for key, child in model.get_submodule(place.container)._modules.items():
                own = Place.of(key)
                if child is not None and own is not None and own.number >= place.number - 1:
                    found.append(replace(own, container=place.container).path)
    return found
