"""Networks trained together become what each becomes alone."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from netmorph.data import Part
from netmorph.edit.snapshot import tensors_of
from netmorph.errors import NetmorphError
from netmorph.train.advice import OutOfMemory
from netmorph.train.evaluation import evaluate
from netmorph.train.history import History
from netmorph.train.inputs import prepare
from netmorph.train.loop import train
from netmorph.train.nonfinite import NotFinite
from netmorph.train.recipe import Recipe
from netmorph.train.stacked import many
from netmorph.train.stacked.fit import fit_stack
from netmorph.train.stacked.many import StackError, Team, train_many
from netmorph.train.stacked.stack import Stack, StackedOptimizer
from tests.train.small import dataset, network


def convolutional(seed: int, width: int = 4, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """No bias before the batch norm: its gradient is nothing but rounding, which Adam would blow up."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), activation(), nn.Flatten(),
        nn.Linear(36 * width, 2 * width), activation(), nn.Linear(2 * width, 3),
    ).double()  # fmt: skip


def recipes(count: int, **options: object) -> list[Recipe]:
    """Each network has a learning rate and a weight decay of its own."""
    plain = Recipe(**{"epochs": 3, "batch_size": 16, **options})
    return [
        dataclasses.replace(plain, learning_rate=0.004 * (1 + number), weight_decay=0.02 * number)
        for number in range(count)
    ]


def agree(models: list[nn.Module], given: list[Recipe], seeds: list[int]) -> list[History]:
    """Train copies alone, the models stacked, and compare."""
    data, alone = dataset(train=89), copy.deepcopy(models)
    histories = train_many(models, data, given, seeds=seeds, stacked=True)
    for model, single, recipe, seed, history in zip(models, alone, given, seeds, histories, strict=True):
        expected = train(single, data, recipe, seed=seed)
        for ours, theirs in zip(history, expected, strict=True):
            shown, known = dataclasses.asdict(ours), dataclasses.asdict(theirs)
            del shown["seconds"], known["seconds"]
            for part in ("train", "validation"):
                assert shown.pop(part) == pytest.approx(known.pop(part), rel=1e-6)
            assert shown == pytest.approx(known, rel=1e-6)
        for name, tensor in tensors_of(single).items():
            assert torch.allclose(tensors_of(model)[name], tensor, rtol=1e-8, atol=1e-10), name
    return histories


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_stacked_is_alone(optimizer):
    agree([convolutional(seed) for seed in range(3)], recipes(3, optimizer=optimizer), [3, 0, 3])


@pytest.mark.parametrize(
    "options",
    [
        {"pad": 1, "flip": True},
        {"pad": 1, "reflect": True},
        {"clip_norm": 0.3, "optimizer": "sgd"},
        {"label_smoothing": 0.2, "class_weights": (1.0, 2.0, 0.5)},
        {"class_weights": (1.0, 0.0, 0.0), "batch_size": 2},  # batches that count nothing
        {"schedule": "step", "warmup": 0.2, "channels_last": True},
        {"nesterov": False, "optimizer": "sgd"},
    ],
)
def test_recipes_mean_the_same(options):
    agree([convolutional(seed) for seed in range(2)], recipes(2, **options), [5, 6])


def test_each_has_its_own_schedule():
    given = [Recipe(epochs=2, schedule="constant"), Recipe(epochs=2, schedule="linear", warmup=0.3)]
    histories = agree([convolutional(seed) for seed in range(2)], given, [0, 1])
    assert histories[0][-1].learning_rate != histories[1][-1].learning_rate


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_different_widths_are_padded_and_cut_again(optimizer):
    models = [convolutional(seed, width, nn.GELU) for seed, width in enumerate((4, 2, 5, 4))]
    shapes = [{name: tensor.shape for name, tensor in tensors_of(model).items()} for model in models]
    identities = [[id(parameter) for parameter in model.parameters()] for model in models]
    agree(models, recipes(4, optimizer=optimizer, clip_norm=1.0), [0, 1, 2, 3])
    assert shapes == [{name: tensor.shape for name, tensor in tensors_of(model).items()} for model in models]
    assert identities == [[id(parameter) for parameter in model.parameters()] for model in models]


