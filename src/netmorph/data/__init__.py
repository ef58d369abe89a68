"""Data sets as uint8 tensors in memory: load, split, cut into batches, preprocess whole batches."""

from netmorph.data.batches import augment, batches, normalize
from netmorph.data.dataset import DataError, Dataset, Part, Split
from netmorph.data.loading import load
from netmorph.data.named import NAMES

__all__ = ["NAMES", "DataError", "Dataset", "Part", "Split", "augment", "batches", "load", "normalize"]
