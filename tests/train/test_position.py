"""A run that stops within an epoch goes on from the exact batch, and ends where one that never stopped does."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netmorph import Graph, apply, tensor_files, widen
from netmorph.data import Dataset
from netmorph.errors import NetmorphError
from netmorph.files import SaveError
from netmorph.policy import warm_up
from netmorph.tasks import TaskError
from netmorph.train import keeper, loop, resume
from netmorph.train.checkpoint import CheckpointError, load, save
from netmorph.train.history import History
from netmorph.train.loop import train
from netmorph.train.nonfinite import NotFinite
from netmorph.train.optimizer_state import pack_optimizer
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe
from tests.train import other_tasks
from tests.train.growing import at_random, by_epoch
from tests.train.small import dataset, deep, same_weights

# Each epoch has six batches of 90 samples.
PLAIN = Recipe(epochs=3, batch_size=16, learning_rate=0.02)
EVERYTHING = dataclasses.replace(
    PLAIN,
    ema=0.9,
    mixup=0.2,
    cutmix=1.0,
    accumulate=2,
    pad=1,
    flip=True,
    warmup=0.2,
    label_smoothing=0.1,
    clip_norm=1.0,
)
MUON = dataclasses.replace(PLAIN, optimizer="muon", channels_last=True)


def while_nothing_is_told(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
    """Wider, until the journal of the best network, which an epoch tells at its end, has an edit."""
    return graph if history.journal else apply(graph, widen(graph, "0", graph.group("0").size + 1), optimizer)


def counted(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    right = outputs.argmax(1) == targets
    return {"right": right.sum(), "accuracy": right.double().mean()}


BY_EPOCH: dict[str, Any] = {"edit": by_epoch, "after_edit": warm_up(7)}
BY_STEPS: dict[str, Any] = {"edit": at_random, "edit_every": 4, "after_edit": warm_up(7)}


class Stop(Exception):
    pass


def images() -> tuple[nn.Module, Dataset]:
    return deep(), dataset()


def counting() -> tuple[nn.Module, Dataset]:
    """A task that tells whole numbers, too, and not in the order of the alphabet."""
    model, data = images()
    return model, dataclasses.replace(data, task=dataclasses.replace(data.task, numbers=counted))


def stopping(model: nn.Module, recipe: Recipe, step: int, error: BaseException | None = None) -> torch.optim.Optimizer:
    """An optimizer that raises before its step of this number, from 0, over all epochs."""
    left = [step]

    def count(*_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise error or Stop

    optimizer = build_optimizer(model, recipe)
    optimizer.register_step_pre_hook(count)
    return optimizer


def outcome(model: nn.Module, optimizer: torch.optim.Optimizer, history: History) -> tuple[dict[str, Tensor], Any]:
    tensors, meta = pack_optimizer(optimizer, model)
    order = [list(epoch.train) for epoch in history]
    return {**model.state_dict(), **tensors}, (meta, tuple(history), order, history.journal)


def assert_same(one: tuple[dict[str, Tensor], Any], other: tuple[dict[str, Tensor], Any]) -> None:
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    assert [name for name, tensor in one[0].items() if not torch.equal(tensor, other[0][name])] == []


@pytest.mark.parametrize(
    ("made", "recipe", "edits", "batches"),
    [
        (images, PLAIN, {}, (1, 8)),
        (images, EVERYTHING, {}, (5, 16)),
        (images, MUON, {}, (7,)),
        (images, EVERYTHING, BY_EPOCH, (9, 15)),
        (images, EVERYTHING, BY_STEPS, (8, 10, 13)),  # 8: the edit that is due there is made again
        (images, dataclasses.replace(PLAIN, optimizer="sgd", momentum=0.0, nesterov=False), BY_STEPS, (8, 13)),
        (other_tasks.text, dataclasses.replace(PLAIN, batch_size=4), {}, (3,)),
        (other_tasks.regression, PLAIN, {}, (2,)),
        (counting, PLAIN, {}, (3,)),
        (images, PLAIN, {"edit": while_nothing_is_told, "edit_every": 2}, (3,)),
    ],
)
def test_stopped_at_any_batch_it_ends_with_the_same_bits(
    tmp_path: Path, made: Any, recipe: Recipe, edits: dict[str, Any], batches: tuple[int, ...]
) -> None:
    model, data = made()
    optimizer = build_optimizer(model, recipe)
    expected = outcome(model, optimizer, train(model, data, recipe, optimizer=optimizer, **edits))
    for batch in batches:
        path, (model, data) = tmp_path / str(batch), made()
        optimizer = stopping(model, recipe, batch)
        with pytest.raises(Stop):
            train(model, data, recipe, optimizer=optimizer, checkpoint=path, checkpoint_seconds=0, **edits)
        epochs, step = divmod(batch, -(-len(data.train) // recipe.batch_size))
        tensors, meta = load(path)
        assert (len(meta["history"]), meta["position"]["step"]) == (epochs, step)
        assert tensors["position/means/loss"].shape == (step,)
        model, data = made()
        for parameter in model.parameters():
            nn.init.zeros_(parameter)  # all must come from the file
        optimizer = build_optimizer(model, recipe)
        history = train(model, data, recipe, optimizer=optimizer, checkpoint=path, resume=True, **edits)
        assert_same(outcome(model, optimizer, history), expected)


def test_an_epoch_read_from_disk_goes_on_without_the_batches_before(tmp_path: Path) -> None:
    """A part that reads what it is asked for alone, as streamed images are."""

    class Noted:
        def __init__(self, part: Any) -> None:
            self.part, self.targets, self.orders = part, part.targets, []

        def __len__(self) -> int:
            return len(self.part)

        def head(self, count: int) -> Tensor:
            return self.part.head(count)

        def cut(self, size: int, order: Tensor | None = None, seed: int | None = None) -> Any:
            self.orders.append(order)
            return self.part.cut(size, order, seed)

        def digest(self) -> str:
            return self.part.digest()

    def noted() -> Dataset:
        return dataclasses.replace(dataset(), train=Noted(dataset().train))

    model, data, path = deep(), noted(), tmp_path / "run"
    optimizer = stopping(model, PLAIN, 10)
    with pytest.raises(Stop):
        train(model, data, PLAIN, optimizer=optimizer, checkpoint=path, checkpoint_seconds=0)
    rest = noted()
    train(deep(), rest, PLAIN, checkpoint=path, resume=True)
    assert torch.equal(rest.train.orders[0], data.train.orders[1][4 * 16 :])
    assert [len(order) for order in rest.train.orders] == [90 - 4 * 16, 90]


# What is written, and when.


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still, unless a test moves it on."""
    now = [0.0]
    monkeypatch.setattr(keeper, "monotonic", lambda: now[0])
    return now


