"""Linear and convolution layers of a network, found by path, and their weights as matrices."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from netmorph.edit.blocks import CONVOLUTIONS, Layer
from netmorph.edit.depth import module_at
from netmorph.errors import EditError
from netmorph.graph import Graph


def layer_at(graph: Graph, path: str) -> Layer:
    """The linear or convolution layer at a path.

    Raises:
        EditError: there is none (a subclass may do something else), or its weight is no parameter of its own.
    """
    layer = module_at(graph, path)
    if type(layer) not in (nn.Linear, *CONVOLUTIONS.values()):
        raise EditError(
            f"{path!r} is a {type(layer).__name__}; rank edits work on nn.Linear, nn.Conv1d, nn.Conv2d and nn.Conv3d"
        )
    held = layer._parameters.get("weight")
    names = [name for name, other in graph.model.named_parameters(remove_duplicate=False) if other is held]
    modules = {graph.model.get_submodule(name.rpartition(".")[0]) for name in names}
    if held is None or len(modules) > 1:
        tied = f"tied: {', '.join(names)}" if held is not None else "computed by a hook"
        raise EditError(f"the weight of {path!r} is {tied}; rank edits need one that is the layer's own")
    return layer  # type: ignore[return-value]


def grouped(weight: Tensor, groups: int) -> Tensor:
    """A weight `[out, in / groups, *kernel]` as `[groups, out / groups, in / groups, kernel]`, in float64."""
    return weight.detach().double().reshape(groups, len(weight) // groups, weight.shape[1], -1)


def dense_weight(layer: Layer) -> Tensor:
    """The weight `[out, in, *kernel]` of a layer as if it had no groups: zeros between them."""
    weight, groups = layer.weight.detach(), groups_of(layer)
    out, within = len(weight) // groups, weight.shape[1]
    full = weight.new_zeros(len(weight), groups * within, *weight.shape[2:])
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        full[rows, group * within : (group + 1) * within] = weight[rows]
    return full


def groups_of(layer: Layer) -> int:
    """1 for a linear layer."""
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def stride_of(layer: Layer) -> Sequence[int]:
    """Nothing for a linear layer."""
    return () if isinstance(layer, nn.Linear) else layer.stride


def channels_of(layer: Layer) -> tuple[int, int]:
    """Of the input and the output."""
    return layer.weight.shape[1] * groups_of(layer), len(layer.weight)