def test_padding_stays_exactly_zero_in_the_stack():
    data, given = dataset(), recipes(2, optimizer="adam")
    team = Team.of([convolutional(0, 3), convolutional(1, 5)], data, given)
    stack = team.stack()
    fit_stack(stack, StackedOptimizer(stack, given), data, given, seeds=[0, 1], epoch=1, watch=lambda *_: None)
    small = team.paddings[0].real
    assert len(small) > 5
    for name in stack.parameters:
        if name in small:
            values = stack.tensors[name][0]
            assert torch.all(values[~small[name]] == 0), name
            assert torch.all(values[small[name]] != 0), name


def test_frozen_tied_unused_and_scalar_parameters():
    class Tied(nn.Module):
        def __init__(self, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.first, self.second, self.head = nn.Linear(36, 36), nn.Linear(36, 36), nn.Linear(36, 3)
            self.unused, self.scale = nn.Linear(2, 2), nn.Parameter(torch.tensor(1.5))
            self.second.weight = self.first.weight
            self.first.bias.requires_grad_(False)

        def forward(self, x):
            return self.scale * self.head(self.second(self.first(x.flatten(1)).relu()).relu())

    models = [Tied(0).double(), Tied(1).double()]
    before = models[1].unused.weight.clone(), models[1].first.bias.clone()
    agree(models, recipes(2, clip_norm=0.5), [0, 1])
    assert models[1].second.weight is models[1].first.weight
    assert torch.equal(models[1].unused.weight, before[0])
    assert torch.equal(models[1].first.bias, before[1])


def test_dropout_differs_between_networks_and_the_rest_stays_the_callers():
    models = [network(seed=0), network(seed=0)]
    models[0].eval()
    state = torch.get_rng_state()
    histories = train_many(models, dataset(), [Recipe(epochs=2, batch_size=16)] * 2, seeds=[4, 4], stacked=True)
    assert histories[0][0].train["loss"] != histories[1][0].train["loss"], "same network, same seed, other dropout"
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in models[0].modules())
    assert all(module.training for module in models[1].modules())


def test_each_keeps_its_best_epoch():
    data, models = dataset(), [network(seed=seed) for seed in range(3)]
    given = [Recipe(epochs=10, batch_size=16, learning_rate=rate, schedule="constant") for rate in (0.003, 0.03, 0.1)]
    histories = train_many(models, data, given, stacked=True)
    assert {history.best.epoch for history in histories} != {10}, "the test needs a best epoch before the last"
    for model, history in zip(models, histories, strict=True):
        metrics = evaluate(model, data.validation, data)
        assert metrics["accuracy"] == history.best.validation["accuracy"]
        assert metrics.loss == pytest.approx(history.best.validation["loss"], rel=1e-5)


def test_bf16_trains():
    histories = train_many(
        [network(seed=0), network(seed=1)],
        dataset(),
        [Recipe(epochs=4, batch_size=16, bf16=True, learning_rate=0.01)] * 2,
        stacked=True,
    )
    assert all(history.best.validation["accuracy"] > 0.8 for history in histories)


# The choice.


@pytest.mark.parametrize("wins", [True, False])
def test_the_faster_way_is_taken(wins, monkeypatch):
    times = iter([5.0, 3.0, 2.0, 4.0] if wins else [1.0, 1.0, 2.0, 0.5])  # stacked, apart, stacked, apart
    measured = []

    def seconds(work, device):
        work()
        measured.append(work.__name__)
        return next(times)

    monkeypatch.setattr(many, "_seconds", seconds)
    models = [convolutional(0), convolutional(1)]
    untouched = copy.deepcopy(models)
    data, given = dataset(), recipes(2)
    taken = many.stacking_wins(Team.of(models, data, given), data, given, [0, 1])
    assert taken is wins
    assert measured == ["stacked", "apart"] * 2
    for model, before in zip(models, untouched, strict=True):
        assert all(torch.equal(tensor, tensors_of(before)[name]) for name, tensor in tensors_of(model).items())


