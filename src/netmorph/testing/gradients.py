"""Whether what an edit adds can learn: gradients reach every new entry, and the optimizer moves it.

Which entries ought to be reached is not guessed: the same network with random numbers in the new entries tells it. What
gets a gradient there, and not from the numbers that the edit chose (behind a ReLU on exact zeros), would never learn.
What is inactive on these inputs by chance is another matter: flat activations let some gradient through wherever their
input is not exactly zero, and one entry of a kernel stands for all, because pooling picks positions.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netmorph.edit import new_entries
from netmorph.edit.snapshot import Before
from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.record import tensors_in
from netmorph.graph.running import Inputs, no_fused_attention, untouched
from netmorph.testing.compare import CheckError, shuffled

STEPS = 4
RATE = 1e-3
# Relative to the largest gradient: what is below is rounding; what is above could hardly be missed.
NOISE, CLEAR = 1e-12, 1e-6
LEAK = 0.1
FLAT = {
    *(torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu, F.relu_),
    *(F.relu6, F.hardtanh, F.hardtanh_, F.hardswish, F.hardsigmoid, F.threshold, F.hardshrink, F.softshrink),
    *(torch.clamp, Tensor.clamp, Tensor.clamp_, torch.clamp_min, Tensor.clamp_min),
}
# Flat within the operator: round ones stand in.
ROUND: dict[Any, Any] = {torch.rnn_relu: torch.rnn_tanh, torch.rnn_relu_cell: torch.rnn_tanh_cell}
SLOPES = {F.prelu, torch.prelu}  # their slopes are parameters that only negative numbers meet
# Flat for what is negative beside a zero, as of padding.
POOLS = {F.max_pool1d, F.max_pool2d, F.max_pool3d, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d}

Entries = dict[str, Tensor]


class Leaky(TorchFunctionMode):
    """Activations that let gradients through everywhere but at exact zeros; not in place."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The activation, and a part of what it takes away."""
        if func in SLOPES | POOLS and not (kwargs or {}).get("return_indices"):
            return func(*args, **(kwargs or {})) + LEAK * func(-args[0], *args[1:], **(kwargs or {}))
        if func in ROUND:
            return ROUND[func](*args, **(kwargs or {}))
        if func not in FLAT or not args[0].is_floating_point():
            return func(*args, **(kwargs or {}))
        x = args[0]
        y = func(x.clone(), *args[1:], **(kwargs or {}))
        return y + LEAK * torch.where(x == 0, 0.0, x - y)


