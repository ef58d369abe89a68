"""Muon: momentum whose updates of weight matrices are made orthogonal, beside AdamW for all other parameters."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from netmorph.train.optimizer_state import OptimizerStateError
from netmorph.wording import listed

# Of the quintic iteration: the slope at zero is as steep as it can be while singular values stay near one.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# The size of an AdamW update, as a share of the learning rate (J. Liu et al., Muon is scalable, 2025).
ADAMW_RMS = 0.2
EPSILON = 1e-7
ADAM_EPSILON = 1e-8
OPTIONS = ("lr", "momentum", "betas", "weight_decay")  # what a step reads of a group
TOGETHER = 2**20  # entries of the matrices that are multiplied at once: it bounds the memory of a step

Moving = tuple[nn.Parameter, Tensor]  # with its gradient


class Muon(torch.optim.Optimizer):
    """Muon for weights of two dimensions or more, taken as matrices [outputs, everything else]; AdamW for the rest.

    The updates of both have about the same size, so one learning rate, that of AdamW, serves all. `torch.optim.Muon`
    computes the same for weights of exactly two dimensions (up to bfloat16, in which it iterates), but refuses filters
    and biases: a network would need two optimizers, each with a state to carry through edits.

    Source: K. Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        momentum: of the matrices (Nesterov's).
        betas: of AdamW, for the rest.
        weight_decay: decoupled, for all.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay}
        # PyTorch reads it, too: without it, the number of steps in a state that is loaded stays on the CPU.
        super().__init__(params, defaults | {"fused": True})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a Muon that moves parameters of the same shapes.

        Raises:
            OptimizerStateError: it is another optimizer's (`torch.optim.Muon`'s, say) or not whole; nothing changes.
        """
        try:
            groups, states = list(state_dict["param_groups"]), dict(state_dict["state"])
            members = [list(group["params"]) for group in groups]
        except (KeyError, TypeError) as error:
            raise OptimizerStateError(f"this is no state of an optimizer: {error!r}; give a state_dict()") from error
        self._check_members(members)
        for number, group in enumerate(groups):
            lacking = [name for name in OPTIONS if name not in group]
            if lacking:
                raise OptimizerStateError(
                    f"group {number} of the state lacks {listed(lacking)}: it is not that of netmorph's Muon, or of "
                    "another version. Load it into the optimizer that it comes from, or begin with a fresh one"
                )
        own = (parameter for group in self.param_groups for parameter in group["params"])
        for index, parameter in zip((index for group in members for index in group), own, strict=True):
            _check_entries(index, states.get(index), parameter)
        # Where it is computed is not part of what a state says.
        complete = [{"fused": self.defaults["fused"], **group} for group in groups]
        super().load_state_dict({**state_dict, "param_groups": complete})

    def _check_members(self, members: list[list[int]]) -> None:
        found, own = [len(group) for group in members], [len(group["params"]) for group in self.param_groups]
        if found != own:
            raise OptimizerStateError(
                f"the state is of {listed(list(map(str, found)), ' + ')} parameters in {len(found)} groups, and this "
                f"Muon moves {listed(list(map(str, own)), ' + ')} in {len(own)}; build the same network, and group its "
                "parameters in the same way"
            )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move the parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
            self._move_matrices([pair for pair in moving if pair[0].ndim >= 2], group)
            self._move_vectors([pair for pair in moving if pair[0].ndim < 2], group)
        return loss

    def _move_matrices(self, moving: list[Moving], group: dict[str, Any]) -> None:
        # Starting an operation on a small matrix takes longer than the operation: those of one shape share it.
        alike: defaultdict[object, list[Moving]] = defaultdict(list)
        for parameter, gradient in moving:
            shape = (len(gradient), math.prod(gradient.shape[1:]))
            alike[shape, gradient.dtype, gradient.device].append((parameter, gradient))
        for members in alike.values():
            together = max(1, TOGETHER // max(1, members[0][1].numel()))
            for start in range(0, len(members), together):
                self._move_alike(members[start : start + together], group)

    def _move_alike(self, moving: list[Moving], group: dict[str, Any]) -> None:
        ahead = []
        for parameter, gradient in moving:
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
            ahead.append(gradient.lerp(state["momentum_buffer"], group["momentum"]).flatten(1))
        updates = orthogonal(torch.stack(ahead))
        rate = group["lr"] * ADAMW_RMS * max(updates.shape[1:]) ** 0.5
        for (parameter, _), update in zip(moving, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.sub_(update.view(parameter.shape), alpha=rate)

    def _move_vectors(self, moving: list[Moving], group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter, _ in moving]
        for (parameter, gradient), state in zip(moving, states, strict=True):
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        adamw(
            [parameter for parameter, _ in moving],
            [gradient for _, gradient in moving],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=ADAM_EPSILON,
            maximize=False,
        )


def _check_entries(index: int, entry: Any, parameter: Tensor) -> None:
    """Refuse what the next step could not use; a parameter that never had a gradient has no state.

    What others keep beside it (`pace.py`) is theirs.
    """
    like = tuple(parameter.shape)
    of_matrix, of_vector = {"momentum_buffer": like}, {"step": (), "exp_avg": like, "exp_avg_sq": like}
    expected = of_matrix if parameter.ndim >= 2 else of_vector
    if entry is not None and not isinstance(entry, dict):
        raise OptimizerStateError(f"of parameter {index} the state holds {type(entry).__name__}, and Muon keeps a dict")
    state: dict[str, Any] = entry or {}
    own = state.keys() & {*of_matrix, *of_vector}
    shapes = {key: tuple(state[key].shape) if isinstance(state[key], Tensor) else None for key in sorted(own)}
    if shapes and shapes != expected:
        raise OptimizerStateError(
            f"of parameter {index}, of shape {like}, the state holds {_told(shapes)}, and Muon keeps {_told(expected)}"
            ": it is another optimizer's, another network's, or not whole. Give the state that belongs to both, or "
            "begin with a fresh one"
        )


def _told(shapes: Mapping[str, tuple[int, ...] | None]) -> str:
    return listed([f"{key} {'(no tensor)' if shape is None else shape}" for key, shape in shapes.items()])


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly the nearest matrices with orthonormal rows (or columns), [k, m, n] -> [k, m, n], in float32 or wider.

    Singular values become 0.7 to 1.2, those below a thousandth of the norm less. Newton-Schulz iteration, in which each
    step multiplies the matrix by a polynomial of its Gram matrix: the small Gram matrices are iterated, and the product
    of the polynomials is applied once. Filters, nine times as wide as high, take less than half of the multiplications
    so, square matrices a quarter more. Gram matrices hold squares: bfloat16 would lose the small singular values in
    them, and the iteration would grow what is left of them without bound.
    """
    with torch.autocast(matrices.device.type, enabled=False):
        precise = matrices.to(torch.promote_types(matrices.dtype, torch.float32))
        high = matrices.shape[1] > matrices.shape[2]
        wide = precise.transpose(1, 2) if high else precise
        unit: Tensor = wide / (wide.norm(dim=(1, 2), keepdim=True) + EPSILON)
        gram = unit @ unit.mT
        product = _polynomial(gram)
        step = product
        for _ in range(ITERATIONS - 1):
            gram = step @ gram @ step  # symmetric matrices that commute
            step = _polynomial(gram)
            product = step @ product
        result = product @ unit
    return result.transpose(1, 2) if high else result


def _polynomial(gram: Tensor) -> Tensor:
    a, b, c = COEFFICIENTS
    found: Tensor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    found.diagonal(dim1=1, dim2=2).add_(a)
    return found
