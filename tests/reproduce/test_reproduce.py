"""A small published table, run, stopped, read again and put into a page."""

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from netmorph.cli.app import app
from netmorph.errors import NetmorphError
from netmorph.reproduce import STUDIES, Published, Row, Study, insert, outcomes, page, run
from netmorph.reproduce.runs import published_split
from netmorph.train.recipe import Recipe
from netmorph.zoo import build

RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=0.01)
ROW = Row(
    "digits-mlp", "digits", "mlp", RECIPE, Published(0.9, 4, "1 s"), train_size=200, normalize=(0.0, 1.0), seeds=2
)
STUDY = Study("digits", "Digits", "A preface.", (ROW,), (dataclasses.replace(ROW, name="digits-mlp-better"),))


class Stop(Exception):
    pass


def stop(_epoch: object) -> None:
    raise Stop


def test_a_row_is_run_once_and_read_afterwards(tmp_path: Path) -> None:
    first = run(ROW, 0, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["digits-mlp.0.json"]
    assert run(ROW, 0, tmp_path, stop) == first
    assert first.accuracy == max(epoch.validation["accuracy"] for epoch in first.history) > 0.5
    assert first.seconds_to(0) == first.history[0].seconds
    assert first.seconds_to(1.1) is None
    assert list(outcomes(STUDY.rows, tmp_path)) == [first]


def test_a_row_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(ROW, 0, tmp_path / "stopped", stop)
    assert run(ROW, 0, tmp_path / "stopped").history == run(ROW, 0, tmp_path / "whole").history


def test_what_was_run_with_another_recipe_is_not_taken_for_this_one(tmp_path: Path) -> None:
    run(ROW, 0, tmp_path)
    other = dataclasses.replace(ROW, recipe=dataclasses.replace(RECIPE, learning_rate=0.1))
    with pytest.raises(NetmorphError, match="another recipe; delete it"):
        run(other, 0, tmp_path)


def test_the_published_test_images_validate() -> None:
    dataset = published_split(ROW, 0)
    assert dataset.validation is dataset.test
    assert (len(dataset.train), dataset.preparation.mean, dataset.preparation.std) == (200, (0.0,), (1.0,))


def test_the_page_shows_ours_beside_the_published_figures(tmp_path: Path) -> None:
    made = [run(ROW, seed, tmp_path) for seed in range(2)]
    text = page(STUDY, made)
    mean, low, high = sum(o.accuracy for o in made) / 2, min(o.accuracy for o in made), max(o.accuracy for o in made)
    assert f"| digits-mlp | 2 (published: 4) | 90.00% | **{mean:.2%}** | {low:.2%} to {high:.2%} | 2 | no |" in text
    assert "digits-mlp-better" not in text, "it was not run"
    assert f"torch {made[0].versions['torch']}" in text


def test_the_page_tells_what_more_views_add(tmp_path: Path) -> None:
    row = dataclasses.replace(ROW, recipe=dataclasses.replace(RECIPE, views=2))
    outcome = run(row, 0, tmp_path)
    alone = outcome.history.best.validation["accuracy"]
    assert alone != outcome.accuracy == outcome.in_views
    assert outcome.seconds > sum(epoch.seconds for epoch in outcome.history)
    assert outcome.seconds_to(max(alone, outcome.accuracy)) is not None
    assert outcome.seconds_to(1.1) is None
    text = page(dataclasses.replace(STUDY, reproduced=(row,)), [run(row, 0, tmp_path)])
    assert f"**{outcome.accuracy:.2%}** in 2 views ({alone:.2%} in one)" in text


def test_tables_go_between_their_marks_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    path.write_text("before\n<!-- digits -->\nold\n<!-- /digits -->\nafter\n")
    insert("new", "digits", path)
    insert("newer", "digits", path)
    assert path.read_text() == "before\n<!-- digits -->\n\nnewer\n<!-- /digits -->\nafter\n"
    with pytest.raises(NetmorphError, match="must hold <!-- other -->"):
        insert("new", "other", path)
    with pytest.raises(NetmorphError, match="cannot read"):
        insert("new", "digits", tmp_path / "missing.md")


def test_rows_are_picked_by_name() -> None:
    assert STUDY.pick([]) == STUDY.rows
    assert STUDY.pick(["digits-mlp"]) == (ROW,)
    with pytest.raises(NetmorphError, match=r"no row 'digits-mpl' \(did you mean 'digits-mlp'"):
        STUDY.pick(["digits-mpl"])


def test_the_tutorials_networks_have_the_published_sizes() -> None:
    sizes = {("mnist", "lenet5"): 61_706, ("mnist", "minivgg"): 123_502, ("cifar10", "lenet5"): 83_126}
    sizes |= {("cifar10", "resnet"): 195_738}
    shapes = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
    for row in STUDIES["cnn-tutorial"].rows:
        expected = sizes.get((row.data, row.network))
        if expected is not None:
            model = build(row.network, shapes[row.data], 10)
            assert sum(parameter.numel() for parameter in model.parameters()) == expected, row.name


def test_names_and_epochs_of_the_tutorials_rows_are_sound() -> None:
    study = STUDIES["cnn-tutorial"]
    assert len({row.name for row in study.rows}) == len(study.rows) == 20
    assert all(row.recipe.epochs == row.published.epochs for row in study.reproduced)
    assert all(row.recipe.epochs <= row.published.epochs for row in study.improved)


def test_the_command_lists_rows_and_refuses_unknown_ones() -> None:
    shown = CliRunner().invoke(app, ["reproduce", "cnn-tutorial", "--list"])
    assert shown.exit_code == 0
    assert "cifar10-resnet-adam" in shown.output
    wrong = CliRunner().invoke(app, ["reproduce", "cnn-tutoral"])
    assert "did you mean 'cnn-tutorial'" in str(wrong.exception)


def test_a_page_without_marks_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    wrong = CliRunner().invoke(
        app, ["reproduce", "cnn-tutorial", "--into", str(tmp_path / "missing.md"), "--output", str(folder)]
    )
    assert isinstance(wrong.exception, NetmorphError)
    assert "cannot read" in str(wrong.exception)
    assert not folder.exists()


def test_outcomes_are_plain_json(tmp_path: Path) -> None:
    run(ROW, 0, tmp_path)
    told = json.loads((tmp_path / "digits-mlp.0.json").read_text())
    assert told["recipe"]["learning_rate"] == 0.01
    assert [epoch["epoch"] for epoch in told["history"]] == [1, 2]
