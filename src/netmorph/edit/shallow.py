"""Take a module out. What it did on data can be kept as far as an affine map goes.

The map is fitted by least squares on the module's inputs and outputs, `y ~ A x + b` with `A` over the channels, and
multiplied into the layers behind or before the module, or kept as a layer of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from netmorph.edit.blocks import GONE, NOTHING, Spec, dense, set_dense
from netmorph.edit.depth import check_one_tensor, features, module_at
from netmorph.edit.numbered import numbered
from netmorph.edit.plan import Described, Plan
from netmorph.edit.trial import listed_out
from netmorph.errors import EditError
from netmorph.graph import Contraction, Graph, Value
from netmorph.graph.axis import Atom, Axis, along, atoms, resolve
from netmorph.graph.journal import Description
from netmorph.graph.recording import Call
from netmorph.observe.features import Batch, by_channel, passes

aten = torch.ops.aten
# What treats every channel alike and is linear, so that a map of the channels passes through.
PASSING = {
    aten.adaptive_avg_pool1d,
    aten.adaptive_avg_pool2d,
    aten.adaptive_avg_pool3d,
    aten.mean,
    aten.flatten,
    aten.view,
    aten.reshape,
    aten.dropout,
    aten.contiguous,
}


@dataclass(frozen=True, eq=False)
class Affine:
    """`y = matrix x + bias` over channels, in float64.

    Attributes:
        left_out: `|y - x| / |y|` on the data: the error of passing the input on; 1 where the module gives zeros alone.
        error: `|y - (matrix x + bias)| / |y|`; likewise beside `|y - x|`.
    """

    matrix: Tensor
    bias: Tensor
    left_out: float
    error: float


@dataclass(frozen=True, repr=False)
class ShallowEdit(Described):
    """Module `path` is replaced by nothing (its input passes through) or by an affine layer.

    As an entry of a list that may go without it, it goes; what was fitted to its effect leaves an `nn.Identity` there.

    Attributes:
        spec: what takes its place.
        affine: the fitted map, where there is one: for the layer in its place, or, with nothing there, its neighbours.
    """

    path: str
    spec: Spec = NOTHING
    method: str = "take out"
    affine: Affine | None = None

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        module_at(graph, self.path)
        listed = listed_out(graph, self.path) if self.spec == NOTHING and self.affine is None else None
        if listed is not None:
            return Plan(
                exact=False,
                removed=(self.path,),
                attributes=listed.attributes,
                specs={self.path: GONE.as_json()},
                inverse={"kind": "shallow"},
            )
        check_one_tensor(graph, self.path)
        new = self.spec.build(graph.model, self.path)
        tensors: dict[str, Tensor] = {}
        if self.affine is not None and self.spec == NOTHING:
            fold, _ = _fold(graph, self.path)
            tensors = fold(self.affine.matrix, self.affine.bias)
        elif self.affine is not None:
            set_dense(new, self.affine.matrix, self.affine.bias)
        return Plan(
            exact=False,
            tensors=tensors,
            modules={self.path: new},
            specs={self.path: self.spec.as_json()},
            inverse={"kind": "shallow"},
        )

    def describe(self) -> Description:
        """See `Edit`. With data, the relative errors of the module's output before and after the fit come along."""
        told = Description("shallow", self.method, self.path, 1, 0)
        if self.affine is None:
            return told
        return replace(told, left_out_error=self.affine.left_out, fitted_error=self.affine.error)


def shallow(graph: Graph, path: str, data: Iterable[Batch] | None = None) -> ShallowEdit:
    """Take a module out that keeps its input's shape: a residual block, a layer added by deepening.

    Not exact, unless the module passes its input on. `apply` refuses if the shapes no longer fit.

    Args:
        data: batches of inputs (each what `trace` takes). With them, what the module did is fitted by an affine map
            over the channels, which is multiplied into the linear or convolution layers that read its output, or else
            into the one that wrote its input. `describe()` tells the errors before and after. The neighbours'
            optimizer state stays as it is.

    Raises:
        EditError: no such module, or it returns more than one tensor; or with data, no neighbour can take the map in (a
            residual stream passes by, an activation or a norm stands between): then `linearize` keeps it as a layer.
    """
    module_at(graph, path)
    if data is None and numbered(graph.model, path) is not None:
        return ShallowEdit(path)  # where it cannot go as an entry, its plan says so
    check_one_tensor(graph, path)
    if data is None:
        return ShallowEdit(path)
    _, intercept = _fold(graph, path)
    return ShallowEdit(path, NOTHING, "folded", least_squares(graph, path, data, intercept))


