"""Networks and data of other tasks than images in classes, small enough to train in milliseconds."""

import torch
from torch import Tensor, nn

from netmorph.data import Dataset, tensors
from netmorph.data.tables import Names, Numbers
from netmorph.data.tabular import table_dataset
from netmorph.data.text import text_dataset
from netmorph.train.seeding import seeded
from netmorph.zoo import build

ROWS = 120


def regression() -> tuple[nn.Module, Dataset]:
    """Two values in their own units, of six features."""
    features = _noise(ROWS, 6)
    values = 100 + 30 * torch.stack([features[:, 0] * features[:, 1], features[:, 2]], 1) + _noise(ROWS, 2)
    return _with("mlp", tensors(features, values, name="values"), width=0.125)


def table() -> tuple[nn.Module, Dataset]:
    """Three classes, by a number and a category; some numbers are missing."""
    numbers, shades = _noise(ROWS, 1).flatten().double(), torch.arange(ROWS) % 2
    kinds = (numbers > 0).long() + shades
    numbers[::10] = torch.nan
    columns = {
        "number": Numbers(numbers),
        "shade": Names(shades, ("dark", "light")),
        "kind": Names(kinds, ("left", "middle", "right")),
    }
    return _with("mlp", table_dataset("kinds", columns, "kind", missing="mean"), width=0.125)


def text() -> tuple[nn.Module, Dataset]:
    """A sentence, again and again, for a gpt with dropout."""
    rhyme = {"rhyme": "How much wood would a woodchuck chuck? " * 40}
    return _with("gpt", text_dataset("rhyme", rhyme, window=8), width=0.0625, depth=1, heads=2, dropout=0.1)


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(shape[-1]))


def _with(name: str, dataset: Dataset, **options: float) -> tuple[nn.Module, Dataset]:
    with seeded(0):
        return build(name, dataset.input_shape, dataset.outputs, **options), dataset
