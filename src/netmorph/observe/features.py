"""What flows through a module: its inputs and outputs on data, cached or summed up."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.running import Inputs, run

Batch = Tensor | Inputs


def passes(graph: Graph, path: str, data: Iterable[Batch] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """The first input and the output of each call of a module, in eval mode.

    Args:
        data: batches of what the model takes (a tensor, a tuple or a dict); the example inputs where none are given.

    Raises:
        EditError: `data` holds no batch, or the module was not called with a tensor and returned one.
    """
    module = graph.model.get_submodule(path)
    seen = False
    for batch in [graph.inputs] if data is None else data:
        calls: list[tuple[Tensor, Tensor]] = []
        run(graph.model, as_inputs(batch), following=functools.partial(_watched, module, calls))
        yield from calls
        seen = seen or bool(calls)
    if not seen:
        raise EditError(
            f"nothing was seen of {path!r}: the data holds no batch, or the forward does not call this module with a "
            "tensor that it turns into one tensor"
        )


def as_inputs(batch: Batch) -> Inputs:
    """What `trace` takes as example inputs, as positional or keyword arguments.

    Raises:
        EditError: the batch is a list, as a `DataLoader` makes of inputs and labels.
    """
    if isinstance(batch, list):
        raise EditError(
            f"a batch is a list of {len(batch)} things, as a DataLoader gives inputs and labels, and nothing tells "
            "which of them the model takes. Give batches of inputs alone: [x for x, _ in loader]; or, where there is "
            "a loss=, pass loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1])"
        )
    return batch if isinstance(batch, tuple | dict) else (batch,)


def by_channel(tensor: Tensor, spatial: int) -> Tensor:
    """`[positions, channels]` in float64, of features with so many spatial dimensions (0: channels come last)."""
    tensor = tensor.double()
    return (tensor.movedim(1, -1) if spatial else tensor).flatten(0, -2)


@contextlib.contextmanager
def _watched(module: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> Iterator[None]:
    given: list[Tensor | None] = []

    def entered(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        given.append(None if first is None else first.clone())  # the module may work in place

    def left(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        first = given.pop()
        if first is not None and isinstance(output, Tensor):
            calls.append((first, output.clone()))

    handles = [module.register_forward_pre_hook(entered, with_kwargs=True), module.register_forward_hook(left)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
