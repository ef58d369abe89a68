"""Filters that are patches of the images themselves, whitened: features without a gradient that are hard to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.seeds import generator_of
from netmorph.solve.drawn import TwoSided
from netmorph.solve.moments import SolveError

PATCHES = 100_000  # drawn to measure how patches vary


class Whitened(nn.Module):
    """Each patch of an image, its contrast normalized, in `p` whitened directions: `[B, C, H, W]` -> `[B, p, H', W']`.

    A patch `x` of `C * size^2` numbers becomes `((x - mean(x)) / sqrt(var(x) + noise) - centre) @ directions`. The mean
    of each patch is taken away by the filters themselves, and the division is one number for each place, so all is one
    convolution.

    Attributes:
        filters: `[p, C, size, size]`.
        shift: `[p]`: what the centre gives.
        noise: a variance: patches that hardly vary are not blown up.
    """

    filters: Tensor
    shift: Tensor

    def __init__(self, directions: Tensor, centre: Tensor, channels: int, noise: float) -> None:
        """From directions `[C * size^2, p]` and the centre `[C * size^2]` of normalized patches."""
        super().__init__()
        size = round((len(directions) / channels) ** 0.5)
        filters = directions - directions.mean(0)
        self.register_buffer("filters", filters.T.reshape(-1, channels, size, size).contiguous())
        self.register_buffer("shift", centre @ directions)
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, p, H - size + 1, W - size + 1]`."""
        size = self.filters.shape[-1]
        mean = functional.avg_pool2d(x.mean(1, keepdim=True), size, 1)
        square = functional.avg_pool2d(x.square().mean(1, keepdim=True), size, 1)
        spread = (square - mean.square()).clamp_min(0) + self.noise
        return functional.conv2d(x, self.filters) * spread.rsqrt() - self.shift[:, None, None]


def patch_features(
    images: Tensor,
    filters: int,
    *,
    size: int = 6,
    cells: int = 2,
    threshold: float = 0.5,
    kept: int | None = None,
    noise: float = 0.01,
    floor: float = 0.01,
    seed: int = 0,
) -> nn.Sequential:
    """Features by comparison with patches of some images (Coates & Ng 2011; Thiry et al., arXiv 2101.07528).

    Patches are normalized (mean 0, contrast 1) and whitened (ZCA); each filter is such a patch, drawn at random and
    brought to length 1. What is above the threshold and what is below its negative are features apart, averaged over a
    grid of cells. No labels are used.

    Args:
        images: floating `[N, C, H, W]`, prepared as those that the features are taken of.
        filters: patches that are drawn to compare with.
        size: side of a patch in pixels.
        cells: the grid is `cells` x `cells`.
        threshold: see `TwoSided`; whitened numbers have a variance about 1 before filters add them up.
        kept: whitened directions that are kept, those of the largest variance; all by default. Fewer are faster: a
            patch costs `C * size^2 * kept + kept * filters` multiply-adds.
        noise: added to the variance of each patch.
        floor: added to the variance of each direction, relative to the largest one: directions that hold noise only
            are not blown up.
        seed: draws patches.

    Returns:
        A module `[B, C, H, W]` -> `[B, 2 * filters * cells^2]`.

    Raises:
        SolveError: the images are too small, all alike, or no floating numbers.
    """
    if images.dim() != 4 or not images.is_floating_point() or min(images.shape[2:]) < size:
        raise SolveError(
            f"images are floating [N, C, H, W] of at least {size}x{size} pixels, got {images.dtype} "
            f"{list(images.shape)}"
        )
    if min(filters, size, cells) < 1 or (kept is not None and kept < 1):
        raise SolveError(f"filters, size, cells and kept are 1 or more, got {filters}, {size}, {cells}, {kept}")
    generator = generator_of(seed)
    patches = normalized(drawn_patches(images, PATCHES, size, generator).double(), noise)
    centre = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - centre).T @ (patches - centre) / len(patches))
    kept = min(kept or len(values), len(values))
    values, vectors = values.flip(0)[:kept], vectors.flip(1)[:, :kept]
    if not float(values[0]) > 0:
        raise SolveError("all patches of the images are alike; there is nothing to compare with")
    directions = vectors / (values + floor * values[0]).sqrt()
    chosen = normalized(drawn_patches(images, filters, size, generator).double(), noise)
    compared = functional.normalize((chosen - centre) @ directions)
    layer = nn.Conv2d(kept, filters, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(compared[:, :, None, None])
    whitened = Whitened(directions.to(images), centre.to(images), images.shape[1], noise)
    layer = layer.to(images).requires_grad_(False)
    return nn.Sequential(whitened, layer, TwoSided(threshold, cells), nn.Flatten())


def drawn_patches(images: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Patches at random places of random images, `[count, C * size^2]`."""

    def drawn(below: int) -> Tensor:
        return torch.randint(below, (count,), generator=generator)

    image, top, left = drawn(len(images)), drawn(images.shape[2] - size + 1), drawn(images.shape[3] - size + 1)
    rows = top[:, None] + torch.arange(size)
    columns = left[:, None] + torch.arange(size)
    found = images[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # [count, size, size, C]
    return found.movedim(-1, 1).flatten(1)


def normalized(patches: Tensor, noise: float) -> Tensor:
    """Patches `[N, numbers]`, each with mean 0 and, up to the noise, variance 1."""
    centred = patches - patches.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + noise).sqrt()
