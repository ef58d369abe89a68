"""Networks in layers: which, and that each computes what the network computes there."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

import netmorph
from netmorph import zoo
from netmorph.bank import CutError, Spec, cut
from netmorph.bank.spec import tensors_of
from netmorph.measure.cost import cost
from tests.bank.hard_nets import Auxiliary, Counting, InPlace, OwnBackward, PostNorm, TwoInputs, Unnamed

WEIGHTS = os.environ.get("NETMORPH_WEIGHTS")  # the folder of trained networks


def chained(model, example, **options):
    """The network's layers, one behind the other, after a round through plain values."""
    pieces = cut(model, example, **options)
    assert not pieces.left_out
    made = []
    for one in pieces.detached:
        tensors = {name: tensor.detach().clone() for name, tensor in tensors_of(one.piece).items()}
        made.append(Spec.from_json(Spec.of(one.piece).as_json()).build(tensors))
    return nn.Sequential(*made), pieces


def paths(pieces):
    return [one.path for one in pieces.detached]


ZOO = {
    "mlp": ((20,), {}),
    "lenet5": ((1, 28, 28), {"width": 0.5}),
    "minivgg": ((3, 16, 16), {"width": 0.25}),
    "resnet": ((3, 16, 16), {"width": 0.5}),
    "resnet9": ((3, 16, 16), {"width": 0.125}),
    "gpt": ((12,), {"width": 0.25, "depth": 2, "dropout": 0.1}),
}


@pytest.mark.parametrize("name", ZOO)
def test_the_layers_of_a_network_in_a_row_are_the_network(name):
    shape, options = ZOO[name]
    torch.manual_seed(0)
    model = zoo.build(name, shape, 10, **options).eval()
    chain, pieces = chained(model, zoo.example(name, shape, 10))
    inputs = zoo.example(name, shape, 10).repeat(3, *[1] * len(shape))[:5]

    with torch.no_grad():
        assert torch.equal(chain(inputs), model(inputs))
    assert [one.is_last for one in pieces.detached] == [False] * (pieces.count - 1) + [True]
    for before, after in zip(pieces.detached[:-1], pieces.detached[1:], strict=True):
        assert (before.output.shape, before.output.dtype) == (after.input.shape, after.input.dtype)


@pytest.mark.parametrize("model", [Unnamed(), PostNorm(), nn.Sequential(nn.Conv2d(2, 4, 3), InPlace(4))], ids=repr)
def test_layers_without_names_or_in_place(model):
    shape = {Unnamed: (6,), PostNorm: (7, 5)}.get(type(model), (2, 6, 6))
    model.eval()
    chain, _ = chained(model, torch.randn(3, *shape))
    inputs = torch.randn(4, *shape)

    with torch.no_grad():
        assert torch.allclose(chain(inputs), model(inputs), rtol=1e-6, atol=1e-6)


def test_a_piece_leaves_its_input_as_it_is():
    pieces = cut(nn.Sequential(nn.Conv2d(2, 4, 3), InPlace(4)), torch.randn(2, 2, 8, 8))
    features = torch.randn(2, 4, 6, 6)
    before = features.clone()

    pieces.detached[1].piece(features)

    assert torch.equal(features, before)


def test_layers_train_as_the_network_does():
    torch.manual_seed(0)
    model = zoo.build("resnet", (3, 16, 16), 10, width=0.5)
    chain, _ = chained(model, torch.randn(2, 3, 16, 16))
    inputs = torch.randn(6, 3, 16, 16)
    for network in (model, chain):
        network.train()
        network(inputs).square().mean().backward()

    for old, new in zip(model.parameters(), chain.parameters(), strict=True):
        same = [other for other in chain.parameters() if other.shape == old.shape and torch.equal(other, old)]
        assert any(torch.allclose(other.grad, old.grad, rtol=1e-4, atol=1e-6) for other in same)
        assert new.requires_grad
    means = [{float(b.sum()) for b in network.buffers() if b.dim()} for network in (model, chain)]
    assert means[0] == means[1]


def test_buffers_that_count_go_on_counting():
    model = Counting()
    chain, _ = chained(model, torch.randn(3, 4))
    inputs = torch.randn(6, 4)
    for network in (model, chain):
        network.train()
        for batch in inputs.split(2):
            network(batch)
        network.eval()

    assert torch.allclose(chain(inputs), model(inputs), atol=1e-6)
    assert chain[0].norm.num_batches_tracked == model.norm.num_batches_tracked == 3


def test_dropout_follows_the_mode():
    chain, _ = chained(Unnamed().eval(), torch.randn(3, 6))
    inputs = torch.randn(5, 6)

    assert torch.equal(chain(inputs), chain(inputs))
    chain.train()
    assert not torch.equal(chain(inputs), chain(inputs))


def test_blocks_of_a_residual_network_keep_the_shape():
    model = zoo.build("resnet", (3, 16, 16), 10, width=0.5)
    pieces = cut(model, torch.randn(2, 3, 16, 16))

    assert paths(pieces) == ["conv1", "stage1.0", "stage1.1", "stage2.0", "stage2.1", "stage3.0", "stage3.1", "fc"]
    block = pieces.detached[1]
    assert str(block.input) == str(block.output) == "8x16*x16*"
    assert block.cost == cost(model.get_submodule("stage1.0"), torch.randn(2, 8, 16, 16))
    assert [name for name, _ in block.piece.named_children()] == ["bn1", "bn2", "conv1", "conv2", "relu1", "relu2"]


