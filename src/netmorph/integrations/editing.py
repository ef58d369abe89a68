"""What the callbacks share: when to ask for an edit, how to make it, and the journal as text."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from netmorph.edit import Edit, Entry, Journal, forget
from netmorph.edit.apply import apply
from netmorph.edit.journal import LoadError
from netmorph.errors import NetmorphError
from netmorph.graph import Graph, trace

logger = logging.getLogger("netmorph")


@dataclass(frozen=True)
class Every:
    """After how many epochs, or steps of the optimizer, an edit is asked for: one of the two is set."""

    epochs: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        """Check that one of the two is set.

        Raises:
            NetmorphError: none or both are set, or not to a positive number.
        """
        given = [number for number in (self.epochs, self.steps) if number is not None]
        if len(given) != 1 or given[0] < 1:
            raise NetmorphError(
                f"say after how many epochs or after how many steps to edit, one of the two and at least 1, got {self}"
            )

    def is_due(self, *, epochs: int = 0, steps: int = 0) -> bool:
        """Whether this many finished epochs (or steps, whichever has just changed) call for an edit."""
        done, every = (epochs, self.epochs) if epochs else (steps, self.steps)
        return every is not None and done > 0 and done % every == 0


def edit_once(
    model: nn.Module,
    example_inputs: Any,
    journal: Journal,
    propose: Callable[[Graph], Edit | None],
    optimizers: Sequence[torch.optim.Optimizer],
    wrapper: DistributedDataParallel | None = None,
) -> Journal:
    """Trace, ask, and make the edit that is proposed, if any.

    Args:
        example_inputs: on any device; they are moved to the model's.
        wrapper: the data-parallel wrapper that trains the model.

    Returns:
        The journal with the new edit. What the edit replaced is not kept: it could not be undone in a checkpoint.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    inputs = tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, example_inputs)
    graph = replace(trace(model, inputs, journal), wrapper=wrapper)
    edit = propose(graph)
    if edit is None:
        return journal
    journal = forget(apply(graph, edit, optimizers)).journal
    told = journal[-1].edit
    logger.info(
        "%s (%s) of %r from %s to %s; outputs changed by %.1e (relative)",
        *(told[key] for key in ("kind", "method", "layer", "before", "after")),
        journal[-1].error,
    )
    return journal


def as_text(journal: Journal) -> str:
    """The journal as JSON."""
    return json.dumps([entry.as_json() for entry in journal])


def from_text(text: str, source: str) -> Journal:
    """The journal that `as_text` wrote.

    Raises:
        LoadError: it is no journal; the message names the source.
    """
    try:
        return tuple(Entry.from_json(entry) for entry in json.loads(text))
    except (TypeError, ValueError) as error:
        raise LoadError(f"{source} holds no journal of netmorph's, or a damaged one: {error}") from error
