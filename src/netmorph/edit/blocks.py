"""Modules that an edit can put into a network, as values made of JSON, so that a journal can build them again.

A `Spec` is a small tree. Its leaves are plain PyTorch layers with their constructors' arguments, or the module that
the edit finds at its place (`there`).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit.numbered import Place, numbered
from netmorph.errors import NetmorphError
from netmorph.graph.held import held_in
from netmorph.graph.lines import not_of_the_user
from netmorph.memory import check_fits
from netmorph.memory_layout import laid_out_like, neighbour, tells_order

not_of_the_user(
    os.path.dirname(__file__)
)  # of a call in an inserted block, the user's line is the one that runs the block

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
# Activations s with s(s(x)) = s(x): behind one of them, an identity layer with the same activation is exact.
IDEMPOTENT: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6}
LEAVES: dict[str, Callable[..., nn.Module]] = {
    "linear": nn.Linear,
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "conv3d": nn.Conv3d,
    "batch_norm1d": nn.BatchNorm1d,
    "batch_norm2d": nn.BatchNorm2d,
    "batch_norm3d": nn.BatchNorm3d,
    "nothing": nn.Identity,
    **IDEMPOTENT,
}


class Residual(nn.Module):
    """`x + body(x)`."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Any shape that the body keeps. What else the blocks of a list are given (a mask, say) is not used."""
        branch: Tensor = self.body(x)
        return x + branch


