"""Channels padded with zeros, shifted by slices, shuffled: streams whose channels are segments of one another."""

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netmorph
from netmorph.edit.width import narrow_all
from netmorph.graph import Allow, Graph, trace
from netmorph.measure import flops
from netmorph.testing import check_groups

Shortcut = Callable[["Block", Tensor, Tensor], Tensor]


class Block(nn.Module):
    """A residual block whose shortcut has no parameters. It knows its widths, half their difference, and a quarter."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.inputs, self.outputs, self.stride, self.shortcut = inputs, outputs, stride, shortcut
        self.side, self.pads = (
            (outputs - inputs) // 2,
            (0, 0, 0, 0, (outputs - inputs) // 2, (outputs - inputs + 1) // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.stride > 1:
            return self.shortcut(self, x[:, :, :: self.stride, :: self.stride], y).relu()
        return (y + x).relu()


def residual(shortcut: Shortcut, widths: tuple[int, ...] = (4, 8, 16)) -> nn.Module:
    blocks = [Block(widths[0], widths[0], 1, shortcut)]
    for before, after in itertools.pairwise(widths):
        blocks += [Block(before, after, 2, shortcut), Block(after, after, 1, shortcut)]
    return with_statistics(
        nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(widths[-1], 3),
        )
    )


def with_statistics(model: nn.Module) -> nn.Module:
    """Norms whose scales, shifts and statistics all differ from channel to channel."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return model


def assigned(block: Block, x: Tensor, y: Tensor) -> Tensor:
    wide = torch.zeros_like(y)
    start = (y.size(1) - x.size(1)) // 2
    wide[:, start : start + x.size(1)] = x
    return y + wide


def added_in_place(block: Block, x: Tensor, y: Tensor) -> Tensor:
    y[:, : x.shape[1]] += x
    return y


def zeros(x: Tensor, channels: int) -> Tensor:
    return torch.zeros(x.size(0), channels, *x.shape[2:], dtype=x.dtype)