def linearize(graph: Graph, path: str, data: Iterable[Batch]) -> ShallowEdit:
    """Replace a module that keeps its input's shape by one layer: the affine map of the channels nearest to it.

    Args:
        data: batches of inputs, each what `trace` takes.

    Raises:
        EditError: no such module, or its input and output are not features of one shape.
    """
    channels, spatial = features(graph, path)
    affine = least_squares(graph, path, data, intercept=True)
    return ShallowEdit(path, dense(channels, channels, spatial), "linearized", affine)


def least_squares(graph: Graph, path: str, data: Iterable[Batch], intercept: bool) -> Affine:
    """The affine map over channels that is nearest to what a module does on data.

    Least squares for `y - x`, so that directions that the data does not show pass through unchanged.

    Raises:
        EditError: the module's input and output are not features of one shape, or nothing was seen of it.
    """
    channels, spatial = features(graph, path)
    gram = torch.zeros(channels + 1, channels + 1, dtype=torch.float64)
    cross = torch.zeros(channels + 1, channels, dtype=torch.float64)
    change, total = 0.0, 0.0
    for given, output in passes(graph, path, data):
        if given.shape != output.shape:
            raise EditError(
                f"{path!r} turns {tuple(given.shape)} into {tuple(output.shape)}; only what keeps its input's shape "
                "can be taken out"
            )
        x, y = by_channel(given, spatial).cpu(), by_channel(output, spatial).cpu()
        row = torch.cat([x, torch.full((len(x), 1), float(intercept), dtype=torch.float64)], 1)
        gram += row.T @ row
        cross += row.T @ (y - x)
        change += float((y - x).square().sum())
        total += float(y.square().sum())
    solution = torch.linalg.pinv(gram, hermitian=True) @ cross
    explained = float((solution * (2 * cross - gram @ solution)).sum())
    tiny = torch.finfo(torch.float64).tiny
    scale = total if total > tiny * change else max(change, tiny)  # what is divided by stays far from overflow
    return Affine(
        torch.eye(channels, dtype=torch.float64) + solution[:-1].T,
        solution[-1],
        (change / scale) ** 0.5,
        (max(change - explained, 0.0) / scale) ** 0.5,
    )


Fold = Callable[[Tensor, Tensor], dict[str, Tensor]]


def _fold(graph: Graph, path: str) -> tuple[Fold, bool]:
    """How the neighbours take a map in, and whether they can take an intercept."""
    _, spatial = features(graph, path)
    output = graph.recording.module_outputs[path]
    axis = resolve(output.axes[1 if spatial else -1])
    if len(axis) == 1 and isinstance(atom := axis[0], Atom):
        if readers := _readers(graph, output, atom):
            fold = partial(_into_readers, graph, [layer for _, layer in readers], atom)
            return fold, all(layer.bias is not None and not _pads(call) for call, layer in readers)
        if writer := _writer(graph, path, atom):
            return partial(_into_writer, graph, writer, atom), writer.bias is not None
    raise EditError(
        f"what {path!r} does cannot be folded into its neighbours: only linear and convolution layers (without groups) "
        "that alone read its output, or that alone write its input, can take it in. linearize keeps it as one layer; "
        "without data it is just taken out"
    )


def _readers(graph: Graph, output: Value, atom: Atom) -> list[tuple[Call, Contraction]]:
    """The layers that read a module's output, if nothing else does."""
    reached, found = {output}, []
    for call in graph.recording.calls:
        if not reached.intersection(call.values):
            continue
        layer = _plain_layer(graph, call)
        if call.op.overloadpacket in PASSING and all(_runs_over(atom, value.axes) for value in call.outputs):
            reached.update(call.outputs)
        elif layer is not None and layer.input in reached and _runs_over(atom, layer.weight.axes[1:2]):
            found.append((call, layer))
        else:
            return []
    return found if reached.isdisjoint(graph.recording.outputs) else []


