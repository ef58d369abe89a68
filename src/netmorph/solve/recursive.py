"""Heads that take new samples and new classes without the old data, and equal those solved from all of it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from netmorph.solve.linear import Head, penalized, solved
from netmorph.solve.moments import Moments, SolveError, check_pair

STEP = 512  # samples taken in at once; the inverse of such a matrix is small beside one of the features


class Recursive:
    """Recursive least squares: after any samples, the head that `ridge` finds from all of them.

    As in analytic class-incremental learning (Zhuang et al., ACIL, arXiv 2205.14922), the features come from layers
    that stay as they are, and what is kept of earlier samples is the inverse of their penalized second moments. There
    the bias is penalized; here it is free, as in `ridge`: means are kept as well, and the distance of a batch's mean
    counts as one more row.

    A sample takes `d^2` multiply-adds in place of the `d^3 / 3` of a new solution. All is float64; rounding errors grow
    with the number of updates, slowly.

    Attributes:
        penalty: of all solutions, see `ridge`.
        count: samples so far.
    """

    def __init__(self, moments: Moments, penalty: float) -> None:
        """Start from the moments of the first samples.

        Raises:
            SolveError: see `ridge`.
        """
        identity = torch.eye(len(moments.mean), dtype=torch.float64, device=moments.mean.device)
        self._inverse = solved(penalized(moments, penalty), identity, moments, penalty)
        self._weight = self._inverse @ moments.cross
        self._mean, self._target_mean = moments.mean, moments.target_mean
        self.penalty, self.count = penalty, moments.count

    @property
    def head(self) -> Head:
        """The solution for all samples so far."""
        weight = self._weight.T
        return Head(weight.clone(), self._target_mean - weight @ self._mean)

    @torch.no_grad()
    def add(self, features: Tensor, targets: Tensor) -> None:
        """More samples.

        Args:
            features: `[B, d]`.
            targets: `[B, k]`; more columns than before are new classes, which no earlier sample belongs to.

        Raises:
            SolveError: the shapes do not fit, there are fewer targets than before, or numbers are NaN or infinite. The
                head is as it was.
        """
        check_pair(features, targets)
        known = len(self._target_mean)
        if features.shape[1] != len(self._mean) or targets.shape[1] < known:
            raise SolveError(
                f"{len(self._mean)} features and {known} targets or more were expected, got {features.shape[1]} and "
                f"{targets.shape[1]}; one_hot(labels, classes) takes the number of all classes so far"
            )
        if not bool(features.isfinite().all() and targets.isfinite().all()):
            raise SolveError("features or targets are NaN or infinite; nothing was learnt from this batch")
        more = targets.shape[1] - known
        self._weight = functional.pad(self._weight, (0, more))
        self._target_mean = functional.pad(self._target_mean, (0, more))
        for x, y in zip(features.double().split(STEP), targets.double().split(STEP), strict=True):
            self._take_in(x, y)

    def _take_in(self, x: Tensor, y: Tensor) -> None:
        count, total = len(x), self.count + len(x)
        mean, target_mean = x.mean(0), y.mean(0)
        between = (self.count * count / total) ** 0.5
        x_rows = torch.cat([x - mean, between * (mean - self._mean)[None]])
        y_rows = torch.cat([y - target_mean, between * (target_mean - self._target_mean)[None]])
        # Woodbury's identity, then the correction of the weights by what they leave of the new rows.
        seen = x_rows @ self._inverse
        inner = seen @ x_rows.T
        inner.diagonal().add_(1)
        self._inverse -= seen.T @ torch.cholesky_solve(seen, torch.linalg.cholesky(inner))
        self._inverse = (self._inverse + self._inverse.T) / 2  # or else rounding would let the halves drift apart
        self._weight = self._weight + self._inverse @ (x_rows.T @ (y_rows - x_rows @ self._weight))
        self._mean = self._mean + count / total * (mean - self._mean)
        self._target_mean = self._target_mean + count / total * (target_mean - self._target_mean)
        self.count = total
