"""Depth edits in lists of modules: an entry comes where the forward runs one more, and goes where it runs one less."""

import copy
import functools
import runpy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nets import output, same, snapshot, trained
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph import EditError, Graph, apply, identity, load, residual, save, shallow, trace, undo, widen
from netmorph.edit import Edit, copy_block, forget, stack
from netmorph.edit.journal import LoadError, read_back, rebuild
from netmorph.export import write_code


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x).relu())


class Blocks(nn.Module):
    """Three blocks in a list, run by a forward that tests write."""

    def __init__(self, run: Callable[["Blocks", Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(3))
        self.head, self.run = nn.Linear(6, 2), run or one_by_one
        self.depth, self.config = 3, SimpleNamespace(width=6, layers=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(self, x))


def one_by_one(net: Blocks, x: Tensor) -> Tensor:
    for block in net.blocks:
        x = block(x)
    return x


def enumerated(net: Blocks, x: Tensor) -> Tensor:
    for number, block in enumerate(net.blocks):
        x = block(x) if number >= 0 else x
    return x


def as_often_as_told(net: Blocks, x: Tensor) -> Tensor:
    for number in range(net.depth):
        x = net.blocks[number](x)
    return x


def up_to_a_setting(net: Blocks, x: Tensor) -> Tensor:
    for block in net.blocks[: net.config.layers]:
        x = block(x)
    return x


def cut_in_two(net: Blocks, x: Tensor) -> Tensor:
    for block in net.blocks[:2]:
        x = block(x)
    x = net.norms[0](x)
    for block in net.blocks[2:]:
        x = block(x)
    return x


def by_fixed_numbers(net: Blocks, x: Tensor) -> Tensor:
    return net.blocks[2](net.blocks[1](net.blocks[0](x)))


def beside_norms(net: Blocks, x: Tensor) -> Tensor:
    for block, norm in zip(net.blocks, net.norms, strict=False):
        x = block(norm(x))
    return x


def other_at_one(net: Blocks, x: Tensor) -> Tensor:
    for number, block in enumerate(net.blocks):
        x = block(x)
        if number == 1:
            x = x * 2
    return x


def activated_but_the_last(net: Blocks, x: Tensor) -> Tensor:
    for number, block in enumerate(net.blocks):
        x = block(x).relu() if number < len(net.blocks) - 1 else block(x)
    return x


def summed(net: Blocks, x: Tensor) -> Tensor:
    return torch.stack([block(x) for block in net.blocks]).sum(0)


def other_in_training(net: Blocks, x: Tensor) -> Tensor:
    for number, block in enumerate(net.blocks):
        x = block(x) * (2 if net.training and number == 1 else 1)
    return x


def random_in_training(net: Blocks, x: Tensor) -> Tensor:
    for block in net.blocks:
        x = x if net.training and torch.rand(()) < 0.5 else F.dropout(block(x), 0.5, net.training)
    return x


def again_and_again(net: Blocks, x: Tensor) -> Tensor:
    for _ in range(2):
        x = one_by_one(net, x)
    return x


X = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def built(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().double()


class Own(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            x = block(x)
        return x


LISTS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "list": (Blocks, "blocks", ""),
    "sequential": (lambda: nn.Sequential(Block(), Block(), Block(), nn.Linear(6, 2)), "", ""),
    "subclass": (lambda: nn.Sequential(Own(Block(), Block(), Block()), nn.Linear(6, 2)), "0", ""),
    "named": (
        lambda: nn.Sequential(nn.Sequential(OrderedDict((f"layer_{i}", Block()) for i in (1, 2, 3))), nn.Linear(6, 2)),
        "0",
        "layer_",
    ),
}
EDITS: dict[str, Callable[[Graph, str], Edit]] = {"copy": copy_block, "stack": stack, "residual": residual}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", LISTS)
def test_an_entry_comes_and_all_else_stays(name: str, edit: str, tmp_path: Path) -> None:
    make, path, prefix = LISTS[name]
    model = built(make)
    average = copy.deepcopy(model)
    optimizer = trained(model, X, torch.optim.Adam(model.named_parameters(), lr=1e-3))
    container = model.get_submodule(path)
    size, first = len(container), 1 if prefix else 0
    at = f"{path}.{prefix}{first + 1}".lstrip(".")
    entries, before, start = list(container.children()), output(model, X), snapshot(model, optimizer)
    states = {id(p): state["exp_avg"].clone() for p, state in optimizer.state.items()}
    graph = trace(model, X, copies=[average])
    graph = apply(graph, EDITS[edit](graph, at), optimizer)
    now = list(container.children())
    assert model.get_submodule(path) is container
    assert len(container) == size + 1
    assert [*now[:2], *now[3:]] == entries  # the same objects; modules compare by identity
    assert list(container._modules) == [f"{prefix}{first + number}" for number in range(size + 1)]
    assert edit == "stack" or torch.allclose(output(model, X), before, rtol=0, atol=1e-12)
    assert repr(model) == repr(average)
    assert {id(p): state["exp_avg"] for p, state in optimizer.state.items()}.keys() == states.keys()
    assert all(torch.equal(optimizer.state[p]["exp_avg"], states[id(p)]) for p in optimizer.state)
    members = optimizer.param_groups[0]
    assert [id(p) for p in members["params"]] == [id(p) for p in model.parameters()]
    assert members["param_names"] == [key for key, _ in model.named_parameters()]
    save(tmp_path / "net", model, graph.journal)
    again, journal = load(tmp_path / "net", lambda: built(make))
    assert repr(again) == repr(model)
    assert torch.equal(output(again, X), output(model, X))
    assert [entry.edit for entry in journal] == [entry.edit for entry in graph.journal]
    write_code(graph, tmp_path / "net.py")
    code: nn.Module = runpy.run_path(str(tmp_path / "net.py"))["load"]()
    assert torch.allclose(output(code, X), output(model, X), rtol=0, atol=1e-12)
    apply(graph, undo(graph), optimizer)
    assert same(start, snapshot(model, optimizer))


def test_copies_of_copies_widened_saved_and_taken_back(tmp_path: Path) -> None:
    model = built(Blocks)
    optimizer = trained(model, X, torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9))
    optimizer.zero_grad()  # no gradient comes back
    start, before = snapshot(model, optimizer), output(model, X)
    graph = trace(model, X)
    steps: list[Callable[[Graph], Edit]] = [
        lambda graph: copy_block(graph, "blocks.0"),
        lambda graph: copy_block(graph, "blocks.1"),
        lambda graph: widen(graph, "blocks.4.a", 11),
        lambda graph: copy_block(graph, "blocks.4"),
        lambda graph: widen(graph, "blocks.0.a", 10),
    ]
    for step in steps:
        graph = apply(graph, step(graph), optimizer)
    assert [block.a.out_features for block in model.blocks] == [10, 8, 8, 8, 11, 11]
    assert torch.allclose(output(model, X), before, rtol=0, atol=1e-12)
    save(tmp_path / "net", model, graph.journal)
    again, _ = load(tmp_path / "net", lambda: built(Blocks))
    assert repr(again) == repr(model)
    other = built(Blocks)
    rebuild(other, read_back(graph.journal), [torch.optim.SGD(other.parameters(), lr=1e-3)])
    assert repr(other) == repr(model)
    while graph.journal:
        graph = apply(graph, undo(graph), optimizer)
    assert same(start, snapshot(model, optimizer))


GROWING = [
    (one_by_one, 0),
    (enumerated, 1),
    (cut_in_two, 1),
    (cut_in_two, 2),
    (other_at_one, 2),
    (activated_but_the_last, 0),
    (random_in_training, 1),
    (again_and_again, 1),
]
FIXED = [
    (cut_in_two, 0),
    (by_fixed_numbers, 1),
    (beside_norms, 0),
    (other_at_one, 0),
    (activated_but_the_last, 2),
    (summed, 1),
    (other_in_training, 0),
]


@pytest.mark.parametrize("edit", [copy_block, stack])
@pytest.mark.parametrize(("run", "at", "size"), [(*case, 4) for case in GROWING] + [(*case, 3) for case in FIXED])
def test_the_list_grows_where_the_forward_goes_along(
    run: Callable[[Blocks, Tensor], Tensor], at: int, size: int, edit: Callable[[Graph, str], Edit]
) -> None:
    model = built(lambda: Blocks(run))
    blocks, before = list(model.blocks), output(model, X)
    graph = trace(model, X)
    graph = apply(graph, edit(graph, f"blocks.{at}"))
    assert len(model.blocks) == size
    assert model.blocks[at] is blocks[at] or model.blocks[at][0] is blocks[at]
    assert (graph.journal[-1].error < 1e-12) == (edit is copy_block)
    assert edit is stack or torch.allclose(output(model, X), before, rtol=0, atol=1e-12)
    assert model.depth == model.config.layers == 3  # nothing reads them
    apply(graph, undo(graph))
    assert list(model.blocks) == blocks


@pytest.mark.parametrize(("run", "counts"), [(as_often_as_told, (4, 3)), (up_to_a_setting, (3, 4))])
def test_the_number_of_entries_is_set_where_the_forward_reads_it(
    run: Callable[[Blocks, Tensor], Tensor], counts: tuple[int, int], tmp_path: Path
) -> None:
    model = built(lambda: Blocks(run))
    settings, before, start = model.config, output(model, X), snapshot(model)
    graph = trace(model, X)
    graph = apply(graph, copy_block(graph, "blocks.2"))
    assert (model.depth, model.config.layers) == counts
    assert settings.layers == 3  # another model may hold them
    assert torch.allclose(output(model, X), before, rtol=0, atol=1e-12)
    save(tmp_path / "net", model, graph.journal)
    again, _ = load(tmp_path / "net", lambda: built(lambda: Blocks(run)))
    assert torch.equal(output(again, X), output(model, X))
    graph = apply(graph, shallow(graph, "blocks.3"))
    assert (model.depth, model.config.layers) == (3, 3)
    for _ in graph.journal:
        graph = apply(graph, undo(graph))
    assert (model.depth, model.config.layers) == (3, 3)
    assert same(start, snapshot(model))


def test_a_copy_shares_the_settings_that_all_blocks_share() -> None:
    model = built(lambda: Blocks(up_to_a_setting))
    for number, block in enumerate(model.blocks):
        block.config, block.own = model.config, SimpleNamespace(seen=number * 7)
    graph = trace(model, X)
    for path in ("blocks.0", "blocks.1"):
        graph = apply(graph, copy_block(graph, path))
    assert model.config.layers == 5
    assert all(block.config is model.config for block in model.blocks)
    assert len({id(block.own) for block in model.blocks}) == 5


@pytest.mark.parametrize("path", ["blocks.0", "blocks.1"])
def test_settings_of_each_entry_are_its_own_where_the_model_lists_them(path: str, tmp_path: Path) -> None:
    def make() -> Blocks:
        model = built(Blocks)
        model.listed = [SimpleNamespace(number=number, common=model.config) for number in range(3)]
        for block, settings in zip(model.blocks, model.listed, strict=True):
            block.settings = settings
        return model

    model = make()
    graph = trace(model, X)
    graph = apply(graph, copy_block(graph, path))
    save(tmp_path / "net", model, graph.journal)
    loaded, _ = load(tmp_path / "net", make)
    for net in (model, loaded):
        assert len({id(block.settings) for block in net.blocks}) == 4
        assert all(block.settings.common is net.config for block in net.blocks)


@pytest.mark.parametrize("entries", [1, 2])
def test_a_copy_shares_what_nothing_else_in_its_list_can_tell_of(entries: int) -> None:
    model = built(Blocks)
    model.blocks = nn.ModuleList([model.blocks[0], nn.Tanh()][:entries])
    model.blocks[0].config = model.config
    graph = trace(model, X)
    apply(graph, copy_block(graph, "blocks.0"))
    assert model.blocks[1].config is model.config


def test_pytorchs_encoder_counts_its_layers() -> None:
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    model = built(lambda: nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Linear(6, 2)))
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    graph = trace(model, x)
    graph = apply(graph, stack(graph, "0.layers.0"))
    assert model[0].num_layers == len(model[0].layers) == 3
    apply(graph, undo(graph))
    assert model[0].num_layers == len(model[0].layers) == 2


@pytest.mark.parametrize("kind", ["trained", "from a file"])
def test_an_entry_that_was_trained_is_taken_out_again(kind: str) -> None:
    model = built(lambda: Blocks(as_often_as_told))
    optimizer, blocks = torch.optim.Adam(model.parameters(), lr=1e-2), list(model.blocks)
    graph = trace(model, X)
    graph = apply(graph, copy_block(graph, "blocks.0"), optimizer)
    if kind == "trained":
        trained(model, X, optimizer)
    else:
        graph = trace(model, X, read_back(forget(graph).journal))
    weights = [p.detach().clone() for block in blocks for p in block.parameters()]
    graph = apply(graph, undo(graph), optimizer)
    assert list(model.blocks) == blocks
    assert model.depth == 3
    assert all(torch.equal(p, old) for p, old in zip(model.blocks.parameters(), weights, strict=True))
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in model.parameters()}
    assert not graph.journal


