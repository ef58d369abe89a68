"""Features of chains, kept by prefix within a memory limit, so that a step of a chain costs one layer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netmorph.chain.errors import MemoryLimit
from netmorph.chain.values import Prefix

BATCH = 256  # samples that go through a layer at once

Step = Callable[[Prefix, Tensor], nn.Module]


@dataclass
class Counts:
    """What a cache did.

    Attributes:
        layers: layers that were run.
        hits: layers that need not be run, because features behind them were there.
        evicted: features that were dropped to keep the limit.
        most: the most bytes that were held at once.
    """

    layers: int = 0
    hits: int = 0
    evicted: int = 0
    most: int = 0


class FeatureCache:
    """The features of a fixed batch of samples behind each prefix; those used longest ago are dropped first.

    The samples themselves are held by the caller, and do not count.

    Attributes:
        counts: so far.
    """

    def __init__(self, samples: Tensor, step: Step, limit: int) -> None:
        """Start with nothing kept.

        Args:
            samples: [N, ...], what the first layer takes.
            step: (prefix, features of all but its last layer) -> the module of its last layer.
            limit: bytes that may be held, those in the making included.
        """
        self._samples, self._step, self._limit = samples, step, limit
        self._kept: OrderedDict[Prefix, Tensor] = OrderedDict()
        self._held = 0
        self.counts = Counts()

    def of(self, prefix: Prefix) -> Tensor:
        """Features [N, ...] behind a prefix. The caller changes nothing in them, and drops them before the next call.

        Raises:
            MemoryLimit: the features of the last two layers do not fit together.
        """
        start = next(length for length in range(len(prefix), -1, -1) if length == 0 or prefix[:length] in self._kept)
        features = self._kept[prefix[:start]] if start else self._samples
        if start:
            self._kept.move_to_end(prefix[:start])
        self.counts.hits += start
        for length in range(start + 1, len(prefix) + 1):
            features = self._made(prefix[:length], features)
        return features

    def make_room(self, size: int, what: str) -> None:
        """Drop what is oldest, until so many bytes more would keep the limit.

        Args:
            what: it is that takes them, for the message.

        Raises:
            MemoryLimit: they do not fit even where nothing is kept.
        """
        if size > self._limit:
            raise MemoryLimit(
                f"{what} takes {size / 2**20:,.1f} MiB, and the limit is {self._limit / 2**20:,.1f} MiB; "
                "give more memory"
            )
        self._drop(size, ())
        self.counts.most = max(self.counts.most, self._held + size)

    @torch.no_grad()
    def _made(self, prefix: Prefix, features: Tensor) -> Tensor:
        module = self._step(prefix, features)
        made: Tensor | None = None
        for start in range(0, len(features), BATCH):
            batch = module(features[start : start + BATCH])
            if made is None:  # the first batch tells the size, and room is made before the rest is computed
                self._make_room(prefix, batch.element_size() * batch[0].numel() * len(features))
                made = batch.new_empty((len(features), *batch.shape[1:]))
            made[start : start + BATCH] = batch
        assert made is not None
        self.counts.layers += 1
        self._kept[prefix] = made
        self._held += made.nbytes
        self.counts.most = max(self.counts.most, self._held)
        return made

    def _make_room(self, prefix: Prefix, size: int) -> None:
        """Drop what is oldest, but for the features that are being read."""
        read = self._kept.get(prefix[:-1])
        needed = size + (0 if read is None else read.nbytes)
        if needed > self._limit:
            raise MemoryLimit(
                f"the features behind layer {len(prefix)} take {needed / 2**20:,.1f} MiB with those that they are made "
                f"from, and the limit is {self._limit / 2**20:,.1f} MiB; give more memory (--memory), or fewer samples "
                "(--samples)"
            )
        self._drop(size, prefix[:-1])

    def _drop(self, size: int, read: Prefix) -> None:
        for old in list(self._kept):
            if self._held + size <= self._limit:
                return
            if old != read:
                self._held -= self._kept.pop(old).nbytes
                self.counts.evicted += 1
