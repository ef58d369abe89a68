"""Small faults planted in a Python program, one at a time: the other comparison, one more, the way not taken, no such
line.

What decides no result is spared: docstrings, annotations, decorators, texts of errors, and assertions (which are for
the type checker in netmorph's sources).
"""

from __future__ import annotations

import ast
import difflib
import random
from collections.abc import Iterator
from dataclasses import dataclass

OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.And: ast.Or, ast.Or: ast.And, ast.Break: ast.Continue, ast.Continue: ast.Break,
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "any": "all", "all": "any", "amax": "amin", "amin": "amax", "floor": "ceil",
    "ceil": "floor", "zeros": "ones", "ones": "zeros", "zeros_like": "ones_like", "ones_like": "zeros_like",
}  # fmt: skip
SPARED = (ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom)
SPARED_FIELDS = {"annotation", "returns", "decorator_list", "type_params"}


@dataclass(frozen=True)
class Mutant:
    """A program with one fault.

    Attributes:
        place: which of its faults it is, counted from 0.
        line: in the source.
        diff: the lines that differ, as Python writes them itself, with those around them.
    """

    place: int
    line: int
    diff: str
    tree: ast.Module


def count(source: str) -> int:
    """How many faults can be planted in a program."""
    planting = _Planting(-1)
    planting.visit(ast.parse(source))
    return planting.met


def plant(source: str, place: int) -> Mutant:
    """The program with one of its faults."""
    planting = _Planting(place)
    tree = ast.fix_missing_locations(planting.visit(ast.parse(source)))
    before, after = (ast.unparse(each).splitlines() for each in (ast.parse(source), tree))
    lines = difflib.unified_diff(before, after, lineterm="", n=1)
    diff = [line for line in lines if not line.startswith(("--- ", "+++ "))]
    return Mutant(place, planting.line, "\n".join(diff), tree)


def drawn(source: str, number: int, seed: str) -> list[int]:
    """Which faults are tried: at random, in order; those of a smaller number are among those of a larger one."""
    places = list(range(count(source)))
    random.Random(seed).shuffle(places)
    return sorted(places[:number])


class _Planting(ast.NodeTransformer):
    """Counts faults on its way through a program, and plants that which is wanted."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.met, self.line = wanted, 0, 1

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, SPARED) or _is_text(node):
            return node
        if self.met <= self.wanted:
            self.line = getattr(node, "lineno", self.line)  # clauses of comprehensions have none of their own
        for fault in _faults(node):
            self.met += 1
            if self.met - 1 == self.wanted:
                return ast.copy_location(fault, node)
        if isinstance(node, ast.Raise):
            return node
        for name, value in ast.iter_fields(node):
            if name not in SPARED_FIELDS:
                self._visit_field(node, name, value)
        return node

    def _visit_field(self, node: ast.AST, name: str, value: object) -> None:
        if isinstance(value, ast.AST):
            setattr(node, name, self.visit(value))
        elif isinstance(value, list):
            setattr(node, name, [self.visit(each) if isinstance(each, ast.AST) else each for each in value])


def _faults(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=comparators) if type(operator) in OTHER:
            yield ast.Compare(left, [_other(operator)], comparators)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OTHER:
            yield ast.BinOp(left, _other(operator), right)
        case ast.AugAssign(target=target, op=operator, value=value) if type(operator) in OTHER:
            yield ast.AugAssign(target, _other(operator), value)
        case ast.BoolOp(op=operator, values=values):
            yield ast.BoolOp(_other(operator), values)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Name(id=name, ctx=context) if name in NAMES:
            yield ast.Name(NAMES[name], context)
        case ast.Attribute(value=value, attr=name, ctx=context) if name in NAMES:
            yield ast.Attribute(value, NAMES[name], context)
        case ast.If(test=test, body=body, orelse=otherwise):
            yield ast.If(_negated(test), body, otherwise)
        case ast.IfExp(test=test, body=body, orelse=otherwise):
            yield ast.IfExp(test, otherwise, body)
        case ast.While(test=test, body=body, orelse=otherwise):
            yield ast.While(_negated(test), body, otherwise)
        case ast.comprehension(target=target, iter=over, ifs=[_, *rest], is_async=is_async):
            yield ast.comprehension(target, over, rest, is_async)
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
        case ast.Expr() | ast.Raise():
            yield ast.Pass()
        case ast.Break() | ast.Continue():
            yield _other(node)


def _other(node: ast.AST) -> ast.AST:
    return OTHER[type(node)]()


def _negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