class Chain(nn.Sequential):
    """Blocks one behind the other that all get the same further arguments (a mask, say)."""

    def forward(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """Any input that the blocks take."""
        for block in self:
            input = block(input, *args, **kwargs)
        return input


MOST_MODULES = 50_000  # a journal may come from anyone, and copies of copies double

CONTAINERS: dict[str, Callable[..., nn.Module]] = {"sequential": nn.Sequential, "chain": Chain, "residual": Residual}


@dataclass(frozen=True)
class Spec:
    """What to build.

    Attributes:
        kind: a name of `LEAVES` or `CONTAINERS`; `there` or `copy` for modules that the network has. As a whole,
            `entry` for one that is put into a container whose children are numbered, `gone` for one that is taken out.
        arguments: of a leaf's constructor; of a copy, `path`, and `shares` where it keeps settings that others hold.
        parts: of a container.
    """

    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    parts: tuple[Spec, ...] = ()

    def build(self, model: nn.Module, path: str) -> nn.Module:
        """The module for `path` of the model, which is left as it is.

        New layers have the type, the device and the training mode of the model's own, and weights that are not set yet
        to anything in particular. What takes the place of a module stays as frozen as that was: its weights, if all
        weights there were, and its biases likewise.

        Raises:
            NetmorphError: the kind is unknown (a journal of a newer version?).
        """
        with torch.random.fork_rng(devices=[]):  # PyTorch draws first weights, which nobody will see
            module = self._build(model, path)
        old = list(model.get_submodule(path).named_parameters())
        held = {id(parameter) for parameter in model.parameters()}
        new = [] if self._keeps_what_is_there() else list(module.named_parameters())
        for name, parameter in new:
            flags = [given.requires_grad for other, given in old if _kind(other) == _kind(name)]
            if flags and not any(flags) and id(parameter) not in held:
                parameter.requires_grad_(False)
        return module

    @property
    def changes_entries(self) -> bool:
        """Whether nothing takes the place of what is there: entries come or go."""
        return self.kind in ("entry", "gone")

    def entry(self, model: nn.Module, path: str) -> nn.Module:
        """The module to put in at a path; what it is built like is the entry before.

        Raises:
            NetmorphError: as of `build`, or there is no entry before it.
        """
        place = Place.of(path)
        before = numbered(model, place.moved(-1).path) if place is not None and place.number > 0 else None
        if before is None or len(self.parts) != 1:
            raise NetmorphError(f"nothing can be put in at {path!r}: no numbered entry is before it")
        with torch.random.fork_rng(devices=[]):
            return self.parts[0]._build(model, before.path)

    def _keeps_what_is_there(self) -> bool:
        return self.kind == "there" or any(part._keeps_what_is_there() for part in self.parts)

    def _build(self, model: nn.Module, path: str) -> nn.Module:
        if self.kind == "there":
            return model.get_submodule(path)
        if self.kind == "copy":
            copied = model.get_submodule(self.arguments["path"])
            if sum(1 for _ in (*model.modules(), *copied.modules())) > MOST_MODULES:
                raise NetmorphError(f"a copy of {self.arguments['path']!r} makes more than {MOST_MODULES:,} modules")
            held = sum(tensor.numel() * tensor.element_size() for tensor in copied.parameters())
            check_fits(2 * held, f"the network with a copy of {self.arguments['path']!r}")
            # A configuration that others hold, too, stays one: what an edit sets there later, the copy sees as well.
            # Copies in older journals do not tell that they share: they had settings of their own.
            shared = _shared(model, self.arguments["path"]) if self.arguments.get("shares") else []
            return copy.deepcopy(copied, {id(held): held for held in shared})
        mode = model.training  # not that of its neighbour, which may be frozen
        if self.kind in CONTAINERS:
            container = CONTAINERS[self.kind](*(part._build(model, path) for part in self.parts))
            container.training = mode  # its parts keep theirs
            if isinstance(container, Residual):
                container.body.training = mode
            return container
        if self.kind not in LEAVES:
            known = ", ".join((*LEAVES, *CONTAINERS, "there", "copy"))
            raise NetmorphError(f"unknown kind of module {self.kind!r}, expected one of {known}")
        like = next(model.parameters(), torch.empty(0))
        with torch.device("meta"):  # its size, before any memory is taken
            sketch = LEAVES[self.kind](**self.arguments)
        needed = sum(tensor.numel() * like.element_size() for tensor in sketch.parameters())
        check_fits(needed, f"a layer {self.kind} with {self.arguments}")
        leaf = LEAVES[self.kind](**self.arguments).to(like.device, like.dtype).train(mode)
        for parameter in leaf.parameters():
            if tells_order(parameter.shape):
                parameter.data = laid_out_like(parameter.data, _beside(model, path, parameter).detach())
        return leaf

    def as_json(self) -> dict[str, Any]:
        """The tree."""
        return asdict(self)

    @staticmethod
    def from_json(told: dict[str, Any]) -> Spec:
        """The spec that was written by `as_json`."""
        return Spec(**(told | {"parts": tuple(map(Spec.from_json, told["parts"]))}))


THERE = Spec("there")
NOTHING = Spec("nothing")
GONE = Spec("gone")


def chain_of(*parts: Spec) -> Spec:
    """An `nn.Sequential`."""
    return Spec("sequential", parts=parts)


def dense(inputs: int, outputs: int, spatial: int = 0, kernel: int = 1) -> Spec:
    """A linear layer, or with `spatial` dimensions a convolution that keeps their sizes; with a bias."""
    if spatial == 0:
        return Spec("linear", {"in_features": inputs, "out_features": outputs})
    channels = {"in_channels": inputs, "out_channels": outputs}
    return Spec(f"conv{spatial}d", {**channels, "kernel_size": kernel, "padding": kernel // 2})


def spec_of(layer: Layer, **changed: Any) -> Spec:
    """How to build such a layer again, with some arguments changed."""
    is_linear = isinstance(layer, nn.Linear)
    kind = "linear" if is_linear else f"conv{layer.weight.dim() - 2}d"
    names = ("in_features", "out_features") if is_linear else CONVOLUTION_ARGUMENTS
    return Spec(kind, {name: getattr(layer, name) for name in names} | {"bias": layer.bias is not None} | changed)


CONVOLUTION_ARGUMENTS = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
)


def layers(block: nn.Module) -> list[Layer]:
    """The linear and convolution layers of a block, in order."""
    return [module for module in block.modules() if isinstance(module, Layer)]


@torch.no_grad()
def start_r2r(block: nn.Module, generator: torch.Generator) -> None:
    """Weights of a residual block whose branch is zero: equal halves, read with opposite signs (R2R deepen)."""
    first, last = layers(block)
    half = first.weight.shape[0] // 2
    for layer in (first, last):
        bound = layer.weight[0].numel() ** -0.5
        noise = torch.rand(layer.weight.shape, generator=generator, dtype=torch.float64)
        layer.weight.copy_((2 * noise - 1) * bound)
        # Without biases the branch is as small as its input, so what rounding leaves of it is too.
        layer.get_parameter("bias").zero_()
    first.weight[half:] = first.weight[:half]
    last.weight[:, half:] = -last.weight[:, :half]


@torch.no_grad()
def start_identity(block: nn.Module, generator: torch.Generator) -> None:
    """Weights of a layer that passes its input on: ones at the kernel's centre (Net2Net deepen)."""
    (layer,) = layers(block)
    set_dense(layer, torch.eye(layer.weight.shape[0]))


@torch.no_grad()
def set_dense(layer: nn.Module, matrix: Tensor, bias: Tensor | None = None) -> None:
    """Give a layer of `dense` the weights of `x -> matrix x + bias` at every position."""
    weight, held = layer.get_parameter("weight"), layer.get_parameter("bias")
    weight.zero_()
    centre: Tensor = weight
    while centre.dim() > 2:
        centre = centre.select(2, centre.shape[2] // 2)
    centre.copy_(matrix)
    held.copy_(torch.zeros(len(held)) if bias is None else bias)


def _shared(model: nn.Module, path: str) -> list[Any]:
    """The dicts and objects that a copy of a module holds as well; of others it gets copies.

    Those that the other entries of its list hold: what is one entry's own, the model may list beside. Where none of
    them holds anything, or there are none, those that are held outside of the module.
    """
    place = numbered(model, path)
    own = model.get_submodule(path)
    listed = model.get_submodule(place.container)._modules.values() if place is not None else ()
    others = [module for entry in listed if entry is not None and entry is not own for module in entry.modules()]
    inside = set(own.modules())
    return held_in(others) or held_in(module for module in model.modules() if module not in inside)


def _beside(model: nn.Module, path: str, parameter: Tensor) -> Tensor:
    """A parameter in the place of which a new one comes, or beside it."""
    held = list(model.parameters())
    inside = list(model.get_submodule(path).parameters())
    own = neighbour(inside, len(inside), parameter)
    if own is not parameter:
        return own
    names = [name for name, _ in model.named_modules()]
    before = set(names[: names.index(path)])
    at = sum(name.rpartition(".")[0] in before for name, _ in model.named_parameters())
    return neighbour(held, at, parameter)


def _kind(name: str) -> str:
    """A parameter's name in its own module: weight or bias."""
    return name.rpartition(".")[2]
