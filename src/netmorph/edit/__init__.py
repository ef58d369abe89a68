"""Edits as values: build them, apply them (the only mutation), carry optimizer state, keep the journal."""

from netmorph.edit.apply import apply
from netmorph.edit.channel_map import (
    WIDENINGS,
    ChannelMap,
    Widening,
    WidthError,
    keep,
    net2net,
    r2r,
    random_pad,
    unequal_split,
    zero,
)
from netmorph.edit.depth import DEEPENINGS, DeepenEdit, ShallowEdit, identity, places, residual, shallow
from netmorph.edit.journal import Base, Entry, Journal, LoadError, load, rebuild, save
from netmorph.edit.plan import Edit, EditError, Plan
from netmorph.edit.width import WidthEdit, narrow, widen

__all__ = [
    "DEEPENINGS",
    "WIDENINGS",
    "Base",
    "ChannelMap",
    "DeepenEdit",
    "Edit",
    "EditError",
    "Entry",
    "Journal",
    "LoadError",
    "Plan",
    "ShallowEdit",
    "Widening",
    "WidthEdit",
    "WidthError",
    "apply",
    "identity",
    "keep",
    "load",
    "narrow",
    "net2net",
    "places",
    "r2r",
    "random_pad",
    "rebuild",
    "residual",
    "save",
    "shallow",
    "unequal_split",
    "widen",
    "zero",
]
