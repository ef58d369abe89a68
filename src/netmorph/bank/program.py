"""A detached layer: an `nn.Module` that holds PyTorch layers and weights, and runs a list of recorded operations.

The list is plain data. What reads it knows two things to do: call a layer that the module holds, or an operator that is
in netmorph's table of rules. So a file that holds such a list can be run without running any code of the file's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.export.merge import ByMode, PerBatch
from netmorph.graph.lines import not_of_the_user

not_of_the_user(os.path.dirname(__file__))  # of a call in a piece, the user's line is the one that runs the piece

INPUT = "x"  # the name of what a piece is given
LAYER = "layer:"  # so begins what an instruction does that calls a layer


@dataclass(frozen=True)
class Ref:
    """A tensor that was given, or that an earlier instruction made."""

    name: str


@dataclass(frozen=True)
class Own:
    """A parameter or buffer of the module that runs the program."""

    name: str


@dataclass(frozen=True)
class InputDevice:
    """The device on which the input lies."""


@dataclass(frozen=True)
class Instruction:
    """One call.

    Attributes:
        does: `layer:conv1`, or the name of an operator: `aten::add.Tensor`.
        args: plain values, in which `Ref` and `Own` stand for tensors, `PerBatch` for numbers that follow the batch
            size, and `ByMode` for what differs between training and eval mode.
        kwargs: likewise.
        outputs: the names of the tensors that it makes.
        only: the mode it is left to, "training" or "eval"; None for both.
        grad: whether autograd follows it.
        frees: the tensors that nobody reads behind it.
    """

    does: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[str, ...]
    only: str | None = None
    grad: bool | ByMode = True
    frees: tuple[str, ...] = ()

    @property
    def layer(self) -> str | None:
        """The path of the layer that it calls, if it calls one."""
        return self.does.removeprefix(LAYER) if self.does.startswith(LAYER) else None


@dataclass(frozen=True)
class Program:
    """From one tensor to one tensor.

    Attributes:
        output: a `Ref`, or `ByMode` of two.
        copies: whether the input is copied first, as an instruction would change it in place.
    """

    instructions: tuple[Instruction, ...]
    output: Any
    copies: bool = False

    @staticmethod
    def of(instructions: Sequence[Instruction], output: Any) -> Program:
        """A program that lets go of each tensor as soon as nobody will read it."""
        seen = refs(output)
        freed: list[Instruction] = []
        for one in reversed(instructions):
            last = (refs((one.args, one.kwargs)) | set(one.outputs)) - seen
            seen |= last
            freed.append(replace(one, frees=tuple(sorted(last))))
        return Program(tuple(freed[::-1]), output)


class Piece(nn.Module):
    """A layer or block that was cut out of a network: one tensor in, one tensor out.

    Its layers and weights have the names that they had in the network, without what these names have in common.
    """

    def __init__(self, program: Program, layers: Mapping[str, nn.Module], own: Mapping[str, Tensor]) -> None:
        """`own` are the parameters (`nn.Parameter`) and buffers that operators read."""
        super().__init__()
        self.program = program
        for path, layer in layers.items():
            holder, name = _holder(self, path)
            holder.add_module(name, layer)
        for path, tensor in own.items():
            holder, name = _holder(self, path)
            if isinstance(tensor, nn.Parameter):
                holder.register_parameter(name, tensor)
            else:
                holder.register_buffer(name, tensor)

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] -> [N, ...], as the piece's signature says."""
        held = {INPUT: x.clone() if self.program.copies else x}
        execute(self, self.program.instructions, held, partial(own_tensor, self))
        output: Tensor = held[_chosen(self.program.output, self.training).name]
        return output


