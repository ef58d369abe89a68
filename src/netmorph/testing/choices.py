"""`check_proposal` and `check_score`: what chooses edits and channels changes nothing, and is decided by its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netmorph.edit import Edit
from netmorph.graph import Graph, Group, trace
from netmorph.graph.journal import Description
from netmorph.observe.samples import Samples
from netmorph.testing.compare import CheckError, Snapshot, assert_same_bits, in_float64, step
from netmorph.testing.edits import check_edit

Proposal = Callable[[Graph, np.random.Generator], Edit | None]
Score = Callable[[Group, Samples], Tensor]


def check_proposal(model: nn.Module, inputs: Any, propose: Proposal, seeds: Iterable[int] = range(4)) -> int:
    """Draw edits of a network by a proposal, and hold each against what an edit promises (`check_edit`).

    A proposal changes nothing, draws from its generator alone, and makes the same edit from the same seed.

    Args:
        model: a small network, which stays as it is.
        inputs: what `trace` takes as example inputs.
        propose: `(graph, generator) -> edit`, or None where nothing suits.
        seeds: of the generators, one for each draw.

    Returns:
        How many edits were proposed.

    Raises:
        CheckError: something does not hold; the message says of which seed.
    """
    count = 0
    for seed in seeds:
        network, given = in_float64(model, inputs)
        graph = trace(network, given)
        before = Snapshot.of(network)
        drawn = [_drawn(propose, graph, seed, disturbance) for disturbance in (0, 1)]
        before.assert_same(Snapshot.of(network), f"a proposal (seed {seed}) must change nothing")
        if drawn[0] != drawn[1]:
            raise CheckError(
                f"a proposal differs for one seed ({seed}): {drawn[0]} and {drawn[1]}; draw from the generator that it "
                "is given alone"
            )
        if drawn[0] is not None:
            count += 1
            check_edit(model, inputs, partial(_proposed, propose, seed), export=False)
    return count


def _proposed(propose: Proposal, seed: int, graph: Graph) -> Edit:
    edit = propose(graph, np.random.default_rng(seed))
    if edit is None:
        raise CheckError(f"a proposal (seed {seed}) makes an edit of one copy of a network and none of another")
    return edit


def _drawn(propose: Proposal, graph: Graph, seed: int, disturbance: int) -> Description | None:
    """The edit in words, drawn while the global random states are others."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]), step(f"a proposal (seed {seed})"):
            torch.manual_seed(disturbance)
            np.random.seed(disturbance)  # noqa: NPY002
            edit = propose(graph, np.random.default_rng(seed))
            return None if edit is None else edit.describe()
    finally:
        np.random.set_state(state)  # noqa: NPY002


def check_score(
    model: nn.Module, inputs: Any, score: Score, loss: Callable[[nn.Module, Any], Tensor] | None = None
) -> None:
    """Rate the channels of each group of a network: finite numbers, one a channel, the same twice; nothing is changed.

    Args:
        model: a small network, which stays as it is.
        inputs: example inputs, which are the only batch as well.
        score: `(group, samples) -> [n]`.
        loss: `(model, batch) -> scalar`, where the score needs one.

    Raises:
        CheckError: something does not hold; the message says for which group.
    """
    network, given = in_float64(model, inputs)
    graph = trace(network, given)
    before = Snapshot.of(network)
    for group in graph.editable():
        with step(f"rating the channels of {group.name!r}"):
            one, again = (score(group, Samples(graph, [given], loss)) for _ in range(2))
        if tuple(one.shape) != (group.size,):
            raise CheckError(f"{group.name!r} has {group.size} channels, and its score the shape {tuple(one.shape)}")
        if not bool(one.isfinite().all()):
            raise CheckError(f"the score of {group.name!r} is not finite: {one.tolist()}")
        assert_same_bits({group.name: one}, {group.name: again}, "two ratings of one group")
    before.assert_same(Snapshot.of(network), "a score must change nothing")
