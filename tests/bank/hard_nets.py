"""Networks whose blocks are harder to take out than those of the zoo."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InPlace(nn.Module):
    """A block that begins in place, as in networks with the activation in front (pre-activation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        return x + self.last(self.relu(self.conv(x)))


class Unnamed(nn.Module):
    """Functions in the place of modules, a captured tensor, a weight that is computed, a size of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.weight = nn.Parameter(torch.randn(8, 8) / 3)
        self.register_buffer("offset", torch.randn(8))
        self.mask = torch.ones(8, 8).tril()  # no buffer
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(F.gelu(self.first(x)), 0.3, self.training)
        x = F.linear(x, self.weight * self.mask, self.offset)
        return self.head(torch.cat([x, x.flip(1)], 1).view(len(x), 2, 8).reshape(len(x), -1))


class PostNorm(nn.Module):
    """PyTorch's own encoder layers, with norms behind the sums, between an embedding and a head."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(5, channels)
        layer = nn.TransformerEncoderLayer(channels, 4, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


class TwoInputs(nn.Module):
    """Two tensors enter, and from the sum on one crosses."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 8), nn.Linear(3, 8)
        self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(F.relu(self.body(self.left(left) + self.right(right))))


class Doubling(torch.autograd.Function):
    """Code of its own."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class OwnBackward(nn.Module):
    """A custom function between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(Doubling.apply(self.first(x)))


class Auxiliary(nn.Module):
    """A second head that only training has, and that works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body, self.head, self.second = (nn.Linear(4, n) for n in (4, 4, 2, 2))
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = F.relu(self.first(x))
        beside = F.relu(self.norm(self.second(x)), inplace=True) if self.training else None
        x = self.head(F.relu(self.body(x)))
        return x if beside is None else (x, beside)


class OwnNorm(nn.BatchNorm1d):
    """A subclass, whose work is spelled out in operations."""


class Counting(nn.Module):
    """A norm that counts its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(4, 5), OwnNorm(5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.first(x))))
