"""The training loop: it learns, repeats itself, keeps the best; memory that runs out, streams, compilation."""

import copy
import dataclasses
import hashlib
import math
import os
import shutil

import pytest
import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.train.advice import OutOfMemory
from netmorph.train.evaluation import evaluate
from netmorph.train.history import Epoch, History
from netmorph.train.loop import train
from netmorph.train.optimizer_state import pack_optimizer
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import learning_rate_of
from tests.train.small import dataset, network, same_weights


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_it_learns(optimizer):
    data, model = dataset(), network()
    before = evaluate(model, data.test, data)
    history = train(model, data, Recipe(epochs=6, batch_size=16, optimizer=optimizer, learning_rate=0.01))
    after = evaluate(model, data.test, data)
    assert len(history) == 6
    assert after.accuracy >= 0.9 > before.accuracy
    assert history[-1].train_loss < history[0].train_loss


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pad": 1, "flip": True},
        {"bf16": True},
        {"channels_last": True},
        {"clip_norm": 1.0, "accumulate": 3},
        {"mixup": 0.2, "cutmix": 1.0},
        {"class_weights": (1.0, 0.5, 2.0), "label_smoothing": 0.1, "ema": 0.9},
    ],
)
def test_same_seed_same_numbers(options):
    recipe = Recipe(epochs=2, batch_size=16, **options)
    data, models = dataset(), [network(), network(), network()]
    histories = [train(model, data, recipe, seed=seed) for model, seed in zip(models, (3, 3, 4), strict=True)]
    assert histories[0] == histories[1] != histories[2]
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_the_callers_random_state_and_the_models_modes_stay():
    model = network()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    seen = []
    with pytest.warns(UserWarning, match="in eval mode while the rest trains"):
        train(model, dataset(), Recipe(epochs=2), on_epoch=lambda epoch: seen.append((epoch.epoch, model.training)))
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert seen == [(1, True), (2, True)]


def test_the_best_weights_and_their_optimizer_state_are_kept():
    data, model = dataset(), network()
    optimizer = build_optimizer(model, Recipe())
    states = {}

    def remember(epoch):
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        states[epoch.epoch] = weights, pack_optimizer(optimizer, model)[0]

    recipe = Recipe(epochs=12, batch_size=16, learning_rate=0.03, schedule="constant")
    history = train(model, data, recipe, optimizer=optimizer, on_epoch=remember)
    best = history.best.epoch
    assert best < 12, "the test needs a best epoch before the last"
    weights, optimizer_state = states[best]
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    packed, _ = pack_optimizer(optimizer, model)
    assert all(torch.equal(optimizer_state[name], tensor) for name, tensor in packed.items())
    metrics = evaluate(model, data.validation, data)
    assert (metrics.loss, metrics.accuracy) == (
        history.best.validation_loss,
        history.best.validation_accuracy,
    )


def test_best_breaks_ties_by_loss_and_then_by_order():
    def epoch(number, accuracy, loss):
        return Epoch(number, 1.0, 0.5, loss, accuracy, 0.1, 0.0)

    history = History([epoch(1, 0.9, 0.3), epoch(2, 0.9, 0.2), epoch(3, 0.9, 0.2), epoch(4, 0.8, 0.1)])
    assert history.best.epoch == 2


def test_patience_stops_early():
    history = train(network(), dataset(), Recipe(epochs=60, learning_rate=0.03, patience=2))
    assert len(history) == history.best.epoch + 2 < 60


def test_train_figures_are_means_over_samples():
    data, model = dataset(train=40), nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    # Batches of 16, 16 and 8, and steps too small to change anything.
    history = train(model, data, Recipe(epochs=1, batch_size=16, learning_rate=1e-30))
    metrics = evaluate(model, data.train, data)
    assert history[0].train_loss == pytest.approx(metrics.loss, rel=1e-6)
    assert history[0].train_accuracy == metrics.accuracy


def test_a_given_optimizer_goes_on():
    model = network()
    recipe = Recipe(epochs=1, batch_size=16, optimizer="adam")
    optimizer = build_optimizer(model, recipe)
    train(model, dataset(), recipe, optimizer=optimizer)
    train(model, dataset(), dataclasses.replace(recipe, learning_rate=5e-4), optimizer=optimizer)
    state = optimizer.state[model[5].weight]
    assert state["step"] == 12, "six steps an epoch"
    assert optimizer.param_groups[0]["lr"] < 5e-4


def test_a_trailing_single_sample_is_left_out():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    history = train(model, dataset(train=17), Recipe(epochs=1, batch_size=16))
    assert math.isfinite(history[0].train_loss)


def test_double_precision_models_train():
    model = network().double()
    train(model, dataset(), Recipe(epochs=1))
    assert model[5].weight.dtype == torch.float64


# Memory that runs out.


def accelerator_full(module, inputs, output):
    if module.training:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has a total capacity of")


def memory_full(module, inputs, output):
    if module.training:
        torch.empty(2**60, dtype=torch.uint8)


def no_words(module, inputs, output):
    if module.training:
        raise MemoryError


@pytest.mark.parametrize(
    ("hook", "options", "message"),
    [
        (
            accelerator_full,
            {},
            r"epoch 1, with batches of 16 in 1 parts: CUDA out of memory. Tried to allocate 20.00 GiB.. Try "
            r"accumulate=2 \(.*\), bf16, a lower batch_size or width, or smaller images$",
        ),
        (
            memory_full,
            {"accumulate": 4, "bf16": True},
            r"in 4 parts: .*can't allocate memory.* Try accumulate=8 \(.*\), a",
        ),
        (no_words, {"accumulate": 16}, r"in 16 parts: MemoryError\. Try bf16, a lower"),
    ],
)
def test_out_of_memory_says_what_to_lower(hook, options, message):
    model = network()
    model[3].register_forward_hook(hook)
    with pytest.raises(OutOfMemory, match=message):
        train(model, dataset(), Recipe(batch_size=16, **options))


