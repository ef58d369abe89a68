"""What a layer's weights look like, and what becomes of them: filters as images, cosines, which were equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from netmorph.edit.entries import last_edits
from netmorph.edit.width_edit import WidthEdit
from netmorph.errors import NetmorphError, suggest
from netmorph.graph import Graph
from netmorph.widenings import ChannelMap
from netmorph.wording import listed


class LookError(NetmorphError):
    """There is nothing to look at: no such layer, or none of the kind that is asked for."""


def layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers that have filters, convolutions of images and linear layers, by path, in the order of the modules."""
    return {path: module for path, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def layer_at(model: nn.Module, path: str) -> nn.Module:
    """The module at a path.

    Raises:
        LookError: there is none.
    """
    known: dict[str, nn.Module] = dict(model.named_modules())
    if not path or path not in known:
        raise LookError(
            f"the network has no layer {path!r}{suggest(path, known)}; "
            f"it has {listed([name for name in known if name], limit=12) or 'no modules inside'}"
        )
    return known[path]


def filters(model: nn.Module, layer: str, image: Sequence[int] | None = None) -> Tensor:
    """A copy of a layer's weights as images: float64 `[m, C, h, w]`, one for each of its `m` channels.

    Args:
        layer: path of a convolution, whose kernels are the images, or of a linear layer.
        image: the shape `(C, h, w)` of the images that a linear layer reads; None leaves its rows what they are,
            `[m, 1, 1, features]`.

    Raises:
        LookError: no such layer, or it is no convolution of images and no linear layer, or it reads no such images.
    """
    module = layer_at(model, layer)
    if isinstance(module, nn.Conv2d):
        return module.weight.detach().double().cpu().clone()
    if not isinstance(module, nn.Linear):
        raise LookError(
            f"{layer!r} is a {type(module).__name__}; filters are of Conv2d and Linear layers: "
            f"{listed(list(layers(model)), limit=12) or 'this network has none'}"
        )
    rows = module.weight.detach().double().cpu().clone()
    shape = (1, 1, module.in_features) if image is None else tuple(image)
    if len(shape) != 3 or math.prod(shape) != module.in_features:
        raise LookError(
            f"{layer!r} reads {module.in_features} numbers, which are no image of channels, height and width "
            f"{tuple(shape)}; the layer that reads the pixels is meant"
        )
    return rows.view(-1, *shape)


def through(first: Tensor, second: Tensor) -> Tensor:
    """What a second linear layer sees of an image through a first one, what is between them left out.

    Args:
        first: `[n, C, h, w]`, the filters of the first layer.
        second: `[m, n]`, the weight of the second.

    Returns:
        `[m, C, h, w]`: each the sum of the first filters by the weights of the second.
    """
    seen: Tensor = torch.tensordot(second.to(first), first, dims=1)
    return seen


def matrix(kernels: Tensor) -> Tensor:
    """The kernels `[m, C, h, w]` of a layer as one picture `[m * h, C * w]`: a row for each channel that it writes, a
    column for each that it reads."""
    m, c, h, w = kernels.shape
    return kernels.permute(0, 2, 1, 3).reshape(m * h, c * w)


def moved(before: Tensor, after: Tensor) -> Tensor:
    """The cosines between filters and what became of them: 1 where only their size changed, 0 where nothing is left.

    Args:
        before: `[n, ...]`.
        after: `[m, ...]`, each of the same shape; channel `k` is what became of channel `k`, as in all widenings of
            netmorph, which put new channels behind the old ones.

    Returns:
        float64 `[min(n, m)]`.

    Raises:
        LookError: the shapes of single filters differ.
    """
    if before.shape[1:] != after.shape[1:]:
        raise LookError(
            f"filters of {tuple(before.shape[1:])} and of {tuple(after.shape[1:])} cannot be compared: "
            "what the layer reads has changed, too"
        )
    count = min(len(before), len(after))
    return cosine_similarity(before[:count].double().flatten(1), after[:count].double().flatten(1))


def channels_of(graph: Graph, layer: str) -> ChannelMap | None:
    """How the last edit made the channels that a layer writes; None where it left their number alone.

    Raises:
        UnknownGroup: the layer writes no channels.
        EditError: what the last edit did is not known, see `netmorph.edit.new_entries`.
    """
    [before] = last_edits(graph)
    return before.edit.changes.get(graph.group(layer).name) if isinstance(before.edit, WidthEdit) else None


@dataclass(frozen=True)
class Kin:
    """What a channel is to those from before an edit.

    Attributes:
        name: its number from 1 on, with that of the old channel that it copies, or a letter for those that were equal.
        mark: "old", "new", or "twin": new, and equal to another channel when the edit was made.
    """

    name: str
    mark: str


def kin(channels: ChannelMap) -> list[Kin]:
    """What each of the `m` channels is to the `n` from before."""
    rows, source, is_new = channels.rows.tolist(), channels.source.tolist(), channels.is_new.tolist()
    fresh = list(dict.fromkeys(row for row, old in zip(rows, source, strict=True) if old < 0))
    found = []
    for number, (row, old, new) in enumerate(zip(rows, source, is_new, strict=True), start=1):
        several = rows.count(row) > 1
        if not new:
            found.append(Kin(f"{number}", "old"))
        elif old >= 0:
            found.append(Kin(f"{number} = {old + 1}", "twin"))
        else:
            letter = chr(ord("a") + fresh.index(row) % 26)
            found.append(Kin(f"{number} {letter}" if several else f"{number}", "twin" if several else "new"))
    return found


def kin_of_equals(filters: Tensor, mark: str) -> list[Kin]:
    """The same of a layer that was put in, or that an edit left as wide as it was: its channels are one kind, "new" or
    "old", and new ones with equal filters `[m, ...]` are twins."""
    rows = filters.flatten(1).tolist()
    several = [row for row in dict.fromkeys(map(tuple, rows)) if mark == "new" and rows.count(list(row)) > 1]
    letters = {row: chr(ord("a") + number % 26) for number, row in enumerate(several)}
    return [
        Kin(f"{number} {letters[row]}", "twin") if row in letters else Kin(f"{number}", mark)
        for number, row in enumerate(map(tuple, rows), start=1)
    ]
