"""Blocks whose forward does arithmetic with sizes: attention, gates, shuffles and pieces of channels.

Each takes feature maps `[N, C, *space]` and gives back the same shape. The ways to write a size are those that people
use: an attribute, a quotient of the tensor's own size, a comparison, a literal, or -1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sizes = Callable[[nn.Module, Tensor], tuple[int, int]]

# How a forward learns the number of heads and their width.
HEADS: dict[str, Sizes] = {
    "held": lambda block, x: (block.heads, block.width),
    "quotient": lambda block, x: (block.heads, x.shape[-1] // 3 // block.heads),
    "width alone": lambda block, x: (-1, block.width),
    "heads alone": lambda block, x: (block.heads, -1),
    "in a tuple": lambda block, x: (block.sizes[0], block.sizes[1]),
}


class Attention(nn.Module):
    """Attention between positions, with a residual: all of q, k and v from one layer."""

    def __init__(self, channels: int, heads: int, width: int, how: str, fused: bool) -> None:
        super().__init__()
        self.heads, self.width, self.sizes, self.how, self.fused = heads, width, [heads, width], how, fused
        self.scale = width**-0.5
        self.qkv, self.out = nn.Linear(channels, 3 * heads * width), nn.Linear(heads * width, channels)
        self.bias = nn.Parameter(torch.randn(heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        made = self.qkv(tokens)
        heads, width = HEADS[self.how](self, made)
        made = made.view(x.shape[0], tokens.shape[1], 3, heads, width).permute(2, 0, 3, 1, 4)
        q, k, v = made.unbind(0)
        if self.fused:
            seen = F.scaled_dot_product_attention(q, k, v)
        else:
            seen = ((q * self.scale) @ k.transpose(-2, -1) + self.bias).softmax(-1) @ v
        seen = self.out(seen.transpose(1, 2).flatten(2))
        return x + seen.transpose(1, 2).reshape(x.shape)


class Gated(nn.Module):
    """Half of the channels gate the others, cut by `chunk`, `split` or slices."""

    def __init__(self, channels: int, hidden: int, how: str, norm: bool) -> None:
        super().__init__()
        self.hidden, self.how = hidden, how
        self.into, self.out = nn.Linear(channels, 2 * hidden), nn.Linear(hidden, channels)
        self.norm = nn.LayerNorm(hidden) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1)
        value, gate = CUTS[self.how](self.into(x), self)
        return (x + self.out(self.norm(value) * gate.sigmoid())).movedim(-1, 1)


CUTS: dict[str, Callable[[Tensor, Gated], tuple[Tensor, Tensor]]] = {
    "chunk": lambda x, block: tuple(x.chunk(2, -1)),
    "split": lambda x, block: tuple(x.split([block.hidden, block.hidden], -1)),
    "split in equal parts": lambda x, block: tuple(x.split(x.shape[-1] // 2, dim=-1)),
    "slices": lambda x, block: (x[..., : block.hidden], x[..., block.hidden :]),
    "halves": lambda x, block: (x[..., : x.size(-1) // 2], x[..., x.size(-1) // 2 :]),
    "unflatten": lambda x, block: tuple(x.unflatten(-1, (2, -1)).unbind(-2)),
}


class Shuffled(nn.Module):
    """Channels in another order between two convolutions, as ShuffleNet has it."""

    def __init__(self, before: nn.Module, after: nn.Module, groups: int, literal: bool) -> None:
        super().__init__()
        self.before, self.after, self.groups, self.literal = before, after, groups, literal

    def forward(self, x: Tensor) -> Tensor:
        made = self.before(x)
        n, channels, *space = made.shape
        groups = 2 if self.literal else self.groups
        made = made.view(n, groups, channels // groups, *space).transpose(1, 2).reshape(n, channels, *space)
        return x + self.after(made)


class Partial(nn.Module):
    """Only the first channels are convolved, the rest passes by."""

    def __init__(self, convolution: nn.Module, first: int, channels: int) -> None:
        super().__init__()
        self.convolution, self.first, self.rest = convolution, first, channels - first

    def forward(self, x: Tensor) -> Tensor:
        first, rest = torch.split(x, [self.first, self.rest], dim=1)
        return torch.cat([self.convolution(first), rest], 1)


class Checked(nn.Module):
    """A layer that asks whether its input has the width it was made for."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.layer = channels, nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1)
        if x.shape[-1] != self.channels:
            raise ValueError(f"expected {self.channels} channels, got {x.shape[-1]}")
        return (self.layer(x) * x.new_ones(self.channels)).movedim(-1, 1)


class Padded(nn.Module):
    """More channels, by a residual whose shortcut is the input among zeros."""

    def __init__(self, convolution: nn.Module, before: int, behind: int, how: str) -> None:
        super().__init__()
        self.convolution, self.before, self.behind, self.how = convolution, before, behind, how

    def forward(self, x: Tensor) -> Tensor:
        return PADS[self.how](x, self.convolution(x), self)


def padded(x: Tensor, before: int, behind: int) -> Tensor:
    return F.pad(x, [0, 0] * (x.dim() - 2) + [before, behind])


def joined(x: Tensor, y: Tensor, block: Padded) -> Tensor:
    zeros = [x.new_zeros(x.size(0), count, *x.shape[2:]) for count in (block.before, block.behind)]
    return y + torch.cat([zeros[0], x, zeros[1]], 1)


def halves(x: Tensor, y: Tensor, block: Padded) -> Tensor:
    more = y.size(1) - x.size(1)
    return y + padded(x, more // 2, more - more // 2)


def written(x: Tensor, y: Tensor, block: Padded) -> Tensor:
    zeros = torch.zeros_like(y)
    zeros[:, block.before : block.before + x.size(1)] = x
    return y + zeros


PADS: dict[str, Callable[[Tensor, Tensor, Padded], Tensor]] = {
    "held": lambda x, y, block: y + padded(x, block.before, block.behind),
    "a difference": lambda x, y, block: y + padded(x, 0, y.size(1) - x.size(1)),
    "halves": halves,
    "joined": joined,
    "written": written,
    "a literal": lambda x, y, block: y + padded(x, int(y.shape[1]) - int(x.shape[1]), 0),
}


class Shifted(nn.Module):
    """Some parts of the channels move along the last dimension."""

    def __init__(self, parts: int, literal: bool) -> None:
        super().__init__()
        self.parts, self.literal = parts, literal

    def forward(self, x: Tensor) -> Tensor:
        part = x.shape[1] // (3 if self.literal else self.parts)
        y = torch.zeros_like(x)
        y[:, :part, ..., 1:] = x[:, :part, ..., :-1]
        y[:, part : 2 * part, ..., :-1] = x[:, part : 2 * part, ..., 1:]
        y[:, 2 * part :] = x[:, 2 * part :]
        return y


class HalfShuffled(nn.Module):
    """ShuffleNet v2's unit: half of the channels pass, half are convolved, then all are shuffled."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        made = torch.cat([first, self.convolution(second)], 1)
        n, channels, *space = made.shape
        return made.view(n, 2, channels // 2, *space).transpose(1, 2).reshape(n, channels, *space)
