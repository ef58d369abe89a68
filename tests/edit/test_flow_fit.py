"""Widths that norms and attention look at as a whole: any number of channels, exactly, wherever there is a way."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netmorph import EditError, apply, undo, widen
from netmorph.edit import narrow_all, widen_all
from netmorph.graph import Allow, trace
from netmorph.testing import check_edit, masked_outputs
from netmorph.widenings import approximate, lemon, net2net

EXACT = 1e-14
TOKENS = torch.randint(0, 9, (2, 5), generator=torch.Generator().manual_seed(0))
Norm = Callable[[int], nn.Module]


class Written(nn.Module):
    """A norm written by hand."""

    def __init__(self, width: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.variance_epsilon = eps


class RMS(Written):
    def forward(self, x: Tensor) -> Tensor:
        return self.gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


class AroundOne(Written):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon) * (1.0 + self.gain)


class Centred(Written):
    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        spread = ((x - mean) ** 2).mean(-1, keepdim=True)
        return self.gain * (x - mean) / torch.sqrt(spread + self.variance_epsilon) + self.bias


class Deviation(Written):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (
            x.std(-1, keepdim=True) + self.variance_epsilon
        ) * self.gain + self.bias


class Length(Written):
    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) * self.gain


class Fixed(Written):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.gain, self.bias)


class Plain(nn.LayerNorm):
    def __init__(self, width: int) -> None:
        super().__init__(width, elementwise_affine=False, eps=1e-3)


def attend(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def by_root(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    return (q @ k.transpose(-2, -1) / math.sqrt(layer.width)).softmax(-1) @ v


def by_power(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v


def by_both(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    scale = layer.width**-0.25
    return ((q * scale) @ (k * scale).transpose(-2, -1)).softmax(-1) @ v


def by_root_of_root(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    scale = 1 / math.sqrt(math.sqrt(k.shape[-1]))
    return ((q * scale) @ (k * scale).transpose(-2, -1)).softmax(-1) @ v


def by_argument(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, scale=1 / math.sqrt(layer.width))


def by_attribute(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    return torch.einsum("bhij,bhjd->bhid", torch.einsum("bhid,bhjd->bhij", q, k).mul(layer.scale).softmax(-1), v)


def with_queries_elsewhere(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v) + q


def with_equal_keys(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    return F.scaled_dot_product_attention(q, q, v)


def by_a_tensor(q: Tensor, k: Tensor, v: Tensor, layer: nn.Module) -> Tensor:
    return (q @ k.transpose(-2, -1) / torch.tensor(math.sqrt(layer.width)).to(q)).softmax(-1) @ v


class Block(nn.Module):
    def __init__(
        self, width: int, norm: Norm, how: Callable[..., Tensor], inner: Norm | None, layer_scale: bool
    ) -> None:
        super().__init__()
        self.heads, self.width, self.scale, self.how = 2, 4, 4**-0.5, how
        self.norms = nn.ModuleList(norm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * 8), nn.Linear(8, width)
        self.up, self.down = nn.Linear(width, 10), nn.Linear(10, width)
        self.inner = nn.ModuleList(inner(4) for _ in range(2)) if inner else None
        self.gammas = nn.ParameterList(torch.rand(width) if layer_scale else torch.ones(1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, self.width))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        if self.inner is not None:
            q, k = self.inner[0](q), self.inner[1](k)
        x = x + self.gammas[0] * self.out(self.how(q, k, v, self).transpose(1, 2).flatten(2))
        return x + self.gammas[1] * self.down(F.gelu(self.up(self.norms[1](x))))


class Transformer(nn.Module):
    """With positions, a class token, two blocks and a head that may be the embedding."""

    def __init__(
        self,
        norm: Norm = nn.LayerNorm,
        how: Callable[..., Tensor] = attend,
        inner: Norm | None = None,
        layer_scale: bool = False,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 6), nn.Linear(6, 9, bias=False)
        self.positions, self.token = nn.Parameter(torch.randn(1, 6, 6)), nn.Parameter(torch.randn(1, 1, 6))
        self.blocks = nn.Sequential(*(Block(6, norm, how, inner, layer_scale) for _ in range(2)))
        self.norm = norm(6)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x)))


def settled(model: nn.Module) -> nn.Module:
    """In float64, with weights as a training would leave them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.double().eval()


