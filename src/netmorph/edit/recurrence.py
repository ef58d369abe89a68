"""Twins that stay equal however often the network comes by: weights that read channels of an edit and write others."""

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

    What rows see of twins is nothing but rounding. If the rows of twins saw it with weights of their own, the twins
    would differ by it, and in a recurrence by more with each step, until they no longer cancel.

    Args:
        tensor: the weight after the edit.
        sites: its dimensions along which it changed.
        channels: what the edit does, by atom, in the order in which it was done.
    """
    if all(site.use.role is not Role.READ for site in sites):
        return tensor
    for site in sites:
        if site.use.role is not Role.READ:
            crossed = set(atoms(site.axis))
            changes = {atom: partial(_numbered, channels=channels[atom]) for atom in channels if atom in crossed}
            numbers = replace(site, dim=0).change(torch.arange(size(site.axis)), changes)
            found, which = numbers.unique(return_inverse=True)
            first = found.new_full(found.shape, len(numbers))
            first = first.scatter_reduce(0, which, torch.arange(len(numbers)), "amin")
            tensor = tensor.index_select(site.dim, first[which].to(tensor.device))
    return tensor


def _numbered(part: Tensor, dim: int, channels: ChannelMap) -> Tensor:
    """Numbers of channels: copies have that of their source, equal fresh ones get one that is new."""
    shape = [*part.shape[:dim], channels.classes, *part.shape[dim + 1 :]]
    return write(part, dim, channels, part.min() - 1 - torch.arange(math.prod(shape)).reshape(shape))
