"""Places outside of a model that keep a tensor between calls: variables, closures, classes, `functools.lru_cache`."""

from __future__ import annotations

import contextlib
import gc
import sys
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from netmorph.graph.leaks import Cached, class_of
from netmorph.graph.slots import ABSENT, contents, put

# A tensor in a tuple in a list in a dictionary: how far up the place may be.
DEPTH = 4


@dataclass(frozen=True)
class Place:
    """One of them.

    Attributes:
        holder: a dictionary (of variables, say), a class, a closure's cell or a cached function.
        key: of the dictionary, or the name in the class.
    """

    holder: Any
    key: Any = None

    def __hash__(self) -> int:
        """By identity: a dictionary has no hash."""
        return hash((id(self.holder), self.key))

    def __eq__(self, other: object) -> bool:
        """See `__hash__`."""
        return isinstance(other, Place) and self.holder is other.holder and bool(self.key == other.key)

    def value(self) -> Any:
        """What is kept there."""
        if isinstance(self.holder, Cached):
            return self.holder.cache_info().currsize or ABSENT
        if isinstance(self.holder, types.CellType):
            return self.holder.cell_contents
        return dict.get(self.holder, self.key, ABSENT) if isinstance(self.holder, dict) else vars(self.holder)[self.key]

    @contextlib.contextmanager
    def set(self, value: Any) -> Iterator[None]:
        """Another value for a while; a cached function only forgets what it knows."""
        if isinstance(self.holder, Cached):
            self.holder.cache_clear()
            yield
        elif isinstance(self.holder, dict):
            before = contents(self.holder)
            put(self.holder, [(key, entry) for key, entry in before if key != self.key])
            if value is not ABSENT:
                dict.__setitem__(self.holder, self.key, value)
            try:
                yield
            finally:
                put(self.holder, before)
        else:
            old = self.value()
            self._write(value)
            try:
                yield
            finally:
                self._write(old)

    def _write(self, value: Any) -> None:
        if isinstance(self.holder, types.CellType):
            self.holder.cell_contents = value
        else:
            setattr(self.holder, self.key, value)

    def ways(self) -> tuple[Any, ...]:
        """What may stand for nothing there."""
        return (ABSENT, None) if isinstance(self.holder, dict) else (None,)


def places_of(tensors: Mapping[int, Tensor], held: set[int], spaces: Iterable[dict[str, Any]]) -> list[Place]:
    """Where tensors are kept, as far as it is known.

    Args:
        tensors: by id.
        held: those that the model holds itself.
        spaces: variables that are looked at first. The garbage collector, who knows the other places, walks all objects
            that there are, and is asked for tensors alone that are held more often than that.
    """
    sought = tensors.keys() - held
    variables = [(Place(space, key), id(value)) for space in spaces for key, value in contents(space)] if sought else []
    found = {place: None for place, key in variables if key in sought}
    named = Counter(key for _, key in variables)
    # Here held by the mapping and as an argument (going through its items would hold each once more); what stands in a
    # variable by its space, too, and by who remembers what the space held (`Globals`).
    kept: list[Any] = [tensors[key] for key in sought if sys.getrefcount(tensors[key]) > 2 + 2 * named[key]]
    private = {id(tensors)}
    for _ in range(DEPTH):
        if not kept:
            break
        private.add(id(kept))
        ids = set(map(id, kept))
        above: list[Any] = []
        private.add(id(above))
        for holder in gc.get_referrers(*kept):
            if id(holder) in private:
                continue
            if isinstance(holder, Cached | types.CellType):
                found[Place(holder)] = None
            elif isinstance(holder, dict):
                owner = class_of(holder) if "__module__" in holder else None
                found |= {Place(owner or holder, key): None for key, value in contents(holder) if id(value) in ids}
            elif isinstance(holder, list | tuple):
                above.append(holder)
        kept = above
    return list(found)