STREAMS: dict[str, Callable[[], nn.Module]] = {
    "layer norm": Transformer,
    "layer scale, tied": lambda: Transformer(layer_scale=True, tied=True),
    "without gain": lambda: Transformer(Plain),
    "torch's RMS": lambda: Transformer(lambda width: nn.RMSNorm(width, eps=1e-3), layer_scale=True),
    "RMS, tied": lambda: Transformer(RMS, tied=True),
    "gain around one, tied": lambda: Transformer(AroundOne, tied=True),
    "written": lambda: Transformer(Centred, layer_scale=True),
    "deviation": lambda: Transformer(Deviation),
    "length": lambda: Transformer(Length),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_any_width(name: str) -> None:
    torch.manual_seed(0)
    model = settled(STREAMS[name]())
    check_edit(model, TOKENS, lambda graph: widen(graph, "embedding", 7), export=False)
    graph = trace(model, TOKENS)
    for width in (9, 14):  # one edit upon the other
        graph = apply(graph, widen(graph, "embedding", width))
        assert (graph.journal[-1].edit.method, graph.group("embedding").size) == ("lemon", width)
        assert graph.journal[-1].error < EXACT


def test_what_a_stream_holds() -> None:
    torch.manual_seed(0)
    model = settled(Transformer(layer_scale=True))
    gamma, rows = (parameter.detach().clone() for parameter in (model.blocks[0].gammas[0], model.blocks[0].out.weight))
    gain = model.norm.weight.detach().clone()
    graph = trace(model, TOKENS)
    apply(graph, widen(graph, "embedding", 8))
    torch.testing.assert_close(model.embedding.weight[:, 6:], model.embedding.weight[:, :6].mean(1, True).expand(-1, 2))
    folded = model.blocks[0].gammas[0][6:, None] * model.blocks[0].out.weight[6:]
    torch.testing.assert_close(folded, (gamma[:, None] * rows).mean(0).expand(2, -1))
    torch.testing.assert_close(model.norm.weight[:6], gain * math.sqrt(6 / 8))
    assert math.isclose(model.norm.eps, 1e-5 * 6 / 8)
    assert (model.norm.bias[6:] == 0).all()
    assert (model.head.weight[:, 6:] != 0).all()


HEADS: dict[str, Callable[[], nn.Module]] = {
    "fused": Transformer,
    "by the root": lambda: Transformer(how=by_root),
    "by a power": lambda: Transformer(how=by_power),
    "queries and keys": lambda: Transformer(how=by_both),
    "roots of roots": lambda: Transformer(how=by_root_of_root),
    "by an argument": lambda: Transformer(how=by_argument),
    "by an attribute": lambda: Transformer(how=by_attribute),
    "normed": lambda: Transformer(inner=nn.LayerNorm),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_of_any_width_and_back(name: str) -> None:
    torch.manual_seed(0)
    model = settled(HEADS[name]())
    check_edit(model, TOKENS, lambda graph: widen(graph, "blocks.0.width", 7), export=False)
    check_edit(model, TOKENS, lambda graph: narrow_all(graph, {"blocks.0.width": [0, 2, 3]}), export=False)


@pytest.mark.parametrize("inner", [RMS, Length])
def test_normed_queries_and_keys_start_too_small_to_be_seen(inner: Norm) -> None:
    torch.manual_seed(0)
    model = settled(Transformer(inner=inner))
    graph = trace(model, TOKENS)
    graph = apply(graph, widen(graph, "blocks.0.width", 6))
    assert graph.journal[-1].error < EXACT
    model(TOKENS).square().sum().backward()
    fresh = model.blocks[0].qkv.weight.unflatten(0, (3, 2, 6))[:2, :, 4:]
    assert 0 < fresh.abs().max() < 1e-8
    assert (model.blocks[0].qkv.weight.grad.unflatten(0, (3, 2, 6))[:2, :, 4:] != 0).all()


@pytest.mark.parametrize("how", [with_queries_elsewhere, with_equal_keys, by_a_tensor])
def test_heads_whose_scale_nothing_takes_up_are_frozen(how: Callable[..., Tensor]) -> None:
    group = trace(settled(Transformer(how=how)), TOKENS).group("blocks.0.width")
    assert group.allow == Allow.FROZEN
    assert "root of this width" in group.reasons[0] or "as a number" in group.reasons[0]


def test_layers_of_torch() -> None:
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True) for _ in range(2)]
    model = settled(nn.Sequential(nn.Linear(5, 8), *layers, nn.LayerNorm(8), nn.Linear(8, 3)))
    x = torch.randn(2, 4, 5).double()
    graph = trace(model, x)  # the stream is heads times their width
    sizes = {group.name: group.size + 1 + group.size // 2 for group in graph.editable()}
    assert len(sizes) == 4
    graph = apply(graph, widen_all(graph, sizes))
    assert graph.journal[-1].error < EXACT
    assert graph.journal[-1].edit.method == "lemon and r2r"
    kept = {name: range(size - 1) for name, size in sizes.items()}
    masked = masked_outputs(graph, kept)
    apply(graph, narrow_all(graph, kept))
    torch.testing.assert_close(masked[0], model(x), rtol=EXACT, atol=EXACT)


def test_post_norm_is_exact_while_the_gains_are_equal() -> None:
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, activation="gelu") for _ in range(2)]
    model = nn.Sequential(nn.Linear(5, 8), *layers, nn.Linear(8, 3)).double().eval()
    x = torch.randn(2, 4, 5).double()
    graph = trace(model, x)
    heads = graph.group("0").name
    graph = apply(graph, widen(graph, heads, 3))
    assert graph.journal[-1].error < EXACT
    graph = trace(settled(model), x)
    with pytest.raises(EditError, match=r"the norm's gain '1.norm1.weight' differs.*approximate comes"):
        widen(graph, heads, 4, lemon)
    assert widen(graph, heads, 6).method == "net2net"
    graph = apply(graph, widen(graph, heads, 4, approximate))
    assert 1e-6 < graph.journal[-1].error < 0.1


