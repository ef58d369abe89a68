"""Networks of graphs, spectra, quantized and computed weights: what is free in them, changed in all ways that are."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune  # `torch.nn.utils` does not have it by itself
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import netmorph
from netmorph.edit import narrow_all
from netmorph.graph import Allow, trace
from netmorph.testing import check_groups
from netmorph.testing.masked import masked_outputs

NODES, VECTORS, IMAGES = (6, 4), (5, 4), (2, 3, 9, 9)


def edges() -> Tensor:
    """Where they start and end. Made in the forward: a tensor kept elsewhere would be looked for at each trace."""
    return torch.tensor([[0, 1, 2, 3, 4, 0, 2, 5], [1, 2, 3, 4, 5, 3, 0, 1]])


class Mean(nn.Module):
    """GCN and SAGE: messages along edges, summed up or averaged where they arrive."""

    def __init__(self, i: int, o: int, how: str) -> None:
        super().__init__()
        self.own, self.of_others, self.how = nn.Linear(i, o), nn.Linear(i, o, bias=False), how

    def forward(self, x: Tensor) -> Tensor:
        source, target = edges()
        sent = self.of_others(x).index_select(0, source)
        places = target[:, None].expand_as(sent)
        zeros = sent.new_zeros(x.shape[0], sent.shape[1])
        if self.how == "index_add":
            return self.own(x) + zeros.index_add(0, target, sent)
        if self.how == "scatter_add":
            count = x.new_zeros(x.shape[0]).scatter_add_(0, target, x.new_ones(len(target)))
            return self.own(x) + zeros.scatter_add_(0, places, sent) / count.clamp(min=1)[:, None]
        return self.own(x) + zeros.scatter_reduce(0, places, sent, self.how, include_self=False)


class Attending(nn.Module):
    """GAT: a softmax over the edges that arrive at a node."""

    def __init__(self, i: int, o: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, o
        self.up = nn.Linear(i, heads * o)
        self.sends, self.gets = (nn.Parameter(torch.randn(1, heads, o)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        source, target = edges()
        y = self.up(x).view(-1, self.heads, self.width)
        scores = (y * self.sends).sum(-1)[source] + (y * self.gets).sum(-1)[target]
        scores = F.leaky_relu(scores, 0.2).exp()
        total = scores.new_zeros(x.shape[0], self.heads).index_add_(0, target, scores)
        sent = y[source] * (scores / total[target]).unsqueeze(-1)
        return torch.zeros_like(y).index_add_(0, target, sent).flatten(1)


class Spectral(nn.Module):
    """Complex weights on the low frequencies, of which those below zero come last."""

    def __init__(self, i: int, o: int, modes: int = 3) -> None:
        super().__init__()
        self.modes, self.o = modes, o
        self.above, self.below = (nn.Parameter(torch.randn(i, o, modes, modes, dtype=torch.cfloat) / i) for _ in "ab")

    def forward(self, x: Tensor) -> Tensor:
        f = torch.fft.rfft2(x)
        made = torch.zeros(len(x), self.o, *f.shape[2:], dtype=f.dtype)
        for rows, weight in ((slice(self.modes), self.above), (slice(-self.modes, None), self.below)):
            made[:, :, rows, : self.modes] = torch.einsum("bixy,ioxy->boxy", f[:, :, rows, : self.modes], weight)
        return torch.fft.irfft2(made, s=x.shape[2:])


class Ladder(nn.Module):
    """Pooling that keeps its places, and unpooling with them; the larger of two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        small, places = self.pool(x)
        y = self.unpool(self.b(small).relu(), places, output_size=x.shape)
        return torch.stack((y, self.c(x)), 4).max(4)[0]


