"""The oracle of narrowing is right where the answer can be had by hand: a smaller network with the kept weights."""

from collections.abc import Callable

import pytest
import torch
from checks import EXACT, outputs, relative
from torch import Tensor, nn
from torch.nn import functional

from netmorph.graph import Graph, trace
from netmorph.testing.kept import OVER_KEPT, attention_scaled_by_kept
from netmorph.testing.masked import masked_outputs

WIDTH = 8
KEPT = [0, 3, 4, 7]
Forward = Callable[[nn.Module, Tensor], Tensor]


class Net(nn.Module):
    """Two layers with something between them that acts on the `width` channels."""

    def __init__(self, width: int, middle: Forward, *, convolution: bool = False, inputs: int = 0, **parts: nn.Module):
        super().__init__()
        layer = (lambda i, o: nn.Conv2d(i, o, 3)) if convolution else nn.Linear
        self.first, self.last = layer(3, width), layer(inputs or width, 3)
        for name, part in parts.items():
            self.add_module(name, part)
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self, self.first(x)))


def statistics(net: nn.Module, x: Tensor) -> Tensor:
    """Everything that may be asked of channels: an average, a spread, an extreme."""
    parts = [
        x.mean(-1, keepdim=True), x.var(-1, keepdim=True), x.std(dim=-1, correction=0, keepdim=True),
        x.amax(-1, keepdim=True), x.amin(-1, keepdim=True), x.max(-1, keepdim=True).values,
        x.norm(dim=-1, keepdim=True),
    ]  # fmt: skip
    mean, variance = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return x.exp() * torch.stack(parts).sum(0) + (x - mean) / variance


def standardized(net: nn.Module, x: Tensor) -> Tensor:
    """A weight that is normalized over what it reads."""
    weight = net.middle_layer.weight
    flat = functional.batch_norm(weight.reshape(1, len(weight), -1), None, None, training=True)
    return functional.linear(x, flat.reshape(weight.shape), net.middle_layer.bias)


def in_place(net: nn.Module, x: Tensor) -> Tensor:
    """Results that share memory, and zeros that do not stay zero."""
    kept = x.sigmoid_().unsqueeze(-1)
    x.add_(1)
    return kept.expand(*x.shape, 2).sum(-1).cos()


def attention(net: nn.Module, x: Tensor) -> Tensor:
    x = x.unsqueeze(0)
    return functional.scaled_dot_product_attention(x, x.sin(), x)[0]


CASES: dict[str, Callable[[int], Net]] = {
    "batch norm": lambda w: Net(w, lambda n, x: n.norm(x).relu(), convolution=True, norm=nn.BatchNorm2d(w)),
    "layer norm": lambda w: Net(w, lambda n, x: n.norm(x), norm=nn.LayerNorm(w)),
    "RMS norm": lambda w: Net(w, lambda n, x: n.norm(x), norm=nn.RMSNorm(w)),
    "softmax": lambda w: Net(w, lambda n, x: x.softmax(-1)),
    "log softmax": lambda w: Net(w, lambda n, x: x.log_softmax(-1)),
    "concatenation": lambda w: Net(w, lambda n, x: torch.cat([x, x.exp()], -1), inputs=2 * w),
    "group norm of one group": lambda w: Net(w, lambda n, x: n.norm(x), convolution=True, norm=nn.GroupNorm(1, w)),
    "in place": lambda w: Net(w, in_place),
    "statistics": lambda w: Net(w, statistics),
    "standardized weight": lambda w: Net(w, standardized, inputs=5, middle_layer=nn.Linear(w, 5)),
}


def example(net: nn.Module) -> Tensor:
    torch.manual_seed(1)
    return torch.randn((2, 3, 7, 7) if isinstance(net.first, nn.Conv2d) else (2, 3)).double()


def kept(graph: Graph) -> dict[str, list[int]]:
    """What stays of the only group of this width."""
    (name,) = (name for name, group in graph.groups.items() if group.size == WIDTH)
    return {name: KEPT}


def pair(build: Callable[[int], Net]) -> tuple[Graph, nn.Module, Tensor]:
    """A traced network, and the smaller one that has its kept weights."""
    torch.manual_seed(0)
    large, small = build(WIDTH).double().eval(), build(len(KEPT)).double().eval()
    for tensor in (*large.parameters(), *large.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5)
    index = {WIDTH: torch.tensor(KEPT), 2 * WIDTH: torch.tensor([*KEPT, *(WIDTH + place for place in KEPT)])}
    state = large.state_dict()
    for name, tensor in small.state_dict().items():
        for dim, (before, after) in enumerate(zip(state[name].shape, tensor.shape, strict=True)):
            if before != after:
                state[name] = state[name].index_select(dim, index[before])
    small.load_state_dict(state)
    x = example(large)
    return trace(large, x), small, x


@pytest.mark.parametrize("name", CASES)
def test_equals_a_smaller_network_built_by_hand(name: str) -> None:
    graph, small, x = pair(CASES[name])
    before = {name: tensor.clone() for name, tensor in graph.model.state_dict().items()}
    masked = masked_outputs(graph, kept(graph))
    assert relative(outputs(small, x), masked) <= EXACT[torch.float64]
    assert relative(outputs(graph.model, x), masked) > 1e-3  # it was no matter of nothing
    assert all(torch.equal(before[name], tensor) for name, tensor in graph.model.state_dict().items())


def test_channels_inside_the_groups_of_a_norm() -> None:
    torch.manual_seed(0)
    large, small = (nn.Sequential(nn.Conv2d(3, w, 3), nn.GroupNorm(2, w), nn.Conv2d(w, 2, 1)).double() for w in (8, 4))
    x = torch.randn(2, 3, 7, 7).double()
    graph = trace(large, x)
    inside = next(group for group in graph.editable() if group.size == 4)
    rows = torch.tensor([1, 3, 5, 7])  # channels 1 and 3 of either group
    for layer in (0, 1):
        for name in ("weight", "bias"):
            getattr(small[layer], name).data = getattr(large[layer], name).data[rows]
    small[2].weight.data, small[2].bias.data = large[2].weight.data[:, rows], large[2].bias.data
    assert relative(outputs(small, x), masked_outputs(graph, {inside.name: [1, 3]})) <= EXACT[torch.float64]


def test_nothing_dropped_is_the_original() -> None:
    graph, _, x = pair(CASES["layer norm"])
    assert relative(outputs(graph.model, x), masked_outputs(graph, {"first": range(WIDTH)})) == 0


def test_the_scale_of_attention_is_the_originals_unless_it_is_told_to_follow() -> None:
    graph, small, x = pair(lambda width: Net(width, attention))
    assert relative(outputs(small, x), masked_outputs(graph, kept(graph))) > 1e-6
    follows = OVER_KEPT | {torch.ops.aten.scaled_dot_product_attention.default: attention_scaled_by_kept}
    assert relative(outputs(small, x), masked_outputs(graph, kept(graph), follows)) <= EXACT[torch.float64]
