"""The zoo's GPT: what its groups allow, and every edit on it, tied and untied, with either norm."""

import copy
import importlib.util
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from netmorph import (
    Allow,
    EditError,
    apply,
    factorize,
    identity,
    load,
    narrow,
    residual,
    save,
    shallow,
    trace,
    undo,
    widen,
    zoo,
)
from netmorph.edit import Base, copy_block, linearize, narrow_all, stack
from netmorph.export import write_code
from netmorph.graph import Graph
from netmorph.measure.cost import parameters
from netmorph.testing.masked import masked_outputs
from netmorph.widenings import net2net, r2r
from netmorph.zoo import ModelError

CONTEXT, TOKENS = (8,), 11
SMALL = {"channels": 12, "heads": 3, "depth": 2, "mlp_ratio": 2}
KINDS = {
    "tied": {},
    "tied rms": {"norm": "rms"},
    "untied": {"tied": False},
    "untied rms": {"tied": False, "norm": "rms"},
}
UNTIED = [name for name in KINDS if "untied" in name]


def build(kind: str = "tied", **options: object) -> tuple[nn.Module, Tensor]:
    """In float64, with weights and norms as after some training."""
    torch.manual_seed(1)
    model = zoo.build("gpt", CONTEXT, TOKENS, **(SMALL | KINDS[kind] | options)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + (parameter.dim() == 1))
    return model, zoo.example("gpt", CONTEXT, TOKENS)


@torch.no_grad()
def logits(model: nn.Module, ids: Tensor) -> Tensor:
    return copy.deepcopy(model).eval()(ids)


def error(before: Tensor, after: Tensor) -> float:
    return float((before - after).abs().max() / before.abs().max())


def loss(model: nn.Module, ids: Tensor) -> Tensor:
    """Of the tokens behind each."""
    return cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, ids: Tensor, steps: int) -> float:
    """The loss behind some steps."""
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model, ids).backward()
        optimizer.step()
    return loss(model, ids).item()


def test_parameter_count_and_logits() -> None:
    model = zoo.build("gpt", (64,), 256)
    assert sum(parameter.numel() for parameter in model.parameters()) == 834_304
    assert model(torch.randint(256, (3, 64))).shape == (3, 64, 256)
    assert sum(p.numel() for p in zoo.gpt((64,), 256, tied=False).parameters()) == 834_304 + 256 * 128


def test_a_position_sees_those_before_it_alone() -> None:
    model, ids = build()
    changed = ids.clone()
    changed[:, 5] = (changed[:, 5] + 1) % TOKENS
    before, after = logits(model, ids), logits(model, changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).all(-1).all()
    assert error(before[:, :3], logits(model, ids[:, :3])) < 1e-12


def test_too_long_a_sequence() -> None:
    with pytest.raises(ModelError, match="at most 8 tokens at once, got 9"):
        build()[0](torch.zeros(1, 9, dtype=torch.long))


