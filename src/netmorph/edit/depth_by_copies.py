"""Deepen by a copy of a block, put behind it or behind another one like it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from netmorph.edit.blocks import THERE, Spec
from netmorph.edit.depth import DeepenEdit, Start, check_one_tensor, module_at
from netmorph.edit.numbered import numbered
from netmorph.edit.snapshot import tensors_of
from netmorph.errors import EditError
from netmorph.graph import Graph, Value
from netmorph.graph.recording import Call
from netmorph.graph.rules import REARRANGING

aten = torch.ops.aten
ADDITIONS = {aten.add, aten.add_}
PRODUCTS = {aten.mul, aten.mul_}
# What repeats or moves elements, besides operators whose rules say that they only rearrange them.
REPEATING = {aten.expand, aten.roll, aten.dropout}
# What hands a stream on as it is: a cast to the type that it has gives the very same tensor.
PASSING = {aten.dropout, aten.to, aten.contiguous}
# What a residual block may do behind its last addition: the copy's input has been through the same.
ENDING = {aten.relu, aten.relu_, aten.relu6, aten.relu6_, aten.hardtanh, aten.hardtanh_}


def copy_block(graph: Graph, path: str, after: str | None = None) -> DeepenEdit:
    """A copy of a residual block behind it that passes its input on: the last scale of each branch is zero.

    That is the weight and bias of the last batch norm, layer scale, linear or convolution layer before each addition.
    The rest of the copy starts with what the block has learnt.

    Args:
        path: a module that keeps its input's shape. As an entry of a list it may return further values beside it.
        after: the module that the copy stands behind, one of the same form; the copied one if not given.

    Raises:
        EditError: no such module, or it does not add branches with such a scale to its input.
    """
    own = {f"{path}.{name}" for name, _ in module_at(graph, path).named_parameters()}
    recorded = graph.recording
    output = recorded.module_outputs.get(path) or recorded.first_outputs.get(path)
    calls = [call for call in graph.recording.calls if f"{call.module}.".startswith(f"{path}.")]
    names = _branch_scales(output, {value: call for call in calls for value in call.outputs})
    if not names or not own.issuperset(names):  # a weight tied to one elsewhere bears that one's name
        raise EditError(
            f"no copy of {path!r} passes its input on: to that end it must add branches to its input, each with a last "
            "norm, layer scale, linear or convolution layer that can be zeroed, and no activation between two "
            "additions but the one that it ends in. stack makes an inexact copy"
        )
    inner = [name.removeprefix(f"{path}.") for name in names]
    return _copy(graph, path, after, "copy", partial(_zeroed, names=inner), exact=True)


def stack(graph: Graph, path: str, after: str | None = None) -> DeepenEdit:
    """A plain copy of a block behind it, weights and all. Not exact (stacking: L. Gong et al., ICML 2019).

    Args:
        path: a module that keeps its input's shape; otherwise `apply` refuses.
        after: the module that the copy stands behind, one of the same form; the copied one if not given.

    Raises:
        EditError: no such module, or it returns more than one tensor and is no entry of a list.
    """
    return _copy(graph, path, after, "stack", lambda block, generator: None, exact=False)


def reset(block: nn.Module) -> None:
    """Draw all weights of a block as its layers draw their first ones, from torch's own random numbers.

    Raises:
        EditError: a module of it holds parameters and has no `reset_parameters`, which PyTorch's layers have.
    """
    for path, module in block.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            module._reset_parameters()
        elif callable(draw := getattr(module, "reset_parameters", None)):
            draw()
        elif module._parameters:
            raise EditError(
                f"weights cannot be drawn anew: {type(module).__name__}{f' ({path})' if path else ''} holds "
                f"{', '.join(module._parameters)} and has no reset_parameters(), as PyTorch's layers have; give it "
                "one, or draw them by a function of your own"
            )


def redraw(
    graph: Graph, path: str, after: str | None = None, draw: Callable[[nn.Module], None] = reset, seed: int = 0
) -> DeepenEdit:
    """A block like another one behind it, of weights that are drawn anew. Not exact: the baseline beside copies.

    Args:
        path: as for `stack`.
        after: as for `stack`.
        draw: sets the weights of a block on the CPU, by torch's own random numbers, which are seeded before.

    Raises:
        EditError: as for `stack`, and, when it is applied, as for `reset`.
    """
    return _copy(graph, path, after, "redraw", partial(_drawn, draw=draw), exact=False, seed=seed)


def _copy(
    graph: Graph, path: str, after: str | None, method: str, start: Start, exact: bool, seed: int = 0
) -> DeepenEdit:
    for place in dict.fromkeys((path, path if after is None else after)):
        module_at(graph, place)
        if numbered(graph.model, place) is None and not exact:
            check_one_tensor(graph, place)
    spec = Spec("chain", parts=(THERE, Spec("copy", {"path": path, "shares": True})))
    return DeepenEdit(path if after is None else after, spec, method, 1, start, exact, seed)


@torch.no_grad()
def _drawn(block: nn.Module, generator: torch.Generator, draw: Callable[[nn.Module], None]) -> None:
    fresh = copy.deepcopy(block).cpu()  # whose random numbers are the same wherever the block is
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        draw(fresh)
    new = tensors_of(fresh)
    for name, tensor in tensors_of(block).items():
        tensor.copy_(new[name])


@torch.no_grad()
def _zeroed(block: nn.Module, generator: torch.Generator, names: list[str]) -> None:
    for name in names:
        block.get_parameter(name).zero_()


def _branch_scales(value: Value | None, made: dict[Value, Call]) -> list[str] | None:
    """The parameters to zero so that a value is the block's input, or None where no zeros make it so."""
    endings: set[tuple[Any, ...]] = set()
    while value is not None and (call := made.get(value)) is not None and (ending := _ending(call)) is not None:
        endings.add(ending)
        value = call.args[0]
    return [] if value is None else _stream_scales(value, made, endings)


