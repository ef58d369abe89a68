"""From folders to curves, whichever command left them."""

import math
from pathlib import Path

import pytest

from netmorph.plot.reading import read
from netmorph.plot.settings import flat, from_name
from netmorph.plot.values import PlotError
from netmorph.ranks import StudyError
from netmorph.run.records import Records
from netmorph.train.checkpoint import save
from tests.plot.made_runs import FLOPS, chains, epochs, events, shrinking, study, training
from tests.report.synthetic import write_run


def test_a_training_over_epochs_flops_and_seconds(tmp_path):
    (run,) = read(training(tmp_path / "run", seed=3, count=4))

    curve, told = run.curves["accuracy/validation"], epochs(4, 3)
    assert list(curve.values) == [epoch.validation["accuracy"] for epoch in told]
    assert {axis: list(x) for axis, x in curve.axes.items()} == {
        "epoch": [1, 2, 3, 4],
        "flops": [FLOPS, 2 * FLOPS, 3 * FLOPS, 4 * FLOPS],
        "seconds": [2, 4, 6, 8],
    }
    assert list(run.curves) == [
        "loss/train",
        "loss/validation",
        "accuracy/train",
        "accuracy/validation",
        "learning_rate",
    ]
    assert (run.seed, run.settings["recipe.optimizer"]) == (3, "adamw")
    assert not {"seed", "data.seed", "threads"} & run.settings.keys()


def test_a_growth_is_marked_where_it_was(tmp_path):
    (run,) = read(training(tmp_path / "run", count=6, grown=(2.5, 4)))

    curve = run.curves["loss/train"]
    assert [mark.label for mark in curve.marks] == ["1\u00a0k → 2\u00a0k parameters", "2\u00a0k → 4\u00a0k parameters"]
    assert [curve.place(mark, "epoch") for mark in curve.marks] == [2.5, 4]
    assert [curve.place(mark, "flops") for mark in curve.marks] == [2.5 * FLOPS, 4 * FLOPS]


def test_a_training_that_goes_on_is_read_from_its_checkpoint(tmp_path):
    with Records.create(tmp_path / "run") as records:
        records.set_meta("config", {"task": "train", "seed": 0})
    save(tmp_path / "run" / "checkpoint", {}, {"history": [epoch.as_json() for epoch in epochs(2)]})

    (run,) = read(tmp_path / "run")
    assert list(run.curves["loss/train"].values) == [epoch.train["loss"] for epoch in epochs(2)]
    assert list(run.curves["loss/train"].axes) == ["epoch", "seconds"], "FLOPs are known at its end"


@pytest.mark.parametrize("finished", [True, False])
def test_an_evolution_is_its_arms(tmp_path, finished):
    runs = read(write_run(tmp_path / "run", rounds=2, finished=finished))

    arms = ["Evolution", "Random search", "Start network trained on alone"]
    assert [run.settings["arm"] for run in runs] == (arms if finished else arms[:1])
    evolved = runs[0].curves["accuracy/best"]
    assert list(evolved.values) == sorted(evolved.values)
    assert evolved.holds
    assert list(evolved.axes["flops"]) == sorted(evolved.axes["flops"])
    line = runs[0].curves["loss/validation"]
    assert len(line.marks) == 2, "an edit each round"
    assert all(len(x) == len(line.values) for x in line.axes.values())


def test_rounds_of_a_shrinking(tmp_path):
    (run,) = read(shrinking(tmp_path / "shrunk"))

    kept = run.curves["accuracy/round"]
    assert list(kept.axes["parameters"]) == [900, 500, 400]
    assert list(kept.axes["flops"]) == [FLOPS, 2 * FLOPS, 4 * FLOPS], "a dropped round costs as well"
    assert list(run.curves["width/fc1"].values) == [90, 50, 40]
    trained = run.curves["loss/train"]
    assert [(mark.at, mark.label) for mark in trained.marks] == [(2, "500"), (5, "300, dropped"), (8, "400")]
    assert trained.axes["flops"][-1] == pytest.approx(4 * FLOPS)


def test_a_study_and_a_search_for_chains(tmp_path):
    networks, agents = read(study(tmp_path / "study")), read(chains(tmp_path / "chains"))

    assert [(run.settings["condition"], run.seed) for run in networks] == [
        *(("shuffled", seed) for seed in range(3)),
        *(("true", seed) for seed in range(3)),
    ]
    assert networks[0].curves["effective_rank/weights"].values == pytest.approx([20, 12, 12])
    assert [run.settings["agent"] for run in agents] == ["beam", "random"]
    assert list(agents[0].curves["loss/best"].values) == [0.5, 0.5, 0.3]
    assert list(agents[0].curves["loss/best"].axes["flops"]) == [100, 200, 300]


def test_a_search_that_goes_on_is_read_and_left_alone(tmp_path):
    folder = chains(tmp_path / "chains")
    with (folder / "beam.jsonl").open("ab") as file:
        file.write(b'{"chain": ')
    before = (folder / "beam.jsonl").read_bytes()

    assert len(read(folder)[0].curves["loss/best"].values) == 3
    assert (folder / "beam.jsonl").read_bytes() == before


def test_folders_below_and_patterns_and_names(tmp_path):
    for name in ("r2r-0", "r2r-1", "pad"):
        events(training(tmp_path / "runs" / name) / "tensorboard", {"loss": [1.0]})

    below = read(tmp_path / "runs")
    assert [Path(run.name).name for run in below] == ["pad", "r2r-0", "r2r-1"], "their own logs are not read again"
    named = read(f"R2R={tmp_path}/runs/r2r-*", tmp_path / "runs" / "pad")
    assert [run.label for run in named] == ["R2R", "R2R", None]


def test_what_a_name_tells():
    assert from_name("logs/adam/lr=0.1/seed_3") == ({"name": "logs/adam", "lr": "0.1"}, 3)
    assert from_name("adam-seed2/a") == ({"name": "adam/a"}, 2)
    assert from_name("vit_s16") == ({"name": "vit_s16"}, None)
    assert flat({"recipe": {"epochs": 3, "decay": None}, "seed": 1, "data": {"seed": 1}, "model": "mlp"}) == {
        **{"recipe.epochs": "3", "recipe.decay": "null", "model": "mlp"}
    }


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    training(tmp_path / "begun", count=1)
    damaged = study(tmp_path / "damaged")
    next((damaged / "rows").iterdir()).write_text("{}\n")

    with pytest.raises(PlotError, match=r"nowhere is not there; give the folder of a run"):
        read("nowhere")
    with pytest.raises(PlotError, match=r"there is no run in .*empty, nor in the folders below it \(no run.sqlite"):
        read(tmp_path / "empty")
    with pytest.raises(StudyError, match="is damaged"):
        read(damaged)


def test_a_number_that_an_epoch_lacks_is_none(tmp_path):
    from netmorph.plot.trainings import curves_of

    first, second = epochs(2)
    found = curves_of([first, type(second)(**{**vars(second), "train": {"loss": 1.0}})], {"epoch": [1, 2]})
    assert math.isnan(found["accuracy/train"].values[1])
    assert curves_of([], {"epoch": []}) == {}