def test_what_belongs_to_a_layer():
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1)),
        *(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5), nn.Softmax(1)),
    )
    pieces = cut(model, torch.randn(2, 3, 12, 12))

    assert [len(list(one.piece.children())) for one in pieces.detached] == [4, 3, 4]


def test_pre_norm_and_post_norm():
    gpt = cut(zoo.build("gpt", (8,), 20, width=0.25, depth=1), zoo.example("gpt", (8,), 20))
    assert paths(gpt) == ["tokens", "positions", "blocks.0.attention.query", "blocks.0.fc1", "head"]
    assert "norm" in dict(gpt.detached[-1].piece.named_children())

    encoder = cut(PostNorm(), torch.randn(2, 7, 5))
    assert paths(encoder)[1:3] == ["encoder.layers.0.self_attn", "encoder.layers.0.linear1"]
    assert all(one.input.shape == one.output.shape == (7, 16) for one in encoder.detached[1:-1])


def test_sizes_that_are_free_are_told():
    pieces = cut(zoo.build("gpt", (8,), 20, width=0.25, depth=1), zoo.example("gpt", (8,), 20))

    told = [str(one.input) for one in pieces.detached]
    assert told == ["8* int64", "8x32", "8*x32", "8*x32", "8*x32"]
    assert pieces.detached[2].piece(torch.randn(2, 5, 32)).shape == (2, 5, 32)


def test_what_is_seen_is_told_by_channel():
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 2))
    batches = [torch.randn(8, 2, 4, 4), torch.randn(4, 2, 4, 4)]
    first, last = cut(model, batches[0], batches).detached

    rows = torch.cat(batches).movedim(1, -1).flatten(0, -2).double()
    assert first.seen.input_mean == pytest.approx(rows.mean(0).tolist())
    assert first.seen.input_std == pytest.approx(rows.std(0, correction=0).tolist())
    assert first.seen.output_mean == last.seen.input_mean
    with torch.no_grad():
        assert last.seen.output_mean == pytest.approx(model(torch.cat(batches)).mean(0).tolist(), rel=1e-4)


def test_a_network_of_two_inputs_is_cut_where_one_tensor_crosses():
    pieces = cut(TwoInputs(), (torch.randn(2, 4), torch.randn(2, 3)))

    assert paths(pieces) == ["body", "head"]
    assert "several tensors enter" in pieces.left_out["the beginning"]


def test_heads_that_only_training_has_are_no_part_of_a_layer():
    chain, pieces = chained(Auxiliary(), torch.randn(2, 4))

    assert paths(pieces) == ["first", "body", "head"]
    assert pieces.detached[-1].is_last
    assert sum(one.cost.parameters for one in pieces.detached) == 20 + 20 + 10
    assert isinstance(chain.train()(torch.randn(3, 4)), torch.Tensor)


def test_what_cannot_be_cut_says_why():
    with pytest.raises(CutError, match="custom function Doubling"):
        cut(OwnBackward(), torch.randn(2, 4))
    with pytest.raises(CutError, match="forward failed"):
        cut(nn.Linear(3, 2), torch.randn(2, 4))
    with pytest.raises(CutError, match="no two places"):
        cut(nn.LSTM(3, 4), torch.randn(5, 2, 3))


def test_pieces_are_edited_like_any_network():
    torch.manual_seed(0)
    chain, _ = chained(zoo.build("lenet5", (1, 28, 28), 10, width=0.5), torch.randn(2, 1, 28, 28))
    inputs = torch.randn(4, 1, 28, 28)
    before = chain(inputs).detach()
    graph = netmorph.trace(chain, inputs)
    free = [group for group in graph.groups.values() if group.allow is netmorph.Allow.ANY]
    assert free

    netmorph.apply(graph, netmorph.widen(graph, free[0].name, to=free[0].size + 2))

    assert torch.allclose(chain(inputs), before, atol=1e-5)
    spec = Spec.from_json(Spec.of(chain[0]).as_json())
    assert torch.equal(spec.build(tensors_of(chain[0]))(inputs), chain[0].eval()(inputs))


@pytest.mark.skipif(WEIGHTS is None, reason="NETMORPH_WEIGHTS names no folder of trained networks")
def test_trained_residual_networks_of_cifar():
    from safetensors.torch import load_file

    from benchmarks.refit import ResNet

    model = ResNet()
    model.load_state_dict(load_file(Path(WEIGHTS) / "cifar10-resnet56.safetensors"))
    chain, pieces = chained(model.eval(), torch.randn(2, 3, 32, 32))
    inputs = torch.randn(3, 3, 32, 32)

    with torch.no_grad():
        assert torch.equal(chain(inputs), model(inputs))
    blocks = [one for one in pieces.detached if one.input.shape == one.output.shape]
    assert len(blocks) == 25


class ChannelsLast(nn.Module):
    """Mixes rows of fixed number, then channels, of [N, H, W, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.channels = nn.Linear(4, 4), nn.Linear(6, 6)

    def forward(self, x):
        x = x + self.rows(x.reshape(-1, 4, 4, 6).transpose(1, 3)).transpose(1, 3)
        return x + self.channels(x)


def test_channels_are_the_same_on_both_sides_of_a_cut():
    mixer = nn.Sequential(ChannelsLast(), ChannelsLast())
    pieces = cut(mixer, torch.randn(2, 4, 4, 6))

    assert [str(one.input) for one in pieces.detached] == ["4x4x6", "4*x4*x6"] * 2
    assert {one.input.channel for one in pieces.detached} == {one.output.channel for one in pieces.detached} == {2}
