"""Data sets in memory or streamed: load, split, cut into batches, prepare whole batches."""

from netmorph.data.batching import augment, batches
from netmorph.data.dataset import DataError, Dataset, Part, Split, images_in_classes
from netmorph.data.loading import load
from netmorph.data.named import NAMES
from netmorph.data.preparation import Columns, Pixels, Preparation, Tokens, normalize
from netmorph.data.streaming import StreamedSplit, stream

__all__ = [
    "NAMES",
    "Columns",
    "DataError",
    "Dataset",
    "Part",
    "Pixels",
    "Preparation",
    "Split",
    "StreamedSplit",
    "Tokens",
    "augment",
    "batches",
    "images_in_classes",
    "load",
    "normalize",
    "stream",
]
