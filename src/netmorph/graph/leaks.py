"""What a recorded forward left in the user's process: sizes and tensors of ours, in caches that outlive it.

A forward may keep what it works out anywhere: in a dictionary of its module, in `functools.lru_cache`, in a closure.
After a recording nothing of ours may stay there: later calls would compute with sizes that remember a finished
recording, and with tensors that autograd refuses. What is still alive when all is over is found by its reference
count, and who holds it by the garbage collector, so that a forward that keeps nothing pays nothing.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import operator
import sys
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.graph.provenance import Size, plain
from netmorph.graph.roots import Root
from netmorph.graph.slots import BASES, contents, put, remade

Cached = type(functools.lru_cache(lambda: None))

# A tuple in a tuple in a list: how far up what holds a size may itself have to be made anew.
DEPTH = 12


class Globals:
    """What the variables of a model's code hold before a forward, and the containers among them.

    Seen are the Python modules that define its classes, those whose functions and classes these use, and the classes.

    Attributes:
        spaces: the variables of these Python modules.
    """

    def __init__(self, model: nn.Module) -> None:
        kinds = {kind for module in model.modules() for kind in type(module).__mro__ if _is_followed(kind.__module__)}
        own = {function.__module__ for module in model.modules() for function in _functions(module)}
        names = {kind.__module__ for kind in kinds} | {name for name in own if _is_followed(name)}
        near = {_home(value) for name in names for value in _variables(name).values()}
        names |= {name for name in near if _is_followed(name)}
        self.spaces = [*map(_variables, names)]
        variables = {id(value): value for space in self.spaces for value in space.values()}
        self._caches = [(value, value.cache_info()) for value in variables.values() if isinstance(value, Cached)]
        self._before: dict[int, list[Any]] = {}
        for space in [*self.spaces, *map(vars, kinds)]:
            if isinstance(space, dict):
                self._before[id(space)] = contents(space)
            for value in space.values():
                if isinstance(value, BASES):
                    self._before[id(value)] = contents(value)

    def of(self, container: Any) -> list[Any] | None:
        """The entries that a container had; None where it was not looked at."""
        return self._before.get(id(container))

    def clear_used_caches(self) -> None:
        """Empty the caches among them that were filled since."""
        for cache, info in self._caches:
            if cache.cache_info().misses != info.misses:
                cache.cache_clear()


def _functions(module: nn.Module) -> list[types.FunctionType]:
    return [value for value in vars(module).values() if isinstance(value, types.FunctionType)]


def _variables(name: str) -> dict[str, Any]:
    module = sys.modules.get(name)
    return vars(module) if isinstance(module, types.ModuleType) else {}


def _home(value: Any) -> str:
    """The Python module that a variable stands for, or comes from."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    if not isinstance(value, types.FunctionType | type | Cached):
        return ""
    return value.__module__ or ""  # that of generated code (torch.compile's) is None


def _is_followed(name: str) -> bool:
    """Whether a Python module may be one of the user's, or of a library that keeps something between calls."""
    home = name.partition(".")[0]
    return name == "__main__" or not (home in sys.stdlib_module_names or home in ("torch", "numpy", "netmorph", ""))


def clean(sizes: Sequence[Size | Root], made: Mapping[int, Tensor], result: Any, before: Globals) -> None:
    """Put integers and tensors like any other in the place of those of a recording, wherever they are kept.

    A cache of `functools.lru_cache` that holds some is emptied. What was put into a variable of a module, or into a
    dictionary there, goes: it is as it was.

    Args:
        sizes: all that were handed out.
        made: all tensors that were made, by id.
        result: where tensors may stay, but no sizes: what the model returned.
        before: from before the forward.
    """
    cleaning = _Cleaning(made, before)
    cleaning.private.update(map(id, (sizes, made)))
    returned = Counter(map(id, _inside(result, set())))
    leaked = _alive(sizes, made, returned)
    if leaked:
        leaked.clear()  # else we hold them ourselves
        before.clear_used_caches()  # who holds the rest, only the collector knows, who walks all objects that there are
        leaked = _alive(sizes, made, returned)
    seen: dict[int, Any] = {}
    cleaning.private.add(id(seen))
    for _ in range(DEPTH):
        if not leaked:
            return
        cleaning.private.add(id(leaked))
        holders = gc.get_referrers(*leaked)
        cleaning.private.add(id(holders))
        caches = [holder for holder in holders if isinstance(holder, Cached)]
        for cache in caches:
            cache.cache_clear()
        above = [holder for holder in holders if id(holder) not in seen and cleaning.clean(holder)]
        seen |= {id(holder): holder for holder in above}
        holders.clear()
        leaked.clear()
        leaked = _alive(sizes, made, returned) if caches else above