def test_first_weights_are_those_of_gpt2() -> None:
    torch.manual_seed(0)
    model = zoo.gpt(CONTEXT, 300, depth=8, channels=256)
    assert model.tokens.weight is model.head.weight
    for weight, deviation in (
        (model.tokens.weight, 0.02),
        (model.blocks[3].attention.query.weight, 0.02),
        (model.blocks[3].attention.out.weight, 0.02 / 4),
        (model.blocks[7].fc2.weight, 0.02 / 4),
    ):
        assert float(weight.detach().std()) == pytest.approx(deviation, rel=0.03)
    biases = [bias for name, bias in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 8 * 8 + 1
    assert not any(bias.any() for bias in biases)
    assert loss(model, torch.randint(300, (4, 8))).item() == pytest.approx(math.log(300), rel=0.05)


def test_width_and_channels_are_rounded_up_to_heads() -> None:
    model = zoo.gpt(CONTEXT, TOKENS, width=0.25, channels=50, heads=4, mlp_ratio=1.5)
    assert (model.tokens.embedding_dim, model.blocks[0].fc1.out_features) == (12, 18)
    assert zoo.gpt(CONTEXT, TOKENS, channels=50, heads=4).tokens.embedding_dim == 52


def test_dropout_is_for_training() -> None:
    model, ids = build(dropout=0.5)
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 8, 8), {}, "its input_shape is the context alone, such as (64,); got (3, 8, 8)"),
        (CONTEXT, {"norm": "batch"}, "norm must be one of layer, rms, got 'batch'"),
        (CONTEXT, {"depth": 0}, "depth and heads must be at least 1 and mlp_ratio positive, got depth=0, heads=4"),
        (CONTEXT, {"heads": 0}, "got depth=4, heads=0"),
        (CONTEXT, {"mlp_ratio": -1}, "mlp_ratio=-1"),
        (CONTEXT, {"dropout": 1}, "dropout is a probability below 1, got 1"),
        (CONTEXT, {"width": 0}, "width must be a positive number"),
    ],
)
def test_errors(shape: tuple[int, ...], options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        zoo.build("gpt", shape, TOKENS, **options)


# -- width -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_groups(kind: str) -> None:
    graph = trace(*build(kind))
    told = {name: (group.size, group.allow) for name, group in graph.groups.items()}
    blocks = {
        f"blocks.{block}.{part}": expected
        for block in (0, 1)
        for part, expected in {
            "attention.query": (3, Allow.ANY),  # the heads
            "attention.head_dim": (4, Allow.INEXACT),
            "attention.value": (4, Allow.ANY),
            "fc1": (24, Allow.ANY),
        }.items()
    }
    stream = {"tokens": (12, Allow.UNIFORM if kind in UNTIED else Allow.INEXACT)}
    (outputs,) = told.keys() - blocks.keys() - stream.keys()
    assert outputs.startswith("head")
    assert told == blocks | stream | {outputs: (TOKENS, Allow.FROZEN)}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_free_widens_exactly(kind: str) -> None:
    model, ids = build(kind)
    before = logits(model, ids)
    graph = trace(model, ids)
    generator = torch.Generator().manual_seed(0)
    for group in graph.editable(Allow.ANY):
        graph = apply(graph, widen(graph, group.name, group.size + 2))
        assert error(before, logits(model, ids)) < 1e-12, group.name
    assert (model.blocks[0].attention.heads, model.blocks[0].attention.query.out_features) == (5, 20)
    for name, to in (("tokens", 13), ("blocks.0.attention.head_dim", 7), ("tokens", 17)):
        graph = apply(graph, widen(graph, name, to))
        assert graph.journal[-1].edit.method == "lemon"
        assert error(before, logits(model, ids)) < 1e-12, name
    assert model.norm.weight.shape == (17,)
    if kind in UNTIED:
        graph = apply(graph, widen(graph, "tokens", 34, lambda n, m, _: net2net(n, m, generator)))
        assert error(before, logits(model, ids)) < 1e-12
    else:
        with pytest.raises(EditError, match=r"tied weights.*take netmorph.widenings.lemon"):
            widen(graph, "tokens", 34, net2net)


@pytest.mark.parametrize("kind", KINDS)
def test_narrowing_everything_is_the_masked_original(kind: str) -> None:
    model, ids = build(kind)
    graph = trace(model, ids)
    kept = {group.name: range(0, group.size, 2) for group in graph.editable()}
    assert len(kept) >= 6
    expected = masked_outputs(graph, kept)
    graph = apply(graph, narrow_all(graph, kept))
    assert error(expected[0], logits(model, ids)) < 1e-12
    graph = apply(graph, narrow(graph, "tokens", range(6)))  # the stream too, not exactly
    assert model.head.weight.shape == (TOKENS, 6)
    assert (model.head.weight is model.tokens.weight) == (kind not in UNTIED)
    assert model(ids).isfinite().all()


# -- depth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", ["blocks.0", "blocks.1", "tokens", "dropout"])
def test_deepening(kind: str, at: str) -> None:
    ways = {"residual": residual, "identity": identity}
    if at.startswith("blocks"):
        ways["copy"] = copy_block
    for method, way in ways.items():
        model, ids = build(kind)
        before, names = logits(model, ids), list(model.state_dict())
        graph = trace(model, ids)
        graph = apply(graph, way(graph, at))
        assert error(before, logits(model, ids)) < 1e-12, method
        assert (model.head.weight is getattr(model.tokens, "0", model.tokens).weight) == (kind not in UNTIED)
        graph = apply(graph, undo(graph))
        assert torch.equal(before, logits(model, ids))
        assert list(model.state_dict()) == names


def test_stacked_and_taken_out_again() -> None:
    model, ids = build()
    before = logits(model, ids)
    graph = trace(model, ids)
    graph = apply(graph, stack(graph, "blocks.1"))
    assert error(before, logits(model, ids)) > 1e-6
    graph = apply(graph, shallow(graph, "blocks.2"))
    assert torch.equal(before, logits(model, ids))
    with pytest.raises(EditError, match="linearize keeps it as one layer"):
        shallow(graph, "blocks.0", data=[ids])
    graph = apply(graph, linearize(graph, "blocks.0", [ids]))  # 16 positions for 12 channels
    graph = apply(graph, shallow(graph, "blocks.1", data=[ids]))  # into that layer
    assert [tuple(parameter.shape) for parameter in model.blocks.parameters()] == [(12, 12), (12,)]
    assert graph.editable(Allow.ANY) == []


def test_factors_of_a_layer_have_a_width_of_their_own() -> None:
    model, ids = build()
    before = logits(model, ids)
    graph = trace(model, ids)
    graph = apply(graph, factorize(graph, "blocks.0.fc1", rank=12))
    graph = apply(graph, widen(graph, "blocks.0.fc1.0", 14))
    assert error(before, logits(model, ids)) < 1e-12


# -- training, files, code -------------------------------------------------------------------------------------------


def grow(graph: Graph, optimizer: Sequence[torch.optim.Optimizer] = ()) -> Graph:
    """A width of each sort, and a block."""
    for name, to in (("blocks.0.fc1", 30), ("blocks.0.attention.query", 4), ("blocks.1.attention.value", 7)):
        graph = apply(graph, widen(graph, name, to), optimizer)
    return apply(graph, copy_block(graph, "blocks.1"), optimizer)


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_after_edits(kind: str) -> None:
    torch.manual_seed(0)
    model = zoo.build("gpt", CONTEXT, TOKENS, **(SMALL | KINDS[kind]))
    ids = (torch.arange(8) + torch.arange(TOKENS)[:, None]) % TOKENS  # each token is its forerunner's successor
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    first = learn(model, optimizer, ids, 40)
    assert first < 0.6 * math.log(TOKENS)
    moment = optimizer.state[model.head.weight]["exp_avg"].clone()
    before = logits(model, ids)
    average = copy.deepcopy(model)
    grow(trace(model, ids, copies=[average]), [optimizer])
    assert error(before, logits(model, ids)) < 1e-5
    assert error(before, logits(average, ids)) < 1e-5
    assert torch.equal(optimizer.state[model.head.weight]["exp_avg"], moment)  # no edit touched it
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(map(id, model.parameters()))
    old = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    assert learn(model, optimizer, ids, 20) < first
    assert all((parameter != old[name]).any() for name, parameter in model.named_parameters())
    assert (model.head.weight is model.tokens.weight) == (kind not in UNTIED)


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_takes_its_optimizer_state_along(kind: str) -> None:
    model, ids = build(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    learn(model, optimizer, ids, 2)
    moments = optimizer.state[model.tokens.weight]["exp_avg_sq"].clone()
    graph = trace(model.eval(), ids)
    graph = apply(graph, narrow(graph, "tokens", [0, 3, 4, 7]), optimizer)
    assert torch.equal(optimizer.state[model.tokens.weight]["exp_avg_sq"], moments[:, [0, 3, 4, 7]])
    assert math.isfinite(learn(model, optimizer, ids, 2))


def test_an_edit_is_undone_after_training() -> None:
    model, ids = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    graph = trace(model, ids)
    for edit in (widen(graph, "blocks.0.attention.query", 5, r2r), copy_block(graph, "blocks.0")):
        edited = apply(graph, edit, optimizer)
        assert math.isfinite(learn(model, optimizer, ids, 3))
        graph = apply(edited, undo(edited), optimizer)
        assert graph.groups["blocks.0.attention.query"].size == 3
        assert len(model.blocks) == 2
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters(build()[0])


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    base = Base("gpt", {"input_shape": CONTEXT, "classes": TOKENS, **SMALL, **KINDS[kind]})
    model = base.build().eval()
    ids = zoo.example("gpt", CONTEXT, TOKENS)
    graph = grow(trace(model, ids))
    save(tmp_path / "grown.safetensors", model, graph.journal, base)
    again, journal = load(tmp_path / "grown.safetensors")
    assert torch.equal(logits(model, ids), logits(again, ids))
    assert (again.head.weight is again.tokens.weight) == (kind not in UNTIED)
    graph = trace(again, ids, journal)
    assert graph.groups["blocks.0.fc1"].size == 30


@pytest.mark.parametrize("kind", KINDS)
def test_code_is_the_network_and_can_be_edited(kind: str, tmp_path: Path) -> None:
    model, ids = build(kind, dropout=0.1)
    graph = grow(trace(model, ids))
    write_code(graph, tmp_path / "written.py")
    spec = importlib.util.spec_from_file_location("written", tmp_path / "written.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.load().double()
    assert error(logits(model, ids), logits(written, ids)) < 1e-12
    results = []
    for network in (model, written):
        torch.manual_seed(0)
        results.append(network.train()(ids).detach())
    assert error(*results) < 1e-12  # the same units dropped
    assert (written.head.weight is written.tokens.weight) == (kind not in UNTIED)
    graph = trace(written.eval(), ids)
    for group in graph.editable(Allow.ANY):
        graph = apply(graph, widen(graph, group.name, group.size + 1))
    assert error(logits(model, ids), logits(written, ids)) < 1e-12
