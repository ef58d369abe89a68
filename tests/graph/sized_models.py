"""Networks whose forward uses sizes: of tensors, and integers that its modules hold."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    """`[2, 5, 3]` or `[2, 3, 4, 4]` -> a layer to `width` channels -> the part under test -> a layer to 2."""

    def __init__(self, part: nn.Module, width: int = 8, out: int | None = None, *, images: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 1) if images else nn.Linear(3, width)
        self.part = part
        self.last = nn.Conv2d(out or width, 2, 1) if images else nn.Linear(out or width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.part(self.first(x)))


class Fused(nn.Module):
    """Attention with one layer for query, key and value, as in timm."""

    def __init__(self, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.scale = heads, dim // heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        attention = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(B, N, C))


class HeadDim(Fused):
    """The same with both sizes held."""

    def forward(self, x: Tensor) -> Tensor:
        B, N, _ = x.shape
        q, k, v = self.qkv(x).view(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(mixed.transpose(1, 2).reshape(B, N, self.head_dim * self.num_heads))


class Batched(Fused):
    """Heads joined with the batch."""

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = (
            part.view(B, N, self.num_heads, self.head_dim).transpose(1, 2).reshape(B * self.num_heads, N, self.head_dim)
            for part in self.qkv(x).chunk(3, -1)
        )
        mixed = (torch.bmm(q, k.transpose(1, 2)) * self.scale).softmax(-1).bmm(v)
        return self.proj(mixed.view(B, self.num_heads, N, self.head_dim).transpose(1, 2).reshape(B, N, C))


class Grouped(nn.Module):
    """Several query heads share a key, as in Llama; rotary positions turn halves of a head."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.shared, self.head_dim = 4, 2, 4
        self.q, self.k, self.v = nn.Linear(8, 16), nn.Linear(8, 8), nn.Linear(8, 8)
        self.out = nn.Linear(16, 8)
        self.register_buffer("frequencies", torch.tensor([1.0, 0.1]))

    def turned(self, x: Tensor) -> Tensor:
        angles = torch.outer(torch.arange(x.shape[-2]).to(x), self.frequencies)
        angles = torch.cat([angles, angles], -1)
        left, right = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return x * angles.cos() + torch.cat([-right, left], -1) * angles.sin()

    def forward(self, x: Tensor) -> Tensor:
        B, N, _ = x.shape
        q = self.turned(self.q(x).view(B, N, -1, self.head_dim).transpose(1, 2))
        k, v = (layer(x).view(B, N, -1, self.head_dim).transpose(1, 2) for layer in (self.k, self.v))
        repeats = self.heads // self.shared
        k, v = (
            part[:, :, None]
            .expand(B, self.shared, repeats, N, self.head_dim)
            .reshape(B, self.shared * repeats, N, self.head_dim)
            for part in (self.turned(k), v)
        )
        scores = (q @ k.transpose(2, 3)).softmax(-1)
        return self.out((scores @ v).transpose(1, 2).reshape(B, N, -1))


class Multihead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x, x, x, need_weights=False)[0]


class Einsum(nn.Module):
    """Attention whose projections are plain parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Parameter(torch.randn(8, 2, 4)) for _ in range(3))
        self.out = nn.Parameter(torch.randn(2, 4, 8))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.einsum("bnc,chd->bhnd", x, weight) for weight in (self.q, self.k, self.v))
        scores = torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1)
        return torch.einsum("bhij,bhjd,hdc->bic", scores, v, self.out)


class Windows(nn.Module):
    """Attention within windows of 2 x 2, with a table of relative positions."""

    def __init__(self) -> None:
        super().__init__()
        self.window, self.num_heads = 2, 2
        self.norm, self.qkv, self.proj = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.table = nn.Parameter(torch.randn(9, 2))
        self.register_buffer("index", torch.randint(9, (4, 4)))

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        w = self.window
        x = torch.roll(x.permute(0, 2, 3, 1), shifts=(-1, -1), dims=(1, 2))
        x = self.norm(x).view(B, H // w, w, W // w, w, C).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, w * w, C)
        q, k, v = self.qkv(x).reshape(-1, w * w, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(w * w, w * w, -1).permute(2, 0, 1)
        scores = (q @ k.transpose(-2, -1) + bias.unsqueeze(0)).softmax(-1)
        x = self.proj((scores @ v).transpose(1, 2).reshape(-1, w * w, C))
        x = x.view(B, H // w, W // w, w, w, C).permute(0, 1, 3, 2, 4, 5).reshape(B, H, W, C)
        return x.permute(0, 3, 1, 2)


class Shuffle(nn.Module):
    """Grouped convolution and channel shuffle, as in ShuffleNet."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = 4
        self.conv = nn.Conv2d(8, 8, 3, padding=1, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        b, c, h, w = x.size()
        x = x.view(b, self.groups, c // self.groups, h, w).transpose(1, 2).contiguous()
        return x.view(b, -1, h, w)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 12), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.up(x).chunk(2, dim=-1)
        return self.down(value * F.gelu(gate))


class Splits(nn.Module):
    """Pieces whose sizes are held in a list, and one held by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.splits, self.tail = [2, 6], 4
        self.small, self.large = nn.Linear(2, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        small, large = x.split(self.splits, -1)
        both = self.small(small) + self.large(large)
        return torch.cat([both[..., : self.tail], both], -1)


class Normed(nn.Module):
    """Norms over a shape that the module holds as a tuple, and one of all sizes of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = (8,)
        self.weight = nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(F.layer_norm(x, self.shape, self.weight), x.shape[-1:])


class Addmm(nn.Module):
    """The layer of GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.nf = 8
        self.weight, self.bias = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        size_out = (*x.size()[:-1], self.nf)
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(size_out)


class Standardized(nn.Conv2d):
    """A convolution whose weight is standardized."""

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True, momentum=0.0).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias)


class Tokens(nn.Module):
    """A class token and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 6, 8))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions)[:, 0]


class Compared(nn.Module):
    """Sizes that the forward compares, and tensors that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 8

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] == self.dim:
            x = x.relu()
        return x + torch.zeros(x.shape[0], 1, self.dim).to(x) + x.new_zeros(self.dim)


class Stores(nn.Module):
    """Keeps sizes that the forward saw."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.seen = 8, 0
        self.sizes: list[Any] = [8, 4]

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.shape[-1]
        self.last_shape = x.shape
        self.sizes.append(self.width)
        return x.view(x.shape[0], -1, self.width)
