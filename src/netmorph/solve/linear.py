"""Ridge regression in closed form: a linear layer from the moments of what it reads and what it has to answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netmorph.solve.moments import Moments, SolveError

# The smallest pivot, relative to the largest, that is more than rounding, for each feature.
ROUNDING = torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class Head:
    """A linear map of features.

    Attributes:
        weight: float64 `[k, d]`.
        bias: float64 `[k]`.
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Answers `[B, k]` to features `[B, d]`, in their type."""
        return features @ self.weight.T.to(features) + self.bias.to(features)


def ridge(moments: Moments, penalty: float) -> Head:
    """The head that makes `sum |y - W x - b|^2 + penalty |W|^2` smallest; the bias costs nothing.

    One Cholesky factorization of `[d, d]` in float64: `d^3 / 3` multiply-adds.

    Args:
        penalty: in the units of the features' sums of squares; `1e-3 * moments.scale` is a penalty relative to them.

    Raises:
        SolveError: there are too few samples, numbers are NaN or infinite, or the moments are singular and the penalty
            too small to tell features apart.
    """
    weight = solved(penalized(moments, penalty), moments.cross, moments, penalty).T
    return Head(weight, moments.target_mean - weight @ moments.mean)


def as_linear(head: Head, dtype: torch.dtype = torch.float32) -> nn.Linear:
    """The head as a layer, whose weights can be trained on."""
    layer = nn.Linear(head.weight.shape[1], head.weight.shape[0], dtype=dtype, device=head.weight.device)
    with torch.no_grad():
        layer.weight.copy_(head.weight)
        layer.bias.copy_(head.bias)
    return layer


def squared_error(moments: Moments, head: Head) -> float:
    """The mean over the samples of `|y - W x - b|^2`, from their moments alone: any head, any samples."""
    weight = head.weight
    off = moments.target_mean - weight @ moments.mean - head.bias
    left = moments.squares.sum() - 2 * (weight.T * moments.cross).sum() + ((weight @ moments.gram) * weight).sum()
    return max(0.0, float(left / moments.count + off.square().sum()))


def penalized(moments: Moments, penalty: float) -> Tensor:
    """`gram + penalty`, float64 `[d, d]`.

    Raises:
        SolveError: see `ridge`.
    """
    check_solvable(moments)
    if not penalty >= 0:
        raise SolveError(f"a penalty is a number from 0, got {penalty}")
    gram = moments.gram.clone()
    gram.diagonal().add_(penalty)
    return gram


def solved(gram: Tensor, right: Tensor, moments: Moments, penalty: float) -> Tensor:
    """`gram^-1 right`, of what `penalized` gave.

    Raises:
        SolveError: it is singular.
    """
    factor, failed = torch.linalg.cholesky_ex(gram)
    pivots = factor.diagonal().square()
    if bool(failed) or float(pivots.min()) <= len(gram) * ROUNDING * float(pivots.max()):
        enough = max(10 * penalty, 1e-9 * moments.scale)  # sums of float32 features are rounded more than others
        raise SolveError(
            f"the {len(gram)} features follow from one another on these {moments.count} samples, and the penalty "
            f"{penalty:g} is too small to choose between them; take {enough:.3g} ({enough / moments.scale:.0e} * "
            "moments.scale) or more, or leave the choice to choose_penalty"
        )
    return torch.cholesky_solve(right, factor)


def check_solvable(moments: Moments) -> None:
    """Refuse moments that determine nothing.

    Raises:
        SolveError: the message says why.
    """
    if moments.count < 2:
        raise SolveError(f"a head is solved from 2 samples or more; these moments are of {moments.count}")
    if not bool(moments.gram.isfinite().all() and moments.cross.isfinite().all()):
        raise SolveError("features or targets are NaN or infinite on some samples; nothing can be solved from them")
    if not moments.scale > 0:
        raise SolveError(f"the features are the same for all {moments.count} samples and tell nothing; give others")
