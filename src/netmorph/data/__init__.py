"""Data sets in memory or streamed: load, split, cut into batches, prepare whole batches."""

from netmorph.data.arrays import tensors
from netmorph.data.batching import augment, batches
from netmorph.data.columns import TableEncoder
from netmorph.data.dataset import DataError, Dataset, Encoder, Part, Split, images_in_classes
from netmorph.data.loading import load
from netmorph.data.named import NAMES
from netmorph.data.preparation import Columns, Pixels, Preparation, Tokens, normalize
from netmorph.data.streaming import StreamedSplit, stream
from netmorph.data.text import Windows
from netmorph.data.vocabulary import Bytes, Characters, Vocabulary

__all__ = [
    "NAMES",
    "Bytes",
    "Characters",
    "Columns",
    "DataError",
    "Dataset",
    "Encoder",
    "Part",
    "Pixels",
    "Preparation",
    "Split",
    "StreamedSplit",
    "TableEncoder",
    "Tokens",
    "Vocabulary",
    "Windows",
    "augment",
    "batches",
    "images_in_classes",
    "load",
    "normalize",
    "stream",
    "tensors",
]
