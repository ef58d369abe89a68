"""Building blocks that are hard to edit, each in a small network: every edit is exact or masked, or refused."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checks import EXACT, relative
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils._pytree import tree_leaves

from netmorph import EditError, apply, widen
from netmorph.edit import WidthEdit, narrow_all
from netmorph.graph import Allow, trace
from netmorph.testing import check_attributes, masked_outputs
from netmorph.widenings import net2net, r2r

Forward = Callable[..., Any]


class Net(nn.Module):
    """Parts, and a forward that uses them."""

    def __init__(self, run: Forward, **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, *args: Tensor) -> Any:
        return self.run(self, *args)


class Rotary(nn.Module):
    """Attention with rotated queries and keys, in the ways in which people write it."""

    def __init__(self, style: str, dim: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.style, self.heads, self.head_dim = style, heads, dim // heads
        self.inputs, self.qkv = nn.Linear(5, dim), nn.Linear(dim, 3 * dim, bias=False)
        self.out, self.head = nn.Linear(dim, dim), nn.Linear(dim, 3)
        self.register_buffer("frequencies", 100.0 ** -(torch.arange(0, self.head_dim, 2) / self.head_dim))

    def rotated(self, x: Tensor) -> Tensor:
        angles = torch.outer(torch.arange(x.shape[-2]).to(x), self.frequencies.to(x))
        cos, sin = angles.cos(), angles.sin()
        if self.style == "pairs":
            pairs = x.view(*x.shape[:-1], -1, 2)
            a, b = pairs[..., 0], pairs[..., 1]
            return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
        half = x.shape[-1] // 2
        a, b = x.chunk(2, -1) if self.style == "chunk" else (x[..., :half], x[..., half:])
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inputs(x)
        if self.style == "pairs":
            q, k, v = self.qkv(x).view(*x.shape[:-1], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        elif self.style == "slices":
            parts = self.qkv(x).split(x.size(-1), dim=-1)
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        else:
            q, k, v = (
                part.view(*x.shape[:-1], self.heads, part.shape[-1] // self.heads).transpose(-3, -2)
                for part in self.qkv(x).chunk(3, -1)
            )
        q, k = self.rotated(q), self.rotated(k)
        if self.style == "slices":
            scores = torch.einsum("bhid,bhjd->bhij", q, k) * 0.5
            y = torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)
        else:
            y = F.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.head(x + self.out(y.transpose(1, 2).reshape(*x.shape[:-1], -1)))


class UNet(nn.Module):
    """Down, up by transposed convolution, skips by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.middle = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.Conv2d(12, 16, 1),
        )
        self.norm = nn.BatchNorm2d(16)
        self.up_two, self.up_one = nn.ConvTranspose2d(16, 12, 2, 2), nn.ConvTranspose2d(10, 8, 2, 2)
        self.join_two, self.join_one = nn.Conv2d(24, 10, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x).relu()
        two = self.two(F.max_pool2d(one, 2)).relu()
        x = self.norm(self.middle(F.avg_pool2d(two, 2))).relu()
        x = self.join_two(torch.cat([self.up_two(x), two], 1)).relu()
        return self.out(self.join_one(torch.cat([one, self.up_one(x)], 1)).relu())


class WaveNet(nn.Module):
    """Gated residuals; what leaves as residual and as skip is cut at held sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.residual, self.skip = nn.Conv1d(2, 8, 1), 8, 6
        self.dilated = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2**i) for i in range(2))
        self.mixing = nn.ModuleList(nn.Conv1d(8, 14, 1) for _ in range(2))
        self.out = nn.Conv1d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.inputs(x), []
        for i, (dilated, mixing) in enumerate(zip(self.dilated, self.mixing, strict=True)):
            value, gate = dilated(F.pad(x, (2**i, 0))).chunk(2, 1)
            residual, skip = torch.split(mixing(value.tanh() * gate.sigmoid()), [self.residual, self.skip], dim=1)
            x = x + residual
            skips.append(skip)
        return self.out(torch.stack(skips).sum(0).relu())


class Experts(nn.Module):
    """Each token goes to the two experts that a router picks."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.inputs, self.out = nn.Linear(5, 3), nn.Linear(5, 8), nn.Linear(8, 2)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)
        shares, picked = self.router(tokens).softmax(-1).topk(2, -1)
        tokens = self.inputs(tokens)
        y = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            token, place = torch.nonzero(picked == number, as_tuple=True)
            y = y.index_add(0, token, expert(tokens[token]) * shares[token, place, None])
        return self.out(tokens + y)