def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Epoch and step of all checkpoints from now on."""
    places: list[tuple[int, int]] = []

    def note(path: Path, tensors: Any, meta: dict[str, Any]) -> None:
        places.append((len(meta["history"]) + 1, meta["position"]["step"]))

    monkeypatch.setattr(resume, "save", note)
    return places


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({}, [(1, 5), (2, 0), (2, 5), (3, 0)]),  # ten minutes
        ({"checkpoint_seconds": 200}, [(1, 2), (1, 4), (2, 0), (2, 2), (2, 4), (3, 0)]),
        ({"checkpoint_seconds": None}, [(2, 0), (3, 0)]),
        ({"checkpoint_seconds": float("inf")}, [(2, 0), (3, 0)]),
    ],
)
def test_within_an_epoch_it_is_written_when_the_last_one_is_long_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float], options: dict[str, Any], places: Any
) -> None:
    recipe, model, found = dataclasses.replace(PLAIN, epochs=2), deep(), written(monkeypatch)
    optimizer = build_optimizer(model, recipe)
    optimizer.register_step_post_hook(lambda *_: clock.__setitem__(0, clock[0] + 120))
    train(model, dataset(), recipe, optimizer=optimizer, checkpoint=tmp_path / "run", **options)
    assert found == places


@pytest.mark.parametrize("wrong", [-1, float("nan"), True, "60"])
def test_what_is_no_time_between_checkpoints(wrong: Any) -> None:
    with pytest.raises(NetmorphError, match=r"checkpoint_seconds is a number of seconds, at least 0, or None"):
        train(deep(), dataset(), PLAIN, checkpoint_seconds=wrong)


def test_a_disk_that_is_full_in_the_middle_of_an_epoch_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, expected, model = tmp_path / "run", deep(), deep()
    history = train(expected, dataset(), PLAIN)

    def fill_the_disk(*_: Any) -> None:
        if len(list(tmp_path.iterdir())) and load(path)[1]["position"]["step"] == 3:
            monkeypatch.setattr(tensor_files, "save_file", full)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    optimizer = build_optimizer(model, PLAIN)
    optimizer.register_step_post_hook(lambda *_: fill_the_disk() if path.exists() else None)
    with pytest.raises(SaveError, match="No space left"):
        train(model, dataset(), PLAIN, optimizer=optimizer, checkpoint=path, checkpoint_seconds=0)
    monkeypatch.undo()
    assert load(path)[1]["position"]["step"] == 3
    model = deep()
    assert train(model, dataset(), PLAIN, checkpoint=path, resume=True) == history
    assert same_weights(model, expected)


def test_what_is_not_finite_is_never_written_and_ends_the_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    """As on an accelerator, where no loss is read before that; a resumed run finds the same step again."""
    monkeypatch.setattr(loop, "_fit", loop._fit_unwatched)
    path, steps = tmp_path / "run", []

    def spoilt() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = deep()
        optimizer = build_optimizer(model, PLAIN)

        def spoil(*_: Any) -> None:
            steps.append(clock.__setitem__(0, clock[0] + 1))
            if model[2].num_batches_tracked == 9:
                nn.init.constant_(model[6].bias, float("nan"))

        optimizer.register_step_post_hook(spoil)
        return model, optimizer

    for before in (6 + 4 + 3, 2 + 1):  # with the steps that are lived again
        steps.clear()
        model, optimizer = spoilt()
        options: dict[str, Any] = {"checkpoint": path, "checkpoint_seconds": 2, "resume": True}
        with pytest.raises(NotFinite, match=r"epoch 2, training step 4: 'bias' of '6' \(Linear\) is not finite"):
            train(model, dataset(), PLAIN, optimizer=optimizer, **options)
        assert load(path)[1]["position"]["step"] == 2
        assert len(steps) == before
    tensors, _ = load(path)
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point())


def test_weights_that_are_not_finite_are_not_written_before_a_loss_tells(tmp_path: Path) -> None:
    path, model = tmp_path / "run", deep()
    optimizer = build_optimizer(model, PLAIN)

    def spoil(*_: Any) -> None:
        if model[2].num_batches_tracked == 3:
            nn.init.constant_(model[6].bias, float("nan"))

    optimizer.register_step_post_hook(spoil)
    with pytest.raises(NotFinite):
        train(model, dataset(), PLAIN, optimizer=optimizer, checkpoint=path, checkpoint_seconds=0)
    assert load(path)[1]["position"]["step"] == 2


# What comes from a file.


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The checkpoint of a run that stopped after two batches of its second epoch."""
    path, model = tmp_path / "run", deep()
    optimizer = stopping(model, PLAIN, 8)
    with pytest.raises(Stop):
        train(model, dataset(), PLAIN, optimizer=optimizer, checkpoint=path, checkpoint_seconds=0)
    return path


