"""Where networks and data are trained."""

from dataclasses import replace

import pytest
import torch

from netmorph.train.loop import train
from netmorph.train.optimizers import OPTIMIZERS, build_optimizer
from netmorph.train.place import lay_out, place, resident
from netmorph.train.recipe import Recipe
from tests.train.small import dataset, deep, same_weights


def test_the_layout_that_the_recipe_asks_for():
    model = deep()
    filters = model[1].weight
    place(model, torch.device("cpu"), Recipe())
    assert filters.is_contiguous()
    place(model, torch.device("cpu"), Recipe(channels_last=True))
    assert filters.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_in_another_layout(optimizer):
    recipe = Recipe(epochs=2, batch_size=16, optimizer=optimizer, learning_rate=0.01)
    losses = []
    for channels_last in (False, True):
        model = deep().double()
        model[4].p = 0.0  # dropout draws in the order in memory
        moving = build_optimizer(model, recipe)
        train(model, dataset(), recipe, optimizer=moving)
        then = replace(recipe, channels_last=channels_last)
        losses.append([epoch.train["loss"] for epoch in train(model, dataset(), then, optimizer=moving)])
        filters = [parameter for parameter in model.parameters() if parameter.dim() == 4]
        assert filters[1].is_contiguous() is not channels_last
        for parameter in filters:
            for value in moving.state[parameter].values():
                assert not isinstance(value, torch.Tensor) or value.dim() == 0 or value.stride() == parameter.stride()
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_filters_of_other_dimensions_keep_their_layout():
    model = torch.nn.Sequential(torch.nn.Conv1d(4, 8, 3), torch.nn.Conv3d(4, 8, 3))
    place(model, torch.device("cpu"), Recipe(channels_last=True))
    assert all(parameter.is_contiguous() for parameter in model.parameters())


def test_data_in_memory_moves_as_a_whole():
    data, device = dataset(), torch.device("meta")
    moved = resident(data, device)
    assert moved.train.inputs.device == moved.validation.targets.device == device
    assert resident(data, torch.device("cpu")) is data


@pytest.mark.parametrize("channels_last", [False, True])
def test_whatever_made_a_tensor_it_lies_as_in_a_new_network(channels_last):
    recipe, models = Recipe(channels_last=channels_last), (deep(), deep())
    place(models[0], torch.device("cpu"), recipe)
    for tensor in models[1].parameters():
        tensor.data = torch.stack([tensor.data] * 2, -1)[..., 0]  # every other entry of a piece of memory
    lay_out(models[1], recipe)
    assert [p.stride() for p in models[1].parameters()] == [p.stride() for p in models[0].parameters()]
    assert same_weights(*models)


def test_an_order_that_the_recipe_does_not_ask_for_is_kept():
    model = deep().to(memory_format=torch.channels_last)
    strides = [parameter.stride() for parameter in model.parameters()]
    lay_out(model, Recipe())
    assert [parameter.stride() for parameter in model.parameters()] == strides