def test_shallow_takes_an_entry_out(tmp_path: Path) -> None:
    model = built(Blocks)
    optimizer = trained(model, X, torch.optim.Adam(model.parameters(), lr=1e-3))
    optimizer.zero_grad()  # no gradient comes back
    blocks, start = list(model.blocks), snapshot(model, optimizer)
    expected = model.head(blocks[2](blocks[0](X)))
    graph = trace(model, X)
    graph = apply(graph, shallow(graph, "blocks.1"), optimizer)
    assert list(model.blocks) == [blocks[0], blocks[2]]
    torch.testing.assert_close(model(X), expected, rtol=0, atol=1e-12)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]
    save(tmp_path / "net", model, graph.journal)
    again, _ = load(tmp_path / "net", lambda: built(Blocks))
    assert torch.equal(output(again, X), output(model, X))
    apply(graph, undo(graph), optimizer)
    assert same(start, snapshot(model, optimizer))


def test_shallow_leaves_what_the_forward_asks_for() -> None:
    model = built(lambda: Blocks(by_fixed_numbers))
    graph = trace(model, X)
    apply(graph, shallow(graph, "blocks.1"))
    assert [type(block) for block in model.blocks] == [Block, nn.Identity, Block]
    single = built(lambda: nn.Sequential(nn.Sequential(Block()), nn.Linear(6, 2)))
    graph = trace(single, X)
    apply(graph, shallow(graph, "0.0"))
    assert [type(block) for block in single[0]] == [nn.Identity]


