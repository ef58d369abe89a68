"""A traced network -> boxes and edges.

Boxes follow the calls of modules: what ran between the start and the end of a call is inside of its box. A call is an
interval of time, so boxes never depend on each other in a circle, and a module that is called twice is two boxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from netmorph.draw.boxes import OUTSIDE, RESIDUAL, SUM, Box, Edge, Shape
from netmorph.draw.words import ARITHMETIC, MAKING, PASSING, detail, operator
from netmorph.graph import Graph, Role
from netmorph.graph.axis import Atom, atoms
from netmorph.graph.recording import Call
from netmorph.graph.value import Value
from netmorph.measure.prediction import flops_of

Ends = tuple[int, int, int, int]


def read(graph: Graph) -> Box:
    """The whole network as one box, with all that is in it.

    Operators between modules are boxes of their own, but for those that only show the same numbers under another shape
    (views, splits, dropout in eval mode) and arithmetic with constants.
    """
    return _Reader(graph).read()


@dataclass(eq=False)
class _Frame:
    """One call of a module: what ran in it, and what is drawn of that."""

    path: str
    number: int
    parts: list[_Frame | Call] = field(default_factory=list)
    drawn: dict[_Frame | _Unit, int] = field(default_factory=dict)  # its place among the boxes inside
    inputs: dict[_Unit, tuple[int, Shape]] = field(default_factory=dict)  # by who gives it: which input it is
    outputs: dict[_Unit, tuple[int, Shape]] = field(default_factory=dict)
    edges: dict[Ends, Edge] = field(default_factory=dict)

    def calls(self) -> Iterator[Call]:
        """All operators in it, in order."""
        for part in self.parts:
            if isinstance(part, Call):
                yield part
            else:
                yield from part.calls()


@dataclass(eq=False)
class _Unit:
    """A box with nothing inside, or an input of the network: the calls of modules around it, and its own operators."""

    around: tuple[_Frame, ...]
    path: str = ""
    kind: str = ""
    calls: Sequence[Call] = ()
    shape: Shape = ()
    reads: tuple[Shape, ...] = ()


class _Reader:
    def __init__(self, graph: Graph) -> None:
        self.graph, run = graph, graph.recording
        self.data, self.written = _data(run.calls, run.inputs)
        self.batch = next((value.shape[0] for value in run.inputs if value.shape), 1)
        self.parameters = {
            name
            for path, module in graph.modules.items()
            for key in module._parameters
            if (name := f"{path}.{key}".lstrip(".")) in run.tensors
        }
        owners = {re.split(r"\.parametrizations\.|\.\w+$", name)[0] for name in self.parameters if "." in name}
        self.with_layers = {  # paths of modules in which others hold parameters
            ".".join(steps[:length]) for steps in (owner.split(".") for owner in owners) for length in range(len(steps))
        }
        self.group_of: dict[Atom, str] = {group.atom: group.name for group in graph.groups.values()}
        self.writers: dict[str, list[str]] = {}  # by tensor, the groups that it writes
        for group in graph.groups.values():
            for site in group.where(Role.WRITE):
                self.writers.setdefault(site.tensor, []).append(group.name)
        self.givers: dict[Value, tuple[_Unit, ...]] = {value: (_Unit(()),) for value in run.inputs}
        self.weights: dict[Value, frozenset[str]] = {  # the parameters that a value is computed from
            value: frozenset([name]) for name, value in run.tensors.items() if name in self.parameters
        }

    def read(self) -> Box:
        root = _frames(self.graph.recording.calls)
        self._enter(root, (root,))
        for value in self.graph.recording.outputs:
            for giver in self.givers.get(value, ()):
                self._connect(giver, None, value)
        return self._box(root, type(self.graph.model).__name__)

    def _enter(self, frame: _Frame, around: tuple[_Frame, ...]) -> None:
        for part in frame.parts:
            if isinstance(part, Call):
                self._call(part, around)
            elif self._is_layer(part):
                calls = [*part.calls()]
                if all(map(self._passes, filter(self._takes_data, calls))):
                    for call in calls:
                        self._call(call, around)
                else:
                    self._unit(_Unit(around, part.path, type(self.graph.modules[part.path]).__name__, calls))
                    self._write(calls)
            else:
                self._enter(part, (*around, part))

    def _takes_data(self, call: Call) -> bool:
        gives = bool(call.outputs) and call.outputs[0] in self.data and call.op.overloadpacket not in MAKING
        return gives and any(value in self.data for value in call.values)

    def _is_layer(self, frame: _Frame) -> bool:
        """Whether nothing is shown of what happens inside: no module in it takes data, or it is one of PyTorch's."""
        inner = (part for part in frame.parts if isinstance(part, _Frame))
        if any(self._takes_data(call) for part in inner for call in part.calls()):
            return False
        module = self.graph.modules[frame.path]
        return frame.path not in self.with_layers or type(module).__module__.startswith("torch.nn.")

    def _passes(self, call: Call) -> bool:
        """Whether the call is no box: an edge goes through it."""
        if any(value in self.weights for value in call.values):
            return False
        data = {value for value in call.values if value in self.data}
        op = call.op.overloadpacket
        return op in PASSING or (op in ARITHMETIC and len(data) < 2)

    def _call(self, call: Call, around: tuple[_Frame, ...]) -> None:
        if not self._takes_data(call):
            names = frozenset[str]().union(*(self.weights.get(value, frozenset()) for value in call.values))
            self.weights.update(dict.fromkeys(call.outputs, names) if names else {})
        elif self._passes(call):
            givers = dict.fromkeys(giver for value in call.values for giver in self.givers.get(value, ()))
            self.givers.update((value, tuple(givers)) for value in call.outputs)
        else:
            self._unit(_Unit(around, self._owner(call, around[-1].path), operator(call), [call]))
        self._write([call])

    def _write(self, calls: Sequence[Call]) -> None:
        """What is written into a part of a tensor is in the tensor."""
        for output in (output for call in calls for output in call.outputs):
            for whole in self.written.get(output, ()):
                givers = (*self.givers.get(whole, ()), *self.givers.get(output, ()))
                self.givers[whole] = tuple(dict.fromkeys(givers))

    def _owner(self, call: Call, path: str) -> str:
        """The module whose weight an operator uses; a parameter of the module around stands for itself."""
        names = sorted(self._names([call]))
        if not names:
            return path
        owner = names[0].rpartition(".")[0]
        return names[0] if owner == path else owner

    def _unit(self, unit: _Unit) -> None:
        made: set[Value] = set()
        reads: dict[_Unit, Shape] = {}
        for call in unit.calls:
            for value in call.values:
                for giver in self.givers.get(value, ()) if value not in made else ():
                    reads.setdefault(giver, self._shape(value))
                    self._connect(giver, unit, value)
            made.update(call.outputs)
        last = [call for call in unit.calls if self._takes_data(call)][-1]
        unit.shape, unit.reads = self._shape(last.outputs[0]), tuple(reads.values())
        self.givers.update(dict.fromkeys(made, (unit,)))

    def _connect(self, giver: _Unit, taker: _Unit | None, value: Value) -> None:
        """Draw a tensor's way: out of the boxes around the giver, into those around the taker (the model's outside)."""
        down = taker.around if taker else ()
        shared = sum(one is other for one, other in zip(giver.around, down, strict=False))
        shape, groups = self._shape(value), self._groups(value)

        def connect(inside: _Frame, ends: Ends, shape: Shape = shape) -> None:
            inside.edges.setdefault(ends, Edge(ends[0], ends[2], shape, groups, ends[1], ends[3]))

        came: _Frame | _Unit = giver
        for frame in reversed(giver.around[shared:]):
            place, output = _place(frame, came), _port(came, giver)
            leaves = giver.shape if frame is not giver.around[0] else shape  # whatever is made of it outside
            port = frame.outputs.setdefault(giver, (len(frame.outputs), leaves))[0]
            connect(frame, (place, output, OUTSIDE, port), leaves)
            came = frame
        goes: list[_Frame | _Unit] = [*down[shared:], *([taker] if taker else [])]
        for frame in down[shared:]:
            frame.inputs.setdefault(giver, (len(frame.inputs), shape))
        if shared and goes:
            meeting = down[shared - 1]
            ends = (_place(meeting, came), _port(came, giver), _place(meeting, goes[0]), _input(goes[0], giver))
            connect(meeting, ends)
        for frame, inner in zip(down[shared:], goes[1:], strict=False):
            connect(frame, (OUTSIDE, frame.inputs[giver][0], _place(frame, inner), _input(inner, giver)))

    def _shape(self, value: Value) -> Shape:
        return value.shape[1:] if value.shape[:1] == (self.batch,) else value.shape

    def _groups(self, value: Value) -> tuple[str, ...]:
        found = (self.group_of.get(atom) for axis in value.axes for atom in atoms(axis))
        return tuple(dict.fromkeys(name for name in found if name))

    def _names(self, calls: Sequence[Call]) -> set[str]:
        """The parameters that calls use."""
        return {name for call in calls for value in call.values for name in self.weights.get(value, ())}

    def _box(self, drawn: _Frame | _Unit, kind: str = "") -> Box:
        calls = [*drawn.calls()] if isinstance(drawn, _Frame) else drawn.calls
        names = self._names(calls)
        shapes = self.graph.shapes
        box = Box(
            drawn.path,
            kind or (type(self.graph.modules[drawn.path]).__name__ if isinstance(drawn, _Frame) else drawn.kind),
            parameters=sum(prod(shapes[name]) for name in names),
            flops=flops_of(each for call in calls for each in call.contractions).at() // max(1, self.batch),
            groups=tuple(dict.fromkeys(group for name in sorted(names) for group in self.writers.get(name, ()))),
        )
        if isinstance(drawn, _Unit):
            return replace(box, detail=detail(calls), inputs=drawn.reads, outputs=(drawn.shape,))
        edges = tuple(drawn.edges[ends] for ends in sorted(drawn.edges))
        given = [group for edge in edges if edge.target == OUTSIDE for group in edge.groups if group in box.groups]
        return replace(
            box,
            groups=tuple(dict.fromkeys((*given, *box.groups))),
            inputs=tuple(shape for _, shape in drawn.inputs.values()),
            outputs=tuple(shape for _, shape in drawn.outputs.values()),
            inside=_with_residuals([self._box(inner) for inner in drawn.drawn], edges),
            edges=edges,
        )


