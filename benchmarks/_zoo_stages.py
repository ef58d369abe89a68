"""What `benchmarks.zoo` measures on one model, each in a process of its own: one line of JSON whenever more is known.

    python -m benchmarks._zoo_stages SIDE SUITE MODEL INPUT

SIDE is `netmorph` or `torch_pruning`, which are timed, or `checks`.
"""

from __future__ import annotations

import collections
import json
import os
import random
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

import netmorph
from benchmarks._vision import nothing_trivial, zoo_model
from netmorph import EditError, apply
from netmorph.edit import WidthEdit
from netmorph.graph import Allow, Graph, Group, trace
from netmorph.graph.record import tensors_in
from netmorph.graph.running import Inputs
from netmorph.testing.kept import OVER_KEPT, attention_scaled_by_kept
from netmorph.testing.masked import can_mask, channel_masks, masked_outputs, masked_values, only_kept
from netmorph.widenings import WIDENINGS, ChannelMap, keep

LINE = "RESULT "  # begins a line of results; libraries may print others
CLASSES = 1000
TOLERANCE = 1e-10  # of outputs in float64, relative to the largest
ROUNDED = 1e-5  # where the forward itself goes through float32, whatever type it gets
SINGLE_GROUPS = 5
SINGLE_SECONDS = 60.0  # for edits one by one
METHODS = ("r2r", "net2net", "unequal_split", "zero")

Result = dict[str, Any]
Build = Callable[[torch.dtype], tuple[nn.Module, Inputs]]  # the same network at each call
Stage = Callable[[Build], Iterator[Result]]


def speed(build: Build) -> Iterator[Result]:
    """Seconds to trace and to halve every free group in float32, and the parameters that are left."""
    model, inputs = build(torch.float32)
    yield {"parameters": _parameters(model)}
    started = time.perf_counter()
    graph = trace(model, inputs)
    traced = time.perf_counter()
    yield {
        "trace_seconds": traced - started,
        "groups": dict(collections.Counter(group.allow.name.lower() for group in graph.groups.values())),
        "limits": _limits(graph),
    }
    edit = _halving(_halves(graph), graph)
    started = time.perf_counter()
    apply(graph, edit)
    yield {"edit_seconds": time.perf_counter() - started, "parameters_left": _parameters(model)}


def widen(build: Build) -> Iterator[Result]:
    """Every group that allows it widened exactly: all in one edit, and a few one by one."""
    model, inputs = build(torch.float64)
    graph = trace(model, inputs)
    before = outputs(model, inputs)
    changes = _widenings(graph)
    yield {"groups": len(changes)}
    if not changes:
        yield {"status": "nothing free"}
        return
    try:
        apply(graph, WidthEdit(changes, "widen every group"))
    except EditError as error:
        yield {"status": "refused", **_told(error), "restored": gap_of(before, outputs(model, inputs)) == 0}
        yield {"single": _one_by_one(graph, changes, before, len(changes))}
        return
    gap = gap_of(before, outputs(model, inputs))
    yield {"status": "exact" if gap <= tolerance(graph) else "differs", "error": gap}
    del model, graph
    model, inputs = build(torch.float64)
    yield {"single": _one_by_one(trace(model, inputs), changes, before, SINGLE_GROUPS)}


def halve(build: Build) -> Iterator[Result]:
    """Every free group halved in one edit: forward and backward run, and equal the masked original."""
    model, inputs = build(torch.float64)
    trained = _trained(model, inputs)
    graph = trace(model, inputs)
    kept = _halves(graph)
    yield {"groups": len(kept)}
    if not kept:
        yield {"status": "nothing free"}
        return
    yield {"step": "masked original"}
    expected = masked_outputs(graph, kept) if can_mask(graph, kept) else None
    yield {"step": "edit"}
    try:
        apply(graph, _halving(kept, graph))
    except EditError as error:
        yield {"status": "refused", **_told(error)}
        changes = {group: keep(graph.group(group).size, channels) for group, channels in kept.items()}
        yield {"single": _one_by_one(graph, changes, None, len(changes))}
        return
    yield {"step": "forward and backward"}
    found = outputs(model, inputs)
    if expected is None:  # data decides the way of the forward, or random numbers are drawn for the channels
        finite = all(bool(tensor.isfinite().all()) for tensor in found if tensor.is_floating_point())
        yield {"status": "runs" if finite else "not finite"}
        return
    gap = gap_of(expected, found)
    missing = sorted(trained - _trained(model, inputs))
    yield {"error": gap, "missing_gradients": missing[:5]}
    wrong = gap > tolerance(graph)
    yield {"status": "differs" if wrong else "no gradient" if missing else "equal"}
    if wrong:
        yield {"step": "what differs"}
        yield _why(build, model, kept, found)