def test_a_removed_entry_comes_back_behind_trained_ones() -> None:
    model = built(Blocks)
    optimizer, blocks = torch.optim.Adam(model.parameters(), lr=1e-2), list(model.blocks)
    graph = trace(model, X)
    graph = apply(graph, shallow(graph, "blocks.0"), optimizer)
    trained(model, X, optimizer)
    weights = [p.detach().clone() for p in model.blocks.parameters()]
    apply(graph, undo(graph), optimizer)
    assert list(model.blocks) == blocks
    assert all(torch.equal(p, old) for p, old in zip([*model.blocks.parameters()][4:], weights, strict=True))


class Told(nn.Module):
    """A block that looks at its neighbourhood alone, if it is told so; on short inputs all is near."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(6, 18), nn.Linear(6, 6)

    def forward(self, x: Tensor, near: int | None = None, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        steps = torch.arange(len(x))
        scores = (q @ k.mT * 0.4).masked_fill((steps[:, None] - steps).abs() >= (near or 99), float("-inf"))
        return x + self.proj((scores if mask is None else scores + mask).softmax(-1) @ v)


def by_parity(net: Blocks, x: Tensor) -> Tensor:
    for number, block in enumerate(net.blocks):
        x = block(x, 8 if number % 2 else 99)
    return x


def by_a_list(net: Blocks, x: Tensor) -> Tensor:
    for number, block in enumerate(net.blocks):
        x = block(x, {"near": 8, "far": 99}[net.config.kinds[number]])
    return x


def unseen_by_a_list(net: Blocks, x: Tensor) -> Tensor:
    for number, block in enumerate(net.blocks):
        x = block(x, 8 if net.config.kinds[number] == "near" and len(x) > 8 else None)
    return x


def one_of_two_masks(net: Blocks, x: Tensor) -> Tensor:
    masks = [torch.zeros(len(x), len(x), dtype=x.dtype) for _ in range(2)]
    for number, block in enumerate(net.blocks):
        x = block(x, mask=masks[number % 2])
    return x


@pytest.mark.parametrize("run", [by_parity, by_a_list, unseen_by_a_list, one_of_two_masks])
def test_what_entries_are_given_by_number_does_not_move_to_others(run: Callable[[Blocks, Tensor], Tensor]) -> None:
    model = built(lambda: Blocks(run))
    model.blocks = nn.ModuleList(Told().double() for _ in range(4))
    model.config.kinds = ["near", "far", "near", "far"]
    long, blocks, kinds = torch.randn(20, 6, dtype=torch.float64), list(model.blocks), model.config.kinds
    before = output(model, long)
    graph = trace(model, X)
    with pytest.raises(EditError):
        apply(graph, shallow(graph, "blocks.1"))
    assert list(model.blocks) == blocks
    graph = apply(graph, copy_block(graph, "blocks.0"))
    assert len(model.blocks) == 4
    assert model.config.kinds is kinds
    assert torch.allclose(output(model, long), before, rtol=0, atol=1e-12)


def test_a_list_beside_the_entries_that_holds_the_same_for_all() -> None:
    model = built(lambda: Blocks(by_a_list))
    model.blocks, model.config.kinds = nn.ModuleList(Told().double() for _ in range(3)), ["far"] * 3
    graph = trace(model, X)
    apply(graph, shallow(graph, "blocks.1"))
    assert len(model.blocks) == 2


def test_lists_beside_the_entries_that_hold_nothing_for_each() -> None:
    model = built(lambda: Blocks(lambda net, x: one_by_one(net, x.reshape(*net.shape).flatten(1))))
    model.shape, model.config.notes = (4, 3, 2), ["a", "b", "c"]
    graph = trace(model, X, auxiliary=False)
    apply(graph, copy_block(graph, "blocks.0"))
    assert len(model.blocks) == 4
    assert model.shape == (4, 3, 2)


def test_gradients_that_are_stopped_by_number_stay_with_their_entries() -> None:
    def frozen(net: Blocks, x: Tensor) -> Tensor:
        for number, block in enumerate(net.blocks):
            with torch.set_grad_enabled(number >= 2 and torch.is_grad_enabled()):
                x = block(x)
        return x

    model = built(lambda: Blocks(frozen))
    graph = trace(model, X)
    apply(graph, copy_block(graph, "blocks.0"))
    model(X).sum().backward()
    assert len(model.blocks) == 3
    assert model.blocks[1].a.weight.grad is None


def tapped(net: Blocks, x: Tensor) -> Tensor:
    taps = []
    for block in net.blocks:
        taps.append(x := block(x))
    return taps[0] + taps[2]


def test_a_new_entry_is_read() -> None:
    model = built(lambda: Blocks(tapped))
    graph = trace(model, X)
    apply(graph, copy_block(graph, "blocks.2"))
    assert len(model.blocks) == 3
    model(X).sum().backward()
    assert all(p.grad is not None for p in model.blocks.parameters())


@pytest.mark.parametrize("scale", [0.0, 1e-13])
def test_modules_that_run_behind_some_entries_stay_there(scale: float) -> None:
    def adapted(net: Blocks, x: Tensor) -> Tensor:
        for number, block in enumerate(net.blocks):
            x = block(x)
            x = x + net.norms[number](x) if number == 1 else x
        return x

    model = built(lambda: Blocks(adapted))
    nn.init.constant_(model.norms[1].weight, scale)
    graph = trace(model, X)
    blocks = list(model.blocks)
    apply(graph, copy_block(graph, "blocks.0"))
    assert list(model.blocks)[1:] == blocks[1:]


def test_one_count_for_two_lists_is_left_alone() -> None:
    def both(net: Blocks, x: Tensor) -> Tensor:
        for block in [*net.blocks[: net.depth], *net.norms[: net.depth]]:
            x = block(x)
        return x

    model = built(lambda: Blocks(both))
    graph = trace(model, X)
    graph = apply(graph, copy_block(graph, "blocks.0"))
    assert (len(model.blocks), len(model.norms), model.depth) == (3, 3, 3)
    apply(graph, shallow(graph, "blocks.1"))
    assert (len(model.blocks), len(model.norms), model.depth) == (2, 3, 3)


def test_dropout_behind_every_entry_goes_along() -> None:
    def dropped(net: Blocks, x: Tensor) -> Tensor:
        for block in net.blocks:
            x = net.drop(block(x))
        return x

    model = built(lambda: Blocks(dropped))
    model.drop = nn.Dropout(0.1)
    graph = trace(model, X)
    graph = apply(graph, copy_block(graph, "blocks.0"))
    assert len(model.blocks) == 4
    apply(graph, shallow(graph, "blocks.0"))
    assert len(model.blocks) == 3


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_memory_that_runs_out_says_nothing_of_the_forward(error: type[Exception]) -> None:
    def large(net: Blocks, x: Tensor) -> Tensor:
        if len(net.blocks) > 3:
            raise error("all of it")
        return one_by_one(net, x)

    model = built(lambda: Blocks(large))
    graph, before = trace(model, X), snapshot(model)
    with pytest.raises(error, match="all of it"):
        apply(graph, copy_block(graph, "blocks.0"))
    assert same(before, snapshot(model))


Cache = dict[int, tuple[Tensor, Tensor]]


class Attention(nn.Module):
    """One head over all positions so far; keys and values of earlier calls lie in a cache, by the layer's number."""

    def __init__(self, layer_idx: int, first: int) -> None:
        super().__init__()
        self.layer_idx, self.first = layer_idx + first, first
        self.qkv, self.proj = nn.Linear(6, 18), nn.Linear(6, 6)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        if cache is not None:
            if self.layer_idx in cache:
                k, v = (torch.cat(pair, 1) for pair in zip(cache[self.layer_idx], (k, v), strict=True))
            cache[self.layer_idx] = (k, v)
        return self.proj((q @ k.mT * 0.4).softmax(-1) @ v)