def warm_optimizer(model: nn.Module, inputs: Inputs) -> torch.optim.Optimizer:
    """An optimizer with a state of some steps that have moved nothing."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    for seed in range(2):
        optimizer.zero_grad()
        if backward(model, shuffled(inputs, seed), seed):
            optimizer.step()
    optimizer.zero_grad()
    for group in optimizer.param_groups:
        group["lr"] = RATE
    return optimizer


def check_gradients(graph: Graph, optimizer: torch.optim.Optimizer, inputs: Inputs) -> None:
    """After an edit, gradients reach all that it added, and the optimizer moves whatever has a gradient.

    The network is trained for a few steps, in eval mode and towards random targets.

    Args:
        graph: as `apply` returned it.
        optimizer: that `apply` carried.

    Raises:
        CheckError: a new entry gets no gradient, though another number in its place would; a parameter is not the
            optimizer's; or an entry with a gradient does not move.
    """
    parameters = dict(graph.model.named_parameters())
    _check_held(parameters, optimizer)
    new = added_entries(graph)
    possible = _reached(_with_random_entries(graph.model, new), inputs, CLEAR)
    start = {name: p.detach().clone() for name, p in parameters.items()}
    reached = _reached(graph.model, inputs, NOISE, optimizer)
    for name, entries in new.items():
        ought, does = (_kernels(entries & found[name]) for found in (possible, reached))
        if (~entries & possible[name] & ~reached[name]).any():
            continue  # the old entries fare no better: a norm over equal copies, say
        _complain(
            name,
            ought & ~does,
            f"new entries get no gradient in {STEPS} steps, though with other numbers in their place they would: what "
            "the edit starts them with cannot learn",
        )
    for name, parameter in parameters.items():
        still = reached[name] & (parameter.detach() == start[name])
        _complain(name, still, "entries have a gradient, and the optimizer that apply carried does not move them")


def added_entries(graph: Graph) -> Entries:
    """Which entries the last edit added; of tensors that it resized in a way of its own, all."""
    try:
        return new_entries(graph)
    except EditError:
        before = graph.journal[-1].before
        if not isinstance(before, Before):
            raise
        parts = before.parts[0]
        return {
            name: torch.ones_like(p, dtype=torch.bool)
            for name, p in graph.model.named_parameters()
            if parts.shapes.get(name, []) != list(p.shape) and (name in parts.changed or name not in parts.shapes)
        }


def backward(model: nn.Module, inputs: Inputs, seed: int) -> bool:
    """Gradients of a distance to random targets, in eval mode; whether there is anything to train."""
    generator = torch.Generator().manual_seed(seed)
    with untouched(model), no_fused_attention(), torch.inference_mode(False), torch.enable_grad(), Leaky():
        result = model.eval()(**inputs) if isinstance(inputs, dict) else model.eval()(*inputs)
        found = [torch.view_as_real(t) if t.is_complex() else t for t in tensors_in(result)]
        found = [t for t in found if t.requires_grad]
        targets = [torch.randn(t.shape, generator=generator).to(t) for t in found]
        losses = [(t - target).square().sum() for t, target in zip(found, targets, strict=True)]
        if losses:
            torch.stack([loss.double() for loss in losses]).sum().backward()
    return bool(losses)


def _reached(model: nn.Module, inputs: Inputs, bound: float, optimizer: torch.optim.Optimizer | None = None) -> Entries:
    """For each parameter, which entries ever got a gradient above a bound; trained in between where there is a way."""
    parameters = dict(model.named_parameters())
    reached = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in parameters.items()}
    for seed in range(STEPS):
        model.zero_grad()
        if backward(model, shuffled(inputs, seed), seed):
            gradients = {name: p.grad.abs() for name, p in parameters.items() if p.grad is not None}
            largest = max((float(gradient.amax()) for gradient in gradients.values() if gradient.numel()), default=0.0)
            for name, gradient in gradients.items():
                reached[name] |= gradient > bound * largest
            if optimizer is not None:
                optimizer.step()
    model.zero_grad()
    return reached


def _with_random_entries(model: nn.Module, new: Entries) -> nn.Module:
    """A copy with random numbers, as large as the other ones, in the new entries."""
    other = copy.deepcopy(model)
    parameters = dict(other.named_parameters())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, entries in new.items():
            noise = torch.randn(entries.shape, generator=generator).to(parameters[name])
            parameters[name].copy_(torch.where(entries, noise, parameters[name]))
    return other


def _kernels(entries: Tensor) -> Tensor:
    """Whether there is any entry in a kernel `[out, in, *kernel]`: `[out, in]`."""
    return entries.flatten(2).any(2) if entries.dim() > 2 else entries


def _check_held(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    own = {id(p) for p in parameters.values()}
    missing = sorted(name for name, p in parameters.items() if p.requires_grad and id(p) not in held)
    if missing or held - own:
        raise CheckError(
            f"after apply the optimizer lacks {', '.join(missing[:3]) or 'no parameter'}, and holds "
            f"{len(held - own)} that are not the model's"
        )
    if {id(p) for p in optimizer.state} - held:
        raise CheckError("after apply the optimizer keeps the state of parameters that have gone")


def _complain(name: str, entries: Tensor, why: str) -> None:
    if entries.any():
        first = tuple(entries.nonzero()[0].tolist())
        raise CheckError(f"{name}: {int(entries.sum())} of {entries.numel()} {why} (first at {first})")
