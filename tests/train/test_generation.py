from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netmorph.data import Dataset, load
from netmorph.errors import NetmorphError
from netmorph.train import generate


class Following(nn.Module):
    """Expects, after each token, the one after it in the vocabulary; how surely, `scale` says."""

    def __init__(self, tokens: int, scale: float, length: int | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.tokens, self.length = tokens, length

    def forward(self, x: Tensor) -> Tensor:
        assert self.length in (None, x.shape[1])
        assert not self.training
        return self.scale * nn.functional.one_hot((x + 1) % self.tokens, self.tokens).to(self.scale)


@pytest.fixture
def text(tmp_path: Path) -> Dataset:
    (tmp_path / "text.txt").write_text("abcdefg" * 40)
    return load(tmp_path / "text.txt", task="text", window=5)


def test_at_temperature_0_the_likeliest_token_follows(text: Dataset) -> None:
    model = Following(text.outputs, 1.0, length=3).train()
    written = generate(model, torch.tensor([0, 1, 2]), text, count=6, temperature=0)
    assert written.tolist() == [(3 + step) % text.outputs for step in range(6)]
    assert model.training


def test_draws_depend_on_their_seed_and_the_temperature(text: Dataset) -> None:
    model, start = Following(text.outputs, 3.0), torch.tensor([0])
    drawn = generate(model, start, text, count=200, seed=1)
    assert torch.equal(drawn, generate(model, start, text, count=200, seed=1))
    assert not torch.equal(drawn, generate(model, start, text, count=200, seed=2))

    def followed(temperature: float) -> int:
        tokens = torch.cat((start, generate(model, start, text, count=200, temperature=temperature)))
        return int(((tokens[:-1] + 1) % text.outputs == tokens[1:]).sum())

    assert followed(0.5) > followed(1.0) > followed(5.0)


def test_several_networks_write_together(text: Dataset) -> None:
    sure, unsure = Following(text.outputs, 9.0), Following(text.outputs, -9.0)
    together = generate([sure, unsure], torch.tensor([0]), text, count=4, temperature=0)
    assert together.tolist() == [1, 2, 3, 4]  # the mean of probabilities, not of logits


@pytest.mark.parametrize("start", [torch.empty(0, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long)])
def test_without_a_start_there_is_nothing_to_go_on_with(text: Dataset, start: Tensor) -> None:
    with pytest.raises(NetmorphError, match="at least one; got the shape"):
        generate(Following(text.outputs, 1.0), start, text, count=1)