class Merged(nn.Module):
    """Neighbours are normalized together, as where Swin merges patches."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.norm, self.out = nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 6)
        self.both, self.head = nn.LayerNorm(12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        x = x + self.out(self.norm(x))
        return self.head(self.both(torch.cat([x[:, ::2], x[:, 1::2]], -1)))


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp, self.each = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm, self.up, self.down, self.head = nn.LayerNorm(6), nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        normed = self.norm(self.each(x).permute(0, 2, 3, 1))
        return self.head(x.permute(0, 2, 3, 1) + self.down(F.gelu(self.up(normed))))


IMPOSSIBLE: dict[str, tuple[Callable[[], nn.Module], Tensor, str]] = {
    "neighbours": (Merged, torch.randn(2, 4, 5).double(), "nothing that writes them can make new ones fit"),
    "depthwise": (Depthwise, torch.randn(2, 3, 4, 4).double(), "nothing that writes them can make new ones fit"),
    "an epsilon in the code": (lambda: Transformer(Fixed), TOKENS, "the epsilon 1e-05 .* in no attribute"),
    "tied, without gain": (lambda: Transformer(Plain, tied=True), TOKENS, "tied weights"),
    "groups": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.GroupNorm(2, 6), nn.Conv2d(6, 2, 1)),
        torch.randn(2, 3, 4, 4).double(),
        "a group norm averages",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_where_there_is_no_way_it_is_said(name: str) -> None:
    torch.manual_seed(0)
    build, x, why = IMPOSSIBLE[name]
    graph = trace(settled(build()), x)
    group = next(group for group in graph.groups.values() if Allow.INEXACT <= group.allow < Allow.ANY)
    with pytest.raises(EditError, match=f"{why}.*approximate comes as near as it gets, and the error is measured"):
        widen(graph, group.name, group.size + 1)
    after = apply(graph, widen(graph, group.name, group.size + 1, approximate))
    assert after.journal[-1].error > 1e-10
    graph = apply(after, undo(after))
    if group.allow is Allow.UNIFORM:
        assert apply(graph, widen(graph, group.name, 2 * group.size, net2net)).journal[-1].error < EXACT


class Auxiliary(nn.Module):
    """In training mode alone, attention of its own looks at the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.head = nn.Linear(5, 6), nn.Linear(6, 2)
        self.query, self.key, self.value = (nn.Linear(6, 4) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.inp(x)
        if not self.training:
            return (self.head(x),)
        return self.head(x), F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))


def test_attention_that_only_training_reaches_keeps_its_width() -> None:
    graph = trace(settled(Auxiliary()), torch.randn(2, 4, 5).double())
    assert graph.group("query").allow == Allow.FROZEN
    assert "a forward that eval mode does not take" in graph.group("query").reasons[0]
