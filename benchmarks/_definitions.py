"""What each name of a Python program stands for, told apart by what it does.

Comments, docstrings, the layout, what an error says, types, from where a name is imported, the order of definitions and
an underscore before a name make no difference. All else does, a renamed variable too.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

LOOSE = ""
"""The name of what is done when a program is read, beside its definitions."""

# Decorators that enter their function nowhere: a new function with another one may work without anybody calling it.
PASSIVE = {"contextmanager", "cache", "lru_cache", "no_grad", "enable_grad", "overload"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Code:
    """A file.

    Attributes:
        does: a digest of each definition, by its name: `function`, `CONSTANT`, `Class` (all but its methods),
            `Class.method` and `LOOSE`.
        imports: names that are taken from other modules: these, and the names there.
        acts: those definitions that may do something without being called by name: entries in tables.
    """

    does: dict[str, str]
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    acts: frozenset[str] = frozenset()


def read(source: str) -> Code:
    """A Python program as its definitions.

    >>> read("def f(x):\\n    '''Says.'''\\n    return x  # so") == read("def f(x: int): return x")
    True
    """
    tree = ast.parse(source)
    plain = _Plain(_without_underscores(tree))
    body = [plain.public(line) for line in tree.body if not _is_silent(line)]
    found = defaultdict[str, list[str]](list)
    for line in body:
        for name, part in _definitions(line):
            found[name].append(ast.dump(part))
    does = {name: hashlib.sha256("\n".join(parts).encode()).hexdigest() for name, parts in found.items()}
    acts = {line.name for line in body if isinstance(line, Function) and not _is_passive(line)}
    return Code(does, plain.imports(tree), frozenset(acts | {LOOSE}))


def _definitions(line: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    """The names that a statement of a module defines, with what decides what each does."""
    match line:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name, line
        case ast.ClassDef(name=name):
            methods = [each for each in line.body if isinstance(each, Function)]
            for method in methods:
                yield f"{name}.{method.name}", method
            # A new method may stand in for an inherited one, or be what an operator calls.
            noticed = sorted({each.name for each in methods if line.bases or each.name.startswith("__")})
            others = [each for each in line.body if each not in methods]
            body = [*others, *(ast.Expr(ast.Name(each)) for each in noticed)]
            yield name, ast.ClassDef(name, line.bases, line.keywords, body, line.decorator_list)
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value
        case _:
            yield LOOSE, line


def _is_passive(function: Function) -> bool:
    called = [each.func if isinstance(each, ast.Call) else each for each in function.decorator_list]
    return all(ast.unparse(each).rpartition(".")[2] in PASSIVE for each in called)


def _is_silent(line: ast.stmt) -> bool:
    match line:
        case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.Pass():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return False


def _without_underscores(tree: ast.Module) -> dict[str, str]:
    """Private names of a module as they are called where they are public, unless that is another thing here."""
    bound = {name for line in tree.body for name in _bound(line)}
    public = {name: name.removeprefix("_") for name in bound if name.startswith("_") and not name.startswith("__")}
    return {name: new for name, new in public.items() if new and new not in bound and not hasattr(builtins, new)}


def _bound(line: ast.stmt) -> Iterator[str]:
    match line:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            yield name


class _Plain(ast.NodeTransformer):
    """Takes out what changes no result."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def imports(self, tree: ast.Module) -> dict[str, tuple[str, str]]:
        """Names that a module takes from others: these, and the names there."""
        found = {}
        for line in tree.body:
            if isinstance(line, ast.ImportFrom):
                for alias in line.names:
                    own = alias.asname or alias.name
                    found[self._names.get(own, own)] = (line.module or "", self._names.get(alias.name, alias.name))
        return found

    def public(self, line: ast.stmt) -> ast.stmt:
        """A statement of a module."""
        if isinstance(line, ast.ClassDef | Function):
            line.name = self._names.get(line.name, line.name)
        return cast(ast.stmt, self.visit(line))

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._names.get(node.id, node.id))

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=error, cause=None)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """A variable with a type is one without; a field of a class is an attribute."""
        assigned = ast.Assign([node.target], node.value) if node.value else ast.Expr(node.target)
        return super().generic_visit(assigned)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.Import(node.names)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._block(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._block(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self._block(node)

    def _block(self, node: ast.ClassDef | Function) -> ast.AST:
        node.body = [line for line in node.body if not _is_silent(line)]
        return super().generic_visit(node)
