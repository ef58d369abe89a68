"""Shrink trained networks: to the rank that they use, or to a share of what they cost; and let them find their size."""

from netmorph.shrink.progress import Round, network_file, read_rounds
from netmorph.shrink.ranks import (
    SPECTRA,
    GroupSpectrum,
    ShrinkError,
    Wanted,
    Widths,
    activations,
    by_rank,
    explaining,
    to_cost,
    weights,
)
from netmorph.shrink.rebuilding import Rebuild, cut, fresh, kept
from netmorph.shrink.rounds import Recipes, Shrunk, lowering, shrink

__all__ = [
    "SPECTRA",
    "GroupSpectrum",
    "Rebuild",
    "Recipes",
    "Round",
    "ShrinkError",
    "Shrunk",
    "Wanted",
    "Widths",
    "activations",
    "by_rank",
    "cut",
    "explaining",
    "fresh",
    "kept",
    "lowering",
    "network_file",
    "read_rounds",
    "shrink",
    "to_cost",
    "weights",
]
