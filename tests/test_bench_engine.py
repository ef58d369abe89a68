"""The loops of the engine's benchmark: what is compared does the same work and learns the same."""

import io
import os
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from benchmarks import _loops, engine, gpu, operators
from benchmarks._loops import LOOPS, Loop
from netmorph import zoo
from netmorph.data import Dataset, Pixels, Split, images_in_classes
from netmorph.train.recipe import Recipe

RECIPE = replace(engine.SGD, epochs=3, batch_size=16, learning_rate=0.1, momentum=0.9)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """1x8x8 noise with a bright half that tells the class."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.randint(100, (count, 1, 8, 8), generator=generator)
        labels = torch.arange(count) % 2
        images[labels == 1, :, 4:] += 150
        return Split(images.to(torch.uint8), labels)

    return images_in_classes(
        "halves", (split(72), split(20), split(20)), ("flat", "split"), Pixels((0.4,), (0.3,)), "halves"
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return zoo.build("mlp", (1, 8, 8), 2, hidden=(8,))


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("augmented", [False, True])
def test_every_loop_learns_the_same_in_as_many_steps(loop: Loop, augmented: bool, dataset: Dataset) -> None:
    model = network()
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])) if module.training else None)
    recipe = replace(RECIPE, pad=int(augmented), flip=augmented)
    seconds, accuracy = loop(model, dataset, recipe, 0)
    assert sizes == [16, 16, 16, 16, 8] * recipe.epochs
    assert len(seconds) == recipe.epochs
    assert min(seconds) > 0
    assert accuracy == 1


def test_inputs_are_the_same_numbers(dataset: Dataset) -> None:
    pictures = torch.stack([image for image, _ in _loops.Pictures(dataset.train, dataset)])
    floats, labels = _loops._tensors(dataset.train, dataset).tensors
    torch.testing.assert_close(pictures, floats)
    assert torch.equal(labels, dataset.train.targets)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_plain_optimizer_moves_weights_as_ours(optimizer: str, schedule: str, dataset: Dataset) -> None:
    # Two steps of all images, whose order does not matter.
    recipe = Recipe(epochs=2, batch_size=72, optimizer=optimizer, learning_rate=0.01, schedule=schedule)
    ours, theirs = network(), network()
    _loops.netmorph_plain(ours, dataset, recipe, 0)
    _loops.bare(theirs, dataset, recipe, 0)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_a_share_is_cut_from_both_parts(dataset: Dataset) -> None:
    short = engine.shortened(dataset, 36)
    assert (len(short.train), len(short.validation)) == (36, 10)
    assert torch.equal(short.train.targets, dataset.train.targets[:36])
    assert len(engine.shortened(dataset, 1000).train) == 72


def test_tables_reckon_whole_epochs(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretended(*_: object) -> _loops.Trained:
        return _loops.Trained([9.0, 2.0], 0.5)

    monkeypatch.setattr(engine, "LOOPS", {"bare loop": _loops.bare, "twice as fast": pretended})
    monkeypatch.setattr(engine, "bare", lambda *_: _loops.Trained([9.0, 4.0], 0.25))
    monkeypatch.setitem(engine.LOOPS, "bare loop", engine.bare)
    task = replace(engine.TASKS["lenet5"], network="mlp", recipe=RECIPE)
    console = Console(file=io.StringIO(), width=200, record=True)

    def here(loop: Loop, *given: Any, keep: bool) -> _loops.Trained:
        return loop(*given)

    monkeypatch.setattr(engine, "apart", here)
    console.print(engine.timings(task, dataset, share=0.5, runs=2, compile=False))
    told = [line.split() for line in console.export_text().splitlines()]
    assert ["│", "bare", "loop", "│", "8.00", "│", "1.00", "│", "1.00x", "│", "25.00%", "│"] in told
    assert ["│", "twice", "as", "fast", "│", "4.00", "│", "0.50", "│", "2.00x", "│", "50.00%", "│"] in told


def where() -> tuple[int, int]:
    return os.getpid(), torch.get_num_threads()


def test_a_loop_runs_in_a_process_of_its_own_with_as_many_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        process, threads = engine.apart(where, keep=True)
    finally:
        torch.set_num_threads(before)
    assert process != os.getpid()
    assert threads == 3


def test_only_our_loops_and_one_bare_loop_keep_freed_memory() -> None:
    kept = [loop for loop, keep in engine.timed(compile=True).values() if keep]
    assert kept == [_loops.bare, _loops.netmorph_plain, _loops.netmorph_fast, _loops.netmorph_compiled]


def test_accuracies_are_told_over_seeds(dataset: Dataset) -> None:
    task = replace(engine.TASKS["lenet5"], network="mlp", recipe=RECIPE)
    console = Console(file=io.StringIO(), width=200, record=True)
    console.print(engine.accuracies(task, dataset))
    assert console.export_text().count("100.00% (100.00% to 100.00%)") == 2


def test_resnet9_is_told_epoch_by_epoch(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "load", lambda *_, **__: dataset)
    monkeypatch.setattr(gpu, "RECIPE", replace(gpu.RECIPE, batch_size=16))
    gpu.main(["--device", "cpu", "--width", "0.0625", "--epochs", "2"])
    *_, columns, first, second = capsys.readouterr().out.splitlines()
    assert columns.split()[:2] == ["epoch", "loss"]
    assert [line.split()[0] for line in (first, second)] == ["1", "2"]
    # Twice the epochs are twice the FLOPs.
    assert float(second.split()[5]) == pytest.approx(2 * float(first.split()[5]), rel=0.01)


def test_operators_are_told_beside_each_other(dataset: Dataset) -> None:
    task = replace(engine.TASKS["lenet5"], network="mlp", recipe=RECIPE)
    found = {name: operators.spent(loop, task, dataset) for name, loop in (("a", _loops.bare), ("b", _loops.bare))}
    assert found["a"]["aten::addmm"] > 0
    console = Console(file=io.StringIO(), width=200, record=True)
    console.print(
        operators.beside(task, {"a": {"x": 1.0, "y": 3.0}, "b": {"x": 2.5} | {f"z{i}": 0.5 for i in range(20)}})
    )
    told = [line.split() for line in console.export_text().splitlines()]
    assert told.index(["│", "y", "│", "3.00", "│", "0.00", "│"]) < told.index(["│", "x", "│", "1.00", "│", "2.50", "│"])
    assert ["│", "together", "│", "4.00", "│", "12.50", "│"] in told
