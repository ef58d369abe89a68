"""Round after round, on digits and small networks."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from netmorph import EditError, load, trace, widen, zoo
from netmorph.data import Dataset
from netmorph.data import load as load_data
from netmorph.edit import Base
from netmorph.edit.apply import apply
from netmorph.edit.snapshot import tensors_of
from netmorph.graph import Graph
from netmorph.observe.samples import Samples
from netmorph.shrink import (
    Round,
    ShrinkError,
    Shrunk,
    Wanted,
    by_rank,
    cut,
    explaining,
    lowering,
    network_file,
    read_rounds,
    shrink,
    to_cost,
)
from netmorph.train import Recipe

RECIPE = Recipe(epochs=3, batch_size=32, learning_rate=3e-3)


@pytest.fixture(scope="module", name="digits")
def data() -> Dataset:
    return load_data("digits", train_size=600)


def mlp(*hidden: int) -> nn.Module:
    torch.manual_seed(0)
    return zoo.build("mlp", (1, 8, 8), 10, hidden=hidden)


def told(rounds: list[Round] | tuple[Round, ...]) -> list[Round]:
    return [replace(each, seconds=0.0) for each in rounds]


def test_a_wide_network_finds_its_ranks_and_keeps_its_accuracy(digits: Dataset) -> None:
    model = mlp(128, 128)
    before = {name: tensor.clone() for name, tensor in tensors_of(model).items()}
    found = shrink(model, digits, lambda number: RECIPE, by_rank(explaining(0.97)), tolerance=0.02)
    first, last = found.rounds[0], [each for each in found.rounds if each.kept][-1]
    assert first.widths == {"fc1": 128, "fc2": 128}
    assert last.parameters < first.parameters / 10
    assert last.numbers["accuracy"] >= first.numbers["accuracy"] - 0.02
    assert {name: group.size for name, group in found.graph.groups.items() if name in last.widths} == last.widths
    assert {name: group.size for name, group in found.start.groups.items() if name in first.widths} == first.widths
    assert len(found.graph.journal) == sum(each.kept for each in found.rounds) - 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors_of(model).items()), "it was given"


def test_a_small_network_finds_its_size_from_below(digits: Dataset) -> None:
    widths = by_rank(explaining(0.95), growth=2, fill=0.6)
    found = shrink(mlp(3, 3), digits, lambda number: RECIPE, widths, rounds=4, tolerance=0.02)
    assert found.rounds[-1].parameters > 2 * found.rounds[0].parameters
    assert found.rounds[-1].numbers["accuracy"] > found.rounds[0].numbers["accuracy"] + 0.1


def test_a_round_that_loses_too_much_is_dropped_and_the_next_goes_half_as_far(digits: Dataset) -> None:
    def one(samples: Samples) -> Wanted:
        return Wanted({"fc1": 1, "fc2": 64})

    found = shrink(mlp(64, 64), digits, lambda number: None if number else RECIPE, one, cut, tolerance=0.0, agree=0)
    assert [each.kept for each in found.rounds] == [True, False, False, False]
    assert [each.widths["fc1"] for each in found.rounds] == [64, 1, 8, 23]  # 64 ** (1, 0, 1/2, 3/4)
    assert found.stopped == "what is narrower loses more than the tolerance"
    assert found.graph.group("fc1").size == 64
    for name, tensor in tensors_of(found.start.model).items():
        assert torch.equal(tensor, tensors_of(found.graph.model)[name]), "the network before is put back"


def test_a_training_that_makes_it_worse_is_not_taken(digits: Dataset) -> None:
    recipes = (Recipe(epochs=8, batch_size=32, learning_rate=3e-3), replace(RECIPE, epochs=1, learning_rate=10.0))
    found = shrink(
        mlp(32),
        digits,
        lambda number: recipes[min(number, 1)],
        to_cost(flops=0.9, multiple_of=1),
        rounds=1,
        tolerance=1,
    )
    last = found.rounds[-1]
    assert last.numbers == last.untrained
    assert last.score > last.epochs[0].score


def test_one_step_to_a_share_of_the_cost(digits: Dataset) -> None:
    found = shrink(mlp(64, 64), digits, RECIPE, to_cost(flops=0.5, multiple_of=1), rounds=1, tolerance=math.inf)
    assert repr(found).startswith("<Shrunk in 1 round: ")
    assert found._repr_html_().count("<tr>") == 1 + len(found.rounds)
    assert len(found.rounds) == 2
    assert found.rounds[0].epochs == ()
    assert len(found.rounds[1].epochs) == 3
    assert 0.4 < found.rounds[1].flops / found.rounds[0].flops <= 0.5
    assert found.stopped == "all 1 rounds are done"


def test_a_target_that_cannot_be_reached_tells_the_smallest(digits: Dataset) -> None:
    with pytest.raises(EditError, match=r"flops=0.001 cannot be reached: .* [0-9.]+ is left"):
        shrink(mlp(64, 64), digits, RECIPE, to_cost(flops=0.001), rounds=1)


class Stopped(Exception):
    pass


def stopping(at: int) -> Callable[[Round, nn.Module], None]:
    def stop(told: Round, model: nn.Module) -> None:
        if told.number == at:
            raise Stopped

    return stop


@pytest.mark.parametrize("at", [0, 1, 3])
def test_it_goes_on_where_it_was_stopped(digits: Dataset, tmp_path: Path, at: int) -> None:
    widths = by_rank(explaining(0.97), growth=1.5, fill=0.9)

    def run(folder: Path | None, on_round: Callable[[Round, nn.Module], None] = lambda told, model: None) -> Shrunk:
        recipe = lambda number: RECIPE  # noqa: E731
        return shrink(
            mlp(40, 40), digits, recipe, widths, rounds=4, tolerance=0.0, agree=0, folder=folder, on_round=on_round
        )

    whole = run(None)
    with pytest.raises(Stopped):
        run(tmp_path, stopping(at))
    assert len(read_rounds(tmp_path)) == at + 1
    rest = run(tmp_path)
    assert told(rest.rounds) == told(whole.rounds)
    for one, other in ((rest.graph, whole.graph), (rest.start, whole.start)):
        found = tensors_of(other.model)
        assert all(torch.equal(tensor, found[name]) for name, tensor in tensors_of(one.model).items())
    assert {path.name for path in tmp_path.iterdir()} == {"rounds.json"} | {
        network_file(tmp_path, each.number).name for each in rest.rounds if each.kept
    }


def test_the_files_of_rounds_are_those_of_networks(digits: Dataset, tmp_path: Path) -> None:
    """Also of a network that was edited before."""
    base = Base("mlp", {"input_shape": [1, 8, 8], "classes": 10, "hidden": [24, 24]})
    graph = trace(base.build(), torch.randn(2, 1, 8, 8))
    graph = apply(graph, widen(graph, "fc1", 48))
    found = shrink(graph, digits, RECIPE, by_rank(), rounds=1, tolerance=1, folder=tmp_path, base=base)
    model, journal = load(network_file(tmp_path, 1))
    assert len(journal) == 2
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(model.eval()(x), found.graph.model.eval()(x))
    again = shrink(graph, digits, RECIPE, by_rank(), rounds=1, tolerance=1, folder=tmp_path, base=base)
    torch.testing.assert_close(again.graph.model.eval()(x), model(x))


def test_the_folder_of_another_network_is_told(digits: Dataset, tmp_path: Path) -> None:
    shrink(mlp(16), digits, None, by_rank(), rounds=1, tolerance=1, folder=tmp_path)
    with pytest.raises(ShrinkError, match="holds the rounds of another network"):
        shrink(mlp(17), digits, None, by_rank(), rounds=1, tolerance=1, folder=tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 1}', '{"format": 9, "rounds": []}', '{"format": 1, "rounds": [{}]}']
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "rounds.json").write_text(text)
    with pytest.raises(ShrinkError, match=r"rounds\.json is damaged"):
        read_rounds(tmp_path)


def test_a_folder_without_rounds_is_told(tmp_path: Path) -> None:
    with pytest.raises(ShrinkError, match="holds no shrinking"):
        read_rounds(tmp_path)


def test_rounds_are_plain_values(digits: Dataset, tmp_path: Path) -> None:
    found = shrink(mlp(16), digits, RECIPE, by_rank(), rounds=2, tolerance=1, folder=tmp_path)
    assert list(read_rounds(tmp_path)) == list(found.rounds)
    assert json.loads((tmp_path / "rounds.json").read_text())["format"] == 1


def test_weight_decay_is_lowered_round_by_round() -> None:
    recipes = lowering(replace(RECIPE, weight_decay=0.08), 0.5)
    assert [recipes(number).decay for number in range(4)] == [0.08, 0.08, 0.04, 0.02]
    with pytest.raises(ShrinkError, match="above 0"):
        lowering(RECIPE, 0)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"tolerance": -1}, {"agree": 1}, {"calibration": 1}])
def test_arguments_that_make_no_sense(digits: Dataset, wrong: dict[str, float]) -> None:
    with pytest.raises(ShrinkError, match="rounds is at least 1"):
        shrink(mlp(8), digits, RECIPE, by_rank(), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options"), [("lenet5", {"width": 0.5}), ("resnet", {"width": 0.25, "blocks": (1, 1, 1)})]
)
def test_convolutional_networks(digits: Dataset, name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = zoo.build(name, (1, 8, 8), 10, **options)
    recipe = Recipe(epochs=1, batch_size=32, learning_rate=3e-3)
    found = shrink(model, digits, lambda number: recipe, by_rank(explaining(0.9)), rounds=1, tolerance=1)
    assert found.rounds[1].parameters < found.rounds[0].parameters


def test_a_transformer() -> None:
    dataset = load_data("stdlib", task="text", window=16, train_size=300)
    torch.manual_seed(0)
    model = zoo.build("gpt", dataset.input_shape, dataset.outputs, width=0.25, depth=1)
    recipe = Recipe(epochs=1, batch_size=16, learning_rate=3e-3)
    found = shrink(model, dataset, lambda number: recipe, by_rank(explaining(0.9)), rounds=1, tolerance=1)
    assert isinstance(found.graph, Graph)
    assert found.rounds[1].parameters < found.rounds[0].parameters
    assert found.rounds[1].widths["blocks.0.fc1"] < found.rounds[0].widths["blocks.0.fc1"]
