"""What each class should count where some have more images than others."""

import torch
from torch import Tensor


def balanced_weights(labels: Tensor, classes: int) -> tuple[float, ...]:
    """Weights with which all classes count alike in a loss: N / (classes * images of the class), as in scikit-learn.

    Args:
        labels: int64 [N], below `classes`.

    Returns:
        One weight a class, 0 for a class without images; their mean over the images is 1.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    share = len(labels) / (int((counts > 0).sum()) * counts)
    return tuple(torch.where(counts > 0, share, 0).tolist())
