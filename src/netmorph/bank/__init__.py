"""Layers cut loose from trained networks, waiting to be chained: cut, kept, attached."""

from netmorph.bank.attach import (
    attachable,
    can_attach,
    cost_of,
    fit_stitch,
    fits,
    refine_stitch,
    seen_at_home,
    stitch_for,
)
from netmorph.bank.cutting import Detached, Pieces, cut
from netmorph.bank.drawing import random_layer
from netmorph.bank.entry import Entry, Kind, Origin, Signature, Statistics
from netmorph.bank.errors import BankError, CannotAttach, CutError, EntryError
from netmorph.bank.program import Piece
from netmorph.bank.spec import Spec
from netmorph.bank.store import Added, Bank

__all__ = [
    "Added",
    "Bank",
    "BankError",
    "CannotAttach",
    "CutError",
    "Detached",
    "Entry",
    "EntryError",
    "Kind",
    "Origin",
    "Piece",
    "Pieces",
    "Signature",
    "Spec",
    "Statistics",
    "attachable",
    "can_attach",
    "cost_of",
    "cut",
    "fit_stitch",
    "fits",
    "random_layer",
    "refine_stitch",
    "seen_at_home",
    "stitch_for",
]
