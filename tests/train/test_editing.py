"""A network that is edited while it trains: all that trains it follows, and a resumed run makes the same edits."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netmorph import apply, factorize, load, narrow, residual, save, trace, undo, widen, zoo
from netmorph.data.text import text_dataset
from netmorph.edit import new_entries, old_network
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.policy import divide, freeze, rise, warm_up
from netmorph.train import loop
from netmorph.train.checkpoint import CheckpointError
from netmorph.train.checkpoint import load as load_checkpoint
from netmorph.train.evaluation import evaluate
from netmorph.train.history import Epoch, History
from netmorph.train.loop import train
from netmorph.train.nonfinite import NotFinite
from netmorph.train.optimizer_state import pack_optimizer
from netmorph.train.optimizers import build_optimizer
from netmorph.train.pace import FACTOR, Pace
from netmorph.train.recipe import Recipe
from netmorph.widenings import copied_pairs
from tests.train.growing import at_random, by_epoch
from tests.train.small import dataset, deep, network, same_weights

ADAMW = Recipe(epochs=7, batch_size=16, learning_rate=0.02, ema=0.9, channels_last=True, pad=1)
SGD = Recipe(epochs=7, batch_size=16, optimizer="sgd", learning_rate=0.02, flip=True, schedule="constant")
MUON = dataclasses.replace(SGD, optimizer="muon")
Edits = dict[str, Any]
BY_EPOCH: Edits = {"edit": by_epoch, "after_edit": warm_up(7)}
BY_STEPS: Edits = {"edit": at_random, "edit_every": 4, "after_edit": warm_up(7)}
BY_SHARES: Edits = {"edit": at_random, "edit_at": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8), "after_edit": rise(7)}
FREEZING: Edits = {"edit": at_random, "edit_every": 4, "after_edit": freeze(3)}
FROZEN: Edits = {"edit": by_epoch, "after_edit": freeze()}


def kinds(history: History) -> list[str]:
    return [entry.edit.kind for entry in history.journal]


def outcome(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, meta = pack_optimizer(optimizer, model)
    return {**model.state_dict(), **tensors}, meta


def same_outcome(one: tuple[dict[str, Tensor], Any], other: tuple[dict[str, Tensor], Any]) -> bool:
    return (
        one[1] == other[1]
        and one[0].keys() == other[0].keys()
        and all(torch.equal(tensor, other[0][name]) for name, tensor in one[0].items())
    )


@pytest.mark.parametrize(
    ("recipe", "edits"),
    [
        (ADAMW, BY_EPOCH),
        (ADAMW, BY_STEPS),
        (SGD, BY_STEPS),
        (MUON, BY_EPOCH),
        (ADAMW, BY_SHARES),
        (ADAMW, FREEZING),
        (SGD, FROZEN),
    ],
    ids=[
        "adamw by epoch",
        "adamw by steps",
        "sgd by steps",
        "muon by epoch",
        "adamw by shares",
        "frozen for a while",
        "frozen",
    ],
)
def test_resumed_after_any_epoch_it_ends_with_the_same_bits_and_journal(
    tmp_path: Path, recipe: Recipe, edits: Edits
) -> None:
    model, whole = deep(), tmp_path / "whole"
    optimizer = build_optimizer(model, recipe)

    def keep(epoch: Epoch) -> None:
        shutil.copy(whole, tmp_path / str(epoch.epoch))

    history = train(model, dataset(), recipe, optimizer=optimizer, checkpoint=whole, on_epoch=keep, **edits)
    expected = outcome(model, optimizer)
    journal = load_checkpoint(whole)[1]["journal"]
    assert len(journal["last"]) > 1
    for number in range(1, recipe.epochs + 1):
        path = tmp_path / str(number)
        model = deep(seed=9)  # all must come from the file
        optimizer = build_optimizer(model, recipe)
        again = train(model, dataset(), recipe, optimizer=optimizer, checkpoint=path, resume=True, **edits)
        assert again == history
        assert again.journal == history.journal
        assert same_outcome(outcome(model, optimizer), expected)
        assert load_checkpoint(path)[1]["journal"] == journal


def test_the_edits_are_made_and_all_that_trains_follows() -> None:
    model, graphs = deep(), []
    optimizer = build_optimizer(model, ADAMW)

    def edit(graph: Graph, history: History, given: torch.optim.Optimizer) -> Graph:
        assert graph.model is model
        assert given is optimizer
        (average,) = graph.copies
        assert [p.shape for p in average.parameters()] == [p.shape for p in model.parameters()]
        assert not any(p.requires_grad for p in average.parameters())
        graphs.append(by_epoch(graph, history, given))
        return graphs[-1]

    modes = model.training
    train(model, dataset(), dataclasses.replace(ADAMW, patience=None), optimizer=optimizer, edit=edit)
    assert [len(graph.journal) for graph in graphs] == [1, 2, 3, 4, 5, 4]
    assert modes is model.training
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    for parameter in (*model.parameters(), *graphs[-1].copies[0].parameters()):
        if parameter.dim() == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last)
    for parameter, state in optimizer.state.items():
        assert state["exp_avg"].stride() == parameter.stride()


def test_a_callable_that_edits_nothing_changes_nothing() -> None:
    models = deep(), deep()
    recipe = dataclasses.replace(ADAMW, epochs=3)
    plain = train(models[0], dataset(), recipe)

    def look(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        torch.randn(100)
        return graph

    assert train(models[1], dataset(), recipe, edit=look, edit_every=2) == plain
    assert same_weights(*models)


def test_a_network_of_tokens_is_edited_while_it_trains() -> None:
    text = text_dataset("text", {"": "How much wood would a woodchuck chuck?\n" * 40}, window=8)

    def grow(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        return apply(graph, widen(graph, "blocks.0.fc1", graph.group("blocks.0.fc1").size + 2), optimizer)

    for ema in (None, 0.5):
        torch.manual_seed(0)
        model = zoo.build("gpt", (8,), text.outputs, depth=1, heads=1, channels=8)
        history = train(model, text, Recipe(epochs=3, batch_size=16, ema=ema), edit=grow)
        assert kinds(history) == ["widen"] * (history.best.epoch - 1)
        assert history.best.epoch > 1
        assert model.blocks[0].fc1.out_features == 32 + 2 * len(history.journal)


class Recurrent(nn.Module):
    """The next token by an LSTM of two layers."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.words, self.rnn = nn.Embedding(tokens, 4), nn.LSTM(4, 5, 2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(5, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.words(tokens))[0])


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_recurrent_network_is_edited_resumed_and_comes_back_as_it_was_best(tmp_path: Path, ema: float | None) -> None:
    text = text_dataset("text", {"": "How much wood would a woodchuck chuck?\n" * 40}, window=8)
    recipe = Recipe(epochs=5, batch_size=16, learning_rate=0.02, ema=ema)

    def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        size = graph.group("rnn").size
        change = narrow(graph, "rnn", [0]) if len(history) == 4 else widen(graph, "rnn", size + 2)
        return apply(graph, change, optimizer)

    def begun() -> nn.Module:
        torch.manual_seed(0)
        return Recurrent(text.outputs)

    model, whole = begun(), tmp_path / "whole"
    history = train(
        model, text, recipe, edit=edit, checkpoint=whole, on_epoch=lambda e: shutil.copy(whole, tmp_path / str(e.epoch))
    )
    assert kinds(history) == ["widen"] * (history.best.epoch - 1)
    assert history.best.epoch < 5
    rnn = model.rnn
    assert rnn.hidden_size == rnn.weight_hh_l1.shape[1] == model.head.in_features == 5 + 2 * (history.best.epoch - 1)
    assert all(
        getattr(rnn, name) is held for name, held in zip(rnn._flat_weights_names, rnn._flat_weights, strict=True)
    )
    for number in (1, 4):
        again = begun()
        assert train(again, text, recipe, edit=edit, checkpoint=tmp_path / str(number), resume=True) == history
        assert same_weights(again, model)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_layer_that_is_factorized_stays_in_its_group_and_as_frozen_when_resumed(tmp_path: Path, frozen: bool) -> None:
    def base() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = deep()
        model[6].requires_grad_(not frozen)
        own = [*model[6].parameters()]
        rest = [p for p in model.parameters() if all(p is not other for other in own)]
        return model, torch.optim.SGD([{"params": rest}, {"params": own, "lr_scale": 0.1}], lr=0.1, momentum=0.9)

    def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        if len(history) == stop:
            raise KeyboardInterrupt
        return apply(graph, factorize(graph, "6", 2), optimizer) if len(history) == 1 else graph

    ends = []
    for stops in ([0], [2, 0]):
        for stop in stops:
            model, optimizer = base()
            path = tmp_path / f"{len(stops)}"
            try:
                train(model, dataset(), SGD, optimizer=optimizer, checkpoint=path, resume=stop == 0, edit=edit)
            except KeyboardInterrupt:
                assert stop == 2
        ends.append(outcome(model, optimizer))
        assert {p.requires_grad for p in model[6].parameters()} == {not frozen}
    assert same_outcome(*ends)


