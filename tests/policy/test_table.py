import numpy as np
import pytest

from netmorph.policy.spaces import SearchError
from netmorph.policy.table import Table, cells, macro
from tests.policy.made_up import CODE, additive

TABLE = additive(noise=1.0)


def test_moves_are_all_networks_that_differ_in_one_place() -> None:
    moves = [*TABLE.moves((0, 1, 2), np.random.default_rng(0))]
    points = {move.to for move in moves}

    assert points == {(1, 1, 2), (2, 1, 2), (0, 0, 2), (0, 2, 2), (0, 1, 0), (0, 1, 1)}
    assert len(moves) == len(points)
    assert {move.kind for move in moves if move.place == "0"} == {"deepen"}
    assert {move.to: move.kind for move in moves if move.place == "1"} == {(0, 0, 2): "shallow", (0, 2, 2): "widen"}
    assert {move.kind for move in moves if move.place == "2"} == {"shallow", "narrow"}


def test_a_search_sees_one_training_of_each_network_and_is_told_the_mean() -> None:
    judge = TABLE.judge(np.random.default_rng(0))
    seen = {row: judge(row) for row in TABLE.trainings}

    assert all(seen[row] in TABLE.trainings[row] for row in seen)
    assert seen == {row: judge(row) for row in seen}
    assert {TABLE.trainings[row].index(value) for row, value in seen.items()} == {0, 1, 2}
    assert TABLE.mean((0, 1, 2)) == pytest.approx(np.mean(TABLE.trainings[0, 1, 2]))


def test_hypervolume_is_the_share_of_the_whole_and_regret_the_distance_to_the_best() -> None:
    table = Table({(0,): (60.0,), (1,): (80.0,), (2,): (70.0,)}, {(0,): 1, (1,): 2, (2,): 5}, str, CODE, floor=50.0)

    assert table.hypervolume(table.trainings) == 1
    assert table.hypervolume([(0,)]) == pytest.approx(10 * 4 / (10 * 1 + 30 * 3))
    assert table.hypervolume([(2,)]) == 0  # the highest cost is where it ends
    assert (table.regret((1,)), table.regret((2,))) == (0, 10)


def test_features_are_those_of_the_choices() -> None:
    assert TABLE.features((0, 1, 2)).tolist() == [0, 0, 1, 0, 1, 1]


def test_a_table_has_all_its_networks() -> None:
    with pytest.raises(SearchError, match="got 2 networks of"):
        Table({(0,): (1.0,), (1,): (1.0,)}, {(0,): 1, (1,): 2}, str, CODE, 0.0)


def test_published_files_are_read() -> None:
    blocks = macro({str(digit): {"test_acc": [88.0, 90.0], "flops": 10 + digit} for digit in range(3)})
    edges = cells({str(digit): {"val_acc": [60.0 + digit], "model_size": [0.5]} for digit in range(5)})

    assert (blocks.mean((2,)), blocks.cost((2,))) == (89, 12)
    assert (edges.mean((4,)), edges.cost((4,)), edges.floor) == (64, 5e5, 60)
    assert next(edges.moves((4,), np.random.default_rng(0))).kind.startswith("to ")
    with pytest.raises(SearchError, match="has no 'flops'"):
        macro({"0": {"test_acc": [1.0]}})
