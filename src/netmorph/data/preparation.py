"""From what a part holds to what a network takes: whole batches, on any device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from netmorph.tasks.values import centre_and_spread
from netmorph.typed import check_fields


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

    @classmethod
    def measured(cls, images: Tensor) -> Pixels:
        """Those of training images uint8 [N, C, H, W], from exact counts of the 256 values."""
        values = torch.arange(256, dtype=torch.float64) / 255
        means, stds = [], []
        for channel in images.unbind(1):
            share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
            mean = share @ values
            means.append(mean.item())
            stds.append((share @ (values - mean) ** 2).sqrt().item() or 1.0)
        return cls(tuple(means), tuple(stds))

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
    """Floating features [N, F], or [N, C, ...] in channels, become (feature - mean) / std.

    Attributes:
        mean, std: of each feature, or channel, of the training rows.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def measured(cls, rows: Tensor) -> Columns:
        """Those of training rows, floating [N, F] or [N, C, ...]; what never changes has a standard deviation of 1."""
        features = rows.transpose(0, 1).flatten(1).double()
        mean, std = features.mean(1), features.std(1, correction=0)
        std[features.amin(1) == features.amax(1)] = 1  # exactly: sums of equal numbers are not always equal
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def __call__(
        self, inputs: Tensor, like: Tensor, memory_format: torch.memory_format = torch.contiguous_format
    ) -> Tensor:
        """See `Preparation`."""
        rows = inputs.to(like.device, non_blocking=True)
        centre, spread = centre_and_spread(self.mean, self.std, rows.dtype, rows.device)
        shape = (-1, *(1 for _ in rows.shape[2:]))
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


_KINDS: dict[str, Callable[..., Preparation]] = {"pixels": Pixels, "columns": Columns, "tokens": Tokens}


def told_preparation(told: Mapping[str, Any]) -> Preparation:
    """The preparation that `describe` told of.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it did not.
    """
    values = {name: tuple(numbers) for name, numbers in told.items() if name != "kind"}
    made = _KINDS[told["kind"]](**values)
    check_fields(made)
    return made


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
    """Of pixels in 0..255, for each channel of [N, C, H, W]."""
    centre, spread = (each.view(-1, 1, 1) for each in centre_and_spread(mean, std, dtype, device))
    return 1 / (255 * spread), centre / spread
