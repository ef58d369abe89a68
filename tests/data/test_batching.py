import pytest
import torch

from netmorph.data import DataError, Split, augment, batches, normalize


def numbered(count: int) -> Split:
    """Images whose every pixel is their number."""
    numbers = torch.arange(count)
    return Split(numbers.to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2), numbers)


def test_in_order_batches_are_views_and_keep_the_last():
    split = numbered(10)
    found = list(batches(split, 4))
    assert [labels.tolist() for _, labels in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert found[0][0].data_ptr() == split.inputs.data_ptr()


def test_shuffled_batches_keep_images_with_their_labels():
    found = list(batches(numbered(10), 4, generator=torch.Generator().manual_seed(0)))
    order = torch.cat([labels for _, labels in found])
    assert sorted(order.tolist()) == list(range(10)) != order.tolist()
    assert all(torch.equal(images[:, 0, 0, 0].long(), labels) for images, labels in found)


def test_shares_of_shuffled_batches_are_equal_and_make_up_the_batches():
    shares = [batches(numbered(11), 4, generator=torch.Generator().manual_seed(0), share=(k, 2)) for k in range(2)]
    parts = [[labels.tolist() for _, labels in share] for share in shares]
    assert [[len(labels) for labels in part] for part in parts] == [[2, 2, 1]] * 2
    whole = [labels.tolist() for _, labels in batches(numbered(11), 4, generator=torch.Generator().manual_seed(0))]
    assert [sorted(first + second) for first, second in zip(*parts, strict=True)][:2] == list(map(sorted, whole[:2]))


def test_shares_in_order_miss_no_image():
    found = [labels.tolist() for k in range(3) for _, labels in batches(numbered(7), 6, share=(k, 3))]
    assert found == [[0, 3], [6], [1, 4], [2, 5]]


@pytest.mark.parametrize("share", [(0, 1), (1, 2)])
@pytest.mark.parametrize("seed", [None, 0])
def test_what_comes_after_a_start_stays_the_same(share, seed):
    def cut(start):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        found = batches(numbered(19), 4, generator=generator, share=share, start=start)
        return [labels.tolist() for _, labels in found]

    for start in range(4):
        assert cut(start) == cut(0)[start:]


def test_the_generator_goes_on_from_epoch_to_epoch():
    generator = torch.Generator().manual_seed(0)
    first, second = (next(batches(numbered(50), 50, generator=generator))[1] for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("size", "shares"), [(0, 1), (5, 2)])
def test_impossible_batches_are_refused_before_the_first(size, shares):
    with pytest.raises(DataError, match=f"at least 1 and a multiple of the {shares} shares, got {size}"):
        batches(numbered(10), size, share=(0, shares))


def test_split_refuses_what_is_neither_images_nor_features_nor_tokens():
    with pytest.raises(DataError, match=r"uint8 \[N, C, H, W\], got uint8 \[2, 3\]"):
        Split(torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    for wrong in (torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2)):
        with pytest.raises(DataError, match="floating features"):
            Split(wrong, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match=r"each of the 2 inputs, got int64 \[3\]"):
        Split(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_normalize(dtype):
    images = torch.randint(256, (4, 3, 5, 5), dtype=torch.uint8)
    before = images.clone()
    mean, std = torch.tensor([0.1, 0.5, 0.9]).double(), torch.tensor([0.2, 0.3, 1.0]).double()
    expected = (images.double() / 255 - mean[:, None, None]) / std[:, None, None]
    result = normalize(images, mean.tolist(), std.tolist(), dtype=dtype, memory_format=torch.channels_last)
    assert result.dtype == dtype
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, expected.to(dtype), rtol=0, atol=0.02 if dtype == torch.bfloat16 else 1e-5)
    assert torch.equal(images, before)


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_augment_makes_crops_of_the_padded_image(flip, reflect):
    images = torch.randint(1, 256, (64, 3, 5, 6), dtype=torch.uint8)
    result = augment(images, torch.Generator().manual_seed(0), pad=2, flip=flip, reflect=reflect)
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    mode = "reflect" if reflect else "constant"
    padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2), mode).to(torch.uint8)
    seen = set()
    for image, augmented in zip(padded, result, strict=True):
        crops = {
            (top, left, mirrored): image[:, top : top + 5, left : left + 6].flip([2] if mirrored else [])
            for top in range(5)
            for left in range(5)
            for mirrored in (False, True)
        }
        matching = [key for key, crop in crops.items() if torch.equal(crop, augmented)]
        assert len(matching) == 1
        seen.add(matching[0])
    assert len(seen) > 15
    assert {mirrored for _, _, mirrored in seen} == ({False, True} if flip else {False})


def test_no_mirror_reaches_further_than_the_image():
    images = torch.zeros(2, 1, 4, 6, dtype=torch.uint8)
    augment(images, torch.Generator(), pad=3, reflect=True)
    with pytest.raises(DataError, match="4x6 cannot be continued by 4 pixels"):
        augment(images, torch.Generator(), pad=4, reflect=True)


def test_augment_follows_its_generator():
    images = torch.randint(256, (8, 1, 8, 8), dtype=torch.uint8)
    first, again, other = (augment(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
