"""How fast to learn after growth: learning-rate policies, in any loop and beside any schedule.

A `Pace` stands between a schedule and an optimizer. A policy is a function `(pace, graph) -> None` that is called with
the graph that `apply` returned, and sets the pace of what comes then:

    pace = Pace(optimizer)  # once
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 64), optimizer)
    divide(5)(pace, graph)  # or unchanged, parameter_ratio, warm_up(200), or several
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from netmorph.edit.entries import new_entries
from netmorph.errors import NetmorphError
from netmorph.graph import Graph

# What a pace is lies with the optimizer, so that it goes through further edits and into checkpoints like the moments.
# Of a group: the factor of its learning rate, over how many steps entries warm up, and how many are left.
FACTOR, STEPS, LEFT = "pace", "warm_up_steps", "warm_up_left"
# Of a parameter: by how much of a step each entry is held back; from 1 to 0, float32. See `edit.MOMENT_POWERS`.
HELD = "held_back"
# Of a group in a `state_dict`: the same of parameters without state, by their positions in the group, see `_runs`.
UNSTEPPED = "held_back_unstepped"


class Pace:
    """The pace of one or several optimizers: factors of the learning rate, and entries that warm up.

    The schedule sets the learning rate as ever, by a scheduler or by hand; only during `step` it is multiplied by the
    factor. Held back are the steps themselves, not the gradients, whose scale Adam takes out again.

    All state is in the optimizer: `state_dict` holds it, edits carry it. A new process makes the optimizer and its
    `Pace` again and loads that. Only one `Pace` belongs to an optimizer.
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

    def hold_back(self, graph: Graph, steps: int) -> None:
        """Let the entries that the last edit made start slowly: their n-th step is n/steps of the optimizer's.

        Entries that still warm up since an earlier edit go on from where they are, at the new rate (of a parameter that
        was never stepped: those of the last edit alone). Frozen parameters are left alone.

        Raises:
            NetmorphError: `steps` is not a positive whole number, or the optimizers train another model.
            EditError: what the last edit made is not known, see `new_entries`.
        """
        _check_steps(steps)
        names = {id(parameter): name for name, parameter in graph.model.named_parameters()}
        groups = [(optimizer, group) for optimizer in self.optimizers for group in optimizer.param_groups]
        members = {parameter for _, group in groups for parameter in group["params"]}
        if not any(id(parameter) in names for parameter in members):
            raise NetmorphError(
                "this Pace's optimizers hold none of the model's parameters; give the edit the same optimizers: "
                "apply(graph, edit, optimizer)"
            )
        new = new_entries(graph)
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
                for key in (FACTOR, STEPS, LEFT):
                    group.pop(key, None)
                for parameter in group["params"]:
                    self._take(optimizer, parameter)

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
        for group, packed in zip(optimizer.param_groups, state_dict["param_groups"], strict=True):
            found = [(position, self._unstepped.get(member)) for position, member in enumerate(group["params"])]
            told = [(position, *_runs(held)) for position, held in found if held is not None]
            if told:
                packed[UNSTEPPED] = told

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
            if FACTOR in group:
                self._scheduled.append((group, group["lr"]))
                group["lr"] = group["lr"] * group[FACTOR]
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
        self._scheduled.clear()
        self._before.clear()


def _runs(held: Tensor) -> tuple[list[float], list[int]]:
    """Values one after the other, and how often each comes in a row: most entries are as their neighbours."""
    values, lengths = held.flatten().unique_consecutive(return_counts=True)
    return values.tolist(), lengths.tolist()


def _check_steps(steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise NetmorphError(f"a warm-up takes a whole number of steps, at least 1, got {steps!r}")


Policy = Callable[[Pace, Graph], None]


def unchanged(pace: Pace, graph: Graph) -> None:
    """Go on as the schedule says: the baseline."""


def divide(by: float = 5) -> Policy:
    """Divide all learning rates from now on (R2R divides by 5 at every growth, arXiv 2410.11038).

    Raises:
        NetmorphError: that is not a positive number.
    """
    if not 0 < by < math.inf:
        raise NetmorphError(f"a learning rate is divided by a number above 0, got {by}")
    return lambda pace, graph: pace.scale(1 / by)


def parameter_ratio(pace: Pace, graph: Graph) -> None:
    """Multiply all learning rates by |old| / |new|, the share of the parameters that the last edit did not add.

    Over several edits, one after the other, the factors make the ratio of the first to the last size.
    """
    total = sum(parameter.numel() for parameter in graph.model.parameters())
    pace.scale(1 - sum(int(entries.sum()) for entries in new_entries(graph).values()) / total)


def warm_up(steps: int = 100) -> Policy:
    """Let what the last edit made start slowly, see `Pace.hold_back`; the rest learns on as the schedule says.

    Raises:
        NetmorphError: `steps` is not a positive whole number.
    """
    _check_steps(steps)
    return lambda pace, graph: pace.hold_back(graph, steps)


POLICIES: dict[str, Policy] = {
    "unchanged": unchanged,
    "divide": divide(),
    "parameter_ratio": parameter_ratio,
    "warm_up": warm_up(),
}
