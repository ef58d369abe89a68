"""When a network grows: at shares of the training and on plateaus, the same in a run that was resumed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from netmorph import apply, widen, zoo
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.policy import Growth, Plateau, by_width, growing, rehearse, to_depth, warm_up
from netmorph.policy.growth import check_growths, due
from netmorph.train.checkpoint import load as load_checkpoint
from netmorph.train.history import Epoch, History
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe
from tests.train.small import dataset, deep, same_weights


def widened(graph: Graph, optimizer: Any, seed: int) -> Graph:
    """One of a user's own."""
    return apply(graph, widen(graph, "0", graph.group("0").size + 2, seed=seed), optimizer)


def epochs(*scores: float) -> list[Epoch]:
    return [Epoch(n, {"loss": 1.0}, {"loss": 1.0}, score, 0.1, 0.0) for n, score in enumerate(scores, start=1)]


def fired(growths: list[Growth], scores: list[float], each: int = 10) -> list[tuple[int, list[int]]]:
    """At which step which of the growths are due, by their numbers, in a training of so many steps an epoch."""
    ordered, steps, found = check_growths(growths, len(scores)), len(scores) * each, []
    for done in range(1, steps):
        asked = due(ordered, History(epochs(*scores[: done // each]), (), done, steps), len(scores))
        if asked:
            found.append((done, [growths.index(growth) for growth in asked]))
    return found


def test_shares_come_once_each_in_their_order() -> None:
    growths = [Growth(share, widened) for share in (0.8, 0.333, 0.7, 0.05)]
    assert fired(growths, [0.0] * 6) == [(3, [3]), (20, [1]), (42, [2]), (48, [0])]
    assert fired([Growth(0.501, widened), Growth(0.5, to_depth(2))], [0.0] * 2, each=3) == [(3, [1]), (4, [0])]
    assert fired([Growth(0.52, widened), Growth(0.51, to_depth(2))], [0.0] * 2, each=3) == [(4, [1, 0])]


def test_each_plateau_is_one_since_the_last_growth() -> None:
    first, second = Growth(Plateau(2), widened), Growth(Plateau(2), to_depth(2))
    rising = [0.1, 0.2, 0.3, 0.3, 0.25, 0.2, 0.4, 0.4, 0.1, 0.1, 0.1]
    # After five epochs the best is two ago. What follows is compared with what followed: the seventh is the best there.
    assert fired([first, second], rising) == [(50, [0]), (90, [1])]
    assert fired([first], rising) == [(50, [0])]
    assert fired([first], [float(n) for n in range(8)]) == []
    # A growth between them starts the waiting anew, in the middle of an epoch as at its end.
    timed = Growth(0.41, by_width(2))
    assert fired([first, timed], rising) == [(46, [1]), (90, [0])]
    assert fired([first, Growth(5 / 11, by_width(2))], rising) == [(50, [1]), (90, [0])]


def test_its_arguments_are_those_of_train() -> None:
    told = growing([Growth(0.8, widened), Growth(0.25, widened)], epochs=4)
    assert told.keys() == {"edit", "edit_at"}
    assert told["edit_at"] == (0.25, 0.8)
    assert growing([Growth(Plateau(1), widened)], epochs=4)["edit_at"] == (0.25, 0.5, 0.75)


ADAMW = Recipe(epochs=6, batch_size=16, learning_rate=0.2, ema=0.5, schedule="stable")
GROWTHS = [Growth(0.3, by_width(1.5)), Growth(Plateau(1), widened), Growth(0.8, widened)]


def test_a_resumed_training_grows_as_one_that_never_stopped(tmp_path: Path) -> None:
    data, whole = dataset(), tmp_path / "whole"
    options: dict[str, Any] = {**growing(GROWTHS, ADAMW.epochs), "after_edit": warm_up(5)}

    def keep(epoch: Epoch) -> None:
        shutil.copy(whole, tmp_path / str(epoch.epoch))

    model = deep()
    history = train(model, data, ADAMW, checkpoint=whole, on_epoch=keep, **options)
    journal = load_checkpoint(whole)[1]["journal"]
    assert [entry["edit"]["after"] for entry in journal["last"]] == [12, 8, 10]
    for number in range(1, ADAMW.epochs):
        again = deep(seed=9)
        path = tmp_path / str(number)
        told = train(again, data, ADAMW, checkpoint=path, resume=True, **options)
        assert load_checkpoint(path)[1]["journal"] == journal
        assert told == history
        assert told.journal == history.journal
        assert same_weights(again, model)


def test_a_rehearsal_tells_what_cannot_be() -> None:
    x = torch.rand(2, 1, 6, 6)
    assert rehearse(deep(), x, [Growth(0.3, widened), Growth(0.5, by_width(2))]).group("0").size == 12
    with pytest.raises(NetmorphError, match=r"Sequential has no list .* of blocks"):
        rehearse(deep(), x, [Growth(0.5, to_depth(3))])
    model = zoo.build("gpt", (4,), 5, depth=1, heads=1, channels=4, tied=False)
    nn.init.zeros_(model.head.weight)  # type: ignore[union-attr, arg-type]
    rehearse(model, torch.arange(8).reshape(2, 4) % 5, [Growth(0.5, to_depth(3)), Growth(0.6, by_width(2))])
    assert len(model.blocks) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("growths", "message"),
    [
        ([], "by one Growth or more"),
        ([widened], "by one Growth or more"),
        ([Growth(0.5, widened), Growth(0.5, by_width(2))], "two growths come at 0.5 of the training"),
        ([Growth(Plateau(3), widened)], "a plateau of 3 epochs is first told after 4, and the training has 4"),
    ],
)
def test_schedules_that_cannot_be(growths: Any, message: str) -> None:
    with pytest.raises(NetmorphError, match=message):
        growing(growths, epochs=4)


def test_what_is_no_growth() -> None:
    for when in (0.0, 1.0, -0.5, 80, "80%", True):
        with pytest.raises(NetmorphError, match="at a share of the training, above 0 and below 1, or at a Plateau"):
            Growth(when, widened)  # type: ignore[arg-type]
    for patience in (0, 1.5, True):
        with pytest.raises(NetmorphError, match="whole number of epochs"):
            Plateau(patience)  # type: ignore[arg-type]
    with pytest.raises(NetmorphError, match=r"a function \(graph, optimizer, seed\) -> graph"):
        Growth(0.5, 3)  # type: ignore[arg-type]
