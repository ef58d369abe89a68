import numpy as np
import pytest
import torch
from PIL import Image

from netmorph.data.crops import centre_crop, crop, default_short_side, random_crop, resize, shrunk_size


def test_random_crops_lie_inside_and_have_the_asked_area_and_ratio():
    generator = np.random.default_rng(0)
    boxes = np.array([random_crop((375, 500), generator) for _ in range(2000)])
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert (top + height).max() <= 375
    assert (left + width).max() <= 500
    area, ratio = height * width / (375 * 500), width / height
    assert 0.075 < area.min() < 0.1
    assert 0.9 < area.max() <= 1
    assert 0.74 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.35
    assert 0.4 < area.mean() < 0.56


def test_random_crops_are_those_of_torchvision():
    transforms = pytest.importorskip("torchvision.transforms")
    image, generator = torch.zeros(3, 90, 130), np.random.default_rng(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = [transforms.RandomResizedCrop.get_params(image, (0.08, 1), (3 / 4, 4 / 3)) for _ in range(4000)]
    ours = [random_crop((90, 130), generator) for _ in range(4000)]
    spread = np.array(theirs, float).std(0) / np.sqrt(4000)
    assert (abs(np.mean(ours, 0) - np.mean(theirs, 0)) < 5 * spread).all()


@pytest.mark.parametrize(("size", "box"), [((10, 1000), (0, 493, 10, 13)), ((1000, 9), (494, 0, 12, 9))])
def test_a_long_image_without_a_fitting_box_gives_its_middle(size, box):
    assert random_crop(size, np.random.default_rng(0)) == box


def test_the_centre_crop_needs_no_second_resize():
    for side in (7, 32, 64, 100, 160, 224, 299):
        size = shrunk_size((375, 500), default_short_side((side, side)))
        assert centre_crop(size, (side, side))[2:] == (side, side)
    assert default_short_side((224, 224)) == 256
    assert centre_crop((256, 341), (224, 224)) == (16, 58, 224, 224)


def test_the_centre_crop_of_a_small_or_odd_image():
    assert centre_crop((80, 200), (224, 224)) == (5, 65, 70, 70)
    assert centre_crop((100, 100), (50, 100)) == (28, 6, 43, 87)
    assert centre_crop((1, 1), (224, 224)) == (0, 0, 1, 1)


def test_shrinking_never_enlarges():
    assert shrunk_size((375, 500), 256) == (256, 341)
    assert shrunk_size((80, 500), 256) == (80, 500)


def test_resizing_is_that_of_pillow():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    ours = resize(crop(torch.from_numpy(pixels), (4, 6, 40, 55)), (24, 20))
    theirs = Image.fromarray(pixels[4:44, 6:61]).resize((20, 24), Image.Resampling.BILINEAR)
    assert abs(ours.int().numpy() - np.asarray(theirs).astype(int)).max() <= 1
    assert resize(ours, (24, 20)) is ours
