"""Batches of uint8 images, and their preprocessing: functions of whole batches, on any device."""

import functools
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from netmorph.data.dataset import DataError, Split


def batches(
    split: Split, batch_size: int, *, generator: Generator | None = None, drop_last: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a split into batches by slicing its tensors: no workers, no copies of single images.

    Args:
        split: on any device; the batches lie there too.
        batch_size: images in a batch; the last one may be smaller.
        generator: shuffles the images; without it they come in order, as views of the split.
        drop_last: leave a smaller last batch out.

    Returns:
        Pairs of images uint8 [B, C, H, W] and labels int64 [B].

    Raises:
        DataError: a batch size below 1, or no batch left because the split is smaller than one batch.
    """
    if batch_size < 1:
        raise DataError(f"batch_size must be at least 1, got {batch_size}")
    if drop_last and len(split) < batch_size:
        raise DataError(f"{len(split)} images make no batch of {batch_size}; lower batch_size or keep the last batch")
    return _cut(split, batch_size, generator, len(split) - len(split) % batch_size if drop_last else len(split))


def _cut(split: Split, batch_size: int, generator: Generator | None, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    if generator is None:
        for start in range(0, count, batch_size):
            chosen = slice(start, min(start + batch_size, count))
            yield split.images[chosen], split.labels[chosen]
        return
    order = torch.randperm(len(split), generator=generator, device=generator.device)[:count]
    for indices in torch.split(order.to(split.images.device), batch_size):
        yield split.images.index_select(0, indices), split.labels.index_select(0, indices)


def normalize(
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Scale uint8 images [N, C, H, W] to (images / 255 - mean) / std, per channel.

    Computed in float32 or wider and rounded once to `dtype`.
    """
    wide = torch.promote_types(dtype, torch.float32)
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), wide, images.device)
    return images.to(wide, memory_format=memory_format).mul_(scale).sub_(shift).to(dtype)


@functools.lru_cache
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Made once for a data set: for a small network, making them in every step costs as much as a layer."""
    centre = torch.tensor(mean, dtype=dtype, device=device).view(-1, 1, 1)
    spread = torch.tensor(std, dtype=dtype, device=device).view(-1, 1, 1)
    return 1 / (255 * spread), centre / spread


def augment(images: Tensor, generator: Generator, *, pad: int = 4, flip: bool = True) -> Tensor:
    """Pad with zeros, crop back to the old size at a random place, and mirror left to right at random.

    Every image gets its own crop and flip.

    Args:
        images: [N, C, H, W], any dtype.
        generator: on any device; the same state gives the same images on every device.
        pad: pixels on each side.
        flip: mirror half of the images.

    Returns:
        [N, C, H, W], a new tensor.
    """
    count, channels, height, width = images.shape
    top, left = _draw(2 * pad + 1, (2, count, 1), generator).to(images.device)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    if flip:
        mirrored = _draw(2, (count, 1), generator).bool().to(images.device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    # One gather over flattened pixels: five times faster than indexing rows and columns.
    pixels = (rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]).view(count, 1, -1)
    padded = F.pad(images, (pad, pad, pad, pad)).flatten(2)
    return padded.gather(2, pixels.expand(-1, channels, -1)).view(images.shape)


def _draw(below: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randint(below, shape, generator=generator, device=generator.device)
