"""Exact edits of forwards that decide by scores which are equal but for rounding."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph import EditError
from netmorph.edit import Description, Plan
from netmorph.edit.decisions import Decisions
from netmorph.graph import Graph
from netmorph.widenings import net2net


class Ranked(nn.Module):
    """Places in the order of their scores, as detection keeps boxes: every score is the same sum in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.score = nn.Linear(32, 32, bias=False), nn.Linear(32, 1)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(32))
            self.score.weight.fill_(0.1)
        self.register_buffer("boxes", torch.randn(64, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`[64, 32]` -> the scores and boxes of the best 10."""
        score, best = self.score(self.first(x).relu())[:, 0].topk(10)
        return score, self.boxes[best]


@dataclass(frozen=True)
class Shift:
    """Says that it is exact, and is not."""

    by: float

    def plan(self, graph: Graph) -> Plan:
        """A bias of the scores."""
        return Plan(True, {"score.bias": graph.model.get_parameter("score.bias").detach() + self.by})

    def describe(self) -> Description:
        return Description("shift", "none", "score", 1, 1)


def tied(dtype: torch.dtype) -> tuple[Ranked, Tensor]:
    generator = torch.Generator().manual_seed(0)
    row = torch.rand(32, dtype=dtype, generator=generator)
    x = torch.stack([row[torch.randperm(32, generator=generator)] for _ in range(64)])
    torch.manual_seed(0)
    return Ranked().to(dtype).eval(), x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_exact_edit_may_turn_them_over(dtype: torch.dtype) -> None:
    model, x = tied(dtype)
    graph = netmorph.trace(model, x)
    score, boxes = model(x)
    netmorph.apply(graph, netmorph.widen(graph, "first", 45, net2net))
    other, others = model(x)
    torch.testing.assert_close(other, score)
    assert not torch.equal(boxes, others), "nothing was turned over, so nothing is tested"


@pytest.mark.parametrize("by", [1e-3, -1.0])
def test_a_wrong_edit_is_still_refused(by: float) -> None:
    model, x = tied(torch.float64)
    graph = netmorph.trace(model, x)
    with pytest.raises(EditError, match="should keep the network's outputs"):
        netmorph.apply(graph, Shift(by))
    assert torch.equal(model.score.bias, tied(torch.float64)[0].score.bias)


def test_a_decision_is_taken_over_where_it_is_made_by_the_same_numbers() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0])
    with Decisions() as first:
        scores.argmax(), (scores > 2).nonzero(), scores.max().item()
    nearly = scores + torch.tensor([0.0, 1e-6, 0.0])
    with Decisions(first.taken):
        assert nearly.argmax() == 2
        assert (nearly > 2).nonzero().tolist() == [[2]]
        assert nearly.max().item() == 3.0
    with Decisions(first.taken):
        assert (scores - 1.5).argmax() == 2
        assert (nearly + 1 > 2).tolist() == [False, True, True]


def test_what_comes_between_is_left_out() -> None:
    scores = torch.tensor([1.0, 2.0])
    with Decisions() as first:
        (scores > 1.5), scores.argmax()
    with Decisions(first.taken):
        assert scores.argmin() == 0
        assert (scores + torch.tensor([1e-6, 1e-6])).argmax() == 1
        assert (scores + 5).argmax() == 1
