"""Written code is run, and held against the model: outputs, buffers and gradients, in eval and in training mode."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.export.autograd import custom, told
from netmorph.export.errors import ExportError
from netmorph.export.merge import Forward, with_batch
from netmorph.graph import Graph, TraceError
from netmorph.graph.record import tensors_in
from netmorph.graph.running import Inputs, no_fused_attention, run, untouched

# Relative to the largest number of a tensor; 1e-4 for all other types.
TOLERANCE = {torch.float64: 1e-10, torch.complex128: 1e-10}


def check(graph: Graph, forward: Forward, text: str, tensors: dict[str, Tensor]) -> None:
    """Run the code, and compare with the model.

    Raises:
        ExportError: they differ; the message says where.
    """
    space: dict[str, Any] = {"__name__": "network"}
    with torch.random.fork_rng(devices=[]):
        exec(compile(text, "<network written by netmorph>", "exec"), space)  # our own text, made of the recording
        network: nn.Module = space["Network"]()
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    if {name: tensor.shape for name, tensor in own.items()} != {name: t.shape for name, t in tensors.items()}:
        raise ExportError(f"the code has other tensors than the model: {sorted(own.keys() ^ tensors.keys())}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
    device = next(graph.model.parameters(), torch.empty(0)).device
    network.to(device)
    batches = [forward.batch, forward.batch + 2] if forward.free and forward.batch else [None]
    modes = [(batch, False) for batch in batches] + [(batches[-1], True)] * forward.trains
    for batch, training in modes:
        inputs = with_batch(graph.inputs, batch) if batch else graph.inputs
        results = partial(_results, graph.model, training)
        _compare(
            results,
            results(graph.model, inputs),
            (graph.model, network),
            inputs,
            f"the code does not compute what the model does{' in training mode' if training else ''}: {{}}. Does the "
            "forward depend on values, or keep something from one call to the next?",
        )
    # Two samples, where that may be chosen, are the fewest that batch norm trains on.
    inputs = with_batch(graph.inputs, max(2, batches[0])) if batches[0] else graph.inputs
    _check_gradients(graph, forward, network, inputs)


def _compare(
    results: Callable[[nn.Module, Inputs], dict[str, Tensor]],
    expected: dict[str, Tensor],
    networks: tuple[nn.Module, nn.Module],
    inputs: Inputs,
    message: str,
) -> None:
    """Hold the results of the written network against those of the model, if that gives the same twice."""
    model, network = networks
    try:
        got = results(network, _given(inputs))
    except (TraceError, RuntimeError) as failure:
        raise ExportError(f"this network cannot be written as code: what was written fails: {failure}") from failure
    difference = _difference(expected, got)
    if difference and not _difference(expected, results(model, inputs)):
        raise ExportError(message.format(difference))


def _results(model: nn.Module, training: bool, network: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """The outputs, and what the forward leaves in those buffers that the model has, for one and the same seed."""
    buffers = {}

    @contextlib.contextmanager
    def kept() -> Iterator[None]:
        yield
        held = dict(network.named_buffers())
        buffers.update({f"buffer {name}": held[name].clone() for name, _ in model.named_buffers() if name in held})

    with untouched(network):
        torch.manual_seed(0)
        result = run(network, inputs, training=training, following=kept)
    outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    return {f"output {number}": tensor for number, tensor in enumerate(outputs)} | buffers


# -- gradients ---------------------------------------------------------------------------------------------------------


def _check_gradients(graph: Graph, forward: Forward, network: nn.Module, inputs: Inputs) -> None:
    """Hold the gradients of parameters and inputs against the model's: in float64, or else as the networks are.

    In float64 a model may compute with other types than those that were recorded (`x.to(y.dtype)`), so that a
    difference there says nothing yet. A model that has no gradients (its forward or backward fails) has nothing to
    compare.
    """
    for training in (False, True)[: 1 + forward.trains]:
        mode = "training" if training else "eval"
        message = f"the code does not train as the model does in {mode} mode: {{}}.{_causes(graph.model, forward)}"
        failure: ExportError | None = None
        for model, other, given in _in_float64(graph.model, network, inputs):
            ways = [partial(_gradients, training, of_inputs) for of_inputs in (True, False)]
            found = ((way, _tried(way, model, given)) for way in ways)
            way, expected = next(((way, made) for way, made in found if made is not None), (ways[0], None))
            if expected is None:
                continue
            try:
                _compare(way, expected, (model, other), given, message)
            except ExportError as error:
                failure = error
            else:
                failure = None
                break
        if failure is not None:
            raise failure


def _tried(
    gradients: Callable[[nn.Module, Inputs], dict[str, Tensor]], model: nn.Module, inputs: Inputs
) -> dict[str, Tensor] | None:
    try:
        return gradients(model, inputs)
    except Exception:  # whatever the user's forward raises
        return None


def _in_float64(model: nn.Module, network: nn.Module, inputs: Inputs) -> Iterator[tuple[nn.Module, nn.Module, Inputs]]:
    """Both networks in float64, if the model can be copied; then as they are."""
    try:
        one, other = _doubled(model), _doubled(network)
    except Exception:  # whatever a user's own __deepcopy__ raises, and tensors inside of a graph
        pass
    else:
        own = {name for name, _ in model.named_buffers()}
        for name, tensor in network.named_buffers(recurse=False):
            if name not in own:  # a captured tensor, which stays what it is in the model, too
                setattr(other, name, tensor)
        yield one, other, tree_map(lambda leaf: leaf.double() if _is_float(leaf) else leaf, inputs)
    yield model, network, inputs


def _doubled(network: nn.Module) -> nn.Module:
    made = copy.deepcopy(network).double()
    for parameter, original in zip(made.parameters(), network.parameters(), strict=True):
        for hook in (original._backward_hooks or {}).values():  # a copy has none of them
            parameter.register_hook(hook)
    return made


def _gradients(training: bool, of_inputs: bool, network: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """The gradients of a weighted sum of the outputs, for one and the same seed; nothing for a tensor that has none."""
    with untouched(network), no_fused_attention(), torch.inference_mode(False), torch.enable_grad():
        for module in network.modules():
            if not isinstance(module, torch.jit.ScriptModule):
                module.training = training
        leaves: dict[str, Tensor] = {}

        def entered(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            if not of_inputs or not (leaf.is_floating_point() or leaf.is_complex()):
                return leaf.clone()
            leaves[f"input {len(leaves)}"] = start = leaf.detach().clone().requires_grad_()
            return start.clone()  # which a forward may change in place

        given = tree_map(entered, inputs)
        leaves |= {name: p for name, p in network.named_parameters() if p.requires_grad}
        torch.manual_seed(0)
        result = network(**given) if isinstance(given, dict) else network(*given)
        parts = [torch.view_as_real(leaf) if leaf.is_complex() else leaf for leaf in tensors_in(result)]
        weights = torch.Generator().manual_seed(1)
        sums = [
            (part * torch.randn(part.shape, generator=weights, dtype=torch.float64).to(part)).sum()
            for part in parts
            if part.requires_grad
        ]
        if not sums or not leaves:
            return {}
        loss = torch.stack([one.double() for one in sums]).sum()
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {f"the gradient of {name}": g for name, g in zip(leaves, found, strict=True) if g is not None}


def _causes(model: nn.Module, forward: Forward) -> str:
    """What may be why, for a message."""
    seen = [f"the module {path or '(the model itself)'}" for path, m in model.named_modules() if _has_hooks(m)]
    causes = [f" Hooks on the gradients of {', '.join(seen[:3])} are not written."] if seen else []
    steps = [told(step.call) for step in forward.steps if custom(step.call) is not None]
    return (
        "".join(causes)
        or (f" It holds {', '.join(steps[:3])}." if steps else "")
        + " Does the forward change data or gradients in a way that no operator tells of?"
    )


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._backward_hooks or module._backward_pre_hooks)


# -- differences -------------------------------------------------------------------------------------------------------


def _difference(expected: dict[str, Tensor], got: dict[str, Tensor]) -> str:
    """Where two results differ, or nothing."""
    if expected.keys() != got.keys():
        return f"only one of them has {', '.join(sorted(expected.keys() ^ got.keys())[:5])}"
    largest = max(
        (float(t.abs().amax()) for name, t in expected.items() if "gradient" in name and t.numel()), default=0.0
    )
    for name, tensor in expected.items():
        # Of gradients of zero (a bias in front of a norm) only rounding is left.
        least = 1e-3 * largest if "gradient" in name else 0.0
        error = _error(tensor, got[name], least)
        if not error <= TOLERANCE.get(tensor.dtype, 1e-4):
            return f"{name} differs by {error:.1e} (relative)"
    return ""


def _error(expected: Tensor, got: Tensor, least: float = 0.0) -> float:
    if (expected.shape, expected.dtype) != (got.shape, got.dtype):
        return float("inf")
    if not (expected.is_floating_point() or expected.is_complex()):
        return 0.0 if torch.equal(expected, got) else float("inf")
    if torch.isclose(expected, got, rtol=0, atol=0, equal_nan=True).all():  # infinities too
        return 0.0
    scale = expected.abs().max().clamp_min(max(least, torch.finfo(expected.dtype).tiny))
    return float((expected - got).abs().max() / scale) if expected.numel() else 0.0


def _given(inputs: Inputs) -> Inputs:
    """The arguments that the written network takes: those with tensors."""
    if isinstance(inputs, dict):
        return {name: value for name, value in inputs.items() if _has_tensor(value)}
    return tuple(value for value in inputs if _has_tensor(value))


def _has_tensor(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in tree_leaves(value))


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
