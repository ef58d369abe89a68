"""Sizes in a forward follow an edit where they have a source; where they have none, what they count is frozen."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sized_models import (
    Addmm,
    Batched,
    Compared,
    Einsum,
    Fused,
    Gated,
    Grouped,
    HeadDim,
    Multihead,
    Net,
    Normed,
    Shuffle,
    Splits,
    Standardized,
    Stores,
    Tokens,
    Windows,
)
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from netmorph import Allow, TraceError, apply, trace, widen
from netmorph.edit import narrow_all, widen_all
from netmorph.edit.difference import difference
from netmorph.testing import check_groups
from netmorph.testing.masked import masked_outputs
from netmorph.widenings import net2net, random_pad

EXACT = 1e-12


class Between(nn.Module):
    """A function of the features, where a module is needed."""

    def __init__(self, function: Callable[[Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def images(part: nn.Module, out: int | None = None) -> Net:
    return Net(part, out=out, images=True)


def old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.utils.weight_norm(nn.Linear(8, 8))


# The network, and what its attributes become when every group that can change is doubled.
MODELS: dict[str, tuple[Callable[[], Net], dict[str, Any]]] = {
    "fused attention": (lambda: Net(Fused()), {"num_heads": 4, "qkv.out_features": 96, "proj.in_features": 32}),
    "held head width": (lambda: Net(HeadDim()), {"num_heads": 4, "head_dim": 8, "qkv.out_features": 96}),
    "heads in the batch": (lambda: Net(Batched()), {"num_heads": 4, "head_dim": 8, "proj.in_features": 32}),
    "shared keys and rotary positions": (lambda: Net(Grouped()), {"shared": 4, "heads": 16, "q.out_features": 128}),
    "nn.MultiheadAttention": (
        lambda: Net(Multihead()),
        {"attention.num_heads": 4, "attention.head_dim": 8, "attention.embed_dim": 32},
    ),
    "einsum": (lambda: Net(Einsum()), {}),
    "windows": (lambda: images(Windows()), {"num_heads": 4, "window": 2, "norm.normalized_shape": (32,)}),
    "channel shuffle": (lambda: images(Shuffle()), {"groups": 8, "conv.groups": 8, "conv.in_channels": 32}),
    "gates": (lambda: Net(Gated()), {"up.out_features": 24, "down.in_features": 12}),
    "GLU": (lambda: Net(nn.GLU(-1), out=4), {}),
    "held pieces": (lambda: Net(Splits()), {"splits": [4, 12], "tail": 8, "large.in_features": 12}),
    "held shape of a norm": (lambda: Net(Normed()), {"shape": (16,)}),
    "pixel shuffle": (lambda: images(nn.PixelShuffle(2), out=2), {"upscale_factor": 2}),
    "addmm": (lambda: Net(Addmm()), {"nf": 16}),
    "weight norm": (lambda: Net(old_weight_norm()), {"out_features": 16}),
    "parametrized weight norm": (lambda: Net(parametrizations.weight_norm(nn.Linear(8, 8))), {"out_features": 16}),
    "standardized weights": (lambda: images(Standardized(8, 8, 3)), {"out_channels": 16, "in_channels": 16}),
    "class token": (lambda: Net(Tokens()), {}),
    "comparison": (lambda: Net(Compared()), {"dim": 16}),
    "stored sizes": (lambda: Net(Stores()), {"width": 16}),
}


def build(name: str) -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    model = MODELS[name][0]().double().eval()
    shape = (2, 3, 4, 4) if isinstance(model.first, nn.Conv2d) else (2, 5, 3)
    return model, torch.randn(shape).double()


def held(model: nn.Module, name: str) -> Any:
    path, _, attribute = name.rpartition(".")
    return vars(model.get_submodule(path))[attribute]


def ratios(large: Any, small: Any) -> Any:
    """What was divided by how much."""
    return large / small if isinstance(large, int) else [a / b for a, b in zip(large, small, strict=True)]


@torch.no_grad()
def output(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


@pytest.mark.parametrize("name", MODELS)
def test_widened(name: str) -> None:
    model, x = build(name)
    before = output(model, x)
    graph = trace(model, x)
    assert graph.editable(), "everything is frozen"
    free = {group.name: 2 * group.size for group in graph.editable(Allow.UNIFORM)}
    rest = {group.name: 2 * group.size for group in graph.editable() if group.name not in free}
    if free:
        graph = apply(graph, widen_all(graph, free, net2net))
        assert difference(before, output(model, x)) <= EXACT
    if rest:
        apply(graph, widen_all(graph, rest, random_pad))
    assert output(model, x).shape == before.shape
    for attribute, value in MODELS[name][1].items():
        assert held(model.part, attribute) == value, attribute


@pytest.mark.parametrize("name", MODELS)
def test_narrowed(name: str) -> None:
    model, x = build(name)
    sizes = {attribute: held(model.part, attribute) for attribute in MODELS[name][1]}
    graph = trace(model, x)
    kept = {group.name: range(0, group.size, 2) for group in graph.editable() if group.size % 2 == 0}
    masked = masked_outputs(graph, kept)
    apply(graph, narrow_all(graph, kept))
    assert difference(masked, [output(model, x)]) <= EXACT
    for attribute, doubled in MODELS[name][1].items():
        assert ratios(sizes[attribute], held(model.part, attribute)) == ratios(doubled, sizes[attribute]), attribute


# -- sizes without a source -------------------------------------------------------------------------------------------

LITERALS: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda x: x.view(2, 5, 2, 4).flatten(2),
    "reshape": lambda x: x.reshape(-1, 8),
    "unflatten": lambda x: x.unflatten(-1, (2, 4)).flatten(2),
    "split": lambda x: torch.cat(x.split(4, -1), -1),
    "split in pieces": lambda x: torch.cat(x.split([3, 5], -1), -1),
    "slice": lambda x: torch.cat([x[..., :3], x[..., 3:]], -1),
    "slice of all": lambda x: x[..., :8],
    "expand": lambda x: x + x.mean(-1, keepdim=True).expand(2, 5, 8),
    "zeros": lambda x: x + torch.zeros(8),
    "new_ones": lambda x: x + x.new_ones(5, 8),
    "layer_norm": lambda x: F.layer_norm(x, (8,)),
    "heads": lambda x: x.view(*x.shape[:-1], 2, x.shape[-1] // 2).flatten(-2),
    "a sum": lambda x: x.reshape(*x.shape[:2], 5 + 3),
}


@pytest.mark.parametrize("name", LITERALS)
def test_a_number_in_the_code_freezes_what_it_counts(name: str) -> None:
    graph = trace(Net(Between(LITERALS[name])), torch.randn(2, 5, 3))
    groups = [group for group in graph.groups.values() if "first.weight" in {site.tensor for site in group.sites}]
    frozen = [group for group in groups if group.allow == Allow.FROZEN and not group.name.endswith(".in")]
    assert frozen
    reasons = " ".join(reason for group in frozen for reason in group.reasons)
    assert "is written in the code" in reasons
    assert f"{__file__}:{LITERALS[name].__code__.co_firstlineno}" in reasons


def test_a_comparison_with_a_number_in_the_code_freezes() -> None:
    graph = trace(Net(Between(lambda x: x.relu() if x.shape[-1] == 8 else x)), torch.randn(2, 5, 3))
    assert graph.group("first").allow == Allow.FROZEN
    assert "compared at" in graph.group("first").reasons[0]


def test_the_number_of_heads_may_be_written_where_their_width_follows() -> None:
    """Two heads in the code are frozen; each may become wider."""
    graph = trace(Net(Between(LITERALS["heads"])), torch.randn(2, 5, 3))
    sizes = {group.size: group.allow for group in graph.groups.values() if group.name.startswith("first")}
    assert sizes[4] == Allow.ANY


# -- the model and PyTorch are left as they were ----------------------------------------------------------------------


def functions() -> list[Any]:
    names = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    return [vars(place).get(name) for place in (F, torch.functional, torch._tensor) for name in names]


def assert_plain(model: nn.Module) -> None:
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            for entry in value if isinstance(value, tuple | list) else [value]:
                assert not isinstance(entry, int) or type(entry) in (int, bool), f"{path}.{name}"


@pytest.mark.parametrize("name", MODELS)
def test_attributes_are_plain_integers_again(name: str) -> None:
    model, x = build(name)
    before = [{key: copy.copy(value) for key, value in vars(m).items() if key[0] != "_"} for m in model.modules()]
    patched = functions()
    trace(model, x)
    assert_plain(model)
    after = [{key: value for key, value in vars(m).items() if key[0] != "_"} for m in model.modules()]
    assert [entry.keys() for entry in before] == [entry.keys() for entry in after]
    sizes = [{key: value for key, value in entry.items() if isinstance(value, int | tuple | list)} for entry in before]
    assert sizes == [{key: entry[key] for key in old} for entry, old in zip(after, sizes, strict=True)]
    assert functions() == patched


def test_all_is_put_back_where_the_forward_raises() -> None:
    def fails(x: Tensor) -> Tensor:
        raise RuntimeError(f"no luck with {F.relu(x).shape}")

    model, patched = Net(Between(fails), width=8), functions()
    with pytest.raises(TraceError, match=r"no luck with torch.Size\(\[2, 5, 8\]\)"):
        trace(model, torch.randn(2, 5, 3))
    assert functions() == patched
    assert_plain(model)


class Exact(nn.Module):
    """Wants its sizes to be exactly integers."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 8

    def forward(self, x: Tensor) -> Tensor:
        if type(self.width) is not int:
            raise TypeError("not an int")
        return x.view(x.shape[0], -1, self.width)


