"""How n old channels become m new ones: one small algebra for growing and shrinking.

A `ChannelMap` says for each new channel which old one it copies, or which fresh channels are equal (twins), and how
whoever sums over the channels reads it: with its share of the old weight, or with a fresh one and a sign. Whether the
network still computes the same function follows from these numbers alone: the shares of an old channel's copies must
add to one, and the signs of equal channels that are read with the same fresh weights to zero.

The builders are pure functions `(n, m, generator) -> ChannelMap`; `WIDENINGS` lists those that add channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from netmorph.errors import EditError
from netmorph.graph import Allow

__all__ = [
    "WIDENINGS",
    "ChannelMap",
    "Widening",
    "WidthError",
    "approximate",
    "copied_pairs",
    "keep",
    "lemon",
    "net2net",
    "r2r",
    "random_pad",
    "rms_pad",
    "unequal_split",
    "zero",
]

FRESH = -1


class WidthError(EditError):
    """A number of channels, or a choice of channels, that cannot be."""


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """From `n` old channels to `m` new ones.

    Attributes:
        n: the old width.
        source: LongTensor `[m]`: the old channel that each new one copies, or `FRESH`.
        share: float64 `[m]`: what a reader multiplies the copied weight by. Where it reads with fresh weights: what it
            multiplies those of the channel's twin class by (1 and -1 cancel, 0 leaves the channel unread).
        twin: LongTensor `[m]`: channels with the same number are equal, and read with the same fresh weights; -1 for
            channels that are read with the weights of the one that they copy. A fresh channel has a number, and a copy
            may have one.
        fitted: where norms or attention look at the channels as a whole, what the fresh ones hold, and where they are
            read, is worked out from that (see `netmorph.edit.fit`), not told by the numbers here.
    """

    n: int
    source: Tensor
    share: Tensor
    twin: Tensor
    fitted: bool = False

    @property
    def m(self) -> int:
        """The new width."""
        return len(self.source)

    @cached_property
    def classes(self) -> int:
        """How many different fresh channels there are, or copies that are read with fresh weights."""
        return int(self.twin.max()) + 1 if self.m else 0

    @property
    def is_fresh(self) -> Tensor:
        """BoolTensor `[m]`."""
        return self.source == FRESH

    @property
    def is_read_fresh(self) -> Tensor:
        """BoolTensor `[m]`: readers have weights of its own for it."""
        return self.twin >= 0

    @property
    def is_new(self) -> Tensor:
        """BoolTensor `[m]`: fresh, or a copy of a channel behind its first one."""
        return self.is_fresh | (self.source[:, None] == self.source).tril(-1).any(1)

    @cached_property
    def rows(self) -> Tensor:
        """LongTensor `[m]`: what writes each new channel: one of the `n` old rows, or behind them a fresh class."""
        return torch.where(self.is_fresh, self.n + self.twin, self.source)

    @cached_property
    def columns(self) -> Tensor:
        """LongTensor `[m]`: what reads each new channel, counted likewise."""
        return torch.where(self.is_read_fresh, self.n + self.twin, self.source)

    @property
    def consume(self) -> Tensor:
        """float64 `[n, m]`: a reader's weight becomes `W @ consume`, plus the columns of fresh channels."""
        matrix = torch.zeros(self.n, self.m, dtype=torch.float64)
        copies = ~self.is_read_fresh
        matrix[self.source[copies], copies.nonzero().flatten()] = self.share[copies]
        return matrix

    @property
    def totals(self) -> Tensor:
        """float64 `[n]`: the sum of the shares of each old channel's copies."""
        copies = ~self.is_read_fresh
        return torch.zeros(self.n, dtype=torch.float64).index_add(0, self.source[copies], self.share[copies])

    @property
    def keeps_function(self) -> bool:
        """Readers see the same sums: the shares of an old channel's copies add to one, those of equal twins to zero."""
        fresh = self.is_read_fresh
        signs = torch.zeros(self.classes, dtype=torch.float64).index_add(0, self.twin[fresh], self.share[fresh])
        kinds = set(zip(self.twin[fresh].tolist(), self.source[fresh].tolist(), strict=True))
        are_equal = len(kinds) == len({twin for twin, _ in kinds})
        return are_equal and bool(((self.totals - 1).abs() < 1e-12).all() and (signs.abs() < 1e-12).all())

    @property
    def keeps_old(self) -> bool:
        """The old network is still inside: its channels come first, and nothing else is read with its weights."""
        is_old = torch.arange(self.m) < self.n
        return (
            self.m >= self.n
            and torch.equal(self.source[: self.n], torch.arange(self.n))
            and torch.equal(self.is_read_fresh, ~is_old)
            and bool((self.share[: self.n] == 1).all())
        )

    @property
    def is_uniform(self) -> bool:
        """Nothing is fresh, and every old channel is copied equally often."""
        counts = torch.bincount(self.source[~self.is_fresh], minlength=self.n)
        return not bool(self.is_fresh.any()) and bool((counts == counts[0]).all())

    def is_exact(self, allow: Allow) -> bool:
        """Whether the network computes the same function, given what passes between writers and readers."""
        return self.keeps_function and allow >= (Allow.UNIFORM if self.is_uniform else Allow.ANY)