def prune(build: Build) -> Iterator[Result]:
    """Torch-Pruning, asked to halve all channels by magnitude, with no hints but which layers are the classifier."""
    import torch_pruning as tp

    model, inputs = build(torch.float32)
    classifiers = [
        module
        for module in model.modules()
        if CLASSES in (getattr(module, "out_features", 0), getattr(module, "out_channels", 0))
    ]
    yield {"parameters": _parameters(model), "status": "fail_init"}
    started = time.perf_counter()
    pruner = tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=2), pruning_ratio=0.5, ignored_layers=classifiers
    )
    yield {"init_seconds": time.perf_counter() - started, "status": "fail_prune"}
    pruner.step()
    seconds = time.perf_counter() - started
    yield {"seconds": seconds, "parameters_left": _parameters(model), "status": "fail_forward"}
    outputs(model, inputs)
    yield {"status": "ok"}


SIDES: dict[str, tuple[Stage, ...]] = {"netmorph": (speed,), "torch_pruning": (prune,), "checks": (widen, halve)}


def classifier(suite: str, name: str, shape: Sequence[int]) -> Build:
    """A network of the zoo and one image."""

    def build(dtype: torch.dtype) -> tuple[nn.Module, Inputs]:
        model = nothing_trivial(zoo_model(suite, name)).to(dtype)
        return model, (torch.randn(1, *shape, generator=torch.Generator().manual_seed(1)).to(dtype),)

    return build


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _limits(graph: Graph) -> dict[str, int]:
    """How many groups each reason keeps from being free, without where it was met."""
    reasons = [
        f"{group.allow.name.lower()}: {re.sub(r' in [^ ]+ [(].*[)]$', '', group.reasons[0])}"
        for group in graph.groups.values()
        if group.allow < Allow.ANY
    ]
    return dict(collections.Counter(reasons).most_common(12))