class Decoder(nn.Module):
    """A block that takes and returns several things, as those of language models do."""

    def __init__(self, layer_idx: int, first: int) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(layer_idx, first), Block()

    def forward(
        self, x: Tensor, *, cache: dict[int, tuple[Tensor, Tensor]] | None, scale: Tensor
    ) -> tuple[Tensor, ...]:
        x = x + self.attention(x, cache)
        return self.mlp(x), scale


class Language(nn.Module):
    def __init__(self, first: int = 0, fixed: bool = False) -> None:
        super().__init__()
        self.h, self.head = nn.ModuleList(Decoder(number, first) for number in range(3)), nn.Linear(6, 2)
        self.fixed = fixed

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        scale = torch.ones(1)
        for block in (self.h[0], self.h[1], self.h[2]) if self.fixed else self.h:
            x, scale = block(x, cache=cache, scale=scale)
        return self.head(x)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("edit", [copy_block, stack])
def test_blocks_of_a_language_model_keep_their_numbers(edit: Callable[[Graph, str], Edit], first: int) -> None:
    model = built(lambda: Language(first))
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    before = output(model, x)
    graph = trace(model, x)
    graph = apply(graph, edit(graph, "h.0"))
    assert [block.attention.layer_idx - first for block in model.h] == [0, 1, 2, 3]
    assert [block.attention.first for block in model.h] == [first] * 4
    assert edit is stack or torch.allclose(output(model, x), before, rtol=0, atol=1e-12)
    nn.init.normal_(model.h[1].attention.proj.weight)
    cache: Cache = {}
    model(x, cache)
    assert sorted(cache) == [number + first for number in range(4)]
    assert {k.shape[1] for k, _ in cache.values()} == {5}
    graph = trace(model, x)
    graph = apply(graph, shallow(graph, "h.2"))
    assert [block.attention.layer_idx - first for block in model.h] == [0, 1, 2]
    apply(graph, undo(graph))
    assert [block.attention.layer_idx - first for block in model.h] == [0, 1, 2, 3]