def test_a_checkpoint_of_before_positions_were_told_is_that_of_a_whole_epoch(tmp_path: Path) -> None:
    path, expected, model = tmp_path / "run", deep(), deep()
    history = train(expected, dataset(), PLAIN)

    def stop(epoch: Any) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(deep(), dataset(), PLAIN, checkpoint=path, on_epoch=stop)
    tensors, meta = load(path)
    assert meta.pop("position")["step"] == 0
    assert not [name for name in tensors if name.startswith("position/")]
    save(path, tensors, meta)
    assert train(model, dataset(), PLAIN, checkpoint=path, resume=True) == history
    assert same_weights(model, expected)


def test_the_order_of_another_kind_of_device_is_refused(stopped: Path) -> None:
    tensors, meta = load(stopped)
    meta["position"]["device"] = "cuda"
    save(stopped, tensors, meta)
    model = deep()
    with pytest.raises(CheckpointError, match=r"within epoch 2 on 'cuda'.*'cpu' draws another.* device='cuda'"):
        train(model, dataset(), PLAIN, checkpoint=stopped, resume=True)
    assert same_weights(model, deep())


def test_a_task_that_tells_other_numbers_than_before_is_refused(stopped: Path) -> None:
    tensors, meta = load(stopped)
    del tensors["position/means/accuracy"]
    meta["position"]["names"].remove("accuracy")
    save(stopped, tensors, meta)
    with pytest.raises(TaskError, match=r"tells loss, accuracy of a batch, and told loss of those before"):
        train(deep(), dataset(), PLAIN, checkpoint=stopped, resume=True)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda told, tensors: told.update(step=6),
        lambda told, tensors: told.update(step=-2),
        lambda told, tensors: told.update(step=True),
        lambda told, tensors: told.update(step=1),
        lambda told, tensors: told.update(counts=[16, 0]),
        lambda told, tensors: told.update(counts=16),
        lambda told, tensors: told.update(seconds=-1.0),
        lambda told, tensors: told.update(mixing={"bit_generator": "MT19937"}),
        lambda told, tensors: told.update(mixing=None),
        lambda told, tensors: told.pop("mixing"),
        lambda told, tensors: told.pop("device"),
        lambda told, tensors: told.update(names="loss"),
        lambda told, tensors: tensors.pop("position/states/images"),
        lambda told, tensors: tensors.pop("position/means/loss"),
        lambda told, tensors: tensors.update({"position/states/model": torch.zeros(9, dtype=torch.uint8)}),
        lambda told, tensors: tensors.update({"position/states/model": torch.zeros(9)}),
        lambda told, tensors: tensors.update({"position/means/loss": torch.zeros(3)}),
        lambda told, tensors: tensors.update({"position/means/loss": torch.zeros(2, dtype=torch.int64)}),
    ],
)
def test_a_position_that_no_training_writes(stopped: Path, tamper: Any) -> None:
    tensors, meta = load(stopped)
    tamper(meta["position"], tensors)
    save(stopped, tensors, meta)
    model, before = deep(), torch.get_rng_state()
    with pytest.raises(CheckpointError, match="holds what no training writes"):
        train(model, dataset(), PLAIN, checkpoint=stopped, resume=True)
    assert same_weights(model, deep())
    assert torch.equal(torch.get_rng_state(), before)
