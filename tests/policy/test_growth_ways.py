"""What a network grows by: blocks in every way, all widths by every method."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netmorph import EditError, draws, trace, zoo
from netmorph.edit import new_entries
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.policy import WAYS, Way, by_gradient, by_width, drawn, interleaved, stacked, to_depth
from netmorph.policy.growth_ways import R2R, ZERO
from netmorph.widenings import WIDENINGS, r2r

TOKENS = torch.arange(32).reshape(2, 16) % 30


def gpt(depth: int = 2, **options: Any) -> nn.Module:
    torch.manual_seed(depth)
    return zoo.build("gpt", (16,), 30, depth=depth, heads=2, channels=16, **options)


def resnet() -> tuple[nn.Module, Graph]:
    torch.manual_seed(0)
    model = zoo.build("resnet", (3, 8, 8), 3, blocks=(2, 2), channels=(4, 8))
    return model, trace(model, torch.randn(2, 3, 8, 8))


def answers(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(x)
    return found


def stems(model: nn.Module, old: list[Tensor]) -> list[int]:
    """From which old block each block stems, by a weight that they share."""
    return [
        next((n for n, w in enumerate(old) if torch.equal(w, block.fc1.weight)), -1)
        for block in model.get_submodule("blocks")  # type: ignore[union-attr]
    ]


def test_orders() -> None:
    assert interleaved(3, 6) == [0, 0, 1, 1, 2, 2]
    assert interleaved(3, 7) == [0, 0, 0, 1, 1, 2, 2]
    assert interleaved(1, 4) == [0, 0, 0, 0]
    assert stacked(3, 7) == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("depth", [1, 2])
def test_a_gpt_gets_blocks_in_every_way(name: str, depth: int) -> None:
    model = gpt(depth)
    optimizer = torch.optim.AdamW(model.parameters())
    before = answers(model, TOKENS)
    old = [block.fc1.weight.clone() for block in model.get_submodule("blocks")]  # type: ignore[union-attr, operator]
    graph = to_depth(4, WAYS[name])(trace(model, TOKENS), optimizer, 3)
    assert len(model.blocks) == 4  # type: ignore[arg-type]
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}
    assert torch.allclose(answers(model, TOKENS), before, rtol=0, atol=1e-5) is (name in ("zero", "r2r"))
    assert [entry.edit.kind for entry in graph.journal] == ["deepen"] * (4 - depth)
    if name != "r2r":
        ones = {1: [0, 0, 0, 0], 2: [0, 1, 0, 1] if name == "stacked" else [0, 0, 1, 1]}[depth]
        new = {1: [0, -1, -1, -1], 2: [0, 1, -1, -1]}[depth]
        assert stems(model, old) == (new if name == "random" else ones)


def test_what_is_drawn_depends_on_the_seed_and_differs_from_block_to_block() -> None:
    found = []
    for seed in (3, 3, 4):
        model = gpt(1)
        to_depth(3, WAYS["random"])(trace(model, TOKENS), (), seed)
        found.append([block.fc1.weight for block in model.blocks])  # type: ignore[union-attr]
    assert all(torch.equal(one, other) for one, other in zip(found[0], found[1], strict=True))
    assert not torch.equal(found[0][1], found[2][1])
    assert not torch.equal(found[0][1], found[0][2])


def test_ways_of_ones_own() -> None:
    def halves(block: nn.Module) -> None:
        for parameter in block.parameters():
            parameter.fill_(0.5)

    model = gpt(1)
    to_depth(2, drawn(halves))(trace(model, TOKENS), (), 0)
    assert all(parameter.eq(0.5).all() for parameter in model.blocks[1].parameters())  # type: ignore[index, union-attr]
    with pytest.raises(NetmorphError, match=r"an order of 2 blocks among 3 starts each block with itself.*\[1, 0, 1\]"):
        to_depth(3, Way(lambda blocks, wanted: [1, 0, 1], ZERO.block))(trace(gpt(2), TOKENS), (), 0)


def test_of_a_stage_the_blocks_that_are_alike_are_repeated() -> None:
    model, graph = resnet()
    before, x = answers(model, graph.inputs[0]), graph.inputs[0]
    with pytest.raises(NetmorphError, match=r"several lists of blocks \(stage1, stage2\); say which one grows"):
        to_depth(4)(graph, (), 0)
    graph = to_depth(4, of="stage2")(graph, (), 0)
    graph = to_depth(5, R2R, of="stage2")(graph, (), 0)
    graph = to_depth(7, of="stage2")(graph, (), 0)
    assert len(model.stage2) == 7  # type: ignore[arg-type]
    assert torch.allclose(answers(model, x), before, rtol=0, atol=1e-5)


def fixed() -> nn.Module:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.blocks[1](self.blocks[0](x))
            return out

    return Fixed()


@pytest.mark.parametrize(
    ("model", "inputs", "grow", "message"),
    [
        (lambda: gpt(3), TOKENS, to_depth(3), "blocks has 3 blocks already, so it does not grow to 3"),
        (
            gpt,
            TOKENS,
            to_depth(3, of="block"),
            r"there is no list 'block' to put blocks into \(did you mean 'blocks'\?\)",
        ),
        (gpt, TOKENS, to_depth(3, of="blocks.0"), r"'blocks.0' \(Block\) is no list .*; there is blocks"),
        (fixed, torch.rand(2, 4), to_depth(3), "the forward does not run one more block of 'blocks'"),
        (lambda: nn.Linear(3, 3), torch.rand(2, 3), to_depth(3), "Linear has no list"),
        (lambda: nn.Linear(3, 3), torch.rand(2, 3), by_width(2), "no group of channels of Linear can be widened"),
    ],
)
def test_growths_that_cannot_be(model: Callable[[], nn.Module], inputs: Tensor, grow: Any, message: str) -> None:
    network = model()
    with pytest.raises(NetmorphError, match=message):
        grow(trace(network, inputs), (), 0)


def test_numbers_that_cannot_be() -> None:
    for depth in (1, 0, 2.5, True):
        with pytest.raises(NetmorphError, match="whole number of blocks, at least 2"):
            to_depth(depth)  # type: ignore[arg-type]
    for factor in (1, 0.5, float("nan"), float("inf"), True):
        with pytest.raises(NetmorphError, match="by a factor above 1"):
            by_width(factor)


@pytest.mark.parametrize("method", [None, *WIDENINGS])
@pytest.mark.parametrize("tied", [True, False])
def test_all_widths_of_a_gpt_double_by_every_method(method: str | None, tied: bool) -> None:
    model = gpt(tied=tied)
    before = answers(model, TOKENS)
    graph = by_width(2, method and WIDENINGS[method])(trace(model, TOKENS), (), 3)
    # Heads double and not what they hold as well: the inner width of attention is twice what it was.
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes == {name: tuple(p.shape) for name, p in gpt(tied=tied, width=2).named_parameters()}
    exact = method not in ("approximate", "random_pad", "rms_pad")
    assert torch.allclose(answers(model, TOKENS), before, rtol=0, atol=1e-4) is exact
    assert len(graph.journal) == 1


def test_chosen_groups_are_widened_or_refused() -> None:
    model = gpt()
    graph = by_width(1.5, r2r, groups=["blocks.0.fc1"])(trace(model, TOKENS), (), 0)
    assert [group.size for group in graph.groups.values() if group.name.endswith("fc1")] == [96, 64]
    with pytest.raises(EditError):
        by_width(1.5, groups=["head.out_features"])(graph, (), 0)


def test_new_weights_are_as_large_as_they_are_drawn() -> None:
    model = gpt()
    graph = by_width(2, draw=draws.scaled(draws.layer_spread, columns=1e-3), groups=["blocks.0.fc1"])(
        trace(model, TOKENS), (), 0
    )
    read = model.get_parameter("blocks.0.fc2.weight").detach()
    new = new_entries(graph)["blocks.0.fc2.weight"]
    assert 0 < read[new].abs().max() < 0.01 * read[~new].std()


def test_by_gradient_takes_gradmax_where_it_can() -> None:
    torch.manual_seed(0)
    model = zoo.build("resnet", (3, 8, 8), 3, blocks=(1,), channels=(4,))
    x, y = torch.randn(16, 3, 8, 8), torch.arange(16) % 3
    before = answers(model, x)
    grow = by_gradient(1.5, [(x, y)], lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]))
    graph = grow(trace(model, x), (), 0)
    # The stream has several producers.
    assert {entry.edit.layer: entry.edit.method for entry in graph.journal} == {
        "conv1": "r2r",
        "stage1.0.conv1": "gradmax",
    }
    assert [group.size for group in graph.editable()] == [6, 6]
    assert torch.allclose(answers(model, x), before, rtol=0, atol=1e-5)


class Masked(nn.Module):
    """Blocks that are given a mask as well, and norms that cast, as those of language models do."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(4, 4), nn.Parameter(torch.rand(4))

        def forward(self, x: Tensor, mask: Tensor, *, times: float) -> Tensor:
            normed = x.to(torch.float32)
            normed = normed * normed.square().mean(-1, keepdim=True).add(1e-6).rsqrt()
            return x + times * self.layer(mask * self.scale * normed.to(x.dtype))

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(self.Block() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, torch.ones(1), times=0.5)
        return x


@pytest.mark.parametrize("name", ["zero", "r2r", "stacked"])
def test_blocks_that_take_more_than_one_tensor(name: str) -> None:
    torch.manual_seed(0)
    model, x = Masked(), torch.randn(3, 4)
    before = answers(model, x)
    to_depth(4, WAYS[name])(trace(model, x), (), 0)
    assert len(model.blocks) == 4
    assert torch.allclose(answers(model, x), before, rtol=0, atol=1e-5) is (name != "stacked")
