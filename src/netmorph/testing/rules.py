"""`check_rule` and `check_groups`: what op rules say of channels, held against what happens when widths change."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.edit import narrow_all, widen_all
from netmorph.edit.apply import apply
from netmorph.edit.width import misfits
from netmorph.errors import NetmorphError
from netmorph.graph import Allow, Fill, Graph, Group, Role, trace
from netmorph.graph.running import Inputs
from netmorph.testing.attributes import check_attributes
from netmorph.testing.compare import CheckError, assert_close, in_float64, outputs, rounding, shuffled, step
from netmorph.testing.masked import can_mask, masked_outputs
from netmorph.widenings import WIDENINGS, lemon, random_pad

INEXACT = ("random_pad", "rms_pad", "approximate")  # widenings that do not claim to keep the function
SOURCES = 3  # what the layers in front of an operator read
HEAD = 3  # what the layers behind it give


def check_rule(
    call: Callable[..., Any],
    *examples: Tensor,
    channels: int = 1,
    parameters: Mapping[str, Tensor] | None = None,
    allow: Allow | None = None,
) -> Graph:
    """Hold the rules of the operators that `call` runs against what happens when channels come and go.

    The call is put into a small network in float64: each example becomes the output of a layer that writes its
    channels, and a layer reads all of the result. There `check_groups` does the rest; an operator without a rule is an
    error, and so is one that computes channels with a parameter that its rule does not say to write them.

    Args:
        call: a function of the examples and the parameters, or a module of the examples. It returns a tensor, or
            several in a tuple or list; the first dimension is the batch, as in each example.
        examples: tensors `[N, ...]`. The operator gets other numbers between their least and their largest one.
        channels: the dimension of the examples that holds their channels.
        parameters: trained tensors of the operator, given by name and passed behind the examples.
        allow: what the rules should leave of the examples' channels (of several examples, the least), where that is
            known; more or less is an error then. Without it a rule that freezes more than it needs passes.

    Returns:
        The graph of the network, whose `groups` show what the rule makes of the channels: `inputs.0` are the first
        example's.

    Raises:
        CheckError: an operator has no rule, or its rule is wrong; the message says where.
        NetmorphError: the examples are not such tensors. Whatever the call raises on them goes through.
    """
    for example in examples:
        if not isinstance(example, Tensor) or not example.is_floating_point() or example.dim() < 2:
            told = f"{tuple(example.shape)} {example.dtype}" if isinstance(example, Tensor) else type(example).__name__
            raise NetmorphError(f"an example has to be a tensor [N, ...] of floating point with channels, got {told}")
        if channels % example.dim() == 0 or not -example.dim() <= channels < example.dim():
            raise NetmorphError(f"dimension {channels} of an example {tuple(example.shape)} holds no channels")
    if not examples:
        raise NetmorphError("give at least one example tensor, whose channels the call gets")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, inputs = _network(call, examples, channels, dict(parameters or {}))
    graph = check_groups(network, inputs, strict=True)
    for group in graph.groups.values():
        _check_written(graph, group)
    own = [group for group in graph.groups.values() if group.name.startswith("inputs.")]
    found = min((group.allow for group in own if not group.name.partition("#")[0].endswith(".in")), default=Allow.ANY)
    if allow is not None and found != allow:
        told = "; ".join(str(group) for group in own)
        raise CheckError(f"the rules leave the channels {found.name}, and {allow.name} was expected: {told}")
    return graph


def check_groups(model: nn.Module, inputs: Any, *, strict: bool = False) -> Graph:
    """Change the width of every channel group of a network in each way that its rules allow, on copies in float64.

    - Widened by every method that is exact where a group allows that much, the network gives the same outputs, also on
      other inputs; widened by random channels, the shapes that the axes predict.
    - Narrowed, by other channels in each group, it is the masked original.
    - Integers that layers hold stay true.

    Args:
        model: stays as it is.
        inputs: what `trace` takes as example inputs.
        strict: an operator without a rule is an error, not a reason to freeze what meets it.

    Returns:
        The graph of a copy of the model.

    Raises:
        CheckError: something does not hold; the message says of which groups.
        TraceError: the forward fails on the inputs.
    """
    original, given = in_float64(model, inputs)
    outputs(original, given)
    with step("tracing"):
        graph = trace(original, given, strict=strict)
    _check_wider(original, given, rounding(graph))
    _check_narrower(original, given, rounding(graph))
    return graph


def widths(group: Group, number: int = 0) -> dict[str, int]:
    """A width to go to, by each method that is exact on this group; another one for the next number."""
    if group.allow == Allow.ANY:
        ways = enumerate(name for name in WIDENINGS if name not in INEXACT)
        return {name: group.size + 1 + place + number % 3 for place, name in ways}
    if group.allow == Allow.UNIFORM:
        return dict.fromkeys(("net2net", "unequal_split"), (2 + number % 2) * group.size)
    return {}


def _check_written(graph: Graph, group: Group) -> None:
    others = [site for site in group.sites if site.use.role is not Role.READ]
    matrices = [site for site in others if sum(length > 1 for length in graph.shapes[site.tensor]) > 1]
    if group.allow > Allow.FROZEN and matrices and not any(site.use.fill is Fill.RANDOM for site in others):
        raise CheckError(
            f"nothing is said to write the channels of {group}, so fresh ones would all be the mean of the others: the "
            f"rule of what computes them with {matrices[0].tensor!r} lacks couple.use(parameter, {matrices[0].dim}, "
            "Role.WRITE)"
        )


def _check_wider(original: nn.Module, inputs: Inputs, bound: float) -> None:
    network = copy.deepcopy(original)
    graph = trace(network, inputs)
    free = [group.name for group in graph.editable()]
    others = inputs, shuffled(inputs, 1)
    expected = [outputs(original, given) for given in others]
    for name, method in WIDENINGS.items():
        # Groups whose widths stay equal would hide that they ought to be one.
        ways = {place: widths(graph.group(place), number) for number, place in enumerate(free)}
        wider = _within_bounds(graph, {place: told[name] for place, told in ways.items() if name in told})
        if method is lemon:
            together = [place for place in free if graph.group(place).allow < Allow.ANY]
            wider |= _within_bounds(graph, _fitting(graph, together))
        if wider:
            told = _told(graph, wider, f"wider by {name} ({{}} channels), which the rules call exact")
            with step(told):
                graph = apply(graph, widen_all(graph, wider, method))
            for given, one in zip(others, expected, strict=True):
                assert_close(one, outputs(network, given), bound, told)
    wider = _within_bounds(graph, {place: 2 * graph.group(place).size for place in free})
    if wider:
        with step(_told(graph, wider, "wider by random channels ({} channels)")):
            apply(graph, widen_all(graph, wider, random_pad))
        check_attributes(network)


def _fitting(graph: Graph, places: Sequence[str]) -> dict[str, int]:
    """Of groups that norms or attention look at as a whole, those that new channels can be fitted into."""
    wider = {place: graph.group(place).size + 1 + number % 3 for number, place in enumerate(places)}
    return {place: width for place, width in wider.items() if not misfits(graph, graph.group(place), width)}


def _check_narrower(original: nn.Module, inputs: Inputs, bound: float) -> None:
    network = copy.deepcopy(original)
    graph = trace(network, inputs)
    kept = {}
    for number, group in enumerate(group for group in graph.editable() if group.size > 1):
        # The first and the last channel, the second and the last but one, and so on: what looks at either is found out.
        dropped = {number % group.size, group.size - 1 - number % group.size}
        left = sorted(set(range(group.size)) - dropped) or [0]
        if len(left) >= group.least:
            kept[group.name] = left
    possible = _within_bounds(graph, {name: len(channels) for name, channels in kept.items()})
    kept = {name: kept[name] for name in possible}
    if not kept:
        return
    masked = masked_outputs(graph, kept) if can_mask(graph, kept) else None
    told = _told(graph, {name: len(channels) for name, channels in kept.items()}, "narrower ({} channels)")
    with step(told):
        apply(graph, narrow_all(graph, kept))
    if masked is not None:
        assert_close(masked, outputs(network, inputs), bound, f"{told}, against the original with channels masked")
    check_attributes(network)


def _within_bounds(graph: Graph, widths: dict[str, int]) -> dict[str, int]:
    """Without groups whose new widths break what the forward asks of them."""
    for bound in graph.bounds:
        sizes = {graph.group(name).atom: width for name, width in widths.items()}
        if not bound.holds(sizes):
            widths = {name: width for name, width in widths.items() if graph.group(name).atom not in bound.atoms()}
    return widths


def _told(graph: Graph, widths: Mapping[str, int], told: str) -> str:
    changes = [
        f"{name} {graph.group(name).size} -> {width} {graph.group(name).allow.name}" for name, width in widths.items()
    ]
    return told.format(", ".join(changes[:4]) + (f" and {len(changes) - 4} more" if len(changes) > 4 else ""))


# -- the network around an operator ------------------------------------------------------------------------------------


class Source(nn.Module):
    """A layer that writes the channels of an example, with numbers between its least and its largest."""

    def __init__(self, example: Tensor, channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(SOURCES, example.shape[channels])
        self.channels, self.low, self.high = channels, float(example.min()), float(example.max())

    def forward(self, x: Tensor) -> Tensor:
        """`[N, ..., SOURCES]` -> the example's shape."""
        made: Tensor = self.low + (self.high - self.low) * self.layer(x).sigmoid()
        return made.movedim(-1, self.channels).contiguous()


