"""The forward as Python statements: names for tensors, sizes as attributes, one line a call."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from netmorph.export.autograd import Applied, Hooked, custom, told
from netmorph.export.copied import Copies
from netmorph.export.layers import called_layers, layer_input, values
from netmorph.export.merge import ByMode, Forward, PerBatch, Step
from netmorph.export.spelling import attribute, spelled
from netmorph.graph.axis import Axis, atoms, resolve, size
from netmorph.graph.value import Value

# Arguments that are sizes of tensors: where those are channels they are written as attributes, which edits can change.
SIZES = set("size shape sizes split_size split_sizes groups num_groups normalized_shape length start end".split())
LOCALS = "x y z u v w p q r s t".split()
ALIASES = ("aten::lift_fresh", "aten::alias")


@dataclass
class Body:
    """The statements of a forward, and what they need from the module.

    Attributes:
        layers: how to build each layer that is called, by path.
        sizes: the integers that count channels, by path of the module that holds them: name and number.
        constants: the names of captured tensors.
        follows_shape: whether sizes of the example inputs are written into the statements.
        copies: the custom functions and hooks that the statements name.
    """

    statements: list[str] = field(default_factory=list)
    layers: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    constants: dict[Value, str] = field(default_factory=dict)
    follows_shape: bool = False
    copies: Copies = field(default_factory=Copies)


def is_list(module: nn.Module) -> bool:
    """Whether the children are numbered from zero, as in a Sequential."""
    children = module._modules
    return bool(children) and None not in children.values() and [*children] == [str(n) for n in range(len(children))]


def expression(model: nn.Module, path: str) -> str:
    """How the written network finds a module, parameter or buffer of its own: `self.layer1[0].conv1.weight`."""
    text, module = "self", model
    for key in path.split(".") if path else ():
        text = f"{text}[{key}]" if is_list(module) and key in module._modules else attribute(text, key)
        module = module._modules.get(key) or module
    return text


def literal(value: Any) -> str:
    """The text of a number, or of numbers in nested lists. `repr` writes `inf` and `nan`, which are no Python names."""
    match value:
        case list():
            return f"[{', '.join(map(literal, value))}]"
        case float() if not math.isfinite(value):
            return f'float("{value}")'
        case complex() if not (math.isfinite(value.real) and math.isfinite(value.imag)) or "-0" in repr(value):
            return f"complex({literal(value.real)}, {literal(value.imag)})"
    return repr(value)


def body(model: nn.Module, forward: Forward, inputs: dict[Value, str]) -> Body:
    """Write the forward of a network; `inputs` are the names under which it gets its input tensors."""
    return _Writer(model, forward, inputs).written()


def essential(forward: Forward, layers: Collection[str]) -> list[Step]:
    """The calls that make the result: no aliases, nothing that nobody reads, nothing that one mode of a layer adds.

    What the forward returned is told in the values of these calls from then on.

    Args:
        layers: the paths of those that are called as a whole, see `called_layers`.
    """
    steps = [step for step in _unaliased(forward) if step.only is None or step.call.module not in layers]
    return _used(steps, forward.result)


class _Writer:
    def __init__(self, model: nn.Module, forward: Forward, inputs: dict[Value, str]) -> None:
        self.model, self.forward = model, forward
        self.modules = dict(model.named_modules())
        self.names = dict(inputs)
        self.source = next(iter(inputs.values()), "")  # the first input tells batch size and device
        self.body = Body(layers=called_layers(model, forward.steps))
        self.body.copies.names.update(dict.fromkeys((*inputs.values(), "batch", "device")))
        self.counted: dict[tuple[str, Axis], str] = {}
        self.steps = essential(forward, self.body.layers)
        self.last = {value: len(self.steps) for value in values(forward.result)}
        for number, step in reversed([*enumerate(self.steps)]):
            for value in values((step.args, step.kwargs)):
                self.last.setdefault(value, number)

    def written(self) -> Body:
        lines: list[str] = []
        part: str | None = None
        for (only, grad), run in itertools.groupby(enumerate(self.steps), key=lambda e: (e[1].only, e[1].grad)):
            heads, indent = _heads(only, grad), ""
            for number, step in run:
                here = self._part(step)
                if here != part and not only:
                    lines += [""] if lines else []
                    lines += [f"{indent}# {here}"] if here.isprintable() and here else []
                    part = here
                while heads:
                    lines.append(indent + heads.pop(0))
                    indent += "    "
                lines += [indent + line for line in self._statement(number, step).split("\n")]
        result = self.show(self.forward.result)
        used = "\n".join([*lines, result])
        first = [f"{name} = {self.source}.{what}" for name, what in (("batch", "shape[0]"), ("device", "device"))]
        needed = [line for line in first if _mentions(used, line.split(" ")[0])]
        self.body.statements = [*needed, *lines, f"return {result}"]
        return self.body

    def _part(self, step: Step) -> str:
        path = step.call.module
        return path.rpartition(".")[0] if path in self.body.layers else path

    def _statement(self, number: int, step: Step) -> str:
        op = custom(step.call)
        if isinstance(op, Hooked):
            return self._hook(step, op)
        if isinstance(op, Applied):
            name = self.body.copies.name(op.function, told(step.call))
            text = f"{name}.apply({', '.join(map(self.show, step.args))})"
        elif step.call.module in self.body.layers:
            text = f"{expression(self.model, step.call.module)}({self.show(layer_input(step))})"
        else:
            text = spelled(step, partial(self.argument, step))
        dying = [v for v in dict.fromkeys(values((step.args, step.kwargs))) if self.last.get(v) == number]
        freed = [self.names.pop(value) for value in dying if value in self.names]
        targets = [self._target(value, freed) for value in step.call.outputs]
        if all(target == "_" for target in targets):
            return text
        listed = str(step.call.op._schema.returns[0].type).startswith("List[")
        target = ", ".join(targets) + ("," if listed and len(targets) == 1 else "")
        in_place = step.call.op._schema.is_mutable and text.startswith(f"{target}.") and len(targets) == 1
        return text if in_place else f"{target} = {text}"

    def _hook(self, step: Step, op: Hooked) -> str:
        tensor, *used = map(self.show, step.args)
        hook = self.body.copies.name(op.hook, told(step.call), op.free)
        if used:
            hook = f"{hook}({', '.join(used)})"
        return f"if {tensor}.requires_grad:\n    {tensor}.register_hook({hook})"

    def _target(self, value: Value, freed: list[str]) -> str:
        if value not in self.last or value.name is not None:
            return "_"
        taken = set(self.names.values())
        usual = [name for name in freed if name in LOCALS]
        self.names[value] = next(name for name in itertools.chain(usual, _locals()) if name not in taken)
        return self.names[value]

    def argument(self, step: Step, name: str, value: Any) -> str:
        """The text of an operator's argument; sizes that count channels become attributes."""
        if name not in SIZES or value is None or isinstance(value, Value | ByMode):
            return self.show(value)
        if not isinstance(value, list | tuple):
            return self._size(step, value, _candidates(step, name, 0, 1))
        places = [_candidates(step, name, place, len(value)) for place in range(len(value))]
        return f"[{', '.join(self._size(step, *entry) for entry in zip(value, places, strict=True))}]"

    def _size(self, step: Step, value: Any, candidates: list[Axis]) -> str:
        number = value.factor if isinstance(value, PerBatch) and not value.offset else value
        if isinstance(number, int) and number > 1:
            for axis in candidates:
                channels = tuple(factor for factor in resolve(axis) if any(atoms((factor,))))
                whole = channels if isinstance(value, PerBatch) else resolve(axis)
                if channels and number % size(whole) == 0 and (isinstance(value, PerBatch) or number == size(whole)):
                    count = self._counted(step.call.module, whole)
                    rest = number // size(whole)
                    return count if number is value else f"batch * {count}" + (f" * {rest}" if rest > 1 else "")
        self.body.follows_shape |= isinstance(value, int) and value > 1
        return self.show(value)

    def _counted(self, path: str, axis: Axis) -> str:
        """An attribute of the module at work that holds the length of an axis, under the model's own name for it."""
        if (path, axis) not in self.counted:
            held = self.body.sizes.setdefault(path, {})
            module = self.modules[path]
            own = [key for key, value in vars(module).items() if type(value) is int and value == size(axis)]
            usual = [key for key in own if not key.startswith("_")]
            fresh = (name for name in (f"size{n}" for n in itertools.count(1)) if name not in dir(module))
            name = next(name for name in itertools.chain(usual, fresh) if name not in held)
            held[name] = size(axis)
            self.counted[path, axis] = name
        return attribute(expression(self.model, path), self.counted[path, axis])

    def show(self, value: Any) -> str:
        """The text of any value."""
        match value:
            case Value():
                return self._tensor(value)
            case ByMode(True, False):
                return "self.training"
            case ByMode(training, evaluation):
                return f"({self.show(training)} if self.training else {self.show(evaluation)})"
            case PerBatch(factor, offset):
                text = "batch" if factor == 1 else f"{factor} * batch"
                return f"{text} + {offset}" if offset > 0 else f"{text} - {-offset}" if offset else text
            case list():
                return f"[{', '.join(map(self.show, value))}]"
            case tuple():
                return f"({', '.join(map(self.show, value))}{',' if len(value) == 1 else ''})"
            case dict():
                return f"{{{', '.join(f'{key!r}: {self.show(entry)}' for key, entry in value.items())}}}"
            case torch.device():
                return "device"
        return literal(value)

    def _tensor(self, value: Value) -> str:
        if value.name is not None:
            return expression(self.model, value.name)
        if value in self.forward.constants:
            name = self.body.constants.setdefault(value, f"constant_{len(self.body.constants)}")
            return f"self.{name}"
        return self.names[value]


