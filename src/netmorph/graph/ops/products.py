"""Products that are summed over channels: of activations with one another, or with parameters that are no layer's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from netmorph.graph.axis import Allow, Atom, Axis, Fixed, size
from netmorph.graph.contraction import Contraction
from netmorph.graph.roots import Root
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.uses import Role
from netmorph.graph.value import Value

aten = torch.ops.aten


@rule(aten.matmul.default, aten.bmm.default, aten.mm.default, aten.mv.default, aten.dot.default)
@rule(aten.vdot.default, aten.linalg_matmul.default)
def matmul(couple: Coupling, left: Value, right: Value) -> list[Axis]:
    """`[..., n, k] @ [..., k, m]`; a parameter on one side reads `k` and writes the other dimension."""
    return _matmul(couple, left, right)


@rule(aten.addmm.default, aten.baddbmm.default, aten.addmv.default)
@rule(aten.addmm_.default, aten.baddbmm_.default, aten.addmv_.default)
def added_matmul(
    couple: Coupling, bias: Value, left: Value, right: Value, *, beta: float = 1, alpha: float = 1
) -> list[Axis]:
    """A product added to a bias."""
    axes = _matmul(couple, left, right, bias, plain=alpha == beta == 1)
    couple.broadcast_axes([axes, bias.axes])
    if len(bias.shape) == 1:
        couple.use(bias, 0, Role.WRITE)
    return axes


def _matmul(
    couple: Coupling, left: Value, right: Value, bias: Value | None = None, *, plain: bool = True
) -> list[Axis]:
    """`plain`: neither the product nor the bias is multiplied by a number."""
    rows, columns = len(left.shape) - 2, len(right.shape) - 1  # their dimensions that the result has; a vector has none
    inner = max(len(right.shape) - 2, 0)
    _meet(couple, (left, -1), (right, inner))
    axes = couple.broadcast_axes([left.axes[:-2], right.axes[:-2]])
    if columns > 0:
        _writes(couple, right, columns, left)
    if rows >= 0:
        _writes(couple, left, rows, right)
        axes.append(left.axes[rows])
    if columns > 0:
        axes.append(right.axes[columns])
    over = (*axes, left.axes[-1])
    if left.is_weight and not right.is_weight:
        read, write = (inner - len(right.shape), rows + 1), (rows, -2 if columns > 0 else -1)
        contraction = Contraction(over, left, right, bias, (read,), (write,) if rows >= 0 else ())
    else:
        read, write = (-1, inner), (columns, -1)
        contraction = Contraction(over, right, left, bias, (read,), (write,) if columns > 0 else ())
    couple.contract(contraction if plain else replace(contraction, input=None, read=(), write=()))
    couple.scale(contraction.weight, bias)
    return axes


@rule(aten._grouped_mm.default)
def grouped_matmul(
    couple: Coupling, left: Value, right: Value, ends: Value | None = None, bias: Value | None = None, *args: Any
) -> list[Axis]:
    """`[rows, k] @ [groups, k, m]`: each row meets the matrix of its group, and a tensor says where these end."""
    if (len(left.shape), len(right.shape)) != (2, 3) or bias is not None:
        for axis in (*left.axes, *right.axes, *(bias.axes if bias else ())):
            couple.freeze(axis, "groups of rows or columns are multiplied")
        return [couple.fixed(dim, "groups of rows or columns") for dim in range(len(couple.shape))]
    couple.freeze(right.axes[0], "one matrix for each group of rows")
    _meet(couple, (left, -1), (right, 1))
    _writes(couple, right, 2, left)
    over = (*left.axes, right.axes[2])
    couple.contract(Contraction(over, right, left, read=((-1, 1),), write=((2, -1),)))
    couple.scale(right)
    return [left.axes[0], right.axes[2]]


def _meet(couple: Coupling, left: tuple[Value, int], right: tuple[Value, int]) -> None:
    """Two tensors are multiplied and summed over one dimension of each."""
    (one, dim), (other, place) = left, right
    couple.unify(one.axes[dim], other.axes[place])
    if one.is_weight and other.is_weight:
        couple.meet_weights(one, dim % len(one.shape), other, place % len(other.shape))
    elif one.is_weight or other.is_weight:
        reader, at = (one, dim) if one.is_weight else (other, place)
        couple.reads(reader, at % len(reader.shape))
    else:
        couple.limit(one.axes[dim], Allow.INEXACT, "two activations are multiplied and summed over these channels")


def _writes(couple: Coupling, value: Value, dim: int, other: Value) -> None:
    if value.is_weight and not other.is_weight:
        couple.use(value, dim, Role.WRITE)


@rule(aten.einsum.default)
def einsum(
    couple: Coupling, equation: str, values: Sequence[Value], *, path: Sequence[int] | None = None
) -> list[Axis]:
    """Dimensions of one letter are one; those that the result lacks are summed over."""
    inputs, output = _letters(equation, [len(value.shape) for value in values])
    places: dict[str, list[tuple[Value, int]]] = {}
    for letters, value in zip(inputs, values, strict=True):
        for dim, letter in enumerate(letters):
            places.setdefault(letter, []).append((value, dim))
    lengths = {letter: max(value.shape[dim] for value, dim in found) for letter, found in places.items()}
    axes: dict[str, Axis] = {}
    for letter, found in places.items():
        axes[letter] = couple.meet([value.axes[dim] for value, dim in found])
        if letter in output:
            if len(found) == 1:
                others = next((v for v in values if v is not found[0][0]), found[0][0])
                _writes(couple, *found[0], others)
        elif len(found) == 2 and len({value.shape[dim] for value, dim in found}) == 1:
            _meet(couple, *found)
        else:
            couple.limit(axes[letter], Allow.INEXACT, "summed over these channels")
    operands = [_Operand(letters, value) for letters, value in zip(inputs, values, strict=True)]
    contractions = [*_pairwise(operands, output, axes, path)]
    for contraction in contractions:
        couple.contract(contraction)
    couple.scale(*(contraction.weight for contraction in contractions[-1:]))  # of several factors, one is enough
    return [
        next(value.axes[dim] for value, dim in places[letter] if value.shape[dim] == lengths[letter])
        for letter in output
    ]


@dataclass(frozen=True)
class _Operand:
    """One of an einsum, or the product of some: the letters of its dimensions."""

    letters: list[str]
    value: Value

    def is_long(self, letter: str) -> bool:
        """Whether it has a dimension of that letter that is not broadcast."""
        return letter in self.letters and self.value.shape[self.letters.index(letter)] != 1


def _pairwise(
    operands: list[_Operand], output: list[str], axes: dict[str, Axis], path: Sequence[int] | None
) -> Iterator[Contraction]:
    """The sums of products of an einsum, as PyTorch computes it: two operands at a time, from the left or along a path.

    What only one of the two has and nobody else needs is summed up first; a product without a sum is element-wise.
    `write` is told where the result is this sum alone, of each number of the weight and of the input once.
    """
    alone = len(operands) == 2
    steps = iter(path or ())
    while len(operands) > 1:
        first, second = sorted((next(steps), next(steps))) if path else (0, 1)
        one, other = operands[first], operands[second]
        operands = [operand for place, operand in enumerate(operands) if place not in (first, second)]
        needed = set(output).union(*(operand.letters for operand in operands))
        letters = [*dict.fromkeys((*one.letters, *other.letters))]
        kept = [x for x in letters if x in needed]
        summed = [x for x in letters if x not in needed and one.is_long(x) and other.is_long(x)]
        if summed:
            swapped = one.value.is_weight and not other.value.is_weight
            weight, given = (one, other) if swapped else (other, one)
            new = [x for x in kept if x not in given.letters]
            old = [x for x in kept if x in given.letters]
            plain = sorted(weight.letters) == sorted(new + summed) and sorted(given.letters) == sorted(old + summed)
            yield Contraction(
                tuple(axes[x] for x in (*kept, *summed)),
                weight.value,
                given.value,
                read=tuple((given.letters.index(x) - len(given.letters), weight.letters.index(x)) for x in summed),
                write=tuple((weight.letters.index(x), output.index(x)) for x in new if alone and plain),
            )
        lengths = tuple(size(axes[x]) if one.is_long(x) or other.is_long(x) else 1 for x in kept)
        operands.insert(len(operands) if path else 0, _Operand(kept, Value(lengths, one.value.dtype)))


def _letters(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """The letters of each operand and of the result; dimensions under an ellipsis get numbers from the right."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    inputs = [_spelled(term, rank) for term, rank in zip(terms, ranks, strict=True)]
    every = [letter for letters in inputs for letter in letters]
    dots = sorted({letter for letter in every if letter.startswith(".")}, key=lambda name: -int(name[1:]))
    if arrow:
        return inputs, _spelled(right, len(right.replace("...", "")) + (len(dots) if "..." in right else 0))
    return inputs, dots + sorted(letter for letter in set(every) if every.count(letter) == 1 and letter not in dots)


