"""What a bank tells of a detached layer, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from netmorph.measure.cost import Cost
from netmorph.typed import check_fields


class Kind(StrEnum):
    """What a detached layer is for."""

    BODY = "body"
    """It stands anywhere in a chain."""
    DENSE = "dense"
    """It gave its network's answer: a chain may end with it."""
    RANDOM = "random"
    """It stands anywhere, and was drawn at random: no network has learnt it."""


@dataclass(frozen=True)
class Signature:
    """A tensor that crosses between two layers, of one sample.

    Attributes:
        shape: its sizes without the batch, where the layer was cut out: (16, 32, 32).
        dtype: "float32".
        channel: the dimension of `shape` that counts channels.
        free: of each dimension, whether the layer takes any other size there.
    """

    shape: tuple[int, ...]
    dtype: str
    channel: int
    free: tuple[bool, ...]

    @staticmethod
    def of(features: Tensor, channel: int | None = None) -> Signature:
        """Of features [N, ...] as they are: no dimension is free.

        Args:
            channel: of images and vectors the first dimension behind the batch, of sequences the last, if not given.
        """
        shape = tuple(features.shape[1:])
        usual = 1 if len(shape) == 2 else 0
        dtype = str(features.dtype).removeprefix("torch.")
        return Signature(shape, dtype, usual if channel is None else channel, (False,) * len(shape))

    def takes(self, other: Signature) -> bool:
        """Whether what is asked here is what the other gives."""
        return (
            self.dtype == other.dtype
            and len(self.shape) == len(other.shape)
            and all(free or one == given for one, given, free in zip(self.shape, other.shape, self.free, strict=True))
        )

    def looks_like(self, other: Signature) -> bool:
        """Whether both have one shape and type."""
        return (self.shape, self.dtype) == (other.shape, other.dtype)

    @property
    def channels(self) -> int:
        """How many there are; 0 of a single number."""
        return self.shape[self.channel] if self.shape else 0

    def example(self, samples: int = 2, seed: int = 0) -> Tensor:
        """Random features [samples, *shape]: normal, or zeros of a type of whole numbers."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        if not dtype.is_floating_point:
            return torch.zeros((samples, *self.shape), dtype=dtype)
        return torch.randn((samples, *self.shape), generator=torch.Generator().manual_seed(seed)).to(dtype)

    def __str__(self) -> str:
        """`16x32*x32*`: a star marks sizes that are free."""
        sizes = [f"{size}{'*' * free}" for size, free in zip(self.shape, self.free, strict=True)]
        return "x".join(sizes) + ("" if self.dtype == "float32" else f" {self.dtype}")


@dataclass(frozen=True)
class Origin:
    """Where a detached layer was cut out.

    Attributes:
        network: the run, file or function, as the user named it.
        path: the module there whose work it does.
        position: how many layers were cut out in front of it.
        of: how many layers the network was cut into.
    """

    network: str
    path: str
    position: int
    of: int


@dataclass(frozen=True)
class Statistics:
    """Means and deviations of each channel over probe batches and positions, of what came in and went out."""

    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    output_mean: tuple[float, ...]
    output_std: tuple[float, ...]


@dataclass(frozen=True)
class Entry:
    """A detached layer of a bank.

    Attributes:
        id: of its content, so that equal layers are one entry, see `netmorph.bank.spec.content_id`.
        cost: parameters, and FLOPs of a sample at the signature.
        seen: what it saw at home, where probe batches were given.
        parent: the id of the entry of which this is a copy with other weights.
    """

    id: str
    kind: Kind
    input: Signature
    output: Signature
    origin: Origin
    cost: Cost
    seen: Statistics | None = None
    parent: str | None = None

    @property
    def same_shape(self) -> bool:
        """Whether it keeps the shape of the data."""
        return self.input.looks_like(self.output)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @staticmethod
    def from_json(told: dict[str, Any]) -> Entry:
        """What `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it did not write this.
        """
        seen = told["seen"]
        made = Entry(
            told["id"],
            Kind(told["kind"]),
            _signature(told["input"]),
            _signature(told["output"]),
            Origin(**told["origin"]),
            Cost(**told["cost"]),
            None if seen is None else Statistics(**{name: tuple(values) for name, values in seen.items()}),
            told["parent"],
        )
        check_fields(made)
        return made


def same_shape(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries that keep the data's shape, and the dense ones, which end a chain."""
    return tuple(entry for entry in entries if entry.same_shape or entry.kind is Kind.DENSE)


def _signature(told: dict[str, Any]) -> Signature:
    return Signature(tuple(told["shape"]), told["dtype"], told["channel"], tuple(told["free"]))
