"""One epoch beside the same steps written out in float64."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from netmorph.data import Dataset, Split
from netmorph.data.mixing import cutmix, mixup
from netmorph.train import fit as fitting
from netmorph.train.average import MovingAverage
from netmorph.train.evaluation import Metrics
from netmorph.train.fit import TrainState, fit
from netmorph.train.optimizers import build_optimizer
from netmorph.train.parallel import ONE_PROCESS
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import learning_rate_at
from tests.train.small import dataset, network

SGD = Recipe(epochs=1, batch_size=16, optimizer="sgd", learning_rate=0.1, momentum=0.0, weight_decay=0.0)


def plain(seed: int = 0) -> nn.Sequential:
    """Nothing in it depends on what else is in the batch, or on chance."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = (nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 3))
        return nn.Sequential(*layers).double()


def one_epoch(model: nn.Module, data: Dataset, recipe: Recipe, average: MovingAverage | None = None) -> Metrics:
    optimizer = build_optimizer(model, recipe)
    return fit(TrainState(model, model, optimizer, average, ONE_PROCESS), data, recipe, seed=5, epoch=1, watch=True)


class Seen(nn.Module):
    """A network that keeps what it was called with."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.inputs: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.inputs.append(images.detach().clone())
        return self.inner(images)


def labels_of(inputs: torch.Tensor, data: Dataset) -> torch.Tensor:
    """Which training images these are; there are no two alike."""
    images = (data.train.inputs.double() / 255 - data.preparation.mean[0]) / data.preparation.std[0]
    return data.train.targets[torch.cdist(inputs.double().flatten(1), images.flatten(1)).argmin(1)]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """The loss of a batch by its definition: weights of the classes, over what they count in all."""
    weights = torch.tensor(recipe.class_weights or (1.0, 1.0, 1.0), dtype=torch.float64)
    logs = logits - logits.exp().sum(1, keepdim=True).log()
    smoothing = recipe.label_smoothing
    own = weights[labels] * -logs[torch.arange(len(labels)), labels]
    spread = (weights * -logs).mean(1)
    return ((1 - smoothing) * own + smoothing * spread).sum() / weights[labels].sum()


def by_hand(model: nn.Module, seen: list[torch.Tensor], data: Dataset, recipe: Recipe) -> float:
    """SGD without momentum over the same batches, each as a whole; the mean loss of their samples."""
    steps, lost = len(seen), 0.0
    for step, inputs in enumerate(seen):
        labels = labels_of(inputs, data)
        loss = cross_entropy(model(inputs), labels, recipe)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
        scale = 1.0 if recipe.clip_norm is None else min(1.0, recipe.clip_norm / (norm + 1e-6))
        rate = 0.1 * (1 + math.cos(math.pi * step / steps)) / 2
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= rate * scale * gradient
        lost += loss.item() * len(inputs)
    return lost / sum(map(len, seen))


def close(one: nn.Module, other: nn.Module, atol: float = 1e-12) -> None:
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("count", [90, 83])  # the last batch: 10, and 3
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weights": (0.5, 1.0, 4.0)},
        {"class_weights": (0.0, 1.0, 2.0), "label_smoothing": 0.2},
        {"label_smoothing": 0.1, "clip_norm": 0.05},
    ],
)
def test_an_epoch_is_plain_sgd_over_its_batches(count, options):
    data, recipe, model = dataset(train=count), replace(SGD, **options), Seen(plain())
    metrics = one_epoch(model, data, recipe)
    expected = plain()
    assert [len(inputs) for inputs in model.inputs] == [16] * 5 + [count - 80]
    assert metrics.loss == pytest.approx(by_hand(expected, model.inputs, data, recipe), rel=1e-6)
    assert metrics.count == count
    close(model.inner, expected)


@pytest.mark.parametrize("accumulate", [2, 3, 5, 16])
@pytest.mark.parametrize("options", [{}, {"class_weights": (0.5, 1.0, 4.0), "label_smoothing": 0.1}, {"mixup": 0.4}])
def test_a_batch_in_parts_is_the_same_step(accumulate, options):
    recipe, data = replace(SGD, clip_norm=0.05, pad=1, flip=True, **options), dataset(train=83)
    whole, parts = plain(), plain()
    found = [one_epoch(whole, data, recipe), one_epoch(parts, data, replace(recipe, accumulate=accumulate))]
    close(whole, parts)
    assert found[0].loss == pytest.approx(found[1].loss, rel=1e-6)
    assert found[0]["accuracy"] == found[1]["accuracy"]


@pytest.mark.parametrize(
    ("count", "full", "accumulate", "sizes"),
    [
        (64, 64, 1, [64]),
        (64, 64, 4, [16, 16, 16, 16]),
        (10, 10, 4, [2, 3, 2, 3]),
        (33, 64, 4, [11, 11, 11]),
        (17, 64, 4, [8, 9]),
        (3, 64, 32, [3]),  # in parts of two, one would be single
        (3, 64, 64, [1, 1, 1]),
        (2, 64, 4, [2]),
    ],
)
def test_pieces_are_equal_and_never_larger_than_those_of_a_full_batch(count, full, accumulate, sizes):
    samples = torch.arange(count)
    pieces = fitting._pieces(fitting.Batch(samples, samples, samples), full, accumulate)
    assert [len(piece.targets) for piece in pieces] == sizes
    for name in ("inputs", "learnt", "targets"):
        assert torch.equal(torch.cat([getattr(piece, name) for piece in pieces]), samples)


def test_parts_are_what_the_network_sees():
    model = Seen(plain())
    one_epoch(model, dataset(train=83), replace(SGD, accumulate=4))
    assert [len(inputs) for inputs in model.inputs] == [4] * 20 + [3]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_are_those_of_torch(smoothing):
    """`cross_entropy` with its own mean, one step from the same weights."""
    weights, data = (0.2, 1.0, 3.0), dataset(train=16)
    recipe = replace(SGD, class_weights=weights, label_smoothing=smoothing)
    model, expected = plain(), plain()
    one_epoch(model, data, recipe)
    inputs = (data.train.inputs.double() / 255 - data.preparation.mean[0]) / data.preparation.std[0]
    functional.cross_entropy(
        expected(inputs), data.train.targets, torch.tensor(weights, dtype=torch.float64), label_smoothing=smoothing
    ).backward()
    torch.optim.SGD(expected.parameters(), 0.1).step()
    close(model, expected)


def test_a_batch_whose_classes_count_nothing_moves_nothing():
    data = dataset(train=16)
    data = replace(data, train=Split(data.train.inputs, torch.zeros(16, dtype=torch.int64)))
    model = plain()
    metrics = one_epoch(model, data, replace(SGD, class_weights=(0.0, 1.0, 1.0)))
    assert metrics.loss == 0
    close(model, plain(), atol=0)


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_mixed_images_are_of_two_and_so_are_their_targets(options, monkeypatch):
    """What fit gives the model and the loss, beside the images themselves, mixed by the shares it drew."""
    calls, losses = [], []

    def mix(function):
        def call(images, targets, how):
            calls.append((function, images.clone(), targets.clone(), how))
            return function(images, targets, how)

        return call

    def lose(outputs, targets):
        losses.append(targets)
        return functional.cross_entropy(outputs, targets)

    monkeypatch.setattr(fitting, "mixup", mix(mixup))
    monkeypatch.setattr(fitting, "cutmix", mix(cutmix))
    data, model = dataset(), Seen(plain())
    data = replace(data, task=replace(data.task, loss=lose))
    one_epoch(model, data, replace(SGD, **options))
    kinds = {function.__name__ for function, *_ in calls}
    assert kinds == set(options)
    assert len({str(how) for *_, how in calls}) > 1, "each batch has its own share"
    for (function, images, targets, how), seen, used in zip(calls, model.inputs, losses, strict=True):
        assert torch.equal(targets.argmax(1), labels_of(images, data))
        mixed, expected = function(images, targets, how)
        assert torch.equal(mixed, seen)
        assert torch.equal(expected, used)
        assert used.dtype == torch.float64
        torch.testing.assert_close(used.sum(1), torch.ones(len(used)).double())


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_mixing_with_class_weights_in_bf16_keeps_their_precision(options):
    """Autocast must not round what the loss is divided by: weights that all are 0.3 change nothing."""
    recipe = replace(SGD, bf16=True, **options)
    one, other = plain().float(), plain().float()
    found = [one_epoch(one, dataset(), recipe), one_epoch(other, dataset(), replace(recipe, class_weights=(0.3,) * 3))]
    assert found[0].loss == pytest.approx(found[1].loss, rel=1e-5)
    close(one, other, atol=1e-5)


def test_the_average_follows_each_step():
    """Beside the recursion in float64 over the weights after every step."""
    model, recipe = plain(), replace(SGD, ema=0.7)
    average, optimizer = MovingAverage(model, 0.7), build_optimizer(model, recipe)
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    steps = iter(range(100))

    def after_step(*_):
        decay = min(0.7, (1 + (step := next(steps))) / (10 + step))
        for mean, parameter in zip(expected, model.parameters(), strict=True):
            mean.mul_(decay).add_(parameter.detach(), alpha=1 - decay)

    optimizer.register_step_post_hook(after_step)
    fit(TrainState(model, model, optimizer, average, ONE_PROCESS), dataset(), recipe, seed=5, epoch=1, watch=True)
    assert next(steps) == average.steps == 6
    for mean, parameter in zip(expected, average.model.parameters(), strict=True):
        torch.testing.assert_close(parameter, mean, rtol=0, atol=1e-12)


def test_the_rate_follows_the_schedule_from_step_to_step():
    model, recipe = plain(), replace(SGD, epochs=3, warmup=0.5)
    optimizer, rates = build_optimizer(model, recipe), []
    optimizer.register_step_post_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    state = TrainState(model, model, optimizer, None, ONE_PROCESS)
    for epoch in (1, 2, 3):
        fit(state, dataset(), recipe, seed=5, epoch=epoch, watch=True)
    assert rates == pytest.approx([learning_rate_at(recipe, step / 18) for step in range(18)])


def test_without_watching_a_nan_is_only_in_the_loss():
    model = network()
    model[3].register_forward_hook(lambda module, inputs, output: output * math.nan)
    state = TrainState(model, model, build_optimizer(model, SGD), None, ONE_PROCESS)
    assert math.isnan(fit(state, dataset(), SGD, seed=5, epoch=1, watch=False).loss)