class Standardized(nn.Conv2d):
    """A convolution whose filters have mean 0 and spread 1."""

    def forward(self, x: Tensor) -> Tensor:
        mean, spread = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (self.weight - mean) / (spread + 1e-5), self.bias, self.stride, self.padding)


class Gated(nn.Module):
    """Channel attention in one of its variants, between two convolutions."""

    def __init__(self, gate: Callable[["Gated", Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.squeeze, self.excite = nn.Conv2d(3, 8, 3), nn.Linear(8, 4), nn.Linear(4, 8)
        self.spatial, self.out, self.gate = nn.Conv2d(2, 1, 3, padding=1), nn.Conv2d(8, 2, 1), gate

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.out(x * self.gate(self, x))


def excited(net: Gated, x: Tensor) -> Tensor:
    b, c, _, _ = x.size()
    return net.excite(net.squeeze(x.mean((2, 3))).relu()).sigmoid().view(b, c, 1, 1)


def attended(net: Gated, x: Tensor) -> Tensor:
    pooled = [pool(x, 1).view(x.size(0), x.size(1)) for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d)]
    x = x * torch.stack([net.excite(net.squeeze(p).relu()) for p in pooled]).sum(0).sigmoid()[:, :, None, None]
    return net.spatial(torch.cat([x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)], 1)).sigmoid()


def context(net: Gated, x: Tensor) -> Tensor:
    places = x.mean(1, keepdim=True).flatten(2).softmax(-1)
    summed = (x.flatten(2) @ places.transpose(1, 2)).squeeze(-1)
    return net.excite(net.squeeze(summed).relu()).view(x.size(0), -1, 1, 1)


def response(net: Gated, x: Tensor) -> Tensor:
    length = x.norm(dim=(2, 3), keepdim=True)
    return length / (length.mean(1, keepdim=True) + 1e-6)


def tied() -> nn.Module:
    net = Net(
        lambda s, i: s.out(s.down(s.up(s.embed(i)).relu()) + s.skip(s.embed(i))),
        embed=nn.Embedding(20, 8), up=nn.Linear(8, 12), down=nn.Linear(12, 8), skip=nn.Linear(8, 8),
        out=nn.Linear(8, 20, bias=False),
    )  # fmt: skip
    net.out.weight = net.embed.weight
    return net


def shared() -> nn.Module:
    def run(s: nn.Module, x: Tensor) -> Tensor:
        x = s.first(x)
        for _ in range(2):
            x = x + s.block(s.norm(x))
        return s.out(x)

    block = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8))
    return Net(run, first=nn.Linear(5, 8), block=block, norm=nn.LayerNorm(8), out=nn.Linear(8, 2))


def carried() -> nn.Module:
    net = Net(lambda s, x: s.out((s.first(x) - s.mean) / s.spread * s.mask), first=nn.Linear(5, 8), out=nn.Linear(8, 2))
    net.register_buffer("mean", torch.randn(8))
    net.register_buffer("spread", torch.rand(8) + 0.5)
    net.register_buffer("mask", torch.ones(1, 8))
    return net


def listed() -> nn.Module:
    shapes = [(5, 8), (8, 6), (6, 2)]
    return Net(
        lambda s, x: ((x @ s.weights[0] + s.biases["a"]).relu() @ s.weights[1] * s.biases["b"]).tanh() @ s.weights[2],
        weights=nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in shapes),
        biases=nn.ParameterDict({"a": nn.Parameter(torch.randn(8)), "b": nn.Parameter(torch.randn(6))}),
    )


