"""`stream`: data sets larger than memory, whose images are read from disk by worker processes as they are needed."""

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from netmorph.cores import own_cores
from netmorph.data import huggingface
from netmorph.data.cache import user_cache
from netmorph.data.crops import default_short_side
from netmorph.data.dataset import DataError, Dataset, images_in_classes
from netmorph.data.encoded import Listing, list_files
from netmorph.data.image_cache import ImageCache, room_for
from netmorph.data.images import ImageSize, check_size, grey_among
from netmorph.data.named import existing_folder
from netmorph.data.preparation import Pixels
from netmorph.data.reading import Reader, Request, Workers
from netmorph.data.source import check_labels
from netmorph.data.splitting import check_fraction, split_parts
from netmorph.errors import require

# Images that a worker reads at a time: what is read ahead stays small however large a batch is.
CHUNK = 64
# Train images that mean and standard deviation are taken from.
SAMPLE = 256


def stream(
    source: str | Path,
    *,
    size: int | ImageSize,
    seed: int = 0,
    validation: float = 0.15,
    train_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    short_side: int | None = None,
    workers: int | None = None,
    cache: Path | None = None,
    cache_limit: int | None = None,
) -> Dataset:
    """Open a data set whose images stay on disk until they are needed; only names and labels are in memory.

    Every image is read in colour and shrunk to a short side; from there training takes a random crop (an eighth
    to all of its area) and everything else the middle, both resized to `size`. The shrunk image is kept on disk,
    so that later epochs decode nothing.

    Args:
        source: a folder of images in ImageNet's layout (train/<class>/*.JPEG, val/<class>/*.JPEG) or with class
            folders alone, one that the `datasets` library saved, or one of parquet files.
        size: height and width of the images that a network sees; one number for both.
        seed: of the splits, as for `load`.
        validation: fraction of the train images held out, class by class, where the data brings no validation
            part or no test part: a val/ without a test/ is the test part, which published figures of ImageNet
            are measured on. Data with neither holds a fifth of the train images out for test, like `load`.
        train_size: keep so many train images, evenly over the classes.
        mean: of each channel, pixels in 0..1; None measures it on 256 train images.
        std: likewise.
        short_side: in pixels, of the shrunk images; 8/7 of the longer side of `size` by default (256 for 224).
        workers: processes that read, started at the first epoch and kept; 0 reads in this one, None is one a
            core (of those that `torchrun` leaves this process).
        cache: folder for the shrunk images, `$XDG_CACHE_HOME/netmorph/streams` by default.
        cache_limit: bytes they may take on the disk; 0 keeps none, None is half of what is free. What has no room
            is decoded in every epoch; it gives the same pixels.

    Raises:
        DataError: the data cannot be found, read or split as asked. An image that cannot be decoded is found when
            it is read.
        MissingExtra: a package that reads this data is not installed.
    """
    size = (size, size) if isinstance(size, int) else size
    check_fraction(validation)
    check_size(size)
    _check_request(mean, std, short_side, workers, cache_limit)
    short_side = short_side or default_short_side(size)
    require("PIL.Image", "data")
    folder = existing_folder(source).resolve()
    cache = cache or user_cache() / "streams"
    listing = huggingface.list_rows(folder, cache) if huggingface.matches(folder) else list_files(folder)
    labels = {part: listing.labels[rows] for part, rows in listing.rows.items()}
    check_labels(labels, listing.classes, folder)
    fingerprint = _fingerprint(listing, size, short_side)
    name = f"{folder.name}-{_hash(f'{folder} {short_side}')[:16]}.images"
    decoded = None if cache_limit == 0 else _open_cache(cache / name, listing.state, short_side, cache_limit)
    reader = Reader(listing.images, decoded, size, short_side)
    pool = Workers(reader, own_cores() if workers is None else workers)
    parts = {part: StreamedSplit(rows, labels[part], pool) for part, rows in listing.rows.items()}
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    train, held_out, test = split_parts(parts, listing.classes, seed, validation, train_size)
    if mean is None or std is None:
        spread = torch.linspace(0, len(train) - 1, min(SAMPLE, len(train))).long()
        seen = train.select(spread).head(SAMPLE)
        grey = int((seen == seen[:, :1]).flatten(1).all(1).sum())
        if 0 < grey < len(seen):
            warnings.warn(f"of the first images that were read, {grey_among(grey, len(seen))}", stacklevel=2)
        pixels = Pixels.measured(seen)
    else:
        pixels = Pixels(tuple(mean), tuple(std))
    return images_in_classes(folder.name, (train, held_out, test), listing.classes, pixels, fingerprint)


