"""What the files of the contract suite share beside `netmorph.testing`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

# Of the zoo, it has the blocks of `inception_resnet_small`: what differs is looked at in zoo/test_inception.py.
SAME_BLOCKS = {"inception_resnet_v2"}
MANY_LAYERS = {"inception_resnet_small"}  # too slow for every day
EXACT = {torch.float64: 1e-12, torch.float32: 1e-5}


def each(names: Iterable[str]) -> list[Any]:
    """The networks as parameters of a test; those of many layers are for the slow ones."""
    return [pytest.param(name, marks=pytest.mark.slow if name in MANY_LAYERS else ()) for name in names]


@torch.no_grad()
def outputs(model: nn.Module, *inputs: object) -> list[Tensor]:
    """The tensors of `model(*inputs)` in eval mode."""
    mode = model.training
    model.eval()
    result = [leaf for leaf in tree_leaves(model(*inputs)) if isinstance(leaf, Tensor)]
    model.train(mode)
    return result


def relative(before: list[Tensor], after: list[Tensor]) -> float:
    """The largest difference, relative to the largest value; NaN where anything is NaN."""
    gaps = [(a - b).abs().max() / a.abs().max().clamp_min(1e-30) for a, b in zip(before, after, strict=True)]
    return float(torch.stack(gaps).double().sum())


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, ...]]
) -> dict[str, Tensor]:
    """Train on batches of inputs towards random targets.

    Returns:
        For each parameter, which entries ever had a gradient that is not just rounding.
    """
    generator = torch.Generator().manual_seed(0)
    reached: dict[str, Tensor] = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    for batch in batches:
        optimizer.zero_grad()
        results = [leaf for leaf in tree_leaves(model(*batch)) if isinstance(leaf, Tensor)]
        loss = sum((r - torch.randn(r.shape, generator=generator).to(r)).pow(2).sum() for r in results)
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        largest = max(float(g.abs().max()) for g in gradients.values())
        for name, gradient in gradients.items():
            reached[name] |= gradient.abs() > 1e-9 * largest
        optimizer.step()
    return reached
