"""From a network and new widths to the network of these widths, with weights kept or fresh."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import torch

from netmorph.edit.apply import apply
from netmorph.edit.reconstruct import reconstruct
from netmorph.edit.refit import kept_outputs, refit
from netmorph.edit.width import narrow_all, widen_all
from netmorph.graph import Graph, trace
from netmorph.observe.samples import Samples
from netmorph.scores import Score, best, interpolative
from netmorph.shrink.ranks import ShrinkError
from netmorph.train.seeding import seeded

# Changes the samples' graph to widths by group, and returns the graph of what came of it.
Rebuild = Callable[[Samples, Mapping[str, int], int], Graph]


def kept(samples: Samples, widths: Mapping[str, int], seed: int, score: Score = interpolative) -> Graph:
    """Keep the channels of the highest scores; readers, then layer after layer, make up for those that go.

    Channels are chosen by interpolative decomposition, readers rebuilt by `reconstruct`, layers by `refit`. Batch norms
    are not recalibrated: layers have been fitted to what these expect. Groups that get wider keep all their channels
    and what the network computes.
    """
    narrower, wider = _sorted(samples.graph, widths)
    graph = samples.graph
    if narrower:
        channels = {name: best(score(graph.group(name), samples), width) for name, width in narrower.items()}
        edit = narrow_all(graph, channels)
        outputs = kept_outputs(edit, samples)
        graph = apply(graph, reconstruct(edit, samples))
        refit(graph.model, outputs)
        graph = trace(graph.model, graph.inputs, graph.journal)  # its weights were changed in place
    return apply(graph, widen_all(graph, wider, seed=seed)) if wider else graph


def cut(samples: Samples, widths: Mapping[str, int], seed: int, score: Score = interpolative) -> Graph:
    """Keep the channels of the highest scores as they are, and nothing else: what `kept` is compared with."""
    narrower, wider = _sorted(samples.graph, widths)
    graph = samples.graph
    channels = {name: best(score(graph.group(name), samples), width) for name, width in narrower.items()}
    graph = apply(graph, narrow_all(graph, channels)) if narrower else graph
    return apply(graph, widen_all(graph, wider, seed=seed)) if wider else graph


def fresh(samples: Samples, widths: Mapping[str, int], seed: int) -> Graph:
    """The architecture alone: all weights are drawn anew, by each module's `reset_parameters`.

    Raises:
        ShrinkError: a module holds parameters and has no `reset_parameters`; the network is as it was.
    """
    model = samples.graph.model
    holding = {name: module for name, module in model.named_modules() if [*module.parameters(recurse=False)]}
    others = [name or "the network itself" for name, module in holding.items() if not isinstance(module, Resettable)]
    if others:
        raise ShrinkError(
            f"{others[0]} holds parameters and has no reset_parameters(), so that fresh weights cannot be drawn; keep "
            "the weights, or give its class that method"
        )
    graph = cut(samples, widths, seed, lambda group, samples: -torch.arange(group.size, dtype=torch.float64))
    with seeded(seed):
        for module in graph.model.modules():
            if isinstance(module, Resettable):
                module.reset_parameters()
    return graph


@runtime_checkable
class Resettable(Protocol):
    """A module that draws its own weights anew, as those of PyTorch do."""

    def reset_parameters(self) -> None:
        """Draw them."""


def _sorted(graph: Graph, widths: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """The groups that get narrower, and those that get wider."""
    sizes = {name: graph.group(name).size for name in widths}
    return (
        {name: width for name, width in widths.items() if width < sizes[name]},
        {name: width for name, width in widths.items() if width > sizes[name]},
    )
