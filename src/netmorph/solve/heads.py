"""The last layer of a trained network, solved anew: for its own classes, or for others."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from netmorph.graph import Graph
from netmorph.observe.features import Batch, passes
from netmorph.solve.linear import Head, as_linear, ridge
from netmorph.solve.moments import Moments, Pair, SolveError, check_repeats, one_hot
from netmorph.solve.penalties import Cost, choose_penalty, squared

Labelled = tuple[Batch, Tensor]  # what the model takes, and labels int64 [B] or values [B, k]


@dataclass(frozen=True, eq=False)
class SolvedHead:
    """What `solve_head` found.

    Attributes:
        model: a copy of the network with the new layer.
        path: of that layer.
        head: the same in float64.
        penalty: that it was solved with.
    """

    model: nn.Module
    path: str
    head: Head
    penalty: float


def solve_head(
    graph: Graph,
    batches: Iterable[Labelled],
    *,
    path: str | None = None,
    classes: int | None = None,
    penalty: float | None = None,
    cost: Cost = squared,
) -> SolvedHead:
    """A copy of a network whose last linear layer is solved by ridge regression; the network stays as it is.

    Args:
        graph: of the trained network.
        batches: pairs of what the model takes and labels int64 `[B]` (for which answers are fitted to 0 and 1) or
            values `[B, k]`; for features of several positions one for each. Gone through twice, where a penalty is to
            be chosen (a list, a `DataLoader` of pairs).
        path: of the linear layer; by default the one that gives the network's output.
        classes: how many there are; by default as many as the layer has outputs.
        penalty: see `ridge`; None chooses by leaving out one sample at a time.
        cost: that choice's, see `choose_penalty`.

    Raises:
        SolveError: there is no such layer, or see `ridge`.
        EditError: the batches hold nothing, or see `passes`.
    """
    if penalty is None:
        check_repeats(batches)
    path = last_linear(graph) if path is None else path
    layer = graph.model.get_submodule(path)
    if not isinstance(layer, nn.Linear):
        raise SolveError(f"{path!r} is a {type(layer).__name__}; only an nn.Linear is solved: give path= of one")
    classes = layer.out_features if classes is None else classes
    moments = Moments.of(features_before(graph, path, batches, classes))
    if penalty is None:
        penalty = choose_penalty(moments, features_before(graph, path, batches, classes), cost=cost)
    head = ridge(moments, penalty)
    model = copy.deepcopy(graph.model)
    solved = as_linear(head, layer.weight.dtype).to(layer.weight.device)
    if not path:
        return SolvedHead(solved, path, head, penalty)
    model.set_submodule(path, solved.train(layer.training))
    return SolvedHead(model, path, head, penalty)


def features_before(graph: Graph, path: str, batches: Iterable[Labelled], classes: int) -> Iterator[Pair]:
    """What a layer reads and has to answer, batch by batch: features `[positions, d]` and targets `[positions, k]`."""
    for inputs, targets in batches:
        wanted = targets.flatten(0, -2) if targets.is_floating_point() else one_hot(targets.flatten(), classes)
        for features, _ in passes(graph, path, [inputs]):
            yield features.detach().flatten(0, -2), wanted.to(features.device)


def last_linear(graph: Graph) -> str:
    """The path of the linear layer that gives the network's output.

    Raises:
        SolveError: something else gives it.
    """
    for call in reversed(graph.recording.calls):
        if call.layer is not None and call.outputs[0] in graph.recording.outputs and call.layer.weight.name:
            path, _, name = call.layer.weight.name.rpartition(".")
            if name == "weight" and isinstance(graph.model.get_submodule(path), nn.Linear):
                return path
    raise SolveError("no nn.Linear gives the network's output; give path= of the layer to solve")
