"""The experiment of an evolution beside what it is compared with, where it needs no run."""

import math

import pytest
import torch

from benchmarks import evolution
from netmorph.data import load


def test_the_folds_of_the_digits_are_disjoint_and_hold_all_samples() -> None:
    folds = [evolution.fold(load("digits", seed=seed), seed) for seed in range(evolution.FOLDS)]
    tested = torch.cat([one.test.inputs for one in folds]).flatten(1)
    whole = load("digits", seed=3)
    count = len(whole.train) + len(whole.validation) + len(whole.test)
    assert len(tested) == count
    assert len(torch.unique(tested, dim=0)) == len(
        torch.unique(torch.cat([one.flatten(1) for one in parts(whole)]), dim=0)
    )
    assert all(sum(map(len, parts(one))) == count for one in folds)


def parts(dataset: object) -> list[torch.Tensor]:
    return [getattr(dataset, name).inputs for name in ("train", "validation", "test")]


def test_the_hypervolume_is_a_share_of_what_can_be_dominated() -> None:
    assert evolution.hypervolume([(10, 1.0)], 0.5, 10, 1000) == pytest.approx(1, abs=1e-6)
    assert evolution.hypervolume([(10, 0.75)], 0.5, 10, 1000) == pytest.approx(0.5, abs=1e-6)
    half = evolution.hypervolume([(100, 1.0)], 0.5, 10, 1000)
    assert half == pytest.approx(0.5, abs=1e-6)
    assert evolution.hypervolume([(5, 0.4)], 0.5, 10, 1000) == 0
    assert not math.isnan(evolution.hypervolume([(10, 0.9)], 0.5, 10, 10))


def test_tables_tell_means_and_when_others_are_as_good_as_fresh_weights() -> None:
    def row(arm: str, seed: int, course: list[tuple[int, float]]) -> dict[str, object]:
        return {
            "data": "digits",
            "seed": seed,
            "arm": arm,
            "networks": 3,
            "training_flops": course[-1][0],
            "hypervolume": 0.5,
            "test": course[-1][1],
            "flops": 10,
            "ensemble": 0.9,
            "members": [0.8, 0.85],
            "course": course,
        }

    found = [
        row(arm, seed, course)
        for seed in (0, 1)
        for arm, course in (
            ("evolve", [(40, 0.7), (100, 0.9)]),
            ("fresh", [(50, 0.6), (200, 0.8)]),
            ("random", [(90, 0.7), (200, 0.7)]),
        )
    ]
    told = "\n".join(evolution.tables(found))
    assert "| evolve | 0.500 ± 0.000 | +0.000 ± 0.000 | 90.00 ± 0.00 | +20.00 ± 0.00 |" in told
    assert "+5.00 ± 0.00" in told
    assert "0.50 (2 of 2 by half)" in told
    assert "never (0 of 2 by half)" in told
