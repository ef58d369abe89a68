"""A network's parameters as the matrices whose ranks mean something."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from netmorph.graph import Graph
from netmorph.graph.axis import Atom, Axis, Sum, resolve, size
from netmorph.measure.spectrum import SpectrumError


def weight_matrices(network: nn.Module | Graph) -> dict[str, Tensor]:
    """The weights of all layers as matrices, see `matrices_of`."""
    model = _model_of(network)
    return matrices_of(network, dict(model.named_parameters()))


def gradient_matrices(network: nn.Module | Graph) -> dict[str, Tensor]:
    """The gradients that the parameters hold, as matrices, see `matrices_of`.

    Raises:
        SpectrumError: none holds one.
    """
    model = _model_of(network)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    if not gradients:
        raise SpectrumError(
            "no parameter has a gradient: measure after loss.backward() and before optimizer.zero_grad()"
        )
    return matrices_of(network, gradients)


def matrices_of(network: nn.Module | Graph, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of parameters as matrices `[outputs, inputs]`, views wherever that is possible.

    - Linear layers and embeddings: as they are.
    - Convolutions: the unfolding along the outputs, `[out, in * kernel]`: its rank bounds how many channels the layer
      needs. Pooling the slices of the kernel instead gives numbers above the width. Each group is a matrix of its own.
    - Recurrent layers: each gate is a matrix.
    - Attention: of a graph, each head's rows of queries, keys and values, and its columns of the output. `trace` knows
      the heads; without it a projection is one matrix, and only `nn.MultiheadAttention` tells its heads.

    Vectors (biases, scales) are left out, and so are depthwise filters, each of which is a vector.

    Args:
        network: the module, or the graph of it.
        tensors: by the names of its parameters, in their shapes.

    Returns:
        By name: that of the tensor, with `[0]`, `[1]`, ... where it holds several matrices.
    """
    model = _model_of(network)
    modules = dict(model.named_modules())
    axes = _axes(network) if isinstance(network, Graph) else {}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        path, _, own = name.rpartition(".")
        if tensor.dim() < 2:
            continue
        parts = _parts(modules.get(path), own, tensor, axes.get(name))
        if len(parts) == 1:
            found[name] = parts[0]
        else:
            found |= {f"{name}[{number}]": part for number, part in enumerate(parts) if min(part.shape) > 1}
    return found


def _model_of(network: nn.Module | Graph) -> nn.Module:
    model: object = network.model if isinstance(network, Graph) else network
    if not isinstance(model, nn.Module):
        raise SpectrumError(
            f"a module, or the graph that trace makes of it, has matrices; {type(model).__name__} has not"
        )
    return model


def _axes(graph: Graph) -> dict[str, list[Axis]]:
    return {name: list(value.axes) for name, value in graph.recording.tensors.items()}


def _parts(module: nn.Module | None, own: str, tensor: Tensor, axes: list[Axis] | None) -> Sequence[Tensor]:
    """The matrices that one parameter of a module holds."""
    if isinstance(module, nn.modules.conv._ConvNd) and own == "weight":
        outputs_first = [part.transpose(0, 1) if module.transposed else part for part in tensor.chunk(module.groups)]
        return [part.flatten(1) for part in outputs_first]
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return tensor.chunk(_gates(module, tensor, own))
    if isinstance(module, nn.MultiheadAttention) and own.endswith("proj_weight"):
        return tensor.chunk(module.num_heads * (3 if own == "in_proj_weight" else 1))
    matrix = tensor.flatten(1)
    for dim, axis in enumerate(axes or ()):
        lengths = _blocks(axis)
        if matrix.dim() == tensor.dim() and len(lengths) > 1:
            heads: tuple[Tensor, ...] = torch.split(matrix, lengths, dim)
            return heads
    return [matrix]


def _gates(module: nn.RNNBase | nn.RNNCellBase, tensor: Tensor, own: str) -> int:
    """A projection has as many rows as outputs, all else a row for each gate and unit."""
    return 1 if own.startswith("weight_hr") else len(tensor) // module.hidden_size


def _blocks(axis: Axis) -> list[int]:
    """How long the parts are in which heads write or read; one part where there are no heads."""
    axis = resolve(axis)
    if len(axis) == 1 and isinstance(axis[0], Sum):
        parts = [_blocks(part) for part in axis[0].segments]
        return [length for part in parts for length in part] if any(len(part) > 1 for part in parts) else [size(axis)]
    if len(axis) > 1 and all(isinstance(factor, Atom) for factor in axis):
        return [size(axis[-1:])] * math.prod(size((factor,)) for factor in axis[:-1])
    return [size(axis)]