def _heads(only: str | None, grad: bool | ByMode) -> list[str]:
    """What statements stand under that belong to one mode, or run with gradients switched off."""
    heads = {"training": ["if self.training:"], "eval": ["if not self.training:"], None: []}[only]
    match grad:
        case ByMode(training=True):
            return [*heads, "with torch.set_grad_enabled(self.training):"]
        case ByMode():
            return [*heads, "with torch.set_grad_enabled(not self.training):"]
    return heads if grad else [*heads, "with torch.no_grad():"]


def _locals() -> Iterator[str]:
    yield from LOCALS
    for number in itertools.count(1):
        yield from (f"{name}{number}" for name in LOCALS)


def _mentions(text: str, name: str) -> bool:
    return any(word == name for word in "".join(c if c.isalnum() or c in "_." else " " for c in text).split())


def _unaliased(forward: Forward) -> list[Step]:
    """Without the calls that PyTorch adds around tensors that are made or captured, and that do nothing."""
    same: dict[Value, Any] = {}
    changed = _changed_constants(forward)
    made: set[Value] = set(forward.constants)
    steps = []

    def known(leaf: Any) -> Any:
        if isinstance(leaf, ByMode):
            return ByMode(known(leaf.training), known(leaf.evaluation))
        if isinstance(leaf, list | tuple | dict):
            return tree_map(known, leaf)
        return same.get(leaf, leaf) if isinstance(leaf, Value) else leaf

    for step in forward.steps:
        step = replace(step, args=tree_map(known, step.args), kwargs=tree_map(known, step.kwargs))
        name = step.call.op._schema.name
        source = step.args[0] if step.args else None
        if name == "aten::lift_fresh" and source in changed:
            made.update(step.call.outputs)  # a copy of its own for each forward
        elif name in ALIASES or (name in ("aten::detach", "aten::detach_") and source in made):
            same[step.call.outputs[0]] = source
            continue
        if not values((step.args, step.kwargs)):
            made.update(step.call.outputs)
        steps.append(step)
    forward.result = known(forward.result)
    return steps


