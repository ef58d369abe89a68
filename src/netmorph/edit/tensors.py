"""What a channel map does to one tensor: pure functions of tensors.

`dim` is a dimension that runs over the `n` old channels; the result runs over the `m` new ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netmorph.edit.channel_map import ChannelMap


def write(tensor: Tensor, dim: int, channels: ChannelMap, fresh: Tensor) -> Tensor:
    """The weights that compute the channels, or act on each: copies and fresh rows; twins get the same row.

    Args:
        tensor: `[..., n, ...]`.
        fresh: `[..., channels.classes, ...]`, one row per class of equal fresh channels.
    """
    row = torch.where(channels.is_fresh, channels.n + channels.twin, channels.source)
    return torch.cat([tensor, fresh], dim).index_select(dim, row.to(tensor.device))


def read(tensor: Tensor, dim: int, channels: ChannelMap, fresh: Tensor) -> Tensor:
    """The weights that sum over the channels: each column times its share. Shares of one leave the bits alone."""
    columns = write(tensor, dim, channels, fresh)
    return columns * _along(channels.share, columns, dim)


def write_moment(moment: Tensor, dim: int, channels: ChannelMap, power: int) -> Tensor:
    """An optimizer's moment of a writing weight. A copy's gradient is the original's times its share.

    Args:
        power: 1 for a moment that is linear in the gradient, 2 for one that is quadratic. Fresh rows of the first
            start at zero; of the second at the moment's mean, because a zero beside an old step count would let Adam
            take steps of several times the learning rate.
    """
    columns = write(moment, dim, channels, _fresh_moment(moment, dim, channels, power))
    factor = torch.where(channels.is_fresh, 1.0, channels.share**power)
    return columns * _along(factor, columns, dim)


def read_moment(moment: Tensor, dim: int, channels: ChannelMap, power: int) -> Tensor:
    """An optimizer's moment of a reading weight. A copy's gradient is the original's, whatever its share."""
    return write(moment, dim, channels, _fresh_moment(moment, dim, channels, power))


def fresh_like(tensor: Tensor, dim: int, count: int, generator: torch.Generator) -> Tensor:
    """Random weights for `count` fresh channels: uniform, with the standard deviation of the tensor they extend.

    A weight without any spread (all zeros, or a single number) gives no scale; there the usual `1 / sqrt(fan in)` is
    taken. A bias without spread is extended by its own value.
    """
    shape = [*tensor.shape[:dim], count, *tensor.shape[dim + 1 :]]
    if tensor.dim() < 2:
        spread, centre = float(tensor.double().std(correction=0)), float(tensor.double().mean())
    else:
        spread, centre = float(tensor.double().pow(2).mean().sqrt()), 0.0
        spread = spread or 1 / math.sqrt(max(1, tensor[0].numel()))
    noise = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (centre + (2 * noise - 1) * spread * math.sqrt(3)).to(tensor)


def mean_like(tensor: Tensor, dim: int, count: int) -> Tensor:
    """The mean of all channels for each of `count` fresh ones."""
    shape = [*tensor.shape[:dim], count, *tensor.shape[dim + 1 :]]
    return tensor.double().mean(dim, keepdim=True).to(tensor.dtype).expand(shape)


def full_like(tensor: Tensor, dim: int, count: int, value: float) -> Tensor:
    """One value for each of `count` fresh channels."""
    return tensor.new_full([*tensor.shape[:dim], count, *tensor.shape[dim + 1 :]], value)


def _fresh_moment(moment: Tensor, dim: int, channels: ChannelMap, power: int) -> Tensor:
    start = 0.0 if power == 1 else float(moment.double().mean())
    return full_like(moment, dim, channels.classes, start)


def _along(vector: Tensor, tensor: Tensor, dim: int) -> Tensor:
    shape = [1] * tensor.dim()
    shape[dim] = -1
    return vector.to(tensor).reshape(shape)
