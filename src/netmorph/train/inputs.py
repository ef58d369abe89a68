"""Data as a model takes it: on its device, in its dtype."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from netmorph.data import Dataset


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    """Autocast to bfloat16 on this device, or nothing: entering a disabled one costs as much as a small layer."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def prepare(
    images: Tensor, dataset: Dataset, like: Tensor, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """uint8 images [N, C, H, W] as a model's input: on the device and in the dtype of `like`, normalized."""
    return dataset.preparation(images, like, memory_format)


def examples(dataset: Dataset, model: nn.Module, count: int = 8) -> Tensor:
    """A few training images as the model takes them, to trace it with."""
    return prepare(dataset.train.head(count), dataset, reference(model))


def reference(model: nn.Module) -> Tensor:
    """A tensor with the device and dtype of the model's input: its first floating parameter."""
    return next((parameter for parameter in model.parameters() if parameter.is_floating_point()), torch.empty(0))
