"""Weights that read the channels that they write: what one step makes, the next one takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from netmorph.edit.tensors import write
from netmorph.graph import Role, Site
from netmorph.graph.axis import Atom, atoms, size
from netmorph.widenings import ChannelMap


def equal_rows(tensor: Tensor, sites: Sequence[Site], channels: Mapping[Atom, ChannelMap]) -> Tensor:
    """An edited weight whose rows for one channel are equal, also in what they read of fresh channels.

    Rows of twins see of all twins nothing but rounding. If each saw it with weights of its own, the difference between
    twins would grow with every step of a recurrence, and no longer cancel.

    Args:
        tensor: the weight after the edit.
        sites: its dimensions along which it changed.
        channels: what the edit does, by atom, in the order in which it was done.
    """
    read = {atom for site in sites if site.use.role is Role.READ for atom in atoms(site.axis)}
    for site in sites:
        crossed = set(atoms(site.axis)) & read
        if site.use.role is not Role.READ and crossed & channels.keys():
            changes = {atom: partial(_numbers, channels=channels[atom]) for atom in channels if atom in crossed}
            numbers = replace(site, dim=0).change(torch.arange(size(site.axis)), changes)
            found, which = numbers.unique(return_inverse=True)
            places = torch.arange(len(numbers))
            first = places.new_full(found.shape, len(numbers)).scatter_reduce(0, which, places, "amin")
            tensor = tensor.index_select(site.dim, first[which].to(tensor.device))
    return tensor


def _numbers(part: Tensor, dim: int, channels: ChannelMap) -> Tensor:
    """Numbers of channels: copies have that of their source, fresh ones get new ones."""
    shape = [*part.shape[:dim], channels.classes, *part.shape[dim + 1 :]]
    return write(part, dim, channels, part.min() - 1 - torch.arange(math.prod(shape)).reshape(shape))
