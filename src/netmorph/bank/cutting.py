"""A network -> detached layers: cut wherever exactly one tensor crosses, each with what belongs to it.

Which operations a layer runs is read off the recordings that export writes code from: any batch size, both modes. Each
piece is run before it is given, and must give the very numbers that the network computes there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.bank.entry import Signature, Statistics
from netmorph.bank.errors import CutError
from netmorph.bank.program import (
    INPUT,
    Piece,
    Program,
    Ref,
    mapped,
    owned,
)
from netmorph.bank.segments import Segment, around, joined, reads_matrix, segments
from netmorph.bank.source import Source
from netmorph.bank.spec import Held, Spec, renamed, tensors_of, why_not_plain
from netmorph.export.errors import ExportError
from netmorph.graph import TraceError
from netmorph.measure.cost import Cost, cost
from netmorph.observe.features import Batch, as_inputs


@dataclass(frozen=True)
class Detached:
    """A layer that was cut out of a network.

    Attributes:
        path: the module there whose work it does.
        position: how many layers were in front of it, left out ones included.
        is_last: whether it gave the network's answer.
    """

    piece: Piece
    path: str
    position: int
    is_last: bool
    input: Signature
    output: Signature
    cost: Cost
    seen: Statistics | None = None


@dataclass(frozen=True)
class Pieces:
    """A network in layers.

    Attributes:
        count: how many it was cut into.
        left_out: what could not be detached, and why.
    """

    detached: tuple[Detached, ...]
    count: int
    left_out: dict[str, str] = field(default_factory=dict)


def cut(model: nn.Module, example: Any, probes: Iterable[Batch] = (), *, whole: bool = False) -> Pieces:
    """Cut a network into layers and blocks.

    Args:
        example: what the model takes, as in `trace`: a batch of two inputs or more.
        probes: batches of what the model takes, of which statistics are kept.
        whole: leave it in one piece.

    Raises:
        CutError: its forward cannot be followed, or one tensor crosses at no two places.
    """
    try:
        source = Source.of(model, example)
    except (TraceError, ExportError) as error:
        raise CutError(f"{type(model).__name__} cannot be cut into layers: {error}") from error
    parts = segments(source.forward, source.steps)
    if whole and parts:
        first, *rest = parts
        for part in rest:
            first = first.before(part)
        parts = [first]
    else:
        parts = joined(parts)
    if not parts:
        raise CutError(
            f"{type(model).__name__} cannot be cut: at no two places one tensor alone crosses that has the batch as "
            "its first dimension. A bank takes networks whose layers and blocks follow one another"
        )
    left_out = _ends(source, parts)
    detached: list[Detached] = []
    wanted = {source.names[value] for part in parts for value in (part.start, part.end)}
    truths = [source.crossing(inputs, wanted) for inputs in source.batches]
    for position, part in enumerate(parts):
        try:
            is_last = part.end in source.forward.result
            detached.append(_detached(source, part, position, is_last, truths))
        except CutError as error:
            left_out[f"layer {position} ({_path(source, part)})"] = str(error)
    detached = _agreed(detached)
    return Pieces(tuple(_with_statistics(source, parts, detached, probes)), len(parts), left_out)


def _detached(
    source: Source, part: Segment, position: int, is_last: bool, truths: Sequence[dict[str, Tensor]]
) -> Detached:
    """The piece that does what a segment does, and does it to the bit.

    Raises:
        CutError: no file could hold it, or it does not.
    """
    piece = _piece(source, part)
    start, end = source.names[part.start], source.names[part.end]
    for truth in truths:
        given = truth[start].clone()
        with torch.no_grad():
            result = _tried(piece, given)
        if not torch.equal(result, truth[end]):
            raise CutError("alone it does not give what it gives in the network, to the bit")
        if not torch.equal(given, truth[start]):
            piece.program = replace(piece.program, copies=True)
    example = truths[-1][start]
    return Detached(piece, _path(source, part), position, is_last, *signatures(piece, example), cost(piece, example))


def _piece(source: Source, part: Segment) -> Piece:
    instructions = [source.instruction(source.steps[number]) for number in part.steps]
    for one in instructions:
        if (reason := why_not_plain(one)) is not None:
            raise CutError(reason)
    # Tensors are named anew, so that equal layers are equal wherever they stand.
    made = [name for one in instructions for name in one.outputs]
    names = {name: f"t{number}" for number, name in enumerate(made)} | {source.names[part.start]: INPUT}

    def named(leaf: Any) -> Any:
        return Ref(names[leaf.name]) if isinstance(leaf, Ref) else leaf

    instructions = [
        replace(
            one,
            args=mapped(one.args, named),
            kwargs=mapped(one.kwargs, named),
            outputs=tuple(names[name] for name in one.outputs),
        )
        for one in instructions
    ]
    layers = {one.layer for one in instructions if one.layer is not None}
    own = owned(instructions)
    shorter = _without_common({*layers, *own} - source.constants.keys())
    program = renamed(Program.of(instructions, Ref(names[source.names[part.end]])), shorter)
    spec = Spec(
        program,
        {shorter(path): source.layers[path] for path in sorted(layers)},
        {shorter(name): Held.of(source.tensor(name)) for name in own},
    )
    tensors = {shorter(name): source.tensor(name) for name in own}
    for path in layers:
        tensors |= {
            f"{shorter(path)}.{name}": tensor for name, tensor in tensors_of(source.model.get_submodule(path)).items()
        }
    try:
        return spec.build({name: tensor.detach().clone() for name, tensor in tensors.items()})
    except KeyError as error:  # PyTorch's own, for a name that a module uses itself
        raise CutError(f"no piece can hold a module or tensor of this name: {error}") from error


def _without_common(names: set[str]) -> Callable[[str], str]:
    """Takes off the modules that all names have in common."""
    outer = around(name.rpartition(".")[0] for name in names)
    return lambda name: name.removeprefix(f"{outer}.") if outer else name


def _path(source: Source, part: Segment) -> str:
    """The module around a segment; where that does more than the segment, the first inside of it that has a matrix."""
    steps = [source.steps[number] for number in part.steps]
    outside = [step.call.module for number, step in enumerate(source.steps) if number not in part.steps]
    if part.path and part.path not in {around([part.path, path]) for path in outside}:
        return part.path
    inside = [step for step in steps if step.call.module]
    first = [step for step in inside if reads_matrix(step)] or inside
    return first[0].call.module if first else ""


def _tried(piece: nn.Module, given: Tensor) -> Tensor:
    try:
        made: Tensor = piece(given)
    except Exception as error:  # whatever PyTorch says
        raise CutError(f"alone it fails: {type(error).__name__}: {error}") from error
    return made


def signatures(piece: nn.Module, example: Tensor) -> tuple[Signature, Signature]:
    """What a piece takes and gives, from one batch; a size is free if twice as much of it is taken, too."""
    with torch.no_grad():
        usual = piece(example.clone())
        free, moved = [], [False] * (usual.dim() - 1)
        for dim in range(1, example.dim()):
            try:
                larger = piece(torch.cat([example, example], dim))
            except Exception:  # whatever PyTorch says of a size that does not fit
                free.append(False)
                continue
            free.append(larger.dim() == usual.dim() and len(larger) == len(usual))
            if free[-1]:
                sizes = zip(moved, larger.shape[1:], usual.shape[1:], strict=True)
                moved = [before or one != other for before, one, other in sizes]
    fixed = [dim for dim, is_free in enumerate(free) if not is_free]
    taken = Signature.of(example, fixed[0] if len(fixed) == 1 else None)
    given = Signature.of(usual, taken.channel if usual.dim() == example.dim() else None)
    return replace(taken, free=tuple(free)), replace(given, free=tuple(moved))


def _agreed(detached: Sequence[Detached]) -> list[Detached]:
    """The layers of a network, which of their dimensions are channels told by those of which only one size is fixed."""
    sure: dict[tuple[int, ...], int] = {}
    for one in detached:
        if one.input.free.count(False) == 1:
            sure[one.input.shape] = one.input.channel
            if len(one.input.shape) == len(one.output.shape):
                sure[one.output.shape] = one.output.channel

    def told(signature: Signature) -> Signature:
        return replace(signature, channel=sure.get(signature.shape, signature.channel))

    return [replace(one, input=told(one.input), output=told(one.output)) for one in detached]


def _ends(source: Source, parts: Sequence[Segment]) -> dict[str, str]:
    """What lies outside of the first and the last cut."""
    found = {}
    if source.forward.inputs != [parts[0].start]:
        found["the beginning"] = "several tensors enter the network, or one that has no batch in front"
    if parts[-1].end not in source.forward.result:
        found["the end"] = "several tensors leave the network"
    return found


def _with_statistics(
    source: Source, parts: Sequence[Segment], detached: Sequence[Detached], probes: Iterable[Batch]
) -> Iterator[Detached]:
    """The layers with means and deviations of what enters and leaves them; as they are where there are no probes."""
    ends = [(source.names[parts[one.position].start], source.names[parts[one.position].end]) for one in detached]
    channels = {end: one.output.channel for (_, end), one in zip(ends, detached, strict=True)}
    channels |= {start: one.input.channel for (start, _), one in zip(ends, detached, strict=True)}
    counts: dict[str, int] = {}
    sums: dict[str, Tensor] = {}  # of each channel, and of the squares
    for batch in probes:
        for name, tensor in source.crossing(as_inputs(batch), set(channels)).items():
            if tensor.is_floating_point() and tensor.dim() > 1:
                rows = tensor.double().movedim(channels[name] + 1, -1).flatten(0, -2)
                counts[name] = counts.get(name, 0) + len(rows)
                sums[name] = torch.stack([rows.sum(0), rows.square().sum(0)]) + sums.get(name, 0)
    told = {name: _mean_and_deviation(sums[name] / counts[name]) for name in sums}
    for (start, end), one in zip(ends, detached, strict=True):
        nothing: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
        seen = Statistics(*told.get(start, nothing), *told.get(end, nothing))
        yield replace(one, seen=seen if told else None)


def _mean_and_deviation(means: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, square = means
    return tuple(mean.tolist()), tuple((square - mean.square()).clamp_min(0).sqrt().tolist())