class Low(nn.Module):
    """`W + B A`, as a parametrization or by itself."""

    def __init__(self, i: int, o: int, rank: int = 3) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(rank, i)), nn.Parameter(torch.randn(o, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + 0.5 * (self.b @ self.a)


class Adapted(nn.Linear):
    def __init__(self, i: int, o: int) -> None:
        super().__init__(i, o)
        self.low = Low(i, o)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.low(self.weight), self.bias)


class Masked(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.register_buffer("mask", (torch.rand(o, i) > 0.3).float())

    def forward(self, weight: Tensor) -> Tensor:
        return self.mask * weight


class Squashed(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.tanh()


class Largest(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / weight.abs().max()


class ByHand(nn.Module):
    """A direction and a length, written out."""

    def __init__(self, o: int) -> None:
        super().__init__()
        self.length = nn.Parameter(torch.rand(o, 1) + 0.5)

    def forward(self, direction: Tensor) -> Tensor:
        return self.length * direction / direction.norm(dim=1, keepdim=True)


class Standardized(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, w / (w.std((1, 2, 3), keepdim=True) + 1e-5), self.bias)


def computed(module: nn.Module, how: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(module, "weight", how)


def between(layer: nn.Module, i: int = 6, o: int = 5) -> nn.Module:
    """Vectors: a layer that writes `i` channels, the layer under test, one that reads its `o`."""
    return nn.Sequential(nn.Linear(4, i), nn.Tanh(), layer, nn.Tanh(), nn.Linear(o, 2))


def in_images(layer: nn.Module, i: int = 6, o: int = 5) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, i, 3), nn.Tanh(), layer, nn.Tanh(), nn.Conv2d(o, 2, 1))


def graphs(layer: Callable[[int, int], nn.Module], o: int = 8) -> nn.Module:
    return nn.Sequential(layer(4, 8), nn.Tanh(), layer(o, 6), nn.Tanh(), nn.LazyLinear(2))


ANY, UNIFORM, INEXACT, FROZEN = Allow.ANY, Allow.UNIFORM, Allow.INEXACT, Allow.FROZEN
# By name: the network, the shape of its input, and what is allowed of the channels in front of the layer and behind it.
BLOCKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, Allow]]] = {
    **{
        f"messages by {how}": (lambda h=how: graphs(lambda i, o: Mean(i, o, h)), NODES, {"0.own": ANY, "2.own": ANY})
        for how in ("index_add", "scatter_add", "amax", "mean")
    },
    "attention over edges": (
        lambda: graphs(lambda i, o: Attending(i, o, 2), 16), NODES, {"0.up": ANY, "0.heads": ANY, "2.up": ANY},
    ),
    "spectral layer": (lambda: in_images(Spectral(6, 5)), IMAGES, {"0": ANY, "2": ANY}),
    "unpooling": (
        lambda: in_images(nn.Sequential(nn.Conv2d(6, 3, 1), Ladder()), o=6), IMAGES, {"0": ANY, "2.1.a": ANY},
    ),
    "depthwise transposed": (
        lambda: in_images(nn.ConvTranspose2d(6, 6, 4, 2, 1, groups=6, bias=False), o=6), IMAGES, {"0": ANY},
    ),
    "grouped transposed": (
        lambda: in_images(nn.ConvTranspose2d(6, 4, 3, groups=2), o=4), IMAGES, {"0": ANY, "0#2": ANY, "2": ANY},
    ),
    "weight norm": (lambda: between(parametrizations.weight_norm(nn.Linear(6, 5))), VECTORS, {"0": INEXACT, "2": ANY}),
    "weight norm of columns": (
        lambda: between(parametrizations.weight_norm(nn.Linear(6, 5), dim=1)), VECTORS, {"0": ANY, "2": INEXACT},
    ),
    "weight norm of a transposed convolution": (
        lambda: in_images(parametrizations.weight_norm(nn.ConvTranspose2d(6, 5, 3))), IMAGES, {"0": ANY, "2": INEXACT},
    ),
    "weight norm of a depthwise convolution": (
        lambda: in_images(parametrizations.weight_norm(nn.Conv2d(6, 6, 3, groups=6)), o=6), IMAGES, {"0": ANY},
    ),
    "weight norm of all": (
        lambda: between(parametrizations.weight_norm(nn.Linear(6, 5), dim=None)), VECTORS, {"0": INEXACT, "2": INEXACT},
    ),
    "weight norm by hand": (lambda: between(computed(nn.Linear(6, 5), ByHand(5))), VECTORS, {"0": INEXACT, "2": ANY}),
    "spectral norm": (lambda: between(parametrizations.spectral_norm(nn.Linear(6, 5))), VECTORS, {"0": ANY, "2": ANY}),
    "spectral norm of a convolution": (
        lambda: in_images(parametrizations.spectral_norm(nn.Conv2d(6, 5, 3))), IMAGES, {"0": ANY, "2": ANY},
    ),
    "spectral norm of a transposed convolution": (
        lambda: in_images(parametrizations.spectral_norm(nn.ConvTranspose2d(6, 5, 3))), IMAGES, {"0": ANY, "2": ANY},
    ),
    "weight standardization": (lambda: in_images(Standardized(6, 5, 3)), IMAGES, {"0": INEXACT, "2": ANY}),
    "low rank beside a weight": (lambda: between(Adapted(6, 5)), VECTORS, {"0": ANY, "2": ANY, "2.low": ANY}),
    "low rank as a parametrization": (
        lambda: between(computed(nn.Linear(6, 5), Low(6, 5))), VECTORS,
        {"0": ANY, "2": ANY, "2.parametrizations.weight.0": ANY},
    ),
    "a mask": (lambda: between(computed(nn.Linear(6, 5), Masked(6, 5))), VECTORS, {"0": ANY, "2": ANY}),
    "squashed": (lambda: between(computed(nn.Linear(6, 5), Squashed())), VECTORS, {"0": INEXACT, "2": ANY}),
    "divided by its largest": (
        lambda: between(computed(nn.Linear(6, 5), Largest())), VECTORS, {"0": INEXACT, "2": UNIFORM},
    ),
    "orthogonal": (lambda: between(parametrizations.orthogonal(nn.Linear(6, 6)), o=6), VECTORS, {"0": FROZEN}),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_free_is_exact_and_narrows_to_the_masked_original(name: str) -> None:
    torch.manual_seed(0)
    build, shape, allowed = BLOCKS[name]
    model, x = build().eval(), torch.randn(shape)
    model(x)
    graph = check_groups(model, x, strict=True)
    assert {place: group_of(graph, place).allow for place in allowed} == allowed


def group_of(graph: netmorph.graph.Graph, layer: str) -> netmorph.graph.Group:
    """The group that a layer writes, also where its weight is computed from another module's parameter."""
    names = (layer, f"{layer}.parametrizations.weight", f"{layer}.parametrizations.weight.0", f"{layer}.base")
    return next((graph.groups[name] for name in names if name in graph.groups), None) or graph.group(layer)


def old(norm: Callable[..., nn.Module], layer: nn.Module) -> nn.Module:
    """The hooks of before: the weight is a plain attribute, computed before each forward."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return norm(layer)


@pytest.mark.parametrize(
    ("layer", "allowed"),
    [
        (lambda: old(nn.utils.weight_norm, nn.Linear(6, 5)), (INEXACT, ANY)),
        (lambda: old(nn.utils.spectral_norm, nn.Linear(6, 5)), (ANY, ANY)),
        (lambda: nn.utils.prune.l1_unstructured(nn.Linear(6, 5), "weight", amount=0.4), (ANY, ANY)),
    ],
)
def test_weights_that_hooks_compute(layer: Callable[[], nn.Module], allowed: tuple[Allow, Allow]) -> None:
    torch.manual_seed(0)
    model, x = between(layer()).double().eval(), torch.randn(5, 4).double()
    optimizer = torch.optim.Adam(model.parameters())
    graph = trace(model, x, strict=True)
    assert (graph.group("0").allow, graph.group("2").allow) == allowed
    for name in ("0", "2"):
        if graph.group(name).allow == ANY:
            graph = netmorph.apply(graph, netmorph.widen(graph, name, graph.group(name).size + 3), optimizer)
            assert graph.journal[-1].error < 1e-12
    kept = {name: range(0, graph.group(name).size, 2) for name in ("0", "2")}
    masked = masked_outputs(graph, kept)
    graph = netmorph.apply(graph, narrow_all(graph, kept), optimizer)
    torch.testing.assert_close(model(x), masked[0])
    model.train()(x).sum().backward()
    optimizer.step()


class QuantizedConv(nn.Conv2d):
    """A weight that is rounded with a scale for each of its filters, measured anew wherever it is trained."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__(i, o, 3)
        self.register_buffer("scale", self.weight.detach().abs().amax((1, 2, 3)) / 127)
        self.register_buffer("zero_point", torch.zeros(o, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, 0.05, 0, -128, 127)
        if self.training:
            self.scale.copy_(self.weight.detach().abs().amax((1, 2, 3)) / 127)
        weight = torch.fake_quantize_per_channel_affine(self.weight, self.scale, self.zero_point, 0, -128, 127)
        return self._conv_forward(x, weight, self.bias)


def test_scales_of_fake_quantization_go_where_their_filters_go() -> None:
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(QuantizedConv(3, 8), nn.ReLU(), QuantizedConv(8, 6), nn.Conv2d(6, 2, 1)),
        torch.randn(IMAGES),
    )
    model.eval()
    graph = trace(model, x, strict=True)
    assert graph.group("0").allow == INEXACT  # a share is rounded again
    assert graph.group("2").allow == ANY
    kept, scales = [1, 2, 5], model[0].scale.clone()
    masked = masked_outputs(graph, {"0": kept})
    graph = netmorph.apply(graph, netmorph.narrow(graph, "0", kept))
    assert torch.equal(model[0].scale, scales[kept])
    torch.testing.assert_close(model(x), masked[0])
    graph = netmorph.apply(graph, netmorph.widen(graph, "2", 9, netmorph.widenings.net2net))
    assert graph.journal[-1].error < 1e-6
    assert len(model[2].scale) == len(model[2].zero_point) == 9
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.train()(x).sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].scale, model[0].weight.detach().abs().amax((1, 2, 3)) / 127)  # of before the step
    model(x)
    assert torch.equal(model[0].scale, model[0].weight.detach().abs().amax((1, 2, 3)) / 127)