def _alive(sizes: Iterable[Size | Root], made: Mapping[int, Tensor], returned: Mapping[int, int]) -> list[Any]:
    """Those that somebody else holds: we do in one place, by the loop's variable, and as an argument."""
    found: list[Any] = [entry for entry in sizes if sys.getrefcount(entry) > 3]
    return found + [entry for entry in made.values() if sys.getrefcount(entry) > 3 + returned.get(id(entry), 0)]


def _inside(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors of what a model returned, one as often as it is held there."""
    if isinstance(value, Tensor):
        yield value
        return
    if id(value) in seen or isinstance(value, int | float | str | None):
        return
    seen.add(id(value))
    inner: list[Any] = list(value.values()) if isinstance(value, dict) else []
    if isinstance(value, list | tuple | set | frozenset):
        inner += value
    if not isinstance(value, nn.Module | type):
        inner += _attributes(value).values()
    for entry in inner:
        yield from _inside(entry, seen)


def _attributes(value: Any) -> dict[str, Any]:
    try:
        own: dict[str, Any] = vars(value)
        return own
    except TypeError:  # a number, a string: nothing is inside
        return {}


class _Cleaning:
    """Replaces what holders hold.

    Args:
        made: tensors that must not stay, by id.
        before: what variables held.
    """

    def __init__(self, made: Mapping[int, Tensor], before: Globals) -> None:
        self.private: set[int] = set()
        self._made, self._before = made, before
        self._copies: dict[int, Tensor] = {}

    def ordinary(self, value: Any) -> Any:
        """The same without anything of ours; what needs no change is itself."""
        if isinstance(value, Size):
            return plain(value)
        if isinstance(value, Root):
            return float(value)
        if id(value) in self._made:
            with torch.inference_mode(False), torch.no_grad():
                return self._copies.setdefault(id(value), value.clone())
        if isinstance(value, tuple | frozenset):
            entries = [self.ordinary(entry) for entry in value]
            return value if all(map(operator.is_, entries, value)) else remade(value, entries)
        return value

    def clean(self, holder: Any) -> bool:
        """Whether the holder cannot be changed, and those who hold it have to be."""
        if id(holder) in self.private or isinstance(holder, Cached):
            return False
        if isinstance(holder, types.FrameType):
            self._clean_frame(holder)
            return False
        if isinstance(holder, tuple | frozenset):
            return True
        if isinstance(holder, dict):
            self._clean_entries(holder)
        elif isinstance(holder, BASES):
            put(holder, [self.ordinary(entry) for entry in contents(holder)])
        elif isinstance(holder, types.CellType):
            holder.cell_contents = self.ordinary(holder.cell_contents)
        elif isinstance(holder, types.FunctionType):
            holder.__defaults__ = self.ordinary(holder.__defaults__)
        elif isinstance(holder, functools.partial):
            holder.__setstate__((holder.func, self.ordinary(holder.args), holder.keywords, vars(holder)))  # type: ignore[attr-defined]
        else:
            self._clean_attributes(holder)
        return False

    def _clean_entries(self, holder: dict[Any, Any]) -> None:
        entries, then = contents(holder), self._before.of(holder)
        if "__module__" in holder and (owner := class_of(holder)) is not None:
            for name, value in entries:
                if (own := self.ordinary(value)) is not value:
                    setattr(owner, name, own)
            return
        kept: dict[Any, Any] = {}
        old = dict(then or ())
        for key, value in entries:
            own_key, own_value = self.ordinary(key), self.ordinary(value)
            if own_key is key and own_value is value:
                kept[key] = value
            elif then is None:
                kept.setdefault(own_key, own_value)
            elif own_key is key and key in old:
                kept[key] = old[key]
        put(holder, list(kept.items()))

    def _clean_frame(self, holder: types.FrameType) -> None:
        """A call that is over, kept by an exception that somebody keeps: an import that failed inside of the forward.

        Where the forward itself failed, its calls stay as they are, for debuggers.
        """
        if sys.exc_info()[0] is None and not holder.f_code.co_flags & inspect.CO_GENERATOR:
            with contextlib.suppress(RuntimeError):  # it still runs
                holder.clear()

    def _clean_attributes(self, holder: Any) -> None:
        self._clean_entries(_attributes(holder))
        for name in {name for kind in type(holder).__mro__ for name in _slots(kind)}:
            value = getattr(holder, name, None)
            if (own := self.ordinary(value)) is not value:
                object.__setattr__(holder, name, own)


def class_of(space: dict[Any, Any]) -> type | None:
    """The class whose attributes a dictionary holds: it must not be written to directly."""
    return next((held for held in gc.get_referrers(space) if isinstance(held, type)), None)


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
