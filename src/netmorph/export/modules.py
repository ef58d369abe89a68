"""The statements that build the modules, parameters and buffers of the written network."""

from __future__ import annotations

import keyword
from collections.abc import Iterator

import torch
from torch import nn

from netmorph.export.autograd import is_continuous
from netmorph.export.body import Body, expression, is_list
from netmorph.export.layers import layer_text
from netmorph.export.spelling import attribute


def module_statements(model: nn.Module, made: Body) -> list[str]:
    """The statements of `__init__`: modules in the model's order, then what is tied."""
    lines: list[str] = []
    tied: list[str] = []
    first: dict[int, str] = {}
    needed = _needed(model, made)
    for path, module in model.named_modules(remove_duplicate=False):
        holder = path.rpartition(".")[0]
        around = model.get_submodule(holder)
        if path and (holder not in needed or first[id(around)] != holder):
            continue  # nothing in it is needed, or it is part of a module that has another path
        in_list = bool(path) and is_list(around)
        if id(module) in first and path:
            lines += _placed(model, path, expression(model, first[id(module)]))
            continue
        if path and path not in needed:
            lines += _placed(model, path, "nn.Identity()") if in_list else []
            continue
        first[id(module)] = path
        text = made.layers.get(path) or (layer_text(module) if path and _tensor_count(module) else None)
        if path:
            lines += _placed(model, path, text or ("nn.ModuleList()" if is_list(module) else "nn.Module()"))
        held = expression(model, path)
        lines += [f"{attribute(held, name)} = {size}" for name, size in made.sizes.get(path, {}).items()]
        lines += _own_tensors(model, module, path, first, tied, built=text is not None)
    return [*lines, *tied, *_hooks(model, made)]


def _hooks(model: nn.Module, made: Body) -> Iterator[str]:
    """Hooks on the gradients of parameters."""
    for name, parameter in model.named_parameters():
        for hook in (parameter._backward_hooks or {}).values() if parameter.requires_grad else ():
            text = made.copies.name(hook, f"the hook on the gradient of {name!r}")
            yield f"{expression(model, name)}.register_hook({text})"


def _own_tensors(
    model: nn.Module, module: nn.Module, path: str, first: dict[int, str], tied: list[str], built: bool
) -> Iterator[str]:
    held = expression(model, path)
    for table in (module._parameters, module._buffers):
        for key, tensor in table.items():
            if tensor is None:
                continue
            name = f"{path}.{key}" if path else key
            place, original = expression(model, name), first.setdefault(id(tensor), name)
            is_parameter = isinstance(tensor, nn.Parameter)
            if original != name:
                tied.append(f"{place} = {expression(model, original)}")
            elif not built:
                dtype = "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"
                empty = f"torch.zeros({tuple(tensor.shape)}{dtype})"
                kept = ", persistent=False" if key in module._non_persistent_buffers_set else ""
                if is_parameter:
                    of_integers = "" if is_continuous(tensor) else ", requires_grad=False"
                    yield f"{held}.register_parameter({key!r}, nn.Parameter({empty}{of_integers}))"
                else:
                    yield f"{held}.register_buffer({key!r}, {empty}{kept})"
            if is_parameter and original == name and not tensor.requires_grad and is_continuous(tensor):
                yield f"{place}.requires_grad_(False)"


def _placed(model: nn.Module, path: str, text: str) -> list[str]:
    holder, _, key = path.rpartition(".")
    owner = expression(model, holder)
    if is_list(model.get_submodule(holder)):
        return [f"{owner}.append({text})"]
    plain = key.isidentifier() and not keyword.iskeyword(key)
    return [f"{owner}.{key} = {text}" if plain else f"{owner}.add_module({key!r}, {text})"]


def _tensor_count(module: nn.Module) -> int:
    return len([*module.parameters(False), *module.buffers(False)])


def _needed(model: nn.Module, made: Body) -> set[str]:
    """The paths of all modules that hold something, and of those around them."""
    used = set(made.layers) | set(made.sizes)
    paths = [
        path for path, module in model.named_modules(remove_duplicate=False) if path in used or _tensor_count(module)
    ]
    return {""} | {".".join(path.split(".")[:depth]) for path in paths for depth in range(1, path.count(".") + 2)}
