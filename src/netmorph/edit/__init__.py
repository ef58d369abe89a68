"""Edits as values: build them, apply them (the only mutation), carry optimizer state, keep the journal."""

from netmorph.edit.apply import apply
from netmorph.edit.depth import DEEPENINGS, DeepenEdit, identity, places, residual
from netmorph.edit.depth_by_copies import copy_block, stack
from netmorph.edit.entries import new_entries
from netmorph.edit.journal import Base, LoadError, load, rebuild, save
from netmorph.edit.plan import Edit, Plan
from netmorph.edit.rank import (
    FACTORINGS,
    Factoring,
    FactorizeEdit,
    MergeEdit,
    factorize,
    kernel_first,
    merge,
    pointwise_first,
)
from netmorph.edit.reconstruct import recalibrate, reconstruct
from netmorph.edit.shallow import ShallowEdit, linearize, shallow
from netmorph.edit.undo import forget, undo
from netmorph.edit.width import WidthEdit, narrow, narrow_all, widen, widen_all
from netmorph.edit.width_by_gradient import gradmax
from netmorph.errors import EditError
from netmorph.graph.journal import Description, Entry, Journal
from netmorph.observe.samples import Samples
from netmorph.widenings import (
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

__all__ = [
    "DEEPENINGS",
    "FACTORINGS",
    "WIDENINGS",
    "Base",
    "ChannelMap",
    "DeepenEdit",
    "Description",
    "Edit",
    "EditError",
    "Entry",
    "Factoring",
    "FactorizeEdit",
    "Journal",
    "LoadError",
    "MergeEdit",
    "Plan",
    "Samples",
    "ShallowEdit",
    "Widening",
    "WidthEdit",
    "WidthError",
    "apply",
    "copy_block",
    "factorize",
    "forget",
    "gradmax",
    "identity",
    "keep",
    "kernel_first",
    "linearize",
    "load",
    "merge",
    "narrow",
    "narrow_all",
    "net2net",
    "new_entries",
    "places",
    "pointwise_first",
    "r2r",
    "random_pad",
    "rebuild",
    "recalibrate",
    "reconstruct",
    "residual",
    "save",
    "shallow",
    "stack",
    "undo",
    "unequal_split",
    "widen",
    "widen_all",
    "zero",
]
