"""One walk along a recording: what is demanded of whom, and what is in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from netmorph.errors import NetmorphError
from netmorph.graph.axis import Atom, Axis, atoms, resolve, size
from netmorph.graph.flow.state import Holds, Maker, Place, State
from netmorph.graph.recording import Call, Recording
from netmorph.graph.rules import REARRANGING, op_name
from netmorph.graph.value import Value

aten = torch.ops.aten


@dataclass
class Flow:
    """One walk along a recording.

    Args:
        recording: with axes.
        channels: the atoms that are followed; a change of width is worked out for a single one.
        sizes: what other atoms count, where that is no longer what was recorded.
        to: the new size of the channels.

    Attributes:
        codes: by place, for each entry: what its new neighbours have to hold (0 where nothing is asked for).
        averaged: the axis whose mean new channels hold, by place.
        weighted: by place of a writer, the carrier that multiplies its channels on their way to the sum.
        uniform: gains that have to be the same number everywhere, because what they scale goes on to a mean.
        factors: what whole parameters are multiplied by; a second number is added to them before and taken off after.
        reads: the tensors that are read, by place of the reader.
        read_factors: what a reader's columns are multiplied by.
        constants: numbers that have to follow, as (module, number): the factor.
        handled: the calls that are understood, `problems` those that are in the way and why, by `where`.
        products: for each sum over products of two tensors' channels: whether both are zero behind norms.
        ends: calls with the makers whose channels end there.
    """

    recording: Recording
    channels: Set[Atom]
    sizes: Mapping[Atom, int] = field(default_factory=dict)
    to: int = 0
    states: dict[Value, State] = field(default_factory=dict)
    codes: dict[Place, Tensor] = field(default_factory=dict)
    averaged: dict[Place, Axis] = field(default_factory=dict)
    weighted: dict[Place, Place] = field(default_factory=dict)
    uniform: set[Place] = field(default_factory=set)
    factors: dict[str, tuple[float, float]] = field(default_factory=dict)
    reads: dict[Place, list[State]] = field(default_factory=dict)
    read_factors: dict[Place, float] = field(default_factory=dict)
    constants: dict[tuple[str, float], float] = field(default_factory=dict)
    handled: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)
    products: list[bool] = field(default_factory=list)
    ends: list[tuple[Call, tuple[Maker, ...]]] = field(default_factory=list)
    call: Call = field(init=False)

    def __post_init__(self) -> None:
        self._made_by = {output: call for call in self.recording.calls for output in call.outputs}
        for name, value in self.recording.tensors.items():
            if places := self.dims(value):
                self.states[value] = State(makers=(self.maker(value, places[0], (name, places[0])),))

    def finish(self) -> None:
        """What nobody asked for is decided once the whole forward was seen."""
        for value in self.recording.outputs:
            if value in self.states and self.states[value].scale != 1:
                self.problems["the model's output"] = "the channels leave the model with another factor"
        for place in self.offsets:
            codes = self._codes(place)
            codes[codes == 0] = Holds.ZERO

    @property
    def offsets(self) -> set[Place]:
        """The places of biases behind norms."""
        return {maker.place for state in self.states.values() for maker in state.makers if maker.is_offset}

    @property
    def where(self) -> str:
        """As `Coupling.where`."""
        return place_of(self.call)

    def problem(self, why: str) -> None:
        """The present call changes what the network computes."""
        self.problems[self.where] = f"{why}: {self.where}"

    def ratio(self, axis: Axis) -> float:
        """By which factor the length of an axis grows."""
        before = dict(self.sizes)
        after = before | dict.fromkeys(self.channels, self.to)
        return size(axis, after) / size(axis, before)

    def dims(self, value: Value) -> list[int]:
        """The dimensions of a tensor that the channels run along."""
        return [dim for dim, axis in enumerate(value.axes) if not self.channels.isdisjoint(atoms(axis))]

    def place(self, value: Value, dim: int) -> Place | None:
        """The parameter and dimension whose entries lie along a dimension of a tensor, if they do so as they are."""
        origin = value.origins[dim] if value.origins else None
        if origin is None or len(origin.places) != 1 or self._labels(value, origin.places[0]) is None:
            return None
        return origin.places[0]

    def maker(self, value: Value, dim: int, place: Place) -> Maker:
        """The entries of a parameter, or of a rearrangement of one, along a dimension; see `place`."""
        rows = self.rows(value, dim, place)
        length = self.recording.tensors[place[0]].shape[place[1]]
        shape = [-1 if at == dim else 1 for at in range(len(value.shape))]
        held = torch.zeros(length, dtype=torch.bool).index_fill(0, rows, True)
        return Maker(place, held, rows.reshape(shape).expand(value.shape))

    def rows(self, value: Value, dim: int, place: Place) -> Tensor:
        """Which entries of the parameter lie along a dimension of a rearrangement of it; see `place`."""
        labels = self._labels(value, place)
        if labels is None:
            raise NetmorphError(f"{place[0]!r} is computed; ask for its place first")
        return labels.movedim(dim, 0).flatten(1)[:, 0] if labels.dim() > 1 else labels

    def _labels(self, value: Value, place: Place) -> Tensor | None:
        """For each element of a rearrangement of a parameter, where it lies along the parameter's dimension."""
        if value.name is not None:
            shape = [-1 if dim == place[1] else 1 for dim in range(len(value.shape))]
            return torch.arange(value.shape[place[1]]).reshape(shape).expand(value.shape)
        call = self._made_by.get(value)
        if call is None or call.op not in REARRANGING:
            return None
        labels = self._labels(call.values[0], place)
        return None if labels is None else _moved(call, labels)[call.outputs.index(value)]

    def settled(self, state: State) -> Holds | None:
        """What the new channels hold, as far as it is decided."""
        if state.holds is not None or not state.makers:
            return state.holds
        found = {
            int(code) for maker in state.makers if not maker.is_gain for code in self._codes(maker.place)[maker.rows]
        }
        holds = Holds(found.pop()) if len(found) == 1 and 0 not in found else None
        return Holds.ANY if holds is Holds.ZERO and state.is_shifted else holds

    def is_zero(self, state: State) -> bool:
        """Whether the new channels are zero, unless they are asked to be something else later."""
        by_gains = state.holds is None and all(maker.is_gain for maker in state.makers)
        return self.settled(state) is Holds.ZERO or (by_gains and not state.is_shifted)

    def demand(self, state: State, holds: Holds, axis: Axis) -> bool:
        """Have the new channels of a tensor hold this; whether that can be had."""
        if state.holds is not None:
            return state.holds is holds
        if not state.averages if holds is Holds.MEAN else state.is_shifted:
            return False
        for maker in state.makers:
            if not self._can(maker, holds, axis):
                return False
        for maker in state.makers:
            if maker.is_gain:
                if holds is Holds.MEAN:
                    self.uniform.add(maker.place)
                continue
            self._codes(maker.place)[maker.rows] = int(holds)
            if holds is Holds.MEAN:
                self.averaged[maker.place] = resolve(axis)
                if maker.gain is not None:
                    self.weighted[maker.place] = maker.gain
        return True

    def _can(self, maker: Maker, holds: Holds, axis: Axis) -> bool:
        if maker.is_gain:
            return True
        codes = self._codes(maker.place)[maker.rows]
        if bool(((codes != 0) & (codes != int(holds))).any()):
            return False
        own, over = resolve(self.recording.tensors[maker.place[0]].axes[maker.place[1]]), resolve(axis)
        if holds is Holds.MEAN and (own[len(own) - len(over) :] != over or not all(isinstance(f, Atom) for f in over)):
            return False
        return holds is Holds.ZERO or self.weighted.get(maker.place, maker.gain) == maker.gain

    def _codes(self, place: Place) -> Tensor:
        name, dim = place
        return self.codes.setdefault(place, torch.zeros(self.recording.tensors[name].shape[dim], dtype=torch.long))

    def absorb(self, maker: Maker, factor: float, offset: float) -> None:
        """Multiply a whole parameter."""
        found = self.factors.setdefault(maker.place[0], (factor, offset))
        if found != (factor, offset) or not bool(maker.rows.all()):
            self.problem("a gain would have to take several factors")

    def note_ends(self, call: Call) -> None:
        """Keep which makers' channels end in a call: those that none of its results has any more."""
        passed = [maker for output in call.outputs if output in self.states for maker in self.states[output].makers]
        given = [maker for value in call.values if value in self.states for maker in self.states[value].makers]
        if ended := tuple(maker for maker in given if not any(maker.meets(other) for other in passed)):
            self.ends.append((call, ended))

    def level(self, state: State) -> State:
        """The same without a factor, where a gain on the way can take it up."""
        gains = state.makers
        if state.scale == 1 or not state.scales or len(gains) != 1 or not gains[0].is_gain:
            return state
        self.absorb(gains[0], 1 / state.scale, 0.0)
        return replace(state, scale=1.0)

    def plain(self, state: State) -> bool:
        """Whether a tensor comes out as it did; where not, that is a problem."""
        if state.scale != 1:
            self.problem("the channels come with another factor, which nothing takes up")
        return state.scale == 1

    def unknown(self, call: Call) -> None:
        """Nothing is known of the result; a rule has said what the operator lets pass."""
        given = [self.states[value] for value in call.values if value in self.states]
        for state in given:
            self.plain(state)
        for output in call.outputs:
            if self.dims(output):
                self.states[output] = State(Holds.ANY, averages=False, scales=False)

    def rearranged(self, call: Call) -> None:
        """The same elements at other places."""
        state = self.states.get(call.values[0])
        if state is None:
            return
        moved: list[Sequence[Tensor | None]] = [
            _moved(call, maker.labels) if maker.labels is not None else [None] * len(call.outputs)
            for maker in state.makers
        ]
        for place, output in enumerate(call.outputs):
            makers = [_taken(maker, labels[place]) for maker, labels in zip(state.makers, moved, strict=True)]
            self.states[output] = replace(state, makers=tuple(makers))


