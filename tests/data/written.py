"""Small data sets written to disk in each of the layouts."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def random_images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def jpeg(seed: int, height: int, width: int, mode: str = "RGB", tint: int = 0) -> bytes:
    """A picture with large and small structure; the tint makes one channel brighter."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 160, (4, 5, 3), dtype=np.uint8)).resize((width, height), 3)
    pixels = np.asarray(coarse).astype(int) + generator.integers(0, 15, (height, width, 3))
    pixels[..., tint] += 80
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_parquet(path: Path, images: list[bytes | None], labels: list[int | None]) -> None:
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    cells = [{"bytes": content, "path": None} for content in images]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(cells, struct), "label": pa.array(labels, pa.int64())})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
    return header + array.tobytes()


def write_idx(folder: Path, count: int = 40) -> np.ndarray:
    """`count` train and 10 test images of 5x4 pixels, two classes; returns the train images."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, number in (("train", count), ("t10k", 10)):
        images, labels = random_images(number, 5, 4), np.arange(number, dtype=np.uint8) % 2
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    return random_images(count, 5, 4)


def write_class_folders(root: Path, classes: tuple[str, ...], count: int, *shape: int) -> None:
    """`count` PNG images in a folder for each class."""
    for name in classes:
        (root / name).mkdir(parents=True)
        for number, pixels in enumerate(random_images(count, *shape)):
            (root / name / f"{number:02}.png").write_bytes(png(pixels))
