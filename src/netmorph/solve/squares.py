"""Products of features, which a linear head cannot form: squares of what tells one class from another."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.seeds import generator_of
from netmorph.solve.moments import SolveError

TRIES = 8  # pairs that are drawn for each that has to differ in its class


class WithSquares(nn.Module):
    """`[B, d]` -> `[B, d + units]`: features about their means, and squares of linear functions of them."""

    mean: Tensor
    differences: Tensor

    def __init__(self, mean: Tensor, differences: Tensor, share: float) -> None:
        """From the features' mean `[d]`, the linear functions `[units, d]`, and a factor of the features themselves."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("differences", differences)
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return both, side by side."""
        x = x - self.mean
        return torch.cat([self.share * x, functional.linear(x, self.differences).square()], dim=1)


@torch.no_grad()
def class_squares(features: Tensor, labels: Tensor, units: int, *, share: float = 1.0, seed: int = 0) -> WithSquares:
    """Features, beside squares of random directions that lead from a sample of one class to one of another.

    Directions drawn so (constrained weights; McDonnell et al., arXiv 1412.8307) tell classes apart, which those of a
    normal distribution seldom do; squares are the activation of arXiv 1503.04596. A linear head on them is a quadratic
    function of the features.

    Args:
        features: floating `[N, d]`, of some samples.
        labels: int64 `[N]`.
        units: squares.
        share: how much the features themselves count beside the squares, as both pay the same penalty; in units of
            their mean standard deviation.
        seed: draws pairs of samples.

    Returns:
        A module `[B, d]` -> `[B, d + units]`.

    Raises:
        SolveError: the shapes do not fit, there is one class only, or all samples are alike.
    """
    if features.dim() != 2 or labels.shape != features.shape[:1] or units < 1:
        raise SolveError(
            f"features [N, d], labels [N] and 1 unit or more were expected, got {list(features.shape)}, "
            f"{list(labels.shape)} and {units}"
        )
    one, other = torch.randint(len(features), (2, TRIES * units), generator=generator_of(seed))
    apart = (labels[one] != labels[other]).nonzero()[:units, 0]
    mean, spread = features.mean(0), features.std(0, correction=0).mean()
    if len(apart) < units or not float(spread) > 0:
        raise SolveError(
            f"among {TRIES * units} pairs drawn from {len(features)} samples, {len(apart)} are of two classes, and "
            f"features have a mean standard deviation of {float(spread):.3g}; give samples of all classes"
        )
    differences = functional.normalize(features[one[apart]] - features[other[apart]])
    seen = functional.linear(features - mean, differences)
    return WithSquares(mean, differences / seen.std(), share / float(spread))