def test_code_that_wants_exactly_an_int_is_recorded_without_sources() -> None:
    model = Net(Exact())
    x = torch.randn(2, 5, 3)
    graph = trace(model, x)
    assert_plain(model)
    assert graph.group("first").allow == Allow.FROZEN
    told = graph.group("first").reasons[0]
    assert re.search(r"the size 8 comes from where tracing cannot follow.*test_sizes\.py:\d+", told)


def test_sizes_inside_a_script_freeze_what_they_count() -> None:
    with pytest.warns(DeprecationWarning, match="script"):
        scripted = torch.jit.script(heads)

    class Scripted(Fused):
        def forward(self, x: Tensor) -> Tensor:
            return scripted(self.proj(x), self.num_heads, self.head_dim).relu().transpose(1, 2).flatten(2)

    model, x = Net(Scripted()).double(), torch.randn(2, 5, 3).double()
    before = output(model, x)
    graph = trace(model, x, strict=True)
    frozen = graph.group("part.proj")
    assert frozen.allow == Allow.FROZEN
    assert "comes from where tracing cannot follow" in frozen.reasons[0]
    assert "aten.view in part" in frozen.reasons[0]
    apply(graph, widen_all(graph, {"first": 16}, net2net))
    assert difference(before, output(model, x)) <= EXACT


