"""The benchmark of streaming: what it writes, reads and tells."""

from pathlib import Path

import pytest
import torch

from benchmarks import streaming
from benchmarks.streaming import CLASSES, PlainFolder, Speed, measure, report, streamed_epochs, write_images


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {"IMAGES": 8, "PICTURES": 2, "HEIGHT": 30, "WIDTH": 40, "BATCH": 4, "EPOCHS": 1}.items():
        monkeypatch.setattr(streaming, name, value)
    write_images(tmp_path / "images")
    return tmp_path / "images"


def test_both_ways_read_the_same_kind_of_images(root: Path, tmp_path: Path) -> None:
    plain = PlainFolder(root, 16)
    assert len(plain) == 8
    image, label = plain[7]
    assert (image.shape, image.dtype, label) == ((3, 16, 16), torch.float32, CLASSES - 1)
    [epoch] = streamed_epochs(root, 16, tmp_path / "cache", 0, None)
    images, labels = zip(*epoch, strict=True)
    assert torch.cat(labels).sort().values.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (images[0].shape, images[0].dtype) == ((4, 3, 16, 16), torch.float32)


def test_the_first_batch_stands_apart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([10.0, 12.0, 16.0])
    monkeypatch.setattr(streaming, "perf_counter", lambda: next(clock))
    speed = measure((torch.zeros(4, 1), torch.zeros(4)) for _ in range(3))
    assert speed == Speed(first=2.0, rate=2.0)
    report("stream", [speed], [Speed(1.0, 4.0)])
    assert capsys.readouterr().out.split() == ["stream", "2", "(0.50x)", "2.00", "s"]