def _frames(calls: Sequence[Call]) -> _Frame:
    """The calls of modules, one inside of the other, with their operators."""
    root = _Frame("", -1)
    running = [root]
    for call in calls:
        held = [frame.number for frame in running[1:]]
        shared = 0
        while shared < min(len(held), len(call.running)) and held[shared] == call.running[shared][1]:
            shared += 1
        del running[shared + 1 :]
        for path, number in call.running[shared:]:
            frame = _Frame(path, number)
            running[-1].parts.append(frame)
            running.append(frame)
        running[-1].parts.append(call)
    return root


def _data(calls: Sequence[Call], inputs: Sequence[Value]) -> tuple[set[Value], dict[Value, list[Value]]]:
    """The tensors that depend on the inputs by more than their sizes; and what is written to with a part of it.

    A write is told by what it gives, as `y[:, :2] = x` does.
    """
    found, whole, written = set(inputs), dict[Value, Value](), dict[Value, list[Value]]()
    for call in calls:
        schema = call.op._schema
        if call.values and not schema.is_mutable and schema.returns and schema.returns[0].alias_info:
            whole.update(dict.fromkeys(call.outputs, call.values[0]))  # a view of it
        if call.op.overloadpacket in MAKING or not any(value in found for value in call.values):
            continue
        found.update(call.outputs)
        part = call.values[0]
        while schema.is_mutable and part in whole:
            part = whole[part]
            written.setdefault(call.outputs[0], []).append(part)
            found.add(part)
    return found, written


