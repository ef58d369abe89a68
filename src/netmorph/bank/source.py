"""The network that is cut, as instructions: all that its forward does, held against what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.bank.errors import CutError
from netmorph.bank.program import LAYER, InputDevice, Instruction, Own, Ref, execute, mapped, own_tensor
from netmorph.bank.spec import Layer
from netmorph.export.autograd import custom, told
from netmorph.export.body import essential
from netmorph.export.layers import called_layers, layer_input
from netmorph.export.merge import ByMode, Forward, Step, merged, with_batch
from netmorph.graph import Value, trace
from netmorph.graph.record import tensors_in
from netmorph.graph.running import copied, run, set_mode, untouched


@dataclass
class Source:
    """The network that is cut, as instructions.

    Attributes:
        layers: those that are called as a whole, by path.
        steps: the calls that make the result.
        names: of all tensors that are no weights.
        constants: tensors that the forward captured, by name.
        batches: the example inputs in two batch sizes, or in one where no other is taken.
    """

    model: nn.Module
    forward: Forward
    layers: dict[str, Layer]
    steps: list[Step]
    names: dict[Value, str]
    constants: dict[str, Tensor]
    batches: list[Any]

    @staticmethod
    def of(model: nn.Module, example: Any) -> Source:
        """Of a network and what it takes.

        Raises:
            TraceError, ExportError: its forward cannot be followed.
            CutError: it takes no batch.
        """
        graph = trace(model, example, auxiliary=False)
        forward = merged(graph)
        if forward.batch is None:
            raise CutError(f"{type(model).__name__} takes no batch: no input has a dimension")
        forward.result = _answers(forward.result)  # auxiliary heads, which only training has, are no part of a layer
        called = {path: Layer.of(graph.model.get_submodule(path)) for path in called_layers(graph.model, forward.steps)}
        layers = {path: layer for path, layer in called.items() if layer is not None}
        steps = essential(forward, layers)
        made = [*forward.inputs, *(value for step in steps for value in step.call.outputs)]
        names = {value: f"t{number}" for number, value in enumerate(dict.fromkeys(made))}
        constants = {f"constant_{number}": tensor for number, tensor in enumerate(forward.constants.values())}
        names |= dict(zip(forward.constants, constants, strict=True))
        sizes = [forward.batch, forward.batch + 1] if forward.free else [forward.batch]
        return Source(
            graph.model, forward, layers, steps, names, constants, [with_batch(graph.inputs, n) for n in sizes]
        )

    def instruction(self, step: Step) -> Instruction:
        """What a step does.

        Raises:
            CutError: it is a custom function, or a hook.
        """
        if custom(step.call) is not None:
            raise CutError(f"{told(step.call)} has code of its own, which a bank does not hold")
        outputs = tuple(self.names[value] for value in step.call.outputs)
        if step.call.module in self.layers:
            return Instruction(LAYER + step.call.module, (mapped(layer_input(step), self._leaf),), {}, outputs)
        schema = step.call.op._schema
        return Instruction(
            f"{schema.name}.{schema.overload_name or 'default'}",
            mapped(step.args, self._leaf),
            mapped(step.kwargs, self._leaf),
            outputs,
            step.only,
            step.grad,
        )

    def _leaf(self, leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return InputDevice()
        if not isinstance(leaf, Value):
            return leaf
        if leaf.name is not None:
            return Own(leaf.name)
        name = self.names[leaf]
        return Own(name) if name in self.constants else Ref(name)

    def tensor(self, name: str) -> Tensor:
        """A parameter, buffer or captured tensor of the network."""
        return self.constants[name] if name in self.constants else own_tensor(self.model, name)

    def crossing(self, inputs: Any, wanted: set[str]) -> dict[str, Tensor]:
        """The tensors at the cuts, from a run of all instructions.

        Raises:
            CutError: these do not compute what the network does.
        """
        result = run(self.model, inputs)
        instructions = [self.instruction(step) for step in self.steps]
        given = [leaf for leaf in tree_leaves(copied(inputs)) if isinstance(leaf, Tensor)]
        held = {self.names[value]: tensor for value, tensor in zip(self.forward.inputs, given, strict=True)}
        taken = {name: tensor.clone() for name, tensor in held.items() if name in wanted}

        def made(name: str, tensor: Tensor) -> None:
            if name in wanted:
                taken[name] = tensor.clone()  # the forward may go on changing it in place

        with untouched(self.model), torch.no_grad():
            set_mode(self.model, training=False)
            execute(self.model, instructions, held, self.tensor, made)
        for value, tensor in zip(self.forward.result, tensors_in(result), strict=True):
            if self.names[value] in held and not torch.equal(held[self.names[value]], tensor):
                raise CutError(
                    "its operations do not give what the network does, to the bit. Does the forward depend on values, "
                    "or keep something from one call to the next?"
                )
        return taken


def _answers(result: Any) -> list[Value]:
    """The tensors of what a network returns in eval mode."""
    chosen = (leaf.evaluation if isinstance(leaf, ByMode) else leaf for leaf in tree_leaves(result))
    return [leaf for leaf in tree_leaves(list(chosen)) if isinstance(leaf, Value)]