def heads(x: Tensor, count: int, width: int) -> Tensor:
    return x.view(x.size(0), x.size(1), count, width).transpose(1, 2)


def test_a_size_that_equals_the_number_of_a_dimension_follows() -> None:
    """The operator of `x[..., :2]` on three dimensions is given the dimension 2 before the size 2."""

    class Slices(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.first, self.last = 2, nn.Linear(3, 4), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(x[..., : self.hidden] * x[..., self.hidden :])

    model, x = Slices().double(), torch.randn(2, 5, 3).double()
    before = model(x).detach()
    graph = trace(model, x)
    graph = apply(graph, widen_all(graph, {"first": 4}, net2net))
    assert (model.hidden, model.first.out_features) == (4, 8)
    assert difference(before, model(x).detach()) <= EXACT


def test_a_multiple_of_a_held_size_may_count_parts_or_channels() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads, self.width = 2, 4
            self.up, self.down = nn.Linear(5, 24), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            made = self.up(x).view(len(x), self.heads, self.width * 3)
            query, key, value = made.chunk(3, -1)
            return self.down((query * key + value).flatten(1))

    graph = check_groups(Parts(), torch.randn(3, 5), strict=True)
    apply(graph, widen(graph, "up.width" if "up.width" in graph.groups else "width", 7))
    assert (graph.model.width, graph.model.up.out_features) == (7, 42)
    assert graph.group("up").allow == Allow.ANY


def test_a_width_that_an_operator_counts_down_from_stays() -> None:
    class Window(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.radius, self.read = 2, nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.read(x) * torch.linspace(-self.radius, self.radius, 3).to(x)

    model = Window()
    graph = trace(model, torch.randn(2, 4))
    assert graph.group("read").allow == Allow.FROZEN
    assert model.radius == 2


@pytest.mark.parametrize("other", [5, 6], ids=["told apart by value", "of equal value"])
def test_sizes_in_a_tensor_that_nobody_hears_of(other: int) -> None:
    """An old constructor tells no one what it was given: which size it was, if only one can be meant."""

    def gate(y: Tensor, held: Tensor) -> Tensor:
        return y[:, : held[0]].tanh() * y[:, held[0] :].sigmoid()

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width, self.other = 6, other
            self.stream, self.inner, self.read = nn.Linear(4, 6), nn.Linear(6, 12), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            held = torch.IntTensor([self.width])
            y = self.stream(x)
            return self.read(y + gate(self.inner(y), held)) * (self.other - 4)

    model = Gated()
    graph = check_groups(model, torch.randn(3, 4))
    assert graph.group("inner").allow == (Allow.FROZEN if other == 6 else Allow.ANY)
    if other != 6:
        apply(graph, widen(graph, "inner", 9))
        assert (graph.model.width, graph.model.inner.out_features) == (9, 18)
