"""How long a forward takes."""

import time

import torch
from torch import Tensor, nn

from netmorph.measure.timing import latency


class Sleepy(nn.Module):
    """Slow at first; its counter is what a forward leaves behind."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.2 if self.calls == 0 else 0.01)
        self.calls += 1
        result: Tensor = self.linear(x)
        return result


def test_the_median_without_the_first_forward_and_the_model_as_it_was() -> None:
    model = Sleepy().train()
    assert 0.01 <= latency(model, torch.randn(1, 2), runs=3) < 0.2
    assert model.training
    assert model.calls == 0
