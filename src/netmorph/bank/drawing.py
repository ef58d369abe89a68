"""Layers that no network has learnt: fresh random ones that keep the shape of the data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from netmorph.bank.entry import Signature
from netmorph.bank.errors import BankError
from netmorph.edit.blocks import CONVOLUTIONS, Residual, layers

KERNELS = (1, 3, 5)

Draw = Callable[[Signature, torch.Generator], nn.Module]


def random_layer(signature: Signature, generator: torch.Generator) -> nn.Module:
    """A layer for such features, with its activation, or two of them beside an identity; which one is drawn.

    Weights are normal with the deviation that keeps the scale behind a ReLU, sqrt(2 / inputs), biases zero (K. He et
    al., Delving deep into rectifiers, 2015); half as much in front of the sum with the identity.

    Args:
        signature: of images, sequences (channels first or last) or vectors, float32.

    Raises:
        BankError: of another type.
    """
    if signature.dtype != "float32" or not signature.shape:
        raise BankError(f"random layers take features in float32, got {signature}")
    channels = signature.channels
    spatial = len(signature.shape) - 1 if signature.channel == 0 else 0
    kernel = KERNELS[int(torch.randint(len(KERNELS), (), generator=generator))]
    block = bool(torch.randint(2, (), generator=generator))

    def layer() -> nn.Module:
        if spatial == 0:
            return nn.Linear(channels, channels)
        return CONVOLUTIONS[spatial](channels, channels, kernel, padding=kernel // 2)

    with torch.random.fork_rng(devices=[]):
        made: nn.Module = Residual(layer(), nn.ReLU(), layer()) if block else nn.Sequential(layer(), nn.ReLU())
    for one in layers(made):
        nn.init.kaiming_normal_(one.weight, nonlinearity="relu", generator=generator)
        if one.bias is not None:
            nn.init.zeros_(one.bias)
    if block:
        with torch.no_grad():
            layers(made)[-1].weight.mul_(0.5)
    return made
