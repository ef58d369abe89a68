"""Random networks and edits: what is told of them, and (slow) that a batch is the same each time."""

from dataclasses import replace

import pytest
from torch import nn

from benchmarks.random_networks import FINE, NOWHERE, Tried, batch_of, parts_of, table


def test_what_is_told() -> None:
    rows = [
        Tried("0:0", "merge", [], NOWHERE, 0.5),
        Tried("0:1", "widen r2r", ["Attention", "Gated"], FINE, 1.0),
        Tried("0:2", "widen r2r", ["Gated"], "CheckError: outputs differ", 58.5),
    ]
    told = table(rows).splitlines()
    assert {"| merge | 0 | 0 | 1 |", "| widen r2r | 2 | 1 | 0 |", "| Attention | 1 | 0 | 0 |"} <= set(told)
    assert {"| Gated | 2 | 1 | 0 |", "| layers one after another | 0 | 0 | 1 |"} <= set(told)
    assert told[-2:] == ["0:2 widen r2r: CheckError: outputs differ", "2 edits, 1 failed, 1 min"]


def test_what_a_network_is_made_of() -> None:
    assert parts_of(nn.Sequential(nn.Conv1d(4, 4, 1, groups=2), nn.ReLU())) == [
        "convolution in groups",
        "one dimension",
    ]


@pytest.mark.slow
def test_a_batch_is_the_same_each_time() -> None:
    first, again = ([replace(row, seconds=0.0) for row in batch_of(0, 3)] for _ in range(2))
    assert first == again
    assert len({row.edit for row in first}) > 5
    assert {row.became for row in first} <= {FINE, NOWHERE}