def recurrent(kind: type[nn.RNNBase]) -> nn.Module:
    return Net(
        lambda s, x: s.out(s.hidden(s.recurrent(s.first(x))[0][:, -1]).relu()),
        first=nn.Linear(5, 6), recurrent=kind(6, 4, batch_first=True, bidirectional=True), hidden=nn.Linear(8, 7),
        out=nn.Linear(7, 2),
    )  # fmt: skip


def pair(middle: nn.Module) -> nn.Module:
    """Something of two vectors."""
    return Net(
        lambda s, x: s.middle(s.left(s.first(x)), s.right(s.first(x))),
        first=nn.Linear(5, 9), left=nn.Linear(9, 6), right=nn.Linear(9, 6), middle=middle,
    )  # fmt: skip


def attention(**options: Any) -> nn.Module:
    return Net(
        lambda s, x: s.out(s.attention(s.query(x), s.key(x), s.value(x), need_weights=False)[0]),
        query=nn.Linear(5, 16), key=nn.Linear(5, options.get("kdim", 16)), value=nn.Linear(5, options.get("vdim", 16)),
        attention=nn.MultiheadAttention(16, 4, batch_first=True, **options), out=nn.Linear(16, 2),
    )  # fmt: skip


def encoder(**options: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, **options)
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(5, 16), stack, nn.Linear(16, 2))


def decoder() -> nn.Module:
    stack = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 24, batch_first=True), 2)
    return Net(
        lambda s, x: s.out(s.stack(s.target(x[:, :4]), s.memory(x))),
        target=nn.Linear(5, 16), memory=nn.Linear(5, 16), stack=stack, out=nn.Linear(16, 2),
    )  # fmt: skip


def convolutions(*middle: nn.Module, to: int = 8) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *middle, nn.Conv2d(to, 2, 1))


def normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    layers = norm(nn.Linear(5, 8)), nn.ReLU(), norm(nn.Linear(8, 6)), nn.ReLU(), nn.Linear(6, 2)
    return nn.Sequential(*layers)


def tokens_with_class() -> nn.Module:
    def run(s: nn.Module, x: Tensor) -> Tensor:
        tokens = s.patches(x).flatten(2).transpose(1, 2)
        return s.out((torch.cat([s.token.expand(len(x), -1, -1), tokens], 1) + s.places)[:, 0])

    return Net(
        run, patches=nn.Conv2d(3, 8, 4, 4), token=nn.Parameter(torch.randn(1, 1, 8)),
        places=nn.Parameter(torch.randn(1, 5, 8)), out=nn.Linear(8, 2),
    )  # fmt: skip


def written_into() -> nn.Module:
    def run(s: nn.Module, x: Tensor) -> Tensor:
        made = torch.empty(len(x), s.first.out_features).to(x)
        made.copy_(s.first(x))
        return s.out(made)

    return Net(run, first=nn.Linear(5, 4), out=nn.Linear(4, 2))


def modulated() -> nn.Module:
    def run(s: nn.Module, x: Tensor) -> Tensor:
        y, shift = s.first(x), s.film(x)
        return s.out(y * shift[:, : y.shape[1]] + shift[:, y.shape[1] :])

    return Net(run, first=nn.Linear(5, 8), film=nn.Linear(5, 16), out=nn.Linear(8, 2))


