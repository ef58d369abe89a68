"""Zero padding: a small network inside a wider one, as the same function under the same training.

A padded channel is computed with zeros, carried with zeros and read with zeros. Then its values are zero, so are the
gradients of whoever reads it, and those of whoever writes it: under SGD, Adam and AdamW it stays exactly zero, and the
wide network is the small one for as long as it is trained. Networks of different widths become one shape this way.

That holds where every operator between the channels keeps zeros zero. It does not hold for a sigmoid (one half at
zero), for what depends on the number of channels (layer norm), and the like; `padding` refuses these.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from netmorph.edit.apply import apply
from netmorph.edit.difference import TOLERANCE, difference
from netmorph.edit.snapshot import tensors_of
from netmorph.edit.tensors import full_like
from netmorph.edit.width import widen_all
from netmorph.errors import EditError
from netmorph.graph import Allow, Graph, trace
from netmorph.graph.running import run
from netmorph.widenings import zero


class PaddingError(EditError):
    """A network padded with zero channels would not train as the network itself."""


@dataclass(frozen=True)
class Padding:
    """Where the entries of a small network lie in a wide one.

    Attributes:
        wide: a network of the wide shape; its values mean nothing.
        real: for each parameter and buffer that is wider there: a BoolTensor of the wide shape, true at the entries of
            the small network, which lie in the same order.
    """

    wide: nn.Module
    real: Mapping[str, Tensor]

    def pad(self, model: nn.Module) -> nn.Module:
        """A new wide network with the values of a small one, and zeros."""
        wide = copy.deepcopy(self.wide)
        small = tensors_of(model)
        with torch.no_grad():
            for name, tensor in tensors_of(wide).items():
                if name in self.real:
                    tensor.zero_()[self.real[name].to(tensor.device)] = small[name].flatten()
                else:
                    tensor.copy_(small[name])
        return wide

    def cut(self, wide: Mapping[str, Tensor], model: nn.Module) -> None:
        """Write the values of a wide network, by name, into the small one."""
        with torch.no_grad():
            for name, tensor in tensors_of(model).items():
                values = wide[name]
                real = self.real.get(name)
                tensor.copy_(values if real is None else values[real.to(values.device)].view_as(tensor))


def widths(model: nn.Module, images: Tensor) -> dict[str, int]:
    """The number of channels of each channel group; the model is left as it was."""
    return {name: group.size for name, group in trace(model, images).groups.items()}


def common_widths(networks: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The largest width of each group over several networks.

    Raises:
        PaddingError: the networks do not have the same groups.
    """
    first, *others = networks
    common = dict(first)
    for other in others:
        if different := sorted(first.keys() ^ other.keys()):
            raise PaddingError(
                f"the channel group {different[0]!r} is not in all of these networks; only networks that differ in "
                "nothing but widths can be padded to one shape"
            )
        common = {name: max(size, other[name]) for name, size in common.items()}
    return common


def padding(model: nn.Module, images: Tensor, to: Mapping[str, int]) -> Padding:
    """How to pad a model with zero channels.

    The model stays as it was. That the padded network gives the same outputs, and that the gradients of all padded
    entries are exactly zero, is tried out on the images.

    Args:
        model: in any mode.
        images: at least two, as the model takes them.
        to: a width, not below the present one, for each group that gets channels.

    Raises:
        UnknownGroup: no such group.
        PaddingError: a zero channel would not stay zero, or would change the outputs.
        EditError: the widths are written in the network's code.
    """
    graph = trace(copy.deepcopy(model), images)
    wider = {name: width for name, width in to.items() if width != graph.group(name).size}
    for name in wider:
        group = graph.group(name)
        if group.allow < Allow.ANY:
            raise PaddingError(f"group {name!r} cannot be padded with zero channels: {'; '.join(group.reasons)}")
    real = _real_entries(graph, wider)
    wide = apply(graph, widen_all(graph, wider, zero)).model if wider else graph.model
    found = Padding(wide, real)
    _check(found, model, images)
    return found


def _real_entries(graph: Graph, wider: Mapping[str, int]) -> dict[str, Tensor]:
    groups = {name: graph.group(name) for name in wider}
    extended = {groups[name].atom: partial(_extended, to=to) for name, to in wider.items()}
    sites = {(site.tensor, site.dim): site for group in groups.values() for site in group.sites}
    real: dict[str, Tensor] = {}
    for site in sites.values():  # a tensor may have several sites: one after the other
        mask = real.get(site.tensor, torch.ones(graph.shapes[site.tensor], dtype=torch.bool))
        real[site.tensor] = site.change(mask, extended)
    return real


def _extended(mask: Tensor, dim: int, to: int) -> Tensor:
    return torch.cat([mask, full_like(mask, dim, to - mask.shape[dim], False)], dim)


def _check(found: Padding, model: nn.Module, images: Tensor) -> None:
    wide = found.pad(model)
    before = run(model, (images,))
    error = difference(before, run(wide, (images,)))
    if not error <= TOLERANCE[before.dtype]:
        raise PaddingError(
            f"padding {type(model).__name__} with zero channels changes its outputs by {error:.1e} (relative): it "
            "computes something from channels that are zero"
        )
    wide.train()
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.enable_grad(), torch.random.fork_rng(devices=devices):
        outputs = wide(images)
        # Any cotangent without symmetries would do.
        outputs.backward(
            torch.linspace(1, 2, outputs.numel(), device=outputs.device).to(outputs.dtype).view_as(outputs)
        )
    for name, parameter in wide.named_parameters():
        if name in found.real and parameter.grad is not None:
            padded = parameter.grad[~found.real[name].to(parameter.device)]
            if bool((padded != 0).any()):
                raise PaddingError(
                    f"zero channels of {type(model).__name__} would not stay zero: the padded entries of {name!r} have "
                    f"a gradient (up to {float(padded.abs().max()):.1e}), because what acts on the channels before "
                    "does not keep zeros zero, as a sigmoid"
                )
