"""A network on batches, in float64 and as it was: what numbers of a whole network are computed from."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.running import set_mode
from netmorph.measure.spectrum import spectra
from netmorph.observe.features import Batch, as_inputs


def rank_of(matrix: Tensor) -> int:
    """The numerical rank of a matrix in float64; 0 of one without entries."""
    return spectra({"matrix": matrix})["matrix"].rank() if matrix.numel() else 0


def in_float64(graph: Graph) -> nn.Module:
    """A copy in eval mode whose weights need no gradient.

    Raises:
        EditError: see `check_finite`.
    """
    check_finite(graph.model)
    model = copy.deepcopy(graph.model).double().requires_grad_(False)
    set_mode(model, training=False)
    return model


def check_finite(model: nn.Module) -> None:
    """Refuse a network that has no rank.

    Raises:
        EditError: a parameter or buffer holds numbers that are not finite, and the message names it.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not bool(tensor.isfinite().all()):
            raise EditError(f"{name!r} holds numbers that are not finite (NaN or infinity), so the network has no rank")


def float64_batches(batches: Iterable[Batch]) -> Iterator[Any]:
    """Copies of the batches' inputs, floats in float64.

    Raises:
        EditError: there is no batch, or one without samples, or with numbers that are not finite.
    """
    empty = True
    for batch in batches:
        inputs = tree_map(_doubled, as_inputs(batch))
        if any(isinstance(leaf, Tensor) and not leaf.numel() for leaf in tree_leaves(inputs)):
            raise EditError("a batch holds no samples; leave it out")
        if not all(bool(leaf.isfinite().all()) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)):
            raise EditError("a batch holds numbers that are not finite (NaN or infinity); clean the data first")
        empty = False
        yield inputs
    if empty:
        raise EditError("there are no batches to look at; pass batches of inputs: [x] of one tensor")


def _doubled(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.detach().to(torch.float64 if leaf.is_floating_point() else leaf.dtype, copy=True)


def called(model: nn.Module, inputs: Any) -> Any:
    """What a network gives for the inputs of one batch, a tuple or a dict."""
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)
