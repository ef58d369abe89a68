import json
from dataclasses import asdict

import pytest
import torch

from netmorph.data import DataError
from netmorph.data.columns import CATEGORIES, Category, Quantity, learn
from netmorph.data.tables import read_table

pytest.importorskip("pyarrow")
NAN = float("nan")


def learnt(columns, rows=None, missing="refuse"):
    table = read_table(columns)
    count = len(next(iter(columns.values())))
    return learn(table, torch.arange(count) if rows is None else torch.tensor(rows), missing), table


def test_categories_become_a_feature_each():
    encoder, table = learnt({"size": [1.5, 2.5, 3.5, 4.5], "colour": ["red", "blue", None, "red"]})
    assert encoder.features == ("size", "colour=blue", "colour=red", "colour is missing")
    assert encoder.features_of(table).tolist() == [[1.5, 0, 1, 0], [2.5, 1, 0, 0], [3.5, 0, 0, 1], [4.5, 0, 1, 0]]


def test_it_is_learnt_on_the_given_rows_alone():
    encoder, table = learnt({"colour": ["red", "blue", "green", None]}, rows=[0, 1])
    assert encoder.features == ("colour=blue", "colour=red")
    assert encoder.features_of(table).tolist() == [[0, 1], [1, 0], [0, 0], [0, 0]]


def test_missing_numbers_are_refused_by_name():
    with pytest.raises(DataError, match=r"missing in 'a' \(2 of 4 rows\), 'b' \(1 of 4 rows\).*missing='mean'"):
        learnt({"a": [1.0, NAN, NAN, 2.0], "b": [1, 2, 3, None], "c": ["x", "y", None, "x"]})


def test_the_mean_of_the_train_rows_stands_for_missing_numbers():
    encoder, table = learnt({"a": [1.0, 3.0, NAN, 100.0, NAN], "b": [1, 2, 3, 4, None]}, rows=[0, 1, 2], missing="mean")
    assert encoder.features == ("a", "a is missing", "b")
    assert encoder.features_of(table).tolist() == [[1, 0, 1], [3, 0, 2], [2, 1, 3], [100, 0, 4], [2, 1, 2]]


def test_columns_that_do_not_vary_are_left_out():
    columns = {"same": [1, 1, 2], "word": ["a", "a", "b"], "nothing": [None, None, None], "x": [1, 2, 3]}
    encoder, _ = learnt(columns, rows=[0, 1], missing="mean")
    assert encoder.features == ("x",)
    with pytest.raises(DataError, match="no column beside the target varies in the train rows, of 'same'; add columns"):
        learnt({"same": [1, 1, 1]})
    with pytest.raises(DataError, match="of none; add"):
        learn({}, torch.arange(2), "refuse")


def test_a_column_that_is_sometimes_missing_tells_that():
    encoder, _ = learnt({"same": [1, 1, None], "word": ["a", None, "a"]}, missing="mean")
    assert encoder.features == ("same", "same is missing", "word=a", "word is missing")


def test_infinite_numbers():
    encoder, _ = learnt({"a": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"the column 'a' has 2 of 3 values that are infinite"):
        encoder.encode({"a": [1.0, float("inf"), 1e300]})


def test_names_and_texts_are_no_categories():
    names = {"name": [f"person {number}" for number in range(CATEGORIES + 1)]}
    with pytest.raises(DataError, match=r"'name' has 101 different strings in 101 rows.*ignore=\['name'\]"):
        learnt(names)


def test_new_rows(tmp_path):
    encoder, _ = learnt({"zip": ["012", "A1"], "size": [1.0, 2.0]})
    path = tmp_path / "new.csv"
    path.write_text("when,size,zip\n2020-01-01,7,012\n2020-01-02,8,13\n")  # zip alone would be read as numbers
    assert encoder.encode(path).tolist() == [[1, 0, 7], [0, 0, 8]]
    assert encoder.encode({"size": [3], "zip": ["A1"]}).tolist() == [[0, 1, 3]]
    assert encoder.encode({"size": [3], "zip": [None]}).tolist() == [[0, 0, 3]]


def test_new_rows_that_do_not_fit():
    encoder, _ = learnt({"colour": ["red", "blue"], "size": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"no column 'colour' .did you mean 'color'.*; the table has 'color', 'size'"):
        encoder.encode({"color": ["red"], "size": [1.0]})
    with pytest.raises(DataError, match="'colour' must hold strings like 'blue', got numbers"):
        encoder.encode({"colour": [1], "size": [1.0]})
    with pytest.raises(DataError, match="'size' must hold numbers, got 'big'"):
        encoder.encode({"colour": ["red"], "size": ["big"]})
    with pytest.raises(DataError, match=r"missing in 'size' \(1 of 2 rows\)"):
        encoder.encode({"colour": ["red", "red"], "size": [1.0, None]})


def test_an_encoder_is_plain_values():
    encoder, _ = learnt({"colour": ["red", None], "size": [1.0, None]}, missing="mean")
    told = json.loads(json.dumps(encoder.describe()))
    assert told["kind"] == "table"
    assert [set(column) for column in told["columns"]] == [{"name", "values"}, {"name", "stand_in", "told"}]
    assert asdict(encoder.columns[0]) == {"name": "colour", "values": ("red", None)}
    assert encoder.columns == (Category("colour", ("red", None)), Quantity("size", 1.0, told=True))
