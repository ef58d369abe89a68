import torch
from torch import nn

from netmorph import trace
from netmorph.draw.boxes import OUTSIDE
from netmorph.draw.folding import contents, folded, is_small, name_in, shown
from netmorph.draw.reading import read
from tests.draw.nets import Dense, Heads, Residual, UNet, images


def whole(model: nn.Module, inputs: torch.Tensor):
    return folded(read(trace(model, inputs)))


def everything(box, level):
    return True


def nothing(box, level):
    return False


def test_equal_blocks_in_a_row_are_one():
    box = whole(nn.Sequential(nn.Conv2d(3, 4, 1), *(Residual(4) for _ in range(5)), nn.Conv2d(4, 3, 1)), images())

    assert [inner.times for inner in box.inside] == [1, 5, 1]
    assert box.inside[1].paths == ("1", "2", "3", "4", "5")
    assert name_in(box.inside[1], "") == "1 … 5"
    assert {edge.ends for edge in box.edges} == {
        *((OUTSIDE, 0, 0, 0), (0, 0, 1, 0), (1, 0, 2, 0), (2, 0, OUTSIDE, 0)),
    }


def test_equal_layers_beside_each_other_are_one():
    box = whole(Heads(), torch.randn(2, 6))

    assert [(inner.times, inner.together) for inner in box.inside] == [(4, "side by side"), (1, "")]


def test_dense_layers_are_one_though_each_is_wider():
    box = whole(Dense(), images())

    assert [inner.times for inner in box.inside] == [5, 1]
    assert box.inside[0].together == "each reads all before it"
    assert box.inside[0].parameters == sum(parameter.numel() for parameter in Dense().parameters())


def test_blocks_that_others_read_one_by_one_stay_apart():
    assert all(inner.times == 1 for inner in whole(UNet(), images()).inside)


def test_each_structure_is_opened_once():
    box = shown(whole(nn.Sequential(*(Residual(channels) for channels in (3, 3))), images()), everything)
    assert [inner.times for inner in box.inside] == [2]

    model = nn.Sequential(Residual(3), nn.Conv2d(3, 4, 1), Residual(4))
    first, _, last = shown(whole(model, images()), everything).inside
    assert first.inside
    assert not last.inside
    assert last.content == "as 0"


def test_what_is_closed_is_told_in_words():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), Residual(4))
    small, block = shown(whole(model, images()), nothing).inside

    assert small.content == "Conv2d 3×3, BatchNorm2d, ReLU"
    assert block.content == "Conv2d, ReLU, residual sum, ReLU"
    assert is_small(whole(model, images()).inside[0])
    assert contents(whole(model, images())) == "Sequential, Residual"


def test_a_box_with_only_one_box_inside_shows_what_is_in_that():
    box = whole(nn.Sequential(nn.Sequential(Residual(3), nn.ReLU())), images())

    assert [inner.kind for inner in shown(box, nothing).inside] == ["Residual", "ReLU"]
