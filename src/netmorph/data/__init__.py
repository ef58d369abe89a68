"""Data sets as uint8 images, in memory or streamed: load, split, cut into batches, preprocess whole batches."""

from netmorph.data.batches import augment, batches, normalize
from netmorph.data.dataset import DataError, Dataset, Part, Split
from netmorph.data.loading import load
from netmorph.data.named import NAMES
from netmorph.data.streaming import StreamedSplit, stream

__all__ = [
    "NAMES",
    "DataError",
    "Dataset",
    "Part",
    "Split",
    "StreamedSplit",
    "augment",
    "batches",
    "load",
    "normalize",
    "stream",
]