def _used(steps: list[Step], result: Any) -> list[Step]:
    """Without the calls whose results nobody reads."""
    read, used = set(values(result)), []
    for step in reversed(steps):
        if step.call.op._schema.is_mutable or not read.isdisjoint(step.call.outputs):
            read.update(values((step.args, step.kwargs)))
            used.append(step)
    return used[::-1]


def _changed_constants(forward: Forward) -> set[Value]:
    """Captured tensors that the forward changes in place, perhaps through a view."""
    origin: dict[Value, Value] = {}
    changed: set[Value] = set()
    for step in forward.steps:
        used = values(step.args)
        if not used:
            continue
        root = origin.get(used[0], used[0])
        origin.update(dict.fromkeys(step.call.outputs, root))
        name = step.call.op._schema.name
        if step.call.op._schema.is_mutable and name != "aten::detach_" and root in forward.constants:
            changed.add(root)
    return changed


def _candidates(step: Step, name: str, place: int, count: int) -> list[Axis]:
    """The axes whose length the argument may be, the likeliest first."""
    output = step.call.outputs[0] if step.call.outputs else None
    inputs = [value for value in values((step.args, step.kwargs)) if value.axes]
    if output is None or not output.axes:
        return []
    if name in ("size", "shape"):
        return [output.axes[place]] if len(output.axes) == count else []
    if not inputs:
        return []
    names = [argument.name for argument in step.call.op._schema.arguments]
    dim = step.args[names.index("dim")] if "dim" in names else 0
    if name == "sizes":
        return [output.axes[dim % len(inputs[0].shape) + place]]
    if name == "split_sizes":
        return [step.call.outputs[place].axes[dim]]
    if name == "normalized_shape":
        return [inputs[0].axes[place - count]]
    if name in ("groups", "num_groups"):
        channels = inputs[0].axes[1]
        return [(resolve(channels)[0],), channels]
    return [output.axes[dim], inputs[0].axes[dim]]
