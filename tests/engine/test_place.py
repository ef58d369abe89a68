"""Where networks and data are trained."""

import torch

from netmorph.engine.place import place, resident
from netmorph.engine.recipe import Recipe
from tests.engine.small import dataset, network


def test_the_layout_that_the_recipe_asks_for():
    model = network()
    filters = next(parameter for parameter in model.parameters() if parameter.dim() == 4)
    place(model, torch.device("cpu"), Recipe())
    assert filters.is_contiguous()
    place(model, torch.device("cpu"), Recipe(channels_last=True))
    assert filters.is_contiguous(memory_format=torch.channels_last)


def test_data_in_memory_moves_as_a_whole():
    data, device = dataset(), torch.device("meta")
    moved = resident(data, device)
    assert moved.train.images.device == moved.validation.labels.device == device
    assert resident(data, torch.device("cpu")) is data