class Around(nn.Module):
    """Layers that write the channels, the operator, layers that read all of what it returns."""

    def __init__(self, inputs: list[nn.Module], call: Callable[..., Any], parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.inputs = nn.ModuleList(inputs)
        self.call = Called(call, parameters)
        self.heads = nn.ModuleList()

    def forward(self, *inputs: Tensor) -> Tensor:
        """One tensor `[N, ..., SOURCES]` for each example -> `[N, HEAD]`."""
        read = [head(made) for head, made in zip(self.heads, self.results(*inputs), strict=True)]
        return torch.stack(read).sum(0)

    def results(self, *inputs: Tensor) -> list[Tensor]:
        """What the operator returns, as `[N, features]`."""
        result = self.call(*(source(x) for source, x in zip(self.inputs, inputs, strict=True)))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        return [(leaf if leaf.dim() > 1 else leaf.unsqueeze(1)).to(inputs[0].dtype).flatten(1) for leaf in made]


class Called(nn.Module):
    """A function with its parameters, or a module."""

    def __init__(self, function: Callable[..., Any], parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.function, self.names = function, list(parameters)
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value.detach().clone(), value.is_floating_point()))

    def forward(self, *inputs: Tensor) -> Any:
        """Whatever the function returns."""
        return self.function(*inputs, *(getattr(self, name) for name in self.names))


def _network(
    call: Callable[..., Any], examples: tuple[Tensor, ...], channels: int, parameters: dict[str, Tensor]
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    made = [Source(example, channels) for example in examples]
    network = Around([*made], copy.deepcopy(call) if isinstance(call, nn.Module) else call, parameters).double().eval()
    shapes = [example.movedim(channels, -1).shape[:-1] for example in examples]
    inputs = tuple(torch.randn(*shape, SOURCES, dtype=torch.float64) for shape in shapes)
    with torch.no_grad():
        features = [result.shape[1] for result in network.results(*inputs)]
    network.heads.extend(nn.Linear(count, HEAD).double() for count in features)
    return network, inputs
