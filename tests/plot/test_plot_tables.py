"""All numbers as files: every point, or ends and extremes for a paper."""

import csv
import io

import pytest

from netmorph.plot.grouping import grouped
from netmorph.plot.tables import _cell, as_csv, as_latex, save_table
from netmorph.plot.values import Curve, PlotError, Run

RUNS = [
    Run(
        f"p/{seed}",
        {"name": "p"},
        seed,
        {"loss/a_b": Curve({"step": [1, 2], "seconds": [0.1, 0.3]}, [2.0 + seed, 1 / 3])},
    )
    for seed in (0, 1)
]
OTHER = Run("q", {"name": "q"}, None, {"reward": Curve({"step": [5]}, [float("inf")])})


def test_every_point_is_a_row_with_the_same_bits():
    rows = list(csv.DictReader(io.StringIO(as_csv(grouped([*RUNS, OTHER])))))

    assert rows[1] == {
        **{"line": "p", "run": "p/0", "seed": "0", "tag": "loss/a_b", "step": "2", "seconds": "0.3"},
        **{"value": repr(1 / 3)},
    }
    assert rows[-1] == {
        **{"line": "q", "run": "q", "seed": "", "tag": "reward", "step": "5", "seconds": "", "value": ""},
    }


def test_the_last_lowest_and_highest_number_in_latex():
    text = as_latex(grouped([*RUNS, OTHER]))

    assert r"p & loss/a\_b & 2 & $0.3333$ & $0.3333$ & $2.5 \pm 6.4$ \\" in text
    assert "reward" not in text, "no finite number"
    assert text.count(r"\\") == 2


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([0.5], "$0.5$"),
        ([0.0], "$0$"),
        ([1234567.0], r"$1.235 \cdot 10^{6}$"),
        ([0.1, 0.1 + 1e-17], "$0.1$"),
        ([1e-6, 1.2e-6, 1.4e-6], r"$(1.20 \pm 0.50) \cdot 10^{-6}$"),
        ([98.0, 99.0, 97.5], r"$98.2 \pm 1.9$"),
    ],
)
def test_digits(values, told):
    assert _cell(values) == told


def test_files_by_their_ending(tmp_path):
    assert save_table(RUNS, tmp_path / "all.csv").read_text().startswith("line,run,seed,tag,step,seconds,value\n")
    assert save_table(RUNS, tmp_path / "all.tex").read_text().startswith("% needs")
    with pytest.raises(PlotError, match=r"kind .csv, .tex; got .*all.xls"):
        save_table(RUNS, tmp_path / "all.xls")
