"""Where a recorded forward can be cut, and which stretches between two cuts are one layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from netmorph.export.layers import values
from netmorph.export.merge import Forward, Step
from netmorph.graph import Value


@dataclass(frozen=True)
class Segment:
    """What lies between two cuts.

    Attributes:
        start: the only tensor that enters.
        end: the only one that leaves.
        steps: the numbers of the steps that make one of the other. What depends on no input (the positions of tokens,
            a mask) is made again in each segment that reads it.
        matrices: how many of them read a weight of two dimensions or more.
        has_weights: whether any of them reads a parameter or buffer.
        path: the innermost module around all of them.
    """

    start: Value
    end: Value
    steps: tuple[int, ...]
    matrices: int
    has_weights: bool
    path: str

    @property
    def keeps_shape(self) -> bool:
        """Whether what leaves looks like what enters."""
        return (self.start.shape, self.start.dtype) == (self.end.shape, self.end.dtype)

    def before(self, other: Segment) -> Segment:
        """This segment and the one behind it as one."""
        steps = tuple(sorted({*self.steps, *other.steps}))
        return Segment(
            self.start,
            other.end,
            steps,
            self.matrices + other.matrices,
            self.has_weights or other.has_weights,
            around([self.path, other.path]),
        )


def segments(forward: Forward, steps: Sequence[Step]) -> list[Segment]:
    """Cut a forward at every place where one tensor crosses, and that tensor has the batch as its first dimension.

    Args:
        steps: those of the forward that make its result, see `netmorph.export.body.essential`.
    """
    cuts = _cuts(forward, steps)
    roots = _roots(steps)
    return [_between(steps, roots, start, at, end, to) for (at, start), (to, end) in pairwise(cuts)]


def joined(parts: Sequence[Segment]) -> list[Segment]:
    """The segments as layers and blocks: each with a matrix of weights, and what belongs to it.

    What has no matrix and keeps the shape (an activation, a norm) belongs to the layer in front of it; a norm to a
    block only if the block's module holds it, as it may be the first of the next (pre-norm). What changes the shape
    (a pool, a flatten) belongs to the layer behind it, with all that follows in between, so that a dense layer brings
    its own pool; in front of a block, to the layer in front of it, so that the block keeps the shape. Between two
    blocks it is a layer of its own, and at the end of a network it belongs to the last layer.
    """
    found: list[Segment] = []
    waiting: Segment | None = None
    for part in parts:
        if not part.matrices and waiting is None and found and _belongs(part, found[-1]):
            found[-1] = found[-1].before(part)
        elif not part.matrices:
            waiting = part if waiting is None else waiting.before(part)
        elif waiting is None:
            found.append(part)
        elif part.matrices == 1 or not found:
            found.append(waiting.before(part))
            waiting = None
        else:
            found[-1:] = [found[-1].before(waiting)] if found[-1].matrices == 1 else [found[-1], waiting]
            found.append(part)
            waiting = None
    if waiting is not None:
        found[-1:] = [found[-1].before(waiting)] if found else [waiting]
    return found


def _belongs(part: Segment, before: Segment) -> bool:
    if not part.keeps_shape:
        return False
    return not part.has_weights or before.matrices == 1 or around([before.path, part.path]) == before.path != ""


def _cuts(forward: Forward, steps: Sequence[Step]) -> list[tuple[int, Value]]:
    """After which step (-1: before the first) which tensor alone is read later."""
    depends = set(forward.inputs)
    for step in steps:
        if not depends.isdisjoint(_read(step)):
            depends.update(step.call.outputs)
    last = {value: len(steps) for value in values(forward.result)}
    for number in reversed(range(len(steps))):
        for value in _read(steps[number]):
            last.setdefault(value, number)
    live = {value for value in forward.inputs if value in last}
    found: list[tuple[int, Value]] = []
    seen: set[Value] = set()
    for number in range(-1, len(steps)):
        if number >= 0:
            live |= {v for v in steps[number].call.outputs if v in last and (v in depends or v.from_input)}
            live = {value for value in live if last[value] > number}
        if len(live) == 1:
            (value,) = live
            if value not in seen and value.shape[:1] == (forward.batch,):
                seen.add(value)
                found.append((number, value))
    return found


def _roots(steps: Sequence[Step]) -> dict[Value, Value]:
    """For each value that lies in the memory of another one (a view, or what was made of it in place), that one."""
    roots: dict[Value, Value] = {}
    for step in steps:
        inner = values(step.args)
        returns = step.call.op._schema.returns
        if inner and returns and returns[0].alias_info is not None:
            roots.update(dict.fromkeys(step.call.outputs, roots.get(inner[0], inner[0])))
    return roots


def _between(
    steps: Sequence[Step], roots: Mapping[Value, Value], start: Value, at: int, end: Value, to: int
) -> Segment:
    """The steps that make one value of another, and those in between that change in place what these read.

    A buffer that counts is changed by the module that is at work.
    """

    def changes(step: Step) -> bool:
        if not step.call.op._schema.is_mutable:
            return False
        root, *_ = (roots.get(value, value) for value in values(step.args))
        if root.name is not None:
            return step.call.module in {steps[number].call.module for number in numbers}
        return root in {roots.get(value, value) for value in (start, *needed)}

    needed, numbers = {end}, []
    for number in range(to, -1, -1):
        step = steps[number]
        if not needed.isdisjoint(step.call.outputs) or (number > at and changes(step)):
            needed |= _read(step) - {start}
            numbers.append(number)
    numbers.reverse()
    here = [steps[number] for number in numbers if number > at]
    return Segment(
        start,
        end,
        tuple(numbers),
        sum(map(reads_matrix, here)),
        any(value.is_weight for step in here for value in _read(step)),
        around(step.call.module for step in here),
    )


def reads_matrix(step: Step) -> bool:
    """Whether a step reads a weight of two dimensions or more."""
    return any(value.is_weight and len(value.shape) > 1 for value in _read(step))


def _read(step: Step) -> set[Value]:
    return set(values((step.args, step.kwargs)))


def around(paths: Iterable[str]) -> str:
    """The innermost module around all of some."""
    common: list[str] | None = None
    for path in paths:
        names = path.split(".") if path else []
        if common is None:
            common = names
        else:
            same = [one == other for one, other in zip(common, names, strict=False)]
            common = common[: (*same, False).index(False)]
    return ".".join(common or [])