Widening = Callable[[int, int, torch.Generator], ChannelMap]


def net2net(n: int, m: int, generator: torch.Generator) -> ChannelMap:
    """Copies of old channels, read with equal shares (Net2Net, arXiv 1511.05641).

    The copied channels are drawn in rounds without replacement, so that widening to a multiple copies each equally
    often. Equal copies stay equal in training unless something else (noise, dropout) tells them apart.
    """
    source = _copies(n, m, generator)
    return _map(n, source, share=1.0 / torch.bincount(source, minlength=n).double()[source])


def unequal_split(n: int, m: int, generator: torch.Generator) -> ChannelMap:
    """Copies read with unequal positive shares, so that they separate in training with no noise (LEMON)."""
    source = _copies(n, m, generator)
    weight = 0.5 + torch.rand(m, generator=generator, dtype=torch.float64)
    total = torch.zeros(n, dtype=torch.float64).index_add(0, source, weight)
    return _map(n, source, share=weight / total[source])


def r2r(n: int, m: int, generator: torch.Generator) -> ChannelMap:
    """Fresh channels in equal pairs, read with opposite signs (R2R, arXiv 2410.11038).

    Of an odd number of new channels, the last is read with zero.
    """
    return _pairs(n, torch.full((m - n,), FRESH))


def copied_pairs(n: int, m: int, generator: torch.Generator) -> ChannelMap:
    """Copies of old channels in pairs, read with fresh weights of opposite sign: Net2Net's rows, R2R's columns.

    A reader `V` becomes `[V, Z, -Z]`, and the pair behind `Z` and `-Z` computes what the old channel `g` does: as for
    `net2net`, what is new begins with features that were learnt, and as for `r2r`, old weights stay as they are and
    twins separate at the first step. The pairs copy different channels as long as there are any; at three
    times the width (or five) each has as many copies as the others, which norms over the channels do not notice either.
    Of an odd number of new channels, the last is read with zero.
    """
    half = (m - n) // 2
    copied = _rounds(n, m - n - half, generator)
    return _pairs(n, torch.cat([copied[:half], copied]))


def zero(n: int, m: int, generator: torch.Generator) -> ChannelMap:
    """Fresh channels that nobody reads yet: readers start at zero and learn."""
    return _fresh(n, m, share=0.0)


def lemon(n: int, m: int, generator: torch.Generator) -> ChannelMap:
    """Fresh channels that norms do not notice: means of the others, or zeros (LEMON, arXiv 2310.07999).

    Under a layer norm each carries the mean of the group's channels, under an RMS norm zero; the norm's gain and
    epsilon make up for the change of its variance. Where queries meet keys, the queries' are zero. Behind a norm the
    fresh channels are zero and may be read with any weights, so that they learn from the first step on.
    """
    return replace(_fresh(n, m, share=0.0), fitted=True)


