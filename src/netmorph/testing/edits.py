"""`check_edit`: everything that netmorph promises of an edit, held against what it does on a network."""

from __future__ import annotations

import copy
import json
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit import Edit, Plan, WidthEdit
from netmorph.edit.apply import apply
from netmorph.edit.journal import load, save
from netmorph.edit.undo import undo
from netmorph.errors import EditError, NetmorphError
from netmorph.export import ExportError, code, write_code
from netmorph.graph import Graph, trace
from netmorph.graph.journal import Description
from netmorph.graph.running import Inputs
from netmorph.testing.attributes import check_attributes
from netmorph.testing.compare import (
    CheckError,
    Snapshot,
    assert_close,
    assert_same_bits,
    in_float64,
    outputs,
    rounding,
    shuffled,
    state,
    step,
)
from netmorph.testing.gradients import check_gradients, warm_optimizer
from netmorph.testing.masked import can_mask, masked_outputs

DESCRIPTION = {"kind": str, "method": str, "layer": str, "before": int, "after": int}


@dataclass(frozen=True)
class Case:
    """One network under test.

    Attributes:
        original: it stays as it was.
        network: a copy that is edited, with an optimizer that has a state, and the average that goes along.
        inputs: the example inputs, and the same numbers in another order.
    """

    original: nn.Module
    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    inputs: tuple[Inputs, Inputs]

    @staticmethod
    def of(model: nn.Module, inputs: Any) -> Case:
        """A model in float64, with an optimizer that has taken steps."""
        original, given = in_float64(model, inputs)
        if not any(parameter.is_floating_point() for parameter in original.parameters()):
            raise NetmorphError(f"{type(model).__name__} has no parameters, so there is nothing to edit and to train")
        outputs(original, given)  # what it does not take is told before anything is done with it
        network = copy.deepcopy(original)
        optimizer = warm_optimizer(network, given)
        return Case(original, network, copy.deepcopy(network), optimizer, (given, shuffled(given, 1)))

    def apply(self, graph: Graph, edit: Edit) -> Graph:
        """Make the edit on all that takes part."""
        return apply(graph, edit, self.optimizer)

    def undo(self, graph: Graph) -> Graph:
        """Take it back on all that takes part."""
        return apply(graph, undo(graph), self.optimizer)

    def snapshot(self) -> Snapshot:
        """As the edited network is now."""
        return Snapshot.of(self.network, self.optimizer)


def check_edit(model: nn.Module, inputs: Any, edit: Callable[[Graph], Edit], *, export: bool = True) -> None:
    """Make an edit on a float64 copy of a network, and hold against it all that an edit promises.

    - `plan` changes nothing, and says the same twice; `describe` is a `Description` of plain values.
    - An edit that claims to be exact gives the outputs of the original, also on other inputs than the example ones.
    - A narrowing gives those of the masked original (see `masked_outputs`).
    - A copy of the network (a moving average) that is edited along gets the same bits.
    - `undo` puts everything back, to the bit: weights, attributes, optimizer. The edit made again gives the same bits.
    - Saved and loaded, the journal replayed over the original network gives the same bits and the same groups.
    - The edited network can be written as code, if the original can.
    - Gradients reach every new entry, and the optimizer moves all that has one (see `check_gradients`).
    - Once it is trained, `undo` gives the old shapes, or refuses and changes nothing.

    Args:
        model: a small network, which stays as it is.
        inputs: what `trace` takes as example inputs.
        edit: makes the edit from a graph: `lambda graph: netmorph.widen(graph, "conv1", 12)`.
        export: whether the network is written as code, which takes longest.

    Raises:
        CheckError: a promise is not kept; the message says which, and where.
        NetmorphError: the model is none, has no parameters or does not take the inputs; or `edit` itself raised that it
            cannot be made on this network.
    """
    if not callable(edit):
        raise NetmorphError(
            "check_edit takes a function that makes the edit from a graph (it traces a copy in float64), not "
            f"{type(edit).__name__}: write lambda graph: netmorph.widen(graph, ...)"
        )
    case = Case.of(model, inputs)
    graph = trace(case.network, case.inputs[0], copies=[case.average])
    made = edit(graph)
    told = _check_description(made)
    exact = _check_plan(case, graph, made)
    bound = rounding(graph)
    expected = [outputs(case.original, given) for given in case.inputs]
    masked = _masked(graph, made)

    before = case.snapshot()
    with step(f"applying {told}"):
        after = case.apply(graph, made)
    if exact:
        for given, one in zip(case.inputs, expected, strict=True):
            assert_close(one, outputs(case.network, given), bound, f"{told} claims to be exact")
    if masked is not None:
        got = outputs(case.network, case.inputs[0])
        assert_close(masked, got, bound, f"after {told}, against the original with those channels masked")
    check_attributes(case.network)
    assert_same_bits(state(case.network), state(case.average), f"after {told}, a copy that was edited along")

    edited = case.snapshot()
    with step(f"undo of {told}"):
        graph = case.undo(after)
    before.assert_same(case.snapshot(), f"after undo of {told}")
    assert_same_bits(state(case.original), state(case.average), f"after undo of {told}, a copy")
    with step(f"applying {told} again"):
        after = case.apply(graph, made)
    edited.assert_same(case.snapshot(), f"after {told}, undo and the same edit again")

    _check_saved(case, after, told, bound)
    if export:
        _check_code(case, after, told)
    check_gradients(after, case.optimizer, case.inputs[0])
    _check_undo_of_trained(case, after, told)


