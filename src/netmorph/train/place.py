"""Networks and data to the device where they are trained."""

from dataclasses import replace

import torch
from torch import nn

from netmorph.data import Dataset, Split, Windows
from netmorph.memory_layout import align, laid_out, layout
from netmorph.train.inputs import reference
from netmorph.train.recipe import Recipe


def place(
    model: nn.Module, device: torch.device, recipe: Recipe, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Move a model, and the state of its optimizer, to a device, in the layout that the recipe asks for."""
    moves = reference(model).device != device
    model.to(device)
    if recipe.channels_last:
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dim() == 4:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    if optimizer is not None:
        if moves:  # takes its state to where the parameters are now
            optimizer.load_state_dict(optimizer.state_dict())
        align(optimizer)


def lay_out(model: nn.Module, recipe: Recipe) -> None:
    """Give every tensor the strides that it would have in a new network that was placed.

    How what an edit makes lies in memory decides the last bits of what is computed from it. Where the recipe asks for
    no order, it keeps that of what it was made from.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        strides = layout(tensor)
        if recipe.channels_last and tensor.dim() == 4:
            # Strides are compared: where a size is one, several of them count as the same layout.
            strides = torch.empty(tensor.shape, device="meta").contiguous(memory_format=torch.channels_last).stride()
        if tensor.stride() != strides:
            tensor.data = laid_out(tensor.data, strides)


def resident(dataset: Dataset, device: torch.device) -> Dataset:
    """The data set with what is in memory moved to an accelerator: every batch is then cut there."""
    if device.type == "cpu":
        return dataset
    train, validation = (
        part.to(device) if isinstance(part, Split | Windows) else part for part in (dataset.train, dataset.validation)
    )
    return replace(dataset, train=train, validation=validation)