def test_numbers_of_numpy_are_saved(tmp_path: Path) -> None:
    model = built(Language)
    for block in model.h:
        block.attention.layer_idx = np.int64(block.attention.layer_idx)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    graph = trace(model, x)
    graph = apply(graph, copy_block(graph, "h.0"))
    save(tmp_path / "net", model, graph.journal)
    loaded, _ = load(tmp_path / "net", lambda: Language().double())
    assert [block.attention.layer_idx for block in loaded.h] == [0, 1, 2, 3]
    assert torch.equal(output(loaded, x), output(model, x))
    graph = replace(graph, journal=read_back(graph.journal))
    apply(graph, undo(graph))
    assert [block.attention.layer_idx for block in model.h] == [0, 1, 2]


class Mixer(nn.Module):
    """A block of another kind, with its number in another place."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.mixer = Attention(number, 0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mixer(x)


class Attending(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.attention = Attention(number, 0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x)


def numbers_of(model: nn.Module) -> list[int]:
    return [module.layer_idx for module in model.modules() if isinstance(module, Attention)]


def test_entries_without_a_number_and_of_other_kinds_between_those_that_have_one() -> None:
    model = built(Blocks)
    kinds = (Attending, Mixer, Attending, Mixer)
    model.blocks = nn.ModuleList(kind(number).double() for number, kind in enumerate(kinds))
    graph = trace(model, X)
    graph = apply(graph, residual(graph, "blocks.0"))
    assert numbers_of(model) == [0, 2, 3, 4]
    graph = apply(graph, copy_block(graph, "blocks.2"))
    assert numbers_of(model) == [0, 2, 3, 4, 5]
    apply(graph, shallow(graph, "blocks.1"))
    assert numbers_of(model) == [0, 1, 2, 3, 4]


def test_numbers_that_run_on_over_two_lists_stay_apart() -> None:
    model = built(Blocks)
    for name, first in (("blocks", 0), ("norms", 2)):
        setattr(model, name, nn.ModuleList(Attending(first + number).double() for number in range(2)))
    model.run = lambda net, x: functools.reduce(lambda x, block: block(x), [*net.blocks, *net.norms], x)
    graph = trace(model, X)
    for path in ("blocks.0", "norms.1"):
        with pytest.raises(EditError, match=r"holds its number.*layer_idx"):
            apply(graph, copy_block(graph, path))
    apply(graph, residual(graph, "blocks.0"))
    assert numbers_of(model) == [0, 1, 2, 3]


def test_numbers_in_settings_that_the_model_lists_as_well() -> None:
    model = built(Blocks)
    model.listed = [SimpleNamespace(layer_idx=number) for number in range(3)]
    for block, settings in zip(model.blocks, model.listed, strict=True):
        block.settings = settings
    graph = trace(model, X)
    graph = apply(graph, copy_block(graph, "blocks.0"))
    assert [block.settings.layer_idx for block in model.blocks] == [0, 1, 2, 3]
    apply(graph, undo(graph))
    assert [block.settings.layer_idx for block in model.blocks] == [0, 1, 2]


class Spread(nn.Module):
    def __init__(self, rate: int) -> None:
        super().__init__()
        self.rate, self.stride, self.out = rate, rate, nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(x.roll(self.rate, -1).relu())


@pytest.mark.parametrize(("run", "size"), [(one_by_one, 3), (lambda net, x: net.blocks[1](net.blocks[0](x)), 2)])
def test_two_settings_in_a_row_are_no_numbers(run: Callable[[Blocks, Tensor], Tensor], size: int) -> None:
    model = built(lambda: Blocks(run))
    model.blocks = nn.ModuleList(Spread(rate).double() for rate in (1, 2))
    graph, before = trace(model, X), output(model, X)
    apply(graph, copy_block(graph, "blocks.0"))
    assert len(model.blocks) == size
    assert [m.rate for m in model.modules() if isinstance(m, Spread)] == [1, 1, 2]
    assert [m.stride for m in model.modules() if isinstance(m, Spread)] == [1, 1, 2]
    assert torch.allclose(output(model, X), before, rtol=0, atol=1e-12)


def test_numbers_that_are_read_as_well_are_in_doubt() -> None:
    model = built(Blocks)
    model.blocks = nn.ModuleList(Spread(rate).double() for rate in (0, 1, 2))
    graph = trace(model, X)
    with pytest.raises(EditError, match="holds its number"):
        apply(graph, copy_block(graph, "blocks.0"))


def test_a_cache_that_is_made_by_the_number_of_layers_grows() -> None:
    def cached(net: Blocks, x: Tensor) -> Tensor:
        cache: list[Tensor | None] = [None] * net.config.layers
        for block in net.blocks:
            x = block(x)
            cache[block.attention.layer_idx] = x
        return x

    model = built(lambda: Blocks(cached))
    model.blocks = nn.ModuleList(Attending(number).double() for number in range(3))
    graph = trace(model, X)
    graph = apply(graph, copy_block(graph, "blocks.0"))
    assert (numbers_of(model), model.config.layers, model.depth) == ([0, 1, 2, 3], 4, 3)
    graph = apply(graph, copy_block(graph, "blocks.3"))  # at the end, where only the copy itself needs the room
    assert (numbers_of(model), model.config.layers, model.depth) == ([0, 1, 2, 3, 4], 5, 3)
    graph = apply(graph, shallow(graph, "blocks.4"))
    apply(graph, shallow(graph, "blocks.0"))
    assert (numbers_of(model), model.config.layers, model.depth) == ([0, 1, 2], 3, 3)


def test_a_copy_that_would_have_the_number_of_another_is_refused() -> None:
    model = built(lambda: Language(fixed=True))
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    before, graph = snapshot(model), trace(model, x)
    with pytest.raises(EditError, match="does not return one tensor"):
        apply(graph, copy_block(graph, "h.0"))
    assert same(before, snapshot(model))


@pytest.mark.parametrize("edit", [copy_block, shallow])
def test_places_of_a_list_that_hold_nothing_move_along(edit: Callable[[Graph, str], Edit], tmp_path: Path) -> None:
    def run(net: Blocks, x: Tensor) -> Tensor:
        for block in net.blocks:
            x = x if block is None else block(x)
        return x

    def make() -> Blocks:
        model = built(lambda: Blocks(run))
        model.blocks[2] = None
        return model

    model = make()
    graph, before = trace(model, X), output(model, X)
    graph = apply(graph, edit(graph, "blocks.0"))
    assert [block is None for block in model.blocks] == [False] * (3 if edit is copy_block else 1) + [True]
    save(tmp_path / "net", model, graph.journal)
    loaded, _ = load(tmp_path / "net", make)
    assert torch.equal(output(loaded, X), output(model, X))
    apply(graph, undo(graph))
    assert len(model.blocks) == 3
    assert torch.equal(output(model, X), before)


def test_a_plan_leaves_the_network_alone() -> None:
    model = built(lambda: Blocks(as_often_as_told))
    model.train()
    graph, before = trace(model, X), snapshot(model)
    plan = copy_block(graph, "blocks.0").plan(graph)
    assert list(plan.inserted) == ["blocks.1"]
    assert same(before, snapshot(model))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_identity_behind_a_layer_that_is_read_by_a_function() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.ModuleList(nn.Linear(6, 6) for _ in range(2)), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = F.relu(layer(x))
            return self.head(x)

    model = built(Layers)
    before, graph = output(model, X), trace(model, X)
    apply(graph, identity(graph, "layers.1"))
    assert len(model.layers) == 3
    assert torch.allclose(output(model, X), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", ["blocks.9", "blocks.0", "head.weight", "blocks.x", "nowhere.1"])
def test_a_journal_that_puts_an_entry_nowhere(path: str) -> None:
    graph = trace(built(Blocks), X)
    (entry,) = apply(graph, copy_block(graph, "blocks.0")).journal
    told = entry.as_json()
    told["modules"] = [[path, spec] for _, spec in told["modules"]]
    other = built(Blocks)
    before = snapshot(other)
    with pytest.raises(LoadError, match="does not fit this base"):
        rebuild(other, (type(entry).from_json(told),))
    assert same(before, snapshot(other))
