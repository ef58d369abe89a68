"""Least squares for the weights of one layer: sums over positions, and the change of the weights that serves best."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

aten = torch.ops.aten

# Operators `(input, weight, bias, ...)` with a weight `[out, in, *kernel]`.
CONVOLUTIONS = {
    getattr(getattr(aten, f"conv{rank}d"), overload) for rank in (1, 2, 3) for overload in ("default", "padding")
}
LAYERS = CONVOLUTIONS | {aten.linear.default}
# A share of the positions, those of the last samples, is not fitted to but tells whether a fit serves.
HELD_OUT = 0.2
# How much a change of the weights costs, relative to the variance of the inputs; the one that serves best is taken.
RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
# An error below this share of the outputs' squares is rounding.
ROUNDING = 1e-10
CHUNK = 2**22  # so many numbers of a layer's inputs are laid out at once


@dataclass(eq=False)
class Moments:
    """Sums over positions, for each of `g` groups of a layer: of its inputs `x`, `c` a group, and what it leaves, `r`.

    Attributes:
        shift: float64 `[g, c]`: is taken from the inputs, or else rounding would eat small variances.
        free: whether there is a place for a constant: then a column of ones is among the inputs, as their last.
        inner: float64 `[g, c, c]`: of `x x^T`.
        cross: float64 `[g, c, r]`: of `x r^T`.
        left: of `r^2`.
        count: of positions.
    """

    shift: Tensor
    free: bool
    inner: Tensor
    cross: Tensor
    left: float = 0.0
    count: int = 0

    def add(self, x: Tensor, left: Tensor) -> None:
        """More positions: `[p, g, c]` and `[p, g, r]`, both float64."""
        x = x - self.shift
        if self.free:
            x = torch.cat([x, x.new_ones(*x.shape[:2], 1)], dim=-1)
        x, left = x.transpose(0, 1), left.transpose(0, 1)
        self.inner += x.transpose(1, 2) @ x
        self.cross += x.transpose(1, 2) @ left
        self.left += float(left.square().sum())
        self.count += x.shape[1]

    def error(self, change: Tensor) -> float:
        """The squares that are left with a change of the weights, `[g, c, r]`."""
        return self.left + float((change * (self.inner @ change - 2 * self.cross)).sum())


def moments_of(
    func: torch._ops.OpOverload, args: Any, left: Tensor, positions: Tensor, free: bool
) -> tuple[Moments, Moments]:
    """Of the positions to fit to, and of those held out.

    Args:
        func: one of `LAYERS`.
        args: what it was called with.
        left: float64 `[p, out]`: what its outputs leave.
        positions: LongTensor `[p]`, ascending: in the outputs without their channels, flattened.
        free: whether there is a place for a constant.
    """
    groups = args[6] if len(args) > 6 else 1
    held_from = len(positions) - int(HELD_OUT * len(positions))
    both: list[Moments] = []
    for begin, rows in _inputs(func, args, positions):
        x = rows.double().unflatten(1, (groups, -1))
        r = left[begin : begin + len(x)].unflatten(1, (groups, -1))
        if not both:
            shift = x.mean(0) if free else torch.zeros_like(x[0])
            columns = x.shape[2] + free
            for _ in range(2):
                inner, cross = x.new_zeros(groups, columns, columns), x.new_zeros(groups, columns, r.shape[2])
                both.append(Moments(shift, free, inner, cross))
        cut = max(0, held_from - begin)
        for moments, part in zip(both, (slice(0, cut), slice(cut, None)), strict=True):
            moments.add(x[part], r[part])
    return both[0], both[1]


def _inputs(func: torch._ops.OpOverload, args: Any, positions: Tensor) -> Iterator[tuple[int, Tensor]]:
    """What a layer's weights are multiplied with at some positions, `[p, in * kernel]`, part by part.

    Yields:
        The number of the first of these positions among all, and the rows.
    """
    x, weight = args[:2]
    if func not in CONVOLUTIONS:
        rows = x.flatten(0, -2)
        step = max(1, CHUNK // rows.shape[1])
        for begin in range(0, len(positions), step):
            yield begin, rows[positions[begin : begin + step]]
        return
    channels, kernel, space = x.shape[1], tuple(weight.shape[2:]), tuple(x.shape[2:])
    taps = math.prod(kernel)
    # The layer's own operator says which places each tap of the kernel meets: it is given their numbers, from 1.
    numbers = torch.arange(1, math.prod(space) + 1, dtype=torch.float64, device=x.device).reshape(1, 1, *space)
    picks = torch.eye(taps, dtype=torch.float64, device=x.device).reshape(taps, 1, *kernel)
    met = func(numbers, picks, None, *args[3:6]).flatten(2)[0].T.round().long()  # [places of the output, taps]
    flat = functional.pad(x.flatten(2), (1, 0))  # number 0 is the padding
    samples, places = positions // len(met), positions % len(met)
    step = max(1, CHUNK // (channels * taps))
    for begin in range(0, len(positions), step):
        of = slice(begin, begin + step)
        yield begin, flat[samples[of, None], :, met[places[of]]].transpose(1, 2).flatten(1)


def best_change(fitted: Moments, held: Moments) -> tuple[Tensor | None, float, float]:
    """The change of the weights that serves best on what was held out; None where none does better than no change.

    Returns:
        float64 `[g, c, r]`, and the squares that were held out: without a change, and with it.
    """
    best, before = None, held.left
    after = before
    penalty = fitted.inner.diagonal(dim1=1, dim2=2).clone()
    if fitted.free:
        penalty[:, -1] = 0
    mean = penalty.mean(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    for ridge in RIDGES:
        added = (ridge * mean).expand_as(penalty).clone()
        if fitted.free:
            added[:, -1] = ROUNDING * fitted.count
        factor, failed = torch.linalg.cholesky_ex(fitted.inner + added.diag_embed())
        if bool(failed.any()):
            continue
        change = torch.cholesky_solve(fitted.cross, factor)
        error = held.error(change)
        if error < after:
            best, after = change, error
    return best, before, max(after, 0.0)
