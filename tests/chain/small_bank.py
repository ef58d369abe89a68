"""A bank of small layers for the digits, none of them trained: what is tested is not how good they are."""

from pathlib import Path

import torch
from torch import nn

from netmorph import data
from netmorph.bank import Bank, Signature
from netmorph.data import Dataset

SHAPE = (1, 8, 8)


def digits() -> Dataset:
    return data.load("digits")


def bank_of_digits(folder: Path) -> Bank:
    """Two ways in, three layers that keep the shape, and a network with a dense end."""
    bank = Bank(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in ("one way in", "another"):
            bank.add_whole(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()), torch.randn(2, *SHAPE), name)
        net = nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 10)
        )
        bank.add(net, torch.randn(2, *SHAPE), "net")
    bank.add_random(Signature((4, 8, 8), "float32", 0, (False,) * 3), 3, seed=0)
    return bank