def _halves(graph: Graph) -> dict[str, list[int]]:
    """By group, the channels that stay: a random half, at least one."""
    draw = random.Random(0)
    return {
        group.name: sorted(draw.sample(range(group.size), max(group.size // 2, group.least)))
        for group in graph.editable(Allow.INEXACT)
        if group.size > 1
    }


def _halving(kept: Mapping[str, list[int]], graph: Graph) -> WidthEdit:
    return WidthEdit({name: keep(graph.group(name).size, channels) for name, channels in kept.items()}, "keep half")


def _widenings(graph: Graph) -> dict[str, ChannelMap]:
    """An exact widening of every group that allows one, with all methods in turn."""
    generator = torch.Generator().manual_seed(0)

    def widening(number: int, group: Group) -> ChannelMap:
        if group.allow == Allow.UNIFORM:
            return WIDENINGS["net2net"](group.size, 2 * group.size, generator)
        method = WIDENINGS[METHODS[number % len(METHODS)]]
        return method(group.size, group.size + max(2, group.size // 8), generator)

    return {group.name: widening(number, group) for number, group in enumerate(graph.editable(Allow.UNIFORM))}


def _one_by_one(graph: Graph, changes: Mapping[str, ChannelMap], before: list[Tensor] | None, count: int) -> Result:
    """Edits one after the other on one network, for as many groups as there is time.

    Args:
        before: what the outputs must stay equal to; None where the edits are not exact.
    """
    deadline = time.perf_counter() + SINGLE_SECONDS
    failures: dict[str, str] = {}
    tried = 0
    for name in random.Random(0).sample(sorted(changes), min(count, len(changes))):
        if time.perf_counter() > deadline:
            break
        tried += 1
        try:
            graph = apply(graph, WidthEdit({name: changes[name]}, "one group"))
        except Exception as error:  # whatever goes wrong with one group is a result
            failures[name] = f"{type(error).__name__}: {error}"[:300]
            continue
        if before is not None:
            gap = gap_of(before, outputs(graph.model, graph.inputs))
            if gap > tolerance(graph):
                failures[name] = f"differs by {gap:.1e}"
    return {"tried": tried, "failed": len(failures), "failures": dict(list(failures.items())[:5])}


def called(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The tensors of what the model returns."""
    return tensors_in(model(**inputs) if isinstance(inputs, dict) else model(*inputs))


def outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Those without gradients, with the same random numbers at each call."""
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(3)
        return called(model, inputs)


def tolerance(graph: Graph) -> float:
    """How much outputs may differ: a norm that computes in float32 keeps a float64 network to its own precision."""
    made = {value.dtype for call in graph.recording.calls for value in call.outputs}
    return ROUNDED if torch.float32 in made else TOLERANCE


def gap_of(expected: list[Tensor], found: list[Tensor]) -> float:
    """The largest difference relative to the largest value; infinite where shapes or NaNs differ."""
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in found]:
        return float("inf")
    pairs = [(_exactly(one), _exactly(other)) for one, other in zip(expected, found, strict=True) if one.numel()]
    gaps = [float((one - other).abs().max() / one.abs().max().clamp_min(1e-300)) for one, other in pairs]
    return max((float("inf") if gap != gap else gap for gap in gaps), default=float("inf"))


def _exactly(tensor: Tensor) -> Tensor:
    """In a type that divides: codes and masks are whole numbers."""
    return tensor if tensor.is_complex() else tensor.double()


def _trained(model: nn.Module, inputs: Inputs) -> set[str]:
    """The parameters that get a finite gradient in eval mode."""
    model.eval()  # models that cache what they compute from weights drop it then
    generator = torch.Generator().manual_seed(2)
    model.zero_grad(set_to_none=True)
    results = [leaf for leaf in called(model, inputs) if leaf.requires_grad]
    torch.stack(
        [(leaf * torch.randn(leaf.shape, generator=generator).to(leaf)).sum() for leaf in results]
    ).sum().backward()
    found = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.isfinite().all())}
    model.zero_grad(set_to_none=True)
    return found


def _why(build: Build, narrowed: nn.Module, kept: Mapping[str, list[int]], found: list[Tensor]) -> Result:
    """What tells the narrowed network from the masked original: the first module that does, in the forward's order."""
    model, inputs = build(torch.float64)
    graph = trace(model, inputs)
    rescaled = OVER_KEPT | {torch.ops.aten.scaled_dot_product_attention.default: attention_scaled_by_kept}
    allowed = tolerance(graph)
    if gap_of(masked_outputs(graph, kept, rescaled), found) <= allowed:
        return {"why": "only the scale of attention, which follows from the width that is left"}
    masks = channel_masks(graph, kept)
    values = masked_values(graph, masks)
    actual = _module_outputs(narrowed, inputs)
    for path, tensor in actual.items():
        value = graph.recording.module_outputs.get(path)
        if value in values:
            expected = only_kept(values[value], value.axes, masks)
            if (gap := gap_of([expected], [tensor])) > allowed:
                kind = type(model.get_submodule(path)).__name__
                return {"why": f"first seen behind module {path!r} ({kind}): {gap:.1e}, {tuple(expected.shape)}"}
    return {"why": "outside of any module"}


def _module_outputs(model: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """What each module of a forward returned, in order, where that is one tensor."""
    paths = {id(module): path for path, module in model.named_modules()}
    found: dict[str, Tensor] = {}

    def keep_output(module: nn.Module, args: Any, result: Any) -> None:
        if id(module) in paths and isinstance(result, Tensor):
            found[paths[id(module)]] = result

    handle = register_module_forward_hook(keep_output)
    try:
        outputs(model, inputs)
    finally:
        handle.remove()
    return found


def _told(error: BaseException) -> Result:
    """Type, message and the innermost line of netmorph."""
    package = os.path.dirname(netmorph.__file__)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(package)] or frames
    location = f"{os.path.relpath(own[-1].filename, os.path.dirname(package))}:{own[-1].lineno} {own[-1].name}"
    return {"type": type(error).__name__, "message": str(error)[:1500], "location": location}


def main(side: str, suite: str, name: str, shape: str) -> None:
    torch.set_num_threads(1)
    measure(SIDES[side], classifier(suite, name, [int(length) for length in shape.split("x")]))


def measure(stages: Sequence[Stage], build: Build) -> None:
    """Print what each stage yields, as it comes, and how long it took."""
    for stage in stages:
        done: Result = {}
        started = time.perf_counter()
        try:
            for part in stage(build):
                done |= part
                _print({stage.__name__: part})
        except Exception as error:  # any failure is a result
            _print({stage.__name__: _told(error) | ({} if stage is prune else {"status": "failed"})})
            if stage is speed and "trace_seconds" not in done:
                return  # nothing else can be tried
        _print({stage.__name__: {"seconds": round(time.perf_counter() - started, 2)}})


def _print(result: Result) -> None:
    print(f"\n{LINE}{json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
