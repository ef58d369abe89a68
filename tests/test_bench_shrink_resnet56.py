"""The benchmark of a halved ResNet-56: the widths are shared, fresh weights are fresh, and the table tells truly."""

from typing import Any

import pytest
import torch

from benchmarks import shrink_resnet56
from benchmarks.refit import ResNet
from benchmarks.shrink_resnet56 import METHODS, OURS, SCRATCH_NAME, Task
from netmorph.data import Pixels, Split, batches, images_in_classes
from netmorph.measure import flops
from netmorph.train.inputs import prepare, reference


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    torch.manual_seed(0)
    splits = [Split(torch.randint(256, (n, 3, 16, 16), dtype=torch.uint8), torch.arange(n) % 10) for n in (16, 8, 8)]
    train, validation, test = splits
    classes, pixels = tuple("0123456789"), Pixels((0.5,) * 3, (0.3,) * 3)
    dataset = images_in_classes("noise", (train, validation, test), classes, pixels, "noise")
    model = ResNet().eval()
    some = [(prepare(images, dataset, reference(model)), labels) for images, labels in batches(train, 8)]
    return Task(model, dataset, some, some, 0, tmp_path_factory.mktemp("bench"))


def test_our_way_halves_the_flops_and_leaves_its_widths_to_the_others(task: Task) -> None:
    whole = flops(task.model, task.image)
    ours = METHODS[OURS](task)
    assert 0.49 * whole < flops(ours, task.image) <= 0.5 * whole
    random, fresh = METHODS["random, netmorph's widths"](task), METHODS[SCRATCH_NAME](task)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    for model in (random, fresh):
        assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes
    assert torch.equal(random.state_dict()["conv1.weight"], task.model.state_dict()["conv1.weight"])
    assert not torch.equal(fresh.state_dict()["conv1.weight"], task.model.state_dict()["conv1.weight"])


def record(seed: int, tuned: float) -> dict[str, Any]:
    return {"seed": seed, "method": OURS, "whole": 0.9, "flops": 0.5, "parameters": 0.25, "untuned": 0.8,
            "recalibrated": 0.75, "tuned": tuned}  # fmt: skip


def test_the_table_tells_mean_and_range() -> None:
    assert shrink_resnet56.rows([record(0, 0.875), record(1, 0.9)]) == [
        ["the whole network", "1", "1", "90.00%", "", ""],
        [OURS, "0.500", "0.250", "80.00% (80.00% to 80.00%)", "75.00% (75.00% to 75.00%)",
         "88.75% (87.50% to 90.00%)"],
    ]  # fmt: skip