def approximate(n: int, m: int, generator: torch.Generator) -> ChannelMap:
    """The same where it is not exact: as near as `lemon` comes. Nothing is claimed, and the error is measured."""
    return replace(_fresh(n, m, share=1.0), fitted=True)


def random_pad(n: int, m: int, generator: torch.Generator) -> ChannelMap:
    """Fresh channels read with random weights. Not exact: the baseline beside every exact edit."""
    return _fresh(n, m, share=1.0)


def rms_pad(n: int, m: int, generator: torch.Generator) -> ChannelMap:
    """The same, and readers multiply all that they read by `sqrt(n / m)`, so that their sums keep their variance.

    With channels of one size that do not depend on each other, a sum over `m` of them has `m / n` times the variance of
    one over `n`. Keeping the RMS of activations is what SPARKLING (arXiv 2602.02472) and variance transfer (arXiv
    2306.12700) ask of a widening, as muP does of an initialization; it costs the function that was learnt.
    """
    return _fresh(n, m, share=(n / m) ** 0.5, old=(n / m) ** 0.5)


def keep(n: int, kept: Sequence[int]) -> ChannelMap:
    """Only the kept channels, in the given order.

    Raises:
        WidthError: nothing is kept, something is no index, out of range, or given twice.
    """
    if isinstance(kept, int) or not isinstance(kept, Iterable):
        raise WidthError(f"kept channels are given by their indices, as range({n // 2 or 1}), got {kept!r}")
    given = torch.as_tensor(kept).flatten()
    if len(given) < 1:
        raise WidthError("a network needs at least 1 channel everywhere; keep at least one index")
    if given.is_floating_point() or given.dtype is torch.bool:
        raise WidthError(
            f"kept channels are given by their indices, not by {given.dtype}; of a mask, use its nonzero()"
        )
    source = given.long()
    if source.min() < 0 or source.max() >= n:
        raise WidthError(f"kept channels must be between 0 and {n - 1}, got {source.min()} to {source.max()}")
    if len(set(source.tolist())) < len(source):
        raise WidthError("a channel is kept twice; give each index once")
    return _map(n, source, share=torch.ones(len(source)))


WIDENINGS: dict[str, Widening] = {
    "r2r": r2r,
    "net2net": net2net,
    "unequal_split": unequal_split,
    "zero": zero,
    "lemon": lemon,
    "approximate": approximate,
    "random_pad": random_pad,
    "copied_pairs": copied_pairs,
    "rms_pad": rms_pad,
}


def _map(n: int, source: Tensor, share: Tensor, twin: Tensor | None = None) -> ChannelMap:
    twin = torch.full_like(source, -1) if twin is None else twin
    return ChannelMap(n, source, share.to(torch.float64), twin)


def _copies(n: int, m: int, generator: torch.Generator) -> Tensor:
    return torch.cat([torch.arange(n), _rounds(n, m - n, generator)])


def _rounds(n: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` old channels, drawn in rounds without replacement."""
    rounds = [torch.randperm(n, generator=generator) for _ in range((count + n - 1) // n)]
    return torch.cat([torch.arange(0), *rounds])[:count]


def _pairs(n: int, source: Tensor) -> ChannelMap:
    """Channels behind the old ones: half of `source` is read with `Z`, the next half with `-Z`, an odd one with 0."""
    half, odd = len(source) // 2, len(source) % 2
    signs = torch.ones(half)
    return _map(
        n,
        torch.cat([torch.arange(n), source]),
        share=torch.cat([torch.ones(n), signs, -signs, torch.zeros(odd)]),
        twin=torch.cat([torch.full((n,), -1), torch.arange(half).repeat(2), torch.full((odd,), half)]),
    )


def _fresh(n: int, m: int, share: float, old: float = 1.0) -> ChannelMap:
    return _map(
        n,
        torch.cat([torch.arange(n), torch.full((m - n,), FRESH)]),
        share=torch.cat([torch.full((n,), old, dtype=torch.float64), torch.full((m - n,), share, dtype=torch.float64)]),
        twin=torch.cat([torch.full((n,), -1), torch.arange(m - n)]),
    )
