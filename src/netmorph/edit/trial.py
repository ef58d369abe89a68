"""Whether an entry can be put into a list of modules, or taken out: tried, with one that passes its input on.

How a forward goes through an `nn.ModuleList` is written in its code: in a loop over all of it, by fixed numbers, beside
another list, as often as an attribute says. So a stand-in is put in that answers in the form of the entry before it and
passes its input on. The list may grow there if each entry then runs as before, the stand-in right behind the entry
before it, and the network answers the same bits: in eval mode, and in training mode as far as nothing there is random.
All modules have to run as before, and each entry has to be given what it was given: a number of its own, or one of
several masks, shows there where the result is the same by accident. What the stand-in answers has to matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from netmorph.edit.fused import as_used
from netmorph.edit.numbered import Place, numbered, renamed
from netmorph.edit.numbers import Attributes, Listed, Number, integers, numbers
from netmorph.edit.plan import Plan
from netmorph.edit.replace import Undo, make
from netmorph.edit.stand_in import StandIn
from netmorph.edit.watched import Run, detached, is_same, same_given, same_result, stands_in, watching
from netmorph.graph import Graph
from netmorph.graph.held import Entry, look, sequences
from netmorph.graph.holders import alike
from netmorph.graph.running import one_at_a_time, run
from netmorph.memory import out_of_memory

SEEDS = (0, 1)  # of training mode: what differs between two is random
# Attributes of PyTorch's own that count the entries of a list, whether a forward reads them or not.
COUNTS: dict[type[nn.Module], dict[str, str]] = {
    nn.TransformerEncoder: {"num_layers": "layers"},
    nn.TransformerDecoder: {"num_layers": "layers"},
}


def listed_behind(graph: Graph, path: str, is_copy: bool) -> Listed | None:
    """The place of a new entry behind one, where the forward lets the list grow there.

    Args:
        is_copy: of the one before, so that it holds a number where that does.
    """
    place = numbered(graph.model, path)
    found = None if place is None else _Trial(graph, place.moved(1), 1, is_copy).made()
    if place is None or found is None or not is_copy:
        return found
    own: Attributes = [
        (f"{found.place.path}.{inner}".rstrip("."), name, value + 1)
        for number in found.numbers
        for entry, inner, name, value in number.held
        if entry == place.number
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
    if place is None:
        return None
    with one_at_a_time():
        found, doubtful = _Trial(graph, place, -1).told()
    return next((number.name for number in (*found, *doubtful)), None)


class _Trial:
    """Args: by: 1 where an entry comes to this place, -1 where the one that is there goes; is_copy: see there."""

    def __init__(self, graph: Graph, place: Place, by: int, is_copy: bool = False) -> None:
        self.graph, self.model, self.place, self.by, self.is_copy = graph, graph.model, place, by, is_copy
        self.numbers: list[Number] = []
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
            self.numbers, doubtful = self.told(first)
            if first is None or id(self.like) not in first.answers or doubtful:
                return None
            standing = StandIn(self.like, first.answers[id(self.like)])
            if self.by > 0:
                before += self._watched(modes[1:])
            else:
                before = self._with(Plan(exact=False, modules={self.place.path: standing}), modes, standing)
            for attributes in self._attempts(first):
                entry: dict[str, nn.Module] = {self.place.path: standing} if self.by > 0 else {}
                gone = () if self.by > 0 else (self.place.path,)
                plan = Plan(exact=False, inserted=entry, removed=gone, attributes=attributes)
                after = self._with(plan, modes[:1], standing)
                if not self._goes_as(before[0], after[0], standing) or not self._has_room(attributes):
                    continue
                known = {(path, name) for path, name, _ in attributes}
                attributes = attributes + [entry for entry in self._documented() if entry[:2] not in known]
                after += self._with(plan, modes[1:2], standing)
                if not self._trains_as(before[1:], after[1:], standing):
                    return None
                there = plan if self.by > 0 else Plan(exact=False, modules={self.place.path: standing})
                sure = self._matters(there, standing, before[0]) and not self._beside(first)
                return self._listed(attributes) if sure else None
        return None

    def _goes_as(self, before: Run | None, after: Run | None, standing: nn.Module) -> bool:
        return (
            before is not None
            and after is not None
            and self._same_calls(before, after, standing)
            and same_result(before, after)
        )

    def _has_room(self, attributes: Attributes) -> bool:
        """Whether the forward runs with the number that a copy at the end of the list would hold (in a cache, say).

        A stand-in uses no number; where it comes before others, these move on to the last one.
        """
        if not self.is_copy or not self.numbers or self.place.key in self._keys():
            return True
        shifted = [shift for number in self.numbers for shift in self._shifted(number)]
        return self._with(Plan(exact=False, attributes=[*attributes, *shifted]), [self._eval])[0] is not None

    def _keys(self) -> set[str]:
        return {*self.model.get_submodule(self.place.container)._modules}

    def _shifted(self, number: Number) -> Attributes:
        """The last of the entries that hold a number holds the next one."""
        *_, last = sorted(number.held)
        return [
            (self._path(entry, inner), name, value + 1) for entry, inner, name, value in number.held if entry == last[0]
        ]

    def _trains_as(self, before: list[Run | None], after: list[Run | None], standing: nn.Module) -> bool:
        """The same in training mode, where it runs there; of what is random, nothing is asked."""
        first, other = before if before else (None, None)
        if first is None or other is None:
            return True
        made = after[0]
        if made is None:
            return False
        is_random = not same_result(first, other)
        if first.order == other.order and not self._same_calls(first, made, standing, values=not is_random):
            return False
        return is_random or same_result(first, made)

    def _same_calls(self, before: Run, after: Run, standing: nn.Module, values: bool = True) -> bool:
        """All modules run as before, and the entries are given the same; without values, tensors may differ."""
        return (
            self._same_order(before, after, standing)
            and same_given(before, after, id(standing), values)
            and (self.by < 0 or stands_in(after, id(standing), id(self.like)))
        )

    def _same_order(self, before: Run, after: Run, standing: nn.Module) -> bool:
        shorter, longer = (before, after) if self.by > 0 else (after, before)
        entries = {*map(id, self.entries), id(standing)}
        ran = [None, *(item[0] for item in longer.order if item[0] in entries)]
        if self.by > 0:
            behind = [pair[0] for pair in itertools.pairwise(ran) if pair[1] == id(standing)]
            if behind != [id(self.like)] * ran.count(id(self.like)):
                return False
        return shorter.order in longer.without(id(standing), entries, self._stateless())

    def _stateless(self) -> set[int]:
        modules = self.model.modules()
        return {id(module) for module in modules if not [*module.parameters(), *module.buffers()]}

    def _matters(self, plan: Plan, standing: StandIn, passed: Run | None) -> bool:
        """Whether the network answers something else where the stand-in does."""
        standing.disturb()
        other = self._with(plan, [self._eval], standing)[0]
        return passed is not None and other is not None and not same_result(passed, other)

    def _beside(self, first: Run) -> bool:
        """Whether settings lie in a list beside the entries, one for each, so that they would move to other entries.

        One less of them changes the forward then, and one more does not.
        """
        lists = sequences(dict(self.model.named_modules()), len(self.entries))
        lists = [one for one in lists if any(not is_same(one[2][0], value) for value in one[2])]
        if not lists or self._as_before(first, lists, -1):
            return False
        return any(not self._as_before(first, [one], -1) and self._as_before(first, [one], 1) for one in lists)

    def _as_before(self, first: Run, lists: list[Entry], by: int) -> bool:
        """Whether the forward is as before with lists that are one shorter or one longer."""
        try:
            for table, key, value in lists:
                table[key] = alike(value, value[:-1] if by < 0 else [*value, value[-1]])
            found = self._watched([self._eval])[0]
        finally:
            for table, key, value in lists:
                table[key] = value
        return (
            found is not None and found.order == first.order and same_given(first, found) and same_result(first, found)
        )

    def _with(self, plan: Plan, modes: list[Callable[[], Any]], *standing: nn.Module) -> list[Run | None]:
        undo: Undo = []
        try:
            make(self.model, plan, undo)
            return self._watched(modes, *standing)
        finally:
            for step in reversed(undo):
                step()

    def _watched(self, modes: list[Callable[[], Any]], *others: nn.Module) -> list[Run | None]:
        """What runs in each mode; None where the forward fails."""
        found: list[Run | None] = []
        for mode in modes:
            with watching(self.model, (*self.entries, *others)) as seen:
                try:
                    seen.result = detached(mode())
                except Exception as error:  # of the user's forward, in a list of another length: whatever it raises
                    for cause in (error, error.__cause__):
                        if cause is not None and out_of_memory(cause):
                            raise cause  # noqa: B904 - it tells nothing about the list
                    found.append(None)
                else:
                    found.append(seen)
        return found

    def _eval(self) -> Any:
        return run(self.model, self.graph.inputs, kept=self.graph.recording.kept)

    def _training(self, seed: int) -> Any:
        kept = self.graph.recording.kept
        return as_used(self.model, self.graph.inputs, kept, gradients=True, training=True, seed=seed)

    def told(self, first: Run | None = None) -> tuple[list[Number], list[Number]]:
        """The numbers that the entries hold, and those that may be settings of theirs as well.

        A number that nothing reads but a cache may be another one. Where the result changes with it, two values from 1
        on are settings; more of them, or from 0 on, may be both, and so may what another list goes on with.
        """
        candidates = numbers(self.graph, self.place)
        if candidates and first is None:
            first = self._watched([self._eval])[0]
        found: list[Number] = []
        doubtful = [number for number in candidates if number.goes_on or first is None]
        for number in candidates:
            if number in doubtful:
                continue
            other = self._with(Plan(exact=False, attributes=self._shifted(number)), [self._eval])[0]
            if other is None or (first is not None and same_result(first, other)):
                found.append(number)
            elif number.values != [1, 2]:
                doubtful.append(number)
        return found, doubtful

    def _path(self, number: int, inner: str) -> str:
        return f"{Place(self.place.container, self.place.prefix, number).path}.{inner}".rstrip(".")

    def _moved_numbers(self) -> Attributes:
        """The numbers that entries hold, where they change; by the paths of afterwards."""
        first = self.place.number - (0 if self.by > 0 else -1)
        return [
            (self._path(entry + self.by, inner), name, value + self.by)
            for number in self.numbers
            for entry, inner, name, value in number.held
            if entry >= first
        ]

    def _attempts(self, first: Run) -> Iterator[Attributes]:
        """What may have to be set: nothing but numbers, or the counts that the forward reads as well.

        A list that becomes shorter than its count may run all the same (`blocks[:depth]`).
        """
        moved = self._moved_numbers()
        if self.by > 0:
            yield moved
        counts, likely = self._counts(first)
        further = [[count] for count in likely] + ([likely] if len(likely) > 1 else [])
        if self.by < 0:
            further.reverse()
            yield from (moved + counts + more for more in further)
        if counts or self.by < 0:
            yield moved + counts
        if self.by > 0:
            yield from (moved + counts + more for more in further)

    def _counts(self, first: Run) -> tuple[Attributes, Attributes]:
        """The attributes outside of the list that count its entries: with one less, the forward leaves out the last.

        Returns:
            And those that may: with one less the forward fails (in a cache, say), with one more it goes as before.
        """
        size, start, last = len(self.entries), replace(self.place, number=0).path, self.entries[-1]
        shorter = first.without(id(last), {id(entry) for entry in self.entries}, self._stateless())
        found: Attributes = []
        likely: Attributes = []
        for (path, name), value in integers(self.graph).items():
            if value != size or renamed(path, start, 1) != path:
                continue
            fewer = self._with(Plan(exact=False, attributes=[(path, name, size - 1)]), [self._eval])[0]
            if fewer is not None and fewer.order != first.order and fewer.order in shorter:
                found.append((path, name, size + self.by))
            elif fewer is None:
                more = self._with(Plan(exact=False, attributes=[(path, name, size + 1)]), [self._eval])[0]
                if more is not None and more.order == first.order and same_result(first, more):
                    likely.append((path, name, size + self.by))
        return found, likely

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
        return Listed(self.place, attributes, before, self.numbers)