WIDTHS = {"halves of an odd difference": (4, 7, 12), "zeros of the difference": (4, 7, 12), "itself": (4, 8, 16)}
FOLLOWED: dict[str, Shortcut] = {
    "held": lambda b, x, y: y + F.pad(x, (0, 0, 0, 0, b.side, b.side)),
    "in a tuple": lambda b, x, y: y + F.pad(x, b.pads),
    "a constant": lambda b, x, y: y + F.pad(x, b.pads, value=0.5),
    "in front": lambda b, x, y: y + F.pad(x, (0, 0, 0, 0, 2 * b.side, 0)),
    "of two attributes": lambda b, x, y: (
        y + F.pad(x, (0, 0, 0, 0, m := (b.outputs - b.inputs) // 2, m))
    ),
    "of one attribute": lambda b, x, y: y + F.pad(x, (0, 0, 0, 0, b.outputs // 4, b.outputs // 4)),
    "halves of an odd difference": lambda b, x, y: (
        y + F.pad(x, (0, 0, 0, 0, (d := y.size(1) - x.size(1)) // 2, d - d // 2))
    ),
    "behind": lambda b, x, y: y + F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])),
    "zeros of the difference": lambda b, x, y: y + torch.cat([x, zeros(x, y.size(1) - x.size(1))], 1),
    "new zeros": lambda b, x, y: y + torch.cat([x, x.new_zeros(len(x), y.size(1) - x.size(1), *x.shape[2:])], 1),
    "zeros on both sides": lambda b, x, y: y + torch.cat([zeros(x, b.side), x, zeros(x, b.side)], 1),
    "a slice of zeros": lambda b, x, y: y + torch.cat([x, torch.zeros_like(y[:, x.size(1) :])], 1),
    "assigned": assigned,
    "added in place": added_in_place,
    "added to the first": lambda b, x, y: torch.cat([y[:, : x.size(1)] + x, y[:, x.size(1) :]], 1),
}  # fmt: skip
OF_ITSELF: dict[str, Shortcut] = {
    "zero times itself": lambda b, x, y: y + torch.cat((x, x.mul(0)), 1),
    "zeros like itself": lambda b, x, y: y + torch.cat([torch.zeros_like(x), x], 1),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_amount_follows(name: str) -> None:
    widths = WIDTHS.get(name, (4, 8, 16))
    graph = check_groups(residual(FOLLOWED[name], widths), torch.randn(2, 3, 8, 8), strict=True)
    assert not frozen(graph)
    widened = netmorph.widen(graph, "3.conv2", graph.group("3.conv2").size + 3)
    graph = netmorph.apply(graph, widened)
    assert graph.group("3.conv2").size > (widths[1] - widths[0]) // 2, "the added channels are a group of their own"


@pytest.mark.parametrize("name", OF_ITSELF)
def test_a_stream_padded_by_as_many_channels_as_it_has_is_twice_the_stream(name: str) -> None:
    graph = check_groups(residual(OF_ITSELF[name]), torch.randn(2, 3, 8, 8), strict=True)
    assert not frozen(graph)
    assert graph.group("3.conv2").name == "0"
    netmorph.apply(graph, netmorph.widen(graph, "0", 6))
    assert [graph.model[place].conv2.out_channels for place in (2, 3, 5)] == [6, 12, 24]


def test_a_number_in_the_code_keeps_the_pads_and_leaves_the_stream_free() -> None:
    model = residual(lambda b, x, y: y + F.pad(x, (0, 0, 0, 0, 2, 2)), (4, 8, 12))
    graph = check_groups(model, torch.randn(2, 3, 8, 8), strict=True)
    assert graph.group("0").allow == Allow.ANY
    assert {
        group.size for group in graph.groups.values() if group.allow == Allow.FROZEN and "pad" in group.reasons[0]
    } == {2}
    assert "padded by 2 channels, a number that follows none: aten.pad in 3" in graph.group("3.conv2").reasons[0]
    netmorph.apply(graph, netmorph.widen(graph, "0", 7))
    assert [graph.model[place].conv2.out_channels for place in (2, 3, 5)] == [7, 11, 15]


def test_what_is_left_of_a_number_in_the_code_is_frozen() -> None:
    graph = check_groups(
        residual(lambda b, x, y: y + F.pad(x, (0, 0, 0, 0, 0, 8 - x.shape[1])), (4, 8)), torch.randn(2, 3, 8, 8)
    )
    assert "taken from a size that cannot change" in graph.group("0").reasons[0]
    assert graph.group("3.conv1").allow == Allow.ANY


def test_half_the_flops_can_be_taken_from_the_streams() -> None:
    graph = trace(residual(FOLLOWED["held"], (8, 16, 32)), torch.randn(2, 3, 8, 8))
    streams = [group for group in graph.groups.values() if group.allow == Allow.ANY and ".conv1" not in group.name]
    before = flops(graph.model, graph.inputs)
    netmorph.apply(graph, narrow_all(graph, {group.name: range(group.size // 2) for group in streams}))
    assert flops(graph.model, graph.inputs) < 0.55 * before


@pytest.mark.parametrize("pads", [(0, 0, 0, 0, -1, -1), (0, 0, 0, 0, 1, -1)])
def test_cropped_channels_are_frozen(pads: tuple[int, ...]) -> None:
    def run(x: Tensor) -> Tensor:
        return F.pad(x, pads)

    model = nn.Sequential(nn.Conv2d(3, 6, 1), Called(run), nn.Conv2d(6 + sum(pads), 2, 1))
    assert "cropped" in trace(model, torch.randn(2, 3, 4, 4)).group("0").reasons[0]


class Called(nn.Module):
    """A function of feature maps, with an attribute that it may use."""

    def __init__(self, function: Callable[..., Tensor], parts: int | None = None) -> None:
        super().__init__()
        self.function, self.parts = function, parts

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) if self.parts is None else self.function(x, self.parts)


def frozen(graph: Graph) -> list[str]:
    """Those that are, but for what goes into the model and comes out of it."""
    ends = ("the model's input", "the model's output")
    return [str(g) for g in graph.groups.values() if g.allow < Allow.ANY and not g.reasons[0].startswith(ends)]


# -- shifts of some of the channels ------------------------------------------------------------------------------------


def in_time(x: Tensor, parts: int = 8) -> Tensor:
    """The first of a few parts of the channels from the next image, the second from the one before."""
    count, channels, *space = x.shape
    x = x.view(count // 2, 2, channels, *space)
    fold = channels // parts
    shifted = torch.zeros_like(x)
    shifted[:, :-1, :fold] = x[:, 1:, :fold]
    shifted[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
    shifted[:, :, 2 * fold :] = x[:, :, 2 * fold :]
    return shifted.view(count, channels, *space)


def in_time_by_parts(x: Tensor) -> Tensor:
    x = x.unflatten(0, (-1, 2))
    fold = x.size(2) // 8
    first, second, rest = x[:, :, :fold], x[:, :, fold : 2 * fold], x[:, :, 2 * fold :]
    first = torch.cat([first[:, 1:], torch.zeros_like(first[:, :1])], 1)
    second = F.pad(second, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1]
    return torch.cat([first, second, rest], 2).flatten(0, 1)


def in_place(x: Tensor) -> Tensor:
    y, c = x.clone(), x.shape[1]
    y[:, : c // 4, 1:] = x[:, : c // 4, :-1]
    y[:, c // 4 : c // 2, :-1] = x[:, c // 4 : c // 2, 1:]
    y[:, c // 2 : c * 3 // 4, :, 1:] = x[:, c // 2 : c * 3 // 4, :, :-1]
    return y


def in_thirds(x: Tensor) -> Tensor:
    third = x.shape[1] // 3  # of 16, one is left
    left, right, rest = x.split([third, third, x.shape[1] - 2 * third], 1)
    return torch.cat([left.roll(1, -1), right.roll(-1, -1), rest], 1)


@pytest.mark.parametrize("shift", [in_time, in_time_by_parts, in_place, in_thirds])
def test_a_shifted_stream_widens_by_whole_parts(shift: Callable[..., Tensor]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 1), Called(shift), nn.Conv2d(16, 16, 1), Called(shift), nn.Conv2d(16, 2, 1))
    graph = check_groups(model, torch.randn(4, 3, 4, 4), strict=True)
    for name in ("0", "2"):
        assert max(group.size * (group.allow == Allow.ANY) for group in graph.groups.values()) in (2, 4, 5)
        assert graph.groups[name].allow == Allow.ANY


def test_the_number_of_parts_is_held() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 1), Called(in_time, 8), nn.Conv2d(16, 2, 1))
    graph = check_groups(model, torch.randn(4, 3, 4, 4), strict=True)
    assert graph.group("0#3").allow == Allow.ANY
    netmorph.apply(graph, netmorph.widen(graph, "0#3", graph.group("0#3").size + 1))


# -- half of the channels pass, then all are shuffled ------------------------------------------------------------------


class Unit(nn.Module):
    """ShuffleNet v2: half of the channels pass, the others are convolved, then all are shuffled."""

    def __init__(self, channels: int, how: str) -> None:
        super().__init__()
        self.half, self.how = channels // 2, how
        self.branch = nn.Sequential(
            nn.Conv2d(self.half, self.half, 1), nn.BatchNorm2d(self.half), nn.ReLU(),
            nn.Conv2d(self.half, self.half, 3, padding=1, groups=self.half), nn.Conv2d(self.half, self.half, 1),
        )  # fmt: skip
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = HALVES[self.how](self, x)
        x = torch.cat([first, self.branch(second)], 1)
        if self.how != "chunk":
            return self.shuffle(x)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


HALVES: dict[str, Callable[[Unit, Tensor], tuple[Tensor, Tensor]]] = {
    "chunk": lambda unit, x: tuple(x.chunk(2, dim=1)),
    "split": lambda unit, x: tuple(x.split(x.size(1) // 2, 1)),
    "split at": lambda unit, x: tuple(x.split([unit.half, unit.half], 1)),
    "slices": lambda unit, x: (x[:, : unit.half], x[:, unit.half :]),
}


def shuffled(channels: int, units: int, how: str) -> nn.Module:
    blocks = (Unit(channels, how) for _ in range(units))
    return with_statistics(nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1), *blocks, nn.Conv2d(channels, 2, 1)))


@pytest.mark.parametrize("how", ["chunk", "split", "split at"])
@pytest.mark.parametrize(("channels", "units", "quantum"), [(16, 1, 2), (24, 2, 4), (28, 3, 8), (58, 3, 8)])
def test_a_shuffled_stream_is_free_in_steps(channels: int, units: int, quantum: int, how: str) -> None:
    graph = check_groups(shuffled(channels, units, how), torch.randn(2, 3, 6, 6), strict=True)
    assert not frozen(graph)
    group = graph.group("0")
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", group.size + 1, netmorph.widenings.net2net))
    assert graph.journal[-1].error < 1e-12
    assert graph.model[0].out_channels == channels + quantum


def test_a_shuffled_stream_of_two_parts_is_free_part_by_part() -> None:
    graph = check_groups(shuffled(28, 3, "slices"), torch.randn(2, 3, 6, 6), strict=True)
    assert not frozen(graph)
    netmorph.apply(graph, netmorph.widen(graph, "0", graph.group("0").size + 1))
    assert graph.model[0].out_channels == 29


def test_a_stream_shuffled_more_often_than_it_can_be_halved_is_frozen() -> None:
    graph = check_groups(shuffled(12, 4, "chunk"), torch.randn(2, 3, 6, 6), strict=True)
    assert graph.group("0").allow == Allow.FROZEN
    assert graph.group("1.branch.0").allow == Allow.ANY


def test_one_of_every_two_channels() -> None:
    def run(x: Tensor) -> Tensor:
        return torch.cat([x[:, ::2], x[:, 1::2].relu()], 1)

    model = nn.Sequential(nn.Conv2d(3, 8, 1), Called(run), nn.Conv2d(8, 2, 1))
    graph = check_groups(model, torch.randn(2, 3, 4, 4), strict=True)
    assert graph.group("0").allow == Allow.ANY
    netmorph.apply(graph, netmorph.widen(graph, "0", 5))
    assert graph.model[0].out_channels == 10


def test_a_cut_within_copies_of_the_channels() -> None:
    class Ghost(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width, self.first, self.cheap = 9, nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 3, padding=1, groups=5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return torch.cat([x, self.cheap(x)], 1)[:, : self.width]

    graph = check_groups(nn.Sequential(Ghost(), nn.Conv2d(9, 2, 1)), torch.randn(2, 3, 4, 4), strict=True)
    assert not frozen(graph)
    netmorph.apply(graph, netmorph.widen(graph, "0.first", 6))
    assert graph.model[0].width == graph.model[1].in_channels == 13
