"""Inception-ResNet: the published one, timm's weights for it, and edits of the small one."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph import zoo
from netmorph.edit import widen_all
from netmorph.export import write_code
from netmorph.graph import Graph, Role
from netmorph.policy import WAYS, by_width, to_depth
from netmorph.testing import check_edit, check_groups
from netmorph.testing.compare import gap, outputs
from netmorph.zoo import ModelError, load_timm_inception
from netmorph.zoo.inception_weights import ours_of

STREAM_A = "stem.mixed.branches.0.0.conv"  # the first slice of the stream of blocks A, which the reduction carries on


@pytest.fixture
def small() -> Graph:
    """A tiny one in float64 with batch norm that is not trivial, traced."""
    torch.manual_seed(0)
    model = zoo.inception_resnet_small((3, 8, 8), 4, width=0.125, stride=1).double().eval()
    return netmorph.trace(uneven(model), torch.randn(2, 3, 8, 8).double())


@pytest.fixture(scope="module")
def full() -> nn.Sequential:
    """The published network, without memory for its weights."""
    with torch.device("meta"):
        return zoo.inception_resnet_v2((3, 299, 299), 1000)


@pytest.fixture(scope="module")
def timm_state() -> dict[str, Tensor]:
    """Names and shapes of timm's network."""
    return dict(timm_network("meta").state_dict())


def timm_network(device: str) -> nn.Module:
    models = pytest.importorskip("timm.models.inception_resnet_v2")
    with torch.device(device):
        network: nn.Module = models.InceptionResnetV2()
    return network


def uneven(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model


def answer(graph: Graph) -> Tensor:
    [found] = outputs(graph.model, graph.inputs)
    return found


def test_the_published_network(full: nn.Sequential) -> None:
    assert sum(parameter.numel() for parameter in full.parameters()) == 55_843_464
    assert [len(full.a), len(full.b), len(full.c)] == [10, 20, 9]
    assert [block[0].linear.out_channels for block in (full.a, full.b, full.c)] == [320, 1088, 2080]


def test_the_small_one_is_a_quarter_as_wide(full: nn.Sequential) -> None:
    with torch.device("meta"):
        small = zoo.inception_resnet_small((3, 32, 32), 200)
    assert sum(parameter.numel() for parameter in small.parameters()) == 1_126_520
    assert [block[0].linear.out_channels for block in (small.a, small.b, small.c)] == [80, 272, 520]


def test_all_groups_are_free_but_images_and_classes(small: Graph) -> None:
    free = {group.name for group in small.editable()}
    assert (len(free), len(small.groups)) == (50, 52)
    assert small.groups.keys() - free == {"stem.conv1.conv.in", "fc"}


@pytest.mark.parametrize(("shape", "stride"), [((2, 33, 20), 2), ((1, 8, 8), 1)])
def test_logits(shape: tuple[int, ...], stride: int) -> None:
    model = zoo.build("inception_resnet_small", shape, 7, width=0.125, stride=stride)
    logits = model(torch.randn(2, *shape))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "side", "options", "message"),
    [
        ("inception_resnet_v2", 74, {"width": 0.02, "blocks": (1, 1, 2)}, "at least 75x75 pixels, got 74x74"),
        ("inception_resnet_small", 8, {"blocks": (1, 1)}, "a number each for A, B and C, got blocks=(1, 1), scales="),
        ("inception_resnet_small", 8, {"blocks": (1, 0, 1)}, "blocks must be a whole number from 1"),
        ("inception_resnet_small", 8, {"stride": 0}, "stride must be a positive whole number, got 0"),
        ("inception_resnet_small", 8, {"dropout": 1}, "dropout must be a share from 0 to below 1, got 1"),
        ("inception_resnet_small", 8, {"width": -1}, "width must be a positive number"),
    ],
)
def test_errors(name: str, side: int, options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        zoo.build(name, (3, side, side), 2, **options)


def test_the_names_of_timm_are_ours(full: nn.Sequential, timm_state: dict[str, Tensor]) -> None:
    theirs = {ours_of(name): tensor.shape for name, tensor in timm_state.items()}
    assert theirs == {name: tensor.shape for name, tensor in full.state_dict().items()}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda state: state.pop("conv2d_7b.bn.bias"),
            "there is nothing in it for conv.bn.bias; give the state dict of",
        ),
        (lambda state: state.update(more=torch.zeros(2)), "it has more, which belong nowhere; give"),
        (
            lambda state: state.update({"classif.bias": torch.zeros(3)}),
            "shapes than the network: classif.bias (3,) for fc.bias (1000,); build it",
        ),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    full: nn.Sequential, timm_state: dict[str, Tensor], spoil: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    state = dict(timm_state)
    spoil(state)
    with pytest.raises(ModelError, match=re.escape(message)):
        load_timm_inception(full, state)


