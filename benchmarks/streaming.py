"""Images per second from a folder of JPEGs: `stream` beside a plain DataLoader that decodes each image in every epoch.

Both read with the same number of workers, give the same kind of batches (random resized crops, float32, normalized),
and do nothing else with them. The time to the first batch, in which workers are started, stands apart.

    python -m benchmarks.streaming                                  # JPEGs that it makes, as large as ImageNet's
    python -m benchmarks.streaming --data FOLDER --size 64          # train/ of a folder in ImageNet's layout
"""

import argparse
import io
import os
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapDataset

from netmorph.data import batches, normalize, stream
from netmorph.data.crops import random_crop

CLASSES = 4
IMAGES = 3072  # in all
PICTURES = 32  # different ones
HEIGHT, WIDTH = 375, 500
SIZE = 224
BATCH = 64
EPOCHS = 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        mean_bytes = write_images(Path(folder) / "images")
        print(f"{IMAGES} JPEGs of {WIDTH}x{HEIGHT}, {mean_bytes / 1000:.0f} kB each")
        compare(Path(folder) / "images", SIZE)


def compare(root: Path, size: int) -> None:
    """Print images per second of each way to read a folder's train images.

    Args:
        root: in ImageNet's layout.
        size: height and width of the crops.
    """
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    cores = os.cpu_count() or 1
    print(
        f"torch {torch.__version__}, {cores} cores; to crops of {size}x{size}; images per second (ratio to the plain "
        "loader's same epoch)"
    )
    print(f"{'':<34}" + "".join(f"{f'epoch {epoch + 1}':>18}" for epoch in range(EPOCHS)) + f"{'first batch':>14}")
    with tempfile.TemporaryDirectory() as cache:
        for workers in sorted({0, cores}):
            plain = plain_loader(root, size, workers)
            streamed = streamed_epochs(root, size, Path(cache, str(workers)), workers, None)
            uncached = streamed_epochs(root, size, Path(cache, str(workers)), workers, 0)
            baseline = [measure(plain) for _ in range(EPOCHS)]
            report(f"plain DataLoader, {workers} workers", baseline, baseline)
            report(f"stream, {workers} workers", [measure(epoch) for epoch in streamed], baseline)
            report(f"stream, {workers} workers, no cache", [measure(epoch) for epoch in uncached], baseline)


@dataclass(frozen=True)
class Speed:
    """Seconds to the first batch of an epoch, and images a second from there on."""

    first: float
    rate: float


def report(name: str, speeds: list[Speed], baseline: list[Speed]) -> None:
    pairs = zip(speeds, baseline, strict=True)
    cells = [f"{speed.rate:>10.0f} ({speed.rate / base.rate:4.2f}x)" for speed, base in pairs]
    print(f"{name:<34}" + "".join(f"{cell:>18}" for cell in cells) + f"{speeds[0].first:>12.2f} s", flush=True)


def measure(epoch: Iterable[tuple[Tensor, Tensor]]) -> Speed:
    started = perf_counter()
    rest = iter(epoch)
    next(rest)
    first = perf_counter()
    count = sum(len(labels) for _, labels in rest)
    return Speed(first - started, count / (perf_counter() - first))


def streamed_epochs(
    root: Path, size: int, cache: Path, workers: int, cache_limit: int | None
) -> Iterable[Iterable[tuple[Tensor, Tensor]]]:
    dataset = stream(
        root, size=size, mean=MEAN, std=STD, validation=0, workers=workers, cache=cache, cache_limit=cache_limit
    )
    dataset.train.head(1)
    for epoch in range(EPOCHS):
        shuffled = batches(dataset.train, BATCH, generator=torch.Generator().manual_seed(epoch))
        yield ((normalize(images, MEAN, STD), labels) for images, labels in shuffled)


class PlainFolder(MapDataset[tuple[Tensor, int]]):
    """What tutorials do: decode, crop and convert one image after another."""

    def __init__(self, root: Path, size: int) -> None:
        self.size = size
        self.paths = sorted((root / "train").glob("*/*.JPEG"))
        self.labels = {name: label for label, name in enumerate(sorted({path.parent.name for path in self.paths}))}
        self.generator = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB")
        top, left, height, width = random_crop((image.height, image.width), self.generator)
        box = (left, top, left + width, top + height)
        cropped = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        scaled = torch.from_numpy(np.array(cropped)).permute(2, 0, 1).contiguous().float().div_(255)
        normalized = scaled.sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1))
        return normalized, self.labels[self.paths[index].parent.name]


def plain_loader(root: Path, size: int, workers: int) -> DataLoader[tuple[Tensor, int]]:
    return DataLoader(PlainFolder(root, size), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def write_images(root: Path) -> float:
    """Pictures with the noise and detail that make JPEGs as large as ImageNet's; returns the mean size in bytes."""
    generator = np.random.default_rng(0)
    contents = []
    for _ in range(PICTURES):
        coarse = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(int)
        pixels += generator.integers(-20, 21, pixels.shape)
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        contents.append(file.getvalue())
    for part, count in (("train", IMAGES), ("val", CLASSES), ("test", CLASSES)):
        for label in range(CLASSES):
            (root / part / str(label)).mkdir(parents=True)
        for number in range(count):
            (root / part / str(number % CLASSES) / f"{number}.JPEG").write_bytes(contents[number % PICTURES])
    return sum(map(len, contents)) / PICTURES


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--size", type=int, default=SIZE)
    given = parser.parse_args()
    if given.data is None:
        main()
    else:
        compare(given.data, given.size)
