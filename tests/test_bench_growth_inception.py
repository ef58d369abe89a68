"""The benchmark of a growing Inception-ResNet, made small."""

import json
from pathlib import Path

import pytest

import netmorph
from benchmarks._growth_rows import batches_of
from benchmarks.growth_images import read
from benchmarks.growth_inception import depths, main, network, some_classes, widths
from netmorph.data import load
from netmorph.train.inputs import examples

ROWS = ("width: no growth", "width: from scratch", "width: r2r")
SMALL = "--data digits --classes 3 --epochs 2 --seeds 1".split()


def test_labels_of_some_classes_count_from_zero() -> None:
    whole = load("digits")
    few = some_classes(whole, 3)
    assert few.classes == ("0", "4", "9")
    assert few.outputs == 3
    assert few.train.targets.unique().tolist() == [0, 1, 2]
    assert len(few.test) == sum(int((whole.test.targets == label).sum()) for label in (0, 4, 9))


@pytest.mark.slow
def test_what_grows_branches_off_and_all_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path / "new"), *SMALL, "--rows", *ROWS])
    assert "| r2r | 1 |" in capsys.readouterr().out
    found = {each["row"]: each for each in read(tmp_path / "new")}
    assert found["r2r"]["flops"][0] == found["no growth"]["flops"][0]
    assert found["r2r"]["parameters"][1:] == found["from scratch"]["parameters"]
    assert abs(found["r2r"]["jumps"][0]) < 1e-2  # bfloat16
    lines = (tmp_path / "new" / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == [*found]


@pytest.mark.slow
def test_every_growth_can_be_made() -> None:
    dataset = some_classes(load("digits"), 3)
    for grow in (*widths(batches_of(dataset)).values(), *depths(batches_of(dataset)).values()):
        model = network(dataset.input_shape, dataset.outputs, 1, 0)
        graph = netmorph.trace(model, examples(dataset, model))
        assert len(grow(graph, (), 0).journal) >= 1
