"""The benchmark of a halved EfficientNet: how agreement is counted, and what the table tells."""

import pytest
import torch

from benchmarks.shrink_efficientnet import agreement, rows


def test_agreement_counts_first_answers_and_those_among_the_five_best() -> None:
    wanted = torch.arange(10.0).repeat(2, 1)
    answers = torch.stack([wanted[0], wanted[0].flip(0)])
    answers[1, 9] = 0.5  # the last one comes out last: no answer of the second sample is among the wanted five
    assert agreement(wanted, wanted) == (1.0, 1.0)
    assert agreement(answers, wanted) == (0.5, pytest.approx(0.5))


def test_the_table_tells_both_of_each_way() -> None:
    one = {"way": "cut", "flops": 0.5, "parameters": 0.75, "plain": [0.25, 0.5], "recalibrated": [0.5, 0.75]}
    assert rows([one, one | {"plain": [0.75, 0.5]}]) == [
        ["cut", "0.500", "0.750", "50.0% (25.0% to 75.0%)", "50.0% (50.0% to 50.0%)"],
        ["cut; norms recalibrated", "0.500", "0.750", "50.0% (50.0% to 50.0%)", "75.0% (75.0% to 75.0%)"],
    ]