IMAGES, SEQUENCE, VECTORS = (2, 3, 8, 8), (2, 6, 5), (2, 5)
# What is built, the shape of its input (None for words), and groups that must be free.
BLOCKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...] | None, list[str]]] = {
    "encoder": (encoder, SEQUENCE, ["0", "1.layers.0.linear1"]),
    "encoder, norm first": (lambda: encoder(norm_first=True, activation="gelu"), SEQUENCE, ["0", "1.layers.1.linear1"]),
    "decoder": (decoder, SEQUENCE, ["stack.layers.0.linear1"]),
    "attention": (attention, SEQUENCE, ["query", "attention.out_proj"]),
    "attention of other widths": (lambda: attention(kdim=6, vdim=10), SEQUENCE, ["query", "key", "value"]),
    "attention with added keys": (lambda: attention(add_bias_kv=True, add_zero_attn=True), SEQUENCE, ["query"]),
    "rotary, chunk": (lambda: Rotary("chunk"), SEQUENCE, ["qkv"]),
    "rotary, pairs": (lambda: Rotary("pairs"), SEQUENCE, ["inputs"]),
    "rotary, slices": (lambda: Rotary("slices"), SEQUENCE, []),
    "LSTM": (lambda: recurrent(nn.LSTM), SEQUENCE, ["first", "recurrent", "hidden"]),
    "GRU": (lambda: recurrent(nn.GRU), SEQUENCE, ["first", "recurrent", "hidden"]),
    "U-Net": (UNet, IMAGES, ["one", "two", "middle", "up_two", "join_two", "up_one", "join_one"]),
    "WaveNet": (WaveNet, (2, 2, 9), ["inputs", "dilated.0", "dilated.1", "mixing.0"]),
    "volumes": (
        lambda: nn.Sequential(
            nn.Conv3d(2, 6, 3), nn.BatchNorm3d(6), nn.MaxPool3d(2), nn.ConvTranspose3d(6, 4, 2), nn.Conv3d(4, 2, 1)
        ),
        (2, 2, 6, 6, 6), ["0", "3"],
    ),
    "tied embeddings": (tied, None, ["up"]),
    "weight norm": (lambda: normed(parametrizations.weight_norm), VECTORS, ["0", "2"]),
    "spectral norm": (lambda: normed(parametrizations.spectral_norm), VECTORS, ["0", "2"]),
    "orthogonal": (lambda: normed(parametrizations.orthogonal), VECTORS, []),
    "shared block": (shared, VECTORS, ["first", "block.0"]),
    "buffers": (carried, VECTORS, ["first"]),
    "bags of words": (
        lambda: Net(lambda s, i: s.out(s.bag(i).relu()), bag=nn.EmbeddingBag(20, 8), out=nn.Linear(8, 2)), None, ["bag"]
    ),
    "listed parameters": (listed, VECTORS, ["weights"]),
    "bilinear": (lambda: pair(nn.Bilinear(6, 6, 3)), VECTORS, ["first", "left", "right"]),
    "cosine similarity": (lambda: pair(nn.CosineSimilarity(-1)), VECTORS, ["first"]),
    "distance": (lambda: pair(nn.PairwiseDistance()), VECTORS, ["first"]),
    "experts": (Experts, SEQUENCE, ["inputs", "experts.0.0", "experts.1.0", "experts.2.0"]),
    "PReLU": (lambda: convolutions(nn.PReLU(8), nn.Conv2d(8, 6, 1), nn.PReLU(), to=6), IMAGES, ["0", "2"]),
    "RMS norm": (lambda: nn.Sequential(nn.Linear(5, 8), nn.RMSNorm(8), nn.Linear(8, 2)), VECTORS, ["0"]),
    "instance norm": (lambda: convolutions(nn.InstanceNorm2d(8, affine=True, track_running_stats=True)), IMAGES, ["0"]),
    "group norm": (lambda: convolutions(nn.GroupNorm(4, 8)), IMAGES, ["0", "0#2"]),
    "local response": (lambda: convolutions(nn.Conv2d(8, 6, 1), nn.LocalResponseNorm(3), to=6), IMAGES, ["0"]),
    "standardized": (lambda: convolutions(Standardized(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 1), to=6), IMAGES, ["1"]),
    "super-resolution": (
        lambda: convolutions(nn.Conv2d(8, 24, 1), nn.PixelShuffle(2), nn.PReLU(), to=6), IMAGES, ["0", "1"]
    ),
    "unflatten": (
        lambda: nn.Sequential(nn.Linear(5, 9), nn.Linear(9, 32), nn.Unflatten(1, (8, 2, 2)), nn.Conv2d(8, 2, 1)),
        VECTORS, ["0"],
    ),
    "squeeze-excite": (lambda: Gated(excited), IMAGES, ["first", "squeeze"]),
    "channel and spatial attention": (lambda: Gated(attended), IMAGES, ["first", "squeeze"]),
    "global context": (lambda: Gated(context), IMAGES, ["first", "squeeze"]),
    "response norm": (lambda: Gated(response), IMAGES, ["first"]),
    "grouped and shuffled": (
        lambda: convolutions(
            nn.Conv2d(8, 12, 3, groups=4), nn.ChannelShuffle(4), nn.Conv2d(12, 12, 3, groups=12), to=12
        ),
        IMAGES, [],
    ),
    "grouped transposed": (lambda: convolutions(nn.ConvTranspose2d(8, 6, 2, groups=2), to=6), IMAGES, []),
    "class token": (tokens_with_class, IMAGES, ["patches"]),
    "written into a new tensor": (written_into, VECTORS, ["first"]),
    "modulated": (modulated, VECTORS, ["first"]),
}  # fmt: skip


