"""The training loop: it learns, repeats itself, keeps the best, and refuses what cannot work."""

import dataclasses
import math
import os
import shutil

import pytest
import torch
from torch import nn

from netmorph.data import Split
from netmorph.engine import train as training
from netmorph.engine.average import MovingAverage
from netmorph.engine.evaluate import evaluate
from netmorph.engine.fit import Trainee
from netmorph.engine.history import Epoch, History
from netmorph.engine.nonfinite import NotFinite
from netmorph.engine.optimizer_state import pack_optimizer
from netmorph.engine.parallel import ALONE, World
from netmorph.engine.recipe import Recipe, build_optimizer, learning_rate_at
from netmorph.engine.train import OutOfMemory, train
from netmorph.errors import NetmorphError
from tests.engine.small import dataset, network


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


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


def test_schedules():
    def rates(**options):
        recipe = Recipe(learning_rate=1.0, **options)
        return [learning_rate_at(recipe, progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]

    assert rates(schedule="constant") == [1, 1, 1, 1, 1]
    assert rates(schedule="linear") == [1, 0.75, 0.5, 0.25, 0]
    assert rates(schedule="cosine") == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0])
    assert rates(schedule="step") == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    assert rates(schedule="linear", warmup=0.5) == [0, 0.5, 1, 0.5, 0]


# What cannot work is said before the first step.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamW"}, "did you mean 'adamw'.*sgd, adam, adamw"),
        ({"optimizer": "nothing-like-it"}, "unknown optimizer.*known are"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"epochs": 0}, "epochs must be at least 1; 0"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"warmup": 1.0}, "warmup"),
        ({"pad": -1}, "pad"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"patience": 0}, "patience"),
        ({"mixup": -0.1}, "mixup must be 0 or more"),
        ({"cutmix": math.inf}, "cutmix must be 0 or more"),
        ({"class_weights": (1.0, -1.0)}, "class_weights must be 0 or more each"),
        ({"class_weights": (0.0, 0.0)}, "one of them above 0"),
        ({"accumulate": 0}, "accumulate must be from 1 to the batch size; 0"),
        ({"accumulate": 65}, "accumulate"),
        ({"ema": 1.0}, "ema must be between 0 and 1"),
    ],
)
def test_a_recipe_is_checked(options, message):
    with pytest.raises(NetmorphError, match=message):
        Recipe(**options)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, images):
        return self.inner(images), images


def bad_label():
    data = dataset()
    labels = data.train.labels.clone()
    labels[-1] = 3
    return dataclasses.replace(data, train=Split(data.train.images, labels))


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
        (network, dataset, {"device": "nonsense"}, "device 'nonsense' cannot be used"),
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


def test_class_weights_that_do_not_fit_the_classes_are_refused():
    with pytest.raises(NetmorphError, match="class_weights has 2 numbers for 3 classes"):
        train(network(), dataset(), Recipe(epochs=1, class_weights=(1.0, 2.0)))


def test_an_optimizer_that_misses_a_parameter_is_refused():
    model = network()
    optimizer = build_optimizer(model, Recipe())
    model[5] = nn.Linear(4 * 36, 3)
    with pytest.raises(NetmorphError, match=r"does not hold 5\.weight, 5\.bias"):
        train(model, dataset(), Recipe(epochs=1), optimizer=optimizer)


# Numbers that stop being finite.


class Breaks(nn.Module):
    """Gives NaN from its n-th call in train mode on."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def forward(self, values):
        self.left -= self.training
        return values * math.nan if self.left < 0 else values


def test_a_nan_names_epoch_step_and_module():
    model = network()
    model[2] = Breaks(calls=8)
    with pytest.raises(NotFinite, match=r"nan in epoch 2, training step 3: the output of '2' \(Breaks\)"):
        train(model, dataset(), Recipe(epochs=3, batch_size=16))


def test_a_nan_parameter_is_named():
    model = network()

    def spoil(_):
        nn.init.constant_(model[5].bias, math.nan)

    with pytest.raises(NotFinite, match=r"epoch 2, training step 1: 'bias' of '5' \(Linear\) is not finite"):
        train(model, dataset(), Recipe(epochs=2), on_epoch=spoil)


def test_an_exploding_rate_is_found():
    with pytest.raises(NotFinite, match=r"epoch 1, training step \d+: .*Lower the learning rate"):
        train(network(), dataset(), Recipe(epochs=1, batch_size=16, optimizer="sgd", learning_rate=1e38))


def test_a_nan_in_validation_is_named():
    model = network()
    model[1].momentum = math.nan
    with pytest.raises(NotFinite, match=r"validation of epoch 1: 'running_mean' of '1' \(BatchNorm2d\)"):
        train(model, dataset(), Recipe(epochs=1))


def exploding(**options):
    return Recipe(epochs=1, batch_size=16, optimizer="sgd", learning_rate=1e38, **options)


@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "clip_norm": 1e30, "ema": 0.9}])
def test_where_losses_are_not_read_a_nan_is_found_by_repeating_the_epoch(options):
    """The path of an accelerator, on the CPU: the same message and the same weights as when each loss is watched."""
    recipe, found = exploding(**options), []
    for one_epoch in (training._fit, training._fit_unwatched):
        model = network()
        average = MovingAverage(model, recipe.ema) if recipe.ema else None
        trainee = Trainee(model, model, build_optimizer(model, recipe), average, ALONE)
        with pytest.raises(NotFinite, match=r"epoch 1, training step \d+: .*not finite") as error:
            one_epoch(trainee, dataset(), recipe, 3, 1)
        found.append((str(error.value), {name: tensor.clone() for name, tensor in model.state_dict().items()}))
    (watched, weights), (repeated, same) = found
    assert watched == repeated
    assert all(torch.equal(weights[name].nan_to_num(), same[name].nan_to_num()) for name in weights)


def test_a_nan_that_does_not_come_back_is_told():
    model = network()
    model[3].register_forward_hook(lambda module, inputs, output: output * next(factors))
    factors = iter([1, 1, math.nan, *[1] * 100])
    trainee = Trainee(model, model, build_optimizer(model, Recipe()), None, ALONE)
    with pytest.raises(NotFinite, match="nan in epoch 4, but not when the epoch was repeated"):
        training._fit_unwatched(trainee, dataset(), Recipe(batch_size=16), 3, 4)


def test_an_unwatched_epoch_is_the_same_epoch():
    recipe, models = Recipe(batch_size=16, ema=0.9), (network(), network())
    for model, one_epoch in zip(models, (training._fit, training._fit_unwatched), strict=True):
        one_epoch(Trainee(model, model, build_optimizer(model, recipe), None, ALONE), dataset(), recipe, 3, 1)
    assert same_weights(*models)


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
        self.files = [image.numpy().tobytes() for image in split.images]
        self.shape = split.images.shape[1:]
        self.labels = split.labels
        self.seeds = []

    def __len__(self):
        return len(self.files)

    def head(self, count):
        return self._read(range(count))

    def cut(self, batch_size, order=None, seed=None):
        self.seeds.append(seed)
        order = torch.arange(len(self)) if order is None else order
        for indices in order.split(batch_size):
            yield self._read(indices.tolist()), self.labels[indices]

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


def test_a_split_moves_with_its_labels():
    moved = dataset().train.to(torch.device("meta"))
    assert moved.images.device == moved.labels.device == torch.device("meta")
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
