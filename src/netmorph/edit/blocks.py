"""Layers that an edit can insert: plain PyTorch modules, built from JSON so that a journal can build them again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError

# Activations s with s(s(x)) = s(x): behind one of them, an identity layer with the same activation is exact.
IDEMPOTENT: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6}
Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}


class Residual(nn.Module):
    """`x + body(x)`."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that the body keeps."""
        branch: Tensor = self.body(x)
        return x + branch


@dataclass(frozen=True)
class Spec:
    """What to build: `kind` names a function of `BLOCKS`.

    Attributes:
        channels: the width of the features the block stands in.
        hidden: the width inside a residual block.
        spatial: how many dimensions a convolution runs over; 0 for linear layers over the last dimension.
        kernel: the odd kernel size of the convolutions.
        activation: a name of `IDEMPOTENT`, or none.
    """

    kind: str
    channels: int = 0
    hidden: int = 0
    spatial: int = 0
    kernel: int = 3
    activation: str | None = None

    def build(self) -> nn.Module:
        """The block, with weights that are not set yet to anything in particular.

        Raises:
            NetmorphError: the kind is unknown (a journal of a newer version?).
        """
        if self.kind not in BLOCKS:
            raise NetmorphError(f"unknown kind of block {self.kind!r}, expected one of {', '.join(BLOCKS)}")
        with torch.random.fork_rng(devices=[]):  # PyTorch draws first weights, which nobody will see
            return BLOCKS[self.kind](self)

    def as_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def _layer(spec: Spec, inputs: int, outputs: int) -> Layer:
    if spec.spatial == 0:
        return nn.Linear(inputs, outputs)
    return CONVOLUTIONS[spec.spatial](inputs, outputs, spec.kernel, padding=spec.kernel // 2)


def _residual(spec: Spec) -> nn.Module:
    first, last = _layer(spec, spec.channels, spec.hidden), _layer(spec, spec.hidden, spec.channels)
    # The branch ends linear: behind a ReLU on exact zeros no gradient would ever pass.
    return Residual(nn.Sequential(first, nn.ReLU(), last))


def _identity(spec: Spec) -> nn.Module:
    layer = _layer(spec, spec.channels, spec.channels)
    return nn.Sequential(layer, IDEMPOTENT[spec.activation]()) if spec.activation else nn.Sequential(layer)


BLOCKS: dict[str, Callable[[Spec], nn.Module]] = {
    "residual": _residual,
    "identity": _identity,
    "nothing": lambda spec: nn.Identity(),
}


def _layers(block: nn.Module) -> list[Layer]:
    return [module for module in block.modules() if isinstance(module, Layer)]


def _bias(layer: Layer) -> Tensor:
    if layer.bias is None:
        raise ValueError("the layers of an inserted block have biases")
    return layer.bias


@torch.no_grad()
def start_r2r(block: nn.Module, generator: torch.Generator) -> None:
    """Weights of a residual block whose branch is zero: equal halves, read with opposite signs (R2R deepen)."""
    first, last = _layers(block)
    half = first.weight.shape[0] // 2
    for layer in (first, last):
        bound = layer.weight[0].numel() ** -0.5
        noise = torch.rand(layer.weight.shape, generator=generator, dtype=torch.float64)
        layer.weight.copy_((2 * noise - 1) * bound)
        # Without biases the branch is as small as its input, so what rounding leaves of it is too.
        _bias(layer).zero_()
    first.weight[half:] = first.weight[:half]
    last.weight[:, half:] = -last.weight[:, :half]


@torch.no_grad()
def start_identity(block: nn.Module, generator: torch.Generator) -> None:
    """Weights of a layer that passes its input on: ones at the kernels' centres (Net2Net deepen)."""
    (layer,) = _layers(block)
    layer.weight.zero_()
    _bias(layer).zero_()
    centre = layer.weight
    while centre.dim() > 2:
        centre = centre.select(2, centre.shape[2] // 2)
    centre.fill_diagonal_(1.0)
