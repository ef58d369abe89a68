import datetime

import numpy as np
import pytest
import torch

from netmorph.data import DataError
from netmorph.data.tables import Names, Numbers, read_table

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

HOUSES = """rooms,area,heated,quarter
3,70.5,true,north
2,,false,south
4,120,true,
"""


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def houses(tmp_path):
    return written(tmp_path / "houses.csv", HOUSES)


def test_a_csv_gives_numbers_and_names(houses):
    table = read_table(houses)
    assert list(table) == ["rooms", "area", "heated", "quarter"]
    assert isinstance(table["rooms"], Numbers)
    assert table["rooms"].values.tolist() == [3, 2, 4]
    assert [table[name].whole for name in ("rooms", "area", "heated")] == [True, False, True]
    assert table["area"].missing.tolist() == [False, True, False]
    assert table["heated"].values.tolist() == [1, 0, 1]
    assert isinstance(table["quarter"], Names)
    assert table["quarter"].names == ("north", "south")
    assert table["quarter"].codes.tolist() == [0, 1, -1]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators(tmp_path, separator):
    path = written(tmp_path / "houses.tsv", HOUSES.replace(",", separator))
    assert read_table(path)["rooms"].values.tolist() == [3, 2, 4]


def test_the_type_of_a_column_is_that_of_all_its_values(tmp_path):
    rows = ["1"] * 600_000 + ["2.5"]  # the last lies beyond the first megabyte
    values = read_table(written(tmp_path / "long.csv", "\n".join(["x", *rows])))["x"]
    assert not values.whole
    assert values.values[-1] == 2.5


def test_parquet_of_all_types(tmp_path):
    columns = {
        "whole": pyarrow.array([2**60, None], pyarrow.int64()),
        "money": pyarrow.array([1, 2], pyarrow.decimal128(5, 2)),
        "flag": [True, None],
        "word": pyarrow.array(["b", "a"], pyarrow.large_string()),
        "coded": pyarrow.array(["b", None]).dictionary_encode(),
        "nothing": pyarrow.nulls(2),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table["whole"].values[0] == 2**60
    assert table["whole"].missing.tolist() == table["flag"].missing.tolist() == [False, True]
    assert table["money"].values.tolist() == [1, 2]
    assert table["word"].names == ("b", "a")
    assert table["coded"].codes.tolist() == [0, -1]
    assert table["nothing"].missing.all()


def test_values_by_name():
    table = read_table({"a": [1, 2], "b": np.array([0.5, np.nan]), "c": torch.tensor([3.0, 4.0]), "d": ["x", None]})
    assert table["a"].values.tolist() == [1, 2]
    assert table["b"].missing.tolist() == table["d"].missing.tolist() == [False, True]
    assert table["c"].values.tolist() == [3, 4]


def test_columns_are_chosen(houses):
    assert list(read_table(houses, ignore=["area", "quarter"])) == ["rooms", "heated"]
    assert list(read_table(houses, only=["quarter"])) == ["quarter"]
    assert read_table(houses, texts=["rooms"])["rooms"].names == ("3", "2", "4")


def test_columns_that_are_left_out_may_hold_anything():
    rows = {"a": [1], "when": [datetime.date(2020, 1, 1)]}
    assert list(read_table(rows, ignore=["when"])) == ["a"]


def test_files_without_a_table(tmp_path):
    with pytest.raises(DataError, match=r"empty.csv cannot be read: Empty CSV file; expected a .csv with a"):
        read_table(written(tmp_path / "empty.csv", ""))
    with pytest.raises(DataError, match="has no rows"):
        read_table(written(tmp_path / "names.csv", "a,b\n"))
    with pytest.raises(DataError, match=r"ragged.csv cannot be read: .*Expected 2 columns, got 3"):
        read_table(written(tmp_path / "ragged.csv", "a,b\n1,2,3\n"))
    with pytest.raises(DataError, match=r"no.parquet cannot be read"):
        read_table(written(tmp_path / "no.parquet", "a,b\n1,2\n"))
    with pytest.raises(DataError, match="the table cannot be read"):
        read_table({"a": [1, 2], "b": [1]})


def test_columns_of_the_same_name(tmp_path):
    with pytest.raises(DataError, match="more than one column named 'a'; rename"):
        read_table(written(tmp_path / "twice.csv", "a,b,a\n1,2,3\n"))


def test_columns_that_are_not_there(houses):
    expected = r"no column 'are' .did you mean 'area'.*; the table has 'rooms', 'area'"
    for wrong in ({"ignore": ["are"]}, {"only": ["area", "are"]}):
        with pytest.raises(DataError, match=expected):
            read_table(houses, **wrong)


def test_columns_of_other_types(tmp_path):
    with pytest.raises(DataError, match=r"the column 'when' is of type date32.*days since a date.*ignore=\['when'\]"):
        read_table(written(tmp_path / "dates.csv", "when,x\n2020-01-01,1\n"))
    with pytest.raises(DataError, match="the column 'where' is of type binary: bytes that are no text in UTF-8"):
        read_table(written(tmp_path / "latin.csv", "where,x\nMünchen,1\n", "latin-1"))
    with pytest.raises(DataError, match=r"the column 'list' is of type list<.*neither numbers nor strings"):
        read_table({"list": [[1], [2]]})


def test_names_and_values_that_no_table_has(tmp_path):
    (tmp_path / "latin.csv").write_bytes("é,y\n1,2\n".encode("latin-1"))
    for rows in (
        tmp_path / "latin.csv",
        {"a": 1},
        {"a": [10**30]},
        {"a": torch.ones(1, dtype=torch.bfloat16)},
        [["a"]],
    ):
        with pytest.raises(DataError, match=r"cannot be read: .*; expected a \.csv with a line of names"):
            read_table(rows)
    (tmp_path / "rows.txt").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"is no table by its name; expected a file that ends in \.csv"):
        read_table(tmp_path / "rows.txt")
