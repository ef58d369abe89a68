"""Modules that PyTorch computes past their parts: found by running a network in every mode, and made to use them.

In eval mode without gradients `nn.TransformerEncoderLayer` hands the weights of its parts to one fused operator, and
`nn.TransformerEncoder` packs its input; tracing keeps both from it. What an edit puts between the parts would be
skipped there, without a word. Forwards of users do likewise (`if torch.is_grad_enabled()`).
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as module_hooks

from netmorph.edit.plan import Plan
from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.running import Inputs, copied, set_mode, untouched
from netmorph.graph.slots import Kept, blank

# The attribute by which a layer's own forward decides for its fused path, and the value that turns that off for good:
# it is kept by copies, pickles and journals.
SWITCHES: dict[type[nn.Module], tuple[str, Any]] = {
    nn.TransformerEncoderLayer: ("activation_relu_or_gelu", 0),
    nn.TransformerEncoder: ("use_nested_tensor", False),
}
TRIES = 8  # of a forward in training mode, which may leave parts out at random


def step_by_step(model: nn.Module, plan: Plan) -> Plan:
    """The plan, where layers around the modules that it puts in compute step by step from then on."""
    places = (*plan.new_modules, *plan.removed)
    around = {".".join(path.split(".")[:end]) for path in places for end in range(path.count(".") + 1)}
    around |= {""} if places else set()
    switched = [
        (path, name, off)
        for path in sorted(around)
        for kind, (name, off) in SWITCHES.items()
        if isinstance(owner := model.get_submodule(path), kind) and vars(owner).get(name, off) != off
    ]
    given = {(path, name) for path, name, _ in plan.attributes}
    added = [entry for entry in switched if entry[:2] not in given]
    return replace(plan, attributes=[*plan.attributes, *added]) if added else plan


def as_used(
    model: nn.Module,
    inputs: Inputs,
    kept: Sequence[Kept] = (),
    *,
    gradients: bool = False,
    training: bool = False,
    seed: int | None = None,
) -> Any:
    """What `model(*inputs)` returns as a user runs it, by whatever fused path there is; the model stays as it was.

    Args:
        kept: what the forward keeps between calls; it runs as at its first one.
        seed: of the global random states, to run it in several ways; they are put back as well.
    """
    with untouched(model), torch.inference_mode(False), torch.set_grad_enabled(gradients):
        for start in () if seed is None else (torch.manual_seed, random.seed, np.random.seed):
            start(seed)
        blank(dict(model.named_modules()), kept)
        set_mode(model, training)
        given = copied(inputs)
        return model(**given) if isinstance(given, dict) else model(*given)


def trains(graph: Graph) -> bool:
    """Whether the forward runs in training mode on the example inputs; it may take others there."""
    try:
        as_used(graph.model, graph.inputs, graph.recording.kept, gradients=True, training=True)
    except Exception:
        return False
    return True


def check_called(after: Graph, plan: Plan, title: str, *, training: bool) -> None:
    """Refuse what would be skipped in another mode than the traced one.

    Args:
        after: a graph of the edited model.
        training: look at training mode as well.

    Raises:
        EditError: a module that the edit put in is not called there; the message names it and the mode.
    """
    model = after.model
    running = {call.module for call in after.recording.calls}
    wanted = {
        path: module
        for path, module in plan.new_modules.items()
        if any(place == path or place.startswith(f"{path}.") for place in running)
    }
    modes = {"eval mode without gradients": (False, False), "eval mode with gradients": (True, False)}
    if training:
        modes["training mode"] = (True, True)
    for mode, (gradients, in_training) in modes.items():
        missing = set(wanted)
        for seed in range(TRIES if in_training else 1):
            with _called(wanted) as found:
                try:
                    kept = after.recording.kept
                    as_used(model, after.inputs, kept, gradients=gradients, training=in_training, seed=seed)
                except Exception as error:
                    raise EditError(
                        f"{title} is not possible: in {mode} the edited forward fails, though it ran step by step "
                        f"({type(error).__name__}: {error}). The network was put back"
                    ) from error
            missing -= found
            if not missing:
                break
        if missing:
            path = sorted(missing)[0]
            owner = model.get_submodule(path.rpartition(".")[0])
            raise EditError(
                f"{title} is not possible: what it puts at {path!r} would be skipped in {mode}, where "
                f"{type(owner).__name__} computes in another way, past that module. Edit {type(owner).__name__} as a "
                "whole, or let its forward call the module in every mode. The network was put back"
            )


@contextlib.contextmanager
def _called(modules: dict[str, nn.Module]) -> Iterator[set[str]]:
    """Collects which of some modules this thread calls; a hook on the module itself would turn fused paths off."""
    found: set[str] = set()
    paths = {id(module): path for path, module in modules.items()}
    mine = threading.get_ident()

    def enter(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == mine and id(module) in paths:
            found.add(paths[id(module)])

    handle = module_hooks.register_module_forward_pre_hook(enter)
    try:
        yield found
    finally:
        handle.remove()
