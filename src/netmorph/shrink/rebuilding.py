"""From a network and new widths to the network of these widths, with weights kept or fresh."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch

from netmorph.edit.apply import apply
from netmorph.edit.depth_by_copies import reset
from netmorph.edit.reconstruct import reconstruct
from netmorph.edit.refit import kept_outputs, refit
from netmorph.edit.width import narrow_all, widen_all
from netmorph.edit.width_edit import WidthEdit
from netmorph.graph import Graph, trace
from netmorph.observe.samples import Samples
from netmorph.scores import Score, best, interpolative
from netmorph.train.seeding import seeded

# Changes the samples' graph to widths by group, and returns the graph of what came of it.
Rebuild = Callable[[Samples, Mapping[str, int], int], Graph]


def kept(samples: Samples, widths: Mapping[str, int], seed: int, score: Score = interpolative) -> Graph:
    """Keep the channels of the highest scores; readers, then layer after layer, make up for those that go.

    Readers are rebuilt by `reconstruct`, layers by `refit`. Batch norms are not recalibrated: layers have been fitted
    to what these expect. Groups that get wider keep all their channels and what the network computes.
    """
    graph = samples.graph
    if edit := _narrowing(samples, widths, score):
        outputs = kept_outputs(edit, samples)
        graph = apply(graph, reconstruct(edit, samples))
        refit(graph.model, outputs)
        graph = trace(graph.model, graph.inputs, graph.journal)  # its weights were changed in place
    return _widened(graph, samples, widths, seed)


def cut(samples: Samples, widths: Mapping[str, int], seed: int, score: Score = interpolative) -> Graph:
    """Keep the channels of the highest scores as they are, and nothing else: what `kept` is compared with."""
    edit = _narrowing(samples, widths, score)
    return _widened(apply(samples.graph, edit) if edit else samples.graph, samples, widths, seed)


def fresh(samples: Samples, widths: Mapping[str, int], seed: int) -> Graph:
    """The architecture alone: all weights are drawn anew, by each module's `reset_parameters`.

    Raises:
        EditError: a module holds parameters and has no `reset_parameters`; the network is as it was.
    """
    with seeded(seed):
        reset(copy.deepcopy(samples.graph.model))  # that it can be done, before anything changes
    graph = cut(samples, widths, seed, lambda group, samples: -torch.arange(group.size, dtype=torch.float64))
    with seeded(seed):
        reset(graph.model)
    return graph


def _narrowing(samples: Samples, widths: Mapping[str, int], score: Score) -> WidthEdit | None:
    """The edit of the groups that get narrower, if any does."""
    groups = {name: samples.graph.group(name) for name in widths}
    channels = {
        name: best(score(group, samples), widths[name]) for name, group in groups.items() if widths[name] < group.size
    }
    return narrow_all(samples.graph, channels) if channels else None


def _widened(graph: Graph, samples: Samples, widths: Mapping[str, int], seed: int) -> Graph:
    """The graph with the groups widened that get wider than they were when the samples were made."""
    wider = {name: width for name, width in widths.items() if width > samples.graph.group(name).size}
    return apply(graph, widen_all(graph, wider, seed=seed)) if wider else graph
