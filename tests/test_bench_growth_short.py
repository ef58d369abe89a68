"""The short look at growth: three trainings beside each other, a picture, and a sentence that follows from them."""

import re
from pathlib import Path

import pytest
from torch import nn, optim

from benchmarks import growth_short
from benchmarks._growing import Learner
from benchmarks.growth_short import EQUAL, FULL, GROWN, SMALL


def ended(flops: int, *losses: float) -> Learner:
    """A network that was looked at so often, evenly."""
    model = nn.Linear(1, 1)
    curve = [(place, flops * place // len(losses), loss) for place, loss in enumerate(losses, 1)]
    return Learner(model, optim.SGD(model.parameters()), len(losses), flops, curve)


@pytest.mark.parametrize(
    ("equal", "full", "says"),
    [
        (1.6, (1.7, 1.5, 1.4), "with 40% of the training FLOPs .* with 1.7 times as many .* 1.600: .* is lower"),
        (1.5, (1.7, 1.6, 1.58), "which never gets there .* is no lower"),
    ],
)
def test_the_sentence_follows_from_the_losses(equal: float, full: tuple[float, ...], says: str) -> None:
    found = {GROWN: ended(400, 1.7, 1.5), EQUAL: ended(400, equal), FULL: ended(1000, *full), SMALL: ended(100, 1.8)}
    assert re.search(says, growth_short.verdict(found))


@pytest.mark.slow
def test_it_trains_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    growth_short.main([str(tmp_path / "growth.png"), "--steps", "20"])
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    told = capsys.readouterr().out
    assert "full size, as many" in told
    assert "The network that grew ends at a loss of" in told