@pytest.mark.parametrize("kind", [RuntimeError, NotImplementedError, ZeroDivisionError])
def test_other_errors_of_a_network_are_its_own(kind):
    def fail(module, inputs, output):
        if module.training:
            raise kind("a shape")

    model = network()
    model[3].register_forward_hook(fail)
    with pytest.raises(kind, match=r"^a shape$"):
        train(model, dataset(), Recipe())


# Data that is not in memory.


class Streamed:
    """A part that reads its images one by one, each time from its own place."""

    def __init__(self, split):
        self.files = [image.numpy().tobytes() for image in split.inputs]
        self.shape = split.inputs.shape[1:]
        self.targets = split.targets
        self.seeds = []

    def __len__(self):
        return len(self.files)

    def head(self, count):
        return self._read(range(count))

    def digest(self):
        return hashlib.sha256(b"".join(self.files)).hexdigest()

    def cut(self, batch_size, order=None, seed=None):
        self.seeds.append(seed)
        order = torch.arange(len(self)) if order is None else order
        for indices in order.split(batch_size):
            yield self._read(indices.tolist()), self.targets[indices]

    def _read(self, indices):
        images = [torch.frombuffer(bytearray(self.files[index]), dtype=torch.uint8) for index in indices]
        return torch.stack(images).view(-1, *self.shape)


def streamed(data):
    parts = {name: Streamed(getattr(data, name)) for name in ("train", "validation", "test")}
    return dataclasses.replace(data, **parts)


def test_streamed_images_train_like_the_same_in_memory():
    recipe = Recipe(epochs=3, batch_size=16, pad=1, flip=True, mixup=0.2, accumulate=2, ema=0.9)
    memory, stream, models = dataset(), streamed(dataset()), (network(), network())
    histories = [train(model, data, recipe, seed=3) for model, data in zip(models, (memory, stream), strict=True)]
    assert histories[0] == histories[1]
    assert same_weights(*models)
    assert evaluate(models[0], memory.test, memory) == evaluate(models[0], stream.test, stream)
    assert len(set(stream.train.seeds)) == 3, "an epoch each"
    assert set(stream.validation.seeds) == {None}


def test_views_are_for_tests_and_change_nothing_here():
    models = (network(), network())
    histories = [
        train(model, dataset(), Recipe(epochs=2, views=views)) for model, views in zip(models, (1, 6), strict=True)
    ]
    assert histories[0] == histories[1]
    assert same_weights(*models)


def test_a_split_moves_with_its_labels():
    moved = dataset().train.to(torch.device("meta"))
    assert moved.inputs.device == moved.targets.device == torch.device("meta")
    assert len(moved) == 90


# Compiled.


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler's own libraries
def test_compiled_it_computes_the_same_up_to_rounding():
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler")
    recipe = Recipe(epochs=2, batch_size=16, optimizer="sgd", learning_rate=0.05, accumulate=2, ema=0.9)
    data, models = dataset(train=83), (plain(), plain())
    histories = [
        train(model, data, dataclasses.replace(recipe, compile=compiled))
        for model, compiled in zip(models, (False, True), strict=True)
    ]
    for one, other in zip(*histories, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-5)
    for name, tensor in models[0].state_dict().items():
        torch.testing.assert_close(models[1].state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    assert list(models[1].state_dict()) == list(models[0].state_dict())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiler_that_is_missing_is_told(monkeypatch):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    with pytest.raises(NetmorphError, match=r"torch\.compile failed: .*no-such-compiler.*Leave compile out"):
        train(plain(), dataset(train=32), Recipe(epochs=1, compile=True))


def plain():
    return nn.Sequential(*(layer for layer in network() if not isinstance(layer, nn.Dropout)))


def test_modules_put_in_eval_mode_beside_others_stay_so():
    model = network()
    model[1].eval()
    before = model[1].running_mean.clone()
    with pytest.warns(
        UserWarning, match=r"^in eval mode while the rest trains, as given: 1; .*Call model\.train\(\) first"
    ):
        train(model, dataset(), Recipe(epochs=2))
    assert torch.equal(before, model[1].running_mean)
    assert model.training
    assert not model[1].training


@pytest.mark.parametrize("wrap", [lambda model: model, nn.Sequential])
def test_a_model_in_eval_mode_trains_whatever_holds_it(wrap):
    inner = network().eval()
    before = inner[1].running_mean.clone()
    train(wrap(inner), dataset(), Recipe(epochs=1))
    assert not torch.equal(before, inner[1].running_mean)
    assert not any(module.training for module in inner.modules())


def test_groups_learn_at_their_share_of_the_rate():
    model = network()
    groups = [{"params": model[0].parameters(), "lr_scale": 0.0}, {"params": [*model[1:].parameters()]}]
    before = copy.deepcopy(model)
    history = train(model, dataset(), Recipe(epochs=1), optimizer=torch.optim.SGD(groups, lr=0.1))
    assert torch.equal(before[0].weight, model[0].weight)
    assert not torch.equal(before[5].weight, model[5].weight)
    assert history[0].learning_rate == pytest.approx(learning_rate_of(Recipe(epochs=1), 1, 1, 2))
