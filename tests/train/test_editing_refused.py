"""What an edit inside the loop may not do, and what cannot be resumed: said before anything is lost."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netmorph import EditError, apply, narrow, trace, undo, widen
from netmorph.errors import NetmorphError
from netmorph.graph import Graph, TraceError
from netmorph.policy import warm_up
from netmorph.train.checkpoint import CheckpointError
from netmorph.train.checkpoint import load as load_checkpoint
from netmorph.train.history import Epoch, History
from netmorph.train.loop import train
from netmorph.train.optimizer_state import OptimizerStateError
from netmorph.train.recipe import Recipe
from tests.train.growing import at_random, by_epoch
from tests.train.small import dataset, deep, network, same_weights

SGD = Recipe(epochs=5, batch_size=16, optimizer="sgd", learning_rate=0.02)
Edits = dict[str, Any]
BY_EPOCH: Edits = {"edit": by_epoch, "after_edit": warm_up(7)}
BY_STEPS: Edits = {"edit": at_random, "edit_every": 4, "after_edit": warm_up(7)}


class Stop(Exception):
    pass


def stop_after(number: int) -> Callable[[Epoch], None]:
    def on_epoch(epoch: Epoch) -> None:
        if epoch.epoch == number:
            raise Stop

    return on_epoch


def without_optimizer(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
    return apply(graph, widen(graph, "0", 6))


def taken_out_without_optimizer(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
    return apply(graph, narrow(graph, "0", [0]), torch.optim.SGD(graph.model.parameters(), lr=0.1))


def the_old_graph(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
    apply(graph, widen(graph, "0", 6), optimizer)
    return graph


def an_undo_of_what_is_lost(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
    if len(history) == 1:
        return apply(graph, narrow(graph, "0", [0, 1]), optimizer)
    return apply(graph, undo(graph), optimizer)


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda graph, history, optimizer: None, NetmorphError, r"edit= returned NoneType; it returns the graph"),
        (
            lambda graph, history, optimizer: widen(graph, "0", 6),
            NetmorphError,
            r"edit= returned WidthEdit; it returns",
        ),
        (
            lambda graph, history, optimizer: trace(network(), graph.inputs),
            NetmorphError,
            r"returned a graph of another model \(Sequential\)",
        ),
        (
            lambda graph, history, optimizer: trace(graph.model, torch.rand(2, 1, 6, 6)),
            NetmorphError,
            r"returned a graph that was traced anew",
        ),
        (without_optimizer, NetmorphError, r"the optimizer does not hold 0\.weight"),
        (taken_out_without_optimizer, NetmorphError, r"the optimizer does not hold 0\.weight"),
        (the_old_graph, EditError, r"this graph is out of date: 0\.bias"),
        (an_undo_of_what_is_lost, EditError, r"narrow \(keep\) of '0' cannot be undone any more"),
    ],
)
def test_what_an_edit_may_not_return(tmp_path: Path, edit: Any, error: type[Exception], message: str) -> None:
    recipe = Recipe(epochs=3, batch_size=16)
    with pytest.raises(error, match=message):
        train(deep(), dataset(), recipe, checkpoint=tmp_path / "run", edit=edit)
    done = len(load_checkpoint(tmp_path / "run")[1]["history"])
    assert done == (2 if edit is an_undo_of_what_is_lost else 1)
    # The last checkpoint is whole: with an edit that is possible, training goes on.
    history = train(deep(), dataset(), recipe, checkpoint=tmp_path / "run", resume=True, edit=lambda graph, *_: graph)
    assert len(history) == 3


def test_what_is_refused_before_training() -> None:
    model = deep()
    before = copy.deepcopy(model.state_dict())
    for options, message in (
        ({"edit_every": 3}, "give edit= as well"),
        ({"after_edit": warm_up(3)}, "give edit= as well"),
        ({"edit": by_epoch, "edit_every": 0}, "at least 1, or None for every epoch, not 0"),
        ({"edit": by_epoch, "edit_every": True}, "not True"),
        ({"edit_at": (0.5,)}, "give edit= as well"),
        ({"edit": by_epoch, "edit_at": 0.5}, r"shares of all steps, each above 0 and below 1, .* not 0\.5"),
        ({"edit": by_epoch, "edit_at": (0.5, 1.0)}, r"shares of all steps.* not \(0\.5, 1\.0\)"),
        ({"edit": by_epoch, "edit_at": (0.5, 0.99)}, r"edit_at=0\.99 is reached after the last of 30 steps"),
        ({"edit": 3}, "edit= takes a function, not int"),
        ({"edit": by_epoch, "after_edit": "warm_up"}, "after_edit= takes a function, not str"),
    ):
        with pytest.raises(NetmorphError, match=message):
            train(model, dataset(), SGD, **options)

    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.unused = nn.Linear(36, 3), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            if len(x) == 8:
                raise RuntimeError("eight")
            out: Tensor = self.layer(x.flatten(1))
            return out

    with pytest.raises(TraceError, match="eight"):
        train(Untraceable(), dataset(), SGD, edit=by_epoch)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_run_with_edits_goes_on_with_edits_and_from_its_base(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(Stop):
        train(deep(), dataset(), SGD, checkpoint=path, on_epoch=stop_after(3), **BY_EPOCH)
    with pytest.raises(CheckpointError, match="edits is after each epoch there, absent here"):
        train(deep(), dataset(), SGD, checkpoint=path, resume=True)
    with pytest.raises(CheckpointError, match="edits is after each epoch there, after every 4 steps here"):
        train(deep(), dataset(), SGD, checkpoint=path, resume=True, **BY_STEPS)
    with pytest.raises(CheckpointError, match=r"after each epoch there, at 0\.25, 0\.5 of all steps here"):
        train(deep(), dataset(), SGD, checkpoint=path, resume=True, edit=by_epoch, edit_at=(0.25, 0.5))
    model = network()
    before = copy.deepcopy(model)
    with pytest.raises(CheckpointError, match=r"belongs to another network, .*written for another base"):
        train(model, dataset(), SGD, checkpoint=path, resume=True, **BY_EPOCH)
    assert repr(model) == repr(before)
    assert same_weights(model, before)
    model = deep()
    model[0].add_module("more", nn.BatchNorm1d(3))
    text = repr(model)
    with pytest.raises(CheckpointError, match=r"belongs to another network: .*more\.bias"):
        train(model, dataset(), SGD, checkpoint=path, resume=True, **BY_EPOCH)
    assert repr(model) == text
    model = deep()
    grouped = torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.1, momentum=0.9)
    with pytest.raises(OptimizerStateError, match="group its parameters in the same way"):
        train(model, dataset(), SGD, optimizer=grouped, checkpoint=path, resume=True, **BY_EPOCH)
    assert repr(model) == repr(deep())


def test_a_graph_that_is_out_of_date_is_refused() -> None:
    model = deep()
    graph = trace(model, dataset().train.head(2).float())
    apply(graph, widen(graph, "0", 6))
    with pytest.raises(EditError, match="this graph is out of date"):
        train(graph, dataset(), SGD, edit=lambda graph, *_: graph)