def build(name: str) -> tuple[nn.Module, Tensor]:
    """The block in float64 and in eval mode, and its input."""
    torch.manual_seed(0)
    make, shape, _ = BLOCKS[name]
    model = make().double().eval()
    return model, torch.randint(20, (2, 4)) if shape is None else torch.randn(shape).double()


@torch.no_grad()
def outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(model(x)) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_free_widens_exactly(name: str) -> None:
    model, x = build(name)
    before = outputs(model, x)
    graph = trace(model, x)
    free = graph.editable()
    for place in BLOCKS[name][2]:
        assert graph.group(place) in free, graph.groups[place]
    generator = torch.Generator().manual_seed(0)
    changes = {
        group.name: r2r(group.size, group.size + 3, generator)
        if group.allow == Allow.ANY
        else net2net(group.size, 2 * group.size, generator)
        for group in graph.editable(Allow.UNIFORM)
    }
    if changes:
        apply(graph, WidthEdit(changes, "all"))
        assert relative(before, outputs(model, x)) <= EXACT[torch.float64]
        check_attributes(model)


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_free_narrows_to_the_masked_original_and_trains(name: str) -> None:
    model, x = build(name)
    graph = trace(model, x)
    kept = {group.name: range(0, group.size, 2) for group in graph.editable() if group.size > 1}
    if kept:
        masked = masked_outputs(graph, kept)
        apply(graph, narrow_all(graph, kept))
        assert relative(masked, outputs(model, x)) <= EXACT[torch.float64]
        check_attributes(model)
    model.train()
    optimizer = torch.optim.Adam(model.parameters())
    sum(leaf.pow(2).mean() for leaf in tree_leaves(model(x))).backward()
    optimizer.step()
    assert all(bool(leaf.isfinite().all()) for leaf in outputs(model.eval(), x))


@pytest.mark.parametrize(
    ("name", "group", "reason"),
    [
        ("orthogonal", "2", r"linalg_householder_product"),
        ("experts", "router", r"ordered by value: aten\.topk"),
        ("super-resolution", "1#2", r"moved into height and width: aten\.pixel_shuffle"),
    ],
)
def test_what_is_frozen_names_the_operator(name: str, group: str, reason: str) -> None:
    frozen = trace(*build(name)).groups[group]
    assert frozen.allow == Allow.FROZEN
    assert any(re.search(reason, given) for given in frozen.reasons), frozen.reasons


def numbers(net: nn.Module, x: Tensor) -> Tensor:
    y = net.first(x)
    return net.out(y / y.shape[-1])


def rooted(net: nn.Module, x: Tensor) -> Tensor:
    y = net.first(x)
    return net.out(y * torch.tensor(y.shape[-1]).to(y).rsqrt())


def through_numpy(net: nn.Module, x: Tensor) -> Tensor:
    return net.out(torch.from_numpy(net.first(x).numpy(force=True) * 2))


def branching(net: nn.Module, x: Tensor) -> Tensor:
    y = net.first(x)
    return net.out(y.sin() if y.shape[-1] == 8 else y)


