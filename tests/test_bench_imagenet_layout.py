from pathlib import Path

from benchmarks.imagenet_layout import write_layout
from netmorph.data import stream
from tests.data.written import jpeg, write_parquet


def test_parquet_files_become_imagenets_layout(tmp_path: Path) -> None:
    images = [jpeg(number, 20, 20) for number in range(12)]
    labels = [number % 2 for number in range(12)]
    (tmp_path / "source").mkdir()
    write_parquet(tmp_path / "source" / "train-0.parquet", images[:8], labels[:8])
    write_parquet(tmp_path / "source" / "validation-0.parquet", images[8:], labels[8:])
    told = write_layout(tmp_path / "source", tmp_path / "layout", None, 3)
    assert told.endswith("2 classes, 6 train images, 4 to validate")
    dataset = stream(tmp_path / "layout", size=16, workers=0, cache=tmp_path / "c", validation=0)
    assert dataset.classes == ("cat", "dog")
    assert (dataset.train.targets.tolist(), dataset.test.targets.tolist()) == ([0, 0, 0, 1, 1, 1], [0, 1, 0, 1])
