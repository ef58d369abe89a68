import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netmorph.data import DataError
from netmorph.data.splitting import balanced_subset, hold_out

NAMES = tuple("abcdef")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 9),
)
def test_every_class_stays_on_both_sides(counts, fraction, seed):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    kept, held = hold_out(labels, fraction, NAMES, seeded(seed))
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(len(labels)))
    held_counts = labels[held].bincount(minlength=len(counts)).tolist()
    for count, held_count in zip(counts, held_counts, strict=True):
        assert 1 <= held_count <= count - 1
        assert abs(held_count - fraction * count) <= 1


def test_the_seed_decides():
    labels = torch.arange(200) % 4
    first, again, other = (hold_out(labels, 0.3, NAMES, seeded(seed))[1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_held_out_at_fraction_zero():
    kept, held = hold_out(torch.tensor([0, 1, 1]), 0, NAMES, seeded())
    assert kept.tolist() == [0, 1, 2]
    assert held.tolist() == []


def test_a_class_of_one_image_cannot_be_split():
    with pytest.raises(DataError, match=r"class 'b'.*only one"):
        hold_out(torch.tensor([0, 0, 1]), 0.5, NAMES, seeded())


def test_subset_is_balanced_even_where_classes_are_not():
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 3)
    counts = labels[balanced_subset(labels, 43, seeded())].bincount()
    assert counts.tolist() == [20, 20, 3]


def test_a_smaller_subset_lies_in_a_larger():
    labels = torch.arange(100) % 3
    small, large = (set(balanced_subset(labels, size, seeded()).tolist()) for size in (10, 40))
    assert len(small) == 10
    assert small < large
