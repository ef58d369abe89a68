"""The benchmark of narrowing: every way meets the target, leaves the trained network alone, and is told truly."""

from typing import Any

import pytest
import torch

from benchmarks import narrowing
from benchmarks.narrowing import METHODS, Task
from netmorph import measure, zoo
from netmorph.data import Pixels, Split, batches, images_in_classes
from netmorph.train.inputs import prepare, reference


@pytest.fixture
def task() -> Task:
    torch.manual_seed(0)
    train, validation, test = (
        Split(torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8), torch.arange(count) % 10)
        for count in (64, 16, 32)
    )
    dataset = images_in_classes(
        "noise", (train, validation, test), tuple("0123456789"), Pixels((0.5,) * 3, (0.3,) * 3), "noise"
    )
    model = zoo.build("resnet9", input_shape=(3, 8, 8), classes=10, width=0.125)
    like = reference(model)
    return Task(model, dataset, [(prepare(images, dataset, like), labels) for images, labels in batches(train, 16)], 0)


@pytest.mark.parametrize("name", METHODS)
def test_every_way_meets_the_target_on_a_copy(name: str, task: Task) -> None:
    if name.startswith("Torch-Pruning"):
        pytest.importorskip("torch_pruning")
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    whole = measure.flops(task.model, task.image)
    assert 0.4 * whole < measure.flops(METHODS[name](task), task.image) <= 0.5 * whole
    after = task.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_way_is_measured_three_times(task: Task) -> None:
    found = narrowing.measure(task, METHODS["random"], {"tuning_images": 32})
    assert 0.4 < found["flops"] <= 0.5
    assert 0 < found["parameters"] < 1
    assert len(found["widths"]) == 8
    assert all(0 <= found[key] <= 1 for key in ("cut", "recalibrated", "tuned"))


def record(seed: int, cut: float, **other: Any) -> dict[str, Any]:
    return {"seed": seed, "method": "taylor", "trained": 0.8, "flops": 0.5, "parameters": 0.25,
            "cut": cut, "recalibrated": 0.6, "tuned": 0.7, **other}  # fmt: skip


def test_the_table_tells_mean_and_range() -> None:
    found = narrowing.rows([record(0, 0.25), record(1, 0.5, trained=0.9)])
    assert found == [
        ["the trained network", "1", "1", "85.00% (80.00% to 90.00%)", "", ""],
        ["taylor", "0.500", "0.250", "37.50% (25.00% to 50.00%)", "60.00% (60.00% to 60.00%)",
         "70.00% (70.00% to 70.00%)"],
    ]  # fmt: skip
