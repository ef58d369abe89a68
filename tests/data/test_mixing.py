"""Mixup and CutMix beside their formulas, image by image, in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from netmorph.data.mixing import cutmix, mixup, random_box


def batch(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 2, 6, 8, generator=generator, dtype=torch.float64)
    return images, functional.one_hot(torch.arange(count) % 3, 3).double()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_mixup_is_the_weighted_mean_of_two(share):
    images, targets = batch()
    before = images.clone(), targets.clone()
    mixed, aims = mixup(images, targets, share)
    for i in range(5):
        torch.testing.assert_close(mixed[i], share * images[i] + (1 - share) * images[i - 1])
        torch.testing.assert_close(aims[i], share * targets[i] + (1 - share) * targets[i - 1])
    torch.testing.assert_close(aims.sum(1), torch.ones(5).double())
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])


@pytest.mark.parametrize(
    "box",
    [
        (slice(1, 4), slice(2, 7)),
        (slice(0, 6), slice(0, 8)),
        (slice(3, 3), slice(0, 8)),
    ],
)
def test_cutmix_pastes_a_box_and_counts_its_pixels(box):
    images, targets = batch()
    before = images.clone(), targets.clone()
    mixed, aims = cutmix(images, targets, box)
    inside = torch.zeros(6, 8, dtype=torch.bool)
    inside[box] = True
    for i in range(5):
        assert torch.equal(mixed[i], torch.where(inside, images[i - 1], images[i]))
        kept = 1 - inside.double().mean()
        torch.testing.assert_close(aims[i], kept * targets[i] + (1 - kept) * targets[i - 1])
    torch.testing.assert_close(aims.sum(1), torch.ones(5).double())
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])


def test_one_image_is_mixed_with_itself():
    images, targets = batch(1)
    for mixed, aims in (mixup(images, targets, 0.3), cutmix(images, targets, (slice(1, 4), slice(2, 7)))):
        torch.testing.assert_close(mixed, images)
        torch.testing.assert_close(aims, targets)


def test_mixing_keeps_the_layout_of_channels_last():
    images, targets = batch()
    images = images.contiguous(memory_format=torch.channels_last)
    for mixed, _ in (mixup(images, targets, 0.3), cutmix(images, targets, (slice(1, 4), slice(2, 7)))):
        assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_a_box_has_the_area_and_the_proportions_asked_for_and_ends_at_the_border():
    generator = np.random.default_rng(0)
    boxes = [random_box(40, 20, 0.75, generator) for _ in range(2000)]
    seen = np.zeros((40, 20))
    for rows, columns in boxes:
        assert 0 <= rows.start < rows.stop <= 40
        assert 0 <= columns.start < columns.stop <= 20
        assert rows.stop - rows.start == 20 or rows.start == 0 or rows.stop == 40
        assert columns.stop - columns.start == 10 or columns.start == 0 or columns.stop == 20
        seen[rows, columns] += 1
    assert max(rows.stop - rows.start for rows, _ in boxes) == 20
    assert max(columns.stop - columns.start for _, columns in boxes) == 10
    assert seen.min() > 80, "no pixel is left out"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_box_of_all_or_nothing(share):
    rows, columns = random_box(6, 8, share, np.random.default_rng(0))
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    assert area == 0 if share else area >= 12, "a centre in the corner leaves a quarter"


def test_the_same_generator_gives_the_same_box():
    one, again, other = (random_box(40, 20, 0.5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == again != other
