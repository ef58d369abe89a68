"""Copies of a network that get the same edits with their own weights: moving averages, also those of optimizers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from netmorph.edit.plan import Edit
from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.unwrap import unwrap


def graph_of(graph: Graph, model: nn.Module) -> Graph:
    """The graph of a copy of the graph's model: the same structure over the copy's weights, on the copy's device.

    Raises:
        EditError: it is the model itself, shares parameters with it, or has another structure.
    """
    own, _ = unwrap(model)
    shared = {id(p) for p in graph.model.parameters()} & {id(p) for p in own.parameters()}
    if shared:
        raise EditError(
            "a copy shares parameters with the model, and would be edited twice; copies= takes deep copies "
            "(copy.deepcopy(model), AveragedModel(model))"
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in (*own.named_parameters(), *own.named_buffers())}
    modules = dict(own.named_modules())
    kinds, expected = ({path: type(module) for path, module in found.items()} for found in (modules, graph.modules))
    different = [
        name
        for one, other in ((shapes, graph.shapes), (kinds, expected))
        for name in one.keys() | other.keys()
        if one.get(name) != other.get(name) and name not in graph.made_by_forward
    ]
    if different:
        raise EditError(
            f"a copy differs from the model in {', '.join(sorted(different)[:3])}: it was made before the last edit, "
            "or of another model. Make it again from the model, and trace both: trace(model, inputs, copies=[copy])"
        )
    inputs = tree_map(lambda leaf: _as_for(leaf, graph.model, own), graph.inputs)
    return Graph(**(vars(graph) | {"model": own, "modules": modules, "inputs": inputs}))


def edited(graph: Graph, edit: Edit, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an edit makes of other weights of the graph's model, by parameter name; those it leaves alone as given."""
    other = copy.deepcopy(graph.model)
    parameters = dict(other.named_parameters())
    for name, value in weights.items():
        parameters[name].copy_(value)
    tensors = edit.plan(graph_of(graph, other)).tensors
    return {name: tensors.get(name, value) for name, value in weights.items()}


def _as_for(leaf: Any, model: nn.Module, other: nn.Module) -> Any:
    """An input of the model, on the device and in the precision of its copy."""
    if not isinstance(leaf, Tensor):
        return leaf
    one, two = (next(either.parameters(), torch.empty(0)) for either in (model, other))
    return leaf.to(two.device, two.dtype if leaf.dtype == one.dtype else leaf.dtype)