def _place(frame: _Frame, inner: _Frame | _Unit) -> int:
    return frame.drawn.setdefault(inner, len(frame.drawn))


def _port(drawn: _Frame | _Unit, giver: _Unit) -> int:
    return drawn.outputs[giver][0] if isinstance(drawn, _Frame) else 0


def _input(drawn: _Frame | _Unit, giver: _Unit) -> int:
    return drawn.inputs[giver][0] if isinstance(drawn, _Frame) else 0


def _with_residuals(boxes: list[Box], edges: Sequence[Edge]) -> tuple[Box, ...]:
    """Sums in which one term is computed from another are residual ones."""
    taken: dict[int, list[tuple[int, int]]] = {}
    for edge in edges:
        taken.setdefault(edge.target, []).append((edge.source, edge.output if edge.source == OUTSIDE else 0))

    def before(end: tuple[int, int]) -> set[tuple[int, int]]:
        found: set[tuple[int, int]] = set()
        waiting = [end]
        while waiting:
            new = [entry for entry in taken.get(waiting.pop()[0], ()) if entry not in found]
            found.update(new)
            waiting += [entry for entry in new if entry[0] != OUTSIDE]
        return found

    def named(place: int, box: Box) -> Box:
        terms = taken.get(place, [])
        if box.kind == SUM and any(term in before(other) for term in terms for other in terms if other[0] != OUTSIDE):
            return replace(box, kind=RESIDUAL)
        return box

    return tuple(named(place, box) for place, box in enumerate(boxes))
