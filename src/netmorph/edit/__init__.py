"""Edits as values: what there is beside the verbs that `netmorph` itself has, and what edits are made of."""

from netmorph.edit.blocks import THERE, Spec, chain_of
from netmorph.edit.carry import MOMENT_POWERS, WEIGHT_AVERAGES
from netmorph.edit.depth import DEEPENINGS, DeepenEdit, places
from netmorph.edit.depth_by_copies import copy_block, redraw, stack
from netmorph.edit.entries import new_entries
from netmorph.edit.inside import old_network
from netmorph.edit.journal import Base, rebuild
from netmorph.edit.perturb import PerturbEdit, shrink_and_perturb
from netmorph.edit.plan import Edit, Plan
from netmorph.edit.rank import FACTORINGS, Factoring, FactorizeEdit, MergeEdit, kernel_first, pointwise_first
from netmorph.edit.scales import keep_gradients, same_rms
from netmorph.edit.shallow import ShallowEdit, linearize
from netmorph.edit.undo import forget
from netmorph.edit.width import narrow_all, widen_all
from netmorph.edit.width_by_gradient import gradmax
from netmorph.edit.width_edit import WidthEdit
from netmorph.edit.wrapped import renew
from netmorph.graph.journal import Description, Entry, Journal

__all__ = [
    "DEEPENINGS",
    "FACTORINGS",
    "MOMENT_POWERS",
    "THERE",
    "WEIGHT_AVERAGES",
    "Base",
    "DeepenEdit",
    "Description",
    "Edit",
    "Entry",
    "Factoring",
    "FactorizeEdit",
    "Journal",
    "MergeEdit",
    "PerturbEdit",
    "Plan",
    "ShallowEdit",
    "Spec",
    "WidthEdit",
    "chain_of",
    "copy_block",
    "forget",
    "gradmax",
    "keep_gradients",
    "kernel_first",
    "linearize",
    "narrow_all",
    "new_entries",
    "old_network",
    "places",
    "pointwise_first",
    "rebuild",
    "redraw",
    "renew",
    "same_rms",
    "shrink_and_perturb",
    "stack",
    "widen_all",
]
