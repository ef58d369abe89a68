"""From what a part holds to what a network takes: whole batches, on any device."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Preparation(Protocol):
    """How inputs as they are stored become those of a network."""

    def __call__(
        self, inputs: Tensor, like: Tensor, memory_format: torch.memory_format = torch.contiguous_format
    ) -> Tensor:
        """A batch of inputs on the device of `like`, floating ones in its dtype."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that tell it apart from others: a resumed run compares them."""
        ...


@dataclass(frozen=True)
class Pixels:
    """Images uint8 [N, C, H, W] become (pixel / 255 - mean) / std.

    Attributes:
        mean, std: of each channel of the training images, pixels in 0..1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(
        self, inputs: Tensor, like: Tensor, memory_format: torch.memory_format = torch.contiguous_format
    ) -> Tensor:
        """See `Preparation`."""
        images = inputs.to(like.device, non_blocking=True)
        return normalize(images, self.mean, self.std, dtype=like.dtype, memory_format=memory_format)

    def describe(self) -> dict[str, Any]:
        """See `Preparation`."""
        return {"kind": "pixels", **asdict(self)}


@dataclass(frozen=True)
class Columns:
    """Floating features [N, ...] become (feature - mean) / std.

    Attributes:
        mean, std: of each feature of the training rows, of the shape of one row, flattened.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(
        self, inputs: Tensor, like: Tensor, memory_format: torch.memory_format = torch.contiguous_format
    ) -> Tensor:
        """See `Preparation`."""
        rows = inputs.to(like.device, non_blocking=True)
        centre, spread = (torch.tensor(each, dtype=rows.dtype, device=rows.device) for each in (self.mean, self.std))
        shape = rows.shape[1:]
        return ((rows - centre.view(shape)) / spread.view(shape)).to(like.dtype)

    def describe(self) -> dict[str, Any]:
        """See `Preparation`."""
        return {"kind": "columns", **asdict(self)}


@dataclass(frozen=True)
class Tokens:
    """Integers stay what they are."""

    def __call__(
        self, inputs: Tensor, like: Tensor, memory_format: torch.memory_format = torch.contiguous_format
    ) -> Tensor:
        """See `Preparation`."""
        return inputs.to(like.device, non_blocking=True)

    def describe(self) -> dict[str, Any]:
        """See `Preparation`."""
        return {"kind": "tokens"}


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
