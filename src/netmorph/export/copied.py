"""Definitions that written code takes over from the user's: custom functions and hooks, with all that they use.

A definition is copied as text. The names in it must lead to torch or the standard library, to numbers, or to other
definitions that can be copied; anything else is refused.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import dis
import importlib
import inspect
import itertools
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from netmorph.export.errors import ExportError

PLACES = ("torch", "torch.nn", "torch.nn.functional", "torch.autograd", "torch.autograd.function", "math")
# What the names mean that every written file has.
USUAL = {"torch": torch, "nn": nn, "F": nn.functional, "Path": Path, "load_file": load_file, "annotations": None}
TAKEN = USUAL | {"Network": None, "load": None}
NUMBERS = (bool, int, float, complex, str, torch.dtype, type(None))


class _Foreign(Exception):
    """A name leads to something that cannot be copied."""


@dataclass
class Copies:
    """The definitions that a file needs, each once.

    Attributes:
        imports: statements.
        definitions: texts, each behind what it uses.
        names: what the names of the file mean.
    """

    imports: dict[str, None] = field(default_factory=dict)
    definitions: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=lambda: dict(TAKEN))

    def name(self, thing: Any, told: str, parameters: tuple[str, ...] = ()) -> str:
        """The name under which the file has a class or function.

        Args:
            told: what it is and where it is used, for messages.
            parameters: names that have their meaning at the place where it is used. With such, the name is that of a
                function that takes them, and returns what was asked for.

        Raises:
            ExportError: it cannot be copied; the message says why.
        """
        try:
            return self._made(_unit(thing), "hook", parameters) if parameters else self._expression(thing)
        except _Foreign as reason:
            raise ExportError(
                f"{told} cannot be written as code, and without it the written network would train differently: "
                f"{reason}. Use only torch and numbers in it, and what is defined so"
            ) from None

    def _expression(self, thing: Any) -> str:
        """The text of anything that a definition may use."""
        for name, known in self.names.items():
            if known is thing and thing is not None:
                return name
        if _is_plain(thing):
            return repr(thing)
        if isinstance(thing, MethodType) and isinstance(thing.__self__, type):
            return f"{self._expression(thing.__self__)}.{thing.__name__}"
        if isinstance(thing, FunctionType | type):
            wanted = thing.__name__ if thing.__name__.isidentifier() else "hook"
            imported = _import(wanted, thing)
            if imported is not None and self._free(wanted):
                self.imports[imported] = None
                self.names[wanted] = thing
                return wanted
            return self._made(_unit(thing), wanted)
        if isinstance(thing, MethodType):
            raise _Foreign(f"it is the method {thing.__name__} of an object of class {type(thing.__self__).__name__}")
        raise _Foreign(f"it uses an object of class {type(thing).__name__}")

    def _made(self, unit: _Unit, wanted: str, parameters: tuple[str, ...] = ()) -> str:
        """Put a definition into the file, inside of a function where it has parameters, or names that mean other things
        elsewhere.
        """
        name = next(
            n for n in itertools.chain([wanted], (f"{wanted}_{k}" for k in itertools.count(1))) if self._free(n)
        )
        self.names[name] = unit.thing
        own = []
        for used in unit.uses:
            if used in parameters:
                continue
            thing = unit.meaning(used)
            imported = _import(used, thing)
            if imported is None:
                text = self._expression(thing)
                own += [] if text == used else [f"{used} = {text}"]
            elif self.names.setdefault(used, thing) is not thing:
                own.append(imported)
            elif used not in USUAL:
                self.imports[imported] = None
        plain = unit.text if unit.name else f"{name} = {unit.text}"
        body = [*own, *([unit.text] if unit.name else []), f"return {unit.name or unit.text}"]
        inside = textwrap.indent("\n".join(body), "    ")
        if parameters:
            self.definitions.append(f"def {name}({', '.join(parameters)}):\n{inside}")
        elif own or unit.name not in ("", name):
            self.definitions.append(f"def _make_{name}():\n{inside}\n\n\n{name} = _make_{name}()")
        else:
            self.definitions.append(plain)
        return name

    def _free(self, name: str) -> bool:
        """Names of one letter are those of the forward's tensors."""
        return len(name.rstrip("0123456789")) > 1 and name not in self.names and f"_make_{name}" not in self.names


@dataclass
class _Unit:
    """One definition.

    Attributes:
        name: that it binds; empty for an expression.
        uses: the names that it reads and does not bind.
    """

    thing: Any
    name: str
    text: str
    scopes: list[dict[str, Any]]
    uses: list[str]

    def meaning(self, name: str) -> Any:
        for scope in self.scopes:
            if name in scope:
                return scope[name]
        raise _Foreign(f"it uses the name {name!r}, whose meaning cannot be told")


def _unit(thing: FunctionType | type) -> _Unit:
    functions = _functions(thing) if isinstance(thing, type) else [thing]
    if not functions:
        raise _Foreign(f"{thing.__qualname__} has no function of its own")
    node, lines = _node(thing, functions[0])
    scopes = [dict(inspect.getclosurevars(function).nonlocals) for function in functions]
    if isinstance(thing, type):
        scopes.append({base.__name__: base for base in thing.__bases__})
    scopes.append(functions[0].__globals__)
    node, changed = _with_values(node, thing if isinstance(thing, FunctionType) else None, scopes)
    if changed or isinstance(node, ast.Lambda):
        text = ast.unparse(node)
    else:
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        text = textwrap.dedent("".join(lines[first - 1 : node.end_lineno])).rstrip()
    name = "" if isinstance(node, ast.Lambda) else node.name
    return _Unit(thing, name, text, scopes, [used for used in _uses(text) if used != name])