@dataclass(frozen=True, eq=False)
class StreamedSplit:
    """Labelled images on disk: a `Part`.

    Attributes:
        rows: int64 [N], of the images in the listing.
        targets: int64 [N], indices into the data set's classes.
        workers: read the images.
    """

    rows: Tensor
    targets: Tensor
    workers: Workers = field(repr=False)

    def __len__(self) -> int:
        return len(self.targets)

    def head(self, count: int) -> Tensor:
        """The first images, uint8 [count, 3, H, W], cropped in the middle, read in this process.

        Raises:
            DataError: an image cannot be read.
        """
        return _joined(self.workers.read(_requests(self.rows[:count], CHUNK, None), here=True))

    def cut(
        self, batch_size: int, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in the asked order; a crop depends on nothing but the seed and the image. See `Part`.

        Raises:
            DataError: an image cannot be read; it names the file.
        """
        chosen = torch.arange(len(self)) if order is None else order.cpu()
        images = self.workers.read(_requests(self.rows[chosen], batch_size, seed))
        for labels in self.targets[chosen].split(batch_size):
            yield _joined(islice(images, max(1, math.ceil(len(labels) / CHUNK)))), labels

    def digest(self) -> str:
        """SHA-256 of the rows and labels; `Dataset.fingerprint` stands for the images."""
        return hashlib.sha256(self.rows.numpy().tobytes() + self.targets.numpy().tobytes()).hexdigest()

    def select(self, indices: Tensor) -> "StreamedSplit":
        """The images and labels at `indices` (int64 [M]), in that order."""
        return replace(self, rows=self.rows[indices], targets=self.targets[indices])


def _requests(rows: Tensor, batch_size: int, seed: int | None) -> Iterator[Request]:
    for batch in rows.split(batch_size):
        for chunk in batch.split(CHUNK):
            yield Request(chunk.tolist(), seed)


def _joined(chunks: Iterator[Tensor]) -> Tensor:
    first, *more = chunks
    return torch.cat([first, *more]) if more else first


def _open_cache(path: Path, state: str, short_side: int, limit: int | None) -> ImageCache | None:
    try:
        return ImageCache(path, state, short_side, room_for(path) if limit is None else limit)
    except OSError as error:
        warnings.warn(f"images are decoded in every epoch: {path} cannot be written: {error}", stacklevel=3)
        return None


def _fingerprint(listing: Listing, size: ImageSize, short_side: int) -> str:
    # Not of the pixels, which would have to be read: of names, sizes and times, and of how they are resized.
    digest = hashlib.sha256(f"{listing.state} {listing.classes} {size} {short_side}".encode())
    digest.update(listing.labels.numpy().data)
    return digest.hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_request(
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    short_side: int | None,
    workers: int | None,
    cache_limit: int | None,
) -> None:
    given = [values for values in (mean, std) if values is not None]
    if len(given) == 1 or any(isinstance(values, float | int) or len(values) != 3 for values in given):
        raise DataError(f"mean and std must be three numbers each, or both None; got {mean} and {std}")
    if short_side is not None and short_side < 1:
        raise DataError(f"short_side must be at least 1 pixel, got {short_side}")
    if workers is not None and workers < 0:
        raise DataError(f"workers must be 0 or more, got {workers}")
    if cache_limit is not None and cache_limit < 0:
        raise DataError(f"cache_limit must be 0 or more bytes, got {cache_limit}")