def test_it_is_asked_between_epochs_or_after_so_many_steps() -> None:
    asked: list[tuple[int, int]] = []
    optimizer = torch.optim.SGD(network().parameters(), lr=0.1)

    def count(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        asked.append((len(history), int(optimizer.state[graph.model[5].bias]["step"])))
        return graph

    data = dataset(train=80)  # five steps of an epoch
    for every, expected in ((None, [5, 10]), (4, [4, 8, 12]), (5, [5, 10])):
        asked.clear()
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        train(model, data, Recipe(epochs=3, batch_size=16), optimizer=optimizer, edit=count, edit_every=every)
        assert asked == [(steps // 5, steps) for steps in expected]


def test_it_is_asked_at_shares_of_all_steps_and_told_them() -> None:
    asked: list[tuple[int, int, int, float]] = []

    def count(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        asked.append((len(history), history.done, history.steps, history.progress))
        return graph

    data = dataset(train=80)  # five steps of an epoch
    recipe = Recipe(epochs=3, batch_size=16)
    for moments, expected in (
        ({"edit_at": (0.8,)}, [12]),
        ({"edit_at": [0.01, 0.7, 1 / 3, 2 / 3, 0.7]}, [1, 5, 10, 11]),  # before the first step that so many come before
        ({"edit_at": (0.5,), "edit_every": 4}, [4, 8, 12]),
        ({"edit_at": ()}, []),
        ({}, [5, 10]),
    ):
        asked.clear()
        train(network(), data, recipe, edit=count, **moments)  # type: ignore[arg-type]
        assert asked == [(done // 5, done, 15, done / 15) for done in expected]


def test_what_several_edits_of_one_call_made_warms_up() -> None:
    def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        graph = apply(graph, residual(graph, "2"), optimizer)
        graph = apply(graph, widen(graph, "0", 6), optimizer)
        return apply(graph, residual(graph, "4"), optimizer)

    def look(pace: Pace, graph: Graph) -> None:
        found.update(new_entries(graph, pace.edits))

    found: dict[str, Tensor] = {}
    model = deep()
    train(model, dataset(), dataclasses.replace(SGD, epochs=2), edit=edit, after_edit=look)
    assert {name.partition(".")[0] for name, entries in found.items() if entries.all()} == {"3", "5"}
    assert {name for name, entries in found.items() if not entries.all()} == {"0.weight", "0.bias", "1.weight"}


def test_random_numbers_of_an_edit_depend_on_seed_epoch_and_step() -> None:
    drawn: dict[int, list[float]] = {}

    def draw(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        drawn[seed].append(float(torch.rand(())))
        return graph

    state = torch.get_rng_state()
    for seed in (3, 3, 4):
        first = drawn.get(seed)
        drawn[seed] = []
        train(network(), dataset(), Recipe(epochs=3, batch_size=16), seed=seed, edit=draw, edit_every=3)
        assert first is None or first == drawn[seed]
    assert len({*drawn[3], *drawn[4]}) == 2 * len(drawn[3])
    assert torch.equal(torch.get_rng_state(), state)


# The best network is one that existed.


def spoil(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
    """After the third epoch, an edit that costs what was learnt."""
    if len(history) != 3:
        return graph
    graph = apply(graph, widen(graph, "1", 6), optimizer)
    graph = apply(graph, residual(graph, "3"), optimizer)
    return apply(graph, narrow(graph, "0", [0]), optimizer)


@pytest.mark.parametrize("ema", [None, 0.5])
def test_the_best_epoch_before_an_edit_comes_back_with_its_structure(ema: float | None) -> None:
    data, model = dataset(), deep()
    modules, parameters, weight = list(model.modules()), list(model.parameters()), {}
    recipe = Recipe(epochs=4, batch_size=16, learning_rate=0.02, ema=ema)
    optimizer = build_optimizer(model, recipe)

    def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        if len(history) == 3:
            weight.update({name: tensor.clone() for name, tensor in (graph.copies or (model,))[0].state_dict().items()})
        return spoil(graph, history, optimizer)

    history = train(model, data, recipe, optimizer=optimizer, edit=edit)
    assert history.best.epoch == 3
    assert history.journal == ()
    assert list(model.modules()) == modules
    assert [id(p) for p in model.parameters()] == [id(p) for p in parameters]
    assert (model[0].out_channels, model[1].in_channels, model[6].in_features) == (4, 4, 144)
    assert all(torch.equal(tensor, weight[name]) for name, tensor in model.state_dict().items())
    assert evaluate(model, data.validation, data).loss == history.best.validation["loss"]
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in parameters}
    assert all(int(state["step"]) == 3 * 6 for state in optimizer.state.values())
    train(model, data, recipe, optimizer=optimizer)  # and training goes on


def test_the_best_epoch_between_two_edits_comes_back_and_can_be_edited_on(tmp_path: Path) -> None:
    data, model = dataset(), deep()

    def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        if len(history) == 1:
            return apply(graph, residual(graph, "2"), optimizer)
        return spoil(graph, history, optimizer)

    history = train(model, data, Recipe(epochs=4, batch_size=16, learning_rate=0.02), edit=edit)
    assert history.best.epoch in (2, 3)
    assert kinds(history) == ["deepen"]
    assert evaluate(model, data.validation, data).loss == history.best.validation["loss"]
    graph = trace(model, torch.rand(8, 1, 6, 6), history.journal)
    graph = apply(graph, widen(graph, "0", 5))
    save(tmp_path / "net", model, graph.journal)
    again, _ = load(tmp_path / "net", deep)
    assert same_weights(again, model)


def test_a_graph_goes_on_with_its_journal_and_its_inputs(tmp_path: Path) -> None:
    def given(width: int = 5) -> Graph:
        graph = trace(deep(), torch.rand(4, 1, 6, 6))
        return apply(graph, widen(graph, "0", width))

    recipe, seen = dataclasses.replace(ADAMW, epochs=3), []

    def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        seen.append(graph.inputs[0].shape)
        return by_epoch(graph, history, optimizer)

    graph = given()
    history = train(graph, dataset(), recipe, edit=edit, checkpoint=tmp_path / "run")
    assert set(seen) == {(4, 1, 6, 6)}
    assert len(load_checkpoint(tmp_path / "run")[1]["journal"]["last"]) == 3
    again = given()
    assert train(again, dataset(), recipe, edit=edit, checkpoint=tmp_path / "run", resume=True) == history
    assert same_weights(graph.model, again.model)
    with pytest.raises(CheckpointError, match="does not begin with the edits that have made the given network"):
        train(given(6), dataset(), recipe, edit=edit, checkpoint=tmp_path / "run", resume=True)
    with pytest.raises(NetmorphError, match="took back an edit that was made before training"):
        train(given(), dataset(), recipe, edit=lambda graph, history, held: apply(graph, undo(graph), held))
    with pytest.raises(NetmorphError, match="a graph is trained to be edited, by edit="):
        train(given(), dataset(), recipe)
    with pytest.raises(NetmorphError, match="the graph to train has copies"):
        train(trace(deep(), torch.rand(4, 1, 6, 6), copies=[deep()]), dataset(), recipe, edit=edit)


# The pace after an edit.


def test_the_pace_after_an_edit_lasts_and_leaves_no_hooks() -> None:
    model = deep()
    optimizer = build_optimizer(model, SGD)
    hooks = [dict(optimizer._optimizer_step_pre_hooks), dict(optimizer._optimizer_step_post_hooks)]
    train(
        model, dataset(), dataclasses.replace(SGD, epochs=7), optimizer=optimizer, edit=by_epoch, after_edit=divide(2)
    )
    best = train(deep(), dataset(), SGD, edit=by_epoch, after_edit=divide(2)).best.epoch
    # Four edits stay; the one that was taken back at once sets no pace.
    assert optimizer.param_groups[0].get(FACTOR, 1.0) == 0.5 ** min(best - 1, 4)
    assert [dict(optimizer._optimizer_step_pre_hooks), dict(optimizer._optimizer_step_post_hooks)] == hooks


def test_a_slower_pace_moves_less() -> None:
    moved = []
    for policy in (None, divide(1e6)):
        model, before = deep(), []

        def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
            if len(history) != 1:
                return graph
            graph = apply(graph, widen(graph, "0", 6), optimizer)
            before.append(model[6].weight.detach().clone())  # noqa: B023
            return graph

        train(model, dataset(), dataclasses.replace(SGD, epochs=2), edit=edit, after_edit=policy)
        moved.append(float((model[6].weight.detach() - before[0]).abs().max()))
    assert moved[1] < 1e-3 * moved[0]


def test_frozen_after_an_edit_the_old_network_stays_inside() -> None:
    model, before, grown, inner = deep(), [], [], []

    def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        if len(history) != 1:
            return graph
        before.extend(p.detach().clone() for p in model.parameters())
        grown.append(apply(graph, widen(graph, "0", 6, copied_pairs), optimizer))
        return grown[0]

    def look(epoch: Epoch) -> None:
        if epoch.epoch == 4:
            inner.extend(old_network(trace(model, torch.randn(2, 1, 6, 6), grown[0].journal)).model.parameters())

    train(model, dataset(), ADAMW, edit=edit, after_edit=freeze(), on_epoch=look)
    assert all(torch.equal(p, kept) for p, kept in zip(inner, before, strict=True))


# What it stands beside.


def test_a_loss_that_is_not_finite_is_found_by_living_an_edited_epoch_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator, where losses are read when the epoch is over: its edits are taken back and made again.

    The last edit of the epoch is not asked for: by then, nothing is finite.
    """
    monkeypatch.setattr(loop, "_fit", loop._fit_unwatched)
    widths = []

    def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        width = graph.group("0").size
        widths.append(width)
        graph = apply(graph, widen(graph, "0", width + 1), optimizer)
        if len(history) == 1:
            with torch.no_grad():
                graph.model[6].bias.fill_(float("nan"))
        return graph

    with pytest.raises(NotFinite, match=r"epoch 2, training step 3: .*6"):
        train(deep(), dataset(), Recipe(epochs=2, batch_size=16, ema=0.9), edit=edit, edit_every=4)
    assert widths == [4, 5, 5]  # before steps 5, 9 (the third of its epoch) and that again


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler's own libraries
def test_compiled_it_computes_the_same_up_to_rounding() -> None:
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler")

    def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        graph = apply(graph, widen(graph, "0", 6), optimizer)
        return apply(graph, residual(graph, "2"), optimizer)

    recipe = Recipe(epochs=2, batch_size=16, optimizer="sgd", learning_rate=0.05, ema=0.9)
    histories = []
    for compiled in (False, True):
        model = nn.Sequential(*(layer for layer in network() if not isinstance(layer, nn.Dropout)))
        histories.append(train(model, dataset(), dataclasses.replace(recipe, compile=compiled), edit=edit))
        assert kinds(histories[-1]) == ["widen", "deepen"]
    for one, other in zip(*histories, strict=True):
        assert one.train["loss"] == pytest.approx(other.train["loss"], rel=1e-4)
        assert one.validation["loss"] == pytest.approx(other.validation["loss"], rel=1e-4)
