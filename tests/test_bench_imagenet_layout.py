import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.imagenet_layout import write_layout
from benchmarks.recognize import recognized
from netmorph.data import stream
from tests.data.written import jpeg, write_parquet
from tests.program import Program


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
    told = recognized(always_dog(), tmp_path / "layout", 16)
    assert told.startswith("2 of 4 images recognized (50.0%) in ")


def always_dog() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([0.0, 1.0]))
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:of the first images that were read, .* are grey")  # true, and no fault
def test_tiny_imagenet_in_imagenets_layout_is_trained_on(
    real_data: Callable[[str], Path], netmorph: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = write_layout(real_data("tiny_imagenet_32"), tmp_path / "layout", 2, None)
    assert told.endswith("2 classes, 1000 train images, 100 to validate")
    options = "--model inception_resnet_small --option width=0.25 --resize 32x32 --epochs 1 --threads 1 --output run"
    done = netmorph("train", "--stream", "layout", *options.split())
    assert done.code == 0, done.err
    accuracy = json.loads(netmorph("show", "run", "--json").out)["best"]["test_accuracy"]
    assert accuracy * 100 == pytest.approx(round(accuracy * 100)), "a share of the 100 images; an epoch teaches little"
