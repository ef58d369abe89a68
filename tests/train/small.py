"""A data set and networks small enough to train in milliseconds."""

import torch
from torch import nn

from netmorph.data import Dataset, Pixels, Split, images_in_classes

CLASSES = ("left", "middle", "right")


def dataset(train: int = 90, validation: int = 30, test: int = 30, seed: int = 0) -> Dataset:
    """1x6x6 noise with a bright column pair that tells the class."""
    generator = torch.Generator().manual_seed(seed)

    def split(count: int) -> Split:
        labels = torch.randint(3, (count,), generator=generator)
        images = torch.randint(120, (count, 1, 6, 6), generator=generator)
        columns = torch.arange(6)[None, None, None, :] // 2
        images += 100 * (columns == labels[:, None, None, None])
        return Split(images.to(torch.uint8), labels)

    return images_in_classes(
        "columns", (split(train), split(validation), split(test)), CLASSES, Pixels((0.35,), (0.2,)), f"columns-{seed}"
    )


def network(classes: int = 3, seed: int = 0) -> nn.Sequential:
    """Batch normalization and dropout included: what seeds and modes must take care of."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(4 * 36, classes),
        )


def deep(seed: int = 0) -> nn.Sequential:
    """The same with filters that take several channels: of those, the layouts in memory differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first, *rest = network(seed=seed)
        return nn.Sequential(first, nn.Conv2d(4, 4, 3, padding=1), *rest)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)
