"""Weights that several networks share: a pool of segments, each network composed of some, trained together.

after an edit:   which entries are still those of the parent   (origins)
pool:            segments, and what each network is made of     (pool)
each step:       a network is drawn, and moves its segments     (training)
"""

from netmorph.sharing.files import PoolError
from netmorph.sharing.origins import Kept, Origins
from netmorph.sharing.pool import (
    Composition,
    Piece,
    Pool,
    Whole,
    assembled,
    born,
    founded,
    joined,
    of_these,
    shared,
    size,
)
from netmorph.sharing.training import Choose, Learnt, OneFailed, by_rank, train_together, uniform

__all__ = [
    "Choose",
    "Composition",
    "Kept",
    "Learnt",
    "OneFailed",
    "Origins",
    "Piece",
    "Pool",
    "PoolError",
    "Whole",
    "assembled",
    "born",
    "by_rank",
    "founded",
    "joined",
    "of_these",
    "shared",
    "size",
    "train_together",
    "uniform",
]