def _writer(graph: Graph, path: str, atom: Atom) -> Contraction | None:
    """The layer that writes a module's input, if nobody else reads that."""
    inside = [call for call in graph.recording.calls if f"{call.module}.".startswith(f"{path}.")]
    made = {value for call in inside for value in call.outputs}
    given = {value for call in inside for value in call.values if value.name is None} - made
    if len(given) != 1 or not given.isdisjoint(graph.recording.outputs):
        return None
    uses = [call for call in graph.recording.calls if not given.isdisjoint(call.values)]
    writers = [call for call in graph.recording.calls if not given.isdisjoint(call.outputs)]
    if len(uses) > len([call for call in uses if call in inside]) or len(writers) != 1:
        return None
    writer = _plain_layer(graph, writers[0])
    return writer if writer is not None and _runs_over(atom, writer.weight.axes[:1]) else None


def _into_readers(
    graph: Graph, readers: list[Contraction], atom: Atom, matrix: Tensor, intercept: Tensor
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer in readers:
        name, old = _held(graph, layer.weight)
        axis = layer.weight.axes[1]
        scaled = along(old.double(), 1, axis, {atom: lambda part, dim: part * _shaped(intercept, part, dim)})
        tensors[name] = along(old.double(), 1, axis, {atom: lambda part, dim: _mixed(part, dim, matrix.T)})
        if layer.bias is not None:
            name, bias = _held(graph, layer.bias)
            tensors[name] = bias + scaled.flatten(1).sum(1)
    return _like(graph, tensors)


def _into_writer(graph: Graph, writer: Contraction, atom: Atom, matrix: Tensor, intercept: Tensor) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for value in filter(None, (writer.weight, writer.bias)):
        name, old = _held(graph, value)
        mixed = along(old.double(), 0, writer.weight.axes[0], {atom: lambda part, dim: _mixed(part, dim, matrix)})
        tensors[name] = mixed + intercept.to(mixed) if value is writer.bias else mixed
    return _like(graph, tensors)


def _held(graph: Graph, value: Value) -> tuple[str, Tensor]:
    """A parameter and its name."""
    name = value.name or ""
    return name, graph.model.get_parameter(name)


def _mixed(part: Tensor, dim: int, matrix: Tensor) -> Tensor:
    """`matrix` times the channels along a dimension."""
    mixed: Tensor = torch.tensordot(matrix.to(part), part, ([1], [dim]))
    return mixed.movedim(0, dim)


def _shaped(vector: Tensor, part: Tensor, dim: int) -> Tensor:
    return vector.to(part).reshape([-1 if place == dim else 1 for place in range(part.dim())])


def _like(graph: Graph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    types = {name: graph.model.get_parameter(name).dtype for name in tensors}
    return {name: tensor.detach().to(types[name]).contiguous() for name, tensor in tensors.items()}


def _plain_layer(graph: Graph, call: Call) -> Contraction | None:
    """A linear or convolution layer without groups, whose weights are parameters used by nobody else."""
    layer = call.layer
    if layer is None or layer.input is None or layer.read[0][1] != 1:
        return None
    held = dict(graph.model.named_parameters())
    own = [value for value in (layer.weight, layer.bias) if value is not None]
    uses = [value for other in graph.recording.calls for value in other.values]
    whole = layer.input.shape[layer.read[0][0]] == layer.weight.shape[1]
    return layer if whole and all(value.name in held and uses.count(value) == 1 for value in own) else None


def _pads(call: Call) -> bool:
    """Whether zeros are put around the input: in their place an intercept would have to be."""
    padding = call.named.get("padding", 0)
    return padding == "same" if isinstance(padding, str) else any(tree_leaves(padding))


def _runs_over(atom: Atom, axes: Sequence[Axis]) -> bool:
    return any(atom in atoms(axis) for axis in axes)
