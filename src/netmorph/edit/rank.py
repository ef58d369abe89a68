"""Rank edits: one linear or convolution layer becomes two with fewer channels between them, and two become one.

A layer's weight is a matrix, and a matrix of rank r is a product `B A`, a row of two layers. Either the first of them
has the kernel and the second is 1x1 (`kernel_first`), or the other way round (`pointwise_first`); for linear layers
both are the same. The channels between the two are a group like any other, which width edits can change.

An optimizer's state of the old weight ends with it. That of the new ones starts as for any new parameter, step count
included: the first moment could be mapped (`B^T m`), but not the second, and one without the other takes steps of the
wrong size. A bias that moves on unchanged keeps its state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit.blocks import NOTHING, Layer, Spec, chain_of, spec_of
from netmorph.edit.depth import module_at
from netmorph.edit.layers import channels_of, dense_weight, grouped, groups_of, layer_at, stride_of
from netmorph.edit.plan import Described, Plan
from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.journal import Description
from netmorph.memory_layout import laid_out_like

# What rounding leaves of a matrix beyond its rank, relative to its norm and in units of its type's precision.
ROUNDING = 16
POINTWISE = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "padding_mode": "zeros"}


@dataclass(frozen=True)
class Factoring:
    """A way to cut a layer in two.

    Attributes:
        kernel_first: whether the first of the two layers has the kernel (with stride, padding and dilation), or the
            second.
        matrix: the matrix to factorize: `[groups, out, in, kernel]` (the widths within a group) to
            `[groups, rows, columns]`.
    """

    name: str
    kernel_first: bool
    matrix: Callable[[Tensor], Tensor]


kernel_first = Factoring("kernel_first", True, lambda weight: weight.flatten(2))
pointwise_first = Factoring("pointwise_first", False, lambda weight: weight.movedim(3, 2).flatten(1, 2))
FACTORINGS = {factoring.name: factoring for factoring in (kernel_first, pointwise_first)}


@dataclass(frozen=True, eq=False, repr=False)
class FactorizeEdit(Described):
    """Layer `layer` becomes two.

    Attributes:
        basis: `[groups, rank, min(rows, columns)]`, float64: what becomes the factor on the smaller side of the matrix,
            as rows at right angles to each other. Copies of the network (moving averages) get the same one, so that the
            mean of two networks' factors is still the factor of their mean.
        full: the rank from which on nothing is left out.
        error: what is left out of the weight, `|W - B A| / |W|` (Frobenius).
    """

    layer: str
    basis: Tensor
    factoring: Factoring
    full: int
    error: float

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        layer = layer_at(graph, self.layer)
        weight = grouped(layer.weight, groups_of(layer))
        matrix = self.factoring.matrix(weight)
        left, right = factors(matrix, self.basis)
        left_out = float((matrix - left @ right).norm())
        spec = _pair(layer, self.basis.shape[1], self.factoring)
        pair = spec.build(graph.model, self.layer)
        first, second = pair.children()
        _set(first, layer, right, None)
        _set(second, layer, left.unflatten(1, (weight.shape[1], -1)).movedim(2, 3), layer.bias)
        return Plan(
            exact=left_out <= ROUNDING * torch.finfo(layer.weight.dtype).eps * float(matrix.norm()),
            modules={self.layer: pair},
            specs={self.layer: spec.as_json()},
            inverse={"kind": "factorize", "layer": self.layer},
        )

    def describe(self) -> Description:
        """See `Edit`. `before` and `after` are ranks."""
        return Description(
            "factorize",
            self.factoring.name,
            self.layer,
            self.full,
            self.basis.shape[1],
            left_out_error=self.error,
        )


@dataclass(frozen=True, repr=False)
class MergeEdit(Described):
    """Two layers in a row become one, which takes the place of `first`.

    Attributes:
        pair: the module that holds nothing but the two, where there is one: then that gives way.
    """

    first: str
    second: str
    pair: str | None = None

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        first, second = layer_at(graph, self.first), layer_at(graph, self.second)
        spec, weight, bias = merged(first, second)
        place = self.first if self.pair is None else self.pair
        one = spec.build(graph.model, place)
        _set(one, first, weight, second.bias if first.bias is None else bias)
        modules, specs = {place: one}, {place: spec.as_json()}
        if self.pair is None:
            modules[self.second] = NOTHING.build(graph.model, self.second)
            specs[self.second] = NOTHING.as_json()
        return Plan(exact=True, modules=modules, specs=specs)

    def describe(self) -> Description:
        """See `Edit`."""
        layer = self.first if self.pair is None else self.pair
        return Description("merge", "product", layer, 2, 1)


def factorize(graph: Graph, layer: str, rank: int, method: Factoring = kernel_first) -> FactorizeEdit:
    """Cut a linear or convolution layer in two by its singular value decomposition, the nearest weight of that rank.

    Exact at full rank, and whenever the singular values left out are rounding: that is computed.

    Args:
        layer: path of an `nn.Linear`, `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d`; it becomes a `Sequential` of two.
        rank: how many channels there are between the two (in each group of a grouped convolution).
        method: `kernel_first` or `pointwise_first`.

    Raises:
        EditError: no such layer, its weight is tied, parametrized or not finite, or no such rank.
    """
    found = layer_at(graph, layer)
    matrix = method.matrix(grouped(found.weight, groups_of(found)))
    full = min(matrix.shape[1:])
    if not isinstance(rank, int) or not 1 <= rank <= full:
        raise EditError(f"the rank of {layer!r} must be a whole number from 1 to {full} ({method.name}), got {rank!r}")
    if not bool(matrix.isfinite().all()):
        raise EditError(f"the weight of {layer!r} holds numbers that are not finite, so it has no factors")
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    # Both factors get a part of the scale; where there is none, one of them is zero and not both.
    scale = values.sqrt().where(values > torch.finfo(torch.float64).eps * values.amax(), 1.0)
    basis = (left.mT if matrix.shape[1] <= matrix.shape[2] else right) * scale[..., None]
    error = float(values[:, rank:].norm() / values.norm().clamp_min(torch.finfo(torch.float64).tiny))
    return FactorizeEdit(layer, basis[:, :rank], method, full, error)


def factors(matrix: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """`left [..., rows, rank]` and `right [..., rank, columns]`, whose product is the nearest to a matrix, given one.

    Args:
        basis: `[..., rank, min(rows, columns)]`: the factor on the smaller side, as orthogonal rows.
    """
    dual = basis / basis.square().sum(-1, keepdim=True)
    if matrix.shape[-2] <= matrix.shape[-1]:
        return basis.mT, dual @ matrix
    return matrix @ dual.mT, basis


def merge(graph: Graph, layer: str) -> MergeEdit:
    """Make one layer of two that follow each other with nothing between them; exact, biases included.

    One of two convolutions must be 1x1: the second, or the first if it does not stride and its bias, if any, meets no
    padding with zeros.

    Args:
        layer: path of a `Sequential` of two layers (as `factorize` makes), or of a layer in a `Sequential` with another
            layer behind it, where only an `nn.Identity` may stand between them.

    Raises:
        EditError: there are no such two layers, or their product is no such layer.
    """
    pair = module_at(graph, layer)
    if type(pair) is nn.Sequential and len(pair) == 2:
        one, other = (f"{layer}.{name}" for name, _ in pair.named_children())
        edit = MergeEdit(one, other, pair=layer)
    else:
        edit = MergeEdit(layer, _next(graph, layer))
    layers = [layer_at(graph, path) for path in (edit.first, edit.second)]
    for path, found in zip((edit.first, edit.second), layers, strict=True):
        paths = [p for p, module in graph.model.named_modules(remove_duplicate=False) if module is found]
        if len(paths) > 1:
            raise EditError(f"{path!r} is used at several places ({', '.join(paths)}), so it cannot be merged")
    merged(*layers)
    return edit


def merged(first: Layer, second: Layer) -> tuple[Spec, Tensor, Tensor | None]:
    """How to build the layer that does what two do in a row, its weight and its bias (float64).

    Raises:
        EditError: no single layer does.
    """
    spatial = first.weight.dim() - 2
    if second.weight.dim() - 2 != spatial or first.weight.shape[0] != channels_of(second)[0]:
        raise EditError(f"{first} and {second} do not follow each other: kinds or numbers of channels differ")
    kernel, pointwise = (first, second) if _is_pointwise(second) else (second, first)
    if not _is_pointwise(pointwise):
        raise EditError(f"{first} and {second} cannot be merged: one of two convolutions must be 1x1 without padding")
    if pointwise is first and (_strides(first) or (first.bias is not None and _pads_with_zeros(second))):
        raise EditError(
            f"{first} and {second} cannot be merged: a 1x1 convolution in front must not stride, and have no bias "
            "where the next one pads with zeros"
        )
    if pointwise is second and _strides(second) and spec_of(first).arguments["padding"] == "same":
        raise EditError(f"{first} and {second} cannot be merged: padding='same' goes with no stride")
    groups = groups_of(first) if groups_of(first) == groups_of(second) else 1
    one, other = (grouped(dense_weight(layer) if groups == 1 else layer.weight, groups) for layer in (first, second))
    weight = torch.einsum("gomy,gmix->goixy", other, one).flatten(3)
    bias = None
    if first.bias is not None:
        bias = torch.einsum("gomy,gm->go", other, first.bias.double().unflatten(0, (groups, -1))).flatten()
    if second.bias is not None:
        bias = second.bias.double() + (0 if bias is None else bias)
    inputs, outputs = channels_of(first)[0], channels_of(second)[1]
    if isinstance(kernel, nn.Linear):
        changed: dict[str, Any] = {"in_features": inputs, "out_features": outputs}
    else:
        changed = {"in_channels": inputs, "out_channels": outputs, "groups": groups}
        if pointwise is second and _strides(second):
            changed["stride"] = [a * b for a, b in zip(stride_of(first), stride_of(second), strict=True)]
    return spec_of(kernel, **changed, bias=bias is not None), weight, bias


def _pair(layer: Layer, rank: int, factoring: Factoring) -> Spec:
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return chain_of(spec_of(layer, out_features=rank, bias=False), spec_of(layer, in_features=rank, bias=bias))
    inner = rank * layer.groups
    first = POINTWISE if not factoring.kernel_first else {}
    second = POINTWISE if factoring.kernel_first else {}
    return chain_of(
        spec_of(layer, out_channels=inner, bias=False, **first), spec_of(layer, in_channels=inner, bias=bias, **second)
    )


def _set(new: nn.Module, old: Layer, weight: Tensor, bias: Tensor | None) -> None:
    """Give a layer its weights, of the old one's type; a bias that is a parameter is the same one afterwards."""
    trained, shape = old.weight.requires_grad, new.get_parameter("weight").shape
    new.weight = nn.Parameter(laid_out_like(weight.reshape(shape).to(old.weight), old.weight.detach()), trained)
    if bias is not None:
        new.bias = bias if isinstance(bias, nn.Parameter) else nn.Parameter(bias.to(old.weight), trained)


def _next(graph: Graph, path: str) -> str:
    """The layer behind a layer of a `Sequential`."""
    above, _, name = path.rpartition(".")
    parent = graph.model.get_submodule(above)
    if type(parent).forward is nn.Sequential.forward:
        names = [key for key, child in parent.named_children() if key == name or not isinstance(child, nn.Identity)]
        behind = names[names.index(name) + 1 :]
        if behind:
            return f"{above}.{behind[0]}" if above else behind[0]
    raise EditError(f"there is no layer behind {path!r} to merge it with: it must stand in a Sequential before another")


def _is_pointwise(layer: Layer) -> bool:
    return isinstance(layer, nn.Linear) or (math.prod(layer.kernel_size) == 1 and not _pads(layer))


def _strides(layer: Layer) -> bool:
    return math.prod(stride_of(layer)) != 1


def _pads(layer: Layer) -> bool:
    if isinstance(layer, nn.Linear):
        return False
    if isinstance(layer.padding, str):
        return layer.padding == "same" and math.prod(layer.kernel_size) != 1
    return any(layer.padding)


def _pads_with_zeros(layer: Layer) -> bool:
    return _pads(layer) and not isinstance(layer, nn.Linear) and layer.padding_mode == "zeros"
