import torch
from torch import Tensor, nn

from netmorph import draw, trace
from netmorph.draw import Box, Change
from netmorph.draw.boxes import OUTSIDE
from netmorph.draw.folding import name_in, shown
from tests.draw.nets import Residual, images


class Written(nn.Module):
    """A transformer written out in one forward."""

    def __init__(self, layers: int = 3, channels: int = 4) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.layers = nn.ModuleList(nn.Linear(channels, channels) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        return x


def plain(rows: int) -> nn.Sequential:
    return nn.Sequential(*(layer for _ in range(rows) for layer in (nn.Linear(4, 4), nn.Tanh())))


def boxes(model: nn.Module, inputs: Tensor) -> tuple[Box, ...]:
    return draw.architecture(trace(model, inputs)).root.inside


def test_boxes_that_come_in_turn_are_one():
    blocks = (block for _ in range(3) for block in (Residual(3), nn.Sequential(Residual(3), nn.Tanh())))
    inside = boxes(nn.Sequential(nn.Conv2d(3, 3, 1), *blocks, nn.Flatten(), nn.Linear(192, 2)), images())
    turns = inside[1]

    assert [box.times for box in inside] == [1, 3, 1]
    assert turns.kind == "(Residual, Sequential)"
    assert name_in(turns, "") == "1 … 6"
    assert [box.path for box in turns.inside] == ["1", "2"]
    assert turns.parameters == 2 * sum(parameter.numel() for parameter in Residual(3).parameters())
    assert {edge.ends for edge in turns.edges} == {(OUTSIDE, 0, 0, 0), (0, 0, 1, 0), (1, 0, OUTSIDE, 0)}
    assert turns.inputs == turns.outputs == ((3, 8, 8),)


def test_plain_layers_come_three_times_before_they_are_one():
    assert [box.times for box in boxes(plain(2), torch.randn(2, 4))] == [1] * 4
    diagram = draw.architecture(trace(plain(3), torch.randn(2, 4)))

    assert [box.times for box in diagram.root.inside] == [3]
    assert "3 × (Linear, Tanh)" in diagram.svg()
    assert shown(diagram.root, lambda box, level: False).inside[0].content == ""  # its name says what is inside


def test_a_residual_stream_runs_through_the_turns():
    (turns,) = boxes(Written(), torch.randn(2, 4))

    assert turns.times == 3
    assert turns.kind == "(LayerNorm, Linear, residual sum)"
    assert turns.paths[1] == "norms.1 … layers.1"
    ends = {edge.ends for edge in turns.edges}
    assert {(OUTSIDE, 0, 0, 0), (OUTSIDE, 0, 2, 0)} == {(*end[:3], 0) for end in ends if end[0] == OUTSIDE}


def test_what_others_read_from_the_middle_stays_apart():
    class Skipping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = plain(3), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            seen = [x := layer(x) for layer in self.first]
            return self.last(x) + seen[1]

    assert all(box.times == 1 for box in boxes(Skipping(), torch.randn(2, 4)))


def test_of_a_difference_only_what_is_equal_comes_in_turn():
    same, new, *_ = draw.difference(
        trace(plain(4), torch.randn(2, 4)), trace(nn.Sequential(*plain(4), *plain(3)), torch.randn(2, 4))
    ).root.inside

    assert (same.times, same.change) == (4, Change.SAME)
    assert (new.times, new.change) == (3, Change.NEW)
