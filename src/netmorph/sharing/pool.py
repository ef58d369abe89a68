"""A pool of segments, and networks that are composed of them: pure functions of values.

A segment is a block of weights. Each parameter of a network consists of pieces: whole segments, put at places along
each dimension. What two networks have in common is one segment, so that the pool grows with what is new. Where a child
has a part of what was one segment, the segment falls into blocks, so that a network always has all of its segments: to
train it is to train them, and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from netmorph.sharing.origins import Kept, mesh

At = tuple[Tensor, ...]  # LongTensors: places along each dimension


@dataclass(frozen=True, eq=False)
class Piece:
    """A segment in a parameter: along each dimension, the place of each of its indices."""

    segment: int
    at: At


@dataclass(frozen=True, eq=False)
class Whole:
    """A parameter: its shape, and pieces that fill it without overlap."""

    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @cached_property
    def places(self) -> list[tuple[slice, ...] | At]:
        """For each piece what indexes it: slices where its places are in a row, which are quick, else a mesh."""
        return [_index(piece.at) for piece in self.pieces]


Composition = Mapping[str, Whole]  # of a network: its parameters by name


@dataclass(frozen=True, eq=False)
class Pool:
    """Segments, and what is made of them.

    Attributes:
        segments: their values by number.
        states: what an optimizer keeps of a segment, by its number: tensors of the segment's shape, and other values.
        networks: by id, what each is composed of.
    """

    segments: Mapping[int, Tensor] = field(default_factory=dict)
    states: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    networks: Mapping[int, Composition] = field(default_factory=dict)


def founded(
    pool: Pool, id: int, parameters: Mapping[str, Tensor], states: Mapping[str, Mapping[str, Any]] | None = None
) -> Pool:
    """The pool with a network that shares nothing: each of its parameters is a segment.

    Args:
        parameters: by name, as `model.named_parameters()` tells them; they are copied.
        states: what an optimizer keeps of them.
    """
    first = _following(pool.segments)
    numbers = {name: first + index for index, name in enumerate(parameters)}
    values = {numbers[name]: value.detach().clone() for name, value in parameters.items()}
    kept = {numbers[name]: dict(state) for name, state in (states or {}).items() if name in numbers}
    composition = {
        name: Whole(tuple(value.shape), (Piece(numbers[name], _everywhere(value.shape)),))
        for name, value in parameters.items()
    }
    return Pool({**pool.segments, **values}, {**pool.states, **kept}, {**pool.networks, id: composition})


def born(pool: Pool, id: int, parent: int, kept: Mapping[str, Kept], parameters: Mapping[str, Tensor]) -> Pool:
    """The pool with a child: it shares what it kept, and what is new in it are new segments.

    Args:
        parent: the id of a network of the pool.
        kept: see `Origins.kept`.
        parameters: the child's by name; what is new is copied.
    """
    composition: dict[str, Whole] = {}
    for name, value in parameters.items():
        pieces: list[Piece] = []
        put: At | None = None
        if name in kept:
            put = kept[name].put
            for piece in pool.networks[parent][kept[name].parameter].pieces:
                inside = [torch.isin(at, take) for at, take in zip(piece.at, kept[name].take, strict=True)]
                if not all(bool(mask.any()) for mask in inside):
                    continue
                number = piece.segment
                if not all(bool(mask.all()) for mask in inside):
                    pool, number = _split(pool, piece.segment, [mask.nonzero().flatten() for mask in inside])
                at = tuple(
                    _moved(at[mask], kept[name], dim)
                    for dim, (at, mask) in enumerate(zip(piece.at, inside, strict=True))
                )
                pieces.append(Piece(number, at))
        first = _following(pool.segments)
        blocks = [_everywhere(value.shape)] if put is None else _blocks(value.shape, put)[1:]
        new = {first + index: value.detach()[mesh(block)].clone() for index, block in enumerate(blocks)}
        pieces += [Piece(first + index, block) for index, block in enumerate(blocks)]
        pool = Pool({**pool.segments, **new}, pool.states, pool.networks)
        composition[name] = Whole(tuple(value.shape), tuple(pieces))
    return Pool(pool.segments, pool.states, {**pool.networks, id: composition})


def of_these(pool: Pool, ids: Iterable[int]) -> Pool:
    """The pool with these networks alone, without the segments that only others had."""
    networks = {id: pool.networks[id] for id in ids}
    needed = {piece.segment for composition in networks.values() for piece in _pieces(composition)}
    return Pool(
        {number: value for number, value in pool.segments.items() if number in needed},
        {number: state for number, state in pool.states.items() if number in needed},
        networks,
    )


def joined(pools: Sequence[Pool]) -> Pool:
    """Several pools as one; their networks have different ids, and share nothing."""
    whole = Pool()
    for pool in pools:
        first = _following(whole.segments)
        moved = {number: first + index for index, number in enumerate(pool.segments)}
        networks = {
            id: {
                name: Whole(one.shape, tuple(Piece(moved[piece.segment], piece.at) for piece in one.pieces))
                for name, one in composition.items()
            }
            for id, composition in pool.networks.items()
        }
        whole = Pool(
            {**whole.segments, **{moved[number]: value for number, value in pool.segments.items()}},
            {**whole.states, **{moved[number]: state for number, state in pool.states.items()}},
            {**whole.networks, **networks},
        )
    return whole


def assembled(segments: Mapping[int, Tensor], composition: Composition) -> dict[str, Tensor]:
    """A network's parameters by name; gradients flow to the segments.

    A parameter that is one segment in its own order is the segment itself.
    """
    return {name: _assembled(segments, whole) for name, whole in composition.items()}


def size(pool: Pool) -> int:
    """How many weights the pool holds."""
    return sum(value.numel() for value in pool.segments.values())


def shared(pool: Pool, id: int) -> float:
    """The share of a network's weights that other networks of the pool have, too."""
    own = {piece.segment for piece in _pieces(pool.networks[id])}
    others = {piece.segment for other, made in pool.networks.items() if other != id for piece in _pieces(made)}
    counts = {number: pool.segments[number].numel() for number in own}
    return sum(counts[number] for number in own & others) / max(1, sum(counts.values()))


