"""Networks that answer as one network, and what networks answer to a part of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from netmorph.data import Dataset, Part
from netmorph.ensemble.selection import check_counts, combined
from netmorph.tasks import Task
from netmorph.train.evaluation import Networks, predict, widened


class Ensemble(nn.Module):
    """The networks of an ensemble as one: it is measured, and learnt from, like any other.

    Attributes:
        members: those that count.
        counts: how often each of them does.
    """

    def __init__(self, members: Sequence[nn.Module], task: Task, counts: Sequence[int] | None = None) -> None:
        """Args: task: says how outputs are combined; counts: one a member, see `combined`; None counts all once."""
        super().__init__()
        found = check_counts(counts, len(members))
        self.members = nn.ModuleList(member for member, count in zip(members, found, strict=True) if count)
        self.counts = tuple(filter(None, found))
        self._task = task

    def forward(self, inputs: Tensor) -> Tensor:
        """What the members answer together, in float32 or wider."""
        return combined([widened(member(inputs)) for member in self.members], self._task, self.counts)


def outputs_of(model: Networks, part: Part, dataset: Dataset, *, views: int = 1) -> Tensor:
    """Outputs `[N, ...]` on the CPU of a network, or of several together, for each sample of a part.

    They are what the task's functions take, where `netmorph.train.predict` gives what users want to know. Arguments
    and errors are those of that function.
    """
    as_they_are = replace(dataset, task=replace(dataset.task, answers=lambda outputs: outputs))
    with torch.no_grad():
        return predict(model, part, as_they_are, views=views)
