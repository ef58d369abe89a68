"""The pace of an optimizer: what stands between its schedule and its steps, and goes through edits and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from netmorph.edit.carry import MOMENT_POWERS
from netmorph.edit.entries import new_entries
from netmorph.errors import NetmorphError
from netmorph.graph import Graph

# What a pace is lies with the optimizer, so that it goes through further edits and into checkpoints like the moments.
# Of a group: the factor of its learning rate, over how many steps entries warm up, and how many are left.
FACTOR, STEPS, LEFT = "pace", "warm_up_steps", "warm_up_left"
# Of a group, where its whole rate warms up again: over how many steps, and how many are left.
RISE, RISE_LEFT = "rate_warm_up_steps", "rate_warm_up_left"
# Of a parameter: by how much of a step each entry is held back; from 1 to 0, float32.
HELD = "held_back"
MOMENT_POWERS[HELD] = 0  # an edit carries it, and it does not scale with the gradient
# Of a group in a `state_dict`: the same of parameters without state, by their positions in the group, see `_runs`.
UNSTEPPED = "held_back_unstepped"


class Pace:
    """The pace of one or several optimizers: factors of the learning rate, and entries that warm up.

    The schedule sets the learning rate as ever, by a scheduler or by hand; only during `step` it is multiplied by the
    factor. Held back are the steps themselves, not the gradients, whose scale Adam takes out again.

    All state is in the optimizer: `state_dict` holds it, edits carry it. A new process makes the optimizer and its
    `Pace` again and loads that. Only one `Pace` belongs to an optimizer.

    Attributes:
        edits: how many of the last edits a policy is about; netmorph's loop sets it to those that one call made.
    """

    def __init__(self, optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer]) -> None:
        """Hang hooks on each optimizer; nothing changes until a policy is called.

        Raises:
            NetmorphError: that is no optimizer, or one whose groups have no learning rate.
        """
        given = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
        if not given or not all(isinstance(entry, torch.optim.Optimizer) for entry in given):
            kinds = ", ".join(type(entry).__name__ for entry in given) or "an empty list"
            raise NetmorphError(
                f"a Pace is made of the optimizer that trains the model, or a list of them, not {kinds}"
            )
        for entry in given:
            if any(group.get("lr") is None for group in entry.param_groups):
                raise NetmorphError(f"{type(entry).__name__} works without a learning rate, so there is none to scale")
        self.optimizers = given
        self.edits = 1
        self._scheduled: list[tuple[dict[str, Any], Any]] = []
        self._before: list[tuple[dict[str, Any], Tensor, Tensor, Tensor]] = []
        self._unstepped: dict[Tensor, Tensor] = {}
        for group in (group for entry in given for group in entry.param_groups):
            self._keep(group, group.pop(UNSTEPPED, ()))  # of a state that was loaded before
        self._handles = [
            handle
            for entry in given
            for handle in (
                entry.register_step_pre_hook(self._start),
                entry.register_step_post_hook(self._finish),
                entry.register_state_dict_post_hook(self._tell),
                entry.register_load_state_dict_pre_hook(self._hear),
            )
        ]

    def scale(self, factor: float) -> None:
        """Multiply all learning rates by a factor from now on, on top of earlier ones; the weight decay with them.

        Raises:
            NetmorphError: the factor is not a positive number.
        """
        if not 0 < factor < math.inf:
            raise NetmorphError(f"a learning rate is multiplied by a number above 0, got {factor}")
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group[FACTOR] = group.get(FACTOR, 1.0) * factor

    def rise(self, steps: int) -> None:
        """Let all learning rates warm up again: of so many steps from now on, the n-th is n/steps of the optimizer's.

        Raises:
            NetmorphError: `steps` is not a positive whole number.
        """
        check_steps(steps)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group[RISE] = group[RISE_LEFT] = steps

    def hold_back(self, graph: Graph, steps: int) -> None:
        """Let the entries that the last edit made start slowly: their n-th step is n/steps of the optimizer's.

        Entries that still warm up since an earlier edit go on from where they are, at the new rate (of a parameter that
        was never stepped: those of the last edit alone). Frozen parameters are left alone.

        Raises:
            NetmorphError: `steps` is not a positive whole number, or the optimizers train another model.
            EditError: what the last edit made is not known, see `new_entries`.
        """
        check_steps(steps)
        names = {id(parameter): name for name, parameter in graph.model.named_parameters()}
        groups = [(optimizer, group) for optimizer in self.optimizers for group in optimizer.param_groups]
        members = {parameter for _, group in groups for parameter in group["params"]}
        if not any(id(parameter) in names for parameter in members):
            raise NetmorphError(
                "this Pace's optimizers hold none of the model's parameters; give the edit the same optimizers: "
                "apply(graph, edit, optimizer)"
            )
        new = new_entries(graph, self.edits)
        self._unstepped = {parameter: held for parameter, held in self._unstepped.items() if parameter in members}
        for optimizer, group in groups if new else []:
            group[STEPS] = group[LEFT] = steps
            for parameter in group["params"]:
                entries = new.get(names.get(id(parameter), ""))
                if entries is not None:
                    held = self._take(optimizer, parameter)
                    held = torch.zeros_like(entries, dtype=torch.float32) if held is None else held
                    self._put(optimizer, parameter, held.masked_fill(entries, 1.0))

    def remove(self) -> None:
        """Take the hooks and the state off; the optimizers go on at the pace of their schedules."""
        for handle in self._handles:
            handle.remove()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for key in (FACTOR, STEPS, LEFT, RISE, RISE_LEFT):
                    group.pop(key, None)
                for parameter in group["params"]:
                    self._take(optimizer, parameter)

    def detach(self) -> None:
        """Take the hooks off and leave the state in the optimizers, for the next `Pace` of them."""
        for optimizer in self.optimizers:
            for group, told in zip(optimizer.param_groups, self._told(optimizer), strict=True):
                if told:
                    group[UNSTEPPED] = told
        for handle in self._handles:
            handle.remove()

    def _put(self, optimizer: torch.optim.Optimizer, parameter: Tensor, held: Tensor) -> None:
        """In the optimizer's state once the parameter was stepped: before, Adam could load no state but its own."""
        if optimizer.state.get(parameter) or parameter.grad is not None:
            optimizer.state[parameter][HELD] = held
        else:
            self._unstepped[parameter] = held

    def _take(self, optimizer: torch.optim.Optimizer, parameter: Tensor) -> Tensor | None:
        held: Tensor | None = optimizer.state.get(parameter, {}).pop(HELD, None)
        return self._unstepped.pop(parameter, None) if held is None else held

    def _tell(self, optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        """Add what is kept here of parameters that were never stepped to the optimizer's `state_dict`.

        To the groups, as plain numbers: what has no state yet is loaded by any optimizer, and packed by any checkpoint.
        """
        for packed, told in zip(state_dict["param_groups"], self._told(optimizer), strict=True):
            if told:
                packed[UNSTEPPED] = told

    def _told(self, optimizer: torch.optim.Optimizer) -> list[list[tuple[int, list[float], list[int]]]]:
        """For each group, the positions of parameters that were never stepped, with what holds them back."""
        return [
            [
                (position, *_runs(self._unstepped[member]))
                for position, member in enumerate(group["params"])
                if member in self._unstepped
            ]
            for group in optimizer.param_groups
        ]

    def _hear(self, optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Keep what `_tell` added to a `state_dict`; the optimizer is given the rest."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                self._unstepped.pop(parameter, None)
        given = [dict(packed) for packed in state_dict["param_groups"]]
        for group, packed in zip(optimizer.param_groups, given, strict=False):  # the optimizer refuses other numbers
            self._keep(group, packed.pop(UNSTEPPED, ()))
        return state_dict | {"param_groups": given}

    def _keep(self, group: dict[str, Any], told: Sequence[tuple[int, list[float], list[int]]]) -> None:
        for position, values, lengths in told:
            parameter = group["params"][position] if position < len(group["params"]) else None
            # Without a Pace the group may have changed since.
            if parameter is not None and parameter.numel() == sum(lengths):
                held = torch.tensor(values).repeat_interleave(torch.tensor(lengths))
                self._unstepped[parameter] = held.reshape(parameter.shape).to(parameter.device)

    def _start(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._give_back(optimizer)
        for group in optimizer.param_groups:
            if FACTOR in group or RISE_LEFT in group:
                self._scheduled.append((group, group["lr"]))
                group["lr"] = group["lr"] * group.get(FACTOR, 1.0)
            if RISE_LEFT in group:
                group["lr"] = group["lr"] * ((group[RISE] - group[RISE_LEFT] + 1) / group[RISE])
            for parameter in group["params"] if LEFT in group else []:
                # Taken out for the step: optimizers set up their state where there is none at all.
                held = self._take(optimizer, parameter)
                if held is not None:
                    self._before.append((group, parameter, held, parameter.detach().clone()))

    def _give_back(self, optimizer: torch.optim.Optimizer) -> None:
        """What a step that raised has left: no hook ran after it."""
        if not self._scheduled and not self._before:
            return
        own = {id(group) for group in optimizer.param_groups}
        for group, scheduled in self._scheduled:
            if id(group) in own:
                group["lr"] = scheduled
        for group, parameter, held, _ in self._before:
            if id(group) in own:
                self._put(optimizer, parameter, held)
        self._scheduled = [entry for entry in self._scheduled if id(entry[0]) not in own]
        self._before = [entry for entry in self._before if id(entry[0]) not in own]

    @torch.no_grad()
    def _finish(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for group, scheduled in self._scheduled:
            group["lr"] = scheduled
        for group in optimizer.param_groups:
            if LEFT in group:
                group[LEFT] -= 1  # counted here, so that no step waits for an accelerator
        for group, parameter, held, before in self._before:
            if group[LEFT]:
                held = (held.float() - 1 / group[STEPS]).clamp_(min=0)
                parameter.lerp_(before, held.to(parameter.dtype))
                self._put(optimizer, parameter, held)
        for group in optimizer.param_groups:
            if group.get(LEFT) == 0:
                del group[STEPS], group[LEFT]
            if RISE_LEFT in group:
                group[RISE_LEFT] -= 1
            if group.get(RISE_LEFT) == 0:
                del group[RISE], group[RISE_LEFT]
        self._scheduled.clear()
        self._before.clear()


def _runs(held: Tensor) -> tuple[list[float], list[int]]:
    """Values one after the other, and how often each comes in a row: most entries are as their neighbours."""
    values, lengths = held.flatten().unique_consecutive(return_counts=True)
    return values.tolist(), lengths.tolist()


def check_steps(steps: int) -> None:
    """Refuse what is no length of a warm-up.

    Raises:
        NetmorphError: it is not a positive whole number.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise NetmorphError(f"a warm-up takes a whole number of steps, at least 1, got {steps!r}")


# What sets the pace after an edit, given the graph that `apply` returned; `netmorph.policy.learning_rate` has some.
LearningRatePolicy = Callable[[Pace, Graph], None]
