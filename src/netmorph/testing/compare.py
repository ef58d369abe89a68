"""What all checkers stand on: their error, networks in float64, and comparisons that say what differs where."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from netmorph.edit.tensors import finest
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.graph.record import tensors_in
from netmorph.graph.running import Inputs, run
from netmorph.lazy import check_sized

# The largest difference, relative to the largest value, that rounding explains in a small network.
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}
COARSEST = 1e-2  # of any other type


class CheckError(NetmorphError):
    """A check failed: the message says what differs, where and by how much."""


@contextmanager
def step(told: str) -> Iterator[None]:
    """One step of a check: whatever is raised in it becomes a `CheckError` that tells which step it was."""
    try:
        yield
    except CheckError:
        raise
    except Exception as error:  # an edit or a rule under test may raise anything
        raise CheckError(f"{told} failed: {type(error).__name__}: {error}") from error


def in_float64(model: nn.Module, inputs: Any) -> tuple[nn.Module, Inputs]:
    """A copy of a model in float64 (complex128), and its inputs as `trace` keeps them; integers and booleans stay.

    Raises:
        NetmorphError: it is no module, or has lazy layers.
    """
    if not isinstance(model, nn.Module):
        raise NetmorphError(
            f"a checker takes the network itself, an nn.Module, and its inputs; got {type(model).__name__}"
        )
    check_sized(model)
    given = inputs if isinstance(inputs, tuple | dict) else (inputs,)
    doubled: Inputs = tree_map(lambda leaf: finest(leaf) if _is_float(leaf) else leaf, given)
    finer = copy.deepcopy(model).double()
    for tensor in (*finer.parameters(), *finer.buffers()):
        if tensor.is_complex():
            tensor.data = finest(tensor.data)
    return finer, doubled


def shuffled(inputs: Inputs, seed: int) -> Inputs:
    """Inputs that hold the same numbers in another order, so that what is valid stays valid; integers stay in place."""
    generator = torch.Generator().manual_seed(seed)

    def change(leaf: Any) -> Any:
        if not _is_float(leaf):
            return leaf
        return leaf.flatten()[torch.randperm(leaf.numel(), generator=generator).to(leaf.device)].view(leaf.shape)

    changed: Inputs = tree_map(change, inputs)
    return changed


def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    """The tensors of what a model returns in eval mode; the model is left as it was."""
    return tensors_in(run(model, inputs if isinstance(inputs, tuple | dict) else (inputs,)))


def rounding(graph: Graph) -> float:
    """The largest relative difference that rounding explains: by the coarsest type in which the forward computes."""
    types = {value.dtype.to_real() for call in graph.recording.calls for value in call.outputs}
    types = {dtype for dtype in types if dtype.is_floating_point}
    return max((ROUNDING.get(dtype, COARSEST) for dtype in types), default=ROUNDING[torch.float64])


def gap(expected: Tensor, got: Tensor) -> Tensor:
    """The difference of each entry relative to the largest finite value expected; what is equal, NaN included, is 0."""
    if not (expected.is_floating_point() or expected.is_complex()):
        return (expected != got).double()
    equal = (expected == got) | (expected.isnan() & got.isnan())
    scale = torch.where(expected.isfinite(), expected, 0).abs().amax().clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(equal, 0.0, (expected - got).abs() / scale).nan_to_num(nan=torch.inf)


def assert_close(expected: Sequence[Tensor], got: Sequence[Tensor], bound: float, told: str) -> None:
    """Two results have equal shapes, and differ by at most `bound`, relative to each tensor's largest value.

    Raises:
        CheckError: they do not; `told` begins the message.
    """
    if len(expected) != len(got):
        raise CheckError(f"{told}: {len(got)} tensors are returned instead of {len(expected)}")
    for number, (one, other) in enumerate(zip(expected, got, strict=True)):
        if one.shape != other.shape:
            raise CheckError(f"{told}: output {number} has shape {tuple(other.shape)} instead of {tuple(one.shape)}")
        gaps = gap(one, other)
        if gaps.numel() and not float(gaps.amax()) <= bound:
            place = _largest(gaps)
            raise CheckError(
                f"{told}: output {number} differs by {float(gaps.amax()):.1e} (relative; {bound:.0e} is rounding), "
                f"most at {place}: {other[place].item():.6g} instead of {one[place].item():.6g}"
            )


def assert_same_bits(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], told: str) -> None:
    """Two sets of tensors have the same names, types, shapes and bits.

    Raises:
        CheckError: they do not; `told` begins the message.
    """
    if expected.keys() != got.keys():
        raise CheckError(
            f"{told}: {_names(got.keys() - expected.keys())} came, {_names(expected.keys() - got.keys())} went"
        )
    for name, one in expected.items():
        other = got[name]
        kinds = [f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in (one, other)]
        if kinds[0] != kinds[1]:
            raise CheckError(f"{told}: {name} is {kinds[1]} instead of {kinds[0]}")
        different = bits(one) != bits(other)
        if different.any():
            place = _largest(different.flatten().view(one.numel(), -1).any(1).view(one.shape).double())
            raise CheckError(
                f"{told}: {name} has other bits, first at {place}: {other[place].item()!r} instead of "
                f"{one[place].item()!r}"
            )


def bits(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, uint8."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


@dataclass(frozen=True)
class Snapshot:
    """All that an edit may change.

    Attributes:
        tensors: parameters, buffers and the optimizer's state, by name.
        facts: the kinds of modules, the integers that they hold, which parameters are trained, and the order in which
            the optimizer has them.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    @staticmethod
    def of(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Snapshot:
        """As things are now."""
        parameters = dict(model.named_parameters())
        tensors = state(model)
        facts: dict[str, Any] = {f"requires_grad of {name}": p.requires_grad for name, p in parameters.items()}
        for path, module in model.named_modules():
            facts[f"the module {path or '(the model itself)'}"] = type(module).__qualname__
            facts |= {f"{path}.{name}".lstrip("."): held for name, held in vars(module).items() if _is_size(held)}
        if optimizer is not None:
            names = {id(parameter): name for name, parameter in parameters.items()}
            facts["the optimizer's parameters"] = [
                [names.get(id(p), "(not the model's)") for p in group["params"]] for group in optimizer.param_groups
            ]
            tensors |= {
                f"the optimizer's {key} of {names.get(id(p), '(not the model)')}": value.detach().clone()
                for p, held in optimizer.state.items()
                for key, value in held.items()
                if isinstance(value, Tensor)
            }
        return Snapshot(tensors, facts)

    def assert_same(self, other: Snapshot, told: str) -> None:
        """Nothing differs, to the bit.

        Raises:
            CheckError: something does; `told` begins the message.
        """
        for name in self.facts.keys() | other.facts.keys():
            one, two = (held.facts.get(name, "nothing") for held in (self, other))
            if one != two:
                raise CheckError(f"{told}: {name} is {two} instead of {one}")
        assert_same_bits(self.tensors, other.tensors, told)


def state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers, by name; tied ones once."""
    held = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in held.items()}


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def _is_size(held: Any) -> bool:
    return isinstance(held, int) or (isinstance(held, tuple) and all(isinstance(entry, int) for entry in held))


def _largest(gaps: Tensor) -> tuple[int, ...]:
    return tuple(int(index) for index in torch.unravel_index(gaps.argmax(), gaps.shape))


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3]) or "nothing"
