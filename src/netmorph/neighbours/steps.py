"""From a network to one of its neighbours: with its weights, as far as they go along, or with none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from netmorph.edit import copy_block
from netmorph.edit.apply import apply
from netmorph.edit.depth import identity, residual
from netmorph.edit.depth_by_copies import reset
from netmorph.edit.plan import Edit
from netmorph.edit.shallow import shallow
from netmorph.graph import Graph
from netmorph.neighbours.values import Step
from netmorph.observe.samples import Samples
from netmorph.scores import magnitude
from netmorph.shrink import Rebuild, cut, kept
from netmorph.train.seeding import seeded

WIDTHS, OUT = "widths", "out"
# What puts a layer in or takes one out, by the kind of the step: a function of the graph and the layer.
LAYERS: Mapping[str, Callable[[Graph, str], Edit]] = {
    "identity": identity,
    "residual": residual,
    "copy": copy_block,
    OUT: shallow,
}
# Channels that look at no data: which of them stay is of no account where weights are drawn anew.
structure: Rebuild = partial(cut, score=magnitude)


def resized(graph: Graph, widths: Mapping[str, int]) -> Step:
    """The step that gives groups other widths."""
    return Step(WIDTHS, widths=widths, before={name: graph.groups[name].size for name in widths})


def walk(
    graph: Graph, steps: Sequence[Step], batches: Sequence[Any] = (), seed: int = 0, rebuild: Rebuild = structure
) -> Graph:
    """Make the steps one after another, on the graph's model, in place.

    A layer that comes in passes its input on; one that goes out takes along what it did.

    Args:
        batches: of inputs as `trace` takes them, which tell `rebuild` what channels do.
        seed: draws the weights of new channels.
        rebuild: how widths change: `netmorph.shrink.kept` keeps the channels that the others explain least, and lets
            their readers make up for those that go.

    Raises:
        EditError: a step is not possible; those before it are made.
    """
    for step in steps:
        if step.kind == WIDTHS:
            graph = rebuild(Samples(graph, batches, seed=seed), step.widths, seed)
        else:
            graph = apply(graph, LAYERS[step.kind](graph, step.layer))
    return graph


def inherited(graph: Graph, steps: Sequence[Step], batches: Sequence[Any], seed: int) -> Graph:
    """The neighbour with the weights of the network, in place."""
    return walk(graph, steps, batches, seed, kept)


def fresh(graph: Graph, steps: Sequence[Step], batches: Sequence[Any], seed: int) -> Graph:
    """The neighbour's structure, in place; every module draws its weights by its own `reset_parameters`.

    So do those that no step has changed: a network is then compared with its neighbours from the same kind of start.

    Raises:
        EditError: a module holds parameters and has no `reset_parameters`.
    """
    graph = walk(graph, steps)
    with seeded(seed):
        reset(graph.model)
    return graph


Start = Callable[[Graph, Sequence[Step], Sequence[Any], int], Graph]
FRESH, INHERITED = "fresh", "inherited"
STARTS: Mapping[str, Start] = {INHERITED: inherited, FRESH: fresh}