def _spelled(term: str, rank: int) -> list[str]:
    before, dots, behind = term.partition("...")
    hidden = rank - len(before) - len(behind) if dots else 0
    return [*before, *(f".{place}" for place in range(hidden, 0, -1)), *behind]


@rule(aten.scaled_dot_product_attention.default)
def attention(
    couple: Coupling,
    query: Value,
    key: Value,
    value: Value,
    mask: Value | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> list[Axis]:
    """`[..., length, width]`: query and key meet in a sum, heads and the value's width pass.

    Where several query heads share one of the key's, PyTorch finds their number itself, so it is free to change.
    """
    for place in range(len(query.shape) - 2):
        couple.unify(key.axes[place], value.axes[place])
        repeats = query.shape[place] // max(1, key.shape[place])
        shared: Axis = (Atom(repeats),) if repeats > 1 else ()
        if repeats > 1 and not enable_gqa:
            couple.freeze(key.axes[place], "a single key is broadcast over the queries' heads")
        own = tuple(factor for factor in key.axes[place] if factor != Fixed(1))
        couple.unify(query.axes[place], (*own, *shared) or key.axes[place])
    couple.unify(key.axes[-2], value.axes[-2])
    couple.unify(query.axes[-1], key.axes[-1])
    couple.limit(query.axes[-1], Allow.INEXACT, "query and key are multiplied and summed over these channels")
    if scale is None:
        couple.root(query, query.axes[-1], -0.5)
    elif isinstance(scale, Root):
        couple.root(query, couple.sizes.axis(scale.source, couple.where), scale.power)
    couple.attribute("head_dim", query.axes[-1])
    couple.contract(Contraction((*query.axes, key.axes[-2]), key))
    couple.contract(Contraction((*query.axes[:-1], key.axes[-2], value.axes[-1]), value))
    if isinstance(mask, Value):
        couple.broadcast_axes([[*query.axes[:-1], key.axes[-2]], mask.axes])
    return [*query.axes[:-1], value.axes[-1]]
