"""How the weights of fresh channels are drawn: values that are given to `widen` beside its method.

A method (`netmorph.widenings`) says which channels are new and with which signs they are read; a draw says how large
the numbers are. It is a function `(joined, generator) -> weights`, and `DRAWS` lists those that need no data. The scale
is left open by every exact method, and decides how fast old and new weights learn beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netmorph.errors import NetmorphError
from netmorph.graph import Role

__all__ = ["DRAWS", "Draw", "Joined", "fan_in", "layer_spread", "quiet", "scaled"]


class DrawError(NetmorphError):
    """A number that says how to draw, and cannot be."""


@dataclass(frozen=True, eq=False)
class Joined:
    """What fresh weights join.

    Attributes:
        tensor: the weight so far, or a part of it that runs over one channel group: `[..., n, ...]`.
        dim: the dimension of the channels.
        count: how many fresh ones to draw: twins share one.
        n, m: the group's width before and after.
        group: its name in the edit.
        role: whether the weight computes the channels, acts on each, or sums over them.
    """

    tensor: Tensor
    dim: int
    count: int
    n: int
    m: int
    group: str
    role: Role

    @property
    def is_column(self) -> bool:
        """A reader's weight, which has other dimensions than the channels."""
        return self.role is Role.READ and self.tensor.dim() > 1


Draw = Callable[[Joined, torch.Generator], Tensor]


def layer_spread(joined: Joined, generator: torch.Generator) -> Tensor:
    """Uniform, with the standard deviation `s` of the weight that they join: `U(-s sqrt(3), s sqrt(3))`, as R2R."""
    return fresh_like(joined.tensor, joined.dim, joined.count, generator)


def fan_in(joined: Joined, generator: torch.Generator) -> Tensor:
    """The same, and readers' weights times `sqrt(n / m)`: as if the layer had been drawn at its new width.

    A layer's usual spread goes by `1 / sqrt(fan in)` (He et al., arXiv 1502.01852; for hidden layers also in muP, Yang
    et al., arXiv 2203.03466), so that its sums have the same RMS at any width.
    """
    drawn = layer_spread(joined, generator)
    return drawn * math.sqrt(joined.n / joined.m) if joined.is_column else drawn


def quiet(change: float = 0.1) -> Draw:
    """Readers' weights so small that the gradients of the old ones stay as they were, by an estimate of variances.

    `n` old channels are read with weights of deviation `s`, `k = m - n` new ones with weights of deviation `z`. With
    channels of one size, independent of each other and of the gradients, the part that the new ones add to the readers'
    sums, relative to what the old ones give, is `sqrt(k / n) z / s` by RMS; so is what they add to the gradients that
    go to the weights before them, as their rows have the old ones' spread. (Forward variances as in He et al., arXiv
    1502.01852, backward ones as in Glorot & Bengio, 2010.) So `z = change * s * sqrt(n / k)`, and `z = s` at most. An
    exact edit keeps the sums whatever the scale; there this bounds what twins do once they have come apart.

    `netmorph.edit.keep_gradients` measures it on samples instead.

    Raises:
        DrawError: `change` is not a positive number.
    """
    if not 0 < change < math.inf:
        raise DrawError(f"quiet takes the relative change that is allowed, a number above 0, got {change!r}")

    def draw(joined: Joined, generator: torch.Generator) -> Tensor:
        drawn = layer_spread(joined, generator)
        return drawn * min(1.0, change * math.sqrt(joined.n / (joined.m - joined.n))) if joined.is_column else drawn

    draw.__name__ = f"quiet({change:g})"
    return draw


def scaled(draw: Draw, rows: Mapping[str, Tensor] | None = None, columns: float = 1.0) -> Draw:
    """Another draw, times numbers.

    Args:
        rows: by group, float64 `[count]`: what the weights that compute each fresh channel are multiplied by.
        columns: what readers' weights are multiplied by.
    """
    factors = rows or {}

    def draw_scaled(joined: Joined, generator: torch.Generator) -> Tensor:
        drawn = draw(joined, generator)
        if joined.is_column:
            return drawn * columns
        if joined.role is not Role.WRITE or joined.group not in factors:
            return drawn
        shape = [1] * drawn.dim()
        shape[joined.dim] = -1
        return drawn * factors[joined.group].to(drawn).reshape(shape)

    return draw_scaled


def fresh_like(tensor: Tensor, dim: int, count: int, generator: torch.Generator) -> Tensor:
    """Random weights for `count` fresh channels: uniform, with the standard deviation of the tensor they extend.

    A weight without any spread (all zeros, or a single number) gives no scale; there the usual `1 / sqrt(fan in)` is
    taken. A bias without spread is extended by its own value. Of complex weights both parts are drawn.
    """
    if tensor.is_complex():
        return torch.view_as_complex(fresh_like(torch.view_as_real(tensor), dim, count, generator))
    shape = [*tensor.shape[:dim], count, *tensor.shape[dim + 1 :]]
    if tensor.dim() < 2:
        spread, centre = float(tensor.double().std(correction=0)), float(tensor.double().mean())
    else:
        spread, centre = float(tensor.double().pow(2).mean().sqrt()), 0.0
        spread = spread or 1 / math.sqrt(max(1, tensor[0].numel()))
    noise = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (centre + (2 * noise - 1) * spread * math.sqrt(3)).to(tensor)


DRAWS: dict[str, Draw] = {"layer_spread": layer_spread, "fan_in": fan_in, "quiet": quiet()}