class _Assembly(torch.autograd.Function):
    """Segments put at their places, and the gradient cut into them again."""

    @staticmethod
    def forward(ctx: Any, shape: tuple[int, ...], places: Sequence[Any], *segments: Tensor) -> Tensor:
        """Fill a tensor of this shape."""
        ctx.places = places
        whole = segments[0].new_empty(shape)
        for at, segment in zip(places, segments, strict=True):
            whole[at] = segment
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """That of each segment, which lies in one place."""
        (gradient,) = gradients
        return None, None, *(gradient[at] for at in ctx.places)


def _assembled(segments: Mapping[int, Tensor], whole: Whole) -> Tensor:
    values = [segments[piece.segment] for piece in whole.pieces]
    if len(values) == 1 and all(isinstance(at, slice) for at in whole.places[0]):
        return values[0]
    made: Tensor = _Assembly.apply(whole.shape, whole.places, *values)  # type: ignore[no-untyped-call]
    return made


def _index(at: At) -> tuple[slice, ...] | At:
    if all(bool((places.diff() == 1).all()) for places in at):
        return tuple(slice(int(places[0]), int(places[0]) + len(places)) if len(places) else slice(0) for places in at)
    return mesh(at)


def _split(pool: Pool, segment: int, inner: At | list[Tensor]) -> tuple[Pool, int]:
    """The pool with a segment in blocks, and the number of that at these of its indices."""
    value, state = pool.segments[segment], pool.states.get(segment)
    first = _following(pool.segments)
    blocks = dict(enumerate(_blocks(value.shape, inner), first))
    segments = {number: old for number, old in pool.segments.items() if number != segment}
    states = {number: old for number, old in pool.states.items() if number != segment}
    for number, block in blocks.items():
        segments[number] = value[mesh(block)].clone()
        if state is not None:
            states[number] = {key: _part_of(held, value, block) for key, held in state.items()}

    def in_blocks(piece: Piece) -> list[Piece]:
        if piece.segment != segment:
            return [piece]
        return [
            Piece(number, tuple(at[places] for at, places in zip(piece.at, block, strict=True)))
            for number, block in blocks.items()
        ]

    networks = {
        id: {
            name: Whole(whole.shape, tuple(part for piece in whole.pieces for part in in_blocks(piece)))
            for name, whole in composition.items()
        }
        for id, composition in pool.networks.items()
    }
    return Pool(segments, states, networks), first


def _part_of(held: Any, value: Tensor, block: At) -> Any:
    if isinstance(held, Tensor) and held.shape == value.shape and held.dim():
        return held[mesh(block)].clone()
    return held.clone() if isinstance(held, Tensor) else held


def _blocks(shape: Sequence[int], inner: At | list[Tensor]) -> list[At]:
    """A tensor in blocks: first that at the inner places, then those around it, at most one a dimension."""
    found = [tuple(inner)]
    for dim, length in enumerate(shape):
        outer = torch.ones(length, dtype=torch.bool)
        outer[inner[dim]] = False
        if bool(outer.any()):
            behind = _everywhere(shape[dim + 1 :])
            found.append((*inner[:dim], outer.nonzero().flatten(), *behind))
    return found


def _moved(places: Tensor, kept: Kept, dim: int) -> Tensor:
    """Where a child has what was at these places of its parent's parameter."""
    order = kept.take[dim].argsort()
    return kept.put[dim][order][torch.searchsorted(kept.take[dim][order], places)]


def _everywhere(shape: Sequence[int]) -> At:
    return tuple(torch.arange(length) for length in shape)


def _pieces(composition: Composition) -> Iterable[Piece]:
    return (piece for whole in composition.values() for piece in whole.pieces)


def _following(segments: Mapping[int, Tensor]) -> int:
    return max(segments, default=-1) + 1