def place_of(call: Call) -> str:
    """Operator, module and source line of a call, as limits tell them."""
    return f"{op_name(call.op)} in {call.module or 'the model'} ({call.location})"


def _taken(maker: Maker, labels: Tensor | None) -> Maker:
    if labels is None:
        return replace(maker, labels=None)
    once = labels[tuple(slice(1) if stride == 0 else slice(None) for stride in labels.stride())]
    rows = torch.zeros_like(maker.rows).index_fill(0, once.flatten(), True)
    return replace(maker, rows=rows & maker.rows, labels=labels)


def _moved(call: Call, labels: Tensor) -> Sequence[Tensor | None]:
    """What a rearranging operator makes of other elements; nothing where it takes only those that it was given."""
    if call.op in (aten.type_as.default, aten.to.device, aten.to.dtype, aten.to.dtype_layout):
        return [labels]
    if any(isinstance(leaf, Value) for leaf in tree_leaves((call.args[1:], call.kwargs))):
        return [None] * len(call.outputs)
    # Labels that are the same along a dimension lie there once, and need no copy where the operator takes them so.
    for given in (Tensor.detach, Tensor.contiguous):
        try:
            result = call.op(given(labels), *call.args[1:], **call.kwargs)
        except (
            RuntimeError,
            IndexError,
            TypeError,
            ValueError,
            NotImplementedError,
        ):  # of elements that are no integers
            continue
        made = [result] if isinstance(result, Tensor) else list(result)
        fits = [one.shape for one in made] == [output.shape for output in call.outputs]
        return made if fits else [None] * len(call.outputs)
    return [None] * len(call.outputs)
