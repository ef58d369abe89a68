"""Which runs are one line, and what it is called."""

import pytest

from netmorph.plot.grouping import by_seed, by_settings, grouped
from netmorph.plot.values import Curve, PlotError, Run


def run(path, seed=None, label=None, **settings):
    return Run(path, settings, seed, {"loss": Curve({"step": [1]}, [1.0])}, label)


def names(groups):
    return {label: [one.name for one in runs] for label, runs in groups.items()}


def test_runs_that_differ_in_their_seed_are_one_line_named_by_what_differs():
    runs = [run(f"r{n}", n % 2, **{"recipe.learning_rate": rate, "model": "mlp"}) for n, rate in enumerate("1133")]

    assert names(grouped(runs)) == {"learning rate 1": ["r0", "r1"], "learning rate 3": ["r2", "r3"]}


def test_runs_without_a_seed_stand_for_themselves_by_what_differs_in_their_paths():
    runs = [run("logs/a/tb", name="logs/a/tb"), run("logs/b/tb", name="logs/b/tb")]

    assert names(grouped(runs)) == {"a": ["logs/a/tb"], "b": ["logs/b/tb"]}
    assert list(grouped(runs[:1])) == ["tb"]


def test_what_the_user_calls_runs_is_their_line():
    runs = [run("a", 0, "R2R", x="1"), run("b", None, "R2R", x="2"), run("c", 0, "pad", x="1")]

    assert names(grouped(runs)) == {"R2R": ["a", "b"], "pad": ["c"]}


def test_settings_can_be_named():
    runs = [run("p/a", 0, lr="1", model="x"), run("p/b", 0, lr="1", model="y"), run("p/c", 0, lr="2", model="y")]

    assert names(grouped(runs, by_settings("lr"))) == {"lr 1": ["p/a", "p/b"], "lr 2": ["p/c"]}
    assert list(grouped(runs, by_settings("run"))) == ["lr 1, model x", "lr 1, model y", "lr 2, model y"]
    with pytest.raises(PlotError, match=r"no setting of p/a called 'modle' \(did you mean 'model'\?\)"):
        grouped(runs, by_settings("modle"))


def test_names_are_taken_where_settings_tell_too_much_or_nothing():
    many = [run(f"p/{n}", 0, **{f"s{k}": str(n) for k in range(9)}) for n in range(2)]
    twins = [run("p/a", 0, x="1"), run("p/b", 1, x="1")]

    assert list(grouped(many)) == ["0", "1"]
    assert list(grouped(twins, by_settings("run"))) == ["a", "b"]
    assert by_seed(twins[0]) == by_seed(twins[1])


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (("runs/adamw-10", "runs/adamw-11"), "adamw"),
        (("logs/adam/seed_0", "logs/adam/seed_1"), "adam"),
        (("resnet18-1", "resnet18-2"), "resnet18"),
        (("0", "1"), "0"),
    ],
)
def test_a_single_group_is_called_what_its_paths_begin_with(paths, told):
    assert list(grouped([run(path, seed, x="1") for seed, path in enumerate(paths)])) == [told]