def _check_description(edit: Edit) -> str:
    """The edit for messages."""
    if not isinstance(edit, Edit):
        raise CheckError(f"{type(edit).__name__} is no edit: it needs plan(graph) and describe()")
    with step(f"describe() of {type(edit).__name__}"):
        told = edit.describe()
    if not isinstance(told, Description):
        raise CheckError(f"describe() of {type(edit).__name__} returned {type(told).__name__}; a Description is needed")
    with step(f"describe() of {type(edit).__name__} as JSON"):
        written = json.loads(json.dumps(told.as_json()))
    for key, kind in DESCRIPTION.items():
        if not isinstance(written.get(key), kind):
            raise CheckError(
                f"describe() of {type(edit).__name__} has {written.get(key)!r} as {key!r}; a {kind.__name__} is needed"
            )
    if written != told.as_json():
        raise CheckError(f"describe() of {type(edit).__name__} is not plain JSON: {told} becomes {written} in a file")
    return f"{told.kind} ({told.method}) of {told.layer!r}"


def _check_plan(case: Case, graph: Graph, edit: Edit) -> bool:
    """Whether the plan claims to be exact."""
    before = case.snapshot()
    kind = type(edit).__name__
    with step(f"plan() of {kind}"):
        plan, again = edit.plan(graph), edit.plan(graph)
    before.assert_same(case.snapshot(), f"plan() of {kind} must change nothing")
    told = f"two plans of one {kind} differ; draw random numbers from a seed of its own"
    assert_same_bits(_parts(plan), _parts(again), told)
    return plan.exact


def _parts(plan: Plan) -> dict[str, Tensor]:
    modules = plan.new_modules.items()
    return plan.tensors | {f"{path}.{name}": held for path, module in modules for name, held in state(module).items()}


def _masked(graph: Graph, edit: Edit) -> list[Tensor] | None:
    """What a narrowing should give; nothing where the edit does something else, or the oracle cannot tell."""
    if not isinstance(edit, WidthEdit) or edit.readings:
        return None
    kept = {graph.group(name).name: channels.source.tolist() for name, channels in edit.changes.items()}
    narrows = all(
        channels.m < channels.n and bool((channels.share == 1).all() and not channels.is_fresh.any())
        for channels in edit.changes.values()
    )
    return masked_outputs(graph, kept) if narrows and can_mask(graph, kept) else None


def _check_saved(case: Case, graph: Graph, told: str, bound: float) -> None:
    with TemporaryDirectory() as folder, step(f"saving and loading after {told}"):
        path = Path(folder) / "network.safetensors"
        save(path, case.network, graph.journal)
        loaded, journal = load(path, base=lambda: copy.deepcopy(case.original))
        again = trace(loaded, case.inputs[0], journal)
    assert_same_bits(state(case.network), state(loaded), f"loaded after {told}")
    assert_close(outputs(case.network, case.inputs[0]), outputs(loaded, case.inputs[0]), bound, f"loaded after {told}")
    groups = [{name: (group.size, group.allow) for name, group in found.groups.items()} for found in (graph, again)]
    if groups[0] != groups[1]:
        raise CheckError(f"loaded after {told}, the network has the groups {groups[1]} instead of {groups[0]}")
    written, read = (json.dumps([entry.as_json() for entry in entries]) for entries in (graph.journal, journal))
    if written != read:
        raise CheckError(f"the journal after {told} is another one when it is loaded: {read} instead of {written}")


def _check_code(case: Case, graph: Graph, told: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.py"
        try:
            write_code(graph, path)
        except ExportError as error:
            if _is_writable(case):
                raise CheckError(f"the original can be written as code, after {told} it cannot: {error}") from error
            return
        with step(f"loading the code written after {told}"):
            written = state(runpy.run_path(str(path))["load"]())
    own = state(case.network)
    assert_same_bits(own, {name: tensor for name, tensor in written.items() if name in own}, f"written after {told}")


def _is_writable(case: Case) -> bool:
    try:
        code(trace(copy.deepcopy(case.original), case.inputs[0]))
    except ExportError:
        return False
    return True


def _check_undo_of_trained(case: Case, graph: Graph, told: str) -> None:
    trained = case.snapshot()
    try:
        case.undo(graph)
    except EditError:
        trained.assert_same(case.snapshot(), f"undo of {told} refused after training, which must change nothing")
        return
    held = state(case.original), state(case.network)
    shapes, own = ({name: tensor.shape for name, tensor in tensors.items()} for tensors in held)
    if shapes != own:
        different = sorted(name for name in shapes.keys() | own.keys() if shapes.get(name) != own.get(name))
        raise CheckError(f"undo of {told} after training leaves other shapes than before: {', '.join(different[:3])}")
    with step(f"running the network after undo of {told} once it was trained"):
        outputs(case.network, case.inputs[0])
