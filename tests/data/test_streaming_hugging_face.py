import json
import pickle
import shutil
import sys

import numpy as np
import pytest
import torch
from written import jpeg, write_parquet

from netmorph.data import DataError, stream
from netmorph.errors import MissingExtra

datasets = pytest.importorskip("datasets")

CLASSES = ["cat", "dog"]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


def table(start: int, count: int, column: str = "image"):
    images = [{"bytes": jpeg(start + row, 50, 60), "path": None} for row in range(count)]
    features = datasets.Features({column: datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    columns = {column: images, "label": [row % 2 for row in range(count)]}
    return datasets.Dataset.from_dict(columns, features=features)


def opened(folder, cache, **options):
    return stream(folder, **{"size": 16, "workers": 0, "cache": cache, **options})


def contents(part):
    reader = part.workers._reader._images
    return [reader.read(row) for row in part.rows.tolist()]


@pytest.fixture
def saved(tmp_path):
    parts = {"train": table(0, 8), "validation": table(100, 4), "test": table(200, 6)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_what_save_to_disk_wrote(saved, tmp_path):
    dataset = opened(saved, tmp_path / "c")
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.targets.tolist() == [0, 1] * 4
    assert contents(dataset.train) == [jpeg(row, 50, 60) for row in range(8)]
    assert contents(dataset.validation) == [jpeg(100 + row, 50, 60) for row in range(4)]
    assert contents(dataset.test) == [jpeg(200 + row, 50, 60) for row in range(6)]
    copy = pickle.loads(pickle.dumps(dataset.train))  # as a worker gets it
    assert torch.equal(copy.head(8), opened(saved, tmp_path / "d", cache_limit=0).train.head(8))


def test_a_single_table_is_split(tmp_path):
    table(0, 20, "picture").save_to_disk(tmp_path / "saved")
    dataset = opened(tmp_path / "saved", tmp_path / "c")
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [14, 2, 4]


def test_parquet_with_and_without_the_librarys_own_schema(tmp_path):
    (tmp_path / "theirs").mkdir()
    table(0, 8).to_parquet(tmp_path / "theirs" / "train-00000-of-00001.parquet")
    (tmp_path / "plain").mkdir()
    images, labels = [jpeg(row, 50, 60) for row in range(8)], [0, 1] * 4
    write_parquet(tmp_path / "plain" / "train-0.parquet", images, labels)
    for folder in ("theirs", "plain"):
        dataset = opened(tmp_path / folder, tmp_path / "c", validation=0)
        assert dataset.classes == ("cat", "dog")
        rows = torch.cat([dataset.train.rows, dataset.test.rows]).argsort()
        found = contents(dataset.train) + contents(dataset.test)
        assert [found[row] for row in rows] == images


def test_a_corrupt_image_is_named_by_its_row(tmp_path):
    rows = [{"bytes": jpeg(row, 50, 60), "path": None} for row in range(8)]
    rows[5]["bytes"] = rows[5]["bytes"][:300]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    parts = {"train": table(0, 4), "test": datasets.Dataset.from_dict({"image": rows, "label": [0, 1] * 4}, features)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    dataset = opened(tmp_path / "saved", tmp_path / "c", validation=0)
    with pytest.raises(DataError, match=r"^cannot decode .*saved test row 5: .*replace or remove"):
        dataset.test.head(8)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, 1]}, "needs a column 'image'; it has label"),
        ({"image": [None, None]}, "needs a column 'label' of integers; it has image"),
        ({"image": [None, None], "label": [0, None]}, "needs integers in column 'label'"),
        ({"image": [None, None], "label": [0, -1]}, "train labels run from -1 to 0"),
        ({"image": [None, None], "label": [0, 0]}, "every train image is of class '0'"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, columns, message):
    rows = datasets.Dataset.from_dict(columns)
    if "image" in columns:
        rows = rows.cast_column("image", datasets.Image())
    rows.save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "saved", tmp_path / "c")


def test_a_row_without_an_image(tmp_path):
    rows = datasets.Dataset.from_dict({"image": [None] * 4, "label": [0, 1] * 2}).cast_column("image", datasets.Image())
    rows.save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=r"train row \d has no image bytes; remove the row, or embed"):
        opened(tmp_path / "saved", tmp_path / "c", validation=0)


def test_no_train_part(saved, tmp_path):
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": ["test"]}))
    with pytest.raises(DataError, match="has no train part; its parts are test"):
        opened(saved, tmp_path / "c")


def test_damaged_data(saved, tmp_path):
    path = next((saved / "train").glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be opened"):
        opened(saved, tmp_path / "c")
    shutil.rmtree(saved)
    saved.mkdir()
    (saved / "train-0.parquet").write_bytes(np.arange(100).tobytes())
    with pytest.raises(DataError, match="cannot be opened"):
        opened(saved, tmp_path / "c")


def test_the_extra_is_missing(saved, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"netmorph\[huggingface\]"):
        opened(saved, tmp_path / "c")
