"""A block copied behind itself: exact where its branches end in a scale, plain otherwise."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import output, trained
from torch import Tensor, nn

from netmorph import EditError, apply, identity, load, save, trace, zoo
from netmorph.edit import copy_block, redraw, stack
from netmorph.graph import Graph


class PreNorm(nn.Module):
    """A transformer block: attention and a gated MLP, each behind a layer norm, with layer scale."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gate, self.up, self.down = nn.Linear(width, 8), nn.Linear(width, 8), nn.Linear(8, width, bias=False)
        self.scale = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.proj(nn.functional.scaled_dot_product_attention(q, k, v, mask)) * self.scale
        y = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


class SqueezeExcite(nn.Module):
    """A pre-activation block whose branch ends in a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.squeeze = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(self.norm(x).relu())
        return x + y * self.squeeze(y.mean((2, 3), keepdim=True)).sigmoid()


class Products(nn.Module):
    """Branches that end in a product with a plain parameter, in einsums and in an RMS norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.matrix = nn.RMSNorm(6), nn.Parameter(torch.rand(6, 6))
        self.heads, self.first = nn.Parameter(torch.rand(2, 3, 6)), nn.Parameter(torch.rand(6, 2))
        self.second = nn.Parameter(torch.rand(2, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = x + x.relu() @ self.matrix
        x = x + torch.einsum("nthd,hdo->nto", x.tanh().unflatten(-1, (2, 3)), self.heads)
        x = x + torch.einsum("nti,ij,jo->nto", x.cos(), self.first, self.second)
        return x + self.norm(x.sigmoid())


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = PreNorm(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x, mask=torch.ones(5, 5, dtype=torch.bool).tril()))


BLOCKS: dict[str, tuple[Callable[[], nn.Module], str, tuple[int, ...], set[str]]] = {
    "residual": (
        lambda: zoo.build("resnet", (3, 8, 8), 3, blocks=(1,), channels=(4,)),
        "stage1.0",
        (2, 3, 8, 8),
        {"bn2.weight", "bn2.bias"},
    ),
    "transformer": (lambda: nn.Sequential(PreNorm(), nn.Linear(6, 2)), "0", (2, 5, 6), {"scale", "down.weight"}),
    "masked": (Masked, "block", (2, 5, 6), {"scale", "down.weight"}),
    "products": (
        lambda: nn.Sequential(Products(), nn.Linear(6, 2)),
        "0",
        (2, 5, 6),
        {"matrix", "heads", "second", "norm.weight"},
    ),
    "gated": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), SqueezeExcite(), nn.Conv2d(4, 2, 1)),
        "1",
        (2, 3, 8, 8),
        {"conv.weight", "conv.bias"},
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_copy_passes_its_input_on_and_trains(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, path, shape, zeros = BLOCKS[name]
    model, x = make().double(), torch.randn(shape).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
    save(tmp_path / "base", model)
    before = output(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    graph = trace(model, x)
    graph = apply(graph, copy_block(graph, path), optimizer)
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-12)
    if name == "masked":  # an attribute of its own
        old, copied = model.get_submodule(path)
    else:
        container, _, number = path.rpartition(".")
        entries = model.get_submodule(container)
        old, copied = entries[int(number)], entries[int(number) + 1]
    own = dict(old.named_parameters())
    assert {name for name, p in copied.named_parameters() if not torch.equal(p, own[name])} <= zeros
    assert all(not copied.get_parameter(name).any() for name in zeros)
    assert not {id(p) for p in copied.parameters()} & {id(p) for p in own.values()}
    save(tmp_path / "net", model, graph.journal)
    again, _ = load(tmp_path / "net", lambda: make().double())
    assert torch.equal(output(again, x), output(model, x))
    weights = [p.detach().clone() for name, p in copied.named_parameters() if name in zeros and name.endswith("weight")]
    trained(model, x, optimizer)
    now = [p for name, p in copied.named_parameters() if name in zeros and name.endswith("weight")]
    assert all(bool((p != old).any()) for p, old in zip(now, weights, strict=True))


def test_a_scale_that_is_tied_to_another_is_refused() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), PreNorm(), nn.Linear(6, 2))
    model[1].proj.weight = model[0].weight
    assert copy_block(trace(model, torch.randn(2, 5, 6)), "1").exact  # the layer scale comes last
    tied = nn.Sequential(nn.Linear(6, 6), Branch(), nn.Linear(6, 2))
    tied[1].layer.weight = tied[0].weight
    with pytest.raises(EditError, match="no copy of '1' passes its input on"):
        copy_block(trace(tied, torch.randn(2, 6)), "1")


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x.relu())


