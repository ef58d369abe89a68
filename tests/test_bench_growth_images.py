"""The benchmark of growing image networks, made small."""

from pathlib import Path

import pytest

import netmorph
from benchmarks import growth_images
from benchmarks._growth_rows import ALONE, rows
from benchmarks._growth_tables import Record, as_much, difference, reached
from benchmarks.growth_images import Meter, images, main, planned, read
from netmorph.train import Recipe
from netmorph.train.inputs import examples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of some rows of the ResNet, trained for one seed."""
    found = tmp_path_factory.mktemp("growth") / "new"
    wanted = {"width": (ALONE, "from scratch", "r2r", "random_pad"), "times": ("r2r, 2 growths",)}
    with pytest.MonkeyPatch.context() as patch:

        def some(*arguments):
            return [row for row in rows(*arguments) if row.name in wanted.get(row.table, ())]

        patch.setattr(growth_images, "rows", some)
        main([str(found), *SMALL])
    return found


SMALL = "--data digits --images 200 --epochs 10 --seeds 1 --networks resnet".split()


def test_what_grows_branches_off_from_the_small_network(folder: Path) -> None:
    found = {(each["table"], each["row"]): each for each in read(folder)}
    alone, grown, large = (found["width", name] for name in (ALONE, "r2r", "from scratch"))
    assert grown["validation"][:5] == alone["validation"][:5] != large["validation"][:5]
    assert grown["flops"][4] == alone["flops"][4] == large["flops"][4] * alone["flops"][-1] // large["flops"][-1]
    assert grown["flops"][9] == alone["flops"][4] + large["flops"][4]
    assert grown["parameters"] == [*alone["parameters"], *large["parameters"]]
    assert abs(grown["jumps"][0]) < 1e-4 < abs(found["width", "random_pad"]["jumps"][0])


def test_several_growths_cost_what_the_network_from_scratch_does(folder: Path) -> None:
    [twice] = [each for each in read(folder) if each["table"] == "times"]
    [large] = [each for each in read(folder) if each["row"] == "from scratch"]
    assert len(twice["parameters"]) == 3
    assert twice["parameters"][-1] == large["parameters"][0]
    assert twice["flops"][-1] == pytest.approx(large["flops"][-1] / 2, rel=0.05)


def test_what_is_there_is_told_and_not_trained_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth_images, "train", None)
    main([str(folder), "--report"])
    told = capsys.readouterr().out
    assert "| random_pad |" in told
    assert (folder / "growth-images.png").exists()


@pytest.mark.parametrize("network", [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet", "inception")])
def test_every_growth_can_be_made(network: str) -> None:
    dataset = images("digits", 200)
    for row in planned(network, dataset):
        model = growth_images.NETWORKS[network](dataset.input_shape, dataset.outputs, row.width, row.deeper)
        graph = netmorph.trace(model, examples(dataset, model))
        for growth in row.growths if row.table in ("width", "depth") else ():
            graph = growth.what(graph, (), 0)
        assert Meter(model, dataset, Recipe()).told["parameters"]


def test_costs_are_compared_where_the_network_from_scratch_is_as_good() -> None:
    def one(test: float, flops: float, seed: int = 0) -> Record:
        return {"seed": seed, "test": test, "flops": [flops], "validation": [test]}

    curve = [[one(0.5, 1e3)], [one(0.6, 1e5)]]
    assert as_much([one(0.55, 5e3)], curve, "flops") == "0.50", "1e4 from scratch"
    assert as_much([one(0.4, 5e2)], curve, "flops") == "above 0.50"
    assert as_much([one(0.7, 1e5)], curve, "flops") == "below 1.00"
    pairs = [one(0.52, 1), one(0.56, 1, seed=1)], [one(0.5, 1), one(0.5, 1, seed=1)]
    assert difference(*pairs) == "+4.00 ± 25.41"
    assert reached(pairs[0], [one(0.55, 4), one(0.55, 4, seed=1)]) == "1 of 2 at 0.25 of its FLOPs"