def counted(net: nn.Module, x: Tensor) -> Tensor:
    y = net.first(x)
    return net.out(y / len(y.T))


@pytest.mark.parametrize("run", [numbers, rooted, through_numpy, branching, counted])
def test_widths_that_the_forward_computes_with_or_asks_for_are_frozen(run: Forward) -> None:
    graph = trace(Net(run, first=nn.Linear(5, 8), out=nn.Linear(8, 2)), torch.randn(2, 5))
    assert graph.group("first").allow == Allow.FROZEN
    assert "test_hard_blocks.py" in graph.group("first").reasons[0]


def through_root(net: nn.Module, x: Tensor) -> Tensor:
    y = net.first(x)
    return net.out(y / np.sqrt(y.shape[-1]))


def filled(net: nn.Module, x: Tensor) -> Tensor:
    y = net.first(x)
    return net.out(y / torch.full((1,), y.shape[-1]))


@pytest.mark.parametrize("run", [through_root, filled])
def test_widths_that_enter_numpy_or_a_new_tensor_are_frozen(run: Forward) -> None:
    graph = trace(Net(run, first=nn.Linear(5, 8), out=nn.Linear(8, 2)), torch.randn(2, 5))
    assert graph.group("first").allow == Allow.FROZEN


def logarithm(net: nn.Module, x: Tensor) -> Tensor:
    y = net.first(x)
    return net.out(y / math.log(y.shape[-1]))


def compared(net: nn.Module, x: Tensor) -> Tensor:
    y = net.first(x)
    return net.out(y * (2.0 if str(y.shape[-1]) == "8" else 1.0))


def chosen(net: nn.Module, x: Tensor) -> Tensor:
    y = net.first(x)
    return net.out(y * (net.one if str(y.shape[-1]) == "8" else net.other))


@pytest.mark.parametrize("run", [logarithm, compared, chosen])
def test_widths_that_become_numbers_out_of_sight_are_found_by_their_effect(run: Forward) -> None:
    single = {name: nn.Parameter(torch.ones(1)) for name in ("one", "other")}
    model = Net(run, first=nn.Linear(5, 8), out=nn.Linear(8, 2), **single)
    x = torch.randn(2, 5)
    before = outputs(model, x)
    graph = trace(model, x, auxiliary=False)
    with pytest.raises(EditError, match=r"computes with \S+ in place of \S+ .*test_hard_blocks\.py"):
        apply(graph, narrow_all(graph, {"first": range(0, 8, 2)}))
    assert relative(before, outputs(model, x)) == 0


def test_numbers_that_are_read_from_channels_may_change() -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        y = net.first(x)
        return net.out(y / y.abs().max().item())

    graph = trace(Net(run, first=nn.Linear(5, 8), out=nn.Linear(8, 2)), torch.randn(2, 5))
    apply(graph, narrow_all(graph, {"first": range(0, 8, 2)}))


def test_integers_of_numpy_that_a_module_holds_follow() -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        return net.out(net.first(x).view(-1, net.width, 2).relu().flatten(1))

    model = Net(run, first=nn.Linear(5, 8), out=nn.Linear(8, 2))
    model.width = np.int64(4)
    x = torch.randn(2, 5)
    graph = trace(model, x)
    (group,) = graph.editable()
    graph = apply(graph, widen(graph, group.name, 6))
    assert model.width == 6


@dataclass
class Answer:
    scores: Tensor
    features: Tensor


class Answers(dict[str, Tensor]):
    """A class that PyTorch does not know how to open."""


@pytest.mark.parametrize("answer", [Answer, lambda scores, features: Answers(scores=scores, features=features)])
def test_tensors_in_objects_are_outputs(answer: Callable[[Tensor, Tensor], Any]) -> None:
    def run(net: nn.Module, x: Tensor) -> Any:
        y = net.first(x)
        return net.out(y), answer(net.out(y), y)

    graph = trace(Net(run, first=nn.Linear(5, 8), out=nn.Linear(8, 2)), torch.randn(2, 5))
    assert graph.group("first").reasons == ("the model's output",)