@pytest.mark.parametrize("wins", [True, False])
def test_left_to_decide_it_takes_what_wins(wins, monkeypatch):
    stacked = []
    monkeypatch.setattr(many, "stacking_wins", lambda *_: wins)
    monkeypatch.setattr(many, "fit_stack", lambda *a, **k: stacked.append(True) or fit_stack(*a, **k))
    models = [convolutional(0), convolutional(1, 3)]
    assert [len(history) for history in train_many(models, dataset(), recipes(2))] == [3, 3]
    assert bool(stacked) is wins


def test_left_to_decide_it_trains_whatever_cannot_be_stacked(monkeypatch):
    monkeypatch.setattr(many, "stacking_wins", lambda *_: pytest.fail("nothing to decide"))
    models = [convolutional(0), nn.Sequential(nn.Flatten(), nn.Linear(36, 3))]
    histories = train_many(models, dataset(), recipes(2, patience=1))
    assert [len(history) for history in histories] == [3, 3]
    assert len(train_many([convolutional(0)], dataset(), recipes(1))[0]) == 3


def no_memory(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("step", ["_check_stack", "fit_stack"])
def test_without_memory_for_a_stack_it_trains_one_after_another(step, monkeypatch):
    monkeypatch.setattr(many, step, no_memory)
    assert [len(history) for history in train_many([network(seed=0), network(seed=1)], dataset(), recipes(2))] == [3, 3]
    with pytest.raises(OutOfMemory, match=r"with 2 networks stacked.*Try one after another \(stacked=False\), fewer"):
        train_many([network(seed=0), network(seed=1)], dataset(), recipes(2), stacked=True)


def test_what_a_stack_takes_of_memory_is_not_taken_for_a_fault_of_the_network(monkeypatch):
    monkeypatch.setattr(Stack, "__call__", no_memory)
    with pytest.raises(OutOfMemory, match="CUDA out of memory"):
        train_many([network(seed=0), network(seed=1)], dataset(), recipes(2), stacked=True)


# What cannot work is said before the first step.


def linear(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4), *layers, nn.Linear(4, 3))


def partly_frozen() -> nn.Module:
    model = linear()
    model[1].requires_grad_(False)
    return model


class Conditional(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([linear(nn.ReLU()), linear(nn.Tanh())], "networks 0 and 1 are not of one architecture"),
        ([linear(nn.Dropout(0.1)), linear(nn.Dropout(0.2))], "networks 0 and 1 are not of one architecture"),
        ([linear(Scaled(1.0)), linear(Scaled(2.0))], "network 1 computes something else stacked than alone"),
        ([linear(Conditional()), linear(Conditional())], "cannot be vectorized"),
        ([linear(), linear().double()], "networks 0 and 1 are not of one architecture.*types"),
        ([linear(), partly_frozen()], "not of one architecture.*trainable"),
        ([linear(), linear(nn.Linear(4, 4))], "'3' is not in all of these networks"),
        ([convolutional(0, 3, nn.Sigmoid), convolutional(0, 4, nn.Sigmoid)], "would not stay zero"),
    ],
)
def test_networks_that_cannot_be_stacked(models, message):
    before = copy.deepcopy(models)
    with pytest.raises(StackError, match=message):
        train_many(models, dataset(), [Recipe(epochs=1)] * 2, stacked=True)
    for model, as_it_was in zip(models, before, strict=True):
        assert all(torch.equal(tensor, tensors_of(as_it_was)[name]) for name, tensor in tensors_of(model).items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([{"batch_size": 8}, {"batch_size": 16}], "share everything but learning_rate.*batch_size of 8 and 16"),
        ([{"optimizer": "sgd"}, {}], "optimizer of sgd and adamw"),
        ([{"mixup": 0.2}] * 2, "cannot train with mixup, which is 0.2 here"),
        ([{"ema": 0.9}] * 2, "cannot train with ema"),
        ([{"patience": 2}] * 2, "cannot train with patience"),
        ([{"accumulate": 2}] * 2, "cannot train with accumulate"),
    ],
)
def test_recipes_that_cannot_be_stacked(options, message):
    models = [convolutional(0), convolutional(1)]
    with pytest.raises(StackError, match=message):
        train_many(models, dataset(), [Recipe(**each) for each in options], stacked=True)


