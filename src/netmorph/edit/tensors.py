"""What a channel map does to one tensor: pure functions of tensors.

`dim` is a dimension that runs over the `n` old channels; the result runs over the `m` new ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from netmorph.widenings import ChannelMap


def write(tensor: Tensor, dim: int, channels: ChannelMap, fresh: Tensor) -> Tensor:
    """The weights that compute the channels, or act on each: copies and fresh rows; twins get the same row.

    Args:
        tensor: `[..., n, ...]`.
        fresh: `[..., channels.classes, ...]`, one row per class of equal channels; not used where these are copies.
    """
    return _chosen(tensor, dim, channels.rows, fresh)


def read(tensor: Tensor, dim: int, channels: ChannelMap, fresh: Tensor) -> Tensor:
    """The weights that sum over the channels: each column times its share. Shares of one leave the bits alone."""
    columns = _chosen(tensor, dim, channels.columns, fresh)
    return columns * spread(channels.share, columns, dim)


def _chosen(tensor: Tensor, dim: int, places: Tensor, fresh: Tensor) -> Tensor:
    """Entries along a dimension, counted through those of the tensor and then the fresh ones."""
    return (torch.cat([tensor, fresh], dim) if fresh.shape[dim] else tensor).index_select(dim, places.to(tensor.device))


def mix(tensor: Tensor, dim: int, consume: Tensor) -> Tensor:
    """The weights that sum over mixtures of the channels, with `consume` of `[n, m]`."""
    wide = finest(tensor)
    mixed: Tensor = torch.tensordot(wide, consume.to(wide), dims=([dim], [0]))
    return mixed.movedim(-1, dim).to(tensor)


def write_moment(moment: Tensor, dim: int, channels: ChannelMap, power: int) -> Tensor:
    """An optimizer's moment of a writing weight. A copy's gradient is the original's times its share.

    That of a copy that is read with fresh weights has nothing to do with the original's: it is treated as fresh.

    Args:
        power: 1 for a moment that is linear in the gradient, 2 for one that is quadratic. Fresh rows of the first
            start at zero. Of the second they start like the channel with the largest moment: a zero beside an old
            step count would let Adam take steps of several times the learning rate, and the mean of the channels
            still of twice the usual. Where no channel had a gradient yet, the tensor's mean is taken.
    """
    columns = read_moment(moment, dim, channels, power)
    factor = torch.where(channels.is_read_fresh, 1.0, channels.share**power)
    return columns * spread(factor, columns, dim)


def read_moment(moment: Tensor, dim: int, channels: ChannelMap, power: int) -> Tensor:
    """An optimizer's moment of a reading weight. A copy's gradient is the original's, whatever its share."""
    return _chosen(moment, dim, channels.columns, fresh_moment(moment, dim, channels.classes, power))


def mean_like(tensor: Tensor, dim: int, count: int) -> Tensor:
    """The mean of all channels for each of `count` fresh ones."""
    shape = [*tensor.shape[:dim], count, *tensor.shape[dim + 1 :]]
    return finest(tensor).mean(dim, keepdim=True).to(tensor.dtype).expand(shape)


def full_like(tensor: Tensor, dim: int, count: int, value: float) -> Tensor:
    """One value for each of `count` fresh channels."""
    return tensor.new_full([*tensor.shape[:dim], count, *tensor.shape[dim + 1 :]], value)


def finest(tensor: Tensor) -> Tensor:
    """The tensor in float64, or in complex128 where its numbers are complex."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float64))


def spread(vector: Tensor, tensor: Tensor, dim: int) -> Tensor:
    """The vector along dimension `dim` of a tensor, in the tensor's type and rank."""
    shape = [1] * tensor.dim()
    shape[dim] = -1
    return vector.to(tensor).reshape(shape)


def fresh_moment(moment: Tensor, dim: int, count: int, power: int) -> Tensor:
    """A moment of `count` fresh channels; see `write_moment`."""
    if moment.is_complex():  # optimizers see pairs of real numbers
        pairs = fresh_moment(torch.view_as_real(moment), dim, count, power)
        return torch.view_as_complex(pairs.contiguous())
    mean = float(moment.double().mean())
    if power != 2:
        return full_like(moment, dim, count, 0.0 if power == 1 else mean)
    largest = moment.amax(dim, keepdim=True).clamp_min(mean)
    return largest.expand([*moment.shape[:dim], count, *moment.shape[dim + 1 :]])
