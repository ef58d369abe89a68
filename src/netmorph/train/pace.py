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
# How many steps frozen entries stay so; None until they are released.
FROZEN_LEFT = "frozen_left"
# Of a parameter: by how much of a step each entry is held back; from 1 to 0, float32.
HELD = "held_back"
MOMENT_POWERS[HELD] = 0  # an edit carries it, and it does not scale with the gradient
# Which entries are frozen: those above 0, float32. An edit carries it like a gradient: what is fresh has none.
FROZEN = "frozen"
MOMENT_POWERS[FROZEN] = 1
# Of a group in a `state_dict`: the same of parameters without state, by their positions in the group, see `_runs`.
UNSTEPPED = {HELD: "held_back_unstepped", FROZEN: "frozen_unstepped"}


class Pace:
    """The pace of one or several optimizers: factors of the learning rate, entries that warm up, and frozen ones.

    The schedule sets the learning rate as ever, by a scheduler or by hand; only during `step` it is multiplied by the
    factor. Held back are the steps themselves, not the gradients, whose scale Adam takes out again. So weight decay and
    momentum do not move what is frozen either, and moments go on meanwhile: the first step after a release is none of a
    cold optimizer.

    All state is in the optimizer: `state_dict` holds it, edits carry it. A new process makes the optimizer and its
    `Pace` again and loads that. Only one `Pace` belongs to an optimizer.

    Attributes:
        edits: how many of the last edits are meant by the last edit; netmorph's loop sets it to those of one call.
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
        self._before: list[tuple[dict[str, Any], Tensor, dict[str, Tensor], Tensor]] = []
        self._unstepped: dict[str, dict[Tensor, Tensor]] = {mark: {} for mark in UNSTEPPED}
        for group in (group for entry in given for group in entry.param_groups):
            for mark, key in UNSTEPPED.items():
                self._keep(group, mark, group.pop(key, ()))  # of a state that was loaded before
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
        members = self._members(graph)
        new = new_entries(graph, self.edits)
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups if new):
            group[STEPS] = group[LEFT] = steps
        for optimizer, parameter, name in members:
            if name in new:
                held = self._take(optimizer, parameter, HELD)
                held = torch.zeros_like(new[name], dtype=torch.float32) if held is None else held
                self._put(optimizer, parameter, HELD, held.masked_fill(new[name], 1.0))

    def freeze(self, graph: Graph, steps: int | None = None) -> None:
        """Keep all entries but those that the last edit made as they are, bit for bit, whatever the optimizer does.

        Called after a further edit, it freezes all but what that one made; without a call, what was frozen stays so
        through edits, and fresh entries are not. What several edits made together (`edits`) is free together. See
        `netmorph.edit.old_network` for what stays inside.

        Args:
            graph: as `apply` returned it.
            steps: of the optimizer, until they are released; None for `release`.

        Raises:
            NetmorphError: `steps` is not a positive whole number, or the optimizers train another model.
            EditError: what the last edit made is not known, see `new_entries`.
        """
        if steps is not None:
            check_steps(steps)
        members = self._members(graph)
        new = new_entries(graph, self.edits)
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group[FROZEN_LEFT] = steps
        for optimizer, parameter, name in members:
            self._take(optimizer, parameter, FROZEN)
            frozen = torch.ones_like(parameter, dtype=torch.float32)
            frozen = frozen.masked_fill(new[name], 0.0) if name in new else frozen
            if bool(frozen.any()):
                self._put(optimizer, parameter, FROZEN, frozen)

    def release(self) -> None:
        """Let what is frozen learn again."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group.pop(FROZEN_LEFT, None)
                for parameter in group["params"]:
                    self._take(optimizer, parameter, FROZEN)

    def remove(self) -> None:
        """Take the hooks and the state off; the optimizers go on at the pace of their schedules."""
        for handle in self._handles:
            handle.remove()
        self.release()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for key in (FACTOR, STEPS, LEFT, RISE, RISE_LEFT):
                    group.pop(key, None)
                for parameter in group["params"]:
                    self._take(optimizer, parameter, HELD)

    def detach(self) -> None:
        """Take the hooks off and leave the state in the optimizers, for the next `Pace` of them."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group.update(self._told(group))
        for handle in self._handles:
            handle.remove()

    def _members(self, graph: Graph) -> list[tuple[torch.optim.Optimizer, Tensor, str]]:
        """The model's parameters that the optimizers hold, with their names; what was kept of others is forgotten."""
        names = {id(parameter): name for name, parameter in graph.model.named_parameters()}
        held = [(o, parameter) for o in self.optimizers for group in o.param_groups for parameter in group["params"]]
        members = {parameter for _, parameter in held}
        for mark, unstepped in self._unstepped.items():
            self._unstepped[mark] = {parameter: kept for parameter, kept in unstepped.items() if parameter in members}
        found = [(o, parameter, names[id(parameter)]) for o, parameter in held if id(parameter) in names]
        if not found:
            raise NetmorphError(
                "this Pace's optimizers hold none of the model's parameters; give the edit the same optimizers: "
                "apply(graph, edit, optimizer)"
            )
        return found

    def _put(self, optimizer: torch.optim.Optimizer, parameter: Tensor, mark: str, value: Tensor) -> None:
        """In the optimizer's state once the parameter was stepped: before, Adam could load no state but its own."""
        if optimizer.state.get(parameter) or parameter.grad is not None:
            optimizer.state[parameter][mark] = value
        else:
            self._unstepped[mark][parameter] = value

    def _take(self, optimizer: torch.optim.Optimizer, parameter: Tensor, mark: str) -> Tensor | None:
        kept = self._unstepped[mark].pop(parameter, None)
        value: Tensor | None = optimizer.state.get(parameter, {}).pop(mark, None)
        return kept if value is None else value

    def _tell(self, optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        """Add what is kept here of parameters that were never stepped to the optimizer's `state_dict`.

        To the groups, as plain numbers: what has no state yet is loaded by any optimizer, and packed by any checkpoint.
        """
        for group, packed in zip(optimizer.param_groups, state_dict["param_groups"], strict=True):
            packed.update(self._told(group))

    def _told(self, group: dict[str, Any]) -> dict[str, list[tuple[int, list[float], list[int]]]]:
        """By key, the positions of parameters in a group that were never stepped, with their marks."""
        told = {
            UNSTEPPED[mark]: [
                (position, *_runs(unstepped[member]))
                for position, member in enumerate(group["params"])
                if member in unstepped
            ]
            for mark, unstepped in self._unstepped.items()
        }
        return {key: entries for key, entries in told.items() if entries}

    def _hear(self, optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Keep what `_tell` added to a `state_dict`; the optimizer is given the rest."""
        given = [dict(packed) for packed in state_dict["param_groups"]]
        for mark, unstepped in self._unstepped.items():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    unstepped.pop(parameter, None)
            for group, packed in zip(
                optimizer.param_groups, given, strict=False
            ):  # the optimizer refuses other numbers
                self._keep(group, mark, packed.pop(UNSTEPPED[mark], ()))
        return state_dict | {"param_groups": given}

    def _keep(self, group: dict[str, Any], mark: str, told: Sequence[tuple[int, list[float], list[int]]]) -> None:
        for position, values, lengths in told:
            parameter = group["params"][position] if position < len(group["params"]) else None
            # Without a Pace the group may have changed since.
            if parameter is not None and parameter.numel() == sum(lengths):
                value = torch.tensor(values).repeat_interleave(torch.tensor(lengths))
                self._unstepped[mark][parameter] = value.reshape(parameter.shape).to(parameter.device)

    def _start(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._give_back(optimizer)
        for group in optimizer.param_groups:
            if FACTOR in group or RISE_LEFT in group:
                self._scheduled.append((group, group["lr"]))
                group["lr"] = group["lr"] * group.get(FACTOR, 1.0)
            if RISE_LEFT in group:
                group["lr"] = group["lr"] * ((group[RISE] - group[RISE_LEFT] + 1) / group[RISE])
            marks = [mark for mark, counter in ((HELD, LEFT), (FROZEN, FROZEN_LEFT)) if counter in group]
            for parameter in group["params"] if marks else []:
                # Taken out for the step: optimizers set up their state where there is none at all.
                taken = {mark: self._take(optimizer, parameter, mark) for mark in marks}
                found = {mark: value for mark, value in taken.items() if value is not None}
                if found:
                    self._before.append((group, parameter, found, parameter.detach().clone()))

    def _give_back(self, optimizer: torch.optim.Optimizer) -> None:
        """What a step that raised has left: no hook ran after it."""
        if not self._scheduled and not self._before:
            return
        own = {id(group) for group in optimizer.param_groups}
        for group, scheduled in self._scheduled:
            if id(group) in own:
                group["lr"] = scheduled
        for group, parameter, marks, _ in self._before:
            for mark, value in marks.items() if id(group) in own else ():
                self._put(optimizer, parameter, mark, value)
        self._scheduled = [entry for entry in self._scheduled if id(entry[0]) not in own]
        self._before = [entry for entry in self._before if id(entry[0]) not in own]

    @torch.no_grad()
    def _finish(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for group, scheduled in self._scheduled:
            group["lr"] = scheduled
        for group in optimizer.param_groups:
            for counter in (LEFT, RISE_LEFT, FROZEN_LEFT):
                if group.get(counter) is not None:
                    group[counter] -= 1  # counted here, so that no step waits for an accelerator
        for group, parameter, marks, before in self._before:
            if HELD in marks and group[LEFT]:
                held = (marks[HELD].float() - 1 / group[STEPS]).clamp_(min=0)
                parameter.lerp_(before, held.to(parameter.dtype))
                self._put(optimizer, parameter, HELD, held)
            if FROZEN in marks:
                parameter.copy_(torch.where(marks[FROZEN] > 0, before, parameter))
                if group[FROZEN_LEFT] != 0:
                    self._put(optimizer, parameter, FROZEN, marks[FROZEN])
        for group in optimizer.param_groups:
            if group.get(LEFT) == 0:
                del group[STEPS], group[LEFT]
            if group.get(RISE_LEFT) == 0:
                del group[RISE], group[RISE_LEFT]
            if group.get(FROZEN_LEFT) == 0:
                del group[FROZEN_LEFT]
        self._scheduled.clear()
        self._before.clear()


def _runs(held: Tensor) -> tuple[list[float], list[int]]:
    """Values one after the other, and how often each comes in a row: most entries are as their neighbours."""
    values, lengths = held.flatten().unique_consecutive(return_counts=True)
    return values.tolist(), lengths.tolist()


def check_steps(steps: int) -> None:
    """Refuse what is no length of a warm-up, or of a time in which weights are frozen.

    Raises:
        NetmorphError: it is not a positive whole number.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise NetmorphError(f"a policy lasts a whole number of steps, at least 1, got {steps!r}")


# What sets the pace after an edit, given the graph that `apply` returned; `netmorph.policy.learning_rate` has some.
LearningRatePolicy = Callable[[Pace, Graph], None]
