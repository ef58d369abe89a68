"""Write a data set of parquet files as ImageNet is unpacked, to try commands for ImageNet on.

    python -m benchmarks.imagenet_layout path/to/tiny_imagenet_32 FOLDER --classes 20 --images 500

FOLDER/train/<class>/*.JPEG, FOLDER/val/*.JPEG, and FOLDER/val.txt with lines `IMAGE CLASS`. The bytes are copied.
A data set of one part (imagenet_samples) is written to both: what is validated on it was trained on.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as parquet

ENDING = ".JPEG"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, help="so many, evenly over their names; all if not given")
    parser.add_argument("--images", type=int, help="at most so many train images a class")
    given = parser.parse_args()
    print(write_layout(given.source, given.folder, given.classes, given.images))


def write_layout(source: Path, folder: Path, classes: int | None, images: int | None) -> str:
    """Write the layout; returns a line that tells how many images it has."""
    train = sorted(source.glob("train*.parquet")) or sorted(source.glob("*.parquet"))
    held = sorted(source.glob("val*.parquet")) or train
    names = names_of(train[0])
    kept = {names[len(names) * number // (classes or len(names))] for number in range(classes or len(names))}
    seen: Counter[str] = Counter()
    for name, content in rows(train, names, kept):
        if images is None or seen[name] < images:
            path = folder / "train" / name / f"{name}_{seen[name]}{ENDING}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            seen[name] += 1
    (folder / "val").mkdir(exist_ok=True)
    lines = []
    for number, (name, content) in enumerate(rows(held, names, kept), 1):
        image = f"ILSVRC2012_val_{number:08}{ENDING}"
        (folder / "val" / image).write_bytes(content)
        lines.append(f"{image} {name}\n")
    (folder / "val.txt").write_text("".join(lines))
    return f"{folder}: {len(seen)} classes, {seen.total()} train images, {len(lines)} to validate"


def names_of(path: Path) -> list[str]:
    told = json.loads(parquet.read_schema(path).metadata[b"huggingface"])
    names: list[str] = told["info"]["features"]["label"]["names"]
    return names


def rows(paths: list[Path], names: list[str], kept: set[str]) -> Iterator[tuple[str, bytes]]:
    """The class and the content of each image of these classes."""
    for path in paths:
        for batch in parquet.ParquetFile(path).iter_batches(1024, columns=["image", "label"]):
            for image, label in zip(batch.column("image").to_pylist(), batch.column("label").to_pylist(), strict=True):
                if names[label] in kept:
                    yield names[label], image["bytes"]


if __name__ == "__main__":
    main()
