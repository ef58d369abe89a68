import numpy as np
import pytest
import torch

from netmorph.data.balance import balanced_weights


def test_all_classes_count_alike():
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    weights = torch.tensor(balanced_weights(labels, 3))
    assert weights.tolist() == pytest.approx([100 / 180, 100 / 90, 100 / 30])
    assert (weights * torch.bincount(labels)).tolist() == pytest.approx([100 / 3] * 3)
    assert weights[labels].mean().item() == pytest.approx(1)


def test_a_class_without_images_counts_nothing():
    weights = balanced_weights(torch.tensor([0, 0, 0, 2]), 4)
    assert weights == pytest.approx((4 / 6, 0, 2, 0))


def test_it_is_the_formula_of_scikit_learn():
    utils = pytest.importorskip("sklearn.utils.class_weight")
    labels = torch.randint(5, (200,), generator=torch.Generator().manual_seed(0))
    expected = utils.compute_class_weight("balanced", classes=np.arange(5), y=labels.numpy())
    assert balanced_weights(labels, 5) == pytest.approx(expected.tolist())
