"""The modules of the written network: PyTorch's own layers where they serve, plain containers elsewhere."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.export.merge import ByMode, Step
from netmorph.graph.record import canonical_names
from netmorph.graph.value import Value

# What torch makes of these arguments cannot be read off a layer, or is of no interest once its weights are loaded.
NOT_TOLD = ("device", "dtype")


def layer_text(module: nn.Module) -> str | None:
    """`nn.Conv2d(3, 64, kernel_size=(3, 3))` for one of PyTorch's own layers; None for anything else.

    The text is tried: it must build a layer that describes itself in the same words and holds the same tensors.
    """
    if not _is_own_leaf(module):
        return None
    return next((text for short in (True, False) if (text := _text(module, short)) and _same(module, text)), None)


def layer_arguments(module: nn.Module) -> dict[str, Any] | None:
    """The constructor's arguments, by name, of one of PyTorch's own layers; tried as `layer_text` is."""
    text = layer_text(module)
    return None if text is None else _arguments(module, short=False)


def _is_own_leaf(module: nn.Module) -> bool:
    kind = type(module)
    hooked = module._forward_hooks or module._forward_pre_hooks
    return getattr(nn, kind.__name__, None) is kind and not hooked and not list(module.children())


def _arguments(module: nn.Module, short: bool) -> dict[str, Any] | None:
    """Those that are needed, or differ from their defaults; `short` gives one number for a tuple of equal ones."""
    held = vars(module) | module._parameters | module._buffers
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if name in NOT_TOLD or name.startswith("_"):
            continue
        if name not in held:
            return None
        value, default = held[name], parameter.default
        if isinstance(default, bool) and not isinstance(value, bool):
            value = value is not None  # bias, say
        if short and isinstance(value, tuple) and len(set(value)) == 1:
            value = value[0]
        if default is inspect.Parameter.empty or (not isinstance(value, Tensor) and value != default):
            found[name] = value
    dtypes = [*({tensor.dtype for tensor in module.parameters()} - {torch.float32})]
    if dtypes:
        found["dtype"] = dtypes[0]
    return found if len(dtypes) < 2 else None


def _text(module: nn.Module, short: bool) -> str | None:
    """The constructor's call; what it needs comes by position."""
    kind = type(module)
    arguments = _arguments(module, short)
    if arguments is None:
        return None
    parameters = inspect.signature(kind).parameters
    needed = {name for name in arguments if name in parameters and parameters[name].default is inspect.Parameter.empty}
    given = [repr(value) if name in needed else f"{name}={value!r}" for name, value in arguments.items()]
    return f"nn.{kind.__name__}({', '.join(given)})"


def _same(module: nn.Module, text: str) -> bool:
    try:
        with torch.device("meta"):
            built = eval(text, {"nn": nn, "torch": torch})  # the text is our own, made of plain values
    except (TypeError, ValueError, SyntaxError, NameError, RuntimeError):
        return False

    def described(layer: nn.Module) -> Any:
        tensors = [*layer.named_parameters(), *layer.named_buffers()]
        return layer.extra_repr(), {name: (tensor.shape, tensor.dtype) for name, tensor in tensors}

    return bool(described(built) == described(module))


def called_layers(model: nn.Module, steps: list[Step]) -> dict[str, str]:
    """The layers that the forward calls as a whole, and how to build each, by path.

    Such a layer makes a single call from one tensor, with no other tensors than its own.
    """
    names = canonical_names(model)
    by_module: dict[str, list[Step]] = {}
    for step in steps:
        if step.only != "training":  # what a layer does only then (counting batches) is inside of it
            by_module.setdefault(step.call.module, []).append(step)
    layers: dict[str, str] = {}
    for path, module in model.named_modules():
        calls = by_module.get(path, [])
        own = {names[id(tensor)] for tensor in (*module.parameters(False), *module.buffers(False))}
        if path and calls and len({step.call.op for step in calls}) == 1 and all(_whole(s, own) for s in calls):
            text = layer_text(module)
            if text is not None:
                layers[path] = text
    return layers


def layer_input(step: Step) -> Any:
    """The one tensor that a layer is called with (by mode, where that differs)."""
    return _foreign(step)[0]


def _whole(step: Step, own: set[str]) -> bool:
    used = {value.name for value in values((step.args, step.kwargs)) if value.name}
    return len(step.call.outputs) == 1 and len(_foreign(step)) == 1 and used <= own and step.only is None


def _foreign(step: Step) -> list[Any]:
    """Arguments that are tensors but not the network's own."""
    leaves = tree_leaves((step.args, step.kwargs))
    return [leaf for leaf in leaves if any(value.name is None for value in values(leaf))]


def values(tree: Any) -> list[Value]:
    """All values in a tree of arguments, those of either mode included."""
    found: list[Value] = []
    for leaf in tree_leaves(tree):
        if isinstance(leaf, ByMode):
            found += values((leaf.training, leaf.evaluation))
        elif isinstance(leaf, Value):
            found.append(leaf)
    return found
