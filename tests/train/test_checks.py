"""What cannot work is said before the first step."""

import dataclasses

import pytest
import torch
from torch import nn

from netmorph.data import Split
from netmorph.errors import NetmorphError
from netmorph.train.loop import train
from netmorph.train.lr_finder import find_learning_rate
from netmorph.train.optimizers import build_optimizer
from netmorph.train.parallel import World
from netmorph.train.recipe import Recipe
from tests.train.small import dataset, network


class Auxiliary(nn.Module):
    """Gives more in train mode, like the Inception networks of torchvision."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, images):
        return (self.inner(images), images) if self.training else self.inner(images)


def flat():
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, images):
        return self.inner(images), images


def bad_label():
    data = dataset()
    labels = data.train.targets.clone()
    labels[-1] = 3
    return dataclasses.replace(data, train=Split(data.train.inputs, labels))


def empty(part):
    return dataclasses.replace(
        dataset(),
        **{part: Split(torch.empty(0, 1, 6, 6, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))},
    )


@pytest.mark.parametrize(
    ("model", "data", "options", "message"),
    [
        (network, lambda: empty("train"), {}, "the training split is empty"),
        (network, lambda: empty("validation"), {}, "the validation split is empty"),
        (network, bad_label, {}, "labels go from 0 to 3.*classes 0 to 2"),
        (lambda: network(classes=2), dataset, {}, "labels go from 0 to 2.*classes 0 to 1"),
        (Pair, dataset, {}, "Pair gives tuple; one tensor of logits"),
        (lambda: network()[:3], dataset, {}, r"gives shape \(2, 4, 6, 6\); logits"),
        (lambda: nn.Linear(5, 3), dataset, {}, r"Linear does not take images of shape \(1, 6, 6\)"),
        (lambda: network().requires_grad_(False), dataset, {}, "no trainable parameter"),
        (network, dataset, {"seed": -1}, "seed must be 0 or more"),
        (network, dataset, {"seed": 2**64}, r"below 2\*\*64"),
        (network, dataset, {"device": "nonsense"}, "device 'nonsense' cannot be used"),
        (network, dataset, {"device": "meta"}, "the device 'meta' holds no numbers"),
        (network, dataset, {"resume": True}, "resume needs the checkpoint"),
        (network, dataset, {"world": World(1, 3)}, "batches of 64 cannot be shared equally by 3 processes"),
        (network, lambda: dataset(validation=1), {"world": World(1, 2)}, "a split of 1 images cannot be shared by 2"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(model, data, options, message):
    model = model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(NetmorphError, match=message):
        train(model, data(), Recipe(epochs=1), **options)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_output_that_is_another_in_train_mode_is_refused():
    with pytest.raises(NetmorphError, match="Auxiliary gives tuple in train mode"):
        train(Auxiliary(), dataset(), Recipe(epochs=1))


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 16, "accumulate": 16}])
def test_batch_normalization_of_single_samples_says_what_to_change(options):
    with pytest.raises(NetmorphError, match=r"single sample.*Raise batch_size, lower accumulate"):
        train(flat(), dataset(), Recipe(epochs=1, **options))


def test_class_weights_that_do_not_fit_the_classes_are_refused():
    with pytest.raises(NetmorphError, match="class_weights has 2 numbers for 3 classes"):
        train(network(), dataset(), Recipe(epochs=1, class_weights=(1.0, 2.0)))


def test_an_optimizer_that_misses_a_parameter_is_refused():
    model = network()
    optimizer = build_optimizer(model, Recipe())
    model[5] = nn.Linear(4 * 36, 3)
    with pytest.raises(NetmorphError, match=r"does not hold 5\.weight, 5\.bias"):
        train(model, dataset(), Recipe(epochs=1), optimizer=optimizer)


@pytest.mark.parametrize("options", [{"mixup": 0.2}, {"cutmix": 1.0}, {"class_weights": (1.0, 2.0, 1.0)}])
def test_losses_by_class_take_one_output_a_class(options):
    recipe = Recipe(epochs=1, batch_size=30, **options)
    with pytest.raises(NetmorphError, match=r"takes one output a class, of which 'columns' has 3; .* has 4 outputs"):
        train(network(classes=4), dataset(), recipe)
    with pytest.raises(NetmorphError, match="takes one output a class"):
        find_learning_rate(network(classes=4), dataset(), recipe)
    train(network(classes=4), dataset(), Recipe(epochs=1))


def test_an_optimizer_that_the_loop_cannot_drive_as_it_is():
    model = network()
    with pytest.raises(NetmorphError, match="LBFGS calls the network itself"):
        train(model, dataset(), Recipe(epochs=1), optimizer=torch.optim.LBFGS(model.parameters()))
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": [*model[1:].parameters()], "lr": 0.01}]
    with pytest.warns(UserWarning, match=r"learning rates 0\.1, 0\.01; the recipe sets one.*'lr_scale', or 1"):
        train(model, dataset(), Recipe(epochs=1), optimizer=torch.optim.SGD(groups))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.requires_grad_(False)
    with pytest.raises(NetmorphError, match="no trainable parameter"):
        train(model, dataset(), Recipe(epochs=1), optimizer=optimizer)
