"""The comparison of policies on tables: it runs on a small one; on the published ones it reaches its marks."""

import json
import os
import pickle
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tables


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file like NAS-Bench-Macro's, of networks of two blocks."""
    rows = {
        f"{first}{second}": {"test_acc": [85 + first + 2 * second, 86 + first], "flops": 1 + first + second}
        for first, second in product(range(3), repeat=2)
    }
    path = tmp_path / "small.json"
    path.write_text(json.dumps(rows))
    return path


def test_it_compares_policies(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables.main([str(small), "random", "local", "--seeds", "2", "--at", "2", "9"])
    told = [row.split(" | ") for row in capsys.readouterr().out.splitlines() if row.startswith("|")]

    assert [row[0].lstrip("| ") for row in told] == ["policy", "---", "random", "local", "local, smoothed"]
    assert told[3][1:4] == told[4][1:4]  # one search, two ways to choose


def test_unknown_policies_are_told(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tables.main([str(small), "guess"])
    assert "no policy 'guess'" in capsys.readouterr().err


def test_a_pickle_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.pkl", tmp_path / "other.pkl"
    plain.write_bytes(pickle.dumps({str(edge): {"val_acc": [50.0], "model_size": [1.0]} for edge in range(5)}))
    other.write_bytes(pickle.dumps(print))

    assert tables.read(plain).mean((3,)) == 50
    with pytest.raises(pickle.UnpicklingError, match=r"asks for builtins\.print"):
        tables.read(other)


def published(name: str) -> tables.Table:
    """A table of the folder that NETMORPH_TABLES names."""
    path = Path(os.environ.get("NETMORPH_TABLES", "."), name)
    if not path.exists():
        pytest.skip(f"needs {name} in the folder that NETMORPH_TABLES names")
    return tables.read(path)


@pytest.mark.slow
def test_the_marks_on_blocks() -> None:
    table = published("nas-bench-macro_cifar10.json")
    row = tables.ROWS["surrogate-front"]
    runs = [tables.measured(table, row, seed, tables.AT)[0] for seed in range(20)]

    assert (np.mean(runs, axis=0)[:3] > [0.863, 0.942, 0.984]).all()


@pytest.mark.slow
def test_the_marks_on_cells() -> None:
    table = published("cifar100.pkl")
    ours, local = (
        np.mean([tables.measured(table, tables.ROWS[name], seed, tables.AT)[-1] for seed in range(20)], axis=0)
        for name in ("surrogate-best", "local")
    )
    assert (ours[3:] < local[3:]).all()