def test_a_checkpoint_that_counts_no_batches_loads(full: nn.Sequential, timm_state: dict[str, Tensor]) -> None:
    load_timm_inception(full, {name: tensor for name, tensor in timm_state.items() if "num_batches" not in name})


@pytest.mark.slow
def test_timm_and_ours_answer_the_same() -> None:
    torch.manual_seed(0)
    theirs = uneven(timm_network("cpu")).double().eval()
    ours = zoo.inception_resnet_v2((3, 139, 139), 1000).double().eval()
    load_timm_inception(ours, theirs.state_dict())
    x = torch.randn(1, 3, 139, 139).double()
    with torch.no_grad():
        expected, found = theirs(x), ours(x)
    assert float((expected - found).abs().max() / expected.abs().max()) <= 1e-10


def test_a_slice_of_a_concatenation_is_widened_everywhere(small: Graph) -> None:
    group = small.group(STREAM_A)
    assert group.size == 3
    producers = {site.tensor for site in group.where(Role.WRITE) if site.tensor.endswith("weight")}
    assert len(producers) == 1 + 2 + 2 + 2, "a branch, and the linear layers of all blocks, whose sums carry it on"
    before, columns = answer(small), small.model.conv.conv.in_channels
    graph = netmorph.apply(small, netmorph.widen(small, STREAM_A, 7))  # R2R
    assert gap(before, answer(graph)).max() <= 1e-10
    assert graph.model.a[0].linear.out_channels == 10 + 4
    assert graph.model.conv.conv.in_channels == columns + 4


@pytest.mark.slow
def test_it_grows_in_all_directions_and_is_exported(small: Graph, tmp_path: Path) -> None:
    before, sizes = answer(small), {group.name: group.size for group in small.editable()}
    graph = by_width(2)(small, (), 0)
    assert {group.name: group.size for group in graph.editable()} == {name: 2 * size for name, size in sizes.items()}
    graph = to_depth(3, WAYS["zero"], of="a")(graph, (), 0)
    graph = to_depth(3, WAYS["r2r"], of="b")(graph, (), 0)
    assert [len(graph.model.a), len(graph.model.b)] == [3, 3]
    assert gap(before, answer(graph)).max() <= 1e-10
    write_code(graph, tmp_path / "grown.py")  # compared with the network


def test_all_that_is_free_is_widened_in_one_edit(small: Graph) -> None:
    before = answer(small)
    graph = netmorph.apply(small, widen_all(small, {group.name: 2 * group.size for group in small.editable()}))
    assert gap(before, answer(graph)).max() <= 1e-10


@pytest.mark.slow
def test_a_slice_keeps_all_that_is_promised(small: Graph) -> None:
    check_edit(small.model, small.inputs, lambda graph: netmorph.widen(graph, STREAM_A, 5))
    check_edit(small.model, small.inputs, lambda graph: netmorph.narrow(graph, STREAM_A, [0, 2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inception_resnet_v2", "inception_resnet_small"])
def test_every_group(name: str) -> None:
    torch.manual_seed(0)
    model = uneven(zoo.build(name, (3, 75, 75), 4, width=0.05, blocks=(1, 1, 2)))
    graph = check_groups(model, torch.randn(2, 3, 75, 75))
    assert graph.groups.keys() - {group.name for group in graph.editable()} == {"stem.conv1.conv.in", "fc"}