class Activated(nn.Module):
    """Two branches, an activation behind the first and maybe another behind the second."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.end = nn.Linear(6, 6), nn.Linear(6, 6), end

    def forward(self, x: Tensor) -> Tensor:
        x = (x + self.a(x)).relu()
        return self.end(x + self.b(x))


def test_an_activation_in_the_middle_needs_the_same_at_the_end() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    graph = trace(nn.Sequential(Activated(torch.relu_), nn.Linear(6, 2)), x)
    assert apply(graph, copy_block(graph, "0")).journal[-1].error < 1e-6
    for end in (torch.nn.Identity(), nn.Hardtanh()):
        with pytest.raises(EditError, match="no activation between two additions but the one that it ends in"):
            copy_block(trace(nn.Sequential(Activated(end), nn.Linear(6, 2)), x), "0")


def test_stacking_is_a_plain_copy() -> None:
    torch.manual_seed(0)
    make, path, shape, _ = BLOCKS["transformer"]
    model, x = make().double(), torch.randn(shape).double()
    expected = output(model[1], output(model[0], output(model[0], x)))
    graph = trace(model, x)
    graph = apply(graph, stack(graph, path))
    assert torch.allclose(output(model, x), expected, rtol=0, atol=1e-12)
    assert graph.journal[-1].error > 1e-3
    assert graph.journal[-1].edit.method == "stack"


def normal(block: nn.Module) -> None:
    for parameter in block.parameters():
        nn.init.normal_(parameter)


DRAWN = partial(redraw, draw=normal)


@pytest.mark.parametrize("made", [copy_block, stack, DRAWN])
def test_a_block_comes_behind_another_than_the_one_it_is_made_from(made: Callable[..., Any], tmp_path: Path) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(PreNorm(), PreNorm(), nn.Linear(6, 2)).double()

    model, x = network(), torch.randn(2, 5, 6).double()
    save(tmp_path / "base", model)
    before, old = output(model, x), [dict(block.named_parameters()) for block in model[:2]]
    graph = apply(trace(model, x), made(trace(model, x), "0", after="1"))
    new = dict(model[2].named_parameters())
    assert torch.equal(model[1].up.weight, old[1]["up.weight"])
    assert torch.equal(new["up.weight"], old[0]["up.weight"]) is (made is not DRAWN)
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-12) is (made is copy_block)
    save(tmp_path / "net", model, graph.journal)
    again, _ = load(tmp_path / "net", network)
    assert torch.equal(output(again, x), output(model, x))
    with pytest.raises(EditError, match="no module '7' to edit"):
        made(graph, "0", after="7")


def test_a_block_is_drawn_as_its_layers_are_or_by_a_function() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    def graph_of(*layers: nn.Module) -> Graph:
        torch.manual_seed(0)
        return trace(nn.Sequential(nn.Sequential(*layers), nn.Linear(6, 2)), torch.randn(8, 6))

    state = torch.get_rng_state()
    graph = graph_of(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh())
    torch.set_rng_state(state)
    norm = graph.model.get_submodule("0.1")
    norm.get_buffer("running_mean").fill_(3.0)
    graph = apply(graph, redraw(graph, "0", seed=5))
    drawn = graph.model.get_submodule("1")
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn.get_buffer("1.running_mean").eq(0).all()
    assert drawn.get_parameter("0.weight").abs().max() <= 6**-0.5
    graph = graph_of(nn.Linear(6, 6), Own())
    with pytest.raises(EditError, match=r"Own \(1\) holds scale and has no reset_parameters"):
        apply(graph, redraw(graph, "0"))
    graph = apply(graph, redraw(graph, "0", draw=lambda block: nn.init.constant_(block[1].scale, 7.0)))
    assert graph.model.get_parameter("1.1.scale").eq(7).all()
    attention = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    graph = trace(nn.Sequential(attention, nn.Linear(6, 2)), torch.randn(2, 3, 6))
    apply(graph, redraw(graph, "0"))


@pytest.mark.parametrize("path", ["0", "stage2.0", "conv1"])
def test_blocks_without_an_identity_are_refused(path: str) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), nn.Conv2d(3, 2, 1))
    model = plain if path == "0" else zoo.build("resnet", (3, 8, 8), 3, blocks=(1, 1), channels=(4, 8))
    graph = trace(model, torch.randn(2, 3, 8, 8))
    with pytest.raises(EditError, match=f"no copy of '{path}' passes its input on.* stack makes an inexact copy"):
        copy_block(graph, path)
    if path == "stage2.0":
        with pytest.raises(EditError, match="not possible"):
            apply(graph, stack(graph, path))


@pytest.mark.parametrize("spatial", [0, 1, 2])
@pytest.mark.parametrize("with_data", [False, True])
def test_an_identity_with_a_batch_norm(spatial: int, with_data: bool) -> None:
    torch.manual_seed(0)
    layer = (nn.Linear, nn.Conv1d, nn.Conv2d)[spatial]
    model = nn.Sequential(layer(3, 4, *[1] * bool(spatial)), nn.ReLU(), layer(4, 2, *[1] * bool(spatial))).double()
    x = torch.randn(16, 3, *[4] * spatial).double()
    features = output(model[:2], x)
    before = output(model, x)
    graph = trace(model, x)
    apply(graph, identity(graph, "1", norm=True, data=[x[:8], x[8:]] if with_data else None))
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-12)
    norm = model[2][1]
    rows = features.movedim(1, -1).flatten(0, -2)
    assert torch.allclose(norm.running_mean, rows.mean(0), rtol=0, atol=1e-12)
    assert torch.allclose(norm.running_var, rows.var(0), rtol=0, atol=1e-12)
    # On the batch that the statistics are of, training mode differs by the bias of the variance alone.
    model.train()
    bias = (rows.var(0, correction=0) + norm.eps).rsqrt() * (rows.var(0) + norm.eps).sqrt()
    expected = (rows - rows.mean(0)) * bias + rows.mean(0)
    found = model[1:3](output(model[0], x)).movedim(1, -1).flatten(0, -2)
    assert torch.allclose(found, expected.relu(), rtol=0, atol=1e-10)


def test_no_batch_norm_behind_tokens() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with pytest.raises(EditError, match="a batch norm behind '0' is not possible: its output holds channels last"):
        identity(trace(model, torch.randn(2, 5, 3)), "0", norm=True)
