"""The command `netmorph plot`."""

import json

import pytest

from tests.documented import check_documented
from tests.plot.made_runs import training


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    for seed in range(2):
        training(folder / f"a-{seed}", seed, count=3)
        training(folder / f"b-{seed}", seed, "sgd", count=3)
    return folder


@pytest.fixture
def program(netmorph, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return netmorph


def test_a_picture_with_its_data_and_caption(program, folder, tmp_path):
    longer = training(tmp_path / "longer", 2, "sgd", count=4)
    done = program(
        "plot", f"R2R={folder}/a-*", f"Net2Net={folder}/b-*", f"Net2Net={longer}", "--x", "flops", "--tag", "loss/train"
    )

    assert (done.code, done.out.splitlines()[:2]) == (0, ["Picture: curves.svg", "  its data: curves.csv"])
    assert "training loss by training FLOPs: R2R, Net2Net. Lines: mean of 2 to 3 runs; bands: 95% interval" in done.out
    assert "Note: Net2Net: the mean ends at training FLOPs 3e+06, with the shortest run" in done.err
    assert ">Net2Net</text>" in (tmp_path / "curves.svg").read_text()


def test_files_sizes_and_scales(program, folder, tmp_path):
    drawn = "--tag loss/train --size page --font STIXGeneral --band range --log-y --smooth 0.5 --span 0.1 3 --group run"
    done = program("plot", str(folder), *drawn.split(), "--output", "one/f.svg", "--output", "one/f.pdf")

    assert done.code == 0, done.err
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == ["f.csv", "f.pdf", "f.svg"]
    assert "STIXGeneral" in (tmp_path / "one/f.svg").read_text()


def test_lists_and_tables(program, folder, tmp_path):
    listed = program("plot", str(folder), "--list").out
    assert "optimizer adamw: " in listed
    assert "seeds 0-1" in listed
    assert "  loss/train  (3 points; by epoch, flops, seconds)" in listed
    told = json.loads(program("plot", str(folder), "--json").out)
    check_documented(told)
    assert [line["seeds"] for line in told["lines"]] == [[0, 1], [0, 1]]
    assert program("plot", str(folder), "--table", "all.tex").out == "Table: all.tex\n"
    assert [file.name for file in tmp_path.iterdir()] == ["all.tex"], "no picture that was not asked for"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tag", "accuracy/valid"), "did you mean 'accuracy/validation'?"),
        (("--x", "flop"), "did you mean 'flops'?"),
        (("--group", "recipe.optimiser"), "did you mean 'recipe.optimizer'?"),
        (("--output", "f.gif"), "pictures are files of the kind"),
        (("--list", "--tag", "loss/train"), "--tag cannot be given with --list or --json"),
        (("--table", "all.csv", "--x", "flops"), "--x cannot be given with --table alone: nothing is drawn"),
        (("--table", "f.csv", "--output", "f.pdf"), "f.csv is where the data of the picture stand"),
    ],
)
def test_mistakes_are_told(program, folder, arguments, told):
    done = program("plot", str(folder), *arguments)

    assert done.code in (1, 2)
    assert told in done.err
