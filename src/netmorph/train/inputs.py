"""Data as a model takes it: on its device, in its dtype."""

import math
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import torch
from torch import Tensor, nn

from netmorph.data import Dataset, batches
from netmorph.seeds import generator_of

LOOKED_AT = 100  # samples that are looked at together where a network is measured


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    """Autocast to bfloat16 on this device, or nothing: entering a disabled one costs as much as a small layer."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def prepare(
    inputs: Tensor, dataset: Dataset, like: Tensor, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """Inputs as they are stored as a model takes them: on the device of `like`, floating ones in its dtype."""
    return dataset.preparation(inputs, like, memory_format)


def examples(dataset: Dataset, model: nn.Module, count: int = 8) -> Tensor:
    """A few training inputs as the model takes them, to trace it with."""
    return prepare(dataset.train.head(count), dataset, reference(model))


def calibration(dataset: Dataset, model: nn.Module, count: int, seed: int) -> list[Tensor]:
    """So many training inputs as the model takes them, drawn by the seed, in batches: for measures of a network."""
    like, size = reference(model), min(LOOKED_AT, count)
    drawn = islice(batches(dataset.train, size, generator=generator_of(seed)), math.ceil(count / size))
    return [prepare(x[: count - index * size].to(like.device), dataset, like) for index, (x, _) in enumerate(drawn)]


def reference(model: nn.Module) -> Tensor:
    """A tensor with the device and dtype of the model's input: its first floating parameter."""
    return next((parameter for parameter in model.parameters() if parameter.is_floating_point()), torch.empty(0))