def execute(
    root: nn.Module,
    instructions: Iterable[Instruction],
    held: dict[str, Tensor],
    own: Callable[[str], Tensor],
    made: Callable[[str, Tensor], None] = lambda name, tensor: None,
) -> None:
    """Run instructions with the layers and tensors of a module, in the mode in which it is.

    Args:
        held: the tensors there are, by name, first of all the input that tells the batch size and the device; those
            that are made come in, those that nobody reads later go.
        own: the parameter or buffer of a name.
        made: called with the name of every tensor that is made.
    """
    given = next(iter(held.values()))
    filling = _Filling(held, own, root.training, given.shape[0], given.device)
    for one in instructions:
        if one.only not in (None, "training" if root.training else "eval"):
            continue
        with _gradients(_chosen(one.grad, root.training)):
            if one.layer is not None:
                results = [root.get_submodule(one.layer)(*filling.all_of(one.args))]
            else:
                kwargs = {name: filling.of(value) for name, value in one.kwargs.items()}
                result = operator(one.does)(*filling.all_of(one.args), **kwargs)
                results = list(result) if isinstance(result, tuple | list) else [result]
        for name, tensor in zip(one.outputs, results, strict=True):
            held[name] = tensor
            made(name, tensor)
        for name in one.frees:
            held.pop(name, None)


def operator(name: str) -> Any:
    """The operator of a name: `aten::add.Tensor`."""
    space, _, rest = name.partition("::")
    packet, _, overload = rest.rpartition(".")
    return getattr(getattr(getattr(torch.ops, space), packet), overload)


def refs(tree: Any) -> set[str]:
    """The names of all tensors that are read, in either mode."""
    return {leaf.name for leaf in leaves(tree) if isinstance(leaf, Ref)}


def owned(tree: Any) -> list[str]:
    """The names of the module's own tensors that are read, in either mode."""
    return list(dict.fromkeys(leaf.name for leaf in leaves(tree) if isinstance(leaf, Own)))


def leaves(tree: Any) -> Iterator[Any]:
    """All values in a tree of arguments, those of either mode included."""
    match tree:
        case list() | tuple():
            for entry in tree:
                yield from leaves(entry)
        case dict():
            yield from leaves(list(tree.values()))
        case ByMode():
            yield from leaves((tree.training, tree.evaluation))
        case Instruction():
            yield from leaves((tree.args, tree.kwargs))
        case _:
            yield tree


def mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """A tree of arguments with other leaves."""
    match tree:
        case list():
            return [mapped(entry, change) for entry in tree]
        case tuple():
            return tuple(mapped(entry, change) for entry in tree)
        case dict():
            return {key: mapped(entry, change) for key, entry in tree.items()}
        case ByMode():
            return ByMode(mapped(tree.training, change), mapped(tree.evaluation, change))
    return change(tree)


@dataclass
class _Filling:
    """Puts tensors and numbers into the places of arguments."""

    held: dict[str, Tensor]
    own: Callable[[str], Tensor]
    training: bool
    batch: int
    device: torch.device

    def all_of(self, values: Iterable[Any]) -> list[Any]:
        return [self.of(value) for value in values]

    def of(self, value: Any) -> Any:
        match value:
            case Ref(name):
                return self.held[name]
            case Own(name):
                return self.own(name)
            case PerBatch(factor, offset):
                return factor * self.batch + offset
            case ByMode():
                return self.of(_chosen(value, self.training))
            case InputDevice():
                return self.device
            case list() | tuple():
                return self.all_of(value)
        return value


def own_tensor(root: nn.Module, name: str) -> Tensor:
    """A parameter or buffer, by its path."""
    path, _, last = name.rpartition(".")
    module = root.get_submodule(path)
    found: Tensor = getattr(module, last)
    return found


def _chosen(value: Any, training: bool) -> Any:
    if isinstance(value, ByMode):
        return value.training if training else value.evaluation
    return value


def _gradients(enabled: bool) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if enabled else torch.no_grad()


def _holder(root: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The module in which a path ends, made where there is none, and the last name of the path."""
    *steps, name = path.split(".")
    for step in steps:
        if step not in root._modules:
            root.add_module(step, nn.Module())
        root = root.get_submodule(step)
    return root, name
