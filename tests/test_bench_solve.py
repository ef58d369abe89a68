"""The benchmark of solving alone: noise with a bright half is told apart, and the row says so."""

import torch

from benchmarks import solve
from netmorph.data import Dataset, Pixels, Split, images_in_classes
from netmorph.solve import Mirrored, patch_features


def test_a_row() -> None:
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.randint(100, (count, 1, 8, 8), generator=generator)
        labels = torch.arange(count) % 2
        images[labels == 1, :, 4:] += 150
        return Split(images.to(torch.uint8), labels)

    parts = (split(90), split(2), split(30))
    dataset: Dataset = images_in_classes("noise", parts, ("a", "b"), Pixels((0.4,), (0.3,)), "noise")
    way = solve.Way("noise", lambda images: Mirrored(patch_features(images, 5, size=3)), 20, 0.9)
    name, images, features, _, right, goal, seconds = solve.row(way, dataset)
    assert (name, images, features, goal) == ("noise", "90", "60", "90.0%")
    assert float(right.rstrip("%")) == 100
    assert "moments" in seconds