def _functions(owner: type) -> list[FunctionType]:
    held = [v.__func__ if isinstance(v, staticmethod | classmethod) else v for v in vars(owner).values()]
    return [inspect.unwrap(value) for value in held if isinstance(value, FunctionType)]


def _node(thing: Any, function: FunctionType) -> tuple[Any, list[str]]:
    """The definition in its file, found by the line of (one of) its functions."""
    code = function.__code__
    try:
        lines = inspect.findsource(code)[0]
        tree = ast.parse("".join(lines))
    except (OSError, SyntaxError) as error:
        raise _Foreign(f"the file with its definition is not there ({code.co_filename}): {error}") from None
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(thing, type):
            if isinstance(node, ast.ClassDef) and any(_starts(inner, code.co_firstlineno) for inner in node.body):
                found.append(node)
        elif _starts(node, code.co_firstlineno) or (
            isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno and _same_code(node, code)
        ):
            found.append(node)
    if len({ast.dump(node) for node in found}) != 1:
        raise _Foreign(f"its definition was not found in {code.co_filename} (was the file changed?)")
    return found[0], lines


def _starts(node: ast.AST, line: int) -> bool:
    """Whether this is the definition of a function whose code begins at this line."""
    if not isinstance(node, ast.FunctionDef):
        return False
    return line == min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _same_code(node: ast.Lambda, code: CodeType) -> bool:
    positions = [place for place in code.co_positions() if place[0] is not None and place[0] >= node.lineno]
    columns = [(line, column) for line, _, column, _ in positions if line is not None and column]
    begin, end = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
    return bool(columns) and all(begin <= place <= end for place in columns)


def _with_values(node: Any, function: FunctionType | None, scopes: list[dict[str, Any]]) -> tuple[Any, bool]:
    """The definition with numbers in the place of defaults and of attributes that hold numbers (`self.scale`)."""
    written = _Values(scopes)
    if function is not None:
        defaults, named = function.__defaults__ or (), function.__kwdefaults__ or {}
        node.args.defaults = [written.constant(*pair) for pair in zip(node.args.defaults, defaults, strict=True)]
        node.args.kw_defaults = [
            entry and written.constant(entry, named[argument.arg])
            for argument, entry in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        ]
    node = written.visit(node)
    return ast.fix_missing_locations(node), written.changed


class _Values(ast.NodeTransformer):
    def __init__(self, scopes: list[dict[str, Any]]) -> None:
        self.scopes, self.changed = scopes, False

    def constant(self, node: ast.expr, value: Any) -> ast.expr:
        if isinstance(node, ast.Constant) or not _is_plain(value):
            return node
        self.changed = True
        return ast.parse(repr(value), mode="eval").body

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """`self.scale`, where `self` is a module around the definition."""
        names, owner = [node.attr], node.value
        while isinstance(owner, ast.Attribute):
            names, owner = [owner.attr, *names], owner.value
        if isinstance(owner, ast.Name) and isinstance(node.ctx, ast.Load):
            value = next((scope[owner.id] for scope in self.scopes if owner.id in scope), None)
            if isinstance(value, nn.Module):
                for name in names:
                    value = getattr(value, name, None) if isinstance(value, nn.Module) else None
                return self.constant(node, value) if value is not None else node
        return self.generic_visit(node)


def _is_plain(thing: Any) -> bool:
    if isinstance(thing, tuple | list) and type(thing) in (tuple, list):
        return all(map(_is_plain, thing))
    return isinstance(thing, NUMBERS)


def _import(name: str, thing: Any) -> str | None:
    """The statement that binds this name, where torch or the standard library has the thing."""
    if isinstance(thing, ModuleType):
        if not _is_library(thing.__name__):
            raise _Foreign(f"it uses {name!r}, the module {thing.__name__}")
        holder, _, last = thing.__name__.rpartition(".")
        if name == thing.__name__:
            return f"import {name}"
        return f"from {holder} import {last}" if last == name else f"import {thing.__name__} as {name}"
    own = getattr(thing, "__module__", None)
    if isinstance(thing, Tensor) or not (isinstance(thing, type) or callable(thing)):
        if not _is_plain(thing):
            raise _Foreign(f"it uses {name!r}, an object of class {type(thing).__name__}")
        return None
    for place in dict.fromkeys((*PLACES, *([own] if isinstance(own, str) and _is_library(own) else []))):
        for known in dict.fromkeys((getattr(thing, "__name__", name), name)):
            if vars(importlib.import_module(place)).get(known) is thing:
                return f"from {place} import {known}" + (f" as {name}" if known != name else "")
    if isinstance(thing, FunctionType | type | MethodType):
        return None
    raise _Foreign(f"it uses {name!r}, an object of class {type(thing).__name__}")


def _is_library(module: str) -> bool:
    return module.partition(".")[0] in {"torch", *sys.stdlib_module_names}


def _uses(text: str) -> list[str]:
    """The names that a definition reads from outside, but for Python's own."""
    code = compile(text, "<copied>", "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True)
    return [name for name in dict.fromkeys(_loaded(code)) if name not in vars(builtins)]


def _loaded(code: CodeType) -> Iterator[str]:
    stored = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_NAME"}
    stored |= {"__name__", "__qualname__", "__module__"}
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and instruction.argval not in stored:
            yield instruction.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _loaded(inner)
