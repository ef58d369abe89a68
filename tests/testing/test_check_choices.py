"""`check_proposal` and `check_score` pass netmorph's own, and find what draws elsewhere or changes something."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph.edit import Edit
from netmorph.graph import Graph, Group
from netmorph.scores import SCORES
from netmorph.testing import CheckError, check_proposal, check_score


def small() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 2)
    )
    return model, torch.randn(5, 1, 4, 4)


def wider(graph: Graph, generator: np.random.Generator) -> Edit | None:
    """A random group, now and then none."""
    groups = [group.name for group in graph.editable()]
    place = int(generator.integers(len(groups) + 1))
    return netmorph.widen(graph, groups[place], 9) if place < len(groups) else None


def test_a_right_proposal_passes() -> None:
    count = check_proposal(*small(), wider, seeds=range(8))
    assert 0 < count < 8


def test_a_proposal_that_draws_elsewhere() -> None:
    def anywhere(graph: Graph, generator: np.random.Generator) -> Edit:
        return netmorph.widen(graph, "4", 5 + int(torch.randint(1000, ())))

    with pytest.raises(CheckError, match=r"a proposal differs for one seed \(0\)"):
        check_proposal(*small(), anywhere)


def test_a_proposal_that_changes_the_network() -> None:
    def rude(graph: Graph, generator: np.random.Generator) -> None:
        with torch.no_grad():
            graph.model.get_parameter("4.bias").zero_()

    with pytest.raises(CheckError, match=r"a proposal \(seed 0\) must change nothing: 4\.bias has other bits"):
        check_proposal(*small(), rude)


def test_a_proposal_of_a_wrong_edit() -> None:
    class Wrong:
        def plan(self, graph: Graph) -> Any:
            return netmorph.edit.Plan(True, {"4.bias": graph.model.get_parameter("4.bias").detach() + 1})

        def describe(self) -> netmorph.edit.Description:
            return netmorph.edit.Description("shift", "one", "4", 4, 4)

    with pytest.raises(CheckError, match=r"applying shift \(one\) of '4' failed"):
        check_proposal(*small(), lambda graph, generator: Wrong())


@pytest.mark.parametrize("name", SCORES)
def test_scores(name: str) -> None:
    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return model(*batch).square().mean()

    check_score(*small(), SCORES[name], loss)


def test_wrong_scores() -> None:
    def fails(match: str, score: Any) -> None:
        with pytest.raises(CheckError, match=match):
            check_score(*small(), score)

    fails(r"'0' has 3 channels, and its score the shape \(2,\)", lambda group, samples: torch.ones(2))
    fails("is not finite", lambda group, samples: torch.full((group.size,), torch.nan))
    fails("two ratings of one group", lambda group, samples: torch.rand(group.size))
    fails("rating the channels of '0' failed: KeyError", lambda group, samples: {}["nothing"])

    def rude(group: Group, samples: netmorph.Samples) -> Tensor:
        samples.graph.model.train()
        with torch.no_grad():
            samples.graph.model[1].running_mean += 1
        return torch.ones(group.size)

    fails(r"a score must change nothing: .*1\.running_mean", rude)