def _stream_scales(value: Value, made: dict[Value, Call], endings: set[tuple[Any, ...]]) -> list[str] | None:
    """The same before the end of the block: only the activations that it ends in leave its input as it is."""
    call = made.get(value)
    if call is None:
        return []  # the input itself
    if call.op.overloadpacket in PASSING or _ending(call) in endings:
        return _stream_scales(call.args[0], made, endings)
    operands = call.values
    if call.op.overloadpacket in ADDITIONS and len(operands) == 2:
        for stream, branch in (operands, operands[::-1]):
            here, before = _scale(branch, made), _stream_scales(stream, made, endings)
            if here and before is not None:
                return here + before
    return None


def _ending(call: Call) -> tuple[Any, ...] | None:
    """An activation and its numbers, the same in place or not."""
    packet = call.op.overloadpacket
    return (str(packet).rstrip("_"), *call.args[1:]) if packet in ENDING else None


def _scale(value: Value, made: dict[Value, Call]) -> list[str] | None:
    """The parameters of the last scale of a branch."""
    call = made.get(value)
    if call is None:
        return None
    operands = call.values
    if call.scales:
        named = [value.name for value in call.scales if value.name is not None]
        return named if len(named) == len(call.scales) else None
    if call.op.overloadpacket in PRODUCTS:
        named = [name for operand in operands if (name := _parameter(operand, made))]
        found = [named, *(_scale(operand, made) for operand in operands)]
        return next(filter(None, found), None)
    return _scale(operands[0], made) if _moves(call) else None


def _moves(call: Call) -> bool:
    """Whether the result is elements of the first tensor; pieces that others hold as well are no scale of their own."""
    return len(call.outputs) == 1 and (call.op in REARRANGING or call.op.overloadpacket in REPEATING)


def _parameter(value: Value, made: dict[Value, Call]) -> str | None:
    """The name of a parameter, also where it was reshaped."""
    call = made.get(value)
    if call is not None and _moves(call):
        return _parameter(call.values[0], made)
    return value.name
