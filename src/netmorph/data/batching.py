"""Batches, and crops of images: functions of whole batches, on any device."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from netmorph.data.dataset import DataError, Part


def batches(
    part: Part,
    batch_size: int,
    *,
    generator: Generator | None = None,
    share: tuple[int, int] = (0, 1),
    start: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a part of a data set into batches.

    Args:
        part: in memory on any device, or streamed; the batches lie where it gives them.
        batch_size: samples in a batch, over all shares together; the last one may be smaller.
        generator: shuffles the samples; without it they come in order. What it draws is drawn at once.
        share: (k, n) gives the k-th of n shares of every batch, from 0. Shuffled shares are equal, and what makes
            them unequal is left out.
        start: so many batches are left out at the beginning; they are not even read. The others stay the same.

    Returns:
        Pairs of inputs [B, ...] and targets [B, ...], see `Part`.

    Raises:
        DataError: a batch size that is below 1, or not a multiple of the number of shares.
    """
    number, shares = share
    if batch_size < 1 or batch_size % shares:
        raise DataError(f"batch_size must be at least 1 and a multiple of the {shares} shares, got {batch_size}")
    seed = order = None
    if generator is not None:
        order = torch.randperm(len(part), generator=generator, device=generator.device)
        # From a copy: what the generator draws next is the same for samples in memory, which need no seed.
        ahead = generator.clone_state()
        seed = int(torch.randint(2**62, (), generator=ahead, device=ahead.device))
    if shares > 1:
        order = torch.arange(len(part)) if order is None else order[: len(part) - len(part) % shares]
        order = order[number::shares]
    if start:
        order = (torch.arange(len(part)) if order is None else order)[start * (batch_size // shares) :]
    return part.cut(batch_size // shares, order, seed)


def augment(images: Tensor, generator: Generator, *, pad: int = 4, flip: bool = True, reflect: bool = False) -> Tensor:
    """Pad, crop back to the old size at a random place, and mirror left to right at random.

    Every image gets its own crop and flip.

    Args:
        images: [N, C, H, W], any dtype.
        generator: on any device; the same state gives the same images on every device.
        pad: pixels on each side.
        flip: mirror half of the images.
        reflect: the padding continues the image in a mirror; otherwise it is zeros.

    Returns:
        [N, C, H, W], a new tensor.

    Raises:
        DataError: a mirror image is narrower than the padding.
    """
    count, channels, height, width = images.shape
    if reflect and pad >= min(height, width):
        raise DataError(f"images of {height}x{width} cannot be continued by {pad} pixels in a mirror; lower pad")
    top, left = _draw(2 * pad + 1, (2, count, 1), generator).to(images.device)
    rows = top - pad + torch.arange(height, device=images.device)
    columns = left - pad + torch.arange(width, device=images.device)
    if flip:
        mirrored = _draw(2, (count, 1), generator).bool().to(images.device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    if reflect:
        rows, columns = _reflected(rows, height), _reflected(columns, width)
    else:
        images, rows, columns = F.pad(images, (pad, pad, pad, pad)), rows + pad, columns + pad
    # One gather over flattened pixels: five times faster than indexing rows and columns.
    pixels = (rows[:, :, None] * images.shape[3] + columns[:, None, :]).view(count, 1, -1)
    crops = images.flatten(2).gather(2, pixels.expand(-1, channels, -1))
    return crops.view(count, channels, height, width)


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices outside of 0..size-1 as those of a mirror at the first and the last pixel."""
    return size - 1 - (size - 1 - index.abs()).abs()


def _draw(below: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randint(below, shape, generator=generator, device=generator.device)
