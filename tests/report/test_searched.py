"""What the page of a chain's search calls a layer."""

import torch
from torch import nn

from netmorph.bank import Bank
from netmorph.report.searched import label


def test_a_copy_is_told_from_what_it_is_a_copy_of(tmp_path):
    bank = Bank(tmp_path / "layers")
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    first = bank.add_whole(network, torch.randn(2, 1, 8, 8), "folder/net")
    piece = bank.load(first.id)
    with torch.no_grad():
        next(piece.parameters()).add_(1)
    copy = bank.add_copy(first, piece)
    assert label(first) == "net: 0"
    assert label(copy) == f"net: 0 (copy {copy.id[:4]})"
