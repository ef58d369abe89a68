"""Growths as text."""

import pytest
import torch

from netmorph import trace, zoo
from netmorph.errors import NetmorphError
from netmorph.policy import Plateau, parse


@pytest.mark.parametrize(
    ("text", "when", "edits"),
    [
        ("at 80%: depth 3", 0.8, ["copy", "copy"]),
        ("at 12.5 % : depth 2 copied", 0.125, ["stack"]),
        ("plateau: depth 2 r2r of blocks", Plateau(3), ["residual"]),
        ("plateau of 5 epochs: depth 2 of blocks", Plateau(5), ["copy"]),
        ("plateau of 1 epoch: width x2", Plateau(1), ["lemon and r2r"]),
        ("at 50%: width x1.5 net2net", 0.5, ["lemon and net2net"]),
        ("at 50%: depth 2, width x2 ,depth 3 stacked", 0.5, ["copy", "lemon and r2r", "stack"]),
    ],
)
def test_a_growth_is_read(text: str, when: object, edits: list[str]) -> None:
    torch.manual_seed(0)
    growth = parse(text)
    assert growth.when == when
    model = zoo.build("gpt", (4,), 5, depth=1, heads=1, channels=4)
    graph = growth.what(trace(model, torch.arange(8).reshape(2, 4) % 5), (), 0)
    assert [entry.edit.method for entry in graph.journal] == edits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plateau", r"cannot read the growth 'plateau': write WHEN: WHAT, such as 'at 80%: depth 12'"),
        ("80%: depth 3", "cannot read when to grow, '80%'"),
        ("at 0.8: depth 3", "cannot read when to grow, 'at 0.8'"),
        ("at 100%: depth 3", "above 0% and below 100% of the training, not at 100%"),
        ("at 0%: depth 3", "above 0% and below 100%"),
        ("plateau of 0 epochs: depth 3", "at least 1, got 0"),
        ("at 80%: deeper", "cannot read what grows, 'deeper': 'depth 12'"),
        ("at 80%: depth x2", "cannot read what grows"),
        ("at 80%: depth 3,", "cannot read what grows, ''"),
        ("at 80%: depth 1", "at least 2, got 1"),
        (
            "at 80%: depth 3 copies",
            r"unknown way to put blocks in 'copies' \(did you mean 'copied'\?\); known are zero, r2r",
        ),
        ("at 80%: width 2", "cannot read what grows"),
        ("at 80%: width x0.5", "by a factor above 1, got 0.5"),
        ("at 80%: width x2 net2nat", r"unknown way to widen 'net2nat' \(did you mean 'net2net'\?\)"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, message: str) -> None:
    with pytest.raises(NetmorphError, match=message):
        parse(text)