def test_requests_that_make_no_sense():
    model, other = convolutional(0), convolutional(1)
    with pytest.raises(NetmorphError, match="2 models, 1 recipes and 2 seeds"):
        train_many([model, other], dataset(), recipes(1))
    with pytest.raises(NetmorphError, match="a model is given twice"):
        train_many([model, model], dataset(), recipes(2))
    with pytest.raises(NetmorphError, match="no trainable parameter"):
        train_many([model, other.requires_grad_(False)], dataset(), recipes(2))
    with pytest.raises(NetmorphError, match=r"seed must be 0 or more, .*; -1"):
        train_many([model, other], dataset(), recipes(2), seeds=[0, -1])


def test_streamed_images_are_refused():
    class Streamed:
        def __init__(self, part: Part) -> None:
            self.targets, self.head, self.cut = part.targets, part.head, part.cut

        def __len__(self) -> int:
            return len(self.targets)

    data = dataset()
    data = dataclasses.replace(data, train=Streamed(data.train))
    with pytest.raises(StackError, match="samples in memory"):
        train_many([convolutional(0), convolutional(1)], data, recipes(2), stacked=True)


def test_the_network_whose_loss_is_not_finite_is_named():
    models = [convolutional(0), convolutional(1)]
    with torch.no_grad():
        models[1][6].bias[0] = math.inf
    with pytest.raises(NotFinite, match=r"network 1 is nan in epoch 1, training step 1: 'bias' of '6' \(Linear\)"):
        train_many(models, dataset(), recipes(2), stacked=True)


class BreaksAt(nn.Module):
    """In eval mode, at one image, wherever it stands."""

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()
        self.image = image

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.training:
            return values
        away = (values - self.image).abs().amax((1, 2, 3), keepdim=True)
        return values / torch.where(away == 0, 0.0, 1.0)


def test_a_nan_in_any_batch_of_the_validation_is_found():
    data = dataset(validation=600)
    early = prepare(data.validation.inputs[:1], data, torch.empty(0, dtype=torch.float64))[0]
    models = [nn.Sequential(BreaksAt(early), convolutional(seed)) for seed in range(2)]
    with pytest.raises(NotFinite, match=r"network 0 is nan in the validation of epoch 1: the output of '0' \(BreaksAt"):
        train_many(models, data, recipes(2), stacked=True)


class Room(nn.Module):
    """For so many images in eval mode; asks for memory in one way or another."""

    def __init__(self, size: int, error: Exception) -> None:
        super().__init__()
        self.size, self.error, self.asked = size, error, []

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training:
            self.asked.append(len(values))
            if len(values) > self.size:
                raise self.error
        return values


NO_ROOM = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 12 bytes."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes."),
]


