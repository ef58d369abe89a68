"""A run that stops and resumes ends exactly where a run that never stopped does."""

import dataclasses

import pytest
import torch
from torch import nn

from netmorph.data import Pixels
from netmorph.train.checkpoint import CheckpointError, load, previous, save
from netmorph.train.loop import train
from netmorph.train.optimizers import OPTIMIZERS
from netmorph.train.recipe import Recipe
from tests.train.small import dataset, deep, network, same_weights

RECIPE = Recipe(epochs=8, batch_size=16, pad=1, flip=True, learning_rate=0.02, channels_last=True)


class Stop(Exception):
    pass


def stop_after(number):
    def on_epoch(epoch):
        if epoch.epoch == number:
            raise Stop

    return on_epoch


@pytest.fixture(scope="module")
def uninterrupted():
    model = network()
    return train(model, dataset(), RECIPE), model.state_dict()


@pytest.mark.parametrize("number", [1, 5, 8])
def test_resume_is_exact(tmp_path, uninterrupted, number):
    path = tmp_path / "state.safetensors"
    with pytest.raises(Stop):
        train(network(), dataset(), RECIPE, checkpoint=path, resume=True, on_epoch=stop_after(number))
    # The resumed model starts from other weights: all must come from the file.
    model, seen = network(seed=9), []
    history = train(model, dataset(), RECIPE, checkpoint=path, resume=True, on_epoch=seen.append)
    assert len(seen) == 8 - number
    assert history == uninterrupted[0]
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in uninterrupted[1].items())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resume_is_exact_in_another_layout(tmp_path, optimizer):
    """A checkpoint keeps tensors contiguous; a fused optimizer reads its state in the order it has in memory."""
    recipe = Recipe(epochs=3, batch_size=16, optimizer=optimizer, learning_rate=0.01, channels_last=True)
    expected, model = deep(), deep()
    history = train(expected, dataset(), recipe)
    with pytest.raises(Stop):
        train(deep(), dataset(), recipe, checkpoint=tmp_path / "run", on_epoch=stop_after(1))
    assert train(model, dataset(), recipe, checkpoint=tmp_path / "run", resume=True) == history
    assert same_weights(model, expected)


def test_a_finished_run_only_gives_its_result(tmp_path, uninterrupted):
    path = tmp_path / "state.safetensors"
    train(network(), dataset(), RECIPE, checkpoint=path)
    model = network(seed=9)
    assert train(model, dataset(), RECIPE, checkpoint=path, resume=True) == uninterrupted[0]
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in uninterrupted[1].items())


def test_early_stopping_is_not_forgotten(tmp_path):
    path = tmp_path / "state.safetensors"
    recipe = Recipe(epochs=60, learning_rate=0.03, patience=2)
    history = train(network(), dataset(), recipe, checkpoint=path)
    assert train(network(), dataset(), recipe, checkpoint=path, resume=True) == history


def other_images(data):
    """Another split in which the classes lie as in the first one, as those of sorted folders do."""
    first = data.train
    same = (first.targets == first.targets[0]).nonzero().flatten()[:2]
    order = torch.arange(len(first))
    order[same] = order[same.flip(0)]
    changed = first.select(order)
    assert torch.equal(changed.targets, first.targets)
    return dataclasses.replace(data, train=changed)


@pytest.fixture
def stopped(tmp_path):
    path = tmp_path / "state.safetensors"
    with pytest.raises(Stop):
        train(network(), dataset(), RECIPE, checkpoint=path, on_epoch=stop_after(2))
    return path


@pytest.mark.parametrize(
    ("build", "data", "options", "message"),
    [
        (network, dataset, {"recipe": dataclasses.replace(RECIPE, epochs=9)}, "epochs is 8 there, 9 here"),
        (network, dataset, {"seed": 1}, "seed is 0 there, 1 here"),
        (
            network,
            lambda: dataset(seed=1),
            {},
            "the data set has changed .* was columns-0, now it is columns-1.*start a new run",
        ),
        (network, lambda: dataset(train=80), {}, "divided otherwise"),
        (network, lambda: other_images(dataset()), {}, "divided otherwise"),
        (
            network,
            lambda: dataclasses.replace(dataset(), preparation=Pixels((0.5,), (0.2,))),
            {},
            r"preparation of the inputs is .*'mean': \[0.35\].* there, .*'mean': \[0.5\].* here",
        ),
        (lambda: network(classes=4), dataset, {}, r"another network: 5\.weight is \(3, 144\)"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), dataset, {}, r"0\.weight is .* absent here"),
    ],
)
def test_another_run_is_refused(stopped, build, data, options, message):
    model = build()
    before = [parameter.clone() for parameter in model.parameters()]
    content = stopped.read_bytes()
    with pytest.raises(CheckpointError, match=message):
        train(model, data(), options.pop("recipe", RECIPE), checkpoint=stopped, resume=True, **options)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    assert stopped.read_bytes() == content


def test_a_checkpoint_of_before_a_hyper_parameter_was_known_goes_on(stopped):
    tensors, meta = load(stopped)
    for name in ("views", "reflect"):
        assert meta["identity"]["recipe"].pop(name) == getattr(RECIPE, name)
    save(stopped, tensors, meta)
    assert len(train(network(), dataset(), RECIPE, checkpoint=stopped, resume=True)) == RECIPE.epochs
    meta["identity"]["recipe"]["unknown"] = 1
    save(stopped, tensors, meta)
    with pytest.raises(CheckpointError, match="unknown is 1 there, absent here"):
        train(network(), dataset(), RECIPE, checkpoint=stopped, resume=True)


def test_a_checkpoint_is_not_overwritten_unasked(stopped):
    with pytest.raises(CheckpointError, match=r"there is .*safetensors and .*\.previous; resume, delete"):
        train(network(), dataset(), RECIPE, checkpoint=stopped)
    stopped.unlink()
    with pytest.raises(CheckpointError, match=r"there is [^ ]*\.previous; resume, delete what is there"):
        train(network(), dataset(), RECIPE, checkpoint=stopped)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(stopped, uninterrupted):
    stopped.write_bytes(stopped.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="is damaged"):
        history = train(network(), dataset(), RECIPE, checkpoint=stopped, resume=True)
    assert history == uninterrupted[0]


def test_two_damaged_checkpoints_are_an_error(stopped):
    for file in (stopped, previous(stopped)):
        file.write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(CheckpointError, match="delete it"):
        train(network(), dataset(), RECIPE, checkpoint=stopped, resume=True)
