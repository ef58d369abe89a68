"""Layers that nobody trains: random ones, and whitened patches."""

import pytest
import torch
from torch import nn

from netmorph.solve import (
    Mirrored,
    Moments,
    SolveError,
    TwoSided,
    class_squares,
    one_hot,
    patch_features,
    random_convolution,
    random_features,
    ridge,
)
from netmorph.solve.patches import drawn_patches, normalized


def images(count: int = 40, channels: int = 3, side: int = 12) -> torch.Tensor:
    """Smooth noise, as images are."""
    drawn = torch.randn(count, channels, side + 2, side + 2, generator=torch.Generator().manual_seed(0))
    return nn.functional.avg_pool2d(drawn, 3, 1)


def test_two_sides_of_a_threshold() -> None:
    x = torch.randn(2, 3, 7, 5)
    both = nn.functional.adaptive_avg_pool2d(torch.cat([(x - 0.4).relu(), (-x - 0.4).relu()], 1), 2)
    assert torch.allclose(TwoSided(0.4, cells=2)(x), both, atol=1e-6)


def test_random_units_see_rectangles() -> None:
    features = random_features((2, 9, 7), 50, smallest=2, seed=3)
    assert features(images(4, 2, 9)[..., :7]).shape == (4, 50)
    weight = features[1].weight.reshape(50, 2, 9, 7)
    for unit in weight:
        rows, columns = (unit != 0).any(0).nonzero().T
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        assert bool((unit[:, top:bottom, left:right] != 0).all())
        assert min(bottom - top, right - left) >= 2
    assert torch.allclose(weight.flatten(1).square().sum(1), torch.ones(50))
    assert torch.allclose(weight.flatten(1).sum(1), torch.zeros(50), atol=1e-5)
    assert not any(parameter.requires_grad for parameter in features.parameters())
    assert torch.equal(random_features((2, 9, 7), 50, smallest=2, seed=3)[1].weight, features[1].weight)


def test_a_random_convolution() -> None:
    assert random_convolution(3, 5, size=4, cells=2)(images()).shape == (40, 40)


def test_patches_are_normalized_whitened_and_compared() -> None:
    x = images()
    features = patch_features(x, 8, size=4, cells=2, threshold=0.3, seed=1)
    assert features(x).shape == (40, 2 * 8 * 4)
    # The same by hand, patch by patch.
    whitened, compared = features[0], features[1].weight.flatten(1)
    rows = nn.functional.unfold(x[:2], 4).transpose(1, 2).reshape(-1, 48)
    directions = whitened.filters.flatten(1).T
    by_hand = normalized(rows, whitened.noise) @ directions - whitened.shift
    found = whitened(x[:2]).flatten(2).transpose(1, 2).flatten(0, 1)
    assert torch.allclose(found, by_hand, atol=1e-3)
    assert torch.allclose(compared.square().sum(1), torch.ones(8), atol=1e-5)


def test_whitened_patches_vary_alike_in_all_directions() -> None:
    x = images(200)
    whitened = patch_features(x, 4, size=3, floor=0.0, noise=1e-4, kept=20)[0]
    rows = whitened(x).movedim(1, -1).flatten(0, 2)
    assert torch.allclose(rows.T.cov(), torch.eye(20), atol=0.15)


def test_drawn_patches_are_patches() -> None:
    x = images(3)
    found = drawn_patches(x, 20, 5, torch.Generator().manual_seed(0))
    every = nn.functional.unfold(x, 5).transpose(1, 2).flatten(0, 1)
    assert all(bool((every == patch).all(1).any()) for patch in found)


def test_mirror_images_give_the_same() -> None:
    x = images()
    features = Mirrored(patch_features(x, 6, size=4))
    assert torch.allclose(features(x), features(x.flip(-1)), atol=1e-5)


def test_squares_tell_what_no_linear_head_can() -> None:
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) + 3
    labels = ((x[:, 0] - 3) * (x[:, 1] - 3) > 0).long()
    features = class_squares(x, labels, 40, share=0.5)
    found = features(x)
    assert found.shape == (400, 45)
    assert torch.allclose(found[:, :5].mean(0), torch.zeros(5), atol=1e-5)
    assert float(found[:, 5:].mean()) == pytest.approx(1, abs=0.1)
    right = []
    for each in (x, found):
        head = ridge(Moments.of([(each, one_hot(labels, 2))]), 1.0)
        right.append(float((head(each).argmax(1) == labels).double().mean()))
    assert right[1] > 0.85 > 0.65 > right[0]


def test_what_has_no_squares() -> None:
    x = torch.randn(20, 3)
    with pytest.raises(SolveError, match=r"got \[20, 3\], \[19\] and 4"):
        class_squares(x, torch.zeros(19).long(), 4)
    with pytest.raises(SolveError, match="among 32 pairs drawn from 20 samples, 0 are of two classes"):
        class_squares(x, torch.zeros(20).long(), 4)


def test_what_has_no_features() -> None:
    with pytest.raises(SolveError, match=r"floating \[N, C, H, W\] of at least 6x6 pixels, got torch.uint8"):
        patch_features(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 4)
    with pytest.raises(SolveError, match="all patches of the images are alike"):
        patch_features(torch.zeros(2, 3, 8, 8), 4)
    with pytest.raises(SolveError, match="filters, size, cells and kept are 1 or more, got 0, 6, 2, None"):
        patch_features(images(), 0)
    with pytest.raises(SolveError, match="at least 2 pixels within 8x8 images, got 9"):
        random_features((1, 8, 8), 4, smallest=9)
    with pytest.raises(SolveError, match=r"a shape \(channels, height, width\), got \(4,\)"):
        random_features((4,), 4)
    with pytest.raises(SolveError, match="filters must be 1 or more, got 0"):
        random_convolution(3, 0)