@pytest.mark.parametrize("error", NO_ROOM, ids=["cuda", "python", "windows", "linux"])
def test_validation_is_halved_where_memory_does_not_suffice(error):
    data, found = dataset(validation=150), []
    for size in (1000, 20):
        rooms = [Room(size, error), Room(size, error)]
        models = [nn.Sequential(room, convolutional(seed)) for seed, room in enumerate(rooms)]
        found.append((train_many(models, data, recipes(2, epochs=2), stacked=True), models))
    # Batches of 512, 256, ... samples, up to those that fit.
    assert rooms[0].asked[-15:] == [150, 150, 128, 64, 32, *[16] * 9, 6]
    for halved, whole in zip(found[1][0], found[0][0], strict=True):
        for ours, theirs in zip(halved, whole, strict=True):
            assert ours.train == pytest.approx(theirs.train, rel=1e-12)
            assert ours.validation == pytest.approx(theirs.validation, rel=1e-12)
    for halved, whole in zip(found[1][1], found[0][1], strict=True):
        for one, other in zip(halved.parameters(), whole.parameters(), strict=True):
            assert torch.allclose(one, other, rtol=1e-12)


def test_a_nan_is_found_in_halved_batches_too():
    data = dataset(validation=150)
    early = prepare(data.validation.inputs[:1], data, torch.empty(0, dtype=torch.float64))[0]
    models = [nn.Sequential(Room(20, NO_ROOM[0]), BreaksAt(early), convolutional(seed)) for seed in range(2)]
    with pytest.raises(NotFinite, match=r"network 0 is nan in the validation of epoch 1: the output of '1' \(BreaksAt"):
        train_many(models, data, recipes(2), stacked=True)


def test_where_no_single_image_fits_it_says_what_to_lower():
    models = [nn.Sequential(convolutional(seed)) for seed in range(2)]
    limit = Room(8, NO_ROOM[0])  # what is tried before the first step fits
    for model in models:
        model.append(limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "_check_stack", lambda *_: setattr(limit, "size", 0))
        with pytest.raises(OutOfMemory, match=r"with 2 networks stacked.*Try one after another \(stacked=False\)"):
            train_many(models, dataset(), recipes(2), stacked=True)


def test_every_field_of_a_recipe_is_known_to_be_supported_or_not() -> None:
    """A new field is to be sorted in: `OWN`, `UNSUPPORTED`, or computed by `fit_stack` for all networks alike."""
    alike = (
        "epochs batch_size optimizer momentum nesterov pad reflect flip label_smoothing class_weights clip_norm bf16"
    )
    assert {*many.OWN, *many.UNSUPPORTED, *alike.split(), "channels_last"} == {
        field.name for field in dataclasses.fields(Recipe)
    }


@pytest.mark.parametrize("stacked", [True, False])
def test_each_epoch_is_told_with_the_weights_of_its_moment(stacked):
    data, seen = dataset(), {}
    models = [convolutional(0, 4), convolutional(1, 2)]

    def on_epoch(number, epoch):
        measured = evaluate(models[number], data.validation, data).numbers
        assert measured == pytest.approx(epoch.validation, rel=1e-6)
        seen[number, epoch.epoch] = epoch

    histories = train_many(models, data, recipes(2), stacked=stacked, on_epoch=on_epoch)

    assert len(seen) == 6
    for (number, epoch), told in seen.items():
        assert histories[number][epoch - 1] is told


def test_stacked_ends_where_all_have_enough():
    def enough(history):
        return history[-1].learning_rate * len(history) >= 0.02

    told = []
    models = [convolutional(seed) for seed in range(2)]
    given = recipes(2, epochs=9, schedule="constant")

    histories = train_many(models, dataset(), given, stacked=True, enough=enough, on_epoch=lambda n, e: told.append(n))
    alone = train_many([convolutional(seed) for seed in range(2)], dataset(), given, stacked=False, enough=enough)

    assert [len(history) for history in histories] == [5, 5]
    assert [len(history) for history in alone] == [5, 3]
    assert told == [0, 1] * 5


@pytest.mark.parametrize("stacked", [True, False])
def test_which_network_diverged_is_told(stacked):
    given = recipes(3, optimizer="sgd")
    given[1] = dataclasses.replace(given[1], learning_rate=1e200)

    with pytest.raises(NotFinite, match="network 1") as error:
        train_many([convolutional(seed) for seed in range(3)], dataset(), given, stacked=stacked)

    assert error.value.network == 1
