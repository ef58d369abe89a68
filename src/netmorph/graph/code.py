"""Which attributes a model's code sets while its forward runs, as far as names tell."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from typing import Any

from torch import nn

from netmorph.graph.lines import is_of_the_user


def stores(modules: dict[str, nn.Module]) -> list[set[str]]:
    """The names of attributes that each function sets or registers that a forward may call: one set for a function.

    Functions are followed by their names, through all classes of the model and the variables of their files. What only
    a constructor calls is none of them.
    """
    classes = {kind for module in modules.values() for kind in type(module).__mro__ if kind not in (nn.Module, object)}
    spaces = [*map(vars, classes), *map(vars, modules.values())]
    methods: dict[str, list[Any]] = {}
    for space in spaces:
        for name, value in space.items():
            methods.setdefault(name, []).append(value)
    hooks = [
        hook
        for module in modules.values()
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    ]
    waiting: list[Any] = [*methods.get("forward", []), *hooks]
    seen: set[types.CodeType] = set()
    found: list[set[str]] = []
    while waiting:
        for code, variables in _codes(waiting.pop()):
            if code in seen:
                continue
            seen.add(code)
            found.append(_stored(code))
            for name in code.co_names:
                if name != "__init__":
                    waiting += methods.get(name, [])
                    waiting += [variables[name]] if name in variables else []
    return found


def _codes(function: Any) -> Iterator[tuple[types.CodeType, dict[str, Any]]]:
    """The code of a function of the user's, with that of the functions inside of it and behind its decorators."""
    function = getattr(function, "fget", getattr(function, "__func__", function))  # properties, methods
    if not isinstance(function, types.FunctionType) or not is_of_the_user(function.__code__.co_filename):
        return
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        yield code, function.__globals__
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    for cell in function.__closure__ or ():
        try:
            yield from _codes(cell.cell_contents) if cell.cell_contents is not function else ()
        except ValueError:  # an empty cell
            continue


def _stored(code: types.CodeType) -> set[str]:
    """Names that are set as attributes, and those in texts where a function registers or sets by name."""
    steps = [*dis.get_instructions(code)]
    by_name = {"register_buffer", "setattr"} & {*code.co_names}
    return {step.argval for step in steps if step.opname == "STORE_ATTR"} | {
        step.argval for step in steps if by_name and step.opname == "LOAD_CONST" and isinstance(step.argval, str)
    }
